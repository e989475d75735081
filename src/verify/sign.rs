//! Signing as a sender would: what `switchyard send` and `switchyard sign` add to an event so that it is accepted.

use super::pick::Pick;
use super::section::Unit;
use super::signature::{MomentAt, Place, Scheme};
use super::signed::Part;
use super::{Proof, Verifier};
use crate::model::Timestamp;
use http::{HeaderName, HeaderValue};

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

/// Why a draft cannot be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotSign {
    /// The sender signs with a private key, and the file has the public one.
    #[error("this source is proven by a public key: only its sender can sign")]
    PublicKey,
    /// The signature or the token stands in the body, or covers pieces of it that a draft does not tell apart.
    #[error("this sender puts its proof into the body, or signs pieces of a request: only the sender can make it")]
    InBody,
    /// The signature covers a header that a draft does not fill.
    #[error("the signature covers the header `{0}`, which neither topic, id nor time fills")]
    NoValue(HeaderName),
    /// The signature covers the id, and the draft has none.
    #[error("the signature covers the id in `{0}`: give one")]
    NoId(HeaderName),
    /// A value with characters that no header can hold.
    #[error("the value for the header `{0}` holds characters that a header cannot")]
    NotAHeader(HeaderName),
    /// The source has no key; building it would have failed.
    #[error("the source has no secret")]
    NoSecret,
}

impl Verifier {
    /// The headers that a sender would add to this draft, in an order without meaning. With several secrets the first signs.
    ///
    /// A topic or an id that the source reads from the body is not added: the body is sent as it is.
    pub fn sign(&self, draft: &Draft<'_>, now: Timestamp) -> Result<Vec<(String, String)>, CannotSign> {
        let mut headers = vec![];
        if let Some(Pick::Header(name)) = &self.topic {
            headers.push((name.clone(), draft.topic.to_owned()));
        }
        if let (Some(Pick::Header(name)), Some(id)) = (&self.id, draft.id) {
            headers.push((name.clone(), id.to_owned()));
        }
        match &self.proof {
            Proof::None | Proof::Certificate(_) => {}
            Proof::Jwt(_) => return Err(CannotSign::PublicKey),
            Proof::Token(token) => {
                let name = token.header().ok_or(CannotSign::InBody)?;
                headers.push((name.clone(), token.written().ok_or(CannotSign::NoSecret)?));
            }
            Proof::Signature(scheme) => self.signature(scheme, draft, now, &mut headers)?,
        }
        match headers.iter().find(|(_, value)| HeaderValue::from_str(value).is_err()) {
            Some((name, _)) => Err(CannotSign::NotAHeader(name.clone())),
            None => Ok(headers.into_iter().map(|(name, value)| (name.as_str().to_owned(), value)).collect()),
        }
    }

    fn signature(
        &self,
        scheme: &Scheme,
        draft: &Draft<'_>,
        now: Timestamp,
        headers: &mut Vec<(HeaderName, String)>,
    ) -> Result<(), CannotSign> {
        if scheme.certificate.is_some() {
            return Err(CannotSign::PublicKey);
        }
        let Place::Header(place) = &scheme.place else { return Err(CannotSign::InBody) };
        let in_millis = scheme.timestamp.as_ref().is_some_and(|moment| moment.unit == Unit::Ms);
        let stamp = if in_millis { now.0 } else { now.0.div_euclid(1_000) }.to_string();
        let mut written = String::new();
        match scheme.timestamp.as_ref().map(|moment| &moment.at) {
            Some(MomentAt::Header(name)) => headers.push((name.clone(), stamp.clone())),
            Some(MomentAt::Element(name)) => written = format!("{name}={stamp}{}", scheme.separator),
            // One in the body is sent as it is.
            Some(MomentAt::Json(_)) | None => {}
        }
        let mut pieces: Vec<&[u8]> = vec![];
        for part in &scheme.signs {
            pieces.push(match part {
                Part::Text(text) | Part::Url { written: text, .. } => text.as_bytes(),
                Part::Body => draft.body,
                Part::Timestamp => stamp.as_bytes(),
                Part::Form | Part::Json(_) | Part::Raw(_) | Part::Lines(_) | Part::Crc32 | Part::Secret => return Err(CannotSign::InBody),
                Part::Header(name) => match headers.iter().find(|(there, _)| there == name) {
                    Some((_, value)) => value.as_bytes(),
                    None if matches!(&self.id, Some(Pick::Header(id)) if id == name) => return Err(CannotSign::NoId(name.clone())),
                    None => return Err(CannotSign::NoValue(name.clone())),
                },
            });
        }
        let key = scheme.keys.first().ok_or(CannotSign::NoSecret)?;
        let tag = key.tag(pieces.into_iter()).ok_or(CannotSign::PublicKey)?;
        written.push_str(&scheme.prefix);
        written.push_str(&tag.written(scheme.encoding));
        headers.push((place.clone(), written));
        Ok(())
    }
}
