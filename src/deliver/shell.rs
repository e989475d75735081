//! The async skin of one output: one task that drives its [`Engine`], renders, calls the [`Output`], hands settlements over.
//!
//! Does: one pass at a time: hears everything that is there, turns the engine once, does what it says.
//! Never: decides when what is sent (the engine does), keeps a second queue (the inbox is the window's).
//! Holds: L3 an output that hangs, panics or is slow holds up nothing but its own calls. Proven by `shell_tests.rs`.

use super::breaker::Turned;
use super::engine::{Delivery, Engine};
use super::fleet::{Change, KeyOf};
use super::host::{Attempted, Due, Host, LoadError, OutputStatus, Shared, Wanted};
use super::inbox::{Arrival, Note, Spilled};
use super::parcel::{Payload, Rendered, arrived, parcel, read_back, settlement, unrendered};
use super::words::{Action, Decision, Input, Moment, New, Page, Ticket};
use crate::model::printable::Printable;
use crate::model::{Clock, Cursor, HeldUntil, Instant, Loaded, Order, Outcome, State, Timestamp};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, FuturesUnordered, StreamExt};
use futures_util::{FutureExt, future, stream};
use std::collections::{BTreeMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use switchyard_api::output::Word;
use switchyard_api::{Handle, Output, Period, Settle};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;

/// Renderings of one output that may be under way at once; beyond it arrivals wait, in order, within the window.
const RENDERS_MAX: usize = 16;
/// So much longer than its `timeout` an attempt may take, so that an output that keeps it has said what it knows.
const A_LITTLE: Duration = Duration::from_millis(100);

/// An attempt that is out.
#[derive(Debug)]
struct Flight {
    ticket: Ticket,
    sent: bool,
    started: Instant,
}

/// A call that is over.
struct Ended {
    first: u64,
    count: u64,
    how: How,
    generation: u64,
}

enum How {
    Returned,
    TimedOut(Duration),
    Panicked,
}

/// Rows that were read back, rendered where they were not, and when the next one is due.
type Read = Result<(Vec<(Cursor, Loaded, Option<Rendered>)>, Option<Timestamp>), LoadError>;

/// One output's task.
pub struct Worker<H: Host> {
    shared: Arc<Shared>,
    host: Arc<H>,
    clock: Arc<dyn Clock>,
    feed: broadcast::Sender<Arc<Attempted>>,
    engine: Engine<Payload>,
    key_of: Option<KeyOf>,
    actions: Vec<Action>,
    output: Arc<dyn Output>,
    /// Grows with each change of the destination; the ones before are closed once nothing is out on them.
    generation: u64,
    retired: Vec<(u64, Arc<dyn Output>)>,
    settle: Arc<Settle>,
    words: mpsc::UnboundedReceiver<Word>,
    /// Each call is a task of its own: one output may use every core, and what a call does takes no turn from the others.
    calls: JoinSet<Ended>,
    calls_of: BTreeMap<u64, usize>,
    closing: FuturesUnordered<BoxFuture<'static, ()>>,
    flights: BTreeMap<u64, Flight>,
    next_handle: u64,
    arrivals: VecDeque<Arrival>,
    arrival_bytes: usize,
    notes: VecDeque<Note>,
    renders: FuturesOrdered<BoxFuture<'static, Rendered>>,
    /// What is being rendered, in the same order.
    rendering: VecDeque<Arrival>,
    load: Option<(Spilled, usize, BoxFuture<'static, Read>)>,
    recall: Option<BoxFuture<'static, Result<u64, LoadError>>>,
    caught_up: Option<Spilled>,
    sleep: Pin<Box<tokio::time::Sleep>>,
    wake_at: Option<Instant>,
    cut_at: Option<Instant>,
    /// Whether something that was to be sent may not go now: there is more to do at once.
    withheld: bool,
    done: bool,
}

impl<H: Host> Worker<H> {
    /// A task's state, not running yet. Must be called inside a runtime.
    pub fn new(
        shared: Arc<Shared>,
        host: Arc<H>,
        clock: Arc<dyn Clock>,
        feed: broadcast::Sender<Arc<Attempted>>,
        output: Arc<dyn Output>,
        (engine, key_of): (Engine<Payload>, Option<KeyOf>),
    ) -> Self {
        let (settle, words) = Settle::channel();
        Worker {
            shared,
            host,
            clock,
            feed,
            engine,
            key_of,
            actions: vec![],
            output,
            generation: 0,
            retired: vec![],
            settle: Arc::new(settle),
            words,
            calls: JoinSet::new(),
            calls_of: BTreeMap::new(),
            closing: FuturesUnordered::new(),
            flights: BTreeMap::new(),
            next_handle: 0,
            arrivals: VecDeque::new(),
            arrival_bytes: 0,
            notes: VecDeque::new(),
            renders: FuturesOrdered::new(),
            rendering: VecDeque::new(),
            load: None,
            recall: None,
            caught_up: None,
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            wake_at: None,
            cut_at: None,
            withheld: false,
            done: false,
        }
    }

    /// Runs until told to stop.
    pub async fn run(mut self) {
        loop {
            self.turn();
            if self.done {
                break;
            }
            if !std::mem::take(&mut self.withheld) {
                future::poll_fn(|cx| self.poll_inputs(cx)).await;
            }
        }
        self.shared.inbox.close();
        while self.closing.next().await.is_some() {}
        self.output.close().await;
    }

    fn moment(&self) -> Moment {
        Moment { now: self.clock.now(), wall: self.clock.wall() }
    }

    fn hear(&mut self, input: Input<Payload>) {
        let at = self.moment();
        self.engine.step(at, input, &mut self.actions);
    }

    // === hearing ===

    /// Hears everything that is there; ready if there was anything.
    fn poll_inputs(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.inbox.register(cx.waker());
        let mut any = self.poll_inbox();
        any |= self.poll_renders(cx);
        // Calls before words: a call that ended has said its words by then.
        let mut ended = vec![];
        while let Poll::Ready(Some(call)) = self.calls.poll_join_next(cx) {
            // A call that has no result was cut: nobody waits for it. What an output does wrong is caught inside.
            ended.extend(call);
        }
        any |= self.poll_words(cx);
        any |= !ended.is_empty();
        for call in ended {
            self.ended(&call);
        }
        any |= self.poll_load(cx);
        any |= self.poll_recall(cx);
        while let Poll::Ready(Some(())) = self.closing.poll_next_unpin(cx) {}
        if self.wake_at.is_some() && self.sleep.as_mut().poll(cx).is_ready() {
            self.wake_at = None;
            any = true;
        }
        if any { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Hears every word that was said. Not by `poll_recv` alone: a task that did much in one go is told "nothing there" by it, and
    /// an attempt that had ended well would count as unknown and be sent again.
    fn poll_words(&mut self, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        loop {
            while let Ok(word) = self.words.try_recv() {
                self.word(word);
                any = true;
            }
            let Poll::Ready(Some(word)) = self.words.poll_recv(cx) else { return any };
            self.word(word);
            any = true;
        }
    }

    fn poll_inbox(&mut self) -> bool {
        let before = self.arrivals.len();
        let mut notes = std::mem::take(&mut self.notes);
        self.shared.inbox.take(&mut self.arrivals, &mut notes);
        self.arrival_bytes += self.arrivals.range(before..).map(Arrival::size).sum::<usize>();
        let any = self.arrivals.len() > before || !notes.is_empty();
        for note in notes.drain(..) {
            self.note(note);
        }
        self.notes = notes;
        any
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Written(ok) => self.hear(Input::Written(ok)),
            Note::Look => self.hear(Input::Look),
            Note::Sift => self.sift(),
            Note::Hurry => self.hear(Input::Hurry),
            Note::Pause => self.hear(Input::Pause),
            Note::Resume => self.hear(Input::Resume),
            Note::Change(change) => self.change(change),
            Note::Stop { park, grace } => self.stop(park, grace),
        }
    }

    /// Those in the queue that may not go now leave it.
    fn sift(&mut self) {
        let held = |(ticket, delivery): (Ticket, &Delivery<Payload>)| Some((ticket, self.held_until(delivery)?));
        for (ticket, held) in self.engine.queued().filter_map(held).collect::<Vec<_>>() {
            self.hear(Input::Withheld(ticket, held));
        }
    }

    fn held_until(&self, delivery: &Delivery<Payload>) -> Option<HeldUntil> {
        self.host.held_until(&delivery.payload.kept, &delivery.key.target)
    }

    fn change(&mut self, change: Change) {
        if let Some((policy, key_of)) = change.policy {
            self.hear(Input::Reconfigure(policy));
            self.engine.rekey(|payload| key_of.as_ref().map(|key_of| key_of(&payload.kept.event)));
            self.key_of = key_of;
        }
        if let Some(output) = change.output {
            let before = std::mem::replace(&mut self.output, output);
            self.retired.push((self.generation, before));
            self.generation += 1;
            self.close_retired();
            self.hear(Input::Hurry);
        }
    }

    /// Closes outputs that were replaced and have nothing out.
    fn close_retired(&mut self) {
        let idle = |generation: &u64| self.calls_of.get(generation).is_none_or(|calls| *calls == 0);
        let (idle, busy): (Vec<_>, Vec<_>) = self.retired.drain(..).partition(|(generation, _)| idle(generation));
        self.retired = busy;
        for (generation, output) in idle {
            self.calls_of.remove(&generation);
            self.closing.push(async move { output.close().await }.boxed());
        }
    }

    fn stop(&mut self, park: bool, grace: Duration) {
        self.shared.inbox.close();
        self.cut_at = Some(self.clock.now() + grace);
        self.hear(Input::Stop { park });
        if !park {
            return;
        }
        // What is not rendered yet becomes one row that is rendered when it is read back.
        self.poll_inbox();
        self.renders.clear();
        while let Some(arrival) = self.rendering.pop_back() {
            self.arrivals.push_front(arrival);
        }
        for arrival in self.unrendered() {
            let new = unrendered(&arrival);
            self.hear(Input::Decided { new, decision: Decision::new(State::Waiting, "waits".into()) });
        }
    }

    /// Takes out all that is not rendered yet and has no row.
    fn unrendered(&mut self) -> Vec<Arrival> {
        self.arrival_bytes = 0;
        self.arrivals.drain(..).filter(|arrival| arrival.have.is_empty()).collect()
    }

    /// Renders arrivals in their order.
    fn poll_renders(&mut self, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        loop {
            while let Poll::Ready(Some(rendered)) = self.renders.poll_next_unpin(cx) {
                if let Some(arrival) = self.rendering.pop_front() {
                    self.rendered(&arrival, rendered);
                }
                any = true;
            }
            if self.renders.len() >= RENDERS_MAX || self.cut_at.is_some() {
                return any;
            }
            let Some(arrival) = self.arrivals.pop_front() else { return any };
            // One of whose results some have rows is asked for each, when it is sent.
            let held = if arrival.have.is_empty() { self.host.held_until(&arrival.kept, &arrival.target) } else { None };
            if let Some(held) = held {
                self.arrival_bytes = self.arrival_bytes.saturating_sub(arrival.size());
                self.hear(Input::Decided { new: unrendered(&arrival), decision: held.into() });
                any = true;
                continue;
            }
            let (host, kept, target) = (Arc::clone(&self.host), Arc::clone(&arrival.kept), Arc::clone(&arrival.target));
            let mut render = async move { host.render(&kept, &target).await }.boxed();
            // Most need no waiting: then there is no need for a place in the line either.
            match self.renders.is_empty().then(|| render.poll_unpin(cx)) {
                Some(Poll::Ready(rendered)) => {
                    self.rendered(&arrival, rendered);
                    any = true;
                }
                _ => {
                    self.renders.push_back(render);
                    self.rendering.push_back(arrival);
                }
            }
        }
    }

    fn rendered(&mut self, arrival: &Arrival, rendered: Rendered) {
        self.arrival_bytes = self.arrival_bytes.saturating_sub(arrival.size());
        for (new, decision) in arrived(arrival, rendered) {
            self.hear(match decision {
                None => Input::Arrived(self.keyed(new)),
                Some(decision) => Input::Decided { new, decision },
            });
        }
    }

    /// With the key by which it is limited.
    fn keyed(&self, new: New<Payload>) -> New<Payload> {
        New { rate_key: self.key_of.as_ref().map(|key_of| key_of(&new.payload.kept.event)), ..new }
    }

    fn word(&mut self, word: Word) {
        match word {
            Word::Sent(Handle(handle)) => {
                crate::fail::point("sent");
                if let Some(flight) = self.flights.get_mut(&handle) {
                    flight.sent = true;
                }
            }
            Word::Settled(Handle(handle), outcome) => {
                crate::fail::point("answered_not_settled");
                if let Some(flight) = self.flights.remove(&handle) {
                    self.landed(&flight, outcome.clone());
                    self.hear(Input::Outcome(flight.ticket, outcome));
                }
            }
        }
    }

    fn landed(&mut self, flight: &Flight, outcome: Outcome) {
        if self.feed.receiver_count() > 0
            && let Some(delivery) = self.engine.get(flight.ticket)
        {
            let event = &delivery.payload.kept.event;
            // Nobody listening is no failure.
            let _ = self.feed.send(Arc::new(Attempted {
                at: self.clock.wall(),
                delivery: delivery.key.id(event.id),
                event: event.id,
                source: Arc::clone(&event.source),
                topic: Arc::clone(&event.topic),
                target: Arc::clone(&delivery.key.target),
                attempt: delivery.attempts + 1,
                replay: delivery.replays,
                took: self.clock.now().since(flight.started),
                outcome,
            }));
        }
    }

    /// A call is over: what it did not answer is tried again if it was not sent, else unknown.
    fn ended(&mut self, call: &Ended) {
        for handle in call.first..call.first + call.count {
            let Some(flight) = self.flights.remove(&handle) else { continue };
            let why = match call.how {
                How::Returned => "the output ended without saying what became of it".to_owned(),
                How::TimedOut(timeout) if flight.sent => format!("no answer within {}", Period(timeout)),
                How::TimedOut(timeout) => format!("not sent within {}", Period(timeout)),
                How::Panicked => "the output failed inside".to_owned(),
            };
            let outcome = if flight.sent { Outcome::Unknown { why } } else { Outcome::Retry { why, after: None } };
            self.landed(&flight, outcome.clone());
            self.hear(Input::Unheard(flight.ticket, outcome));
        }
        self.hear(Input::CallEnded);
        if let Some(calls) = self.calls_of.get_mut(&call.generation) {
            *calls = calls.saturating_sub(1);
        }
        if !self.retired.is_empty() {
            self.close_retired();
        }
    }

    fn poll_load(&mut self, cx: &mut Context<'_>) -> bool {
        let Some((then, most, load)) = &mut self.load else { return false };
        let Poll::Ready(page) = load.poll_unpin(cx) else { return false };
        let (then, most) = (*then, *most);
        self.load = None;
        match page {
            Ok((rows, next_due)) => {
                let more = rows.last().map(|(cursor, ..)| *cursor).filter(|_| rows.len() >= most);
                let rows = rows.into_iter().flat_map(|(_, loaded, rendered)| read_back(loaded, rendered));
                let rows = rows.map(|(new, decision)| (self.keyed(new), decision)).collect();
                self.caught_up = Some(then);
                self.hear(Input::Loaded(Page { rows, more, next_due }));
            }
            Err(error) => {
                tracing::warn!(output = %self.shared.name, "{error}; trying again");
                self.hear(Input::NotLoaded);
            }
        }
        true
    }

    fn poll_recall(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(recall) = &mut self.recall else { return false };
        let Poll::Ready(recalled) = recall.poll_unpin(cx) else { return false };
        self.recall = None;
        match recalled {
            Ok(0) => {}
            Ok(count) => {
                tracing::info!(output = %self.shared.name, count, "the limit is another one: deliveries that waited for it come anew");
                self.hear(Input::Look);
            }
            Err(error) => tracing::warn!(output = %self.shared.name, "{error}; deliveries come when the limit before said"),
        }
        true
    }

    // === doing ===

    fn turn(&mut self) {
        if self.cut_at.is_some_and(|cut_at| self.clock.now() >= cut_at) {
            self.cut();
        }
        self.hear(Input::Turn);
        let mut actions = std::mem::take(&mut self.actions);
        let mut wake_at = None;
        for action in actions.drain(..) {
            match action {
                Action::Send(tickets) => self.send(&tickets),
                Action::Write(count) => self.write(count),
                Action::Load { replays, after, due_by, most } => self.start_load(Wanted { replays, after, due_by, most }),
                Action::Recall { but } => {
                    let (host, shared) = (Arc::clone(&self.host), Arc::clone(&self.shared));
                    // One that is under way still is done as well: what was asked of the journal is done.
                    self.recall = Some(async move { host.recall(&shared.name, but).await }.boxed());
                }
                Action::Behind => self.shared.inbox.behind(),
                Action::CaughtUp => {
                    if let Some(then) = self.caught_up.take() {
                        self.shared.inbox.caught_up(then);
                    }
                }
                Action::WakeAt(at) => wake_at = Some(at),
                Action::Turned(turned) => self.turned(&turned),
                Action::Stopped => self.done = true,
            }
        }
        self.actions = actions;
        let (parcels, bytes) = self.engine.room();
        let pending = self.arrivals.len() + self.renders.len();
        self.shared.inbox.set_room((parcels.saturating_sub(pending), bytes.saturating_sub(self.arrival_bytes)));
        self.publish();
        self.wake(wake_at);
    }

    /// The grace is over: gives up what is out.
    fn cut(&mut self) {
        for _ in 0..self.calls.len() {
            self.hear(Input::CallEnded);
        }
        self.calls.abort_all();
        self.calls.detach_all();
        while let Ok(word) = self.words.try_recv() {
            self.word(word);
        }
        for (_, flight) in std::mem::take(&mut self.flights) {
            if flight.sent {
                let outcome = Outcome::Unknown { why: "stopped before an answer was heard".into() };
                self.landed(&flight, outcome.clone());
                self.hear(Input::Unheard(flight.ticket, outcome));
            } else {
                self.hear(Input::Unsent(flight.ticket));
            }
        }
        // Once is enough; whoever waits for the end bounds the writing.
        self.cut_at = Some(Instant(u64::MAX));
    }

    fn send(&mut self, tickets: &[Ticket]) {
        let started = self.clock.now();
        let first = self.next_handle;
        let (mut parcels, mut withheld) = (Vec::with_capacity(tickets.len()), vec![]);
        for &ticket in tickets {
            let Some(delivery) = self.engine.get(ticket) else { continue };
            if let Some(held) = self.held_until(delivery) {
                withheld.push((ticket, held));
                continue;
            }
            let handle = self.next_handle;
            self.next_handle += 1;
            parcels.push(parcel(handle, delivery));
            self.flights.insert(handle, Flight { ticket, sent: false, started });
        }
        self.withheld |= !withheld.is_empty();
        for (ticket, held) in withheld {
            self.hear(Input::Withheld(ticket, held));
        }
        if parcels.is_empty() {
            return self.hear(Input::CallEnded);
        }
        let (output, settle, timeout) = (Arc::clone(&self.output), Arc::clone(&self.settle), self.engine.timeout());
        let (count, generation) = (self.next_handle - first, self.generation);
        *self.calls_of.entry(generation).or_default() += 1;
        self.calls.spawn(async move {
            let call = AssertUnwindSafe(async { output.deliver(parcels, &settle).await }).catch_unwind();
            let how = match tokio::time::timeout(timeout + A_LITTLE, call).await {
                Ok(Ok(())) => How::Returned,
                Ok(Err(_)) => How::Panicked,
                Err(_) => How::TimedOut(timeout),
            };
            Ended { first, count, how, generation }
        });
    }

    fn write(&mut self, count: usize) {
        let (updated_at, dead_holds) = (self.clock.wall(), self.engine.dead_holds());
        let (mut settlements, host) = (Vec::with_capacity(count), Arc::clone(&self.host));
        self.engine.settlements(count, |verdict, delivery| {
            if verdict.state == State::Dead {
                host.died(&delivery.payload.kept.event, &delivery.key.target, &verdict.detail);
            }
            settlements.push(settlement(verdict, delivery, dead_holds, updated_at));
        });
        let frees = settlements.iter().any(|settlement| matches!(settlement.order, Some(Order::Frees(_))));
        let shared = Arc::clone(&self.shared);
        let written = move |ok| {
            shared.inbox.note(Note::Written(ok));
            if frees {
                // The same commit gave the turn to others.
                shared.inbox.note(Note::Look);
            }
        };
        self.host.settle(settlements, Box::new(written));
    }

    fn start_load(&mut self, wanted: Wanted) {
        let then = self.shared.inbox.progress();
        let (host, shared) = (Arc::clone(&self.host), Arc::clone(&self.shared));
        let page = async move {
            let Due { rows, next_due } = host.load(&shared.name, wanted).await?;
            let host = &host;
            let rendered = stream::iter(rows).map(async move |(cursor, loaded)| {
                let rendered = match loaded.row.message {
                    _ if loaded.row.state != State::Waiting => None,
                    Some(_) => None,
                    None => Some(host.render(&loaded.kept, &loaded.row.key.target).await),
                };
                (cursor, loaded, rendered)
            });
            Ok((rendered.buffered(RENDERS_MAX).collect::<Vec<_>>().await, next_due))
        };
        self.load = Some((then, wanted.most, page.boxed()));
    }

    fn turned(&self, turned: &Turned) {
        let output = &self.shared.name;
        match turned {
            Turned::Down { misconfigured: true, why } => {
                tracing::error!(%output, why = %Printable(why), "output refuses us: mend what it says (credentials, address, rights); deliveries wait, nothing is lost, and a changed file tries again at once");
            }
            Turned::Down { misconfigured: false, why } => {
                tracing::warn!(%output, why = %Printable(why), "output is down; deliveries wait for it");
            }
            Turned::Back => tracing::info!(%output, "output answers again"),
        }
    }

    fn publish(&self) {
        let at = self.moment();
        let next_due = self.engine.next_due().map(|due| at.timestamp(due));
        let unrendered = self.arrivals.len() + self.renders.len();
        let status = OutputStatus {
            waiting: self.engine.waiting() + unrendered,
            bare: self.engine.bare() + unrendered,
            in_flight: self.engine.in_flight(),
            unwritten: self.engine.unwritten(),
            next_due,
            breaker: self.engine.breaker(),
            probe_at: self.engine.probe_at().map(|probe| at.timestamp(probe)),
            asked_until: self.engine.asked_until(at.now).map(|until| at.timestamp(until)),
            keyed: self.key_of.is_some(),
            paused: self.engine.is_paused(),
            counts: self.engine.counts(),
            failed: false,
            begun_anew: self.shared.before,
        };
        *self.shared.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    fn wake(&mut self, at: Option<Instant>) {
        let at = match (at, self.cut_at.filter(|cut| cut.0 < u64::MAX)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if let Some(at) = at.filter(|_| at != self.wake_at) {
            let wait = at.since(self.clock.now());
            self.sleep.as_mut().reset(tokio::time::Instant::now() + wait);
        }
        self.wake_at = at;
    }
}
