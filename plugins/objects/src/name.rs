//! What an object is called, decided by what is in it: the same deliveries with the same content have the same name, so that a
//! repeat finds itself. Values of events stay within their part of it (L8).
//!
//! `PREFIX/dt=2026-03-02/hour=10/FIRST-LAST-COUNT-DIGEST.ndjson.gz`: the day and hour in which its events were received (UTC), the
//! ids of its first and last delivery, how many it holds, and 128 bits of SHA-256 over ids and lines.

use jiff::Timestamp;
use std::fmt::Write;
use switchyard_api::{Outcome, Parcel};

use crate::config::Partition;

/// Bytes of a prefix; with the rest of the name it stays below the 1,024 that all three stores take.
const PREFIX_MAX: usize = 600;

/// Why a prefix cannot be one. `Display` is one line without values of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPrefix {
    /// `.` or `..` would be read as a way up by tools that copy objects to files.
    #[error("the prefix made from this event has a part `.` or `..`")]
    Up,
    /// Control characters and `\` are told apart badly by stores and their tools.
    #[error("the prefix made from this event holds a control character or `\\`")]
    Characters,
    /// Names have 1,024 bytes at most.
    #[error("the prefix made from this event has more than {PREFIX_MAX} bytes")]
    Long,
}

impl BadPrefix {
    /// What this means for the delivery.
    pub fn outcome(self) -> Outcome {
        Outcome::Rejected { why: self.to_string() }
    }
}

/// Where a delivery's object lies: prefix and time, ending with `/` where it is not empty.
///
/// # Errors
/// The rendered prefix is none.
pub fn folder(parcel: &Parcel, partition: Partition) -> Result<String, BadPrefix> {
    let prefix = parcel.message.text("prefix").unwrap_or_default();
    if prefix.len() > PREFIX_MAX {
        return Err(BadPrefix::Long);
    }
    if prefix.contains(|c: char| c.is_control() || c == '\\') {
        return Err(BadPrefix::Characters);
    }
    let mut folder = String::with_capacity(prefix.len() + 32);
    for part in prefix.split('/').filter(|part| !part.is_empty()) {
        if matches!(part, "." | "..") {
            return Err(BadPrefix::Up);
        }
        folder.push_str(part);
        folder.push('/');
    }
    let form = match partition {
        Partition::Hour => "dt=%Y-%m-%d/hour=%H/",
        Partition::Day => "dt=%Y-%m-%d/",
        Partition::None => return Ok(folder),
    };
    // Writing to a text cannot fail.
    let _ = write!(folder, "{}", Timestamp::from_millisecond(parcel.received_at).unwrap_or_default().strftime(form));
    Ok(folder)
}

/// The name within its folder.
pub fn file(first: &str, last: &str, count: usize, digest: &[u8], ending: &str) -> String {
    let digest = hex::encode(digest.get(..16).unwrap_or(digest));
    format!("{}-{}-{count}-{digest}.{ending}", plain(first), plain(last))
}

/// Ids are letters, digits and `_`; a far side's listing must be able to rely on it.
fn plain(id: &str) -> String {
    id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(100).collect()
}

/// The name as it stands in a URL's path.
pub fn encoded(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 8);
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(byte as char);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use switchyard_api::conformance::parcel;
    use switchyard_api::{Message, Rendered};

    fn with_prefix(prefix: &str) -> Parcel {
        parcel(1, &Message { fields: [("prefix".to_owned(), Rendered::Text(prefix.to_owned()))].into(), ..Message::default() })
    }

    #[test]
    fn a_folder_is_prefix_and_time() {
        for (prefix, partition, expected) in [
            ("topic=ORDER_PAID", Partition::Hour, "topic=ORDER_PAID/dt=2026-03-02/hour=10/"),
            ("/a//b c/", Partition::Day, "a/b c/dt=2026-03-02/"),
            ("", Partition::None, ""),
            ("..a/.b", Partition::None, "..a/.b/"),
        ] {
            assert_eq!(folder(&with_prefix(prefix), partition).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_leads_elsewhere_is_rejected() {
        for (prefix, why) in [
            ("a/../b", BadPrefix::Up),
            ("..", BadPrefix::Up),
            ("a/./b", BadPrefix::Up),
            ("a\r\nx: y", BadPrefix::Characters),
            ("a\\..\\b", BadPrefix::Characters),
            ("a\0", BadPrefix::Characters),
            (&"x".repeat(601), BadPrefix::Long),
        ] {
            assert_eq!(folder(&with_prefix(prefix), Partition::Hour), Err(why), "{prefix:?}");
        }
    }

    #[test]
    fn a_name_says_what_is_in_it() {
        assert_eq!(file("dlv_1", "dlv_9", 9, &[0xab; 32], "ndjson"), format!("dlv_1-dlv_9-9-{}.ndjson", "ab".repeat(16)));
        assert_eq!(encoded("topic=a b/ü?#%.gz"), "topic%3Da%20b/%C3%BC%3F%23%25.gz");
    }

    proptest! {
        #[test]
        fn every_folder_fits_and_stays_below(prefix in "[./a-z\\\\\\x00-\\x1f\\PC]{0,20}") {
            if let Ok(folder) = folder(&with_prefix(&prefix), Partition::Hour) {
                prop_assert!(!folder.starts_with('/') && folder.ends_with('/') && folder.len() < 700);
                prop_assert!(folder.split('/').all(|part| part != "." && part != ".."));
                let uri: http::Uri = format!("/bucket/{}", encoded(&folder)).parse().unwrap();
                prop_assert_eq!(uri.query(), None);
            }
        }
    }
}
