//! What `check` says of an HTTP output and its message before an event comes: constants that can never be meant, and words that
//! name nothing. And what is refused when it is rendered, before anything is sent.

#![allow(clippy::unwrap_used)] // helpers of tests

mod settings;

use settings::yaml;
use std::sync::Arc;
use switchyard_api::conformance::http::WebServer;
use switchyard_api::conformance::{deliver_one, parcel};
use switchyard_api::{AnyConfig, AnyKind, Kit, Message, Outcome, Problem, Rendered, Wall, Written};

fn kind(name: &str) -> Arc<dyn AnyKind> {
    switchyard_http::kinds().into_iter().find(|kind| kind.name() == name).unwrap()
}

/// An output, and what `check` says of it and of its message.
fn checked(name: &str, settings: &str, message: &str) -> (Option<Arc<dyn AnyConfig>>, Vec<Problem>) {
    let mut problems = vec![];
    let config = kind(name).read(&yaml(settings), &mut problems);
    let message = yaml(message);
    problems.extend(config.iter().flat_map(|config| config.judge(Written { output: message.entries(), route: &[] })));
    problems.retain(|problem| problem.id != "destination-ends");
    (config, problems)
}

fn told(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("{} {} {}", p.id, p.title, p.help.as_deref().unwrap_or_default())).collect::<Vec<_>>().join("\n")
}

const LOOKUP: &str = "{ url: 'https://a.example/x', lookup: { url: '{url}/find', query: { q: '{reference}' } } }";
const FORTNOX: &str = "{ client_id: made-up-id, client_secret: made-up }";
const AFAS: &str = "{ member: 12345, connector: FiEntries, find: Shop_Entries, key: Number, token: made-up }";
const SLACK: &str = "{ url: 'https://hooks.slack.com/services/T0/B0/made-up' }";
const DISCORD: &str = "{ url: 'https://discord.com/api/webhooks/1/made-up' }";
const PAGER: &str = "{ routing_key: madeupmadeupmadeupmadeupmadeup12 }";
const MAIL: &str = "{ domain: mg.shop.example, key: made-up, from: shop@shop.example }";

#[test]
fn what_can_never_be_meant_is_told_before_an_event_comes() {
    for (name, settings, message, expected) in [
        ("http", LOOKUP, "{}", "missing-field `lookup` asks for `{reference}`, and the message has no `reference`"),
        ("fortnox", FORTNOX, "{ body: '{}' }", "missing-field `lookup` asks for `{reference}`, and the message has no `reference`"),
        ("afas", AFAS, "{ body: '{}' }", "missing-field `lookup` asks for `{reference}`"),
        ("http", &LOOKUP.replace("lookup: {", "lookup: { of: { a: b },"), "{}", "`of` is a word of rows"),
        ("http", &LOOKUP.replace("lookup: {", "lookup: { absent: { status: 404 },"), "{}", "`absent` is asked of 2xx alone"),
        ("http", "{ url: 'https://a.example', lookup: { url: '{url}/{refrence}' } }", "{}", "did you mean `{reference}`?"),
        ("http", "{ url: 'https://a.example', query: { a: '{nope}' } }", "{}", "`{nope}` is no value of a delivery"),
        ("http", "{ url: 'https://a.example', batch: { max: 2, item: { a: $nope } } }", "{}", "`{nope}` is no value of a delivery"),
        ("http", "{ url: 'https://a.example', batch: { max: 2, as: form } }", "{}", "wrong-value a form has no `item` of names"),
        ("http", "{ url: 'https://a.example', batch: { max: 2, names: 'a.{n}.' } }", "{}", "`names` is for forms take it out"),
        ("http", "{ url: 'https://a.example:0/x' }", "{}", "bad-url nothing listens at port 0"),
        ("http", "{ url: 'https://a.example', ok: { status: 999 } }", "{}", "`ok` is asked of 2xx alone"),
        ("http", "{ url: 'https://a.example', after: { header: X-Reset, unit: min } }", "{}", "unknown-word unknown word `min`"),
        ("http", "{ url: 'https://a.example' }", "{ path: '../{{ data.x }}' }", "`..` leads out of the URL's path"),
        ("http", "{ url: 'https://a.example' }", "{ body: '{ not json' }", "no-json `body` is sent as JSON and is none"),
        ("http", "{ url: 'https://a.example' }", "{ body: '{\"s\": {{ data.s }} }' }", "bare-value outside of quotes"),
        ("slack", SLACK, "{ blocks: '[{\"text\": {{ data.x }} }]' }", "bare-value outside of quotes"),
        ("discord", DISCORD, "{ embeds: '[no json' }", "no-json `embeds` is sent as JSON and is none"),
        ("exact", "{ division: 1, entity: a/B, client_id: a, client_secret: b }", "{ body: '{ not json', reference: A }", "no-json"),
        ("pagerduty", PAGER, "{ action: explode }", "`action` is none of its words write one of: acknowledge, resolve, trigger"),
        ("pagerduty", PAGER, "{ severity: bad }", "`severity` is none of its words"),
        ("pagerduty", PAGER, "{ link: 'javascript:alert(1)' }", "`link` does not look like one"),
        ("ntfy", "{ topic_name: 'a b/c' }", "{}", "`topic_name` does not look like one"),
        ("mailgun", MAIL, "{ to: not an address }", "`to` does not look like one"),
        ("mailgun", &MAIL.replace("shop@shop.example", "not an address"), "{}", "`from` does not look like one"),
        ("twilio", "{ account: AC1, token: made-up, from: '+1' }", "{ to: '31_6-12_ext_900' }", "`to` does not look like one"),
        (
            "slack",
            "{ url: 'https://hooks.slack.com/workflows/T0/A0/hush' }",
            "{}",
            "wrong-path this is another kind of URL than `slack` sends to The URL of a workflow",
        ),
        (
            "slack",
            "{ url: 'https://hooks.slack.com/triggers/T0/hush' }",
            "{}",
            "wrong-path this is another kind of URL than `slack` sends to The URL of a workflow",
        ),
        ("pubsub", "{ project: shop, service_account: hush }", "{}", "bad-auth"),
    ] {
        let (_, problems) = checked(name, settings, message);
        let told = told(&problems);
        assert!(told.contains(expected) && !told.contains("hush"), "{name} {settings} {message}: {told}");
    }
    let (_, problems) = checked("pubsub", "{ project: shop, service_account: hush }", "{}");
    assert!(told(&problems).contains("`service_account` is: "), "{problems:?}");
}

#[test]
fn what_can_be_meant_is_no_problem() {
    for (name, settings, message) in [
        ("http", LOOKUP, "{ reference: '{{ data.number }}' }"),
        ("fortnox", FORTNOX, "{ body: '{}', reference: '{{ data.number }}' }"),
        ("fortnox", &FORTNOX.replace('{', "{ entity: vouchers,"), "{ body: '{}' }"),
        ("afas", &AFAS.replace("find: Shop_Entries, ", ""), "{ body: '{}' }"),
        ("http", "{ url: 'https://a.example', query: { a: '{event.topic}' } }", "{ body: '{\"s\": {{ data.s|tojson }} }' }"),
        ("http", "{ url: 'https://a.example' }", "{ headers: { content-type: text/plain }, body: 'Order {{ data.x }}' }"),
        ("http", "{ url: 'https://a.example' }", "{ path: 'orders/..a/{{ data.x }}' }"),
        ("pagerduty", PAGER, "{ action: '{{ data.x }}', severity: critical, link: 'https://shop.example/{{ data.x }}' }"),
        ("mailgun", MAIL, "{ to: 'Shop <orders@shop.example>, ann@shop.example' }"),
        ("mailgun", MAIL, "{ to: 'orders+{{ data.number }}@shop.example' }"),
        ("slack", SLACK, "{ blocks: '[{\"text\": \"a {{ data.x }}\", \"n\": {{ data.x|tojson }} }]' }"),
        ("discord", DISCORD, "{ embeds: '[{\"url\": \"https://shop.example/{{ data.id|urlencode }}\"}]' }"),
        ("telegram", "{ token: '1:made-up' }", "{ chat_id: '-100123', silent: 'true' }"),
        ("slack", "{ url: 'https://hooks.slack.com/services/T0/B0/made-up' }", "{ text: '{{ data.x }}' }"),
    ] {
        let (_, problems) = checked(name, settings, message);
        assert_eq!(problems, [], "{name} {settings} {message}");
    }
}

#[test]
fn what_was_not_answered_waits_for_a_person_where_it_is_not_looked_up() {
    let own = "lookup: { url: 'https://api.fortnox.se/3/vouchers', query: { filter: '{reference}' } }";
    for (name, settings, holds) in [
        ("fortnox", FORTNOX, false),
        ("fortnox", &FORTNOX.replace('{', "{ entity: vouchers,"), true),
        ("fortnox", &FORTNOX.replace('{', &format!("{{ entity: vouchers, {own},")), false),
        ("afas", AFAS, false),
        ("afas", &AFAS.replace("find: Shop_Entries, ", ""), true),
        ("postnl", "{ key: made-up }", true),
        ("myparcel", "{ key: made-up }", false),
    ] {
        let (config, problems) = checked(name, settings, "{ body: '{}', reference: A }");
        let config = config.unwrap_or_else(|| panic!("{name} {settings}: {problems:?}"));
        assert_eq!(config.defaults().hold_unknown, holds, "{name} {settings}");
    }
}

/// The outcome for these rendered fields, and how many requests arrived.
async fn sent(name: &str, settings: &str, fields: &[(&str, &str)]) -> (Outcome, usize) {
    let server = WebServer::start().await;
    let row = switchyard_http::presets().into_iter().find(|row| switchyard_api::Kind::name(row) == name);
    let address = row.as_ref().map_or("url", |row| row.address_key());
    let settings = settings.replacen('{', &format!("{{ {address}: '{}/services/x',", server.url()), 1);
    let mut problems = vec![];
    let config = kind(name).read(&yaml(&settings), &mut problems).unwrap_or_else(|| panic!("{problems:?}"));
    let output = config.connect(&Kit::new("far", "/nowhere", "switchyard/0", Wall::new(|| 0))).await.unwrap();
    let fields = fields.iter().map(|(name, text)| ((*name).to_owned(), Rendered::Text((*text).to_owned()))).collect();
    let outcome = deliver_one(&*output, parcel(1, &Message { fields, ..Message::default() })).await;
    (outcome, server.got().len())
}

#[tokio::test]
async fn what_an_event_makes_unfit_is_refused_and_nothing_is_sent() {
    const LOOKUP: &str = "{ lookup: { url: '{url}/find', query: { q: '{reference}' } } }";
    for (name, settings, fields, why) in [
        ("http", LOOKUP, &[("reference", "")][..], "`reference` of this event is empty, and `lookup` asks for it"),
        ("http", LOOKUP, &[], "`reference` of this event is empty"),
        ("http", "{}", &[("body", r#"{"s": [1,2], \"x\": {} }"#)], "the body made from this event is no JSON"),
        ("http", "{}", &[("path", "a/%2e%2e/b")], "not a plain path"),
        ("teams", "{}", &[("text", "a"), ("link", "javascript:alert(1)")], "`link` of this event does not look like one"),
        ("pagerduty", PAGER, &[("action", "trigger"), ("link", "data:text/html,x")], "`link` of this event does not look like one"),
        ("slack", "{}", &[("text", "a"), ("blocks", "[{\"text\": }]")], "`blocks` of this event is no JSON"),
        ("pagerduty", PAGER, &[("action", "explode")], "`action` of this event is none of its words"),
        ("twilio", "{ account: AC1, token: a, from: '+1' }", &[("to", "+31_6-12"), ("text", "a")], "`to` of this event"),
        ("mailgun", MAIL, &[("to", "a@b.example\nBcc: c@d.example")], "`to` of this event"),
    ] {
        let (outcome, requests) = sent(name, settings, fields).await;
        assert!(outcome.word() == "rejected" && outcome.text().contains(why) && requests == 0, "{name} {fields:?}: {requests} {outcome:?}");
    }
}

#[tokio::test]
async fn no_link_of_any_row_is_a_program() {
    for row in switchyard_http::presets() {
        for field in switchyard_api::Kind::fields(&row).iter().filter(|field| field.name == "link" || field.name.ends_with("_url")) {
            let message = format!("{{ {}: 'javascript:alert(1)' }}", field.name);
            let settings = match switchyard_api::Kind::name(&row) {
                "pagerduty" => PAGER,
                "teams" => "{ url: 'https://a.logic.azure.com/x' }",
                "pushover" => "{ token: a, user: b }",
                "oncall" => "{ url: 'https://a.example' }",
                "incident_io" => "{ config: a, token: b }",
                "ntfy" => "{ topic_name: a }",
                other => panic!("{other}: what does it need beside its `{}`?", field.name),
            };
            let (_, problems) = checked(switchyard_api::Kind::name(&row), settings, &message);
            assert!(told(&problems).contains("does not look like one"), "{}: {problems:?}", switchyard_api::Kind::name(&row));
        }
    }
}
