//! What `check` says of one target's message, output and route together: what a lookup asks for is there, constants are what
//! their fields take, a body that goes out as JSON is JSON, a path has no steps.

use switchyard_api::tree::{Key, Value};
use switchyard_api::{Field, Kind, Node, Problem, Shape, Written};

use crate::field::FieldRule;
use crate::json_text::{self, Wrong};
use crate::target::is_step;
use crate::{Config, Http};

/// The problems of a message.
pub fn message(kind: &Http, config: &Config, message: Written<'_>) -> Vec<Problem> {
    let fields = kind.fields();
    let rules = crate::field::rules(kind.0.as_deref());
    let mut problems = lookup(kind, &fields, config, message);
    for (key, node) in message.output.iter().chain(message.route) {
        let Some(text) = written(node) else { continue };
        problems.extend(rules.get(&key.name).and_then(|rule| constant(rule, key, node, text)));
        if fields.iter().any(|field| field.name == key.name && is_json(kind, field, message)) {
            problems.extend(json(key, node, text));
        }
        if kind.0.is_none() && key.name == "path" {
            problems.extend(steps(node, text));
        }
    }
    problems
}

fn written(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Text(text) => Some(&text.written),
        _ => None,
    }
}

fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark))
}

/// A lookup asks by the fields that its words name: each must have a value.
fn lookup(kind: &Http, fields: &[Field], config: &Config, message: Written<'_>) -> Vec<Problem> {
    let assembly = kind.assembly(config);
    let Some(lookup) = assembly.lookup() else { return vec![] };
    // A row's that is for all settings asks by fields that must be set anyway.
    let of = || lookup.of.keys().find_map(|name| config.own.0.get(name)).map(|setting| setting.span);
    let Some(at) = config.lookup.as_ref().map(|own| own.span).or_else(of) else { return vec![] };
    let has = |of: &[(Key, Node)], field: &Field| of.iter().any(|(key, _)| key.name == field.name);
    let set = |field: &Field| field.required || field.default.is_some() || has(message.output, field) || has(message.route, field);
    let asked = |field: &&Field| lookup.slots().any(|slot| slot.name == field.name);
    let told = |field: &Field| {
        let name = &field.name;
        let title = format!("`lookup` asks for `{{{name}}}`, and the message has no `{name}`");
        let help =
            format!("set `{name}:` at the output or the route to what the far side knows it by: `{name}: \"{{{{ data.number }}}}\"`");
        Problem::error("missing-field", at, title, "asked for here").help(help)
    };
    fields.iter().filter(asked).filter(|field| !set(field)).map(told).collect()
}

fn constant(rule: &FieldRule, key: &Key, node: &Node, text: &str) -> Option<Problem> {
    if is_template(text) {
        return None;
    }
    let misfit = rule.judge(text).err()?;
    Some(Problem::error("wrong-value", node.span, format!("`{}` {}", key.name, misfit.what), "here").help(misfit.help))
}

/// Whether a field is sent as JSON: what a row says is JSON, or a `body` whose type nobody set.
fn is_json(kind: &Http, field: &Field, message: Written<'_>) -> bool {
    if !field.escape.is_json() || field.shape != Shape::Text {
        return false;
    }
    let own = kind.0.as_ref().is_some_and(|preset| preset.body.is_some() || !preset.actions.is_empty());
    own || !message.output.iter().chain(message.route).any(|(key, node)| key.name == "headers" && names_a_type(node))
}

fn names_a_type(headers: &Node) -> bool {
    let other = |(key, node): &(Key, Node)| {
        key.name.eq_ignore_ascii_case("content-type") && !written(node).is_some_and(|text| text.starts_with("application/json"))
    };
    headers.entries().iter().any(other)
}

fn json(key: &Key, node: &Node, text: &str) -> Option<Problem> {
    match json_text::judge(text)? {
        Wrong::NoJson(why) => {
            let title = format!("`{}` is sent as JSON and is none: {why}", key.name);
            let help = "write JSON, or another `Content-Type` in `headers`";
            Some(Problem::error("no-json", node.span, title, "here").help(help))
        }
        Wrong::Bare { at, filtered } => {
            let title = "outside of quotes a value of the event would become JSON of its own";
            let help = format!("write `{filtered}`; or `|raw` for a value that is JSON already");
            Some(Problem::error("bare-value", node.span, title, "not within quotes").within(at).help(help).patch(filtered))
        }
    }
}

fn steps(node: &Node, text: &str) -> Option<Problem> {
    let step = text.split('/').find(|part| is_step(part))?;
    let title = format!("`{step}` leads out of the URL's path");
    Some(
        Problem::error("wrong-value", node.span, title, "refused for every event")
            .help("write the path below it: `path: \"orders/{{ data.id }}\"`"),
    )
}
