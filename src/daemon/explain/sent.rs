//! A delivery as its far side would see it, in JSON.

use super::Scene;
use crate::deliver::first_attempt;
use crate::model::{Event, Message, Rendered, Target};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use switchyard_api::Preview;

/// The most of a body that is shown.
const BODY_MAX: usize = 64 << 10;
/// Fields that say what there is to say: where one is set the event itself is not what people read.
const SAYS: [&str; 7] = ["text", "html", "body", "line", "columns", "message", "sql"];

impl Scene<'_> {
    /// The fields of a message, and the request that would carry it, or what stands for one.
    pub(super) fn sent(&self, event: &Event, target: &Target, ordinal: u32, message: &Arc<Message>) -> (Value, Option<Value>) {
        let fields = self.fields(event, message);
        let Some(sight) = self.sights.output(&target.output) else { return (fields, None) };
        let parcel = first_attempt(event, target, ordinal, Arc::clone(message));
        let request = sight.preview(&parcel).map(|preview| match preview {
            Ok(preview) => self.request(&preview),
            Err(why) => json!({ "failed": self.sights.masked(&why) }),
        });
        (fields, request)
    }

    fn fields(&self, event: &Event, message: &Message) -> Value {
        let masked = |text: &str| Value::from(self.sights.masked(text));
        let mut shown = Map::new();
        if !SAYS.iter().any(|name| message.fields.contains_key(*name)) {
            let payload = switchyard_api::message::payload(message, &event.body);
            shown.insert("payload".into(), masked(&text(&payload).0));
        }
        for (name, field) in &message.fields {
            let value = match field {
                Rendered::Text(text) => masked(text),
                Rendered::Map(map) => map.iter().map(|(name, value)| (name.clone(), masked(value))).collect(),
            };
            shown.insert(name.clone(), value);
        }
        Value::Object(shown)
    }

    fn request(&self, preview: &Preview) -> Value {
        let (body, cut) = text(&preview.body);
        json!({
            "method": preview.method, "url": self.sights.masked(&preview.url), "properties": self.named(&preview.properties),
            "headers": self.named(&preview.headers), "body": self.sights.masked(&body), "bytes": preview.body.len(), "body_cut": cut,
        })
    }

    fn named(&self, pairs: &[(String, String)]) -> Map<String, Value> {
        let mut named = Map::new();
        for (name, value) in pairs {
            let value = self.sights.masked(value);
            // Sent twice it is read as a list.
            let value = named.get(name).and_then(Value::as_str).map_or_else(|| value.clone(), |before| format!("{before}, {value}"));
            named.insert(name.clone(), value.into());
        }
        named
    }
}

/// Bytes as a person reads them, and whether that is not all of them.
fn text(bytes: &[u8]) -> (String, bool) {
    let shown = &bytes[..bytes.len().min(BODY_MAX)];
    (String::from_utf8_lossy(shown).into_owned(), bytes.len() > BODY_MAX)
}
