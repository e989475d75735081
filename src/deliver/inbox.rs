//! The hand-over of deliveries from the journal's writer to an output's task, with the bound of the open window (L6).
//!
//! Does: takes a delivery in while the window has room; says that it must become a waiting row where it has none, and
//! goes on saying so until all such rows were read back, so that the order of arrival is kept.
//! Never: blocks for longer than a few moves in memory; it is called between two commits.

use super::fleet::Change;
use crate::model::{Kept, Target};
use futures_util::task::AtomicWaker;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// One planned delivery (or several: its transform decides) that is not rendered yet.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Its event.
    pub kept: Arc<Kept>,
    /// By which route to this output.
    pub target: Arc<Target>,
    /// Ordinals that have a row already; empty but after a crash.
    pub have: Vec<u32>,
}

impl Arrival {
    /// Bytes it holds in memory.
    pub fn size(&self) -> usize {
        self.kept.event.size()
    }
}

/// What an output's task is told besides arrivals.
#[derive(Debug)]
pub enum Note {
    /// Whether the batch of settlements is durable.
    Written(bool),
    /// Rows of this output were made waiting by others.
    Look,
    /// Others may go, or may not, than a moment ago.
    Sift,
    /// What kept the destination from working was changed: if it was down, a probe goes at once.
    Hurry,
    /// Sends nothing until told to resume.
    Pause,
    /// Sends again.
    Resume,
    /// The file changed.
    Change(Change),
    /// End.
    Stop {
        /// Whether deliveries in memory get rows: the output is going.
        park: bool,
        /// How long what is out may take.
        grace: Duration,
    },
}

/// What became of an offer.
#[derive(Debug)]
pub enum Offered {
    /// It is in the window.
    Taken,
    /// There is no room, or others already wait in the journal before it: write a waiting row, then say
    /// [`spilled`](Inbox::spilled).
    Spill(Arrival),
    /// The output is gone.
    Closed(Arrival),
}

/// The two ends meet here.
#[derive(Debug, Default)]
pub struct Inbox {
    inside: Mutex<Inside>,
    bell: AtomicWaker,
}

#[derive(Debug, Default)]
struct Inside {
    arrivals: VecDeque<Arrival>,
    bytes: usize,
    notes: VecDeque<Note>,
    /// Parcels and bytes that the task has room for.
    room: (usize, usize),
    /// Whether arrivals queue up in the journal.
    spilling: bool,
    /// Rows written because of that, so far; and those of them that are not durable yet.
    spills: u64,
    unwritten: u64,
    closed: bool,
}

/// How far spilling had come when rows were asked for: they can be complete only up to there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spilled {
    spills: u64,
    unwritten: u64,
}

impl Inbox {
    /// With room for so many parcels and bytes.
    pub fn new(room: (usize, usize)) -> Self {
        Inbox { inside: Mutex::new(Inside { room, ..Inside::default() }), bell: AtomicWaker::new() }
    }

    // A panic while it was locked leaves nothing half done: every change below is a single move.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // === the writer's end ===

    /// Hands a delivery over, if the window has room.
    pub fn offer(&self, arrival: Arrival) -> Offered {
        let mut inside = self.lock();
        if inside.closed {
            return Offered::Closed(arrival);
        }
        let (parcels, bytes) = inside.room;
        let full = inside.arrivals.len() >= parcels || inside.bytes + arrival.size() > bytes;
        // What has some rows already cannot be written as if it had none. There are few: only a crash leaves them.
        if (full || inside.spilling) && arrival.have.is_empty() {
            inside.spilling = true;
            inside.spills += 1;
            inside.unwritten += 1;
            return Offered::Spill(arrival);
        }
        inside.bytes += arrival.size();
        inside.arrivals.push_back(arrival);
        drop(inside);
        self.bell.wake();
        Offered::Taken
    }

    /// Hands over a delivery that has waited long without a row: its row is to be written first, as if there were no room.
    pub fn offer_late(&self, arrival: Arrival) -> Offered {
        let mut inside = self.lock();
        if inside.closed {
            return Offered::Closed(arrival);
        }
        inside.spilling = true;
        inside.spills += 1;
        inside.unwritten += 1;
        Offered::Spill(arrival)
    }

    /// The waiting row of a spilled delivery is durable. If it is not, the event's plan stays open and finds it again.
    pub fn spilled(&self) {
        let mut inside = self.lock();
        inside.unwritten = inside.unwritten.saturating_sub(1);
        drop(inside);
        self.note(Note::Look);
    }

    /// Tells the task something.
    pub fn note(&self, note: Note) {
        let mut inside = self.lock();
        // Looking twice is looking once; everything else is rare.
        if !(matches!(note, Note::Look) && matches!(inside.notes.back(), Some(Note::Look))) {
            inside.notes.push_back(note);
        }
        drop(inside);
        self.bell.wake();
    }

    // === the task's end ===

    /// Who is to be woken.
    pub fn register(&self, waker: &Waker) {
        self.bell.register(waker);
    }

    /// Moves everything out, notes first.
    pub fn take(&self, arrivals: &mut VecDeque<Arrival>, notes: &mut VecDeque<Note>) {
        let mut inside = self.lock();
        // Until the task says anew what room it has, what it takes now takes room.
        inside.room = (inside.room.0.saturating_sub(inside.arrivals.len()), inside.room.1.saturating_sub(inside.bytes));
        inside.bytes = 0;
        arrivals.append(&mut inside.arrivals);
        notes.append(&mut inside.notes);
    }

    /// Says what room there is.
    pub fn set_room(&self, room: (usize, usize)) {
        self.lock().room = room;
    }

    /// Rows are about to be asked for.
    pub fn progress(&self) -> Spilled {
        let inside = self.lock();
        Spilled { spills: inside.spills, unwritten: inside.unwritten }
    }

    /// Arrivals must queue up in the journal.
    pub fn behind(&self) {
        self.lock().spilling = true;
    }

    /// Every row that was durable at `then` was read back: arrivals may come straight again, if nothing was spilled since.
    pub fn caught_up(&self, then: Spilled) {
        let mut inside = self.lock();
        if then.unwritten == 0 && then.spills == inside.spills {
            inside.spilling = false;
        }
    }

    /// Takes nothing in any more.
    pub fn close(&self) {
        self.lock().closed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::laws::kept;

    fn arrival(seq: i64) -> Arrival {
        let kept = kept(seq, &["r"], "o");
        Arrival { target: Arc::clone(&kept.plan.targets[0]), kept, have: vec![] }
    }
    fn taken(inbox: &Inbox) -> usize {
        let mut arrivals = VecDeque::new();
        inbox.take(&mut arrivals, &mut VecDeque::new());
        arrivals.len()
    }

    #[test]
    fn beyond_the_window_arrivals_spill_and_keep_their_order_until_all_are_read_back() {
        let inbox = Inbox::new((2, 1 << 20));
        assert!(matches!(inbox.offer(arrival(1)), Offered::Taken));
        assert!(matches!(inbox.offer(arrival(2)), Offered::Taken));
        assert!(matches!(inbox.offer(arrival(3)), Offered::Spill(_)));
        assert_eq!(taken(&inbox), 2);
        inbox.set_room((2, 1 << 20));
        assert!(matches!(inbox.offer(arrival(4)), Offered::Spill(_)), "there is room, but 3 waits in the journal");
        let early = inbox.progress();
        inbox.caught_up(early);
        assert!(matches!(inbox.offer(arrival(5)), Offered::Spill(_)), "3 and 4 were not durable when the rows were asked for");
        (0..3).for_each(|_| inbox.spilled());
        let then = inbox.progress();
        inbox.caught_up(then);
        assert!(matches!(inbox.offer(arrival(6)), Offered::Taken));
    }

    #[test]
    fn what_is_taken_out_still_takes_room_until_the_task_says_otherwise() {
        let inbox = Inbox::new((2, 1 << 20));
        inbox.offer(arrival(1));
        inbox.offer(arrival(2));
        assert_eq!(taken(&inbox), 2);
        assert!(matches!(inbox.offer(arrival(3)), Offered::Spill(_)));
    }

    #[test]
    fn the_window_is_bounded_in_bytes_too() {
        let inbox = Inbox::new((100, arrival(1).size() + 1));
        assert!(matches!(inbox.offer(arrival(1)), Offered::Taken));
        assert!(matches!(inbox.offer(arrival(2)), Offered::Spill(_)));
    }

    #[test]
    fn an_output_that_is_gone_gives_back() {
        let inbox = Inbox::new((2, 1 << 20));
        inbox.close();
        assert!(matches!(inbox.offer(arrival(1)), Offered::Closed(_)));
    }
}
