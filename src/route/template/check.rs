//! What `check` says about a template, each with its place in the text: syntax, names that no event has, filters, tests,
//! functions and methods that do not exist, `${…}`.

use super::{DEAD, ONLY, Rules, TEMPLATE_MAX};
use crate::route::facts::ROOTS;
use minijinja::machinery::{Instruction, get_compiled_template};
use minijinja::{Environment, Error, ErrorKind};
use std::ops::Range;
use switchyard_api::kind::Confine;
use switchyard_api::problem::nearest;

/// What is wrong with a template, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateProblem {
    /// Stable name of the rule.
    pub id: &'static str,
    /// Bytes of the template.
    pub within: Range<usize>,
    /// One line.
    pub why: String,
    /// What to do.
    pub help: Option<String>,
    /// What to write in its place.
    pub patch: Option<String>,
}

const FILTERS: [&str; 41] = [
    "abs",
    "attr",
    "batch",
    "bool",
    "cap",
    "capitalize",
    "chain",
    "count",
    "default",
    "dictsort",
    "first",
    "fit_list",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "raw",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "title",
    "tojson",
    "trim",
];
const MORE_FILTERS: [&str; 6] = ["string", "sum", "unique", "upper", "zip", "d"];
const TESTS: [&str; 14] = [
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "even",
    "in",
    "mapping",
    "none",
    "number",
    "odd",
    "sequence",
    "startingwith",
    "string",
    "undefined",
];
const FUNCTIONS: [&str; 2] = ["dict", "range"];
/// Methods of the engine's own `loop`.
const METHODS: [&str; 2] = ["cycle", "changed"];

/// Problems that are seen without the engine.
pub fn before(text: &str) -> Vec<TemplateProblem> {
    if text.len() > TEMPLATE_MAX {
        return vec![TemplateProblem::new("wrong-template", TEMPLATE_MAX..text.len(), format!("longer than {} KiB", TEMPLATE_MAX >> 10))];
    }
    let Some(at) = text.find("${") else { return vec![] };
    let end = text[at..].find('}').map_or(text.len(), |end| at + end + 1);
    let why = "`${…}` is not replaced in a template: a secret would end up in a message".to_owned();
    let help = if text[at..].starts_with("${{") {
        "a value of the event has no `$` in front: write `{{ data.x }}`; for the sign itself `{{ '$' }}`"
    } else {
        "for these characters themselves write `{{ '$' }}{`"
    };
    vec![TemplateProblem::new("secret-in-template", at..end, why).help(help.into())]
}

/// An error of syntax.
pub fn syntax(error: &Error, text: &str) -> TemplateProblem {
    let why = error.detail().unwrap_or("not a template").to_owned();
    let range = error.range().filter(|range| range.end <= text.len() && range.start < range.end);
    let range = range.unwrap_or_else(|| line(text, error.line().unwrap_or(1)));
    // The engine counts bytes, and takes one for a character.
    let range = text.floor_char_boundary(range.start)..text.ceil_char_boundary(range.end);
    let help = foreign(text, range.start);
    TemplateProblem::new("wrong-template", range, why).help(help.into())
}

/// The bytes of a line, from 1.
fn line(text: &str, number: usize) -> Range<usize> {
    let start = text.split_inclusive('\n').take(number.saturating_sub(1)).map(str::len).sum();
    let length = text.get(start..).unwrap_or_default().lines().next().unwrap_or_default().len();
    start..start + length
}

/// What compiles and would fail at render.
pub fn names(engine: &Environment<'static>, text: &str, rules: Rules) -> Vec<TemplateProblem> {
    let Ok(template) = engine.get_template(ONLY) else { return vec![] };
    let unknown = template.undeclared_variables(false);
    let instructions = &get_compiled_template(&template).instructions;
    let mut problems = vec![];
    if rules.confine == Confine::Name && !matches!(instructions.get(0), Some(Instruction::EmitRaw(_))) {
        let start = 0..text.find("}}").map_or(text.len(), |end| end + 2);
        let why = "a template for a name starts with a literal, so that an event cannot choose freely".to_owned();
        problems.push(TemplateProblem::new("free-name", start, why).help("begin with what never changes, and then the value".into()));
    }
    let (mut filters, mut tests) = (engine.empty_state(), engine.empty_state());
    for (at, instruction) in (0..).map_while(|i| instructions.get(i).map(|instruction| (i, instruction))) {
        let found = match instruction {
            Instruction::ApplyFilter(name, ..) => {
                let known = filters.apply_filter(name, &[]).err().is_none_or(|e| e.kind() != ErrorKind::UnknownFilter);
                (!known).then(|| unknown_filter(name, rules))
            }
            Instruction::PerformTest(name, ..) => {
                let known = tests.perform_test(name, &[]).err().is_none_or(|e| e.kind() != ErrorKind::UnknownTest);
                (!known).then(|| (*name, "test", nearest(name, TESTS), format!("tests: {}", TESTS.join(", "))))
            }
            Instruction::CallMethod(name, _) if !METHODS.contains(name) => {
                let filter = nearest(name, FILTERS.into_iter().chain(MORE_FILTERS));
                Some((
                    *name,
                    "method",
                    None,
                    filter.map_or_else(|| "values have no methods; use a filter".into(), |f| format!("write it as a filter: `|{f}`")),
                ))
            }
            Instruction::CallFunction(name, _) if unknown.contains(*name) && !FUNCTIONS.contains(name) => {
                Some((*name, "function", nearest(name, FUNCTIONS), format!("functions: {}", FUNCTIONS.join(", "))))
            }
            Instruction::Lookup(name) if unknown.contains(*name) && !ROOTS.contains(name) && *name != DEAD && !FUNCTIONS.contains(name) => {
                match header_with_dash(text, name) {
                    Some(help) => Some((*name, "name", None, help)),
                    None => Some((*name, "name", nearest(name, ROOTS), unknown_name(name))),
                }
            }
            _ => None,
        };
        if let Some((name, what, near, list)) = found {
            let span = instructions.get_span(at).map(|span| span.start_offset as usize..span.end_offset as usize);
            let around = span.unwrap_or_else(|| line(text, instructions.get_line(at).unwrap_or(1)));
            let problem = TemplateProblem::new(rule(what), narrow(text, around, name), format!("unknown {what} `{name}`"));
            problems.push(match near {
                Some(near) => TemplateProblem { patch: Some(near.to_owned()), ..problem.help(format!("did you mean `{near}`?")) },
                None => problem.help(list),
            });
        }
    }
    problems
}

/// The values of an event that a template looks at, as paths, each with its place in the text.
pub fn reads(engine: &Environment<'static>, text: &str) -> Vec<(Range<usize>, String)> {
    let Ok(template) = engine.get_template(ONLY) else { return vec![] };
    let of_event = template.undeclared_variables(false);
    let instructions = &get_compiled_template(&template).instructions;
    let mut found: Vec<(Range<usize>, String)> = vec![];
    let mut at = 0;
    while let Some(instruction) = instructions.get(at) {
        at += 1;
        let Instruction::Lookup(name) = instruction else { continue };
        if !of_event.contains(*name) || !ROOTS.contains(name) {
            continue;
        }
        let place = |at: u32| instructions.get_span(at).map(|span| span.start_offset as usize..span.end_offset as usize);
        let around = place(at - 1).unwrap_or(0..text.len());
        // Before a filter the engine points to the filter.
        let start = match text.get(around.clone()) {
            Some(piece) if !piece.starts_with(name) => text.get(..around.end).and_then(|before| before.rfind(name)).unwrap_or(around.start),
            _ => around.start,
        };
        let (mut within, mut path) = (start..start + name.len(), (*name).to_owned());
        loop {
            let (name, steps) = match (instructions.get(at), instructions.get(at + 1)) {
                (Some(Instruction::GetAttr(name)), _) => ((*name).to_owned(), 1),
                (Some(Instruction::LoadConst(name)), Some(Instruction::GetItem)) if name.as_str().is_some() => {
                    (name.as_str().unwrap_or_default().to_owned(), 2)
                }
                _ => break,
            };
            path.extend([".", &name]);
            at += steps;
            within.end = place(at - 1).map_or(within.end, |last| last.end.max(within.end));
        }
        found.push((within, path));
    }
    found
}

/// `headers.X-Shop` is a subtraction: how such a header is written.
fn header_with_dash(text: &str, name: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    text.match_indices("headers.").find_map(|(at, root)| {
        let written = text[at + root.len()..].split(|c| !plain(c)).next()?;
        let whole = written.split('-').skip(1).any(|part| part == name);
        whole.then(|| format!("a header with `-` in its name is written `headers['{}']`, in lower case", written.to_ascii_lowercase()))
    })
}

/// What to do about a name that no event has.
fn unknown_name(name: &str) -> String {
    match name {
        "env" | "secrets" | "vars" | "config" => {
            "secrets and the environment are never reachable from templates; use them in settings of the output, such as `auth`".into()
        }
        "event" | "payload" | "body" | "json" | "message" => {
            format!("the body is `data`: write `data.x` for `{name}.x`; an event has: {}", ROOTS.join(", "))
        }
        _ => format!("what the sender wrote stands under `data`: `data.{name}`; an event has: {}", ROOTS.join(", ")),
    }
}

/// What to do about a sign that other template languages have.
fn foreign(text: &str, at: usize) -> &'static str {
    let (before, here) = (text.get(..at).unwrap_or_default(), text.get(at..).unwrap_or_default());
    match here.as_bytes().first() {
        Some(b'.') if before.trim_end().ends_with("{{") => "a value has no dot in front: write `{{ data.x }}`",
        Some(b'$') => "a value has no `$` in front: write `{{ data.x }}`",
        Some(b'&' | b'!') => "write `and`, `or` and `not`",
        Some(b'|') if here.starts_with("||") || before.ends_with('|') => {
            "write `and`, `or` and `not`; another value for none is `{{ data.x|default('none') }}`"
        }
        Some(b'?') => "write `{{ 'yes' if data.x else 'no' }}`",
        Some(b'#' | b'/') if before.ends_with("{{") => {
            "write `{% if data.x %}…{% endif %}`, or `{% for item in data.items %}…{% endfor %}`"
        }
        Some(b':') => "what a filter takes stands in brackets: `{{ data.x|default('none') }}`",
        _ => "write a value as `{{ data.x }}`, a condition as `{% if data.x %}…{% endif %}`",
    }
}

fn unknown_filter(name: &str, rules: Rules) -> (&str, &'static str, Option<&'static str>, String) {
    match name {
        "raw" if rules.confine == Confine::Name => {
            (name, "filter", None, "this field is a name: a value in it is a plain name, or the delivery is refused".into())
        }
        "safe" => (name, "filter", Some("raw"), String::new()),
        "uppercase" | "upcase" | "toUpperCase" => (name, "filter", Some("upper"), String::new()),
        "lowercase" | "downcase" | "toLowerCase" => (name, "filter", Some("lower"), String::new()),
        "json" | "to_json" | "json_encode" | "toJson" => (name, "filter", Some("tojson"), String::new()),
        "size" | "len" => (name, "filter", Some("length"), String::new()),
        "escape" | "e" => (name, "filter", None, "every value is escaped for its field already".into()),
        _ => (
            name,
            "filter",
            nearest(name, FILTERS.into_iter().chain(MORE_FILTERS)),
            format!("filters: {}, {}", FILTERS.join(", "), MORE_FILTERS.join(", ")),
        ),
    }
}

fn rule(what: &str) -> &'static str {
    match what {
        "filter" => "unknown-filter",
        "test" => "unknown-test",
        "function" => "unknown-function",
        "method" => "unknown-method",
        _ => "unknown-name",
    }
}

/// The name itself inside the expression that the engine points to.
fn narrow(text: &str, around: Range<usize>, name: &str) -> Range<usize> {
    let piece = text.get(around.clone()).unwrap_or_default();
    let whole = |at: usize| {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        !piece[..at].ends_with(word) && !piece[at + name.len()..].starts_with(word)
    };
    match piece.match_indices(name).map(|(at, _)| at).find(|at| whole(*at)) {
        Some(at) => around.start + at..around.start + at + name.len(),
        None => around,
    }
}

impl TemplateProblem {
    fn new(id: &'static str, within: Range<usize>, why: String) -> Self {
        TemplateProblem { id, within, why, help: None, patch: None }
    }

    fn help(self, help: String) -> Self {
        TemplateProblem { help: Some(help), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Engine, Template};
    use super::*;
    use switchyard_api::escape::Escape;

    fn compile(template: &str) -> Result<Template, Vec<TemplateProblem>> {
        Engine::new(Rules { escape: Escape::None, confine: Confine::Content }).compile(template)
    }

    fn told(template: &str) -> String {
        let problems = compile(template).unwrap_err();
        let line = |p: &TemplateProblem| {
            format!("{} `{}`: {}; {}", p.id, &template[p.within.clone()], p.why, p.help.as_deref().unwrap_or(""))
                .chars()
                .take(130)
                .collect::<String>()
        };
        problems.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_mistake_is_found_before_an_event_comes() {
        let all = "{{ dta.x }} {{ data.x|uper }} {{ data.x|safe }} {% if data.x is stirng %}{% endif %}{{ nwo() }} {{ data.x.upper() }}";
        insta::assert_snapshot!(told(all), @r"
        unknown-name `dta`: unknown name `dta`; did you mean `data`?
        unknown-filter `uper`: unknown filter `uper`; did you mean `upper`?
        unknown-filter `safe`: unknown filter `safe`; did you mean `raw`?
        unknown-test `stirng`: unknown test `stirng`; did you mean `string`?
        unknown-function `nwo`: unknown function `nwo`; functions: dict, range
        unknown-method `upper`: unknown method `upper`; write it as a filter: `|upper`
        ");
        let elsewhere = ["{{ headers.X-Shop-Id }}", "{{ data.x - Shop }}", "{{ data.x|uppercase }}", "{{ data|json }}"];
        insta::assert_snapshot!(elsewhere.map(told).join("\n"), @r"
        unknown-name `Shop`: unknown name `Shop`; a header with `-` in its name is written `headers['x-shop-id']`, in lower case
        unknown-name `Id`: unknown name `Id`; a header with `-` in its name is written `headers['x-shop-id']`, in lower case
        unknown-name `Shop`: unknown name `Shop`; what the sender wrote stands under `data`: `data.Shop`; an event has: id, source, topic,
        unknown-filter `uppercase`: unknown filter `uppercase`; did you mean `upper`?
        unknown-filter `json`: unknown filter `json`; did you mean `tojson`?
        ");
        let one_each =
            ["a\n{{ data.x ", "{% for x in data.l %}{{ x }}", "token ${TOKEN} {{ data.x }}", "{% include 'x' %}", "{{ debug() }}"];
        insta::assert_snapshot!(one_each.map(told).join("\n"), @r"
        wrong-template `x`: unexpected end of input, expected end of variable block; write a value as `{{ data.x }}`, a condition as `{% i
        wrong-template `}}`: unexpected end of input, expected end of block; write a value as `{{ data.x }}`, a condition as `{% if data.x
        secret-in-template `${TOKEN}`: `${…}` is not replaced in a template: a secret would end up in a message; for these characters them
        wrong-template `include`: unknown statement include; write a value as `{{ data.x }}`, a condition as `{% if data.x %}…{% endif %}`
        unknown-function `debug`: unknown function `debug`; functions: dict, range
        ");
    }

    #[test]
    fn what_a_template_names_itself_is_known() {
        let good = "{% set a = 1 %}{% for k, v in data|items %}{{ loop.index }}{{ loop.cycle('a', 'b') }}{{ k }}{{ v }}{{ a }}{% endfor %}\
                    {% macro m(x) %}{{ x }}{{ caller is defined }}{% endmacro %}{{ m(1) }}{% with z = 2 %}{{ z }}{% endwith %}{{ range(3)|list }}";
        let compiled = compile(good);
        assert!(compiled.is_ok(), "{compiled:?}");
    }

    #[test]
    fn what_is_read_of_the_event_is_found_with_its_place() {
        let text =
            "a {{ headers['x-shop'] }} {% set data = 1 %}{{ data.x }} {% for k in query.all %}{{ k.topic }}{{ topic|upper }}{% endfor %}";
        let found: Vec<String> =
            compile(text).unwrap().reads().into_iter().map(|(within, path)| format!("{path} at {}", &text[within])).collect();
        assert_eq!(found, ["headers.x-shop at headers['x-shop']", "query.all at query.all", "topic at topic"]);
    }

    #[test]
    fn every_filter_that_is_suggested_exists() {
        for filter in FILTERS.into_iter().chain(MORE_FILTERS) {
            let text = format!("x{{{{ data|{filter} }}}}");
            let compiled = compile(&text);
            assert!(compiled.is_ok(), "{compiled:?}");
        }
        for test in TESTS.into_iter().filter(|test| *test != "in") {
            let text = format!("x{{{{ data is {test} }}}}");
            assert!(compile(&text).is_ok(), "{test}");
        }
    }
}
