//! What is shown of a program's own words: one line, printable, bounded, without the secrets it was given (L7, L8).

use crate::reader::{Lines, Next};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use switchyard_api::{Printable, Secret};
use tokio::io::AsyncRead;

/// Most characters of one line that is shown; the rest is counted.
const LINE_SHOWN: usize = 500;
/// Most bytes of a line that is kept before it is shown; what is behind them is dropped.
const LINE_KEPT: usize = 8 << 10;
/// Last lines of standard error that are kept for the reason of a failure.
const LINES_KEPT: usize = 3;
/// Shortest value that is taken for a secret: a shorter one would blot out half of what is said.
const SECRET_MIN: usize = 4;

/// How a program's words are shown.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// Longest first, so that no part of one is left behind.
    secrets: Vec<Secret>,
}

impl Shown {
    /// Hides those. A secret of several lines is hidden line by line.
    pub fn hiding<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let lines = secrets.into_iter().flat_map(|secret| [secret.expose()].into_iter().chain(secret.expose().lines()));
        let mut secrets: Vec<&str> = lines.map(str::trim).filter(|text| text.len() >= SECRET_MIN).collect();
        secrets.sort_by_key(|text| std::cmp::Reverse(text.len()));
        secrets.dedup();
        Shown { secrets: secrets.into_iter().map(Secret::new).collect() }
    }

    /// A text as one line.
    pub fn line(&self, text: &str) -> String {
        let mut clean = text.trim().to_owned();
        for secret in &self.secrets {
            if clean.contains(secret.expose()) {
                clean = clean.replace(secret.expose(), "***");
            }
        }
        let count = clean.chars().count();
        let cut: String = clean.chars().take(LINE_SHOWN).collect();
        let shown = Printable(&cut).to_string();
        if count > LINE_SHOWN { format!("{shown}… {} more characters", count - LINE_SHOWN) } else { shown }
    }
}

/// The last lines of a program's standard error.
#[derive(Debug, Default)]
pub struct Tail(Mutex<VecDeque<String>>);

impl Tail {
    /// Reads to the end. Never fails: a program's log is no reason to lose a delivery.
    pub async fn read(&self, from: &mut Lines<impl AsyncRead + Unpin>, shown: &Shown, output: &str) {
        loop {
            let line = match from.next().await {
                Ok(Next::Line(line)) => line,
                Ok(Next::TooLong(begin)) => begin,
                Ok(Next::End) | Err(_) => return,
            };
            let line = shown.line(&String::from_utf8_lossy(&line));
            if line.is_empty() {
                continue;
            }
            tracing::debug!(output, line, "the program says");
            let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == LINES_KEPT {
                lines.pop_front();
            }
            lines.push_back(line);
        }
    }

    /// The lines as one text; empty if nothing was said.
    pub fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join(" | ")
    }
}

/// How standard error and the output of a one-shot are read: lines, of which the begin is kept.
pub fn words<R: AsyncRead + Unpin>(from: R) -> Lines<R> {
    Lines::new(from, LINE_KEPT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_control_characters_are_not_shown() {
        let secrets = ["hush-hush-77", "hush-hush", "one-line\nother-line", "x"].map(Secret::new);
        let shown = Shown::hiding(&secrets);
        assert_eq!(shown.line("  key hush-hush-77, hush-hush \x1b[31m x\n"), r"key ***, *** \u{1b}[31m x");
        assert_eq!(shown.line("other-line one-line"), "*** ***");
        assert_eq!(shown.line(&"ä".repeat(600)), format!("{}… 100 more characters", "ä".repeat(500)));
    }

    #[tokio::test]
    async fn the_last_lines_are_kept() {
        let text = format!("one\n\n{}\nthree\nfour\nfi", "x".repeat(20 << 10));
        let tail = Tail::default();
        tail.read(&mut words(text.as_bytes()), &Shown::default(), "out").await;
        assert_eq!(tail.text(), "three | four | fi");
    }
}
