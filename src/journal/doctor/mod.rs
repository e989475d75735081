//! The journal's doctor: is the file sound, what is in it, a copy of it, and what can be saved of a damaged one.
//!
//! Does: reads beside a running daemon or without one, in pages of one moment each (`check`, `stats`), copies one moment whole
//! (`backup`), and, where no daemon has the file, saves what can be read (`repair`) or takes it to this program's schema (`migrate`). Never:
//! changes the file that it looks at, or writes over a file that is there. All calls block on the disk. Holds: L1 what is not accounted for
//! is told, L6 one event is in memory at a time. Proven by `tests` here and `tests/journal.rs`.

mod backup;
mod check;
mod gap;
mod migrate;
mod repair;
mod salvage;
mod source;
mod stats;

#[cfg(test)]
mod cut_tests;
#[cfg(test)]
mod tests;

pub use backup::{Copied, backup};
pub use check::{Checkup, Fault, check};
pub use migrate::{Schemas, migrate, schemas};
pub use repair::{Repaired, faults, is_half_repaired, repair};
pub use stats::{Figures, OutputFigures, stats};

use super::sqlite::{self, OpenError, beside, trouble};
use super::store::StoreError;
use rusqlite::Connection;
use std::path::{Path, PathBuf};

/// Why the doctor could not. `Display` is one line with what to do.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// There is no such file.
    #[error("there is no journal at {0}: say which with --config, or with --file")]
    Missing(PathBuf),
    /// It is not a journal, is a newer program's, or another process has it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file stands in the way.
    #[error("{0} exists already and is left as it is: name another file, or move that one away")]
    Exists(PathBuf),
    /// It is damaged from its beginning on.
    #[error("nothing of {0} can be read: restore a copy of it, or move it away to start with an empty journal")]
    Nothing(PathBuf),
    /// Nothing is wrong with it.
    #[error("{0} is sound: there is nothing to repair")]
    Sound(PathBuf),
    /// A file could not be written.
    #[error("can't write {path}: {cause}")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// What was written does not read back as it should.
    #[error("the copy at {path} is not sound ({why}) and was removed: see `switchyard journal check`")]
    Unsound {
        /// Where it was.
        path: PathBuf,
        /// What its check said first.
        why: String,
    },
}

impl DoctorError {
    /// Whether the file is damaged (75), can't be written (74), or the question is wrong (2).
    pub fn exit_code(&self) -> u8 {
        match self {
            DoctorError::Missing(_) | DoctorError::Exists(_) | DoctorError::Sound(_) => 2,
            DoctorError::Open(why) => why.exit_code(),
            DoctorError::Store(why) => why.exit_code().unwrap_or(74),
            DoctorError::Write { .. } => 74,
            DoctorError::Unsound { .. } | DoctorError::Nothing(_) => 75,
        }
    }
}

/// Opens a journal's file for reading, and says its schema.
fn open(path: &Path) -> Result<(Connection, i64), DoctorError> {
    // Asked of the folder, never by opening the file beside SQLite.
    if !path.try_exists().unwrap_or(true) {
        return Err(DoctorError::Missing(path.to_owned()));
    }
    sqlite::refuse_emptied(path, true)?;
    let db = sqlite::open_reader(path).map_err(trouble("open the journal"))?;
    let schema = sqlite::schema_of(&db, path)?;
    Ok((db, schema))
}

/// What `write` could not.
fn not_written(path: &Path) -> impl Fn(std::io::Error) -> DoctorError {
    move |cause| DoctorError::Write { path: path.to_owned(), cause: cause.to_string() }
}

/// Makes a folder's entries durable.
fn sync_folder(file: &Path) -> Result<(), DoctorError> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(not_written(folder))
}
