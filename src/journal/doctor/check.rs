//! Whether a journal is sound: the file's own structure, each row's bytes, and whether every plan is accounted for.

use super::source::open_torn;
use super::{DoctorError, open};
use crate::journal::sqlite::{self, LooseRow, Names, trouble};
use crate::journal::store::StoreError;
use crate::model::{EventId, Seq, State, Target};
use rusqlite::{Connection, ErrorCode};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Faults that are told one by one; the rest is counted.
const FAULTS_MAX: usize = 1_000;
/// Events that one read looks at, so that the log is not kept from being reused for long.
const PAGE: usize = 200;
/// Lines that SQLite's own check gives.
const LINES: usize = 100;

/// Do this about an event whose bytes changed.
const SEND_AGAIN: &str = "have the sender send it again; `switchyard journal repair` takes it out of the file";
/// Do this about what the daemon would never touch again.
const REPAIR: &str = "stop the daemon and run `switchyard journal repair`";

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What, and where: one line, nothing of what an event contains.
    pub what: String,
    /// What to do about it.
    pub todo: String,
    /// The event that it is about, where it is about one that can be named.
    pub event: Option<String>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Checkup {
    /// The file's schema.
    pub schema: i64,
    /// Events read.
    pub events: u64,
    /// Rows of deliveries read.
    pub deliveries: u64,
    /// Targets under way: their event is at or above the watermark and they have no row yet.
    pub open: u64,
    /// What is wrong, at most a thousand.
    pub faults: Vec<Fault>,
    /// How many more there are.
    pub more_faults: u64,
}

impl Checkup {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    fn fault(&mut self, event: Option<(Seq, EventId)>, what: impl Into<String>, todo: &str) {
        if self.faults.len() >= FAULTS_MAX {
            self.more_faults += 1;
            return;
        }
        let name = event.map(|(_, id)| id.to_string());
        let what = match &event {
            Some((Seq(place), id)) => format!("event {id} (place {place}): {}", what.into()),
            None => what.into(),
        };
        self.faults.push(Fault { what, todo: todo.to_owned(), event: name });
    }
}

/// An event of the page, as far as its rows need it.
struct Seen {
    id: EventId,
    targets: Vec<Arc<Target>>,
    closed: BTreeSet<Arc<Target>>,
    damaged: bool,
}

/// Looks at everything, in pages; beside a running daemon too.
///
/// # Errors
/// The file cannot be opened as a journal. What is damaged inside is no error but a fault.
pub fn check(path: &Path) -> Result<Checkup, DoctorError> {
    let mut checkup = Checkup::default();
    let db = match open(path) {
        Ok((db, schema)) => {
            checkup.schema = schema;
            db
        }
        Err(why) => {
            let (db, schema) = open_torn(path, why)?;
            checkup.schema = schema;
            checkup.fault(None, "the file: it was cut off, or its first pages are damaged", REPAIR);
            // What is not there is no fault of reading.
            if let Err((_, what)) = rows(&db, &mut checkup) {
                checkup.fault(None, what, REPAIR);
            }
            return Ok(checkup);
        }
    };
    structure(&db, &mut checkup)?;
    match rows(&db, &mut checkup) {
        Ok(()) => Ok(checkup),
        Err((error, what)) => unreadable(checkup, error, &what),
    }
}

/// Every row; where it can't go on, why, and what can't be read.
fn rows(db: &Connection, checkup: &mut Checkup) -> Result<(), (rusqlite::Error, String)> {
    let cannot = |what: String| move |error| (error, what);
    let mut names = Names::load(db).map_err(cannot("the names of sources, outputs and routes can't be read".into()))?;
    let mut after = Seq(0);
    while let Some(last) =
        page(db, &mut names, after, checkup).map_err(cannot(format!("what comes after place {} can't be read", after.0)))?
    {
        if last <= after {
            // Half a page: its rows have no place.
            checkup.fault(None, format!("what comes after place {} can't be read", after.0), REPAIR);
            break;
        }
        after = last;
    }
    if checkup.schema >= sqlite::SCHEMA_WITH_ORDER {
        stuck(db, checkup).map_err(cannot("the lines of `order_by` can't be read".into()))?;
    }
    Ok(())
}

/// A page that is damaged is a fault; anything else ends the check.
fn unreadable(mut checkup: Checkup, error: rusqlite::Error, what: &str) -> Result<Checkup, DoctorError> {
    match trouble("check the journal")(error) {
        StoreError::Corrupt { detail, .. } => {
            checkup.fault(None, format!("{what} ({detail})"), REPAIR);
            Ok(checkup)
        }
        other => Err(other.into()),
    }
}

/// SQLite's own check of pages, indexes and constraints.
fn structure(db: &Connection, checkup: &mut Checkup) -> Result<(), DoctorError> {
    let lines = |db: &Connection| -> rusqlite::Result<Vec<String>> {
        let mut check = db.prepare(&format!("PRAGMA integrity_check({LINES})"))?;
        check.query_map([], |row| row.get(0))?.collect()
    };
    match lines(db) {
        Ok(lines) if lines.len() == 1 && lines[0] == "ok" => Ok(()),
        Ok(lines) => {
            // Each is one line of SQLite's about pages and indexes, and quotes no value.
            lines.iter().flat_map(|text| text.lines()).for_each(|line| checkup.fault(None, format!("the file: {line}"), REPAIR));
            Ok(())
        }
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
            checkup.fault(None, format!("the file: {error}"), REPAIR);
            Ok(())
        }
        Err(error) => Err(trouble("check the file")(error).into()),
    }
}

/// Some events and their rows, all of one moment. The last place of it; `None`: there is no more.
fn page(db: &Connection, names: &mut Names, after: Seq, checkup: &mut Checkup) -> rusqlite::Result<Option<Seq>> {
    let moment = db.unchecked_transaction()?;
    let watermark = sqlite::watermark(&moment)?;
    let mut seen: BTreeMap<Seq, Seen> = BTreeMap::new();
    sqlite::each_event(&moment, names, after, PAGE, |found, targets| {
        let kept = &found.kept;
        checkup.events += 1;
        let named = Some((kept.seq, kept.event.id));
        if found.damaged {
            checkup.fault(named, "its bytes are not those that were kept: nothing of it is sent any more", SEND_AGAIN);
        } else if targets != kept.plan.targets.len() as i64 {
            checkup.fault(named, format!("has a plan of {} and says {targets}", kept.plan.targets.len()), REPAIR);
        }
        let targets = kept.plan.targets.clone();
        seen.insert(kept.seq, Seen { id: kept.event.id, targets, closed: BTreeSet::new(), damaged: found.damaged });
    })?;
    let last = seen.last_key_value().map(|(seq, _)| *seq);
    // Rows up to the last event of the page; after the last page, all that are left.
    sqlite::each_row(&moment, names, after, last.unwrap_or(Seq(i64::MAX)), |row| {
        checkup.deliveries += 1;
        judge_row(&row, &mut seen, checkup);
    })?;
    for (seq, event) in &seen {
        let missing = event.targets.iter().filter(|target| !event.closed.contains(*target));
        for target in missing {
            if *seq >= watermark {
                checkup.open += 1;
            } else if !event.damaged {
                let what = format!("its delivery {target} was planned and has no row: nobody will deliver it");
                checkup.fault(Some((*seq, event.id)), what, REPAIR);
            }
        }
    }
    Ok(last)
}

fn judge_row(row: &LooseRow, seen: &mut BTreeMap<Seq, Seen>, checkup: &mut Checkup) {
    let Some(event) = seen.get_mut(&row.seq) else {
        return checkup.fault(None, format!("a delivery of the event at place {}, which is not there", row.seq.0), REPAIR);
    };
    let named = Some((row.seq, event.id));
    let Some(delivery) = &row.row else {
        return checkup.fault(named, "a delivery whose target or state is none", REPAIR);
    };
    let target = &delivery.key.target;
    if row.closes {
        event.closed.insert(Arc::clone(target));
    }
    if !event.damaged && !event.targets.contains(target) {
        checkup.fault(named, format!("has a delivery {target} that was not planned"), REPAIR);
    }
    if !row.whole {
        let todo = "if it was waiting it is dead now: `switchyard replay` renders it anew";
        checkup.fault(named, format!("the message or the words of its delivery {target} are not those that were kept"), todo);
    }
    if row.other_output {
        checkup.fault(named, format!("its delivery {target} stands in the queue of another output"), REPAIR);
    }
    // A held one may have a time until which it is held.
    if delivery.state != State::Held && (delivery.state == State::Waiting) != delivery.due_at.is_some() {
        checkup.fault(named, format!("its delivery {target} is {} and its time says otherwise", delivery.state.word()), REPAIR);
    }
}

/// Deliveries that wait behind another of their key, and there is none.
fn stuck(db: &Connection, checkup: &mut Checkup) -> rusqlite::Result<()> {
    let todo = "`switchyard replay` with the event sends it";
    for (seq, id) in sqlite::behind_nobody(db, FAULTS_MAX)? {
        checkup.fault(Some((seq, id)), "a delivery waits behind another of its key, and there is none", todo);
    }
    Ok(())
}
