//! The journal's store with faults: the memory store, that survives a crash, behind a seam at which the process may die, a commit may
//! find no space, or fail with nobody knowing whether it was made.

use crate::world::{Call, Entered, SimClock, World};
use std::sync::Arc;
use std::time::Duration;
use switchyard::journal::archive::OutputCounts;
use switchyard::journal::memory::{Disk, MemoryStore};
use switchyard::journal::store::{
    Batch, Collected, Committed, Dead, Depths, KeptConfig, Mark, OpenEvent, Operation, Reads, Recovered, Retain, Sealed, Slice, Store,
    StoreError, Swept, Tend, Waiting,
};
use switchyard::journal::{DeliveryFilter, ReplayJob};
use switchyard::model::{Cursor, DeliveryKey, DeliveryRow, Kept, Seq, Target, Timestamp};

/// The store of one life.
pub struct FaultyStore {
    world: Arc<World>,
    clock: Arc<SimClock>,
    disk: Disk,
    store: MemoryStore,
}

fn broken(doing: &'static str) -> StoreError {
    StoreError::Fatal { doing, detail: "as the scenario has it".to_owned() }
}

impl FaultyStore {
    /// Over the world's disk.
    pub fn open(world: &Arc<World>, clock: &Arc<SimClock>) -> Self {
        let disk = world.lock().disk.clone();
        FaultyStore { store: disk.open(Duration::from_mins(4)), disk, world: Arc::clone(world), clock: Arc::clone(clock) }
    }

    /// The effect of a call, unless the process is dead, or dies with it.
    fn call<T>(
        &mut self,
        call: Call,
        doing: &'static str,
        what: u64,
        effect: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Entered::Goes { dies_after } = self.world.enter(call, self.clock.nanos(), what) else { return Err(broken(doing)) };
        let done = effect(self);
        if dies_after {
            self.world.die();
            return Err(broken(doing));
        }
        done
    }

    fn committed(&mut self, batch: &Batch) -> Result<Committed, StoreError> {
        let now = self.clock.nanos();
        let fails = {
            let mut state = self.world.lock();
            if state.full > 0 {
                state.full -= 1;
                return Err(StoreError::Full { doing: "commit", detail: "as the scenario has it".to_owned() });
            }
            state.fails.take()
        };
        if fails == Some(false) {
            return Err(broken("commit"));
        }
        self.world.judge(|state| state.before_commit(batch));
        let before: Vec<DeliveryRow> = batch.settlements.iter().filter_map(|settlement| self.disk.row(&settlement.row.key)).collect();
        let committed = self.store.commit(batch)?;
        self.world.judge(|state| state.after_commit(batch, &before, &committed.fates, now));
        if fails.is_some() { Err(broken("commit")) } else { Ok(committed) }
    }
}

impl Store for FaultyStore {
    fn commit(&mut self, batch: &Batch) -> Result<Committed, StoreError> {
        let what = (batch.appends.len() << 32 | batch.settlements.len()) as u64;
        self.call(Call::Commit, "commit", what, |this| this.committed(batch))
    }

    fn recover(&mut self) -> Result<Recovered, StoreError> {
        self.call(Call::Recover, "recover", 0, |this| {
            let (found, now) = (this.store.recover(), this.clock.nanos());
            this.world.lock().say(now, || format!("  found: {found:?}"));
            found
        })
    }

    fn operate(&mut self, operation: &Operation, now: Timestamp, from: Mark) -> Result<Slice, StoreError> {
        self.call(Call::Operate, "operate", 0, |this| {
            let line = this.disk.in_line();
            let done = this.store.operate(operation, now, from);
            let lets_go = |operation: &Operation| {
                matches!(
                    operation,
                    Operation::Overtake { .. }
                        | Operation::PassBy(_)
                        | Operation::Elapse { .. }
                        | Operation::Purge { .. }
                        | Operation::Gather { .. }
                )
            };
            if lets_go(operation) {
                let left = this.disk.in_line();
                let rows = this.disk.rows();
                this.world.judge(|state| state.after_gather(operation, &rows));
                let mut state = this.world.lock();
                state.freed.extend(line.difference(&left).cloned());
                state.passed.extend(line.difference(&left).cloned());
            }
            if let Operation::PassOn(found) = operation {
                let plans = this.disk.plans();
                this.world.judge(|state| state.after_pass_on(found, &plans));
            }
            done
        })
    }

    fn sweep(&mut self, retain: Retain, now: Timestamp, after: Seq) -> Result<Swept, StoreError> {
        self.call(Call::Sweep, "sweep", 0, |this| {
            let rows = this.disk.rows();
            let swept = this.store.sweep(retain, now, after)?;
            if swept.deleted > 0 {
                let left: Vec<Seq> = this.disk.plans().into_iter().map(|(seq, _)| seq).collect();
                this.world.judge(|state| state.after_sweep(&rows, &left, retain, now));
            }
            Ok(swept)
        })
    }

    fn depths(&mut self) -> Result<Depths, StoreError> {
        self.store.depths()
    }

    fn tend(&mut self, why: Tend) -> Result<bool, StoreError> {
        self.store.tend(why)
    }
}

/// Reads the world's disk, over the same seam.
pub struct FaultyReads {
    world: Arc<World>,
    clock: Arc<SimClock>,
    disk: Disk,
}

impl FaultyReads {
    /// Over the world's disk.
    pub fn open(world: &Arc<World>, clock: &Arc<SimClock>) -> Self {
        FaultyReads { disk: world.lock().disk.clone(), world: Arc::clone(world), clock: Arc::clone(clock) }
    }

    fn call<T>(&self, call: Call, read: impl FnOnce(&Disk) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let Entered::Goes { dies_after } = self.world.enter(call, self.clock.nanos(), 0) else { return Err(broken("read")) };
        let found = read(&self.disk);
        if dies_after {
            self.world.die();
        }
        found
    }
}

impl Reads for FaultyReads {
    fn counts(&self) -> Result<Vec<OutputCounts>, StoreError> {
        self.call(Call::Counts, Reads::counts)
    }
    fn open_events(&self, from: Seq, to: Seq, most: usize) -> Result<Vec<OpenEvent>, StoreError> {
        self.call(Call::OpenEvents, |disk| disk.open_events(from, to, most))
    }
    fn waiting(&self, output: &str, replays: bool, after: Cursor, due_by: Timestamp, most: usize) -> Result<Vec<Waiting>, StoreError> {
        self.call(Call::Waiting, |disk| disk.waiting(output, replays, after, due_by, most))
    }
    // Read with the page before, in one go.
    fn next_due(&self, output: &str, replays: bool, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.disk.next_due(output, replays, after)
    }
    fn collected(&self, key: &DeliveryKey, most: usize) -> Result<Collected, StoreError> {
        self.disk.collected(key, most)
    }
    fn sealed(&self, key: &str) -> Result<Option<Sealed>, StoreError> {
        self.disk.sealed(key)
    }
    fn replays(&self) -> Result<Vec<ReplayJob>, StoreError> {
        self.call(Call::Replays, Reads::replays)
    }
    fn asked_again(&self, output: &str, most: u64) -> Result<u64, StoreError> {
        self.call(Call::Replays, |disk| disk.asked_again(output, most))
    }
    fn events(&self, filter: &DeliveryFilter, after: Seq, most: usize) -> Result<(Vec<Arc<Kept>>, Option<Seq>), StoreError> {
        self.call(Call::Replays, |disk| disk.events(filter, after, most))
    }
    // Asked for every second: no fault of its own, or nothing else would be met.
    fn on_dead(&self, most: usize) -> Result<Vec<Dead>, StoreError> {
        self.disk.on_dead(most)
    }
    fn configs(&self) -> Result<Vec<KeptConfig>, StoreError> {
        self.disk.configs()
    }
    fn why_dead(&self, seq: Seq, target: &Target) -> Result<Option<String>, StoreError> {
        self.disk.why_dead(seq, target)
    }
}
