//! The daemon's life: reload, pause, drain, a second daemon, broken files.
#![allow(missing_docs, clippy::unwrap_used)]

mod yard;

use yard::{Behaviour, FarSide, Yard, lines, sign, usual, wait_for};

fn to_file(name: &str) -> String {
    format!("routes: [{{ name: all, to: {name} }}]\noutputs: {{ {name}: {{ type: file, path: {name}.ndjson }} }}\n")
}

#[test]
fn a_changed_file_is_taken_whole_and_a_broken_one_changes_nothing() {
    // L5
    let yard = Yard::new(&to_file("one")).start();
    yard.post("A", "1");
    yard.write("routes: [{ name: all, to: tow }]\noutputs: { two: { type: file, path: two.ndjson } }\n");
    wait_for("the broken file to be refused", || yard.log().contains("unknown-output"));
    yard.post("A", "2");
    wait_for("the first output to go on", || lines(&yard.path("one.ndjson")).len() == 2);
    yard.write(&to_file("two"));
    wait_for("the new file to run", || yard.admin("GET", "/api/outputs", "").json().to_string().contains("two"));
    yard.post("A", "3");
    wait_for("the new output to get it", || lines(&yard.path("two.ndjson")).len() == 1);
    assert_eq!(lines(&yard.path("one.ndjson")).len(), 2);
}

#[test]
fn a_hangup_reloads() {
    let yard = Yard::new(&to_file("one")).start();
    yard.signal("HUP");
    wait_for("the reload to be said", || yard.log().contains("configuration"));
    yard.post("A", "1");
    wait_for("the delivery", || lines(&yard.path("one.ndjson")).len() == 1);
}

#[test]
fn deliveries_of_an_output_that_left_the_file_are_held_and_go_out_when_it_is_back() {
    let address = FarSide::nobody();
    let with = format!(
        "routes: [{{ name: all, to: [out, file] }}]\noutputs:\n  out: {{ type: http, url: \"http://{address}/\" }}\n  file: {{ type: file, path: file.ndjson }}\n"
    );
    let yard = Yard::new(&with).start();
    let event = yard.post("A", "1");
    yard.wait_state(&event, "file", "delivered");
    yard.write("routes: [{ name: all, to: file }]\noutputs: { file: { type: file, path: file.ndjson } }\n");
    let held = yard.wait_state(&event, "out", "held");
    assert!(held["detail"].as_str().unwrap().contains("not in the configuration"), "{held}");
    let side = FarSide::at(&address);
    yard.write(&with);
    yard.wait_state(&event, "out", "delivered");
    assert_eq!(side.arrived().len(), 1);
    assert_eq!(yard.json(&["audit"])[0]["lost"], 0);
}

#[test]
fn deliveries_of_a_route_that_left_the_file_are_held_and_go_out_when_it_is_back() {
    let address = FarSide::nobody();
    let with =
        |route: &str| format!("routes: [{{ name: {route}, to: out }}]\noutputs: {{ out: {{ type: http, url: \"http://{address}/\" }} }}\n");
    let mut yard = Yard::new(&with("all")).start();
    let event = yard.post("A", "1");
    yard.kill();
    yard.write(&with("others"));
    yard.run();
    let held = yard.wait_state(&event, "out", "held");
    assert_eq!(held["detail"], "`all` is not in the configuration any more");
    let side = FarSide::at(&address);
    yard.write(&with("all"));
    yard.wait_state(&event, "out", "delivered");
    assert_eq!(side.arrived().len(), 1);
}

#[test]
fn a_paused_output_keeps_its_deliveries_through_a_restart() {
    let side = FarSide::start();
    let mut yard =
        Yard::new(&format!("routes: [{{ name: all, to: out }}]\noutputs: {{ out: {{ type: http, url: \"{}\" }} }}\n", side.url())).start();
    assert!(yard.cli(&["pause", "out"]).status.success());
    let event = yard.post("A", "1");
    yard.kill();
    yard.run();
    let second = yard.post("B", "2");
    let shown = yard.admin("GET", "/api/outputs", "").json().to_string();
    assert!(shown.contains("\"paused\":true") && shown.contains("the output is paused"), "{shown}");
    assert_eq!(side.arrived().len(), 0);
    // What waits for it is held, everywhere that states are spoken of.
    for event in [&event, &second] {
        let row = yard.wait_state(event, "out", "held");
        assert_eq!(row["blocked"], "the output is paused: `switchyard resume out` lets it go on");
    }
    let ids = |state: &str| -> Vec<String> {
        yard.json(&["deliveries", "--state", state]).iter().map(|row| row["event"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!((ids("held"), ids("waiting")), (vec![second.clone(), event.clone()], vec![]));
    let audit = &yard.json(&["audit"])[0];
    assert_eq!([&audit["held"], &audit["waiting"], &audit["lost"]], [2, 0, 0]);
    let purge = yard.cli(&["purge", "out", "--topic", "B", "--why", "ann: a test", "--yes"]);
    assert!(purge.status.success(), "{purge:?}");
    assert_eq!(
        (yard.wait_state(&second, "out", "dead")["detail"].clone(), ids("held")),
        ("purged: ann: a test".into(), vec![event.clone()])
    );
    assert!(yard.cli(&["resume", "out"]).status.success());
    yard.wait_state(&event, "out", "delivered");
    side.wait(1);
    assert_eq!((ids("held"), ids("waiting")), (vec![], vec![]));
    let near = yard.cli(&["pause", "otu"]);
    assert!(!near.status.success());
    assert!(String::from_utf8_lossy(&near.stderr).contains("did you mean `out`"), "{near:?}");
}

#[test]
fn a_drained_daemon_ends_with_0_and_nothing_under_way_is_repeated() {
    let side = FarSide::start();
    let mut yard =
        Yard::new(&format!("routes: [{{ name: all, to: out }}]\noutputs: {{ out: {{ type: http, url: \"{}\" }} }}\n", side.url())).start();
    for n in 0..50 {
        yard.post("A", &n.to_string());
    }
    yard.signal("TERM");
    assert_eq!(yard.ended(), Some(0), "{}", yard.log());
    yard.run();
    side.wait(50);
    let last = yard.post("A", "last");
    yard.wait_state(&last, "out", "delivered");
    assert_eq!(side.arrived().len(), 51, "none twice");
    assert_eq!(yard.json(&["audit"])[0]["lost"], 0);
}

#[test]
fn a_second_daemon_on_the_same_journal_refuses_to_start() {
    let yard = Yard::new(&to_file("one")).start();
    let second = yard.cli(&["run", "routes.yaml"]);
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains(" data/journal.db is in use by process"), "{said}");
}

#[test]
fn what_does_not_run_does_not_check_and_says_where() {
    let yard = Yard::new("routes: [{ name: all, to: oen }]\noutputs: { one: { type: file, path: one.ndjson } }\n");
    let check = yard.cli(&["check"]);
    assert_eq!(check.status.code(), Some(1));
    let said = String::from_utf8_lossy(&check.stderr).into_owned();
    let line = usual().lines().count() + 1;
    assert!(
        said.contains("error[unknown-output]") && said.contains(&format!("routes.yaml:{line}:27")) && said.contains("did you mean `one`"),
        "{said}"
    );
    let run = yard.cli(&["run"]);
    assert_eq!(run.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&run.stderr).contains("error[unknown-output]"));
}

#[test]
fn a_missing_variable_is_an_error_with_its_place() {
    let yard = Yard::new(&to_file("one"));
    let output = yard.command(&["check"]).env_remove("SHOP_SECRET").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("SHOP_SECRET") && said.contains("routes.yaml:6:"), "{said}");
}

#[test]
fn a_secret_is_in_no_log_and_in_no_answer() {
    // L7
    let yard = Yard::new(
        "routes: [{ name: all, to: out }]\noutputs:\n  out: { type: http, url: \"${HOOK_URL}\", auth: { bearer: \"${HOOK_TOKEN}\" } }\n",
    )
    .env("HOOK_URL", "http://127.0.0.1:1/canary-path-4711")
    .env("HOOK_TOKEN", "canary-token-4712")
    .start();
    let event = yard.post("A", "1");
    wait_for("the output to be down", || yard.admin("GET", "/api/outputs", "").json().to_string().contains("down"));
    let mut seen = yard.log();
    for path in ["/api/outputs", "/api/events", "/api/deliveries", "/api/refused", "/metrics", "/health"] {
        seen += &String::from_utf8_lossy(&yard.admin("GET", path, "").body);
    }
    seen += &String::from_utf8_lossy(&yard.admin("GET", &format!("/api/events/{event}/explain"), "").body);
    assert!(!seen.contains("canary"), "{seen}");
    assert!(!seen.contains(yard::SECRET));
}

#[test]
fn the_admin_side_wants_a_token_and_its_own_name() {
    let yard = Yard::new(&to_file("one")).start();
    let admin = &yard.daemon().admin;
    let ask = |path: &str, headers: &[(&str, &str)]| yard::http::request(admin, "GET", path, headers, b"").unwrap().status;
    assert_eq!(ask("/api/events", &[]), 401);
    assert_eq!(ask("/health", &[]), 200);
    let token = format!("Bearer {}", yard.daemon().token);
    assert_eq!(ask("/api/events", &[("authorization", &token)]), 200);
    assert_eq!(ask("/api/events", &[("authorization", &token), ("origin", "http://evil.example")]), 421);
}

#[test]
fn a_certificate_is_replaced_without_a_restart() {
    let yard = Yard::new(&to_file("one"));
    let write = |name: &str| {
        let pair = rcgen::generate_simple_self_signed(vec!["localhost".into(), name.into()]).unwrap();
        std::fs::write(yard.path("key.pem"), pair.signing_key.serialize_pem()).unwrap();
        std::fs::write(yard.path("cert.pem"), pair.cert.pem()).unwrap();
    };
    write("first.example");
    let text = usual().replace("listen: 127.0.0.1:0, admin", "listen: 127.0.0.1:0, tls: { cert: cert.pem, key: key.pem }, admin");
    yard.write_whole(&format!("{text}{}", to_file("one")));
    let yard = yard.start();
    let names = || String::from_utf8_lossy(&certificate(&yard.daemon().events)).into_owned();
    assert!(names().contains("first.example"));
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".into(), "second.example".into()]).unwrap();
    std::fs::write(yard.path("key.pem"), pair.signing_key.serialize_pem()).unwrap();
    std::fs::write(yard.path("cert.pem"), pair.cert.pem()).unwrap();
    wait_for("the new certificate", || names().contains("second.example"));
    std::fs::write(yard.path("cert.pem"), "this is no certificate").unwrap();
    wait_for("the bad one to be said", || yard.log().contains("certificate"));
    assert!(names().contains("second.example"), "the good one stays");
}

/// The certificate the listener shows, in DER.
fn certificate(address: &str) -> Vec<u8> {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use std::sync::Arc;

    #[derive(Debug)]
    struct Any;
    impl ServerCertVerifier for Any {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any))
        .with_no_client_auth();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).unwrap();
    }
    connection.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn a_good_signature_is_asked_for_again_after_the_secret_rotates() {
    let yard = Yard::new(&to_file("one")).env("NEW_SECRET", "made-up-next-secret").start();
    let body = b"{}";
    assert_eq!(yard.post_raw("A", body, &sign(body), &[]).status, 200);
    let both = usual().replace("secret: \"${SHOP_SECRET}\"", "secret: [\"${NEW_SECRET}\", \"${SHOP_SECRET}\"]");
    yard.write_whole(&format!("{both}{}", to_file("one")));
    wait_for("the reload", || yard.log().matches("configuration").count() > 0);
    assert_eq!(yard.post_raw("B", body, &sign(body), &[]).status, 200, "the old secret is still good");
}

#[test]
fn an_output_that_was_down_is_tried_with_one_delivery_after_a_restart() {
    let far = FarSide::start();
    far.always(Behaviour::status(503));
    let mut yard = Yard::new(&format!(
        "routes: [{{ name: all, to: shop }}]\noutputs: {{ shop: {{ type: http, url: \"{}\", concurrency: 8, timeout: 1s }} }}\n",
        far.url()
    ))
    .start();
    for n in 0..20 {
        yard.post("A", &n.to_string());
    }
    let written = |yard: &Yard| std::fs::read_to_string(yard.path("data/down.json")).is_ok_and(|text| text.contains("\"shop\""));
    wait_for("it to be written down", || written(&yard));
    yard.signal("TERM");
    assert_eq!(yard.ended(), Some(0), "{}", yard.log());
    far.always(Behaviour::Silence);
    let before = far.arrived().len();
    yard.run();
    wait_for("a first attempt", || far.arrived().len() > before);
    let shop = yard.admin("GET", "/api/outputs", "").json()["outputs"][0].clone();
    assert_eq!((&shop["state"], &shop["in_flight"]), (&"down".into(), &1.into()), "{shop}");
    assert!(shop["why"].as_str().is_some_and(|why| why.contains("503")), "{shop}");
    assert_eq!(far.arrived().len(), before + 1);
    far.always(Behaviour::ok());
    wait_for("all to be delivered", || yard.json(&["audit"])[0]["delivered"] == 20);
    wait_for("it to be forgotten", || !written(&yard));
}
