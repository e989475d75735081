//! How fast an output may be sent to.
//!
//! Does: hands out tokens at the file's rate; holds back everything while the far side asked to wait.
//! Never: reads a clock (`now` comes in), counts what waits.
//! Holds: L4. In any window of length W, at most rate · W + burst tokens are given. A bucket starts empty, so a restart
//! or a reload gives none extra. Proven by the properties below.

use crate::model::Instant;
use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use std::num::NonZeroU32;
use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use switchyard_api::Rate;

/// A rate and how many may come at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// On average.
    pub rate: Rate,
    /// At once.
    pub burst: NonZeroU32,
}

impl Limit {
    /// A rate alone: evenly spaced. Faster ones than 100/s may come in bursts of 10 ms, as timers are no finer than that.
    pub fn even(rate: Rate) -> Self {
        let burst = (Duration::from_millis(10).as_nanos() * u128::from(rate.count)).div_ceil(rate.per.as_nanos().max(1));
        Limit { rate, burst: u32::try_from(burst).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN) }
    }

    /// The time one token takes, rounded up: rounding down would be over the rate.
    fn interval(&self) -> Duration {
        let nanos = self.rate.per.as_nanos().div_ceil(u128::from(self.rate.count.max(1)));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX).max(1))
    }
}

/// The output's bucket, and until when the far side asked to be left alone.
#[derive(Debug)]
pub struct Limiter {
    limit: Option<Limit>,
    bucket: Option<Bucket>,
    held_until: Instant,
}

type Bucket = RateLimiter<NotKeyed, InMemoryState, Fed, NoOpMiddleware<Moment>>;

impl Limiter {
    /// With an empty bucket; without a limit every token is there at once.
    pub fn new(limit: Option<Limit>, now: Instant) -> Self {
        Limiter { limit, bucket: limit.map(|limit| empty(limit, now)), held_until: Instant(0) }
    }

    /// Takes a token, or says when there may be one.
    pub fn take(&mut self, now: Instant) -> Result<(), Instant> {
        if now < self.held_until {
            return Err(self.held_until);
        }
        let Some(bucket) = &self.bucket else { return Ok(()) };
        bucket.clock().0.store(now.0, Ordering::Relaxed);
        // A nanosecond at least, so that who waits for it gets on.
        bucket.check().map_err(|not_until| now + not_until.wait_time_from(Moment(now.0)).max(Duration::from_nanos(1)))
    }

    /// The far side asks the whole output to wait. A shorter wait does not undo a longer one.
    pub fn hold(&mut self, until: Instant) {
        self.held_until = self.held_until.max(until);
    }

    /// Until when the far side asked to be left alone, if that is not over.
    pub fn held_until(&self, now: Instant) -> Option<Instant> {
        (now < self.held_until).then_some(self.held_until)
    }

    /// Takes a new limit; an unchanged one keeps its bucket, a changed one starts empty.
    pub fn reconfigure(&mut self, limit: Option<Limit>, now: Instant) {
        if limit != self.limit {
            *self = Limiter { held_until: self.held_until, ..Limiter::new(limit, now) };
        }
    }
}

fn empty(limit: Limit, now: Instant) -> Bucket {
    // `interval` is at least a nanosecond, so `with_period` always answers.
    let quota = Quota::with_period(limit.interval()).unwrap_or(Quota::per_second(NonZeroU32::MIN)).allow_burst(limit.burst);
    let bucket = RateLimiter::direct_with_clock(quota, Fed(Arc::new(AtomicU64::new(now.0))));
    // A fresh bucket is full: pour it out.
    let poured = bucket.check_n(limit.burst);
    debug_assert!(matches!(poured, Ok(Ok(()))), "a full bucket holds its burst");
    bucket
}

/// The bucket's clock: shows what [`Limiter::take`] was told last.
#[derive(Debug, Clone)]
struct Fed(Arc<AtomicU64>);

impl Clock for Fed {
    type Instant = Moment;
    fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::Relaxed))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Moment(u64);

impl Add<Nanos> for Moment {
    type Output = Moment;
    fn add(self, wait: Nanos) -> Moment {
        Moment(self.0.saturating_add(wait.as_u64()))
    }
}

impl Reference for Moment {
    fn duration_since(&self, earlier: Moment) -> Nanos {
        Nanos::new(self.0.saturating_sub(earlier.0))
    }
    fn saturating_sub(&self, wait: Nanos) -> Moment {
        Moment(self.0.checked_sub(wait.as_u64()).unwrap_or(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limit(rate: &str, burst: u32) -> Limit {
        Limit { rate: Rate::parse(rate).unwrap(), burst: NonZeroU32::new(burst).unwrap() }
    }

    fn at(millis: u64) -> Instant {
        Instant(millis * 1_000_000)
    }

    #[test]
    fn a_bucket_starts_empty_and_says_when_the_next_token_comes() {
        let mut limiter = Limiter::new(Some(limit("2/s", 3)), at(100));
        assert_eq!(limiter.take(at(100)), Err(at(600)));
        assert_eq!(limiter.take(at(600)), Ok(()));
        assert_eq!(limiter.take(at(600)), Err(at(1_100)));
        let burst = (0..9).filter(|_| limiter.take(at(9_000)).is_ok()).count();
        assert_eq!(burst, 3);
    }

    #[test]
    fn an_unchanged_limit_keeps_its_bucket_and_a_changed_one_starts_empty() {
        let mut limiter = Limiter::new(Some(limit("1/s", 1)), at(0));
        limiter.reconfigure(Some(limit("1/s", 1)), at(900));
        assert_eq!(limiter.take(at(1_000)), Ok(()));
        limiter.reconfigure(Some(limit("10/s", 5)), at(1_000));
        assert_eq!(limiter.take(at(1_000)), Err(at(1_100)));
        limiter.reconfigure(None, at(1_000));
        assert_eq!(limiter.take(at(1_000)), Ok(()));
    }

    #[test]
    fn the_far_sides_wait_holds_the_whole_output_even_without_a_limit() {
        let mut limiter = Limiter::new(None, at(0));
        limiter.hold(at(5_000));
        limiter.hold(at(2_000));
        assert_eq!(limiter.take(at(4_999)), Err(at(5_000)));
        limiter.reconfigure(Some(limit("1000/s", 1)), at(4_000));
        assert_eq!(limiter.take(at(4_999)), Err(at(5_000)));
        assert_eq!(limiter.take(at(5_000)), Ok(()));
    }

    #[test]
    fn a_rate_alone_is_even_unless_timers_are_too_coarse_for_it() {
        assert_eq!(Limit::even(Rate::parse("30/min").unwrap()).burst.get(), 1);
        assert_eq!(Limit::even(Rate::parse("100/s").unwrap()).burst.get(), 1);
        assert_eq!(Limit::even(Rate::parse("5000/s").unwrap()).burst.get(), 50);
    }

    proptest! {
        /// L4: in any window, over restarts and reloads.
        #[test]
        fn no_window_gets_more_than_its_rate_and_a_burst(
            count in 1u32..40, per in 1u64..5_000, burst in 1u32..10,
            calls in proptest::collection::vec((0u64..2_000_000, 0u8..30), 1..400),
        ) {
            let rate = Rate { count, per: Duration::from_millis(per) };
            let limit = Limit { rate, burst: NonZeroU32::new(burst).unwrap() };
            let mut limiter = Limiter::new(Some(limit), Instant(0));
            let (mut now, mut sent) = (Instant(0), vec![]);
            for (micros, what) in calls {
                now = now + Duration::from_micros(micros);
                if what == 0 {
                    limiter = Limiter::new(Some(limit), now);
                }
                if limiter.take(now).is_ok() {
                    sent.push(now);
                }
            }
            for first in 0..sent.len() {
                for last in first..sent.len() {
                    let window = sent[last].since(sent[first]).as_secs_f64();
                    let most = window * f64::from(count) / rate.per.as_secs_f64() + f64::from(burst);
                    let took = (last - first + 1) as f64;
                    prop_assert!(took <= most + 1e-6, "{took} in {window} s, at most {most}");
                }
            }
        }

        /// L4 must not become "never": who waits as long as it is told gets a token.
        #[test]
        fn who_waits_as_long_as_it_is_told_gets_a_token(count in 1u32..1_000_000, per in 1u64..5_000_000, start in 0u64..1_000_000) {
            let limit = Limit::even(Rate { count, per: Duration::from_micros(per) });
            let mut limiter = Limiter::new(Some(limit), Instant(start));
            let mut now = Instant(start);
            for _ in 0..20 {
                if let Err(until) = limiter.take(now) {
                    prop_assert!(until > now);
                    now = until;
                    prop_assert!(limiter.take(now).is_ok());
                }
            }
        }
    }
}
