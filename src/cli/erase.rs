//! `switchyard erase --where EXPRESSION`: a person's events leave the journal, with a report.

use super::client::{Admin, Client};
use super::{Exit, ask, block_on, show};
use crate::config::prose;
use serde_json::{Value, json};

/// Removes the events for which an expression holds from the journal: with all their deliveries and rendered messages, overwritten. What
/// stays is hashes, so that a repeat of them is not taken for a new event. Copies elsewhere (backups, what outputs were sent) are not touched.
#[derive(Debug, clap::Args)]
pub struct Erase {
    /// jq over the event, where the first dot may be left out: `data.customer.id == "X"`.
    #[arg(long = "where", value_name = "JQ")]
    condition: String,
    /// Also events of which a delivery waits or is held; it is not sent, unless its output is at it already.
    #[arg(long)]
    waiting: bool,
    /// Writes a large file anew too (up to 128 MiB it always is): only then is no byte left. Nothing is taken in meanwhile.
    #[arg(long)]
    rewrite: bool,
    /// Says how many it would be, and stops.
    #[arg(long)]
    dry_run: bool,
    /// Does not ask.
    #[arg(long, short = 'y')]
    yes: bool,
    #[command(flatten)]
    admin: Admin,
}

impl Erase {
    pub fn run(self) -> anyhow::Result<Exit> {
        block_on(async {
            let client = Client::new(&self.admin)?;
            let asked = |dry_run: bool| {
                let by = format!("uid {}", rustix::process::getuid().as_raw());
                json!({ "where": self.condition, "waiting": self.waiting, "rewrite": self.rewrite, "dry_run": dry_run, "by": by })
            };
            let counted = client.post("/api/journal/erase", &asked(true)).await?;
            let nothing = counted["events"] == 0 && !self.rewrite;
            if self.dry_run || nothing {
                self.tell(&counted);
                return Ok(if nothing { Exit::No } else { Exit::Done });
            }
            if !self.yes && !confirmed(&counted)? {
                return Ok(Exit::No);
            }
            let report = client.post("/api/journal/erase", &asked(false)).await?;
            self.tell(&report);
            let whole = report["left"] == 0 && report["failed"] == 0 && report["damaged"] == 0 && report["rewritten"] == true;
            Ok(if whole { Exit::Done } else { Exit::No })
        })
    }

    fn tell(&self, report: &Value) {
        if self.admin.json {
            return show::line(report);
        }
        let dry = report["dry_run"] == true;
        show::say(&format!(
            "{}   {}, {}",
            if dry { "would go " } else { "erased   " },
            events(report, "events"),
            deliveries(report, "deliveries")
        ));
        if number(report, "not_sent") > 0 {
            show::say(&format!("not sent    {} that waited or were held", deliveries(report, "not_sent")));
        }
        if number(report, "left") > 0 {
            let help = if self.waiting {
                "a delivery has no row yet: try again in a few seconds"
            } else {
                "a delivery waits, is held or has no row yet: `--waiting` takes them too, and it is not sent"
            };
            show::say(&format!("left        {}: {help}", events(report, "left")));
        }
        if number(report, "failed") > 0 {
            let first = show::cell(&report["failed_first"]);
            show::say(&format!("not asked   {} for which the expression fails, such as {first}", events(report, "failed")));
        }
        if number(report, "damaged") > 0 {
            show::say(&format!("not asked   {} that are damaged: `switchyard journal check` names them", events(report, "damaged")));
        }
        if dry {
            return;
        }
        if report["rewritten"] == true {
            show::say("overwritten yes: the journal's file was written anew");
        } else if number(report, "events") > 0 {
            show::say(
                "overwritten not all: where rows were moved inside the file, unused parts of it may hold copies; again with `--rewrite` writes it anew",
            );
        }
        if number(report, "events") > 0 && report["log_cut"] == false {
            show::say("log         not cut: somebody reads all the time; it is cut at the daemon's next rest");
        }
    }
}

fn number(report: &Value, key: &str) -> usize {
    usize::try_from(report[key].as_u64().unwrap_or(0)).unwrap_or(usize::MAX)
}

fn events(report: &Value, key: &str) -> String {
    prose::count(number(report, key), "event")
}

fn deliveries(report: &Value, key: &str) -> String {
    prose::count(number(report, key), "delivery")
}

fn confirmed(counted: &Value) -> anyhow::Result<bool> {
    let count = events(counted, "events");
    let question = format!("erase {count} with {} for good?", deliveries(counted, "deliveries"));
    ask::confirmed(&question, &format!("{count} would be erased for good; add --yes to do it"))
}
