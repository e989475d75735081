//! The way out: a queue and some workers per output; each worker has one connection, posts an event signed, and settles it.
//!
//! No limits, no timeouts; a failed attempt is made again after a moment. The queue has no bound but the load's own count.

use crate::ingest::Sha256Mac;
use crate::journal::{Event, Journal, Settled};
use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hmac::{KeyInit, Mac};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

/// The key of what goes out.
const SIGNING_KEY: &[u8] = b"floor-signing-floor-signing-key!";
/// After a failed attempt.
const PAUSE: Duration = Duration::from_millis(100);

/// Where events go.
#[derive(clap::Args)]
#[group(skip)]
pub struct Options {
    /// Each output posts here.
    #[arg(long, default_value = "http://127.0.0.1:9701/")]
    sink: Uri,
    /// How many outputs each event goes to.
    #[arg(long, default_value_t = 1)]
    fanout: u32,
    /// Connections per output.
    #[arg(long, default_value_t = 32)]
    workers: usize,
}

/// All outputs.
pub struct Outgoing {
    queues: Vec<Arc<Queue>>,
    address: Arc<str>,
    path: Arc<str>,
    workers: usize,
    mac: Sha256Mac,
    /// Answered by the sink, whether or not settled yet.
    pub delivered: Arc<AtomicU64>,
}

impl Outgoing {
    /// Queues without workers yet.
    pub fn new(options: &Options) -> anyhow::Result<Self> {
        let address = options.sink.authority().context("--sink: needs a host and a port")?.as_str().into();
        let queues = (0..options.fanout).map(|_| Arc::new(Queue::default())).collect();
        let mac = Sha256Mac::new_from_slice(SIGNING_KEY)?;
        Ok(Outgoing { queues, address, path: options.sink.path().into(), workers: options.workers, mac, delivered: Arc::default() })
    }

    /// Hands an event to every output.
    pub fn push(&self, event: &Arc<Event>) {
        for queue in &self.queues {
            queue.push(event.clone());
        }
    }

    /// Starts the workers.
    pub fn start(&self, runtime: &Runtime, journal: &Arc<Journal>) {
        for (output, queue) in (0..).zip(&self.queues) {
            for _ in 0..self.workers {
                let worker = Worker {
                    output,
                    queue: queue.clone(),
                    journal: journal.clone(),
                    address: self.address.clone(),
                    path: self.path.clone(),
                    mac: self.mac.clone(),
                    delivered: self.delivered.clone(),
                    connection: None,
                };
                runtime.spawn(worker.run());
            }
        }
    }
}

/// One queue, many takers: a permit an item.
struct Queue {
    items: Mutex<VecDeque<Arc<Event>>>,
    ready: Semaphore,
}

impl Default for Queue {
    fn default() -> Self {
        Queue { items: Mutex::default(), ready: Semaphore::new(0) }
    }
}

impl Queue {
    fn push(&self, event: Arc<Event>) {
        self.items.lock().unwrap_or_else(PoisonError::into_inner).push_back(event);
        self.ready.add_permits(1);
    }

    async fn take(&self) -> Option<Arc<Event>> {
        self.ready.acquire().await.ok()?.forget();
        self.items.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

struct Worker {
    output: u32,
    queue: Arc<Queue>,
    journal: Arc<Journal>,
    address: Arc<str>,
    path: Arc<str>,
    mac: Sha256Mac,
    delivered: Arc<AtomicU64>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Worker {
    async fn run(mut self) {
        while let Some(event) = self.queue.take().await {
            let status = loop {
                match self.post(&event).await {
                    Ok(status) => break status,
                    Err(_) => {
                        self.connection = None;
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            };
            self.delivered.fetch_add(1, Relaxed);
            self.journal.settle(Settled { seq: event.seq, output: self.output, status });
        }
    }

    async fn post(&mut self, event: &Event) -> anyhow::Result<u16> {
        let request = self.request(event)?;
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => self.connect().await?,
        };
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        let status = response.status().as_u16();
        response.into_body().collect().await?;
        self.connection = Some(connection);
        Ok(status)
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let stream = tokio::net::TcpStream::connect(&*self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// Signed as Standard Webhooks asks: over id, time and body.
    fn request(&self, event: &Event) -> anyhow::Result<Request<Full<Bytes>>> {
        let (id, at) = (format!("{}-{}", event.seq, self.output), (crate::clock::now_ns() / 1_000_000_000).to_string());
        let mac = [id.as_bytes(), b".", at.as_bytes(), b".", &event.body].iter().fold(self.mac.clone(), Mac::chain_update);
        let mut signature = String::with_capacity(48);
        signature.push_str("v1,");
        BASE64.encode_string(mac.finalize().into_bytes(), &mut signature);
        Ok(Request::post(&*self.path)
            .header("host", &*self.address)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", at)
            .header("webhook-signature", signature)
            .body(Full::new(event.body.clone()))?)
    }
}
