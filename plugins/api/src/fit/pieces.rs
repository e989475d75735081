//! A written text, piece by piece: what may not be cut in two, and what is open where.
//!
//! Never fails: what is not markup after all (`<` before a blank, a `[` without its link) is a character.

use super::Unit;
use crate::escape::Escape;
use unicode_segmentation::UnicodeSegmentation;

/// The longest entity, `&CounterClockwiseContourIntegral;`.
const ENTITY_MAX: usize = 33;
/// The longest link or angle bracket that is kept whole, in bytes; a longer one is text.
const GROUP_MAX: usize = 2048;
/// Tags without an end.
const VOID: [&str; 5] = ["br", "hr", "img", "input", "wbr"];
/// `MarkdownV2`'s marks; the longer ones first, as Telegram reads them.
const MARKS: [&str; 5] = ["||", "__", "*", "_", "~"];
const FENCE: &str = "```";

/// One piece of a text.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'t> {
    /// As it is written.
    pub text: &'t str,
    /// Whether it is only blank.
    pub space: bool,
    /// Whether it opens something, so that nothing should end right behind it.
    pub opens: bool,
    /// How many characters are seen of it.
    shown: usize,
}

/// Something that must be closed.
#[derive(Debug, Clone)]
struct Mark<'t> {
    open: &'t str,
    close: String,
    /// Nothing but its own end is markup in it.
    code: bool,
}

/// A text being read.
#[derive(Debug, Clone)]
pub struct Pieces<'t> {
    text: &'t str,
    at: usize,
    syntax: Syntax,
    unit: Unit,
    open: Vec<Mark<'t>>,
    closing: usize,
}

/// What a kind of text has.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools)] // one for each thing that is there or not
struct Syntax {
    backslash: bool,
    json: bool,
    percent: bool,
    entity: bool,
    tags: bool,
    angles: bool,
    links: bool,
    fences: bool,
    marks: bool,
}

impl Syntax {
    fn of(escape: Escape) -> Self {
        let none = Syntax::default();
        match escape {
            Escape::None | Escape::Plain | Escape::Header | Escape::WhatsApp | Escape::Item => none,
            Escape::Json => Syntax { json: true, ..none },
            Escape::Form | Escape::Path => Syntax { percent: true, ..none },
            Escape::Xml | Escape::Html | Escape::Matrix | Escape::TelegramHtml => Syntax { entity: true, tags: true, ..none },
            Escape::Slack => Syntax { entity: true, angles: true, fences: true, ..none },
            Escape::GoogleChat => Syntax { angles: true, fences: true, ..none },
            Escape::Lark => Syntax { angles: true, links: true, ..none },
            Escape::Zulip | Escape::DingTalk | Escape::WeCom => Syntax { angles: true, links: true, fences: true, ..none },
            Escape::Markdown | Escape::Discord | Escape::Mattermost | Escape::RocketChat => {
                Syntax { backslash: true, angles: true, links: true, fences: true, ..none }
            }
            // Without fences: their line ends are none within JSON. `texts` of a row reads what stands behind the quotes.
            Escape::SlackJson => Syntax { json: true, entity: true, angles: true, ..none },
            Escape::DiscordJson => Syntax { json: true, backslash: true, angles: true, links: true, ..none },
            Escape::Webex => Syntax { backslash: true, entity: true, angles: true, links: true, fences: true, ..none },
            Escape::TelegramMarkdownV2 => Syntax { backslash: true, links: true, fences: true, marks: true, ..none },
        }
    }
}

impl<'t> Pieces<'t> {
    /// From its start.
    pub fn new(text: &'t str, escape: Escape, unit: Unit) -> Self {
        Pieces { text, at: 0, syntax: Syntax::of(escape), unit, open: vec![], closing: 0 }
    }

    /// How far it was read, in bytes.
    pub fn at(&self) -> usize {
        self.at
    }

    /// What was not read.
    pub fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// The length of [`closers`](Self::closers).
    pub fn closing(&self) -> usize {
        self.closing
    }

    /// What closes all that is open, where the text ends here.
    pub fn closers(&self) -> String {
        let mut out = String::new();
        for mark in self.open.iter().rev() {
            let before = if out.is_empty() { &self.text[..self.at] } else { &out };
            // `___` would be read as `__` and `_`.
            if mark.close == "__" && before.ends_with('_') {
                out.push('\r');
            }
            out.push_str(&mark.close);
        }
        out
    }

    /// What opens it again in another text, before what was not read.
    pub fn openers(&self) -> String {
        let line = |mark: &Mark| if mark.open == FENCE { "```\n".to_owned() } else { mark.open.to_owned() };
        let mut out = String::new();
        for mark in &self.open {
            if mark.open.starts_with('_') && out.ends_with('_') {
                out.push('\r');
            }
            out.push_str(&line(mark));
        }
        if out.ends_with('_') && self.rest().starts_with('_') {
            out.push('\r');
        }
        out
    }

    /// Reads up to there.
    pub fn walk_to(&mut self, end: usize) {
        while self.at < end && self.next().is_some() {}
    }

    /// Reads up to there, and counts the characters that are seen.
    pub fn shown_to(&mut self, end: usize) -> usize {
        let mut shown = 0;
        while self.at < end
            && let Some(piece) = self.next()
        {
            shown += piece.shown;
        }
        shown
    }

    /// Reads the blanks that follow.
    pub fn skip_spaces(&mut self) {
        let mut ahead = self.clone();
        while ahead.next().is_some_and(|piece| piece.space) {
            *self = ahead.clone();
        }
    }

    /// The next piece.
    pub fn next(&mut self) -> Option<Piece<'t>> {
        let rest = self.rest();
        let first = rest.chars().next()?;
        let piece = if self.open.last().is_some_and(|mark| mark.code) { self.in_code(rest) } else { self.markup(rest, first) };
        let piece = piece.or_else(|| self.escaped(rest, first)).unwrap_or_else(|| seen(rest));
        self.at += piece.text.len();
        Some(piece)
    }

    /// Code ends where its mark stands again.
    fn in_code(&mut self, rest: &'t str) -> Option<Piece<'t>> {
        let open = self.open.last()?.open;
        rest.starts_with(open).then(|| {
            self.close(self.open.len() - 1);
            hidden(&rest[..open.len()])
        })
    }

    fn markup(&mut self, rest: &'t str, first: char) -> Option<Piece<'t>> {
        let syntax = self.syntax;
        match first {
            '<' if syntax.tags => self.tag(rest),
            '<' if syntax.angles => angles(rest).map(whole),
            '[' if syntax.links => link(rest).map(whole),
            '!' if syntax.links && rest[1..].starts_with('[') => link(&rest[1..]).map(|link| whole(&rest[..=link.len()])),
            '`' if syntax.fences && rest.starts_with(FENCE) => Some(self.opens(&rest[..3], "\n```".into(), true)),
            '`' if syntax.marks => Some(self.opens(&rest[..1], "`".into(), true)),
            // Telegram ignores it; it stands between `_` and `__`.
            '\r' if syntax.marks => Some(hidden(&rest[..1])),
            _ if syntax.marks => self.mark(rest),
            _ => None,
        }
    }

    /// A mark closes what it opened last; inside of others it is only seen.
    fn mark(&mut self, rest: &'t str) -> Option<Piece<'t>> {
        let mark = MARKS.into_iter().find(|mark| rest.starts_with(mark))?;
        let text = &rest[..mark.len()];
        match self.open.iter().rposition(|open| open.open == mark) {
            None => Some(self.opens(text, mark.into(), false)),
            Some(at) if at + 1 == self.open.len() => {
                self.close(at);
                Some(hidden(text))
            }
            Some(_) => None,
        }
    }

    fn tag(&mut self, rest: &'t str) -> Option<Piece<'t>> {
        let inner = rest[1..].trim_start_matches('/');
        let ends = 1 + usize::from(rest[1..].starts_with('/'));
        if !inner.starts_with(|c: char| c.is_ascii_alphabetic()) || rest.len() - inner.len() != ends {
            return None;
        }
        let mut quote = None;
        let end = rest.char_indices().skip(1).find(|(_, c)| {
            match (quote, *c) {
                (None, '"' | '\'') => quote = Some(*c),
                (Some(open), c) if open == c => quote = None,
                _ => {}
            }
            *c == '>' && quote.is_none()
        })?;
        let text = &rest[..=end.0];
        let name = &inner[..inner.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).unwrap_or(inner.len())];
        if ends == 2 {
            let close = format!("</{name}>");
            if let Some(at) = self.open.iter().rposition(|open| open.close.eq_ignore_ascii_case(&close)) {
                self.close(at);
            }
            return Some(hidden(text));
        }
        if text.ends_with("/>") || VOID.iter().any(|void| name.eq_ignore_ascii_case(void)) {
            return Some(Piece { space: name.eq_ignore_ascii_case("br"), ..hidden(text) });
        }
        Some(self.opens(text, format!("</{name}>"), false))
    }

    fn opens(&mut self, open: &'t str, close: String, code: bool) -> Piece<'t> {
        self.closing += self.weight(&close);
        self.open.push(Mark { open, close, code });
        Piece { opens: true, ..hidden(open) }
    }

    /// Closes that one and all within it.
    fn close(&mut self, at: usize) {
        for mark in self.open.split_off(at) {
            self.closing -= self.weight(&mark.close);
        }
    }

    /// With the `\r` that may stand before it.
    fn weight(&self, close: &str) -> usize {
        self.unit.measure(close) + if close == "__" { self.unit.measure("\r") } else { 0 }
    }

    /// One character that is written as several.
    fn escaped(&self, rest: &'t str, first: char) -> Option<Piece<'t>> {
        let syntax = self.syntax;
        let one = |length: usize| Some(Piece { shown: 1, ..hidden(rest.get(..length)?) });
        match first {
            '\\' if syntax.json => {
                let text = json_escape(rest)?;
                // A backslash of the chat's, and the character that it is for.
                if syntax.backslash && text == r"\\" {
                    let behind = &rest[text.len()..];
                    let next = if behind.starts_with('\\') { json_escape(behind)?.len() } else { behind.chars().next()?.len_utf8() };
                    return one(text.len() + next);
                }
                Some(Piece { space: matches!(text, "\\n" | "\\t" | "\\r"), ..one(text.len())? })
            }
            '\\' if syntax.backslash => one(1 + rest[1..].chars().next()?.len_utf8()),
            '&' if syntax.entity => {
                let end = rest.bytes().take(ENTITY_MAX).position(|b| b == b';')?;
                let name = &rest[1..end];
                (!name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'#')).then(|| one(end + 1)).flatten()
            }
            '%' if syntax.percent => {
                let text = percent(rest)?;
                Some(Piece { space: matches!(text, "%20" | "%0A" | "%09"), ..one(text.len())? })
            }
            '+' if syntax.percent => Some(Piece { space: true, ..one(1)? }),
            _ => None,
        }
    }
}

/// What a person sees as one character; where a character of markup is drawn into it, what stands before that.
fn seen(rest: &str) -> Piece<'_> {
    let cluster = rest.graphemes(true).next().unwrap_or(rest);
    let plain = cluster.char_indices().skip(1).find(|(_, c)| c.is_ascii()).map_or(cluster, |(at, _)| &cluster[..at]);
    let text = if cluster == "\r\n" { cluster } else { plain };
    Piece { space: text.chars().all(char::is_whitespace), shown: text.chars().count(), ..hidden(text) }
}

/// Markup: nothing of it is seen.
fn hidden(text: &str) -> Piece<'_> {
    Piece { text, space: false, opens: false, shown: 0 }
}

/// A link, a mention: seen in some way.
fn whole(text: &str) -> Piece<'_> {
    Piece { shown: text.chars().count(), ..hidden(text) }
}

/// `<url|text>`, `<@U1>`, on one line.
fn angles(rest: &str) -> Option<&str> {
    let end = rest.bytes().take(GROUP_MAX).position(|b| b == b'>' || b == b'\n').filter(|end| rest.as_bytes()[*end] == b'>')?;
    let inner = &rest[1..end];
    (!inner.is_empty() && !inner.starts_with(char::is_whitespace)).then(|| &rest[..=end])
}

/// `[text](url)`, on one line.
fn link(rest: &str) -> Option<&str> {
    let (mut escaped, mut text_ended) = (false, false);
    let mut bytes = rest.bytes().enumerate().take(GROUP_MAX).skip(1);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\n' => return None,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b']' if !text_ended => {
                if rest.as_bytes().get(at + 1) != Some(&b'(') {
                    return None;
                }
                text_ended = true;
                bytes.next();
            }
            b')' if text_ended => return Some(&rest[..=at]),
            _ => {}
        }
    }
    None
}

/// `\n`, `\u00e9`, `\ud83d\ude00`.
fn json_escape(rest: &str) -> Option<&str> {
    let unit = |at: usize| {
        let digits = rest.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    match (unit(0), unit(6)) {
        (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => rest.get(..12),
        (Some(_), _) => rest.get(..6),
        _ => rest.get(..1 + rest[1..].chars().next()?.len_utf8()),
    }
}

/// The `%XX` of one character.
fn percent(rest: &str) -> Option<&str> {
    let byte = |nth: usize| {
        let digits = rest.get(nth * 3..nth * 3 + 3)?.strip_prefix('%')?;
        u8::from_str_radix(digits, 16).ok()
    };
    let more = match byte(0)? {
        0xc0..=0xdf => 1,
        0xe0..=0xef => 2,
        0xf0..=0xff => 3,
        _ => 0,
    };
    let follow = (1..=more).take_while(|nth| byte(*nth).is_some_and(|b| b & 0xc0 == 0x80)).count();
    rest.get(..(1 + follow) * 3)
}
