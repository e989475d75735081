//! Conditions that can be read, and say something else than whoever wrote them meant: told as a warning, with what to write.

use super::{Operand, Order, Test};
use crate::route::decimal::Decimal;
use std::cmp::Ordering;
use switchyard_api::tree::{Key, Node};
use switchyard_api::{Problem, Value};

/// A path that JSON has only as a key with such signs in it: lists are written otherwise here.
pub fn odd_path(key: &Key) -> Option<Problem> {
    let wild = key.name.split('.').any(|part| part == "*" || part == "[*]");
    let bracket = key.name.split('.').find_map(|part| part.strip_suffix(']')?.split_once('[')).filter(|(_, inside)| {
        // A form may well have keys such as `merges[EMAIL]`.
        matches!(*inside, "" | "*") || inside.bytes().all(|b| b.is_ascii_digit())
    });
    let path = key.name.replace("[*]", "").replace("[]", "").replace('[', ".").replace(']', "").replace(".*", "");
    let help = match bracket {
        _ if wild => format!("a path into a list looks at each element: write `{path}`"),
        Some((_, "" | "*")) => format!("a path into a list looks at each element: write `{path}`"),
        Some(_) => format!("one element of a list is a number between dots: write `{path}`"),
        None => return None,
    };
    let title = format!("`{}` is looked for as a key with these signs in its name", key.name);
    Some(Problem::warning("odd-path", key.span, title, "no list is meant by this").help(help).patch(path))
}

/// A text that looks like a comparison and is only equal to itself.
pub fn odd_value(node: &Node) -> Option<Problem> {
    let text = node.as_text()?;
    if text.starts_with("={{") || text.starts_with("{{") && text.ends_with("}}") {
        let title = format!("this is the text `{text}`, and no template");
        let help = "write `{ gt: 1000 }`, or a program of jq: `where: '.data.total > 1000'`";
        return Some(Problem::warning("odd-value", node.span, title, "compared as it is").help(help));
    }
    let (sign, name) = [(">=", "ge"), ("<=", "le"), ("!=", "not"), ("==", "eq"), (">", "gt"), ("<", "lt"), ("=~", "regex")]
        .into_iter()
        .find(|(sign, _)| text.starts_with(sign))?;
    let value = text[sign.len()..].trim();
    let plain = !value.is_empty() && !value.contains(['<', '>']);
    let title = format!("this is the text `{text}`, not a comparison");
    plain.then(|| Problem::warning("odd-value", node.span, title, "compared as it is").help(format!("write `{{ {name}: {value} }}`")))
}

/// A number with its unit or in another form: compared as a text, which no number ever is.
pub fn odd_operand(name: &str, node: &Node) -> Option<Problem> {
    let Value::Text(text) = &node.value else { return None };
    let written = text.written.trim();
    let digits: String = written.chars().filter(|c| c.is_ascii_digit() || *c == '.' || *c == '-').collect();
    let first = written.trim_start_matches(['-', '+', '€', '$', '£', '.', ' ']).chars().next()?;
    let unit = written.trim_end_matches(|c: char| c.is_alphabetic() || "€$£%".contains(c)).trim_end();
    let number =
        |text: &str| text.bytes().any(|b| b.is_ascii_digit()) && text.chars().all(|c| c.is_ascii_digit() || "€$£+-., _".contains(c));
    let endless = ["inf", "infinity", "nan"].contains(&written.trim_start_matches(['.', '-', '+']).to_lowercase().as_str());
    let odd = endless || first.is_ascii_digit() && number(unit) && (unit.len() < written.len() || Decimal::parse(written).is_none());
    // A date, an address or a version is a text of its own.
    let other = written.matches(['.', '-', ':']).count() > 1;
    let example = if digits.is_empty() || Decimal::parse(&digits).is_none() { "1000" } else { &digits };
    (odd && !other).then(|| {
        let title =
            format!("`{name}` compares with this as a text: no number is {} it", if name.starts_with('g') { "above" } else { "below" });
        Problem::warning("odd-value", node.span, title, "no number").help(format!("write the number alone: `{name}: {example}`"))
    })
}

/// A regular expression between slashes, as other languages write one.
pub fn odd_regex(node: &Node, text: &str) -> Option<Problem> {
    let (inner, flags) = text.strip_prefix('/')?.rsplit_once('/')?;
    if inner.is_empty() || !flags.bytes().all(|b| b"gimsuxy".contains(&b)) || flags.is_empty() && inner.contains('/') {
        return None;
    }
    let case = if flags.contains('i') { " and `ignore_case: true`" } else { "" };
    let title = "the slashes are part of this regular expression";
    Some(Problem::warning("odd-value", node.span, title, "looked for as they stand").help(format!("write `regex: '{inner}'`{case}")))
}

/// Two bounds that no number lies between.
pub fn never_true(node: &Node, tests: &[Test]) -> Option<Problem> {
    let bound = |wanted: [Order; 2]| {
        tests.iter().find_map(|test| match test {
            Test::Order(order, Operand::Number(number)) if wanted.contains(order) => Some((*order, number.as_str())),
            _ => None,
        })
    };
    let ((over, least), (under, most)) = (bound([Order::Gt, Order::Ge])?, bound([Order::Lt, Order::Le])?);
    let never = match Decimal::parse(least)?.compare(&Decimal::parse(most)?) {
        Ordering::Greater => true,
        Ordering::Equal => over == Order::Gt || under == Order::Lt,
        Ordering::Less => false,
    };
    never.then(|| {
        let (over, under) = (if over == Order::Gt { "gt" } else { "ge" }, if under == Order::Lt { "lt" } else { "le" });
        let title = format!("no number is above {least} and below {most}");
        let help = format!(
            "all operators of one condition must hold; for either of them write `any: [ {{ {over}: {least} }}, {{ {under}: {most} }} ]`"
        );
        Problem::warning("odd-value", node.span, title, "never true").help(help)
    })
}
