//! Shared tokens: bearer, basic, and a token alone in a header. Compared as SHA-256 digests in constant time, so that
//! neither content nor length shows in the time it takes.

use super::Refused;
use super::signature::only;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use switchyard_api::Secret;

/// A token that the sender shows.
pub(super) struct Token {
    pub header: HeaderName,
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
    pub fn new(header: HeaderName, word: Word, secrets: Vec<Secret>) -> Self {
        let digests = secrets.iter().map(|secret| Sha256::digest(secret.expose()).into()).collect();
        Token { header, word, secrets: secrets.into(), digests }
    }

    pub fn bearer(secrets: Vec<Secret>) -> Self {
        Token::new(AUTHORIZATION, Word::Bearer, secrets)
    }

    pub fn basic(user: &str, password: &Secret) -> Self {
        Token::new(AUTHORIZATION, Word::Basic, vec![Secret::new(format!("{user}:{}", password.expose()))])
    }

    pub fn verify(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let given = only(headers, &self.header)?;
        let malformed = || Refused::Malformed(self.header.clone());
        let digest: [u8; 32] = match self.word {
            Word::None => Sha256::digest(given),
            Word::Bearer => Sha256::digest(after(given, b"bearer").ok_or_else(malformed)?),
            Word::Basic => {
                let credentials = after(given, b"basic").and_then(|encoded| STANDARD.decode(encoded).ok());
                Sha256::digest(credentials.ok_or_else(malformed)?)
            }
        }
        .into();
        let known = self.digests.iter().any(|known| known.ct_eq(&digest).into());
        if known { Ok(()) } else { Err(Refused::Mismatch) }
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
fn after<'h>(value: &'h [u8], word: &[u8]) -> Option<&'h [u8]> {
    let (first, rest) = value.split_at_checked(word.len())?;
    (first.eq_ignore_ascii_case(word) && rest.first() == Some(&b' ')).then(|| rest.trim_ascii())
}
