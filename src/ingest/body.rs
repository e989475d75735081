//! Reading a body within its bounds: bytes, time, pace, and the budget over all bodies.

use super::answer::Refuse;
use bytes::Bytes;
use http_body::Body;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// A whole body must be there by then; else 408.
pub const BODY_WITHIN: Duration = Duration::from_secs(30);
/// How long a body may take before it must have kept its pace.
pub const HEAD_START: Duration = Duration::from_secs(5);
/// Fewer bytes a second after the head start are too slow: 408.
pub const LEAST_PACE: usize = 1024;
/// Room made at once for a body that says how long it is; the rest grows as it comes, so a promise costs us little.
const FIRST_ROOM: usize = 64 << 10;

/// Bytes of all bodies that are being read or kept. What is over its bound is answered 503 (L6).
#[derive(Debug, Default)]
pub struct Budget(AtomicUsize);

/// Bytes taken from the budget; given back when dropped.
#[derive(Debug)]
pub struct Reserved {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// Bytes taken now.
    pub fn used(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Begins with nothing.
    pub(super) fn open(self: &Arc<Self>) -> Reserved {
        Reserved { budget: Arc::clone(self), bytes: 0 }
    }
}

impl Reserved {
    /// Takes some more, if all together stay within `most`.
    pub(super) fn take(&mut self, bytes: usize, most: usize) -> bool {
        let taken = self.budget.0.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        taken.saturating_add(bytes) <= most
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Reads the whole body: at most `max_body` bytes, and all bodies together at most `budget`.
///
/// The bytes are copied out of the connection's buffer, which would be held as long as the event otherwise.
pub(super) async fn read<B: Body<Data = Bytes>>(body: B, max_body: usize, reserved: &mut Reserved, budget: usize) -> Result<Bytes, Refuse> {
    let promised = body.size_hint();
    if promised.lower() > max_body as u64 {
        return Err(Refuse::TooLarge(max_body));
    }
    let mut bytes = Vec::with_capacity(promised.exact().map_or(0, |exact| usize::try_from(exact).unwrap_or(FIRST_ROOM).min(FIRST_ROOM)));
    let mut body = pin!(body);
    let start = Instant::now();
    loop {
        let paced = HEAD_START + Duration::from_secs((bytes.len() / LEAST_PACE) as u64);
        let frame = timeout_at(start + BODY_WITHIN.min(paced), poll_fn(|cx| body.as_mut().poll_frame(cx))).await;
        let data = match frame.map_err(|_| Refuse::TooSlow)? {
            None => return Ok(Bytes::from(bytes)),
            Some(Err(_)) => return Err(Refuse::Broken),
            // Trailers are nobody's.
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        };
        if bytes.len() + data.len() > max_body {
            return Err(Refuse::TooLarge(max_body));
        }
        if !reserved.take(data.len(), budget) {
            return Err(Refuse::NoBudget);
        }
        bytes.extend_from_slice(&data);
    }
}
