//! The journal's doctor from outside: `journal check`, `stats`, `backup`, beside a running daemon and without one, `erase`, and the audit as
//! a metric.
#![allow(missing_docs, clippy::unwrap_used)]

mod yard;

use serde_json::Value;
use std::process::Output;
use yard::{FarSide, Yard, lines, sign, usual, wait_for};

const TO_FILE: &str = "routes: [{ name: all, to: out }]\noutputs: { out: { type: file, path: out.ndjson } }\n";

/// Exit code and everything that was printed.
fn told(output: Output) -> (i32, String) {
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8(text).unwrap())
}

/// As a broken disk would.
fn tamper(yard: &Yard, sql: &str) {
    rusqlite::Connection::open(yard.path("data/journal.db")).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn a_journal_is_looked_at_and_copied_beside_a_running_daemon_and_without_one() {
    let mut yard = Yard::new(TO_FILE);
    let (code, said) = told(yard.cli(&["journal", "check"]));
    assert!(code == 2 && said.contains("there is no journal at data/journal.db"), "{code} {said}");
    yard.run();
    let event = yard.post("A", "{\"n\":1}");
    yard.wait_state(&event, "out", "delivered");
    let (code, said) = told(yard.cli(&["journal", "check"]));
    assert!(code == 0 && said.contains("through the running daemon (process ") && said.ends_with("sound     yes\n"), "{said}");
    assert_eq!(yard.json(&["journal", "stats"])[0]["outputs"][0]["delivered"], 1);
    let (code, said) = told(yard.cli(&["journal", "backup", "copy.db"]));
    assert!(code == 0 && said.contains("copied    1 event, "), "{said}");
    let (code, said) = told(yard.cli(&["journal", "backup", "copy.db"]));
    assert!(code == 2 && said.contains("copy.db exists already"), "{code} {said}");
    let (code, said) = told(yard.cli(&["journal", "check", "--file", "copy.db"]));
    assert!(code == 0 && said.contains("copy.db, read directly"), "{said}");

    yard.signal("TERM");
    assert_eq!(yard.ended(), Some(0), "{}", yard.log());
    let (code, said) = told(yard.cli(&["journal", "check"]));
    assert!(code == 0 && said.contains("data/journal.db, read directly: no daemon has it"), "{said}");
    let (code, said) = told(yard.cli(&["journal", "stats"]));
    assert!(code == 0 && said.contains("events      1 event, "), "{said}");
    assert_eq!(told(yard.cli(&["journal", "backup", "second.db"])).0, 0);
    // The copy is a journal: a daemon goes on from it.
    std::fs::remove_file(yard.path("data/journal.db")).unwrap();
    let _ = std::fs::remove_file(yard.path("data/journal.db-wal"));
    std::fs::rename(yard.path("copy.db"), yard.path("data/journal.db")).unwrap();
    yard.run();
    assert_eq!(yard.deliveries(&event)[0]["state"], "delivered");
}

#[test]
fn a_journal_that_leaves_its_place_ends_the_daemon_and_nothing_is_answered_200_that_no_start_would_find() {
    let mut yard = Yard::new(TO_FILE);
    yard.run();
    let event = yard.post("A", "{\"n\":1}");
    yard.wait_state(&event, "out", "delivered");
    std::fs::rename(yard.path("data/journal.db"), yard.path("data/kept.db")).unwrap();
    let body = b"{\"n\":2}";
    let headers = [("x-shop-topic", "A"), ("x-shop-signature", &*sign(body)), ("content-type", "application/json")];
    // It may have ended by itself, where a row was still to be written.
    if let Ok(answer) = yard::http::request(&yard.daemon().events, "POST", "/shop", &headers, body) {
        assert_eq!(answer.status, 503, "{}", String::from_utf8_lossy(&answer.body));
    }
    assert_eq!(yard.ended(), Some(74), "{}", yard.log());
    assert!(yard.log().contains("journal.db was removed or moved while it was in use"), "{}", yard.log());
    // Nor does it begin again with nothing, as if nothing had been.
    let (code, said) = told(yard.cli(&["run", "routes.yaml"]));
    assert!(code == 74 && said.contains("journal.db is not there, and its log"), "{code} {said}");
    std::fs::rename(yard.path("data/kept.db"), yard.path("data/journal.db")).unwrap();
    yard.run();
    assert_eq!(yard.deliveries(&event)[0]["state"], "delivered");
}

#[test]
fn damage_is_one_line_with_what_to_do_and_the_daemon_goes_on_beside_it() {
    let address = FarSide::nobody();
    let mut yard =
        Yard::new(&format!("routes: [{{ name: all, to: out }}]\noutputs: {{ out: {{ type: http, url: \"http://{address}/\" }} }}\n"))
            .start();
    let events: Vec<String> = (1..=3).map(|n| yard.post("A", &format!("{{\"n\":{n}}}"))).collect();
    yard.signal("TERM");
    assert_eq!(yard.ended(), Some(0));
    tamper(&yard, "UPDATE events SET body = x'7b7d' WHERE seq = 2; UPDATE events SET topic = CAST(x'ff' AS TEXT) WHERE seq = 3");
    let (code, said) = told(yard.cli(&["journal", "check"]));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&format!("fault     event {} (place 2): its bytes are not those that were kept", events[1])), "{said}");
    let faults = yard.json(&["journal", "check"])[0]["faults"].clone();
    assert_eq!(faults.as_array().map(Vec::len), Some(2), "{faults}");
    // The damaged ones are dead and shown; the whole one is delivered.
    let side = FarSide::at(&address);
    yard.run();
    yard.wait_state(&events[0], "out", "delivered");
    for damaged in &events[1..] {
        let row = yard.wait_state(damaged, "out", "dead");
        assert!(row["detail"].as_str().unwrap().starts_with("damaged"), "{row}");
        assert_eq!(yard.admin("GET", &format!("/api/events/{damaged}"), "").json()["damaged"], true);
    }
    assert_eq!(side.arrived().len(), 1);
    assert_eq!(yard.json(&["audit"])[0]["lost"], 0);
}

#[test]
fn a_repair_keeps_the_damaged_file_says_what_is_lost_and_the_daemon_goes_on_from_the_rest() {
    let mut yard = Yard::new(TO_FILE).start();
    let events: Vec<String> = (1..=3).map(|n| yard.post("A", &format!("{{\"n\":{n}}}"))).collect();
    wait_for("all to be settled", || yard.json(&["audit"])[0]["delivered"] == 3);
    let (code, said) = told(yard.cli(&["journal", "repair", "--yes"]));
    assert!(code == 74 && said.contains("is in use by process"), "{code} {said}");
    yard.signal("TERM");
    assert_eq!(yard.ended(), Some(0));
    let (code, said) = told(yard.cli(&["journal", "repair", "--yes"]));
    assert!(code == 0 && said.contains("is sound: there is nothing to repair"), "{code} {said}");
    tamper(&yard, "UPDATE events SET body = x'7b7d' WHERE seq = 2; DELETE FROM deliveries WHERE event = 3");
    let (code, said) = told(yard.cli(&["journal", "repair"]));
    assert!(code == 2 && said.contains("is replaced by what can be read of it (2 faults); add --yes to do it"), "{code} {said}");
    let (code, said) = told(yard.cli(&["journal", "repair", "--yes"]));
    assert!(code == 0 && said.contains("saved     2 events, 1 delivery, in data/journal.db"), "{said}");
    assert!(said.contains(&format!("lost      event {} (place 2): its bytes are not those that were kept", events[1])), "{said}");
    assert!(said.contains("again     1 delivery without a row"), "{said}");
    let kept = std::fs::read_dir(yard.path("data")).unwrap().map(|file| file.unwrap().file_name().to_string_lossy().into_owned());
    let kept: Vec<String> = kept.filter(|name| name.contains(".before-") || name.contains(".damaged-")).collect();
    assert_eq!(kept.iter().filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm")).count(), 2, "{kept:?}");
    yard.run();
    yard.wait_state(&events[2], "out", "delivered");
    assert_eq!(lines(&yard.path("out.ndjson")).len(), 4, "what had no row is delivered again");
    assert_eq!(yard.json(&["audit"])[0]["lost"], 0);
    assert_eq!(told(yard.cli(&["journal", "check"])).0, 0);
}

#[test]
fn a_journal_that_was_cut_or_emptied_is_told_in_one_line_and_what_is_left_of_it_goes_on() {
    let mut yard = Yard::new(TO_FILE).start();
    for n in 0..200 {
        yard.post("A", &format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(2_000)));
    }
    wait_for("all to be settled", || yard.json(&["audit"])[0]["delivered"] == 200);
    yard.signal("TERM");
    assert_eq!(yard.ended(), Some(0));
    let cut = |len: u64| {
        let file = std::fs::OpenOptions::new().write(true).open(yard.path("data/journal.db")).unwrap();
        file.set_len(len).unwrap();
        let _ = std::fs::remove_file(yard.path("data/journal.db-wal"));
    };
    let whole = yard.path("data/journal.db").metadata().unwrap().len();
    cut(whole / 2);
    let (code, said) = told(yard.cli(&["run", "routes.yaml"]));
    assert!(code == 75 && said.contains("`switchyard journal repair` saves what can be read"), "{code} {said}");
    let (code, said) = told(yard.cli(&["journal", "check"]));
    assert!(
        code == 1 && said.contains("fault     the file: it was cut off, or its first pages are damaged: stop the daemon and run"),
        "{code} {said}"
    );
    let (code, said) = told(yard.cli(&["journal", "repair"]));
    assert!(code == 2 && said.contains("is replaced by what can be read of it"), "{code} {said}");
    let (code, said) = told(yard.cli(&["journal", "repair", "--yes"]));
    assert!(code == 0 && said.contains(" pages are there, and with the others went what stood on them"), "{code} {said}");
    assert!(said.lines().count() < 20, "{said}");
    assert!(yard.json(&["journal", "check"])[0]["events"].as_u64().is_some_and(|events| events > 50), "{said}");
    assert_eq!(told(yard.cli(&["journal", "check"])).0, 0);
    cut(0);
    let lines = [&["run", "routes.yaml"][..], &["journal", "check"], &["journal", "repair", "--yes"]].map(|args| told(yard.cli(args)));
    for (code, said) in lines {
        let line =
            "data/journal.db has 0 bytes and nothing of a journal: restore a copy of it, or move it away to start with an empty journal";
        assert!(code == 75 && said.contains(line) && said.lines().count() == 1, "{code} {said}");
    }
    std::fs::rename(yard.path("data/journal.db"), yard.path("data/empty.db")).unwrap();
    yard.run();
    assert_eq!(yard.json(&["audit"])[0]["lost"], 0);
}

#[test]
fn a_migration_says_what_it_would_do_and_copies_first() {
    let mut yard = Yard::new(TO_FILE).start();
    yard.post("A", "1");
    yard.signal("TERM");
    assert_eq!(yard.ended(), Some(0));
    assert_eq!(told(yard.cli(&["journal", "migrate", "--check"])).0, 0);
    tamper(
        &yard,
        "DROP TABLE duplicates; DROP TABLE configs; DROP INDEX deliveries_on_dead; ALTER TABLE deliveries DROP COLUMN on_dead; DROP INDEX deliveries_apart; DROP INDEX deliveries_waits; DROP TABLE replays; DROP INDEX deliveries_until; DROP TABLE gone; PRAGMA user_version = 3",
    );
    let (code, said) = told(yard.cli(&["journal", "migrate", "--check"]));
    assert!(code == 1 && said.starts_with("schema 3 → ") && said.ends_with(": to be migrated\n"), "{code} {said}");
    let (code, said) = told(yard.cli(&["journal", "migrate"]));
    assert!(code == 2 && said.contains("without a copy (`--backup FILE` makes one first); add --yes"), "{code} {said}");
    let (code, said) = told(yard.cli(&["journal", "migrate", "--backup", "before.db"]));
    assert!(code == 0 && said.ends_with(": migrated\n"), "{code} {said}");
    assert_eq!(yard.json(&["journal", "check", "--file", "before.db"])[0]["schema"], 3);
    yard.run();
    assert_eq!(yard.json(&["audit"])[0]["lost"], 0);
}

#[test]
fn the_audit_is_a_metric_and_a_lost_delivery_is_told() {
    let mut yard = Yard::new(TO_FILE).start();
    let event = yard.post("A", "1");
    yard.wait_state(&event, "out", "delivered");
    yard.signal("TERM");
    assert_eq!(yard.ended(), Some(0));
    let metrics = |yard: &Yard| String::from_utf8(yard.admin("GET", "/metrics", "").body).unwrap();
    yard.run();
    wait_for("a first audit", || metrics(&yard).contains("switchyard_audit_lost 0"));
    assert!(metrics(&yard).contains("switchyard_audit_deliveries{state=\"delivered\"} 1"), "{}", metrics(&yard));
    yard.kill();
    tamper(&yard, "DELETE FROM deliveries");
    yard.run();
    wait_for("the audit to find it", || metrics(&yard).contains("switchyard_audit_lost 1"));
    assert!(yard.log().contains("planned deliveries have no row"), "{}", yard.log());
    let (code, said) = told(yard.cli(&["journal", "check"]));
    assert!(code == 1 && said.contains("was planned and has no row: nobody will deliver it"), "{said}");
}

fn files_hold(yard: &Yard, word: &str) -> bool {
    ["data/journal.db", "data/journal.db-wal"].iter().any(|name| {
        let bytes = std::fs::read(yard.path(name)).unwrap_or_default();
        bytes.windows(word.len()).any(|part| part == word.as_bytes())
    })
}

#[test]
fn a_person_is_erased_with_everything_and_a_repeat_brings_nothing_back() {
    let yard = Yard::new(TO_FILE).start();
    let body = |who: &str, n: usize| format!("{{\"customer\":{{\"id\":\"{who}\"}},\"n\":{n}}}");
    for n in 0..40 {
        yard.post("A", &body(if n % 4 == 0 { "made-up-ann" } else { "made-up-bob" }, n));
    }
    wait_for("all to be delivered", || lines(&yard.path("out.ndjson")).len() == 40);
    wait_for("all to be settled", || yard.json(&["audit"])[0]["open"] == 0);
    let ann = "data.customer.id == \"made-up-ann\"";
    let (code, said) = told(yard.cli(&["erase", "--where", ann]));
    assert!(code == 2 && said.contains("10 events would be erased for good; add --yes"), "{code} {said}");
    let (code, said) = told(yard.cli(&["erase", "--where", ann, "--dry-run"]));
    assert!(code == 0 && said.contains("10 events, 10 deliveries"), "{said}");
    assert!(files_hold(&yard, "made-up-ann"));
    let report = &yard.json(&["erase", "--where", &format!(".{ann}"), "--yes"])[0];
    assert_eq!((&report["events"], &report["deliveries"], &report["rewritten"]), (&10.into(), &10.into(), &true.into()), "{report}");
    assert!(!files_hold(&yard, "made-up-ann") && files_hold(&yard, "made-up-bob"));
    let log = yard.log();
    assert!(log.contains("events were erased because somebody asked") && !log.contains("made-up-ann"), "{log}");
    // Repeats of the sender are recognised by what is left.
    let repeat = body("made-up-ann", 4);
    let answer = yard.post_raw("A", repeat.as_bytes(), &sign(repeat.as_bytes()), &[]);
    assert_eq!(answer.status, 200);
    assert!(!files_hold(&yard, "made-up-ann"), "a repeat is not kept");
    let audit = &yard.json(&["audit"])[0];
    assert_eq!((&audit["events"], &audit["lost"]), (&30.into(), &0.into()));
    assert_eq!(told(yard.cli(&["journal", "check"])).0, 0);
    assert_eq!(told(yard.cli(&["erase", "--where", ann, "--yes"])).0, 1, "nobody is left");
    let (code, said) = told(yard.cli(&["erase", "--where", "data.customer.id ==", "--yes"]));
    assert!(code == 2 && said.contains("`where` is no jq"), "{said}");
}

#[test]
fn what_waits_is_erased_only_when_that_is_said() {
    let address = FarSide::nobody();
    // Kept in order, so that its row is there at once.
    let out = format!("type: http, url: \"http://{address}/\", order_by: {{ key: \"{{{{ data.who }}}}\" }}");
    let yard = Yard::new(&format!("routes: [{{ name: all, to: out }}]\noutputs: {{ out: {{ {out} }} }}\n")).start();
    let event = yard.post("A", "{\"who\":\"made-up-ann\"}");
    let behind = yard.post("A", "{\"who\":\"made-up-ann\",\"n\":2}");
    yard.wait_state(&event, "out", "waiting");
    yard.wait_state(&behind, "out", "held");
    let erase = ["erase", "--where", "data.who == \"made-up-ann\"", "--yes"];
    let (code, said) = told(yard.cli(&erase));
    assert!(code == 1 && said.contains("left        2 events: a delivery waits"), "{code} {said}");
    let report: &Value = &yard.json(&[&erase[..], &["--waiting"]].concat())[0];
    assert_eq!((&report["events"], &report["not_sent"], &report["left"]), (&2.into(), &2.into(), &0.into()));
    assert_eq!(yard.admin("GET", &format!("/api/events/{event}"), "").status, 404);
    assert_eq!(yard.json(&["audit"])[0]["lost"], 0);
}

#[test]
fn max_size_is_a_size() {
    let yard = Yard::new(TO_FILE);
    let with = |size: &str| usual().replace("journal.db }", &format!("journal.db, retain: {{ max_size: {size} }} }}")) + TO_FILE;
    yard.write_whole(&with("20GiB"));
    assert_eq!(told(yard.cli(&["check"])).0, 0);
    yard.write_whole(&with("20KiB"));
    let (code, said) = told(yard.cli(&["check"]));
    assert!(code == 1 && said.contains("`journal.retain.max_size` is 20KiB, and a journal needs at least 64MiB"), "{said}");
}
