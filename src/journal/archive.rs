//! The journal for people and for what reads beside the writer: lists, one event, counts, the audit.
//!
//! Does: reads on connections of its own that cannot write. Every list is paged by place, and a call stops after
//! [`READ_MAX`] with what it has and where to go on, because a read that stays open keeps the log from being reused.
//! All calls block on the disk. Never: holds a read open between two calls.

use super::replay::ReplayJob;
use super::sqlite::{self, Names, Scan, trouble};
use super::store::{Collected, Dead, DeliveryFilter, KeptConfig, OpenEvent, Reads, Sealed, StoreError, TopicMatch, Waiting};
use crate::model::{
    COLLECTED, Clock, ConfigVersion, Cursor, DeliveryId, DeliveryKey, DeliveryRow, EventId, Kept, Seq, State, Target, Timestamp,
    stands_in_line,
};
use rusqlite::{Connection, params};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// After so long a list gives what it has.
pub const READ_MAX: Duration = Duration::from_millis(200);
/// Connections kept open for the next read; more are opened when more read at once.
const READERS: usize = 4;
/// Rows that one statement of a list looks at.
const STEP: usize = 2_000;
/// Events that one statement of the audit looks at.
const AUDIT_STEP: i64 = 5_000;

/// Reading connections of one journal.
#[derive(Clone)]
pub struct Archive(Arc<Pool>);

struct Pool {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    readers: Mutex<Vec<Reader>>,
}

struct Reader {
    db: Connection,
    names: Names,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Archive").field(&self.0.path).finish()
    }
}

/// Some rows and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, P> {
    /// Newest first.
    pub rows: Vec<T>,
    /// Ask with this for more; `None`: there are none. A page may be short of what was asked and still have more behind it.
    pub next: Option<P>,
}

/// Which events. What is `None` does not restrict.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventFilter {
    /// From this source.
    pub source: Option<String>,
    /// About this.
    pub topic: Option<TopicMatch>,
    /// Received at or after.
    pub since: Option<Timestamp>,
    /// Received before.
    pub until: Option<Timestamp>,
    /// With these bytes somewhere in the body.
    pub text: Option<String>,
}

/// An event in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLine {
    /// Its place.
    pub seq: Seq,
    /// Its id.
    pub id: EventId,
    /// Its source.
    pub source: Arc<str>,
    /// What it is about.
    pub topic: String,
    /// When.
    pub received_at: Timestamp,
    /// The sender's own id.
    pub sender_id: Option<String>,
    /// Bytes of its body.
    pub bytes: u32,
    /// How many targets its plan has.
    pub targets: u32,
    /// Whether the sender had used the id before, for another body.
    pub reused_id: bool,
    /// Under which configuration it was planned.
    pub config: Option<ConfigVersion>,
}

/// One event with all that is known of it.
#[derive(Debug, Clone)]
pub struct EventView {
    /// The event and its plan.
    pub kept: Arc<Kept>,
    /// Whether its bytes are not those that were kept.
    pub damaged: bool,
    /// Its deliveries that have a row.
    pub deliveries: Vec<DeliveryRow>,
}

/// A delivery in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryLine {
    /// Where it stands; those of newer events are greater.
    pub place: DeliveryPlace,
    /// Its stable id.
    pub id: DeliveryId,
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
    /// Its row.
    pub row: DeliveryRow,
}

/// Where a list of deliveries goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeliveryPlace {
    pub(super) event: i64,
    pub(super) target: i64,
    pub(super) ordinal: i64,
}

/// What an output has in the journal that is not over or not well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputCounts {
    /// Which.
    pub output: Arc<str>,
    /// Deliveries that wait.
    pub waiting: u64,
    /// Deliveries that are held.
    pub held: u64,
    /// Deliveries that are dead.
    pub dead: u64,
    /// When the first of the waiting ones is due.
    pub oldest_due: Option<Timestamp>,
}

/// By both halves of the index: over all at once it would look at every row.
const OLDEST_DUE: &str =
    "SELECT min(due_at) FROM (SELECT min(due_at) AS due_at FROM deliveries WHERE output = ?1 AND state = 0 AND (replays > 0) = 0
    UNION ALL SELECT min(due_at) FROM deliveries WHERE output = ?1 AND state = 0 AND (replays > 0) = 1)";

/// The journal's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// The oldest event.
    pub first: Option<Seq>,
    /// The newest event.
    pub last: Option<Seq>,
    /// When the oldest was received.
    pub oldest: Option<Timestamp>,
    /// Bytes of the database file.
    pub bytes: u64,
    /// Bytes of it that are free.
    pub free_bytes: u64,
    /// The watermark as it stands in the file.
    pub watermark: Seq,
}

/// Whether each event's plan is accounted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Audit {
    /// Events looked at.
    pub events: u64,
    /// Targets of their plans.
    pub planned: u64,
    /// Deliveries that wait.
    pub waiting: u64,
    /// Deliveries that are held.
    pub held: u64,
    /// Deliveries that are delivered.
    pub delivered: u64,
    /// Deliveries that are dead.
    pub dead: u64,
    /// Targets under way: their event is at or above the watermark.
    pub open: u64,
    /// Targets without all their rows whose event is below the watermark: nobody will deliver them. Must be zero (L1).
    pub lost: u64,
}

impl Archive {
    /// For the journal at `path`, which a [`SqliteStore`](sqlite::SqliteStore) has opened before.
    pub fn new(path: &Path, clock: Arc<dyn Clock>) -> Self {
        Archive(Arc::new(Pool { path: path.to_owned(), clock, readers: Mutex::new(vec![]) }))
    }

    /// Events, newest first, before a place.
    pub fn events(&self, filter: &EventFilter, before: Option<Seq>, most: usize) -> Result<Page<EventLine, Seq>, StoreError> {
        let until = self.0.clock.now() + READ_MAX;
        let mut rows = vec![];
        let mut before = before.unwrap_or(Seq(i64::MAX));
        while rows.len() < most {
            let step = if filter.text.is_some() { STEP / 10 } else { STEP.min(most.saturating_mul(4).max(64)) };
            let found = self.read("list events", |db, names| {
                let raw = sqlite::events_page(db, before, step, filter.text.is_some())?;
                raw.into_iter()
                    .map(|event| {
                        let source = names.source_of(db, event.source)?.unwrap_or_else(|| "?".into());
                        Ok((event, source))
                    })
                    .collect::<rusqlite::Result<Vec<_>>>()
            })?;
            let last = found.len() < step;
            for (event, source) in found {
                before = event.seq;
                let sqlite::RawEvent { seq, id, topic, received_at, sender_id, bytes, targets, reused_id, body, config, .. } = event;
                if filter.holds(&source, &topic, received_at, &body) {
                    rows.push(EventLine { seq, id, source, topic, received_at, sender_id, bytes, targets, reused_id, config });
                }
                if rows.len() == most {
                    return Ok(Page { rows, next: Some(before) });
                }
            }
            if last {
                return Ok(Page { rows, next: None });
            }
            if self.0.clock.now() >= until {
                break;
            }
        }
        Ok(Page { rows, next: Some(before) })
    }

    /// One event; `None`: the journal does not have it (any more).
    pub fn event(&self, id: EventId) -> Result<Option<EventView>, StoreError> {
        self.read("read an event", |db, names| {
            let Some(seq) = sqlite::find_event(db, id)? else { return Ok(None) };
            let Some(found) = sqlite::kept_of(db, names, seq)? else { return Ok(None) };
            let mut deliveries = sqlite::deliveries_of(db, names, seq)?;
            deliveries.iter_mut().try_for_each(|row| name_who_is_ahead(db, names, row))?;
            Ok(Some(EventView { kept: found.kept, damaged: found.damaged, deliveries }))
        })
    }

    /// The place before the first event that was received then or later.
    pub fn before(&self, since: Timestamp) -> Result<Seq, StoreError> {
        self.read("look for a time", |db, _| {
            let first = "SELECT min(seq) FROM events WHERE received_at >= ?";
            let first = db.prepare_cached(first)?.query_row([since.0], |row| row.get::<_, Option<i64>>(0))?;
            let last = || db.query_row("SELECT max(seq) FROM events", [], |row| row.get::<_, Option<i64>>(0));
            Ok(Seq(match first {
                Some(first) => first - 1,
                None => last()?.unwrap_or_default(),
            }))
        })
    }

    /// One delivery of an event.
    pub fn delivery(&self, event: EventId, id: DeliveryId) -> Result<Option<(EventView, DeliveryRow)>, StoreError> {
        let Some(view) = self.event(event)? else { return Ok(None) };
        let row = view.deliveries.iter().find(|row| row.key.id(event) == id).cloned();
        Ok(row.map(|row| (view, row)))
    }

    /// Deliveries, newest event first, before a place.
    pub fn deliveries(
        &self,
        filter: &DeliveryFilter,
        before: Option<DeliveryPlace>,
        most: usize,
    ) -> Result<Page<DeliveryLine, DeliveryPlace>, StoreError> {
        let until = self.0.clock.now() + READ_MAX;
        let state = if let [one] = filter.states[..] { Some(one) } else { None };
        let mut rows = vec![];
        let mut from = before.map_or((i64::MAX, i64::MAX, i64::MAX), |place| (place.event, place.target, place.ordinal));
        loop {
            let way = Scan { state, from, newest_first: true, most: STEP };
            let (hits, next) = self.read("list deliveries", |db, names| {
                let (mut hits, next) = sqlite::scan(db, names, filter, way)?;
                hits.iter_mut().take(most - rows.len()).try_for_each(|hit| name_who_is_ahead(db, names, &mut hit.row))?;
                Ok((hits, next))
            })?;
            let more_hits = rows.len() + hits.len() > most;
            for hit in hits.into_iter().take(most - rows.len()) {
                from = hit.place;
                let (id, (event, target, ordinal)) = (hit.row.key.id(hit.event), hit.place);
                rows.push(DeliveryLine {
                    place: DeliveryPlace { event, target, ordinal },
                    id,
                    event: hit.event,
                    source: hit.source,
                    topic: hit.topic,
                    received_at: hit.received_at,
                    config: hit.config,
                    row: hit.row,
                });
            }
            let place = |(event, target, ordinal)| Some(DeliveryPlace { event, target, ordinal });
            match next {
                _ if more_hits => return Ok(Page { rows, next: place(from) }),
                None => return Ok(Page { rows, next: None }),
                Some(next) if rows.len() == most || self.0.clock.now() >= until => return Ok(Page { rows, next: place(next) }),
                Some(next) => from = next,
            }
        }
    }

    /// What each output has that waits, is held or is dead. Reads their indexes: half a second for ten million.
    pub fn counts(&self) -> Result<Vec<OutputCounts>, StoreError> {
        self.read("count deliveries", |db, names| {
            names.reload(db)?;
            let mut outputs: Vec<(Arc<str>, i64)> = names.outputs().map(|(name, number)| (Arc::clone(name), number)).collect();
            outputs.sort();
            let by_output = |state: i64| {
                // A number, never a parameter: the planner must see the partial index.
                let mut count =
                    db.prepare_cached(&format!("SELECT output, count(*) FROM deliveries WHERE state = {state} GROUP BY output"))?;
                let rows = count.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
                rows.collect::<rusqlite::Result<foldhash::HashMap<_, _>>>()
            };
            let (waiting, held, dead) = (by_output(0)?, by_output(1)?, by_output(3)?);
            let mut oldest = db.prepare_cached(OLDEST_DUE)?;
            let mut counts = vec![];
            for (output, number) in outputs {
                let of = |counts: &foldhash::HashMap<i64, i64>| counts.get(&number).copied().unwrap_or(0) as u64;
                let oldest_due = oldest.query_row([number], |row| row.get::<_, Option<i64>>(0))?.map(Timestamp);
                counts.push(OutputCounts { output, waiting: of(&waiting), held: of(&held), dead: of(&dead), oldest_due });
            }
            Ok(counts)
        })
    }

    /// When the first waiting delivery of each output is due, of those that have one: one look into an index each.
    pub fn oldest_due(&self) -> Result<Vec<(Arc<str>, Timestamp)>, StoreError> {
        self.read("look for the oldest delivery", |db, names| {
            names.reload(db)?;
            let mut oldest = db.prepare_cached(OLDEST_DUE)?;
            let mut found = vec![];
            for (output, number) in names.outputs() {
                let due = oldest.query_row([number], |row| row.get::<_, Option<i64>>(0))?;
                found.extend(due.map(|due| (Arc::clone(output), Timestamp(due))));
            }
            Ok(found)
        })
    }

    /// The journal's size and age.
    pub fn stats(&self) -> Result<Stats, StoreError> {
        self.read("read the journal's size", |db, _| {
            let number = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            let page = number("page_size")?;
            let place = |which: &str| db.query_row(&format!("SELECT {which}(seq) FROM events"), [], |row| row.get::<_, Option<i64>>(0));
            let first = place("min")?.map(Seq);
            let received = |seq: Seq| db.query_row("SELECT received_at FROM events WHERE seq = ?", [seq.0], |row| row.get(0));
            Ok(Stats {
                first,
                last: place("max")?.map(Seq),
                oldest: first.map(received).transpose()?.map(Timestamp),
                bytes: (number("page_count")? * page) as u64,
                free_bytes: (number("freelist_count")? * page) as u64,
                watermark: sqlite::watermark(db)?,
            })
        })
    }

    /// Adds up every event's plan and rows, a few thousand at a time. What waits for one of the `paused` outputs is held (decision 25).
    pub fn audit(&self, paused: &BTreeSet<Arc<str>>) -> Result<Audit, StoreError> {
        let mut audit = Audit::default();
        let mut after = Some(Seq(0));
        while let Some(from) = after {
            after = self.audit_part(from, paused, &mut audit)?;
        }
        Ok(audit)
    }

    /// Adds the next few thousand events after a place; where it goes on, `None` at the end.
    pub fn audit_part(&self, after: Seq, paused: &BTreeSet<Arc<str>>, audit: &mut Audit) -> Result<Option<Seq>, StoreError> {
        self.read("audit", |db, names| {
            names.reload(db)?;
            let paused = names.outputs().filter(|(name, _)| paused.contains(*name)).map(|(_, number)| number.to_string());
            audit_step(db, after.0, &paused.collect::<Vec<_>>().join(", "), audit)
        })
        .map(|next| next.map(Seq))
    }

    /// The next events after a place, whole and with their rows, to another place (included). Few at a time: bodies may be large.
    pub fn whole_events(&self, after: Seq, to: Seq, most: usize) -> Result<Vec<EventView>, StoreError> {
        self.read("read events", |db, names| {
            let mut found = vec![];
            sqlite::each_event(db, names, after, most, |event, _| found.push(event))?;
            found.retain(|event| event.kept.seq <= to);
            let view = |found: sqlite::Found| {
                let deliveries = sqlite::deliveries_of(db, names, found.kept.seq)?;
                Ok(EventView { kept: found.kept, damaged: found.damaged, deliveries })
            };
            found.into_iter().map(view).collect()
        })
    }

    /// The journal's file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    pub(super) fn read<T>(
        &self,
        doing: &'static str,
        read: impl FnOnce(&Connection, &mut Names) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let held = self.lock().pop();
        let mut reader = match held {
            Some(reader) => reader,
            None => {
                let db = sqlite::open_reader(&self.0.path).map_err(trouble("open the journal for reading"))?;
                let names = Names::load(&db).map_err(trouble("read the names"))?;
                Reader { db, names }
            }
        };
        // A connection that failed is not used again.
        let found = read(&reader.db, &mut reader.names).map_err(trouble(doing))?;
        let mut readers = self.lock();
        if readers.len() < READERS {
            readers.push(reader);
        }
        Ok(found)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Reader>> {
        self.0.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reads for Archive {
    fn counts(&self) -> Result<Vec<OutputCounts>, StoreError> {
        Archive::counts(self)
    }
    fn open_events(&self, from: Seq, to: Seq, most: usize) -> Result<Vec<OpenEvent>, StoreError> {
        self.read("read open events", |db, names| sqlite::open_events(db, names, from, to, most))
    }
    fn waiting(&self, output: &str, replays: bool, after: Cursor, due_by: Timestamp, most: usize) -> Result<Vec<Waiting>, StoreError> {
        self.read("read what waits", |db, names| sqlite::waiting(db, names, output, replays, after, due_by, most))
    }
    fn next_due(&self, output: &str, replays: bool, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.read("read what waits", |db, names| sqlite::next_due(db, names, output, replays, after))
    }
    fn collected(&self, key: &DeliveryKey, most: usize) -> Result<Collected, StoreError> {
        self.read("read what is collected", |db, names| sqlite::collected(db, names, key, most))
    }

    fn sealed(&self, key: &str) -> Result<Option<Sealed>, StoreError> {
        self.read("read the vault", |db, _| sqlite::sealed(db, key))
    }

    fn replays(&self) -> Result<Vec<ReplayJob>, StoreError> {
        self.read("read the replays", |db, _| sqlite::replays(db))
    }
    fn asked_again(&self, output: &str, most: u64) -> Result<u64, StoreError> {
        self.read("count what was asked for again", |db, names| sqlite::asked_again(db, names, output, most))
    }
    fn events(&self, filter: &DeliveryFilter, after: Seq, most: usize) -> Result<(Vec<Arc<Kept>>, Option<Seq>), StoreError> {
        self.read("read events", |db, names| sqlite::events_meant(db, names, filter, after, most))
    }
    fn on_dead(&self, most: usize) -> Result<Vec<Dead>, StoreError> {
        self.read("read what is dead", |db, names| sqlite::on_dead(db, names, most))
    }
    fn configs(&self) -> Result<Vec<KeptConfig>, StoreError> {
        self.read("read the configurations", |db, _| sqlite::configs(db))
    }
    fn why_dead(&self, seq: Seq, target: &Target) -> Result<Option<String>, StoreError> {
        self.read("read what is dead", |db, _| sqlite::why_dead(db, seq, target))
    }
}

impl EventFilter {
    fn holds(&self, source: &str, topic: &str, received_at: Timestamp, body: &[u8]) -> bool {
        self.source.as_deref().is_none_or(|wanted| wanted == source)
            && self.topic.as_ref().is_none_or(|wanted| wanted.holds(topic))
            && self.since.is_none_or(|since| received_at >= since)
            && self.until.is_none_or(|until| received_at < until)
            && self.text.as_deref().is_none_or(|text| contains(body, text.as_bytes()))
    }
}

/// A row that waits for its turn says whose turn it is.
fn name_who_is_ahead(db: &Connection, names: &mut Names, row: &mut DeliveryRow) -> rusqlite::Result<()> {
    if row.state == State::Held
        && stands_in_line(&row.detail)
        && let Some((event, first, state)) = sqlite::first_in_line(db, names, &row.key)?
    {
        let waits = if row.detail == COLLECTED { "collected for the digest after" } else { "waits behind" };
        row.detail = format!("{waits} {} of {event}, which is {}", first.id(event), state.word());
    }
    Ok(())
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|part| part == text)
}

/// The next events after a place; `paused`: numbers of outputs, with commas.
fn audit_step(db: &Connection, after: i64, paused: &str, audit: &mut Audit) -> rusqlite::Result<Option<i64>> {
    // One statement for both sums: they see the same moment.
    let sql = format!(
        "WITH part AS (SELECT seq, targets FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2),
        mark AS (SELECT coalesce((SELECT value FROM meta WHERE key = 'watermark'), 1) AS place),
        each AS (SELECT seq, targets,
            targets - (SELECT count(DISTINCT target) FROM deliveries WHERE event = seq AND closes = 1) AS missing,
            (SELECT count(*) FROM deliveries WHERE event = seq AND state = 0 AND output NOT IN ({paused})) AS waiting,
            (SELECT count(*) FROM deliveries WHERE event = seq AND (state = 1 OR state = 0 AND output IN ({paused}))) AS held,
            (SELECT count(*) FROM deliveries WHERE event = seq AND state = 2) AS delivered,
            (SELECT count(*) FROM deliveries WHERE event = seq AND state = 3) AS dead FROM part)
        SELECT count(*), max(seq), total(targets), total(waiting), total(held), total(delivered), total(dead),
            total(iif(seq >= (SELECT place FROM mark), missing, 0)), total(iif(seq < (SELECT place FROM mark), missing, 0)) FROM each"
    );
    let mut select = db.prepare_cached(&sql)?;
    let mut rows = select.query(params![after, AUDIT_STEP])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let sum = |column: usize| row.get::<_, f64>(column).map(|sum| sum as u64);
    audit.events += row.get::<_, i64>(0)? as u64;
    audit.planned += sum(2)?;
    audit.waiting += sum(3)?;
    audit.held += sum(4)?;
    audit.delivered += sum(5)?;
    audit.dead += sum(6)?;
    audit.open += sum(7)?;
    audit.lost += sum(8)?;
    row.get(1)
}
