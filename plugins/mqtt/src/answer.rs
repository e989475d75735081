//! What a PUBACK's reason code or a connection's end means (MQTT 5, 3.4.2.1 and 3.14.2.1).

use rumqttc::v5::mqttbytes::v5::{DisconnectReasonCode, PubAckReason};
use switchyard_api::{Outcome, Printable};

use crate::session::{Answer, Ended};

/// The outcome of a message that was written.
pub fn outcome(answer: Answer, need_subscriber: bool) -> Outcome {
    match answer {
        Answer::Acknowledged(reason) => acknowledged(reason, need_subscriber),
        Answer::Lost { why: Ended::Said(DisconnectReasonCode::PacketTooLarge), alone: true } => {
            Outcome::Rejected { why: "the broker ended the connection: PacketTooLarge".to_owned() }
        }
        Answer::Lost { why: Ended::Said(code), .. } => {
            Outcome::Unknown { why: format!("sent, but the broker ended the connection: {code:?}") }
        }
        Answer::Lost { why: Ended::Broken(why), .. } => {
            Outcome::Unknown { why: format!("sent, but the connection was lost: {}", Printable(&why)) }
        }
    }
}

fn acknowledged(reason: PubAckReason, need_subscriber: bool) -> Outcome {
    let why = format!("PUBACK: {reason:?}");
    match reason {
        PubAckReason::Success => Outcome::Delivered { detail: "acknowledged".to_owned() },
        PubAckReason::NoMatchingSubscribers if need_subscriber => {
            Outcome::Retry { why: "nobody subscribes to this topic".to_owned(), after: None }
        }
        PubAckReason::NoMatchingSubscribers => Outcome::Delivered { detail: "acknowledged; nobody subscribes to this topic".to_owned() },
        PubAckReason::NotAuthorized => {
            Outcome::Misconfigured { why: format!("{why}: the user may not publish to this topic"), after: None }
        }
        PubAckReason::TopicNameInvalid | PubAckReason::PayloadFormatInvalid => Outcome::Rejected { why },
        PubAckReason::QuotaExceeded
        | PubAckReason::PacketIdentifierInUse
        | PubAckReason::UnspecifiedError
        | PubAckReason::ImplementationSpecificError => Outcome::Retry { why, after: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use rumqttc::v5::mqttbytes::v5::Packet;

    #[test]
    fn every_reason_code_has_its_outcome() {
        for (code, word) in [
            (0x00, "delivered"),
            (0x10, "delivered"),
            (0x80, "retry"),
            (0x83, "retry"),
            (0x87, "misconfigured"),
            (0x90, "rejected"),
            (0x91, "retry"),
            (0x97, "retry"),
            (0x99, "rejected"),
        ] {
            let mut bytes = BytesMut::from(&[0x40, 3, 0, 7, code][..]);
            let Packet::PubAck(ack) = Packet::read(&mut bytes, None).unwrap() else { panic!() };
            assert_eq!(outcome(Answer::Acknowledged(ack.reason), false).word(), word, "{code:#x}");
        }
        assert_eq!(acknowledged(PubAckReason::NoMatchingSubscribers, true).word(), "retry");
    }

    #[test]
    fn what_ended_under_way_is_unknown_unless_it_was_the_message() {
        let lost = |code, alone| outcome(Answer::Lost { why: Ended::Said(code), alone }, false).word();
        assert_eq!(lost(DisconnectReasonCode::PacketTooLarge, true), "rejected");
        assert_eq!(lost(DisconnectReasonCode::PacketTooLarge, false), "unknown");
        assert_eq!(lost(DisconnectReasonCode::ServerShuttingDown, true), "unknown");
    }
}
