//! `switchyard journal backup FILE`.

use super::{Place, Which};
use crate::cli::{Exit, block_on, show};
use crate::config::prose;
use crate::journal::doctor;
use anyhow::Context;
use serde_json::json;
use std::path::PathBuf;

/// Copies one moment of the journal to a file of its own: checked, synced, and never over a file that is there. A running daemon makes
/// the copy itself, so it must be allowed to write there. To go back to it: stop the daemon, move the journal's files away, copy it there.
#[derive(Debug, clap::Args)]
pub struct Backup {
    /// Where to.
    to: PathBuf,
    #[command(flatten)]
    which: Which,
}

impl Backup {
    pub fn run(self) -> anyhow::Result<Exit> {
        let to = std::path::absolute(&self.to).with_context(|| format!("{} is no path", self.to.display()))?;
        let (way, copied) = match self.which.place()? {
            Place::Daemon(client, place) => {
                let asked = json!({ "file": to });
                (place, block_on(async { client.post("/api/journal/backup", &asked).await })?)
            }
            Place::File(file, _) => (super::said(&file), json!(doctor::backup(&file, &to)?)),
        };
        if self.which.admin.json {
            show::line(&copied);
        } else {
            let number = |key: &str| usize::try_from(copied[key].as_u64().unwrap_or(0)).unwrap_or(usize::MAX);
            let bytes = show::size(copied["bytes"].as_u64().unwrap_or(0));
            show::say(&format!("journal   {way}"));
            show::say(&format!("copied    {}, {bytes}, to {}", prose::count(number("events"), "event"), self.to.display()));
            if number("faults") > 0 {
                let faults = prose::count(number("faults"), "fault");
                show::say(&format!("fault     {faults} of the journal are in the copy too: `switchyard journal check` says which"));
            }
        }
        Ok(Exit::Done)
    }
}
