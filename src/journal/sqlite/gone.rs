//! What is left of an event that was deleted while a repeat of it could still come: hashes that a repeat is recognised by.
//!
//! Never holds a byte of the event itself, its sender's id or its topic. A row goes with the longest dedupe window; its place is never
//! given to another event as long as the watermark has not passed it.

use super::write::Repeat;
use crate::model::{Event, EventId, Seq, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Bytes of each hash: enough that no two events are taken for each other.
const HASH: usize = 16;
/// Rows that one slice deletes.
const FORGET_ROWS: i64 = 1_000;

/// An event as it is forgotten.
pub struct Leaving<'e> {
    pub seq: i64,
    pub id: &'e [u8],
    pub received_at: i64,
    pub dedupe: Option<i64>,
    pub source: i64,
    pub topic: &'e str,
    pub sender_id: Option<&'e str>,
    pub body: &'e [u8],
}

/// Writes the hashes of an event that is about to be deleted.
pub fn remember(db: &Connection, event: &Leaving<'_>) -> rusqlite::Result<()> {
    let insert = "INSERT INTO gone(seq, id, received_at, dedupe, who, what) VALUES(?, ?, ?, ?, ?, ?)";
    let (who, what) = (who(event.source, event.topic, event.sender_id), hash(&[event.body]));
    db.prepare_cached(insert)?.execute(params![event.seq, event.id, event.received_at, event.dedupe, who, what])?;
    Ok(())
}

/// Whether an event repeats the one that was at a place and is gone; `None`: nothing of it is left.
pub fn repeated(db: &Connection, seq: i64, event: &Event, source: i64, window: Duration) -> rusqlite::Result<Option<Repeat>> {
    let mut select = db.prepare_cached("SELECT id, received_at, who, what FROM gone WHERE seq = ?")?;
    let found = select.query_row([seq], |row| {
        let inside = event.received_at.since(Timestamp(row.get(1)?)) < window;
        let same_sender = row.get_ref(2)?.as_blob()? == who(source, &event.topic, event.sender_id.as_deref());
        if !inside || !same_sender {
            return Ok(Repeat::None);
        }
        if row.get_ref(3)?.as_blob()? == hash(&[&event.body]) {
            return Ok(Repeat::Of(EventId(row.get(0)?), None));
        }
        Ok(if event.sender_id.is_some() { Repeat::OnlyItsId } else { Repeat::None })
    });
    found.optional()
}

/// The highest place that is gone; zero where none is.
pub fn last(db: &Connection) -> rusqlite::Result<Seq> {
    db.query_row("SELECT coalesce(max(seq), 0) FROM gone", [], |row| row.get(0)).map(Seq)
}

/// Deletes some of those that no repeat can come of, below the watermark. Within the transaction under way.
pub fn forget(db: &Connection, received_before: Timestamp, watermark: i64) -> rusqlite::Result<()> {
    let delete = "DELETE FROM gone WHERE seq IN (SELECT seq FROM gone WHERE received_at < ? AND seq < ? LIMIT ?)";
    db.prepare_cached(delete)?.execute(params![received_before.0, watermark, FORGET_ROWS]).map(drop)
}

fn who(source: i64, topic: &str, sender_id: Option<&str>) -> [u8; HASH] {
    let source = source.to_be_bytes();
    match sender_id {
        Some(id) => hash(&[&[1], &source, id.as_bytes()]),
        None => hash(&[&[2], &source, topic.as_bytes()]),
    }
}

fn hash(parts: &[&[u8]]) -> [u8; HASH] {
    let mut all = Sha256::new();
    for part in parts {
        all.update(part);
    }
    let mut short = [0; HASH];
    short.copy_from_slice(&all.finalize()[..HASH]);
    short
}
