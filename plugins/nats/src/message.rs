//! From a parcel to the message that is published.

use async_nats::HeaderMap;
use async_nats::header::{HeaderName, HeaderValue};
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use switchyard_api::headers::{HeaderError, headers};
use switchyard_api::{Outcome, Parcel, Preview};

/// By which JetStream knows a repeat.
const MESSAGE_ID: &str = "Nats-Msg-Id";
const CONTENT_TYPE: &str = "Content-Type";
/// The longest subject: the server reads lines of 4 KiB, and headers and sizes stand on the same line.
const SUBJECT_MAX: usize = 1024;

/// The subject and the message.
///
/// # Errors
/// What this means for the delivery.
pub fn message(parcel: &Parcel) -> Result<(String, PublishMessage), Outcome> {
    let (subject, headers, payload) = parts(parcel)?;
    Ok((subject, PublishMessage::build().payload(payload).headers(headers)))
}

/// The same as a person reads it.
///
/// # Errors
/// Why it would not be sent.
pub fn preview(parcel: &Parcel) -> Result<Preview, String> {
    let (subject, headers, body) = parts(parcel).map_err(|outcome| outcome.text().to_owned())?;
    let each = |(name, values): (&HeaderName, &Vec<HeaderValue>)| -> Vec<(String, String)> {
        values.iter().map(|value| (name.to_string(), value.to_string())).collect()
    };
    let mut headers: Vec<(String, String)> = headers.iter().flat_map(each).collect();
    headers.sort();
    Ok(Preview { headers, body, ..Preview::new("PUB", subject) })
}

fn parts(parcel: &Parcel) -> Result<(String, HeaderMap, Bytes), Outcome> {
    let subject = parcel.message.text("subject").unwrap_or_default();
    if !is_subject(subject) {
        return Err(Outcome::Rejected {
            why: "the subject made from this event is none: words with `.` between them, no blanks, `*` or `>`".to_owned(),
        });
    }
    let mut all = HeaderMap::new();
    let (payload, content_type) = match parcel.message.text("body") {
        Some(body) => (Bytes::copy_from_slice(body.as_bytes()), "application/json"),
        None => (parcel.payload(), parcel.payload_type()),
    };
    // It comes from the request: what is no header's value there is none here.
    if !content_type.chars().any(char::is_control) {
        all.insert(CONTENT_TYPE, content_type);
    }
    for (name, value) in headers(parcel).map_err(|wrong| wrong.outcome())? {
        if name.eq_ignore_ascii_case(MESSAGE_ID) {
            return Err(HeaderError::Name(name).outcome());
        }
        all.insert(name, value);
    }
    all.insert(MESSAGE_ID, parcel.delivery.as_str());
    Ok((subject.to_owned(), all, payload))
}

/// Words with `.` between them, none of them empty or a wildcard.
pub fn is_subject(subject: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && !word.contains(['*', '>']) && !word.chars().any(|c| c.is_whitespace() || c.is_control());
    subject.len() <= SUBJECT_MAX && subject.split('.').all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use switchyard_api::conformance::parcel;
    use switchyard_api::{Message, Rendered};

    fn with(fields: &[(&str, Rendered)]) -> Result<(String, PublishMessage), Outcome> {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        message(&parcel(7, &Message { fields, ..Message::default() }))
    }

    #[test]
    fn a_subject_is_words_and_nothing_that_matches_others() {
        for subject in ["orders", "orders.NL.7", "orders.a-b_c"] {
            assert!(is_subject(subject), "{subject}");
        }
        for subject in
            ["", ".", "orders.", ".orders", "a..b", "orders.*", "orders.>", "a b", "a\r\nPUB x", "a\tb", &"x".repeat(SUBJECT_MAX + 1)]
        {
            assert!(!is_subject(subject), "{subject}");
            assert_eq!(with(&[("subject", Rendered::Text(subject.to_owned()))]).unwrap_err().word(), "rejected");
        }
    }

    #[test]
    fn the_id_by_which_repeats_are_known_is_ours() {
        let subject = ("subject", Rendered::Text("orders".into()));
        let header = |name: &str| ("headers", Rendered::Map([(name.to_owned(), "x".to_owned())].into()));
        assert_eq!(with(&[subject.clone(), header("nats-msg-id")]).unwrap_err().word(), "misconfigured");
        assert!(with(&[subject, header("Nats-Expected-Stream")]).is_ok());
    }

    proptest! {
        #[test]
        fn whatever_is_taken_is_one_word_of_the_protocols_line(subject in "[a-z.*> \\r\\n\\t\u{a0}]{0,12}") {
            if is_subject(&subject) {
                prop_assert_eq!(subject.split_whitespace().count(), 1);
                prop_assert!(!subject.contains(['*', '>', '\r', '\n']));
            }
        }
    }
}
