//! Where an output keeps credentials that change while in use: a refresh token that each use replaces.
//!
//! The host lends one with the [`Kit`](crate::Kit): values are sealed with `journal.vault_key` and durable before
//! [`Vault::save`] returns. Saving compares: who saw an older version is told so and changes nothing, so that one newer value
//! is never lost to an older one. Never: shows a value (L7), decides what a value means.

use crate::Secret;
use futures_util::future::BoxFuture;
use std::fmt::Debug;

/// The version of a key that holds nothing.
pub const NOTHING: u64 = 0;

/// A value and which writing of its key it is, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Grows with each writing.
    pub version: u64,
    /// What was written.
    pub value: Secret,
}

/// What became of a writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// Durable, as this version.
    As(u64),
    /// Somebody wrote in the meantime; nothing was changed.
    Overtaken,
}

/// Why a value can't be read or kept. `Display` is one line without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// There is no key to seal with.
    #[error("there is no key to seal credentials with: set `journal.vault_key` (make one with `openssl rand -base64 32`)")]
    NoKey,
    /// What is kept was sealed with another key, or is damaged.
    #[error(
        "what is kept cannot be opened with `journal.vault_key`: set the key it was sealed with, or hand over a new token with `switchyard login OUTPUT`"
    )]
    Sealed,
    /// The journal could not; worth another try.
    #[error("the journal cannot keep it now: {0}")]
    Store(String),
}

/// Keeps values by key. Both calls may be dropped at any await; a dropped `save` may have happened.
pub trait Vault: Send + Sync + Debug {
    /// What is kept under a key.
    fn load<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, VaultError>>;

    /// Keeps a value where the key's version still is `seen` ([`NOTHING`]: it holds nothing). Durable before it returns.
    fn save<'a>(&'a self, key: &'a str, seen: u64, value: Secret) -> BoxFuture<'a, Result<Saved, VaultError>>;
}

/// A vault without a key: what a host lends that has none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoVault;

impl Vault for NoVault {
    fn load<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Entry>, VaultError>> {
        Box::pin(async { Err(VaultError::NoKey) })
    }
    fn save<'a>(&'a self, _: &'a str, _: u64, _: Secret) -> BoxFuture<'a, Result<Saved, VaultError>> {
        Box::pin(async { Err(VaultError::NoKey) })
    }
}
