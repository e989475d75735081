//! Events and files for this room's tests.

use crate::model::{Event, EventId, Headers, Timestamp};
use switchyard_api::Span;
use switchyard_api::tree::{Key, Node, Text, Value};

/// An event of the source `shop`, topic `ORDER_PAID`, with this body.
pub fn event(body: &str) -> Event {
    Event {
        id: EventId([7; 16]),
        source: "shop".into(),
        topic: "ORDER_PAID".into(),
        received_at: Timestamp(1_772_445_600_000),
        headers: Headers::default(),
        query: "".into(),
        body: body.to_owned().into(),
        sender_id: None,
        signed_with: None,
    }
}

impl Event {
    /// The same with another body.
    #[must_use]
    pub fn with_body(mut self, body: &str) -> Event {
        self.body = body.to_owned().into();
        self
    }

    /// The same with another topic.
    #[must_use]
    pub fn with_topic(mut self, topic: &str) -> Event {
        self.topic = topic.into();
        self
    }
}

/// The tree of a YAML text that is written as JSON. Places are those of the text.
pub fn tree(text: &str) -> Node {
    let mut reader = Reader { text, at: 0 };
    let node = reader.node();
    reader.space();
    assert_eq!(reader.at, text.len(), "more after the value: {}", &text[reader.at..]);
    node
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn space(&mut self) {
        self.at += self.text[self.at..].len() - self.text[self.at..].trim_start().len();
    }

    fn next(&self) -> u8 {
        self.text.as_bytes()[self.at]
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.space();
        let there = self.next() == byte;
        self.at += usize::from(there);
        there
    }

    fn scalar(&mut self) -> (Span, String) {
        self.space();
        let mut stream = serde_json::Deserializer::from_str(&self.text[self.at..]).into_iter::<serde_json::Value>();
        let value = stream.next().unwrap().unwrap();
        let span = Span { start: self.at, end: self.at + stream.byte_offset() };
        self.at = span.end;
        (span, value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    fn node(&mut self) -> Node {
        self.space();
        let start = self.at;
        let value = match self.next() {
            b'[' => {
                self.at += 1;
                let mut items = vec![];
                while !self.eat(b']') {
                    items.push(self.node());
                    self.eat(b',');
                }
                Value::List(items)
            }
            b'{' => {
                self.at += 1;
                let mut entries = vec![];
                while !self.eat(b'}') {
                    let (span, name) = self.scalar();
                    assert!(self.eat(b':'));
                    entries.push((Key { span, name }, self.node()));
                    self.eat(b',');
                }
                Value::Map(entries)
            }
            first => {
                let (_, text) = self.scalar();
                match (first, text.as_str()) {
                    (b'"', _) => {
                        Value::Text(Text { replaced: text.contains("${").then(|| switchyard_api::Secret::new("hush-hush")), written: text })
                    }
                    (_, "null") => Value::Null,
                    (_, "true") => Value::Bool(true),
                    (_, "false") => Value::Bool(false),
                    (_, number) => number.parse().map_or_else(|_| Value::Float(number.parse::<f64>().unwrap().into()), Value::Int),
                }
            }
        };
        Node { span: Span { start, end: self.at }, value }
    }
}

/// Every number that JSON can write, within reason; but for `-0`, which is written `0`.
pub const NUMBER: &str = r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?";
