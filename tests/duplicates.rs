//! Repeats with the real daemon: swallowed by id and body together, counted, listed, and let go by one command, across a restart.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

mod yard;

use serde_json::Value;
use yard::{FarSide, Yard, http};

fn yard(far: &FarSide) -> Yard {
    let yard = Yard::new("");
    yard.write_whole(&format!(
        "server: {{ listen: 127.0.0.1:0, admin: {{ listen: 127.0.0.1:0 }} }}
sources:
  shop: {{ verify: none, id: {{ header: X-Id }}, topic: {{ header: X-Topic }} }}
  till: {{ verify: none }}
routes: [{{ name: all, to: far }}]
outputs:
  far: {{ type: http, url: {} }}
",
        far.url()
    ));
    yard.start()
}

fn post(yard: &Yard, path: &str, id: &str, attempt: &str, body: &str) -> Value {
    let headers = [("x-id", id), ("x-topic", "ORDER_PAID"), ("x-attempt", attempt), ("content-type", "application/json")];
    http::request(&yard.daemon().events, "POST", path, &headers, body.as_bytes()).unwrap().json()
}

#[test]
fn a_repeat_is_listed_with_what_it_repeats_and_let_go_once() {
    let far = FarSide::start();
    let mut yard = yard(&far);
    let first = post(&yard, "/shop", "7", "1", r#"{"n":1}"#)["event"].as_str().unwrap().to_owned();
    let repeat = post(&yard, "/shop", "7", "2", r#"{"n":1}"#);
    assert_eq!((&repeat["event"], &repeat["duplicate"]), (&Value::from(first.as_str()), &true.into()));
    // The same id with another body is an event, and marked.
    let other = post(&yard, "/shop", "7", "1", r#"{"n":2}"#)["event"].as_str().unwrap().to_owned();
    post(&yard, "/till", "", "1", "{}");
    post(&yard, "/till", "", "2", "{}");
    far.wait(3);
    let marked: Vec<Value> = yard.json(&["events"]).into_iter().filter(|event| event["reused_id"] == true).collect();
    assert_eq!(marked.iter().map(|event| event["id"].as_str().unwrap()).collect::<Vec<_>>(), [other.as_str()]);
    yard.kill();
    yard.run();
    let listed = yard.json(&["duplicates", "--source", "shop"]);
    assert_eq!(listed.len(), 1, "{listed:?}");
    let one = &listed[0];
    assert_eq!((&one["of"], &one["sender_id"], &one["topic"]), (&first.as_str().into(), &"7".into(), &"ORDER_PAID".into()));
    assert!(one["received_at"].as_str().unwrap() >= one["first_at"].as_str().unwrap());
    assert_eq!(yard.json(&["duplicates"]).len(), 2);
    assert_eq!(yard.json(&["events", &first])[0]["duplicates"].as_array().unwrap().len(), 1);
    // For people: what it repeats, and what to do.
    let told = String::from_utf8(yard.cli(&["duplicates", "--of", &first]).stdout).unwrap();
    assert!(told.contains(&first) && told.contains("switchyard duplicates release ID"), "{told}");

    let id = one["id"].as_str().unwrap();
    let before = far.wait(3).len();
    let released = yard.cli(&["duplicates", "release", id]);
    assert!(released.status.success(), "{released:?}");
    yard.wait_state(id, "far", "delivered");
    let arrived = far.wait(before + 1);
    assert_eq!(arrived[before].text(), r#"{"n":1}"#);
    // It is an event with a head of its own.
    let event = &yard.json(&["events", id])[0];
    assert_eq!((&event["headers"]["x-attempt"], &event["sender_id"], &event["topic"]), (&"2".into(), &"7".into(), &"ORDER_PAID".into()));
    let again = yard.cli(&["duplicates", "release", id]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("was released already"), "{again:?}");
    let unknown = yard.cli(&["duplicates", "release", &other]);
    assert_eq!(unknown.status.code(), Some(1));
    assert_eq!((yard.json(&["duplicates", "--source", "shop"]).len(), far.wait(before + 1).len()), (0, before + 1));
    assert_eq!(yard.json(&["audit"])[0]["lost"], 0);
    // A later repeat is one of that.
    assert_eq!(post(&yard, "/shop", "7", "3", r#"{"n":1}"#)["event"], id);
}

#[test]
fn repeats_are_counted_by_source() {
    let far = FarSide::start();
    let yard = yard(&far);
    for attempt in ["1", "2", "3"] {
        post(&yard, "/shop", "7", attempt, "{}");
    }
    let metrics = String::from_utf8(yard.admin("GET", "/metrics", "").body).unwrap();
    assert!(metrics.contains("switchyard_duplicates_total{source=\"shop\"} 2"), "{metrics}");
    let top = String::from_utf8(yard.cli(&["top", "--once", "--every", "100ms"]).stdout).unwrap();
    let shop: Vec<&str> = top.lines().find(|line| line.contains("shop")).unwrap_or_default().split_whitespace().collect();
    assert_eq!(shop[..4], ["shop", "1", "2", "0"], "{top}");
}
