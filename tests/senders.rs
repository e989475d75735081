//! What the way in does with senders beyond a signature, with the real daemon: several events in one request, values that are not kept, and
//! senders that are proven by a certificate.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

mod yard;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use yard::{FarSide, Yard, http, wait_for};

fn whole(sources: &str, far: &FarSide, server: &str) -> String {
    format!(
        "server: {{ listen: 127.0.0.1:0, admin: {{ listen: 127.0.0.1:0 }}{server} }}
sources:
{sources}
routes: [{{ name: all, to: far }}]
outputs:
  far: {{ type: http, url: {}, order_by: {{ key: one }} }}
",
        far.url()
    )
}

fn post(yard: &Yard, path: &str, body: &str) -> http::Answer {
    http::request(&yard.daemon().events, "POST", path, &[("content-type", "application/json")], body.as_bytes()).unwrap()
}

#[test]
fn one_request_is_several_events_in_their_order_and_each_is_known_again() {
    let far = FarSide::start();
    let yard = Yard::new("");
    yard.write_whole(&whole(
        "  mails: { verify: none, each: data.events, topic: { json: event }, id: { json: id }, redact: [data.to] }",
        &far,
        "",
    ));
    let mut yard = yard.start();
    let batch = |ids: &[u32]| {
        let each: Vec<String> =
            ids.iter().map(|id| format!(r#"{{"event":"open.{}","id":"m-{id}", "n":{id}.50,"to":"ann@shop.example"}}"#, id % 2)).collect();
        format!(r#"{{"sent":7,"events":[{}]}}"#, each.join(" , "))
    };
    let first = post(&yard, "/mails", &batch(&[1, 2, 3]));
    assert_eq!(first.status, 200);
    let ids: Vec<String> = first.json()["events"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    assert_eq!((ids.len(), &first.json()["duplicates"]), (3, &0.into()));
    let arrived = far.wait(3);
    let texts: Vec<String> = arrived.iter().map(yard::far_side::Arrived::text).collect();
    let element = |n| format!(r#"{{"event":"open.{}","id":"m-{n}", "n":{n}.50,"to":"[redacted]"}}"#, n % 2);
    assert_eq!(texts, [element(1), element(2), element(3)], "in their order, as they came, without what is not kept");
    assert_eq!(yard.json(&["events", "--topic", "open.1"]).len(), 2);
    // Sent again with one more: that one alone is new.
    let again = post(&yard, "/mails", &batch(&[1, 2, 3, 4]));
    assert_eq!(&again.json()["duplicates"], 3);
    assert_eq!(again.json()["events"][0], ids[0]);
    far.wait(4);
    // Two that are the same in one request are two, and the request sent again is none.
    let twins = r#"{"events":[{"event":"twin"},{"event":"twin"}]}"#;
    assert_eq!(&post(&yard, "/mails", twins).json()["duplicates"], 0);
    assert_eq!(&post(&yard, "/mails", twins).json()["duplicates"], 2);
    // Too many: kept whole, and what is not kept of each is not kept of these either.
    let many = format!(r#"{{"events":[{}]}}"#, vec![r#"{"to":"ann@shop.example"}"#; 5_001].join(","));
    assert!(post(&yard, "/mails", &many).json()["event"].is_string());
    // No list there: kept whole, as one event.
    let whole = post(&yard, "/mails", r#"{"event":"other","to":"ann@shop.example"}"#).json()["event"].as_str().unwrap().to_owned();
    yard.wait_state(&whole, "far", "delivered");
    let journal = std::fs::read_dir(yard.path("data"))
        .unwrap()
        .flatten()
        .map(|file| std::fs::read(file.path()).unwrap())
        .collect::<Vec<_>>()
        .concat();
    assert!(!journal.windows(16).any(|bytes| bytes == b"ann@shop.example"), "it is nowhere in the journal");
    yard.kill();
}

/// An issuer in a file, and what it issues.
fn issuer(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issued(by: &CertifiedIssuer<'static, KeyPair>, name: &str) -> (CertificateDer<'static>, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, by).unwrap();
    (cert.der().clone(), key)
}

/// The status of a post over TLS, or why there is none.
fn shown(
    yard: &Yard,
    server: &CertificateDer<'static>,
    path: &str,
    shows: Option<&(CertificateDer<'static>, KeyPair)>,
) -> Result<u16, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(server.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let config = match shows {
        Some((cert, key)) => {
            config.with_client_auth_cert(vec![cert.clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap()).unwrap()
        }
        None => config.with_no_client_auth(),
    };
    let client = rustls::ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let socket = std::net::TcpStream::connect(&yard.daemon().events).unwrap();
    let mut stream = rustls::StreamOwned::new(client, socket);
    let request = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
    let mut answer = vec![];
    stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_end(&mut answer)).map_err(|why| why.to_string())?;
    String::from_utf8_lossy(&answer).split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| "no answer".to_owned())
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

#[test]
fn a_certificate_proves_a_sender_and_its_issuer_may_change_while_it_runs() {
    let far = FarSide::start();
    let yard = Yard::new("");
    let sources = "  any: { verify: mtls }
  named: { verify: { mtls: [partner.example] } }
  open: { verify: none }";
    yard.write_whole(&whole(sources, &far, ""));
    let without = yard.cli(&["check"]);
    assert!(String::from_utf8_lossy(&without.stderr).contains("needs `server.tls.client_ca`"));
    let server = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (ours, others) = (issuer("ours"), issuer("others"));
    let folder = yard.path(".");
    write(&folder, "cert.pem", &server.cert.pem());
    write(&folder, "key.pem", &server.signing_key.serialize_pem());
    write(&folder, "ca.pem", &ours.pem());
    yard.write_whole(&whole(sources, &far, ", tls: { cert: cert.pem, key: key.pem, client_ca: ca.pem }"));
    let mut yard = yard.start();
    let (partner, else_one, stranger) =
        (issued(&ours, "partner.example"), issued(&ours, "else.example"), issued(&others, "partner.example"));
    let cert = server.cert.der();
    let said = |yard: &Yard, path, shows| shown(yard, cert, path, shows);
    for (path, shows, status) in [
        ("/any", Some(&partner), 200),
        ("/any", Some(&else_one), 200),
        ("/any", None, 401),
        ("/named", Some(&partner), 200),
        ("/named", Some(&else_one), 401),
        ("/named", None, 401),
        ("/open", None, 200),
    ] {
        assert_eq!(said(&yard, path, shows), Ok(status), "{path}");
    }
    assert!(said(&yard, "/open", Some(&stranger)).is_err(), "one of another issuer ends the handshake");
    // It got no answer, and is shown all the same.
    let ended = |yard: &Yard| yard.json(&["refused", "--source", "-", "--cause", "certificate"]);
    wait_for("the ended handshake to be shown", || !ended(&yard).is_empty());
    let row = ended(&yard).remove(0);
    assert_eq!(
        (&row["status"], &row["source"], &row["path"], &row["peer"]),
        (&401.into(), &serde_json::Value::Null, &"".into(), &"127.0.0.1".into())
    );
    assert_eq!(row["why"], "the connection ended before a request: its certificate is not of `server.tls.client_ca`, or not valid now");
    // Who does not believe our own certificate, and who speaks no TLS.
    assert!(shown(&yard, rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.der(), "/open", None).is_err());
    assert!(http::request(&yard.daemon().events, "POST", "/open", &[], b"{}").is_err());
    wait_for("both to be shown", || {
        ["it does not believe our certificate", "it speaks no TLS"]
            .iter()
            .all(|why| yard.json(&["refused"]).iter().any(|row| row.to_string().contains(why)))
    });
    let refused = yard.json(&["refused"]);
    assert!(refused.iter().any(|row| row.to_string().contains("no certificate of `server.tls.client_ca` was shown")), "{refused:?}");
    // Another issuer from now on; a half-written file keeps the one before.
    write(&folder, "ca.pem", "-----BEGIN CERTIFICATE-----\nmade up, cut");
    yard.signal("HUP");
    wait_for("the bad file to be told", || yard.log().contains("client_ca"));
    assert_eq!(said(&yard, "/any", Some(&partner)), Ok(200));
    write(&folder, "ca.pem", &others.pem());
    yard.signal("HUP");
    wait_for("the other issuer", || said(&yard, "/any", Some(&stranger)) == Ok(200));
    assert!(said(&yard, "/any", Some(&partner)).is_err());
    yard.kill();
}

#[test]
fn proofs_inside_the_body_hold_for_every_item_and_are_not_kept() {
    let far = FarSide::start();
    let yard = Yard::new("");
    let sources = "  graph: { verify: microsoft-graph, secret: made-up-client-state }
  twilio: { verify: twilio, secret: '12345', url: 'https://mycompany.com/myapp.php?foo=1&bar=2' }";
    yard.write_whole(&whole(sources, &far, ""));
    let mut yard = yard.start();
    let greeted = post(&yard, "/graph?validationToken=Validation%3A+Testing+client+application+reachability", "");
    assert_eq!(
        (greeted.status, greeted.header("content-type"), String::from_utf8(greeted.body.clone()).unwrap().as_str()),
        (200, Some("text/plain; charset=utf-8"), "Validation: Testing client application reachability")
    );
    let change = |state: &str| format!(r#"{{"clientState":"{state}","changeType":"created"}}"#);
    let (good, forged) = (change("made-up-client-state"), change("forged"));
    assert_eq!(post(&yard, "/graph", &format!(r#"{{"value":[{good},{forged}]}}"#)).status, 401, "one of them is not theirs");
    assert_eq!(post(&yard, "/graph?validationToken=x", &format!(r#"{{"value":[{forged}]}}"#)).status, 401, "not empty: an event");
    assert_eq!(post(&yard, "/graph", r#"{"value":[]}"#).status, 401, "nothing that proves it");
    assert_eq!(post(&yard, "/graph", &format!(r#"{{"value":[{good}]}}"#)).status, 200);
    assert_eq!(far.wait(1)[0].text(), r#"{"clientState":"[redacted]","changeType":"created"}"#);
    let form = |signature: &str| {
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("x-twilio-signature", signature)];
        let body = b"CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&To=%2B18005551212&Caller=%2B14158675309";
        http::request(&yard.daemon().events, "POST", "/twilio?foo=1&bar=2", &headers, body).unwrap().status
    };
    // With the port and without; not with another.
    assert_eq!((form("RSOYDt4T1cUTdK1PDd93/VVr8B8="), form("kvajT1Ptam85bY51eRf/AJRuM3w=")), (200, 200));
    assert_eq!(form("Zmvh+3yNM1Phv2jhDCwEM3q5ebU="), 401);
    yard.kill();
}

/// HubSpot counts its attempts in what it sends: each element is known again by its id and all else of it.
#[test]
fn a_repeat_that_counts_its_attempts_is_a_repeat() {
    let far = FarSide::start();
    let yard = Yard::new("");
    yard.write_whole(&whole("  hubspot: { verify: hubspot, secret: made-up-hubspot, url: 'https://hooks.example.com/hubspot' }", &far, ""));
    let mut yard = yard.start();
    let item = |id: u32, attempt: u32, value: &str| {
        format!(r#"{{"eventId":{id},"subscriptionType":"contact.propertyChange","attemptNumber":{attempt},"propertyValue":"{value}"}}"#)
    };
    let send = |items: &[String]| {
        std::fs::write(yard.path("body.json"), format!("[{}]", items.join(","))).unwrap();
        let said = yard.cli(&["send", "--source", "hubspot", "--no-wait", "--json", "body.json"]);
        serde_json::from_slice::<serde_json::Value>(&said.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&said.stderr)))
    };
    assert_eq!(send(&[item(1, 0, "a"), item(2, 0, "b")])["duplicates"], 0);
    assert_eq!(send(&[item(1, 1, "a")])["duplicates"], 1, "the same, sent again");
    let third = send(&[item(2, 12, "b"), item(2, 12, "c"), item(3, 0, "b")]);
    assert_eq!((&third["duplicates"], third["events"].as_array().map(Vec::len)), (&1.into(), Some(3)), "another value, and another id");
    let bodies: Vec<String> = far.wait(4).iter().map(yard::far_side::Arrived::text).collect();
    assert_eq!(bodies, [item(1, 0, "a"), item(2, 0, "b"), item(2, 12, "c"), item(3, 0, "b")], "the exact bytes of the first");
    yard.kill();
}

/// What the file has a secret for can be sent from the command line.
#[test]
fn senders_that_put_their_proof_into_the_body_or_the_url_can_be_tried() {
    let far = FarSide::start();
    let yard = Yard::new("");
    let sources = "  linear: { verify: linear, secret: made-up-linear }
  zendesk: { verify: zendesk, secret: made-up-zendesk }
  mailgun: { verify: mailgun, secret: made-up-mailgun }
  adyen: { verify: adyen, secret: 00ff00ff }
  twilio: { verify: twilio, secret: made-up-twilio, url: 'https://hooks.example.com/twilio' }";
    yard.write_whole(&whole(sources, &far, ""));
    let mut yard = yard.start();
    for (source, body, kept) in [
        ("linear", r#"{"type":"Issue"}"#, 1),
        ("zendesk", r#"{"type":"zen:event-type:ticket.created","id":"1"}"#, 1),
        ("mailgun", r#"{"event-data":{"event":"opened","id":"m-1"}}"#, 1),
        ("adyen", r#"{"notificationItems":[{"NotificationRequestItem":{"pspReference":"psp-1","eventCode":"AUTHORISATION"}}]}"#, 1),
        ("twilio", "Body=hello+you&From=%2B31612345678", 1),
        ("twilio", r#"{"Body":"hello"}"#, 2),
    ] {
        std::fs::write(yard.path("body.json"), body).unwrap();
        let said = yard.cli(&["send", "--source", source, "--no-wait", "body.json"]);
        assert!(said.status.success(), "{source} {body}: {}", String::from_utf8_lossy(&said.stderr));
        assert_eq!(yard.json(&["events", "--source", source]).len(), kept, "{source} {body}");
    }
    // `sign` shows what else is sent.
    std::fs::write(yard.path("body.json"), r#"{"Body":"hello"}"#).unwrap();
    let said = String::from_utf8(yard.cli(&["sign", "--source", "twilio", "body.json"]).stdout).unwrap();
    assert!(said.contains("x-twilio-signature: ") && said.contains("\n?bodySHA256="), "{said}");
    std::fs::write(yard.path("body.json"), r#"{"type":"Issue"}"#).unwrap();
    let said = String::from_utf8(yard.cli(&["sign", "--source", "linear", "body.json"]).stdout).unwrap();
    let (headers, body) = said.split_once("\n\n").unwrap();
    assert!(headers.contains("linear-signature: ") && body.starts_with(r#"{"webhookTimestamp":1"#), "{said}");
    yard.kill();
}

#[test]
fn handshakes_are_answered_and_are_no_events() {
    let far = FarSide::start();
    let yard = Yard::new("");
    let sources = "  slack: { verify: slack, secret: made-up-slack }
  zoom: { verify: zoom, secret: zoom-webhook-secret-token }
  meta: { verify: meta, secret: made-up-meta, verify_token: meatyhamhock }
  dropbox: { verify: dropbox, secret: made-up-dropbox }
  xero: { verify: xero, secret: xero-test-secret }";
    yard.write_whole(&whole(sources, &far, ""));
    let mut yard = yard.start();
    let signed = |source: &str, body: &str| {
        let file = yard.path("body.json");
        std::fs::write(&file, body).unwrap();
        let said = yard.cli(&["sign", "--source", source, "--json", "body.json"]);
        let headers: serde_json::Value =
            serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&said.stderr)));
        let pairs: Vec<(String, String)> =
            headers.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
        let mut headers: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        headers.push(("content-type", "application/json"));
        http::request(&yard.daemon().events, "POST", &format!("/{source}"), &headers, body.as_bytes()).unwrap()
    };
    let text = |answer: &http::Answer| String::from_utf8(answer.body.clone()).unwrap();
    let challenge = r#"{"token":"made-up","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}"#;
    let slack = signed("slack", challenge);
    assert_eq!((slack.status, text(&slack).as_str()), (200, "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"));
    assert_eq!(
        (slack.header("content-type"), slack.header("x-content-type-options")),
        (Some("text/plain; charset=utf-8"), Some("nosniff"))
    );
    assert_eq!(post(&yard, "/slack", challenge).status, 401, "not signed");
    let zoom =
        signed("zoom", r#"{"payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1654503849680,"event":"endpoint.url_validation"}"#);
    assert_eq!(zoom.json()["encryptedToken"], "303d596c41398000067ebaef31f940ff99945195fe501fc03a7549f882aa6c08");
    let get = |path: &str| http::request(&yard.daemon().events, "GET", path, &[], b"").unwrap();
    let meta = |token| get(&format!("/meta?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={token}"));
    assert_eq!((meta("meatyhamhock").status, text(&meta("meatyhamhock"))), (200, "1158201444".to_owned()));
    assert_eq!(meta("other").status, 403);
    assert_eq!(text(&get("/dropbox?challenge=%3Cb%3Eabc")), "<b>abc");
    assert_eq!((get("/dropbox").status, get("/slack?challenge=1").status), (403, 405));
    let xero = signed("xero", r#"{"events":[],"lastEventSequence": 0,"entropy": "S0m3r4Nd0mt3xt"}"#);
    assert_eq!((xero.status, xero.body.len()), (200, 0));
    assert_eq!(yard.json(&["events", "--source", "slack"]).len() + yard.json(&["events", "--source", "zoom"]).len(), 0);
    yard.kill();
}
