//! Our own accept loop: connections in, each within its caps and times, each handed request by request to [`Ingest`].
//!
//! HTTP/1.1 alone. The first byte, the whole head, and the wait for the next request each have [`HEAD_WITHIN`] (the HTTP
//! reader's timer runs from the connection's first moment); bodies and answers have their own times in `body` and `handle`.

use super::answer::NoTls;
use super::handle::{Ingest, Keep, Shown};
use super::heads::Heads;
use super::room::{Caps, Place, Room};
use http::Version;
use http::header::{CONNECTION, HOST};
use http::request::Parts;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A request's head must be there by then; so must the next request on an idle connection. Else the connection is closed.
pub const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// A TLS handshake must be done by then.
pub const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Most bytes of a head that are buffered; more is answered 431.
pub const MOST_HEAD: usize = 64 << 10;
/// The pause after `accept` failed, as it does when files run out: no busy loop, back within a moment.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// After an answer to a body that was not read to its end: how long, and how many bytes, of the rest are thrown away. Closing
/// at once would reset the connection, and the sender might never see why it was refused.
const LINGER: Duration = Duration::from_secs(1);
const MOST_LINGERED: usize = 256 << 10;

/// Accepts and answers until `stop`; then accepts no more, lets what is under way end within `grace`, and closes the rest.
/// Events whose sender is gone are kept to their end before this returns.
pub async fn serve<K: Keep>(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    ingest: Arc<Ingest<K>>,
    caps: Caps,
    stop: CancellationToken,
    grace: Duration,
) {
    let shared = Arc::new(Shared { ingest, http: http(), tls: tls.map(TlsAcceptor::from), stop, cut: CancellationToken::new() });
    let (room, open) = (Room::new(caps), TaskTracker::new());
    while let Some((socket, peer)) = accept(&listener, &room, &shared.stop).await {
        let trusted = shared.ingest.sources().limits.trusts(peer.ip().to_canonical());
        let Some(place) = room.enter(peer.ip(), trusted) else {
            tracing::debug!(%peer, "closed: too many connections of this address");
            continue;
        };
        let shared = Arc::clone(&shared);
        open.spawn(async move {
            let cut = shared.cut.clone();
            tokio::select! {
                biased;
                () = cut.cancelled() => {}
                () = shared.connection(socket, peer, &place) => {}
            }
        });
    }
    drop(listener);
    open.close();
    if timeout(grace, open.wait()).await.is_err() {
        tracing::warn!(connections = open.len(), "closed after the grace period");
        shared.cut.cancel();
        open.wait().await;
    }
    shared.ingest.settled().await;
}

/// Answers one connection that is no socket, with the listener's own limits and times: what tests and fuzzing speak to.
pub async fn converse<K: Keep>(stream: impl AsyncRead + AsyncWrite + Unpin, peer: SocketAddr, ingest: Arc<Ingest<K>>) {
    let shared = Shared { ingest, http: http(), tls: None, stop: CancellationToken::new(), cut: CancellationToken::new() };
    if let Some(place) = Room::new(Caps::default()).enter(peer.ip(), false) {
        shared.requests(stream, peer, None, &place).await;
    }
}

/// The next connection once there is room for it; `None` when it is time to stop.
async fn accept(listener: &TcpListener, room: &Room, stop: &CancellationToken) -> Option<(TcpStream, SocketAddr)> {
    let next = async {
        room.settled().await;
        loop {
            match listener.accept().await {
                Ok(accepted) => return accepted,
                Err(wrong) => {
                    tracing::warn!("cannot accept a connection: {wrong}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        accepted = next => Some(accepted),
    }
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    // The reader's own bound of 100 headers stays: naming it would cost an allocation a request.
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(MOST_HEAD);
    // Who has said all may close its half and wait for the answer.
    http.half_close(true);
    http
}

struct Shared<K> {
    ingest: Arc<Ingest<K>>,
    http: http1::Builder,
    tls: Option<TlsAcceptor>,
    /// No new requests.
    stop: CancellationToken,
    /// The grace is over.
    cut: CancellationToken,
}

impl<K: Keep> Shared<K> {
    async fn connection(&self, socket: TcpStream, peer: SocketAddr, place: &Place) {
        // An answer is one small packet that nothing follows.
        let _ = socket.set_nodelay(true);
        match &self.tls {
            None => self.requests(socket, peer, None, place).await,
            // In a box: a handshake's state is 5 KiB, which every plain connection would hold too.
            Some(acceptor) => Box::pin(self.secured(acceptor, socket, peer, place)).await,
        }
    }

    async fn secured(&self, acceptor: &TlsAcceptor, socket: TcpStream, peer: SocketAddr, place: &Place) {
        let shaken = tokio::select! {
            biased;
            shaken = timeout(HANDSHAKE_WITHIN, acceptor.accept(socket)) => shaken,
            () = place.asked_to_leave() => return made_room(peer),
        };
        match shaken {
            Ok(Ok(stream)) => {
                let certificates = stream.get_ref().1.peer_certificates();
                let shown = certificates.and_then(|shown| shown.first()).map(|shown| Shown(shown.as_ref().into()));
                self.requests(stream, peer, shown, place).await;
            }
            Ok(Err(wrong)) => {
                tracing::debug!(%peer, "no TLS: {wrong}");
                if let Some(why) = NoTls::of(&wrong) {
                    self.ingest.not_tls(why, peer.ip());
                }
            }
            Err(_) => {
                tracing::debug!(%peer, "no TLS: the handshake took too long");
                self.ingest.not_tls(NoTls::TooSlow, peer.ip());
            }
        }
    }

    /// Answers the requests of one connection, one after the other.
    async fn requests<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, peer: SocketAddr, shown: Option<Shown>, place: &Place) {
        let (known, asked) = (Arc::new(Known::default()), AtomicU64::new(0));
        let service = service_fn(|request: http::Request<Incoming>| {
            let (known, shown) = (&known, &shown);
            let nth = asked.fetch_add(1, Ordering::Relaxed);
            async move {
                let (mut parts, body) = request.into_parts();
                if let Some(shown) = shown {
                    parts.extensions.insert(shown.clone());
                }
                let response = match known.refused(nth).or_else(|| without_host(&parts)) {
                    Some(why) => self.ingest.refuse_framing(&parts, why, peer),
                    None => self.ingest.handle(parts, place.watch(body), peer).await,
                };
                place.answered();
                if response.headers().contains_key(CONNECTION) {
                    known.unread.store(true, Ordering::Relaxed);
                }
                Ok::<_, Infallible>(response)
            }
        });
        let stream = Lingering { stream, place, known: Arc::clone(&known), heads: Heads::default(), left: MOST_LINGERED, until: None };
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            () = place.asked_to_leave() => {
                if place.waits() {
                    return made_room(peer);
                }
                // A whole request came in the same moment.
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(wrong) = ended {
            // Its own words may quote what came; these do not.
            if wrong.is_parse() {
                let what = if wrong.is_parse_too_large() { "the head is too large" } else { "the head cannot be read" };
                self.ingest.not_http(what, peer.ip());
            }
            tracing::debug!(%peer, "connection ended: {wrong}");
        }
    }
}

fn made_room(peer: SocketAddr) {
    tracing::debug!(%peer, "closed: it waited, and made room for another");
}

/// Why a request is for nobody: HTTP/1.1 has one `Host` (RFC 9112, section 3.2).
fn without_host(parts: &Parts) -> Option<&'static str> {
    let hosts = || parts.headers.get_all(HOST).iter().count();
    (parts.version == Version::HTTP_11 && hosts() != 1).then_some("it has no `Host`, or several")
}

/// What the two sides of a connection's HTTP reader tell each other.
#[derive(Debug, Default)]
struct Known {
    /// An answer was given to a request that was not read to its end.
    unread: AtomicBool,
    /// Which of its requests came in bytes that have a second meaning, and why.
    ambiguous: OnceLock<(u64, &'static str)>,
}

impl Known {
    fn refused(&self, nth: u64) -> Option<&'static str> {
        self.ambiguous.get().filter(|(which, _)| *which == nth).map(|(_, why)| *why)
    }
}

/// A stream that, where a request was not read to its end, throws some of the rest away before it closes. It tells the connection's place when
/// an answer is sent.
struct Lingering<'a, S> {
    stream: S,
    place: &'a Place,
    known: Arc<Known>,
    heads: Heads,
    left: usize,
    until: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Lingering<'_, S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if let Some(found) = self.heads.see(&buffer.filled()[before..]) {
            // It is said once.
            let _ = self.known.ambiguous.set(found);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }
    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        self.place.sent();
        Poll::Ready(flushed)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.until.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if !this.known.unread.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
        }
        let until = this.until.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut scratch = [0; 4096];
        while this.left > 0 && until.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => this.left = this.left.saturating_sub(buffer.filled().len()),
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
