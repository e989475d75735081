//! Reading whatever is there, sound or not, one row at a time: for those who look after the file.

use super::Names;
use super::read::{DELIVERY, EVENT, Found, Place, delivery_of, event_of};
use crate::model::{BEHIND, COLLECTED, DeliveryRow, EventId, Seq};
use rusqlite::{Connection, OptionalExtension, params};

/// A delivery's row as it stands.
#[derive(Debug)]
pub struct LooseRow {
    /// Its event's place.
    pub seq: Seq,
    /// Its numbers: event, target, ordinal.
    pub place: Place,
    /// It; `None`: its target or state is none of ours.
    pub row: Option<DeliveryRow>,
    /// Whether all of it reads back.
    pub whole: bool,
    /// Whether its target needs no more rows.
    pub closes: bool,
    /// Whether it stands in the queue of another output than its target's.
    pub other_output: bool,
}

/// The watermark as it stands in the file.
pub fn watermark(db: &Connection) -> rusqlite::Result<Seq> {
    let stored = db.query_row("SELECT value FROM meta WHERE key = 'watermark'", [], |row| row.get(0)).optional()?;
    Ok(Seq(stored.unwrap_or(1)))
}

/// Shows the next events after a place, at most `most`, each with the number of targets that its row says.
pub fn each_event(db: &Connection, names: &mut Names, after: Seq, most: usize, mut each: impl FnMut(Found, i64)) -> rusqlite::Result<()> {
    let sql = format!("SELECT {EVENT}, targets FROM events WHERE seq > ? ORDER BY seq LIMIT ?");
    let mut select = db.prepare_cached(&sql)?;
    let mut rows = select.query(params![after.0, most as i64])?;
    while let Some(row) = rows.next()? {
        let targets = row.get_ref(11)?.as_i64().unwrap_or(-1);
        each(event_of(db, names, row)?, targets);
    }
    Ok(())
}

/// Shows the rows of deliveries of events after a place, to another (included).
pub fn each_row(db: &Connection, names: &mut Names, after: Seq, to: Seq, mut each: impl FnMut(LooseRow)) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT {DELIVERY}, closes, output, (SELECT output FROM targets WHERE id = target) FROM deliveries
        WHERE event > ? AND event <= ? ORDER BY event, target, ordinal"
    );
    let mut select = db.prepare_cached(&sql)?;
    let mut rows = select.query([after.0, to.0])?;
    while let Some(row) = rows.next()? {
        let found = delivery_of(db, names, row)?;
        let whole = found.as_ref().is_some_and(|(_, whole)| *whole);
        let number = |column| row.get_ref(column).map(|value| value.as_i64_or_null().ok().flatten());
        each(LooseRow {
            seq: Seq(row.get(0)?),
            place: (row.get(0)?, number(1)?.unwrap_or(-1), number(2)?.unwrap_or(-1)),
            row: found.map(|(row, _)| row),
            whole,
            closes: number(10)? == Some(1),
            other_output: number(11)? != number(12)?,
        });
    }
    Ok(())
}

/// Events of which a delivery is held for standing behind another of its key, where there is none: at most `most`.
pub fn behind_nobody(db: &Connection, most: usize) -> rusqlite::Result<Vec<(Seq, EventId)>> {
    let sql = "SELECT event, (SELECT id FROM events WHERE seq = event) FROM deliveries AS this WHERE state = 1 AND detail IN (?, ?)
        AND NOT EXISTS (SELECT 1 FROM deliveries WHERE output = this.output AND order_key = this.order_key
        AND (event, target, ordinal) < (this.event, this.target, this.ordinal)) LIMIT ?";
    let mut select = db.prepare(sql)?;
    let rows = select.query_map(params![BEHIND, COLLECTED, most as i64], |row| {
        let id: Option<Vec<u8>> = row.get(1)?;
        Ok((Seq(row.get(0)?), EventId(id.and_then(|id| id.try_into().ok()).unwrap_or_default())))
    })?;
    rows.collect()
}
