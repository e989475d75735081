//! What waits for the writer, and when it is woken for it.
//!
//! Appends wake it at once. Settlements alone gather for at most [`GATHER`], so that one commit serves many; with an
//! append, or where another delivery waits for one of them, they go at once. Holds: L6 the queue of appends is bounded in events and bytes.

use super::store::{Append, Operation, StoreError};
use crate::model::{Appended, Instant, Order, Settlement, Written};
use futures_util::task::AtomicWaker;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;
use tokio::sync::oneshot;

/// Events that may wait for the writer; beyond it an append is answered [`AppendError::Full`] at once.
pub const QUEUE_EVENTS_MAX: usize = 10_000;
/// Bytes of events that may wait for the writer; beyond it as above.
pub const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Events that one commit takes; the rest goes with the next.
const BATCH_EVENTS: usize = 1_000;
/// Bytes of events after which a commit takes no more.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Rows beyond which a commit takes no more settlements, so that an event that comes meanwhile waits for milliseconds: a row costs up to 50 µs in
/// a journal of millions. Each output has at most 4,096 of them under way, which bounds the queue.
const BATCH_ROWS: usize = 256;
/// How long settlements wait for company.
pub const GATHER: Duration = Duration::from_millis(20);
/// Rows that are company enough.
const GATHERED: usize = BATCH_ROWS;

/// Why an event was not kept. It may be in the journal all the same; the sender's repeat is then recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// No room in the queue or on the disk for now.
    #[error("the journal has no room now")]
    Full,
    /// The journal failed and the daemon stops, or it is closed.
    #[error("the journal is not running")]
    Failed,
}

pub(super) type Answer = oneshot::Sender<Result<Appended, AppendError>>;
/// Hears it.
pub(super) type Waiting = oneshot::Receiver<Result<Appended, AppendError>>;

/// An operation that somebody waits for.
#[derive(Debug)]
pub(super) struct Asked {
    pub operation: Operation,
    pub answer: oneshot::Sender<Result<u64, StoreError>>,
}

/// What the writer took to do next.
#[derive(Default)]
pub(super) struct Work {
    pub appends: Vec<Append>,
    pub answers: Vec<Answer>,
    /// Those that found no space the last time come first.
    pub settlements: Vec<Settlement>,
    /// Whose the settlements are, in order, and how many each has.
    pub written: Vec<Written>,
    /// Wait for all that was queued before them; only set when that is all here.
    pub flushes: Vec<oneshot::Sender<()>>,
    pub operations: Vec<Asked>,
    /// Nothing more will come, and all that came is here.
    pub last: bool,
}

impl Work {
    pub fn is_empty(&self) -> bool {
        self.appends.is_empty() && self.settlements.is_empty() && self.written.is_empty()
    }
}

/// How the inbox stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Door {
    #[default]
    Open,
    /// Takes no more; what is here is still done.
    Closing,
    /// Nothing is done any more.
    Shut,
}

#[derive(Default)]
struct Queue {
    appends: Vec<Append>,
    answers: Vec<Answer>,
    /// Of each append, whether the next one goes in the same commit.
    together: Vec<bool>,
    bytes: usize,
    settlements: VecDeque<(Vec<Settlement>, Written)>,
    rows: usize,
    /// When the first of the settlements came.
    since: Option<Instant>,
    /// Whether one of them gives the turn to another delivery, which waits for nothing else.
    urgent: bool,
    flushes: Vec<oneshot::Sender<()>>,
    operations: Vec<Asked>,
    door: Door,
    asleep: bool,
}

/// The queue and the bell.
#[derive(Default)]
pub(super) struct Inbox {
    queue: Mutex<Queue>,
    bell: Condvar,
    /// For a writer that is a task.
    task: AtomicWaker,
}

/// What a writer that comes now finds.
pub(super) enum Found {
    /// Nothing is done any more.
    Shut,
    /// There is something to do; whether settlements are meant too.
    Work(bool),
    /// Nothing, for so long.
    Nothing(Duration),
}

impl Inbox {
    /// Puts an append in, or says at once why not.
    pub fn append(&self, append: Append) -> Result<Waiting, AppendError> {
        let (answer, answered) = oneshot::channel();
        let size = append.event.size();
        let mut queue = self.lock();
        if queue.door != Door::Open {
            return Err(AppendError::Failed);
        }
        if queue.appends.len() >= QUEUE_EVENTS_MAX || queue.bytes + size > QUEUE_BYTES_MAX {
            return Err(AppendError::Full);
        }
        queue.bytes += size;
        queue.appends.push(append);
        queue.answers.push(answer);
        queue.together.push(false);
        self.ring(queue);
        crate::fail::point("queued");
        Ok(answered)
    }

    /// Puts in what goes in one commit.
    pub fn append_all(&self, appends: Vec<Append>) -> Result<Vec<Waiting>, AppendError> {
        let size: usize = appends.iter().map(|append| append.event.size()).sum();
        let mut queue = self.lock();
        if queue.door != Door::Open {
            return Err(AppendError::Failed);
        }
        if queue.appends.len() + appends.len() > QUEUE_EVENTS_MAX || queue.bytes + size > QUEUE_BYTES_MAX {
            return Err(AppendError::Full);
        }
        queue.bytes += size;
        let mut waiting = Vec::with_capacity(appends.len());
        let last = appends.len().saturating_sub(1);
        for (nth, append) in appends.into_iter().enumerate() {
            let (answer, answered) = oneshot::channel();
            queue.appends.push(append);
            queue.answers.push(answer);
            queue.together.push(nth < last);
            waiting.push(answered);
        }
        self.ring(queue);
        crate::fail::point("queued");
        Ok(waiting)
    }

    /// Puts settlements in; gives `written` back where nobody will write them.
    pub fn settle(&self, settlements: Vec<Settlement>, written: Written, now: Instant) -> Result<(), Written> {
        let mut queue = self.lock();
        if queue.door == Door::Shut {
            return Err(written);
        }
        queue.rows += settlements.len();
        queue.urgent |= settlements.iter().any(|settlement| matches!(settlement.order, Some(Order::Frees(_))));
        queue.settlements.push_back((settlements, written));
        let first = queue.since.is_none();
        queue.since.get_or_insert(now);
        if first || queue.rows >= GATHERED || queue.urgent {
            self.ring(queue);
        }
        Ok(())
    }

    /// Puts an operation in.
    pub fn operate(&self, asked: Asked) {
        let mut queue = self.lock();
        // Dropped where nobody will do it: the caller hears that.
        if queue.door == Door::Open {
            queue.operations.push(asked);
            self.ring(queue);
        }
    }

    /// Asks to hear when all that was put in before is done.
    pub fn flush(&self, heard: oneshot::Sender<()>) {
        let mut queue = self.lock();
        if queue.door != Door::Shut {
            queue.flushes.push(heard);
            self.ring(queue);
        }
    }

    /// Takes no more; the writer does what is here and ends.
    pub fn close(&self) {
        let mut queue = self.lock();
        if queue.door == Door::Open {
            queue.door = Door::Closing;
        }
        self.ring(queue);
    }

    /// Nothing is done any more: whoever waits hears so.
    pub fn shut(&self) {
        let mut queue = self.lock();
        queue.door = Door::Shut;
        let left = std::mem::take(&mut queue.settlements);
        queue.appends.clear();
        queue.answers.clear();
        queue.together.clear();
        queue.operations.clear();
        queue.flushes.clear();
        (queue.bytes, queue.rows, queue.since, queue.urgent) = (0, 0, None, false);
        self.ring(queue);
        // Not under the lock: it may come back with more.
        for (_, written) in left {
            written(false);
        }
    }

    /// Events and bytes waiting.
    pub fn depth(&self) -> (usize, usize) {
        let queue = self.lock();
        (queue.appends.len(), queue.bytes)
    }

    /// Waits until there is something to do, or for `patience`, and takes it. `None`: shut.
    ///
    /// `now` reads the clock, `into` lends its buffers.
    pub fn take(&self, patience: Duration, now: impl Fn() -> Instant, into: Work) -> Option<Work> {
        let mut queue = self.lock();
        let until = now() + patience;
        loop {
            let sleep = match queue.find(now(), until) {
                Found::Shut => return None,
                Found::Work(settle) => return Some(queue.take(settle, into)),
                Found::Nothing(sleep) => sleep,
            };
            queue.asleep = true;
            queue = self.bell.wait_timeout(queue, sleep).unwrap_or_else(PoisonError::into_inner).0;
            queue.asleep = false;
        }
    }

    /// The same for a writer that is a task: does not wait, but says for how long there is nothing to do, unless `waker` is woken.
    pub fn poll_take(&self, until: Instant, now: Instant, into: &mut Work, waker: &Waker) -> Found {
        self.task.register(waker);
        let mut queue = self.lock();
        let found = queue.find(now, until);
        queue.asleep = matches!(found, Found::Nothing(_));
        if let Found::Work(settle) = found {
            *into = queue.take(settle, std::mem::take(into));
        }
        found
    }

    /// Wakes the writer if it sleeps; a busy one looks by itself.
    fn ring(&self, queue: MutexGuard<'_, Queue>) {
        let asleep = queue.asleep;
        drop(queue);
        if asleep {
            self.bell.notify_one();
            self.task.wake();
        }
    }

    /// A panic elsewhere leaves nothing half done in here.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn find(&self, at: Instant, until: Instant) -> Found {
        if self.door == Door::Shut {
            return Found::Shut;
        }
        let gathered = self.since.map(|since| since + GATHER);
        let due = gathered.is_some_and(|gathered| at >= gathered) || self.rows >= GATHERED || self.urgent;
        let asked = !self.appends.is_empty() || !self.flushes.is_empty() || !self.operations.is_empty();
        let called = due || asked || self.door == Door::Closing;
        if called || at >= until {
            return Found::Work(called);
        }
        Found::Nothing(gathered.map_or(until, |gathered| gathered.min(until)).since(at))
    }

    fn take(&mut self, settle: bool, mut work: Work) -> Work {
        self.take_appends(&mut work);
        let fits = |work: &Work, (rows, _): &mut (Vec<Settlement>, Written)| {
            work.settlements.is_empty() || work.settlements.len() + rows.len() <= BATCH_ROWS
        };
        while settle && let Some((rows, written)) = self.settlements.pop_front_if(|next| fits(&work, next)) {
            self.rows -= rows.len();
            work.settlements.extend(rows);
            work.written.push(written);
        }
        if self.settlements.is_empty() {
            (self.since, self.urgent) = (None, false);
        }
        work.operations.append(&mut self.operations);
        let all = self.appends.is_empty() && self.settlements.is_empty();
        if all {
            work.flushes.append(&mut self.flushes);
        }
        work.last = all && self.door == Door::Closing;
        work
    }

    fn take_appends(&mut self, work: &mut Work) {
        if self.appends.len() <= BATCH_EVENTS && self.bytes <= BATCH_BYTES {
            std::mem::swap(&mut self.appends, &mut work.appends);
            std::mem::swap(&mut self.answers, &mut work.answers);
            self.together.clear();
            self.bytes = 0;
            return;
        }
        let (mut count, mut bytes) = (0, 0);
        // What came in one request is never parted; it has a bound of its own.
        let mut parted = true;
        for (append, together) in self.appends.iter().zip(&self.together) {
            if parted && (count >= BATCH_EVENTS || bytes >= BATCH_BYTES) {
                break;
            }
            bytes += append.event.size();
            count += 1;
            parted = !together;
        }
        work.appends.extend(self.appends.drain(..count));
        work.answers.extend(self.answers.drain(..count));
        self.together.drain(..count);
        self.bytes -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::samples;
    use super::*;
    use crate::model::{Plan, Timestamp};

    #[test]
    fn what_came_in_one_request_is_never_parted() {
        let append = |nth: usize| Append { event: samples::event(nth as u64, "1", Timestamp(1)), plan: Plan::default(), dedupe: None };
        let inbox = Inbox::default();
        let _one = inbox.append(append(0)).unwrap();
        let _several = inbox.append_all((1..=BATCH_EVENTS + 500).map(append).collect()).unwrap();
        let _after = [inbox.append(append(2_000)).unwrap(), inbox.append(append(2_001)).unwrap()];
        let take = || inbox.take(Duration::ZERO, Instant::default, Work::default()).unwrap();
        let first = take();
        assert_eq!((first.appends.len(), first.answers.len()), (BATCH_EVENTS + 501, BATCH_EVENTS + 501));
        assert_eq!(take().appends.len(), 2);
        assert!(inbox.append_all((0..=QUEUE_EVENTS_MAX).map(append).collect()).is_err(), "more than there is room for: none of them");
        assert_eq!(inbox.lock().appends.len(), 0);
    }
}
