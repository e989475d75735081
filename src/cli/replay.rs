//! `switchyard replay`: deliver again, by id, or by filter with a count first.

use super::client::{Admin, Client};
use super::{Exit, block_on, show, time};
use crate::model::Timestamp;
use serde_json::{Value, json};
use std::io::{BufRead, IsTerminal, Write};

/// Delivers again. The ids of deliveries stay the same, so that the far side can recognise the repeat.
#[derive(Debug, clap::Args)]
pub struct Replay {
    /// Events (`evt_…`): all their deliveries, or only those that are named beside them (`dlv_…`).
    ids: Vec<String>,
    /// Only deliveries in this state.
    #[arg(long, value_parser = ["dead", "delivered", "held"])]
    state: Option<String>,
    /// Only to this output.
    #[arg(long)]
    output: Option<String>,
    /// Only by this route.
    #[arg(long)]
    route: Option<String>,
    /// Only of events received since then: `1h` ago, or a date.
    #[arg(long, value_parser = time::parse)]
    since: Option<Timestamp>,
    /// Only of events received until then.
    #[arg(long, value_parser = time::parse)]
    until: Option<Timestamp>,
    /// Says how many it would be, and stops.
    #[arg(long)]
    dry_run: bool,
    /// Does not ask.
    #[arg(long, short = 'y')]
    yes: bool,
    #[command(flatten)]
    admin: Admin,
}

impl Replay {
    pub fn run(self) -> anyhow::Result<Exit> {
        if self.ids.is_empty()
            && self.state.is_none()
            && self.output.is_none()
            && self.route.is_none()
            && self.since.is_none()
            && self.until.is_none()
        {
            anyhow::bail!("say what to deliver again: ids, or a filter such as `--state dead --output NAME`");
        }
        let filter = json!({
            "ids": self.ids, "state": self.state, "output": self.output, "route": self.route,
            "since": self.since.map(|at| at.0), "until": self.until.map(|at| at.0),
        });
        block_on(async {
            let client = Client::new(&self.admin)?;
            let ask = |dry_run: bool| {
                let mut body = filter.clone();
                body["dry_run"] = Value::from(dry_run);
                body
            };
            let count = client.post("/api/replay", &ask(true)).await?["count"].as_u64().unwrap_or(0);
            if self.dry_run || count == 0 {
                self.tell(count, if count == 0 { "nothing matches" } else { "would be delivered again" });
                return Ok(if count == 0 { Exit::No } else { Exit::Done });
            }
            let meant = self.yes || !self.ids.is_empty();
            if !meant && !confirmed(count)? {
                return Ok(Exit::No);
            }
            let count = client.post("/api/replay", &ask(false)).await?["count"].as_u64().unwrap_or(0);
            self.tell(count, "will be delivered again");
            Ok(Exit::Done)
        })
    }

    fn tell(&self, count: u64, what: &str) {
        if self.admin.json {
            show::line(&json!({ "count": count, "dry_run": self.dry_run }));
        } else if count == 0 {
            show::say(what);
        } else {
            show::say(&format!("{} {what}", crate::config::prose::count(usize::try_from(count).unwrap_or(usize::MAX), "delivery")));
        }
    }
}

fn confirmed(count: u64) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        let (match_them, them) = if count == 1 { ("delivery matches", "it") } else { ("deliveries match", "them") };
        anyhow::bail!("{count} {match_them}; add --yes to deliver {them} again");
    }
    let mut out = std::io::stderr();
    write!(out, "deliver {count} again? [y/N] ")?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
