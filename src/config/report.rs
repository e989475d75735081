//! Problems as people read them: what, where with a caret, and what to do; and the same as JSON.
//!
//! Holds L7 and L8: places that hold a secret and values that `${…}` put in are masked wherever they would be quoted, and
//! nothing from the file can move a cursor. All problems at once, in the order of the file. Colour is the caller's choice.

use super::file::File;
use super::place::{floor, line_col, named_at, within};
use super::prose::{count, thousands};
use super::scalar::decode;
use crate::model::printable::Printable;
use annotate_snippets::{AnnotationKind, Group, Level, Patch, Renderer, Snippet};
use serde_json::{Value as JsonValue, json};
use switchyard_api::problem::Severity;
use switchyard_api::{Problem, Span};

/// A value shorter than this is not looked for in messages: it would be found in words.
const MASKED_FROM: usize = 5;
/// Problems shown as text; the rest is counted.
pub const SHOWN_MAX: usize = 100;

/// What is to be told about one file.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The file.
    pub file: &'a File,
    /// Everything found in it, in any order.
    pub problems: &'a [Problem],
    /// Values written into the file that must not be quoted: literal secrets.
    pub hidden: &'a [Span],
}

impl Report<'_> {
    /// As text for a terminal or a log, with a count at the end; empty where there is nothing to tell.
    pub fn text(&self, colour: bool) -> String {
        let told = self.told();
        if told.is_empty() {
            return String::new();
        }
        let source = self.masked_source();
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for problem in told.iter().take(SHOWN_MAX) {
            out += &renderer.render(&self.groups(&source, problem));
            out += "\n\n";
        }
        if let Some(more) = told.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
            out.extend(["… and ", &thousands(more), " more\n\n"]);
        }
        out += &summary(&told);
        out.push('\n');
        out
    }

    /// As JSON: a list of `{id, severity, title, file, line, column, end_line, end_column, label, also, help, patch}`.
    ///
    /// Lines and columns count from 1, columns in characters; the end is one past the last character. `also` is `null`
    /// or `{line, column, label}`.
    pub fn json(&self) -> JsonValue {
        self.told().iter().map(|problem| self.problem_json(problem)).collect()
    }

    /// How many errors there are, and the first of them in one line: `routes.yaml:12:3: what (what to do)`.
    pub fn first_error(&self) -> Option<(usize, String)> {
        let told = self.told();
        let errors = || told.iter().filter(|problem| problem.severity == Severity::Error);
        let first = errors().next()?;
        let (line, column) = line_col(&self.file.text, first.at.start);
        let help = first.help.as_deref().map(|help| format!(" ({help})")).unwrap_or_default();
        Some((errors().count(), format!("{}:{line}:{column}: {}{help}", self.file.path, first.title)))
    }

    /// The problems in the order of the file, each with its exact place and with every text safe to show.
    fn told(&self) -> Vec<Problem> {
        let secrets = self.secrets();
        let mut told: Vec<Problem> = self.problems.iter().map(|problem| self.safe(problem, &secrets)).collect();
        told.sort_by_key(|problem| problem.at);
        let mut once: Vec<Problem> = Vec::with_capacity(told.len());
        for problem in told {
            // A value used twice by `*name` is wrong once.
            if !once.iter().rev().take_while(|other| other.at == problem.at).any(|other| *other == problem) {
                once.push(problem);
            }
        }
        once
    }

    fn safe(&self, problem: &Problem, secrets: &[String]) -> Problem {
        let text = &self.file.text;
        let at = match &problem.within {
            Some(range) => within(text, problem.at, range.clone()),
            None => problem.at,
        };
        let named = named_at(text, at).map(|anchor| (anchor, "what is used was written here".to_owned()));
        let safe = |told: &str| {
            let masked = secrets.iter().fold(told.to_owned(), |told, secret| told.replace(secret, "***"));
            Printable(&masked).to_string()
        };
        Problem {
            id: problem.id,
            severity: problem.severity,
            title: safe(&problem.title),
            at: first_line(text, at),
            within: None,
            label: safe(&problem.label),
            // A patch would replace the use, not the piece that is wrong.
            patch: problem.patch.as_deref().filter(|_| named.is_none()).map(safe),
            also: problem.also.clone().or(named).map(|(at, says)| (first_line(text, at), safe(&says))),
            help: problem.help.as_deref().map(safe),
        }
    }

    fn groups<'a>(&'a self, source: &'a str, problem: &'a Problem) -> Vec<Group<'a>> {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let window = Window::around(source, problem);
        let mut snippet = window.snippet(&self.file.path);
        snippet = snippet.annotation(AnnotationKind::Primary.span(window.range(problem.at)).label(problem.label.as_str()));
        if let Some((at, says)) = &problem.also {
            snippet = snippet.annotation(AnnotationKind::Context.span(window.range(*at)).label(says.as_str()));
        }
        let main = level.primary_title(problem.title.as_str()).id(problem.id).element(snippet);
        match (&problem.help, &problem.patch) {
            (Some(help), None) => vec![main.element(Level::HELP.message(help.as_str()))],
            (help, Some(patch)) => {
                let title = help.as_deref().unwrap_or("write this");
                let patched = window.snippet(&self.file.path).patch(Patch::new(window.range(problem.at), patch.as_str()));
                vec![main, Level::HELP.secondary_title(title).element(patched)]
            }
            (None, None) => vec![main],
        }
    }

    fn problem_json(&self, problem: &Problem) -> JsonValue {
        let (line, column) = line_col(&self.file.text, problem.at.start);
        let (end_line, end_column) = line_col(&self.file.text, problem.at.end);
        json!({
            "id": problem.id,
            "severity": match problem.severity { Severity::Error => "error", Severity::Warning => "warning" },
            "title": problem.title,
            "file": self.file.path,
            "line": line,
            "column": column,
            "end_line": end_line,
            "end_column": end_column,
            "label": problem.label,
            "also": problem.also.as_ref().map(|(at, says)| {
                let (line, column) = line_col(&self.file.text, at.start);
                json!({ "line": line, "column": column, "label": says })
            }),
            "help": problem.help,
            "patch": problem.patch,
        })
    }

    /// The hidden places, where they are written: not at a use of `*name`.
    pub fn hidden(&self) -> impl Iterator<Item = Span> {
        let text = &self.file.text;
        self.hidden.iter().map(move |at| if named_at(text, *at).is_some() { within(text, *at, 0..usize::MAX) } else { *at })
    }

    /// Every text that must not be shown, the longest first.
    pub fn secrets(&self) -> Vec<String> {
        let text = &self.file.text;
        let literal = self.hidden().filter_map(|at| {
            let decoded = decode(text, at).map(|scalar| scalar.text);
            decoded.or_else(|| text.get(at.start..at.end).map(str::to_owned))
        });
        let mut secrets: Vec<String> = self.file.secrets.iter().map(|secret| secret.expose().to_owned()).chain(literal).collect();
        secrets.retain(|secret| secret.len() >= MASKED_FROM);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        secrets
    }

    /// The file's text with stars over secrets; every byte keeps its place and every line its columns.
    fn masked_source(&self) -> String {
        let text = &self.file.text;
        let found = self.secrets().into_iter().flat_map(|secret| {
            text.match_indices(&secret).map(|(start, found)| Span { start, end: start + found.len() }).collect::<Vec<_>>()
        });
        let mut spans: Vec<Span> = self.hidden().chain(found).collect();
        spans.sort();
        let mut masked = String::with_capacity(text.len());
        let mut spans = spans.into_iter().peekable();
        for (at, c) in text.char_indices() {
            while spans.next_if(|span| span.end <= at).is_some() {}
            let inside = spans.peek().is_some_and(|span| span.start <= at);
            masked.push(if inside { star(c) } else { c });
        }
        masked
    }
}

/// `2 errors, 1 warning`.
fn summary(problems: &[Problem]) -> String {
    let errors = problems.iter().filter(|p| p.severity == Severity::Error).count();
    match (errors, problems.len() - errors) {
        (errors, 0) => count(errors, "error"),
        (0, warnings) => count(warnings, "warning"),
        (errors, warnings) => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
    }
}

/// A star of the same length in bytes.
fn star(c: char) -> char {
    match c.len_utf8() {
        _ if c == '\n' || c == '\r' => c,
        1 => '*',
        2 => '·',
        3 => '•',
        _ => '🞄',
    }
}

/// A place within one line: carets under many lines help nobody. The file's end is behind its last character.
fn first_line(text: &str, at: Span) -> Span {
    let start = floor(text, at.start).min(text.trim_end().len());
    let end = floor(text, at.end).max(start);
    let line = text[start..end].find(['\n', '\r']).map_or(end, |length| start + length);
    Span { start, end: start + text[start..line].trim_end_matches([' ', '\t', '\r']).len() }
}

/// The lines that a problem is about, so that rendering costs nothing for the rest of the file.
struct Window<'a> {
    source: &'a str,
    start: usize,
    line: usize,
}

impl<'a> Window<'a> {
    fn around(source: &'a str, problem: &Problem) -> Self {
        let also = problem.also.as_ref().map_or(problem.at, |(at, _)| *at);
        let (first, last) = (problem.at.start.min(also.start), problem.at.end.max(also.end));
        let start = source[..first].rfind('\n').map_or(0, |at| at + 1);
        let end = source[last..].find('\n').map_or(source.len(), |at| last + at + 1);
        Window { source: &source[start..end], start, line: line_col(source, start).0 }
    }

    fn snippet<T: Clone>(&self, path: &'a str) -> Snippet<'a, T> {
        Snippet::source(self.source).line_start(self.line).path(path)
    }

    fn range(&self, at: Span) -> std::ops::Range<usize> {
        at.start - self.start..at.end - self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::from_text;
    use crate::config::secrets::Environment;
    use proptest::prelude::*;

    struct Made;
    impl Environment for Made {
        fn var(&self, name: &str) -> Option<String> {
            (name == "KEY").then(|| "made-up-key".into())
        }
        fn file(&self, _: &str) -> std::io::Result<String> {
            Err(std::io::ErrorKind::NotFound.into())
        }
        fn names(&self) -> Vec<String> {
            vec![]
        }
    }

    /// The problem's place is that of a piece of the text.
    fn at(text: &str, piece: &str) -> Span {
        let start = text.find(piece).unwrap();
        Span { start, end: start + piece.len() }
    }

    fn told(text: &str, problems: &[Problem], hidden: &[Span]) -> String {
        Report { file: &from_text("routes.yaml", text, &Made), problems, hidden }.text(false)
    }

    #[test]
    fn problems_come_in_the_order_of_the_file_with_a_count() {
        let text = "a: 1\nb: two\nc: 3\n";
        let problems = [
            Problem::warning("odd-number", at(text, "3"), "odd", "three"),
            Problem::error("wrong-type", at(text, "two"), "expected a number", "a text").also(at(text, "a"), "like this"),
            Problem::error("unknown-key", at(text, "a"), "unknown key `a`", "not a key here").help("did you mean `b`?").patch("b"),
        ];
        insta::assert_snapshot!(told(text, &problems, &[]), @r"
        error[unknown-key]: unknown key `a`
         --> routes.yaml:1:1
          |
        1 | a: 1
          | ^ not a key here
          |
        help: did you mean `b`?
          |
        1 - a: 1
        1 + b: 1
          |

        error[wrong-type]: expected a number
         --> routes.yaml:2:4
          |
        1 | a: 1
          | - like this
        2 | b: two
          |    ^^^ a text

        warning[odd-number]: odd
         --> routes.yaml:3:4
          |
        3 | c: 3
          |    ^ three

        2 errors, 1 warning
        ");
        assert_eq!(told(text, &[], &[]), "");
    }

    #[test]
    fn secrets_are_masked_wherever_they_would_be_quoted() {
        let text = "token: \"geheim-1ü\"\nurl: x-${KEY}\nother: made-up-key\n";
        let hidden = [at(text, "\"geheim-1ü\"")];
        let problems = [
            Problem::error("weak", hidden[0], "`geheim-1ü` is too short", "geheim-1ü").help("not geheim-1ü").patch("geheim-1ü2"),
            Problem::error("wrong", at(text, "x-${KEY}"), "`x-made-up-key` is no URL", "from `made-up-key`"),
            Problem::error("copied", at(text, "other"), "a copy of a secret", "x").also(hidden[0], "geheim-1ü"),
        ];
        let shown = told(text, &problems, &hidden);
        let json = Report { file: &from_text("f", text, &Made), problems: &problems, hidden: &hidden }.json().to_string();
        for leak in ["geheim", "made-up-key"] {
            assert!(!shown.contains(leak) && !json.contains(leak), "{leak} in {shown} {json}");
        }
        insta::assert_snapshot!(shown, @r"
        error[weak]: `***` is too short
         --> routes.yaml:1:8
          |
        1 | token: *********·*
          |        ^^^^^^^^^^^ ***
          |
        help: not ***
          |
        1 - token: *********·*
        1 + token: ***2
          |

        error[wrong]: `***` is no URL
         --> routes.yaml:2:6
          |
        2 | url: x-${KEY}
          |      ^^^^^^^^ from `***`

        error[copied]: a copy of a secret
         --> routes.yaml:3:1
          |
        1 | token: *********·*
          |        ----------- ***
        2 | url: x-${KEY}
        3 | other: ***********
          | ^^^^^ x

        3 errors
        ");
    }

    #[test]
    fn a_secret_used_by_name_is_masked_where_it_is_written() {
        let text = "a: &t 'geheim-1'\nb: *t\n";
        let hidden = [at(text, "*t")];
        let shown = told(
            text,
            &[Problem::error("x", hidden[0], "`geheim-1` is weak", "here"), Problem::error("y", at(text, "a"), "t", "l")],
            &hidden,
        );
        assert!(!shown.contains("geheim") && shown.contains("1 | a: &t '********'"), "{shown}");
    }

    #[test]
    fn nothing_from_the_file_moves_a_cursor() {
        let text = "a: \"\u{202e}x\"\n";
        let shown =
            told(text, &[Problem::error("x", at(text, "a"), "the key `\x1b[2J`\n\u{202e}", "\x1b[1m").help("\x07").patch("\x1b")], &[]);
        assert!(!shown.contains(['\x1b', '\x07', '\u{202e}']), "{shown:?}");
    }

    #[test]
    fn colour_is_the_callers_choice() {
        let file = from_text("f", "a: 1", &Made);
        let problems = [Problem::error("x", Span { start: 0, end: 1 }, "t", "l")];
        let report = Report { file: &file, problems: &problems, hidden: &[] };
        assert!(report.text(true).contains("\x1b[") && !report.text(false).contains('\x1b'));
    }

    #[test]
    fn a_flood_is_cut_with_a_count() {
        let text = "a: 1\n".repeat(SHOWN_MAX + 20);
        let file = from_text("f", text, &Made);
        let shown = Report { file: &file, problems: &file.problems, hidden: &[] }.text(false);
        assert!(shown.ends_with("… and 19 more\n\n119 errors\n"), "{shown}");
    }

    #[test]
    fn json_says_the_same() {
        let text = "é: a ${NOPE}\n";
        let file = from_text("routes.yaml", text, &Made);
        let problems = [Problem { also: Some((at(text, "é"), "of this".into())), ..file.problems[0].clone() }];
        let json = Report { file: &file, problems: &problems, hidden: &[] }.json();
        insta::assert_snapshot!(serde_json::to_string_pretty(&json).unwrap(), @r#"
        [
          {
            "id": "unset-variable",
            "severity": "error",
            "title": "the variable `NOPE` is not set",
            "file": "routes.yaml",
            "line": 1,
            "column": 6,
            "end_line": 1,
            "end_column": 13,
            "label": "not in the environment",
            "also": {
              "line": 1,
              "column": 1,
              "label": "of this"
            },
            "help": "set it where the daemon starts (`export NOPE=…`), or write a default: `${NOPE:-…}`",
            "patch": null
          }
        ]
        "#);
    }

    proptest! {
        #[test]
        fn any_file_and_any_place_can_be_rendered(
            text in "([a-c]: |- |[&*]x|\n {0,3}|\r\n|[\\[\\]{},'\"#|>é!~]|<<: |\t|\\$\\{|\\PC){0,24}",
            start in 0..40usize, length in 0..40usize, inner in 0..40usize,
        ) {
            let file = from_text("f", text, &Made);
            let span = Span { start, end: start + length };
            let made = Problem::error("x", span, "t", "l").within(inner..inner + 3).also(span, "s").patch("p");
            let problems: Vec<_> = file.problems.iter().cloned().chain([made, Problem::warning("y", span, "t", "l")]).collect();
            let report = Report { file: &file, problems: &problems, hidden: &[span] };
            let shown = report.text(false);
            prop_assert!(shown.contains("warning[y]"));
            for problem in report.json().as_array().unwrap() {
                let place = format!("--> f:{}:{}\n", problem["line"], problem["column"]);
                prop_assert!(shown.contains(&place), "{} in {}", place, shown);
            }
        }
    }
}
