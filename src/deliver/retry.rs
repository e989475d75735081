//! When a delivery is tried again: a pure function of how often it was tried.
//!
//! Holds: attempts are bounded, and the whole schedule fits into what the file says (`over`). Proven by the properties below.

use std::time::Duration;

/// The first wait of an `{attempts, over}` schedule, unless `over` is too short for it.
pub const FIRST_GAP: Duration = Duration::from_secs(5);
/// Most attempts a schedule may have; `check` refuses more.
pub const ATTEMPTS_MAX: u32 = 1_000;
/// The least wait a far side can ask for; less is no request at all.
pub const ASKED_MIN: Duration = Duration::from_secs(1);
/// How much earlier than the schedule says a wait may end, in parts of 100, so that many deliveries that failed together do not come back
/// together. Never later: the last attempt would be after `over`.
const JITTER_PERCENT: u64 = 10;
/// And at most by so much: that spreads a crowd, and more of it would take hours off the end of a schedule of days.
const JITTER_MAX: Duration = Duration::from_mins(5);

/// The waits between attempts, worked out once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The wait after the 1st, 2nd, … failed attempt. One less than there are attempts.
    gaps: Vec<Duration>,
}

impl Schedule {
    /// So many attempts over so long: growing waits, the first about [`FIRST_GAP`], the last attempt at `over`.
    pub fn over(attempts: u32, over: Duration) -> Self {
        let waits = attempts.clamp(1, ATTEMPTS_MAX) as usize - 1;
        Schedule { gaps: growing(waits, over) }
    }

    /// These waits as they are; one attempt more than waits.
    pub fn verbatim(gaps: Vec<Duration>) -> Self {
        Schedule { gaps }
    }

    /// How many attempts there are in all.
    pub fn attempts(&self) -> u32 {
        self.gaps.len() as u32 + 1
    }

    /// The wait after this many counted attempts, a little shorter by `seed`; `None` if that was the last.
    pub fn after(&self, attempts: u32, seed: u64) -> Option<Duration> {
        let gap = *self.gaps.get(attempts.checked_sub(1)? as usize)?;
        Some(jittered(gap, mix(seed ^ u64::from(attempts))))
    }
}

/// What the far side asked for, held to [`ASKED_MIN`] and the most that the file allows.
pub fn asked(wait: Duration, most: Duration) -> Duration {
    wait.clamp(ASKED_MIN, most.max(ASKED_MIN))
}

/// `waits` waits in geometric growth that add up to `over` and begin at [`FIRST_GAP`]; equal ones where `over` is too short for that.
fn growing(waits: usize, over: Duration) -> Vec<Duration> {
    if waits == 0 {
        return vec![];
    }
    let (first, total) = (FIRST_GAP.as_secs_f64(), over.as_secs_f64());
    if waits == 1 || first * waits as f64 >= total {
        return vec![over / waits as u32; waits];
    }
    let sum = |ratio: f64| (0..waits).fold(0.0, |sum, nth| sum + first * ratio.powi(nth as i32));
    let (mut low, mut high) = (1.0, total / first + 1.0);
    // Halving finds the ratio to the last bit of a float; `low` always stays within `over`.
    for _ in 0..128 {
        let middle = f64::midpoint(low, high);
        if sum(middle) <= total { low = middle } else { high = middle }
    }
    // Whole milliseconds, cut: rounding up could add up to more than `over`.
    (0..waits).map(|nth| Duration::from_millis((first * low.powi(nth as i32) * 1_000.0) as u64)).collect()
}

fn jittered(gap: Duration, chance: u64) -> Duration {
    let gap = u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX);
    let most = (gap / 100 * JITTER_PERCENT).min(u64::try_from(JITTER_MAX.as_nanos()).unwrap_or(u64::MAX));
    Duration::from_nanos(gap - chance % (most + 1))
}

/// SplitMix64's last step: every bit of the seed reaches every bit of the result.
pub(super) fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn twenty_attempts_over_two_days_start_at_seconds_and_end_at_hours() {
        let schedule = Schedule::over(20, Duration::from_hours(48));
        let seconds: Vec<u64> = schedule.gaps.iter().map(Duration::as_secs).collect();
        let expected = [5, 8, 14, 24, 41, 71, 121, 206, 350, 596, 1015, 1727, 2938, 4998, 8503, 14466, 24611, 41869, 71228];
        assert_eq!(seconds, expected);
        assert_eq!(schedule.attempts(), 20);
    }

    #[test]
    fn the_last_attempt_has_no_wait_after_it() {
        let schedule = Schedule::verbatim(vec![Duration::from_secs(5), Duration::from_mins(5)]);
        assert!(schedule.after(2, 7).is_some());
        assert_eq!(schedule.after(3, 7), None);
        assert_eq!(schedule.after(0, 7), None, "nothing was tried yet");
        assert_eq!(Schedule::over(1, Duration::from_secs(9)).after(1, 7), None);
    }

    #[test]
    fn a_far_side_can_ask_for_a_second_to_the_most_the_file_allows() {
        let most = Duration::from_hours(1);
        assert_eq!(asked(Duration::ZERO, most), Duration::from_secs(1));
        assert_eq!(asked(Duration::from_secs(90), most), Duration::from_secs(90));
        assert_eq!(asked(Duration::from_secs(1_000_000_000), most), most);
        assert_eq!(asked(Duration::from_secs(9), Duration::ZERO), Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn a_schedule_fits_into_its_time_and_never_shrinks(attempts in 2u32..200, over in 0u64..10_000_000) {
            let over = Duration::from_secs(over);
            let gaps = Schedule::over(attempts, over).gaps;
            let sum: Duration = gaps.iter().sum();
            prop_assert!(sum <= over);
            prop_assert!(over.saturating_sub(sum) <= Duration::from_millis(u64::from(attempts)) + over / 1_000, "{sum:?} of {over:?}");
            prop_assert!(gaps.is_sorted());
            prop_assert!(gaps.len() == 1 || gaps[0] <= FIRST_GAP);
        }

        #[test]
        fn the_last_attempt_is_within_what_the_file_says_and_an_hour_before_its_end_at_most(seed: u64) {
            let schedule = Schedule::over(20, Duration::from_hours(48));
            let last: Duration = (1..20).filter_map(|attempts| schedule.after(attempts, seed)).sum();
            prop_assert!(last <= Duration::from_hours(48), "{last:?}");
            prop_assert!(last >= Duration::from_hours(47), "{last:?}");
        }

        #[test]
        fn a_wait_is_a_tenth_shorter_at_most_never_longer_and_the_same_seed_gives_the_same(gap in 0u64..10_000_000_000, seed: u64) {
            let schedule = Schedule::verbatim(vec![Duration::from_micros(gap)]);
            let (wait, again) = (schedule.after(1, seed).unwrap(), schedule.after(1, seed).unwrap());
            prop_assert_eq!(wait, again);
            prop_assert!(wait >= Duration::from_micros(gap) * 9 / 10);
            prop_assert!(wait <= Duration::from_micros(gap));
        }
    }
}
