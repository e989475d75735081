//! Repeats of events: what of each is written down in the commit that recognised it, so that a person can see them and release one.
//!
//! A repeat's body is the one of the event that it repeats, so it is not written again; the row goes with that event. Never more than
//! [`DUPLICATES_MAX`] rows, the newest.

use super::Names;
use super::read::kept_of;
use crate::journal::duplicates::{Duplicate, DuplicateFilter};
use crate::model::{Event, EventId, Headers, Seq, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Most repeats that are written down; the oldest go first. With the longest heads that is 32 MiB.
pub const DUPLICATES_MAX: i64 = 1_000;

const WRITE: &str = "INSERT INTO duplicates(id, event, received_at, topic, query, headers) VALUES(?, ?, ?, ?, ?, ?)";
const FORGET: &str = "DELETE FROM duplicates WHERE n <= ?";
const LIST: &str =
    "SELECT duplicates.id, event, duplicates.received_at, duplicates.topic, events.id, events.source, events.received_at, events.sender_id
    FROM duplicates JOIN events ON events.seq = duplicates.event WHERE (?1 IS NULL OR events.id = ?1) ORDER BY n DESC";

/// Writes down that an event repeats the one at a place. Within the transaction under way.
pub(super) fn write_down(db: &Connection, event: &Event, of: i64) -> rusqlite::Result<()> {
    let written = params![&event.id.0[..], of, event.received_at.0, &*event.topic, &*event.query, event.headers.as_bytes()];
    db.prepare_cached(WRITE)?.execute(written)?;
    db.prepare_cached(FORGET)?.execute([db.last_insert_rowid() - DUPLICATES_MAX]).map(drop)
}

/// Takes a repeat off the list because it becomes an event; whether it was there.
pub(super) fn take(db: &Connection, id: EventId) -> rusqlite::Result<bool> {
    Ok(db.prepare_cached("DELETE FROM duplicates WHERE id = ?")?.execute([&id.0[..]])? > 0)
}

/// The repeats that the filter means, newest first.
pub fn duplicates(db: &Connection, names: &mut Names, filter: &DuplicateFilter, most: usize) -> rusqlite::Result<Vec<Duplicate>> {
    let mut select = db.prepare_cached(LIST)?;
    let mut rows = select.query([filter.of.map(|id| id.0)])?;
    let mut found = vec![];
    while let Some(row) = rows.next()?.filter(|_| found.len() < most) {
        let repeat = repeat(db, names, row)?;
        if filter.source.as_deref().is_none_or(|source| source == &*repeat.source) {
            found.push(repeat);
        }
    }
    Ok(found)
}

fn repeat(db: &Connection, names: &mut Names, row: &Row<'_>) -> rusqlite::Result<Duplicate> {
    Ok(Duplicate {
        id: EventId(row.get(0)?),
        received_at: Timestamp(row.get(2)?),
        topic: row.get(3)?,
        of: EventId(row.get(4)?),
        source: names.source_of(db, row.get(5)?)?.unwrap_or_else(|| "?".into()),
        first_at: Timestamp(row.get(6)?),
        sender_id: row.get(7)?,
    })
}

/// A repeat as the event that it would be; `None`: it is not on the list. The other word says whether its bytes are not those that were kept.
pub fn duplicate(db: &Connection, names: &mut Names, id: EventId) -> rusqlite::Result<Option<(Event, bool)>> {
    let select = "SELECT event, received_at, topic, query, headers FROM duplicates WHERE id = ?";
    type Head = (i64, i64, String, String, Vec<u8>);
    let head = db
        .prepare_cached(select)?
        .query_row([&id.0[..]], |row| Ok::<Head, _>((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)));
    let Some((seq, received_at, topic, query, headers)) = head.optional()? else { return Ok(None) };
    let Some(found) = kept_of(db, names, Seq(seq))? else { return Ok(None) };
    let event = Event {
        id,
        topic: topic.into(),
        received_at: Timestamp(received_at),
        headers: Headers::from_block(headers),
        query: query.into(),
        signed_with: None,
        ..found.kept.event.clone()
    };
    Ok(Some((event, found.damaged)))
}
