//! A store in memory for tests and for `cargo xtask sim`: slow, plain, and it loses what was not committed. It fails when asked to.
//!
//! It is the model that `conformance` measures other stores by, so it is written to be read, with no index and no cache. No daemon
//! runs on it.

mod replay;

use super::archive::OutputCounts;
use super::replay::ReplayJob;
use super::sqlite::DUPLICATES_MAX;
use super::store::{
    Batch, CONFIG_BYTES_MAX, CONFIGS_MAX, Collected, Committed, Dead, DeliveryFilter, Depths, Fate, KeptConfig, Mark, OpenEvent, Operation,
    Reads, Recovered, Retain, Room, RowMark, Sealed, Slice, Store, StoreError, Swept, Tend, Waiting,
};
use crate::model::{
    BEHIND, COLLECTED, ConfigVersion, Cursor, Dedupe, DeliveryKey, DeliveryRow, Event, EventId, Kept, Loaded, Order, OrderKey, PACED, Plan,
    Seq, Settlement, State, Target, Timestamp, ends_dead, stands_in_line,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What survives a crash. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<Durable>>);

#[derive(Debug, Clone, Default)]
struct Durable {
    events: BTreeMap<i64, Stored>,
    /// Those that were erased: here whole, but only repeats of them are told by it.
    gone: BTreeMap<i64, Stored>,
    rows: BTreeMap<Place, (DeliveryRow, bool)>,
    /// Those that are kept in order and not let go: their key, and since when it is their turn.
    line: BTreeMap<Place, (OrderKey, Option<Timestamp>)>,
    targets: Vec<Arc<Target>>,
    watermark: i64,
    sealed: BTreeMap<Arc<str>, Sealed>,
    /// The newest last.
    configs: Vec<KeptConfig>,
    replays: BTreeMap<u64, ReplayJob>,
    /// Those that are dead where there is an `on_dead`, and whether it was given their event.
    on_dead: BTreeMap<Place, bool>,
    /// Repeats that were answered and not kept, and which event each repeats.
    duplicates: Vec<(EventId, i64)>,
    /// By output, by which limit its rows were last called back.
    recalled: BTreeMap<Arc<str>, Option<String>>,
    fault: Option<Fails>,
}

/// Event, target, ordinal.
type Place = (i64, i64, u32);

#[derive(Debug, Clone)]
struct Stored {
    event: Event,
    plan: Plan,
    dedupe: Option<Dedupe>,
}

/// How the next commit fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fails {
    /// Nothing is durable, and that is known.
    Full,
    /// Nothing is durable; nobody knows.
    Before,
    /// All of it is durable; nobody knows.
    After,
    /// The file is damaged.
    Corrupt,
}

/// A store over a [`Disk`].
#[derive(Debug)]
pub struct MemoryStore {
    disk: Disk,
    window: Duration,
}

impl Disk {
    /// Lets the next commit fail.
    pub fn fail(&self, how: Fails) {
        self.lock().fault = Some(how);
    }

    /// Opens a store on it. `window` as in `SqliteStore::open`.
    pub fn open(&self, window: Duration) -> MemoryStore {
        MemoryStore { disk: self.clone(), window }
    }

    /// Bodies of all events, in their order.
    pub fn bodies(&self) -> Vec<Vec<u8>> {
        self.lock().events.values().map(|stored| stored.event.body.to_vec()).collect()
    }

    /// Places of all events, each with its plan.
    pub fn plans(&self) -> Vec<(Seq, Plan)> {
        self.lock().events.iter().map(|(seq, stored)| (Seq(*seq), stored.plan.clone())).collect()
    }

    /// The lowest event whose plan is open; the next to come where none is.
    pub fn lowest_open(&self) -> Seq {
        let disk = self.lock();
        let open = disk.events.keys().find(|seq| disk.open(**seq) > 0);
        Seq(open.copied().unwrap_or(disk.next_seq()))
    }

    /// All rows.
    pub fn rows(&self) -> Vec<DeliveryRow> {
        self.lock().rows.values().map(|(row, _)| row.clone()).collect()
    }

    /// One row.
    pub fn row(&self, key: &DeliveryKey) -> Option<DeliveryRow> {
        let disk = self.lock();
        let target = disk.targets.iter().position(|known| *known == key.target)? as i64 + 1;
        disk.rows.get(&(key.seq.0, target, key.ordinal)).map(|(row, _)| row.clone())
    }

    /// Those that are kept in order and were not let go.
    pub fn in_line(&self) -> BTreeSet<DeliveryKey> {
        let disk = self.lock();
        disk.line.keys().filter_map(|place| disk.rows.get(place)).map(|(row, _)| row.key.clone()).collect()
    }

    /// The watermark as it was written.
    pub fn watermark(&self) -> Seq {
        Seq(self.lock().watermark.max(1))
    }

    fn lock(&self) -> MutexGuard<'_, Durable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Durable {
    fn next_seq(&self) -> i64 {
        let last = self.events.keys().last().max(self.gone.keys().last());
        last.map_or(1, |last| last + 1).max(self.watermark)
    }

    fn number(&mut self, target: &Arc<Target>) -> i64 {
        let place = self.targets.iter().position(|known| known == target).unwrap_or_else(|| {
            self.targets.push(Arc::clone(target));
            self.targets.len() - 1
        });
        place as i64 + 1
    }

    fn rows_of(&self, seq: i64) -> impl Iterator<Item = (&(i64, i64, u32), &(DeliveryRow, bool))> {
        self.rows.range((seq, 0, 0)..(seq + 1, 0, 0))
    }

    fn open(&self, seq: i64) -> u32 {
        let mut closed: Vec<i64> = self.rows_of(seq).filter(|(_, (_, closes))| *closes).map(|((_, target, _), _)| *target).collect();
        closed.dedup();
        let planned = self.events.get(&seq).map_or(0, |stored| stored.plan.targets.len());
        (planned - closed.len().min(planned)) as u32
    }

    fn seal(&mut self, key: &Arc<str>, seen: u64, bytes: &[u8]) -> Result<Slice, StoreError> {
        if self.fault.take().is_some() {
            return Err(StoreError::Full { doing: "seal", detail: "as the test asked".to_owned() });
        }
        let fits = self.sealed.get(key).map_or(0, |sealed| sealed.version) == seen;
        if fits {
            self.sealed.insert(Arc::clone(key), Sealed { version: seen + 1, bytes: bytes.to_vec() });
        }
        Ok(Slice { changed: u64::from(fits), next: None })
    }

    fn keep_config(&mut self, version: ConfigVersion, text: &Arc<str>, now: Timestamp) -> Slice {
        let changed = self.configs.last().is_none_or(|newest| newest.version != version);
        if changed {
            self.configs.retain(|kept| kept.version != version);
            self.configs.push(KeptConfig { version, since: now, text: Arc::clone(text) });
            while self.configs.len() > CONFIGS_MAX
                || self.configs.len() > 1 && self.configs.iter().map(|kept| kept.text.len()).sum::<usize>() > CONFIG_BYTES_MAX
            {
                self.configs.remove(0);
            }
        }
        Slice { changed: u64::from(changed), next: None }
    }

    fn apply(&mut self, batch: &Batch) -> Committed {
        let mut committed = Committed::default();
        for append in &batch.appends {
            let fate = match append.dedupe {
                Some(Dedupe { released: true, .. }) => self.release(append.event.id),
                dedupe => {
                    let fate = self.fate(&append.event, dedupe);
                    self.write_down(append.event.id, &fate);
                    fate
                }
            };
            if let Fate::New { seq, .. } = fate {
                append.plan.targets.iter().for_each(|target| {
                    self.number(target);
                });
                self.events.insert(
                    seq.0,
                    Stored { event: append.event.clone(), plan: Plan { collected: vec![], ..append.plan.clone() }, dedupe: append.dedupe },
                );
                // By their places in line, which are those in which targets were seen first.
                let mut born: Vec<_> =
                    append.plan.ordered.iter().map(|(place, order)| (place, &append.plan.targets[*place], order)).collect();
                born.sort_unstable_by_key(|(_, target, _)| self.number(target));
                for (place, target, order) in born {
                    let now = batch.at;
                    let wait = append.plan.collected.iter().find_map(|(collected, wait)| (collected == place).then_some(*wait));
                    let row = DeliveryRow {
                        key: DeliveryKey { seq, target: Arc::clone(target), ordinal: 0 },
                        state: State::Waiting,
                        due_at: Some(now + wait.unwrap_or_default()),
                        attempts: 0,
                        replays: 0,
                        detail: "has its turn".into(),
                        message: None,
                        updated_at: now,
                    };
                    let key = (seq.0, self.number(target), 0);
                    self.rows.insert(key, (row, true));
                    self.line_up(key, *order, now, if wait.is_some() { COLLECTED } else { BEHIND });
                }
            }
            committed.fates.push(fate);
        }
        batch.settlements.iter().for_each(|settlement| self.settle(settlement));
        if let Some(watermark) = batch.watermark {
            self.watermark = watermark.0;
        }
        committed
    }

    fn settle(&mut self, settlement: &Settlement) {
        let Settlement { row, closes, order, on_dead } = settlement;
        let key = (row.key.seq.0, self.number(&row.key.target), row.key.ordinal);
        if let Some((before, closed)) = self.rows.get_mut(&key)
            && settlement.is_late(before)
        {
            *closed |= closes;
            return;
        }
        let mut row = row.clone();
        row.due_at = match row.state {
            State::Waiting => row.due_at.or(Some(row.updated_at)),
            State::Held => row.due_at,
            State::Delivered | State::Dead => None,
        };
        let before = self.rows.get(&key).map(|(_, closed)| *closed);
        let now = row.updated_at;
        if *on_dead {
            self.on_dead.entry(key).or_insert(false);
        }
        self.rows.insert(key, (row, *closes || before.unwrap_or_default()));
        match order {
            Some(Order::Keeps(order)) if before.is_none() => self.line_up(key, *order, now, BEHIND),
            Some(Order::Frees(_)) => drop(self.free(key, now)),
            _ => {}
        }
    }

    /// Those in line with this one: of its output and key.
    fn in_line(&self, place: Place, order: OrderKey) -> impl Iterator<Item = Place> {
        let output = |place: &Place| self.rows[place].0.key.target.output.clone();
        let ours = output(&place);
        self.line.iter().filter(move |(other, (key, _))| *key == order && output(other) == ours).map(|(other, _)| *other)
    }

    fn line_up(&mut self, place: Place, order: OrderKey, now: Timestamp, behind: &str) {
        let first = !self.in_line(place, order).any(|other| other < place);
        self.line.insert(place, (order, first.then_some(now)));
        if let Some((row, _)) = self.rows.get_mut(&place).filter(|_| !first) {
            if row.state == State::Waiting {
                (row.state, row.detail) = (State::Held, behind.into());
            }
            row.due_at = None;
        }
    }

    fn free(&mut self, place: Place, now: Timestamp) -> bool {
        let Some((order, _)) = self.line.get(&place).copied() else { return false };
        let next = self.in_line(place, order).find(|other| *other != place);
        self.line.remove(&place);
        let waits = |row: &DeliveryRow| row.state == State::Held && stands_in_line(&row.detail);
        if let Some(next) = next
            && let Some((row, _)) = self.rows.get_mut(&next).filter(|(row, _)| waits(row))
        {
            let detail = "has its turn".into();
            *row = DeliveryRow { state: State::Waiting, due_at: Some(now), detail, updated_at: now, ..row.clone() };
            self.line.insert(next, (order, Some(now)));
        }
        true
    }

    /// Those that are collected behind one that has the turn.
    fn collected(&self, place: Place) -> Vec<Place> {
        let Some((order, _)) = self.line.get(&place) else { return vec![] };
        let stands =
            |other: &Place| *other > place && self.rows[other].0.state == State::Held && stands_in_line(&self.rows[other].0.detail);
        self.in_line(place, *order).filter(stands).collect()
    }

    fn gather(&mut self, output: &str, before: Timestamp, now: Timestamp) -> Slice {
        let over = |(place, (_, turn)): (&Place, &(OrderKey, Option<Timestamp>))| {
            let row = &self.rows[place].0;
            let over = turn.is_some() && *row.key.target.output == *output && [State::Delivered, State::Dead].contains(&row.state);
            over.then(|| (*place, row.clone()))
        };
        let mut changed = 0;
        for (place, digest) in self.line.iter().filter_map(over).collect::<Vec<_>>() {
            let through = digest.message.as_ref().and_then(|message| message.digest).map(|digest| digest.through);
            let along: Vec<Place> =
                self.collected(place).into_iter().filter(|other| through.is_some_and(|through| other.0 <= through)).collect();
            for other in along {
                let detail = format!("in the digest {}: {}", digest.key.id(self.events[&place.0].event.id), digest.detail);
                let Some((row, _)) = self.rows.get_mut(&other) else { continue };
                *row = DeliveryRow { state: digest.state, due_at: None, detail, updated_at: now, ..row.clone() };
                self.line.remove(&other);
                if self.on_dead.contains_key(&place) {
                    self.on_dead.entry(other).or_insert(false);
                }
                changed += 1;
            }
            if digest.updated_at < before {
                changed += u64::from(self.free(place, now));
                if let Some((row, _)) = self.rows.get_mut(&place) {
                    row.message = None;
                }
            }
        }
        Slice { changed, next: None }
    }

    /// Whether another one is before it in line.
    fn is_behind(&self, place: Place) -> bool {
        self.line.get(&place).is_some_and(|(order, _)| self.in_line(place, *order).any(|other| other < place))
    }

    fn elapse(&mut self, output: &str, by: Timestamp, except: &BTreeSet<String>, now: Timestamp) -> Slice {
        let mut changed = 0;
        for place in self.rows.keys().copied().collect::<Vec<_>>() {
            let behind = self.is_behind(place);
            let Some((row, _)) = self.rows.get_mut(&place) else { continue };
            let due = row.state == State::Held && row.due_at.is_some_and(|due| due <= by);
            if !due || *row.key.target.output != *output || except.contains(&row.detail) {
                continue;
            }
            (row.due_at, row.updated_at) = (None, now);
            if ends_dead(&row.detail) {
                row.state = State::Dead;
            } else if behind {
                row.detail = BEHIND.into();
            } else {
                *row = DeliveryRow { state: State::Waiting, due_at: Some(now), detail: "its time has come".into(), ..row.clone() };
                if let Some((_, turn)) = self.line.get_mut(&place) {
                    *turn = Some(now);
                }
            }
            changed += 1;
        }
        Slice { changed, next: None }
    }

    fn erase(&mut self, seqs: &[Seq], waiting: bool, now: Timestamp) -> Slice {
        let mut changed = 0;
        for Seq(seq) in seqs {
            let under_way = self.rows_of(*seq).any(|(_, (row, _))| matches!(row.state, State::Waiting | State::Held));
            if self.open(*seq) > 0 || under_way && !waiting {
                continue;
            }
            let Some(stored) = self.events.remove(seq) else { continue };
            let places: Vec<Place> = self.rows_of(*seq).map(|(place, _)| *place).collect();
            for place in places {
                self.free(place, now);
                self.rows.remove(&place);
                self.on_dead.remove(&place);
            }
            self.gone.insert(*seq, stored);
            self.duplicates.retain(|(_, of)| of != seq);
            changed += 1;
        }
        Slice { changed, next: None }
    }

    fn let_go(&mut self, now: Timestamp, which: impl Fn(&DeliveryRow, Timestamp) -> bool) -> Slice {
        let turns = self.line.iter().filter_map(|(place, (_, turn))| Some((*place, (*turn)?)));
        let stuck: Vec<Place> = turns.filter(|(place, turn)| which(&self.rows[place].0, *turn)).map(|(place, _)| place).collect();
        let changed = stuck.into_iter().filter(|place| self.free(*place, now)).count() as u64;
        Slice { changed, next: None }
    }

    /// A repeat that is on the list is taken off it and becomes an event.
    fn release(&mut self, id: EventId) -> Fate {
        let before = self.duplicates.len();
        self.duplicates.retain(|(duplicate, _)| *duplicate != id);
        if self.duplicates.len() < before { Fate::New { seq: Seq(self.next_seq()), reused_id: false } } else { Fate::Duplicate { of: id } }
    }

    /// Of a repeat whose event is still there.
    fn write_down(&mut self, id: EventId, fate: &Fate) {
        let Fate::Duplicate { of } = fate else { return };
        let place = self.events.iter().find(|(_, stored)| stored.event.id == *of).map(|(seq, _)| *seq);
        self.duplicates.extend(place.map(|seq| (id, seq)));
        let more = self.duplicates.len().saturating_sub(DUPLICATES_MAX as usize);
        self.duplicates.drain(..more);
    }

    fn fate(&self, event: &Event, dedupe: Option<Dedupe>) -> Fate {
        let seq = Seq(self.next_seq());
        let Some(dedupe) = dedupe else { return Fate::New { seq, reused_id: false } };
        let same = |stored: &Stored| {
            stored.dedupe.is_some()
                && stored.event.source == event.source
                && event.received_at.since(stored.event.received_at) < dedupe.window
                && match &event.sender_id {
                    Some(_) => stored.event.sender_id == event.sender_id,
                    None => stored.event.sender_id.is_none() && stored.event.topic == event.topic,
                }
        };
        let mut alike: Vec<(&i64, &Stored)> = self.events.iter().chain(&self.gone).filter(|(_, stored)| same(stored)).collect();
        alike.sort_by_key(|(seq, _)| std::cmp::Reverse(**seq));
        let same = |(seq, stored): &&(&i64, &Stored)| {
            // Of what is gone nothing but a hash of all of it is left.
            if self.gone.contains_key(*seq) { stored.event.body == event.body } else { dedupe.is_same(event, &stored.event.body) }
        };
        match alike.iter().find(same).map(|(_, stored)| stored) {
            Some(stored) => Fate::Duplicate { of: stored.event.id },
            None => Fate::New { seq, reused_id: event.sender_id.is_some() && !alike.is_empty() },
        }
    }

    /// `change` hears too whether the row stands behind another. What waits by it and stands in line has its turn.
    fn change(&mut self, now: Timestamp, mut change: impl FnMut(&mut DeliveryRow, bool) -> bool) -> Slice {
        let behind: BTreeSet<Place> = self.line.keys().copied().filter(|place| self.is_behind(*place)).collect();
        let Durable { rows, line, .. } = self;
        let mut changed = 0;
        for (place, (row, _)) in rows.iter_mut() {
            let waited = row.state == State::Waiting;
            if change(row, behind.contains(place)) {
                changed += 1;
                // Who only waits for another moment stands where it stood.
                if let Some((_, turn)) = line.get_mut(place).filter(|_| !waited && row.state == State::Waiting) {
                    turn.get_or_insert(now);
                }
            }
        }
        Slice { changed, next: None }
    }
}

impl Store for MemoryStore {
    fn commit(&mut self, batch: &Batch) -> Result<Committed, StoreError> {
        let mut disk = self.disk.lock();
        let detail = || "as the test asked".to_owned();
        let asked = batch.appends.iter().filter_map(|append| append.dedupe.map(|dedupe| dedupe.window)).max();
        self.window = self.window.max(asked.unwrap_or_default());
        match disk.fault.take() {
            None => Ok(disk.apply(batch)),
            Some(Fails::Full) => Err(StoreError::Full { doing: "commit", detail: detail() }),
            Some(Fails::Before) => Err(StoreError::Fatal { doing: "commit", detail: detail() }),
            Some(Fails::Corrupt) => Err(StoreError::Corrupt { doing: "commit", detail: detail() }),
            Some(Fails::After) => {
                disk.apply(batch);
                Err(StoreError::Fatal { doing: "commit", detail: detail() })
            }
        }
    }

    fn recover(&mut self) -> Result<Recovered, StoreError> {
        let disk = self.disk.lock();
        let watermark = disk.watermark.max(1);
        let open = disk.events.range(watermark..).map(|(seq, _)| (Seq(*seq), disk.open(*seq))).filter(|(_, open)| *open > 0);
        let mut last: BTreeMap<(&str, bool), (Option<Timestamp>, Place, Timestamp)> = BTreeMap::new();
        for (place, (row, _)) in disk.rows.iter().filter(|(_, (row, _))| row.state == State::Waiting) {
            let found = (row.due_at, *place, row.updated_at);
            let last = last.entry((&row.key.target.output, row.replays > 0)).or_insert(found);
            *last = found.max(*last);
        }
        let turns = disk.line.values().filter_map(|(_, turn)| *turn);
        let dated = last.values().map(|(.., written)| *written).chain(turns).max().unwrap_or_default();
        Ok(Recovered { watermark: Seq(watermark), last: Seq(disk.next_seq() - 1), open: open.collect(), dated })
    }

    fn depths(&mut self) -> Result<Depths, StoreError> {
        let mut depths = Depths::default();
        for (row, _) in self.disk.lock().rows.values().filter(|(row, _)| matches!(row.state, State::Waiting | State::Held)) {
            let depth = depths.entry(Arc::clone(&row.key.target.output)).or_default();
            *(if row.state == State::Held { &mut depth.held } else { &mut depth.waiting }) += 1;
        }
        Ok(depths)
    }

    fn operate(&mut self, operation: &Operation, now: Timestamp, _: Mark) -> Result<Slice, StoreError> {
        if let Operation::Seal { key, seen, sealed } = operation {
            return self.disk.lock().seal(key, *seen, sealed);
        }
        let mut disk = self.disk.lock();
        if let Operation::Recall { output, but } = operation
            && disk.recalled.insert(Arc::clone(output), but.clone()).is_some_and(|before| before == *but)
        {
            return Ok(Slice { changed: 0, next: None });
        }
        match operation {
            Operation::Overtake { output, before } => {
                let stuck = |row: &DeliveryRow, turn| {
                    let timed = row.state == State::Held && row.due_at.is_some();
                    row.key.target.output == *output && turn < *before && !timed && (row.attempts > 0 || row.state != State::Waiting)
                };
                return Ok(disk.let_go(now, stuck));
            }
            Operation::Gather { output, before } => return Ok(disk.gather(output, *before, now)),
            Operation::Elapse { output, by, except } => return Ok(disk.elapse(output, *by, except, now)),
            Operation::Replay(keys, render) => return Ok(disk.replay(keys, *render, now)),
            Operation::PlanReplays(jobs) => return Ok(disk.plan_replays(jobs)),
            Operation::FeedReplay { id, most } => return Ok(disk.feed_replay(*id, *most, now)),
            Operation::FeedMissing { id, found, at } => return Ok(disk.feed_missing(*id, found, *at, now)),
            Operation::PassOn(found) => return Ok(disk.pass_on(found, now)),
            Operation::TurnReplay { id, to } => return Ok(disk.turn_replay(*id, *to, now)),
            Operation::Purge { filter, why } => return Ok(disk.purge(filter, why, now)),
            Operation::PassBy(keys) => return Ok(disk.let_go(now, |row, _| keys.contains(&row.key))),
            Operation::Erase { seqs, waiting } => return Ok(disk.erase(seqs, *waiting, now)),
            Operation::KeepConfig { version, text } => return Ok(disk.keep_config(*version, text, now)),
            Operation::Scrub { .. } => return Ok(Slice { changed: 1, next: None }),
            _ => {}
        }
        Ok(disk.change(now, |row, behind| match operation {
            Operation::Hold { output, why } if row.key.target.output == *output && row.state == State::Waiting => {
                *row = DeliveryRow { state: State::Held, due_at: None, detail: why.clone(), updated_at: now, ..row.clone() };
                true
            }
            Operation::Unhold { output, why }
                if row.key.target.output == *output && row.state == State::Held && why.contains(&row.detail) =>
            {
                *row = if behind {
                    DeliveryRow { detail: BEHIND.into(), due_at: None, updated_at: now, ..row.clone() }
                } else {
                    DeliveryRow { state: State::Waiting, due_at: Some(now), detail: "released".into(), updated_at: now, ..row.clone() }
                };
                true
            }
            Operation::Fix { key, message } if row.key == *key && row.state == State::Waiting && row.message.is_none() => {
                row.message = Some(Arc::clone(message));
                true
            }
            Operation::Recall { output, but }
                if row.key.target.output == *output
                    && row.state == State::Waiting
                    && row.due_at > Some(now)
                    && row.detail.starts_with(PACED)
                    && Some(&row.detail) != but.as_ref() =>
            {
                let detail = "waits for its turn anew: the limit is another".to_owned();
                *row = DeliveryRow { due_at: Some(now), detail, updated_at: now, ..row.clone() };
                true
            }
            _ => false,
        }))
    }

    fn sweep(&mut self, retain: Retain, now: Timestamp, _: Seq) -> Result<Swept, StoreError> {
        let mut disk = self.disk.lock();
        let received_before = now - retain.delivered.max(self.window);
        let to_pass_on = |place: &Place| disk.on_dead.get(place) == Some(&false);
        let over = |(row, _): &(DeliveryRow, bool)| match row.state {
            State::Delivered => row.updated_at < now - retain.delivered,
            State::Dead => row.updated_at < now - retain.dead,
            State::Waiting | State::Held => false,
        };
        let past = |(seq, stored): &(&i64, &Stored)| {
            **seq < disk.watermark
                && stored.event.received_at < received_before
                && disk.open(**seq) == 0
                && disk.rows_of(**seq).all(|(place, row)| over(row) && !disk.line.contains_key(place) && !to_pass_on(place))
        };
        let gone: Vec<i64> = disk.events.iter().filter(past).map(|(seq, _)| *seq).collect();
        disk.events.retain(|seq, _| !gone.contains(seq));
        disk.duplicates.retain(|(_, of)| !gone.contains(of));
        disk.rows.retain(|(seq, ..), _| !gone.contains(seq));
        disk.on_dead.retain(|(seq, ..), _| !gone.contains(seq));
        Ok(Swept { deleted: gone.len() as u64, next: None, room: Room::Enough })
    }

    fn tend(&mut self, _: Tend) -> Result<bool, StoreError> {
        Ok(false)
    }
}

impl Reads for Disk {
    fn on_dead(&self, most: usize) -> Result<Vec<Dead>, StoreError> {
        let disk = self.lock();
        let listed = disk.on_dead.iter().filter(|(_, given)| !**given).take(most);
        let dead = listed.filter_map(|(place, _)| {
            let (key, stored) = (disk.rows.get(place)?.0.key.clone(), disk.events.get(&place.0)?);
            let kept = Kept { seq: key.seq, event: stored.event.clone(), plan: stored.plan.clone() };
            Some(Dead { key, kept: Some(Arc::new(kept)) })
        });
        Ok(dead.collect())
    }

    fn why_dead(&self, seq: Seq, target: &Target) -> Result<Option<String>, StoreError> {
        let disk = self.lock();
        let mut rows = disk.rows_of(seq.0).map(|(_, (row, _))| row);
        Ok(rows.find(|row| *row.key.target == *target && row.state == State::Dead).map(|row| row.detail.clone()))
    }

    fn configs(&self) -> Result<Vec<KeptConfig>, StoreError> {
        Ok(self.lock().configs.iter().rev().cloned().collect())
    }

    fn replays(&self) -> Result<Vec<ReplayJob>, StoreError> {
        Ok(self.lock().replays.values().rev().cloned().collect())
    }

    fn asked_again(&self, output: &str, most: u64) -> Result<u64, StoreError> {
        Ok(self.lock().asked_again(output).min(most))
    }

    fn events(&self, filter: &DeliveryFilter, after: Seq, most: usize) -> Result<(Vec<Arc<Kept>>, Option<Seq>), StoreError> {
        let disk = self.lock();
        let through = filter.through.map_or(i64::MAX, |through| through.0);
        let meant = |(seq, Stored { event, .. }): &(&i64, &Stored)| {
            **seq > after.0 && **seq <= through && filter.holds_event(&event.source, &event.topic, event.received_at)
        };
        let kept =
            |(seq, stored): (&i64, &Stored)| Arc::new(Kept { seq: Seq(*seq), event: stored.event.clone(), plan: stored.plan.clone() });
        let found: Vec<_> = disk.events.iter().filter(meant).take(most).map(kept).collect();
        let more = |last: &Seq| disk.events.range(last.0 + 1..).next().is_some_and(|(seq, _)| *seq <= through);
        let next = found.last().map(|last: &Arc<Kept>| last.seq).filter(|last| found.len() == most && more(last));
        Ok((found, next))
    }

    fn counts(&self) -> Result<Vec<OutputCounts>, StoreError> {
        let disk = self.lock();
        let mut counts: BTreeMap<Arc<str>, OutputCounts> = BTreeMap::new();
        for (row, _) in disk.rows.values() {
            let output = &row.key.target.output;
            let none = || OutputCounts { output: Arc::clone(output), waiting: 0, held: 0, dead: 0, oldest_due: None };
            let count = counts.entry(Arc::clone(output)).or_insert_with(none);
            match row.state {
                State::Waiting => {
                    count.waiting += 1;
                    count.oldest_due = [count.oldest_due, row.due_at].into_iter().flatten().min();
                }
                State::Held => count.held += 1,
                State::Dead => count.dead += 1,
                State::Delivered => {}
            }
        }
        Ok(counts.into_values().collect())
    }

    fn sealed(&self, key: &str) -> Result<Option<Sealed>, StoreError> {
        Ok(self.lock().sealed.get(key).cloned())
    }

    fn collected(&self, key: &DeliveryKey, most: usize) -> Result<Collected, StoreError> {
        let disk = self.lock();
        let place = disk.rows.iter().find(|(_, (row, _))| row.key == *key).map(|(place, _)| *place);
        let behind = place.map(|place| disk.collected(place)).unwrap_or_default();
        let kept = |place: &Place| {
            let stored = &disk.events[&place.0];
            let kept = Kept { seq: Seq(place.0), event: stored.event.clone(), plan: stored.plan.clone() };
            (Arc::new(kept), Arc::clone(&disk.rows[place].0.key.target))
        };
        let through = behind.last().map_or(key.seq, |place| Seq(place.0));
        Ok(Collected { first: behind.iter().take(most).map(kept).collect(), count: behind.len() as u64, through })
    }

    fn open_events(&self, from: Seq, to: Seq, most: usize) -> Result<Vec<OpenEvent>, StoreError> {
        let disk = self.lock();
        let open = disk.events.range(from.0..=to.0).filter(|(seq, _)| disk.open(**seq) > 0).take(most);
        let event = |(seq, stored): (&i64, &Stored)| {
            let rows = disk.rows_of(*seq).map(|(_, (row, closes))| RowMark {
                target: Arc::clone(&row.key.target),
                ordinal: row.key.ordinal,
                closes: *closes,
            });
            let kept = Kept { seq: Seq(*seq), event: stored.event.clone(), plan: stored.plan.clone() };
            OpenEvent { kept: Arc::new(kept), rows: rows.collect(), damaged: false }
        };
        Ok(open.map(event).collect())
    }

    fn waiting(&self, output: &str, replays: bool, after: Cursor, due_by: Timestamp, most: usize) -> Result<Vec<Waiting>, StoreError> {
        let disk = self.lock();
        let mut found = vec![];
        for ((seq, target, ordinal), (row, _)) in &disk.rows {
            let Some((due_at, stored)) = row.due_at.zip(disk.events.get(seq)) else { continue };
            let cursor = Cursor { due_at, seq: Seq(*seq), nth: target << 32 | i64::from(*ordinal) };
            let meant = row.state == State::Waiting && &*row.key.target.output == output && (row.replays > 0) == replays;
            if meant && due_at <= due_by && cursor > after {
                let kept = Arc::new(Kept { seq: Seq(*seq), event: stored.event.clone(), plan: stored.plan.clone() });
                found.push(Waiting { cursor, loaded: Loaded { kept, row: row.clone() }, damaged: false });
            }
        }
        found.sort_by_key(|waiting| waiting.cursor);
        found.truncate(most);
        Ok(found)
    }

    fn next_due(&self, output: &str, replays: bool, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let later = self.waiting(output, replays, Cursor::default(), Timestamp(i64::MAX), usize::MAX)?;
        Ok(later.into_iter().map(|waiting| waiting.cursor.due_at).find(|due_at| *due_at > after))
    }
}

/// Things that tests of this room put in.
#[cfg(test)]
pub mod samples {
    use super::*;
    use crate::journal::store::DeliveryFilter;
    use crate::model::{EventId, Headers};

    /// An event of source `shop` whose id carries the time.
    pub fn event(nth: u64, body: &str, at: Timestamp) -> Event {
        let mut headers = Headers::default();
        headers.push("content-type", b"application/json");
        Event {
            id: id(nth, at),
            source: "shop".into(),
            topic: "ORDER_PAID".into(),
            received_at: at,
            headers,
            query: "a=1".into(),
            body: body.to_owned().into(),
            sender_id: None,
            signed_with: None,
        }
    }

    /// An id of version 7 with this time.
    pub fn id(nth: u64, at: Timestamp) -> EventId {
        let mut id = [0; 16];
        id[..6].copy_from_slice(&at.0.to_be_bytes()[2..]);
        id[6] = 0x70;
        id[8..].copy_from_slice(&nth.to_be_bytes());
        EventId(id)
    }

    /// A target by its route and output.
    pub fn target(route: &str, output: &str) -> Arc<Target> {
        Arc::new(Target { route: route.into(), output: output.into() })
    }

    /// A plan of these targets.
    pub fn plan(targets: &[&Arc<Target>]) -> Plan {
        Plan { targets: targets.iter().map(|target| Arc::clone(target)).collect(), ..Plan::default() }
    }

    /// The first row of a target's only delivery.
    pub fn settled(seq: i64, target: &Arc<Target>, state: State, at: Timestamp) -> Settlement {
        let key = DeliveryKey { seq: Seq(seq), target: Arc::clone(target), ordinal: 0 };
        let due_at = (state == State::Waiting).then_some(at);
        let row = DeliveryRow { key, state, due_at, attempts: 1, replays: 0, detail: "200".into(), message: None, updated_at: at };
        Settlement { row, closes: true, order: None, on_dead: false }
    }

    /// What tests compare of a waiting delivery.
    pub type Shown = (Arc<Kept>, DeliveryRow);

    /// A filter that restricts nothing.
    pub fn all() -> DeliveryFilter {
        DeliveryFilter::default()
    }
}
