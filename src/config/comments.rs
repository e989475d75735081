//! A `#` that was meant as part of a text and makes a comment of the rest of the line: `text: Order #{{ data.number }}`, `channel: #sales`.
//!
//! The file is good YAML, and says less than its writer thinks; so it is told, and runs.

use switchyard_api::tree::{Key, Node, Value};
use switchyard_api::{Problem, Span};

/// Those of a file.
pub fn cut(tree: &Node, text: &str) -> Vec<Problem> {
    let mut found = vec![];
    walk(None, tree, text, &mut found);
    found
}

fn walk(key: Option<&Key>, node: &Node, text: &str, found: &mut Vec<Problem>) {
    match (&node.value, key) {
        (Value::Map(entries), _) => entries.iter().for_each(|(key, node)| walk(Some(key), node, text, found)),
        (Value::List(items), _) => items.iter().for_each(|node| walk(None, node, text, found)),
        (Value::Text(_), _) if !text[node.span.start..].starts_with(['"', '\'', '|', '>']) => {
            let comment = comment_behind(node.span.end, text);
            found.extend(comment.filter(|at| text[at.start..at.end].contains("{{")).map(told));
        }
        (Value::Null, Some(key)) => {
            let colon = text.get(key.span.end..).filter(|rest| rest.starts_with(':')).map(|_| key.span.end + 1);
            let comment = colon.and_then(|at| comment_behind(at, text));
            let glued = |at: &Span| text[at.start + 1..at.end].starts_with(|c: char| c.is_alphanumeric());
            found.extend(comment.filter(glued).map(told));
        }
        _ => {}
    }
}

/// The comment that follows on the same line.
fn comment_behind(at: usize, text: &str) -> Option<Span> {
    let line = text.get(at..)?.lines().next()?.trim_end();
    let comment = line.trim_start();
    (comment.starts_with('#') && comment.len() < line.len()).then(|| Span { start: at + line.len() - comment.len(), end: at + line.len() })
}

fn told(at: Span) -> Problem {
    let problem = Problem::warning("comment-cuts", at, "what stands behind a ` #` is a comment", "not part of the value");
    problem.help("put the whole value in quotes; a comment of its own is better on the line above")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse::parse;

    #[test]
    fn what_looks_like_a_part_of_the_value_is_told_and_comments_are_not() {
        let of = |text: &str| {
            let tree = parse(text, &mut vec![]).unwrap();
            cut(&tree, text).iter().map(|problem| text[problem.at.start..problem.at.end].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(of("text: Order #{{ data.number }} paid\n"), ["#{{ data.number }} paid"]);
        assert_eq!(of("a: [x,\n  y # {{ z }}\n]\n"), ["# {{ z }}"]);
        assert_eq!(of("channel: #sales\nto:\n  #here\n  a: b\n"), ["#sales"]);
        for good in [
            "text: 'Order #{{ x }}'\n",
            "text: a#b\n",
            "a: b # a comment\n",
            "a: # a comment\n  b: c\n",
            "a: #-----\nb: c\n",
            "a: | # {{ x }}\n  b\n",
            "# {{ x }}\na: b\n",
        ] {
            assert_eq!(of(good), [""; 0], "{good}");
        }
    }
}
