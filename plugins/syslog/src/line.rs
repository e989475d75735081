//! From a parcel to one counted message: `LENGTH <PRI>1 TIME HOST APP - MSGID [SD] TEXT`, as RFC 5424, 6 and RFC 6587, 3.4.1 have it.

use serde::Deserialize;
use std::fmt::Write;
use switchyard_api::headers::{HeaderError, headers};
use switchyard_api::{Outcome, Parcel};

/// The longest name of a machine.
pub const HOST_MAX: usize = 255;
/// The longest name of a program.
pub const APP_MAX: usize = 48;
/// The longest kind of message, and the longest name in structured data.
const WORD_MAX: usize = 32;
/// Names our structured data: 32473 is the number of nobody (RFC 5612).
const DATA: &str = "switchyard@32473";
/// Where the message says nothing.
const NOTICE: u8 = 5;

/// What kind of program speaks (RFC 5424, 6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // the standard's own words
pub enum Facility {
    #[default]
    User = 1,
    Mail = 2,
    Daemon = 3,
    Auth = 4,
    Syslog = 5,
    News = 7,
    Cron = 9,
    Authpriv = 10,
    Audit = 13,
    Local0 = 16,
    Local1 = 17,
    Local2 = 18,
    Local3 = 19,
    Local4 = 20,
    Local5 = 21,
    Local6 = 22,
    Local7 = 23,
}

/// What is the same for every message.
#[derive(Debug, Clone)]
pub struct Frame {
    /// What kind of program speaks.
    pub facility: Facility,
    /// This machine.
    pub host: String,
    /// This program.
    pub app: String,
    /// The longest message, bytes.
    pub size_max: usize,
}

impl Frame {
    /// Appends a parcel's message.
    ///
    /// # Errors
    /// What this means for the delivery; nothing was appended then.
    pub fn write(&self, parcel: &Parcel, bytes: &mut Vec<u8>) -> Result<(), Outcome> {
        let mut line = String::with_capacity(256 + parcel.raw.len());
        let priority = self.facility as u16 * 8 + u16::from(severity(parcel)?);
        let time = time(parcel.received_at);
        let kind = word(parcel.message.text("message_id").unwrap_or_default());
        // Writing to a text cannot fail.
        let _ = write!(line, "<{priority}>1 {time} {} {} - {kind} ", self.host, self.app);
        data(parcel, &mut line)?;
        line.push(' ');
        match parcel.message.text("text") {
            Some(text) => clean(text, &mut line),
            None => clean(&String::from_utf8_lossy(&parcel.payload()), &mut line),
        }
        if line.len() > self.size_max {
            let why = format!(
                "a message of {} bytes, and `max_size` is {}: raise it to what the server takes, or set a shorter `text`",
                line.len(),
                self.size_max
            );
            return Err(Outcome::Rejected { why });
        }
        bytes.extend_from_slice(line.len().to_string().as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(line.as_bytes());
        Ok(())
    }
}

/// Whether it is one word of the standard's head.
pub fn is_word(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// The words of the standard's numbers 0 to 7.
pub const SEVERITIES: [&str; 8] = ["emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"];

fn severity(parcel: &Parcel) -> Result<u8, Outcome> {
    let Some(word) = parcel.message.text("severity") else { return Ok(NOTICE) };
    let found = SEVERITIES.iter().position(|known| *known == word).and_then(|at| u8::try_from(at).ok());
    found.ok_or_else(|| Outcome::Misconfigured { why: format!("`severity` is none of {}", SEVERITIES.join(", ")), after: None })
}

/// In UTC with milliseconds; nothing where the calendar has no such time.
fn time(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| "-".to_owned(), |time| format!("{time:.3}"))
}

/// As much of a text as one word holds.
fn word(text: &str) -> String {
    let word: String = text.chars().take(WORD_MAX).map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect();
    if word.is_empty() { "-".to_owned() } else { word }
}

/// `[id name="value" …]`: in a value `"`, `\` and `]` are escaped.
fn data(parcel: &Parcel, line: &mut String) -> Result<(), Outcome> {
    let _ = write!(line, "[{DATA}");
    for (name, value) in headers(parcel).map_err(|wrong| wrong.outcome())? {
        if !is_word(&name, WORD_MAX) || name.contains(['=', ']', '"']) {
            return Err(HeaderError::Name(name).outcome());
        }
        let _ = write!(line, " {name}=\"");
        for c in value.chars() {
            if matches!(c, '"' | '\\' | ']') {
                line.push('\\');
            }
            line.push(c);
        }
        line.push('"');
    }
    line.push(']');
    Ok(())
}

/// One line: what would end it, or move a terminal's cursor, becomes a blank.
fn clean(text: &str, line: &mut String) {
    line.extend(text.chars().map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use switchyard_api::conformance::parcel;
    use switchyard_api::{Message, Rendered};

    fn frame(size_max: usize) -> Frame {
        Frame { facility: Facility::Local0, host: "shop-1".into(), app: "switchyard".into(), size_max }
    }
    fn with(fields: &[(&str, Rendered)], size_max: usize) -> Result<String, Outcome> {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let mut bytes = vec![];
        frame(size_max).write(&parcel(7, &Message { fields, ..Message::default() }), &mut bytes)?;
        Ok(String::from_utf8(bytes).unwrap())
    }
    fn text(text: &str) -> Rendered {
        Rendered::Text(text.to_owned())
    }
    fn header(name: &str, value: &str) -> (&'static str, Rendered) {
        ("headers", Rendered::Map([(name.to_owned(), value.to_owned())].into()))
    }

    #[test]
    fn a_message_is_as_the_standard_has_it() {
        let parcel = parcel(7, &Message::default());
        let ids = format!(r#"switchyard-delivery="{}" switchyard-event="{}" switchyard-attempt="1""#, parcel.delivery, parcel.event);
        let line = format!(r#"<133>1 2026-03-02T10:00:00.000Z shop-1 switchyard - - [switchyard@32473 {ids}] {{"number":7}}"#);
        assert_eq!(with(&[], 8192).unwrap(), format!("{} {line}", line.len()));
        let line = with(
            &[("text", text("a\r\nb\0c")), ("severity", text("warning")), ("message_id", text("ORDER PAID")), header("shop", r#"a"]\"#)],
            8192,
        );
        let line = line.unwrap();
        assert!(line.contains("<132>1 ") && line.contains(" - ORDER_PAID [") && line.ends_with(r#" shop="a\"\]\\"] a  b c"#), "{line}");
    }

    #[test]
    fn what_is_no_message_says_why() {
        let length = with(&[], 8192).unwrap().split_once(' ').unwrap().1.len();
        assert!(with(&[], length).is_ok());
        for (fields, size_max, word) in [
            (vec![], length - 1, "rejected"),
            (vec![("severity", text("loud"))], 8192, "misconfigured"),
            (vec![header("a=b", "x")], 8192, "misconfigured"),
            (vec![header("a]", "x")], 8192, "misconfigured"),
            (vec![header(&"x".repeat(33), "x")], 8192, "misconfigured"),
        ] {
            assert_eq!(with(&fields, size_max).unwrap_err().word(), word);
        }
    }

    proptest! {
        #[test]
        fn whatever_an_event_says_is_one_line_and_one_piece_of_data(said in "\\PC{0,20}|[\\x00-\\x7f]{0,20}", value in "[ -~]{0,20}") {
            let line = with(&[("text", text(&said)), ("message_id", text(&said)), header("x", &value)], 8192).unwrap();
            let (length, rest) = line.split_once(' ').unwrap();
            prop_assert_eq!(length.parse::<usize>().unwrap(), rest.len());
            // Six words of a head, then data that ends where a reader of the standard thinks it ends.
            let data = rest.splitn(7, ' ').nth(6).unwrap();
            let mut escaped = false;
            let end = data.char_indices().find(|(_, c)| {
                let ends = *c == ']' && !escaped;
                escaped = *c == '\\' && !escaped;
                ends
            });
            prop_assert!(data.get(end.unwrap().0 + 1..).unwrap().starts_with(' '));
            // Some readers end a line at a separator of lines or paragraphs, too.
            let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
            prop_assert!(!rest.contains(breaks));
            let blanks: String = said.chars().map(|c| if breaks(c) { ' ' } else { c }).collect();
            prop_assert!(data.ends_with(&blanks));
        }
    }
}
