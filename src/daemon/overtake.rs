//! Deliveries that stand in line, as time passes: where one has been stuck for longer than its output's `skip_after`, the next of its key
//! goes on; where a digest is over, what went along is over too, and after `every` the next one goes.
//!
//! Never: overtakes at an output that is down or paused. There it is not the delivery that is stuck, and what is sent afterwards would
//! be out of order for nothing.

use super::start::Daemon;
use crate::deliver::BreakerState;
use crate::journal::Operation;
use std::sync::Arc;
use std::time::Duration;

/// How often they are looked for.
const EVERY: Duration = Duration::from_secs(1);

impl Daemon {
    /// Runs until dropped. Where the journal fails, the daemon ends by itself.
    pub(super) async fn overtake(self: Arc<Self>) {
        loop {
            tokio::time::sleep(EVERY).await;
            for (output, skip_after) in self.running.load().skips.clone() {
                let well = |status: &crate::deliver::OutputStatus| status.breaker == BreakerState::Closed && !status.paused;
                if !self.fleet.status().get(&output).is_some_and(well) {
                    continue;
                }
                let before = self.hub.clock.wall() - skip_after;
                let stuck = Operation::Overtake { output: Arc::clone(&output), before };
                if let Some(count) = self.moved(&output, stuck).await {
                    tracing::warn!(%output, count, "deliveries are stuck for longer than `skip_after`: those behind them go on");
                }
            }
            for (output, digest) in self.running.load().digests.clone() {
                let before = self.hub.clock.wall() - digest.every;
                self.moved(&output, Operation::Gather { output: Arc::clone(&output), before }).await;
                if digest.first.is_some() {
                    // Its rows are born with a due time to come, of which the engine knows nothing.
                    let _ = self.fleet.look(&output);
                }
            }
        }
    }

    /// How many deliveries an operation changed, if any; their output looks for them then.
    pub(super) async fn moved(&self, output: &str, operation: Operation) -> Option<u64> {
        let count = self.hub.journal.operate(operation).await.ok().filter(|count| *count > 0)?;
        let _ = self.fleet.look(output);
        Some(count)
    }
}
