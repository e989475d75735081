//! The audit, again and again in the background: every event's plan is accounted for, or that is told loudly.
//!
//! Reads a few thousand events at a time beside the writer, and rests twenty times as long as each read took, so that it costs a twentieth
//! of a core at most whatever the journal's size. `/metrics` shows the last whole round and never reads the journal itself.

use super::start::Daemon;
use crate::journal::StoreError;
use crate::journal::archive::Audit;
use crate::model::{Instant, Seq};
use crate::telemetry::AuditNumbers;
use std::sync::Arc;
use std::time::Duration;

/// From the end of one round to the next, at least, and at least three times what the round took: a large journal is read from the disk.
const EVERY: Duration = Duration::from_mins(1);
const PAUSE: u32 = 3;
/// The rest after a read, as a multiple of what it took.
const REST: u32 = 20;

/// A whole round.
#[derive(Debug)]
pub(super) struct Audited {
    found: Audit,
    at: Instant,
}

impl Daemon {
    /// Runs until dropped.
    pub(super) async fn keep_auditing(self: Arc<Self>) {
        loop {
            let began = self.hub.clock.now();
            match self.audit_round().await {
                Ok(found) => {
                    if found.lost > 0 {
                        tracing::error!(
                            lost = found.lost,
                            "planned deliveries have no row and nobody will deliver them: `switchyard journal check` names them"
                        );
                    }
                    self.audited.store(Some(Arc::new(Audited { found, at: self.hub.clock.now() })));
                }
                // The next round reads again; a journal that failed ends the daemon by itself.
                Err(why) => tracing::warn!(%why, "the audit could not read the journal"),
            }
            tokio::time::sleep(EVERY.max(self.hub.clock.now().since(began) * PAUSE)).await;
        }
    }

    async fn audit_round(&self) -> Result<Audit, StoreError> {
        let (mut audit, mut after, paused) = (Audit::default(), Some(Seq(0)), self.paused.names());
        while let Some(from) = after {
            let (archive, paused, began) = (self.archive.clone(), paused.clone(), self.hub.clock.now());
            let mut part = audit;
            let read = tokio::task::spawn_blocking(move || archive.audit_part(from, &paused, &mut part).map(|next| (part, next))).await;
            (audit, after) = read.map_err(|why| StoreError::Fatal { doing: "audit", detail: why.to_string() })??;
            tokio::time::sleep(self.hub.clock.now().since(began) * REST).await;
        }
        Ok(audit)
    }

    /// The last whole round, for the metrics.
    pub(super) fn audit_numbers(&self) -> Option<AuditNumbers> {
        let last = self.audited.load_full()?;
        let Audit { planned, delivered, dead, held, waiting, open, lost, .. } = last.found;
        let found = [("planned", planned), ("delivered", delivered), ("dead", dead), ("held", held), ("waiting", waiting), ("open", open)];
        Some(AuditNumbers { lost, found, ago: self.hub.clock.now().since(last.at).as_secs_f64() })
    }
}
