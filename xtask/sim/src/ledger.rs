//! What the laws are held against: deliveries, events, far sides and senders, as they were seen at the seams.

use crate::scenario::Mood;
use std::collections::{BTreeMap, BTreeSet};
use switchyard::model::{Event, Plan};

/// A delivery, as its far side and the disk saw it.
#[derive(Debug, Clone, Default)]
pub struct Track {
    /// The life in which it was sent last.
    pub life: u32,
    /// Attempts in that life that were heard and count, on top of `base`.
    pub counted: u32,
    /// Ends in that life of which nothing was heard, that may count.
    pub unheard: u32,
    /// Counted attempts before that life's first one.
    pub base: u32,
    /// The life, and how often it had been asked for again, when the far side said it has it.
    pub success: Option<(u32, u32)>,
    /// How often it had been asked for again when it was sent last.
    pub asked: u32,
    /// What was sent last.
    pub text: String,
    /// Not before then, by what the far side said in this life.
    pub not_before: u64,
    /// Whether it is out.
    pub out: bool,
    /// Whether it is out, or was last, as a probe.
    pub probe: bool,
    /// By which engine of its output it was sent last.
    pub engine: u32,
    /// Over which connection.
    pub connection: u32,
    /// Up to which event it speaks, where it is a digest.
    pub through: Option<i64>,
    /// Its route and key, where it is a digest.
    pub digest: Option<(String, u8)>,
    /// The key of its event.
    pub by: u8,
}

/// A kept event.
#[derive(Debug, Clone)]
pub struct Fact {
    /// It.
    pub event: Event,
    /// Where it goes.
    pub plan: Plan,
    /// When it was committed.
    pub at: u64,
    /// Whether retention has deleted it.
    pub swept: bool,
}

/// A far side.
#[derive(Debug, Clone)]
pub struct Far {
    /// How it behaves.
    pub mood: Mood,
    /// Calls that are out.
    pub calls: u32,
    /// Parcels got so far, over all lives: with their time, the number of the limit then, and its key.
    pub sends: Vec<(u64, u32, Option<u8>)>,
    /// Which limit it is; grows with each change.
    pub limit: u32,
    /// When it was last heard that it is down, and whether by being misconfigured, in this life.
    pub down: Option<(u64, bool)>,
    /// Whether a probe is out.
    pub probing: bool,
    /// Grows when the output leaves the configuration or is back in it: what was out before says nothing to the new engine.
    pub engine: u32,
    /// The destination was changed: it may be probed at once, until it answers.
    pub hurried: bool,
    /// Which connection; what is heard over an earlier one is no answer of a changed destination.
    pub connection: u32,
    /// It asked not to be sent anything before.
    pub held: Held,
    /// The same of a key, where its limit has keys.
    pub held_keys: BTreeMap<u8, Held>,
    /// When the last digest of a route and key was over.
    pub digests: BTreeMap<(String, u8), u64>,
    /// What it said to the engine of now: how often that it has it, and that it refuses it.
    pub said: (u64, u64),
}

/// Until when a far side asked not to be sent anything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Held {
    /// When it asked.
    at: u64,
    until: u64,
    /// Until when, as it had asked before that moment.
    before: u64,
}

impl Held {
    /// It asks. A shorter wait does not undo a longer one.
    pub fn ask(&mut self, now: u64, until: u64) {
        if until > self.until {
            self.before = if now > self.at { self.until } else { self.before };
            (self.at, self.until) = (now, until);
        }
    }

    /// Until when nothing may be sent at this moment. A call that began in the very moment in which it asked had not heard of it.
    pub fn until(&self, now: u64) -> u64 {
        if now > self.at { self.until } else { self.before }
    }
}

/// The id of an event that came with others is that of its sender, and its place times this.
pub const ITEMS: u32 = 1_000;

impl Sender {
    /// The ids of what it posts, in their order; its own is `id`.
    pub fn ids(&self, id: u32) -> Vec<u32> {
        if self.items == 0 { vec![id] } else { (1..=u32::from(self.items)).map(|place| place * ITEMS + id).collect() }
    }
}

/// Somebody who posts an event until it hears 200.
#[derive(Debug, Clone)]
pub struct Sender {
    /// The event's topic, key and words.
    pub of: (u8, u8, u8),
    /// Milliseconds it waits.
    pub patience: u32,
    /// Events of its request; 0: it is one itself.
    pub items: u8,
    /// Whether it heard 200.
    pub acked: bool,
    /// The configurations that ran as it posted, in this life.
    pub met: BTreeSet<usize>,
}
