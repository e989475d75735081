//! One event on its way to one output by one route, as the journal keeps it.

use super::{DeliveryId, EventId, Message, OrderKey, Seq, Target, Timestamp};
use std::sync::Arc;

/// Where a delivery stands. There is no other state anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Will be tried when it is due.
    Waiting,
    /// Kept back until somebody or something releases it: its output is paused or not in the file any more.
    Held,
    /// The far side has it.
    Delivered,
    /// Given up, kept with the reason, replayable.
    Dead,
}

impl State {
    /// The word people read and write.
    pub fn word(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Held => "held",
            State::Delivered => "delivered",
            State::Dead => "dead",
        }
    }

    /// The state of a word.
    pub fn of(word: &str) -> Option<Self> {
        [State::Waiting, State::Held, State::Delivered, State::Dead].into_iter().find(|state| state.word() == word)
    }
}

/// Names a delivery within the journal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryKey {
    /// The event's place.
    pub seq: Seq,
    /// By which route to which output.
    pub target: Arc<Target>,
    /// Which of the target's messages, from 0: a transform may give several results, and a split text several parts.
    pub ordinal: u32,
}

impl DeliveryKey {
    /// The stable id of the delivery, for an event of this id.
    pub fn id(&self, event: EventId) -> DeliveryId {
        DeliveryId::of(event, &self.target.route, &self.target.output, self.ordinal)
    }
}

/// What the journal keeps of a delivery: written when it must wait or when it is over (rows late).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Which.
    pub key: DeliveryKey,
    /// Where it stands.
    pub state: State,
    /// When it is tried next, for `Waiting`; until when it is kept back, for a `Held` one that goes on by itself.
    pub due_at: Option<Timestamp>,
    /// Counted attempts so far.
    pub attempts: u32,
    /// How often somebody asked for it again.
    pub replays: u32,
    /// What the far side said, or why it waits, is held or dead. One line, at most 512 bytes, no secrets.
    pub detail: String,
    /// The rendered message, fixed at the first attempt; `None`: render it (again).
    pub message: Option<Arc<Message>>,
    /// When this was written.
    pub updated_at: Timestamp,
}

/// A delivery's row on its way into the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// What to write; replaces the row of the same key.
    pub row: DeliveryRow,
    /// Whether it is the last of its target's deliveries to get a row for the first time: one part of the event's plan is then closed.
    pub closes: bool,
    /// For a delivery that is kept in order with others: what this row means to them.
    pub order: Option<Order>,
    /// Whether it is dead where there is an `on_dead`, which is to be given its event.
    pub on_dead: bool,
}

impl Settlement {
    /// Whether it comes too late: what it waits or is held for is over by this row, as somebody ended it meanwhile. Such a settlement
    /// changes nothing of the row; that something arrived is true whenever it is heard.
    pub fn is_late(&self, before: &DeliveryRow) -> bool {
        let open = |state| matches!(state, State::Waiting | State::Held);
        open(self.row.state) && !open(before.state) && self.row.replays <= before.replays
    }
}

/// What a row means to the deliveries behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// They wait on.
    Keeps(OrderKey),
    /// The next one has its turn, from the same commit on.
    Frees(OrderKey),
}

/// The detail of a held row that waits for its turn within its key; nothing else has it.
pub const BEHIND: &str = "waits behind an earlier one of its key";
/// The detail of a held row that is collected for a digest; nothing else has it.
pub const COLLECTED: &str = "collected for the next digest of its key";

/// Why a delivery may not go now, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldUntil {
    /// When it is looked at again.
    pub until: Timestamp,
    /// What its row says: one line, at most 512 bytes, no secrets.
    pub why: String,
}

/// How the detail of a held row begins and ends that is dead once its time has come; nothing else has both.
pub const SILENCED: (&str, &str) = ("silenced by ", ", then dead)");

/// Whether a row that is held until a time with this detail is dead then; others wait again.
pub fn ends_dead(detail: &str) -> bool {
    detail.starts_with(SILENCED.0) && detail.ends_with(SILENCED.1)
}

/// Whether a held row with this detail stands in line, and for nothing else.
pub fn stands_in_line(detail: &str) -> bool {
    detail == BEHIND || detail == COLLECTED
}

/// How the detail of a waiting row begins that is there because another is dead; which follows.
pub const ON_DEAD: &str = "because of a dead delivery: ";

/// How the detail of a waiting row begins that was told when to come because its key has had its share for now; the limit follows.
pub const PACED: &str = "waits for its turn: ";

/// Hears whether a batch of settlements is durable. Called once, on the writer's thread: must not block.
pub type Written = Box<dyn FnOnce(bool) + Send>;

/// A waiting delivery, read back from the journal.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Its event.
    pub kept: Arc<super::Kept>,
    /// Its row.
    pub row: DeliveryRow,
}

/// Where reading waiting deliveries of an output goes on: they come by due time, then by arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Cursor {
    /// Due time of the last one read.
    pub due_at: Timestamp,
    /// Its event's place.
    pub seq: Seq,
    /// Which of the event's deliveries; the journal's own number.
    pub nth: i64,
}
