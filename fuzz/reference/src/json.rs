//! What a JSON text says, with every number as the digits that it is written with; and the values at a path of it.

use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A JSON value. Of a key that stands twice the last one counts; the order of keys says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    /// `null`, `true` or `false`.
    Word(String),
    /// As written; but for `-0`, which is `0`.
    Number(String),
    /// What it means.
    Text(String),
    /// In its order.
    List(Vec<Tree>),
    /// By name.
    Object(BTreeMap<String, Tree>),
}

/// Reads a text; `None` where it is no JSON, or has a text that no characters can say.
pub fn read(text: &str) -> Option<Tree> {
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    Some(match text.as_bytes().first()? {
        b'{' => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
            Tree::Object(members.into_iter().map(|(name, value)| Some((name, read(value.get())?))).collect::<Option<_>>()?)
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            Tree::List(items.into_iter().map(|item| read(item.get())).collect::<Option<_>>()?)
        }
        b'"' => Tree::Text(serde_json::from_str(text).ok()?),
        b'-' | b'0'..=b'9' => {
            serde_json::from_str::<&RawValue>(text).ok()?;
            Tree::Number(if text == "-0" { "0".into() } else { text.into() })
        }
        _ => {
            serde_json::from_str::<&RawValue>(text).ok()?;
            Tree::Word(text.into())
        }
    })
}

impl Tree {
    /// The values at a path: a name looks into each element of a list, a place in a list takes that one.
    pub fn at<'t>(&'t self, path: &[&str], found: &mut Vec<&'t Tree>) {
        let Some((name, rest)) = path.split_first() else { return found.push(self) };
        match self {
            Tree::Object(members) => members.get(*name).into_iter().for_each(|inner| inner.at(rest, found)),
            Tree::List(list) => match name.parse::<usize>() {
                Ok(place) => list.get(place).into_iter().for_each(|inner| inner.at(rest, found)),
                Err(_) => list.iter().for_each(|inner| inner.at(path, found)),
            },
            _ => {}
        }
    }
}
