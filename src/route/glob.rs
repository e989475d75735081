//! Topic globs: `*` within a segment (segments are split by `.`), `**` across dots, `?` one character of a segment; all
//! else is literal. A topic that holds `*` is data and matches like any other character.
//!
//! Never: backtracks more than once per wildcard kind, so matching costs at most pattern times topic.

use std::ops::Range;

/// The longest glob, in bytes; topics are at most as long.
pub const GLOB_MAX: usize = 256;

/// What a glob is made of, for messages.
pub const GLOB_HELP: &str = "a glob has `*` (within dots), `**` (across them) and `?` (one character); write several topics as a list";

/// A compiled topic glob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    text: Box<str>,
    steps: Box<[Step]>,
    /// Bytes of `text` before the first wildcard.
    literal: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// This byte.
    Byte(u8),
    /// One character, not a dot.
    One,
    /// Any characters but dots.
    Star,
    /// Any characters.
    Deep,
}

/// Why a text is not a glob, and where in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct GlobError {
    /// What is wrong, in a few words.
    pub why: String,
    /// Bytes of the glob.
    pub within: Range<usize>,
}

impl Glob {
    /// Compiles a glob.
    ///
    /// # Errors
    /// What is wrong and where in the text.
    pub fn parse(text: &str) -> Result<Self, GlobError> {
        if text.is_empty() {
            return Err(GlobError { why: "an empty topic matches nothing".into(), within: 0..0 });
        }
        if text.len() > GLOB_MAX {
            return Err(GlobError { why: format!("longer than {GLOB_MAX} bytes"), within: GLOB_MAX..text.len() });
        }
        if let Some(at) = text.find("***") {
            return Err(GlobError { why: "three stars: write `**` to cross dots, `*` to stay between them".into(), within: at..at + 3 });
        }
        // Sets and alternatives of other globs would silently match nothing.
        if let Some(at) = text.find(['[', ']', '{', '}']) {
            return Err(GlobError { why: "brackets have no meaning in a glob".into(), within: at..at + 1 });
        }
        let mut steps = vec![];
        let mut rest = text.bytes().peekable();
        while let Some(byte) = rest.next() {
            steps.push(match byte {
                b'*' if rest.next_if_eq(&b'*').is_some() => Step::Deep,
                b'*' => Step::Star,
                b'?' => Step::One,
                byte => Step::Byte(byte),
            });
        }
        let literal = text.find(['*', '?']).unwrap_or(text.len());
        Ok(Glob { text: text.into(), steps: steps.into(), literal })
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The literal text before the first wildcard.
    pub fn prefix(&self) -> &str {
        &self.text[..self.literal]
    }

    /// Whether there is no wildcard: the glob is one topic.
    pub fn is_exact(&self) -> bool {
        self.literal == self.text.len()
    }

    /// Whether the topic matches.
    pub fn matches(&self, topic: &str) -> bool {
        let text = topic.as_bytes();
        let (mut step, mut at) = (0, 0);
        // Where to go on if what follows the last `*`, or the last `**`, does not fit: (step after it, place to try next).
        let mut star: Option<(usize, usize)> = None;
        let mut deep: Option<(usize, usize)> = None;
        loop {
            let fits = match self.steps.get(step) {
                None if at == text.len() => return true,
                Some(Step::Star) => {
                    star = Some((step + 1, at));
                    step += 1;
                    continue;
                }
                Some(Step::Deep) => {
                    (star, deep) = (None, Some((step + 1, at)));
                    step += 1;
                    continue;
                }
                Some(Step::Byte(byte)) if text.get(at) == Some(byte) => 1,
                Some(Step::One) if text.get(at).is_some_and(|b| *b != b'.') => width(text, at),
                _ => 0,
            };
            if fits > 0 {
                (step, at) = (step + 1, at + fits);
                continue;
            }
            // A later `*` reaches whatever an earlier one of its segment could: only the last one is tried again.
            (step, at) = match (star, deep) {
                (Some((after, from)), _) if text.get(from).is_some_and(|b| *b != b'.') => {
                    let next = from + width(text, from);
                    star = Some((after, next));
                    (after, next)
                }
                (_, Some((after, from))) if from < text.len() => {
                    let next = from + width(text, from);
                    (star, deep) = (None, Some((after, next)));
                    (after, next)
                }
                _ => return false,
            };
        }
    }
}

/// Bytes of the character that starts here.
fn width(text: &[u8], at: usize) -> usize {
    1 + text[at + 1..].iter().take_while(|b| **b & 0xC0 == 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(glob: &str, topic: &str) -> bool {
        Glob::parse(glob).unwrap().matches(topic)
    }

    #[test]
    fn a_star_stays_between_dots_and_two_cross_them() {
        let yes = [
            ("ORDER_*", "ORDER_PAID"),
            ("ORDER_*", "ORDER_"),
            ("order.*", "order.paid"),
            ("order.**", "order.paid.late"),
            ("**", "a.b.c"),
            ("**.paid", "shop.order.paid"),
            ("*.*.paid", "shop.order.paid"),
            ("order.?", "order.ü"),
            ("a*b*c", "aXbYbZc"),
            ("**.a*.b", "x.a.c.ay.b"),
            ("*", "*"),
            ("literal", "literal"),
        ];
        for (glob, topic) in yes {
            assert!(matches(glob, topic), "{glob} {topic}");
        }
        let no = [
            ("ORDER_*", "ORDER"),
            ("order.*", "order.paid.late"),
            ("order.?", "order.."),
            ("order.?", "order.ab"),
            ("*.paid", "shop.order.paid"),
            ("literal", "literally"),
            ("a", "*"),
            ("order_*", "ORDER_PAID"),
        ];
        for (glob, topic) in no {
            assert!(!matches(glob, topic), "{glob} {topic}");
        }
    }

    #[test]
    fn a_wrong_glob_says_where() {
        let error = Glob::parse("order.***").unwrap_err();
        assert_eq!(error.within, 6..9);
        assert!(Glob::parse("").is_err());
        assert_eq!(Glob::parse(&"a".repeat(300)).unwrap_err().within, 256..300);
    }

    #[test]
    fn the_literal_start_is_known() {
        assert_eq!(Glob::parse("ORDER_*").unwrap().prefix(), "ORDER_");
        assert!(Glob::parse("ORDER").unwrap().is_exact());
        assert_eq!(Glob::parse("**").unwrap().prefix(), "");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn the_matcher_agrees_with_the_plain_meaning(glob in "[ab.ü*?]{1,9}", topic in "[ab.ü*]{0,10}") {
            if let Ok(compiled) = Glob::parse(&glob) {
                prop_assert_eq!(compiled.matches(&topic), switchyard_reference::glob::matches(&glob, &topic));
            }
        }
    }

    #[test]
    fn many_stars_cost_no_more_than_pattern_times_topic() {
        let glob = Glob::parse(&"*a".repeat(100)).unwrap();
        assert!(!glob.matches(&"a".repeat(99)));
        assert!(!Glob::parse(&"**a".repeat(80)).unwrap().matches(&format!("{}b", "a".repeat(255))));
    }
}
