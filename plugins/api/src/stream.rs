//! A TCP or TLS connection for outputs that do not speak HTTP: its address from the file, whom it believes, how it is opened.
//!
//! Never: skips a check of a certificate, shows a user or password (L7), tries twice.

mod kept;

pub use kept::{Kept, hear};

use crate::authority::{WrongPlace, host_and_port, percent_decoded};
use crate::egress::{Decided, Egress, NoAddress, Refused, names_metadata};
use crate::tls::{Tls, TlsError, TlsFiles, TlsSettings, is_refusal, plain, server_name};
use crate::{At, Kit, Outcome, Printable, Problem, Secret, Span};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// What connecting may take at most, handshake included.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);

/// What connecting may take of an attempt that may take `timeout` ([`Kit::timeout`]), greeting and login included: half of it, and at
/// most [`CONNECT_MAX`]. A far side that says nothing is then known to be down before the host gives the attempt up and counts it.
pub fn connecting(timeout: Duration) -> Duration {
    CONNECT_MAX.min(timeout / 2)
}

/// So long a new connection waits for the far side's refusal of who we are: what is sent before it would be taken for delivered,
/// or make the far side reset the connection, and the refusal is lost. One that takes longer is heard later, if at all.
pub const REFUSAL_MAX: Duration = Duration::from_millis(250);

/// The two schemes of a protocol: its word and port without TLS, and with it.
#[derive(Debug, Clone, Copy)]
pub struct Schemes {
    /// Without TLS.
    pub plain: (&'static str, u16),
    /// With TLS.
    pub tls: (&'static str, u16),
}

/// Where a far side is and who we are there, from `scheme://user:password@host:port/path`.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Name or number, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The user, percent-decoded.
    pub user: Option<String>,
    /// The password, percent-decoded.
    pub password: Option<Secret>,
    /// What stands behind the `/`, percent-decoded; `None` without a `/`.
    pub path: Option<String>,
}

/// Why a URL is no address. `Display` never shows the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No `scheme://host`.
    #[error("this is not a URL with a host")]
    NoUrl,
    /// Another protocol's.
    #[error("this URL is another protocol's")]
    Scheme,
    /// Port 0 or above 65535.
    #[error("the port of this URL is not a number from 1 to 65535")]
    Port,
    /// `%` without two hexadecimal digits, or bytes that are not UTF-8.
    #[error("a `%` in this URL is not followed by two hexadecimal digits, or what it writes is no text")]
    Percent,
    /// `?` or `#`.
    #[error("this URL has a `?` or `#`: neither means anything here")]
    Query,
}

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(url: &str, schemes: Schemes) -> Result<Self, AddressError> {
        let (scheme, rest) = url.split_once("://").ok_or(AddressError::NoUrl)?;
        let (tls, usual) = match scheme.to_ascii_lowercase() {
            s if s == schemes.plain.0 => (false, schemes.plain.1),
            s if s == schemes.tls.0 => (true, schemes.tls.1),
            _ => return Err(AddressError::Scheme),
        };
        if rest.contains(['?', '#']) {
            return Err(AddressError::Query);
        }
        let (authority, path) = rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
        let (login, place) = authority.rsplit_once('@').map_or((None, authority), |(login, place)| (Some(login), place));
        let (user, password) = login.map_or((None, None), |login| match login.split_once(':') {
            Some((user, password)) => (Some(user), Some(password)),
            None => (Some(login), None),
        });
        let (host, port) = split_place(place)?;
        Ok(Address {
            tls,
            host,
            port: port.unwrap_or(usual),
            user: user.filter(|user| !user.is_empty()).map(decode).transpose()?,
            password: password.map(decode).transpose()?.map(Secret::new),
            path: path.map(decode).transpose()?,
        })
    }

    /// [`parse`](Self::parse) for `validate`: the address, or what is wrong, at its place, with a URL to paste.
    pub fn judge(url: &At<Secret>, schemes: Schemes) -> Result<Self, Vec<Problem>> {
        let address = Address::parse(url.value.expose(), schemes).map_err(|wrong| {
            let ((plain, port), (tls, tls_port)) = (schemes.plain, schemes.tls);
            let help = format!(
                "write `{plain}://host:{port}`, or `{tls}://host:{tls_port}` with TLS; a user and password go before the host: `{tls}://user:${{PASSWORD}}@host`"
            );
            vec![Problem::error("bad-url", url.span, wrong.to_string(), "here").help(help)]
        })?;
        let problem = refused_host(&address.host, url.span);
        problem.map_or(Ok(address), |problem| Err(vec![problem]))
    }

    /// What is wrong with the keys `ca` and `tls` beside this address.
    pub fn judge_tls(&self, ca: Option<&Path>, tls: Option<&At<TlsSettings>>, schemes: Schemes) -> Vec<Problem> {
        let unused = (!self.tls).then_some(schemes.tls.0);
        tls.map(|tls| TlsSettings::judge(tls, ca.is_some(), unused)).unwrap_or_default()
    }

    /// What connections to it are encrypted with; `None` without TLS. Reads the files that `ca` and `tls` name.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn encryption(&self, ca: Option<&Path>, tls: Option<&At<TlsSettings>>, kit: &Kit) -> Result<Option<Tls>, TlsError> {
        let files = || TlsFiles::of(ca, tls.map(|tls| &tls.value), &kit.base);
        self.tls.then(|| Tls::load(files(), vec![], kit.wall.clone(), kit.roots.clone())).transpose()
    }
}

/// What `check` says of a host that no output may reach, whatever speaks to it: a cloud's metadata service.
pub fn refused_host(host: &str, at: Span) -> Option<Problem> {
    names_metadata(host).then(|| {
        let title = format!("`{}` {}", Printable(host), Refused::Metadata);
        Problem::error("metadata-url", at, title, "it gives this machine's credentials to whoever asks").help("name another host")
    })
}

/// Host and port, as a person may see them.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let brackets = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{}{}{}:{}", brackets.0, self.host, brackets.1, self.port)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self}{})", if self.tls { ", tls" } else { "" })
    }
}

fn decode(text: &str) -> Result<String, AddressError> {
    percent_decoded(text).ok_or(AddressError::Percent)
}

fn split_place(place: &str) -> Result<(String, Option<u16>), AddressError> {
    let (host, port) = host_and_port(place).map_err(|wrong| match wrong {
        WrongPlace::Form => AddressError::NoUrl,
        WrongPlace::Port => AddressError::Port,
    })?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    if host.is_empty() || !host.chars().all(is_name) { Err(AddressError::NoUrl) } else { Ok((host.to_owned(), port)) }
}

/// A connection, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Why there is no connection: nothing has left yet.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No address, refused, reset.
    #[error("no connection to {to}: {cause}")]
    Connect {
        /// Host and port.
        to: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// It must not be reached.
    #[error("{to} {why}")]
    Refused {
        /// Host and port.
        to: String,
        /// Why.
        why: Refused,
    },
    /// TLS did not come about.
    #[error("no TLS with {to}: {}", plain(cause))]
    Tls {
        /// Host and port.
        to: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// Our certificates cannot be used.
    #[error(transparent)]
    Files(#[from] TlsError),
    /// Not within [`CONNECT_MAX`], or what was left of the attempt.
    #[error("no connection to {to} within {after:?}")]
    Silent {
        /// Host and port.
        to: String,
        /// So long was waited.
        after: Duration,
    },
}

impl DialError {
    /// Down; where the certificate is refused, misconfigured.
    pub fn outcome(&self) -> Outcome {
        let why = self.to_string();
        match self {
            DialError::Tls { cause, .. } if is_refusal(cause) => Outcome::Misconfigured { why, after: None },
            DialError::Files(_) | DialError::Refused { .. } => Outcome::Misconfigured { why, after: None },
            _ => Outcome::Down { why, after: None },
        }
    }
}

/// Opens a connection, within `most` and [`CONNECT_MAX`]; with `tls` encrypted.
///
/// # Errors
/// Why there is none; nothing has left yet.
pub async fn dial(address: &Address, tls: Option<&Tls>, most: Duration) -> Result<Box<dyn Stream>, DialError> {
    let most = most.min(CONNECT_MAX);
    let to = address.to_string();
    tokio::time::timeout(most, open(address, tls)).await.unwrap_or(Err(DialError::Silent { to, after: most }))
}

/// The addresses of a host that the file names; for whoever connects by other means than [`dial`].
///
/// # Errors
/// It has none, or one that no output may reach.
pub async fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, NoAddress> {
    Egress::default().addresses(host, port, Decided::ByFile).await
}

async fn open(address: &Address, tls: Option<&Tls>) -> Result<Box<dyn Stream>, DialError> {
    let to = || address.to_string();
    // Before the connection: what is wrong with our own files is no matter of the network.
    let connector = match tls {
        Some(tls) => Some(tls.connector().await?),
        None => None,
    };
    let found = addresses(&address.host, address.port).await.map_err(|why| match why {
        NoAddress::Refused(why) => DialError::Refused { to: to(), why },
        NoAddress::Unknown(_) => DialError::Connect { to: to(), cause: io::Error::other(why) },
    })?;
    let tcp = TcpStream::connect(&found[..]).await.map_err(|cause| DialError::Connect { to: to(), cause })?;
    // Small messages must not wait for the far side's acknowledgement of the one before.
    tcp.set_nodelay(true).map_err(|cause| DialError::Connect { to: to(), cause })?;
    let Some(connector) = connector else { return Ok(Box::new(tcp)) };
    let refused = |cause: io::Error| DialError::Tls { to: to(), cause };
    let name = server_name(&address.host).ok_or_else(|| refused(io::Error::other("no certificate can bear this name")))?;
    let mut stream = connector.connect(name, tcp).await.map_err(refused)?;
    // Whoever says nothing by then has believed us, or is far away and will say so later.
    tokio::time::timeout(REFUSAL_MAX, hear_refusal(&mut stream)).await.unwrap_or(Ok(())).map_err(refused)?;
    Ok(Box::new(stream))
}

/// Ends once the far side has said whether it believes who we are. In TLS 1.2 that is part of the handshake. In TLS 1.3 it comes
/// after our half of it: a refusal, or the tickets of a session that most servers give (RFC 8446, 4.6.1). Takes nothing of what it sends.
async fn hear_refusal(stream: &mut TlsStream<TcpStream>) -> io::Result<()> {
    if stream.get_ref().1.protocol_version() != Some(rustls::ProtocolVersion::TLSv1_3) {
        return Ok(());
    }
    let heard = std::future::poll_fn(|context| {
        let read = Pin::new(&mut *stream).poll_fill_buf(context).map_ok(<[u8]>::len);
        if read.is_pending() && stream.get_ref().1.tls13_tickets_received() > 0 { Poll::Ready(Ok(1)) } else { read }
    });
    match heard.await {
        Ok(0) => Err(closed_at_once()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(closed_at_once()),
        heard => heard.map(drop),
    }
}

/// What is said of a far side that leaves after the handshake without a word of why.
pub fn closed_at_once() -> io::Error {
    io::Error::other("it closed the connection at once: it may want a certificate that it believes, set with `tls: { cert, key }`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Span;
    use crate::problem::Severity;
    use proptest::prelude::*;

    const REDIS: Schemes = Schemes { plain: ("redis", 6379), tls: ("rediss", 6380) };

    #[test]
    fn an_address_is_read_with_its_login_decoded() {
        let address = Address::parse("REDISS://a%40b:p%3Aw@[::1]:7/0", REDIS).unwrap();
        assert_eq!((address.tls, address.host.as_str(), address.port), (true, "::1", 7));
        assert_eq!(
            (address.user.as_deref(), address.password, address.path.as_deref()),
            (Some("a@b"), Some(Secret::new("p:w")), Some("0"))
        );
        let address = Address::parse("redis://:pw@h", REDIS).unwrap();
        assert_eq!((address.tls, address.user, address.port, address.path), (false, None, 6379, None));
        for (url, wrong) in [
            ("", AddressError::NoUrl),
            ("redis://", AddressError::NoUrl),
            ("redis://a b", AddressError::NoUrl),
            ("redis://[::1", AddressError::NoUrl),
            ("redis://[::1]x", AddressError::NoUrl),
            ("http://a", AddressError::Scheme),
            ("redis://a:0", AddressError::Port),
            ("redis://a:x", AddressError::Port),
            ("redis://%4@a", AddressError::Percent),
            ("redis://%ff@a", AddressError::Percent),
            ("redis://a/?x", AddressError::Query),
        ] {
            assert_eq!(Address::parse(url, REDIS), Err(wrong), "{url}");
        }
    }

    #[test]
    fn certificates_are_judged_beside_the_address() {
        let found = |url: &str, ca: Option<&str>, tls: TlsSettings| {
            let tls = At { span: Span { start: 5, end: 6 }, value: tls };
            let problems = Address::parse(url, REDIS).unwrap().judge_tls(ca.map(Path::new), Some(&tls), REDIS);
            problems.into_iter().map(|problem| (problem.id, problem.at.start, problem.severity)).collect::<Vec<_>>()
        };
        let whole = TlsSettings { ca: Some("ca".into()), cert: Some("cert".into()), key: Some("key".into()) };
        let half = TlsSettings { key: None, ..whole.clone() };
        assert_eq!(found("rediss://a", None, whole.clone()), []);
        assert_eq!(found("rediss://a", Some("ca"), half), [("half-certificate", 5, Severity::Error), ("two-cas", 5, Severity::Error)]);
        assert_eq!(found("rediss://a", None, TlsSettings::default()), [("empty-tls", 5, Severity::Error)]);
        assert_eq!(found("redis://a", None, whole), [("tls-unused", 5, Severity::Warning)]);
    }

    #[test]
    fn a_problem_says_what_to_write_and_shows_no_password() {
        let url = At { span: Span { start: 3, end: 9 }, value: Secret::new("redis://u:hush@a:x") };
        let [problem] = Address::judge(&url, REDIS).unwrap_err().try_into().unwrap();
        assert_eq!((problem.id, problem.at.start), ("bad-url", 3));
        assert!(problem.help.as_deref().is_some_and(|help| help.contains("rediss://host:6380")));
        let address = Address::parse("redis://u:hush@a", REDIS).unwrap();
        assert!(!format!("{problem:?} {address:?} {address}").contains("hush"));
    }

    proptest! {
        #[test]
        fn whatever_is_written_never_panics_and_never_leaves_the_host_open(url in "(redis://)?[a-z0-9@:/%\\[\\]?# .\u{e4}]{0,30}") {
            if let Ok(address) = Address::parse(&url, REDIS) {
                prop_assert!(!address.host.is_empty() && !address.host.contains(['@', '/', '%', ' ']));
            }
        }
    }

    #[tokio::test]
    async fn a_clouds_metadata_service_is_told_by_check_and_never_reached() {
        for host in ["169.254.169.254", "0xa9fea9fe", "[::ffff:169.254.169.254]", "metadata.google.internal"] {
            let url = At { span: Span { start: 3, end: 9 }, value: Secret::new(format!("redis://u:hush@{host}")) };
            let [problem] = Address::judge(&url, REDIS).unwrap_err().try_into().unwrap();
            assert_eq!((problem.id, problem.at.start, problem.title.contains("hush")), ("metadata-url", 3, false));
            let address = Address::parse(url.value.expose(), REDIS).unwrap();
            let outcome = dial(&address, None, CONNECT_MAX).await.err().unwrap().outcome();
            assert!(outcome.word() == "misconfigured" && outcome.text().contains("metadata service"), "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_down_and_no_tls_there_is_misconfigured() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = Address::parse(&format!("rediss://localhost:{port}"), REDIS).unwrap();
        let config = Tls::of_system(vec![]).unwrap();
        let speaks_plainly = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut socket, b"220 hello, no TLS here\r\n").await.unwrap();
            socket
        };
        let (refused, _socket) = tokio::join!(dial(&address, Some(&config), CONNECT_MAX), speaks_plainly);
        let outcome = refused.err().unwrap().outcome();
        assert!(outcome.word() == "misconfigured" && outcome.text().contains("it speaks no TLS there"), "{outcome:?}");
        drop(listener);
        let outcome = dial(&address, None, CONNECT_MAX).await.err().unwrap().outcome();
        assert_eq!(outcome.word(), "down", "{outcome:?}");
    }
}
