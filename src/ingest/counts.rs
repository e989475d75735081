//! What was answered, counted per source and kind of answer, and the last refusals with their cause (L2).

use super::answer::{Answer, Refuse};
use crate::model::Timestamp;
use crate::verify::Refused;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Most refusals remembered per source; the oldest goes first (L6).
pub const MOST_REFUSALS: usize = 64;
/// Most bytes of an asked-for path that are remembered.
const MOST_PATH: usize = 128;

/// One source's answers; or those of the paths that no source has.
#[derive(Debug, Default)]
pub struct Tally {
    answers: [AtomicU64; Answer::ALL.len()],
    refusals: Mutex<VecDeque<Refusal>>,
    /// When the last proven event came; zero: none did.
    heard_at: AtomicI64,
    /// The last 64 answers, the newest in the lowest bit: 1 where the sender heard something other than 200.
    recent: AtomicU64,
    /// How many of those stand in a row up to now whose request is proven to be the sender's, and how many that may be anybody's.
    proven_in_row: AtomicU32,
    unproven_in_row: AtomicU32,
}

/// Which of a source's secrets its requests were proven by, since the list became what it is.
#[derive(Debug)]
pub struct Rotation {
    /// Names the list, without telling anything of it.
    list: u64,
    /// Of each, from the first on: how often, and when last; zero: never.
    used: Box<[(AtomicU64, AtomicI64)]>,
}

/// One of a source's secrets, by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretUse {
    /// From 1.
    pub position: usize,
    /// Requests that it proved.
    pub proven: u64,
    /// When it did last.
    pub last_at: Option<Timestamp>,
}

impl Rotation {
    /// Of a list with so many in it.
    pub(super) fn new(list: u64, count: usize) -> Self {
        Rotation { list, used: (0..count).map(|_| Default::default()).collect() }
    }

    /// Whether it is of the same list.
    pub(super) fn is_of(&self, other: &Rotation) -> bool {
        self.list == other.list && self.used.len() == other.used.len()
    }

    pub(super) fn count(&self, position: usize, now: Timestamp) {
        if let Some((proven, last)) = self.used.get(position) {
            proven.fetch_add(1, Ordering::Relaxed);
            last.fetch_max(now.0, Ordering::Relaxed);
        }
    }

    /// All of them, in their order.
    pub fn uses(&self) -> Vec<SecretUse> {
        let one = |(at, (proven, last)): (usize, &(AtomicU64, AtomicI64))| {
            let last = last.load(Ordering::Relaxed);
            SecretUse { position: at + 1, proven: proven.load(Ordering::Relaxed), last_at: (last > 0).then_some(Timestamp(last)) }
        };
        self.used.iter().enumerate().map(one).collect()
    }
}

/// How a source does, for alarms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// When the last proven event came.
    pub heard_at: Option<Timestamp>,
    /// Whether any request was answered 200 in this life.
    pub taken: bool,
    /// Refusals in a row, up to now.
    pub in_row: u32,
    /// How many of them were of requests that are proven to be the sender's; the others may be anybody's.
    pub proven_in_row: u32,
    /// Refusals among the last 64 answers.
    pub of_last_64: u32,
    /// Whether the last ten answers were 200, or there were none.
    pub well: bool,
    /// Why the last refusal was.
    pub why: String,
}

/// A request that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// When.
    pub at: Timestamp,
    /// What was answered.
    pub answer: Answer,
    /// The path as asked for, cut; data from outside (L8), without the query.
    pub path: Box<str>,
    /// The sender's address.
    pub peer: IpAddr,
    /// The cause in a word.
    pub cause: &'static str,
    /// Why, in one line without anything from the request.
    pub reason: String,
    /// The header that is not there, or not as it must be.
    pub header: Option<Box<str>>,
    /// How many seconds the request says that it is old, where that is too much; negative where it is of the future.
    pub seconds_off: Option<i64>,
    /// Whether its signature or token holds, so that the sender it is whom we refused.
    pub proven: bool,
}

impl Refusal {
    /// As people see it.
    pub(super) fn of(refuse: &Refuse, path: &str, peer: IpAddr, at: Timestamp) -> Self {
        let why = if let Refuse::NotProven(why) = refuse { Some(why) } else { None };
        Refusal {
            at,
            answer: refuse.answer(),
            path: path.into(),
            peer,
            cause: refuse.cause(),
            reason: refuse.to_string(),
            header: why.and_then(Refused::header).map(|name| name.as_str().into()),
            seconds_off: why.and_then(Refused::seconds_off),
            proven: refuse.is_of_the_sender(),
        }
    }
}

impl Tally {
    /// Counts one.
    pub fn count(&self, answer: Answer) {
        self.answers[answer as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often this was answered.
    pub fn of(&self, answer: Answer) -> u64 {
        self.answers[answer as usize].load(Ordering::Relaxed)
    }

    /// A proven event came.
    pub fn heard(&self, now: Timestamp) {
        self.heard_at.fetch_max(now.0, Ordering::Relaxed);
    }

    /// The sender heard 200.
    pub(super) fn taken(&self) {
        self.answered(true);
        self.proven_in_row.store(0, Ordering::Relaxed);
        self.unproven_in_row.store(0, Ordering::Relaxed);
    }

    /// The sender heard something else, or somebody did.
    fn failed(&self, proven: bool) {
        self.answered(false);
        let row = if proven { &self.proven_in_row } else { &self.unproven_in_row };
        let _ = row.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |row| Some(row.saturating_add(1)));
    }

    fn answered(&self, good: bool) {
        let shift = |recent: u64| Some(recent << 1 | u64::from(!good));
        let _ = self.recent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, shift);
    }

    /// Goes on from an earlier life's failures in a row.
    pub fn resume(&self, proven: u32, unproven: u32) {
        self.proven_in_row.fetch_max(proven, Ordering::Relaxed);
        self.unproven_in_row.fetch_max(unproven, Ordering::Relaxed);
    }

    /// How it does.
    pub fn standing(&self) -> Standing {
        let (heard_at, recent) = (self.heard_at.load(Ordering::Relaxed), self.recent.load(Ordering::Relaxed));
        let proven_in_row = self.proven_in_row.load(Ordering::Relaxed);
        let last = self.refusals.lock().unwrap_or_else(PoisonError::into_inner).back().map(|refusal| refusal.reason.clone());
        Standing {
            heard_at: (heard_at > 0).then_some(Timestamp(heard_at)),
            taken: self.of(Answer::Kept) + self.of(Answer::Repeated) > 0,
            in_row: proven_in_row.saturating_add(self.unproven_in_row.load(Ordering::Relaxed)),
            proven_in_row,
            of_last_64: recent.count_ones(),
            well: recent.trailing_zeros() >= 10,
            why: last.unwrap_or_default(),
        }
    }

    /// Counts a refusal and remembers it. A request that no sender makes says nothing of how the source does.
    pub(super) fn refuse(&self, refusal: Refusal) {
        if refusal.answer != Answer::WrongMethod {
            self.failed(refusal.proven);
        }
        self.count(refusal.answer);
        self.show(refusal);
    }

    /// Remembers what people should see, without counting it.
    pub(super) fn show(&self, mut refusal: Refusal) {
        if refusal.path.len() > MOST_PATH {
            let end = (0..=MOST_PATH).rev().find(|end| refusal.path.is_char_boundary(*end)).unwrap_or(0);
            refusal.path = refusal.path.get(..end).unwrap_or_default().into();
        }
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.len() >= MOST_REFUSALS {
            refusals.pop_front();
        }
        refusals.push_back(refusal);
    }

    /// The last refusals, oldest first.
    pub fn refusals(&self) -> Vec<Refusal> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_refusals_are_kept_and_all_are_counted() {
        let tally = Tally::default();
        let refusal = |at| Refusal {
            at: Timestamp(at),
            answer: Answer::NotProven,
            path: "é".repeat(100).into(),
            peer: [192, 0, 2, 1].into(),
            cause: "no_secret_matches",
            reason: String::new(),
            header: None,
            seconds_off: None,
            proven: at % 4 == 0,
        };
        (0..100).for_each(|at| tally.refuse(refusal(at)));
        let kept = tally.refusals();
        assert_eq!((kept.len(), kept[0].at, kept[63].at, kept[0].path.len()), (64, Timestamp(36), Timestamp(99), 128));
        assert_eq!((tally.of(Answer::NotProven), tally.of(Answer::Kept)), (100, 0));
        assert_eq!((tally.standing().in_row, tally.standing().of_last_64, tally.standing().well), (100, 64, false));
        assert_eq!(tally.standing().proven_in_row, 25);
        (0..10).for_each(|_| tally.taken());
        tally.refuse(Refusal { answer: Answer::WrongMethod, ..refusal(0) });
        let standing = tally.standing();
        assert_eq!((standing.in_row, standing.of_last_64, standing.well, standing.taken), (0, 54, true, false));
        tally.resume(3, 4);
        assert_eq!((tally.standing().in_row, tally.standing().proven_in_row, tally.standing().of_last_64), (7, 3, 54));
    }
}
