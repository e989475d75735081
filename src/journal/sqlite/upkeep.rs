//! What is done between commits, in bounded slices: checkpoints, retention, what operators ask for.

use super::read::{Scan, place_of, scan, target_number};
use super::write::run;
use super::{SqliteStore, order, trouble};
use crate::journal::store::{DeliveryFilter, Mark, Operation, Retain, Slice, StoreError, Swept, Tend, Which};
use crate::model::{BEHIND, DeliveryKey, PACED, Seq, State, Timestamp};
use rusqlite::hooks::Wal;
use rusqlite::params;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Pages in the log that a checkpoint of the writer copies at once: about 5 µs each, so pauses stay near 2 ms.
const CHECKPOINT_PAGES: u32 = 250;
/// A log beyond this (64 MiB) is cut to nothing as soon as no reader holds it.
const LOG_PAGES_MAX: u32 = 64 * 1024 * 1024 / 4096;
/// Events that one slice of retention looks at.
const SWEEP_EVENTS: i64 = 500;
/// Rows that one slice of an operation looks at.
const OPERATE_ROWS: usize = 1_000;
/// Free pages left in the file for reuse before it is made smaller.
const FREE_PAGES: i64 = 4_096;
/// Pages given back in one slice.
const VACUUM_PAGES: i64 = 200;

impl SqliteStore {
    /// Has SQLite say at each commit how long the log is.
    pub(super) fn hear_log(&mut self, pages: Arc<AtomicU32>) -> rusqlite::Result<()> {
        self.db.wal_hook(Some(move |_: &mut Wal, found: i32| {
            pages.store(u32::try_from(found).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))
    }

    pub(super) fn tend_files(&mut self, why: Tend) -> rusqlite::Result<bool> {
        let pages = self.log.pages.load(Ordering::Relaxed);
        if pages < self.log.copied {
            self.log.copied = 0; // the log began anew
        }
        match why {
            Tend::Busy if pages >= LOG_PAGES_MAX => self.cut_log().map(|()| false),
            Tend::Busy if pages - self.log.copied >= CHECKPOINT_PAGES => self.copy_log().map(|()| false),
            Tend::Busy => Ok(false),
            Tend::Idle | Tend::Closing => {
                if pages > 0 || why == Tend::Closing {
                    self.cut_log()?;
                }
                if why == Tend::Idle { self.give_back() } else { Ok(false) }
            }
        }
    }

    /// Copies what no reader holds back into the database file; the log is reused from its start once all is copied.
    fn copy_log(&mut self) -> rusqlite::Result<()> {
        let copied: i64 = self.db.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?.query_row([], |row| row.get(2))?;
        self.log.copied = u32::try_from(copied).unwrap_or(0);
        Ok(())
    }

    /// Copies all and cuts the log to nothing, if no reader is in the way; else at a later call.
    fn cut_log(&mut self) -> rusqlite::Result<()> {
        // Does not wait for readers: appends would wait with it.
        self.db.busy_timeout(Duration::ZERO)?;
        let cut = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(2)?)));
        self.db.busy_timeout(super::schema::BUSY)?;
        let (busy, copied) = cut?;
        if busy == 0 {
            self.log.pages.store(0, Ordering::Relaxed);
            self.log.copied = 0;
        } else {
            self.log.copied = u32::try_from(copied).unwrap_or(0);
        }
        Ok(())
    }

    /// Makes the file a little smaller where much of it is free. Whether there is more.
    fn give_back(&mut self) -> rusqlite::Result<bool> {
        let free: i64 = self.db.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        if free <= FREE_PAGES {
            return Ok(false);
        }
        let mut vacuum = self.db.prepare_cached(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
        Ok(true)
    }

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
        let through = Swept { deleted: 0, next: None };
        // An event is kept as long as a repeat of it can come, or the repeat would be a new event.
        let received_before = (now - retain.delivered.max(self.window)).0;
        // Below the watermark *of the file*: places above it may be given again after a crash.
        let slice = "SELECT max(seq), min(received_at), count(*) FROM
            (SELECT seq, received_at FROM events WHERE seq > ? AND seq < ? ORDER BY seq LIMIT ?)";
        let found: (Option<i64>, Option<i64>, i64) = self
            .db
            .prepare_cached(slice)?
            .query_row(params![after, self.watermark, SWEEP_EVENTS], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let (Some(last), Some(oldest), seen) = found else { return Ok(through) };
        if oldest >= received_before {
            return Ok(through);
        }
        run(&self.db, "BEGIN IMMEDIATE")?;
        let delete = "DELETE FROM events WHERE seq > ? AND seq <= ? AND received_at < ?
            AND targets <= (SELECT count(DISTINCT target) FROM deliveries WHERE event = seq AND closes = 1) AND NOT EXISTS
            (SELECT 1 FROM deliveries WHERE event = seq AND (NOT (state = 2 AND updated_at < ? OR state = 3 AND updated_at < ?) OR order_key IS NOT NULL)) RETURNING seq";
        let (delivered_before, dead_before) = ((now - retain.delivered).0, (now - retain.dead).0);
        let gone: Vec<i64> = self
            .db
            .prepare_cached(delete)?
            .query_map(params![after, last, received_before, delivered_before, dead_before], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut rows = self.db.prepare_cached("DELETE FROM deliveries WHERE event = ?")?;
        for seq in &gone {
            rows.execute([seq])?;
        }
        drop(rows);
        crate::fail::point("retention");
        run(&self.db, "COMMIT")?;
        self.recent.forget_before(now - self.window);
        Ok(Swept { deleted: gone.len() as u64, next: (seen == SWEEP_EVENTS).then_some(Seq(last)) })
    }

    pub(super) fn operate_slice(&mut self, operation: &Operation, now: Timestamp, from: Mark) -> Result<Slice, StoreError> {
        match self.try_operate(operation, now, from) {
            Ok(slice) => Ok(slice),
            Err(error) => {
                let error = trouble("change deliveries")(error);
                self.roll_back()?;
                Err(error)
            }
        }
    }

    fn try_operate(&mut self, operation: &Operation, now: Timestamp, from: Mark) -> rusqlite::Result<Slice> {
        run(&self.db, "BEGIN IMMEDIATE")?;
        let slice = match operation {
            Operation::Hold { output, why } => self.hold(output, why, now)?,
            Operation::Unhold { output, why } => {
                let held = DeliveryFilter { output: Some(output.to_string()), ..DeliveryFilter::default() };
                self.wake(&held, &[State::Held], Some(why), now, from)?
            }
            Operation::Replay(Which::Keys(keys)) => self.replay_keys(keys, now, from)?,
            Operation::Replay(Which::Matching(filter)) => {
                let mut states = vec![State::Held, State::Delivered, State::Dead];
                states.retain(|state| filter.states.is_empty() || filter.states.contains(state));
                self.wake(filter, &states, None, now, from)?
            }
            Operation::Recall { output, but } => self.recall(output, but.as_deref(), now, from)?,
            Operation::Seal { key, seen, sealed } => self.seal(key, *seen, sealed)?,
            Operation::Overtake { output, before } => self.overtake(output, *before, now)?,
            Operation::PassBy(keys) => self.pass_by(keys, now)?,
        };
        run(&self.db, "COMMIT")?;
        Ok(slice)
    }

    fn hold(&mut self, output: &str, why: &str, now: Timestamp) -> rusqlite::Result<Slice> {
        let Some(number) = self.names.output_number(&self.db, output)? else { return Ok(Slice { changed: 0, next: None }) };
        let hold = "UPDATE deliveries SET state = 1, due_at = NULL, detail = ?, updated_at = ? WHERE (event, target, ordinal) IN
            (SELECT event, target, ordinal FROM deliveries WHERE output = ? AND state = 0 LIMIT ?)";
        let changed = self.db.prepare_cached(hold)?.execute(params![why, now.0, number, OPERATE_ROWS as i64])?;
        // What is held has left the index of what waits: the next slice starts at its head again.
        Ok(Slice { changed: changed as u64, next: (changed == OPERATE_ROWS).then_some(Mark::default()) })
    }

    /// One slice of `states[from.0]`, in the order of arrival: a replay, or the release of what is held for some reasons.
    fn wake(
        &mut self,
        filter: &DeliveryFilter,
        states: &[State],
        held_for: Option<&BTreeSet<String>>,
        now: Timestamp,
        from: Mark,
    ) -> rusqlite::Result<Slice> {
        let nth = usize::try_from(from.0).unwrap_or(usize::MAX);
        let Some(state) = states.get(nth) else { return Ok(Slice { changed: 0, next: None }) };
        let way = Scan { state: Some(*state), from: place_of(from), newest_first: false, most: OPERATE_ROWS };
        let (hits, next) = scan(&self.db, &mut self.names, filter, way)?;
        let mut changed = 0;
        for hit in hits.iter().filter(|hit| held_for.is_none_or(|why| why.contains(&hit.row.detail))) {
            changed += self.wake_one(hit.place, held_for.is_none(), now)?;
        }
        let next = match next {
            Some((event, target, ordinal)) => Some(Mark(from.0, event, target, ordinal)),
            None => (nth + 1 < states.len()).then_some(Mark(from.0 + 1, 0, 0, 0)),
        };
        Ok(Slice { changed, next })
    }

    fn replay_keys(&mut self, keys: &[DeliveryKey], now: Timestamp, from: Mark) -> rusqlite::Result<Slice> {
        let start = usize::try_from(from.0).unwrap_or(usize::MAX);
        let slice = keys.iter().skip(start).take(OPERATE_ROWS);
        let mut changed = 0;
        for key in slice {
            if let Some(target) = target_number(&self.db, &key.target)? {
                changed += self.wake_one((key.seq.0, target, i64::from(key.ordinal)), true, now)?;
            }
        }
        let next = start.saturating_add(OPERATE_ROWS);
        Ok(Slice { changed, next: (next < keys.len()).then_some(Mark(next as i64, 0, 0, 0)) })
    }

    /// One slice of those that are due later: first live ones, then replays, each by due time.
    fn recall(&mut self, output: &str, but: Option<&str>, now: Timestamp, from: Mark) -> rusqlite::Result<Slice> {
        const LATER: &str =
            "SELECT due_at, event, target, ordinal, detail FROM deliveries WHERE output = ? AND state = 0 AND (replays > 0) = ?
            AND due_at > ? AND (due_at, event, target, ordinal) > (?, ?, ?, ?) ORDER BY due_at, event, target, ordinal LIMIT ?";
        const ANEW: &str = "UPDATE deliveries SET due_at = ?1, updated_at = ?1, detail = 'waits for its turn anew: the limit is another'
            WHERE event = ?2 AND target = ?3 AND ordinal = ?4";
        let Some(number) = self.names.output_number(&self.db, output)? else { return Ok(Slice { changed: 0, next: None }) };
        let Mark(replays, due_at, event, nth) = from;
        let mut later = self.db.prepare_cached(LATER)?;
        let bounds = params![number, replays, now.0, due_at, event, nth >> 32, nth & 0xffff_ffff, OPERATE_ROWS as i64];
        let found = later.query_map(bounds, |row| {
            let place = (row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?);
            let detail = row.get_ref(4)?.as_str()?;
            Ok((place, detail.starts_with(PACED) && Some(detail) != but))
        });
        let found: Vec<_> = found?.collect::<Result<_, _>>()?;
        let mut changed = 0;
        for ((_, event, target, ordinal), _) in found.iter().filter(|(_, other)| *other) {
            changed += self.db.prepare_cached(ANEW)?.execute(params![now.0, event, target, ordinal])? as u64;
        }
        let next = match found.last().filter(|_| found.len() == OPERATE_ROWS) {
            Some(((due_at, event, target, ordinal), _)) => Some(Mark(replays, *due_at, *event, target << 32 | ordinal)),
            None => (replays == 0).then_some(Mark(1, 0, 0, 0)),
        };
        Ok(Slice { changed, next })
    }

    fn overtake(&mut self, output: &str, before: Timestamp, now: Timestamp) -> rusqlite::Result<Slice> {
        let Some(number) = self.names.output_number(&self.db, output)? else { return Ok(Slice { changed: 0, next: None }) };
        let changed = order::overtake(&self.db, number, before, now, OPERATE_ROWS)?;
        Ok(Slice { changed, next: (changed == OPERATE_ROWS as u64).then_some(Mark::default()) })
    }

    fn pass_by(&mut self, keys: &[DeliveryKey], now: Timestamp) -> rusqlite::Result<Slice> {
        let mut changed = 0;
        for key in keys {
            if let Some(target) = target_number(&self.db, &key.target)? {
                changed += u64::from(order::pass_by(&self.db, (key.seq.0, target, i64::from(key.ordinal)), now)?);
            }
        }
        Ok(Slice { changed, next: None })
    }

    /// What stands behind another of its key is not sent again by asking, and what is released goes back into line.
    fn wake_one(&self, place: (i64, i64, i64), again: bool, now: Timestamp) -> rusqlite::Result<u64> {
        let (event, target, ordinal) = place;
        if order::is_behind(&self.db, place)? {
            if again {
                return Ok(0);
            }
            let back = "UPDATE deliveries SET detail = ?, updated_at = ? WHERE event = ? AND target = ? AND ordinal = ? AND state = 1";
            return self.db.prepare_cached(back)?.execute(params![BEHIND, now.0, event, target, ordinal]).map(|changed| changed as u64);
        }
        let sql = if again {
            "UPDATE deliveries SET state = 0, due_at = ?1, updated_at = ?1, attempts = 0, replays = replays + 1, detail = 'asked for again',
                turn_at = iif(order_key IS NULL, NULL, coalesce(turn_at, ?1)) WHERE event = ?2 AND target = ?3 AND ordinal = ?4 AND state <> 0"
        } else {
            "UPDATE deliveries SET state = 0, due_at = ?1, updated_at = ?1, detail = 'released',
                turn_at = iif(order_key IS NULL, NULL, coalesce(turn_at, ?1)) WHERE event = ?2 AND target = ?3 AND ordinal = ?4 AND state = 1"
        };
        self.db.prepare_cached(sql)?.execute(params![now.0, event, target, ordinal]).map(|changed| changed as u64)
    }
}
