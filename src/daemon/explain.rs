//! What would become of an event, without sending anything.

use super::blueprint::Blueprint;
use super::gate::Gate;
use crate::model::{Event, EventId, Headers, HeldUntil, Message, OWN_SOURCE, Rendered, Target, Timestamp};
use crate::route::{JqPool, RouteVerdict, Router, Sent, Verdict};
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// An event that never was.
#[derive(Debug)]
pub struct Draft<'d> {
    /// The source it would come from.
    pub source: &'d str,
    /// The topic it would have; without one, what the source reads from headers and body.
    pub topic: Option<&'d str>,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub body: Bytes,
    /// When it would be received.
    pub now: Timestamp,
}

/// Why there is nothing to explain.
#[derive(Debug, thiserror::Error)]
pub enum CannotExplain {
    /// The file has no such source.
    #[error("there is no source `{name}`{}", near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    NoSource {
        /// What was asked for.
        name: String,
        /// What may have been meant.
        near: Option<String>,
    },
}

/// What would become of a draft under a configuration.
pub async fn draft(blueprint: &Blueprint, draft: Draft<'_>) -> Result<Value, CannotExplain> {
    if blueprint.verifier(draft.source).is_none() && draft.source != OWN_SOURCE {
        let near = switchyard_api::problem::nearest(draft.source, blueprint.source_names()).map(str::to_owned);
        return Err(CannotExplain::NoSource { name: draft.source.to_owned(), near });
    }
    let topic = draft.topic.map(Into::into).or_else(|| blueprint.topic_of(draft.source, &draft.headers, &draft.body)).unwrap_or_default();
    let event = Event {
        id: EventId([0; 16]),
        source: draft.source.into(),
        topic,
        received_at: draft.now,
        headers: draft.headers,
        query: "".into(),
        body: draft.body,
        sender_id: None,
    };
    let jq = super::jq_pool(1);
    let gate = Gate::of(&blueprint.router, &blueprint.outputs);
    Ok(event_under(&blueprint.router, &event, &jq, &|target| gate.held_until(target, draft.now)).await)
}

/// Why a delivery to a target would not go at once; `None`: it would.
pub type Held<'h> = &'h (dyn Fn(&Target) -> Option<HeldUntil> + Sync);

/// What becomes of an event under these routes, as JSON: `{event, source, topic, routes: [{route, matched, why, targets}]}`.
pub async fn event_under(router: &Router, event: &Event, jq: &JqPool, held: Held<'_>) -> Value {
    let routes: Vec<Value> = router.explain(event, jq).await.iter().map(|verdict| route(verdict, held)).collect();
    json!({ "event": event.id.to_string(), "source": &*event.source, "topic": &*event.topic, "routes": routes })
}

fn route(verdict: &RouteVerdict, held: Held<'_>) -> Value {
    let (matched, why, targets) = match &verdict.verdict {
        Verdict::Missed { why, .. } => (false, Some(why.as_str()), vec![]),
        Verdict::Undecided(why) => (true, Some(why.as_str()), vec![]),
        Verdict::Matched(sent) => (true, None, sent.iter().map(|sent| target(sent, held)).collect()),
    };
    json!({ "route": &*verdict.route, "matched": matched, "why": why, "targets": targets })
}

fn target(sent: &Sent, held: Held<'_>) -> Value {
    let output = &*sent.target.output;
    match &sent.messages {
        Ok(messages) => {
            json!({ "output": output, "held": held(&sent.target).map(|held| held.why), "messages": messages.iter().map(|m| message(m)).collect::<Vec<_>>() })
        }
        Err(why) => json!({ "output": output, "failed": why.to_string() }),
    }
}

/// A rendered message.
fn message(message: &Message) -> Value {
    let mut shown = Map::new();
    if let Some(payload) = &message.payload {
        shown.insert("payload".into(), payload.as_str().into());
    }
    for (name, field) in &message.fields {
        let value = match field {
            Rendered::Text(text) => Value::from(text.as_str()),
            Rendered::Map(map) => map.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect(),
        };
        shown.insert(name.clone(), value);
    }
    Value::Object(shown)
}
