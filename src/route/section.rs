//! The section `routes` of the file, as written. Plain: nothing is compiled or looked up here.

use serde::Deserialize;
use serde::de::IgnoredAny;
use switchyard_api::problem::nearest;
use switchyard_api::shape::{self, Shape};
use switchyard_api::tree::{self, Key, Node, Value};
use switchyard_api::{At, Jq, Problem, Span};

/// One route: which events, and where they go.
#[derive(Debug, Clone)]
pub struct RouteSection {
    /// Where it stands.
    pub span: Span,
    /// Its name in logs, ids and commands; unique. default: `route-` and its number in the file, from 1
    pub name: Option<At<String>>,
    /// Sources whose events it takes; one or a list. default: any
    pub from: Vec<At<String>>,
    /// Topics it takes, as globs: `*` within dots, `**` across, `?` one character; one or a list. default: any   example: `ORDER_*`
    pub topic: Vec<At<String>>,
    /// Conditions that must all hold.   example: `{ data.total: { gt: 1000 } }`
    pub filter: Option<Node>,
    /// `where`: a jq program; the route takes the event if its first result is neither `false` nor `null`.
    pub condition: Option<Jq>,
    /// A jq program; each of its results is a delivery of its own.
    pub transform: Option<Jq>,
    /// When its deliveries may go, a window or a list of them; outside they are held.   default: always   example: `{ zone: Europe/Amsterdam, on: mon-fri }`
    pub hours: Option<Node>,
    /// Outputs, each with the message fields it overrides; one or a list.
    pub to: Vec<ToSection>,
}

/// One output of a route.
#[derive(Debug, Clone)]
pub struct ToSection {
    /// The output's name.
    pub output: At<String>,
    /// Message fields that are other than the output sets them.
    pub message: Vec<(Key, Node)>,
}

/// The keys of a route. Those that hold keys of their own, or one word or several, are read by hand: they need their places.
#[derive(Deserialize)]
struct Keys {
    name: Option<At<String>>,
    #[serde(rename = "from")]
    _from: Option<IgnoredAny>,
    #[serde(rename = "topic")]
    _topic: Option<IgnoredAny>,
    #[serde(rename = "filter")]
    _filter: Option<IgnoredAny>,
    r#where: Option<Jq>,
    transform: Option<Jq>,
    #[serde(rename = "hours")]
    _hours: Option<IgnoredAny>,
    #[serde(rename = "to")]
    _to: IgnoredAny,
}

impl RouteSection {
    /// The keys of a route.
    pub fn keys() -> &'static [&'static str] {
        tree::keys::<Keys>()
    }

    /// What a route may be; `hours` and `to` are other rooms' and read by hand.
    pub fn shape() -> Shape {
        let Shape::Keys(fields, required) = shape::of::<Keys>() else { return Shape::Any };
        let words = || Shape::Optional(Box::new(Shape::OneOf(vec![Shape::Text, Shape::List(Box::new(Shape::Text))])));
        let of = |name: String, shape| match name.as_str() {
            "from" | "topic" => (name, words()),
            "filter" => (name, Shape::Optional(Box::new(Shape::Defined("filter")))),
            _ => (name, shape),
        };
        Shape::Keys(fields.into_iter().map(|(name, shape)| of(name, shape)).collect(), required)
    }

    /// Reads all routes of the section; every problem is pushed, `None` if any of them keeps a route from being read.
    pub fn read_all(section: &Node, problems: &mut Vec<Problem>) -> Option<Vec<RouteSection>> {
        match &section.value {
            Value::Null => Some(vec![]),
            Value::List(items) => {
                let routes: Vec<_> = items.iter().map(|item| RouteSection::read(item, problems)).collect();
                routes.into_iter().collect()
            }
            _ => {
                let problem = Problem::error("wrong-type", section.span, format!("routes are a list, not {}", section.kind()), "here");
                problems.push(problem.help("begin each route with `- `, such as `- name: orders`"));
                None
            }
        }
    }

    /// Reads one route.
    pub fn read(node: &Node, problems: &mut Vec<Problem>) -> Option<RouteSection> {
        let keys: Option<Keys> = tree::read(node, problems);
        let from = words(node.get("from"), problems);
        let topic = words(node.get("topic"), problems);
        let to = node.get("to").map(|to| to.several().iter().map(|item| ToSection::read(item, problems)).collect::<Vec<_>>());
        let to: Vec<ToSection> = to.unwrap_or_default().into_iter().collect::<Option<_>>()?;
        if let Some(empty) = node.get("to").filter(|_| to.is_empty()) {
            problems.push(
                Problem::error("wrong-value", empty.span, "a route needs an output", "nowhere to go").help("name an output: `to: NAME`"),
            );
            return None;
        }
        let keys = keys?;
        let filter = node.get("filter").cloned();
        Some(RouteSection {
            span: node.span,
            name: keys.name,
            from: from?,
            topic: topic?,
            filter,
            condition: keys.r#where,
            transform: keys.transform,
            hours: node.get("hours").cloned(),
            to,
        })
    }
}

impl ToSection {
    fn read(node: &Node, problems: &mut Vec<Problem>) -> Option<ToSection> {
        if matches!(node.value, Value::Text(_)) {
            return Some(ToSection { output: tree::read(node, problems)?, message: vec![] });
        }
        let Value::Map(entries) = &node.value else {
            let title = format!("expected an output's name, or `{{ output: …, <message fields> }}`, found {}", node.kind());
            problems.push(Problem::error("wrong-type", node.span, title, "here").help("write `to: NAME`, or `to: [ONE, TWO]`"));
            return None;
        };
        let Some(output) = node.get("output") else {
            let near = entries.iter().find(|(key, _)| nearest(&key.name, ["output"]).is_some());
            problems.push(match near {
                Some((key, _)) => Problem::error("unknown-key", key.span, format!("unknown key `{}`", key.name), "not a key here")
                    .help("did you mean `output`?")
                    .patch("output"),
                None => Problem::error("missing-key", node.span, "the key `output` is missing", "missing here").help(match &entries[..] {
                    [(key, inner)] if !inner.entries().is_empty() => {
                        format!("the output's name is a value: `{{ output: {}, … }}`", key.name)
                    }
                    _ => "add `output: NAME` beside the message fields".to_owned(),
                }),
            });
            return None;
        };
        let message = entries.iter().filter(|(key, _)| key.name != "output").cloned().collect();
        Some(ToSection { output: tree::read(output, problems)?, message })
    }
}

/// One word or a list of words; nothing is no words.
fn words(node: Option<&Node>, problems: &mut Vec<Problem>) -> Option<Vec<At<String>>> {
    let Some(node) = node.filter(|node| node.value != Value::Null) else { return Some(vec![]) };
    if matches!(&node.value, Value::List(items) if items.is_empty()) {
        problems.push(
            Problem::error("wrong-value", node.span, "an empty list matches nothing", "here").help("leave the key out to match anything"),
        );
        return None;
    }
    let words: Vec<Option<At<String>>> = node.several().iter().map(|item| tree::read(item, problems)).collect();
    words.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::testing::tree;

    #[test]
    fn a_word_a_list_and_a_map_are_read_alike() {
        let text = r#"{"name": "big", "from": "shop", "topic": ["A_*", "B"], "filter": {"data.a": 1}, "where": ".data", "transform": ".",
            "to": ["mail", {"output": "chat", "text": "{{ data.a }}"}]}"#;
        let mut problems = vec![];
        let route = RouteSection::read(&tree(text), &mut problems).unwrap();
        assert_eq!(problems, []);
        let told = |words: &[At<String>]| words.iter().map(|word| word.value.clone()).collect::<Vec<_>>().join(" ");
        assert_eq!((told(&route.from).as_str(), told(&route.topic).as_str()), ("shop", "A_* B"));
        assert_eq!(route.to[1].message[0].0.name, "text");
        assert!(route.filter.is_some() && route.condition.is_some() && route.transform.is_some());
        let short = RouteSection::read(&tree(r#"{"to": "mail"}"#), &mut problems).unwrap();
        assert_eq!((short.from.len(), short.topic.len(), short.to.len(), short.name), (0, 0, 1, None));
    }

    #[test]
    fn every_mistake_is_told_at_its_place() {
        let text =
            r#"[{"nmae": "a", "to": "mail"}, {"from": 5}, {"to": []}, {"to": [7, {"text": "x"}]}, {"to": "a", "topic": [], "where": [1]}]"#;
        let mut problems = vec![];
        assert!(RouteSection::read_all(&tree(text), &mut problems).is_none());
        let told: Vec<String> = problems.iter().map(|p| format!("{} at {}: {}", p.id, &text[p.at.start..p.at.end], p.title)).collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        unknown-key at "nmae": unknown key `nmae`
        missing-key at {"from": 5}: the key `to` is missing
        wrong-value at []: a route needs an output
        wrong-type at 7: expected an output's name, or `{ output: …, <message fields> }`, found a whole number
        missing-key at {"text": "x"}: the key `output` is missing
        wrong-type at [1]: expected a text, found a list
        wrong-value at []: an empty list matches nothing
        "#);
    }
}
