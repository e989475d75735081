//! `cargo xtask timing`: runs the bench that asks whether the time of a comparison tells something of a secret (`benches/timing.rs`).

use crate::build;
use std::process::Command;

/// How many, and how built.
#[derive(clap::Args)]
pub struct Options {
    /// Samples of each comparison; a million for a figure to stand by.
    #[arg(long, default_value_t = 100_000)]
    samples: u32,
    /// The profile it is built with: `release` for the code that runs.
    #[arg(long, default_value = "dev")]
    profile: String,
}

/// Builds and runs it; false where a comparison tells something, or one that does is not found.
pub fn run(options: &Options) -> anyhow::Result<bool> {
    let mut cargo = Command::new(build::cargo());
    cargo.args(["bench", "--locked", "--quiet", "--package", "switchyard", "--bench", "timing", "--profile", &options.profile, "--"]);
    cargo.args(["--samples", &options.samples.to_string()]);
    Ok(cargo.current_dir(build::root()).status()?.success())
}
