//! Credentials where a header is written out: a literal one in `headers` or `query` stands in the file for everybody to read, `${…}` is not replaced
//! there, and a bearer token has its `Bearer` twice.

use super::secret_names::{carries_secret, is_reference, is_secret};
use switchyard_api::tree::Key;
use switchyard_api::{Node, Problem, Value};

/// Outputs with headers and without `auth`: they log in otherwise.
const NO_AUTH: [&str; 5] = ["amqp", "email", "kafka", "mqtt", "nats"];

/// Says where credentials stand instead, for the whole file.
pub fn explain(problems: &mut Vec<Problem>, tree: &Node) {
    for (section, place) in [("sources", "verify"), ("outputs", "auth")] {
        let entries = tree.get(section).map(Node::entries).unwrap_or_default();
        problems.extend(entries.iter().filter_map(|(_, node)| doubled(node.get(place)?.get("bearer")?)));
    }
    let outputs: Vec<(&Node, bool)> =
        tree.get("outputs").map(Node::entries).unwrap_or_default().iter().map(|(_, node)| (node, auth(node))).collect();
    for (output, auth) in &outputs {
        both(problems, output, *auth);
    }
    for to in tree.get("routes").into_iter().flat_map(Node::several).filter_map(|route| route.get("to")).flat_map(Node::several) {
        let named = to.get("output").and_then(Node::as_text);
        let output = tree.get("outputs").zip(named).and_then(|(outputs, name)| outputs.get(name));
        both(problems, to, output.is_none_or(auth));
    }
}

/// `Bearer` within what stands behind that word anyway.
fn doubled(node: &Node) -> Option<Problem> {
    let Value::Text(text) = &node.value else { return None };
    let (scheme, token) = text.written.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))?;
    let token = if is_reference(token.trim()) { token.trim() } else { "${TOKEN}" };
    let problem =
        Problem::error("bad-auth", node.span, format!("`{scheme}` is written before a bearer token anyway"), "would stand there twice");
    Some(problem.help(format!("write the token alone: `bearer: \"{token}\"`")))
}

fn auth(output: &Node) -> bool {
    output.get("type").and_then(Node::as_text).is_none_or(|kind| !NO_AUTH.contains(&kind))
}

fn both(problems: &mut Vec<Problem>, node: &Node, auth: bool) {
    for (place, entries) in ["headers", "query"].into_iter().filter_map(|place| Some((place, node.get(place)?.entries()))) {
        for (key, value) in entries {
            one(problems, place, key, value, auth);
        }
    }
}

fn one(problems: &mut Vec<Problem>, place: &str, key: &Key, node: &Node, auth: bool) {
    let Value::Text(text) = &node.value else { return };
    let written = &text.written;
    if !is_secret(&key.name) && !carries_secret(written) {
        return;
    }
    let help = instead(place, key, written, auth);
    let mut told = problems.iter_mut().filter(|problem| problem.at == node.span);
    if let Some(problem) = told.find(|problem| problem.id == "secret-in-template") {
        problem.help = Some(help);
    } else if told.next().is_none() && !written.is_empty() && !written.contains("{{") && !written.contains("{%") && !written.contains("${")
    {
        let title = format!("a secret stands in the file, under `{}`", key.name);
        problems.push(Problem::warning("literal-secret", node.span, title, "whoever reads the file has it").help(help));
    }
}

/// How the same is written where a secret may stand.
fn instead(place: &str, key: &Key, written: &str, auth: bool) -> String {
    let scheme = written.split(' ').next().unwrap_or_default().to_ascii_lowercase();
    let own = written.split_once("${").and_then(|(_, rest)| rest.split_once('}')).map_or("TOKEN", |(name, _)| name);
    let name = &key.name;
    match (place, scheme.as_str()) {
        _ if !auth => {
            "this output logs in by its own settings: a header is part of the message, and everybody who gets that can read it".to_owned()
        }
        ("query", _) => format!("write it into `url`, where secrets are replaced: `…?{name}=${{{own}}}`"),
        (_, "bearer") if name.eq_ignore_ascii_case("authorization") => format!("write `auth: {{ bearer: \"${{{own}}}\" }}` at the output"),
        (_, "basic") if name.eq_ignore_ascii_case("authorization") => {
            "write `auth: { basic: { user: NAME, password: \"${PASSWORD}\" } }` at the output".to_owned()
        }
        (_, word) => {
            let before = if written.contains(' ') && !word.is_empty() { format!("{} ", &written[..word.len()]) } else { String::new() };
            format!("write `auth: {{ header: {{ name: {name}, value: \"{before}${{{own}}}\" }} }}` at the output")
        }
    }
}
