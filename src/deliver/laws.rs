//! The laws of delivery, held against random histories on virtual time: the real engine and inbox over a journal that
//! forgets what was not committed and an output that fails in every way it can.
//!
//! After every step: L4 (rate, of the output and of each key), concurrency, due times, attempts, one probe an interval, the window, one final row.
//! After every crash: nothing is lost. At the end the output heals, and everything is over (L1).

mod pace;

use super::breaker::BreakerState;
use super::engine::{Engine, ROW_AFTER, UNSETTLED_MAX, WINDOW_PARCELS, WRITE_MAX};
use super::inbox::{Arrival, Inbox, Offered, Spilled};
use super::limiter::Limit;
use super::retry::Schedule;
use super::section::{OnUnknown, Policy};
use super::words::{Action, Decision, Input, Moment, New, Page, Standing, Ticket};
use crate::model::{Cursor, DeliveryKey, Event, EventId, Headers, Instant, Kept, Outcome, Plan, RateKey, Seq, State, Target, Timestamp};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::Rate;

/// A durable event, planned for these routes to one output.
pub(super) fn kept(seq: i64, routes: &[&str], output: &str) -> Arc<Kept> {
    let targets = routes.iter().map(|route| Arc::new(Target { route: (*route).into(), output: output.into() })).collect();
    let mut id = [7; 16];
    id[8..].copy_from_slice(&seq.to_be_bytes());
    let event = Event {
        id: EventId(id),
        source: "shop".into(),
        topic: "ORDER_PAID".into(),
        received_at: Timestamp(1_000),
        headers: Headers::default(),
        query: "".into(),
        body: bytes::Bytes::from_static(b"{}"),
        sender_id: None,
        signed_with: None,
    };
    Arc::new(Kept { seq: Seq(seq), event, plan: Plan { targets, ..Plan::default() } })
}

/// What the far side does with attempts for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Far {
    Well,
    Busy(Option<u64>),
    Down,
    Misconfigured,
    Refusing,
    Silent,
}

#[derive(Debug, Clone)]
enum Op {
    /// So many events are kept.
    Arrive(u8),
    /// The far side behaves like this from now on.
    Turn(Far),
    /// So much time passes, in milliseconds, attempts being answered as they end.
    Pass(u32),
    /// The journal's next batches fail.
    JournalFails(u8),
    Pause,
    Resume,
    /// Another limit.
    Reload(u8),
    /// Somebody asks for those again that are over: at most so many.
    Replay(u8),
    /// What is out is given up before it was sent.
    Abandon,
    /// The daemon dies and starts again.
    Crash,
}

fn op() -> impl Strategy<Value = Op> {
    let far = prop_oneof![
        3 => Just(Far::Well),
        2 => proptest::option::of(0u64..100_000).prop_map(Far::Busy),
        2 => Just(Far::Down),
        1 => Just(Far::Misconfigured),
        1 => Just(Far::Refusing),
        1 => Just(Far::Silent),
    ];
    prop_oneof![
        6 => (1u8..40).prop_map(Op::Arrive),
        4 => far.prop_map(Op::Turn),
        8 => prop_oneof![0u32..50, 0u32..5_000, 0u32..400_000].prop_map(Op::Pass),
        1 => (1u8..4).prop_map(Op::JournalFails),
        1 => Just(Op::Pause),
        2 => Just(Op::Resume),
        1 => (0u8..5).prop_map(Op::Reload),
        1 => (0u8..30).prop_map(Op::Replay),
        1 => Just(Op::Abandon),
        1 => Just(Op::Crash),
    ]
}

fn policy(rate: u8, concurrency: u32, attempts: u32, on_unknown: OnUnknown) -> Arc<Policy> {
    let limit = |count, per, burst| Limit { rate: Rate { count, per: Duration::from_millis(per) }, burst: NonZeroU32::new(burst).unwrap() };
    Arc::new(Policy {
        limit: [None, Some(limit(5, 1_000, 1)), Some(limit(40, 1_000, 7)), Some(limit(2, 1_000, 1)), Some(limit(5, 1_000, 3))]
            [rate as usize % 5],
        rate_key: (rate >= 3).then(|| format!("by {rate}").into()),
        share: 20,
        concurrency,
        timeout: Duration::from_secs(10),
        schedule: Schedule::over(attempts, Duration::from_mins(10)),
        max_wait: Duration::from_secs(90),
        on_unknown,
        order_by: None,
        digest: None,
        retry_on: vec![],
        reject: vec![],
    })
}

/// A row of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    state: State,
    due_at: Timestamp,
    attempts: u32,
    replays: u32,
    /// When it was written, and what it says.
    updated_at: Timestamp,
    detail: String,
}

/// What survives a crash.
#[derive(Debug, Default)]
struct Durable {
    events: BTreeSet<DeliveryKey>,
    rows: BTreeMap<DeliveryKey, Row>,
}

/// What was asked of the journal and is not committed yet.
enum Asked {
    Batch(Vec<(DeliveryKey, Row)>),
    Spill(DeliveryKey, Row),
}

struct Flight {
    ends: Instant,
    ticket: Ticket,
    probe: bool,
}

struct Sent {
    at: Instant,
    seq: i64,
    /// By which limit, and of which of its keys.
    limit: Option<Limit>,
    by: Option<Arc<str>>,
    key: Option<RateKey>,
}

struct World {
    at: Moment,
    policy: Arc<Policy>,
    durable: Durable,
    fails: u8,
    far: Far,
    /// One that brings the far side down each time.
    poison: Option<i64>,
    /// How the key of a delivery comes from its place, where the limit has one.
    key_of: fn(i64) -> u64,
    engine: Engine<i64>,
    inbox: Inbox,
    asked: VecDeque<Asked>,
    load: Option<(bool, Cursor, Timestamp, usize, Spilled)>,
    then: Option<Spilled>,
    flights: Vec<Flight>,
    wake_at: Option<Instant>,
    next_seq: i64,
    /// Everything the checks look at.
    sends: Vec<Sent>,
    probes: Vec<Instant>,
    finals: BTreeSet<DeliveryKey>,
    due: BTreeMap<DeliveryKey, Timestamp>,
    /// In the order in which they were written.
    delivered: Vec<DeliveryKey>,
    sends_of: BTreeMap<DeliveryKey, u32>,
    crashes: u32,
}

impl World {
    fn new(policy: Arc<Policy>) -> Self {
        let at = Moment { now: Instant(1_000_000_000), wall: Timestamp(1_700_000_000_000) };
        World {
            engine: Engine::new(Arc::clone(&policy), 1, at.now),
            at,
            policy,
            durable: Durable::default(),
            fails: 0,
            far: Far::Well,
            poison: None,
            key_of: |seq| (seq % 3) as u64,
            inbox: Inbox::new((WINDOW_PARCELS, 1 << 20)),
            asked: VecDeque::new(),
            load: None,
            then: None,
            flights: vec![],
            wake_at: None,
            next_seq: 1,
            sends: vec![],
            probes: vec![],
            finals: BTreeSet::new(),
            due: BTreeMap::new(),
            delivered: vec![],
            sends_of: BTreeMap::new(),
            crashes: 0,
        }
    }

    // === the daemon around the engine ===

    fn new_of(&self, key: DeliveryKey, row: Option<Standing>) -> New<i64> {
        New { seed: key.seq.0 as u64, size: 300, rate_key: self.rate_key(key.seq.0), payload: key.seq.0, key, row }
    }

    fn rate_key(&self, seq: i64) -> Option<RateKey> {
        self.policy.rate_key.as_ref().map(|by| RateKey((self.key_of)(seq) + 100 * by.len() as u64))
    }

    fn waiting(&self, due_at: Timestamp) -> Row {
        Row { state: State::Waiting, due_at, attempts: 0, replays: 0, updated_at: self.at.wall, detail: String::new() }
    }

    fn key(seq: i64) -> (Arc<Kept>, DeliveryKey) {
        let kept = kept(seq, &["r"], "o");
        let key = DeliveryKey { seq: Seq(seq), target: Arc::clone(&kept.plan.targets[0]), ordinal: 0 };
        (kept, key)
    }

    fn offer(&mut self, seq: i64) {
        let (kept, key) = Self::key(seq);
        match self.inbox.offer(Arrival { target: Arc::clone(&key.target), kept, have: vec![] }) {
            Offered::Taken => {}
            Offered::Spill(_) => self.asked.push_back(Asked::Spill(key, self.waiting(self.at.wall))),
            Offered::Closed(_) => panic!("nobody closed it"),
        }
    }

    fn arrive(&mut self, count: u8) {
        for _ in 0..count {
            let seq = self.next_seq;
            self.next_seq += 1;
            self.durable.events.insert(Self::key(seq).1);
            self.offer(seq);
        }
        self.run();
    }

    fn step(&mut self, input: Input<i64>, actions: &mut Vec<Action>) {
        self.engine.step(self.at, input, actions);
    }

    /// Lets everything happen that needs no time.
    fn run(&mut self) {
        for round in 0.. {
            assert!(round < 100_000, "it never comes to rest");
            let mut actions = vec![];
            let (mut arrivals, mut notes) = (VecDeque::new(), VecDeque::new());
            self.inbox.take(&mut arrivals, &mut notes);
            let mut busy = !arrivals.is_empty() || !notes.is_empty();
            for _ in notes {
                self.step(Input::Look, &mut actions);
            }
            for arrival in arrivals {
                let key = DeliveryKey { seq: arrival.kept.seq, target: arrival.target, ordinal: 0 };
                self.due.insert(key.clone(), self.at.wall);
                self.step(Input::Arrived(self.new_of(key, None)), &mut actions);
            }
            busy |= self.commit(&mut actions);
            busy |= self.answer_load(&mut actions);
            self.step(Input::Turn, &mut actions);
            self.wake_at = None;
            for action in actions {
                busy |= !matches!(action, Action::WakeAt(_));
                self.act(action);
            }
            self.inbox.set_room(self.engine.room());
            self.check();
            if !busy {
                return;
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send(tickets) => tickets.into_iter().for_each(|ticket| self.sent(ticket)),
            Action::Write(count) => {
                let mut rows = vec![];
                self.engine.settlements(count, |verdict, delivery| {
                    let due_at = verdict.due_at.unwrap_or_default();
                    let (replays, detail) = (delivery.replays, verdict.detail.clone());
                    let row = Row { state: verdict.state, due_at, attempts: verdict.attempts, replays, updated_at: self.at.wall, detail };
                    rows.push((delivery.key.clone(), row));
                });
                assert_eq!(rows.len(), count);
                self.asked.push_back(Asked::Batch(rows));
            }
            Action::Load { replays, after, due_by, most } => {
                assert!(self.load.is_none(), "one at a time");
                self.load = Some((replays, after, due_by, most, self.inbox.progress()));
            }
            Action::Recall { but } => self.recall(but.as_deref()),
            Action::Behind => self.inbox.behind(),
            Action::CaughtUp => self.inbox.caught_up(self.then.take().expect("after an answer")),
            Action::WakeAt(at) => self.wake_at = Some(at),
            Action::Turned(_) => {}
            Action::Stopped => panic!("nobody stopped it"),
        }
    }

    fn sent(&mut self, ticket: Ticket) {
        let delivery = self.engine.get(ticket).expect("what is sent is in memory");
        let key = delivery.key.clone();
        assert!(self.durable.rows.get(&key).is_none_or(|row| row.state == State::Waiting), "{key:?} is over, and was sent again");
        assert!(!self.finals.contains(&key), "an outcome was heard, and it was sent again without a crash between");
        assert!(delivery.attempts < self.policy.schedule.attempts(), "more attempts than the file allows");
        assert!(!self.engine.is_paused(), "paused");
        let due = self.due.get(&key).copied().unwrap_or_default();
        // Timestamps are cut to milliseconds.
        assert!(self.at.wall >= due || due.since(self.at.wall) <= Duration::from_millis(1), "{key:?} is not due yet");
        let probe = matches!(self.engine.breaker(), BreakerState::Open { .. });
        if probe {
            self.probes.push(self.at.now);
        }
        let seq = key.seq.0;
        *self.sends_of.entry(key).or_default() += 1;
        let (limit, by, key) = (self.policy.limit, self.policy.rate_key.clone(), self.rate_key(seq));
        self.sends.push(Sent { at: self.at.now, seq, limit, by, key });
        let takes = Duration::from_millis(if self.far == Far::Silent { 10_000 } else { 20 + ticket.0 % 7 });
        self.flights.push(Flight { ends: self.at.now + takes, ticket, probe });
        assert!(self.flights.len() <= self.policy.concurrency as usize, "concurrency");
        assert!(self.flights.iter().filter(|flight| flight.probe).count() <= 1, "one probe at a time");
    }

    /// The journal commits the first thing it was asked.
    fn commit(&mut self, actions: &mut Vec<Action>) -> bool {
        let Some(asked) = self.asked.pop_front() else { return false };
        let ok = self.fails == 0;
        self.fails = self.fails.saturating_sub(1);
        match asked {
            Asked::Batch(rows) => {
                if ok {
                    for (key, row) in rows {
                        self.store(key, row);
                    }
                }
                self.step(Input::Written(ok), actions);
            }
            Asked::Spill(key, row) => {
                // A daemon whose journal cannot take a spilled row ends; here it is just taken.
                self.store(key, row);
                self.inbox.spilled();
            }
        }
        true
    }

    fn store(&mut self, key: DeliveryKey, row: Row) {
        if row.state == State::Waiting {
            self.due.insert(key.clone(), row.due_at);
        }
        if row.state == State::Delivered {
            self.delivered.push(key.clone());
        }
        let before = self.durable.rows.insert(key.clone(), row);
        assert!(before.is_none_or(|row| row.state == State::Waiting), "{key:?} was over, and was written again");
    }

    fn answer_load(&mut self, actions: &mut Vec<Action>) -> bool {
        let Some((replays, after, due_by, most, then)) = self.load.take() else { return false };
        let of_these = |row: &Row| row.state == State::Waiting && (row.replays > 0) == replays;
        let mut rows: Vec<(Cursor, &DeliveryKey, &Row)> = self
            .durable
            .rows
            .iter()
            .filter(|(_, row)| of_these(row) && row.due_at <= due_by)
            .map(|(key, row)| (Cursor { due_at: row.due_at, seq: key.seq, nth: 0 }, key, row))
            .filter(|(cursor, ..)| *cursor > after)
            .collect();
        rows.sort_by_key(|(cursor, ..)| *cursor);
        rows.truncate(most);
        let more = rows.last().map(|(cursor, ..)| *cursor).filter(|_| rows.len() >= most);
        let standing =
            |row: &Row| Standing { due_at: row.due_at, attempts: row.attempts, replays: row.replays, told: row.due_at > row.updated_at };
        let rows = rows.into_iter().map(|(_, key, row)| (self.new_of(key.clone(), Some(standing(row))), None)).collect();
        let later = self.durable.rows.values().filter(|row| of_these(row) && row.due_at > due_by).map(|row| row.due_at);
        let next_due = if more.is_none() { later.min() } else { None };
        self.then = Some(then);
        self.step(Input::Loaded(Page { rows, more, next_due }), actions);
        true
    }

    fn land(&mut self, flight: &Flight) {
        let key = self.engine.get(flight.ticket).expect("what is out is in memory").key.clone();
        let why = || "because".to_owned();
        let outcome = match self.far {
            _ if self.poison == Some(key.seq.0) => Outcome::Down { why: why(), after: None },
            Far::Well => Outcome::Delivered { detail: "200".into() },
            Far::Busy(after) => Outcome::Retry { why: why(), after: after.map(Duration::from_millis) },
            Far::Down => Outcome::Down { why: why(), after: None },
            Far::Misconfigured => Outcome::Misconfigured { why: why(), after: None },
            Far::Refusing => Outcome::Rejected { why: why() },
            Far::Silent => Outcome::Unknown { why: why() },
        };
        let before = self.engine.get(flight.ticket).map(|delivery| delivery.attempts);
        let counted = !matches!(outcome, Outcome::Down { .. } | Outcome::Misconfigured { .. });
        let over = matches!(outcome, Outcome::Delivered { .. } | Outcome::Rejected { .. });
        let mut actions = vec![];
        self.step(Input::Outcome(flight.ticket, outcome), &mut actions);
        self.step(Input::CallEnded, &mut actions);
        for action in actions {
            self.act(action);
        }
        let after = self.engine.get(flight.ticket).map(|delivery| delivery.attempts);
        assert_eq!(after, before.map(|attempts| attempts + u32::from(counted)), "an output that is down costs no attempts");
        if over {
            self.finals.insert(key);
        }
    }

    /// Time passes, and stops at everything that happens.
    fn pass(&mut self, time: Duration) {
        let end = self.at.now + time;
        self.run();
        loop {
            let lands = self.flights.iter().map(|flight| flight.ends).min();
            let next = [lands, self.wake_at].into_iter().flatten().min().filter(|next| *next <= end);
            let Some(next) = next else { return self.jump(end) };
            assert!(next > self.at.now || lands == Some(next), "it asked to be woken in the past");
            self.jump(next);
            let (over, out): (Vec<_>, Vec<_>) = std::mem::take(&mut self.flights).into_iter().partition(|flight| flight.ends <= next);
            self.flights = out;
            for flight in &over {
                self.land(flight);
            }
            self.run();
        }
    }

    fn jump(&mut self, to: Instant) {
        let before = self.at.now;
        self.at.now = to;
        // The wall clock shows whole milliseconds of the same time.
        self.at.wall = Timestamp(self.at.wall.0 + (to.0 / 1_000_000) as i64 - (before.0 / 1_000_000) as i64);
    }

    fn crash(&mut self) {
        self.crashes += 1;
        // Half of what was asked is committed, the rest never was.
        for _ in 0..self.asked.len() / 2 {
            match self.asked.pop_front() {
                Some(Asked::Batch(rows)) => rows.into_iter().for_each(|(key, row)| self.store(key, row)),
                Some(Asked::Spill(key, row)) => self.store(key, row),
                None => {}
            }
        }
        self.asked.clear();
        (self.load, self.then, self.wake_at) = (None, None, None);
        self.flights.clear();
        self.finals.clear();
        self.engine = Engine::new(Arc::clone(&self.policy), 1, self.at.now);
        self.inbox = Inbox::new((WINDOW_PARCELS, 1 << 20));
        // What the daemon does at its start: events whose plan is not closed.
        let open: Vec<i64> = self.durable.events.iter().filter(|key| !self.durable.rows.contains_key(*key)).map(|key| key.seq.0).collect();
        for seq in open {
            self.offer(seq);
        }
        self.run();
    }

    /// What was told to come by another limit is due now.
    fn recall(&mut self, but: Option<&str>) {
        let now = self.at.wall;
        for (key, row) in &mut self.durable.rows {
            let paced = row.detail.starts_with(crate::model::PACED) && Some(&*row.detail) != but;
            if row.state == State::Waiting && row.due_at > now && paced {
                (row.due_at, row.updated_at, row.detail) = (now, now, String::new());
                self.due.insert(key.clone(), now);
            }
        }
        self.step(Input::Look, &mut vec![]);
    }

    /// Somebody asks again for those that are over.
    fn replay(&mut self, most: usize) {
        let now = self.at.wall;
        let over: Vec<DeliveryKey> =
            self.durable.rows.iter().filter(|(_, row)| row.state != State::Waiting).map(|(key, _)| key.clone()).take(most).collect();
        for key in over {
            let Some(row) = self.durable.rows.get_mut(&key) else { continue };
            *row =
                Row { state: State::Waiting, due_at: now, attempts: 0, replays: row.replays + 1, updated_at: now, detail: String::new() };
            self.finals.remove(&key);
            self.due.insert(key, now);
        }
        self.step(Input::Look, &mut vec![]);
        self.run();
    }

    fn abandon(&mut self) {
        for flight in std::mem::take(&mut self.flights) {
            // It may be sent again at once, even as a probe.
            self.probes.retain(|_| !flight.probe);
            self.step(Input::Unsent(flight.ticket), &mut vec![]);
            self.step(Input::CallEnded, &mut vec![]);
        }
        self.run();
    }

    fn reload(&mut self, rate: u8) {
        let attempts = self.policy.schedule.attempts();
        self.policy = policy(rate, self.policy.concurrency, attempts, self.policy.on_unknown);
        self.reconfigure();
        self.run();
    }

    fn reconfigure(&mut self) {
        self.step(Input::Reconfigure(Arc::clone(&self.policy)), &mut vec![]);
        let mut engine = std::mem::replace(&mut self.engine, Engine::new(Arc::clone(&self.policy), 1, self.at.now));
        engine.rekey(|seq| self.rate_key(*seq));
        self.engine = engine;
    }

    // === the laws that hold at every moment ===

    fn check(&self) {
        let (parcels, _) = self.engine.room();
        assert!(parcels <= WINDOW_PARCELS && self.engine.waiting() <= WINDOW_PARCELS, "L6: the window");
        assert!(self.flights.len() <= UNSETTLED_MAX);
        assert_eq!(self.engine.bare(), self.engine.queued().filter(|(_, delivery)| !delivery.has_row()).count());
    }

    /// L4 over the whole history: windows within one limit, of the output or of one key, whatever restarts and reloads came.
    fn check_rates(&self) {
        for (first, from) in self.sends.iter().enumerate() {
            let Some(limit) = from.limit else { continue };
            let mut count = 0;
            for to in self.sends[first..].iter().take_while(|to| (to.limit, &to.by) == (from.limit, &from.by)) {
                if to.key != from.key {
                    continue;
                }
                count += 1;
                let window = to.at.since(from.at).as_secs_f64();
                let most = window * f64::from(limit.rate.count) / limit.rate.per.as_secs_f64() + f64::from(limit.burst.get());
                assert!(f64::from(count) <= most + 1e-6, "L4: {count} in {window} s of {limit:?} with {:?}", from.key);
            }
        }
    }

    /// A second at least between probes, over crashes apart.
    fn check_probes(&self) {
        if self.crashes == 0 {
            for pair in self.probes.windows(2) {
                assert!(pair[1].since(pair[0]) >= Duration::from_secs(1), "probes {pair:?}");
            }
        }
    }

    /// L1: the far side heals, and everything is over.
    fn heal(&mut self) {
        self.far = Far::Well;
        self.fails = 0;
        self.step(Input::Resume, &mut vec![]);
        self.pass(Duration::from_hours(2));
        let open: Vec<_> =
            self.durable.events.iter().filter(|key| self.durable.rows.get(*key).is_none_or(|row| row.state == State::Waiting)).collect();
        assert!(open.is_empty(), "L1: {} of {} deliveries never ended: {:?}", open.len(), self.durable.events.len(), open.first());
        for (key, sends) in &self.sends_of {
            let most = self.policy.schedule.attempts() + self.crashes;
            let counted = self.durable.rows[key].attempts;
            assert!(counted <= most && counted <= *sends, "{key:?}: {counted} counted, {sends} sent");
        }
        assert_eq!(self.engine.waiting() + self.engine.in_flight() as usize, 0);
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Arrive(count) => self.arrive(*count),
            Op::Turn(far) => self.far = *far,
            Op::Pass(millis) => self.pass(Duration::from_millis(u64::from(*millis))),
            Op::JournalFails(times) => self.fails = *times,
            Op::Pause => self.step(Input::Pause, &mut vec![]),
            Op::Resume => self.step(Input::Resume, &mut vec![]),
            Op::Reload(rate) => self.reload(*rate),
            Op::Replay(most) => self.replay(usize::from(*most)),
            Op::Abandon => self.abandon(),
            Op::Crash => self.crash(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn the_laws_hold_through_every_history(
        ops in proptest::collection::vec(op(), 1..60),
        rate in 0u8..5, concurrency in 1u32..9, attempts in 1u32..6, hold: bool,
    ) {
        let on_unknown = if hold { OnUnknown::Hold } else { OnUnknown::Retry };
        let mut world = World::new(policy(rate, concurrency, attempts, on_unknown));
        world.run();
        for op in &ops {
            world.apply(op);
        }
        world.heal();
        world.check_rates();
        world.check_probes();
    }
}

fn world(rate: u8, concurrency: u32) -> World {
    let mut world = World::new(policy(rate, concurrency, 5, OnUnknown::Retry));
    world.run();
    world
}

#[test]
fn a_delivery_that_succeeds_at_once_costs_one_row() {
    let mut world = world(0, 8);
    world.arrive(1);
    assert!(world.durable.rows.is_empty(), "nothing is written before");
    world.pass(Duration::from_secs(1));
    let rows: Vec<_> = world.durable.rows.values().map(|row| (row.state, row.attempts)).collect();
    assert_eq!(rows, [(State::Delivered, 1)]);
}

#[test]
fn an_output_that_is_down_for_a_day_costs_no_attempts_and_catches_up() {
    let mut world = world(0, 8);
    world.far = Far::Down;
    world.arrive(100);
    world.pass(Duration::from_hours(24));
    assert!(world.sends.len() < 24 * 60 + 20, "{} probes", world.sends.len());
    world.far = Far::Well;
    world.pass(Duration::from_secs(65));
    assert_eq!(world.delivered.len(), 100);
    assert!(world.durable.rows.values().all(|row| row.attempts == 1));
}

#[test]
fn what_waits_long_gets_a_row_so_that_its_plan_is_closed() {
    let waiting = |world: &World| world.durable.rows.values().filter(|row| row.state == State::Waiting).count();
    let mut slow = world(1, 8);
    slow.arrive(200);
    slow.pass(ROW_AFTER.mul_f64(0.9));
    assert_eq!(waiting(&slow), 0);
    slow.pass(Duration::from_secs(2));
    assert!(waiting(&slow) > 0);
    // At an output that is down or paused, soon: people look for them in the lists.
    let mut paused = world(0, 8);
    paused.step(Input::Pause, &mut vec![]);
    paused.arrive(5);
    paused.pass(Duration::from_secs(2));
    assert_eq!(waiting(&paused), 5);
    let mut down = world(0, 8);
    down.far = Far::Down;
    down.arrive(5);
    down.pass(Duration::from_secs(2));
    assert_eq!(waiting(&down), 5);
}

#[test]
fn beyond_the_window_deliveries_wait_in_the_journal_and_keep_their_order() {
    let mut world = world(0, 1);
    world.step(Input::Pause, &mut vec![]);
    for _ in 0..30 {
        world.arrive(200);
    }
    assert_eq!(world.engine.waiting() + world.durable.rows.len(), 6_000);
    assert!(world.engine.waiting() <= WINDOW_PARCELS && world.durable.rows.len() >= 6_000 - WINDOW_PARCELS);
    world.step(Input::Resume, &mut vec![]);
    while world.delivered.len() < 6_100 {
        if world.delivered.len() == 3_000 {
            world.arrive(100);
        }
        world.pass(Duration::from_millis(20));
        assert!(world.at.now < Instant(3_600_000_000_000), "{} delivered", world.delivered.len());
    }
    assert!(world.delivered.is_sorted());
    assert!(world.sends_of.values().all(|sends| *sends == 1));
}

#[test]
fn a_wait_that_the_far_side_asks_for_slows_the_whole_output() {
    let mut world = world(0, 1);
    world.far = Far::Busy(Some(30_000));
    world.arrive(2);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.sends.len(), 1);
    world.pass(Duration::from_secs(28));
    assert_eq!(world.sends.len(), 1);
    world.pass(Duration::from_secs(2));
    assert!(world.sends.len() > 1);
}

#[test]
fn an_exhausted_delivery_is_dead_with_the_reason() {
    let mut world = world(0, 1);
    world.far = Far::Busy(None);
    world.arrive(1);
    world.pass(Duration::from_hours(1));
    let rows: Vec<_> = world.durable.rows.values().map(|row| (row.state, row.attempts)).collect();
    assert_eq!((rows, world.sends.len()), (vec![(State::Dead, 5)], 5));
}

#[test]
fn a_write_that_fails_is_done_again() {
    let mut world = world(0, 8);
    world.fails = 3;
    world.arrive(3);
    world.pass(Duration::from_secs(2));
    assert!(world.durable.rows.is_empty());
    world.pass(Duration::from_secs(5));
    assert_eq!(world.delivered.len(), 3);
    assert!(world.sends_of.values().all(|sends| *sends == 1), "written again, not sent again");
}

/// L1: the row that stood for all results becomes the first of them, so the others must be durable with it.
#[test]
fn results_of_one_target_are_never_in_two_commits() {
    let mut world = world(0, 1);
    let write = |world: &mut World, actions: &mut Vec<Action>| {
        world.step(Input::Turn, actions);
        let count = actions.drain(..).find_map(|action| if let Action::Write(count) = action { Some(count) } else { None });
        let mut written = vec![];
        world.engine.settlements(count.unwrap(), |_, delivery| written.push((delivery.key.seq.0, delivery.key.ordinal)));
        world.step(Input::Written(true), actions);
        written
    };
    // A batch ends within the second target.
    let each = WRITE_MAX as u32 * 2 / 3;
    let results = (1..=3).flat_map(|seq| (0..each).map(move |ordinal| (seq, ordinal)));
    let rows = results.clone().map(|(seq, ordinal)| {
        let row = (ordinal == 0).then(Standing::default);
        (world.new_of(DeliveryKey { ordinal, ..World::key(seq).1 }, row), Some(Decision::new(State::Waiting, "waits".to_owned())))
    });
    let rows = rows.collect::<Vec<_>>();
    let mut actions = vec![];
    world.step(Input::Look, &mut actions);
    world.step(Input::Turn, &mut actions);
    assert!(actions.drain(..).any(|action| matches!(action, Action::Load { .. })));
    world.step(Input::Loaded(Page { rows, more: None, next_due: None }), &mut actions);
    let (first, second) = (write(&mut world, &mut actions), write(&mut world, &mut actions));
    assert_eq!((first.len(), second.len()), (2 * each as usize, each as usize));
    assert!(first.into_iter().chain(second).eq(results));
}

#[test]
fn an_output_that_goes_leaves_a_row_of_everything_behind() {
    let mut world = world(0, 2);
    world.step(Input::Pause, &mut vec![]);
    world.arrive(5);
    let mut actions = vec![];
    world.step(Input::Stop { park: true }, &mut actions);
    world.step(Input::Turn, &mut actions);
    assert_eq!(actions, [Action::Write(5)]);
    world.act(Action::Write(5));
    actions.clear();
    world.commit(&mut actions);
    world.step(Input::Turn, &mut actions);
    assert_eq!(actions, [Action::Stopped]);
    assert!(world.durable.rows.len() == 5 && world.durable.rows.values().all(|row| row.state == State::Waiting));
}

#[test]
fn a_repeat_of_a_row_that_is_read_while_its_end_is_written_is_not_sent_again() {
    let mut world = world(0, 1);
    // A waiting row, read back and out.
    world.durable.events.insert(World::key(1).1);
    world.store(World::key(1).1, world.waiting(world.at.wall));
    world.step(Input::Look, &mut vec![]);
    world.run();
    assert_eq!(world.flights.len(), 1);
    let flight = world.flights.remove(0);
    // Another look goes out and reads the row as it is, then the delivery ends durably, then the answer comes.
    let mut actions = vec![];
    world.step(Input::Look, &mut actions);
    world.step(Input::Turn, &mut actions);
    assert!(actions.iter().any(|action| matches!(action, Action::Load { .. })), "{actions:?}");
    let stale = (world.new_of(World::key(1).1, Some(Standing::default())), None);
    world.jump(flight.ends);
    world.land(&flight);
    let mut actions = vec![];
    world.step(Input::Turn, &mut actions);
    actions.drain(..).for_each(|action| world.act(action));
    world.commit(&mut actions);
    world.step(Input::Loaded(Page { rows: vec![stale], more: None, next_due: None }), &mut actions);
    world.step(Input::Turn, &mut actions);
    assert!(!actions.iter().any(|action| matches!(action, Action::Send(_))), "{actions:?}");
}

#[test]
fn of_a_row_that_is_being_written_an_older_answer_brings_no_further_results_either() {
    let mut world = world(0, 1);
    let waits = || Some(Decision::new(State::Waiting, "waits".to_owned()));
    let mut actions = vec![];
    let mut page = |world: &mut World, rows| {
        actions.clear();
        world.step(Input::Look, &mut actions);
        world.step(Input::Turn, &mut actions);
        assert!(actions.iter().any(|action| matches!(action, Action::Load { .. })), "{actions:?}");
        actions.clear();
        world.step(Input::Loaded(Page { rows, more: None, next_due: None }), &mut actions);
    };
    // Outside its hours as it was read, and within them at the next look, while that is still on its way to the disk.
    let outside = Some(Decision::new(State::Held, "outside its hours".to_owned()));
    let first = vec![(world.new_of(World::key(1).1, Some(Standing::default())), outside)];
    page(&mut world, first);
    let results = (0..3).map(|ordinal| {
        let row = (ordinal == 0).then(Standing::default);
        (world.new_of(DeliveryKey { ordinal, ..World::key(1).1 }, row), waits())
    });
    let results = results.collect();
    page(&mut world, results);
    assert_eq!(world.engine.room().0, WINDOW_PARCELS - 1, "only what is being written is in memory");
}

#[test]
fn a_retry_that_waits_long_leaves_memory_and_is_sent_when_it_is_due() {
    let mut world = world(0, 1);
    world.policy = Arc::new(Policy { schedule: Schedule::verbatim(vec![Duration::from_mins(5)]), ..(*world.policy).clone() });
    let policy = Arc::clone(&world.policy);
    world.step(Input::Reconfigure(policy), &mut vec![]);
    world.far = Far::Busy(None);
    world.arrive(1);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.engine.room().0, WINDOW_PARCELS, "it holds no memory");
    world.pass(Duration::from_mins(6));
    let (first, second) = (world.sends[0].at, world.sends[1].at);
    let due = world.due.values().next().unwrap().since(Timestamp(1_700_000_000_000));
    assert!(second.since(Instant(1_000_000_000)) <= due + Duration::from_millis(2), "{:?}", second.since(first));
}

#[test]
fn rows_that_others_make_waiting_while_rows_are_read_are_found_by_the_next_look() {
    let mut world = world(0, 1);
    let mut actions = vec![];
    world.step(Input::Look, &mut actions);
    world.step(Input::Turn, &mut actions);
    assert!(matches!(actions.first(), Some(Action::Load { .. })), "{actions:?}");
    actions.clear();
    world.step(Input::Look, &mut actions);
    world.step(Input::Loaded(Page { rows: vec![], more: None, next_due: None }), &mut actions);
    world.step(Input::Turn, &mut actions);
    assert!(actions.iter().any(|action| matches!(action, Action::Load { .. })), "{actions:?}");
}
