//! Routes as a whole: from the file to plans, messages and explanations. What runs jq stands in `tests/jq_limits.rs` and `tests/routes.rs`.

use super::testing::{event, tree};
use super::{Along, By, Digested, JqPool, Line, OutputMessage, RouteSection, Router, Verdict};
use crate::model::{Event, Kept, Message, NotRendered, Plan, Seq, Target};
use std::path::PathBuf;
use std::sync::Arc;
use switchyard_api::escape::Escape;
use switchyard_api::fit::{Cap, Over, Total, Unit};
use switchyard_api::kind::{Confine, Field, Shape};
use switchyard_api::tree::Value;
use switchyard_api::{Problem, Span};

fn field(name: &'static str, shape: Shape) -> Field {
    Field {
        name: name.into(),
        docs: "what it says".into(),
        shape,
        escape: Escape::Slack,
        confine: Confine::Content,
        required: false,
        default: None,
        cap: None,
    }
}

/// `sms` splits its text; `chat` needs a text and has a title by default; `mail` sets its text; `file` has no fields set.
fn outputs() -> Vec<OutputMessage> {
    let fields = || {
        let text = Field { required: true, ..field("text", Shape::Text) };
        vec![text, Field { default: Some("{{ topic }}".into()), ..field("title", Shape::Text) }, field("headers", Shape::Map)]
    };
    let set = |text: &str| match tree(text).value {
        Value::Map(entries) => entries,
        _ => vec![],
    };
    let output = |name: &str, fields, message| OutputMessage {
        name: name.into(),
        span: Span { start: 9_000, end: 9_001 },
        fields,
        message,
        config: None,
        total: None,
        line: None,
        rate_key: None,
        on_dead: None,
    };
    vec![
        output("chat", fields(), vec![]),
        output("mail", fields(), set(r#"{"text": "mail: {{ data.n }}", "headers": {"a": "1", "b": "{{ source }}"}}"#)),
        output("file", vec![field("line", Shape::Text)], vec![]),
        output("stream", vec![field("key", Shape::OptionalText)], vec![]),
        OutputMessage {
            total: Some(Total { most: 240, unit: Unit::Chars, fields: vec!["text".into(), "title".into()] }),
            ..output(
                "sms",
                vec![
                    Field { cap: Some(Cap { most: 60, unit: Unit::Chars, over: Over::Split }), ..field("text", Shape::Text) },
                    field("title", Shape::Text),
                ],
                vec![],
            )
        },
    ]
}

fn build(routes: &str) -> Result<Router, Vec<Problem>> {
    let mut problems = vec![];
    let sections = RouteSection::read_all(&tree(routes), &mut problems);
    let sources = [("shop".into(), Span { start: 8_000, end: 8_001 }), ("bank".into(), Span { start: 8_100, end: 8_101 })];
    let router = sections.and_then(|sections| Router::build(&sections, &sources, &outputs(), &mut problems));
    router.ok_or(problems)
}

/// None of these tests runs jq.
fn no_jq() -> JqPool {
    JqPool::start(PathBuf::from("/nowhere"), 1)
}

/// The daemon runs these on its own tasks, which move between threads.
#[test]
fn plans_and_messages_are_made_on_any_thread() {
    fn on_any<T: Send>(_: &T) {}
    let (router, jq, order) = (build(r#"[{"to": "file"}]"#).unwrap(), no_jq(), event("{}"));
    on_any(&router.plan(&order, &jq));
    on_any(&router.render(&order, &target("route-1", "file"), &jq));
    on_any(&router.explain(&order, &jq));
}

async fn planned(router: &Router, event: &Event) -> String {
    let plan = router.plan(event, &no_jq()).await;
    plan.targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn target(route: &str, output: &str) -> Target {
    Target { route: route.into(), output: output.into() }
}

#[tokio::test]
async fn an_event_goes_where_the_file_says_in_its_order() {
    let router = build(
        r#"[{"to": "file"},
            {"name": "big", "from": "shop", "topic": "ORDER_*", "filter": {"data.total": {"gt": 1000}}, "to": [{"output": "chat", "text": "x"}, "mail"]},
            {"from": ["bank", "shop"], "topic": ["REFUND", "**.paid"], "to": "mail"}]"#,
    )
    .unwrap();
    assert_eq!(planned(&router, &event(r#"{"total":1500.00}"#)).await, "route-1 → file, big → chat, big → mail");
    assert_eq!(planned(&router, &event(r#"{"total":1000.00}"#)).await, "route-1 → file");
    assert_eq!(planned(&router, &event("not json").with_topic("REFUND")).await, "route-1 → file, route-3 → mail");
    assert_eq!(router.targets().count(), 4);
}

#[tokio::test]
async fn a_message_is_the_routes_over_the_outputs_over_the_default() {
    let router = build(
        r#"[{"name": "a", "to": ["mail", {"output": "chat", "text": "<{{ data.n }}>"}, "file"]},
            {"name": "b", "to": {"output": "mail", "title": "T", "headers": {"b": "2", "c": "3"}}}]"#,
    )
    .unwrap();
    let order = event(r#"{"n":"<!channel>"}"#);
    let mut told = vec![];
    for (route, output) in [("a", "mail"), ("a", "chat"), ("b", "mail")] {
        let messages = router.render(&order, &target(route, output), &no_jq()).await.unwrap();
        told.push(String::from_utf8(messages[0].encode()).unwrap());
    }
    insta::assert_snapshot!(told.join("\n"), @r#"
    {"fields":{"headers":{"a":"1","b":"shop"},"text":"mail: &lt;!channel&gt;","title":"ORDER_PAID"}}
    {"fields":{"text":"<&lt;!channel&gt;>","title":"ORDER_PAID"}}
    {"fields":{"headers":{"a":"1","b":"2","c":"3"},"text":"mail: &lt;!channel&gt;","title":"T"}}
    "#);
    let plain = router.render(&order, &target("a", "file"), &no_jq()).await.unwrap();
    assert!(plain[0].is_plain());
    let again: Vec<Arc<Message>> = router.render(&order, &target("a", "file"), &no_jq()).await.unwrap();
    assert!(Arc::ptr_eq(&plain[0], &again[0]), "a plain message is made once");
}

#[tokio::test]
async fn a_text_over_its_limit_is_several_messages_in_order_and_links_to_its_event() {
    let router = build(r#"[{"name": "a", "to": {"output": "sms", "text": "{{ data.t }}", "title": "{{ data.u }}"}}]"#).unwrap();
    let router = router.linking_to(Some("https://sy.nl"));
    let order = event(&serde_json::json!({ "t": "word ".repeat(20).trim_end(), "u": "long ".repeat(60) }).to_string());
    let messages = router.render(&order, &target("a", "sms"), &no_jq()).await.unwrap();
    let told = |name: &str| messages.iter().map(|message| message.text(name).unwrap_or("-").to_owned()).collect::<Vec<_>>();
    let shown = format!("{}\n{}", told("text").join("\n"), told("title").join("\n")).replace(&order.id.to_string(), "EVENT");
    insta::assert_snapshot!(shown, @r"
    (1/2) word word word word word word word word word word
    (2/2) word word word word word word word word word word
    long long long long long long long long long long long long long long long long long long long long… 201 more characters: https://sy.nl/api/events/EVENT
    long long long long long long long long long long long long long long long long long long long long… 201 more characters: https://sy.nl/api/events/EVENT
    ");
    let short = router.render(&event(r#"{"t":"x","u":""}"#), &target("a", "sms"), &no_jq()).await.unwrap();
    assert_eq!((short.len(), short[0].text("text")), (1, Some("x")));
}

#[tokio::test]
async fn a_target_that_left_the_file_is_gone_and_a_template_that_fails_says_why() {
    let router = build(r#"[{"name": "a", "to": [{"output": "chat", "text": "{{ data.customer.name }}"}, "file"]}]"#).unwrap();
    let render = async |route: &str, output: &str| router.render(&event(r#"{"secret":"hush"}"#), &target(route, output), &no_jq()).await;
    assert_eq!(render("b", "chat").await, Err(NotRendered::Gone("b".into())));
    assert_eq!(render("a", "mail").await, Err(NotRendered::Gone("mail".into())));
    let failed = "template of `text`, line 1: `data.customer.name` has no value in this event";
    assert_eq!(render("a", "chat").await, Err(NotRendered::Failed(failed.into())));
}

#[tokio::test]
async fn a_key_is_left_out_where_the_event_lacks_its_value_and_for_no_other_reason() {
    let routes = r#"[{"name": "a", "to": {"output": "stream", "key": "{{ data.shop.id }}"}}, {"name": "b", "to": {"output": "stream", "key": "{{ data.n - 1 }}"}}]"#;
    let router = build(routes).unwrap();
    let render = async |route: &str, body: &str| router.render(&event(body), &target(route, "stream"), &no_jq()).await;
    let key = |rendered: Result<Vec<Arc<Message>>, NotRendered>| rendered.unwrap()[0].text("key").map(str::to_owned);
    assert_eq!(key(render("a", r#"{"shop":{"id":7}}"#).await).as_deref(), Some("7"));
    assert_eq!(key(render("a", "{}").await), None);
    assert!(matches!(render("b", r#"{"n":"x"}"#).await, Err(NotRendered::Failed(why)) if why.contains("`key`")));
}

#[tokio::test]
async fn explain_says_the_first_condition_that_failed() {
    let routes = r#"[{"name": "here", "to": "file"},
            {"name": "bank", "from": "bank", "to": "file"},
            {"name": "topic", "topic": ["REFUND", "A_*"], "to": "file"},
            {"name": "filter", "filter": {"source": "shop", "data.total": {"gt": 1000}, "data.b": 1}, "to": "file"}]"#;
    let router = build(routes).unwrap();
    let verdicts = router.explain(&event(r#"{"total":900.50}"#), &no_jq()).await;
    let told = verdicts.iter().map(|v| match &v.verdict {
        Verdict::Matched(sent) => format!("{}: sends {}", v.route, sent.len()),
        Verdict::Undecided(why) => format!("{}: {why}", v.route),
        Verdict::Missed { why, at } => format!("{}: {why} at {}", v.route, routes[at.start..at.end].chars().take(30).collect::<String>()),
    });
    insta::assert_snapshot!(told.collect::<Vec<_>>().join("\n"), @r#"
    here: sends 1
    bank: from: bank (found shop) at {"name": "bank", "from": "bank
    topic: topic: REFUND, A_* (found ORDER_PAID) at {"name": "topic", "topic": ["R
    filter: data.total: { gt: 1000 } (found 900.50) at "data.total": {"gt": 1000}
    "#);
}

#[test]
fn every_mistake_of_all_routes_is_told_in_one_run() {
    let routes = r#"[{"name": "a", "from": "shpo", "topic": "x***", "where": ".data | slect(.a)", "transform": "[", "to": ["caht", {"output": "chat", "txt": "x", "text": "{{ dta }}"}]},
        {"name": "a", "to": "chat"}, {"name": "ü", "to": "file"}, {"to": ["file", {"output": "file"}]},
        {"to": {"output": "mail", "headers": "x"}}, {"to": {"output": "mail", "title": "${TOKEN}"}}, {"filter": {"data.a": {"gtt": 1}}, "to": "file"}]"#;
    let problems = build(routes).unwrap_err();
    let told = |p: &Problem| {
        let also = p.also.as_ref().map(|(at, says)| format!(" [{}: {says}]", at.start)).unwrap_or_default();
        let within = p.within.as_ref().map(|w| format!(" within {w:?}")).unwrap_or_default();
        let place = routes[p.at.start..p.at.end].chars().take(30).collect::<String>();
        format!("{} at {place}{within}: {} ({}) {}{also}", p.id, p.title, p.label, p.help.as_deref().unwrap_or("-"))
    };
    insta::assert_snapshot!(problems.iter().map(told).collect::<Vec<_>>().join("\n"), @r#"
    unknown-source at "shpo": `shpo` is not a source (no source has this name) did you mean `shop`? [8000: `shop` is defined here]
    wrong-glob at "x***" within 1..4: not a topic (three stars: write `**` to cross dots, `*` to stay between them) a glob has `*` (within dots), `**` (across them) and `?` (one character); write several topics as a list
    wrong-jq at ".data | slect(.a)" within 8..13: `where` is not a jq program that can run (unknown function `slect` with 1 argument) did you mean `select`?
    wrong-jq at "[" within 1..1: `transform` is not a jq program that can run (expected closing bracket) write it as in `.data.total > 1000` or `{id: .data.id}`; a bracket, a quote or a value may be missing
    unknown-output at "caht": route `a` sends to `caht`, which is not an output (no output has this name) did you mean `chat`? [9000: `chat` is defined here]
    unknown-field at "txt": `txt` is not a message field of `chat` (not a field) did you mean `text`? [9000: the output]
    unknown-name at "{{ dta }}" within 3..6: in the template of `text`: unknown name `dta` (here) did you mean `data`?
    duplicate-name at "a": two routes are named `a` (again here) deliveries are known by the name of their route: give one of them another [10: first here]
    missing-field at "chat": `chat` needs `text`: what it says (no `text` here) set `text` at one of the two [9000: and none at the output]
    wrong-name at "ü": not a name for a route (here) letters, digits, `-`, `_` and `.`, at most 64
    duplicate-output at "file": a route sends to `file` twice (again here) a delivery is known by route and output: use a second route [241: first here]
    wrong-type at "x": `headers` is names with a text each, not a text (here) write `headers: { NAME: "…" }`
    secret-in-template at "${TOKEN}": secrets are never reachable from templates and jq (here) use it in a setting of the output; a plain `${` is written `{{ '$' }}{` in a template
    unknown-operator at "gtt": unknown operator `gtt` (not an operator) did you mean `gt`?
    "#);
}

/// A kind whose messages must fit: `sql` names what `params` holds.
struct Statement;
struct NoOutput;

impl switchyard_api::Output for NoOutput {
    fn deliver<'a>(&'a self, _: Vec<switchyard_api::Parcel>, _: &'a switchyard_api::Settle) -> futures_util::future::BoxFuture<'a, ()> {
        Box::pin(async {})
    }
    fn check(&self) -> futures_util::future::BoxFuture<'_, Result<(), switchyard_api::CheckError>> {
        Box::pin(async { Ok(()) })
    }
}

impl switchyard_api::Kind for Statement {
    type Config = std::collections::BTreeMap<String, String>;
    type Output = NoOutput;

    fn name(&self) -> &'static str {
        "statement"
    }
    fn docs(&self) -> &'static str {
        "A statement."
    }

    fn example(&self) -> &'static str {
        "{ type: statement }"
    }
    fn fields(&self) -> Vec<Field> {
        let sql = Field { confine: Confine::Constant, escape: Escape::None, required: true, ..field("sql", Shape::Text) };
        vec![sql, field("params", Shape::Map)]
    }
    fn validate(&self, _: &Self::Config) -> Vec<Problem> {
        vec![]
    }
    fn judge(&self, _: &Self::Config, message: switchyard_api::Written<'_>) -> Vec<Problem> {
        let params = [message.output, message.route].map(|fields| fields.iter().any(|(key, _)| key.name == "params"));
        let own = message.output.iter().find(|(key, _)| key.name == "sql");
        match (own, params) {
            (Some((key, _)), [false, false]) => vec![Problem::error("unknown-param", key.span, "no params", "here")],
            _ => vec![],
        }
    }
    async fn connect(&self, _: Self::Config, _: &switchyard_api::Kit) -> Result<NoOutput, switchyard_api::ConnectError> {
        Ok(NoOutput)
    }
}

fn built_with_statement(own: &str, routes: &str) -> Vec<(&'static str, Option<String>)> {
    let kind = switchyard_api::kind::any(Statement);
    let mut problems = vec![];
    let message = match tree(own).value {
        Value::Map(entries) => entries,
        _ => vec![],
    };
    let config = kind.read(&tree("{}"), &mut problems);
    let output = OutputMessage {
        name: "crm".into(),
        span: Span { start: 9_000, end: 9_001 },
        fields: kind.fields(),
        message,
        config,
        total: None,
        line: None,
        rate_key: None,
        on_dead: None,
    };
    let sections = RouteSection::read_all(&tree(routes), &mut problems).unwrap();
    let router = Router::build(&sections, &[], &[output], &mut problems);
    assert_eq!(router.is_some(), problems.is_empty(), "{problems:?}");
    problems.into_iter().map(|p| (p.id, p.within.map(|within| format!("{within:?}")))).collect()
}

#[test]
fn a_constant_holds_no_template() {
    // L8
    let to = |sql: &str| built_with_statement("{}", &format!(r#"[{{"to": {{"output": "crm", "sql": "{sql}"}}}}]"#));
    assert_eq!(to("DELETE FROM t WHERE a = :a AND b = '{1,2}'"), []);
    assert_eq!(to("DELETE FROM {{ topic }} WHERE 1"), [("not-constant", Some("12..23".into()))]);
    assert_eq!(to("{% if 1 %}DELETE{% endif %}"), [("not-constant", Some("0..10".into()))]);
    assert_eq!(to("SELECT 1 {# x"), [("not-constant", Some("9..13".into()))]);
    assert_eq!(built_with_statement(r#"{"sql": "{{ raw }}"}"#, "[]"), [("not-constant", Some("0..9".into()))]);
}

#[test]
fn fields_that_do_not_fit_are_told_once_for_all_routes() {
    let two = r#"[{"to": "crm", "name": "a"}, {"to": "crm", "name": "b"}]"#;
    assert_eq!(built_with_statement(r#"{"sql": "SELECT :a"}"#, two), [("unknown-param", None)]);
    let with = r#"[{"to": {"output": "crm", "params": {"a": "{{ topic }}"}}}]"#;
    assert_eq!(built_with_statement(r#"{"sql": "SELECT :a"}"#, with), []);
}

/// Several deliveries of an output with a cap are one message, cut by whole items.
#[tokio::test]
async fn what_goes_together_is_one_text_that_fits() {
    let together = |output: OutputMessage| match &*output.name {
        "sms" | "mail" => OutputMessage { line: Some(Line { by: By::All, digest: Some(Digested { first: None, max: 5 }) }), ..output },
        _ => output,
    };
    let routes = r#"[{"name": "a", "to": [{"output": "sms", "text": "{{ data.t }}", "title": "{{ data.t }}"}, "mail"]}]"#;
    let sections = RouteSection::read_all(&tree(routes), &mut vec![]).unwrap();
    let outputs: Vec<_> = outputs().into_iter().map(together).collect();
    let mut problems = vec![];
    let router = Router::build(&sections, &[], &outputs, &mut problems).unwrap_or_else(|| panic!("{problems:?}"));
    let kept = |text: &str| Arc::new(Kept { seq: Seq(7), event: event(&format!(r#"{{"t":"{text}","n":1}}"#)), plan: Plan::default() });
    let sms = target("a", "sms");
    let along: Vec<_> = ["two and a half", "three"].iter().map(|text| (kept(text), Arc::new(sms.clone()))).collect();
    let digest = async |first: &Kept, count| {
        let all = Along { first: &along, count, through: Seq(9) };
        router.digest(&first.event, &sms, all, &no_jq()).await.unwrap().unwrap()
    };
    let message = digest(&kept("one"), 2).await;
    assert_eq!((message.text("text"), message.text("title")), (Some("one\ntwo and a half\nthree"), Some("one")));
    assert_eq!(message.digest.map(|digest| (digest.count, digest.through)), Some((3, 9)));
    let message = digest(&kept("one"), 1_200).await;
    assert_eq!(message.text("text"), Some("one\ntwo and a half\nthree\n… and 1,198 more"));
    let message = digest(&kept(&"word ".repeat(9)), 2).await;
    assert_eq!(message.text("text"), Some(&*format!("{}\n… and 2 more", "word ".repeat(9))));
    assert!(router.shown_together(&sms) == Some(5) && router.shown_together(&target("a", "chat")).is_none());
    // Alone it is what it would be.
    let alone = Along { first: &[], count: 0, through: Seq(7) };
    let mail = router.digest(&kept("x").event, &target("a", "mail"), alone, &no_jq()).await.unwrap().unwrap();
    assert_eq!((mail.text("text"), mail.digest.map(|digest| digest.count)), (Some("mail: 1"), Some(1)));
}
