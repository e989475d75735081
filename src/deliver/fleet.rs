//! All outputs: who gets what, and what stays across a reload.
//!
//! Does: hands kept events to their outputs' tasks, starts and ends those, passes on what people ask for.
//! Never: blocks on an output (L3), drops a delivery that it cannot place: it gives it back.
//! Holds: L4 across reloads. An output of the same name keeps its engine, queue, breaker and bucket. L6 through [`Inbox`].

use super::breaker::{BreakerState, WasDown};
use super::engine::{Engine, ROW_AFTER, WINDOW_BYTES, WINDOW_PARCELS};
use super::host::{Attempted, Host, OutputStatus, Shared};
use super::inbox::{Arrival, Inbox, Note, Offered};
use super::section::Policy;
use super::shell::Worker;
use super::words::Counts;
use crate::model::{Clock, DeliveryKey, DeliveryRow, Event, Kept, RateKey, Settlement, State, Target};
use arc_swap::ArcSwap;
use futures_util::FutureExt;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use switchyard_api::Output;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Attempts a slow listener of the feed may be behind; older ones it misses.
pub const FEED_MAX: usize = 1_024;

/// Gives the key by which an event's deliveries are limited.
pub type KeyOf = Arc<dyn Fn(&Event) -> RateKey + Send + Sync>;

/// An output as the running file wants it.
#[derive(Clone)]
pub struct OutputSpec {
    /// Its name in the file.
    pub name: Arc<str>,
    /// Of its type and settings: as long as it is the same, the connected output stays.
    pub fingerprint: u64,
    /// How it is delivered to.
    pub policy: Arc<Policy>,
    /// What gives the key that its limit is counted by; of the same text as the policy says.
    pub key_of: Option<KeyOf>,
    /// The connected destination; [`Fleet::running`] has it where nothing changed.
    pub output: Arc<dyn Output>,
    /// Whether it starts paused. An output that runs already keeps its state.
    pub paused: bool,
    /// Whether it was down when the daemon ended. An output that runs already knows.
    pub down: Option<WasDown>,
}

/// No output of this name runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no output `{0}`")]
pub struct UnknownOutput(pub Arc<str>);

/// What changes at an output that runs.
#[derive(Default)]
pub struct Change {
    /// New limits, and what gives their key.
    pub policy: Option<(Arc<Policy>, Option<KeyOf>)>,
    /// Another destination.
    pub output: Option<Arc<dyn Output>>,
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Change")
            .field("policy", &self.policy.as_ref().map(|(policy, _)| policy))
            .field("output", &self.output.is_some())
            .finish()
    }
}

struct Lane {
    shared: Arc<Shared>,
    spec: OutputSpec,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
    /// Cancelled when the task is over.
    over: CancellationToken,
}

type Lanes = BTreeMap<Arc<str>, Lane>;

/// All outputs of the daemon.
pub struct Fleet<H: Host> {
    host: Arc<H>,
    clock: Arc<dyn Clock>,
    runtime: tokio::runtime::Handle,
    feed: broadcast::Sender<Arc<Attempted>>,
    /// Deliveries of one output in memory.
    window: usize,
    lanes: ArcSwap<Lanes>,
    /// One change at a time. Outputs that left and may not be over yet.
    leaving: Mutex<BTreeMap<Arc<str>, CancellationToken>>,
}

impl<H: Host> Fleet<H> {
    /// Without outputs. Their tasks run on `runtime`.
    pub fn new(host: Arc<H>, clock: Arc<dyn Clock>, runtime: tokio::runtime::Handle) -> Self {
        let (feed, lanes, leaving) = (broadcast::Sender::new(FEED_MAX), ArcSwap::default(), Mutex::default());
        Fleet { host, clock, runtime, feed, window: WINDOW_PARCELS, lanes, leaving }
    }

    /// The same with fewer deliveries of one output in memory, so that few go beyond it.
    #[must_use]
    pub fn within(self, window: usize) -> Self {
        Fleet { window, ..self }
    }

    // === deliveries ===

    /// Hands a durable event to its outputs. Called on the journal's writer thread between two commits: only moves in memory.
    ///
    /// Gives back targets whose output does not run; the caller keeps them as held.
    #[must_use = "targets without an output must be kept as held"]
    pub fn dispatch(&self, kept: &Arc<Kept>) -> Vec<Arc<Target>> {
        let lanes = self.lanes.load();
        let mut homeless = vec![];
        let mut settlements = vec![];
        for (place, target) in kept.plan.targets.iter().enumerate() {
            if let Some((_, why)) = kept.plan.failed.iter().find(|(failed, _)| *failed == place) {
                self.host.died(&kept.event, target, why);
                settlements.push(self.first_row(kept, target, State::Dead, why.clone()));
                continue;
            }
            if kept.plan.ordered.iter().any(|(ordered, _)| *ordered == place) {
                // It has its row: its engine reads it when it has the turn.
                match lanes.get(&target.output) {
                    Some(lane) => lane.shared.inbox.note(Note::Look),
                    None => homeless.push(Arc::clone(target)),
                }
                continue;
            }
            let arrival = Arrival { kept: Arc::clone(kept), target: Arc::clone(target), have: vec![] };
            if let Err(UnknownOutput(_)) = self.offer(&lanes, arrival, false) {
                homeless.push(Arc::clone(target));
            }
        }
        if !settlements.is_empty() {
            // If it is not written the plan stays open, and the next start writes it.
            self.host.settle(settlements, Box::new(|_| ()));
        }
        homeless
    }

    /// Takes up a target of an event whose plan was not closed when the daemon ended. `have`: ordinals that have a row.
    pub fn recover(&self, kept: &Arc<Kept>, target: &Arc<Target>, have: Vec<u32>) -> Result<(), UnknownOutput> {
        let place = kept.plan.targets.iter().position(|planned| planned == target);
        if let Some((_, why)) = kept.plan.failed.iter().find(|(failed, _)| Some(*failed) == place) {
            self.host.died(&kept.event, target, why);
            self.host.settle(vec![self.first_row(kept, target, State::Dead, why.clone())], Box::new(|_| ()));
            return Ok(());
        }
        // By the event's age, not by this life's: a daemon that is killed again and again would never give it a row, and each
        // start would read more.
        let late = have.is_empty() && self.clock.wall().since(kept.event.received_at) >= ROW_AFTER;
        self.offer(&self.lanes.load(), Arrival { kept: Arc::clone(kept), target: Arc::clone(target), have }, late)
    }

    /// The same of one that has no row yet, where an output is [begun anew](Self::anew): it gets one, and is read back.
    pub fn park(&self, kept: &Arc<Kept>, target: &Arc<Target>) -> Result<(), UnknownOutput> {
        self.offer(&self.lanes.load(), Arrival { kept: Arc::clone(kept), target: Arc::clone(target), have: vec![] }, true)
    }

    fn offer(&self, lanes: &Lanes, arrival: Arrival, late: bool) -> Result<(), UnknownOutput> {
        let unknown = |arrival: &Arrival| UnknownOutput(Arc::clone(&arrival.target.output));
        let Some(lane) = lanes.get(&arrival.target.output) else { return Err(unknown(&arrival)) };
        match if late { lane.shared.inbox.offer_late(arrival) } else { lane.shared.inbox.offer(arrival) } {
            Offered::Taken => Ok(()),
            Offered::Closed(arrival) => Err(unknown(&arrival)),
            Offered::Spill(arrival) => {
                let row =
                    self.first_row(&arrival.kept, &arrival.target, State::Waiting, "waits in the journal: the output is behind".into());
                let shared = Arc::clone(&lane.shared);
                self.host.settle(vec![row], Box::new(move |_| shared.inbox.spilled()));
                Ok(())
            }
        }
    }

    /// A target's only row so far, not rendered.
    fn first_row(&self, kept: &Kept, target: &Arc<Target>, state: State, detail: String) -> Settlement {
        let wall = self.clock.wall();
        let row = DeliveryRow {
            key: DeliveryKey { seq: kept.seq, target: Arc::clone(target), ordinal: 0 },
            state,
            due_at: (state == State::Waiting).then_some(wall),
            attempts: 0,
            replays: 0,
            detail,
            message: None,
            updated_at: wall,
        };
        Settlement { row, closes: true, order: None, on_dead: false }
    }

    /// Rows of an output were made waiting by somebody else (a replay, a release): looks for them now.
    pub fn look(&self, output: &str) -> Result<(), UnknownOutput> {
        self.note(output, Note::Look)
    }

    /// Other deliveries may go, or may not, than a moment ago ([`Host::held_until`]): those in memory are asked for again.
    pub fn sift(&self, output: &str) -> Result<(), UnknownOutput> {
        self.note(output, Note::Sift)
    }

    /// What kept an output from working may be gone (new credentials): where it is down, a probe goes at once.
    pub fn hurry(&self, output: &str) -> Result<(), UnknownOutput> {
        self.note(output, Note::Hurry)
    }

    // === outputs ===

    /// The connected destination of an output that runs with these settings.
    pub fn running(&self, output: &str, fingerprint: u64) -> Option<Arc<dyn Output>> {
        self.lanes.load().get(output).filter(|lane| lane.spec.fingerprint == fingerprint).map(|lane| Arc::clone(&lane.spec.output))
    }

    /// Runs these outputs and no others. Those that stay keep queue, breaker and bucket. One that is back before it was over waits
    /// for that: two engines would send the same rows.
    ///
    /// Gives the names of those that end, each with what finishes once all its deliveries have rows: what is out may take
    /// `grace`. The caller makes those rows held.
    #[must_use = "outputs that end leave waiting rows behind"]
    pub fn apply(&self, specs: Vec<OutputSpec>, grace: Duration) -> Vec<(Arc<str>, impl Future<Output = ()> + Send + use<H>)> {
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.retain(|_, over| !over.is_cancelled());
        let before = self.lanes.load_full();
        let lane = |spec: OutputSpec| (Arc::clone(&spec.name), self.lane(before.get(&spec.name), spec, &mut leaving));
        let after: Lanes = specs.into_iter().map(lane).collect();
        let gone: Vec<_> = before
            .iter()
            .filter(|(name, _)| !after.contains_key(*name))
            .map(|(name, lane)| {
                leaving.insert(Arc::clone(name), lane.over.clone());
                (Arc::clone(name), lane.end(true, grace))
            })
            .collect();
        self.lanes.store(Arc::new(after));
        gone
    }

    fn lane(&self, before: Option<&Lane>, spec: OutputSpec, leaving: &mut BTreeMap<Arc<str>, CancellationToken>) -> Lane {
        let Some(before) = before else {
            let predecessor = leaving.remove(&spec.name);
            return self.start(spec, predecessor);
        };
        let change = Change {
            policy: (before.spec.policy != spec.policy).then(|| (Arc::clone(&spec.policy), spec.key_of.clone())),
            output: (before.spec.fingerprint != spec.fingerprint).then(|| Arc::clone(&spec.output)),
        };
        let output = if change.output.is_some() { Arc::clone(&spec.output) } else { Arc::clone(&before.spec.output) };
        if change.policy.is_some() || change.output.is_some() {
            before.shared.inbox.note(Note::Change(change));
        }
        let (shared, task, over) = (Arc::clone(&before.shared), Arc::clone(&before.task), before.over.clone());
        Lane { shared, task, over, spec: OutputSpec { output, ..spec } }
    }

    /// Another task for an output whose task failed: it begins once what is given back is dropped. Until then, and until it has read back what
    /// waits in the journal, what arrives gets a row there. The caller finds again what the task had in memory: all that was dispatched before this
    /// and is not over. `None`: there is no such output, or its task goes on.
    #[must_use = "the task begins when this is dropped"]
    pub fn anew(&self, output: &str) -> Option<DropGuard> {
        // One change at a time, as in `apply`.
        let _one = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.lanes.load_full();
        let (name, failed) = before.get_key_value(output)?;
        let status = failed.shared.status();
        if !status.failed {
            return None;
        }
        let down = match status.breaker {
            BreakerState::Open { misconfigured, why, since } => Some(WasDown { misconfigured, why, since }),
            BreakerState::Closed | BreakerState::Recovering => None,
        };
        let spec = OutputSpec { paused: status.paused, down, ..failed.spec.clone() };
        let begins = CancellationToken::new();
        let new = self.begin(spec, Some(begins.clone()), (status.begun_anew.saturating_add(1), status.counts));
        new.shared.inbox.behind();
        let lane = |(other, running): (&Arc<str>, &Lane)| (Arc::clone(other), running.again());
        let mut after: Lanes = before.iter().filter(|(other, _)| *other != name).map(lane).collect();
        after.insert(Arc::clone(name), new);
        self.lanes.store(Arc::new(after));
        Some(begins.drop_guard())
    }

    fn start(&self, spec: OutputSpec, predecessor: Option<CancellationToken>) -> Lane {
        self.begin(spec, predecessor, (0, Counts::default()))
    }

    fn begin(&self, spec: OutputSpec, predecessor: Option<CancellationToken>, (before, counts): (u32, Counts)) -> Lane {
        let inbox = Inbox::new((self.window, WINDOW_BYTES));
        let status = Mutex::new(OutputStatus { paused: spec.paused, counts, begun_anew: before, ..OutputStatus::default() });
        let shared = Arc::new(Shared { name: Arc::clone(&spec.name), inbox, status, before });
        if spec.paused {
            shared.inbox.note(Note::Pause);
        }
        let now = self.clock.now();
        let engine = Engine::new(Arc::clone(&spec.policy), spec.output.max_batch(), now).within(self.window);
        let engine = engine.after(spec.down.clone(), now).counting(counts);
        let _inside = self.runtime.enter();
        let worker = Worker::new(
            Arc::clone(&shared),
            Arc::clone(&self.host),
            Arc::clone(&self.clock),
            self.feed.clone(),
            Arc::clone(&spec.output),
            (engine, spec.key_of.clone()),
        );
        let (watched, over) = (Arc::clone(&shared), CancellationToken::new());
        let guard = over.clone().drop_guard();
        let task = self.runtime.spawn(async move {
            let _guard = guard;
            if let Some(predecessor) = predecessor {
                predecessor.cancelled().await;
            }
            if AssertUnwindSafe(worker.run()).catch_unwind().await.is_err() {
                // A fault of ours: said loudly, and health shows it. Nothing is lost: plans and rows find it all again.
                tracing::error!(output = %watched.name, "the task of this output failed by a fault of ours; it is begun anew soon, nothing is lost");
                watched.status.lock().unwrap_or_else(PoisonError::into_inner).failed = true;
            }
        });
        Lane { shared, spec, task: Arc::new(Mutex::new(Some(task))), over }
    }

    /// Where outputs live: what they start when they connect belongs there too.
    pub fn runtime(&self) -> &tokio::runtime::Handle {
        &self.runtime
    }

    /// Sends nothing to an output until [`resume`](Self::resume); what is out finishes.
    pub fn pause(&self, output: &str) -> Result<(), UnknownOutput> {
        self.note(output, Note::Pause)
    }

    /// Sends to it again.
    pub fn resume(&self, output: &str) -> Result<(), UnknownOutput> {
        self.note(output, Note::Resume)
    }

    fn note(&self, output: &str, note: Note) -> Result<(), UnknownOutput> {
        let lanes = self.lanes.load();
        let lane = lanes.get(output).ok_or_else(|| UnknownOutput(output.into()))?;
        lane.shared.inbox.note(note);
        Ok(())
    }

    /// Where every output stands.
    pub fn status(&self) -> BTreeMap<Arc<str>, OutputStatus> {
        self.lanes.load().iter().map(|(name, lane)| (Arc::clone(name), lane.shared.status())).collect()
    }

    /// Attempts as they end, from now on; a listener that is more than [`FEED_MAX`] behind misses some.
    pub fn feed(&self) -> broadcast::Receiver<Arc<Attempted>> {
        self.feed.subscribe()
    }

    /// Ends all outputs: what is out may take `grace`, then it is given up. What was not sent is found again by its open plan.
    ///
    /// Ends only when everything known is written: whoever waits bounds it, in case the journal is dead.
    pub async fn stop(&self, grace: Duration) {
        let lanes = self.lanes.load_full();
        let ends: Vec<_> = lanes.values().map(|lane| lane.end(false, grace)).collect();
        futures_util::future::join_all(ends).await;
    }
}

impl Lane {
    /// The same lane, for another table of them.
    fn again(&self) -> Self {
        let Lane { shared, spec, task, over } = self;
        Lane { shared: Arc::clone(shared), spec: spec.clone(), task: Arc::clone(task), over: over.clone() }
    }

    /// Tells the task to end, and waits for it when polled.
    fn end(&self, park: bool, grace: Duration) -> impl Future<Output = ()> + Send + use<> {
        self.shared.inbox.note(Note::Stop { park, grace });
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move {
            if let Some(task) = task {
                // Its panics are caught inside.
                let _ = task.await;
            }
        }
    }
}
