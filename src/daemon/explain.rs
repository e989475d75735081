//! What would become of an event, or became of it, without sending anything: every route with the first condition that failed, every delivery as
//! its far side would see it, and why it would wait.

mod sent;
mod waits;

pub use waits::Present;

use super::blueprint::Blueprint;
use super::gate::Gate;
use super::sight::Sights;
use crate::journal::archive::EventView;
use crate::model::{Clock, DeliveryRow, Event, EventId, Headers, OWN_SOURCE, Plan, Target, Timestamp};
use crate::route::{JqPool, RouteVerdict, Router, Sent, Verdict};
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;

/// An event that never was.
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
    /// What time it is for those who sign.
    pub clock: Arc<dyn Clock>,
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

/// What would become of a draft under a configuration: of each of the events that its source makes of it.
pub async fn draft(blueprint: &Blueprint, draft: Draft<'_>) -> Result<Vec<Value>, CannotExplain> {
    if blueprint.verifier(draft.source).is_none() && draft.source != OWN_SOURCE {
        let near = switchyard_api::problem::nearest(draft.source, blueprint.source_names()).map(str::to_owned);
        return Err(CannotExplain::NoSource { name: draft.source.to_owned(), near });
    }
    let now = draft.now;
    let clock = Arc::clone(&draft.clock);
    let jq = super::jq_pool(1);
    let gate = Gate::of(&blueprint.router, &blueprint.outputs);
    let sights = Sights::of(blueprint, &clock);
    let present =
        Present { kept_back: &|target| gate.held_until(target, now).map(|held| ("hours", held)), blocked: &|_| None, waiting: &|_| None };
    let scene = Scene { router: &blueprint.router, jq: &jq, sights: &sights, present };
    let mut shown = vec![];
    for event in events(blueprint, draft) {
        shown.push(scene.draft(&event).await);
    }
    Ok(shown)
}

/// The events that a request is, without what the source does not keep of them.
fn events(blueprint: &Blueprint, draft: Draft<'_>) -> Vec<Event> {
    let source = blueprint.sources.named(draft.source);
    let whole = draft.topic.map(Arc::from).or_else(|| blueprint.topic_of(draft.source, &draft.headers, &draft.body)).unwrap_or_default();
    let parts = source.and_then(|source| source.parts(&draft.body));
    let (of_item, bodies) = (parts.is_some() && draft.topic.is_none(), parts.unwrap_or_else(|| vec![draft.body]));
    let event = |body: Bytes| {
        let topic = if of_item { blueprint.topic_of_item(draft.source, &draft.headers, &body) } else { None };
        let event = Event {
            id: EventId([0; 16]),
            source: draft.source.into(),
            topic: topic.unwrap_or_else(|| Arc::clone(&whole)),
            received_at: draft.now,
            headers: draft.headers.clone(),
            query: "".into(),
            body,
            sender_id: None,
            signed_with: None,
        };
        match source {
            Some(source) => source.redacted(event),
            None => event,
        }
    };
    bodies.into_iter().map(event).collect()
}

/// Under what an event is looked at.
pub struct Scene<'s> {
    /// The routes.
    pub router: &'s Router,
    /// Where programs run.
    pub jq: &'s JqPool,
    /// The outputs.
    pub sights: &'s Sights,
    /// How it is now.
    pub present: Present<'s>,
}

/// What is known of an event that was kept.
#[derive(Clone, Copy)]
struct Known<'k> {
    plan: &'k Plan,
    rows: &'k [DeliveryRow],
}

impl<'k> Known<'k> {
    fn rows_of<'t>(self, target: &'t Target) -> impl Iterator<Item = &'k DeliveryRow> + use<'k, 't> {
        self.rows.iter().filter(move |row| *row.key.target == *target)
    }
}

impl Scene<'_> {
    /// What would become of an event, as JSON: `{event, source, topic, config, routes: [{route, matched, why, targets}]}`.
    async fn draft(&self, event: &Event) -> Value {
        let routes = self.routes(event, None).await;
        let config = json!({ "running": self.sights.version.to_string() });
        json!({ "event": event.id.to_string(), "source": &*event.source, "topic": &*event.topic, "config": config, "routes": routes })
    }

    /// What becomes of a kept event by the routes that run now; beside it what was planned when it came, and by which configuration.
    pub async fn kept(&self, view: &EventView) -> Value {
        let event = &view.kept.event;
        let known = Known { plan: &view.kept.plan, rows: &view.deliveries };
        let routes = self.routes(event, Some(known)).await;
        let shown = |target: &Target| {
            let in_route = |route: &&Value| route["route"] == *target.route && route["matched"] == true;
            let there =
                |route: &Value| route["targets"].as_array().is_some_and(|all| all.iter().any(|one| one["output"] == *target.output));
            routes.iter().filter(in_route).any(there)
        };
        // What a route of today does not take any more, what was added for the dead, and a drill's.
        let others: Vec<Value> =
            known.plan.targets.iter().filter(|target| !shown(target)).map(|target| planned(known, target, event.id)).collect();
        let planned_by = known.plan.version_at(0).map(|version| version.to_string());
        let config = json!({ "planned": planned_by, "running": self.sights.version.to_string() });
        json!({
            "event": event.id.to_string(), "source": &*event.source, "topic": &*event.topic, "config": config, "routes": routes,
            "also_planned": others,
        })
    }

    async fn routes(&self, event: &Event, known: Option<Known<'_>>) -> Vec<Value> {
        self.router.explain(event, self.jq).await.iter().map(|verdict| self.route(event, verdict, known)).collect()
    }

    fn route(&self, event: &Event, verdict: &RouteVerdict, known: Option<Known<'_>>) -> Value {
        let (matched, why, targets) = match &verdict.verdict {
            Verdict::Missed { why, .. } => (false, Some(why.as_str()), vec![]),
            Verdict::Undecided(why) => (true, Some(why.as_str()), vec![]),
            Verdict::Matched(sent) => (true, None, sent.iter().map(|sent| self.target(event, sent, known)).collect()),
        };
        json!({ "route": &*verdict.route, "matched": matched, "why": why.map(|why| self.sights.masked(why)), "targets": targets })
    }

    fn target(&self, event: &Event, sent: &Sent, known: Option<Known<'_>>) -> Value {
        let target = &*sent.target;
        let mut shown = match known {
            Some(known) => planned(known, target, event.id),
            None => json!({ "route": &*target.route, "output": &*target.output }),
        };
        let sight = self.sights.output(&target.output);
        shown["type"] = sight.map(|sight| sight.kind.as_str()).into();
        let rows: Vec<&DeliveryRow> = known.iter().flat_map(|known| known.rows_of(target)).collect();
        match &sent.messages {
            Err(why) => shown["failed"] = self.sights.masked(&why.to_string()).into(),
            Ok(messages) => {
                let kept_back = (self.present.kept_back)(target);
                shown["held"] = kept_back.as_ref().map(|(_, held)| held.why.as_str()).into();
                shown["waits"] = self.waits(event, target, &rows, kept_back).into();
                let each = (0..).zip(messages).map(|(ordinal, message)| {
                    // What was sent once is sent again as it was.
                    let fixed = rows.iter().find(|row| row.key.ordinal == ordinal).and_then(|row| row.message.as_ref());
                    self.sent(event, target, ordinal, fixed.unwrap_or(message))
                });
                let (messages, requests): (Vec<_>, Vec<_>) = each.unzip();
                shown["messages"] = messages.into();
                shown["requests"] = requests.into_iter().flatten().collect::<Vec<_>>().into();
            }
        }
        shown
    }
}

/// What was planned for a target, by which configuration, and what became of it.
fn planned(known: Known<'_>, target: &Target, event: EventId) -> Value {
    let planned = known.plan.targets.iter().any(|planned| **planned == *target);
    let deliveries = known.rows_of(target).map(|row| {
        json!({
            "id": row.key.id(event).to_string(), "ordinal": row.key.ordinal, "state": row.state.word(), "attempts": row.attempts,
            "due_at": row.due_at.map(|at| at.to_string()), "detail": row.detail,
        })
    });
    json!({
        "route": &*target.route, "output": &*target.output, "planned": planned,
        "config": known.plan.version_of(target).map(|version| version.to_string()), "deliveries": deliveries.collect::<Vec<_>>(),
    })
}
