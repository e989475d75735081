//! One delivery as one line.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use std::fmt::Write;
use switchyard_api::Parcel;

/// The line of a delivery, with its line end: the template's text, or an object with ids, times and the payload.
///
/// A JSON payload stands in it as it came, digits and order kept; other text under `raw`; bytes under `raw_base64`.
pub fn line(parcel: &Parcel) -> Vec<u8> {
    let mut line = match parcel.message.text("line") {
        Some(text) => text.trim_end().to_owned(),
        None => object(parcel),
    }
    .into_bytes();
    // Strict JSON has line ends only between its words; in any other text a line is still one line.
    for byte in &mut line {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    line.push(b'\n');
    line
}

fn object(parcel: &Parcel) -> String {
    let payload = parcel.payload();
    let mut out = String::with_capacity(payload.len() + 320);
    let received_at = Timestamp::from_millisecond(parcel.received_at).unwrap_or_default();
    let _ = write!(
        out,
        r#"{{"delivery":{},"event":{},"source":{},"topic":{},"route":{},"received_at":"{received_at:.3}","attempt":{}"#,
        quoted(&parcel.delivery),
        quoted(&parcel.event),
        quoted(&parcel.source),
        quoted(&parcel.topic),
        quoted(&parcel.route),
        parcel.attempt,
    );
    if parcel.replay {
        out.push_str(r#","replay":true"#);
    }
    let strict = serde_json::from_slice::<serde::de::IgnoredAny>(&payload).is_ok();
    match std::str::from_utf8(&payload) {
        Ok(json) if strict => {
            out.push_str(r#","data":"#);
            out.push_str(json.trim());
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

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;
    use std::sync::Arc;
    use switchyard_api::conformance::parcel;
    use switchyard_api::{Message, Rendered};

    fn written(raw: &'static [u8]) -> String {
        let parcel = Parcel { raw: Bytes::from_static(raw), ..parcel(1, &Message::default()) };
        String::from_utf8(line(&parcel)).unwrap()
    }

    #[test]
    fn a_json_payload_stands_as_it_came_and_other_bytes_beside() {
        let start = concat!(
            r#"{"delivery":"dlv_00000000000000000000000000000001","event":"evt_00000000000000000000000000000001","#,
            r#""source":"orderchamp","topic":"ORDER_PAID","route":"all","received_at":"2026-03-02T10:00:00.000Z","attempt":1,"#
        );
        for (raw, rest) in [
            (
                &b"{\n  \"b\": 1.10,\r\n  \"a\": 12345678901234567890\n}\n"[..],
                "\"data\":{   \"b\": 1.10,    \"a\": 12345678901234567890 }}\n",
            ),
            (b"<order/>\n", "\"raw\":\"<order/>\\n\"}\n"),
            (b"", "\"raw\":\"\"}\n"),
            (b"\xff\x00", "\"raw_base64\":\"/wA=\"}\n"),
        ] {
            assert_eq!(written(raw), format!("{start}{rest}"));
        }
    }

    #[test]
    fn a_template_makes_one_line_whatever_stands_in_it() {
        let message = Message { payload: None, fields: [("line".to_owned(), Rendered::Text("a\nb\r\n\n".into()))].into() };
        assert_eq!(line(&parcel(1, &message)), b"a b\n");
    }

    proptest! {
        #[test]
        fn every_payload_is_one_readable_line(raw in proptest::collection::vec(any::<u8>(), 0..60), topic in "\\PC{0,20}") {
            let parcel = Parcel { raw: raw.clone().into(), topic: Arc::from(topic.as_str()), ..parcel(1, &Message::default()) };
            let line = line(&parcel);
            prop_assert_eq!(line.iter().position(|b| matches!(b, b'\n' | b'\r')), Some(line.len() - 1));
            let read: serde_json::Value = serde_json::from_slice(&line).unwrap();
            prop_assert_eq!(read["topic"].as_str(), Some(topic.as_str()));
        }
    }
}
