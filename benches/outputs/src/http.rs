//! Requests to a web server that counts them: signed POSTs, over as many connections of HTTP/1.1 as the output has, or one of HTTP/2.
//!
//! The bare client is hyper as its guide has it, a task a connection, and sends the same headers.

use crate::crew::{Crew, Hand};
use crate::delivery::{CONTENT_TYPE, Delivery, RECEIVED_AT, Sample};
use crate::far_side::{AtOnce, FarSide, ids, text};
use crate::sink;
use ::http::Request;
use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value as Json, json};
use sha2::Sha256;
use std::path::Path;
use std::sync::Arc;
use switchyard_api::{AnyKind, Rendered};
use tokio::net::TcpStream;

/// HTTP/1.1.
pub type One = Web<1>;
/// HTTP/2, by prior knowledge.
pub type Two = Web<2>;

/// The signing key: made up.
const KEY: &[u8] = b"made-up-signing-key-of-benches-1";

/// A web server.
pub struct Web<const VERSION: u8>(sink::Running);

impl<const VERSION: u8> FarSide for Web<VERSION> {
    const NAME: &'static str = if VERSION == 1 { "http" } else { "http2" };
    const COUNT: u64 = 100_000;
    type Bare = Crew<Sender>;

    fn start(scratch: &Path) -> anyhow::Result<Self> {
        sink::Running::start(scratch, VERSION == 2).map(Web)
    }
    async fn make(&self, _place: &str) -> anyhow::Result<()> {
        // What is counted is forgotten.
        self.0.taken().map(drop)
    }
    fn kind(&self) -> Arc<dyn AnyKind> {
        // The one that is no preset comes first.
        switchyard_http::kinds().swap_remove(0)
    }
    fn settings(&self, place: &str) -> Json {
        let secret = format!("whsec_{}", STANDARD.encode(KEY));
        json!({ "url": format!("http://{}/{place}", self.0.address()), "http": VERSION, "sign": { "secret": secret } })
    }
    fn message(&self, _place: &str, sample: &Sample) -> Vec<(&'static str, Rendered)> {
        vec![text("body", &sample.body)]
    }
    async fn bare(&self, place: &str, at_once: AtOnce) -> anyhow::Result<Crew<Sender>> {
        let mac = Hmac::new_from_slice(KEY)?;
        let address = self.0.address().to_string();
        let mut senders: Vec<Sender> = vec![];
        while senders.len() < at_once.calls {
            let line = match senders.first().map(|first| &first.line) {
                Some(Line::Two(shared)) => Line::Two(shared.clone()),
                _ => Line::open(&address, VERSION).await?,
            };
            senders.push(Sender { line, mac: mac.clone(), target: Target::new(&address, place, VERSION) });
        }
        Ok(Crew::new(senders))
    }
    async fn arrived(&self, _place: &str) -> anyhow::Result<u64> {
        self.0.taken()
    }
    async fn remove(&self, _place: &str) -> anyhow::Result<()> {
        Ok(())
    }
}

/// A connection, or a share of one.
enum Line {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Line {
    async fn open(address: &str, version: u8) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        if version == 1 {
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            return Ok(Line::One(sender));
        }
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Line::Two(sender))
    }
}

/// What the request's first line and `Host` say.
struct Target {
    uri: ::http::Uri,
    /// HTTP/2 has it in its first line.
    host: Option<String>,
}

impl Target {
    fn new(address: &str, place: &str, version: u8) -> Self {
        let one = version == 1;
        let text = if one { format!("/{place}") } else { format!("http://{address}/{place}") };
        Target { uri: text.parse().unwrap_or_default(), host: one.then(|| address.to_owned()) }
    }
}

/// One that sends a request when its last was answered.
pub struct Sender {
    line: Line,
    mac: Hmac<Sha256>,
    target: Target,
}

impl Sender {
    fn request(&self, delivery: &Delivery) -> anyhow::Result<Request<Full<Bytes>>> {
        let (id, body) = (&delivery.id, &delivery.sample.bytes);
        let seconds = (RECEIVED_AT / 1000).to_string();
        let mut mac = self.mac.clone();
        for piece in [id.as_bytes(), b".", seconds.as_bytes(), b".", body] {
            mac.update(piece);
        }
        let mut signature = String::with_capacity(48);
        signature.push_str("v1,");
        STANDARD.encode_string(mac.finalize().into_bytes(), &mut signature);
        let mut request = Request::post(self.target.uri.clone());
        if let Some(host) = &self.target.host {
            request = request.header("host", host);
        }
        for (name, value) in ids(delivery) {
            request = request.header(name, value);
        }
        let request = request.header("idempotency-key", id).header("content-type", CONTENT_TYPE).header("user-agent", "switchyard/bench");
        let request = request.header("webhook-id", id).header("webhook-timestamp", seconds).header("webhook-signature", signature);
        Ok(request.body(Full::new(body.clone()))?)
    }
}

impl Hand for Sender {
    type Item = Delivery;

    async fn send(&mut self, batch: Vec<Delivery>) -> anyhow::Result<()> {
        let request = self.request(batch.first().context("a request carries one")?)?;
        let answer = match &mut self.line {
            Line::One(connection) => {
                connection.ready().await?;
                connection.send_request(request).await?
            }
            Line::Two(connection) => connection.send_request(request).await?,
        };
        ensure!(answer.status().is_success(), "{}", answer.status());
        answer.into_body().collect().await?;
        Ok(())
    }
}
