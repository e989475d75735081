//! The one shape in which filters, jq and templates see an event:
//! `id, source, topic, received_at, headers, query, data, raw`.

use super::{Event, Json};
use std::fmt::Write;

/// The deepest nesting of a body that is parsed; deeper ones are kept and routed on topic and headers alone.
pub const DEPTH_MAX: usize = 128;

/// Why a body has no `data`. The event is kept all the same (L2).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotParsed {
    /// Neither JSON nor a form.
    #[error("not parsed: {0}")]
    NotJson(String),
    /// Empty.
    #[error("not parsed: the body is empty")]
    Empty,
}

/// The body as JSON: what it says if it is JSON, its fields if it is a form.
///
/// # Errors
/// Why it is neither.
pub fn data(event: &Event) -> Result<Json, NotParsed> {
    if event.body.is_empty() {
        return Err(NotParsed::Empty);
    }
    if is_form(event) {
        return Ok(form(&event.body));
    }
    parse(&event.body).map_err(NotParsed::NotJson)
}

/// Parses strict JSON, at most [`DEPTH_MAX`] deep, keeping digits and order; of a key that stands twice the last wins.
///
/// # Errors
/// What is wrong and where.
pub fn parse(text: &[u8]) -> Result<Json, String> {
    // First: the value's own reader recurses without a limit and takes `NaN`, comments and `01`.
    jaq_json::read::parse_single(strict(text)?.as_bytes()).map_err(|e| e.to_string())
}

/// The text, where it is strict JSON and at most [`DEPTH_MAX`] deep: one rule for all that read a body.
fn strict(text: &[u8]) -> Result<&str, String> {
    if too_deep(text) {
        return Err(format!("nested deeper than {DEPTH_MAX}"));
    }
    // The reader skips texts that it need not look at, and would take bytes in them that are no characters.
    let text = std::str::from_utf8(text).map_err(|e| e.to_string())?;
    serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|e| e.to_string())?;
    match half_pair(text.as_bytes()) {
        Some(at) => Err(format!("half of a surrogate pair at byte {at}")),
        None => Ok(text),
    }
}

/// Where in a JSON text half of a surrogate pair is escaped, as `\ud800` alone: it is no character, so that no text can hold it. Readers that
/// skip what they need not look at do not see it.
pub fn half_pair(json: &[u8]) -> Option<usize> {
    let escaped = |at: usize| {
        let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut at = 0;
    while let Some(found) = json.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        at += found;
        at += match escaped(at) {
            Some(0xd800..0xdc00) if matches!(escaped(at + 6), Some(0xdc00..0xe000)) => 12,
            Some(0xd800..0xe000) => return Some(at),
            _ => 2,
        };
    }
    None
}

/// Whether a JSON text is nested deeper than [`DEPTH_MAX`]. Readers that skip what they need not look at count no depth.
pub fn too_deep(text: &[u8]) -> bool {
    let opens = |b: &&u8| matches!(**b, b'[' | b'{');
    // Most bodies have few brackets at all, and counting them is nearly free.
    if text.iter().filter(opens).count() <= DEPTH_MAX {
        return false;
    }
    let (mut depth, mut quoted, mut bytes) = (0_usize, false, text.iter());
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if quoted => drop(bytes.next()),
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return true;
                }
            }
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Whether the event says that its body is a form.
pub fn is_form(event: &Event) -> bool {
    event.content_type().is_some_and(|t| t.trim_start().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded"))
}

/// A form's fields as texts; a field that stands more than once is a list.
pub fn form(text: &[u8]) -> Json {
    let mut fields: Vec<(String, Vec<Json>)> = vec![];
    for pair in text.split(|b| *b == b'&').filter(|pair| !pair.is_empty()) {
        let equals = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
        let (name, value) = (unescape(&pair[..equals]), unescape(pair.get(equals + 1..).unwrap_or_default()));
        match fields.iter_mut().find(|(n, _)| *n == name) {
            Some((_, values)) => values.push(value.into()),
            None => fields.push((name, vec![value.into()])),
        }
    }
    object(fields.into_iter().map(|(name, mut values)| {
        let value = if values.len() == 1 { values.remove(0) } else { values.into_iter().collect() };
        (name, value)
    }))
}

/// A form's name or value as it is meant.
pub fn unescape(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        let digits = rest.as_slice();
        match byte {
            b'+' => out.push(b' '),
            b'%' if digits.len() >= 2 && digits[..2].iter().all(u8::is_ascii_hexdigit) => {
                let digit = |d: u8| (d as char).to_digit(16).unwrap_or(0) as u8;
                out.push(digit(digits[0]) << 4 | digit(digits[1]));
                rest = digits[2..].iter();
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// An object of these entries.
pub fn object(entries: impl IntoIterator<Item = (String, Json)>) -> Json {
    Json::obj(entries.into_iter().map(|(name, value)| (Json::from(name), value)).collect())
}

/// The whole envelope.
pub fn envelope(event: &Event) -> Json {
    let text = |t: &str| Json::from(t.to_owned());
    let headers = {
        let mut seen: Vec<(String, Json)> = vec![];
        for (name, value) in event.headers.iter() {
            if !seen.iter().any(|(n, _)| n == name) {
                seen.push((name.to_owned(), text(&String::from_utf8_lossy(value))));
            }
        }
        object(seen)
    };
    object([
        ("id".to_owned(), text(&event.id.to_string())),
        ("source".to_owned(), text(&event.source)),
        ("topic".to_owned(), text(&event.topic)),
        ("received_at".to_owned(), text(&event.received_at.to_string())),
        ("headers".to_owned(), headers),
        ("query".to_owned(), form(event.query.as_bytes())),
        ("data".to_owned(), data(event).unwrap_or_default()),
        ("raw".to_owned(), text(&String::from_utf8_lossy(&event.body))),
    ])
}

/// The envelope as JSON text, for a program that reads it elsewhere. The body goes in as it came, not parsed and printed.
pub fn envelope_text(event: &Event) -> String {
    let quote = |t: &str| serde_json::Value::from(t).to_string();
    let mut out = String::with_capacity(event.body.len() * 2 + 512);
    let _ = write!(
        out,
        r#"{{"id":"{}","source":{},"topic":{},"received_at":"{}","headers":{{"#,
        event.id,
        quote(&event.source),
        quote(&event.topic),
        event.received_at
    );
    let mut seen: Vec<&str> = vec![];
    for (name, value) in event.headers.iter().filter(|(name, _)| !name.is_empty()) {
        if !seen.contains(&name) {
            let comma = if seen.is_empty() { "" } else { "," };
            let _ = write!(out, "{comma}{}:{}", quote(name), quote(&String::from_utf8_lossy(value)));
            seen.push(name);
        }
    }
    let _ = write!(out, r#"}},"query":{},"data":"#, form(event.query.as_bytes()));
    match (is_form(event), strict(&event.body)) {
        // As in `data`: an empty body says nothing, whatever it calls itself.
        (true, _) if !event.body.is_empty() => {
            let _ = write!(out, "{}", form(&event.body));
        }
        (false, Ok(body)) => out.push_str(body),
        _ => out.push_str("null"),
    }
    let _ = write!(out, r#","raw":{}}}"#, quote(&String::from_utf8_lossy(&event.body)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EventId, Headers, Timestamp};

    #[test]
    fn a_body_that_would_overflow_the_reader_is_only_not_parsed() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(DEPTH_MAX).as_bytes()).is_ok());
        assert!(parse(nested(DEPTH_MAX + 1).as_bytes()).is_err());
        assert!(parse(nested(200_000).as_bytes()).is_err());
        assert!(parse(format!("{}1", r#"{"a":"#.repeat(200_000)).as_bytes()).is_err());
    }

    /// An event with a body of nothing.
    fn empty() -> Event {
        Event {
            id: EventId([7; 16]),
            source: "shop".into(),
            topic: "T".into(),
            received_at: Timestamp(0),
            headers: Headers::default(),
            query: "".into(),
            body: "".into(),
            sender_id: None,
            signed_with: None,
        }
    }

    #[test]
    fn a_form_of_nothing_is_nothing_to_every_reader() {
        let mut event = empty();
        event.headers.push("content-type", b"application/x-www-form-urlencoded");
        assert_eq!(data(&event), Err(NotParsed::Empty));
        assert!(envelope_text(&event).contains(r#""data":null,"#));
        event.body = "a=1".into();
        assert!(envelope_text(&event).contains(r#""data":{"a":"1"},"#));
    }

    #[test]
    fn bytes_that_are_no_characters_are_not_parsed() {
        assert!(parse(b"{\"a\":\"\xc3\xbc\"}").is_ok());
        for body in [&b"{\"a\":\"\xff\xfe\"}"[..], b"\"\xc3\"", b"{\"\x80\":1}", b"[1]\xff"] {
            assert!(parse(body).is_err(), "{body:?}");
        }
    }

    #[test]
    fn half_of_a_character_is_not_parsed_by_any_reader_and_told() {
        let mut event = empty();
        for (half, at) in [
            (r#"{"a":"\ud800"}"#, 6),
            (r#"{"a":"x\uDFFF"}"#, 7),
            (r#"{"\ud800":1}"#, 2),
            (r#"{"a":["\ud83d\u0041"]}"#, 7),
            (r#"{"a":"\ud83d\ud83d\ude00"}"#, 6),
            (r#"{"a":"\\\udc00"}"#, 8),
        ] {
            event.body = half.into();
            let told = data(&event).unwrap_err().to_string();
            assert_eq!(told, format!("not parsed: half of a surrogate pair at byte {at}"), "{half}");
            assert!(envelope_text(&event).contains(r#""data":null,"#), "{half}");
        }
        for whole in [r#"{"a":"\ud83d\ude00"}"#, r#"{"a":"\\ud800"}"#, r#"{"a":"\uD83D\uDE00\n\"\u0000"}"#] {
            event.body = whole.into();
            assert!(data(&event).is_ok(), "{whole}");
            assert!(envelope_text(&event).contains(&format!(r#""data":{whole},"#)), "{whole}");
        }
    }

    #[test]
    fn brackets_in_texts_and_beside_each_other_are_no_depth() {
        assert!(!too_deep(format!(r#"["\"{}"]"#, "[".repeat(500)).as_bytes()));
        assert!(!too_deep(format!("[{}[]]", "[],".repeat(500)).as_bytes()));
    }
}
