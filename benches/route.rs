//! Do routes that do not match cost anything? Prints nanoseconds an event at 10 to 10,000 routes, of which five match.
//! `cargo bench --bench route` (or `--profile fast`).

use std::sync::Arc;
use std::time::{Duration, Instant};
use switchyard::model::{Event, EventId, Headers, Timestamp};
use switchyard::route::{JqPool, OutputMessage, RouteSection, Router};
use switchyard_api::Span;
use switchyard_api::tree::{Key, Node, Value};

fn map(entries: Vec<(&str, Node)>) -> Node {
    let key = |name: &str| Key { span: Span::default(), name: name.to_owned() };
    Node { span: Span::default(), value: Value::Map(entries.into_iter().map(|(name, node)| (key(name), node)).collect()) }
}

fn router(routes: usize, filtered: bool) -> Router {
    let number = |n| Node { span: Span::default(), value: Value::Int(n) };
    let topics = ["ORDER_PAID", "ORDER_*", "ORDER_P*", "**", "ORDER_PAI?"];
    let nodes = (0..routes).map(|i| {
        let topic =
            topics.get(i).map_or_else(|| if i % 2 == 0 { format!("TOPIC_{i}") } else { format!("TOPIC_{i}_*") }, ToString::to_string);
        let mut entries = vec![("topic", Node::text(topic)), ("to", Node::text("file"))];
        if filtered {
            entries
                .push(("filter", map(vec![("data.total", map(vec![("gt", number(1000))])), ("data.customer.country", Node::text("NL"))])));
        }
        map(entries)
    });
    let mut problems = vec![];
    let sections: Vec<RouteSection> = nodes.filter_map(|node| RouteSection::read(&node, &mut problems)).collect();
    let output = OutputMessage {
        name: "file".into(),
        span: Span::default(),
        fields: vec![],
        message: vec![],
        config: None,
        total: None,
        line: None,
        rate_key: None,
        on_dead: None,
    };
    Router::build(&sections, &[], &[output], &mut problems).unwrap_or_else(|| panic!("{problems:?}"))
}

fn order() -> Event {
    let items: Vec<String> = (0..8).map(|i| format!(r#"{{"sku":"article-{i}","quantity":{i},"price":12.50,"warehouse":"NL"}}"#)).collect();
    let body = format!(
        r#"{{"id":123456,"number":"2026-0007","currency":"EUR","items":[{}],"customer":{{"name":"Ann","country":"NL","email":"ann@shop.example"}},"total":1500.00}}"#,
        items.join(",")
    );
    Event {
        id: EventId([1; 16]),
        source: Arc::from("shop"),
        topic: Arc::from("ORDER_PAID"),
        received_at: Timestamp(0),
        headers: Headers::default(),
        query: "".into(),
        body: body.into(),
        sender_id: None,
        signed_with: None,
    }
}

/// The best of several rounds, in nanoseconds an event.
#[allow(clippy::disallowed_methods)] // a bench measures
fn cost(router: &Router, event: &Event, jq: &JqPool, runtime: &tokio::runtime::Runtime) -> f64 {
    const EVENTS: u32 = 20_000;
    let round = || {
        let started = Instant::now();
        runtime.block_on(async {
            for _ in 0..EVENTS {
                std::hint::black_box(router.plan(event, jq).await);
            }
        });
        started.elapsed()
    };
    let best = (0..7).map(|_| round()).min().unwrap_or(Duration::ZERO);
    best.as_nanos() as f64 / f64::from(EVENTS)
}

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let jq = JqPool::start("/nowhere".into(), 1);
    let event = order();
    println!("body of {} bytes; ns an event, 5 routes match", event.body.len());
    println!("{:>8} {:>14} {:>14}", "routes", "topics", "with filters");
    for routes in [10, 100, 1_000, 10_000] {
        let (plain, filtered) = (router(routes, false), router(routes, true));
        println!("{routes:>8} {:>14.0} {:>14.0}", cost(&plain, &event, &jq, &runtime), cost(&filtered, &event, &jq, &runtime));
    }
    Ok(())
}
