//! What is in a journal: events, deliveries by output and state, sizes, growth, what retention would take.

use super::{DoctorError, beside, open};
use crate::journal::sqlite::{self, Names, trouble};
use crate::journal::store::Retain;
use crate::model::Timestamp;
use rusqlite::{Connection, params};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Events that one read looks at.
const STEP: i64 = 5_000;
const DAY: Duration = Duration::from_hours(24);

/// One output's deliveries that have a row.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct OutputFigures {
    /// Which.
    pub output: String,
    /// Will be tried.
    pub waiting: u64,
    /// Kept back.
    pub held: u64,
    /// The far side has them.
    pub delivered: u64,
    /// Given up.
    pub dead: u64,
}

/// What is in a journal. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Figures {
    /// The file's schema.
    pub schema: i64,
    /// Events.
    pub events: u64,
    /// Bytes of their bodies, headers, queries and plans.
    pub event_bytes: u64,
    /// When the oldest was received.
    pub oldest: Option<String>,
    /// When the newest was received.
    pub newest: Option<String>,
    /// Deliveries, by output.
    pub outputs: Vec<OutputFigures>,
    /// Events of the last 24 hours.
    pub day_events: u64,
    /// Bytes of these.
    pub day_bytes: u64,
    /// The database file.
    pub file_bytes: u64,
    /// What of it is free and will be used again.
    pub free_bytes: u64,
    /// The log beside it.
    pub log_bytes: u64,
    /// Free on its disk.
    pub disk_free_bytes: Option<u64>,
    /// Events that retention by age takes now.
    pub over_events: u64,
    /// Bytes of these.
    pub over_bytes: u64,
    /// How much more is in use than `journal.retain.max_size`; nothing where that is not set.
    pub over_max_size_bytes: u64,
    /// Hashes of events that are gone, kept so that a repeat is recognised.
    pub gone: u64,
}

/// Counts everything, in steps; beside a running daemon too. `retain` is what the configuration says.
///
/// # Errors
/// The file can't be read.
pub fn stats(path: &Path, retain: Retain, now: Timestamp) -> Result<Figures, DoctorError> {
    let (db, schema) = open(path)?;
    let mut figures = Figures { schema, ..Figures::default() };
    count(&db, schema, retain, now, &mut figures).map_err(trouble("count what is in the journal"))?;
    // Sizes by asking the folder: opening the log would drop SQLite's locks.
    figures.log_bytes = std::fs::metadata(beside(path, "-wal")).map_or(0, |log| log.len());
    figures.disk_free_bytes = rustix::fs::statvfs(path).ok().map(|disk| disk.f_bavail * disk.f_frsize);
    Ok(figures)
}

fn count(db: &Connection, schema: i64, retain: Retain, now: Timestamp, figures: &mut Figures) -> rusqlite::Result<()> {
    let mut names = Names::load(db)?;
    let mut outputs: BTreeMap<i64, OutputFigures> = BTreeMap::new();
    let (mut oldest, mut newest) = (None::<i64>, None::<i64>);
    let watermark = sqlite::watermark(db)?.0;
    let mut after = 0;
    loop {
        let last: Option<i64> = db
            .prepare_cached("SELECT max(seq) FROM (SELECT seq FROM events WHERE seq > ? ORDER BY seq LIMIT ?)")?
            .query_row([after, STEP], |row| row.get(0))?;
        let Some(last) = last else { break };
        let size = "length(body) + length(headers) + length(query) + length(plan)";
        let sums = format!(
            "SELECT count(*), total({size}), min(received_at), max(received_at), total(received_at >= ?3),
            total(iif(received_at >= ?3, {size}, 0)) FROM events WHERE seq > ?1 AND seq <= ?2"
        );
        db.prepare_cached(&sums)?.query_row(params![after, last, (now - DAY).0], |row| {
            figures.events += row.get::<_, i64>(0)? as u64;
            figures.event_bytes += row.get::<_, f64>(1)? as u64;
            oldest = oldest.into_iter().chain(row.get(2)).min();
            newest = newest.into_iter().chain(row.get(3)).max();
            figures.day_events += row.get::<_, f64>(4)? as u64;
            figures.day_bytes += row.get::<_, f64>(5)? as u64;
            Ok(())
        })?;
        if schema >= sqlite::SCHEMA_WITH_ON_DEAD {
            let over = format!("SELECT count(*), total({size}) FROM events WHERE {} AND seq < ?6", sqlite::OVER);
            let (received, delivered, dead) = ((now - retain.delivered).0, (now - retain.delivered).0, (now - retain.dead).0);
            db.prepare_cached(&over)?.query_row(params![after, last, received, delivered, dead, watermark], |row| {
                figures.over_events += row.get::<_, i64>(0)? as u64;
                figures.over_bytes += row.get::<_, f64>(1)? as u64;
                Ok(())
            })?;
        }
        deliveries(db, after, last, &mut outputs)?;
        after = last;
    }
    let at = |millis: i64| Timestamp(millis).to_string();
    (figures.oldest, figures.newest) = (oldest.map(at), newest.map(at));
    names.reload(db)?;
    for (name, number) in names.outputs() {
        outputs.entry(number).or_default().output = name.to_string();
    }
    figures.outputs = outputs.into_values().collect();
    figures.outputs.sort_by(|a, b| a.output.cmp(&b.output));
    sizes(db, schema, retain, figures)
}

fn deliveries(db: &Connection, after: i64, last: i64, outputs: &mut BTreeMap<i64, OutputFigures>) -> rusqlite::Result<()> {
    let mut rows =
        db.prepare_cached("SELECT output, state, count(*) FROM deliveries WHERE event > ? AND event <= ? GROUP BY output, state")?;
    let mut rows = rows.query([after, last])?;
    while let Some(row) = rows.next()? {
        let of = outputs.entry(row.get(0)?).or_default();
        let count = row.get::<_, i64>(2)? as u64;
        match row.get::<_, i64>(1)? {
            0 => of.waiting += count,
            1 => of.held += count,
            2 => of.delivered += count,
            _ => of.dead += count,
        }
    }
    Ok(())
}

fn sizes(db: &Connection, schema: i64, retain: Retain, figures: &mut Figures) -> rusqlite::Result<()> {
    let number = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let page = number("page_size")?;
    figures.file_bytes = (number("page_count")? * page) as u64;
    figures.free_bytes = (number("freelist_count")? * page) as u64;
    let used = figures.file_bytes - figures.free_bytes.min(figures.file_bytes);
    figures.over_max_size_bytes = retain.max_bytes.map_or(0, |most| used.saturating_sub(most));
    if schema >= sqlite::SCHEMA_WITH_GONE {
        figures.gone = db.query_row("SELECT count(*) FROM gone", [], |row| row.get::<_, i64>(0))? as u64;
    }
    Ok(())
}
