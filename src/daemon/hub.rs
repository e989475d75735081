//! Where the rooms meet: keeps what `ingest` proved, and hosts what `deliver` delivers.

use crate::deliver::{Host, LoadError};
use crate::ingest::{Keep, NotKept};
use crate::journal::{AppendError, Backlog, Journal, Operation, StoreError};
use crate::model::{
    Appended, Clock, Cursor, Dedupe, DeliveryRow, Event, Kept, Loaded, Message, NotRendered, Settlement, State, Target, Timestamp, Written,
};
use crate::route::{JqPool, Router};
use arc_swap::ArcSwap;
use std::sync::Arc;
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
    pub(super) jq: JqPool,
    pub(super) clock: Arc<dyn Clock>,
}

impl Keep for Hub {
    async fn keep(&self, event: Event, dedupe: Option<Dedupe>) -> Result<Appended, NotKept> {
        let router = self.router.load();
        let plan = router.plan(&event, &self.jq).await;
        drop(router);
        self.journal.append(event, plan, dedupe).await.map_err(|why| match why {
            AppendError::Full => NotKept::Full,
            AppendError::Failed => NotKept::Failed,
        })
    }
}

impl Host for Hub {
    async fn render(&self, kept: &Kept, target: &Target) -> Result<Vec<Arc<Message>>, NotRendered> {
        let router = self.router.load_full();
        router.render(&kept.event, target, &self.jq).await
    }

    fn settle(&self, settlements: Vec<Settlement>, written: Written) {
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

    async fn load(&self, output: &str, after: Cursor, due_by: Timestamp, most: usize) -> Result<Vec<(Cursor, Loaded)>, LoadError> {
        let (output, now) = (output.to_owned(), self.clock.wall());
        let read = self.read(move |backlog| backlog.load(&output, after, due_by, most, now)).await;
        read.map_err(|why| LoadError(why.to_string()))?.map_err(|why| LoadError(why.to_string()))
    }
}

/// Its target, where a row is held because the configuration did not have its route or output when it was rendered.
fn gone(row: &DeliveryRow) -> Option<Arc<Target>> {
    let target = (row.state == State::Held).then_some(&row.key.target)?;
    let says = |name: &str| row.detail == NotRendered::Gone(name.to_owned()).to_string();
    (says(&target.route) || says(&target.output)).then(|| Arc::clone(target))
}

impl Hub {
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

    /// The routes that run now.
    pub fn router(&self) -> Arc<Router> {
        self.router.load_full()
    }

    /// Where jq programs run.
    pub fn jq(&self) -> &JqPool {
        &self.jq
    }

    /// Does an operator's change in the journal; how many deliveries it changed.
    pub async fn operate(&self, operation: Operation) -> Result<u64, StoreError> {
        self.journal.operate(operation).await
    }
}
