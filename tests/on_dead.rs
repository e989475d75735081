//! `on_dead` with the real daemon: the event of a delivery that is dead goes to another output, once, whatever happens.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

mod yard;

use yard::{Behaviour, FarSide, Yard, wait_for};

fn shop(shop: &str, letters: &str, more: &str) -> String {
    format!(
        "routes: [{{ name: orders, to: shop }}]
outputs:
  shop: {{ type: http, url: {shop}, retry: {{ schedule: [10ms] }}, {more} }}
  letters: {{ type: http, url: {letters}, body: '{{{{ {{\"event\": data, \"dead\": dead}}|tojson }}}}' }}
"
    )
}

fn audit(yard: &Yard) -> serde_json::Value {
    let out = yard.cli(&["audit", "--json"]);
    serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr)))
}

#[test]
fn what_is_dead_goes_on_once_through_a_kill_and_a_replay() {
    let (far, letters) = (FarSide::start(), FarSide::start());
    // Rejected, given up after its retries, and taken.
    far.judge(|arrived| match arrived.json()["n"].as_u64().unwrap() {
        0 => Behaviour::status(422),
        1 => Behaviour::status(500),
        _ => Behaviour::ok(),
    });
    let mut yard = Yard::new(&shop(&far.url(), &letters.url(), "on_dead: letters")).start();
    let events: Vec<String> = (0..3).map(|n| yard.post("ORDER", &format!(r#"{{"n":{n}}}"#))).collect();
    let arrived = letters.wait(2);
    let mut texts: Vec<String> = arrived.iter().map(yard::far_side::Arrived::text).collect();
    texts.sort_unstable_by_key(|text| text.contains(r#""n":1"#));
    for (nth, (text, status)) in texts.iter().zip(["422", "500"]).enumerate() {
        let said: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!((&said["event"]["n"], &said["dead"]["route"], &said["dead"]["output"]), (&nth.into(), &"orders".into(), &"shop".into()));
        assert!(said["dead"]["why"].as_str().unwrap().contains(status), "{said}");
    }
    for event in &events[..2] {
        yard.wait_state(event, "shop", "dead");
        let passed = yard.wait_state(event, "letters", "delivered");
        assert_eq!(passed["route"], "orders/shop");
    }
    // Dead once more after a replay, and after a restart: each is told of once.
    let tried = far.arrived().len();
    assert!(yard.cli(&["replay", "--output", "shop", "--state", "dead", "--wait", "--yes"]).status.success());
    wait_for("the replay to be tried", || far.arrived().len() > tried);
    yard.wait_state(&events[0], "shop", "dead");
    yard.kill();
    yard.run();
    let last = yard.post("ORDER", r#"{"n":0,"last":true}"#);
    yard.wait_state(&last, "letters", "delivered");
    assert_eq!(letters.arrived().len(), 3);
    let audit = audit(&yard);
    assert_eq!((&audit["lost"], &audit["planned"]), (&0.into(), &7.into()), "{audit}");
}

#[test]
fn what_was_dead_before_and_what_somebody_ended_stays() {
    let (far, letters) = (FarSide::start(), FarSide::start());
    far.always(Behaviour::status(422));
    letters.always(Behaviour::status(422));
    let mut yard = Yard::new(&shop(&far.url(), &letters.url(), "")).start();
    let old = yard.post("ORDER", r#"{"n":0}"#);
    yard.wait_state(&old, "shop", "dead");
    yard.write(&shop(&far.url(), &letters.url(), "on_dead: letters"));
    yard.signal("HUP");
    wait_for("the reload", || yard.log().contains("the new configuration runs"));
    let new = yard.post("ORDER", r#"{"n":1}"#);
    // Dead there too: it goes no further.
    yard.wait_state(&new, "letters", "dead");
    assert_eq!(yard.deliveries(&old).len(), 1, "a new rule gets no old events");
    // Paused, and ended by a person.
    assert!(yard.cli(&["pause", "shop"]).status.success());
    let purged = yard.post("ORDER", r#"{"n":2}"#);
    yard.wait_state(&purged, "shop", "held");
    assert!(yard.cli(&["purge", "shop", "--why", "Ann: not wanted", "--yes"]).status.success());
    yard.wait_state(&purged, "shop", "dead");
    assert!(yard.cli(&["resume", "shop"]).status.success());
    let last = yard.post("ORDER", r#"{"n":3}"#);
    yard.wait_state(&last, "letters", "dead");
    assert_eq!(yard.deliveries(&purged).len(), 1, "what somebody ended is no trouble to tell of");
    assert_eq!(letters.arrived().len(), 2);
    yard.kill();
}
