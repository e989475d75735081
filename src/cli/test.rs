//! `switchyard test`: runs the tests of a file, or writes one of a kept event.

use super::client::{Admin, Client, escape};
use super::{Exit, block_on, check, feed, show};
use crate::config::{self, Process, place::line_col, prose::count};
use crate::daemon::blueprint::Blueprint;
use crate::model::{Event, Headers};
use crate::trial::{Missed, Outcome, Ran};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Runs the `tests:` of the configuration on virtual time: what would go out, and whether it is what they expect. Sends nothing.
#[derive(Debug, clap::Args)]
pub struct Test {
    /// The configuration.   default: that of `--config`
    file: Option<PathBuf>,
    /// Further tests, in a file with `tests:` alone; may be repeated.
    #[arg(long, value_name = "FILE")]
    also: Vec<PathBuf>,
    /// Only those whose name holds this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Shows all that went out, also where it is as expected.
    #[arg(long, short)]
    verbose: bool,
    /// Variables and files of secrets that are not there are no problem: something stands in for each, and nothing is sent. For CI.
    #[arg(long)]
    without_secrets: bool,
    /// Writes a test of a kept event (`evt_…`) instead: what goes out today is what it expects.
    #[arg(long, value_name = "EVENT_ID", conflicts_with_all = ["also", "only"])]
    from: Option<String>,
    #[command(flatten)]
    admin: Admin,
}

impl Test {
    pub fn run(self) -> Result<Exit> {
        let file = self.file.as_ref().unwrap_or(&self.admin.config);
        let good = if self.without_secrets { check::good_without_secrets } else { check::good };
        let Some(blueprint) = good(file)? else { return Ok(Exit::No) };
        if let Some(id) = &self.from {
            return self.write(id, &blueprint);
        }
        let (mut passed, mut all) = (0, vec![]);
        let ran = block_on(async { Ok(crate::daemon::trial::run(&blueprint, &blueprint.tests, &self.only).await) })?;
        all.push((file.clone(), ran));
        for also in &self.also {
            let Some(tests) = check::tests(also, file)? else { return Ok(Exit::No) };
            let ran = block_on(async { Ok(crate::daemon::trial::run(&blueprint, &tests, &self.only).await) })?;
            all.push((also.clone(), ran));
        }
        let total: usize = all.iter().map(|(_, ran)| ran.len()).sum();
        for (file, ran) in &all {
            let text = config::load(file, &Process::beside(file))?.text;
            for ran in ran {
                passed += usize::from(ran.outcome == Outcome::Good);
                self.tell(file, &text, ran);
            }
        }
        if self.admin.json {
            return Ok(if total > 0 && passed == total { Exit::Done } else { Exit::No });
        }
        if total == 0 {
            show::say(&format!(
                "{} has no test{}: write one under `tests:`, or take one of a kept event with --from EVENT_ID",
                file.display(),
                self.named()
            ));
            return Ok(Exit::No);
        }
        show::say(&format!("{} good, {} failed", count(passed, "test"), total - passed));
        Ok(if passed == total { Exit::Done } else { Exit::No })
    }

    fn named(&self) -> String {
        if self.only.is_empty() { String::new() } else { format!(" whose name holds `{}`", self.only) }
    }

    fn tell(&self, file: &Path, text: &str, ran: &Ran) {
        let at = |at: switchyard_api::Span| {
            let (line, column) = line_col(text, at.start);
            format!("{}:{line}:{column}", file.display())
        };
        let missed = match &ran.outcome {
            Outcome::Good => &[][..],
            Outcome::Failed(missed) => missed,
        };
        if self.admin.json {
            let missed: Vec<Value> = missed
                .iter()
                .map(|Missed { at: place, expected, found }| json!({ "at": at(*place), "expected": expected, "found": found }))
                .collect();
            let went: Vec<String> = ran.went.iter().map(crate::trial::Went::line).collect();
            return show::line(&json!({ "test": ran.name, "at": at(ran.at), "good": missed.is_empty(), "missed": missed, "went": went }));
        }
        show::say(&format!("{} {}", if missed.is_empty() { "✓" } else { "✗" }, ran.name));
        for Missed { at: place, expected, found } in missed {
            show::say(&format!("    expected {expected}"));
            show::say(&format!("      at {}", at(*place)));
            for found in found {
                show::say(&format!("      {found}"));
            }
        }
        if self.verbose || !missed.is_empty() {
            if ran.went.is_empty() {
                show::say("    nothing went out");
            }
            for went in &ran.went {
                show::say(&format!("    went out: {}", went.line()));
            }
        }
    }

    fn write(&self, id: &str, blueprint: &Blueprint) -> Result<Exit> {
        let page = block_on(async { Client::new(&self.admin)?.get(&format!("/api/feed?event={}", escape(id))).await })?;
        let event = page["events"].get(0).and_then(feed::event_of).context("the daemon's answer is not what this program knows")?;
        let written = block_on(async { Ok(as_test(&event, blueprint).await) })?;
        show::say(written.trim_end());
        Ok(Exit::Done)
    }
}

/// An event as a test of the file, with what goes out today.
async fn as_test(event: &Event, blueprint: &Blueprint) -> String {
    let jq = crate::daemon::jq_pool(1);
    let router = &blueprint.router;
    let plan = router.plan(event, &jq).await;
    // Headers are in it only where they matter.
    let bare = Event { headers: Headers::default(), ..event.clone() };
    let (mut expect, mut matter) = (vec![], router.plan(&bare, &jq).await != plan);
    for target in &plan.targets {
        let made = router.render(event, target, &jq).await;
        matter |= router.render(&bare, target, &jq).await != made;
        let text = match &made {
            Ok(messages) => messages.iter().find_map(|message| match message.fields.get("text") {
                Some(switchyard_api::Rendered::Text(text)) => Some(expected_text(text, event)),
                _ => None,
            }),
            Err(why) => Some(format!(", dead: {}", Value::from(why.to_string()))),
        };
        expect.push(format!("      - {{ output: {}, route: {}{} }}\n", target.output, target.route, text.unwrap_or_default()));
    }
    let quoted = |text: &str| Value::from(text).to_string();
    let mut out = format!("tests:\n  - name: {}\n", quoted(&format!("{} of {}", event.topic, event.received_at)));
    let _ = writeln!(out, "    at: {}\n    source: {}\n    topic: {}", event.received_at, event.source, quoted(&event.topic));
    if matter {
        out.push_str("    headers:\n");
        for (name, value) in event.headers.iter() {
            let _ = writeln!(out, "      {}: {}", quoted(name), quoted(&String::from_utf8_lossy(value)));
        }
    }
    if !event.query.is_empty() {
        let _ = writeln!(out, "    query: {}", quoted(&event.query));
    }
    let _ = match crate::trial::as_data(&event.body, data_of) {
        Some(data) => writeln!(out, "    data: {data}"),
        None => writeln!(out, "    body: {}", quoted(&String::from_utf8_lossy(&event.body))),
    };
    out.push_str(if expect.is_empty() { "    expect: []\n" } else { "    expect:\n" });
    out.extend(expect);
    out
}

/// What stands under `data` of a text in the file's form.
fn data_of(text: &str) -> Option<switchyard_api::Node> {
    let mut problems = vec![];
    let tree = config::parse::parse(text, &mut problems).filter(|_| problems.is_empty())?;
    tree.get("data").cloned()
}

/// What the text is to be: another event has another id, so what stands before and behind it is.
fn expected_text(text: &str, event: &Event) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    // Without `evt_`, whose underscore some languages escape.
    let id = event.id.to_string();
    let id = id.trim_start_matches("evt_");
    let Some((before, _)) = text.split_once(id) else { return format!(", text: {}", quoted(text)) };
    let behind = text.rsplit_once(id).map_or("", |(_, behind)| behind);
    let ends = [("prefix", before), ("suffix", behind)].into_iter().filter(|(_, part)| !part.is_empty());
    let ends: Vec<String> = ends.map(|(word, part)| format!("{word}: {}", quoted(part))).collect();
    if ends.is_empty() { String::new() } else { format!(", text: {{ {} }}", ends.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::data_of;
    use crate::trial::as_data;
    use proptest::prelude::*;

    fn data(body: &str) -> Option<String> {
        as_data(body.as_bytes(), data_of)
    }

    #[test]
    fn what_yaml_would_read_otherwise_is_no_data() {
        assert_eq!(data("{\"a\":\n [1500.10, 1e3,\"x: y, z\"]}").as_deref(), Some("{\"a\": [1500.10, 1e3, \"x: y, z\"]}"));
        assert_eq!(
            data("{\"n\":123456789012345678901234567890123456789012345}").as_deref(),
            Some("{\"n\": 123456789012345678901234567890123456789012345}")
        );
        for other in ["{\"a\":1e400}", "{\"a\":\"\\u00e9\"}", "{\"a\":1,\"a\":2}", "{\"a\":", "é"] {
            assert_eq!(data(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_the_same_json(number in "-?(0|[1-9][0-9]{0,30})([.][0-9]{1,20})?([eE][+-]?[0-9]{1,2})?", text in "\\PC{0,12}") {
            let body = format!("{{\"n\":{number},\"t\":{},\"l\":[true,null,{number}]}}", serde_json::Value::from(text));
            if let Some(line) = data(&body) {
                let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
                prop_assert_eq!(parsed(&body), parsed(&line));
                prop_assert!(line.contains(&number), "{}", line);
            }
        }
    }
}
