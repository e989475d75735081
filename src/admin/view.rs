//! The JSON shapes of events, deliveries and what is shown of them.

use crate::daemon::silences::Silence;
use crate::deliver::Attempted;
use crate::journal::archive::{DeliveryLine, EventLine, EventView};
use crate::model::{DeliveryRow, EventId, Kept, State, Target, Timestamp, envelope};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The most of a body that is shown; the rest is cut, and said.
const SHOWN_MAX: usize = 64 << 10;

/// An event in a list.
pub fn event_line(event: &EventLine) -> Value {
    json!({
        "id": event.id.to_string(), "source": &*event.source, "topic": event.topic, "received_at": event.received_at.to_string(),
        "sender_id": event.sender_id, "bytes": event.bytes, "plan": event.targets, "reused_id": event.reused_id,
        "config": event.config.map(|version| version.to_string()),
    })
}

/// An event as it happens, for `tail`.
pub fn event_happened(kept: &Kept) -> Value {
    let event = &kept.event;
    json!({ "at": event.received_at.to_string(), "event": event.id.to_string(), "source": &*event.source, "topic": &*event.topic, "plan": kept.plan.targets.len() })
}

/// What is known of the outputs at this moment.
#[derive(Clone, Copy)]
pub struct Outputs<'o> {
    /// Why nothing goes to one now; `None`: it works.
    pub blocked: &'o dyn Fn(&str) -> Option<String>,
    /// Those that are paused: what waits for them is held (decision 25).
    pub paused: &'o BTreeSet<Arc<str>>,
}

/// One event whole, with its deliveries.
pub fn event(view: &EventView, outputs: Outputs<'_>) -> Value {
    let event = &view.kept.event;
    let text = String::from_utf8_lossy(&event.body[..event.body.len().min(SHOWN_MAX)]);
    let headers: Map<String, Value> =
        event.headers.iter().map(|(name, value)| (name.to_owned(), Value::from(String::from_utf8_lossy(value).into_owned()))).collect();
    json!({
        "id": event.id.to_string(), "source": &*event.source, "topic": &*event.topic, "received_at": event.received_at.to_string(),
        "sender_id": event.sender_id, "signed_with": event.signed_with.map(|secret| json!({ "position": secret.position, "of": secret.of })),
        "config": view.kept.plan.version_at(0).map(|version| version.to_string()), "headers": headers, "query": &*event.query, "bytes": event.body.len(), "raw": text,
        "raw_cut": event.body.len() > SHOWN_MAX, "damaged": view.damaged,
        "not_parsed": envelope::data(event).err().map(|why| why.to_string()),
        "plan": view.kept.plan.targets.iter().map(|target| planned(view, target, outputs)).collect::<Vec<_>>(),
        "deliveries": view.deliveries.iter().map(|row| delivery_of(view, row, outputs)).collect::<Vec<_>>(),
    })
}

fn planned(view: &EventView, target: &Target, outputs: Outputs<'_>) -> Value {
    let config = view.kept.plan.version_of(target).map(|version| version.to_string());
    json!({ "route": &*target.route, "output": &*target.output, "config": config, "blocked": (outputs.blocked)(&target.output) })
}

/// A delivery of an event, with the configuration that planned it.
fn delivery_of(view: &EventView, row: &DeliveryRow, outputs: Outputs<'_>) -> Value {
    let mut value = delivery(view.kept.event.id, row, outputs);
    value["config"] = view.kept.plan.version_of(&row.key.target).map(|version| version.to_string()).into();
    value
}

/// A delivery in a list.
pub fn delivery_line(line: &DeliveryLine, outputs: Outputs<'_>) -> Value {
    let mut value = delivery(line.event, &line.row, outputs);
    value["source"] = Value::from(&*line.source);
    value["topic"] = Value::from(&*line.topic);
    value["config"] = line.config.map(|version| version.to_string()).into();
    value["received_at"] = Value::from(line.received_at.to_string());
    value
}

fn delivery(event: EventId, row: &DeliveryRow, outputs: Outputs<'_>) -> Value {
    let waits = row.state == State::Waiting;
    let state = if waits && outputs.paused.contains(&row.key.target.output) { State::Held } else { row.state };
    json!({
        "id": row.key.id(event).to_string(), "event": event.to_string(), "route": &*row.key.target.route, "output": &*row.key.target.output,
        "ordinal": row.key.ordinal, "state": state.word(), "attempts": row.attempts, "replays": row.replays, "detail": row.detail,
        "blocked": if waits { (outputs.blocked)(&row.key.target.output) } else { None },
        "due_at": row.due_at.map(|at| at.to_string()), "updated_at": row.updated_at.to_string(),
    })
}

/// A silence.
pub fn silence(silence: &Silence) -> Value {
    let Silence { id, from, asked } = silence;
    json!({
        "id": id, "by": asked.by, "why": asked.why, "from": Timestamp(*from).to_string(), "until": Timestamp(asked.until).to_string(),
        "then": asked.then, "output": asked.output, "route": asked.route, "source": asked.source, "topic": asked.topic,
    })
}

/// An attempt as it ends, for `tail`.
pub fn attempted(attempt: &Attempted) -> Value {
    json!({
        "at": attempt.at.to_string(), "event": attempt.event.to_string(), "delivery": attempt.delivery.to_string(), "source": &*attempt.source,
        "topic": &*attempt.topic, "route": &*attempt.target.route, "output": &*attempt.target.output, "attempt": attempt.attempt, "replay": attempt.replay,
        "took_ms": attempt.took.as_secs_f64() * 1_000.0, "outcome": attempt.outcome.word(), "detail": attempt.outcome.text(),
    })
}
