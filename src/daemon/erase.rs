//! Erases a person's events: finds them by an expression, takes them out of the journal, makes their bytes unfindable, reports.
//!
//! Does: asks the expression of every event kept when it began, a few at a time. Never: logs or answers anything of what an event contains;
//! erases what was not asked (a damaged event, one for which the expression fails), and says how many these were.

use super::start::Daemon;
use crate::journal::archive::EventView;
use crate::journal::{Operation, StoreError};
use crate::model::{Seq, State};
use crate::route::{Condition, JqPool};
use serde::Serialize;
use std::time::Duration;

/// Events in memory at once.
const PAGE: usize = 32;
/// Events that one commit erases.
const SLICE: usize = 100;
/// A file that is not larger is written anew without being asked to: about a second of the writer's time.
const REWRITE_MAX: u64 = 128 << 20;
/// How often the log is tried to be cut while readers hold it, and the wait in between.
const CUTS: usize = 100;
const CUT_WAIT: Duration = Duration::from_millis(100);
/// What is asked for.
#[derive(Debug)]
pub struct Erase {
    /// Which events.
    pub condition: Condition,
    /// Only counts.
    pub dry_run: bool,
    /// Also events of which something waits or is held.
    pub waiting: bool,
    /// Writes the file anew afterwards, whatever its size.
    pub rewrite: bool,
    /// Who asked, for the log: one word.
    pub by: String,
}

/// What was done, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Erased {
    /// Whether it was only counted.
    pub dry_run: bool,
    /// Events that the expression means and that were (would be) erased.
    pub events: u64,
    /// Their deliveries' rows.
    pub deliveries: u64,
    /// Those of them that were waiting or held: they are not sent, unless an output was at it already.
    pub not_sent: u64,
    /// Events that it means and that stay, because a delivery waits or is held (`waiting` takes them too) or has no row yet.
    pub left: u64,
    /// Events for which the expression fails: they stay.
    pub failed: u64,
    /// One of those, and why.
    pub failed_first: Option<String>,
    /// Damaged events, which were not asked: they stay.
    pub damaged: u64,
    /// Whether the file was written anew: no byte is left. Else rows are overwritten where they were, and copies may be left in unused
    /// parts of pages between which SQLite moved them.
    pub rewritten: bool,
    /// Whether the log was cut; else readers held it, and it is cut at the writer's next rest.
    pub log_cut: bool,
}

impl Daemon {
    /// Erases, or counts, what is kept now.
    ///
    /// # Errors
    /// The journal can't be read or written. What was erased until then stays so.
    pub async fn erase(&self, asked: &Erase) -> Result<Erased, StoreError> {
        let mut report = Erased { dry_run: asked.dry_run, ..Erased::default() };
        let archive = self.archive.clone();
        let last = blocking(move || archive.stats()).await?.last.unwrap_or_default();
        // Not the one that plans: senders wait for that.
        let jq = super::jq_pool(1);
        let (mut after, mut found) = (Seq(0), vec![]);
        loop {
            let archive = self.archive.clone();
            let page = blocking(move || archive.whole_events(after, last, PAGE)).await?;
            let Some(end) = page.last().map(|event| event.kept.seq) else { break };
            for event in page {
                if asked.means(&event, &jq, &mut report).await && report.counts(&event, asked.waiting) {
                    found.push(event.kept.seq);
                }
            }
            if found.len() >= SLICE {
                self.erase_slice(asked, std::mem::take(&mut found), &mut report).await?;
            }
            after = end;
        }
        self.erase_slice(asked, found, &mut report).await?;
        if !asked.dry_run && (report.events > 0 || asked.rewrite) {
            self.overwrite(asked, &mut report).await?;
            let Erased { events, deliveries, not_sent, left, rewritten, log_cut, .. } = report;
            tracing::warn!(by = %asked.by, events, deliveries, not_sent, left, rewritten, log_cut, "events were erased because somebody asked");
        }
        Ok(report)
    }

    async fn erase_slice(&self, asked: &Erase, seqs: Vec<Seq>, report: &mut Erased) -> Result<(), StoreError> {
        let meant = seqs.len() as u64;
        if asked.dry_run || meant == 0 {
            report.events += meant;
            return Ok(());
        }
        let erased = self.hub.journal.operate(Operation::Erase { seqs, waiting: asked.waiting }).await?;
        report.events += erased;
        // Something of them came under way since they were read.
        report.left += meant - erased;
        Ok(())
    }

    async fn overwrite(&self, asked: &Erase, report: &mut Erased) -> Result<(), StoreError> {
        let archive = self.archive.clone();
        let rewrite = asked.rewrite || blocking(move || archive.stats()).await?.bytes <= REWRITE_MAX;
        for round in 0..CUTS {
            // Anew once; what comes after that is the log.
            let scrub = Operation::Scrub { rewrite: rewrite && round == 0 };
            report.log_cut = self.hub.journal.operate(scrub).await? > 0;
            report.rewritten = rewrite;
            if report.log_cut {
                break;
            }
            tokio::time::sleep(CUT_WAIT).await;
        }
        Ok(())
    }
}

impl Erase {
    /// Whether the expression means the event: its first result is neither `false` nor `null`, as for `where`.
    async fn means(&self, event: &EventView, jq: &JqPool, report: &mut Erased) -> bool {
        if event.damaged {
            report.damaged += 1;
            return false;
        }
        let holds = self.condition.holds(&event.kept.event, jq).await;
        holds.unwrap_or_else(|why| {
            report.failed += 1;
            report.failed_first.get_or_insert_with(|| format!("{}: {why}", event.kept.event.id));
            false
        })
    }
}

impl Erased {
    /// Counts an event that is meant; whether it can go.
    fn counts(&mut self, event: &EventView, waiting: bool) -> bool {
        let under_way = event.deliveries.iter().filter(|row| matches!(row.state, State::Waiting | State::Held)).count() as u64;
        let planned = &event.kept.plan.targets;
        let open = planned.iter().any(|target| !event.deliveries.iter().any(|row| row.key.target == *target));
        if open || under_way > 0 && !waiting {
            self.left += 1;
            return false;
        }
        self.deliveries += event.deliveries.len() as u64;
        self.not_sent += under_way;
        true
    }
}

async fn blocking<T: Send + 'static>(read: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(|why| StoreError::Fatal { doing: "read events", detail: why.to_string() })?
}
