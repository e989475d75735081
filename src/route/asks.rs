//! What of an event a route goes by, and what it writes where a value decides: read from the file's text, for `check`.
//!
//! Never: says whether that may be so. Who does knows the senders (`daemon/unsigned.rs`).

use super::jq::Program;
use super::message::OutputMessage;
use super::section::{RouteSection, ToSection};
use super::template::{Engine, Rules};
use std::ops::Range;
use switchyard_api::Span;
use switchyard_api::kind::{Confine, Field};
use switchyard_api::tree::{Key, Node, Value};

/// A value of an event that the file asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Where in the file.
    pub at: Span,
    /// Where in the text there.
    pub within: Option<Range<usize>>,
    /// Its path, such as `headers.x-shop`.
    pub path: String,
    /// Where it is written: the message field and the output; `None`: it decides whether the route takes an event.
    pub fills: Option<(String, String)>,
}

impl Ask {
    /// What decides whether a route takes an event, and what fills parts of messages that are structure or parameters of a program.
    pub fn of(route: &RouteSection, outputs: &[OutputMessage]) -> Vec<Ask> {
        let mut asks: Vec<Ask> = route.topic.first().map(|topic| Ask::deciding(topic.span, None, "topic")).into_iter().collect();
        route.filter.iter().for_each(|filter| filter_asks(filter, &mut asks));
        if let Some(jq) = &route.condition {
            asks.extend(program_reads(&jq.text).into_iter().map(|(within, path)| Ask::deciding(jq.span, Some(within), &path)));
        }
        for to in &route.to {
            let Some(output) = outputs.iter().find(|output| *output.name == *to.output.value) else { continue };
            fillings(route, to, output, &mut asks);
        }
        asks
    }

    fn deciding(at: Span, within: Option<Range<usize>>, path: &str) -> Ask {
        Ask { at, within, path: path.to_owned(), fills: None }
    }
}

fn filter_asks(filter: &Node, asks: &mut Vec<Ask>) {
    for (key, node) in filter.entries() {
        if key.name == "any" {
            node.several().iter().for_each(|filter| filter_asks(filter, asks));
        } else {
            asks.push(Ask::deciding(key.span, None, &key.name));
        }
    }
}

/// What is wrong with a program is told where it is compiled.
fn program_reads(text: &str) -> Vec<(Range<usize>, String)> {
    Program::check(text).map(|program| program.reads().to_vec()).unwrap_or_default()
}

/// The fields that are structure, and those that fill a program (a statement).
fn fillings(route: &RouteSection, to: &ToSection, output: &OutputMessage, asks: &mut Vec<Ask>) {
    let has_program = output.fields.iter().any(|field| field.confine == Confine::Constant);
    let decides = |field: &&Field| field.confine == Confine::Name || has_program && field.confine == Confine::Content;
    let before = asks.len();
    let mut live = None;
    for field in output.fields.iter().filter(decides) {
        let engine = Engine::new(Rules::of(field));
        for (label, node) in written(field, to, output) {
            let Some(template) = node.as_text().and_then(|text| engine.compile(text).ok()) else { continue };
            let fills = Some((label, output.name.to_string()));
            for (within, path) in template.reads() {
                live.get_or_insert_with(|| fills.clone());
                // After a `transform` this is its result, which has its own ask.
                if route.transform.is_none() || !path.starts_with("data") {
                    asks.push(Ask { at: node.span, within: Some(within), path, fills: fills.clone() });
                }
            }
        }
    }
    if let (Some(jq), Some(fills)) = (&route.transform, live) {
        let reads = program_reads(&jq.text).into_iter();
        let through = reads.map(|(within, path)| Ask { at: jq.span, within: Some(within), path, fills: fills.clone() });
        let through: Vec<Ask> = through.collect();
        asks.splice(before..before, through);
    }
}

/// The templates of a field, each with how it is called: a route's before the output's.
fn written<'n>(field: &Field, to: &'n ToSection, output: &'n OutputMessage) -> Vec<(String, &'n Node)> {
    fn find<'n>(message: &'n [(Key, Node)], name: &str) -> Option<&'n Node> {
        message.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }
    let (route, own) = (find(&to.message, &field.name), find(&output.message, &field.name));
    let Some(Value::Map(_)) = route.or(own).map(|node| &node.value) else {
        return route.or(own).map(|node| (field.name.to_string(), node)).into_iter().collect();
    };
    let of = |node: Option<&'n Node>| node.map(Node::entries).unwrap_or_default();
    let kept = of(own).iter().filter(|(key, _)| !of(route).iter().any(|(over, _)| over.name == key.name));
    kept.chain(of(route)).map(|(key, node)| (format!("{}.{}", field.name, key.name), node)).collect()
}
