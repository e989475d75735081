//! What a source does with a proven body before it is kept: `redact` takes values out of it, `each` makes several events of it.
//!
//! Does: cuts the exact bytes; what is not touched stays as it came, numbers with their digits. Never: refuses (L2): a body that is not JSON, or
//! has no list there, is kept whole. Proven by the properties below.

use crate::model::envelope;
use crate::model::places::{Path, places, range};
use bytes::Bytes;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::ops::Range;
use switchyard_api::{At, Problem};

/// Events of one request; a body with more is kept whole.
pub const EACH_MAX: usize = 5_000;
/// What stands where a value was.
const REDACTED: &str = "[redacted]";
/// The deepest path.
const PATH_MAX: usize = 32;

/// A path of the file: `data`, or `data.a.b`. Problems are pushed.
pub fn path(written: &At<String>, key: &str, problems: &mut Vec<Problem>) -> Option<Path> {
    let mut steps = written.value.split('.');
    let good = steps.next() == Some("data");
    let steps: Path = steps.map(Box::from).collect();
    if good && steps.iter().all(|step| !step.is_empty()) && steps.len() <= PATH_MAX {
        return Some(steps);
    }
    let title = format!("`{}` is not a path into the body", written.value);
    let problem = Problem::error("unknown-path", written.span, title, "not a path");
    problems.push(problem.help(format!("it begins with `data`, as in a filter: `{key}: data.{}`", written.value)));
    None
}

/// The parts of a body that are an event each; `None`: it is one event.
pub fn each(body: &Bytes, path: &Path) -> Option<Vec<Bytes>> {
    let lists = places(body, path, true)?;
    let [list] = &lists[..] else { return None };
    let items: Vec<&RawValue> = serde_json::from_slice(body.get(list.clone())?).ok()?;
    if items.is_empty() || items.len() > EACH_MAX {
        return None;
    }
    items.into_iter().map(|item| Some(body.slice(range(body, item)?))).collect()
}

/// A body without the values at these paths. A name that meets a list looks into each of its elements.
pub fn redact(body: Bytes, paths: &[Path], is_form: bool) -> Bytes {
    if paths.is_empty() {
        return body;
    }
    let found = if is_form { Some(form_places(&body, paths)) } else { json_places(&body, paths) };
    let Some(mut found) = found.filter(|found| !found.is_empty()) else { return body };
    found.sort_unstable_by_key(|place| (place.start, std::cmp::Reverse(place.end)));
    let mark = if is_form { Cow::Borrowed("%5Bredacted%5D") } else { Cow::Owned(format!("\"{REDACTED}\"")) };
    let (mut out, mut at) = (Vec::with_capacity(body.len()), 0);
    // One inside another goes with it.
    for place in found.into_iter().filter(|place| !place.is_empty()) {
        if place.start >= at {
            out.extend_from_slice(body.get(at..place.start).unwrap_or_default());
            out.extend_from_slice(mark.as_bytes());
            at = place.end;
        }
    }
    out.extend_from_slice(body.get(at..).unwrap_or_default());
    out.into()
}

fn json_places(body: &[u8], paths: &[Path]) -> Option<Vec<Range<usize>>> {
    let mut all = vec![];
    for path in paths {
        all.extend(places(body, path, false)?);
    }
    Some(all)
}

/// The values of a form's fields.
fn form_places(body: &[u8], paths: &[Path]) -> Vec<Range<usize>> {
    let mut all = vec![];
    let mut at = 0;
    for pair in body.split(|byte| *byte == b'&') {
        let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let name = envelope::unescape(&pair[..equals]);
        if paths.iter().any(|path| path.join(".") == name) && equals < pair.len() {
            all.push(at + equals + 1..at + pair.len());
        }
        at += pair.len() + 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use switchyard_api::Span;

    fn to(path: &str) -> Path {
        super::path(&At { span: Span::default(), value: path.to_owned() }, "redact", &mut vec![]).unwrap()
    }

    fn parts(body: &str, path: &str) -> Option<Vec<String>> {
        let parts = each(&Bytes::from(body.to_owned()), &to(path))?;
        Some(parts.iter().map(|part| String::from_utf8(part.to_vec()).unwrap()).collect())
    }

    fn without(body: &str, paths: &[&str], form: bool) -> String {
        let paths: Vec<Path> = paths.iter().map(|path| to(path)).collect();
        String::from_utf8(redact(Bytes::from(body.to_owned()), &paths, form).to_vec()).unwrap()
    }

    #[test]
    fn each_element_is_the_bytes_that_came() {
        assert_eq!(parts(r#"[{"a": 1.10}, 2 , "x"]"#, "data").unwrap(), [r#"{"a": 1.10}"#, "2", r#""x""#]);
        assert_eq!(parts(r#"{"d":{"events":[ {"n":1e400} ]}}"#, "data.d.events").unwrap(), [r#"{"n":1e400}"#]);
        assert_eq!(parts(r#"[{"events":[1,2]}]"#, "data.0.events").unwrap(), ["1", "2"]);
        for whole in ["[]", "{", "[1,", r#"{"events":7}"#, r#"{"events":[1],"events":[2]}"#, r#"[{"events":[1]}]"#, ""] {
            assert_eq!(parts(whole, "data.events"), None, "{whole}");
        }
        let many = format!("[{}1]", "1,".repeat(EACH_MAX));
        assert_eq!(parts(&many, "data"), None);
    }

    #[test]
    fn a_redacted_value_is_gone_and_all_else_is_as_it_came() {
        let body = r#"{"customer": {"iban":"NL00TEST0123456789","n": 1.50},"items":[{"iban":{"a":1}},{"iban":7}]}"#;
        assert_eq!(
            without(body, &["data.customer.iban", "data.items.iban", "data.nothing"], false),
            r#"{"customer": {"iban":"[redacted]","n": 1.50},"items":[{"iban":"[redacted]"},{"iban":"[redacted]"}]}"#
        );
        assert_eq!(without(body, &["data.items", "data.items.iban"], false).matches("redacted").count(), 1);
        assert_eq!(without("a=1&iban=NL00&b=2&iban=x", &["data.iban"], true), "a=1&iban=%5Bredacted%5D&b=2&iban=%5Bredacted%5D");
        assert_eq!(without("{not json", &["data.iban"], false), "{not json");
        assert_eq!(without(r#"{"\u0069ban":"x"}"#, &["data.iban"], false), r#"{"\u0069ban":"[redacted]"}"#);
    }

    #[test]
    fn what_is_no_path_is_told() {
        for wrong in ["customer.iban", "data..iban", "", "data."] {
            let mut problems = vec![];
            assert!(super::path(&At { span: Span::default(), value: wrong.to_owned() }, "each", &mut problems).is_none());
            assert_eq!(problems.len(), 1);
        }
    }

    proptest! {
        #[test]
        fn no_body_is_too_odd(body in proptest::collection::vec(any::<u8>(), 0..200), step in "[a-z0-9]{0,3}") {
            let path: Path = if step.is_empty() { Box::default() } else { [step.into()].into() };
            let body = Bytes::from(body);
            drop(each(&body, &path));
            drop(redact(body.clone(), std::slice::from_ref(&path), false));
            drop(redact(body, &[path], true));
        }

        #[test]
        fn what_is_redacted_is_not_there(secret in "[a-z]{8}", before in ".{0,8}", n in 0_u32..1000) {
            let body = serde_json::json!({ "x": before, "list": [{ "s": secret }, { "n": n }], "s": { "deep": secret } }).to_string();
            let out = without(&body, &["data.list.s", "data.s"], false);
            let read: serde_json::Value = serde_json::from_str(&out).unwrap();
            prop_assert_eq!((&read["list"][0]["s"], &read["s"], &read["x"]), (&REDACTED.into(), &REDACTED.into(), &before.into()));
        }
    }
}
