//! `sink`: answers 200 (or, now and then, 500) and records how long each request was on its way, from the time of sending in its header or its body.

use crate::clock::now_ns;
use crate::order::{DIGITS, sent_at};
use crate::server::{self, Handler, Post};
use hdrhistogram::Histogram;
use hyper::StatusCode;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// Times above a minute are recorded as a minute.
const LONGEST_US: u64 = 60_000_000;

/// Where and how.
#[derive(clap::Args)]
pub struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9701")]
    listen: SocketAddr,
    /// Threads of the runtime.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Answer each so many-th request 500; 0: none.
    #[arg(long, default_value_t = 0)]
    refuse: u64,
}

struct Sink {
    refuse: u64,
    asked: AtomicU64,
    taken: AtomicU64,
    on_the_way_us: Mutex<Histogram<u64>>,
}

/// Serves until the process is ended. `GET /stats` shows, `GET /reset` shows and forgets.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let sink = Sink {
        refuse: options.refuse,
        asked: AtomicU64::new(0),
        taken: AtomicU64::new(0),
        on_the_way_us: Mutex::new(Histogram::new_with_max(LONGEST_US, 3)?),
    };
    server::runtime(options.threads)?.block_on(server::serve(options.listen, Arc::new(sink)))
}

impl Handler for Sink {
    async fn post(&self, post: Post) -> StatusCode {
        if self.refuse > 0 && self.asked.fetch_add(1, Relaxed).is_multiple_of(self.refuse) {
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        self.taken.fetch_add(1, Relaxed);
        if let Some(sent) = server::number(&post.headers, "x-sent-ns").or_else(|| sent_in_body(&post.body)) {
            let us = now_ns().saturating_sub(sent) / 1000;
            self.on_the_way_us.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(us);
        }
        StatusCode::OK
    }

    fn show(&self, path: &str) -> String {
        let mut times = self.on_the_way_us.lock().unwrap_or_else(PoisonError::into_inner);
        let text = format!(
            "taken {}\ntimed {}\np50_us {}\np99_us {}\nmax_us {}\n",
            self.taken.load(Relaxed),
            times.len(),
            times.value_at_quantile(0.5),
            times.value_at_quantile(0.99),
            times.max()
        );
        if path == "/reset" {
            times.reset();
            self.taken.store(0, Relaxed);
        }
        text
    }
}

fn sent_in_body(body: &[u8]) -> Option<u64> {
    let at = sent_at(body)?;
    std::str::from_utf8(body.get(at..at + DIGITS)?).ok()?.parse().ok()
}
