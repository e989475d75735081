//! One document, seen by filters, jq and templates: the same values, and every number with the digits that it was written with.

use super::filter;
use crate::input::event;
use std::path::Path;
use switchyard::model::envelope;
use switchyard::route::facts::{Facts, Paths};
use switchyard::route::jq::{JqPool, Program};
use switchyard::route::template::{Context, Engine, Rules};
use switchyard_api::escape::Escape;
use switchyard_api::kind::Confine;
use switchyard_reference::json::{self, Tree};

/// Bytes of a document; templates and jq have their own bounds, which are not what is tried here.
const DOCUMENT_MAX: usize = 4 << 10;

/// A document.
pub fn entry(worker: &Path) -> crate::Entry {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let jq = JqPool::start(worker.into(), 1).with_wall(std::time::Duration::from_secs(20));
    let program = Program::check(".data").expect("a program");
    let template = Engine::new(Rules { escape: Escape::None, confine: Confine::Content }).compile("{{ data|tojson }}").expect("a template");
    let mut paths = Paths::default();
    let place = paths.add("data").expect("a path");
    Box::new(move |input| {
        if input.len() > DOCUMENT_MAX || envelope::too_deep(input) {
            return;
        }
        let Some(said) = std::str::from_utf8(input).ok().and_then(json::read) else { return };
        let event = event(input);
        let same = |by: &str, text: &str| assert_eq!(json::read(text).as_ref(), Some(&said), "by {by}: {text}");
        let mut asked = 0;
        Facts::new(&event, &paths).any(&place, |fact| {
            assert_eq!(filter::said(&fact).as_ref(), Some(&said), "by a filter");
            asked += 1;
            false
        });
        assert_eq!(asked, 1, "a filter sees it once");
        same("what is parsed", &envelope::data(&event).expect("it is JSON").to_string());
        match template.render(&Context::new(&event, None)) {
            Ok(text) => same("a template", &text),
            // Steps are metered; a small document must not need them.
            Err(why) => assert!(size(&said) > 1_000, "a template: {why}"),
        }
        match runtime.block_on(jq.run(&program, &envelope::envelope_text(&event))).as_deref() {
            Ok([text]) => same("jq", text),
            other => panic!("jq: {other:?}"),
        }
    })
}

/// How many values there are.
fn size(tree: &Tree) -> usize {
    match tree {
        Tree::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Tree::Object(members) => 1 + members.values().map(size).sum::<usize>(),
        _ => 1,
    }
}
