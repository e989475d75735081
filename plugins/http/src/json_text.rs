//! A template that is sent as JSON, read before an event comes: is what stands around its values JSON, and does each value stand
//! where it stays one (L8)? Within quotes every value is escaped; outside of them only a filter that writes JSON keeps it one.
//!
//! Conditions and loops are not walked: a template with `{%` is judged when it is rendered.

use serde::de::IgnoredAny;
use std::ops::Range;

/// Filters after which a value is one JSON value, or is meant as written.
const WHOLE: [&str; 9] = ["tojson", "int", "float", "length", "count", "round", "abs", "sum", "raw"];

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// What stands around the values is no JSON.
    NoJson(String),
    /// A value outside of quotes.
    Bare {
        /// Where, with its braces.
        at: Range<usize>,
        /// The same, written as JSON.
        filtered: String,
    },
}

/// The first thing that is wrong; `None` where nothing is, or nothing can be said.
pub fn judge(text: &str) -> Option<Wrong> {
    if text.contains("{%") || text.trim().is_empty() {
        return None;
    }
    // The text with a harmless value in each place.
    let (mut sample, mut quoted, mut at) = (String::with_capacity(text.len()), false, 0);
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if rest.starts_with("{#") {
            at += rest.find("#}")? + 2;
        } else if rest.starts_with("{{") {
            let end = at + rest.find("}}")? + 2;
            if !quoted && let Some(filtered) = bare(&text[at..end]) {
                return Some(Wrong::Bare { at: at..end, filtered });
            }
            sample.push_str(if quoted { "x" } else { "null" });
            at = end;
        } else if quoted && c == '\\' {
            let escaped: String = rest.chars().take(2).collect();
            at += escaped.len();
            sample.push_str(&escaped);
        } else {
            quoted ^= c == '"';
            sample.push(c);
            at += c.len_utf8();
        }
    }
    serde_json::from_str::<IgnoredAny>(&sample).err().map(|e| Wrong::NoJson(e.to_string()))
}

/// How a value outside of quotes is to be written, where it could be more than one JSON value.
fn bare(slot: &str) -> Option<String> {
    let expression = slot.trim_start_matches('{').trim_end_matches('}').trim_matches('-').trim();
    let name = expression.rsplit_once('|').map(|(_, filter)| filter.split('(').next().unwrap_or_default().trim());
    let whole = name.is_some_and(|name| WHOLE.contains(&name));
    (!whole).then(|| format!("{{{{ {expression}|tojson }}}}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_value_outside_of_quotes_is_found_with_what_to_write() {
        for (text, filtered) in [
            (r#"{"s": {{ data.s }} }"#, "{{ data.s|tojson }}"),
            (r#"{"a": "{{ data.a }}", "s": [{{- data.s|upper -}}]}"#, "{{ data.s|upper|tojson }}"),
            (r#"{"a": "\"", "s": {{ data.s|default('x') }}}"#, "{{ data.s|default('x')|tojson }}"),
        ] {
            match judge(text) {
                Some(Wrong::Bare { at, filtered: found }) => {
                    assert!(found == filtered && text[at.clone()].starts_with("{{") && text[at].ends_with("}}"), "{text}: {found}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_json_with_any_values_is_let_be() {
        for text in [
            r#"{"s": "{{ data.s }} and {{ data.t }}", "n": {{ data.n|tojson }}, "c": {{ data.l|length }}}"#,
            "{{ data|tojson }}",
            r#"{# all of it #}{"a": {{ data.a|raw }}}"#,
            r#"{% if data.x %}{"a": 1}{% endif %}"#,
            r#"{"a": {% if data.x %}{{ data.x }}{% else %}1{% endif %}}"#,
            " ",
        ] {
            assert_eq!(judge(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_told() {
        for text in ["{ not json", r#"{"a": "{{ data.a }}"#, r#"{"a": 1,}"#, "{{ data|tojson }} more"] {
            assert!(matches!(judge(text), Some(Wrong::NoJson(_))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in r#"[{}"\\#%|a ü]{0,30}"#) {
            let _ = judge(&text);
        }
    }
}
