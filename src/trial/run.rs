//! One test: its events on virtual time, what goes out and when, and what of the expected is missing.

use super::section::{DEAD, Expect, ROOT, Step, Test, Tests};
use crate::model::{Event, EventId, Headers, Kept, Message, OrderKey, Period, Plan, Rendered, Seq, Target, Timestamp};
use crate::route::facts::Facts;
use crate::route::filter::shorten;
use crate::route::{Along, DIGESTED, JqPool, RouteVerdict, Router, Verdict};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::Span;

/// Times a delivery is held again when its hours open: each route and output has one.
const HELD_MAX: usize = 16;

/// What the file says of when deliveries go, for who runs tests.
pub trait Schedule {
    /// When a delivery to a target may go, if not now.
    fn held_until(&self, target: &Target, now: Timestamp) -> Option<Timestamp>;
    /// How long after a digest of an output the next one goes.
    fn every(&self, output: &str) -> Duration;
    /// The topic that a source reads from an event.
    fn topic(&self, event: &Event) -> Arc<str>;
}

/// Something that goes out.
#[derive(Debug, Clone, PartialEq)]
pub struct Went {
    /// By which route to which output.
    pub target: Arc<Target>,
    /// How long after the test began.
    pub after: Duration,
    /// Its fields, and `body`; of one that would be dead `dead` alone.
    pub fields: Map<String, Value>,
    /// The body, where it is JSON: its text.
    pub json: Option<String>,
}

/// A test that ran.
#[derive(Debug)]
pub struct Ran {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub at: Span,
    /// Everything that went out, in its order.
    pub went: Vec<Went>,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a test ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All that was expected went out.
    Good,
    /// Not all.
    Failed(Vec<Missed>),
}

/// Something that was expected and did not go out so.
#[derive(Debug, PartialEq, Eq)]
pub struct Missed {
    /// Where it stands.
    pub at: Span,
    /// As written.
    pub expected: String,
    /// What there was instead: lines for people.
    pub found: Vec<String>,
}

/// Runs those whose name holds `only`.
pub async fn run(tests: &Tests, only: &str, router: &Router, jq: &JqPool, schedule: &(impl Schedule + Sync)) -> Vec<Ran> {
    let mut ran = vec![];
    for test in tests.tests.iter().filter(|test| test.name.contains(only)) {
        let mut stage = Stage {
            router,
            jq,
            schedule,
            start: test.steps.first().map_or(Timestamp(0), |step| step.at),
            lines: BTreeMap::new(),
            went: vec![],
        };
        let mut events = vec![];
        for (nth, step) in test.steps.iter().enumerate() {
            events.push(stage.play(step, nth as i64 + 1).await);
        }
        stage.finish(None).await;
        stage.went.sort_by_key(|went| went.after);
        let missed = missed(tests, test, &stage.went, &events, router, jq).await;
        let outcome = if missed.is_empty() { Outcome::Good } else { Outcome::Failed(missed) };
        ran.push(Ran { name: test.name.clone(), at: test.at, went: stage.went, outcome });
    }
    ran
}

/// Where a test plays.
struct Stage<'s, S> {
    router: &'s Router,
    jq: &'s JqPool,
    schedule: &'s S,
    start: Timestamp,
    /// Digests under way.
    lines: BTreeMap<(Arc<str>, OrderKey), Line>,
    went: Vec<Went>,
}

/// A digest's line: what is collected, and when that goes.
struct Line {
    collected: Vec<(Arc<Kept>, Arc<Target>)>,
    /// When the next message goes, or may go.
    next: Timestamp,
}

impl<S: Schedule + Sync> Stage<'_, S> {
    /// One event.
    async fn play(&mut self, step: &Step, seq: i64) -> Event {
        self.finish(Some(step.at)).await;
        let event = self.event(step, seq);
        let plan = self.router.plan(&event, self.jq).await;
        let kept = Arc::new(Kept { seq: Seq(seq), event: event.clone(), plan: plan.clone() });
        for (place, target) in plan.targets.iter().enumerate() {
            if let Some((_, why)) = plan.failed.iter().find(|(failed, _)| *failed == place) {
                self.dead(target, step.at, why);
            } else if let Some((key, wait)) = digest_of(&plan, place) {
                self.collect(&kept, target, key, wait, step.at).await;
            } else {
                let made = self.router.render(&kept.event, target, self.jq).await;
                let at = self.open(target, step.at);
                match made {
                    Ok(messages) => messages.iter().for_each(|message| self.goes(target, at, message, &kept.event)),
                    Err(why) => self.dead(target, step.at, &why.to_string()),
                }
            }
        }
        event
    }

    fn event(&self, step: &Step, seq: i64) -> Event {
        let mut headers = Headers::default();
        step.headers.iter().for_each(|(name, value)| headers.push(name, value.as_bytes()));
        let mut id = [0; 16];
        id[8..].copy_from_slice(&seq.to_be_bytes());
        let event = Event {
            id: EventId(id),
            source: Arc::clone(&step.source),
            topic: step.topic.clone().unwrap_or_default(),
            received_at: step.at,
            headers,
            query: step.query.as_str().into(),
            body: step.body.clone().into(),
            sender_id: None,
            signed_with: None,
        };
        if step.topic.is_some() { event } else { Event { topic: self.schedule.topic(&event), ..event } }
    }

    async fn collect(&mut self, kept: &Arc<Kept>, target: &Arc<Target>, key: OrderKey, wait: Duration, now: Timestamp) {
        let place = (Arc::clone(&target.output), key);
        let every = self.schedule.every(&target.output);
        let line = self.lines.entry(place.clone()).or_insert_with(|| Line { collected: vec![], next: now + wait });
        if line.collected.is_empty() {
            line.next = line.next.max(now + wait);
        }
        line.collected.push((Arc::clone(kept), Arc::clone(target)));
        if line.next <= now {
            let all = std::mem::take(&mut line.collected);
            line.next = now + every;
            self.send_together(all, now).await;
        }
    }

    /// Sends the digests whose time comes by then; `None`: all.
    async fn finish(&mut self, by: Option<Timestamp>) {
        loop {
            let due = |line: &Line| !line.collected.is_empty() && by.is_none_or(|by| line.next <= by);
            let first = self.lines.iter_mut().filter(|(_, line)| due(line)).min_by_key(|(_, line)| line.next);
            let Some(((output, _), line)) = first else { return };
            let (at, all) = (line.next, std::mem::take(&mut line.collected));
            line.next = at + self.schedule.every(output);
            self.send_together(all, at).await;
        }
    }

    async fn send_together(&mut self, all: Vec<(Arc<Kept>, Arc<Target>)>, now: Timestamp) {
        let Some(((kept, target), along)) = all.split_first() else { return };
        let most = self.router.shown_together(target).unwrap_or(usize::MAX).saturating_sub(1);
        let through = along.last().map_or(kept.seq, |(last, _)| last.seq);
        let first = along.get(..most.min(along.len())).unwrap_or_default();
        let made = self.router.digest(&kept.event, target, Along { first, count: along.len() as u64, through }, self.jq).await;
        let at = self.open(target, now);
        match made {
            Ok(message) => message.iter().for_each(|message| self.goes(target, at, message, &kept.event)),
            Err(why) => self.dead(target, now, &why.to_string()),
        }
    }

    /// When a delivery may go that is ready now.
    fn open(&self, target: &Target, mut now: Timestamp) -> Timestamp {
        for _ in 0..HELD_MAX {
            match self.schedule.held_until(target, now) {
                Some(until) if until > now => now = until,
                _ => break,
            }
        }
        now
    }

    fn goes(&mut self, target: &Arc<Target>, at: Timestamp, message: &Message, event: &Event) {
        let (fields, json) = shown(message, event);
        self.went.push(Went { target: Arc::clone(target), after: at.since(self.start), fields, json });
    }

    fn dead(&mut self, target: &Arc<Target>, at: Timestamp, why: &str) {
        let fields = [(DEAD.to_owned(), Value::from(why))].into_iter().collect();
        self.went.push(Went { target: Arc::clone(target), after: at.since(self.start), fields, json: None });
    }
}

/// The key and the first wait of a target that goes together with others.
fn digest_of(plan: &Plan, place: usize) -> Option<(OrderKey, Duration)> {
    let wait = plan.collected.iter().find_map(|(collected, wait)| (*collected == place).then_some(*wait))?;
    Some((plan.ordered.iter().find_map(|(ordered, key)| (*ordered == place).then_some(*key))?, wait))
}

/// What goes out, as a test asks for it: each field; `body`, what the far side gets where nothing else is said; and that as JSON.
fn shown(message: &Message, event: &Event) -> (Map<String, Value>, Option<String>) {
    let mut shown = Map::new();
    for (name, field) in &message.fields {
        let value = match field {
            Rendered::Text(text) => Value::from(text.as_str()),
            Rendered::Map(map) => map.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect(),
        };
        shown.insert(name.clone(), value);
    }
    let said = || message.payload.clone().unwrap_or_else(|| String::from_utf8_lossy(&event.body).into_owned());
    let body = shown.get("body").and_then(Value::as_str).map_or_else(said, str::to_owned);
    if shown.contains_key(DIGESTED) && !shown.contains_key("body") {
        // A chat gets its text, and nothing of the event itself.
        return (shown, None);
    }
    let json = serde_json::from_str::<serde::de::IgnoredAny>(&body).is_ok().then(|| body.clone());
    shown.insert("body".into(), body.into());
    (shown, json)
}

impl Went {
    /// As JSON, the body's numbers with their digits.
    fn text(&self) -> String {
        let fields = Value::Object(self.fields.clone()).to_string();
        match &self.json {
            Some(json) => format!("{},\"json\":{json}}}", fields.strip_suffix('}').unwrap_or(&fields)),
            None => fields,
        }
    }

    /// By which way and when, and what: on one line.
    pub fn line(&self) -> String {
        let after = if self.after.is_zero() { String::new() } else { format!(", after {}", Period(self.after)) };
        let text = |value: &Value| shorten(value.as_str().unwrap_or(&value.to_string()));
        let fields = self.fields.iter().map(|(name, value)| format!("{name}: {}", text(value)));
        format!("{}{after}: {}", self.target, fields.collect::<Vec<_>>().join(", "))
    }
}

/// What of a test's expectations is not met.
async fn missed(tests: &Tests, test: &Test, went: &[Went], events: &[Event], router: &Router, jq: &JqPool) -> Vec<Missed> {
    let mut missed = vec![];
    if test.nothing && !went.is_empty() {
        missed.push(Missed { at: test.at, expected: "nothing".into(), found: went.iter().map(Went::line).collect() });
    }
    for expect in &test.expect {
        let (mut good, mut found) = (0, vec![]);
        let there =
            |went: &&Went| went.target.output == expect.output && expect.route.as_deref().is_none_or(|route| route == &*went.target.route);
        for went in went.iter().filter(there) {
            match expect.differs(tests, went) {
                None => {
                    good += 1;
                    if expect.count.is_some() {
                        found.push(went.line());
                    }
                }
                Some(why) => found.push(format!("{}: {why}", went.target)),
            }
        }
        let met = expect.count.map_or(good > 0, |count| count == good);
        if met {
            continue;
        }
        if let Some(count) = expect.count {
            found.insert(0, format!("{good} of them, not {count}"));
        } else if found.is_empty() {
            found.push(format!("nothing goes to `{}`", expect.output));
            found.extend(why_not(expect, events, router, jq).await);
        }
        missed.push(Missed { at: expect.at, expected: expect.written.clone(), found });
    }
    missed
}

impl Expect {
    /// In what a delivery differs from what is expected.
    fn differs(&self, tests: &Tests, went: &Went) -> Option<String> {
        if let (false, Some(why)) = (self.dead, went.fields.get(DEAD)) {
            return Some(format!("would be dead: {}", why.as_str().unwrap_or_default()));
        }
        if let Some(after) = self.after.filter(|after| went.after < *after) {
            return Some(format!("goes after {}, not {} or later", Period(went.after), Period(after)));
        }
        if let Some(within) = self.within.filter(|within| went.after > *within) {
            return Some(format!("goes after {}, not within {}", Period(went.after), Period(within)));
        }
        let event = Event {
            id: EventId([0; 16]),
            source: "".into(),
            topic: "".into(),
            received_at: Timestamp(0),
            headers: Headers::default(),
            query: "".into(),
            body: went.text().into(),
            sender_id: None,
            signed_with: None,
        };
        let miss = self.filter.miss(&Facts::new(&event, &tests.paths))?;
        let found = miss.found.map_or_else(|| "nothing there".to_owned(), |found| format!("found {found}"));
        Some(format!("{} ({found})", miss.condition.replace(ROOT, "")))
    }
}

/// Why the routes to an output did not take the events: of each route, of the first event.
async fn why_not(expect: &Expect, events: &[Event], router: &Router, jq: &JqPool) -> Vec<String> {
    let mut told = vec![];
    let Some(event) = events.first() else { return told };
    let there: Vec<_> = router.targets().filter(|target| target.output == expect.output).map(|target| Arc::clone(&target.route)).collect();
    for RouteVerdict { route, verdict } in router.explain(event, jq).await {
        if let Verdict::Missed { why, .. } = verdict
            && there.contains(&route)
        {
            told.push(format!("route {route}: {why}"));
        }
    }
    told
}
