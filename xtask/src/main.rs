//! What a developer runs beside the tests: `cargo xtask bench`, `cargo xtask torture`, `cargo xtask sim`,
//! `cargo xtask fuzz`, `cargo xtask timing`, `cargo xtask services`.
//!
//! All of them treat the daemon as a black box: the real binary, a file, its ports and its signals. Nothing here knows its code.

mod bench;
mod build;
mod daemon;
mod fuzz;
mod http;
mod process;
mod services;
mod sim;
mod timing;
mod torture;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "What a developer runs beside the tests")]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures the daemon beside the floor (or outputs beside their client libraries), in turn, and prints figures, ratios and goals.
    Bench(bench::Bench),
    /// Ends the daemon in the worst moments and proves that nothing answered 200 is lost (L1).
    #[command(subcommand)]
    Torture(torture::Command),
    /// The deterministic simulation; `cargo xtask sim -- --help` has its options.
    Sim(sim::Options),
    /// Inputs of any kind, guided by what they reach, until something breaks or the time is over.
    Fuzz(fuzz::Options),
    /// Whether the time of a comparison tells something of a secret.
    Timing(timing::Options),
    /// The real servers that tests speak to.
    #[command(subcommand)]
    Services(services::Command),
    /// The little writer that `torture power --self-check` runs under the shim.
    #[command(hide = true)]
    PowerWriter(torture::self_check::WriterOptions),
}

fn main() -> ExitCode {
    let done = match Line::parse().command {
        Command::Bench(bench) => bench::run(&bench).map(|()| true),
        Command::Torture(command) => torture::run(&command),
        Command::Sim(options) => sim::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Timing(options) => timing::run(&options),
        Command::Services(command) => services::run(&command).map(|()| true),
        Command::PowerWriter(options) => torture::self_check::write(&options).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
