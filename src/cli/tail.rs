//! `switchyard tail`: events and attempts as they happen, until interrupted.

use super::client::{Admin, Client};
use super::{Exit, block_on, show};
use serde_json::Value;

/// Events and attempts as they happen.
#[derive(Debug, clap::Args)]
pub struct Tail {
    /// Ends after so many lines.
    #[arg(long, short = 'n', value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    lines: Option<u64>,
    #[command(flatten)]
    admin: Admin,
}

impl Tail {
    pub fn run(self) -> anyhow::Result<Exit> {
        let mut left = self.lines.unwrap_or(u64::MAX);
        let json = self.admin.json;
        block_on(async {
            Client::new(&self.admin)?
                .lines("/api/tail", |line| {
                    let Ok(value) = serde_json::from_str::<Value>(line) else { return true };
                    show::say(&if json { value.to_string() } else { readable(&value) });
                    left = left.saturating_sub(1);
                    left > 0
                })
                .await
        })?;
        Ok(Exit::Done)
    }
}

fn readable(value: &Value) -> String {
    let at = |name: &str| show::cell(&value[name]);
    let time = show::clock(&value["at"]);
    if value["event"].is_string() && value["delivery"].is_null() {
        format!("{time}  event     {}  {} {}", at("event"), at("source"), at("topic"))
    } else {
        format!("{time}  {:<9} {}  {} → {}  {}", at("outcome"), at("event"), at("route"), at("output"), at("detail"))
    }
}
