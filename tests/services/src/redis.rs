//! Redis, with a password, an append-only file, and TLS on a second port.

use crate::certificate::Certificate;
use crate::{Guarded, Service, install, net, pause};
use anyhow::{Context, bail};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// As `cargo xtask services` knows it.
pub const SERVICE: Service = Service {
    name: "redis",
    install: Redis::install,
    start: || {
        let server = Redis::start(&[])?;
        let lines = vec![format!("redis://:{}@127.0.0.1:{}", PASSWORD, server.port)];
        Ok((Box::new(server), lines))
    },
};

/// What a client says to be let in.
pub const PASSWORD: &str = "made-up-redis-password";

/// One server.
#[derive(Debug)]
pub struct Redis {
    server: Option<Guarded>,
    folder: tempfile::TempDir,
    /// Without TLS.
    pub port: u16,
    /// With TLS.
    pub tls_port: u16,
    certificate: Certificate,
    more: Vec<String>,
}

impl Redis {
    /// Installs Debian's.
    ///
    /// # Errors
    /// As [`install::packages`].
    pub fn install() -> anyhow::Result<()> {
        install::packages(&["redis-server", "redis-tools"])
    }

    /// Starts one; `more` are further options of its command line.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start(more: &[&str]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let certificate = Certificate::make(folder.path())?;
        let more = more.iter().map(|&option| option.to_owned()).collect();
        let mut redis = Redis { server: None, folder, port: net::free_port()?, tls_port: net::free_port()?, certificate, more };
        redis.come()?;
        Ok(redis)
    }

    /// Starts it again where it was, with what it had kept.
    ///
    /// # Errors
    /// It does not start.
    pub fn come(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(install::program("redis-server", &[])?);
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--tls-port", &self.tls_port.to_string()]);
        command.arg("--tls-cert-file").arg(&self.certificate.cert).arg("--tls-key-file").arg(&self.certificate.key);
        command.args([
            "--tls-auth-clients",
            "no",
            "--requirepass",
            PASSWORD,
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--save",
            "",
        ]);
        command.arg("--dir").arg(self.folder.path()).args(&self.more);
        let mut server = Guarded::start(&command, &self.folder.path().join("log"))?;
        let port = self.port;
        server.wait(Duration::from_secs(20), || cli(port, &["PING"]).ok().filter(|answer| answer.trim() == "PONG"))?;
        self.server = Some(server);
        Ok(())
    }

    /// Ends it.
    pub fn leave(&mut self) {
        self.server = None;
    }

    /// Takes what comes and answers nothing, until [`resume`](Self::resume).
    ///
    /// # Errors
    /// It is gone.
    pub fn pause(&self) -> anyhow::Result<()> {
        pause::pause(self.server.as_ref().context("it has left")?)
    }

    /// Answers again.
    ///
    /// # Errors
    /// It is gone.
    pub fn resume(&self) -> anyhow::Result<()> {
        pause::resume(self.server.as_ref().context("it has left")?)
    }

    /// The certificate that its TLS port shows.
    pub fn ca(&self) -> &Path {
        &self.certificate.cert
    }

    /// What `redis-cli` prints.
    ///
    /// # Errors
    /// It cannot be run, or says that it failed.
    pub fn cli(&self, arguments: &[&str]) -> anyhow::Result<String> {
        cli(self.port, arguments)
    }
}

fn cli(port: u16, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(install::program("redis-cli", &[])?);
    let output =
        command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-a", PASSWORD, "--no-auth-warning", "-e"]).args(arguments).output()?;
    if !output.status.success() {
        bail!("redis-cli {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}
