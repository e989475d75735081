//! One request's way to its answer: a function of (parts, body, peer), without sockets.
//!
//! The order is that of cost: path, method, size of the head, promised size of the body, body, proof, journal. Keeping is
//! never broken off half-way: see [`Unbroken`].

use super::answer::{self, Answer, NoTls, Refuse};
use super::body::{self, Budget, Reserved};
use super::coding;
use super::counts::{Refusal, Tally};
use super::proof::{kept_query, unsigned};
use super::sources::{Limits, Source, Sources};
use crate::fail;
use crate::model::{Appended, Clock, Dedupe, Event, EventId, Headers, SecretPlace, Timestamp};
use crate::verify::{Documents, NoDocuments, Reply, Request, Verified};
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, COOKIE, PROXY_AUTHORIZATION, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Response};
use http_body::Body;
use http_body_util::Full;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// Most headers of a request; more is answered 431. The HTTP reader has the same bound.
pub const MOST_HEADERS: usize = 100;
/// Most bytes of names and values of all headers; more is answered 431.
pub const MOST_HEADER_BYTES: usize = 32 << 10;
/// An event must be durable by then, else 503: senders give up after 5 s, and some sooner ([`Verifier::waits`](crate::verify::Verifier::waits)).
pub const KEPT_WITHIN: Duration = Duration::from_secs(4);
/// How far the keys of elements without an id are from each other by which a repeat is recognised.
const PLACES_APART: u64 = 0x9e37_79b9_7f4a_7c15;
/// Most addresses of `X-Forwarded-For` that are looked at, from the nearest on.
const MOST_HOPS: usize = 16;

/// Who keeps events.
pub trait Keep: Send + Sync + 'static {
    /// Plans, appends and waits for the commit. Once begun it is always polled to its end, even if the sender is gone.
    fn keep(&self, event: Event, dedupe: Option<Dedupe>) -> impl Future<Output = Result<Appended, NotKept>> + Send;
    /// The same of the events of one request: in their order and in one commit, all or none.
    fn keep_all(&self, events: Vec<(Event, Option<Dedupe>)>) -> impl Future<Output = Result<Vec<Appended>, NotKept>> + Send;
}

/// Why an event is not kept; the sender hears 503 with Retry-After.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotKept {
    /// No room at the moment.
    Full,
    /// The disk is below its reserve.
    Reserved,
    /// It could not be written.
    Failed,
}

/// The way in. One for the daemon's life; sources and limits are swapped in it.
pub struct Ingest<K> {
    keep: Arc<K>,
    sources: ArcSwap<Sources>,
    clock: Arc<dyn Clock>,
    /// Randomness of event ids.
    chance: Mutex<StdRng>,
    budget: Arc<Budget>,
    elsewhere: Tally,
    unwatched: TaskTracker,
    documents: Arc<dyn Documents>,
}

impl<K: Keep> Ingest<K> {
    /// With the first sources. `seed` makes event ids repeatable in tests.
    pub fn new(sources: Sources, keep: Arc<K>, clock: Arc<dyn Clock>, seed: u64) -> Self {
        Ingest {
            keep,
            sources: ArcSwap::from_pointee(sources),
            clock,
            chance: Mutex::new(StdRng::seed_from_u64(seed)),
            budget: Arc::default(),
            elsewhere: Tally::default(),
            unwatched: TaskTracker::new(),
            documents: Arc::new(NoDocuments),
        }
    }

    /// The same, which asks for what proofs need from other hosts.
    #[must_use]
    pub fn asking(self, documents: Arc<dyn Documents>) -> Self {
        Ingest { documents, ..self }
    }

    pub(super) fn documents(&self) -> &dyn Documents {
        &*self.documents
    }

    /// Goes on with other sources and limits; requests under way end with those they began with.
    pub fn swap(&self, mut sources: Sources) {
        sources.go_on_counting(&self.sources.load());
        self.sources.store(Arc::new(sources));
    }

    /// The sources of now, with their counts.
    pub fn sources(&self) -> Arc<Sources> {
        self.sources.load_full()
    }

    /// What was answered where no source is.
    pub fn elsewhere(&self) -> &Tally {
        &self.elsewhere
    }

    /// Bytes of bodies being read or kept.
    pub fn body_bytes(&self) -> usize {
        self.budget.used()
    }

    /// Waits until every event whose sender did not wait is kept or not.
    pub async fn settled(&self) {
        self.unwatched.close();
        self.unwatched.wait().await;
        self.unwatched.reopen();
    }

    /// Answers one request. `peer` is the connection's other side.
    pub async fn handle<B>(&self, parts: Parts, body: B, peer: SocketAddr) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
    {
        let sources = self.sources.load_full();
        let peer = client(&sources.limits, peer.ip(), &parts.headers);
        if is_ambiguous(&parts.headers) {
            return self.refused(None, &Refuse::NotHttp("the length of its body can be read in two ways"), &parts, peer);
        }
        let Some(source) = sources.find(parts.uri.path()) else {
            return self.refused(None, &Refuse::UnknownPath, &parts, peer);
        };
        match self.take(source, &sources.limits, &parts, body, peer).await {
            Ok(Taken::One(id, appended)) => {
                source.tally.taken();
                match appended {
                    Appended::New => answer::kept(source, id, false),
                    Appended::Duplicate { of } => answer::kept(source, of, true),
                }
            }
            Ok(Taken::Handshake(reply)) => answer::shaken(reply),
            Ok(Taken::Several(events)) => {
                source.tally.taken();
                answer::kept_all(source, &events)
            }
            Err(refuse) => self.refused(Some(source), &refuse, &parts, peer),
        }
    }

    async fn take<B>(&self, source: &Source, limits: &Limits, parts: &Parts, body: B, peer: IpAddr) -> Result<Taken, Refuse>
    where
        B: Body<Data = Bytes>,
    {
        if parts.method != Method::POST {
            let asked = match parts.method {
                Method::GET => source.verifier.challenged(parts.uri.query().unwrap_or_default()),
                Method::OPTIONS => source.verifier.asked(&parts.headers),
                _ => None,
            };
            return Ok(Taken::Handshake(self.shaken(asked.ok_or(Refuse::WrongMethod)?).await?));
        }
        let head: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if parts.headers.len() > MOST_HEADERS || head > MOST_HEADER_BYTES {
            return Err(Refuse::TooManyHeaders);
        }
        let mut reserved = self.budget.open();
        let body = body::read(body, limits.max_body, &mut reserved, limits.body_budget).await?;
        let query = parts.uri.query().unwrap_or_default();
        if let Some(reply) = source.verifier.posted(query).filter(|_| body.is_empty()) {
            return Ok(Taken::Handshake(self.shaken(reply).await?));
        }
        let now = self.clock.wall();
        fail::point("accepted");
        let certificate = parts.extensions.get::<Shown>().map(|shown| &*shown.0);
        let request = Request { headers: &parts.headers, body: &body, peer, certificate, document: None, roots: None, query };
        let secret = match self.proven(source, request, now).await {
            Ok(secret) => secret,
            Err(refuse) => return unsigned(source, &request, refuse, parts.uri.path(), now).map(Taken::Handshake),
        };
        let decoded = coding::decoded(&parts.headers, &body, limits.max_body, &mut reserved, limits.body_budget)?;
        let headers = kept_headers(&parts.headers, head, source.verifier.secret_header(), decoded.is_some());
        let body = decoded.unwrap_or_else(|| body.clone());
        let request = Request { body: &body, ..request };
        let verified = Verified {
            signed_with: secret.and_then(|place| SecretPlace::of(place, source.verifier.secrets())),
            ..source.verifier.read(&request)
        };
        if let Some(reply) = source.verifier.shaken(&request, secret) {
            return Ok(Taken::Handshake(self.shaken(reply).await?));
        }
        fail::point("verified");
        if let Some(position) = secret {
            source.rotation.count(position, now);
        }
        source.tally.heard(now);
        if let Some(items) = source.parts(&body) {
            let several = items.into_iter().enumerate();
            let events = several.map(|(nth, item)| self.item(source, &verified, nth, &headers, parts, item, now)).collect();
            return self.kept_all(source, events, reserved).await.map(Taken::Several);
        }
        let dedupe = verified.dedupe;
        let event = self.event(source, verified, headers, parts, body, now);
        let dedupe = dedupe.map(|window| Dedupe { but: source.verifier.varies(), ..Dedupe::of(&event, window) });
        let event = source.redacted(event);
        let id = event.id;
        let appended = self.kept(source, event, dedupe, reserved).await?;
        Ok(Taken::One(id, appended))
    }

    /// One event of a request that carries several. Topic and id are the element's own where it has them; an id of the whole request is told apart by
    /// the element's place.
    #[allow(clippy::too_many_arguments)] // what a request has, and which part of it this is
    fn item(
        &self,
        source: &Source,
        request: &Verified,
        nth: usize,
        headers: &Headers,
        parts: &Parts,
        body: Bytes,
        now: Timestamp,
    ) -> (Event, Option<Dedupe>) {
        let (topic, id) = source.verifier.read_item(&parts.headers, &body);
        let of_request = || request.sender_id.as_deref().map(|id| format!("{id}#{nth}").into());
        let verified = Verified {
            topic: topic.unwrap_or_else(|| Arc::clone(&request.topic)),
            sender_id: id.or_else(of_request),
            dedupe: request.dedupe,
            signed_with: request.signed_with,
        };
        let event = self.event(source, verified, headers.clone(), parts, body, now);
        let mut dedupe = request.dedupe.map(|window| Dedupe { but: source.verifier.varies(), ..Dedupe::of(&event, window) });
        // Two that are the same in one request are two; the request sent again has each at its place.
        if let (Some(dedupe), None) = (&mut dedupe, &event.sender_id) {
            dedupe.key = dedupe.key.wrapping_add((nth as u64).wrapping_mul(PLACES_APART));
        }
        (source.redacted(event), dedupe)
    }

    fn event(&self, source: &Source, verified: Verified, headers: Headers, parts: &Parts, body: Bytes, now: Timestamp) -> Event {
        Event {
            id: self.new_id(now),
            source: Arc::clone(&source.name),
            topic: verified.topic,
            received_at: now,
            headers,
            query: kept_query(source, parts.uri.query().unwrap_or_default()).into(),
            body,
            sender_id: verified.sender_id,
            signed_with: verified.signed_with,
        }
    }

    /// A new event's id.
    pub fn new_id(&self, now: Timestamp) -> EventId {
        let mut chance = [0; 10];
        self.chance.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut chance);
        let millis = u64::try_from(now.0).unwrap_or(0);
        EventId(uuid::Builder::from_unix_timestamp_millis(millis, &chance).into_uuid().into_bytes())
    }

    /// Has the event kept. It is counted when it is, whether or not somebody still waits for the answer.
    async fn kept(&self, source: &Source, event: Event, dedupe: Option<Dedupe>, reserved: Reserved) -> Result<Appended, Refuse> {
        let (keep, tally, within) = (Arc::clone(&self.keep), Arc::clone(&source.tally), within(source));
        let keeping = async move {
            let appended = keep.keep(event, dedupe).await;
            match appended {
                Ok(Appended::New) => tally.count(Answer::Kept),
                Ok(Appended::Duplicate { .. }) => tally.count(Answer::Repeated),
                Err(_) => {}
            }
            drop(reserved);
            appended
        };
        let keeping = Unbroken { rest: Some(Box::pin(keeping)), unwatched: self.unwatched.clone() };
        match tokio::time::timeout(within, keeping).await {
            Ok(kept) => kept.map_err(Refuse::of),
            Err(_) => Err(Refuse::Late(within)),
        }
    }

    /// As [`kept`](Self::kept), of the events of one request: the id by which each is known, and whether it repeats.
    async fn kept_all(
        &self,
        source: &Source,
        events: Vec<(Event, Option<Dedupe>)>,
        reserved: Reserved,
    ) -> Result<Vec<(EventId, bool)>, Refuse> {
        let (keep, tally, within) = (Arc::clone(&self.keep), Arc::clone(&source.tally), within(source));
        let ids = events.iter().map(|(event, _)| event.id).collect::<Vec<_>>();
        let keeping = async move {
            let appended = keep.keep_all(events).await;
            for appended in appended.iter().flatten() {
                tally.count(if *appended == Appended::New { Answer::Kept } else { Answer::Repeated });
            }
            drop(reserved);
            appended
        };
        let keeping = Unbroken { rest: Some(Box::pin(keeping)), unwatched: self.unwatched.clone() };
        let known = |(id, appended): (EventId, Appended)| match appended {
            Appended::New => (id, false),
            Appended::Duplicate { of } => (of, true),
        };
        let kept = tokio::time::timeout(within, keeping).await.map_err(|_| Refuse::Late(within))?;
        Ok(ids.into_iter().zip(kept.map_err(Refuse::of)?).map(known).collect())
    }

    /// What a connection brought was no request.
    pub(super) fn not_http(&self, what: &'static str, peer: IpAddr) {
        self.elsewhere.refuse(Refusal::of(&Refuse::NotHttp(what), "", peer.to_canonical(), self.clock.wall()));
    }

    /// A connection ended before it brought a request: people are shown why, and nobody heard anything.
    pub(super) fn not_tls(&self, why: NoTls, peer: IpAddr) {
        self.elsewhere.show(Refusal::of(&Refuse::NoTls(why), "", peer.to_canonical(), self.clock.wall()));
    }

    /// Answers a request whose bytes could mean another one to somebody else.
    pub(super) fn refuse_framing(&self, parts: &Parts, why: &'static str, peer: SocketAddr) -> Response<Full<Bytes>> {
        self.refused(None, &Refuse::NotHttp(why), parts, peer.ip().to_canonical())
    }

    fn refused(&self, source: Option<&Source>, refuse: &Refuse, parts: &Parts, peer: IpAddr) -> Response<Full<Bytes>> {
        let refusal = Refusal::of(refuse, parts.uri.path(), peer, self.clock.wall());
        match source {
            Some(source) => {
                tracing::info!(source = &*source.name, %peer, status = refuse.answer().status().as_u16(), "refused: {refuse}");
                source.tally.refuse(refusal);
            }
            // Anybody can ask for any path: no line of the log for each.
            None => self.elsewhere.refuse(refusal),
        }
        refuse.response(source)
    }
}

/// What became of a request.
enum Taken {
    One(EventId, Appended),
    Several(Vec<(EventId, bool)>),
    /// It was no event.
    Handshake(Reply),
}

/// The certificate that the connection's other side showed and that `server.tls.client_ca` issued.
#[derive(Debug, Clone)]
pub(super) struct Shown(pub Arc<[u8]>);

/// A future that is polled to its end even if nobody waits for it any more: dropped unfinished (the sender hung up, or the
/// time was over), it moves into a task of its own. So no event is kept but not handed on. The usual request costs no task.
struct Unbroken<F: Future<Output: Send> + Send + 'static> {
    rest: Option<Pin<Box<F>>>,
    unwatched: TaskTracker,
}

impl<F: Future<Output: Send> + Send + 'static> Future for Unbroken<F> {
    type Output = F::Output;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Some(rest) = &mut self.rest else { return Poll::Pending };
        let polled = rest.as_mut().poll(cx);
        if polled.is_ready() {
            self.rest = None;
        }
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Unbroken<F> {
    fn drop(&mut self) {
        // Without a runtime the daemon has ended, and so has the journal.
        if let (Some(rest), Ok(runtime)) = (self.rest.take(), Handle::try_current()) {
            self.unwatched.spawn_on(async move { drop(rest.await) }, &runtime);
        }
    }
}

/// How long this source's sender is kept waiting: some leave sooner than others, and what they do not hear is a failure too.
fn within(source: &Source) -> Duration {
    source.verifier.waits().map_or(KEPT_WITHIN, |waits| KEPT_WITHIN.min(waits * 4 / 5))
}

/// Whether another reader could see the body's end elsewhere: any coding but one `chunked`, or a length beside it (RFC 9112, sections 6.1 and 6.3).
fn is_ambiguous(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(first) = codings.next() else { return false };
    let one = codings.next().is_none() && first.as_bytes().eq_ignore_ascii_case(b"chunked");
    !one || headers.contains_key(CONTENT_LENGTH)
}

/// The headers to keep: those without secrets, and without how long and how compressed the body was where it is so no more.
fn kept_headers(headers: &HeaderMap, bytes: usize, secret: Option<&HeaderName>, decoded: bool) -> Headers {
    let mut kept = Headers::with_capacity(bytes + 2 * headers.len());
    for (name, value) in headers {
        let bare = *name != AUTHORIZATION && *name != COOKIE && *name != PROXY_AUTHORIZATION && Some(name) != secret;
        if bare && !(decoded && (*name == CONTENT_ENCODING || *name == CONTENT_LENGTH)) {
            kept.push(name.as_str(), value.as_bytes());
        }
    }
    kept
}

/// The sender's address: the peer, or where trusted proxies speak for others, the nearest address that is not theirs.
fn client(limits: &Limits, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let mut client = peer.to_canonical();
    if !limits.trusts(client) {
        return client;
    }
    let forwarded = headers.get_all("x-forwarded-for").iter().rev();
    let hops = forwarded.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
    for hop in hops.take(MOST_HOPS) {
        // What is no address ends the chain: nobody we trust said what is behind it.
        let Some(address) = address(hop.trim_ascii()) else { return client };
        client = address.to_canonical();
        if !limits.trusts(client) {
            return client;
        }
    }
    client
}

/// An address, with or without a port.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().or_else(|| text.parse::<SocketAddr>().map(|address| address.ip()).ok())
}

#[cfg(test)]
pub(super) mod tests;
