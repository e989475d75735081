//! Proves the shim itself, without the daemon: a small SQLite writer loses nothing with synchronous=FULL, and something with NORMAL.
//!
//! The writer is this same program under the shim. It says each number on stdout once its commit returned; what it said must be there
//! after the power is back.

use crate::daemon::was_killed;
use crate::torture::shim::{Loss, Shim, drop_shared_memory};
use crate::{build, process};
use anyhow::{Context, bail};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rusqlite::Connection;
use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Rows of one commit.
const BATCH: i64 = 3;
/// The WAL is moved into the file this often, so that both are hit.
const CHECKPOINT_PAGES: u32 = 40;
/// The latest operation at which power is lost.
const LATEST: u64 = 600;

/// What the writer under the shim gets.
#[derive(clap::Args)]
pub struct WriterOptions {
    database: PathBuf,
    synchronous: String,
    first: i64,
}

/// Runs both histories; whether the shim showed what it must.
pub fn run(cycles: u32, seed: u64) -> anyhow::Result<bool> {
    let scratch = build::scratch("power-self-check-")?;
    let shim = Shim::compile(scratch.path())?;
    println!("power --self-check: {cycles} losses of power each, seed {seed}");
    let full = history(&shim, &scratch.path().join("full"), "FULL", cycles, seed)?;
    let normal = history(&shim, &scratch.path().join("normal"), "NORMAL", cycles, seed)?;
    let good = full.lost == 0 && full.corrupt == 0 && normal.lost > 0 && normal.corrupt == 0;
    println!("{}", if good { "the shim sees what is not synced, and nothing else" } else { "FAILED: the shim proves nothing" });
    Ok(good)
}

#[derive(Default)]
struct History {
    said: HashSet<i64>,
    lost: usize,
    lossy_cycles: usize,
    corrupt: usize,
}

fn history(shim: &Shim, folder: &Path, synchronous: &str, cycles: u32, seed: u64) -> anyhow::Result<History> {
    let journal = folder.join("journal");
    std::fs::create_dir_all(&journal)?;
    let database = journal.join("journal.db");
    let (mut random, start, mut history) = (StdRng::seed_from_u64(seed), process::now(), History::default());
    for cycle in 0..cycles {
        let loss = Loss::random(&mut random, LATEST);
        let first = i64::from(cycle) * 1_000_000;
        history.said.extend(cycle_of(shim, &database, synchronous, first, loss).with_context(|| format!("cycle {cycle}, {loss:?}"))?);
        drop_shared_memory(&database);
        history.look(&database, &folder.join("copy"))?;
    }
    println!(
        "  {synchronous:<6}  {} rows said, lost {} in {} cycles, corrupt {}, {:.0} cycles/s",
        history.said.len() + history.lost,
        history.lost,
        history.lossy_cycles,
        history.corrupt,
        f64::from(cycles) / start.elapsed().as_secs_f64()
    );
    Ok(history)
}

/// One life of the writer; what it said.
fn cycle_of(shim: &Shim, database: &Path, synchronous: &str, first: i64, loss: Loss) -> anyhow::Result<Vec<i64>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("power-writer").arg(database).arg(synchronous).arg(first.to_string()).stdout(Stdio::piped());
    shim.arm(&mut command, database.parent().context("a folder")?, loss);
    let output = command.spawn()?.wait_with_output()?;
    if !was_killed(output.status) {
        bail!("the writer ended with {} instead of losing power", output.status);
    }
    // A last line without its end was being said when power went; it counts for nothing.
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')?.parse().ok()).collect())
}

impl History {
    /// Compares what is there with what was said, in a copy: the writer shall meet the files as they are. What is lost is forgotten, so
    /// that it counts once.
    fn look(&mut self, database: &Path, copy: &Path) -> anyhow::Result<()> {
        let _ = std::fs::remove_dir_all(copy);
        std::fs::create_dir_all(copy)?;
        for suffix in ["", "-wal", "-journal"] {
            let name = format!("journal.db{suffix}");
            let _ = std::fs::copy(database.with_file_name(&name), copy.join(&name));
        }
        let there = read(&copy.join("journal.db"));
        self.corrupt += usize::from(there.is_err());
        let there = there.unwrap_or_default();
        let lost = self.said.iter().filter(|row| !there.contains(row)).count();
        self.lost += lost;
        self.lossy_cycles += usize::from(lost > 0);
        self.said.retain(|row| there.contains(row));
        Ok(())
    }
}

fn read(database: &Path) -> anyhow::Result<HashSet<i64>> {
    let db = Connection::open(database)?;
    let sound: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    if sound != "ok" {
        bail!("{sound}");
    }
    if !db.table_exists(None, "rows")? {
        return Ok(HashSet::new());
    }
    let mut rows = db.prepare("SELECT number FROM rows")?;
    let numbers = rows.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(numbers)
}

/// The writer: commits and says so, until power is lost.
pub fn write(options: &WriterOptions) -> anyhow::Result<()> {
    let mut db = Connection::open(&options.database)?;
    db.execute_batch(&format!(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous={}; PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES};
         CREATE TABLE IF NOT EXISTS rows(number INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;",
        options.synchronous
    ))?;
    let (body, mut out) = ([7_u8; 1024], std::io::stdout().lock());
    for first in (options.first..).step_by(BATCH as usize) {
        let transaction = db.transaction()?;
        for number in first..first + BATCH {
            transaction.execute("INSERT INTO rows VALUES(?, ?)", (number, &body[..]))?;
        }
        transaction.commit()?;
        for number in first..first + BATCH {
            writeln!(out, "{number}")?;
        }
        out.flush()?;
    }
    Ok(())
}
