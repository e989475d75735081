//! Deliveries as CloudEvents 1.0 (cloudevents/spec, HTTP protocol binding): `id` is the delivery's, `source` is `/` and the
//! source's name, `type` is the topic, `time` is when it was received.

use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use switchyard_api::Parcel;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// How a CloudEvent is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The payload is the body, the rest stands in headers `ce-…`.
    Binary,
    /// All of it is one JSON object.
    Structured,
    /// Several of those in a list.
    Batch,
}

impl Mode {
    /// The content type; `None`: the payload's.
    pub fn content_type(self) -> Option<HeaderValue> {
        match self {
            Mode::Binary => None,
            Mode::Structured => Some(HeaderValue::from_static("application/cloudevents+json; charset=UTF-8")),
            Mode::Batch => Some(HeaderValue::from_static("application/cloudevents-batch+json; charset=UTF-8")),
        }
    }
}

fn time(parcel: &Parcel) -> String {
    jiff::Timestamp::from_millisecond(parcel.received_at).map(|at| at.to_string()).unwrap_or_default()
}

fn source(parcel: &Parcel) -> String {
    format!("/{}", parcel.source)
}

/// The headers of the binary mode, each value percent-encoded as the binding says (section 3.1.3.2).
pub fn headers(parcel: &Parcel) -> Vec<(HeaderName, HeaderValue)> {
    let all = [
        (HeaderName::from_static("ce-specversion"), "1.0".to_owned()),
        (HeaderName::from_static("ce-id"), parcel.delivery.clone()),
        (HeaderName::from_static("ce-source"), source(parcel)),
        (HeaderName::from_static("ce-type"), parcel.topic.to_string()),
        (HeaderName::from_static("ce-time"), time(parcel)),
    ];
    // Encoded text is printable ASCII, which every header can carry.
    all.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::from_str(&encoded(&value)).ok()?))).collect()
}

fn encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (0x21..=0x7e).contains(&byte) && byte != b'"' && byte != b'%' {
            out.push(byte as char);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The whole event as one JSON object.
pub fn structured(parcel: &Parcel) -> String {
    let payload = parcel.payload();
    let kind = parcel.payload_type();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let json = essence == "application/json" || essence.ends_with("+json");
    let data = match std::str::from_utf8(&payload) {
        Ok(text) if json && serde_json::from_str::<&RawValue>(text).is_ok() => {
            format!("\"data\":{}", text.trim().replace(['\n', '\r'], " "))
        }
        Ok(text) if !json && (essence.starts_with("text/") || essence.ends_with("xml")) => format!("\"data\":{}", Value::from(text)),
        _ => format!("\"data_base64\":{}", Value::from(STANDARD.encode(&payload))),
    };
    let text = |text: &str| Value::from(text).to_string();
    format!(
        r#"{{"specversion":"1.0","id":{},"source":{},"type":{},"time":{},"datacontenttype":{},{data}}}"#,
        text(&parcel.delivery),
        text(&source(parcel)),
        text(&parcel.topic),
        text(&time(parcel)),
        text(kind),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_api::Message;
    use switchyard_api::conformance::parcel;

    fn of(raw: &'static [u8], kind: &str) -> Parcel {
        Parcel { raw: raw.into(), content_type: Some(kind.into()), topic: "a \"b\" 100% ü".into(), ..parcel(1, &Message::default()) }
    }

    #[test]
    fn header_values_are_encoded_as_the_binding_says() {
        let headers = headers(&of(b"", "text/plain"));
        let kind = headers.iter().find(|(name, _)| name == "ce-type").unwrap();
        assert_eq!(kind.1, "a%20%22b%22%20100%25%20%C3%BC");
        assert_eq!(headers.len(), 5);
    }

    #[test]
    fn data_keeps_its_digits_and_its_bytes() {
        for (raw, kind, expected) in [
            (&b"{\"a\": 1.10,\n\"b\":12345678901234567890.5}"[..], "application/json", r#""data":{"a": 1.10, "b":12345678901234567890.5}"#),
            (b"not json", "application/json", r#""data_base64":"bm90IGpzb24=""#),
            (b"a\"b", "text/plain; charset=utf-8", r#""data":"a\"b""#),
            (b"\xff\x00", "application/octet-stream", r#""data_base64":"/wA=""#),
            (b"{}", "application/vnd.shop+json", r#""data":{}"#),
        ] {
            let written = structured(&of(raw, kind));
            assert!(written.contains(expected), "{written}");
            let json: Value = serde_json::from_str(&written).unwrap();
            assert_eq!(
                (&json["specversion"], &json["source"], &json["time"]),
                (&"1.0".into(), &"/orderchamp".into(), &"2026-03-02T10:00:00Z".into())
            );
        }
    }
}
