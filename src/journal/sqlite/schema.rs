//! The file's shape: settings asserted at every open, tables, and which schema number this program knows.
//!
//! Nothing on the way of an event is keyed by a random value: rows go in at the end of every tree that they touch. Rows are
//! late: a delivery that succeeds at once has one row, written with its outcome.

use super::{OpenError, failed};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use std::path::Path;
use std::time::Duration;

/// The schema that this program writes. A file with a higher number is refused.
pub const SCHEMA: i64 = 12;
/// From this one on deliveries have `order_key`.
pub const SCHEMA_WITH_ORDER: i64 = 3;
/// From this one on there is `gone`.
pub const SCHEMA_WITH_GONE: i64 = 4;
/// From this one on there is `replays`.
pub const SCHEMA_WITH_REPLAYS: i64 = 7;
/// From this one on deliveries have `on_dead`.
pub const SCHEMA_WITH_ON_DEAD: i64 = 9;
/// From this one on there is `configs`, and plans know their configuration.
pub const SCHEMA_WITH_CONFIGS: i64 = 10;
/// From this one on there is `duplicates`.
pub const SCHEMA_WITH_DUPLICATES: i64 = 11;
/// `SWYD`: the file is a journal of ours.
const APPLICATION: i64 = 0x5357_5944;
/// Older ones can lose committed pages when two connections checkpoint (sqlite.org/wal.html, "WAL-reset bug").
const SQLITE_MIN: i32 = 3_051_003;
/// Memory for pages, in KiB.
const CACHE_KIB: i64 = 64 * 1024;
/// How long the writer waits for a reader that opens the file at the same moment.
pub(super) const BUSY: Duration = Duration::from_millis(250);

const TABLES: &str = "
CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE sources(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE outputs(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE targets(id INTEGER PRIMARY KEY, route TEXT NOT NULL, output INTEGER NOT NULL, UNIQUE(route, output)) STRICT;

-- One verified event with its plan. The body comes last: what is before it is read without it.
CREATE TABLE events(
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL,              -- 16 bytes, UUID version 7
    source INTEGER NOT NULL,
    topic TEXT NOT NULL,
    received_at INTEGER NOT NULL,  -- milliseconds since 1970, as all times here
    targets INTEGER NOT NULL,      -- how many the plan has
    reused_id INTEGER NOT NULL,    -- 1: the sender had used its id before for another body
    dedupe INTEGER,
    crc INTEGER NOT NULL,          -- CRC-32 of plan, topic, headers, query and body
    plan BLOB NOT NULL,
    sender_id TEXT,
    query TEXT NOT NULL,
    headers BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT;
-- Refills the dedupe keys at a start; finds an event by the time in its id.
CREATE INDEX events_received ON events(received_at, dedupe);

CREATE TABLE deliveries(
    event INTEGER NOT NULL,
    target INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    output INTEGER NOT NULL,       -- the target's, for the index of what waits
    state INTEGER NOT NULL,        -- 0 waiting, 1 held, 2 delivered, 3 dead
    closes INTEGER NOT NULL,       -- 1: its target needs no more rows
    due_at INTEGER,                -- set while waiting, and while held until a time
    attempts INTEGER NOT NULL,
    replays INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    detail TEXT NOT NULL,
    message BLOB,
    PRIMARY KEY(event, target, ordinal)
) WITHOUT ROWID, STRICT;
CREATE INDEX deliveries_waiting ON deliveries(output, due_at, event, target, ordinal) WHERE state = 0;
CREATE INDEX deliveries_held ON deliveries(event, target, ordinal, output) WHERE state = 1;
CREATE INDEX deliveries_dead ON deliveries(event, target, ordinal, output) WHERE state = 3;
";

/// What a file of schema 1 lacks. New files get it after the tables.
const VAULT: &str = "
-- Credentials of outputs that change while in use, sealed with `journal.vault_key`.
CREATE TABLE vault(key TEXT PRIMARY KEY, version INTEGER NOT NULL, sealed BLOB NOT NULL) WITHOUT ROWID, STRICT;
";
/// What a file of schema 2 lacks.
const ORDER: &str = "
-- Set as long as others with the same key wait for this one, and while it waits for them.
ALTER TABLE deliveries ADD COLUMN order_key INTEGER;
-- Since when it is this one's turn.
ALTER TABLE deliveries ADD COLUMN turn_at INTEGER;
CREATE INDEX deliveries_ordered ON deliveries(output, order_key, event, target, ordinal) WHERE order_key IS NOT NULL;
CREATE INDEX deliveries_turn ON deliveries(output, turn_at) WHERE turn_at IS NOT NULL;
";
/// What a file of schema 3 lacks. From 4 on the message of a delivery begins with its checksum (`codec::seal`), which older programs would
/// take for damage; messages without one stay as they are.
const GONE: &str = "
-- Events that were erased, or deleted before a repeat of them could not come any more: by what a repeat is recognised, and nothing else.
CREATE TABLE gone(
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    received_at INTEGER NOT NULL,
    dedupe INTEGER,
    who BLOB NOT NULL,             -- hash of source and sender's id, or of source and topic
    what BLOB NOT NULL             -- hash of the body
) STRICT;
CREATE INDEX gone_received ON gone(received_at, dedupe);
";
/// What a file of schema 4 lacks: replays that wait do not stand between live deliveries.
const REPLAYS: &str = "
DROP INDEX deliveries_waiting;
CREATE INDEX deliveries_waiting ON deliveries(output, (replays > 0), due_at, event, target, ordinal) WHERE state = 0;
";
/// What a file of schema 5 lacks.
const UNTIL: &str = "
-- Those that are held until a time.
CREATE INDEX deliveries_until ON deliveries(output, due_at, event, target, ordinal) WHERE state = 1 AND due_at IS NOT NULL;
";
/// What a file of schema 6 lacks.
const JOBS: &str = "
-- What is to be delivered again, and how far that is.
CREATE TABLE replays(
    id INTEGER PRIMARY KEY,
    output TEXT NOT NULL,
    states TEXT NOT NULL,          -- words, with commas
    route TEXT, source TEXT, topic TEXT, since INTEGER, until INTEGER,
    through INTEGER NOT NULL,      -- the last event that is in it
    planned_at INTEGER NOT NULL,   -- rows written from then on are not in it
    render TEXT NOT NULL,          -- now, then
    total INTEGER NOT NULL,
    done INTEGER NOT NULL,
    state TEXT NOT NULL,           -- running, paused, cancelled, finished
    updated_at INTEGER NOT NULL,
    at_state INTEGER NOT NULL, at_event INTEGER NOT NULL, at_target INTEGER NOT NULL, at_ordinal INTEGER NOT NULL
) STRICT;
";
/// What a file of schema 7 lacks.
const APART: &str = "
-- Those that are held for another reason than their line: there may be millions of these, and a start looks for a few of the others.
CREATE INDEX deliveries_apart ON deliveries(output, detail, event, target, ordinal) WHERE state = 1
    AND detail NOT IN ('waits behind an earlier one of its key', 'collected for the next digest of its key');
-- For lists: a few that wait among millions that are delivered.
CREATE INDEX deliveries_waits ON deliveries(event, target, ordinal, output) WHERE state = 0;
";
/// What a file of schema 8 lacks.
const ON_DEAD: &str = "
-- 1: dead where there is an `on_dead`, which is to be given its event; 2: it was.
ALTER TABLE deliveries ADD COLUMN on_dead INTEGER;
CREATE INDEX deliveries_on_dead ON deliveries(event, target, ordinal) WHERE on_dead = 1;
";
/// What a file of schema 9 lacks. From 10 on plans say under which configuration they were made (`codec`), which older programs do not read.
const CONFIGS: &str = "
-- Configurations that ran, by the name that plans know them by.
CREATE TABLE configs(
    version INTEGER PRIMARY KEY,
    nth INTEGER NOT NULL UNIQUE,   -- the newest has the highest
    since INTEGER NOT NULL,        -- when it began to run the last time
    text TEXT NOT NULL             -- the file as written, without what was secret in it
) STRICT;
";
/// What a file of schema 10 lacks.
const DUPLICATES: &str = "
-- Repeats that were answered and not planned: what each has of its own. Its body is that of the event that it repeats.
CREATE TABLE IF NOT EXISTS duplicates(
    n INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    event INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    topic TEXT NOT NULL,
    query TEXT NOT NULL,
    headers BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS duplicates_of ON duplicates(event);
";
/// What a file of schema 11 lacks: nothing. From 12 on plans may say by which secret their event was proven (`codec`), which older programs do not read.
const SECRETS: &str = "";
/// From each earlier schema to the next, from 1 on.
const STEPS: [&str; 11] = [VAULT, ORDER, GONE, REPLAYS, UNTIL, JOBS, APART, ON_DEAD, CONFIGS, DUPLICATES, SECRETS];

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Schema(i64),
}

/// Opens the writer's connection of the file at `path`, makes the tables in a new file, refuses what is not ours. Where there `was` a journal,
/// a file without tables is no new one.
pub fn open_writer(path: &Path, was: bool) -> Result<Connection, OpenError> {
    if rusqlite::version_number() < SQLITE_MIN {
        return Err(OpenError::SqliteTooOld { found: rusqlite::version().to_owned() });
    }
    let db = Connection::open(path).map_err(failed(path, "open"))?;
    db.busy_timeout(BUSY).map_err(failed(path, "open"))?;
    let found = check_version(&db, path)?;
    if found == Found::Nothing && was {
        return Err(OpenError::emptied(path));
    }
    if found == Found::Nothing {
        // Before the first table, or it has no effect.
        db.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(failed(path, "open"))?;
    }
    settle_pragmas(&db, path)?;
    // Closing must not checkpoint by itself: an error there would be heard by nobody. The writer does it before.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed(path, "open"))?;
    let (tables, from) = match found {
        Found::Nothing => (TABLES, 1),
        Found::Schema(schema) => ("", schema),
    };
    if found != Found::Schema(SCHEMA) {
        // One transaction: a file is of the old schema or of the new one.
        let steps = STEPS.get(usize::try_from(from - 1).unwrap_or(0)..).unwrap_or_default().concat();
        let make =
            format!("BEGIN IMMEDIATE; {tables} {steps} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {SCHEMA}; COMMIT;");
        db.execute_batch(&make).map_err(failed(path, "make the tables"))?;
    }
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}

/// Opens a connection that only reads.
pub fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    use rusqlite::OpenFlags;
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY)?;
    db.pragma_update(None, "trusted_schema", false)?;
    db.pragma_update(None, "cell_size_check", true)?;
    db.pragma_update(None, "mmap_size", 0)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.set_prepared_statement_cache_capacity(32);
    Ok(db)
}

/// Opens what is left of a damaged journal for reading, with its schema: also one that ends before its last page, or whose tables can't all
/// be read; those are not there then.
pub fn open_damaged(path: &Path) -> Result<(Connection, i64), OpenError> {
    let db = open_reader(path).map_err(failed(path, "open"))?;
    // The only way in which SQLite opens a file that is shorter than it says, or reads what it can of the schema.
    db.pragma_update(None, "writable_schema", true).map_err(failed(path, "open"))?;
    let (application, version) = numbers(&db, path)?;
    known(path, application, version).map(|schema| (db, schema))
}

/// The schema of a journal that is only read; refuses what is none, or newer than this program.
pub fn schema_of(db: &Connection, path: &Path) -> Result<i64, OpenError> {
    match check_version(db, path)? {
        Found::Schema(schema) => Ok(schema),
        Found::Nothing => Err(OpenError::NotAJournal { path: path.to_owned() }),
    }
}

/// What the file is; refuses what is not a journal or was written by a newer program.
fn check_version(db: &Connection, path: &Path) -> Result<Found, OpenError> {
    let (application, version) = numbers(db, path)?;
    let objects: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed(path, "read the schema"))?;
    if (application, version, objects) == (0, 0, 0) {
        return Ok(Found::Nothing);
    }
    known(path, application, version).map(Found::Schema)
}

/// Whose the file is, and its schema.
fn numbers(db: &Connection, path: &Path) -> Result<(i64, i64), OpenError> {
    let number = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(failed(path, "read the schema's number"));
    Ok((number("application_id")?, number("user_version")?))
}

fn known(path: &Path, application: i64, version: i64) -> Result<i64, OpenError> {
    match (application, version) {
        (APPLICATION, 1..=SCHEMA) => Ok(version),
        (APPLICATION, found) => Err(OpenError::Newer { path: path.to_owned(), found, known: SCHEMA }),
        _ => Err(OpenError::NotAJournal { path: path.to_owned() }),
    }
}

/// What makes a commit survive a loss of power. NORMAL would not: `xtask torture power --synchronous normal` shows it.
const SYNCHRONOUS: (&str, &str, &str) = ("synchronous", "FULL", "2");

#[cfg(not(feature = "torture"))]
fn weakened(pragma: (&'static str, &'static str, &'static str)) -> (&'static str, &'static str, &'static str) {
    pragma
}

/// The control run of the power torture must lose events; only then does the other run prove something.
#[cfg(feature = "torture")]
fn weakened(pragma: (&'static str, &'static str, &'static str)) -> (&'static str, &'static str, &'static str) {
    #[allow(clippy::disallowed_methods)] // no secret, and only under `torture`
    let normal = std::env::var("SWITCHYARD_TORTURE_SYNCHRONOUS").is_ok_and(|value| value == "normal");
    if normal && pragma == SYNCHRONOUS { ("synchronous", "NORMAL", "1") } else { pragma }
}

/// Sets what durability rests on and reads each back: a pragma that is not understood says nothing.
fn settle_pragmas(db: &Connection, path: &Path) -> Result<(), OpenError> {
    const MUST: [(&str, &str, &str); 8] = [
        ("journal_mode", "WAL", "wal"),
        SYNCHRONOUS,
        ("wal_autocheckpoint", "0", "0"),
        ("mmap_size", "0", "0"),
        ("trusted_schema", "OFF", "0"),
        ("cell_size_check", "ON", "1"),
        ("temp_store", "MEMORY", "2"),
        ("fullfsync", "ON", "1"),
    ];
    for (name, value, expected) in MUST.map(weakened) {
        db.pragma_update(None, name, value).map_err(failed(path, "set a pragma"))?;
        let found =
            db.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0)).map_err(failed(path, "read a pragma"))?;
        let found = match found {
            rusqlite::types::Value::Integer(number) => number.to_string(),
            rusqlite::types::Value::Text(text) => text,
            other => format!("{other:?}"),
        };
        if found != expected {
            return Err(OpenError::Pragma { name, found, expected });
        }
    }
    db.pragma_update(None, "cache_size", -CACHE_KIB).map_err(failed(path, "set a pragma"))?;
    Ok(())
}
