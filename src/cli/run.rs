//! `switchyard run`: the daemon.

use super::{Exit, check, show};
use crate::admin::{Api, access::Rules};
use crate::daemon::{self, Daemon, Ended, blueprint::Blueprint};
use crate::model::SystemClock;
use crate::telemetry::{self, LogFormat};
use anyhow::Context;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::{Handle, Runtime};
use tokio_util::sync::CancellationToken;

/// A signed event to try the shipped configuration with.
const SAMPLE: &str = "examples/order.json";

/// Runs the daemon until SIGTERM; reloads on SIGHUP and when the file changes.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// The configuration.
    #[arg(default_value = "routes.yaml")]
    file: PathBuf,
    /// How logs are written to standard error.
    #[arg(long, value_enum, default_value_t, env = "SWITCHYARD_LOG_FORMAT")]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug, or a filter by part.
    #[arg(long, default_value = "info", env = "SWITCHYARD_LOG")]
    log: String,
}

impl Run {
    pub fn run(self) -> anyhow::Result<Exit> {
        telemetry::log(self.log_format, &self.log).map_err(anyhow::Error::msg)?;
        let Some(blueprint) = check::ready(&self.file)? else { return Ok(Exit::BadConfiguration) };
        daemon::prepare();
        let (intake, deliver) = (runtime("intake")?, runtime("deliver")?);
        intake.block_on(self.live(blueprint, deliver.handle().clone()))
    }

    async fn live(&self, blueprint: Blueprint, deliver: Handle) -> anyhow::Result<Exit> {
        let lines = introduction(&blueprint);
        let clock = Arc::new(SystemClock::default());
        let (daemon, doors, admin) = match daemon::start(&self.file, blueprint, switchyard_plugins::kinds(), deliver, clock).await {
            Ok(started) => started,
            Err(why) => {
                let exit = Exit::of(why.exit_code());
                eprintln!("switchyard: {}", show::chain(&why));
                return Ok(exit);
            }
        };
        let (events, stop) = (doors.events.local_addr()?, CancellationToken::new());
        let listen = admin.listener.local_addr()?;
        let rules = Rules { listen, token: admin.token, read_token: admin.read_token };
        let api = Arc::new(Api { daemon: Arc::clone(&daemon), rules, events, stop: stop.clone() });
        introduce(&self.file, &daemon, &lines, events, listen);
        let served = crate::admin::serve(admin.listener, api, stop.clone());
        Ok(match daemon.live(doors, served, stop).await? {
            Ended::Drained => Exit::Done,
            Ended::AtOnce => Exit::No,
            Ended::Fault { exit_code, message } => {
                tracing::error!(%message, "the journal stopped, so the daemon ends; what was answered 200 is kept");
                Exit::of(exit_code)
            }
        })
    }
}

/// Threads for one half of the way, one a core. Two halves, because then the kernel shares the machine out between them: where more comes in
/// than goes out, the connections of senders would else take every turn, and what they sent would wait behind them.
fn runtime(half: &str) -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().thread_name(half).enable_all().build().context("can't start the runtime")
}

/// What the file has, a line each.
fn introduction(blueprint: &Blueprint) -> Vec<String> {
    let mut lines = vec![];
    let mut sources: Vec<(&str, &str)> = blueprint.sources.iter().map(|(path, source)| (&*source.name, path)).collect();
    sources.sort_unstable();
    lines.extend(sources.iter().map(|(name, path)| format!("  source   {name}: POST {path}")));
    for route in blueprint.router.shown() {
        let outputs: Vec<&str> = route.targets.iter().map(|target| &*target.output).collect();
        lines.push(format!("  route    {} → {}", route.name, outputs.join(", ")));
    }
    lines.extend(blueprint.outputs.iter().map(|plan| format!("  output   {}: {}", plan.name, plan.kind)));
    lines
}

/// The first lines: what listens where, what there is, and what to try.
fn introduce(file: &Path, daemon: &Daemon, lines: &[String], events: SocketAddr, admin: SocketAddr) {
    let running = daemon.running.load();
    show::say(&format!("switchyard {} runs {} (version {})", env!("CARGO_PKG_VERSION"), file.display(), running.version));
    show::say(&format!("  events   http://{events}"));
    show::say(&format!("  admin    http://{admin}  (/health, /ready, /metrics)"));
    for line in lines {
        show::say(line);
    }
    if daemon.ingest.sources().named("orderchamp").is_some() && Path::new(SAMPLE).exists() {
        let program = std::env::args().next().unwrap_or_else(|| "switchyard".into());
        show::say("try it, in another terminal:");
        show::say(&format!("  {program} send --source orderchamp --topic ORDER_CONFIRMED {SAMPLE}"));
    }
}
