//! `${NAME}`, `${NAME:-default}`, `${file:/path}`: replaced in values, after parsing, never in keys (L7).
//!
//! Each text keeps what was written beside what it became. `$${NAME}` writes a plain `${NAME}`; `${{` is left alone, since it
//! is a price before a template's `{{ … }}`. A text with `{{` or `{%` is a template and takes no secret. The only place that
//! reads the process's environment. Messages name variables and files, never their contents.

use std::collections::HashSet;
use std::io::{self, Read};
use std::ops::Range;
use std::path::PathBuf;
use switchyard_api::problem::nearest;
use switchyard_api::tree::{Node, Text, Value};
use switchyard_api::{Problem, Secret, Span};

/// Bytes of one `${file:…}`; a larger file is an error.
pub const SECRET_FILE_MAX: u64 = 64 * 1024;

/// Where secrets come from.
pub trait Environment {
    /// A variable's value; `None` where it is not set.
    fn var(&self, name: &str) -> Option<String>;
    /// A file's text.
    fn file(&self, path: &str) -> io::Result<String>;
    /// The names of all variables, to suggest the one that was meant.
    fn names(&self) -> Vec<String>;
    /// What is put in for a reference, as written, whose variable or file is not there. It is no secret. Default: nothing, and that is told.
    fn stand_in(&self, _written: &str) -> Option<String> {
        None
    }
}

/// Problems of what `${…}` names and is not there.
pub const NOT_THERE: [&str; 2] = ["unset-variable", "unreadable-secret"];

/// The process's own environment, and files from a folder.
#[derive(Debug, Clone)]
pub struct Process {
    /// The folder that relative paths start from: the configuration file's.
    pub base: PathBuf,
}

impl Process {
    /// For a configuration file at a path: relative paths start from its folder.
    pub fn beside(path: &std::path::Path) -> Self {
        Process { base: path.parent().map(PathBuf::from).unwrap_or_default() }
    }
}

impl Environment for Process {
    #[allow(clippy::disallowed_methods)] // the one place that reads the environment
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &str) -> io::Result<String> {
        let mut text = String::new();
        std::fs::File::open(self.base.join(path))?.take(SECRET_FILE_MAX + 1).read_to_string(&mut text)?;
        if text.len() as u64 > SECRET_FILE_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {} KiB", SECRET_FILE_MAX / 1024)));
        }
        Ok(text)
    }

    fn names(&self) -> Vec<String> {
        std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect()
    }
}

/// Replaces `${…}` in every value of the tree; what can't be replaced is told. Answers the values that were put in, so
/// that no message quotes them.
pub fn fill(tree: &mut Node, environment: &dyn Environment, problems: &mut Vec<Problem>) -> Vec<Secret> {
    let mut filling = Filling { environment, problems, values: vec![], told: HashSet::new() };
    filling.node(tree);
    filling.values
}

struct Filling<'a> {
    environment: &'a dyn Environment,
    problems: &'a mut Vec<Problem>,
    values: Vec<Secret>,
    /// What was told already: `*name` uses a value more than once.
    told: HashSet<(Span, String)>,
}

impl Filling<'_> {
    fn node(&mut self, node: &mut Node) {
        match &mut node.value {
            Value::Text(text) => self.text(text, node.span),
            Value::List(items) => items.iter_mut().for_each(|child| self.node(child)),
            Value::Map(entries) => entries.iter_mut().for_each(|(_, child)| self.node(child)),
            _ => {}
        }
    }

    fn text(&mut self, text: &mut Text, at: Span) {
        if !text.written.contains("${") {
            return;
        }
        let template = text.written.contains("{{") || text.written.contains("{%");
        let mut replaced = String::with_capacity(text.written.len());
        let (mut whole, before) = (true, self.values.len());
        for (range, piece) in pieces(&text.written) {
            let found = match piece {
                Piece::Literal(literal) => Ok(literal.to_owned()),
                Piece::Wrong(_) if template => Ok(text.written[range.clone()].to_owned()),
                Piece::Variable { .. } | Piece::File { .. } if template => Err(in_template(&text.written[range.clone()])),
                Piece::Wrong(wrong) => Err(wrong),
                Piece::Variable { name, default } => self.variable(name, default),
                Piece::File { path } => self.file(path),
            };
            let stand_in = |wrong: Wrong| {
                let value = NOT_THERE.contains(&wrong.id).then(|| self.environment.stand_in(&text.written[range.clone()]));
                value.flatten().ok_or(wrong)
            };
            match found.or_else(stand_in) {
                Ok(value) => replaced.push_str(&value),
                Err(wrong) => {
                    whole = false;
                    if self.told.insert((at, wrong.title.clone())) {
                        let problem = Problem::error(wrong.id, at, wrong.title, wrong.label).within(range);
                        self.problems.push(Problem { help: Some(wrong.help), patch: wrong.patch, ..problem });
                    }
                }
            }
        }
        if whole && !template {
            let replaced = Secret::new(replaced);
            // Defaults and `$${…}` stand in the file for everybody to read; the rest is a secret, alone and as a whole.
            if self.values.len() > before && self.values.last() != Some(&replaced) {
                self.values.push(replaced.clone());
            }
            text.replaced = Some(replaced);
        }
    }

    fn variable(&mut self, name: &str, default: Option<&str>) -> Result<String, Wrong> {
        match (self.environment.var(name).filter(|value| !value.is_empty()), default) {
            (Some(value), _) => {
                self.values.push(Secret::new(value.clone()));
                Ok(value)
            }
            (None, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err(self.unset(name)),
        }
    }

    fn unset(&self, name: &str) -> Wrong {
        let empty = self.environment.var(name).is_some();
        let names = self.environment.names();
        // A shell's own `_` is nobody's secret, and near to every short name.
        let near = nearest(name, names.iter().map(String::as_str).filter(|other| *other != name && other.len() > 1));
        let set = format!("set it where the daemon starts (`export {name}=…`), or write a default: `${{{name}:-…}}`");
        Wrong {
            id: "unset-variable",
            title: format!("the variable `{name}` is {}", if empty { "empty" } else { "not set" }),
            label: if empty { "empty in the environment".into() } else { "not in the environment".into() },
            help: near.map_or(set, |near| format!("did you mean `${{{near}}}`? that one is set")),
            patch: near.map(|near| format!("${{{near}}}")),
        }
    }

    fn file(&mut self, path: &str) -> Result<String, Wrong> {
        let wrong = |title, label: &str| Wrong {
            id: "unreadable-secret",
            title,
            label: label.into(),
            help: "check the path and its permissions; a relative path starts from this file's folder".into(),
            patch: None,
        };
        let text = self.environment.file(path).map_err(|e| wrong(format!("can't read the secret's file `{path}`"), &reason(&e)))?;
        let value = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        if value.is_empty() {
            return Err(wrong(format!("the secret's file `{path}` is empty"), "empty"));
        }
        self.values.push(Secret::new(value));
        Ok(value.to_owned())
    }
}

/// The error's kind in words, without numbers of the system.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::PermissionDenied => "reading it is not permitted".into(),
        io::ErrorKind::IsADirectory => "this is a folder".into(),
        io::ErrorKind::InvalidData => "not UTF-8 text".into(),
        _ => error.to_string(),
    }
}

/// Why a `${…}` can't be replaced.
#[derive(Debug, PartialEq)]
struct Wrong {
    id: &'static str,
    title: String,
    label: String,
    help: String,
    patch: Option<String>,
}

fn in_template(written: &str) -> Wrong {
    Wrong {
        id: "secret-in-template",
        title: "secrets are never reachable from templates".into(),
        label: "not replaced in a text with `{{` or `{%`".into(),
        help: format!("use it in a setting of the output; a plain `{written}` is written `{{{{ '$' }}}}{}` here", &written[1..]),
        patch: None,
    }
}

fn malformed(written: &str, label: &str, patch: Option<String>) -> Wrong {
    Wrong {
        id: "wrong-variable",
        title: format!("`{written}` is not a variable"),
        label: label.into(),
        help: match &patch {
            Some(patch) if patch.starts_with("{{") => format!("a value of the event stands in two braces: write `{patch}`"),
            Some(patch) => format!("write `{patch}`"),
            None => "write `${NAME}`, `${NAME:-default}` or `${file:/path}`; for a plain `${`, double the dollar: `$${`".into(),
        },
        patch,
    }
}

/// A part of a text.
#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Literal(&'a str),
    Variable { name: &'a str, default: Option<&'a str> },
    File { path: &'a str },
    Wrong(Wrong),
}

/// Splits a text at its `${…}`. The ranges follow each other and cover it.
fn pieces(text: &str) -> Vec<(Range<usize>, Piece<'_>)> {
    let mut found = vec![];
    let mut done = 0;
    let mut from = 0;
    while let Some(at) = text[from..].find("${").map(|at| from + at) {
        let rest = &text[at + 2..];
        if rest.starts_with('{') {
            from = at + 2;
            continue;
        }
        if at > done && text[..at].ends_with('$') {
            // `$${`: one dollar goes, the rest is plain.
            found.push((done..at, Piece::Literal(&text[done..at - 1])));
            (done, from) = (at, at + 2);
            continue;
        }
        if at > done {
            found.push((done..at, Piece::Literal(&text[done..at])));
        }
        let (length, piece) = reference(rest);
        found.push((at..at + 2 + length, piece));
        (done, from) = (at + 2 + length, at + 2 + length);
    }
    if done < text.len() {
        found.push((done..text.len(), Piece::Literal(&text[done..])));
    }
    found
}

/// Reads what follows `${`; answers how long it is.
fn reference(rest: &str) -> (usize, Piece<'_>) {
    let Some(close) = rest.find('}') else {
        let line = rest.split(char::is_whitespace).next().unwrap_or_default();
        return (line.len(), Piece::Wrong(malformed(&format!("${{{line}"), "no `}` closes it", None)));
    };
    let inner = &rest[..close];
    let wrong = |label: &str, patch: Option<String>| Piece::Wrong(malformed(&format!("${{{inner}}}"), label, patch));
    let piece = match inner.split_once(":-") {
        _ if inner.starts_with("file:") => match inner["file:".len()..].trim() {
            "" => wrong("no path", None),
            path => Piece::File { path },
        },
        Some((name, default)) if is_name(name) && !default.contains("${") => Piece::Variable { name, default: Some(default) },
        Some((name, _)) if is_name(name) => wrong("a default is plain text: no `${` in it", None),
        None if is_name(inner) => Piece::Variable { name: inner, default: None },
        _ => wrong("a name is letters, digits and `_`", corrected(inner)),
    };
    (close + 1, piece)
}

/// What was most likely meant: blanks inside, or another program's way to write it.
fn corrected(inner: &str) -> Option<String> {
    let inner = inner.trim();
    let part = |name: &str| ["data", "headers", "query"].contains(&name);
    if inner.split_once('.').is_some_and(|(root, path)| part(root) && path.split('.').all(is_name)) {
        return Some(format!("{{{{ {inner} }}}}"));
    }
    let name = inner.strip_prefix("env:").or_else(|| inner.strip_prefix("env.")).unwrap_or(inner);
    let end = name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(name.len());
    let (name, rest) = name.split_at(end);
    match rest.trim_start_matches([':', '-', '?', '=']) {
        _ if !is_name(name) => None,
        "" => Some(format!("${{{name}}}")),
        default if rest.starts_with(['-', ':', '=']) => Some(format!("${{{name}:-{default}}}")),
        _ if rest.starts_with(['?']) => Some(format!("${{{name}}}")),
        _ => None,
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse::parse;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    struct Made(BTreeMap<&'static str, &'static str>);
    impl Environment for Made {
        fn var(&self, name: &str) -> Option<String> {
            self.0.get(name).map(|value| (*value).to_owned())
        }
        fn file(&self, path: &str) -> io::Result<String> {
            match path {
                "/run/key" => Ok("from-the-file\r\n".into()),
                "/run/empty" => Ok("\n".into()),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }
        fn names(&self) -> Vec<String> {
            self.0.keys().map(|name| (*name).to_owned()).collect()
        }
    }

    fn environment() -> Made {
        Made([("SHOP_SECRET", "made-up-1"), ("EMPTY", ""), ("HOST", "db")].into())
    }

    /// What a value becomes, or the titles of what is wrong with it.
    fn becomes(written: &str) -> Result<String, Vec<String>> {
        let mut node = Node::text(written);
        let mut problems = vec![];
        fill(&mut node, &environment(), &mut problems);
        match problems.as_slice() {
            [] => Ok(node.as_text().unwrap_or_default().to_owned()),
            told => Err(told.iter().map(|p| format!("{:?}: {}", &written[p.within.clone().unwrap()], p.title)).collect()),
        }
    }

    #[test]
    fn values_are_replaced() {
        let cases = [
            ("plain", "plain"),
            ("${SHOP_SECRET}", "made-up-1"),
            ("pg://u:${SHOP_SECRET}@${HOST}/x", "pg://u:made-up-1@db/x"),
            ("${PORT:-8080}", "8080"),
            ("${EMPTY:-}", ""),
            ("${EMPTY:-a:-b}", "a:-b"),
            ("${file:/run/key}", "from-the-file"),
            ("$${SHOP_SECRET}", "${SHOP_SECRET}"),
            ("a $${HOST} ${HOST} $$${HOST}", "a ${HOST} db $${HOST}"),
            ("costs ${{ data.total }}", "costs ${{ data.total }}"),
            ("$HOST $", "$HOST $"),
            (". as $x | ${HOST}", ". as $x | db"),
        ];
        for (written, expected) in cases {
            assert_eq!(becomes(written).as_deref(), Ok(expected), "{written}");
        }
    }

    #[test]
    fn what_cant_be_replaced_is_told_at_its_place() {
        let told = |written: &str| becomes(written).unwrap_err().join("; ");
        assert_eq!(told("a ${SHOP_SECERT} b"), r#""${SHOP_SECERT}": the variable `SHOP_SECERT` is not set"#);
        assert_eq!(told("${EMPTY}"), r#""${EMPTY}": the variable `EMPTY` is empty"#);
        assert_eq!(told("${file:/run/none}"), r#""${file:/run/none}": can't read the secret's file `/run/none`"#);
        assert_eq!(told("${file:/run/empty}"), r#""${file:/run/empty}": the secret's file `/run/empty` is empty"#);
        assert_eq!(told("${A} ${B}"), r#""${A}": the variable `A` is not set; "${B}": the variable `B` is not set"#);
        assert_eq!(told("x ${HOST"), r#""${HOST": `${HOST` is not a variable"#);
        assert_eq!(told("${}"), r#""${}": `${}` is not a variable"#);
        assert_eq!(told("{{ data.a }} ${HOST}"), r#""${HOST}": secrets are never reachable from templates"#);
    }

    #[test]
    fn another_programs_way_to_write_it_is_corrected() {
        for (written, patch) in [
            ("${ HOST }", Some("${HOST}")),
            ("${env:HOST}", Some("${HOST}")),
            ("${HOST:x}", Some("${HOST:-x}")),
            ("${HOST-x}", Some("${HOST:-x}")),
            ("${HOST:?gone}", Some("${HOST:-gone}")),
            ("${a.b}", None),
            ("${data.number}", Some("{{ data.number }}")),
            ("${1A}", None),
        ] {
            let Piece::Wrong(wrong) = reference(&written[2..]).1 else { panic!("{written}") };
            assert_eq!(wrong.patch.as_deref(), patch, "{written}");
        }
    }

    #[test]
    fn a_near_name_that_is_set_is_suggested() {
        let mut problems = vec![];
        fill(&mut Node::text("${SHOP_SECERT}"), &environment(), &mut problems);
        assert_eq!(problems[0].patch.as_deref(), Some("${SHOP_SECRET}"));
    }

    #[test]
    fn values_from_outside_are_secrets_and_defaults_are_not() {
        let mut tree = parse("a: x-${HOST}\nb: ${PORT:-8080}\n${HOST}: key\nc: $${HOST}\n", &mut vec![]).unwrap();
        let values = fill(&mut tree, &environment(), &mut vec![]);
        assert_eq!(values.iter().map(Secret::expose).collect::<Vec<_>>(), ["db", "x-db"]);
        assert_eq!(tree.get("${HOST}").and_then(Node::as_text), Some("key"), "keys stay as they are");
    }

    #[test]
    fn a_stand_in_is_put_in_only_where_nothing_is_and_is_no_secret() {
        struct Without(Made);
        impl Environment for Without {
            fn var(&self, name: &str) -> Option<String> {
                self.0.var(name)
            }
            fn file(&self, path: &str) -> io::Result<String> {
                self.0.file(path)
            }
            fn names(&self) -> Vec<String> {
                self.0.names()
            }
            fn stand_in(&self, written: &str) -> Option<String> {
                (written != "${NEVER}").then(|| format!("<{written}>"))
            }
        }
        let mut node = Node::text("${HOST} ${UNSET} ${EMPTY} ${file:/run/none} ${PORT:-8080}");
        let mut problems = vec![];
        let values = fill(&mut node, &Without(environment()), &mut problems);
        assert_eq!(node.as_text(), Some("db <${UNSET}> <${EMPTY}> <${file:/run/none}> 8080"));
        assert_eq!((values.iter().map(Secret::expose).next(), problems.len()), (Some("db"), 0));
        for text in ["${NEVER} ${UNSET}", "${1A} ${UNSET}", "${UNSET} {{ x }}"] {
            fill(&mut Node::text(text), &Without(environment()), &mut problems);
        }
        let told: Vec<_> = problems.iter().map(|problem| problem.id).collect();
        assert_eq!(
            told,
            ["unset-variable", "wrong-variable", "secret-in-template"],
            "one that nothing stands for, a wrong one and one in a template"
        );
    }

    #[test]
    fn files_are_found_beside_the_configuration_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "made-up\n").unwrap();
        std::fs::write(folder.path().join("large"), vec![b'a'; SECRET_FILE_MAX as usize + 1]).unwrap();
        let process = Process::beside(&folder.path().join("routes.yaml"));
        assert_eq!(process.file("key").unwrap(), "made-up\n");
        assert_eq!(process.file("large").unwrap_err().to_string(), "larger than 64 KiB");
        assert_eq!(process.file("none").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(process.var("PATH").is_some() && process.names().contains(&"PATH".to_owned()));
    }

    proptest! {
        #[test]
        fn pieces_cover_the_text_in_order(text in "[$ {}A:é-]{0,24}") {
            let mut at = 0;
            for (range, piece) in pieces(&text) {
                prop_assert_eq!(range.start, at);
                at = range.end;
                if let Piece::Literal(literal) = piece {
                    prop_assert!(text[range].starts_with(literal));
                }
            }
            prop_assert_eq!(at, text.len());
        }
    }
}
