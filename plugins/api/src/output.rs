//! The seam between the delivery engine and a destination: parcels in, outcomes out.

use crate::message::Message;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Names a parcel within its output; given back with the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(pub u64);

/// One delivery, ready to go out.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// To settle it by.
    pub handle: Handle,
    /// The stable id, equal at every attempt: `dlv_…`.
    pub delivery: String,
    /// The event's id: `evt_…`.
    pub event: String,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// Whether somebody asked for this delivery again.
    pub replay: bool,
    /// Where the event came from.
    pub source: Arc<str>,
    /// What it is about.
    pub topic: Arc<str>,
    /// By which route.
    pub route: Arc<str>,
    /// When it was received, milliseconds since 1970.
    pub received_at: i64,
    /// The body's exact bytes.
    pub raw: Bytes,
    /// The request's content type, where it had one.
    pub content_type: Option<Arc<str>>,
    /// The rendered message.
    pub message: Arc<Message>,
}

impl Parcel {
    /// What is sent where the message has no field of its own for it: the transform's result, or the event's exact bytes.
    pub fn payload(&self) -> Bytes {
        crate::message::payload(&self.message, &self.raw)
    }

    /// The content type of [`payload`](Self::payload).
    pub fn payload_type(&self) -> &str {
        if self.message.payload.is_some() { "application/json" } else { self.content_type.as_deref().unwrap_or("application/octet-stream") }
    }
}

/// What became of one attempt. `why` is one line for a person, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The far side has it; what it said: status, offset, message id.
    Delivered {
        /// What the far side said.
        detail: String,
    },
    /// Worth another try, not before `after`.
    Retry {
        /// What happened.
        why: String,
        /// How long the far side asks to wait: for the key where the output's limit has one, else for the whole output.
        after: Option<Duration>,
    },
    /// The destination itself is down: the breaker opens, no attempt is counted.
    Down {
        /// What happened.
        why: String,
        /// How long the far side asks to wait.
        after: Option<Duration>,
    },
    /// Credentials, channel, certificate: as down, with a slow probe and a loud alarm; a backlog is held, never dead.
    Misconfigured {
        /// What happened.
        why: String,
        /// How long to wait at least before it is tried again.
        after: Option<Duration>,
    },
    /// It will never accept this one: dead now, replayable.
    Rejected {
        /// What happened.
        why: String,
    },
    /// Sent, and no answer heard: `on_unknown` decides.
    Unknown {
        /// What happened.
        why: String,
    },
}

impl Outcome {
    /// One word for logs, lists and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Delivered { .. } => "delivered",
            Outcome::Retry { .. } => "retry",
            Outcome::Down { .. } => "down",
            Outcome::Misconfigured { .. } => "misconfigured",
            Outcome::Rejected { .. } => "rejected",
            Outcome::Unknown { .. } => "unknown",
        }
    }

    /// What the far side said, or what happened.
    pub fn text(&self) -> &str {
        match self {
            Outcome::Delivered { detail: text }
            | Outcome::Retry { why: text, .. }
            | Outcome::Down { why: text, .. }
            | Outcome::Misconfigured { why: text, .. }
            | Outcome::Rejected { why: text }
            | Outcome::Unknown { why: text } => text,
        }
    }
}

/// What an output says about its parcels, as soon as it knows.
#[derive(Debug, Clone)]
pub enum Word {
    /// From here on the far side may have it: no outcome after this means unknown.
    Sent(Handle),
    /// This attempt is over.
    Settled(Handle, Outcome),
}

/// Where an output says what became of a parcel. One call of [`Output::deliver`] has one.
#[derive(Debug)]
pub struct Settle(mpsc::UnboundedSender<Word>);

impl Settle {
    /// The two ends. The channel holds at most two words a parcel.
    #[allow(clippy::disallowed_methods)] // bounded by the parcels of one call
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Word>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Settle(sender), receiver)
    }

    /// From here on the far side may have it.
    pub fn sent(&self, handle: Handle) {
        // The reader is gone only when the delivery was given up: nobody listens.
        let _ = self.0.send(Word::Sent(handle));
    }

    /// This attempt is over.
    pub fn settle(&self, handle: Handle, outcome: Outcome) {
        let _ = self.0.send(Word::Settled(handle, outcome));
    }
}

/// A connected destination.
pub trait Output: Send + Sync {
    /// How many parcels one call of [`deliver`](Self::deliver) may get; 1 unless the destination takes batches.
    fn max_batch(&self) -> usize {
        1
    }

    /// Sends the parcels and says each one's outcome on `settle` by its handle. May be dropped at any await: what had not
    /// been [`sent`](Settle::sent) is then tried again, what had been is unknown. Must not retry by itself.
    fn deliver<'a>(&'a self, parcels: Vec<Parcel>, settle: &'a Settle) -> BoxFuture<'a, ()>;

    /// Asks the destination whether a delivery would work: reachable, credentials good, channel there.
    fn check(&self) -> BoxFuture<'_, Result<(), crate::CheckError>>;

    /// Asks whether a message could go of which these fields are the same for every event: its topic is there and ours to write, its
    /// statement can be prepared. Sends nothing. What a destination cannot tell beforehand is no error.
    fn check_message<'a>(&'a self, fixed: &'a BTreeMap<String, String>) -> BoxFuture<'a, Result<(), crate::CheckError>> {
        let _ = fixed;
        Box::pin(async { Ok(()) })
    }

    /// Flushes and lets go of connections and files.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
