//! One delivery as the line that a program reads.
//!
//! Strict JSON on one line: whatever the event holds, it stands inside quotes (L8).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use switchyard_api::Parcel;

/// Most bytes of a line that goes to a program; a delivery whose line is longer is rejected.
pub const LINE_MAX: usize = 16 << 20;

/// The keys of a line, in their order.
#[derive(Serialize)]
struct Line<'a> {
    delivery: &'a str,
    event: &'a str,
    attempt: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replay: bool,
    source: &'a str,
    topic: &'a str,
    route: &'a str,
    received_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    payload_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a BTreeMap<String, String>>,
}

/// The line of a delivery, with its line end; or why there is none.
pub fn line(parcel: &Parcel) -> Result<Vec<u8>, String> {
    let payload = parcel.payload();
    // Control characters take six bytes as JSON: nothing is built that could not be sent.
    let (text, base64) = match std::str::from_utf8(&payload) {
        _ if payload.len() > LINE_MAX => (None, None),
        Ok(text) => (Some(Cow::Borrowed(text)), None),
        Err(_) => (None, Some(STANDARD.encode(&payload))),
    };
    let line = Line {
        delivery: &parcel.delivery,
        event: &parcel.event,
        attempt: parcel.attempt,
        replay: parcel.replay,
        source: &parcel.source,
        topic: &parcel.topic,
        route: &parcel.route,
        received_at: format!("{:.3}", Timestamp::from_millisecond(parcel.received_at).unwrap_or_default()),
        payload: text,
        payload_base64: base64,
        payload_type: parcel.payload_type(),
        message: parcel.message.map("message"),
    };
    // Texts and numbers are always JSON.
    let mut bytes = serde_json::to_vec(&line).map_err(|error| format!("no line can be made of it: {error}"))?;
    bytes.push(b'\n');
    let length = bytes.len().max(payload.len());
    if length > LINE_MAX { Err(format!("its line has {length} bytes, more than the {LINE_MAX} that go to a program")) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use switchyard_api::conformance::parcel;
    use switchyard_api::{Message, Rendered};

    fn with(raw: &[u8], payload: Option<&str>) -> Parcel {
        let message = Message { payload: payload.map(str::to_owned), ..Message::default() };
        Parcel { raw: raw.to_vec().into(), ..parcel(1, &message) }
    }
    fn read(parcel: &Parcel) -> serde_json::Value {
        serde_json::from_slice(&line(parcel).unwrap()).unwrap()
    }

    #[test]
    fn a_line_has_ids_times_and_the_exact_payload() {
        let text = String::from_utf8(line(&with(b"{\"total\": 1.10}", None)).unwrap()).unwrap();
        let expected = r#"{"delivery":"dlv_00000000000000000000000000000001","event":"evt_00000000000000000000000000000001","attempt":1,"source":"orderchamp","topic":"ORDER_PAID","route":"all","received_at":"2026-03-02T10:00:00.000Z","payload":"{\"total\": 1.10}","payload_type":"application/json"}"#;
        assert_eq!(text, format!("{expected}\n"));
        let replay = read(&Parcel { attempt: 3, replay: true, ..with(b"x", Some("[1]")) });
        assert_eq!((&replay["attempt"], &replay["replay"], &replay["payload"]), (&3.into(), &true.into(), &"[1]".into()));
        assert_eq!(read(&with(b"\xff\0", None))["payload_base64"], "/wA=");
    }

    #[test]
    fn the_message_of_the_file_is_handed_over() {
        let message = Rendered::Map([("room".to_owned(), "sales\n\u{1b}".to_owned())].into());
        let message = Message { fields: [("message".to_owned(), message)].into(), ..Message::default() };
        assert_eq!(read(&parcel(1, &message))["message"], serde_json::json!({ "room": "sales\n\u{1b}" }));
    }

    #[test]
    fn what_is_too_long_has_no_line() {
        for raw in [vec![b'x'; LINE_MAX + 1], vec![0; LINE_MAX / 6]] {
            assert!(line(&with(&raw, None)).unwrap_err().contains("more than"));
        }
        assert!(line(&with(&vec![b'x'; LINE_MAX - 1024], None)).is_ok());
    }

    proptest! {
        #[test]
        fn a_line_is_one_line_whatever_the_event_holds(raw in prop::collection::vec(any::<u8>(), 0..64), topic in ".*", value in ".*") {
            let message = Rendered::Map([(value.clone(), value)].into());
            let message = Message { fields: [("message".to_owned(), message)].into(), ..Message::default() };
            let parcel = Parcel { raw: raw.clone().into(), topic: topic.as_str().into(), ..parcel(1, &message) };
            let line = line(&parcel).unwrap();
            prop_assert_eq!(line.iter().filter(|byte| **byte < 0x20).count(), 1);
            let read: serde_json::Value = serde_json::from_slice(&line).unwrap();
            prop_assert_eq!(read["topic"].as_str(), Some(topic.as_str()));
            let payload = read["payload"].as_str().map(|text| text.as_bytes().to_vec());
            prop_assert_eq!(payload.or_else(|| STANDARD.decode(read["payload_base64"].as_str()?).ok()), Some(raw));
        }
    }
}
