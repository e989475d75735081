//! Reading filters from the file: every mistake at its place, operators with the near miss.

use super::odd::{never_true, odd_operand, odd_path, odd_regex, odd_value};
use super::{Check, Clause, Condition, Filter, Operand, Order, Test, TextTest, date_of, shorten};
use crate::route::facts::{PathError, Paths, ROOTS};
use crate::route::glob::{GLOB_HELP, Glob, GlobError};
use regex::RegexBuilder;
use switchyard_api::problem::nearest;
use switchyard_api::tree::{Key, Node, Value};
use switchyard_api::{Problem, Span};

/// Memory for one compiled regular expression, in bytes; larger ones are refused.
const REGEX_MAX: usize = 1 << 20;

/// Words of a condition.
pub const OPERATORS: [&str; 15] =
    ["eq", "gt", "ge", "lt", "le", "prefix", "suffix", "contains", "glob", "regex", "cidr", "exists", "type", "not", "any"];
/// What makes texts the same whatever their case.
pub const IGNORE_CASE: &str = "ignore_case";
/// What the body is called elsewhere.
const BODY: [&str; 6] = ["body", "payload", "json", "event", "$json", "message"];
/// Other words for an operator, and what to do.
const FOREIGN: [(&[&str], &str, Option<&str>); 19] = [
    (&["=", "==", "equals", "equal", "is"], "write `eq`, or the value alone", Some("eq")),
    (&["!=", "<>", "ne", "neq", "not_equal", "not_equals", "notEquals"], "write `{ not: VALUE }`", Some("not")),
    (&["after", "since"], "a date is compared as a number is: write `gt`", Some("gt")),
    (&["before", "until"], "a date is compared as a number is: write `lt`", Some("lt")),
    (&["size", "length", "len"], "how many there are is asked by a program of jq at the route: `where: '.data.items | length == 2'`", None),
    (&[">", "greater", "greater_than", "above"], "write `gt`", Some("gt")),
    (&[">=", "gte", "$gte", "min"], "write `ge`", Some("ge")),
    (&["<", "less", "less_than", "below"], "write `lt`", Some("lt")),
    (&["<=", "lte", "$lte", "max"], "write `le`", Some("le")),
    (&["in", "$in", "one_of", "any_of", "oneOf", "values"], "one of several is a list alone: `[NL, BE]`", None),
    (&["not_in", "nin", "$nin", "notIn", "none_of"], "none of several is `{ not: [NL, BE] }`", Some("not")),
    (&["starts_with", "startsWith", "startswith", "begins_with"], "write `prefix`", Some("prefix")),
    (&["ends_with", "endsWith", "endswith"], "write `suffix`", Some("suffix")),
    (&["includes", "contain", "has", "substring"], "write `contains`", Some("contains")),
    (&["matches", "match", "=~", "re", "pattern", "$regex"], "write `regex`, or `glob`", Some("regex")),
    (&["like", "wildcard"], "write `glob`", Some("glob")),
    (&["between", "range"], "write both ends: `{ ge: 10, le: 20 }`", None),
    (&["present", "defined", "is_null", "null"], "write `exists: true`, or `exists: false`", Some("exists")),
    (&["or", "$or", "any_matches"], "write `any: [ {…}, {…} ]`", Some("any")),
];
/// What `type` may ask for.
pub const KINDS: [&str; 6] = ["string", "number", "boolean", "array", "object", "null"];

impl Filter {
    /// Reads a filter: paths with a condition each. `None` if a problem was pushed.
    pub fn read(node: &Node, paths: &mut Paths, problems: &mut Vec<Problem>) -> Option<Filter> {
        let Value::Map(entries) = &node.value else {
            let wrong = format!("a filter is paths with a condition each, not {}", node.kind());
            problems.push(Problem::error("wrong-type", node.span, wrong, "here").help("write `data.total: { gt: 1000 }`"));
            return None;
        };
        // All entries are read, so that all problems are told.
        let clauses: Vec<Option<Clause>> = entries.iter().map(|(key, node)| clause(key, node, paths, problems)).collect();
        Some(Filter { clauses: clauses.into_iter().collect::<Option<_>>()? })
    }
}

fn clause(key: &Key, node: &Node, paths: &mut Paths, problems: &mut Vec<Problem>) -> Option<Clause> {
    if key.name == "any" {
        let Some(items) = list(node).filter(|items| !items.is_empty()) else {
            let problem = Problem::error("wrong-type", node.span, "`any` takes a list of filters", "here");
            problems.push(problem.help("write `any: [ { data.total: 1 }, { data.total: 2 } ]`"));
            return None;
        };
        let filters: Vec<Option<Filter>> = items.iter().map(|item| Filter::read(item, paths, problems)).collect();
        return Some(Clause::Any(key.span, filters.into_iter().collect::<Option<_>>()?));
    }
    if let Some(help) = combined(&key.name) {
        let title = format!("`{}` is not how conditions are combined", key.name);
        problems.push(Problem::error("unknown-operator", key.span, title, "neither a path nor `any`").help(help));
        return None;
    }
    let place = paths.add(&key.name).map_err(|error| problems.push(wrong_path(key, &error)));
    problems.extend(odd_path(key));
    let before = problems.len();
    let check = condition(node, problems);
    nested(key, node, &mut problems[before..]);
    let at = Span { start: key.span.start, end: node.span.end.max(key.span.end) };
    Some(Clause::Path(Condition { place: place.ok()?, check: check?, at, written: written(node), path: key.name.clone() }))
}

/// What other languages write for "all", "one of" and "not" of several conditions, and what stands for it here.
fn combined(name: &str) -> Option<&'static str> {
    Some(match name {
        "and" | "all" | "$and" | "allOf" | "must" => "all conditions of a filter must hold anyway: write them below `filter:` itself",
        "or" | "$or" | "anyOf" | "oneOf" | "should" => "write `any: [ { data.a: 1 }, { data.b: 2 } ]`",
        "not" | "$not" | "none" | "must_not" => "write it at the value: `data.country: { not: NL }`",
        _ => return None,
    })
}

/// A path that was written as maps within each other: what was told of its next name gets the path as help.
fn nested(key: &Key, node: &Node, told: &mut [Problem]) {
    for (inner, _) in node.entries().iter().filter(|(inner, _)| !FOREIGN.iter().any(|(words, ..)| words.contains(&inner.name.as_str()))) {
        let unknown = |problem: &&mut Problem| problem.id == "unknown-operator" && problem.at == inner.span && problem.patch.is_none();
        if let Some(problem) = told.iter_mut().find(unknown) {
            let operators = problem.help.take().unwrap_or_default();
            problem.help =
                Some(format!("a value inside is one path with dots: `{}.{}: …`; as operators: {operators}", key.name, inner.name));
        }
    }
}

fn wrong_path(key: &Key, error: &PathError) -> Problem {
    let problem = Problem::error("unknown-path", key.span, error.to_string(), "not a path");
    let PathError::Root(root) = error else { return problem };
    // As jq and JSONPath write it, or with the body's name in other programs.
    let path = key.name.trim_start_matches('$').trim_start_matches('.');
    let problem = if root.is_empty() { Problem { title: format!("`{}` is not part of an event", key.name), ..problem } } else { problem };
    // As forms and programs of PHP, Python or JavaScript write it.
    let dotted = path.replace("][", ".").replace(['[', ']'], ".").replace(['"', '\''], "").replace("..", ".");
    let dotted = dotted.trim_matches('.');
    if path.contains('[') && ROOTS.iter().any(|root| dotted.split('.').next() == Some(root)) {
        return problem.help(format!("the names of a path have dots between them: `{dotted}`")).patch(dotted);
    }
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    if path != key.name && ROOTS.contains(&first) {
        return problem.help(format!("a path begins with the name itself: `{path}`")).patch(path);
    }
    if BODY.contains(&first) && !rest.is_empty() {
        return problem.help(format!("the body is `data`: `data.{rest}`")).patch(format!("data.{rest}"));
    }
    match nearest(root, ROOTS) {
        Some(near) => problem.help(format!("did you mean `{near}`?")).patch(key.name.replacen(root, near, 1)),
        None => problem.help(format!("a value of the body is written `data.{path}`; other paths start with one of: {}", ROOTS.join(", "))),
    }
}

/// One condition: a value, a list of conditions of which one must hold, or operators which must all hold.
fn condition(node: &Node, problems: &mut Vec<Problem>) -> Option<Check> {
    match &node.value {
        Value::List(items) => any_of(node, items, problems),
        Value::Map(entries) => operators(node, entries, problems),
        _ => {
            problems.extend(odd_value(node));
            Some(Check::Some(vec![Test::Equal(operand(node, problems)?)]))
        }
    }
}

fn any_of(node: &Node, items: &[Node], problems: &mut Vec<Problem>) -> Option<Check> {
    if items.is_empty() {
        problems.push(Problem::error("wrong-value", node.span, "an empty list matches nothing", "here").help("write at least one value"));
        return None;
    }
    let checks: Vec<Option<Check>> = items.iter().map(|item| condition(item, problems)).collect();
    Some(Check::Any(checks.into_iter().collect::<Option<_>>()?))
}

fn operators(node: &Node, entries: &[(Key, Node)], problems: &mut Vec<Problem>) -> Option<Check> {
    let mut fold = false;
    for (_, value) in entries.iter().filter(|(key, _)| key.name == IGNORE_CASE) {
        fold = yes_or_no(value, IGNORE_CASE, problems)?;
    }
    if entries.iter().all(|(key, _)| key.name == IGNORE_CASE) {
        problems.push(
            Problem::error("wrong-value", node.span, "a condition without an operator", "here")
                .help("write `{ gt: 1000 }` or the value alone"),
        );
        return None;
    }
    let (mut tests, mut checks, mut good) = (vec![], vec![], true);
    for (key, value) in entries.iter().filter(|(key, _)| key.name != IGNORE_CASE) {
        match operator(key, value, fold, problems) {
            Some(Check::Some(more)) => tests.extend(more),
            Some(check) => checks.push(check),
            None => good = false,
        }
    }
    problems.extend(never_true(node, &tests));
    if !tests.is_empty() {
        checks.push(Check::Some(tests));
    }
    let all = if checks.len() == 1 { checks.pop() } else { Some(Check::All(checks)) };
    all.filter(|_| good)
}

fn operator(key: &Key, node: &Node, fold: bool, problems: &mut Vec<Problem>) -> Option<Check> {
    match key.name.as_str() {
        "not" => {
            let inner = match &node.value {
                // `ignore_case` beside `not` reaches into it.
                Value::Map(_) | Value::List(_) => condition(node, problems)?,
                _ => Check::Some(vec![folded(Test::Equal(operand(node, problems)?), fold)]),
            };
            Some(Check::Not(Box::new(inner)))
        }
        "any" => match list(node) {
            Some(items) => any_of(node, items, problems),
            None => {
                let problem = Problem::error("wrong-type", node.span, "`any` takes a list of conditions", "here");
                problems.push(problem.help("write `any: [ { lt: 5 }, { gt: 10 } ]`"));
                None
            }
        },
        "exists" => yes_or_no(node, "exists", problems).map(Check::Exists),
        "type" => {
            let kinds: Vec<_> = list(node).unwrap_or(std::slice::from_ref(node)).iter().map(|item| kind(item, problems)).collect();
            Some(Check::Type(kinds.into_iter().collect::<Option<_>>()?))
        }
        name if OPERATORS.contains(&name) => {
            let Some(items) = list(node) else { return Some(Check::Some(vec![test(name, node, fold, problems)?])) };
            if items.is_empty() {
                problems.push(
                    Problem::error("wrong-value", node.span, "an empty list matches nothing", "here").help("write at least one value"),
                );
                return None;
            }
            let tests: Vec<_> = items.iter().map(|item| test(name, item, fold, problems)).collect();
            Some(Check::Some(vec![Test::OneOf(tests.into_iter().collect::<Option<_>>()?)]))
        }
        name => {
            let all = OPERATORS.into_iter().chain([IGNORE_CASE]);
            let problem = Problem::error("unknown-operator", key.span, format!("unknown operator `{name}`"), "not an operator");
            let foreign = FOREIGN.iter().find(|(words, ..)| words.contains(&name));
            problems.push(match nearest(name, all.clone()) {
                _ if foreign.is_some() => {
                    let (_, help, patch) = foreign.copied().unwrap_or_default();
                    Problem { patch: patch.map(str::to_owned), ..problem.help(help) }
                }
                _ if name.bytes().all(|b| b.is_ascii_digit()) && node.value == Value::Null => {
                    problem.help("a number is written without commas: `1000`; inside `{…}` a comma ends the value")
                }
                Some(near) => problem.help(format!("did you mean `{near}`?")).patch(near),
                None => problem.help(format!("expected one of: {}", all.collect::<Vec<_>>().join(", "))),
            });
            None
        }
    }
}

fn test(name: &str, node: &Node, fold: bool, problems: &mut Vec<Problem>) -> Option<Test> {
    let order = match name {
        "eq" => return Some(folded(Test::Equal(operand(node, problems)?), fold)),
        "gt" => Some(Order::Gt),
        "ge" => Some(Order::Ge),
        "lt" => Some(Order::Lt),
        "le" => Some(Order::Le),
        _ => None,
    };
    if let Some(order) = order {
        let operand = operand(node, problems)?;
        if matches!(operand, Operand::Null | Operand::Bool(_)) {
            let title = format!("`{name}` compares numbers, dates and texts");
            problems.push(
                Problem::error("wrong-type", node.span, title, "not one of them").help(format!("write a number, such as `{name}: 1000`")),
            );
            return None;
        }
        problems.extend(odd_operand(name, node));
        return Some(Test::Order(order, operand));
    }
    let Some(text) = plain(node) else {
        let problem = Problem::error("wrong-type", node.span, format!("`{name}` takes a text, not {}", node.kind()), "here");
        problems.push(problem.help("write a text; in quotes anything is one"));
        return None;
    };
    let lower = |text: String| if fold { text.to_lowercase() } else { text };
    let test = match name {
        "prefix" => TextTest::Prefix(lower(text)),
        "suffix" => TextTest::Suffix(lower(text)),
        "contains" => TextTest::Contains(lower(text)),
        "glob" => {
            let wrong = |e: GlobError| Problem::error("wrong-glob", node.span, "not a glob", e.why).within(e.within).help(GLOB_HELP);
            TextTest::Glob(Glob::parse(&lower(text)).map_err(|e| problems.push(wrong(e))).ok()?)
        }
        "regex" => {
            problems.extend(odd_regex(node, &text));
            TextTest::Regex(regex(node, &text, fold, problems)?)
        }
        _ => TextTest::Cidr(cidr(node, &text, problems)?),
    };
    let fold = fold && !matches!(test, TextTest::Regex(_) | TextTest::Cidr(_));
    Some(if fold { Test::IgnoreCase(Box::new(Test::Text(test))) } else { Test::Text(test) })
}

fn regex(node: &Node, text: &str, fold: bool, problems: &mut Vec<Problem>) -> Option<regex::Regex> {
    let help = "of a character with a meaning, such as `(`, `[`, `*`, `+`, `.`, write the plain one with a backslash: `\\(`";
    let wrong = |why: String| Problem::error("wrong-regex", node.span, "not a regular expression", why).help(help);
    // The parser itself knows the place; its whole message would quote the text, which `${…}` may have brought a secret into.
    let parsed = regex_syntax::Parser::new().parse(text).map_err(|error| match error {
        regex_syntax::Error::Parse(error) => (error.kind().to_string(), Some(error.span().start.offset..error.span().end.offset)),
        regex_syntax::Error::Translate(error) => (error.kind().to_string(), Some(error.span().start.offset..error.span().end.offset)),
        _ => ("can't be read".to_owned(), None),
    });
    if let Err((why, place)) = parsed {
        let plain = !matches!(&node.value, Value::Text(text) if text.replaced.is_some());
        problems.push(match place.filter(|_| plain) {
            Some(place) => wrong(why).within(place),
            None => wrong(why),
        });
        return None;
    }
    let built = RegexBuilder::new(text).case_insensitive(fold).size_limit(REGEX_MAX).build();
    built.map_err(|_| problems.push(wrong(format!("needs more than {} KiB", REGEX_MAX >> 10)))).ok()
}

fn cidr(node: &Node, text: &str, problems: &mut Vec<Problem>) -> Option<ipnet::IpNet> {
    let net = text.parse().or_else(|_| text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from));
    net.map_err(|_| {
        let problem = Problem::error("wrong-value", node.span, "not a range of addresses", "here");
        problems.push(problem.help("write `10.0.0.0/8`, `2001:db8::/32` or one address"));
    })
    .ok()
}

fn folded(test: Test, fold: bool) -> Test {
    match test {
        Test::Equal(Operand::Text { text, date }) if fold => {
            Test::IgnoreCase(Box::new(Test::Equal(Operand::Text { text: text.to_lowercase(), date })))
        }
        test => test,
    }
}

fn operand(node: &Node, problems: &mut Vec<Problem>) -> Option<Operand> {
    match &node.value {
        Value::Null => Some(Operand::Null),
        Value::Bool(b) => Some(Operand::Bool(*b)),
        Value::Int(i) => Some(Operand::Number(i.to_string())),
        Value::Float(f) if f.value.is_finite() => Some(Operand::Number(f.written.clone())),
        Value::Text(text) => Some(Operand::Text { text: text.get().to_owned(), date: date_of(text.get()) }),
        _ => {
            let problem = Problem::error("wrong-type", node.span, format!("expected a value, found {}", node.kind()), "here");
            problems.push(problem.help("write one number, text, `true`, `false` or `null`"));
            None
        }
    }
}

fn plain(node: &Node) -> Option<String> {
    match &node.value {
        Value::Int(i) => Some(i.to_string()),
        Value::Text(text) => Some(text.get().to_owned()),
        _ => None,
    }
}

fn yes_or_no(node: &Node, name: &str, problems: &mut Vec<Problem>) -> Option<bool> {
    if let Value::Bool(b) = node.value {
        return Some(b);
    }
    let problem = Problem::error("wrong-type", node.span, format!("`{name}` is true or false, not {}", node.kind()), "here");
    problems.push(problem.help("write `true` or `false`, without quotes"));
    None
}

fn kind(node: &Node, problems: &mut Vec<Problem>) -> Option<&'static str> {
    let word = match &node.value {
        Value::Null => "null",
        _ => node.as_text().unwrap_or_default(),
    };
    let known = KINDS.into_iter().find(|kind| *kind == word);
    if known.is_none() {
        let near = nearest(word, KINDS);
        let problem = Problem::error("unknown-word", node.span, "not a type", "here");
        problems.push(match near {
            Some(near) => problem.help(format!("did you mean `{near}`?")).patch(near),
            None => problem.help(format!("expected one of: {}", KINDS.join(", "))),
        });
    }
    known
}

fn list(node: &Node) -> Option<&[Node]> {
    match &node.value {
        Value::List(items) => Some(items),
        _ => None,
    }
}

/// A value as the file has it, on one line; `${…}` stays as written (L7).
pub fn written(node: &Node) -> String {
    match &node.value {
        Value::Null => "null".into(),
        Value::Bool(b) => b.to_string(),
        Value::Int(i) => i.to_string(),
        Value::Float(f) => f.written.clone(),
        Value::Text(text) => format!("\"{}\"", shorten(&text.written)),
        Value::List(items) => format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(", ")),
        Value::Map(entries) => {
            let inner: Vec<String> = entries.iter().map(|(key, node)| format!("{}: {}", key.name, written(node))).collect();
            format!("{{ {} }}", inner.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Event;
    use crate::route::facts::Facts;
    use crate::route::testing::{event, tree};

    fn built(filter: &str) -> (Filter, Paths) {
        let (mut paths, mut problems) = (Paths::default(), vec![]);
        let filter = Filter::read(&tree(filter), &mut paths, &mut problems);
        assert_eq!(problems, []);
        (filter.unwrap(), paths)
    }

    fn holds(filter: &str, event: &Event) -> bool {
        let (filter, paths) = built(filter);
        let facts = Facts::new(event, &paths);
        assert_eq!(filter.holds(&facts), filter.miss(&facts).is_none());
        filter.holds(&facts)
    }

    fn body(filter: &str, body: &str) -> bool {
        holds(filter, &event(body))
    }

    #[test]
    fn the_example_of_the_manual_does_what_it_says() {
        let filter = r#"{"data.total": {"gt": 1000}, "data.customer.country": ["NL", "BE"],
                         "data.customer.email": {"not": {"suffix": "@example.com"}}}"#;
        let order = |total: &str, country: &str, email: &str| {
            format!(r#"{{"total":{total},"customer":{{"country":"{country}","email":"{email}"}}}}"#)
        };
        assert!(body(filter, &order("1500.00", "NL", "ann@shop.nl")));
        assert!(body(filter, &order("1000.01", "BE", "ann@shop.nl")));
        assert!(!body(filter, &order("1000.00", "NL", "ann@shop.nl")));
        assert!(!body(filter, &order("1500.00", "DE", "ann@shop.nl")));
        assert!(!body(filter, &order("1500.00", "NL", "test@example.com")));
    }

    #[test]
    fn every_operator_says_yes_and_no() {
        // (condition on `data.a`, value of `a` that holds, value that does not)
        let table = [
            ("5", "5.0", "6"),
            ("5", "\"5\"", "\"5x\""),
            ("1.5", "1.50", "1.51"),
            ("\"5\"", "\"5\"", "5"),
            ("true", "true", "false"),
            ("true", "\"true\"", "1"),
            ("null", "null", "0"),
            (r#"{"eq": "NL"}"#, "\"NL\"", "\"nl\""),
            (r#"{"eq": "NL", "ignore_case": true}"#, "\"nl\"", "\"be\""),
            (r#"{"gt": 1000}"#, "1000.01", "1000.00"),
            (r#"{"ge": 1000}"#, "1e3", "999.99"),
            (r#"{"lt": 9007199254740993}"#, "9007199254740992", "9007199254740993"),
            (r#"{"le": -1}"#, "-1.0", "0"),
            (r#"{"gt": 900}"#, "\"1000.5\"", "\"85\""),
            (r#"{"gt": "1.10"}"#, "1.11", "1.1"),
            (r#"{"gt": "b"}"#, "\"c\"", "\"a\""),
            (r#"{"gt": "2026-03-02T10:00:00+01:00"}"#, "\"2026-03-02T09:00:01Z\"", "\"2026-03-02T09:59:59+01:00\""),
            (r#"{"lt": "2026-03-02T10:00:00Z"}"#, "\"2026-03-02T10:59:59+01:00\"", "\"0000 not a date\""),
            (r#"{"prefix": "NL-"}"#, "\"NL-7\"", "\"BE-7\""),
            (r#"{"prefix": 12}"#, "123", "213"),
            (r#"{"suffix": ["@a.nl", "@b.nl"]}"#, "\"x@b.nl\"", "\"x@c.nl\""),
            (r#"{"contains": "Urgent", "ignore_case": true}"#, "\"so URGENT!\"", "\"calm\""),
            (r#"{"glob": "order.*"}"#, "\"order.paid\"", "\"order.paid.late\""),
            (r#"{"glob": "ORDER.*", "ignore_case": true}"#, "\"Order.Paid\"", "\"refund\""),
            (r#"{"regex": "^[A-Z]{2}\\d+$"}"#, "\"NL12\"", "\"nl12\""),
            (r#"{"regex": "^nl", "ignore_case": true}"#, "\"NL12\"", "\"BE\""),
            (r#"{"cidr": "10.0.0.0/8"}"#, "\"10.2.3.4\"", "\"11.0.0.1\""),
            (r#"{"cidr": ["10.1.2.3", "2001:db8::/32"]}"#, "\"2001:db8::1\"", "\"10.1.2.4\""),
            (r#"{"cidr": "10.0.0.0/8"}"#, "\"::ffff:10.0.0.1\"", "\"no address\""),
            (r#"{"exists": true}"#, "null", ""),
            (r#"{"exists": false}"#, "", "1"),
            (r#"{"type": "string"}"#, "\"1\"", "1"),
            (r#"{"type": ["array", "null"]}"#, "[1]", "{}"),
            (r#"{"not": "NL"}"#, "\"BE\"", "\"NL\""),
            (r#"{"not": ["NL", "BE"]}"#, "\"DE\"", "\"BE\""),
            (r#"{"not": {"exists": true}}"#, "", "1"),
            (r#"{"not": {"prefix": "x"}}"#, "", "\"xy\""),
            (r#"{"any": [{"lt": 5}, {"gt": 10}]}"#, "11", "7"),
            (r#"[{"lt": 5}, "many"]"#, "\"many\"", "7"),
            (r#"{"gt": 5, "lt": 10}"#, "7", "11"),
            // Lists: some element, one and the same for all operators; `not` means none.
            (r#"{"gt": 5, "lt": 10}"#, "[1, 7, 20]", "[1, 20]"),
            ("\"vip\"", "[\"new\", \"vip\"]", "[\"new\"]"),
            (r#"{"not": "vip"}"#, "[\"new\"]", "[\"new\", \"vip\"]"),
            (r#"{"gt": 5}"#, "6", "null"),
            (r#"{"contains": "a"}"#, "[\"cat\"]", "{\"a\":\"a\"}"),
        ];
        for (condition, yes, no) in table {
            let filter = format!(r#"{{"data.a": {condition}}}"#);
            let with = |value: &str| if value.is_empty() { "{}".to_owned() } else { format!(r#"{{"a":{value}}}"#) };
            assert!(body(&filter, &with(yes)), "{condition} should hold for {yes}");
            assert!(!body(&filter, &with(no)), "{condition} should not hold for {no}");
        }
    }

    #[test]
    fn any_on_top_is_or_and_the_rest_is_and() {
        let filter = r#"{"topic": "ORDER_PAID", "any": [{"data.a": 1}, {"data.b": 2, "source": "shop"}]}"#;
        assert!(body(filter, r#"{"a":1}"#));
        assert!(body(filter, r#"{"b":2}"#));
        assert!(!body(filter, r#"{"b":3}"#));
        assert!(!holds(filter, &event(r#"{"a":1}"#).with_topic("REFUND")));
    }

    #[test]
    fn a_text_source_takes_numbers_and_truth() {
        let mut asked = event("total=1500.50&paid=true");
        asked.headers.push("content-type", b"application/x-www-form-urlencoded");
        asked.headers.push("x-count", b"12");
        let filter = r#"{"data.total": {"gt": 1000}, "data.paid": true, "headers.X-Count": 12}"#;
        assert!(holds(filter, &asked));
    }

    fn told(filter: &str) -> Vec<String> {
        let mut problems = vec![];
        assert!(Filter::read(&tree(filter), &mut Paths::default(), &mut problems).is_none());
        let text = |p: &Problem| {
            let within = p.within.as_ref().map(|w| format!(" within {w:?}")).unwrap_or_default();
            format!("{} at {}{within}: {} ({}) {}", p.id, &filter[p.at.start..p.at.end], p.title, p.label, p.help.as_deref().unwrap_or(""))
        };
        problems.iter().map(text).collect()
    }

    #[test]
    fn every_mistake_is_told_at_its_place_in_one_run() {
        let filter = r#"{"dta.total": 1, "data.a": {"gtt": 5, "regex": "(", "type": "text"}, "data.b": {"glob": "a***"},
            "data.c": {"gt": true}, "any": 5, "data.d": {"cidr": "10.0.0/8"}, "data.e": [], "data.f": {"ignore_case": true}, "data.g": {"exists": "yes"}}"#;
        insta::assert_snapshot!(told(filter).join("\n"), @r#"
        unknown-path at "dta.total": `dta` is not part of an event (not a path) did you mean `data`?
        unknown-operator at "gtt": unknown operator `gtt` (not an operator) did you mean `gt`?
        wrong-regex at "(" within 0..1: not a regular expression (unclosed group) of a character with a meaning, such as `(`, `[`, `*`, `+`, `.`, write the plain one with a backslash: `\(`
        unknown-word at "text": not a type (here) expected one of: string, number, boolean, array, object, null
        wrong-glob at "a***" within 1..4: not a glob (three stars: write `**` to cross dots, `*` to stay between them) a glob has `*` (within dots), `**` (across them) and `?` (one character); write several topics as a list
        wrong-type at true: `gt` compares numbers, dates and texts (not one of them) write a number, such as `gt: 1000`
        wrong-type at 5: `any` takes a list of filters (here) write `any: [ { data.total: 1 }, { data.total: 2 } ]`
        wrong-value at "10.0.0/8": not a range of addresses (here) write `10.0.0.0/8`, `2001:db8::/32` or one address
        wrong-value at []: an empty list matches nothing (here) write at least one value
        wrong-value at {"ignore_case": true}: a condition without an operator (here) write `{ gt: 1000 }` or the value alone
        wrong-type at "yes": `exists` is true or false, not a text (here) write `true` or `false`, without quotes
        "#);
    }

    #[test]
    fn a_huge_regular_expression_is_refused() {
        assert_eq!(told(r#"{"data.a": {"regex": "(?:\\w{100}){100}"}}"#).len(), 1);
    }

    #[test]
    fn a_miss_says_what_was_found_and_never_a_secret() {
        let (filter, paths) = built(r#"{"data.a": 1, "data.b": {"eq": "${TOKEN}"}}"#);
        let miss = |body: &str| {
            let event = event(body);
            let miss = filter.miss(&Facts::new(&event, &paths)).unwrap();
            format!("{} found {}", miss.condition, miss.found.unwrap_or_else(|| "nothing".into()))
        };
        assert_eq!(miss(r#"{"a":2}"#), "data.a: 1 found 2");
        assert_eq!(miss(r#"{"a":1}"#), r#"data.b: { eq: "${TOKEN}" } found nothing"#);
        assert_eq!(miss(r#"{"a":1,"b":"\u001b[31m"}"#), "data.b: { eq: \"${TOKEN}\" } found \"\\u{1b}[31m\"");
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(5000));
        assert!(miss(&long).len() < 120);
    }
}
