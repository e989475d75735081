//! What is said on a connection: one delivery as a line, and what its answer means. Pure; all of the protocol that is worth a test.

use serde::Serialize;
use std::io;
use std::time::Duration;
use switchyard_api::{Outcome, Parcel, Printable};

/// Most bytes of a line with its end that a till takes.
pub const LINE_MAX: usize = 64 << 10;

#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    channel: &'a str,
    text: &'a str,
}

/// The line of a delivery; or why it will never be one.
pub fn line(parcel: &Parcel) -> Result<Vec<u8>, Outcome> {
    let payload = parcel.payload();
    let rejected = |why: String| Outcome::Rejected { why };
    let text = match parcel.message.text("text") {
        Some(text) => text,
        None => std::str::from_utf8(&payload).map_err(|_| rejected("its bytes are no text (UTF-8)".into()))?,
    };
    // The field is required: the host has seen to it that the file has one.
    let channel = parcel
        .message
        .text("channel")
        .ok_or_else(|| Outcome::Misconfigured { why: "there is no channel to put it on".into(), after: None })?;
    let mut line = serde_json::to_vec(&Line { id: &parcel.delivery, channel, text }).map_err(|error| rejected(error.to_string()))?;
    line.push(b'\n');
    if line.len() > LINE_MAX {
        return Err(rejected(format!("its line has {} bytes, and a till takes {LINE_MAX}", line.len())));
    }
    Ok(line)
}

/// What an answer means; an error where it is none, and nobody knows what became of the delivery.
pub fn outcome(answer: &str) -> io::Result<Outcome> {
    let (word, rest) = answer.split_once(' ').unwrap_or((answer, ""));
    // Whatever the far side says is shown as one printable line (L8).
    let said = Printable(rest).to_string();
    match word {
        "OK" => Ok(Outcome::Delivered { detail: format!("number {said}") }),
        "BUSY" => Ok(Outcome::Retry { why: format!("busy for {said} s"), after: rest.parse().ok().map(Duration::from_secs) }),
        "REFUSED" => Ok(Outcome::Rejected { why: said }),
        "NO" => Ok(Outcome::Misconfigured { why: said, after: None }),
        _ => Err(io::Error::other(format!("`{}` is no answer", Printable(answer)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use switchyard_api::conformance::parcel;
    use switchyard_api::{Message, Rendered};

    fn with(fields: &[(&str, &str)], payload: Option<&str>) -> Parcel {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), Rendered::Text((*value).to_owned()))).collect();
        parcel(1, &Message { payload: payload.map(str::to_owned), fields, ..Message::default() })
    }

    #[test]
    fn each_answer_is_its_outcome() {
        let words =
            [("OK 7", "delivered"), ("BUSY 30", "retry"), ("REFUSED no such article", "rejected"), ("NO wrong password", "misconfigured")];
        for (answer, word) in words {
            assert_eq!(outcome(answer).unwrap().word(), word);
        }
        assert_eq!(outcome("BUSY 30").unwrap(), Outcome::Retry { why: "busy for 30 s".into(), after: Some(Duration::from_secs(30)) });
        assert!(outcome("okay").is_err() && outcome("").is_err());
    }

    #[test]
    fn what_no_till_takes_is_not_sent() {
        let at = |bytes: &'static [u8]| line(&Parcel { raw: bytes.into(), ..with(&[("channel", "orders")], None) }).unwrap_err().word();
        assert_eq!(at(b"\xff"), "rejected");
        assert_eq!(line(&with(&[("channel", "orders"), ("text", &"x".repeat(LINE_MAX))], None)).unwrap_err().word(), "rejected");
        assert_eq!(line(&with(&[], Some("text"))).unwrap_err().word(), "misconfigured");
    }

    proptest! {
        #[test]
        fn a_line_is_one_line_whatever_the_event_holds(channel in ".*", text in ".*") {
            let line = line(&with(&[("channel", &channel), ("text", &text)], None)).unwrap();
            prop_assert_eq!(line.iter().filter(|byte| **byte < 0x20).count(), 1);
            let read: serde_json::Value = serde_json::from_slice(&line).unwrap();
            prop_assert_eq!((read["channel"].as_str(), read["text"].as_str()), (Some(channel.as_str()), Some(text.as_str())));
        }

        #[test]
        fn no_answer_breaks_it_and_what_is_shown_is_one_line(answer in "(OK|BUSY|REFUSED|NO)? ?.*") {
            if let Ok(outcome) = outcome(&answer) {
                prop_assert!(!outcome.text().chars().any(char::is_control));
            }
        }
    }
}
