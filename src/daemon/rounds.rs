//! Once a second the daemon looks around: what is wrong goes into the book of causes, and what the book says is due is told, as
//! events of the built-in source.
//!
//! Does: plans and keeps them as any other event. Never: waits for them longer than a moment, keeps one at a sender's cost: where
//! the journal has no room they are a line of the log. What becomes of them makes no new ones (`Hub::died`), and an output that is
//! down is told to the others first (`Plan::sparing`). Proven by `tests/inside.rs`.

use super::anew::Waits;
use super::down::Down;
use super::looks::{self, Lateness, Motion};
use super::space::{Rung, Space};
use super::start::Daemon;
use super::told;
use crate::alarm::{Cause, Look, Stage, Telling, cause::cut};
use crate::ingest::Source;
use crate::journal::archive::EventFilter;
use crate::model::printable::Printable;
use crate::model::{Instant, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// From one round to the next.
const EVERY: Duration = Duration::from_secs(1);
/// In each of so many rounds the journal is asked for the oldest delivery of each output.
const OLDEST_EVERY: u32 = 5;
/// How long a round waits for what it told to be kept; it goes on without.
const KEPT_WITHIN: Duration = Duration::from_secs(4);

/// What the last round saw, for health and numbers.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When it was.
    pub at: Instant,
    /// The journal's disk; `None`: it could not be read.
    pub space: Option<Space>,
    /// Where its free space stands.
    pub rung: Rung,
    /// When the oldest delivery of each output is, or was, due.
    pub oldest: BTreeMap<Arc<str>, Timestamp>,
    /// Outputs that work and have something to do, and do not get on: one line each.
    pub stuck: Vec<String>,
}

/// What is known between two rounds, of things that happen elsewhere.
#[derive(Debug, Default)]
pub(super) struct Noticed {
    /// The file's last change, where it does not run.
    rejected: Mutex<Option<Cause>>,
    /// Own events kept.
    pub told: AtomicU64,
    /// When the threads that deliver last moved.
    pub pulse: AtomicU64,
}

/// What one round hands to the next.
#[derive(Default)]
struct Rounds {
    /// Since when each source is in the file, as far as this life knows.
    sources: BTreeMap<Arc<str>, Timestamp>,
    number: u32,
    /// As the journal said last.
    oldest: BTreeMap<Arc<str>, Timestamp>,
    motions: BTreeMap<Arc<str>, Motion>,
    /// As the book was written down last.
    at_risk: Vec<(String, u32, u32)>,
    /// Which outputs are down, as it was written down last.
    down: Down,
    /// Outputs whose task failed.
    anew: Waits,
}

impl Daemon {
    /// Runs until dropped.
    pub(super) async fn rounds(self: Arc<Self>) {
        let mut rounds = Rounds { down: Down::read(&self.folder), ..Rounds::default() };
        // The disk first: nothing is to be taken in that it has no space for.
        self.round(&mut rounds).await;
        self.hear_of_before().await;
        loop {
            self.round(&mut rounds).await;
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Shows that the threads it runs on move. Runs until dropped.
    pub(super) async fn beat(self: Arc<Self>) {
        loop {
            self.noticed.pulse.store(self.hub.clock.now().0, Ordering::Relaxed);
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn round(&self, rounds: &mut Rounds) {
        let (now, wall) = (self.hub.clock.now(), self.hub.clock.wall());
        if rounds.number.is_multiple_of(OLDEST_EVERY) {
            rounds.oldest = self.oldest_kept().await.unwrap_or_default();
        }
        rounds.number = rounds.number.wrapping_add(1);
        let before = self.seen.load().rung;
        let mut seen = Seen { at: now, ..Seen::default() };
        let mut found = self.sources_now(rounds, wall);
        found.extend(self.outputs_now(rounds, &mut seen, now));
        found.push(self.disk_now(before, &mut seen));
        found.push(looks::journal(self.hub.journal.commits()));
        found.push(self.file_now());
        self.seen.store(Arc::new(seen));
        let (due, at_risk) = {
            let mut book = self.hub.book();
            book.looked(wall, found);
            (book.due(wall), book.at_risk())
        };
        let tells = !due.is_empty();
        if tells {
            self.tell(due, wall).await;
        }
        // A restart goes on with the failures that senders have counted so far.
        if tells || at_risk != rounds.at_risk {
            self.write_book().await;
            rounds.at_risk = at_risk;
        }
        self.begin_anew(&mut rounds.anew, now);
        let down = rounds.down.now(&self.fleet.status());
        if down != rounds.down {
            self.write_down(down.clone()).await;
            rounds.down = down;
        }
    }

    /// When each source was last heard, as far as the journal's latest events say, and how many of its requests failed in a row: a restart does not begin anew.
    async fn hear_of_before(&self) {
        let at_risk = self.hub.book().at_risk();
        for (_, source) in self.ingest.sources().iter() {
            if let Some((_, failures, proven)) = at_risk.iter().find(|(name, ..)| **name == *source.name) {
                source.tally.resume(*proven, failures.saturating_sub(*proven));
            }
        }
        for (_, source) in self.ingest.sources().iter().filter(|(_, source)| source.silent_after.is_some()) {
            let (archive, filter) = (self.archive.clone(), EventFilter { source: Some(source.name.to_string()), ..EventFilter::default() });
            let last = tokio::task::spawn_blocking(move || archive.events(&filter, None, 1)).await;
            if let Some(event) = last.ok().and_then(Result::ok).and_then(|page| page.rows.into_iter().next()) {
                source.tally.heard(event.received_at);
            }
        }
    }

    async fn oldest_kept(&self) -> Option<BTreeMap<Arc<str>, Timestamp>> {
        let archive = self.archive.clone();
        let found = tokio::task::spawn_blocking(move || archive.oldest_due()).await.ok()?;
        found.map(|found| found.into_iter().collect()).inspect_err(|why| tracing::warn!(%why, "how late deliveries are is not known")).ok()
    }

    fn sources_now(&self, rounds: &mut Rounds, wall: Timestamp) -> Vec<Look> {
        let sources = self.ingest.sources();
        let since = |name: &Arc<str>| (Arc::clone(name), rounds.sources.get(name).copied().unwrap_or(wall));
        rounds.sources = sources.iter().map(|(_, source)| since(&source.name)).collect();
        let look = |source: &Source| looks::source(source, rounds.sources.get(&source.name).copied().unwrap_or(wall), wall);
        sources.iter().flat_map(|(_, source)| look(source)).collect()
    }

    fn outputs_now(&self, rounds: &mut Rounds, seen: &mut Seen, now: Instant) -> Vec<Look> {
        let (running, statuses, wall) = (self.running.load(), self.fleet.status(), self.hub.steady.wall());
        let mut found = vec![];
        let mut motions = BTreeMap::new();
        for (name, status) in &statuses {
            found.push(looks::output(name, status));
            let Some(patience) = running.patience.get(name) else { continue };
            let motion = Motion::seen(rounds.motions.get(name).copied(), status, now);
            let due = rounds.oldest.get(name).copied().into_iter().chain(status.next_due).min().filter(|due| *due <= wall);
            seen.oldest.extend(due.map(|due| (Arc::clone(name), due)));
            let lateness =
                due.map(|due| Lateness { due, late: wall.since(due), able: now.since(motion.able_since), late_after: patience.late_after });
            found.push(looks::backlog(name, lateness, looks::works(status)));
            seen.stuck.extend(lateness.and_then(|lateness| looks::stuck(name, status, lateness, motion, now, patience.still)));
            motions.insert(Arc::clone(name), motion);
        }
        rounds.motions = motions;
        found
    }

    fn disk_now(&self, before: Rung, seen: &mut Seen) -> Look {
        seen.space =
            Space::of(&self.folder).inspect_err(|why| tracing::warn!(%why, "the free space of the journal's disk is not known")).ok();
        let reserve = seen.space.map_or(0, |space| space.reserve(self.running.load().reserve));
        // Where it cannot be read nothing changes.
        seen.rung = seen.space.map_or(before, |space| space.rung(before, reserve));
        self.stand_on(seen.rung);
        looks::disk(seen.space, seen.rung, reserve)
    }

    fn file_now(&self) -> Look {
        let rejected = self.noticed.rejected.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let nothing = Cause::ConfigRejected { file: String::new(), problems: 0, why: String::new() };
        rejected.map_or(Look::Not(nothing.key()), Look::Holds)
    }

    /// The file was changed and does not run.
    pub(super) fn rejected(&self, problems: usize, why: &str) {
        let cause = Cause::ConfigRejected { file: self.config.display().to_string(), problems, why: cut(why) };
        self.hub.book().happened(self.hub.clock.wall(), cause.clone());
        *self.noticed.rejected.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause);
    }

    /// What stands in the file runs. Whether it was wrong before.
    pub(super) fn accepted(&self) -> bool {
        self.noticed.rejected.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }

    /// Keeps what is due as events. All of it is queued before any of it is waited for.
    async fn tell(&self, due: Vec<Telling>, now: Timestamp) {
        let mut queued = vec![];
        for telling in due {
            let (topic, message) = (telling.topic(), telling.message());
            match telling.stage {
                Stage::Over => tracing::info!(%topic, "{}", Printable(&message)),
                Stage::Begins | Stage::GoesOn => tracing::warn!(%topic, count = telling.count, "{}", Printable(&message)),
            }
            let event = telling.event(self.ingest.new_id(now), now);
            let mut plan = self.hub.router().plan(&event, self.hub.jq_aside()).await;
            if let Some(output) = telling.cause.unreachable().filter(|_| telling.stage != Stage::Over) {
                plan = plan.sparing(output);
            }
            queued.push((topic, self.hub.journal.append(event, plan, None)));
        }
        let until = tokio::time::Instant::now() + KEPT_WITHIN;
        for (topic, kept) in queued {
            match tokio::time::timeout_at(until, kept).await {
                Ok(Ok(_)) => drop(self.noticed.told.fetch_add(1, Ordering::Relaxed)),
                Ok(Err(why)) => tracing::warn!(%topic, %why, "this is told by the log alone"),
                Err(_) => tracing::warn!(%topic, "the journal has not kept this yet"),
            }
        }
    }

    async fn write_down(&self, down: Down) {
        let folder = self.folder.clone();
        let written = tokio::task::spawn_blocking(move || down.write(&folder)).await;
        if let Ok(Err(why)) = written {
            tracing::warn!(%why, "which outputs are down can't be written down: after a restart they are tried as any other");
        }
    }

    async fn write_book(&self) {
        let (folder, saved) = (self.folder.clone(), self.hub.book().saved());
        let written = tokio::task::spawn_blocking(move || told::write(&folder, &saved)).await;
        if let Ok(Err(why)) = written {
            tracing::warn!(%why, "what was told can't be written down: after a restart it may be told again");
        }
    }
}
