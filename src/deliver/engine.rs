//! One output's deliveries: which goes next, when, and what is written of each. A state machine without async.
//!
//! Does: hears what happened ([`Input`]) and, at each [`Input::Turn`], says what to do ([`Action`]).
//! Never: reads a clock, does I/O, spawns, iterates over anything unordered, looks into a payload.
//! Holds: L3 one engine an output, nothing shared. L4 nothing is sent without a token. L1 (its half): every delivery it
//! was given is in memory with an open plan, or has a row, until a final row is durable. Rows late: a delivery that
//! succeeds at once costs one row. Proven by `laws.rs`.

use super::breaker::{Allows, Breaker, BreakerState, WasDown};
use super::limiter::{Asks, Limiter, Token};
use super::reading::{Ask, Reading};
use super::retry;
use super::section::{OnUnknown, Policy};
use super::turns::Turns;
use super::words::{Action, Counts, Decision, Input, Moment, New, Page, Ticket, Verdict};
use crate::model::{DeliveryKey, HeldUntil, Instant, Outcome, RateKey, State, Timestamp};
use std::collections::{BTreeMap, VecDeque};
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
pub const WRITE_MAX: usize = 256;
/// Rows asked for at once.
pub const PAGE_MAX: usize = 256;
/// With fewer deliveries than this in the queue, more are read back.
const LOW_WATER: usize = 512;
/// One that is to come later stays in memory if fewer than this wait there and it is due within [`KEEP_FOR`]; else it is read back when due.
const KEEP_MAX: usize = 256;
const KEEP_FOR: Duration = Duration::from_mins(1);
/// The same for one whose key has no token: longer, and it gets a row, or a crash would forget that it stands before others.
const KEEP_PACED_FOR: Duration = Duration::from_secs(1);
/// A delivery that has waited this long without a row gets one, so that its event's plan is closed and recovery stays short.
pub const ROW_AFTER: Duration = Duration::from_secs(10);
/// How often deliveries without a row are looked through.
const ROW_LOOK: Duration = Duration::from_secs(1);
/// The wait before what failed at the journal is tried again.
pub(super) const JOURNAL_WAIT: Duration = Duration::from_secs(1);
/// A delivery that brought the output down this often, or twice or three times as often, gives way to others at the next probes: it may be the cause.
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
    /// By what its limit is counted, where it is by a key.
    rate_key: Option<RateKey>,
    /// Whether it was told when to come: then it stands before those that just came.
    told: bool,
    arrived: Instant,
    due: Instant,
    /// Whether a row was written or is on its way.
    has_row: bool,
    phase: Phase,
    downs: u8,
}

impl<P> Delivery<P> {
    fn is_replay(&self) -> bool {
        self.replays > 0
    }

    /// Whether a row was written or is on its way.
    #[cfg(test)]
    pub fn has_row(&self) -> bool {
        self.has_row
    }

    fn asks(&self) -> Asks {
        match (self.is_replay(), self.told) {
            (true, _) => Asks::Replay,
            (false, true) => Asks::Told,
            (false, false) => Asks::New,
        }
    }
}

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
    turns: Turns,
    /// How many of those in the queue have no row.
    bare: usize,
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
    /// How many of the outbox must be written before rows are called back that were told to come by another limit.
    recall: Option<usize>,
    paused: bool,
    stopping: Option<bool>,
    stopped: bool,
    counts: Counts,
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
            turns: Turns::default(),
            bare: 0,
            held: BTreeMap::new(),
            calls: 0,
            unsettled: 0,
            outbox: VecDeque::new(),
            writing: 0,
            write_at: Instant(0),
            row_look_at: Instant(0),
            reading: Reading::new(now),
            recall: Some(0),
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

    /// The same, where the output was down when the daemon ended.
    #[must_use]
    pub fn after(self, was: Option<WasDown>, now: Instant) -> Self {
        match was {
            Some(was) => Engine { breaker: Breaker::was_down(was, now), ..self },
            None => self,
        }
    }

    /// The same, going on with what was counted before.
    #[must_use]
    pub fn counting(self, counts: Counts) -> Self {
        Engine { counts, ..self }
    }

    /// Takes one input. Actions come at [`Input::Turn`], but for what cannot wait for it.
    pub fn step(&mut self, at: Moment, input: Input<P>, actions: &mut Vec<Action>) {
        match input {
            Input::Turn => self.turn(at, actions),
            Input::Arrived(new) => self.enqueue(at, new),
            Input::Decided { new, decision } => self.decided(at, new, decision),
            Input::Withheld(ticket, held) => self.withheld(at, ticket, held),
            Input::Loaded(page) => self.loaded(at, page, actions),
            Input::NotLoaded => self.reading.failed(at.now),
            Input::Outcome(ticket, outcome) => self.outcome(at, ticket, outcome, true, actions),
            Input::Unheard(ticket, outcome) => self.outcome(at, ticket, outcome, false, actions),
            Input::Unsent(ticket) => self.unsent(at, ticket),
            Input::CallEnded => self.calls = self.calls.saturating_sub(1),
            Input::Written(ok) => self.written(at, ok),
            Input::Look => self.reading.look(at.now),
            Input::Pause => self.paused = true,
            Input::Resume => self.paused = false,
            Input::Reconfigure(policy) => self.reconfigure(at, policy),
            Input::Hurry => self.breaker.hurry(at.now),
            Input::Stop { park } => self.stopping = Some(park),
        }
    }

    // === what others see ===

    /// A delivery in memory.
    pub fn get(&self, ticket: Ticket) -> Option<&Delivery<P>> {
        self.deliveries.get(&ticket)
    }

    /// Deliveries in memory that are not out.
    pub fn queued(&self) -> impl Iterator<Item = (Ticket, &Delivery<P>)> {
        self.turns.tickets().filter_map(|ticket| Some((ticket, self.deliveries.get(&ticket)?)))
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
        (self.window.saturating_sub(self.deliveries.len() + self.reading.coming()), WINDOW_BYTES.saturating_sub(self.bytes))
    }

    /// Deliveries in memory that are not out.
    pub fn waiting(&self) -> usize {
        self.turns.len()
    }

    /// Those of them that have no row: the journal does not know that they wait.
    pub fn bare(&self) -> usize {
        self.bare
    }

    /// Calls that are out.
    pub fn in_flight(&self) -> u32 {
        self.calls
    }

    /// Rows that are not durable yet.
    pub fn unwritten(&self) -> usize {
        self.outbox.len()
    }

    /// When the first delivery in memory is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.turns.next_due()
    }

    /// Until when the far side asked the output, or one of its keys, to wait.
    pub fn asked_until(&self, now: Instant) -> Option<Instant> {
        self.limiter.asked_until(now)
    }

    /// Gives every delivery in memory its key anew: the file says otherwise how it is made.
    pub fn rekey(&mut self, key: impl Fn(&P) -> Option<RateKey>) {
        for delivery in self.deliveries.values_mut() {
            delivery.rate_key = key(&delivery.payload);
        }
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
            rate_key: new.rate_key,
            told: standing.told,
            arrived: at.now,
            due,
            has_row: new.row.is_some(),
            phase,
            downs: 0,
        };
        self.deliveries.insert(ticket, delivery);
        if phase == Phase::Queued {
            self.stand(ticket);
        }
        ticket
    }

    /// Puts a delivery into the queue, where it is due.
    fn stand(&mut self, ticket: Ticket) {
        if let Some(delivery) = self.deliveries.get(&ticket) {
            self.turns.insert((delivery.due, delivery.key.seq, ticket), delivery.is_replay());
            self.bare += usize::from(!delivery.has_row);
        }
    }

    fn enqueue(&mut self, at: Moment, new: New<P>) {
        self.admit(at, new, Phase::Queued);
    }

    fn decided(&mut self, at: Moment, new: New<P>, Decision { state, detail, until }: Decision) {
        let ticket = self.admit(at, new, Phase::Leaving);
        match until {
            Some(until) => self.put(ticket, state, Some(until), detail, true),
            None => self.write(at, ticket, state, detail, true),
        }
    }

    fn withheld(&mut self, at: Moment, ticket: Ticket, held: HeldUntil) {
        let Some(delivery) = self.deliveries.get_mut(&ticket) else { return };
        match delivery.phase {
            Phase::Queued => {
                self.turns.remove(&(delivery.due, delivery.key.seq, ticket), delivery.is_replay());
                self.bare -= usize::from(!delivery.has_row);
            }
            Phase::Sent { probe } => {
                self.unsettled = self.unsettled.saturating_sub(1);
                if probe {
                    self.breaker.probe_lost(at.now);
                }
            }
            Phase::Over | Phase::Leaving => return,
        }
        delivery.phase = Phase::Leaving;
        self.put(ticket, State::Held, Some(held.until), held.why, true);
    }

    fn loaded(&mut self, at: Moment, page: Page<P>, actions: &mut Vec<Action>) {
        let Some((replays, left)) = self.reading.answered() else { return };
        if !page.rows.is_empty() {
            self.reading.typical = page.rows.iter().map(|(row, _)| row.size).sum::<usize>() / page.rows.len();
        }
        let mut taken = false;
        for (row, decision) in page.rows {
            // Further results of a target have no row yet, and go with the first one: of that the answer may be out of date.
            if row.row.is_none() && !taken {
                continue;
            }
            taken = false;
            // The answer may be older than what was written of it meanwhile.
            if left.contains(&row.key) {
                self.reading.again(replays);
            } else if !self.held.contains_key(&row.key) {
                taken = true;
                match decision {
                    None => self.enqueue(at, row),
                    Some(decision) => self.decided(at, row, decision),
                }
            }
        }
        match page.more {
            Some(cursor) => self.reading.go_on(replays, cursor, at.now),
            None => self.reading.end(replays, page.next_due.map(|due| at.instant(due)), at.now),
        }
        // Arrivals need not stand behind replays.
        if !replays {
            actions.push(if page.more.is_some() { Action::Behind } else { Action::CaughtUp });
        }
    }

    /// Bucket, breaker and queue stay; where the limit is another, all begins empty, and who was told when to come by the old one is
    /// called back, once that is written.
    fn reconfigure(&mut self, at: Moment, policy: Arc<Policy>) {
        if (policy.limit, &policy.rate_key) != (self.policy.limit, &self.policy.rate_key) {
            self.limiter.reconfigure(policy.limit, at.now);
            self.recall = Some(self.outbox.len());
        }
        self.policy = policy;
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
                    self.limiter.hold(self.deliveries.get(&ticket).and_then(|delivery| delivery.rate_key), at.now + wait);
                }
                let why = after.map_or(why.clone(), |wait| format!("told to wait until {}: {why}", at.wall + wait));
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
        delivery.attempts = attempts;
        self.unsettled = self.unsettled.saturating_sub(1);
        let stays = self.tell(at.now, ticket, at.now + gap.max(least), KEEP_FOR);
        self.write(at, ticket, State::Waiting, why, !stays);
    }

    /// Tells a delivery when to come. Whether it stays in memory until then, which is `most` at most; if not, it must be written.
    fn tell(&mut self, now: Instant, ticket: Ticket, due: Instant, most: Duration) -> bool {
        let stays = due.since(now) <= most && self.turns.len() < KEEP_MAX;
        if let Some(delivery) = self.deliveries.get_mut(&ticket) {
            (delivery.due, delivery.told) = (due, true);
            delivery.phase = if stays { Phase::Queued } else { Phase::Leaving };
        }
        if stays {
            self.stand(ticket);
        }
        stays
    }

    /// An attempt that does not count: back to its place.
    fn came_back(&mut self, at: Moment, ticket: Ticket, down: bool) {
        let Some(delivery) = self.deliveries.get_mut(&ticket) else { return };
        // It had its turn: those that come now stand behind it.
        (delivery.phase, delivery.told) = (Phase::Queued, true);
        if down {
            delivery.downs = delivery.downs.saturating_add(1);
            if delivery.downs.is_multiple_of(DOWNS_MAX) {
                delivery.due = at.now;
            }
        }
        self.stand(ticket);
        self.unsettled = self.unsettled.saturating_sub(1);
    }

    fn write(&mut self, at: Moment, ticket: Ticket, state: State, detail: String, leaves: bool) {
        let due = self.deliveries.get(&ticket).filter(|_| state == State::Waiting).map(|delivery| at.timestamp(delivery.due));
        self.put(ticket, state, due, detail, leaves);
    }

    /// Puts what is to be written of a delivery behind what is there.
    fn put(&mut self, ticket: Ticket, state: State, due_at: Option<Timestamp>, detail: String, leaves: bool) {
        let Some(delivery) = self.deliveries.get_mut(&ticket) else { return };
        match state {
            State::Dead => self.counts.dead += 1,
            State::Held => self.counts.held += 1,
            State::Waiting | State::Delivered => {}
        }
        let first = !std::mem::replace(&mut delivery.has_row, true);
        self.bare -= usize::from(first && delivery.phase == Phase::Queued);
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
        self.recall = self.recall.map(|before| before.saturating_sub(count));
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
        let (replay, due) = (delivery.is_replay(), delivery.due.max(at.now));
        if self.held.remove(&delivery.key).is_some() {
            self.reading.left(delivery.key, replay, (verdict.state == State::Waiting).then_some(due));
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
            self.send(at, actions, &mut wake);
            self.read(at, actions, &mut wake);
            self.call_back(actions);
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
            // At an output that is down or paused nobody's turn comes soon, and people look for what waits in the lists.
            let soon = self.breaker.is_open() || self.paused;
            self.rows_where(at, "waits for its turn", |delivery| soon || at.now.since(delivery.arrived) >= ROW_AFTER);
        }
        if !self.turns.is_empty() {
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

    fn send(&mut self, at: Moment, actions: &mut Vec<Action>, wake: &mut Wake) {
        while !self.paused && self.unsettled < UNSETTLED_MAX {
            let Some(due) = self.next_due() else { return };
            if due > at.now {
                return wake.by(due);
            }
            let probe = match self.breaker.allows(at.now, self.policy.concurrency) {
                Allows::Calls(most) if self.calls < most => false,
                Allows::Probe => true,
                Allows::NotBefore(then) => return wake.by(then),
                Allows::Calls(_) | Allows::Nothing => return,
            };
            let mut tickets = Vec::with_capacity(1);
            let mut most = if probe { 1 } else { self.max_batch };
            while tickets.len() < most {
                match self.next_with_token(at, probe, tickets.len(), &mut most) {
                    Ok(Some(ticket)) => tickets.push(ticket),
                    Ok(None) => break,
                    Err(until) => {
                        wake.by(until);
                        break;
                    }
                }
            }
            if tickets.is_empty() {
                // Those that were due may have been told to come later.
                return self.next_due().filter(|due| *due > at.now).into_iter().for_each(|due| wake.by(due));
            }
            if probe {
                self.breaker.probe_sent();
            }
            self.calls += 1;
            actions.push(Action::Send(tickets));
        }
    }

    /// Takes the first out of line that is due and has a token (L4), if it may go with so many others; `most`, in all, becomes fewer
    /// where it has failed. One whose key has no token is told when to come, so that it keeps no other waiting.
    fn next_with_token(&mut self, at: Moment, probe: bool, with: usize, most: &mut usize) -> Result<Option<Ticket>, Instant> {
        while self.unsettled < UNSETTLED_MAX {
            let Some((place, replay)) = self.turns.next(at.now, self.policy.share) else { break };
            let ticket = place.2;
            let Some(delivery) = self.deliveries.get_mut(&ticket) else { break };
            let company = company(self.max_batch, self.policy.schedule.attempts(), delivery.attempts + u32::from(delivery.downs));
            if with >= company {
                break;
            }
            match self.limiter.take(at.now, delivery.rate_key, delivery.asks()) {
                Token::NotBefore(until) => return Err(until),
                Token::Go => {
                    *most = (*most).min(company);
                    delivery.phase = Phase::Sent { probe };
                    self.bare -= usize::from(!delivery.has_row);
                    self.turns.took(&place, replay, at.now, self.policy.share);
                    self.unsettled += 1;
                    return Ok(Some(ticket));
                }
                Token::ComeBack(then) => {
                    self.turns.remove(&place, replay);
                    self.bare -= usize::from(!delivery.has_row);
                    if !self.tell(at.now, ticket, then, KEEP_PACED_FOR) {
                        self.write(at, ticket, State::Waiting, self.policy.paced().unwrap_or_default(), true);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Calls back those that were told to come by a limit that holds no more.
    fn call_back(&mut self, actions: &mut Vec<Action>) {
        if self.recall == Some(0) {
            self.recall = None;
            actions.push(Action::Recall { but: self.policy.paced().map(line) });
        }
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
        if self.paused {
            return;
        }
        let (parcels, bytes) = self.room();
        let most = PAGE_MAX.min(parcels).min(bytes / self.reading.typical.max(1));
        // An output that is down needs no more than something to probe with.
        let enough = if self.breaker.is_open() { 1 } else { LOW_WATER };
        let wanted = [false, true].map(|replays| most > 0 && self.turns.count(replays) < enough);
        match self.reading.ask(at.now, wanted) {
            Ask::Nothing => {}
            Ask::NotBefore(then) => wake.by(then),
            Ask::Page(replays, after) => {
                self.reading.asked(replays, most);
                actions.push(Action::Load { replays, after, due_by: at.wall, most });
            }
        }
    }
}

/// The earliest moment at which something is to be done.
struct Wake(Option<Instant>);

impl Wake {
    fn by(&mut self, at: Instant) {
        self.0 = Some(self.0.map_or(at, |before| before.min(at)));
    }
}

/// How many go in one call with one that failed so often, of `most`: fewer each time and at the last attempt none, so that of a batch that
/// fails as a whole because of one, only that one ends dead.
fn company(most: usize, attempts: u32, failed: u32) -> usize {
    let halvings = most.next_power_of_two().trailing_zeros();
    let each = halvings.div_ceil(attempts.saturating_sub(1).max(1));
    most.checked_shr(each.saturating_mul(failed)).unwrap_or(0).max(1)
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
