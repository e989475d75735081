//! Handshakes: what a sender asks before it sends events, to see that somebody is there. Data of its preset.
//!
//! Does: says the answer, as text or JSON. Never: takes a handshake for an event, answers one that is not proven where the sender proves it, reflects
//! more than [`MOST_BYTES`] or anything as HTML.

use super::pick::Pick;
use super::section::{self, Encoding};
use super::signature::Key;
use super::{Proof, Request, Verifier};
use crate::model::envelope;
use serde::Deserialize;
use subtle::ConstantTimeEq;
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
    /// and the path whose text is given back,
    pub echo: Option<At<String>>,
    /// or whose text is given back with its HMAC by the source's secret (Zoom),
    pub hash: Option<At<String>>,
    /// or this JSON.
    pub answer: Option<String>,
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
    /// 401: not the token.
    No,
}

impl Verifier {
    /// The answer to a GET with this query, where the sender asks so.
    pub fn challenged(&self, query: &str) -> Option<Reply> {
        let section = self.preset?.handshake.iter().find(|handshake| handshake.query.is_some())?;
        let form = field(query);
        if let Some(token) = &section.token {
            let given = form(token).unwrap_or_default();
            let known = |secret: &Secret| bool::from(secret.expose().as_bytes().ct_eq(given.as_bytes()));
            if !self.verify_tokens.iter().any(known) {
                return Some(Reply::No);
            }
        }
        let challenge = form(section.query.as_deref()?).filter(|text| !text.is_empty() && text.len() <= MOST_BYTES);
        Some(challenge.map_or(Reply::No, Reply::Text))
    }

    /// The answer to an empty POST with this query, where the sender asks so.
    pub fn posted(&self, query: &str) -> Option<Reply> {
        let name = self.preset?.handshake.iter().find_map(|handshake| handshake.posted.as_deref())?;
        let challenge = field(query)(name)?;
        let fits = !challenge.is_empty() && challenge.len() <= MOST_BYTES;
        Some(if fits { Reply::Text(challenge) } else { Reply::No })
    }

    /// The answer to a proven request that is a handshake; `None`: it is an event.
    pub fn shaken(&self, request: &Request<'_>) -> Option<Reply> {
        self.preset?.handshake.iter().find_map(|handshake| {
            let read = |path: &At<String>| {
                let pick = Pick::new(&section::Pick::Json(path.clone())).ok()?;
                pick.read(request.headers, request.body).map(std::borrow::Cow::into_owned)
            };
            let is = read(handshake.json.as_ref()?)?;
            if Some(&is) != handshake.is.as_ref() {
                return None;
            }
            let text = |path: &At<String>| read(path).filter(|text| text.len() <= MOST_BYTES);
            match (&handshake.echo, &handshake.hash, &handshake.answer) {
                (Some(path), _, _) => text(path).map(Reply::Text),
                (_, Some(path), _) => self.hashed(&text(path)?),
                (_, _, Some(answer)) => Some(Reply::Json(answer.clone())),
                _ => Some(Reply::Nothing),
            }
        })
    }

    fn hashed(&self, plain: &str) -> Option<Reply> {
        let Proof::Signature(scheme) = &self.proof else { return None };
        let hash = |key: &Key| key.tag(std::iter::once(plain.as_bytes())).map(|tag| tag.written(Encoding::Hex));
        let encrypted = scheme.keys.first().and_then(hash)?;
        Some(Reply::Json(serde_json::json!({ "plainToken": plain, "encryptedToken": encrypted }).to_string()))
    }
}

/// A field of a query, as it is meant.
fn field(query: &str) -> impl Fn(&str) -> Option<String> + '_ {
    move |name| {
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let found = pairs.map(|(key, value)| (envelope::unescape(key.as_bytes()), value)).find(|(key, _)| key == name);
        found.map(|(_, value)| envelope::unescape(value.as_bytes()))
    }
}
