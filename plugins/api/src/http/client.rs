//! Carries one request to one far side over kept connections, and says how far it came.
//!
//! Never: repeats a request of which a byte may have left, follows a redirect, reads more than [`Limits::answer`] of an
//! answer. A kept connection that the far side closed before it took the request costs nothing: the request goes out on a
//! fresh one. Connections are the output's own, so no output waits for another (L3). Proven below and by
//! `plugins/http/tests/real.rs`.

use super::answer::Answer;
use super::pool::{Link, Pool};
use super::tls::{Tls, server_name};
use super::url::Url;
use crate::Outcome;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// What is sent. Its URI is the path and query alone; [`Client::call`] adds `Host`.
pub type Request = ::http::Request<Full<Bytes>>;

/// The bounds of a client.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Looking up, connecting and TLS together; then the far side counts as down.
    pub connect: Duration,
    /// One whole attempt, connecting included; then what is known is said.
    pub whole: Duration,
    /// Bytes kept of an answer's body; beyond it the rest is not read and the connection closed.
    pub answer: usize,
    /// Idle connections kept; more are closed.
    pub max_idle: usize,
    /// How long an idle connection is kept.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connect: Duration::from_secs(5),
            whole: Duration::from_secs(10),
            answer: 16 * 1024,
            max_idle: 256,
            idle: Duration::from_secs(30),
        }
    }
}

/// How far a request came that has no answer. `Display` is one line without secrets.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The name has no address.
    #[error("the name `{host}` cannot be resolved: {cause}")]
    Dns {
        /// The name.
        host: String,
        /// What the system said.
        cause: String,
    },
    /// No connection; nothing was sent.
    #[error("no connection to `{host}:{port}`: {cause}")]
    Connect {
        /// To whom.
        host: String,
        /// At which port.
        port: u16,
        /// What the system said.
        cause: String,
    },
    /// Who answered is not whom we want, or speaks no TLS that we speak; nothing was sent.
    #[error("TLS with `{host}` is refused: {cause}")]
    Tls {
        /// With whom.
        host: String,
        /// Why.
        cause: String,
    },
    /// The request may have arrived, and no answer was heard.
    #[error("sent, but the connection to `{host}` broke before an answer: {cause}")]
    Lost {
        /// To whom.
        host: String,
        /// What happened.
        cause: String,
    },
    /// The request may have arrived, and no answer came in time.
    #[error("sent, but `{host}` gave no answer within {within:?}")]
    Silent {
        /// To whom.
        host: String,
        /// How long was waited.
        within: Duration,
    },
}

impl CallError {
    /// What this means for the delivery (product: "What an answer means").
    pub fn outcome(&self) -> Outcome {
        let why = self.to_string();
        match self {
            CallError::Dns { .. } | CallError::Connect { .. } => Outcome::Down { why, after: None },
            CallError::Tls { .. } => Outcome::Misconfigured { why },
            CallError::Lost { .. } | CallError::Silent { .. } => Outcome::Unknown { why },
        }
    }
}

/// One far side and the connections to it.
#[derive(Debug)]
pub struct Client {
    url: Url,
    tls: Option<Tls>,
    limits: Limits,
    pool: Arc<Pool>,
}

impl Client {
    /// A client for the URL's host. `tls` is asked for `https` only. Connects at the first call.
    pub fn new(url: Url, tls: Option<Tls>, limits: Limits) -> Self {
        Client { url, tls, limits, pool: Pool::new(limits.max_idle, limits.idle) }
    }

    /// Where to.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Sends the request and waits for the answer. `sent` is called right before its first byte may leave.
    ///
    /// May be dropped at any await; the connection is then closed.
    ///
    /// # Errors
    /// How far it came.
    pub async fn call(&self, mut request: Request, sent: impl FnOnce()) -> Result<Answer, CallError> {
        let deadline = Instant::now() + self.limits.whole;
        request.headers_mut().insert(::http::header::HOST, self.url.authority().clone());
        let mut sent = Some(sent);
        loop {
            let (mut link, kept) = match self.pool.take().await {
                Some(link) => (link, true),
                None => (self.connect(deadline).await?, false),
            };
            if let Some(sent) = sent.take() {
                sent();
            }
            match timeout_at(deadline, link.send(request)).await {
                Ok(Ok(response)) => return Ok(self.read(response, link, deadline).await),
                Ok(Err(mut failed)) => match failed.take_message() {
                    // The far side had closed it: not a byte left.
                    Some(unsent) if kept => request = unsent,
                    Some(_) => return Err(self.not_connected("it hung up before the request was sent".into())),
                    None => return Err(CallError::Lost { host: self.host(), cause: chain(failed.error()) }),
                },
                Err(_) => return Err(CallError::Silent { host: self.host(), within: self.limits.whole }),
            }
        }
    }

    /// Whether the far side can be connected to, TLS included. Sends nothing, but keeps the connection for the first request.
    ///
    /// # Errors
    /// How far it came.
    pub async fn reach(&self) -> Result<(), CallError> {
        let link = self.connect(Instant::now() + self.limits.connect).await?;
        self.pool.put(link);
        Ok(())
    }

    /// Closes idle connections; those in use close when their call is over.
    pub fn close(&self) {
        self.pool.close();
    }

    /// Reads the answer's body up to the limit. A status that was heard is an answer, whatever becomes of the body.
    async fn read(&self, response: ::http::Response<Incoming>, mut link: Link, deadline: Instant) -> Answer {
        let (head, mut body) = response.into_parts();
        let answer = |body: Bytes, whole: bool| Answer { status: head.status, headers: head.headers, body, whole };
        if body.is_end_stream() {
            self.pool.put(link);
            return answer(Bytes::new(), true);
        }
        let mut kept = BytesMut::new();
        loop {
            match timeout_at(deadline, link.driving(body.frame())).await {
                Ok(Some(Ok(frame))) => {
                    let Some(data) = frame.data_ref() else { continue };
                    let room = self.limits.answer - kept.len();
                    kept.extend_from_slice(&data[..data.len().min(room)]);
                    if data.len() > room {
                        return answer(kept.freeze(), false);
                    }
                }
                Ok(None) => {
                    self.pool.put(link);
                    return answer(kept.freeze(), true);
                }
                Ok(Some(Err(_))) | Err(_) => return answer(kept.freeze(), false),
            }
        }
    }

    async fn connect(&self, deadline: Instant) -> Result<Link, CallError> {
        let within = self.limits.connect.min(self.limits.whole);
        let deadline = deadline.min(Instant::now() + within);
        match timeout_at(deadline, self.open()).await {
            Ok(opened) => opened,
            Err(_) => Err(self.not_connected(format!("nothing within {within:?}"))),
        }
    }

    async fn open(&self) -> Result<Link, CallError> {
        let stream = self.tcp().await?;
        if !self.url.is_https() {
            return self.handshake(TokioIo::new(stream)).await;
        }
        let refused = |cause: String| CallError::Tls { host: self.host(), cause };
        let tls = self.tls.as_ref().ok_or_else(|| refused("no TLS was set up".into()))?;
        let name = server_name(self.url.host()).ok_or_else(|| refused("its name is not one that a certificate can bear".into()))?;
        match tls.connector().connect(name, stream).await {
            Ok(stream) => self.handshake(TokioIo::new(stream)).await,
            // rustls says what it refuses as invalid data; anything else is the network's.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(refused(error.to_string())),
            Err(error) => Err(self.not_connected(format!("it hung up during the TLS handshake: {error}"))),
        }
    }

    /// Tries each address in turn, each with its share of the time.
    async fn tcp(&self) -> Result<TcpStream, CallError> {
        let dns = |cause: String| CallError::Dns { host: self.host(), cause };
        let found = tokio::net::lookup_host((self.url.host(), self.url.port())).await;
        let addresses: Vec<SocketAddr> = found.map_err(|e| dns(e.to_string()))?.collect();
        let share = self.limits.connect.min(self.limits.whole) / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        let mut error = dns("it has no address".into());
        for address in addresses {
            match tokio::time::timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Without it a small second write would wait for an acknowledgement; a socket that cannot is still one.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(cause)) => error = self.not_connected(cause.to_string()),
                Err(_) => error = self.not_connected(format!("nothing within {share:?}")),
            }
        }
        Err(error)
    }

    async fn handshake<T: Read + Write + Unpin + Send + 'static>(&self, io: T) -> Result<Link, CallError> {
        let (sender, connection) = http1::handshake(io).await.map_err(|e| self.not_connected(chain(&e)))?;
        // How it ends is the caller's to hear, by the sender.
        Ok(Link::new(sender, connection.map(drop).boxed()))
    }

    fn host(&self) -> String {
        self.url.host().to_owned()
    }

    fn not_connected(&self, cause: String) -> CallError {
        CallError::Connect { host: self.host(), port: self.url.port(), cause }
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::http::{Manner, WebServer};
    use std::sync::atomic::{AtomicUsize, Ordering};

    const QUICK: Limits = Limits {
        connect: Duration::from_millis(400),
        whole: Duration::from_millis(800),
        answer: 16 * 1024,
        max_idle: 2,
        idle: Duration::from_secs(30),
    };

    fn client(url: &str, limits: Limits) -> Client {
        Client::new(Url::parse(url).unwrap(), None, limits)
    }
    fn request(body: &str) -> Request {
        ::http::Request::post("/in").body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
    }
    async fn call(client: &Client, body: &str) -> (Result<Answer, CallError>, usize) {
        let sent = AtomicUsize::new(0);
        let answer = client.call(request(body), || _ = sent.fetch_add(1, Ordering::Relaxed)).await;
        (answer, sent.into_inner())
    }

    #[tokio::test]
    async fn a_connection_is_kept_and_used_again() {
        let server = WebServer::start().await;
        server.behave(Manner::answer(200, "fine"));
        let client = client(&server.url(), Limits::default());
        for _ in 0..50 {
            let (answer, sent) = call(&client, "x").await;
            assert_eq!((&answer.unwrap().body[..], sent), (&b"fine"[..], 1));
        }
        assert_eq!((server.got().len(), server.connections()), (50, 1));
        assert_eq!(server.got()[0].header("host"), server.url().strip_prefix("http://"));
    }

    #[tokio::test]
    async fn idle_connections_are_bounded_in_number_and_in_time() {
        let server = WebServer::start().await;
        let client = client(&server.url(), Limits { idle: Duration::from_millis(50), ..QUICK });
        let all = futures_util::future::join_all((0..8).map(|_| call(&client, "x"))).await;
        assert!(all.iter().all(|(answer, _)| answer.is_ok()));
        assert!(client.pool.idle() <= 2);
        while client.pool.idle() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        client.close();
        call(&client, "x").await.0.unwrap();
        assert_eq!(client.pool.idle(), 0, "after closing nothing is kept");
    }

    #[tokio::test]
    async fn a_kept_connection_that_was_closed_costs_nothing() {
        let server = WebServer::start().await;
        server.behave(Manner::AnswerAndHangUp);
        let client = client(&server.url(), Limits::default());
        for round in 1..=5 {
            let (answer, sent) = call(&client, "x").await;
            assert_eq!((answer.unwrap().status.as_u16(), sent), (200, 1));
            while !client.pool.all_closed() {
                tokio::task::yield_now().await;
            }
            assert_eq!(server.connections(), round);
        }
    }

    #[tokio::test]
    async fn a_request_that_a_dying_connection_never_took_goes_out_on_a_fresh_one() {
        let server = WebServer::start().await;
        let client = client(&server.url(), Limits::default());
        // A kept connection that looks ready, and dies with the request in its queue.
        let (near, _far) = tokio::io::duplex(1024);
        let (mut sender, mut connection) = http1::handshake(TokioIo::new(near)).await.unwrap();
        assert!((&mut connection).now_or_never().is_none());
        sender.ready().await.unwrap();
        let (die, dies) = tokio::sync::oneshot::channel::<()>();
        let driver = async move {
            let _ = dies.await;
            drop(connection);
        };
        client.pool.put(Link::new(sender, driver.boxed()));
        let sent = AtomicUsize::new(0);
        let mut attempt = Box::pin(client.call(request("x"), || _ = sent.fetch_add(1, Ordering::Relaxed)));
        assert!((&mut attempt).now_or_never().is_none());
        drop(die);
        assert_eq!(attempt.await.unwrap().status.as_u16(), 200);
        assert_eq!((sent.into_inner(), server.got().len()), (1, 1));
    }

    #[tokio::test]
    async fn who_is_not_there_was_sent_nothing() {
        let mut server = WebServer::start().await;
        let client = client(&server.url(), QUICK);
        call(&client, "x").await.0.unwrap();
        server.leave().await;
        let (answer, _) = call(&client, "x").await;
        let error = answer.unwrap_err();
        assert!(matches!(error, CallError::Connect { .. }), "{error}");
        assert_eq!(error.outcome().word(), "down");
        let (answer, sent) = call(&super::Client::new(Url::parse("http://no-such-host.invalid/hush").unwrap(), None, QUICK), "x").await;
        let error = answer.unwrap_err();
        assert!(matches!(error, CallError::Dns { .. } | CallError::Connect { .. }), "{error}");
        assert_eq!((sent, error.outcome().word(), error.to_string().contains("hush")), (0, "down", false));
    }

    #[tokio::test]
    async fn what_was_sent_without_an_answer_is_unknown() {
        let garbage = b"SSH-2.0-OpenSSH\r\n".to_vec();
        for manner in [Manner::HangUp, Manner::Raw(garbage), Manner::Raw(b"HTTP/1.1 20".to_vec()), Manner::Silence] {
            let server = WebServer::start().await;
            server.behave(manner.clone());
            let (answer, sent) = call(&client(&server.url(), QUICK), "x").await;
            let error = answer.unwrap_err();
            assert_eq!((sent, error.outcome().word()), (1, "unknown"), "{manner:?}: {error}");
            assert_eq!(server.got().len(), 1, "never sent twice");
        }
    }

    #[tokio::test]
    async fn an_answer_is_read_to_its_limit_and_a_heard_status_counts() {
        let server = WebServer::start().await;
        let big = "y".repeat(100_000);
        for (manner, whole, length) in [
            (Manner::answer(200, &big), false, 16 * 1024),
            (Manner::Endless, false, 16 * 1024),
            (Manner::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc".to_vec()), false, 3),
            (Manner::answer(200, "abc"), true, 3),
            (Manner::answer(204, ""), true, 0),
        ] {
            server.behave(manner.clone());
            let answer = call(&client(&server.url(), QUICK), "x").await.0.unwrap();
            assert_eq!((answer.status.is_success(), answer.whole, answer.body.len()), (true, whole, length), "{manner:?}");
        }
    }

    #[tokio::test]
    async fn a_port_without_tls_is_no_https() {
        let server = WebServer::start().await;
        let url = Url::parse(&server.url().replace("http:", "https:")).unwrap();
        server.behave(Manner::HangUp);
        let client = super::Client::new(url, Some(Tls::new(None).unwrap()), QUICK);
        let error = client.reach().await.unwrap_err();
        assert!(matches!(error, CallError::Connect { .. }), "{error}");
    }
}
