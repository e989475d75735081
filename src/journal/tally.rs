//! How many deliveries a filter means, for each output: only numbers are kept (L6).

use super::archive::{Archive, DeliveryPlace};
use super::sqlite::{self, Scan};
use super::store::{DeliveryFilter, StoreError};
use crate::model::{DeliveryRow, State};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows that one call looks at.
const STEP: usize = 2_000;

impl Archive {
    /// Counts those of one state, on from a place, that are `meant` too. Says where to go on; `None`: at the end.
    pub fn tally(
        &self,
        filter: &DeliveryFilter,
        state: State,
        from: Option<DeliveryPlace>,
        meant: impl Fn(&DeliveryRow) -> bool,
        counts: &mut BTreeMap<Arc<str>, u64>,
    ) -> Result<Option<DeliveryPlace>, StoreError> {
        let from = from.map_or((0, 0, 0), |place| (place.event, place.target, place.ordinal));
        let way = Scan { state: Some(state), from, newest_first: false, most: STEP };
        let (hits, next) = self.read("count deliveries", |db, names| sqlite::scan(db, names, filter, way))?;
        for hit in hits.iter().filter(|hit| meant(&hit.row)) {
            *counts.entry(Arc::clone(&hit.row.key.target.output)).or_default() += 1;
        }
        Ok(next.map(|(event, target, ordinal)| DeliveryPlace { event, target, ordinal }))
    }
}
