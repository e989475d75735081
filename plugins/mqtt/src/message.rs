//! From a parcel to the packet that is published.

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
use switchyard_api::headers::headers;
use switchyard_api::{Outcome, Parcel, Preview};

use crate::too_long;

/// What is the same for every message.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shape {
    /// Whether the broker keeps the last message of a topic.
    pub retain: bool,
    /// Seconds after which the broker drops it.
    pub expires: Option<u32>,
}

/// The packet, without its number.
///
/// # Errors
/// What this means for the delivery.
pub fn message(parcel: &Parcel, shape: Shape, packet_max: usize) -> Result<Publish, Outcome> {
    let rejected = |why: String| Outcome::Rejected { why };
    let topic = parcel.message.text("topic").unwrap_or_default();
    if !is_topic(topic) {
        return Err(rejected(
            "the topic made from this event is none: 1 to 65,535 bytes without `+`, `#` and control characters".to_owned(),
        ));
    }
    let user_properties = headers(parcel).map_err(|wrong| wrong.outcome())?;
    if let Some((name, _)) = user_properties.iter().find(|(_, value)| too_long(Some(value))) {
        return Err(rejected(format!("the header `{name}` would have more than 65,535 bytes")));
    }
    let (payload, content_type) = match parcel.message.text("body") {
        Some(body) => (Bytes::copy_from_slice(body.as_bytes()), "application/json"),
        None => (parcel.payload(), parcel.payload_type()),
    };
    let properties = PublishProperties {
        message_expiry_interval: shape.expires,
        user_properties,
        // It comes from the request: what is no text of the protocol is left out.
        content_type: Some(content_type).filter(|kind| !too_long(Some(kind)) && !kind.chars().any(char::is_control)).map(str::to_owned),
        ..PublishProperties::default()
    };
    let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload, Some(properties));
    publish.retain = shape.retain;
    // Its number is given as it is written, and counts already.
    publish.pkid = 1;
    if publish.size() > packet_max {
        return Err(rejected(format!("a packet of {} bytes, and the broker takes {packet_max}", publish.size())));
    }
    Ok(publish)
}

/// The same as a person reads it; what the broker takes is not asked.
///
/// # Errors
/// Why it would not be sent.
pub fn preview(parcel: &Parcel, shape: Shape) -> Result<Preview, String> {
    let publish = message(parcel, shape, usize::MAX).map_err(|outcome| outcome.text().to_owned())?;
    let known = publish.properties.unwrap_or_default();
    let mut properties = vec![("qos".to_owned(), "1".to_owned())];
    if publish.retain {
        properties.push(("retain".to_owned(), "true".to_owned()));
    }
    properties.extend(known.message_expiry_interval.map(|seconds| ("expires".to_owned(), format!("{seconds}s"))));
    properties.extend(known.content_type.map(|kind| ("content_type".to_owned(), kind)));
    let topic = String::from_utf8_lossy(&publish.topic).into_owned();
    Ok(Preview { properties, headers: known.user_properties, body: publish.payload, ..Preview::new("PUBLISH", topic) })
}

/// A topic's name: nothing that matches others, and nothing that the protocol forbids in texts.
pub fn is_topic(topic: &str) -> bool {
    !topic.is_empty() && !too_long(Some(topic)) && !topic.contains(['+', '#']) && !topic.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rumqttc::v5::mqttbytes::v5::Packet;
    use switchyard_api::conformance::parcel;
    use switchyard_api::{Message, Rendered};

    fn with(fields: Vec<(&str, Rendered)>, packet_max: usize) -> Result<Publish, Outcome> {
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        message(&parcel(7, &Message { fields, ..Message::default() }), Shape::default(), packet_max)
    }
    fn topic(topic: &str) -> (&str, Rendered) {
        ("topic", Rendered::Text(topic.to_owned()))
    }

    #[test]
    fn what_the_broker_or_the_protocol_cannot_take_is_rejected() {
        let size = with(vec![topic("orders/NL")], usize::MAX).unwrap().size();
        assert!(with(vec![topic("orders/NL")], size).is_ok());
        for (fields, packet_max) in [
            (vec![topic("orders/NL")], size - 1),
            (vec![topic("")], usize::MAX),
            (vec![topic("orders/#")], usize::MAX),
            (vec![topic("orders/+/x")], usize::MAX),
            (vec![topic("a\0b")], usize::MAX),
            (vec![topic(&"x".repeat(65_536))], usize::MAX),
            (vec![topic("orders"), ("headers", Rendered::Map([("x".to_owned(), "x".repeat(65_536))].into()))], usize::MAX),
        ] {
            assert_eq!(with(fields, packet_max).unwrap_err().word(), "rejected");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read(text in "[\\PC+#]{0,20}", value in "\\PC{0,20}") {
            let fields = vec![topic(&text), ("headers", Rendered::Map([("x".to_owned(), value)].into()))];
            if let Ok(publish) = with(fields, usize::MAX) {
                let mut bytes = bytes::BytesMut::new();
                let size = publish.size();
                Packet::Publish(publish.clone()).write(&mut bytes, None).unwrap();
                prop_assert_eq!(bytes.len(), size);
                let Packet::Publish(read) = Packet::read(&mut bytes, None).unwrap() else { panic!() };
                prop_assert_eq!(read, publish);
            }
        }
    }
}
