//! `switchyard replay`: deliver again, by id at once, or by filter as a replay that is counted first; and what is done with replays.

use super::client::{Admin, Client};
use super::filter::Filter;
use super::{Exit, ask, block_on, show};
use crate::config::prose::{count, thousands};
use serde_json::{Map, Value, json};
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// How often a replay that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Signs of a whole bar.
const BAR: u64 = 30;

/// Delivers again, under the same ids, so that the far side can recognise the repeat. Events and deliveries that are named go at once. A filter is
/// counted, confirmed and written down: what arrives or dies later is not in it. Each output then has a replay with a number, which is fed
/// as the output takes it, within its limits, and goes on after a restart.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Replay {
    #[command(subcommand)]
    what: Option<What>,
    /// Events (`evt_…`): all their deliveries, or only those that are named beside them (`dlv_…`).
    ids: Vec<String>,
    /// Only deliveries in this state; without it those that are dead or held.
    #[arg(long, value_parser = ["dead", "delivered", "held"])]
    state: Option<String>,
    /// Those that were delivered, too.
    #[arg(long, conflicts_with = "state")]
    again: bool,
    /// Only to this output.
    #[arg(long)]
    output: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// What was never sent: deliveries that the file of today would make of kept events to the output of `--to`, where they do not go there
    /// (with `--route`: by that route).
    #[arg(long, requires = "to", conflicts_with_all = ["ids", "state", "again", "output", "render"])]
    missing: bool,
    /// The output to which they are missing.
    #[arg(long, value_name = "OUTPUT", requires = "missing")]
    to: Option<String>,
    /// `now`: rendered as the file says today. `then`: the bytes of the last attempt, where there was one.
    #[arg(long = "as", value_parser = ["now", "then"], default_value = "now")]
    render: String,
    /// Says how many it would be, and stops.
    #[arg(long)]
    dry_run: bool,
    /// Does not ask.
    #[arg(long, short = 'y')]
    yes: bool,
    /// Waits until all of it is in line or past it.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    admin: Admin,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Lists replays, newest first.
    List,
    /// Shows how far one is.
    Show {
        /// Its number.
        id: u64,
    },
    /// Stops one for now; what is in line already goes on.
    Pause {
        /// Its number.
        id: u64,
    },
    /// Lets a paused one go on where it was.
    Resume {
        /// Its number.
        id: u64,
    },
    /// Ends one; what it put in line already goes on.
    Cancel {
        /// Its number.
        id: u64,
    },
}

impl Replay {
    pub fn run(self) -> anyhow::Result<Exit> {
        if let Some(what) = &self.what {
            return look_after(what, &self.admin);
        }
        if self.ids.is_empty() && self.state.is_none() && self.output.is_none() && self.to.is_none() && !self.filter.is_narrow() {
            anyhow::bail!("say what to deliver again: ids, or a filter such as `--state dead --output NAME`");
        }
        block_on(async {
            let client = Client::new(&self.admin)?;
            let found = client.post("/api/replay", &self.body(true)).await?;
            let number = found["count"].as_u64().unwrap_or(0);
            if self.dry_run || number == 0 {
                self.tell(&found, &format!("would be delivered{}", self.again()));
                return Ok(if number == 0 { Exit::No } else { Exit::Done });
            }
            if !self.yes && self.ids.is_empty() && !confirmed(number, &found["outputs"], self.again())? {
                return Ok(Exit::No);
            }
            let done = client.post("/api/replay", &self.body(false)).await?;
            self.tell(&done, &format!("will be delivered{}", self.again()));
            if self.wait {
                for job in done["replays"].as_array().into_iter().flatten() {
                    follow(&client, &job["id"], self.admin.json).await?;
                }
            }
            Ok(Exit::Done)
        })
    }

    fn body(&self, dry_run: bool) -> Value {
        let mut body = self.filter.body();
        (body["ids"], body["state"], body["output"]) = (json!(self.ids), json!(self.state), json!(self.output));
        (body["again"], body["as"], body["dry_run"]) = (json!(self.again), json!(self.render), json!(dry_run));
        body["missing"] = json!(self.to);
        body
    }

    fn again(&self) -> &'static str {
        if self.missing { "" } else { " again" }
    }

    fn tell(&self, answer: &Value, what: &str) {
        if self.admin.json {
            return show::line(answer);
        }
        for (output, number) in answer["gone"].as_object().into_iter().flatten() {
            let number = deliveries(number.as_u64().unwrap_or(0));
            show::say(&format!("{number} to {} can't: the configuration has no such output", show::cell(&Value::from(output.as_str()))));
        }
        for output in answer["paused"].as_array().into_iter().flatten() {
            let name = show::cell(output);
            show::say(&format!(
                "what waits for {name} is held by its pause, and goes with `switchyard resume {name}`: no replay is needed"
            ));
        }
        let number = answer["count"].as_u64().unwrap_or(0);
        if number == 0 {
            return show::say("nothing matches");
        }
        match answer["outputs"].as_object() {
            Some(outputs) => show::say(&format!("{} {what}", spread(outputs))),
            None => show::say(&format!("{} {what}", deliveries(number))),
        }
        for job in answer["replays"].as_array().into_iter().flatten() {
            show::say(&format!(
                "replay {id} of {}: `switchyard replay show {id}` says how far it is",
                show::cell(&job["output"]),
                id = job["id"]
            ));
        }
    }
}

/// So many deliveries, in words.
pub fn deliveries(number: u64) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), "delivery")
}

/// `3 deliveries to a, 1 delivery to b`.
fn spread(outputs: &Map<String, Value>) -> String {
    let each = outputs
        .iter()
        .map(|(output, number)| format!("{} to {}", deliveries(number.as_u64().unwrap_or(0)), show::cell(&Value::from(output.as_str()))));
    each.collect::<Vec<_>>().join(", ")
}

fn confirmed(number: u64, outputs: &Value, again: &str) -> anyhow::Result<bool> {
    let (match_them, them) = if number == 1 { ("delivery matches", "it") } else { ("deliveries match", "them") };
    let matching = thousands(usize::try_from(number).unwrap_or(usize::MAX));
    let what = outputs.as_object().map_or_else(|| deliveries(number), spread);
    ask::confirmed(&format!("deliver {what}{again}?"), &format!("{matching} {match_them}; add --yes to deliver {them}{again}"))
}

fn look_after(what: &What, admin: &Admin) -> anyhow::Result<Exit> {
    block_on(async {
        let client = Client::new(admin)?;
        let (id, word) = match what {
            What::List => {
                let found = client.get("/api/replays").await?;
                let rows = found["replays"].as_array().cloned().unwrap_or_default();
                let columns =
                    [("replay", "/id"), ("output", "/output"), ("state", "/state"), ("done", "/done"), ("of", "/total"), ("as", "/as")];
                show::rows(&rows, &[&columns[..], &[("planned at", "/planned_at")]].concat(), admin.json, "there is no replay");
                return Ok(if rows.is_empty() { Exit::No } else { Exit::Done });
            }
            What::Show { id } => {
                tell_one(&client.get(&format!("/api/replays/{id}")).await?, admin.json);
                return Ok(Exit::Done);
            }
            What::Pause { id } => (id, "pause"),
            What::Resume { id } => (id, "resume"),
            What::Cancel { id } => (id, "cancel"),
        };
        tell_one(&client.post(&format!("/api/replays/{id}/{word}"), &json!({})).await?, admin.json);
        Ok(Exit::Done)
    })
}

/// One line: where it stands and how far it is.
fn tell_one(job: &Value, json: bool) {
    if json { show::line(job) } else { show::say(&line_of(job)) }
}

fn line_of(job: &Value) -> String {
    let number = |name: &str| job[name].as_u64().unwrap_or(0);
    let shown = |name: &str| thousands(usize::try_from(number(name)).unwrap_or(usize::MAX));
    let left = match job["state"].as_str() {
        Some("cancelled") => "; what is in line goes on".to_owned(),
        Some("finished") if number("done") < number("total") => {
            "; the others were delivered, replayed or deleted in the meantime".to_owned()
        }
        _ if !job["blocked"].is_null() => format!("; {}", show::cell(&job["blocked"])),
        _ => String::new(),
    };
    let (id, output, state) = (&job["id"], show::cell(&job["output"]), show::cell(&job["state"]));
    format!("replay {id} of {output} is {state}: {} of {} are in line or past it{left}", shown("done"), shown("total"))
}

/// Looks until a replay is over or paused: a bar on a terminal, and its last line.
async fn follow(client: &Client, id: &Value, json: bool) -> anyhow::Result<()> {
    let bar = std::io::stderr().is_terminal() && !json;
    loop {
        let job = client.get(&format!("/api/replays/{id}")).await?;
        if bar {
            let (done, total) = (job["done"].as_u64().unwrap_or(0), job["total"].as_u64().unwrap_or(0).max(1));
            let full = (done.min(total) * BAR / total) as usize;
            let mut out = std::io::stderr();
            write!(out, "\r[{}{}] {done} of {total}", "#".repeat(full), " ".repeat(BAR as usize - full))?;
            out.flush()?;
        }
        if job["state"] != "running" {
            if bar {
                writeln!(std::io::stderr())?;
            }
            tell_one(&job, json);
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}
