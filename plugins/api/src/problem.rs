//! A problem in the configuration: what, where, why, and what to do. Rendering lives in the daemon's `config` room.

use std::ops::Range;

/// Bytes of the file, from start to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// Whether `other` lies inside this span.
    pub fn contains(&self, other: Span) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

/// One finding in `routes.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Stable name of the rule, as in `error[unknown-key]`.
    pub id: &'static str,
    /// Whether it keeps the configuration from running, or is only said.
    pub severity: Severity,
    /// Lower-case phrase with the user's names in backticks.
    pub title: String,
    /// The smallest wrong piece; the whole file's first byte where there is none.
    pub at: Span,
    /// Where inside the scalar at `at`, as byte offsets into its decoded text: for jq, templates, globs, `${…}`.
    pub within: Option<Range<usize>>,
    /// The reason, written on the caret.
    pub label: String,
    /// A second place, where two disagree, and what it says.
    pub also: Option<(Span, String)>,
    /// What to do, in words.
    pub help: Option<String>,
    /// Text that could replace the piece at `at` (or `within`).
    pub patch: Option<String>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// `run` and `check` refuse.
    Error,
    /// `check` says it; `run` goes on.
    Warning,
}

impl Problem {
    /// An error at a place.
    pub fn error(id: &'static str, at: Span, title: impl Into<String>, label: impl Into<String>) -> Self {
        Problem {
            id,
            severity: Severity::Error,
            title: title.into(),
            at,
            within: None,
            label: label.into(),
            also: None,
            help: None,
            patch: None,
        }
    }

    /// A warning at a place.
    pub fn warning(id: &'static str, at: Span, title: impl Into<String>, label: impl Into<String>) -> Self {
        Problem { severity: Severity::Warning, ..Problem::error(id, at, title, label) }
    }

    /// Points into the scalar's text.
    #[must_use]
    pub fn within(mut self, range: Range<usize>) -> Self {
        self.within = Some(range);
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds a text that could replace the wrong piece.
    #[must_use]
    pub fn patch(mut self, text: impl Into<String>) -> Self {
        self.patch = Some(text.into());
        self
    }

    /// Adds a second place.
    #[must_use]
    pub fn also(mut self, at: Span, says: impl Into<String>) -> Self {
        self.also = Some((at, says.into()));
        self
    }
}

/// The name of `all` that `word` most likely meant, if any is near.
pub fn nearest<'a>(word: &str, all: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let letters = word.chars().count();
    all.into_iter()
        .filter_map(|name| {
            // Two wrong letters of four make another word.
            let most = if name.len() < 5 { 1 } else { 1 + name.len() / 4 };
            // So many letters must come or go at least: of most names that says enough, and costs next to nothing.
            if name.chars().count().abs_diff(letters) > most {
                return None;
            }
            let distance = strsim::damerau_levenshtein(&word, &name.to_lowercase());
            (distance <= most).then_some((distance, name))
        })
        .min()
        .map(|(_, name)| name)
}
