//! One connection, line by line: writes a command, reads one whole reply, changes over to TLS.
//!
//! Never: reads more than [`REPLY_MAX`] bytes of one reply (L6), takes for an answer what came before the question: bytes that somebody
//! put behind the answer to STARTTLS end a connection before it is encrypted.

use crate::reply::Reply;
use rustls::pki_types::ServerName;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Bytes of one reply; RFC 5321 allows lines of 512, and an EHLO reply has a few dozen. A longer one breaks the connection.
const REPLY_MAX: usize = 64 << 10;

/// Why nothing more can be said on a connection.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The network.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The far side closed.
    #[error("the server closed the connection")]
    Closed,
    /// Not SMTP.
    #[error("the server does not speak SMTP: {0}")]
    NotSmtp(&'static str),
}

/// A connection to a server.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    read: Vec<u8>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Between plain and TLS; only a handshake that was dropped leaves it behind.
    Gone,
}

impl Wire {
    /// On a fresh connection, unencrypted.
    pub fn plain(stream: TcpStream) -> Self {
        Wire { stream: Stream::Plain(stream), read: Vec::new() }
    }

    /// The address at our end.
    pub fn local(&self) -> Option<std::net::IpAddr> {
        let stream = match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
            Stream::Gone => return None,
        };
        stream.local_addr().ok().map(|address| address.ip())
    }

    /// Goes on encrypted, with a server that proves the name.
    ///
    /// # Errors
    /// The handshake's error; [`refused_certificate`] tells whether the certificate was the cause.
    pub async fn encrypt(&mut self, connector: &TlsConnector, name: ServerName<'static>) -> Result<(), WireError> {
        if !self.read.is_empty() {
            return Err(WireError::NotSmtp("it says something more behind its answer to STARTTLS"));
        }
        let Stream::Plain(stream) = std::mem::replace(&mut self.stream, Stream::Gone) else {
            return Err(WireError::NotSmtp("it is encrypted already"));
        };
        self.stream = Stream::Tls(Box::new(connector.connect(name, stream).await?));
        Ok(())
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The network's.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.write_all(bytes).await?;
        self.flush().await?;
        Ok(())
    }

    /// Reads one reply, all of its lines.
    ///
    /// # Errors
    /// The network's, or what comes is no reply.
    pub async fn reply(&mut self) -> Result<Reply, WireError> {
        loop {
            if let Some((reply, used)) = parse(&self.read)? {
                self.read.drain(..used);
                return Ok(reply);
            }
            if self.read.len() >= REPLY_MAX {
                return Err(WireError::NotSmtp("its reply has no end"));
            }
            let mut chunk = [0; 4096];
            match self.read(&mut chunk).await? {
                0 => return Err(WireError::Closed),
                n => self.read.extend_from_slice(&chunk[..n]),
            }
        }
    }
}

/// One whole reply at the start of the bytes and how many it takes, if it is there.
fn parse(bytes: &[u8]) -> Result<Option<(Reply, usize)>, WireError> {
    let mut reply: Option<Reply> = None;
    let mut used = 0;
    loop {
        let Some(length) = bytes[used..].iter().position(|b| *b == b'\n') else { return Ok(None) };
        let line = String::from_utf8_lossy(&bytes[used..used + length]);
        used += length + 1;
        let line = line.trim_end_matches('\r');
        let code = line.get(..3).filter(|code| code.bytes().all(|b| b.is_ascii_digit())).and_then(|code| code.parse::<u16>().ok());
        let code = code.filter(|code| (200..600).contains(code)).ok_or(WireError::NotSmtp("its line does not begin with a code"))?;
        let reply = reply.get_or_insert(Reply { code, lines: vec![] });
        if reply.code != code {
            return Err(WireError::NotSmtp("the codes of one reply differ"));
        }
        reply.lines.push(line.get(4..).unwrap_or_default().to_owned());
        match line.as_bytes().get(3) {
            None | Some(b' ') => return Ok(Some((std::mem::replace(reply, Reply { code, lines: vec![] }), used))),
            Some(b'-') => {}
            Some(_) => return Err(WireError::NotSmtp("its line does not begin with a code")),
        }
    }
}

/// Whether the handshake failed for the server's certificate, or for TLS that we do not speak: not for the network.
pub fn refused_certificate(error: &WireError) -> bool {
    let WireError::Io(error) = error else { return false };
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>)
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
            Stream::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Gone => Poll::Ready(Ok(())),
        }
    }
}

/// The mail as it goes over the wire: lines end in CRLF, a line that begins with a dot gets another (RFC 5321, section 4.5.2).
/// The last line is ended; the final dot is not there.
pub fn stuffed(mail: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(mail.len() + mail.len() / 64 + 2);
    for line in mail.strip_suffix(b"\n").unwrap_or(mail).split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.first() == Some(&b'.') {
            out.push(b'.');
        }
        // A lone carriage return could end a line at some relay, and with it the mail.
        out.extend(line.iter().map(|b| if *b == b'\r' { b' ' } else { *b }));
        out.extend_from_slice(b"\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Option<(u16, Vec<String>, usize)>, String> {
        parse(text.as_bytes()).map(|found| found.map(|(reply, used)| (reply.code, reply.lines, used))).map_err(|e| e.to_string())
    }

    #[test]
    fn a_reply_is_read_when_all_its_lines_are_there() {
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        assert_eq!(read("250 ok\r\n"), Ok(Some((250, lines(&["ok"]), 8))));
        assert_eq!(read("250\r\n250 next\r\n"), Ok(Some((250, lines(&[""]), 5))));
        assert_eq!(read("250-a\r\n250-SIZE 9\n250 b\r\nx"), Ok(Some((250, lines(&["a", "SIZE 9", "b"]), 25))));
        for part in ["", "25", "250 ok", "250-a\r\n", "250-a\r\n250 b"] {
            assert_eq!(read(part), Ok(None), "{part}");
        }
        for wrong in ["\r\n", "hello\r\n", "2500 x\r\n", "99 x\r\n", "600 x\r\n", "250-a\r\n550 b\r\n", "éa ok\r\n", "250\u{a0}x\r\n"] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some((reply, used))) = parse(&bytes) {
                prop_assert!((200..600).contains(&reply.code) && used <= bytes.len() && !reply.lines.is_empty());
            }
        }

        #[test]
        fn no_content_ends_the_mail(mail in "[.a\r\n]{0,60}") {
            let sent = stuffed(mail.as_bytes());
            prop_assert!(sent.ends_with(b"\r\n"));
            let text = String::from_utf8(sent).unwrap();
            prop_assert!(!text.starts_with(".\r\n") && !text.contains("\r\n.\r\n"));
            let bare = text.replace("\r\n", "");
            prop_assert!(!bare.contains(['\r', '\n']));
        }
    }
}
