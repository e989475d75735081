//! Real connections: raw bytes over loopback, and over a pipe on paused time where a limit takes seconds.

use super::super::handle::tests::{Memory, sources};
use super::super::section::TlsSection;
use super::super::sources::Limits;
use super::super::tls::Tls;
use super::*;
use crate::model::SystemClock;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use std::fs;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::task::JoinHandle;
use tokio::time::Instant;

const OPEN: &str = "{ open: { path: /in, verify: none, dedupe: 0s } }";
const GRACE: Duration = Duration::from_secs(20);

fn ingest(limits: Limits) -> (Arc<Memory>, Arc<Ingest<Memory>>) {
    let keep = Memory::new();
    let ingest = Ingest::new(sources(OPEN, limits), Arc::clone(&keep), Arc::new(SystemClock::default()), 7);
    (keep, Arc::new(ingest))
}

struct Yard {
    keep: Arc<Memory>,
    ingest: Arc<Ingest<Memory>>,
    at: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Yard {
    async fn new(limits: Limits, caps: Caps, tls: Option<&Tls>, grace: Duration) -> Self {
        let (keep, ingest) = ingest(limits);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let served = tokio::spawn(serve(listener, tls.map(Tls::config), Arc::clone(&ingest), caps, stop.clone(), grace));
        Yard { keep, ingest, at, stop, served }
    }

    async fn plain() -> Self {
        Yard::new(Limits::default(), Caps::default(), None, GRACE).await
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.at).await.unwrap()
    }

    /// Sends these bytes and reads until the other side closes.
    async fn say(&self, bytes: &[u8]) -> String {
        let mut socket = self.connect().await;
        socket.write_all(bytes).await.unwrap();
        rest(&mut socket).await
    }
}

async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut said = vec![];
    stream.read_to_end(&mut said).await.unwrap();
    String::from_utf8_lossy(&said).into_owned()
}

/// Reads until this text was said.
async fn until(stream: &mut (impl AsyncRead + Unpin), text: &str) -> String {
    let mut said = String::new();
    while !said.contains(text) {
        let mut some = [0; 1024];
        let count = stream.read(&mut some).await.unwrap();
        assert!(count > 0, "closed after {said:?}");
        said.push_str(std::str::from_utf8(&some[..count]).unwrap());
    }
    said
}

async fn eventually(what: impl Fn() -> bool) {
    while !what() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn post(body: &str, more: &str) -> Vec<u8> {
    format!("POST /in HTTP/1.1\r\nhost: a\r\n{more}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A body for nobody.
fn elsewhere(bytes: usize) -> Vec<u8> {
    format!("POST /no HTTP/1.1\r\nhost: a\r\ncontent-length: {bytes}\r\n\r\n{}", "x".repeat(bytes)).into_bytes()
}

fn statuses(said: &str) -> Vec<&str> {
    said.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect()
}

#[tokio::test]
async fn an_event_arrives_over_a_real_connection() {
    let yard = Yard::plain().await;
    let said = yard.say(&post("{}", "connection: close\r\nexpect: 100-continue\r\n")).await;
    assert!(said.contains(r#"{"event":"evt_"#) && said.contains("content-type: application/json"), "{said}");
    let chunked = b"POST /in HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nt: x\r\n\r\n";
    assert_eq!(statuses(&yard.say(chunked).await), ["200"]);
    let bodies: Vec<_> = yard.keep.events().into_iter().map(|event| event.body).collect();
    assert_eq!(bodies, ["{}", "abc"]);
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_their_order() {
    let yard = Yard::plain().await;
    let mut bytes = post("1", "");
    bytes.extend(post("2", "").repeat(3));
    bytes.extend(post("last", "connection: close\r\n"));
    assert_eq!(statuses(&yard.say(&bytes).await), ["200"; 5]);
    let bodies: Vec<_> = yard.keep.events().into_iter().map(|event| event.body).collect();
    assert_eq!(bodies, ["1", "2", "2", "2", "last"]);
}

#[tokio::test]
async fn what_could_be_read_in_two_ways_is_refused_and_nothing_after_it_served() {
    let yard = Yard::plain().await;
    let after = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    for head in [
        "\x16\x03\x01\x00\x05hello",
        "garbage\r\n\r\n",
        "POST /in HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "POST /in HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\na",
        "POST /in HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\na",
        "POST /in HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST /in HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /in HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST /in HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "POST /in HTTP/1.1\r\nhost: a\r\ncontent-length : 1\r\n\r\na",
        "POST /in HTTP/1.1\r\nhost: a\r\n x: folded\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "POST /in HTTP/1.1\r\nhost: a\r\ncontent-length: 40\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /in HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 40\r\n\r\n0\r\n\r\n",
        "POST /in HTTP/1.1\nhost: a\ncontent-length: 0\n\n",
        "POST /in HTTP/1.1\r\nhost: a\nx: y\r\ncontent-length: 0\r\n\r\n",
        "POST /in HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
        "POST /in HTTP/1.1\r\nhost: a\r\nhost: b\r\ncontent-length: 0\r\n\r\n",
    ] {
        let said = yard.say(format!("{head}{after}").as_bytes()).await;
        assert!(statuses(&said).len() <= 1 && !said.contains(" 404 ") && !said.contains(" 200 "), "{head:?}: {said}");
    }
    // One that was right before it changes nothing.
    let second = "POST /in HTTP/1.1\r\nhost: a\r\ncontent-length: 40\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let said = yard.say(&[&post("", ""), second.as_bytes(), after.as_bytes()].concat()).await;
    assert_eq!(statuses(&said), ["200", "400"]);
    // Who speaks HTTP/1.0 need not name a host.
    assert_eq!(statuses(&yard.say(b"POST /in HTTP/1.0\r\ncontent-length: 0\r\n\r\n").await.replace("HTTP/1.0", "HTTP/1.1")), ["200"]);
    assert_eq!(yard.keep.events().len(), 2);
    assert!(yard.keep.events().iter().all(|event| event.body.is_empty()));
}

#[tokio::test]
async fn heads_beyond_their_bounds_are_refused() {
    let yard = Yard::plain().await;
    let many = post("", &"x: y\r\n".repeat(110));
    assert_eq!(statuses(&yard.say(&many).await), ["431"]);
    let mut socket = yard.connect().await;
    let long = post("", &format!("x: {}\r\n", "y".repeat(70 << 10)));
    // The rest may meet a closed door.
    let _ = socket.write_all(&long).await;
    let mut said = vec![];
    let _ = socket.read_to_end(&mut said).await;
    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&said));
    assert!(yard.keep.events().is_empty());
}

#[tokio::test]
async fn who_is_refused_while_sending_still_hears_why() {
    let yard = Yard::new(Limits { max_body: 1000, ..Limits::default() }, Caps::default(), None, GRACE).await;
    for _ in 0..10 {
        let said = yard.say(&post(&"x".repeat(100_000), "")).await;
        assert_eq!(statuses(&said), ["413"]);
        let said = yard.say(&elsewhere(99_999)).await;
        assert_eq!(statuses(&said), ["404"]);
    }
}

/// One connection over a pipe, on paused time.
fn pipe() -> (tokio::io::DuplexStream, Arc<Memory>, JoinHandle<()>) {
    pipe_of(1 << 20)
}

/// The same, and no more than so many bytes are on their way.
fn pipe_of(bytes: usize) -> (tokio::io::DuplexStream, Arc<Memory>, JoinHandle<()>) {
    let (keep, ingest) = ingest(Limits::default());
    let (near, far) = duplex(bytes);
    let served = tokio::spawn(converse(far, SocketAddr::from(([192, 0, 2, 1], 1)), ingest));
    (near, keep, served)
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_is_given_up_from_the_first_byte_on() {
    for begun in ["", "P", "POST /in HTTP/1.1\r\nhost: a\r\n"] {
        let (mut near, _, served) = pipe();
        near.write_all(begun.as_bytes()).await.unwrap();
        let start = Instant::now();
        rest(&mut near).await;
        served.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), HEAD_WITHIN.as_secs(), "{begun:?}");
    }
    // A byte a second does not help.
    let (near, _, served) = pipe();
    let (mut read, mut write) = tokio::io::split(near);
    let dripping = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if write.write_all(b"P").await.is_err() {
                return;
            }
        }
    });
    let start = Instant::now();
    rest(&mut read).await;
    served.await.unwrap();
    assert!(start.elapsed() <= HEAD_WITHIN + Duration::from_secs(1));
    dripping.abort();
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_refused_body_is_thrown_away_for_a_while_and_no_longer() {
    let (mut near, _, served) = pipe_of(1024);
    near.write_all(&elsewhere(MOST_LINGERED / 2)).await.unwrap();
    assert_eq!(statuses(&rest(&mut near).await), ["404"], "after all was sent");
    drop(near);
    served.await.unwrap();

    // Who never ends is cut after so many bytes, who says nothing more after so long.
    let (mut near, _, served) = pipe_of(1024);
    assert!(near.write_all(&elsewhere(2 * MOST_LINGERED)).await.is_err());
    served.await.unwrap();
    let (mut near, _, served) = pipe_of(1024);
    near.write_all(b"POST /no HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf").await.unwrap();
    let start = Instant::now();
    served.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), LINGER.as_secs());

    // After a body that was read nothing is waited for.
    let (mut near, _, served) = pipe_of(1024);
    near.write_all(&post("{}", "connection: close\r\n")).await.unwrap();
    let start = Instant::now();
    served.await.unwrap();
    assert_eq!((start.elapsed(), statuses(&rest(&mut near).await)), (Duration::ZERO, vec!["200"]));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed() {
    let (mut near, keep, served) = pipe();
    near.write_all(&post("1", "")).await.unwrap();
    until(&mut near, "evt_").await;
    tokio::time::sleep(HEAD_WITHIN / 2).await;
    near.write_all(&post("2", "")).await.unwrap();
    until(&mut near, "evt_").await;
    let start = Instant::now();
    rest(&mut near).await;
    served.await.unwrap();
    assert_eq!((start.elapsed().as_secs(), keep.events().len()), (HEAD_WITHIN.as_secs(), 2));
}

#[tokio::test(start_paused = true)]
async fn half_a_body_is_given_up_and_nothing_kept() {
    let (mut near, keep, served) = pipe();
    near.write_all(b"POST /in HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
    let said = rest(&mut near).await;
    served.await.unwrap();
    assert_eq!((statuses(&said), keep.events().len()), (vec!["408"], 0));
    // And where the sender ends in the middle.
    let (mut near, keep, served) = pipe();
    near.write_all(b"POST /in HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
    drop(near);
    served.await.unwrap();
    assert!(keep.events().is_empty());
}

#[tokio::test]
async fn stopping_lets_what_is_under_way_end_and_closes_what_is_idle() {
    let yard = Yard::plain().await;
    let mut idle = yard.connect().await;
    idle.write_all(&post("first", "")).await.unwrap();
    until(&mut idle, "evt_").await;
    yard.keep.allowed.forget_permits(1_000);
    let mut busy = yard.connect().await;
    busy.write_all(&post("under way", "")).await.unwrap();
    eventually(|| yard.ingest.body_bytes() > 0).await;
    yard.stop.cancel();
    assert_eq!(rest(&mut idle).await, "", "closed at once");
    assert!(!yard.served.is_finished());
    yard.keep.allowed.add_permits(1);
    let said = rest(&mut busy).await;
    assert!(statuses(&said) == ["200"] && said.contains("connection: close"), "{said}");
    yard.served.await.unwrap();
    assert_eq!(yard.keep.events().len(), 2);
    assert!(TcpStream::connect(yard.at).await.is_err());
}

#[tokio::test]
async fn after_the_grace_connections_are_cut_and_begun_events_still_kept() {
    let yard = Yard::new(Limits::default(), Caps::default(), None, Duration::from_millis(1)).await;
    yard.keep.allowed.forget_permits(1_000);
    let mut busy = yard.connect().await;
    busy.write_all(&post("under way", "")).await.unwrap();
    eventually(|| yard.ingest.body_bytes() > 0).await;
    yard.stop.cancel();
    assert_eq!(rest(&mut busy).await, "", "no 200 for what is not durable yet");
    yard.keep.allowed.add_permits(1);
    yard.served.await.unwrap();
    assert_eq!(yard.keep.events().len(), 1);
}

#[tokio::test]
async fn a_sender_that_is_gone_before_its_answer_does_not_undo_its_event() {
    let yard = Yard::plain().await;
    yard.keep.allowed.forget_permits(1_000);
    let mut gone = yard.connect().await;
    gone.write_all(&post("gone", "")).await.unwrap();
    eventually(|| yard.ingest.body_bytes() > 0).await;
    gone.set_zero_linger().unwrap();
    drop(gone);
    yard.keep.allowed.add_permits(1);
    eventually(|| yard.keep.events().len() == 1).await;
}

#[tokio::test]
async fn connections_of_an_address_are_capped() {
    let yard = Yard::new(Limits::default(), Caps { connections: 10, per_address: 2 }, None, GRACE).await;
    let (mut first, mut second, mut third) = (yard.connect().await, yard.connect().await, yard.connect().await);
    assert_eq!(rest(&mut third).await, "", "closed");
    first.write_all(&post("1", "connection: close\r\n")).await.unwrap();
    assert_eq!(statuses(&rest(&mut first).await), ["200"]);
    // There is room again once the first has gone.
    let said = loop {
        let mut next = yard.connect().await;
        if next.write_all(&post("3", "connection: close\r\n")).await.is_ok() {
            let mut said = vec![];
            if next.read_to_end(&mut said).await.is_ok() && !said.is_empty() {
                break String::from_utf8(said).unwrap();
            }
        }
    };
    assert_eq!(statuses(&said), ["200"]);
    second.write_all(&post("2", "connection: close\r\n")).await.unwrap();
    assert_eq!(statuses(&rest(&mut second).await), ["200"]);
}

#[tokio::test]
async fn who_comes_too_many_takes_the_place_of_one_that_waits_and_not_of_one_at_work() {
    let yard = Yard::new(Limits::default(), Caps { connections: 3, per_address: 9 }, None, GRACE).await;
    yard.keep.allowed.forget_permits(1_000);
    let mut works = yard.connect().await;
    works.write_all(&post("works", "")).await.unwrap();
    eventually(|| yard.ingest.body_bytes() > 0).await;
    let (mut half, mut idle) = (yard.connect().await, yard.connect().await);
    half.write_all(b"POST /in HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nx").await.unwrap();
    eventually(|| yard.ingest.body_bytes() > "works".len()).await;
    let mut next = [yard.connect().await, yard.connect().await];
    assert_eq!(gone(&mut half).await, "", "half a body waits too");
    assert_eq!(gone(&mut idle).await, "");
    for (nth, socket) in next.iter_mut().enumerate() {
        socket.write_all(&post(&format!("next {nth}"), "")).await.unwrap();
    }
    eventually(|| yard.ingest.body_bytes() == "worksnext 0next 1".len()).await;
    // Now everybody is at work: there is one too many, and a further one waits until those who are done have left.
    let mut last = [yard.connect().await, yard.connect().await];
    for (nth, socket) in last.iter_mut().enumerate() {
        socket.write_all(&post(&format!("last {nth}"), "")).await.unwrap();
    }
    eventually(|| yard.ingest.body_bytes() == "worksnext 0next 1last 0".len()).await;
    yard.keep.allowed.add_permits(1_000);
    for socket in [&mut works].into_iter().chain(&mut next).chain(&mut last) {
        assert!(until(socket, "\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(yard.keep.events().len(), 5);
}

/// Reads until the other side closes, or resets.
async fn gone(stream: &mut TcpStream) -> String {
    let mut said = vec![];
    let _ = stream.read_to_end(&mut said).await;
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn who_has_said_all_may_close_its_half_and_hears_the_answer() {
    let yard = Yard::plain().await;
    yard.keep.allowed.forget_permits(1_000);
    let mut half = yard.connect().await;
    half.write_all(&post("half", "")).await.unwrap();
    half.shutdown().await.unwrap();
    eventually(|| yard.ingest.body_bytes() > 0).await;
    yard.keep.allowed.add_permits(1);
    assert_eq!(statuses(&rest(&mut half).await), ["200"]);
}

fn write_pair(folder: &std::path::Path) -> rcgen::Certificate {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert
}

async fn over_tls(yard: &Yard, trusted: &rcgen::Certificate) -> Result<String, io::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.der().clone()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), yard.connect().await).await?;
    stream.write_all(&post("{}", "connection: close\r\n")).await?;
    Ok(rest(&mut stream).await)
}

#[tokio::test]
async fn a_certificate_is_swapped_while_connections_come() {
    let folder = tempfile::tempdir().unwrap();
    let first = write_pair(folder.path());
    let tls = Tls::load(&TlsSection { cert: "cert.pem".into(), key: "key.pem".into(), client_ca: None }, folder.path()).unwrap();
    let yard = Yard::new(Limits::default(), Caps::default(), Some(&tls), GRACE).await;
    assert_eq!(statuses(&over_tls(&yard, &first).await.unwrap()), ["200"]);
    // A connection that was there before goes on; plain bytes are no TLS.
    let mut early = yard.connect().await;
    let second = write_pair(folder.path());
    fs::write(folder.path().join("key.pem"), "no key").unwrap();
    assert!(tls.reload().is_err());
    assert_eq!(statuses(&over_tls(&yard, &first).await.unwrap()), ["200"], "a bad pair changes nothing");
    let third = write_pair(folder.path());
    tls.reload().unwrap();
    assert_eq!(statuses(&over_tls(&yard, &third).await.unwrap()), ["200"]);
    assert!(over_tls(&yard, &second).await.is_err() && over_tls(&yard, &first).await.is_err());
    early.write_all(b"POST /in HTTP/1.1\r\n\r\n").await.unwrap();
    let mut said = vec![];
    let _ = early.read_to_end(&mut said).await;
    assert!(!said.starts_with(b"HTTP"), "{said:?}");
    assert_eq!(yard.keep.events().len(), 3);
}
