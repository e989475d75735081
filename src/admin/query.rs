//! The query of a request, and the answer where it is wrong.

use crate::model::{EventId, State, Timestamp};
use std::str::FromStr;

/// Rows of one answer, unless asked otherwise.
const LIMIT: usize = 50;
/// Rows of one answer at most; who asks for more gets so many.
pub const ROWS_MAX: usize = 1_000;

/// A request that can't be answered: the status and one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong(pub u16, pub String);

/// Names and values of a query.
#[derive(Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=b&c=d`.
    pub fn of(text: &str) -> Self {
        let part = |text: &str| percent(&text.replace('+', " "));
        Query(
            text.split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(n, v)| (part(n), part(v)))
                .collect(),
        )
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone())
    }

    /// The value of a name, as what it should be.
    pub fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, Wrong> {
        self.get(name).map(|value| value.parse().map_err(|_| Wrong(400, format!("`{name}` is not what it should be")))).transpose()
    }

    /// How many rows.
    pub fn limit(&self) -> Result<usize, Wrong> {
        Ok(self.parsed::<usize>("limit")?.unwrap_or(LIMIT).clamp(1, ROWS_MAX))
    }

    /// A moment, in milliseconds since 1970.
    pub fn time(&self, name: &str) -> Result<Option<Timestamp>, Wrong> {
        Ok(self.parsed::<i64>(name)?.map(Timestamp))
    }

    /// A state's word.
    pub fn state(&self) -> Result<Option<State>, Wrong> {
        self.get("state")
            .map(|word| State::of(&word).ok_or_else(|| Wrong(400, "`state` is waiting, held, delivered or dead".into())))
            .transpose()
    }
}

/// An event's id, or what to write.
pub fn event_id(text: &str) -> Result<EventId, Wrong> {
    text.parse().map_err(|why: crate::model::ids::IdError| Wrong(400, why.to_string()))
}

/// Text with `%xx` decoded once.
pub fn percent(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = (byte == b'%').then(|| after.get(..2)).flatten().and_then(|digits| hex::decode(digits).ok());
        match code {
            Some(code) => {
                out.extend(code);
                rest = &after[2..];
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_and_a_wrong_one_says_so() {
        let query = Query::of("a=1%202&b=x+y&limit=5&state=dead&c");
        assert_eq!((query.get("a").as_deref(), query.get("b").as_deref(), query.get("c").as_deref()), (Some("1 2"), Some("x y"), Some("")));
        assert_eq!((query.limit(), query.state()), (Ok(5), Ok(Some(State::Dead))));
        assert!(Query::of("limit=x").limit().is_err());
        assert!(Query::of("state=gone").state().is_err());
        assert_eq!(percent("%zz%4"), "%zz%4");
    }
}
