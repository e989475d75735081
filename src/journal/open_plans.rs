//! Which events' plans are open, and the watermark: the lowest of them, from which a restart reads.

use crate::model::Seq;
use std::collections::VecDeque;

/// Counts of open targets, one an event from the watermark on: four bytes each, so that even a plan that stays open
/// while a million events pass costs little.
#[derive(Debug, Default)]
pub struct OpenPlans {
    first: i64,
    targets: VecDeque<u32>,
}

impl OpenPlans {
    /// From what a start found.
    pub fn new(watermark: Seq, last: Seq, open: &[(Seq, u32)]) -> Self {
        let mut plans = OpenPlans { first: watermark.0, targets: VecDeque::new() };
        for (seq, targets) in open {
            plans.add(*seq, *targets);
        }
        plans.pad(last.0 + 1);
        plans.advance();
        plans
    }

    /// A new event; they come in their order.
    pub fn add(&mut self, seq: Seq, targets: u32) {
        self.pad(seq.0);
        self.targets.push_back(targets);
    }

    /// One of an event's targets needs no more rows.
    pub fn close_one(&mut self, seq: Seq) {
        let place = usize::try_from(seq.0 - self.first).ok();
        if let Some(targets) = place.and_then(|place| self.targets.get_mut(place)) {
            *targets = targets.saturating_sub(1);
        }
    }

    /// The lowest event that is open; the next one to come where none is.
    pub fn watermark(&mut self) -> Seq {
        self.advance();
        Seq(self.first)
    }

    fn pad(&mut self, to: i64) {
        while self.first + (self.targets.len() as i64) < to {
            self.targets.push_back(0);
        }
    }

    fn advance(&mut self) {
        while self.targets.front() == Some(&0) {
            self.targets.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watermark_waits_for_the_lowest_open_plan() {
        let mut plans = OpenPlans::new(Seq(1), Seq(0), &[]);
        plans.add(Seq(1), 2);
        plans.add(Seq(2), 0);
        plans.add(Seq(3), 1);
        plans.close_one(Seq(1));
        assert_eq!(plans.watermark(), Seq(1));
        plans.close_one(Seq(3));
        plans.close_one(Seq(1));
        assert_eq!(plans.watermark(), Seq(4));
        plans.close_one(Seq(1));
        plans.close_one(Seq(9));
        assert_eq!(plans.watermark(), Seq(4));
    }

    #[test]
    fn a_start_goes_on_where_it_stopped() {
        let mut plans = OpenPlans::new(Seq(5), Seq(9), &[(Seq(7), 1)]);
        assert_eq!(plans.watermark(), Seq(7));
        plans.close_one(Seq(7));
        assert_eq!(plans.watermark(), Seq(10));
        plans.add(Seq(10), 1);
        assert_eq!(plans.watermark(), Seq(10));
    }
}
