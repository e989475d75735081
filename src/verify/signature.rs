//! Signatures, by HMAC and by public keys: what is signed, where the signature stands, and whether it holds.
//!
//! The hash comes from the file alone, never from the request. The digests are compared in constant time.

use super::Request;
use super::pick::{self, Pick, Steps};
use super::refused::{Far, Refused};
use super::section::{Encoding, Hash, PublicKey, Unit};
use super::signed::{self, Body, Part};
use crate::model::Timestamp;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName};
use sha2::Digest as _;
use std::borrow::Cow;
use std::time::Duration;
use subtle::ConstantTimeEq;

/// Most signatures of one request that are looked at; what comes after them is not (L6).
pub const MOST_CANDIDATES: usize = 16;

/// The longest signature: of ECDSA over P-256 in DER; a digest has at most 64.
const LONGEST: usize = 72;

/// A signature scheme with its keys.
pub(super) struct Scheme {
    pub place: Place,
    /// The list whose elements are proven one by one; empty: the body is.
    pub items: Steps,
    pub encoding: Encoding,
    pub prefix: Box<str>,
    /// What stands between several signatures; empty: there is one.
    pub separator: Box<str>,
    pub signs: Box<[Part]>,
    pub timestamp: Option<Moment>,
    /// One per secret.
    pub keys: Box<[Key]>,
}

/// Where a signature or a token stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Header(HeaderName),
    /// In the body, or in each of its items.
    Json(Steps),
}

/// Where the moment of signing stands.
pub(super) struct Moment {
    pub at: MomentAt,
    pub unit: Unit,
    pub tolerance: Duration,
}

pub(super) enum MomentAt {
    Header(HeaderName),
    /// `<name>=<seconds>` among the signatures.
    Element(Box<str>),
    /// In the body.
    Json(Pick),
}

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

/// A finished digest.
pub(super) struct Tag {
    bytes: [u8; LONGEST],
    len: usize,
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
        };
        let parsed = UnparsedPublicKey::new(algorithm(kind), bytes).parse();
        parsed.is_ok().then(|| Key::Public(kind, bytes.into()))
    }

    /// Whether a signature over these pieces holds.
    pub fn holds(&self, pieces: &[&[u8]], candidate: &[u8]) -> bool {
        match self {
            Key::Public(kind, key) => UnparsedPublicKey::new(algorithm(*kind), key).verify(&pieces.concat(), candidate).is_ok(),
            _ => self.tag(pieces.iter().copied()).is_some_and(|tag| candidate.ct_eq(tag.bytes()).into()),
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

fn algorithm(kind: PublicKey) -> &'static dyn VerificationAlgorithm {
    match kind {
        PublicKey::Ed25519 => &ED25519,
        PublicKey::P256 => &ECDSA_P256_SHA256_ASN1,
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

impl Place {
    /// What stands there, once.
    pub fn read<'r>(&self, headers: &'r HeaderMap, body: &'r [u8]) -> Result<Cow<'r, [u8]>, Refused> {
        match self {
            Place::Header(name) => only(headers, name).map(Cow::Borrowed),
            Place::Json(path) => pick::at_path(body, path).map(bytes).ok_or_else(|| Refused::MissingField(path.join("."))),
        }
    }

    pub fn malformed(&self) -> Refused {
        match self {
            Place::Header(name) => Refused::Malformed(name.clone()),
            Place::Json(path) => Refused::MalformedField(path.join(".")),
        }
    }

    fn ambiguous(&self) -> Refused {
        match self {
            Place::Header(name) => Refused::Ambiguous(name.clone()),
            Place::Json(path) => Refused::MalformedField(path.join(".")),
        }
    }
}

impl Tag {
    fn of(digest: &[u8]) -> Tag {
        let mut bytes = [0; LONGEST];
        let len = digest.len().min(LONGEST);
        bytes[..len].copy_from_slice(&digest[..len]);
        Tag { bytes, len }
    }

    fn bytes(&self) -> &[u8] {
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

impl Scheme {
    /// Whether one signature of the request, or of each of its items, holds for one of the keys: which key, and of several the last.
    pub fn verify(&self, request: &Request<'_>, now: Timestamp) -> Result<usize, Refused> {
        if self.items.is_empty() {
            return self.verify_one(request, request.body, now);
        }
        let items = pick::elements(request.body, &self.items).ok_or_else(|| Refused::NoItems(self.items.join(".")))?;
        items.into_iter().try_fold(0, |last, item| Ok(self.verify_one(request, item, now)?.max(last)))
    }

    /// A moment that is too far is told only once the signature was looked at: a good one means that a clock is wrong, or that it is sent again.
    fn verify_one(&self, request: &Request<'_>, body: &[u8], now: Timestamp) -> Result<usize, Refused> {
        let given = self.place.read(request.headers, body)?;
        let (stamp, far) = self.timestamp(request.headers, &given, body, now)?;
        if self.candidates(&given).next().is_none() {
            return Err(self.place.malformed());
        }
        // A sender may sign the URL with its port or without.
        let ways = if self.signs.iter().any(signed::has_two_ways) { &[false, true][..] } else { &[false] };
        for other_port in ways {
            let covered = Body { bytes: body, stamp: &stamp, other_port: *other_port };
            let pieces = signed::pieces(&self.signs, request, &covered)?;
            let pieces: Vec<&[u8]> = pieces.iter().map(AsRef::as_ref).collect();
            let holds = |key: &Key| self.candidates(&given).any(|candidate| key.holds(&pieces, candidate.bytes()));
            if let Some(key) = self.keys.iter().position(holds) {
                return far.map_or(Ok(key), |far| Err(Refused::Stale { far, signed: true }));
            }
        }
        Err(far.map_or(Refused::Mismatch, |far| Refused::Stale { far, signed: false }))
    }

    /// The first signatures of the header that are well formed.
    fn candidates<'h>(&'h self, given: &'h [u8]) -> impl Iterator<Item = Tag> + 'h {
        let prefixed = self.elements(given).filter_map(|element| element.strip_prefix(self.prefix.as_bytes()));
        prefixed.take(MOST_CANDIDATES).filter_map(|text| self.decode(text))
    }

    /// The signature header's elements: one, or those between separators, without the spaces around them.
    fn elements<'h>(&'h self, given: &'h [u8]) -> impl Iterator<Item = &'h [u8]> {
        // Separators are single characters; without one no byte separates.
        let separator = self.separator.bytes().next();
        given.split(move |byte| Some(*byte) == separator).map(<[u8]>::trim_ascii)
    }

    /// The moment as the request writes it, and how far it is where that is too far. Empty where the scheme has none.
    fn timestamp<'h>(
        &'h self,
        headers: &'h HeaderMap,
        given: &'h [u8],
        body: &'h [u8],
        now: Timestamp,
    ) -> Result<(Cow<'h, [u8]>, Option<Far>), Refused> {
        let Some(moment) = &self.timestamp else { return Ok((Cow::Borrowed(b""), None)) };
        let stamp = match &moment.at {
            MomentAt::Header(name) => Cow::Borrowed(only(headers, name)?),
            MomentAt::Element(name) => {
                let mut found = self.elements(given).filter_map(|e| e.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
                match (found.next(), found.next()) {
                    (Some(stamp), None) => Cow::Borrowed(stamp),
                    (None, _) => return Err(Refused::BadTimestamp),
                    (Some(_), Some(_)) => return Err(self.place.ambiguous()),
                }
            }
            MomentAt::Json(pick) => bytes(pick.read(headers, body).ok_or(Refused::BadTimestamp)?),
        };
        let at = match moment.unit {
            Unit::Ms => millis(&stamp),
            Unit::S => seconds(&stamp),
        };
        let at = at.ok_or(Refused::BadTimestamp)?;
        let off = if at > now { at.since(now) } else { now.since(at) };
        let far = Far { off, ahead: at > now, tolerance: moment.tolerance };
        Ok((stamp, (off > moment.tolerance).then_some(far)))
    }

    /// Strict: hex of one case, or standard base64 with its padding; so each digest has one way of being written.
    fn decode(&self, text: &[u8]) -> Option<Tag> {
        let mut bytes = [0; LONGEST];
        let len = match self.encoding {
            Encoding::Hex if text.iter().any(u8::is_ascii_uppercase) => return None,
            Encoding::UpperHex if text.iter().any(u8::is_ascii_lowercase) => return None,
            Encoding::Hex | Encoding::UpperHex => {
                hex::decode_to_slice(text, bytes.get_mut(..text.len() / 2)?).ok().map(|()| text.len() / 2)?
            }
            Encoding::Base64 => STANDARD.decode_slice(text, &mut bytes).ok()?,
        };
        (len > 0).then_some(Tag { bytes, len })
    }
}

fn bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// The one value of a header: several are ambiguous, since the next reader may take the other.
pub(super) fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h [u8], Refused> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value.as_bytes()),
        (None, _) => Err(Refused::Missing(name.clone())),
        (Some(_), Some(_)) => Err(Refused::Ambiguous(name.clone())),
    }
}

/// Milliseconds since 1970, nothing but digits.
fn millis(text: &[u8]) -> Option<Timestamp> {
    let digits = !text.is_empty() && text.len() <= 14 && text.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(text).ok()?.parse().ok().map(Timestamp)).flatten()
}

/// Whole seconds since 1970, nothing but digits. Eleven of them reach the year 5138, so milliseconds are not seconds.
fn seconds(text: &[u8]) -> Option<Timestamp> {
    if text.is_empty() || text.len() > 11 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(Timestamp(seconds * 1_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_moment_is_digits_of_seconds_and_nothing_else() {
        assert_eq!(seconds(b"1614265330"), Some(Timestamp(1_614_265_330_000)));
        assert_eq!(seconds(b"99999999999"), Some(Timestamp(99_999_999_999_000)));
        for wrong in ["", "-1", "+1", "1.5", "1e9", " 1", "1614265330000", "9223372036854775808", "１"] {
            assert_eq!(seconds(wrong.as_bytes()), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_moment_makes_it_fail(text in proptest::collection::vec(any::<u8>(), 0..32)) {
            seconds(&text);
        }
    }
}
