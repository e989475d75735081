//! What stands in a request's first line: paths and parameters with their values, each in its place (L8).

use crate::request::CannotSend;
use crate::template::{Filter, Scope, Slot, Text};

/// What stands in a path as it is, beside letters and digits.
const PATH: &[u8] = b"-._~/!$&'()*+,;=:@";
/// The longest path that a message may make.
const PATH_MAX: usize = 1024;

/// What has a value, percent-encoded.
pub fn query(entries: &[(String, Text)], scope: &Scope<'_>) -> Result<Vec<(String, String)>, CannotSend> {
    let mut query = vec![];
    for (name, text) in entries {
        if let Some(value) = text.plain(scope)? {
            query.push((encoded(name), encoded(&value)));
        }
    }
    Ok(query)
}

/// The path with its values, each one segment unless it says `|path`.
pub fn path(template: &Text, scope: &Scope<'_>) -> Result<String, CannotSend> {
    let write = |text: &str, slot: &Slot| {
        let several = slot.filters.contains(&Filter::Path);
        let plain = if several { plain_path(text) } else { segment(text) };
        plain.map_err(|_| "is no part of a path")
    };
    let path = template.fill(scope, write)?.ok_or(CannotSend::Path)?;
    if path.len() > PATH_MAX { Err(CannotSend::Path) } else { Ok(path) }
}

fn percent(text: &str, keep: &[u8]) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || keep.contains(&byte) {
            out.push(byte as char);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A name or value of a query or a form.
pub fn encoded(text: &str) -> String {
    percent(text, b"-._~")
}

/// One segment of a path (L8).
fn segment(text: &str) -> Result<String, CannotSend> {
    if text.is_empty() || matches!(text, "." | "..") {
        return Err(CannotSend::Path);
    }
    Ok(percent(text, b"-._~!$&'()*+,;=:@"))
}

/// The path with everything percent-encoded that could end it, and no way up (L8). What is percent-encoded already stays: values
/// were, each as one segment, when the message was rendered.
pub fn plain_path(path: &str) -> Result<String, CannotSend> {
    if path.len() > PATH_MAX || path.split('/').any(is_step) {
        return Err(CannotSend::Path);
    }
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, from) = rest.split_at(at);
        out.push_str(&percent(before, PATH));
        let encoded = from.get(1..3).filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()));
        out.push_str(if encoded.is_some() { "%" } else { "%25" });
        rest = &from[1..];
    }
    out.push_str(&percent(rest, PATH));
    Ok(out)
}

/// Whether a segment is a step here or upwards, however its dots are written.
pub fn is_step(segment: &str) -> bool {
    matches!(&*segment.to_ascii_lowercase().replace("%2e", "."), "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use switchyard_api::http::Url;

    #[test]
    fn a_path_stays_below_the_urls() {
        for (path, expected) in [
            ("orders/7", Some("orders/7")),
            ("a?b#c%2e d", Some("a%3Fb%23c%2e%20d")),
            ("ü", Some("%C3%BC")),
            ("shop%2F1%23A/100%/%zü", Some("shop%2F1%23A/100%25/%25z%C3%BC")),
        ] {
            assert_eq!(plain_path(path).ok().as_deref(), expected);
        }
        for path in ["..", "a/../b", "./x", "%2e%2E/x", "a/.%2e", &"x".repeat(PATH_MAX + 1)] {
            assert_eq!(plain_path(path), Err(CannotSend::Path), "{path}");
        }
        for (text, expected) in [("a/b", Some("a%2Fb")), ("!r:s", Some("!r:s")), ("..", None), ("", None)] {
            assert_eq!(segment(text).ok().as_deref(), expected);
        }
    }

    proptest! {
        #[test]
        fn whatever_the_event_says_is_one_path(path in "\\PC{0,40}") {
            if let Ok(plain) = plain_path(&path) {
                let url = Url::parse("https://a.example/v1?key=k").unwrap();
                let target = url.target(Some(&plain), &[]).unwrap();
                prop_assert!(target.path().starts_with("/v1/"));
                prop_assert_eq!(target.query(), Some("key=k"));
            }
        }

        #[test]
        fn whatever_the_event_says_is_one_segment_and_one_parameter(text in "\\PC{1,40}") {
            let url = Url::parse("https://a.example/v1").unwrap();
            if let Ok(one) = segment(&text) {
                let target = url.target(Some(&format!("{one}/end")), &[("q".into(), encoded(&text))]).unwrap();
                prop_assert_eq!(target.path().split('/').count(), 4);
                prop_assert_eq!(target.query().unwrap().matches(['&', '=']).count(), 1);
            }
        }
    }
}
