//! What people ask of many deliveries: again, by id at once, by filter as a replay that is counted, planned and looked after; and an end.

use super::api::{Answered, Api, ids};
use super::query::Wrong;
use crate::daemon::purge::CannotPurge;
use crate::daemon::replays::{CannotReplay, states_meant};
use crate::journal::{DeliveryFilter, JobState, Operation, Render, ReplayJob, TopicMatch};
use crate::model::{State, Timestamp};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a reason, at most.
const WHY_MAX: usize = 200;

impl From<CannotReplay> for Wrong {
    fn from(why: CannotReplay) -> Self {
        let status = match why {
            CannotReplay::Unknown(_) | CannotReplay::NoOutput(_) => 404,
            CannotReplay::Not { .. } | CannotReplay::TooMany => 409,
            CannotReplay::Store(_) => 503,
        };
        Wrong(status, why.to_string())
    }
}

impl From<CannotPurge> for Wrong {
    fn from(why: CannotPurge) -> Self {
        Wrong(503, why.to_string())
    }
}

impl Api {
    /// Delivers again: named ones at once, those that a filter means by replays of their own.
    pub(super) async fn replay(&self, body: &[u8]) -> Answered {
        let asked: Value = serde_json::from_slice(body).map_err(|why| Wrong(400, format!("the body is not JSON: {why}")))?;
        let render = asked["as"].as_str().map_or(Some(Render::Now), Render::of).ok_or_else(|| Wrong(400, "`as` is now or then".into()))?;
        let (ids, dry) = (ids(&asked), asked["dry_run"] == true);
        let filter = filter(&asked, !ids.is_empty())?;
        if !dry && self.daemon.is_short_of_space() {
            return Err(Wrong(503, "the journal's disk is nearly full: replays wait until there is space; `/health` says more".into()));
        }
        if !ids.is_empty() {
            let (keys, outputs) = self.named(&ids, &filter).await?;
            let count = if dry { keys.len() as u64 } else { self.daemon.hub.operate(Operation::Replay(keys, render)).await? };
            if !dry {
                self.daemon.look(&outputs);
            }
            return Ok(json!({ "count": count, "dry_run": dry }));
        }
        let paused = if asked["missing"].is_string() { vec![] } else { self.daemon.held_by_pause(&filter) };
        let counted = match asked["missing"].as_str() {
            Some(output) => self.daemon.count_missing(output, DeliveryFilter { states: vec![], ..filter }).await?,
            None => self.daemon.count_replay(filter).await?,
        };
        let count: u64 = counted.outputs.values().sum();
        let jobs = if dry || count == 0 { vec![] } else { self.daemon.works.plan_replay(&counted, render).await? };
        Ok(json!({
            "count": count, "dry_run": dry, "outputs": by_name(&counted.outputs), "gone": by_name(&counted.gone), "paused": paused,
            "replays": jobs.iter().map(|job| self.shown(job)).collect::<Vec<_>>(),
        }))
    }

    /// Ends held ones, and waiting ones where that is asked; a person says why.
    pub(super) async fn purge(&self, output: &str, body: &[u8]) -> Answered {
        let asked: Value = serde_json::from_slice(body).map_err(|why| Wrong(400, format!("the body is not JSON: {why}")))?;
        let (why, dry) = (asked["why"].as_str().unwrap_or_default().trim(), asked["dry_run"] == true);
        if why.is_empty() || why.len() > WHY_MAX || why.chars().any(char::is_control) {
            return Err(Wrong(400, format!("say who purges and why, on one line of at most {WHY_MAX} bytes")));
        }
        let (filter, waiting) = (filter(&asked, false)?, asked["waiting"] == true);
        let count = if dry {
            self.daemon.count_purge(output, filter, waiting).await?
        } else {
            self.daemon.purge(output, filter, format!("purged: {why}"), waiting).await?
        };
        Ok(json!({ "count": count, "dry_run": dry }))
    }

    pub(super) async fn replays(&self) -> Answered {
        Ok(json!({ "replays": self.daemon.works.list_replays().await?.iter().map(|job| self.shown(job)).collect::<Vec<_>>() }))
    }

    /// Every output, with its replays that are not over.
    pub(super) async fn outputs(&self) -> Value {
        let mut outputs = self.daemon.outputs();
        // What outputs do is to be seen whatever ails the journal.
        let jobs = self.daemon.works.list_replays().await.unwrap_or_default();
        for output in outputs.as_array_mut().into_iter().flatten() {
            let open = jobs.iter().rev().filter(|job| !job.state.is_over() && output["name"] == *job.output);
            let open: Vec<Value> =
                open.map(|job| json!({ "id": job.id, "state": job.state.word(), "done": job.done, "total": job.total })).collect();
            output["replays"] = open.into();
        }
        json!({ "outputs": outputs, "sources": self.daemon.sources() })
    }

    pub(super) async fn one_replay(&self, id: &str) -> Answered {
        Ok(self.shown(&self.daemon.works.find_replay(number(id)?).await?))
    }

    pub(super) async fn turn_replay(&self, id: &str, word: &str) -> Answered {
        let to = match word {
            "pause" => JobState::Paused,
            "resume" => JobState::Running,
            "cancel" => JobState::Cancelled,
            _ => return Err(Wrong(404, "there is nothing here".into())),
        };
        Ok(self.shown(&self.daemon.works.turn_replay(number(id)?, to).await?))
    }

    /// A replay, as people and programs read it.
    fn shown(&self, job: &ReplayJob) -> Value {
        let filter = &job.filter;
        json!({
            "id": job.id, "output": &*job.output, "state": job.state.word(), "done": job.done, "total": job.total, "as": job.render.word(),
            "missing": job.missing, "blocked": self.blocked(job),
            "states": filter.states.iter().map(|state| state.word()).collect::<Vec<_>>(), "route": filter.route, "source": filter.source,
            "topic": filter.topic.as_ref().map(TopicMatch::to_string), "since": filter.since.map(|at| at.to_string()),
            "until": filter.until.map(|at| at.to_string()), "planned_at": job.planned_at.to_string(), "updated_at": job.updated_at.to_string(),
        })
    }

    /// Why a replay that runs does not get on; `None`: it does.
    fn blocked(&self, job: &ReplayJob) -> Option<String> {
        if job.state != JobState::Running {
            None
        } else if self.daemon.is_short_of_space() {
            Some("the journal's disk is nearly full: replays wait until there is space".into())
        } else if self.daemon.fleet.status().contains_key(&job.output) {
            self.daemon.keeps_waiting(&job.output)
        } else {
            Some("the configuration has no such output: it goes on when it is back".into())
        }
    }
}

fn number(id: &str) -> Result<u64, Wrong> {
    id.parse().map_err(|_| Wrong(400, format!("`{id}` is not the number of a replay")))
}

/// Named ones are meant whatever became of them.
fn filter(asked: &Value, named: bool) -> Result<DeliveryFilter, Wrong> {
    let text = |name: &str| asked[name].as_str().map(str::to_owned);
    let time = |name: &str| asked[name].as_i64().map(Timestamp);
    let state = match asked["state"].as_str() {
        Some("waiting") => return Err(Wrong(400, "what is waiting will be delivered anyway".into())),
        Some(word) => Some(State::of(word).ok_or_else(|| Wrong(400, format!("`{word}` is not a state")))?),
        None => None,
    };
    Ok(DeliveryFilter {
        states: states_meant(state, named || asked["again"] == true),
        output: text("output"),
        route: text("route"),
        source: text("source"),
        topic: asked["topic"].as_str().map(TopicMatch::of),
        since: time("since"),
        until: time("until"),
        ..DeliveryFilter::default()
    })
}

fn by_name(counts: &BTreeMap<Arc<str>, u64>) -> Map<String, Value> {
    counts.iter().map(|(output, count)| (output.to_string(), Value::from(*count))).collect()
}
