//! `switchyard man`: the manual, made of the same words as `--help`.

use super::{Args, Exit, show};
use anyhow::{Context, Result};
use clap::CommandFactory;
use std::path::PathBuf;

/// Prints the manual page (`switchyard man | man -l -`), or writes the pages of all commands into a folder.
#[derive(Debug, clap::Args)]
pub struct Man {
    /// A folder, such as `/usr/local/share/man/man1`.
    folder: Option<PathBuf>,
}

impl Man {
    pub fn run(self) -> Result<Exit> {
        let Some(folder) = self.folder else {
            let mut page = vec![];
            clap_mangen::Man::new(Args::command()).render(&mut page)?;
            show::say(String::from_utf8_lossy(&page).trim_end());
            return Ok(Exit::Done);
        };
        let name = folder.display();
        clap_mangen::generate_to(Args::command(), &folder)
            .with_context(|| format!("can't write the pages into {name}: is it a folder?"))?;
        show::say(&format!("wrote the pages into {name}"));
        Ok(Exit::Done)
    }
}
