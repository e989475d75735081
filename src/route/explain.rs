//! For people: what each route makes of an event, and why not. Sends nothing.

use super::facts::Facts;
use super::filter::shorten;
use super::glob::Glob;
use super::jq::JqPool;
use super::plan::{Route, Router, decide};
use crate::model::{Event, Message, NotRendered, OWN_SOURCE, Target, envelope};
use std::sync::Arc;
use switchyard_api::Span;

/// What a route makes of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteVerdict {
    /// The route's name.
    pub route: Arc<str>,
    /// Whether it takes the event, and then what it sends.
    pub verdict: Verdict,
}

/// Whether a route takes an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It does, and this would be delivered.
    Matched(Vec<Sent>),
    /// Its `where` could not be decided: planned, and dead with this reason.
    Undecided(String),
    /// It does not.
    Missed {
        /// The first condition that failed, as written, with what was found: one printable line without secrets.
        why: String,
        /// Where in the file it stands.
        at: Span,
    },
}

/// A target, and what would go to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// By which route to which output.
    pub target: Arc<Target>,
    /// The messages by ordinal, or why there are none.
    pub messages: Result<Vec<Arc<Message>>, NotRendered>,
}

/// What an event's delivery stands in line by, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What the file's template gave; empty where all stand in one line.
    pub key: String,
    /// Whether those of a key go together, and not one at a time.
    pub together: bool,
}

impl Router {
    /// What an event's delivery to a target stands in line by; `None`: nothing.
    pub fn standing(&self, event: &Event, target: &Target) -> Option<Standing> {
        let route = self.routes.iter().find(|route| route.name == target.route)?;
        let place = route.targets.iter().position(|has| **has == *target)?;
        let line = route.lines.iter().find_map(|(at, line)| (*at == place).then_some(line))?;
        let key = route.key(place, line, event, &mut None)?;
        // What comes behind the key says who reads it.
        let key = key.split('\0').next().unwrap_or_default().to_owned();
        Some(Standing { key, together: line.digest.is_some() })
    }

    /// What every route makes of the event, in the order of the file.
    pub async fn explain(&self, event: &Event, jq: &JqPool) -> Vec<RouteVerdict> {
        let text = envelope::envelope_text(event);
        let mut verdicts = vec![];
        for route in &self.routes {
            let verdict = self.verdict(route, event, &text, jq).await;
            verdicts.push(RouteVerdict { route: Arc::clone(&route.name), verdict });
        }
        verdicts
    }

    async fn verdict(&self, route: &Route, event: &Event, text: &str, jq: &JqPool) -> Verdict {
        if let Some(missed) = self.missed(route, event) {
            return missed;
        }
        match decide(route.condition.as_ref(), text, jq).await {
            Err(error) => return Verdict::Undecided(format!("where: {error}")),
            Ok(false) => {
                let program = route.condition.as_ref().map_or("", |program| program.text());
                return Verdict::Missed { why: format!("where: {} is not true", shorten(program)), at: route.span };
            }
            Ok(true) => {}
        }
        let mut sent = vec![];
        for target in &route.targets {
            sent.push(Sent { target: Arc::clone(target), messages: self.render(event, target, jq).await });
        }
        Verdict::Matched(sent)
    }

    /// Source, topic and filter.
    fn missed(&self, route: &Route, event: &Event) -> Option<Verdict> {
        let at = route.span;
        if route.from.is_empty() && *event.source == *OWN_SOURCE {
            return Some(Verdict::Missed { why: format!("from: none (only `from: {OWN_SOURCE}` takes what the daemon itself says)"), at });
        }
        if !route.from.is_empty() && !route.from.contains(&event.source) {
            return Some(Verdict::Missed { why: format!("from: {} (found {})", route.from.join(", "), event.source), at });
        }
        if !route.topics.is_empty() && !route.topics.iter().any(|glob| glob.matches(&event.topic)) {
            let globs: Vec<&str> = route.topics.iter().map(Glob::text).collect();
            return Some(Verdict::Missed { why: format!("topic: {} (found {})", globs.join(", "), shorten(&event.topic)), at });
        }
        let miss = route.filter.as_ref()?.miss(&Facts::new(event, &self.paths))?;
        let found = miss.found.map_or_else(|| "nothing there".to_owned(), |found| format!("found {found}"));
        Some(Verdict::Missed { why: format!("{} ({found})", miss.condition), at: miss.at })
    }
}
