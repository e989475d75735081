//! What an answer means: the one table from (status, headers, body) to an [`Outcome`].
//!
//! | answer | outcome |
//! | --- | --- |
//! | a status in `retry: { reject }`, in `retry: { on }`, or a case of `map` | as they say, in this order |
//! | 2xx, and the success test holds | delivered |
//! | 2xx, and the success test fails | retry, or what `otherwise` says |
//! | 503 | down |
//! | 408, 425, 429, 5xx except 501 and 505 | retry, not before what the far side asks for |
//! | 401, 403, 404, 407, 410, 501, 505, a redirect | misconfigured (404 and 410: rejected, where the path came from the event) |
//! | other 4xx | rejected |
//! | anything else | misconfigured: that is no web server |
//!
//! An unreadable wait is no wait; a wait is at most [`WAIT_MAX`]. Quotes of an answer are one line, short, and masked (L7, L8).

pub(super) mod after;
mod when;

pub use after::{After, WAIT_MAX};
pub use when::{Items, Pattern, Test, Want, is_pointer};

use crate::printable::is_hostile;
use crate::{Outcome, Secret};
use ::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::cell::OnceCell;

/// Bytes of an answer's body that are quoted; with the status they fit into the 512 of a delivery's detail.
const QUOTE_MAX: usize = 300;
/// Characters of what a 2xx lacks that are shown.
const UNMET_MAX: usize = 100;

/// An answer that was heard.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// The first bytes of its body.
    pub body: Bytes,
    /// Whether `body` is all of it.
    pub whole: bool,
}

/// What is judged: an answer, or one item of a batch's answer.
#[derive(Debug)]
pub struct Heard<'a> {
    /// The status; that of the item, where it has one.
    pub status: u16,
    /// The headers of the answer.
    pub headers: &'a HeaderMap,
    /// The body, or the item as JSON.
    pub body: &'a [u8],
    /// Whether `body` is all of it.
    pub whole: bool,
    json: OnceCell<Option<Value>>,
}

impl<'a> Heard<'a> {
    /// A whole answer.
    pub fn answer(answer: &'a Answer) -> Self {
        Heard { status: answer.status.as_u16(), headers: &answer.headers, body: &answer.body, whole: answer.whole, json: OnceCell::new() }
    }

    /// One item of an answer: `body` is the item's JSON.
    pub fn item(answer: &'a Answer, status: u16, body: &'a [u8]) -> Self {
        Heard { status, body, whole: true, ..Heard::answer(answer) }
    }

    /// The body as JSON; `None` if it is none. Parsed at the first question.
    pub fn json(&self) -> Option<&Value> {
        self.json.get_or_init(|| serde_json::from_slice(self.body).ok()).as_ref()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
    }
}

/// One of a destination's own cases: when it applies, and what it then means.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// When it applies.
    pub when: Test,
    /// What it means.
    pub then: Means,
    /// How long to wait then.
    #[serde(default)]
    pub after: Option<After>,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Means {
    /// The far side has it.
    Delivered,
    /// Try again.
    #[default]
    Retry,
    /// It is down.
    Down,
    /// Credentials, channel: hold the backlog.
    Misconfigured,
    /// It will never accept this one.
    Rejected,
    /// It may have it or not.
    Unknown,
}

/// How the answers of one output are judged.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Statuses that are worth another try.
    pub retry_on: Vec<u16>,
    /// Statuses that kill the delivery.
    pub reject_on: Vec<u16>,
    /// The cases of the file, then those of the destination: the first that applies counts.
    pub map: Vec<Case>,
    /// What a 2xx must say besides to be a success.
    pub ok: Test,
    /// What a 2xx is that does not say so.
    pub otherwise: Means,
    /// Where the destination says how long to wait.
    pub after: After,
    /// Texts masked in what is quoted of an answer.
    pub secrets: Vec<Secret>,
}

impl Rules {
    /// Judges an answer. `now` is the wall clock in milliseconds since 1970, for dates; `path_from_event` says that the
    /// message had a part in the URL, so that "not found" is about this one message and not about the output.
    pub fn judge(&self, answer: &Answer, now: i64, path_from_event: bool) -> Outcome {
        self.judge_heard(&Heard::answer(answer), now, path_from_event)
    }

    /// As [`judge`](Self::judge), for one item of a batch too.
    pub fn judge_heard(&self, heard: &Heard<'_>, now: i64, path_from_event: bool) -> Outcome {
        let status = heard.status;
        let listed = || {
            let rejected = self.reject_on.contains(&status).then_some(Means::Rejected);
            rejected.or_else(|| self.retry_on.contains(&status).then_some(Means::Retry))
        };
        let (means, case, unmet) = if let Some(means) = listed() {
            (means, None, None)
        } else if let Some(case) = self.map.iter().find(|case| case.when.holds(heard)) {
            (case.then, case.after.as_ref(), None)
        } else if (200..300).contains(&status) {
            let unmet = self.ok.unmet(heard);
            (if unmet.is_none() { Means::Delivered } else { self.otherwise }, None, unmet)
        } else {
            (by_status(status, path_from_event), None, None)
        };
        let why = self.quote(heard, unmet.as_deref());
        let wait = || after::wait(heard, case, &self.after, now);
        match means {
            Means::Delivered => Outcome::Delivered { detail: why },
            Means::Retry => Outcome::Retry { why, after: wait() },
            Means::Down => Outcome::Down { why, after: wait() },
            Means::Misconfigured => Outcome::Misconfigured { why, after: wait() },
            Means::Rejected => Outcome::Rejected { why },
            Means::Unknown => Outcome::Unknown { why },
        }
    }

    /// The status, what of it was not expected, and the start of what was said, in one line without secrets.
    fn quote(&self, answer: &Heard<'_>, unmet: Option<&str>) -> String {
        let mut line = StatusCode::from_u16(answer.status).map_or_else(|_| answer.status.to_string(), |status| status.to_string());
        if let Some(unmet) = unmet {
            line.push_str(", but ");
            line.extend(unmet.chars().take(UNMET_MAX));
        }
        if (300..400).contains(&answer.status) {
            line.push_str(": a redirect is not followed; set the URL that it leads to");
        }
        if answer.body.is_empty() {
            return line;
        }
        let said = self.masked(answer.body);
        let (mut gap, mut left) = (": ", QUOTE_MAX);
        for c in said.chars() {
            if c.is_whitespace() || is_hostile(c) {
                if gap.is_empty() {
                    gap = " ";
                }
                continue;
            }
            left = left.saturating_sub(c.len_utf8() + gap.len());
            if left == 0 {
                line.push('…');
                return line;
            }
            line.push_str(std::mem::take(&mut gap));
            line.push(c);
        }
        if !answer.whole {
            line.push('…');
        }
        line
    }

    /// A text without the secrets that it may repeat. The whole body, so that no piece of a secret is left at a cut.
    pub fn masked<'a>(&self, body: &'a [u8]) -> Cow<'a, str> {
        let mut text = String::from_utf8_lossy(body);
        for secret in self.secrets.iter().filter(|secret| !secret.expose().is_empty()) {
            if text.contains(secret.expose()) {
                text = text.replace(secret.expose(), "***").into();
            }
        }
        text
    }
}

fn by_status(status: u16, path_from_event: bool) -> Means {
    match status {
        503 => Means::Down,
        404 | 410 if path_from_event => Means::Rejected,
        401 | 403 | 404 | 407 | 410 | 501 | 505 => Means::Misconfigured,
        408 | 425 | 429 | 500..=599 => Means::Retry,
        400..=499 => Means::Rejected,
        _ => Means::Misconfigured,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    /// 2026-03-02T10:00:00Z
    const NOW: i64 = 1_772_445_600_000;

    fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(::http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        Answer { status: StatusCode::from_u16(status).unwrap(), headers: map, body: Bytes::copy_from_slice(body.as_bytes()), whole: true }
    }
    fn judged(status: u16, headers: &[(&str, &str)]) -> Outcome {
        Rules::default().judge(&answer(status, headers, ""), NOW, false)
    }
    fn waits(outcome: &Outcome) -> Option<Duration> {
        match outcome {
            Outcome::Retry { after, .. } | Outcome::Down { after, .. } => *after,
            _ => None,
        }
    }

    #[test]
    fn every_status_has_its_outcome() {
        let expected = |status: u16| match status {
            200..=299 => "delivered",
            503 => "down",
            401 | 403 | 404 | 407 | 410 | 501 | 505 => "misconfigured",
            408 | 425 | 429 | 500..=599 => "retry",
            400..=499 => "rejected",
            _ => "misconfigured", // 1xx, redirects, 600 and more
        };
        for status in 100..=999 {
            assert_eq!(judged(status, &[]).word(), expected(status), "{status}");
        }
    }

    #[test]
    fn not_found_is_about_the_message_where_the_message_made_the_path() {
        for status in [404, 410] {
            assert_eq!(Rules::default().judge(&answer(status, &[], ""), NOW, true).word(), "rejected");
        }
        assert_eq!(Rules::default().judge(&answer(403, &[], ""), NOW, true).word(), "misconfigured");
    }

    #[test]
    fn the_files_own_lists_win_over_the_table_and_the_destinations_cases() {
        let map = serde_json::from_str(r#"[{"when": {"status": 404}, "then": "delivered"}]"#).unwrap();
        let rules = Rules { retry_on: vec![404, 410], reject_on: vec![410, 500], map, ..Rules::default() };
        for (status, word) in [(404, "retry"), (410, "rejected"), (500, "rejected"), (200, "delivered")] {
            assert_eq!(rules.judge(&answer(status, &[], ""), NOW, false).word(), word, "{status}");
        }
    }

    #[test]
    fn a_2xx_is_a_success_only_if_the_test_holds() {
        let ok: Test = serde_json::from_str(r#"{"status": [200], "text": "ok"}"#).unwrap();
        let rules = Rules { ok, ..Rules::default() };
        for (status, body, word) in [(200, "ok\n", "delivered"), (200, "not ok", "retry"), (204, "ok", "retry")] {
            assert_eq!(rules.judge(&answer(status, &[], body), NOW, false).word(), word, "{status} {body}");
        }
        let said = rules.judge(&answer(204, &[], ""), NOW, false);
        assert_eq!(said.text(), "204 No Content, but 200 was expected");
        let ok: Test = serde_json::from_str(r#"{"json": {"/ok": true}}"#).unwrap();
        let rules = Rules { ok, ..Rules::default() };
        let said = rules.judge(&answer(200, &[], r#"{"ok":false}"#), NOW, false);
        assert_eq!(said.text(), r#"200 OK, but `/ok` is not true: {"ok":false}"#);
        for (body, word) in [(r#"{"ok":true}"#, "delivered"), (r#"{"ok":"true"}"#, "retry"), ("{}", "retry"), ("<html>", "retry")] {
            assert_eq!(rules.judge(&answer(200, &[], body), NOW, false).word(), word, "{body}");
        }
    }

    #[test]
    fn a_destinations_cases_look_at_status_text_and_codes() {
        let map = serde_json::from_str(
            r#"[{"when": {"status": 400, "contains": "no_channel"}, "then": "misconfigured"}, {"when": {"json": {"/code": [10015, "x"]}}, "then": "down"}]"#,
        )
        .unwrap();
        let rules = Rules { map, ..Rules::default() };
        for (status, body, word) in [
            (400, "error: no_channel", "misconfigured"),
            (400, "error", "rejected"),
            (404, r#"{"code": 10015}"#, "down"),
            (200, r#"{"code": "x"}"#, "down"),
            (404, r#"{"code": 1}"#, "misconfigured"),
        ] {
            assert_eq!(rules.judge(&answer(status, &[], body), NOW, false).word(), word, "{status} {body}");
        }
    }

    #[test]
    fn a_wait_is_read_in_every_form_and_garbage_is_no_wait() {
        let some = |seconds: f64| Some(Duration::from_secs_f64(seconds));
        for (headers, expected) in [
            (&[("retry-after", "120")][..], some(120.0)),
            (&[("retry-after", " 1.5 ")], some(1.5)),
            (&[("retry-after", "0")], some(0.0)),
            (&[("retry-after", "99999999999999999999")], Some(WAIT_MAX)),
            (&[("retry-after", "Mon, 02 Mar 2026 10:01:00 GMT")], some(60.0)),
            (&[("retry-after", "Monday, 02-Mar-26 10:01:00 GMT")], some(60.0)),
            (&[("retry-after", "Mon Mar  2 10:01:00 2026")], some(60.0)),
            (&[("retry-after", "Mon, 02 Mar 2026 09:00:00 GMT")], some(0.0)),
            // Their clock, where they tell it.
            (&[("retry-after", "Mon, 02 Mar 2026 11:00:30 GMT"), ("date", "Mon, 02 Mar 2026 11:00:00 GMT")], some(30.0)),
            (&[("retry-after", "-5")], None),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "")], None),
            (&[("retry-after", "NaN")], None),
            (&[("retry-after", "1e9")], None),
            (&[("ratelimit", r#""default";r=0;t=30"#)], some(30.0)),
            (&[("ratelimit-reset", "7")], some(7.0)),
            (&[("x-ratelimit-reset", "1772445610")], some(10.0)),
            (&[("x-ratelimit-reset", "1772445612000")], some(12.0)),
            (&[("x-ratelimit-reset-after", "0.5"), ("x-ratelimit-reset", "1772445610")], some(0.5)),
            (&[("ratelimit-reset", "7"), ("retry-after", "3")], some(3.0)),
            (&[("x-ratelimit-reset", "-1")], None),
            (&[], None),
        ] {
            assert_eq!(waits(&judged(429, headers)), expected, "{headers:?}");
        }
        assert_eq!(waits(&judged(503, &[("retry-after", "9")])), some(9.0));
        assert_eq!(waits(&judged(500, &[("ratelimit-reset", "7")])), None, "a budget is no wish");
    }

    #[test]
    fn a_destinations_own_field_says_how_long() {
        for (unit, expected) in [("s", 1500.0), ("ms", 1.5)] {
            let after = serde_json::from_str(&format!(r#"{{"json": "/wait", "unit": "{unit}"}}"#)).unwrap();
            let rules = Rules { after, ..Rules::default() };
            let outcome = rules.judge(&answer(429, &[], r#"{"wait": 1500.0}"#), NOW, false);
            assert_eq!(waits(&outcome), Some(Duration::from_secs_f64(expected)), "{unit}");
        }
    }

    #[test]
    fn what_is_quoted_is_one_short_masked_line() {
        let rules = Rules { secrets: vec![Secret::new(""), Secret::new("T0/B0/hush")], ..Rules::default() };
        let outcome = rules.judge(&answer(404, &[], "no hook\r\n\x1b[31m T0/B0/hush \u{202e}here"), NOW, false);
        assert_eq!(outcome.text(), "404 Not Found: no hook [31m *** here");
        let long = rules.judge(&answer(400, &[], &"ü".repeat(5000)), NOW, false);
        assert!(long.text().ends_with("ü…") && (290..512).contains(&long.text().len()), "{}", long.text().len());
        assert!(rules.judge(&answer(302, &[], ""), NOW, false).text().contains("not followed"));
        assert_eq!(rules.judge(&answer(200, &[], " \r\n\t"), NOW, false).text(), "200 OK");
        assert_eq!(rules.judge(&answer(200, &[], "\r\nok\r\n"), NOW, false).text(), "200 OK: ok");
    }

    proptest! {
        #[test]
        fn no_answer_is_a_panic_and_no_wait_is_too_long(
            status in 100_u16..=999, after in "[ -~]{0,30}", reset in "[0-9.e+-]{0,20}", body in "[ -~]{0,40}",
        ) {
            let own = serde_json::from_str(r#"[{"json": "/w", "unit": "ms"}, {"header": "x-at", "unit": "epoch_s"}]"#).unwrap();
            let rules = Rules { after: own, ..Rules::default() };
            let answer = answer(status, &[("retry-after", &after), ("x-ratelimit-reset", &reset), ("x-at", &reset), ("date", &after)], &body);
            let outcome = rules.judge(&answer, NOW, false);
            prop_assert!(waits(&outcome).is_none_or(|wait| wait <= WAIT_MAX));
            prop_assert!(!outcome.text().chars().any(char::is_control) && outcome.text().len() <= 512);
        }
    }
}
