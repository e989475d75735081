//! Sealed values: compare and write, read.

use super::SqliteStore;
use crate::journal::store::{Sealed, Slice};
use rusqlite::{Connection, OptionalExtension, params};

const FIRST: &str = "INSERT INTO vault(key, version, sealed) VALUES(?, 1, ?) ON CONFLICT(key) DO NOTHING";
const NEXT: &str = "UPDATE vault SET version = version + 1, sealed = ? WHERE key = ? AND version = ?";

impl SqliteStore {
    /// Within the operation's transaction.
    pub(super) fn seal(&mut self, key: &str, seen: u64, sealed: &[u8]) -> rusqlite::Result<Slice> {
        let changed = match seen {
            0 => self.db.prepare_cached(FIRST)?.execute(params![key, sealed])?,
            seen => self.db.prepare_cached(NEXT)?.execute(params![sealed, key, seen as i64])?,
        };
        Ok(Slice { changed: changed as u64, next: None })
    }
}

/// What is sealed under a key.
pub(in crate::journal) fn sealed(db: &Connection, key: &str) -> rusqlite::Result<Option<Sealed>> {
    let mut select = db.prepare_cached("SELECT version, sealed FROM vault WHERE key = ?")?;
    let row = select.query_row([key], |row| Ok(Sealed { version: row.get::<_, i64>(0)? as u64, bytes: row.get(1)? }));
    row.optional()
}
