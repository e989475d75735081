//! tinyproxy: an HTTP proxy that wants user and password and tunnels to any port but those kept from it.

use crate::Service;
use crate::{Guarded, install, net};
use anyhow::Context;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// The user of every proxy here.
pub const USER: &str = "shop";
/// Its password; made up.
pub const PASSWORD: &str = "made-up-proxy-password";

/// A proxy.
#[derive(Debug)]
pub struct Tinyproxy {
    _server: Guarded,
    port: u16,
    folder: TempDir,
}

/// For `cargo xtask services`.
pub const SERVICE: Service = Service {
    name: "tinyproxy",
    install: Tinyproxy::install,
    start: || {
        let server = Tinyproxy::start(&[])?;
        let lines = vec![format!("http://{USER}:{PASSWORD}@{}", server.address())];
        Ok((Box::new(server), lines))
    },
};

impl Tinyproxy {
    /// Installs what it needs.
    ///
    /// # Errors
    /// See [`install::packages`].
    pub fn install() -> anyhow::Result<()> {
        install::packages(&["tinyproxy-bin"])
    }

    /// Starts one on a free port of loopback that tunnels to these ports alone; to any, if there are none.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start(tunnels_to: &[u16]) -> anyhow::Result<Self> {
        Self::install()?;
        let folder = tempfile::tempdir()?;
        let port = net::free_port()?;
        let log = folder.path().join("proxy.log");
        let mut conf = format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 100\nLogLevel Connect\nLogFile \"{}\"\nBasicAuth {USER} {PASSWORD}\n",
            log.display()
        );
        for to in tunnels_to {
            writeln!(conf, "ConnectPort {to}")?;
        }
        std::fs::write(folder.path().join("tinyproxy.conf"), conf)?;
        let mut command = Command::new(install::program("tinyproxy", &[])?);
        command.arg("-d").arg("-c").arg(folder.path().join("tinyproxy.conf"));
        let mut server = Guarded::start(&command, &folder.path().join("log"))?;
        server.wait(Duration::from_secs(20), || net::listens(port).then_some(()))?;
        Ok(Tinyproxy { _server: server, port, folder })
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What it logged: who asked for what.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn log(&self) -> anyhow::Result<String> {
        let path: PathBuf = self.folder.path().join("proxy.log");
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    }
}
