//! What is wrong with a file that is no YAML, in words a beginner can act on.
//!
//! Translates the parser's errors: what it was doing when it gave up is of no help; what the writer most likely meant is.

use serde_yaml::granit_parser::ErrorKind;
use serde_yaml::localizer::ExternalMessageSource;
use serde_yaml::{Error, Location, budget::BudgetBreach};
use switchyard_api::{Problem, Span};

use super::parse::{ALIASES_MAX, DEPTH_MAX, NODES_MAX, replayed_max};
use super::place::floor;
use super::prose::thousands;

const QUOTE_IT: &str = "put the text in quotes: '…'";

/// A list's entry whose `-` is glued to its first key.
fn glued_dash(line: &str) -> bool {
    line.trim_start().strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_alphabetic()))
}

/// The parser's error as a problem at its place.
pub fn problem(text: &str, error: &Error) -> Problem {
    let error = error.without_snippet();
    let at = error.location().map_or(Span::default(), |location| place(text, location));
    let at = Span { start: floor(text, at.start), end: floor(text, at.end).max(floor(text, at.start)) };
    let here = Here { text, at };
    match error {
        Error::ExternalMessage { source, .. } => match source.as_ref() {
            ExternalMessageSource::Parser(scan) => here.scan(scan.kind()),
            _ => here.other(error),
        },
        Error::AliasError { error, .. } => problem(text, error),
        Error::UnknownAnchor { .. } => here.unknown_anchor(),
        Error::RecursiveReferencesRequireWeakTypes { .. } => here
            .says("alias", "a name is used inside its own definition", "used here")
            .help("a value can't contain itself: write this part out"),
        Error::Budget { breach, .. } => here.limit(breach),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. } => here
            .says("limit", format!("uses of `*name` blow the file up beyond {} values", thousands(replayed_max(text))), "at this use")
            .help("use fewer `*name` inside values that are themselves used by `*name`"),
        Error::MultipleDocuments { .. } => here.second_document(),
        Error::UnsupportedTag { tag, .. } => here.tag(tag),
        Error::MergeValueNotMapOrSeqOfMaps { .. } => here
            .says("syntax", "`<<` takes keys and values, and this is none", "no keys and values")
            .help("merge a value that has keys: `<<: *name`, where `name` was given with `&name`"),
        Error::Unexpected { expected: "string scalar", .. } | Error::NullIntoString { .. } => here.no_key(),
        other => here.other(other),
    }
}

/// The bytes of a place. The scanner's errors carry a line and a column only: counted out.
fn place(text: &str, location: Location) -> Span {
    if let Some(start) = location.span().byte_offset() {
        let start = start as usize;
        return Span { start, end: start + location.span().byte_len().unwrap_or(1) as usize };
    }
    let line: usize = text.split_inclusive('\n').take((location.line() as usize).saturating_sub(1)).map(str::len).sum();
    let column = (location.column() as usize).saturating_sub(1);
    let start = text[line.min(text.len())..].char_indices().nth(column).map_or(text.len(), |(at, _)| line + at);
    one(text, start)
}

/// The character at a byte.
fn one(text: &str, start: usize) -> Span {
    let length = text.get(start..).and_then(|rest| rest.chars().next()).filter(|c| *c != '\n').map_or(0, char::len_utf8);
    Span { start, end: start + length }
}

/// Where the parser gave up.
struct Here<'a> {
    text: &'a str,
    at: Span,
}

impl<'a> Here<'a> {
    fn says(&self, id: &'static str, title: impl Into<String>, label: impl Into<String>) -> Problem {
        Problem::error(id, self.at, title, label)
    }

    fn other(&self, error: &Error) -> Problem {
        let mut said = error.render_with_formatter(&serde_yaml::UserMessageFormatter);
        // The place is told by us.
        if let Some(place) = said.find(" at line ") {
            said.truncate(place);
        }
        self.says("syntax", format!("this is no valid YAML: {said}"), "the reading stopped here")
    }

    /// The line of the place, and where it starts.
    fn line(&self) -> (usize, &'a str) {
        let start = self.text[..self.at.start].rfind('\n').map_or(0, |at| at + 1);
        (start, self.text[start..].lines().next().unwrap_or_default())
    }

    /// The last line above with anything but a comment on it.
    fn line_above(&self) -> Option<(usize, &'a str)> {
        let mut end = self.line().0;
        while end > 0 {
            let start = self.text[..end - 1].rfind('\n').map_or(0, |at| at + 1);
            let line = self.text[start..end].trim_end();
            if !line.trim().is_empty() && !line.trim_start().starts_with('#') {
                return Some((start, line));
            }
            end = start;
        }
        None
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at.start..]
    }

    /// The whole line without its indentation.
    fn whole_line(&self) -> Span {
        let (start, line) = self.line();
        let inner = line.trim();
        let start = start + line.find(inner).unwrap_or(0);
        Span { start, end: start + inner.len() }
    }

    fn scan(self, kind: &ErrorKind) -> Problem {
        use ErrorKind as K;
        match kind {
            K::TabNotAllowed | K::TabInBlockIndentation | K::TabInIndentation | K::TabAtBlockScalarStart | K::TabInPlainScalar => {
                self.tab()
            }
            K::UnclosedFlowCollection { open } => self.unclosed(*open),
            K::UnexpectedEofFlowSequence => self.unclosed('['),
            K::UnexpectedEofFlowMapping | K::UnexpectedEofImplicitFlowMapping => self.unclosed('{'),
            K::MismatchedFlowCollectionEnd { open, close } => self.mismatched(*open, *close),
            K::MisplacedFlowCollectionEnd => {
                self.says("syntax", "this bracket closes nothing", "no bracket is open here").help(format!("remove it, or {QUOTE_IT}"))
            }
            K::UnclosedQuotedScalar => self.unclosed_quote(),
            K::DocumentIndicatorInQuotedScalar | K::InvalidQuotedScalarIndent => self
                .says("syntax", "a text in quotes goes on here, but not indented", "still inside quotes")
                .help("close the quote above, or indent the text's further lines deeper than its key"),
            K::InvalidTrailingSingleQuotedScalar | K::InvalidTrailingDoubleQuotedScalar => {
                self.says("syntax", "something follows a text that was closed by its quote", "the text ended before this").help(
                    "put the whole text into one pair of quotes; within '…' a `'` is written `''`, within \"…\" a `\"` is written `\\\"`",
                )
            }
            K::UnknownQuotedScalarEscape => self.escape(),
            K::InvalidQuotedScalarHexEscape
            | K::InvalidLowSurrogateHexEscape
            | K::InvalidLowSurrogate
            | K::MissingLowSurrogate
            | K::UnpairedLowSurrogate
            | K::InvalidUnicodeEscape => self
                .says("syntax", "an escape in this text names no character", "in this text")
                .help("write `\\x41`, `\\u00e9` or `\\U0001f600`; for a backslash itself write `\\\\`, or put the text in '…'"),
            K::MappingValueNotAllowed => self.colon(),
            K::InvalidColonPlacement | K::ExpectedFlowMappingSeparator | K::ExpectedFlowSequenceSeparator => self.in_brackets(),
            K::ExpectedBlockMappingKey => self.no_sibling(),
            K::ExpectedBlockSequenceEntry => self
                .whole_line_says("a key among the entries of a list", "the lines above are list entries")
                .help("indent it like the other keys of its entry, or begin a new entry with `- `"),
            K::SimpleKeyExpected | K::InvalidSimpleKey => self.no_colon(),
            K::UnexpectedCharacter { character } => self.character(*character),
            K::MissingAnchorOrAliasName => self.star(),
            K::UnknownAnchor => self.unknown_anchor(),
            K::FlowMappingValueAdjacentCollection | K::InvalidMappingValueWhitespace => {
                self.says("syntax", "a key's `:` is not followed by a space", "after this").help("write a space after the `:`")
            }
            K::CommentInterceptedScalar => self
                .says("syntax", "a comment stands in the middle of a text that goes on in the next line", "the text is cut by this")
                .help("move the comment above the key, or put the text in quotes"),
            K::InvalidBlockScalarHeader => self
                .says("syntax", "behind `|` or `>` nothing may follow on the same line", "begins here")
                .help("begin the text on the next line, indented; to begin a text with `|` or `>`, put it in quotes"),
            K::BlockSequenceEntryNotAllowed => self
                .says("syntax", "a list entry can't begin here", "this `-`")
                .help("begin the list on the next line, each entry with `- `; a text that begins with `-` is put in quotes"),
            K::BlockEntryInFlowCollection | K::PlainScalarStartsWithDashFlowIndicator => {
                self.says("syntax", "inside `[…]` and `{…}` entries have no `-`", "this `-`").help("separate entries with commas: `[a, b]`")
            }
            K::MultipleDocumentsUnsupported => self.second_document(),
            K::BomInsideDocument => self
                .says("syntax", "an invisible byte order mark (U+FEFF) stands in the middle of the file", "here, though it can't be seen")
                .help("delete the character; it often comes from joining two files"),
            K::RecursionLimitExceeded => self.limit(&BudgetBreach::Depth { depth: DEPTH_MAX }),
            other => self.says("syntax", format!("this is no valid YAML: {other}"), "the reading stopped here"),
        }
    }

    fn whole_line_says(&self, title: &str, label: &str) -> Problem {
        Problem::error("syntax", self.whole_line(), title, label)
    }

    fn tab(&self) -> Problem {
        let start = self.line().0;
        let tab = self.text[start..].find('\t').map_or(self.at, |at| Span { start: start + at, end: start + at + 1 });
        let indented = self.text[..tab.start].rsplit('\n').next().is_some_and(|before| before.trim().is_empty());
        let help = if indented { "indent with spaces: replace each tab by two of them" } else { "write a space instead" };
        Problem::error("syntax", tab, "a tab stands where only spaces may", "this is a tab").help(help)
    }

    fn unclosed(&self, open: char) -> Problem {
        self.says("syntax", format!("`{open}` is opened and never closed"), "opened here")
            .help(format!("write `{}` where it ends; a text that begins with `{open}` is put in quotes", closing(open)))
    }

    fn mismatched(&self, open: char, close: char) -> Problem {
        let start = self.rest().find(close).map_or(self.at.start, |at| self.at.start + at);
        Problem::error(
            "syntax",
            one(self.text, start),
            format!("`{open}` is closed by `{close}`"),
            format!("`{}` is wanted here", closing(open)),
        )
        .also(self.at, "opened here")
        .help(format!("close it with `{}`, or put the text in quotes", closing(open)))
    }

    fn unclosed_quote(&self) -> Problem {
        let quote = if self.rest().starts_with('"') { '"' } else { '\'' };
        let within = if quote == '"' { "\\\"" } else { "''" };
        self.says("syntax", "a quote is opened and never closed", "opened here")
            .help(format!("end the text with `{quote}`; a `{quote}` inside it is written `{within}`"))
    }

    fn escape(&self) -> Problem {
        let mut chars = self.rest().char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if c != '\\' {
                continue;
            }
            let Some((_, letter)) = chars.next() else { break };
            if !"0abtnvfre \"/\\N_LPxuU\t\n\r".contains(letter) {
                let start = self.at.start + at;
                let at = Span { start, end: start + 1 + letter.len_utf8() };
                return Problem::error("syntax", at, format!("`\\{letter}` means nothing in a text in \"…\""), "unknown escape")
                    .help("put the text in '…', where a backslash is only a backslash; or write `\\\\` for one")
                    .patch(format!("\\\\{letter}"));
            }
        }
        self.says("syntax", "an escape in this text means nothing", "in this text")
    }

    /// A `:` where no key can be.
    fn colon(&self) -> Problem {
        let (start, line) = self.line();
        let before = &self.text[start..self.at.start];
        let end = start + line.trim_end().len();
        if let Some(first) = before.find(": ").filter(|first| start + first + 2 < end) {
            let value = Span { start: start + first + 2, end };
            let value = Span { start: value.start + leading(&self.text[value.start..value.end]), ..value };
            let text = &self.text[value.start..value.end];
            let quoted = format!("'{}'", text.replace('\'', "''"));
            let problem = Problem::error("syntax", value, "a text with `: ` in it is not in quotes", "read as a key within a value");
            return if text.contains(['\'', '"', '#']) { problem.help(QUOTE_IT) } else { problem.patch(quoted).help("put it in quotes") };
        }
        let problem = self.whole_line_says("a key begins where the value above still goes on", "not a key here");
        match self.line_above() {
            Some((above, text)) if !text.contains(": ") && !text.ends_with(':') => problem
                .also(Span { start: above + leading(text), end: above + text.len() }, "this has no `: ` and is read as a text")
                .help("write `key: value` above, with a space after the colon"),
            Some((above, text)) if glued_dash(text) => problem
                .also(Span { start: above + leading(text), end: above + text.len() }, "read as a key that begins with `-`")
                .help("write a space behind the `-` of a list's entry"),
            Some((above, text)) => problem
                .also(Span { start: above + leading(text), end: above + text.len() }, "this key has its value on its own line")
                .help("indent both keys alike, or leave nothing behind the upper key's `:`"),
            None => problem.help("write `key: value`, with a space after the colon"),
        }
    }

    fn in_brackets(&self) -> Problem {
        match open_bracket(&self.text[..self.at.start]) {
            Some((start, open)) => Problem::error(
                "syntax",
                Span { start, end: start + 1 },
                format!("`{open}` is opened and not closed before the next key, or a comma is missing"),
                "opened here",
            )
            .also(self.at, "this does not fit inside it")
            .help(format!("write `{}` where it ends, and commas between its entries", closing(open))),
            None => self.says("syntax", "a `:` that belongs to no key", "here").help(QUOTE_IT),
        }
    }

    /// A line that is no neighbour of the keys above.
    fn no_sibling(&self) -> Problem {
        let (_, line) = self.line();
        if line.trim_start().starts_with("- ") {
            return self
                .whole_line_says("a list entry among keys", "the lines around are keys")
                .help("begin the list behind a key (`to:`), with its entries on the lines below it");
        }
        if let Some((start, open)) = open_bracket(&self.text[..self.at.start]) {
            return Problem::error("syntax", Span { start, end: start + 1 }, format!("`{open}` is opened and never closed"), "opened here");
        }
        let problem = self.whole_line_says("this line's indentation fits none of the lines above", "begins in a column of its own");
        problem.help("begin it in the same column as the keys it belongs to")
    }

    fn no_colon(&self) -> Problem {
        let line = self.whole_line();
        let text = &self.text[line.start..line.end];
        let problem = Problem::error("syntax", line, "this line is neither `key: value` nor a list entry", "no `: ` in it");
        match text.find(':') {
            _ if text.starts_with('-') && !text.starts_with("- ") => {
                problem.help("write a space after the `-`").patch(format!("- {}", &text[1..]))
            }
            Some(colon) => problem.help("write a space after the `:`").patch(format!("{}: {}", &text[..colon], &text[colon + 1..])),
            None => problem.help("write `key: value`; a text over several lines is indented deeper than its key"),
        }
    }

    fn character(&self, character: char) -> Problem {
        if character.is_control() {
            return self
                .says(
                    "syntax",
                    format!("the control character U+{:04X} can't stand in the file", u32::from(character)),
                    "here, though it may not be seen",
                )
                .help("delete it; in a text in \"…\" it can be written as an escape, such as `\\x1b`");
        }
        self.says("syntax", format!("a text can't begin with `{character}`"), "begins here").help(QUOTE_IT)
    }

    fn star(&self) -> Problem {
        let mark = if self.rest().starts_with('&') { '&' } else { '*' };
        self.says("syntax", format!("a text can't begin with `{mark}`"), "read as the mark of a name")
            .help(format!("put the text in quotes: '{mark}…'"))
    }

    fn unknown_anchor(&self) -> Problem {
        let name = self.rest().strip_prefix('*').unwrap_or_default();
        let name = name.split(|c: char| c.is_whitespace() || ",]}".contains(c)).next().unwrap_or_default();
        let at = Span { start: self.at.start, end: self.at.start + 1 + name.len() };
        Problem::error("alias", at, format!("`*{name}` uses a value that no `&{name}` above gave a name to"), "unknown name")
            .help(format!("a text that begins with `*` is put in quotes: '*{name}'"))
            .patch(format!("'*{name}'"))
    }

    fn no_key(&self) -> Problem {
        let outer = self.text[..self.at.start].trim_end();
        if outer.ends_with('{') && self.rest().starts_with('{') {
            let start = outer.len() - 1;
            let end = self.text[start..].find("}}").map_or(self.at.end, |close| start + close + 2);
            return Problem::error(
                "syntax",
                Span { start, end },
                "a text that begins with `{{` is not in quotes",
                "read as keys and values",
            )
            .help("put the whole text in quotes: \"{{ … }}\"");
        }
        self.says("syntax", "a key must be a word", "not a word")
            .help("write `key: value`; a key that looks like something else is put in quotes")
    }

    fn second_document(&self) -> Problem {
        self.says("syntax", "a second document begins here", "the first one ended before this")
            .help("one file is one configuration: remove the line `---`")
    }

    fn tag(&self, tag: &str) -> Problem {
        let start = self.text[..self.at.end.min(self.text.len())].rfind(tag).unwrap_or(self.at.start);
        let at = Span { start, end: start + tag.len() };
        Problem::error("syntax", at, format!("`{tag}` is a tag, and there are none in this file"), "unknown tag")
            .help("a secret is written ${NAME} or ${file:/path}; a text that begins with `!` is put in quotes")
    }

    fn limit(&self, breach: &BudgetBreach) -> Problem {
        let title = match breach {
            BudgetBreach::Documents { .. } => return self.second_document(),
            BudgetBreach::Depth { .. } => format!("lists and maps are nested deeper than {DEPTH_MAX}"),
            BudgetBreach::Aliases { .. } | BudgetBreach::Anchors { .. } => {
                format!("more than {} uses of `*name`", thousands(ALIASES_MAX))
            }
            BudgetBreach::MergeKeys { .. } => "too many uses of `<<`".into(),
            BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. } => format!("more than {} values in one file", thousands(NODES_MAX)),
            _ => "the file is too large for its parts to be held".into(),
        };
        self.says("limit", title, "at this point").help("make the file simpler")
    }
}

fn closing(open: char) -> char {
    if open == '[' { ']' } else { '}' }
}

fn leading(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

/// The innermost bracket that is still open at the end of a text, quotes and comments aside.
fn open_bracket(text: &str) -> Option<(usize, char)> {
    let mut open = vec![];
    let (mut quote, mut comment, mut before) = (None, false, '\n');
    for (at, c) in text.char_indices() {
        let starts_word = before.is_whitespace() || "[{,".contains(before);
        match (quote, c) {
            _ if comment => comment = c != '\n',
            (Some(q), _) if c == q => quote = None,
            (None, '\'' | '"') if starts_word => quote = Some(c),
            (None, '#') if before.is_whitespace() => comment = true,
            (None, '[' | '{') if starts_word => open.push((at, c)),
            (None, ']' | '}') => drop(open.pop()),
            _ => {}
        }
        before = c;
    }
    open.pop()
}
