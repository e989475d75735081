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

fn the_one(explained: &Value, output: &str) -> Value {
    let found = targets(explained);
    let target = found.iter().find(|target| target["output"] == output).unwrap_or_else(|| panic!("no `{output}` in {explained}"));
    let shown = target["requests"].as_array().unwrap();
    assert_eq!(shown.len(), 1, "{target}");
    shown[0].clone()
}

/// Files and programs get what was shown, to the byte.
#[test]
fn files_and_programs_get_what_is_shown() {
    let yard = Yard::new(
        "routes: [{ name: all, to: [lines, table, program] }]
outputs:
  lines: { type: file, path: out/lines.ndjson }
  table: { type: file, path: out/table.csv, format: csv, header: [id, total], columns: { id: \"{{ data.id }}\", total: \"{{ data.total }}\" } }
  program: { type: exec, mode: once, command: [sh, -c, \"cat > got.json; : made-up-word\"], env: { KEY: \"${KEY}\" }, message: { room: \"{{ data.id }}\" } }
",
    )
    .env("KEY", "made-up-word")
    .start();
    let event = yard.post("ORDER_PAID", ORDER);
    for output in ["lines", "table", "program"] {
        yard.wait_state(&event, output, "delivered");
    }
    let explained = yard.json(&["explain", &event]).remove(0);
    let read = |path: &str| std::fs::read_to_string(yard.path(path)).unwrap();
    for (output, path) in [("lines", "out/lines.ndjson"), ("program", "got.json")] {
        assert_eq!(the_one(&explained, output)["body"].as_str().unwrap(), read(path), "{output}");
    }
    let table = the_one(&explained, "table");
    let header = table["properties"]["header"].as_str().unwrap();
    assert_eq!(format!("{header}\r\n{}", table["body"].as_str().unwrap()), read("out/table.csv"));
    assert_eq!((&table["method"], &table["url"]), (&json!("APPEND"), &json!("out/table.csv")));
    let program = the_one(&explained, "program");
    assert_eq!((&program["method"], &program["url"]), (&json!("RUN"), &json!("sh -c cat > got.json; : ***")));
    assert!(!explained.to_string().contains("made-up"), "{explained}");
}

/// Far sides that are not asked: where it goes, what stands beside it, and what it holds, in their own words.
#[test]
fn each_kind_of_far_side_is_shown_in_its_own_words() {
    let yard = Yard::new(
        "routes: [{ name: all, to: [mail, stream, table, queue, subject, sensor, entry, log, objects] }]
outputs:
  mail: { type: email, smtp: \"${SMTP}\", from: Shop <shop@example.com>, to: [duty@example.com], bcc: [boss@example.com], subject: \"Ünser {{ data.id }}\", html: \"<b>{{ data.id }}</b>\", attach: event }
  stream: { type: kafka, brokers: [\"127.0.0.1:9\"], topic: orders, key: \"{{ data.id }}\", headers: { shop: \"{{ data.shop }}\" } }
  table: { type: sql, url: \"${DATABASE}\", sql: \"DELETE FROM t WHERE shop = :shop AND id = :id\", params: { shop: \"{{ data.shop }}\", id: \"{{ data.id }}\" } }
  queue: { type: amqp, url: \"amqp://guest:made-up@127.0.0.1:9\", exchange: shop, routing_key: orders, headers: { shop: \"{{ data.shop }}\" } }
  subject: { type: nats, url: \"nats://made-up@127.0.0.1:9\", subject: orders.paid }
  sensor: { type: mqtt, url: \"mqtt://127.0.0.1:9\", topic: orders, retain: true, body: '{ \"n\": \"{{ data.id }}\" }' }
  entry: { type: redis, url: \"redis://:made-up@127.0.0.1:9\", stream: orders, max_length: 1000 }
  log: { type: syslog, url: \"tcp://127.0.0.1:9\", text: \"paid {{ data.id }}\" }
  objects: { type: s3, bucket: acme, region: eu-west-1, access_key: made-up-key, secret_key: made-up-secret, line: \"{{ data.id }}\" }
",
    )
    .env("SMTP", "smtps://u:made-up@mail.example.com")
    .env("DATABASE", "postgres://u:made-up@db.example/crm");
    std::fs::write(yard.path("event.json"), ORDER).unwrap();
    let explain = &["explain", "--source", "shop", "--topic", "ORDER_PAID", "--header", "content-type: application/json", "event.json"];
    let explained = yard.json(explain).remove(0);
    assert!(!explained.to_string().contains("made-up"), "{explained}");
    let head = |output: &str| {
        let shown = the_one(&explained, output);
        format!("{} {}", shown["method"].as_str().unwrap(), shown["url"].as_str().unwrap())
    };
    for (output, expected) in [
        ("mail", "MAIL duty@example.com, boss@example.com"),
        ("stream", "PRODUCE orders"),
        ("table", "EXECUTE postgres at db.example"),
        ("queue", "PUBLISH shop"),
        ("subject", "PUB orders.paid"),
        ("sensor", "PUBLISH orders"),
        ("entry", "XADD orders"),
        ("log", "SYSLOG 127.0.0.1:9"),
    ] {
        assert_eq!(head(output), expected);
    }
    assert!(head("objects").starts_with("PUT s3://acme/topic=ORDER_PAID/dt="), "{}", head("objects"));
    let mail = the_one(&explained, "mail");
    assert_eq!((&mail["headers"]["From"], &mail["headers"]["To"]), (&json!("Shop <shop@example.com>"), &json!("duty@example.com")));
    assert_eq!((&mail["headers"]["Subject"], &mail["headers"]["Bcc"]), (&json!("Ünser a/7"), &Value::Null));
    assert_eq!(mail["body"], "a/7\n\n[text/html]\n<b>a/7</b>\n\n[attached: event.json, 58 bytes]");
    let table = the_one(&explained, "table");
    assert_eq!(table["body"], "DELETE FROM t WHERE shop = $1 AND id = $2");
    assert_eq!(table["properties"], json!({ "$1 (:shop)": "7", "$2 (:id)": "a/7" }));
    let stream = the_one(&explained, "stream");
    assert_eq!((&stream["properties"]["key"], &stream["headers"]["shop"], &stream["body"]), (&json!("a/7"), &json!("7"), &json!(ORDER)));
    let queue = the_one(&explained, "queue");
    assert_eq!((&queue["properties"]["routing_key"], &queue["headers"]["shop"]), (&json!("orders"), &json!("7")));
    let subject = the_one(&explained, "subject");
    assert_eq!(subject["headers"]["Nats-Msg-Id"], subject["headers"]["switchyard-delivery"]);
    let sensor = the_one(&explained, "sensor");
    assert_eq!((&sensor["properties"]["retain"], &sensor["body"]), (&json!("true"), &json!("{ \"n\": \"a/7\" }")));
    let entry = the_one(&explained, "entry");
    assert_eq!((&entry["properties"]["MAXLEN ~"], &entry["body"]), (&json!("1000"), &json!(ORDER)));
    assert!(the_one(&explained, "log")["body"].as_str().unwrap().ends_with("] paid a/7"));
    assert_eq!(the_one(&explained, "objects")["body"], "a/7\n");

    let told = String::from_utf8(yard.cli(explain).stdout).unwrap();
    for line in ["        PRODUCE orders", "        key = a/7", "        shop: 7", "        $2 (:id) = a/7"] {
        assert!(told.lines().any(|told| told == line), "no `{line}` in\n{told}");
    }
}

/// Every kind there is, where nobody has its secrets.
#[test]
fn every_kind_shows_what_its_far_side_would_get() {
    let yard = Yard::new("");
    let (mut names, mut outputs) = (vec![], String::new());
    for kind in switchyard_plugins::kinds() {
        names.push(format!("o-{}", kind.name()));
        outputs += &["  o-", kind.name(), ": ", &kind.example().replace("{…}", "{}"), "\n"].concat();
    }
    yard.write_whole(&format!(
        "journal: {{ vault_key: \"${{VAULT_KEY}}\" }}\nsources: {{ shop: {{ verify: none }} }}\nroutes: [{{ name: all, to: [{}] }}]\noutputs:\n{outputs}",
        names.join(", ")
    ));
    std::fs::write(yard.path("event.json"), ORDER).unwrap();
    let output = yard.cli(&["explain", "--without-secrets", "--json", "--source", "shop", "--topic", "ORDER_PAID", "event.json"]);
    let explained: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let targets = targets(&explained);
    assert_eq!(targets.len(), names.len());
    let bare: Vec<&Value> =
        targets.into_iter().filter(|target| target["failed"].is_null() && target["requests"][0]["method"].is_null()).collect();
    assert!(bare.is_empty(), "{bare:#?}");
}
