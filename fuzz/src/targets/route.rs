//! Topic globs, and the index over many routes, each beside asking every one by the plain meaning.

use crate::input::texts;
use std::sync::Arc;
use switchyard::model::OWN_SOURCE;
use switchyard::route::Glob;
use switchyard::route::glob::GLOB_MAX;
use switchyard::route::index::Index;
use switchyard_reference::glob::matches;

/// A glob, and a topic.
pub fn glob(input: &[u8]) {
    let Some([text, topic]) = texts(input) else { return };
    if topic.len() > GLOB_MAX {
        return;
    }
    let glob = match Glob::parse(text) {
        Ok(glob) => glob,
        Err(wrong) => return assert!(text.get(wrong.within.clone()).is_some(), "{wrong:?} lies outside"),
    };
    let fits = glob.matches(topic);
    assert_eq!(fits, matches(text, topic), "`{text}` of `{topic}`");
    assert!(!fits || topic.starts_with(glob.prefix()), "`{text}` begins with `{}`", glob.prefix());
    assert!(!glob.is_exact() || fits == (text == topic), "`{text}` is one topic");
}

/// Routes, one a line (`source,source glob,glob`; `-` for any), and an event (`source topic`).
pub fn index(input: &[u8]) {
    let Some([routes, event]) = texts(input) else { return };
    let (source, topic) = event.split_once(' ').unwrap_or((event, ""));
    if topic.len() > GLOB_MAX {
        return;
    }
    let list = |words: &str| -> Vec<String> { words.split(',').filter(|word| !word.is_empty() && *word != "-").map(Into::into).collect() };
    let (mut index, mut expected) = (Index::default(), vec![]);
    for (nth, line) in routes.lines().take(200).enumerate() {
        let (from, topics) = line.split_once(' ').unwrap_or((line, ""));
        let (from, texts) = (list(from), list(topics));
        let Ok(globs) = texts.iter().map(|text| Glob::parse(text)).collect::<Result<Vec<_>, _>>() else { continue };
        index.add(nth as u32, &from.iter().map(|name| name.as_str().into()).collect::<Vec<Arc<str>>>(), &globs);
        let of_source = from.iter().any(|name| name == source) || (from.is_empty() && source != OWN_SOURCE);
        if of_source && (texts.is_empty() || texts.iter().any(|text| matches(text, topic))) {
            expected.push(nth as u32);
        }
    }
    let mut found = index.find(source, topic);
    assert_eq!(found.routes(), expected, "`{source}` `{topic}`");
    found.retain(|route| route % 2 == 0);
    expected.retain(|route| route % 2 == 0);
    assert_eq!(found.routes(), expected);
}
