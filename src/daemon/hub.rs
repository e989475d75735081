//! Where the rooms meet: keeps what `ingest` proved, and hosts what `deliver` delivers.

use crate::deliver::{Due, Host, LoadError, Wanted};
use crate::ingest::{Keep, NotKept};
use crate::journal::{AppendError, Backlog, Journal, Operation, StoreError};
use crate::model::{Appended, Clock, Dedupe, Event, Kept, Message, NotRendered, Settlement, Target, Written};
use crate::route::{JqPool, Router};
use arc_swap::ArcSwap;
use std::sync::Arc;

/// What routes and renders now, and the journal behind it.
pub struct Hub {
    pub(super) journal: Journal,
    pub(super) backlog: Backlog,
    pub(super) router: ArcSwap<Router>,
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
        self.journal.settle(settlements, written);
    }

    async fn load(&self, output: &str, wanted: Wanted) -> Result<Due, LoadError> {
        let (backlog, output, now) = (self.backlog.clone(), output.to_owned(), self.clock.wall());
        let Wanted { replays, after, due_by, most } = wanted;
        let read = tokio::task::spawn_blocking(move || {
            let rows = backlog.load(&output, replays, after, due_by, most, now)?;
            let next_due = if rows.len() < most { backlog.next_due(&output, replays, due_by)? } else { None };
            Ok(Due { rows, next_due })
        });
        let read: Result<Due, StoreError> = read.await.map_err(|why| LoadError(why.to_string()))?;
        read.map_err(|why| LoadError(why.to_string()))
    }

    async fn recall(&self, output: &str, but: Option<String>) -> Result<u64, LoadError> {
        let recalled = self.operate(Operation::Recall { output: output.into(), but }).await;
        recalled.map_err(|why| LoadError(why.to_string()))
    }
}

impl Hub {
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
