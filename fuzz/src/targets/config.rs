//! Configuration files of any kind, as `check` and a reload read them.

use crate::judge::judge;
use std::io;
use std::sync::Arc;
use switchyard::config::file::decode;
use switchyard::config::{Environment, from_text};
use switchyard_api::AnyKind;

/// Bytes of a file that are tried: what grows with it grows in proportion, and a test of its own asks for the largest.
const FILE_MAX: usize = 32 << 10;
/// What variables hold. Made up, and never to be seen in an answer.
const SECRET: &str = "hush-hush-hush-hush-hush-hush-32";

/// Every variable is set and every file is there.
struct Everything;

impl Environment for Everything {
    fn var(&self, _: &str) -> Option<String> {
        Some(SECRET.to_owned())
    }
    fn file(&self, _: &str) -> io::Result<String> {
        Ok(SECRET.to_owned())
    }
    fn names(&self) -> Vec<String> {
        vec!["TOKEN".to_owned()]
    }
}

/// A file's bytes.
pub fn entry() -> crate::Entry {
    let kinds: Vec<Arc<dyn AnyKind>> = switchyard_plugins::kinds();
    Box::new(move |input| {
        let Ok(text) = decode(&input[..input.len().min(FILE_MAX)]) else { return };
        // What stands in the file itself is not what is kept from it.
        let secrets: &[&str] = if text.contains("hush") { &[] } else { &[SECRET] };
        judge(&from_text("routes.yaml", text, &Everything), &kinds, secrets);
    })
}
