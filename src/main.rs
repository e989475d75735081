//! Arguments in, exit code out.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    switchyard::cli::main(switchyard::cli::Args::parse()).into()
}
