//! Signing as a sender would: what `switchyard send` and `switchyard sign` add to an event so that it is accepted.

use super::key::Key;
use super::pick::{self, Pick};
use super::section::Unit;
use super::signature::{MomentAt, Place, Scheme};
use super::signed::{self, BODY_HASH, Body, Part};
use super::token::Token;
use super::{Proof, Refused, Request, Verifier};
use crate::model::Timestamp;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::net::Ipv4Addr;
use switchyard_api::escape::Escape;

/// An event to be signed.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'d> {
    /// Goes where the source reads its topic, if that is a header.
    pub topic: &'d str,
    /// The exact bytes to be sent.
    pub body: &'d [u8],
    /// Goes where the source reads its id, if that is a header.
    pub id: Option<&'d str>,
}

/// What a sender would send.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signed {
    /// The headers that it adds, in an order without meaning.
    pub headers: Vec<(String, String)>,
    /// The body, where it holds the signature or the moment of signing; `None`: as in the draft.
    pub body: Option<Vec<u8>>,
    /// The query of the URL, where it holds a part of the proof.
    pub query: Option<String>,
}

/// Why a draft cannot be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotSign {
    /// The sender signs with a private key, and the file has the public one.
    #[error("this source is proven by a public key: only its sender can sign")]
    PublicKey,
    /// The signature stands in the URL, or covers a name that the request leaves out.
    #[error("this sender signs what a draft does not have, or into the URL: only the sender can make it")]
    OfTheSender,
    /// The signature covers a header that a draft does not fill.
    #[error("the signature covers the header `{0}`, which neither topic, id nor time fills")]
    NoValue(HeaderName),
    /// The signature covers the id, and the draft has none.
    #[error("the signature covers the id in `{0}`: give one")]
    NoId(HeaderName),
    /// A value with characters that no header can hold.
    #[error("the value for the header `{0}` holds characters that a header cannot")]
    NotAHeader(HeaderName),
    /// The body is to hold the signature or the time, and can't.
    #[error("the body has no object or list to put `{0}` into")]
    NoPlace(String),
    /// The signature stands in what it covers.
    #[error("the signature stands at `{0}` in the body that it covers: only its sender can make it")]
    Circular(String),
    /// A piece of what is signed is missing, or is none that can be signed.
    #[error("what is signed is not in the draft: {0}")]
    NotThere(Refused),
    /// The source has no key; building it would have failed.
    #[error("the source has no secret")]
    NoSecret,
}

impl Verifier {
    /// What a sender would send of this draft. With several secrets the first signs.
    ///
    /// A topic or an id that the source reads from the body is not added.
    pub fn sign(&self, draft: &Draft<'_>, now: Timestamp) -> Result<Signed, CannotSign> {
        let mut sending = Sending { headers: vec![], body: Cow::Borrowed(draft.body), query: None };
        if let Some(Pick::Header(name)) = &self.topic {
            sending.headers.push((name.clone(), draft.topic.to_owned()));
        }
        if let (Some(Pick::Header(name)), Some(id)) = (&self.id, draft.id) {
            sending.headers.push((name.clone(), id.to_owned()));
        }
        match &self.proof {
            Proof::None | Proof::Certificate(_) => {}
            Proof::Jwt(_) => return Err(CannotSign::PublicKey),
            Proof::Token(token) => sending.show(token)?,
            Proof::Signature(scheme) => self.signature(scheme, now, &mut sending)?,
        }
        sending.header_map()?;
        let headers = sending.headers.into_iter().map(|(name, value)| (name.as_str().to_owned(), value)).collect();
        let body = if let Cow::Owned(body) = sending.body { Some(body) } else { None };
        Ok(Signed { headers, body, query: sending.query })
    }

    fn signature(&self, scheme: &Scheme, now: Timestamp, sending: &mut Sending<'_>) -> Result<(), CannotSign> {
        if scheme.certificate.is_some() {
            return Err(CannotSign::PublicKey);
        }
        let key = scheme.keys.first().ok_or(CannotSign::NoSecret)?;
        if matches!(key, Key::Public(..)) {
            return Err(CannotSign::PublicKey);
        }
        is_possible(scheme)?;
        let in_millis = scheme.timestamp.as_ref().is_some_and(|moment| moment.unit == Unit::Ms);
        let stamp = if in_millis { now.0 } else { now.0.div_euclid(1_000) }.to_string();
        if let Some(MomentAt::Header(name)) = scheme.timestamp.as_ref().map(|moment| &moment.at) {
            sending.headers.push((name.clone(), stamp.clone()));
        }
        self.fill(scheme, now, sending)?;
        sending.say_what_it_is(scheme);
        for place in proven_places(&scheme.items, &sending.body)? {
            sending.sign_one(scheme, key, &stamp, &place)?;
        }
        Ok(())
    }

    /// The headers that are signed and that nothing else fills.
    fn fill(&self, scheme: &Scheme, now: Timestamp, sending: &mut Sending<'_>) -> Result<(), CannotSign> {
        for part in &scheme.signs {
            let Part::Header(name) = part else { continue };
            if sending.headers.iter().any(|(there, _)| there == name) {
                continue;
            }
            // One whose age is not looked at, as Zendesk's: its name says that it is a time, as the sender writes one.
            let is_time = name.as_str().ends_with("timestamp");
            match &self.id {
                Some(Pick::Header(id)) if id == name => return Err(CannotSign::NoId(name.clone())),
                _ if is_time => sending.headers.push((name.clone(), now.to_string())),
                _ => return Err(CannotSign::NoValue(name.clone())),
            }
        }
        Ok(())
    }
}

/// Whether anybody but the sender can make such a signature.
fn is_possible(scheme: &Scheme) -> Result<(), CannotSign> {
    if scheme.signs.contains(&Part::Secret) {
        return Err(CannotSign::OfTheSender);
    }
    let path = match &scheme.place {
        Place::Header(_) => return Ok(()),
        Place::Query(_) => return Err(CannotSign::OfTheSender),
        Place::Json(path) => path,
    };
    let holds = |part: &Part| match part {
        Part::Body | Part::Form | Part::Crc32 => true,
        Part::Raw(steps) | Part::Json(steps) => path.starts_with(steps),
        _ => false,
    };
    if scheme.signs.iter().any(holds) { Err(CannotSign::Circular(path.join("."))) } else { Ok(()) }
}

/// What is proven by itself: the body, or each of its items.
fn proven_places(items: &[Box<str>], body: &[u8]) -> Result<Vec<Vec<Box<str>>>, CannotSign> {
    if items.is_empty() {
        return Ok(vec![vec![]]);
    }
    let found = pick::elements(body, items).ok_or_else(|| CannotSign::NoPlace(items.join(".")))?;
    Ok((0..found.len()).map(|nth| [items, &[nth.to_string().into()]].concat()).collect())
}

/// A request as it is put together.
struct Sending<'d> {
    headers: Vec<(HeaderName, String)>,
    body: Cow<'d, [u8]>,
    query: Option<String>,
}

impl Sending<'_> {
    fn header_map(&self) -> Result<HeaderMap, CannotSign> {
        let pair = |(name, value): &(HeaderName, String)| match HeaderValue::from_str(value) {
            Ok(value) => Ok((name.clone(), value)),
            Err(_) => Err(CannotSign::NotAHeader(name.clone())),
        };
        self.headers.iter().map(pair).collect()
    }

    /// Shows a token where its sender does.
    fn show(&mut self, token: &Token) -> Result<(), CannotSign> {
        let written = token.written().ok_or(CannotSign::NoSecret)?;
        match &token.place {
            Place::Header(name) => self.headers.push((name.clone(), written)),
            Place::Query(name) => self.query = Some(format!("{}={}", Escape::Form.apply(name), Escape::Form.apply(&written))),
            Place::Json(path) => {
                for place in proven_places(&token.items, &self.body)? {
                    self.put(&[&place, &path[..]].concat(), &quoted(&written).to_string())?;
                }
            }
        }
        Ok(())
    }

    /// A sender that signs forms sends JSON with its hash in the URL.
    fn say_what_it_is(&mut self, scheme: &Scheme) {
        if !scheme.signs.contains(&Part::Form) {
            return;
        }
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&self.body).is_ok();
        let kind = if is_json { "application/json" } else { "application/x-www-form-urlencoded" };
        self.headers.push((CONTENT_TYPE, kind.to_owned()));
        if is_json {
            let written = scheme.signs.iter().find_map(|part| if let Part::Url { written, .. } = part { Some(written) } else { None });
            let own = written.and_then(|url| url.split_once('?')).map_or_else(String::new, |(_, query)| format!("{query}&"));
            self.query = Some(format!("{own}{BODY_HASH}{}", hex::encode(Sha256::digest(&self.body))));
        }
    }

    /// Signs the body, or the item of it at this place.
    fn sign_one(&mut self, scheme: &Scheme, key: &Key, stamp: &str, place: &[Box<str>]) -> Result<(), CannotSign> {
        let mut written = String::new();
        match scheme.timestamp.as_ref().map(|moment| &moment.at) {
            Some(MomentAt::Element(name)) => written = format!("{name}={stamp}{}", scheme.separator),
            Some(MomentAt::Json(path)) => self.put(&[place, path].concat(), stamp)?,
            Some(MomentAt::Header(_)) | None => {}
        }
        let headers = self.header_map()?;
        let query = self.query.as_deref().unwrap_or_default();
        let peer = Ipv4Addr::UNSPECIFIED.into();
        let request = Request { headers: &headers, body: &self.body, query, peer, certificate: None, document: None, roots: None };
        let bytes = if place.is_empty() { &self.body[..] } else { pick::raw_at(&self.body, place).unwrap_or_default() };
        let covered = Body { bytes, stamp: stamp.as_bytes(), name: b"", other_port: false };
        let pieces = signed::pieces(&scheme.signs, &request, &covered).map_err(CannotSign::NotThere)?;
        let tag = key.tag(pieces.iter().map(AsRef::as_ref)).ok_or(CannotSign::PublicKey)?;
        written.push_str(&scheme.prefix);
        written.push_str(&tag.written(scheme.encoding));
        match &scheme.place {
            Place::Header(name) => self.headers.push((name.clone(), written)),
            Place::Json(path) => self.put(&[place, path].concat(), &quoted(&written).to_string())?,
            Place::Query(_) => return Err(CannotSign::OfTheSender),
        }
        Ok(())
    }

    /// Writes a JSON value to its place in the body; all else stays as it is. What is missing on the way is made.
    fn put(&mut self, path: &[Box<str>], value: &str) -> Result<(), CannotSign> {
        let body = &*self.body;
        let no_place = || CannotSign::NoPlace(path.join("."));
        let found = (0..=path.len()).rev().find_map(|depth| Some((depth, pick::raw_at(body, path.get(..depth)?)?)));
        let (depth, there) = found.ok_or_else(no_place)?;
        let at = there.as_ptr().addr() - body.as_ptr().addr();
        let (from, to, text) = match path.get(depth..) {
            Some([first, below @ ..]) => {
                let inside = there.strip_prefix(b"{").ok_or_else(no_place)?;
                let comma = if inside.trim_ascii_start().starts_with(b"}") { "" } else { "," };
                let nested = below.iter().rev().fold(value.to_owned(), |value, name| format!("{{{}:{value}}}", quoted(name)));
                (at + 1, at + 1, format!("{}:{nested}{comma}", quoted(first)))
            }
            _ => (at, at + there.len(), value.to_owned()),
        };
        self.body = Cow::Owned([&body[..from], text.as_bytes(), &body[to..]].concat());
        Ok(())
    }
}

fn quoted(text: &str) -> serde_json::Value {
    text.into()
}
