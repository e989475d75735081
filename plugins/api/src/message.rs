//! What is sent, rendered: the message fields of one delivery. Fixed when the first attempt is recorded, and sent again as it was.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One rendered field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Rendered {
    /// One text.
    Text(String),
    /// Names and texts, such as `headers`.
    Map(BTreeMap<String, String>),
}

/// One delivery's rendered message.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Message {
    /// The result of the route's `transform`, as JSON; `None`: the event's exact bytes are the payload.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub payload: Option<String>,
    /// The message fields that the route or the output set, and the kind's defaults.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub fields: BTreeMap<String, Rendered>,
    /// Where it speaks for several deliveries: for how many.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub digest: Option<Digest>,
}

/// What a message that was collected stands for: itself, and others of its key that arrived up to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// How many deliveries, itself among them.
    pub count: u64,
    /// The journal's number of the last event in it. Fixed with the message: what comes later goes with the next one.
    pub through: i64,
}

impl Message {
    /// A text field.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.fields.get(name) {
            Some(Rendered::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A field of names and texts.
    pub fn map(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        match self.fields.get(name) {
            Some(Rendered::Map(map)) => Some(map),
            _ => None,
        }
    }

    /// Whether nothing had to be rendered: the event goes out as it came.
    pub fn is_plain(&self) -> bool {
        self.payload.is_none() && self.fields.is_empty()
    }

    /// How many deliveries it speaks for.
    pub fn count(&self) -> u64 {
        self.digest.map_or(1, |digest| digest.count)
    }

    /// For the journal.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// From the journal; `None` if the bytes are not what [`encode`](Self::encode) wrote.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Bytes held, for the bound of the open window.
    pub fn size(&self) -> usize {
        let field = |f: &Rendered| match f {
            Rendered::Text(text) => text.len(),
            Rendered::Map(map) => map.iter().map(|(k, v)| k.len() + v.len()).sum(),
        };
        self.payload.as_ref().map_or(0, String::len) + self.fields.values().map(field).sum::<usize>()
    }
}

/// The payload of a delivery: the transform's result, or the event's exact bytes.
pub fn payload(message: &Message, raw: &Bytes) -> Bytes {
    message.payload.as_ref().map_or_else(|| raw.clone(), |text| Bytes::copy_from_slice(text.as_bytes()))
}
