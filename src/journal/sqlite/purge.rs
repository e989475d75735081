//! Held deliveries that somebody ends: dead, with who said why, and out of their line.

use super::read::{Scan, place_of, scan};
use super::upkeep::OPERATE_ROWS;
use super::{SqliteStore, order};
use crate::journal::store::{DeliveryFilter, Mark, Slice};
use crate::model::{State, Timestamp};
use rusqlite::params;

impl SqliteStore {
    /// One slice, the newest first, within the operation's transaction: so nothing has its turn that is to be ended next.
    pub(super) fn purge(&mut self, filter: &DeliveryFilter, why: &str, now: Timestamp, from: Mark) -> rusqlite::Result<Slice> {
        let from = if from == Mark::default() { (i64::MAX, i64::MAX, i64::MAX) } else { place_of(from) };
        let way = Scan { state: Some(State::Held), from, newest_first: true, most: OPERATE_ROWS };
        let (hits, next) = scan(&self.db, &mut self.names, filter, way)?;
        let end = "UPDATE deliveries SET state = 3, due_at = NULL, detail = ?, updated_at = ? WHERE event = ? AND target = ? AND ordinal = ? AND state = 1";
        let mut changed = 0;
        for hit in &hits {
            let (event, target, ordinal) = hit.place;
            changed += self.db.prepare_cached(end)?.execute(params![why, now.0, event, target, ordinal])? as u64;
            order::free(&self.db, hit.place, now)?;
        }
        Ok(Slice { changed, next: next.map(|(event, target, ordinal)| Mark(0, event, target, ordinal)) })
    }
}
