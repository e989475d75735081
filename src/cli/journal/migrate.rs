//! `switchyard journal migrate`.

use super::Alone;
use crate::cli::{Exit, show};
use crate::journal::doctor;
use crate::model::{Clock, SystemClock};
use serde_json::json;
use std::path::PathBuf;

/// Takes the journal to this program's schema, in one transaction. Older programs refuse it then, so it wants a backup first.
#[derive(Debug, clap::Args)]
pub struct Migrate {
    /// Says from which schema to which, and stops: exit code 1 where there is something to do.
    #[arg(long)]
    check: bool,
    /// Copies the journal there first.
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    backup: Option<PathBuf>,
    #[command(flatten)]
    which: Alone,
}

impl Migrate {
    pub fn run(self) -> anyhow::Result<Exit> {
        let file = self.which.file()?;
        let schemas = doctor::schemas(&file)?;
        let is_due = schemas.from != schemas.to;
        if self.check || !is_due {
            self.tell(schemas, if is_due { "to be migrated" } else { "nothing to do" });
            return Ok(if is_due { Exit::No } else { Exit::Done });
        }
        if let Some(to) = &self.backup {
            doctor::backup(&file, to)?;
        } else {
            let question = format!("{} goes to schema {} without a copy (`--backup FILE` makes one first)", file.display(), schemas.to);
            if !self.which.confirmed(&question)? {
                return Ok(Exit::No);
            }
        }
        let done = doctor::migrate(&file, SystemClock::default().wall())?;
        self.tell(done, "migrated");
        Ok(Exit::Done)
    }

    fn tell(&self, schemas: doctor::Schemas, what: &str) {
        if self.which.json {
            show::line(&json!({ "from": schemas.from, "to": schemas.to, "done": what == "migrated" }));
        } else {
            show::say(&format!("schema {} → {}: {what}", schemas.from, schemas.to));
        }
    }
}
