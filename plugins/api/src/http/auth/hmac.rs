//! A signed text in header, query or body: what Lark, DingTalk, HubSpot and many own APIs ask for.
//!
//! `key` and `signs` are templates of what is known here: `{secret}`, `{timestamp}`, `{method}`, `{url}` (scheme, host, path
//! and query), `{path}` (path and query), `{body}` (the bytes as they are sent, but for the fields put in here).

use super::AuthError;
use super::endpoint::NotProven;
use super::place::{Place, body_of};
use crate::Secret;
use crate::http::client::Request;
use crate::http::url::Url;
use ::hmac::{Hmac, KeyInit, Mac};
use ::http::uri::PathAndQuery;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer};

/// How a text is signed and where the signature goes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HmacSign {
    /// The secret.
    pub secret: Secret,
    /// What is signed.   example: "{timestamp}.{body}"
    pub signs: Text,
    /// What it is signed with.   default: "{secret}"
    #[serde(default = "secret_alone")]
    pub key: Text,
    /// By which hash.   default: sha256
    #[serde(default)]
    pub hash: HashKind,
    /// How the signature is written.   default: base64
    #[serde(default)]
    pub encoding: Encoding,
    /// What stands before it.   example: "sha256="
    #[serde(default)]
    pub prefix: String,
    /// Where it goes.
    pub into: Place,
    /// The time that is signed, and where it goes.
    #[serde(default)]
    pub timestamp: Option<Stamp>,
}

/// The time as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// In what.   default: s
    #[serde(default)]
    pub unit: StampUnit,
    /// Where it goes.
    pub into: Place,
}

/// What a time counts since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum StampUnit {
    /// Seconds.
    #[default]
    #[serde(rename = "s")]
    Seconds,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Millis,
}

/// A hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HashKind {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// How bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Base64.
    #[default]
    Base64,
    /// Base64 for URLs, without `=`.
    Base64url,
    /// Lower-case hex.
    Hex,
}

/// A text with places for what is known when a request is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Secret,
    Timestamp,
    Method,
    Url,
    Path,
    Body,
}

fn secret_alone() -> Text {
    Text(vec![Part::Secret])
}

impl Text {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut parts, mut rest) = (vec![], text);
        while let Some((before, after)) = rest.split_once('{') {
            if !before.is_empty() {
                parts.push(Part::Literal(before.to_owned()));
            }
            let (name, more) = after.split_once('}').ok_or("a `{` is not closed: write `{body}`")?;
            parts.push(match name {
                "secret" => Part::Secret,
                "timestamp" => Part::Timestamp,
                "method" => Part::Method,
                "url" => Part::Url,
                "path" => Part::Path,
                "body" => Part::Body,
                _ => {
                    return Err(
                        "this signs what is not known: write `{secret}`, `{timestamp}`, `{method}`, `{url}`, `{path}` or `{body}`".into()
                    );
                }
            });
            rest = more;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Text(parts))
    }

    fn uses_time(&self) -> bool {
        self.0.contains(&Part::Timestamp)
    }

    fn filled(&self, known: &Known<'_>) -> Vec<u8> {
        let mut out = vec![];
        for part in &self.0 {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Secret => out.extend_from_slice(known.secret.as_bytes()),
                Part::Timestamp => out.extend_from_slice(known.timestamp.as_bytes()),
                Part::Method => out.extend_from_slice(known.method.as_bytes()),
                Part::Url => out.extend_from_slice(format!("{}{}", known.url, known.path).as_bytes()),
                Part::Path => out.extend_from_slice(known.path.as_bytes()),
                Part::Body => out.extend_from_slice(known.body),
            }
        }
        out
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Text::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

struct Known<'k> {
    secret: &'k str,
    timestamp: String,
    method: &'k str,
    url: &'k Url,
    path: &'k str,
    body: &'k [u8],
}

impl HmacSign {
    /// Whether what is signed holds a time that nobody is told.
    pub(super) fn check(&self) -> Result<(), AuthError> {
        super::filled("secret", self.secret.expose())?;
        let untold = (self.signs.uses_time() || self.key.uses_time()) && self.timestamp.is_none();
        if untold { Err(AuthError::UntoldTime) } else { Ok(()) }
    }

    /// Signs a request. `now` is in milliseconds since 1970.
    pub(super) fn sign(&self, request: &mut Request, url: &Url, now: i64) -> Result<(), NotProven> {
        let body = body_of(request);
        let unit = self.timestamp.as_ref().map_or(StampUnit::Seconds, |stamp| stamp.unit);
        let known = Known {
            secret: self.secret.expose(),
            timestamp: if unit == StampUnit::Millis { now } else { now.div_euclid(1000) }.to_string(),
            method: request.method().as_str(),
            url,
            path: request.uri().path_and_query().map_or("/", PathAndQuery::as_str),
            body: &body,
        };
        let bytes = self.hash.mac(&self.key.filled(&known), &self.signs.filled(&known));
        let signature = format!("{}{}", self.prefix, self.encoding.write(&bytes));
        let timestamp = known.timestamp;
        self.into.put(request, &signature)?;
        self.timestamp.as_ref().map_or(Ok(()), |stamp| stamp.into.put(request, &timestamp))
    }
}

impl HashKind {
    fn mac(self, key: &[u8], text: &[u8]) -> Vec<u8> {
        fn by<M: Mac + KeyInit>(key: &[u8], text: &[u8]) -> Vec<u8> {
            // HMAC takes a key of any length.
            let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else { return vec![] };
            mac.update(text);
            mac.finalize().into_bytes().to_vec()
        }
        match self {
            HashKind::Sha1 => by::<Hmac<sha1::Sha1>>(key, text),
            HashKind::Sha256 => by::<Hmac<sha2::Sha256>>(key, text),
            HashKind::Sha384 => by::<Hmac<sha2::Sha384>>(key, text),
            HashKind::Sha512 => by::<Hmac<sha2::Sha512>>(key, text),
        }
    }
}

impl Encoding {
    fn write(self, bytes: &[u8]) -> String {
        match self {
            Encoding::Base64 => STANDARD.encode(bytes),
            Encoding::Base64url => URL_SAFE_NO_PAD.encode(bytes),
            Encoding::Hex => hex::encode(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::Full;
    use proptest::prelude::*;

    /// 2026-03-02T10:00:00.250Z
    const NOW: i64 = 1_772_445_600_250;

    fn signed(settings: &str, target: &str, body: &str) -> Request {
        let settings: HmacSign = serde_json::from_str(settings).unwrap();
        settings.check().unwrap();
        let request = ::http::Request::post(target).header("content-type", "application/json");
        let mut request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
        settings.sign(&mut request, &Url::parse("https://api.example/base").unwrap(), NOW).unwrap();
        request
    }
    fn mac(key: &str, text: &str) -> String {
        STANDARD.encode(HashKind::Sha256.mac(key.as_bytes(), text.as_bytes()))
    }

    #[test]
    fn lark_signs_nothing_with_time_and_secret_as_key_into_the_body() {
        let settings = r#"{"secret": "made-up", "key": "{timestamp}\n{secret}", "signs": "", "into": {"body": "sign"},
            "timestamp": {"into": {"body": "timestamp"}}}"#;
        let request = signed(settings, "/hook", r#"{"msg_type":"text"}"#);
        let body: serde_json::Value = serde_json::from_slice(&body_of(&request)).unwrap();
        assert_eq!(body, serde_json::json!({"msg_type": "text", "timestamp": "1772445600", "sign": mac("1772445600\nmade-up", "")}));
    }

    #[test]
    fn dingtalk_signs_time_and_secret_into_the_query() {
        let settings = r#"{"secret": "made-up", "signs": "{timestamp}\n{secret}", "into": {"query": "sign"},
            "timestamp": {"unit": "ms", "into": {"query": "timestamp"}}}"#;
        let request = signed(settings, "/robot/send?access_token=x", "{}");
        let signature = super::super::place::encoded(&mac("made-up", "1772445600250\nmade-up"));
        assert_eq!(request.uri().to_string(), format!("/robot/send?access_token=x&sign={signature}&timestamp=1772445600250"));
    }

    #[test]
    fn a_request_as_a_whole_is_signed_into_a_header() {
        let settings = r#"{"secret": "made-up", "signs": "{method}{url}{body}{timestamp}", "encoding": "hex", "prefix": "v3=",
            "into": {"header": "X-Signature"}, "timestamp": {"unit": "ms", "into": {"header": "X-Timestamp"}}}"#;
        let request = signed(settings, "/in?a=1", r#"{"x":1}"#);
        let expected = hex::encode(HashKind::Sha256.mac(b"made-up", b"POSThttps://api.example/in?a=1{\"x\":1}1772445600250"));
        assert_eq!(request.headers()["x-signature"], format!("v3={expected}"));
        assert_eq!(request.headers()["x-timestamp"], "1772445600250");
        assert_eq!(&body_of(&request)[..], br#"{"x":1}"#);
    }

    #[test]
    fn the_macs_are_those_of_rfc_4231_and_rfc_2202() {
        let (key, text) = (b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex::encode(HashKind::Sha1.mac(key, text)), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        assert_eq!(hex::encode(HashKind::Sha256.mac(key, text)), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert!(hex::encode(HashKind::Sha384.mac(key, text)).starts_with("af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47"));
        assert!(hex::encode(HashKind::Sha512.mac(key, text)).starts_with("164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd6"));
    }

    #[test]
    fn a_time_that_nobody_is_told_is_a_mistake() {
        let settings: HmacSign = serde_json::from_str(r#"{"secret": "x", "signs": "{timestamp}", "into": {"header": "x-sign"}}"#).unwrap();
        assert_eq!(settings.check(), Err(AuthError::UntoldTime));
    }

    proptest! {
        #[test]
        fn no_template_is_a_panic_and_a_good_one_reads_back(text in "[a-z{}\\n.]{0,30}") {
            if let Ok(read) = Text::parse(&text) {
                let open = read.0.iter().any(|part| matches!(part, Part::Literal(literal) if literal.contains('{')));
                prop_assert!(!open);
            }
        }
    }
}
