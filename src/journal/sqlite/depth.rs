//! How deep the lines of outputs are: counted once after the start, in slices, and from then on by every row that changes.
//!
//! The counters lie in tables of the connection itself, in memory: triggers keep them whoever changes rows, a transaction that is rolled back
//! takes them back, and no file has them. A row counts as soon as the walk has passed its event, so nothing is counted twice or missed.

use super::write::run;
use super::{Names, SqliteStore, trouble};
use crate::journal::store::{Depth, Depths, StoreError};
use foldhash::{HashMap, HashMapExt};
use rusqlite::{Connection, params};
use std::sync::Arc;

/// Rows of each state that one slice counts: about a millisecond. Few in tests, so that rows change between slices.
const SLICE: i64 = if cfg!(test) { 2 } else { 10_000 };

const COUNTERS: &str = "
CREATE TEMP TABLE depths(output INTEGER PRIMARY KEY, waiting INTEGER NOT NULL, held INTEGER NOT NULL);
CREATE TEMP TABLE walked(event INTEGER NOT NULL);
INSERT INTO walked VALUES(0);
CREATE TEMP TRIGGER depths_more AFTER INSERT ON main.deliveries WHEN NEW.state < 2 AND NEW.event <= (SELECT event FROM walked) BEGIN
    INSERT INTO depths VALUES(NEW.output, NEW.state = 0, NEW.state = 1)
        ON CONFLICT DO UPDATE SET waiting = waiting + excluded.waiting, held = held + excluded.held;
END;
CREATE TEMP TRIGGER depths_less AFTER DELETE ON main.deliveries WHEN OLD.state < 2 AND OLD.event <= (SELECT event FROM walked) BEGIN
    UPDATE depths SET waiting = waiting - (OLD.state = 0), held = held - (OLD.state = 1) WHERE output = OLD.output;
END;
CREATE TEMP TRIGGER depths_other AFTER UPDATE OF state ON main.deliveries
    WHEN OLD.state <> NEW.state AND (OLD.state < 2 OR NEW.state < 2) AND NEW.event <= (SELECT event FROM walked) BEGIN
    INSERT INTO depths VALUES(NEW.output, (NEW.state = 0) - (OLD.state = 0), (NEW.state = 1) - (OLD.state = 1))
        ON CONFLICT DO UPDATE SET waiting = waiting + excluded.waiting, held = held + excluded.held;
END;
";

/// Begins to count from nothing.
pub fn begin(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(COUNTERS)
}

impl SqliteStore {
    pub(super) fn count_slice(&mut self) -> Result<bool, StoreError> {
        let counted = walk(&self.db).map_err(trouble("count what waits"));
        if counted.is_err() {
            self.roll_back()?;
        }
        counted
    }

    pub(super) fn read_depths(&mut self) -> rusqlite::Result<Depths> {
        let mut select = self.db.prepare_cached("SELECT output, waiting, held FROM depths WHERE waiting > 0 OR held > 0")?;
        let mut rows = select.query([])?;
        let mut found: HashMap<i64, Depth> = HashMap::new();
        while let Some(row) = rows.next()? {
            let (waiting, held): (i64, i64) = (row.get(1)?, row.get(2)?);
            found.insert(row.get(0)?, Depth { waiting: waiting as u64, held: held as u64 });
        }
        Ok(named(&self.names, &found))
    }
}

fn named(names: &Names, found: &HashMap<i64, Depth>) -> Depths {
    names.outputs().filter_map(|(name, number)| Some((Arc::clone(name), *found.get(&number)?))).collect()
}

/// One slice. Nothing of the file is written, so nothing is synced.
fn walk(db: &Connection) -> rusqlite::Result<bool> {
    let from: i64 = db.prepare_cached("SELECT event FROM walked")?.query_row([], |row| row.get(0))?;
    if from == i64::MAX {
        return Ok(false);
    }
    // Numbers and indexes by name, so that each is read in the order of events and by itself alone.
    let states = [("state = 0", "deliveries_waits", "count(*), 0"), ("state = 1", "deliveries_held", "0, count(*)")];
    run(db, "BEGIN")?;
    let mut to = i64::MAX;
    for (state, index, _) in states {
        let nth = format!("SELECT event FROM deliveries INDEXED BY {index} WHERE {state} AND event > ? ORDER BY event LIMIT 1 OFFSET ?");
        let mut nth = db.prepare_cached(&nth)?;
        let mut rows = nth.query(params![from, SLICE])?;
        if let Some(row) = rows.next()? {
            to = to.min(row.get(0)?);
        }
    }
    for (state, index, counts) in states {
        let add = format!(
            "INSERT INTO depths SELECT output, {counts} FROM deliveries INDEXED BY {index} WHERE {state} AND event > ? AND event <= ? GROUP BY output
            ON CONFLICT DO UPDATE SET waiting = waiting + excluded.waiting, held = held + excluded.held"
        );
        db.prepare_cached(&add)?.execute([from, to])?;
    }
    db.prepare_cached("UPDATE walked SET event = ?")?.execute([to])?;
    run(db, "COMMIT")?;
    Ok(to < i64::MAX)
}
