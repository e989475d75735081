//! What a program says of a delivery: one JSON line, or how a one-shot ended.

use crate::stderr::Shown;
use serde::Deserialize;
use std::process::ExitStatus;
use std::time::Duration;
use switchyard_api::{Outcome, Period};

/// Most bytes of a line that a program writes; a longer one is no answer.
pub const ANSWER_MAX: usize = 64 << 10;
/// Longest `after` that is heeded.
const AFTER_MAX: Duration = Duration::from_hours(24);

/// `{"delivery": "dlv_…", "outcome": "delivered", "detail": "…", "after": "30s"}`; other keys are the program's own.
#[derive(Debug, Deserialize)]
struct Written {
    delivery: String,
    /// Which attempt is meant; without it the one that is open.
    attempt: Option<u32>,
    outcome: Word,
    detail: Option<String>,
    after: Option<Period>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Delivered,
    Retry,
    Down,
    Misconfigured,
    Rejected,
    Unknown,
}

/// One answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// Of which delivery.
    pub delivery: String,
    /// Of which attempt, where it says so.
    pub attempt: Option<u32>,
    /// What became of it.
    pub outcome: Outcome,
}

impl Answer {
    /// Reads a line without its end; or says in a few words why it is none.
    pub fn read(line: &[u8], shown: &Shown) -> Result<Self, String> {
        let written: Written = serde_json::from_slice(line).map_err(|error| shown.line(&error.to_string()))?;
        let detail = written.detail.as_deref().map(|text| shown.line(text)).unwrap_or_default();
        let outcome = outcome(written.outcome, detail, written.after.map(|after| after.0.min(AFTER_MAX)));
        Ok(Answer { delivery: written.delivery, attempt: written.attempt, outcome })
    }
}

fn outcome(word: Word, text: String, after: Option<Duration>) -> Outcome {
    let said = |otherwise: &str| if text.is_empty() { otherwise.to_owned() } else { text.clone() };
    match word {
        Word::Delivered => Outcome::Delivered { detail: said("done") },
        Word::Retry => Outcome::Retry { why: said("the program asks to try again"), after },
        Word::Down => Outcome::Down { why: said("the program says that what it speaks to is down"), after },
        Word::Misconfigured => Outcome::Misconfigured { why: said("the program says that it is set up wrongly"), after: None },
        Word::Rejected => Outcome::Rejected { why: said("the program refuses it") },
        Word::Unknown => Outcome::Unknown { why: said("the program does not know what became of it") },
    }
}

/// What the end of a one-shot means; `text` is what it said last. The codes are those of `sysexits.h`.
pub fn by_exit(status: ExitStatus, text: String) -> Outcome {
    let ended = |text: &str| if text.is_empty() { status.to_string() } else { format!("{status}: {text}") };
    match status.code() {
        Some(0) => outcome(Word::Delivered, text, None),
        Some(65) => outcome(Word::Rejected, ended(&text), None),
        Some(69) => outcome(Word::Down, ended(&text), None),
        Some(77 | 78 | 126 | 127) => outcome(Word::Misconfigured, ended(&text), None),
        Some(_) => outcome(Word::Retry, ended(&text), None),
        // Killed: by a limit, by somebody, by its own mistake. How far it came is not known.
        None => outcome(Word::Unknown, ended(&text), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::process::ExitStatusExt;

    fn read(line: &str) -> Result<Answer, String> {
        Answer::read(line.as_bytes(), &Shown::default())
    }

    #[test]
    fn each_word_is_its_outcome() {
        for word in ["delivered", "retry", "down", "misconfigured", "rejected", "unknown"] {
            let answer = read(&format!(r#"{{"delivery":"dlv_1","outcome":"{word}","took":1}}"#)).unwrap();
            assert_eq!((answer.outcome.word(), answer.outcome.text().is_empty()), (word, false));
            let answer = read(&format!(r#"{{"delivery":"dlv_1","attempt":2,"outcome":"{word}","detail":"a\nb"}}"#)).unwrap();
            assert_eq!((answer.outcome.text(), answer.attempt), (r"a\u{a}b", Some(2)));
        }
        let after = read(r#"{"delivery":"dlv_1","outcome":"retry","detail":"slow down","after":"30s"}"#).unwrap().outcome;
        assert_eq!(after, Outcome::Retry { why: "slow down".into(), after: Some(Duration::from_secs(30)) });
        let long = read(r#"{"delivery":"dlv_1","outcome":"down","detail":"x","after":"900d"}"#).unwrap().outcome;
        assert_eq!(long, Outcome::Down { why: "x".into(), after: Some(AFTER_MAX) });
    }

    #[test]
    fn what_is_no_answer_is_told() {
        let wrong = ["", "hello", "{}", "[]", r#"{"delivery":1,"outcome":"retry"}"#, r#"{"delivery":"dlv_1","outcome":"ok"}"#];
        for line in wrong.into_iter().chain([r#"{"delivery":"dlv_1","outcome":"retry","after":"soon"}"#, "\u{1b}[0m{}"]) {
            let why = read(line).unwrap_err();
            assert!(!why.is_empty() && !why.contains('\u{1b}'), "{line}: {why}");
        }
    }

    #[test]
    fn the_end_of_a_one_shot_is_its_answer() {
        let end = |code: i32| by_exit(ExitStatus::from_raw(code << 8), "text".into());
        let words =
            [(0, "delivered"), (1, "retry"), (65, "rejected"), (69, "down"), (75, "retry"), (77, "misconfigured"), (78, "misconfigured")];
        for (code, word) in words.into_iter().chain([(126, "misconfigured"), (127, "misconfigured"), (255, "retry")]) {
            assert_eq!(end(code).word(), word, "{code}");
            assert!(end(code).text().ends_with("text"));
        }
        assert_eq!(by_exit(ExitStatus::from_raw(9), String::new()).word(), "unknown");
    }

    proptest! {
        #[test]
        fn no_line_breaks_it_and_nothing_said_is_more_than_one_line(
            line in prop::collection::vec(any::<u8>(), 0..200), detail in ".*",
        ) {
            let _ = Answer::read(&line, &Shown::default());
            let line = serde_json::json!({ "delivery": "dlv_1", "outcome": "retry", "detail": detail }).to_string();
            let outcome = read(&line).unwrap().outcome;
            prop_assert!(!outcome.text().chars().any(char::is_control) && outcome.text().len() < 8 << 10);
        }
    }
}
