//! Handshakes: what a sender asks before it sends events, to see that somebody is there. Data of its preset.
//!
//! Does: says the answer, as text or JSON. Never: takes a handshake for an event, answers one that is not proven where the sender proves it, reflects
//! more than [`MOST_BYTES`] or anything as HTML.

use super::elsewhere::Address;
use super::key::Key;
use super::pick::Pick;
use super::section::{self, Encoding};
use super::{Proof, Request, Verifier};
use crate::model::{envelope, equal};
use http::HeaderMap;
use serde::Deserialize;
use switchyard_api::{At, Secret};

/// Most bytes of a challenge that is given back.
pub const MOST_BYTES: usize = 1_024;

/// One handshake of a preset, as written there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Of a GET: the query's field that is given back as text.
    pub query: Option<String>,
    /// Of a GET: the query's field that must be the source's `verify_token`.
    pub token: Option<String>,
    /// Of an empty POST, before anything is proven: the query's field that is given back as text.
    pub posted: Option<String>,
    /// Of a proven POST: the path in its body that says that it is one,
    pub json: Option<At<String>>,
    /// what stands there,
    pub is: Option<String>,
    /// and the path at which nothing stands: with it, it is an event.
    pub without: Option<At<String>>,
    /// and the path whose text is given back,
    pub echo: Option<At<String>>,
    /// or whose text is given back with its HMAC by the secret that proved the request (Zoom),
    pub hash: Option<At<String>>,
    /// the latter as JSON under this name,
    pub wrap: Option<String>,
    /// or this JSON.
    pub answer: Option<String>,
    /// Or the path whose address is visited before the answer, on the hosts of the certificate.
    pub visit: Option<At<String>>,
    /// Of a POST that nothing proves: the path whose text is for people, who give it to the sender or to the file.
    pub unsigned: Option<At<String>>,
    /// Of an OPTIONS (CloudEvents, HTTP 1.1 Web Hooks, section 4): who asks is told that it may send.
    #[serde(default)]
    pub options: bool,
}

/// What a sender hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// 200 with plain text.
    Text(String),
    /// 200 with JSON.
    Json(String),
    /// 204.
    Nothing,
    /// 200 to an OPTIONS: who may send, and how many a minute, as it asked.
    Allowed {
        /// `WebHook-Allowed-Origin`.
        origin: String,
        /// `WebHook-Allowed-Rate`.
        rate: Option<u32>,
    },
    /// 200 once this was visited.
    Visit(Address),
    /// 200; people are shown this text.
    Show(String),
    /// 403: not the token.
    No,
    /// 401: nobody said that this is ours to confirm.
    Unnamed,
    /// 401: it is to be confirmed at an address that is none of the sender's.
    Foreign,
}

impl Verifier {
    /// The answer to a GET with this query, where the sender asks so.
    pub fn challenged(&self, query: &str) -> Option<Reply> {
        let section = self.preset?.handshake.iter().find(|handshake| handshake.query.is_some())?;
        if let Some(token) = &section.token {
            let given = field(query, token).unwrap_or_default();
            let known = |secret: &Secret| equal(secret.expose().as_bytes(), given.as_bytes());
            if !self.verify_tokens.iter().any(known) {
                return Some(Reply::No);
            }
        }
        let challenge = field(query, section.query.as_deref()?).filter(|text| !text.is_empty() && text.len() <= MOST_BYTES);
        Some(challenge.map_or(Reply::No, Reply::Text))
    }

    /// The answer to an OPTIONS with these headers, where the sender asks so.
    pub fn asked(&self, headers: &HeaderMap) -> Option<Reply> {
        self.preset?.handshake.iter().find(|handshake| handshake.options)?;
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let plain = |b: u8| b.is_ascii_alphanumeric() || b".-:_".contains(&b);
        let origin = text("webhook-request-origin").filter(|origin| !origin.is_empty() && origin.len() <= 255 && origin.bytes().all(plain));
        let rate = text("webhook-request-rate").and_then(|rate| rate.parse().ok()).filter(|rate| *rate > 0);
        Some(origin.map_or(Reply::No, |origin| Reply::Allowed { origin: origin.to_owned(), rate }))
    }

    /// What people are shown of a request that is not proven, where the sender begins so.
    pub fn unsigned(&self, request: &Request<'_>) -> Option<Reply> {
        let path = self.preset?.handshake.iter().find_map(|handshake| handshake.unsigned.as_ref())?;
        let pick = Pick::new(&section::Pick::Json(path.clone())).ok()?;
        let text = pick.read(request.headers, request.body).filter(|text| text.len() <= MOST_BYTES)?;
        // It is shown to people: nothing but what such a token is made of.
        text.bytes().all(|b| b.is_ascii_graphic()).then(|| Reply::Show(text.into_owned()))
    }

    /// The answer to an empty POST with this query, where the sender asks so.
    pub fn posted(&self, query: &str) -> Option<Reply> {
        let name = self.preset?.handshake.iter().find_map(|handshake| handshake.posted.as_deref())?;
        let challenge = field(query, name)?;
        let fits = !challenge.is_empty() && challenge.len() <= MOST_BYTES;
        Some(if fits { Reply::Text(challenge) } else { Reply::No })
    }

    /// The answer to a request that is a handshake, proven by the secret at this place; `None`: it is an event.
    pub fn shaken(&self, request: &Request<'_>, proven_by: Option<usize>) -> Option<Reply> {
        self.preset?.handshake.iter().find_map(|handshake| {
            let read = |path: &At<String>| {
                let pick = Pick::new(&section::Pick::Json(path.clone())).ok()?;
                pick.read(request.headers, request.body).map(std::borrow::Cow::into_owned)
            };
            let is = read(handshake.json.as_ref()?)?;
            if Some(&is) != handshake.is.as_ref() || handshake.without.as_ref().and_then(read).is_some() {
                return None;
            }
            let text = |path: &At<String>| read(path).filter(|text| text.len() <= MOST_BYTES);
            if let Some(path) = &handshake.visit {
                return Some(self.visited(&read(path)?));
            }
            match (&handshake.echo, &handshake.hash, &handshake.answer) {
                (Some(path), _, _) => text(path).map(|text| match &handshake.wrap {
                    Some(name) => Reply::Json(serde_json::json!({ name.as_str(): text }).to_string()),
                    None => Reply::Text(text),
                }),
                (_, Some(path), _) => self.hashed(&text(path)?, proven_by?),
                (_, _, Some(answer)) => Some(Reply::Json(answer.clone())),
                _ => Some(Reply::Nothing),
            }
        })
    }

    /// Nobody's but ours is confirmed, and nowhere but at the sender.
    fn visited(&self, address: &str) -> Reply {
        let Proof::Signature(scheme) = &self.proof else { return Reply::Unnamed };
        if scheme.names.is_empty() {
            return Reply::Unnamed;
        }
        let at = scheme.certificate.as_ref().and_then(|certificate| certificate.hosts.visit(address));
        at.map_or(Reply::Foreign, Reply::Visit)
    }

    /// By the secret that the sender has: while it is rotated that need not be the first.
    fn hashed(&self, plain: &str, proven_by: usize) -> Option<Reply> {
        let Proof::Signature(scheme) = &self.proof else { return None };
        let hash = |key: &Key| key.tag(std::iter::once(plain.as_bytes())).map(|tag| tag.written(Encoding::Hex));
        let encrypted = scheme.keys.get(proven_by).and_then(hash)?;
        Some(Reply::Json(serde_json::json!({ "plainToken": plain, "encryptedToken": encrypted }).to_string()))
    }
}

/// A field of a query, as it is meant; `None` where it is missing, or there more than once.
pub(super) fn field(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut found = pairs.filter(|(key, _)| envelope::unescape(key.as_bytes()) == name).map(|(_, value)| value);
    let value = found.next()?;
    found.next().is_none().then(|| envelope::unescape(value.as_bytes()))
}
