//! Replays by filter with the real daemon: counted, planned, fed as far as the output takes it, paused, cancelled, killed in the middle.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

mod yard;

use std::collections::BTreeMap;
use yard::{Behaviour, FarSide, Yard, wait_for, wait_until};

/// More than are fed at once.
const MANY: usize = 1_100;

fn file(url: &str, more: &str) -> String {
    format!(
        "routes: [{{ name: all, to: {{ output: shop, body: '{{\"n\": {{{{ data.n|tojson }}}}, \"as\": \"{more}\"}}' }} }}]
outputs:
  shop: {{ type: http, url: {url}, retry: {{ attempts: 1 }} }}
"
    )
}

/// Refuses what is not asked for again.
fn refuses_the_first(far: &FarSide) {
    far.judge(|arrived| if arrived.header("switchyard-replay").is_empty() { Behaviour::status(400) } else { Behaviour::ok() });
}

fn said(yard: &Yard, args: &str) -> (i32, String) {
    let output = yard.cli(&args.split(' ').collect::<Vec<_>>());
    (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// How often each number came again.
fn came_again(far: &FarSide) -> BTreeMap<u64, usize> {
    let mut times = BTreeMap::new();
    for arrived in far.arrived().iter().filter(|arrived| !arrived.header("switchyard-replay").is_empty()) {
        *times.entry(arrived.json()["n"].as_u64().unwrap()).or_default() += 1;
    }
    times
}

fn wait_told(yard: &Yard, args: &str, wanted: &str) {
    let mut last = String::new();
    wait_until(
        || {
            last = said(yard, args).1;
            last == wanted
        },
        || format!("`{args}` to say: {wanted}\n{}", said(yard, args).1),
    );
}

#[test]
fn a_replay_is_fed_as_there_is_room_and_survives_a_pause_a_kill_and_a_cancel() {
    let far = FarSide::start();
    refuses_the_first(&far);
    let mut yard = Yard::new(&file(&far.url(), "first")).start();
    for n in 0..MANY {
        yard.post("ORDER", &format!("{{\"n\":{n}}}"));
    }
    let dead = |yard: &Yard| said(yard, "replay --output shop --dry-run").1;
    wait_until(|| dead(&yard).starts_with("1,100 deliveries to shop"), || dead(&yard));
    assert_eq!(said(&yard, "replay --state dead"), (2, "switchyard: 1,100 deliveries match; add --yes to deliver them again\n".into()));
    assert_eq!(said(&yard, "pause shop").0, 0);
    let (code, told) = said(&yard, "replay --output shop -y");
    let planned = "1,100 deliveries to shop will be delivered again\nreplay 1 of shop: `switchyard replay show 1` says how far it is\n";
    assert_eq!((code, told.as_str()), (0, planned));
    wait_told(
        &yard,
        "replay show 1",
        "replay 1 of shop is running: 1,000 of 1,100 are in line or past it; the output is paused: `switchyard resume shop` lets it go on\n",
    );
    // What comes after the plan is not in it.
    let late = yard.post("ORDER", &format!("{{\"n\":{MANY}}}"));
    assert!(said(&yard, "replay pause 1").1.starts_with("replay 1 of shop is paused"));
    assert_eq!(said(&yard, "replay pause 1"), (1, "switchyard: replay 1 is paused: it can't be paused now\n".into()));
    yard.kill();
    yard.run();
    assert_eq!(said(&yard, "resume shop").0, 0);
    wait_for("what is in line", || came_again(&far).len() == 1_000);
    // What was heard and is not written down yet would come twice after the kill, as it may.
    wait_for("what became of them", || yard.json(&["deliveries", "--output", "shop", "--state", "waiting"]).is_empty());
    yard.wait_state(&late, "shop", "dead");
    wait_told(&yard, "replay show 1", "replay 1 of shop is paused: 1,000 of 1,100 are in line or past it\n");
    yard.kill();
    yard.run();
    assert_eq!(said(&yard, "replay resume 1").0, 0);
    wait_for("the rest", || came_again(&far).len() == MANY);
    wait_told(&yard, "replay show 1", "replay 1 of shop is finished: 1,100 of 1,100 are in line or past it\n");
    let times = came_again(&far);
    assert!(times.keys().all(|n| *n < MANY as u64) && times.values().all(|times| *times == 1), "{times:?}");
    yard.wait_state(&late, "shop", "dead");

    // Delivered ones are meant by name only, and a replay that is cancelled leaves what is in line.
    assert_eq!(said(&yard, "replay --output shop --dry-run").1, "1 delivery to shop would be delivered again\n");
    assert_eq!(said(&yard, "replay --output shop --again --dry-run").1, "1,101 deliveries to shop would be delivered again\n");
    assert_eq!(said(&yard, "pause shop").0, 0);
    assert_eq!(said(&yard, "replay --output shop --state delivered -y").0, 0);
    wait_told(
        &yard,
        "replay show 2",
        "replay 2 of shop is running: 1,000 of 1,100 are in line or past it; the output is paused: `switchyard resume shop` lets it go on\n",
    );
    let cancelled = "replay 2 of shop is cancelled: 1,000 of 1,100 are in line or past it; what is in line goes on\n";
    assert_eq!(said(&yard, "replay cancel 2"), (0, cancelled.into()));
    assert_eq!(said(&yard, "replay resume 2"), (1, "switchyard: replay 2 is cancelled: it can't be resumed now\n".into()));
    assert_eq!(said(&yard, "resume shop").0, 0);
    wait_for("what was in line", || came_again(&far).values().filter(|times| **times == 2).count() == 1_000);
    assert_eq!(
        yard.json(&["replay", "list"]).iter().map(|job| job["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>(),
        ["cancelled", "finished"]
    );
    assert!(said(&yard, "audit").1.contains("lost: 0"));
}

#[test]
fn now_renders_anew_then_sends_the_same_bytes_and_an_output_that_is_gone_is_told() {
    let far = FarSide::start();
    refuses_the_first(&far);
    let yard = Yard::new(&file(&far.url(), "first")).start();
    let event = yard.post("ORDER", r#"{"n":1}"#);
    yard.wait_state(&event, "shop", "dead");
    yard.write(&file(&far.url(), "second"));
    wait_for("the new file to run", || yard.log().contains("the new configuration runs"));
    let last = || far.arrived().last().unwrap().json()["as"].as_str().unwrap().to_owned();
    assert_eq!(said(&yard, "replay --topic OTHER --as then -y"), (1, "nothing matches\n".into()));
    assert_eq!(said(&yard, "replay --topic ORD* --source shop --as then -y --wait").0, 0);
    yard.wait_state(&event, "shop", "delivered");
    assert_eq!(last(), "first");
    assert_eq!(said(&yard, &format!("replay {event}")).0, 0);
    wait_for("the third", || far.arrived().len() == 3);
    assert_eq!(last(), "second");
    yard.wait_state(&event, "shop", "delivered");
    assert_eq!(said(&yard, "replay show 7"), (1, "switchyard: there is no replay 7: `switchyard replay list` shows them\n".into()));

    yard.write(&file(&far.url(), "third").replace("shop", "other"));
    wait_for("the next file to run", || yard.log().matches("the new configuration runs").count() == 2);
    let gone = "1 delivery to shop can't: the configuration has no such output\nnothing matches\n";
    assert_eq!(said(&yard, "replay --again --since 1h -y"), (1, gone.into()));
}

#[test]
fn what_a_pause_holds_is_no_replays_and_that_is_said() {
    let far = FarSide::start();
    let yard = Yard::new(&file(&far.url(), "first")).start();
    assert_eq!(said(&yard, "pause shop").0, 0);
    let event = yard.post("ORDER", r#"{"n":1}"#);
    yard.wait_state(&event, "shop", "held");
    let told = "what waits for shop is held by its pause, and goes with `switchyard resume shop`: no replay is needed\nnothing matches\n";
    for args in ["replay --output shop -y", "replay --state held -y", "replay --since 1h --dry-run"] {
        assert_eq!(said(&yard, args), (1, told.into()), "{args}");
    }
    assert_eq!(said(&yard, "replay --state dead -y"), (1, "nothing matches\n".into()));
    assert_eq!(yard.json(&["replay", "--state", "held", "--dry-run"])[0]["paused"], serde_json::json!(["shop"]));
    assert_eq!(said(&yard, "resume shop").0, 0);
    yard.wait_state(&event, "shop", "delivered");
}

#[test]
fn a_purge_ends_what_is_held_and_says_why_and_what_waits_is_its_outputs() {
    let far = FarSide::start();
    let ordered = |name: &str| {
        file(&far.url(), "first")
            .replace("shop", name)
            .replace("retry: { attempts: 1 }", "order_by: { key: '{{ data.key }}', stuck: hold }, retry: { schedule: [1h] }")
    };
    let yard = Yard::new(&ordered("shop")).start();
    far.always(Behaviour::status(500));
    let a: Vec<String> = (0..3).map(|n| yard.post("ORDER", &format!("{{\"n\":{n},\"key\":\"a\"}}"))).collect();
    yard.wait_state(&a[0], "shop", "waiting");
    yard.wait_state(&a[2], "shop", "held");
    assert_eq!(said(&yard, "purge shop").0, 2, "nobody said why");
    let purge = |filter: &str| {
        let args: Vec<&str> = filter.split(' ').collect();
        let output = yard.cli(&[&["purge"], &args[..], &["--why", "Ann: sold out"]].concat());
        (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let nothing = "nothing matches that is held; `--waiting` means what waits, too\n";
    assert_eq!(purge("nope -y"), (1, nothing.into()));
    assert_eq!(purge("shop --topic ORDER --dry-run"), (0, "2 deliveries to shop would be purged\n".into()));
    assert_eq!(purge("shop"), (2, "switchyard: 2 deliveries held for shop; add --yes to purge\n".into()));
    // Without its output all of it is held, the one that waited too.
    yard.write(&ordered("other"));
    yard.wait_state(&a[0], "shop", "held");
    let ended = "3 deliveries to shop are dead now; `switchyard replay` would send them all the same\n";
    assert_eq!(purge("shop -y"), (0, ended.into()));
    for event in &a {
        assert_eq!(yard.wait_state(event, "shop", "dead")["detail"], "purged: Ann: sold out");
    }
    assert_eq!(yard.json(&["deliveries", "--output", "shop", "--state", "waiting"]).len(), 0, "nobody has the turn of a line that is gone");
    assert!(said(&yard, "audit").1.contains("lost: 0"));
}

/// With an output that joins late, by a route that takes all but the last.
fn with_books(shop: &str, books: &str) -> String {
    file(shop, "first").replace("routes: [", "routes: [{ name: late, filter: { data.n: { lt: 1100 } }, to: books }, ")
        + &format!("  books: {{ type: http, url: {books} }}\n")
}

#[test]
fn what_a_new_output_missed_is_planned_fed_and_sent_once_through_a_kill() {
    let (far, books) = (FarSide::start(), FarSide::start());
    let mut yard = Yard::new(&file(&far.url(), "first")).start();
    let events: Vec<String> = (0..=MANY).map(|n| yard.post("ORDER", &format!("{{\"n\":{n}}}"))).collect();
    yard.wait_state(&events[MANY], "shop", "delivered");
    let unknown = "switchyard: the configuration has no output `books`: `--to` names one of it\n";
    assert_eq!(said(&yard, "replay --missing --to books -y"), (1, unknown.into()));
    assert_eq!(said(&yard, "replay --missing --to shop -y"), (1, "nothing matches\n".into()), "it has them all");
    yard.write(&with_books(&far.url(), &books.url()));
    wait_for("the new file to run", || yard.log().contains("the new configuration runs"));
    assert_eq!(said(&yard, "replay --missing --to books --topic OTHER -y"), (1, "nothing matches\n".into()));
    let counted = "1,100 deliveries to books would be delivered\n";
    assert_eq!(said(&yard, "replay --missing --to books --dry-run"), (0, counted.into()));
    let asks = "switchyard: 1,100 deliveries match; add --yes to deliver them\n";
    assert_eq!(said(&yard, "replay --missing --to books"), (2, asks.into()));
    assert_eq!(said(&yard, "pause books").0, 0);
    let planned = "1,100 deliveries to books will be delivered\nreplay 1 of books: `switchyard replay show 1` says how far it is\n";
    assert_eq!(said(&yard, "replay --missing --to books --route late -y"), (0, planned.into()));
    wait_told(
        &yard,
        "replay show 1",
        "replay 1 of books is running: 1,000 of 1,100 are in line or past it; the output is paused: `switchyard resume books` lets it go on\n",
    );
    let shown = yard.admin("GET", "/api/outputs", "").json()["outputs"][1]["replays"].to_string();
    assert_eq!(shown, r#"[{"id":1,"state":"running","done":1000,"total":1100}]"#);
    yard.kill();
    yard.run();
    assert_eq!(said(&yard, "resume books").0, 0);
    wait_told(&yard, "replay show 1", "replay 1 of books is finished: 1,100 of 1,100 are in line or past it\n");
    wait_for("all of them", || books.arrived().len() >= MANY);
    wait_for("their rows", || yard.json(&["deliveries", "--output", "books", "--state", "waiting"]).is_empty());
    let came = came_again(&books);
    assert!(came.len() == MANY && came.values().all(|times| *times == 1), "{came:?}");
    assert_eq!(said(&yard, "replay --missing --to books -y"), (1, "nothing matches\n".into()), "they go there now");
    assert!(said(&yard, "audit").1.contains("lost: 0"));
    assert!(said(&yard, "journal check").1.ends_with("sound     yes\n"));
}

/// One that is in the hands of its output and in the journal is still one.
#[test]
fn each_that_is_purged_is_counted_once_and_one_is_called_one() {
    let yard = Yard::new(&format!(
        "routes: [{{ name: all, to: [down, alone] }}]
outputs:
  down: {{ type: http, url: \"http://{nobody}/\", order_by: {{ key: '{{{{ data.key }}}}' }} }}
  alone: {{ type: http, url: \"http://{nobody}/\" }}
",
        nobody = FarSide::nobody()
    ))
    .start();
    let events = [0, 1].map(|n| yard.post("ORDER", &format!("{{\"n\":{n},\"key\":\"a\"}}")));
    yard.wait_state(&events[0], "down", "waiting");
    yard.wait_state(&events[1], "down", "held");
    yard.wait_state(&events[1], "alone", "waiting");
    let purge = |filter: &str| {
        let args: Vec<&str> = filter.split(' ').collect();
        let output = yard.cli(&[&["purge", "--waiting", "-y", "--why", "Ann: gone"], &args[..]].concat());
        (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let ended = "2 deliveries to down are dead now; `switchyard replay` would send them all the same\n";
    assert_eq!(purge("down"), (0, ended.into()));
    assert!(events.iter().all(|event| yard.wait_state(event, "down", "dead")["detail"] == "purged: Ann: gone"));
    yard.post("ALARM", "{}");
    let counted = yard.cli(&["purge", "alone", "--topic", "ALARM", "--waiting", "-y", "--why", "Ann: gone"]);
    let ended = "1 delivery to alone is dead now; `switchyard replay` would send it all the same\n";
    assert_eq!(String::from_utf8(counted.stdout).unwrap(), ended);
    assert!(said(&yard, "audit").1.contains("lost: 0"));
}

#[test]
fn what_waits_is_purged_wherever_it_is_and_what_arrives_afterwards_goes() {
    let far = FarSide::start();
    far.always(Behaviour::status(500));
    let body = r#"'{"n": {{ data.n|tojson }}}'"#;
    let mut yard = Yard::new(&format!(
        "routes: [{{ name: all, to: [slow, {{ output: shop, body: {body} }}] }}]
outputs:
  shop: {{ type: http, url: {url}, retry: {{ schedule: [1h] }} }}
  slow: {{ type: http, url: {url}, rate: 1/h }}
",
        url = far.url()
    ))
    .start();
    let first: Vec<String> = (0..5).map(|n| yard.post("ORDER", &format!("{{\"n\":{n}}}"))).collect();
    for event in &first {
        yard.wait_state(event, "shop", "waiting");
    }
    let purge = |yard: &Yard, filter: &str| {
        let args: Vec<&str> = filter.split(' ').collect();
        let output = yard.cli(&[&["purge", "--waiting"], &args[..], &["--why", "Ann: too late"]].concat());
        (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    assert_eq!(purge(&yard, "shop"), (2, "switchyard: 5 deliveries held or waiting for shop; add --yes to purge\n".into()));
    assert_eq!(purge(&yard, "shop --topic OTHER -y"), (1, "nothing matches\n".into()));
    let ended = |n: &str, to: &str| format!("{n} deliveries to {to} are dead now; `switchyard replay` would send them all the same\n");
    assert_eq!(purge(&yard, "shop -y"), (0, ended("5", "shop")));
    // These wait in memory, and have no row.
    assert_eq!(purge(&yard, "slow -y"), (0, ended("5", "slow")));
    for (event, output) in first.iter().flat_map(|event| [(event, "shop"), (event, "slow")]) {
        assert_eq!(yard.wait_state(event, output, "dead")["detail"], "purged: Ann: too late");
    }
    assert_eq!(said(&yard, "silence list"), (1, "nothing is silenced\n".into()));
    far.always(Behaviour::ok());
    let later = yard.post("ORDER", "{\"n\":9}");
    yard.wait_state(&later, "shop", "delivered");
    yard.kill();
    yard.run();
    yard.wait_state(&first[0], "shop", "dead");
    assert_eq!(far.arrived().iter().filter(|arrived| arrived.json()["n"] == 0).count(), 1, "it was tried once, before");
    assert!(said(&yard, "audit").1.contains("lost: 0"));
}
