//! `switchyard subscribe` against a real GraphQL engine: what the API has is found, what it has not is said, nothing is changed unasked, and
//! no token is shown.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)] // the program is run as its users run it

mod shop;

use serde_json::Value;
use shop::{Api, TOKEN, WebhookEvent};
use std::process::{Command, Stdio};

const URL: &str = "https://hooks.shop.example/orderchamp";

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"))).collect()
    }
}

fn run(api: &Api, args: &[&str]) -> Ran {
    run_as(api, args, Some(TOKEN))
}

fn run_as(api: &Api, args: &[&str], token: Option<&str>) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
    command.arg("subscribe").args(args).args(["--endpoint", &api.url]).stdin(Stdio::null()).env_remove("ORDERCHAMP_TOKEN");
    command.envs(token.map(|token| ("ORDERCHAMP_TOKEN", token)));
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let ran = Ran { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) };
    assert!(!ran.out.contains(TOKEN) && !ran.err.contains(TOKEN), "{} {}", ran.out, ran.err);
    ran
}

fn add(api: &Api, what: &str, url: &str, events: &str, more: &[&str]) -> Ran {
    run(api, &[&[what, "--url", url, "--events", events], more].concat())
}

#[test]
fn a_subscription_is_made_listed_made_again_and_removed() {
    let api = Api::start();
    let none = run(&api, &["list"]);
    assert_eq!((none.code, none.out.as_str()), (1, "the account has no subscription\n"), "{}", none.err);

    let dry = add(&api, "add", URL, "ORDER_CONFIRMED,ORDER_UPDATED", &["--template", "INVOICING", "--dry-run"]);
    assert_eq!((dry.code, api.there().len()), (0, 0), "{}", dry.err);
    assert!(
        dry.out.contains("webhookCreate(input: $input)") && dry.out.contains("ORDER_UPDATED") && dry.out.contains("INVOICING"),
        "{}",
        dry.out
    );
    let unasked = add(&api, "add", URL, "ORDER_CONFIRMED", &[]);
    assert_eq!((unasked.code, api.there().len()), (2, 0));
    assert!(unasked.err.contains("add --yes to do it"), "{}", unasked.err);

    let made = add(&api, "add", URL, "ORDER_CONFIRMED,ORDER_UPDATED", &["--template", "INVOICING", "--yes"]);
    assert_eq!(made.code, 0, "{}", made.err);
    let both = vec![WebhookEvent::OrderConfirmed, WebhookEvent::OrderUpdated];
    assert_eq!(api.there(), [(URL.to_owned(), both.clone())]);
    assert!(!made.out.contains("made-up-signing"), "what may be a secret is not asked for: {}", made.out);
    let again = add(&api, "add", URL, "ORDER_CONFIRMED", &["--yes"]);
    assert_eq!((again.code, api.there().len()), (0, 1), "{}", again.out);
    assert!(again.out.contains("it is there already"), "{}", again.out);

    // More than a page of them.
    for n in 1..4 {
        assert_eq!(add(&api, "add", &format!("{URL}/{n}"), "PRODUCT_CREATED", &["--yes"]).code, 0);
    }
    let listed = run(&api, &["list", "--json"]).json();
    assert_eq!(listed.len(), 4);
    assert_eq!((&listed[0]["url"], &listed[0]["template"], &listed[0]["signingSecret"]), (&URL.into(), &"INVOICING".into(), &Value::Null));
    let told = run(&api, &["list"]).out;
    assert!(told.contains("ORDER_CONFIRMED, ORDER_UPDATED") && told.contains("template: INVOICING"), "{told}");

    // The sender deleted it: it is made again, and only then.
    assert_eq!(add(&api, "recreate", URL, "ORDER_CONFIRMED,ORDER_UPDATED", &["--yes"]).code, 0);
    assert_eq!(api.kept(|kept| kept.made), 4, "all was as it should be");
    api.kept(|kept| kept.webhooks.remove(0));
    assert_eq!(add(&api, "recreate", URL, "ORDER_CONFIRMED,ORDER_UPDATED", &["--yes"]).code, 0);
    assert_eq!(api.there().last().unwrap(), &(URL.to_owned(), both));
    // Other events: the new one comes before the old one goes.
    api.kept(|kept| kept.changes.clear());
    let replaced = add(&api, "recreate", URL, "PRODUCT_CREATED", &["--yes"]);
    assert_eq!(replaced.code, 0, "{}", replaced.err);
    assert_eq!(
        api.there().iter().filter(|(url, _)| url == URL).collect::<Vec<_>>(),
        [&(URL.to_owned(), vec![WebhookEvent::ProductCreated])]
    );
    let order: Vec<bool> = api.kept(|kept| kept.changes.iter().map(|change| change.contains("webhookCreate")).collect());
    assert_eq!(order, [true, false]);

    let id = run(&api, &["list", "--json"]).json()[0]["id"].as_str().unwrap().to_owned();
    let before = api.there().len();
    assert_eq!((run(&api, &["remove", &id, "--yes"]).code, api.there().len()), (0, before - 1));
    let gone = run(&api, &["remove", &id, "--yes"]);
    assert_eq!((gone.code, gone.err.as_str()), (1, "switchyard: the API says: input.id: does not exist\n"));
}

#[test]
fn where_nothing_can_be_removed_at_most_one_is_too_many() {
    let api = Api::start();
    assert_eq!(add(&api, "add", URL, "ORDER_CONFIRMED", &["--yes"]).code, 0);
    api.kept(|kept| kept.protected = true);
    // The new one first: what is wanted comes, and what could not be removed is named.
    let ran = add(&api, "recreate", URL, "PRODUCT_CREATED", &["--yes"]);
    assert_eq!((ran.code, api.kept(|kept| kept.made)), (1, 2), "{}", ran.err);
    assert_eq!(
        ran.err,
        "switchyard: the new one is there, and `V2ViaG9vazo1`, which it replaces, could not be removed: `subscribe recreate` again tries that alone: the API says: input.id: is protected\n"
    );
    // Again, every hour: nothing more is made.
    for _ in 0..3 {
        let ran = add(&api, "recreate", URL, "PRODUCT_CREATED", &["--yes"]);
        assert_eq!((ran.code, api.kept(|kept| kept.made), api.there().len()), (1, 2, 2), "{}", ran.err);
        assert!(ran.err.contains("`V2ViaG9vazo1` could not be removed, and nothing was made: "), "{}", ran.err);
    }
    // For something else: one too many is there already, so that one goes first.
    let ran = add(&api, "recreate", URL, "ORDER_UPDATED", &["--yes"]);
    assert_eq!((ran.code, api.kept(|kept| kept.made), api.there().len()), (1, 2, 2), "{}", ran.err);
    api.kept(|kept| kept.protected = false);
    let ran = add(&api, "recreate", URL, "PRODUCT_CREATED", &["--yes"]);
    assert_eq!((ran.code, api.kept(|kept| kept.made)), (0, 2), "{}", ran.err);
    assert_eq!(api.there(), [(URL.to_owned(), vec![WebhookEvent::ProductCreated])]);
}

#[test]
fn what_is_wanted_already_is_not_made_again_and_another_template_is_another() {
    let api = Api::start();
    let both = "ORDER_CONFIRMED,ORDER_UPDATED";
    assert_eq!(add(&api, "add", URL, both, &["--yes"]).code, 0);
    let other = add(&api, "add", URL, both, &["--template", "INVOICING", "--yes"]);
    assert_eq!((other.code, api.kept(|kept| kept.made)), (2, 1), "{}", other.err);
    assert!(other.err.contains("`subscribe recreate` replaces it"), "{}", other.err);
    assert_eq!(add(&api, "recreate", URL, both, &["--template", "INVOICING", "--yes"]).code, 0);
    let templates = || api.kept(|kept| kept.webhooks.iter().map(|one| format!("{:?}", one.template)).collect::<Vec<_>>());
    assert_eq!((templates(), api.kept(|kept| kept.made)), (vec!["Invoicing".to_owned()], 2));
    // In another order, and without a word on the template: as it should be.
    for more in [&["--template", "INVOICING", "--yes"][..], &["--yes"]] {
        let ran = add(&api, "recreate", URL, "ORDER_UPDATED,ORDER_CONFIRMED", more);
        assert!(ran.code == 0 && ran.out.contains("it is there already"), "{}{}", ran.out, ran.err);
    }
    // The same twice, made elsewhere: one of them goes, and none is made.
    let twin = api.kept(|kept| kept.webhooks[0].clone());
    api.kept(|kept| kept.webhooks.push(shop::Webhook { id: "made-elsewhere".to_owned().into(), ..twin }));
    assert_eq!(add(&api, "recreate", URL, both, &["--yes"]).code, 0);
    assert_eq!((templates().len(), api.kept(|kept| kept.made)), (1, 2));
    // Two that have them together are as good as one.
    let one = api.kept(|kept| kept.webhooks[0].clone());
    api.kept(|kept| {
        kept.webhooks[0].events = vec![WebhookEvent::OrderConfirmed];
        kept.webhooks.push(shop::Webhook { id: "other-half".to_owned().into(), events: vec![WebhookEvent::OrderUpdated], ..one.clone() });
    });
    assert!(add(&api, "recreate", URL, both, &["--yes"]).out.contains("it is there already"));
    api.kept(|kept| kept.webhooks = vec![one]);
    // Two that are for other events: what is wanted of them goes on until the new one is there.
    let one = api.kept(|kept| kept.webhooks[0].clone());
    api.kept(|kept| {
        kept.webhooks[0].events = vec![WebhookEvent::OrderConfirmed];
        kept.webhooks.push(shop::Webhook { id: "second".to_owned().into(), events: vec![WebhookEvent::OrderUpdated], ..one });
        kept.changes.clear();
    });
    assert_eq!(add(&api, "recreate", URL, "ORDER_CONFIRMED,PRODUCT_CREATED", &["--yes"]).code, 0);
    let order: Vec<bool> = api.kept(|kept| kept.changes.iter().map(|change| change.contains("webhookCreate")).collect());
    assert_eq!(order, [false, true, false], "the one that nobody wants, then the new one, then what it replaces");
    assert_eq!(api.there(), [(URL.to_owned(), vec![WebhookEvent::OrderConfirmed, WebhookEvent::ProductCreated])]);
}

#[test]
fn what_the_api_refuses_or_does_not_know_is_said() {
    let api = Api::start();
    let unset = run_as(&api, &["list"], None);
    assert_eq!(unset.code, 2);
    assert!(unset.err.contains("ORDERCHAMP_TOKEN is not set"), "{}", unset.err);
    let refused = run_as(&api, &["list"], Some("another-made-up-token"));
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("refuses the token (401)") && !refused.err.contains("another-made-up"), "{}", refused.err);
    for (url, events, told) in [
        (URL, "ORDER_CONFIRMD", "`ORDER_CONFIRMD` is no kind of event of this API; did you mean `ORDER_CONFIRMED`?"),
        ("https://localhost/x", "ORDER_CONFIRMED", "can't reach `localhost`"),
        ("https://shop.internal/x", "ORDER_CONFIRMED", "can't reach `shop.internal`"),
        ("http://hooks.shop.example/x", "ORDER_CONFIRMED", "not https"),
        ("https://www.example.com/x", "ORDER_CONFIRMED", "the API says: input.url: is not allowed"),
    ] {
        let ran = add(&api, "add", url, events, &["--yes"]);
        assert!(ran.code != 0 && ran.err.contains(told), "{url} {events}: {}", ran.err);
    }
    let template = add(&api, "add", URL, "ORDER_CONFIRMED", &["--template", "INVOICNG", "--yes"]);
    assert!(template.err.contains("is no template of this API; did you mean `INVOICING`?"), "{}", template.err);
    let field = add(&api, "add", URL, "ORDER_CONFIRMED", &["--url-field", "address", "--yes"]);
    assert!(field.err.contains("not found: --url-field address") && field.err.contains("url (String!)"), "{}", field.err);
    assert_eq!(api.there(), []);
    // Nobody there, and somebody else.
    let nobody = Api { url: "http://127.0.0.1:1/".into(), state: shop::State::default() };
    let ran = run(&nobody, &["list"]);
    assert!(ran.code == 1 && ran.err.contains("no connection to `127.0.0.1:1`"), "{}", ran.err);
    let plain = Api { url: "http://api.shop.example/".into(), state: shop::State::default() };
    assert!(run(&plain, &["list"]).err.contains("--endpoint is not https"));
}

#[test]
fn a_limit_is_waited_for_and_a_lost_answer_is_not_asked_again() {
    let api = Api::start();
    api.kept(|kept| kept.throttled = 2);
    let made = add(&api, "add", URL, "ORDER_CONFIRMED", &["--yes"]);
    assert_eq!((made.code, api.there().len(), api.kept(|kept| kept.throttled)), (0, 1, 0), "{}", made.err);
    api.kept(|kept| kept.breaks = true);
    let lost = add(&api, "add", &format!("{URL}/2"), "ORDER_CONFIRMED", &["--yes"]);
    assert_eq!((lost.code, api.there().len()), (1, 2), "{}", lost.err);
    assert!(lost.err.contains("it may have been done all the same: `switchyard subscribe list` says"), "{}", lost.err);
}

#[test]
fn an_api_with_other_names_is_found_or_named_by_flags() {
    let api = Api::other();
    let list = run(&api, &["list"]);
    assert!(list.code == 2 && list.err.contains("not found: the query that lists webhooks") && list.err.contains("--list"), "{}", list.err);
    let names = ["--list", "hooks", "--create", "registerHook", "--delete", "removeHook"];
    let add = |more: &[&str]| add(&api, "add", URL, "order.paid,order.made", &[&names[..], more].concat());
    let missing = add(&["--yes"]);
    assert!(missing.err.contains("`registerHook` needs more: format (String!); give each with --set NAME=VALUE"), "{}", missing.err);
    let made = add(&["--set", "format=json", "--yes"]);
    assert_eq!((made.code, api.there().len()), (0, 2), "one kind of event each: {}", made.err);
    let listed = run(&api, &[&["list", "--json"], &names[..]].concat()).json();
    assert_eq!((listed.len(), &listed[1]["topic"], &listed[1]["callback"]), (2, &"order.made".into(), &URL.into()));
    let removed = run(&api, &[&["remove", "hook-1", "--yes"], &names[..]].concat());
    assert_eq!((removed.code, api.there().len()), (0, 1), "{}", removed.err);
}

/// The session of docs/subscribe.md, line by line; `WRITE_DOCS=1` writes what is seen into it.
#[test]
fn the_page_shows_what_is_really_seen() {
    let api = Api::start();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/subscribe.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once("```console\n").unwrap();
    let (session, after) = rest.split_once("```\n").unwrap();
    let seen = session
        .lines()
        .filter_map(|line| line.strip_prefix("$ switchyard subscribe "))
        .map(|line| {
            let ran = run(&api, &line.split(' ').collect::<Vec<_>>());
            let said = ran.out.lines().chain(ran.err.lines()).map(|line| format!("{}\n", line.trim_end())).collect::<Vec<_>>().concat();
            format!("$ switchyard subscribe {line}\n{said}")
        })
        .collect::<Vec<_>>()
        .concat();
    let made = format!("{before}```console\n{seen}```\n{after}");
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    assert!(std::fs::read_to_string(&path).unwrap() == made, "docs/subscribe.md is old: run this test with WRITE_DOCS=1\n{seen}");
}
