//! What happens to an event between the two doors: hub and outputs together, without files, ports or signals.
//!
//! Does: hands kept events to their outputs, takes up what was open at the last end, changes routes and outputs while they run, holds
//! what has no output and lets it go again, lets those behind a stuck one pass, drains. Never: opens anything, or reads a file; so
//! `cargo xtask sim` drives the very same on virtual time. Holds L1 between commit and attempt.

use super::gate::{Gate, Looked};
use super::hub::{Hub, Reading};
use super::outputs::OutputPlan;
use super::replays::Replays;
use super::silences::Silences;
use crate::alarm::Book;
use crate::deliver::section::DigestPolicy;
use crate::deliver::{BreakerState, Fleet, OutputSpec, OutputStatus};
use crate::journal::store::{Dead, Reads};
use crate::journal::{Backlog, Fault, Journal, OnKept, OpenEvent, Operation, Recovered, StoreError};
use crate::model::{Clock, DeliveryKey, DeliveryRow, Kept, NotRendered, Seq, Settlement, State, Target};
use crate::route::{JqPool, Router};
use arc_swap::ArcSwap;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::broadcast;

/// Events a slow listener of `tail` may be behind; older ones it misses.
const FEED_MAX: usize = 1_024;
/// Open events read at a time at the start.
const RECOVERY_PAGE: usize = 500;
/// What a reload waits for rows to be durable before it counts them.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);
/// What an output that left the file, or all of them when the daemon ends, may take to finish what is out.
const GRACE: Duration = Duration::from_secs(10);
/// And what the writing of their outcomes may take after that, where the disk is full; it is done again at the next start.
const WRITE_GRACE: Duration = Duration::from_secs(2);
/// How often they are looked for.
const OVERTAKE_EVERY: Duration = Duration::from_secs(1);
/// Targets that a crash cut in the middle and that the file does not have, for whom a reload may bring it back; more are left to the next
/// start.
const CUT_MAX: usize = 10_000;
/// Dead deliveries that are given to their `on_dead` in one step.
const ON_DEAD_PAGE: usize = 100;
/// What a delivery says whose output the file no longer has.
pub const GONE: &str = "held: its output is not in the configuration any more";

/// What works are made of.
pub struct Parts {
    /// Reads the journal.
    pub reads: Arc<dyn Reads>,
    /// Where reading blocks.
    pub reading: Reading,
    /// The routes.
    pub router: Arc<Router>,
    /// Where the jq programs run for which a sender waits: `where`.
    pub jq: JqPool,
    /// And all others: what one of these takes keeps no sender waiting.
    pub jq_aside: JqPool,
    /// What somebody keeps back for a time.
    pub silences: Silences,
    /// What people were told before.
    pub book: Book,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where outputs live.
    pub deliver: Handle,
    /// Most deliveries of one output in memory; `None`: as many as the daemon has room for.
    pub window: Option<usize>,
}

/// What the file says of outputs, as far as the works need it.
#[derive(Debug, Default)]
pub struct Laid {
    names: BTreeSet<Arc<str>>,
    /// Outputs whose stuck deliveries let others pass, and after how long.
    skips: Vec<(Arc<str>, Duration)>,
    /// Outputs whose deliveries go together, and how.
    digests: Vec<(Arc<str>, DigestPolicy)>,
    /// When deliveries may go.
    gate: Arc<Gate>,
}

impl Laid {
    /// Of these outputs and routes.
    pub fn of(plans: &[OutputPlan], router: &Router) -> Self {
        Laid {
            names: plans.iter().map(|plan| Arc::clone(&plan.name)).collect(),
            skips: plans.iter().filter_map(|plan| Some((Arc::clone(&plan.name), plan.policy.order_by?.skip_after?))).collect(),
            digests: plans.iter().filter_map(|plan| Some((Arc::clone(&plan.name), plan.policy.digest?))).collect(),
            gate: Arc::new(Gate::of(router, plans)),
        }
    }
}

/// Hub and outputs.
pub struct Works {
    /// Where the rooms meet.
    pub hub: Arc<Hub>,
    /// All outputs.
    pub fleet: Arc<Fleet<Hub>>,
    /// New events, for `tail`.
    pub events: broadcast::Sender<Arc<Kept>>,
    pub(super) replays: Replays,
    laid: ArcSwap<Laid>,
    /// Whether any file since the last look had hours.
    pub(super) timed: AtomicBool,
    /// At most [`CUT_MAX`].
    cut: Mutex<Vec<Cut>>,
}

/// A target some of whose deliveries have rows: one more row cannot stand for the others, so its plan stays open until the file has its
/// route and output again.
struct Cut {
    kept: Arc<Kept>,
    target: Arc<Target>,
    have: Vec<u32>,
}

/// Hands new events to their outputs.
struct Dispatcher {
    fleet: Arc<Fleet<Hub>>,
    hub: Arc<Hub>,
}

impl Works {
    /// Without outputs. `open` makes the journal; `R` is what else it gives.
    ///
    /// # Errors
    /// Those of `open`.
    pub fn open<R, E>(parts: Parts, open: impl FnOnce(OnKept) -> Result<(Journal, R), E>) -> Result<(Arc<Self>, R), E> {
        let (events, dispatcher) = (broadcast::Sender::new(FEED_MAX), Arc::new(OnceLock::<Dispatcher>::new()));
        let (journal, rest) = open(on_kept(&events, &dispatcher))?;
        let steady = journal.clock();
        let hub = Arc::new(Hub {
            backlog: Backlog::new(journal.clone(), parts.reads),
            journal,
            reading: parts.reading,
            router: Arc::new(ArcSwap::new(parts.router)),
            jq: parts.jq,
            jq_aside: parts.jq_aside,
            gate: ArcSwap::default(),
            silences: parts.silences,
            clock: parts.clock,
            steady: Arc::clone(&steady),
            book: Mutex::new(parts.book),
            reserved: AtomicBool::new(false),
        });
        let fleet = Fleet::new(Arc::clone(&hub), steady, parts.deliver);
        let fleet = Arc::new(if let Some(window) = parts.window { fleet.within(window) } else { fleet });
        // Set once, here, before anything can be kept.
        let _ = dispatcher.set(Dispatcher { fleet: Arc::clone(&fleet), hub: Arc::clone(&hub) });
        Ok((
            Arc::new(Works {
                hub,
                fleet,
                events,
                replays: Replays::default(),
                laid: ArcSwap::default(),
                timed: AtomicBool::new(false),
                cut: Mutex::default(),
            }),
            rest,
        ))
    }

    /// The first outputs. What was held for want of them goes on, what has none is held.
    ///
    /// # Errors
    /// The journal fails.
    pub async fn begin(&self, specs: Vec<OutputSpec>, laid: Laid) -> Result<(), StoreError> {
        self.lay(laid);
        drop(self.fleet.apply(specs, Duration::ZERO));
        self.hold_and_release().await
    }

    /// Takes up what was planned and not over when the daemon ended, page by page.
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn recover(&self, recovered: &Recovered) -> Result<(), StoreError> {
        let mut from = Some(recovered.watermark);
        let mut taken = 0_usize;
        while let Some(start) = from.filter(|start| *start <= recovered.last) {
            let (found, next) = self.open_page(start, recovered.last).await?;
            for open in &found {
                let mut homeless = vec![];
                for (target, have) in open.missing() {
                    taken += 1;
                    if !have.is_empty() {
                        self.take_up(Cut { kept: Arc::clone(&open.kept), target: Arc::clone(target), have });
                    } else if self.fleet.recover(&open.kept, target, vec![]).is_err() {
                        homeless.push(Arc::clone(target));
                    }
                }
                self.hub.hold(&open.kept, &homeless);
            }
            // What spilled is on the disk before more is read: memory stays bounded (L6).
            self.hub.journal.flush().await;
            from = next;
        }
        if taken > 0 {
            tracing::info!(deliveries = taken, "took up what was not over at the last end");
        }
        Ok(())
    }

    /// Begins an output anew whose task failed: what it had in memory gets rows, by the plans that are open, before it reads any. Who drops this
    /// lets it begin without: then the next start finds the rest.
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn begin_anew(&self, output: &str) -> Result<(), StoreError> {
        let Some(begins) = self.fleet.anew(output) else { return Ok(()) };
        // What was dispatched before is durable, and what the task had settled is written.
        self.hub.journal.flush().await;
        let mut from = Some(Seq(i64::try_from(self.hub.journal.counts().watermark).unwrap_or(i64::MAX)));
        while let Some(start) = from {
            let (found, next) = self.open_page(start, Seq(i64::MAX)).await?;
            for open in &found {
                for (target, have) in open.missing().filter(|(target, _)| *target.output == *output) {
                    if have.is_empty() {
                        // Gone again: its rows are held by whoever took it out of the file.
                        let _ = self.fleet.park(&open.kept, target);
                    } else {
                        self.take_up(Cut { kept: Arc::clone(&open.kept), target: Arc::clone(target), have });
                    }
                }
            }
            self.hub.journal.flush().await;
            from = next;
        }
        drop(begins);
        Ok(())
    }

    /// Takes up what a crash cut in the middle, now or when the file has it again.
    fn take_up(&self, new: Cut) {
        // Looked at under the lock: a reload changes the routes first, and then looks here.
        let mut cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        cut.push(new);
        self.take_up_known(&mut cut);
        cut.truncate(CUT_MAX);
    }

    fn take_up_known(&self, cut: &mut Vec<Cut>) {
        let router = self.hub.router();
        let known: BTreeSet<&Arc<Target>> = if cut.is_empty() { BTreeSet::new() } else { router.targets().collect() };
        // Where its output is just ending it waits on.
        cut.retain(|cut| !(known.contains(&cut.target) && self.fleet.recover(&cut.kept, &cut.target, cut.have.clone()).is_ok()));
    }

    async fn open_page(&self, from: Seq, to: Seq) -> Result<(Vec<OpenEvent>, Option<Seq>), StoreError> {
        let now = self.hub.steady.wall();
        let read = self.hub.read(move |backlog| backlog.open_events(from, to, RECOVERY_PAGE, now)).await;
        read.map_err(|why| StoreError::Fatal { doing: "read open events", detail: why.to_string() })?
    }

    /// Other outputs and routes, at once. What leaves finishes what is out, then its deliveries are held; [`hold_and_release`](Self::hold_and_release) has the rest.
    pub fn change(self: &Arc<Self>, specs: Vec<OutputSpec>, laid: Laid, router: Arc<Router>) {
        // Outputs first: no route may plan for one that does not run yet.
        let gone = self.fleet.apply(specs, GRACE);
        self.lay(laid);
        self.hub.router.store(router);
        for (output, ended) in gone {
            let works = Arc::clone(self);
            tokio::spawn(async move {
                ended.await;
                if let Err(why) = works.hold_gone(&output).await {
                    tracing::error!(%output, %why, "the deliveries of an output that left the configuration could not be held");
                }
            });
        }
    }

    /// Waiting deliveries of outputs that the file does not have become held; those that were held for want of their output or route
    /// and have it again wait again.
    ///
    /// # Errors
    /// The journal fails.
    pub async fn hold_and_release(&self) -> Result<(), StoreError> {
        self.take_up_known(&mut self.cut.lock().unwrap_or_else(PoisonError::into_inner));
        // What was held a moment ago by the configuration before is seen too, unless the disk is full.
        let _ = tokio::time::timeout(FLUSH_WITHIN, self.hub.journal.flush()).await;
        let counts = self.hub.read(Backlog::counts).await;
        let counts = counts.map_err(|why| StoreError::Fatal { doing: "count deliveries", detail: why.to_string() })??;
        for count in counts {
            let has = self.has(&count.output);
            if !has && count.waiting > 0 {
                let held = self.hub.operate(Operation::Hold { output: Arc::clone(&count.output), why: GONE.into() }).await?;
                tracing::warn!(output = %count.output, held, "the configuration has no such output: its deliveries are held");
            }
            if has && count.held > 0 {
                let released = self.release(&count.output).await?;
                if released > 0 {
                    tracing::info!(output = %count.output, released, "output and route are in the configuration again: deliveries go on");
                }
            }
        }
        Ok(())
    }

    fn lay(&self, laid: Laid) {
        self.timed.fetch_or(!laid.gate.is_empty(), Ordering::Relaxed);
        self.hub.gate.store(Arc::clone(&laid.gate));
        self.laid.store(Arc::new(laid));
    }

    /// The outputs of the file.
    pub(super) fn names(&self) -> Vec<Arc<str>> {
        self.laid.load().names.iter().cloned().collect()
    }

    /// Whether the file has this output.
    pub(super) fn has(&self, output: &str) -> bool {
        self.laid.load().names.contains(output)
    }

    /// Holds what an output left behind that is not in the file; it may be back in the meantime, by another reload.
    async fn hold_gone(&self, output: &Arc<str>) -> Result<(), StoreError> {
        if !self.has(output) {
            let held = self.hub.operate(Operation::Hold { output: Arc::clone(output), why: GONE.to_owned() }).await?;
            if held > 0 {
                tracing::warn!(%output, held, "the output left the configuration: its deliveries are held");
            } else {
                tracing::info!(%output, "the output left the configuration; nothing waited for it");
            }
        }
        // Asked again: that reload may have looked for held ones before these were.
        if self.has(output) {
            self.release(output).await?;
        }
        Ok(())
    }

    /// Deliveries that were held because the file did not have their output, or the route by which they go there, wait again.
    async fn release(&self, output: &Arc<str>) -> Result<u64, StoreError> {
        let gone = |name: &str| NotRendered::Gone(name.to_owned()).to_string();
        let router = self.hub.router();
        let routes = router.targets().filter(|target| target.output == *output).map(|target| gone(&target.route));
        let why = routes.chain([GONE.to_owned(), gone(output)]).collect();
        let released = self.hub.operate(Operation::Unhold { output: Arc::clone(output), why }).await?;
        // Where it left again, whoever ends it sees to them.
        let _ = self.fleet.look(output);
        Ok(released)
    }

    /// Looks after those that stand in line, as time passes: those behind a delivery that is stuck for longer than its output's `skip_after`
    /// pass; those whose hours begin or whose silence ends go on (`gate`); where a digest is over, what went along is over too, and after
    /// `every` the next one goes. Runs until dropped. Where the journal fails, the daemon ends by itself.
    ///
    /// Never passes at an output that is down or paused: there it is not the delivery that is stuck, and what is sent afterwards would be out
    /// of order for nothing.
    pub async fn overtake(self: Arc<Self>) {
        let mut looked = Looked::default();
        loop {
            tokio::time::sleep(OVERTAKE_EVERY).await;
            self.elapse(&mut looked).await;
            if let Err(why) = self.pass_on().await {
                tracing::warn!(%why, "what is dead can't be given to its `on_dead`; it is looked for again");
            }
            for (output, skip_after) in self.laid.load().skips.clone() {
                let well = |status: &OutputStatus| status.breaker == BreakerState::Closed && !status.paused;
                if !self.fleet.status().get(&output).is_some_and(well) {
                    continue;
                }
                let before = self.hub.steady.wall() - skip_after;
                let stuck = Operation::Overtake { output: Arc::clone(&output), before };
                if let Some(count) = self.moved(&output, stuck).await {
                    tracing::warn!(%output, count, "deliveries are stuck for longer than `skip_after`: those behind them go on");
                }
            }
            for (output, digest) in self.laid.load().digests.clone() {
                let before = self.hub.steady.wall() - digest.every;
                self.moved(&output, Operation::Gather { output: Arc::clone(&output), before }).await;
            }
        }
    }

    /// Gives the events of dead deliveries to the outputs that their `on_dead` names.
    async fn pass_on(&self) -> Result<(), StoreError> {
        loop {
            let read = self.hub.read(|backlog| backlog.on_dead(ON_DEAD_PAGE)).await;
            let dead = read.map_err(|why| StoreError::Fatal { doing: "read what is dead", detail: why.to_string() })??;
            let (router, last) = (self.hub.router(), dead.len() < ON_DEAD_PAGE);
            let plan = |dead: Dead| {
                let plan = dead.kept.map(|kept| router.plan_on_dead(&kept.event, &dead.key.target)).unwrap_or_default();
                (dead.key, plan)
            };
            let found: Vec<_> = dead.into_iter().map(plan).collect();
            let outputs: BTreeSet<_> = found.iter().flat_map(|(_, plan)| &plan.targets).map(|target| Arc::clone(&target.output)).collect();
            if !found.is_empty() {
                self.hub.operate(Operation::PassOn(found)).await?;
            }
            for output in &outputs {
                let _ = self.fleet.look(output);
            }
            if last {
                return Ok(());
            }
        }
    }

    /// How many deliveries an operation changed, if any; their output looks for them then.
    pub(super) async fn moved(&self, output: &str, operation: Operation) -> Option<u64> {
        let count = self.hub.operate(operation).await.ok().filter(|count| *count > 0)?;
        let _ = self.fleet.look(output);
        Some(count)
    }

    /// Outputs first, then the journal: nothing that was answered is left unwritten. Senders must be gone.
    ///
    /// # Errors
    /// The journal stopped by itself.
    pub async fn drain(&self) -> Result<(), Fault> {
        if tokio::time::timeout(GRACE + WRITE_GRACE, self.fleet.stop(GRACE)).await.is_err() {
            tracing::warn!("what became of some deliveries could not be written; they are sent again after the next start");
        }
        self.hub.journal.close().await
    }
}

fn on_kept(events: &broadcast::Sender<Arc<Kept>>, dispatcher: &Arc<OnceLock<Dispatcher>>) -> OnKept {
    let (events, dispatcher) = (events.clone(), Arc::clone(dispatcher));
    Box::new(move |kept| {
        let Some(dispatcher) = dispatcher.get() else { return };
        if events.receiver_count() > 0 {
            // Nobody listening any more is no fault.
            let _ = events.send(Arc::clone(&kept));
        }
        let homeless = dispatcher.fleet.dispatch(&kept);
        dispatcher.hub.hold(&kept, &homeless);
    })
}

impl Hub {
    /// Targets whose output does not run are held, never nothing.
    fn hold(&self, kept: &Kept, homeless: &[Arc<Target>]) {
        if homeless.is_empty() {
            return;
        }
        let now = self.steady.wall();
        let row = |target: &Arc<Target>| DeliveryRow {
            key: DeliveryKey { seq: kept.seq, target: Arc::clone(target), ordinal: 0 },
            state: State::Held,
            due_at: None,
            attempts: 0,
            replays: 0,
            detail: GONE.into(),
            message: None,
            updated_at: now,
        };
        // One that is kept in order has its row since its event came, and its part of the plan is closed by it: closed twice, it would close
        // another's, and a start would not look for that one (L1).
        let closes = |target: &Target| kept.plan.order_of(target).is_none();
        let held = |target: &Arc<Target>| Settlement { row: row(target), closes: closes(target), order: None, on_dead: false };
        let settlements = homeless.iter().map(held).collect();
        // If it is not written the plan stays open, and the next start meets it again.
        self.journal.settle(settlements, Box::new(|_| ()));
    }
}
