//! What servers need on the machine, from Debian's packages.

use anyhow::{Context, bail};
use std::path::Path;
use std::process::{Command, Stdio};

/// Fetches what a Maven project depends on at run time into a folder, unless it is there.
///
/// # Errors
/// apt-get or Maven fails.
pub fn jars(what: &str, pom: &str, into: &Path) -> anyhow::Result<()> {
    packages(&["maven"])?;
    if into.is_dir() {
        return Ok(());
    }
    println!("fetching {what}");
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("pom.xml"), pom)?;
    // Whole or not at all: what is half fetched has another name.
    let part = into.with_extension("part");
    let status = Command::new("mvn")
        .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", part.display()))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .status()
        .context("cannot run `mvn`; install Maven and run this again")?;
    if !status.success() {
        bail!("`mvn dependency:copy-dependencies` failed ({status}); its message stands above");
    }
    std::fs::rename(&part, into).with_context(|| into.display().to_string())
}

/// Installs those packages that are not there. A package brings its server but does not start it: each test starts its own.
///
/// # Errors
/// There is no apt-get, or it fails: with what to install by hand.
pub fn packages(names: &[&str]) -> anyhow::Result<()> {
    let missing: Vec<&str> = names.iter().copied().filter(|name| !is_installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {}", missing.join(", "));
    // No service of a package is started: `policy-rc.d` answers 101 for "forbidden".
    let script = r#"
set -e
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then printf '#!/bin/sh\nexit 101\n' > $policy; chmod +x $policy; trap 'rm -f $policy' EXIT; fi
apt-get install -y -q --no-install-recommends "$@" || { apt-get update -q; apt-get install -y -q --no-install-recommends "$@"; }
"#;
    let mut command = if rustix::process::getuid().is_root() { Command::new("sh") } else { Command::new("sudo") };
    if !rustix::process::getuid().is_root() {
        command.arg("sh");
    }
    command.args(["-c", script, "install"]).args(&missing).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    let status = command.status().with_context(|| format!("cannot run apt-get; install {} and run this again", missing.join(", ")))?;
    if !status.success() {
        bail!("apt-get failed ({status}); install {} and run this again", missing.join(", "));
    }
    Ok(())
}

/// The program's path, looked for in `PATH` and where Debian keeps servers.
///
/// # Errors
/// It is not installed: says what to run.
#[allow(clippy::disallowed_methods)] // `PATH` is no secret
pub fn program(name: &str, folders: &[&str]) -> anyhow::Result<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    let all = folders.iter().map(std::path::PathBuf::from).chain(std::env::split_paths(&path)).chain(usual);
    all.map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("`{name}` is not installed; run `cargo xtask services install`"))
}

fn is_installed(package: &str) -> bool {
    let query = Command::new("dpkg-query").args(["-W", "-f", "${Status}", package]).stderr(Stdio::null()).output();
    query.is_ok_and(|output| output.stdout.starts_with(b"install ok installed"))
}
