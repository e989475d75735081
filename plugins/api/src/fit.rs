//! Messages that fit: a text over the far side's limit is cut, split or refused here, never there.
//!
//! Does: measures a written text (its values are escaped already) in the far side's unit; cuts it at a word and says how much
//! is left out, with a link to the event where one is known; splits it into numbered parts; cuts a list by whole items; shares
//! one limit among several texts.
//! Never: cuts inside an escape, an entity, a tag, a link, a code fence's marks or what a person sees as one character; leaves
//! a tag, a mark or a fence open that the cut took the end of; gives more than the limit.
//! Proven by `tests.rs`: for every escape and unit, whatever the text.

mod pieces;
#[cfg(test)]
mod tests;

use crate::escape::Escape;
use pieces::Pieces;
use serde::Deserialize;
use std::borrow::Cow;

/// Most parts of a split text; what would be in further ones is cut from the last, with the count.
pub const PARTS_MAX: usize = 20;

/// What a far side's limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Unicode characters.
    #[default]
    Chars,
    /// UTF-16 units: an emoji is two.
    Utf16,
    /// Bytes of UTF-8.
    Bytes,
    /// Bytes of UTF-8 within a JSON text, where a quote or a line end is two.
    JsonBytes,
}

impl Unit {
    /// The text's length.
    pub fn measure(self, text: &str) -> usize {
        match self {
            Unit::Chars => text.chars().count(),
            Unit::Utf16 => text.encode_utf16().count(),
            Unit::Bytes => text.len(),
            Unit::JsonBytes => text.chars().map(json_bytes).sum(),
        }
    }

    /// What people call them.
    pub fn word(self) -> &'static str {
        match self {
            Unit::Chars => "characters",
            Unit::Utf16 => "UTF-16 units",
            Unit::Bytes | Unit::JsonBytes => "bytes",
        }
    }
}

fn json_bytes(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        c if c < ' ' => 6,
        c => c.len_utf8(),
    }
}

/// What happens to a text over its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// It is cut at a word with the count of what is left out.
    #[default]
    Cut,
    /// It becomes several messages, each a delivery of its own.
    Split,
    /// The delivery is dead with the reason: for what would mean something else when cut, such as a key.
    Refuse,
}

/// A far side's limit for one field. A preset writes `cap: 2000`, or `cap: { most: 2048, unit: bytes, over: split }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(from = "Written")]
pub struct Cap {
    /// The longest it may be.
    pub most: usize,
    /// In what.
    pub unit: Unit,
    /// What happens to a longer one.
    pub over: Over,
}

impl Cap {
    /// So many characters; cut.
    pub const fn chars(most: usize) -> Self {
        Cap { most, unit: Unit::Chars, over: Over::Cut }
    }

    /// So many bytes; cut.
    pub const fn bytes(most: usize) -> Self {
        Cap { most, unit: Unit::Bytes, over: Over::Cut }
    }

    /// The same, refused.
    #[must_use]
    pub const fn or_refuse(self) -> Self {
        Cap { over: Over::Refuse, ..self }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Short(usize),
    Long {
        most: usize,
        #[serde(default)]
        unit: Unit,
        #[serde(default)]
        over: Over,
    },
}

impl From<Written> for Cap {
    fn from(written: Written) -> Self {
        match written {
            Written::Short(most) => Cap::chars(most),
            Written::Long { most, unit, over } => Cap { most, unit, over },
        }
    }
}

/// A limit that several fields share, such as Discord's 6,000 characters of an embed: the longest are cut.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Total {
    /// The longest they may be together.
    pub most: usize,
    /// In what.
    #[serde(default)]
    pub unit: Unit,
    /// Their names.
    pub fields: Vec<Cow<'static, str>>,
}

impl Total {
    /// What each of these lengths may be so that they fit together: the longest lose first, and equally.
    pub fn shares(&self, lengths: &[usize]) -> Vec<usize> {
        let mut sorted = lengths.to_vec();
        sorted.sort_unstable();
        let (mut left, mut level) = (self.most, usize::MAX);
        for (nth, length) in sorted.iter().enumerate() {
            let equal = left / (sorted.len() - nth);
            if *length > equal {
                level = equal;
                break;
            }
            left -= length;
        }
        lengths.iter().map(|length| (*length).min(level)).collect()
    }
}

/// How a text is made to fit.
#[derive(Debug, Clone, Copy)]
pub struct Fit<'a> {
    /// How its values are written, and so what its markup is.
    pub escape: Escape,
    /// The longest it may be.
    pub most: usize,
    /// In what.
    pub unit: Unit,
    /// Where the whole event can be looked at.
    pub link: Option<&'a str>,
}

/// What stands behind a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    Linked,
    Counted,
    Dots,
    Nothing,
}

/// Where a text may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Word,
    Paragraph,
}

impl Fit<'_> {
    /// The text cut at a word, with the count of what is left out; `None` if it fits.
    pub fn cut(&self, text: &str) -> Option<String> {
        if self.unit.measure(text) <= self.most {
            return None;
        }
        Some(self.cut_from(&Pieces::new(text, self.escape, self.unit), self.most))
    }

    /// The text in numbered parts, cut at paragraphs, lines or words; `None` if it fits as it is.
    pub fn split(&self, text: &str) -> Option<Vec<String>> {
        if self.unit.measure(text) <= self.most {
            return None;
        }
        let number = |nth: usize, of: usize| self.escape.apply(&format!("({nth}/{of}) "));
        let room = self.most.saturating_sub(self.unit.measure(&number(PARTS_MAX, PARTS_MAX)));
        let mut parts = vec![];
        let mut at = Pieces::new(text, self.escape, self.unit);
        loop {
            let openers = at.openers();
            let free = room.saturating_sub(self.unit.measure(&openers));
            if self.unit.measure(at.rest()) <= free {
                parts.push(openers + at.rest());
                break;
            }
            let end = self.place(&at, free, Place::Paragraph);
            if end == at.at() || parts.len() + 1 == PARTS_MAX {
                parts.push(self.cut_from(&at, room));
                break;
            }
            let part = &text[at.at()..end];
            at.walk_to(end);
            parts.push(openers + part + &at.closers());
            at.skip_spaces();
            if at.rest().is_empty() {
                break;
            }
        }
        let of = parts.len();
        Some(if of == 1 { parts } else { (1..).zip(parts).map(|(nth, part)| number(nth, of) + &part).collect() })
    }

    /// Items that are written already, cut by whole items: what does not fit is counted.
    pub fn list(&self, items: &[String], between: &str) -> String {
        self.list_of(items, between, items.len())
    }

    /// As [`list`](Self::list), of the first of `total` items: what is not among them is counted too.
    pub fn list_of(&self, items: &[String], between: &str, total: usize) -> String {
        let whole = items.join(between);
        if total <= items.len() && self.unit.measure(&whole) <= self.most {
            return whole;
        }
        let total = total.max(items.len());
        let tail = |left: usize| self.escape.apply(&format!("… and {} more", grouped(left)));
        let gap = self.unit.measure(between);
        let room = self.most.saturating_sub(self.unit.measure(&tail(total)) + gap);
        let mut used = 0;
        let fits = |item: &&String| {
            used += self.unit.measure(item) + gap;
            used <= room + gap
        };
        let most = items.iter().take_while(fits).count();
        match (most, items) {
            (0, [first, ..]) if total > 1 && room > self.most / 2 => {
                let first = Fit { most: room, ..*self }.cut(first).unwrap_or_else(|| first.clone());
                format!("{first}{between}{}", tail(total - 1))
            }
            (0, _) => self.cut(&whole).unwrap_or(whole),
            (most, _) => format!("{}{between}{}", items[..most].join(between), tail(total - most)),
        }
    }

    /// What stands from `start` on, cut to `most`.
    fn cut_from(&self, start: &Pieces, most: usize) -> String {
        let total = start.clone().shown_to(usize::MAX);
        let tail = self.longest_tail(total, most);
        let openers = start.openers();
        let room = most.saturating_sub(self.unit.measure(&self.tail(tail, total)));
        let end = self.place(start, room.saturating_sub(self.unit.measure(&openers)), Place::Word);
        if end == start.at() {
            return self.tail(tail, total);
        }
        let mut at = start.clone();
        let shown = at.shown_to(end);
        let head = &start.rest()[..end - start.at()];
        format!("{openers}{head}{}{}", at.closers(), self.tail(tail, total - shown))
    }

    /// The fullest tail that leaves the text its part of the room.
    fn longest_tail(&self, total: usize, most: usize) -> Tail {
        let leaves = |tail: Tail, part: usize| self.unit.measure(&self.tail(tail, total)) <= part;
        match () {
            () if self.link.is_some() && leaves(Tail::Linked, most / 2) => Tail::Linked,
            () if leaves(Tail::Counted, most / 4 * 3) => Tail::Counted,
            () if leaves(Tail::Dots, most) => Tail::Dots,
            () => Tail::Nothing,
        }
    }

    fn tail(&self, tail: Tail, left: usize) -> String {
        let count = || self.escape.apply(&format!("… {} more characters", grouped(left)));
        match tail {
            Tail::Linked => {
                let link = self.link.unwrap_or_default();
                count() + &self.escape.apply(": ") + &self.written(link)
            }
            Tail::Counted => count(),
            Tail::Dots => self.escape.apply("…"),
            Tail::Nothing => String::new(),
        }
    }

    /// A link as its place shows one. A bare address is a link in every chat, and stays what it is.
    fn written(&self, link: &str) -> String {
        match self.escape {
            Escape::Html | Escape::Matrix | Escape::TelegramHtml => format!("<a href=\"{}\">the event</a>", self.escape.apply(link)),
            Escape::Markdown
            | Escape::Discord
            | Escape::Mattermost
            | Escape::RocketChat
            | Escape::Zulip
            | Escape::Webex
            | Escape::DingTalk
            | Escape::WeCom => link.to_owned(),
            Escape::DiscordJson => Escape::Json.apply(link),
            _ => self.escape.apply(link),
        }
    }

    /// The last good end within the room: none of the text that follows `start` if nothing fits.
    fn place(&self, start: &Pieces, room: usize, place: Place) -> usize {
        let mut ends = Ends::new(start.at());
        let mut pieces = start.clone();
        let mut weight = 0;
        while let Some(piece) = pieces.next() {
            if piece.space {
                ends.space(piece.text);
            }
            weight += self.unit.measure(piece.text);
            if weight > room {
                break;
            }
            if !piece.space {
                ends.solid(pieces.at(), weight, !piece.opens && weight + pieces.closing() <= room);
            }
        }
        ends.best(place)
    }
}

/// Where a text could end, and how much it would have.
#[derive(Debug)]
struct Ends {
    solid: (usize, usize),
    good: bool,
    breaks: usize,
    word: (usize, usize),
    line: (usize, usize),
    paragraph: (usize, usize),
    anywhere: (usize, usize),
}

impl Ends {
    fn new(at: usize) -> Self {
        let none = (at, 0);
        Ends { solid: none, good: false, breaks: 0, word: none, line: none, paragraph: none, anywhere: none }
    }

    /// Blanks follow what was there.
    fn space(&mut self, text: &str) {
        if !self.good {
            return;
        }
        self.word = self.solid;
        self.breaks += usize::from(matches!(text, "\n" | "\\n" | "%0A" | "\r\n") || text.starts_with("<br"));
        if self.breaks >= 1 {
            self.line = self.solid;
        }
        if self.breaks >= 2 {
            self.paragraph = self.solid;
        }
    }

    /// Something that is seen ends there.
    fn solid(&mut self, end: usize, weight: usize, good: bool) {
        self.solid = (end, weight);
        self.good = good;
        self.breaks = 0;
        if good {
            self.anywhere = self.solid;
        }
    }

    fn best(&self, place: Place) -> usize {
        let enough = |end: &&(usize, usize)| end.1 > 0 && end.1 * 2 >= self.anywhere.1;
        let wished: &[(usize, usize)] = match place {
            Place::Word => &[self.word],
            Place::Paragraph => &[self.paragraph, self.line, self.word],
        };
        wished.iter().find(enough).unwrap_or(&self.anywhere).0
    }
}

/// A number with commas between its thousands.
fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
