//! Arguments in, exit code out.

use clap::Parser;
use std::process::ExitCode;

/// Events are made on one thread, kept on another and freed on a third; the C library's allocator makes its threads wait for each other over
/// that (docs/performance.md has the figures).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    switchyard::cli::main(switchyard::cli::Args::parse()).into()
}
