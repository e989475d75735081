//! What a far side would act on in a text that an event wrote alone: one test for every place a value can go.
//!
//! Knows how each far side reads, not how [`Escape`] writes; so it judges a whole request as well as one escaped value.

use crate::escape::Escape;
use crate::printable::is_reordering;

/// Values that try to be structure somewhere.
pub const HOSTILE: &[&str] = &[
    "<!channel> <!here|x> <!everyone> <@U024BE7LH> <#C024BE7LR> <!subteam^S1>",
    "@everyone @here @channel @all @room @ann",
    "@**all** @**everyone** @_**ann** @*group* #**general>topic**",
    "<users/all> <@all> <@personEmail:ann@shop.example|Ann> <at user_id=\"all\">all</at> <at id=all></at>",
    "[pay here](https://evil.example) ![x](https://evil.example/x.png) <https://evil.example|pay here>",
    "<a href='https://evil.example'>x</a><script>alert(1)</script><img src=x onerror=alert(1)>",
    "*b* _i_ __u__ ~s~ ||spoiler|| `code` ```\nfence\n``` > quote # head - item + item 1. item = {x} . !",
    "# head\n- item\n1. item\n> quote\n---\n===",
    "a\r\nBcc: everybody@shop.example\r\n\r\nbody",
    "a\tb\n\n    c     d",
    "\"}],\"allowed_mentions\":{\"parse\":[\"everyone\"]},\"link_names\":true,\"x\":[{\"y\":\"",
    "&lt;!channel&gt; &amp; &#60;b&#62; %3Cb%3E \\u003cb\\u003e",
    "x&to=everybody&text=paid#fragment?query=1/../..",
    "\\ \\\\ \\* \\@ \\[x\\](y)",
    "\u{202e}gpj.exe\u{202c} \u{2066}x\u{2069} \u{7}\u{8}\u{1b}[2J\u{9b}31m \u{0}",
    "' OR 1=1; DROP TABLE customers; -- ",
    "..",
    "",
    "$text $channel ${SECRET} {{ data.x }} {% raw %}",
    "]](( <<>> @@ ]( <@ @* ##",
    "e\u{301}\u{301} 👩\u{200d}👩\u{200d}👧 🇳🇱 \u{200b}",
];

/// What of the text the far side would act on: `None` if it shows all of it.
pub fn danger(escape: Escape, text: &str) -> Option<String> {
    let told = |what: &str| Some(format!("{what} in {text:?}"));
    if let Some(within) = escape.within_json() {
        let read: String = serde_json::from_str(&format!("\"{text}\"")).unwrap_or_default();
        let named = || names_somebody(escape, &read).then(|| format!("a mention in {text:?}"));
        return danger(Escape::Json, text).or_else(|| danger(within, &read)).or_else(named);
    }
    if !matches!(escape, Escape::None | Escape::Json | Escape::Form | Escape::Path | Escape::Xml) && text.chars().any(is_reordering) {
        return told("a character that reorders");
    }
    match escape {
        Escape::None => None,
        Escape::Plain => text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')).then(|| format!("a control in {text:?}")),
        Escape::Json => {
            let read: Result<String, _> = serde_json::from_str(&format!("\"{text}\""));
            read.is_err().then(|| format!("the end of the text in {text:?}"))
        }
        Escape::Form | Escape::Path => {
            let odd = |c: char| !(c.is_ascii_alphanumeric() || "-._~%+*".contains(c));
            if escape == Escape::Path && matches!(text, "." | "..") {
                told("a way up")
            } else {
                text.contains(odd).then(|| format!("a separator in {text:?}"))
            }
        }
        Escape::Header => text.chars().any(char::is_control).then(|| format!("a line end in {text:?}")),
        Escape::WhatsApp => (text.contains(['\n', '\t']) || text.contains("    ")).then(|| format!("what a template refuses in {text:?}")),
        Escape::Item => text.contains([',', '\n']).then(|| format!("an item more in {text:?}")),
        Escape::Xml | Escape::Html | Escape::Slack => text.contains(['<', '>']).then(|| format!("a tag in {text:?}")),
        Escape::Matrix | Escape::TelegramHtml if text.contains(['<', '>']) => told("a tag"),
        Escape::TelegramMarkdownV2 if bare(text, r"_*[]()~`>#+-=|{}.!", &[]) => told("an unescaped character"),
        Escape::Webex if text.contains('<') => told("a mention"),
        _ if names_somebody(escape, text) => told("a mention"),
        _ if opens_a_link(escape, text) => told("a link or a tag"),
        _ => None,
    }
}

/// Whether one of these characters stands there without a backslash, and without one of these behind it.
fn bare(text: &str, special: &str, unless_before: &[char]) -> bool {
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if special.contains(c) && !chars.peek().is_some_and(|next| unless_before.contains(next)) {
            return true;
        }
    }
    false
}

/// `@name` where a word may begin.
fn names_somebody(escape: Escape, text: &str) -> bool {
    let by_at = !matches!(escape, Escape::Markdown | Escape::GoogleChat | Escape::Webex | Escape::WeCom);
    let chars: Vec<char> = text.chars().collect();
    by_at
        && chars.windows(2).enumerate().any(|(at, pair)| {
            let begins = at.checked_sub(1).is_none_or(|before| !chars[before].is_ascii_alphanumeric());
            pair[0] == '@' && begins && (pair[1].is_alphanumeric() || matches!(pair[1], '*' | '_'))
        })
}

/// `[…](…)`, `<…>`.
fn opens_a_link(escape: Escape, text: &str) -> bool {
    let backslashes = matches!(escape, Escape::Markdown | Escape::Discord | Escape::Mattermost | Escape::Webex);
    let live = |mark: &str| {
        text.match_indices(mark).any(|(at, _)| {
            let slashes = text[..at].len() - text[..at].trim_end_matches('\\').len();
            !(backslashes && slashes % 2 == 1)
        })
    };
    let tag = text.match_indices('<').any(|(at, _)| {
        let slashes = text[..at].len() - text[..at].trim_end_matches('\\').len();
        let opens = text[at + 1..].starts_with(|c: char| c.is_ascii_alphanumeric() || "!@#/:".contains(c));
        opens && !(backslashes && slashes % 2 == 1)
    });
    let markdown = !matches!(escape, Escape::Matrix | Escape::TelegramHtml | Escape::GoogleChat | Escape::TelegramMarkdownV2);
    (markdown && live("](")) || (escape != Escape::TelegramMarkdownV2 && tag)
}
