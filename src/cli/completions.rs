//! `switchyard completions SHELL`.

use super::{Args, Exit};
use clap::CommandFactory;

/// The completion script of a shell.
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// Which shell.
    shell: clap_complete::Shell,
}

impl Completions {
    pub fn run(self) -> Exit {
        let mut script = vec![];
        clap_complete::generate(self.shell, &mut Args::command(), "switchyard", &mut script);
        super::show::say(String::from_utf8_lossy(&script).trim_end());
        Exit::Done
    }
}
