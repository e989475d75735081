//! The way out through a proxy: a tunnel (`CONNECT`, RFC 9110, section 9.3.6), or plain `http` handed over with its whole URL.
//!
//! From the file alone, never from the environment. Its user and password are secrets: `Debug` and errors show host and port.
//!
//! | what happens | outcome |
//! | --- | --- |
//! | it cannot be reached, or says 5xx: it cannot reach the far side | down |
//! | it wants other credentials (407; some say 401), or does not connect to that host or port (other answers) | misconfigured |

use super::url::{Url, UrlError};
use crate::Secret;
use crate::authority::percent_decoded;
use ::http::HeaderValue;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes of a proxy's answer to `CONNECT`; a longer one is no answer.
const HEAD_MAX: usize = 8 * 1024;

/// An HTTP proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    url: Url,
    credentials: Option<HeaderValue>,
    secrets: Vec<Secret>,
}

/// What is wrong with a proxy's URL. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Another scheme, or none.
    #[error("a proxy is spoken to by `http://`")]
    Scheme,
    /// Not a URL.
    #[error("this is not a proxy: it has no host, or characters that have to be percent-encoded")]
    Form,
    /// More than a host.
    #[error("a proxy is a host and a port: it has no path, no query and no `#` part")]
    Path,
    /// A user without password.
    #[error("a proxy's credentials are user and password, with a `:` between them")]
    Credentials,
}

impl Proxy {
    /// Reads `http://host:port` or `http://user:password@host:port`; in user and password `%40` is `@`, and so on.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ProxyError> {
        let rest = text.get(..7).filter(|start| start.eq_ignore_ascii_case("http://")).map(|start| &text[start.len()..]);
        let rest = rest.ok_or(ProxyError::Scheme)?;
        let (user, host) = rest.rsplit_once('@').map_or((None, rest), |(user, host)| (Some(user), host));
        let url = Url::parse(&format!("http://{host}")).map_err(|wrong| match wrong {
            UrlError::Fragment => ProxyError::Path,
            _ => ProxyError::Form,
        })?;
        let path = host.split_once('/').is_some_and(|(_, path)| !path.is_empty());
        if path || host.contains('?') {
            return Err(ProxyError::Path);
        }
        let Some(user) = user else { return Ok(Proxy { url, credentials: None, secrets: vec![] }) };
        let (user, password) = user.split_once(':').ok_or(ProxyError::Credentials)?;
        let decoded = |text| percent_decoded(text).ok_or(ProxyError::Credentials);
        let (user, password) = (decoded(user)?, decoded(password)?);
        // A user with a colon would be read as part of the password (RFC 7617).
        if user.is_empty() || user.contains(':') || [&user, &password].iter().any(|text| text.chars().any(char::is_control)) {
            return Err(ProxyError::Credentials);
        }
        let both = STANDARD.encode(format!("{user}:{password}"));
        let mut credentials = HeaderValue::from_str(&format!("Basic {both}")).map_err(|_| ProxyError::Credentials)?;
        credentials.set_sensitive(true);
        Ok(Proxy { url, credentials: Some(credentials), secrets: vec![Secret::new(both), Secret::new(password)] })
    }

    /// Where it is.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// `Proxy-Authorization`, where it wants one.
    pub(super) fn credentials(&self) -> Option<&HeaderValue> {
        self.credentials.as_ref()
    }

    /// What must never be shown, even where the far side echoes it.
    pub fn secrets(&self) -> Vec<Secret> {
        self.secrets.clone()
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.url, f)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.url)
    }
}

/// What a proxy said that is no tunnel.
#[derive(Debug)]
pub(super) enum NoTunnel {
    /// The connection to it broke, or it said something else than HTTP.
    Broken(io::Error),
    /// Its status.
    Refused(u16),
}

/// Asks for a tunnel to `authority` (`host:port`); after it the stream's next byte is the far side's.
pub(super) async fn tunnel<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    authority: &str,
    credentials: Option<&HeaderValue>,
) -> Result<(), NoTunnel> {
    let mut ask = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n").into_bytes();
    if let Some(credentials) = credentials {
        ask.extend_from_slice(b"Proxy-Authorization: ");
        ask.extend_from_slice(credentials.as_bytes());
        ask.extend_from_slice(b"\r\n");
    }
    ask.extend_from_slice(b"\r\n");
    stream.write_all(&ask).await.map_err(NoTunnel::Broken)?;
    match status(&head(stream).await.map_err(NoTunnel::Broken)?) {
        Some(200..=299) => Ok(()),
        Some(refused) => Err(NoTunnel::Refused(refused)),
        None => Err(NoTunnel::Broken(io::Error::new(io::ErrorKind::InvalidData, "what it says is not HTTP"))),
    }
}

/// The answer up to its empty line and not a byte more: what follows belongs to the far side. Byte by byte, once a connection.
async fn head<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Vec<u8>> {
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
        if head.len() == HEAD_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer has no end"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

fn status(head: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(head.split(|byte| *byte == b'\n').next()?).ok()?;
    let mut words = line.split_ascii_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next().filter(|code| code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_proxy_is_host_port_and_credentials_and_shows_the_first_two() {
        let proxy = Proxy::parse("http://shop:hush%40%3a@Proxy.example:3128/").unwrap();
        assert_eq!((proxy.url().host(), proxy.url().port()), ("proxy.example", 3128));
        let sent = proxy.credentials().unwrap();
        assert_eq!(sent.as_bytes(), format!("Basic {}", STANDARD.encode("shop:hush@:")).as_bytes());
        assert_eq!(format!("{proxy} {proxy:?} {sent:?}"), "http://Proxy.example:3128 Proxy(http://Proxy.example:3128) Sensitive");
        assert!(proxy.secrets().iter().any(|secret| secret.expose() == "hush@:"));
        assert!(Proxy::parse("http://[::1]:3128").unwrap().credentials().is_none());
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_being_quoted() {
        for (text, wrong) in [
            ("", ProxyError::Scheme),
            ("proxy.example:3128", ProxyError::Scheme),
            ("https://proxy.example", ProxyError::Scheme),
            ("socks5://hush@a", ProxyError::Scheme),
            ("http://", ProxyError::Form),
            ("http://hush:hush@", ProxyError::Form),
            ("http://a b", ProxyError::Form),
            ("http://a/hush", ProxyError::Path),
            ("http://a?hush", ProxyError::Path),
            ("http://a#hush", ProxyError::Path),
            ("http://hush@a", ProxyError::Credentials),
            ("http://:hush@a", ProxyError::Credentials),
            ("http://u%3Ax:hush@a", ProxyError::Credentials),
            ("http://u:hush%0d%0a@a", ProxyError::Credentials),
            ("http://u:hush%zz@a", ProxyError::Credentials),
        ] {
            let error = Proxy::parse(text).unwrap_err();
            assert_eq!(error, wrong, "{text}");
            assert!(!error.to_string().contains("hush"));
        }
    }

    #[test]
    fn the_status_of_an_answer_is_read_strictly() {
        for (head, expected) in [
            ("HTTP/1.1 200 Connection established\r\n\r\n", Some(200)),
            ("HTTP/1.0 407 X\r\n", Some(407)),
            ("HTTP/1.1 20\r\n", None),
            ("HTTP/1.1 2000\r\n", None),
            ("HTTP/1.1 +20\r\n", None),
            ("SSH-2.0-OpenSSH\r\n", None),
            ("\r\n\r\n", None),
        ] {
            assert_eq!(status(head.as_bytes()), expected, "{head}");
        }
    }

    #[tokio::test]
    async fn the_tunnel_takes_not_a_byte_of_the_far_side_and_its_answer_is_bounded() {
        for (said, works, left) in [
            (b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nfar side".to_vec(), true, "far side"),
            (b"HTTP/1.1 200 OK\n\nfar side".to_vec(), true, "far side"),
            (b"HTTP/1.1 403 No\r\n\r\n".to_vec(), false, ""),
            (b"HTTP/1.1 200 OK\r\n".to_vec(), false, ""),
            (vec![b'x'; HEAD_MAX + 5], false, "xxxxx"),
        ] {
            let (mut near, mut far) = tokio::io::duplex(64 * 1024);
            far.write_all(&said).await.unwrap();
            far.shutdown().await.unwrap();
            assert_eq!(tunnel(&mut near, "a.example:443", None).await.is_ok(), works);
            let mut rest = String::new();
            near.read_to_string(&mut rest).await.unwrap();
            assert_eq!(rest, left);
            drop(near);
            let mut asked = String::new();
            far.read_to_string(&mut asked).await.unwrap();
            assert_eq!(asked, "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic_and_no_credential_is_shown(text in "(http://)?[a-z%0-9:]{0,8}(:hush)?@?[a-z@:\\[\\]./?#%é -]{0,20}") {
            if let Ok(proxy) = Proxy::parse(&text) {
                let shown = format!("{proxy} {proxy:?}");
                prop_assert!(proxy.credentials().is_none() || !shown.contains(":hush"), "{}", shown);
            }
        }
    }
}
