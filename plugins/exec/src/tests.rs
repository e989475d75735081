//! What reading and judging the settings finds.

use super::*;
use switchyard_api::tree::{Key, Text};

fn node(value: Value, start: usize) -> Node {
    Node { span: Span { start, end: start + 1 }, value }
}
fn text(written: &str, replaced: Option<&str>, start: usize) -> Node {
    node(Value::Text(Text { written: written.into(), replaced: replaced.map(Secret::new) }), start)
}
fn map(entries: Vec<(&str, Node)>) -> Node {
    let entry = |(name, node): (&str, Node)| (Key { span: Span::default(), name: name.to_owned() }, node);
    // As in a file, a map reaches over all that is in it.
    Node { span: Span { start: 0, end: 1_000 }, value: Value::Map(entries.into_iter().map(entry).collect()) }
}
/// What is said of settings: rule, where, and whether they can run.
fn judged(settings: Vec<(&str, Node)>) -> (Vec<(&'static str, usize)>, bool) {
    let mut problems = vec![];
    let config = Exec.read(&map(settings), &mut problems);
    problems.extend(config.iter().flat_map(|config| Exec.validate(config)));
    assert!(problems.iter().all(|problem| problem.help.is_some()), "{problems:?}");
    let runs = problems.iter().all(|problem| problem.severity == switchyard_api::problem::Severity::Warning);
    (problems.iter().map(|problem| (problem.id, problem.at.start)).collect(), runs)
}
fn command(words: Vec<Node>) -> (&'static str, Node) {
    ("command", node(Value::List(words), 10))
}

#[test]
fn each_mistake_is_told_at_its_place() {
    let good = || command(vec![text("python3", None, 11), text("stock.py", None, 12)]);
    let cases = [
        (vec![command(vec![])], "bad-command", 10),
        (vec![command(vec![text(" ", None, 11)])], "bad-command", 10),
        (vec![command(vec![text("a\0", None, 11)])], "bad-command", 11),
        (vec![command(vec![text("a", None, 11), text("{{ data.id }}", None, 12)])], "bad-command", 12),
        (vec![("command", text("python3 stock.py", None, 10))], "wrong-type", 10),
        (vec![good(), ("env", map(vec![("A=B", text("x", None, 20))]))], "bad-env", 20),
        (vec![good(), ("env", map(vec![("A", text("x\0", None, 20))]))], "bad-env", 20),
        (vec![good(), ("memory", text("1MiB", None, 20))], "wrong-value", 20),
        (vec![good(), ("cpu", text("10ms", None, 20))], "wrong-value", 20),
        (vec![good(), ("max_batch", node(Value::Int(0), 20))], "wrong-value", 20),
        (vec![good(), ("max_batch", node(Value::Int(1001), 20))], "wrong-value", 20),
        (vec![good(), ("max_batch", node(Value::Int(2), 20)), ("mode", text("once", None, 30))], "wrong-value", 20),
    ];
    for (settings, id, start) in cases {
        assert_eq!(judged(settings.clone()), (vec![(id, start)], false), "{settings:?}");
    }
    let all = vec![good(), ("memory", text("16MiB", None, 20)), ("cpu", text("1s", None, 30)), ("max_batch", node(Value::Int(1000), 40))];
    assert_eq!(judged(all), (vec![], true));
}

#[test]
fn a_secret_in_the_command_is_told_and_hidden() {
    let words = vec![text("notify", None, 11), text("--key=${KEY}", Some("--key=hush-hush{{"), 12)];
    assert_eq!(judged(vec![command(words.clone())]), (vec![("visible-secret", 12)], true));
    let config = Exec.read(&map(vec![command(words)]), &mut vec![]).unwrap();
    assert!(!format!("{config:?}").contains("hush"));
}

#[test]
fn the_readme_says_what_the_docs_say() {
    switchyard_api::conformance::readme_is_the_docs(include_str!("lib.rs"), include_str!("../README.md"));
}
