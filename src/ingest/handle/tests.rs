//! Each answer, without sockets; what takes seconds on paused time.

mod senders;

use super::super::section::read_sources;
use super::*;
use crate::model::Instant;
use crate::verify::presets::placeless;
use crate::verify::{Draft, Verifier};
use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt};
use http::{HeaderValue, Request as HttpRequest, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use std::convert::Infallible;
use std::io::Write;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::sync::Semaphore;

const PEER: &str = "192.0.2.7:4000";

/// The wall as the test sets it.
struct Wall(AtomicI64);

impl Clock for Wall {
    fn now(&self) -> Instant {
        Instant(0)
    }
    fn wall(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// A keeper in memory: takes as many events as it is allowed, waits where it is not, and knows repeats.
pub(in super::super) struct Memory {
    pub allowed: Semaphore,
    pub kept: Mutex<Vec<(Event, Option<Dedupe>)>>,
    pub fails: Mutex<Option<NotKept>>,
}

impl Memory {
    pub fn new() -> Arc<Self> {
        Arc::new(Memory { allowed: Semaphore::new(1_000), kept: Mutex::default(), fails: Mutex::default() })
    }

    pub fn events(&self) -> Vec<Event> {
        self.kept.lock().unwrap().iter().map(|(event, _)| event.clone()).collect()
    }
}

impl Keep for Memory {
    async fn keep(&self, event: Event, dedupe: Option<Dedupe>) -> Result<Appended, NotKept> {
        self.allowed.acquire().await.unwrap().forget();
        if let Some(why) = *self.fails.lock().unwrap() {
            return Err(why);
        }
        let mut kept = self.kept.lock().unwrap();
        let repeats = |(_, known): &&(Event, Option<Dedupe>)| known.is_some() && known.map(|d| d.key) == dedupe.map(|d| d.key);
        if let Some((first, _)) = kept.iter().find(repeats) {
            return Ok(Appended::Duplicate { of: first.id });
        }
        kept.push((event, dedupe));
        Ok(Appended::New)
    }

    async fn keep_all(&self, events: Vec<(Event, Option<Dedupe>)>) -> Result<Vec<Appended>, NotKept> {
        let mut all = vec![];
        for (event, dedupe) in events {
            all.push(self.keep(event, dedupe).await?);
        }
        Ok(all)
    }
}

const SOURCES: &str = "{
    shop: { verify: orderchamp, secret: made-up },
    open: { path: /in/open, verify: none, topic: { header: x-topic }, id: { header: x-id } },
    token: { verify: { token: hush, header: X-Token }, answer: '[accepted]', dedupe: 0s },
}";

pub(in super::super) fn sources(text: &str, limits: Limits) -> Sources {
    let mut problems = vec![];
    let named = read_sources(&placeless(text).unwrap(), &mut problems);
    Sources::build(&named, limits, &mut problems).unwrap_or_else(|| panic!("{problems:?}"))
}

struct Yard {
    keep: Arc<Memory>,
    wall: Arc<Wall>,
    ingest: Arc<Ingest<Memory>>,
}

impl Yard {
    fn new(limits: Limits) -> Self {
        let (keep, wall) = (Memory::new(), Arc::new(Wall(AtomicI64::new(1_700_000_000_000))));
        let ingest = Ingest::new(sources(SOURCES, limits), Arc::clone(&keep), Arc::clone(&wall) as Arc<dyn Clock>, 7);
        Yard { keep, wall, ingest: Arc::new(ingest) }
    }

    async fn send<B: Body<Data = Bytes>>(&self, request: HttpRequest<B>) -> Said {
        let (parts, body) = request.into_parts();
        Said::of(self.ingest.handle(parts, body, PEER.parse().unwrap()).await).await
    }

    fn tally(&self, name: &str) -> Arc<Tally> {
        Arc::clone(&self.ingest.sources().named(name).unwrap().tally)
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Said {
    status: u16,
    body: String,
    headers: HeaderMap,
}

impl Said {
    async fn of(response: Response<Full<Bytes>>) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Said { status: parts.status.as_u16(), body: String::from_utf8(body.to_vec()).unwrap(), headers: parts.headers }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

fn post(path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> HttpRequest<Full<Bytes>> {
    let mut request = HttpRequest::post(path).body(Full::new(body.into())).unwrap();
    for (name, value) in headers {
        request.headers_mut().append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    request
}

/// What Orderchamp would send.
fn order(yard: &Yard, topic: &str, body: &str) -> HttpRequest<Full<Bytes>> {
    let sources = yard.ingest.sources();
    let verifier: &Verifier = &sources.named("shop").unwrap().verifier;
    let headers = verifier.sign(&Draft { topic, body: body.as_bytes(), id: None }, yard.wall.wall()).unwrap().headers;
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    post("/shop", &headers, body.to_owned())
}

/// A body that comes in these pieces and then never ends.
fn dripping(pieces: Vec<(Duration, usize)>) -> impl Body<Data = Bytes, Error = Infallible> {
    let frames = stream::iter(pieces).then(|(wait, bytes)| async move {
        tokio::time::sleep(wait).await;
        Ok(Frame::data(Bytes::from(vec![b'x'; bytes])))
    });
    StreamBody::new(frames.chain(stream::pending()))
}

#[tokio::test]
async fn a_proven_event_is_kept_whole_and_answered_with_its_id() {
    let yard = Yard::new(Limits::default());
    let mut request = order(&yard, "ORDER_PAID", r#"{"data":{}}"#);
    *request.uri_mut() = "/shop?a=1&b=%20".parse().unwrap();
    for (name, value) in [("authorization", "Bearer x"), ("cookie", "c"), ("proxy-authorization", "p"), ("x-more", "é")] {
        request.headers_mut().insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let said = yard.send(request).await;
    let kept = yard.keep.events();
    let event = &kept[0];
    assert_eq!((said.status, said.body, kept.len()), (200, format!(r#"{{"event":"{}"}}"#, event.id), 1));
    assert_eq!((&*event.source, &*event.topic, &*event.query), ("shop", "ORDER_PAID", "a=1&b=%20"));
    assert_eq!((event.received_at, event.body.as_ref()), (yard.wall.wall(), &br#"{"data":{}}"#[..]));
    let names: Vec<_> = event.headers.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["x-orderchamp-event", "x-orderchamp-signature", "x-more"]);
    let window = yard.keep.kept.lock().unwrap()[0].1.unwrap();
    assert_eq!(window, Dedupe::of(event, Duration::from_hours(72)));
    assert_eq!((yard.tally("shop").of(Answer::Kept), yard.ingest.body_bytes()), (1, 0));
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_compressed_body_is_proven_as_it_came_and_kept_as_it_was() {
    let yard = Yard::new(Limits { max_body: 1000, ..Limits::default() });
    let body = gzip(br#"{"total":"7.10"}"#);
    let sources = yard.ingest.sources();
    let verifier: &Verifier = &sources.named("shop").unwrap().verifier;
    let headers = verifier.sign(&Draft { topic: "ORDER_PAID", body: &body, id: None }, yard.wall.wall()).unwrap().headers;
    let mut headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let length = body.len().to_string();
    headers.extend([("content-encoding", "gzip"), ("content-length", &length)]);
    assert_eq!(yard.send(post("/shop", &headers, body.clone())).await.status, 200);
    // What does not hold what it says is proven all the same, and kept as it came.
    let open = |body: Vec<u8>| yard.send(post("/in/open", &[("x-topic", "T"), ("content-encoding", "gzip")], body));
    assert_eq!(open(b"plain".to_vec()).await.status, 200);
    assert_eq!(open(gzip(&[b'x'; 1001])).await.status, 413);
    assert_eq!(
        yard.send(post("/shop", &[("content-encoding", "gzip")], gzip(&[b'x'; 1001]))).await.status,
        401,
        "not inflated before its proof"
    );
    let kept = yard.keep.events();
    let encoding = |event: &Event| event.headers.get("content-encoding").is_some();
    assert_eq!(
        kept.iter().map(|event| (&*event.body, encoding(event))).collect::<Vec<_>>(),
        [(&br#"{"total":"7.10"}"#[..], false), (b"plain", true)]
    );
    assert_eq!(kept[0].headers.get("content-length"), None, "the length was that of other bytes");
    assert_eq!(yard.tally("open").refusals().len(), 1);
}

#[tokio::test]
async fn a_repeat_is_answered_with_the_first_ones_id() {
    let yard = Yard::new(Limits::default());
    let first = yard.send(order(&yard, "T", "{}")).await;
    let again = yard.send(order(&yard, "T", "{}")).await;
    let other = yard.send(order(&yard, "T", "{ }")).await;
    let id = yard.keep.events()[0].id;
    assert_eq!((again.status, again.body), (200, format!(r#"{{"event":"{id}","duplicate":true}}"#)));
    assert_ne!(first.body, other.body);
    assert_eq!((yard.tally("shop").of(Answer::Kept), yard.tally("shop").of(Answer::Repeated)), (2, 1));
    // Where the sender names its events, that is what counts; and with a window of nothing, nothing is a repeat.
    for (path, headers, new) in [("/in/open", [("x-id", "1")], 2), ("/token", [("x-token", "hush")], 4)] {
        yard.send(post(path, &headers, "a")).await;
        yard.send(post(path, &headers, "a")).await;
        yard.send(post(path, &headers, "b")).await;
        yard.send(post(path, &headers, "b")).await;
        let kept = yard.keep.events().iter().filter(|event| path.ends_with(&*event.source)).count();
        assert_eq!(kept, if new == 2 { 1 } else { 4 }, "{path}");
    }
}

#[tokio::test]
async fn a_source_may_insist_on_its_own_answer_and_its_token_is_not_kept() {
    let yard = Yard::new(Limits::default());
    let said = yard.send(post("/token", &[("x-token", "hush"), ("x-other", "1")], "")).await;
    assert_eq!((said.status, said.body.as_str(), said.header("content-type")), (200, "[accepted]", Some("text/plain; charset=utf-8")));
    assert_eq!(yard.keep.events()[0].headers.as_bytes(), b"x-other:1\n");
}

#[tokio::test]
async fn what_is_not_proven_always_hears_the_same() {
    let yard = Yard::new(Limits::default());
    let mut twice = order(&yard, "T", "{}");
    let signature = twice.headers()["x-orderchamp-signature"].clone();
    twice.headers_mut().append("x-orderchamp-signature", signature.clone());
    let mut altered = order(&yard, "T", "{}");
    *altered.body_mut() = Full::new("{ }".into());
    let mut said = vec![];
    for request in [
        twice,
        altered,
        post("/shop", &[], "{}"),
        post("/shop", &[("x-orderchamp-signature", "zz")], "{}"),
        post("/token", &[("x-token", "hus")], ""),
    ] {
        said.push(yard.send(request).await);
    }
    assert_eq!((said[0].status, said[0].body.as_str()), (401, r#"{"error":"not proven"}"#));
    assert!(said.iter().all(|other| *other == said[0]), "{said:?}");
    assert!(yard.keep.events().is_empty());
    let refusals = yard.tally("shop").refusals();
    let reasons: Vec<_> = refusals.iter().map(|refusal| refusal.reason.as_str()).collect();
    insta::assert_snapshot!(reasons.join("\n"), @r#"
        `x-orderchamp-signature` is there more than once: ambiguous
        the signature or token does not match: another secret, or the request was altered on its way
        there is no header `x-orderchamp-signature`
        `x-orderchamp-signature` does not hold a signature or token in the expected form
    "#);
    assert_eq!((&*refusals[0].path, refusals[0].peer, refusals[0].at), ("/shop", [192, 0, 2, 7].into(), yard.wall.wall()));
    assert_eq!((yard.tally("shop").of(Answer::NotProven), yard.tally("token").of(Answer::NotProven)), (4, 1));
}

#[tokio::test]
async fn an_unknown_path_and_another_method_are_refused_without_an_echo() {
    let yard = Yard::new(Limits::default());
    for path in ["/", "/nowhere?q=%3Cscript%3E", "/shop/", "//shop", "/SHOP", "/in", "*"] {
        let mut request = post("/", &[], "x");
        *request.uri_mut() = path.parse().unwrap();
        let said = yard.send(request).await;
        assert_eq!((said.status, said.body.as_str()), (404, r#"{"error":"no source at this path"}"#), "{path}");
    }
    for method in ["GET", "HEAD", "PUT", "OPTIONS", "DELETE", "PATCH", "post"] {
        let mut request = order(&yard, "T", "{}");
        *request.method_mut() = method.parse().unwrap();
        let said = yard.send(request).await;
        assert_eq!((said.status, said.header("allow"), said.body.as_str()), (405, Some("POST"), r#"{"error":"only POST"}"#), "{method}");
    }
    let refusals = yard.ingest.elsewhere().refusals();
    assert_eq!((refusals.len(), &*refusals[1].path, refusals[1].reason.as_str()), (7, "/nowhere", "no source has this path"));
    assert!(yard.keep.events().is_empty());
}

#[tokio::test]
async fn a_path_is_decoded_once_and_the_body_kept_as_it_was_sent() {
    let yard = Yard::new(Limits::default());
    // Compressed bytes are data like any other: proven and kept as they are.
    let body = b"\x1f\x8b\x08\x00made up";
    let said = yard.send(post("/in/%6Fpen", &[("content-encoding", "gzip"), ("x-topic", "a*b")], &body[..])).await;
    let event = &yard.keep.events()[0];
    assert_eq!((said.status, event.body.as_ref(), &*event.topic), (200, &body[..], "a*b"));
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_limit_is_refused_by_its_length_and_by_its_pieces() {
    let yard = Yard::new(Limits { max_body: 4096, ..Limits::default() });
    assert_eq!(yard.send(post("/in/open", &[], vec![b'x'; 4096])).await.status, 200);
    let said = yard.send(post("/in/open", &[], vec![b'x'; 4097])).await;
    assert_eq!((said.status, said.header("connection")), (413, Some("close")));
    // In pieces nothing is known before: refused at the piece that is too much, without waiting for the rest.
    let request = HttpRequest::post("/in/open").body(dripping(vec![(Duration::ZERO, 4000), (Duration::ZERO, 97)])).unwrap();
    let start = tokio::time::Instant::now();
    assert_eq!(yard.send(request).await.status, 413);
    assert_eq!((start.elapsed(), yard.ingest.body_bytes()), (Duration::ZERO, 0));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_slow_is_given_up() {
    let yard = Yard::new(Limits::default());
    let second = Duration::from_secs(1);
    for (pieces, after) in [
        (vec![], body::HEAD_START),
        // A byte a second earns nothing.
        (vec![(second, 1); 60], body::HEAD_START),
        // Two seconds' worth at once, then silence.
        (vec![(second, 2 * body::LEAST_PACE)], body::HEAD_START + 2 * second),
        // Fast enough, but never done.
        (vec![(second, 2 * body::LEAST_PACE); 60], body::BODY_WITHIN),
    ] {
        let start = tokio::time::Instant::now();
        let said = yard.send(HttpRequest::post("/in/open").body(dripping(pieces)).unwrap()).await;
        assert_eq!((said.status, start.elapsed().as_secs(), said.header("connection")), (408, after.as_secs(), Some("close")));
    }
    assert_eq!((yard.ingest.body_bytes(), yard.tally("open").of(Answer::TooSlow)), (0, 4));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_nothing() {
    let yard = Yard::new(Limits::default());
    let frames = stream::iter([Ok(Frame::data(Bytes::from("{"))), Err(std::io::Error::other("gone"))]);
    let said = yard.send(HttpRequest::post("/in/open").body(StreamBody::new(frames)).unwrap()).await;
    assert_eq!((said.status, yard.keep.events().len()), (400, 0));
}

#[tokio::test]
async fn too_many_headers_or_bytes_of_them_are_refused() {
    let yard = Yard::new(Limits::default());
    let with = |count: usize, bytes: usize| {
        let mut request = post("/in/open", &[], "");
        for number in 0..count {
            request.headers_mut().append("x-h", HeaderValue::from_str(&format!("{number:0bytes$}")).unwrap());
        }
        request
    };
    assert_eq!(yard.send(with(MOST_HEADERS, 10)).await.status, 200);
    assert_eq!(yard.send(with(MOST_HEADERS + 1, 10)).await.status, 431);
    assert_eq!(yard.send(with(1, MOST_HEADER_BYTES - 3)).await.status, 200);
    assert_eq!(yard.send(with(1, MOST_HEADER_BYTES - 2)).await.status, 431);
}

#[tokio::test]
async fn bodies_beyond_the_budget_hear_try_again() {
    let yard = Yard::new(Limits { max_body: 1000, body_budget: 1500, ..Limits::default() });
    yard.keep.allowed.forget_permits(1_000);
    let first = {
        let ingest = Arc::clone(&yard.ingest);
        let (parts, body) = post("/in/open", &[], vec![b'x'; 1000]).into_parts();
        tokio::spawn(async move { ingest.handle(parts, body, PEER.parse().unwrap()).await })
    };
    while yard.ingest.body_bytes() < 1000 {
        tokio::task::yield_now().await;
    }
    let said = yard.send(post("/in/open", &[], vec![b'y'; 600])).await;
    assert_eq!((said.status, said.header("retry-after"), said.header("connection")), (503, Some("5"), Some("close")));
    assert_eq!(said.body, r#"{"error":"cannot keep it now, try again"}"#);
    yard.keep.allowed.add_permits(10);
    assert_eq!(first.await.unwrap().status(), StatusCode::OK);
    assert_eq!(yard.send(post("/in/open", &[], vec![b'y'; 600])).await.status, 200);
    assert_eq!(yard.ingest.body_bytes(), 0);
}

#[tokio::test]
async fn a_journal_that_is_full_or_fails_is_never_a_200() {
    let yard = Yard::new(Limits::default());
    let all = [(NotKept::Full, Answer::NoRoom, 1), (NotKept::Reserved, Answer::NoRoom, 2), (NotKept::Failed, Answer::CannotKeep, 1)];
    for (why, answer, times) in all {
        *yard.keep.fails.lock().unwrap() = Some(why);
        let said = yard.send(order(&yard, "T", "{}")).await;
        assert_eq!((said.status, said.header("retry-after"), said.header("connection")), (503, Some("5"), None));
        assert_eq!(yard.tally("shop").of(answer), times);
    }
    assert_eq!(yard.tally("shop").of(Answer::Kept), 0);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_leaves_sooner_hears_a_503_sooner() {
    let hasty = sources("{ hasty: { verify: slack, secret: made-up }, calm: { verify: github, secret: made-up } }", Limits::default());
    let waits = ["hasty", "calm"].map(|name| within(hasty.named(name).unwrap()));
    assert_eq!(waits, [Duration::from_millis(2_400), KEPT_WITHIN]);
    let yard = Yard::new(Limits::default());
    yard.ingest.swap(hasty);
    yard.keep.allowed.forget_permits(1_000);
    let sources = yard.ingest.sources();
    let draft = Draft { topic: "T", body: b"{}", id: None };
    let headers = sources.named("hasty").unwrap().verifier.sign(&draft, yard.wall.wall()).unwrap().headers;
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let start = tokio::time::Instant::now();
    let said = yard.send(post("/hasty", &headers, "{}")).await;
    assert_eq!((said.status, start.elapsed().as_millis() / 100), (503, 24), "{}", said.body);
    let standing = yard.tally("hasty").standing();
    assert_eq!((standing.in_row, standing.proven_in_row), (1, 1), "it counts that as a failure of ours");
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_is_late_is_a_503_and_keeps_the_event_all_the_same() {
    let yard = Yard::new(Limits::default());
    yard.keep.allowed.forget_permits(1_000);
    let start = tokio::time::Instant::now();
    let said = yard.send(order(&yard, "T", "{}")).await;
    assert_eq!((said.status, start.elapsed().as_secs()), (503, KEPT_WITHIN.as_secs()));
    assert!(yard.keep.events().is_empty() && yard.ingest.body_bytes() > 0, "it still counts against the budget");
    yard.keep.allowed.add_permits(10);
    yard.ingest.settled().await;
    assert_eq!((yard.keep.events().len(), yard.ingest.body_bytes(), yard.tally("shop").of(Answer::Kept)), (1, 0, 1));
    let again = yard.send(order(&yard, "T", "{}")).await;
    assert!(again.body.contains("duplicate"), "the sender's next try hears so: {}", again.body);
}

#[tokio::test]
async fn a_sender_that_hangs_up_does_not_break_off_the_keeping() {
    let yard = Yard::new(Limits::default());
    yard.keep.allowed.forget_permits(1_000);
    let (parts, body) = order(&yard, "T", "{}").into_parts();
    let mut answering = Box::pin(yard.ingest.handle(parts, body, PEER.parse().unwrap()));
    assert!(answering.as_mut().now_or_never().is_none());
    drop(answering);
    yard.keep.allowed.add_permits(1);
    yard.ingest.settled().await;
    assert_eq!((yard.keep.events().len(), yard.ingest.body_bytes()), (1, 0));
}

#[tokio::test]
async fn a_forwarded_address_is_believed_from_trusted_proxies_alone() {
    let limits = Limits { trusted_proxies: ["10.0.0.0/8", "192.0.2.7/32"].map(|net| net.parse().unwrap()).into(), ..Limits::default() };
    let from = |peer: &str, forwarded: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_str(value).unwrap());
        }
        client(&limits, peer.parse().unwrap(), &headers).to_string()
    };
    for (peer, forwarded, expected) in [
        ("203.0.113.1", &["198.51.100.1"][..], "203.0.113.1"),
        ("10.0.0.1", &[], "10.0.0.1"),
        ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
        ("::ffff:10.0.0.1", &["198.51.100.1:443"], "198.51.100.1"),
        ("10.0.0.1", &["6.6.6.6, 198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        ("10.0.0.1", &["6.6.6.6", "198.51.100.1", "10.9.9.9, 192.0.2.7"], "198.51.100.1"),
        ("10.0.0.1", &["[2001:db8::1]:443"], "2001:db8::1"),
        ("10.0.0.1", &["6.6.6.6, unknown, 10.9.9.9"], "10.9.9.9"),
        ("10.0.0.1", &["6.6.6.6,"], "10.0.0.1"),
    ] {
        assert_eq!(from(peer, forwarded), expected, "{peer} {forwarded:?}");
    }
    let long = vec!["10.1.1.1"; 1_000].join(",");
    assert_eq!(from("10.0.0.1", &["6.6.6.6", &long]), "10.1.1.1", "bounded");
}

#[tokio::test]
async fn a_reload_changes_sources_and_limits_and_goes_on_counting() {
    let yard = Yard::new(Limits::default());
    yard.send(order(&yard, "T", "{}")).await;
    yard.ingest.swap(sources("{ shop: { path: /moved, verify: none } }", Limits { max_body: 3, ..Limits::default() }));
    assert_eq!(yard.send(post("/shop", &[], "")).await.status, 404);
    assert_eq!(yard.send(post("/moved", &[], "abc")).await.status, 200);
    assert_eq!(yard.send(post("/moved", &[], "abcd")).await.status, 413);
    assert_eq!((yard.tally("shop").of(Answer::Kept), yard.tally("shop").of(Answer::TooLarge)), (2, 1));
}

#[tokio::test]
async fn ids_sort_by_arrival_and_never_repeat() {
    let yard = Yard::new(Limits::default());
    for step in 0..50 {
        yard.wall.0.fetch_add(step % 2, Ordering::Relaxed);
        yard.send(post("/in/open", &[("x-id", &step.to_string())], "")).await;
    }
    let mut ids: Vec<_> = yard.keep.events().iter().map(|event| (event.received_at, event.id)).collect();
    assert_eq!((ids.len(), ids[0].1.0[6] >> 4), (50, 7), "version 7");
    ids.sort_by_key(|(_, id)| *id);
    assert!(ids.is_sorted_by_key(|(at, _)| *at), "{ids:?}");
    ids.dedup_by_key(|(_, id)| *id);
    assert_eq!(ids.len(), 50);
}
