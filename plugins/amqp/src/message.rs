//! From a parcel to the message that is published.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use switchyard_api::headers::headers;
use switchyard_api::{Outcome, Parcel, Preview};

use crate::SHORT_MAX;

/// Kept on the broker's disk.
const PERSISTENT: u8 = 2;
const APP: &str = "switchyard";

/// The routing key, the body and its properties.
///
/// # Errors
/// What this means for the delivery.
pub fn message(parcel: &Parcel) -> Result<(ShortString, Bytes, BasicProperties), Outcome> {
    let key = parcel.message.text("routing_key").unwrap_or_default();
    let refused = |why: &str| Outcome::Rejected { why: why.to_owned() };
    if key.chars().any(char::is_control) {
        return Err(refused("the routing key made from this event holds a control character"));
    }
    let key = short(key).ok_or_else(|| refused("the routing key made from this event has more than 255 bytes"))?;
    let mut table = FieldTable::default();
    for (name, value) in headers(parcel).map_err(|wrong| wrong.outcome())? {
        // `headers` lets no longer name through.
        let name = short(&name).ok_or_else(|| refused("a header's name has more than 255 bytes"))?;
        table.insert(name, AMQPValue::LongString(LongString::from(value)));
    }
    let (payload, content_type) = match parcel.message.text("body") {
        Some(body) => (Bytes::copy_from_slice(body.as_bytes()), "application/json"),
        None => (parcel.payload(), parcel.payload_type()),
    };
    let mut properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_timestamp(parcel.received_at.div_euclid(1000).try_into().unwrap_or_default())
        .with_headers(table);
    if let (Some(id), Some(app)) = (short(&parcel.delivery), short(APP)) {
        properties = properties.with_message_id(id).with_app_id(app);
    }
    // It comes from the request: what is too long for the property is left out.
    if let Some(content_type) = short(content_type) {
        properties = properties.with_content_type(content_type);
    }
    Ok((key, payload, properties))
}

/// The same as a person reads it.
///
/// # Errors
/// Why it would not be sent.
pub fn preview(parcel: &Parcel, exchange: Option<&str>) -> Result<Preview, String> {
    let (key, body, properties) = message(parcel).map_err(|outcome| outcome.text().to_owned())?;
    let named = |name: &str, value: Option<&ShortString>| value.map(|value| (name.to_owned(), value.to_string()));
    let own = [
        named("routing_key", Some(&key)),
        named("message_id", properties.message_id().as_ref()),
        named("app_id", properties.app_id().as_ref()),
        named("content_type", properties.content_type().as_ref()),
    ];
    let text = |value: &AMQPValue| value.as_long_string().map(ToString::to_string).unwrap_or_default();
    let table = properties.headers().iter().flat_map(FieldTable::inner);
    Ok(Preview {
        properties: own.into_iter().flatten().collect(),
        headers: table.map(|(name, value)| (name.to_string(), text(value))).collect(),
        body,
        ..Preview::new("PUBLISH", exchange.unwrap_or("(default exchange)"))
    })
}

fn short(text: &str) -> Option<ShortString> {
    (text.len() <= SHORT_MAX).then(|| ShortString::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_api::conformance::parcel;
    use switchyard_api::{Message, Rendered};

    fn with(key: &str) -> Result<(ShortString, Bytes, BasicProperties), Outcome> {
        message(&parcel(7, &Message { fields: [("routing_key".to_owned(), Rendered::Text(key.to_owned()))].into(), ..Message::default() }))
    }

    #[test]
    fn a_message_is_persistent_and_bears_the_stable_id() {
        let (key, payload, properties) = with("orders.NL").unwrap();
        assert_eq!((key.as_str(), &payload[..]), ("orders.NL", &br#"{"number":7}"#[..]));
        assert_eq!((properties.delivery_mode(), properties.timestamp()), (&Some(2), &Some(1_772_445_600)));
        assert_eq!(properties.message_id().as_ref().map(ShortString::as_str), Some(parcel(7, &Message::default()).delivery.as_str()));
    }

    #[test]
    fn a_key_that_the_protocol_cannot_write_is_rejected() {
        assert!(with(&"x".repeat(255)).is_ok());
        for key in ["x".repeat(256), "a\0b".to_owned(), "a\r\n".to_owned()] {
            assert_eq!(with(&key).unwrap_err().word(), "rejected");
        }
    }
}
