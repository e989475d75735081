//! What an event would be sent to today and is not: read, and added to its plan with a row that waits.
//!
//! An event's plan stays what all its rows are of: `audit` and the doctor know no row without one. So the event is written again, with its new
//! plan and checksum; one that is damaged is left as it is.

use super::names::TargetNumber;
use super::read::{Place, kept_of};
use super::replay::replay;
use super::write::checksum;
use super::{Names, SqliteStore, order};
use crate::journal::codec;
use crate::journal::replay::{JobState, WAS_MISSING};
use crate::journal::store::{DeliveryFilter, Slice};
use crate::model::{BEHIND, Kept, OrderKey, Plan, Seq, Timestamp};
use rusqlite::{Connection, params};
use std::sync::Arc;

/// Events of which one page looks at source, topic and time.
const LOOKED_AT: usize = 2_000;
/// Bytes of events after which a page ends.
const PAGE_BYTES: usize = 4 << 20;

/// As [`Reads::events`](crate::journal::store::Reads::events).
pub fn events_meant(
    db: &Connection,
    names: &mut Names,
    filter: &DeliveryFilter,
    after: Seq,
    most: usize,
) -> rusqlite::Result<(Vec<Arc<Kept>>, Option<Seq>)> {
    let through = filter.through.map_or(i64::MAX, |through| through.0);
    // What comes before the body is read without it.
    let mut select =
        db.prepare_cached("SELECT seq, source, topic, received_at FROM events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?")?;
    let mut rows = select.query(params![after.0, through, LOOKED_AT as i64])?;
    let (mut found, mut bytes, mut seen, mut last) = (vec![], 0, 0, after);
    while let Some(row) = rows.next()? {
        if found.len() == most || bytes >= PAGE_BYTES {
            return Ok((found, Some(last)));
        }
        (seen, last) = (seen + 1, Seq(row.get(0)?));
        let Some(source) = names.source_of(db, row.get(1)?)? else { continue };
        let topic = row.get_ref(2)?.as_str().unwrap_or_default();
        if filter.holds_event(&source, topic, Timestamp(row.get(3)?))
            && let Some(event) = kept_of(db, names, last)?.filter(|event| !event.damaged)
        {
            bytes += event.kept.event.size();
            found.push(event.kept);
        }
    }
    Ok((found, (seen == LOOKED_AT).then_some(last)))
}

impl SqliteStore {
    /// Within the operation's transaction.
    pub(super) fn feed_missing(&mut self, id: u64, found: &[(Seq, Plan)], at: Option<Seq>, now: Timestamp) -> rusqlite::Result<Slice> {
        let job = replay(&self.db, id)?.filter(|job| job.state == JobState::Running && job.missing);
        let Some(job) = job else { return Ok(Slice { changed: 0, next: None }) };
        let mut changed = 0;
        for (seq, plan) in found {
            changed += add(&self.db, &mut self.names, *seq, plan, (WAS_MISSING, 1), now)?;
        }
        let (state, at) = at.map_or((JobState::Finished, job.at.1), |at| (JobState::Running, at.0));
        let go_on = "UPDATE replays SET done = done + ?, state = ?, updated_at = ?, at_event = ? WHERE id = ?";
        self.db.prepare_cached(go_on)?.execute(params![changed as i64, state.word(), now.0, at, id as i64])?;
        Ok(Slice { changed, next: None })
    }
}

/// Adds targets to an event's plan, and their rows, which say `why` they wait and whether somebody asked for them; how many.
pub(super) fn add(
    db: &Connection,
    names: &mut Names,
    Seq(seq): Seq,
    more: &Plan,
    (why, replays): (&str, u32),
    now: Timestamp,
) -> rusqlite::Result<u64> {
    let Some(kept) = kept_of(db, names, Seq(seq))?.filter(|event| !event.damaged).map(|event| event.kept) else { return Ok(0) };
    let (before, plan) = (kept.plan.targets.len(), kept.plan.clone().and(more));
    let numbers = plan.targets.iter().map(|target| names.target(db, target)).collect::<rusqlite::Result<Vec<_>>>()?;
    let mut blob = vec![];
    codec::encode(numbers.iter().map(|number| number.target), &plan, kept.event.signed_with, &mut blob);
    let event = &kept.event;
    let crc = checksum(&blob, &event.topic, event.headers.as_bytes(), &event.query, &event.body);
    let write = "UPDATE events SET plan = ?, targets = ?, crc = ? WHERE seq = ?";
    db.prepare_cached(write)?.execute(params![blob, numbers.len() as i64, crc, seq])?;
    let mut born: Vec<(usize, TargetNumber)> = numbers.into_iter().enumerate().skip(before).collect();
    // By their places in line, as those of a new event are.
    born.sort_unstable_by_key(|(_, number)| number.target);
    for (place, TargetNumber { target, output }) in &born {
        let row = "INSERT INTO deliveries(event, target, ordinal, output, state, closes, due_at, attempts, replays, updated_at, detail)
            VALUES(?, ?, 0, ?, 0, 1, ?, 0, ?, ?, ?)";
        db.prepare_cached(row)?.execute(params![seq, target, output, now.0, replays, now.0, why])?;
        let key = plan.ordered.iter().find_map(|(ordered, key)| (ordered == place).then_some(*key));
        // A digest that is rendered already would take it along unsaid: it goes alone, as every replay does.
        let collected = plan.collected.iter().any(|(collected, _)| collected == place);
        if let Some(key) = key.filter(|_| !collected) {
            line_up(db, *output, key, (seq, *target, 0), now)?;
        }
    }
    Ok(born.len() as u64)
}

/// Where a later one of its key has the turn it goes on its own, as what was delivered and is replayed does: two may not have it.
fn line_up(db: &Connection, output: i64, key: OrderKey, place: Place, now: Timestamp) -> rusqlite::Result<()> {
    let later =
        "SELECT 1 FROM deliveries WHERE output = ? AND order_key = ? AND turn_at IS NOT NULL AND (event, target, ordinal) > (?, ?, ?)";
    let (event, target, ordinal) = place;
    if db.prepare_cached(later)?.exists(params![output, key.0 as i64, event, target, ordinal])? {
        return Ok(());
    }
    order::line_up(db, output, key, place, now, BEHIND)
}
