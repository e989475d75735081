//! Lines of bounded length from a pipe.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes read at a time.
const CHUNK: usize = 16 << 10;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A line without its end; the last one may have had none.
    Line(Vec<u8>),
    /// The begin of a line that is longer than the bound. The rest of it is skipped.
    TooLong(Vec<u8>),
    /// The other side closed.
    End,
}

/// Reads lines; holds at most the bound and one chunk (L6). Nothing is lost where [`next`](Self::next) is dropped.
#[derive(Debug)]
pub struct Lines<R> {
    from: R,
    most: usize,
    read: Vec<u8>,
    /// Bytes of `read` that hold no line end.
    seen: usize,
    /// Inside a line that was too long.
    skipping: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Lines of at most so many bytes.
    pub fn new(from: R, most: usize) -> Self {
        Lines { from, most, read: vec![], seen: 0, skipping: false }
    }

    /// The next line.
    pub async fn next(&mut self) -> io::Result<Next> {
        loop {
            let end = self.read.iter().skip(self.seen).position(|byte| *byte == b'\n').map(|at| self.seen + at);
            if let Some(end) = end {
                let mut line: Vec<u8> = self.read.drain(..=end).collect();
                line.pop();
                self.seen = 0;
                if std::mem::take(&mut self.skipping) {
                    continue;
                }
                return Ok(self.bounded(line));
            }
            self.seen = self.read.len();
            if self.read.len() > self.most {
                let mut begin = self.cut();
                begin.truncate(self.most);
                if !std::mem::replace(&mut self.skipping, true) {
                    return Ok(Next::TooLong(begin));
                }
            }
            self.read.reserve(CHUNK);
            if self.from.read_buf(&mut self.read).await? == 0 {
                let rest = self.cut();
                let skipped = std::mem::take(&mut self.skipping);
                return Ok(if rest.is_empty() || skipped { Next::End } else { self.bounded(rest) });
            }
        }
    }

    /// One byte over the bound is kept: it says that the line is too long.
    fn cut(&mut self) -> Vec<u8> {
        self.seen = 0;
        let mut begin = std::mem::take(&mut self.read);
        begin.truncate(self.most + 1);
        begin
    }

    fn bounded(&self, mut line: Vec<u8>) -> Next {
        if line.len() > self.most {
            line.truncate(self.most);
            return Next::TooLong(line);
        }
        Next::Line(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives a few bytes at a time.
    struct Drops<'a>(&'a [u8], usize);

    impl AsyncRead for Drops<'_> {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            let count = self.0.len().min(self.1).min(buffer.remaining());
            let (now, later) = self.0.split_at(count);
            buffer.put_slice(now);
            self.0 = later;
            std::task::Poll::Ready(Ok(()))
        }
    }

    fn all(bytes: &[u8], at_a_time: usize, most: usize) -> Vec<Next> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut lines = Lines::new(Drops(bytes, at_a_time), most);
            let mut found = vec![];
            loop {
                match lines.next().await.unwrap() {
                    Next::End => return found,
                    next => found.push(next),
                }
            }
        })
    }

    proptest! {
        #[test]
        fn lines_are_those_of_the_whole_text(text in "([a-c]{0,9}\n){0,5}[a-c]{0,9}", at_a_time in 1..20_usize, most in 1..8_usize) {
            let short = |line: &str| match line.as_bytes().get(..most) {
                Some(begin) if line.len() > most => Next::TooLong(begin.to_vec()),
                _ => Next::Line(line.as_bytes().to_vec()),
            };
            prop_assert_eq!(all(text.as_bytes(), at_a_time, most), text.lines().map(short).collect::<Vec<_>>());
        }
    }
}
