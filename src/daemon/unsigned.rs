//! Warnings where a route goes by what a sender does not sign: whoever sees one signed request can send it again with that changed.
//!
//! Does: joins what routes ask for with what each source's proof covers. One warning a source and value that decides, at the first
//! place; one a place where a value fills a statement, a path or another structure. Never: an error; `believe` at the source silences it.

use crate::ingest;
use crate::model::OWN_SOURCE;
use crate::route::{Ask, OutputMessage, RouteSection};
use crate::verify::Verifier;
use std::collections::BTreeMap;
use std::sync::Arc;
use switchyard_api::{Problem, Span};

/// What is to be said of these routes.
pub fn warnings(routes: &[RouteSection], outputs: &[OutputMessage], names: &[(Arc<str>, Span)], sources: &ingest::Sources) -> Vec<Problem> {
    let mut found: BTreeMap<(bool, Span, String, Arc<str>), Problem> = BTreeMap::new();
    let mut deciding: BTreeMap<(Arc<str>, String), (Problem, usize)> = BTreeMap::new();
    for route in routes {
        let asks = Ask::of(route, outputs);
        let from = |name: &str| route.from.is_empty() || route.from.iter().any(|source| source.value == name);
        for (name, at) in names.iter().filter(|(name, _)| **name != *OWN_SOURCE && from(name)) {
            let Some(verifier) = sources.named(name).map(|source| &source.verifier) else { continue };
            let proof = Proof { name, at: *at, verifier };
            for ask in asks.iter().filter(|ask| !verifier.vouches_for(&ask.path)) {
                match &ask.fills {
                    None => {
                        let first = || (proof.decides(ask), 0);
                        deciding.entry((Arc::clone(name), ask.path.clone())).or_insert_with(first).1 += 1;
                    }
                    Some(fills) => {
                        let place = (true, ask.at, ask.path.clone(), Arc::clone(name));
                        found.entry(place).or_insert_with(|| proof.fills(ask, fills));
                    }
                }
            }
        }
    }
    let deciding = deciding.into_values().map(|(mut problem, places)| {
        if places > 1 {
            problem.label = format!("{}; here and at {} more", problem.label, crate::config::prose::count(places - 1, "place"));
        }
        problem
    });
    deciding.chain(found.into_values()).collect()
}

struct Proof<'p> {
    name: &'p str,
    at: Span,
    verifier: &'p Verifier,
}

impl Proof<'_> {
    fn decides(&self, ask: &Ask) -> Problem {
        let what = self.what(&ask.path);
        let title = format!("a route goes by {what}, which the sender of `{}` does not sign", self.name);
        let problem = Problem::warning("unsigned-decides", ask.at, title, "could be another in a request that is sent again");
        let help = if ask.path == "topic" {
            "take the topic from the body where it is there (`topic: { json: … }` at the source), or add a filter on what only such an event has in its body"
        } else {
            "go by a value of the body"
        };
        self.with(problem, ask, help)
    }

    fn fills(&self, ask: &Ask, (field, output): &(String, String)) -> Problem {
        let title =
            format!("`{field}` of `{output}` is filled by {}, which the sender of `{}` does not sign", self.what(&ask.path), self.name);
        let problem = Problem::warning("unsigned-fills", ask.at, title, "could be another in a request that is sent again");
        self.with(problem, ask, "fill it by a value of the body")
    }

    fn with(&self, problem: Problem, ask: &Ask, help: &str) -> Problem {
        let problem = match self.verifier.signed_words() {
            Some(words) => problem.also(self.at, format!("its signature covers {words}")),
            None => problem,
        };
        let problem = match &ask.within {
            Some(within) => problem.within(within.clone()),
            None => problem,
        };
        // Of a body that is not signed no other value is better.
        let help = if ask.path.starts_with("data") || ask.path == "raw" { "see to it that nobody else can send" } else { help };
        problem.help(format!("{help}; `believe: [{}]` at `{}` says that you accept it", word(&ask.path), self.name))
    }

    fn what(&self, path: &str) -> String {
        match path.split_once('.').unwrap_or((path, "")) {
            ("topic", _) => match self.verifier.topic_path() {
                Some(read) if read.starts_with("headers.") => format!("the topic (header `{}`)", &read["headers.".len()..]),
                Some(read) => format!("the topic (`{read}`)"),
                None => "the topic".to_owned(),
            },
            ("headers", "") => "the headers".to_owned(),
            ("headers", name) => format!("the header `{name}`"),
            ("query", "") => "the query".to_owned(),
            _ => format!("`{path}`"),
        }
    }
}

/// What `believe` would have to say.
fn word(path: &str) -> &str {
    match path.split('.').next() {
        Some("query") => "query",
        Some("data" | "raw") => "data",
        _ => path,
    }
}
