//! Requests that the senders' own libraries signed, posted to the running daemon: valid, altered, sent again, too old, with another secret.
//!
//! The libraries are pinned beside this file (`package-lock.json`, `requirements.txt`) and installed by `scripts/install.sh test` into `target/sdks`.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

#[path = "../yard/mod.rs"]
mod yard;

use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use yard::{FarSide, Yard, http};

#[derive(Deserialize)]
struct Signed {
    name: String,
    source: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
    /// A status, or `duplicate`.
    expect: Value,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Where the libraries are, as they are pinned.
fn installed() -> PathBuf {
    let folder = root().join("target/sdks");
    for pinned in ["package-lock.json", "requirements.txt"] {
        let read = |folder: &Path| std::fs::read_to_string(folder.join(pinned)).unwrap_or_default();
        let as_pinned = read(&folder) == read(&root().join("tests/sdks"));
        assert!(as_pinned, "the senders' libraries are not installed as {pinned} has them: run scripts/install.sh test");
    }
    folder
}

fn signed(command: &mut Command) -> Vec<Signed> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let said = command.arg(now.to_string()).current_dir(installed()).output().unwrap();
    serde_json::from_slice(&said.stdout).unwrap_or_else(|why| panic!("{why}: {}", String::from_utf8_lossy(&said.stderr)))
}

#[test]
fn what_the_senders_own_libraries_sign_is_taken_and_nothing_else_is() {
    // Modules are looked for from the folder that they lie in.
    let by_node = signed(Command::new("node").args(["--input-type=module", "-e", include_str!("sign.mjs"), "--"]));
    let by_python = signed(Command::new("python3").args(["-c", include_str!("sign.py")]).env("PYTHONPATH", installed().join("python")));
    let far = FarSide::start();
    let yard = Yard::new("");
    let whsec = "whsec_bWFkZS11cC1zZWNyZXQtbWFkZS11cC1zZWNyZXQ=";
    let hex = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    yard.write_whole(&format!(
        "server: {{ listen: 127.0.0.1:0, admin: {{ listen: 127.0.0.1:0 }} }}
sources:
  stripe: {{ verify: stripe, secret: whsec_made_up_stripe }}
  svix: {{ verify: svix, secret: '{whsec}' }}
  standard: {{ verify: standard-webhooks, secret: '{whsec}' }}
  github: {{ verify: github, secret: made-up-github }}
  slack: {{ verify: slack, secret: made-up-slack }}
  adyen: {{ verify: adyen, secret: '{hex}' }}
  adyen-platform: {{ verify: adyen-platform, secret: '{hex}' }}
  twilio: {{ verify: twilio, secret: made-up-token, url: 'https://hooks.example.com/twilio' }}
  hubspot: {{ verify: hubspot, secret: made-up-hubspot, url: 'https://hooks.example.com/hubspot' }}
  hubspot-v1: {{ verify: hubspot-v1, secret: made-up-hubspot }}
  hubspot-v2: {{ verify: hubspot-v2, secret: made-up-hubspot, url: 'https://hooks.example.com/hubspot-v2' }}
routes: [{{ name: all, to: far }}]
outputs:
  far: {{ type: http, url: {} }}
",
        far.url()
    ));
    let mut yard = yard.start();
    let (mut wrong, mut kept, mut sources) = (Vec::new(), 0, BTreeSet::new());
    for Signed { name, source, path, headers, body, expect } in by_node.into_iter().chain(by_python) {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let said = http::request(&yard.daemon().events, "POST", &path, &headers, body.as_bytes()).unwrap();
        let repeated = said.status == 200 && String::from_utf8_lossy(&said.body).contains("\"duplicate\":true");
        // What is answered with a text of the sender's own does not say that it repeats; it is counted below.
        let own_text = said.header("content-type").is_some_and(|kind| kind.starts_with("text/plain"));
        let good = match expect.as_u64() {
            Some(status) => u64::from(said.status) == status && !repeated,
            None => repeated || (said.status == 200 && own_text),
        };
        kept += usize::from(expect == 200);
        sources.insert(source);
        if !good {
            wrong.push(format!("{name}: {expect} expected, {} {}", said.status, String::from_utf8_lossy(&said.body)));
        }
    }
    let refused: Vec<String> = yard.json(&["refused"]).iter().map(Value::to_string).collect();
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), refused.join("\n"));
    assert_eq!((sources.len(), yard.json(&["events"]).len()), (11, kept), "each valid one is an event, once");
    for reason in ["is this machine's clock or the sender's wrong", "does not match: another secret, or the request was altered"] {
        assert!(refused.iter().any(|row| row.contains(reason)), "{reason}");
    }
    yard.kill();
}
