//! The message of a target: which templates its fields have. A route's stands over the output's, the output's over the kind's default;
//! in a field of names and texts (`headers`) each name by itself. What nobody sets is not in the message.

use super::fitting::{DoesNotFit, Fitting};
use super::template::{Context, Engine, Engines, Rules, Template, TemplateError};
use http::HeaderName;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::escape::Escape;
use switchyard_api::fit::Total;
use switchyard_api::http::auth::is_ours;
use switchyard_api::kind::{AnyConfig, Confine, Field, Shape, Written};
use switchyard_api::problem::{Severity, nearest};
use switchyard_api::tree::{self, Key, Node, Value};
use switchyard_api::{At, Problem, Rendered, Span};

/// What the routes need to know of an output: its name, and the fields of its messages.
#[derive(Debug, Clone)]
pub struct OutputMessage {
    /// Its name in the file.
    pub name: Arc<str>,
    /// Where it is defined.
    pub span: Span,
    /// The fields its kind has.
    pub fields: Vec<Field>,
    /// The fields that the output itself sets.
    pub message: Vec<(Key, Node)>,
    /// Its settings, which know whether the fields of a message fit each other; `None` where they are wrong themselves.
    pub config: Option<Arc<dyn AnyConfig>>,
    /// The limit that several fields share.
    pub total: Option<Total>,
    /// What its deliveries stand in line by.
    pub line: Option<Line>,
    /// The key by which its limit is counted.
    pub rate_key: Option<tree::Template>,
    /// The output that gets the events of its dead deliveries.
    pub on_dead: Option<At<String>>,
}

/// What an output's deliveries stand in line by: to go one at a time, or together.
#[derive(Debug, Clone)]
pub struct Line {
    /// The key, and where in the file it is written.
    pub by: By,
    /// Where they go together.
    pub digest: Option<Digested>,
}

/// Where a key comes from.
#[derive(Debug, Clone)]
pub enum By {
    /// A template, under this name.
    Template(&'static str, tree::Template),
    /// All have the same.
    All,
}

/// How deliveries go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digested {
    /// How long the first of a key waits for others; `None`: it goes at once.
    pub first: Option<Duration>,
    /// How many are shown in one message.
    pub max: usize,
}

/// A line, ready.
#[derive(Debug, Clone)]
pub(super) struct Lined {
    /// `None`: all have the same key.
    pub by: Option<Arc<Template>>,
    pub digest: Option<Digested>,
    /// The fields of a target that say who reads it and how loud it is: what differs in them never goes together.
    pub who: Vec<Arc<Template>>,
}

/// An address that an event chooses and that is no plain name.
const RECIPIENT: &str = "recipient";

/// Compiled templates by field. Shared between the routes of an output.
#[derive(Debug, Clone)]
pub struct Fields {
    built: BTreeMap<String, Built>,
    /// In the order of the output's fields.
    engines: Arc<[Arc<Engine>]>,
    fitting: Fitting,
}

#[derive(Debug, Clone)]
enum Built {
    Text(Arc<Template>),
    /// Nothing, where the event lacks a value.
    Optional(Arc<Template>),
    Map(BTreeMap<String, Arc<Template>>),
}

impl Fields {
    /// The output's own templates over the defaults of its kind.
    pub fn of_output(output: &OutputMessage, engines: &mut Engines, problems: &mut Vec<Problem>) -> Option<Fields> {
        let engines: Arc<[Arc<Engine>]> = output.fields.iter().map(|field| engines.with(Rules::of(field))).collect();
        let mut fields = Fields { built: BTreeMap::new(), engines, fitting: Fitting::of(output) };
        for (field, engine) in output.fields.iter().zip(&*Arc::clone(&fields.engines)) {
            let Some(default) = field.default.as_deref() else { continue };
            match engine.compile(default) {
                Ok(template) => drop(fields.built.insert(field.name.to_string(), Built::Text(Arc::new(template)))),
                // A fault of ours, not of the file; said like one, so that it is seen.
                Err(found) => {
                    problems.extend(found.into_iter().map(|p| Problem::error(p.id, output.span, p.why, "the default of a field")));
                }
            }
        }
        fields.set(output, &output.message, problems)
    }

    /// A route's templates over these.
    pub fn over(&self, output: &OutputMessage, at: Span, message: &[(Key, Node)], problems: &mut Vec<Problem>) -> Option<Fields> {
        let fields = self.clone().set(output, message, problems)?;
        let missing: Vec<&Field> =
            output.fields.iter().filter(|field| field.required && !fields.built.contains_key(&*field.name)).collect();
        for field in &missing {
            let title = format!("`{}` needs `{}`: {}", output.name, field.name, field.docs);
            let problem = Problem::error("missing-field", at, title, format!("no `{}` here", field.name));
            problems.push(problem.also(output.span, "and none at the output").help(format!("set `{}` at one of the two", field.name)));
        }
        if !missing.is_empty() {
            return None;
        }
        judge(output, message, problems).then_some(fields)
    }

    fn set(mut self, output: &OutputMessage, message: &[(Key, Node)], problems: &mut Vec<Problem>) -> Option<Fields> {
        let mut good = true;
        for (key, node) in message {
            let Some((field, engine)) = output.fields.iter().zip(&*self.engines).find(|(field, _)| field.name == key.name) else {
                problems.push(unknown_field(key, output));
                good = false;
                continue;
            };
            match (build(field, engine, node, problems), self.built.get_mut(&key.name)) {
                (None, _) => good = false,
                (Some(Built::Map(more)), Some(Built::Map(map))) => map.extend(more),
                (Some(built), _) => drop(self.built.insert(key.name.clone(), built)),
            }
        }
        good.then_some(self)
    }

    /// The texts that are the same for all events.
    pub fn fixed(&self) -> BTreeMap<String, String> {
        let fixed = |(name, built): (&String, &Built)| match built {
            Built::Text(template) | Built::Optional(template) => Some((name.clone(), template.fixed()?.to_owned())),
            Built::Map(_) => None,
        };
        self.built.iter().filter_map(fixed).collect()
    }

    /// The fields that say who reads a message and how loud it is, where events decide that.
    pub(super) fn who(&self, output: &OutputMessage) -> Vec<Arc<Template>> {
        let decides = output.fields.iter().filter(|field| field.confine == Confine::Name || field.name == RECIPIENT);
        let template = |field: &Field| match self.built.get(&*field.name)? {
            Built::Text(template) if template.fixed().is_none() => Some(Arc::clone(template)),
            _ => None,
        };
        decides.filter_map(template).collect()
    }

    /// Whether a field has a template.
    pub(super) fn sets(&self, name: &str) -> bool {
        self.built.contains_key(name)
    }

    /// Whether there is such a field, and it is a text that says what it likes.
    pub(super) fn takes_text(&self, name: &str) -> bool {
        self.fitting.is_free(name) && !matches!(self.built.get(name), Some(Built::Map(_)))
    }

    /// All fields that can be rendered for one event.
    ///
    /// # Errors
    /// One that can't be left out: without it the message would go to somebody else.
    pub(super) fn render_most(&self, context: &Context) -> Result<BTreeMap<String, Rendered>, (String, TemplateError)> {
        let mut all = BTreeMap::new();
        for (name, built) in &self.built {
            let one = Fields { built: [(name.clone(), built.clone())].into(), ..self.clone() };
            match one.render(context) {
                Ok(rendered) => all.extend(rendered),
                Err(failed) if !self.fitting.is_free(name) => return Err(failed),
                Err(_) => {}
            }
        }
        Ok(all)
    }

    /// Whether there is nothing to render.
    pub fn is_empty(&self) -> bool {
        self.built.is_empty()
    }

    /// All fields for one event.
    ///
    /// # Errors
    /// The field, and what is wrong with it.
    pub fn render(&self, context: &Context) -> Result<BTreeMap<String, Rendered>, (String, TemplateError)> {
        let mut rendered = BTreeMap::new();
        for (name, built) in &self.built {
            let field = match built {
                Built::Text(template) => template.render(context).map(Rendered::Text),
                Built::Optional(template) => match template.render(context) {
                    Err(TemplateError::Failed { undefined: true, .. }) => continue,
                    rendered => rendered.map(Rendered::Text),
                },
                Built::Map(map) => map
                    .iter()
                    .map(|(name, template)| Ok((name.clone(), template.render(context)?)))
                    .collect::<Result<_, _>>()
                    .map(Rendered::Map),
            };
            rendered.insert(name.clone(), field.map_err(|error| (name.clone(), error))?);
        }
        Ok(rendered)
    }
}

/// Whether the fields of a message fit each other. What the output's own fields have wrong is said once, not at each route.
fn judge(output: &OutputMessage, route: &[(Key, Node)], problems: &mut Vec<Problem>) -> bool {
    let Some(config) = &output.config else { return true };
    let found = config.judge(Written { output: &output.message, route });
    let good = found.iter().all(|problem| problem.severity != Severity::Error);
    for problem in found {
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    good
}

impl Fields {
    /// Rendered fields as messages that the far side takes: one, or several where a field is split; `link` is where the event can be looked at.
    ///
    /// # Errors
    /// A field is too long and may not be cut.
    pub fn fit(&self, rendered: BTreeMap<String, Rendered>, link: Option<&str>) -> Result<Vec<BTreeMap<String, Rendered>>, DoesNotFit> {
        self.fitting.fit(rendered, link)
    }

    /// Several texts of one field as one text that the far side takes, of `total`.
    pub fn list(&self, field: &str, items: &[String], total: usize) -> String {
        self.fitting.list(field, items, total)
    }

    /// How a field's values are escaped.
    pub fn escape(&self, field: &str) -> Escape {
        self.fitting.escape(field)
    }
}

fn build(field: &Field, engine: &Engine, node: &Node, problems: &mut Vec<Problem>) -> Option<Built> {
    match (field.shape, &node.value) {
        (Shape::Text, _) => template(field, engine, node, problems).map(Built::Text),
        (Shape::OptionalText, _) => template(field, engine, node, problems).map(Built::Optional),
        (Shape::Map, Value::Map(entries)) => {
            let before = problems.len();
            if field.escape == Escape::Header {
                problems.extend(entries.iter().filter_map(|(key, _)| wrong_header(key)));
            }
            let map: Vec<_> =
                entries.iter().map(|(key, node)| Some((key.name.clone(), template(field, engine, node, problems)?))).collect();
            map.into_iter().collect::<Option<_>>().filter(|_| problems.len() == before).map(Built::Map)
        }
        (Shape::Map, _) => {
            let title = format!("`{}` is names with a text each, not {}", field.name, node.kind());
            let problem = Problem::error("wrong-type", node.span, title, "here");
            problems.push(problem.help(format!("write `{}: {{ NAME: \"…\" }}`", field.name)));
            None
        }
    }
}

/// A name that no header has, or a header that the request or the daemon sets.
fn wrong_header(key: &Key) -> Option<Problem> {
    match HeaderName::try_from(key.name.as_str()) {
        Err(_) => Some(
            Problem::error("bad-header", key.span, "this is not a header's name", "cannot be a header")
                .help("write letters, digits and `-`, such as `X-Shop`"),
        ),
        Ok(name) if is_ours(&name) => Some(
            Problem::error("bad-header", key.span, format!("`{}` is set by the daemon", key.name), "not free")
                .help("take it away, or write another name"),
        ),
        Ok(_) => None,
    }
}

fn template(field: &Field, engine: &Engine, node: &Node, problems: &mut Vec<Problem>) -> Option<Arc<Template>> {
    let written: switchyard_api::Template = tree::read(node, problems)?;
    if field.confine == Confine::Constant
        && let Some(at) = ["{{", "{%", "{#"].iter().filter_map(|open| written.text.find(open)).min()
    {
        let title = format!("`{}` is sent as it stands: a value of an event must never become part of it", field.name);
        let problem = Problem::error("not-constant", written.span, title, "a template").within(at..end_of_template(&written.text, at));
        problems.push(problem.help(field.docs.to_string()));
        return None;
    }
    compile(&field.name, &field.docs, engine, &written, problems)
}

/// What an output's deliveries stand in line by; `Err`: it is wrong.
pub(super) fn line(output: &OutputMessage, problems: &mut Vec<Problem>) -> Result<Option<Lined>, ()> {
    let Some(Line { by, digest }) = &output.line else { return Ok(None) };
    let by = match by {
        By::Template(name, written) => key_template(name, Some(written), problems)?,
        By::All => None,
    };
    Ok(Some(Lined { by, digest: *digest, who: vec![] }))
}

/// The template of a key of an output, where it has one; `Err`: it is wrong.
pub fn key_template(name: &str, written: Option<&tree::Template>, problems: &mut Vec<Problem>) -> Result<Option<Arc<Template>>, ()> {
    let Some(written) = written else { return Ok(None) };
    let engine = Engine::new(Rules { escape: Escape::None, confine: Confine::Content });
    compile(name, "", &engine, written, problems).ok_or(()).map(Some)
}

fn compile(name: &str, docs: &str, engine: &Engine, written: &tree::Template, problems: &mut Vec<Problem>) -> Option<Arc<Template>> {
    let compiled = engine.compile(&written.text).map_err(|found| {
        // `${…}` was told where it was to be replaced.
        let told = |id: &str| problems.iter().any(|p| p.id == id && p.at == written.span);
        let found: Vec<_> = found.into_iter().filter(|p| p.id != "secret-in-template" || !told(p.id)).collect();
        for p in found {
            let title = format!("in the template of `{name}`: {}", p.why);
            // What can stand there the field itself says best.
            let help = p.help.map(|help| if p.id == "free-name" { format!("{help}; it is: {}", docs.trim_end_matches('.')) } else { help });
            problems.push(Problem { help, patch: p.patch, ..Problem::error(p.id, written.span, title, "here").within(p.within) });
        }
    });
    compiled.ok().map(Arc::new)
}

/// One past the template that begins there.
fn end_of_template(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    ["}}", "%}", "#}"].iter().filter_map(|close| rest.find(close)).min().map_or(text.len(), |end| at + end + 2)
}

fn unknown_field(key: &Key, output: &OutputMessage) -> Problem {
    let title = format!("`{}` is not a message field of `{}`", key.name, output.name);
    let problem = Problem::error("unknown-field", key.span, title, "not a field").also(output.span, "the output");
    let names = || output.fields.iter().map(|field| &*field.name);
    match nearest(&key.name, names()) {
        Some(near) => problem.help(format!("did you mean `{near}`?")).patch(near),
        None if output.fields.is_empty() => problem.help("its messages have no fields"),
        None => problem.help(format!("its fields are: {}", names().collect::<Vec<_>>().join(", "))),
    }
}
