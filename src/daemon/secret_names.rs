//! Keys that say that they hold a secret, whoever named them so; and where the values of such keys stand in a text that could not be read (L7).

use switchyard_api::Span;
use switchyard_api::problem::nearest;

/// What holds a secret in this language. A misspelt key holds what the right one would.
const KEYS: [&str; 15] = [
    "secret",
    "token",
    "read_token",
    "verify_token",
    "bearer",
    "password",
    "value",
    "url",
    "vault_key",
    "client_secret",
    "refresh_token",
    "secret_key",
    "session_token",
    "service_account",
    "proxy",
];
/// Keys that look like one of those and are others.
const WORDS: [&str; 5] = ["breaker", "header", "open", "proof", "then"];
/// What other programs call those, as a whole.
const FOREIGN: [&str; 9] = ["api_url", "basic", "dsn", "endpoint", "pat", "sign", "smtp", "target_url", "uri"];
/// A name with one of these words in it says that it holds a secret, whatever else it says.
const TELLING: [&str; 15] = [
    "apikey",
    "auth",
    "authorization",
    "bearer",
    "credential",
    "credentials",
    "hook",
    "pass",
    "passphrase",
    "password",
    "passwd",
    "pwd",
    "secret",
    "token",
    "webhook",
];
/// Before `key`, these make one that nobody else should have.
const OF_KEY: [&str; 9] = ["access", "account", "api", "auth", "encryption", "private", "sign", "signing", "webhook"];
/// As the last word, these name what belongs to a secret and is none.
const BESIDE: [&str; 14] =
    ["count", "encoding", "field", "file", "header", "kind", "length", "location", "name", "param", "path", "prefix", "scheme", "type"];

/// Whether a key says that it holds a secret.
pub fn is_secret(key: &str) -> bool {
    let words = words(key);
    let name = words.join("_");
    if WORDS.contains(&name.as_str()) || words.last().is_some_and(|last| BESIDE.contains(&last.as_str())) {
        return false;
    }
    // Where a token is asked for is a place.
    let place = words.last().is_some_and(|last| last == "url") && !words.iter().any(|word| word.ends_with("hook"));
    let telling = |word: &String| TELLING.contains(&word.as_str());
    let key = words.windows(2).any(|pair| pair[1] == "key" && OF_KEY.contains(&pair[0].as_str()));
    FOREIGN.contains(&name.as_str()) || nearest(&name, KEYS).is_some() || key || !place && words.iter().any(telling)
}

/// The words of a name, in small letters: `webhookUrl`, `Webhook-Url` and `WEBHOOK_URL` are two each.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        let ends = !c.is_alphanumeric() || c.is_uppercase() && (before.is_lowercase() || before.is_ascii_digit());
        if ends && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Whether a text carries a secret whatever its key is called: credentials as a header has them, or an address with some in it.
pub fn carries_secret(text: &str) -> bool {
    credentials(text).is_some()
        || address(text).is_some_and(|rest| rest.split(['/', '?', '#']).next().is_some_and(|host| host.contains('@')))
}

/// Whether a text is an address with more than a host: what is behind that is often all that its owner has to know.
pub fn is_long_address(text: &str) -> bool {
    address(text).is_some_and(|rest| rest.trim_end_matches('/').contains(['/', '?', '@', '#']))
}

/// Whether a text is nothing but `${NAME}` or `${file:…}`: it says where the secret is and holds none.
pub fn is_reference(written: &str) -> bool {
    written
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .is_some_and(|name| !name.contains(['$', '{', '}']) && !name.contains(":-"))
}

/// What stands behind `Bearer`, `Basic` and the like.
fn credentials(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once(' ')?;
    let known = ["bearer", "basic", "token", "apikey", "bot", "splunk", "sso-key", "genie-key"];
    let rest = rest.trim();
    (known.contains(&scheme.to_ascii_lowercase().as_str()) && !rest.is_empty() && !rest.contains([' ', '{', '$'])).then_some(rest)
}

/// What stands behind the scheme of an address.
fn address(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    (!scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+')).then_some(rest)
}

/// Where values of keys that say they hold a secret, and addresses with more than a host, stand in a text in YAML's form or nearly so. What a
/// quoted value has goes to its closing quote; another one to the end of its line, or to the `,` or `}` that ends it within brackets.
pub fn in_text(text: &str) -> Vec<Span> {
    let mut found = vec![];
    let mut start = 0;
    // The indent of a key whose value stands below it, and whether that is a block of text.
    let mut below: Option<(usize, bool)> = None;
    for line in text.split_inclusive('\n') {
        let content = line.trim_start_matches([' ', '\t']);
        let indent = line.len() - content.len();
        let content = content.trim_end();
        let inside = below.filter(|(outer, _)| indent > *outer || indent == *outer && content.starts_with("- "));
        let has_key = content.contains(": ") || content.ends_with(':');
        match inside {
            _ if content.is_empty() => {}
            Some((_, block)) if block || !has_key => {
                let item = content.strip_prefix("- ").unwrap_or(content).trim_start();
                push(&mut found, text, start + indent + content.len() - item.len(), item);
            }
            _ => below = in_line(&mut found, text, start, line).map(|block| (indent, block)).or(inside),
        }
        start += line.len();
    }
    found
}

/// Pushes what one line holds. Where its last key says so and has its value below: whether that is a block of text.
fn in_line(found: &mut Vec<Span>, text: &str, start: usize, line: &str) -> Option<bool> {
    let words = line.split([' ', '\t', '\n', '"', '\'', ',']);
    for word in words.filter(|word| is_long_address(word)) {
        push(found, text, start + (word.as_ptr() as usize - line.as_ptr() as usize), word);
    }
    let mut from = 0;
    while let Some(colon) = line.get(from..).and_then(|rest| rest.find([':', '='])).map(|at| from + at) {
        from = colon + 1;
        let name = line[..colon].trim_end_matches([' ', '"', '\'']);
        let name = name.rsplit(|c: char| !c.is_alphanumeric() && !['_', '-', '.'].contains(&c)).next().unwrap_or_default();
        let value = line[from..].trim_start_matches([' ', '\t', '=', '>']);
        let at = line.len() - value.len();
        let value = value.trim_end();
        if value.starts_with("//") || value.starts_with('{') || name.is_empty() {
            continue;
        }
        let whole = ended(value, line[..colon].contains(['{', '[']));
        if !is_secret(name) && credentials(whole.trim_matches(['"', '\''])).is_none() {
            continue;
        }
        if value.is_empty() || value.starts_with(['|', '>', '#']) {
            return Some(value.starts_with(['|', '>']));
        }
        push(found, text, start + at, whole);
        from = from.max(at + whole.len());
    }
    None
}

/// A value without what follows it on its line.
fn ended(value: &str, within_brackets: bool) -> &str {
    if let Some(quote) = value.chars().next().filter(|c| ['"', '\''].contains(c))
        && let Some(end) = value[1..].find(quote)
    {
        return &value[..end + 2];
    }
    let comment = value.find(" #").unwrap_or(value.len());
    let bracket = if within_brackets { value.find([',', '}']).unwrap_or(value.len()) } else { value.len() };
    // `${NAME}` ends with a bracket of its own.
    let bracket = if value.starts_with("${") { value.find('}').map_or(value.len(), |at| at + 1) } else { bracket };
    value[..comment.min(bracket)].trim_end()
}

fn push(found: &mut Vec<Span>, text: &str, start: usize, value: &str) {
    let inner = value.trim_matches(['"', '\'']);
    if inner.is_empty() || is_reference(inner) {
        return;
    }
    let span = Span { start, end: start + value.len() };
    if text.is_char_boundary(span.start) && text.is_char_boundary(span.end) {
        found.push(span);
        // A message about the sign that makes it wrong names what is behind.
        let rest = value.trim_start_matches(['*', '&', '!', '%', '@', '`', '"', '\'', '[']);
        found.extend((rest.len() < value.len() && !rest.is_empty()).then(|| Span { start: span.end - rest.len(), end: span.end }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_say_so_are_known_in_any_spelling() {
        let telling = "token tokne bearer url secret pasword webhook webhookUrl WEBHOOK_URL hook_url api_url pass SMTP_PASS webhook_secret \
            signing_key Signing-Secret x-api-key X-Api-Key apiKey Authorization sign auth_token private_key Access-Token DSN accessKey";
        for name in telling.split_whitespace() {
            assert!(is_secret(name), "{name}");
        }
        let others = "key routing_key then header unit when breaker open status method name topic token_url authorize_url token_header \
            secret_name order_key concurrency text author bypass compass passenger";
        for name in others.split_whitespace() {
            assert!(!is_secret(name), "{name}");
        }
    }

    /// The text with `***` where something is hidden.
    fn shown(text: &str) -> String {
        let mut spans = in_text(text);
        spans.sort();
        let mut out = String::new();
        let mut end = 0;
        for span in spans {
            if span.start >= end {
                out += &text[end..span.start];
                out += "***";
            }
            end = end.max(span.end);
        }
        out + &text[end..]
    }

    #[test]
    fn what_follows_such_a_name_is_found_without_a_tree() {
        for (text, safe) in [
            ("  secret: abc: def\n  path: /in\n", "  secret: ***\n  path: /in\n"),
            ("a: { verify: x, secret: abc, path: /in ]\n", "a: { verify: x, secret: ***, path: /in ]\n"),
            ("secret: \"it's, {odd}\" # why\n", "secret: *** # why\n"),
            ("secret:\n  - abc\n  - 'def'\npath: [\n", "secret:\n  - ***\n  - ***\npath: [\n"),
            ("auth:\n  bearer: abc\n  realm: shop\n", "auth:\n  bearer: ***\n  realm: shop\n"),
            ("key: |\n  a: b\nprivate_key: |\n  A: B\n  C\nd: e\n", "key: |\n  a: b\nprivate_key: |\n  ***\n  ***\nd: e\n"),
            ("secret: ${A}\ntoken: \"${B}\"\n", "secret: ${A}\ntoken: \"${B}\"\n"),
            ("password: *star\n", "password: ***\n"),
            ("x: https://hooks.example/made/up\ny: https://api.example/\n", "x: ***\ny: https://api.example/\n"),
            ("verify: \"Bearer abc\"\nheaders: { A: 'Basic dTpw' }\n", "verify: ***\nheaders: { A: *** }\n"),
            ("token = abc\n\"secret\" => 'def'\n", "token = ***\n\"secret\" => ***\n"),
        ] {
            assert_eq!(shown(text), safe);
        }
    }

    proptest! {
        #[test]
        fn places_are_places_of_the_text(text in "(secret|token|a|é|url|[:= {},'\"#|>*$-]|\n|https://|\\PC){0,40}") {
            for span in in_text(&text) {
                prop_assert!(text.get(span.start..span.end).is_some_and(|piece| !piece.is_empty()), "{:?} {:?}", text, span);
            }
        }
    }
}
