//! Who is measured: the floor or the daemon, started fresh on an empty journal, with as many outputs as asked for.

use crate::daemon::{Home, Running, SECRET, SIGNING};
use crate::{http, process};
use anyhow::{Context, bail};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use switchyard_services::net::free_address;

/// A start that takes longer is a failure.
const START: Duration = Duration::from_secs(10);
/// Connections per output.
const WORKERS: u16 = 32;

/// The floor or the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contestant {
    Floor,
    Daemon,
}

/// Binaries and sizes.
pub struct Tools {
    pub floor: PathBuf,
    pub daemon: PathBuf,
    /// Journals live below it.
    pub scratch: PathBuf,
    pub seconds: f64,
    pub count: u64,
}

/// What is done with events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Verified, kept, answered. The daemon has one route whose filter lets nothing through.
    Intake,
    /// And delivered to so many outputs.
    Whole { fanout: u16 },
    /// And delivered to one output, with more to do on the way; the floor does as before.
    With(More),
}

/// What a delivery has to do besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum More {
    /// The far side refuses each tenth request; it is tried again 100 ms later. The floor takes a refusal for an answer.
    Retries,
    /// The output has a limit for each of [`TOPICS`] keys, none of which is ever reached.
    Limits,
    /// It is one of [`OUTPUTS`] outputs, each with its route and topic.
    Outputs,
}

/// Keys of the limit.
pub const TOPICS: u16 = 100;
/// Outputs, where there are many.
pub const OUTPUTS: u16 = 1_000;
/// Of so many requests one is refused.
const REFUSE: &str = "10";

impl Way {
    /// Deliveries of an event.
    pub fn fanout(self) -> u16 {
        match self {
            Way::Intake => 0,
            Way::Whole { fanout } => fanout,
            Way::With(_) => 1,
        }
    }

    /// Topics that the load goes through.
    pub fn topics(self) -> u16 {
        match self {
            Way::With(More::Limits) => TOPICS,
            Way::With(More::Outputs) => OUTPUTS,
            _ => 1,
        }
    }
}

/// A running contestant, and its sink where it delivers.
pub struct Server {
    pub running: Running,
    /// The journal's folder.
    pub folder: tempfile::TempDir,
    url: String,
    asked: Asked,
    topics: String,
    sink: Option<(Running, SocketAddr)>,
}

enum Asked {
    Floor(SocketAddr),
    Daemon(Box<Home>),
}

impl Contestant {
    /// As people write it.
    pub fn word(self) -> &'static str {
        match self {
            Contestant::Floor => "floor",
            Contestant::Daemon => "daemon",
        }
    }

    /// Starts it, and a sink if it delivers.
    pub fn start(self, tools: &Tools, way: Way) -> anyhow::Result<Server> {
        let folder = tempfile::tempdir_in(&tools.scratch)?;
        let sink = match way {
            Way::Intake => None,
            Way::With(More::Retries) => Some(start_sink(tools, REFUSE)?),
            Way::Whole { .. } | Way::With(_) => Some(start_sink(tools, "0")?),
        };
        let sink_at = sink.as_ref().map_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)), |(_, address)| *address);
        let (running, url, asked) = match self {
            Contestant::Floor => start_floor(tools, folder.path(), way, sink_at)?,
            Contestant::Daemon => start_daemon(tools, folder.path(), way, sink_at)?,
        };
        Ok(Server { running, folder, url, asked, topics: way.topics().to_string(), sink })
    }
}

fn start_sink(tools: &Tools, refuse: &str) -> anyhow::Result<(Running, SocketAddr)> {
    let address = free_address()?;
    let mut command = Command::new(&tools.floor);
    command.args(["sink", "--listen", &address.to_string(), "--refuse", refuse]).stderr(Stdio::null());
    let mut sink = Running::start(command)?;
    sink.wait_listening(address, START)?;
    Ok((sink, address))
}

fn start_floor(tools: &Tools, folder: &Path, way: Way, sink: SocketAddr) -> anyhow::Result<(Running, String, Asked)> {
    let address = free_address()?;
    let mut command = Command::new(&tools.floor);
    command.arg(if way == Way::Intake { "ingest-floor" } else { "loop-floor" });
    command.args(["--listen", &address.to_string(), "--secret", SECRET, "--dir"]).arg(folder).stderr(Stdio::null());
    let fanout = way.fanout();
    if fanout > 0 {
        command.args(["--sink", &format!("http://{sink}/"), "--fanout", &fanout.to_string(), "--workers", &WORKERS.to_string()]);
    }
    let mut running = Running::start(command)?;
    running.wait_listening(address, START)?;
    Ok((running, format!("http://{address}/in"), Asked::Floor(address)))
}

fn start_daemon(tools: &Tools, folder: &Path, way: Way, sink: SocketAddr) -> anyhow::Result<(Running, String, Asked)> {
    let home = Home::new(folder.to_owned())?;
    home.write_with("72h", "bench", &laid(way, sink))?;
    let mut running = Running::start(home.command(&tools.daemon)?)?;
    let listening = running.wait_listening(home.listen, START).and_then(|()| running.wait_listening(home.admin, START));
    listening.with_context(|| home.log_tail())?;
    Ok((running, format!("http://{}/bench", home.listen), Asked::Daemon(Box::new(home))))
}

/// Routes and outputs of the daemon.
fn laid(way: Way, sink: SocketAddr) -> String {
    let output = |name: &str, more: &str| {
        format!("  {name}: {{ type: http, url: \"http://{sink}/{name}\", sign: {{ secret: {SIGNING} }}, {more} }}\n")
    };
    let route =
        |name: &str, least: u32, rest: &str| format!("  - {{ name: {name}, filter: {{ data.total: {{ gt: {least} }} }}, {rest} }}\n");
    let names: Vec<String> = (0..OUTPUTS).map(|nth| format!("out-{nth}")).collect();
    let (routes, outputs): (String, String) = match way {
        Way::Intake => (route("bench", 1_000_000, "to: out-0"), output("out-0", "concurrency: 32")),
        Way::Whole { fanout } => {
            let names = &names[..usize::from(fanout)];
            let outputs = names.iter().map(|name| output(name, "concurrency: 32")).collect();
            (route("bench", 1_000, &format!("to: [{}]", names.join(", "))), outputs)
        }
        Way::With(More::Outputs) => {
            let routes = names.iter().enumerate().map(|(nth, name)| route(name, 1_000, &format!("topic: T{nth:020}, to: {name}")));
            (routes.collect(), names.iter().map(|name| output(name, "concurrency: 4")).collect())
        }
        Way::With(More::Limits) => {
            let limit = "concurrency: 32, rate: { limit: 1000000/s, key: \"{{ topic }}\" }";
            (route("bench", 1_000, "to: out-0"), output("out-0", limit))
        }
        Way::With(More::Retries) => {
            (route("bench", 1_000, "to: out-0"), output("out-0", "concurrency: 32, retry: { attempts: 11, over: 1s }"))
        }
    };
    format!("routes:\n{routes}outputs:\n{outputs}")
}

impl Server {
    /// Runs a command of the floor (`load` or `idle`) against it; the figures it prints.
    pub fn run(&self, tools: &Tools, command: &str, options: &[&str]) -> anyhow::Result<Value> {
        let output = Command::new(&tools.floor)
            .args([command, "--url", &self.url, "--secret", SECRET, "--topics", &self.topics])
            .args(options)
            .stderr(Stdio::inherit())
            .output()
            .context("the load could not be run")?;
        if !output.status.success() {
            bail!("the load ended with {}{}", output.status, self.log());
        }
        let figures: Value = serde_json::from_slice(&output.stdout).context("the load printed no figures")?;
        match figures["bad"].as_u64() {
            Some(bad) if bad > 0 => bail!("{bad} requests were not answered 2xx{}", self.log()),
            _ => Ok(figures),
        }
    }

    /// Deliveries whose outcome is in the journal.
    pub fn settled(&self) -> anyhow::Result<u64> {
        match &self.asked {
            Asked::Daemon(home) => home.metric("switchyard_deliveries_total", &["outcome=\"delivered\""]),
            Asked::Floor(address) => text_figure(*address, "/stats", "settled"),
        }
    }

    /// What the sink saw since it was last asked with `/reset`.
    pub fn sink(&self, path: &str, key: &str) -> anyhow::Result<u64> {
        let (_, address) = self.sink.as_ref().context("no sink was started")?;
        text_figure(*address, path, key)
    }

    fn log(&self) -> String {
        match &self.asked {
            Asked::Daemon(home) => format!("; the daemon's log ends with\n{}", home.log_tail()),
            Asked::Floor(_) => String::new(),
        }
    }

    /// CPU time so far, µs.
    pub fn cpu_us(&self) -> anyhow::Result<u64> {
        process::cpu_us(self.running.pid())
    }
}

/// One line `key value` of a page.
fn text_figure(address: SocketAddr, path: &str, key: &str) -> anyhow::Result<u64> {
    let (_, body) = http::get(address, path, &[])?;
    let text = String::from_utf8_lossy(&body);
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok());
    value.with_context(|| format!("{path} has no `{key}`"))
}
