//! Configurations that ran: kept under the version that plans name, up to a bound.

use super::SqliteStore;
use crate::journal::store::{CONFIG_BYTES_MAX, CONFIGS_MAX, KeptConfig, Slice};
use crate::model::{ConfigVersion, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

const NEWEST: &str = "SELECT version FROM configs ORDER BY nth DESC LIMIT 1";
const KEEP: &str = "INSERT INTO configs(version, nth, since, text) VALUES(?1, (SELECT coalesce(max(nth), 0) + 1 FROM configs), ?2, ?3)
    ON CONFLICT(version) DO UPDATE SET nth = excluded.nth, since = excluded.since, text = excluded.text";
/// Those beyond the bounds: of each is counted what is newer and itself. The newest stays.
const FORGET: &str = "DELETE FROM configs WHERE nth IN (SELECT nth FROM
    (SELECT nth, row_number() OVER newer AS place, sum(octet_length(text)) OVER newer AS bytes FROM configs WINDOW newer AS (ORDER BY nth DESC))
    WHERE place > 1 AND (place > ?1 OR bytes > ?2))";

impl SqliteStore {
    /// Within the operation's transaction.
    pub(super) fn keep_config(&mut self, version: ConfigVersion, text: &str, now: Timestamp) -> rusqlite::Result<Slice> {
        let newest: Option<i64> = self.db.prepare_cached(NEWEST)?.query_row([], |row| row.get(0)).optional()?;
        if newest == Some(i64::from(version.0)) {
            return Ok(Slice { changed: 0, next: None });
        }
        self.db.prepare_cached(KEEP)?.execute(params![version.0, now.0, text])?;
        self.db.prepare_cached(FORGET)?.execute([CONFIGS_MAX as i64, CONFIG_BYTES_MAX as i64])?;
        Ok(Slice { changed: 1, next: None })
    }
}

/// Those that are kept, the newest first. One whose number is none of ours is left out.
pub fn configs(db: &Connection) -> rusqlite::Result<Vec<KeptConfig>> {
    let mut select = db.prepare_cached("SELECT version, since, text FROM configs ORDER BY nth DESC")?;
    let mut rows = select.query([])?;
    let mut found = vec![];
    while let Some(row) = rows.next()? {
        let (version, text): (i64, String) = (row.get(0)?, row.get(2)?);
        let version = u32::try_from(version).ok().map(ConfigVersion);
        found.extend(version.map(|version| KeptConfig { version, since: Timestamp(row.get(1).unwrap_or_default()), text: text.into() }));
    }
    Ok(found)
}
