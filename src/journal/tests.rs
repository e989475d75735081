//! The journal as the other rooms use it: when an append is answered, what a failing store does to whoever waits, and what a
//! start finds. On the store in memory, which fails on demand and whose commits can be held up, and on SQLite.

use super::inbox::GATHER;
use super::memory::samples::{all, event, plan, settled, target};
use super::memory::{Disk, Fails, samples};
use super::store::{Batch, Committed, Depths, Mark, Retain, Slice, Store, Swept, Tend};
use super::*;
use crate::model::{Appended, Clock, Cursor, Dedupe, Event, Instant, Kept, Plan, Seq, Settlement, State, SystemClock, Timestamp, Written};
use futures_util::FutureExt;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use tokio::sync::oneshot;

const NOW: Timestamp = Timestamp(1_772_445_600_000);
const WINDOW: Duration = Duration::from_mins(1);
const RETAIN: Retain = Retain { delivered: Duration::from_hours(24), dead: Duration::from_hours(48), max_bytes: None };

/// A store whose commits wait to be let through.
struct Gated {
    store: Box<dyn Store>,
    arrived: mpsc::Sender<(usize, usize)>,
    go: mpsc::Receiver<()>,
}

/// The other side of [`Gated`].
struct Gate {
    arrived: mpsc::Receiver<(usize, usize)>,
    go: mpsc::Sender<()>,
}

impl Gate {
    fn before(store: impl Store + 'static) -> (Gated, Gate) {
        let ((arrived, hears), (go, waits)) = (mpsc::channel(), mpsc::channel());
        (Gated { store: Box::new(store), arrived, go: waits }, Gate { arrived: hears, go })
    }

    /// Waits for a commit to begin; says how many appends and settlements it has.
    fn arrived(&self) -> (usize, usize) {
        self.arrived.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    fn let_through(&self) {
        self.go.send(()).unwrap();
    }
}

impl Store for Gated {
    fn commit(&mut self, batch: &Batch) -> Result<Committed, StoreError> {
        let _ = self.arrived.send((batch.appends.len(), batch.settlements.len()));
        // Gone: the test is over and lets everything through.
        let _ = self.go.recv();
        self.store.commit(batch)
    }
    fn recover(&mut self) -> Result<Recovered, StoreError> {
        self.store.recover()
    }
    fn operate(&mut self, operation: &Operation, now: Timestamp, from: Mark) -> Result<Slice, StoreError> {
        self.store.operate(operation, now, from)
    }
    fn sweep(&mut self, retain: Retain, now: Timestamp, after: Seq) -> Result<Swept, StoreError> {
        self.store.sweep(retain, now, after)
    }
    fn depths(&mut self) -> Result<Depths, StoreError> {
        self.store.depths()
    }
    fn count_on(&mut self) -> Result<bool, StoreError> {
        self.store.count_on()
    }
    fn tend(&mut self, why: Tend) -> Result<bool, StoreError> {
        self.store.tend(why)
    }
}

/// A clock whose wall stands still.
#[derive(Default)]
struct Still(SystemClock);

impl Clock for Still {
    fn now(&self) -> Instant {
        self.0.now()
    }
    fn wall(&self) -> Timestamp {
        NOW
    }
}

type Seen = Arc<Mutex<Vec<Arc<Kept>>>>;

fn start(store: impl Store + 'static) -> (Journal, Recovered, Seen) {
    let seen = Seen::default();
    let tell = Arc::clone(&seen);
    let on_kept = Box::new(move |kept| tell.lock().unwrap().push(kept));
    let settings = Settings { retain: RETAIN, clock: Arc::new(Still::default()), on_kept };
    let (journal, recovered) = Journal::start(Box::new(store), settings).unwrap();
    (journal, recovered, seen)
}

/// Opens a file that a journal let go of a moment ago, perhaps on its own thread.
fn open_file(path: &Path) -> SqliteStore {
    loop {
        match SqliteStore::open(path, WINDOW, NOW) {
            Err(OpenError::Lock(_)) => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

fn put(journal: &Journal, event: &Event, plan: Plan) -> impl Future<Output = Result<Appended, AppendError>> + use<> {
    let dedupe = Some(Dedupe::of(event, WINDOW));
    journal.append(event.clone(), plan, dedupe)
}

fn numbered(nth: u64) -> Event {
    event(nth, &nth.to_string(), NOW)
}

fn hears() -> (Written, oneshot::Receiver<bool>) {
    let (tell, told) = oneshot::channel();
    (Box::new(move |durable| tell.send(durable).unwrap()), told)
}

async fn settle(journal: &Journal, settlements: Vec<Settlement>) -> bool {
    let (written, told) = hears();
    journal.settle(settlements, written);
    told.await.unwrap()
}

/// L1.
#[tokio::test]
async fn nobody_is_answered_before_the_commit_and_one_commit_answers_many() {
    let disk = Disk::default();
    let (store, gate) = Gate::before(disk.open(WINDOW));
    let (journal, _, seen) = start(store);
    let mut first = Box::pin(put(&journal, &numbered(1), Plan::default()));
    assert_eq!(gate.arrived(), (1, 0));
    let mut rest: Vec<_> = (2..=50).map(|nth| Box::pin(put(&journal, &numbered(nth), Plan::default()))).collect();
    assert!((&mut first).now_or_never().is_none());
    assert!(rest.iter_mut().all(|append| append.now_or_never().is_none()));
    assert!(seen.lock().unwrap().is_empty());
    gate.let_through();
    assert_eq!(first.await, Ok(Appended::New));
    assert_eq!(gate.arrived(), (49, 0));
    assert!(rest.iter_mut().all(|append| append.now_or_never().is_none()));
    gate.let_through();
    for append in rest {
        assert_eq!(append.await, Ok(Appended::New));
    }
    assert_eq!(disk.bodies().len(), 50);
    assert_eq!(journal.counts().commits, 2);
}

#[tokio::test]
async fn each_new_event_is_handed_on_once_in_order_and_a_repeat_never() {
    let (journal, _, seen) = start(Disk::default().open(WINDOW));
    let chat = target("a", "chat");
    for nth in [1, 2, 1, 3, 2] {
        let _ = put(&journal, &event(nth, &nth.to_string(), NOW), plan(&[&chat])).await;
    }
    assert!(journal.flush().await);
    let handed: Vec<_> = seen.lock().unwrap().iter().map(|kept| (kept.seq.0, kept.event.body.clone(), kept.plan.targets.len())).collect();
    assert_eq!(handed, [(1, "1".into(), 1), (2, "2".into(), 1), (3, "3".into(), 1)]);
    let counts = journal.counts();
    assert_eq!((counts.events, counts.duplicates), (3, 2));
}

/// L6.
#[tokio::test]
async fn beyond_its_bounds_the_queue_refuses_at_once() {
    let (store, gate) = Gate::before(Disk::default().open(WINDOW));
    let (journal, ..) = start(store);
    let _first = put(&journal, &numbered(0), Plan::default());
    gate.arrived();
    let mut waiting: Vec<_> = (0..QUEUE_EVENTS_MAX as u64).map(|nth| Box::pin(put(&journal, &numbered(nth), Plan::default()))).collect();
    assert!(waiting.iter_mut().all(|append| append.now_or_never().is_none()));
    assert_eq!(put(&journal, &numbered(1), Plan::default()).now_or_never(), Some(Err(AppendError::Full)));

    let (store, gate) = Gate::before(Disk::default().open(WINDOW));
    let (journal, ..) = start(store);
    let _first = put(&journal, &numbered(0), Plan::default());
    gate.arrived();
    let huge = event(1, &"x".repeat(QUEUE_BYTES_MAX / 2), NOW);
    assert_eq!(put(&journal, &huge, Plan::default()).now_or_never(), None);
    assert_eq!(put(&journal, &huge, Plan::default()).now_or_never(), Some(Err(AppendError::Full)));
    assert_eq!(put(&journal, &numbered(2), Plan::default()).now_or_never(), None);
}

#[tokio::test]
async fn a_commit_takes_no_more_than_its_share_and_the_rest_goes_with_the_next() {
    let disk = Disk::default();
    let (store, gate) = Gate::before(disk.open(WINDOW));
    let (journal, ..) = start(store);
    let mut appends = vec![put(&journal, &numbered(0), Plan::default())];
    gate.arrived();
    appends.extend((1..=1_500).map(|nth| put(&journal, &numbered(nth), Plan::default())));
    appends.extend((1_501..=1_503).map(|nth| put(&journal, &event(nth, &format!("{nth}{}", "x".repeat(3 << 20)), NOW), Plan::default())));
    let mut batches = vec![];
    while batches.iter().sum::<usize>() < 1_503 {
        gate.let_through();
        batches.push(gate.arrived().0);
    }
    gate.let_through();
    assert_eq!(batches, [1_000, 502, 1]);
    for append in appends {
        assert_eq!(append.await, Ok(Appended::New));
    }
    let bodies = disk.bodies();
    assert!((0..=1_500).all(|nth: usize| bodies[nth] == nth.to_string().as_bytes()), "in the order in which they came");
}

#[tokio::test]
async fn settlements_ride_with_an_append_and_alone_they_do_not_wait_long() {
    let disk = Disk::default();
    let (store, gate) = Gate::before(disk.open(WINDOW));
    let (journal, ..) = start(store);
    let chat = target("a", "chat");
    let append = put(&journal, &numbered(1), plan(&[&chat]));
    assert_eq!(gate.arrived(), (1, 0));
    let (written, told) = hears();
    journal.settle(vec![settled(1, &chat, State::Waiting, NOW)], written);
    let second = put(&journal, &numbered(2), plan(&[&chat]));
    gate.let_through();
    assert_eq!(gate.arrived(), (1, 1));
    gate.let_through();
    assert_eq!((append.await, second.await, told.await), (Ok(Appended::New), Ok(Appended::New), Ok(true)));
    let clock = SystemClock::default();
    let before = clock.now();
    let (written, told) = hears();
    journal.settle(vec![settled(1, &chat, State::Delivered, NOW)], written);
    assert_eq!(gate.arrived(), (0, 1));
    assert!(clock.now().since(before) >= GATHER, "alone they wait for company");
    gate.let_through();
    assert_eq!(told.await, Ok(true));
}

#[tokio::test]
async fn a_flush_is_heard_when_all_before_it_is_durable() {
    let disk = Disk::default();
    let (journal, ..) = start(disk.open(WINDOW));
    let chat = target("a", "chat");
    let _append = put(&journal, &numbered(1), plan(&[&chat]));
    let (written, _told) = hears();
    journal.settle(vec![settled(1, &chat, State::Delivered, NOW)], written);
    assert!(journal.flush().await);
    assert_eq!((disk.bodies().len(), disk.rows().len()), (1, 1));
}

/// L1: what became of a delivery is written as soon as there is space; nobody else would write it before the next start.
#[tokio::test]
async fn a_full_disk_refuses_events_and_keeps_rows_until_there_is_space() {
    let disk = Disk::default();
    let (journal, ..) = start(disk.open(WINDOW));
    disk.fail(Fails::Full);
    assert_eq!(put(&journal, &numbered(1), Plan::default()).await, Err(AppendError::Full));
    disk.fail(Fails::Full);
    let chat = target("a", "chat");
    assert!(settle(&journal, vec![settled(1, &chat, State::Dead, NOW)]).await);
    assert_eq!(disk.rows().len(), 1);
    assert_eq!(put(&journal, &numbered(1), Plan::default()).await, Ok(Appended::New));
    assert_eq!((journal.counts().full, journal.fault().borrow().clone()), (2, None));
}

#[tokio::test]
async fn where_an_event_finds_no_space_rows_are_tried_without_it() {
    let disk = Disk::default();
    let (store, gate) = Gate::before(disk.open(WINDOW));
    let (journal, ..) = start(store);
    let chat = target("a", "chat");
    let first = put(&journal, &numbered(1), plan(&[&chat]));
    assert_eq!(gate.arrived(), (1, 0));
    let (written, told) = hears();
    journal.settle(vec![settled(1, &chat, State::Delivered, NOW)], written);
    let second = put(&journal, &numbered(2), plan(&[&chat]));
    gate.let_through();
    assert_eq!((first.await, gate.arrived()), (Ok(Appended::New), (1, 1)));
    disk.fail(Fails::Full);
    gate.let_through();
    assert_eq!((second.await, gate.arrived()), (Err(AppendError::Full), (0, 1)));
    gate.let_through();
    assert_eq!((told.await, disk.rows().len()), (Ok(true), 1));
}

#[tokio::test]
async fn after_an_unknown_commit_nothing_more_is_written_and_everybody_hears() {
    for how in [Fails::Before, Fails::After] {
        let disk = Disk::default();
        let (store, gate) = Gate::before(disk.open(WINDOW));
        let (journal, ..) = start(store);
        disk.fail(how);
        let lost = put(&journal, &numbered(1), Plan::default());
        gate.arrived();
        let queued = put(&journal, &numbered(2), Plan::default());
        let (written, told) = hears();
        journal.settle(vec![settled(1, &target("a", "chat"), State::Dead, NOW)], written);
        let flush = journal.flush();
        gate.let_through();
        assert_eq!((lost.await, queued.await, told.await), (Err(AppendError::Failed), Err(AppendError::Failed), Ok(false)));
        assert!(!flush.await);
        let fault = journal.fault().wait_for(Option::is_some).await.unwrap().clone().unwrap();
        assert_eq!((fault.exit_code, fault.message.as_str()), (74, "commit: as the test asked"));
        assert_eq!(put(&journal, &numbered(3), Plan::default()).await, Err(AppendError::Failed));
        assert!(!settle(&journal, vec![]).await);
        assert!(journal.operate(Operation::Unhold { output: "chat".into(), why: ["gone".into()].into() }).await.is_err());
        assert_eq!(journal.close().await, Err(fault));
        // The sender repeats it: kept or recognised, as the case may be, and never twice.
        let (journal, ..) = start(disk.open(WINDOW));
        let again = put(&journal, &numbered(1), Plan::default()).await;
        assert_eq!(again == Ok(Appended::New), how == Fails::Before, "{again:?}");
        assert_eq!(disk.bodies(), [b"1".to_vec()]);
    }
}

#[tokio::test]
async fn a_damaged_file_has_an_exit_code_of_its_own() {
    let disk = Disk::default();
    let (journal, ..) = start(disk.open(WINDOW));
    disk.fail(Fails::Corrupt);
    assert_eq!(put(&journal, &numbered(1), Plan::default()).await, Err(AppendError::Failed));
    assert_eq!(journal.close().await.unwrap_err().exit_code, 75);
}

#[tokio::test]
async fn a_writer_that_panics_leaves_nobody_waiting() {
    let settings = Settings { retain: RETAIN, clock: Arc::new(Still::default()), on_kept: Box::new(|_| panic!("the test's")) };
    let (journal, _) = Journal::start(Box::new(Disk::default().open(WINDOW)), settings).unwrap();
    // Durable before the panic, so answered.
    assert_eq!(put(&journal, &numbered(1), Plan::default()).await, Ok(Appended::New));
    assert_eq!(put(&journal, &numbered(2), Plan::default()).await, Err(AppendError::Failed));
    assert_eq!(journal.close().await.unwrap_err().exit_code, 74);
}

#[tokio::test]
async fn closing_writes_what_is_queued_and_the_next_start_has_nothing_to_read_again() {
    let disk = Disk::default();
    let (journal, ..) = start(disk.open(WINDOW));
    let chat = target("a", "chat");
    let append = put(&journal, &numbered(1), plan(&[&chat]));
    let (written, told) = hears();
    journal.settle(vec![settled(1, &chat, State::Delivered, NOW)], written);
    let closed = journal.close();
    assert_eq!(put(&journal, &numbered(2), Plan::default()).await, Err(AppendError::Failed));
    assert_eq!(closed.await, Ok(()));
    assert_eq!((append.await, told.await), (Ok(Appended::New), Ok(true)));
    let (_journal, recovered, _) = start(disk.open(WINDOW));
    assert_eq!(recovered, Recovered { watermark: Seq(2), last: Seq(1), open: vec![], dated: Timestamp(0) });
}

#[tokio::test]
async fn a_start_after_a_crash_finds_what_is_open_and_skips_what_has_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let [chat, books] = [target("a", "chat"), target("b", "books")];
    {
        let (journal, ..) = start(open_file(&path));
        for nth in 1..=4 {
            assert_eq!(put(&journal, &numbered(nth), plan(&[&chat, &books])).await, Ok(Appended::New));
        }
        // The first is done; of the second one target has one of several rows; of the third one target is done.
        let mut part = settled(2, &chat, State::Delivered, NOW);
        part.closes = false;
        let rows =
            [settled(1, &chat, State::Delivered, NOW), settled(1, &books, State::Dead, NOW), part, settled(3, &books, State::Waiting, NOW)];
        assert!(settle(&journal, rows.to_vec()).await);
    }
    let archive = Archive::new(&path, Arc::new(SystemClock::default()));
    let (journal, recovered, seen) = start(open_file(&path));
    assert_eq!((recovered.last, recovered.open), (Seq(4), vec![(Seq(2), 2), (Seq(3), 1), (Seq(4), 2)]));
    let backlog = Backlog::new(journal.clone(), Arc::new(archive));
    let (page, next) = backlog.open_events(recovered.watermark, recovered.last, 2, NOW).unwrap();
    let (rest, end) = backlog.open_events(next.unwrap(), recovered.last, 2, NOW).unwrap();
    assert_eq!(end, None);
    let missing: Vec<_> =
        page.iter().chain(&rest).flat_map(|open| open.missing().map(|(t, rows)| (open.kept.seq.0, &*t.output, rows))).collect();
    assert_eq!(missing, [(2, "chat", vec![0]), (2, "books", vec![]), (3, "chat", vec![]), (4, "chat", vec![]), (4, "books", vec![])]);
    assert!(seen.lock().unwrap().is_empty(), "only new events are handed on by the writer");
    // All is settled now: the next start has nothing to do.
    let rows = [settled(2, &chat, State::Delivered, NOW), settled(2, &books, State::Dead, NOW), settled(3, &chat, State::Dead, NOW)];
    assert!(settle(&journal, rows.to_vec()).await);
    assert!(settle(&journal, vec![settled(4, &chat, State::Dead, NOW), settled(4, &books, State::Dead, NOW)]).await);
    assert_eq!(journal.close().await, Ok(()));
    let (_journal, recovered, _) = start(open_file(&path));
    assert_eq!((recovered.watermark, recovered.open), (Seq(5), vec![]));
}

#[tokio::test]
async fn what_is_damaged_is_never_handed_out_and_ends_dead() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let chat = target("a", "chat");
    {
        let (journal, ..) = start(open_file(&path));
        for nth in 1..=4 {
            assert_eq!(put(&journal, &numbered(nth), plan(&[&chat])).await, Ok(Appended::New));
        }
        assert!(settle(&journal, vec![settled(1, &chat, State::Waiting, NOW), settled(3, &chat, State::Waiting, NOW)]).await);
        assert_eq!(journal.close().await, Ok(()));
    }
    rusqlite::Connection::open(&path).unwrap().execute("UPDATE events SET body = x'00' WHERE seq IN (1, 2)", []).unwrap();
    let archive = Archive::new(&path, Arc::new(SystemClock::default()));
    let (journal, recovered, _) = start(open_file(&path));
    let backlog = Backlog::new(journal.clone(), Arc::new(archive.clone()));
    let (open, _) = backlog.open_events(recovered.watermark, recovered.last, 9, NOW).unwrap();
    assert_eq!(open.iter().map(|open| open.kept.seq.0).collect::<Vec<_>>(), [4]);
    // One at a time: a page of nothing but damage is not the end.
    let waiting = backlog.load("chat", false, Cursor::default(), NOW, 1, NOW).unwrap();
    assert_eq!(waiting.iter().map(|(_, loaded)| loaded.row.key.seq.0).collect::<Vec<_>>(), [3]);
    assert!(journal.flush().await);
    let dead = archive.deliveries(&DeliveryFilter { states: vec![State::Dead], ..all() }, None, 9).unwrap();
    let dead: Vec<_> = dead.rows.iter().map(|line| (line.row.key.seq.0, line.row.detail.as_str())).collect();
    assert_eq!(dead, [(2, backlog::DAMAGED), (1, backlog::DAMAGED)]);
    assert_eq!(archive.audit(&BTreeSet::new()).unwrap().lost, 0);
}

#[tokio::test]
async fn an_operator_changes_rows_between_commits_and_hears_how_many() {
    let disk = Disk::default();
    let (journal, ..) = start(disk.open(WINDOW));
    let [chat, books] = [target("a", "chat"), target("b", "books")];
    assert_eq!(put(&journal, &numbered(1), plan(&[&chat, &books])).await, Ok(Appended::New));
    assert!(settle(&journal, vec![settled(1, &chat, State::Waiting, NOW), settled(1, &books, State::Dead, NOW)]).await);
    assert_eq!(journal.operate(Operation::Hold { output: "chat".into(), why: "paused".into() }).await, Ok(1));
    let dead = disk.rows().into_iter().filter(|row| row.state == State::Dead).map(|row| row.key).collect();
    assert_eq!(journal.operate(Operation::Replay(dead, Render::Now)).await, Ok(1));
    let rows: Vec<_> = disk.rows().iter().map(|row| (row.state, row.replays, row.attempts, row.due_at)).collect();
    // By the journal's own clock, which runs while the wall in this test stands.
    let now = rows[1].3.filter(|due| (NOW..=journal.clock().wall()).contains(due));
    assert!(now.is_some());
    assert_eq!(rows, [(State::Held, 0, 1, None), (State::Waiting, 1, 0, now)]);
}

#[tokio::test]
async fn retention_runs_by_itself() {
    let disk = Disk::default();
    let old = NOW - RETAIN.delivered - RETAIN.delivered;
    let chat = target("a", "chat");
    let append = |nth| store::Append { event: samples::event(nth, &nth.to_string(), old), plan: plan(&[&chat]), dedupe: None };
    let settlements = vec![settled(1, &chat, State::Delivered, old), settled(2, &chat, State::Held, old)];
    let batch = Batch { appends: vec![append(1), append(2)], settlements, watermark: Some(Seq(3)), at: old };
    disk.open(WINDOW).commit(&batch).unwrap();
    let (journal, ..) = start(disk.open(WINDOW));
    while journal.counts().swept == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(disk.bodies(), [b"2".to_vec()]);
}

#[tokio::test]
async fn where_space_is_short_delivered_events_go_before_their_time_and_nothing_else_does() {
    let disk = Disk::default();
    // No repeat of it can come any more, and it is far from past its time.
    let young = NOW - WINDOW - WINDOW;
    let chat = target("a", "chat");
    let append = |nth| store::Append { event: samples::event(nth, &nth.to_string(), young), plan: plan(&[&chat]), dedupe: None };
    let states = [(1, State::Delivered), (2, State::Dead), (3, State::Held), (4, State::Waiting)];
    let settlements = states.map(|(nth, state)| settled(nth, &chat, state, young)).to_vec();
    let batch = Batch { appends: (1..=4).map(append).collect(), settlements, watermark: Some(Seq(5)), at: young };
    disk.open(WINDOW).commit(&batch).unwrap();
    let (journal, ..) = start(disk.open(WINDOW));
    assert!(journal.flush().await);
    assert_eq!(disk.bodies().len(), 4);
    journal.press(true);
    let swept = async {
        while journal.counts().swept == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), swept).await.expect("nothing was deleted");
    assert_eq!(disk.bodies(), [b"2".to_vec(), b"3".to_vec(), b"4".to_vec()]);
}

#[tokio::test]
async fn a_commit_that_does_not_end_is_seen() {
    let (gated, gate) = Gate::before(Disk::default().open(WINDOW));
    let (journal, ..) = start(gated);
    let kept = put(&journal, &numbered(1), Plan::default());
    gate.arrived();
    assert!(journal.commits().under_way.is_some());
    gate.let_through();
    assert_eq!(kept.await, Ok(Appended::New));
    assert_eq!((journal.commits().under_way, journal.commits().slow_in_row), (None, 0));
}

#[tokio::test]
async fn the_watermark_is_written_with_a_commit_that_happens_anyway() {
    let disk = Disk::default();
    let (journal, ..) = start(disk.open(WINDOW));
    for nth in 0..1_001 {
        assert_eq!(put(&journal, &numbered(nth), Plan::default()).await, Ok(Appended::New));
    }
    assert!(disk.watermark() >= Seq(1_001), "{:?}", disk.watermark());
}

/// Many senders at once, a crash, and then each answered event is there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_no_answered_event_is_lost_by_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let (journal, ..) = start(open_file(&path));
    let stop = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..16u64)
        .map(|sender| {
            let (journal, stop) = (journal.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut answered = vec![];
                for nth in 0.. {
                    let event = numbered(sender * 1_000_000 + nth);
                    match put(&journal, &event, Plan::default()).await {
                        Ok(Appended::New) => answered.push(event.id),
                        other => panic!("{other:?}"),
                    }
                    if stop.load(Ordering::Relaxed) {
                        return answered;
                    }
                }
                answered
            })
        })
        .collect();
    while journal.counts().events < 2_000 {
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut answered = vec![];
    for sender in senders {
        answered.extend(sender.await.unwrap());
    }
    let commits = journal.counts().commits;
    drop(journal);
    let _store = open_file(&path);
    let archive = Archive::new(&path, Arc::new(SystemClock::default()));
    let (mut kept, mut before) = (vec![], None);
    loop {
        let page = archive.events(&archive::EventFilter::default(), before, 500).unwrap();
        kept.extend(page.rows.iter().map(|line| line.id));
        match page.next {
            Some(next) => before = Some(next),
            None => break,
        }
    }
    kept.sort();
    answered.sort();
    assert_eq!(kept, answered);
    assert!(commits < answered.len() as u64, "senders share commits");
}
