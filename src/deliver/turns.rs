//! Whose turn it is among the deliveries in memory: by due time, then by arrival; live ones before those that somebody asked for again.
//!
//! Does: lets replays have their share of the turns while live deliveries are due, and all of them while none is.
//! Never: knows a token, a breaker or a call. Proven by the tests below and by `laws.rs`.

use super::words::Ticket;
use crate::model::{Instant, Seq};
use std::collections::BTreeSet;

/// A place in line: by due time, then by arrival.
pub type Place = (Instant, Seq, Ticket);

/// All that wait for their turn in memory.
#[derive(Debug, Default)]
pub struct Turns {
    live: BTreeSet<Place>,
    replays: BTreeSet<Place>,
    /// Hundredths of a turn that replays have saved up, less than 100.
    credit: u32,
}

impl Turns {
    fn line(&mut self, replay: bool) -> &mut BTreeSet<Place> {
        if replay { &mut self.replays } else { &mut self.live }
    }

    /// Puts a delivery in line.
    pub fn insert(&mut self, place: Place, replay: bool) {
        self.line(replay).insert(place);
    }

    /// Takes it out.
    pub fn remove(&mut self, place: &Place, replay: bool) {
        self.line(replay).remove(place);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.live.len() + self.replays.len()
    }

    /// How many live ones there are, or replays.
    pub fn count(&self, replay: bool) -> usize {
        if replay { self.replays.len() } else { self.live.len() }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.replays.is_empty()
    }

    /// All of them, live ones first.
    pub fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.live.iter().chain(&self.replays).map(|(.., ticket)| *ticket)
    }

    /// When the first is due.
    pub fn next_due(&self) -> Option<Instant> {
        [self.live.first(), self.replays.first()].into_iter().flatten().map(|(due, ..)| *due).min()
    }

    /// Whose turn it is, if it is due; and whether it is a replay. `share`: how many of a hundred turns replays may have while live
    /// deliveries are due.
    pub fn next(&self, now: Instant, share: u32) -> Option<(Place, bool)> {
        let due = |line: &BTreeSet<Place>| line.first().copied().filter(|(due, ..)| *due <= now);
        match (due(&self.live), due(&self.replays)) {
            (Some(_), Some(replay)) if self.credit + share >= 100 => Some((replay, true)),
            (Some(live), _) => Some((live, false)),
            (None, replay) => replay.map(|replay| (replay, true)),
        }
    }

    /// It had its turn, and is out of line. Only while both wait is the turn counted.
    pub fn took(&mut self, place: &Place, replay: bool, now: Instant, share: u32) {
        self.remove(place, replay);
        let others = if replay { &self.live } else { &self.replays };
        if others.first().is_some_and(|(due, ..)| *due <= now) {
            let saved = self.credit + share;
            self.credit = if replay { saved.saturating_sub(100) } else { saved.min(99) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(due: u64, nth: u64) -> Place {
        (Instant(due), Seq(nth as i64), Ticket(nth))
    }

    /// Lets so many go, and says which of them were replays.
    fn go(turns: &mut Turns, count: usize, share: u32) -> Vec<bool> {
        let mut went = vec![];
        while went.len() < count {
            let (place, replay) = turns.next(Instant(10), share).unwrap();
            turns.took(&place, replay, Instant(10), share);
            went.push(replay);
        }
        went
    }

    fn both(each: u64) -> Turns {
        let mut turns = Turns::default();
        (0..each).for_each(|nth| turns.insert(place(2, nth), false));
        (0..each).for_each(|nth| turns.insert(place(1, each + nth), true));
        turns
    }

    #[test]
    fn replays_get_their_share_while_live_ones_wait_and_all_of_it_then() {
        for (share, most) in [(0, 0), (20, 20), (50, 50), (90, 90)] {
            let mut turns = both(200);
            let went = go(&mut turns, 100, share);
            assert_eq!(went.iter().filter(|replay| **replay).count(), most, "{share} %");
            let streak = went.split(|replay| !replay).map(<[bool]>::len).max().unwrap();
            assert!(streak <= (share / (100 - share)) as usize + 1, "no rush: {streak} in a row at {share} %");
            let rest = go(&mut turns, 300, share);
            let alone = rest.iter().rev().take_while(|replay| **replay).count();
            assert!(alone >= 100 || share >= 50, "what is left goes when nothing live waits");
            assert!(turns.is_empty());
        }
    }

    #[test]
    fn what_is_not_due_keeps_nobody_waiting() {
        let mut turns = Turns::default();
        turns.insert(place(11, 1), false);
        turns.insert(place(1, 2), true);
        turns.insert(place(2, 3), true);
        assert_eq!(go(&mut turns, 2, 0), [true, true]);
        assert_eq!((turns.next(Instant(10), 50), turns.next_due()), (None, Some(Instant(11))));
    }
}
