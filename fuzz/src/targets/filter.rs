//! Filters: what is read of a file, and what it says of an event. What it must be is said by itself in other words: all of its conditions, its
//! opposite, one of several; and the values at its paths by a plain walk.

use crate::input::{event, parts};
use switchyard::config::parse::parse;
use switchyard::model::{Event, envelope};
use switchyard::route::facts::{Fact, Facts, Paths};
use switchyard::route::filter::Filter;
use switchyard_api::tree::{Key, Node, Value};
use switchyard_reference::json::{self, Tree};

/// Most conditions of one filter that are tried one by one.
const CONDITIONS_MAX: usize = 16;

/// What a filter sees, as a value.
pub fn said(fact: &Fact<'_>) -> Option<Tree> {
    match fact {
        Fact::Text(text) => Some(Tree::Text(text.to_string())),
        Fact::Number(text) | Fact::List(text) | Fact::Object(text) => json::read(text),
        Fact::Null | Fact::Bool(_) => json::read(&fact.to_string()),
    }
}

/// A filter as it stands in a file, and a body.
pub fn filter(input: &[u8]) {
    let [text, body] = parts(input);
    let Ok(text) = std::str::from_utf8(text) else { return };
    let mut problems = vec![];
    let Some(tree) = parse(text, &mut problems) else { return };
    let event = event(body);
    let holds = holds(&tree, &event);
    if let Err(problems) = &holds {
        assert!(!problems.is_empty(), "refused without a word");
        for (what, start, end) in problems {
            assert!(start <= end && *end <= text.len(), "{what} lies outside");
        }
    }
    let conditions = tree.entries();
    if let (Ok(holds), true) = (&holds, conditions.len() <= CONDITIONS_MAX) {
        let each = conditions.iter().filter(|(key, node)| alone(key, node.clone(), &event).unwrap_or(true)).count();
        assert_eq!(*holds, each == conditions.len(), "it is all of its conditions");
        assert_eq!(self::holds(&any_of(tree.clone()), &event).ok(), Some(*holds), "it is one of itself");
        for (key, node) in conditions.iter().filter(|(key, _)| key.name != "any") {
            opposite(key, node, &event);
            values(&key.name, &event);
        }
    }
}

/// Whether it holds, or what is wrong with it and where.
fn holds(tree: &Node, event: &Event) -> Result<bool, Vec<(String, usize, usize)>> {
    let (mut paths, mut problems) = (Paths::default(), vec![]);
    let filter = Filter::read(tree, &mut paths, &mut problems);
    let told = problems.iter().map(|problem| (problem.title.clone(), problem.at.start, problem.at.end)).collect();
    let filter = filter.ok_or::<Vec<_>>(told)?;
    let facts = Facts::new(event, &paths);
    let holds = filter.holds(&facts);
    assert_eq!(holds, filter.miss(&facts).is_none(), "what is missing is said, and nothing else");
    Ok(holds)
}

fn map(key: Key, node: Node) -> Node {
    Node { span: node.span, value: Value::Map(vec![(key, node)]) }
}

fn named(name: &str, node: Node) -> Node {
    map(Key { span: node.span, name: name.to_owned() }, node)
}

fn alone(key: &Key, node: Node, event: &Event) -> Option<bool> {
    holds(&map(key.clone(), node), event).ok()
}

fn any_of(tree: Node) -> Node {
    named("any", Node { span: tree.span, value: Value::List(vec![tree]) })
}

fn opposite(key: &Key, node: &Node, event: &Event) {
    let (is, is_not) = (alone(key, node.clone(), event), alone(key, named("not", node.clone()), event));
    if let (Some(is), Some(is_not)) = (is, is_not) {
        assert_ne!(is, is_not, "`{}` and its opposite", key.name);
    }
}

/// The values at a path of the body, in the one pass and by a walk.
fn values(path: &str, event: &Event) {
    let Some(names) = path.strip_prefix("data.") else { return };
    let tree = std::str::from_utf8(&event.body).ok().filter(|_| !envelope::too_deep(&event.body)).and_then(json::read);
    let mut paths = Paths::default();
    let (Some(tree), Ok(place)) = (tree, paths.add(path)) else { return };
    let (mut found, mut expected) = (vec![], vec![]);
    Facts::new(event, &paths).any(&place, |fact| {
        found.push(said(&fact));
        false
    });
    tree.at(&names.split('.').collect::<Vec<_>>(), &mut expected);
    assert_eq!(found.iter().map(Option::as_ref).collect::<Vec<_>>(), expected.into_iter().map(Some).collect::<Vec<_>>(), "{path}");
}
