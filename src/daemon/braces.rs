//! Braces where they do nothing: `{{ data.x }}` in a text that is taken as it is written, and `{data.x}` in a template.
//!
//! Both run without a word and send, or match, the braces themselves. Only what names a part of an event is told: a `{` has many other uses.

use std::ops::Range;
use std::sync::Arc;
use switchyard_api::tree::Key;
use switchyard_api::{AnyKind, Node, Problem, Value};

/// Parts of an event, as templates name them.
const PARTS: [&str; 8] = ["data", "headers", "id", "query", "raw", "received_at", "source", "topic"];
/// Delivery's own keys that hold a template, and under which name.
const KEYS: [(&str, &str); 3] = [("rate", "key"), ("order_by", "key"), ("digest", "by")];

/// What a glob says of braces: where they were meant to be replaced it is left out.
const NO_GLOB: [&str; 2] = ["wrong-glob", "regex-as-topic"];

/// Adds those of a whole file. Not where something is wrong already, but for globs: that braces are none says little of what was meant.
pub fn add(problems: &mut Vec<Problem>, tree: &Node, kinds: &[Arc<dyn AnyKind>]) {
    let found = find(tree, kinds, problems);
    problems.retain(|p| !NO_GLOB.contains(&p.id) || found.iter().all(|braces| braces.at != p.at));
    problems.extend(found);
}

fn find(tree: &Node, kinds: &[Arc<dyn AnyKind>], told: &[Problem]) -> Vec<Problem> {
    let mut found = Found { told, problems: vec![] };
    for (_, source) in section(tree, "sources") {
        let known = |key: &Key| told.iter().all(|problem| problem.at != key.span);
        for (key, node) in source.entries().iter().filter(|(key, _)| key.name != "answer" && known(key)) {
            let help = match key.name.as_str() {
                "topic" => "write where it stands: `topic: { json: type }` in the body, `topic: { header: X-Name }` in a header",
                "id" => "write where it stands: `id: { json: id }` in the body, `id: { header: X-Name }` in a header",
                _ => "what a source is does not depend on its events",
            };
            found.plain(node, help);
        }
    }
    for route in tree.get("routes").into_iter().flat_map(items) {
        found.route(route);
    }
    for (_, output) in section(tree, "outputs") {
        found.output(output, kinds);
    }
    found.problems
}

fn section<'t>(tree: &'t Node, name: &str) -> impl Iterator<Item = &'t (Key, Node)> {
    tree.get(name).into_iter().flat_map(Node::entries)
}

fn items(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(items) => items,
        _ => std::slice::from_ref(node),
    }
}

struct Found<'t> {
    told: &'t [Problem],
    problems: Vec<Problem>,
}

impl Found<'_> {
    fn route(&mut self, route: &Node) {
        let told = self.told;
        for (key, node) in route.entries().iter().filter(|(key, _)| told.iter().all(|problem| problem.at != key.span)) {
            match key.name.as_str() {
                // jq has braces of its own.
                "where" | "transform" => {}
                "to" => {
                    for (key, node) in items(node).iter().flat_map(Node::entries) {
                        if key.name == "output" {
                            self.plain(
                                node,
                                "an output is named as it stands under `outputs`; where it depends on the event, write several routes",
                            );
                        } else {
                            self.template(node);
                        }
                    }
                }
                "topic" => self.topic(node),
                "filter" => self.plain(
                    node,
                    "a filter compares with the text itself; to compare two values of an event write `where: '.data.a == .data.b'`",
                ),
                _ => self.plain(node, "write it as it is"),
            }
        }
    }

    fn output(&mut self, output: &Node, kinds: &[Arc<dyn AnyKind>]) {
        let named = output.get("type").and_then(Node::as_text);
        let Some(kind) = kinds.iter().find(|kind| named == Some(kind.name())) else { return };
        let fields: Vec<String> = kind.fields().iter().map(|field| field.name.to_string()).collect();
        let help = match fields.as_slice() {
            [] => "a setting is the same for every event".to_owned(),
            fields => format!("a setting is the same for every event; values of it stand in the message: `{}`", fields.join("`, `")),
        };
        let known = |key: &Key| self.told.iter().all(|problem| problem.at != key.span);
        for (key, node) in output.entries().iter().filter(|(key, _)| known(key)).collect::<Vec<_>>() {
            if fields.contains(&key.name) {
                self.template(node);
            } else if let Some((_, inner)) = KEYS.iter().find(|(outer, _)| *outer == key.name) {
                node.get(inner).into_iter().for_each(|node| self.template(node));
            } else {
                self.plain(node, &help);
            }
        }
    }

    /// Texts that are taken as they are written.
    fn plain(&mut self, node: &Node, help: &str) {
        self.each_text(node, &mut |text, node| {
            let at = double(text).or_else(|| single(text))?;
            let title = format!("`{}` is not replaced here", &text[at.clone()]);
            Some((Problem::error("not-rendered", node.span, title, "taken as it is written").help(help), at))
        });
    }

    /// Topics of a route: braces in them never mean anything.
    fn topic(&mut self, node: &Node) {
        self.each_text(node, &mut |text, node| {
            let any = || text.find("{{").map(|at| at..text[at..].find("}}").map_or(text.len(), |end| at + end + 2));
            let at = double(text).or_else(|| single(text)).or_else(any)?;
            let title = format!("a route's `topic` is a pattern: `{}` is not replaced in it", &text[at.clone()]);
            let problem = Problem::error("not-rendered", node.span, title, "held against the event's topic as it is written");
            Some((problem.help(instead_of(&text[at.clone()])), at))
        });
    }

    /// Templates.
    fn template(&mut self, node: &Node) {
        self.each_text(node, &mut |text, node| {
            if text.starts_with("={{") {
                let help = "a text with values in it is written as it is, without a `=`: take that away";
                return Some((
                    Problem::warning("odd-value", node.span, "the `=` in front is sent as it stands", "a part of the text").help(help),
                    0..1,
                ));
            }
            let at = single(text)?;
            let title = format!("`{}` is sent as it stands", &text[at.clone()]);
            let help = format!(
                "a value of the event stands in two braces: write `{{{}}}`",
                text[at.clone()].replace('{', "{ ").replace('}', " }")
            );
            Some((Problem::warning("single-brace", node.span, title, "one pair of braces is text").help(help), at))
        });
    }

    fn each_text(&mut self, node: &Node, look: &mut Look<'_>) {
        match &node.value {
            Value::Map(entries) => entries.iter().for_each(|(_, node)| self.each_text(node, look)),
            Value::List(items) => items.iter().for_each(|node| self.each_text(node, look)),
            Value::Text(text) if !self.told.iter().any(|problem| !NO_GLOB.contains(&problem.id) && node.span.contains(problem.at)) => {
                let found = look(&text.written, node);
                // Where `${…}` put something in, places in the text are others.
                let whole = text.replaced.is_some();
                self.problems.extend(found.map(|(problem, at)| if whole { problem } else { problem.within(at) }));
            }
            _ => {}
        }
    }
}

/// What to write instead of a value of the event, where the topic is to depend on it.
fn instead_of(braces: &str) -> String {
    let inner = braces.trim_matches(['{', '}', '-', ' ']);
    let inner = inner.split('|').next().unwrap_or_default().trim();
    let plain = |path: &str| !path.is_empty() && path.chars().all(|c| c.is_alphanumeric() || "._-".contains(c));
    let header = inner.strip_prefix("headers.").or_else(|| inner.strip_prefix("headers[")?.strip_suffix(']'));
    let header = header.map(|name| name.trim_matches(['\'', '"'])).filter(|name| plain(name));
    let (filter, source) = match (inner.strip_prefix("data.").filter(|path| plain(path)), header) {
        (Some(path), _) => (format!("data.{path}"), format!("json: {path}")),
        (None, Some(name)) => (format!("headers.{name}"), format!("header: {name}")),
        (None, None) => return "write it as it is, such as `ORDER_*`, or leave `topic` out to take every topic".to_owned(),
    };
    format!(
        "to go by that value write `filter: {{ {filter}: VALUE }}`; if it is the event's topic, say so at the source: `topic: {{ {source} }}`"
    )
}

/// Finds the first place in a text that is wrong, and what is to be told of it.
type Look<'l> = dyn FnMut(&str, &Node) -> Option<(Problem, Range<usize>)> + 'l;

/// Where a template's value stands that names a part of an event: `{{ data.x }}`.
fn double(text: &str) -> Option<Range<usize>> {
    let starts = text.match_indices("{{").map(|(at, _)| at);
    starts.filter_map(|at| Some(at..at + text[at..].find("}}")? + 2)).find(|at| {
        let inner = text[at.clone()].trim_matches(['{', '}', '-', ' ']);
        let name = inner.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
        PARTS.contains(&name)
    })
}

/// Where the same stands in one pair of braces, with a path behind it: `{data.x}`.
fn single(text: &str) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let alone = |at: usize| bytes[at] == b'{' && (at == 0 || !b"{$%".contains(&bytes[at - 1])) && bytes.get(at + 1) != Some(&b'{');
    let starts = text.match_indices('{').map(|(at, _)| at).filter(|at| alone(*at));
    starts.filter_map(|at| Some(at..at + text[at..].find('}')? + 1)).find(|at| {
        let inner = &text[at.start + 1..at.end - 1];
        let path = inner.split_once('.');
        let plain = inner.chars().all(|c| c.is_alphanumeric() || "._-[]".contains(c));
        plain && bytes.get(at.end) != Some(&b'}') && path.is_some_and(|(name, rest)| PARTS.contains(&name) && !rest.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_names_a_part_of_an_event_is_found_and_nothing_else() {
        let of = |find: fn(&str) -> Option<Range<usize>>, text: &'static str| find(text).map(|at| &text[at]);
        for (braces, words) in [
            ("{{ data.type }}", ["`filter: { data.type: VALUE }`", "`topic: { json: type }`"]),
            ("{{ data.a.b|lower }}", ["`filter: { data.a.b: VALUE }`", "`topic: { json: a.b }`"]),
            ("{{ headers['x-kind'] }}", ["`filter: { headers.x-kind: VALUE }`", "`topic: { header: x-kind }`"]),
            ("{{ event.type }}", ["write it as it is", "leave `topic` out"]),
            ("{{ data['a b'] }}", ["write it as it is", "leave `topic` out"]),
        ] {
            let help = instead_of(braces);
            assert!(words.iter().all(|word| help.contains(word)), "{braces}: {help}");
        }
        assert_eq!(of(double, "x {{ data.type }} y"), Some("{{ data.type }}"));
        assert_eq!(of(double, "{{- topic|upper -}}"), Some("{{- topic|upper -}}"));
        for text in ["{{", "}} {{", "{{ name }}", "{{ database.x }}", "{ data.x }", "{{{", "{data.x}"] {
            assert_eq!(of(double, text), None, "{text}");
        }
        assert_eq!(of(single, "Order {data.number}: {{ data.total }}"), Some("{data.number}"));
        assert_eq!(of(single, "{headers.x-shop}"), Some("{headers.x-shop}"));
        for text in
            ["{{ data.x }}", "{{data.x}}", "${data.x}", "{ data.x }", "{id}", "{data}", "{\"data.x\": 1}", "{date}", "{data.", "{%data.x%}"]
        {
            assert_eq!(of(single, text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic_and_every_place_is_in_it(text in "([{}$% .é-]|data|topic|\\PC){0,30}") {
            for at in [double(&text), single(&text)].into_iter().flatten() {
                let found = text.get(at).map(|found| found.starts_with('{') && found.ends_with('}'));
                prop_assert_eq!(found, Some(true));
            }
        }
    }
}
