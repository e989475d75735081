//! Whether an output is known to be down, and how it comes back.
//!
//! `Closed` → `Open` (the far side is down or refuses us) → `Probing` (exactly one delivery out) → `Recovering` (one, two,
//! four, … at once) → `Closed`.
//! Never: counts attempts, disables an output, reads a clock.
//! Holds: half of L3. While it is not closed, at most one probe is out, and a probe comes at most once an interval.
//! Proven by the tests below and by `laws.rs`.

use super::retry;
use crate::model::{Instant, Timestamp};
use std::time::Duration;
use switchyard_api::Outcome;

/// The first wait for a probe after the far side went down; it doubles up to [`DOWN_MOST`].
pub const DOWN_FIRST: Duration = Duration::from_secs(1);
/// The longest wait between probes of an output that is down.
pub const DOWN_MOST: Duration = Duration::from_mins(1);
/// The first wait for a probe of an output that is misconfigured; it doubles up to [`MISCONFIGURED_MOST`].
pub const MISCONFIGURED_FIRST: Duration = Duration::from_mins(1);
/// The longest wait between probes of an output that is misconfigured.
pub const MISCONFIGURED_MOST: Duration = Duration::from_mins(15);

/// Where the breaker stands, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BreakerState {
    /// All is well.
    Closed,
    /// Nothing goes out but a probe now and then.
    Open {
        /// Whether somebody must change something: credentials, address, certificate.
        misconfigured: bool,
        /// What the far side said last.
        why: String,
        /// Since when.
        since: Timestamp,
    },
    /// It answers again; more and more go out at once.
    Recovering,
}

/// A turn that people should hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turned {
    /// It is known to be down, or misconfigured (loud).
    Down {
        /// Whether somebody must change something.
        misconfigured: bool,
        /// What the far side said.
        why: String,
    },
    /// It answers again.
    Back,
}

/// How an output was down when the daemon ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WasDown {
    /// Whether somebody must change something.
    pub misconfigured: bool,
    /// What the far side said last.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
}

/// What may go out now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allows {
    /// So many at once.
    Calls(u32),
    /// Exactly one, as a probe.
    Probe,
    /// Nothing before then.
    NotBefore(Instant),
    /// Nothing until the probe that is out is answered.
    Nothing,
}

#[derive(Debug)]
struct Down {
    misconfigured: bool,
    why: String,
    since: Timestamp,
    interval: Duration,
    /// Whether this life said so.
    said: bool,
}

#[derive(Debug)]
enum State {
    Closed,
    Open {
        down: Down,
        probe_at: Instant,
    },
    Probing {
        down: Down,
    },
    /// `interval` is kept: going down again before all is well goes on where it was.
    Recovering {
        calls: u32,
        interval: Duration,
    },
}

/// The first and the longest wait between probes.
fn waits(misconfigured: bool) -> (Duration, Duration) {
    if misconfigured { (MISCONFIGURED_FIRST, MISCONFIGURED_MOST) } else { (DOWN_FIRST, DOWN_MOST) }
}

/// One output's breaker.
#[derive(Debug)]
pub struct Breaker {
    state: State,
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker { state: State::Closed }
    }
}

impl Breaker {
    /// One that was open in an earlier life: a probe may go at once, and nothing else until it is answered.
    pub fn was_down(was: WasDown, now: Instant) -> Self {
        let WasDown { misconfigured, why, since } = was;
        let (interval, _) = waits(misconfigured);
        Breaker { state: State::Open { down: Down { misconfigured, why, since, interval, said: false }, probe_at: now } }
    }

    /// What may go out now, of at most `concurrency` at once.
    pub fn allows(&self, now: Instant, concurrency: u32) -> Allows {
        match &self.state {
            State::Closed => Allows::Calls(concurrency),
            State::Open { probe_at, .. } if now < *probe_at => Allows::NotBefore(*probe_at),
            State::Open { .. } => Allows::Probe,
            State::Probing { .. } => Allows::Nothing,
            State::Recovering { calls, .. } => Allows::Calls((*calls).min(concurrency)),
        }
    }

    /// The probe that was allowed is out.
    pub fn probe_sent(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Closed) {
            State::Open { down, .. } => State::Probing { down },
            other => other,
        };
    }

    /// The probe came back without an outcome: it was not sent. The next one may go at once.
    pub fn probe_lost(&mut self, now: Instant) {
        self.state = match std::mem::replace(&mut self.state, State::Closed) {
            State::Probing { down } => State::Open { down, probe_at: now },
            other => other,
        };
    }

    /// Hears what became of an attempt. `max_wait` bounds what the far side may ask for.
    ///
    /// Only the probe can end an opening; an attempt that was out before it says nothing about now. A far side that
    /// answered at all, be it a refusal, is not down; one of which nothing was heard may be.
    pub fn hear(
        &mut self,
        now: Instant,
        wall: Timestamp,
        outcome: &Outcome,
        probe: bool,
        concurrency: u32,
        max_wait: Duration,
    ) -> Option<Turned> {
        let (misconfigured, why, after) = match outcome {
            Outcome::Down { why, after } => (false, why, *after),
            Outcome::Misconfigured { why, after } => (true, why, *after),
            Outcome::Unknown { .. } => {
                self.hear_nothing(now, probe);
                return None;
            }
            _ => return self.hear_answer(probe, concurrency),
        };
        let (first, most) = waits(misconfigured);
        let open = |since, interval: Duration| {
            let interval = interval.clamp(first, most);
            let wait = after.map_or(interval, |asked| interval.max(retry::asked(asked, max_wait)));
            State::Open { down: Down { misconfigured, why: why.clone(), since, interval, said: true }, probe_at: now + wait }
        };
        let turned = Some(Turned::Down { misconfigured, why: why.clone() });
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Closed => {
                self.state = open(wall, first);
                turned
            }
            State::Recovering { interval, .. } => {
                self.state = open(wall, interval * 2);
                turned
            }
            State::Probing { down } if probe => {
                self.state = open(down.since, down.interval * 2);
                // Said again only if it is another kind of trouble, or if it was in an earlier life.
                turned.filter(|_| down.misconfigured != misconfigured || !down.said)
            }
            // Sent before it opened: nothing new.
            other => {
                self.state = other;
                None
            }
        }
    }

    /// An attempt ended without a word of the far side: a probe has then found nothing out, and the next one waits longer.
    pub fn hear_nothing(&mut self, now: Instant, probe: bool) {
        self.state = match std::mem::replace(&mut self.state, State::Closed) {
            State::Probing { down } if probe => {
                let (first, most) = waits(down.misconfigured);
                let interval = (down.interval * 2).clamp(first, most);
                State::Open { down: Down { interval, ..down }, probe_at: now + interval }
            }
            other => other,
        };
    }

    fn hear_answer(&mut self, probe: bool, concurrency: u32) -> Option<Turned> {
        match &mut self.state {
            State::Probing { down } if probe => {
                self.state = if concurrency <= 1 { State::Closed } else { State::Recovering { calls: 2, interval: down.interval } };
                Some(Turned::Back)
            }
            State::Recovering { calls, .. } => {
                // One more for each answer doubles them every round.
                *calls = calls.saturating_add(1);
                if *calls >= concurrency {
                    self.state = State::Closed;
                }
                None
            }
            _ => None,
        }
    }

    /// The output was changed: the next probe may go at once.
    pub fn hurry(&mut self, now: Instant) {
        if let State::Open { probe_at, .. } = &mut self.state {
            *probe_at = now;
        }
    }

    /// Where it stands, for people.
    pub fn state(&self) -> BreakerState {
        match &self.state {
            State::Closed => BreakerState::Closed,
            State::Open { down, .. } | State::Probing { down } => {
                BreakerState::Open { misconfigured: down.misconfigured, why: down.why.clone(), since: down.since }
            }
            State::Recovering { .. } => BreakerState::Recovering,
        }
    }

    /// When the next probe may go out, while none is.
    pub fn probe_at(&self) -> Option<Instant> {
        if let State::Open { probe_at, .. } = &self.state { Some(*probe_at) } else { None }
    }

    /// Whether nothing but probes goes out.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. } | State::Probing { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_WAIT: Duration = Duration::from_hours(1);

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000_000)
    }
    fn down(after: Option<u64>) -> Outcome {
        Outcome::Down { why: "connection refused".into(), after: after.map(Duration::from_secs) }
    }
    fn good() -> Outcome {
        Outcome::Delivered { detail: "200".into() }
    }
    fn hear(breaker: &mut Breaker, seconds: u64, outcome: &Outcome, probe: bool) -> Option<Turned> {
        breaker.hear(at(seconds), Timestamp(5), outcome, probe, 8, MAX_WAIT)
    }
    /// Lets probes fail until `until` and says at which seconds they went.
    fn probes(breaker: &mut Breaker, outcome: &Outcome, until: u64) -> Vec<u64> {
        (0..until)
            .filter(|second| {
                let goes = breaker.allows(at(*second), 8) == Allows::Probe;
                if goes {
                    breaker.probe_sent();
                    assert_eq!(breaker.allows(at(*second), 8), Allows::Nothing, "exactly one");
                    hear(breaker, *second, outcome, true);
                }
                goes
            })
            .collect()
    }

    #[test]
    fn probes_of_a_dead_output_come_after_1_2_4_seconds_up_to_a_minute() {
        let mut breaker = Breaker::default();
        let turned = hear(&mut breaker, 0, &down(None), false);
        assert_eq!(turned, Some(Turned::Down { misconfigured: false, why: "connection refused".into() }));
        assert_eq!(probes(&mut breaker, &down(None), 250), [1, 3, 7, 15, 31, 63, 123, 183, 243]);
    }

    #[test]
    fn probes_of_a_misconfigured_output_come_after_a_minute_up_to_fifteen() {
        let mut breaker = Breaker::default();
        let wrong = Outcome::Misconfigured { why: "401".into(), after: None };
        assert_eq!(hear(&mut breaker, 0, &wrong, false), Some(Turned::Down { misconfigured: true, why: "401".into() }));
        assert_eq!(probes(&mut breaker, &wrong, 3600), [60, 180, 420, 900, 1800, 2700]);
        assert_eq!(breaker.state(), BreakerState::Open { misconfigured: true, why: "401".into(), since: Timestamp(5) });
    }

    #[test]
    fn a_probe_waits_as_long_as_the_far_side_asks_but_not_for_ever() {
        let mut breaker = Breaker::default();
        hear(&mut breaker, 0, &down(Some(90)), false);
        assert_eq!(breaker.allows(at(89), 8), Allows::NotBefore(at(90)));
        breaker.probe_sent();
        hear(&mut breaker, 90, &down(Some(1_000_000)), true);
        assert_eq!(breaker.allows(at(91), 8), Allows::NotBefore(at(90 + 3600)));
    }

    #[test]
    fn a_probe_of_a_misconfigured_output_waits_longer_where_the_far_side_wants_that() {
        let mut breaker = Breaker::default();
        let gone = |hours| Outcome::Misconfigured { why: "404".into(), after: Some(Duration::from_hours(hours)) };
        hear(&mut breaker, 0, &gone(1), false);
        assert_eq!(probes(&mut breaker, &gone(1), 4 * 3600), [3600, 7200, 10_800]);
        breaker.probe_sent();
        hear(&mut breaker, 14_400, &gone(100), true);
        assert_eq!(breaker.allows(at(14_401), 8), Allows::NotBefore(at(14_400 + 3600)), "as long as `max_wait` allows");
    }

    #[test]
    fn one_that_answers_again_gets_more_and_more_at_once() {
        let mut breaker = Breaker::default();
        hear(&mut breaker, 0, &down(None), false);
        breaker.probe_sent();
        assert_eq!(hear(&mut breaker, 1, &good(), true), Some(Turned::Back));
        assert_eq!(breaker.allows(at(1), 8), Allows::Calls(2));
        for calls in 3..=7 {
            assert_eq!(hear(&mut breaker, 2, &good(), false), None);
            assert_eq!((breaker.allows(at(2), 8), breaker.state()), (Allows::Calls(calls), BreakerState::Recovering));
        }
        hear(&mut breaker, 2, &good(), false);
        assert_eq!((breaker.allows(at(2), 8), breaker.state()), (Allows::Calls(8), BreakerState::Closed));
    }

    #[test]
    fn going_down_again_while_recovering_goes_on_with_the_long_wait() {
        let mut breaker = Breaker::default();
        hear(&mut breaker, 0, &down(None), false);
        probes(&mut breaker, &down(None), 10);
        breaker.probe_sent();
        hear(&mut breaker, 15, &good(), true);
        assert!(hear(&mut breaker, 16, &down(None), false).is_some());
        assert_eq!(breaker.allows(at(16), 8), Allows::NotBefore(at(16 + 16)));
    }

    #[test]
    fn what_was_out_before_it_opened_changes_nothing() {
        let mut breaker = Breaker::default();
        hear(&mut breaker, 0, &down(None), false);
        assert_eq!(hear(&mut breaker, 0, &good(), false), None);
        assert_eq!(hear(&mut breaker, 0, &down(None), false), None);
        assert_eq!(breaker.allows(at(0), 8), Allows::NotBefore(at(1)));
        breaker.probe_sent();
        hear(&mut breaker, 1, &good(), false);
        assert_eq!(breaker.allows(at(1), 8), Allows::Nothing);
    }

    #[test]
    fn a_refusal_is_an_answer_and_a_lost_probe_is_none() {
        let mut breaker = Breaker::default();
        hear(&mut breaker, 0, &down(None), false);
        breaker.probe_sent();
        breaker.probe_lost(at(1));
        assert_eq!(breaker.allows(at(1), 8), Allows::Probe);
        breaker.probe_sent();
        assert_eq!(hear(&mut breaker, 1, &Outcome::Rejected { why: "400".into() }, true), Some(Turned::Back));
    }

    #[test]
    fn silence_is_no_answer() {
        let unknown = Outcome::Unknown { why: "no answer within 2s".into() };
        let mut breaker = Breaker::default();
        assert_eq!((hear(&mut breaker, 0, &unknown, false), breaker.state()), (None, BreakerState::Closed));
        hear(&mut breaker, 0, &down(None), false);
        assert_eq!(probes(&mut breaker, &unknown, 250), [1, 3, 7, 15, 31, 63, 123, 183, 243], "and nothing says that it answers");
        breaker.probe_sent();
        breaker.hear_nothing(at(303), true);
        assert_eq!(breaker.allows(at(303), 8), Allows::NotBefore(at(363)));
        breaker.probe_sent();
        hear(&mut breaker, 363, &good(), true);
        hear(&mut breaker, 364, &unknown, false);
        assert_eq!(breaker.allows(at(364), 8), Allows::Calls(2), "nothing is given for it while it recovers");
    }

    #[test]
    fn one_that_was_down_in_an_earlier_life_begins_with_one_probe() {
        let was = WasDown { misconfigured: false, why: "connection refused".into(), since: Timestamp(3) };
        let mut breaker = Breaker::was_down(was.clone(), at(100));
        let BreakerState::Open { why, since, .. } = breaker.state() else { panic!("{:?}", breaker.state()) };
        assert_eq!((why, since), (was.why.clone(), was.since));
        assert_eq!(breaker.allows(at(100), 8), Allows::Probe);
        breaker.probe_sent();
        assert_eq!(breaker.allows(at(100), 8), Allows::Nothing);
        assert!(hear(&mut breaker, 100, &down(None), true).is_some(), "each life says so once");
        assert_eq!(breaker.allows(at(100), 8), Allows::NotBefore(at(102)));
        breaker.probe_sent();
        assert_eq!(hear(&mut breaker, 102, &down(None), true), None);
        let mut breaker = Breaker::was_down(was, at(100));
        breaker.probe_sent();
        assert_eq!((hear(&mut breaker, 100, &good(), true), breaker.allows(at(100), 8)), (Some(Turned::Back), Allows::Calls(2)));
    }

    #[test]
    fn a_changed_output_is_probed_at_once() {
        let mut breaker = Breaker::default();
        hear(&mut breaker, 0, &Outcome::Misconfigured { why: "401".into(), after: None }, false);
        breaker.hurry(at(3));
        assert_eq!(breaker.allows(at(3), 8), Allows::Probe);
    }
}
