//! The journal as the rooms use it: a handle that takes appends and settlements, and one thread that owns the store.
//!
//! Does: group commit. What waits goes in one transaction and one sync serves it all; each append is answered after that
//! commit, then handed to whoever delivers. Appends go before settlements before upkeep, and an append never waits for a
//! timer. Never: answers before the commit, commits again on a store whose last commit is unknown. Holds: L1, and L6 by
//! the bounds of `inbox`. Proven by the tests here, on a store that fails on demand.

use super::inbox::{Answer, AppendError, Asked, Inbox, Work};
use super::open_plans::OpenPlans;
use super::pace::{Commits, Pace};
use super::store::{Append, Batch, Depths, Fate, Mark, Operation, Recovered, Retain, Room, Store, StoreError, Tend};
use crate::fail;
use crate::model::{Appended, Clock, Dedupe, Event, Instant, Kept, Plan, Seq, Settlement, Steady, Written};
use arc_swap::ArcSwap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// How often the watermark is written down, at most, and
const WATERMARK_EVERY: Duration = Duration::from_secs(1);
/// after how many events at the latest; so a restart reads few events that are done.
const WATERMARK_EVENTS: i64 = 1_000;
/// From the end of one round of retention to the next.
const SWEEP_EVERY: Duration = Duration::from_mins(1);
/// Between two slices of retention while there is other work.
const SWEEP_PAUSE: Duration = Duration::from_millis(50);
/// The same two where the store is larger than it may be: faster than anything comes in, a few milliseconds of the writer's time each. Every
/// so often it is also asked whether it is.
const HURRY_EVERY: Duration = Duration::from_millis(250);
const HURRY_PAUSE: Duration = Duration::from_millis(5);
/// Without work for so long the writer puts its files in order.
const IDLE: Duration = Duration::from_secs(1);
/// On a full disk rows of deliveries are tried again this often, and with each append.
const FULL_WAIT: Duration = Duration::from_millis(250);

/// What runs once for each new event, in order, on the writer's thread, after the commit: must not block.
pub type OnKept = Box<dyn Fn(Arc<Kept>) + Send>;

/// What the writer needs besides a store.
pub struct Settings {
    /// How long what is over is kept.
    pub retain: Retain,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Told of each new event.
    pub on_kept: OnKept,
}

/// Why the journal stopped by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The daemon's exit code: 74 for an error of the disk or an unknown one, 75 for a damaged file.
    pub exit_code: u8,
    /// One line for a person.
    pub message: String,
}

/// What the writer did since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Transactions that are durable.
    pub commits: u64,
    /// New events kept.
    pub events: u64,
    /// Repeats that were recognised.
    pub duplicates: u64,
    /// New events whose sender had used the id before for another body.
    pub reused_ids: u64,
    /// Rows of deliveries written.
    pub settlements: u64,
    /// Events deleted after their time.
    pub swept: u64,
    /// Commits refused because there was no space.
    pub full: u64,
    /// The lowest event whose plan is open.
    pub watermark: u64,
    /// Events waiting for the writer now.
    pub queued: u64,
    /// Bytes of them.
    pub queued_bytes: u64,
}

#[derive(Default)]
struct Counters {
    commits: AtomicU64,
    events: AtomicU64,
    duplicates: AtomicU64,
    reused_ids: AtomicU64,
    settlements: AtomicU64,
    swept: AtomicU64,
    full: AtomicU64,
    watermark: AtomicU64,
}

pub(super) struct Shared {
    pub(super) inbox: Inbox,
    counters: Counters,
    depths: ArcSwap<Depths>,
    pace: Pace,
    /// Whether space is short: what was delivered is deleted before its time.
    pressed: AtomicBool,
    pub(super) clock: Arc<Steady>,
    fault: watch::Sender<Option<Fault>>,
    /// Whether the writer still owns the store.
    running: watch::Sender<bool>,
}

/// The journal. Clones are the same journal; when the last is gone the writer stops as if the process had ended.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
    _alive: Arc<Alive>,
}

/// Gone with the last handle.
struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.inbox.shut();
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("counts", &self.counts()).finish()
    }
}

impl Journal {
    /// Reads where the store stopped and starts the writer on it. Blocks while it reads.
    ///
    /// # Errors
    /// The store cannot be read, or there is no thread to be had.
    pub fn start(store: Box<dyn Store>, settings: Settings) -> Result<(Self, Recovered), StoreError> {
        let (journal, writer, recovered) = Self::open(store, settings)?;
        let thread = std::thread::Builder::new().name("journal".into()).spawn(move || writer.run());
        thread.map_err(|cause| StoreError::Fatal { doing: "start the writer", detail: cause.to_string() })?;
        Ok((journal, recovered))
    }

    /// The handle, and the writer that nobody runs yet.
    pub(super) fn open(mut store: Box<dyn Store>, settings: Settings) -> Result<(Self, Writer, Recovered), StoreError> {
        let recovered = store.recover()?;
        let shared = Arc::new(Shared {
            inbox: Inbox::default(),
            counters: Counters { watermark: AtomicU64::new(recovered.watermark.0 as u64), ..Counters::default() },
            depths: ArcSwap::default(),
            pace: Pace::default(),
            pressed: AtomicBool::new(false),
            clock: Arc::new(Steady::begin(Arc::clone(&settings.clock), recovered.dated)),
            fault: watch::Sender::new(None),
            running: watch::Sender::new(true),
        });
        let open = OpenPlans::new(recovered.watermark, recovered.last, &recovered.open);
        let now = settings.clock.now();
        let writer = Writer {
            store,
            open,
            on_kept: settings.on_kept,
            retain: settings.retain,
            running: VecDeque::new(),
            stored: recovered.watermark,
            stored_at: now,
            worked_at: now,
            sweep: None,
            sweep_at: now,
            size_at: now,
            count_at: Some(now),
            pressed: false,
            tidy: false,
            no_space: false,
            shared: Arc::clone(&shared),
        };
        let alive = Arc::new(Alive(Arc::clone(&shared)));
        Ok((Journal { shared, _alive: alive }, writer, recovered))
    }

    /// By what rows are dated.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.shared.clock) as Arc<dyn Clock>
    }

    /// Keeps an event with its plan. The event is queued when this returns; the future waits for the commit, and dropping
    /// it does not take the event back.
    pub fn append(
        &self,
        event: Event,
        plan: Plan,
        dedupe: Option<Dedupe>,
    ) -> impl Future<Output = Result<Appended, AppendError>> + Send + use<> {
        let queued = self.shared.inbox.append(Append { event, plan, dedupe });
        // A writer that ended without an answer dropped the other end.
        async move { queued?.await.unwrap_or(Err(AppendError::Failed)) }
    }

    /// Keeps the events of one request in one commit, in their order: all, or none where one of them could not be.
    pub fn append_all(&self, appends: Vec<Append>) -> impl Future<Output = Result<Vec<Appended>, AppendError>> + Send + use<> {
        let queued = self.shared.inbox.append_all(appends);
        async move {
            let mut all = vec![];
            for answered in queued? {
                all.push(answered.await.unwrap_or(Err(AppendError::Failed))?);
            }
            Ok(all)
        }
    }

    /// Writes rows of deliveries with one of the next commits, on a full disk as soon as there is space; `written` hears that they
    /// are durable, or that the journal ended without them.
    pub fn settle(&self, settlements: Vec<Settlement>, written: Written) {
        if let Err(written) = self.shared.inbox.settle(settlements, written, self.shared.clock.now()) {
            written(false);
        }
    }

    /// Does an operator's change, in slices between commits; says how many rows it changed.
    pub fn operate(&self, operation: Operation) -> impl Future<Output = Result<u64, StoreError>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        self.shared.inbox.operate(Asked { operation, answer });
        let gone = |_| Err(StoreError::Fatal { doing: "change deliveries", detail: "the journal is not running".into() });
        async move { answered.await.unwrap_or_else(gone) }
    }

    /// Waits until all that was queued before is durable. False: the journal failed.
    pub fn flush(&self) -> impl Future<Output = bool> + Send + use<> {
        let (heard, hears) = oneshot::channel();
        self.shared.inbox.flush(heard);
        async move { hears.await.is_ok() }
    }

    /// Takes no more, makes durable what is queued, and lets go of the store.
    ///
    /// # Errors
    /// Why the journal stopped, where that was not by this call.
    pub fn close(&self) -> impl Future<Output = Result<(), Fault>> + Send + use<> {
        self.shared.inbox.close();
        let shared = Arc::clone(&self.shared);
        async move {
            let mut running = shared.running.subscribe();
            let _ = running.wait_for(|running| !running).await;
            shared.fault.borrow().clone().map_or(Ok(()), Err)
        }
    }

    /// Says when and why the journal stopped by itself.
    pub fn fault(&self) -> watch::Receiver<Option<Fault>> {
        self.shared.fault.subscribe()
    }

    /// How the commits go.
    pub fn commits(&self) -> Commits {
        self.shared.pace.read(self.shared.clock.now())
    }

    /// Space is short, or not any more: while it is, delivered events are deleted as soon as no repeat of them can come, whatever
    /// `retain` says, beginning now.
    pub fn press(&self, pressed: bool) {
        if self.shared.pressed.swap(pressed, Ordering::Relaxed) != pressed {
            // Has the writer come by.
            drop(self.flush());
        }
    }

    /// How many deliveries of each output wait in the journal, and are held: as of the last commit, soon after a start that of all rows.
    pub fn depths(&self) -> Arc<Depths> {
        self.shared.depths.load_full()
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (queued, queued_bytes) = self.shared.inbox.depth();
        Counts {
            commits: read(&counters.commits),
            events: read(&counters.events),
            duplicates: read(&counters.duplicates),
            reused_ids: read(&counters.reused_ids),
            settlements: read(&counters.settlements),
            swept: read(&counters.swept),
            full: read(&counters.full),
            watermark: read(&counters.watermark),
            queued: queued as u64,
            queued_bytes: queued_bytes as u64,
        }
    }
}

/// An operation under way.
struct Running {
    asked: Asked,
    from: Mark,
    changed: u64,
}

/// The thread's own.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    store: Box<dyn Store>,
    open: OpenPlans,
    on_kept: OnKept,
    retain: Retain,
    running: VecDeque<Running>,
    /// The watermark in the store, and when it was written.
    stored: Seq,
    stored_at: Instant,
    /// When the last commit was.
    worked_at: Instant,
    /// Where retention goes on; `None`: between two rounds.
    sweep: Option<Seq>,
    /// When its next slice may be.
    sweep_at: Instant,
    /// When it is asked whether the store is too large, between two rounds.
    size_at: Instant,
    /// When the next slice of what was there at the start is counted; `None`: all is.
    count_at: Option<Instant>,
    /// Whether it deletes before its time.
    pressed: bool,
    /// Whether the files are in order.
    tidy: bool,
    /// Whether rows of deliveries wait for space.
    no_space: bool,
}

/// Says that the writer is gone, however it went.
pub(super) struct Ending(pub(super) Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let message = "the journal's writer panicked".to_owned();
            self.0.fault.send_replace(Some(Fault { exit_code: 74, message }));
        }
        self.0.inbox.shut();
        self.0.running.send_replace(false);
    }
}

impl Writer {
    fn run(mut self) {
        // Dropped after everything else here, the store included.
        let ending = Ending(Arc::clone(&self.shared));
        if let Err(error) = self.work() {
            self.failed(&error);
        }
        drop(self);
        drop(ending);
    }

    pub(super) fn failed(&self, error: &StoreError) {
        let fault = Fault { exit_code: error.exit_code().unwrap_or(74), message: error.to_string() };
        self.shared.fault.send_replace(Some(fault));
    }

    /// Until closed or shut; an error ends it.
    fn work(&mut self) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        let mut work = Work::default();
        loop {
            let clock = Arc::clone(&self.shared.clock);
            let Some(taken) = self.shared.inbox.take(self.patience(), || clock.now(), work) else { return Ok(()) };
            work = taken;
            if self.round(&mut work, &mut batch)? {
                return Ok(());
            }
        }
    }

    /// Does what was taken, and a slice of each kind of upkeep. True: it was the last.
    pub(super) fn round(&mut self, work: &mut Work, batch: &mut Batch) -> Result<bool, StoreError> {
        if !work.is_empty() {
            self.commit(work, batch)?;
        }
        self.no_space = !work.is_empty();
        if !self.no_space {
            for heard in work.flushes.drain(..) {
                let _ = heard.send(());
            }
        }
        self.running.extend(work.operations.drain(..).map(|asked| Running { asked, from: Mark::default(), changed: 0 }));
        if work.last && self.running.is_empty() {
            work.written.drain(..).for_each(|written| written(false));
            return self.finish().map(|()| true);
        }
        self.upkeep().map(|()| false)
    }

    /// One commit and all its answers. Without space the rows of deliveries are left in `work`.
    fn commit(&mut self, work: &mut Work, batch: &mut Batch) -> Result<(), StoreError> {
        std::mem::swap(&mut batch.appends, &mut work.appends);
        std::mem::swap(&mut batch.settlements, &mut work.settlements);
        (batch.watermark, batch.at) = (self.due_watermark(), self.shared.clock.wall());
        self.shared.pace.begin(self.shared.clock.now());
        let result = self.store.commit(batch);
        self.worked_at = self.shared.clock.now();
        self.shared.pace.end(self.worked_at);
        self.tidy = false;
        let counters = &self.shared.counters;
        match result {
            Ok(committed) => {
                if let Some(watermark) = batch.watermark {
                    (self.stored, self.stored_at) = (watermark, self.worked_at);
                }
                counters.commits.fetch_add(1, Ordering::Relaxed);
                answer(&committed.fates, &mut work.answers);
                let rows = !batch.settlements.is_empty() || batch.appends.iter().any(|append| !append.plan.ordered.is_empty());
                self.hand_on(&committed.fates, batch);
                work.written.drain(..).for_each(|written| written(true));
                if rows { self.show_depths() } else { Ok(()) }
            }
            Err(StoreError::Full { .. }) => {
                counters.full.fetch_add(1, Ordering::Relaxed);
                refuse(&mut work.answers, AppendError::Full);
                // Rows of deliveries stay, for nobody else would write them before the next start. They are small: there may be
                // room for them alone.
                std::mem::swap(&mut batch.settlements, &mut work.settlements);
                let had_events = !batch.appends.is_empty();
                batch.appends.clear();
                if had_events && !work.settlements.is_empty() { self.commit(work, batch) } else { Ok(()) }
            }
            Err(error) => {
                batch.appends.clear();
                batch.settlements.clear();
                refuse(&mut work.answers, AppendError::Failed);
                work.written.drain(..).for_each(|written| written(false));
                Err(error)
            }
        }
    }

    /// What follows from the commit, after its answers: which plans are open, and who delivers.
    fn hand_on(&mut self, fates: &[Fate], batch: &mut Batch) {
        if !batch.appends.is_empty() {
            fail::point("answered");
        }
        let counters = &self.shared.counters;
        let (mut events, mut duplicates, mut reused) = (0, 0, 0);
        for (fate, Append { event, plan, .. }) in fates.iter().zip(batch.appends.drain(..)) {
            match fate {
                Fate::New { seq, reused_id } => {
                    events += 1;
                    reused += u64::from(*reused_id);
                    // Those that are kept in order have their rows already.
                    let open = plan.targets.len().saturating_sub(plan.ordered.len());
                    self.open.add(*seq, u32::try_from(open).unwrap_or(u32::MAX));
                    (self.on_kept)(Arc::new(Kept { seq: *seq, event, plan }));
                }
                Fate::Duplicate { .. } => duplicates += 1,
            }
        }
        counters.events.fetch_add(events, Ordering::Relaxed);
        counters.duplicates.fetch_add(duplicates, Ordering::Relaxed);
        counters.reused_ids.fetch_add(reused, Ordering::Relaxed);
        counters.settlements.fetch_add(batch.settlements.len() as u64, Ordering::Relaxed);
        for settlement in batch.settlements.drain(..).filter(|settlement| settlement.closes) {
            self.open.close_one(settlement.row.key.seq);
        }
        counters.watermark.store(self.open.watermark().0 as u64, Ordering::Relaxed);
    }

    fn due_watermark(&mut self) -> Option<Seq> {
        let watermark = self.open.watermark();
        let passed = watermark.0 - self.stored.0;
        let due = passed >= WATERMARK_EVENTS || passed > 0 && self.shared.clock.now().since(self.stored_at) >= WATERMARK_EVERY;
        due.then_some(watermark)
    }

    fn show_depths(&mut self) -> Result<(), StoreError> {
        if let Some(depths) = goes_on(self.store.depths())? {
            self.shared.depths.store(Arc::new(depths));
        }
        Ok(())
    }

    /// One slice of what was there at the start.
    fn count_on(&mut self, now: Instant) -> Result<(), StoreError> {
        self.count_at = match goes_on(self.store.count_on())? {
            Some(false) => None,
            Some(true) => Some(now + HURRY_PAUSE),
            None => Some(now + FULL_WAIT),
        };
        self.show_depths()
    }

    /// How long the writer may sleep when nobody asks for anything.
    pub(super) fn patience(&self) -> Duration {
        if !self.running.is_empty() {
            return Duration::ZERO;
        }
        if self.no_space {
            return FULL_WAIT;
        }
        let now = self.shared.clock.now();
        let sweep = self.sweep_at.since(now);
        let sweep = self.count_at.map_or(sweep, |at| sweep.min(at.since(now)));
        let at_rest = self.tidy && self.sweep.is_none();
        if at_rest { sweep } else { sweep.min((self.worked_at + IDLE).since(now)) }
    }

    /// At most one slice of each kind, then whoever waits is looked for again.
    fn upkeep(&mut self) -> Result<(), StoreError> {
        goes_on(self.store.tend(Tend::Busy))?;
        if let Some(running) = self.running.pop_front() {
            self.operate(running)?;
        }
        let now = self.shared.clock.now();
        if self.count_at.is_some_and(|at| now >= at) {
            self.count_on(now)?;
        }
        let idle = now.since(self.worked_at) >= IDLE;
        if self.sweep.is_none() && now >= self.size_at && now < self.sweep_at {
            self.size_at = now + HURRY_EVERY;
            if self.store.is_over(self.retain)? {
                self.sweep_at = now;
            }
        }
        let pressed = self.shared.pressed.load(Ordering::Relaxed);
        if std::mem::replace(&mut self.pressed, pressed) != pressed {
            (self.sweep, self.sweep_at) = (None, now);
        }
        if now >= self.sweep_at || idle && self.sweep.is_some() {
            self.sweep(now)?;
        }
        if idle && !self.tidy {
            // Retention never looks beyond the watermark, and where nothing is going on no commit writes it.
            self.write_watermark()?;
            self.tidy = !goes_on(self.store.tend(Tend::Idle))?.unwrap_or(false);
        }
        Ok(())
    }

    fn operate(&mut self, mut running: Running) -> Result<(), StoreError> {
        self.tidy = false;
        match self.store.operate(&running.asked.operation, self.shared.clock.wall(), running.from) {
            Ok(slice) => {
                running.changed += slice.changed;
                if matches!(running.asked.operation, Operation::Scrub { .. }) {
                    self.count_at = Some(self.shared.clock.now());
                }
                self.show_depths()?;
                match slice.next {
                    Some(next) => self.running.push_front(Running { from: next, ..running }),
                    None => drop(running.asked.answer.send(Ok(running.changed))),
                }
                Ok(())
            }
            Err(error) => {
                let _ = running.asked.answer.send(Err(error.clone()));
                goes_on(Err::<(), _>(error)).map(drop)
            }
        }
    }

    fn sweep(&mut self, now: Instant) -> Result<(), StoreError> {
        let retain = if self.pressed { Retain { delivered: Duration::ZERO, ..self.retain } } else { self.retain };
        // Of events and rows: those are dated by the wall clock, these by the steady one.
        let swept = goes_on(self.store.sweep(retain, self.shared.clock.latest_past(), self.sweep.unwrap_or_default()))?;
        self.sweep = swept.and_then(|swept| swept.next);
        let room = swept.map_or(Room::Enough, |swept| swept.room);
        self.sweep_at = now
            + match (self.sweep.is_some(), room) {
                (true, Room::Making) => HURRY_PAUSE,
                (true, _) => SWEEP_PAUSE,
                (false, Room::Making) => HURRY_EVERY,
                (false, _) => SWEEP_EVERY,
            };
        // Where nothing may go, it is not asked again before the next round.
        self.size_at = if room == Room::Enough && self.retain.max_bytes.is_some() { now + HURRY_EVERY } else { self.sweep_at };
        if let Some(swept) = swept.filter(|swept| swept.deleted > 0) {
            self.shared.counters.swept.fetch_add(swept.deleted, Ordering::Relaxed);
            self.tidy = false;
        }
        Ok(())
    }

    fn write_watermark(&mut self) -> Result<(), StoreError> {
        let watermark = self.open.watermark();
        if watermark != self.stored && goes_on(self.store.commit(&Batch { watermark: Some(watermark), ..Batch::default() }))?.is_some() {
            (self.stored, self.stored_at) = (watermark, self.shared.clock.now());
        }
        Ok(())
    }

    /// The last commit: a start after it has nothing to read again.
    fn finish(&mut self) -> Result<(), StoreError> {
        self.write_watermark()?;
        goes_on(self.store.tend(Tend::Closing)).map(drop)
    }
}

/// First all answers: senders wait for them.
fn answer(fates: &[Fate], answers: &mut Vec<Answer>) {
    for (fate, answer) in fates.iter().zip(answers.drain(..)) {
        // Nobody listens where the sender is gone.
        let _ = answer.send(Ok(match fate {
            Fate::New { .. } => Appended::New,
            Fate::Duplicate { of } => Appended::Duplicate { of: *of },
        }));
    }
}

/// None of these is kept, as far as is known.
fn refuse(answers: &mut Vec<Answer>, why: AppendError) {
    for answer in answers.drain(..) {
        let _ = answer.send(Err(why));
    }
}

/// A full disk ends nothing: what was not done is done later.
fn goes_on<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(StoreError::Full { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
