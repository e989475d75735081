//! What a round sees of outputs, sources, disk and journal, as the book of causes wants it: functions of what stands there.

use super::outputs::OutputPlan;
use super::space::{Rung, Space};
use crate::alarm::{Cause, Look, cause::cut, cause::quarters};
use crate::deliver::{BreakerState, OutputStatus};
use crate::ingest::{Source, Standing};
use crate::journal::Commits;
use crate::model::{Instant, Timestamp};
use std::time::Duration;

/// So many refusals in a row, or this part of the last 64, and people are told.
const REJECTED_ROW: u32 = 10;
const REJECTED_OF_64: u32 = 32;
/// An output that has something to do and ends nothing for so long does not get on; longer where its timeout or rate is.
const STILL: Duration = Duration::from_mins(1);
/// So many slow commits in a row, or one that has taken so long, and people are told.
const SLOW_ROW: u32 = 3;
const SLOW_ONE: Duration = Duration::from_secs(5);

/// Whether an output is down. One of which nothing was heard since the start may be anything.
pub fn output(name: &str, status: &OutputStatus) -> Look {
    let heard = status.counts.delivered + status.counts.retry + status.counts.rejected > 0;
    let cause = |misconfigured, why: &str| Cause::OutputDown { output: name.into(), misconfigured, why: cut(why) };
    if status.failed {
        return Look::Holds(cause(true, "its task failed by a fault of ours: it is begun anew"));
    }
    match &status.breaker {
        BreakerState::Open { misconfigured, why, .. } => Look::Holds(cause(*misconfigured, why)),
        BreakerState::Closed | BreakerState::Recovering if heard => Look::Not(cause(false, "").key()),
        BreakerState::Closed | BreakerState::Recovering => Look::Unknown(cause(false, "").key()),
    }
}

/// How long an output may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Deliveries that are later are told.
    pub late_after: Duration,
    /// Where any are, and nothing ended for so long, it does not get on.
    pub still: Duration,
}

impl Patience {
    /// From its timeout and its rate: between two attempts may lie as much as its limit asks for.
    pub fn of(plan: &OutputPlan) -> Self {
        let policy = &plan.policy;
        let interval = policy.limit.map_or(Duration::ZERO, |limit| limit.rate.per / limit.rate.count.max(1));
        Patience { late_after: plan.late_after, still: STILL.max(policy.timeout * 2).max(interval * 2) }
    }
}

/// How late an output's oldest delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lateness {
    /// When it was due.
    pub due: Timestamp,
    /// How late it is.
    pub late: Duration,
    /// Since when the output could take it: it is not late for longer.
    pub able: Duration,
    /// How late it may be.
    pub late_after: Duration,
}

impl Lateness {
    /// Whether it is too late.
    pub fn is_old(self) -> bool {
        self.late.min(self.able) >= self.late_after
    }
}

/// Whether what an output should have got long ago still waits. `None`: nothing waits, or it cannot take anything now.
pub fn backlog(name: &str, lateness: Option<Lateness>, works: bool) -> Look {
    let cause = |lateness: Lateness| Cause::BacklogOld {
        output: name.into(),
        due_at: lateness.due.to_string(),
        late_seconds: lateness.late.as_secs(),
    };
    let nothing = Lateness { due: Timestamp(0), late: Duration::ZERO, able: Duration::ZERO, late_after: Duration::ZERO };
    match lateness {
        Some(lateness) if works && lateness.is_old() => Look::Holds(cause(lateness)),
        _ if works => Look::Not(cause(nothing).key()),
        _ => Look::Unknown(cause(nothing).key()),
    }
}

/// All there is to say of a source. `since`: when it came into the file, for one of which nothing is known.
pub fn source(source: &Source, since: Timestamp, now: Timestamp) -> Vec<Look> {
    let standing = source.tally.standing();
    let name = &*source.name;
    let silence = source.silent_after.map(|after| silent(name, &standing, after, since, now));
    let risk = source.verifier.gives_up_after().map(|limit| at_risk(name, &standing, limit));
    silence.into_iter().chain([rejecting(name, &standing)]).chain(risk).collect()
}

fn silent(name: &str, standing: &Standing, after: Duration, since: Timestamp, now: Timestamp) -> Look {
    let last_at = standing.heard_at.map(|at| at.to_string());
    let cause = Cause::SourceSilent { source: name.into(), last_at, silent_after_seconds: after.as_secs() };
    if now.since(standing.heard_at.unwrap_or(since)) >= after {
        Look::Holds(cause)
    } else if standing.heard_at.is_some() {
        Look::Not(cause.key())
    } else {
        Look::Unknown(cause.key())
    }
}

fn rejecting(name: &str, standing: &Standing) -> Look {
    let Standing { in_row, of_last_64, .. } = *standing;
    let cause = Cause::SourceRejecting { source: name.into(), in_row, of_last_64, why: standing.why.clone() };
    if in_row >= REJECTED_ROW || of_last_64 >= REJECTED_OF_64 && !standing.well {
        Look::Holds(cause)
    } else if standing.taken && standing.well {
        Look::Not(cause.key())
    } else {
        Look::Unknown(cause.key())
    }
}

fn at_risk(name: &str, standing: &Standing, limit: u32) -> Look {
    let failures = standing.in_row;
    let percent = quarters(failures, limit) * 25;
    let cause = Cause::SubscriptionAtRisk { source: name.into(), failures, proven: standing.proven_in_row, limit, percent };
    if percent > 0 {
        Look::Holds(cause)
    } else if standing.taken && failures == 0 {
        Look::Not(cause.key())
    } else {
        Look::Unknown(cause.key())
    }
}

/// Whether the disk is nearly full.
pub fn disk(space: Option<Space>, rung: Rung, reserve: u64) -> Look {
    let free = space.map_or(0, |space| space.free);
    let cause = Cause::DiskLow { free_bytes: free, reserve_bytes: reserve, refusing: rung == Rung::Reserved };
    match (space, rung) {
        (None, _) => Look::Unknown(cause.key()),
        (_, Rung::Enough) => Look::Not(cause.key()),
        (_, Rung::Low | Rung::Reserved) => Look::Holds(cause),
    }
}

/// Whether commits take long.
pub fn journal(commits: Commits) -> Look {
    let longest = commits.under_way.unwrap_or_default().max(commits.last);
    let cause = Cause::JournalSlow { commit_ms: u64::try_from(longest.as_millis()).unwrap_or(u64::MAX) };
    if commits.slow_in_row >= SLOW_ROW || commits.under_way.is_some_and(|under_way| under_way >= SLOW_ONE) {
        Look::Holds(cause)
    } else if commits.slow_in_row == 0 {
        Look::Not(cause.key())
    } else {
        Look::Unknown(cause.key())
    }
}

/// Since when an output could take deliveries, and when it last got on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Motion {
    /// Outcomes and rows so far.
    moved: u64,
    /// When that last changed, or it was not able to.
    pub at: Instant,
    /// Since when it is neither down nor paused.
    pub able_since: Instant,
}

impl Motion {
    /// Goes on from what was seen before.
    pub fn seen(before: Option<Motion>, status: &OutputStatus, now: Instant) -> Motion {
        let counts = &status.counts;
        let heard = counts.delivered + counts.retry + counts.rejected + counts.unknown;
        let moved = heard + counts.down + counts.misconfigured + counts.dead + counts.held;
        let able_since = before.filter(|_| works(status)).map_or(now, |before| before.able_since);
        let at = before.filter(|before| before.moved == moved && works(status)).map_or(now, |before| before.at);
        Motion { moved, at, able_since }
    }
}

/// What health says of an output that works, has something that is too late, and ended nothing for as long as `still`. `None`: it gets on.
pub fn stuck(name: &str, status: &OutputStatus, lateness: Lateness, motion: Motion, now: Instant, still: Duration) -> Option<String> {
    let moves = now.since(motion.at) < still;
    let (late, out) = (lateness.late.as_secs(), status.in_flight);
    let line = || format!("the output `{name}` works, its oldest delivery is {late} s late, and nothing ends ({out} attempts under way)");
    (works(status) && lateness.is_old() && !moves).then(line)
}

/// Whether an output is neither down nor paused, nor asked us to wait.
pub fn works(status: &OutputStatus) -> bool {
    !matches!(status.breaker, BreakerState::Open { .. }) && !status.paused && status.asked_until.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::Counts;

    fn standing(in_row: u32, of_last_64: u32, taken: bool) -> Standing {
        Standing { heard_at: None, taken, in_row, proven_in_row: 0, of_last_64, well: in_row == 0 && of_last_64 < 10, why: "why".into() }
    }
    fn word(look: &Look) -> &'static str {
        match look {
            Look::Holds(_) => "holds",
            Look::Not(_) => "not",
            Look::Unknown(_) => "unknown",
        }
    }

    #[test]
    fn an_output_of_which_nothing_was_heard_is_not_back() {
        let status =
            |breaker, delivered| OutputStatus { breaker, counts: Counts { delivered, ..Counts::default() }, ..OutputStatus::default() };
        let open = BreakerState::Open { misconfigured: false, why: "refused".into(), since: Timestamp(0) };
        let words = [(open, 0), (BreakerState::Closed, 0), (BreakerState::Closed, 1), (BreakerState::Recovering, 1)];
        assert_eq!(words.map(|(breaker, delivered)| word(&output("a", &status(breaker, delivered)))), ["holds", "unknown", "not", "not"]);
    }

    #[test]
    fn a_sender_that_gives_up_after_19_is_told_of_at_5_10_and_15() {
        let stages: Vec<u32> = (0..25)
            .map(|failures| match at_risk("shop", &standing(failures, failures, true), 19) {
                Look::Holds(Cause::SubscriptionAtRisk { percent, .. }) => percent,
                _ => 0,
            })
            .collect();
        assert_eq!([0, 4, 5, 9, 10, 14, 15, 19, 24].map(|failures| stages[failures]), [0, 0, 25, 25, 50, 50, 75, 75, 75]);
        let words = [(0, false), (0, true), (1, true)];
        assert_eq!(words.map(|(row, taken)| word(&at_risk("shop", &standing(row, row, taken), 19))), ["unknown", "not", "unknown"]);
    }

    #[test]
    fn ten_in_a_row_or_half_of_the_last_are_refused() {
        let words = [(9, 9, true), (10, 10, true), (0, 31, true), (1, 32, true), (0, 0, false), (0, 5, true)];
        let told = words.map(|(row, of, taken)| word(&rejecting("shop", &standing(row, of, taken))));
        assert_eq!(told, ["unknown", "holds", "unknown", "holds", "unknown", "not"]);
    }

    #[test]
    fn silence_counts_from_the_last_event_or_from_the_start() {
        let hour = |hours: i64| Timestamp(hours * 3_600_000);
        let look = |heard_at: Option<i64>, now| {
            let standing = Standing { heard_at: heard_at.map(hour), ..standing(0, 0, true) };
            word(&silent("shop", &standing, Duration::from_hours(6), hour(100), hour(now)))
        };
        assert_eq!([look(None, 105), look(None, 106), look(Some(104), 106), look(Some(99), 106)], ["unknown", "holds", "not", "holds"]);
    }

    #[test]
    fn what_waited_for_an_output_that_was_down_is_not_old_when_it_is_back() {
        let minutes = Duration::from_mins;
        let look = |late, able, works| {
            let lateness = Lateness { due: Timestamp(0), late: minutes(late), able: minutes(able), late_after: minutes(15) };
            word(&backlog("a", Some(lateness), works))
        };
        assert_eq!([look(60, 20, true), look(60, 14, true), look(14, 60, true), look(60, 60, false)], ["holds", "not", "not", "unknown"]);
        assert_eq!(word(&backlog("a", None, true)), "not");
    }

    #[test]
    fn motion_is_what_ends_and_a_time_without_work_is_none_to_blame() {
        let status =
            |delivered, paused| OutputStatus { paused, counts: Counts { delivered, ..Counts::default() }, ..OutputStatus::default() };
        let first = Motion::seen(None, &status(1, false), Instant(1));
        let still = Motion::seen(Some(first), &status(1, false), Instant(5));
        assert_eq!((still.at, still.able_since), (Instant(1), Instant(1)));
        assert_eq!(Motion::seen(Some(still), &status(2, false), Instant(7)).at, Instant(7));
        let paused = Motion::seen(Some(still), &status(1, true), Instant(8));
        assert_eq!((paused.at, paused.able_since), (Instant(8), Instant(8)));
    }

    #[test]
    fn an_output_is_stuck_where_nothing_ends_although_something_is_late() {
        let second = |seconds: u64| Instant(seconds * 1_000_000_000);
        let status = |paused| OutputStatus { paused, ..OutputStatus::default() };
        let motion = Motion::seen(None, &status(false), second(0));
        let look = |late, now, paused| {
            let late_after = Duration::from_mins(15);
            let lateness = Lateness { due: Timestamp(0), late: Duration::from_secs(late), able: Duration::from_hours(1), late_after };
            stuck("a", &status(paused), lateness, motion, second(now), Duration::from_mins(1)).is_some()
        };
        assert_eq!([look(900, 60, false), look(900, 59, false), look(899, 60, false), look(900, 60, true)], [true, false, false, false]);
        let failed = OutputStatus { failed: true, ..OutputStatus::default() };
        assert_eq!(word(&output("a", &failed)), "holds");
    }

    #[test]
    fn slow_commits_in_a_row_or_one_that_does_not_end() {
        let look = |slow_in_row, under_way: Option<u64>| {
            word(&journal(Commits { under_way: under_way.map(Duration::from_secs), last: Duration::ZERO, slow_in_row }))
        };
        assert_eq!(
            [look(0, None), look(2, None), look(3, None), look(0, Some(5)), look(0, Some(1))],
            ["not", "unknown", "holds", "holds", "not"]
        );
    }
}
