//! `torture power`: the daemon under the shim loses power at a random write; what was not synced is gone. On one journal, under load.
//!
//! One output is down until the end, so that an event counts as kept only if the journal has it, not because it was delivered in time.
//! `--synchronous normal` is the control: the daemon then answers before its sync, and the run must lose something, or it proves nothing.

use crate::build::{self, Build};
use crate::daemon::was_killed;
use crate::process;
use crate::torture::kill::keep;
use crate::torture::shim::{Loss, Shim, drop_shared_memory};
use crate::torture::yard::Yard;
use anyhow::bail;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The latest operation at which power is lost.
const LATEST: u64 = 2000;
/// Where the daemon does not get that far by then, it is killed.
const LIFE: Duration = Duration::from_secs(3);

/// How the daemon ends where its journal was emptied.
const EMPTIED: i32 = 75;

/// How often, and by which chance.
#[derive(clap::Args)]
pub struct Options {
    /// How many losses of power.
    #[arg(long, default_value_t = 300)]
    pub cycles: u32,
    /// Repeats a run's choices (not its timing).
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Prove the shim on a small SQLite writer, without the daemon.
    #[arg(long)]
    pub self_check: bool,
    /// `normal`: the control run, which must lose.
    #[arg(long, value_parser = ["full", "normal"], default_value = "full")]
    synchronous: String,
    /// `dev`, `fast` or `release`.
    #[arg(long, default_value = "dev")]
    profile: String,
    /// Torture this binary instead of one built here; its named points work if it has the feature `torture`.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Runs; whether nothing was lost, or in the control run whether something was.
pub fn run(options: &Options) -> anyhow::Result<bool> {
    let is_control = options.synchronous == "normal";
    let scratch = build::scratch("torture-power-")?;
    let features: &[&str] = if is_control { &["torture"] } else { &[] };
    let binary = match &options.binary {
        Some(binary) => binary.canonicalize()?,
        None => build::copy(
            &Build { package: "switchyard", profile: &options.profile, features, optimized: &[] }.run()?,
            scratch.path(),
            "switchyard",
        )?,
    };
    let shim = Shim::compile(scratch.path())?;
    println!("power: {} losses of power, synchronous={}, seed {}", options.cycles, options.synchronous, options.seed);
    let (yard, start, mut random) = (Yard::new(scratch.path().join("home"))?, process::now(), StdRng::seed_from_u64(options.seed));
    let (mut lost_power, mut emptied) = (BTreeMap::new(), 0_u32);
    for cycle in 0..options.cycles {
        let loss = Loss::random(&mut random, LATEST);
        let mut command = yard.home.command(&binary)?;
        if is_control {
            command.env("SWITCHYARD_TORTURE_SYNCHRONOUS", "normal");
        }
        shim.arm(&mut command, &yard.home.journal(), loss);
        let (mut daemon, _) = yard.start(command)?;
        match daemon.wait(LIFE) {
            Some(status) if was_killed(status) => *lost_power.entry(loss.mode.word()).or_insert(0) += 1,
            // Without its syncs even the file's tables can be gone with the log, which the daemon refuses to take for a new journal.
            Some(status) if is_control && status.code() == Some(EMPTIED) => begin_anew(&yard.home.journal(), &mut emptied)?,
            Some(status) => {
                bail!("cycle {cycle}, {loss:?}: the daemon ended by itself ({status}); its log ends with\n{}", yard.home.log_tail())
            }
            None => {}
        }
        yard.kill(&mut daemon);
        drop_shared_memory(&yard.home.database());
    }
    let (took, settling) = (start.elapsed(), process::now());
    let end = match yard.end(&binary) {
        Err(_) if is_control => {
            begin_anew(&yard.home.journal(), &mut emptied)?;
            yard.end(&binary)?
        }
        end => end?,
    };
    let by_mode = lost_power.iter().map(|(mode, times)| format!("{mode} {times}")).collect::<Vec<_>>().join(", ");
    println!("  power       lost {} times of {}: {by_mode}", lost_power.values().sum::<u32>(), options.cycles);
    if emptied > 0 {
        println!("  emptied     {emptied} times, begun anew");
    }
    print!("{}", end.report());
    println!("  took        {:.0} s and {:.0} s to settle", took.as_secs_f64(), settling.elapsed().as_secs_f64());
    let good = if is_control { !end.verdict.lost.is_empty() } else { end.is_clean() };
    println!(
        "{}",
        match (is_control, good) {
            (false, true) => "lost: 0",
            (true, true) => "lost something, as the control run must",
            (false, false) => "FAILED",
            (true, false) => "FAILED: the control run lost nothing, so the other proves nothing",
        }
    );
    if !good {
        keep(scratch);
    }
    Ok(good)
}

/// Takes away what is left of an emptied journal: all of it is lost.
fn begin_anew(journal: &Path, emptied: &mut u32) -> anyhow::Result<()> {
    *emptied += 1;
    for file in std::fs::read_dir(journal)? {
        let file = file?.path();
        if file.is_file() {
            std::fs::remove_file(file)?;
        }
    }
    Ok(())
}
