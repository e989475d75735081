//! `switchyard audit`: for every event, plan = delivered + dead + held + waiting + open.

use super::client::{Admin, Client};
use super::{Exit, block_on, show};

/// The proof that nothing is lost.
#[derive(Debug, clap::Args)]
pub struct Audit {
    #[command(flatten)]
    admin: Admin,
}

impl Audit {
    pub fn run(self) -> anyhow::Result<Exit> {
        let found = block_on(async { Client::new(&self.admin)?.get("/api/audit").await })?;
        if self.admin.json {
            show::line(&found);
        } else {
            for key in ["events", "planned", "delivered", "dead", "held", "waiting", "open", "lost"] {
                show::say(&format!("{key:>10}: {}", show::cell(&found[key])));
            }
        }
        Ok(if found["lost"] == 0 { Exit::Done } else { Exit::No })
    }
}
