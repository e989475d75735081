//! Before the answer: which routes take an event, and so to which outputs it goes.
//!
//! Pure but for `where`, which asks the jq pool. Where no matching route has a `where`, nothing is allocated but the plan.
//! Holds L1: a `where` that fails is planned all the same, with the reason; nothing is lost because a program broke.

use super::facts::{Facts, Paths};
use super::filter::Filter;
use super::glob::{GLOB_HELP, Glob, GlobError};
use super::index::{Found, Index};
use super::jq::{JqError, JqPool, Program};
use super::message::{Digested, Fields, Lined, OutputMessage, line};
use super::on_dead::LastStop;
use super::pace::Pace;
use super::section::{RouteSection, ToSection};
use super::template::{Context, Engines, Template};
use crate::hours::Hours;
use crate::model::{ConfigVersion, Event, Message, OWN_SOURCE, OrderKey, OwnTopic, Plan, Target, envelope};
use foldhash::{HashMap, HashMapExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use switchyard_api::problem::nearest;
use switchyard_api::{At, Jq, Problem, Span};

/// All routes, ready.
#[derive(Debug)]
pub struct Router {
    pub(super) routes: Vec<Route>,
    pub(super) paths: Paths,
    index: Index,
    pub(super) renderings: HashMap<Arc<Target>, Rendering>,
    /// By target: where the events of its dead deliveries go, and what they stand in line by there.
    pub(super) on_dead: HashMap<Arc<Target>, LastStop>,
    /// The message of every target that changes nothing, made once.
    pub(super) plain: Arc<Message>,
    /// The admin side's public address.
    pub(super) link: Option<Arc<str>>,
    /// Of each output that has one: by what its limit is counted.
    pub(super) paces: BTreeMap<Arc<str>, Pace>,
    /// Written into every plan: the name of the configuration that the routes are of.
    pub(super) version: Option<ConfigVersion>,
}

#[derive(Debug)]
pub(super) struct Route {
    pub(super) name: Arc<str>,
    pub(super) span: Span,
    pub(super) from: Vec<Arc<str>>,
    pub(super) topics: Vec<Glob>,
    pub(super) filter: Option<Filter>,
    pub(super) condition: Option<Program>,
    pub(super) targets: Vec<Arc<Target>>,
    /// When its deliveries may go; `None`: always.
    hours: Option<Arc<Hours>>,
    /// Of which of them (by place) deliveries stand in line, and by what.
    pub(super) lines: Vec<(usize, Lined)>,
}

/// A route as people see it.
#[derive(Debug)]
pub struct ShownRoute<'r> {
    /// Its name.
    pub name: &'r str,
    /// Its sources; none: any.
    pub from: &'r [Arc<str>],
    /// Its topics; none: any.
    pub topics: Vec<&'r str>,
    /// Whether a filter or a `where` decides too.
    pub conditional: bool,
    /// Whether it has hours.
    pub timed: bool,
    /// Where it goes.
    pub targets: &'r [Arc<Target>],
}

/// How a target's message is made.
#[derive(Debug)]
pub(super) struct Rendering {
    pub(super) transform: Option<Program>,
    pub(super) fields: Fields,
    /// Where its deliveries go together with others.
    pub(super) digest: Option<Digested>,
}

impl Router {
    /// Compiles the routes. Every problem is pushed; `None` if any of them is an error.
    pub fn build(
        routes: &[RouteSection],
        sources: &[(Arc<str>, Span)],
        outputs: &[OutputMessage],
        problems: &mut Vec<Problem>,
    ) -> Option<Router> {
        let mut engines = Engines::default();
        let own: Vec<Option<Fields>> = outputs.iter().map(|output| Fields::of_output(output, &mut engines, problems)).collect();
        let lines: Vec<_> = outputs.iter().map(|output| line(output, problems)).collect();
        let paces = super::pace::read(outputs, problems);
        let (paths, names, renderings) = (Paths::default(), HashMap::new(), HashMap::new());
        let mut builder = Builder { sources, outputs, own: &own, lines: &lines, paths, names, renderings, problems };
        let built: Vec<Option<Route>> = routes.iter().enumerate().map(|(i, route)| builder.route(i, route)).collect();
        let routes: Option<Vec<Route>> = built.into_iter().collect();
        let on_dead = builder.on_dead(routes.as_deref().unwrap_or_default());
        let (Builder { paths, renderings, .. }, routes, on_dead) = (builder, routes?, on_dead?);
        if own.iter().any(Option::is_none) || lines.iter().any(Result::is_err) {
            return None;
        }
        let mut index = Index::default();
        for (i, route) in routes.iter().enumerate() {
            index.add(i as u32, &route.from, &route.topics);
        }
        Some(Router { routes, paths, index, renderings, on_dead, plain: Arc::default(), link: None, paces: paces?, version: None })
    }

    /// Where people reach the admin side: a text that was cut links to its event there.
    #[must_use]
    pub fn linking_to(self, admin: Option<&str>) -> Self {
        Router { link: admin.map(Into::into), ..self }
    }

    /// Of which configuration these are the routes; every plan says so.
    #[must_use]
    pub fn of_version(self, version: ConfigVersion) -> Self {
        Router { version: Some(version), ..self }
    }

    /// A plan without targets, under this configuration.
    pub fn empty_plan(&self) -> Plan {
        Plan { versions: self.version.iter().map(|version| (0, *version)).collect(), ..Plan::default() }
    }

    /// Where the event goes.
    pub async fn plan(&self, event: &Event, jq: &JqPool) -> Plan {
        let matched = self.matched(event);
        let routes = || matched.routes().iter().map(|i| &self.routes[*i as usize]);
        let mut plan = Plan { targets: Vec::with_capacity(routes().map(|route| route.targets.len()).sum()), ..self.empty_plan() };
        if routes().all(|route| route.condition.is_none()) {
            let mut context = None;
            routes().for_each(|route| route.take(event, &mut context, &mut plan));
            return plan;
        }
        let text = envelope::envelope_text(event);
        let decisions = futures_util::future::join_all(routes().map(|route| decide(route.condition.as_ref(), &text, jq))).await;
        let mut context = None;
        for (route, decision) in routes().zip(decisions) {
            match decision {
                Ok(true) => route.take(event, &mut context, &mut plan),
                Ok(false) => {}
                Err(error) => {
                    plan.failed.extend((0..route.targets.len()).map(|i| (plan.targets.len() + i, format!("where: {error}"))));
                    plan.targets.extend(route.targets.iter().cloned());
                }
            }
        }
        plan
    }

    /// The routes whose source, topic and filter take the event.
    fn matched(&self, event: &Event) -> Found {
        let facts = Facts::new(event, &self.paths);
        let mut found = self.index.find(&event.source, &event.topic);
        found.retain(|i| self.routes[i as usize].filter.as_ref().is_none_or(|filter| filter.holds(&facts)));
        found
    }

    /// The names of the routes, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.routes.iter().map(|route| &route.name)
    }

    /// The routes whose deliveries may not go at any time, each with when they may.
    pub fn hours(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Hours>)> {
        self.routes.iter().filter_map(|route| Some((&route.name, route.hours.as_ref()?)))
    }

    /// What of the messages to an output is the same for all events: each target's texts, each set of them once.
    pub fn fixed(&self, output: &str) -> BTreeSet<BTreeMap<String, String>> {
        self.renderings.iter().filter(|(target, _)| *target.output == *output).map(|(_, rendering)| rendering.fields.fixed()).collect()
    }

    /// What each route takes and where it goes, for people; in the order of the file.
    pub fn shown(&self) -> impl Iterator<Item = ShownRoute<'_>> {
        self.routes.iter().map(|route| ShownRoute {
            name: &route.name,
            from: &route.from,
            topics: route.topics.iter().map(Glob::text).collect(),
            conditional: route.filter.is_some() || route.condition.is_some(),
            timed: route.hours.is_some(),
            targets: &route.targets,
        })
    }

    /// All targets: those of the routes, in the order of the file, and those that get what is dead.
    pub fn targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.routes.iter().flat_map(|route| &route.targets).chain(self.on_dead.values().map(|stop| &stop.target))
    }
}

impl Route {
    /// Plans its targets. `context` is made for the first of an event's keys.
    fn take(&self, event: &Event, context: &mut Option<Context>, plan: &mut Plan) {
        for (place, line) in &self.lines {
            // Without a key it need not wait for anybody.
            let Some(key) = self.key(*place, line, event, context) else { continue };
            let place = plan.targets.len() + place;
            plan.ordered.push((place, OrderKey::of(&key)));
            plan.collected.extend(line.digest.map(|digest| (place, digest.first.unwrap_or_default())));
        }
        plan.targets.extend(self.targets.iter().cloned());
    }

    /// What an event's delivery stands in line by; `None`: nothing. `context` is made where a template asks for it.
    pub(super) fn key(&self, place: usize, line: &Lined, event: &Event, context: &mut Option<Context>) -> Option<String> {
        let mut text = |template: &Template| template.render(context.get_or_insert_with(|| Context::new(event, None))).ok();
        let key = match &line.by {
            Some(by) => text(by).filter(|key| !key.is_empty())?,
            None => String::new(),
        };
        if line.digest.is_none() {
            return Some(key);
        }
        // One message has one shape and one reader.
        let target = &self.targets[place];
        let mut key = [&key, "\0", &target.route, "\0", &target.output].concat();
        for field in &line.who {
            key.push('\0');
            key.push_str(&text(field)?);
        }
        Some(key)
    }
}

/// Whether a `where` takes the event: its first result is neither `false` nor `null`.
pub(super) async fn decide(condition: Option<&Program>, text: &str, jq: &JqPool) -> Result<bool, JqError> {
    let Some(program) = condition else { return Ok(true) };
    let results = jq.run(program, text).await?;
    Ok(results.first().is_some_and(|first| first != "false" && first != "null"))
}

pub(super) struct Builder<'a> {
    sources: &'a [(Arc<str>, Span)],
    pub outputs: &'a [OutputMessage],
    /// By output.
    pub own: &'a [Option<Fields>],
    /// By output: what its deliveries stand in line by.
    pub lines: &'a [Result<Option<Lined>, ()>],
    paths: Paths,
    names: HashMap<Arc<str>, Span>,
    pub renderings: HashMap<Arc<Target>, Rendering>,
    pub problems: &'a mut Vec<Problem>,
}

impl Builder<'_> {
    /// All parts are built before the first failure counts, so that all problems are told.
    fn route(&mut self, i: usize, section: &RouteSection) -> Option<Route> {
        let name = self.name(i, section);
        let from: Vec<Option<Arc<str>>> = section.from.iter().map(|source| self.source(source)).collect();
        let topics: Vec<Option<Glob>> = section.topic.iter().map(|topic| self.topic(topic)).collect();
        self.own_topics(&section.from, &section.topic);
        let filter = section.filter.as_ref().map(|filter| Filter::read(filter, &mut self.paths, self.problems));
        let condition = section.condition.as_ref().map(|jq| self.program("where", jq));
        let transform = section.transform.as_ref().map(|jq| self.program("transform", jq));
        let hours = section.hours.as_ref().map(|hours| Hours::read(hours, self.problems));
        let named = name.clone().unwrap_or_default();
        let targets: Vec<_> = section.to.iter().map(|to| self.target(&named, to)).collect();
        self.output_twice(section)?;
        let (transform, mut reached, mut lines) = (transform.map_or(Some(None), |t| t.map(Some))?, vec![], vec![]);
        for target in targets {
            let (target, fields, line) = target?;
            let digest = line.as_ref().and_then(|line| line.digest);
            lines.extend(line.map(|line| (reached.len(), line)));
            self.renderings.insert(Arc::clone(&target), Rendering { transform: transform.clone(), fields, digest });
            reached.push(target);
        }
        Some(Route {
            name: name?,
            span: section.span,
            from: from.into_iter().collect::<Option<_>>()?,
            topics: topics.into_iter().collect::<Option<_>>()?,
            filter: filter.map_or(Some(None), |f| f.map(Some))?,
            condition: condition.map_or(Some(None), |c| c.map(Some))?,
            hours: hours.map_or(Some(None), |hours| hours.map(|hours| Some(Arc::new(hours))))?,
            lines,
            targets: reached,
        })
    }

    fn name(&mut self, i: usize, section: &RouteSection) -> Option<Arc<str>> {
        let (name, at): (Arc<str>, Span) = match &section.name {
            Some(name) => (name.value.as_str().into(), name.span),
            None => (format!("route-{}", i + 1).into(), section.span),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            let problem = Problem::error("wrong-name", at, "not a name for a route", "here");
            self.problems.push(problem.help("letters, digits, `-`, `_` and `.`, at most 64"));
            return None;
        }
        if let Some(first) = self.names.insert(Arc::clone(&name), at) {
            let problem =
                Problem::error("duplicate-name", at, format!("two routes are named `{name}`"), "again here").also(first, "first here");
            self.problems.push(problem.help("deliveries are known by the name of their route: give one of them another"));
            return None;
        }
        Some(name)
    }

    fn source(&mut self, written: &At<String>) -> Option<Arc<str>> {
        if written.value == OWN_SOURCE {
            return Some(OWN_SOURCE.into());
        }
        if let Some((name, _)) = self.sources.iter().find(|(name, _)| **name == *written.value) {
            return Some(Arc::clone(name));
        }
        let problem =
            Problem::error("unknown-source", written.span, format!("`{}` is not a source", written.value), "no source has this name");
        let names: Vec<(&str, Span)> = self.sources.iter().map(|(name, span)| (&**name, *span)).collect();
        self.problems.push(match nearest(&written.value, names.iter().map(|(name, _)| *name).chain([OWN_SOURCE])) {
            _ if ["*", "any", "all"].contains(&written.value.as_str()) => problem.help("leave `from` out to take from every source"),
            Some(OWN_SOURCE) => problem.help(format!("did you mean `{OWN_SOURCE}`, the daemon's own events?")).patch(OWN_SOURCE),
            _ => near_miss(problem, &written.value, &names),
        });
        None
    }

    /// The topics of the built-in source are known: a glob that none of them matches would wait in vain.
    fn own_topics(&mut self, from: &[At<String>], topics: &[At<String>]) {
        if from.is_empty() || from.iter().any(|source| source.value != OWN_SOURCE) {
            return;
        }
        let words: Vec<&str> = OwnTopic::ALL.iter().map(|topic| topic.word()).collect();
        for written in topics {
            let Ok(glob) = Glob::parse(&written.value) else { continue };
            if words.iter().any(|word| glob.matches(word)) {
                continue;
            }
            let title = format!("`{}` is no topic of `{OWN_SOURCE}`", written.value);
            let problem = Problem::warning("unknown-topic", written.span, title, "the daemon says nothing of this");
            self.problems.push(match nearest(&written.value, words.iter().copied()) {
                Some(word) => problem.help(format!("did you mean `{word}`?")).patch(word),
                None => problem.help(format!("there are: {}", words.join(", "))),
            });
        }
    }

    fn topic(&mut self, written: &At<String>) -> Option<Glob> {
        let wrong = |e: GlobError| Problem::error("wrong-glob", written.span, "not a topic", e.why).within(e.within).help(GLOB_HELP);
        if let Some((label, help, list)) = like_another_form(&written.value) {
            let title = format!("this is the one topic `{}`", written.value);
            let problem = Problem::warning("odd-value", written.span, title, label).help(help);
            self.problems.push(Problem { patch: list, ..problem });
        } else if let Some((within, help)) = like_a_regex(&written.value) {
            let problem = Problem::warning(
                "regex-as-topic",
                written.span,
                "this topic looks like a regular expression",
                "a glob takes this as it is",
            );
            self.problems.push(problem.within(within).help(help));
        }
        Glob::parse(&written.value).map_err(|error| self.problems.push(wrong(error))).ok()
    }

    fn program(&mut self, key: &str, written: &Jq) -> Option<Program> {
        let checked = Program::check(&written.text).map_err(|found| {
            self.problems.extend(found.into_iter().map(|p| {
                let title = format!("`{key}` is not a jq program that can run");
                Problem { patch: p.patch, ..Problem::error("wrong-jq", written.span, title, p.why).within(p.within).help(p.help) }
            }));
        });
        if let Ok(program) = &checked {
            let warn = |title: String, within, label: &str, help: String| {
                Problem::warning("odd-value", written.span, title, label).within(within).help(help)
            };
            self.problems
                .extend(program.odd().iter().map(|p| warn(p.why.clone(), p.within.clone(), "no part of an event", p.help.clone())));
            if let Some(within) = program.sets().filter(|_| key == "where") {
                let help = "to compare write `==`".to_owned();
                self.problems.push(warn("this sets a value, and is true for every event".into(), within, "sets", help));
            }
        }
        checked.ok()
    }

    fn target(&mut self, route: &Arc<str>, to: &ToSection) -> Option<(Arc<Target>, Fields, Option<Lined>)> {
        let Some(at) = self.outputs.iter().position(|output| *output.name == *to.output.value) else {
            let title = format!("route `{route}` sends to `{}`, which is not an output", to.output.value);
            let problem = Problem::error("unknown-output", to.output.span, title, "no output has this name");
            let names: Vec<(&str, Span)> = self.outputs.iter().map(|output| (&*output.name, output.span)).collect();
            self.problems.push(near_miss(problem, &to.output.value, &names));
            return None;
        };
        let output = &self.outputs[at];
        let fields = self.own[at].as_ref()?.over(output, to.output.span, &to.message, self.problems)?;
        let line = self.lines[at].clone().ok().flatten();
        let line = line.map(|line| Lined { who: line.digest.map(|_| fields.who(output)).unwrap_or_default(), ..line });
        Some((Arc::new(Target { route: Arc::clone(route), output: Arc::clone(&output.name) }), fields, line))
    }

    fn output_twice(&mut self, section: &RouteSection) -> Option<()> {
        for (i, to) in section.to.iter().enumerate() {
            if let Some(first) = section.to[..i].iter().find(|other| other.output.value == to.output.value) {
                let title = format!("a route sends to `{}` twice", to.output.value);
                let problem = Problem::error("duplicate-output", to.output.span, title, "again here").also(first.output.span, "first here");
                self.problems.push(problem.help("a delivery is known by route and output: use a second route"));
                return None;
            }
        }
        Some(())
    }
}

/// A topic that looks like several, or like all but one: why it is not, what to write, and that alone.
fn like_another_form(topic: &str) -> Option<(&'static str, String, Option<String>)> {
    if topic.contains(',') && !topic.contains('{') {
        let several = format!("[{}]", topic.split(',').map(str::trim).collect::<Vec<_>>().join(", "));
        return Some(("the comma is part of it", format!("several topics are a list: `{several}`"), Some(several)));
    }
    let other = topic.strip_prefix('!').map(str::trim)?;
    let help = format!("to take every other topic leave `topic` out and write `filter: {{ topic: {{ not: {other} }} }}`");
    Some(("the `!` is part of it", help, None))
}

/// What of a topic means something in a regular expression and nothing in a glob, and what to write.
fn like_a_regex(topic: &str) -> Option<(std::ops::Range<usize>, String)> {
    if let Some(at) = topic.find('|') {
        let several = topic.split('|').map(str::trim).collect::<Vec<_>>().join(", ");
        return Some((at..at + 1, format!("several topics are a list: `[{several}]`")));
    }
    let signs = ["_.*", "-.*", ".+", "\\", "^", "$"];
    let (at, sign) = signs.iter().filter_map(|sign| Some((topic.find(sign)?, sign))).min()?;
    let glob = topic
        .trim_matches(['/', '^', '$', '~', '=', ' '])
        .replace("\\.", "\0")
        .replace(".*", "*")
        .replace(".+", "*")
        .replace('\\', "")
        .replace('\0', ".");
    Some((at..at + sign.len(), format!("a topic is a glob, in which `*` alone is any text: write `{glob}`")))
}

pub(super) fn near_miss(problem: Problem, word: &str, all: &[(&str, Span)]) -> Problem {
    let names = || all.iter().map(|(name, _)| *name);
    if word.contains(',') {
        let list = format!("[{}]", word.split(',').map(str::trim).collect::<Vec<_>>().join(", "));
        return problem.help(format!("several are a list: `{list}`")).patch(list);
    }
    let near = nearest(word, names()).and_then(|near| all.iter().find(|(name, _)| *name == near));
    match near {
        Some((near, span)) => problem.help(format!("did you mean `{near}`?")).patch(*near).also(*span, format!("`{near}` is defined here")),
        None if all.is_empty() => problem.help("the file defines none"),
        None => problem.help(format!("there are: {}", names().collect::<Vec<_>>().join(", "))),
    }
}
