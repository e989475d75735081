//! One commit: events with their plans, rows of deliveries, the watermark. Repeats are decided inside it.

use super::names::TargetNumber;
use super::{SqliteStore, gone, order, repeats, trouble};
use crate::fail;
use crate::journal::codec;
use crate::journal::store::{Append, Batch, Committed, Fate, StoreError};
use crate::model::{BEHIND, Dedupe, Event, EventId, Order, Seq, Settlement, State, Timestamp};
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};
use std::time::Duration;

const APPEND: &str =
    "INSERT INTO events(seq, id, source, topic, received_at, targets, reused_id, dedupe, crc, plan, sender_id, query, headers, body)
    VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
const SETTLE: &str = "INSERT INTO deliveries(event, target, ordinal, output, state, closes, due_at, attempts, replays, updated_at, detail, message, on_dead)
    VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT(event, target, ordinal) DO UPDATE SET state = excluded.state, closes = max(closes, excluded.closes), due_at = excluded.due_at,
    attempts = excluded.attempts, replays = excluded.replays, updated_at = excluded.updated_at, detail = excluded.detail, message = excluded.message,
    on_dead = coalesce(deliveries.on_dead, excluded.on_dead)
    WHERE deliveries.state < 2 OR excluded.state >= 2 OR excluded.replays > deliveries.replays";
/// Of a settlement that comes too late (`Settlement::is_late`) only this is written.
const CLOSE: &str = "UPDATE deliveries SET closes = max(closes, ?4) WHERE event = ?1 AND target = ?2 AND ordinal = ?3";
const WATERMARK: &str = "INSERT INTO meta(key, value) VALUES('watermark', ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value";
const CANDIDATE: &str = "SELECT id, source, topic, received_at, sender_id, body FROM events WHERE seq = ?";

/// A state's number in the file.
pub(super) const fn number_of(state: State) -> i64 {
    match state {
        State::Waiting => 0,
        State::Held => 1,
        State::Delivered => 2,
        State::Dead => 3,
    }
}

impl SqliteStore {
    /// All of the batch or nothing of it. What memory holds of it follows what the file holds.
    pub(super) fn write_batch(&mut self, batch: &Batch) -> Result<Committed, StoreError> {
        let first = self.next_seq;
        match self.try_batch(batch) {
            Ok(committed) => {
                if let Some(detail) = self.files.moved() {
                    return Err(StoreError::Fatal { doing: "commit", detail });
                }
                self.recent.keep();
                self.names.keep();
                if let Some(Seq(watermark)) = batch.watermark {
                    self.watermark = watermark;
                }
                Ok(committed)
            }
            Err(error) => {
                self.next_seq = first;
                self.recent.take_back();
                let error = trouble("commit")(error);
                self.roll_back()?;
                self.names.take_back(&self.db).map_err(trouble("read the names"))?;
                Err(error)
            }
        }
    }

    /// Ends a transaction that failed; SQLite may have ended it already.
    pub(super) fn roll_back(&mut self) -> Result<(), StoreError> {
        if self.db.is_autocommit() { Ok(()) } else { run(&self.db, "ROLLBACK").map_err(trouble("roll back")) }
    }

    fn try_batch(&mut self, batch: &Batch) -> rusqlite::Result<Committed> {
        if let Some(window) = batch.appends.iter().filter_map(|append| append.dedupe.map(|dedupe| dedupe.window)).max()
            && window > self.window
            && let Some(now) = batch.appends.iter().map(|append| append.event.received_at).max()
        {
            self.widen(window, now)?;
        }
        run(&self.db, "BEGIN IMMEDIATE")?;
        let fates = self.append_all(&batch.appends, batch.at)?;
        self.settle_all(&batch.settlements)?;
        if let Some(Seq(watermark)) = batch.watermark {
            self.db.prepare_cached(WATERMARK)?.execute([watermark])?;
        }
        if !batch.appends.is_empty() {
            fail::point("in_transaction");
        }
        if !batch.settlements.is_empty() {
            fail::point("settle_in_transaction");
        }
        run(&self.db, "COMMIT")?;
        fail::point("committed");
        Ok(Committed { fates })
    }

    fn append_all(&mut self, appends: &[Append], at: Timestamp) -> rusqlite::Result<Vec<Fate>> {
        let SqliteStore { db, names, recent, next_seq, scratch, .. } = self;
        let mut insert = db.prepare_cached(APPEND)?;
        let mut fates = Vec::with_capacity(appends.len());
        for append in appends {
            let Append { event, dedupe, .. } = append;
            let source = names.source(db, &event.source)?;
            let mut reused_id = false;
            if let Some(Dedupe { key, released: true, .. }) = dedupe {
                if !repeats::take(db, event.id)? {
                    fates.push(Fate::Duplicate { of: event.id });
                    continue;
                }
                recent.add(*key, *next_seq, event.received_at);
            } else if let Some(dedupe) = dedupe {
                match repeated(db, recent.candidates(dedupe.key), event, source, dedupe)? {
                    Repeat::Of(of, place) => {
                        if let Some(place) = place {
                            repeats::write_down(db, event, place)?;
                        }
                        fates.push(Fate::Duplicate { of });
                        continue;
                    }
                    Repeat::OnlyItsId => reused_id = true,
                    Repeat::None => {}
                }
                recent.add(dedupe.key, *next_seq, event.received_at);
            }
            encode_plan(db, names, append, scratch)?;
            insert_event(&mut insert, *next_seq, source, append, reused_id, scratch)?;
            order::append(db, names, Seq(*next_seq), append, at)?;
            fates.push(Fate::New { seq: Seq(*next_seq), reused_id });
            *next_seq += 1;
        }
        Ok(fates)
    }

    fn settle_all(&mut self, settlements: &[Settlement]) -> rusqlite::Result<()> {
        let SqliteStore { db, names, erased, .. } = self;
        let mut upsert = db.prepare_cached(SETTLE)?;
        for Settlement { row, closes, order, on_dead } in
            settlements.iter().filter(|settlement| !erased.contains(&settlement.row.key.seq.0))
        {
            let TargetNumber { target, output } = names.target(db, &row.key.target)?;
            let place = (row.key.seq.0, target, i64::from(row.key.ordinal));
            let new_in = match order {
                Some(Order::Keeps(key)) if !order::has_row(db, place)? => Some(*key),
                _ => None,
            };
            let due_at = match row.state {
                State::Waiting => row.due_at.or(Some(row.updated_at)),
                State::Held => row.due_at,
                State::Delivered | State::Dead => None,
            };
            let settled = upsert.execute(params![
                row.key.seq.0,
                target,
                row.key.ordinal,
                output,
                number_of(row.state),
                closes,
                due_at.map(|due_at| due_at.0),
                row.attempts,
                row.replays,
                row.updated_at.0,
                row.detail,
                row.message.as_deref().map(codec::seal),
                on_dead.then_some(1),
            ])?;
            if settled == 0 {
                db.prepare_cached(CLOSE)?.execute(params![row.key.seq.0, target, row.key.ordinal, closes])?;
                continue;
            }
            match (order, new_in) {
                (_, Some(key)) => order::line_up(db, output, key, place, row.updated_at, BEHIND)?,
                (Some(Order::Frees(_)), None) => drop(order::free(db, place, row.updated_at)?),
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads keys back as far as `window` reaches, where it reaches farther than what is held.
    pub(super) fn widen(&mut self, window: Duration, now: Timestamp) -> rusqlite::Result<()> {
        if window <= self.window {
            return Ok(());
        }
        self.window = window;
        self.recent = super::Recent::default();
        let mut keys = self.db.prepare(
            "SELECT received_at, dedupe, seq FROM events WHERE received_at >= ?1 AND dedupe IS NOT NULL
                UNION ALL SELECT received_at, dedupe, seq FROM gone WHERE received_at >= ?1 AND dedupe IS NOT NULL ORDER BY received_at",
        )?;
        let mut rows = keys.query([(now - window).0])?;
        while let Some(row) = rows.next()? {
            self.recent.insert(row.get::<_, i64>(1)? as u64, row.get(2)?, Timestamp(row.get(0)?));
        }
        Ok(())
    }
}

/// Runs a statement without parameters or rows.
pub(super) fn run(db: &Connection, statement: &str) -> rusqlite::Result<()> {
    db.prepare_cached(statement)?.execute([]).map(drop)
}

/// What an append repeats.
pub(super) enum Repeat {
    /// Nothing.
    None,
    /// This event, and its place where it is whole.
    Of(EventId, Option<i64>),
    /// The sender's id was used before, for another body.
    OnlyItsId,
}

/// Asks the rows: a key is only a hash.
fn repeated(db: &Connection, candidates: Vec<i64>, event: &Event, source: i64, dedupe: &Dedupe) -> rusqlite::Result<Repeat> {
    let mut repeat = Repeat::None;
    for seq in candidates {
        let mut select = db.prepare_cached(CANDIDATE)?;
        let found = select.query_row([seq], |row| {
            // At exactly the window's end it is a new event.
            let inside = event.received_at.since(Timestamp(row.get(3)?)) < dedupe.window;
            let same_id = match (&event.sender_id, row.get_ref(4)?.as_str_or_null()?) {
                (Some(ours), Some(theirs)) => **ours == *theirs,
                (None, None) => row.get_ref(2)?.as_str()? == &*event.topic,
                _ => false,
            };
            if !inside || !same_id || row.get::<_, i64>(1)? != source {
                return Ok(Repeat::None);
            }
            if dedupe.is_same(event, row.get_ref(5)?.as_blob()?) {
                return Ok(Repeat::Of(EventId(row.get(0)?), Some(seq)));
            }
            Ok(if event.sender_id.is_some() { Repeat::OnlyItsId } else { Repeat::None })
        });
        let found = match found.optional()? {
            // Of what is gone nothing but a hash of all of it is left.
            None => gone::repeated(db, seq, event, source, dedupe.window)?,
            found => found,
        };
        match found {
            Some(of @ Repeat::Of(..)) => return Ok(of),
            Some(Repeat::OnlyItsId) => repeat = Repeat::OnlyItsId,
            Some(Repeat::None) | None => {}
        }
    }
    Ok(repeat)
}

fn encode_plan(db: &Connection, names: &mut super::Names, append: &Append, out: &mut Vec<u8>) -> rusqlite::Result<()> {
    let plan = &append.plan;
    // Plans are short; most fit without another allocation.
    let mut numbers = [0; 16];
    let mut many = vec![];
    let numbers = match numbers.get_mut(..plan.targets.len()) {
        Some(few) => few,
        None => {
            many.resize(plan.targets.len(), 0);
            &mut many[..]
        }
    };
    for (number, target) in numbers.iter_mut().zip(&plan.targets) {
        *number = names.target(db, target)?.target;
    }
    out.clear();
    codec::encode(numbers.iter().copied(), plan, append.event.signed_with, out);
    Ok(())
}

fn insert_event(
    insert: &mut CachedStatement<'_>,
    seq: i64,
    source: i64,
    append: &Append,
    reused_id: bool,
    plan: &[u8],
) -> rusqlite::Result<()> {
    let event = &append.event;
    let crc = checksum(plan, &event.topic, event.headers.as_bytes(), &event.query, &event.body);
    insert.execute(params![
        seq,
        &event.id.0[..],
        source,
        &*event.topic,
        event.received_at.0,
        append.plan.targets.len() as i64,
        reused_id,
        append.dedupe.map(|Dedupe { key, .. }| key as i64),
        crc,
        plan,
        event.sender_id.as_deref(),
        &*event.query,
        event.headers.as_bytes(),
        &event.body[..],
    ])?;
    Ok(())
}

/// Over all that is sent on or decides where.
pub(super) fn checksum(plan: &[u8], topic: &str, headers: &[u8], query: &str, body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    for part in [plan, topic.as_bytes(), headers, query.as_bytes(), body] {
        crc.update(part);
    }
    crc.finalize()
}
