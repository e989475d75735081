//! The vault that the daemon lends to outputs: values sealed with AES-256-GCM, kept in the journal through its one writer.
//!
//! Does: seals with a fresh nonce and binds each sealed value to its key and version, so that neither an older value nor that
//! of another output passes for it. Never: keeps a value unsealed, shows one (L7). Holds: what `save` says is saved is
//! durable, for the writer's commit is. Proven here, by `conformance` (compare and write on every store) and `tests/vault.rs`.

use super::store::{Operation, Reads, Sealed, StoreError};
use super::writer::Journal;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use std::fmt;
use std::sync::Arc;
use switchyard_api::Secret;
use switchyard_api::vault::{Entry, NOTHING, Saved, Vault, VaultError};

/// The first byte of a sealed value: nonce, then text with its tag.
const FORM: u8 = 1;
/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// What values are sealed with.
pub struct VaultKey(RandomizedNonceKey);

/// Why a text is no key. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not base64.
    #[error("the vault's key is not base64")]
    Form,
    /// Too short or too long.
    #[error("the vault's key has {0} bytes, and needs {KEY_BYTES}")]
    Length(usize),
}

impl VaultKey {
    /// Reads a key: 32 bytes in base64.
    ///
    /// # Errors
    /// Why that is none.
    pub fn parse(text: &Secret) -> Result<Self, KeyError> {
        let bytes = STANDARD.decode(text.expose().trim()).map_err(|_| KeyError::Form)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| KeyError::Length(bytes.len()));
        key.map(VaultKey)
    }

    fn seal(&self, key: &str, version: u64, value: &Secret) -> Option<Vec<u8>> {
        let mut text = value.expose().as_bytes().to_vec();
        let nonce = self.0.seal_in_place_append_tag(Aad::from(bound(key, version)), &mut text).ok()?;
        Some([&[FORM][..], nonce.as_ref(), &text].concat())
    }

    fn open(&self, key: &str, version: u64, sealed: &[u8]) -> Option<Secret> {
        let (&FORM, rest) = sealed.split_first()? else { return None };
        let (nonce, text) = rest.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        let opened = self.0.open_in_place(nonce, Aad::from(bound(key, version)), &mut text).ok()?;
        std::str::from_utf8(opened).ok().map(Secret::new)
    }
}

impl fmt::Debug for VaultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VaultKey")
    }
}

/// What a sealed value is bound to.
fn bound(key: &str, version: u64) -> Vec<u8> {
    [b"switchyard vault\0", &version.to_be_bytes()[..], key.as_bytes()].concat()
}

/// Sealed values in the journal. Clones are the same vault.
#[derive(Clone)]
pub struct SealedVault {
    journal: Journal,
    reads: Arc<dyn Reads>,
    /// `None`: nothing can be kept.
    key: Option<Arc<VaultKey>>,
}

impl SealedVault {
    /// A vault on a journal, and on what reads it.
    pub fn new(journal: Journal, reads: Arc<dyn Reads>, key: Option<Arc<VaultKey>>) -> Self {
        SealedVault { journal, reads, key }
    }

    /// The version that a key has, whatever its value was sealed with.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn version(&self, key: &str) -> Result<u64, VaultError> {
        Ok(self.sealed(key).await?.map_or(NOTHING, |sealed| sealed.version))
    }

    async fn sealed(&self, key: &str) -> Result<Option<Sealed>, VaultError> {
        let (reads, key) = (Arc::clone(&self.reads), key.to_owned());
        let read = tokio::task::spawn_blocking(move || reads.sealed(&key)).await;
        read.map_err(|why| VaultError::Store(why.to_string()))?.map_err(store)
    }

    fn key(&self) -> Result<Arc<VaultKey>, VaultError> {
        self.key.clone().ok_or(VaultError::NoKey)
    }
}

impl fmt::Debug for SealedVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedVault").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Vault for SealedVault {
    fn load<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, VaultError>> {
        Box::pin(async move {
            let opener = self.key()?;
            let Some(sealed) = self.sealed(key).await? else { return Ok(None) };
            let value = opener.open(key, sealed.version, &sealed.bytes).ok_or(VaultError::Sealed)?;
            Ok(Some(Entry { version: sealed.version, value }))
        })
    }

    fn save<'a>(&'a self, key: &'a str, seen: u64, value: Secret) -> BoxFuture<'a, Result<Saved, VaultError>> {
        Box::pin(async move {
            let version = seen + 1;
            let sealed = self.key()?.seal(key, version, &value).ok_or_else(|| VaultError::Store("it could not be sealed".into()))?;
            let changed = self.journal.operate(Operation::Seal { key: key.into(), seen, sealed }).await.map_err(store)?;
            Ok(if changed == 0 { Saved::Overtaken } else { Saved::As(version) })
        })
    }
}

fn store(why: StoreError) -> VaultError {
    VaultError::Store(why.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::memory::{Disk, Fails};
    use super::super::store::Retain;
    use super::super::writer::Settings;
    use super::*;
    use crate::model::SystemClock;
    use std::time::Duration;

    const KEY: &str = "bWFkZS11cC1rZXktb2YtMzItYnl0ZXMhISEhISEhISE=";
    const OTHER: &str = "YW5vdGhlci1tYWRlLXVwLWtleS1vZi0zMi1ieXRlcyE=";

    fn key(text: &str) -> Arc<VaultKey> {
        Arc::new(VaultKey::parse(&Secret::new(text)).unwrap())
    }

    fn journal(disk: &Disk) -> Journal {
        let retain = Retain { delivered: Duration::from_secs(1), dead: Duration::from_secs(1), max_bytes: None };
        let settings = Settings { retain, clock: Arc::new(SystemClock::default()), on_kept: Box::new(|_| ()) };
        Journal::start(Box::new(disk.open(Duration::ZERO)), settings).unwrap().0
    }

    fn vault(disk: &Disk, key: Option<Arc<VaultKey>>) -> SealedVault {
        SealedVault::new(journal(disk), Arc::new(disk.clone()), key)
    }

    #[test]
    fn a_key_is_32_bytes_in_base64_and_is_not_quoted() {
        for (text, wrong) in [("***", KeyError::Form), ("aHVzaA==", KeyError::Length(4)), ("", KeyError::Length(0))] {
            let error = VaultKey::parse(&Secret::new(text)).unwrap_err();
            assert_eq!(error, wrong);
            assert!(!error.to_string().contains("aHVz"));
        }
        assert_eq!(format!("{:?}", key(KEY)), "VaultKey");
    }

    #[test]
    fn a_sealed_value_opens_only_as_itself() {
        let sealed = key(KEY).seal("books", 3, &Secret::new("hush")).unwrap();
        assert!(!sealed.windows(4).any(|window| window == b"hush"));
        assert_ne!(key(KEY).seal("books", 3, &Secret::new("hush")).unwrap(), sealed, "a nonce of its own each time");
        assert_eq!(key(KEY).open("books", 3, &sealed), Some(Secret::new("hush")));
        assert_eq!(key(KEY).open("books", 2, &sealed), None, "no older version");
        assert_eq!(key(KEY).open("other", 3, &sealed), None, "no other output's");
        assert_eq!(key(OTHER).open("books", 3, &sealed), None);
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(key(KEY).open("books", 3, &damaged), None, "byte {at}");
            assert_eq!(key(KEY).open("books", 3, &sealed[..at]), None, "cut at {at}");
        }
    }

    #[tokio::test]
    async fn a_value_is_kept_over_a_restart_and_an_older_writer_is_told() {
        let disk = Disk::default();
        let first = vault(&disk, Some(key(KEY)));
        assert_eq!(first.load("books").await, Ok(None));
        assert_eq!(first.save("books", NOTHING, Secret::new("one")).await, Ok(Saved::As(1)));
        assert_eq!(first.save("books", NOTHING, Secret::new("late")).await, Ok(Saved::Overtaken));
        assert_eq!(first.save("books", 1, Secret::new("two")).await, Ok(Saved::As(2)));
        assert_eq!(first.save("books", 1, Secret::new("late")).await, Ok(Saved::Overtaken));
        drop(first);
        let again = vault(&disk, Some(key(KEY)));
        assert_eq!(again.load("books").await, Ok(Some(Entry { version: 2, value: Secret::new("two") })));
        assert_eq!(vault(&disk, Some(key(OTHER))).load("books").await, Err(VaultError::Sealed));
    }

    #[tokio::test]
    async fn without_a_key_or_a_disk_nothing_is_kept_and_that_is_said() {
        let disk = Disk::default();
        let none = vault(&disk, None);
        assert_eq!(none.load("books").await, Err(VaultError::NoKey));
        assert_eq!(none.save("books", NOTHING, Secret::new("one")).await, Err(VaultError::NoKey));
        let full = vault(&disk, Some(key(KEY)));
        disk.fail(Fails::Full);
        assert!(matches!(full.save("books", NOTHING, Secret::new("one")).await, Err(VaultError::Store(_))));
        assert_eq!(full.load("books").await, Ok(None));
        assert_eq!(full.save("books", NOTHING, Secret::new("one")).await, Ok(Saved::As(1)), "and then it is");
    }
}
