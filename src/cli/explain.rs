//! `switchyard explain`: which routes an event matches, why the others do not, and what would be sent.

use super::client::{Admin, Client, escape};
use super::{Exit, block_on, check, show};
use crate::daemon::explain;
use crate::model::{Clock, EventId, Headers, SystemClock, Timestamp};
use anyhow::Context;
use serde_json::Value;
use std::path::PathBuf;

/// Says which routes an event matches and, for the others, the first condition that failed; sends nothing.
#[derive(Debug, clap::Args)]
pub struct Explain {
    /// A kept event (`evt_…`), or a file with the body of one (`-`: standard input).
    event: String,
    /// The source it would come from; needed with a file.
    #[arg(long)]
    source: Option<String>,
    /// The topic it would have; with a file.
    #[arg(long)]
    topic: Option<String>,
    /// A header it would have, as `name: value`; may be repeated.
    #[arg(long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// When it would come, for routes and outputs with `hours`; with a file: `2026-12-24T23:00Z`, or with an offset.   default: now
    #[arg(long, value_parser = super::time::parse)]
    at: Option<Timestamp>,
    #[command(flatten)]
    admin: Admin,
}

impl Explain {
    pub fn run(self) -> anyhow::Result<Exit> {
        let verdicts = if self.event.parse::<EventId>().is_ok() {
            block_on(async { Client::new(&self.admin)?.get(&format!("/api/events/{}/explain", escape(&self.event))).await })?
        } else {
            match self.of_file()? {
                Some(verdicts) => verdicts,
                None => return Ok(Exit::No),
            }
        };
        let routes = verdicts["routes"].as_array().cloned().unwrap_or_default();
        if self.admin.json {
            show::line(&verdicts);
        } else {
            routes.iter().for_each(print);
        }
        Ok(if routes.iter().any(|route| route["matched"] == true) { Exit::Done } else { Exit::No })
    }

    fn of_file(&self) -> anyhow::Result<Option<Value>> {
        let source = self.source.as_deref().context("say which source the event would come from: --source NAME")?;
        let body = super::send::read(&PathBuf::from(&self.event))?;
        let Some(blueprint) = check::good(&self.admin.config)? else { return Ok(None) };
        let mut headers = Headers::default();
        for header in &self.headers {
            let (name, value) = header.split_once(':').with_context(|| format!("`{header}` is not a header: write `name: value`"))?;
            headers.push(&name.trim().to_ascii_lowercase(), value.trim().as_bytes());
        }
        let draft = explain::Draft {
            source,
            topic: self.topic.as_deref(),
            headers,
            body: body.into(),
            now: self.at.unwrap_or_else(|| SystemClock::default().wall()),
        };
        block_on(async { Ok(explain::draft(&blueprint, draft).await?) }).map(Some)
    }
}

fn print(route: &Value) {
    let name = show::cell(&route["route"]);
    if route["matched"] != true {
        show::say(&format!("✗ {name}: {}", show::cell(&route["why"])));
        return;
    }
    show::say(&format!("✓ {name}"));
    if !route["why"].is_null() {
        show::say(&format!("    would be dead: {}", show::cell(&route["why"])));
    }
    for target in route["targets"].as_array().into_iter().flatten() {
        show::say(&format!("    → {}", show::cell(&target["output"])));
        if let Some(why) = target["failed"].as_str() {
            show::say(&format!("        would be dead: {}", show::cell(&Value::from(why))));
        }
        if let Some(why) = target["held"].as_str() {
            show::say(&format!("        would be held: {}", show::cell(&Value::from(why))));
        }
        for message in target["messages"].as_array().into_iter().flatten() {
            for (field, value) in message.as_object().into_iter().flatten() {
                show::say(&format!("        {field}: {}", show::cell(value)));
            }
        }
    }
}
