//! `cargo xtask fuzz [TARGET…]`: the targets of `fuzz/` under libFuzzer, with what they reach as its guide.
//!
//! Everything is built once more for it, instrumented, in `target/fuzz`, by the same stable compiler: the pass that counts what is reached is LLVM's
//! own, and libFuzzer comes with the crate of that name (it needs a C++ compiler). No sanitizer: there is no `unsafe` of ours to watch.

use crate::build;
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The slowest unit, as built here, in milliseconds of one core.
const SLOWEST_MAX: u64 = 50;
/// MiB of the process.
const RSS_MAX: u64 = 512;
/// Seconds after which a unit hangs: workers are started anew, on a machine that is busy.
const HANGS_AFTER: u32 = 30;
/// Counters of what is reached, where they lie in the code, and the operands of comparisons.
const FLAGS: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// What is tried, and how long.
#[derive(clap::Args)]
pub struct Options {
    /// Which; none: all of them.
    targets: Vec<String>,
    /// Seconds of each.
    #[arg(long, default_value_t = 60, conflicts_with = "budget")]
    seconds: u32,
    /// Each for its part of a night.
    #[arg(long)]
    budget: Option<Budget>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Budget {
    Nightly,
}

/// What was seen of one target.
struct Ran {
    name: String,
    stats: BTreeMap<String, u64>,
    corpus: usize,
    slowest: u64,
    slow_unit: PathBuf,
    found: Vec<PathBuf>,
    told: String,
}

/// Builds and runs them one by one; false where something was found or a bound is broken.
pub fn run(options: &Options) -> anyhow::Result<bool> {
    let binary = build()?;
    let mut targets = list(&binary)?;
    if let Some(unknown) = options.targets.iter().find(|name| targets.iter().all(|(known, _)| known != *name)) {
        let names: Vec<&str> = targets.iter().map(|(name, _)| name.as_str()).collect();
        bail!("there is no target `{unknown}`: there are {}", names.join(", "));
    }
    targets.retain(|(name, _)| options.targets.is_empty() || options.targets.contains(name));
    println!("{:<12} {:>12} {:>10} {:>8} {:>14} {:>10}  found", "target", "executions", "a second", "corpus", "slowest, ms", "RSS, MiB");
    let mut good = true;
    for (name, nightly) in targets {
        let seconds = if options.budget.is_some() { nightly } else { options.seconds };
        good &= tell(&fuzz(&binary, &name, seconds)?);
    }
    Ok(good)
}

fn folder(kind: &str, name: &str) -> anyhow::Result<PathBuf> {
    let folder = build::root().join("target/fuzz").join(kind).join(name);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// The instrumented program.
fn build() -> anyhow::Result<PathBuf> {
    let compiler = Command::new("c++").arg("--version").stdout(Stdio::null()).status();
    if !compiler.is_ok_and(|ended| ended.success()) {
        bail!("libFuzzer needs a C++ compiler, and there is no `c++`: install g++ or clang");
    }
    let told = Command::new("rustc").arg("-vV").output().context("rustc could not be run")?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let host = told.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not say what it builds for")?;
    eprintln!("building the targets, instrumented (the first time everything) ...");
    let mut cargo = Command::new(build::cargo());
    cargo.current_dir(build::root()).args(["build", "--quiet", "--locked", "--package", "switchyard-fuzz", "--bin", "switchyard-fuzz"]);
    // With a target named, the flags are not those of build scripts and macros.
    cargo.args(["--features", "libfuzzer", "--profile", "fuzz", "--target-dir", "target/fuzz", "--target", host]);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    if !cargo.status().context("cargo could not be run")?.success() {
        bail!("the instrumented build failed: it needs a compiler with LLVM's coverage pass (`-Cpasses=sancov-module`)");
    }
    Ok(build::root().join("target/fuzz").join(host).join("fuzz/switchyard-fuzz"))
}

/// The targets with their seconds of a night.
fn list(binary: &Path) -> anyhow::Result<Vec<(String, u32)>> {
    let told = Command::new(binary).env("SWITCHYARD_FUZZ", "?").output().with_context(|| binary.display().to_string())?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let each = |line: &str| line.split_once(' ').and_then(|(name, seconds)| Some((name.to_owned(), seconds.parse().ok()?)));
    Ok(told.lines().filter_map(each).collect())
}

fn fuzz(binary: &Path, name: &str, seconds: u32) -> anyhow::Result<Ran> {
    let (corpus, found, slow) = (folder("corpus", name)?, folder("found", name)?, folder("slow", name)?);
    let log = folder("log", "")?.join(name);
    let before = files(&found);
    let slow_unit = slow.join("unit");
    let times = slow.join("milliseconds");
    let _ = fs::remove_file(&times);
    let mut engine = Command::new(binary);
    engine.arg(format!("-max_total_time={seconds}")).arg(format!("-rss_limit_mb={RSS_MAX}")).arg(format!("-timeout={HANGS_AFTER}"));
    engine.args(["-print_final_stats=1", "-use_value_profile=0"]).arg(format!("-artifact_prefix={}/", found.display())).arg(&corpus);
    let kept = ["corpus", "regressions"].map(|kept| build::root().join("fuzz").join(kept).join(name));
    engine.args(kept.iter().filter(|folder| folder.is_dir()));
    engine.env("SWITCHYARD_FUZZ", name).env("SWITCHYARD_FUZZ_SLOW", &slow).current_dir(&slow);
    let ended = engine.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&log)?).status()?;
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let mut found = files(&found);
    found.retain(|path| !before.contains(path));
    if !ended.success() && found.is_empty() {
        bail!("{name} ended with {ended} and kept no input: see {}", log.display());
    }
    let stats = text.lines().filter_map(|line| line.strip_prefix("stat::")?.split_once(':'));
    let stats = stats.filter_map(|(what, value)| Some((what.to_owned(), value.trim().parse().ok()?))).collect();
    // What a panic says stands in the line behind its place.
    let told = text.lines().skip_while(|line| !line.contains("panicked at")).take(2).collect::<Vec<_>>().join(" ");
    let told =
        if told.is_empty() { text.lines().find(|line| line.contains("ERROR: libFuzzer")).unwrap_or_default().to_owned() } else { told };
    let slowest = fs::read_to_string(&times).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    Ok(Ran { name: name.to_owned(), stats, corpus: files(&corpus).len(), slowest, slow_unit, found, told })
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Prints a line, and what to do where something was found; whether nothing was.
fn tell(ran: &Ran) -> bool {
    let stat = |what: &str| ran.stats.get(what).copied().unwrap_or(0);
    let (executions, rss) = (stat("number_of_executed_units"), stat("peak_rss_mb"));
    println!(
        "{:<12} {executions:>12} {:>10} {:>8} {:>14} {rss:>10}  {}",
        ran.name,
        stat("average_exec_per_sec"),
        ran.corpus,
        ran.slowest,
        ran.found.len()
    );
    let again = |input: &Path| format!("cargo run --package switchyard-fuzz -- {} {}", ran.name, input.display());
    for found in &ran.found {
        println!("    {}\n    once more: {}\n    mend it, and keep the input in fuzz/regressions/{}/", ran.told, again(found), ran.name);
    }
    if ran.slowest > SLOWEST_MAX {
        println!("    a unit took {} ms, the most is {SLOWEST_MAX}: {}", ran.slowest, again(&ran.slow_unit));
    }
    if rss > RSS_MAX {
        println!("    {rss} MiB of memory, the most is {RSS_MAX}");
    }
    ran.found.is_empty() && ran.slowest <= SLOWEST_MAX && rss <= RSS_MAX
}
