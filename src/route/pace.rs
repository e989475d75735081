//! By what an output's limit is counted: `rate.key`, a template over the event.
//!
//! Never fails for an event: one for which the key has no value, or cannot be rendered, shares the limit of the empty key. So no event
//! goes out beside the limit, and none is lost for it (L4). Pure.

use super::message::{OutputMessage, key_template};
use super::plan::Router;
use super::template::{Context, Template};
use crate::model::{Event, RateKey};
use std::collections::BTreeMap;
use std::sync::Arc;
use switchyard_api::Problem;
use switchyard_api::tree;

/// What gives an event's key.
#[derive(Debug, Clone)]
pub struct Pace(Arc<Template>);

impl Pace {
    /// The event's key.
    pub fn key(&self, event: &Event) -> RateKey {
        RateKey::of(&self.text(event))
    }

    /// What the file's template gives.
    pub fn text(&self, event: &Event) -> String {
        self.0.render(&Context::new(event, None)).unwrap_or_default()
    }
}

/// Those of all outputs. Every problem is pushed; `None` if there is any.
pub(super) fn read(outputs: &[OutputMessage], problems: &mut Vec<Problem>) -> Option<BTreeMap<Arc<str>, Pace>> {
    let mut built = |output: &OutputMessage| {
        problems.extend(output.rate_key.as_ref().and_then(constant));
        key_template("rate.key", output.rate_key.as_ref(), problems)
    };
    let built: Vec<_> = outputs.iter().map(|output| Some((Arc::clone(&output.name), built(output).ok()?))).collect();
    let built: Option<Vec<_>> = built.into_iter().collect();
    Some(built?.into_iter().filter_map(|(name, template)| Some((name, Pace(template?)))).collect())
}

/// One that gives every event the same key: most often a value without its braces.
fn constant(written: &tree::Template) -> Option<Problem> {
    if written.text.contains("{{") || written.text.contains("{%") {
        return None;
    }
    let problem = Problem::error("constant-key", written.span, "`rate.key` is the same for every event", "not a value of the event");
    let of_the_event = written.text.starts_with("data.") || written.text.starts_with("headers") || written.text == "topic";
    let example = if of_the_event { written.text.as_str() } else { "data.shop" };
    Some(problem.help(format!("write `\"{{{{ {example} }}}}\"`; for one limit over all, take `key` away")))
}

impl Router {
    /// By what the limit of an output is counted; `None`: it is one for all.
    pub fn pace(&self, output: &str) -> Option<Pace> {
        self.paces.get(output).cloned()
    }
}
