//! Which values of an event a jq program looks at, as far as its text says: `.headers["x-shop"]`, `.topic`, `{query}`.
//!
//! Does: walks the syntax tree of a program that compiles, and knows where the input is the event. Never: runs it. What is passed on
//! through functions of the program's own is not followed.

use crate::route::facts::ROOTS;
use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Pattern, Term};
use jaq_core::path::Part;
use std::ops::Range;

/// Functions whose arguments see another input than they themselves do.
const ELSEWHERE: [&str; 14] = [
    "map",
    "map_values",
    "any",
    "all",
    "sort_by",
    "group_by",
    "min_by",
    "max_by",
    "unique_by",
    "with_entries",
    "to_entries",
    "reduce",
    "walk",
    "paths",
];

/// What the text of a program says of it.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// The paths that are read, each with the bytes of the program where its first name stands.
    pub reads: Vec<(Range<usize>, String)>,
    /// Where names stand that no event has.
    pub strange: Vec<Range<usize>>,
    /// Where a value is set by the last thing that the program does.
    pub sets: Option<Range<usize>>,
}

/// Walks a program that compiles. Recurses as deep as the text.
pub(super) fn said(text: &str) -> Said {
    let Some(term) = jaq_core::load::parse(text, |parser| parser.term()) else { return Said::default() };
    let mut walk = Walk { text, events: vec![], found: vec![], strange: vec![], calls: 0 };
    walk.term(&term, true);
    Said { reads: walk.found, strange: walk.strange, sets: ends_by_setting(&term).then(|| equals(text)).flatten() }
}

fn ends_by_setting(term: &Term<&str>) -> bool {
    match term {
        Term::BinOp(_, BinaryOp::Pipe(_), right) => ends_by_setting(right),
        Term::BinOp(_, op, _) => matches!(op, BinaryOp::Assign),
        _ => false,
    }
}

/// The last `=` that is no part of another sign.
fn equals(text: &str) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let beside = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(|b| b"=!<>|+-*/%".contains(b));
    let alone = |at: &usize| bytes[*at] == b'=' && !beside(at.checked_sub(1)) && !beside(Some(at + 1));
    (0..bytes.len()).rev().find(alone).map(|at| at..at + 1)
}

struct Walk<'s> {
    text: &'s str,
    /// Variables that hold the whole event.
    events: Vec<&'s str>,
    found: Vec<(Range<usize>, String)>,
    strange: Vec<Range<usize>>,
    /// Functions around what is looked at; what the arguments of some see is not known here.
    calls: usize,
}

impl<'s> Walk<'s> {
    /// `event`: whether the term's input is the event.
    fn term(&mut self, term: &Term<&'s str>, event: bool) {
        match term {
            Term::Path(inner, path) => {
                let of_event = event && matches!(**inner, Term::Id) || matches!(&**inner, Term::Var(name) if self.events.contains(name));
                if of_event {
                    let names = path.0.iter().map_while(|(part, _)| match part {
                        Part::Index(index) => word(index),
                        Part::Range(..) => None,
                    });
                    self.read(&names.collect::<Vec<_>>());
                }
                self.term(inner, event);
                for (part, _) in &path.0 {
                    match part {
                        Part::Index(index) => self.term(index, event),
                        Part::Range(from, upto) => from.iter().chain(upto).for_each(|bound| self.term(bound, event)),
                    }
                }
            }
            Term::Obj(entries) => {
                for (key, value) in entries {
                    // `{headers}` is `{headers: .headers}`.
                    if let (None, Some(name), true) = (value, word(key), event) {
                        self.read(&[name]);
                    }
                    self.term(key, event);
                    if let Some(value) = value {
                        self.term(value, event);
                    }
                }
            }
            Term::BinOp(left, op, right) => self.binary(left, op, right, event),
            Term::Call(name, arguments) => {
                let inside = event && !ELSEWHERE.contains(name);
                let known = usize::from(*name != "select");
                self.calls += known;
                for argument in arguments {
                    self.term(argument, inside);
                }
                self.calls -= known;
            }
            Term::Str(_, parts) => {
                for part in parts {
                    if let StrPart::Term(term) = part {
                        self.term(term, event);
                    }
                }
            }
            Term::Arr(inner) => inner.iter().for_each(|inner| self.term(inner, event)),
            Term::Neg(inner) | Term::Label(_, inner) | Term::Def(_, inner) | Term::TryCatch(inner, _) => self.term(inner, event),
            Term::Fold(_, list, _, rest) => {
                self.term(list, event);
                rest.first().into_iter().for_each(|first| self.term(first, event));
            }
            Term::IfThenElse(cases, other) => {
                for (when, then) in cases {
                    self.term(when, event);
                    self.term(then, event);
                }
                if let Some(other) = other {
                    self.term(other, event);
                }
            }
            Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Var(_) => {}
        }
    }

    fn binary(&mut self, left: &Term<&'s str>, op: &BinaryOp<&'s str>, right: &Term<&'s str>, event: bool) {
        self.term(left, event);
        match op {
            BinaryOp::Pipe(None) => {
                let same = match left {
                    Term::Id => true,
                    Term::Call(name, _) => *name == "select",
                    Term::Var(name) => return self.term(right, self.events.contains(name)),
                    _ => false,
                };
                self.term(right, event && same);
            }
            BinaryOp::Pipe(Some(pattern)) => {
                if let (Term::Id, Pattern::Var(name), true) = (left, pattern, event) {
                    self.events.push(name);
                }
                self.term(right, event);
            }
            _ => self.term(right, event),
        }
    }

    fn read(&mut self, names: &[&'s str]) {
        let Some(first) = names.first() else { return };
        let start = (first.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        let within = if start < self.text.len() { start..start + first.len() } else { 0..self.text.len() };
        if self.calls == 0 && !ROOTS.contains(first) {
            self.strange.push(within.clone());
        }
        self.found.push((within, names.join(".")));
    }
}

/// A name that stands in the program as it is.
fn word<'s>(term: &Term<&'s str>) -> Option<&'s str> {
    match term {
        Term::Str(None, parts) => match parts[..] {
            [StrPart::Str(name)] => Some(name),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_of_the_event_is_found_and_nothing_else() {
        for (program, expected) in [
            (r#".headers["x-shop"] == "a""#, "headers.x-shop"),
            (r#".headers."x-shop""#, "headers.x-shop"),
            (".topic", "topic"),
            (r#"select(.topic == "A") | .data.id"#, "topic data.id"),
            (".data | .topic, .headers", "data"),
            ("[.data.items[] | select(.query == 1)]", "data.items"),
            ("{headers, id: .data.id}", "headers data.id"),
            ("map(.topic)", ""),
            (". as $e | .data.items[] | {of: $e.query.shop, sku: .headers}", "data.items query.shop"),
            (r#"if .query.a then "\(.topic)" else .data end"#, "query.a topic data"),
            (r#".data["topic"]"#, "data.topic"),
        ] {
            let found: Vec<String> = said(program).reads.into_iter().map(|(_, path)| path).collect();
            assert_eq!(found.join(" "), expected, "{program}");
        }
        assert_eq!(said(r#" .headers["x"]"#).reads[0].0, 2..9);
    }

    #[test]
    fn names_that_no_event_has_and_a_value_set_by_mistake_are_found() {
        for (program, names, sets) in [
            (".total > 5", "total", false),
            (".body.total", "body", false),
            ("{total, id: .data.id}", "total", false),
            ("select(.kind == \"a\") | .data", "kind", false),
            (".data.a = 1", "", true),
            (".data | .a = \"x=y\"", "", true),
            (".data.a == 1 and .data.b >= 2", "", false),
            (".data.a |= 1", "", false),
            ("[.data.items[] | .sku]", "", false),
            (".data.name | sub(\"(?<x>a)\"; .x)", "", false),
            ("sub(\"(?<x>a)\"; .x)", "", false),
            (".data.items | map(.sku) | .[0]", "", false),
        ] {
            let said = said(program);
            let found: Vec<&str> = said.strange.iter().map(|at| &program[at.clone()]).collect();
            assert_eq!((found.join(" ").as_str(), said.sets.map(|at| &program[at])), (names, sets.then_some("=")), "{program}");
        }
    }
}
