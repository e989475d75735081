//! A folder of `examples/` on its way to run: copied, checked, started, and sent its sample events.

use super::yard::Yard;
use serde_json::Value;
use std::path::{Path, PathBuf};

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The names of an example's sample events, in their order.
pub fn events(example: &str) -> Vec<String> {
    let folder = root().join("examples").join(example).join("events");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.is_empty(), "{} is empty", folder.display());
    names.sort();
    names
}

/// A yard with the example's files, its environment set, and a file that `check` finds nothing in, not even a warning.
pub fn checked(example: &str, env: &[(&str, &str)]) -> Yard {
    let here = [("LISTEN", "127.0.0.1:0"), ("ADMIN_LISTEN", "127.0.0.1:0")];
    let yard = here.iter().chain(env).fold(Yard::new(""), |yard, (name, value)| yard.env(name, value));
    let from = root().join("examples").join(example);
    std::fs::create_dir(yard.path("events")).unwrap();
    for event in events(example) {
        std::fs::copy(from.join("events").join(&event), yard.path("events").join(&event)).unwrap();
    }
    yard.write_whole(&std::fs::read_to_string(from.join("routes.yaml")).unwrap());
    let check = yard.cli(&["check", "--deny-warnings"]);
    let said = String::from_utf8_lossy(&[check.stdout, check.stderr].concat()).into_owned();
    assert!(check.status.success() && said.starts_with("routes.yaml is good:"), "{said}");
    yard
}

/// And its daemon.
pub fn start(example: &str, env: &[(&str, &str)]) -> Yard {
    checked(example, env).start()
}

/// Sends a sample event as its sender would; the id it was kept under. A topic only where it stands in a header.
pub fn send(yard: &Yard, source: &str, topic: Option<&str>, event: &str) -> String {
    let file = format!("events/{event}");
    let topic: Vec<&str> = topic.map_or(vec![], |topic| vec!["--topic", topic]);
    let said = yard.json(&[&["send", "--source", source, &file, "--no-wait"], &topic[..]].concat());
    let id = said.first().and_then(|said| said["event"].as_str());
    id.unwrap_or_else(|| panic!("{event} was not taken: {said:?}\n{}", yard.log())).to_owned()
}

/// Which routes took an event, and where it goes.
pub fn plan(yard: &Yard, event: &str) -> Vec<String> {
    let shown = yard.json(&["events", event]);
    let targets = shown[0]["plan"].as_array().cloned().unwrap_or_default();
    let word = |target: &Value, name: &str| target[name].as_str().unwrap().to_owned();
    targets.iter().map(|target| format!("{} > {}", word(target, "route"), word(target, "output"))).collect()
}

/// Nothing that was planned is missing.
pub fn nothing_is_lost(yard: &Yard) {
    let audit = yard.json(&["audit"]);
    assert_eq!(audit[0]["lost"], 0, "{audit:?}");
}
