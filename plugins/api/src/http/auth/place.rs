//! Where in a request a proof is written: a header, a parameter of the URL, a field of the body.

use super::endpoint::NotProven;
use super::is_ours;
use crate::http::client::Request;
use ::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use ::http::uri::PathAndQuery;
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Full};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The name of a header that is free to prove oneself with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(pub HeaderName);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let name = HeaderName::try_from(text.as_str()).ok().filter(|name| !is_ours(name));
        name.map(Name)
            .ok_or_else(|| serde::de::Error::custom("this is not a header to prove oneself with: write a name such as `X-Signature`"))
    }
}

/// A place in a request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub enum Place {
    /// This header.
    Header(HeaderName),
    /// This parameter of the URL.
    Query(String),
    /// This field of the body, which is one JSON object or a form.
    Body(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    header: Option<Name>,
    query: Option<String>,
    body: Option<String>,
}

impl TryFrom<Written> for Place {
    type Error = &'static str;
    fn try_from(written: Written) -> Result<Self, Self::Error> {
        match written {
            Written { header: Some(Name(name)), query: None, body: None } => Ok(Place::Header(name)),
            Written { header: None, query: Some(name), body: None } if !name.is_empty() => Ok(Place::Query(name)),
            Written { header: None, query: None, body: Some(name) } if !name.is_empty() => Ok(Place::Body(name)),
            _ => Err("a place is one thing: write `{ header: NAME }`, `{ query: NAME }` or `{ body: NAME }`"),
        }
    }
}

impl Place {
    /// Writes a value there.
    ///
    /// # Errors
    /// This one message has no such place.
    pub(super) fn put(&self, request: &mut Request, value: &str) -> Result<(), NotProven> {
        match self {
            Place::Header(name) => {
                let mut value = HeaderValue::from_str(value).map_err(|_| unfit(format!("no value for the header `{name}`")))?;
                value.set_sensitive(true);
                request.headers_mut().insert(name.clone(), value);
                Ok(())
            }
            Place::Query(name) => put_query(request, name, value),
            Place::Body(name) => put_body(request, name, value),
        }
    }
}

/// The bytes of a request's body.
pub fn body_of(request: &Request) -> Bytes {
    // A full body is there at once and cannot fail.
    request.body().clone().collect().now_or_never().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default()
}

/// Appends a parameter to the URL.
pub(super) fn put_query(request: &mut Request, name: &str, value: &str) -> Result<(), NotProven> {
    let target = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let joint = if target.contains('?') { '&' } else { '?' };
    let target = format!("{target}{joint}{}={}", encoded(name), encoded(value));
    let parsed = target.parse().map_err(|_| unfit("its URL is too long".into()))?;
    *request.uri_mut() = parsed;
    Ok(())
}

fn put_body(request: &mut Request, name: &str, value: &str) -> Result<(), NotProven> {
    let body = body_of(request);
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let form = kind.starts_with("application/x-www-form-urlencoded");
    let signed = if form { Some(with_parameter(&body, name, value)) } else { with_field(&body, name, value) };
    let signed =
        signed.ok_or_else(|| unfit(format!("its body has no room for the field `{name}`: it must be one JSON object without it")))?;
    *request.body_mut() = Full::new(signed);
    Ok(())
}

fn with_parameter(body: &[u8], name: &str, value: &str) -> Bytes {
    let joint = if body.is_empty() { "" } else { "&" };
    [body, joint.as_bytes(), encoded(name).as_bytes(), b"=", encoded(value).as_bytes()].concat().into()
}

/// Written in as text, so that the numbers of the body keep their digits. A field that is there already could be the event's.
fn with_field(body: &[u8], name: &str, value: &str) -> Option<Bytes> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(body).ok()?;
    if fields.contains_key(name) {
        return None;
    }
    let open = body.iter().position(|byte| *byte == b'{')?;
    let (head, rest) = body.split_at_checked(open + 1)?;
    let (name, value) = (serde_json::Value::from(name).to_string(), serde_json::Value::from(value).to_string());
    let joint = if fields.is_empty() { "" } else { "," };
    Some([head, format!("{name}:{value}{joint}").as_bytes(), rest].concat().into())
}

/// Percent-encoded but for the unreserved characters of RFC 3986.
pub(super) fn encoded(text: &str) -> String {
    encoded_but(text.as_bytes(), b"")
}

/// As [`encoded`], leaving these bytes too.
pub(super) fn encoded_but(bytes: &[u8], left: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) || left.contains(byte) {
            out.push(char::from(*byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// `%XX` taken back; what is none stays.
pub(super) fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let pair = bytes.get(at + 1..at + 3).filter(|_| *byte == b'%').and_then(|pair| hex::decode(pair).ok());
        match pair.as_deref() {
            Some([decoded]) => {
                out.push(*decoded);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

fn unfit(why: String) -> NotProven {
    NotProven::Unfit { why: format!("the request cannot be signed: {why}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(target: &str, kind: &str, body: &str) -> Request {
        let request = ::http::Request::post(target).header("content-type", kind);
        request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
    }
    fn signed(kind: &str, body: &str) -> Result<String, NotProven> {
        let mut request = request("/", kind, body);
        Place::Body("sign".into()).put(&mut request, "a\"b&c").map(|()| String::from_utf8(body_of(&request).to_vec()).unwrap())
    }

    #[test]
    fn a_field_goes_into_an_object_and_leaves_the_rest_as_it_was() {
        let json = |body: &str| signed("application/json", body).unwrap();
        assert_eq!(json(r#" {"total": 1.10}"#), r#" {"sign":"a\"b&c","total": 1.10}"#);
        assert_eq!(json("{ }"), r#"{"sign":"a\"b&c" }"#);
        assert_eq!(signed("application/x-www-form-urlencoded; charset=utf-8", "a=1").unwrap(), "a=1&sign=a%22b%26c");
        for body in [r#"{"sign":"theirs"}"#, r#"{"si\u0067n":1}"#, "[]", "", "text", r#"{"a":1"#] {
            assert!(matches!(signed("application/json", body), Err(NotProven::Unfit { .. })), "{body}");
        }
    }

    #[test]
    fn a_parameter_is_appended_and_encoded() {
        for (target, expected) in [("/a", "/a?k=x%20%26%2F%C3%BC"), ("/a?b=1", "/a?b=1&k=x%20%26%2F%C3%BC")] {
            let mut request = request(target, "", "");
            Place::Query("k".into()).put(&mut request, "x &/ü").unwrap();
            assert_eq!(request.uri(), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(text in "\\PC{0,40}") {
            prop_assert_eq!(decoded(&encoded(&text)), text.as_bytes());
            prop_assert!(encoded(&text).is_ascii());
        }

        #[test]
        fn an_object_with_a_field_more_is_an_object_with_a_field_more(keys in proptest::collection::btree_map("\\PC{0,6}", any::<i64>(), 0..5), value in "\\PC{0,10}") {
            let body = serde_json::to_vec(&keys).unwrap();
            match with_field(&body, "sign", &value) {
                None => prop_assert!(keys.contains_key("sign")),
                Some(signed) => {
                    let read: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&signed).unwrap();
                    prop_assert_eq!(read.len(), keys.len() + 1);
                    prop_assert_eq!(read["sign"].as_str(), Some(value.as_str()));
                }
            }
        }
    }
}
