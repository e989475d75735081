//! `switchyard skip`: those behind a stuck delivery go on.

use super::client::{Admin, Client};
use super::{Exit, block_on, show};
use serde_json::json;

/// Lets deliveries that are kept in order (`order_by`) go on past one that is stuck. It keeps its own state: a dead one stays dead, one
/// that is tried again goes on being tried, out of order.
#[derive(Debug, clap::Args)]
pub struct Skip {
    /// Events (`evt_…`): all their deliveries whose turn it is, or only those that are named beside them (`dlv_…`).
    #[arg(required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    admin: Admin,
}

impl Skip {
    pub fn run(self) -> anyhow::Result<Exit> {
        let answer = block_on(async { Client::new(&self.admin)?.post("/api/skip", &json!({ "ids": self.ids })).await })?;
        let count = answer["count"].as_u64().unwrap_or(0);
        if self.admin.json {
            show::line(&answer);
        } else if count == 0 {
            show::say("nobody waits for that: it is not the turn of any of these");
        } else {
            let count = crate::config::prose::count(usize::try_from(count).unwrap_or(usize::MAX), "delivery");
            show::say(&format!("passed by {count}: those behind go on"));
        }
        Ok(if count == 0 { Exit::No } else { Exit::Done })
    }
}
