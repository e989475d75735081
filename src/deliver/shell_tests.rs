//! The shell and the fleet as they run: real tasks, a scripted output, a host that keeps rows in memory behind a writer's
//! thread. Waits for conditions, never for time.

use super::laws::kept;
use super::*;
use crate::model::{
    Clock, Cursor, DeliveryKey, DeliveryRow, HeldUntil, Kept, Loaded, Message, NotRendered, Outcome, Seq, Settlement, State, SystemClock,
    Target, Timestamp, Written,
};
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use switchyard_api::{CheckError, Output, Parcel, Rate, Settle};

// === the world ===

/// Keeps rows; renders by the route's name.
struct Memory {
    rows: Mutex<BTreeMap<DeliveryKey, DeliveryRow>>,
    events: Mutex<BTreeMap<Seq, Arc<Kept>>>,
    /// Targets whose part of the plan was closed, in order.
    closed: Mutex<Vec<(Seq, Arc<Target>)>>,
    /// Nothing may go until then.
    closed_until: Mutex<Option<Timestamp>>,
    /// Outputs for which rows were called back, and those that stay.
    recalls: Mutex<Vec<(String, Option<String>)>>,
    /// Whether what renders failed already.
    failed_once: AtomicBool,
    writer: mpsc::Sender<(Vec<Settlement>, Written)>,
}

impl Memory {
    fn start() -> Arc<Self> {
        let (writer, batches) = mpsc::channel::<(Vec<Settlement>, Written)>();
        let memory = Arc::new(Memory {
            rows: Mutex::default(),
            events: Mutex::default(),
            closed: Mutex::default(),
            closed_until: Mutex::default(),
            recalls: Mutex::default(),
            failed_once: AtomicBool::new(false),
            writer,
        });
        let host = Arc::downgrade(&memory);
        std::thread::spawn(move || {
            for (settlements, written) in batches {
                let Some(host) = host.upgrade() else { return };
                for settlement in settlements {
                    let key = settlement.row.key.clone();
                    if settlement.closes {
                        host.closed.lock().unwrap().push((key.seq, Arc::clone(&key.target)));
                    }
                    host.rows.lock().unwrap().insert(key, settlement.row);
                }
                written(true);
            }
        });
        memory
    }

    fn rows(&self) -> Vec<DeliveryRow> {
        self.rows.lock().unwrap().values().cloned().collect()
    }

    fn count(&self, state: State) -> usize {
        self.rows.lock().unwrap().values().filter(|row| row.state == state).count()
    }
}

impl Host for Memory {
    async fn render(&self, _: &Kept, target: &Target) -> Result<Vec<Arc<Message>>, NotRendered> {
        let text = |nth: u32| Arc::new(Message { payload: Some(nth.to_string()), ..Message::default() });
        match &*target.route {
            "none" => Ok(vec![]),
            "three" => Ok((0..3).map(text).collect()),
            "slow" => {
                tokio::task::yield_now().await;
                Ok(vec![Arc::default()])
            }
            "stuck" => std::future::pending().await,
            "fatal" if !self.failed_once.swap(true, Ordering::Relaxed) => panic!("as the test asked"),
            "gone" => Err(NotRendered::Gone("gone".into())),
            "failed" => Err(NotRendered::Failed("transform of route `failed`: no such key".into())),
            _ => Ok(vec![Arc::default()]),
        }
    }

    fn held_until(&self, _: &Kept, _: &Target) -> Option<HeldUntil> {
        self.closed_until.lock().unwrap().map(|until| HeldUntil { until, why: "outside its hours".into() })
    }

    fn settle(&self, settlements: Vec<Settlement>, written: Written) {
        self.writer.send((settlements, written)).unwrap();
    }

    async fn recall(&self, output: &str, but: Option<String>) -> Result<u64, LoadError> {
        self.recalls.lock().unwrap().push((output.to_owned(), but));
        Ok(0)
    }

    async fn load(&self, output: &str, wanted: Wanted) -> Result<Due, LoadError> {
        let Wanted { replays, after, due_by, most } = wanted;
        let events = self.events.lock().unwrap();
        let mut due: Vec<(Cursor, DeliveryRow)> = self
            .rows()
            .into_iter()
            .filter(|row| row.state == State::Waiting && &*row.key.target.output == output && (row.replays > 0) == replays)
            .map(|row| (Cursor { due_at: row.due_at.unwrap(), seq: row.key.seq, nth: i64::from(row.key.ordinal) }, row))
            .filter(|(cursor, _)| *cursor > after)
            .collect();
        due.sort_by_key(|(cursor, _)| *cursor);
        let later = due.split_off(due.partition_point(|(cursor, _)| cursor.due_at <= due_by));
        let next_due = later.first().map(|(cursor, _)| cursor.due_at).filter(|_| due.len() < most);
        due.truncate(most);
        let loaded = |(cursor, row): (Cursor, DeliveryRow)| (cursor, Loaded { kept: Arc::clone(&events[&row.key.seq]), row });
        Ok(Due { rows: due.into_iter().map(loaded).collect(), next_due })
    }
}

/// What the far side does with one attempt.
#[derive(Clone)]
enum Act {
    Say(Outcome),
    /// Hangs for ever, before or after it was sent.
    Hang {
        sent: bool,
    },
    Panic,
    /// Ends without a word.
    Leave,
}

/// Does what its script says, and delivers when the script is over.
#[derive(Default)]
struct Scripted {
    script: Mutex<VecDeque<Act>>,
    seen: Mutex<Vec<Parcel>>,
    out: AtomicUsize,
    most_out: AtomicUsize,
    closed: AtomicBool,
    batch: usize,
}

impl Scripted {
    fn new(script: impl IntoIterator<Item = Act>) -> Arc<Self> {
        Arc::new(Scripted { script: Mutex::new(script.into_iter().collect()), batch: 1, ..Scripted::default() })
    }
    fn seen(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

impl Output for Scripted {
    fn max_batch(&self) -> usize {
        self.batch
    }
    fn deliver<'a>(&'a self, parcels: Vec<Parcel>, settle: &'a Settle) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let out = self.out.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_out.fetch_max(out, Ordering::SeqCst);
            for parcel in parcels {
                let handle = parcel.handle;
                self.seen.lock().unwrap().push(parcel);
                let act = self.script.lock().unwrap().pop_front();
                match act.unwrap_or(Act::Say(Outcome::Delivered { detail: "200".into() })) {
                    Act::Say(outcome) => {
                        settle.sent(handle);
                        tokio::task::yield_now().await;
                        settle.settle(handle, outcome);
                    }
                    Act::Hang { sent } => {
                        if sent {
                            settle.sent(handle);
                        }
                        std::future::pending::<()>().await;
                    }
                    Act::Panic => panic!("a fault of the output, on purpose"),
                    Act::Leave => {}
                }
            }
            self.out.fetch_sub(1, Ordering::SeqCst);
        })
    }
    fn check(&self) -> BoxFuture<'_, Result<(), CheckError>> {
        Box::pin(async { Ok(()) })
    }
    fn close(&self) -> BoxFuture<'_, ()> {
        self.closed.store(true, Ordering::SeqCst);
        Box::pin(async {})
    }
}

struct Yard {
    host: Arc<Memory>,
    fleet: Fleet<Memory>,
    runtime: tokio::runtime::Runtime,
}

/// Short waits, so that a retry is a matter of milliseconds.
fn policy() -> Policy {
    let mut policy = DeliverySection::default().build(switchyard_api::Defaults::default(), &mut vec![]).unwrap();
    policy.timeout = Duration::from_millis(100);
    policy.schedule = retry::Schedule::verbatim(vec![Duration::from_millis(5); 4]);
    policy
}

fn spec(name: &str, output: &Arc<Scripted>, policy: Policy) -> OutputSpec {
    let fingerprint = Arc::as_ptr(output) as u64;
    let output = Arc::clone(output) as Arc<dyn Output>;
    OutputSpec { name: name.into(), fingerprint, policy: Arc::new(policy), key_of: None, output, paused: false, down: None }
}

impl Yard {
    fn new(specs: Vec<OutputSpec>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let host = Memory::start();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let fleet = Fleet::new(Arc::clone(&host), clock, runtime.handle().clone());
        assert_eq!(fleet.apply(specs, Duration::ZERO).len(), 0);
        Yard { host, fleet, runtime }
    }

    /// One output `o` with this script.
    fn of(script: impl IntoIterator<Item = Act>) -> (Self, Arc<Scripted>) {
        let output = Scripted::new(script);
        (Yard::new(vec![spec("o", &output, policy())]), output)
    }

    fn post(&self, seq: i64, routes: &[&str]) -> Arc<Kept> {
        let kept = self.keep(seq, routes);
        assert_eq!(self.fleet.dispatch(&kept), []);
        kept
    }

    fn keep(&self, seq: i64, routes: &[&str]) -> Arc<Kept> {
        let kept = kept(seq, routes, "o");
        self.host.events.lock().unwrap().insert(kept.seq, Arc::clone(&kept));
        kept
    }

    /// Waits until it holds.
    fn until(&self, what: &str, holds: impl Fn(&Yard) -> bool) {
        for _ in 0..20_000 {
            if holds(self) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("never: {what}; {:?}; {:?}", self.fleet.status(), self.host.rows().iter().take(5).collect::<Vec<_>>());
    }

    fn told(&self) -> Vec<(u32, State, u32, String)> {
        self.host.rows().into_iter().map(|row| (row.key.ordinal, row.state, row.attempts, row.detail)).collect()
    }
}

fn retry() -> Act {
    Act::Say(Outcome::Retry { why: "500".into(), after: None })
}

// === the tests ===

#[test]
fn an_event_goes_the_whole_way_and_closes_its_plan_once() {
    let (yard, output) = Yard::of([]);
    let kept = yard.post(1, &["r"]);
    yard.until("delivered", |yard| yard.host.count(State::Delivered) == 1);
    let row = yard.host.rows().remove(0);
    assert_eq!((row.attempts, row.detail.as_str(), row.message), (1, "200", Some(Arc::default())));
    assert_eq!(*yard.host.closed.lock().unwrap(), [(Seq(1), Arc::clone(&kept.plan.targets[0]))]);
    let parcel = output.seen.lock().unwrap().remove(0);
    assert_eq!((parcel.attempt, parcel.replay, &*parcel.route, parcel.raw), (1, false, "r", kept.event.body.clone()));
    assert_eq!(parcel.delivery, row.key.id(kept.event.id).to_string());
}

#[test]
fn several_results_are_several_deliveries_and_the_last_first_row_closes_the_plan() {
    let (yard, output) = Yard::of([retry(), retry()]);
    yard.post(1, &["three"]);
    yard.until("all delivered", |yard| yard.host.count(State::Delivered) == 3);
    assert_eq!(yard.host.closed.lock().unwrap().len(), 1);
    let seen = output.seen.lock().unwrap();
    let mut sent: Vec<_> = seen.iter().map(|parcel| (parcel.message.payload.clone().unwrap(), parcel.attempt)).collect();
    sent.sort();
    assert_eq!(sent.len(), 5);
    assert_eq!(sent.iter().filter(|(_, attempt)| *attempt == 1).count(), 3);
}

#[test]
fn what_cannot_be_rendered_is_written_with_its_reason() {
    let (yard, output) = Yard::of([]);
    let mut kept = (*yard.keep(1, &["none", "gone", "failed", "where"])).clone();
    kept.plan.failed = vec![(3, "`where` of route `where`: took too long".into())];
    assert_eq!(yard.fleet.dispatch(&Arc::new(kept)), []);
    yard.until("four rows", |yard| yard.host.rows().len() == 4);
    let mut told: Vec<_> =
        yard.host.rows().into_iter().map(|row| format!("{} {}: {}", row.key.target.route, row.state.word(), row.detail)).collect();
    told.sort();
    insta::assert_snapshot!(told.join("\n"), @r"
    failed dead: transform of route `failed`: no such key
    gone held: `gone` is not in the configuration any more
    none delivered: nothing to send: the transform gave no result
    where dead: `where` of route `where`: took too long
    ");
    assert_eq!((output.seen(), yard.host.closed.lock().unwrap().len()), (0, 4));
}

#[test]
fn a_timeout_before_it_was_sent_is_a_retry_and_after_it_is_unknown() {
    let output = Scripted::new([Act::Hang { sent: false }, Act::Hang { sent: true }]);
    let policy = Policy { on_unknown: OnUnknown::Hold, ..policy() };
    let yard = Yard::new(vec![spec("o", &output, policy)]);
    yard.post(1, &["r"]);
    yard.until("held", |yard| yard.host.count(State::Held) == 1);
    assert_eq!(yard.told(), [(0, State::Held, 2, "sent, but no answer was heard: no answer within 100ms".into())]);
    // The row is in the host's hands before the shell says its counts.
    let counts = Counts { retry: 1, unknown: 1, held: 1, ..Counts::default() };
    yard.until("counted", |yard| yard.fleet.status()["o"].counts == counts);
}

#[test]
fn an_output_that_is_down_stays_down_while_nothing_is_heard_of_it() {
    let down = Act::Say(Outcome::Down { why: "refused".into(), after: None });
    let (yard, output) = Yard::of([down, Act::Hang { sent: false }, Act::Hang { sent: false }]);
    yard.post(1, &["r"]);
    let stands = |yard: &Yard| yard.fleet.status()["o"].breaker.clone();
    yard.until("down", |yard| matches!(stands(yard), BreakerState::Open { .. }));
    yard.fleet.hurry("o").unwrap();
    yard.until("a probe that hangs", |yard| yard.fleet.status()["o"].counts.retry == 1 && output.seen() == 2);
    assert!(matches!(stands(&yard), BreakerState::Open { ref why, .. } if why == "refused"), "{:?}", stands(&yard));
}

#[test]
fn an_output_that_panics_or_leaves_without_a_word_is_tried_again() {
    let (yard, output) = Yard::of([Act::Panic, Act::Leave]);
    yard.post(1, &["r"]);
    yard.until("delivered", |yard| yard.host.count(State::Delivered) == 1);
    assert_eq!((yard.told()[0].2, output.seen()), (3, 3));
    assert!(!yard.fleet.status()["o"].failed);
}

#[test]
fn an_output_whose_task_failed_is_begun_anew_and_nothing_is_lost_or_overtaken() {
    let (yard, output) = Yard::of([]);
    assert!(yard.fleet.anew("o").is_none() && yard.fleet.anew("p").is_none(), "it runs; there is none");
    yard.post(1, &["r"]);
    yard.until("delivered", |yard| yard.host.count(State::Delivered) == 1);
    let mut open: Vec<Arc<Kept>> = (2..=4).map(|seq| yard.post(seq, &[if seq == 2 { "fatal" } else { "r" }])).collect();
    yard.until("failed", |yard| yard.fleet.status()["o"].failed);
    // Nobody takes it now: in the journal its plan is open.
    open.push(yard.post(5, &["r"]));
    let begins = yard.fleet.anew("o").unwrap();
    assert!(yard.fleet.anew("o").is_none(), "once");
    yard.post(6, &["r"]);
    yard.until("a row of what arrives meanwhile", |yard| yard.host.count(State::Waiting) == 1);
    for kept in &open {
        yard.fleet.park(kept, &kept.plan.targets[0]).unwrap();
    }
    yard.until("rows of the others", |yard| yard.host.count(State::Waiting) == 5);
    assert_eq!(output.seen(), 1, "it begins when it is told to");
    drop(begins);
    yard.until("all delivered", |yard| yard.host.count(State::Delivered) == 6);
    yard.post(7, &["r"]);
    yard.until("the next", |yard| yard.host.count(State::Delivered) == 7);
    let status = yard.fleet.status()["o"].clone();
    assert_eq!((output.seen(), status.failed, status.begun_anew, status.counts.delivered), (7, false, 1, 7));
}

#[test]
fn an_output_that_hangs_holds_up_no_other() {
    let (stuck, well) = (Scripted::new(vec![Act::Hang { sent: true }; 1_000]), Scripted::new([]));
    let yard = Yard::new(vec![spec("stuck", &stuck, policy()), spec("o", &well, policy())]);
    for seq in 1..=100 {
        let kept = kept(seq, &["r"], "stuck");
        assert_eq!(yard.fleet.dispatch(&kept), []);
        yard.post(seq, &["r"]);
    }
    yard.until("the other delivered", |_| well.seen() == 100);
    yard.until("no more than its share out", |_| stuck.seen() >= 32);
    assert!(stuck.most_out.load(Ordering::SeqCst) <= 32);
}

#[test]
fn no_more_calls_are_out_than_the_file_allows() {
    let output = Scripted::new([]);
    let yard = Yard::new(vec![spec("o", &output, Policy { concurrency: 3, ..policy() })]);
    (1..=300).for_each(|seq| drop(yard.post(seq, &["slow"])));
    yard.until("delivered", |yard| yard.host.count(State::Delivered) == 300);
    assert_eq!(output.most_out.load(Ordering::SeqCst), 3);
}

#[test]
fn a_batch_is_settled_parcel_by_parcel() {
    let output = Arc::new(Scripted { batch: 10, script: Mutex::new([retry(), Act::Leave].into()), ..Scripted::default() });
    let yard = Yard::new(vec![OutputSpec { paused: true, ..spec("o", &output, policy()) }]);
    (1..=30).for_each(|seq| drop(yard.post(seq, &["r"])));
    yard.fleet.resume("o").unwrap();
    yard.until("delivered", |yard| yard.host.count(State::Delivered) == 30);
    let twice = yard.told().into_iter().filter(|(_, _, attempts, _)| *attempts == 2).count();
    assert_eq!((twice, output.seen()), (2, 32));
}

#[test]
fn beyond_the_window_deliveries_wait_in_the_journal_and_each_is_sent_once() {
    let output = Scripted::new([]);
    let yard = Yard::new(vec![OutputSpec { paused: true, ..spec("o", &output, policy()) }]);
    (1..=6_000).for_each(|seq| drop(yard.post(seq, &["r"])));
    yard.until("spilled", |yard| yard.host.rows().len() >= 6_000 - engine::WINDOW_PARCELS);
    assert!(yard.fleet.status()["o"].waiting <= engine::WINDOW_PARCELS);
    yard.fleet.resume("o").unwrap();
    yard.until("delivered", |yard| yard.host.count(State::Delivered) == 6_000);
    assert_eq!((output.seen(), yard.host.closed.lock().unwrap().len()), (6_000, 6_000));
    yard.post(7_000, &["r"]);
    yard.until("the next one, straight", |yard| yard.host.count(State::Delivered) == 6_001);
}

#[test]
fn a_row_that_was_never_rendered_becomes_all_of_its_results() {
    let (yard, output) = Yard::of([]);
    let kept = yard.keep(1, &["three"]);
    let key = DeliveryKey { seq: Seq(1), target: Arc::clone(&kept.plan.targets[0]), ordinal: 0 };
    let at = Some(Timestamp(1));
    let row = DeliveryRow {
        key,
        state: State::Waiting,
        due_at: at,
        attempts: 0,
        replays: 1,
        detail: String::new(),
        message: None,
        updated_at: Timestamp(1),
    };
    yard.host.rows.lock().unwrap().insert(row.key.clone(), row);
    yard.fleet.look("o").unwrap();
    yard.until("delivered", |yard| yard.host.count(State::Delivered) == 3);
    assert_eq!(yard.host.closed.lock().unwrap().len(), 0, "its plan was closed before");
    let mut sent: Vec<_> = output.seen.lock().unwrap().iter().map(|parcel| (parcel.message.payload.clone(), parcel.replay)).collect();
    sent.sort();
    assert_eq!(sent, [(Some("0".into()), true), (Some("1".into()), false), (Some("2".into()), false)]);
}

#[test]
fn after_a_crash_only_the_results_without_a_row_are_delivered() {
    let (yard, output) = Yard::of([]);
    let kept = yard.keep(1, &["three"]);
    let target = &kept.plan.targets[0];
    yard.fleet.recover(&kept, target, vec![0, 2]).unwrap();
    yard.until("delivered", |yard| yard.host.count(State::Delivered) == 1);
    assert_eq!((yard.told()[0].0, output.seen(), yard.host.closed.lock().unwrap().len()), (1, 1, 1));
    yard.fleet.recover(&kept, target, vec![0, 1, 2]).unwrap();
    yard.until("its plan is closed", |yard| yard.host.closed.lock().unwrap().len() == 2);
    assert_eq!(output.seen(), 1);
}

#[test]
fn a_target_whose_output_does_not_run_is_given_back() {
    let (yard, _) = Yard::of([]);
    let elsewhere = kept(1, &["r"], "elsewhere");
    assert_eq!(yard.fleet.dispatch(&elsewhere), elsewhere.plan.targets);
    let refused = yard.fleet.pause("elsewhere").unwrap_err();
    assert_eq!(refused.to_string(), "there is no output `elsewhere`");
}

#[test]
fn an_output_that_is_gone_from_the_file_leaves_a_waiting_row_of_everything() {
    let output = Scripted::new([]);
    let yard = Yard::new(vec![OutputSpec { paused: true, ..spec("o", &output, policy()) }]);
    // The last three are being rendered when it goes.
    (1..=5).for_each(|seq| drop(yard.post(seq, &[if seq > 2 { "stuck" } else { "r" }])));
    yard.until("two in the queue", |yard| yard.fleet.status()["o"].waiting == 5);
    for (name, end) in yard.fleet.apply(vec![], Duration::from_secs(1)) {
        assert_eq!(&*name, "o");
        yard.runtime.block_on(end);
    }
    assert_eq!((yard.host.count(State::Waiting), yard.host.closed.lock().unwrap().len()), (5, 5));
    assert!(output.closed.load(Ordering::SeqCst));
    let late = kept(9, &["r"], "o");
    assert_eq!(yard.fleet.dispatch(&late), late.plan.targets);
}

#[test]
fn an_output_that_is_back_before_it_was_over_sends_nothing_twice() {
    let hangs = Scripted::new([retry(), Act::Hang { sent: true }]);
    let slow = Policy { timeout: Duration::from_millis(300), concurrency: 1, ..policy() };
    let yard = Yard::new(vec![spec("o", &hangs, slow.clone())]);
    yard.post(1, &["r"]);
    yard.until("a retry, which has a row, is out", |_| hangs.seen() == 2);
    let ends = yard.fleet.apply(vec![], Duration::from_mins(1));
    let back = Scripted::new([]);
    assert_eq!(yard.fleet.apply(vec![spec("o", &back, slow)], Duration::ZERO).len(), 0);
    yard.post(2, &["r"]);
    for (_, end) in ends {
        assert_eq!(back.seen(), 0, "not while the other is under way");
        yard.runtime.block_on(end);
    }
    yard.until("both delivered", |yard| {
        yard.fleet.look("o").unwrap();
        yard.host.count(State::Delivered) == 2
    });
    assert_eq!((hangs.seen(), back.seen()), (2, 2));
}

#[test]
fn a_changed_destination_gets_what_waited_for_the_one_before() {
    let (before, after) = (Scripted::new(vec![Act::Say(Outcome::Misconfigured { why: "401".into(), after: None }); 9]), Scripted::new([]));
    let yard = Yard::new(vec![spec("o", &before, policy())]);
    yard.post(1, &["r"]);
    yard.until("open", |yard| matches!(yard.fleet.status()["o"].breaker, BreakerState::Open { misconfigured: true, .. }));
    assert!(yard.fleet.running("o", Arc::as_ptr(&before) as u64).is_some());
    assert_eq!(yard.fleet.apply(vec![spec("o", &after, policy())], Duration::ZERO).len(), 0);
    yard.until("delivered", |yard| yard.host.count(State::Delivered) == 1);
    assert_eq!((before.seen(), after.seen(), yard.told()[0].2), (1, 1, 1));
    yard.until("the old one is closed", |_| before.closed.load(Ordering::SeqCst));
    assert!(!after.closed.load(Ordering::SeqCst));
}

#[test]
fn a_reload_gives_no_token_extra() {
    let output = Scripted::new([]);
    let rate = limiter::Limit { rate: Rate::parse("1/h").unwrap(), burst: NonZeroU32::MIN };
    let limited = Policy { limit: Some(rate), ..policy() };
    let yard = Yard::new(vec![spec("o", &output, limited.clone())]);
    yard.post(1, &["r"]);
    for timeout in 1..50 {
        let changed = Policy { timeout: Duration::from_secs(timeout), ..limited.clone() };
        assert_eq!(yard.fleet.apply(vec![spec("o", &output, changed)], Duration::ZERO).len(), 0);
    }
    yard.until("in the queue", |yard| yard.fleet.status()["o"].waiting == 1);
    assert_eq!(output.seen(), 0);
}

#[test]
fn a_stop_gives_up_what_is_out_and_says_what_is_known_of_it() {
    let output = Scripted::new([Act::Hang { sent: true }, Act::Hang { sent: false }]);
    let yard = Yard::new(vec![spec("o", &output, Policy { timeout: Duration::from_hours(1), concurrency: 2, ..policy() })]);
    (1..=3).for_each(|seq| drop(yard.post(seq, &["r"])));
    yard.until("two are out", |_| output.seen() == 2);
    yard.runtime.block_on(yard.fleet.stop(Duration::from_millis(20)));
    // The one that was sent is unknown and waits; the others have no row: their plans are open and find them again.
    assert_eq!(yard.told(), [(0, State::Waiting, 1, "stopped before an answer was heard".into())]);
    assert!(output.closed.load(Ordering::SeqCst));
}

#[test]
fn who_listens_hears_of_every_attempt() {
    let (yard, _) = Yard::of([retry()]);
    let mut feed = yard.fleet.feed();
    yard.post(1, &["r"]);
    yard.until("delivered", |yard| yard.host.count(State::Delivered) == 1);
    let heard: Vec<_> = std::iter::from_fn(|| feed.try_recv().ok()).map(|a| (a.attempt, a.outcome.word(), a.target.to_string())).collect();
    assert_eq!(heard, [(1, "retry", "r → o".into()), (2, "delivered", "r → o".into())]);
}

#[test]
fn what_was_said_counts_however_much_is_said_at_once() {
    // tokio makes a task that did much in one go believe that a channel is empty.
    let output = Scripted::new([]);
    let yard = Yard::new(vec![spec("o", &output, Policy { concurrency: 1_000, ..policy() })]);
    yard.fleet.pause("o").unwrap();
    (1..=1_000).for_each(|seq| drop(yard.post(seq, &["r"])));
    yard.until("all wait", |yard| yard.fleet.status().values().all(|status| status.waiting == 1_000));
    yard.fleet.resume("o").unwrap();
    yard.until("all delivered", |yard| yard.host.count(State::Delivered) == 1_000);
    assert_eq!(output.seen(), 1_000, "none was taken for unknown and sent again");
}

#[test]
fn what_was_open_long_ago_gets_a_row_at_once_and_closes_its_plan() {
    let (yard, output) = Yard::of([]);
    yard.fleet.pause("o").unwrap();
    // Events of these tests are from 1970.
    let kept = yard.keep(1, &["r"]);
    assert_eq!(yard.fleet.recover(&kept, &kept.plan.targets[0], vec![]), Ok(()));
    yard.until("a row", |yard| yard.host.count(State::Waiting) == 1);
    assert_eq!(yard.host.closed.lock().unwrap().len(), 1);
    yard.fleet.resume("o").unwrap();
    yard.until("delivered", |yard| yard.host.count(State::Delivered) == 1);
    assert_eq!(output.seen(), 1);
}

#[test]
fn what_may_not_go_is_held_until_its_time_wherever_it_stands() {
    let output = Scripted::new([]);
    let yard = Yard::new(vec![OutputSpec { paused: true, ..spec("o", &output, policy()) }]);
    let until = Timestamp(4_000_000_000_000);
    // In the queue, where it is looked through; in the queue, where it is sent; and one that arrives.
    yard.post(1, &["r"]);
    yard.until("queued", |yard| yard.fleet.status()["o"].waiting == 1);
    *yard.host.closed_until.lock().unwrap() = Some(until);
    yard.fleet.sift("o").unwrap();
    yard.until("held", |yard| yard.host.count(State::Held) == 1);
    *yard.host.closed_until.lock().unwrap() = None;
    yard.post(2, &["r"]);
    yard.until("queued", |yard| yard.fleet.status()["o"].waiting == 1);
    *yard.host.closed_until.lock().unwrap() = Some(until);
    yard.fleet.resume("o").unwrap();
    yard.until("held", |yard| yard.host.count(State::Held) == 2);
    yard.post(3, &["three"]);
    yard.until("held", |yard| yard.host.count(State::Held) == 3);
    assert!(yard.host.rows().iter().all(|row| row.due_at == Some(until) && row.attempts == 0 && row.detail == "outside its hours"));
    assert_eq!((output.seen(), yard.host.closed.lock().unwrap().len()), (0, 3));
    // Nothing is stuck: others go afterwards.
    *yard.host.closed_until.lock().unwrap() = None;
    (4..=200).for_each(|seq| drop(yard.post(seq, &["r"])));
    yard.until("delivered", |yard| yard.host.count(State::Delivered) == 197);
}
