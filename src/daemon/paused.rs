//! Which outputs somebody paused: a small file beside the journal, so that a pause outlives a restart.

use super::beside;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The file's name.
const FILE: &str = "paused.json";

/// The names of paused outputs, as they stand on the disk.
#[derive(Debug)]
pub struct Paused {
    folder: PathBuf,
    names: Mutex<BTreeSet<Arc<str>>>,
}

impl Paused {
    /// Reads the file; without one nothing is paused.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let names = beside::read(folder, FILE)?.unwrap_or_default();
        Ok(Paused { folder: folder.to_owned(), names: Mutex::new(names) })
    }

    /// Whether this output is paused.
    pub fn holds(&self, output: &str) -> bool {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).contains(output)
    }

    /// All of them.
    pub fn names(&self) -> BTreeSet<Arc<str>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes down that it is, or is not any more; durable when this returns.
    pub fn set(&self, output: &str, paused: bool) -> io::Result<()> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = names.clone();
        if paused {
            changed.insert(output.into());
        } else {
            changed.remove(output);
        }
        beside::write(&self.folder, FILE, &changed)?;
        *names = changed;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_outlives_the_process_and_a_broken_file_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let paused = Paused::read(folder.path()).unwrap();
        paused.set("a", true).unwrap();
        paused.set("b", true).unwrap();
        paused.set("a", false).unwrap();
        let again = Paused::read(folder.path()).unwrap();
        assert!(again.holds("b") && !again.holds("a"));
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(Paused::read(folder.path()).is_err());
    }
}
