//! A copy of one moment of a journal, beside a running daemon or without one.
//!
//! The copy is made under another name in the folder where it will stand, checked, synced, and takes its name last, so that a file of that
//! name is always a whole one. While it is read the log is kept from being reused: it grows by what comes in meanwhile.

use super::{Checkup, DoctorError, beside, check, not_written, open, sync_folder};
use crate::journal::sqlite::trouble;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Pages copied between two looks at how it stands.
const STEP: i32 = 1_000;

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// Bytes of the copy.
    pub bytes: u64,
    /// Its events.
    pub events: u64,
    /// Its deliveries' rows.
    pub deliveries: u64,
    /// What the check of the copy says of what was damaged in the journal already.
    pub faults: u64,
}

/// Copies the journal at `path` to `to`, which must not be there. A journal with damaged rows is copied as it is, and that is said; one
/// whose file is not sound is not.
///
/// # Errors
/// There is a file at `to`, it can't be written, or the copy is not sound.
pub fn backup(path: &Path, to: &Path) -> Result<Copied, DoctorError> {
    if to.symlink_metadata().is_ok() {
        return Err(DoctorError::Exists(to.to_owned()));
    }
    let new = beside(to, &format!(".{}.new", std::process::id()));
    let copied = copy(path, &new).and_then(|checkup| name(&new, to).map(|()| checkup));
    if copied.is_err() {
        // What is half a copy helps nobody.
        let _ = std::fs::remove_file(&new);
        let _ = std::fs::remove_file(beside(&new, "-journal"));
    }
    let checkup = copied?;
    let bytes = std::fs::metadata(to).map_or(0, |file| file.len());
    let faults = checkup.faults.len() as u64 + checkup.more_faults;
    Ok(Copied { bytes, events: checkup.events, deliveries: checkup.deliveries, faults })
}

/// Copies to a new file, syncs and checks it.
fn copy(path: &Path, new: &Path) -> Result<Checkup, DoctorError> {
    let (from, _) = open(path)?;
    // For the owner alone, as the journal is.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(new).map_err(not_written(new))?;
    let pages = |from: &Connection| -> rusqlite::Result<()> {
        // One moment: a copy that sees changes would begin again with each of them.
        let moment = from.unchecked_transaction()?;
        moment.query_row("SELECT count(*) FROM meta", [], |_| Ok(()))?;
        let mut to = Connection::open(new)?;
        let backup = Backup::new(&moment, &mut to)?;
        loop {
            match backup.step(STEP)? {
                StepResult::Done => break,
                StepResult::More => {}
                _ => std::thread::sleep(std::time::Duration::from_millis(10)),
            }
        }
        drop(backup);
        // A file of its own, without a log beside it; a daemon that opens it goes back to one.
        to.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))
    };
    pages(&from).map_err(trouble("copy the journal"))?;
    // After the last connection to it is closed.
    File::open(new).and_then(|file| file.sync_all()).map_err(not_written(new))?;
    let checkup = check(new)?;
    match checkup.faults.iter().find(|fault| fault.what.starts_with("the file: ")) {
        Some(fault) => Err(DoctorError::Unsound { path: new.to_owned(), why: fault.what.clone() }),
        None => Ok(checkup),
    }
}

/// Gives the copy its name, unless another file took it meanwhile.
fn name(new: &Path, to: &Path) -> Result<(), DoctorError> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, new, CWD, to, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::EXIST) => return Err(DoctorError::Exists(to.to_owned())),
        renamed => renamed.map_err(|cause| not_written(to)(cause.into()))?,
    }
    sync_folder(to)
}
