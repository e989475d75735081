//! Deliveries that go one at a time: who has the turn among those of one output and key.
//!
//! The rows of such a delivery are born with their event, in its commit, so their order is that of the events whatever happens
//! afterwards. One of a key waits, those behind it are held ([`BEHIND`]); the commit that ends its turn gives the turn to the next.
//! A row is in line as long as it has an `order_key`. Never: opens or ends a transaction.

use super::Names;
use super::names::TargetNumber;
use super::read::{Place, state_of, target_number};
use crate::journal::store::Append;
use crate::model::{BEHIND, DeliveryKey, EventId, OrderKey, Seq, State, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

/// Takes the turn where nobody in line stands before this one; else stands behind them.
const LINE_UP: &str = "UPDATE deliveries SET order_key = ?2, turn_at = ?3 WHERE event = ?4 AND target = ?5 AND ordinal = ?6 AND NOT EXISTS
    (SELECT 1 FROM deliveries WHERE output = ?1 AND order_key = ?2 AND (event, target, ordinal) < (?4, ?5, ?6))";
const STAND_BEHIND: &str =
    "UPDATE deliveries SET order_key = ?1, state = iif(state = 0, 1, state), due_at = NULL, detail = iif(state = 0, ?2, detail)
    WHERE event = ?3 AND target = ?4 AND ordinal = ?5";
const FREE: &str = "UPDATE deliveries SET order_key = NULL, turn_at = NULL WHERE event = ? AND target = ? AND ordinal = ?";
const FIRST: &str = "SELECT event, target, ordinal, state, detail FROM deliveries WHERE output = ? AND order_key = ? ORDER BY event, target, ordinal LIMIT 1";

/// Rows of those targets of a new event that are kept in order: each closes its part of the plan.
pub fn append(db: &Connection, names: &mut Names, seq: Seq, append: &Append) -> rusqlite::Result<()> {
    const BORN: &str =
        "INSERT INTO deliveries(event, target, ordinal, output, state, closes, due_at, attempts, replays, updated_at, detail)
        VALUES(?1, ?2, 0, ?3, 0, 1, ?4, 0, 0, ?4, 'has its turn')";
    let now = append.event.received_at;
    let mut born = vec![];
    for (place, key) in &append.plan.ordered {
        let Some(target) = append.plan.targets.get(*place) else { continue };
        born.push((names.target(db, target)?, *key));
    }
    // By their places in line: a target that is seen for the first time stands behind those that were known, whatever the file says.
    born.sort_unstable_by_key(|(number, _)| number.target);
    for (TargetNumber { target, output }, key) in born {
        db.prepare_cached(BORN)?.execute(params![seq.0, target, output, now.0])?;
        line_up(db, output, key, (seq.0, target, 0), now)?;
    }
    Ok(())
}

/// What stands first in the line in which a delivery stands: its event's place and id, its target, its ordinal, its state.
pub fn first_in_line(db: &Connection, names: &mut Names, key: &DeliveryKey) -> rusqlite::Result<Option<(EventId, DeliveryKey, State)>> {
    const FIRST: &str = "SELECT event, target, ordinal, state, (SELECT id FROM events WHERE seq = event) FROM deliveries AS first
        WHERE (output, order_key) = (SELECT output, order_key FROM deliveries WHERE event = ? AND target = ? AND ordinal = ?)
        ORDER BY event, target, ordinal LIMIT 1";
    let Some(target) = target_number(db, &key.target)? else { return Ok(None) };
    let found = db.prepare_cached(FIRST)?.query_row((key.seq.0, target, key.ordinal), |row| {
        Ok((Seq(row.get(0)?), row.get::<_, i64>(1)?, row.get(2)?, row.get(3)?, row.get::<_, Option<[u8; 16]>>(4)?))
    });
    let Some((seq, target, ordinal, state, Some(event))) = found.optional()? else { return Ok(None) };
    let first = names.target_of(db, target)?.zip(state_of(state));
    Ok(first.map(|(target, state)| (EventId(event), DeliveryKey { seq, target, ordinal }, state)))
}

/// Whether a delivery has a row.
pub fn has_row(db: &Connection, place: Place) -> rusqlite::Result<bool> {
    let mut select = db.prepare_cached("SELECT 1 FROM deliveries WHERE event = ? AND target = ? AND ordinal = ?")?;
    select.exists(place)
}

/// Whether another delivery stands before this one in line.
pub fn is_behind(db: &Connection, place: Place) -> rusqlite::Result<bool> {
    let mut select = db.prepare_cached(
        "SELECT 1 FROM deliveries AS this WHERE event = ?1 AND target = ?2 AND ordinal = ?3 AND order_key IS NOT NULL AND EXISTS
        (SELECT 1 FROM deliveries WHERE output = this.output AND order_key = this.order_key AND (event, target, ordinal) < (?1, ?2, ?3))",
    )?;
    select.exists(place)
}

/// Puts a delivery, whose row is new, in line.
pub fn line_up(db: &Connection, output: i64, OrderKey(key): OrderKey, place: Place, now: Timestamp) -> rusqlite::Result<()> {
    let (event, target, ordinal) = place;
    let first = db.prepare_cached(LINE_UP)?.execute(params![output, key as i64, now.0, event, target, ordinal])?;
    if first == 0 {
        db.prepare_cached(STAND_BEHIND)?.execute(params![key as i64, BEHIND, event, target, ordinal])?;
    }
    Ok(())
}

/// Takes a delivery out of line; the next one has its turn. Whether it stood there.
pub fn free(db: &Connection, (event, target, ordinal): Place, now: Timestamp) -> rusqlite::Result<bool> {
    let key = "SELECT output, order_key FROM deliveries WHERE event = ? AND target = ? AND ordinal = ? AND order_key IS NOT NULL";
    let found: Option<(i64, i64)> =
        db.prepare_cached(key)?.query_row((event, target, ordinal), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((output, key)) = found else { return Ok(false) };
    db.prepare_cached(FREE)?.execute((event, target, ordinal))?;
    let first = db.prepare_cached(FIRST)?.query_row((output, key), |row| {
        let behind = row.get_ref(4)?.as_str()? == BEHIND && row.get::<_, i64>(3)? == 1;
        Ok(((row.get(0)?, row.get(1)?, row.get(2)?), behind))
    });
    if let Some(((event, target, ordinal), true)) = first.optional()? {
        let turn = "UPDATE deliveries SET state = 0, due_at = ?1, turn_at = ?1, updated_at = ?1, detail = 'has its turn'
            WHERE event = ?2 AND target = ?3 AND ordinal = ?4";
        let place: Place = (event, target, ordinal);
        db.prepare_cached(turn)?.execute((now.0, place.0, place.1, place.2))?;
    }
    Ok(true)
}

/// Lets go those of an output that have had their turn since before `before`: at most `most`. How many. Not those that were never tried:
/// it is the output that is stuck then, and nobody is better off out of order.
pub fn overtake(db: &Connection, output: i64, before: Timestamp, now: Timestamp, most: usize) -> rusqlite::Result<u64> {
    let stuck = "SELECT event, target, ordinal FROM deliveries WHERE output = ? AND turn_at < ?
        AND (attempts > 0 OR state <> 0) ORDER BY turn_at LIMIT ?";
    let places: Vec<Place> = db
        .prepare_cached(stuck)?
        .query_map(params![output, before.0, most as i64], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let mut changed = 0;
    for place in places {
        changed += u64::from(free(db, place, now)?);
    }
    Ok(changed)
}

/// Lets a delivery go that has the turn, so that the next of its key has it. Whether it had.
pub fn pass_by(db: &Connection, place: Place, now: Timestamp) -> rusqlite::Result<bool> {
    let turn = "SELECT 1 FROM deliveries WHERE event = ? AND target = ? AND ordinal = ? AND turn_at IS NOT NULL";
    if db.prepare_cached(turn)?.exists(place)? { free(db, place, now) } else { Ok(false) }
}
