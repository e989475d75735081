//! Deliveries that are kept in order, where one has been stuck for longer than its output's `skip_after`: the next of its key goes on.
//!
//! Never: overtakes at an output that is down or paused. There it is not the delivery that is stuck, and what is sent afterwards would
//! be out of order for nothing.

use super::start::Daemon;
use crate::deliver::BreakerState;
use crate::journal::Operation;
use std::sync::Arc;
use std::time::Duration;

/// How often stuck deliveries are looked for.
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
                match self.hub.journal.operate(stuck).await {
                    Ok(0) | Err(_) => {}
                    Ok(count) => {
                        tracing::warn!(%output, count, "deliveries are stuck for longer than `skip_after`: those behind them go on");
                        let _ = self.fleet.look(&output);
                    }
                }
            }
        }
    }
}
