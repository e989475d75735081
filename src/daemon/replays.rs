//! Replays by filter: counted, planned, and fed to their outputs as those take them.
//!
//! Never: gives an output more than [`FEED_MAX`] at a time (a replay of a million is a million rows that stand where they stood, and one
//! row that says how far it is), or gives anything to an output that does not run. A replay goes on by itself after a restart.

use super::start::Daemon;
use super::works::Works;
use crate::deliver::OutputStatus;
use crate::journal::replay::{FEED_MAX, OPEN_MAX};
use crate::journal::{Backlog, DeliveryFilter, JobState, Operation, Render, ReplayJob, StoreError};
use crate::model::printable::Printable;
use crate::model::{DeliveryRow, OWN_SOURCE, Plan, Seq, State, Timestamp, stands_in_line};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify};

/// How often replays that run are fed.
const EVERY: Duration = Duration::from_millis(200);
/// Events that a page of what is missing has, at most.
const PAGE: usize = 100;
/// Such pages at one feeding, after which other replays have their turn.
const PAGES: usize = 20;

/// What is shared by those who ask for replays and what feeds them.
#[derive(Debug, Default)]
pub struct Replays {
    /// Held while one is planned: numbers are given once.
    planning: Mutex<()>,
    /// Rung when one may run.
    bell: Notify,
}

/// What a filter means, by outputs that run and outputs that do not.
#[derive(Debug, Default)]
pub struct Counted {
    /// How many go where.
    pub outputs: BTreeMap<Arc<str>, u64>,
    /// How many can't, since their output is not in the file.
    pub gone: BTreeMap<Arc<str>, u64>,
    /// The filter, with its bounds: what comes later is not in it.
    pub filter: DeliveryFilter,
    /// Whether it is what is missing at its one output.
    pub missing: bool,
}

/// Why a replay was not planned or changed. `Display` is one line.
#[derive(Debug, thiserror::Error)]
pub enum CannotReplay {
    /// Too many under way.
    #[error(
        "{OPEN_MAX} replays are not over yet: wait for them or `switchyard replay cancel` some, or name fewer outputs (each has a replay of its own)"
    )]
    TooMany,
    /// There is no output of this name.
    #[error("the configuration has no output `{}`: `--to` names one of it", Printable(.0))]
    NoOutput(String),
    /// There is none of this number.
    #[error("there is no replay {0}: `switchyard replay list` shows them")]
    Unknown(u64),
    /// It is not in a state to become that.
    #[error("replay {id} is {}: it can't be {} now", is.word(), wish(*to))]
    Not {
        /// Which.
        id: u64,
        /// What it is.
        is: JobState,
        /// What it should be.
        to: JobState,
    },
    /// The journal could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn wish(to: JobState) -> &'static str {
    match to {
        JobState::Running => "resumed",
        JobState::Paused => "paused",
        JobState::Cancelled => "cancelled",
        JobState::Finished => "finished",
    }
}

impl Daemon {
    /// Counts what a filter means now; its states say which, in the order in which they go.
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn count_replay(&self, filter: DeliveryFilter) -> Result<Counted, StoreError> {
        let (archive, now) = (self.archive.clone(), self.hub.steady.wall());
        let counted = tokio::task::spawn_blocking(move || {
            let through = archive.stats()?.last.unwrap_or_default();
            let filter = DeliveryFilter { through: Some(through), written_before: Some(now), ..filter };
            let mut outputs = BTreeMap::new();
            for state in filter.states.clone() {
                // What stands behind another of its key is not sent by asking.
                let meant = |row: &DeliveryRow| state != State::Held || !stands_in_line(&row.detail);
                let mut from = archive.tally(&filter, state, None, meant, &mut outputs)?;
                while from.is_some() {
                    from = archive.tally(&filter, state, from, meant, &mut outputs)?;
                }
            }
            Ok::<_, StoreError>(Counted { outputs, filter, ..Counted::default() })
        });
        let mut counted = counted.await.map_err(|why| StoreError::Fatal { doing: "count deliveries", detail: why.to_string() })??;
        let running = self.fleet.status();
        (counted.outputs, counted.gone) = counted.outputs.into_iter().partition(|(output, _)| running.contains_key(output));
        Ok(counted)
    }

    /// Outputs of a filter of held deliveries at which deliveries are held by a pause alone: their rows wait (decision 25), a replay does not mean
    /// them, and they go when the pause ends.
    pub fn held_by_pause(&self, filter: &DeliveryFilter) -> Vec<Arc<str>> {
        if !filter.states.contains(&State::Held) {
            return vec![];
        }
        let depths = self.hub.journal.depths();
        let waits = |name: &str, status: &OutputStatus| status.bare > 0 || depths.get(name).is_some_and(|depth| depth.waiting > 0);
        let meant = |name: &str| filter.output.as_deref().is_none_or(|output| output == name);
        let statuses = self.fleet.status();
        let held = statuses.iter().filter(|(name, status)| status.paused && meant(name) && waits(name, status));
        held.map(|(name, _)| Arc::clone(name)).collect()
    }

    /// Counts the deliveries that today's routes would make to an output of kept events that do not go there (by the filter's route, where
    /// it has one). Looks at them all.
    ///
    /// # Errors
    /// The file has no such output, or the journal can't be read.
    pub async fn count_missing(&self, output: &str, filter: DeliveryFilter) -> Result<Counted, CannotReplay> {
        let Some(output) = self.fleet.status().into_keys().find(|name| &**name == output) else {
            return Err(CannotReplay::NoOutput(output.to_owned()));
        };
        let archive = self.archive.clone();
        let stats = tokio::task::spawn_blocking(move || archive.stats()).await;
        let stats = stats.map_err(|why| StoreError::Fatal { doing: "read the journal's size", detail: why.to_string() })??;
        let (through, written_before) = (Some(stats.last.unwrap_or_default()), Some(self.hub.steady.wall()));
        let filter = DeliveryFilter { output: Some(output.to_string()), through, written_before, ..filter };
        let (mut count, mut after) = (0, Some(Seq(0)));
        while let Some(from) = after {
            let (found, next) = self.works.missing(&filter, from, PAGE).await?;
            count += found.iter().map(|(_, plan)| plan.targets.len() as u64).sum::<u64>();
            after = next;
        }
        let outputs = if count > 0 { [(output, count)].into() } else { BTreeMap::new() };
        Ok(Counted { outputs, filter, missing: true, ..Counted::default() })
    }
}

impl Works {
    /// What today's routes would send to the filter's output of kept events after a place that do not go there, of at most so many; and the
    /// place up to which all were looked at, `None` at the end. Never of the daemon's own events: what was wrong once is no news.
    async fn missing(&self, filter: &DeliveryFilter, after: Seq, most: usize) -> Result<(Vec<(Seq, Plan)>, Option<Seq>), StoreError> {
        let asked = filter.clone();
        let read = self.hub.read(move |backlog| backlog.events(&asked, after, most)).await;
        let (events, next) = read.map_err(|why| StoreError::Fatal { doing: "read events", detail: why.to_string() })??;
        let (output, route) = (filter.output.as_deref().unwrap_or_default(), filter.route.as_deref());
        let (router, mut found) = (self.hub.router(), vec![]);
        for kept in events.iter().filter(|kept| *kept.event.source != *OWN_SOURCE) {
            let missing = router.plan(&kept.event, self.hub.jq_aside()).await.missing_at(output, route, &kept.plan);
            if !missing.targets.is_empty() {
                found.push((kept.seq, missing));
            }
        }
        Ok((found, next))
    }

    /// Adds what is missing to plans, page by page, as long as there is room at the output.
    async fn feed_missing(&self, job: &ReplayJob) -> Result<(), StoreError> {
        let mut after = Some(Seq(job.at.1));
        for _ in 0..PAGES {
            let Some(from) = after else { break };
            let output = Arc::clone(&job.output);
            let waiting = self.hub.read(move |backlog| backlog.asked_again(&output, FEED_MAX)).await;
            let waiting =
                waiting.map_err(|why| StoreError::Fatal { doing: "count what was asked for again", detail: why.to_string() })??;
            let room = usize::try_from(FEED_MAX.saturating_sub(waiting)).unwrap_or(PAGE);
            if room == 0 {
                break;
            }
            let (found, next) = self.missing(&job.filter, from, room.min(PAGE)).await?;
            self.moved(&job.output, Operation::FeedMissing { id: job.id, found, at: next }).await;
            after = next;
        }
        Ok(())
    }

    /// Plans what was counted, a replay for each output; durable when this returns, and under way.
    ///
    /// # Errors
    /// Too many are under way, or the journal can't.
    pub async fn plan_replay(&self, counted: &Counted, render: Render) -> Result<Vec<ReplayJob>, CannotReplay> {
        let _one = self.replays.planning.lock().await;
        let known = self.list_replays().await?;
        let open = known.iter().filter(|job| !job.state.is_over()).count();
        if open + counted.outputs.len() > OPEN_MAX {
            return Err(CannotReplay::TooMany);
        }
        let last = known.first().map_or(0, |job| job.id);
        let now = counted.filter.written_before.unwrap_or_else(|| self.hub.steady.wall());
        let job = |(id, (output, total)): (u64, (&Arc<str>, &u64))| job(id, output, *total, counted, render, now);
        let jobs: Vec<ReplayJob> = (last + 1..).zip(&counted.outputs).map(job).collect();
        self.hub.operate(Operation::PlanReplays(jobs.clone())).await?;
        self.replays.bell.notify_one();
        Ok(jobs)
    }

    /// All replays that are kept, the newest first.
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn list_replays(&self) -> Result<Vec<ReplayJob>, StoreError> {
        let read = self.hub.read(Backlog::replays).await;
        read.map_err(|why| StoreError::Fatal { doing: "read the replays", detail: why.to_string() })?
    }

    /// One replay.
    ///
    /// # Errors
    /// There is none, or the journal can't be read.
    pub async fn find_replay(&self, id: u64) -> Result<ReplayJob, CannotReplay> {
        self.list_replays().await?.into_iter().find(|job| job.id == id).ok_or(CannotReplay::Unknown(id))
    }

    /// Pauses, resumes or cancels one; durable when this returns, and how it stands then.
    ///
    /// # Errors
    /// There is none, it is not in a state for that, or the journal can't.
    pub async fn turn_replay(&self, id: u64, to: JobState) -> Result<ReplayJob, CannotReplay> {
        let turned = self.hub.operate(Operation::TurnReplay { id, to }).await?;
        let job = self.find_replay(id).await?;
        if turned == 0 {
            return Err(CannotReplay::Not { id, is: job.state, to });
        }
        self.replays.bell.notify_one();
        Ok(job)
    }

    /// Feeds what runs until dropped, but for while it is asked to `wait`. Where the journal fails, the daemon ends by itself.
    pub async fn feed_replays(self: Arc<Self>, wait: impl Fn() -> bool) {
        loop {
            let jobs = self.list_replays().await;
            let unread = jobs.is_err();
            let jobs = jobs.unwrap_or_else(|why| {
                tracing::warn!(%why, "replays can't be read; they are looked for again");
                vec![]
            });
            let running: Vec<ReplayJob> = jobs.into_iter().filter(|job| job.state == JobState::Running).collect();
            if running.is_empty() && !unread {
                self.replays.bell.notified().await;
                continue;
            }
            // The oldest first: what was asked for first is sent first.
            for job in running.iter().rev().filter(|job| !wait() && self.fleet.status().contains_key(&job.output)) {
                if !job.missing {
                    self.moved(&job.output, Operation::FeedReplay { id: job.id, most: FEED_MAX }).await;
                } else if let Err(why) = self.feed_missing(job).await {
                    tracing::warn!(replay = job.id, %why, "events can't be read; they are looked for again");
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}

fn job(id: u64, output: &Arc<str>, total: u64, counted: &Counted, render: Render, now: Timestamp) -> ReplayJob {
    ReplayJob {
        id,
        output: Arc::clone(output),
        filter: DeliveryFilter { output: Some(output.to_string()), ..counted.filter.clone() },
        missing: counted.missing,
        render,
        total,
        done: 0,
        state: JobState::Running,
        planned_at: now,
        updated_at: now,
        at: crate::journal::store::Mark::default(),
    }
}

/// The states that are meant where none is named: with `again` those that were delivered too.
pub fn states_meant(named: Option<State>, again: bool) -> Vec<State> {
    match named {
        Some(state) => vec![state],
        None if again => vec![State::Dead, State::Held, State::Delivered],
        None => vec![State::Dead, State::Held],
    }
}
