//! Names and values that go beside a payload where the far side has a place for them: our ids, and what `headers` sets.
//!
//! For outputs that do not speak HTTP; the names are the same everywhere.

use crate::{Outcome, Parcel};

/// What `headers` may not set, whatever its case.
const OURS: &str = "switchyard-";
/// The longest name.
const NAME_MAX: usize = 255;

/// Why the headers cannot be sent. `Display` is one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The same for every event.
    #[error("`headers` sets `{0}`, which is not free to set; take it out")]
    Name(String),
    /// A line end or another control character.
    #[error("the header `{0}` would hold a control character")]
    Value(String),
}

impl HeaderError {
    /// Misconfigured where every event would fail, else rejected.
    pub fn outcome(&self) -> Outcome {
        let why = self.to_string();
        match self {
            HeaderError::Name(_) => Outcome::Misconfigured { why, after: None },
            HeaderError::Value(_) => Outcome::Rejected { why },
        }
    }
}

/// Our ids, then what the message's `headers` set. Names are unique, printable ASCII without `:` and blanks; values hold no control characters (L8).
///
/// # Errors
/// A name that is ours or none, or a value with a control character.
pub fn headers(parcel: &Parcel) -> Result<Vec<(String, String)>, HeaderError> {
    let own = |name: &str, value: String| (name.to_owned(), value);
    let mut all = vec![
        own("switchyard-delivery", parcel.delivery.clone()),
        own("switchyard-event", parcel.event.clone()),
        own("switchyard-attempt", parcel.attempt.to_string()),
    ];
    if parcel.replay {
        all.push(own("switchyard-replay", "true".to_owned()));
    }
    for (name, value) in parcel.message.map("headers").into_iter().flatten() {
        if !is_free(name) {
            return Err(HeaderError::Name(name.clone()));
        }
        if value.chars().any(char::is_control) {
            return Err(HeaderError::Value(name.clone()));
        }
        all.push((name.clone(), value.clone()));
    }
    Ok(all)
}

fn is_free(name: &str) -> bool {
    let plain = (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
    plain && !name.to_ascii_lowercase().starts_with(OURS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::parcel;
    use crate::{Message, Rendered};

    fn with(name: &str, value: &str) -> Result<Vec<(String, String)>, HeaderError> {
        let fields = [("headers".to_owned(), Rendered::Map([(name.to_owned(), value.to_owned())].into()))].into();
        headers(&Parcel { replay: true, attempt: 3, ..parcel(7, &Message { fields, ..Message::default() }) })
    }

    #[test]
    fn ids_come_first_and_what_the_file_sets_behind() {
        let names: Vec<_> = with("X-Shop", "Größe").unwrap().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let [delivery, event, rest @ ..] = &names[..] else { panic!("{names:?}") };
        assert!(delivery.starts_with("switchyard-delivery=dlv_") && event.starts_with("switchyard-event=evt_"));
        assert_eq!(rest, ["switchyard-attempt=3", "switchyard-replay=true", "X-Shop=Größe"]);
    }

    #[test]
    fn what_is_ours_and_what_is_no_name_is_refused_for_the_file_and_a_line_end_for_the_event() {
        for name in ["Switchyard-Delivery", "", "a b", "a:b", "a\r\nb", "ü"] {
            assert_eq!(with(name, "x").unwrap_err().outcome().word(), "misconfigured", "{name}");
        }
        assert_eq!(with("x", "a\r\nX-Admin: yes").unwrap_err().outcome().word(), "rejected");
    }
}
