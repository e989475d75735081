//! Which causes there are, which of them were told and when, and which are due to be told now.
//!
//! A cause is told when it begins, then at growing intervals ([`WAITS`]) as long as it goes on or happens again, with the count since;
//! one that lasts is told once more when it is over. One that comes and goes is not told at every turn. All times are of the wall
//! clock, so that the book outlives a restart ([`Book::saved`]); where it is set back, what was told counts as told just now.

use super::cause::{Cause, Stage, Telling, common, cut, dead_of};
use crate::model::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Most causes in the book; beyond it the one that has been quiet longest is forgotten, and where none is quiet the new one is not
/// written down: what it is about is counted and logged elsewhere.
pub const MOST_CAUSES: usize = 512;
/// Most reasons for which deliveries of one output are dead that are told apart; all beyond it are one: [`OTHER_REASONS`].
pub const MOST_REASONS: usize = 8;
/// The reason that stands for all further ones.
pub const OTHER_REASONS: &str = "other reasons";
/// From one telling of a cause to the next, the last of them for ever.
pub const WAITS: [Duration; 6] = [
    Duration::from_mins(5),
    Duration::from_mins(15),
    Duration::from_hours(1),
    Duration::from_hours(4),
    Duration::from_hours(12),
    Duration::from_hours(24),
];
/// What was over and begins again waits at most so many of [`WAITS`] on: a real outage after much flapping is heard of within the hour.
const AGAIN: usize = 2;
/// A cause of which nothing was seen for so long is forgotten: the next time it is new.
pub const QUIET: Duration = Duration::from_hours(6);

/// What was seen of a cause that lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// It is so.
    Holds(Cause),
    /// It is not so; the key of the cause.
    Not(String),
    /// There is no telling yet; the key of the cause.
    Unknown(String),
}

impl Look {
    /// The key of the cause.
    pub fn key(&self) -> String {
        match self {
            Look::Holds(cause) => cause.key(),
            Look::Not(key) | Look::Unknown(key) => key.clone(),
        }
    }
}

/// A cause as it outlives a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    cause: Cause,
    since: i64,
    seen: i64,
    told: i64,
    rank: u8,
    step: usize,
    owed: bool,
}

#[derive(Debug, Clone)]
struct Entry {
    cause: Cause,
    /// Since when it is so, or has happened.
    since: Timestamp,
    seen: Timestamp,
    /// Whether it is so now; `None`: not looked at in this life.
    holds: Option<bool>,
    /// How often it happened or began since it was told.
    count: u64,
    /// When it was told last, and how bad it was.
    told: Option<(Timestamp, u8)>,
    /// Which of [`WAITS`] comes next.
    step: usize,
    /// Whether people think that it is so, and are owed its end.
    owed: bool,
}

/// The book.
#[derive(Debug, Default)]
pub struct Book {
    entries: BTreeMap<String, Entry>,
}

impl Book {
    /// With what an earlier life had told.
    pub fn restored(saved: Vec<Saved>, now: Timestamp) -> Self {
        let entry = |saved: Saved| {
            let at = |time: i64| Timestamp(time).min(now);
            let told = Some((at(saved.told), saved.rank));
            let (since, seen) = (at(saved.since), at(saved.seen));
            let entry = Entry { cause: saved.cause, since, seen, holds: None, count: 0, told, step: saved.step, owed: saved.owed };
            (entry.cause.key(), entry)
        };
        Book { entries: saved.into_iter().take(MOST_CAUSES).map(entry).collect() }
    }

    /// What is to outlive a restart.
    pub fn saved(&self) -> Vec<Saved> {
        let saved = |entry: &Entry| {
            let (told, rank) = entry.told?;
            let (cause, step, owed) = (entry.cause.clone(), entry.step, entry.owed);
            Some(Saved { cause, since: entry.since.0, seen: entry.seen.0, told: told.0, rank, step, owed })
        };
        self.entries.values().filter_map(saved).collect()
    }

    /// The senders that are on their way to give us up: source, failures in a row, and how many of them are proven to be theirs.
    pub fn at_risk(&self) -> Vec<(String, u32, u32)> {
        let held = self.entries.values().filter(|entry| entry.holds != Some(false));
        let risk = held.filter_map(|entry| match &entry.cause {
            Cause::SubscriptionAtRisk { source, failures, proven, .. } => Some((source.clone(), *failures, *proven)),
            _ => None,
        });
        risk.collect()
    }

    /// It happened once more.
    pub fn happened(&mut self, now: Timestamp, mut cause: Cause) {
        self.one_of_few(&mut cause);
        let Some(entry) = self.entry(now, cause) else { return };
        entry.count += 1;
        if entry.cause.lasts() {
            entry.holds = Some(true);
        }
    }

    /// A delivery was given up.
    pub fn died(&mut self, now: Timestamp, output: &str, route: &str, event: String, why: &str) {
        let (output, route) = (output.to_owned(), route.to_owned());
        self.happened(now, Cause::DeliveryDead { output, route, event, reason: common(why), why: cut(why) });
    }

    /// What was seen of every cause that lasts; one that is not among them is no more (its output or source left the file).
    pub fn looked(&mut self, now: Timestamp, looks: Vec<Look>) {
        let keys: BTreeSet<String> = looks.iter().map(Look::key).collect();
        self.entries.retain(|key, entry| !entry.cause.lasts() || keys.contains(key));
        for look in looks {
            match look {
                Look::Holds(cause) => {
                    let Some(entry) = self.entry(now, cause) else { continue };
                    if entry.holds != Some(true) {
                        // One that was told before a restart and is still so did not begin again.
                        entry.count += u64::from(entry.holds.is_some() || !entry.owed);
                        entry.holds = Some(true);
                    }
                }
                Look::Not(key) => {
                    if let Some(entry) = self.entries.get_mut(&key) {
                        entry.holds = Some(false);
                    }
                }
                Look::Unknown(_) => {}
            }
        }
    }

    /// What is to be told now; it counts as told.
    pub fn due(&mut self, now: Timestamp) -> Vec<Telling> {
        let due = self.entries.values_mut().filter_map(|entry| entry.due(now)).collect();
        self.entries.retain(|_, entry| !entry.is_over(now));
        due
    }

    /// Too many reasons of one output become one.
    fn one_of_few(&self, cause: &mut Cause) {
        let key = cause.key();
        let Cause::DeliveryDead { output, reason, .. } = cause else { return };
        let start = dead_of(output);
        let others = self.entries.range(start.clone()..).take_while(|(key, _)| key.starts_with(&start)).take(MOST_REASONS);
        if others.count() >= MOST_REASONS && !self.entries.contains_key(&key) {
            OTHER_REASONS.clone_into(reason);
        }
    }

    /// The line of this cause, written down if it is new, with what is known of it now.
    fn entry(&mut self, now: Timestamp, cause: Cause) -> Option<&mut Entry> {
        let key = cause.key();
        if !self.entries.contains_key(&key) {
            self.make_room()?;
            let entry = Entry { cause: cause.clone(), since: now, seen: now, holds: None, count: 0, told: None, step: 0, owed: false };
            self.entries.insert(key.clone(), entry);
        }
        let entry = self.entries.get_mut(&key)?;
        if entry.holds == Some(false) && !entry.owed {
            entry.since = now;
        }
        (entry.cause, entry.seen) = (cause, now);
        Some(entry)
    }

    fn make_room(&mut self) -> Option<()> {
        if self.entries.len() < MOST_CAUSES {
            return Some(());
        }
        let quiet = self.entries.iter().filter(|(_, entry)| !entry.owed && entry.holds != Some(true) && entry.count == 0);
        let key = quiet.min_by_key(|(_, entry)| entry.seen).map(|(key, _)| key.clone())?;
        self.entries.remove(&key).map(drop)
    }
}

impl Entry {
    fn due(&mut self, now: Timestamp) -> Option<Telling> {
        if let Some((at, _)) = &mut self.told {
            *at = (*at).min(now);
        }
        if self.owed && self.holds == Some(false) {
            self.owed = false;
            self.seen = now;
            return Some(self.telling(Stage::Over));
        }
        let lasts = self.cause.lasts();
        let wanted = if lasts { self.holds == Some(true) } else { self.count > 0 };
        if !wanted {
            return None;
        }
        let again = lasts && !self.owed;
        let early = self.told.is_some_and(|(at, rank)| {
            let worse = !again && self.cause.rank() > rank;
            let step = if again { self.step.saturating_sub(1).min(AGAIN) } else { self.step.saturating_sub(1).min(WAITS.len() - 1) };
            !worse && now.since(at) < WAITS[step]
        });
        if early {
            return None;
        }
        let stage = if self.told.is_none() || again { Stage::Begins } else { Stage::GoesOn };
        self.told = Some((now, self.cause.rank()));
        self.step = (self.step + 1).min(WAITS.len());
        self.owed = lasts;
        Some(self.telling(stage))
    }

    fn telling(&mut self, stage: Stage) -> Telling {
        Telling { cause: self.cause.clone(), stage, count: std::mem::take(&mut self.count), since: self.since }
    }

    fn is_over(&self, now: Timestamp) -> bool {
        let still = self.owed || self.holds == Some(true) || (!self.cause.lasts() && self.count > 0);
        !still && now.since(self.seen) >= QUIET
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: i64 = 60_000;

    fn down(why: &str) -> Cause {
        Cause::OutputDown { output: "chat".into(), misconfigured: why == "401", why: why.into() }
    }
    fn not() -> Look {
        Look::Not("output.chat".into())
    }
    /// What is told of these looks, one a minute.
    fn told(book: &mut Book, from: i64, looks: impl IntoIterator<Item = Look>) -> Vec<(i64, Stage, u64)> {
        let mut told = vec![];
        for (minute, look) in (from..).zip(looks) {
            book.looked(Timestamp(minute * MINUTE), vec![look]);
            told.extend(book.due(Timestamp(minute * MINUTE)).into_iter().map(|telling| (minute, telling.stage, telling.count)));
        }
        told
    }

    #[test]
    fn what_goes_on_is_told_at_growing_intervals_and_once_when_it_is_over() {
        let mut book = Book::default();
        let looks = std::iter::repeat_n(Look::Holds(down("refused")), 400).chain([not(), not()]);
        let expected = [
            (0, Stage::Begins, 1),
            (5, Stage::GoesOn, 0),
            (20, Stage::GoesOn, 0),
            (80, Stage::GoesOn, 0),
            (320, Stage::GoesOn, 0),
            (400, Stage::Over, 0),
        ];
        assert_eq!(told(&mut book, 0, looks), expected);
    }

    #[test]
    fn what_comes_and_goes_is_counted_and_never_told_at_every_turn() {
        let mut book = Book::default();
        let turns = (0..600).map(|minute| if minute % 2 == 0 { Look::Holds(down("refused")) } else { not() });
        let all = told(&mut book, 0, turns);
        assert!(all.len() <= 26, "one an hour and its end: {all:?}");
        assert_eq!(all[..4], [(0, Stage::Begins, 1), (1, Stage::Over, 0), (6, Stage::Begins, 3), (7, Stage::Over, 0)]);
        let longest = all.windows(2).map(|pair| pair[1].0 - pair[0].0).max();
        assert!(longest <= Some(61), "a real outage after flapping is heard of within the hour: {all:?}");
    }

    #[test]
    fn what_gets_worse_is_told_at_once() {
        let mut book = Book::default();
        let looks = ["refused", "refused", "401", "refused", "401"].map(|why| Look::Holds(down(why)));
        assert_eq!(told(&mut book, 0, looks), [(0, Stage::Begins, 1), (2, Stage::GoesOn, 0)]);
    }

    #[test]
    fn dead_deliveries_are_one_cause_an_output_and_reason_with_their_number() {
        let mut book = Book::default();
        for n in 0..1_000 {
            book.died(Timestamp(n), "crm", "all", format!("evt_{n}"), &format!("400: order {n}0000 is unknown"));
        }
        let first = book.due(Timestamp(1_000));
        assert_eq!(first.iter().map(|telling| (telling.stage, telling.count)).collect::<Vec<_>>(), [(Stage::Begins, 1_000)]);
        book.died(Timestamp(2_000), "crm", "all", "evt_x".into(), "400: order 10000 is unknown");
        assert_eq!(book.due(Timestamp(3_000)), []);
        let later = book.due(Timestamp(1_000 + 5 * MINUTE));
        assert_eq!(later.iter().map(|telling| (telling.stage, telling.count)).collect::<Vec<_>>(), [(Stage::GoesOn, 1)]);
        assert_eq!(book.due(Timestamp(100 * MINUTE)), [], "nothing more died");
        for n in 0..100 {
            book.died(Timestamp(n), "crm", "all", "evt_y".into(), &format!("reason {}", "x".repeat(n as usize % 30)));
        }
        assert_eq!(book.entries.len(), MOST_REASONS + 1, "more reasons than a few are one");
    }

    #[test]
    fn a_restart_tells_nothing_again_and_owes_the_end() {
        let mut book = Book::default();
        assert_eq!(told(&mut book, 0, [Look::Holds(down("refused"))]).len(), 1);
        let kept = serde_json::to_string(&book.saved()).unwrap();
        let again = |now: i64| Book::restored(serde_json::from_str(&kept).unwrap(), Timestamp(now * MINUTE));
        assert_eq!(told(&mut again(1), 1, [Look::Unknown("output.chat".into()), Look::Holds(down("refused"))]), []);
        assert_eq!(told(&mut again(1), 1, [Look::Unknown("output.chat".into()), not()]), [(2, Stage::Over, 0)]);
        assert_eq!(told(&mut again(9), 9, [Look::Holds(down("refused"))]), [(9, Stage::GoesOn, 0)]);
        let mut gone = again(1);
        gone.looked(Timestamp(MINUTE), vec![]);
        assert_eq!((gone.due(Timestamp(MINUTE)), gone.entries.len()), (vec![], 0), "it left the file");
        // A clock that was set back silences nobody.
        assert_eq!(told(&mut again(-1_000), -1_000, std::iter::repeat_n(Look::Holds(down("refused")), 7)), [(-995, Stage::GoesOn, 0)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Whatever happens: the book is bounded, and so is what a cause makes in a day.
        #[test]
        fn no_cause_tells_more_than_twice_an_hour(seed in proptest::collection::vec(0_u8..4, 1..40)) {
            let mut book = Book::default();
            let (mut lasting, mut dead) = (0, 0);
            for minute in 0..24 * 60 {
                let now = Timestamp(minute * MINUTE);
                match seed[minute as usize % seed.len()] {
                    0 => book.looked(now, vec![Look::Holds(down("refused"))]),
                    1 => book.looked(now, vec![not()]),
                    2 => book.died(now, "crm", "all", "evt".into(), "400"),
                    _ => {}
                }
                for telling in book.due(now) {
                    if telling.cause.lasts() { lasting += 1 } else { dead += 1 }
                }
            }
            prop_assert!(lasting <= 54 && dead <= 8, "{lasting} {dead}");
        }
    }

    #[test]
    fn the_book_has_an_end() {
        let mut book = Book::default();
        for n in 0..2 * MOST_CAUSES {
            book.died(Timestamp(n as i64), &format!("out-{n}"), "all", "evt".into(), "400");
        }
        assert_eq!(book.entries.len(), MOST_CAUSES, "none is quiet: new ones are not written down");
        assert_eq!(book.due(Timestamp(5_000)).len(), MOST_CAUSES);
        book.died(Timestamp(5_001), "new", "all", "evt".into(), "400");
        assert_eq!((book.entries.len(), book.due(Timestamp(5_002)).len()), (MOST_CAUSES, 1));
        book.due(Timestamp(5_002 + QUIET.as_millis() as i64));
        assert_eq!(book.entries.len(), 0);
    }
}
