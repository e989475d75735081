//! `ingest-floor` and `loop-floor`: verify, journal, answer; and, for the loop, hand each new event to the way out.

use crate::journal::{Event, Journal};
use crate::outgoing::{self, Outgoing};
use crate::server::{self, Handler, Post};
use hmac::{Hmac, KeyInit, Mac};
use hyper::{StatusCode, header::HeaderMap};
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// HMAC-SHA256.
pub type Sha256Mac = Hmac<Sha256>;

/// How events come in.
#[derive(clap::Args)]
#[group(skip)]
pub struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9700")]
    listen: SocketAddr,
    /// The folder of the journal, which is made afresh.
    #[arg(long, default_value = "data")]
    dir: PathBuf,
    /// The key of `X-Signature: sha256=<hex>`, over the body.
    #[arg(long, default_value = "floor-secret-floor-secret-floor!")]
    secret: String,
    /// Threads of the runtime; the journal has one more.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// How events come in and go out.
#[derive(clap::Args)]
pub struct LoopOptions {
    #[command(flatten)]
    pub ingest: Options,
    #[command(flatten)]
    pub outgoing: outgoing::Options,
}

struct Ingest {
    mac: Sha256Mac,
    journal: Arc<Journal>,
    outgoing: Option<Arc<Outgoing>>,
}

/// Serves until the process is ended.
pub fn run(options: &Options, outgoing: Option<&outgoing::Options>) -> anyhow::Result<()> {
    let runtime = server::runtime(options.threads)?;
    let outgoing = outgoing.map(|options| Outgoing::new(options).map(Arc::new)).transpose()?;
    let kept = outgoing.clone().map(|outgoing| Box::new(move |event| outgoing.push(&event)) as crate::journal::Kept);
    let journal = Arc::new(Journal::start(&options.dir, kept)?);
    if let Some(outgoing) = &outgoing {
        outgoing.start(&runtime, &journal);
    }
    let mac = Sha256Mac::new_from_slice(options.secret.as_bytes())?;
    runtime.block_on(server::serve(options.listen, Arc::new(Ingest { mac, journal, outgoing })))
}

impl Handler for Ingest {
    async fn post(&self, post: Post) -> StatusCode {
        if !self.is_signed(&post) {
            return StatusCode::UNAUTHORIZED;
        }
        self.journal.append(event_of(post)).await;
        StatusCode::OK
    }

    fn show(&self, _: &str) -> String {
        let counts = &self.journal.counts;
        let delivered = self.outgoing.as_ref().map_or(0, |outgoing| outgoing.delivered.load(Relaxed));
        format!(
            "accepted {}\nduplicates {}\ncommits {}\ndelivered {delivered}\nsettled {}\n",
            counts.accepted.load(Relaxed),
            counts.duplicates.load(Relaxed),
            counts.commits.load(Relaxed),
            counts.settled.load(Relaxed)
        )
    }
}

impl Ingest {
    fn is_signed(&self, post: &Post) -> bool {
        let mut given = [0; 32];
        let digits = post.headers.get("x-signature").and_then(|value| value.as_bytes().strip_prefix(b"sha256="));
        if digits.is_none_or(|digits| hex::decode_to_slice(digits, &mut given).is_err()) {
            return false;
        }
        self.mac.clone().chain_update(&post.body).verify_slice(&given).is_ok()
    }
}

fn event_of(post: Post) -> Event {
    let text = |name| post.headers.get(name).map(hyper::header::HeaderValue::as_bytes).unwrap_or_default();
    let mut id = [0; 16];
    id.copy_from_slice(&Sha256::digest(text("x-event-id"))[..16]);
    let topic = String::from_utf8_lossy(text("x-topic")).into_owned();
    let sent_ns = server::number(&post.headers, "x-sent-ns").unwrap_or_default();
    Event { seq: 0, id, topic, headers: block(&post.headers), body: post.body, sent_ns }
}

/// All headers as one block of `name:value\n` lines.
fn block(headers: &HeaderMap) -> Vec<u8> {
    let mut block = Vec::with_capacity(512);
    for (name, value) in headers {
        block.extend_from_slice(name.as_str().as_bytes());
        block.push(b':');
        block.extend_from_slice(value.as_bytes());
        block.push(b'\n');
    }
    block
}
