//! The recent events' dedupe keys in memory: which kept events might be what an append repeats.
//!
//! A hit is only a hint; the row decides (`commit`). Keys live in generations, so that the oldest go together and no order
//! needs to be kept beside the map.

use crate::model::Timestamp;
use foldhash::{HashMap, HashMapExt};

/// Keys in one generation: what a table of 2^20 places holds before it doubles.
const GENERATION: usize = (1 << 20) / 8 * 7;
/// Generations kept; a new one beyond it pushes the oldest out, and repeats of what it held are kept as new events.
/// Together at least 3.6 million keys, at most 90 MB.
const GENERATIONS: usize = 5;
/// Events of one key that are looked at, newest first. Only a sender that reuses an id for other bodies has more.
const SAME_KEY: usize = 8;

/// Keys of recent events, newest generation last.
#[derive(Debug, Default)]
pub struct Recent {
    generations: Vec<Generation>,
    /// Keys forgotten because there were too many, not because they were old.
    pub forgotten: u64,
    /// Added since the last [`keep`](Self::keep).
    added: Vec<(u64, i64)>,
}

#[derive(Debug)]
struct Generation {
    first: HashMap<u64, i64>,
    /// Events whose key stands in `first` for another event.
    more: HashMap<u64, Vec<i64>>,
    newest: Timestamp,
}

impl Generation {
    fn new() -> Self {
        Generation { first: HashMap::new(), more: HashMap::new(), newest: Timestamp(i64::MIN) }
    }
}

impl Recent {
    /// Adds an event; until [`keep`](Self::keep) it can be taken back.
    pub fn add(&mut self, key: u64, seq: i64, at: Timestamp) {
        self.insert(key, seq, at);
        self.added.push((key, seq));
    }

    /// Adds one for good.
    pub fn insert(&mut self, key: u64, seq: i64, at: Timestamp) {
        if self.generations.last().is_none_or(|last| last.first.len() >= GENERATION) {
            self.generations.push(Generation::new());
            if self.generations.len() > GENERATIONS {
                let oldest = self.generations.remove(0);
                self.forgotten += oldest.first.len() as u64;
            }
        }
        let Some(last) = self.generations.last_mut() else { return };
        last.newest = last.newest.max(at);
        match last.first.entry(key) {
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(seq);
            }
            std::collections::hash_map::Entry::Occupied(_) => {
                let more = last.more.entry(key).or_default();
                if more.len() >= SAME_KEY {
                    more.remove(0);
                }
                more.push(seq);
            }
        }
    }

    /// What was added is durable.
    pub fn keep(&mut self) {
        self.added.clear();
    }

    /// What was added is not in the journal after all.
    pub fn take_back(&mut self) {
        for (key, seq) in std::mem::take(&mut self.added) {
            for generation in &mut self.generations {
                if let Some(more) = generation.more.get_mut(&key) {
                    more.retain(|held| *held != seq);
                }
                if generation.first.get(&key) == Some(&seq) {
                    generation.first.remove(&key);
                }
            }
        }
    }

    /// Events that have this key, newest first, at most [`SAME_KEY`] a generation and one.
    pub fn candidates(&self, key: u64) -> Vec<i64> {
        let mut found = vec![];
        for generation in self.generations.iter().rev() {
            // An event in `more` may outlive the one in `first` (taken back), so both are asked.
            if !generation.more.is_empty() {
                found.extend(generation.more.get(&key).into_iter().flatten().rev());
            }
            found.extend(generation.first.get(&key));
        }
        found
    }

    /// Forgets generations that hold nothing received at or after `horizon`.
    pub fn forget_before(&mut self, horizon: Timestamp) {
        self.generations.retain(|generation| generation.newest >= horizon);
    }

    /// Keys held.
    pub fn len(&self) -> usize {
        self.generations.iter().map(|generation| generation.first.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_several_events_gives_them_newest_first() {
        let mut recent = Recent::default();
        for seq in 1..=3 {
            recent.add(7, seq, Timestamp(seq));
        }
        assert_eq!(recent.candidates(7), [3, 2, 1]);
        assert_eq!(recent.candidates(8), [] as [i64; 0]);
    }

    #[test]
    fn what_was_not_committed_is_taken_back_and_nothing_else() {
        let mut recent = Recent::default();
        recent.add(7, 1, Timestamp(1));
        recent.keep();
        recent.add(7, 2, Timestamp(2));
        recent.add(8, 3, Timestamp(3));
        recent.take_back();
        assert_eq!((recent.candidates(7), recent.candidates(8)), (vec![1], vec![]));
    }

    #[test]
    fn beyond_its_bound_the_oldest_generation_goes_and_is_counted() {
        let mut recent = Recent::default();
        let all = (GENERATION * GENERATIONS) as u64;
        for key in 0..=all {
            recent.insert(key, key as i64, Timestamp(key as i64));
        }
        assert_eq!(recent.forgotten, GENERATION as u64);
        assert_eq!(recent.candidates(0), [] as [i64; 0]);
        assert_eq!(recent.candidates(all), [all as i64]);
        assert_eq!(recent.len() as u64 + recent.forgotten, all + 1);
        recent.forget_before(Timestamp(all as i64));
        assert_eq!(recent.len(), 1);
    }
}
