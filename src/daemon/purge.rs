//! Held deliveries that a person ends, counted first: of an output that runs, or of one that left the file.
//!
//! Never: touches what waits. That is in the hands of its output; one that leaves the file lets go of it, and then it is held.

use super::start::Daemon;
use super::works::GONE;
use crate::journal::{DeliveryFilter, Operation, StoreError};
use crate::model::State;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Daemon {
    /// How many of an output are held that the filter means; its output and state are set here, as in [`purge`](Self::purge).
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn count_held(&self, output: &str, filter: DeliveryFilter) -> Result<u64, StoreError> {
        let (archive, filter) = (self.archive.clone(), held(output, filter));
        let counted = tokio::task::spawn_blocking(move || {
            let mut counts = BTreeMap::new();
            let mut from = archive.tally(&filter, State::Held, None, |_| true, &mut counts)?;
            while from.is_some() {
                from = archive.tally(&filter, State::Held, from, |_| true, &mut counts)?;
            }
            Ok(counts.into_values().sum())
        });
        counted.await.map_err(|why| StoreError::Fatal { doing: "count deliveries", detail: why.to_string() })?
    }

    /// Ends those as dead, with this written into each; how many.
    ///
    /// # Errors
    /// The journal can't.
    pub async fn purge(&self, output: &str, filter: DeliveryFilter, why: String) -> Result<u64, StoreError> {
        let purged = self.hub.operate(Operation::Purge { filter: held(output, filter), why }).await?;
        if self.fleet.look(output).is_err() {
            // Those whose turn it was left it to others, which nobody delivers.
            self.hub.operate(Operation::Hold { output: Arc::from(output), why: GONE.to_owned() }).await?;
        }
        tracing::warn!(output, purged, "held deliveries were purged: they are dead");
        Ok(purged)
    }
}

fn held(output: &str, filter: DeliveryFilter) -> DeliveryFilter {
    DeliveryFilter { states: vec![State::Held], output: Some(output.to_owned()), ..filter }
}
