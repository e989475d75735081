//! `examples/exec`: the two programs as they stand, with and without what they need, and one that dies before it has said what it did.

use super::stage::{checked, nothing_is_lost, plan, root, send};
use super::yard::{Yard, wait_until};
use serde_json::Value;
use std::process::Command;

fn program(name: &str) -> String {
    std::fs::read_to_string(root().join("examples/exec").join(name)).unwrap()
}

/// The folder with the programs in it, and no daemon yet.
fn bare() -> Yard {
    let yard = checked("exec", &[]);
    for name in ["stock.py", "spool.sh"] {
        std::fs::write(yard.path(name), program(name)).unwrap();
    }
    yard
}

/// And what the programs need.
fn ready() -> Yard {
    let yard = bare();
    stock(&yard, "new");
    std::fs::create_dir(yard.path("spool")).unwrap();
    yard
}

fn stock(yard: &Yard, what: &str) -> String {
    let said = Command::new("python3").args(["stock.py", "stock.db", what]).current_dir(yard.folder.path()).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap()
}

fn spooled(yard: &Yard) -> Vec<String> {
    let entries = std::fs::read_dir(yard.path("spool")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn an_order_is_taken_once_put_back_and_spooled_as_it_came() {
    let yard = ready().start();
    let order = send(&yard, "platform", None, "confirmed.json");
    assert_eq!(plan(&yard, &order), ["take > stock", "old-program > spool"]);
    let taken = yard.wait_state(&order, "stock", "delivered");
    assert_eq!(taken["detail"], "36 of VASE-BLUE left, 490 of CARD-BIRTHDAY left");
    let spooled_as = yard.wait_state(&order, "spool", "delivered")["id"].as_str().unwrap().to_owned();
    let line: Value = serde_json::from_str(&std::fs::read_to_string(yard.path(&format!("spool/{spooled_as}.json"))).unwrap()).unwrap();
    assert_eq!((&line["delivery"], &line["topic"]), (&spooled_as.into(), &"order.confirmed".into()));
    assert_eq!(line["payload"], program("events/confirmed.json"), "the exact text of the event");
    // Asked for again, nothing happens twice.
    assert!(yard.cli(&["replay", &order, "-y"]).status.success());
    let again = || yard.wait_state(&order, "stock", "delivered");
    wait_until(|| again()["detail"] == "done by an attempt before", || again().to_string());
    assert_eq!(stock(&yard, "show"), "CARD-BIRTHDAY 490\nVASE-BLUE 36\n");
    let cancelled = send(&yard, "platform", None, "cancelled.json");
    yard.wait_state(&cancelled, "stock", "delivered");
    assert_eq!(stock(&yard, "show"), "CARD-BIRTHDAY 500\nVASE-BLUE 40\n");
    nothing_is_lost(&yard);
}

#[test]
fn what_a_program_refuses_is_dead_with_its_reason_and_a_value_is_never_more_than_a_value() {
    let yard = ready().start();
    let many = send(&yard, "platform", None, "too-many.json");
    let hostile = send(&yard, "platform", None, "hostile.json");
    let dead = |event: &str| yard.wait_state(event, "stock", "dead").to_string();
    assert!(dead(&many).contains("not enough of VASE-BLUE: 10 missing"), "{}", dead(&many));
    assert!(dead(&hostile).contains("no article '; DROP TABLE articles; -- $(touch broken)"), "{}", dead(&hostile));
    let id = yard.wait_state(&hostile, "spool", "delivered")["id"].as_str().unwrap().to_owned();
    assert!(spooled(&yard).contains(&format!("{id}.json")) && !yard.path("broken").exists());
    assert_eq!(stock(&yard, "show"), "CARD-BIRTHDAY 500\nVASE-BLUE 40\n", "all lines of an order or none");
    nothing_is_lost(&yard);
}

#[test]
fn what_a_program_needs_may_come_later_and_nothing_is_dead_meanwhile() {
    let yard = bare().start();
    let order = send(&yard, "platform", None, "confirmed.json");
    let outputs = || yard.admin("GET", "/api/outputs", "").json().to_string();
    wait_until(|| outputs().matches("\"down\":1").count() == 2, outputs);
    stock(&yard, "new");
    std::fs::create_dir(yard.path("spool")).unwrap();
    for output in ["stock", "spool"] {
        yard.wait_state(&order, output, "delivered");
    }
    nothing_is_lost(&yard);
}

#[test]
fn a_stock_that_is_none_is_said_loudly_and_keeps_its_deliveries() {
    let yard = bare();
    std::fs::write(yard.path("stock.db"), "").unwrap();
    std::fs::create_dir(yard.path("spool")).unwrap();
    let yard = yard.start();
    let order = send(&yard, "platform", None, "confirmed.json");
    yard.wait_state(&order, "spool", "delivered");
    let outputs = || yard.admin("GET", "/api/outputs", "").json().to_string();
    wait_until(|| outputs().contains("\"misconfigured\":1"), outputs);
    assert!(yard.log().contains("stock.db is no stock"), "{}", yard.log());
    assert!(yard.deliveries(&order).iter().all(|delivery| delivery["state"] != "dead"), "{}", yard.log());
    nothing_is_lost(&yard);
}

#[test]
fn an_order_whose_answer_is_lost_is_not_taken_twice() {
    let yard = ready();
    // The program as it stands, but that it dies the first time it would answer.
    let dies = "def answer(delivery, outcome, **more):\n    if not os.path.exists(\"died\"):\n        open(\"died\", \"w\").close()\n        os._exit(1)\n";
    let (before, after) = ("def answer(delivery, outcome, **more):\n", program("stock.py"));
    assert!(after.contains(before));
    std::fs::write(yard.path("stock.py"), after.replace(before, dies)).unwrap();
    let yard = yard.start();
    let order = send(&yard, "platform", None, "confirmed.json");
    let delivered = yard.wait_state(&order, "stock", "delivered");
    assert_eq!(delivered["detail"], "done by an attempt before");
    assert!(yard.path("died").exists());
    assert_eq!(stock(&yard, "show"), "CARD-BIRTHDAY 490\nVASE-BLUE 36\n");
    nothing_is_lost(&yard);
}
