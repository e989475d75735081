//! What a far side answers, of any kind: it has an outcome, a wait within its bound, and what is quoted of it is a short line without our secrets.

use crate::input::{NOW, parts};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use switchyard_api::http::answer::{After, Case, Means, Test, WAIT_MAX};
use switchyard_api::http::{Answer, Rules};
use switchyard_api::{Outcome, Secret};

/// What an output would repeat of its own credentials.
const SECRET: &str = "hush-hush-hush";
/// A status in words, what was missed, 300 bytes of a body and the hint at a redirect.
const LINE_MAX: usize = 1 << 10;

/// An output's own cases, as a preset writes them.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Own {
    on: Vec<u16>,
    reject: Vec<u16>,
    map: Vec<Case>,
    ok: Option<Test>,
    otherwise: Means,
    after: Option<After>,
}

/// Cases as JSON or nothing, a status and headers a line each, and a body.
pub fn http_out(input: &[u8]) {
    let [own, head, body] = parts(input);
    let own: Own = serde_json::from_slice(own).unwrap_or_default();
    let Own { on, reject, map, ok, otherwise, after } = own;
    let rules = Rules {
        retry_on: on,
        reject_on: reject,
        map,
        ok: ok.unwrap_or_default(),
        otherwise,
        after: after.unwrap_or_default(),
        secrets: vec![Secret::new(SECRET)],
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let status =
        lines.next().and_then(|line| std::str::from_utf8(line).ok()?.parse().ok()).and_then(|status| StatusCode::from_u16(status).ok());
    let Some(status) = status else { return };
    let mut headers = HeaderMap::new();
    for line in lines.take(40) {
        let Some(at) = line.iter().position(|byte| *byte == b':') else { continue };
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..at]), HeaderValue::from_bytes(line[at + 1..].trim_ascii())) {
            headers.append(name, value);
        }
    }
    for (whole, path_from_event) in [(true, false), (false, true)] {
        let answer = Answer { status, headers: headers.clone(), body: Bytes::copy_from_slice(body), whole };
        judged(&rules.judge(&answer, NOW.0, path_from_event));
    }
}

fn judged(outcome: &Outcome) {
    let (said, wait) = match outcome {
        Outcome::Delivered { detail } => (detail, None),
        Outcome::Retry { why, after } | Outcome::Down { why, after } | Outcome::Misconfigured { why, after } => (why, *after),
        Outcome::Rejected { why } | Outcome::Unknown { why } => (why, None),
    };
    assert!(wait <= Some(WAIT_MAX), "waits {wait:?}");
    assert!(said.len() <= LINE_MAX && !said.chars().any(char::is_control), "{said:?}");
    assert!(!said.contains(SECRET), "{said:?}");
}
