//! `torture kill`: SIGKILL at random times and at named points, on one journal, under load.
//!
//! Random kills hit the plain binary. Named points are compiled in by the feature `torture`: the daemon ends itself there, at the hit that
//! `SWITCHYARD_KILL_AT=<point>:<hit>` says. Kills during start are among the random ones.

use crate::build::{self, Build};
use crate::daemon::{Running, was_killed};
use crate::process;
use crate::torture::yard::Yard;
use anyhow::bail;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the daemon can end itself, and the latest hit at which it is made to. Retention is the last.
const POINTS: [(&str, u64); 11] = [
    ("accepted", 100),
    ("verified", 100),
    ("queued", 100),
    ("in_transaction", 40),
    ("committed", 40),
    ("answered", 100),
    ("sent", 200),
    ("answered_not_settled", 200),
    ("settle_in_transaction", 20),
    ("reload", 1),
    ("retention", 1),
];
/// Before this nothing is so old that retention has work, and its point is left out.
const RETENTION_FROM: Duration = Duration::from_secs(40);
/// A named point that is not reached by then is noted, and the daemon is killed all the same.
const POINT_WAIT: Duration = Duration::from_millis(1500);
/// Longest load of a life before a random kill.
const LOAD_MS: std::ops::Range<u64> = 5..300;
/// Every so many random kills one hits the start.
const KILL_IN_START: f64 = 0.15;

/// How often, and by which chance.
#[derive(clap::Args)]
pub struct Options {
    /// How many kills.
    #[arg(long, default_value_t = 500)]
    cycles: u32,
    /// Repeats a run's choices (not its timing).
    #[arg(long)]
    seed: Option<u64>,
    /// `dev`, `fast` or `release`.
    #[arg(long, default_value = "dev")]
    profile: String,
    /// Torture this binary instead of one built here; its named points work if it has the feature `torture`.
    #[arg(long)]
    binary: Option<PathBuf>,
}

struct Binaries {
    plain: PathBuf,
    torture: PathBuf,
}

#[derive(Default)]
struct Tally {
    restarts: Vec<Duration>,
    points: BTreeMap<&'static str, (u32, u32)>,
}

/// Runs; whether nothing was lost.
pub fn run(options: &Options) -> anyhow::Result<bool> {
    let seed = options.seed.unwrap_or_else(rand::random);
    let scratch = build::scratch("torture-kill-")?;
    let binaries = Binaries::get(options, scratch.path())?;
    println!("kill: {} kills, seed {seed}", options.cycles);
    let (yard, start) = (Yard::new(scratch.path().join("home"))?, process::now());
    let (mut random, mut tally) = (StdRng::seed_from_u64(seed), Tally::default());
    for cycle in 1..=options.cycles as usize {
        if random.random_bool(0.5) {
            random_kill(&yard, &binaries.plain, &mut random, &mut tally)?;
        } else {
            let points = POINTS.len() - usize::from(start.elapsed() < RETENTION_FROM);
            let (point, hits) = POINTS[random.random_range(0..points)];
            point_kill(&yard, &binaries.torture, point, random.random_range(1..=hits), cycle, &mut tally)?;
        }
    }
    let (took, settling) = (start.elapsed(), process::now());
    let end = yard.end(&binaries.plain)?;
    print!("{}{}", tally.report(), end.report());
    println!("  took        {:.0} s and {:.0} s to settle", took.as_secs_f64(), settling.elapsed().as_secs_f64());
    println!("{}", if end.is_clean() { "lost: 0" } else { "FAILED" });
    if !end.is_clean() {
        keep(scratch);
    }
    Ok(end.is_clean())
}

/// What a failure left behind stays, to be looked at.
pub fn keep(scratch: tempfile::TempDir) {
    println!("  kept        {}", scratch.keep().display());
}

impl Binaries {
    fn get(options: &Options, folder: &Path) -> anyhow::Result<Self> {
        if let Some(binary) = &options.binary {
            return Ok(Binaries { plain: binary.canonicalize()?, torture: binary.canonicalize()? });
        }
        let profile = &options.profile;
        let build = |features, name| build::copy(&Build { package: "switchyard", profile, features, optimized: &[] }.run()?, folder, name);
        Ok(Binaries { torture: build(&["torture"], "switchyard-torture")?, plain: build(&[], "switchyard")? })
    }
}

fn random_kill(yard: &Yard, binary: &Path, random: &mut StdRng, tally: &mut Tally) -> anyhow::Result<()> {
    let (mut daemon, before) = yard.start(yard.home.command(binary)?)?;
    let load = Duration::from_millis(random.random_range(LOAD_MS));
    if random.random_bool(KILL_IN_START) {
        std::thread::sleep(load / 4);
    } else {
        match yard.first_answer(&mut daemon, before)? {
            Some(restart) => tally.restarts.push(restart),
            None => bail!("the daemon ended by itself; its log ends with\n{}", yard.home.log_tail()),
        }
        std::thread::sleep(load);
    }
    if let Some(status) = daemon.ended() {
        bail!("the daemon ended by itself ({status}); its log ends with\n{}", yard.home.log_tail());
    }
    yard.kill(&mut daemon);
    Ok(())
}

fn point_kill(yard: &Yard, binary: &Path, point: &'static str, hit: u64, cycle: usize, tally: &mut Tally) -> anyhow::Result<()> {
    let mut command = yard.home.command(binary)?;
    command.env("SWITCHYARD_KILL_AT", format!("{point}:{hit}"));
    let (mut daemon, before) = yard.start(command)?;
    if let Some(restart) = yard.first_answer(&mut daemon, before)? {
        tally.restarts.push(restart);
    }
    if point == "reload" {
        yard.write_file(cycle, false)?;
        daemon.signal(Signal::HUP);
    }
    let reached = is_reached(&mut daemon, yard)?;
    let (hits, tries) = tally.points.entry(point).or_default();
    *hits += u32::from(reached);
    *tries += 1;
    yard.kill(&mut daemon);
    Ok(())
}

fn is_reached(daemon: &mut Running, yard: &Yard) -> anyhow::Result<bool> {
    match daemon.wait(POINT_WAIT) {
        Some(status) if was_killed(status) => Ok(true),
        Some(status) => bail!("the daemon ended by itself ({status}); its log ends with\n{}", yard.home.log_tail()),
        None => Ok(false),
    }
}

impl Tally {
    fn report(&self) -> String {
        let mut restarts = self.restarts.clone();
        restarts.sort_unstable();
        let at =
            |part: f64| restarts.get((restarts.len() as f64 * part) as usize).or(restarts.last()).copied().unwrap_or_default().as_millis();
        let points = self.points.iter().map(|(point, (hits, tries))| format!("{point} {hits}/{tries}")).collect::<Vec<_>>().join(", ");
        format!("  points      {points}\n  restart     to the first 200: p50 {} ms, p99 {} ms, max {} ms\n", at(0.5), at(0.99), at(1.0))
    }
}
