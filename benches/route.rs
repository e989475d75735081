//! Do routes that do not match cost anything? Prints nanoseconds an event at 10 to 10,000 routes, of which five match. And what do a program of
//! jq in its own process and a template cost, beside the bare engines that they are made of?
//! `cargo bench --bench route` (or `--profile fast`).

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use switchyard::model::envelope::envelope_text;
use switchyard::model::{Event, EventId, Headers, Timestamp};
use switchyard::route::jq::Program;
use switchyard::route::template::{Context, Engine, Rules};
use switchyard::route::{JqPool, OutputMessage, RouteSection, Router};
use switchyard_api::Span;
use switchyard_api::escape::Escape;
use switchyard_api::kind::Confine;
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

/// The best of several rounds, in nanoseconds a turn.
#[allow(clippy::disallowed_methods)] // a bench measures
fn best(turns: u32, mut round: impl FnMut(u32)) -> f64 {
    let mut timed = || {
        let started = Instant::now();
        round(turns);
        started.elapsed()
    };
    let best = (0..7).map(|_| timed()).min().unwrap_or(Duration::ZERO);
    best.as_nanos() as f64 / f64::from(turns)
}

fn cost(router: &Router, event: &Event, jq: &JqPool, runtime: &tokio::runtime::Runtime) -> f64 {
    best(20_000, |turns| {
        runtime.block_on(async {
            for _ in 0..turns {
                std::hint::black_box(router.plan(event, jq).await);
            }
        });
    })
}

const PROGRAM: &str = r#"[.data.items[] | select(.warehouse == "NL")] | length > 0"#;

/// A round trip to the worker; and what it is made of: the engine with its input read from the same bytes, and the bytes through a pipe and back.
fn programs(event: &Event, runtime: &tokio::runtime::Runtime) -> std::io::Result<(f64, f64, f64)> {
    let pool = JqPool::start(env!("CARGO_BIN_EXE_switchyard").into(), 1);
    let program = Program::check(PROGRAM).map_err(|why| std::io::Error::other(format!("{why:?}")))?;
    let input = envelope_text(event);
    let answer = runtime.block_on(pool.run(&program, &input)).map_err(std::io::Error::other)?;
    assert_eq!(answer, ["true"]);
    let worker = best(5_000, |turns| {
        runtime.block_on(async {
            for _ in 0..turns {
                let _ = std::hint::black_box(pool.run(&program, &input).await);
            }
        });
    });
    let mut echo = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (mut to, mut from) = echo.stdin.take().zip(echo.stdout.take()).ok_or(std::io::ErrorKind::BrokenPipe)?;
    let mut heard = vec![0; input.len()];
    let pipe = best(5_000, |turns| {
        for _ in 0..turns {
            let _ = to.write_all(input.as_bytes()).and_then(|()| from.read_exact(&mut heard));
        }
    });
    drop(to);
    echo.wait()?;
    Ok((worker, bare_jq(&input), pipe))
}

fn bare_jq(input: &str) -> f64 {
    use jaq_core::load::{Arena, File, Loader};
    use jaq_core::{Compiler, Ctx, Vars, data};
    let (arena, file) = (Arena::default(), File { code: PROGRAM, path: () });
    let loader = Loader::new(jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs()));
    let modules = loader.load(&arena, file).unwrap_or_else(|why| panic!("{why:?}"));
    let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let filter = Compiler::default().with_funs(functions).compile(modules).unwrap_or_else(|why| panic!("{why:?}"));
    best(20_000, |turns| {
        for _ in 0..turns {
            let value = jaq_json::read::parse_single(input.as_bytes()).unwrap_or_else(|why| panic!("{why}"));
            let context = Ctx::<data::JustLut<jaq_json::Val>>::new(&filter.lut, Vars::new([]));
            std::hint::black_box(filter.id.run((context, value)).count());
        }
    })
}

const TEMPLATE: &str = "Order {{ data.number }}: {{ data.total }} EUR from {{ data.customer.name }}";

/// A message of one line, its context included, escaped for plain text; and the bare engine with a context of the same body.
fn templates(event: &Event) -> (f64, f64) {
    let engine = Engine::new(Rules { escape: Escape::None, confine: Confine::Content });
    let template = engine.compile(TEMPLATE).unwrap_or_else(|why| panic!("{why:?}"));
    let expected = "Order 2026-0007: 1500.00 EUR from Ann";
    assert_eq!(template.render(&Context::new(event, None)).as_deref(), Ok(expected));
    let ours = best(20_000, |turns| {
        for _ in 0..turns {
            let _ = std::hint::black_box(template.render(&Context::new(event, None)));
        }
    });
    let mut bare = minijinja::Environment::new();
    let added = bare.add_template("only", TEMPLATE);
    added.unwrap_or_else(|why| panic!("{why}"));
    let theirs = best(20_000, |turns| {
        for _ in 0..turns {
            let data: serde_json::Value = serde_json::from_slice(&event.body).unwrap_or_default();
            let context = minijinja::context! { data => minijinja::value::Serde(data) };
            let _ = std::hint::black_box(bare.get_template("only").and_then(|template| template.render(context)));
        }
    });
    (ours, theirs)
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
    let (worker, engine, pipe) = programs(&event, &runtime)?;
    println!("\njq of {} bytes in its own process: {worker:.0} ns", PROGRAM.len());
    println!("  the bare engine {engine:.0}, the bytes through a pipe and back {pipe:.0}: ratio to both {:.2}", worker / (engine + pipe));
    let (ours, theirs) = templates(&event);
    println!("a template with its context: {ours:.0} ns; the bare engine {theirs:.0}: ratio {:.2}", ours / theirs);
    Ok(())
}
