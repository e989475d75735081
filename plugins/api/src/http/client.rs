//! Carries one request to one far side over kept connections, and says how far it came.
//!
//! HTTP/1.1 over connections that one call uses at a time, or HTTP/2 over one that all share (`two.rs`); how they are opened, by which
//! proxy, and who may be reached: `dial.rs`.
//!
//! Never: repeats a request of which a byte may have been read, follows a redirect, reads more than [`Limits::answer`] of an
//! answer, inflated or not. A kept connection that the far side closed before it took the request costs nothing: the request goes
//! out on a fresh one; so does one of which the far side says itself that it did not process it (HTTP/2: GOAWAY, REFUSED_STREAM).
//! Connections are the output's own, so no output waits for another (L3). Proven below, by `tests/connections.rs` and by
//! `plugins/http/tests/real.rs`.

use super::answer::Answer;
use super::dial::{Dialer, Opened};
use super::error::CallError;
use super::pool::{Link, Pool};
use super::proxy::Proxy;
use super::two::{Shared, Stream, Unanswered};
use super::url::Url;
use super::version::Version;
use super::{chain, gzip};
use crate::egress::{Decided, Egress};
use crate::tls::{Tls, refuses_us};
use ::http::HeaderValue;
use ::http::header::{CONNECTION, CONTENT_LENGTH, HOST, PROXY_AUTHORIZATION};
use ::http::response::Parts;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use h2::RecvStream;
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Hosts of events whose connections are kept; the one used longest ago is let go for a new one.
const ELSEWHERE_MAX: usize = 64;
/// Idle connections kept to each of them.
const ELSEWHERE_IDLE: usize = 4;
/// Fresh connections on which one call may find that it was not taken; then the far side counts as down.
const FRESH_MAX: u32 = 3;

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

/// One far side and the connections to it; and those to hosts that events name.
#[derive(Debug)]
pub struct Client {
    url: Url,
    dialer: Dialer,
    limits: Limits,
    far: Arc<Far>,
    /// Used last at the end.
    elsewhere: Mutex<VecDeque<Arc<Far>>>,
}

/// A scheme, host and port, and the connections to it.
#[derive(Debug)]
struct Far {
    url: Url,
    decided: Decided,
    pool: Arc<Pool>,
    /// Held while a connection is opened that others may share.
    opening: tokio::sync::Mutex<()>,
    /// Whether the last connection was one that cannot be shared.
    alone: AtomicBool,
}

/// How one try on one connection ended.
enum Went {
    Answered(Answer),
    /// Not a byte of it was processed; why.
    NotTaken(Request, String),
    Failed(CallError),
}

/// The connection for a call.
enum Line {
    One(Link),
    Two(Arc<Shared>),
}

impl Client {
    /// A client for the URL's host, without a proxy, resolved by the system. `tls` is asked for `https` only; without one the system's
    /// roots are believed. Connects at the first call.
    pub fn new(url: Url, tls: Option<Tls>, limits: Limits) -> Self {
        Self::with(url, tls, None, Version::Auto, Egress::default(), limits)
    }

    pub(super) fn with(url: Url, tls: Option<Tls>, proxy: Option<Proxy>, version: Version, egress: Egress, limits: Limits) -> Self {
        let tls = tls.map_or_else(OnceLock::new, OnceLock::from);
        let dialer = Dialer { tls, proxy, version, egress, within: limits.connect.min(limits.whole) };
        let far = Arc::new(Far::new(url.clone(), Decided::ByFile, limits.max_idle, limits.idle));
        Client { url, dialer, limits, far, elsewhere: Mutex::default() }
    }

    /// Where to.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Sends the request and waits for the answer. `sent` is called right before its first byte may leave, and once.
    ///
    /// May be dropped at any await; what it used is then closed.
    ///
    /// # Errors
    /// How far it came; [`CallError::outcome`] says what that means.
    pub async fn call(&self, request: Request, sent: impl FnOnce()) -> Result<Answer, CallError> {
        self.exchange(&self.far, request, sent).await
    }

    /// As [`call`](Self::call), to a host that a value of an event had a part in: only public addresses and those of
    /// `egress: { allow }` are reached, whatever the file's own URL is. Its path and query are the request's.
    ///
    /// # Errors
    /// How far it came; [`CallError::outcome_for`] with [`Decided::ByEvent`] says what that means.
    pub async fn call_to(&self, url: &Url, request: Request, sent: impl FnOnce()) -> Result<Answer, CallError> {
        self.exchange(&self.elsewhere(url), request, sent).await
    }

    /// Whether the far side can be connected to, TLS included. Sends nothing, but keeps the connection for the first request.
    ///
    /// # Errors
    /// How far it came.
    pub async fn reach(&self) -> Result<(), CallError> {
        match self.open(&self.far, Instant::now() + self.limits.connect).await? {
            Line::One(link) => self.far.pool.put(link),
            Line::Two(_) => {} // `open` shares it
        }
        Ok(())
    }

    /// Closes idle connections; those in use close when their call is over.
    pub fn close(&self) {
        self.far.pool.close();
        for far in self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            far.pool.close();
        }
    }

    fn elsewhere(&self, url: &Url) -> Arc<Far> {
        let mut all = self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.iter().position(|far| far.url.same_origin(url)).and_then(|at| all.remove(at));
        let far = known.unwrap_or_else(|| Arc::new(Far::new(url.clone(), Decided::ByEvent, ELSEWHERE_IDLE, self.limits.idle)));
        if all.len() == ELSEWHERE_MAX
            && let Some(oldest) = all.pop_front()
        {
            oldest.pool.close();
        }
        all.push_back(Arc::clone(&far));
        far
    }

    async fn exchange(&self, far: &Arc<Far>, mut request: Request, sent: impl FnOnce()) -> Result<Answer, CallError> {
        let deadline = Instant::now() + self.limits.whole;
        request.headers_mut().insert(HOST, far.url.authority().clone());
        if let Some(proxy) = self.dialer.forwards(&far.url, far.decided) {
            let uri = far.url.absolute(request.uri()).map_err(|e| CallError::not_connected(&far.url, e.to_string()))?;
            *request.uri_mut() = uri;
            // A proxy closes when the far side does, most often without a word: on a kept connection a request would be lost now and then.
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            request.headers_mut().extend(proxy.credentials().map(|credentials| (PROXY_AUTHORIZATION, credentials.clone())));
        }
        let mut sent = Some(sent);
        let mut sent = || {
            if let Some(sent) = sent.take() {
                sent();
            }
        };
        let mut fresh = 0;
        loop {
            let (line, kept) = self.line(far, deadline).await?;
            let went = match line {
                Line::One(link) => self.over_one(far, link, request, &mut sent, deadline).await,
                Line::Two(shared) => self.over_two(far, &shared, request, &mut sent, deadline).await,
            };
            match went {
                Went::Answered(answer) => return Ok(answer),
                Went::Failed(error) => return Err(error),
                // The far side had closed it, or was about to.
                Went::NotTaken(unsent, why) => {
                    fresh += u32::from(!kept);
                    if fresh == FRESH_MAX {
                        return Err(CallError::not_connected(&far.url, why));
                    }
                    request = unsent;
                }
            }
        }
    }

    /// A connection, and whether it was there already.
    async fn line(&self, far: &Arc<Far>, deadline: Instant) -> Result<(Line, bool), CallError> {
        if let Some(shared) = far.pool.shared() {
            return Ok((Line::Two(shared), true));
        }
        if let Some(link) = far.pool.take().await {
            return Ok((Line::One(link), true));
        }
        if !self.dialer.may_be_shared(&far.url) || far.alone.load(Ordering::Acquire) {
            return Ok((self.open(far, deadline).await?, false));
        }
        // One opens for all: what it finds, the others share.
        let turn = timeout_at(deadline, far.opening.lock()).await;
        let turn = turn.map_err(|_| CallError::not_connected(&far.url, format!("nothing within {:?}", self.limits.whole)))?;
        if let Some(shared) = far.pool.shared() {
            return Ok((Line::Two(shared), true));
        }
        if far.alone.load(Ordering::Acquire) {
            drop(turn);
        }
        Ok((self.open(far, deadline).await?, false))
    }

    async fn open(&self, far: &Arc<Far>, deadline: Instant) -> Result<Line, CallError> {
        let within = self.limits.connect.min(self.limits.whole);
        let deadline = deadline.min(Instant::now() + within);
        let opened = timeout_at(deadline, self.dialer.open(&far.url, far.decided)).await;
        match opened.map_err(|_| CallError::not_connected(&far.url, format!("nothing within {within:?}")))?? {
            Opened::One(link) => {
                far.alone.store(true, Ordering::Release);
                Ok(Line::One(link))
            }
            Opened::Two(shared) => {
                far.alone.store(false, Ordering::Release);
                far.pool.share(&shared);
                Ok(Line::Two(shared))
            }
        }
    }

    async fn over_one(&self, far: &Arc<Far>, mut link: Link, request: Request, sent: &mut impl FnMut(), deadline: Instant) -> Went {
        sent();
        match timeout_at(deadline, link.send(request)).await {
            Ok(Ok(response)) => Went::Answered(self.read_one(far, response, link, deadline).await),
            Ok(Err(mut failed)) => match failed.take_message() {
                Some(unsent) => Went::NotTaken(unsent, "it hung up before the request was sent".into()),
                None if refuses_us(failed.error()) => Went::Failed(CallError::Tls { host: far.host(), cause: chain(failed.error()) }),
                None => Went::Failed(CallError::Lost { host: far.host(), cause: chain(failed.error()) }),
            },
            Err(_) => Went::Failed(self.silent(far)),
        }
    }

    async fn over_two(&self, far: &Arc<Far>, shared: &Arc<Shared>, request: Request, sent: &mut impl FnMut(), deadline: Instant) -> Went {
        let stream = match timeout_at(deadline, shared.stream()).await {
            Ok(Some(stream)) => stream,
            Ok(None) => {
                far.pool.retire(shared);
                return Went::NotTaken(request, "it hung up before the request was sent".into());
            }
            Err(_) => return Went::Failed(CallError::not_connected(&far.url, "it allows no more requests at a time".into())),
        };
        let (head, body) = match as_two(&far.url, &request) {
            Ok(both) => both,
            Err(error) => return Went::Failed(CallError::not_connected(&far.url, error.to_string())),
        };
        match timeout_at(deadline, shared.send(head, body, sent)).await {
            Ok(Ok(response)) => Went::Answered(self.read_two(response, stream, deadline).await),
            Ok(Err(Unanswered::NotTaken(error))) => {
                far.pool.retire(shared);
                Went::NotTaken(request, format!("it does not take the request: {}", chain(&error)))
            }
            Ok(Err(Unanswered::Lost(error))) => Went::Failed(CallError::Lost { host: far.host(), cause: chain(&error) }),
            Err(_) => {
                // Perhaps nobody is there any more: whoever comes next gets a fresh one.
                shared.stayed_silent();
                far.pool.retire(shared);
                Went::Failed(self.silent(far))
            }
        }
    }

    fn silent(&self, far: &Far) -> CallError {
        CallError::Silent { host: far.host(), within: self.limits.whole }
    }

    /// Reads the answer's body up to the limit. A status that was heard is an answer, whatever becomes of the body.
    async fn read_one(&self, far: &Arc<Far>, response: ::http::Response<Incoming>, mut link: Link, deadline: Instant) -> Answer {
        let (head, mut body) = response.into_parts();
        let mut kept = BytesMut::new();
        if body.is_end_stream() {
            far.pool.put(link);
            return self.answer(head, kept, true);
        }
        loop {
            match timeout_at(deadline, link.driving(body.frame())).await {
                Ok(Some(Ok(frame))) => {
                    let Some(data) = frame.data_ref() else { continue };
                    if !self.keep(&mut kept, data) {
                        return self.answer(head, kept, false);
                    }
                }
                Ok(None) => {
                    far.pool.put(link);
                    return self.answer(head, kept, true);
                }
                Ok(Some(Err(_))) | Err(_) => return self.answer(head, kept, false),
            }
        }
    }

    /// As [`read_one`](Self::read_one); what is not read is called off, and the connection goes on.
    async fn read_two(&self, response: ::http::Response<RecvStream>, stream: Stream, deadline: Instant) -> Answer {
        let (head, mut body) = response.into_parts();
        let mut kept = BytesMut::new();
        loop {
            match timeout_at(deadline, body.data()).await {
                Ok(Some(Ok(data))) => {
                    // A stream that is over has no window to give back.
                    let _ = body.flow_control().release_capacity(data.len());
                    if !self.keep(&mut kept, &data) {
                        break;
                    }
                }
                Ok(None) => return self.answer(head, kept, true),
                Ok(Some(Err(_))) | Err(_) => break,
            }
        }
        // Its right ends after the stream itself.
        drop(body);
        drop(stream);
        self.answer(head, kept, false)
    }

    /// Keeps what there is room for, and says whether that was all.
    fn keep(&self, kept: &mut BytesMut, data: &[u8]) -> bool {
        let room = self.limits.answer - kept.len();
        kept.extend_from_slice(&data[..data.len().min(room)]);
        data.len() <= room
    }

    fn answer(&self, head: Parts, kept: BytesMut, whole: bool) -> Answer {
        let (body, whole) = if !kept.is_empty() && gzip::is_gzip(&head.headers) {
            let (plain, all) = gzip::inflate(&kept, self.limits.answer);
            (plain, all && whole)
        } else {
            (kept.freeze(), whole)
        };
        Answer { status: head.status, headers: head.headers, body, whole }
    }
}

impl Far {
    fn new(url: Url, decided: Decided, max_idle: usize, idle: Duration) -> Self {
        Far { url, decided, pool: Pool::new(max_idle, idle), opening: tokio::sync::Mutex::default(), alone: AtomicBool::new(false) }
    }

    fn host(&self) -> String {
        self.url.host().to_owned()
    }
}

/// The request as HTTP/2 has it: an absolute URI instead of `Host`, and the length said (RFC 9113, section 8.3).
fn as_two(url: &Url, request: &Request) -> Result<(::http::Request<()>, Bytes), ::http::Error> {
    // All of it is there: a body that was made from bytes is those bytes.
    let body = request.body().clone().frame().now_or_never().flatten().and_then(Result::ok).and_then(|frame| frame.into_data().ok());
    let body = body.unwrap_or_default();
    let mut head = ::http::Request::new(());
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = url.absolute(request.uri())?;
    *head.headers_mut() = request.headers().clone();
    head.headers_mut().remove(HOST);
    if !body.is_empty() {
        head.headers_mut().insert(CONTENT_LENGTH, body.len().into());
    }
    Ok((head, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::http::{Manner, WebServer};
    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;
    use std::sync::atomic::AtomicUsize;

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
        assert!(client.far.pool.idle() <= 2);
        while client.far.pool.idle() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        client.close();
        call(&client, "x").await.0.unwrap();
        assert_eq!(client.far.pool.idle(), 0, "after closing nothing is kept");
    }

    #[tokio::test]
    async fn a_kept_connection_that_was_closed_costs_nothing() {
        let server = WebServer::start().await;
        server.behave(Manner::AnswerAndHangUp);
        let client = client(&server.url(), Limits::default());
        for round in 1..=5 {
            let (answer, sent) = call(&client, "x").await;
            assert_eq!((answer.unwrap().status.as_u16(), sent), (200, 1));
            while !client.far.pool.all_closed() {
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
        client.far.pool.put(Link::new(sender, driver.boxed()));
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
        let client = super::Client::new(url, Some(Tls::of_system(Version::Auto.protocols()).unwrap()), QUICK);
        let error = client.reach().await.unwrap_err();
        assert!(matches!(error, CallError::Connect { .. }), "{error}");
    }
}
