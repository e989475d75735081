//! Outputs beside the bare client library: the same job, the same guarantees, the same real server, in turn, in one run.
//!
//! `run` measures: each round an output, made by its own `Kind` and driven as the delivery engine drives it, and the library it is
//! made of, one after the other, each to a fresh topic, table, file or stream, and then counts what the far side really has. It prints a line
//! of JSON a round; `cargo xtask bench outputs` makes the table of them. What an output costs beside its library is its own: records made of
//! parcels, outcomes, time limits, connections that may be lost. Never: compares figures of two runs.
//!
//! Proven by `tests/runs.rs`: those that need no server, with few deliveries.

mod crew;
mod delivery;
mod far_side;
mod file;
mod http;
mod kafka;
mod mariadb;
mod nats;
mod output;
mod postgres;
mod process;
mod redis;
mod rounds;
mod settings;
mod sink;
mod sqlite;

use clap::Parser;

// As the daemon.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
#[command(about = "Outputs beside the bare client library")]
enum Command {
    /// Measures and prints a line of JSON a round.
    Run(rounds::Options),
    /// Takes requests and counts them: the far side of HTTP outputs.
    Sink(sink::Options),
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Run(options) => rounds::run(&options),
        Command::Sink(options) => sink::run(&options),
    }
}
