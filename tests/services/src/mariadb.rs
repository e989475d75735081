//! MariaDB, from Debian's package: its own data in its own folder, with passwords, and TLS where it is given a certificate.
//!
//! Users: `root` through the socket, for the tests' own questions; `switchyard` over TCP with a password and all rights;
//! `careful` like it, but over TLS only.

use crate::{Guarded, Service, install, net};
use anyhow::{Context, bail};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// As `cargo xtask services` knows it.
pub const SERVICE: Service = Service {
    name: "mariadb",
    install: || install::packages(&["mariadb-server", "mariadb-client"]),
    start: || {
        let server = MariaDb::start(None)?;
        server.sql("", "CREATE DATABASE switchyard")?;
        let url = server.url("switchyard", "switchyard");
        Ok((Box::new(server), vec![url]))
    },
};

/// Passwords of the users over TCP: made up, and nobody else's.
pub const PASSWORD: &str = "made-up-mariadb-password";

/// A server that runs.
#[derive(Debug)]
pub struct MariaDb {
    server: Option<Guarded>,
    folder: TempDir,
    port: u16,
    tls: bool,
}

impl MariaDb {
    /// Makes the data and starts a server on it; `tls` is its certificate and key, as PEM.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start(tls: Option<(&str, &str)>) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("mariadb-")?;
        for (name, pem) in tls.iter().flat_map(|(cert, key)| [("server.crt", cert), ("server.key", key)]) {
            std::fs::write(folder.path().join(name), pem)?;
        }
        if rustix::process::getuid().is_root() {
            done(Command::new("chown").args(["-R", "mysql:"]).arg(folder.path()))?;
        }
        let mut make = Command::new(install::program("mariadb-install-db", &[])?);
        make.args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal", "--innodb-log-file-size=8M"]);
        // Temporary tables of two servers in one folder get into each other's way.
        let (data, temporary) = (folder.path().join("data"), folder.path().display());
        done(as_user(&mut make).args([format!("--datadir={}", data.display()), format!("--tmpdir={temporary}")]))?;
        let mut mariadb = MariaDb { server: None, folder, port: net::free_port()?, tls: tls.is_some() };
        mariadb.up()?;
        let user = |name: &str, require: &str| {
            format!("CREATE USER {name}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}' {require}; GRANT ALL ON *.* TO {name}@'127.0.0.1';")
        };
        mariadb.sql("", &(user("switchyard", "") + &user("careful", "REQUIRE SSL")))?;
        Ok(mariadb)
    }

    /// Starts the server that was stopped, on the same port.
    ///
    /// # Errors
    /// It does not start.
    pub fn up(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(install::program("mariadbd", &[])?);
        let folder = self.folder.path().display();
        command.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve", "--skip-log-bin"]);
        // Nothing of it survives the test, so nothing need be on the disk.
        command.args(["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=8M"]);
        command.args([format!("--datadir={folder}/data"), format!("--socket={folder}/socket"), format!("--pid-file={folder}/pid")]);
        command.arg(format!("--tmpdir={folder}"));
        command.arg(format!("--port={}", self.port));
        if self.tls {
            command.args([format!("--ssl-cert={folder}/server.crt"), format!("--ssl-key={folder}/server.key")]);
        }
        as_user(&mut command);
        let log = self.folder.path().join("log");
        let server = self.server.insert(Guarded::start(&command, &log)?);
        let mut ask = client(&self.folder, "", "SELECT 1")?;
        server.wait(Duration::from_secs(30), || ask.output().ok().filter(|said| said.status.success()))?;
        Ok(())
    }

    /// Stops the server as an operator would.
    pub fn down(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.stop();
        }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database for a user over TCP.
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("mysql://{user}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// What the `mariadb` client prints for these statements, one line a row, fields parted by tabs; no database: an empty name.
    ///
    /// # Errors
    /// What it says is wrong.
    pub fn sql(&self, database: &str, text: &str) -> anyhow::Result<String> {
        done(&mut client(&self.folder, database, text)?)
    }
}

fn client(folder: &TempDir, database: &str, text: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(install::program("mariadb", &[])?);
    command.args(["--no-defaults", "--default-character-set=utf8mb4", "--batch", "--raw", "--skip-column-names", "-u", "root"]);
    command.arg(format!("--socket={}", Path::new(folder.path()).join("socket").display())).args(["-e", text]);
    if !database.is_empty() {
        command.arg(database);
    }
    Ok(command)
}

/// The server steps down from root by itself.
fn as_user(command: &mut Command) -> &mut Command {
    if rustix::process::getuid().is_root() { command.arg("--user=mysql") } else { command }
}

/// What a command prints, once it has ended well.
fn done(command: &mut Command) -> anyhow::Result<String> {
    let said = command.output().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !said.status.success() {
        let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        bail!("{}: {out}{err}", command.get_program().display());
    }
    Ok(String::from_utf8_lossy(&said.stdout).trim_end().to_owned())
}
