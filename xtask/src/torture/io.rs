//! `torture io`: the journal's disk fails under load, at a random write or sync, or is full for a while. On one journal.
//!
//! An error of the disk ends the daemon with 74, for what was written is unknown: it says so, answers nobody any more, and a restart
//! reads what is there. A full disk ends nothing: senders hear 503, and all goes on when there is space again.

use crate::build::{self, Build};
use crate::daemon::Running;
use crate::process;
use crate::torture::kill::keep;
use crate::torture::shim::{Loss, Shim};
use crate::torture::yard::Yard;
use anyhow::{Context, bail};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::path::Path;
use std::time::Duration;

/// The latest operation that fails.
const LATEST: u64 = 1000;
/// Most operations that find no space.
const FULL_MAX: u64 = 300;
/// A life without an error of the disk is ended after this.
const LIFE: Duration = Duration::from_secs(3);
/// With space again a sender is answered 200 within this.
const BACK_WITHIN: Duration = Duration::from_secs(2);
/// The daemon's exit code for a disk that fails.
const EXIT_IO: i32 = 74;

/// How often, and by which chance.
#[derive(clap::Args)]
pub struct Options {
    /// How many failures.
    #[arg(long, default_value_t = 100)]
    cycles: u32,
    /// Repeats a run's choices (not its timing).
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// `dev`, `fast` or `release`.
    #[arg(long, default_value = "dev")]
    profile: String,
}

#[derive(Default)]
struct Tally {
    errors: u32,
    unreached: u32,
    full: u32,
    full_at_start: u32,
}

/// Runs; whether nothing was lost.
pub fn run(options: &Options) -> anyhow::Result<bool> {
    let scratch = build::scratch("torture-io-")?;
    let built = Build { package: "switchyard", profile: &options.profile, features: &[], optimized: &[] }.run()?;
    let binary = build::copy(&built, scratch.path(), "switchyard")?;
    let shim = Shim::compile(scratch.path())?;
    println!("io: {} failures, seed {}", options.cycles, options.seed);
    let (yard, mut random, mut tally) = (Yard::new(scratch.path().join("home"))?, StdRng::seed_from_u64(options.seed), Tally::default());
    let start = process::now();
    for cycle in 0..options.cycles {
        let loss = Loss::random(&mut random, LATEST);
        let full = random.random_bool(0.5).then(|| random.random_range(1..=FULL_MAX));
        let done = if let Some(count) = full {
            no_space(&yard, &shim, &binary, loss, count, &mut tally)
        } else {
            error(&yard, &shim, &binary, loss, &mut tally)
        };
        done.with_context(|| format!("cycle {cycle}, {loss:?}, {full:?}; the log ends with\n{}", yard.home.log_tail()))?;
    }
    let end = yard.end(&binary)?;
    let Tally { errors, unreached, full, full_at_start } = tally;
    println!(
        "  disk        failed {errors} times ({unreached} more not reached), was full {full} times and {full_at_start} times at the start"
    );
    print!("{}", end.report());
    println!("  took        {:.0} s in all", start.elapsed().as_secs_f64());
    println!("{}", if end.is_clean() { "lost: 0" } else { "FAILED" });
    if !end.is_clean() {
        keep(scratch);
    }
    Ok(end.is_clean())
}

/// One write or sync fails: the daemon must end with 74.
fn error(yard: &Yard, shim: &Shim, binary: &Path, loss: Loss, tally: &mut Tally) -> anyhow::Result<()> {
    let mut command = yard.home.command(binary)?;
    shim.arm_error(&mut command, &yard.home.journal(), loss, "eio", 1);
    let (mut daemon, _) = yard.start(command)?;
    match daemon.wait(LIFE).map(|status| status.code()) {
        Some(Some(EXIT_IO)) => tally.errors += 1,
        Some(code) => bail!("the disk failed, and the daemon ended with {code:?}"),
        None => tally.unreached += 1,
    }
    yard.kill(&mut daemon);
    Ok(())
}

/// The disk is full for some writes: the daemon must live, and answer again.
fn no_space(yard: &Yard, shim: &Shim, binary: &Path, loss: Loss, count: u64, tally: &mut Tally) -> anyhow::Result<()> {
    let mut command = yard.home.command(binary)?;
    shim.arm_error(&mut command, &yard.home.journal(), loss, "enospc", count);
    let (mut daemon, before) = yard.start(command)?;
    match yard.first_answer(&mut daemon, before)? {
        Some(_) => stays(yard, &mut daemon)?,
        // It could not even be opened.
        None => match daemon.ended().and_then(|status| status.code()) {
            Some(EXIT_IO) => tally.full_at_start += 1,
            code => bail!("without space at the start the daemon ended with {code:?}"),
        },
    }
    tally.full += 1;
    yard.kill(&mut daemon);
    Ok(())
}

/// Until it is killed it goes on answering: the disk is full for fewer operations than are done by then.
fn stays(yard: &Yard, daemon: &mut Running) -> anyhow::Result<()> {
    if let Some(status) = daemon.wait(LIFE / 3) {
        bail!("a full disk ended the daemon ({status})");
    }
    let answered = yard.ledger.answered_count();
    match process::wait_for(BACK_WITHIN, || (yard.ledger.answered_count() > answered).then_some(())) {
        Some(()) => Ok(()),
        None => bail!("with space again nobody was answered within {BACK_WITHIN:?}"),
    }
}
