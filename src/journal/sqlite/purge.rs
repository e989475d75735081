//! Deliveries that somebody ends: dead, with who said why, and out of their line.

use super::read::{Scan, place_of, scan};
use super::upkeep::OPERATE_ROWS;
use super::{SqliteStore, order};
use crate::journal::store::{DeliveryFilter, Mark, Slice};
use crate::model::Timestamp;
use rusqlite::params;

impl SqliteStore {
    /// One slice of the filter's state `from.0`, the newest first, within the operation's transaction: so nothing has its turn that is to be
    /// ended next.
    pub(super) fn purge(&mut self, filter: &DeliveryFilter, why: &str, now: Timestamp, from: Mark) -> rusqlite::Result<Slice> {
        let nth = usize::try_from(from.0).unwrap_or(usize::MAX);
        let Some(state) = filter.states.get(nth).copied() else { return Ok(Slice { changed: 0, next: None }) };
        let place = if from.1 == 0 { (i64::MAX, i64::MAX, i64::MAX) } else { place_of(from) };
        let way = Scan { state: Some(state), from: place, newest_first: true, most: OPERATE_ROWS };
        let (hits, next) = scan(&self.db, &mut self.names, filter, way)?;
        let end = "UPDATE deliveries SET state = 3, due_at = NULL, detail = ?, updated_at = ? WHERE event = ? AND target = ? AND ordinal = ? AND state IN (0, 1)";
        let mut changed = 0;
        for hit in &hits {
            let (event, target, ordinal) = hit.place;
            changed += self.db.prepare_cached(end)?.execute(params![why, now.0, event, target, ordinal])? as u64;
            order::free(&self.db, hit.place, now)?;
        }
        let next = match next {
            Some((event, target, ordinal)) => Some(Mark(from.0, event, target, ordinal)),
            None => (nth + 1 < filter.states.len()).then_some(Mark(from.0 + 1, 0, 0, 0)),
        };
        Ok(Slice { changed, next })
    }
}
