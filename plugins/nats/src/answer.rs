//! What an acknowledgement means, by JetStream's numbers (`server/errors.json` of nats-server).

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{GetStreamByNameError, GetStreamByNameErrorKind, PublishError, PublishErrorKind};
use async_nats::jetstream::publish::PublishAck;
use std::error::Error;
use switchyard_api::{Outcome, Printable};

/// Why a message is not in a stream, or not known to be.
#[derive(Debug)]
pub enum Refusal {
    /// Nobody listens on the subject: it is kept nowhere.
    NobodyListens,
    /// Nothing was heard.
    Silent,
    /// What was said.
    Said(Outcome),
}

/// The outcome of one publish.
pub fn outcome(answer: Result<PublishAck, PublishError>) -> Result<Outcome, Refusal> {
    match answer {
        Ok(ack) => {
            let already = if ack.duplicate { ", already there" } else { "" };
            Ok(Outcome::Delivered { detail: format!("stream {}, sequence {}{already}", Printable(&ack.stream), ack.sequence) })
        }
        Err(error) => Err(match error.kind() {
            PublishErrorKind::StreamNotFound => Refusal::NobodyListens,
            PublishErrorKind::TimedOut => Refusal::Silent,
            PublishErrorKind::BrokenPipe => Refusal::Said(Outcome::Unknown { why: "sent, but the connection was lost".to_owned() }),
            _ => Refusal::Said(refused(&error)),
        }),
    }
}

fn refused(error: &PublishError) -> Outcome {
    let said = error.source().and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>());
    let Some(said) = said else { return Outcome::Unknown { why: "sent, and the answer is no acknowledgement".to_owned() } };
    let why = Printable(&said.to_string()).to_string();
    match said.error_code() {
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM
        | ErrorCode::STREAM_NOT_MATCH
        | ErrorCode::STREAM_SEALED
        | ErrorCode::STREAM_WRONG_LAST_MESSAGE_ID
        | ErrorCode::STREAM_WRONG_LAST_SEQUENCE => Outcome::Rejected { why },
        ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT | ErrorCode::STREAM_OFFLINE => {
            Outcome::Down { why, after: None }
        }
        _ => Outcome::Retry { why, after: None },
    }
}

/// Nobody listened on a subject: what that means, once JetStream was asked which stream takes it.
pub fn unheard(subject: &str, asked: Option<Result<String, GetStreamByNameError>>) -> Outcome {
    match asked {
        Some(Ok(stream)) => Outcome::Down { why: format!("stream {} has no leader for now", Printable(&stream)), after: None },
        Some(Err(error)) if matches!(error.kind(), GetStreamByNameErrorKind::NotFound) => Outcome::Misconfigured {
            why: format!("no stream takes `{subject}`; make one with that subject, or set `subject` to one that is taken"),
            after: None,
        },
        _ => Outcome::Down { why: "JetStream is not available".to_owned(), after: None },
    }
}

/// Whether JetStream works for our account, from what it tells of it.
pub fn account(payload: &[u8]) -> Result<(), String> {
    read(payload).map(drop)
}

/// Whether a stream takes the subject that was asked for.
pub fn takes(payload: &[u8]) -> Result<bool, String> {
    let told = read(payload)?;
    Ok(told.pointer("/streams").and_then(serde_json::Value::as_array).is_some_and(|streams| !streams.is_empty()))
}

/// An answer of JetStream's API; its error as one line.
fn read(payload: &[u8]) -> Result<serde_json::Value, String> {
    let told: serde_json::Value = serde_json::from_slice(payload).map_err(|_| "JetStream's answer is not JSON".to_owned())?;
    match told.pointer("/error/description").and_then(serde_json::Value::as_str) {
        Some(why) => Err(format!("JetStream: {}", Printable(why))),
        None => Ok(told),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `server/errors.json` has them.
    fn said(code: u16, number: u64) -> Result<PublishAck, PublishError> {
        let text = format!(r#"{{"code": {code}, "err_code": {number}, "description": "so it is"}}"#);
        let error: async_nats::jetstream::Error = serde_json::from_str(&text).unwrap();
        Err(PublishError::with_source(PublishErrorKind::Other, error))
    }

    #[test]
    fn every_number_has_its_outcome() {
        for (code, number, word) in [
            (400, 10_054, "rejected"),
            (400, 10_060, "rejected"),
            (400, 10_109, "rejected"),
            (400, 10_070, "rejected"),
            (400, 10_071, "rejected"),
            (503, 10_039, "down"),
            (503, 10_076, "down"),
            (500, 10_118, "down"),
            (503, 10_023, "retry"),
            (503, 10_077, "retry"),
            (400, 99_999, "retry"),
        ] {
            let Err(Refusal::Said(outcome)) = outcome(said(code, number)) else { panic!("{number}") };
            assert!(outcome.word() == word && outcome.text().contains("so it is"), "{number} {outcome:?}");
        }
        assert!(matches!(outcome(Err(PublishError::new(PublishErrorKind::StreamNotFound))), Err(Refusal::NobodyListens)));
        assert!(matches!(outcome(Err(PublishError::new(PublishErrorKind::TimedOut))), Err(Refusal::Silent)));
        let Err(Refusal::Said(lost)) = outcome(Err(PublishError::new(PublishErrorKind::BrokenPipe))) else { panic!() };
        assert_eq!(lost.word(), "unknown");
    }

    #[test]
    fn an_account_without_jetstream_is_told_of() {
        assert_eq!(account(br#"{"type": "x", "memory": 0}"#), Ok(()));
        let told = br#"{"error": {"code": 503, "err_code": 10039, "description": "jetstream not enabled for account"}}"#;
        assert!(account(told).is_err_and(|why| why.contains("not enabled for account")));
        assert!(account(b"+OK").is_err());
    }
}
