//! The daemon as a process: started on a file in a folder of its own, asked over its ports, ended by signals.

use crate::{http, process};
use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fmt::Write;
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;
use switchyard_services::net::free_address;

/// The key of the source, over the body, as `X-Signature: sha256=<hex>`.
pub const SECRET: &str = "made-up-secret-of-the-sender-0001";
/// The key of what the daemon sends on (Standard Webhooks).
pub const SIGNING: &str = "whsec_bWFkZS11cC1zaWduaW5nLWtleS1mb3ItdGVzdHMtMDAwMQ==";
/// The admin side's token.
const TOKEN: &str = "made-up-token-of-the-admin-side-0001";
/// How much of its log is shown when something goes wrong.
const LOG_LINES: usize = 20;

/// Where a daemon lives: its file, its journal, its log and its ports.
pub struct Home {
    folder: PathBuf,
    /// Events arrive here.
    pub listen: SocketAddr,
    /// API and metrics.
    pub admin: SocketAddr,
}

/// A route of the file that a [`Home`] writes.
pub struct Route<'a> {
    /// Its name.
    pub name: &'a str,
    /// Only events whose `data.total` is above this; none: all.
    pub total_above: Option<u64>,
    /// Only events whose `data.total` is below this; none: all.
    pub total_below: Option<u64>,
    /// Names of outputs.
    pub to: &'a [&'a str],
}

/// An HTTP output of the file that a [`Home`] writes.
pub struct Output {
    /// Its name.
    pub name: String,
    /// Where, without a path: `http://127.0.0.1:3000`.
    pub at: String,
    /// Further keys, each on a line of its own.
    pub keys: &'static str,
}

impl Home {
    /// Makes the folder and finds two ports.
    pub fn new(folder: PathBuf) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder.join("journal"))?;
        let (listen, admin) = (free_address()?, free_address()?);
        Ok(Home { folder, listen, admin })
    }

    /// The folder that holds nothing but the journal.
    pub fn journal(&self) -> PathBuf {
        self.folder.join("journal")
    }

    /// The database in it.
    pub fn database(&self) -> PathBuf {
        self.journal().join("journal.db")
    }

    /// Writes the file: one source `bench`, signed, these routes and outputs. `keep` is how long what was delivered is kept and how long a
    /// repeat is a repeat.
    pub fn write_file(&self, routes: &[Route], outputs: &[Output], keep: &str, note: &str) -> anyhow::Result<()> {
        let mut text = "routes:\n".to_owned();
        for Route { name, total_above, total_below, to } in routes {
            writeln!(text, "  - name: {name}\n    from: bench")?;
            let bounds = [total_above.map(|total| format!("gt: {total}")), total_below.map(|total| format!("lt: {total}"))];
            if bounds.iter().any(Option::is_some) {
                let bounds = bounds.into_iter().flatten().collect::<Vec<_>>().join(", ");
                writeln!(text, "    filter: {{ data.total: {{ {bounds} }} }}")?;
            }
            writeln!(text, "    to: [{}]", to.join(", "))?;
        }
        writeln!(text, "outputs:")?;
        for Output { name, at, keys } in outputs {
            writeln!(text, "  {name}:\n    type: http\n    url: {at}/{name}\n    sign: {{ secret: {SIGNING} }}")?;
            for key in keys.lines() {
                writeln!(text, "    {key}")?;
            }
        }
        self.write_with(keep, note, &text)
    }

    /// The same with routes and outputs as text.
    pub fn write_with(&self, keep: &str, note: &str, rest: &str) -> anyhow::Result<()> {
        self.write_with_caps(Some(2048), keep, note, rest)
    }

    /// The same with so many connections at most, or as many as there are when nothing is said.
    pub fn write_with_caps(&self, most: Option<u32>, keep: &str, note: &str, rest: &str) -> anyhow::Result<()> {
        let caps = most.map_or(String::new(), |most| format!("max_connections: {most}, max_connections_per_address: {most}, "));
        self.replace_file(&format!(
            "# {note}
server: {{ listen: {}, {caps}admin: {{ listen: {}, token: {TOKEN} }} }}
journal: {{ url: \"sqlite:{}\", retain: {{ delivered: {keep}, dead: 30d }} }}
sources:
  bench:
    verify: {{ hmac: sha256, header: X-Signature, encoding: hex, prefix: \"sha256=\", signs: \"{{body}}\" }}
    secret: {SECRET}
    topic: {{ header: X-Topic }}
    id: {{ header: X-Event-Id }}
    dedupe: {keep}
{rest}",
            self.listen,
            self.admin,
            self.database().display()
        ))
    }

    /// Writes a file that does not run.
    pub fn write_broken_file(&self) -> anyhow::Result<()> {
        self.replace_file("routes: [ { name: nowhere, to: nobody } ]\n")
    }

    /// Whole or not at all: the daemon may read it at any moment.
    fn replace_file(&self, text: &str) -> anyhow::Result<()> {
        let fresh = self.folder.join("routes.yaml.new");
        std::fs::write(&fresh, text)?;
        std::fs::rename(fresh, self.file())?;
        Ok(())
    }

    fn file(&self) -> PathBuf {
        self.folder.join("routes.yaml")
    }

    /// The command that starts a daemon here; its log goes to a file.
    pub fn command(&self, binary: &Path) -> anyhow::Result<Command> {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path())?;
        let mut command = Command::new(binary);
        command.arg("run").arg(self.file()).current_dir(&self.folder).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("daemon.log")
    }

    /// The last lines of the log.
    pub fn log_tail(&self) -> String {
        let bytes = std::fs::read(self.log_path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// Asks the admin side for JSON.
    pub fn api(&self, path: &str) -> anyhow::Result<Value> {
        let (status, body) = self.admin_get(path)?;
        if status != 200 {
            bail!("GET {path}: {status} {}", String::from_utf8_lossy(&body));
        }
        serde_json::from_slice(&body).with_context(|| format!("GET {path}: not JSON"))
    }

    /// Asks the admin side for whatever it is.
    pub fn look(&self, path: &str) -> anyhow::Result<()> {
        let (status, body) = self.admin_get(path)?;
        if status != 200 {
            bail!("GET {path}: {status} {}", String::from_utf8_lossy(&body));
        }
        Ok(())
    }

    /// Sum of a metric over all series that have these labels.
    pub fn metric(&self, name: &str, labels: &[&str]) -> anyhow::Result<u64> {
        let (status, body) = self.admin_get("/metrics")?;
        if status != 200 {
            bail!("GET /metrics: {status}");
        }
        Ok(sum(&String::from_utf8_lossy(&body), name, labels))
    }

    fn admin_get(&self, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        let bearer = format!("Bearer {TOKEN}");
        http::get(self.admin, path, &[("Authorization", &bearer)]).with_context(|| format!("GET {path} at {}", self.admin))
    }
}

/// The series of one metric in the text form of metrics, added up.
fn sum(text: &str, name: &str, labels: &[&str]) -> u64 {
    let series = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    let wanted = series.filter(|line| labels.iter().all(|label| line.contains(label)));
    wanted.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>() as u64
}

/// A process that is killed when dropped.
pub struct Running {
    child: Child,
}

impl Running {
    /// Starts it.
    pub fn start(mut command: Command) -> anyhow::Result<Self> {
        let child = command.spawn().with_context(|| format!("{} does not start", command.get_program().display()))?;
        Ok(Running { child })
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    pub fn wait(&mut self, most: Duration) -> Option<ExitStatus> {
        process::wait_for(most, || self.ended())
    }

    /// Waits until it takes connections.
    pub fn wait_listening(&mut self, address: SocketAddr, most: Duration) -> anyhow::Result<()> {
        let listening = process::wait_for(most, || match self.ended() {
            Some(status) => Some(Err(status)),
            None => std::net::TcpStream::connect(address).ok().map(|_| Ok(())),
        });
        match listening {
            Some(Ok(())) => Ok(()),
            Some(Err(status)) => bail!("it ended ({status}) before it listened on {address}"),
            None => bail!("it did not listen on {address} within {most:?}"),
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Ends it the hard way.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether a process was ended by SIGKILL.
pub fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::KILL.as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_the_series_with_the_labels() {
        let text = "# TYPE a_total counter\na_total{output=\"x\",outcome=\"delivered\"} 3\na_total{output=\"y\",outcome=\"delivered\"} 4\n\
                    a_total{output=\"y\",outcome=\"dead\"} 8\na_totals 9\nb 5\n";
        assert_eq!(sum(text, "a_total", &["outcome=\"delivered\""]), 7);
        assert_eq!(sum(text, "a_total", &[]), 15);
        assert_eq!(sum(text, "b", &[]), 5);
    }
}
