//! Limits of the texts within a JSON that a person wrote around values: a chat's blocks and embeds.
//!
//! Does: cuts each text that is over the limit of the key that holds it, and then the longest until all fit together, at a word
//! and with the count of what is left out. Never: touches what is no such text: keys, numbers with their digits, blanks.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Range;
use switchyard_api::Total;
use switchyard_api::escape::Escape;
use switchyard_api::fit::{Fit, Unit};

/// The limits, in characters.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextCaps {
    /// Of all of them together.
    pub most: usize,
    /// Of each, by the key that holds it. A text under another key is none of them.
    pub each: BTreeMap<String, usize>,
}

/// A text, and where its quotes stand.
struct Held {
    at: Range<usize>,
    text: String,
    most: usize,
}

impl TextCaps {
    /// The JSON with texts that fit; `None` where they do, and where it is no JSON.
    pub fn fit(&self, json: &str, escape: Escape) -> Option<String> {
        serde_json::from_str::<IgnoredAny>(json).ok()?;
        let held = self.held(json);
        let lengths: Vec<usize> = held.iter().map(|held| Unit::Chars.measure(&held.text).min(held.most)).collect();
        let shares = Total { most: self.most, unit: Unit::Chars, fields: vec![] }.shares(&lengths);
        let cut = |(held, most): (Held, usize)| {
            let fit = Fit { escape, most, unit: Unit::Chars, link: None };
            Some((held.at, fit.cut(&held.text)?))
        };
        let cuts: Vec<(Range<usize>, String)> = held.into_iter().zip(shares).filter_map(cut).collect();
        if cuts.is_empty() {
            return None;
        }
        let (mut out, mut from) = (String::with_capacity(json.len()), 0);
        for (at, text) in cuts {
            out.push_str(&json[from..at.start]);
            out.push_str(&Value::from(text).to_string());
            from = at.end;
        }
        Some(out + &json[from..])
    }

    /// The texts that have a limit. The JSON is one.
    fn held(&self, json: &str) -> Vec<Held> {
        let (mut held, mut key, mut from) = (vec![], String::new(), 0);
        while let Some(start) = json[from..].find('"').map(|at| from + at) {
            let end = end(json, start);
            let text: String = serde_json::from_str(&json[start..end]).unwrap_or_default();
            if json[end..].trim_start().starts_with(':') {
                key = text;
            } else if let Some(most) = self.each.get(&key) {
                held.push(Held { at: start..end, text, most: *most });
            }
            from = end;
        }
        held
    }
}

/// Behind the quote that ends the text which begins there.
fn end(json: &str, start: usize) -> usize {
    let mut escaped = false;
    let ends = |(_, byte): &(usize, u8)| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    };
    json.bytes().enumerate().skip(start + 1).find(ends).map_or(json.len(), |(at, _)| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn caps(most: usize, each: &[(&str, usize)]) -> TextCaps {
        TextCaps { most, each: each.iter().map(|(key, most)| ((*key).to_owned(), *most)).collect() }
    }

    #[test]
    fn what_is_too_long_is_cut_and_nothing_else_is_touched() {
        let long = "word ".repeat(40);
        let json = format!(r#"[ {{"n": 1.50, "url": "{long}", "te\u0078t" : "{long}", "in": [{{"text": "a\"b"}}]}} ]"#);
        let cut = caps(1000, &[("text", 50)]).fit(&json, Escape::Slack).unwrap();
        let expected = format!(
            r#"[ {{"n": 1.50, "url": "{long}", "te\u0078t" : "word word word word word word… 171 more characters", "in": [{{"text": "a\"b"}}]}} ]"#
        );
        assert_eq!(cut, expected);
        assert_eq!(caps(1000, &[("text", 500)]).fit(&json, Escape::Slack), None);
        assert_eq!(caps(0, &[("text", 0)]).fit("[ no json \"text\"", Escape::Slack), None);
    }

    #[test]
    fn together_the_longest_lose() {
        let json = format!(r#"{{"title":"short","value":"{}","text":"{}"}}"#, "a ".repeat(100), "b ".repeat(100));
        let cut = caps(105, &[("title", 50), ("value", 200), ("text", 200)]).fit(&json, Escape::Discord).unwrap();
        let read: Value = serde_json::from_str(&cut).unwrap();
        let chars = |key: &str| read[key].as_str().unwrap().chars().count();
        assert!(read["title"] == "short" && chars("value") <= 50 && chars("text") <= 50 && chars("text") > 40, "{cut}");
    }

    proptest! {
        #[test]
        fn whatever_the_texts_say_they_fit_and_the_shape_stays(texts in prop::collection::vec(r#"[a-z "\\{}\[\]:,<&*@é😀]{0,60}"#, 0..6), most in 0usize..150, each in 0usize..60) {
            let items: Vec<Value> = texts.iter().map(|text| serde_json::json!({ "text": text, "other": text, "n": 7 })).collect();
            let json = Value::from(items.clone()).to_string();
            let fitted = caps(most, &[("text", each)]).fit(&json, Escape::Discord).unwrap_or(json);
            let read: Vec<Value> = serde_json::from_str(&fitted).unwrap();
            prop_assert_eq!(read.len(), items.len());
            let lengths: Vec<usize> = read.iter().map(|item| item["text"].as_str().unwrap().chars().count()).collect();
            prop_assert!(lengths.iter().all(|length| *length <= each) && lengths.iter().sum::<usize>() <= most, "{:?}", lengths);
            for (now, before) in read.iter().zip(&items) {
                prop_assert_eq!((&now["other"], &now["n"]), (&before["other"], &before["n"]));
            }
        }
    }
}
