//! `torture stop` and `torture reload`: what an operator does, under load. Nothing may be lost, and as nobody is killed nothing may
//! come twice.
//!
//! `reload` changes limits, writes files that do not run, and takes an output out of the file and puts it back, sometimes before the
//! daemon has followed.

use crate::build::{self, Build};
use crate::daemon::Running;
use crate::process;
use crate::torture::kill::keep;
use crate::torture::yard::{End, Yard};
use anyhow::{Context, bail};
use rustix::process::Signal;
use std::path::PathBuf;
use std::time::Duration;

/// Longest load between two of them.
const LOAD_MS: std::ops::Range<u64> = 5..300;
/// A reload that takes longer is a failure.
const RELOAD: Duration = Duration::from_secs(10);

/// How often.
#[derive(clap::Args)]
pub struct Options {
    /// How many.
    #[arg(long, default_value_t = 50)]
    cycles: usize,
    /// `dev`, `fast` or `release`.
    #[arg(long, default_value = "dev")]
    profile: String,
}

/// Stops the daemon by SIGTERM under load, again and again; whether nothing was lost or came twice.
pub fn stop(options: &Options) -> anyhow::Result<bool> {
    run(options, "stop", |yard, binary| {
        let mut stops = vec![];
        for _ in 0..options.cycles {
            let (mut daemon, before) = yard.start(yard.home.command(binary)?)?;
            yard.first_answer(&mut daemon, before)?.context("the daemon ended by itself")?;
            pause();
            let start = process::now();
            yard.stop(&mut daemon)?;
            stops.push(start.elapsed());
        }
        stops.sort_unstable();
        let at = |part: usize| stops.get(stops.len() * part / 100).or(stops.last()).copied().unwrap_or_default().as_millis();
        println!("  a stop      took p50 {} ms, max {} ms", at(50), at(100));
        yard.end(binary)
    })
}

/// Reloads one daemon under load, again and again; whether nothing was lost or came twice.
pub fn reload(options: &Options) -> anyhow::Result<bool> {
    run(options, "reload", |yard, binary| {
        let (mut daemon, before) = yard.start(yard.home.command(binary)?)?;
        yard.first_answer(&mut daemon, before)?.context("the daemon ended by itself")?;
        for cycle in 1..=options.cycles {
            let guest = rand::random_bool(0.5);
            if rand::random_bool(0.1) {
                yard.home.write_broken_file()?;
                daemon.signal(Signal::HUP);
            }
            yard.write_file(cycle, guest)?;
            daemon.signal(Signal::HUP);
            if rand::random_bool(0.6) {
                wait_reloaded(yard, &mut daemon, guest)?;
            }
            pause();
        }
        yard.write_file(options.cycles + 1, true)?;
        daemon.signal(Signal::HUP);
        wait_reloaded(yard, &mut daemon, true)?;
        yard.end_of(daemon)
    })
}

fn run(options: &Options, word: &str, torture: impl FnOnce(&Yard, &std::path::Path) -> anyhow::Result<End>) -> anyhow::Result<bool> {
    let scratch = build::scratch(&format!("torture-{word}-"))?;
    let built = Build { package: "switchyard", profile: &options.profile, features: &[], optimized: &[] }.run()?;
    let binary: PathBuf = build::copy(&built, scratch.path(), "switchyard")?;
    println!("{word}: {} times", options.cycles);
    let (yard, start) = (Yard::new(scratch.path().join("home"))?, process::now());
    let end = torture(&yard, &binary)?;
    print!("{}", end.report());
    println!("  took        {:.0} s in all", start.elapsed().as_secs_f64());
    println!("{}", if end.is_clean() { "lost: 0" } else { "FAILED" });
    if !end.is_clean() {
        keep(scratch);
    }
    Ok(end.is_clean())
}

fn pause() {
    std::thread::sleep(Duration::from_millis(rand::random_range(LOAD_MS)));
}

/// Waits until the daemon runs with a guest or without.
fn wait_reloaded(yard: &Yard, daemon: &mut Running, guest: bool) -> anyhow::Result<()> {
    let reloaded = process::wait_for(RELOAD, || {
        if let Some(status) = daemon.ended() {
            return Some(Err(anyhow::anyhow!("the daemon ended by itself ({status})")));
        }
        match yard.home.api("/api/outputs") {
            Ok(outputs) => (outputs.to_string().contains("\"guest\"") == guest).then_some(Ok(())),
            Err(error) => Some(Err(error)),
        }
    });
    match reloaded {
        Some(done) => done.with_context(|| yard.home.log_tail()),
        None => bail!("a reload did not happen within {RELOAD:?}; the log ends with\n{}", yard.home.log_tail()),
    }
}
