//! Copying what can be read of a damaged journal into a new one, row by row, and what is damaged into a file of its own.

use super::gap::Gap;
use super::repair::Repaired;
use super::source::Source;
use crate::journal::backlog::DAMAGED;
use crate::journal::sqlite::{self, Found, LooseRow, Names};
use crate::model::{BEHIND, COLLECTED, Seq, State, Timestamp};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, Row, params_from_iter};
use std::collections::BTreeMap;

/// Events copied in one transaction.
const SLICE: i64 = 1_000;

/// Tables that are copied as they are, from which schema on, and their columns.
const PLAIN: [(&str, i64, &str); 9] = [
    ("sources", 1, "id, name"),
    ("outputs", 1, "id, name"),
    ("targets", 1, "id, route, output"),
    ("meta", 1, "key, value"),
    ("vault", 2, "key, version, sealed"),
    ("gone", sqlite::SCHEMA_WITH_GONE, "seq, id, received_at, dedupe, who, what"),
    ("duplicates", sqlite::SCHEMA_WITH_DUPLICATES, "n, id, event, received_at, topic, query, headers"),
    ("replays", sqlite::SCHEMA_WITH_REPLAYS, sqlite::REPLAY_COLUMNS),
    ("configs", sqlite::SCHEMA_WITH_CONFIGS, "version, nth, since, text"),
];
/// What the file beside holds: columns without types, for they hold whatever was found.
const SIDE: &str = "CREATE TABLE events(place, why, id, source, topic, received_at, targets, reused_id, dedupe, crc, plan, sender_id, query, headers, body);
    CREATE TABLE deliveries(place, why, target, ordinal, output, state, closes, due_at, attempts, replays, updated_at, detail, message);
    CREATE TABLE lost(what);";
const EVENT: &str = "id, source, topic, received_at, targets, reused_id, dedupe, crc, plan, sender_id, query, headers, body";
const ROW: &str = "target, ordinal, output, state, closes, due_at, attempts, replays, updated_at, detail, message";

/// From where, to where, and what was found.
pub struct Salvage<'s> {
    pub from: &'s Source,
    pub names: Names,
    pub to: &'s Connection,
    pub side: &'s Connection,
    pub report: &'s mut Repaired,
}

impl Salvage<'_> {
    /// Copies all that can be read.
    pub fn run(mut self, now: Timestamp) -> rusqlite::Result<()> {
        self.side.execute_batch(SIDE)?;
        if let Some(lost) = &self.from.lost {
            self.lose(lost.clone())?;
        }
        for (table, since, columns) in PLAIN {
            if self.from.schema >= since {
                self.plain(table, columns)?;
            }
        }
        self.names.reload(self.to)?;
        let (last, known) = self.last()?;
        let (mut events, mut rows) = (Gap::default(), Gap::default());
        let mut from = 1;
        while from <= last {
            let to = from.saturating_add(SLICE - 1).min(last);
            let slice = self.to.unchecked_transaction()?;
            self.events(from, to, &mut events)?;
            self.deliveries(from, to, &mut rows)?;
            slice.commit()?;
            from = to + 1;
        }
        self.lost_events(events.end())?;
        self.lost_rows(rows.end())?;
        if !known {
            self.lose(format!("what came after place {last} can't be read, and nothing says what that was"))?;
        }
        self.lines(now)?;
        self.watermark()
    }

    fn lose(&mut self, what: String) -> rusqlite::Result<()> {
        self.side.execute("INSERT INTO lost(what) VALUES(?)", [&what])?;
        self.report.lose(what);
        Ok(())
    }

    /// One of the small tables: until it can't be read any further.
    fn plain(&mut self, table: &str, columns: &str) -> rusqlite::Result<()> {
        let mut select = match self.from.db.prepare(&format!("SELECT {columns} FROM {table}")) {
            Ok(select) => select,
            Err(error) => return unreadable(error).and_then(|()| self.lose(format!("the table of {table} can't be read"))),
        };
        let insert = format!("INSERT OR IGNORE INTO {table}({columns}) VALUES({})", places(columns));
        let mut rows = select.query([])?;
        loop {
            match rows.next() {
                Ok(Some(row)) => self.copy(&insert, row, 0..columns.split(',').count()).map(drop)?,
                Ok(None) => return Ok(()),
                Err(error) => return unreadable(error).and_then(|()| self.lose(format!("some of the table of {table} can't be read"))),
            }
        }
    }

    /// The last event's place: by the table, else by its index, else by the deliveries; else the last that can be read, and false.
    fn last(&self) -> rusqlite::Result<(i64, bool)> {
        let ways = [
            "SELECT max(seq) FROM events",
            "SELECT max(seq) FROM (SELECT seq FROM events INDEXED BY events_received)",
            "SELECT max(event) FROM deliveries",
        ];
        for way in ways {
            match self.from.db.query_row(way, [], |row| row.get::<_, Option<i64>>(0)) {
                Ok(last) => return Ok((last.unwrap_or(0), true)),
                Err(error) => unreadable(error)?,
            }
        }
        // The furthest step that finds an event, again and again: beyond the last that there is, each is kept from it by what can't be read.
        let mut last = 0;
        while let Some(further) = (0..i64::BITS - 2).rev().find_map(|step| self.first_from(last + (1 << step))) {
            last = further;
        }
        Ok((last, false))
    }

    /// The first event from a place on, if that can be read.
    fn first_from(&self, place: i64) -> Option<i64> {
        let first = "SELECT seq FROM events WHERE seq >= ? ORDER BY seq LIMIT 1";
        let found = self.from.db.prepare_cached(first).and_then(|mut first| first.query_row([place], |row| row.get(0)));
        found.ok().filter(|found| *found >= place)
    }

    /// Events of these places; where a page can't be read, the places around it are tried one by one.
    fn events(&mut self, from: i64, to: i64, gap: &mut Gap) -> rusqlite::Result<()> {
        let mut ranges = vec![(from, to)];
        while let Some((from, to)) = ranges.pop() {
            let mut after = from - 1;
            let whole = match self.events_in(from, to, &mut after) {
                Err(error) => unreadable(error).map(|()| false)?,
                Ok(whole) => whole,
            };
            if after >= from {
                self.lost_events(gap.end())?;
            }
            match (after + 1).cmp(&to) {
                std::cmp::Ordering::Equal if !whole => self.lost_events(gap.with(to))?,
                std::cmp::Ordering::Less if !whole => {
                    let middle = after + 1 + (to - after - 1) / 2;
                    ranges.extend([(middle + 1, to), (after + 1, middle)]);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Places that can't be read, as the index of times knows them: most of them may never have had an event.
    fn lost_events(&mut self, gap: Option<(i64, i64)>) -> rusqlite::Result<()> {
        let Some((from, to)) = gap else { return Ok(()) };
        let mut known = vec![];
        let named = self.named(from, to, &mut known);
        known.sort_unstable();
        for (place, at) in known {
            self.lose(format!("the event at place {place}, received {}, can't be read", Timestamp(at)))?;
        }
        match named {
            Ok(()) => Ok(()),
            Err(error) => unreadable(error).and_then(|()| self.lose(format!("what was at {} can't be read", Gap::place(from, to)))),
        }
    }

    fn named(&self, from: i64, to: i64, known: &mut Vec<(i64, i64)>) -> rusqlite::Result<()> {
        let at = "SELECT seq, received_at FROM events INDEXED BY events_received WHERE +seq BETWEEN ? AND ?";
        let mut at = self.from.db.prepare_cached(at)?;
        let mut rows = at.query([from, to])?;
        while let Some(row) = rows.next()? {
            known.push((row.get(0)?, row.get(1)?));
        }
        Ok(())
    }

    fn lost_rows(&mut self, gap: Option<(i64, i64)>) -> rusqlite::Result<()> {
        let Some((from, to)) = gap else { return Ok(()) };
        let event = if from == to { "the event" } else { "the events" };
        self.lose(format!("rows of deliveries of {event} at {} can't be read: these are delivered again", Gap::place(from, to)))
    }

    /// False: from some place on rows are not where they should be.
    fn events_in(&mut self, from: i64, to: i64, after: &mut i64) -> rusqlite::Result<bool> {
        let (db, mut found) = (&self.from.db, vec![]);
        // One at a time: whether its bytes are those that were kept is asked of the whole row.
        let mut select = db.prepare_cached(&format!("SELECT seq, {EVENT} FROM events WHERE seq BETWEEN ? AND ? ORDER BY seq"))?;
        let mut rows = select.query([from, to])?;
        while let Some(row) = rows.next()? {
            let seq: i64 = row.get(0)?;
            if seq <= *after {
                // What was cut off a page reads as rows of nothing.
                return Ok(false);
            }
            sqlite::each_event(db, &mut self.names, Seq(seq - 1), 1, |event, _| found.push(event))?;
            self.event(row, found.pop().filter(|event| event.kept.seq.0 == seq))?;
            *after = seq;
        }
        Ok(true)
    }

    fn event(&mut self, row: &Row<'_>, found: Option<Found>) -> rusqlite::Result<()> {
        let columns = EVENT.split(',').count();
        if let Some(event) = found.as_ref().filter(|event| !event.damaged) {
            let insert = format!("INSERT INTO events(seq, {EVENT}) VALUES(?, {})", places(EVENT));
            if self.copy(&insert, row, 0..=columns)? {
                let targets = event.kept.plan.targets.len() as i64;
                self.to
                    .prepare_cached("UPDATE events SET targets = ? WHERE seq = ? AND targets <> ?1")?
                    .execute([targets, event.kept.seq.0])?;
                self.report.events += 1;
                return Ok(());
            }
        }
        let place: i64 = row.get(0)?;
        let why = "its bytes are not those that were kept";
        self.aside("events", EVENT, place, why, row)?;
        let id = found.map(|event| event.kept.event.id.to_string()).unwrap_or_default();
        self.lose(format!("event {id} (place {place}): {why}"))
    }

    /// Writes a row that is not taken along to the file beside; the first column is the place.
    fn aside(&mut self, table: &str, columns: &str, place: i64, why: &str, row: &Row<'_>) -> rusqlite::Result<()> {
        let values: Vec<ValueRef<'_>> = (1..=columns.split(',').count()).map(|column| row.get_ref(column)).collect::<Result<_, _>>()?;
        let first = [ValueRef::Integer(place), ValueRef::Text(why.as_bytes())];
        let all = first.into_iter().chain(values).map(ToSqlOutput::Borrowed);
        let insert = format!("INSERT INTO {table}(place, why, {columns}) VALUES(?, ?, {})", places(columns));
        self.side.prepare_cached(&insert)?.execute(params_from_iter(all))?;
        self.report.aside += 1;
        Ok(())
    }

    /// Copies a row's columns; false: they are not of the types that they must be.
    fn copy(&self, insert: &str, row: &Row<'_>, columns: impl Iterator<Item = usize>) -> rusqlite::Result<bool> {
        let values: Vec<ToSqlOutput<'_>> =
            columns.map(|column| row.get_ref(column).map(ToSqlOutput::Borrowed)).collect::<Result<_, _>>()?;
        match self.to.prepare_cached(insert)?.execute(params_from_iter(values)) {
            Ok(_) => Ok(true),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Rows of the deliveries of these places, event by event where a page can't be read.
    fn deliveries(&mut self, from: i64, to: i64, gap: &mut Gap) -> rusqlite::Result<()> {
        let Err(error) = self.deliveries_in(from, to) else { return Ok(()) };
        unreadable(error)?;
        for place in from..=to {
            if let Err(error) = self.deliveries_in(place, place) {
                unreadable(error)?;
                let there: bool = self.to.prepare_cached("SELECT 1 FROM events WHERE seq = ?")?.exists([place])?;
                if there {
                    self.lost_rows(gap.with(place))?;
                }
            }
        }
        Ok(())
    }

    fn deliveries_in(&mut self, from: i64, to: i64) -> rusqlite::Result<()> {
        let db = &self.from.db;
        let order = match self.from.schema {
            sqlite::SCHEMA_WITH_ON_DEAD.. => ", order_key, turn_at, on_dead",
            sqlite::SCHEMA_WITH_ORDER.. => ", order_key, turn_at",
            _ => "",
        };
        let mut loose: BTreeMap<(i64, i64, i64), LooseRow> = BTreeMap::new();
        let mut select = db.prepare_cached(&format!(
            "SELECT event, {ROW}{order} FROM deliveries WHERE event BETWEEN ? AND ? ORDER BY event, target, ordinal"
        ))?;
        let mut rows = select.query([from, to])?;
        let mut read = None;
        while let Some(row) = rows.next()? {
            let place = (row.get::<_, i64>(0)?, row.get_ref(1)?.as_i64().unwrap_or(-1), row.get_ref(2)?.as_i64().unwrap_or(-1));
            if read != Some(place.0) {
                loose.clear();
                let mut nth = vec![];
                sqlite::each_row(db, &mut self.names, Seq(place.0 - 1), Seq(place.0), |row| nth.push(row))?;
                loose.extend(nth.into_iter().map(|row| (row.place, row)));
                read = Some(place.0);
            }
            self.delivery(row, place, loose.get(&place), order)?;
        }
        Ok(())
    }

    fn delivery(&mut self, row: &Row<'_>, place: (i64, i64, i64), loose: Option<&LooseRow>, order: &str) -> rusqlite::Result<()> {
        let known = loose.and_then(|loose| Some((loose, loose.row.as_ref()?)));
        let planned = match known {
            Some((_, delivery)) => self.is_planned(place.0, &delivery.key.target)?,
            None => false,
        };
        let Some((loose, delivery)) = known.filter(|_| planned) else {
            // Its event is gone with what it is worth, and was told.
            return self.aside("deliveries", ROW, place.0, "its event, its plan or its target is not there", row);
        };
        let columns = ROW.split(',').count() + order.matches(',').count();
        let insert = format!("INSERT OR IGNORE INTO deliveries(event, {ROW}{order}) VALUES(?, {})", places(&format!("{ROW}{order}")));
        if !self.copy(&insert, row, 0..=columns)? {
            self.aside("deliveries", ROW, place.0, "its values are of wrong types", row)?;
            return self
                .lose(format!("a row of the delivery {} of the event at place {}: it is delivered again", delivery.key.target, place.0));
        }
        self.report.deliveries += 1;
        let mend = "UPDATE deliveries SET output = (SELECT output FROM targets WHERE id = target),
            due_at = CASE state WHEN 0 THEN coalesce(due_at, updated_at) WHEN 1 THEN due_at END WHERE event = ? AND target = ? AND ordinal = ?";
        self.to.prepare_cached(mend)?.execute(place)?;
        if !loose.whole {
            self.aside("deliveries", ROW, place.0, "its message or its words are not those that were kept", row)?;
            self.unusable(place)?;
            if matches!(delivery.state, State::Waiting | State::Held) {
                let target = &delivery.key.target;
                self.lose(format!(
                    "the message of the delivery {target} of the event at place {}: it is dead, and can be replayed",
                    place.0
                ))?;
            }
        }
        Ok(())
    }

    fn is_planned(&mut self, event: i64, target: &crate::model::Target) -> rusqlite::Result<bool> {
        let mut planned = false;
        sqlite::each_event(self.to, &mut self.names, Seq(event - 1), 1, |found, _| {
            planned = found.kept.seq.0 == event && found.kept.plan.targets.iter().any(|planned| **planned == *target);
        })?;
        Ok(planned)
    }

    /// Without its message: what was not over is dead, as the daemon would have made it.
    fn unusable(&self, place: (i64, i64, i64)) -> rusqlite::Result<()> {
        let dead = "UPDATE deliveries SET state = iif(state IN (0, 1), 3, state), due_at = NULL, message = NULL, detail = ?,
            order_key = NULL, turn_at = NULL WHERE event = ? AND target = ? AND ordinal = ?";
        self.to.prepare_cached(dead)?.execute((DAMAGED, place.0, place.1, place.2)).map(drop)
    }

    /// Who stands first in a line has the turn; who waits behind nobody goes on.
    fn lines(&mut self, now: Timestamp) -> rusqlite::Result<()> {
        let first = "NOT EXISTS (SELECT 1 FROM deliveries AS other WHERE other.output = deliveries.output AND other.order_key = deliveries.order_key
            AND (other.event, other.target, other.ordinal) < (deliveries.event, deliveries.target, deliveries.ordinal))";
        let turn = format!(
            "UPDATE deliveries SET state = 0, due_at = ?1, updated_at = ?1, detail = 'has its turn', turn_at = iif(order_key IS NULL, NULL, ?1)
            WHERE state = 1 AND detail IN (?2, ?3) AND {first}"
        );
        self.to.execute(&turn, (now.0, BEHIND, COLLECTED)).map(drop)
    }

    /// What was planned and has no row any more is delivered: recovery begins at the lowest such event.
    fn watermark(&mut self) -> rusqlite::Result<()> {
        let open =
            "SELECT min(seq), total(targets - (SELECT count(DISTINCT target) FROM deliveries WHERE event = seq AND closes = 1)) FROM events
            WHERE targets > (SELECT count(DISTINCT target) FROM deliveries WHERE event = seq AND closes = 1)";
        let (lowest, missing): (Option<i64>, f64) = self.to.query_row(open, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        self.report.to_deliver = missing as u64;
        let before = sqlite::watermark(self.to)?.0;
        let last: Option<i64> = self.to.query_row("SELECT max(seq) FROM events", [], |row| row.get(0))?;
        // Where the old one could not be read: after the last event, so that no place is given twice.
        let watermark = lowest.unwrap_or(i64::MAX).min(before.max(last.unwrap_or(0) + 1));
        self.to.execute(
            "INSERT INTO meta(key, value) VALUES('watermark', ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value",
            [watermark],
        )?;
        Ok(())
    }
}

/// Passes over what is damaged; anything else ends the repair.
fn unreadable(error: rusqlite::Error) -> rusqlite::Result<()> {
    // Of a schema that can't be read some tables are not there: `Unknown`, as what is asked for is ours.
    let codes = [ErrorCode::DatabaseCorrupt, ErrorCode::SystemIoFailure, ErrorCode::Unknown];
    let damaged = error.sqlite_error_code().is_some_and(|code| codes.contains(&code))
        || matches!(error, rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..));
    if damaged { Ok(()) } else { Err(error) }
}

/// `?, ?, ?`: one for each column.
fn places(columns: &str) -> String {
    vec!["?"; columns.split(',').count()].join(", ")
}
