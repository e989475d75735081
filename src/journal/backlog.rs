//! What is still to be done, for those who deliver: events whose plan is open after a start, and deliveries that wait.
//!
//! Never hands out an event or a message whose bytes are not those that were kept: its deliveries are settled dead with
//! that reason, here, and stay visible. All calls block on the disk.

use super::archive::OutputCounts;
use super::replay::ReplayJob;
use super::store::{Collected, Dead, DeliveryFilter, OpenEvent, Reads, StoreError, Waiting};
use super::writer::Journal;
use crate::model::{Cursor, DeliveryKey, DeliveryRow, Kept, Loaded, Seq, Settlement, State, Target, Timestamp};
use std::sync::Arc;

/// What a damaged delivery says.
pub const DAMAGED: &str = "damaged: the journal's bytes of this event are not those that were kept";

/// Reads beside a journal, and settles what cannot be read.
#[derive(Clone)]
pub struct Backlog {
    journal: Journal,
    reads: Arc<dyn Reads>,
}

impl std::fmt::Debug for Backlog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backlog").field("journal", &self.journal).finish_non_exhaustive()
    }
}

impl Backlog {
    /// Over the journal and what reads it.
    pub fn new(journal: Journal, reads: Arc<dyn Reads>) -> Self {
        Backlog { journal, reads }
    }

    /// How many deliveries of each output wait, are held and are dead.
    pub fn counts(&self) -> Result<Vec<OutputCounts>, StoreError> {
        self.reads.counts()
    }

    /// Events from `from` to `to` (both included) whose plan is open, by place; and where to go on, `None` at the end.
    /// Go on from there: what was read may be closed by now.
    pub fn open_events(&self, from: Seq, to: Seq, most: usize, now: Timestamp) -> Result<(Vec<OpenEvent>, Option<Seq>), StoreError> {
        let found = self.reads.open_events(from, to, most)?;
        let next = found.last().filter(|_| found.len() == most).map(|last| Seq(last.kept.seq.0 + 1));
        let (damaged, whole): (Vec<_>, Vec<_>) = found.into_iter().partition(|event| event.damaged);
        self.bury(damaged.iter().flat_map(|event| dead_targets(event, now)).collect());
        Ok((whole, next))
    }

    /// Waiting deliveries of an output that are due by then, by due time and arrival, after the cursor: those that somebody asked for
    /// again (`replays`), or the others.
    pub fn load(
        &self,
        output: &str,
        replays: bool,
        mut after: Cursor,
        due_by: Timestamp,
        most: usize,
        now: Timestamp,
    ) -> Result<Vec<(Cursor, Loaded)>, StoreError> {
        loop {
            let found = self.reads.waiting(output, replays, after, due_by, most)?;
            let Some(last) = found.last().map(|waiting| waiting.cursor) else { return Ok(vec![]) };
            let (damaged, whole): (Vec<_>, Vec<_>) = found.into_iter().partition(|waiting| waiting.damaged);
            self.bury(damaged.into_iter().map(|waiting| dead_row(waiting, now)).collect());
            if !whole.is_empty() {
                return Ok(whole.into_iter().map(|Waiting { cursor, loaded, .. }| (cursor, loaded)).collect());
            }
            // All of them damaged: an empty answer would mean that nothing waits.
            after = last;
        }
    }

    /// All replays that are kept, the newest first.
    pub fn replays(&self) -> Result<Vec<ReplayJob>, StoreError> {
        self.reads.replays()
    }

    /// How many of an output wait that were asked for again, counted up to `most`.
    pub fn asked_again(&self, output: &str, most: u64) -> Result<u64, StoreError> {
        self.reads.asked_again(output, most)
    }

    /// As [`Reads::on_dead`].
    pub fn on_dead(&self, most: usize) -> Result<Vec<Dead>, StoreError> {
        self.reads.on_dead(most)
    }

    /// As [`Reads::why_dead`].
    pub fn why_dead(&self, seq: Seq, target: &Target) -> Result<Option<String>, StoreError> {
        self.reads.why_dead(seq, target)
    }

    /// As [`Reads::events`].
    pub fn events(&self, filter: &DeliveryFilter, after: Seq, most: usize) -> Result<(Vec<Arc<Kept>>, Option<Seq>), StoreError> {
        self.reads.events(filter, after, most)
    }

    /// What is collected behind a delivery that has the turn of its key: the first `most` of it.
    pub fn collected(&self, key: &DeliveryKey, most: usize) -> Result<Collected, StoreError> {
        self.reads.collected(key, most)
    }

    /// When the first of them is due that is due after then.
    pub fn next_due(&self, output: &str, replays: bool, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.reads.next_due(output, replays, after)
    }

    fn bury(&self, dead: Vec<Settlement>) {
        if !dead.is_empty() {
            // Where it fails they are met again by the next reading.
            self.journal.settle(dead, Box::new(|_| {}));
        }
    }
}

fn dead_targets(event: &OpenEvent, now: Timestamp) -> impl Iterator<Item = Settlement> {
    event.missing().map(move |(target, rows)| {
        let ordinal = rows.into_iter().max().map_or(0, |last| last.saturating_add(1));
        let key = DeliveryKey { seq: event.kept.seq, target: Arc::clone(target), ordinal };
        let row = DeliveryRow {
            key,
            state: State::Dead,
            due_at: None,
            attempts: 0,
            replays: 0,
            detail: DAMAGED.to_owned(),
            message: None,
            updated_at: now,
        };
        Settlement { row, closes: true, order: None, on_dead: false }
    })
}

fn dead_row(waiting: Waiting, now: Timestamp) -> Settlement {
    let row =
        DeliveryRow { state: State::Dead, due_at: None, detail: DAMAGED.to_owned(), message: None, updated_at: now, ..waiting.loaded.row };
    Settlement { row, closes: false, order: None, on_dead: false }
}
