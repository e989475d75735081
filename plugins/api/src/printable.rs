//! Text from outside, made safe for a terminal and a log line (L8).

use std::fmt;

/// Shows a text with control, bidirectional and line-breaking characters escaped: no byte of it can move a cursor,
/// forge a log line or reorder what stands beside it.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if is_hostile(c) { write!(f, "{}", c.escape_unicode())? } else { write!(f, "{c}")? }
        }
        Ok(())
    }
}

/// Whether a terminal or a page acts on the character instead of showing it.
pub fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// Whether the character reverses or isolates the order in which the text behind it is shown.
pub fn is_reordering(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_control_character_gets_through(text in "\\PC*|[\\x00-\\x1f\\x7f-\\x9f\u{202e}a]*") {
            let shown = Printable(&text).to_string();
            let hostile = shown.chars().any(|c| c.is_control() || c == '\u{202e}');
            prop_assert!(!hostile);
        }
    }

    #[test]
    fn a_plain_text_stays_as_it_is() {
        assert_eq!(Printable("Größe 5 €").to_string(), "Größe 5 €");
        assert_eq!(Printable("a\x1b[31mb\n").to_string(), r"a\u{1b}[31mb\u{a}");
    }
}
