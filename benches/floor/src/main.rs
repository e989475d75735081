//! The least that a durable webhook router must cost on the machine it runs on, and the tools to measure it.
//!
//! `ingest-floor` takes events as the daemon does (one HMAC, one group commit, answered after the sync); `loop-floor` also posts each
//! event, signed, and settles it. Both leave out everything a router is for: no JSON, no routes, no timeouts, no retries, no limits, no TLS.
//! What the daemon costs above them is its own. Figures hold only inside one run, floor and daemon in turn (`cargo xtask bench`).
//!
//! Never: used outside loopback; a place to add features.

mod clock;
mod idle;
mod ingest;
mod journal;
mod load;
mod order;
mod outgoing;
mod process;
mod server;
mod sink;
mod wire;

use clap::Parser;

#[derive(Parser)]
#[command(about = "The least that a durable webhook router must cost on this machine")]
enum Command {
    /// Bare hyper, one HMAC, one SQLite group commit; answers after the sync.
    IngestFloor(ingest::Options),
    /// The same, and a signed POST an event and output, settled in the journal.
    LoopFloor(ingest::LoopOptions),
    /// Answers 200 and records how long each request was on its way.
    Sink(sink::Options),
    /// Sends prebuilt, signed requests and prints one line of JSON.
    Load(load::Options),
    /// Opens many connections, sends one request on each, holds them and prints what that cost the server.
    Idle(idle::Options),
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::IngestFloor(options) => ingest::run(&options, None),
        Command::LoopFloor(options) => ingest::run(&options.ingest, Some(&options.outgoing)),
        Command::Sink(options) => sink::run(&options),
        Command::Load(options) => load::run(options),
        Command::Idle(options) => idle::run(&options),
    }
}
