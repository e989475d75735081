//! `torture clock`: somebody sets the wall clock of a daemon under load, again and again: back by an hour, on by a day, to and fro across the
//! end of summer time; also while it is down. Nothing may be lost, come twice, or wait for a time that the clock no longer shows.

use crate::build::{self, Build};
use crate::daemon::Running;
use crate::process;
use crate::torture::kill::keep;
use crate::torture::shim::compile;
use crate::torture::yard::Yard;
use anyhow::Context;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What the clock may be ahead by, seconds: small steps, an hour and a day both ways. Never so much that what is dead may be forgotten.
const AHEAD: [i64; 9] = [0, 5, -5, 45, -45, 3_600, -3_600, 86_400, -86_400];
/// Between two of them.
const BETWEEN_MS: std::ops::Range<u64> = 100..600;
/// How often the daemon is stopped, and started under another clock.
const RESTARTS: f64 = 0.1;

/// How often, and by which chance.
#[derive(clap::Args)]
pub struct Options {
    /// How often the clock is set.
    #[arg(long, default_value_t = 200)]
    jumps: usize,
    /// Repeats a run's choices (not its timing).
    #[arg(long)]
    seed: Option<u64>,
    /// `dev`, `fast` or `release`.
    #[arg(long, default_value = "dev")]
    profile: String,
}

/// The clock that the daemon sees.
struct Clock {
    shim: PathBuf,
    path: PathBuf,
    file: File,
}

/// Runs; whether nothing was lost, came twice or was stuck.
pub fn run(options: &Options) -> anyhow::Result<bool> {
    let seed = options.seed.unwrap_or_else(rand::random);
    let scratch = build::scratch("torture-clock-")?;
    let built = Build { package: "switchyard", profile: &options.profile, features: &[], optimized: &[] }.run()?;
    let binary = build::copy(&built, scratch.path(), "switchyard")?;
    println!("clock: set {} times, seed {seed}", options.jumps);
    let (clock, yard) = (Clock::new(scratch.path())?, Yard::new(scratch.path().join("home"))?);
    let (mut random, began) = (StdRng::seed_from_u64(seed), process::now());
    let mut daemon = start(&yard, &clock, &binary)?;
    let mut restarts = 0;
    for _ in 0..options.jumps {
        std::thread::sleep(Duration::from_millis(random.random_range(BETWEEN_MS)));
        let restart = random.random_bool(RESTARTS);
        if restart {
            yard.stop(&mut daemon)?;
            restarts += 1;
        }
        clock.set(AHEAD[random.random_range(0..AHEAD.len())])?;
        if restart {
            daemon = start(&yard, &clock, &binary)?;
        }
    }
    // The worst: all that waits was written by a clock a day ahead of the one that counts now.
    clock.set(86_400)?;
    std::thread::sleep(Duration::from_millis(BETWEEN_MS.end));
    clock.set(-3_600)?;
    let end = yard.end_of(daemon)?;
    print!("{}", end.report());
    println!("  took        {:.0} s in all, {restarts} restarts", began.elapsed().as_secs_f64());
    println!("{}", if end.is_clean() { "lost: 0" } else { "FAILED" });
    if !end.is_clean() {
        keep(scratch);
    }
    Ok(end.is_clean())
}

fn start(yard: &Yard, clock: &Clock, binary: &Path) -> anyhow::Result<Running> {
    let mut command = yard.home.command(binary)?;
    clock.arm(&mut command);
    let (mut daemon, before) = yard.start(command)?;
    yard.first_answer(&mut daemon, before)?.context("the daemon ended by itself")?;
    Ok(daemon)
}

impl Clock {
    fn new(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("clock");
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
        let clock = Clock { shim: compile(folder, "clock")?, path, file };
        clock.set(0)?;
        Ok(clock)
    }

    /// One write of eight bytes: a reader sees the number before or this one.
    fn set(&self, ahead: i64) -> anyhow::Result<()> {
        Ok(self.file.write_all_at(&ahead.to_ne_bytes(), 0)?)
    }

    fn arm(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.shim).env("CLOCK_FILE", &self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_sees_the_clock_that_is_set() {
        let scratch = tempfile::tempdir().unwrap();
        let clock = Clock::new(scratch.path()).unwrap();
        let seconds = |clock: &Clock| -> i64 {
            let mut command = Command::new("date");
            clock.arm(command.arg("+%s"));
            String::from_utf8(command.output().unwrap().stdout).unwrap().trim().parse().unwrap()
        };
        let now = seconds(&clock);
        clock.set(86_400).unwrap();
        assert!((86_400..86_460).contains(&(seconds(&clock) - now)));
        clock.set(-3_600).unwrap();
        assert!((-3_600..-3_540).contains(&(seconds(&clock) - now)));
    }
}
