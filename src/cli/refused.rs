//! `switchyard refused`: requests that got no 200 lately, and why.

use super::client::{Admin, Client};
use super::{Exit, block_on, show};

/// What was refused, newest first.
#[derive(Debug, clap::Args)]
pub struct Refused {
    #[command(flatten)]
    admin: Admin,
}

impl Refused {
    pub fn run(self) -> anyhow::Result<Exit> {
        let found = block_on(async { Client::new(&self.admin)?.get("/api/refused").await })?;
        let rows = found["refused"].as_array().cloned().unwrap_or_default();
        show::rows(
            &rows,
            &[("AT", "/at"), ("STATUS", "/status"), ("SOURCE", "/source"), ("FROM", "/peer"), ("WHY", "/why")],
            self.admin.json,
            "nothing was refused since the daemon started",
        );
        Ok(Exit::Done)
    }
}
