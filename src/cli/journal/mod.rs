//! `switchyard journal …`: the doctor. Through the running daemon where there is one, else on the file itself; it says which.

mod backup;
mod check;
mod migrate;
mod repair;
mod stats;

use super::client::{Admin, Client};
use super::{Exit, ask, block_on, show};
use crate::journal::doctor::DoctorError;
use crate::journal::{Retain, sqlite};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Looks after the journal's file.
#[derive(Debug, clap::Args)]
pub struct Journal {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Says whether the journal is sound: the file, every row's bytes, every plan. Changes nothing.
    Check(check::Check),
    /// Says what is in the journal, how large it is and how fast it grows.
    Stats(stats::Stats),
    /// Copies the journal to a file, beside a running daemon too.
    Backup(backup::Backup),
    /// Makes a new journal of what can be read of a damaged one, and keeps the damaged one aside. No daemon may run.
    Repair(repair::Repair),
    /// Takes the journal to this program's schema, as the daemon does when it starts. No daemon may run.
    Migrate(migrate::Migrate),
}

impl Journal {
    pub fn run(self) -> anyhow::Result<Exit> {
        let done = match self.what {
            What::Check(check) => check.run(),
            What::Stats(stats) => stats.run(),
            What::Backup(backup) => backup.run(),
            What::Repair(repair) => repair.run(),
            What::Migrate(migrate) => migrate.run(),
        };
        done.or_else(|why| match why.downcast_ref::<DoctorError>() {
            // The codes of a daemon that can't use its journal.
            Some(trouble) if trouble.exit_code() != Exit::Usage as u8 => {
                eprintln!("switchyard: {}", show::chain(trouble));
                Ok(Exit::of(trouble.exit_code()))
            }
            _ => Err(why),
        })
    }
}

/// Whose journal.
#[derive(Debug, clap::Args)]
struct Which {
    /// A journal's file that is not the configuration's, such as a backup.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    admin: Admin,
}

/// Where to ask.
enum Place {
    /// A daemon has the file.
    Daemon(Client, String),
    /// Nobody has, or it is not the configuration's.
    File(PathBuf, Retain),
}

impl Which {
    fn place(&self) -> anyhow::Result<Place> {
        if let Some(file) = &self.file {
            return Ok(Place::File(file.clone(), crate::journal::section::RetainSection::default().into()));
        }
        if let Some(url) = &self.admin.url {
            return Ok(Place::Daemon(Client::new(&self.admin)?, format!("through the daemon at {url}")));
        }
        let (file, retain) = crate::daemon::journal_of(&self.admin.config)?;
        match sqlite::holder(&file) {
            Some(pid) => {
                Ok(Place::Daemon(Client::new(&self.admin)?, format!("{}, through the running daemon (process {pid})", file.display())))
            }
            None => Ok(Place::File(file, retain)),
        }
    }
}

/// The configuration's journal, for what needs it alone.
#[derive(Debug, clap::Args)]
struct Alone {
    /// The configuration; its journal is meant.
    #[arg(long, short = 'c', default_value = "routes.yaml", value_name = "FILE")]
    config: PathBuf,
    /// A journal's file that is not the configuration's.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Does not ask.
    #[arg(long, short = 'y')]
    yes: bool,
    /// Prints JSON, one object a line.
    #[arg(long)]
    json: bool,
}

impl Alone {
    fn file(&self) -> anyhow::Result<PathBuf> {
        match &self.file {
            Some(file) => Ok(file.clone()),
            None => Ok(crate::daemon::journal_of(&self.config)?.0),
        }
    }

    /// Whether a person says yes; without one, `--yes` must have.
    fn confirmed(&self, question: &str) -> anyhow::Result<bool> {
        if self.yes {
            return Ok(true);
        }
        ask::confirmed(&format!("{question}: do it?"), &format!("{question}; add --yes to do it"))
    }
}

/// The first line for people: which journal, and by which way.
fn said(file: &Path) -> String {
    format!("{}, read directly: no daemon has it", file.display())
}

/// Asks a daemon.
fn ask(client: &Client, path: &str) -> anyhow::Result<Value> {
    block_on(client.get(path))
}
