//! `switchyard explain`: every route, what would go out as the far side then gets it, why it would wait, and without a secret anywhere.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

mod yard;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use yard::{Behaviour, FarSide, Yard, wait_for};

/// Headers that change from one attempt to the next, or that a secret is in.
const VEILED: [&str; 4] = ["authorization", "webhook-signature", "webhook-timestamp", "x-proof"];
/// Those of the connection.
const OF_THE_CONNECTION: [&str; 3] = ["host", "content-length", "connection"];

fn shipping(url: &str) -> String {
    format!(
        "routes:
  - name: shipping
    topic: ORDER_PAID
    transform: '.data | {{id, shop, item: .items[]}}'
    to: {{ output: api, path: \"orders/{{{{ data.id }}}}\", headers: {{ X-Shop: \"{{{{ data.shop }}}}\", token: made-up-token }} }}
  - {{ name: chat, to: chat }}
  - {{ name: big, filter: {{ data.total: {{ gt: 1000 }} }}, to: chat }}
outputs:
  api:
    type: http
    url: \"{url}/made-up-path\"
    auth: {{ hmac: {{ secret: \"${{HMAC_SECRET}}\", signs: \"{{body}}\", into: {{ header: X-Proof }} }} }}
    sign: {{ secret: \"${{SIGNING}}\" }}
    query: {{ wait: \"true\" }}
  chat: {{ type: slack, url: \"${{SLACK_URL}}\", text: \"Order {{{{ data.id }}}}\" }}
"
    )
}

const ORDER: &str = r#"{"id": "a/7", "shop": "7", "total": 1.50, "items": [1, 2]}"#;

fn yard() -> (Yard, FarSide) {
    let far = FarSide::start();
    let url = format!("http://{}", far.address);
    let yard = Yard::new(&shipping(&url))
        .env("HMAC_SECRET", "made-up-hmac-secret")
        .env("SIGNING", "whsec_bWFkZS11cC1tYWRlLXVwLW1hZGUtdXAt")
        .env("SLACK_URL", &format!("{url}/services/made-up-hook"));
    (yard, far)
}

fn targets(explained: &Value) -> Vec<&Value> {
    explained["routes"].as_array().unwrap().iter().flat_map(|route| route["targets"].as_array().unwrap()).collect()
}

/// What was shown before is what arrives: method, path behind the address, headers but for the secret ones, and the body to the byte.
#[test]
fn what_is_shown_is_what_the_far_side_gets() {
    let (yard, far) = yard();
    far.always(Behaviour::ok());
    let yard = yard.start();
    let event = yard.post("ORDER_PAID", ORDER);
    wait_for("three requests", || far.arrived().len() == 3);
    let explained = yard.json(&["explain", &event]).remove(0);
    let all = targets(&explained);
    let shown: Vec<&Value> = all.iter().flat_map(|target| target["requests"].as_array().unwrap()).collect();
    assert_eq!(shown.len(), 3, "{explained}");
    for arrived in far.arrived() {
        let delivery = arrived.header("switchyard-delivery");
        let shown = shown.iter().find(|shown| shown["headers"]["switchyard-delivery"] == delivery).unwrap();
        assert_eq!(shown["method"], arrived.method);
        let path = arrived.path.replace("/services/made-up-hook", "/***").replace("/made-up-path", "/***");
        assert_eq!(shown["url"], format!("http://{}{path}", far.address));
        assert_eq!(shown["body"].as_str().unwrap(), arrived.text());
        let got: BTreeMap<String, String> = arrived
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.replace("made-up-token", "***")))
            .filter(|(name, _)| !OF_THE_CONNECTION.contains(&name.as_str()) && !VEILED.contains(&name.as_str()))
            .collect();
        let told: BTreeMap<String, String> = shown["headers"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(name, _)| !VEILED.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect();
        assert_eq!(told, got);
    }
    let api = shown.iter().find(|shown| shown["url"].as_str().unwrap().contains("orders/a%2F7")).unwrap();
    assert_eq!((&api["headers"]["x-proof"], &api["headers"]["webhook-signature"]), (&json!("***"), &json!("***")));
    let told = explained.to_string() + &String::from_utf8(yard.cli(&["explain", &event]).stdout).unwrap();
    assert!(!told.contains("made-up") && !told.contains("bWFkZS11"), "{told}");
}

#[test]
fn a_file_is_shown_as_the_event_it_would_be() {
    let (yard, _) = yard();
    std::fs::write(yard.path("event.json"), ORDER).unwrap();
    let output = yard.cli(&["explain", "--source", "shop", "--topic", "ORDER_PAID", "event.json"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(!told.contains("made-up"), "{told}");
    for line in [
        "✓ shipping",
        "    → api (http)",
        "        x-shop: 7",
        "        token: ***",
        "        {\"id\":\"a/7\",\"shop\":\"7\",\"item\":2}",
        "✗ big: data.total: { gt: 1000 } (found 1.50)",
        "    → chat (slack)",
        "        {\"text\":\"Order a/7\"}",
    ] {
        assert!(told.lines().any(|told| told == line), "no `{line}` in\n{told}");
    }
    assert!(
        told.lines().any(|line| line.starts_with("        POST http://127.0.0.1:") && line.ends_with("/***/orders/a%2F7?wait=true")),
        "{told}"
    );
}

/// Each reason to wait, before anything is sent.
#[test]
fn why_it_would_wait_is_told_of_a_file() {
    let yard = Yard::new(
        "routes: [{ name: all, to: [rated, keyed, ordered, now, later] }]
outputs:
  rated: { type: file, path: a, rate: { limit: 30/min, burst: 5 } }
  keyed: { type: file, path: b, rate: { limit: 1/s, key: \"{{ data.shop }}\" } }
  ordered: { type: file, path: c, order_by: { key: \"{{ data.id }}\" } }
  now: { type: console, digest: { by: \"{{ topic }}\", first: now, every: 5m } }
  later: { type: console, digest: { first: wait, every: 5m } }
",
    );
    std::fs::write(yard.path("event.json"), r#"{"id": "x7", "shop": "north"}"#).unwrap();
    let explained = yard.json(&["explain", "--source", "shop", "--topic", "T", "event.json"]).remove(0);
    let wait = |output: &str| {
        let found = targets(&explained);
        let target = found.iter().find(|target| target["output"] == output).unwrap();
        let waits = target["waits"].as_array().unwrap();
        assert_eq!(waits.len(), 1, "{target}");
        let text = |name: &str| waits[0][name].as_str().unwrap_or_default().to_owned();
        (text("because"), waits[0]["now"].as_bool().unwrap(), text("key"), text("why"))
    };
    let reason = |because: &str, now: bool, key: &str, why: &str| (because.to_owned(), now, key.to_owned(), why.to_owned());
    assert_eq!(wait("rated"), reason("rate", false, "", "at most 30/m, burst 5 go to `rated`"));
    assert_eq!(wait("keyed"), reason("rate", false, "north", "at most 1/s go to `keyed` for each key"));
    assert_eq!(wait("ordered"), reason("order", false, "x7", "one of its key goes at a time, in the order of arrival"));
    assert_eq!(wait("now"), reason("digest", false, "T", "goes at once; within 5m after a message others of its key are collected"));
    assert_eq!(wait("later"), reason("digest", true, "", "is collected for 5m; within 5m after a message others of its key are collected"));
}

/// A kept one says behind whom it stands, what keeps its output back, and by which file it was planned.
#[test]
fn a_kept_event_says_behind_whom_it_waits_and_by_which_configuration_it_was_planned() {
    let nobody = FarSide::nobody();
    let routes = |topic: &str| {
        format!(
            "routes: [{{ name: all, topic: {topic}, to: api }}]
outputs:
  api: {{ type: http, url: \"http://{nobody}/x\", order_by: {{ key: \"{{{{ data.id }}}}\" }} }}
"
        )
    };
    let yard = Yard::new(&routes("ORDER")).start();
    let first = yard.post("ORDER", r#"{"id": 1, "n": 1}"#);
    let second = yard.post("ORDER", r#"{"id": 1, "n": 2}"#);
    yard.wait_state(&second, "api", "held");
    let explain = |event: &str| yard.json(&["explain", event]).remove(0);
    wait_for("the output to be known to be down", || explain(&second)["routes"][0]["targets"][0]["waits"].to_string().contains("is down"));
    let explained = explain(&second);
    let target = targets(&explained)[0];
    let waits = target["waits"].as_array().unwrap();
    let order = waits.iter().find(|wait| wait["because"] == "order").unwrap();
    assert!(order["why"].as_str().unwrap().starts_with("waits behind dlv_") && order["why"].as_str().unwrap().contains(&first), "{order}");
    assert_eq!((&order["now"], &order["key"]), (&json!(true), &json!("1")));
    assert_eq!((&target["planned"], &target["deliveries"][0]["state"]), (&json!(true), &json!("held")));
    let version = &explained["config"]["running"];
    assert_eq!((&explained["config"]["planned"], &target["config"]), (version, version));

    yard.write(&routes("OTHER"));
    wait_for("the new configuration", || explain(&second)["config"]["running"] != *version);
    let explained = explain(&second);
    assert_eq!(explained["config"]["planned"], *version);
    assert_eq!(explained["routes"][0]["why"], "topic: OTHER (found ORDER)");
    let also = &explained["also_planned"][0];
    assert_eq!((&also["output"], &also["config"], &also["deliveries"][0]["state"]), (&json!("api"), version, &json!("held")));
    let told = String::from_utf8(yard.cli(&["explain", &second]).stdout).unwrap();
    assert!(told.starts_with(&format!("planned under configuration {}; the routes of", version.as_str().unwrap())), "{told}");
    assert!(told.contains("✗ all: topic: OTHER") && told.contains("also planned by configuration"), "{told}");
}
