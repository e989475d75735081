//! What was answered, counted per source and kind of answer, and the last refusals with their cause (L2).

use super::answer::Answer;
use crate::model::Timestamp;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// Why, in one line without anything from the request.
    pub reason: String,
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

    /// Counts a refusal and remembers it.
    pub(super) fn refuse(&self, mut refusal: Refusal) {
        if refusal.path.len() > MOST_PATH {
            let end = (0..=MOST_PATH).rev().find(|end| refusal.path.is_char_boundary(*end)).unwrap_or(0);
            refusal.path = refusal.path.get(..end).unwrap_or_default().into();
        }
        self.count(refusal.answer);
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
            reason: String::new(),
        };
        (0..100).for_each(|at| tally.refuse(refusal(at)));
        let kept = tally.refusals();
        assert_eq!((kept.len(), kept[0].at, kept[63].at, kept[0].path.len()), (64, Timestamp(36), Timestamp(99), 128));
        assert_eq!((tally.of(Answer::NotProven), tally.of(Answer::Kept)), (100, 0));
    }
}
