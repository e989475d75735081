//! Where the rooms meet: keeps what `ingest` proved, and hosts what `deliver` delivers.

use super::gate::Gate;
use super::silences::Silences;
use crate::alarm::Book;
use crate::deliver::{Due, Host, LoadError, Wanted};
use crate::ingest::{Keep, NotKept};
use crate::journal::store::Append;
use crate::journal::{AppendError, Backlog, Journal, Operation, StoreError};
use crate::model::{
    Appended, Clock, Dedupe, DeliveryRow, Event, HeldUntil, Kept, Loaded, Message, NotRendered, OWN_SOURCE, Settlement, State, Target,
    Timestamp, Written,
};
use crate::route::{Along, Died, JqPool, Router};
use arc_swap::ArcSwap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::JoinError;

/// Where reading the journal blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// On threads kept for it.
    Threads,
    /// Here: the journal is in memory, and nothing may run beside the task whose turn it is.
    Here,
}

/// What routes and renders now, and the journal behind it.
pub struct Hub {
    pub(super) journal: Journal,
    pub(super) backlog: Backlog,
    pub(super) reading: Reading,
    pub(super) router: Arc<ArcSwap<Router>>,
    /// For `where`, while a sender waits.
    pub(super) jq: JqPool,
    /// For all other programs.
    pub(super) jq_aside: JqPool,
    pub(super) gate: ArcSwap<Gate>,
    pub(super) silences: Silences,
    /// What time it is.
    pub(super) clock: Arc<dyn Clock>,
    /// By what rows of deliveries are dated; nobody sets it.
    pub(super) steady: Arc<dyn Clock>,
    /// What is wrong, as far as people are told.
    pub(super) book: Mutex<Book>,
    /// Whether the disk is below its reserve: nothing is taken in.
    pub(super) reserved: AtomicBool,
}

impl Keep for Hub {
    async fn keep(&self, event: Event, dedupe: Option<Dedupe>) -> Result<Appended, NotKept> {
        if self.reserved.load(Ordering::Relaxed) {
            return Err(NotKept::Reserved);
        }
        let router = self.router.load();
        let plan = router.plan(&event, &self.jq).await;
        drop(router);
        self.journal.append(event, plan, dedupe).await.map_err(|why| match why {
            AppendError::Full => NotKept::Full,
            AppendError::Failed => NotKept::Failed,
        })
    }

    async fn keep_all(&self, events: Vec<(Event, Option<Dedupe>)>) -> Result<Vec<Appended>, NotKept> {
        if self.reserved.load(Ordering::Relaxed) {
            return Err(NotKept::Reserved);
        }
        let router = self.router.load_full();
        let mut appends = Vec::with_capacity(events.len());
        for (event, dedupe) in events {
            appends.push(Append { plan: router.plan(&event, &self.jq).await, event, dedupe });
        }
        self.journal.append_all(appends).await.map_err(|why| match why {
            AppendError::Full => NotKept::Full,
            AppendError::Failed => NotKept::Failed,
        })
    }
}

impl Host for Hub {
    async fn render(&self, kept: &Kept, target: &Target) -> Result<Vec<Arc<Message>>, NotRendered> {
        let router = self.router.load_full();
        let Some(died_at) = target.is_on_dead_of() else { return router.render(&kept.event, target, &self.jq_aside).await };
        let (seq, of) = (kept.seq, died_at.clone());
        let why = self.read(move |backlog| backlog.why_dead(seq, &of)).await;
        // Somebody had it sent again; or it can't be read now: what is to be said is said without it.
        let why = why.ok().and_then(Result::ok).flatten().unwrap_or_else(|| "it is dead no more".to_owned());
        router.render_on_dead(&kept.event, target, &Died { target: died_at, why })
    }

    fn held_until(&self, kept: &Kept, target: &Target) -> Option<HeldUntil> {
        self.closed(&kept.event, target)
    }

    fn settle(&self, mut settlements: Vec<Settlement>, written: Written) {
        let mut router = None;
        for settlement in settlements.iter_mut().filter(|settlement| settlement.row.state == State::Dead) {
            settlement.on_dead = router.get_or_insert_with(|| self.router.load_full()).has_on_dead(&settlement.row.key.target);
        }
        let gone: Vec<Arc<Target>> = settlements.iter().filter_map(|settlement| gone(&settlement.row)).collect();
        if gone.is_empty() {
            return self.journal.settle(settlements, written);
        }
        let (journal, router) = (self.journal.clone(), Arc::clone(&self.router));
        let written = move |ok| {
            written(ok);
            // What was rendered by the routes before the last reload may be held only now: nobody looks for it again.
            for target in gone.iter().filter(|target| ok && router.load().targets().any(|has| has == *target)) {
                let why = [&target.route, &target.output].map(|name| NotRendered::Gone(name.to_string()).to_string());
                // It is queued by that; who waits for the answer is nobody.
                drop(journal.operate(Operation::Unhold { output: Arc::clone(&target.output), why: why.into() }));
            }
        };
        self.journal.settle(settlements, Box::new(written));
    }

    fn died(&self, event: &Event, target: &Target, why: &str) {
        // What becomes of the daemon's own events makes no new ones.
        if *event.source != *OWN_SOURCE {
            self.book().died(self.clock.wall(), &target.output, &target.route, event.id.to_string(), why);
        }
    }

    async fn load(&self, output: &str, wanted: Wanted) -> Result<Due, LoadError> {
        let (output, now) = (output.to_owned(), self.steady.wall());
        let Wanted { replays, after, due_by, most } = wanted;
        let read = self.read(move |backlog| {
            let rows = backlog.load(&output, replays, after, due_by, most, now)?;
            let next_due = if rows.len() < most { backlog.next_due(&output, replays, due_by)? } else { None };
            Ok(Due { rows, next_due })
        });
        let read: Result<Due, StoreError> = read.await.map_err(|why| LoadError(why.to_string()))?;
        let Due { rows, next_due } = read.map_err(|why| LoadError(why.to_string()))?;
        let router = self.router.load_full();
        let mut all = Vec::with_capacity(rows.len());
        for (cursor, mut loaded) in rows {
            if let Some(HeldUntil { until, why }) = self.closed(&loaded.kept.event, &loaded.row.key.target) {
                (loaded.row.state, loaded.row.due_at, loaded.row.detail) = (State::Held, Some(until), why);
                all.push((cursor, loaded));
                continue;
            }
            let together = router.shown_together(&loaded.row.key.target).filter(|_| loaded.row.message.is_none());
            let waits = match together {
                Some(most) => self.gather(&router, &mut loaded, most).await?,
                None => true,
            };
            if waits {
                all.push((cursor, loaded));
            }
        }
        Ok(Due { rows: all, next_due })
    }

    async fn recall(&self, output: &str, but: Option<String>) -> Result<u64, LoadError> {
        let recalled = self.operate(Operation::Recall { output: output.into(), but }).await;
        recalled.map_err(|why| LoadError(why.to_string()))
    }
}

/// Its target, where a row is held because the configuration did not have its route or output when it was rendered.
fn gone(row: &DeliveryRow) -> Option<Arc<Target>> {
    let target = (row.state == State::Held).then_some(&row.key.target)?;
    let says = |name: &str| row.detail == NotRendered::Gone(name.to_owned()).to_string();
    (says(&target.route) || says(&target.output)).then(|| Arc::clone(target))
}

impl Hub {
    /// Gives a delivery that goes together with others the message of all of them, and writes it down: an attempt that nobody heard of again
    /// must not be followed by one that says more. Where there is no message it is rendered as any other, which says why. Whether it still waits.
    async fn gather(&self, router: &Router, loaded: &mut Loaded, most: usize) -> Result<bool, LoadError> {
        if loaded.kept.plan.order_of(&loaded.row.key.target).is_none() {
            return Ok(true);
        }
        let key = loaded.row.key.clone();
        let read = self.read(move |backlog| backlog.collected(&key, most.saturating_sub(1))).await;
        let collected = read.map_err(|why| LoadError(why.to_string()))?.map_err(|why| LoadError(why.to_string()))?;
        let along = Along { first: &collected.first, count: collected.count, through: collected.through };
        let message = router.digest(&loaded.kept.event, &loaded.row.key.target, along, &self.jq_aside).await;
        let Some(message) = message.ok().flatten().map(Arc::new) else { return Ok(true) };
        let fix = Operation::Fix { key: loaded.row.key.clone(), message: Arc::clone(&message) };
        let fixed = self.journal.operate(fix).await.map_err(|why| LoadError(why.to_string()))?;
        loaded.row.message = Some(message);
        Ok(fixed > 0)
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        self.clock.wall()
    }

    /// What is wrong, as far as people are told. Every change of it is whole.
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the journal. An error: the reading itself was cut off.
    pub(super) async fn read<T: Send + 'static>(&self, read: impl FnOnce(&Backlog) -> T + Send + 'static) -> Result<T, JoinError> {
        if self.reading == Reading::Here {
            return Ok(read(&self.backlog));
        }
        let backlog = self.backlog.clone();
        tokio::task::spawn_blocking(move || read(&backlog)).await
    }

    /// The journal.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Why a delivery of an event to a target may not go now, and until when. What is outside its hours is not silenced: it would not have gone.
    pub fn closed(&self, event: &Event, target: &Target) -> Option<HeldUntil> {
        self.kept_back(event, target).map(|(_, held)| held)
    }

    /// The same, and whether it is for its `hours` or for a `silence`.
    pub fn kept_back(&self, event: &Event, target: &Target) -> Option<(&'static str, HeldUntil)> {
        let (gate, now) = (self.gate.load(), self.clock.wall());
        if gate.is_empty() && self.silences.is_empty() {
            return None;
        }
        let hours = gate.held_until(target, now).map(|held| ("hours", held));
        hours.or_else(|| self.silences.held_until(event, target, now).map(|held| ("silence", held)))
    }

    /// The routes that run now.
    pub fn router(&self) -> Arc<Router> {
        self.router.load_full()
    }

    /// Where jq programs run that keep no sender waiting.
    pub fn jq_aside(&self) -> &JqPool {
        &self.jq_aside
    }

    /// Does an operator's change in the journal; how many deliveries it changed.
    pub async fn operate(&self, operation: Operation) -> Result<u64, StoreError> {
        self.journal.operate(operation).await
    }
}
