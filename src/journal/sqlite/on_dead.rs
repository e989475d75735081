//! What is dead where there is an `on_dead`: read, and its event's plan gets one target more, in the commit that takes it off the list.

use super::missing::add;
use super::read::{Place, kept_of, target_number};
use super::write::number_of;
use super::{Names, SqliteStore};
use crate::journal::store::{Dead, Slice};
use crate::model::{DeliveryKey, ON_DEAD, Plan, Seq, State, Target, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

/// As [`Reads::on_dead`](crate::journal::store::Reads::on_dead).
pub fn on_dead(db: &Connection, names: &mut Names, most: usize) -> rusqlite::Result<Vec<Dead>> {
    let mut select = db.prepare_cached(
        "SELECT event, target, ordinal FROM deliveries INDEXED BY deliveries_on_dead WHERE on_dead = 1 ORDER BY event, target, ordinal LIMIT ?",
    )?;
    let places = select.query_map([most as i64], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let places: Vec<Place> = places.collect::<Result<_, _>>()?;
    let mut found = Vec::with_capacity(places.len());
    for (event, target, ordinal) in places {
        let Some(target) = names.target_of(db, target)? else { continue };
        let kept = kept_of(db, names, Seq(event))?.filter(|found| !found.damaged).map(|found| found.kept);
        found.push(Dead { key: DeliveryKey { seq: Seq(event), target, ordinal: u32::try_from(ordinal).unwrap_or_default() }, kept });
    }
    Ok(found)
}

/// As [`Reads::why_dead`](crate::journal::store::Reads::why_dead).
pub fn why_dead(db: &Connection, seq: Seq, target: &Target) -> rusqlite::Result<Option<String>> {
    let Some(number) = target_number(db, target)? else { return Ok(None) };
    let first = "SELECT detail FROM deliveries WHERE event = ? AND target = ? AND state = ? ORDER BY ordinal LIMIT 1";
    db.prepare_cached(first)?.query_row(params![seq.0, number, number_of(State::Dead)], |row| row.get(0)).optional()
}

impl SqliteStore {
    /// Within the operation's transaction.
    pub(super) fn pass_on(&mut self, found: &[(DeliveryKey, Plan)], now: Timestamp) -> rusqlite::Result<Slice> {
        let mut changed = 0;
        for (DeliveryKey { seq, target, ordinal }, plan) in found {
            let Some(number) = target_number(&self.db, target)? else { continue };
            let given = "UPDATE deliveries SET on_dead = 2 WHERE event = ? AND target = ? AND ordinal = ? AND on_dead = 1";
            let listed = self.db.prepare_cached(given)?.execute(params![seq.0, number, ordinal])? > 0;
            if listed && !plan.targets.is_empty() {
                changed += add(&self.db, &mut self.names, *seq, plan, (&format!("{ON_DEAD}{target}"), 0), now)?;
            }
        }
        Ok(Slice { changed, next: None })
    }
}
