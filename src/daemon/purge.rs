//! Deliveries that a person ends, counted first: what is held for an output or for one that left the file, and what waits too where that is asked.
//!
//! What waits may be in the hands of its output. So it is silenced first, for a moment: what is in hand is let go and held, nothing more is taken up,
//! and what is on the wire comes to its end. Then it is ended where it stands. Never: takes anything from an output that has it in hand; what
//! slips through goes, and is not lost. A daemon that ends in the middle goes on as after any silence.

use super::silences::{Asked, CannotSilence, Then};
use super::start::Daemon;
use super::works::{GONE, Works};
use crate::deliver::OutputStatus;
use crate::journal::{DeliveryFilter, Operation, StoreError};
use crate::model::{Seq, State};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long what is on the wire is waited for.
const QUIET_WITHIN: Duration = Duration::from_secs(20);
/// How long the silence lasts where the daemon ends meanwhile.
const SILENT_FOR: Duration = Duration::from_mins(1);
/// How often it is asked whether all is quiet.
const LOOK: Duration = Duration::from_millis(20);

/// Why nothing, or not all, was purged. `Display` is one line.
#[derive(Debug, thiserror::Error)]
pub enum CannotPurge {
    /// What waits can't be kept back.
    #[error("what waits can't be kept back for the purge: {0}")]
    NotSilenced(CannotSilence),
    /// The journal could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Daemon {
    /// How many of an output the filter means; its output and states are set here, as in [`purge`](Self::purge).
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn count_purge(&self, output: &str, filter: DeliveryFilter, waiting: bool) -> Result<u64, StoreError> {
        let (archive, filter) = (self.archive.clone(), meant(output, filter, waiting || self.paused.holds(output)));
        let counted = tokio::task::spawn_blocking(move || {
            let mut counts = BTreeMap::new();
            for state in filter.states.clone() {
                let mut from = archive.tally(&filter, state, None, |_| true, &mut counts)?;
                while from.is_some() {
                    from = archive.tally(&filter, state, from, |_| true, &mut counts)?;
                }
            }
            Ok(counts.into_values().sum())
        });
        counted.await.map_err(|why| StoreError::Fatal { doing: "count deliveries", detail: why.to_string() })?
    }

    /// Ends those as dead, with this written into each; how many. With `waiting` what waits too, but for what arrives from now on.
    ///
    /// # Errors
    /// The journal can't, or what waits can't be kept back.
    pub async fn purge(&self, output: &str, filter: DeliveryFilter, why: String, waiting: bool) -> Result<u64, CannotPurge> {
        let archive = self.archive.clone();
        let stats = tokio::task::spawn_blocking(move || archive.stats()).await;
        let stats = stats.map_err(|why| StoreError::Fatal { doing: "read the journal's size", detail: why.to_string() })??;
        // What waits for a paused output is held by the pause (decision 25).
        let waiting = waiting || self.paused.holds(output);
        self.works.purge(output, filter, why, waiting, stats.last.unwrap_or_default()).await
    }
}

impl Works {
    /// The same; of what waits up to this event.
    ///
    /// # Errors
    /// As there.
    pub async fn purge(&self, output: &str, filter: DeliveryFilter, why: String, waiting: bool, through: Seq) -> Result<u64, CannotPurge> {
        let filter = meant(output, filter, waiting);
        let purged = if waiting && self.fleet.status().contains_key(output) {
            self.purge_quiet(output, DeliveryFilter { through: Some(through), ..filter }, why).await?
        } else {
            self.hub.operate(Operation::Purge { filter, why }).await?
        };
        if self.fleet.look(output).is_err() {
            // Those whose turn it was left it to others, which nobody delivers.
            self.hub.operate(Operation::Hold { output: Arc::from(output), why: GONE.to_owned() }).await?;
        }
        tracing::warn!(output, purged, "deliveries were purged: they are dead");
        Ok(purged)
    }

    async fn purge_quiet(&self, output: &str, filter: DeliveryFilter, why: String) -> Result<u64, CannotPurge> {
        let now = self.hub.clock.wall();
        let asked = Asked {
            by: "purge".into(),
            why: "what waits is being ended".into(),
            until: (now + SILENT_FOR).0,
            then: Then::Send,
            output: Some(output.to_owned()),
            route: None,
            source: None,
            topic: None,
        };
        let silence = self.hub.silences.add(asked, now).map_err(CannotPurge::NotSilenced)?;
        let busy = |status: &OutputStatus| status.waiting > 0 || status.in_flight > 0 || status.unwritten > 0;
        let quiet = async {
            while self.fleet.status().get(output).is_some_and(busy) {
                // Each time: what was on the wire and failed waits for another try. Where it left nobody has anything in hand.
                let _ = self.fleet.sift(output);
                tokio::time::sleep(LOOK).await;
            }
        };
        // What does not come to its end by then goes on.
        let _ = tokio::time::timeout(QUIET_WITHIN, quiet).await;
        // Once, when all that was in hand has its row: earlier, and one that is let go afterwards would be ended and counted twice.
        let purged = self.hub.operate(Operation::Purge { filter, why }).await;
        self.hub.silences.end(silence.id, self.hub.clock.wall()).map_err(CannotPurge::NotSilenced)?;
        Ok(purged?)
    }
}

/// What stands in a line behind another first, so that nothing has its turn that is to be ended next.
fn meant(output: &str, filter: DeliveryFilter, waiting: bool) -> DeliveryFilter {
    let states = if waiting { vec![State::Held, State::Waiting] } else { vec![State::Held] };
    DeliveryFilter { states, output: Some(output.to_owned()), ..filter }
}
