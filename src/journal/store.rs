//! The seam between the writer and what keeps: one batch in, one durable step, what became of each.
//!
//! Does: names the words of a commit, of recovery, of an operator's change and of retention. Never: decides when to
//! commit (the writer does) or what an answer to a sender is. Holds: L1 `commit` returns only when the batch is durable as
//! a whole or not at all. Proven by `conformance`, which runs one suite on every store.

use super::archive::OutputCounts;
use super::replay::{JobState, Render, ReplayJob};
use crate::model::{
    ConfigVersion, Cursor, Dedupe, DeliveryKey, Event, EventId, Kept, Loaded, Message, Plan, Seq, Settlement, State, Target, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// One event on its way into the journal.
#[derive(Debug, Clone)]
pub struct Append {
    /// What happened.
    pub event: Event,
    /// Where it goes.
    pub plan: Plan,
    /// By what a repeat is recognised; `None`: never a repeat.
    pub dedupe: Option<Dedupe>,
}

/// What one commit makes durable, in this order.
#[derive(Debug, Default)]
pub struct Batch {
    /// Events with their plans; what repeats an earlier one is not written. Targets that are kept in order get their rows with them.
    pub appends: Vec<Append>,
    /// Rows of deliveries; each replaces the row of the same key.
    pub settlements: Vec<Settlement>,
    /// The lowest event whose plan is not closed, where it is time to write it down.
    pub watermark: Option<Seq>,
    /// By when rows are dated that are born with their events.
    pub at: Timestamp,
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Kept.
    New {
        /// Its place.
        seq: Seq,
        /// The sender had used this id before, for another body: kept all the same, and marked.
        reused_id: bool,
    },
    /// A repeat of a kept one; not kept again.
    Duplicate {
        /// The event it repeats.
        of: EventId,
    },
}

/// What a commit did: one fate an append, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Committed {
    /// In the order of the batch.
    pub fates: Vec<Fate>,
}

/// Where a start goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The lowest event whose plan may not be closed.
    pub watermark: Seq,
    /// The last event kept; zero where there is none.
    pub last: Seq,
    /// Events from the watermark on whose plan is open, and how many of their targets are.
    pub open: Vec<(Seq, u32)>,
    /// By when rows are dated that decide how long others wait: of each output, when that one was written that is due last, and when the
    /// last turn was given. A clock that shows less was set back.
    pub dated: Timestamp,
}

/// An event whose plan was not closed when the daemon stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenEvent {
    /// The event and its stored plan.
    pub kept: Arc<Kept>,
    /// Rows that it has already.
    pub rows: Vec<RowMark>,
    /// Whether its bytes are not those that were kept.
    pub damaged: bool,
}

/// A delivery that has a row already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowMark {
    /// Of which target.
    pub target: Arc<Target>,
    /// Which of the transform's results.
    pub ordinal: u32,
    /// Whether its target needs no more rows.
    pub closes: bool,
}

impl OpenEvent {
    /// Targets that still need rows, each with the ordinals that have one.
    pub fn missing(&self) -> impl Iterator<Item = (&Arc<Target>, Vec<u32>)> {
        self.kept.plan.targets.iter().filter_map(|target| {
            let rows = || self.rows.iter().filter(|row| row.target == *target);
            let closed = rows().any(|row| row.closes);
            (!closed).then(|| (target, rows().map(|row| row.ordinal).collect()))
        })
    }
}

/// A waiting delivery as read, before anybody asked whether its event is whole.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Where reading goes on after it.
    pub cursor: Cursor,
    /// It.
    pub loaded: Loaded,
    /// Whether the bytes of its event or message are not those that were kept.
    pub damaged: bool,
}

/// A dead delivery that an `on_dead` is to be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    /// It.
    pub key: DeliveryKey,
    /// Its event; `None`: its bytes are not those that were kept.
    pub kept: Option<Arc<Kept>>,
}

/// What is collected behind a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The first, in the order of arrival, each with its target; without those whose bytes are not what was kept.
    pub first: Vec<(Arc<Kept>, Arc<Target>)>,
    /// How many there are.
    pub count: u64,
    /// The last one's event; the asked one's where there is none.
    pub through: Seq,
}

/// Reading what is still to be done. Sees what was committed.
pub trait Reads: Send + Sync {
    /// How many deliveries of each output wait, are held and are dead.
    fn counts(&self) -> Result<Vec<OutputCounts>, StoreError>;
    /// Events from `from` to `to` (both included) with an open plan, by place, at most `most`.
    fn open_events(&self, from: Seq, to: Seq, most: usize) -> Result<Vec<OpenEvent>, StoreError>;
    /// Waiting deliveries of an output that are due by then, by due time and arrival, after the cursor: those that somebody asked for
    /// again (`replays`), or the others.
    fn waiting(&self, output: &str, replays: bool, after: Cursor, due_by: Timestamp, most: usize) -> Result<Vec<Waiting>, StoreError>;
    /// When the first of them is due that is due after then.
    fn next_due(&self, output: &str, replays: bool, after: Timestamp) -> Result<Option<Timestamp>, StoreError>;
    /// What is collected behind a delivery that has the turn of its key: the first `most` of it.
    fn collected(&self, key: &DeliveryKey, most: usize) -> Result<Collected, StoreError>;
    /// What is sealed under a key.
    fn sealed(&self, key: &str) -> Result<Option<Sealed>, StoreError>;
    /// All replays that are kept, the newest first.
    fn replays(&self) -> Result<Vec<ReplayJob>, StoreError>;
    /// How many of an output wait that were asked for again, counted up to `most`.
    fn asked_again(&self, output: &str, most: u64) -> Result<u64, StoreError>;
    /// Events after a place that the filter means, by place: at most `most`, and some megabytes. And the place up to which all were looked
    /// at; `None`: to the filter's end. What is damaged is left out.
    fn events(&self, filter: &DeliveryFilter, after: Seq, most: usize) -> Result<(Vec<Arc<Kept>>, Option<Seq>), StoreError>;
    /// Dead deliveries that an `on_dead` is still to be given, by place.
    fn on_dead(&self, most: usize) -> Result<Vec<Dead>, StoreError>;
    /// The configurations that are kept, the newest first.
    fn configs(&self) -> Result<Vec<KeptConfig>, StoreError>;
    /// What the row of a target's dead delivery of an event says, the first of them; `None`: none is dead.
    fn why_dead(&self, seq: Seq, target: &Target) -> Result<Option<String>, StoreError>;
}

/// Which deliveries, for lists and operators. What is `None` or empty does not restrict.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeliveryFilter {
    /// In one of these states.
    pub states: Vec<State>,
    /// To this output.
    pub output: Option<String>,
    /// To none of these.
    pub not_to: Arc<BTreeSet<Arc<str>>>,
    /// By this route.
    pub route: Option<String>,
    /// Of this event.
    pub event: Option<Seq>,
    /// Of events of this source.
    pub source: Option<String>,
    /// Of events of this topic.
    pub topic: Option<TopicMatch>,
    /// Of events received at or after.
    pub since: Option<Timestamp>,
    /// Of events received before.
    pub until: Option<Timestamp>,
    /// Of events up to this place.
    pub through: Option<Seq>,
    /// Whose row was last written before.
    pub written_before: Option<Timestamp>,
}

/// A topic as people ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicMatch {
    /// This one.
    Exact(String),
    /// Those that start so.
    Prefix(String),
}

impl TopicMatch {
    /// As people write it: a word, or the start of one and `*`.
    pub fn of(text: &str) -> Self {
        text.strip_suffix('*').map_or_else(|| TopicMatch::Exact(text.to_owned()), |start| TopicMatch::Prefix(start.to_owned()))
    }

    /// Whether it is meant.
    pub fn holds(&self, topic: &str) -> bool {
        match self {
            TopicMatch::Exact(word) => topic == word,
            TopicMatch::Prefix(start) => topic.starts_with(start.as_str()),
        }
    }
}

impl std::fmt::Display for TopicMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TopicMatch::Exact(word) => f.write_str(word),
            TopicMatch::Prefix(start) => write!(f, "{start}*"),
        }
    }
}

impl DeliveryFilter {
    /// Whether a delivery is meant, as far as its own row says.
    pub fn holds_row(&self, seq: Seq, target: &Target, state: State, updated_at: Timestamp) -> bool {
        (self.states.is_empty() || self.states.contains(&state))
            && self.event.is_none_or(|event| event == seq)
            && self.output.as_deref().is_none_or(|output| output == &*target.output)
            && !self.not_to.contains(&target.output)
            && self.route.as_deref().is_none_or(|route| route == &*target.route)
            && self.through.is_none_or(|through| seq <= through)
            && self.written_before.is_none_or(|before| updated_at < before)
    }

    /// Whether its event is meant.
    pub fn holds_event(&self, source: &str, topic: &str, received_at: Timestamp) -> bool {
        self.source.as_deref().is_none_or(|wanted| wanted == source)
            && self.topic.as_ref().is_none_or(|wanted| wanted.holds(topic))
            && self.since.is_none_or(|since| received_at >= since)
            && self.until.is_none_or(|until| received_at < until)
    }

    /// Whether the event must be looked at.
    pub fn asks_event(&self) -> bool {
        self.source.is_some() || self.topic.is_some() || self.since.is_some() || self.until.is_some()
    }
}

/// A change that somebody asked for, over as many deliveries as it meets; done in slices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Waiting deliveries of an output become held.
    Hold {
        /// Whose.
        output: Arc<str>,
        /// Written into each row; one line, no secrets.
        why: String,
    },
    /// Deliveries of an output that are held for one of these reasons wait again, due now. Those held for another stay: whether to
    /// send them again is for a person to say.
    Unhold {
        /// Whose.
        output: Arc<str>,
        /// What their rows say.
        why: BTreeSet<String>,
    },
    /// Held, dead and delivered ones of these wait again, due now, with their attempts counted from nothing; not those that stand behind
    /// another of their key.
    Replay(Vec<DeliveryKey>, Render),
    /// Replays are written down, all or, where one of their numbers is taken, none.
    PlanReplays(Vec<ReplayJob>),
    /// Some more deliveries of a replay that runs wait again, as long as its output has fewer than so many that wait and were asked for again.
    /// How far it is stands in the same commit.
    FeedReplay {
        /// Which.
        id: u64,
        /// How many may wait.
        most: u64,
    },
    /// What is missing is added: targets to the plans of events, at most a page, each with a row that waits as one that was asked for again.
    /// How far the replay is stands in the same commit. Nothing where it does not run.
    FeedMissing {
        /// Which replay.
        id: u64,
        /// What is added to which event's plan; what is there already stays as it is.
        found: Vec<(Seq, Plan)>,
        /// The last event that was looked at; `None`: the replay is at its end.
        at: Option<Seq>,
    },
    /// The events of dead deliveries are given to the output that their `on_dead` names: targets are added to their plans, each with a row that
    /// waits, and these deliveries are not asked about again. At most a page of them.
    PassOn(Vec<(DeliveryKey, Plan)>),
    /// A replay that is not over becomes this; one row changed, or none where it cannot.
    TurnReplay {
        /// Which.
        id: u64,
        /// What it becomes.
        to: JobState,
    },
    /// Deliveries of an output that are kept in order, were tried, and have had their turn since before then, let the next of their key
    /// go on; they themselves go on too, out of order. Not those that are held until a time.
    Overtake {
        /// Whose.
        output: Arc<str>,
        /// When the turn of those began, at the latest.
        before: Timestamp,
    },
    /// What went along in a digest of an output stands where the digest stands; and a key whose last digest is over since before then
    /// has its next one.
    Gather {
        /// Whose.
        output: Arc<str>,
        /// When the last one of a key was over, at the latest.
        before: Timestamp,
    },
    /// Deliveries of an output that are held until a time wait again, due now, where that is by then and not for one of the reasons
    /// `except`; those that [end dead](crate::model::ends_dead) are dead.
    Elapse {
        /// Whose.
        output: Arc<str>,
        /// Which times have come.
        by: Timestamp,
        /// What the rows say that stay as they are.
        except: BTreeSet<String>,
    },
    /// A waiting delivery that has no message yet has this one from now on.
    Fix {
        /// Which.
        key: DeliveryKey,
        /// What every attempt of it sends.
        message: Arc<Message>,
    },
    /// As [`Overtake`](Self::Overtake), for these, if it is their turn. At most a page of them.
    PassBy(Vec<DeliveryKey>),
    /// Waiting deliveries of an output that a limit by key told when to come, and whose time is not there, wait for their turn anew, due now.
    Recall {
        /// Whose.
        output: Arc<str>,
        /// But for those whose rows say this: the limit is still that.
        but: Option<String>,
    },
    /// Held or waiting ones that the filter means, one of its states after the other, become dead, the newest first; those behind them in line go
    /// on. Nobody has them in hand.
    Purge {
        /// Which; its states are held, waiting or both.
        filter: DeliveryFilter,
        /// Written into each row; one line, no secrets.
        why: String,
    },
    /// A sealed value is kept for an output; one row changed, or none where the version is not `seen` any more.
    Seal {
        /// Under which key.
        key: Arc<str>,
        /// The version it replaces; zero: there is none.
        seen: u64,
        /// Unreadable without the vault's key.
        sealed: Vec<u8>,
    },
    /// A configuration runs from now on: its text is kept under its version, and the oldest of those that are too many go. Nothing changes
    /// where it is the newest already.
    KeepConfig {
        /// Its name, by which plans know it.
        version: ConfigVersion,
        /// The file as it was written, without what is secret in it.
        text: Arc<str>,
    },
    /// Events leave the journal with all their deliveries, and are overwritten; hashes stay, so that a repeat of them is not taken for a
    /// new event. Not those whose plan is open. At most a page of them.
    Erase {
        /// Which.
        seqs: Vec<Seq>,
        /// Also those of which a delivery waits or is held: it is not sent any more.
        waiting: bool,
    },
    /// After erasing: what is free in the file is given back, the log is cut. Changes one "row" when all of
    /// it is done, none where a reader is in the way: ask again.
    Scrub {
        /// Writes the whole file anew: only then is no byte left of what was erased. The writer does nothing else meanwhile.
        rewrite: bool,
    },
}

/// A sealed value as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Which writing of its key it is, from 1.
    pub version: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Configurations that are kept at most.
pub const CONFIGS_MAX: usize = 100;
/// Bytes of their texts at most; the newest is kept whatever it has.
pub const CONFIG_BYTES_MAX: usize = 16 << 20;

/// A configuration that ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptConfig {
    /// Its name.
    pub version: ConfigVersion,
    /// When it began to run the last time.
    pub since: Timestamp,
    /// The file as it was written, without what was secret in it.
    pub text: Arc<str>,
}

/// Where an operation goes on; the store's own numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mark(pub i64, pub i64, pub i64, pub i64);

/// What one slice of an operation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// Rows changed.
    pub changed: u64,
    /// Where it goes on; `None`: done.
    pub next: Option<Mark>,
}

/// How long what is over is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retain {
    /// Delivered ones, and events that nobody wanted.
    pub delivered: Duration,
    /// Dead ones.
    pub dead: Duration,
    /// Bytes in use beyond which delivered ones go before their time, the oldest first, and dead ones where that is not enough.
    pub max_bytes: Option<u64>,
}

/// What one slice of retention did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Events deleted, with all their deliveries.
    pub deleted: u64,
    /// Where the sweep goes on; `None`: it is through.
    pub next: Option<Seq>,
    /// How the store's size stands after it.
    pub room: Room,
}

/// How a store's size stands to what it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// It fits.
    Enough,
    /// It is too large, and something goes: more is wanted soon.
    Making,
    /// It is too large, and nothing of what was looked at may go.
    None,
}

/// Why the writer tends the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tend {
    /// A commit was just answered: only what is due.
    Busy,
    /// Nothing else to do.
    Idle,
    /// The daemon stops.
    Closing,
}

/// How many deliveries of an output wait, and how many are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Whose turn comes, or which are under way and have a row.
    pub waiting: u64,
    /// Which are held.
    pub held: u64,
}

/// The depth of each output that has any.
pub type Depths = BTreeMap<Arc<str>, Depth>;

/// Keeps batches. Owned by one thread.
pub trait Store: Send {
    /// Makes the batch durable, all of it or nothing of it. After [`StoreError::Full`] it may be called again; after any
    /// other error what was written is unknown, and the store must not be used again.
    fn commit(&mut self, batch: &Batch) -> Result<Committed, StoreError>;
    /// Reads where a start goes on. Called once, before the first commit.
    fn recover(&mut self) -> Result<Recovered, StoreError>;
    /// Does one bounded slice of an operation, in a commit of its own.
    fn operate(&mut self, operation: &Operation, now: Timestamp, from: Mark) -> Result<Slice, StoreError>;
    /// Looks at some events after `after` and deletes those whose plan is closed and whose deliveries are all past their time.
    fn sweep(&mut self, retain: Retain, now: Timestamp, after: Seq) -> Result<Swept, StoreError>;
    /// Whether the store is larger than it may be; one that has no size never is. Costs next to nothing.
    fn is_over(&mut self, _: Retain) -> Result<bool, StoreError> {
        Ok(false)
    }
    /// What waits and is held, as of the last commit and as far as it is counted; costs next to nothing.
    fn depths(&mut self) -> Result<Depths, StoreError>;
    /// Counts some more of what was there at the start; false: all is counted, and stays so by itself.
    fn count_on(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }
    /// Keeps its own files in order. Says whether there is more to do at once.
    fn tend(&mut self, why: Tend) -> Result<bool, StoreError>;
}

/// Why the store could not. `Display` is one line without anything that an event contains.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk is full or the file is held by another for now: senders get 503, the daemon goes on.
    #[error("{doing}: no space or no access for now: {detail}")]
    Full {
        /// What was being done.
        doing: &'static str,
        /// What the engine said.
        detail: String,
    },
    /// Anything unknown: what was written is unknown too. The daemon stops (exit 74); a restart reads what is there.
    #[error("{doing}: {detail}")]
    Fatal {
        /// What was being done.
        doing: &'static str,
        /// What the engine said.
        detail: String,
    },
    /// The file is not what was written (exit 75).
    #[error(
        "{doing}: the journal's file is damaged ({detail}): `switchyard journal check` says what is, `switchyard journal repair` saves what can be read and keeps the file aside"
    )]
    Corrupt {
        /// What was being done.
        doing: &'static str,
        /// What the engine said.
        detail: String,
    },
}

impl StoreError {
    /// The daemon's exit code; `None`: it goes on.
    pub fn exit_code(&self) -> Option<u8> {
        match self {
            StoreError::Full { .. } => None,
            StoreError::Fatal { .. } => Some(74),
            StoreError::Corrupt { .. } => Some(75),
        }
    }
}
