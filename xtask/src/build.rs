//! Builds binaries of this workspace and says where they are.

use anyhow::{Context, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What to build.
pub struct Build<'a> {
    /// The package and its binary.
    pub package: &'a str,
    /// `dev`, `fast` or `release`.
    pub profile: &'a str,
    /// Features of the package.
    pub features: &'a [&'a str],
    /// Packages of ours that are optimized a little where the profile is `dev`: what runs for minutes is built once more for that.
    pub optimized: &'a [&'a str],
}

impl Build<'_> {
    /// Builds and returns the binary's path. Another build of the same package and profile puts its own there: [`copy`] it.
    pub fn run(&self) -> anyhow::Result<PathBuf> {
        eprintln!("building {} ({}) ...", self.package, [&[self.profile], self.features].concat().join(", "));
        let mut command = Command::new(cargo());
        // With the whole workspace selected, dependencies are built as the tests have them, not once more.
        command.current_dir(root()).args(["build", "--message-format", "json", "--workspace", "--bin", self.package]);
        command.args(["--profile", self.profile]);
        for package in self.optimized.iter().filter(|_| self.profile == "dev") {
            command.args(["--config", &format!("profile.dev.package.{package}.opt-level=1")]);
        }
        for feature in self.features {
            command.args(["--features", &format!("{}/{feature}", self.package)]);
        }
        let output = command.stderr(Stdio::inherit()).output().context("cargo could not be run")?;
        if !output.status.success() {
            bail!("{} does not build", self.package);
        }
        let told = output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
        let mut executables =
            told.filter(|line| line["target"]["name"] == self.package).filter_map(|line| Some(line["executable"].as_str()?.into()));
        executables.next_back().context("cargo named no executable")
    }
}

/// Keeps a binary from being overwritten by the next build.
pub fn copy(binary: &Path, folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let to = folder.join(name);
    std::fs::copy(binary, &to).with_context(|| binary.display().to_string())?;
    Ok(to)
}

/// A fresh folder on the disk that `target` is on (a temporary folder may be memory), removed when dropped.
pub fn scratch(name: &str) -> anyhow::Result<tempfile::TempDir> {
    let target = root().join("target");
    std::fs::create_dir_all(&target)?;
    Ok(tempfile::Builder::new().prefix(name).tempdir_in(target)?)
}

/// The workspace's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap_or_else(|_| PathBuf::from("."))
}

/// The cargo that runs this.
#[allow(clippy::disallowed_methods)] // cargo says here which cargo it is; no secret
pub fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".into())
}
