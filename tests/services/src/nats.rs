//! NATS with JetStream, two users (one may publish to little), and TLS on a second server of the same make.

use crate::certificate::Certificate;
use crate::{Guarded, Service, install, net, pause};
use anyhow::Context;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// As `cargo xtask services` knows it.
pub const SERVICE: Service = Service {
    name: "nats",
    install: Nats::install,
    start: || {
        let server = Nats::start(false, true)?;
        let lines = vec![format!("nats://{}:{}@127.0.0.1:{}", USER, PASSWORD, server.port)];
        Ok((Box::new(server), lines))
    },
};

/// Who may all.
pub const USER: &str = "switchyard";
/// Their password.
pub const PASSWORD: &str = "made-up-nats-password";
/// Who may publish to `open.>` alone; same password.
pub const NARROW: &str = "narrow";
/// The largest message it takes, bytes.
pub const PAYLOAD_MAX: usize = 64 * 1024;

/// One server.
#[derive(Debug)]
pub struct Nats {
    server: Option<Guarded>,
    folder: tempfile::TempDir,
    /// Where it listens.
    pub port: u16,
    certificate: Certificate,
}

impl Nats {
    /// Installs Debian's.
    ///
    /// # Errors
    /// As [`install::packages`].
    pub fn install() -> anyhow::Result<()> {
        install::packages(&["nats-server"])
    }

    /// Starts one; with `tls` it speaks only that, with `jetstream` it keeps streams.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start(tls: bool, jetstream: bool) -> anyhow::Result<Self> {
        Self::begin(tls.then_some(""), jetstream)
    }

    /// Starts one with TLS and streams that lets in only who shows a certificate that `authority` (PEM) signed.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn asking(authority: &Path) -> anyhow::Result<Self> {
        Self::begin(Some(&format!(", verify: true, ca_file: \"{}\"", authority.display())), true)
    }

    fn begin(tls: Option<&str>, jetstream: bool) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let certificate = Certificate::make(folder.path())?;
        let port = net::free_port()?;
        let mut config = format!(
            "listen: 127.0.0.1:{port}\nmax_payload: {PAYLOAD_MAX}\nauthorization {{ users: [\n{{user: {USER}, password: \"{PASSWORD}\"}},\n\
             {{user: {NARROW}, password: \"{PASSWORD}\", permissions: {{publish: [\"open.>\", \"$JS.API.>\"]}}}}\n] }}\n"
        );
        if jetstream {
            writeln!(config, "jetstream {{ store_dir: \"{}\" }}", folder.path().display())?;
        }
        if let Some(more) = tls {
            let (cert, key) = (certificate.cert.display(), certificate.key.display());
            writeln!(config, "tls {{ cert_file: \"{cert}\", key_file: \"{key}\"{more} }}")?;
        }
        std::fs::write(folder.path().join("nats.conf"), config)?;
        let mut nats = Nats { server: None, folder, port, certificate };
        nats.come()?;
        Ok(nats)
    }

    /// Starts it again where it was, with what it had kept.
    ///
    /// # Errors
    /// It does not start.
    pub fn come(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(install::program("nats-server", &[])?);
        command.arg("-c").arg(self.folder.path().join("nats.conf"));
        let log = self.folder.path().join("log");
        let seen = std::fs::read_to_string(&log).unwrap_or_default().len();
        let mut server = Guarded::start(&command, &log)?;
        server.wait(Duration::from_secs(20), || {
            let printed = std::fs::read_to_string(&log).unwrap_or_default();
            printed.get(seen..).is_some_and(|new| new.contains("Server is ready")).then_some(())
        })?;
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

    /// The certificate that it shows with TLS.
    pub fn ca(&self) -> &Path {
        &self.certificate.cert
    }
}
