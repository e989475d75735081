//! Where the rooms meet: keeps what `ingest` proved, and hosts what `deliver` delivers.

use super::gate::Gate;
use super::silences::Silences;
use crate::deliver::{Host, LoadError};
use crate::ingest::{Keep, NotKept};
use crate::journal::{AppendError, Backlog, Journal, Operation, StoreError};
use crate::model::{
    Appended, Clock, Cursor, Dedupe, Event, HeldUntil, Kept, Loaded, Message, NotRendered, Settlement, State, Target, Timestamp, Written,
};
use crate::route::{Along, JqPool, Router};
use arc_swap::ArcSwap;
use std::sync::Arc;

/// What routes and renders now, and the journal behind it.
pub struct Hub {
    pub(super) journal: Journal,
    pub(super) backlog: Backlog,
    pub(super) router: ArcSwap<Router>,
    pub(super) jq: JqPool,
    pub(super) gate: ArcSwap<Gate>,
    pub(super) silences: Silences,
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

    fn held_until(&self, kept: &Kept, target: &Target) -> Option<HeldUntil> {
        self.closed(&kept.event, target)
    }

    fn settle(&self, settlements: Vec<Settlement>, written: Written) {
        self.journal.settle(settlements, written);
    }

    async fn load(&self, output: &str, after: Cursor, due_by: Timestamp, most: usize) -> Result<Vec<(Cursor, Loaded)>, LoadError> {
        let (backlog, output, now) = (self.backlog.clone(), output.to_owned(), self.clock.wall());
        let read = tokio::task::spawn_blocking(move || backlog.load(&output, after, due_by, most, now)).await;
        let mut rows = read.map_err(|why| LoadError(why.to_string()))?.map_err(|why| LoadError(why.to_string()))?;
        for (_, Loaded { kept, row }) in &mut rows {
            if let Some(HeldUntil { until, why }) = self.closed(&kept.event, &row.key.target) {
                (row.state, row.due_at, row.detail) = (State::Held, Some(until), why);
            }
        }
        let router = self.router.load_full();
        let goes = |loaded: &Loaded| loaded.row.message.is_none() && loaded.row.state == State::Waiting;
        for (_, loaded) in rows.iter_mut().filter(|(_, loaded)| goes(loaded)) {
            if let Some(most) = router.shown_together(&loaded.row.key.target) {
                self.gather(&router, loaded, most).await?;
            }
        }
        Ok(rows)
    }
}

impl Hub {
    /// Gives a delivery that goes together with others the message of all of them. Where there is none it is rendered as any other, which
    /// says why.
    async fn gather(&self, router: &Router, loaded: &mut Loaded, most: usize) -> Result<(), LoadError> {
        if loaded.kept.plan.order_of(&loaded.row.key.target).is_none() {
            return Ok(());
        }
        let (backlog, key) = (self.backlog.clone(), loaded.row.key.clone());
        let read = tokio::task::spawn_blocking(move || backlog.collected(&key, most.saturating_sub(1))).await;
        let collected = read.map_err(|why| LoadError(why.to_string()))?.map_err(|why| LoadError(why.to_string()))?;
        let along = Along { first: &collected.first, count: collected.count, through: collected.through };
        let message = router.digest(&loaded.kept.event, &loaded.row.key.target, along, &self.jq).await;
        loaded.row.message = message.ok().flatten().map(Arc::new);
        Ok(())
    }

    /// Why a delivery of an event to a target may not go now, and until when. What is outside its hours is not silenced: it would not have gone.
    pub fn closed(&self, event: &Event, target: &Target) -> Option<HeldUntil> {
        let now = self.clock.wall();
        self.gate.load().held_until(target, now).or_else(|| self.silences.held_until(event, target, now))
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
