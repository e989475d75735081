//! Client certificates: shown, read again when they change, and what becomes of a delivery when they are unusable.

use super::stage::{Listening, Papers, call, kit, limits, serve_one, text, until, url};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use switchyard_api::http::{Client, Connection, Version};
use switchyard_services::nginx::{Nginx, Settings};

/// A server that asks for a certificate, writes down whose it saw, and closes after each answer.
async fn asking(papers: &Papers) -> (Listening, Arc<Mutex<Vec<Vec<u8>>>>, Arc<AtomicUsize>) {
    let (seen, got) = (Arc::new(Mutex::new(vec![])), Arc::new(AtomicUsize::new(0)));
    let (see, count) = (Arc::clone(&seen), Arc::clone(&got));
    let port = Listening::open_tls(papers.server(&["http/1.1"], true), move |mut stream, _| {
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        see.lock().unwrap().push(shown);
        let count = Arc::clone(&count);
        async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut read = [0; 4096];
            if stream.read(&mut read).await.is_ok_and(|n| n > 0) {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
                let _ = stream.shutdown().await;
            }
        }
    })
    .await;
    (port, seen, got)
}

async fn word(client: &Client) -> (String, String) {
    match call(client, "x").await.0 {
        Ok(answer) => (answer.status.as_str().to_owned(), String::new()),
        Err(error) => (error.outcome().word().to_owned(), error.to_string()),
    }
}

#[tokio::test]
async fn a_changed_certificate_is_shown_at_the_next_connection() {
    let papers = Papers::new();
    let (port, seen, _) = asking(&papers).await;
    papers.write("shop", "first", 2099);
    let client = papers.client(&papers.showing("shop"), port.port);
    for _ in 0..2 {
        assert_eq!(word(&client).await.0, "200");
    }
    papers.write("shop", "second", 2099);
    assert_eq!(word(&client).await.0, "200");
    let seen = seen.lock().unwrap().clone();
    let holds = |at: usize, name: &str| seen[at].windows(name.len()).any(|window| window == name.as_bytes());
    assert!(holds(0, "first") && holds(1, "first") && holds(2, "second"));
}

#[tokio::test]
async fn a_certificate_that_is_over_or_gone_holds_the_backlog_and_names_its_file() {
    let papers = Papers::new();
    let (port, _, got) = asking(&papers).await;
    papers.write("shop", "shop", 2026); // over since January
    let client = papers.client(&papers.showing("shop"), port.port);
    let (over, told) = word(&client).await;
    let path = papers.path("shop.pem");
    assert!(over == "misconfigured" && told.contains("expired at 2026-01-01T00:00:00Z") && told.contains(path.to_str().unwrap()), "{told}");
    let told = client.reach().await.unwrap_err().to_string();
    assert!(told.contains("expired"), "{told}");

    papers.write("shop", "shop", 2099);
    assert_eq!(word(&client).await.0, "200");

    std::fs::remove_file(&path).unwrap();
    let (gone, told) = word(&client).await;
    assert!(gone == "misconfigured" && told.contains(path.to_str().unwrap()), "{gone}: {told}");
    std::fs::write(&path, "nothing").unwrap();
    assert_eq!(word(&client).await.0, "misconfigured");
    papers.write("shop", "shop", 2099);
    assert_eq!(word(&client).await.0, "200");
    assert_eq!(got.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_pair_of_which_one_is_written_already_leaves_the_old_one_in_use() {
    let papers = Papers::new();
    let (port, seen, _) = asking(&papers).await;
    papers.write("shop", "first", 2099);
    let client = papers.client(&papers.showing("shop"), port.port);
    papers.write("new", "second", 2099);
    std::fs::copy(papers.path("new.pem"), papers.path("shop.pem")).unwrap();
    assert_eq!(word(&client).await.0, "200");
    std::fs::copy(papers.path("new.key"), papers.path("shop.key")).unwrap();
    assert_eq!(word(&client).await.0, "200");
    let seen = seen.lock().unwrap().clone();
    let holds = |at: usize, name: &str| seen[at].windows(name.len()).any(|window| window == name.as_bytes());
    assert!(holds(0, "first") && holds(1, "second"));
}

#[tokio::test]
async fn who_refuses_us_for_who_we_are_makes_it_misconfigured_and_not_unknown() {
    let (papers, strangers) = (Papers::new(), Papers::new());
    for protocols in [&["http/1.1"][..], &["h2"][..]] {
        let got = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&got);
        let port = Listening::open_tls(papers.server(protocols, true), move |stream, _| serve_one(stream, Arc::clone(&count))).await;
        strangers.write("stranger", "stranger", 2099);
        std::fs::copy(strangers.path("stranger.pem"), papers.path("stranger.pem")).unwrap();
        std::fs::copy(strangers.path("stranger.key"), papers.path("stranger.key")).unwrap();
        for connection in [papers.trusting(), papers.showing("stranger")] {
            let (outcome, told) = word(&papers.client(&connection, port.port)).await;
            assert!(outcome == "misconfigured" && told.contains("TLS"), "{protocols:?}: {outcome}: {told}");
        }
        assert_eq!(got.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn files_that_are_none_keep_the_client_from_being_made() {
    let papers = Papers::new();
    papers.write("shop", "shop", 2099);
    papers.write("other", "other", 2099);
    std::fs::copy(papers.path("other.key"), papers.path("mixed.key")).unwrap();
    std::fs::copy(papers.path("shop.pem"), papers.path("mixed.pem")).unwrap();
    std::fs::copy(papers.path("shop.pem"), papers.path("keyless.pem")).unwrap();
    for (name, tells) in [("missing", "missing.pem"), ("keyless", "keyless.key"), ("mixed", "mixed.key")] {
        let made = papers.showing(name).client(url("https://a.example/hush"), limits(), &kit(papers.folder.path()));
        let told = made.err().unwrap().to_string();
        assert!(told.contains(tells) && !told.contains("hush"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_knows_us_by_our_certificate_over_both_versions() {
    let papers = Papers::new();
    papers.write("server", "localhost", 2099);
    papers.write("shop", "our-shop", 2099);
    let settings = Settings {
        identity: Some((papers.path("server.pem"), papers.path("server.key"))),
        client_ca: Some(papers.path("root.pem")),
        http2: true,
        says: "known".into(),
        ..Settings::default()
    };
    let server = Nginx::start(&settings).unwrap();
    for (http, version) in [(Version::One, "HTTP/1.1"), (Version::Auto, "HTTP/2.0")] {
        let client = papers.client(&Connection { http, ..papers.showing("shop") }, server.port());
        assert_eq!(text(&call(&client, "x").await.0.unwrap()), "known");
        let line = format!("POST /in?x=1 {version} 200 CN=our-shop");
        // It writes the line after the answer.
        until(|| server.requests().unwrap().contains(&line)).await;
    }
}

#[tokio::test]
async fn a_port_that_speaks_no_tls_is_told_as_one() {
    let papers = Papers::new();
    let port = Listening::open(|mut stream, _| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        let _ = stream.shutdown().await;
    })
    .await;
    let (outcome, told) = word(&papers.client(&Connection::default(), port.port)).await;
    assert_eq!(
        (outcome.as_str(), told.as_str()),
        ("misconfigured", "TLS with `localhost` is refused: it speaks no TLS there; is it the right port?")
    );
}
