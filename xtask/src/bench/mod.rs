//! `cargo xtask bench`: the daemon beside the floor, in turn, in one run.
//!
//! Figures of two runs, or of two minutes, do not compare: the same binary swings by a tenth and more. So each round measures floor and daemon
//! one after the other (the order changes each round), each figure is the median of the rounds, and each ratio is the median of the
//! rounds' own ratios. Load, server and sink share the machine. Keep other work off it.
//!
//! `cargo xtask bench outputs` does the same with outputs and the bare client libraries they are made of.

mod contestant;
mod outputs;
mod rounds;
mod table;

use crate::build::{self, Build};
use crate::process;
use anyhow::{Context, bail};
use contestant::{Contestant, Tools};
use table::Table;

/// Where `--write` puts a table, between two lines.
const PAGE: &str = "docs/performance.md";

/// The line before a table, and the line behind it.
type Lines = (&'static str, &'static str);

/// Those of the daemon's table.
const LINES: Lines = ("<!-- figures: written by `cargo xtask bench --write` -->", "<!-- end of figures -->");

/// The daemon, unless something else is named.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Bench {
    #[command(subcommand)]
    other: Option<Other>,
    #[command(flatten)]
    options: Options,
}

/// What is measured beside the daemon.
#[derive(clap::Subcommand)]
enum Other {
    /// Measures outputs beside the bare client library, in turn, and prints figures, ratios and goals.
    Outputs(outputs::Options),
}

/// How long and how built.
#[derive(clap::Args)]
struct Options {
    /// How often everything is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each timed measurement takes, seconds.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Events of a whole way at fan-out 1; a quarter of it at fan-out 5, half of it where deliveries have more to do.
    #[arg(long, default_value_t = 60_000)]
    count: u64,
    /// Measure the release profile instead of `fast`, which links in seconds.
    #[arg(long)]
    release: bool,
    /// `dev`, for trying the bench itself.
    #[arg(long, hide = true)]
    profile: Option<String>,
    /// Measure the floor alone.
    #[arg(long)]
    floor_only: bool,
    /// Only measurements whose name contains this: `intake`, `whole-1`, `whole-5`, `retries`, `limits`, `outputs`, `way-2000`, `way-20000`, `idle`.
    #[arg(long)]
    only: Option<String>,
    /// Write the table into docs/performance.md.
    #[arg(long)]
    write: bool,
}

/// Builds, measures, prints.
pub fn run(bench: &Bench) -> anyhow::Result<()> {
    match &bench.other {
        Some(Other::Outputs(options)) => outputs::run(options),
        None => daemon(&bench.options),
    }
}

fn daemon(options: &Options) -> anyhow::Result<()> {
    let profile = options.profile.as_deref().unwrap_or(if options.release { "release" } else { "fast" });
    let scratch = build::scratch("bench-")?;
    let floor = Build { package: "floor", profile, features: &[], optimized: &[] }.run()?;
    let daemon =
        if options.floor_only { floor.clone() } else { Build { package: "switchyard", profile, features: &[], optimized: &[] }.run()? };
    let tools = Tools { floor, daemon, scratch: scratch.path().to_owned(), seconds: options.seconds, count: options.count };
    let both: &[Contestant] = if options.floor_only { &[Contestant::Floor] } else { &[Contestant::Floor, Contestant::Daemon] };
    let (mut table, start) = (Table::default(), process::now());
    for round in 1..=options.rounds {
        for measurement in rounds::MEASUREMENTS.iter().filter(|m| options.only.as_ref().is_none_or(|only| m.name.contains(only))) {
            for turn in 0..both.len() {
                let contestant = both[(turn + round) % both.len()];
                eprintln!("round {round} of {}: {} {}", options.rounds, contestant.word(), measurement.name);
                let figures =
                    (measurement.measure)(&tools, contestant).with_context(|| format!("{} {}", contestant.word(), measurement.name))?;
                table.add(contestant, round, &figures);
            }
        }
    }
    let text = format!("{}\n{}", how(profile, options.rounds, "floor and daemon in turn"), table.markdown());
    println!("\n{text}\ntook {:.0} s", start.elapsed().as_secs_f64());
    if options.write {
        write_page(LINES, &text)?;
    }
    Ok(())
}

/// The line above a table: on what and how it was measured. `who` is measured in turn.
fn how(profile: &str, rounds: usize, who: &str) -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown CPU", |rest| rest.trim_start_matches(['\t', ' ', ':']));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{cores} cores ({model}), Linux {}, profile `{profile}`; median of {rounds} rounds, {who}, all on this machine over loopback.\n",
        kernel.trim()
    )
}

/// Puts a table between its lines; the rest of the page stays.
fn write_page(lines: Lines, text: &str) -> anyhow::Result<()> {
    let path = build::root().join(PAGE);
    let page = std::fs::read_to_string(&path).context(PAGE)?;
    std::fs::write(&path, replaced(&page, lines, text)?)?;
    println!("written to {PAGE}");
    Ok(())
}

fn replaced(page: &str, (begin, end): Lines, text: &str) -> anyhow::Result<String> {
    let Some((before, rest)) = page.split_once(begin) else {
        bail!("{PAGE}: has no line `{begin}` to write behind");
    };
    let (_, after) = rest.split_once(end).with_context(|| format!("{PAGE}: no `{end}` stands behind `{begin}`"))?;
    Ok(format!("{before}{begin}\n{text}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_replaces_what_stood_between_its_lines_and_nothing_else() {
        let (begin, end) = LINES;
        let page = format!("# A\n\n{begin}\nold\n{end}\n\nb\n");
        let new = replaced(&page, LINES, "new\n").unwrap();
        assert_eq!(new, format!("# A\n\n{begin}\nnew\n{end}\n\nb\n"));
        assert_eq!(replaced(&new, LINES, "new\n").unwrap(), new);
        assert!(replaced("# A\n", LINES, "new\n").is_err());
        assert!(replaced(&format!("{end}\n{begin}\n"), LINES, "new\n").is_err());
    }

    #[test]
    fn the_page_has_the_lines_of_every_table() {
        let page = std::fs::read_to_string(build::root().join(PAGE)).unwrap();
        for lines in [LINES, outputs::LINES] {
            assert!(replaced(&page, lines, "").is_ok(), "{lines:?}");
        }
    }
}
