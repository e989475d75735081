//! Signatures, by HMAC and by public keys: what is signed, where the signature stands, and whether it holds.
//!
//! The hash comes from the file alone, never from the request. The digests are compared in constant time.

use super::Request;
use super::elsewhere::{Address, Certificate};
use super::handshake::field;
use super::key::{Key, LONGEST, Tag};
use super::pick::{self, Pick, Steps};
use super::refused::{Far, Refused};
use super::section::{Encoding, Unit};
use super::signed::{self, Body, Part};
use crate::model::{Timestamp, equal};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName};
use std::borrow::Cow;
use std::time::Duration;
use switchyard_api::Secret;

/// Most signatures of one request that are looked at; what comes after them is not (L6).
pub const MOST_CANDIDATES: usize = 16;

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
    /// One per secret; none where a certificate has the key.
    pub keys: Box<[Key]>,
    pub certificate: Option<Certificate>,
    /// The place that must hold one of `names`.
    pub secret_at: Option<Pick>,
    /// The secrets, where they are no keys: in the signed text, or at `secret_at`.
    pub names: Box<[Secret]>,
}

/// Where a signature or a token stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Header(HeaderName),
    /// In the body, or in each of its items.
    Json(Steps),
    /// A field of the URL's query.
    Query(Box<str>),
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
    Json(Steps),
}

impl Place {
    /// What stands there, once.
    pub fn read<'r>(&self, request: &Request<'r>, body: &'r [u8]) -> Result<Cow<'r, [u8]>, Refused> {
        match self {
            Place::Header(name) => only(request.headers, name).map(Cow::Borrowed),
            Place::Query(name) => field(request.query, name).map(|text| Cow::Owned(text.into_bytes())).ok_or_else(|| self.malformed()),
            Place::Json(path) => pick::at_path(body, path).map(bytes).ok_or_else(|| Refused::MissingField(path.join("."))),
        }
    }

    pub fn malformed(&self) -> Refused {
        match self {
            Place::Header(name) => Refused::Malformed(name.clone()),
            Place::Json(path) => Refused::MalformedField(path.join(".")),
            Place::Query(name) => Refused::NoToken(name.to_string()),
        }
    }

    fn ambiguous(&self) -> Refused {
        match self {
            Place::Header(name) => Refused::Ambiguous(name.clone()),
            Place::Json(_) | Place::Query(_) => self.malformed(),
        }
    }
}

/// Signature, moment of signing, and how far that is where it is too far.
type Ready<'r> = (Cow<'r, [u8]>, Vec<u8>, Option<Far>);

impl Scheme {
    /// Whether one signature of the request, or of each of its items, holds for one of the keys: which key, and of several the last; `None`:
    /// one that was fetched.
    pub fn verify(&self, request: &Request<'_>, now: Timestamp) -> Result<Option<usize>, Refused> {
        if self.items.is_empty() {
            return self.verify_one(request, request.body, now);
        }
        let items = pick::elements(request.body, &self.items).ok_or_else(|| Refused::NoItems(self.items.join(".")))?;
        items.into_iter().try_fold(None, |last, item| Ok(self.verify_one(request, item, now)?.max(last)))
    }

    /// Where the certificate of this request stands, if it is proven by one; refused is what could not be proven with any.
    pub fn address(&self, request: &Request<'_>, now: Timestamp) -> Result<Option<Address>, Refused> {
        let Some(certificate) = &self.certificate else { return Ok(None) };
        let (_, _, far) = self.ready(request, request.body, now)?;
        // Nothing is fetched for what could not be believed.
        far.map_or(Ok(()), |far| Err(Refused::Stale { far, signed: false }))?;
        certificate.place(request.headers, request.body).map(Some)
    }

    /// Signature, moment of signing, and how far that is where it is too far; where all is there that costs nothing to look at.
    fn ready<'r>(&'r self, request: &Request<'r>, body: &'r [u8], now: Timestamp) -> Result<Ready<'r>, Refused> {
        let given = self.place.read(request, body)?;
        let (stamp, far) = self.timestamp(request.headers, &given, body, now)?;
        let stamp = stamp.into_owned();
        if self.candidates(&given).next().is_none() {
            return Err(self.place.malformed());
        }
        if let Some(pick) = self.secret_at.as_ref().filter(|_| !self.names.is_empty()) {
            let text = pick.read_once(request.headers, body)?;
            let known = |name: &Secret| equal(name.expose().as_bytes(), text.as_bytes());
            // All are looked at.
            if !self.names.iter().fold(false, |any, name| any | known(name)) {
                return Err(Refused::OtherName);
            }
        }
        Ok((given, stamp, far))
    }

    /// A moment that is too far is told only once the signature was looked at: a good one means that a clock is wrong, or that it is sent again.
    fn verify_one(&self, request: &Request<'_>, body: &[u8], now: Timestamp) -> Result<Option<usize>, Refused> {
        let (given, stamp, far) = self.ready(request, body, now)?;
        let fetched = self.certificate.as_ref().map(|certificate| certificate.key(request.document, now)).transpose()?;
        // A sender may sign the URL with its port or without.
        let ways = if self.signs.iter().any(signed::has_two_ways) { &[false, true][..] } else { &[false] };
        let nameless = [Secret::new("")];
        let names = if self.signs.contains(&Part::Secret) { &self.names[..] } else { &nameless };
        for (other_port, name) in ways.iter().flat_map(|way| names.iter().map(move |name| (*way, name))) {
            let covered = Body { bytes: body, stamp: &stamp, name: name.expose().as_bytes(), other_port };
            let pieces = signed::pieces(&self.signs, request, &covered)?;
            let pieces: Vec<&[u8]> = pieces.iter().map(AsRef::as_ref).collect();
            let holds = |key: &Key| self.candidates(&given).any(|candidate| key.holds(&pieces, candidate.bytes()));
            if let Some(key) = self.keys.iter().chain(&fetched).position(holds) {
                let key = Some(key).filter(|key| *key < self.keys.len());
                if let (Some(certificate), None) = (&self.certificate, key) {
                    certificate.believe(request, body, now)?;
                }
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
                    (None, _) => return Err(Refused::NoTimestamp(name.to_string())),
                    (Some(_), Some(_)) => return Err(self.place.ambiguous()),
                }
            }
            MomentAt::Json(path) => bytes(pick::at_path(body, path).ok_or_else(|| Refused::NoTimestamp(path.join(".")))?),
        };
        let at = match moment.unit {
            Unit::Ms => millis(&stamp),
            Unit::S => seconds(&stamp),
        };
        let at = at.ok_or(Refused::BadTimestamp(moment.unit))?;
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
