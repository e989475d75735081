//! `switchyard listen` and `send --edit` with the real daemon: exact bytes and headers, filters, and going on where it stopped.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

mod yard;

use std::process::{Child, Output, Stdio};
use yard::far_side::Arrived;
use yard::{FarSide, Yard, sign, wait_for};

const ROUTES: &str = "routes:
  - { name: all, to: archive }
outputs:
  archive: { type: file, path: out/events.ndjson }
";

/// A `listen` that runs, and is ended with the test.
struct Listening(Child);

impl Listening {
    fn start(yard: &Yard, args: &[&str]) -> Self {
        let file = std::fs::File::create(yard.path("said")).unwrap();
        let child = yard.command(&[&["listen", "--to"], args].concat()).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        let listening = Listening(child);
        wait_for("listen to begin", || said(yard).contains("forwards events to "));
        listening
    }

    fn end(mut self) {
        self.0.wait().unwrap();
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What it printed so far.
fn said(yard: &Yard) -> String {
    std::fs::read_to_string(yard.path("said")).unwrap()
}

fn run(yard: &Yard, args: &[&str]) -> Output {
    yard.command(&[&["listen", "--to"], args].concat()).stdin(Stdio::null()).output().unwrap()
}

fn bodies(arrived: &[Arrived]) -> Vec<String> {
    arrived.iter().map(Arrived::text).collect()
}

#[test]
fn what_came_arrives_with_its_exact_bytes_and_headers() {
    let (yard, far) = (Yard::new(ROUTES).start(), FarSide::start());
    let listening = Listening::start(&yard, &[&far.url(), "-n", "1"]);
    // Neither re-serialised nor re-ordered: the signature is over these bytes.
    let body = b"{ \"b\" : 1.50,\n\"a\":\"\xc3\xa9\" }";
    let answer = yard.post_raw("ORDER_PAID", body, &sign(body), &[("x-shop-extra", "as it came")]);
    assert_eq!(answer.status, 200);
    let [one] = &far.wait(1)[..] else { panic!("one") };
    assert_eq!((one.method.as_str(), one.path.as_str(), &one.body[..]), ("POST", "/hook", &body[..]));
    assert_eq!((one.header("x-shop-signature"), one.header("x-shop-extra")), (sign(body).as_str(), "as it came"));
    assert_eq!((one.header("host"), one.header("content-type")), (far.address.as_str(), "application/json"));
    assert_eq!(one.header("switchyard-event"), answer.json()["event"].as_str().unwrap());
    assert_eq!(one.headers.iter().filter(|(name, _)| name == "content-length").count(), 1);
    listening.end();
}

#[test]
fn by_source_topic_and_condition_and_each_says_what_became_of_it() {
    let (yard, far) = (Yard::new(ROUTES).start(), FarSide::start());
    far.always(yard::Behaviour::status(418));
    for (topic, total) in [("ORDER_PAID", 5), ("ORDER_PAID", 500), ("REFUND", 900), ("ORDER_NEW", 700)] {
        yard.post(topic, &format!(r#"{{"total":{total}}}"#));
    }
    let args = [&far.url()[..], "--since", "1h", "--topic", "ORDER_*", "--where", "data.total > 100", "-n", "2"];
    let told = run(&yard, &args);
    assert!(told.status.success(), "{told:?}");
    assert_eq!(bodies(&far.arrived()), [r#"{"total":500}"#, r#"{"total":700}"#]);
    let said = String::from_utf8(told.stdout).unwrap();
    let shown: Vec<&str> = said.lines().filter(|line| line.contains("  418  ")).collect();
    assert!(shown.len() == 2 && shown[0].ends_with("  shop ORDER_PAID"), "{said}");
    let other = run(&yard, &[&far.url(), "--since", "1h", "-n", "1", "--source", "shop", "--json"]);
    let line: serde_json::Value = serde_json::from_slice(&other.stdout).unwrap();
    assert_eq!((line["status"].as_u64(), line["topic"].as_str(), line["replay"].is_null()), (Some(418), Some("ORDER_PAID"), true));
}

#[test]
fn a_cursor_goes_on_where_it_stopped() {
    let (yard, far) = (Yard::new(ROUTES).start(), FarSide::start());
    let bodies_of = |from: usize, to: usize| (from..to).map(|n| format!(r#"{{"n":{n}}}"#)).collect::<Vec<_>>();
    let post = |from, to| bodies_of(from, to).iter().for_each(|body| drop(yard.post("ORDER", body)));
    post(0, 3);
    let args = [&far.url()[..], "--cursor", "here", "--since", "1h"];
    assert!(run(&yard, &[&args[..], &["-n", "2"]].concat()).status.success());
    // While nobody listened.
    post(3, 5);
    assert!(run(&yard, &[&args[..], &["-n", "3"]].concat()).status.success());
    assert_eq!(bodies(&far.arrived()), bodies_of(0, 5), "each once, in order");
    std::fs::write(yard.path("here"), "somewhere").unwrap();
    let told = run(&yard, &args);
    assert_eq!((told.status.code(), told.stdout.len()), (Some(2), 0));
    assert!(String::from_utf8_lossy(&told.stderr).contains("here is no cursor of `switchyard listen`"));
}

#[test]
fn nothing_is_missed_while_the_daemon_or_the_program_is_away() {
    let (mut yard, address) = (Yard::new(ROUTES).start(), FarSide::nobody());
    let listening = Listening::start(&yard, &[&address, "-n", "3"]);
    yard.post("ORDER", "1");
    wait_for("the program to be missed", || said(&yard).contains("nothing listens at "));
    yard.kill();
    let far = FarSide::at(&address);
    assert_eq!(bodies(&far.wait(1)), ["1"]);
    wait_for("the daemon to be missed", || said(&yard).contains("trying again, nothing is missed"));
    yard.run();
    yard.post("ORDER", "2");
    yard.post("ORDER", "3");
    assert_eq!(bodies(&far.wait(3)), ["1", "2", "3"]);
    assert!(said(&yard).contains("the daemon is back"));
    listening.end();
}

#[test]
fn what_is_asked_for_again_comes_again_and_says_so() {
    let (yard, far) = (Yard::new(ROUTES).start(), FarSide::start());
    let listening = Listening::start(&yard, &[&far.url(), "-n", "2"]);
    let event = yard.post("ORDER", "{}");
    yard.wait_state(&event, "archive", "delivered");
    assert_eq!(far.wait(1)[0].header("switchyard-replay"), "");
    let done = yard.cli(&["replay", &event, "--yes"]);
    assert!(done.status.success(), "{done:?}");
    let arrived = far.wait(2);
    assert_eq!((arrived[1].header("switchyard-event"), arrived[1].header("switchyard-replay")), (event.as_str(), "1"));
    wait_for("the line", || said(&yard).contains("(replay)"));
    listening.end();
}

#[test]
fn signed_anew_where_it_is_asked_for() {
    let (yard, far) = (Yard::new(ROUTES).start(), FarSide::start());
    yard.post("ORDER", "{}");
    assert!(run(&yard, &[&far.url(), "--since", "1h", "--sign", "-n", "1"]).status.success());
    let arrived = far.wait(1);
    let signatures: Vec<_> = arrived[0].headers.iter().filter(|(name, _)| name == "x-shop-signature").collect();
    assert_eq!(signatures, [&("x-shop-signature".to_owned(), sign(b"{}"))]);
}

#[test]
fn what_is_wrong_is_told_on_one_line() {
    let yard = Yard::new(ROUTES);
    for (args, code, wanted) in [
        (&["localhost"][..], 2, "`localhost` is not an address: write HOST:PORT, such as localhost:3000"),
        (&["https://localhost:1"], 2, "only programs that speak plain HTTP"),
        (&["localhost:1", "--where", "data.total >"], 2, "`where` is no jq: "),
        (&["localhost:1"], 69, "start one with `switchyard run`"),
    ] {
        let told = run(&yard, args);
        let said = String::from_utf8_lossy(&told.stderr);
        assert_eq!(told.status.code(), Some(code), "{said}");
        assert!(said.contains(wanted), "{said}");
    }
}

#[test]
fn a_kept_event_is_edited_and_sent_as_a_new_one() {
    let yard = Yard::new(ROUTES).start();
    let event = yard.post("ORDER_PAID", r#"{"total":5}"#);
    let edit = |editor: &str| yard.command(&["send", "--edit", &event, "--json"]).env("EDITOR", editor).output().unwrap();
    let told = edit("sed -i s/5/6/");
    assert!(told.status.success(), "{told:?}");
    let said: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let new = said["event"].as_str().unwrap();
    assert_ne!(new, event);
    let shown = &yard.json(&["events", new])[0];
    assert_eq!((shown["raw"].as_str(), shown["topic"].as_str()), (Some(r#"{"total":6}"#), Some("ORDER_PAID")));
    for (editor, wanted) in [("false", "nothing was sent"), ("", "say which editor with EDITOR"), ("/no/such", "can't start the editor")] {
        let told = edit(editor);
        assert_eq!(told.status.code(), Some(2), "{told:?}");
        assert!(String::from_utf8_lossy(&told.stderr).contains(wanted), "{told:?}");
    }
    assert_eq!(yard.json(&["events"]).len(), 2);
}
