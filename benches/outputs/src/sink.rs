//! `sink`: a bare web server in a process of its own, so that its CPU is not that of who sends. Answers 200 and counts the deliveries it
//! has had, each once, by their id.

use anyhow::Context;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::collections::HashSet;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use switchyard_services::{Guarded, net};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// A start that takes longer is a failure.
const START: Duration = Duration::from_secs(10);

/// Where and how.
#[derive(clap::Args)]
#[group(skip)]
pub struct Options {
    /// Requests arrive here.
    #[arg(long)]
    port: u16,
    /// Who connects here is told how many deliveries came since the last who asked.
    #[arg(long)]
    count_port: u16,
    /// Speaks HTTP/2 instead of HTTP/1.1.
    #[arg(long)]
    http2: bool,
}

/// The ids of what came.
type Seen = Arc<Mutex<HashSet<Box<[u8]>>>>;

/// Serves until the process is ended.
pub fn run(options: &Options) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let seen = Seen::default();
        let (events, asks) = (listen(options.port).await?, listen(options.count_port).await?);
        tokio::spawn(tell(asks, Arc::clone(&seen)));
        loop {
            let (stream, _) = events.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(serve(stream, Arc::clone(&seen), options.http2));
        }
    })
}

async fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
}

async fn tell(asks: TcpListener, seen: Seen) -> std::io::Result<()> {
    loop {
        let (mut asking, _) = asks.accept().await?;
        let count = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner)).len();
        asking.write_all(count.to_string().as_bytes()).await?;
    }
}

async fn serve(stream: TcpStream, seen: Seen, http2: bool) {
    let service = service_fn(move |request| take(request, Arc::clone(&seen)));
    // How a connection ends is the client's affair.
    if http2 {
        let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
    } else {
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }
}

/// A delivery counts when all of its body is there.
async fn take(request: Request<Incoming>, seen: Seen) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    if let Some(id) = head.headers.get("switchyard-delivery").filter(|_| !body.is_empty()) {
        seen.lock().unwrap_or_else(PoisonError::into_inner).insert(id.as_bytes().into());
    }
    Ok(Response::new(Full::default()))
}

/// A sink that runs; ends with who started it.
pub struct Running {
    port: u16,
    count_port: u16,
    _process: Guarded,
}

impl Running {
    /// Starts one.
    pub fn start(scratch: &Path, http2: bool) -> anyhow::Result<Self> {
        let (port, count_port) = (net::free_port()?, net::free_port()?);
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["sink", "--port", &port.to_string(), "--count-port", &count_port.to_string()]);
        command.args(http2.then_some("--http2"));
        let mut process = Guarded::start(&command, &scratch.join("sink.log"))?;
        process.wait(START, || (net::listens(port) && net::listens(count_port)).then_some(()))?;
        Ok(Running { port, count_port, _process: process })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// How many deliveries came since this was last asked.
    pub fn taken(&self) -> anyhow::Result<u64> {
        let mut told = String::new();
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.count_port))?.read_to_string(&mut told)?;
        told.parse().with_context(|| format!("the sink says `{told}`"))
    }
}
