//! `switchyard purge OUTPUT`: ends what is held, and what waits where that is asked, counted first.

use super::client::{Admin, Client, escape};
use super::filter::Filter;
use super::replay::deliveries;
use super::{Exit, ask, block_on, show};
use serde_json::Value;

/// Ends held deliveries of an output, or of one that left the file: they are dead, say why, and are listed and replayable as any dead one. With
/// `--waiting` those too that wait for their turn, for another try or for the output; what is on the wire comes to its end, and what arrives
/// from then on goes. What waits for a paused output is held.
#[derive(Debug, clap::Args)]
pub struct Purge {
    /// The output's name.
    output: String,
    #[command(flatten)]
    filter: Filter,
    /// What waits, too.
    #[arg(long)]
    waiting: bool,
    /// Who says so, and why: it is written into each.
    #[arg(long, value_name = "TEXT")]
    why: String,
    /// Says how many it would be, and stops.
    #[arg(long)]
    dry_run: bool,
    /// Does not ask.
    #[arg(long, short = 'y')]
    yes: bool,
    #[command(flatten)]
    admin: Admin,
}

impl Purge {
    pub fn run(self) -> anyhow::Result<Exit> {
        let path = format!("/api/outputs/{}/purge", escape(&self.output));
        block_on(async {
            let client = Client::new(&self.admin)?;
            let mut body = self.filter.body();
            (body["why"], body["dry_run"]) = (Value::from(self.why.as_str()), Value::from(true));
            body["waiting"] = Value::from(self.waiting);
            let found = client.post(&path, &body).await?;
            let number = found["count"].as_u64().unwrap_or(0);
            // What waits in memory alone has no row to be counted by.
            if self.dry_run || number == 0 && !(self.waiting && self.yes) {
                self.tell(&found, "would be purged");
                return Ok(if number == 0 { Exit::No } else { Exit::Done });
            }
            if !self.yes && !self.confirmed(number)? {
                return Ok(Exit::No);
            }
            body["dry_run"] = Value::from(false);
            let purged = client.post(&path, &body).await?;
            let (are, them) = if purged["count"] == 1 { ("is", "it") } else { ("are", "them") };
            self.tell(&purged, &format!("{are} dead now; `switchyard replay` would send {them} all the same"));
            Ok(if purged["count"] == 0 { Exit::No } else { Exit::Done })
        })
    }

    fn tell(&self, answer: &Value, what: &str) {
        let number = answer["count"].as_u64().unwrap_or(0);
        if self.admin.json {
            show::line(answer);
        } else if number == 0 {
            show::say(if self.waiting { "nothing matches" } else { "nothing matches that is held; `--waiting` means what waits, too" });
        } else {
            show::say(&format!("{} to {} {what}", deliveries(number), show::cell(&Value::from(self.output.as_str()))));
        }
    }

    fn confirmed(&self, number: u64) -> anyhow::Result<bool> {
        let what = if self.waiting { "held or waiting" } else { "held" };
        let question = format!("purge {} {what} for {}?", deliveries(number), show::cell(&Value::from(self.output.as_str())));
        ask::confirmed(&question, &format!("{} {what} for {}; add --yes to purge", deliveries(number), self.output))
    }
}
