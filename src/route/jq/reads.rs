//! Which values of an event a jq program looks at, as far as its text says: `.headers["x-shop"]`, `.topic`, `{query}`.
//!
//! Does: walks the syntax tree of a program that compiles, and knows where the input is the event. Never: runs it. What is passed on
//! through functions of the program's own is not followed.

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

/// The paths that are read, each with the bytes of the program where its first name stands. Recurses as deep as the text.
pub(super) fn reads(text: &str) -> Vec<(Range<usize>, String)> {
    let Some(term) = jaq_core::load::parse(text, |parser| parser.term()) else { return vec![] };
    let mut walk = Walk { text, events: vec![], found: vec![] };
    walk.term(&term, true);
    walk.found
}

struct Walk<'s> {
    text: &'s str,
    /// Variables that hold the whole event.
    events: Vec<&'s str>,
    found: Vec<(Range<usize>, String)>,
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
                for argument in arguments {
                    self.term(argument, inside);
                }
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
            let found: Vec<String> = reads(program).into_iter().map(|(_, path)| path).collect();
            assert_eq!(found.join(" "), expected, "{program}");
        }
        assert_eq!(reads(r#" .headers["x"]"#)[0].0, 2..9);
    }
}
