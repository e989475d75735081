//! Filters: conditions on an event's values, all of which must hold. Read from the file by `filter/read.rs`.
//!
//! Numbers are compared exactly, on their digits; texts byte by byte, or as moments where both are RFC 3339 dates. Headers,
//! queries and forms have only texts, so a number or `true` in the file also matches the text that says it. On a list,
//! some element must match, one and the same for all operators of a condition. What is not there matches nothing but `exists: false` and `not`.

mod odd;
mod read;

pub use read::{IGNORE_CASE, KINDS, OPERATORS, written};

use super::decimal::Decimal;
use super::facts::{Fact, Facts, Place};
use super::glob::Glob;
use crate::model::printable::Printable;
use std::cmp::Ordering;
use std::net::IpAddr;
use switchyard_api::Span;

/// Conditions that must all hold.
#[derive(Debug, Default)]
pub struct Filter {
    clauses: Vec<Clause>,
}

#[derive(Debug)]
enum Clause {
    /// The value at a path.
    Path(Condition),
    /// One of several filters.
    Any(Span, Vec<Filter>),
}

#[derive(Debug)]
struct Condition {
    place: Place,
    check: Check,
    /// Where it is written.
    at: Span,
    /// As written, `${…}` not replaced: `data.total: { gt: 1000 }`.
    written: String,
    /// Its path, as written.
    path: String,
}

/// What is asked of the values at a path.
#[derive(Debug)]
enum Check {
    /// Some value, or some element of a list, passes all of these.
    Some(Vec<Test>),
    Not(Box<Check>),
    Exists(bool),
    /// JSON's words.
    Type(Vec<&'static str>),
    All(Vec<Check>),
    Any(Vec<Check>),
}

#[derive(Debug)]
enum Test {
    Equal(Operand),
    Order(Order, Operand),
    Text(TextTest),
    OneOf(Vec<Test>),
    /// The same, upper and lower case alike; the operands are lower case already.
    IgnoreCase(Box<Test>),
}

#[derive(Debug)]
enum TextTest {
    Prefix(String),
    Suffix(String),
    Contains(String),
    Glob(Glob),
    Regex(regex::Regex),
    Cidr(ipnet::IpNet),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Gt,
    Ge,
    Lt,
    Le,
}

#[derive(Debug)]
enum Operand {
    Null,
    Bool(bool),
    /// Digits in JSON's form.
    Number(String),
    Text {
        text: String,
        date: Option<jiff::Timestamp>,
    },
}

/// The first condition that an event does not meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Miss {
    /// Where the condition stands in the file.
    pub at: Span,
    /// The condition as written, `${…}` not replaced.
    pub condition: String,
    /// What the event has there: printable, shortened; nothing where it has nothing.
    pub found: Option<String>,
}

impl Filter {
    /// Whether all conditions hold.
    pub fn holds(&self, facts: &Facts<'_>) -> bool {
        self.clauses.iter().all(|clause| clause.holds(facts))
    }

    /// The first condition that does not hold.
    pub fn miss(&self, facts: &Facts<'_>) -> Option<Miss> {
        match self.clauses.iter().find(|clause| !clause.holds(facts))? {
            Clause::Path(condition) => Some(condition.miss(facts)),
            Clause::Any(at, filters) => {
                let each: Vec<String> = filters.iter().filter_map(|f| f.miss(facts)).map(|miss| miss.condition).collect();
                Some(Miss { at: *at, condition: format!("any of: {}", each.join("; ")), found: None })
            }
        }
    }
}

impl Clause {
    fn holds(&self, facts: &Facts<'_>) -> bool {
        match self {
            Clause::Path(condition) => condition.check.holds(&condition.place, facts),
            Clause::Any(_, filters) => filters.iter().any(|filter| filter.holds(facts)),
        }
    }
}

impl Condition {
    fn miss(&self, facts: &Facts<'_>) -> Miss {
        let mut found = None;
        facts.any(&self.place, |fact| {
            found = Some(shorten(&fact.to_string()));
            true
        });
        Miss { at: self.at, condition: format!("{}: {}", self.path, self.written), found }
    }
}

/// Most characters of a value shown to people.
const SHOWN_MAX: usize = 80;

/// A text from outside for one line of a terminal.
pub fn shorten(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN_MAX).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("{}{more}", Printable(&cut))
}

impl Check {
    fn holds(&self, place: &Place, facts: &Facts<'_>) -> bool {
        match self {
            Check::Some(tests) => facts.any_element(place, |fact| tests.iter().all(|test| test.passes(fact))),
            Check::Not(check) => !check.holds(place, facts),
            Check::Exists(there) => facts.any(place, |_| true) == *there,
            Check::Type(kinds) => facts.any(place, |fact| kinds.contains(&fact.kind())),
            Check::All(checks) => checks.iter().all(|check| check.holds(place, facts)),
            Check::Any(checks) => checks.iter().any(|check| check.holds(place, facts)),
        }
    }
}

impl Test {
    fn passes(&self, fact: &Fact<'_>) -> bool {
        match self {
            Test::Equal(operand) => operand.equals(fact),
            Test::Order(order, operand) => operand.compare(fact).is_some_and(|way| order.allows(way)),
            Test::Text(test) => match fact {
                Fact::Text(text) => test.passes(text),
                Fact::Number(digits) => test.passes(digits),
                _ => false,
            },
            Test::OneOf(tests) => tests.iter().any(|test| test.passes(fact)),
            Test::IgnoreCase(test) => match fact {
                Fact::Text(text) => test.passes(&Fact::Text(text.to_lowercase().into())),
                other => test.passes(other),
            },
        }
    }
}

impl TextTest {
    fn passes(&self, text: &str) -> bool {
        match self {
            TextTest::Prefix(start) => text.starts_with(start),
            TextTest::Suffix(end) => text.ends_with(end),
            TextTest::Contains(part) => text.contains(part),
            TextTest::Glob(glob) => glob.matches(text),
            TextTest::Regex(regex) => regex.is_match(text),
            TextTest::Cidr(net) => text.trim().parse::<IpAddr>().is_ok_and(|ip| net.contains(&ip.to_canonical())),
        }
    }
}

impl Order {
    fn allows(self, way: Ordering) -> bool {
        match self {
            Order::Gt => way == Ordering::Greater,
            Order::Ge => way != Ordering::Less,
            Order::Lt => way == Ordering::Less,
            Order::Le => way != Ordering::Greater,
        }
    }
}

impl Operand {
    fn equals(&self, fact: &Fact<'_>) -> bool {
        match (self, fact) {
            (Operand::Null, Fact::Null) => true,
            (Operand::Bool(a), Fact::Bool(b)) => a == b,
            (Operand::Bool(a), Fact::Text(text)) => text == if *a { "true" } else { "false" },
            (Operand::Number(a), Fact::Number(b)) => numbers(b, a) == Some(Ordering::Equal),
            (Operand::Number(a), Fact::Text(b)) => numbers(b, a) == Some(Ordering::Equal),
            (Operand::Text { text, .. }, Fact::Text(b)) => text == b,
            _ => false,
        }
    }

    /// How the fact stands to the operand; `None` where they do not compare.
    fn compare(&self, fact: &Fact<'_>) -> Option<Ordering> {
        match (self, fact) {
            (Operand::Number(a), Fact::Number(b)) => numbers(b, a),
            (Operand::Number(a), Fact::Text(b)) => numbers(b, a),
            (Operand::Text { text, .. }, Fact::Number(b)) => numbers(b, text),
            // A date compares with dates alone: `n/a` is neither before nor after.
            (Operand::Text { date: Some(date), .. }, Fact::Text(b)) => Some(date_of(b)?.cmp(date)),
            (Operand::Text { text, .. }, Fact::Text(b)) => Some(numbers(b, text).unwrap_or_else(|| (**b).cmp(text))),
            _ => None,
        }
    }
}

fn numbers(a: &str, b: &str) -> Option<Ordering> {
    Some(Decimal::parse(a)?.compare(&Decimal::parse(b)?))
}

/// The moment of an RFC 3339 text.
fn date_of(text: &str) -> Option<jiff::Timestamp> {
    let dated = text.len() >= 20 && text.as_bytes()[4] == b'-' && matches!(text.as_bytes()[10], b'T' | b't' | b' ');
    dated.then(|| text.parse().ok()).flatten()
}
