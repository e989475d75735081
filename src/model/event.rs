//! One verified thing that happened, kept with its exact bytes.

use super::places::{self, Path};
use super::{EventId, Plan, Timestamp};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// The order in which events were kept, from 1, without gaps that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub i64);

/// A request's headers: lower-case names and values, in their order, as one block of `name:value\n` lines.
///
/// One block, because every event has one and few are looked into. Values are Latin-1 or UTF-8 as they came; they hold
/// no line ends (HTTP forbids them, and [`push`](Headers::push) drops such a value).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers(Vec<u8>);

impl Headers {
    /// Takes a block as [`as_bytes`](Self::as_bytes) gave it.
    pub fn from_block(block: Vec<u8>) -> Self {
        Headers(block)
    }

    /// Room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Headers(Vec::with_capacity(bytes))
    }

    /// Adds one. `name` must be lower case.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        if value.contains(&b'\n') || name.contains([':', '\n']) {
            return;
        }
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b':');
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }

    /// Names and values in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.split(|b| *b == b'\n').filter_map(|line| {
            let colon = line.iter().position(|b| *b == b':')?;
            Some((std::str::from_utf8(&line[..colon]).ok()?, &line[colon + 1..]))
        })
    }

    /// The first value of a name (lower case).
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// The block, for the journal.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A verified event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Ours.
    pub id: EventId,
    /// The source's name in the file.
    pub source: Arc<str>,
    /// What it is about: at most 256 bytes, data and never a pattern.
    pub topic: Arc<str>,
    /// When.
    pub received_at: Timestamp,
    /// Without those that carry secrets (`authorization`, `cookie`, a shared token).
    pub headers: Headers,
    /// The query as it came, without `?`; empty where there was none.
    pub query: Box<str>,
    /// The exact bytes.
    pub body: Bytes,
    /// The sender's own id of this event, where it has one; at most 256 bytes.
    pub sender_id: Option<Box<str>>,
    /// By which of its source's secrets it was proven, where there were several.
    pub signed_with: Option<SecretPlace>,
}

/// One of a source's secrets, never its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretPlace {
    /// Its place in the file's list, from 1; beyond 255 it is 255.
    pub position: u8,
    /// How many the list had then.
    pub of: u8,
}

impl SecretPlace {
    /// The one at this place, from 0, of so many; `None`: of one there is nothing to say.
    pub fn of(place: usize, count: usize) -> Option<Self> {
        let small = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
        (count > 1).then(|| SecretPlace { position: small(place + 1), of: small(count) })
    }
}

impl Event {
    /// The request's content type.
    pub fn content_type(&self) -> Option<&str> {
        self.headers.get("content-type").and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Bytes held in memory, for the bounds.
    pub fn size(&self) -> usize {
        self.body.len() + self.headers.as_bytes().len() + self.query.len() + 256
    }
}

/// An event that is durable, with its plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its place in the journal.
    pub seq: Seq,
    /// What happened.
    pub event: Event,
    /// Where it goes.
    pub plan: Plan,
}

/// By what a repeat of an event is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dedupe {
    /// Hash of source and sender's id, or of source, topic and body where the sender has no id.
    pub key: u64,
    /// How long a repeat is a repeat.
    pub window: Duration,
    /// It is a repeat that somebody released: it is kept all the same, once.
    pub released: bool,
    /// Paths of values in a body that are another in each repeat, as its sender's count of attempts: of two with the same id all else must be the
    /// same.
    pub but: &'static [Path],
}

impl Dedupe {
    /// The key of this event. Stable for ever: it stands in the journal.
    pub fn of(event: &Event, window: Duration) -> Self {
        let mut hash = Sha256::new();
        hash.update(event.source.as_bytes());
        match &event.sender_id {
            Some(id) => {
                hash.update([0, 1]);
                hash.update(id.as_bytes());
            }
            None => {
                hash.update([0, 2]);
                hash.update(event.topic.as_bytes());
                hash.update([0]);
                hash.update(&event.body);
            }
        }
        let mut key = [0; 8];
        key.copy_from_slice(&hash.finalize()[..8]);
        Dedupe { key: u64::from_be_bytes(key), window, released: false, but: &[] }
    }

    /// Whether an event with this body repeats one with that body and the same id.
    pub fn is_same(&self, event: &Event, kept: &[u8]) -> bool {
        let counted = event.sender_id.is_some() && !self.but.is_empty();
        event.body == kept || counted && places::same_but(&event.body, kept, self.but)
    }

    /// Of a repeat that becomes an event.
    pub fn of_released(event: &Event) -> Self {
        Dedupe { released: true, ..Dedupe::of(event, Duration::ZERO) }
    }
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is durable, and planned.
    New,
    /// The same source, id and body (or fingerprint; or but for what its sender counts in it) is durable already, inside the window; or, of a repeat that was to be released, it was.
    Duplicate {
        /// The event it repeats.
        of: EventId,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_secret_there_is_nothing_to_say() {
        let said =
            [(0, 1), (0, 2), (2, 3), (300, 400)].map(|(place, of)| SecretPlace::of(place, of).map(|secret| (secret.position, secret.of)));
        assert_eq!(said, [None, Some((1, 2)), Some((3, 3)), Some((255, 255))]);
    }

    #[test]
    fn headers_read_back_and_never_split() {
        let mut headers = Headers::default();
        headers.push("a", b"1: 2");
        headers.push("b", b"x\ny:z");
        headers.push("a", b"\xff");
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("a", &b"1: 2"[..]), ("a", b"\xff")]);
        assert_eq!(Headers::from_block(headers.as_bytes().to_vec()), headers);
        assert_eq!(headers.get("b"), None);
    }
}
