//! A vault in memory. For tests only: it can be told to fail, and says how often it was written.

use crate::Secret;
use crate::vault::{Entry, NOTHING, Saved, Vault, VaultError};
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Clones are the same vault.
#[derive(Debug, Clone, Default)]
pub struct MemoryVault(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<String, Entry>,
    fails: u32,
    writings: u32,
}

impl MemoryVault {
    /// Lets so many of the next writings fail, with nothing written.
    pub fn fail(&self, times: u32) {
        self.0.lock().expect("no panic under the lock").fails = times;
    }

    /// How often something was written.
    pub fn writings(&self) -> u32 {
        self.0.lock().expect("no panic under the lock").writings
    }

    /// What is kept under a key.
    pub fn entry(&self, key: &str) -> Option<Entry> {
        self.0.lock().expect("no panic under the lock").entries.get(key).cloned()
    }
}

impl Vault for MemoryVault {
    fn load<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, VaultError>> {
        Box::pin(async move { Ok(self.entry(key)) })
    }

    fn save<'a>(&'a self, key: &'a str, seen: u64, value: Secret) -> BoxFuture<'a, Result<Saved, VaultError>> {
        Box::pin(async move {
            let mut state = self.0.lock().expect("no panic under the lock");
            if state.fails > 0 {
                state.fails -= 1;
                return Err(VaultError::Store("the disk is full".into()));
            }
            let version = state.entries.get(key).map_or(NOTHING, |entry| entry.version);
            if version != seen {
                return Ok(Saved::Overtaken);
            }
            state.writings += 1;
            state.entries.insert(key.to_owned(), Entry { version: seen + 1, value });
            Ok(Saved::As(seen + 1))
        })
    }
}
