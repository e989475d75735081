//! One delivery as a Kafka record: topic, key, value, headers, time.
//!
//! L8: a topic that holds values of events took plain names alone when it was rendered; what still is no topic, or not one of
//! `topics`, is rejected here. Header names come from the file; values and keys are bytes that Kafka does not read.

use crate::cloudevents;
use crate::settings::{Config, Form, wrong_topic};
use rdkafka::message::{Header, OwnedHeaders};
use std::borrow::Cow;
use std::collections::BTreeMap;
use switchyard_api::{Parcel, Preview};

/// The headers that say which delivery this is; nobody else sets them.
const OURS: &str = "switchyard-";

/// Names and values.
type Headers<'a> = Vec<(Cow<'a, str>, Cow<'a, [u8]>)>;

/// What goes out: pieces of the parcel, which librdkafka copies once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where to.
    pub topic: &'a str,
    /// What chooses the partition.
    pub key: Option<&'a str>,
    /// `None`: a tombstone.
    pub value: Option<Cow<'a, [u8]>>,
    /// In this order; a name stands once.
    pub headers: Headers<'a>,
    /// When the event was received, milliseconds since 1970.
    pub timestamp: i64,
}

/// Why a delivery cannot be a record.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoRecord {
    /// The host renders it always; a row from the journal may lack it.
    #[error("the message has no `topic`")]
    NoTopic,
    /// See the broker's rule.
    #[error("`{0}` is no topic: {1}; a topic is 1 to 249 of `a-z A-Z 0-9 . _ -`")]
    BadTopic(String, &'static str),
    /// Not in the allow list.
    #[error("`{0}` is not one of the output's `topics`")]
    OtherTopic(String),
    /// `tombstone` says neither yes nor no.
    #[error("`tombstone` is `{0}`: it must render to `true`, `false` or nothing")]
    BadTombstone(String),
    /// A null value without a key deletes nothing.
    #[error("a tombstone needs a `key`")]
    TombstoneWithoutKey,
    /// A header that only we set.
    #[error("the header `{0}` is set by Switchyard itself")]
    OurHeader(String),
}

/// What of the settings shapes a record.
#[derive(Debug, Clone)]
pub struct Shaper {
    topics: Vec<String>,
    form: Option<Form>,
}

impl Shaper {
    /// From the settings.
    pub fn new(config: &Config) -> Self {
        Shaper { topics: config.topics.iter().map(|topic| topic.value.clone()).collect(), form: config.cloudevents }
    }

    /// The record of a delivery.
    pub fn record<'a>(&self, parcel: &'a Parcel) -> Result<Record<'a>, NoRecord> {
        let message = &parcel.message;
        let topic = self.topic(message.text("topic").ok_or(NoRecord::NoTopic)?)?;
        let key = message.text("key").filter(|key| !key.is_empty());
        let dead = tombstone(message.text("tombstone").unwrap_or(""))?;
        if dead && key.is_none() {
            return Err(NoRecord::TombstoneWithoutKey);
        }
        let value = message.text("body").or(message.payload.as_deref()).map_or(&parcel.raw[..], str::as_bytes);
        let mut value = (!dead).then_some(Cow::Borrowed(value));
        let mut headers = Headers::with_capacity(8);
        match self.form {
            Some(Form::Binary) => {
                headers.push(plain("content-type", parcel.payload_type()));
                let own = cloudevents::headers(parcel, message.text("key")).into_iter();
                headers.extend(own.map(|(name, value)| (name.into(), value.into())));
            }
            // A tombstone stays one: its value is null in every form.
            Some(Form::Structured) => {
                headers.push(plain("content-type", cloudevents::STRUCTURED));
                value = value.map(|data| cloudevents::envelope(parcel, message.text("key"), &data).into());
            }
            None => headers.push(plain("content-type", parcel.payload_type())),
        }
        add(&mut headers, message.map("headers"))?;
        headers.extend(ids(parcel));
        Ok(Record { topic, key, value, headers, timestamp: parcel.received_at })
    }

    fn topic<'a>(&self, topic: &'a str) -> Result<&'a str, NoRecord> {
        if let Some(why) = wrong_topic(topic) {
            let shown: String = topic.chars().take(80).map(|c| if c.is_control() { ' ' } else { c }).collect();
            return Err(NoRecord::BadTopic(shown, why));
        }
        if !self.topics.is_empty() && !self.topics.iter().any(|open| open == topic) {
            return Err(NoRecord::OtherTopic(topic.to_owned()));
        }
        Ok(topic)
    }
}

impl Record<'_> {
    /// As a person reads it.
    pub fn preview(&self) -> Preview {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let tombstone = self.value.is_none().then(|| ("tombstone".to_owned(), "true".to_owned()));
        Preview {
            properties: self.key.map(|key| ("key".to_owned(), key.to_owned())).into_iter().chain(tombstone).collect(),
            headers: self.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: self.value.as_deref().unwrap_or_default().to_vec().into(),
            ..Preview::new("PRODUCE", self.topic)
        }
    }

    /// As librdkafka takes them.
    pub fn native_headers(&self) -> OwnedHeaders {
        let empty = OwnedHeaders::new_with_capacity(self.headers.len());
        self.headers.iter().fold(empty, |all, (name, value)| all.insert(Header { key: name, value: Some(&value[..]) }))
    }
}

fn tombstone(text: &str) -> Result<bool, NoRecord> {
    match text.trim() {
        "true" => Ok(true),
        "" | "false" => Ok(false),
        other => Err(NoRecord::BadTombstone(other.chars().take(40).map(|c| if c.is_control() { ' ' } else { c }).collect())),
    }
}

/// The message's own headers; one that is there already is replaced.
fn add<'a>(headers: &mut Headers<'a>, own: Option<&'a BTreeMap<String, String>>) -> Result<(), NoRecord> {
    for (name, value) in own.into_iter().flatten() {
        if name.to_ascii_lowercase().starts_with(OURS) {
            return Err(NoRecord::OurHeader(name.clone()));
        }
        headers.retain(|(there, _)| there != name);
        headers.push(plain(name, value));
    }
    Ok(())
}

/// Which delivery this is.
fn ids(parcel: &Parcel) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, [u8]>)> {
    let attempt = ("switchyard-attempt".into(), parcel.attempt.to_string().into_bytes().into());
    let replay = parcel.replay.then(|| plain("switchyard-replay", "true"));
    [plain("switchyard-event", &parcel.event), plain("switchyard-delivery", &parcel.delivery), attempt].into_iter().chain(replay)
}

fn plain<'a>(name: &'a str, value: &'a str) -> (Cow<'a, str>, Cow<'a, [u8]>) {
    (name.into(), value.as_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;
    use switchyard_api::conformance::parcel;
    use switchyard_api::{Message, Rendered};

    fn shaper(topics: &[&str], form: Option<Form>) -> Shaper {
        Shaper { topics: topics.iter().map(|topic| (*topic).to_owned()).collect(), form }
    }
    fn message(fields: &[(&str, &str)]) -> Message {
        Message {
            fields: fields.iter().map(|(name, value)| ((*name).to_owned(), Rendered::Text((*value).to_owned()))).collect(),
            ..Message::default()
        }
    }
    /// Lives as long as the test's process: records are made of it.
    fn kept(parcel: Parcel) -> &'static Parcel {
        Box::leak(Box::new(parcel))
    }
    fn record(fields: &[(&str, &str)]) -> Result<Record<'static>, NoRecord> {
        shaper(&[], None).record(kept(parcel(7, &message(fields))))
    }
    fn names<'a>(record: &'a Record<'_>) -> Vec<&'a str> {
        record.headers.iter().map(|(name, _)| &**name).collect()
    }

    #[test]
    fn the_events_exact_bytes_go_out_with_ids_and_time() {
        let record = record(&[("topic", "orders"), ("key", "1042")]).unwrap();
        assert_eq!((record.topic, record.key, record.value.as_deref()), ("orders", Some("1042"), Some(&b"{\"number\":7}"[..])));
        assert_eq!(record.timestamp, 1_772_445_600_000);
        assert_eq!(names(&record), ["content-type", "switchyard-event", "switchyard-delivery", "switchyard-attempt"]);
    }

    #[test]
    fn an_empty_key_is_none_and_a_body_is_the_value() {
        let record = record(&[("topic", "orders"), ("key", ""), ("body", "hello")]).unwrap();
        assert_eq!((record.key, record.value.as_deref()), (None, Some(&b"hello"[..])));
    }

    #[test]
    fn a_tombstone_needs_a_key_and_a_clear_word() {
        let with = |key, word| record(&[("topic", "orders"), ("key", key), ("tombstone", word)]);
        assert_eq!(with("1", "true").unwrap().value, None);
        assert!(with("1", "false").unwrap().value.is_some() && with("", " ").unwrap().value.is_some());
        assert_eq!(with("", "true"), Err(NoRecord::TombstoneWithoutKey));
        assert_eq!(with("1", "yes\n"), Err(NoRecord::BadTombstone("yes".into())));
        let structured = parcel(7, &message(&[("topic", "o"), ("key", "1"), ("tombstone", "true")]));
        assert_eq!(shaper(&[], Some(Form::Structured)).record(&structured).unwrap().value, None);
    }

    #[test]
    fn a_header_of_the_message_replaces_but_never_ours() {
        let with = |name: &str| {
            let mut message = message(&[("topic", "orders")]);
            message.fields.insert("headers".into(), Rendered::Map([(name.to_owned(), "text/csv".to_owned())].into()));
            shaper(&[], None).record(kept(parcel(7, &message)))
        };
        let record = with("content-type").unwrap();
        assert_eq!(names(&record).iter().filter(|name| **name == "content-type").count(), 1);
        assert!(record.headers.contains(&plain("content-type", "text/csv")));
        assert_eq!(with("SWITCHYARD-delivery"), Err(NoRecord::OurHeader("SWITCHYARD-delivery".into())));
    }

    #[test]
    fn only_a_listed_topic_is_written_to() {
        let to = |topic: &str| shaper(&["orders", "orders-nl"], None).record(kept(parcel(7, &message(&[("topic", topic)]))));
        assert_eq!(to("orders-nl").unwrap().topic, "orders-nl");
        assert_eq!(to("orders-de"), Err(NoRecord::OtherTopic("orders-de".into())));
    }

    #[test]
    fn a_replay_says_so() {
        let replay = Parcel { replay: true, ..parcel(7, &message(&[("topic", "orders")])) };
        assert!(shaper(&[], None).record(&replay).unwrap().headers.contains(&plain("switchyard-replay", "true")));
    }

    proptest! {
        #[test]
        fn what_is_a_record_has_a_topic_that_kafka_takes(topic in "\\PC{0,300}|[a-z./\\x00-\\x1f]{0,9}|[a-zA-Z0-9._-]{1,249}", key in ".{0,9}") {
            let parcel = Parcel { message: Arc::new(message(&[("topic", &topic), ("key", &key)])), ..parcel(7, &Message::default()) };
            let legal = (1..=249).contains(&topic.len()) && topic != "." && topic != ".."
                && topic.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
            match shaper(&[], None).record(&parcel) {
                Ok(record) => prop_assert!(legal && record.topic == topic),
                Err(wrong) => prop_assert!(!legal && !wrong.to_string().contains(char::is_control)),
            }
        }
    }
}
