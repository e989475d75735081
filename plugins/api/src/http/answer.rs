//! What an answer means: the one table from (status, headers, body) to an [`Outcome`].
//!
//! | answer | outcome |
//! | --- | --- |
//! | a status in `retry: { reject }`, in `retry: { on }`, or one of the destination's own cases | as they say, in this order |
//! | 2xx, and the success test holds | delivered |
//! | 2xx, and the success test fails | retry |
//! | 503 | down |
//! | 408, 425, 429, 5xx except 501 and 505 | retry, not before what the far side asks for |
//! | 401, 403, 404, 407, 410, 501, 505, a redirect | misconfigured (404 and 410: rejected, where the path came from the event) |
//! | other 4xx | rejected |
//! | anything else | misconfigured: that is no web server |
//!
//! An unreadable wait is no wait; a wait is at most [`WAIT_MAX`]. Quotes of an answer are one line, short, and masked (L7, L8).

use crate::printable::is_hostile;
use crate::{Outcome, Secret};
use ::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest wait that a far side may ask for.
pub const WAIT_MAX: Duration = Duration::from_hours(24);

/// Bytes of an answer's body that are quoted; with the status they fit into the 512 of a delivery's detail.
const QUOTE_MAX: usize = 300;

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

/// What makes a 2xx a success. All that is set must hold.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Success {
    /// The status is one of these.
    #[serde(default)]
    pub status: Vec<u16>,
    /// The body is exactly this text, but for white space around it.
    #[serde(default)]
    pub text: Option<String>,
    /// The body is JSON in which these pointers (RFC 6901) have these values.
    #[serde(default)]
    pub json: BTreeMap<String, serde_json::Value>,
}

/// One of a destination's own cases: when it applies, and what it then means.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The status is one of these; empty: any.
    #[serde(default)]
    pub status: Vec<u16>,
    /// The body contains this text.
    #[serde(default)]
    pub text: Option<String>,
    /// The body is JSON in which these pointers have one of these values.
    #[serde(default)]
    pub json: BTreeMap<String, Vec<serde_json::Value>>,
    /// What it means.
    pub means: Means,
}

/// What a case means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Means {
    /// The far side has it.
    Delivered,
    /// Try again.
    Retry,
    /// It is down.
    Down,
    /// Credentials, channel: hold the backlog.
    Misconfigured,
    /// It will never accept this one.
    Rejected,
}

/// A field of a JSON answer that says how long to wait.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitField {
    /// Where it stands (RFC 6901).
    pub json: String,
    /// What its number counts.
    pub unit: WaitUnit,
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum WaitUnit {
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Millis,
}

/// How the answers of one output are judged.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Statuses that are worth another try.
    pub retry_on: Vec<u16>,
    /// Statuses that kill the delivery.
    pub reject_on: Vec<u16>,
    /// What makes a 2xx a success.
    pub success: Success,
    /// The destination's own cases, first match first.
    pub cases: Vec<Case>,
    /// The destination's own field for a wait.
    pub wait: Option<WaitField>,
    /// Texts masked in what is quoted of an answer.
    pub secrets: Vec<Secret>,
}

impl Rules {
    /// Judges an answer. `now` is the wall clock in milliseconds since 1970, for dates; `path_from_event` says that the
    /// message had a part in the URL, so that "not found" is about this one message and not about the output.
    pub fn judge(&self, answer: &Answer, now: i64, path_from_event: bool) -> Outcome {
        let status = answer.status.as_u16();
        let json = self.wants_json().then(|| serde_json::from_slice(&answer.body).ok()).flatten();
        let means = if self.reject_on.contains(&status) {
            Means::Rejected
        } else if self.retry_on.contains(&status) {
            Means::Retry
        } else if let Some(case) = self.cases.iter().find(|case| case.applies(answer, json.as_ref())) {
            case.means
        } else if answer.status.is_success() {
            if self.success.holds(answer, json.as_ref()) { Means::Delivered } else { Means::Retry }
        } else {
            by_status(status, path_from_event)
        };
        let why = self.quote(answer);
        match means {
            Means::Delivered => Outcome::Delivered { detail: why },
            Means::Retry => Outcome::Retry { why, after: self.wait(answer, json.as_ref(), now) },
            Means::Down => Outcome::Down { why, after: self.wait(answer, json.as_ref(), now) },
            Means::Misconfigured => Outcome::Misconfigured { why },
            Means::Rejected => Outcome::Rejected { why },
        }
    }

    fn wants_json(&self) -> bool {
        self.wait.is_some() || !self.success.json.is_empty() || self.cases.iter().any(|case| !case.json.is_empty())
    }

    /// The status and the start of what was said, in one line without secrets.
    fn quote(&self, answer: &Answer) -> String {
        let mut line = answer.status.to_string();
        if answer.status.is_redirection() {
            line.push_str(": a redirect is not followed; set the URL that it leads to");
        }
        if answer.body.is_empty() {
            return line;
        }
        let said = self.masked(&answer.body);
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

    /// The whole body, so that no piece of a secret is left at a cut.
    fn masked<'a>(&self, body: &'a [u8]) -> Cow<'a, str> {
        let mut text = String::from_utf8_lossy(body);
        for secret in self.secrets.iter().filter(|secret| !secret.expose().is_empty()) {
            if text.contains(secret.expose()) {
                text = text.replace(secret.expose(), "***").into();
            }
        }
        text
    }

    /// How long to wait: Retry-After, else the destination's own field, else the rate-limit headers.
    fn wait(&self, answer: &Answer, json: Option<&serde_json::Value>, now: i64) -> Option<Duration> {
        let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let here = header("date").and_then(date).unwrap_or(now);
        let after = header("retry-after").and_then(|text| seconds(text).or_else(|| date(text).map(|at| millis(at - here))));
        let own = || {
            let field = self.wait.as_ref()?;
            let number = json?.pointer(&field.json)?.as_f64()?;
            let seconds = if field.unit == WaitUnit::Millis { number / 1000.0 } else { number };
            clamped(seconds)
        };
        let draft = || header("ratelimit").and_then(draft_reset);
        let reset = || {
            ["ratelimit-reset", "x-ratelimit-reset-after", "x-ratelimit-reset", "x-rate-limit-reset"]
                .into_iter()
                .find_map(|name| header(name).and_then(|text| reset(text, now)))
        };
        // Without a wish for quiet (429, 503) these headers only describe the budget.
        let limited = matches!(answer.status.as_u16(), 429 | 503);
        after.or_else(own).or_else(|| if limited { draft().or_else(reset) } else { None })
    }
}

impl Success {
    fn holds(&self, answer: &Answer, json: Option<&serde_json::Value>) -> bool {
        let body = || String::from_utf8_lossy(&answer.body);
        (self.status.is_empty() || self.status.contains(&answer.status.as_u16()))
            && self.text.as_ref().is_none_or(|text| body().trim() == text)
            && self.json.iter().all(|(at, value)| json.and_then(|json| json.pointer(at)) == Some(value))
    }
}

impl Case {
    fn applies(&self, answer: &Answer, json: Option<&serde_json::Value>) -> bool {
        let body = || String::from_utf8_lossy(&answer.body);
        let one_of =
            |at: &String, values: &Vec<serde_json::Value>| json.and_then(|json| json.pointer(at)).is_some_and(|v| values.contains(v));
        (self.status.is_empty() || self.status.contains(&answer.status.as_u16()))
            && self.text.as_ref().is_none_or(|text| body().contains(text))
            && self.json.iter().all(|(at, values)| one_of(at, values))
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

/// Seconds, a fraction allowed.
fn seconds(text: &str) -> Option<Duration> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    digits.then(|| text.parse().ok()).flatten().and_then(clamped)
}

fn clamped(seconds: f64) -> Option<Duration> {
    seconds.is_finite().then(|| Duration::from_secs_f64(seconds.clamp(0.0, WAIT_MAX.as_secs_f64())))
}

fn millis(wait: i64) -> Duration {
    Duration::from_millis(u64::try_from(wait).unwrap_or(0)).min(WAIT_MAX)
}

/// The three forms of an HTTP date (RFC 9110, section 5.6.7), as milliseconds since 1970.
fn date(text: &str) -> Option<i64> {
    let fixed = || jiff::fmt::rfc2822::parse(text).ok().map(|at| at.timestamp());
    let old = |form: &str, text: &str| {
        let at = jiff::fmt::strtime::parse(form, text).ok()?.to_datetime().ok()?;
        jiff::tz::TimeZone::UTC.to_timestamp(at).ok()
    };
    let at: Timestamp = fixed().or_else(|| old("%A, %d-%b-%y %H:%M:%S GMT", text)).or_else(|| old("%a %b %e %H:%M:%S %Y", text))?;
    Some(at.as_millisecond())
}

/// `t` of the first policy: `"default";r=0;t=30` (draft-ietf-httpapi-ratelimit-headers-10, section 4).
fn draft_reset(text: &str) -> Option<Duration> {
    text.split(',').next()?.split(';').skip(1).find_map(|part| seconds(part.trim().strip_prefix("t=")?))
}

/// A reset of unsaid unit: more than 10^11 is a moment in milliseconds, more than 10^9 one in seconds, else it is a length in seconds.
fn reset(text: &str, now: i64) -> Option<Duration> {
    let number: f64 = text.parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0)?;
    if number > 1e11 {
        Some(millis(number as i64 - now))
    } else if number > 1e9 {
        Some(millis((number * 1000.0) as i64 - now))
    } else {
        clamped(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        let case = Case { status: vec![404], text: None, json: BTreeMap::new(), means: Means::Delivered };
        let rules = Rules { retry_on: vec![404, 410], reject_on: vec![410, 500], cases: vec![case], ..Rules::default() };
        for (status, word) in [(404, "retry"), (410, "rejected"), (500, "rejected"), (200, "delivered")] {
            assert_eq!(rules.judge(&answer(status, &[], ""), NOW, false).word(), word, "{status}");
        }
    }

    #[test]
    fn a_2xx_is_a_success_only_if_the_test_holds() {
        let ok: Success = serde_json::from_str(r#"{"status": [200], "text": "ok"}"#).unwrap();
        let rules = Rules { success: ok, ..Rules::default() };
        for (status, body, word) in [(200, "ok\n", "delivered"), (200, "not ok", "retry"), (204, "ok", "retry")] {
            assert_eq!(rules.judge(&answer(status, &[], body), NOW, false).word(), word, "{status} {body}");
        }
        let ok: Success = serde_json::from_str(r#"{"json": {"/ok": true}}"#).unwrap();
        let rules = Rules { success: ok, ..Rules::default() };
        for (body, word) in [(r#"{"ok":true}"#, "delivered"), (r#"{"ok":"true"}"#, "retry"), ("{}", "retry"), ("<html>", "retry")] {
            assert_eq!(rules.judge(&answer(200, &[], body), NOW, false).word(), word, "{body}");
        }
    }

    #[test]
    fn a_destinations_cases_look_at_status_text_and_codes() {
        let cases: Vec<Case> = serde_json::from_str(
            r#"[{"status": [400], "text": "no_channel", "means": "misconfigured"}, {"json": {"/code": [10015, "x"]}, "means": "down"}]"#,
        )
        .unwrap();
        let rules = Rules { cases, ..Rules::default() };
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
            let wait = serde_json::from_str(&format!(r#"{{"json": "/wait", "unit": "{unit}"}}"#)).unwrap();
            let rules = Rules { wait: Some(wait), ..Rules::default() };
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
            let wait = Some(WaitField { json: "/w".into(), unit: WaitUnit::Millis });
            let rules = Rules { wait, ..Rules::default() };
            let answer = answer(status, &[("retry-after", &after), ("x-ratelimit-reset", &reset), ("date", &after)], &body);
            let outcome = rules.judge(&answer, NOW, false);
            prop_assert!(waits(&outcome).is_none_or(|wait| wait <= WAIT_MAX));
            prop_assert!(!outcome.text().chars().any(char::is_control) && outcome.text().len() <= 512);
        }
    }
}
