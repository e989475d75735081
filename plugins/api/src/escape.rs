//! Data stays data (L8): how a value of an event is written into a message so that it never becomes structure.
//!
//! Does: makes of a value the text that the far side shows as that value, in the place that the [`Escape`] names. Nothing in
//! it mentions anybody, is a link under another name, a tag, a header or the end of the text around it. Where a far side
//! has no way to write a character for itself, a zero-width space ([`GAP`]) stands between what would be markup together.
//! Control characters (but for line ends and tabs, where those are text) and bidirectional overrides are taken out of all
//! that people read: no value can reorder or hide what stands beside it.
//!
//! Never: touches what the file's author wrote; looks at a whole text (a value is escaped alone). Bold and italics of Slack,
//! Google Chat, Zulip, WeCom and DingTalk can't be written for themselves, and are harmless: they stay.
//! Proven by `tests.rs`, where a small model of every far side reads the value back.

use crate::printable::is_reordering;
use serde::Deserialize;

#[cfg(test)]
mod tests;

/// Stands between two characters that would be markup together. Nobody sees it.
pub const GAP: char = '\u{200b}';

/// Where a value goes, and so what must be escaped in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Escape {
    /// Written as it is: bytes for a program, such as a file's line or a statement's parameter.
    #[default]
    None,
    /// Text that people read and nobody interprets: without what a page or a terminal acts on.
    Plain,
    /// Inside the quotes of a JSON text.
    Json,
    /// A form's value.
    Form,
    /// One segment of a URL's path, or a value of its query.
    Path,
    /// A header's value: one line, no control characters.
    Header,
    /// XML text and attribute values.
    Xml,
    /// HTML text and attribute values.
    Html,
    /// `CommonMark`, and a `TextBlock` of an Adaptive Card (Teams).
    Markdown,
    /// Slack's mrkdwn: kills `<!channel>`, `<@U…>`, `<url|text>`.
    Slack,
    /// Discord's Markdown: kills `@everyone`, `<@…>`, `[x](…)`; `allowed_mentions` besides says no.
    Discord,
    /// Mattermost's Markdown: kills `@channel`, `@all`, `@name`.
    Mattermost,
    /// Rocket.Chat's Markdown: kills `@all`, `@here`, `@name`.
    #[serde(rename = "rocketchat")]
    RocketChat,
    /// Zulip's Markdown: kills `@**all**`, `@*group*`, `#**stream**`.
    Zulip,
    /// Matrix's `formatted_body`: HTML, and `@room` is dead; `m.mentions` besides says no.
    Matrix,
    /// Telegram's HTML: kills tags and `@name`.
    TelegramHtml,
    /// Telegram's `MarkdownV2`, where one unescaped character refuses the whole message.
    TelegramMarkdownV2,
    /// Google Chat: kills `<users/all>`, `<url|text>`.
    GoogleChat,
    /// Webex's Markdown: kills `<@all>`, `<@personEmail:…>`.
    Webex,
    /// Lark and Feishu, text and `lark_md`: kills `<at user_id="all">`, `<at id=all>`.
    Lark,
    /// `DingTalk`, text and Markdown: kills `@all`, `@number` and links.
    #[serde(rename = "dingtalk")]
    DingTalk,
    /// `WeCom`, text and Markdown: kills `<@all>`, `<font>` and links.
    #[serde(rename = "wecom")]
    WeCom,
    /// A parameter of a `WhatsApp` template: no line end, no tab, no four spaces.
    #[serde(rename = "whatsapp")]
    WhatsApp,
    /// Within one item of a list that has commas between its items: one line, and a comma becomes a `;`.
    Item,
    /// Inside the quotes of a JSON whose texts are Slack's mrkdwn: blocks, in which Slack looks for `@name` too.
    SlackJson,
    /// Inside the quotes of a JSON whose texts are Discord's Markdown: embeds.
    DiscordJson,
}

impl Escape {
    /// Every one.
    pub const ALL: [Escape; 26] = [
        Escape::None,
        Escape::Plain,
        Escape::Json,
        Escape::Form,
        Escape::Path,
        Escape::Header,
        Escape::Xml,
        Escape::Html,
        Escape::Markdown,
        Escape::Slack,
        Escape::Discord,
        Escape::Mattermost,
        Escape::RocketChat,
        Escape::Zulip,
        Escape::Matrix,
        Escape::TelegramHtml,
        Escape::TelegramMarkdownV2,
        Escape::GoogleChat,
        Escape::Webex,
        Escape::Lark,
        Escape::DingTalk,
        Escape::WeCom,
        Escape::WhatsApp,
        Escape::Item,
        Escape::SlackJson,
        Escape::DiscordJson,
    ];

    /// Whether the field is JSON that a person wrote around values.
    pub fn is_json(self) -> bool {
        self == Escape::Json || self.within_json().is_some()
    }

    /// How the texts within the JSON are read, where they are a chat's. No value is anything but one of them there, or a number.
    pub fn within_json(self) -> Option<Escape> {
        match self {
            Escape::SlackJson => Some(Escape::Slack),
            Escape::DiscordJson => Some(Escape::Discord),
            _ => None,
        }
    }

    /// The value as it is written there.
    pub fn apply(self, value: &str) -> String {
        match self {
            Escape::None => value.to_owned(),
            Escape::Plain => plain(value),
            Escape::Json => json(value),
            Escape::Form => form(value),
            Escape::Path => path(value),
            Escape::Header => header(value),
            Escape::Xml => entities(&legal_xml(value)),
            Escape::Html => entities(&plain(value)),
            Escape::Markdown => common_mark(&plain(value)),
            Escape::Slack => angles(&plain(value)),
            Escape::Discord => backslash(&unmention(&plain(value)), r"\*_~<>#-[]()|`"),
            Escape::Mattermost => backslash(&unmention(&plain(value)), r"\*_~<>#-[]()|`!"),
            Escape::RocketChat => gaps(&backslash(&unmention(&plain(value)), r"*_~`#."), &["<", "]"]),
            Escape::Zulip => gaps(&unmention(&plain(value)), &["#", "]", "<", "!"]),
            Escape::Matrix | Escape::TelegramHtml => entities(&unmention(&plain(value))),
            Escape::TelegramMarkdownV2 => backslash(&unmention(&plain(value)), r"\_*[]()~`>#+-=|{}.!"),
            Escape::GoogleChat => gaps(&plain(value), &["<"]),
            Escape::Webex => backslash(&angles(&plain(value)), r"\*_[]()`#~|!"),
            Escape::Lark => gaps(&unmention(&plain(value)), &["<", "]"]),
            Escape::DingTalk => gaps(&unmention(&plain(value)), &["]", "<", "!"]),
            Escape::WeCom => gaps(&plain(value), &["<", "]"]),
            Escape::WhatsApp => one_line(&plain(value)),
            Escape::Item => one_line(&plain(value)).replace(',', ";"),
            Escape::SlackJson => json(&angles(&unmention(&plain(value)))),
            Escape::DiscordJson => json(&Escape::Discord.apply(value)),
        }
    }
}

/// Without control characters and bidirectional overrides; line ends become `\n`, tabs stay.
pub fn plain(value: &str) -> String {
    value.replace("\r\n", "\n").chars().filter(|c| matches!(c, '\n' | '\t') || !(c.is_control() || is_reordering(*c))).collect()
}

/// A gap behind every `@` that could begin a mention. An address such as `ann@shop.nl` stays as it is: behind a letter
/// or a digit no chat sees a mention.
fn unmention(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut before = None;
    for c in value.chars() {
        out.push(c);
        if c == '@' && !before.is_some_and(|c: char| c.is_ascii_alphanumeric()) {
            out.push(GAP);
        }
        before = Some(c);
    }
    out
}

/// A gap behind every one of these.
fn gaps(value: &str, behind: &[&str]) -> String {
    let mut out = value.to_owned();
    for mark in behind {
        out = out.replace(mark, &format!("{mark}{GAP}"));
    }
    out
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

fn angles(value: &str) -> String {
    replace(value, |c| match c {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        _ => None,
    })
}

fn entities(value: &str) -> String {
    replace(value, |c| match c {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '"' => Some("&quot;"),
        '\'' => Some("&#39;"),
        _ => None,
    })
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

/// Backslashes where `CommonMark` takes a character for markup: everywhere, or only where a line begins (`- x`, `1. x`).
fn common_mark(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    // Where a line has begun, and nothing but blanks or digits stand on it.
    let (mut blank, mut digits) = (true, false);
    for c in value.chars() {
        let anywhere = r"\`*_[]()<>#|~&!".contains(c);
        let here = (blank && matches!(c, '-' | '+' | '=')) || (digits && matches!(c, '.' | ')'));
        if anywhere || here {
            out.push('\\');
        }
        out.push(c);
        digits = (blank || digits) && c.is_ascii_digit();
        blank = c == '\n' || (blank && matches!(c, ' ' | '\t'));
    }
    out
}

fn json(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn form(value: &str) -> String {
    percent(value, "*-._").replace("%20", "+")
}

/// A value of nothing but dots would name a folder, encoded or not: its dots become `_`.
fn path(value: &str) -> String {
    if value.bytes().all(|b| b == b'.') { "_".repeat(value.len()) } else { percent(value, "-._~") }
}

fn percent(value: &str, free: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || free.as_bytes().contains(&byte) {
            out.push(byte as char);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn header(value: &str) -> String {
    value.chars().map(|c| if c.is_control() || is_reordering(c) || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c }).collect()
}

/// Without what XML 1.0 has no way to hold.
fn legal_xml(value: &str) -> String {
    value.chars().filter(|c| matches!(c, '\t' | '\n' | '\r') || !(*c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}'))).collect()
}

/// Every run of blanks and line ends as one space.
fn one_line(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        if !c.is_whitespace() {
            out.push(c);
        } else if !out.ends_with(' ') {
            out.push(' ');
        }
    }
    out
}
