//! `cargo xtask sim`: builds the simulation, which is a crate of its own because it knows the daemon's code, and runs it.

use crate::build::{Build, root};
use std::process::Command;

/// What goes to the simulation.
#[derive(clap::Args)]
pub struct Options {
    /// The profile it is built with: `fast` for a million seeds.
    #[arg(long, default_value = "dev")]
    profile: String,
    /// `--seeds N`, `--from S`, `--crash-everywhere`, `--scenario FILE`, `--mutants`; `-- --help` explains them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Builds and runs it; false where a law was broken.
pub fn run(options: &Options) -> anyhow::Result<bool> {
    let optimized = &["switchyard", "switchyard-sim"];
    let binary = Build { package: "switchyard-sim", profile: &options.profile, features: &[], optimized }.run()?;
    Ok(Command::new(binary).current_dir(root()).args(&options.rest).status()?.success())
}
