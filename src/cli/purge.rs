//! `switchyard purge OUTPUT`: ends what is held, counted first.

use super::client::{Admin, Client, escape};
use super::filter::Filter;
use super::replay::deliveries;
use super::{Exit, block_on, show};
use serde_json::Value;
use std::io::{BufRead, IsTerminal, Write};

/// Ends held deliveries of an output, or of one that left the file: they are dead, say why, and are listed and replayable as any dead one.
/// What waits is not held: take the output out of the file first, and purge then.
#[derive(Debug, clap::Args)]
pub struct Purge {
    /// The output's name.
    output: String,
    #[command(flatten)]
    filter: Filter,
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
            let found = client.post(&path, &body).await?;
            let number = found["count"].as_u64().unwrap_or(0);
            if self.dry_run || number == 0 {
                self.tell(&found, "would be purged");
                return Ok(if number == 0 { Exit::No } else { Exit::Done });
            }
            if !self.yes && !confirmed(number, &self.output)? {
                return Ok(Exit::No);
            }
            body["dry_run"] = Value::from(false);
            self.tell(&client.post(&path, &body).await?, "are dead now; `switchyard replay` would send them all the same");
            Ok(Exit::Done)
        })
    }

    fn tell(&self, answer: &Value, what: &str) {
        let number = answer["count"].as_u64().unwrap_or(0);
        if self.admin.json {
            show::line(answer);
        } else if number == 0 {
            show::say("nothing matches that is held; what waits is its output's: take the output out of the file first");
        } else {
            show::say(&format!("{} to {} {what}", deliveries(number), show::cell(&Value::from(self.output.as_str()))));
        }
    }
}

fn confirmed(number: u64, output: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        anyhow::bail!("{} held for {output}; add --yes to purge", deliveries(number));
    }
    let mut out = std::io::stderr();
    write!(out, "purge {} to {}? [y/N] ", deliveries(number), show::cell(&Value::from(output)))?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
