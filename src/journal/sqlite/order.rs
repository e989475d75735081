//! Deliveries that go one at a time: who has the turn among those of one output and key.
//!
//! The rows of such a delivery are born with their event, in its commit, so their order is that of the events whatever happens
//! afterwards. One of a key waits, those behind it are held ([`BEHIND`]); the commit that ends its turn gives the turn to the next.
//! A row is in line as long as it has an `order_key`. Never: opens or ends a transaction.
//!
//! A digest is the first of its key, which takes along those behind it: its message says how far. It keeps its place in line when it is
//! over, until [`gather`] has put what went along where it stands itself, and the time of its key has passed; then the next has its turn.

use super::Names;
use super::names::TargetNumber;
use super::read::{Place, kept_of, state_of, target_number};
use crate::journal::codec;
use crate::journal::store::{Append, Collected};
use crate::model::{BEHIND, COLLECTED, DeliveryKey, EventId, OrderKey, Seq, State, Timestamp, stands_in_line};
use rusqlite::{Connection, OptionalExtension, params};
use std::sync::Arc;

/// Takes the turn where nobody in line stands before this one; else stands behind them.
const LINE_UP: &str = "UPDATE deliveries SET order_key = ?2, turn_at = ?3 WHERE event = ?4 AND target = ?5 AND ordinal = ?6 AND NOT EXISTS
    (SELECT 1 FROM deliveries WHERE output = ?1 AND order_key = ?2 AND (event, target, ordinal) < (?4, ?5, ?6))";
const STAND_BEHIND: &str =
    "UPDATE deliveries SET order_key = ?1, state = iif(state = 0, 1, state), due_at = NULL, detail = iif(state = 0, ?2, detail)
    WHERE event = ?3 AND target = ?4 AND ordinal = ?5";
const FREE: &str = "UPDATE deliveries SET order_key = NULL, turn_at = NULL WHERE event = ? AND target = ? AND ordinal = ?";
const FIRST: &str = "SELECT event, target, ordinal, state, detail FROM deliveries WHERE output = ? AND order_key = ? ORDER BY event, target, ordinal LIMIT 1";

/// Rows of those targets of a new event that are kept in order: each closes its part of the plan.
pub fn append(db: &Connection, names: &mut Names, seq: Seq, append: &Append, now: Timestamp) -> rusqlite::Result<()> {
    const BORN: &str =
        "INSERT INTO deliveries(event, target, ordinal, output, state, closes, due_at, attempts, replays, updated_at, detail)
        VALUES(?1, ?2, 0, ?3, 0, 1, ?5, 0, 0, ?4, 'has its turn')";
    let mut born = vec![];
    for (place, key) in &append.plan.ordered {
        let Some(target) = append.plan.targets.get(*place) else { continue };
        born.push((names.target(db, target)?, *place, *key));
    }
    // By their places in line: a target that is seen for the first time stands behind those that were known, whatever the file says.
    born.sort_unstable_by_key(|(number, ..)| number.target);
    for (TargetNumber { target, output }, place, key) in born {
        let wait = append.plan.collected.iter().find_map(|(collected, wait)| (*collected == place).then_some(*wait));
        db.prepare_cached(BORN)?.execute(params![seq.0, target, output, now.0, (now + wait.unwrap_or_default()).0])?;
        line_up(db, output, key, (seq.0, target, 0), now, if wait.is_some() { COLLECTED } else { BEHIND })?;
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
pub fn line_up(db: &Connection, output: i64, OrderKey(key): OrderKey, place: Place, now: Timestamp, behind: &str) -> rusqlite::Result<()> {
    let (event, target, ordinal) = place;
    let first = db.prepare_cached(LINE_UP)?.execute(params![output, key as i64, now.0, event, target, ordinal])?;
    if first == 0 {
        db.prepare_cached(STAND_BEHIND)?.execute(params![key as i64, behind, event, target, ordinal])?;
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
        let behind = stands_in_line(row.get_ref(4)?.as_str()?) && row.get::<_, i64>(3)? == 1;
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
        AND (attempts > 0 OR state <> 0) AND NOT (state = 1 AND due_at IS NOT NULL) ORDER BY turn_at LIMIT ?";
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

/// As [`Reads::collected`](crate::journal::store::Reads::collected).
pub fn collected(db: &Connection, names: &mut Names, key: &DeliveryKey, most: usize) -> rusqlite::Result<Collected> {
    let nothing = Collected { first: vec![], count: 0, through: key.seq };
    let Some(target) = target_number(db, &key.target)? else { return Ok(nothing) };
    let behind = "FROM deliveries AS this JOIN deliveries AS other ON other.output = this.output AND other.order_key = this.order_key
        WHERE this.event = ?1 AND this.target = ?2 AND this.ordinal = ?3 AND (other.event, other.target, other.ordinal) > (?1, ?2, ?3)
        AND other.state = 1 AND other.detail IN (?4, ?5)";
    let mut total = db.prepare_cached(&format!("SELECT count(*), max(other.event) {behind}"))?;
    let (count, through): (i64, Option<i64>) =
        total.query_row(params![key.seq.0, target, key.ordinal, BEHIND, COLLECTED], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let Some(through) = through else { return Ok(nothing) };
    let page = format!("SELECT other.event, other.target {behind} ORDER BY other.event, other.target, other.ordinal LIMIT ?6");
    let mut select = db.prepare_cached(&page)?;
    let places: Vec<(i64, i64)> = select
        .query_map(params![key.seq.0, target, key.ordinal, BEHIND, COLLECTED, most as i64], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut first = Vec::with_capacity(places.len());
    for (event, target) in places.into_iter().filter(|(event, _)| *event <= through) {
        let found = kept_of(db, names, Seq(event))?.filter(|found| !found.damaged);
        first.extend(found.map(|found| found.kept).zip(names.target_of(db, target)?));
    }
    Ok(Collected { first, count: count as u64, through: Seq(through) })
}

/// A digest that is over and still in line.
struct Over {
    place: Place,
    turn_at: i64,
    key: i64,
    state: i64,
    detail: String,
    through: Option<i64>,
    updated_at: i64,
    event: Option<EventId>,
    /// Whether it is dead where there is an `on_dead`.
    on_dead: Option<i64>,
}

/// One slice of [`Operation::Gather`](crate::journal::store::Operation::Gather): at most `most` rows. How many it changed, and where it goes
/// on: a turn's beginning, and a place.
pub fn gather(
    db: &Connection,
    names: &mut Names,
    output: i64,
    before: Timestamp,
    now: Timestamp,
    from: (i64, Place),
    most: usize,
) -> rusqlite::Result<(u64, Option<(i64, Place)>)> {
    let over = over(db, output, from, most)?;
    let mut changed = 0;
    for digest in &over {
        let left = most - changed;
        let along = if left > 0 { take_along(db, names, output, digest, now, left)? } else { 0 };
        changed += along;
        if left <= along {
            // There may be more of it: this page is looked at again.
            return Ok((changed as u64, Some(from)));
        }
        if digest.updated_at < before.0 {
            changed += usize::from(free(db, digest.place, now)?);
            forget(db, digest.place)?;
        }
    }
    let next = over.last().filter(|_| over.len() == most).map(|last| (last.turn_at, last.place));
    Ok((changed as u64, next))
}

/// What stood in a digest is of several events, each of which may be erased. A replay sends it alone.
fn forget(db: &Connection, place: Place) -> rusqlite::Result<()> {
    let forget = "UPDATE deliveries SET message = NULL WHERE event = ? AND target = ? AND ordinal = ?";
    db.prepare_cached(forget)?.execute(place).map(drop)
}

fn over(db: &Connection, output: i64, (turn_at, place): (i64, Place), most: usize) -> rusqlite::Result<Vec<Over>> {
    let mut select = db.prepare_cached(
        "SELECT event, target, ordinal, turn_at, order_key, state, detail, message, updated_at, (SELECT id FROM events WHERE seq = event), on_dead
        FROM deliveries WHERE output = ?1 AND turn_at IS NOT NULL AND (turn_at, event, target, ordinal) > (?2, ?3, ?4, ?5) AND state IN (2, 3)
        ORDER BY turn_at, event, target, ordinal LIMIT ?6",
    )?;
    let (event, target, ordinal) = place;
    let rows = select.query_map(params![output, turn_at, event, target, ordinal, most as i64], |row| {
        let message = row.get_ref(7)?.as_blob_or_null()?.and_then(codec::unseal);
        Ok(Over {
            place: (row.get(0)?, row.get(1)?, row.get(2)?),
            turn_at: row.get(3)?,
            key: row.get(4)?,
            state: row.get(5)?,
            detail: row.get(6)?,
            through: message.and_then(|message| message.digest).map(|digest| digest.through),
            updated_at: row.get(8)?,
            event: row.get::<_, Option<[u8; 16]>>(9)?.map(EventId),
            on_dead: row.get(10)?,
        })
    })?;
    rows.collect()
}

/// Puts at most `most` of what went along where the digest stands; how many.
fn take_along(db: &Connection, names: &mut Names, output: i64, digest: &Over, now: Timestamp, most: usize) -> rusqlite::Result<usize> {
    let (event, target, ordinal) = digest.place;
    let (Some(through), Some(id), Some(name)) = (digest.through, digest.event, names.target_of(db, target)?) else { return Ok(0) };
    let key = DeliveryKey { seq: Seq(event), target: Arc::clone(&name), ordinal: u32::try_from(ordinal).unwrap_or_default() };
    let detail = format!("in the digest {}: {}", key.id(id), digest.detail);
    db.prepare_cached(
        "UPDATE deliveries SET state = ?1, due_at = NULL, order_key = NULL, detail = ?2, updated_at = ?3, on_dead = coalesce(on_dead, ?13) WHERE (event, target, ordinal) IN
        (SELECT event, target, ordinal FROM deliveries WHERE output = ?4 AND order_key = ?5 AND (event, target, ordinal) > (?6, ?7, ?8) AND event <= ?9
        AND state = 1 AND detail IN (?10, ?11) ORDER BY event, target, ordinal LIMIT ?12)",
    )?
    .execute(params![
        digest.state, detail, now.0, output, digest.key, event, target, ordinal, through, BEHIND, COLLECTED, most as i64, digest.on_dead.map(|_| 1)
    ])
}

/// Lets a delivery go that has the turn, so that the next of its key has it. Whether it had.
pub fn pass_by(db: &Connection, place: Place, now: Timestamp) -> rusqlite::Result<bool> {
    let turn = "SELECT 1 FROM deliveries WHERE event = ? AND target = ? AND ordinal = ? AND turn_at IS NOT NULL";
    if db.prepare_cached(turn)?.exists(place)? { free(db, place, now) } else { Ok(false) }
}
