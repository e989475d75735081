//! Keys and what they make: digests by HMAC or a plain hash, and signatures that a public key proves.
//!
//! Never: compares digests elsewhere than by [`equal`].

use super::section::{Encoding, Hash, PublicKey};
use crate::model::equal;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Digest as _;

/// The longest signature: of RSA with a key of 4,096 bits; a digest has at most 64.
pub(super) const LONGEST: usize = 512;

/// A secret as the hash has already begun with it, so that a request costs no key schedule.
#[derive(Clone)]
pub(super) enum Key {
    Sha1(Hmac<sha1::Sha1>),
    Sha256(Hmac<sha2::Sha256>),
    Sha384(Hmac<sha2::Sha384>),
    Sha512(Hmac<sha2::Sha512>),
    /// A plain hash that the secret begins.
    Plain(sha2::Sha256),
    /// Proves and cannot sign: the sender has the other half.
    Public(PublicKey, Box<[u8]>),
}

/// A finished digest, or a signature.
pub(super) struct Tag {
    pub(super) bytes: [u8; LONGEST],
    pub(super) len: usize,
}

impl Key {
    /// `None` for a key that the hash does not take (HMAC takes every length).
    pub fn new(hash: Hash, secret: &[u8]) -> Option<Self> {
        Some(match hash {
            Hash::Sha1 => Key::Sha1(KeyInit::new_from_slice(secret).ok()?),
            Hash::Sha256 => Key::Sha256(KeyInit::new_from_slice(secret).ok()?),
            Hash::Sha384 => Key::Sha384(KeyInit::new_from_slice(secret).ok()?),
            Hash::Sha512 => Key::Sha512(KeyInit::new_from_slice(secret).ok()?),
        })
    }

    /// A plain hash that this secret begins.
    pub fn plain(secret: &[u8]) -> Self {
        Key::Plain(sha2::Sha256::new_with_prefix(secret))
    }

    /// A public key; `None` where these bytes are none of this kind.
    pub fn public(kind: PublicKey, bytes: &[u8]) -> Option<Self> {
        let bytes = match kind {
            PublicKey::Ed25519 => bytes.try_into().ok().map(|bytes: &[u8; 32]| &bytes[..])?,
            PublicKey::P256 => point(bytes)?,
            PublicKey::RsaSha256 | PublicKey::Rsa => bytes,
        };
        let parsed = algorithms(kind).iter().all(|algorithm| UnparsedPublicKey::new(*algorithm, bytes).parse().is_ok());
        parsed.then(|| Key::Public(kind, bytes.into()))
    }

    /// Whether a signature over these pieces holds.
    pub fn holds(&self, pieces: &[&[u8]], candidate: &[u8]) -> bool {
        match self {
            Key::Public(kind, key) => {
                let signed = pieces.concat();
                algorithms(*kind).iter().any(|algorithm| UnparsedPublicKey::new(*algorithm, key).verify(&signed, candidate).is_ok())
            }
            _ => self.tag(pieces.iter().copied()).is_some_and(|tag| equal(candidate, tag.bytes())),
        }
    }

    /// The digest over these pieces, one after the other; a public key makes none.
    pub fn tag<'p>(&self, pieces: impl Iterator<Item = &'p [u8]>) -> Option<Tag> {
        fn finish<'p, M: Mac + Clone>(begun: &M, pieces: impl Iterator<Item = &'p [u8]>) -> Tag {
            let mut mac = begun.clone();
            pieces.for_each(|piece| mac.update(piece));
            Tag::of(&mac.finalize().into_bytes())
        }
        Some(match self {
            Key::Sha1(begun) => finish(begun, pieces),
            Key::Sha256(begun) => finish(begun, pieces),
            Key::Sha384(begun) => finish(begun, pieces),
            Key::Sha512(begun) => finish(begun, pieces),
            Key::Plain(begun) => Tag::of(&pieces.fold(begun.clone(), sha2::Sha256::chain_update).finalize()),
            Key::Public(..) => return None,
        })
    }
}

/// What a signature of this kind may be made with.
fn algorithms(kind: PublicKey) -> &'static [&'static dyn VerificationAlgorithm] {
    match kind {
        PublicKey::Ed25519 => &[&ED25519],
        PublicKey::P256 => &[&ECDSA_P256_SHA256_ASN1],
        PublicKey::RsaSha256 => &[&RSA_PKCS1_2048_8192_SHA256],
        PublicKey::Rsa => &[&RSA_PKCS1_2048_8192_SHA256, &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY],
    }
}

/// The uncompressed point of a P-256 key, from itself or from its SPKI (RFC 5480), whose header is always the same.
fn point(bytes: &[u8]) -> Option<&[u8]> {
    const SPKI: [u8; 26] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
        0x07, 0x03, 0x42, 0x00,
    ];
    let point = bytes.strip_prefix(&SPKI).unwrap_or(bytes);
    (point.len() == 65 && point.first() == Some(&4)).then_some(point)
}

impl Tag {
    fn of(digest: &[u8]) -> Tag {
        let mut bytes = [0; LONGEST];
        let len = digest.len().min(LONGEST);
        bytes[..len].copy_from_slice(&digest[..len]);
        Tag { bytes, len }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// As the sender writes it.
    pub fn written(&self, encoding: Encoding) -> String {
        match encoding {
            Encoding::Hex => hex::encode(self.bytes()),
            Encoding::UpperHex => hex::encode_upper(self.bytes()),
            Encoding::Base64 => STANDARD.encode(self.bytes()),
        }
    }
}
