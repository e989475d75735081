//! What is left of a damaged journal, opened as far as it can be.

use super::{DoctorError, beside, not_written, open};
use crate::journal::sqlite::{self, OpenError};
use crate::journal::store::StoreError;
use rusqlite::Connection;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes of SQLite's header, at the beginning of the first page (sqlite.org/fileformat2.html §1.3).
const HEADER: usize = 100;
/// Bytes of a page, as the journal's are made.
const PAGE: u64 = 4_096;

/// A journal to be saved.
#[derive(Debug)]
pub struct Source {
    pub db: Connection,
    pub schema: i64,
    /// What is known to be gone before anything was read: one line.
    pub lost: Option<String>,
    /// Removed with it.
    copy: Option<PathBuf>,
}

impl Source {
    /// Opens it; only where nobody else has it. The file and its log stay as they are.
    pub fn open(path: &Path) -> Result<Self, DoctorError> {
        let lost = cut(path);
        let (db, schema) = match open(path) {
            Err(DoctorError::Open(OpenError::Emptied { log: true, .. })) => return Source::of_log(path),
            Err(why) => open_torn(path, why)?,
            Ok(opened) => opened,
        };
        Ok(Source { db, schema, lost, copy: None })
    }

    /// SQLite reads a log only beside a file that has a page, and removes it beside one that has none: so of copies, where the page is empty.
    fn of_log(path: &Path) -> Result<Self, DoctorError> {
        let copy = beside(path, ".from-log");
        let mut source =
            Source { db: Connection::open_in_memory().map_err(sqlite::trouble("open a copy"))?, schema: 0, lost: None, copy: None };
        source.copy = Some(copy.clone());
        let page = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&copy);
        page.and_then(|page| page.set_len(PAGE)).map_err(not_written(&copy))?;
        std::fs::copy(beside(path, "-wal"), beside(&copy, "-wal")).map_err(not_written(&copy))?;
        // Named as what was asked for: of the copy nobody knows.
        let unreadable = |_| DoctorError::Nothing(path.to_owned());
        (source.db, source.schema) = sqlite::open_damaged(&copy).map_err(unreadable)?;
        source.lost = Some("the file was emptied: what its log does not have is lost".to_owned());
        Ok(source)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        for more in ["", "-wal", "-shm"] {
            let _ = self.copy.as_ref().map(|copy| std::fs::remove_file(beside(copy, more)));
        }
    }
}

/// Opens what could not be opened as a journal should; where it is not damage that was in the way, or nothing of it can be read, `why` stays.
pub fn open_torn(path: &Path, why: DoctorError) -> Result<(Connection, i64), DoctorError> {
    let DoctorError::Open(OpenError::Store { cause: StoreError::Corrupt { .. }, .. }) = &why else { return Err(why) };
    sqlite::open_damaged(path).map_err(|_| why)
}

/// How much of the file was cut off, where it says how long it was. Not asked where it has a log: then pages may be there that are not in it
/// yet. By plain file calls: before it is opened, and where nobody else has it.
fn cut(path: &Path) -> Option<String> {
    let log = beside(path, "-wal").metadata().map_or(0, |log| log.len());
    let mut header = [0; HEADER];
    File::open(path).and_then(|mut file| file.read_exact(&mut header)).ok()?;
    let number = |at: usize| header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    // Else the number of pages is not one.
    let (said, holds) = (number(28)?, number(24) == number(92));
    let there = path.metadata().ok()?.len() / PAGE;
    (log == 0 && holds && u64::from(said) > there)
        .then(|| format!("the file was cut off: {there} of its {said} pages are there, and with the others went what stood on them"))
}
