//! Whom outputs may reach: DNS that changes its answer, sixty spellings, redirects.

use super::stage::{Listening, call, kit, limits, post, serve_one, text, url};
use futures_util::future::{BoxFuture, FutureExt};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use switchyard_api::Kit;
use switchyard_api::egress::{Decided, Egress, Resolve};
use switchyard_api::http::{CallError, Client, Connection, Rules};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Gives its answers in turn, the last one for ever, and counts.
struct Fickle {
    answers: Vec<&'static str>,
    asked: Mutex<Vec<String>>,
}

impl Fickle {
    fn new(answers: &[&'static str]) -> Arc<Self> {
        Arc::new(Fickle { answers: answers.to_vec(), asked: Mutex::default() })
    }
    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Resolve for Fickle {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let mut asked = self.asked.lock().unwrap();
        let answer = self.answers[asked.len().min(self.answers.len() - 1)];
        asked.push(host.to_owned());
        async move { Ok(vec![SocketAddr::new(answer.parse().unwrap(), port)]) }.boxed()
    }
}

fn client(to: &str, egress: Egress) -> Client {
    let kit = Kit { egress, ..kit(Path::new("/")) };
    Connection::default().client(url(to), limits(), &kit).unwrap()
}
fn loopback_allowed(resolver: Arc<Fickle>) -> Egress {
    Egress::new(["127.0.0.1/32".parse().unwrap()]).resolving_with(resolver)
}
async fn server_on(address: &str) -> (Listening, Arc<AtomicUsize>) {
    let got = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&got);
    (Listening::open_on(address, move |stream, _| serve_one(stream, Arc::clone(&count))).await, got)
}

#[tokio::test]
async fn a_connection_goes_to_the_address_that_was_judged_and_the_name_is_asked_once() {
    let (judged, good) = server_on("127.0.0.1:0").await;
    // The same port elsewhere: where a second look-up would lead.
    let (_other, bad) = server_on(&format!("127.0.0.2:{}", judged.port)).await;
    let resolver = Fickle::new(&["127.0.0.1", "127.0.0.2"]);
    let client = client("http://a.example/", loopback_allowed(Arc::clone(&resolver)));
    let hook = url(&format!("http://rebind.example:{}/", judged.port));
    for _ in 0..3 {
        assert_eq!(text(&client.call_to(&hook, post("x"), || {}).await.unwrap()), "POST /in?x=1 HTTP/1.1");
    }
    assert_eq!((good.load(Ordering::SeqCst), bad.load(Ordering::SeqCst), resolver.asked()), (3, 0, 1));
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_judged_anew_at_each_connection() {
    for (second, told) in [("169.254.169.254", "metadata"), ("10.0.0.7", "egress: { allow: [10.0.0.7] }"), ("127.0.0.2", "not public")] {
        let (server, got) = server_on("127.0.0.1:0").await;
        let resolver = Fickle::new(&["127.0.0.1", second]);
        let egress = loopback_allowed(Arc::clone(&resolver));
        let hook = url(&format!("http://rebind.example:{}/", server.port));
        client("http://a.example/", egress.clone()).call_to(&hook, post("x"), || {}).await.unwrap();
        let error = client("http://a.example/", egress).call_to(&hook, post("x"), || unreachable!()).await.unwrap_err();
        assert!(matches!(error, CallError::Refused { .. }) && error.to_string().contains(told), "{error}");
        assert_eq!(error.outcome_for(Decided::ByEvent).word(), "rejected");
        assert_eq!((got.load(Ordering::SeqCst), resolver.asked()), (1, 2));
    }
}

#[tokio::test]
async fn the_files_own_host_may_be_private_and_never_metadata() {
    let (server, got) = server_on("127.0.0.1:0").await;
    let resolver = Fickle::new(&["127.0.0.1"]);
    let inside = client(&format!("http://inside.example:{}/", server.port), Egress::default().resolving_with(resolver));
    call(&inside, "x").await.0.unwrap();
    assert_eq!(got.load(Ordering::SeqCst), 1);
    for answer in ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "100.100.100.200", "192.0.0.192", "64:ff9b::a9fe:a9fe"] {
        let fooled = client("http://inside.example/", Egress::default().resolving_with(Fickle::new(&[answer])));
        let (answered, sent) = call(&fooled, "x").await;
        let error = answered.unwrap_err();
        assert!(matches!(error, CallError::Refused { .. }), "{answer}: {error}");
        assert_eq!((error.outcome().word(), sent), ("misconfigured", 0));
    }
}

#[tokio::test]
async fn no_spelling_of_this_machine_gets_an_event_to_it() {
    let (server, got) = server_on("0.0.0.0:0").await;
    // As the system's own resolver reads them.
    let client = client("http://a.example/", Egress::default());
    for host in [
        "127.0.0.1",
        "127.0.0.1.",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "0177.0.0.1",
        "0177.0.0.01",
        "127.0.0x0.1",
        "0",
        "0.0.0.0",
        "0x0",
        "00",
        "127.255.255.254",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[::ffff:0:127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:0:0:0:0:80ff:fffe]",
        "[fe80::5efe:127.0.0.1]",
        "[fc00::1]",
        "[fe80::1]",
        "[ff02::1]",
        "10.0.0.1",
        "10.1",
        "167772161",
        "192.168.1.1",
        "172.16.0.1",
        "100.64.0.1",
        "169.254.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.16689662",
        "[::ffff:a9fe:a9fe]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "192.0.0.192",
        "metadata",
        "metadata.google.internal",
        "metadata.google.internal.",
        "METADATA.GOOGLE.INTERNAL",
        "instance-data",
        "168.63.129.16",
        "[fd20:ce::254]",
    ] {
        let hook = url(&format!("http://{host}:{}/", server.port));
        let error = client.call_to(&hook, post("x"), || unreachable!()).await.unwrap_err();
        // A spelling that this system's resolver does not know reaches nobody either.
        assert!(matches!(error, CallError::Refused { .. } | CallError::Dns { .. }), "{host}: {error}");
        assert!(matches!(error.outcome_for(Decided::ByEvent).word(), "rejected" | "retry"), "{host}");
    }
    assert_eq!((server.connections(), got.load(Ordering::SeqCst)), (0, 0));
}

#[tokio::test]
async fn an_events_own_far_side_is_that_events_trouble_alone() {
    let resolver = Fickle::new(&["127.0.0.1"]);
    let client = client("http://a.example/", loopback_allowed(resolver));
    let nobody = switchyard_services::net::free_port().unwrap();
    let error = client.call_to(&url(&format!("http://gone.example:{nobody}/")), post("x"), || unreachable!()).await.unwrap_err();
    assert_eq!((error.outcome().word(), error.outcome_for(Decided::ByEvent).word()), ("down", "retry"), "{error}");
}

#[tokio::test]
async fn a_redirect_to_metadata_is_not_followed() {
    let resolver = Fickle::new(&["127.0.0.1"]);
    let server = Listening::open(|mut stream, _| async move {
        let mut read = [0; 4096];
        let _ = stream.read(&mut read).await;
        let _ = stream.write_all(b"HTTP/1.1 302 Found\r\nlocation: http://metadata.google.internal/\r\ncontent-length: 0\r\n\r\n").await;
        let _ = stream.read(&mut read).await;
    })
    .await;
    let client = client(&format!("http://shop.example:{}/", server.port), Egress::default().resolving_with(Arc::clone(&resolver) as _));
    let answer = call(&client, "x").await.0.unwrap();
    assert_eq!((answer.status.as_u16(), Rules::default().judge(&answer, 0, false).word()), (302, "misconfigured"));
    assert_eq!(*resolver.asked.lock().unwrap(), ["shop.example"]);
}

#[tokio::test]
async fn connections_to_events_hosts_are_kept_and_bounded() {
    let (server, got) = server_on("127.0.0.1:0").await;
    let client = client("http://a.example/", loopback_allowed(Fickle::new(&["127.0.0.1"])));
    let host = |number: usize| url(&format!("http://hook-{number}.example:{}/", server.port));
    for round in 1..=2 {
        for number in 0..64 {
            client.call_to(&host(number), post("x"), || {}).await.unwrap();
        }
        assert_eq!((server.connections(), got.load(Ordering::SeqCst)), (64, 64 * round), "each host's connection is kept");
    }
    client.call_to(&host(64), post("x"), || {}).await.unwrap();
    client.call_to(&host(0), post("x"), || {}).await.unwrap();
    assert_eq!(server.connections(), 66, "the host used longest ago made room");
}
