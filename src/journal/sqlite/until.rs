//! Deliveries that are held until a time: what becomes of them when it has come. Never: opens or ends a transaction.

use super::order;
use super::read::Place;
use crate::model::{BEHIND, Timestamp, ends_dead};
use rusqlite::{Connection, params};
use std::collections::BTreeSet;

/// One slice of [`Operation::Elapse`](crate::journal::store::Operation::Elapse): at most `most` rows. How many it changed, and where it
/// goes on: a time, and a place.
pub fn elapse(
    db: &Connection,
    output: i64,
    (by, except): (Timestamp, &BTreeSet<String>),
    now: Timestamp,
    (due_at, place): (i64, Place),
    most: usize,
) -> rusqlite::Result<(u64, Option<(i64, Place)>)> {
    let mut select = db.prepare_cached(
        "SELECT due_at, event, target, ordinal, detail FROM deliveries WHERE output = ?1 AND state = 1 AND due_at <= ?2
        AND (due_at, event, target, ordinal) > (?3, ?4, ?5, ?6) ORDER BY due_at, event, target, ordinal LIMIT ?7",
    )?;
    let rows = select.query_map(params![output, by.0, due_at, place.0, place.1, place.2, most as i64], |row| {
        Ok(((row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?)), row.get::<_, String>(4)?))
    })?;
    let found: Vec<((i64, Place), String)> = rows.collect::<Result<_, _>>()?;
    let mut changed = 0;
    for ((_, place), detail) in found.iter().filter(|(_, detail)| !except.contains(detail)) {
        changed += go_on(db, *place, detail, now)?;
    }
    Ok((changed, found.last().filter(|_| found.len() == most).map(|(mark, _)| *mark)))
}

fn go_on(db: &Connection, place: Place, detail: &str, now: Timestamp) -> rusqlite::Result<u64> {
    const DEAD: &str = "UPDATE deliveries SET state = 3, due_at = NULL, updated_at = ?1 WHERE event = ?2 AND target = ?3 AND ordinal = ?4";
    const BACK: &str =
        "UPDATE deliveries SET detail = ?5, due_at = NULL, updated_at = ?1 WHERE event = ?2 AND target = ?3 AND ordinal = ?4";
    // One that has the turn of its key has had it since now: it could not be tried before.
    const WAITS: &str = "UPDATE deliveries SET state = 0, due_at = ?1, updated_at = ?1, detail = 'its time has come',
        turn_at = iif(order_key IS NULL, NULL, ?1) WHERE event = ?2 AND target = ?3 AND ordinal = ?4";
    let (event, target, ordinal) = place;
    let changed = if ends_dead(detail) {
        db.prepare_cached(DEAD)?.execute((now.0, event, target, ordinal))?
    } else if order::is_behind(db, place)? {
        db.prepare_cached(BACK)?.execute((now.0, event, target, ordinal, BEHIND))?
    } else {
        db.prepare_cached(WAITS)?.execute((now.0, event, target, ordinal))?
    };
    Ok(changed as u64)
}
