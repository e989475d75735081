//! What a confirm, a returned message or a refusal means, by the protocol's reply codes (AMQP 0-9-1, 1.2).

use lapin::{Confirmation, Error, ErrorKind};
use switchyard_api::{Outcome, Printable};

const CONTENT_TOO_LARGE: u16 = 311;
const CONNECTION_FORCED: u16 = 320;
const INVALID_PATH: u16 = 402;
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;

/// Longest piece of an error that is shown.
const SHOWN_MAX: usize = 300;

/// Whether people must mend it: user, virtual host, exchange, right.
pub fn is_set_up_wrong(code: u16) -> bool {
    [INVALID_PATH, ACCESS_REFUSED, NOT_FOUND, NOT_ALLOWED].contains(&code)
}

/// A returned message that a confirm brought along: whose it is, and why it came back.
pub fn returned(confirmation: &Confirmation) -> Option<(String, String)> {
    let (Confirmation::Ack(message) | Confirmation::Nack(message)) = confirmation else { return None };
    let message = message.as_ref()?;
    let id = message.delivery.properties.message_id().as_ref()?.as_str().to_owned();
    Some((id, format!("{} {}", message.reply_code, Printable(message.reply_text.as_str()))))
}

/// The outcome of a confirm; `back` says why its message came back, if it did.
pub fn confirmed(confirmation: &Confirmation, back: Option<&String>) -> Outcome {
    match (confirmation, back) {
        (_, Some(why)) => {
            Outcome::Misconfigured { why: format!("{why}: no queue takes it; bind a queue for its routing key"), after: None }
        }
        (Confirmation::Ack(_), None) => Outcome::Delivered { detail: "confirmed".to_owned() },
        (Confirmation::Nack(_), None) => Outcome::Retry { why: "the broker could not keep it (basic.nack)".to_owned(), after: None },
        (Confirmation::NotRequested, None) => Outcome::Unknown { why: "sent, and the broker confirms nothing".to_owned() },
    }
}

/// The outcome of what was under way when the channel or connection ended; `alone`: nothing else was under way.
pub fn refused(error: &Error, alone: bool) -> Outcome {
    let why = plain(error);
    let ErrorKind::ProtocolError(said) = error.kind() else {
        return Outcome::Unknown { why: format!("sent, but the connection was lost: {why}") };
    };
    match said.get_id() {
        code if is_set_up_wrong(code) => Outcome::Misconfigured { why, after: None },
        CONTENT_TOO_LARGE | PRECONDITION_FAILED if alone => Outcome::Rejected { why },
        CONTENT_TOO_LARGE | PRECONDITION_FAILED => {
            Outcome::Retry { why: format!("{why}: this message or one sent with it; they go one by one the next time"), after: None }
        }
        CONNECTION_FORCED => Outcome::Unknown { why: format!("sent, but the broker ended the connection: {why}") },
        _ => Outcome::Unknown { why: format!("sent, but the broker gave up: {why}") },
    }
}

/// The outcome of what the library did not take.
pub fn not_sent(error: &Error) -> Outcome {
    let why = format!("not sent: {}", plain(error));
    match error.kind() {
        ErrorKind::ProtocolError(said) if is_set_up_wrong(said.get_id()) => Outcome::Misconfigured { why, after: None },
        // The channel was closed by a message before this one: not this one's fault, and the broker is well.
        ErrorKind::ProtocolError(_) | ErrorKind::InvalidChannelState(..) => Outcome::Retry { why, after: None },
        _ => Outcome::Down { why, after: None },
    }
}

/// An error in one line.
pub fn plain(error: &Error) -> String {
    let text = match error.kind() {
        ErrorKind::ProtocolError(said) => format!("{} {}", said.get_id(), said.get_message()),
        ErrorKind::IOError(error) => switchyard_api::tls::plain(error),
        ErrorKind::ParsingError(_) => "what answers there does not speak AMQP 0-9-1; is it the right port?".to_owned(),
        _ => error.to_string(),
    };
    Printable(&text).to_string().chars().take(SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::protocol::AMQPError;

    fn said(code: u16) -> Error {
        let kind = lapin::protocol::AMQPErrorKind::from_id(code).unwrap();
        ErrorKind::ProtocolError(AMQPError::new(kind, "so it is".into())).into()
    }

    #[test]
    fn every_code_has_its_outcome() {
        for (code, alone, together, unsent) in [
            (403, "misconfigured", "misconfigured", "misconfigured"),
            (404, "misconfigured", "misconfigured", "misconfigured"),
            (530, "misconfigured", "misconfigured", "misconfigured"),
            (406, "rejected", "retry", "retry"),
            (311, "rejected", "retry", "retry"),
            (320, "unknown", "unknown", "retry"),
            (541, "unknown", "unknown", "retry"),
        ] {
            let error = said(code);
            let words = (refused(&error, true).word(), refused(&error, false).word(), not_sent(&error).word());
            assert_eq!(words, (alone, together, unsent), "{code}");
        }
        let lost: Error = ErrorKind::MissingHeartbeatError.into();
        assert_eq!((refused(&lost, true).word(), not_sent(&lost).word()), ("unknown", "down"));
        assert_eq!(confirmed(&Confirmation::Nack(None), None).word(), "retry");
        assert_eq!(confirmed(&Confirmation::NotRequested, None).word(), "unknown");
    }
}
