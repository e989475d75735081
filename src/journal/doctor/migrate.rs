//! Taking a journal to this program's schema on purpose, instead of at the daemon's next start.

use super::{DoctorError, open};
use crate::journal::sqlite::{self, SqliteStore};
use crate::model::Timestamp;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// A file's schema and this program's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Schemas {
    /// The file's.
    pub from: i64,
    /// This program's.
    pub to: i64,
}

/// Which schema a journal has. Changes nothing.
///
/// # Errors
/// It is not there, is no journal, or is of a newer program.
pub fn schemas(path: &Path) -> Result<Schemas, DoctorError> {
    open(path).map(|(_, from)| Schemas { from, to: sqlite::SCHEMA })
}

/// Takes a journal that no daemon has to this program's schema, in one transaction: it is of the old one or of the new one.
///
/// # Errors
/// A daemon has it, or it can't be opened.
pub fn migrate(path: &Path, now: Timestamp) -> Result<Schemas, DoctorError> {
    let schemas = schemas(path)?;
    SqliteStore::open(path, Duration::ZERO, now)?;
    Ok(schemas)
}
