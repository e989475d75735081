//! Drills: a delivery to each of some outputs, marked as a test, by the same way as any other.
//!
//! Does: keeps one event of the built-in source with its plan, in one commit, so that a drill lives through a restart and is listed, held, tried
//! again and counted as what it stands for. Never: sends to an output at which nobody reads: what acts on an event would act on it.

use super::start::Daemon;
use super::works::Works;
use crate::ingest::handle::KEPT_WITHIN;
use crate::model::printable::Printable;
use crate::model::{Drill, Event, EventId, Headers, Kept, OWN_SOURCE, Plan, Timestamp};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use std::sync::atomic::Ordering;
use switchyard_api::problem::nearest;

/// Bytes of a name of who drills, at most.
const BY_MAX: usize = 64;
/// Outputs of one drill, at most.
const OUTPUTS_MAX: usize = 100;

/// What somebody wants to see arrive.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Where.
    pub outputs: Vec<String>,
    /// Only by this route; without it by every route that goes there.
    #[serde(default)]
    pub route: Option<String>,
    /// Who drills.
    pub by: String,
}

/// Why there is no drill. `Display` is one line.
#[derive(Debug, thiserror::Error)]
pub enum CannotDrill {
    /// There is no output of this name.
    #[error("there is no output `{}`{near}", Printable(output))]
    NoOutput {
        /// What was asked for.
        output: String,
        /// What may have been meant.
        near: String,
    },
    /// No route goes there.
    #[error("no route{} goes to `{}`: nothing would ever arrive there", of(route.as_deref()), Printable(output))]
    NoRoute {
        /// Where.
        output: String,
        /// By which it was to go.
        route: Option<String>,
    },
    /// Programs read there, not people.
    #[error(
        "nobody reads at `{}`: it would take a drill for a real event; `switchyard check --connect` asks it whether it is well",
        Printable(.0)
    )]
    NotRead(String),
    /// What was asked is no drill.
    #[error("{0}")]
    Wrong(String),
    /// The journal does not take it now.
    #[error("the journal can't keep the drill now: `switchyard` says why at `/health`")]
    NotKept,
}

fn of(route: Option<&str>) -> String {
    route.map(|route| format!(" `{}`", Printable(route))).unwrap_or_default()
}

impl Daemon {
    /// Begins a drill; durable when this returns. `shown` is the event that it shows; without one it has words of its own.
    ///
    /// # Errors
    /// It would reach nobody, or the journal does not take it.
    pub async fn drill(&self, asked: &Asked, shown: Option<&Kept>) -> Result<EventId, CannotDrill> {
        let id = self.ingest.new_id(self.hub.clock.wall());
        self.works.drill(id, asked, shown).await
    }
}

impl Works {
    /// The same, as the event of this id.
    ///
    /// # Errors
    /// As there.
    pub async fn drill(&self, id: EventId, asked: &Asked, shown: Option<&Kept>) -> Result<EventId, CannotDrill> {
        let by = asked.by.trim();
        if by.is_empty() || by.len() > BY_MAX || by.chars().any(char::is_control) {
            return Err(CannotDrill::Wrong(format!("say who drills (`by`), in at most {BY_MAX} bytes")));
        }
        if asked.outputs.is_empty() || asked.outputs.len() > OUTPUTS_MAX {
            return Err(CannotDrill::Wrong(format!("name from 1 to {OUTPUTS_MAX} outputs")));
        }
        let plan = self.plan_drill(asked)?;
        if self.hub.reserved.load(Ordering::Relaxed) {
            return Err(CannotDrill::NotKept);
        }
        let event = event(id, self.hub.clock.wall(), by, shown.map(|kept| &kept.event));
        tracing::info!(event = %id, by = %Printable(by), deliveries = plan.targets.len(), "a drill begins");
        match tokio::time::timeout(KEPT_WITHIN, self.hub.journal.append(event, plan, None)).await {
            Ok(Ok(_)) => Ok(id),
            Ok(Err(_)) | Err(_) => Err(CannotDrill::NotKept),
        }
    }

    fn plan_drill(&self, asked: &Asked) -> Result<Plan, CannotDrill> {
        let (router, names) = (self.hub.router(), self.names());
        let mut plan = router.empty_plan();
        for output in &asked.outputs {
            let names = names.iter().map(|name| &**name);
            if !names.clone().any(|name| name == output) {
                let near = nearest(output, names).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                return Err(CannotDrill::NoOutput { output: output.clone(), near });
            }
            let targets = router.reaching(output, asked.route.as_deref());
            if targets.is_empty() {
                return Err(CannotDrill::NoRoute { output: output.clone(), route: asked.route.clone() });
            }
            if !targets.iter().all(|target| router.is_read(target)) {
                return Err(CannotDrill::NotRead(output.clone()));
            }
            plan = plan.and(&Plan { targets, ..Plan::default() });
        }
        Ok(plan)
    }
}

/// The event of a drill: what it shows, as the built-in source's; or words of its own, with the data of the daemon's other events.
fn event(id: EventId, now: Timestamp, by: &str, shown: Option<&Event>) -> Event {
    let drill = if shown.is_some() { Drill::Event } else { Drill::Words };
    let words = || {
        let message = format!("a drill by {by}: nothing happened, and nothing is to be done");
        let data = json!({ "message": message, "cause": "drill", "state": "begins", "count": 1, "since": now.to_string(), "by": by });
        let mut headers = Headers::default();
        headers.push("content-type", b"application/json");
        (headers, Box::from(""), Bytes::from(data.to_string()))
    };
    let (headers, query, body) = shown.map_or_else(words, |event| (event.headers.clone(), event.query.clone(), event.body.clone()));
    Event {
        id,
        source: OWN_SOURCE.into(),
        topic: drill.topic().into(),
        received_at: now,
        headers,
        query,
        body,
        sender_id: None,
        signed_with: None,
    }
}
