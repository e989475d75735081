//! `switchyard diff`: kept events through two configurations, and what the other one would change. Sends nothing.

use super::client::{Admin, Client};
use super::{Exit, block_on, check, feed, show, time};
use crate::config::prose::{count, thousands};
use crate::daemon::blueprint::Blueprint;
use crate::model::{Event, Message, NotRendered, Plan, Rendered, Target, Timestamp};
use crate::route::filter::shorten;
use crate::route::{Glob, JqPool};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// Runs kept events through the configuration and through another one, without sending, and shows deliveries that would be added, gone or
/// different. Exit code 1 where there are any.
#[derive(Debug, clap::Args)]
pub struct Diff {
    /// The other configuration.
    new: PathBuf,
    /// Events since then: `24h`, or a date.   default: 24h
    #[arg(long, value_name = "TIME", value_parser = time::parse, conflicts_with = "from")]
    last: Option<Timestamp>,
    /// Events that were saved with `switchyard events save`, in place of the daemon's (`-`: standard input).
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Only events of this source.
    #[arg(long)]
    source: Option<String>,
    /// Only events of these topics, as a glob.
    #[arg(long, value_parser = |text: &str| Glob::parse(text).map_err(|why| why.to_string()))]
    topic: Option<Glob>,
    /// How many differences are shown one by one.
    #[arg(long, short = 'n', default_value_t = 20)]
    show: usize,
    #[command(flatten)]
    admin: Admin,
}

/// Both configurations.
struct Both {
    old: Blueprint,
    new: Blueprint,
    jq: JqPool,
}

/// What becomes of one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Added,
    Gone,
    Different,
}

/// What was found so far.
#[derive(Default)]
struct Found {
    events: u64,
    same: u64,
    /// By change, and by route and output.
    changed: BTreeMap<(Change, Arc<Target>), u64>,
    shown: usize,
}

type Made = Result<Vec<Arc<Message>>, NotRendered>;

impl Diff {
    pub fn run(self) -> Result<Exit> {
        let Some(old) = check::good(&self.admin.config)? else { return Ok(Exit::No) };
        let Some(new) = check::good(&self.new)? else { return Ok(Exit::No) };
        block_on(async {
            let both = Both { old, new, jq: crate::daemon::jq_pool(2) };
            let mut found = Found::default();
            match &self.from {
                Some(file) => self.of_file(file, &both, &mut found).await?,
                None => {
                    let since = self.last.map_or_else(|| time::parse("24h"), Ok).map_err(anyhow::Error::msg)?;
                    let client = Client::new(&self.admin)?;
                    feed::since(&client, since, async |page| {
                        for line in page.iter().filter(|line| line["damaged"] != true) {
                            let event = feed::event_of(line).context("the daemon's answer is not what this program knows")?;
                            self.look(&event, &both, &mut found).await;
                        }
                        Ok(())
                    })
                    .await?;
                }
            }
            Ok(self.finish(&found))
        })
    }

    async fn of_file(&self, file: &PathBuf, both: &Both, found: &mut Found) -> Result<()> {
        let reader: Box<dyn BufRead> = if file.as_os_str() == "-" {
            Box::new(BufReader::new(std::io::stdin()))
        } else {
            Box::new(BufReader::new(std::fs::File::open(file).with_context(|| format!("can't read {}", file.display()))?))
        };
        for (nth, line) in reader.lines().enumerate() {
            let line = line.with_context(|| format!("can't read {}", file.display()))?;
            if line.trim().is_empty() {
                continue;
            }
            let event = serde_json::from_str::<Value>(&line).ok().as_ref().and_then(feed::event_of);
            let told = || format!("{}:{}: not a saved event: write the file with `switchyard events save`", file.display(), nth + 1);
            self.look(&event.with_context(told)?, both, found).await;
        }
        Ok(())
    }

    /// One event through both.
    async fn look(&self, event: &Event, both: &Both, found: &mut Found) {
        let wanted = self.source.as_deref().is_none_or(|source| source == &*event.source)
            && self.topic.as_ref().is_none_or(|topic| topic.matches(&event.topic));
        if !wanted {
            return;
        }
        found.events += 1;
        if found.events.is_multiple_of(1_000) && std::io::stderr().is_terminal() {
            let _ = write!(std::io::stderr(), "\r{} events", thousands(found.events as usize));
        }
        let (old, new) = (both.old.router.plan(event, &both.jq).await, both.new.router.plan(event, &both.jq).await);
        for (nth, target) in old.targets.iter().enumerate() {
            let before = made(&both.old, event, &old, nth, &both.jq).await;
            match new.targets.iter().position(|other| other == target) {
                None => self.changed(event, target, Change::Gone, &before, &Ok(vec![]), found),
                Some(place) => {
                    let after = made(&both.new, event, &new, place, &both.jq).await;
                    if before == after {
                        found.same += 1;
                    } else {
                        self.changed(event, target, Change::Different, &before, &after, found);
                    }
                }
            }
        }
        for (nth, target) in new.targets.iter().enumerate().filter(|(_, target)| !old.targets.contains(target)) {
            let after = made(&both.new, event, &new, nth, &both.jq).await;
            self.changed(event, target, Change::Added, &Ok(vec![]), &after, found);
        }
    }

    fn changed(&self, event: &Event, target: &Arc<Target>, change: Change, before: &Made, after: &Made, found: &mut Found) {
        *found.changed.entry((change, Arc::clone(target))).or_default() += 1;
        if found.shown >= self.show {
            return;
        }
        found.shown += 1;
        let differs = differs(before, after);
        if self.admin.json {
            let differs: Vec<_> = differs.iter().map(|(what, old, new)| json!({ "field": what, "old": old, "new": new })).collect();
            return show::line(&json!({
                "event": event.id.to_string(), "source": &*event.source, "topic": &*event.topic, "route": &*target.route, "output": &*target.output,
                "change": change.word(), "fields": differs,
            }));
        }
        let topic = crate::model::printable::Printable(&event.topic);
        show::say(&format!("{} {}  {topic}  {target}", change.sign(), event.id));
        for (what, old, new) in differs {
            for (sign, text) in [("-", old), ("+", new)] {
                if let Some(text) = text {
                    show::say(&format!("    {what}: {sign} {}", shorten(&text)));
                }
            }
        }
    }

    fn finish(&self, found: &Found) -> Exit {
        if std::io::stderr().is_terminal() {
            let _ = write!(std::io::stderr(), "\r");
        }
        let total = |change: Change| found.changed.iter().filter(|((one, _), _)| *one == change).map(|(_, count)| count).sum::<u64>();
        let totals = [Change::Added, Change::Gone, Change::Different].map(total);
        let changed: u64 = totals.iter().sum();
        if self.admin.json {
            let by: Vec<_> = found.changed.iter().map(|((change, target), count)| {
                json!({ "change": change.word(), "route": &*target.route, "output": &*target.output, "deliveries": count })
            }).collect();
            show::line(
                &json!({ "events": found.events, "added": totals[0], "gone": totals[1], "different": totals[2], "same": found.same, "by": by }),
            );
        } else {
            let more = changed.saturating_sub(found.shown as u64);
            if more > 0 {
                show::say(&format!("… and {} more", thousands(more as usize)));
            }
            for ((change, target), count) in &found.changed {
                show::say(&format!("{} {:>9} {}  {target}", change.sign(), thousands(*count as usize), change.word()));
            }
            let [added, gone, different] = totals.map(|total| thousands(total as usize));
            let (events, same) = (count(found.events as usize, "event"), thousands(found.same as usize));
            show::say(&format!("{events}: {added} deliveries added, {gone} gone, {different} different, {same} the same"));
        }
        if changed == 0 { Exit::Done } else { Exit::No }
    }
}

impl Change {
    fn word(self) -> &'static str {
        match self {
            Change::Added => "added",
            Change::Gone => "gone",
            Change::Different => "different",
        }
    }
    fn sign(self) -> &'static str {
        match self {
            Change::Added => "+",
            Change::Gone => "-",
            Change::Different => "~",
        }
    }
}

/// A target's messages under a file.
async fn made(of: &Blueprint, event: &Event, plan: &Plan, nth: usize, jq: &JqPool) -> Made {
    if let Some((_, why)) = plan.failed.iter().find(|(failed, _)| *failed == nth) {
        return Err(NotRendered::Failed(why.clone()));
    }
    of.router.render(event, &plan.targets[nth], jq).await
}

/// What differs between two makes of a delivery: of what, before, after.
fn differs(before: &Made, after: &Made) -> Vec<(String, Option<String>, Option<String>)> {
    let (old, new) = (fields(before), fields(after));
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changed = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    changed.map(|name| (name.clone(), old.get(name).cloned(), new.get(name).cloned())).collect()
}

/// All texts of a delivery's messages by their names; of several, with their number.
fn fields(made: &Made) -> BTreeMap<String, String> {
    let messages = match made {
        Ok(messages) => messages,
        Err(why) => return [("dead".to_owned(), why.to_string())].into(),
    };
    let mut all = BTreeMap::new();
    for (nth, message) in messages.iter().enumerate() {
        let name = |name: &str| if messages.len() > 1 { format!("{}.{name}", nth + 1) } else { name.to_owned() };
        all.extend(message.payload.iter().map(|payload| (name("payload"), payload.clone())));
        for (field, value) in &message.fields {
            match value {
                Rendered::Text(text) => drop(all.insert(name(field), text.clone())),
                Rendered::Map(map) => all.extend(map.iter().map(|(key, text)| (name(&format!("{field}.{key}")), text.clone()))),
            }
        }
    }
    all
}
