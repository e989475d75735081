//! One suite for every store: the same random history on it and on the model in memory must look the same after each step,
//! through reopening.

use super::memory::{Disk, MemoryStore, samples};
use super::replay::{JobState, Render, ReplayJob};
use super::sqlite::SqliteStore;
use super::store::{
    Append, Batch, CONFIG_BYTES_MAX, CONFIGS_MAX, Dead, DeliveryFilter, Fate, Mark, Operation, Reads, Retain, Store, TopicMatch,
};
use super::{Archive, memory};
use crate::model::{
    ConfigVersion, Cursor, Dedupe, DeliveryKey, DeliveryRow, Event, Message, Order, OrderKey, PACED, Plan, SILENCED, Seq, Settlement,
    State, SystemClock, Target, Timestamp,
};
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use switchyard_api::message::Digest;

const WINDOW: Duration = Duration::from_millis(40);
const RETAIN: Retain = Retain { delivered: Duration::from_millis(30), dead: Duration::from_millis(90), max_bytes: None };
const START: i64 = 1_772_445_600_000;

/// A store under test and how it is opened again.
trait Bench {
    fn store(&mut self) -> &mut dyn Store;
    fn reads(&self) -> &dyn Reads;
    fn reopen(&mut self, now: Timestamp);
}

struct OnSqlite {
    folder: tempfile::TempDir,
    store: Option<SqliteStore>,
    archive: Archive,
}

impl OnSqlite {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        let store = SqliteStore::open(&path, WINDOW, Timestamp(START)).unwrap();
        OnSqlite { folder, store: Some(store), archive: Archive::new(&path, Arc::new(SystemClock::default())) }
    }
}

impl Bench for OnSqlite {
    fn store(&mut self) -> &mut dyn Store {
        self.store.as_mut().unwrap()
    }
    fn reads(&self) -> &dyn Reads {
        &self.archive
    }
    fn reopen(&mut self, now: Timestamp) {
        let path = self.folder.path().join("journal.db");
        // As a process that ends: no checkpoint, no last word.
        self.store = None;
        self.store = Some(SqliteStore::open(&path, WINDOW, now).unwrap());
    }
}

struct InMemory {
    disk: Disk,
    store: MemoryStore,
}

impl Bench for InMemory {
    fn store(&mut self) -> &mut dyn Store {
        &mut self.store
    }
    fn reads(&self) -> &dyn Reads {
        &self.disk
    }
    fn reopen(&mut self, _: Timestamp) {
        self.store = self.disk.open(WINDOW);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Commit { appends: Vec<Arrival>, settlements: Vec<Outcome>, watermark: bool },
    Operate(u8, u8),
    Sweep,
    Reopen,
    Wait(i64),
}

#[derive(Debug, Clone)]
struct Arrival {
    source: u8,
    topic: u8,
    sender_id: Option<u8>,
    body: u8,
    targets: Vec<u8>,
    dedupe: bool,
    window: u64,
    failed: bool,
}

#[derive(Debug, Clone)]
struct Outcome {
    event: prop::sample::Index,
    target: prop::sample::Index,
    ordinal: u32,
    state: State,
    due: i64,
    closes: bool,
    message: bool,
    frees: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let state = prop::sample::select(vec![State::Waiting, State::Held, State::Delivered, State::Dead]);
    let targets = prop::sample::subsequence(vec![0, 1, 2], 0..=3);
    let arrival = (0..2u8, 0..2u8, prop::option::of(0..2u8), 0..3u8, targets, prop::bool::weighted(0.8), 1..40u64, any::<bool>()).prop_map(
        |(source, topic, sender_id, body, targets, dedupe, window, failed)| Arrival {
            source,
            topic,
            sender_id,
            body,
            targets,
            dedupe,
            window,
            failed,
        },
    );
    let place = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..2u32);
    let outcome = (place, state, 0..20i64, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |((event, target, ordinal), state, due, closes, message, frees)| Outcome {
            event,
            target,
            ordinal,
            state,
            due,
            closes,
            message,
            frees,
        },
    );
    let commit = (prop::collection::vec(arrival, 0..6), prop::collection::vec(outcome, 0..8), any::<bool>())
        .prop_map(|(appends, settlements, watermark)| Step::Commit { appends, settlements, watermark });
    let step = prop_oneof![
        6 => commit,
        3 => (0..26u8, 0..3u8).prop_map(|(kind, which)| Step::Operate(kind, which)),
        1 => Just(Step::Sweep),
        1 => Just(Step::Reopen),
        2 => (1..60i64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..40)
}

fn targets() -> [Arc<Target>; 3] {
    // Two routes to one output, and one of another.
    [samples::target("a", "x"), samples::target("b", "x"), samples::target("b", "y")]
}

/// The same history on the store under test and on the model.
struct Pair<B> {
    under_test: B,
    disk: Disk,
    model: MemoryStore,
    now: Timestamp,
    born: u64,
}

impl<B: Bench> Pair<B> {
    fn new(under_test: B) -> Self {
        let disk = Disk::default();
        let model = disk.open(WINDOW);
        Pair { under_test, disk, model, now: Timestamp(START), born: 0 }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Commit { appends, settlements, watermark } => self.commit(appends, settlements, *watermark),
            Step::Operate(kind, which) => self.operate(*kind, *which),
            Step::Sweep => {
                let model = self.model.sweep(RETAIN, self.now, Seq(0)).unwrap().deleted;
                assert_eq!(self.under_test.store().sweep(RETAIN, self.now, Seq(0)).unwrap().deleted, model);
            }
            Step::Reopen => {
                self.model = self.disk.open(WINDOW);
                self.under_test.reopen(self.now);
            }
            Step::Wait(millis) => self.now = Timestamp(self.now.0 + millis),
        }
        self.compare();
    }

    fn commit(&mut self, appends: &[Arrival], settlements: &[Outcome], watermark: bool) {
        let appends = appends.iter().map(|arrival| self.append(arrival)).collect();
        let settlements = settlements.iter().filter_map(|outcome| self.settlement(outcome)).collect();
        let batch = Batch { appends, settlements, watermark: watermark.then(|| self.disk.lowest_open()), at: self.now };
        let committed = self.model.commit(&batch).unwrap();
        assert_eq!(self.under_test.store().commit(&batch).unwrap(), committed);
        let new = committed.fates.iter().filter_map(|fate| if let Fate::New { seq, .. } = fate { Some(seq.0) } else { None });
        assert!(new.collect::<Vec<_>>().windows(2).all(|pair| pair[1] == pair[0] + 1), "places follow each other");
    }

    fn append(&mut self, arrival: &Arrival) -> Append {
        self.born += 1;
        let mut event = samples::event(self.born, ["0", "1", "2"][usize::from(arrival.body)], self.now);
        event.source = ["shop", "till"][usize::from(arrival.source)].into();
        event.topic = ["ORDER_PAID", "ORDER_MADE"][usize::from(arrival.topic)].into();
        event.sender_id = arrival.sender_id.map(|id| id.to_string().into());
        let dedupe = arrival.dedupe.then(|| Dedupe::of(&event, Duration::from_millis(arrival.window)));
        let all = targets();
        let mut plan = samples::plan(&arrival.targets.iter().map(|nth| &all[usize::from(*nth)]).collect::<Vec<_>>());
        if arrival.failed && !plan.targets.is_empty() {
            plan.failed.push((0, "no such field".into()));
        }
        // What goes to `y` is kept in order, by its body.
        let last = plan.targets.len().checked_sub(1).filter(|last| plan.targets[*last] == all[2] && !(arrival.failed && *last == 0));
        plan.ordered.extend(last.map(|last| (last, OrderKey(u64::from(arrival.body)))));
        // And one of its keys is collected.
        plan.collected.extend(last.filter(|_| arrival.body == 2).map(|last| (last, Duration::from_millis(u64::from(arrival.source) * 7))));
        // Nothing is known of what the first source was planned under.
        plan.versions.extend((arrival.source > 0).then_some((0, ConfigVersion(u32::from(arrival.body)))));
        Append { event, plan, dedupe }
    }

    fn settlement(&self, outcome: &Outcome) -> Option<Settlement> {
        let plans: Vec<_> = self.disk.plans().into_iter().filter(|(_, plan)| !plan.targets.is_empty()).collect();
        let (seq, plan) = (!plans.is_empty()).then(|| outcome.event.get(&plans))?;
        let key = DeliveryKey { seq: *seq, target: Arc::clone(outcome.target.get(&plan.targets)), ordinal: outcome.ordinal };
        let row = DeliveryRow {
            key,
            state: outcome.state,
            due_at: (outcome.state == State::Waiting || outcome.state == State::Held && outcome.closes)
                .then(|| self.now + Duration::from_millis(outcome.due as u64)),
            attempts: outcome.due as u32,
            replays: outcome.ordinal,
            detail: match (outcome.closes, outcome.due % 2) {
                (true, 0) => format!("{PACED}1/s"),
                (_, 0) => "said so".to_owned(),
                _ => format!("{}ann{}", SILENCED.0, SILENCED.1),
            },
            message: outcome.message.then(|| {
                let digest = (outcome.due % 2 == 1).then_some(Digest { count: 2, through: seq.0 + outcome.due });
                Arc::new(Message { payload: Some("{}".into()), digest, ..Message::default() })
            }),
            updated_at: self.now,
        };
        let order = plan.order_of(&row.key.target).map(|key| if outcome.frees { Order::Frees(key) } else { Order::Keeps(key) });
        let on_dead = row.state == State::Dead && outcome.message;
        Some(Settlement { row, closes: outcome.closes, order, on_dead })
    }

    fn operate(&mut self, kind: u8, which: u8) {
        let output: Arc<str> = ["x", "y", "z"][usize::from(which)].into();
        let render = if which == 0 { Render::Then } else { Render::Now };
        let newest = self.disk.replays().unwrap().first().map_or(0, |job| job.id);
        let operation = match kind {
            0 => Operation::Hold { output, why: "paused".into() },
            1 => Operation::Unhold { output, why: ["paused".into(), "never said".into()].into() },
            // The number of the first may be taken.
            2 => Operation::PlanReplays(vec![self.job(newest + 1, &output, render), self.job(newest + 2, "x", render)]),
            3 => Operation::PlanReplays(vec![self.job(newest.max(1) + u64::from(which), &output, render)]),
            4 | 18 => Operation::FeedReplay { id: newest.saturating_sub(u64::from(which)), most: u64::from(which) * 3 },
            19 => {
                let to = [JobState::Running, JobState::Paused, JobState::Cancelled][usize::from(which)];
                Operation::TurnReplay { id: newest.saturating_sub(1), to }
            }
            20 => {
                let states =
                    [State::Held, State::Waiting].into_iter().skip(usize::from(which % 2)).take(1 + usize::from(which / 2)).collect();
                Operation::Purge { filter: DeliveryFilter { states, output: Some("y".into()), ..samples::all() }, why: "purged".into() }
            }
            21 | 22 => {
                let target = samples::target("late", &output);
                let more = Plan {
                    ordered: vec![(0, OrderKey(u64::from(which)))],
                    versions: vec![(0, ConfigVersion(u32::from(which)))],
                    collected: if kind == 21 { vec![] } else { vec![(0, WINDOW)] },
                    ..samples::plan(&[&target])
                };
                let found: Vec<_> = self.disk.plans().into_iter().map(|(seq, _)| (seq, more.clone())).skip(1).step_by(3).collect();
                let at = found.last().filter(|_| which > 0).map(|(seq, _)| *seq);
                Operation::FeedMissing { id: newest - newest % 2, found, at }
            }
            23 => {
                let on_dead = self.disk.on_dead(2 + usize::from(which)).unwrap();
                let to = |dead: &Dead| samples::plan(&[&Arc::new(dead.key.target.on_dead(&"late".into()))]);
                Operation::PassOn(on_dead.into_iter().map(|dead| (dead.key.clone(), to(&dead))).skip(usize::from(which % 2)).collect())
            }
            25 => Operation::KeepConfig { version: ConfigVersion(u32::from(which)), text: format!("# {}", self.born).into() },
            // Of three versions that somebody may have seen, at most one is the last.
            5 | 6 => Operation::Seal { key: output, seen: u64::from(kind - 5), sealed: vec![kind, which] },
            7 => Operation::Overtake { output, before: Timestamp(self.now.0 - 20) },
            10 if which > 0 => {
                let rows = self.disk.rows();
                let Some(row) = rows.iter().filter(|row| row.key.target.output == output).nth(1) else { return };
                Operation::Fix {
                    key: row.key.clone(),
                    message: Arc::new(Message { payload: Some(self.born.to_string()), ..Message::default() }),
                }
            }
            9 => Operation::Gather { output, before: Timestamp(self.now.0 - 10) },
            11 | 12 => {
                let seqs = self.disk.plans().into_iter().map(|(seq, _)| seq).skip(usize::from(which)).step_by(2).collect();
                Operation::Erase { seqs, waiting: kind == 12 }
            }
            13 => Operation::Scrub { rewrite: which == 0 },
            16 => Operation::Elapse { output, by: Timestamp(self.now.0 + 3), except: ["said so".into()].into() },
            17 => Operation::Elapse { output, by: Timestamp(self.now.0 + 5), except: [].into() },
            8 => Operation::PassBy(self.disk.rows().into_iter().rev().take(3).map(|row| row.key).collect()),
            14 | 15 => Operation::Recall { output, but: (kind == 15).then(|| format!("{PACED}1/s")) },
            _ => Operation::Replay(self.disk.rows().into_iter().take(3).map(|row| row.key).collect(), render),
        };
        let run = |store: &mut dyn Store, now| {
            let (mut changed, mut from) = (0, Mark::default());
            loop {
                let slice = store.operate(&operation, now, from).unwrap();
                changed += slice.changed;
                match slice.next {
                    Some(next) => from = next,
                    None => return changed,
                }
            }
        };
        let model = run(&mut self.model, self.now);
        assert_eq!(run(self.under_test.store(), self.now), model, "{operation:?}");
    }

    fn job(&self, id: u64, output: &str, render: Render) -> ReplayJob {
        let narrow = id.is_multiple_of(3);
        let missing = id.is_multiple_of(2);
        let states = match (missing, narrow) {
            (true, _) => vec![],
            (_, true) => vec![State::Dead],
            _ => vec![State::Dead, State::Held, State::Delivered],
        };
        let filter = DeliveryFilter {
            states,
            output: Some(output.to_owned()),
            source: narrow.then(|| "shop".to_owned()),
            topic: narrow.then(|| TopicMatch::Prefix("ORDER_P".into())),
            until: narrow.then(|| Timestamp(self.now.0 - 5)),
            through: Some(Seq(id as i64 * 2)),
            written_before: Some(self.now),
            ..samples::all()
        };
        let (planned_at, state, at) = (self.now, JobState::Running, Mark::default());
        ReplayJob { id, output: output.into(), filter, missing, render, total: 9, done: 0, state, planned_at, updated_at: self.now, at }
    }

    fn compare(&mut self) {
        assert_eq!(self.under_test.reads().replays().unwrap(), self.disk.replays().unwrap());
        assert_eq!(self.under_test.reads().configs().unwrap(), self.disk.configs().unwrap());
        let narrow = self.job(3, "x", Render::Now).filter;
        for filter in [&samples::all(), &narrow] {
            for (after, most) in [(0, 99), (2, 2)] {
                assert_eq!(
                    self.under_test.reads().events(filter, Seq(after), most).unwrap(),
                    self.disk.events(filter, Seq(after), most).unwrap()
                );
            }
        }
        assert_eq!(self.under_test.reads().asked_again("x", 2).unwrap(), self.disk.asked_again("x", 2).unwrap());
        assert_eq!(self.under_test.store().recover().unwrap(), self.model.recover().unwrap());
        let everything = (Seq(1), Seq(i64::MAX), 1_000);
        let open = |reads: &dyn Reads| reads.open_events(everything.0, everything.1, everything.2).unwrap();
        assert_eq!(open(self.under_test.reads()), open(&self.disk));
        for output in ["x", "y", "z"] {
            assert_eq!(self.under_test.reads().sealed(output).unwrap(), self.disk.sealed(output).unwrap());
            let due_by = Timestamp(self.now.0 + 10);
            for replays in [false, true] {
                assert_eq!(all_waiting(self.under_test.reads(), output, replays, due_by), all_waiting(&self.disk, output, replays, due_by));
                let next = |reads: &dyn Reads| reads.next_due(output, replays, self.now).unwrap();
                assert_eq!(next(self.under_test.reads()), next(&self.disk));
            }
        }
        let more = self.under_test.store().count_on().unwrap();
        if !more {
            assert_eq!(self.under_test.store().depths().unwrap(), self.model.depths().unwrap());
        }
        for row in self.disk.rows() {
            assert_eq!(self.under_test.reads().collected(&row.key, 2).unwrap(), self.disk.collected(&row.key, 2).unwrap());
        }
    }
}

fn all_waiting(reads: &dyn Reads, output: &str, replays: bool, due_by: Timestamp) -> Vec<(Cursor, memory::samples::Shown)> {
    let (mut found, mut after) = (vec![], Cursor::default());
    loop {
        let page = reads.waiting(output, replays, after, due_by, 3).unwrap();
        let Some(last) = page.last() else { return found };
        after = last.cursor;
        found.extend(page.into_iter().map(|waiting| {
            assert!(!waiting.damaged);
            (waiting.cursor, (waiting.loaded.kept, waiting.loaded.row))
        }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_sqlite_store_does_what_the_model_does(steps in steps()) {
        let mut pair = Pair::new(OnSqlite::new());
        for step in &steps {
            pair.step(step);
        }
    }

    /// The suite itself: a second model passes it.
    #[test]
    fn the_model_does_what_the_model_does(steps in steps()) {
        let disk = Disk::default();
        let store = disk.open(WINDOW);
        let mut pair = Pair::new(InMemory { disk, store });
        for step in &steps {
            pair.step(step);
        }
    }
}

/// Configurations are bounded by number and by bytes; the newest is there whatever it has, and one that comes back is the newest.
fn configurations_are_bounded(bench: &mut dyn Bench) {
    let mut keep = |version: u32, text: &str| {
        let operation = Operation::KeepConfig { version: ConfigVersion(version), text: text.into() };
        let now = Timestamp(START + i64::from(version));
        bench.store().operate(&operation, now, Mark::default()).unwrap().changed
    };
    let many = CONFIGS_MAX as u32 + 3;
    (0..many).for_each(|version| assert_eq!(keep(version, "a"), 1));
    assert_eq!(keep(many - 1, "a"), 0, "it is the newest already");
    assert_eq!(keep(5, "b"), 1);
    let kept = |bench: &dyn Bench| -> Vec<u32> { bench.reads().configs().unwrap().iter().map(|kept| kept.version.0).collect() };
    let all = kept(bench);
    assert_eq!((all.len(), all[0], all[1], all.last()), (CONFIGS_MAX, 5, many - 1, Some(&3)));
    assert_eq!(&*bench.reads().configs().unwrap()[0].text, "b");
    let mut keep = |version: u32, bytes: usize| {
        let operation = Operation::KeepConfig { version: ConfigVersion(version), text: "c".repeat(bytes).into() };
        bench.store().operate(&operation, Timestamp(START), Mark::default()).unwrap();
    };
    keep(1_000, CONFIG_BYTES_MAX / 2 + 1);
    keep(1_001, CONFIG_BYTES_MAX / 2);
    assert_eq!(kept(bench), [1_001]);
    let operation = Operation::KeepConfig { version: ConfigVersion(u32::MAX), text: "c".repeat(CONFIG_BYTES_MAX + 1).into() };
    bench.store().operate(&operation, Timestamp(START), Mark::default()).unwrap();
    assert_eq!(kept(bench), [u32::MAX]);
    bench.reopen(Timestamp(START));
    assert_eq!(kept(bench), [u32::MAX]);
}

#[test]
fn configurations_are_bounded_on_every_store() {
    let disk = Disk::default();
    let store = disk.open(WINDOW);
    configurations_are_bounded(&mut InMemory { disk, store });
    configurations_are_bounded(&mut OnSqlite::new());
}

/// What is to be given to an `on_dead` stays until it was, although it arrived after all meanwhile.
fn what_is_to_be_passed_on_stays(bench: &mut dyn Bench) {
    let (now, later, target) = (Timestamp(START), Timestamp(START + 1_000_000), samples::target("a", "x"));
    let append = |nth: u64| Append { event: samples::event(nth, &nth.to_string(), now), plan: samples::plan(&[&target]), dedupe: None };
    let settle = |seq, state, on_dead| Settlement { on_dead, ..samples::settled(seq, &target, state, now) };
    bench.store().commit(&Batch { appends: vec![append(1), append(2)], at: now, ..Batch::default() }).unwrap();
    for settlement in [settle(1, State::Dead, true), settle(1, State::Delivered, false), settle(2, State::Delivered, false)] {
        bench.store().commit(&Batch { settlements: vec![settlement], watermark: Some(Seq(3)), ..Batch::default() }).unwrap();
    }
    assert_eq!(bench.store().sweep(RETAIN, later, Seq(0)).unwrap().deleted, 1, "only what is over everywhere");
    let key = samples::settled(1, &target, State::Dead, now).row.key;
    bench.store().operate(&Operation::PassOn(vec![(key, samples::plan(&[]))]), later, Mark::default()).unwrap();
    assert_eq!(bench.store().sweep(RETAIN, later, Seq(0)).unwrap().deleted, 1);
}

#[test]
fn what_is_to_be_passed_on_stays_on_every_store() {
    let disk = Disk::default();
    let store = disk.open(WINDOW);
    what_is_to_be_passed_on_stays(&mut InMemory { disk, store });
    what_is_to_be_passed_on_stays(&mut OnSqlite::new());
}

/// A row that was held for another reason while it stood in line goes back into line, and has its turn when it comes.
fn what_is_released_stays_in_line(bench: &mut dyn Bench) {
    let now = Timestamp(START);
    let target = samples::target("b", "y");
    let order = OrderKey(1);
    let append = |nth: u64| {
        let plan = Plan { ordered: vec![(0, order)], ..samples::plan(&[&target]) };
        Append { event: samples::event(nth, "1", now), plan, dedupe: None }
    };
    bench.store().commit(&Batch { appends: vec![append(1), append(2)], at: now, ..Batch::default() }).unwrap();
    let gone = Settlement { closes: false, ..samples::settled(2, &target, State::Held, now) };
    let gone = Settlement { row: DeliveryRow { detail: "gone".into(), ..gone.row }, ..gone };
    bench.store().commit(&Batch { settlements: vec![gone], ..Batch::default() }).unwrap();
    let unhold = Operation::Unhold { output: "y".into(), why: ["gone".into()].into() };
    bench.store().operate(&unhold, now, Mark::default()).unwrap();
    let waiting = |bench: &mut dyn Bench| -> Vec<i64> {
        all_waiting(bench.reads(), "y", false, now).into_iter().map(|(_, (kept, _))| kept.seq.0).collect()
    };
    assert_eq!(waiting(bench), [1], "the second stands behind the first");
    let over = Settlement { order: Some(Order::Frees(order)), ..samples::settled(1, &target, State::Delivered, now) };
    bench.store().commit(&Batch { settlements: vec![over], ..Batch::default() }).unwrap();
    assert_eq!(waiting(bench), [2]);
    let key = DeliveryKey { seq: Seq(2), target, ordinal: 0 };
    assert_eq!(bench.store().operate(&Operation::PassBy(vec![key]), now, Mark::default()).unwrap().changed, 1, "it has the turn");
}

#[test]
fn what_is_released_stays_in_line_on_every_store() {
    let disk = Disk::default();
    let store = disk.open(WINDOW);
    what_is_released_stays_in_line(&mut InMemory { disk, store });
    what_is_released_stays_in_line(&mut OnSqlite::new());
}

/// A repeat that somebody releases is an event, once, also where it is asked for twice at the same time; what is no repeat is none.
fn a_repeat_is_released_once(bench: &mut dyn Bench) {
    let (now, target) = (Timestamp(START), samples::target("a", "x"));
    let append = |nth: u64, released: bool| {
        let event = samples::event(nth, "1", now);
        let dedupe = if released { Dedupe::of_released(&event) } else { Dedupe::of(&event, WINDOW) };
        Append { event, plan: samples::plan(&[&target]), dedupe: Some(dedupe) }
    };
    let mut commit = |appends: Vec<Append>| bench.store().commit(&Batch { appends, at: now, ..Batch::default() }).unwrap().fates;
    let id = |nth: u64| samples::event(nth, "1", now).id;
    let new = |seq| Fate::New { seq: Seq(seq), reused_id: false };
    let repeats = |nth| Fate::Duplicate { of: id(nth) };
    assert_eq!(commit(vec![append(1, false), append(2, false), append(3, false)]), [new(1), repeats(1), repeats(1)]);
    assert_eq!(commit(vec![append(9, true)]), [repeats(9)], "it is no repeat");
    assert_eq!(commit(vec![append(2, true), append(2, true)]), [new(2), repeats(2)]);
    assert_eq!(commit(vec![append(2, true), append(3, true)]), [repeats(2), new(3)]);
    // What comes after that repeats the newest.
    assert_eq!(commit(vec![append(4, false)]), [repeats(3)]);
}

#[test]
fn a_repeat_is_released_once_on_every_store() {
    let disk = Disk::default();
    let store = disk.open(WINDOW);
    a_repeat_is_released_once(&mut InMemory { disk, store });
    a_repeat_is_released_once(&mut OnSqlite::new());
}

/// A sender may count its attempts in the body: id and all else must be the same before it is a repeat. What is kept are the bytes of the first.
fn a_repeat_may_differ_where_its_sender_counts(bench: &mut dyn Bench) {
    static COUNTED: LazyLock<[Box<[Box<str>]>; 1]> = LazyLock::new(|| [["attemptNumber".into()].into()]);
    let (now, target) = (Timestamp(START), samples::target("a", "x"));
    let append = |nth: u64, id: Option<&str>, body: &str, but: &'static [Box<[Box<str>]>]| {
        let event = Event { body: body.to_owned().into(), sender_id: id.map(Box::from), ..samples::event(nth, "1", now) };
        let dedupe = Dedupe { but, ..Dedupe::of(&event, WINDOW) };
        Append { event, plan: samples::plan(&[&target]), dedupe: Some(dedupe) }
    };
    let mut commit = |append: Append| {
        let mut fates = bench.store().commit(&Batch { appends: vec![append], at: now, ..Batch::default() }).unwrap().fates;
        fates.pop().unwrap()
    };
    let first = Fate::Duplicate { of: samples::event(1, "1", now).id };
    let body = |attempt: &str, total: u32| format!(r#"{{"eventId":7,"attemptNumber":{attempt}, "total":{total}}}"#);
    let known = Some("7");
    assert_eq!(commit(append(1, known, &body("0", 5), &*COUNTED)), Fate::New { seq: Seq(1), reused_id: false });
    for attempt in ["1", "12", "\"2\"", "null", "0"] {
        assert_eq!(commit(append(2, known, &body(attempt, 5), &*COUNTED)), first, "{attempt}");
    }
    let reused = |seq| Fate::New { seq: Seq(seq), reused_id: true };
    assert_eq!(commit(append(3, known, &body("1", 6), &*COUNTED)), reused(2), "something else is another too");
    assert_eq!(commit(append(4, known, r#"{"eventId":7, "total":5}"#, &*COUNTED)), reused(3), "it is not there at all");
    assert_eq!(commit(append(5, known, &body("2", 5), &[])), reused(4), "of another sender every byte counts");
    let new = |seq| Fate::New { seq: Seq(seq), reused_id: false };
    assert_eq!(commit(append(6, Some("8"), &body("1", 5), &*COUNTED)), new(5), "another id");
    assert_eq!(commit(append(7, None, &body("1", 5), &*COUNTED)), new(6));
    assert_eq!(commit(append(8, None, &body("2", 5), &*COUNTED)), new(7), "without an id every byte counts");
    assert_eq!(commit(append(9, known, "{not json", &*COUNTED)), reused(8));
    assert_eq!(commit(append(10, known, "{not json!", &*COUNTED)), reused(9));
}

#[test]
fn a_repeat_may_differ_where_its_sender_counts_on_every_store() {
    let disk = Disk::default();
    let store = disk.open(WINDOW);
    a_repeat_may_differ_where_its_sender_counts(&mut InMemory { disk, store });
    a_repeat_may_differ_where_its_sender_counts(&mut OnSqlite::new());
}

/// By when rows are dated: of those that wait when the last one of its output was written, and when the last turn was given.
fn a_store_says_by_when_its_rows_are_dated(bench: &mut dyn Bench) {
    let (plain, lined) = (samples::target("a", "x"), samples::target("b", "y"));
    let at = |millis: i64| Timestamp(START + millis);
    let mut commit = |batch: &Batch| {
        bench.store().commit(batch).unwrap();
        bench.store().recover().unwrap().dated
    };
    assert_eq!(commit(&Batch::default()), Timestamp(0));
    let append = |nth: u64, ordered| Append {
        event: samples::event(nth, "1", at(99)),
        plan: Plan { ordered, ..samples::plan(&[&plain, &lined]) },
        dedupe: None,
    };
    let appends = vec![append(1, vec![]), append(2, vec![])];
    assert_eq!(commit(&Batch { appends, at: at(1), ..Batch::default() }), Timestamp(0), "no rows");
    let waits = |seq, written, due| {
        let settled = samples::settled(seq, &plain, State::Waiting, at(written));
        Settlement { row: DeliveryRow { due_at: Some(at(due)), ..settled.row }, ..settled }
    };
    let settlements = vec![waits(1, 5, 30), waits(2, 7, 20)];
    assert_eq!(commit(&Batch { settlements, ..Batch::default() }), at(5), "the one that is due last");
    let appends = vec![append(3, vec![(1, OrderKey(1))])];
    assert_eq!(commit(&Batch { appends, at: at(9), ..Batch::default() }), at(9), "a turn, not the event's own time");
    let settlements = vec![Settlement { order: Some(Order::Frees(OrderKey(1))), ..samples::settled(3, &lined, State::Delivered, at(10)) }];
    assert_eq!(commit(&Batch { settlements, ..Batch::default() }), at(5));
}

#[test]
fn every_store_says_by_when_its_rows_are_dated() {
    let disk = Disk::default();
    let store = disk.open(WINDOW);
    a_store_says_by_when_its_rows_are_dated(&mut InMemory { disk, store });
    a_store_says_by_when_its_rows_are_dated(&mut OnSqlite::new());
}

/// What is held until a time goes on when it has come, or is dead where its reason says so; what is held for another reason stays.
fn what_is_held_until_a_time_goes_on_then(bench: &mut dyn Bench) {
    let now = Timestamp(START);
    let (plain, lined) = (samples::target("a", "x"), samples::target("b", "x"));
    let silenced = format!("{}ann{}", SILENCED.0, SILENCED.1);
    let append = |nth: u64| {
        let plan = Plan { ordered: vec![(1, OrderKey(1))], ..samples::plan(&[&plain, &lined]) };
        Append { event: samples::event(nth, "1", now), plan, dedupe: None }
    };
    bench.store().commit(&Batch { appends: (1..=3).map(append).collect(), at: now, ..Batch::default() }).unwrap();
    let held = |seq: i64, target: &Arc<Target>, until: Option<i64>, why: &str| {
        let settled = samples::settled(seq, target, State::Held, now);
        let due_at = until.map(|until| Timestamp(START + until));
        let order = (*target == lined).then_some(Order::Keeps(OrderKey(1)));
        Settlement { row: DeliveryRow { due_at, detail: why.into(), ..settled.row }, order, ..settled }
    };
    let settlements = vec![
        held(1, &plain, Some(5), "closed"),
        held(2, &plain, Some(5), &silenced),
        held(3, &plain, None, "for a person"),
        held(1, &lined, Some(9), "closed"),
    ];
    bench.store().commit(&Batch { settlements, ..Batch::default() }).unwrap();
    let mut operate =
        |operation: Operation, at: i64| bench.store().operate(&operation, Timestamp(START + at), Mark::default()).unwrap().changed;
    let elapse = |by: i64, except: &[&str]| Operation::Elapse {
        output: "x".into(),
        by: Timestamp(START + by),
        except: except.iter().map(|why| (*why).to_owned()).collect(),
    };
    assert_eq!(operate(elapse(4, &[]), 4), 0, "none has come");
    assert_eq!(operate(elapse(9, &["closed", &silenced]), 5), 0, "none but those that stay");
    // Not the delivery is stuck that has its turn and may not go.
    assert_eq!(operate(Operation::Overtake { output: "x".into(), before: Timestamp(START + 100) }, 8), 0);
    assert_eq!(operate(elapse(9, &["closed"]), 8), 1, "the silenced one");
    assert_eq!(operate(elapse(5, &[]), 8), 1, "of two the one whose time has come");
    assert_eq!(operate(elapse(9, &[]), 9), 1);
    let waiting = |bench: &mut dyn Bench| -> Vec<(i64, Arc<str>)> {
        let found = [false, true].map(|replays| all_waiting(bench.reads(), "x", replays, Timestamp(START + 9)));
        found.into_iter().flatten().map(|(_, (kept, row))| (kept.seq.0, Arc::clone(&row.key.target.route))).collect()
    };
    assert_eq!(waiting(bench), [(1, "a".into()), (1, "b".into())]);
    let dead = Operation::Replay(vec![DeliveryKey { seq: Seq(2), target: Arc::clone(&plain), ordinal: 0 }], Render::Then);
    assert_eq!(bench.store().operate(&dead, Timestamp(START + 9), Mark::default()).unwrap().changed, 1);
    assert_eq!(waiting(bench), [(1, "a".into()), (1, "b".into()), (2, "a".into())]);
}

#[test]
fn what_is_held_until_a_time_goes_on_then_on_every_store() {
    let disk = Disk::default();
    let store = disk.open(WINDOW);
    what_is_held_until_a_time_goes_on_then(&mut InMemory { disk, store });
    what_is_held_until_a_time_goes_on_then(&mut OnSqlite::new());
}

/// What was missing is kept in order among itself, and never has the turn beside a later one that has it.
fn what_was_missing_stands_in_line(bench: &mut dyn Bench) {
    let now = Timestamp(START);
    let (old, new) = (samples::target("a", "x"), samples::target("a", "y"));
    let of = |target: &Arc<Target>| Plan { ordered: vec![(0, OrderKey(7))], ..samples::plan(&[target]) };
    let append = |nth, plan| Append { event: samples::event(nth, "1", now), plan, dedupe: None };
    let appends = vec![append(1, Plan::default()), append(2, Plan::default()), append(3, of(&old))];
    bench.store().commit(&Batch { appends, at: now, watermark: Some(Seq(4)), ..Batch::default() }).unwrap();
    let filter = DeliveryFilter { output: Some("x".into()), through: Some(Seq(3)), written_before: Some(now), ..samples::all() };
    let (planned_at, state, at) = (now, JobState::Running, Mark::default());
    let job = ReplayJob {
        id: 1,
        output: "x".into(),
        filter,
        missing: true,
        render: Render::Now,
        total: 4,
        done: 0,
        state,
        planned_at,
        updated_at: now,
        at,
    };
    let mut operate = |operation: Operation| bench.store().operate(&operation, now, Mark::default()).unwrap().changed;
    operate(Operation::PlanReplays(vec![job]));
    let found = |target: &Arc<Target>, seqs: &[i64]| seqs.iter().map(|seq| (Seq(*seq), of(target))).collect();
    assert_eq!(
        operate(Operation::FeedMissing { id: 1, found: found(&old, &[1, 2, 3]), at: Some(Seq(2)) }),
        2,
        "the third goes there already"
    );
    assert_eq!(operate(Operation::FeedMissing { id: 1, found: found(&new, &[1, 2]), at: None }), 2);
    assert_eq!(operate(Operation::FeedMissing { id: 1, found: found(&new, &[3]), at: None }), 0, "it is over");
    let waiting = |bench: &dyn Bench, output| -> Vec<(bool, i64)> {
        let of = |replays| all_waiting(bench.reads(), output, replays, now).into_iter().map(move |(_, (kept, _))| (replays, kept.seq.0));
        [false, true].into_iter().flat_map(of).collect()
    };
    assert_eq!(waiting(bench, "x"), [(false, 3), (true, 1), (true, 2)], "the third has the turn: these go on their own");
    assert_eq!(waiting(bench, "y"), [(true, 1)], "the second stands behind the first");
    let job = bench.reads().replays().unwrap().remove(0);
    assert_eq!((job.state, job.done, job.at), (JobState::Finished, 4, Mark(0, 2, 0, 0)));
    let events = bench.reads().events(&samples::all(), Seq(0), 9).unwrap().0;
    assert_eq!(events.iter().map(|kept| kept.plan.targets.len()).collect::<Vec<_>>(), [2, 2, 1]);
    bench.reopen(now);
    assert_eq!(bench.store().recover().unwrap().open, [], "each has its row: no plan is open");
}

#[test]
fn what_was_missing_stands_in_line_on_every_store() {
    let disk = Disk::default();
    let store = disk.open(WINDOW);
    what_was_missing_stands_in_line(&mut InMemory { disk, store });
    what_was_missing_stands_in_line(&mut OnSqlite::new());
}

/// Two routes of one event to one output by one key: one of them has the turn, whichever of the targets was seen first.
fn of_two_targets_of_one_event_one_has_the_turn(bench: &mut dyn Bench) {
    let now = Timestamp(START);
    let (late, early) = (samples::target("late", "y"), samples::target("early", "y"));
    let append = |nth, targets: &[&Arc<Target>]| {
        let ordered = (0..targets.len()).map(|place| (place, OrderKey(nth))).collect();
        Append { event: samples::event(nth, "1", now), plan: Plan { ordered, ..samples::plan(targets) }, dedupe: None }
    };
    let appends = vec![append(1, &[&early]), append(2, &[&late, &early])];
    bench.store().commit(&Batch { appends, at: now, ..Batch::default() }).unwrap();
    let waiting: Vec<_> =
        all_waiting(bench.reads(), "y", false, now).into_iter().map(|(_, (_, row))| (row.key.seq.0, row.key.target)).collect();
    assert_eq!(waiting, [(1, Arc::clone(&early)), (2, early)]);
}

#[test]
fn of_two_targets_of_one_event_one_has_the_turn_on_every_store() {
    let disk = Disk::default();
    let store = disk.open(WINDOW);
    of_two_targets_of_one_event_one_has_the_turn(&mut InMemory { disk, store });
    of_two_targets_of_one_event_one_has_the_turn(&mut OnSqlite::new());
}

/// What somebody ended stays so, whatever its output still says of it; but for what arrived, and for what was asked for again since.
fn what_is_ended_is_not_held_again(bench: &mut dyn Bench) {
    let (now, target) = (Timestamp(START), samples::target("a", "x"));
    let append = Append { event: samples::event(1, "1", now), plan: samples::plan(&[&target]), dedupe: None };
    bench.store().commit(&Batch { appends: vec![append], at: now, ..Batch::default() }).unwrap();
    let mut settle = |state: State, replays: u32, detail: &str| {
        let settled = samples::settled(1, &target, state, now);
        let row = DeliveryRow { replays, detail: detail.into(), due_at: Some(now), ..settled.row };
        let settlements = vec![Settlement { row, closes: true, ..settled }];
        bench.store().commit(&Batch { settlements, ..Batch::default() }).unwrap();
        let stands = [State::Waiting, State::Held, State::Dead, State::Delivered].into_iter().find(|state| {
            let counted = bench.reads().counts().unwrap();
            let [count] = &counted[..] else { return *state == State::Delivered };
            match state {
                State::Waiting => count.waiting > 0,
                State::Held => count.held > 0,
                State::Dead => count.dead > 0,
                State::Delivered => true,
            }
        });
        stands.unwrap()
    };
    assert_eq!(settle(State::Held, 0, "held"), State::Held);
    assert_eq!(settle(State::Dead, 0, "ended"), State::Dead);
    assert_eq!(settle(State::Held, 0, "late"), State::Dead);
    assert_eq!(settle(State::Waiting, 0, "late"), State::Dead);
    assert_eq!(settle(State::Waiting, 1, "asked for again"), State::Waiting);
    assert_eq!(settle(State::Dead, 1, "ended"), State::Dead);
    assert_eq!(settle(State::Delivered, 1, "arrived"), State::Delivered);
    assert_eq!(settle(State::Held, 1, "late"), State::Delivered);
}

#[test]
fn what_is_ended_is_not_held_again_on_every_store() {
    let disk = Disk::default();
    let store = disk.open(WINDOW);
    what_is_ended_is_not_held_again(&mut InMemory { disk, store });
    what_is_ended_is_not_held_again(&mut OnSqlite::new());
}

/// What is dead and still to be given to its `on_dead` stays, whatever its age; given once, it goes with its time.
fn what_is_to_be_passed_on_is_not_swept(bench: &mut dyn Bench) {
    let now = Timestamp(START);
    let (target, fallback) = (samples::target("a", "x"), Arc::new(samples::target("a", "x").on_dead(&"y".into())));
    let appends = vec![Append { event: samples::event(1, "1", now), plan: samples::plan(&[&target]), dedupe: None }];
    let dead = Settlement { on_dead: true, ..samples::settled(1, &target, State::Dead, now) };
    let batch = Batch { appends, settlements: vec![dead.clone()], at: now, watermark: Some(Seq(2)) };
    bench.store().commit(&batch).unwrap();
    let long_after = now + WINDOW * 1_000;
    let retain = Retain { delivered: WINDOW, dead: WINDOW, max_bytes: None };
    assert_eq!(bench.store().sweep(retain, long_after, Seq(0)).unwrap().deleted, 0);
    let listed = bench.reads().on_dead(9).unwrap();
    assert_eq!(listed.iter().map(|dead| &dead.key).collect::<Vec<_>>(), [&dead.row.key]);
    assert_eq!(bench.reads().why_dead(Seq(1), &target).unwrap().as_deref(), Some("200"));
    let mut pass_on =
        |plan: Plan| bench.store().operate(&Operation::PassOn(vec![(dead.row.key.clone(), plan)]), now, Mark::default()).unwrap().changed;
    assert_eq!((pass_on(samples::plan(&[&fallback])), pass_on(samples::plan(&[&fallback]))), (1, 0), "once");
    assert_eq!(bench.reads().on_dead(9).unwrap(), []);
    let waiting: Vec<_> = all_waiting(bench.reads(), "y", false, now).into_iter().map(|(_, (_, row))| row.key.target).collect();
    assert_eq!(waiting, [Arc::clone(&fallback)]);
    let settlements = vec![samples::settled(1, &fallback, State::Delivered, now)];
    bench.store().commit(&Batch { settlements, at: now, ..Batch::default() }).unwrap();
    assert_eq!(bench.store().sweep(retain, long_after, Seq(0)).unwrap().deleted, 1);
}

#[test]
fn what_is_to_be_passed_on_is_not_swept_on_every_store() {
    let disk = Disk::default();
    let store = disk.open(WINDOW);
    what_is_to_be_passed_on_is_not_swept(&mut InMemory { disk, store });
    what_is_to_be_passed_on_is_not_swept(&mut OnSqlite::new());
}
