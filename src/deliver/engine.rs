//! One output's deliveries: which goes next, when, and what is written of each. A state machine without async.
//!
//! Does: hears what happened ([`Input`]) and, at each [`Input::Turn`], says what to do ([`Action`]).
//! Never: reads a clock, does I/O, spawns, iterates over anything unordered, looks into a payload.
//! Holds: L3 one engine an output, nothing shared. L4 nothing is sent without a token. L1 (its half): every delivery it
//! was given is in memory with an open plan, or has a row, until a final row is durable. Rows late: a delivery that
//! succeeds at once costs one row. Proven by `laws.rs`.

use super::breaker::{Allows, Breaker, BreakerState};
use super::limiter::Limiter;
use super::retry;
use super::section::{OnUnknown, Policy};
use super::words::{Action, Counts, Input, Moment, New, ReadBack, Ticket, Verdict};
use crate::model::{Cursor, DeliveryKey, Instant, Outcome, Seq, State};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Deliveries of one output in memory; beyond it arrivals become waiting rows and come back in order (L6). About a second of a
/// busy machine's intake: with less, a burst that an output would soon catch up with is written, read back and written
/// again. Fewer in tests, which go beyond it.
pub const WINDOW_PARCELS: usize = if cfg!(test) { 4_096 } else { 32_768 };
/// Bytes of one output's deliveries in memory; beyond it as beyond [`WINDOW_PARCELS`]. One page read back may stand over it.
pub const WINDOW_BYTES: usize = 64 << 20;
/// Sent deliveries whose outcome is not durable yet; beyond it nothing new is sent.
pub const UNSETTLED_MAX: usize = 4_096;
/// Settlements handed over at once, and what else belongs to the target of the last; the rest goes with the next batch.
pub const WRITE_MAX: usize = 1_024;
/// Rows asked for at once.
pub const PAGE_MAX: usize = 256;
/// With fewer deliveries than this in the queue, more are read back.
const LOW_WATER: usize = 512;
/// A retry stays in memory if fewer than this wait there and it is due within [`KEEP_FOR`]; else it is read back when due.
const KEEP_MAX: usize = 256;
const KEEP_FOR: Duration = Duration::from_mins(1);
/// A delivery that has waited this long without a row gets one, so that its event's plan is closed and recovery stays short.
pub const ROW_AFTER: Duration = Duration::from_secs(10);
/// How often deliveries without a row are looked through.
const ROW_LOOK: Duration = Duration::from_secs(1);
/// How often the journal is asked for due rows where nothing says when; finds what others made waiting, and steps of the wall clock.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The wait before what failed at the journal is tried again.
const JOURNAL_WAIT: Duration = Duration::from_secs(1);
/// Due times remembered of deliveries that left memory; those beyond it are found by [`LOOK_EVERY`].
const AWAY_MAX: usize = 1_024;
/// A delivery that brought the output down this often gives way to others at the next probes: it may be the cause.
const DOWNS_MAX: u8 = 3;
/// Most bytes of a row's detail.
const DETAIL_MAX: usize = 512;

/// Where a delivery in memory stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// In the queue.
    Queued,
    /// Out, perhaps as the breaker's probe.
    Sent { probe: bool },
    /// Was out; its final row is on its way.
    Over,
    /// Was not out, or must wait long; leaves when its row is durable.
    Leaving,
}

/// A delivery in memory.
#[derive(Debug)]
pub struct Delivery<P> {
    /// Which.
    pub key: DeliveryKey,
    /// Counted attempts so far.
    pub attempts: u32,
    /// How often somebody asked for it again.
    pub replays: u32,
    /// What the caller keeps beside it.
    pub payload: P,
    size: usize,
    seed: u64,
    arrived: Instant,
    due: Instant,
    /// Whether a row was written or is on its way.
    has_row: bool,
    phase: Phase,
    downs: u8,
}

/// A place in the queue: by due time, then by arrival.
type Place = (Instant, Seq, Ticket);

/// The state machine of one output.
#[derive(Debug)]
pub struct Engine<P> {
    policy: Arc<Policy>,
    max_batch: usize,
    /// Most deliveries in memory.
    window: usize,
    limiter: Limiter,
    breaker: Breaker,
    next_ticket: u64,
    deliveries: BTreeMap<Ticket, Delivery<P>>,
    bytes: usize,
    queue: BTreeSet<Place>,
    /// Those whose row may be read back while they are in memory.
    held: BTreeMap<DeliveryKey, Ticket>,
    calls: u32,
    unsettled: usize,
    outbox: VecDeque<Verdict>,
    /// How many of the outbox's first are handed over.
    writing: usize,
    write_at: Instant,
    row_look_at: Instant,
    reading: Reading,
    paused: bool,
    stopping: Option<bool>,
    stopped: bool,
    counts: Counts,
}

/// How rows are read back.
#[derive(Debug, Default)]
struct Reading {
    /// How many were asked for, while an answer is out.
    asked: Option<usize>,
    /// Whether to look again after it.
    again: bool,
    cursor: Cursor,
    at: Instant,
    /// Due times of deliveries that left memory.
    away: BTreeSet<Instant>,
    /// Those that left memory while an answer was out: it may show them as they were.
    left: BTreeSet<DeliveryKey>,
    /// Bytes of a typical row.
    typical: usize,
}

impl<P> Engine<P> {
    /// An engine with nothing in it and an empty bucket, that first looks what waits in the journal.
    pub fn new(policy: Arc<Policy>, max_batch: usize, now: Instant) -> Self {
        Engine {
            limiter: Limiter::new(policy.limit, now),
            policy,
            max_batch: max_batch.max(1),
            window: WINDOW_PARCELS,
            breaker: Breaker::default(),
            next_ticket: 0,
            deliveries: BTreeMap::new(),
            bytes: 0,
            queue: BTreeSet::new(),
            held: BTreeMap::new(),
            calls: 0,
            unsettled: 0,
            outbox: VecDeque::new(),
            writing: 0,
            write_at: Instant(0),
            row_look_at: Instant(0),
            reading: Reading { at: now, typical: 64 << 10, ..Reading::default() },
            paused: false,
            stopping: None,
            stopped: false,
            counts: Counts::default(),
        }
    }

    /// The same with room for so many deliveries instead of [`WINDOW_PARCELS`].
    #[must_use]
    pub fn within(self, window: usize) -> Self {
        Engine { window, ..self }
    }

    /// Takes one input. Actions come at [`Input::Turn`], but for what cannot wait for it.
    pub fn step(&mut self, at: Moment, input: Input<P>, actions: &mut Vec<Action>) {
        match input {
            Input::Turn => self.turn(at, actions),
            Input::Arrived(new) => self.enqueue(at, new),
            Input::Decided { new, state, detail } => self.decided(at, new, state, detail),
            Input::Loaded { rows, more } => self.loaded(at, rows, more, actions),
            Input::NotLoaded => {
                self.reading.asked = None;
                self.reading.left.clear();
                self.reading.cursor = Cursor::default();
                self.reading.at = at.now + JOURNAL_WAIT;
            }
            Input::Outcome(ticket, outcome) => self.outcome(at, ticket, outcome, true, actions),
            Input::Unheard(ticket, outcome) => self.outcome(at, ticket, outcome, false, actions),
            Input::Unsent(ticket) => self.unsent(at, ticket),
            Input::CallEnded => self.calls = self.calls.saturating_sub(1),
            Input::Written(ok) => self.written(at, ok),
            Input::Look => self.look_again(at.now),
            Input::Pause => self.paused = true,
            Input::Resume => self.paused = false,
            Input::Reconfigure(policy) => {
                self.limiter.reconfigure(policy.limit, at.now);
                self.policy = policy;
            }
            Input::Hurry => self.breaker.hurry(at.now),
            Input::Stop { park } => self.stopping = Some(park),
        }
    }

    // === what others see ===

    /// A delivery in memory.
    pub fn get(&self, ticket: Ticket) -> Option<&Delivery<P>> {
        self.deliveries.get(&ticket)
    }

    /// The first `count` of what is to be written, each with its delivery.
    pub fn settlements(&mut self, count: usize, mut each: impl FnMut(&Verdict, &mut Delivery<P>)) {
        for verdict in self.outbox.iter().take(count) {
            if let Some(delivery) = self.deliveries.get_mut(&verdict.ticket) {
                each(verdict, delivery);
            }
        }
    }

    /// Parcels and bytes that still fit into the window.
    pub fn room(&self) -> (usize, usize) {
        let coming = self.reading.asked.unwrap_or(0);
        (self.window.saturating_sub(self.deliveries.len() + coming), WINDOW_BYTES.saturating_sub(self.bytes))
    }

    /// Deliveries in memory that are not out.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Calls that are out.
    pub fn in_flight(&self) -> u32 {
        self.calls
    }

    /// When the first delivery in memory is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.queue.first().map(|(due, ..)| *due)
    }

    /// Where the breaker stands.
    pub fn breaker(&self) -> BreakerState {
        self.breaker.state()
    }

    /// When the next probe may go out; `None`: one is out, or none is needed.
    pub fn probe_at(&self) -> Option<Instant> {
        self.breaker.probe_at()
    }

    /// Whether it was told to pause.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether a delivery that is dead keeps those behind it waiting.
    pub fn dead_holds(&self) -> bool {
        self.policy.order_by.is_some_and(|order| order.skip_after.is_none())
    }

    /// How long one attempt may take.
    pub fn timeout(&self) -> Duration {
        self.policy.timeout
    }

    // === inputs ===

    fn admit(&mut self, at: Moment, new: New<P>, phase: Phase) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.bytes += new.size;
        let standing = new.row.unwrap_or_default();
        let due = new.row.map_or(at.now, |row| at.instant(row.due_at));
        if new.row.is_some() {
            self.held.insert(new.key.clone(), ticket);
        }
        let delivery = Delivery {
            key: new.key,
            attempts: standing.attempts,
            replays: standing.replays,
            payload: new.payload,
            size: new.size,
            seed: new.seed,
            arrived: at.now,
            due,
            has_row: new.row.is_some(),
            phase,
            downs: 0,
        };
        if phase == Phase::Queued {
            self.queue.insert((due, delivery.key.seq, ticket));
        }
        self.deliveries.insert(ticket, delivery);
        ticket
    }

    fn enqueue(&mut self, at: Moment, new: New<P>) {
        self.admit(at, new, Phase::Queued);
    }

    fn decided(&mut self, at: Moment, new: New<P>, state: State, detail: String) {
        let ticket = self.admit(at, new, Phase::Leaving);
        self.write(at, ticket, state, detail, true);
    }

    fn loaded(&mut self, at: Moment, rows: Vec<ReadBack<P>>, more: Option<Cursor>, actions: &mut Vec<Action>) {
        let asked = self.reading.asked.take();
        let left = std::mem::take(&mut self.reading.left);
        if asked.is_none() {
            return;
        }
        if !rows.is_empty() {
            self.reading.typical = rows.iter().map(|(row, _)| row.size).sum::<usize>() / rows.len();
        }
        for (row, decision) in rows {
            // The answer may be older than what was written of it meanwhile.
            if left.contains(&row.key) {
                self.reading.again = true;
            } else if !self.held.contains_key(&row.key) {
                match decision {
                    None => self.enqueue(at, row),
                    Some((state, detail)) => self.decided(at, row, state, detail),
                }
            }
        }
        if let Some(cursor) = more {
            self.reading.cursor = cursor;
            self.reading.at = at.now;
            actions.push(Action::Behind);
            return;
        }
        self.reading.cursor = Cursor::default();
        self.reading.at = self.reading.away.first().map_or(at.now + LOOK_EVERY, |due| (*due).min(at.now + LOOK_EVERY));
        if std::mem::take(&mut self.reading.again) {
            self.reading.at = at.now;
        }
        actions.push(Action::CaughtUp);
    }

    fn outcome(&mut self, at: Moment, ticket: Ticket, outcome: Outcome, heard: bool, actions: &mut Vec<Action>) {
        let Some(Phase::Sent { probe }) = self.deliveries.get(&ticket).map(|delivery| delivery.phase) else { return };
        let policy = Arc::clone(&self.policy);
        if heard {
            let turned = self.breaker.hear(at.now, at.wall, &outcome, probe, policy.concurrency, policy.max_wait);
            actions.extend(turned.map(Action::Turned));
        } else {
            self.breaker.hear_nothing(at.now, probe);
        }
        self.counts.hear(&outcome);
        match outcome {
            Outcome::Delivered { detail } => self.over(at, ticket, State::Delivered, detail),
            Outcome::Rejected { why } => self.over(at, ticket, State::Dead, why),
            Outcome::Retry { why, after } => {
                let after = after.map(|asked| retry::asked(asked, policy.max_wait));
                if let Some(wait) = after {
                    self.limiter.hold(at.now + wait);
                }
                self.again(at, ticket, why, after.unwrap_or_default());
            }
            Outcome::Unknown { why } => match policy.on_unknown {
                OnUnknown::Retry => self.again(at, ticket, why, Duration::ZERO),
                OnUnknown::Hold => self.over(at, ticket, State::Held, unheard(&why)),
            },
            Outcome::Down { .. } | Outcome::Misconfigured { .. } => self.came_back(at, ticket, true),
        }
    }

    fn unsent(&mut self, at: Moment, ticket: Ticket) {
        if let Some(Phase::Sent { probe }) = self.deliveries.get(&ticket).map(|delivery| delivery.phase) {
            if probe {
                self.breaker.probe_lost(at.now);
            }
            self.came_back(at, ticket, false);
        }
    }

    /// Its last attempt is over, and counted.
    fn over(&mut self, at: Moment, ticket: Ticket, state: State, detail: String) {
        if let Some(delivery) = self.deliveries.get_mut(&ticket) {
            delivery.attempts = delivery.attempts.saturating_add(1);
            delivery.phase = Phase::Over;
            self.write(at, ticket, state, detail, true);
        }
    }

    /// An attempt failed and is counted: another one later, or none.
    fn again(&mut self, at: Moment, ticket: Ticket, why: String, least: Duration) {
        let Some(delivery) = self.deliveries.get_mut(&ticket) else { return };
        let attempts = delivery.attempts.saturating_add(1);
        let Some(gap) = self.policy.schedule.after(attempts, delivery.seed) else {
            let tries = if attempts == 1 { "attempt" } else { "attempts" };
            return self.over(at, ticket, State::Dead, format!("given up after {attempts} {tries}: {why}"));
        };
        let wait = gap.max(least);
        delivery.attempts = attempts;
        delivery.due = at.now + wait;
        let stays = wait <= KEEP_FOR && self.queue.len() < KEEP_MAX;
        delivery.phase = if stays { Phase::Queued } else { Phase::Leaving };
        if stays {
            self.queue.insert((delivery.due, delivery.key.seq, ticket));
        }
        self.unsettled = self.unsettled.saturating_sub(1);
        self.write(at, ticket, State::Waiting, why, !stays);
    }

    /// An attempt that does not count: back to its place.
    fn came_back(&mut self, at: Moment, ticket: Ticket, down: bool) {
        let Some(delivery) = self.deliveries.get_mut(&ticket) else { return };
        delivery.phase = Phase::Queued;
        if down {
            delivery.downs += 1;
            if delivery.downs >= DOWNS_MAX {
                (delivery.downs, delivery.due) = (0, at.now);
            }
        }
        self.queue.insert((delivery.due, delivery.key.seq, ticket));
        self.unsettled = self.unsettled.saturating_sub(1);
    }

    /// Puts what is to be written of a delivery behind what is there.
    fn write(&mut self, at: Moment, ticket: Ticket, state: State, detail: String, leaves: bool) {
        let Some(delivery) = self.deliveries.get_mut(&ticket) else { return };
        match state {
            State::Dead => self.counts.dead += 1,
            State::Held => self.counts.held += 1,
            State::Waiting | State::Delivered => {}
        }
        let first = !std::mem::replace(&mut delivery.has_row, true);
        let due_at = (state == State::Waiting).then(|| at.timestamp(delivery.due));
        if state == State::Waiting {
            self.held.insert(delivery.key.clone(), ticket);
        }
        self.outbox.push_back(Verdict { ticket, first, state, due_at, attempts: delivery.attempts, detail: line(detail), leaves });
    }

    fn written(&mut self, at: Moment, ok: bool) {
        let count = std::mem::take(&mut self.writing);
        if !ok {
            self.write_at = at.now + JOURNAL_WAIT;
            return;
        }
        for verdict in self.outbox.drain(..count.min(self.outbox.len())).collect::<Vec<_>>() {
            if verdict.leaves {
                self.forget(at, &verdict);
            }
        }
    }

    fn forget(&mut self, at: Moment, verdict: &Verdict) {
        let Some(delivery) = self.deliveries.remove(&verdict.ticket) else { return };
        self.bytes -= delivery.size;
        if delivery.phase == Phase::Over {
            self.unsettled = self.unsettled.saturating_sub(1);
        }
        if self.held.remove(&delivery.key).is_some() && self.reading.asked.is_some() {
            self.reading.left.insert(delivery.key);
        }
        if verdict.state == State::Waiting {
            let due = delivery.due.max(at.now);
            self.reading.away.insert(due);
            if self.reading.away.len() > AWAY_MAX {
                self.reading.away.pop_last();
            }
            self.reading.at = self.reading.at.min(due);
        }
    }

    fn look_again(&mut self, now: Instant) {
        if self.reading.asked.is_some() {
            self.reading.again = true;
        } else if self.reading.cursor == Cursor::default() {
            self.reading.at = now;
        } else {
            self.reading.again = true;
        }
    }

    // === what to do ===

    fn turn(&mut self, at: Moment, actions: &mut Vec<Action>) {
        if self.stopped {
            return;
        }
        let mut wake = Wake(None);
        if self.stopping.is_none() {
            self.give_rows(at, &mut wake);
            self.send(at.now, actions, &mut wake);
            self.read(at, actions, &mut wake);
        } else if self.calls == 0 && self.stopping == Some(true) {
            self.park(at);
        }
        self.hand_over(at.now, actions, &mut wake);
        if self.stopping.is_some() && self.calls == 0 && self.outbox.is_empty() {
            self.stopped = true;
            actions.push(Action::Stopped);
        }
        actions.extend(wake.0.map(Action::WakeAt));
    }

    /// Rows for deliveries that have waited long without one.
    fn give_rows(&mut self, at: Moment, wake: &mut Wake) {
        if at.now >= self.row_look_at {
            self.row_look_at = at.now + ROW_LOOK;
            // At an output that is down nobody's turn comes soon, and people look for what waits in the lists.
            let down = self.breaker.is_open();
            self.rows_where(at, "waits for its turn", |delivery| down || at.now.since(delivery.arrived) >= ROW_AFTER);
        }
        if !self.queue.is_empty() {
            wake.by(self.row_look_at);
        }
    }

    fn park(&mut self, at: Moment) {
        self.rows_where(at, "waits", |_| true);
    }

    fn rows_where(&mut self, at: Moment, detail: &str, which: impl Fn(&Delivery<P>) -> bool) {
        let bare = |delivery: &Delivery<P>| delivery.phase == Phase::Queued && !delivery.has_row && which(delivery);
        let tickets: Vec<Ticket> = self.deliveries.iter().filter(|(_, delivery)| bare(delivery)).map(|(ticket, _)| *ticket).collect();
        for ticket in tickets {
            self.write(at, ticket, State::Waiting, detail.to_owned(), false);
        }
    }

    fn send(&mut self, now: Instant, actions: &mut Vec<Action>, wake: &mut Wake) {
        while !self.paused && self.unsettled < UNSETTLED_MAX {
            let Some(due) = self.next_due() else { return };
            if due > now {
                return wake.by(due);
            }
            let probe = match self.breaker.allows(now, self.policy.concurrency) {
                Allows::Calls(most) if self.calls < most => false,
                Allows::Probe => true,
                Allows::NotBefore(then) => return wake.by(then),
                Allows::Calls(_) | Allows::Nothing => return,
            };
            let mut tickets = Vec::with_capacity(1);
            let most = if probe { 1 } else { self.max_batch };
            while tickets.len() < most {
                match self.next_with_token(now, probe) {
                    Ok(Some(ticket)) => tickets.push(ticket),
                    Ok(None) => break,
                    Err(until) => {
                        wake.by(until);
                        break;
                    }
                }
            }
            if tickets.is_empty() {
                return;
            }
            if probe {
                self.breaker.probe_sent();
            }
            self.calls += 1;
            actions.push(Action::Send(tickets));
        }
    }

    /// Takes the first of the queue out, if it is due and there is a token for it (L4).
    fn next_with_token(&mut self, now: Instant, probe: bool) -> Result<Option<Ticket>, Instant> {
        let Some(place) = self.queue.first().copied().filter(|(due, ..)| *due <= now) else { return Ok(None) };
        if self.unsettled >= UNSETTLED_MAX {
            return Ok(None);
        }
        self.limiter.take(now)?;
        self.queue.remove(&place);
        let ticket = place.2;
        if let Some(delivery) = self.deliveries.get_mut(&ticket) {
            delivery.phase = Phase::Sent { probe };
        }
        self.unsettled += 1;
        Ok(Some(ticket))
    }

    fn hand_over(&mut self, now: Instant, actions: &mut Vec<Action>, wake: &mut Wake) {
        // One batch at a time: what comes while it is being written is the next one, and rows never overtake each other.
        if self.writing > 0 || self.outbox.is_empty() {
            return;
        }
        if now < self.write_at {
            return wake.by(self.write_at);
        }
        self.writing = self.whole_targets(WRITE_MAX);
        actions.push(Action::Write(self.writing));
    }

    /// How many of the outbox go at once: about `most`, and never a part of one target's results, or a crash between two commits
    /// would leave the row that stood for all of them without the rest (L1).
    fn whole_targets(&self, most: usize) -> usize {
        let target = |verdict: &Verdict| self.deliveries.get(&verdict.ticket).map(|delivery| (delivery.key.seq, &delivery.key.target));
        let last = most.min(self.outbox.len()).checked_sub(1).and_then(|last| target(&self.outbox[last]));
        let more = self.outbox.iter().skip(most).take_while(|verdict| target(verdict) == last);
        most.min(self.outbox.len()) + more.count()
    }

    fn read(&mut self, at: Moment, actions: &mut Vec<Action>, wake: &mut Wake) {
        if self.paused || self.reading.asked.is_some() {
            return;
        }
        if at.now < self.reading.at {
            return wake.by(self.reading.at);
        }
        let (parcels, bytes) = self.room();
        let most = PAGE_MAX.min(parcels).min(bytes / self.reading.typical.max(1));
        // An output that is down needs no more than something to probe with.
        let enough = if self.breaker.is_open() { 1 } else { LOW_WATER };
        if most == 0 || self.queue.len() >= enough {
            return;
        }
        if self.reading.cursor == Cursor::default() {
            self.reading.away.retain(|due| *due > at.now);
            self.reading.again = false;
        }
        self.reading.asked = Some(most);
        actions.push(Action::Load { after: self.reading.cursor, due_by: at.wall, most });
    }
}

/// The earliest moment at which something is to be done.
struct Wake(Option<Instant>);

impl Wake {
    fn by(&mut self, at: Instant) {
        self.0 = Some(self.0.map_or(at, |before| before.min(at)));
    }
}

/// One line of at most [`DETAIL_MAX`] bytes.
fn line(mut text: String) -> String {
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        text = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    }
    if text.len() > DETAIL_MAX {
        let mut end = DETAIL_MAX - '…'.len_utf8();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Why a delivery is held; an output may have said already that it was sent.
fn unheard(why: &str) -> String {
    format!("sent, but no answer was heard: {}", why.strip_prefix("sent, but ").unwrap_or(why))
}
