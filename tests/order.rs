//! `order_by` with the real daemon: one delivery at a time for each key, in the order of arrival, whatever happens.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

mod yard;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use yard::{Behaviour, FarSide, Yard, wait_for};

fn shop(url: &str, order: &str, retry: &str) -> String {
    format!(
        "routes: [{{ name: all, to: shop }}]
outputs:
  shop:
    type: http
    url: {url}
    order_by: {order}
    retry: {retry}
"
    )
}

fn body(key: &str, n: usize) -> String {
    format!(r#"{{"key":"{key}","n":{n}}}"#)
}

/// What the far side saw and said: key, number, and whether it took it.
type Seen = Arc<Mutex<Vec<(String, u64, bool)>>>;

/// Takes each third try only, and remembers all.
fn moody(far: &FarSide) -> Seen {
    let seen: Seen = Arc::default();
    let (kept, mut tries) = (Arc::clone(&seen), BTreeMap::<(String, u64), u32>::new());
    far.judge(move |arrived| {
        let data = arrived.json();
        let (key, n) = (data["key"].as_str().unwrap().to_owned(), data["n"].as_u64().unwrap());
        let tries = tries.entry((key.clone(), n)).or_default();
        *tries += 1;
        let taken = *tries % 3 == 0;
        kept.lock().unwrap().push((key, n, taken));
        if taken { Behaviour::ok() } else { Behaviour::status(500) }
    });
    seen
}

/// Nothing of a key arrives before what was before it is taken. A repeat of the one that was taken last is no step back: a daemon that
/// was killed cannot know that it was.
fn assert_in_order(seen: &[(String, u64, bool)]) {
    let mut taken: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    let mut highest: BTreeMap<&str, u64> = BTreeMap::new();
    for (key, n, took) in seen {
        let before = taken.entry(key).or_default();
        assert!((0..*n).all(|earlier| before.contains(&earlier)), "{key} {n} came before all that was before it was taken: {seen:?}");
        let highest = highest.entry(key).or_default();
        assert!(n >= highest, "{key} {n} came again after {highest}: {seen:?}");
        *highest = *n;
        if *took {
            before.insert(*n);
        }
    }
}

#[test]
fn each_key_in_its_order_through_retries_a_kill_and_a_reload() {
    let far = FarSide::start();
    let seen = moody(&far);
    let retry = "{ schedule: [10ms, 10ms, 10ms, 10ms, 10ms, 10ms] }";
    let mut yard = Yard::new(&shop(&far.url(), "{ key: \"{{ data.key }}\" }", retry)).start();
    let keys = ["a", "b", "c"];
    let mut last = BTreeMap::new();
    let post = |yard: &Yard, numbers: std::ops::Range<usize>, last: &mut BTreeMap<&str, String>| {
        for n in numbers {
            for key in keys {
                last.insert(key, yard.post("ORDER", &body(key, n)));
            }
        }
    };
    post(&yard, 0..12, &mut last);
    wait_for("some of them to be taken", || seen.lock().unwrap().iter().filter(|(.., took)| *took).count() >= 8);
    yard.kill();
    yard.run();
    post(&yard, 12..16, &mut last);
    // Without an order for what comes, those that are in line stay in line.
    yard.write(&shop(&far.url(), "{ key: \"{{ data.key }}-again\" }", retry));
    post(&yard, 16..18, &mut last);
    for event in last.values() {
        yard.wait_state(event, "shop", "delivered");
    }
    wait_for("all of them to be taken", || seen.lock().unwrap().iter().filter(|(.., took)| *took).count() >= 18 * keys.len());
    let seen: Vec<_> = seen.lock().unwrap().iter().filter(|(_, n, _)| *n < 16).cloned().collect();
    assert_in_order(&seen);
}

#[test]
fn those_behind_a_dead_one_are_held_and_say_so_until_it_is_replayed_or_passed_by() {
    let far = FarSide::start();
    let yard = Yard::new(&shop(&far.url(), "{ key: \"{{ data.key }}\", stuck: hold }", "{ attempts: 1 }")).start();
    far.next([Behaviour::status(400)]);
    let first = yard.post("ORDER", &body("a", 1));
    let dead = yard.wait_state(&first, "shop", "dead");
    let others: Vec<String> = (2..5).map(|n| yard.post("ORDER", &body("a", n))).collect();
    let free = yard.post("ORDER", &body("b", 1));
    yard.wait_state(&free, "shop", "delivered");
    for event in &others {
        let held = yard.wait_state(event, "shop", "held");
        assert_eq!(held["detail"], format!("waits behind {} of {first}, which is dead", dead["id"].as_str().unwrap()));
    }
    let listed = yard.json(&["deliveries", "--state", "held"]);
    assert_eq!(listed.len(), 3, "{listed:?}");
    // Those behind cannot be sent before it, not even by asking.
    assert!(yard.cli(&["replay", &others[1]]).status.success());
    yard.wait_state(&others[1], "shop", "held");
    assert!(yard.cli(&["replay", &first]).status.success());
    for event in &others {
        yard.wait_state(event, "shop", "delivered");
    }
    let order = |far: &FarSide| far.arrived().iter().map(yard::far_side::Arrived::text).collect::<Vec<_>>();
    let expected = [body("a", 1), body("b", 1), body("a", 1), body("a", 2), body("a", 3), body("a", 4)];
    assert_eq!(order(&far), expected);

    far.next([Behaviour::status(400)]);
    let dead = yard.post("ORDER", &body("a", 5));
    yard.wait_state(&dead, "shop", "dead");
    let behind = yard.post("ORDER", &body("a", 6));
    yard.wait_state(&behind, "shop", "held");
    let nobody = yard.cli(&["skip", &behind]);
    assert_eq!(nobody.status.code(), Some(1), "{}", String::from_utf8_lossy(&nobody.stdout));
    let skipped = yard.cli(&["skip", &dead]);
    assert_eq!(String::from_utf8_lossy(&skipped.stdout), "passed by 1 delivery: those behind go on\n");
    yard.wait_state(&behind, "shop", "delivered");
    yard.wait_state(&dead, "shop", "dead");
}

#[test]
fn one_that_fails_for_longer_than_skip_after_lets_the_others_pass() {
    let far = FarSide::start();
    let yard = Yard::new(&shop(&far.url(), "{ key: \"{{ data.key }}\", skip_after: 1s }", "{ schedule: [1h] }")).start();
    far.next([Behaviour::status(500)]);
    let stuck = yard.post("ORDER", &body("a", 1));
    yard.wait_state(&stuck, "shop", "waiting");
    let behind = yard.post("ORDER", &body("a", 2));
    let delivered = yard.wait_state(&behind, "shop", "delivered");
    assert_eq!(delivered["attempts"], 1);
    yard.wait_state(&stuck, "shop", "waiting");
    assert!(yard.log().contains("those behind them go on"), "{}", yard.log());
    // One that is given up lets them pass at once.
    far.next([Behaviour::status(400)]);
    let (dead, next) = (yard.post("ORDER", &body("b", 1)), yard.post("ORDER", &body("b", 2)));
    yard.wait_state(&dead, "shop", "dead");
    yard.wait_state(&next, "shop", "delivered");
}

#[test]
fn an_event_without_a_key_waits_for_nobody_and_one_output_holds_up_no_other() {
    let far = FarSide::start();
    let file =
        format!("{}  plain: {{ type: http, url: {} }}\n", shop(&far.url(), "{ key: \"{{ data.key }}\" }", "{ schedule: [1h] }"), far.url());
    let yard = Yard::new(&file.replace("to: shop", "to: [shop, plain]")).start();
    far.judge(|arrived| {
        let stuck = arrived.json()["n"] == 1 && arrived.header("switchyard-attempt") == "1" && arrived.json()["key"] == "a";
        if stuck { Behaviour::status(500) } else { Behaviour::ok() }
    });
    let first = yard.post("ORDER", &body("a", 1));
    yard.wait_state(&first, "shop", "waiting");
    let behind = yard.post("ORDER", &body("a", 2));
    let free = yard.post("ORDER", r#"{"n":1}"#);
    yard.wait_state(&free, "shop", "delivered");
    yard.wait_state(&free, "plain", "delivered");
    yard.wait_state(&behind, "plain", "delivered");
    yard.wait_state(&behind, "shop", "held");
    let audit = yard.cli(&["audit"]);
    assert!(
        audit.status.success() && String::from_utf8_lossy(&audit.stdout).contains("lost: 0"),
        "{}",
        String::from_utf8_lossy(&audit.stdout)
    );
}

#[test]
fn a_wrong_order_is_told() {
    let told = |order: &str| {
        let yard = Yard::new(&shop("http://127.0.0.1:9/", order, "{ attempts: 1 }"));
        let output = yard.cli(&["check"]);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    assert!(told("{ key: \"{{ data.key }}\", stuck: hold, skip_after: 1h }").contains("both say what becomes of those behind"));
    assert!(told("{ key: \"{{ data.key }}\", skip_after: 1ms }").contains("`skip_after` is 1ms"));
    assert!(told("{ key: \"{{ data.key|nope }}\" }").contains("in the template of `order_by.key`"));
    assert!(told("{ stuck: hold }").contains("key"));
    assert!(told("\"{{ data.id }}\"").contains("order_by"));
}

#[test]
fn many_keys_that_are_stuck_cost_the_others_nothing() {
    let far = FarSide::start();
    let yard = Yard::new(&shop(&far.url(), "{ key: \"{{ data.key }}\" }", "{ schedule: [1h] }")).start();
    far.judge(|arrived| if arrived.json()["key"] == "well" { Behaviour::ok() } else { Behaviour::status(500) });
    let stuck: Vec<String> = (0..300).map(|n| yard.post("ORDER", &body(&format!("stuck-{n}"), 1))).collect();
    let behind: Vec<String> = (0..300).map(|n| yard.post("ORDER", &body(&format!("stuck-{n}"), 2))).collect();
    let well: Vec<String> = (0..20).map(|n| yard.post("ORDER", &body("well", n))).collect();
    for event in &well {
        yard.wait_state(event, "shop", "delivered");
    }
    yard.wait_state(&stuck[299], "shop", "waiting");
    yard.wait_state(&behind[299], "shop", "held");
}
