//! Events of one's own making, sent as fast as they are answered or at an even pace, and how long their answers took.

use crate::http::Client;
use crate::process;
use crate::torture::sender::sign;
use anyhow::bail;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Connections that fill.
const SENDERS: usize = 16;
/// Connections at an even pace.
const PACED: u32 = 8;
/// Bound of a latency beside trouble: so many times what it was without.
const SLOWER: f64 = 8.0;
/// So often a latency is measured before it counts as too long.
const MEASURES: usize = 3;
/// So long a 503 is asked again.
const REFUSED_FOR: Duration = Duration::from_mins(1);

/// A sender and what it sent so far. Events have numbers from 1 on.
pub struct Load {
    listen: SocketAddr,
    body: fn(u64) -> Vec<u8>,
    next: AtomicU64,
    answered: AtomicU64,
}

/// How long answers took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Took {
    /// Half of them at most.
    pub p50: Duration,
    /// All but one of a hundred at most.
    pub p99: Duration,
}

impl Load {
    /// To the source `bench` there.
    pub fn new(listen: SocketAddr, body: fn(u64) -> Vec<u8>) -> Self {
        Load { listen, body, next: AtomicU64::new(0), answered: AtomicU64::new(0) }
    }

    /// How many were answered 200.
    pub fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    /// Sends so many, as fast as they are answered.
    pub fn fill(&self, events: u64) -> anyhow::Result<()> {
        let last = self.next.load(Relaxed) + events;
        std::thread::scope(|scope| {
            let senders: Vec<_> = (0..SENDERS).map(|_| scope.spawn(|| self.send_until(last))).collect();
            senders.into_iter().try_for_each(|sender| sender.join().unwrap_or_else(|_| bail!("a sender ended")))
        })
    }

    fn send_until(&self, last: u64) -> anyhow::Result<()> {
        let mut client = Client::open(self.listen)?;
        loop {
            let taken = self.next.fetch_update(Relaxed, Relaxed, |next| (next < last).then_some(next + 1));
            let Ok(before) = taken else { return Ok(()) };
            self.send(&mut client, before + 1)?;
        }
    }

    /// Sends one, on a connection of its own.
    pub fn one(&self) -> anyhow::Result<()> {
        self.send(&mut Client::open(self.listen)?, self.next.fetch_add(1, Relaxed) + 1)
    }

    /// Sends so many a second for a while over several connections, by the plan and not by the last answer: a slow one is not left out.
    /// `sending` hears when each is due.
    pub fn paced(&self, a_second: u32, lasting: Duration, sending: impl Fn(u64, Instant) + Sync) -> anyhow::Result<Took> {
        let (began, gap) = (process::now(), Duration::from_secs(1) / a_second);
        let took = std::thread::scope(|scope| {
            let lanes: Vec<_> = (0..PACED)
                .map(|lane| {
                    let sending = &sending;
                    scope.spawn(move || self.lane(began + gap * lane, gap * PACED, began + lasting, sending))
                })
                .collect();
            let joined = lanes.into_iter().map(|lane| lane.join().unwrap_or_else(|_| bail!("a sender ended")));
            joined.collect::<anyhow::Result<Vec<_>>>()
        })?;
        Ok(Took::of(took.concat()))
    }

    fn lane(&self, began: Instant, gap: Duration, end: Instant, sending: &impl Fn(u64, Instant)) -> anyhow::Result<Vec<Duration>> {
        let (mut client, mut took, mut planned) = (Client::open(self.listen)?, vec![], began);
        while planned < end {
            std::thread::sleep(planned.saturating_duration_since(process::now()));
            let number = self.next.fetch_add(1, Relaxed) + 1;
            sending(number, planned);
            self.send(&mut client, number)?;
            took.push(planned.elapsed());
            planned += gap;
        }
        Ok(took)
    }

    fn send(&self, client: &mut Client, number: u64) -> anyhow::Result<()> {
        let body = (self.body)(number);
        let (id, signature) = (format!("load-{number}"), sign(&body));
        let headers = [("Content-Type", "application/json"), ("X-Topic", "ORDER_PAID"), ("X-Event-Id", &id), ("X-Signature", &signature)];
        let end = process::now() + REFUSED_FOR;
        loop {
            match client.ask("POST", "/bench", &headers, &body)? {
                (200, _) => break,
                (503, _) if process::now() < end => std::thread::sleep(Duration::from_millis(20)),
                (status, answer) => bail!("event {number} was answered {status} {}", String::from_utf8_lossy(&answer)),
            }
        }
        self.answered.fetch_add(1, Relaxed);
        Ok(())
    }
}

impl Took {
    /// Of these.
    pub fn of(mut took: Vec<Duration>) -> Self {
        took.sort_unstable();
        let at = |part: usize| took.get(took.len() * part / 100).copied().unwrap_or_default();
        Took { p50: at(50), p99: at(99) }
    }

    /// Whether each is at most [`SLOWER`] times what it was before, or too short to tell from noise.
    pub fn bears(self, before: Took, noise: Duration) -> bool {
        let bound = |now: Duration, before: Duration| now <= noise || now.as_secs_f64() <= before.as_secs_f64() * SLOWER;
        bound(self.p50, before.p50) && bound(self.p99, before.p99)
    }
}

impl std::fmt::Display for Took {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {:.1} ms, p99 {:.1} ms", self.p50.as_secs_f64() * 1_000.0, self.p99.as_secs_f64() * 1_000.0)
    }
}

/// Measures until it holds, at most three times: a stall of the machine comes and goes, what trouble does to its neighbours comes each time.
/// The last is what is reported.
pub fn calm<T>(mut measure: impl FnMut() -> anyhow::Result<T>, holds: impl Fn(&T) -> bool) -> anyhow::Result<T> {
    let mut measured = measure()?;
    for _ in 1..MEASURES {
        if holds(&measured) {
            break;
        }
        measured = measure()?;
    }
    Ok(measured)
}

/// The number that a body says it has.
pub fn number_of(body: &[u8]) -> Option<u64> {
    serde_json::from_slice::<serde_json::Value>(body).ok()?["number"].as_u64()
}
