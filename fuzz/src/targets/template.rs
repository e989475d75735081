//! Templates: whatever somebody writes is one or is refused at a place, it renders the same every time and within its bound, what an event holds does
//! not become markup, and an error says nothing of it.

use crate::input::{event, parts};
use switchyard::route::template::{Context, Engine, OUTPUT_MAX, Rules};
use switchyard_api::escape::Escape;
use switchyard_api::kind::Confine;

/// In a body this is what no error may repeat.
const SECRET: &str = "hush";

/// How it is escaped (`html`, or `path name` for what is confined), a template, and a body.
pub fn template(input: &[u8]) {
    let [rules, text, body] = parts(input);
    let (Ok(rules), Ok(text)) = (std::str::from_utf8(rules), std::str::from_utf8(text)) else { return };
    let (escape, confine) = rules.split_once(' ').unwrap_or((rules, ""));
    let escape: Escape = serde_json::from_value(escape.into()).unwrap_or_default();
    let confine = if confine == "name" { Confine::Name } else { Confine::Content };
    let template = match Engine::new(Rules { escape, confine }).compile(text) {
        Ok(template) => template,
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a word");
            return problems.iter().for_each(|problem| assert!(text.get(problem.within.clone()).is_some(), "{problem:?} lies outside"));
        }
    };
    for (within, path) in template.reads() {
        assert!(text.get(within.clone()).is_some(), "`{path}` at {within:?} lies outside");
    }
    let event = event(body);
    let rendered = template.render(&Context::new(&event, None));
    assert_eq!(rendered, template.render(&Context::new(&event, None)), "it is not the same twice");
    match rendered {
        Ok(rendered) => {
            assert!(rendered.len() <= OUTPUT_MAX, "{} bytes", rendered.len());
            let markup = matches!(escape, Escape::Html | Escape::Xml | Escape::Slack | Escape::Matrix | Escape::TelegramHtml);
            // What its author writes may be markup, and what he says is `raw`.
            let written = text.contains(['<', '>']) || text.contains("raw");
            assert!(!markup || written || !rendered.contains(['<', '>']), "{rendered:?}");
        }
        Err(why) => {
            let why = why.to_string();
            assert!(!why.contains(SECRET) || text.contains(SECRET), "{why}");
            assert!(!why.contains('\n'), "{why:?} is more than a line");
        }
    }
}
