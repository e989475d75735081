//! What delivery asks of whoever runs it, and what it shows: the seam to the daemon.

use super::breaker::BreakerState;
use super::inbox::Inbox;
use super::words::Counts;
use crate::model::{
    Cursor, DeliveryId, Event, EventId, HeldUntil, Kept, Loaded, Message, NotRendered, Outcome, Settlement, Target, Timestamp, Written,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a delivery's run needs from whoever runs it.
pub trait Host: Send + Sync + 'static {
    /// Renders what goes to a target: no, one or several messages.
    fn render(&self, kept: &Kept, target: &Target) -> impl Future<Output = Result<Vec<Arc<Message>>, NotRendered>> + Send;
    /// Why a delivery may not go now, and until when; `None`: it may. Asked when it arrives and just before it is sent: must be quick.
    fn held_until(&self, kept: &Kept, target: &Target) -> Option<HeldUntil>;
    /// Writes settlements in one transaction, in the order of the calls. `written` is called once.
    fn settle(&self, settlements: Vec<Settlement>, written: Written);
    /// Hears that a delivery is given up; its row is on its way. Nobody need listen.
    fn died(&self, _event: &Event, _target: &Target, _why: &str) {}
    /// Waiting rows of an output, in the order of due time and arrival. May give rows the engine holds already.
    /// One that may not go now comes back as a held row, not rendered.
    fn load(&self, output: &str, wanted: Wanted) -> impl Future<Output = Result<Due, LoadError>> + Send;
    /// Rows that wait because a limit said when (but for those whose detail is this) are due now. How many there were.
    fn recall(&self, output: &str, but: Option<String>) -> impl Future<Output = Result<u64, LoadError>> + Send;
}

/// Which waiting rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Those of deliveries that somebody asked for again; else the others.
    pub replays: bool,
    /// Where to go on.
    pub after: Cursor,
    /// Only those due by then.
    pub due_by: Timestamp,
    /// At most so many.
    pub most: usize,
}

/// Waiting rows.
#[derive(Debug)]
pub struct Due {
    /// Each with its place.
    pub rows: Vec<(Cursor, Loaded)>,
    /// When the next one of them is due, where these are fewer than were wanted.
    pub next_due: Option<Timestamp>,
}

/// Why waiting rows could not be read, or called back.
#[derive(Debug, thiserror::Error)]
#[error("waiting deliveries cannot be read from the journal: {0}")]
pub struct LoadError(pub String);

/// One attempt that is over, for `tail` and metrics.
#[derive(Debug, Clone)]
pub struct Attempted {
    /// When it was over.
    pub at: Timestamp,
    /// Which delivery.
    pub delivery: DeliveryId,
    /// Of which event.
    pub event: EventId,
    /// From which source.
    pub source: Arc<str>,
    /// About what.
    pub topic: Arc<str>,
    /// By which route to which output.
    pub target: Arc<Target>,
    /// Which try, from 1.
    pub attempt: u32,
    /// How often somebody had asked for it again.
    pub replay: u32,
    /// How long it took.
    pub took: Duration,
    /// What became of it.
    pub outcome: Outcome,
}

/// Where an output stands, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputStatus {
    /// Deliveries in memory that are not out. Those in the journal are the journal's to count.
    pub waiting: usize,
    /// Those of them that have no row: what the journal counts as waiting and these are all that wait.
    pub bare: usize,
    /// Calls that are out.
    pub in_flight: u32,
    /// Rows that are not durable yet.
    pub unwritten: usize,
    /// When the first delivery in memory is due.
    pub next_due: Option<Timestamp>,
    /// Where the breaker stands.
    pub breaker: BreakerState,
    /// When it is probed next, where it is down.
    pub probe_at: Option<Timestamp>,
    /// Until when the far side asked us to wait, with all of it or with one of the limit's keys.
    pub asked_until: Option<Timestamp>,
    /// Whether its limit is counted by a key.
    pub keyed: bool,
    /// Whether somebody paused it.
    pub paused: bool,
    /// What happened since the start.
    pub counts: Counts,
    /// Whether its task ended by a fault of ours: nothing is delivered until it is begun anew.
    pub failed: bool,
    /// How often its task was begun anew after that.
    pub begun_anew: u32,
}

impl Default for OutputStatus {
    fn default() -> Self {
        OutputStatus {
            waiting: 0,
            bare: 0,
            in_flight: 0,
            unwritten: 0,
            next_due: None,
            breaker: BreakerState::Closed,
            probe_at: None,
            asked_until: None,
            keyed: false,
            paused: false,
            counts: Counts::default(),
            failed: false,
            begun_anew: 0,
        }
    }
}

/// What one output's task shares with the fleet.
#[derive(Debug)]
pub struct Shared {
    /// The output's name.
    pub name: Arc<str>,
    /// What it is told.
    pub inbox: Inbox,
    /// Where it stands.
    pub status: Mutex<OutputStatus>,
    /// How many tasks it had before this one.
    pub before: u32,
}

impl Shared {
    /// Where it stands now.
    pub fn status(&self) -> OutputStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
