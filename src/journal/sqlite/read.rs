//! Reading rows back: what is open, what waits, and lists for people. Works on any connection; writes nothing.

use super::names::Names;
use super::write::{checksum, number_of};
use crate::journal::codec;
use crate::journal::store::{DeliveryFilter, Mark, OpenEvent, RowMark, Waiting};
use crate::model::{
    ConfigVersion, Cursor, DeliveryKey, DeliveryRow, Event, EventId, Headers, Kept, Loaded, Plan, SecretPlace, Seq, State, Target,
    Timestamp,
};
use bytes::Bytes;
use foldhash::{HashMap, HashMapExt};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::borrow::Cow;
use std::sync::Arc;

pub(super) const EVENT: &str = "seq, id, source, topic, received_at, plan, sender_id, query, headers, body, crc";
pub(super) const DELIVERY: &str = "event, target, ordinal, state, due_at, attempts, replays, updated_at, detail, message";

/// An event as it was read.
#[derive(Debug, Clone)]
pub struct Found {
    /// It.
    pub kept: Arc<Kept>,
    /// Whether its bytes are not those that were kept.
    pub damaged: bool,
}

/// The state of a number in the file.
pub(super) fn state_of(number: i64) -> Option<State> {
    [State::Waiting, State::Held, State::Delivered, State::Dead].into_iter().find(|state| number_of(*state) == number)
}

/// Events from `watermark` on and how many of their targets have no closing row.
pub(super) fn open_counts(db: &Connection, watermark: i64) -> rusqlite::Result<Vec<(Seq, u32)>> {
    let sql = "SELECT seq, targets - (SELECT count(DISTINCT target) FROM deliveries WHERE event = seq AND closes = 1) AS open
        FROM events WHERE seq >= ? AND open > 0 ORDER BY seq";
    let mut select = db.prepare_cached(sql)?;
    let rows = select.query_map([watermark], |row| Ok((Seq(row.get(0)?), row.get(1)?)))?;
    rows.collect()
}

/// Of each output, when the row was written that is due last, and when the last turn was given: the latest of it. A few seeks an output.
pub(super) fn dated(db: &Connection) -> rusqlite::Result<Timestamp> {
    let last = "SELECT updated_at FROM deliveries WHERE state = 0 AND output = ?1 AND (replays > 0) = ?2
        ORDER BY due_at DESC, event DESC, target DESC, ordinal DESC LIMIT 1";
    let turn = "SELECT max(turn_at) FROM deliveries WHERE output = ?1 AND turn_at IS NOT NULL";
    let outputs: Vec<i64> = db.prepare_cached("SELECT id FROM outputs")?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let (mut last, mut turn) = (db.prepare_cached(last)?, db.prepare_cached(turn)?);
    let mut dated = 0;
    for output in outputs {
        for replays in [false, true] {
            let written: Option<i64> = last.query_row(params![output, replays], |row| row.get(0)).optional()?;
            dated = dated.max(written.unwrap_or(0));
        }
        let given: Option<i64> = turn.query_row([output], |row| row.get(0))?;
        dated = dated.max(given.unwrap_or(0));
    }
    Ok(Timestamp(dated))
}

/// As [`Reads::open_events`](crate::journal::store::Reads::open_events).
pub fn open_events(db: &Connection, names: &mut Names, from: Seq, to: Seq, most: usize) -> rusqlite::Result<Vec<OpenEvent>> {
    let sql = format!(
        "SELECT {EVENT} FROM events WHERE seq BETWEEN ? AND ?
        AND targets > (SELECT count(DISTINCT target) FROM deliveries WHERE event = seq AND closes = 1) ORDER BY seq LIMIT ?"
    );
    let mut select = db.prepare_cached(&sql)?;
    let mut rows = select.query(params![from.0, to.0, most as i64])?;
    let mut open = vec![];
    while let Some(row) = rows.next()? {
        let found = event_of(db, names, row)?;
        let marks = row_marks(db, names, found.kept.seq)?;
        open.push(OpenEvent { kept: found.kept, rows: marks, damaged: found.damaged });
    }
    Ok(open)
}

fn row_marks(db: &Connection, names: &mut Names, seq: Seq) -> rusqlite::Result<Vec<RowMark>> {
    let mut select = db.prepare_cached("SELECT target, ordinal, closes FROM deliveries WHERE event = ? ORDER BY target, ordinal")?;
    let mut rows = select.query([seq.0])?;
    let mut marks = vec![];
    while let Some(row) = rows.next()? {
        if let Some(target) = names.target_of(db, row.get(0)?)? {
            marks.push(RowMark { target, ordinal: row.get(1)?, closes: row.get(2)? });
        }
    }
    Ok(marks)
}

/// As [`Reads::waiting`](crate::journal::store::Reads::waiting).
pub fn waiting(
    db: &Connection,
    names: &mut Names,
    output: &str,
    replays: bool,
    after: Cursor,
    due_by: Timestamp,
    most: usize,
) -> rusqlite::Result<Vec<Waiting>> {
    let Some(output) = names.output_number(db, output)? else { return Ok(vec![]) };
    let sql = format!(
        "SELECT {DELIVERY} FROM deliveries WHERE output = ? AND state = 0 AND (replays > 0) = ? AND due_at <= ? AND (due_at, event, target, ordinal) > (?, ?, ?, ?)
        ORDER BY due_at, event, target, ordinal LIMIT ?"
    );
    let mut select = db.prepare_cached(&sql)?;
    let (target, ordinal) = (after.nth >> 32, after.nth & 0xffff_ffff);
    let mut rows = select.query(params![output, replays, due_by.0, after.due_at.0, after.seq.0, target, ordinal, most as i64])?;
    let mut found = vec![];
    // Deliveries of one event stand side by side as a rule: it is read once.
    let mut events: HashMap<Seq, Found> = HashMap::new();
    while let Some(row) = rows.next()? {
        let Some((delivery, whole)) = delivery_of(db, names, row)? else { continue };
        let seq = delivery.key.seq;
        let event = match events.get(&seq) {
            Some(event) => event.clone(),
            None => match kept_of(db, names, seq)? {
                Some(event) => events.entry(seq).or_insert(event).clone(),
                None => continue,
            },
        };
        let cursor = Cursor { due_at: delivery.due_at.unwrap_or_default(), seq, nth: row.get::<_, i64>(1)? << 32 | row.get::<_, i64>(2)? };
        let loaded = Loaded { kept: event.kept, row: delivery };
        found.push(Waiting { cursor, loaded, damaged: event.damaged || !whole });
    }
    Ok(found)
}

/// As [`Reads::next_due`](crate::journal::store::Reads::next_due).
pub fn next_due(db: &Connection, names: &mut Names, output: &str, replays: bool, after: Timestamp) -> rusqlite::Result<Option<Timestamp>> {
    let Some(output) = names.output_number(db, output)? else { return Ok(None) };
    let sql = "SELECT min(due_at) FROM deliveries WHERE output = ? AND state = 0 AND (replays > 0) = ? AND due_at > ?";
    db.prepare_cached(sql)?.query_row(params![output, replays, after.0], |row| Ok(row.get::<_, Option<i64>>(0)?.map(Timestamp)))
}

/// The event at a place.
pub fn kept_of(db: &Connection, names: &mut Names, seq: Seq) -> rusqlite::Result<Option<Found>> {
    let mut select = db.prepare_cached(&format!("SELECT {EVENT} FROM events WHERE seq = ?"))?;
    let mut rows = select.query([seq.0])?;
    rows.next()?.map(|row| event_of(db, names, row)).transpose()
}

/// The place of an event by its id. Ids carry the time of arrival, so the index of times is searched: first its
/// millisecond, then around it, for a clock that was set in between.
pub fn find_event(db: &Connection, id: EventId) -> rusqlite::Result<Option<Seq>> {
    let mut millis = [0; 8];
    millis[2..].copy_from_slice(&id.0[..6]);
    let at = i64::from_be_bytes(millis);
    let mut select = db.prepare_cached("SELECT seq FROM events WHERE received_at BETWEEN ? AND ? AND id = ?")?;
    for around in [0, 100, 10_000] {
        let found = select.query_row(params![at.saturating_sub(around), at.saturating_add(around), &id.0[..]], |row| row.get(0));
        if let Some(seq) = found.optional()? {
            return Ok(Some(Seq(seq)));
        }
    }
    Ok(None)
}

/// Reads a row's columns one by one and notes what cannot be: one bad byte must not hide the rows beside it.
struct Cells<'r> {
    row: &'r Row<'r>,
    whole: bool,
}

impl<'r> Cells<'r> {
    fn number(&mut self, column: usize) -> rusqlite::Result<i64> {
        let found = self.row.get_ref(column)?.as_i64().ok();
        self.whole &= found.is_some();
        Ok(found.unwrap_or_default())
    }
    fn bytes(&mut self, column: usize) -> rusqlite::Result<&'r [u8]> {
        let found = self.row.get_ref(column)?.as_bytes_or_null().ok().flatten();
        self.whole &= found.is_some();
        Ok(found.unwrap_or_default())
    }
    fn text(&mut self, column: usize) -> rusqlite::Result<Cow<'r, str>> {
        let text = String::from_utf8_lossy(self.bytes(column)?);
        self.whole &= matches!(text, Cow::Borrowed(_));
        Ok(text)
    }
    fn text_or_null(&mut self, column: usize) -> rusqlite::Result<Option<Cow<'r, str>>> {
        if self.row.get_ref(column)? == ValueRef::Null { Ok(None) } else { self.text(column).map(Some) }
    }
    fn id(&mut self, column: usize) -> rusqlite::Result<EventId> {
        let id = self.bytes(column)?.try_into();
        self.whole &= id.is_ok();
        Ok(EventId(id.unwrap_or_default()))
    }
}

pub(super) fn event_of(db: &Connection, names: &mut Names, row: &Row<'_>) -> rusqlite::Result<Found> {
    let mut cells = Cells { row, whole: true };
    let (topic, query) = (cells.text(3)?, cells.text(7)?);
    let (plan, headers, body) = (cells.bytes(5)?, cells.bytes(8)?, cells.bytes(9)?);
    let crc = cells.number(10)?;
    let source = names.source_of(db, cells.number(2)?)?;
    let (plan_read, signed_with) = plan_of(db, names, plan)?.map_or((None, None), |(plan, signed_with)| (Some(plan), signed_with));
    let event = Event {
        id: cells.id(1)?,
        source: source.clone().unwrap_or_else(|| "?".into()),
        topic: (*topic).into(),
        received_at: Timestamp(cells.number(4)?),
        headers: Headers::from_block(headers.to_vec()),
        query: (*query).into(),
        body: Bytes::copy_from_slice(body),
        sender_id: cells.text_or_null(6)?.map(|id| (*id).into()),
        signed_with,
    };
    let same = i64::from(checksum(plan, &topic, headers, &query, body)) == crc;
    let damaged = !cells.whole || !same || source.is_none() || plan_read.is_none();
    Ok(Found { kept: Arc::new(Kept { seq: Seq(row.get(0)?), event, plan: plan_read.unwrap_or_default() }), damaged })
}

/// A plan, and by which secret its event was proven.
fn plan_of(db: &Connection, names: &mut Names, blob: &[u8]) -> rusqlite::Result<Option<(Plan, Option<SecretPlace>)>> {
    let Some(blob) = codec::decode(blob) else { return Ok(None) };
    let mut targets = Vec::with_capacity(blob.targets.len());
    for number in blob.targets {
        match names.target_of(db, number)? {
            Some(target) => targets.push(target),
            None => return Ok(None),
        }
    }
    let plan = Plan { targets, failed: blob.failed, ordered: blob.ordered, collected: vec![], versions: blob.versions };
    Ok(Some((plan, blob.signed_with)))
}

/// A delivery's row and whether all of it reads back; `None`: its target or state is not one of ours.
pub(super) fn delivery_of(db: &Connection, names: &mut Names, row: &Row<'_>) -> rusqlite::Result<Option<(DeliveryRow, bool)>> {
    let mut cells = Cells { row, whole: true };
    let (Some(target), Some(state)) = (names.target_of(db, cells.number(1)?)?, state_of(cells.number(3)?)) else { return Ok(None) };
    let stored = row.get_ref(9)?.as_bytes_or_null().ok().flatten();
    let message = stored.map(codec::unseal);
    let short = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    let delivery = DeliveryRow {
        key: DeliveryKey { seq: Seq(row.get(0)?), target, ordinal: short(cells.number(2)?) },
        state,
        due_at: row.get_ref(4)?.as_i64_or_null().ok().flatten().map(Timestamp),
        attempts: short(cells.number(5)?),
        replays: short(cells.number(6)?),
        updated_at: Timestamp(cells.number(7)?),
        detail: cells.text(8)?.into_owned(),
        message: message.clone().flatten().map(Arc::new),
    };
    Ok(Some((delivery, cells.whole && !matches!(message, Some(None)))))
}

/// The rows of one event.
pub fn deliveries_of(db: &Connection, names: &mut Names, seq: Seq) -> rusqlite::Result<Vec<DeliveryRow>> {
    let mut select = db.prepare_cached(&format!("SELECT {DELIVERY} FROM deliveries WHERE event = ? ORDER BY target, ordinal"))?;
    let mut rows = select.query([seq.0])?;
    let mut found = vec![];
    while let Some(row) = rows.next()? {
        found.extend(delivery_of(db, names, row)?.map(|(delivery, _)| delivery));
    }
    Ok(found)
}

/// A delivery's numbers: event, target, ordinal.
pub type Place = (i64, i64, i64);

/// Which way, from where and how far a scan of deliveries goes.
#[derive(Debug, Clone, Copy)]
pub struct Scan {
    /// Only this state, over its own index; `None`: all.
    pub state: Option<State>,
    /// Starts after this one (event, target, ordinal).
    pub from: Place,
    /// From the newest event to the oldest.
    pub newest_first: bool,
    /// Rows looked at, at most.
    pub most: usize,
}

/// A delivery that a scan met.
#[derive(Debug, Clone)]
pub struct Hit {
    /// Its numbers: event, target, ordinal.
    pub place: Place,
    /// Its event's id.
    pub event: EventId,
    /// Its event's source.
    pub source: Arc<str>,
    /// Its event's topic.
    pub topic: Arc<str>,
    /// When its event was received.
    pub received_at: Timestamp,
    /// Under which configuration it was planned.
    pub config: Option<ConfigVersion>,
    /// Itself.
    pub row: DeliveryRow,
}

/// Looks at a bounded number of deliveries and gives those that the filter means, and where to go on; `None`: at the end.
pub fn scan(db: &Connection, names: &mut Names, filter: &DeliveryFilter, scan: Scan) -> rusqlite::Result<(Vec<Hit>, Option<Place>)> {
    // A number, never a parameter: the planner must see that the partial index of the state holds all.
    let state = scan.state.map(|state| format!("AND state = {}", number_of(state))).unwrap_or_default();
    let (than, order) = if scan.newest_first { ("<", "DESC") } else { (">", "ASC") };
    let sql = format!(
        "SELECT {DELIVERY} FROM deliveries WHERE (event, target, ordinal) {than} (?, ?, ?) AND event BETWEEN ? AND ? {state}
        ORDER BY event {order}, target {order}, ordinal {order} LIMIT ?"
    );
    let mut select = db.prepare_cached(&sql)?;
    let last = filter.through.map_or(i64::MAX, |through| through.0);
    let (lowest, highest) = filter.event.map_or((0, last), |event| (event.0, event.0));
    let (event, target, ordinal) = scan.from;
    let mut rows = select.query(params![event, target, ordinal, lowest, highest, scan.most as i64])?;
    let (mut hits, mut seen, mut last) = (vec![], 0, None);
    while let Some(row) = rows.next()? {
        let place = (row.get(0)?, row.get(1)?, row.get(2)?);
        seen += 1;
        last = Some(place);
        let (Some(target), Some(state)) = (names.target_of(db, place.1)?, state_of(row.get(3)?)) else { continue };
        if !filter.holds_row(Seq(place.0), &target, state, Timestamp(row.get(7)?)) {
            continue;
        }
        let Some(Head { event, source, topic, received_at, plan }) = head_of(db, names, place.0)? else { continue };
        if filter.holds_event(&source, &topic, received_at)
            && let Some((row, _)) = delivery_of(db, names, row)?
        {
            let config = codec::decode(&plan).and_then(|plan| plan.version_of(place.1));
            hits.push(Hit { place, event, source, topic, received_at, config, row });
        }
    }
    Ok((hits, last.filter(|_| seen == scan.most)))
}

/// What lists show of an event.
struct Head {
    event: EventId,
    source: Arc<str>,
    topic: Arc<str>,
    received_at: Timestamp,
    plan: Vec<u8>,
}

/// Read without the body.
fn head_of(db: &Connection, names: &mut Names, seq: i64) -> rusqlite::Result<Option<Head>> {
    let mut select = db.prepare_cached("SELECT id, source, topic, received_at, plan FROM events WHERE seq = ?")?;
    let found = select.query_row([seq], |row| {
        let topic: Arc<str> = row.get::<_, String>(2)?.into();
        let head = Head { event: EventId(row.get(0)?), source: "?".into(), topic, received_at: Timestamp(row.get(3)?), plan: row.get(4)? };
        Ok((row.get(1)?, head))
    });
    let Some((source, head)) = found.optional()? else { return Ok(None) };
    Ok(Some(Head { source: names.source_of(db, source)?.unwrap_or(head.source), ..head }))
}

/// A bounded page of events, newest first, each with its body's length: `(event without body, length, reused id, targets)`.
pub fn events_page(db: &Connection, before: Seq, most: usize, bodies: bool) -> rusqlite::Result<Vec<RawEvent>> {
    let body = if bodies { "body" } else { "NULL" };
    let sql = format!(
        "SELECT seq, id, source, topic, received_at, sender_id, length(body), reused_id, targets, {body}, plan FROM events WHERE seq < ? ORDER BY seq DESC LIMIT ?"
    );
    let mut select = db.prepare_cached(&sql)?;
    let rows = select.query_map(params![before.0, most as i64], |row| {
        Ok(RawEvent {
            seq: Seq(row.get(0)?),
            id: EventId(row.get(1)?),
            source: row.get(2)?,
            topic: row.get(3)?,
            received_at: Timestamp(row.get(4)?),
            sender_id: row.get(5)?,
            bytes: row.get(6)?,
            reused_id: row.get(7)?,
            targets: row.get(8)?,
            body: row.get::<_, Option<Vec<u8>>>(9)?.unwrap_or_default(),
            config: row.get_ref(10)?.as_blob().ok().and_then(codec::decode).and_then(|plan| plan.version_at(0)),
        })
    })?;
    rows.collect()
}

/// An event as a list reads it.
#[derive(Debug)]
pub struct RawEvent {
    pub seq: Seq,
    pub id: EventId,
    pub source: i64,
    pub topic: String,
    pub received_at: Timestamp,
    pub sender_id: Option<String>,
    pub bytes: u32,
    pub reused_id: bool,
    pub targets: u32,
    pub body: Vec<u8>,
    pub config: Option<ConfigVersion>,
}

/// Where a scan from the start begins.
pub(super) fn place_of(mark: Mark) -> Place {
    (mark.1, mark.2, mark.3)
}

/// Numbers of a target, where the journal knows it.
pub(super) fn target_number(db: &Connection, target: &Target) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT targets.id FROM targets JOIN outputs ON outputs.id = targets.output WHERE route = ? AND name = ?";
    db.prepare_cached(sql)?.query_row(params![&*target.route, &*target.output], |row| row.get(0)).optional()
}
