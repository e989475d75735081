//! Credentials that change while in use, through the real binary: kept sealed, before use, over crashes; handed over by a person.
#![allow(missing_docs, clippy::unwrap_used)]

mod yard;

use std::io::Write;
use std::process::Stdio;
use yard::{Behaviour, FarSide, Yard, usual, wait_for};

const KEY: &str = "bWFkZS11cC1rZXktb2YtMzItYnl0ZXMhISEhISEhISE=";
const OTHER_KEY: &str = "YW5vdGhlci1tYWRlLXVwLWtleS1vZi0zMi1ieXRlcyE=";

/// A file with an output behind a refresh token; `seed` is the rest of its settings.
fn file(journal: &str, tokens: &FarSide, far: &FarSide, seed: &str) -> String {
    usual().replace("journal: { url: sqlite:data/journal.db }", &format!("journal: {{ url: sqlite:data/journal.db{journal} }}"))
        + &format!(
            "routes: [{{ name: all, to: books }}]\noutputs:\n  books:\n    type: http\n    url: {}\n    auth: {{ oauth2: {{ token_url: \"{}\", client_id: made-up, client_secret: hush-secret{seed} }} }}\n",
            far.url(),
            tokens.url(),
        )
}

fn yard(file: &str) -> Yard {
    let yard = Yard::new("").env("VAULT_KEY", KEY);
    yard.write_whole(file);
    yard
}

fn granted(access: &str, refresh: &str) -> Behaviour {
    let body = format!(r#"{{"access_token":"{access}","expires_in":3600,"refresh_token":"{refresh}"}}"#);
    Behaviour::Answer(200, vec![("content-type".into(), "application/json".into())], body)
}

fn login(yard: &Yard, output: &str, token: &str) -> std::process::Output {
    let mut command = yard.command(&["login", output]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(token.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_new_refresh_token_outlives_a_kill_between_the_answer_and_its_use() {
    let (tokens, far) = (FarSide::start(), FarSide::start());
    tokens.next([granted("hush-a1", "hush-r1"), granted("hush-a2", "hush-r2")]);
    far.next([Behaviour::Silence]);
    let mut yard = yard(&file(", vault_key: \"${VAULT_KEY}\"", &tokens, &far, ", refresh_token: hush-seed")).start();
    let event = yard.post("A", "1");
    // The first use is under way, and nothing of it was answered.
    far.wait(1);
    yard.kill();
    yard.run();
    yard.wait_state(&event, "books", "delivered");
    let given: Vec<String> = tokens.arrived().iter().map(yard::far_side::Arrived::text).collect();
    assert!(given[0].contains("refresh_token=hush-seed") && given[1].contains("refresh_token=hush-r1"), "{given:?}");
    assert_eq!(far.arrived()[1].header("authorization"), "Bearer hush-a2");
    yard.signal("TERM");
    assert_eq!(yard.ended(), Some(0));
    for entry in std::fs::read_dir(yard.path("data")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(5).any(|window| window == b"hush-"), "{} holds a secret as it is", path.display());
    }
    assert!(!yard.log().contains("hush-"), "{}", yard.log());
}

#[test]
fn a_person_hands_over_a_new_refresh_token_and_deliveries_go_on() {
    let (tokens, far) = (FarSide::start(), FarSide::start());
    tokens.always(Behaviour::Answer(400, vec![], r#"{"error":"invalid_grant"}"#.into()));
    let seed = ", authorize_url: \"https://id.example/allow\", scope: books, redirect_uri: \"https://shop.example/back\"";
    let yard = yard(&file(", vault_key: \"${VAULT_KEY}\"", &tokens, &far, seed)).start();
    let event = yard.post("A", "1");
    let outputs = || yard.admin("GET", "/api/outputs", "").json().to_string();
    wait_for("the output to ask for a token", || outputs().contains("switchyard login books"));
    assert_eq!(tokens.arrived().len(), 0, "there is nothing to ask with");
    tokens.always(granted("hush-a1", "hush-r1"));
    let done = login(&yard, "books", "hush-handed\n");
    let (out, err) = (String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap());
    assert!(done.status.success(), "{err}");
    assert!(out.contains("books has a new refresh token") && !out.contains("hush"), "{out}");
    let place = "https://id.example/allow?response_type=code&client_id=made-up&redirect_uri=https%3A%2F%2Fshop.example%2Fback&scope=books";
    assert!(err.contains(place), "{err}");
    yard.wait_state(&event, "books", "delivered");
    assert!(tokens.arrived()[0].text().contains("refresh_token=hush-handed"), "{}", tokens.arrived()[0].text());
    assert!(!yard.log().contains("hush"), "{}", yard.log());
    for (output, token, status, said) in [("boks", "x", 1, "there is no output `boks`"), ("books", " ", 2, "no token on standard input")] {
        let refused = login(&yard, output, token);
        let err = String::from_utf8(refused.stderr).unwrap();
        assert!(refused.status.code() == Some(status) && err.contains(said), "{status}: {err}");
    }
}

#[test]
fn without_a_key_the_file_does_not_check_and_says_how_to_make_one() {
    let (tokens, far) = (FarSide::start(), FarSide::start());
    let check = |journal: &str, seed: &str| {
        let done = yard(&file(journal, &tokens, &far, seed)).cli(&["check"]);
        (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let (code, said) = check("", ", refresh_token: hush-seed");
    assert!(code == Some(1) && said.contains("error[no-vault-key]") && said.contains("openssl rand -base64 32"), "{said}");
    let (code, said) = check(", vault_key: hush", ", refresh_token: hush-seed");
    assert!(code == Some(1) && said.contains("error[vault-key]") && said.contains("openssl rand -base64 32"), "{said}");
    assert!(!said.contains("hush"), "{said}");
    assert_eq!(check(", vault_key: \"${VAULT_KEY}\"", ", refresh_token: hush-seed").0, Some(0));
    assert_eq!(check("", "").0, Some(0), "client credentials need no vault");
}

#[test]
fn another_key_opens_nothing_and_is_said_and_a_login_sets_it_right() {
    let (tokens, far) = (FarSide::start(), FarSide::start());
    tokens.always(granted("hush-a1", "hush-r1"));
    let text = file(", vault_key: \"${VAULT_KEY}\"", &tokens, &far, ", refresh_token: hush-seed");
    let mut yard = yard(&text).start();
    let event = yard.post("A", "1");
    yard.wait_state(&event, "books", "delivered");
    yard.kill();
    let mut yard = yard.env("VAULT_KEY", OTHER_KEY);
    yard.run();
    let event = yard.post("A", "2");
    wait_for("the key to be told apart", || yard.admin("GET", "/api/outputs", "").json().to_string().contains("journal.vault_key"));
    assert_eq!(tokens.arrived().len(), 1, "no token is asked for that could not be kept");
    assert!(login(&yard, "books", "hush-handed").status.success());
    yard.wait_state(&event, "books", "delivered");
}
