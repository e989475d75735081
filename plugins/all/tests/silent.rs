//! Against a far side that takes connections and says nothing no output has sent anything: each says that it is down, and says so
//! before an attempt of two seconds is given up and counted.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a test

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};
use switchyard_api::conformance::{deliver_one, parcel};
use switchyard_api::tree::{Key, Value};
use switchyard_api::{Kit, Message, Node, Outcome, Rendered, Span, Wall};

const TIMEOUT: Duration = Duration::from_secs(2);

/// Type, settings, message; `PORT` is where nobody speaks.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static [(&'static str, &'static str)]);

const CASES: &[Case] = &[
    ("sql", &[("url", "postgres://u:p@127.0.0.1:PORT/d")], &[("sql", "INSERT INTO t VALUES (1)")]),
    ("sql", &[("url", "mysql://u:p@127.0.0.1:PORT/d")], &[("sql", "INSERT INTO t VALUES (1)")]),
    ("mqtt", &[("url", "mqtt://127.0.0.1:PORT")], &[("topic", "a")]),
    ("redis", &[("url", "redis://127.0.0.1:PORT")], &[("stream", "a")]),
    ("redis", &[("url", "rediss://127.0.0.1:PORT")], &[("stream", "a")]),
    ("nats", &[("url", "nats://127.0.0.1:PORT")], &[("subject", "a")]),
    ("email", &[("smtp", "smtp://127.0.0.1:PORT?tls=none"), ("from", "a@example.com"), ("to", "[b@example.com]")], &[("subject", "a")]),
    ("amqp", &[("url", "amqp://127.0.0.1:PORT"), ("exchange", "a")], &[("routing_key", "a")]),
];

/// A text in brackets is a list of one.
fn settings(pairs: &[(&str, &str)], port: u16) -> Node {
    let span = Span { start: 0, end: 0 };
    let value = |text: &str| {
        let text = text.replace("PORT", &port.to_string());
        let one = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        one.map_or_else(|| Node::text(text.as_str()), |one| Node { span, value: Value::List(vec![Node::text(one)]) })
    };
    let entry = |(name, text): &(&str, &str)| (Key { span, name: (*name).to_owned() }, value(text));
    Node { span, value: Value::Map(pairs.iter().map(entry).collect()) }
}

/// What the output of a case says of two deliveries at once, and how long it took.
async fn told((kind, pairs, fields): &Case, port: u16) -> ([Outcome; 2], Duration) {
    let of_kind = switchyard_plugins::kinds().into_iter().find(|one| one.name() == *kind).unwrap();
    let mut problems = vec![];
    let config = of_kind.read(&settings(pairs, port), &mut problems);
    let config = config.unwrap_or_else(|| panic!("{kind}: {problems:?}"));
    let kit = Kit { timeout: TIMEOUT, ..Kit::new("silent", "/", "switchyard/0", Wall::new(|| 0)) };
    let output = config.connect(&kit).await.unwrap();
    let texts = fields.iter().map(|(name, text)| ((*name).to_owned(), Rendered::Text((*text).to_owned())));
    let message = Message { fields: texts.collect(), ..Message::default() };
    let started = Instant::now();
    // The second finds the first still connecting, and has no more time for it.
    let (first, second) = tokio::join!(deliver_one(&*output, parcel(1, &message)), deliver_one(&*output, parcel(2, &message)));
    ([first, second], started.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_far_side_that_says_nothing_is_down_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    for case in CASES {
        let (outcomes, took) = told(case, port).await;
        for outcome in outcomes {
            assert_eq!(outcome.word(), "down", "{}: {outcome:?}", case.0);
        }
        assert!(took < TIMEOUT, "{}: {took:?}", case.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_far_side_that_speaks_another_protocol_costs_no_attempt_and_is_told_in_plain_words() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut open = vec![];
        for stream in server.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
            open.push(stream);
        }
    });
    for case in CASES {
        for outcome in told(case, port).await.0 {
            assert!(matches!(outcome.word(), "down" | "misconfigured"), "{}: {outcome:?}", case.0);
            let raw = ["Nom", "max_allowed_packet", "corrupt message", "Parse error", "ParserErrors", "{ ", "\\u{"];
            assert!(!raw.iter().any(|raw| outcome.text().contains(raw)), "{}: {outcome:?}", case.0);
        }
    }
}
