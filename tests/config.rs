//! Configurations that ran: every event and every delivery knows the one that planned it, and `switchyard config` shows them without secrets.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

mod yard;

use yard::{Yard, wait_for};

fn routes(output: &str) -> String {
    format!(
        "routes: [{{ name: all, topic: ORDER, to: {output} }}]
outputs:
  one: {{ type: file, path: one.ndjson }}
  two: {{ type: file, path: two.ndjson }}
  hook: {{ type: http, url: \"http://127.0.0.1:9/made-up-path\", auth: {{ bearer: \"${{HOOK_TOKEN}}\" }} }}
"
    )
}

fn version(yard: &Yard) -> String {
    yard.admin("GET", "/ready", "").json()["version"].as_str().unwrap().to_owned()
}

/// Writes another file and waits until it runs.
fn reload(yard: &Yard, text: &str) -> String {
    let before = version(yard);
    yard.write(text);
    wait_for("the new configuration", || version(yard) != before);
    version(yard)
}

fn said(yard: &Yard, args: &[&str]) -> (i32, String) {
    let output = yard.cli(args);
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

#[test]
fn an_event_knows_the_configuration_that_planned_it_through_reloads_and_a_kill() {
    let mut yard = Yard::new(&routes("one")).env("HOOK_TOKEN", "made-up-token").start();
    let first = version(&yard);
    let old = yard.post("ORDER", "1");
    let unwanted = yard.post("OTHER", "{}");
    yard.wait_state(&old, "one", "delivered");
    let second = reload(&yard, &routes("two"));
    let new = yard.post("ORDER", "2");
    yard.wait_state(&new, "two", "delivered");

    yard.kill();
    yard.run();
    assert_eq!(version(&yard), second, "a restart changes no name");
    let event = |id: &str| yard.json(&["events", id]).remove(0);
    assert_eq!((&event(&old)["config"], &event(&new)["config"]), (&first.as_str().into(), &second.as_str().into()));
    assert_eq!(event(&unwanted)["config"], first.as_str(), "one that nobody wants knows it too");
    assert_eq!(event(&old)["deliveries"][0]["config"], first.as_str());
    let listed = yard.json(&["deliveries", "--output", "two"]);
    assert_eq!(listed[0]["config"], second.as_str());

    // What is added later is of the file that added it.
    let (code, told) = said(&yard, &["replay", "--missing", "--to", "two", "--yes"]);
    assert_eq!(code, 0, "{told}");
    yard.wait_state(&old, "two", "delivered");
    let deliveries = yard.deliveries(&old);
    let of = |output: &str| deliveries.iter().find(|row| row["output"] == output).unwrap()["config"].clone();
    assert_eq!((of("one"), of("two")), (first.as_str().into(), second.as_str().into()));

    let versions: Vec<_> = yard.json(&["config", "list"]).iter().map(|row| (row["version"].clone(), row["running"].clone())).collect();
    assert_eq!(versions, [(second.as_str().into(), true.into()), (first.as_str().into(), false.into())]);
    let third = reload(&yard, &routes("one"));
    assert_eq!(third, first, "the same file has the same name");
    assert_eq!(yard.json(&["config", "list"]).len(), 2);
}

#[test]
fn configurations_are_shown_and_compared_without_a_secret() {
    let yard = Yard::new(&routes("one")).env("HOOK_TOKEN", "made-up-token").start();
    let first = version(&yard);
    let second = reload(&yard, &routes("two"));
    let (code, shown) = said(&yard, &["config", "show", &first]);
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("to: one") && shown.contains("${HOOK_TOKEN}") && shown.contains("url: \"http://127.0.0.1:9/***\""), "{shown}");
    assert!(!shown.contains("made-up"), "{shown}");
    assert!(said(&yard, &["config", "show"]).1.contains("to: two"));

    let (code, differ) = said(&yard, &["config", "diff", &first]);
    assert_eq!(code, 1, "{differ}");
    assert!(differ.starts_with(&format!("--- {first} since ")) && differ.contains(&format!("+++ {second} since ")), "{differ}");
    let changed =
        |sign: &str| differ.lines().filter(|line| line.starts_with(sign) && !line.starts_with(&sign.repeat(3))).collect::<Vec<_>>();
    assert_eq!(changed("-"), ["-routes: [{ name: all, topic: ORDER, to: one }]"]);
    assert_eq!(changed("+"), ["+routes: [{ name: all, topic: ORDER, to: two }]"]);
    assert_eq!(said(&yard, &["config", "diff", &second]), (0, "they are the same\n".to_owned()));

    // Only what is hidden changes.
    let third = reload(&yard, &routes("two").replace("made-up-path", "made-up-other"));
    let (code, told) = said(&yard, &["config", "diff", &second, &third]);
    assert!(code == 1 && told.starts_with("they are written alike"), "{told}");

    let (code, told) = said(&yard, &["config", "show", "00000000"]);
    assert!(code == 1 && told.contains("no configuration 00000000 is kept"), "{code} {told}");
    let (code, told) = said(&yard, &["config", "show", "latest"]);
    assert!(code == 2 && told.contains("eight digits"), "{code} {told}");
}
