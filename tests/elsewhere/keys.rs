//! Certificates and sets of keys that the daemon fetches: once, within bounds, from nobody else, and at nobody else's cost.

use crate::host::{Host, Page, Signer};
use crate::yard::{FarSide, Yard, http};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:Orders";
const AT: &str = "https://sns.eu-west-1.amazonaws.com";

pub fn started(sources: &str, host: &Host, far: &FarSide) -> Yard {
    let yard = Yard::new("");
    std::fs::write(yard.path("ca.pem"), &host.ca).unwrap();
    yard.write_whole(&format!(
        "server: {{ listen: 127.0.0.1:0, admin: {{ listen: 127.0.0.1:0 }}, fetch: {{ ca: ca.pem, proxy: '{}' }} }}
sources:
{sources}
routes: [{{ name: all, to: far }}]
outputs:
  far: {{ type: http, url: {} }}
",
        host.proxy,
        far.url()
    ));
    yard.start()
}

fn post(yard: &Yard, path: &str, headers: &[(&str, &str)], body: &str) -> http::Answer {
    http::request(&yard.daemon().events, "POST", path, headers, body.as_bytes()).unwrap()
}

pub fn notification<'f>(id: &'f str, text: &'f str, topic: &'f str) -> [(&'f str, &'f str); 5] {
    [("Message", text), ("MessageId", id), ("Timestamp", "2026-08-01T10:00:00.000Z"), ("TopicArn", topic), ("Type", "Notification")]
}

pub fn reasons(yard: &Yard) -> String {
    yard.json(&["refused"]).iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_certificate_is_fetched_once_within_its_bounds_and_from_nobody_else() {
    let (host, far) = (Host::start(), FarSide::start());
    let signer = host.signer("sns.amazonaws.com");
    host.page("/good.pem", Page::Text(signer.pem.clone()));
    host.page("/huge.pem", Page::Text("x".repeat(100_000)));
    host.page("/slow.pem", Page::Slow(signer.pem.clone()));
    host.page("/half.pem", Page::Half(signer.pem.clone()));
    host.page("/junk.pem", Page::Text("no certificate".into()));
    let mut yard = started(&format!("  sns: {{ verify: aws-sns, secret: '{TOPIC}' }}"), &host, &far);
    let send = |body: &str| post(&yard, "/sns", &[("content-type", "text/plain; charset=UTF-8")], body);
    let signed = |id: &str, path: &str| signer.message(&notification(id, "Hello\nworld", TOPIC), &format!("{AT}{path}"));
    for id in ["m-1", "m-2", "m-3"] {
        assert_eq!(send(&signed(id, "/good.pem")).status, 200, "{}", reasons(&yard));
    }
    assert_eq!(send(&signed("m-3", "/good.pem")).json()["duplicate"], true);
    assert_eq!((host.asked("/good.pem"), far.wait(3).len()), (1, 3), "asked for once");
    // Not proven: altered, another's, and what nobody is asked for.
    assert_eq!(send(&signed("m-4", "/good.pem").replace("Hello", "Hullo")).status, 401);
    assert_eq!(send(&signer.message(&notification("m-4", "x", "arn:else"), &format!("{AT}/else.pem"))).status, 401);
    for foreign in ["https://evil.example/good.pem", "https://sns.eu-west-1.amazonaws.com:8443/good.pem", "http://169.254.169.254/good.pem"]
    {
        assert_eq!(send(&signer.message(&notification("m-4", "x", TOPIC), foreign)).status, 401, "{foreign}");
    }
    assert_eq!((host.asked("/else.pem"), host.goals()), (0, vec!["sns.eu-west-1.amazonaws.com:443".to_owned()]));
    // Nothing is known: the sender is asked to come again. A bad document is known, and is none.
    for (path, status, why) in [
        ("/huge.pem", 503, "it is longer than 65536 bytes"),
        ("/slow.pem", 503, "it did not come whole within 3s"),
        ("/half.pem", 503, "it broke off before its end"),
        ("/missing.pem", 503, "the answer is 404"),
        ("/junk.pem", 401, "no certificate or set of keys that can be used"),
    ] {
        let said = send(&signed("m-5", path));
        assert_eq!((said.status, said.header("retry-after").is_some()), (status, status == 503), "{path}");
        assert!(reasons(&yard).contains(why), "{}", reasons(&yard));
        assert_eq!(send(&signed("m-5", path)).status, status);
        assert_eq!(host.asked(path), 1, "a failure is remembered for a moment");
    }
    let elsewhere = signer.message(&notification("m-6", "x", TOPIC), "https://sns.us-east-1.amazonaws.com/good.pem");
    assert_eq!(send(&elsewhere).status, 503, "allowed, and not there");
    assert_eq!(yard.json(&["events", "--source", "sns"]).len(), 3);
    yard.kill();
}

#[test]
fn a_certificate_is_its_senders_or_proves_nothing() {
    let (host, far) = (Host::start(), FarSide::start());
    let at = |name: &str| format!("http://crt.r2m01.amazontrust.com/{name}.cer");
    let alone = |name: &str, until: i32, issuer: &str| {
        let (signer, der) = host.signer_below("sns.amazonaws.com", until, issuer);
        host.page(&format!("/{name}.pem"), Page::Text(signer.pem.clone()));
        (signer, der)
    };
    let served = |name: &str, signer: Signer| {
        host.page(&format!("/{name}.pem"), Page::Text(signer.pem.clone()));
        signer
    };
    let (good, der) = alone("alone", 2100, &at("good"));
    host.page(&at("good"), Page::Bytes(der));
    let (over, der) = alone("over", 2021, &at("over"));
    host.page(&at("over"), Page::Bytes(der));
    let (elsewhere, der) = alone("elsewhere", 2100, "http://evil.example/good.cer");
    host.page("http://evil.example/good.cer", Page::Bytes(der));
    let (gone, _) = alone("gone", 2100, &at("gone"));
    let (wrong, der) = alone("wrong", 2100, &at("wrong"));
    host.page(&at("wrong"), Page::Bytes(host.signer_below("else", 2100, "x").1));
    drop(der);
    let stranger = served("stranger", Signer::of_a_stranger("sns.amazonaws.com"));
    let other = served("other", host.signer("www.amazonaws.com"));
    let region = served("region", host.signer("sns-signing.eu-west-1.amazonaws.com"));
    let other_region = served("other-region", host.signer("sns-signing.us-east-1.amazonaws.com"));
    let mut yard = started(&format!("  sns: {{ verify: aws-sns, secret: '{TOPIC}' }}"), &host, &far);
    let cases = [
        ("alone", &good, 200, ""),
        ("region", &region, 200, ""),
        ("other-region", &other_region, 401, "none of the sender's names"),
        ("other", &other, 401, "none of the sender's names"),
        ("stranger", &stranger, 401, "leads to no root that is believed"),
        ("elsewhere", &elsewhere, 401, "leads to no root that is believed"),
        ("wrong", &wrong, 401, "leads to no root that is believed"),
        ("over", &over, 401, "not valid at this moment"),
        ("gone", &gone, 503, "the answer is 404"),
    ];
    for (name, signer, status, why) in cases {
        for nth in 0..2 {
            let body = signer.message(&notification(&format!("{name}-{nth}"), "Hello", TOPIC), &format!("{AT}/{name}.pem"));
            assert_eq!(post(&yard, "/sns", &[], &body).status, status, "{name}: {}", reasons(&yard));
        }
        let last = yard.json(&["refused"]).first().map(ToString::to_string).unwrap_or_default();
        assert!(last.contains(why), "{name}: {last}");
    }
    assert_eq!((host.asked(&at("good")), host.asked("http://evil.example/good.cer"), host.asked(&at("gone"))), (1, 0, 1));
    // A request that its key did not sign asks for no issuer.
    let (_, der) = alone("forged", 2100, &at("forged"));
    host.page(&at("forged"), Page::Bytes(der));
    let forged = good.message(&notification("forged", "Hello", TOPIC), &format!("{AT}/forged.pem"));
    assert_eq!((post(&yard, "/sns", &[], &forged).status, host.asked(&at("forged"))), (401, 0));
    yard.kill();
}

#[test]
fn what_several_requests_want_at_once_is_fetched_once() {
    let (host, far) = (Host::start(), FarSide::start());
    let signer = host.signer("sns.amazonaws.com");
    let until = Arc::new(Mutex::new(()));
    let held = until.lock().unwrap();
    host.page("/held.pem", Page::Held(Arc::clone(&until), signer.pem.clone()));
    let mut yard = started(&format!("  sns: {{ verify: aws-sns, secret: '{TOPIC}' }}"), &host, &far);
    // Sixteen may wait. Once the others were sent away, all sixteen do.
    let (said, heard) = std::sync::mpsc::channel();
    for nth in 0..20 {
        let body = signer.message(&notification(&format!("m-{nth}"), "Hello", TOPIC), &format!("{AT}/held.pem"));
        let (said, events) = (said.clone(), yard.daemon().events.clone());
        std::thread::spawn(move || said.send(http::request(&events, "POST", "/sns", &[], body.as_bytes()).unwrap().status));
    }
    let sent_away: Vec<u16> = heard.iter().take(4).collect();
    drop(held);
    let proven: Vec<u16> = heard.iter().take(16).collect();
    assert_eq!((sent_away, proven, host.asked("/held.pem")), (vec![503; 4], vec![200; 16], 1));
    yard.kill();
}

#[test]
fn a_slow_host_of_certificates_holds_up_nobody_else() {
    let (host, far) = (Host::start(), FarSide::start());
    let signer = host.signer("sns.amazonaws.com");
    host.page("/good.pem", Page::Text(signer.pem.clone()));
    let mut yard = started(&format!("  open: {{ verify: none }}\n  sns: {{ verify: aws-sns, secret: '{TOPIC}' }}"), &host, &far);
    let signed = |id: &str, path: &str| signer.message(&notification(id, "Hello", TOPIC), &format!("{AT}{path}"));
    assert_eq!(post(&yard, "/sns", &[], &signed("m-1", "/good.pem")).status, 200);
    let events = yard.daemon().events.clone();
    // More than may wait, each for an address of its own.
    let stuck: Vec<_> = (0..40)
        .map(|nth| {
            let path = format!("/slow-{nth}.pem");
            host.page(&path, Page::Silence);
            let (body, events) = (signed("m-2", &path), events.clone());
            std::thread::spawn(move || {
                let begun = Instant::now();
                let said = http::request(&events, "POST", "/sns", &[], body.as_bytes()).unwrap();
                (said.status, begun.elapsed())
            })
        })
        .collect();
    crate::yard::wait_for("four to be asked for", || (0..40).filter(|nth| host.asked(&format!("/slow-{nth}.pem")) == 1).count() == 4);
    let begun = Instant::now();
    for nth in 0..20 {
        assert_eq!(post(&yard, "/open", &[], &format!("{{\"n\":{nth}}}")).status, 200);
        assert_eq!(post(&yard, "/sns", &[], &signed(&format!("m-3-{nth}"), "/good.pem")).status, 200, "its certificate is here");
    }
    let meanwhile = begun.elapsed();
    let ended: Vec<(u16, Duration)> = stuck.into_iter().map(|thread| thread.join().unwrap()).collect();
    let longest = ended.iter().map(|(_, took)| *took).max().unwrap();
    assert!(ended.iter().all(|(status, _)| *status == 503), "{ended:?}");
    assert!(ended.iter().filter(|(_, took)| *took < longest / 2).count() >= 24, "beyond sixteen nobody waits: {ended:?}");
    assert!(meanwhile < longest, "{meanwhile:?} for forty others while one waited {longest:?}");
    assert!(reasons(&yard).contains("as many requests wait for certificates as may"));
    yard.kill();
}

#[test]
fn a_token_is_proven_by_a_set_of_keys_that_is_asked_for_anew() {
    let (host, far) = (Host::start(), FarSide::start());
    let keys: Vec<Ed25519KeyPair> = (0..2).map(|_| Ed25519KeyPair::generate().unwrap()).collect();
    let jwk = |nth: usize| {
        let x = URL_SAFE_NO_PAD.encode(keys[nth].public_key().as_ref());
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": format!("k{nth}"), "x": x })
    };
    host.page("/keys", Page::Text(json!({ "keys": [jwk(0)] }).to_string()));
    let grid =
        "  grid: { verify: { preset: azure-event-grid, jwt: { keys: 'https://login.example.com/keys', issuer: issuer, audience: us } } }";
    let mut yard = started(grid, &host, &far);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let token = |nth: usize, claims: &Value| {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&json!({ "alg": "EdDSA", "kid": format!("k{nth}") })), part(claims));
        format!("Bearer {text}.{}", URL_SAFE_NO_PAD.encode(keys[nth].sign(text.as_bytes())))
    };
    let claims = json!({ "iss": "issuer", "aud": "us", "exp": now + 600 });
    let over = json!({ "iss": "issuer", "aud": "us", "exp": now - 600 });
    let send = |token: &str| post(&yard, "/grid", &[("authorization", token)], r#"[{"id":"1","eventType":"Made.Up","data":{}}]"#).status;
    assert_eq!((send(&token(0, &claims)), send(&token(0, &claims)), send(&token(0, &over))), (200, 200, 401));
    assert_eq!(send("Bearer eyJhbGciOiJub25lIn0.e30."), 401);
    assert_eq!(host.asked("/keys"), 1);
    // A key that the set does not know: it is asked for anew, though not within its first minute.
    assert_eq!(send(&token(1, &claims)), 401);
    assert_eq!(host.asked("/keys"), 1);
    assert!(reasons(&yard).contains("no key of the token's name"));
    yard.kill();
}

#[test]
fn paypal_is_proven_by_the_webhooks_id_that_it_does_not_send() {
    let (host, far) = (Host::start(), FarSide::start());
    let signer = host.signer("messageverificationcerts.sandbox.paypal.com");
    host.page("/v1/notifications/certs/CERT-1", Page::Text(signer.pem.clone()));
    let mut yard = started("  paypal: { verify: paypal, secret: WEBHOOK-1 }", &host, &far);
    let body = r#"{"id":"WH-1","event_type":"PAYMENT.SALE.COMPLETED"}"#;
    let signature = signer.sign(&format!("t-1|2026-08-01T10:00:00Z|WEBHOOK-1|{}", crc32fast::hash(body.as_bytes())));
    let headers = [
        ("paypal-transmission-id", "t-1"),
        ("paypal-transmission-time", "2026-08-01T10:00:00Z"),
        ("paypal-cert-url", "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1"),
        ("paypal-transmission-sig", &signature),
        ("paypal-auth-algo", "SHA256withRSA"),
    ];
    assert_eq!(post(&yard, "/paypal", &headers, body).status, 200, "{}", reasons(&yard));
    assert_eq!(post(&yard, "/paypal", &headers, r#"{"id":"WH-2"}"#).status, 401);
    assert_eq!(yard.json(&["events", "--topic", "PAYMENT.SALE.COMPLETED"]).len(), 1);
    yard.kill();
}
