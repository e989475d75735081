//! What does the `http` output cost beside the bare client that it is made of?
//!
//! 32 senders at a time, each with its next request as soon as its last was answered, to a bare server on loopback in the same
//! process: the output with all its headers, and hyper (HTTP/1.1: a connection a sender) or h2 (HTTP/2: one connection) with the
//! body alone, in turns in one run. Both sides' CPU holds the server's, which is the same. Figures are medians of rounds; compare
//! only within a run.
//!
//! `cargo bench --profile fast -p switchyard-http --bench outputs [SECONDS A ROUND]`

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use switchyard_api::conformance::{deliver_one, parcel};
use switchyard_api::tree::{Key, Node, Value};
use switchyard_api::{Kit, Message, Output, Span, Wall};
use tokio::net::{TcpListener, TcpStream};

type Failed = Box<dyn std::error::Error>;

const ROUNDS: usize = 5;
const SENDERS: usize = 32;
const BODY: &[u8] = &[b'x'; 1024];

/// Requests a second, and CPU microseconds a request.
type Figures = (f64, f64);

fn main() -> Result<(), Failed> {
    let seconds = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(1.0);
    let round = Duration::from_secs_f64(seconds);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    println!("{:>8} {:>10} {:>12} {:>10} {:>12} {:>6} {:>6}", "", "req/s", "CPU µs/req", "bare req/s", "CPU µs/req", "rate", "CPU");
    for (name, version) in [("HTTP/1.1", 1), ("HTTP/2", 2)] {
        let (mut ours, mut bare) = (vec![], vec![]);
        for _ in 0..ROUNDS {
            ours.push(runtime.block_on(ours_round(version, round))?);
            bare.push(runtime.block_on(bare_round(version, round))?);
        }
        let ((rate, cpu), (bare_rate, bare_cpu)) = (median(ours), median(bare));
        let (rates, cpus) = (rate / bare_rate, cpu / bare_cpu);
        println!("{name:>8} {rate:>10.0} {cpu:>12.1} {bare_rate:>10.0} {bare_cpu:>12.1} {rates:>6.2} {cpus:>6.2}");
    }
    Ok(())
}

async fn ours_round(version: i128, round: Duration) -> Result<Figures, Failed> {
    let port = server(version).await?;
    let node = |name: &str, at: usize, value: Value| {
        (Key { span: Span::default(), name: name.into() }, Node { span: Span { start: at, end: at + 1 }, value })
    };
    let url = Node::text(format!("http://127.0.0.1:{port}/in")).value;
    let settings =
        Node { span: Span { start: 0, end: 9 }, value: Value::Map(vec![node("url", 1, url), node("http", 3, Value::Int(version))]) };
    let kind = switchyard_http::kinds().into_iter().find(|kind| kind.name() == "http").ok_or("no kind `http`")?;
    let config = kind.read(&settings, &mut vec![]).ok_or("these settings are good")?;
    let output = config.connect(&Kit::new("bench", "/", "switchyard/bench", Wall::new(|| 0))).await?;
    measured(round, |_| {
        let output: Arc<dyn Output> = Arc::clone(&output);
        async move {
            let mut number = 0;
            move || {
                let output = Arc::clone(&output);
                number += 1;
                async move {
                    let parcel = switchyard_api::Parcel { raw: Bytes::from_static(BODY), ..parcel(number, &Message::default()) };
                    deliver_one(&*output, parcel).await.word() == "delivered"
                }
            }
        }
    })
    .await
}

async fn bare_round(version: i128, round: Duration) -> Result<Figures, Failed> {
    let port = server(version).await?;
    let uri = format!("http://127.0.0.1:{port}/in");
    let request = move || http::Request::post(uri.as_str()).body(Full::new(Bytes::from_static(BODY)));
    if version == 1 {
        return measured(round, |_| {
            let request = request.clone();
            async move {
                let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the server runs");
                stream.set_nodelay(true).expect("a socket");
                let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
                tokio::spawn(connection);
                let sender = Arc::new(tokio::sync::Mutex::new(sender));
                move || {
                    let (sender, request) = (Arc::clone(&sender), request().expect("a request"));
                    async move {
                        let mut sender = sender.lock().await;
                        sender.ready().await.is_ok() && answered(sender.send_request(request).await).await
                    }
                }
            }
        })
        .await;
    }
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    measured(round, |_| {
        let (sender, request) = (sender.clone(), request.clone());
        async move {
            move || {
                let (mut sender, request) = (sender.clone(), request().expect("a request"));
                async move { answered(sender.send_request(request).await).await }
            }
        }
    })
    .await
}

async fn answered(answer: hyper::Result<http::Response<hyper::body::Incoming>>) -> bool {
    match answer {
        Ok(answer) => answer.status().is_success() && answer.into_body().collect().await.is_ok(),
        Err(_) => false,
    }
}

/// Runs the senders for a round.
#[allow(clippy::disallowed_methods)] // a bench measures
async fn measured<Make, Made, Sent>(round: Duration, make: impl Fn(usize) -> Make) -> Result<Figures, Failed>
where
    Make: Future<Output = Made>,
    Made: FnMut() -> Sent + Send + 'static,
    Sent: Future<Output = bool> + Send,
{
    let senders = join_all((0..SENDERS).map(make)).await;
    let (begin, cpu) = (Instant::now(), cpu()?);
    let tasks = senders.into_iter().map(|mut send| {
        tokio::spawn(async move {
            let mut count = 0u64;
            while begin.elapsed() < round {
                if !send().await {
                    return None;
                }
                count += 1;
            }
            Some(count)
        })
    });
    let counts: Option<Vec<u64>> = join_all(tasks).await.into_iter().map(Result::ok).map(Option::flatten).collect();
    let count = counts.ok_or("a request failed")?.iter().sum::<u64>() as f64;
    Ok((count / begin.elapsed().as_secs_f64(), (self::cpu()? - cpu) / count * 1e6))
}

/// A bare server that answers 200; ends with the process.
async fn server(version: i128) -> Result<u16, Failed> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                let service = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                    let _ = request.into_body().collect().await;
                    Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::new())))
                });
                if version == 1 {
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                } else {
                    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let _ = builder.max_concurrent_streams(256).serve_connection(TokioIo::new(stream), service).await;
                }
            });
        }
    });
    Ok(port)
}

/// Seconds of CPU that this process used.
fn cpu() -> Result<f64, Failed> {
    let text = std::fs::read_to_string("/proc/self/schedstat")?;
    let main: f64 = text.split(' ').next().ok_or("no time")?.parse()?;
    let mut all = main;
    let own = std::process::id().to_string();
    for task in std::fs::read_dir("/proc/self/task")? {
        let path = task?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy() != own) {
            let text = std::fs::read_to_string(path.join("schedstat"))?;
            all += text.split(' ').next().ok_or("no time")?.parse::<f64>()?;
        }
    }
    Ok(all / 1e9)
}

fn median(mut all: Vec<Figures>) -> Figures {
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    all[all.len() / 2]
}
