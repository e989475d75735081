//! The command line: one file a command. Arguments in, exit code out; the only room that uses `anyhow`.

mod ask;
mod audit;
mod check;
mod client;
mod completions;
mod config;
mod deliveries;
mod diff;
mod drill;
mod duplicates;
mod echo;
mod erase;
mod events;
mod exit;
mod explain;
mod feed;
mod filter;
mod graph;
mod init;
mod journal;
mod listen;
mod login;
mod man;
mod pause;
mod post;
mod purge;
mod refused;
mod replay;
mod run;
mod schema;
mod send;
mod show;
mod silence;
mod skip;
mod subscribe;
mod tail;
mod test;
mod time;
mod top;

pub use exit::Exit;

use clap::{Parser, Subcommand};

/// A webhook fan-out router: proves who sent an event, keeps it, and delivers it to everybody who should know.
#[derive(Debug, Parser)]
#[command(name = "switchyard", version, propagate_version = true, after_help = EXIT_CODES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes:
   0  done
   1  the answer is no: problems found, nothing matched, not accepted
   2  wrong arguments, or an unreadable file
  69  the daemon can't be reached
  74  the journal can't be written
  75  the journal is damaged
  78  the configuration does not run";

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the daemon.
    Run(run::Run),
    /// Writes a commented routes.yaml to start from.
    Init(init::Init),
    /// Validates the configuration; with `--connect` it asks every output's far side too.
    Check(check::Check),
    /// Says which routes an event matches, why the others do not, and what would be sent; sends nothing.
    Explain(explain::Explain),
    /// Runs the tests of the configuration on virtual time; with `--from` it writes one of a kept event.
    Test(test::Test),
    /// Shows what another configuration would change about what was delivered lately; sends nothing.
    Diff(diff::Diff),
    /// Shows the configurations that ran: `list`, `show`, `diff`.
    Config(config::Config),
    /// Prints the JSON Schema of routes.yaml, for editors.
    Schema(schema::Schema),
    /// Draws sources, routes and outputs, as Mermaid or SVG.
    Graph(graph::Graph),
    /// Signs an event as its sender would, posts it to the daemon and shows where it went.
    Send(send::Send),
    /// Prints the headers a sender would sign an event with.
    Sign(send::Sign),
    /// Lists or shows events.
    Events(events::Events),
    /// Lists repeats of events, which were answered and not delivered again; `duplicates release` delivers one.
    Duplicates(duplicates::Duplicates),
    /// Lists deliveries.
    Deliveries(deliveries::Deliveries),
    /// Lists dead deliveries, with the reason.
    Dead(deliveries::Dead),
    /// Lists the requests that were refused lately, with the reason.
    Refused(refused::Refused),
    /// Delivers again: by id, or by filter with a count first.
    Replay(replay::Replay),
    /// Holds an output's deliveries until it is resumed.
    Pause(pause::Pause),
    /// Lets a paused output go on.
    Resume(pause::Resume),
    /// Ends held deliveries of an output: by filter, with a count first.
    Purge(purge::Purge),
    /// Sends outputs a delivery that is marked as a test, and says whether it arrived.
    Drill(drill::Drill),
    /// Keeps some deliveries back for a time: `add`, `list`, `end`.
    Silence(silence::Silence),
    /// Lets deliveries that are kept in order go on past one that is stuck.
    Skip(skip::Skip),
    /// Hands an output a new refresh token, read from standard input.
    Login(login::Login),
    /// Registers this daemon at a sender's API: `list`, `add`, `recreate`, `remove`.
    Subscribe(subscribe::Subscribe),
    /// Forwards events as they are kept to a program under development.
    Listen(listen::Listen),
    /// Shows events and deliveries as they happen.
    Tail(tail::Tail),
    /// Shows what each output does, again and again.
    Top(top::Top),
    /// Proves that every planned delivery is accounted for.
    Audit(audit::Audit),
    /// Looks after the journal's file: is it sound, what is in it, a copy, what can be saved of a damaged one.
    Journal(journal::Journal),
    /// Removes a person's events from the journal, with a report.
    Erase(erase::Erase),
    /// Answers every request with 200 and prints it: a far side to try outputs with.
    Echo(echo::Echo),
    /// Prints the completion script of a shell.
    Completions(completions::Completions),
    /// Prints the manual page, or writes those of all commands.
    Man(man::Man),
    /// Runs jq programs for the daemon: started by it, not by people.
    #[command(hide = true)]
    JqWorker,
}

/// Runs the command; prints what went wrong.
pub fn main(args: Args) -> Exit {
    let ended = match args.command {
        Command::Run(run) => run.run(),
        Command::Init(init) => init.run(),
        Command::Check(check) => check.run(),
        Command::Explain(explain) => explain.run(),
        Command::Test(test) => test.run(),
        Command::Diff(diff) => diff.run(),
        Command::Config(config) => config.run(),
        Command::Schema(schema) => schema.run(),
        Command::Graph(graph) => graph.run(),
        Command::Send(send) => send.run(),
        Command::Sign(sign) => sign.run(),
        Command::Events(events) => events.run(),
        Command::Duplicates(duplicates) => duplicates.run(),
        Command::Deliveries(deliveries) => deliveries.run(),
        Command::Dead(dead) => dead.run(),
        Command::Refused(refused) => refused.run(),
        Command::Replay(replay) => replay.run(),
        Command::Pause(pause) => pause.run(),
        Command::Resume(resume) => resume.run(),
        Command::Purge(purge) => purge.run(),
        Command::Drill(drill) => drill.run(),
        Command::Silence(silence) => silence.run(),
        Command::Skip(skip) => skip.run(),
        Command::Login(login) => login.run(),
        Command::Subscribe(subscribe) => subscribe.run(),
        Command::Listen(listen) => listen.run(),
        Command::Tail(tail) => tail.run(),
        Command::Top(top) => top.run(),
        Command::Audit(audit) => audit.run(),
        Command::Journal(journal) => journal.run(),
        Command::Erase(erase) => erase.run(),
        Command::Echo(echo) => echo.run(),
        Command::Completions(completions) => return completions.run(),
        Command::Man(man) => man.run(),
        Command::JqWorker => return jq_worker(),
    };
    ended.unwrap_or_else(|why| {
        eprintln!("switchyard: {}", crate::model::printable::Printable(&format!("{why:#}")));
        match () {
            () if why.is::<client::Unreachable>() => Exit::Unreachable,
            () if why.is::<client::NotThere>() || why.is::<send::NotKept>() || why.is::<subscribe::NoAnswer>() => Exit::No,
            () => Exit::Usage,
        }
    })
}

/// Serves jq programs until the daemon closes its end.
fn jq_worker() -> Exit {
    let ended = crate::route::jq::run_worker(std::io::stdin(), std::io::stdout());
    if ended == std::process::ExitCode::SUCCESS { Exit::Done } else { Exit::No }
}

/// How many rows a list may have: more than the daemon gives would be cut without a word.
fn row_count() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=crate::admin::ROWS_MAX as i64)
}

/// Runs a command's requests.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
