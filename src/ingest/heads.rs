//! The heads of a connection's requests as they came, beside the HTTP reader, which is lenient where RFC 9112 lets it be: it takes lines that end in
//! a bare LF, and of a length beside a transfer coding it shows only the coding. Each can be the second meaning of the same bytes to a proxy in
//! front of us, so each is told, and refused.
//!
//! Does: follows the bytes from head to head by the lengths they name, a few bytes of memory each. Never: judges what the reader refuses
//! itself, or looks into a body; after a body in chunks it stops looking (the reader ends the connection where such a head has both).

/// Bytes of a line that are kept: `Transfer-Encoding`, or `Content-Length` with all its digits.
const LINE: usize = 48;

/// Why a head is refused.
pub const BOTH_LENGTHS: &str = "its head has both a length and a transfer coding";
/// As above.
pub const BARE_LF: &str = "a line of its head ends in LF alone";

/// Where in its bytes a connection is.
#[derive(Debug, Default)]
pub struct Heads {
    /// Bytes of a body to come.
    body: u64,
    /// The head's first line is over.
    began: bool,
    line: Line,
    length: Option<u64>,
    coded: bool,
    bare: bool,
    /// Heads that ended.
    seen: u64,
    /// Nothing more is looked at.
    done: bool,
}

/// A line as far as it came: its first bytes, how many it has in all, and the last.
#[derive(Debug)]
struct Line {
    first: [u8; LINE],
    bytes: usize,
    last: u8,
}

impl Default for Line {
    fn default() -> Self {
        Line { first: [0; LINE], bytes: 0, last: 0 }
    }
}

impl Line {
    fn add(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.last() else { return };
        let at = self.bytes.min(LINE);
        let taken = bytes.len().min(LINE - at);
        self.first[at..at + taken].copy_from_slice(&bytes[..taken]);
        self.bytes += bytes.len();
        self.last = *last;
    }

    /// The value of the header of this name, as far as it was kept.
    fn value_of(&self, name: &str) -> Option<&[u8]> {
        let (head, value) = self.first[..self.bytes.min(LINE)].split_at_checked(name.len())?;
        value.strip_prefix(b":").filter(|_| head.eq_ignore_ascii_case(name.as_bytes()))
    }
}

impl Heads {
    /// Looks at the next bytes. Of the first head that is refused: which one of the connection's it is, from 0, and why; said once.
    pub fn see(&mut self, mut bytes: &[u8]) -> Option<(u64, &'static str)> {
        while !self.done && !bytes.is_empty() {
            let skipped = usize::try_from(self.body).map_or(bytes.len(), |body| body.min(bytes.len()));
            self.body -= skipped as u64;
            bytes = &bytes[skipped..];
            let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                self.line.add(bytes);
                return None;
            };
            self.line.add(&bytes[..end]);
            bytes = &bytes[end + 1..];
            if let Some(why) = self.end_line() {
                self.done = true;
                return Some((self.seen, why));
            }
        }
        None
    }

    fn end_line(&mut self) -> Option<&'static str> {
        let line = std::mem::take(&mut self.line);
        let whole = line.bytes > 0 && line.last == b'\r';
        self.bare |= !whole;
        if line.bytes > usize::from(whole) {
            if self.began {
                self.header(&line);
            }
            self.began = true;
            return None;
        }
        // Blank lines before the first are nothing.
        if self.began { self.end_head() } else { None }
    }

    fn header(&mut self, line: &Line) {
        self.coded |= line.value_of("transfer-encoding").is_some();
        if let Some(value) = line.value_of("content-length") {
            let digits = std::str::from_utf8(value).ok().map(str::trim).filter(|_| line.bytes <= LINE);
            // What is no number is refused by the reader.
            self.length = Some(digits.and_then(|digits| digits.parse().ok()).unwrap_or(u64::MAX));
        }
    }

    fn end_head(&mut self) -> Option<&'static str> {
        let why = match (self.bare, self.coded && self.length.is_some()) {
            (true, _) => Some(BARE_LF),
            (_, true) => Some(BOTH_LENGTHS),
            _ => None,
        };
        if why.is_none() {
            *self = Heads { body: self.length.unwrap_or(0), done: self.coded, seen: self.seen + 1, ..Heads::default() };
        }
        why
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: &str = "POST /in HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\na\nb";

    fn seen(text: &str, cut: usize) -> Option<(u64, &'static str)> {
        let mut heads = Heads::default();
        text.as_bytes().chunks(cut.max(1)).find_map(|bytes| heads.see(bytes))
    }

    #[test]
    fn what_a_reader_elsewhere_could_take_otherwise_is_told() {
        let head = |headers: &str| format!("POST /in HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
        let both = head("Content-Length: 4\r\nTRANSFER-encoding: chunked\r\n");
        let turned = head("transfer-encoding:chunked\r\ncontent-length:4\r\n");
        for cut in [1, 2, 7, 1_000] {
            assert_eq!(seen(&both, cut), Some((0, BOTH_LENGTHS)));
            assert_eq!(seen(&turned, cut), Some((0, BOTH_LENGTHS)));
            assert_eq!(seen("POST /in HTTP/1.1\nhost: a\n\n", cut), Some((0, BARE_LF)));
            assert_eq!(seen("POST /in HTTP/1.1\r\nhost: a\nx: y\r\n\r\n", cut), Some((0, BARE_LF)));
            assert_eq!(seen(&format!("\r\n{PLAIN}{PLAIN}GET / HTTP/1.1\r\n\r\n{both}"), cut), Some((3, BOTH_LENGTHS)));
            // A body is no head, whatever it has in it; nor is what comes after chunks.
            let quoted = format!("POST /in HTTP/1.1\r\ncontent-length: {}\r\n\r\n{both}", both.len());
            assert_eq!(seen(&format!("{quoted}{PLAIN}"), cut), None);
            assert_eq!(seen(&format!("{}1\r\n\n\r\n0\r\n\r\n{both}", head("transfer-encoding: chunked\r\n")), cut), None);
            assert_eq!(seen(&head("x-content-length: 4\r\ntransfer-encoding-x: chunked\r\ncontent-length: 4\r\n"), cut), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_say_the_same(
            pieces in prop::collection::vec(prop::sample::select(vec!["\r\n", "\n", "\r", "content-length: 3", "transfer-encoding: chunked", "POST / HTTP/1.1", "a", ":"]), 0..30),
            cut in 1_usize..40,
        ) {
            let text = pieces.concat();
            prop_assert_eq!(seen(&text, cut), seen(&text, usize::MAX));
        }
    }
}
