//! Through a real proxy (tinyproxy): tunnels, plain requests, and what its refusals mean.

use super::stage::{Listening, Papers, at, call, kit, limits, post, serve_one, text, url, with_proxy};
use futures_util::future::{BoxFuture, FutureExt};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use switchyard_api::Secret;
use switchyard_api::egress::{Decided, Egress, Resolve};
use switchyard_api::http::{CallError, Client, Connection, Rules};
use switchyard_services::Tinyproxy;
use switchyard_services::tinyproxy::{PASSWORD, USER};

fn good(proxy: &Tinyproxy) -> String {
    format!("http://{USER}:{PASSWORD}@{}", proxy.address())
}

async fn plain() -> (Listening, Arc<AtomicUsize>) {
    let got = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&got);
    (Listening::open(move |stream, _| serve_one(stream, Arc::clone(&count))).await, got)
}

fn client(connection: &Connection, to: &str) -> Client {
    connection.client(url(to), limits(), &kit(Path::new("/"))).unwrap()
}

async fn error(client: &Client) -> CallError {
    let (answer, sent) = call(client, "x").await;
    let error = answer.unwrap_err();
    assert_eq!(sent, 0, "{error}");
    assert!(!error.to_string().contains(PASSWORD), "{error}");
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_requests_are_handed_over_whole_and_tls_goes_through_a_tunnel() {
    let proxy = Tinyproxy::start(&[]).unwrap();
    let (server, got) = plain().await;
    let plain = client(&with_proxy(&good(&proxy)), &format!("http://127.0.0.1:{}/", server.port));
    // It hangs up after each answer, in its own time.
    for _ in 0..20 {
        assert_eq!(text(&call(&plain, "x").await.0.unwrap()), "POST /in?x=1 HTTP/1.1");
    }
    assert_eq!(got.load(Ordering::SeqCst), 20);

    let papers = Papers::new();
    let count = Arc::clone(&got);
    let secure = Listening::open_tls(papers.server(&[], false), move |stream, _| serve_one(stream, Arc::clone(&count))).await;
    let connection = Connection { proxy: Some(at(Secret::new(good(&proxy)))), ..papers.trusting() };
    let tunnelled = papers.client(&connection, secure.port);
    tunnelled.reach().await.unwrap();
    for _ in 0..3 {
        assert_eq!(text(&call(&tunnelled, "x").await.0.unwrap()), "POST /in?x=1 HTTP/1.1");
    }
    assert_eq!((got.load(Ordering::SeqCst), secure.connections()), (23, 1));
    let log = proxy.log().unwrap();
    assert!(
        log.contains(&format!("CONNECT localhost:{}", secure.port)) && log.contains(&format!("POST http://127.0.0.1:{}/in", server.port)),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_refuses_us_is_misconfigured_and_one_that_is_not_there_is_down() {
    let papers = Papers::new();
    let got = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&got);
    let secure = Listening::open_tls(papers.server(&[], false), move |stream, _| serve_one(stream, Arc::clone(&count))).await;
    let (server, plain_got) = plain().await;
    let proxy = Tinyproxy::start(&[secure.port]).unwrap();
    let through = |proxy: String| Connection { proxy: Some(at(Secret::new(proxy))), ..papers.trusting() };

    // It says 401 to who shows the wrong ones.
    for (status, user) in [(407, String::new()), (401, format!("{USER}:wrong-{PASSWORD}@"))] {
        let wrong = format!("http://{user}{}", proxy.address());
        let told = error(&papers.client(&through(wrong.clone()), secure.port)).await;
        assert!(matches!(told, CallError::ProxyRefuses { .. }) && told.to_string().contains(&format!("password ({status})")), "{told}");
        assert_eq!(told.outcome().word(), "misconfigured");
        // A plain request gets its refusal as an answer.
        let answer = call(&client(&with_proxy(&wrong), &format!("http://127.0.0.1:{}/", server.port)), "x").await.0.unwrap();
        let told = Rules::default().judge(&answer, 0, false);
        assert_eq!((answer.status.as_u16(), told.word()), (status, "misconfigured"));
    }

    let told = error(&papers.client(&through(good(&proxy)), server.port)).await;
    assert!(
        matches!(told, CallError::ProxyRefuses { .. }) && told.outcome().word() == "misconfigured",
        "a port it does not tunnel to: {told}"
    );

    let nobody = switchyard_services::net::free_port().unwrap();
    let told = error(&papers.client(&through(format!("http://127.0.0.1:{nobody}")), secure.port)).await;
    assert!(matches!(told, CallError::Proxy { .. }) && told.outcome().word() == "down", "{told}");

    let open = Tinyproxy::start(&[]).unwrap();
    let told = error(&papers.client(&through(good(&open)), nobody)).await;
    assert!(matches!(told, CallError::Proxy { .. }) && told.outcome().word() == "down", "it cannot reach the far side: {told}");
    assert_eq!((got.load(Ordering::SeqCst), plain_got.load(Ordering::SeqCst)), (0, 0));
}

/// Knows one name that no resolver of the world has.
struct OneName;
impl Resolve for OneName {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        async move {
            match host {
                "hook.invalid" => Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]),
                "inside.invalid" => Ok(vec![SocketAddr::from(([10, 0, 0, 7], port))]),
                _ => host.parse().map(|ip| vec![SocketAddr::new(ip, port)]).map_err(|_| io::Error::other("no such name")),
            }
        }
        .boxed()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_of_an_event_is_resolved_and_judged_here_and_the_proxy_is_given_its_address() {
    let proxy = Tinyproxy::start(&[]).unwrap();
    let (server, got) = plain().await;
    let egress = Egress::new(["127.0.0.0/8".parse().unwrap()]).resolving_with(Arc::new(OneName));
    let kit = switchyard_api::Kit { egress, ..kit(Path::new("/")) };
    let client = with_proxy(&good(&proxy)).client(url("http://a.invalid/"), limits(), &kit).unwrap();
    let to = |host: &str| url(&format!("http://{host}:{}/", server.port));
    let answer = client.call_to(&to("hook.invalid"), post("x"), || {}).await.unwrap();
    assert_eq!((text(&answer).as_str(), got.load(Ordering::SeqCst)), ("POST /in?x=1 HTTP/1.1", 1));
    let log = proxy.log().unwrap();
    assert!(log.contains(&format!("CONNECT 127.0.0.1:{}", server.port)) && !log.contains("hook.invalid"), "{log}");
    let error = client.call_to(&to("inside.invalid"), post("x"), || unreachable!()).await.unwrap_err();
    assert_eq!(error.outcome_for(Decided::ByEvent).word(), "rejected", "{error}");
}

#[tokio::test]
async fn metadata_is_refused_though_the_proxy_would_resolve_it() {
    let (server, _) = plain().await;
    let proxy = with_proxy(&format!("http://127.0.0.1:{}", server.port));
    for host in ["169.254.169.254", "0xa9fea9fe", "[::ffff:169.254.169.254]", "metadata.google.internal"] {
        for scheme in ["http", "https"] {
            let told = error(&client(&proxy, &format!("{scheme}://{host}/"))).await;
            assert!(matches!(told, CallError::Refused { .. }) && told.outcome().word() == "misconfigured", "{told}");
        }
    }
    assert_eq!(server.connections(), 0);
}
