//! What is not taken is seen with its cause, by the real daemon: which clock is wrong, which header is missing, who it was behind a proxy;
//! and which of several secrets is still used.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

mod yard;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use std::io::{Read, Write};
use std::time::{SystemTime, UNIX_EPOCH};
use yard::{Yard, http, wait_until};

const FILE: &str = "server: { listen: 127.0.0.1:0, admin: { listen: 127.0.0.1:0 }, max_body: 1KiB, trusted_proxies: [127.0.0.0/8] }
sources:
  shop:
    verify: { hmac: sha256, header: X-Sig, signs: \"{timestamp}.{body}\", timestamp: { header: X-Time, tolerance: 5m } }
    secret: [made-up-new, made-up-old]
  till: { verify: { bearer: made-up-token } }
routes: []
outputs: {}
";

fn start() -> Yard {
    let yard = Yard::new("");
    yard.write_whole(FILE);
    yard.start()
}

/// Posts to the shop, signed with a secret at a moment that is so many seconds ago.
fn post(yard: &Yard, secret: &str, ago: i64, more: &[(&str, &str)]) -> u16 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let time = (i64::try_from(now).unwrap() - ago).to_string();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{time}.{{}}").as_bytes());
    let signature = hex::encode(mac.finalize().into_bytes());
    let headers = [&[("x-time", time.as_str()), ("x-sig", signature.as_str())], more].concat();
    http::request(&yard.daemon().events, "POST", "/shop", &headers, b"{}").unwrap().status
}

/// The newest refusal.
fn last(yard: &Yard) -> Value {
    yard.json(&["refused"]).remove(0)
}

#[test]
fn each_refused_request_says_what_to_look_at() {
    let yard = start();
    assert_eq!(yard.json(&["refused"]).len(), 0);

    assert_eq!(post(&yard, "made-up-new", 10_925, &[("x-forwarded-for", "203.0.113.9, 127.0.0.1")]), 401);
    let told = last(&yard);
    assert_eq!((&told["cause"], &told["peer"], &told["source"]), (&"too_old".into(), &"203.0.113.9".into(), &"shop".into()));
    assert!((10_925..10_985).contains(&told["seconds_off"].as_i64().unwrap()), "{told}");
    let why = told["why"].as_str().unwrap();
    assert!(why.starts_with("the signature is good, but 3 h 2 min old: is this machine's clock or the sender's wrong"), "{why}");

    assert_eq!(post(&yard, "made-up-old", -3_700, &[]), 401);
    let told = last(&yard);
    assert_eq!((&told["cause"], told["seconds_off"].as_i64().unwrap() <= -3_600), (&"from_the_future".into(), true), "{told}");
    assert_eq!(post(&yard, "another", 0, &[]), 401);
    assert_eq!(last(&yard)["cause"], "no_secret_matches");
    assert_eq!(post(&yard, "another", 7_200, &[]), 401);
    let told = last(&yard);
    assert_eq!((&told["cause"], told["seconds_off"].as_i64().unwrap() >= 7_200), (&"no_secret_matches".into(), true), "{told}");

    let bare = |path: &str, headers: &[(&str, &str)], body: &[u8]| {
        http::request(&yard.daemon().events, "POST", path, headers, body).unwrap().status
    };
    assert_eq!(bare("/shop", &[("x-time", "1")], b"{}"), 401);
    let told = last(&yard);
    assert_eq!((&told["cause"], &told["header"]), (&"missing".into(), &"x-sig".into()));
    assert_eq!(bare("/till", &[("authorization", "Basic x")], b"{}"), 401);
    let told = last(&yard);
    assert_eq!((&told["cause"], &told["header"]), (&"malformed".into(), &"authorization".into()));
    assert_eq!(bare("/nowhere", &[], b"{}"), 404);
    let told = last(&yard);
    assert_eq!((&told["cause"], &told["path"], &told["source"]), (&"unknown_path".into(), &"/nowhere".into(), &Value::Null));
    assert_eq!(bare("/till", &[], &[b'x'; 2_000]), 413);
    assert_eq!(last(&yard)["cause"], "too_large");

    let mut socket = std::net::TcpStream::connect(&yard.daemon().events).unwrap();
    socket.write_all(b"POST /shop HTTP/1.1\r\nno colon here\r\n\r\n").unwrap();
    let _ = socket.read_to_end(&mut vec![]);
    wait_until(|| last(&yard)["why"] == "what came is not HTTP: the head cannot be read", || format!("{:?}", yard.json(&["refused"])));
    assert_eq!(last(&yard)["cause"], "broken");

    // By source and cause, for programs and for people; what came to no source has its path.
    let of = |args: &[&str]| yard.json(&[&["refused"], args].concat()).len();
    assert_eq!(
        [of(&["--source", "shop"]), of(&["--source", "-"]), of(&["--cause", "no_secret_matches"]), of(&["--source", "x"])],
        [5, 2, 2, 0]
    );
    let told = String::from_utf8(yard.cli(&["refused"]).stdout).unwrap();
    assert!(told.contains("/nowhere") && told.contains("from_the_future") && told.contains("203.0.113.9"), "{told}");
    assert!(!told.contains("made-up"), "{told}");
}

#[test]
fn refusals_are_bounded_and_a_flood_at_one_path_hides_no_other() {
    let yard = start();
    post(&yard, "another", 0, &[]);
    let path = format!("/{}", "x".repeat(3_000));
    for _ in 0..200 {
        http::request(&yard.daemon().events, "POST", &path, &[], b"").unwrap();
    }
    let found = yard.json(&["refused"]);
    let longest = found.iter().map(|row| row["path"].as_str().unwrap().len()).max();
    assert_eq!((found.len(), longest), (65, Some(128)));
    assert_eq!(yard.json(&["refused", "--source", "shop"]).len(), 1);
}

#[test]
fn while_secrets_rotate_it_is_seen_which_is_still_used() {
    let yard = start();
    for secret in ["made-up-old", "made-up-new", "made-up-old"] {
        // Each body is the same: only the first is new.
        assert_eq!(post(&yard, secret, 0, &[]), 200);
    }
    let uses = || {
        let said = yard.admin("GET", "/api/outputs", "").json();
        let shop = said["sources"].as_array().unwrap().iter().find(|source| source["name"] == "shop").cloned().unwrap();
        let list = shop["secrets"].as_array().cloned().unwrap();
        list.iter().map(|one| (one["position"].as_u64().unwrap(), one["proven"].as_u64().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(uses(), [(1, 1), (2, 2)]);
    let metrics = || String::from_utf8(yard.admin("GET", "/metrics", "").body).unwrap();
    assert!(metrics().contains("switchyard_proven_total{source=\"shop\",secret=\"2\"} 2"), "{}", metrics());
    let top = String::from_utf8(yard.cli(&["top", "--once", "--every", "100ms"]).stdout).unwrap();
    assert!(top.contains("secret 1: 1 (last 2") && top.contains("secret 2: 2 (last 2") && !top.contains("made-up"), "{top}");
    let event = yard.json(&["events"])[0]["id"].as_str().unwrap().to_owned();
    let said = String::from_utf8(yard.cli(&["events", &event]).stdout).unwrap();
    assert!(said.contains("signed with: secret 2 of 2") && !said.contains("made-up"), "{said}");
    // A change elsewhere leaves the counts; another list begins anew.
    let reload = |text: &str, expected: &[(u64, u64)]| {
        yard.write_whole(text);
        yard.signal("HUP");
        wait_until(|| uses() == expected, || format!("{expected:?}, not {:?}\n{}", uses(), yard.log()));
    };
    reload(&FILE.replace("1KiB", "2KiB"), &[(1, 1), (2, 2)]);
    wait_until(|| yard.log().contains("the new configuration runs"), || yard.log());
    assert_eq!(uses(), [(1, 1), (2, 2)]);
    reload(&FILE.replace("[made-up-new, made-up-old]", "[made-up-new]"), &[(1, 0)]);
    assert_eq!(post(&yard, "made-up-new", 1, &[]), 200);
    assert_eq!((uses(), post(&yard, "made-up-old", 1, &[])), (vec![(1, 1)], 401));
    assert_eq!(yard.json(&["events", &event])[0]["signed_with"], serde_json::json!({ "position": 2, "of": 2 }), "as it was then");
}
