//! `switchyard duplicates`: repeats that were answered 200 and not delivered again, and letting one go.

use super::client::{Admin, Client, escape};
use super::{Exit, block_on, row_count, show};
use serde_json::{Value, json};

/// Lists repeats of events: same source, same id and same body, within the source's `dedupe`. They were answered 200 and not delivered
/// again. The newest 1,000 are written down, each as long as the event that it repeats is kept.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Duplicates {
    #[command(subcommand)]
    what: Option<What>,
    /// Only of this source.
    #[arg(long)]
    source: Option<String>,
    /// Only of this event.
    #[arg(long, value_name = "EVENT")]
    of: Option<String>,
    /// How many, at most.
    #[arg(long, default_value = "50", value_parser = row_count())]
    limit: u16,
    #[command(flatten)]
    admin: Admin,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Makes an event of a repeat: it is planned by the routes of now and delivered, as if it had been the first.
    Release(Release),
}

#[derive(Debug, clap::Args)]
struct Release {
    /// Their ids in the list.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    admin: Admin,
}

impl Duplicates {
    pub fn run(self) -> anyhow::Result<Exit> {
        if let Some(What::Release(release)) = self.what {
            return release.run();
        }
        let mut path = format!("/api/duplicates?limit={}", self.limit);
        for (name, value) in [("source", &self.source), ("of", &self.of)] {
            path.extend(value.iter().map(|value| format!("&{name}={}", escape(value))));
        }
        let found = block_on(async { Client::new(&self.admin)?.get(&path).await })?;
        let rows = found["duplicates"].as_array().cloned().unwrap_or_default();
        let shown: Vec<Value> = rows.iter().map(|row| if self.admin.json { row.clone() } else { readable(row) }).collect();
        let columns = [
            ("DUPLICATE", "/id"),
            ("AT", "/received_at"),
            ("SOURCE", "/source"),
            ("TOPIC", "/topic"),
            ("SENDER'S ID", "/sender_id"),
            ("REPEATS", "/of"),
            ("OF", "/first_at"),
        ];
        show::rows(&shown, &columns, self.admin.json, "no duplicates are written down");
        if !self.admin.json && !rows.is_empty() {
            show::say("\n`switchyard duplicates release ID` delivers one all the same");
        }
        Ok(if rows.is_empty() { Exit::No } else { Exit::Done })
    }
}

/// With times to the second.
fn readable(row: &Value) -> Value {
    let mut row = row.clone();
    for at in ["received_at", "first_at"] {
        row[at] = show::clock(&row[at]).into();
    }
    row
}

impl Release {
    fn run(self) -> anyhow::Result<Exit> {
        block_on(async {
            let client = Client::new(&self.admin)?;
            for id in &self.ids {
                let released = client.post("/api/duplicates/release", &json!({ "ids": [id] })).await?;
                if self.admin.json {
                    show::line(&released);
                } else {
                    show::say(&format!("{id} is an event now; `switchyard events {id}` shows where it goes"));
                }
            }
            Ok(Exit::Done)
        })
    }
}
