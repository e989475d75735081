//! Words for messages: counts with their plural, lists of names. Pure.

/// `1 error`, `2 errors`, `3 entries`.
pub fn count(number: usize, word: &str) -> String {
    match word.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'i', 'o', 'u'])) {
        _ if number == 1 => format!("1 {word}"),
        Some(stem) => format!("{} {stem}ies", thousands(number)),
        None if word.ends_with(['s', 'x']) || word.ends_with("ch") => format!("{} {word}es", thousands(number)),
        None => format!("{} {word}s", thousands(number)),
    }
}

/// `1,240`: digits in groups of three.
pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `` `a`, `b` or `c` ``: a choice of names.
pub fn either<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    joined(names, "or")
}

/// `` `a`, `b` and `c` ``: all of the names.
pub fn all<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    joined(names, "and")
}

fn joined<S: AsRef<str>>(names: impl IntoIterator<Item = S>, word: &str) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{}`", name.as_ref())).collect();
    match quoted.split_last() {
        None => "none".into(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} {word} {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_read_as_a_person_writes_them() {
        let told: Vec<_> = [(0, "error"), (1, "error"), (2, "delivery"), (1240, "key"), (2, "address"), (1_000_000, "match")]
            .map(|(n, w)| count(n, w))
            .into();
        assert_eq!(told, ["0 errors", "1 error", "2 deliveries", "1,240 keys", "2 addresses", "1,000,000 matches"]);
    }

    #[test]
    fn names_are_listed_with_a_last_word() {
        assert_eq!(either(["a"]), "`a`");
        assert_eq!(either(["a", "b", "c"]), "`a`, `b` or `c`");
        assert_eq!(all(["a", "b"]), "`a` and `b`");
        assert_eq!(all(Vec::<String>::new()), "none");
    }
}
