//! `switchyard refused`: requests that got no 200 lately, and why.

use super::client::{Admin, Client, escape};
use super::{Exit, block_on, show};
use serde_json::Value;

/// What was refused, newest first, with its cause: of each source, and of what came to none (also connections that ended before a request, with
/// their TLS), the last 64 are remembered until the daemon ends; all requests are counted.
#[derive(Debug, clap::Args)]
pub struct Refused {
    /// Only at this source; `-` for what came to none.
    #[arg(long)]
    source: Option<String>,
    /// Only for this cause.
    #[arg(long, value_parser = CAUSES)]
    cause: Option<String>,
    #[command(flatten)]
    admin: Admin,
}

/// What a request can be refused for.
const CAUSES: [&str; 16] = [
    "no_secret_matches",
    "too_old",
    "from_the_future",
    "missing",
    "malformed",
    "address",
    "certificate",
    "handshake",
    "unknown_path",
    "wrong_method",
    "too_large",
    "too_many_headers",
    "too_slow",
    "broken",
    "no_room",
    "cannot_keep",
];

impl Refused {
    pub fn run(self) -> anyhow::Result<Exit> {
        let asked = [("source", &self.source), ("cause", &self.cause)];
        let query: Vec<String> = asked.iter().filter_map(|(name, value)| Some(format!("{name}={}", escape(value.as_deref()?)))).collect();
        let found = block_on(async { Client::new(&self.admin)?.get(&format!("/api/refused?{}", query.join("&"))).await })?;
        let rows = found["refused"].as_array().cloned().unwrap_or_default();
        let rows: Vec<Value> = rows.iter().map(|row| if self.admin.json { row.clone() } else { readable(row) }).collect();
        let columns =
            [("AT", "/at"), ("STATUS", "/status"), ("CAUSE", "/cause"), ("SOURCE", "/source"), ("FROM", "/peer"), ("WHY", "/why")];
        let nothing = if query.is_empty() {
            "nothing was refused since the daemon started"
        } else {
            "nothing that was refused since the daemon started is meant by that"
        };
        show::rows(&rows, &columns, self.admin.json, nothing);
        Ok(Exit::Done)
    }
}

/// With the time to the second, and the path where there is no source.
fn readable(row: &Value) -> Value {
    let mut row = row.clone();
    row["at"] = show::clock(&row["at"]).into();
    if row["source"].is_null() && row["path"] != "" {
        row["source"] = row["path"].take();
    }
    row
}
