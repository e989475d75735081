//! From what librdkafka and the brokers say to an outcome: one table over error codes, never over texts.
//!
//! The split follows what is sure: refused or never sent is retry, down, misconfigured or rejected; anything after which the broker
//! may hold the record is unknown. Where librdkafka tries again inside the attempt the code that is left at its end is judged.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use switchyard_api::Outcome;

/// What a report says of a record that did not land.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// Why.
    pub code: Code,
    /// Whether the record had a partition; without one it never left the client.
    pub placed: bool,
}

/// The code in an error.
pub fn code(error: &KafkaError) -> Code {
    error.rdkafka_error_code().unwrap_or(Code::Fail)
}

/// Whether the broker refused a whole batch for what may be one record's fault: the others are tried without it.
pub fn is_shared(code: Code) -> bool {
    matches!(code, Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidRecord | Code::InvalidMessage | Code::BadMessage)
        || code == Code::InvalidTimestamp
        || code == Code::UnsupportedForMessageFormat
}

/// The outcome of a record that was handed to librdkafka and did not land.
pub fn failed(topic: &str, failed: Failed) -> Outcome {
    let Failed { code, placed } = failed;
    let why = format!("topic `{topic}`: {}", says(code));
    match class(code) {
        Class::Rejected => Outcome::Rejected { why },
        Class::Misconfigured => Outcome::Misconfigured { why, after: None },
        Class::Down => Outcome::Down { why, after: None },
        Class::Retry => Outcome::Retry { why, after: None },
        Class::Unsure if !placed => Outcome::Down { why: format!("topic `{topic}`: no partition could be reached in time"), after: None },
        Class::Unsure => Outcome::Unknown { why },
    }
}

/// The outcome of a record that librdkafka did not even take: surely not sent.
pub fn not_taken(topic: &str, code: Code) -> Outcome {
    let why = format!("topic `{topic}`: {}", says(code));
    match class(code) {
        Class::Rejected => Outcome::Rejected { why },
        Class::Misconfigured => Outcome::Misconfigured { why, after: None },
        Class::Down => Outcome::Down { why, after: None },
        Class::Retry | Class::Unsure => Outcome::Retry { why, after: None },
    }
}

/// What to think of a broker or cluster that answers a question with this: nothing was sent.
pub fn not_reached(code: Code, why: String) -> Outcome {
    match class(code) {
        Class::Rejected => Outcome::Rejected { why },
        Class::Misconfigured => Outcome::Misconfigured { why, after: None },
        Class::Down | Class::Retry | Class::Unsure => Outcome::Down { why, after: None },
    }
}

/// The code as a line for a person.
pub fn says(code: Code) -> String {
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => {
            "larger than the topic's `max.message.bytes` or the output's `message_max`".into()
        }
        Code::InvalidRecord => "the broker refuses the record; a compacted topic wants a `key`".into(),
        Code::UnknownTopic | Code::UnknownTopicOrPartition => "there is no such topic; create it".into(),
        Code::TopicAuthorizationFailed => "this user may not write to it; give it the right `Write`".into(),
        Code::ClusterAuthorizationFailed => {
            "this user may write to no topic; give it the right `Write`, or `IdempotentWrite` on the cluster".into()
        }
        Code::Authentication | Code::SaslAuthenticationFailed => "user or password refused".into(),
        Code::QueueFull => "too many records wait in the client".into(),
        Code::MessageTimedOut => "no acknowledgement in time".into(),
        other => other.to_string(),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Rejected,
    Misconfigured,
    Down,
    Retry,
    Unsure,
}

fn class(code: Code) -> Class {
    match code {
        Code::MessageSizeTooLarge
        | Code::MessageBatchTooLarge
        | Code::InvalidMessage
        | Code::BadMessage
        | Code::InvalidRecord
        | Code::InvalidTimestamp
        | Code::InvalidTopic
        | Code::UnsupportedForMessageFormat => Class::Rejected,
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::SSL
        | Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition
        | Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::UnsupportedCompressionType
        | Code::InvalidRequiredAcks
        | Code::PolicyViolation => Class::Misconfigured,
        Code::AllBrokersDown | Code::Resolve | Code::BrokerNotAvailable => Class::Down,
        Code::QueueFull
        | Code::NotEnoughReplicas
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::FencedLeaderEpoch
        | Code::ReplicaNotAvailable
        | Code::KafkaStorageError
        | Code::TimedOutQueue
        | Code::PurgeQueue
        | Code::ThrottlingQuotaExceeded
        | Code::InvalidProducerEpoch
        | Code::UnknownProducerId => Class::Retry,
        _ => Class::Unsure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(code: Code, placed: bool) -> &'static str {
        failed("orders", Failed { code, placed }).word()
    }

    #[test]
    fn what_may_be_written_is_unknown_and_what_is_not_is_never() {
        for code in [
            Code::MessageTimedOut,
            Code::OperationTimedOut,
            Code::BrokerTransportFailure,
            Code::RequestTimedOut,
            Code::NotEnoughReplicasAfterAppend,
            Code::PurgeInflight,
            Code::OutOfOrderSequenceNumber,
            Code::Fatal,
            Code::Unknown,
        ] {
            assert_eq!((word(code, true), word(code, false)), ("unknown", "down"), "{code:?}");
            assert_eq!(not_taken("orders", code).word(), "retry", "{code:?}");
        }
        for (code, expected) in [
            (Code::MessageSizeTooLarge, "rejected"),
            (Code::MessageBatchTooLarge, "rejected"),
            (Code::InvalidRecord, "rejected"),
            (Code::TopicAuthorizationFailed, "misconfigured"),
            (Code::UnknownTopicOrPartition, "misconfigured"),
            (Code::SSL, "misconfigured"),
            (Code::Resolve, "down"),
            (Code::AllBrokersDown, "down"),
            (Code::NotEnoughReplicas, "retry"),
            (Code::NotLeaderForPartition, "retry"),
            (Code::PurgeQueue, "retry"),
        ] {
            assert_eq!((word(code, true), word(code, false)), (expected, expected), "{code:?}");
        }
    }

    #[test]
    fn a_batch_is_taken_apart_only_for_what_one_record_can_cause() {
        assert!(is_shared(Code::MessageSizeTooLarge) && is_shared(Code::InvalidRecord));
        assert!(!is_shared(Code::TopicAuthorizationFailed) && !is_shared(Code::MessageTimedOut) && !is_shared(Code::InvalidTopic));
        // What is taken apart was not written: sending it again cannot double it.
        for code in [Code::MessageTimedOut, Code::RequestTimedOut, Code::NotEnoughReplicasAfterAppend, Code::PurgeInflight] {
            assert!(!is_shared(code), "{code:?}");
        }
    }
}
