//! What of a file must not be shown: where secrets stand in it as they are (L7), and the file without them.

use super::foreign;
use super::secret_names::{carries_secret, in_text, is_long_address, is_reference, is_secret};
use crate::config::{self, Report};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use switchyard_api::preview::HIDDEN;
use switchyard_api::tree::{Text, Value};
use switchyard_api::{AnyKind, Node, Problem, Secret, Span};

/// Where secrets stand in the file as they are: a report must not quote them (L7).
pub fn literal_secrets(tree: &Node, kinds: &[Arc<dyn AnyKind>]) -> Vec<Span> {
    let mut found = vec![];
    by_name(tree, &mut HashMap::new(), &mut found);
    for (_, output) in tree.get("outputs").into_iter().flat_map(Node::entries) {
        let named = output.get("type").and_then(Node::as_text);
        let Some(kind) = kinds.iter().find(|kind| named == Some(kind.name())) else { continue };
        let held = kind.secrets().into_iter().filter_map(|name| output.get(&name));
        let own: Vec<Span> = held.flat_map(scalars).filter(|span| !found.contains(span)).collect();
        found.extend(own);
    }
    for (_, source) in tree.get("sources").into_iter().flat_map(Node::entries) {
        found.extend(misplaced_keys(source));
    }
    found
}

/// What a report on a file must not quote: its secrets, what may be one, and where it could not be read whole, what looks like one.
pub fn unquotable(file: &config::File, problems: &[Problem], kinds: &[Arc<dyn AnyKind>]) -> Vec<Span> {
    let Some(tree) = &file.tree else { return in_text(&file.text) };
    let mut found = literal_secrets(tree, kinds);
    long_addresses(tree, &mut found);
    // The tree has the first of each key.
    if problems.iter().any(|problem| problem.id == "duplicate-key") {
        found.extend(in_text(&file.text));
    }
    found
}

/// `key` of a source is the secret itself for people from elsewhere; within `verify` it says how the secret is written.
fn misplaced_keys(source: &Node) -> impl Iterator<Item = Span> {
    let form = |node: &&Node| node.as_text().is_none_or(|word| ["text", "hex", "base64"].contains(&word));
    let own = source.get("key").into_iter().flat_map(scalars);
    own.chain(source.get("verify").and_then(|verify| verify.get("key")).filter(|node| !form(node)).into_iter().flat_map(scalars))
}

/// Addresses with more than a host, whatever their key is called: it may be one that nobody knows.
fn long_addresses(node: &Node, found: &mut Vec<Span>) {
    match &node.value {
        Value::Text(text) if is_long_address(&text.written) && !is_template(&text.written) => found.push(node.span),
        Value::List(items) => items.iter().for_each(|item| long_addresses(item, found)),
        _ => node.entries().iter().for_each(|(_, node)| long_addresses(node, found)),
    }
}

/// A template takes no secret, and its mistakes are shown.
fn is_template(written: &str) -> bool {
    written.contains("{{") || written.contains("{%")
}

/// Those whose key says that it holds a secret, whatever it is in, and those that show it. `known`: what was said of a key before, as a file has
/// the same ones many times.
fn by_name<'t>(tree: &'t Node, known: &mut HashMap<&'t str, bool>, found: &mut Vec<Span>) {
    for (key, node) in tree.entries() {
        let secret = *known.entry(&key.name).or_insert_with(|| is_secret(&key.name));
        match &node.value {
            Value::Null | Value::Bool(_) => {}
            Value::Text(text) => found.extend(holds(text, secret).then_some(node.span)),
            Value::Int(_) | Value::Float(_) if secret => found.push(node.span),
            Value::List(items) if secret && items.iter().all(|item| item.entries().is_empty()) => {
                found.extend(
                    items.iter().filter(|item| !matches!(&item.value, Value::Text(text) if !holds(text, true))).map(|item| item.span),
                );
            }
            Value::List(items) => items.iter().for_each(|item| by_name(item, known, found)),
            // What a log-in sends goes by the far side's names.
            _ if key.name == "login" => found.extend(["body", "headers"].into_iter().filter_map(|name| node.get(name)).flat_map(scalars)),
            _ => by_name(node, known, found),
        }
    }
}

/// Whether a text under a key is a secret, or has one in it.
fn holds(text: &Text, key_says_so: bool) -> bool {
    let written = &text.written;
    let parts = ["data", "headers", "id", "query", "raw", "received_at", "source", "topic"];
    let inner = written.strip_prefix("{{").filter(|_| written.ends_with("}}")).map(str::trim_start);
    let from_event = inner.is_some_and(|inner| parts.iter().any(|part| inner.starts_with(part)));
    key_says_so && !is_reference(written) && !from_event || carries_secret(written) && !is_template(written)
}

/// The file as it was written, without what is secret in it: `${X}` stays, of a literal address scheme and host do. Comments are searched too.
pub fn written(file: &config::File, kinds: &[Arc<dyn AnyKind>]) -> String {
    let hidden = file.tree.as_ref().map(|tree| literal_secrets(tree, kinds)).unwrap_or_default();
    let report = Report { file, problems: &[], hidden: &hidden };
    let mut spans: Vec<Span> = report.hidden().collect();
    spans.sort_by_key(|at| std::cmp::Reverse(at.start));
    spans.dedup();
    let mut text = file.text.clone();
    let mut end = text.len();
    for at in spans.into_iter().filter(|at| at.start < at.end) {
        if at.end <= end
            && let Some(secret) = text.get(at.start..at.end).map(|secret| without_secret(secret).into_owned())
        {
            text.replace_range(at.start..at.end, &secret);
            end = at.start;
        }
    }
    // What stands elsewhere too; but for the default of a variable, which is a word of the file.
    for secret in report.secrets() {
        if !text.contains(&format!(":-{secret}}}")) {
            let shown = without_secret(&secret).into_owned();
            text = if shown == secret { text } else { text.replace(&secret, &shown) };
        }
    }
    text.split_inclusive('\n').map(comment_without_secret).collect()
}

/// Every text that must not be shown in what is made of a file: what `${…}` put in, and literal secrets. Not an address without a path.
pub fn values(file: &config::File, kinds: &[Arc<dyn AnyKind>]) -> Vec<Secret> {
    let hidden = file.tree.as_ref().map(|tree| literal_secrets(tree, kinds)).unwrap_or_default();
    let secrets = Report { file, problems: &[], hidden: &hidden }.secrets();
    secrets.into_iter().filter(|secret| without_secret(secret) != *secret).map(Secret::new).collect()
}

/// A line; where it is a comment that was a secret's line before, without that.
fn comment_without_secret(line: &str) -> Cow<'_, str> {
    let comment = line.trim_start().strip_prefix('#').and_then(|comment| comment.split_once(':'));
    let key = |key: &str| key.trim_matches([' ', '#', '-', '"', '\'']).to_owned();
    let Some((_, value)) = comment.filter(|(name, value)| is_secret(&key(name)) && !value.starts_with("//")) else { return line.into() };
    let value = value.trim();
    let shown = without_secret(value);
    if value.is_empty() || is_reference(value.trim_matches(['"', '\''])) || shown == value {
        line.into()
    } else {
        line.replacen(value, &shown, 1).into()
    }
}

/// A secret as it may be shown: of an address scheme and host; of anything else nothing. Its quotes stay.
fn without_secret(written: &str) -> Cow<'_, str> {
    let quote = written.chars().next().filter(|first| ['"', '\''].contains(first)).map(String::from).unwrap_or_default();
    let inner = written.trim_matches(['"', '\'']);
    let address = inner.split_once("://").filter(|(scheme, _)| !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric()));
    let place = address.and_then(|(scheme, rest)| {
        let host = rest.split(['/', '?', '#']).next().filter(|host| !host.contains(['@', ' ', '\n']))?;
        Some((scheme, host, host.len() == rest.trim_end_matches('/').len()))
    });
    match place {
        _ if inner.starts_with("sqlite:") => written.into(),
        Some((_, _, true)) => written.into(),
        Some((scheme, host, false)) => format!("{quote}{scheme}://{host}/{HIDDEN}{quote}").into(),
        None => format!("{quote}{HIDDEN}{quote}").into(),
    }
}

/// Secrets that are another program's way to name a variable: they would be used as they are.
pub fn literal_variables(file: &config::File, kinds: &[Arc<dyn AnyKind>], told: &[Problem]) -> Vec<Problem> {
    let spans = file.tree.as_ref().map(|tree| literal_secrets(tree, kinds)).unwrap_or_default();
    let found = spans.into_iter().filter(|at| !told.iter().any(|problem| at.contains(problem.at))).filter_map(|at| {
        let written = file.text.get(at.start..at.end)?.trim().trim_matches(['"', '\'']);
        let name = foreign::variable(written)?;
        let title = "this is the text as it stands, not the value of a variable";
        Some(Problem::warning("literal-variable", at, title, "used as it is").help(format!("write `\"${{{name}}}\"`")))
    });
    found.collect()
}

/// Where the values of all keys below stand.
fn scalars(node: &Node) -> Vec<Span> {
    match &node.value {
        Value::Map(entries) => entries.iter().flat_map(|(_, node)| scalars(node)).collect(),
        Value::List(items) => items.iter().flat_map(scalars).collect(),
        Value::Text(text) if is_reference(&text.written) => vec![],
        _ => vec![node.span],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, from_text};
    use switchyard_api::tree::Key;

    #[test]
    fn what_is_secret_is_masked_and_no_word_of_the_language() {
        let entry = |nth: usize, name: &str| {
            let span = Span { start: nth * 10, end: nth * 10 + 5 };
            let value = Value::Text(Text { written: "made-up".into(), replaced: None });
            (Key { span: Span::default(), name: name.into() }, Node { span, value })
        };
        let masked = |names: &[&str]| {
            let tree =
                Node { span: Span::default(), value: Value::Map(names.iter().enumerate().map(|(nth, name)| entry(nth, name)).collect()) };
            literal_secrets(&tree, &[]).len()
        };
        let secret = ["token", "tokne", "bearer", "url", "secret", "pasword"];
        assert_eq!(masked(&secret), secret.len());
        assert_eq!(masked(&["key", "routing_key"]), 0);
        assert_eq!(masked(&["then", "header", "unit", "when", "breaker", "open", "status", "method"]), 0);
    }

    struct Made;
    impl Environment for Made {
        fn var(&self, name: &str) -> Option<String> {
            (name == "TOKEN").then(|| "made-up-token".to_owned())
        }
        fn file(&self, _: &str) -> std::io::Result<String> {
            Err(std::io::ErrorKind::NotFound.into())
        }
        fn names(&self) -> Vec<String> {
            vec![]
        }
    }

    #[test]
    fn the_file_without_its_secrets_is_the_file() {
        let text = "journal: { url: sqlite:data/journal.db }
sources:
  shop: { verify: orderchamp, secret: \"${TOKEN}\" }   # was made-up-token once
  till: { verify: { bearer: made-up-bearer } }
routes: [{ name: all, to: [chat, api] }]
# secret: 'made-up-before'
# url: https://hooks.example/made-up-path
# See https://docs.example/page for more.
outputs:
  chat: { type: slack, url: \"https://hooks.example/services/made-up-path?key=made-up-key\" }
  api: { type: http, url: https://api.example, auth: { basic: { user: shop, password: &p 'made-up-password' } } }
  other: { type: http, url: \"https://${HOST:-api.example}/v2\", auth: { bearer: *p } }
";
        let shown = written(&from_text("routes.yaml", text, &Made), &switchyard_plugins::kinds());
        assert!(!shown.contains("made-up"), "{shown}");
        let expected = text
            .replace("# was made-up-token once", "# was *** once")
            .replace("bearer: made-up-bearer", "bearer: ***")
            .replace("'made-up-before'", "'***'")
            .replace("hooks.example/made-up-path", "hooks.example/***")
            .replace("/services/made-up-path?key=made-up-key", "/***")
            .replace("&p 'made-up-password'", "&p '***'")
            .replace("${HOST:-api.example}/v2", "${HOST:-api.example}/***");
        assert_eq!(shown, expected);
    }
}
