//! How fast an output may be sent to: one bucket for all of it, or one for each key.
//!
//! Does: hands out tokens at the file's rate; tells a delivery whose key has none when to come back, so that it need not be kept in memory;
//! holds back the output, or the key, that the far side asked to wait.
//! Never: reads a clock (`now` comes in), counts what waits, drops.
//! Holds: L4. In any window of length W, at most rate · W + burst tokens are given, to each key. A bucket starts empty, so a restart or
//! a changed limit gives none extra. L6: at most [`KEYS_MAX`] keys. Proven by the properties below.

use crate::model::{Instant, RateKey};
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;
use switchyard_api::Rate;

/// Keys of one output whose buckets are not full, or of which deliveries are told when to come. Deliveries of further keys come back when
/// some are. About 8 MiB. Fewer in tests, which go beyond it.
pub const KEYS_MAX: usize = if cfg!(test) { 128 } else { 131_072 };
/// With fewer keys than this nobody looks for full buckets.
const SWEEP_MIN: usize = if cfg!(test) { 16 } else { 1_024 };
/// How often full buckets are looked for while there are [`KEYS_MAX`].
const SWEEP_EVERY: Duration = Duration::from_secs(1);

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

    /// The time an empty bucket takes to be full.
    fn fill(&self) -> Duration {
        self.interval().saturating_mul(self.burst.get())
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rate)?;
        if self.burst.get() > 1 { write!(f, ", burst {},", self.burst) } else { Ok(()) }
    }
}

/// Who asks for a token of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// One that just came: it stands behind those that were told when to come.
    New,
    /// One that was told to come now.
    Told,
    /// One that somebody asked for again: live ones do not stand behind it.
    Replay,
}

/// What who asks is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// It may go.
    Go,
    /// Nothing of this output may, before then.
    NotBefore(Instant),
    /// This one may not; its turn is expected then. Others may.
    ComeBack(Instant),
}

/// One bucket, and who is told to come when. A generic cell rate: `full_at` says it all.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// When it is full, if nothing is taken.
    full_at: Instant,
    /// Until when turns are told to new ones, to those whose turn was gone when they came, and to replays.
    new_until: Instant,
    told_until: Instant,
    replays_until: Instant,
}

impl Bucket {
    /// One that is empty at that moment.
    fn empty(limit: &Limit, since: Instant) -> Self {
        Bucket { full_at: since + limit.fill(), new_until: Instant(0), told_until: Instant(0), replays_until: Instant(0) }
    }

    /// When there is a token.
    fn next(&self, limit: &Limit) -> Instant {
        let most_early = limit.fill().saturating_sub(limit.interval());
        Instant(self.full_at.0.saturating_sub(u64::try_from(most_early.as_nanos()).unwrap_or(u64::MAX)))
    }

    fn take(&mut self, limit: &Limit, now: Instant) -> Result<(), Instant> {
        let next = self.next(limit);
        if now < next {
            return Err(next);
        }
        self.full_at = self.full_at.max(now) + limit.interval();
        Ok(())
    }

    /// The far side asks to wait: it is as empty then as at a start.
    fn hold(&mut self, limit: &Limit, until: Instant) {
        self.full_at = self.full_at.max(until + limit.fill().saturating_sub(limit.interval()));
    }

    /// The last turn that somebody live was told.
    fn told_last(&self) -> Instant {
        self.new_until.max(self.told_until)
    }

    /// The turn of one that got none now. Those that were told already and came too late go before those that are new.
    fn turn(&mut self, limit: &Limit, asks: Asks) -> Instant {
        let last = match asks {
            Asks::New => self.told_last(),
            Asks::Told => self.told_until,
            Asks::Replay => self.replays_until,
        };
        let turn = self.next(limit).max(last + limit.interval());
        match asks {
            Asks::New => self.new_until = turn,
            Asks::Told => self.told_until = turn,
            Asks::Replay => self.replays_until = turn,
        }
        turn
    }

    /// Whether it is as one that was never used: nothing is lost without it.
    fn is_idle(&self, now: Instant) -> bool {
        self.full_at.max(self.told_last()).max(self.replays_until) <= now
    }
}

/// The output's buckets, and until when the far side asked to be left alone.
#[derive(Debug)]
pub struct Limiter {
    limit: Option<Limit>,
    /// What has no key.
    whole: Option<Bucket>,
    /// Those that are not idle. One that is not here was empty at `since` and never used.
    keys: BTreeMap<RateKey, Bucket>,
    since: Instant,
    /// With so many keys, and not before then, idle ones are looked for.
    sweep_at: (usize, Instant),
    /// Until when turns are told to deliveries of keys beyond [`KEYS_MAX`].
    beyond_until: Instant,
    held_until: Instant,
    /// The last moment until which the far side asked the output, or any key, to wait.
    asked_until: Instant,
}

impl Limiter {
    /// With empty buckets; without a limit every token is there at once.
    pub fn new(limit: Option<Limit>, now: Instant) -> Self {
        Limiter {
            whole: limit.map(|limit| Bucket::empty(&limit, now)),
            limit,
            keys: BTreeMap::new(),
            since: now,
            sweep_at: (SWEEP_MIN, now),
            beyond_until: Instant(0),
            held_until: Instant(0),
            asked_until: Instant(0),
        }
    }

    /// Takes a token for a delivery, of its key where it has one.
    pub fn take(&mut self, now: Instant, key: Option<RateKey>, asks: Asks) -> Token {
        if now < self.held_until {
            return Token::NotBefore(self.held_until);
        }
        let (Some(limit), Some(whole)) = (self.limit, &mut self.whole) else { return Token::Go };
        let Some(key) = key else { return whole.take(&limit, now).map_or_else(Token::NotBefore, |()| Token::Go) };
        let Some(bucket) = self.bucket(now, key, &limit) else { return Token::ComeBack(self.beyond(now, &limit)) };
        let behind = asks == Asks::New && bucket.told_last() >= now;
        if !behind && bucket.take(&limit, now).is_ok() {
            return Token::Go;
        }
        Token::ComeBack(bucket.turn(&limit, asks))
    }

    /// The bucket of a key; `None`: there are too many.
    fn bucket(&mut self, now: Instant, key: RateKey, limit: &Limit) -> Option<&mut Bucket> {
        if !self.keys.contains_key(&key) {
            let (count, not_before) = self.sweep_at;
            if self.keys.len() >= count && now >= not_before {
                self.keys.retain(|_, bucket| !bucket.is_idle(now));
                self.sweep_at = ((self.keys.len() * 2).clamp(SWEEP_MIN, KEYS_MAX), now + SWEEP_EVERY);
            }
            if self.keys.len() >= KEYS_MAX {
                return None;
            }
        }
        Some(self.keys.entry(key).or_insert(Bucket::empty(limit, self.since)))
    }

    /// The turn of one whose key has no place: after the next look, and no faster than places become free.
    fn beyond(&mut self, now: Instant, limit: &Limit) -> Instant {
        let gap = limit.fill() / u32::try_from(KEYS_MAX).unwrap_or(u32::MAX);
        self.beyond_until = self.sweep_at.1.max(now + SWEEP_EVERY).max(self.beyond_until + gap);
        self.beyond_until
    }

    /// The far side asks to wait: the key where there is one, else the whole output. A shorter wait does not undo a longer one.
    pub fn hold(&mut self, key: Option<RateKey>, until: Instant) {
        self.asked_until = self.asked_until.max(until);
        match (self.limit, key) {
            // It was sent a moment ago, so its key has a place as a rule; where not, there are no more of these than are out.
            (Some(limit), Some(key)) => self.keys.entry(key).or_insert(Bucket::empty(&limit, self.since)).hold(&limit, until),
            _ => self.held_until = self.held_until.max(until),
        }
    }

    /// Until when the far side asked the output, or any of its keys, to wait.
    pub fn asked_until(&self, now: Instant) -> Option<Instant> {
        (self.asked_until > now).then_some(self.asked_until)
    }

    /// Takes a new limit, or another way to make keys. All begin empty.
    pub fn reconfigure(&mut self, limit: Option<Limit>, now: Instant) {
        *self = Limiter { held_until: self.held_until, asked_until: self.asked_until, ..Limiter::new(limit, now) };
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

    /// Asks for the output as a whole.
    fn take(limiter: &mut Limiter, now: Instant) -> Token {
        limiter.take(now, None, Asks::New)
    }

    #[test]
    fn a_bucket_starts_empty_and_says_when_the_next_token_comes() {
        let mut limiter = Limiter::new(Some(limit("2/s", 3)), at(100));
        assert_eq!(take(&mut limiter, at(100)), Token::NotBefore(at(600)));
        assert_eq!(take(&mut limiter, at(600)), Token::Go);
        assert_eq!(take(&mut limiter, at(600)), Token::NotBefore(at(1_100)));
        let burst = (0..9).filter(|_| take(&mut limiter, at(9_000)) == Token::Go).count();
        assert_eq!(burst, 3);
    }

    #[test]
    fn a_changed_limit_starts_empty() {
        let mut limiter = Limiter::new(Some(limit("1/s", 1)), at(0));
        assert_eq!(take(&mut limiter, at(1_000)), Token::Go);
        limiter.reconfigure(Some(limit("10/s", 5)), at(1_000));
        assert_eq!(take(&mut limiter, at(1_000)), Token::NotBefore(at(1_100)));
        limiter.reconfigure(None, at(1_000));
        assert_eq!(take(&mut limiter, at(1_000)), Token::Go);
    }

    #[test]
    fn the_far_sides_wait_holds_the_whole_output_even_without_a_limit() {
        let mut limiter = Limiter::new(None, at(0));
        limiter.hold(None, at(5_000));
        limiter.hold(None, at(2_000));
        assert_eq!(take(&mut limiter, at(4_999)), Token::NotBefore(at(5_000)));
        limiter.reconfigure(Some(limit("1000/s", 1)), at(4_000));
        assert_eq!((take(&mut limiter, at(4_999)), limiter.asked_until(at(4_999))), (Token::NotBefore(at(5_000)), Some(at(5_000))));
        assert_eq!((take(&mut limiter, at(5_000)), limiter.asked_until(at(5_000))), (Token::Go, None));
    }

    #[test]
    fn a_rate_alone_is_even_unless_timers_are_too_coarse_for_it() {
        assert_eq!(Limit::even(Rate::parse("30/min").unwrap()).burst.get(), 1);
        assert_eq!(Limit::even(Rate::parse("100/s").unwrap()).burst.get(), 1);
        assert_eq!(Limit::even(Rate::parse("5000/s").unwrap()).burst.get(), 50);
    }

    #[test]
    fn a_key_never_seen_is_empty_at_the_start_and_full_later() {
        let mut limiter = Limiter::new(Some(limit("1/s", 3)), at(0));
        let mut ask = |millis, key| limiter.take(at(millis), Some(RateKey(key)), Asks::New);
        assert_eq!(ask(999, 1), Token::ComeBack(at(1_000)));
        assert_eq!((0..4).filter(|_| ask(9_000, 2) == Token::Go).count(), 3);
        assert_eq!((0..4).filter(|_| ask(9_000, 3) == Token::Go).count(), 3, "each its own");
    }

    #[test]
    fn turns_follow_each_other_and_a_late_one_goes_before_those_that_are_new() {
        let mut limiter = Limiter::new(Some(limit("1/s", 1)), at(0));
        let mut ask = |millis, asks| limiter.take(at(millis), Some(RateKey(1)), asks);
        assert_eq!(ask(5_000, Asks::New), Token::Go);
        assert_eq!([ask(5_100, Asks::New), ask(5_200, Asks::New)], [Token::ComeBack(at(6_000)), Token::ComeBack(at(7_000))]);
        // The first comes a little late, so the second finds none; a new one stands behind both.
        assert_eq!([ask(6_300, Asks::Told), ask(7_000, Asks::Told)], [Token::Go, Token::ComeBack(at(7_300))]);
        assert_eq!(ask(7_100, Asks::New), Token::ComeBack(at(8_300)));
        assert_eq!([ask(7_300, Asks::Told), ask(8_300, Asks::Told)], [Token::Go, Token::Go]);
        // Replays have a line of their own.
        assert_eq!([ask(8_400, Asks::Replay), ask(8_400, Asks::Replay)], [Token::ComeBack(at(9_300)), Token::ComeBack(at(10_300))]);
        assert_eq!([ask(8_500, Asks::New), ask(9_300, Asks::Told)], [Token::ComeBack(at(9_300)), Token::Go]);
    }

    #[test]
    fn a_token_that_was_promised_is_not_for_one_that_just_came() {
        let mut limiter = Limiter::new(Some(limit("1/s", 1)), at(0));
        let mut ask = |millis, asks| limiter.take(at(millis), Some(RateKey(1)), asks);
        assert_eq!([ask(5_000, Asks::New), ask(5_100, Asks::New)], [Token::Go, Token::ComeBack(at(6_000))]);
        assert_eq!([ask(6_000, Asks::New), ask(6_000, Asks::Told)], [Token::ComeBack(at(7_000)), Token::Go]);
    }

    #[test]
    fn idle_keys_are_forgotten_and_there_are_never_more_than_can_be() {
        let mut limiter = Limiter::new(Some(limit("1/s", 2)), at(0));
        for key in 0..100_000 {
            limiter.take(at(10_000 + key * 100), Some(RateKey(key)), Asks::New);
            assert!(limiter.keys.len() <= SWEEP_MIN.max(2 * 21), "those of the last two seconds, twice at most");
        }
        let mut limiter = Limiter::new(Some(limit("1/h", 1)), at(0));
        let now = at(4_000_000);
        let told: Vec<Token> = (0..200).map(|key| limiter.take(now, Some(RateKey(key)), Asks::New)).collect();
        assert_eq!(limiter.keys.len(), KEYS_MAX);
        assert_eq!(told.iter().filter(|told| **told == Token::Go).count(), KEYS_MAX);
        assert!(told.iter().skip(KEYS_MAX).all(|told| matches!(told, Token::ComeBack(then) if *then > now)));
    }

    /// Whether no window has more than the limit.
    fn within(limit: &Limit, sent: &[Instant]) -> Result<(), TestCaseError> {
        for first in 0..sent.len() {
            for last in first..sent.len() {
                let window = sent[last].since(sent[first]).as_secs_f64();
                let most = window * f64::from(limit.rate.count) / limit.rate.per.as_secs_f64() + f64::from(limit.burst.get());
                let took = (last - first + 1) as f64;
                prop_assert!(took <= most + 1e-6, "{took} in {window} s, at most {most}");
            }
        }
        Ok(())
    }

    proptest! {
        /// L4: in any window, over restarts and reloads.
        #[test]
        fn no_window_gets_more_than_its_rate_and_a_burst(
            count in 1u32..40, per in 1u64..5_000, burst in 1u32..10,
            calls in proptest::collection::vec((0u64..2_000_000, 0u8..30), 1..400),
        ) {
            let limit = Limit { rate: Rate { count, per: Duration::from_millis(per) }, burst: NonZeroU32::new(burst).unwrap() };
            let mut limiter = Limiter::new(Some(limit), Instant(0));
            let (mut now, mut sent) = (Instant(0), vec![]);
            for (micros, what) in calls {
                now = now + Duration::from_micros(micros);
                if what == 0 {
                    limiter = Limiter::new(Some(limit), now);
                }
                if take(&mut limiter, now) == Token::Go {
                    sent.push(now);
                }
            }
            within(&limit, &sent)?;
        }

        /// L4 for each key, whoever asks, through restarts, waits that the far side asks for, and keys that are forgotten. And nobody is told
        /// to come at once.
        #[test]
        fn no_key_gets_more_than_its_rate_and_a_burst(
            count in 1u32..40, per in 1u64..5_000, burst in 1u32..10, keys in 1u64..120,
            calls in proptest::collection::vec((0u64..300_000, 0u8..60, any::<u64>(), 0u8..3), 1..600),
        ) {
            let limit = Limit { rate: Rate { count, per: Duration::from_millis(per) }, burst: NonZeroU32::new(burst).unwrap() };
            let mut limiter = Limiter::new(Some(limit), Instant(0));
            let (mut now, mut sent) = (Instant(0), BTreeMap::<u64, Vec<Instant>>::new());
            for (micros, what, key, asks) in calls {
                now = now + Duration::from_micros(micros);
                let key = key % keys;
                match what {
                    0 => limiter = Limiter::new(Some(limit), now),
                    1 => limiter.reconfigure(Some(limit), now),
                    2 => limiter.hold(Some(RateKey(key)), now + Duration::from_millis(700)),
                    _ => match limiter.take(now, Some(RateKey(key)), [Asks::New, Asks::Told, Asks::Replay][usize::from(asks)]) {
                        Token::Go => sent.entry(key).or_default().push(now),
                        Token::ComeBack(then) => prop_assert!(then >= now, "{then:?} at {now:?}"),
                        Token::NotBefore(_) => prop_assert!(false, "others may go"),
                    },
                }
                prop_assert!(limiter.keys.len() <= KEYS_MAX + 1);
            }
            for sent in sent.values() {
                within(&limit, sent)?;
            }
        }

        /// L4 must not become "never": who waits as long as it is told gets a token.
        #[test]
        fn who_waits_as_long_as_it_is_told_gets_a_token(count in 1u32..1_000_000, per in 1u64..5_000_000, start in 0u64..1_000_000, key: bool) {
            let limit = Limit::even(Rate { count, per: Duration::from_micros(per) });
            let key = key.then_some(RateKey(7));
            let mut limiter = Limiter::new(Some(limit), Instant(start));
            let mut now = Instant(start);
            for _ in 0..20 {
                if let Token::NotBefore(until) | Token::ComeBack(until) = limiter.take(now, key, Asks::New) {
                    prop_assert!(until > now);
                    now = until;
                    prop_assert_eq!(limiter.take(now, key, Asks::Told), Token::Go);
                }
            }
        }
    }
}
