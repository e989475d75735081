//! Hostile values through every escape, and a small model of every far side that reads the value back.

use super::*;
use crate::conformance::danger::{HOSTILE, danger};
use proptest::prelude::*;

#[test]
fn hostile_values_stay_data() {
    for escape in Escape::ALL {
        for value in HOSTILE {
            let written = escape.apply(value);
            assert_eq!(danger(escape, &written), None, "{escape:?} of {value:?}");
            assert_eq!(read(escape, &written), expected(escape, value), "{escape:?} of {value:?}: {written:?}");
        }
    }
}

/// The detector itself: unescaped, every place is attacked by something.
#[test]
fn every_place_is_in_danger_from_some_value() {
    for escape in Escape::ALL.into_iter().filter(|escape| *escape != Escape::None) {
        assert!(HOSTILE.iter().any(|value| danger(escape, value).is_some()), "{escape:?}");
    }
}

#[test]
fn it_is_written_as_the_far_sides_manual_says() {
    let cases = [
        (Escape::Json, "a\"b\\\n\u{1}", r#"a\"b\\\n\u0001"#),
        (Escape::Form, "a b&c=d/ü~", "a+b%26c%3Dd%2F%C3%BC%7E"),
        (Escape::Path, "a b/ü?#", "a%20b%2F%C3%BC%3F%23"),
        (Escape::Path, "..", "__"),
        (Escape::Slack, "<!channel> & <@U1>", "&lt;!channel&gt; &amp; &lt;@U1&gt;"),
        (Escape::Discord, "**x** [a](http://b)", r"\*\*x\*\* \[a\]\(http://b\)"),
        (Escape::Discord, "<@1>", "\\<@\u{200b}1\\>"),
        (Escape::Discord, "@everyone ann@shop.nl", "@\u{200b}everyone ann@shop.nl"),
        (Escape::Mattermost, "@channel *x*", "@\u{200b}channel \\*x\\*"),
        (Escape::RocketChat, "@all [a](b)", "@\u{200b}all [a]\u{200b}(b)"),
        (Escape::Zulip, "@**all** #**x**", "@\u{200b}**all** #\u{200b}**x**"),
        (Escape::Html, "<b>'\"&", "&lt;b&gt;&#39;&quot;&amp;"),
        (Escape::Matrix, "@room <b>", "@\u{200b}room &lt;b&gt;"),
        (Escape::TelegramMarkdownV2, "1.5 - x!", r"1\.5 \- x\!"),
        (Escape::Markdown, "a-b 1.5\n- x\n1. y *z*", "a-b 1.5\n\\- x\n1\\. y \\*z\\*"),
        (Escape::GoogleChat, "<users/all>", "<\u{200b}users/all>"),
        (Escape::Webex, "<@all> *x*", "&lt;@all&gt; \\*x\\*"),
        (Escape::Lark, "<at id=all></at>", "<\u{200b}at id=all><\u{200b}/at>"),
        (Escape::WeCom, "<@all>", "<\u{200b}@all>"),
        (Escape::WhatsApp, "a\n\tb     c", "a b c"),
        (Escape::Item, "gift, paid\n", "gift; paid "),
        (Escape::Header, "a\r\nX: b", "a  X: b"),
        (Escape::Plain, "a\r\nb\u{202e}\u{7}", "a\nb"),
        (Escape::SlackJson, "<!channel>\"\n@here", "&lt;!channel&gt;\\\"\\n@\u{200b}here"),
        (Escape::DiscordJson, "**x** \"@here", "\\\\*\\\\*x\\\\*\\\\* \\\"@\u{200b}here"),
        (Escape::Xml, "<a>\u{0}\u{b}&'", "&lt;a&gt;&amp;&#39;"),
    ];
    for (escape, value, expected) in cases {
        assert_eq!(escape.apply(value), expected, "{escape:?}");
    }
}

/// What is left of a value where some of it has no way to be written.
fn expected(escape: Escape, value: &str) -> String {
    match escape {
        Escape::None | Escape::Json | Escape::Form => value.to_owned(),
        Escape::Path => path_value(value),
        Escape::Header => header(value),
        Escape::Xml => legal_xml(value),
        Escape::WhatsApp => one_line(&plain(value)),
        Escape::Item => one_line(&plain(value)).replace(',', ";"),
        _ => plain(value),
    }
}

fn path_value(value: &str) -> String {
    if value.bytes().all(|b| b == b'.') { "_".repeat(value.len()) } else { value.to_owned() }
}

/// The text as the far side shows it.
fn read(escape: Escape, text: &str) -> String {
    match escape {
        Escape::None | Escape::Plain | Escape::Header | Escape::WhatsApp | Escape::Item => text.to_owned(),
        Escape::Json => serde_json::from_str(&format!("\"{text}\"")).unwrap(),
        Escape::Form => unpercent(&text.replace('+', " ")),
        Escape::Path => unpercent(text),
        Escape::Xml | Escape::Html | Escape::Slack => unentity(text),
        Escape::Matrix | Escape::TelegramHtml => remention(&unentity(text)),
        Escape::Markdown => unbackslash(text),
        Escape::Discord | Escape::Mattermost | Escape::TelegramMarkdownV2 => remention(&unbackslash(text)),
        Escape::RocketChat => remention(&unbackslash_some(&ungap(text, "<]"), "*_~`#.")),
        Escape::Zulip => remention(&ungap(text, "#]<!")),
        Escape::GoogleChat => ungap(text, "<"),
        Escape::Webex => unentity(&unbackslash(text)),
        Escape::Lark => remention(&ungap(text, "<]")),
        Escape::DingTalk => remention(&ungap(text, "]<!")),
        Escape::WeCom => ungap(text, "<]"),
        Escape::SlackJson => remention(&unentity(&read(Escape::Json, text))),
        Escape::DiscordJson => read(Escape::Discord, &read(Escape::Json, text)),
    }
}

fn unpercent(text: &str) -> String {
    let (mut out, mut bytes) = (vec![], text.bytes());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    String::from_utf8(out).unwrap()
}

fn unentity(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let (name, after) = rest[at + 1..].split_once(';').expect("every `&` begins an entity");
        out.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "#39" => '\'',
            other => panic!("&{other};"),
        });
        rest = after;
    }
    out + rest
}

fn unbackslash(text: &str) -> String {
    let (mut out, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().expect("a backslash stands before something") } else { c });
    }
    out
}

/// Rocket.Chat's grammar: a backslash before anything else is a backslash.
fn unbackslash_some(text: &str, special: &str) -> String {
    let (mut out, mut chars) = (String::new(), text.chars().peekable());
    while let Some(c) = chars.next() {
        let escaped = (c == '\\').then(|| chars.next_if(|next| special.contains(*next))).flatten();
        out.push(escaped.unwrap_or(c));
    }
    out
}

fn ungap(text: &str, behind: &str) -> String {
    let (mut out, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        out.push(c);
        if behind.contains(c) {
            assert_eq!(chars.next(), Some(GAP));
        }
    }
    out
}

fn remention(text: &str) -> String {
    let (mut out, mut before, mut chars) = (String::new(), None, text.chars());
    while let Some(c) = chars.next() {
        out.push(c);
        if c == '@' && !before.is_some_and(|c: char| c.is_ascii_alphanumeric()) {
            assert_eq!(chars.next(), Some(GAP));
        }
        before = Some(c);
    }
    out
}

proptest! {
    #[test]
    fn the_far_side_shows_the_value_and_acts_on_nothing(value in r"([\x00-\x7f]|[@<>\[\]()*_#&\\`!./ \n\r]|[a-c]|\u{200b}|\u{202e}|[üé€😀]){0,40}") {
        for escape in Escape::ALL {
            let written = escape.apply(&value);
            prop_assert_eq!(danger(escape, &written), None, "{:?}", escape);
            prop_assert_eq!(read(escape, &written), expected(escape, &value), "{:?}: {:?}", escape, written);
        }
    }

    /// A list is cut by its items and joined: two values side by side are as harmless as one.
    #[test]
    fn two_values_with_a_word_between_stay_data(a in "[@<>\\[\\]()*a]{0,6}", b in "[@<>\\[\\]()*a]{0,6}") {
        for escape in Escape::ALL {
            let written = format!("{} and {}", escape.apply(&a), escape.apply(&b));
            if !matches!(escape, Escape::Json | Escape::Form | Escape::Path) {
                prop_assert_eq!(danger(escape, &written), None, "{:?}", escape);
            }
        }
    }
}
