//! What the engine hears and says: the words between the state machine and whoever drives it. Plain data.

use super::breaker::Turned;
use super::section::Policy;
use crate::model::{Cursor, DeliveryKey, HeldUntil, Instant, Outcome, RateKey, State, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// For waiting.
    pub now: Instant,
    /// For what is written down.
    pub wall: Timestamp,
}

impl Moment {
    /// When a row's due time comes, by the clock for waiting.
    pub fn instant(self, due_at: Timestamp) -> Instant {
        if due_at > self.wall { self.now + due_at.since(self.wall) } else { self.back(self.wall.since(due_at)) }
    }
    fn back(self, ago: Duration) -> Instant {
        Instant(self.now.0.saturating_sub(u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX)))
    }
    /// What is written down of a moment for waiting.
    pub fn timestamp(self, due: Instant) -> Timestamp {
        if due > self.now { self.wall + due.since(self.now) } else { self.wall - self.now.since(due) }
    }
}

/// Names a delivery within its engine; in the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A delivery on its way into the engine.
#[derive(Debug, Clone)]
pub struct New<P> {
    /// Which.
    pub key: DeliveryKey,
    /// Bytes it holds in memory.
    pub size: usize,
    /// Where its chance comes from: a function of its ids.
    pub seed: u64,
    /// By what its limit is counted; `None`: by all of the output.
    pub rate_key: Option<RateKey>,
    /// What the row says where it has one.
    pub row: Option<Standing>,
    /// What the caller keeps beside it.
    pub payload: P,
}

/// What a delivery's row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// When it is due.
    pub due_at: Timestamp,
    /// Counted attempts so far.
    pub attempts: u32,
    /// How often somebody asked for it again.
    pub replays: u32,
    /// Whether it was told when to come.
    pub told: bool,
}

/// A row that was read back. Where something stands beside the delivery, it needs no attempt and this is written of it.
pub type ReadBack<P> = (New<P>, Option<Decision>);

/// What is written of a delivery without an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Where it stands. `Waiting`: it leaves memory once that is durable, and is read back.
    pub state: State,
    /// Why.
    pub detail: String,
    /// Until when it is held, where it goes on by itself.
    pub until: Option<Timestamp>,
}

impl Decision {
    /// It stands there, for good or until somebody changes it.
    pub fn new(state: State, detail: String) -> Self {
        Decision { state, detail, until: None }
    }
}

impl From<HeldUntil> for Decision {
    fn from(held: HeldUntil) -> Self {
        Decision { state: State::Held, detail: held.why, until: Some(held.until) }
    }
}

/// Waiting rows that were read back.
#[derive(Debug)]
pub struct Page<P> {
    /// In the journal's order.
    pub rows: Vec<ReadBack<P>>,
    /// Where to go on if there were as many as asked for; `None`: that was all.
    pub more: Option<Cursor>,
    /// When the next one is due; known where that was all.
    pub next_due: Option<Timestamp>,
}

/// What happened.
#[derive(Debug)]
pub enum Input<P> {
    /// A delivery whose event was just kept, or is found again after a start. Due now.
    Arrived(New<P>),
    /// A delivery that needs no attempt, or cannot get one: this is written of it.
    Decided {
        /// Which.
        new: New<P>,
        /// What is written.
        decision: Decision,
    },
    /// A delivery in memory may not go now: it leaves. One that [`Action::Send`] named was not sent, and nothing is counted.
    Withheld(Ticket, HeldUntil),
    /// The answer to [`Action::Load`].
    Loaded(Page<P>),
    /// The answer to [`Action::Load`]: the journal could not be read.
    NotLoaded,
    /// What became of an attempt.
    Outcome(Ticket, Outcome),
    /// The call was over without a word about this one: what the host makes of that, which says nothing about the far side.
    Unheard(Ticket, Outcome),
    /// An attempt was given up before it was sent: nothing happened, nothing is counted.
    Unsent(Ticket),
    /// A call that [`Action::Send`] asked for is over: its place is free. Comes after its outcomes.
    CallEnded,
    /// The oldest batch of [`Action::Write`] is durable, or is not.
    Written(bool),
    /// Rows of this output were made waiting elsewhere.
    Look,
    /// Sends nothing until [`Input::Resume`]; what is out finishes.
    Pause,
    /// Sends again.
    Resume,
    /// The file changed. Breaker and queue stay, and the buckets of an unchanged limit; a new limit starts empty.
    Reconfigure(Arc<Policy>),
    /// The destination itself was changed: if it was down, a probe goes at once.
    Hurry,
    /// Sends nothing any more and answers [`Action::Stopped`] once everything out is over and written.
    Stop {
        /// Whether deliveries without a row get one: their output is going. Else their open plan finds them again.
        park: bool,
    },
    /// Says what to do now.
    Turn,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// One call of the output with these deliveries.
    Send(Vec<Ticket>),
    /// Hand over the first so many of [`Engine::settlements`] in one batch. At most one batch is out.
    Write(usize),
    /// Read waiting rows. At most one is out.
    Load {
        /// Whether of those that somebody asked for again; else of the others.
        replays: bool,
        /// Where to go on.
        after: Cursor,
        /// Only those due by then.
        due_by: Timestamp,
        /// At most so many.
        most: usize,
    },
    /// More due rows stand in the journal than were read: arrivals must queue behind them there.
    Behind,
    /// All rows that were due when the last [`Action::Load`] went out are in memory.
    CaughtUp,
    /// Rows that were told to come by another limit than this (so their detail says) wait for their turn anew, due now.
    Recall {
        /// The detail of those that stay; `None`: none do.
        but: Option<String>,
    },
    /// Turn again then, unless something happens before. Replaces the one before.
    WakeAt(Instant),
    /// The breaker turned.
    Turned(Turned),
    /// Nothing is out and everything is written; nothing more will be said.
    Stopped,
}

/// What is to be written of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub(super) ticket: Ticket,
    /// Whether it is the delivery's first row.
    pub first: bool,
    /// Where it stands.
    pub state: State,
    /// When it is due, for `Waiting`; until when it is held, for a `Held` one that goes on by itself.
    pub due_at: Option<Timestamp>,
    /// Counted attempts.
    pub attempts: u32,
    /// What the far side said, or why.
    pub detail: String,
    /// Whether the delivery leaves memory once this is durable.
    pub(super) leaves: bool,
}

/// How often what happened, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Attempts that the far side took.
    pub delivered: u64,
    /// Attempts worth another try.
    pub retry: u64,
    /// Attempts that found the destination down.
    pub down: u64,
    /// Attempts that found it misconfigured.
    pub misconfigured: u64,
    /// Attempts that were refused for good.
    pub rejected: u64,
    /// Attempts sent and not answered.
    pub unknown: u64,
    /// Deliveries given up.
    pub dead: u64,
    /// Deliveries kept back.
    pub held: u64,
}

impl Counts {
    pub(super) fn hear(&mut self, outcome: &Outcome) {
        let count = match outcome {
            Outcome::Delivered { .. } => &mut self.delivered,
            Outcome::Retry { .. } => &mut self.retry,
            Outcome::Down { .. } => &mut self.down,
            Outcome::Misconfigured { .. } => &mut self.misconfigured,
            Outcome::Rejected { .. } => &mut self.rejected,
            Outcome::Unknown { .. } => &mut self.unknown,
        };
        *count += 1;
    }
}
