//! How many deliveries a filter means, for each output: only numbers are kept (L6).

use super::archive::{Archive, DeliveryPlace};
use super::sqlite::{self, Scan};
use super::store::{DeliveryFilter, StoreError};
use crate::model::{State, stands_in_line};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows that one call looks at.
const STEP: usize = 2_000;

impl Archive {
    /// Counts those that could be asked for again, of one state, on from a place: not those that stand behind another of their key.
    /// Says where to go on; `None`: at the end.
    pub fn tally(
        &self,
        filter: &DeliveryFilter,
        state: State,
        from: Option<DeliveryPlace>,
        counts: &mut BTreeMap<Arc<str>, u64>,
    ) -> Result<Option<DeliveryPlace>, StoreError> {
        let from = from.map_or((0, 0, 0), |place| (place.event, place.target, place.ordinal));
        let way = Scan { state: Some(state), from, newest_first: false, most: STEP };
        let (hits, next) = self.read("count deliveries", |db, names| sqlite::scan(db, names, filter, way))?;
        for hit in hits.iter().filter(|hit| state != State::Held || !stands_in_line(&hit.row.detail)) {
            *counts.entry(Arc::clone(&hit.row.key.target.output)).or_default() += 1;
        }
        Ok(next.map(|(event, target, ordinal)| DeliveryPlace { event, target, ordinal }))
    }
}
