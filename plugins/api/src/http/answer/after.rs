//! How long an answer asks to wait: Retry-After, the destination's own place for it, the rate-limit headers. What cannot be
//! read is no wait; a wait is at most [`WAIT_MAX`].

use super::Heard;
use crate::Period;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;
use std::time::Duration;

/// The longest wait that a far side may ask for.
pub const WAIT_MAX: Duration = Duration::from_hours(24);

/// Where a destination says how long to wait, in the order in which it is looked for: `30s`, `{ header: …, unit: … }`,
/// `{ json: …, unit: … }`, or a list of those.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct After(Vec<Place>);

/// One place where it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// It does not, and this long is known to do.
    Fixed(Duration),
    /// In a header.
    Header(String, Unit),
    /// In the JSON body (RFC 6901).
    Json(String, Unit),
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Unit {
    /// Seconds from now.
    S,
    /// Milliseconds from now.
    Ms,
    /// Seconds since 1970.
    EpochS,
    /// Milliseconds since 1970.
    EpochMs,
    /// A date of HTTP, or one of RFC 3339.
    Date,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    header: Option<String>,
    #[serde(default)]
    json: Option<String>,
    unit: Unit,
}

impl After {
    /// How long, from the first place that says so. Headers and fixed times are heard only where the answer is a wish for
    /// quiet: elsewhere a header only describes the budget.
    fn find(&self, heard: &Heard<'_>, now: i64, quiet: bool) -> Option<Duration> {
        self.0.iter().find_map(|place| match place {
            Place::Fixed(wait) => quiet.then_some((*wait).min(WAIT_MAX)),
            Place::Header(name, unit) => quiet.then(|| heard.header(name)).flatten().and_then(|text| unit.read(text, now)),
            Place::Json(pointer, unit) => match heard.json()?.pointer(pointer)? {
                Value::String(text) => unit.read(text, now),
                number => unit.read(&number.to_string(), now),
            },
        })
    }
}

impl Written {
    fn place(self) -> Result<Place, &'static str> {
        match self {
            Written { header: Some(name), json: None, unit } => Ok(Place::Header(name, unit)),
            Written { header: None, json: Some(pointer), unit } if pointer.starts_with('/') => Ok(Place::Json(pointer, unit)),
            _ => Err("a wait stands in one place: write `header`, or `json` with a pointer that begins with `/`"),
        }
    }
}

impl<'de> Deserialize<'de> for After {
    /// By a visitor, so that what is wrong is told at its own place.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = After;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time such as `30s`, or `{ header: X-Reset, unit: epoch_s }`")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<After, E> {
                Period::parse(text).map(|wait| After(vec![Place::Fixed(wait.0)])).map_err(E::custom)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<After, A::Error> {
                let mut places = vec![];
                while let Some(After(more)) = list.next_element()? {
                    places.extend(more);
                }
                Ok(After(places))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<After, A::Error> {
                let written = Written::deserialize(MapAccessDeserializer::new(map))?;
                written.place().map(|place| After(vec![place])).map_err(A::Error::custom)
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl Unit {
    fn read(self, text: &str, now: i64) -> Option<Duration> {
        let number = || text.parse::<f64>().ok().filter(|n| n.is_finite());
        match self {
            Unit::S => clamped(number()?),
            Unit::Ms => clamped(number()? / 1000.0),
            Unit::EpochS => Some(millis((number()? * 1000.0) as i64 - now)),
            Unit::EpochMs => Some(millis(number()? as i64 - now)),
            Unit::Date => date(text).or_else(|| text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)).map(|at| millis(at - now)),
        }
    }
}

/// How long to wait: what the case says, else Retry-After, else the destination's own place, else the rate-limit headers.
pub(super) fn wait(heard: &Heard<'_>, case: Option<&After>, own: &After, now: i64) -> Option<Duration> {
    let header = |name: &str| heard.header(name);
    let here = header("date").and_then(date).unwrap_or(now);
    let said = || header("retry-after").and_then(|text| seconds(text).or_else(|| date(text).map(|at| millis(at - here))));
    let draft = || header("ratelimit").and_then(draft_reset);
    let reset = || {
        ["ratelimit-reset", "x-ratelimit-reset-after", "x-ratelimit-reset", "x-rate-limit-reset"]
            .into_iter()
            .find_map(|name| header(name).and_then(|text| reset(text, now)))
    };
    let quiet = matches!(heard.status, 429 | 503);
    case.and_then(|after| after.find(heard, now, true))
        .or_else(said)
        .or_else(|| own.find(heard, now, quiet))
        .or_else(|| if quiet { draft().or_else(reset) } else { None })
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
pub(in crate::http) fn date(text: &str) -> Option<i64> {
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
    use crate::http::Answer;
    use ::http::{HeaderMap, HeaderName, StatusCode};

    /// 2026-03-02T10:00:00Z
    const NOW: i64 = 1_772_445_600_000;

    fn waits(own: &str, case: Option<&str>, status: u16, headers: &[(&str, &str)], body: &str) -> Option<f64> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let body = bytes::Bytes::copy_from_slice(body.as_bytes());
        let answer = Answer { status: StatusCode::from_u16(status).unwrap(), headers: map, body, whole: true };
        let read = |text: &str| serde_json::from_str::<After>(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let case = case.map(read);
        wait(&Heard::answer(&answer), case.as_ref(), &read(own), NOW).map(|wait| wait.as_secs_f64())
    }

    #[test]
    fn every_unit_is_read_and_the_first_place_that_says_so_counts() {
        for (own, headers, body, expected) in [
            (r#"{"header":"X-Reset","unit":"s"}"#, &[("x-reset", "1.5")][..], "", Some(1.5)),
            (r#"{"header":"X-Reset","unit":"ms"}"#, &[("x-reset", "1500")], "", Some(1.5)),
            (r#"{"header":"X-Reset","unit":"epoch_s"}"#, &[("x-reset", "1772445610")], "", Some(10.0)),
            (r#"{"header":"X-Reset","unit":"epoch_ms"}"#, &[("x-reset", "1772445610500")], "", Some(10.5)),
            (r#"{"header":"X-Reset","unit":"date"}"#, &[("x-reset", "2026-03-02T10:00:07Z")], "", Some(7.0)),
            (r#"{"header":"X-Reset","unit":"date"}"#, &[("x-reset", "Mon, 02 Mar 2026 10:00:08 GMT")], "", Some(8.0)),
            (r#"{"header":"X-Reset","unit":"epoch_s"}"#, &[("x-reset", "1")], "", Some(0.0)),
            (r#"{"json":"/a/b","unit":"s"}"#, &[], r#"{"a":{"b":"3"}}"#, Some(3.0)),
            (r#"{"json":"/a/b","unit":"s"}"#, &[], r#"{"a":{"b":true}}"#, None),
            (r#"[{"header":"X-A","unit":"s"},{"json":"/w","unit":"s"},"30s"]"#, &[], r#"{"w":4}"#, Some(4.0)),
            (r#"[{"header":"X-A","unit":"s"},{"json":"/w","unit":"s"},"30s"]"#, &[("x-a", "soon")], "", Some(30.0)),
            (r#""72h""#, &[], "", Some(86_400.0)),
            (r#""30s""#, &[("retry-after", "5")], "", Some(5.0)),
        ] {
            assert_eq!(waits(own, None, 429, headers, body), expected, "{own} {headers:?} {body}");
        }
    }

    #[test]
    fn elsewhere_than_at_429_and_503_only_what_is_said_of_this_answer_is_a_wish() {
        let header = r#"[{"header":"X-Reset","unit":"s"},"30s"]"#;
        assert_eq!(waits(header, None, 500, &[("x-reset", "9")], ""), None);
        assert_eq!(waits(r#"{"json":"/w","unit":"s"}"#, None, 500, &[], r#"{"w":9}"#), Some(9.0));
        assert_eq!(waits("[]", Some(r#""60s""#), 200, &[], ""), Some(60.0), "a case is about its answer");
        assert_eq!(waits("[]", Some(r#""60s""#), 429, &[("retry-after", "5")], ""), Some(60.0));
    }

    #[test]
    fn what_is_no_wait_is_refused() {
        for text in [
            r#""soon""#,
            "5",
            r#"{"header":"a"}"#,
            r#"{"header":"a","json":"/b","unit":"s"}"#,
            r#"{"json":"b","unit":"s"}"#,
            r#"{"header":"a","unit":"min"}"#,
        ] {
            assert!(serde_json::from_str::<After>(text).is_err(), "{text}");
        }
    }
}
