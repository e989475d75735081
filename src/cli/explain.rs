//! `switchyard explain`: which routes an event matches, why the others do not, and what would be sent.

use super::client::{Admin, Client, escape};
use super::{Exit, block_on, check, show};
use crate::daemon::explain;
use crate::model::{Clock, EventId, Headers, SystemClock, Timestamp};
use anyhow::Context;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;

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
    /// Variables and files of secrets that are not there are no problem, for an event of a file: something stands in for each.
    #[arg(long)]
    without_secrets: bool,
    #[command(flatten)]
    admin: Admin,
}

impl Explain {
    pub fn run(self) -> anyhow::Result<Exit> {
        let all = if is_event(&self.event)? {
            vec![block_on(async { Client::new(&self.admin)?.get(&format!("/api/events/{}/explain", escape(&self.event))).await })?]
        } else {
            match self.of_file()? {
                Some(all) => all,
                None => return Ok(Exit::No),
            }
        };
        let mut matched = false;
        for (nth, verdicts) in all.iter().enumerate() {
            if all.len() > 1 && !self.admin.json {
                let topic = show::cell(&verdicts["topic"]);
                show::say(&format!("{}event {} of {}, topic {topic}:", if nth == 0 { "" } else { "\n" }, nth + 1, all.len()));
            }
            matched |= self.one(verdicts);
        }
        Ok(if matched { Exit::Done } else { Exit::No })
    }

    /// Shows what becomes of one event; whether a route takes it.
    fn one(&self, verdicts: &Value) -> bool {
        let routes = verdicts["routes"].as_array().cloned().unwrap_or_default();
        if self.admin.json {
            show::line(verdicts);
        } else {
            if !verdicts["config"]["planned"].is_null() || verdicts.get("also_planned").is_some() {
                print_config(verdicts);
            }
            routes.iter().for_each(print);
            print_also_planned(verdicts);
        }
        routes.iter().any(|route| route["matched"] == true)
    }

    fn of_file(&self) -> anyhow::Result<Option<Vec<Value>>> {
        let source = self.source.as_deref().context("say which source the event would come from: --source NAME")?;
        let body = super::send::read(&PathBuf::from(&self.event))?;
        let good = if self.without_secrets { check::good_without_secrets } else { check::good };
        let Some(blueprint) = good(&self.admin.config)? else { return Ok(None) };
        let mut headers = Headers::default();
        for header in &self.headers {
            let (name, value) = header.split_once(':').with_context(|| format!("`{header}` is not a header: write `name: value`"))?;
            headers.push(&name.trim().to_ascii_lowercase(), value.trim().as_bytes());
        }
        // As `send` would.
        if let Some(kind) = super::send::content_type(&body).filter(|_| headers.get("content-type").is_none()) {
            headers.push("content-type", kind.as_bytes());
        }
        let draft = explain::Draft {
            source,
            topic: self.topic.as_deref(),
            headers,
            body: body.into(),
            now: self.at.unwrap_or_else(|| SystemClock::default().wall()),
            clock: Arc::new(SystemClock::default()),
        };
        block_on(async { Ok(explain::draft(&blueprint, draft).await?) }).map(Some)
    }
}

/// Whether this names a kept event, and no file; one that nearly does is told as such.
fn is_event(named: &str) -> anyhow::Result<bool> {
    let is_id = named.parse::<EventId>().is_ok();
    if !is_id && named.starts_with("evt_") && !PathBuf::from(named).exists() {
        anyhow::bail!("`{named}` is no event's id (and no file): `switchyard events` lists them");
    }
    Ok(is_id)
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
        let kind = target["type"].as_str().map(|kind| format!(" ({kind})")).unwrap_or_default();
        show::say(&format!("    → {}{}", show::cell(&target["output"]), show::cell(&Value::from(kind))));
        became(target);
        print_target(target);
    }
}

/// What would go to a target, and when.
fn print_target(target: &Value) {
    if let Some(why) = target["failed"].as_str() {
        show::say(&format!("        would be dead: {}", show::cell(&Value::from(why))));
    }
    for wait in target["waits"].as_array().into_iter().flatten() {
        let word = match (wait["because"].as_str(), wait["now"].as_bool()) {
            (Some("hours" | "silence"), _) => "would be held",
            (_, Some(true)) => "would wait",
            _ => "may wait",
        };
        let key = wait["key"].as_str().filter(|key| !key.is_empty());
        let key = key.map(|key| format!(" (key: {})", show::cell(&Value::from(key)))).unwrap_or_default();
        show::say(&format!("        {word}: {}{key}", show::cell(&wait["why"])));
    }
    let requests = target["requests"].as_array().map_or(&[][..], Vec::as_slice);
    if !requests.is_empty() {
        requests.iter().for_each(print_request);
        return;
    }
    for message in target["messages"].as_array().into_iter().flatten() {
        for (field, value) in message.as_object().into_iter().flatten() {
            show::say(&format!("        {field}: {}", show::cell(value)));
        }
    }
}

fn print_request(request: &Value) {
    if let Some(why) = request["failed"].as_str() {
        show::say(&format!("        would not be sent: {}", show::cell(&Value::from(why))));
        return;
    }
    show::say(format!("        {} {}", show::cell(&request["method"]), show::cell(&request["url"])).trim_end());
    for (part, between) in [("properties", " = "), ("headers", ": ")] {
        for (name, value) in request[part].as_object().into_iter().flatten() {
            show::say(&format!("        {}{between}{}", show::cell(&Value::from(name.as_str())), show::cell(value)));
        }
    }
    if request["bytes"] == 0 {
        return;
    }
    show::say("");
    for line in request["body"].as_str().unwrap_or_default().lines() {
        show::say(&format!("        {}", show::cell(&Value::from(line))));
    }
    if request["body_cut"] == true {
        show::say(&format!("        (cut: it has {} bytes)", show::cell(&request["bytes"])));
    }
}

/// What became of a kept event's deliveries to a target.
fn became(target: &Value) {
    let deliveries = target["deliveries"].as_array().map_or(&[][..], Vec::as_slice);
    for row in deliveries {
        let detail = row["detail"].as_str().filter(|detail| !detail.is_empty()).map(|detail| format!(": {detail}")).unwrap_or_default();
        show::say(&format!("        {} is {}{}", show::cell(&row["id"]), show::cell(&row["state"]), show::cell(&Value::from(detail))));
    }
    if target["planned"] == false {
        show::say("        was not planned when the event came: `switchyard replay --missing` adds it");
    }
}

/// By which configuration a kept event was planned, and which runs.
fn print_config(verdicts: &Value) {
    let (planned, running) = (&verdicts["config"]["planned"], show::cell(&verdicts["config"]["running"]));
    match planned.as_str() {
        None => show::say(&format!("planned before configurations were kept; the routes of {running} say:")),
        Some(planned) if planned == running => show::say(&format!("planned under configuration {planned}, which runs")),
        Some(planned) => show::say(&format!(
            "planned under configuration {planned}; the routes of {running}, which runs now, say (`switchyard config diff {planned}` shows what changed):"
        )),
    }
}

fn print_also_planned(verdicts: &Value) {
    for target in verdicts["also_planned"].as_array().into_iter().flatten() {
        let config = target["config"].as_str().map(|config| format!(" by configuration {config}")).unwrap_or_default();
        let (route, output) = (show::cell(&target["route"]), show::cell(&target["output"]));
        show::say(&format!("also planned{config}: {route} → {output}"));
        became(target);
    }
}
