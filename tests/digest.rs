//! `digest` with the real daemon: the first at once, the rest together, through retries, a kill, a reload and a far side that says no.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

mod yard;

use yard::{Behaviour, FarSide, Yard, wait_for};

fn chat(url: &str, digest: &str, more: &str) -> String {
    format!(
        "routes: [{{ name: all, to: {{ output: chat, text: \"{{{{ data.key }}}}{{{{ data.n }}}}\" }} }}]
outputs:
  chat: {{ type: mattermost, url: {url}, rate: 100/s, digest: {digest}{more} }}
"
    )
}

fn body(key: &str, n: usize) -> String {
    format!(r#"{{"key":"{key}","n":{n}}}"#)
}

fn texts(far: &FarSide) -> Vec<String> {
    far.arrived().iter().map(|arrived| arrived.json()["text"].as_str().unwrap().to_owned()).collect()
}

fn lost_nothing(yard: &Yard) {
    let audit = yard.cli(&["audit"]);
    let said = String::from_utf8_lossy(&audit.stdout);
    assert!(audit.status.success() && said.contains("lost: 0"), "{said}");
}

#[test]
fn the_first_goes_at_once_and_the_rest_together_by_key() {
    let far = FarSide::start();
    let yard = Yard::new(&chat(&far.url(), "{ by: \"{{ data.key }}\", every: 2s, max: 3 }", "")).start();
    let first = yard.post("ORDER", &body("a", 0));
    let head = yard.wait_state(&first, "chat", "delivered");
    let others: Vec<String> = (1..7).map(|n| yard.post("ORDER", &body("a", n))).collect();
    let alone = yard.post("ORDER", &body("b", 0));
    yard.wait_state(&alone, "chat", "delivered");
    let held = yard.wait_state(&others[0], "chat", "held");
    assert_eq!(held["detail"], format!("collected for the digest after {} of {first}, which is delivered", head["id"].as_str().unwrap()));
    for event in &others {
        yard.wait_state(event, "chat", "delivered");
    }
    assert_eq!(texts(&far), ["a0", "b0", "a1\na2\na3\n… and 3 more"]);
    let digest = yard.deliveries(&others[0])[0]["id"].as_str().unwrap().to_owned();
    let along = yard.deliveries(&others[5]);
    assert!(along[0]["detail"].as_str().unwrap().starts_with(&format!("in the digest {digest}: ")), "{along:?}");
    assert_eq!(far.arrived()[2].header("switchyard-delivery"), digest);
    lost_nothing(&yard);

    // What comes within the time of that one is collected again; a person may ask for one of it alone.
    let later = yard.post("ORDER", &body("a", 7));
    yard.wait_state(&later, "chat", "held");
    assert!(yard.cli(&["replay", &others[4]]).status.success());
    wait_for("the replay and the next", || far.arrived().len() == 5);
    let mut last = texts(&far).split_off(3);
    last.sort();
    assert_eq!(last, ["a5", "a7"]);
}

#[test]
fn what_was_collected_outlives_a_kill_and_a_reload_and_a_retry_sends_the_same_again() {
    let far = FarSide::start();
    let digest = "{ every: 2s }";
    let retry = ", retry: { schedule: [300ms, 300ms] }";
    let mut yard = Yard::new(&chat(&far.url(), digest, retry)).start();
    let first = yard.post("ORDER", &body("a", 0));
    yard.wait_state(&first, "chat", "delivered");
    let mut events: Vec<String> = (1..4).map(|n| yard.post("ORDER", &body("a", n))).collect();
    yard.kill();
    yard.run();
    yard.write(&chat(&far.url(), digest, &format!("{retry}, timeout: 9s")));
    far.next([Behaviour::status(500)]);
    wait_for("the digest to be tried", || far.arrived().len() == 2);
    // What comes between two attempts is none of it.
    events.push(yard.post("ORDER", &body("b", 4)));
    for event in &events {
        yard.wait_state(event, "chat", "delivered");
    }
    assert_eq!(texts(&far), ["a0", "a1\na2\na3", "a1\na2\na3", "b4"]);
    let ids: Vec<String> = far.arrived().iter().map(|arrived| arrived.header("switchyard-delivery").to_owned()).collect();
    assert!(ids[1] == ids[2] && ids[1] != ids[3], "{ids:?}");
    lost_nothing(&yard);
}

#[test]
fn what_was_sent_before_a_kill_is_sent_again_as_it_was() {
    let far = FarSide::start();
    let mut yard = Yard::new(&chat(&far.url(), "{ first: wait, every: 1s }", ", timeout: 60s")).start();
    far.next([Behaviour::Silence]);
    let mut events: Vec<String> = (0..2).map(|n| yard.post("ORDER", &body("a", n))).collect();
    wait_for("the digest to be sent", || far.arrived().len() == 1);
    events.push(yard.post("ORDER", &body("a", 2)));
    yard.wait_state(&events[2], "chat", "held");
    yard.kill();
    yard.run();
    for event in &events {
        yard.wait_state(event, "chat", "delivered");
    }
    assert_eq!(texts(&far), ["a0\na1", "a0\na1", "a2"]);
    lost_nothing(&yard);
}

#[test]
fn a_digest_that_is_refused_is_dead_with_all_that_went_along_and_one_that_cannot_be_shown_says_so() {
    let far = FarSide::start();
    let file = chat(&far.url(), "{ first: wait, every: 1s }", "").replace("{{ data.n }}", "{{ data.n + 1 }}");
    let yard = Yard::new(&file).start();
    far.next([Behaviour::status(400)]);
    let events: Vec<String> = (0..3).map(|n| yard.post("ORDER", &body("a", n))).collect();
    for event in &events {
        yard.wait_state(event, "chat", "dead");
    }
    assert_eq!(texts(&far), ["a1\na2\na3"]);
    let along = yard.deliveries(&events[2]);
    assert!(along[0]["detail"].as_str().unwrap().starts_with("in the digest dlv_"), "{along:?}");
    lost_nothing(&yard);

    let good = yard.post("ORDER", &body("b", 1));
    let bad = yard.post("ORDER", r#"{"key":"c","n":"x"}"#);
    yard.wait_state(&good, "chat", "delivered");
    yard.wait_state(&bad, "chat", "delivered");
    let last = texts(&far).pop().unwrap();
    assert!(last.starts_with(&format!("b2\n{} cannot be shown: ", bad.replace('_', "\\_"))), "{last}");
}

#[test]
fn what_has_another_reader_or_another_route_never_goes_along() {
    let far = FarSide::start();
    let file = format!(
        "routes:
  - {{ name: one, to: {{ output: chat, text: \"1 {{{{ data.n }}}}\", channel: \"c{{{{ data.key }}}}\" }} }}
  - {{ name: two, topic: BOTH, to: {{ output: chat, text: \"2 {{{{ data.n }}}}\", channel: \"all\" }} }}
outputs:
  chat: {{ type: mattermost, url: {}, rate: 100/s, digest: {{ first: wait, every: 1s }} }}
",
        far.url()
    );
    let yard = Yard::new(&file).start();
    let events = [
        yard.post("ORDER", &body("a", 1)),
        yard.post("ORDER", &body("b", 2)),
        yard.post("ORDER", &body("a", 3)),
        yard.post("BOTH", &body("b", 4)),
    ];
    for event in &events {
        yard.wait_state(event, "chat", "delivered");
    }
    wait_for("all three", || far.arrived().len() == 3);
    let mut seen: Vec<(String, String)> = far
        .arrived()
        .iter()
        .map(yard::far_side::Arrived::json)
        .map(|json| (json["channel"].as_str().unwrap().to_owned(), json["text"].as_str().unwrap().to_owned()))
        .collect();
    seen.sort();
    let pair = |channel: &str, text: &str| (channel.to_owned(), text.to_owned());
    assert_eq!(seen, [pair("all", "2 4"), pair("ca", "1 1\n1 3"), pair("cb", "1 2\n1 4")]);
}

#[test]
fn a_wrong_digest_is_told() {
    let told = |file: &str| {
        let yard = Yard::new(file);
        let output = yard.cli(&["check"]);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    let wrong = |digest: &str, more: &str| told(&chat("http://127.0.0.1:9/", digest, more));
    assert!(wrong("{ every: 0s }", "").contains("`every` is 0s"));
    assert!(wrong("{ every: 5m, max: 0 }", "").contains("`max` is 0"));
    assert!(wrong("{ every: 5m, first: later }", "").contains("later"));
    assert!(wrong("{ by: \"{{ topic }}\" }", "").contains("every"));
    assert!(wrong("{ every: 5m, by: \"{{ topic|nope }}\" }", "").contains("in the template of `digest.by`"));
    assert!(wrong("{ every: 5m }", ", order_by: { key: \"{{ data.id }}\" }").contains("`order_by` one at a time"));
    let http = "routes: [{ name: all, to: shop }]\noutputs:\n  shop: { type: http, url: \"http://127.0.0.1:9/\", digest: { every: 5m } }\n";
    assert!(told(http).contains("`shop` has no `text` in which several deliveries could stand"));
}
