//! A drill: a delivery that people read as a test, by the templates of a real route.
//!
//! Does: puts [`MARK`] in front of what is read. Never: renders for an output at which nobody reads, where a drill would be taken for a real one.
//! An event by which a drill goes comes from the built-in source alone, so no sender can make one (L8).

use super::jq::JqPool;
use super::message::Fields;
use super::plan::{Rendering, Router};
use super::render::results;
use super::template::Context;
use crate::model::{Drill, Event, Message, NotRendered, Rendered, Target};
use std::collections::BTreeMap;
use std::sync::Arc;
use switchyard_api::escape::Escape;

/// What a person sees first.
const MARK: &str = "[TEST]";
/// Fields that people read, where an output has them.
const READ: [&str; 6] = ["text", "html", "title", "subject", "message", "summary"];
/// Forms of a message that hide its `text`: a drill has none of them.
const HIDES: [&str; 2] = ["blocks", "embeds"];

impl Router {
    /// The targets by which an output is reached: by all routes that go there, or by this one.
    pub fn reaching(&self, output: &str, route: Option<&str>) -> Vec<Arc<Target>> {
        let there = |target: &&Arc<Target>| *target.output == *output && route.is_none_or(|route| *target.route == *route);
        self.routes.iter().flat_map(|route| &route.targets).filter(there).cloned().collect()
    }

    /// Whether people read what goes to a target.
    pub fn is_read(&self, target: &Target) -> bool {
        self.renderings.get(target).is_some_and(|rendering| READ.iter().any(|name| rendering.fields.takes_text(name)))
    }

    /// The messages of a drill: those of the event that is shown, or of its own words.
    pub(super) async fn drilled(
        &self,
        drill: Drill,
        event: &Event,
        rendering: &Rendering,
        jq: &JqPool,
    ) -> Result<Vec<Arc<Message>>, NotRendered> {
        let fields = &rendering.fields;
        let shown = match drill {
            Drill::Words => vec![escaped(fields, words(event, rendering)?)],
            Drill::Event => {
                let results = results(rendering, event, jq).await?;
                results.iter().map(|result| super::render::fields(rendering, event, result.as_deref())).collect::<Result<_, _>>()?
            }
        };
        let mut messages = vec![];
        for mut all in shown {
            mark(fields, &mut all, |_| MARK.to_owned(), &format!("{} {}", event.topic, event.id));
            let fitted = fields.fit(all, self.link_to(event).as_deref()).map_err(|error| NotRendered::Failed(error.to_string()))?;
            messages.extend(fitted.into_iter().map(|fields| Arc::new(Message { fields, ..Message::default() })));
        }
        Ok(messages)
    }
}

/// Puts a mark in front of each field that people read. Where none of them is set, the first says `words`: something is to be read.
pub(super) fn mark(fields: &Fields, all: &mut BTreeMap<String, Rendered>, mark: impl Fn(&str) -> String, words: &str) {
    all.retain(|name, _| !HIDES.contains(&name.as_str()));
    let mut read = READ.into_iter().filter(|name| fields.takes_text(name)).peekable();
    let first = read.peek().copied();
    for name in read {
        let escape: Escape = fields.escape(name);
        let text = match all.get(name) {
            Some(Rendered::Text(text)) => text.clone(),
            _ if Some(name) == first => escape.apply(words),
            _ => continue,
        };
        all.insert(name.to_owned(), Rendered::Text(format!("{} {text}", escape.apply(&mark(name)))));
    }
}

/// Words as what people read takes them.
fn escaped(fields: &Fields, mut all: BTreeMap<String, Rendered>) -> BTreeMap<String, Rendered> {
    for name in READ.into_iter().filter(|name| fields.takes_text(name)) {
        if let Some(Rendered::Text(text)) = all.get_mut(name) {
            *text = fields.escape(name).apply(text);
        }
    }
    all
}

/// All fields as far as the drill's own data lets them be rendered, with its words where people read. A field that says who reads it or how loud
/// it is must not fail: another would hear it.
fn words(event: &Event, rendering: &Rendering) -> Result<BTreeMap<String, Rendered>, NotRendered> {
    let data: serde_json::Value = serde_json::from_slice(&event.body).unwrap_or_default();
    let words = data["message"].as_str().unwrap_or_default();
    let failed = |(field, error)| {
        NotRendered::Failed(format!("template of `{field}`, {error}; a drill has no data of your events: name one with `--event`"))
    };
    let mut all = rendering.fields.render_most(&Context::new(event, None)).map_err(failed)?;
    for name in READ.into_iter().filter(|name| rendering.fields.sets(name)) {
        all.insert(name.to_owned(), Rendered::Text(words.to_owned()));
    }
    Ok(all)
}
