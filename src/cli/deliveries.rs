//! `switchyard deliveries` and `switchyard dead`.

use super::client::{Admin, Client, escape};
use super::events::print_deliveries;
use super::{Exit, block_on, row_count, time};
use crate::model::Timestamp;
use std::fmt::Write;

/// Lists deliveries, newest first.
#[derive(Debug, clap::Args)]
pub struct Deliveries {
    /// Only in this state: waiting, held, delivered or dead.
    #[arg(long, value_parser = ["waiting", "held", "delivered", "dead"])]
    state: Option<String>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    admin: Admin,
}

/// Lists dead deliveries, newest first. `switchyard replay` sends them again.
#[derive(Debug, clap::Args)]
pub struct Dead {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    admin: Admin,
}

/// Which deliveries.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// Only to this output.
    #[arg(long)]
    pub output: Option<String>,
    /// Only by this route.
    #[arg(long)]
    pub route: Option<String>,
    /// Only of this event.
    #[arg(long)]
    pub event: Option<String>,
    /// Only written since then: `1h` ago, or a date.
    #[arg(long, value_parser = time::parse)]
    pub since: Option<Timestamp>,
    /// At most so many.
    #[arg(long, short = 'n', default_value_t = 50, value_parser = row_count())]
    pub limit: u16,
}

impl Deliveries {
    pub fn run(self) -> anyhow::Result<Exit> {
        list(&self.admin, &self.which, self.state.as_deref())
    }
}

impl Dead {
    pub fn run(self) -> anyhow::Result<Exit> {
        list(&self.admin, &self.which, Some("dead"))
    }
}

fn list(admin: &Admin, which: &Which, state: Option<&str>) -> anyhow::Result<Exit> {
    let mut path = format!("/api/deliveries?limit={}", which.limit);
    let filters =
        [("state", state), ("output", which.output.as_deref()), ("route", which.route.as_deref()), ("event", which.event.as_deref())];
    for (name, value) in filters {
        if let Some(value) = value {
            let _ = write!(path, "&{name}={}", escape(value));
        }
    }
    if let Some(since) = which.since {
        let _ = write!(path, "&since={}", since.0);
    }
    let found = block_on(async { Client::new(admin)?.get(&path).await })?;
    let rows = found["deliveries"].as_array().cloned().unwrap_or_default();
    print_deliveries(&rows, admin.json);
    Ok(if rows.is_empty() { Exit::No } else { Exit::Done })
}
