//! `tests` of the file: read at their places, every mistake told.

use super::data::json;
use crate::model::{OWN_SOURCE, Timestamp};
use crate::route::OutputMessage;
use crate::route::facts::Paths;
use crate::route::filter::{Filter, written};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::problem::nearest;
use switchyard_api::tree::{self, Key, Node, Value};
use switchyard_api::{At, Period, Problem, Span};

/// Tests of a file; more are refused.
const TESTS_MAX: usize = 10_000;
/// Events of one test; more are refused.
const EVENTS_MAX: u64 = 1_000;
/// What is expected may name these besides the fields of its output.
const SHOWN: [&str; 3] = ["body", "json", DEAD];
/// What is said of a delivery that would be dead.
pub(super) const DEAD: &str = "dead";
/// How paths of what goes out begin for the filter.
pub(super) const ROOT: &str = "data.";
/// When a test is where it does not say.
const NOON: &str = "2026-01-05T12:00:00Z";

/// All tests of a file.
#[derive(Debug, Default)]
pub struct Tests {
    /// What is asked of what goes out, over all of them.
    pub(super) paths: Paths,
    pub(super) tests: Vec<Test>,
}

#[derive(Debug)]
pub(super) struct Test {
    pub name: String,
    pub at: Span,
    pub steps: Vec<Step>,
    pub expect: Vec<Expect>,
    /// Nothing at all may go out.
    pub nothing: bool,
}

/// One event.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub at: Timestamp,
    pub source: Arc<str>,
    /// `None`: as the source reads it.
    pub topic: Option<Arc<str>>,
    pub headers: Vec<(String, String)>,
    pub query: String,
    pub body: String,
}

/// One thing that is expected.
#[derive(Debug)]
pub(super) struct Expect {
    pub at: Span,
    pub written: String,
    pub output: Arc<str>,
    pub route: Option<String>,
    /// How many; `None`: at least one.
    pub count: Option<u64>,
    pub filter: Filter,
    /// Whether it is to be dead.
    pub dead: bool,
    /// Not before, and not after.
    pub after: Option<Duration>,
    pub within: Option<Duration>,
}

/// What the file has, for names that tests use.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'w> {
    /// Its sources.
    pub sources: &'w [(Arc<str>, Span)],
    /// Its outputs.
    pub outputs: &'w [OutputMessage],
}

/// The keys of a test. Those that hold any value are read by hand.
#[derive(Deserialize)]
struct Keys {
    name: At<String>,
    at: Option<At<String>>,
    source: Option<At<String>>,
    topic: Option<String>,
    #[serde(rename = "headers")]
    _headers: Option<IgnoredAny>,
    query: Option<String>,
    #[serde(rename = "data")]
    _data: Option<IgnoredAny>,
    body: Option<At<String>>,
    count: Option<At<u64>>,
    #[serde(rename = "events")]
    _events: Option<IgnoredAny>,
    #[serde(rename = "expect")]
    _expect: IgnoredAny,
}

/// The keys of a further event of a test; what is not there is as for the event before.
#[derive(Deserialize)]
struct EventKeys {
    after: Option<Period>,
    source: Option<At<String>>,
    topic: Option<String>,
    #[serde(rename = "headers")]
    _headers: Option<IgnoredAny>,
    query: Option<String>,
    #[serde(rename = "data")]
    _data: Option<IgnoredAny>,
    body: Option<At<String>>,
    count: Option<At<u64>>,
}

/// The keys of an expectation that are not fields of what goes out.
#[derive(Deserialize)]
struct ExpectKeys {
    output: At<String>,
    route: Option<String>,
    count: Option<u64>,
    after: Option<Period>,
    within: Option<Period>,
}

/// Of these.
const EXPECT: [&str; 5] = ["output", "route", "count", "after", "within"];

impl Tests {
    /// What a test may be; events and expectations are read by hand.
    pub fn shape() -> switchyard_api::shape::Shape {
        switchyard_api::shape::of::<Keys>()
    }

    /// The keys of a test.
    pub fn keys() -> &'static [&'static str] {
        tree::keys::<Keys>()
    }

    /// Reads the section; problems are pushed. What can be read is there all the same.
    pub fn read(section: &Node, wanted: Wanted<'_>, problems: &mut Vec<Problem>) -> Tests {
        let mut tests = Tests::default();
        match &section.value {
            Value::Null => {}
            Value::Map(entries) if entries.is_empty() => {}
            Value::List(items) if items.len() <= TESTS_MAX => items.iter().for_each(|item| tests.add(item, wanted, problems)),
            Value::List(_) => {
                problems
                    .push(Problem::error("bad-limit", section.span, format!("more than {TESTS_MAX} tests"), "here").help("split the file"));
            }
            _ => {
                let problem = Problem::error("wrong-type", section.span, format!("tests are a list, not {}", section.kind()), "here");
                problems.push(problem.help("begin each test with `- `, such as `- name: an order reaches the warehouse`"));
            }
        }
        tests
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.tests.len()
    }

    fn add(&mut self, node: &Node, wanted: Wanted<'_>, problems: &mut Vec<Problem>) {
        let Some(keys) = tree::read::<Keys>(node, problems) else { return };
        let before = problems.len();
        let at = keys.at.as_ref().and_then(|at| moment(at, problems)).or_else(|| NOON.parse().ok());
        let start = Timestamp(at.unwrap_or_default().as_millisecond());
        let Some(source) = keys.source.as_ref() else {
            let problem = Problem::error("missing-key", keys.name.span, "a test has no `source`", "of whose event?");
            return problems.push(problem.help("write the source that would send it, such as `source: orderchamp`"));
        };
        let source = known_source(source, wanted, problems);
        let mut step = Step {
            at: start,
            source,
            topic: keys.topic.as_deref().map(Into::into),
            headers: headers(node, problems),
            query: keys.query.unwrap_or_default(),
            body: String::new(),
        };
        step.take_body(node, keys.body.as_ref(), problems);
        let mut steps = vec![];
        repeat(&mut steps, &step, keys.count, problems);
        for event in node.get("events").map(Node::several).unwrap_or_default() {
            let Some(next) = step.next(event, wanted, problems) else { return };
            step = next.0;
            repeat(&mut steps, &step, next.1, problems);
        }
        let (mut expect, mut nothing) = (vec![], false);
        match node.get("expect").map(|expect| (&expect.value, expect)) {
            Some((Value::List(items), _)) => {
                nothing = items.is_empty();
                expect.extend(items.iter().filter_map(|item| self.expect(item, wanted, problems)));
            }
            Some((Value::Map(_), item)) => expect.extend(self.expect(item, wanted, problems)),
            Some((_, other)) => {
                let problem = Problem::error("wrong-type", other.span, format!("`expect` is a list, not {}", other.kind()), "here");
                problems.push(problem.help("write `expect: [ { output: NAME } ]`, or `expect: []` where nothing may go out"));
            }
            None => {}
        }
        if problems.len() == before {
            self.tests.push(Test { name: keys.name.value, at: keys.name.span, steps, expect, nothing });
        }
    }

    fn expect(&mut self, node: &Node, wanted: Wanted<'_>, problems: &mut Vec<Problem>) -> Option<Expect> {
        if let (Some(not), [_]) = (node.get("not"), node.entries()) {
            let mut expect = self.expect(not, wanted, problems)?;
            if expect.count.is_some() {
                let problem = Problem::error("wrong-value", not.span, "`not` and `count` both say how many", "here");
                problems.push(problem.help("take one of them out: `not` means none"));
            }
            expect.count = Some(0);
            return Some(Expect { at: node.span, written: written(node), ..expect });
        }
        if node.as_text().is_some() {
            let named: At<String> = tree::read(node, problems)?;
            return self
                .expect(&Node { span: node.span, value: Value::Map(vec![(key("output", node.span), node.clone())]) }, wanted, problems)
                .map(|expect| Expect { written: named.value, ..expect });
        }
        let Value::Map(entries) = &node.value else {
            let problem = Problem::error("wrong-type", node.span, format!("what is expected is an output, not {}", node.kind()), "here");
            problems.push(problem.help("write `{ output: NAME, text: { contains: \"…\" } }`"));
            return None;
        };
        let (plain, asked): (Vec<_>, Vec<_>) = entries.iter().cloned().partition(|(key, _)| EXPECT.contains(&key.name.as_str()));
        let keys: ExpectKeys = tree::read(&Node { span: node.span, value: Value::Map(plain) }, problems)?;
        let Some(output) = wanted.outputs.iter().find(|output| *output.name == *keys.output.value) else {
            let problem = Problem::error(
                "unknown-output",
                keys.output.span,
                format!("`{}` is not an output", keys.output.value),
                "no output has this name",
            );
            let near = nearest(&keys.output.value, wanted.outputs.iter().map(|output| &*output.name));
            problems.push(match near {
                Some(near) => problem.help(format!("did you mean `{near}`?")).patch(near),
                None => problem.help("name one of `outputs`"),
            });
            return None;
        };
        let filter =
            Node { span: node.span, value: Value::Map(asked.iter().filter_map(|(key, node)| asks(key, node, output, problems)).collect()) };
        Some(Expect {
            at: node.span,
            written: written(node),
            output: Arc::clone(&output.name),
            route: keys.route,
            count: keys.count,
            dead: asked.iter().any(|(key, _)| key.name == DEAD),
            filter: Filter::read(&filter, &mut self.paths, problems)?,
            after: keys.after.map(|after| after.0),
            within: keys.within.map(|within| within.0),
        })
    }
}

/// What is asked of a field, as a path of what goes out.
fn asks(key: &Key, node: &Node, output: &OutputMessage, problems: &mut Vec<Problem>) -> Option<(Key, Node)> {
    let first = key.name.split('.').next().unwrap_or_default();
    let known = || output.fields.iter().map(|field| &*field.name).chain(SHOWN);
    if known().any(|name| name == first) {
        return Some((Key { name: format!("{ROOT}{}", key.name), ..key.clone() }, node.clone()));
    }
    let title = format!("`{first}` is nothing that goes to `{}`", output.name);
    let problem = Problem::error("unknown-field", key.span, title, "not a field").also(output.span, "the output");
    problems.push(match nearest(first, known().chain(EXPECT).chain(["not"])) {
        Some(near) => problem.help(format!("did you mean `{near}`?")).patch(near),
        None => problem.help(format!("there are: {}", known().chain(EXPECT).collect::<Vec<_>>().join(", "))),
    });
    None
}

impl Step {
    /// The event of a test that follows this one, and how often.
    fn next(&self, node: &Node, wanted: Wanted<'_>, problems: &mut Vec<Problem>) -> Option<(Step, Option<At<u64>>)> {
        let keys: EventKeys = tree::read(node, problems)?;
        let mut next = self.clone();
        next.at = self.at + keys.after.map(|after| after.0).unwrap_or_default();
        if let Some(source) = &keys.source {
            next.source = known_source(source, wanted, problems);
        }
        if let Some(topic) = keys.topic {
            next.topic = Some(topic.into());
        }
        if node.get("headers").is_some() {
            next.headers = headers(node, problems);
        }
        next.query = keys.query.unwrap_or(next.query);
        next.take_body(node, keys.body.as_ref(), problems);
        Some((next, keys.count))
    }

    fn take_body(&mut self, node: &Node, body: Option<&At<String>>, problems: &mut Vec<Problem>) {
        if let (Some(data), Some(body)) = (node.get("data"), body) {
            let problem = Problem::error("wrong-value", body.span, "`data` and `body` both say what the event holds", "here")
                .also(data.span, "and here");
            problems.push(problem.help("keep `data` for JSON, or `body` for other text"));
        }
        if let Some(body) = body {
            self.body.clone_from(&body.value);
        } else if let Some(data) = node.get("data") {
            self.body.clear();
            json(data, &mut self.body);
        }
    }
}

fn repeat(steps: &mut Vec<Step>, step: &Step, count: Option<At<u64>>, problems: &mut Vec<Problem>) {
    let count = count.map_or(1, |count| {
        if count.value > EVENTS_MAX {
            let title = format!("a test of more than {EVENTS_MAX} events");
            problems.push(Problem::error("bad-limit", count.span, title, "too many").help("a few show the same"));
        }
        count.value.min(EVENTS_MAX)
    });
    steps.extend((0..count).map(|_| step.clone()));
}

fn known_source(written: &At<String>, wanted: Wanted<'_>, problems: &mut Vec<Problem>) -> Arc<str> {
    let names = || wanted.sources.iter().map(|(name, _)| &**name).chain([OWN_SOURCE]);
    let name: Arc<str> = written.value.as_str().into();
    if names().any(|known| *known == *name) {
        return name;
    }
    let problem = Problem::error("unknown-source", written.span, format!("`{}` is not a source", written.value), "no source has this name");
    problems.push(match nearest(&written.value, names()) {
        Some(near) => problem.help(format!("did you mean `{near}`?")).patch(near),
        None => problem.help(format!("there are: {}", names().collect::<Vec<_>>().join(", "))),
    });
    name
}

fn moment(written: &At<String>, problems: &mut Vec<Problem>) -> Option<jiff::Timestamp> {
    let moment = written.value.parse().ok();
    if moment.is_none() {
        let problem = Problem::error("wrong-value", written.span, format!("`{}` is not a moment", written.value), "here");
        problems.push(problem.help("write date, time and offset, such as `2026-03-02T10:00:00+01:00`"));
    }
    moment
}

fn headers(node: &Node, problems: &mut Vec<Problem>) -> Vec<(String, String)> {
    let Some(headers) = node.get("headers") else { return vec![] };
    if !matches!(headers.value, Value::Map(_)) {
        let problem =
            Problem::error("wrong-type", headers.span, format!("headers are names with a text each, not {}", headers.kind()), "here");
        problems.push(problem.help("write `headers: { X-Shop: \"7\" }`"));
    }
    let text = |(key, node): &(Key, Node)| match &node.value {
        Value::Int(number) => Some((key.name.to_ascii_lowercase(), number.to_string())),
        _ => Some((key.name.to_ascii_lowercase(), tree::read::<String>(node, problems)?)),
    };
    headers.entries().iter().filter_map(text).collect()
}

fn key(name: &str, span: Span) -> Key {
    Key { name: name.to_owned(), span }
}
