//! Where a key belongs that stands in the wrong place: the keys of every section, asked of the structs that read them.

use super::sections::AdminSection;
use crate::deliver::section;
use crate::hours::Hours;
use crate::ingest::section::{ServerSection, SourceSection};
use crate::journal::section::{JournalSection, RetainSection};
use crate::route::RouteSection;
use crate::verify::section::{Spelled, TimestampSection};
use std::sync::Arc;
use switchyard_api::tree::{self, Key};
use switchyard_api::{AnyKind, Node, Problem, Span, Value};

/// Adds to each unknown key that no name is near to where such a key has its place.
pub fn suggest(problems: &mut [Problem], tree: &Node, kinds: &[Arc<dyn AnyKind>]) {
    let outputs = tree.get("outputs").map(Node::entries).unwrap_or_default();
    for problem in problems.iter_mut().filter(|problem| problem.id == "unknown-key" && problem.patch.is_none()) {
        // The list says what its type has; the delivery's own keys are everybody's.
        if outputs.iter().any(|(_, output)| output.entries().iter().any(|(key, _)| key.span == problem.at)) {
            problem.help = problem.help.as_deref().map(|help| format!("{help}; every output has: {}", section::KEYS.join(", ")));
        }
        let Some(home) = key_at(tree, problem.at).and_then(|key| home(&key.name, kinds)) else { continue };
        let more = problem.help.as_deref().map(|help| format!("; here {help}")).unwrap_or_default();
        problem.help = Some(format!("it belongs {home}{more}"));
    }
}

/// The key that stands there.
fn key_at(node: &Node, at: Span) -> Option<&Key> {
    match &node.value {
        Value::Map(entries) => entries.iter().find_map(|(key, child)| if key.span == at { Some(key) } else { key_at(child, at) }),
        Value::List(items) => items.iter().find_map(|item| key_at(item, at)),
        _ => None,
    }
}

fn home(name: &str, kinds: &[Arc<dyn AnyKind>]) -> Option<&'static str> {
    let homes = [
        ("under `server`", tree::keys::<ServerSection>()),
        ("under `server.admin`", tree::keys::<AdminSection>()),
        ("under `journal`", tree::keys::<JournalSection>()),
        ("under `journal.retain`", tree::keys::<RetainSection>()),
        ("under `verify` of a source", tree::keys::<Spelled>()),
        ("under `timestamp` of a source's `verify`", tree::keys::<TimestampSection>()),
        ("under the name of a source", tree::keys::<SourceSection>()),
        ("in a route", RouteSection::keys()),
        ("under `hours` of a route or an output", Hours::keys()),
        ("under the name of an output", section::KEYS),
        ("under `retry` of an output", tree::keys::<section::RetrySection>()),
    ];
    let found = homes.into_iter().find(|(_, keys)| keys.contains(&name)).map(|(home, _)| home);
    let field = || {
        kinds.iter().any(|kind| kind.fields().iter().any(|field| field.name == name)).then_some("in the message of another type of output")
    };
    found.or_else(field)
}
