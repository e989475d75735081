//! A replay by filter: written down before it runs, so that it is the same through a restart.
//!
//! Does: names what is planned and how far it is. What is planned is a filter with two bounds, the last event of that moment and the moment
//! itself: what arrives, dies or is replayed later is not in it, and nothing is in it twice. Never: sends; a store gives deliveries back to
//! the line, a few at a time, and says in the same commit how far it is. Holds: L6 by [`FEED_MAX`] and [`KEPT_MAX`]. Proven by `conformance` and `tests/replays.rs`.

use super::store::{DeliveryFilter, Mark};
use crate::model::{State, Timestamp};
use std::sync::Arc;

/// Deliveries of an output that were asked for again and wait, at most, as far as replays fill them up: a replay waits at this bound.
pub const FEED_MAX: u64 = 1_000;
/// Replays that are kept; at the next one the oldest that are over are forgotten.
pub const KEPT_MAX: u64 = 1_000;
/// Replays that are not over, at most; another one is refused.
pub const OPEN_MAX: usize = 100;
/// What the row of a delivery says that was missing until somebody asked for it.
pub(super) const WAS_MISSING: &str = "asked for: it had not been sent here";
/// Slices of a feed that finds little, after which others that want the writer have their turn.
pub(super) const FEED_SLICES: i64 = 20;

/// Which bytes go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Render {
    /// As the running file says now. One of several messages of its target keeps its bytes: a part of a new split would not fit the others.
    Now,
    /// Those of its last attempt, where it had one.
    Then,
}

/// Where a replay stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobState {
    /// Goes on as its output takes it.
    Running,
    /// Somebody stopped it for now.
    Paused,
    /// Somebody ended it; what it gave back to the line stays there.
    Cancelled,
    /// All of it is in line or past it.
    Finished,
}

/// What somebody asked to be delivered again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayJob {
    /// Its number, from 1.
    pub id: u64,
    /// To where; a replay has one output, so that none waits for another.
    pub output: Arc<str>,
    /// Which deliveries; its output, states, `through` and `written_before` are set.
    pub filter: DeliveryFilter,
    /// Not deliveries but events are meant, those that do not go to its output (by the filter's route, where it has one) and would today; the
    /// filter's states are none. Its place is the last event that was looked at.
    pub missing: bool,
    /// Which bytes.
    pub render: Render,
    /// How many were counted.
    pub total: u64,
    /// How many were given back to the line.
    pub done: u64,
    /// Where it stands.
    pub state: JobState,
    /// When it was planned.
    pub planned_at: Timestamp,
    /// When it last went on.
    pub updated_at: Timestamp,
    /// How far it is: which of its states, and the last place seen there.
    pub at: Mark,
}

impl Render {
    /// The word people read and write.
    pub fn word(self) -> &'static str {
        match self {
            Render::Now => "now",
            Render::Then => "then",
        }
    }

    /// What a word means.
    pub fn of(word: &str) -> Option<Self> {
        [Render::Now, Render::Then].into_iter().find(|render| render.word() == word)
    }
}

impl JobState {
    /// The word people read.
    pub fn word(self) -> &'static str {
        match self {
            JobState::Running => "running",
            JobState::Paused => "paused",
            JobState::Cancelled => "cancelled",
            JobState::Finished => "finished",
        }
    }

    /// The state of a word.
    pub fn of(word: &str) -> Option<Self> {
        [JobState::Running, JobState::Paused, JobState::Cancelled, JobState::Finished].into_iter().find(|state| state.word() == word)
    }

    /// Whether nothing more comes of it.
    pub fn is_over(self) -> bool {
        matches!(self, JobState::Cancelled | JobState::Finished)
    }

    /// Whether a person may make this of what is `self`.
    pub fn may_become(self, to: JobState) -> bool {
        match to {
            JobState::Running => self == JobState::Paused,
            JobState::Paused => self == JobState::Running,
            JobState::Cancelled => !self.is_over(),
            JobState::Finished => false,
        }
    }
}

impl ReplayJob {
    /// The state that is looked through now; `None`: all are.
    pub(super) fn looks_at(&self) -> Option<State> {
        self.filter.states.get(usize::try_from(self.at.0).unwrap_or(usize::MAX)).copied()
    }

    /// Where it goes on after a slice: behind a place of the same state, or in the next one.
    pub(super) fn after(&self, place: Option<(i64, i64, i64)>) -> Mark {
        place.map_or(Mark(self.at.0 + 1, 0, 0, 0), |(event, target, ordinal)| Mark(self.at.0, event, target, ordinal))
    }
}
