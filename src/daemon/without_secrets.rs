//! A file drawn where nobody has its secrets, as in CI: something that fits stands where each would.
//!
//! What fits is found by asking those who read it: a value that is refused at its place makes way for the address that the refusal shows, or the
//! next of [`STAND_INS`]. A file's own tests then run by the real routes. Never: connects, or takes a stand-in for what is set.

use super::blueprint::{self, Drawn};
use crate::config::{self, CannotRead, Environment, Process};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::Arc;
use switchyard_api::problem::Severity;
use switchyard_api::{AnyKind, Node, Problem, Span, Value};

/// What may stand for a secret, the most usual first: words, addresses, keys in the forms that senders and outputs have, and what is
/// sometimes left to the environment besides secrets.
const STAND_INS: [&str; 27] = [
    "stand-in-for-a-secret-of-the-environment",
    "https://stand-in.invalid/secret",
    "whsec_c3RhbmQtaW4tZm9yLWEtc2VjcmV0LW9mLXRoZS1lbnY=",
    "c3RhbmQtaW4tZm9yLWEtc2VjcmV0LW9mLXRoZS1lbnY=",
    "5866666666666666666666666666666666666666666666666666666666666666",
    "0123456789abcdef0123456789abcdef",
    "123456:stand-in",
    "smtps://user:stand-in@stand-in.invalid",
    "postgres://user:stand-in@stand-in.invalid/db",
    "rediss://user:stand-in@stand-in.invalid",
    "nats://user:stand-in@stand-in.invalid",
    "amqps://user:stand-in@stand-in.invalid",
    "mqtts://user:stand-in@stand-in.invalid",
    "tls://stand-in.invalid:6514",
    "sqlite:stand-in.db",
    "stand-in@stand-in.invalid",
    "stand-in.invalid:9092",
    "127.0.0.1:0",
    "10.0.0.0/8",
    "1",
    "1m",
    "1/s",
    "1MiB",
    "true",
    P256_KEY,
    PUBLIC_KEY,
    SERVICE_ACCOUNT,
];

/// Stands for a service account of Google's, whose key is made when it is asked for.
const SERVICE_ACCOUNT: &str = "service account";
/// A P-256 public key that a sender published with its test vectors.
const P256_KEY: &str =
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==";
/// Of an Ed25519 pair whose private half nobody kept.
const PUBLIC_KEY: &str =
    "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAWGZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY=\n-----END PUBLIC KEY-----\n";

/// A file and what drawing it found, with stand-ins where secrets are missing.
pub struct WithoutSecrets {
    /// The file.
    pub file: config::File,
    /// What drawing found; nothing that is only said of a stand-in. A reference that none of them fits is told as missing.
    pub drawn: Drawn,
    /// Whether anything stands in.
    pub missing: bool,
}

/// What stands for a reference.
#[derive(Debug, Clone, Default)]
struct Chosen {
    /// Which of [`STAND_INS`].
    nth: usize,
    /// What was made for this place; first.
    made: Option<String>,
}

impl Chosen {
    fn value(&self) -> Option<String> {
        self.made.clone().or_else(|| STAND_INS.get(self.nth).map(|value| (*value).to_owned()))
    }

    /// Takes the next after a refusal; `false`: there is none.
    fn next(&mut self, refusal: &Problem) -> bool {
        if let (Some(like), None) = (looks_like(refusal), &self.made) {
            self.made = Some(like);
            return true;
        }
        self.nth += 1;
        self.made = STAND_INS.get(self.nth).filter(|value| **value == SERVICE_ACCOUNT).and_then(|_| service_account());
        self.nth <= STAND_INS.len()
    }
}

/// The address that a refusal shows as an example.
fn looks_like(refusal: &Problem) -> Option<String> {
    let example = refusal.help.as_deref()?.split('`').find(|word| word.starts_with("https://"))?;
    Some(example.replace(['…', '*'], "stand-in"))
}

/// A service account as Google gives them, with a key that nobody else knows.
fn service_account() -> Option<String> {
    let key = KeyPair::generate(KeySize::Rsa2048).ok()?;
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).ok()?;
    let key = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()));
    Some(json!({ "client_email": "stand-in@stand-in.invalid", "private_key": key }).to_string())
}

/// Reads and draws.
///
/// # Errors
/// The file can't be read.
pub fn draw(path: &Path, kinds: &[Arc<dyn AnyKind>]) -> Result<WithoutSecrets, CannotRead> {
    draw_as(Process::beside(path), kinds, |environment| config::load(path, environment))
}

/// The same of a text that is at hand.
pub fn draw_text(text: &str, kinds: &[Arc<dyn AnyKind>]) -> WithoutSecrets {
    let read = |environment: &dyn Environment| Ok::<_, Infallible>(config::from_text("", text, environment));
    match draw_as(Process::beside(Path::new("")), kinds, read) {
        Ok(drawn) => drawn,
    }
}

fn draw_as<E>(
    real: Process,
    kinds: &[Arc<dyn AnyKind>],
    read: impl Fn(&dyn Environment) -> Result<config::File, E>,
) -> Result<WithoutSecrets, E> {
    let mut environment = StandIns { real, chosen: RefCell::default() };
    // Each takes one of a fixed number of stand-ins away; a reference that has none left is told and ends it.
    loop {
        let file = read(&environment)?;
        let mut drawn = blueprint::draw(&file, kinds);
        let chosen = environment.chosen.get_mut();
        let places = file.tree.as_ref().map(|tree| places(tree, chosen)).unwrap_or_default();
        // Where it is used more than once, one refusal is enough: the next may suit all places.
        let mut refused: BTreeMap<&str, &Problem> = BTreeMap::new();
        for (at, reference) in &places {
            let refusal = drawn.problems.iter().find(|problem| problem.severity == Severity::Error && problem.at == *at);
            if let Some(refusal) = refusal {
                refused.entry(reference).or_insert(refusal);
            }
        }
        let mut again = false;
        for (reference, refusal) in refused {
            again |= chosen.get_mut(reference).is_some_and(|chosen| chosen.next(refusal));
        }
        if !again {
            let told = config::secrets::NOT_THERE;
            drawn.problems.retain(|problem| told.contains(&problem.id) || places.iter().all(|(at, _)| *at != problem.at));
            return Ok(WithoutSecrets { missing: !chosen.is_empty(), file, drawn });
        }
    }
}

/// Texts that hold a reference which something stands in for.
fn places(tree: &Node, chosen: &BTreeMap<String, Chosen>) -> Vec<(Span, String)> {
    fn walk(node: &Node, chosen: &BTreeMap<String, Chosen>, found: &mut Vec<(Span, String)>) {
        match &node.value {
            Value::Map(entries) => entries.iter().for_each(|(_, node)| walk(node, chosen, found)),
            Value::List(items) => items.iter().for_each(|node| walk(node, chosen, found)),
            Value::Text(text) => {
                let named = chosen.keys().filter(|reference| text.written.contains(reference.as_str()));
                found.extend(named.map(|reference| (node.span, reference.clone())));
            }
            _ => {}
        }
    }
    let mut found = vec![];
    walk(tree, chosen, &mut found);
    found
}

/// The environment, and something for what is not in it.
struct StandIns {
    real: Process,
    /// Which stand-in each missing reference has, by how it is written.
    chosen: RefCell<BTreeMap<String, Chosen>>,
}

impl Environment for StandIns {
    fn var(&self, name: &str) -> Option<String> {
        self.real.var(name)
    }
    fn file(&self, path: &str) -> io::Result<String> {
        self.real.file(path)
    }
    fn names(&self) -> Vec<String> {
        self.real.names()
    }
    fn stand_in(&self, written: &str) -> Option<String> {
        self.chosen.borrow_mut().entry(written.to_owned()).or_default().value()
    }
}
