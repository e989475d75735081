//! `switchyard test` and `switchyard diff` with the real binary: what a file expects of itself, and what another one would change.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

mod yard;

use std::process::{Command, Output};
use yard::{FarSide, Yard};

const FILE: &str = r#"
sources:
  shop: { verify: orderchamp, secret: "made-up-secret" }
routes:
  - { name: all, to: archive }
  - name: big
    from: shop
    topic: ORDER_*
    filter: { data.total: { gt: 1000 } }
    hours: { zone: Europe/Amsterdam, on: mon-fri, from: "08:00", to: "18:00" }
    to: { output: chat, text: "Order {{ data.number }}: {{ data.total }} EUR" }
  - { name: each, topic: ORDER_PAID, to: digest }
  - { name: parts, topic: SPLIT, transform: '.data.items[] | {sku: .sku}', to: partner }
outputs:
  archive: { type: file, path: "data/{date}.ndjson" }
  chat: { type: slack, url: "https://hooks.slack.com/services/made/up" }
  digest: { type: slack, url: "https://hooks.slack.com/services/made/up", text: "paid {{ data.number }}", digest: { every: 5m } }
  partner: { type: http, url: "http://127.0.0.1:9/" }
tests:
"#;

fn test(tests: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("routes.yaml"), format!("{}{tests}", FILE.trim_start())).unwrap();
    Command::new(env!("CARGO_BIN_EXE_switchyard")).current_dir(folder.path()).arg("test").output().unwrap()
}

fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn what_is_as_expected_is_good() {
    let good = test(
        r#"  - name: a big order reaches the chat and the archive
    at: 2026-03-02T10:00:00+01:00
    source: shop
    topic: ORDER_CREATED
    data: { number: 7, total: 1500, code: "007" }
    expect:
      - archive
      - { output: chat, route: big, text: { contains: "1500 EUR" }, within: 0s }
      - { not: { output: digest } }
  - name: what comes at night waits for the morning
    at: 2026-03-02T23:00:00+01:00
    source: shop
    topic: ORDER_CREATED
    data: { number: 7, total: 1500 }
    expect: { output: chat, after: 9h, within: 9h }
  - name: the first goes at once and nine together after five minutes
    source: shop
    topic: ORDER_PAID
    data: { number: 1, total: 10 }
    events: [ { after: 1m, data: { number: 2, total: 10 }, count: 9 } ]
    expect:
      - { output: digest, count: 2 }
      - { output: digest, text: "paid 1", within: 0s }
      - { output: digest, after: 5m, within: 5m, text: { regex: "paid 2(\n+paid 2){8}" } }
  - name: each part is sent by itself
    source: shop
    topic: SPLIT
    data: { items: [ { sku: a }, { sku: b } ] }
    expect: [ { output: partner, count: 2 }, { output: partner, json.sku: b }, { output: partner, body: '{"sku":"a"}' } ]
  - name: what cannot be rendered is dead
    source: shop
    topic: ORDER_CREATED
    data: { total: 1500 }
    expect: [ { output: chat, dead: { contains: number } } ]
"#,
    );
    assert!(good.status.success(), "{}", both(&good));
    assert!(both(&good).ends_with("5 tests good, 0 failed\n"), "{}", both(&good));
}

#[test]
fn what_differs_is_said_with_what_there_was() {
    let failed = test(
        r#"  - name: a small order
    source: shop
    topic: ORDER_CREATED
    data: { number: 7, total: 150 }
    expect: [ chat, { not: { output: archive } } ]
  - name: another text
    source: shop
    topic: ORDER_CREATED
    data: { number: 7, total: 1500 }
    expect: [ { output: chat, text: { contains: "1,500" } } ]
  - name: nothing at all
    source: shop
    topic: ORDER_CREATED
    data: { number: 7 }
    expect: []
"#,
    );
    assert_eq!(failed.status.code(), Some(1));
    insta::assert_snapshot!(both(&failed), @r#"
    ✗ a small order
        expected chat
          at routes.yaml:23:15
          nothing goes to `chat`
          route big: data.total: { gt: 1000 } (found 150)
        expected { not: { output: "archive" } }
          at routes.yaml:23:21
          1 of them, not 0
          all → archive: body: {"number":7,"total":150}
        went out: all → archive: body: {"number":7,"total":150}
    ✗ another text
        expected { output: "chat", text: { contains: "1,500" } }
          at routes.yaml:28:15
          big → chat: text: { contains: "1,500" } (found "Order 7: 1500 EUR")
        went out: all → archive: body: {"number":7,"total":1500}
        went out: big → chat: text: Order 7: 1500 EUR
    ✗ nothing at all
        expected nothing
          at routes.yaml:29:11
          all → archive: body: {"number":7}
        went out: all → archive: body: {"number":7}
    0 tests good, 3 failed
    "#);
}

#[test]
fn a_mistake_in_a_test_is_told_at_its_place() {
    let wrong = test(
        r"  - name: one
    source: shpo
    topic: ORDER_CREATED
    expect: []
  - name: two
    at: tomorrow
    source: shop
    expect: [ { output: chatt } ]
  - name: three
    source: shop
    expect: [ { output: chat, txt: x, text: { contians: y } } ]
  - { name: four, source: shop, data: 1, body: x, expct: [] }
",
    );
    assert_eq!(wrong.status.code(), Some(1));
    let told = both(&wrong);
    for part in [
        "did you mean `shop`?",
        "`tomorrow` is not a moment",
        "did you mean `chat`?",
        "did you mean `text`?",
        "did you mean `contains`?",
        "did you mean `expect`?",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn another_file_is_compared_over_kept_events_and_a_test_is_written_of_one() {
    let far = FarSide::start();
    let rest = |above: u32, more: &str| {
        format!(
            "routes:\n  - {{ name: big, filter: {{ data.total: {{ gt: {above} }} }}, to: shop }}\n{more}outputs:\n  shop: {{ type: http, url: {}, body: '{{{{ data.n|tojson }}}}' }}\n",
            far.url()
        )
    };
    let mut yard = Yard::new(&rest(100, "")).start();
    let events: Vec<String> =
        [50, 150, 250].iter().map(|total| yard.post("ORDER", &format!(r#"{{"n":{total},"total":{total}.00}}"#))).collect();
    yard.wait_state(&events[2], "shop", "delivered");
    let written = yard.cli(&["test", "--from", &events[1]]);
    let test = String::from_utf8(written.stdout).unwrap();
    assert!(test.contains(r#"data: {"n": 150, "total": 150.00}"#) && test.contains("{ output: shop, route: big }"), "{test}");
    assert!(!test.contains("headers:"), "{test}");
    let whole = std::fs::read_to_string(yard.path("routes.yaml")).unwrap();
    std::fs::write(yard.path("tested.yaml"), format!("{whole}{test}")).unwrap();
    let run = yard.cli(&["test", "tested.yaml"]);
    assert!(run.status.success(), "{}", both(&run));

    let other = whole.replace("gt: 100", "gt: 200").replace("data.n|tojson", "[data.n]|tojson");
    std::fs::write(yard.path("new.yaml"), &other).unwrap();
    let same = yard.cli(&["diff", "routes.yaml", "--last", "1h"]);
    assert_eq!((same.status.code(), both(&same).as_str()), (Some(0), "3 events: 0 deliveries added, 0 gone, 0 different, 2 the same\n"));
    let lines = |args: &[&str]| yard.json(args);
    let found = lines(&["diff", "new.yaml"]);
    let total = found.last().unwrap();
    assert_eq!((&total["added"], &total["gone"], &total["different"]), (&0.into(), &1.into(), &1.into()), "{found:?}");
    assert_eq!((&found[0]["change"], &found[0]["event"]), (&"gone".into(), &events[1].clone().into()));
    assert_eq!(found[1]["fields"][0], serde_json::json!({ "field": "body", "old": "250", "new": "[250]" }));
    // Saved, and compared without a daemon.
    let saved = yard.cli(&["events", "save"]);
    std::fs::write(yard.path("saved.jsonl"), &saved.stdout).unwrap();
    assert_eq!(yard.cli(&["events", "save", &events[0]]).stdout.split(|b| *b == b'\n').next(), saved.stdout.split(|b| *b == b'\n').next());
    yard.kill();
    let offline = yard.cli(&["diff", "new.yaml", "--from", "saved.jsonl"]);
    assert_eq!(offline.status.code(), Some(1), "{}", both(&offline));
    assert!(both(&offline).ends_with("3 events: 0 deliveries added, 1 gone, 1 different, 0 the same\n"), "{}", both(&offline));
    std::fs::write(yard.path("saved.jsonl"), "{}\n").unwrap();
    let wrong = yard.cli(&["diff", "new.yaml", "--from", "saved.jsonl"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(both(&wrong).contains("saved.jsonl:1: not a saved event"), "{}", both(&wrong));
}

#[test]
fn a_test_that_is_written_of_an_event_holds_whatever_the_event_has() {
    let far = FarSide::start();
    let yard = Yard::new(&format!(
        "routes:
  - {{ name: told, to: {{ output: chat, text: \"{{{{ id }}}}: {{{{ data.total|tojson }}}} {{{{ data.why }}}}\" }} }}
  - {{ name: large, filter: {{ data.total: {{ gt: 1234567890123456789012345.05 }} }}, to: {{ output: chat, text: large }} }}
outputs:
  chat: {{ type: mattermost, url: {} }}
",
        far.url()
    ))
    .start();
    let bodies = [
        r#"{"total": 1234567890123456789012345.10,
            "why": "a: b, #c"}"#,
        r#"{"total":1e400,"why":"\u00e9 \"x\""}"#,
        "{\"total\": 1",
        r#"{"total":12345678901234567890123456789012345678901234567890,"why":null}"#,
    ];
    for (nth, body) in bodies.into_iter().enumerate() {
        let event = yard.post("ORDER", body);
        yard.wait_state(&event, "chat", if nth == 2 { "dead" } else { "delivered" });
        let written = yard.cli(&["test", "--from", &event]);
        let file = format!("written-{nth}.yaml");
        std::fs::write(yard.path(&file), &written.stdout).unwrap();
        let run = yard.cli(&["test", "--also", &file]);
        assert!(run.status.success(), "{}{}", String::from_utf8_lossy(&written.stdout), both(&run));
        let test = String::from_utf8(written.stdout).unwrap();
        assert_eq!((test.contains("route: large"), test.contains(&event)), (nth != 2, false), "{test}");
    }
}

#[test]
fn a_file_with_every_key_is_good_where_nobody_has_its_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let text = include_str!("data/routes.yaml");
    std::fs::write(folder.path().join("routes.yaml"), text).unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
        command.current_dir(folder.path()).env_clear().args(args).output().unwrap()
    };
    let without = run(&["check", "--without-secrets"]);
    let told = both(&without);
    assert!(without.status.success() && told.contains("routes.yaml runs: 3 sources, 5 routes, 5 outputs\n"), "{told}");
    assert!(!told.contains("error[") && !told.contains("is not set") && told.contains("warning[unsigned-decides]"), "{told}");
    let tested = run(&["test", "--without-secrets"]);
    assert!(tested.status.success() && both(&tested).contains(" good, 0 failed"), "{}", both(&tested));
    let with = run(&["test"]);
    assert!(with.status.code() == Some(1) && both(&with).contains("the variable `ADMIN_TOKEN` is not set"), "{}", both(&with));
    let with = run(&["check"]);
    assert!(with.status.code() == Some(1) && both(&with).contains("the variable `ADMIN_TOKEN` is not set"), "{}", both(&with));
    std::fs::write(folder.path().join("routes.yaml"), text.replace("gt: 1000", "gtt: 1000")).unwrap();
    let wrong = run(&["check", "--without-secrets"]);
    assert!(
        wrong.status.code() == Some(1) && both(&wrong).contains("did you mean `gt`?") && !both(&wrong).contains("is not set"),
        "{}",
        both(&wrong)
    );
}

/// What fits is found for each place; what is set stays, and what nothing fits is told.
#[test]
fn tests_run_where_nobody_has_the_secrets_and_go_by_what_is_set() {
    let folder = tempfile::tempdir().unwrap();
    let file = r#"
sources:
  shop: { verify: standard-webhooks, secret: "${SHOP}" }
  keyed: { verify: discord, secret: "${file:/no/such/key}" }
routes:
  - { name: all, from: shop, topic: "${TOPIC}", to: [chat, mail, table] }
outputs:
  chat: { type: slack, url: "${CHAT}", text: "{{ data.n }}" }
  mail: { type: email, smtp: "${MAIL}", from: "${FROM}", to: [duty@example.com] }
  table: { type: sql, url: "${DATABASE}", sql: "DELETE FROM t WHERE n = :n", params: { n: "{{ data.n }}" }, rate: "${RATE}" }
tests:
  - { name: paid, source: shop, topic: PAID, data: { n: 1 }, expect: [ { output: chat, text: "1" }, { output: mail }, { output: table } ] }
"#;
    let run = |file: &str, env: &[(&str, &str)]| {
        std::fs::write(folder.path().join("routes.yaml"), file.trim_start()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
        let output = command.current_dir(folder.path()).env_clear().envs(env.iter().copied()).args(["test", "--without-secrets"]).output();
        let output = output.unwrap();
        (output.status.code(), both(&output))
    };
    assert_eq!(run(file, &[("TOPIC", "PAID")]), (Some(0), "✓ paid\n1 test good, 0 failed\n".into()));
    let (code, told) = run(file, &[("TOPIC", "OTHER")]);
    assert!(code == Some(1) && told.contains("nothing went out"), "{told}");
    // What is wrong besides is told as ever.
    let (code, told) = run(&file.replace("rate:", "rtae:"), &[]);
    assert!(code == Some(1) && told.contains("did you mean `rate`?") && !told.contains("is not set"), "{told}");
    let (code, told) = run(&file.replace("data: { n: 1 }", "data: { n: 1 }, at: \"${AT}\""), &[("TOPIC", "PAID")]);
    assert!(code == Some(1) && told.contains("error[unset-variable]: the variable `AT` is not set"), "{told}");
    let (code, told) = run(&file.replace("{{ data.n }}\" }\n  mail", "${TEXT} {{ data.n }}\" }\n  mail"), &[("TOPIC", "PAID")]);
    assert!(code == Some(1) && told.contains("secrets are never reachable from templates"), "{told}");
}
