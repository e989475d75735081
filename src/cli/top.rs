//! `switchyard top`: what each output does, again and again; on something that is no terminal, once.

use super::client::{Admin, Client};
use super::{Exit, block_on, show};
use crate::model::{Clock, Instant, SystemClock};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Puts the cursor home and clears what is below it (ECMA-48).
const HOME: &str = "\x1b[H\x1b[J";

/// A live table of outputs: how they stand and why, what is under way, waits and is held, and how many deliveries and failures there are a second.
#[derive(Debug, clap::Args)]
pub struct Top {
    /// Shows the table once, measured over one interval, and ends; what is no terminal gets that too.
    #[arg(long)]
    once: bool,
    /// From one look to the next.
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = interval)]
    every: Duration,
    #[command(flatten)]
    admin: Admin,
}

/// What an output had done at one look.
type Done = BTreeMap<String, (u64, u64)>;

impl Top {
    pub fn run(self) -> anyhow::Result<Exit> {
        let once = self.once || self.admin.json || !std::io::stdout().is_terminal();
        let clock = SystemClock::default();
        block_on(async {
            let (mut before, mut then) = (done(&self.look().await?.0), clock.now());
            loop {
                tokio::time::sleep(self.every).await;
                let (outputs, sources) = self.look().await?;
                let now = clock.now();
                let rows = rows(&outputs, &before, between(then, now));
                if self.admin.json {
                    rows.iter().for_each(show::line);
                } else {
                    if !once {
                        let _ = write!(anstream::stdout(), "{HOME}");
                    }
                    show::rows(&rows, &COLUMNS, false, "no output");
                    show::say("");
                    show::rows(&sources, &SOURCES, false, "no source");
                }
                if once {
                    return Ok(Exit::Done);
                }
                (before, then) = (done(&outputs), now);
            }
        })
    }

    /// Outputs and sources.
    async fn look(&self) -> anyhow::Result<(Vec<Value>, Vec<Value>)> {
        let said = Client::new(&self.admin)?.get("/api/outputs").await?;
        let list = |name: &str| said[name].as_array().cloned().unwrap_or_default();
        let sources = list("sources").into_iter().map(|mut source| {
            source["last_event_at"] = show::clock(&source["last_event_at"]).into();
            source["secrets"] = secrets(&source["secrets"]);
            source
        });
        Ok((list("outputs"), sources.collect()))
    }
}

/// Counts since the daemon's start.
const SOURCES: [show::Column; 6] = [
    ("SOURCE", "/name"),
    ("KEPT", "/kept"),
    ("DUPLICATES", "/duplicates"),
    ("REFUSED", "/refused"),
    ("LAST EVENT", "/last_event_at"),
    ("PROVEN BY", "/secrets"),
];

/// Where there are several: how often each of them held, and when last.
fn secrets(secrets: &Value) -> Value {
    let Some(several) = secrets.as_array().filter(|list| list.len() > 1) else { return "".into() };
    let one = |secret: &Value| {
        let last = if secret["last_at"].is_null() { String::new() } else { format!(" (last {})", show::clock(&secret["last_at"])) };
        format!("secret {}: {}{last}", show::cell(&secret["position"]), show::cell(&secret["proven"]))
    };
    several.iter().map(one).collect::<Vec<_>>().join(", ").into()
}

const COLUMNS: [show::Column; 10] = [
    ("OUTPUT", "/output"),
    ("TYPE", "/type"),
    ("STATE", "/state"),
    ("OK/S", "/delivered_a_second"),
    ("FAIL/S", "/failed_a_second"),
    ("UNDER WAY", "/in_flight"),
    ("WAITING", "/waiting"),
    ("HELD", "/held"),
    ("REPLAYS", "/replays"),
    ("WHY", "/why"),
];

fn interval(text: &str) -> Result<Duration, String> {
    let every = crate::model::Period::parse(text)?.0;
    if every < Duration::from_millis(100) { Err("at least 100ms: each look asks the daemon".into()) } else { Ok(every) }
}

fn between(then: Instant, now: Instant) -> f64 {
    now.since(then).as_secs_f64().max(0.001)
}

/// How many were delivered and how many attempts went wrong, of each output, since the daemon's start.
fn done(outputs: &[Value]) -> Done {
    let count = |output: &Value| {
        let of = |words: &[&str]| words.iter().filter_map(|word| output["outcomes"][word].as_u64()).sum();
        (of(&["delivered"]), of(&FAILED))
    };
    outputs.iter().map(|output| (output["name"].as_str().unwrap_or_default().to_owned(), count(output))).collect()
}

/// What an attempt comes to that did not deliver.
const FAILED: [&str; 5] = ["retry", "down", "misconfigured", "rejected", "unknown"];

fn rows(outputs: &[Value], before: &Done, seconds: f64) -> Vec<Value> {
    let now = done(outputs);
    let row = |output: &Value| {
        let name = output["name"].as_str().unwrap_or_default();
        let (good, bad) = now.get(name).copied().unwrap_or_default();
        // One that is new counts from now on.
        let (good_then, bad_then) = before.get(name).copied().unwrap_or((good, bad));
        let a_second = |now: u64, then: u64| (now.saturating_sub(then) as f64 / seconds * 10.0).round() / 10.0;
        let state = if output["paused"] == true { "paused".into() } else { output["state"].clone() };
        let kept_back = output["held"].as_array().and_then(|reasons| reasons.first()).cloned().unwrap_or_default();
        let why = [&output["why"], &kept_back, &output["told_to_wait_until"]].into_iter().find(|why| !why.is_null()).cloned();
        json!({
            "output": name, "type": output["type"], "state": state, "delivered_a_second": a_second(good, good_then),
            "failed_a_second": a_second(bad, bad_then), "in_flight": output["in_flight"], "waiting": output["waiting"], "held": output["held_count"],
            "replays": output["replays"].as_array().map_or(0, Vec::len), "why": why,
        })
    };
    outputs.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_time_between_two_looks() {
        let output = |delivered: u64, retried: u64| {
            json!({ "name": "chat", "type": "slack", "state": "up", "paused": false, "in_flight": 1, "waiting": 7,
                "outcomes": { "delivered": delivered, "retry": retried, "dead": 99 } })
        };
        let before = done(&[output(10, 2)]);
        let rows = rows(&[output(40, 5), json!({ "name": "new", "outcomes": { "delivered": 9 } })], &before, 2.0);
        assert_eq!((&rows[0]["delivered_a_second"], &rows[0]["failed_a_second"]), (&json!(15.0), &json!(1.5)));
        assert_eq!((&rows[1]["delivered_a_second"], &rows[1]["state"]), (&json!(0.0), &Value::Null));
        assert!(interval("10ms").is_err());
    }
}
