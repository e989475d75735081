//! PostgreSQL, from Debian's package: its own cluster in its own folder, with passwords, and TLS where it is given a certificate.
//!
//! Users: `postgres` through the socket, for the tests' own questions; `switchyard` over TCP with a password and all rights;
//! `careful` like it, but over TLS only; `known` like that, with a certificate of [`clients`] besides. Never: runs as root (the server refuses that), so root runs it as the package's user.

use crate::certificate::clients;
use crate::{Guarded, Service, install, net};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// As `cargo xtask services` knows it.
pub const SERVICE: Service = Service {
    name: "postgres",
    install: || install::packages(&["postgresql", "postgresql-client"]),
    start: || {
        let server = Postgres::start(None)?;
        let url = server.url("switchyard", "postgres");
        Ok((Box::new(server), vec![url]))
    },
};

/// Passwords of the users over TCP: made up, and nobody else's.
pub const PASSWORD: &str = "made-up-postgres-password";

const HBA: &str = "local all postgres trust
hostssl all careful 127.0.0.1/32 scram-sha-256
hostnossl all careful 127.0.0.1/32 reject
host all all 127.0.0.1/32 scram-sha-256
";
/// What the server takes only where it has TLS.
const HBA_TLS: &str = "hostssl all known 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n";

/// A server that runs.
#[derive(Debug)]
pub struct Postgres {
    server: Option<Guarded>,
    folder: TempDir,
    port: u16,
    tls: bool,
}

impl Postgres {
    /// Makes a cluster and starts its server; `tls` is its certificate and key, as PEM.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start(tls: Option<(&str, &str)>) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("postgres-")?;
        if rustix::process::getuid().is_root() {
            done(Command::new("chown").arg("postgres:").arg(folder.path()))?;
        }
        done(
            as_user(&program("initdb")?).args(["-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8", "-D"]).arg(data(&folder)),
        )?;
        if tls.is_some() {
            write_owned(&data(&folder).join("clients.crt"), &std::fs::read_to_string(clients(folder.path())?)?)?;
        }
        let hba = [tls.map_or("", |_| HBA_TLS), HBA].concat();
        std::fs::write(data(&folder).join("pg_hba.conf"), hba)?;
        for (name, pem) in tls.iter().flat_map(|(cert, key)| [("server.crt", cert), ("server.key", key)]) {
            write_owned(&data(&folder).join(name), pem)?;
        }
        let mut postgres = Postgres { server: None, folder, port: net::free_port()?, tls: tls.is_some() };
        postgres.up()?;
        let users = ["switchyard", "careful", "known"].map(|user| format!("CREATE ROLE {user} LOGIN SUPERUSER PASSWORD '{PASSWORD}';"));
        postgres.sql("postgres", &users.join(" "))?;
        Ok(postgres)
    }

    /// Starts the server that was stopped, on the same port.
    ///
    /// # Errors
    /// It does not start.
    pub fn up(&mut self) -> anyhow::Result<()> {
        let mut command = as_user(&program("postgres")?);
        command.arg("-D").arg(data(&self.folder)).arg("-k").arg(self.folder.path());
        // Nothing of it survives the test, so nothing need be on the disk.
        for setting in ["listen_addresses=127.0.0.1", "fsync=off", "max_connections=60", "shared_buffers=16MB"] {
            command.args(["-c", setting]);
        }
        command.args(["-c", &format!("port={}", self.port)]);
        if self.tls {
            command.args(["-c", "ssl=on", "-c", "ssl_ca_file=clients.crt"]);
        }
        let log = self.folder.path().join("log");
        let server = self.server.insert(Guarded::start(&command, &log)?);
        let mut ask = psql(&self.folder, self.port, "postgres", "SELECT 1")?;
        server.wait(Duration::from_secs(30), || ask.output().ok().filter(|said| said.status.success()))?;
        Ok(())
    }

    /// Stops the server as an operator would who does not wait for the clients.
    pub fn down(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        // A plain TERM waits until all have left by themselves.
        if let Some(pid) = server.pid().ok().and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        }
        server.stop();
    }

    /// Where the certificates of [`clients`] are, if it has TLS.
    pub fn clients(&self) -> &Path {
        self.folder.path()
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database for a user over TCP.
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// What `psql` prints for these statements, one line a row, fields parted by `|`.
    ///
    /// # Errors
    /// What it says is wrong.
    pub fn sql(&self, database: &str, text: &str) -> anyhow::Result<String> {
        done(&mut psql(&self.folder, self.port, database, text)?)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.down();
    }
}

fn data(folder: &TempDir) -> PathBuf {
    folder.path().join("data")
}

fn psql(folder: &TempDir, port: u16, database: &str, text: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(program("psql")?);
    command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-c", text]);
    command.args(["-p", &port.to_string(), "-h"]).arg(folder.path());
    Ok(command)
}

/// Debian keeps the servers of each version in a folder of its own: the newest.
fn program(name: &str) -> anyhow::Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").map(|all| all.filter_map(Result::ok).map(|entry| entry.path().join("bin")));
    let mut folders: Vec<String> = versions.into_iter().flatten().map(|path| path.display().to_string()).collect();
    folders.sort_by_key(|path| std::cmp::Reverse(path.split('/').nth(4).and_then(|version| version.parse::<u32>().ok())));
    install::program(name, &folders.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Runs a program as one who may run a server.
fn as_user(program: &Path) -> Command {
    if !rustix::process::getuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
    command
}

/// A file that only the server may read.
fn write_owned(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text)?;
    done(Command::new("chmod").arg("600").arg(path))?;
    if rustix::process::getuid().is_root() {
        done(Command::new("chown").arg("postgres:").arg(path))?;
    }
    Ok(())
}

/// What a command prints, once it has ended well.
fn done(command: &mut Command) -> anyhow::Result<String> {
    let said = command.output().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !said.status.success() {
        bail!("{}: {}", command.get_program().display(), String::from_utf8_lossy(&said.stderr));
    }
    Ok(String::from_utf8_lossy(&said.stdout).trim_end().to_owned())
}
