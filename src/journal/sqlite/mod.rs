//! The journal on SQLite: one file, one writing connection, a few that read.
//!
//! Does: opens, locks and checks the file; keeps batches durable (WAL, `synchronous=FULL`). Never: commits on a connection
//! whose last commit failed for an unknown reason, reads the database files by plain file calls, starts on a file it does
//! not know. Holds: L1 a commit is in the log and synced before it is answered. Proven by `conformance` and the tests here.

mod configs;
mod depth;
mod gone;
mod leave;
mod lock;
mod loose;
mod missing;
mod names;
mod on_dead;
mod order;
mod place;
mod purge;
mod read;
mod recent;
mod repeats;
mod replay;
mod schema;
mod until;
mod upkeep;
mod vault;
mod write;

#[cfg(test)]
mod tests;

pub use lock::{DaemonLock, LockError, holder};
pub use schema::SCHEMA;

pub(super) use configs::configs;
pub(super) use leave::OVER;
pub(super) use loose::{LooseRow, behind_nobody, each_event, each_row, watermark};
pub(super) use missing::events_meant;
pub(super) use names::Names;
pub(super) use on_dead::{on_dead, why_dead};
pub(super) use order::{collected, first_in_line};
pub(super) use read::{Found, RawEvent, Scan, deliveries_of, events_page, find_event, kept_of, next_due, open_events, scan, waiting};
pub(super) use repeats::{DUPLICATES_MAX, duplicate, duplicates};
pub(super) use replay::{COLUMNS as REPLAY_COLUMNS, asked_again, replays};
pub(super) use schema::{
    SCHEMA_WITH_CONFIGS, SCHEMA_WITH_DUPLICATES, SCHEMA_WITH_GONE, SCHEMA_WITH_ON_DEAD, SCHEMA_WITH_ORDER, SCHEMA_WITH_REPLAYS,
    open_damaged, open_reader, open_writer, schema_of,
};
pub(super) use vault::sealed;

use super::store::{Batch, Committed, Depths, Mark, Operation, Recovered, Retain, Slice, Store, StoreError, Swept, Tend};
use crate::model::{Seq, Timestamp};
use recent::Recent;
use rusqlite::{Connection, ErrorCode, OptionalExtension};
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// The journal's file, open for writing.
#[derive(Debug)]
pub struct SqliteStore {
    db: Connection,
    names: Names,
    recent: Recent,
    /// The longest window any append asked for; older keys are not in `recent`.
    window: Duration,
    next_seq: i64,
    /// As it stands in the file.
    watermark: i64,
    log: Log,
    /// What goes before its time.
    squeeze: leave::Squeeze,
    /// Whether anything of this round did.
    squeezed_some: bool,
    /// Events that were erased while something of them was under way: rows that come late are not written. At most what outputs had in
    /// memory and in the journal then; eight bytes each until the next start.
    erased: BTreeSet<i64>,
    scratch: Vec<u8>,
    files: place::Files,
    /// Let go last.
    _lock: DaemonLock,
}

/// The write-ahead log, as far as checkpoints need to know it.
#[derive(Debug)]
struct Log {
    /// Pages in it, said by SQLite at each commit.
    pages: Arc<AtomicU32>,
    /// Pages of it that are in the database file already.
    copied: u32,
}

/// Why the journal could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is another's, or its folder cannot be made.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The file cannot be made.
    #[error("cannot make {path}: {cause}")]
    Make {
        /// The journal's file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Written by a newer program.
    #[error(
        "{path} has schema {found}, and this program knows {known}: start the newer program that wrote it, or restore the copy made before it ran"
    )]
    Newer {
        /// The journal's file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// A repair moved one of its files and not the others.
    #[error("a repair of {path} was broken off: run `switchyard journal repair` again, it goes on where it stopped")]
    HalfRepaired {
        /// The journal's file.
        path: PathBuf,
    },
    /// Its log is there alone.
    #[error(
        "{path} is not there, and its log {log} is: put the journal back where it was, or move its log away too to start with an empty journal"
    )]
    Gone {
        /// The journal's file.
        path: PathBuf,
        /// Its log.
        log: PathBuf,
    },
    /// It was emptied, or never filled.
    #[error("{path} has {bytes} bytes{}", emptied_todo(*log))]
    Emptied {
        /// The journal's file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// Whether its log has something.
        log: bool,
    },
    /// Something else's database.
    #[error("{path} is a database of something else: point `journal.url` at a file of its own")]
    NotAJournal {
        /// The file.
        path: PathBuf,
    },
    /// A setting that durability rests on did not take.
    #[error("SQLite answers {name}={found} where {expected} was set: this file system cannot hold a journal")]
    Pragma {
        /// Which.
        name: &'static str,
        /// What it answers.
        found: String,
        /// What was set.
        expected: &'static str,
    },
    /// The library is one that can lose commits.
    #[error("SQLite {found} can lose commits: 3.51.3 or newer is needed")]
    SqliteTooOld {
        /// The library's version.
        found: String,
    },
    /// SQLite could not.
    #[error("{path}: {cause}")]
    Store {
        /// The journal's file.
        path: PathBuf,
        /// What happened.
        cause: StoreError,
    },
}

fn emptied_todo(log: bool) -> &'static str {
    if log {
        ", and its log is there: `switchyard journal repair` saves what the log has"
    } else {
        " and nothing of a journal: restore a copy of it, or move it away to start with an empty journal"
    }
}

impl OpenError {
    fn emptied(path: &Path) -> Self {
        let len = |path: &Path| path.metadata().map_or(0, |file| file.len());
        OpenError::Emptied { path: path.to_owned(), bytes: len(path), log: len(&beside(path, "-wal")) > 0 }
    }

    /// The daemon's exit code for it: 75 for a damaged file, else 74.
    pub fn exit_code(&self) -> u8 {
        match self {
            OpenError::Store { cause, .. } => cause.exit_code().unwrap_or(74),
            OpenError::Emptied { .. } => 75,
            _ => 74,
        }
    }
}

impl SqliteStore {
    /// Opens the journal at `path`, or makes it. `window` is the longest time after which any source still calls a repeat a
    /// repeat: keys that old are read back.
    pub fn open(path: &Path, window: Duration, now: Timestamp) -> Result<Self, OpenError> {
        let mut lock = DaemonLock::take(path)?;
        if beside(path, REPAIRING).exists() {
            return Err(OpenError::HalfRepaired { path: path.to_owned() });
        }
        let log = beside(path, "-wal");
        if !path.exists() && log.metadata().is_ok_and(|log| log.len() > 0) {
            return Err(OpenError::Gone { path: path.to_owned(), log });
        }
        refuse_emptied(path, lock.had_journal())?;
        make_private(path)?;
        let db = schema::open_writer(path, lock.had_journal())?;
        lock.keep_in_mind().map_err(|cause| OpenError::Make { path: beside(path, ".lock"), cause })?;
        // One, so that a log left by a crash is cut at the first rest.
        let pages = Arc::new(AtomicU32::new(1));
        let log = Log { pages: Arc::clone(&pages), copied: 0 };
        let mut store = SqliteStore {
            names: Names::load(&db).map_err(failed(path, "read the names"))?,
            db,
            recent: Recent::default(),
            window: Duration::ZERO,
            next_seq: 1,
            watermark: 1,
            log,
            squeeze: leave::Squeeze::default(),
            squeezed_some: false,
            erased: BTreeSet::new(),
            scratch: vec![],
            files: place::Files::opened(path),
            _lock: lock,
        };
        store.hear_log(pages).map_err(failed(path, "open"))?;
        depth::begin(&store.db).map_err(failed(path, "begin to count"))?;
        store.overwrite(false).map_err(failed(path, "set a pragma"))?;
        store.read_place().map_err(failed(path, "read the last place"))?;
        store.widen(window, now).map_err(failed(path, "read the dedupe keys"))?;
        // The log is there by now.
        store.files = place::Files::opened(path);
        Ok(store)
    }

    /// Keys of recent events held in memory, and how many were forgotten because there were too many.
    pub fn dedupe_keys(&self) -> (usize, u64) {
        (self.recent.len(), self.recent.forgotten)
    }

    fn read_place(&mut self) -> rusqlite::Result<()> {
        let stored = "SELECT value FROM meta WHERE key = 'watermark'";
        self.watermark = self.db.query_row(stored, [], |row| row.get(0)).optional()?.unwrap_or(1);
        let last: Option<i64> = self.db.query_row("SELECT max(seq) FROM events", [], |row| row.get(0))?;
        // Retention deletes below the watermark only, and what was erased is known: no place is given twice.
        self.next_seq = (last.unwrap_or(0) + 1).max(self.watermark).max(gone::last(&self.db)?.0 + 1);
        Ok(())
    }
}

impl Store for SqliteStore {
    fn commit(&mut self, batch: &Batch) -> Result<Committed, StoreError> {
        self.write_batch(batch)
    }
    fn recover(&mut self) -> Result<Recovered, StoreError> {
        let open = read::open_counts(&self.db, self.watermark).map_err(trouble("read what is open"))?;
        let dated = read::dated(&self.db).map_err(trouble("read when rows were written"))?;
        Ok(Recovered { watermark: Seq(self.watermark), last: Seq(self.next_seq - 1), open, dated })
    }
    fn operate(&mut self, operation: &Operation, now: Timestamp, from: Mark) -> Result<Slice, StoreError> {
        self.operate_slice(operation, now, from)
    }
    fn sweep(&mut self, retain: Retain, now: Timestamp, after: Seq) -> Result<Swept, StoreError> {
        self.sweep_slice(retain, now, after)
    }
    fn is_over(&mut self, retain: Retain) -> Result<bool, StoreError> {
        self.is_too_large(retain).map_err(trouble("read the journal's size"))
    }
    fn depths(&mut self) -> Result<Depths, StoreError> {
        self.read_depths().map_err(trouble("read what is counted"))
    }
    fn count_on(&mut self) -> Result<bool, StoreError> {
        self.count_slice()
    }
    fn tend(&mut self, why: Tend) -> Result<bool, StoreError> {
        self.tend_files(why).map_err(trouble("checkpoint"))
    }
}

/// Stands beside the file while a repair changes files' names.
pub const REPAIRING: &str = ".repairing";

/// The file's path with more at its end.
pub fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    name.into()
}

/// The least that a file with something in it has: a page, of SQLite's smallest.
const LEAST: u64 = 512;

/// Refuses a file with less than a page in it, unless it is new: empty, without a log and where there `was` no journal, as a daemon leaves it
/// that is killed at its first start. SQLite would take it for new, and remove its log.
pub fn refuse_emptied(path: &Path, was: bool) -> Result<(), OpenError> {
    match path.metadata() {
        Ok(file) if file.len() < LEAST => match OpenError::emptied(path) {
            OpenError::Emptied { bytes: 0, log: false, .. } if !was => Ok(()),
            emptied => Err(emptied),
        },
        _ => Ok(()),
    }
}

/// Makes the file readable by us alone; SQLite gives its log the same mode. Only before any connection of ours is open.
fn make_private(path: &Path) -> Result<(), OpenError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(cause) => Err(OpenError::Make { path: path.to_owned(), cause }),
    }
}

/// What SQLite's error means for the daemon.
pub(super) fn trouble(doing: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |error| {
        let detail = match &error {
            // Never the message of a conversion: it may quote a value.
            rusqlite::Error::SqliteFailure(code, _) => code.to_string(),
            rusqlite::Error::FromSqlConversionFailure(column, ..) | rusqlite::Error::InvalidColumnType(column, ..) => {
                format!("column {column} has a value of the wrong type")
            }
            other => other.to_string(),
        };
        match error {
            rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..) => StoreError::Corrupt { doing, detail },
            error => match error.sqlite_error_code() {
                Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Full { doing, detail },
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt { doing, detail },
                _ => StoreError::Fatal { doing, detail },
            },
        }
    }
}

fn failed(path: &Path, doing: &'static str) -> impl Fn(rusqlite::Error) -> OpenError {
    move |error| OpenError::Store { path: path.to_owned(), cause: trouble(doing)(error) }
}
