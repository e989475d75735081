//! What stands where it does because a line is indented too little or too much: said as that, where the reader of the place can only say what it found.

use switchyard_api::tree::Key;
use switchyard_api::{Node, Problem, Value};

/// Sections of the file, whose names no source or output has by purpose.
const SECTIONS: [&str; 7] = ["server", "journal", "egress", "sources", "routes", "outputs", "tests"];
/// How conditions of a filter begin.
const PATHS: [&str; 3] = ["data.", "headers.", "query."];

/// Gives such problems another help, and takes out what is told only because of another.
pub fn explain(problems: &mut Vec<Problem>, from: usize, tree: &Node) {
    for problem in &mut problems[from..] {
        let help = match problem.id {
            "unknown-key" => section_of(problem, tree).or_else(|| condition_of(problem, tree)),
            "wrong-type" => section_in(problem, tree).or_else(|| listed(problem, tree)),
            _ => None,
        };
        if let Some(help) = help {
            (problem.help, problem.patch) = (Some(help), None);
        }
    }
    for section in ["sources", "outputs"] {
        flat(problems, from, tree.get(section).map(Node::entries).unwrap_or_default());
    }
    if tree.get("outputs").is_some_and(|outputs| matches!(outputs.value, Value::List(_))) {
        let mut nth = 0;
        problems.retain(|problem| {
            nth += 1;
            nth <= from || problem.id != "unknown-output"
        });
    }
}

/// A source or an output at the left edge.
fn section_of(problem: &Problem, tree: &Node) -> Option<String> {
    let (key, node) = tree.entries().iter().find(|(key, _)| key.span == problem.at)?;
    let (what, section) = match (node.get("type"), node.get("verify"), node.get("to")) {
        (Some(_), ..) => ("an output", "outputs"),
        (_, Some(_), _) => ("a source", "sources"),
        (.., Some(_)) => ("a route", "routes"),
        _ => return None,
    };
    Some(format!("`{}` looks like {what}: indent it, and all of it, below `{section}:`", key.name))
}

/// A condition beside the filter and not in it.
fn condition_of(problem: &Problem, tree: &Node) -> Option<String> {
    let routes = tree.get("routes").map(Node::several).unwrap_or_default();
    let (key, _) = routes.iter().flat_map(Node::entries).find(|(key, _)| key.span == problem.at)?;
    PATHS.iter().any(|path| key.name.starts_with(path)).then(|| "a condition stands below `filter:`, indented deeper than it".to_owned())
}

/// A section that is indented as if it were a source or an output.
fn section_in(problem: &Problem, tree: &Node) -> Option<String> {
    let inside = ["sources", "outputs"].into_iter().flat_map(|section| tree.get(section).map(Node::entries).unwrap_or_default());
    let (key, _) = inside.into_iter().find(|(key, node)| node.span == problem.at && SECTIONS.contains(&key.name.as_str()))?;
    Some(format!("`{}:` is a section of its own: write it at the left edge", key.name))
}

/// Names as entries of a list.
fn listed(problem: &Problem, tree: &Node) -> Option<String> {
    let section = ["sources", "outputs"].into_iter().find(|section| tree.get(section).is_some_and(|node| node.span == problem.at))?;
    let Value::List(items) = &tree.get(section)?.value else { return None };
    let name = items.first()?.get("name")?.as_text()?;
    Some(format!("each is a key with its name: write `{name}:` for `- name: {name}`, and what belongs to it below, indented"))
}

/// Settings that stand beside the name that they belong to: told once, at the name.
fn flat(problems: &mut Vec<Problem>, from: usize, entries: &[(Key, Node)]) {
    let plain = |node: &Node| !matches!(node.value, Value::Map(_) | Value::Null);
    for (at, (name, node)) in entries.iter().enumerate().filter(|(_, (_, node))| node.value == Value::Null) {
        let beside: Vec<&(Key, Node)> = entries[at + 1..].iter().take_while(|(_, node)| plain(node)).collect();
        let Some((first, _)) = beside.first() else { continue };
        let mut nth = 0;
        problems.retain_mut(|problem| {
            nth += 1;
            if nth <= from {
                return true;
            }
            if problem.at == node.span && problem.id == "wrong-type" {
                problem.help = Some(format!("`{}` and what follows belong to `{}`: indent them deeper than it", first.name, name.name));
            }
            !beside.iter().any(|(key, node)| problem.at == node.span || problem.at == key.span)
        });
    }
}
