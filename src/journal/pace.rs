//! How quickly the writer commits: whether senders wait longer than they should, also for a commit that does not end.

use crate::model::Instant;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// A commit that takes longer is slow.
pub const SLOW: Duration = Duration::from_millis(500);

/// Written by the writer, read by whoever asks.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the commit under way began, and one; zero: none is.
    began: AtomicU64,
    last: AtomicU64,
    slow_in_row: AtomicU32,
}

/// How the commits go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Commits {
    /// How long the one under way has taken.
    pub under_way: Option<Duration>,
    /// How long the last one took.
    pub last: Duration,
    /// How many of the last were slower than [`SLOW`], in a row.
    pub slow_in_row: u32,
}

impl Pace {
    pub fn begin(&self, now: Instant) {
        self.began.store(now.0 + 1, Ordering::Relaxed);
    }

    pub fn end(&self, now: Instant) {
        let took = now.since(Instant(self.began.swap(0, Ordering::Relaxed).saturating_sub(1)));
        self.last.store(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let slow = if took > SLOW { self.slow_in_row.load(Ordering::Relaxed).saturating_add(1) } else { 0 };
        self.slow_in_row.store(slow, Ordering::Relaxed);
    }

    pub fn read(&self, now: Instant) -> Commits {
        let began = self.began.load(Ordering::Relaxed).checked_sub(1);
        Commits {
            under_way: began.map(|began| now.since(Instant(began))),
            last: Duration::from_nanos(self.last.load(Ordering::Relaxed)),
            slow_in_row: self.slow_in_row.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_under_way_is_seen_and_slow_ones_are_counted_in_a_row() {
        let (pace, at) = (Pace::default(), |millis: u64| Instant(millis * 1_000_000));
        pace.begin(at(0));
        assert_eq!(pace.read(at(700)), Commits { under_way: Some(Duration::from_millis(700)), ..Commits::default() });
        pace.end(at(700));
        pace.begin(at(1_000));
        pace.end(at(1_600));
        assert_eq!(pace.read(at(9_000)), Commits { under_way: None, last: Duration::from_millis(600), slow_in_row: 2 });
        pace.begin(at(2_000));
        pace.end(at(2_001));
        assert_eq!(pace.read(at(9_000)).slow_in_row, 0);
    }
}
