//! Data stays data (L8): how a value of an event is written into a message so that it never becomes structure.

use serde::Deserialize;

/// Where a value goes, and so what must be escaped in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Escape {
    /// Written as it is: plain text that nobody interprets.
    #[default]
    None,
    /// Inside the quotes of a JSON text.
    Json,
    /// A form's value.
    Form,
    /// Slack's mrkdwn: kills `<!channel>`, `<@U…>`, `<url|text>`.
    Slack,
    /// Discord's Markdown; mentions are switched off by the preset besides.
    Discord,
    /// Markdown where `@name` mentions people (Mattermost).
    Mattermost,
    /// HTML text and attribute values.
    Html,
    /// A header's value: one line, no control characters.
    Header,
}

impl Escape {
    /// The value as it is written there.
    pub fn apply(self, value: &str) -> String {
        match self {
            Escape::None => value.to_owned(),
            Escape::Json => json(value),
            Escape::Form => form(value),
            Escape::Slack => replace(value, |c| match c {
                '&' => Some("&amp;"),
                '<' => Some("&lt;"),
                '>' => Some("&gt;"),
                _ => None,
            }),
            Escape::Discord => backslash(value, r"\*_~>#-[]()|`"),
            Escape::Mattermost => backslash(value, r"\*_~>#-[]()|`!").replace('@', "@\u{200b}"),
            Escape::Html => replace(value, |c| match c {
                '&' => Some("&amp;"),
                '<' => Some("&lt;"),
                '>' => Some("&gt;"),
                '"' => Some("&quot;"),
                '\'' => Some("&#39;"),
                _ => None,
            }),
            Escape::Header => value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        }
    }
}

fn replace(value: &str, with: impl Fn(char) -> Option<&'static str>) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match with(c) {
            Some(text) => out.push_str(text),
            None => out.push(c),
        }
    }
    out
}

fn backslash(value: &str, special: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        if special.contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn json(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn form(value: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => out.push(byte as char),
            b' ' => out.push('+'),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_values_stay_data() {
        let cases = [
            (Escape::Json, "a\"b\\\n\u{1}", r#"a\"b\\\n\u0001"#),
            (Escape::Form, "a b&c=d/ü", "a+b%26c%3Dd%2F%C3%BC"),
            (Escape::Slack, "<!channel> & <@U1>", "&lt;!channel&gt; &amp; &lt;@U1&gt;"),
            (Escape::Discord, "**x** [a](http://b)", r"\*\*x\*\* \[a\]\(http://b\)"),
            (Escape::Mattermost, "@channel *x*", "@\u{200b}channel \\*x\\*"),
            (Escape::Html, "<b>'\"&", "&lt;b&gt;&#39;&quot;&amp;"),
            (Escape::Header, "a\r\nX: b", "a  X: b"),
        ];
        for (escape, value, expected) in cases {
            assert_eq!(escape.apply(value), expected, "{escape:?}");
        }
    }
}
