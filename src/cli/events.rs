//! `switchyard events`: the list, and one event with its deliveries.

use super::client::{Admin, Client, escape};
use super::{Exit, block_on, feed, row_count, show, time};
use crate::model::Timestamp;
use serde_json::Value;
use std::fmt::Write;

/// Lists events, newest first, or shows one whole.
#[derive(Debug, clap::Args)]
pub struct Events {
    /// Shows this one: its headers, body and deliveries. Or `save`.
    id: Option<String>,
    /// With `save`: these are printed whole, a JSON line each, for `switchyard diff --from`; without any, all that the filters mean.
    save: Vec<String>,
    /// Only from this source.
    #[arg(long)]
    source: Option<String>,
    /// Only of this topic.
    #[arg(long)]
    topic: Option<String>,
    /// Only since then: `1h` ago, or a date.
    #[arg(long, value_parser = time::parse)]
    since: Option<Timestamp>,
    /// Only until then.
    #[arg(long, value_parser = time::parse)]
    until: Option<Timestamp>,
    /// At most so many.
    #[arg(long, short = 'n', default_value_t = 50, value_parser = row_count())]
    limit: u16,
    #[command(flatten)]
    admin: Admin,
}

/// What is said of an event that is no repeat of the one whose id it has.
const REUSED: &str = "its sender's id was used before, with another body";

impl Events {
    pub fn run(self) -> anyhow::Result<Exit> {
        match &self.id {
            Some(word) if word == "save" => block_on(self.save()),
            Some(id) => self.one(id),
            None => self.list(),
        }
    }

    /// Prints events whole.
    async fn save(&self) -> anyhow::Result<Exit> {
        let client = Client::new(&self.admin)?;
        let mut saved = 0_u64;
        let mut print = |event: &Value| {
            saved += 1;
            show::line(event);
        };
        for id in &self.save {
            let page = client.get(&format!("/api/feed?event={}", escape(id))).await?;
            page["events"].as_array().into_iter().flatten().for_each(&mut print);
        }
        if self.save.is_empty() {
            let until = self.until.map(|until| until.to_string());
            let meant = |event: &&Value| {
                let is = |name: &str, wanted: &Option<String>| wanted.as_deref().is_none_or(|wanted| event[name] == wanted);
                let before = until.as_deref().is_none_or(|until| event["received_at"].as_str().is_some_and(|at| at < until));
                event["damaged"] != true && is("source", &self.source) && is("topic", &self.topic) && before
            };
            feed::since(&client, self.since.unwrap_or_default(), async |page| {
                page.iter().filter(meant).for_each(&mut print);
                Ok(())
            })
            .await?;
        }
        Ok(if saved == 0 { Exit::No } else { Exit::Done })
    }

    fn list(&self) -> anyhow::Result<Exit> {
        let mut path = format!("/api/events?limit={}", self.limit);
        for (name, value) in [("source", &self.source), ("topic", &self.topic)] {
            if let Some(value) = value {
                let _ = write!(path, "&{name}={}", escape(value));
            }
        }
        for (name, at) in [("since", self.since), ("until", self.until)] {
            if let Some(at) = at {
                let _ = write!(path, "&{name}={}", at.0);
            }
        }
        let found = block_on(async { Client::new(&self.admin)?.get(&path).await })?;
        let rows = found["events"].as_array().cloned().unwrap_or_default();
        let columns = [
            ("EVENT", "/id"),
            ("RECEIVED", "/received_at"),
            ("SOURCE", "/source"),
            ("TOPIC", "/topic"),
            ("BYTES", "/bytes"),
            ("PLAN", "/plan"),
            ("NOTE", "/note"),
        ];
        let noted = |row: &Value| {
            let mut row = row.clone();
            row["note"] = if row["reused_id"] == true { REUSED.into() } else { "".into() };
            row
        };
        let rows: Vec<Value> = rows.iter().map(|row| if self.admin.json { row.clone() } else { noted(row) }).collect();
        show::rows(&rows, &columns, self.admin.json, "no event matches");
        Ok(if rows.is_empty() { Exit::No } else { Exit::Done })
    }

    fn one(&self, id: &str) -> anyhow::Result<Exit> {
        let event = block_on(async { Client::new(&self.admin)?.get(&format!("/api/events/{}", escape(id))).await })?;
        if self.admin.json {
            show::line(&event);
            return Ok(Exit::Done);
        }
        for name in ["id", "source", "topic", "received_at", "sender_id", "config", "not_parsed"] {
            if !event[name].is_null() {
                show::say(&format!("{name:>12}: {}", show::cell(&event[name])));
            }
        }
        if let (Some(position), Some(of)) = (event["signed_with"]["position"].as_u64(), event["signed_with"]["of"].as_u64()) {
            show::say(&format!("{:>12}: secret {position} of {of}", "signed with"));
        }
        for (name, value) in event["headers"].as_object().into_iter().flatten() {
            show::say(&format!("{:>12}  {}: {}", "", show::cell(&Value::from(name.as_str())), show::cell(value)));
        }
        let body = event["raw"].as_str().unwrap_or_default();
        for (at, line) in body.lines().enumerate() {
            let name = if at == 0 { "body:" } else { "" };
            show::say(&format!("{name:>13} {}", show::cell(&Value::from(line))));
        }
        if event["raw_cut"] == true {
            show::say(&format!("{:>13} (cut: it has {} bytes)", "", show::cell(&event["bytes"])));
        }
        if let Some(count) = event["duplicates"].as_array().map(Vec::len).filter(|count| *count > 0) {
            show::say(&format!("{:>12}: {count} since (`switchyard duplicates --of {}`)", "repeated", show::cell(&event["id"])));
        }
        print_where_it_went(&event);
        Ok(Exit::Done)
    }
}

/// The deliveries of an event, and what is planned and has no attempt that ended yet.
pub fn print_where_it_went(event: &Value) {
    let rows = event["deliveries"].as_array().map_or(&[][..], Vec::as_slice);
    let planned = event["plan"].as_array().map_or(&[][..], Vec::as_slice);
    if planned.is_empty() && rows.is_empty() {
        show::say("no route takes it: `switchyard explain` says why");
        return;
    }
    if !rows.is_empty() {
        print_deliveries(rows, false);
    }
    let over = |target: &Value| rows.iter().any(|row| row["route"] == target["route"] && row["output"] == target["output"]);
    let mut unexplained = false;
    for target in planned.iter().filter(|target| !over(target)) {
        let (route, output) = (show::cell(&target["route"]), show::cell(&target["output"]));
        let why = if target["blocked"].is_null() { String::new() } else { format!(": {}", show::cell(&target["blocked"])) };
        unexplained |= why.is_empty();
        show::say(&format!(" not over yet: {route} → {output}{why}"));
    }
    if unexplained {
        show::say(" (if it takes long, the daemon's log says why; `switchyard tail` shows attempts)");
    }
}

/// The deliveries of an event or of a list.
pub fn print_deliveries(rows: &[Value], json: bool) {
    let columns = [
        ("DELIVERY", "/id"),
        ("EVENT", "/event"),
        ("ROUTE", "/route"),
        ("OUTPUT", "/output"),
        ("STATE", "/state"),
        ("TRIES", "/attempts"),
        ("DUE", "/due_at"),
        ("DETAIL", "/detail"),
    ];
    if json {
        return show::rows(rows, &columns, true, "");
    }
    // What keeps all of its output waiting says more than what happened to it last.
    let told = |row: &Value| {
        let mut row = row.clone();
        if !row["blocked"].is_null() {
            row["detail"] = row["blocked"].take();
        }
        row
    };
    show::rows(&rows.iter().map(told).collect::<Vec<_>>(), &columns, false, "no delivery matches");
}
