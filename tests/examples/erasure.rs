//! `examples/erasure`: a real PostgreSQL in which somebody is forgotten, and the proof of it.

use super::stage::{nothing_is_lost, root, send, start};
use super::yard::{Yard, wait_until};
use serde_json::Value;
use switchyard_services::postgres::Postgres;

struct Crm {
    server: Postgres,
    yard: Yard,
}

fn crm() -> Crm {
    let server = Postgres::start(None).unwrap();
    let schema = std::fs::read_to_string(root().join("examples/erasure/schema.sql")).unwrap();
    server.sql("postgres", &schema).unwrap();
    let yard = start("erasure", &[("CRM_DATABASE_URL", &server.url("switchyard", "postgres"))]);
    Crm { server, yard }
}

impl Crm {
    fn sql(&self, text: &str) -> String {
        self.server.sql("postgres", text).unwrap().replace('\n', " ")
    }
    fn ask(&self, topic: &str, event: &str, state: &str) -> (String, Value) {
        let id = send(&self.yard, "shopify", Some(topic), event);
        let delivery = self.yard.wait_state(&id, "crm", state);
        (id, delivery)
    }
}

const CUSTOMERS: &str = "SELECT name FROM customers ORDER BY name";

#[test]
fn a_customer_is_erased_with_proof_once_and_nobody_else_is_touched() {
    let crm = crm();
    let (event, delivery) = crm.ask("customers/redact", "customer-redact.json", "delivered");
    let proof = "DELETE 2 rows, UPDATE 3 rows, DELETE 1 row, INSERT 1 row";
    assert_eq!(delivery["detail"], proof);
    assert_eq!(crm.sql(CUSTOMERS), "Bob Smit Cas Bakker");
    assert_eq!(crm.sql("SELECT text FROM notes"), "pays late");
    assert_eq!(crm.sql("SELECT ship_to FROM orders ORDER BY total"), "Cas Bakker, Wal 3 erased erased erased Bob Smit, Kade 2");
    assert_eq!(crm.sql("SELECT sum(total) FROM orders WHERE shop = 'vases.example'"), "148.10", "what was sold is still known");
    let kept = format!("{}|vases.example|191167|customers/redact", delivery["id"].as_str().unwrap());
    assert_eq!(crm.sql("SELECT delivery, shop, customer, why FROM erasures"), kept);
    // A person asks for the proof.
    for args in [vec!["events", &event], vec!["deliveries", "--output", "crm", "--state", "delivered"]] {
        let shown = String::from_utf8(crm.yard.cli(&args).stdout).unwrap();
        assert!(shown.contains(proof) && shown.contains("forget-customer"), "{args:?}: {shown}");
    }
    // The same delivery again does nothing; what came since with the same number stays.
    crm.sql("INSERT INTO customers VALUES ('vases.example', 191167, 'Dirk Vos', NULL)");
    assert!(crm.yard.cli(&["replay", &event, "-y"]).status.success());
    let again = || crm.yard.wait_state(&event, "crm", "delivered");
    wait_until(|| again()["detail"] == "done by an attempt before", || again().to_string());
    assert_eq!(crm.sql(CUSTOMERS), "Bob Smit Cas Bakker Dirk Vos");
    nothing_is_lost(&crm.yard);
}

#[test]
fn hostile_values_match_nobody_and_a_request_without_a_customer_erases_nothing_and_is_seen() {
    let crm = crm();
    let (_, delivery) = crm.ask("customers/redact", "customer-hostile.json", "delivered");
    assert_eq!(delivery["detail"], "DELETE 0 rows, UPDATE 0 rows, DELETE 0 rows, INSERT 1 row");
    let (_, delivery) = crm.ask("customers/redact", "customer-without-id.json", "dead");
    assert!(delivery["detail"].as_str().unwrap().contains("customer"), "{delivery}");
    let dead = String::from_utf8(crm.yard.cli(&["dead"]).stdout).unwrap();
    assert!(dead.contains("forget-customer"), "{dead}");
    assert_eq!(crm.sql(CUSTOMERS), "Ann Jansen Bob Smit Cas Bakker");
    assert_eq!(crm.sql("SELECT count(*) FROM erasures"), "1", "of the hostile one, by the name it gave");
}

#[test]
fn an_uninstalled_app_loses_its_token_and_the_shop_goes_when_it_says_so_also_after_the_database_was_away() {
    let mut crm = crm();
    let (_, delivery) = crm.ask("app/uninstalled", "app-uninstalled.json", "delivered");
    assert_eq!(delivery["detail"], "DELETE 1 row");
    assert_eq!(crm.sql("SELECT shop FROM tokens"), "mills.example");
    crm.server.down();
    let event = send(&crm.yard, "shopify", Some("shop/redact"), "shop-redact.json");
    let outputs = || crm.yard.admin("GET", "/api/outputs", "").json().to_string();
    wait_until(|| outputs().contains("\"down\":1"), outputs);
    crm.server.up().unwrap();
    let delivery = crm.yard.wait_state(&event, "crm", "delivered");
    assert_eq!(delivery["detail"], "DELETE 3 rows, DELETE 4 rows, DELETE 2 rows, INSERT 1 row");
    assert_eq!((crm.sql(CUSTOMERS), crm.sql("SELECT count(*) FROM orders")), ("Cas Bakker".into(), "1".into()));
    nothing_is_lost(&crm.yard);
}
