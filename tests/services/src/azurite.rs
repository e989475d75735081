//! Azure Blob Storage: Azurite, Microsoft's own emulator, fetched once with npm. It checks Shared Key signatures and shared access ones.
//!
//! It lies in `target/services/azurite/VERSION`; `cargo xtask services install azurite` puts it there. Account and key are made up.
//! Never: listens beyond loopback, tells anybody that it runs.

use crate::{Guarded, Service, install, net, readers};
use anyhow::bail;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// The release that is fetched.
pub const VERSION: &str = "3.35.0";
/// Account and key, in base64.
pub const KEYS: (&str, &str) = ("madeup", "bWFkZS11cC1henVyZS1rZXk=");
/// A node process on a busy machine.
const READY_MAX: Duration = Duration::from_secs(90);

/// As `cargo xtask services` knows it.
pub const SERVICE: Service = Service {
    name: "azurite",
    install,
    start: || {
        let server = Azurite::start()?;
        server.make_container("acme")?;
        let line = format!("{} container acme, account {} key {}", server.url(), KEYS.0, KEYS.1);
        Ok((Box::new(server), vec![line]))
    },
};

fn install() -> anyhow::Result<()> {
    readers::install()?;
    readers::npm(&folder(), &[&format!("azurite@{VERSION}")])
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/services/azurite").join(VERSION)
}

/// A server that runs.
#[derive(Debug)]
pub struct Azurite {
    server: Option<Guarded>,
    folder: TempDir,
    port: u16,
}

impl Azurite {
    /// Starts one without containers.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start() -> anyhow::Result<Self> {
        let mut azurite = Azurite { server: None, folder: TempDir::with_prefix("azurite-")?, port: net::free_port()? };
        azurite.up()?;
        Ok(azurite)
    }

    /// Starts it again on the same port after [`down`](Self::down).
    ///
    /// # Errors
    /// It does not start.
    pub fn up(&mut self) -> anyhow::Result<()> {
        let program = folder().join("node_modules/azurite/dist/src/blob/main.js");
        if !program.is_file() {
            bail!("Azurite {VERSION} is not fetched; run `cargo xtask services install azurite`");
        }
        let mut command = Command::new(install::program("node", &[])?);
        command.arg(program).arg("--location").arg(self.folder.path()).args(["--blobHost", "127.0.0.1", "--blobPort"]);
        // Microsoft's client is newer than Microsoft's emulator.
        command.arg(self.port.to_string()).args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"]);
        command.env("AZURITE_ACCOUNTS", format!("{}:{}", KEYS.0, KEYS.1));
        let server = self.server.insert(Guarded::start(&command, &self.folder.path().join("log"))?);
        let port = self.port;
        server.wait(READY_MAX, || net::listens(port).then_some(()))
    }

    /// Ends it as an operator would.
    pub fn down(&mut self) {
        self.server = None;
    }

    /// Where the account is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/{}", self.port, KEYS.0)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes a container.
    ///
    /// # Errors
    /// It cannot.
    pub fn make_container(&self, container: &str) -> anyhow::Result<()> {
        readers::run(&["azure-make", &self.url(), KEYS.0, KEYS.1, container]).map(drop)
    }

    /// A shared access signature for a container, with those rights (`c` creates, `w` writes, `r` reads, `l` lists), for an hour.
    ///
    /// # Errors
    /// It cannot.
    pub fn sas(&self, container: &str, rights: &str) -> anyhow::Result<String> {
        readers::run(&["azure-sas", &self.url(), KEYS.0, KEYS.1, container, rights])
    }

    /// Name and bytes of each blob, as Microsoft's own client reads them.
    ///
    /// # Errors
    /// It cannot.
    pub fn read(&self, container: &str) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
        readers::read(&["azure", &self.url(), KEYS.0, KEYS.1, container])
    }
}
