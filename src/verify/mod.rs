//! Proof: was this request sent by who it says, and what is it about?
//!
//! Does: turns a source's section into a [`Verifier`]; verifies requests; signs as a sender would. Pure: the time comes in,
//! nothing is read or opened: what stands at other hosts is asked for before (`elsewhere.rs`). Never: takes a hash or a key from the request, quotes a secret or the request in an error
//! (L7), refuses a proven request for its content (L2), examines without a bound (L6).
//! Proven by the tests here and by `vectors.rs` over `tests/data/signatures.json`.

mod build;
mod chain;
#[cfg(test)]
mod chain_tests;
mod cover;
mod elsewhere;
#[cfg(test)]
mod elsewhere_tests;
pub mod handshake;
mod jwt;
mod key;
pub mod page;
mod pick;
#[cfg(test)]
mod pieces_tests;
pub(crate) mod presets;
#[cfg(test)]
mod reference_tests;
mod refused;
pub mod section;
mod sign;
#[cfg(test)]
mod sign_tests;
mod signature;
mod signed;
#[cfg(test)]
mod tests;
mod token;
#[cfg(test)]
mod vectors;

pub use build::network_of;
pub use chain::with_issuer;
pub use elsewhere::{Address, Documents, NoDocuments, NotThere};
pub use handshake::Reply;
pub use pick::MOST_BYTES;
pub use presets::{Preset, preset, presets};
pub use refused::{Far, Refused};
pub use section::Section;
pub use sign::{CannotSign, Draft, Signed};
pub use signature::MOST_CANDIDATES;

use crate::model::places::Path;
use crate::model::{SecretPlace, Timestamp};
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use pick::Pick;
use rustls::pki_types::{CertificateDer, ServerName};
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::Secret;
use switchyard_api::tls::Roots;

/// One source's proof, built.
pub struct Verifier {
    /// Networks that may send; empty: all.
    allow: Box<[IpNet]>,
    proof: Proof,
    topic: Option<Pick>,
    id: Option<Pick>,
    /// The topic of a request that names none.
    fallback: Arc<str>,
    window: Option<Duration>,
    gives_up_after: Option<u32>,
    preset: Option<&'static Preset>,
    /// What a handshake must show, where its preset says so.
    verify_tokens: Box<[Secret]>,
    /// What is gone by though its sender does not sign it, as paths of an event.
    believed: Box<[Box<str>]>,
    /// What a body must hold besides its proof, where it holds any.
    tokens: Option<jwt::Tokens>,
}

enum Proof {
    /// Said out loud: `verify: none`, or `allow` alone.
    None,
    Signature(Box<signature::Scheme>),
    Token(token::Token),
    /// A certificate that the listener proved, of one of these names; without any, of whatever name.
    Certificate(Box<[ServerName<'static>]>),
    Jwt(jwt::Jwt),
}

/// The parts of a request that proof looks at.
#[derive(Debug, Clone, Copy)]
pub struct Request<'r> {
    /// As they came.
    pub headers: &'r HeaderMap,
    /// The exact bytes.
    pub body: &'r [u8],
    /// The query of its URL, as it came.
    pub query: &'r str,
    /// The sender's address, behind the proxies that are trusted.
    pub peer: IpAddr,
    /// The certificate (DER) that the connection's other side showed and that is proven to be of the listener's `client_ca`.
    pub certificate: Option<&'r [u8]>,
    /// What stands at [`Verifier::key_at`], where that names an address.
    pub document: Option<&'r [u8]>,
    /// What the chain of a fetched certificate must end in, where [`Verifier::needs_roots`].
    pub roots: Option<&'r Roots>,
}

/// A proven request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What it is about, at most [`MOST_BYTES`].
    pub topic: Arc<str>,
    /// The sender's own id, at most [`MOST_BYTES`].
    pub sender_id: Option<Box<str>>,
    /// How long a repeat of it is a repeat; `None`: never.
    pub dedupe: Option<Duration>,
    /// By which of several secrets it was proven: [`Verifier::prove`] says it.
    pub signed_with: Option<SecretPlace>,
}

/// Whether a certificate is of one of these names; where there are none, of anybody.
fn is_of(certificate: &[u8], names: &[ServerName<'static>]) -> Result<(), Refused> {
    let certificate = CertificateDer::from(certificate);
    let certificate = webpki::EndEntityCert::try_from(&certificate).map_err(|_| Refused::OtherCertificate)?;
    let is = |name: &ServerName<'static>| certificate.verify_is_valid_for_subject_name(name).is_ok();
    if names.is_empty() || names.iter().any(is) { Ok(()) } else { Err(Refused::OtherCertificate) }
}

impl Verifier {
    /// Where the document stands that this request is proven with; `None`: it needs none. What can't be proven with any is refused here.
    pub fn key_at(&self, request: &Request<'_>, now: Timestamp) -> Result<Option<Address>, Refused> {
        match &self.proof {
            Proof::Signature(scheme) if scheme.certificate.is_some() => {
                self.admits(request.peer)?;
                scheme.address(request, now)
            }
            Proof::Jwt(jwt) => {
                self.admits(request.peer)?;
                jwt.place(request.headers, now).map(Some)
            }
            _ => {
                let Some(tokens) = &self.tokens else { return Ok(None) };
                self.shown(request, now)?;
                tokens.place(request.body, now)
            }
        }
    }

    /// Whether a chain of certificates is part of the proof.
    pub fn needs_roots(&self) -> bool {
        matches!(&self.proof, Proof::Signature(scheme) if scheme.certificate.is_some())
    }

    /// Where the issuer's certificate stands, for a document that [`Refused::UnknownIssuer`] was said of; `None`: it may not be asked for.
    pub fn issuer_at(&self, document: &[u8]) -> Option<Address> {
        let Proof::Signature(scheme) = &self.proof else { return None };
        scheme.certificate.as_ref()?.issuer(document)
    }

    fn admits(&self, peer: IpAddr) -> Result<(), Refused> {
        let peer = peer.to_canonical();
        let admitted = self.allow.is_empty() || self.allow.iter().any(|net| net.contains(&peer));
        if admitted { Ok(()) } else { Err(Refused::NotAllowed) }
    }

    /// Proves a request: by which of the source's secrets, from 0; `None`: by none of them.
    pub fn prove(&self, request: &Request<'_>, now: Timestamp) -> Result<Option<usize>, Refused> {
        let headers = self.under_their_names(request.headers);
        let request = &Request { headers: &headers, ..*request };
        let position = self.shown(request, now)?;
        if let Some(tokens) = &self.tokens {
            tokens.verify(request.body, request.document, now)?;
        }
        Ok(position)
    }

    fn shown(&self, request: &Request<'_>, now: Timestamp) -> Result<Option<usize>, Refused> {
        self.admits(request.peer)?;
        match &self.proof {
            Proof::None => Ok(None),
            Proof::Signature(scheme) => scheme.verify(request, now),
            Proof::Token(token) => token.verify(request).map(Some),
            Proof::Jwt(jwt) => jwt.verify(request.headers, request.document, now).map(|()| None),
            Proof::Certificate(names) => is_of(request.certificate.ok_or(Refused::NoCertificate)?, names).map(|()| None),
        }
    }

    /// The headers under the names that the preset reads, where they came under others. Where any came under its own name, none is renamed: two that
    /// say different things are not mixed.
    fn under_their_names<'h>(&self, headers: &'h HeaderMap) -> Cow<'h, HeaderMap> {
        let aliases = self.preset.map_or(&[][..], |preset| &preset.aliases);
        if aliases.is_empty() || aliases.iter().any(|(_, usual)| headers.contains_key(usual)) {
            return Cow::Borrowed(headers);
        }
        let mut renamed = headers.clone();
        for (other, usual) in aliases {
            for value in headers.get_all(other) {
                renamed.append(usual, value.clone());
            }
        }
        Cow::Owned(renamed)
    }

    /// How many secrets it has, of which one must hold.
    pub fn secrets(&self) -> usize {
        match &self.proof {
            Proof::Signature(scheme) => scheme.keys.len(),
            Proof::Token(token) => token.secrets.len(),
            Proof::None | Proof::Jwt(_) | Proof::Certificate(_) => 0,
        }
    }

    /// Reads topic and id from a request that is proven; its body may have been decoded since.
    pub fn read(&self, request: &Request<'_>) -> Verified {
        let headers = self.under_their_names(request.headers);
        let request = &Request { headers: &headers, ..*request };
        Verified { topic: self.topic(request), sender_id: self.sender_id(request), dedupe: self.window, signed_with: None }
    }

    /// The header that holds the secret itself, so must not be kept (L7).
    pub fn secret_header(&self) -> Option<&HeaderName> {
        match &self.proof {
            Proof::Token(token) => token.header(),
            Proof::Jwt(jwt) => Some(&jwt.header),
            Proof::None | Proof::Signature(_) | Proof::Certificate(_) => None,
        }
    }

    /// The field of the query that is the secret itself, so must not be kept (L7).
    pub fn secret_query(&self) -> Option<&str> {
        if let Proof::Token(token) = &self.proof { token.query() } else { None }
    }

    /// The paths in the body at which the secret itself may stand, so must not be kept (L7).
    pub fn secret_paths(&self) -> Vec<Box<[Box<str>]>> {
        match &self.proof {
            Proof::Token(token) => token.paths(),
            Proof::None | Proof::Signature(_) | Proof::Certificate(_) | Proof::Jwt(_) => vec![],
        }
    }

    /// Whether it is proven by a certificate of the listener's `client_ca`.
    pub fn needs_certificate(&self) -> bool {
        matches!(self.proof, Proof::Certificate(_))
    }

    /// Topic and sender's id of one element of a body, where that has them itself.
    pub fn read_item(&self, headers: &HeaderMap, item: &[u8]) -> (Option<Arc<str>>, Option<Box<str>>) {
        let own = |pick: &Option<Pick>| pick.clone().filter(|pick| matches!(pick, Pick::Json(_) | Pick::Start(..)));
        let topic = own(&self.topic).and_then(|pick| pick.read(headers, item).map(|topic| pick::bounded_topic(&topic)));
        let id = own(&self.id).and_then(|pick| pick.read(headers, item).map(|id| pick::bounded_id(&id)));
        (topic, id)
    }

    /// The preset that it was made from.
    pub fn preset(&self) -> Option<&'static Preset> {
        self.preset
    }

    /// How long a repeat of its events is a repeat.
    pub fn window(&self) -> Option<Duration> {
        self.window
    }

    /// Values of a body that are another in each repeat.
    pub fn varies(&self) -> &'static [Path] {
        self.preset.map_or(&[], |preset| &preset.varies)
    }

    /// How long its sender waits for an answer, where that is known.
    pub fn waits(&self) -> Option<Duration> {
        self.preset?.waits.map(|waits| waits.0)
    }

    /// After how many failures in a row its sender gives us up, where that is known.
    pub fn gives_up_after(&self) -> Option<u32> {
        self.gives_up_after
    }

    /// What a request would be about, proven or not.
    pub fn topic(&self, request: &Request<'_>) -> Arc<str> {
        match &self.topic {
            Some(Pick::Fixed(word)) => Arc::clone(word),
            Some(pick) => {
                pick.read(request.headers, request.body).map_or_else(|| Arc::clone(&self.fallback), |topic| pick::bounded_topic(&topic))
            }
            None => Arc::clone(&self.fallback),
        }
    }

    fn sender_id(&self, request: &Request<'_>) -> Option<Box<str>> {
        let id = self.id.as_ref()?.read(request.headers, request.body)?;
        Some(pick::bounded_id(&id))
    }
}
