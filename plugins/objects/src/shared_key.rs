//! Azure's Shared Key signature (learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key, version 2015-02-21 and later).
//!
//! Signed anew at every attempt, with the method, the standard headers, every `x-ms-` header and the path with its query.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::header::{AUTHORIZATION, HeaderValue};
use jiff::Timestamp;
use sha2::Sha256;
use std::collections::BTreeMap;
use std::fmt;
use switchyard_api::http::Request;

/// The standard headers in the order in which they are signed; `content-length` stands at its place by its own rule.
const SIGNED: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// An account and its key.
#[derive(Clone)]
pub struct SharedKey {
    account: String,
    key: Hmac<Sha256>,
}

/// Why a key is none. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an account's key is base64, and this is not")]
pub struct NoKey;

impl SharedKey {
    /// Reads a key.
    ///
    /// # Errors
    /// It is not base64.
    pub fn new(account: &str, key: &str) -> Result<Self, NoKey> {
        let key = STANDARD.decode(key).map_err(|_| NoKey)?;
        Ok(SharedKey { account: account.to_owned(), key: Hmac::new_from_slice(&key).map_err(|_| NoKey)? })
    }

    /// Signs a request with a body of that many bytes, at that time in milliseconds since 1970.
    pub fn sign(&self, request: &mut Request, length: usize, now: i64) {
        let at = Timestamp::from_millisecond(now).unwrap_or_default().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        if let Ok(at) = HeaderValue::from_str(&at) {
            request.headers_mut().insert("x-ms-date", at);
        }
        let mut mac = self.key.clone();
        mac.update(self.text(request, length).as_bytes());
        let proof = format!("SharedKey {}:{}", self.account, STANDARD.encode(mac.finalize().into_bytes()));
        if let Ok(mut proof) = HeaderValue::from_str(&proof) {
            proof.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, proof);
        }
    }

    /// What is signed.
    fn text(&self, request: &Request, length: usize) -> String {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().trim().to_owned();
        let mut lines = vec![request.method().to_string()];
        for name in SIGNED {
            lines.push(match (name, length) {
                // No body has no length; the time is in `x-ms-date`, which then counts alone.
                ("content-length", 0) | ("date", _) => String::new(),
                ("content-length", length) => length.to_string(),
                _ => header(name),
            });
        }
        let own: BTreeMap<&str, String> =
            request.headers().keys().map(http::HeaderName::as_str).filter(|n| n.starts_with("x-ms-")).map(|n| (n, header(n))).collect();
        lines.extend(own.iter().map(|(name, value)| format!("{name}:{value}")));
        lines.push(format!("/{}{}", self.account, request.uri().path()));
        lines.extend(parameters(request.uri().query().unwrap_or_default()));
        lines.join("\n")
    }
}

/// Our own queries have each name once and nothing that is encoded.
fn parameters(query: &str) -> Vec<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut lines: Vec<String> = pairs.map(|(name, value)| format!("{}:{value}", name.to_ascii_lowercase())).collect();
    lines.sort();
    lines
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedKey({})", self.account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::Full;

    fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Request {
        let mut request = http::Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::new(Bytes::new())).unwrap()
    }

    #[test]
    fn the_published_example_is_put_together_as_published() {
        // "Work with the Azure Storage REST API": Get Container Metadata.
        let key = SharedKey::new("myaccount", "bWFkZS11cA==").unwrap();
        let headers = [("x-ms-version", "2015-02-21"), ("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT")];
        let target = "/mycontainer?restype=container&comp=metadata&timeout=20";
        let expected = "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n/myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20";
        assert_eq!(key.text(&request("GET", target, &headers), 0), expected);
    }

    #[test]
    fn length_type_and_condition_stand_at_their_places() {
        let key = SharedKey::new("a", "bWFkZS11cA==").unwrap();
        let headers = [("content-type", "text/plain"), ("if-none-match", "*"), ("x-ms-blob-type", "BlockBlob"), ("date", "ignored")];
        let expected = "PUT\n\n\n7\n\ntext/plain\n\n\n\n*\n\n\nx-ms-blob-type:BlockBlob\n/a/c/b%3D1";
        assert_eq!(key.text(&request("PUT", "/c/b%3D1", &headers), 7), expected);
    }

    #[test]
    fn the_signature_is_one_hmac_and_shows_nothing_else() {
        let key = SharedKey::new("acme", "bWFkZS11cA==").unwrap();
        let mut signed = request("GET", "/c", &[]);
        key.sign(&mut signed, 0, 1_435_361_952_000);
        assert_eq!(signed.headers()["x-ms-date"], "Fri, 26 Jun 2015 23:39:12 GMT");
        assert!(signed.headers()[AUTHORIZATION].is_sensitive());
        assert_eq!(format!("{key:?}"), "SharedKey(acme)");
        assert_eq!(SharedKey::new("acme", "no base64").err(), Some(NoKey));
    }
}
