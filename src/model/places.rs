//! Where values stand in a JSON body: their exact bytes, found along one path without making a tree of it.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// Keys and places of lists on the way to a value.
pub type Path = Box<[Box<str>]>;

/// Where the values at a path stand; `None`: the body is not JSON. `exact`: a name does not look into lists.
pub fn places(body: &[u8], path: &[Box<str>], exact: bool) -> Option<Vec<Range<usize>>> {
    let mut found = vec![];
    let mut json = serde_json::Deserializer::from_slice(body);
    Walk { path, exact, found: &mut found }.deserialize(&mut json).ok()?;
    json.end().ok()?;
    found.into_iter().map(|raw| range(body, raw)).collect()
}

/// Where a value stands that was read out of these bytes.
pub fn range(body: &[u8], raw: &RawValue) -> Option<Range<usize>> {
    let start = raw.get().as_ptr().addr().checked_sub(body.as_ptr().addr())?;
    let end = start.checked_add(raw.get().len()).filter(|end| *end <= body.len())?;
    Some(start..end)
}

/// Whether two JSON bodies are the same byte by byte, but for the values at these paths; both must have those that one has.
pub fn same_but(one: &[u8], other: &[u8], paths: &[Path]) -> bool {
    let (Some(one), Some(other)) = (rest(one, paths), rest(other, paths)) else { return false };
    one == other
}

/// What of a body stands around the values at these paths, piece by piece.
fn rest<'b>(body: &'b [u8], paths: &[Path]) -> Option<Vec<&'b [u8]>> {
    let mut found = vec![];
    for path in paths {
        found.extend(places(body, path, true)?);
    }
    found.sort_unstable_by_key(|place| place.start);
    let mut at = 0;
    let mut pieces = Vec::with_capacity(found.len() + 1);
    for place in found {
        pieces.push(body.get(at..place.start)?);
        at = place.end;
    }
    pieces.push(body.get(at..)?);
    Some(pieces)
}

struct Walk<'p, 'f, 'de> {
    path: &'p [Box<str>],
    exact: bool,
    found: &'f mut Vec<&'de RawValue>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        use serde::Deserialize;
        if self.path.is_empty() {
            self.found.push(<&RawValue>::deserialize(deserializer)?);
            return Ok(());
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.path.split_first() else { return Ok(()) };
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if *key == **step {
                map.next_value_seed(Walk { path: rest, exact: self.exact, found: &mut *self.found })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.path.split_first() else { return Ok(()) };
        let place = step.parse::<usize>().ok();
        for at in 0.. {
            let path = match place {
                Some(place) if place == at => rest,
                None if !self.exact => self.path,
                _ if items.next_element::<IgnoredAny>()?.is_some() => continue,
                _ => break,
            };
            if items.next_element_seed(Walk { path, exact: self.exact, found: &mut *self.found })?.is_none() {
                break;
            }
        }
        Ok(())
    }
    // Anything else has nothing below it.
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(one: &str, other: &str) -> bool {
        let paths = [["attempt".into()].into(), ["meta".into(), "sent".into()].into()];
        same_but(one.as_bytes(), other.as_bytes(), &paths)
    }

    #[test]
    fn all_but_what_is_left_out_must_be_the_same_byte_by_byte() {
        let body = r#"{"id":7,"attempt":1,"meta":{"sent":"now","n":1.50}}"#;
        assert!(same(body, body));
        for other in [
            r#"{"id":7,"attempt":22,"meta":{"sent":"now","n":1.50}}"#,
            r#"{"id":7,"attempt":1,"meta":{"sent":{"at":[1]},"n":1.50}}"#,
            r#"{"id":7,"attempt":null,"meta":{"sent":0,"n":1.50}}"#,
        ] {
            assert!(same(body, other), "{other}");
        }
        for other in [
            r#"{"id":7,"attempt":2,"meta":{"sent":"now","n":1.5}}"#,
            r#"{"id":7,"attempt": 1,"meta":{"sent":"now","n":1.50}}"#,
            r#"{"id":7,"meta":{"sent":"now","n":1.50}}"#,
            r#"{"id":7,"attempt":1,"attempt":1,"meta":{"sent":"now","n":1.50}}"#,
            r#"{"attempt":1,"id":7,"meta":{"sent":"now","n":1.50}}"#,
            r#"{"id":7,"x":{"attempt":2},"attempt":1,"meta":{"sent":"now","n":1.50}}"#,
            "{",
            "",
        ] {
            assert!(!same(body, other), "{other}");
        }
        assert!(!same("", "") && !same("{", "{"), "what is no JSON has no such values");
    }
}
