//! One delivery as one line of JSON: what outputs that keep events (files, objects) write where the message says nothing else.
//!
//! `delivery` (the stable id: a repeat has the same), `event`, `source`, `topic`, `route`, `received_at`, `attempt` where it is asked
//! for, `replay` on replays, and the payload: JSON as it came, digits and order kept, under `data`; other text under `raw`; bytes
//! under `raw_base64`. Never: more than one line.

use crate::Parcel;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use std::borrow::Cow;
use std::fmt::Write;

/// The object of a delivery, without a line end; with `attempt` where the record may differ from try to try.
pub fn record(parcel: &Parcel, attempt: Option<u32>) -> String {
    let payload = parcel.payload();
    let mut out = String::with_capacity(payload.len() + 320);
    let received_at = Timestamp::from_millisecond(parcel.received_at).unwrap_or_default();
    // Writing to a text cannot fail.
    let _ = write!(
        out,
        r#"{{"delivery":{},"event":{},"source":{},"topic":{},"route":{},"received_at":"{received_at:.3}""#,
        quoted(&parcel.delivery),
        quoted(&parcel.event),
        quoted(&parcel.source),
        quoted(&parcel.topic),
        quoted(&parcel.route),
    );
    if let Some(attempt) = attempt {
        let _ = write!(out, r#","attempt":{attempt}"#);
    }
    if parcel.replay {
        out.push_str(r#","replay":true"#);
    }
    let strict = serde_json::from_slice::<serde::de::IgnoredAny>(&payload).is_ok();
    match std::str::from_utf8(&payload) {
        Ok(json) if strict => {
            out.push_str(r#","data":"#);
            // Strict JSON has line ends only between its words.
            out.push_str(&one_line(json.trim()));
        }
        Ok(text) => {
            out.push_str(r#","raw":"#);
            out.push_str(&quoted(text));
        }
        Err(_) => {
            out.push_str(r#","raw_base64":""#);
            STANDARD.encode_string(&payload, &mut out);
            out.push('"');
        }
    }
    out.push('}');
    out
}

/// The text with each line end as a space.
pub fn one_line(text: &str) -> Cow<'_, str> {
    // Most are one line: looking for one letter at a time is many times as fast as replacing.
    if text.contains('\n') || text.contains('\r') { text.replace(['\n', '\r'], " ").into() } else { text.into() }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;
    use crate::conformance::parcel;
    use bytes::Bytes;
    use proptest::prelude::*;
    use std::sync::Arc;

    #[test]
    fn a_json_payload_stands_as_it_came_and_other_bytes_beside() {
        let start = concat!(
            r#"{"delivery":"dlv_00000000000000000000000000000001","event":"evt_00000000000000000000000000000001","#,
            r#""source":"orderchamp","topic":"ORDER_PAID","route":"all","received_at":"2026-03-02T10:00:00.000Z""#
        );
        for (raw, rest) in [
            (&b"{\n  \"b\": 1.10,\r\n  \"a\": 12345678901234567890\n}\n"[..], r#""data":{   "b": 1.10,    "a": 12345678901234567890 }}"#),
            (b"<order/>\n", r#""raw":"<order/>\n"}"#),
            (b"", r#""raw":""}"#),
            (b"\xff\x00", r#""raw_base64":"/wA="}"#),
        ] {
            let parcel = Parcel { raw: Bytes::from_static(raw), ..parcel(1, &Message::default()) };
            assert_eq!(record(&parcel, Some(1)), format!(r#"{start},"attempt":1,{rest}"#));
            assert_eq!(record(&parcel, None), format!("{start},{rest}"));
        }
        let again = Parcel { replay: true, ..parcel(1, &Message::default()) };
        assert_eq!(record(&again, None), format!(r#"{start},"replay":true,"data":{{"number":1}}}}"#));
    }

    proptest! {
        #[test]
        fn every_payload_is_one_readable_line(raw in proptest::collection::vec(any::<u8>(), 0..60), topic in "\\PC{0,20}") {
            let parcel = Parcel { raw: raw.clone().into(), topic: Arc::from(topic.as_str()), ..parcel(1, &Message::default()) };
            let line = record(&parcel, None);
            prop_assert!(!line.contains(['\n', '\r']));
            let read: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(read["topic"].as_str(), Some(topic.as_str()));
        }
    }
}
