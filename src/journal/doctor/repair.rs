//! A new journal out of what can be read of a damaged one. The damaged file is never changed: it is moved aside.
//!
//! While files change their names a file `….repairing` stands beside them, with which no daemon starts: broken off there, the same command
//! goes on where it stopped.

use super::salvage::Salvage;
use super::source::Source;
use super::{DoctorError, check, not_written, sync_folder};
use crate::journal::sqlite::{self, DaemonLock, Names, OpenError, REPAIRING, beside, trouble};
use crate::journal::store::StoreError;
use crate::model::Timestamp;
use rusqlite::Connection;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

/// Losses told one by one; all of them stand in the file beside.
const TOLD_MAX: usize = 1_000;

/// What a repair saved, and what it could not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Repaired {
    /// Events taken along.
    pub events: u64,
    /// Rows of deliveries taken along.
    pub deliveries: u64,
    /// Planned deliveries without a row: the daemon delivers them, some perhaps again.
    pub to_deliver: u64,
    /// Rows that are damaged, in the file beside.
    pub aside: u64,
    /// What is lost, a line each, at most a thousand.
    pub lost: Vec<String>,
    /// How many more there are.
    pub more_lost: u64,
    /// Where the journal is that was damaged.
    pub before: PathBuf,
    /// Where the damaged rows and all lines of what is lost are, as an SQLite file.
    pub damaged: PathBuf,
}

impl Repaired {
    pub(super) fn lose(&mut self, what: String) {
        if self.lost.len() < TOLD_MAX { self.lost.push(what) } else { self.more_lost += 1 }
    }
}

/// Makes a new journal of what can be read, checks it, and puts it in the place of the damaged one. No daemon may have it.
///
/// # Errors
/// A daemon has it; nothing of it can be read; it is sound; or there is no space for the new one: then all is as it was.
pub fn repair(path: &Path, now: Timestamp) -> Result<Repaired, DoctorError> {
    let _lock = DaemonLock::take(path).map_err(sqlite::OpenError::from)?;
    if let Some(stamp) = unfinished(path) {
        swap(path, &stamp)?;
        return Ok(Repaired { before: before(path, &stamp), damaged: damaged(path, &stamp), ..Repaired::default() });
    }
    if faults(path)? == 0 {
        return Err(DoctorError::Sound(path.to_owned()));
    }
    let stamp = now.0.to_string();
    let (new, damaged) = (new(path, &stamp), damaged(path, &stamp));
    let mut report = Repaired { before: before(path, &stamp), damaged: damaged.clone(), ..Repaired::default() };
    let made = make(path, &new, &damaged, now, &mut report);
    if let Err(why) = made {
        for half in [&new, &damaged] {
            let _ = std::fs::remove_file(half);
            let _ = std::fs::remove_file(beside(half, "-wal"));
            let _ = std::fs::remove_file(beside(half, "-shm"));
        }
        return Err(why);
    }
    mark(path, &stamp)?;
    swap(path, &stamp)?;
    Ok(report)
}

/// How many faults a repair would mend.
///
/// # Errors
/// Nothing of the file can be read.
pub fn faults(path: &Path) -> Result<usize, DoctorError> {
    match check(path) {
        Err(DoctorError::Open(OpenError::Emptied { log: true, .. })) => Ok(1),
        // Its help would be what is being tried.
        Err(DoctorError::Open(OpenError::Store { cause: StoreError::Corrupt { .. }, .. })) => Err(DoctorError::Nothing(path.to_owned())),
        checked => Ok(checked?.faults.len()),
    }
}

fn make(path: &Path, new: &Path, damaged: &Path, now: Timestamp, report: &mut Repaired) -> Result<(), DoctorError> {
    let source = Source::open(path)?;
    for file in [new, damaged] {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(not_written(file))?;
    }
    let to = sqlite::open_writer(new, false)?;
    let salvage = |report: &mut Repaired| -> rusqlite::Result<()> {
        // Its log stays short: nobody reads there.
        to.pragma_update(None, "wal_autocheckpoint", 1_000)?;
        let side = Connection::open(damaged)?;
        // One transaction: it holds little, and is of no use half.
        let all = side.unchecked_transaction()?;
        let names = Names::load(&to)?;
        Salvage { from: &source, names, to: &to, side: &all, report }.run(now)?;
        all.commit()?;
        to.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))
    };
    salvage(report).map_err(trouble("save what can be read"))?;
    drop((source, to));
    let owner = std::fs::metadata(path).map_err(not_written(path))?;
    for file in [new, damaged] {
        // Whoever repairs may be another than the daemon's user, to whom the journal belongs.
        let given =
            if owner.uid() == rustix::process::geteuid().as_raw() { Ok(()) } else { chown(file, Some(owner.uid()), Some(owner.gid())) };
        given.and_then(|()| File::open(file)?.sync_all()).map_err(not_written(file))?;
    }
    match check(new)?.faults.first() {
        Some(fault) => Err(DoctorError::Unsound { path: new.to_owned(), why: fault.what.clone() }),
        None => Ok(()),
    }
}

/// Whether a repair was broken off while files changed their names.
pub fn is_half_repaired(path: &Path) -> bool {
    unfinished(path).is_some()
}

/// The stamp of a repair that was broken off while files changed their names.
fn unfinished(path: &Path) -> Option<String> {
    let stamp = std::fs::read_to_string(beside(path, REPAIRING)).ok()?;
    Some(stamp.trim().to_owned())
}

/// Whole or not at all.
fn mark(path: &Path, stamp: &str) -> Result<(), DoctorError> {
    let (marker, half) = (beside(path, REPAIRING), beside(path, ".repairing-new"));
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&half)?;
        file.write_all(stamp.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&half, &marker)
    };
    write().map_err(not_written(&marker))?;
    sync_folder(path)
}

/// Each step may have been done before.
fn swap(path: &Path, stamp: &str) -> Result<(), DoctorError> {
    let (new, before) = (new(path, stamp), before(path, stamp));
    let rename = |from: &Path, to: &Path| match std::fs::rename(from, to) {
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(()),
        renamed => renamed.map_err(not_written(to)),
    };
    for more in ["-wal", "-shm"] {
        rename(&beside(path, more), &beside(&before, more))?;
    }
    if new.exists() {
        if !before.exists() {
            rename(path, &before)?;
        }
        rename(&new, path)?;
    }
    sync_folder(path)?;
    let marker = beside(path, REPAIRING);
    std::fs::remove_file(&marker).map_err(not_written(&marker))?;
    sync_folder(path)
}

fn new(path: &Path, stamp: &str) -> PathBuf {
    beside(path, &format!(".repaired-{stamp}"))
}

fn before(path: &Path, stamp: &str) -> PathBuf {
    beside(path, &format!(".before-{stamp}"))
}

fn damaged(path: &Path, stamp: &str) -> PathBuf {
    beside(path, &format!(".damaged-{stamp}"))
}
