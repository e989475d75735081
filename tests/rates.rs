//! Limits with the real daemon, watched from the far side: never more than the rate and a burst in any window, for each key, through
//! retries, replays, a kill and a reload; and one key never keeps another waiting.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

mod yard;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use yard::far_side::Arrived;
use yard::{Behaviour, FarSide, Yard, wait_for};

fn shop(url: &str, rate: &str) -> String {
    format!(
        "routes: [{{ name: all, to: shop }}]
outputs:
  shop:
    type: http
    url: {url}
    rate: {rate}
    replay: {{ share: 50% }}
    retry: {{ schedule: [10ms, 10ms, 10ms, 10ms, 10ms, 10ms, 10ms, 10ms] }}
"
    )
}

fn body(key: &str, n: usize) -> String {
    format!(r#"{{"key":"{key}","n":{n}}}"#)
}

/// Moments of arrival by key.
fn by_key(arrived: &[Arrived]) -> BTreeMap<String, Vec<Instant>> {
    let mut keys: BTreeMap<String, Vec<Instant>> = BTreeMap::new();
    for one in arrived {
        keys.entry(one.json()["key"].as_str().unwrap_or("?").to_owned()).or_default().push(one.at);
    }
    keys
}

/// What is sent in time may arrive a little late, so that what comes after it seems early.
const LATE: Duration = Duration::from_millis(150);

/// Never more than `rate · window + burst` in any window.
fn assert_within(moments: &[Instant], interval: Duration, burst: u32, key: &str) {
    for first in 0..moments.len() {
        for last in first..moments.len() {
            let window = moments[last].duration_since(moments[first]) + LATE;
            let most = window.as_secs_f64() / interval.as_secs_f64() + f64::from(burst);
            let came = (last - first + 1) as f64;
            assert!(came <= most + 1e-6, "{came} of key {key} within {window:?}, at most {most}");
        }
    }
}

#[test]
fn no_key_gets_more_than_its_limit_through_retries_replays_a_kill_and_reloads() {
    let far = FarSide::start();
    // Each fourth is worth another try.
    let mut count = 0;
    far.judge(move |_| {
        count += 1;
        if count % 4 == 0 { Behaviour::status(500) } else { Behaviour::ok() }
    });
    let limit = "{ limit: 5/s, burst: 2, key: \"{{ data.key }}\" }";
    let mut yard = Yard::new(&shop(&far.url(), limit)).start();
    let keys = ["a", "b", "c"];
    let mut events = vec![];
    let mut post = |yard: &Yard, n: usize| events.extend(keys.map(|key| yard.post("ORDER", &body(key, n))));
    (0..8).for_each(|n| post(&yard, n));
    wait_for("the first of them", || far.arrived().len() >= 12);
    yard.kill();
    yard.run();
    (8..12).for_each(|n| post(&yard, n));
    // A file that changes other things keeps the buckets.
    yard.write(&shop(&far.url(), limit).replace("50%", "40%"));
    wait_for("most of them", || far.arrived().len() >= 24);
    assert!(yard.cli(&["replay", "--output", "shop", "--state", "delivered", "--yes"]).status.success(), "{}", yard.log());
    for event in &events {
        yard.wait_state(event, "shop", "delivered");
    }
    wait_for("all of them, and those asked for again", || yard.json(&["deliveries", "--output", "shop", "--state", "waiting"]).is_empty());
    let came = by_key(&far.arrived());
    assert_eq!(came.len(), 3);
    for (key, moments) in came {
        assert!(moments.len() > 12, "{} of {key}", moments.len());
        assert_within(&moments, Duration::from_millis(200), 2, &key);
    }
    // Another limit begins with an empty bucket.
    let from = far.arrived().len();
    yard.write(&shop(&far.url(), &limit.replace("burst: 2", "burst: 50")));
    wait_for("the reload", || yard.log().matches("the new configuration runs").count() >= 2);
    (100..110).for_each(|n| drop(yard.post("ORDER", &body("a", n))));
    wait_for("some", || far.arrived().len() >= from + 5);
    let moments: Vec<Instant> = far.arrived()[from..].iter().map(|one| one.at).collect();
    assert_within(&moments[..5], Duration::from_millis(200), 1, "a");
}

#[test]
fn a_key_with_a_long_line_keeps_no_other_waiting_and_is_served_when_its_limit_is_raised() {
    let far = FarSide::start();
    let limit = "{ limit: 1/h, burst: 1, key: \"{{ data.key }}\" }";
    // An hour's limit would begin with an hour's wait.
    let yard = Yard::new(&shop(&far.url(), "{ limit: 1000/s, burst: 1000, key: \"{{ data.key }}\" }")).start();
    let first = yard.post("ORDER", &body("a", 0));
    yard.wait_state(&first, "shop", "delivered");
    far.next([Behaviour::with(429, "Retry-After", "3600")]);
    let told = yard.post("ORDER", &body("slow", 0));
    wait_for("the far side to ask for patience", || far.arrived().len() == 2);
    let behind: Vec<String> = (1..40).map(|n| yard.post("ORDER", &body("slow", n))).collect();
    let free = yard.post("ORDER", &body("other", 1));
    yard.wait_state(&free, "shop", "delivered");
    let row = yard.wait_state(&told, "shop", "waiting");
    assert!(row["detail"].as_str().unwrap().starts_with("told to wait until 2"), "{row}");
    let row = yard.wait_state(behind.last().unwrap(), "shop", "waiting");
    assert_eq!(row["detail"], "waits for its turn: 1000/s, burst 1000, for each `{{ data.key }}`");
    let outputs = yard.admin("GET", "/api/outputs", "").json();
    assert!(outputs["outputs"][0]["told_to_wait_until"].as_str().is_some_and(|until| until.starts_with('2')), "{outputs}");
    assert_eq!(by_key(&far.arrived())["slow"].len(), 1);
    // Those that wait for their turn are called back by another limit; the one that was told stays where it is.
    yard.write(&shop(&far.url(), &limit.replace("1/h", "500/s")));
    for event in &behind {
        yard.wait_state(event, "shop", "delivered");
    }
    yard.wait_state(&told, "shop", "waiting");
}

#[test]
fn an_event_without_the_key_shares_the_limit_of_those_without() {
    let far = FarSide::start();
    let yard = Yard::new(&shop(&far.url(), "{ limit: 5/s, burst: 1, key: \"{{ data.key }}\" }")).start();
    let events: Vec<String> = (0..8).map(|n| yard.post("ORDER", &format!(r#"{{"n":{n}}}"#))).collect();
    let no_json = yard.post("ORDER", "no JSON at all");
    for event in events.iter().chain([&no_json]) {
        yard.wait_state(event, "shop", "delivered");
    }
    let moments: Vec<Instant> = far.arrived().iter().map(|one| one.at).collect();
    assert_eq!(moments.len(), 9);
    assert_within(&moments, Duration::from_millis(200), 1, "none");
}
