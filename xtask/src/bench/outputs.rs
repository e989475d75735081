//! `cargo xtask bench outputs`: what an output leaves of the speed of the client library that it is made of.
//!
//! `benches/outputs` measures, each output and its bare client in turn, and says a line of JSON a round; here they become a table. A ratio
//! is the median of the rounds' own ratios.

use super::table::{median, shown};
use super::{Lines, how, write_page};
use crate::build::{self, Build};
use anyhow::{Context, bail};
use serde_json::Value;
use std::fmt::Write;
use std::process::{Command, Stdio};

/// Where `--write` puts the table.
pub const LINES: Lines = ("<!-- outputs: written by `cargo xtask bench outputs --write` -->", "<!-- end of outputs -->");
/// The part of the bare client's speed that is aimed at.
const AIM: f64 = 0.8;

/// What and how often.
#[derive(clap::Args)]
pub struct Options {
    /// Only these: `kafka`, `postgres`, `mariadb`, `sqlite`, `file`, `http`, `http2`, `redis`, `nats`.
    #[arg(long)]
    only: Vec<String>,
    /// How often each is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Deliveries a turn, instead of each output's own number.
    #[arg(long)]
    count: Option<u64>,
    /// `dev`, for trying the bench itself.
    #[arg(long, hide = true, default_value = "fast")]
    profile: String,
    /// Write the table into docs/performance.md.
    #[arg(long)]
    write: bool,
}

/// Builds, measures, prints.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let scratch = build::scratch("bench-")?;
    let binary = Build { package: "outputs", profile: &options.profile, features: &[], optimized: &[] }.run()?;
    let load = load_average();
    let mut command = Command::new(binary);
    command.args(["run", "--rounds", &options.rounds.to_string(), "--scratch"]).arg(scratch.path());
    command.args(options.only.iter().flat_map(|only| ["--only", only]));
    if let Some(count) = options.count {
        command.args(["--count", &count.to_string()]);
    }
    let said = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("the bench could not be run")?;
    if !said.status.success() {
        bail!("the bench ended with {}", said.status);
    }
    let who = format!("bare client and output in turn, load average {load} before");
    let text = format!("{}\n{}", how(&options.profile, options.rounds, &who), table(&String::from_utf8(said.stdout)?)?);
    println!("\n{text}");
    if options.write {
        write_page(LINES, &text)?;
    }
    Ok(())
}

/// Of the minute before: who else was at work.
fn load_average() -> String {
    let all = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    all.split(' ').next().unwrap_or("unknown").to_owned()
}

/// What is known of an output.
#[derive(Default)]
struct Row {
    name: String,
    at_once: u64,
    /// Deliveries a second, then CPU: of each the bare client's and the output's, by round.
    rate: [Vec<f64>; 2],
    cpu: [Vec<f64>; 2],
}

impl Row {
    fn add(&mut self, round: &Value) -> Option<()> {
        for (side, name) in ["bare", "ours"].into_iter().enumerate() {
            self.rate[side].push(round[name]["rate"].as_f64()?);
            self.cpu[side].push(round[name]["cpu_us"].as_f64()?);
        }
        Some(())
    }

    fn markdown(self) -> String {
        let (rate, cpu) = (ratio(&self.rate), ratio(&self.cpu));
        let said = if rate >= AIM { "reached" } else { "**missed**" };
        let [rates, cpus] = [self.rate, self.cpu].map(|sides| sides.map(shown).join(" | "));
        format!("| {} | {} | {rates} | {rate:.2} | {said} | {cpus} | {cpu:.2} |", self.name, self.at_once)
    }
}

/// The output's part of the bare client's, in the median of the rounds.
fn ratio([bare, ours]: &[Vec<f64>; 2]) -> f64 {
    median(bare.iter().zip(ours).map(|(bare, ours)| ours / bare).collect()).unwrap_or(f64::NAN)
}

/// A row an output, of the lines of all rounds.
fn table(lines: &str) -> anyhow::Result<String> {
    let mut rows: Vec<Row> = vec![];
    for line in lines.lines() {
        let round: Value = serde_json::from_str(line).with_context(|| format!("no figures: `{line}`"))?;
        let name = round["output"].as_str().unwrap_or_default();
        if rows.last().is_none_or(|row| row.name != name) {
            rows.push(Row { name: name.to_owned(), at_once: round["at_once"].as_u64().unwrap_or_default(), ..Row::default() });
        }
        rows.last_mut().and_then(|row| row.add(&round)).with_context(|| format!("figures are missing: `{line}`"))?;
    }
    let mut text = String::from("| output | out at once | bare client, deliveries/s | output, deliveries/s | output / bare | ");
    let _ = writeln!(text, "aim ≥ {AIM} | bare client, CPU µs each | output, CPU µs each | output / bare |");
    text += "|---|---:|---:|---:|---:|---|---:|---:|---:|\n";
    for row in rows {
        let _ = writeln!(text, "{}", row.markdown());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_holds_the_median_of_the_rounds_own_ratios() {
        let round = |name: &str, bare: f64, ours: f64| {
            format!(r#"{{"output":"{name}","at_once":32,"bare":{{"rate":{bare},"cpu_us":10.0}},"ours":{{"rate":{ours},"cpu_us":15.0}}}}"#)
        };
        // Ratios 0.90, 0.80, 0.70; the ratio of the medians would be 0.90.
        let lines = [round("http", 100.0, 90.0), round("http", 200.0, 160.0), round("http", 50.0, 35.0), round("file", 1000.0, 700.0)];
        let table = table(&lines.join("\n")).unwrap();
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| http | 32 | 100 [50.0..200] | 90.0 [35.0..160] | 0.80 | reached | 10.0 [10.0..10.0] | 15.0 [15.0..15.0] | 1.50 |",
                "| file | 32 | 1000 [1000..1000] | 700 [700..700] | 0.70 | **missed** | 10.0 [10.0..10.0] | 15.0 [15.0..15.0] | 1.50 |",
            ]
        );
    }

    #[test]
    fn what_is_no_figure_is_told() {
        assert!(table("{\"output\":\"http\"}").is_err());
        assert!(table("round 1").is_err());
    }
}
