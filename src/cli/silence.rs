//! `switchyard silence`: keeps some deliveries back for a time.

use super::client::{Admin, Client};
use super::{Exit, block_on, show, time};
use crate::model::Timestamp;
use serde_json::{Value, json};

/// Keeps some deliveries back for a time, and says who wanted it and why. They are held; at the end they are dead (kept, visible, and
/// `replay` sends them), or go, with `--then send`. What is asked for again meanwhile is held again.
#[derive(Debug, clap::Args)]
pub struct Silence {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Begins one. At least one of --output, --route, --source and --topic is needed; several must all hold.
    Add(Add),
    /// Lists those that are not over.
    List(List),
    /// Ends one now.
    End(End),
}

#[derive(Debug, clap::Args)]
struct Add {
    /// Deliveries to these outputs; a glob.
    #[arg(long)]
    output: Option<String>,
    /// Deliveries by these routes; a glob.
    #[arg(long)]
    route: Option<String>,
    /// Deliveries of events of these sources; a glob.
    #[arg(long)]
    source: Option<String>,
    /// Deliveries of events of these topics; a glob.
    #[arg(long)]
    topic: Option<String>,
    /// How long, such as `2h`, or a date; at most 30 days.
    #[arg(long, value_parser = time::parse_ahead)]
    until: Timestamp,
    /// Why: one line, which stands at each delivery that is held.
    #[arg(long)]
    why: String,
    /// Who.
    #[arg(long, env = "USER")]
    by: String,
    /// What becomes of those that were held.
    #[arg(long, default_value = "dead", value_parser = ["dead", "send"])]
    then: String,
    #[command(flatten)]
    admin: Admin,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    admin: Admin,
}

#[derive(Debug, clap::Args)]
struct End {
    /// Its number in the list.
    id: u64,
    #[command(flatten)]
    admin: Admin,
}

impl Silence {
    pub fn run(self) -> anyhow::Result<Exit> {
        match self.what {
            What::Add(add) => add.run(),
            What::List(list) => list.run(),
            What::End(end) => end.run(),
        }
    }
}

impl Add {
    fn run(self) -> anyhow::Result<Exit> {
        let asked = json!({
            "by": self.by, "why": self.why, "until": self.until.0, "then": self.then,
            "output": self.output, "route": self.route, "source": self.source, "topic": self.topic,
        });
        let begun = block_on(async { Client::new(&self.admin)?.post("/api/silences", &asked).await })?;
        tell(&self.admin, &begun, &format!("begins: until {}", show::clock(&begun["until"])));
        Ok(Exit::Done)
    }
}

impl List {
    fn run(self) -> anyhow::Result<Exit> {
        let found = block_on(async { Client::new(&self.admin)?.get("/api/silences").await })?;
        let rows = found["silences"].as_array().cloned().unwrap_or_default();
        let columns = [
            ("silence", "/id"),
            ("until", "/until"),
            ("then", "/then"),
            ("by", "/by"),
            ("output", "/output"),
            ("route", "/route"),
            ("source", "/source"),
            ("topic", "/topic"),
            ("why", "/why"),
        ];
        show::rows(&rows, &columns, self.admin.json, "nothing is silenced");
        Ok(if rows.is_empty() { Exit::No } else { Exit::Done })
    }
}

impl End {
    fn run(self) -> anyhow::Result<Exit> {
        let ended = block_on(async { Client::new(&self.admin)?.post(&format!("/api/silences/{}/end", self.id), &json!({})).await })?;
        let then = if ended["then"] == "send" { "what it held goes" } else { "what it held is dead; `switchyard replay` sends it" };
        tell(&self.admin, &ended, &format!("is over: {then}"));
        Ok(Exit::Done)
    }
}

fn tell(admin: &Admin, silence: &Value, told: &str) {
    if admin.json {
        show::line(silence);
    } else {
        show::say(&format!("silence {} {told}", show::cell(&silence["id"])));
    }
}
