//! How events leave the journal: after their time, when the file is too large, or because somebody asked.
//!
//! Does: deletes an event with all its deliveries, in slices of their own commits; leaves hashes where a repeat can still come
//! (`gone`). Never: deletes what waits or is held because of age or size, or an event whose plan is open. What was deleted because somebody
//! asked is overwritten (`secure_delete`). That is not all: where SQLite moves rows between pages it leaves copies in their unused parts, so
//! [`scrub`](SqliteStore::scrub) writes the file anew where told, and else gives back what is free.

use super::gone::{self, Leaving};
use super::write::run;
use super::{SqliteStore, order, trouble};
use crate::journal::store::{Retain, Room, Slice, StoreError, Swept};
use crate::model::{Seq, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

/// Events that one slice of retention looks at.
const SWEEP_EVENTS: i64 = 500;

/// What goes before its time because the file is larger than `journal.retain.max_size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Squeeze {
    /// Nothing: there is room.
    #[default]
    No,
    /// Delivered ones and those that nobody wanted, the oldest first.
    Delivered,
    /// These and dead ones: a whole round over the delivered ones was not enough.
    Dead,
}

/// Times before which what is over goes.
struct Horizons {
    /// Events received later stay.
    received: Timestamp,
    delivered: Timestamp,
    dead: Timestamp,
}

/// Which of the events between two places may go: parameters are the places and the [`Horizons`].
pub const OVER: &str = "seq > ?1 AND seq <= ?2 AND received_at < ?3
    AND targets <= (SELECT count(DISTINCT target) FROM deliveries WHERE event = seq AND closes = 1) AND NOT EXISTS
    (SELECT 1 FROM deliveries WHERE event = seq AND (NOT (state = 2 AND updated_at < ?4 OR state = 3 AND updated_at < ?5) OR on_dead = 1 OR order_key IS NOT NULL))";

impl SqliteStore {
    pub(super) fn sweep_slice(&mut self, retain: Retain, now: Timestamp, after: Seq) -> Result<Swept, StoreError> {
        match self.try_sweep(retain, now, after.0) {
            Ok(swept) => Ok(swept),
            Err(error) => {
                let error = trouble("delete what is past its time")(error);
                self.roll_back()?;
                Err(error)
            }
        }
    }

    fn try_sweep(&mut self, retain: Retain, now: Timestamp, after: i64) -> rusqlite::Result<Swept> {
        let horizons = self.horizons(retain, now)?;
        // Below the watermark *of the file*: places above it may be given again after a crash.
        let slice = "SELECT max(seq), min(received_at), count(*) FROM
            (SELECT seq, received_at FROM events WHERE seq > ? AND seq < ? ORDER BY seq LIMIT ?)";
        let found: (Option<i64>, Option<i64>, i64) = self
            .db
            .prepare_cached(slice)?
            .query_row(params![after, self.watermark, SWEEP_EVENTS], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let (last, seen) = match found {
            (Some(last), Some(oldest), seen) if oldest < horizons.received.0 => (last, seen),
            _ => return self.through(retain, now),
        };
        run(&self.db, "BEGIN IMMEDIATE")?;
        let (received, delivered, dead) = (horizons.received.0, horizons.delivered.0, horizons.dead.0);
        let mut select = self.db.prepare_cached(&format!("SELECT seq, received_at FROM events WHERE {OVER}"))?;
        let over: Vec<(i64, i64)> = select
            .query_map(params![after, last, received, delivered, dead], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        drop(select);
        let repeats_from = (now - self.window).0;
        for (seq, received_at) in &over {
            if *received_at >= repeats_from {
                remember(&self.db, *seq)?;
            }
            delete(&self.db, *seq)?;
        }
        crate::fail::point("retention");
        run(&self.db, "COMMIT")?;
        let room = match self.squeeze {
            Squeeze::No => Room::Enough,
            _ if over.is_empty() => Room::None,
            _ => Room::Making,
        };
        self.squeezed_some |= room == Room::Making;
        if seen < SWEEP_EVENTS {
            let through = self.through(retain, now)?;
            return Ok(Swept { deleted: over.len() as u64, ..through });
        }
        Ok(Swept { deleted: over.len() as u64, next: Some(Seq(last)), room })
    }

    /// The end of a round.
    fn through(&mut self, retain: Retain, now: Timestamp) -> rusqlite::Result<Swept> {
        let repeats_from = now - self.window;
        run(&self.db, "BEGIN IMMEDIATE")?;
        gone::forget(&self.db, repeats_from, self.watermark)?;
        run(&self.db, "COMMIT")?;
        self.recent.forget_before(repeats_from);
        let mut making = std::mem::take(&mut self.squeezed_some);
        let too_large = self.is_too_large(retain)?;
        if self.squeeze == Squeeze::Delivered && too_large {
            self.squeeze = Squeeze::Dead;
            making = true;
        }
        let room = match (too_large, making) {
            (false, _) => Room::Enough,
            (true, true) => Room::Making,
            (true, false) => Room::None,
        };
        Ok(Swept { deleted: 0, next: None, room })
    }

    /// What may go now: by age, and where the file is too large, by state alone.
    fn horizons(&mut self, retain: Retain, now: Timestamp) -> rusqlite::Result<Horizons> {
        match (self.is_too_large(retain)?, self.squeeze) {
            (false, _) => self.squeeze = Squeeze::No,
            (true, Squeeze::No) => self.squeeze = Squeeze::Delivered,
            (true, _) => {}
        }
        let all = Timestamp(i64::MAX);
        // By age alone an event is kept as long as a repeat of it can come.
        let received = now - retain.delivered.max(self.window);
        let (delivered, dead) = (now - retain.delivered, now - retain.dead);
        Ok(match self.squeeze {
            Squeeze::No => Horizons { received, delivered, dead },
            Squeeze::Delivered => Horizons { received: all, delivered: all, dead },
            Squeeze::Dead => Horizons { received: all, delivered: all, dead: all },
        })
    }

    /// Whether the file holds more than it may. Pages that are free count for nothing: they are used again.
    pub(super) fn is_too_large(&self, retain: Retain) -> rusqlite::Result<bool> {
        let Some(most) = retain.max_bytes else { return Ok(false) };
        Ok(used_bytes(&self.db)? > most)
    }

    /// Deletes and overwrites these events, if their plan is closed; with `waiting`, also those of which something waits or is held, which
    /// are then in `late`: an output may still have them.
    pub(super) fn erase(&mut self, seqs: &[Seq], waiting: bool, now: Timestamp, late: &mut Vec<i64>) -> rusqlite::Result<Slice> {
        let may = "SELECT EXISTS(SELECT 1 FROM deliveries WHERE event = seq AND state IN (0, 1)) FROM events WHERE seq = ?
            AND targets <= (SELECT count(DISTINCT target) FROM deliveries WHERE event = seq AND closes = 1)";
        let mut changed = 0;
        for Seq(seq) in seqs {
            let found: Option<bool> = self.db.prepare_cached(may)?.query_row([seq], |row| row.get(0)).optional()?;
            let Some(under_way) = found.filter(|under_way| waiting || !under_way) else { continue };
            let mut rows = self.db.prepare_cached("SELECT target, ordinal FROM deliveries WHERE event = ? AND order_key IS NOT NULL")?;
            let in_line: Vec<(i64, i64)> = rows.query_map([seq], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
            drop(rows);
            for (target, ordinal) in in_line {
                order::free(&self.db, (*seq, target, ordinal), now)?;
            }
            remember(&self.db, *seq)?;
            delete(&self.db, *seq)?;
            late.extend(under_way.then_some(*seq));
            changed += 1;
        }
        Ok(Slice { changed, next: None })
    }

    /// Overwrites or leaves alone what is deleted from now on.
    pub(super) fn overwrite(&self, on: bool) -> rusqlite::Result<()> {
        // FAST overwrites what costs no further write.
        self.db.pragma_update(None, "secure_delete", if on { "ON" } else { "FAST" })
    }

    /// One slice of making what was erased unfindable: gives back all free pages, writes the file anew where told, cuts the log.
    /// `changed` is 1 once all is done; 0 with nothing next: a reader holds the log, ask again.
    pub(super) fn scrub(&mut self, rewrite: bool) -> Result<Slice, StoreError> {
        let done = |this: &mut Self| -> rusqlite::Result<Slice> {
            if rewrite {
                // In a file, not in memory: it is as large as the journal.
                this.db.pragma_update(None, "temp_store", "FILE")?;
                let written = this.db.execute_batch("VACUUM");
                this.db.pragma_update(None, "temp_store", "MEMORY")?;
                // What the connection had in memory went with that.
                super::depth::begin(&this.db)?;
                written?;
            } else if this.give_back(0)? {
                return Ok(Slice { changed: 0, next: Some(crate::journal::store::Mark::default()) });
            }
            this.cut_log()?;
            let cut = this.log.pages.load(std::sync::atomic::Ordering::Relaxed) == 0;
            Ok(Slice { changed: u64::from(cut), next: None })
        };
        done(self).map_err(trouble("overwrite what was erased"))
    }
}

/// Bytes of the pages in use.
pub fn used_bytes(db: &Connection) -> rusqlite::Result<u64> {
    let number = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    Ok(((number("page_count")? - number("freelist_count")?) * number("page_size")?) as u64)
}

fn remember(db: &Connection, seq: i64) -> rusqlite::Result<()> {
    let select = "SELECT id, received_at, dedupe, source, topic, sender_id, body FROM events WHERE seq = ?";
    db.prepare_cached(select)?.query_row([seq], |row| {
        let topic = String::from_utf8_lossy(row.get_ref(4)?.as_bytes()?);
        let sender_id = row.get_ref(5)?.as_bytes_or_null()?.map(String::from_utf8_lossy);
        let leaving = Leaving {
            seq,
            id: row.get_ref(0)?.as_bytes()?,
            received_at: row.get(1)?,
            dedupe: row.get(2)?,
            source: row.get(3)?,
            topic: &topic,
            sender_id: sender_id.as_deref(),
            body: row.get_ref(6)?.as_bytes()?,
        };
        gone::remember(db, &leaving)
    })
}

fn delete(db: &Connection, seq: i64) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM events WHERE seq = ?")?.execute([seq])?;
    db.prepare_cached("DELETE FROM duplicates WHERE event = ?")?.execute([seq])?;
    db.prepare_cached("DELETE FROM deliveries WHERE event = ?")?.execute([seq]).map(drop)
}
