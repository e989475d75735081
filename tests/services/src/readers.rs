//! The vendors' own clients, which read back what was written: Amazon's for S3, Microsoft's for Azure, fetched once with npm.
//!
//! They lie in `target/services/readers`. `readers.mjs` beside this file is what they run.

use crate::install;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const CLIENTS: [&str; 2] = ["@aws-sdk/client-s3@3.1175.0", "@azure/storage-blob@12.32.0"];

/// Fetches them; does nothing where they are there.
///
/// # Errors
/// npm is not there, or fails.
pub fn install() -> anyhow::Result<()> {
    node()?;
    npm(&folder(), &CLIENTS)
}

/// Installs Node and npm, where they are not there from wherever.
///
/// # Errors
/// apt-get fails.
pub fn node() -> anyhow::Result<()> {
    let there = ["node", "npm"].iter().all(|program| install::program(program, &[]).is_ok());
    if there { Ok(()) } else { install::packages(&["nodejs", "npm"]) }
}

/// Fetches packages into a folder, whole or not at all.
///
/// # Errors
/// npm is not there, or fails.
pub fn npm(folder: &Path, packages: &[&str]) -> anyhow::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    println!("fetching {}", packages.join(", "));
    let part = folder.with_extension("part");
    std::fs::create_dir_all(&part)?;
    let mut command = Command::new("npm");
    command.args(["install", "--omit=dev", "--no-audit", "--no-fund", "--no-save", "--loglevel=error"]).args(packages);
    let status = command.current_dir(&part).stdin(Stdio::null()).status().context("cannot run `npm`; install it and run this again")?;
    if !status.success() {
        bail!("`npm install` failed ({status}); its message stands above");
    }
    std::fs::rename(&part, folder).with_context(|| folder.display().to_string())
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/services/readers")
}

/// What one of the tasks of `readers.mjs` prints.
///
/// # Errors
/// The clients are not fetched, or the task fails: with what it said.
pub fn run(arguments: &[&str]) -> anyhow::Result<String> {
    let folder = folder();
    if !folder.is_dir() {
        bail!("the clients that read back are not fetched; run `cargo xtask services install s3 azurite`");
    }
    let mut command = Command::new(install::program("node", &[])?);
    // Modules are looked for from the folder that they lie in.
    command.args(["--input-type=module", "-e", include_str!("readers.mjs"), "--"]).args(arguments);
    let said = command.current_dir(&folder).stdin(Stdio::null()).output()?;
    if !said.status.success() {
        bail!("{arguments:?}: {}", String::from_utf8_lossy(&said.stderr));
    }
    Ok(String::from_utf8(said.stdout)?)
}

/// Name and bytes of each object that such a task reads.
///
/// # Errors
/// As [`run`].
pub fn read(arguments: &[&str]) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let objects: Vec<(String, String)> = serde_json::from_str(&run(arguments)?)?;
    objects.into_iter().map(|(name, hex)| Ok((name, bytes(&hex)?))).collect()
}

fn bytes(hex: &str) -> anyhow::Result<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(&String::from_utf8_lossy(pair), 16));
    Ok(digits.collect::<Result<_, _>>()?)
}
