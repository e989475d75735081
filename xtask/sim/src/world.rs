//! What survives the daemon: the disk, the far sides, the senders, the time, and the ledger that the laws are held against.
//!
//! Every call over a seam comes by [`World::enter`]: it is counted, goes into the trace, and may be the one at which the process dies.
//! From then on nothing that the dead process still does has an effect. Never: reads a real clock, or draws from anything but the seed.

use crate::chance::{hash, mix};
use crate::coverage::Coverage;
use crate::ledger::{Fact, Far, Held, ITEMS, Sender, Track};
use crate::scenario::{Crash, File, Mood, Op, Output, Scenario, What};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use switchyard::daemon::silences::Silences;
use switchyard::journal::memory::Disk;
use switchyard::model::{Clock, DeliveryKey, Drill, Event, Instant, State as Stands, Timestamp};
use tokio::sync::Notify;

/// When the first life begins.
const EPOCH: i64 = 1_800_000_000_000;

/// A call over a seam.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// The store is asked where to go on.
    Recover,
    /// A batch is to be committed.
    Commit,
    /// A slice of an operator's change.
    Operate,
    /// A slice of retention.
    Sweep,
    /// Open events are read.
    OpenEvents,
    /// Waiting rows are read.
    Waiting,
    /// Deliveries are counted.
    Counts,
    /// Replays are read.
    Replays,
    /// An output connects.
    Connect,
    /// An output gets parcels.
    Deliver,
    /// An output says that a parcel is out.
    Sent,
    /// An output says what became of a parcel.
    Outcome,
    /// A sender hears an answer.
    Answer,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// It goes on; whether the process dies after its effect.
    Goes {
        /// It does.
        dies_after: bool,
    },
    /// The process is dead: no effect.
    Dead,
}

/// What the world knows.
pub struct State {
    /// What it lives through.
    pub scenario: Arc<Scenario>,
    /// Calls over seams so far.
    pub calls: u64,
    crashes: VecDeque<Crash>,
    /// Whether the process of this life is dead.
    pub dead: bool,
    trace: u64,
    /// The first law that was broken, and how.
    pub broken: Option<String>,
    /// Which life, from 1.
    pub life: u32,
    /// The configuration that runs.
    pub file: usize,
    /// When it last changed.
    pub changed_at: u64,
    /// The next thing to happen.
    pub next_op: usize,
    /// Nothing makes trouble any more.
    pub healing: bool,
    /// No connection is taken.
    pub closed: bool,
    /// What was open at the start is not taken up yet.
    pub recovering: bool,
    /// Requests under way.
    pub posting: u32,
    /// Outputs that somebody paused.
    pub paused: BTreeSet<String>,
    /// Outputs that somebody silenced, when, and until when by the wall clock, milliseconds since 1970.
    pub silenced: Vec<(usize, u64, i64)>,
    /// When the wall clock was set last.
    pub jumped_at: u64,
    /// Whether the next connection of an output fails.
    pub connect_fails: bool,
    /// Commits that find no space.
    pub full: u8,
    /// Whether the next commit fails, and whether after its effect.
    pub fails: Option<bool>,
    /// Milliseconds that a round of the writer takes.
    pub slow: u32,
    /// The far sides.
    pub fars: Vec<Far>,
    /// Deliveries by their id.
    pub tracks: BTreeMap<String, Track>,
    /// Events by their place.
    pub facts: BTreeMap<i64, Fact>,
    /// Places of events by their id.
    pub places: BTreeMap<String, i64>,
    /// Deliveries that do not keep those behind them waiting.
    pub freed: BTreeSet<DeliveryKey>,
    /// Those that others were let pass; their further parts too.
    pub passed: BTreeSet<DeliveryKey>,
    /// Senders by their own number.
    pub senders: BTreeMap<u32, Sender>,
    /// What survives a crash.
    pub disk: Disk,
    /// How often people asked for something again.
    pub replays: u32,
    /// New events and repeats in this life.
    pub kept: (u64, u64),
    /// What trouble met.
    pub coverage: Coverage,
    /// Every call, a line each, for a person who looks at one scenario.
    pub story: Option<String>,
}

/// The world, shared by all that stands for it.
pub struct World {
    state: Mutex<State>,
    /// Rung when the process dies.
    pub died: Notify,
    /// The silences, that survive as the file does in which they stand.
    pub silences: Silences,
    base: AtomicU64,
    skew: AtomicI64,
}

impl World {
    /// At the beginning of a scenario.
    pub fn new(scenario: Arc<Scenario>) -> Arc<Self> {
        let fars = scenario.files.iter().flat_map(|file| &file.outputs).map(|output| output.far).max().map_or(0, |far| far + 1);
        let far = Far {
            mood: Mood::Well(5),
            calls: 0,
            sends: vec![],
            limit: 0,
            down: None,
            probing: false,
            hurried: false,
            connection: 0,
            engine: 0,
            held: Held::default(),
            held_keys: BTreeMap::new(),
            digests: BTreeMap::new(),
            said: (0, 0),
        };
        let begins = i64::from(scenario.begins);
        let state = State {
            calls: 0,
            crashes: scenario.crashes.iter().copied().collect(),
            dead: false,
            trace: hash("trace"),
            broken: None,
            life: 0,
            file: 0,
            changed_at: 0,
            next_op: 0,
            healing: false,
            closed: false,
            recovering: false,
            posting: 0,
            paused: BTreeSet::new(),
            silenced: vec![],
            jumped_at: 0,
            connect_fails: false,
            full: 0,
            fails: None,
            slow: 1,
            fars: vec![far; usize::from(fars)],
            tracks: BTreeMap::new(),
            facts: BTreeMap::new(),
            places: BTreeMap::new(),
            freed: BTreeSet::new(),
            passed: BTreeSet::new(),
            senders: BTreeMap::new(),
            disk: Disk::default(),
            replays: 0,
            kept: (0, 0),
            coverage: Coverage::default(),
            story: None,
            scenario,
        };
        Arc::new(World {
            state: Mutex::new(state),
            died: Notify::new(),
            silences: Silences::default(),
            base: AtomicU64::new(0),
            skew: AtomicI64::new(begins),
        })
    }

    /// Looks into it. Held for moments; nothing of the daemon is called meanwhile.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call over a seam.
    pub fn enter(&self, call: Call, now: u64, what: u64) -> Entered {
        let mut state = self.lock();
        if state.dead {
            return Entered::Dead;
        }
        state.calls += 1;
        state.trace(call as u64, now, what);
        let nth = state.calls;
        state.say(now, || format!("call {nth}: {call:?}"));
        let due = state.crashes.front().copied().filter(|crash| crash.call <= state.calls);
        let Some(crash) = due else { return Entered::Goes { dies_after: false } };
        state.crashes.pop_front();
        state.trouble(if crash.after { "crash after a call" } else { "crash before a call" });
        if crash.after {
            return Entered::Goes { dies_after: true };
        }
        drop(state);
        self.die();
        Entered::Dead
    }

    /// The process is dead from here on.
    pub fn die(&self) {
        self.lock().dead = true;
        self.died.notify_one();
    }

    /// A law is broken: the run ends.
    pub fn broke(&self, law: &str, how: &str) {
        self.lock().broke(law, how);
        self.died.notify_one();
    }

    /// A new life begins.
    pub fn born(&self) {
        let mut state = self.lock();
        state.life += 1;
        (state.dead, state.closed, state.recovering, state.posting, state.kept) = (false, false, true, 0, (0, 0));
        for far in &mut state.fars {
            (far.calls, far.down, far.probing, far.hurried, far.held) = (0, None, false, false, Held::default());
            far.said = (0, 0);
            far.held_keys.clear();
        }
        for track in state.tracks.values_mut() {
            track.out = false;
        }
        for sender in state.senders.values_mut() {
            sender.met.clear();
        }
    }

    /// The life is over, and the next one begins so much later.
    pub fn pass(&self, now: u64, down: Duration) {
        self.base.store(now + down.as_nanos() as u64, Ordering::Relaxed);
    }

    /// The wall clock is set.
    pub fn jump(&self, millis: i64) {
        self.skew.fetch_add(millis, Ordering::Relaxed);
    }

    /// What became of the trace.
    pub fn trace(&self) -> u64 {
        self.lock().trace
    }
}

impl State {
    /// Puts something into the trace.
    pub fn trace(&mut self, kind: u64, now: u64, what: u64) {
        self.trace = mix(self.trace ^ mix(kind ^ mix(now ^ mix(what))));
    }

    /// A line of the story, where one is told.
    pub fn say(&mut self, now: u64, line: impl FnOnce() -> String) {
        let life = self.life;
        if let Some(story) = &mut self.story {
            use std::fmt::Write;
            let _ = writeln!(story, "{life} {:>12.3} ms  {}", now as f64 / 1e6, line());
        }
    }

    /// A law is broken; only the first is told.
    pub fn broke(&mut self, law: &str, how: &str) {
        if self.broken.is_none() && !self.dead {
            self.broken = Some(format!("{law}: {how} (life {}, call {})", self.life, self.calls));
        }
        self.dead = true;
    }

    /// The configuration that runs.
    pub fn running(&self) -> &File {
        &self.scenario.files[self.file]
    }

    /// An output as the running configuration has it.
    pub fn output(&self, far: usize) -> Option<&Output> {
        self.running().outputs.iter().find(|output| usize::from(output.far) == far)
    }

    /// Trouble comes: in which states does it meet the daemon?
    pub fn trouble(&mut self, trouble: &'static str) {
        let rows = self.disk.rows();
        let any = |state: Stands| rows.iter().any(|row| row.state == state);
        let retrying = rows.iter().any(|row| row.state == Stands::Waiting && row.attempts > 0);
        let behind = rows.iter().any(|row| row.state == Stands::Held && row.detail == switchyard::model::BEHIND);
        let flight = self.fars.iter().any(|far| far.calls > 0);
        let down = self.fars.iter().any(|far| far.down.is_some());
        let waiting = any(Stands::Waiting);
        let idle = !flight && !waiting && self.posting == 0;
        let found =
            [idle, self.posting > 0, flight, waiting, retrying, any(Stands::Held), behind, down, !self.paused.is_empty(), self.recovering];
        let states: Vec<&'static str> = crate::coverage::STATES.iter().zip(found).filter(|(_, is)| *is).map(|(state, _)| *state).collect();
        self.coverage.hit(trouble, &states);
    }

    /// Whether nothing happens in the whole scenario but far sides behaving badly.
    pub fn calm(&self) -> bool {
        let quiet = |what: &What| match what {
            What::Post { patience, .. } => *patience >= 5_000,
            What::Far { far, .. } => *far > 0,
            _ => false,
        };
        self.scenario.crashes.is_empty() && self.scenario.ops.iter().all(|op| quiet(&op.what))
    }

    /// Whether anybody ever ends deliveries, or asks for them again, or lets some pass.
    pub fn meddled(&self) -> bool {
        let meddles =
            |op: &Op| matches!(op.what, What::Silence { .. } | What::Speak | What::Purge { .. } | What::PassBy | What::Replay { .. });
        self.scenario.ops.iter().any(meddles)
    }

    /// The key of an event: that of its sender, or of the one that a drill shows; [`NO_KEY`] of one that shows none.
    pub fn key_of_event(&self, event: &Event) -> u8 {
        match Drill::of(event) {
            Some(Drill::Words) => NO_KEY,
            Some(Drill::Event) | None => self.senders.get(&(number_of(event) % ITEMS)).map_or(0, |sender| sender.of.1),
        }
    }

    /// Whether the wall clock is ever set.
    pub fn jumps(&self) -> bool {
        self.scenario.ops.iter().any(|op| matches!(op.what, What::Clock(_)))
    }
}

/// The key of what has none.
const NO_KEY: u8 = u8::MAX;

/// The number of an event: by what its sender calls it, or what stands in it where it is shown.
pub fn number_of(event: &Event) -> u32 {
    let stands = || serde_json::from_slice::<serde_json::Value>(&event.body).ok()?["n"].as_u64();
    event
        .sender_id
        .as_deref()
        .and_then(|id| id.parse().ok())
        .or_else(|| stands().and_then(|number| u32::try_from(number).ok()))
        .unwrap_or(0)
}

/// The clocks of one life: virtual time, and the wall clock with its jumps.
pub struct SimClock {
    world: Arc<World>,
    start: tokio::time::Instant,
}

impl SimClock {
    /// Begins where the world is. Must be made inside the life's runtime.
    pub fn begin(world: &Arc<World>) -> Arc<Self> {
        Arc::new(SimClock { world: Arc::clone(world), start: tokio::time::Instant::now() })
    }

    /// Nanoseconds since the scenario began.
    pub fn nanos(&self) -> u64 {
        self.world.base.load(Ordering::Relaxed) + self.start.elapsed().as_nanos() as u64
    }
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        Instant(self.nanos())
    }
    fn wall(&self) -> Timestamp {
        Timestamp(EPOCH + (self.nanos() / 1_000_000) as i64 + self.world.skew.load(Ordering::Relaxed))
    }
}
