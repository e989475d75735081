//! When waiting rows are read back, and from where: two passes, one over live deliveries and one over replays, so that neither stands in
//! the other's way in the journal. A part of the engine; pure.
//!
//! Does: remembers where each pass is and when the next one begins: when a row is due, when somebody says so, and at the latest after
//! [`LOOK_EVERY`]. Never: has more than one page out.

use super::engine::JOURNAL_WAIT;
use crate::model::{Cursor, DeliveryKey, Instant};
use std::collections::BTreeSet;
use std::time::Duration;

/// How often the journal is asked for due rows where nothing says when; finds what others made waiting, and steps of the wall clock.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);

/// One pass over due rows after the other.
#[derive(Debug)]
struct Pass {
    /// Where it goes on; at its start: the default.
    cursor: Cursor,
    /// When the next page is wanted.
    at: Instant,
    /// Whether to begin again after its end.
    again: bool,
    /// When the first is due of those that left memory since it began: it may not show them.
    left_due: Option<Instant>,
}

/// A page that is out.
#[derive(Debug, Clone, Copy)]
struct Out {
    replays: bool,
    most: usize,
}

/// How rows are read back.
#[derive(Debug)]
pub struct Reading {
    /// Of live deliveries, and of replays.
    passes: [Pass; 2],
    out: Option<Out>,
    /// The pass that had the last page: the other is asked first.
    last: bool,
    /// Those that left memory while a page was out: it may show them as they were.
    left: BTreeSet<DeliveryKey>,
    /// Bytes of a typical row.
    pub typical: usize,
}

/// What to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// The next page of live deliveries, or of replays, after there.
    Page(bool, Cursor),
    /// Nothing before then.
    NotBefore(Instant),
    /// Nothing.
    Nothing,
}

impl Reading {
    /// Looks at once.
    pub fn new(now: Instant) -> Self {
        let pass = || Pass { cursor: Cursor::default(), at: now, again: false, left_due: None };
        Reading { passes: [pass(), pass()], out: None, last: true, left: BTreeSet::new(), typical: 64 << 10 }
    }

    fn pass(&mut self, replays: bool) -> &mut Pass {
        &mut self.passes[usize::from(replays)]
    }

    /// How many may come.
    pub fn coming(&self) -> usize {
        self.out.map_or(0, |out| out.most)
    }

    /// What to ask for, of what is wanted: live deliveries, replays.
    pub fn ask(&self, now: Instant, wanted: [bool; 2]) -> Ask {
        if self.out.is_some() {
            return Ask::Nothing;
        }
        let wanted = [!self.last, self.last].into_iter().filter(|replays| wanted[usize::from(*replays)]);
        let first = wanted.map(|replays| (self.passes[usize::from(replays)].at.max(now), replays)).min_by_key(|(at, _)| *at);
        match first {
            None => Ask::Nothing,
            Some((at, _)) if at > now => Ask::NotBefore(at),
            Some((_, replays)) => Ask::Page(replays, self.passes[usize::from(replays)].cursor),
        }
    }

    /// It is asked for.
    pub fn asked(&mut self, replays: bool, most: usize) {
        (self.out, self.last) = (Some(Out { replays, most }), replays);
        let pass = self.pass(replays);
        if pass.cursor == Cursor::default() {
            (pass.again, pass.left_due) = (false, None);
        }
    }

    /// The page is here; whether it is of replays, and which of its rows may be older than what was written of them meanwhile.
    pub fn answered(&mut self) -> Option<(bool, BTreeSet<DeliveryKey>)> {
        let out = self.out.take()?;
        Some((out.replays, std::mem::take(&mut self.left)))
    }

    /// There are more after it.
    pub fn go_on(&mut self, replays: bool, cursor: Cursor, now: Instant) {
        let pass = self.pass(replays);
        (pass.cursor, pass.at) = (cursor, now);
    }

    /// That was all; the journal says when the next one is due.
    pub fn end(&mut self, replays: bool, next_due: Option<Instant>, now: Instant) {
        let pass = self.pass(replays);
        pass.cursor = Cursor::default();
        let due = [next_due, pass.left_due.take()].into_iter().flatten().min();
        pass.at = if std::mem::take(&mut pass.again) { now } else { due.map_or(now + LOOK_EVERY, |due| due.min(now + LOOK_EVERY)) };
    }

    /// The page could not be read: from the start again, a little later.
    pub fn failed(&mut self, now: Instant) {
        if let Some((replays, _)) = self.answered() {
            let pass = self.pass(replays);
            (pass.cursor, pass.at) = (Cursor::default(), now + JOURNAL_WAIT);
        }
    }

    /// Rows were made waiting.
    pub fn look(&mut self, now: Instant) {
        for replays in [false, true] {
            let out = self.out.is_some_and(|out| out.replays == replays);
            let pass = self.pass(replays);
            if out || pass.cursor != Cursor::default() { pass.again = true } else { pass.at = now }
        }
    }

    /// What is out of date in a page must be read again.
    pub fn again(&mut self, replays: bool) {
        self.pass(replays).again = true;
    }

    /// A delivery with a row left memory; where it waits: until when.
    pub fn left(&mut self, key: DeliveryKey, replays: bool, due: Option<Instant>) {
        if self.out.is_some() {
            self.left.insert(key);
        }
        if let Some(due) = due {
            let pass = self.pass(replays);
            pass.left_due = Some(pass.left_due.map_or(due, |before| before.min(due)));
            pass.at = pass.at.min(due);
        }
    }
}
