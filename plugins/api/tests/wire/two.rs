//! HTTP/2: chosen where it is offered, shared by calls, and what a request that got no answer means.

use super::stage::{Listening, Papers, call, kit, limits, post, quick, serve_one, text, until, url};
use bytes::Bytes;
use futures_util::future::join_all;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use switchyard_api::http::{Client, Connection, Limits, Version};
use switchyard_services::nginx::{Nginx, Settings};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;

const TWO: Connection = Connection { ca: None, tls: None, proxy: None, http: Version::Two };

fn client(port: u16, limits: Limits) -> Client {
    TWO.client(url(&format!("http://127.0.0.1:{port}/")), limits, &kit(Path::new("/"))).unwrap()
}

type Call = (Request<RecvStream>, SendResponse<Bytes>);

/// Serves HTTP/2 with so many streams at a time, each by `answer`.
async fn serve<S, F>(stream: S, most: u32, answer: impl Fn(Call) -> F)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = ()> + Send + 'static,
{
    let Ok(mut connection) = h2::server::Builder::new().max_concurrent_streams(most).handshake::<_, Bytes>(stream).await else { return };
    let mut tasks = tokio::task::JoinSet::new();
    while let Some(Ok(call)) = connection.accept().await {
        tasks.spawn(answer(call));
    }
}

/// Reads the body and answers with its length.
async fn length((mut request, mut respond): Call) {
    let mut length = 0;
    while let Some(Ok(data)) = request.body_mut().data().await {
        length += data.len();
        request.body_mut().flow_control().release_capacity(data.len()).unwrap();
    }
    let mut body = respond.send_response(Response::new(()), false).unwrap();
    body.send_data(length.to_string().into(), true).unwrap();
}

/// Holds the request and never answers.
async fn silence(call: Call) {
    std::future::pending::<()>().await;
    drop(call);
}

#[tokio::test]
async fn tls_offers_two_and_one_connection_carries_all_calls() {
    let papers = Papers::new();
    let server = Listening::open_tls(papers.server(&["h2", "http/1.1"], false), |stream, _| serve(stream, 100, length)).await;
    let client = papers.client(&papers.trusting(), server.port);
    for _ in 0..3 {
        let all = join_all((0..50).map(|_| call(&client, "abc"))).await;
        assert!(all.iter().all(|(answer, sent)| *sent == 1 && answer.as_ref().is_ok_and(|answer| text(answer) == "3")));
    }
    client.reach().await.unwrap();
    call(&client, "abc").await.0.unwrap();
    assert!(server.connections() <= 2, "one for the calls, one that `reach` opened: {}", server.connections());
}

#[tokio::test]
async fn one_is_spoken_where_two_is_not_offered_or_not_wanted() {
    let papers = Papers::new();
    let got = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&got);
    let old = Listening::open_tls(papers.server(&[], false), move |stream, _| serve_one(stream, Arc::clone(&count))).await;
    let auto = papers.client(&papers.trusting(), old.port);
    let all = join_all((0..20).map(|_| call(&auto, "x"))).await;
    assert!(all.iter().all(|(answer, _)| answer.as_ref().is_ok_and(|answer| text(answer) == "POST /in?x=1 HTTP/1.1")));

    let count = Arc::clone(&got);
    let both = papers.server(&["h2", "http/1.1"], false);
    let both = Listening::open_tls(both, move |stream, _| serve_one(stream, Arc::clone(&count))).await;
    let one = papers.client(&Connection { http: Version::One, ..papers.trusting() }, both.port);
    assert_eq!(text(&call(&one, "x").await.0.unwrap()), "POST /in?x=1 HTTP/1.1");

    let two = papers.client(&Connection { http: Version::Two, ..papers.trusting() }, old.port);
    let (answer, sent) = call(&two, "x").await;
    let error = answer.unwrap_err();
    assert_eq!((error.outcome().word(), sent), ("misconfigured", 0), "{error}");
    assert_eq!(got.load(Ordering::SeqCst), 21);
}

#[tokio::test]
async fn without_tls_two_is_spoken_only_when_the_file_says_so() {
    let server = Listening::open(|stream, _| serve(stream, 100, length)).await;
    assert_eq!(text(&call(&client(server.port, limits()), "four").await.0.unwrap()), "4");
    let old = Nginx::start(&Settings::default()).unwrap();
    let (answer, sent) = call(&client(old.port(), limits()), "x").await;
    let error = answer.unwrap_err();
    assert_eq!((error.outcome().word(), sent), ("misconfigured", 0), "{error}");
    assert!(error.to_string().contains("http: 2"), "{error}");
    // Who hangs up before it says anything may be on its way back.
    let gone = Listening::open(|stream, _| async move { drop(stream) }).await;
    let (answer, sent) = call(&client(gone.port, limits()), "x").await;
    assert_eq!((answer.unwrap_err().outcome().word(), sent), ("down", 0));
}

#[tokio::test]
async fn no_more_streams_are_opened_than_the_far_side_allows_and_who_waits_has_sent_nothing() {
    let (open, most, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (o, m, g) = (Arc::clone(&open), Arc::clone(&most), Arc::clone(&gate));
    let server = Listening::open(move |stream, _| {
        let (o, m, g) = (Arc::clone(&o), Arc::clone(&m), Arc::clone(&g));
        serve(stream, 2, move |call| {
            let (o, m, g) = (Arc::clone(&o), Arc::clone(&m), Arc::clone(&g));
            async move {
                m.fetch_max(o.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                g.acquire().await.unwrap().forget();
                o.fetch_sub(1, Ordering::SeqCst);
                length(call).await;
            }
        })
    })
    .await;
    let client = Arc::new(client(server.port, limits()));
    let sent = Arc::new(AtomicUsize::new(0));
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let (client, sent) = (Arc::clone(&client), Arc::clone(&sent));
            tokio::spawn(async move { client.call(post("x"), || _ = sent.fetch_add(1, Ordering::SeqCst)).await })
        })
        .collect();
    until(|| open.load(Ordering::SeqCst) == 2).await;
    assert_eq!(sent.load(Ordering::SeqCst), 2, "eight wait, and nothing of theirs left");
    gate.add_permits(10);
    for call in calls {
        assert_eq!(text(&call.await.unwrap().unwrap()), "1");
    }
    assert_eq!((most.load(Ordering::SeqCst), server.connections(), sent.load(Ordering::SeqCst)), (2, 1, 10));
}

#[tokio::test]
async fn a_call_that_is_dropped_gives_its_stream_back() {
    let server = Listening::open(|stream, _| {
        serve(stream, 1, |call: Call| async move {
            if call.0.headers().contains_key("content-length") {
                length(call).await;
            } else {
                silence(call).await;
            }
        })
    })
    .await;
    let client = client(server.port, limits());
    for _ in 0..5 {
        let sent = AtomicUsize::new(0);
        let mut waiting = Box::pin(client.call(post(""), || _ = sent.fetch_add(1, Ordering::SeqCst)));
        while sent.load(Ordering::SeqCst) == 0 {
            tokio::select! { _ = &mut waiting => unreachable!(), () = tokio::time::sleep(std::time::Duration::from_millis(1)) => {} }
        }
        drop(waiting);
        assert_eq!(text(&call(&client, "ab").await.0.unwrap()), "2");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn bodies_beyond_every_window_arrive_and_answers_end_at_their_cap() {
    let server = Listening::open(|stream, _| serve(stream, 10, length)).await;
    let client_ = client(server.port, limits());
    assert_eq!(text(&call(&client_, vec![b'x'; 3_000_000]).await.0.unwrap()), "3000000");

    let endless = Listening::open(|stream, _| {
        serve(stream, 10, |(_request, mut respond): Call| async move {
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            loop {
                body.reserve_capacity(16 * 1024);
                match std::future::poll_fn(|cx| body.poll_capacity(cx)).await {
                    Some(Ok(room)) => body.send_data(vec![b'y'; room].into(), false).unwrap(),
                    _ => return,
                }
            }
        })
    })
    .await;
    let client_ = client(endless.port, limits());
    for _ in 0..3 {
        let answer = call(&client_, "x").await.0.unwrap();
        assert_eq!((answer.body.len(), answer.whole), (16 * 1024, false));
    }
    assert_eq!(endless.connections(), 1, "a cut answer ends its stream alone");
}

/// A frame (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}
fn reset(stream: u32, reason: Reason) -> Vec<u8> {
    frame(3, 0, stream, &u32::from(reason).to_be_bytes())
}
fn go_away(last: u32, reason: Reason) -> Vec<u8> {
    frame(7, 0, 0, &[last.to_be_bytes(), u32::from(reason).to_be_bytes()].concat())
}

/// Greets, reads up to the first request, says `then`, and hangs up.
async fn says<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, then: Vec<u8>) {
    let mut preface = [0; 24];
    if stream.read_exact(&mut preface).await.is_err() || stream.write_all(&frame(4, 0, 0, &[])).await.is_err() {
        return;
    }
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return;
        }
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        let _ = stream.read_exact(&mut payload).await;
        if head[3] == 1 {
            break; // HEADERS
        }
    }
    let _ = stream.write_all(&then).await;
    let _ = stream.shutdown().await;
    // What else comes is read: unread bytes would make the system reset what was just said.
    let _ = stream.read_to_end(&mut vec![]).await;
}

#[tokio::test]
async fn what_the_far_side_says_it_did_not_process_goes_out_again() {
    for then in [go_away(0, Reason::NO_ERROR), go_away(0, Reason::ENHANCE_YOUR_CALM), reset(1, Reason::REFUSED_STREAM)] {
        let told = then.clone();
        let server = Listening::open(move |stream, number| {
            let told = told.clone();
            async move { if number == 0 { says(stream, told).await } else { serve(stream, 10, length).await } }
        })
        .await;
        let (answer, sent) = call(&client(server.port, limits()), "abc").await;
        assert_eq!((text(&answer.unwrap()).as_str(), sent, server.connections()), ("3", 1, 2), "{then:?}");
    }
}

#[tokio::test]
async fn who_never_takes_a_request_is_down_and_is_not_asked_for_ever() {
    let server = Listening::open(|stream, _| says(stream, go_away(0, Reason::NO_ERROR))).await;
    let (answer, sent) = call(&client(server.port, limits()), "abc").await;
    let error = answer.unwrap_err();
    assert_eq!((error.outcome().word(), sent, server.connections()), ("down", 1, 3), "{error}");
}

#[tokio::test]
async fn what_may_have_been_processed_is_unknown_and_goes_out_once() {
    for then in [
        go_away(1, Reason::NO_ERROR),
        go_away(1, Reason::INTERNAL_ERROR),
        reset(1, Reason::INTERNAL_ERROR),
        reset(1, Reason::CANCEL),
        vec![],
    ] {
        let told = then.clone();
        let server = Listening::open(move |stream, _| says(stream, told.clone())).await;
        let (answer, sent) = call(&client(server.port, limits()), "abc").await;
        let error = answer.unwrap_err();
        assert_eq!((error.outcome().word(), sent, server.connections()), ("unknown", 1, 1), "{then:?}: {error}");
    }
}

#[tokio::test]
async fn silence_is_unknown_and_the_next_call_gets_a_connection_of_its_own() {
    let server = Listening::open(|stream, number| async move {
        if number == 0 { serve(stream, 10, silence).await } else { serve(stream, 10, length).await }
    })
    .await;
    let client = client(server.port, quick());
    let (answer, sent) = call(&client, "x").await;
    assert_eq!((answer.unwrap_err().outcome().word(), sent), ("unknown", 1));
    assert_eq!(text(&call(&client, "x").await.0.unwrap()), "1");
    assert_eq!(server.connections(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_gets_each_request_once_though_it_closes_after_every_tenth() {
    let papers = Papers::new();
    papers.write("server", "localhost", 2099);
    let identity = Some((papers.path("server.pem"), papers.path("server.key")));
    let settings = Settings { identity, http2: true, requests_a_connection: 10, says: "thanks ".repeat(100), ..Settings::default() };
    let server = Nginx::start(&settings).unwrap();
    let client = papers.client(&papers.trusting(), server.port());
    let mut wanted = vec![];
    for round in 0..20 {
        let sent = |number: usize| {
            let request = http::Request::post(format!("/in/{round}/{number}")).header("accept-encoding", "gzip");
            client.call(request.body("order".into()).unwrap(), || {})
        };
        for (number, answer) in join_all((0..8).map(sent)).await.into_iter().enumerate() {
            let answer = answer.unwrap();
            assert_eq!((answer.status.as_u16(), answer.whole, text(&answer)), (200, true, "thanks ".repeat(100)));
            assert_eq!(answer.headers["content-encoding"], "gzip");
            wanted.push(format!("POST /in/{round}/{number} HTTP/2.0 200 -"));
        }
    }
    // It writes the line after the answer.
    until(|| server.requests().unwrap().len() >= wanted.len()).await;
    let mut got = server.requests().unwrap();
    got.sort();
    wanted.sort();
    assert_eq!(got, wanted);
}
