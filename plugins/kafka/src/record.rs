//! One delivery as a Kafka record: topic, key, value, headers, time.
//!
//! L8: a topic that holds values of events took plain names alone when it was rendered; what still is no topic, or not one of
//! `topics`, is rejected here. Header names come from the file; values and keys are bytes that Kafka does not read.

use crate::cloudevents;
use crate::settings::{Config, Form, wrong_topic};
use bytes::Bytes;
use rdkafka::message::{Header, OwnedHeaders};
use std::collections::BTreeMap;
use switchyard_api::Parcel;

/// The headers that say which delivery this is; nobody else sets them.
const OURS: &str = "switchyard-";

/// What goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where to.
    pub topic: String,
    /// What chooses the partition.
    pub key: Option<Bytes>,
    /// `None`: a tombstone.
    pub value: Option<Bytes>,
    /// In this order; a name stands once.
    pub headers: Vec<(String, Vec<u8>)>,
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
    pub fn record(&self, parcel: &Parcel) -> Result<Record, NoRecord> {
        let message = &parcel.message;
        let topic = self.topic(message.text("topic").ok_or(NoRecord::NoTopic)?)?;
        let key = message.text("key").filter(|key| !key.is_empty()).map(|key| Bytes::copy_from_slice(key.as_bytes()));
        let dead = tombstone(message.text("tombstone").unwrap_or(""))?;
        if dead && key.is_none() {
            return Err(NoRecord::TombstoneWithoutKey);
        }
        let value = message.text("body").map_or_else(|| parcel.payload(), |body| Bytes::copy_from_slice(body.as_bytes()));
        let mut value = (!dead).then_some(value);
        let mut headers = vec![];
        match self.form {
            Some(Form::Binary) => {
                headers.push(("content-type".to_owned(), parcel.payload_type().as_bytes().to_vec()));
                headers.extend(cloudevents::headers(parcel, message.text("key")));
            }
            // A tombstone stays one: its value is null in every form.
            Some(Form::Structured) => {
                headers.push(("content-type".to_owned(), cloudevents::STRUCTURED.as_bytes().to_vec()));
                value = value.map(|data| cloudevents::envelope(parcel, message.text("key"), &data).into());
            }
            None => headers.push(("content-type".to_owned(), parcel.payload_type().as_bytes().to_vec())),
        }
        add(&mut headers, message.map("headers"))?;
        headers.extend(ids(parcel));
        Ok(Record { topic, key, value, headers, timestamp: parcel.received_at })
    }

    fn topic(&self, topic: &str) -> Result<String, NoRecord> {
        if let Some(why) = wrong_topic(topic) {
            let shown: String = topic.chars().take(80).map(|c| if c.is_control() { ' ' } else { c }).collect();
            return Err(NoRecord::BadTopic(shown, why));
        }
        if !self.topics.is_empty() && !self.topics.iter().any(|open| open == topic) {
            return Err(NoRecord::OtherTopic(topic.to_owned()));
        }
        Ok(topic.to_owned())
    }
}

impl Record {
    /// As librdkafka takes them.
    pub fn native_headers(&self) -> OwnedHeaders {
        let empty = OwnedHeaders::new_with_capacity(self.headers.len());
        self.headers.iter().fold(empty, |all, (name, value)| all.insert(Header { key: name, value: Some(value) }))
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
fn add(headers: &mut Vec<(String, Vec<u8>)>, own: Option<&BTreeMap<String, String>>) -> Result<(), NoRecord> {
    for (name, value) in own.into_iter().flatten() {
        if name.to_ascii_lowercase().starts_with(OURS) {
            return Err(NoRecord::OurHeader(name.clone()));
        }
        headers.retain(|(there, _)| there != name);
        headers.push((name.clone(), value.clone().into_bytes()));
    }
    Ok(())
}

/// Which delivery this is.
fn ids(parcel: &Parcel) -> Vec<(String, Vec<u8>)> {
    let mut ids = vec![
        ("switchyard-event".to_owned(), parcel.event.clone().into_bytes()),
        ("switchyard-delivery".to_owned(), parcel.delivery.clone().into_bytes()),
        ("switchyard-attempt".to_owned(), parcel.attempt.to_string().into_bytes()),
    ];
    if parcel.replay {
        ids.push(("switchyard-replay".to_owned(), b"true".to_vec()));
    }
    ids
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
    fn record(fields: &[(&str, &str)]) -> Result<Record, NoRecord> {
        shaper(&[], None).record(&parcel(7, &message(fields)))
    }
    fn names(record: &Record) -> Vec<&str> {
        record.headers.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn the_events_exact_bytes_go_out_with_ids_and_time() {
        let record = record(&[("topic", "orders"), ("key", "1042")]).unwrap();
        assert_eq!(
            (record.topic.as_str(), record.key.as_deref(), record.value.as_deref()),
            ("orders", Some(&b"1042"[..]), Some(&b"{\"number\":7}"[..]))
        );
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
        let structured =
            shaper(&[], Some(Form::Structured)).record(&parcel(7, &message(&[("topic", "o"), ("key", "1"), ("tombstone", "true")])));
        assert_eq!(structured.unwrap().value, None);
    }

    #[test]
    fn a_header_of_the_message_replaces_but_never_ours() {
        let with = |name: &str| {
            let mut message = message(&[("topic", "orders")]);
            message.fields.insert("headers".into(), Rendered::Map([(name.to_owned(), "text/csv".to_owned())].into()));
            shaper(&[], None).record(&parcel(7, &message))
        };
        let record = with("content-type").unwrap();
        assert_eq!(names(&record).iter().filter(|name| **name == "content-type").count(), 1);
        assert!(record.headers.contains(&("content-type".into(), b"text/csv".to_vec())));
        assert_eq!(with("SWITCHYARD-delivery"), Err(NoRecord::OurHeader("SWITCHYARD-delivery".into())));
    }

    #[test]
    fn only_a_listed_topic_is_written_to() {
        let to = |topic: &str| shaper(&["orders", "orders-nl"], None).record(&parcel(7, &message(&[("topic", topic)])));
        assert_eq!(to("orders-nl").unwrap().topic, "orders-nl");
        assert_eq!(to("orders-de"), Err(NoRecord::OtherTopic("orders-de".into())));
    }

    #[test]
    fn a_replay_says_so() {
        let replay = Parcel { replay: true, ..parcel(7, &message(&[("topic", "orders")])) };
        assert!(shaper(&[], None).record(&replay).unwrap().headers.contains(&("switchyard-replay".into(), b"true".to_vec())));
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
