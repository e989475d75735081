//! From a parcel to the request that is sent. What does not change from delivery to delivery is made once.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Uri};
use std::fmt;
use std::sync::Arc;
use switchyard_api::http::auth::is_ours;
use switchyard_api::http::{Request, Signer, Url};
use switchyard_api::{Outcome, Parcel, Wall};

use crate::preset::Preset;

const EVENT: HeaderName = HeaderName::from_static("switchyard-event");
const DELIVERY: HeaderName = HeaderName::from_static("switchyard-delivery");
const ATTEMPT: HeaderName = HeaderName::from_static("switchyard-attempt");
const REPLAY: HeaderName = HeaderName::from_static("switchyard-replay");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The longest path that a message may append.
const PATH_MAX: usize = 1024;

/// All that stays the same between deliveries.
pub struct Draft {
    /// How it is called.
    pub method: http::Method,
    /// Where to.
    pub url: Url,
    /// The first line's part of `url`, for messages without a path.
    pub target: Uri,
    /// Query parameters that are set where `url` does not.
    pub query: Vec<(String, String)>,
    /// The destination's constants and our credentials.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Our name.
    pub user_agent: HeaderValue,
    /// Signs the body.
    pub signer: Option<Signer>,
    /// The destination's shape of a body.
    pub preset: Option<Arc<Preset>>,
    /// For the signature's time.
    pub wall: Wall,
}

/// Why a message cannot be sent. `Display` is one line without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotSend {
    /// A header's name that nobody may set, or that is none: the same for every event.
    #[error("`headers` sets `{0}`, which is not free to set; take it out")]
    Header(String),
    /// A value with a line end or another control character.
    #[error("the header `{0}` would hold a control character")]
    HeaderValue(String),
    /// A path that leaves its place, or is too long.
    #[error("the path made from this event is not a plain path below the URL's")]
    Path,
}

impl CannotSend {
    /// What this means for the delivery.
    pub fn outcome(&self) -> Outcome {
        let why = self.to_string();
        match self {
            CannotSend::Header(_) => Outcome::Misconfigured { why },
            CannotSend::HeaderValue(_) | CannotSend::Path => Outcome::Rejected { why },
        }
    }
}

impl Draft {
    /// The request for a parcel.
    ///
    /// # Errors
    /// Why it cannot be sent.
    pub fn request(&self, parcel: &Parcel) -> Result<Request, CannotSend> {
        let (body, content_type) = self.body(parcel);
        let mut request = Request::new(body.clone().into());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = match parcel.message.text("path") {
            None => self.target.clone(),
            Some(path) => self.url.target(Some(&plain_path(path)?), &self.query).map_err(|_| CannotSend::Path)?,
        };
        *request.headers_mut() = self.headers(parcel, &body, content_type)?;
        Ok(request)
    }

    fn body(&self, parcel: &Parcel) -> (Bytes, Option<HeaderValue>) {
        if let Some(preset) = &self.preset {
            return (preset.body(&parcel.message).into(), Some(JSON));
        }
        if let Some(text) = parcel.message.text("body") {
            return (Bytes::copy_from_slice(text.as_bytes()), Some(JSON));
        }
        if self.method == http::Method::GET {
            return (Bytes::new(), None);
        }
        let content_type = match parcel.payload_type() {
            "application/json" => JSON,
            other => HeaderValue::from_str(other).unwrap_or(BYTES),
        };
        (parcel.payload(), Some(content_type))
    }

    /// The message's own headers win over the constants, and nothing over what is ours.
    fn headers(&self, parcel: &Parcel, body: &[u8], content_type: Option<HeaderValue>) -> Result<HeaderMap, CannotSend> {
        let mut headers = HeaderMap::with_capacity(16);
        headers.insert(USER_AGENT, self.user_agent.clone());
        let delivery = value("switchyard-delivery", &parcel.delivery)?;
        headers.insert(IDEMPOTENCY_KEY, delivery.clone());
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, content_type);
        }
        for (name, constant) in &self.headers {
            headers.insert(name, constant.clone());
        }
        for (name, text) in parcel.message.map("headers").into_iter().flatten() {
            let known = HeaderName::try_from(name.as_str()).ok().filter(|name| !is_ours(name));
            headers.insert(known.ok_or_else(|| CannotSend::Header(name.clone()))?, value(name, text)?);
        }
        if let Some(signer) = &self.signer {
            let seconds = self.wall.millis().div_euclid(1000);
            headers.insert(WEBHOOK_ID, delivery.clone());
            headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(seconds));
            headers.insert(WEBHOOK_SIGNATURE, value("webhook-signature", &signer.sign(&parcel.delivery, seconds, body))?);
        }
        headers.insert(EVENT, value("switchyard-event", &parcel.event)?);
        headers.insert(DELIVERY, delivery);
        headers.insert(ATTEMPT, HeaderValue::from(parcel.attempt));
        if parcel.replay {
            headers.insert(REPLAY, HeaderValue::from_static("true"));
        }
        Ok(headers)
    }
}

impl fmt::Debug for Draft {
    /// Without `target`, `query` and `headers`: they hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Draft({} {})", self.method, self.url)
    }
}

fn value(name: &str, text: &str) -> Result<HeaderValue, CannotSend> {
    // Tabs are legal and yet nobody means them; other text goes as UTF-8.
    let plain = !text.chars().any(char::is_control);
    plain.then(|| HeaderValue::from_bytes(text.as_bytes()).ok()).flatten().ok_or_else(|| CannotSend::HeaderValue(name.to_owned()))
}

/// The path with everything percent-encoded that could end it, and no way up (L8).
fn plain_path(path: &str) -> Result<String, CannotSend> {
    use std::fmt::Write;
    if path.len() > PATH_MAX || path.split('/').any(|part| matches!(part, "." | "..")) {
        return Err(CannotSend::Path);
    }
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=:@".contains(&byte) {
            out.push(byte as char);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_stays_below_the_urls() {
        for (path, expected) in [("orders/7", Some("orders/7")), ("a?b#c%2e d", Some("a%3Fb%23c%252e%20d")), ("ü", Some("%C3%BC"))] {
            assert_eq!(plain_path(path).ok().as_deref(), expected);
        }
        for path in ["..", "a/../b", "./x", &"x".repeat(PATH_MAX + 1)] {
            assert_eq!(plain_path(path), Err(CannotSend::Path), "{path}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_event_says_is_one_path(path in "\\PC{0,40}") {
            if let Ok(plain) = plain_path(&path) {
                let url = Url::parse("https://a.example/v1?key=k").unwrap();
                let target = url.target(Some(&plain), &[]).unwrap();
                prop_assert!(target.path().starts_with("/v1/"));
                prop_assert_eq!(target.query(), Some("key=k"));
            }
        }

        #[test]
        fn a_header_is_one_line(text in "[\\x00-\\x7f]{0,20}") {
            let sent = value("x", &text);
            prop_assert_eq!(sent.is_ok(), !text.chars().any(char::is_control));
        }
    }
}
