//! `cargo xtask torture`: the real daemon, ended in the worst moments, and a ledger that says whether L1 held.
//!
//! The sender notes what it sent and what was answered; recording outputs note what arrived; both are compared at the end.
//! `stop` and `reload` do what operators do. `kill` proves that a crash loses nothing; it proves nothing about fsync, for the kernel still has what was written. `power` does.

mod backlog;
mod bombs;
mod clock;
mod far_side;
mod hostile;
mod io;
mod kill;
mod ledger;
mod load;
mod network;
mod orderly;
mod outputs;
mod power;
pub mod self_check;
mod sender;
mod shim;
mod yard;

/// What to do to the daemon.
#[derive(clap::Subcommand)]
pub enum Command {
    /// SIGKILL at random times and at named points of its code.
    Kill(kill::Options),
    /// What was not synced vanishes, at a random write.
    Power(power::Options),
    /// Writes and syncs fail, and the disk is full for a while.
    Io(io::Options),
    /// SIGTERM under load: nothing is lost, and nothing comes twice.
    Stop(orderly::Options),
    /// Changed, broken and shrunk files under load: as for `stop`.
    Reload(orderly::Options),
    /// A great many deliveries wait: start, memory, lists and answers are as without them.
    Backlog(backlog::Options),
    /// Programs that never end and bodies that break parsers, beside a good route.
    Bombs(bombs::Options),
    /// Somebody sets the wall clock under load, by hours and days.
    Clock(clock::Options),
    /// A good output beside seventeen bad ones.
    Outputs(outputs::Options),
    /// Thousands of stuck sockets and hostile requests beside a good sender.
    Network(network::Options),
}

/// Runs; whether nothing was lost (or, in a control run, whether something was).
pub fn run(command: &Command) -> anyhow::Result<bool> {
    match command {
        Command::Kill(options) => kill::run(options),
        Command::Power(options) if options.self_check => self_check::run(options.cycles, options.seed),
        Command::Power(options) => power::run(options),
        Command::Io(options) => io::run(options),
        Command::Stop(options) => orderly::stop(options),
        Command::Reload(options) => orderly::reload(options),
        Command::Backlog(options) => backlog::run(options),
        Command::Bombs(options) => bombs::run(options),
        Command::Clock(options) => clock::run(options),
        Command::Outputs(options) => outputs::run(options),
        Command::Network(options) => network::run(options),
    }
}
