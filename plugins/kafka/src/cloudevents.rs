//! A delivery as a CloudEvent 1.0, after the Kafka protocol binding (cloudevents/spec, `bindings/kafka-protocol-binding.md`).
//!
//! `id` is the stable delivery id, so a repeat is the same event to a consumer; `source` is the source's name, `type` the topic of the
//! event, `time` when it was received. A key is kept as the attribute `partitionkey` too. Never: changes the data.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use switchyard_api::Parcel;

/// The content type of a structured event.
pub const STRUCTURED: &str = "application/cloudevents+json; charset=UTF-8";

/// The attributes as headers: `ce_` before each name, values in UTF-8.
pub fn headers(parcel: &Parcel, key: Option<&str>) -> Vec<(String, Vec<u8>)> {
    attributes(parcel, key).into_iter().map(|(name, value)| (format!("ce_{name}"), value.into_bytes())).collect()
}

/// One JSON with attributes and data: JSON as it came, anything else in base64.
pub fn envelope(parcel: &Parcel, key: Option<&str>, data: &[u8]) -> Vec<u8> {
    let mut event: Map<String, Value> = attributes(parcel, key).into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    event.insert("datacontenttype".to_owned(), parcel.payload_type().into());
    let head = Value::Object(event).to_string();
    let (name, data) = match serde_json::from_slice::<&RawValue>(data) {
        Ok(json) if is_json(parcel.payload_type()) => ("data", json.get().to_owned()),
        _ => ("data_base64", format!("\"{}\"", STANDARD.encode(data))),
    };
    format!("{},\"{name}\":{data}}}", head.trim_end_matches('}')).into_bytes()
}

fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    kind.ends_with("/json") || kind.ends_with("+json")
}

fn attributes(parcel: &Parcel, key: Option<&str>) -> Vec<(&'static str, String)> {
    // An empty `type` or `source` is against the standard.
    let or_unknown = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
    let mut all = vec![
        ("specversion", "1.0".to_owned()),
        ("id", parcel.delivery.clone()),
        ("source", uri_reference(&or_unknown(&parcel.source))),
        ("type", or_unknown(&parcel.topic)),
    ];
    if let Ok(time) = jiff::Timestamp::from_millisecond(parcel.received_at) {
        all.push(("time", format!("{time:.3}")));
    }
    if let Some(key) = key.filter(|key| !key.is_empty()) {
        all.push(("partitionkey", key.to_owned()));
    }
    all
}

/// `source` is a URI-reference: what may not stand in one path segment is percent-encoded.
fn uri_reference(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_api::Message;
    use switchyard_api::conformance::parcel;

    fn text(headers: &[(String, Vec<u8>)], name: &str) -> Option<String> {
        headers.iter().find(|(there, _)| there == name).map(|(_, value)| String::from_utf8(value.clone()).unwrap())
    }

    #[test]
    fn attributes_are_headers_with_the_bindings_prefix() {
        let parcel = Parcel { source: "shop two".into(), ..parcel(7, &Message::default()) };
        let headers = headers(&parcel, Some("1042"));
        for (name, value) in [
            ("ce_specversion", "1.0"),
            ("ce_id", parcel.delivery.as_str()),
            ("ce_source", "shop%20two"),
            ("ce_type", "ORDER_PAID"),
            ("ce_time", "2026-03-02T10:00:00.000Z"),
            ("ce_partitionkey", "1042"),
        ] {
            assert_eq!(text(&headers, name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(headers.len(), 6);
    }

    #[test]
    fn a_structured_event_keeps_the_digits_of_its_data() {
        let event = envelope(&parcel(7, &Message::default()), None, b"{\"total\": 10.10, \"n\": 123456789012345678901}");
        let text = String::from_utf8(event).unwrap();
        assert!(text.ends_with(r#","data":{"total": 10.10, "n": 123456789012345678901}}"#), "{text}");
        let event: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((event["type"].as_str(), event["datacontenttype"].as_str()), (Some("ORDER_PAID"), Some("application/json")));
    }

    #[test]
    fn what_is_not_json_is_in_base64() {
        for (content_type, data) in
            [("application/json", "{\"a\":"), ("text/plain", "{\"a\": 1}"), ("application/octet-stream", "\u{0}\u{1}")]
        {
            let parcel = Parcel { content_type: Some(content_type.into()), ..parcel(7, &Message::default()) };
            let event: Value = serde_json::from_slice(&envelope(&parcel, None, data.as_bytes())).unwrap();
            assert_eq!(STANDARD.decode(event["data_base64"].as_str().unwrap()).unwrap(), data.as_bytes(), "{content_type}");
            assert_eq!(event.get("data"), None);
        }
    }
}
