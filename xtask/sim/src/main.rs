//! `cargo xtask sim`: seeds, crashes everywhere, one scenario, or the check that known bugs are found.
//!
//! Prints for each broken law the seed, the law and how, and the small scenario, kept where `--keep` says. Exit code 1: a law is broken,
//! a run was not repeatable, or some trouble never met some state.

use anyhow::{Context, bail};
use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use switchyard_sim::scenario::{Crash, Scenario};
use switchyard_sim::threads::{self, Broken, Sum};
use switchyard_sim::{generate, mutants, quiet, run, shrink, told};

/// One run in so many is done twice, and must give the same trace.
const TWICE_EVERY: u64 = 100;
/// From so many seeds on, each trouble must have met each state.
const COVERS_FROM: u64 = 20_000;
/// Most pairs that were never met that are told.
const TOLD_MAX: usize = 10;
/// Broken laws after which a run of seeds ends.
const BROKEN_MAX: usize = 3;

#[derive(Parser)]
#[command(name = "cargo xtask sim", about = "The deterministic simulation: the daemon between its doors, on virtual time")]
struct Line {
    /// How many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Instead: small scenarios from `--from` on, each with a crash before and after each of its calls.
    #[arg(long)]
    crash_everywhere: bool,
    /// How many of those.
    #[arg(long, default_value_t = 50)]
    scenarios: u64,
    /// Instead: one scenario, as a file that was kept; says everything that happens in it.
    #[arg(long)]
    scenario: Option<PathBuf>,
    /// Instead: says everything that happens with the seed of `--from`, and what its scenario is.
    #[arg(long)]
    story: bool,
    /// Instead: puts known bugs back, one by one, and says whether and when they are found.
    #[arg(long)]
    mutants: bool,
    /// Of those only the ones that have one of these words in their names.
    #[arg(long, requires = "mutants")]
    only: Vec<String>,
    /// Where the small scenarios of broken laws are kept.
    #[arg(long, default_value = "target/sim")]
    keep: PathBuf,
    /// Ends at the first broken law, without making it small.
    #[arg(long)]
    brief: bool,
}

fn main() -> ExitCode {
    let line = Line::parse();
    quiet();
    match go(&line) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn go(line: &Line) -> anyhow::Result<bool> {
    if let Some(path) = &line.scenario {
        return one(path);
    }
    if line.story {
        let scenario = generate::scenario(line.from);
        println!("{}", serde_json::to_string_pretty(&scenario)?);
        return Ok(say(&scenario));
    }
    if line.mutants {
        return mutants::check(&line.only);
    }
    if line.crash_everywhere { everywhere(line) } else { seeds(line) }
}

fn seeds(line: &Line) -> anyhow::Result<bool> {
    let began = Stopwatch::start();
    let sum = threads::each(line.from..line.from + line.seeds, most_broken(line), |seed, sum| {
        let scenario = generate::scenario(seed);
        let report = run(&scenario);
        sum.runs += 1;
        sum.calls += report.calls;
        sum.coverage.add(&report.coverage);
        if report.broken.is_some() {
            sum.broke(format!("seed {seed}"), seed, scenario, report);
        } else if seed % TWICE_EVERY == 0 && run(&scenario).trace != report.trace {
            sum.changing.push(seed);
        }
    });
    let took = began.took();
    tell(&sum, line)?;
    if line.brief && !sum.broken.is_empty() {
        return Ok(false);
    }
    let missing = sum.coverage.missing();
    let (runs, calls, broken, untried, seconds) = (sum.runs, sum.calls, sum.broken.len(), missing.len(), took.as_secs());
    println!("{runs} seeds, {calls} calls over seams, {broken} broken laws, {untried} kinds of trouble × state not met, {seconds} s");
    if line.seeds >= COVERS_FROM {
        println!("{}", sum.coverage);
    }
    for (trouble, state) in missing.iter().take(TOLD_MAX) {
        println!("never tried: {trouble} while {state}");
    }
    Ok(broken == 0 && (line.seeds < COVERS_FROM || missing.is_empty()))
}

fn everywhere(line: &Line) -> anyhow::Result<bool> {
    let began = Stopwatch::start();
    let sum = threads::each(line.from..line.from + line.scenarios, most_broken(line), |seed, sum| {
        let small = generate::small(seed);
        let calls = run(&small).calls;
        for (call, after) in (1..=calls).flat_map(|call| [(call, false), (call, true)]) {
            let scenario = Scenario { crashes: vec![Crash { call, after }], ..small.clone() };
            let report = run(&scenario);
            sum.runs += 1;
            if report.broken.is_some() {
                return sum.broke(format!("seed {seed}, crash at call {call}"), seed, scenario, report);
            }
        }
    });
    let took = began.took();
    tell(&sum, line)?;
    println!("{} scenarios, {} crashes, {} broken laws, {} s", line.scenarios, sum.runs, sum.broken.len(), took.as_secs());
    Ok(sum.broken.is_empty())
}

fn most_broken(line: &Line) -> usize {
    if line.brief { 1 } else { BROKEN_MAX }
}

fn one(path: &Path) -> anyhow::Result<bool> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let scenario: Scenario = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    Ok(say(&scenario))
}

/// Every step of a run; false if a law is broken.
fn say(scenario: &Scenario) -> bool {
    let (report, story) = told(scenario);
    print!("{story}");
    println!("{} calls over seams, trace {:016x}", report.calls, report.trace);
    if let Some(broken) = &report.broken {
        println!("{broken}");
    }
    report.broken.is_none()
}

/// Keeps a small scenario of each broken law that breaks it too.
fn tell(sum: &Sum, line: &Line) -> anyhow::Result<()> {
    if let Some(seed) = sum.changing.first() {
        bail!("seed {seed} does not repeat: two runs gave two traces");
    }
    for Broken { what, scenario, report } in sum.broken.values().filter(|_| !line.brief) {
        let broken = report.broken.as_deref().unwrap_or_default();
        let small = shrink::shrink(scenario);
        std::fs::create_dir_all(&line.keep).with_context(|| line.keep.display().to_string())?;
        let path = line.keep.join(format!("{}-{}.json", shrink::law(broken).to_lowercase(), scenario.seed));
        std::fs::write(&path, serde_json::to_string_pretty(&small)?).with_context(|| path.display().to_string())?;
        let now = run(&small).broken.unwrap_or_default();
        let (ops, path) = (small.ops.len(), path.display());
        println!("{what} made small: {now}\n  {ops} things happen in it; again with: cargo xtask sim --scenario {path}");
    }
    Ok(())
}

/// The one real clock: how long it all took.
struct Stopwatch(std::time::Instant);

impl Stopwatch {
    #[allow(clippy::disallowed_methods)] // outside of every run
    fn start() -> Self {
        Stopwatch(std::time::Instant::now())
    }
    fn took(&self) -> Duration {
        self.0.elapsed()
    }
}
