//! Shared tokens: bearer, basic, and a token alone in a header. Compared as SHA-256 digests in constant time, so that
//! neither content nor length shows in the time it takes.

use super::pick::{self, Steps};
use super::signature::Place;
use super::{Refused, Request};
use crate::model::equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use switchyard_api::Secret;

/// A token that the sender shows.
pub(super) struct Token {
    pub place: Place,
    /// The list each of whose elements shows it; empty: the body does.
    pub items: Steps,
    pub word: Word,
    /// Of `Basic`, `user:password`. Any may hold.
    pub secrets: Box<[Secret]>,
    digests: Box<[[u8; 32]]>,
}

/// What stands before the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Bearer,
    Basic,
    /// Nothing: the header is the token.
    None,
}

impl Token {
    pub fn new(place: Place, items: Steps, word: Word, secrets: Vec<Secret>) -> Self {
        let digests = secrets.iter().map(|secret| Sha256::digest(secret.expose()).into()).collect();
        Token { place, items, word, secrets: secrets.into(), digests }
    }

    pub fn bearer(secrets: Vec<Secret>) -> Self {
        Token::new(Place::Header(AUTHORIZATION), Box::default(), Word::Bearer, secrets)
    }

    pub fn basic(user: &str, password: &Secret) -> Self {
        Token::new(Place::Header(AUTHORIZATION), Box::default(), Word::Basic, vec![Secret::new(format!("{user}:{}", password.expose()))])
    }

    /// The header that holds it, if one does.
    pub fn header(&self) -> Option<&HeaderName> {
        match &self.place {
            Place::Header(name) => Some(name),
            Place::Json(_) | Place::Query(_) => None,
        }
    }

    /// The field of the URL's query that holds it, if one does.
    pub fn query(&self) -> Option<&str> {
        if let Place::Query(name) = &self.place { Some(name) } else { None }
    }

    /// Where in a body, and in one of its elements, it stands.
    pub fn paths(&self) -> Vec<Steps> {
        let Place::Json(path) = &self.place else { return vec![] };
        vec![path.clone(), self.items.iter().chain(path).cloned().collect()]
    }

    /// Which of the secrets is shown; of several elements the last.
    pub fn verify(&self, request: &Request<'_>) -> Result<usize, Refused> {
        if self.items.is_empty() {
            return self.verify_one(request, request.body);
        }
        let items = pick::elements(request.body, &self.items).ok_or_else(|| Refused::NoItems(self.items.join(".")))?;
        items.into_iter().try_fold(0, |last, item| Ok(self.verify_one(request, item)?.max(last)))
    }

    fn verify_one(&self, request: &Request<'_>, body: &[u8]) -> Result<usize, Refused> {
        let given = &*self.place.read(request, body)?;
        let malformed = || self.place.malformed();
        let digest: [u8; 32] = match self.word {
            Word::None => Sha256::digest(given),
            Word::Bearer => Sha256::digest(after(given, b"bearer").ok_or_else(malformed)?),
            Word::Basic => {
                let credentials = after(given, b"basic").and_then(|encoded| STANDARD.decode(encoded).ok());
                Sha256::digest(credentials.ok_or_else(malformed)?)
            }
        }
        .into();
        self.digests.iter().position(|known| equal(known, &digest)).ok_or(Refused::Mismatch)
    }

    /// The header's value as the sender writes it.
    pub fn written(&self) -> Option<String> {
        let secret = self.secrets.first()?.expose();
        Some(match self.word {
            Word::None => secret.to_owned(),
            Word::Bearer => format!("Bearer {secret}"),
            Word::Basic => format!("Basic {}", STANDARD.encode(secret)),
        })
    }
}

/// What follows the scheme's word (of any case) and spaces.
pub(super) fn after<'h>(value: &'h [u8], word: &[u8]) -> Option<&'h [u8]> {
    let (first, rest) = value.split_at_checked(word.len())?;
    (first.eq_ignore_ascii_case(word) && rest.first() == Some(&b' ')).then(|| rest.trim_ascii())
}
