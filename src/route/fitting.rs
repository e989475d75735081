//! After the templates: the far side's limits. A field over its cap is cut, becomes several messages, or fails the delivery.
//!
//! Does: cut and split by what the field's kind says of each field and of several together. A split gives several messages of
//! the target, each a delivery with the next ordinal, as several results of a `transform` do. Never: sends what the far side
//! said it refuses; cuts a name, which would be another name.

use super::message::OutputMessage;
use std::collections::BTreeMap;
use std::sync::Arc;
use switchyard_api::Rendered;
use switchyard_api::escape::Escape;
use switchyard_api::fit::{Cap, Fit, Over, Total, Unit};
use switchyard_api::kind::{Confine, Field};

/// The limits of an output's fields.
#[derive(Debug, Clone, Default)]
pub struct Fitting {
    fields: Arc<BTreeMap<String, Limit>>,
    total: Option<Arc<Total>>,
}

#[derive(Debug, Clone, Copy)]
struct Limit {
    escape: Escape,
    cap: Option<Cap>,
    /// A part of it would mean something else.
    whole: bool,
}

impl Limit {
    fn of(field: &Field) -> Self {
        let whole = field.confine == Confine::Name || field.cap.is_some_and(|cap| cap.over == Over::Refuse);
        Limit { escape: field.escape, cap: field.cap, whole }
    }
}

/// Why a message can't be sent. Holds nothing of the event but a length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DoesNotFit {
    /// One field is too long, and a part of it would mean something else.
    #[error("`{field}` has {length} {}, and at most {most} fit", unit.word())]
    Field {
        /// Its name.
        field: String,
        /// How long it is.
        length: usize,
        /// In what.
        unit: Unit,
        /// How long it may be.
        most: usize,
    },
}

impl Fitting {
    /// What the kind of an output says.
    pub fn of(output: &OutputMessage) -> Self {
        let fields = output.fields.iter().map(|field| (field.name.to_string(), Limit::of(field))).collect();
        Fitting { fields: Arc::new(fields), total: output.total.clone().map(Arc::new) }
    }

    /// The messages that these fields become: one, or several where one is split. `link` is where the event can be looked at.
    ///
    /// # Errors
    /// A field is too long and may not be cut.
    pub fn fit(&self, rendered: BTreeMap<String, Rendered>, link: Option<&str>) -> Result<Vec<BTreeMap<String, Rendered>>, DoesNotFit> {
        let mut parts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut message = BTreeMap::new();
        for (name, field) in rendered {
            let Some((limit, cap)) = self.fields.get(&name).and_then(|limit| Some((limit, limit.cap?))) else {
                message.insert(name, field);
                continue;
            };
            let fit = Fit { escape: limit.escape, most: cap.most, unit: cap.unit, link };
            match field {
                Rendered::Text(text) if cap.over == Over::Split && !limit.whole => match fit.split(&text) {
                    Some(several) => drop(parts.insert(name, several)),
                    None => drop(message.insert(name, Rendered::Text(text))),
                },
                Rendered::Text(text) => drop(message.insert(name.clone(), Rendered::Text(one(&name, text, *limit, fit)?))),
                Rendered::Map(map) => {
                    let map = map.into_iter().map(|(key, text)| Ok((key, one(&name, text, *limit, fit)?)));
                    message.insert(name.clone(), Rendered::Map(map.collect::<Result<_, _>>()?));
                }
            }
        }
        let count = parts.values().map(Vec::len).max().unwrap_or(1);
        let mut messages = vec![message; count];
        for (name, several) in parts {
            for (message, part) in messages.iter_mut().zip(several) {
                message.insert(name.clone(), Rendered::Text(part));
            }
        }
        for message in &mut messages {
            self.share(message, link)?;
        }
        Ok(messages)
    }

    /// Whether the output has the field, and it is no name and no key: any part of it may be another.
    pub fn is_free(&self, field: &str) -> bool {
        self.fields.get(field).is_some_and(|limit| !limit.whole)
    }

    /// How a field's values are escaped.
    pub fn escape(&self, field: &str) -> Escape {
        self.fields.get(field).map_or(Escape::None, |limit| limit.escape)
    }

    /// Several texts of one field as one: each on lines of its own, and the number of those that are not shown, of `total`.
    pub fn list(&self, field: &str, items: &[String], total: usize) -> String {
        let limit = self.fields.get(field).copied();
        let escape = self.escape(field);
        let (most, unit) = limit.and_then(|limit| limit.cap).map_or((usize::MAX, Unit::Chars), |cap| (cap.most, cap.unit));
        let between = if matches!(escape, Escape::Html | Escape::Matrix) { "\n<hr>\n" } else { "\n" };
        Fit { escape, most, unit, link: None }.list_of(items, between, total)
    }

    /// Cuts the longest of the fields that have one limit together.
    fn share(&self, message: &mut BTreeMap<String, Rendered>, link: Option<&str>) -> Result<(), DoesNotFit> {
        let Some(total) = &self.total else { return Ok(()) };
        let length = |name: &str| match message.get(name) {
            Some(Rendered::Text(text)) => total.unit.measure(text),
            Some(Rendered::Map(map)) => map.values().map(|text| total.unit.measure(text)).sum(),
            None => 0,
        };
        let lengths: Vec<usize> = total.fields.iter().map(|name| length(name)).collect();
        for ((name, length), most) in total.fields.iter().zip(&lengths).zip(total.shares(&lengths)) {
            let Some(limit) = self.fields.get(&**name).filter(|_| *length > most) else { continue };
            let fit = Fit { escape: limit.escape, most, unit: total.unit, link };
            match message.get_mut(&**name) {
                Some(Rendered::Text(text)) => *text = one(name, std::mem::take(text), *limit, fit)?,
                _ => return Err(DoesNotFit::Field { field: name.to_string(), length: *length, unit: total.unit, most }),
            }
        }
        Ok(())
    }
}

/// One text, cut where it may be.
fn one(field: &str, text: String, limit: Limit, fit: Fit<'_>) -> Result<String, DoesNotFit> {
    if limit.whole {
        let length = fit.unit.measure(&text);
        let fits = length <= fit.most;
        return if fits { Ok(text) } else { Err(DoesNotFit::Field { field: field.to_owned(), length, unit: fit.unit, most: fit.most }) };
    }
    Ok(fit.cut(&text).unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_api::{Shape, Span};

    fn field(name: &'static str, cap: Option<Cap>) -> Field {
        Field {
            name: name.into(),
            docs: "what it says".into(),
            shape: Shape::Text,
            escape: Escape::Slack,
            confine: Confine::Content,
            required: false,
            default: None,
            cap,
        }
    }

    fn fitting(total: Option<Total>) -> Fitting {
        let fields = vec![
            field("text", Some(Cap { most: 60, unit: Unit::Chars, over: Over::Split })),
            field("title", Some(Cap::chars(30))),
            field("key", Some(Cap::bytes(10).or_refuse())),
            Field { confine: Confine::Name, ..field("channel", Some(Cap::chars(10))) },
            field("body", None),
            Field { shape: Shape::Map, ..field("headers", Some(Cap::chars(30))) },
        ];
        Fitting::of(&OutputMessage {
            name: "chat".into(),
            span: Span::default(),
            fields,
            message: vec![],
            config: None,
            total,
            line: None,
            rate_key: None,
            on_dead: None,
        })
    }

    fn fields(of: &[(&str, String)]) -> BTreeMap<String, Rendered> {
        of.iter().map(|(name, text)| ((*name).to_owned(), Rendered::Text(text.clone()))).collect()
    }

    fn texts<'m>(messages: &'m [BTreeMap<String, Rendered>], name: &str) -> Vec<&'m str> {
        let text = |message: &'m BTreeMap<String, Rendered>| match message.get(name) {
            Some(Rendered::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        messages.iter().filter_map(text).collect()
    }

    #[test]
    fn a_split_gives_several_messages_and_the_rest_stands_in_each() {
        let rendered = fields(&[("text", "word ".repeat(20)), ("channel", "sales".into()), ("title", "a ".repeat(30))]);
        let messages = fitting(None).fit(rendered, None).unwrap();
        assert_eq!(
            texts(&messages, "text"),
            [format!("(1/2) {}", "word ".repeat(10).trim_end()), format!("(2/2) {}", "word ".repeat(10)),]
        );
        assert_eq!(texts(&messages, "channel"), ["sales"; 2]);
        assert_eq!(texts(&messages, "title"), ["a a a a a… 51 more characters"; 2]);
    }

    #[test]
    fn what_fits_is_one_message_as_it_was_and_what_has_no_cap_is_let_be() {
        let rendered = fields(&[("text", "short".into()), ("body", "x".repeat(5000))]);
        assert_eq!(fitting(None).fit(rendered.clone(), None), Ok(vec![rendered]));
    }

    #[test]
    fn a_key_or_a_name_is_refused_whole() {
        for (name, unit) in [("key", "bytes"), ("channel", "characters")] {
            let error = fitting(None).fit(fields(&[(name, "hush".repeat(5))]), None).unwrap_err().to_string();
            assert_eq!(error, format!("`{name}` has 20 {unit}, and at most 10 fit"));
        }
        assert!(fitting(None).fit(fields(&[("key", "0123456789".into())]), None).is_ok());
    }

    #[test]
    fn together_the_longest_are_cut_and_a_map_item_by_item() {
        let total = |fields: &[&'static str]| {
            Some(Total { most: 70, unit: Unit::Chars, fields: fields.iter().map(|name| (*name).into()).collect() })
        };
        let rendered = fields(&[("title", "title".into()), ("body", "word ".repeat(40))]);
        let messages = fitting(total(&["title", "body"])).fit(rendered, Some("https://sy.example/e")).unwrap();
        assert_eq!(texts(&messages, "title"), ["title"]);
        assert_eq!(texts(&messages, "body"), [format!("{}word… 156 more characters", "word ".repeat(8))]);
        let error = fitting(total(&["key", "body"])).fit(fields(&[("key", "k".repeat(9)), ("body", "x".repeat(900))]), None);
        assert!(error.is_ok(), "the key is not the longest: {error:?}");
        let map = Rendered::Map([("a".to_owned(), "x".repeat(80)), ("b".to_owned(), "y".to_owned())].into());
        let messages = fitting(None).fit([("headers".to_owned(), map)].into(), None).unwrap();
        let Some(Rendered::Map(map)) = messages[0].get("headers") else { panic!("{messages:?}") };
        assert_eq!((map["a"].as_str(), map["b"].as_str()), ("xxxxxxxxxx… 70 more characters", "y"));
    }
}
