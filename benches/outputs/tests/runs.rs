//! The bench runs: each output that needs no server and its bare client, with few deliveries, and all of them arrive.

#![allow(clippy::unwrap_used)] // tests may

use serde_json::Value;
use std::process::Command;

fn run(only: &str) -> Vec<Value> {
    let scratch = tempfile::tempdir().unwrap();
    let said = Command::new(env!("CARGO_BIN_EXE_outputs"))
        .args(["run", "--rounds", "2", "--count", "300", "--only", only, "--scratch"])
        .arg(scratch.path())
        .output()
        .unwrap();
    assert!(said.status.success(), "{only}: {}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "what it made is removed");
    String::from_utf8(said.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn outputs_without_a_server_are_measured_beside_their_bare_clients() {
    for only in ["file", "sqlite", "http", "http2"] {
        let rounds = run(only);
        assert_eq!(rounds.len(), 2, "{only}");
        for round in rounds {
            assert_eq!(round["output"], only);
            for side in ["bare", "ours"] {
                assert!(round[side]["rate"].as_f64().unwrap() > 0.0 && round[side]["cpu_us"].is_number(), "{round}");
            }
        }
    }
}

#[test]
fn what_is_not_measured_is_told() {
    let said = Command::new(env!("CARGO_BIN_EXE_outputs")).args(["run", "--only", "fax", "--scratch", "."]).output().unwrap();
    assert!(!said.status.success());
    assert!(String::from_utf8_lossy(&said.stderr).contains("`fax` is not measured; there are kafka,"));
}
