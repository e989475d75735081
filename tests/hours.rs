//! `hours` and `switchyard silence` with the real daemon: held outside, sent when they open, through restarts, reloads and a leap of the clock.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

#[path = "examples/leaping.rs"]
mod leaping;
mod yard;

use leaping::{Leaping, Time};
use serde_json::Value;
use std::time::Duration;
use switchyard::model::Clock;
use yard::{FarSide, Yard, wait_for};

const HOUR: Duration = Duration::from_hours(1);

/// Hours in UTC that begin so many hours from now, and last for two.
fn opening_in(hours: i64) -> String {
    let clock = |hours: i64| (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours)).strftime("%H:%M").to_string();
    format!("{{ zone: UTC, from: \"{}\", to: \"{}\" }}", clock(hours), clock(hours + 2))
}

fn shop(url: &str, route: &str, output: &str) -> String {
    format!(
        "routes:
  - {{ name: office, topic: ORDER, to: shop{route} }}
  - {{ name: always, topic: ALARM, to: shop }}
outputs:
  shop: {{ type: http, url: {url}{output} }}
"
    )
}

/// No two alike: a repeat would be none.
fn body(n: usize) -> String {
    format!(r#"{{"key":"a","n":{n}}}"#)
}

fn lost_nothing(yard: &Yard) {
    let audit = yard.json(&["audit"]);
    assert_eq!(audit[0]["lost"], 0, "{audit:?}");
}

fn told(yard: &Yard, args: &[&str]) -> (Option<i32>, String) {
    let output = yard.cli(args);
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn outside_a_routes_hours_it_is_held_and_goes_when_they_open() {
    let far = FarSide::start();
    let yard = Yard::new(&shop(&far.url(), &format!(", hours: {}", opening_in(2)), ""));
    let day = Leaping::start(yard.env("SHOP_SECRET", yard::SECRET), Time::default());
    let yard = &day.yard;
    let order = yard.post("ORDER", &body(0));
    let held = yard.wait_state(&order, "shop", "held");
    assert!(held["detail"].as_str().unwrap().starts_with("outside the hours of `office` until "), "{held}");
    let opens: jiff::Timestamp = held["due_at"].as_str().unwrap().parse().unwrap();
    assert!((1..=7_200_000).contains(&(opens.as_millisecond() - day.time.wall().0)) && held["attempts"] == 0, "{held}");
    let alarm = yard.post("ALARM", &body(1));
    yard.wait_state(&alarm, "shop", "delivered");
    day.leap(HOUR);
    let again = yard.post("ALARM", &body(2));
    yard.wait_state(&again, "shop", "delivered");
    yard.wait_state(&order, "shop", "held");
    day.leap(HOUR + HOUR / 2);
    yard.wait_state(&order, "shop", "delivered");
    let inside = yard.post("ORDER", &body(3));
    yard.wait_state(&inside, "shop", "delivered");
    day.leap(2 * HOUR);
    let late = yard.post("ORDER", &body(4));
    yard.wait_state(&late, "shop", "held");
    assert_eq!(far.arrived().len(), 4);
    lost_nothing(yard);
}

#[test]
fn a_restart_keeps_them_held_and_a_changed_file_decides_again() {
    let far = FarSide::start();
    let mut yard = Yard::new(&shop(&far.url(), &format!(", hours: {}", opening_in(4)), "")).start();
    let first = yard.post("ORDER", "{}");
    yard.wait_state(&first, "shop", "held");
    yard.kill();
    yard.run();
    yard.wait_state(&first, "shop", "held");
    // Now it is the output that is closed.
    yard.write(&shop(&far.url(), "", &format!(", hours: {}", opening_in(6))));
    wait_for("the other reason", || {
        yard.deliveries(&first)[0]["detail"].as_str().unwrap().starts_with("outside the hours of the output `shop` until ")
    });
    assert_eq!(far.arrived().len(), 0);
    let outputs = yard.admin("GET", "/api/outputs", "").json();
    assert!(outputs["outputs"][0]["held"][0].as_str().unwrap().starts_with("outside the hours of the output"), "{outputs}");
    yard.kill();
    yard.write(&shop(&far.url(), &format!(", hours: [{}, {}]", opening_in(-1), opening_in(4)), ""));
    yard.run();
    yard.wait_state(&first, "shop", "delivered");
    lost_nothing(&yard);
}

#[test]
fn what_is_silenced_is_held_and_dead_at_the_end_and_can_be_replayed() {
    let far = FarSide::start();
    let mut yard = Yard::new(&shop(&far.url(), "", ", order_by: { key: \"{{ data.key }}\" }")).start();
    let (code, said) = told(&yard, &["silence", "add", "--output", "shpo", "--until", "1h", "--why", "w", "--by", "ann"]);
    assert!(code != Some(0) && said.contains("there is no output `shpo`; did you mean `shop`?"), "{said}");
    let (code, said) = told(&yard, &["silence", "add", "--route", "off*", "--until", "1h", "--why", "maintenance", "--by", "ann"]);
    assert!(code == Some(0) && said.starts_with("silence 1 begins: until "), "{said}");
    let events: Vec<String> = (0..3).map(|n| yard.post("ORDER", &body(n))).collect();
    for event in &events {
        let held = yard.wait_state(event, "shop", "held");
        wait_for("the reason", || yard.deliveries(event)[0]["detail"].as_str().unwrap().starts_with("silenced by ann until "));
        assert_eq!(held["attempts"], 0);
    }
    let alarm = yard.post("ALARM", &body(3));
    yard.wait_state(&alarm, "shop", "delivered");
    yard.kill();
    yard.run();
    let listed = yard.json(&["silence", "list"]);
    assert_eq!((listed.len(), &listed[0]["why"], &listed[0]["by"]), (1, &Value::from("maintenance"), &Value::from("ann")));
    // Asked for again meanwhile, it is held again.
    assert!(yard.cli(&["replay", &events[0]]).status.success());
    wait_for("it to be held again", || {
        let now = &yard.deliveries(&events[0])[0];
        now["state"] == "held" && now["replays"] == 1
    });
    assert_eq!(far.arrived().len(), 1);
    assert_eq!(told(&yard, &["silence", "end", "1"]).0, Some(0));
    assert_eq!(told(&yard, &["silence", "end", "1"]).0, Some(1));
    for event in &events {
        let dead = yard.wait_state(event, "shop", "dead");
        assert!(dead["detail"].as_str().unwrap().ends_with("maintenance (silence 1, then dead)"), "{dead}");
    }
    let after = yard.post("ORDER", &body(4));
    yard.wait_state(&after, "shop", "delivered");
    assert!(yard.cli(&["replay", &events[1]]).status.success());
    yard.wait_state(&events[1], "shop", "delivered");
    assert_eq!(far.arrived().len(), 3);
    lost_nothing(&yard);
}

#[test]
fn a_silence_that_ends_by_itself_lets_go_what_was_to_be_sent() {
    let far = FarSide::start();
    let yard = Yard::new(&shop(&far.url(), "", "")).start();
    let (code, said) =
        told(&yard, &["silence", "add", "--topic", "ORDER", "--until", "2s", "--why", "a short one", "--by", "bob", "--then", "send"]);
    assert_eq!(code, Some(0), "{said}");
    let order = yard.post("ORDER", "{}");
    yard.wait_state(&order, "shop", "held");
    yard.wait_state(&order, "shop", "delivered");
    assert_eq!(told(&yard, &["silence", "list"]), (Some(1), "nothing is silenced\n".into()));
}

#[test]
fn explain_says_until_when_it_would_wait() {
    let yard = Yard::new(&shop(
        "http://127.0.0.1:9/",
        ", hours: { zone: Europe/Amsterdam, on: mon-fri, from: 08:00, to: \"18:00\", except: [2026-12-25] }",
        "",
    ));
    std::fs::write(yard.path("event.json"), "{}").unwrap();
    let at = |moment: &str| told(&yard, &["explain", "--source", "shop", "--topic", "ORDER", "event.json", "--at", moment]).1;
    let said = at("2026-12-24 23:00");
    assert!(said.contains("would be held: outside the hours of `office` until Mon 2026-12-28 08:00 Europe/Amsterdam"), "{said}");
    let said = at("2026-12-24T12:00:00+01:00");
    assert!(said.contains("→ shop") && !said.contains("held"), "{said}");
}

#[test]
fn wrong_hours_are_told_at_their_place() {
    let told = |hours: &str| {
        let yard = Yard::new(&shop("http://127.0.0.1:9/", &format!(", hours: {hours}"), ""));
        let found = yard.json(&["check"]).remove(0);
        let line = |one: &Value| {
            let place = one["column"].as_u64().unwrap() as usize - 1..one["end_column"].as_u64().unwrap() as usize - 1;
            let text = std::fs::read_to_string(yard.path("routes.yaml")).unwrap();
            let written = &text.lines().nth(one["line"].as_u64().unwrap() as usize - 1).unwrap()[place];
            format!(
                "{} at {written}: {}: {} ({})",
                one["id"].as_str().unwrap(),
                one["title"].as_str().unwrap(),
                one["label"].as_str().unwrap(),
                one["help"].as_str().unwrap()
            )
        };
        found.as_array().unwrap().iter().map(line).collect::<Vec<_>>().join("\n")
    };
    let all = [
        told("{ zone: Amsterdam }"),
        told("{ zone: Europe/Amsterdan, on: mon-fri }"),
        told("{ zone: UTC, from: \"08:00\", to: \"08:00\" }"),
        told("{ zone: UTC, on: [mon, wednes-fri] }"),
        told("{ zone: UTC, on: [] }"),
        told("{ zone: UTC, from: \"8\", to: \"24:01\" }"),
        told("{ zone: UTC, on: mon, except: [2026-02-30] }"),
        told("{ on: mon }"),
        told("{ zone: UTC }"),
        told("[]"),
        told("{ zone: UTC, on: mon, form: \"08:00\" }"),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    unknown-zone at Amsterdam: `Amsterdam` is not a time zone: no zone has this name (did you mean `Europe/Amsterdam`?)
    unknown-zone at Europe/Amsterdan: `Europe/Amsterdan` is not a time zone: no zone has this name (did you mean `Europe/Amsterdam`?)
    wrong-hours at "08:00": `from` and `to` are the same: no time between them (write when it ends, such as `to: "18:00"`)
    unknown-day at wednes-fri: `wednes` is not a day: here (did you mean `wed`? days are mon, tue, wed, thu, fri, sat and sun; several are `mon-fri` or a list)
    wrong-hours at []: an empty list of days: never (write days, such as `mon-fri`)
    wrong-hours at "8": `8` is not a time of day: hours and minutes (write it as on a clock of 24 hours, such as `"08:00"`)
    wrong-hours at "24:01": `24:01` is not a time of day: hours and minutes (write it as on a clock of 24 hours, such as `"08:00"`)
    wrong-hours at 2026-02-30: `2026-02-30` is not a date: here (write year, month and day, such as `2026-12-25`)
    missing-key at { on: mon }: the key `zone` is missing: missing here (add `zone:` beside the keys that are here)
    wrong-hours at { zone: UTC }: these hours never end: every day, all day (add `on`, `from` and `to`, or take `hours` out)
    wrong-hours at []: `hours` are never: no window here (write `{ zone: Europe/Amsterdam, on: mon-fri, from: "08:00", to: "18:00" }`, or take the key out)
    unknown-key at form: unknown key `form`: not a key here (did you mean `from`?)
    "#);
}
