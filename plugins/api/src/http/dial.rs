//! Opens one connection: looks up, judges, connects to what was judged, through the proxy where there is one, TLS, HTTP.
//!
//! | to | without a proxy | with a proxy |
//! | --- | --- | --- |
//! | a host of the file | resolved here, judged, pinned | its name is given to the proxy, which resolves; metadata's names and addresses are refused here |
//! | a host of an event | resolved here, judged, pinned | resolved here, judged, and a tunnel to that very address asked for, so that nobody resolves twice |
//!
//! `https`, `http: 2` and hosts of events go through a tunnel; else `http` is handed to the proxy with its whole URL,
//! each request on a connection of its own.

use super::error::CallError;
use super::pool::Link;
use super::proxy::{NoTunnel, Proxy, tunnel};
use super::two::Shared;
use super::url::Url;
use super::version::Version;
use crate::egress::{Decided, Egress, NoAddress, Refused, names_metadata};
use crate::tls::{Tls, TlsError, plain, server_name};
use futures_util::FutureExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A connection that was just opened.
pub(super) enum Opened {
    /// HTTP/1.1: one call at a time.
    One(Link),
    /// HTTP/2: many.
    Two(Arc<Shared>),
}

/// How connections of one output are opened.
#[derive(Debug)]
pub(super) struct Dialer {
    /// Set at once, or at the first `https` with what the system believes.
    pub(super) tls: OnceLock<Tls>,
    pub(super) proxy: Option<Proxy>,
    pub(super) version: Version,
    pub(super) egress: Egress,
    /// What one connection may take, shared by the addresses of a name.
    pub(super) within: Duration,
}

impl Dialer {
    /// Whether plain requests are handed to the proxy with their whole URL.
    pub(super) fn forwards(&self, url: &Url, decided: Decided) -> Option<&Proxy> {
        let tunnels = url.is_https() || self.version == Version::Two || decided == Decided::ByEvent;
        self.proxy.as_ref().filter(|_| !tunnels)
    }

    /// Whether a connection to there may turn out to be HTTP/2.
    pub(super) fn may_be_shared(&self, url: &Url) -> bool {
        self.version == Version::Two || (self.version == Version::Auto && url.is_https())
    }

    /// Opens one.
    pub(super) async fn open(&self, url: &Url, decided: Decided) -> Result<Opened, CallError> {
        let stream = self.stream(url, decided).await?;
        if !url.is_https() {
            return if self.version == Version::Two { two(url, stream).await } else { one(url, stream).await };
        }
        let refused = |cause: String| CallError::Tls { host: url.host().to_owned(), cause };
        let name = server_name(url.host()).ok_or_else(|| refused("its name is not one that a certificate can bear".into()))?;
        let connector = self.tls(&refused)?.connector().await.map_err(|wrong| unusable(&wrong))?;
        match connector.connect(name, stream).await {
            Ok(stream) => match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => two(url, stream).await,
                _ if self.version == Version::Two => Err(no_two(url, "its TLS offers no HTTP/2")),
                _ => one(url, stream).await,
            },
            // rustls says what it refuses as invalid data; anything else is the network's.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(refused(plain(&error))),
            Err(error) => Err(CallError::not_connected(url, format!("it hung up during the TLS handshake: {error}"))),
        }
    }

    fn tls(&self, refused: &impl Fn(String) -> CallError) -> Result<&Tls, CallError> {
        if self.tls.get().is_none() {
            let system = Tls::of_system(Version::Auto.protocols()).map_err(|e| refused(e.to_string()))?;
            // Whoever else set it meanwhile set the same.
            let _ = self.tls.set(system);
        }
        self.tls.get().ok_or_else(|| refused("no TLS was set up".into()))
    }

    /// A stream whose other end is the far side, or the proxy that requests are handed to.
    async fn stream(&self, url: &Url, decided: Decided) -> Result<TcpStream, CallError> {
        let Some(proxy) = &self.proxy else {
            let addresses = self.addresses(url, decided).await?;
            return self.tcp(&addresses).await.map_err(|cause| CallError::not_connected(url, cause));
        };
        let goal = match decided {
            Decided::ByFile if names_metadata(url.host()) => return Err(refused(url, Refused::Metadata)),
            Decided::ByFile => url.host_and_port(),
            Decided::ByEvent => {
                let judged = self.addresses(url, decided).await?;
                judged.first().map(SocketAddr::to_string).ok_or_else(|| CallError::not_connected(url, "it has no address".into()))?
            }
        };
        let down = |cause: String| CallError::Proxy { proxy: proxy.to_string(), cause };
        let addresses = self.addresses(proxy.url(), Decided::ByFile).await.map_err(|error| down(error.to_string()))?;
        let mut stream = self.tcp(&addresses).await.map_err(|cause| down(format!("no connection to it: {cause}")))?;
        if self.forwards(url, decided).is_some() {
            return Ok(stream);
        }
        match tunnel(&mut stream, &goal, proxy.credentials()).await {
            Ok(()) => Ok(stream),
            Err(NoTunnel::Broken(error)) => Err(down(format!("it gives no tunnel to `{}`: {error}", url.host()))),
            Err(NoTunnel::Refused(status @ (401 | 407))) => {
                let cause = format!("it refuses our user and password ({status}): set `proxy: http://USER:PASSWORD@…`");
                Err(CallError::ProxyRefuses { proxy: proxy.to_string(), cause })
            }
            Err(NoTunnel::Refused(status @ 500..)) => Err(down(format!("it cannot connect to `{}` ({status})", url.host()))),
            Err(NoTunnel::Refused(status)) => {
                let cause = format!("it does not connect to `{}` port {} ({status})", url.host(), url.port());
                Err(CallError::ProxyRefuses { proxy: proxy.to_string(), cause })
            }
        }
    }

    async fn addresses(&self, url: &Url, decided: Decided) -> Result<Vec<SocketAddr>, CallError> {
        self.egress.addresses(url.host(), url.port(), decided).await.map_err(|error| match error {
            NoAddress::Unknown(cause) => CallError::Dns { host: url.host().to_owned(), cause },
            NoAddress::Refused(why) => refused(url, why),
        })
    }

    /// Tries each address in turn, each with its share of the time.
    async fn tcp(&self, addresses: &[SocketAddr]) -> Result<TcpStream, String> {
        let share = self.within / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        let mut error = String::from("it has no address");
        for address in addresses {
            match tokio::time::timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Without it a small second write would wait for an acknowledgement; a socket that cannot is still one.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(cause)) => error = cause.to_string(),
                Err(_) => error = format!("nothing within {share:?}"),
            }
        }
        Err(error)
    }
}

async fn one<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(url: &Url, io: T) -> Result<Opened, CallError> {
    let handshake = http1::handshake(TokioIo::new(io)).await;
    let (sender, connection) = handshake.map_err(|e| CallError::not_connected(url, super::chain(&e)))?;
    // How it ends is the caller's to hear, by the sender.
    Ok(Opened::One(Link::new(sender, connection.map(drop).boxed())))
}

async fn two<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(url: &Url, io: T) -> Result<Opened, CallError> {
    match Shared::open(io).await {
        Ok(shared) => Ok(Opened::Two(shared)),
        Err(error) => Err(match error.get_io() {
            // rustls': here a far side says that it does not want our certificate.
            Some(io) if io.kind() == io::ErrorKind::InvalidData => CallError::Tls { host: url.host().to_owned(), cause: plain(io) },
            Some(io) => CallError::not_connected(url, io.to_string()),
            // It closed, or said that it is about to.
            None if error.reason() == Some(h2::Reason::NO_ERROR) => CallError::not_connected(url, "it hung up at once".into()),
            None if error.is_remote() => CallError::not_connected(url, super::chain(&error)),
            None => no_two(url, &super::chain(&error)),
        }),
    }
}

fn no_two(url: &Url, cause: &str) -> CallError {
    CallError::Version { host: url.host().to_owned(), cause: cause.to_owned() }
}

fn refused(url: &Url, why: Refused) -> CallError {
    CallError::Refused { host: url.host().to_owned(), cause: why.to_string() }
}

fn unusable(wrong: &TlsError) -> CallError {
    CallError::Files { cause: wrong.to_string() }
}
