//! Time: monotonic for waiting, wall clock for people and signatures. The only place that reads either.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::time::Duration;

/// A moment for waiting and measuring: nanoseconds since the daemon's start. Never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(pub u64);

/// A moment of the wall clock: milliseconds since 1970. May jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Instant {
    /// Time from `earlier` to this; nothing if `earlier` is later.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, wait: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Timestamp {
    /// Time from `earlier` to this; nothing if `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, wait: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;
    fn sub(self, wait: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    /// `2026-03-02T10:00:00.123Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// For waiting.
    fn now(&self) -> Instant;
    /// For people.
    fn wall(&self) -> Timestamp;
}

/// The wall clock as it would stand had nobody set it since a moment: what rows of deliveries are dated by, so that due times, retention
/// and digests neither wait nor hurry where somebody sets the clock (decision 10).
pub struct Steady {
    clock: Arc<dyn Clock>,
    since: Instant,
    wall: Timestamp,
}

impl Steady {
    /// From now on; not before `least`, by which rows are dated already: an earlier daemon saw the clock before it was set back.
    pub fn begin(clock: Arc<dyn Clock>, least: Timestamp) -> Self {
        Steady { since: clock.now(), wall: clock.wall().max(least), clock }
    }

    /// For what must not come too early by either clock.
    pub fn latest_past(&self) -> Timestamp {
        self.wall().min(self.clock.wall())
    }
}

impl Clock for Steady {
    fn now(&self) -> Instant {
        self.clock.now()
    }
    fn wall(&self) -> Timestamp {
        self.wall + self.clock.now().since(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

    /// A second passes with each look at the wall; `set` is by how much somebody set it.
    #[derive(Default)]
    struct Set {
        seconds: AtomicI64,
        set: AtomicI64,
    }

    impl Clock for Set {
        fn now(&self) -> Instant {
            Instant(self.seconds.load(Ordering::Relaxed) as u64 * 1_000_000_000)
        }
        fn wall(&self) -> Timestamp {
            Timestamp((1_000_000 + self.seconds.load(Ordering::Relaxed)) * 1_000 + self.set.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn nobody_sets_the_steady_clock() {
        let clock = Arc::new(Set::default());
        let steady = Steady::begin(clock.clone(), Timestamp(0));
        for set in [0, -3_600_000, 86_400_000] {
            clock.set.store(set, Ordering::Relaxed);
            clock.seconds.fetch_add(7, Ordering::Relaxed);
            let passed = clock.seconds.load(Ordering::Relaxed);
            assert_eq!((steady.wall(), steady.now()), (Timestamp((1_000_000 + passed) * 1_000), clock.now()));
            assert_eq!(steady.latest_past(), steady.wall().min(clock.wall()));
        }
    }

    #[test]
    fn it_does_not_begin_before_what_is_written() {
        let clock = Arc::new(Set::default());
        let ahead = clock.wall() + Duration::from_hours(1);
        let steady = Steady::begin(clock.clone(), ahead);
        clock.seconds.fetch_add(3, Ordering::Relaxed);
        assert_eq!(steady.wall(), ahead + Duration::from_secs(3));
    }
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl Default for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place
    fn default() -> Self {
        SystemClock { start: std::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
    #[allow(clippy::disallowed_methods)] // the one place
    fn wall(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}
