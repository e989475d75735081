//! Message templates: minijinja over the event, confined.
//!
//! Holds L8: every value is escaped for its field; `{{ x|raw }}` is how the file says otherwise, and a field that is structure
//! (`Confine::Name`) has no `raw`: it starts with a literal, and a value that is no plain name fails the delivery (in a path, with
//! `Escape::Path`, it is percent-encoded): two values never become one. L6: steps and bytes are
//! metered by the engine's fuel, copies of texts by `view`, the output by [`OUTPUT_MAX`]. L7: `${…}` in a template is an error, and no
//! error at render holds anything of the event. There is no include, no clock, no environment, no chance.

mod check;
mod view;

pub use check::TemplateProblem;
pub use view::{Context, DEAD, Died};

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value};
use std::ops::Range;
use std::sync::Arc;
use switchyard_api::escape::Escape;
use switchyard_api::fit::{Fit, Unit};
use switchyard_api::kind::{Confine, Field};

/// The largest rendered text, in bytes; a larger one fails its delivery.
pub const OUTPUT_MAX: usize = 1 << 20;
/// The longest template, in bytes.
pub const TEMPLATE_MAX: usize = 64 << 10;
/// One unit is a step of the engine or 64 bytes that it copies or writes.
const FUEL: u64 = 50_000;
/// Nested macros and loops that call themselves.
const RECURSION_MAX: usize = 30;
/// What a value is that cannot be part of a name. Told of the template's text; the value itself is not shown.
const NO_NAME: &str =
    "is no name in this event: it may have letters, digits, `-`, `_` and inner dots; `|replace('/', '-')` can make it one";
/// What a value is that cannot be part of a path.
const NO_SEGMENT: &str = "is no part of a path in this event: it is empty, or only dots";
/// The engine's name for the one template of an environment.
const ONLY: &str = "template";

/// How values are written into a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// What is escaped in each value.
    pub escape: Escape,
    /// How far values may reach.
    pub confine: Confine,
}

impl Rules {
    /// The rules of a message field.
    pub fn of(field: &Field) -> Self {
        Rules { escape: field.escape, confine: field.confine }
    }
}

/// A compiled template of one field.
#[derive(Debug)]
pub struct Template(Text);

#[derive(Debug)]
enum Text {
    /// Without `{{` and `{%`: always the same.
    Fixed(String),
    Live {
        source: String,
        engine: Box<Environment<'static>>,
    },
}

/// Why a template failed for an event; holds text of the template, never of the event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The part of the template, and what is wrong with its value.
    #[error("line {line}: {why}")]
    Failed {
        /// From 1.
        line: usize,
        /// One line.
        why: String,
        /// Whether all that is wrong is that the event has no such value.
        undefined: bool,
    },
    /// Rendered more than [`OUTPUT_MAX`].
    #[error("the rendered text is larger than {} KiB", OUTPUT_MAX >> 10)]
    TooLong,
}

/// Compiles the templates of fields with the same rules, which share its functions.
#[derive(Debug)]
pub struct Engine {
    rules: Rules,
    empty: Environment<'static>,
}

impl Engine {
    /// An engine with these rules.
    pub fn new(rules: Rules) -> Self {
        Engine { rules, empty: environment(rules) }
    }

    /// Compiles a template and finds what would only fail at render: unknown names, filters, tests, functions, methods.
    ///
    /// # Errors
    /// Every problem found, with its place in the text.
    pub fn compile(&self, text: &str) -> Result<Template, Vec<TemplateProblem>> {
        let problems = check::before(text);
        if !problems.is_empty() {
            return Err(problems);
        }
        if !["{{", "{%", "{#"].iter().any(|mark| text.contains(mark)) {
            return Ok(Template(Text::Fixed(text.to_owned())));
        }
        let mut engine = self.empty.clone();
        engine.add_template_owned(ONLY, text.to_owned()).map_err(|error| vec![check::syntax(&error, text)])?;
        let problems = check::names(&engine, text, self.rules);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Template(Text::Live { source: text.to_owned(), engine: Box::new(engine) }))
    }
}

/// One engine for each of the rules there are: an engine's functions take some 10 KiB, and a file may have thousands of fields.
#[derive(Debug, Default)]
pub struct Engines(Vec<Arc<Engine>>);

impl Engines {
    /// The one with these rules.
    pub fn with(&mut self, rules: Rules) -> Arc<Engine> {
        if let Some(engine) = self.0.iter().find(|engine| engine.rules == rules) {
            return Arc::clone(engine);
        }
        let engine = Arc::new(Engine::new(rules));
        self.0.push(Arc::clone(&engine));
        engine
    }
}

impl Template {
    /// Its text, where it is the same for all events.
    pub fn fixed(&self) -> Option<&str> {
        match &self.0 {
            Text::Fixed(text) => Some(text),
            Text::Live { .. } => None,
        }
    }

    /// The values of an event that it looks at, as paths, each with its place in the text.
    pub fn reads(&self) -> Vec<(Range<usize>, String)> {
        match &self.0 {
            Text::Fixed(_) => vec![],
            Text::Live { engine, source } => check::reads(engine, source),
        }
    }

    /// The field's text for one event.
    ///
    /// # Errors
    /// Where in the template, and why.
    pub fn render(&self, context: &Context) -> Result<String, TemplateError> {
        let text = match &self.0 {
            Text::Fixed(text) => text.clone(),
            Text::Live { source, engine } => {
                let rendered = engine.get_template(ONLY).and_then(|template| template.render(context.value()));
                rendered.map_err(|error| told(&error, source))?
            }
        };
        if text.len() > OUTPUT_MAX {
            return Err(TemplateError::TooLong);
        }
        Ok(text)
    }
}

/// What a person reads of the engine's error. Its own detail may quote values, so only its kind and the template's text are used.
fn told(error: &Error, source: &str) -> TemplateError {
    let piece = error.range().and_then(|range| source.get(whole_path(source, range.start)..range.end)).unwrap_or_default();
    // It may go over several lines of the template.
    let piece = piece.split_whitespace().collect::<Vec<_>>().join(" ");
    let piece: String = piece.chars().filter(|c| !c.is_control()).take(60).collect();
    let why = match error.kind() {
        ErrorKind::UndefinedError if piece.is_empty() => "a value is not in this event".to_owned(),
        ErrorKind::UndefinedError => format!("`{piece}` has no value in this event"),
        ErrorKind::OutOfFuel => "takes too many steps, or copies too much".to_owned(),
        _ if matches!(error.detail(), Some(NO_NAME | NO_SEGMENT)) => format!("`{piece}` {}", error.detail().unwrap_or_default()),
        ErrorKind::BadSerialization => format!("`{piece}` is too large or too deep to write as JSON"),
        kind if piece.is_empty() => kind.to_string(),
        kind => format!("`{piece}`: {kind}"),
    };
    TemplateError::Failed { line: error.line().unwrap_or(1), why, undefined: error.kind() == ErrorKind::UndefinedError }
}

/// Where the path starts whose last part the engine points to.
fn whole_path(source: &str, from: usize) -> usize {
    let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '[' | ']' | '\'' | '"' | '-');
    source.get(..from).map_or(from, |before| before.trim_end_matches(part).len())
}

fn environment(rules: Rules) -> Environment<'static> {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    engine.set_fuel(Some(FUEL));
    engine.set_recursion_limit(RECURSION_MAX);
    // Any escape but `None` marks what `{% set %}` and macros capture as written already.
    engine.set_auto_escape_callback(|_| AutoEscape::Custom("field".into()));
    engine.set_formatter(move |out, state, value| write(out, state, value, rules));
    for name in ["safe", "escape", "e", "pprint"] {
        engine.remove_filter(name);
    }
    engine.remove_test("safe");
    engine.remove_test("escaped");
    engine.remove_global("debug");
    // What a loop carries to its next round could double each time, and the engine does not charge for lists.
    engine.remove_global("namespace");
    if rules.confine == Confine::Content {
        engine.add_filter("raw", |state: &State, value: &Value| view::text(state, value).map(Value::from_safe_string));
    }
    let literal = (rules.escape.is_json() || rules.escape == Escape::None) && rules.confine == Confine::Content;
    engine.add_filter("tojson", move |state: &State, value: &Value, options: Kwargs| {
        options.assert_all_used()?;
        // Within a chat's JSON an object of the event could mention somebody: there it is a text, as all that is no number.
        let number = matches!(value.kind(), ValueKind::Number | ValueKind::Bool | ValueKind::None);
        if rules.escape.within_json().is_some() && !number {
            return Ok(Value::from_safe_string(format!("\"{}\"", rules.escape.apply(&view::text(state, value)?))));
        }
        let json = view::json(state, value)?;
        // A literal for JSON; elsewhere (a form, a chat) it is a text like any other and escaped as one.
        Ok::<_, Error>(if literal { Value::from_safe_string(json) } else { Value::from(json) })
    });
    // Letters, digits and `-._~%`: within JSON nothing of it is anything to anybody, and escaped for a chat it would be no address.
    let inert = rules.escape.is_json() && rules.confine == Confine::Content;
    engine.add_filter("urlencode", move |state: &State, value: &Value| {
        let encoded = Escape::Path.apply(&view::text(state, value)?);
        Ok::<_, Error>(if inert { Value::from_safe_string(encoded) } else { Value::from(encoded) })
    });
    // The engine's own would write numbers and lists its way.
    engine.add_filter("string", |state: &State, value: &Value| view::text(state, value).map(Value::from));
    engine.add_filter("join", view::join);
    engine.add_filter("cap", |state: &State, value: &Value, most: usize| {
        let text = view::text(state, value)?;
        let fit = Fit { escape: Escape::None, most, unit: Unit::Chars, link: None };
        Ok::<_, Error>(Value::from(fit.cut(&text).unwrap_or(text)))
    });
    if rules.confine == Confine::Content {
        engine.add_filter("fit_list", move |state: &State, list: &Value, most: usize, between: Option<&str>| {
            let items: Vec<String> = view::items(state, list)?.into_iter().map(|item| written(item, rules)).collect::<Result<_, _>>()?;
            let between = rules.escape.apply(between.unwrap_or("\n"));
            let fit = Fit { escape: rules.escape, most, unit: Unit::Chars, link: None };
            Ok::<_, Error>(Value::from_safe_string(fit.list(&items, &between)))
        });
    }
    engine
}

fn write(out: &mut Output, state: &mut State, value: &Value, rules: Rules) -> Result<(), Error> {
    if value.is_safe() {
        return out.write_str(value.as_str().unwrap_or_default()).map_err(Error::from);
    }
    out.write_str(&written(view::text(state, value)?, rules)?).map_err(Error::from)
}

/// A value's text as it stands in the field.
fn written(text: String, rules: Rules) -> Result<String, Error> {
    match rules.confine {
        // No value ever gets into a constant: `check` refuses the template.
        Confine::Name | Confine::Constant => name(text, rules.escape),
        Confine::Content if rules.escape == Escape::None => Ok(text),
        Confine::Content => Ok(rules.escape.apply(&text)),
    }
}

/// A value as part of a name: as it is or not at all, so that no two values have one name.
fn name(value: String, escape: Escape) -> Result<String, Error> {
    let refused = |why: &'static str| Err(Error::new(ErrorKind::InvalidOperation, why));
    if escape == Escape::Path {
        let folder = value.bytes().all(|b| b == b'.');
        return if folder { refused(NO_SEGMENT) } else { Ok(escape.apply(&value)) };
    }
    let plain = !value.is_empty() && !value.starts_with('.') && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if plain { Ok(value) } else { refused(NO_NAME) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Event;
    use crate::route::testing::event;

    const PLAIN: Rules = Rules { escape: Escape::None, confine: Confine::Content };

    #[test]
    fn fields_with_the_same_rules_share_an_engine() {
        let mut engines = Engines::default();
        let other = Rules { escape: Escape::Slack, ..PLAIN };
        let [first, again, third] = [PLAIN, PLAIN, other].map(|rules| engines.with(rules));
        assert!(Arc::ptr_eq(&first, &again) && !Arc::ptr_eq(&first, &third));
        assert_eq!((first.rules, third.rules), (PLAIN, other));
    }

    fn with(rules: Rules, template: &str, event: &Event) -> Result<String, String> {
        let template = Engine::new(rules).compile(template).map_err(|problems| format!("{problems:?}"))?;
        template.render(&Context::new(event, None)).map_err(|error| error.to_string())
    }

    fn render(template: &str, body: &str) -> Result<String, String> {
        with(PLAIN, template, &event(body))
    }

    fn escaped(escape: Escape, template: &str, body: &str) -> String {
        with(Rules { escape, ..PLAIN }, template, &event(body)).unwrap()
    }

    #[test]
    fn the_example_of_the_manual_reads_as_it_should() {
        let body = r#"{"number":7,"total":1500.00,"customer":{"name":"Ann"}}"#;
        let text = "Order {{ data.number }}: {{ data.total }} EUR from {{ data.customer.name }}";
        assert_eq!(render(text, body).unwrap(), "Order 7: 1500.00 EUR from Ann");
    }

    proptest::proptest! {
        #[test]
        fn every_number_is_written_as_it_came(number in crate::route::testing::NUMBER, lead in "[a-z]{0,3}") {
            proptest::prop_assume!(number != "-0");
            let body = format!(r#"{{"n":{number},"l":[{number}],"o":{{"n":{number}}}}}"#);
            let template = format!("{lead}{{{{ data.n }}}} {{{{ data.l }}}} {{{{ data.o|tojson }}}} {{{{ raw }}}}");
            let expected = format!(r#"{lead}{number} [{number}] {{"n":{number}}} {body}"#);
            proptest::prop_assert_eq!(render(&template, &body), Ok(expected));
        }
    }

    #[test]
    fn values_print_as_json_prints_them_and_numbers_keep_their_digits() {
        let body = r#"{"a":1.10,"b":true,"n":null,"big":12345678901234567890123,"huge":1234567890123456789012345678901234567890123,"e":1e400,"p":0.10000000000000000001,"l":[1.50,"x",{"y":2.0}],"a2":1.1,"l2":[1.50,1.5]}"#;
        let cases = [
            ("{{ data.a }}", "1.10"),
            ("{{ data.b }} {{ data.n }}", "true null"),
            ("{{ data.big }}", "12345678901234567890123"),
            ("{{ data.huge }}", "1234567890123456789012345678901234567890123"),
            ("{{ data.e }} {{ data.p }}", "1e400 0.10000000000000000001"),
            ("{{ data.l }}", r#"[1.50,"x",{"y":2.0}]"#),
            ("{% for x in data.l %}{{ x }};{% endfor %}", r#"1.50;x;{"y":2.0};"#),
            ("{{ data.l[0] }} {{ data['l'][2].y }}", "1.50 2.0"),
            ("{% if data.a > 1 and data.a < 1.2 and data.a == 1.1 %}yes{% endif %}", "yes"),
            ("{{ {'t': data.a, 'l': [data.b, none]}|tojson }}", r#"{"t":1.10,"l":[true,null]}"#),
            ("{{ data.p|tojson }} {{ data.huge|tojson }}", "0.10000000000000000001 1234567890123456789012345678901234567890123"),
            ("{{ [data.e, data.p]|tojson }} {{ data.p|replace('0.', '') }}", "[1e400,0.10000000000000000001] 10000000000000000001"),
            ("{{ data.l|length }} {{ data|length }}", "3 10"),
            // The same number in two ways.
            ("{{ data.a }} {{ data.a2 }} {{ data.a }} {{ [data.a, data.a2]|length }}", "1.10 1.1 1.10 2"),
            ("{{ data.l2 }} {{ data.l2|tojson }} {{ {'x': data.l2}|tojson }}", r#"[1.50,1.5] [1.50,1.5] {"x":[1.50,1.5]}"#),
            ("{% for k, v in data.l[2]|items %}{{ k }}={{ v }}{% endfor %}", "y=2.0"),
            (
                "{{ topic }} {{ source }} {{ received_at }} {{ id }}",
                "ORDER_PAID shop 2026-03-02T10:00:00.000Z evt_07070707070707070707070707070707",
            ),
            ("{{ raw|length }}", &body.len().to_string()),
            ("{{ data.missing|default('-') }}{% if data.missing %}x{% endif %}", "-"),
            ("{{ data.l|join(', ') }}", r#"1.50, x, {"y":2.0}"#),
            // Joined by an operator a number is the engine's: the same amount, without its zeros.
            ("{{ data.a ~ '!' }} {{ data.a|string ~ '!' }}", "1.1! 1.10!"),
        ];
        for (template, expected) in cases {
            assert_eq!(render(template, body).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn headers_and_query_are_there_by_name() {
        let mut event = event("not json");
        event.headers.push("x-account", b"9");
        event.query = "a=1&b=2".into();
        assert_eq!(with(PLAIN, "{{ headers['x-account'] }} {{ query.b }} {{ data }} {{ raw }}", &event).unwrap(), "9 2 null not json");
    }

    #[test]
    fn every_value_is_escaped_for_its_field_and_literals_are_not() {
        let body = r#"{"x":"<!channel> & \"hi\"","l":["<a>"],"n":1.50}"#;
        assert_eq!(escaped(Escape::Slack, "<b> {{ data.x }}", body), "<b> &lt;!channel&gt; &amp; \"hi\"");
        assert_eq!(escaped(Escape::Slack, "{{ data.x|raw }}", body), "<!channel> & \"hi\"");
        assert_eq!(
            escaped(Escape::Json, r#"{"t":"{{ data.x }}","d":{{ data.l|tojson }}}"#, body),
            r#"{"t":"<!channel> & \"hi\"","d":["\u003ca\u003e"]}"#
        );
        assert_eq!(
            escaped(
                Escape::SlackJson,
                r#"[{"t":"{{ data.x }}","n":{{ data.n|tojson }},"d":{{ data.l|tojson }},"x":{{ data.x|tojson }}}]"#,
                body
            ),
            r#"[{"t":"&lt;!channel&gt; &amp; \"hi\"","n":1.50,"d":"[\"&lt;a&gt;\"]","x":"&lt;!channel&gt; &amp; \"hi\""}]"#
        );
        let hostile = r#"{"x":"a-b_c/\"@here"}"#;
        let gap = "\u{200b}";
        assert_eq!(
            escaped(Escape::DiscordJson, "{{ data.x|urlencode }} {{ data.x }}", hostile),
            format!(r#"a-b_c%2F%22%40here a\\-b\\_c/\"@{gap}here"#)
        );
        assert_eq!(escaped(Escape::Discord, "{{ data.x|urlencode }}", hostile), r"a\-b\_c%2F%22%40here");
        assert_eq!(escaped(Escape::Form, "payload={{ data.l|tojson }}", body), "payload=%5B%22%5Cu003ca%5Cu003e%22%5D");
        assert_eq!(
            escaped(Escape::Html, "{% set y %}<i>{{ data.x }}</i>{% endset %}{{ y }}", body),
            "<i>&lt;!channel&gt; &amp; &quot;hi&quot;</i>"
        );
        assert_eq!(escaped(Escape::Html, "{% macro m(v) %}<i>{{ v }}</i>{% endmacro %}{{ m(data.l[0]) }}", body), "<i>&lt;a&gt;</i>");
    }

    #[test]
    fn no_filter_carries_markup_of_the_event_around_the_escape() {
        let body = r#"{"x":"<a>","l":["<a>","b"],"o":{"<a>":"<a>"}}"#;
        let routes = [
            "{{ data.x|upper }}",
            "{{ data.l|join('<br>'|raw) }}",
            "{{ '%s'|raw|format(data.x) }}",
            "{{ ('y'|raw)|replace('y', data.x) }}",
            "{{ data.l|first }}",
            "{{ data.x|indent }}",
            "{{ ('z'|raw) ~ data.x }}",
            "{{ ('z'|raw) + data.x }}",
            "{{ data.l|tojson }}",
            "{{ data.o }}",
            "{{ data.x|trim|title|capitalize|lower }}",
            "{{ data.l|sort|reverse|list }}",
            "{% filter upper %}{{ data.x }}{% endfilter %}",
            "{{ data.x|cap(2) }}",
            "{{ data.x|default('z'|raw) }}",
            "{{ data.missing|default(data.x) }}",
            "{{ data.x|string }}",
            "{% for c in data.x %}{{ c }}{% endfor %}",
            "{{ data.o|dictsort }}",
            "{% autoescape false %}{{ data.x }}{% endautoescape %}",
            "{{ (data.x, 1) }}",
            "{{ data.l|map('upper')|join }}",
            "{{ [('<'|raw), data.x]|join|lower }}",
        ];
        for template in routes {
            let rendered = escaped(Escape::Html, template, body).replace("<br>", "");
            assert!(!rendered.to_lowercase().contains("<a") && !rendered.to_lowercase().contains("a>"), "{template}: {rendered}");
        }
    }

    #[test]
    fn a_payload_that_looks_like_a_template_stays_text() {
        assert_eq!(render("{{ data.x }}", r#"{"x":"{{ 7 * 7 }}{% for %}"}"#).unwrap(), "{{ 7 * 7 }}{% for %}");
    }

    #[test]
    fn a_name_takes_plain_characters_or_the_delivery_is_refused() {
        let rules = Rules { confine: Confine::Name, ..PLAIN };
        let named = |value: &str| with(rules, "orders/{{ data.x }}/log", &event(&serde_json::json!({ "x": value }).to_string()));
        for value in ["shop-7.nl", "A_1", "7", &"x".repeat(5000)] {
            assert_eq!(named(value), Ok(format!("orders/{value}/log")));
        }
        let why = "line 1: `data.x` is no name in this event: it may have letters, digits, `-`, `_` and inner dots; `|replace('/', '-')` can make it one";
        for value in ["..", ".x", "../../etc", "", "a b", "shop/1#A", "a\n\u{202e}ü", "31 6-12;ext=900", "a@b.example,c@d.example"] {
            assert_eq!(named(value), Err(why.to_owned()), "{value}");
        }
        assert!(with(rules, "{{ data.x }}", &event("{}")).unwrap_err().contains("literal"));
        assert!(with(rules, "o/{{ data.x|raw }}", &event("{}")).unwrap_err().contains("raw"));
    }

    #[test]
    fn in_a_path_a_value_is_one_segment_and_no_two_are_one() {
        let rules = Rules { confine: Confine::Name, escape: Escape::Path };
        let segment = |value: &str| with(rules, "orders/{{ data.x }}", &event(&serde_json::json!({ "x": value }).to_string()));
        for (value, expected) in [("shop/1#A", "shop%2F1%23A"), ("shop 1 A", "shop%201%20A"), ("%2e%2e", "%252e%252e"), ("a..b", "a..b")] {
            assert_eq!(segment(value).as_deref(), Ok(&*format!("orders/{expected}")));
        }
        for value in ["", ".", "..", "..."] {
            assert!(segment(value).unwrap_err().contains("no part of a path"), "{value}");
        }
    }

    #[test]
    fn bombs_of_every_kind_end_at_a_limit() {
        let doubled = |operator: &str| {
            format!("{{% macro m(l) %}}{{{{ m(l {operator} l) }}}}{{% endmacro %}}{{{{ m([1]) }}}}{{{{ m('xxxxxxxx') }}}}")
        };
        let bombs = [
            "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
            &doubled("~"),
            &doubled("+"),
            &doubled(", ").replace("m(l ,  l)", "m([l, l])"),
            &format!("{}{{{{ a }}}}", "{% set a = [a, a] %}".repeat(40)),
            &format!("{}{{{{ a|tojson }}}}", "{% set a = [a, a] %}".repeat(40)),
            &format!("{{% set a = 'xxxxxxxx' %}}{}", "{% set a = a ~ a %}".repeat(40)),
            &format!("{{% set a = 'xxxxxxxx' %}}{}", "{% set a %}{{ a }}{{ a }}{% endset %}".repeat(40)),
            &format!("{{{{ {}1{} }}}}", "[".repeat(140), "]".repeat(140)),
            "{{ '%1000000000d'|format(1) }}",
            "{{ 'x' * 1000000000 }}",
            "{{ data * 1000000000 }}",
            "{{ data|indent(1000000000, true) }}",
            "{{ (data * 10)|replace('y', data) }}",
            "{{ ([1] * 1000000000)|list }}",
            "{{ [1] * 1000000000 }}",
            "{{ ([1] * 1000000000)|join }}",
            "{{ ([1] * 1000000000)|sum }}",
            "{{ 2 in [1] * 1000000000 }}",
            "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
            "{% for i in range(10000) %}{{ raw }}{% endfor %}",
            "{% for i in range(10000) %}{{ raw|length }}{% endfor %}",
            "{{ data.join(data) }}{{ range(1000000000)|list }}",
        ];
        let body = serde_json::json!("y".repeat(200_000)).to_string();
        for bomb in bombs {
            let result = render(bomb, &body);
            assert!(result.is_err(), "{bomb} gave {} bytes", result.unwrap().len());
        }
    }

    #[test]
    fn an_error_says_which_part_and_nothing_of_the_event() {
        // Over several lines of the template, in one of the report.
        for (template, told) in [
            ("{{ data.x--\n{'x':'a'} }}", "line 1: `data.x-- {'x':'a'}`: invalid operation"),
            ("{{ data.x[\n'a'\n].b }}", "line 2: a value is not in this event"),
            ("{{ data.x -\n\n  1 }}", "line 3: invalid operation"),
        ] {
            assert_eq!(render(template, r#"{"x":"a"}"#), Err(told.to_owned()));
        }
        let failed = |template: &str| render(template, r#"{"secret":"hush","n":1}"#).unwrap_err();
        assert_eq!(failed("a\n{{ data.customer.name }}"), "line 2: `data.customer.name` has no value in this event");
        assert_eq!(failed("{{ data.nmae }}"), "line 1: `data.nmae` has no value in this event");
        for template in [
            "{{ data.secret + 1 }}",
            "{{ data.secret|int }}",
            "{{ data.secret.x.y }}",
            "{{ 1 / data.secret }}",
            "{{ data.secret() }}",
            "{{ data.secret|join(1) }}",
            "{{ data|map(data.secret)|list }}",
            "{% for a, b in data.secret %}{% endfor %}",
        ] {
            assert!(!failed(template).contains("hush"), "{template}: {}", failed(template));
        }
    }

    #[test]
    fn a_value_can_be_cut_and_a_list_by_whole_items() {
        let long = serde_json::json!("word ".repeat(300)).to_string();
        assert_eq!(render("{{ data|cap(40) }}!", &long).unwrap(), "word word word… 1,486 more characters!");
        let body = r#"{"items":[{"n":"<a>"},{"n":"b"},{"n":"c"},{"n":"dddddddddd"},{"n":"eeee"}]}"#;
        let list = "{{ data.items|map(attribute='n')|fit_list(40, ', ') }}";
        assert_eq!(escaped(Escape::Slack, list, body), "&lt;a&gt;, b, c, dddddddddd, eeee");
        let list = "{{ data.items|map(attribute='n')|fit_list(27) }}";
        assert_eq!(escaped(Escape::Slack, list, body), "&lt;a&gt;\nb\nc\n… and 2 more");
        assert!(
            with(Rules { confine: Confine::Name, ..PLAIN }, "x{{ data|fit_list(9) }}", &event("[1]")).unwrap_err().contains("fit_list")
        );
    }

    proptest::proptest! {
        /// Whatever somebody writes is a template or an error with a place in it; and what is a template renders, or says why not.
        #[test]
        fn no_text_is_a_panic_and_every_error_has_its_place(
            text in "(\\{\\{ ?| ?\\}\\}|\\{% ?| ?%\\}|\\{#|#\\}|if |else|endif|for |in |endfor|set |=|data|\\.|\\||upper|tojson|\\(|\\)|\\[|\\]|'|\"|[0-9]{1,12}|-|\\+|\\*|é|\\$\\{|\\PC){0,24}",
            escape in proptest::sample::select(vec![Escape::None, Escape::Json, Escape::Slack, Escape::Html]),
        ) {
            let event = event(r#"{"x":"<b>","l":[1,2],"n":1.50}"#);
            match Engine::new(Rules { escape, ..PLAIN }).compile(&text) {
                Ok(template) => drop(template.render(&Context::new(&event, None))),
                Err(problems) => {
                    proptest::prop_assert!(!problems.is_empty());
                    for problem in problems {
                        proptest::prop_assert!(text.get(problem.within.clone()).is_some(), "{problem:?}");
                    }
                }
            }
        }
    }
}
