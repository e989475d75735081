//! The pattern of a file's name, and the name it gives to one delivery. Values of an event stay within one part of it (L8).

use jiff::Timestamp;
use std::fmt::Write;
use std::ops::Range;
use std::path::PathBuf;
use switchyard_api::Parcel;
use switchyard_api::problem::nearest;

/// Most bytes that one value gives to a name; what is over is cut.
const VALUE_MAX: usize = 100;

/// The placeholders, for messages.
const PLACEHOLDERS: [&str; 4] = ["date", "source", "topic", "route"];

/// A pattern such as `data/{source}/{date}.ndjson`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// The folders before the first placeholder: the file's author says so, links are followed.
    pub root: PathBuf,
    /// Folders and file name from there: made of values, links are not followed.
    parts: Vec<Vec<Piece>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// A piece of the date on which the event was received, as `strftime` writes it.
    Date(&'static str),
    Source,
    Topic,
    Route,
}

/// What is wrong with a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct PatternError {
    /// In one line.
    pub what: String,
    /// Where in the text.
    pub within: Range<usize>,
    /// What to do.
    pub help: String,
    /// What to write there instead.
    pub patch: Option<String>,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let mut parts: Vec<Vec<Piece>> = vec![];
        let mut at = 0;
        for part in text.split('/') {
            parts.push(pieces(part, at)?);
            at += part.len() + 1;
        }
        if matches!(parts.last().map(Vec::as_slice), None | Some([])) {
            let help = "end it with a file's name, such as `{date}.ndjson`".to_owned();
            return Err(PatternError { what: "this names no file".into(), within: 0..text.len(), help, patch: None });
        }
        let last = parts.len() - 1;
        let fixed = parts.iter().position(|part| part.iter().any(|piece| !matches!(piece, Piece::Text(_)))).unwrap_or(last);
        let root = parts.drain(..fixed).map(|part| part.into_iter().map(Piece::into_text).collect::<String>() + "/").collect::<String>();
        parts.retain(|part| !part.is_empty());
        if parts.iter().any(|part| matches!(part.as_slice(), [Piece::Text(text)] if text == "." || text == "..")) {
            let help = "take `.` and `..` out behind the first placeholder".to_owned();
            let up = text.split('/').scan(0, |at, part| {
                let start = *at;
                *at += part.len() + 1;
                Some((start, part))
            });
            let placed = up.skip(fixed).find(|(_, part)| matches!(*part, "." | ".."));
            let within = placed.map_or(0..text.len(), |(start, part)| start..start + part.len());
            return Err(PatternError { what: "this leads back up".into(), within, help, patch: None });
        }
        Ok(Pattern { root: root.into(), parts })
    }

    /// The folders and the file's name below [`root`](Self::root) for a delivery.
    pub fn name(&self, parcel: &Parcel) -> Vec<String> {
        let at = Timestamp::from_millisecond(parcel.received_at).unwrap_or_default();
        let part = |pieces: &Vec<Piece>| {
            let mut out = String::new();
            for piece in pieces {
                match piece {
                    Piece::Text(text) => out.push_str(text),
                    Piece::Date(form) => {
                        let _ = write!(out, "{}", at.strftime(form));
                    }
                    Piece::Source => out.push_str(&confined(&parcel.source)),
                    Piece::Topic => out.push_str(&confined(&parcel.topic)),
                    Piece::Route => out.push_str(&confined(&parcel.route)),
                }
            }
            out
        };
        self.parts.iter().map(part).collect()
    }
}

impl Piece {
    fn into_text(self) -> String {
        match self {
            Piece::Text(text) => text,
            _ => String::new(),
        }
    }
}

/// The pieces of one part, which starts at `from` of the whole text.
fn pieces(part: &str, from: usize) -> Result<Vec<Piece>, PatternError> {
    let mut found = vec![];
    let mut text = String::new();
    let mut rest = part;
    let wrong = |what: String, start: usize, length: usize, help: String, patch: Option<String>| PatternError {
        what,
        within: from + start..from + start + length,
        help,
        patch,
    };
    while let Some(c) = rest.chars().next() {
        let start = part.len() - rest.len();
        let (piece, length) = match c {
            '{' if rest.starts_with("{{") => {
                let word = rest.trim_matches(|c| "{} ".contains(c));
                let help = format!("a path takes {}", placeholders());
                let patch = PLACEHOLDERS.contains(&word).then(|| format!("{{{word}}}"));
                return Err(wrong("a path is no template".into(), start, rest.len(), help, patch));
            }
            '{' => {
                let end = rest
                    .find('}')
                    .ok_or_else(|| wrong("`{` without `}`".into(), start, rest.len(), format!("a path takes {}", placeholders()), None))?;
                let word = &rest[1..end];
                let piece = placeholder(word).ok_or_else(|| {
                    let near = nearest(word, PLACEHOLDERS);
                    let help =
                        near.map_or_else(|| format!("a path takes {}", placeholders()), |near| format!("did you mean `{{{near}}}`?"));
                    wrong(format!("unknown placeholder `{{{word}}}`"), start, end + 1, help, near.map(|near| format!("{{{near}}}")))
                })?;
                (Some(piece), end + 1)
            }
            '%' => {
                let form = rest.get(..2).unwrap_or(rest);
                let known = ["%Y", "%m", "%d", "%H"].into_iter().find(|known| *known == form);
                let known = known.ok_or_else(|| {
                    wrong(
                        format!("unknown date pattern `{form}`"),
                        start,
                        form.len(),
                        "a path takes `%Y`, `%m`, `%d` and `%H`".into(),
                        None,
                    )
                })?;
                (Some(Piece::Date(known)), 2)
            }
            '\0' => return Err(wrong("a path holds no NUL".into(), start, 1, "take it out".into(), None)),
            _ => {
                text.push(c);
                (None, c.len_utf8())
            }
        };
        if let Some(piece) = piece {
            if !text.is_empty() {
                found.push(Piece::Text(std::mem::take(&mut text)));
            }
            found.push(piece);
        }
        rest = &rest[length..];
    }
    if !text.is_empty() {
        found.push(Piece::Text(text));
    }
    Ok(found)
}

fn placeholder(word: &str) -> Option<Piece> {
    match word {
        "date" => Some(Piece::Date("%Y-%m-%d")),
        "source" => Some(Piece::Source),
        "topic" => Some(Piece::Topic),
        "route" => Some(Piece::Route),
        _ => None,
    }
}

fn placeholders() -> String {
    format!("`{{{}}}`, `%Y`, `%m`, `%d` and `%H`", PLACEHOLDERS.join("}`, `{"))
}

/// A value as a safe piece of a name: letters, digits, `-`, `_` and inner dots; anything else becomes `_`.
fn confined(value: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let mut name: String = value.chars().take(VALUE_MAX).map(|c| if safe(c) { c } else { '_' }).collect();
    if name.is_empty() || name.starts_with('.') {
        name = format!("_{}", name.trim_start_matches('.'));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use switchyard_api::Message;
    use switchyard_api::conformance::parcel;

    fn name(pattern: &str, topic: &str) -> (String, Vec<String>) {
        let pattern = Pattern::parse(pattern).unwrap();
        let parcel = Parcel { topic: topic.into(), ..parcel(1, &Message::default()) };
        (pattern.root.to_string_lossy().into_owned(), pattern.name(&parcel))
    }

    #[test]
    fn a_name_has_the_day_of_the_event_and_its_words() {
        for (pattern, root, parts) in [
            ("orders.ndjson", "", vec!["orders.ndjson"]),
            ("/var/data/orders.ndjson", "/var/data/", vec!["orders.ndjson"]),
            ("data/orders-{date}.ndjson", "data/", vec!["orders-2026-03-02.ndjson"]),
            ("%Y/%m/%d-%H.ndjson", "", vec!["2026", "03", "02-10.ndjson"]),
            ("data/{source}/{topic}-{route}", "data/", vec!["orchamp", "ORDER_PAID-all"]),
            ("../x/{date}", "../x/", vec!["2026-03-02"]),
        ] {
            let (found, names) = name(pattern, "ORDER_PAID");
            let parts: Vec<String> = parts.into_iter().map(|part| part.replace("orchamp", "orderchamp")).collect();
            assert_eq!((found.as_str(), names), (root, parts), "{pattern}");
        }
    }

    #[test]
    fn a_value_never_leaves_its_part() {
        for (topic, expected) in [
            ("../../etc/passwd", "_/../etc/passwd".replace('/', "_")),
            ("..", "_".to_owned()),
            ("", "_".to_owned()),
            (".bashrc", "_bashrc".to_owned()),
            ("a\0b\n", "a_b_".to_owned()),
            ("ORDER.paid-1", "ORDER.paid-1".to_owned()),
        ] {
            assert_eq!(name("{topic}", topic).1, [expected], "{topic:?}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_told_with_its_place() {
        for (pattern, within, told, patch) in [
            ("", 0..0, "this names no file", None),
            ("data/", 0..5, "this names no file", None),
            ("a/{dat}.x", 2..7, "unknown placeholder `{dat}`", Some("{date}")),
            ("a/{{ topic }}", 2..13, "a path is no template", Some("{topic}")),
            ("a/{date", 2..7, "`{` without `}`", None),
            ("a/%y", 2..4, "unknown date pattern `%y`", None),
            ("a/%", 2..3, "unknown date pattern `%`", None),
            ("{date}/../x", 7..9, "this leads back up", None),
        ] {
            let wrong = Pattern::parse(pattern).unwrap_err();
            assert_eq!((wrong.within.clone(), wrong.what.as_str(), wrong.patch.as_deref()), (within, told, patch), "{pattern}");
            assert!(!wrong.help.is_empty());
        }
    }

    proptest! {
        #[test]
        fn every_topic_is_a_safe_name(topic in "\\PC{0,300}|[./\\x00-\\x1f]{0,9}") {
            let (_, names) = name("{topic}", &topic);
            let [name] = names.as_slice() else { panic!("{names:?}") };
            prop_assert!(!name.is_empty() && name.len() <= 200 && !name.starts_with('.'));
            prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)));
        }

        #[test]
        fn no_pattern_is_a_panic(pattern in "[a-z{}%/.é ]{0,20}") {
            let _ = Pattern::parse(&pattern);
        }
    }
}
