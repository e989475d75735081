//! `switchyard init`: a commented routes.yaml to start from.

use super::{Exit, show};
use anyhow::{Context, bail};
use std::io::Write;
use std::path::PathBuf;

/// The shipped configuration: runs as it is, on nothing but this machine.
const START: &str = include_str!("../../routes.yaml");

/// Writes a commented routes.yaml to start from.
#[derive(Debug, clap::Args)]
pub struct Init {
    /// Where to write it; an existing file is never overwritten.
    #[arg(default_value = "routes.yaml")]
    file: PathBuf,
}

impl Init {
    pub fn run(self) -> anyhow::Result<Exit> {
        let name = self.file.display();
        let mut file = match std::fs::File::create_new(&self.file) {
            Err(why) if why.kind() == std::io::ErrorKind::AlreadyExists => {
                bail!("{name} is there already and stays as it is: name another, as `switchyard init other.yaml`")
            }
            created => created.with_context(|| format!("can't write {name}"))?,
        };
        file.write_all(START.as_bytes()).with_context(|| format!("can't write {name}"))?;
        show::say(&format!("wrote {name}; `switchyard check {name}` validates it, `switchyard run {name}` starts the daemon"));
        Ok(Exit::Done)
    }
}
