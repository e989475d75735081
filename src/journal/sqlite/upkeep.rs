//! What is done between commits, in bounded slices: checkpoints, what operators ask for. Retention and erasure are `leave`'s.

use super::read::{Place, place_of, target_number};
use super::write::run;
use super::{SqliteStore, order, trouble, until};
use crate::journal::codec;
use crate::journal::replay::Render;
use crate::journal::store::{Mark, Operation, Slice, StoreError, Tend};
use crate::model::{BEHIND, DeliveryKey, Message, PACED, Timestamp};
use rusqlite::hooks::Wal;
use rusqlite::{OptionalExtension, params};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Held ones of an output for one reason. The reasons of the index `deliveries_apart` stand here word for word: by it those that stand in line,
/// perhaps millions, are not looked at.
pub(super) const HELD: &str = "SELECT event, target, ordinal FROM deliveries WHERE output = ? AND detail = ? AND state = 1
    AND detail NOT IN ('waits behind an earlier one of its key', 'collected for the next digest of its key')
    AND (event, target, ordinal) > (?, ?, ?) ORDER BY event, target, ordinal LIMIT ?";
/// Pages in the log that a checkpoint of the writer copies at once: about 5 µs each, so pauses stay near 2 ms.
const CHECKPOINT_PAGES: u32 = 250;
/// A log beyond this (64 MiB) is cut to nothing as soon as no reader holds it.
const LOG_PAGES_MAX: u32 = 64 * 1024 * 1024 / 4096;
/// Rows that one slice of an operation looks at.
pub(super) const OPERATE_ROWS: usize = 1_000;
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
                if why == Tend::Idle { self.give_back(FREE_PAGES) } else { Ok(false) }
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
    pub(super) fn cut_log(&mut self) -> rusqlite::Result<()> {
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

    /// Makes the file a little smaller where more than so many of its pages are free. Whether there is more.
    pub(super) fn give_back(&mut self, most: i64) -> rusqlite::Result<bool> {
        let free: i64 = self.db.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        if free <= most {
            return Ok(false);
        }
        let mut vacuum = self.db.prepare_cached(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
        Ok(true)
    }

    pub(super) fn operate_slice(&mut self, operation: &Operation, now: Timestamp, from: Mark) -> Result<Slice, StoreError> {
        if let Operation::Scrub { rewrite } = operation {
            return self.scrub(*rewrite);
        }
        let overwrite = |this: &Self, on| match operation {
            Operation::Erase { .. } => this.overwrite(on).map_err(trouble("overwrite what is erased")),
            _ => Ok(()),
        };
        overwrite(self, true)?;
        let done = self.try_operate(operation, now, from).map_err(trouble("change deliveries"));
        if done.is_err() {
            self.roll_back()?;
            self.names.take_back(&self.db).map_err(trouble("read the names"))?;
        }
        overwrite(self, false)?;
        done
    }

    fn try_operate(&mut self, operation: &Operation, now: Timestamp, from: Mark) -> rusqlite::Result<Slice> {
        run(&self.db, "BEGIN IMMEDIATE")?;
        let mut under_way = vec![];
        let slice = match operation {
            Operation::Hold { output, why } => self.hold(output, why, now)?,
            Operation::Unhold { output, why } => self.unhold(output, why, now, from)?,
            Operation::Replay(keys, render) => self.replay_keys(keys, *render, now, from)?,
            Operation::PlanReplays(jobs) => self.plan_replays(jobs)?,
            Operation::FeedReplay { id, most } => self.feed_replay(*id, *most, now, from)?,
            Operation::FeedMissing { id, found, at } => self.feed_missing(*id, found, *at, now)?,
            Operation::PassOn(found) => self.pass_on(found, now)?,
            Operation::TurnReplay { id, to } => self.turn_replay(*id, *to, now)?,
            Operation::Purge { filter, why } => self.purge(filter, why, now, from)?,
            Operation::Recall { output, but } => self.recall(output, but.as_deref(), now, from)?,
            Operation::Seal { key, seen, sealed } => self.seal(key, *seen, sealed)?,
            Operation::Overtake { output, before } => self.overtake(output, *before, now)?,
            Operation::Gather { output, before } => self.gather(output, *before, now, from)?,
            Operation::Elapse { output, by, except } => self.elapse(output, *by, except, now, from)?,
            Operation::Fix { key, message } => self.fix(key, message)?,
            Operation::PassBy(keys) => self.pass_by(keys, now)?,
            Operation::Erase { seqs, waiting } => self.erase(seqs, *waiting, now, &mut under_way)?,
            Operation::KeepConfig { version, text } => self.keep_config(*version, text, now)?,
            Operation::Scrub { .. } => Slice { changed: 0, next: None },
        };
        run(&self.db, "COMMIT")?;
        self.names.keep();
        self.erased.extend(under_way);
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

    /// The release of what is held for some reasons: one after the other, each in the order of arrival.
    fn unhold(&mut self, output: &str, why: &BTreeSet<String>, now: Timestamp, from: Mark) -> rusqlite::Result<Slice> {
        let Some(number) = self.names.output_number(&self.db, output)? else { return Ok(Slice { changed: 0, next: None }) };
        let (first, mut after, mut changed, mut looked) = (usize::try_from(from.0).unwrap_or(usize::MAX), place_of(from), 0, 0);
        for (nth, why) in why.iter().enumerate().skip(first) {
            if looked >= OPERATE_ROWS {
                return Ok(Slice { changed, next: Some(Mark(nth as i64, 0, 0, 0)) });
            }
            let most = OPERATE_ROWS - looked;
            let mut held = self.db.prepare_cached(HELD)?;
            let (event, target, ordinal) = std::mem::take(&mut after);
            let found = held
                .query_map(params![number, why, event, target, ordinal, most as i64], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            let found: Vec<Place> = found.collect::<Result<_, _>>()?;
            // A reason without rows is a look too.
            looked += found.len() + 1;
            for place in &found {
                changed += self.wake_one(*place, None, now)?;
            }
            if let Some((event, target, ordinal)) = found.last().filter(|_| found.len() == most) {
                return Ok(Slice { changed, next: Some(Mark(nth as i64, *event, *target, *ordinal)) });
            }
        }
        Ok(Slice { changed, next: None })
    }

    fn replay_keys(&mut self, keys: &[DeliveryKey], render: Render, now: Timestamp, from: Mark) -> rusqlite::Result<Slice> {
        let start = usize::try_from(from.0).unwrap_or(usize::MAX);
        let slice = keys.iter().skip(start).take(OPERATE_ROWS);
        let mut changed = 0;
        for key in slice {
            if let Some(target) = target_number(&self.db, &key.target)? {
                changed += self.wake_one((key.seq.0, target, i64::from(key.ordinal)), Some(render), now)?;
            }
        }
        let next = start.saturating_add(OPERATE_ROWS);
        Ok(Slice { changed, next: (next < keys.len()).then_some(Mark(next as i64, 0, 0, 0)) })
    }

    /// One slice of those that are due later: first live ones, then replays, each by due time. Where the same limit called last there are
    /// none: rows say the limit that they were told by, and it is only changed with a call.
    fn recall(&mut self, output: &str, but: Option<&str>, now: Timestamp, from: Mark) -> rusqlite::Result<Slice> {
        const LATER: &str =
            "SELECT due_at, event, target, ordinal, detail FROM deliveries WHERE output = ? AND state = 0 AND (replays > 0) = ?
            AND due_at > ? AND (due_at, event, target, ordinal) > (?, ?, ?, ?) ORDER BY due_at, event, target, ordinal LIMIT ?";
        const ANEW: &str = "UPDATE deliveries SET due_at = ?1, updated_at = ?1, detail = 'waits for its turn anew: the limit is another'
            WHERE event = ?2 AND target = ?3 AND ordinal = ?4";
        if from == Mark::default() && self.recalled(output)? == Some(fingerprint(but)) {
            return Ok(Slice { changed: 0, next: None });
        }
        let Some(number) = self.names.output_number(&self.db, output)? else {
            self.set_recalled(output, Some(fingerprint(but)))?;
            return Ok(Slice { changed: 0, next: None });
        };
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
        self.set_recalled(output, if next.is_none() { Some(fingerprint(but)) } else { None })?;
        Ok(Slice { changed, next })
    }

    /// By which limit the rows of an output were last called back; `None`: never, or not to the end.
    fn recalled(&self, output: &str) -> rusqlite::Result<Option<i64>> {
        let stored = "SELECT value FROM meta WHERE key = 'recalled ' || ?";
        self.db.prepare_cached(stored)?.query_row([output], |row| row.get(0)).optional()
    }

    fn set_recalled(&self, output: &str, limit: Option<i64>) -> rusqlite::Result<()> {
        let set = if limit.is_some() {
            "INSERT INTO meta(key, value) VALUES('recalled ' || ?1, ?2) ON CONFLICT(key) DO UPDATE SET value = excluded.value"
        } else {
            "DELETE FROM meta WHERE key = 'recalled ' || ?1 AND ?2 IS NULL"
        };
        self.db.prepare_cached(set)?.execute(params![output, limit]).map(drop)
    }

    fn overtake(&mut self, output: &str, before: Timestamp, now: Timestamp) -> rusqlite::Result<Slice> {
        let Some(number) = self.names.output_number(&self.db, output)? else { return Ok(Slice { changed: 0, next: None }) };
        let changed = order::overtake(&self.db, number, before, now, OPERATE_ROWS)?;
        Ok(Slice { changed, next: (changed == OPERATE_ROWS as u64).then_some(Mark::default()) })
    }

    fn gather(&mut self, output: &str, before: Timestamp, now: Timestamp, from: Mark) -> rusqlite::Result<Slice> {
        let SqliteStore { db, names, .. } = self;
        let Some(number) = names.output_number(db, output)? else { return Ok(Slice { changed: 0, next: None }) };
        let (changed, next) = order::gather(db, names, number, before, now, (from.0, place_of(from)), OPERATE_ROWS)?;
        Ok(Slice { changed, next: next.map(|(turn_at, (event, target, ordinal))| Mark(turn_at, event, target, ordinal)) })
    }

    fn elapse(&mut self, output: &str, by: Timestamp, except: &BTreeSet<String>, now: Timestamp, from: Mark) -> rusqlite::Result<Slice> {
        let Some(number) = self.names.output_number(&self.db, output)? else { return Ok(Slice { changed: 0, next: None }) };
        let (changed, next) = until::elapse(&self.db, number, (by, except), now, (from.0, place_of(from)), OPERATE_ROWS)?;
        Ok(Slice { changed, next: next.map(|(due_at, (event, target, ordinal))| Mark(due_at, event, target, ordinal)) })
    }

    fn fix(&mut self, key: &DeliveryKey, message: &Message) -> rusqlite::Result<Slice> {
        let Some(target) = target_number(&self.db, &key.target)? else { return Ok(Slice { changed: 0, next: None }) };
        let fix = "UPDATE deliveries SET message = ? WHERE event = ? AND target = ? AND ordinal = ? AND state = 0 AND message IS NULL";
        let changed = self.db.prepare_cached(fix)?.execute(params![codec::seal(message), key.seq.0, target, key.ordinal])?;
        Ok(Slice { changed: changed as u64, next: None })
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

    /// Asked for again, with which bytes, or released. What stands behind another of its key is not sent again by asking, and what is
    /// released goes back into line.
    pub(super) fn wake_one(&self, place: (i64, i64, i64), again: Option<Render>, now: Timestamp) -> rusqlite::Result<u64> {
        let (event, target, ordinal) = place;
        if order::is_behind(&self.db, place)? {
            if again.is_some() {
                return Ok(0);
            }
            let back = "UPDATE deliveries SET detail = ?, due_at = NULL, updated_at = ? WHERE event = ? AND target = ? AND ordinal = ? AND state = 1";
            return self.db.prepare_cached(back)?.execute(params![BEHIND, now.0, event, target, ordinal]).map(|changed| changed as u64);
        }
        let Some(render) = again else {
            let release = "UPDATE deliveries SET state = 0, due_at = ?1, updated_at = ?1, detail = 'released',
                turn_at = iif(order_key IS NULL, NULL, coalesce(turn_at, ?1)) WHERE event = ?2 AND target = ?3 AND ordinal = ?4 AND state = 1";
            return self.db.prepare_cached(release)?.execute(params![now.0, event, target, ordinal]).map(|changed| changed as u64);
        };
        let again = "UPDATE deliveries SET state = 0, due_at = ?1, updated_at = ?1, attempts = 0, replays = replays + 1, detail = 'asked for again',
            turn_at = iif(order_key IS NULL, NULL, coalesce(turn_at, ?1)),
            message = iif(?5 AND NOT EXISTS (SELECT 1 FROM deliveries AS part WHERE part.event = ?2 AND part.target = ?3 AND part.ordinal > 0), NULL, message)
            WHERE event = ?2 AND target = ?3 AND ordinal = ?4 AND state <> 0";
        let changed = self.db.prepare_cached(again)?.execute(params![now.0, event, target, ordinal, render == Render::Now])?;
        Ok(changed as u64)
    }
}

/// A limit in a number: the first digits of a hash. No limit is one too.
fn fingerprint(limit: Option<&str>) -> i64 {
    let mut first = [0; 8];
    first.copy_from_slice(&Sha256::digest(limit.unwrap_or_default())[..8]);
    i64::from_be_bytes(first)
}
