//! One daemon per file: a lock beside it that names who holds it.
//!
//! The lock is on a file of its own, never on SQLite's: closing any descriptor of those drops SQLite's own locks
//! (sqlite.org/howtocorrupt.html §2.2). It remembers too whether there was a journal: an emptied file is no new one.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often, and how long after each other, the lock is tried: somebody may just be asking who holds it.
const TRIES: usize = 5;
const BETWEEN: Duration = Duration::from_millis(20);

/// Stands in the lock's file once the journal has its tables.
const MADE: &str = "made";

/// Held while it lives.
#[derive(Debug)]
pub struct DaemonLock {
    /// Closing it lets go of the lock.
    held: File,
    made: bool,
}

/// Why the journal is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon has it.
    #[error("{path} is in use by process {pid}: stop that daemon first, or give this one a `journal.url` of its own")]
    Held {
        /// The journal's file.
        path: PathBuf,
        /// What the lock file says.
        pid: String,
    },
    /// The folder or the lock file could not be made.
    #[error("cannot make {path}: {cause}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

impl DaemonLock {
    /// Makes the folder (0700) and takes the lock of the journal at `path`.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let named = |path: &Path| {
            let path = path.to_owned();
            move |cause| LockError::Io { path, cause }
        };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(named(folder))?;
        }
        let beside = beside(path);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&beside);
        let file = open.map_err(named(&beside))?;
        let mut tries = 1;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(BETWEEN);
                }
                Err(TryLockError::WouldBlock) => return Err(LockError::Held { path: path.to_owned(), pid: pid_in(file) }),
                Err(TryLockError::Error(cause)) => return Err(named(&beside)(cause)),
            }
        }
        let mut said = String::new();
        // What can't be read says nothing.
        let _ = (&file).take(40).read_to_string(&mut said);
        // Whoever removed the journal begins anew.
        let made = said.split_whitespace().nth(1) == Some(MADE) && path.exists();
        let mut lock = DaemonLock { held: file, made };
        lock.say().map_err(named(&beside))?;
        Ok(lock)
    }

    /// Whether the file was a journal before.
    pub fn had_journal(&self) -> bool {
        self.made
    }

    /// The file is a journal from now on; durable when this returns, for what empties a file may be a loss of power.
    pub fn keep_in_mind(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.made, true) {
            self.say()?;
            self.held.sync_all()?;
        }
        Ok(())
    }

    fn say(&mut self) -> io::Result<()> {
        let said = format!("{}\n{}\n", std::process::id(), if self.made { MADE } else { "" });
        // Cut after it, not before: on a full disk there is no other space than what it has.
        self.held.rewind()?;
        self.held.write_all(said.as_bytes())?;
        self.held.set_len(said.len() as u64)
    }
}

/// Which process has the journal at `path`; `None`: nobody.
pub fn holder(path: &Path) -> Option<String> {
    let file = File::open(beside(path)).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(pid_in(file)),
        // Let go of at once, with the file.
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

fn pid_in(file: File) -> String {
    let mut pid = String::new();
    let _ = file.take(20).read_to_string(&mut pid);
    pid.split_whitespace().next().unwrap_or("?").to_owned()
}

/// `<path>.lock`.
fn beside(path: &Path) -> PathBuf {
    super::beside(path, ".lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_opener_is_refused_and_told_by_whom() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/journal.db");
        let first = DaemonLock::take(&path).unwrap();
        let told = DaemonLock::take(&path).unwrap_err().to_string();
        assert!(told.contains(&format!("in use by process {}", std::process::id())), "{told}");
        assert_eq!(holder(&path), Some(std::process::id().to_string()));
        drop(first);
        assert_eq!(holder(&path), None);
        DaemonLock::take(&path).unwrap();
    }
}
