//! The way of one event, from outside: the real binary, real sockets, real files.
#![allow(missing_docs, clippy::unwrap_used)]

mod yard;

use serde_json::Value;
use yard::{Behaviour, FarSide, Yard, http, lines, sign, wait_for};

const ORDER: &str = r#"{"number":7,"total":1500.50,"customer":{"name":"Ann <b>","country":"NL"}}"#;

#[test]
fn a_signed_order_reaches_an_http_endpoint_a_chat_and_a_file() {
    let (shop, chat) = (FarSide::start(), FarSide::start());
    let yard = Yard::new(&format!(
        r#"
routes:
  - name: big
    from: shop
    topic: ORDER_*
    filter: {{ data.total: {{ gt: 1000 }}, data.customer.country: [NL, BE] }}
    to:
      - partner
      - output: sales
        text: "Order {{{{ data.number }}}}: {{{{ data.total }}}} EUR from {{{{ data.customer.name }}}}"
  - {{ name: all, to: archive }}
  - {{ name: small, topic: ORDER_*, filter: {{ data.total: {{ lt: 10 }} }}, to: partner }}
outputs:
  partner: {{ type: http, url: "{}", sign: {{ secret: whsec_bWFkZS11cC1zZWNyZXQtbWFkZS11cC1zZWNyZXQ= }} }}
  sales: {{ type: mattermost, url: "{}" }}
  archive: {{ type: file, path: out/events.ndjson }}
"#,
        shop.url(),
        chat.url()
    ))
    .start();
    let event = yard.post("ORDER_PAID", ORDER);

    let request = &shop.wait(1)[0];
    assert_eq!(request.text(), ORDER, "the exact bytes");
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("switchyard-event"), event);
    assert_eq!(request.header("switchyard-attempt"), "1");
    let id = request.header("switchyard-delivery");
    assert!(id.starts_with("dlv_"));
    assert_eq!(request.header("idempotency-key"), id);
    assert_eq!(request.header("webhook-id"), id);
    assert!(request.header("webhook-signature").starts_with("v1,"));

    let said: Value = serde_json::from_slice(&chat.wait(1)[0].body).unwrap();
    assert_eq!(said["text"], r"Order 7: 1500.50 EUR from Ann \<b\>", "digits kept, markup escaped");

    let archived = yard.wait_state(&event, "archive", "delivered");
    assert_eq!(archived["attempts"], 1);
    let kept = lines(&yard.path("out/events.ndjson"));
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0]["event"], event);
    yard.wait_state(&event, "partner", "delivered");
    yard.wait_state(&event, "sales", "delivered");
    assert_eq!(yard.deliveries(&event).len(), 3, "the small route took nothing");
    assert_eq!(yard.json(&["audit"])[0]["lost"], 0);
}

#[test]
fn what_is_not_proven_or_not_ours_is_refused_and_shown() {
    let yard = Yard::new("routes: [{ name: all, to: out }]\noutputs: { out: { type: file, path: out.ndjson } }\n").start();
    let address = &yard.daemon().events;
    let status = |answer: std::io::Result<http::Answer>| answer.unwrap().status;

    let wrong = yard.post_raw("A", b"{}", &sign(b"{ }"), &[]);
    assert_eq!((wrong.status, wrong.json()["error"].is_string()), (401, true));
    assert_eq!(status(http::request(address, "POST", "/shop", &[], b"{}")), 401);
    assert_eq!(status(http::request(address, "POST", "/nobody", &[], b"{}")), 404);
    assert_eq!(status(http::request(address, "POST", "/shop/", &[], b"{}")), 404);
    let get = http::request(address, "GET", "/shop", &[], b"").unwrap();
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    let large = vec![b'x'; (1 << 20) + 1];
    assert_eq!(yard.post_raw("A", &large, &sign(&large), &[]).status, 413);
    let chunked = format!("POST /shop HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n", large.len());
    assert_eq!(status(http::raw(address, &[chunked.as_bytes(), &large, b"\r\n0\r\n\r\n"].concat())), 413);

    let refused = yard.json(&["refused"]);
    for status in [401, 404, 405, 413] {
        assert!(refused.iter().any(|row| row["status"] == status), "{status} is shown: {refused:?}");
    }
    assert!(yard.json(&["events"]).is_empty(), "nothing was kept");
}

#[test]
fn a_verified_event_is_never_refused_for_its_content() {
    // L2
    let yard = Yard::new("routes: [{ name: all, to: out }]\noutputs: { out: { type: file, path: out.ndjson } }\n").start();
    let mib = vec![b'x'; 1 << 20];
    let deep = "[".repeat(100_000);
    let bodies: [&[u8]; 6] = [b"this is not JSON", b"", &mib, deep.as_bytes(), b"\xff\xfe\x00", b"{\"a\":1e400}"];
    for body in bodies {
        let answer = yard.post_raw("ANY", body, &sign(body), &[]);
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&body[..body.len().min(20)]));
        let event = answer.json()["event"].as_str().unwrap().to_owned();
        yard.wait_state(&event, "out", "delivered");
    }
    let written = std::fs::read_to_string(yard.path("out.ndjson")).unwrap();
    assert_eq!(written.lines().count(), bodies.len());
    assert_eq!(yard.json(&["events"]).len(), bodies.len());
}

#[test]
fn an_event_that_no_route_takes_is_kept_and_shown() {
    let yard = Yard::new("routes: [{ name: some, topic: B, to: out }]\noutputs: { out: { type: file, path: out.ndjson } }\n").start();
    let event = yard.post("A", "{}");
    let shown = yard.json(&["events", &event]);
    assert_eq!((&shown[0]["id"], shown[0]["plan"].as_array().map(Vec::len)), (&Value::from(event.as_str()), Some(0)));
    let why = yard.cli(&["explain", &event]);
    assert_eq!(why.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&why.stdout).contains("some"), "the route and why not");
}

#[test]
fn a_repeat_inside_the_window_is_answered_and_not_delivered_again() {
    let yard = Yard::new("routes: [{ name: all, to: out }]\noutputs: { out: { type: file, path: out.ndjson } }\n").start();
    let first = yard.post("A", "{}");
    let again = yard.post_raw("A", b"{}", &sign(b"{}"), &[]);
    assert_eq!(again.status, 200);
    assert_eq!(again.json()["event"], first);
    assert_eq!(again.json()["duplicate"], true);
    assert_ne!(yard.post("B", "{}"), first, "another topic is another event");
    wait_for("two lines", || lines(&yard.path("out.ndjson")).len() == 2);
    assert_eq!(yard.json(&["events"]).len(), 2);
}

#[test]
fn an_output_that_is_down_costs_no_attempts_and_delays_nobody() {
    // L3
    let address = FarSide::nobody();
    let good = FarSide::start();
    let yard = Yard::new(&format!(
        "routes: [{{ name: all, to: [gone, good] }}]\noutputs:\n  gone: {{ type: http, url: \"http://{address}/\" }}\n  good: {{ type: http, url: \"{}\" }}\n",
        good.url()
    ))
    .start();
    let events: Vec<String> = (0..5).map(|n| yard.post("A", &format!("{{\"n\":{n}}}"))).collect();
    good.wait(5);
    for event in &events {
        yard.wait_state(event, "good", "delivered");
    }
    let back = FarSide::at(&address);
    back.wait(5);
    for event in &events {
        assert_eq!(yard.wait_state(event, "gone", "delivered")["attempts"], 1, "being down was not counted");
    }
    assert!(back.arrived().iter().all(|request| request.header("switchyard-attempt") == "1"));
}

#[test]
fn what_the_far_side_answers_decides() {
    let side = FarSide::start();
    let yard = Yard::new(&format!(
        "routes: [{{ name: all, to: out }}]\noutputs:\n  out: {{ type: http, url: \"{}\", retry: {{ schedule: [10ms, 10ms, 10ms] }}, timeout: 500ms }}\n",
        side.url()
    ))
    .start();
    // 500, then 200: tried again, with the same id and the same bytes.
    side.next([Behaviour::status(500)]);
    let event = yard.post("RETRY", ORDER);
    assert_eq!(yard.wait_state(&event, "out", "delivered")["attempts"], 2);
    let tries = side.arrived();
    assert_eq!(tries[0].header("switchyard-delivery"), tries[1].header("switchyard-delivery"));
    assert_eq!((tries[0].text(), tries[1].header("switchyard-attempt")), (tries[1].text(), "2"));

    // 429 with Retry-After: not before that.
    side.next([Behaviour::with(429, "retry-after", "1")]);
    let event = yard.post("WAIT", "1");
    yard.wait_state(&event, "out", "delivered");
    let tries = side.arrived();
    let gap = tries[3].at.duration_since(tries[2].at);
    assert!(gap >= std::time::Duration::from_millis(990), "{gap:?}");

    // Garbage, then a hang-up, then silence: nobody knows whether it arrived, so it is tried again until the schedule ends.
    side.next([Behaviour::Garbage, Behaviour::Hangup, Behaviour::Silence]);
    let event = yard.post("UNKNOWN", "2");
    let row = yard.wait_state(&event, "out", "delivered");
    assert_eq!(row["attempts"], 4);

    // 422: this one will never be accepted.
    side.next([Behaviour::status(422)]);
    let event = yard.post("NO", "3");
    let row = yard.wait_state(&event, "out", "dead");
    assert_eq!(row["attempts"], 1);
    assert!(row["detail"].as_str().unwrap().contains("422"), "{row}");
    assert_eq!(yard.json(&["dead"]).len(), 1);

    // 500 for ever: dead when the schedule is spent, and replayable under the same id.
    side.next(vec![Behaviour::status(500); 4]);
    let event = yard.post("SPENT", "4");
    let row = yard.wait_state(&event, "out", "dead");
    assert_eq!(row["attempts"], 4);
    let before = side.arrived().len();
    assert!(yard.cli(&["replay", &event]).status.success());
    yard.wait_state(&event, "out", "delivered");
    let replayed = &side.arrived()[before];
    assert_eq!(replayed.header("switchyard-delivery"), row["id"].as_str().unwrap());
    assert!(!replayed.header("switchyard-replay").is_empty());
    assert_eq!(yard.json(&["audit"])[0]["lost"], 0);
}

#[test]
fn a_redirect_or_a_refused_credential_holds_the_backlog_and_never_kills_it() {
    let side = FarSide::start();
    let yard =
        Yard::new(&format!("routes: [{{ name: all, to: out }}]\noutputs:\n  out: {{ type: http, url: \"{}\" }}\n", side.url())).start();
    side.always(Behaviour::with(302, "location", "http://127.0.0.1:1/elsewhere"));
    let event = yard.post("A", "{}");
    side.wait(1);
    wait_for("the output to be shown as misconfigured", || {
        yard.admin("GET", "/api/outputs", "").json().to_string().contains("misconfigured")
    });
    assert!(yard.deliveries(&event).iter().all(|d| d["state"] != "dead"));
    assert_eq!(yard.admin("GET", "/metrics", "").status, 200);
}

#[test]
fn what_waits_survives_a_kill_with_one_id_and_the_same_bytes() {
    // L1
    let address = FarSide::nobody();
    let mut yard = Yard::new(&format!(
        "routes: [{{ name: all, to: [out, file] }}]\noutputs:\n  out: {{ type: http, url: \"http://{address}/\" }}\n  file: {{ type: file, path: out.ndjson }}\n"
    ))
    .start();
    let events: Vec<String> = (0..20).map(|n| yard.post("A", &format!("{{\"n\":{n}}}"))).collect();
    yard.kill();
    let side = FarSide::at(&address);
    yard.run();
    for event in &events {
        yard.wait_state(event, "out", "delivered");
        yard.wait_state(event, "file", "delivered");
    }
    let mut ids: Vec<String> = side.arrived().iter().map(|request| request.header("switchyard-delivery").to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20);
    let audit = &yard.json(&["audit"])[0];
    assert_eq!((&audit["lost"], &audit["delivered"]), (&Value::from(0), &Value::from(40)));
}

#[test]
fn a_failed_template_or_program_is_dead_with_the_reason_and_stops_nobody() {
    let yard = Yard::new(
        r#"
routes:
  - { name: all, to: file }
  - name: text
    to: { output: screen, text: "{{ data.customer.nmae }}" }
  - name: shape
    transform: '.data.items[] | {n: .n}'
    to: { output: shaped }
  - name: boom
    transform: '[range(1e12)]'
    to: screen
outputs:
  file: { type: file, path: out.ndjson }
  shaped: { type: file, path: shaped.ndjson }
  screen: { type: console }
"#,
    )
    .start();
    let event = yard.post("A", r#"{"items":[{"n":1},{"n":2.50}],"customer":{}}"#);
    let rows: Vec<Value> = yard.deliveries(&event);
    drop(rows);
    yard.wait_state(&event, "file", "delivered");
    wait_for("two results, two deliveries", || {
        yard.deliveries(&event).iter().filter(|d| d["output"] == "shaped" && d["state"] == "delivered").count() == 2
    });
    let shaped = std::fs::read_to_string(yard.path("shaped.ndjson")).unwrap();
    assert!(shaped.contains("2.50"), "digits are kept: {shaped}");
    wait_for("both failures to be dead", || {
        yard.deliveries(&event).iter().filter(|d| d["output"] == "screen" && d["state"] == "dead").count() == 2
    });
    assert_eq!(yard.json(&["audit"])[0]["lost"], 0);
}

#[test]
fn a_limit_holds_under_a_burst() {
    // L4
    let side = FarSide::start();
    let yard = Yard::new(&format!(
        "routes: [{{ name: all, to: out }}]\noutputs:\n  out: {{ type: http, url: \"{}\", rate: {{ limit: 20/s, burst: 2 }} }}\n",
        side.url()
    ))
    .start();
    for n in 0..40 {
        yard.post("A", &n.to_string());
    }
    let arrived = side.wait(40);
    for (at, first) in arrived.iter().enumerate() {
        let window = arrived[at..].iter().take_while(|later| later.at.duration_since(first.at).as_millis() < 500).count();
        assert!(window <= 10 + 2 + 1, "{window} requests within half a second of a limit of 20/s");
    }
}
