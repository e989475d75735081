//! The Standard Webhooks signature on what we send (standard-webhooks specification, "Signature scheme", version `v1`).
//!
//! `webhook-id` is the delivery id, `webhook-timestamp` the seconds of this attempt, `webhook-signature` one
//! `v1,base64(HMAC-SHA256(secret, "{id}.{timestamp}.{body}"))` a secret, separated by spaces.

use crate::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use sha2::Sha256;
use std::fmt;

/// One secret, or several while one replaces another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secrets(pub Vec<Secret>);

/// Why a text is no signing secret. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// None at all.
    #[error("there is no signing secret")]
    None,
    /// Not base64.
    #[error("a signing secret is `whsec_` and base64")]
    Form,
    /// Too weak or too long by the specification.
    #[error("a signing secret has 24 to 64 bytes; this one has {0}")]
    Length(usize),
}

/// Signs bodies, with the keys ready.
#[derive(Clone)]
pub struct Signer(Vec<Hmac<Sha256>>);

impl Signer {
    /// Reads the secrets; the prefix `whsec_` may be missing, as the specification's own libraries allow.
    ///
    /// # Errors
    /// Why one of them is no secret.
    pub fn new(secrets: &Secrets) -> Result<Self, SignError> {
        if secrets.0.is_empty() {
            return Err(SignError::None);
        }
        secrets.0.iter().map(key).collect::<Result<_, _>>().map(Signer)
    }

    /// The value of `webhook-signature` for an id without `.`, seconds since 1970, and the bytes of the body.
    pub fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        let mut out = String::with_capacity(self.0.len() * 48);
        for key in &self.0 {
            let mut mac = key.clone();
            mac.update(id.as_bytes());
            mac.update(b".");
            mac.update(seconds.to_string().as_bytes());
            mac.update(b".");
            mac.update(body);
            if !out.is_empty() {
                out.push(' ');
            }
            out.push_str("v1,");
            STANDARD.encode_string(mac.finalize().into_bytes(), &mut out);
        }
        out
    }
}

fn key(secret: &Secret) -> Result<Hmac<Sha256>, SignError> {
    let text = secret.expose();
    let bytes = STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).map_err(|_| SignError::Form)?;
    let bytes = zeroize::Zeroizing::new(bytes);
    if !(24..=64).contains(&bytes.len()) {
        return Err(SignError::Length(bytes.len()));
    }
    Hmac::new_from_slice(&bytes).map_err(|_| SignError::Length(bytes.len()))
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({} secrets)", self.0.len())
    }
}

impl<'de> Deserialize<'de> for Secrets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Secrets;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a secret, or a list of them")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Secrets, E> {
                Ok(Secrets(vec![Secret::new(text)]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Secrets, A::Error> {
                let mut all = vec![];
                while let Some(secret) = items.next_element()? {
                    all.push(secret);
                }
                Ok(Secrets(all))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(secrets: &[&str]) -> Result<Signer, SignError> {
        Signer::new(&Secrets(secrets.iter().map(|s| Secret::new(*s)).collect()))
    }

    #[test]
    fn the_published_vector_is_signed_as_published() {
        // standard-webhooks, libraries/go/webhook_test.go, TestWebhookSign.
        let published = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let sign =
            |secrets: &[&str]| signer(secrets).unwrap().sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(sign(&[published]), expected);
        assert_eq!(sign(&["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]), expected);
        let both = sign(&["whsec_bWFkZS11cC1zZWNyZXQtb2YtMzItYnl0ZXMhISEhISE=", published]);
        assert_eq!(both.split(' ').count(), 2);
        assert!(both.ends_with(expected));
    }

    #[test]
    fn what_is_no_secret_is_refused_without_being_quoted() {
        for (secrets, wrong) in [
            (&[][..], SignError::None),
            (&["whsec_***"], SignError::Form),
            (&["whsec_aHVzaA=="], SignError::Length(4)),
            (&[""], SignError::Length(0)),
        ] {
            let error = signer(secrets).unwrap_err();
            assert_eq!(error, wrong);
            assert!(!error.to_string().contains("aHVz"));
        }
    }

    #[test]
    fn one_secret_or_a_list_can_be_written() {
        let one: Secrets = serde_json::from_str(r#""a""#).unwrap();
        let two: Secrets = serde_json::from_str(r#"["a", "b"]"#).unwrap();
        assert_eq!((one.0.len(), two.0.len()), (1, 2));
        assert!(!format!("{two:?}").contains('b'));
    }
}
