//! `where` and `transform` of routes, with real workers: from the file's words to plans and messages.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use switchyard::model::{Event, EventId, Headers, NotRendered, Target, Timestamp};
use switchyard::route::{JqPool, OutputMessage, RouteSection, Router, Verdict};
use switchyard_api::tree::{Key, Node, Value};
use switchyard_api::{Field, Shape, Span};

/// A route as the file has it.
fn route(entries: &[(&str, &str)]) -> Node {
    let key = |name: &str| Key { span: Span::default(), name: name.to_owned() };
    let entries = entries.iter().map(|(name, text)| (key(name), Node::text(*text))).collect();
    Node { span: Span::default(), value: Value::Map(entries) }
}

fn router(routes: &[Node]) -> Router {
    let mut problems = vec![];
    let sections: Vec<_> = routes.iter().filter_map(|node| RouteSection::read(node, &mut problems)).collect();
    let text = Field {
        name: "text".into(),
        docs: "what it says".into(),
        shape: Shape::Text,
        escape: switchyard_api::escape::Escape::None,
        confine: switchyard_api::Confine::Content,
        required: false,
        default: Some("{{ data.id|default('none') }} {{ raw }}".into()),
        cap: None,
    };
    let output = |name: &str, fields| OutputMessage {
        name: name.into(),
        span: Span::default(),
        fields,
        message: vec![],
        config: None,
        total: None,
        line: None,
        rate_key: None,
        on_dead: None,
    };
    let built = Router::build(&sections, &[], &[output("file", vec![]), output("chat", vec![text])], &mut problems);
    built.unwrap_or_else(|| panic!("{problems:?}"))
}

fn jq() -> JqPool {
    JqPool::start(PathBuf::from(env!("CARGO_BIN_EXE_switchyard")), 2).with_wall(Duration::from_secs(30))
}

fn order(body: &str) -> Event {
    Event {
        id: EventId([1; 16]),
        source: "shop".into(),
        topic: "ORDER_PAID".into(),
        received_at: Timestamp(0),
        headers: Headers::default(),
        query: "".into(),
        body: body.to_owned().into(),
        sender_id: None,
        signed_with: None,
    }
}

const TWO_WAREHOUSES: &str =
    r#"{"id":9,"items":[{"sku":"a","warehouse":"NL","price":1.50},{"sku":"b","warehouse":"BE"},{"sku":"c","warehouse":"NL"}]}"#;

#[tokio::test]
async fn where_takes_what_its_first_result_says() {
    let verdicts = [
        ("true", true),
        ("false", false),
        ("null", false),
        ("0", true),
        ("empty", false),
        ("false, true", false),
        (".data.items | length > 2", true),
    ];
    let routes: Vec<Node> = verdicts.iter().map(|(program, _)| route(&[("where", program), ("to", "file")])).collect();
    let plan = router(&routes).plan(&order(TWO_WAREHOUSES), &jq()).await;
    let planned: Vec<&str> = plan.targets.iter().map(|target| &*target.route).collect();
    let expected: Vec<String> = (1..).zip(verdicts).filter(|(_, (_, taken))| *taken).map(|(n, _)| format!("route-{n}")).collect();
    assert_eq!(planned, expected);
    assert_eq!(plan.failed, []);
}

#[tokio::test]
async fn a_where_that_cannot_be_decided_is_planned_with_the_reason() {
    let routes =
        [route(&[("to", "file")]), route(&[("where", ".data.id.x"), ("to", "chat")]), route(&[("where", "[range(1e12)]"), ("to", "file")])];
    let (router, jq) = (router(&routes), jq());
    let plan = router.plan(&order(TWO_WAREHOUSES), &jq).await;
    assert_eq!(plan.targets.len(), 3);
    let failed: Vec<usize> = plan.failed.iter().map(|(i, _)| *i).collect();
    assert_eq!(failed, [1, 2]);
    assert!(plan.failed[0].1.starts_with("where: jq: cannot index 9"), "{:?}", plan.failed);
    assert_eq!(plan.failed[1].1, "where: jq: takes too many steps");
    let verdicts = router.explain(&order(TWO_WAREHOUSES), &jq).await;
    assert!(matches!(verdicts[1].verdict, Verdict::Undecided(_)));
}

#[tokio::test]
async fn each_result_of_a_transform_is_a_message_that_templates_see_as_data() {
    let routes = [
        route(&[("transform", ".data.items[] | select(.warehouse == \"NL\") | {id: .sku, price}"), ("to", "chat")]),
        route(&[("transform", "empty"), ("to", "file")]),
        route(&[("transform", ".data.id.x"), ("to", "file")]),
    ];
    let (router, jq) = (router(&routes), jq());
    let render = async |route: &str, output: &str| {
        let target = Target { route: route.into(), output: output.into() };
        let messages = router.render(&order(TWO_WAREHOUSES), &target, &jq).await?;
        Ok::<_, NotRendered>(
            messages
                .iter()
                .map(|m| (m.payload.clone().unwrap_or_default(), m.text("text").unwrap_or_default().to_owned()))
                .collect::<Vec<_>>(),
        )
    };
    let both = |json: &str, id: &str| (json.to_owned(), format!("{id} {json}"));
    let first = both(r#"{"id":"a","price":1.50}"#, "a");
    assert_eq!(render("route-1", "chat").await.unwrap(), [first, both(r#"{"id":"c","price":null}"#, "c")]);
    assert_eq!(render("route-2", "file").await.unwrap(), []);
    assert!(matches!(render("route-3", "file").await, Err(NotRendered::Failed(why)) if why.starts_with("transform: jq: cannot index 9")));
}

#[tokio::test]
async fn a_body_that_is_not_json_has_null_data_for_jq_too() {
    let router = router(&[route(&[("where", ".data == null and .raw == \"not json\" and .topic == \"ORDER_PAID\""), ("to", "file")])]);
    let plan = router.plan(&order("not json"), &jq()).await;
    assert_eq!(plan.targets, [Arc::new(Target { route: "route-1".into(), output: "file".into() })]);
}
