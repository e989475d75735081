//! The laws, held against everything that comes by a seam, at the moment it comes by. I1 to I20 are those of decision 10, which also
//! says which of them are held elsewhere.

use crate::scenario::{Order, Output};
use crate::world::{Fact, Held, ITEMS, State, World};
use std::sync::Arc;
use std::time::Duration;
use switchyard::daemon::GONE;
use switchyard::journal::store::{Append, Batch, Fate, Operation, Retain};
use switchyard::model::{DeliveryId, DeliveryKey, DeliveryRow, Plan, Seq, State as Stands, Target, Timestamp, ends_dead};
use switchyard_api::{Outcome, Parcel};

const SECOND: u64 = 1_000_000_000;
/// Timers and what is written down are cut to milliseconds.
const CUT: u64 = 2_000_000;
/// What a repeat is recognised within.
const DEDUPE: Duration = Duration::from_mins(4);
/// What stands in the row of a delivery that somebody ended.
pub const PURGED: &str = "purged: as the scenario has it";
/// Most parts of a split text.
const PARTS: u32 = 20;
/// In peace, an output that is well gets an event so soon.
const SOON: u64 = 3 * SECOND;

impl World {
    /// Holds laws; ends the run if one is broken.
    pub fn judge(&self, laws: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        if state.dead {
            return;
        }
        laws(&mut state);
        let broken = state.broken.is_some();
        drop(state);
        if broken {
            self.died.notify_one();
        }
    }
}

impl State {
    // === the journal ===

    /// I2, I3: only deliveries that were planned are written.
    pub fn before_commit(&mut self, batch: &Batch) {
        for settlement in &batch.settlements {
            let row = &settlement.row;
            let key = &row.key;
            let Some(fact) = self.facts.get(&key.seq.0).filter(|fact| !fact.swept) else {
                return self.broke("I3", &format!("a row of an event that was never kept: {key:?}"));
            };
            if !fact.plan.targets.contains(&key.target) {
                return self.broke("I3", &format!("a row of a delivery that was never planned: {key:?}"));
            }
            let id = key.id(fact.event.id).to_string();
            let told = self.tracks.get(&id).is_some_and(|track| track.success.is_some());
            if row.state == Stands::Delivered && !told && !row.detail.starts_with("nothing") {
                return self.broke("I3", &format!("{id} is written as delivered, and its far side never said so"));
            }
            let most = self.attempts_of(&key.target);
            if row.attempts > most || row.state == Stands::Waiting && row.attempts >= most {
                return self.broke("I11", &format!("{id} is {} with {} of {most} attempts", row.state.word(), row.attempts));
            }
        }
    }

    /// The most attempts of any configuration.
    fn attempts_of(&self, target: &Target) -> u32 {
        let ours = |output: &&Output| *target.output == format!("o{}", output.far);
        self.scenario.files.iter().flat_map(|file| &file.outputs).filter(ours).map(|output| output.attempts).max().unwrap_or(0)
    }

    fn order_of(&self, target: &Target) -> Order {
        let ours = |output: &&Output| *target.output == format!("o{}", output.far);
        self.scenario.files.iter().flat_map(|file| &file.outputs).find(ours).map_or(Order::Free, |output| output.order)
    }

    /// I17: what is over or held stays so, whatever an output says later.
    fn stayed(&mut self, before: &[DeliveryRow]) {
        for before in before.iter().filter(|before| before.state != Stands::Waiting) {
            let Some(row) = self.disk.row(&before.key) else { continue };
            // An output that leaves the file finishes what is out; its rows may be held by then, or held twice.
            let held = |row: &DeliveryRow| row.state == Stands::Held && row.detail == GONE;
            let same = (row.state, &row.detail, row.updated_at) == (before.state, &before.detail, before.updated_at);
            // What was on the wire when somebody ended it may arrive: that is so, whatever was written before.
            let arrived = before.state == Stands::Dead && before.detail == PURGED && row.state == Stands::Delivered;
            if !same && !arrived && !(before.state == Stands::Held && (held(before) || held(&row))) {
                let how = format!(
                    "{:?} was {} ({}) and becomes {} ({})",
                    row.key,
                    before.state.word(),
                    before.detail,
                    row.state.word(),
                    row.detail
                );
                return self.broke("I17", &how);
            }
        }
    }

    /// I1: of a request with several events all are in one commit, in their order.
    fn came_whole(&mut self, batch: &Batch) {
        let id = |append: &Append| append.event.sender_id.as_deref().and_then(|id| id.parse::<u32>().ok());
        let ids: Vec<u32> = batch.appends.iter().filter_map(id).collect();
        let mut rest = &ids[..];
        while let Some(first) = rest.first() {
            let all = self.senders.get(&(first % ITEMS)).map(|sender| sender.ids(first % ITEMS)).unwrap_or_default();
            if all.is_empty() || !rest.starts_with(&all) {
                return self.broke("I1", &format!("of a request with the events {all:?} the commit has {rest:?}"));
            }
            rest = &rest[all.len()..];
        }
    }

    /// I12, I17, and the ledger.
    pub fn after_commit(&mut self, batch: &Batch, before: &[DeliveryRow], fates: &[Fate], now: u64) {
        self.stayed(before);
        self.came_whole(batch);
        for (append, fate) in batch.appends.iter().zip(fates) {
            let Fate::New { seq, .. } = fate else {
                self.kept.1 += 1;
                continue;
            };
            self.kept.0 += 1;
            self.say(now, || format!("  event {} is kept: {:?}", seq.0, append.event.sender_id));
            let event = append.event.clone();
            let same = |fact: &&Fact| !fact.swept && fact.event.sender_id == event.sender_id && fact.event.body == event.body;
            let near = |fact: &Fact| event.received_at.since(fact.event.received_at) < DEDUPE;
            if self.facts.values().filter(same).any(near) {
                return self.broke("I12", &format!("the sender's event {:?} was kept twice", event.sender_id));
            }
            self.places.insert(event.id.to_string(), seq.0);
            let fact = Fact { event, plan: append.plan.clone(), at: now, swept: false };
            self.facts.insert(seq.0, fact);
        }
        for settlement in &batch.settlements {
            let row = &settlement.row;
            self.say(now, || {
                let due = row.due_at.map_or_else(String::new, |due| format!(", due {due}"));
                format!("  row {:?} is {} ({}), {} attempts{due}", row.key, row.state.word(), row.detail, row.attempts)
            });
            let frees = match row.state {
                Stands::Delivered => true,
                Stands::Dead => self.order_of(&row.key.target) != Order::Hold,
                Stands::Waiting | Stands::Held => false,
            };
            let ends = row.state == Stands::Held && ends_dead(&row.detail);
            if frees || ends {
                self.freed.insert(row.key.clone());
            }
            if ends {
                // It left the line: nobody waits for what will be dead.
                self.passed.insert(row.key.clone());
            }
            if row.state == Stands::Held
                && let Some(fact) = self.facts.get(&row.key.seq.0)
                && let Some(track) = self.tracks.get_mut(&row.key.id(fact.event.id).to_string())
            {
                // What was held for a time is due when it is let go.
                track.not_before = 0;
            }
        }
    }

    /// I3: a plan grows by what is dead where there is an `on_dead`, and by nothing else.
    pub fn after_pass_on(&mut self, found: &[(DeliveryKey, Plan)], plans: &[(Seq, Plan)]) {
        for (key, _) in found {
            let Some((_, plan)) = plans.iter().find(|(seq, _)| *seq == key.seq) else { continue };
            // Somebody may have asked for it again in between.
            let tried = |target: &Target| self.disk.rows().iter().any(|row| row.key.seq == key.seq && *row.key.target == *target);
            let new = |target: &&Arc<Target>| !self.facts.get(&key.seq.0).is_some_and(|fact| fact.plan.targets.contains(target));
            let odd = plan.targets.iter().filter(new).find(|target| !target.is_on_dead_of().is_some_and(|of| tried(&of)));
            if let Some(target) = odd {
                return self.broke("I3", &format!("event {} is planned for {target} too, of which nothing was tried", key.seq.0));
            }
            if let Some(fact) = self.facts.get_mut(&key.seq.0) {
                fact.plan = plan.clone();
            }
        }
    }

    /// I3: what is over with a digest was in it.
    pub fn after_gather(&mut self, operation: &Operation, rows: &[DeliveryRow]) {
        let Operation::Gather { .. } = operation else { return };
        let told = |row: &DeliveryRow| row.detail.strip_prefix("in the digest ").and_then(|rest| rest.split(':').next()).map(str::to_owned);
        for row in rows.iter().filter(|row| row.state == Stands::Delivered) {
            let Some(digest) = told(row) else { continue };
            let track = self.tracks.get(&digest);
            let arrived = track.is_some_and(|track| track.success.is_some());
            if !arrived || track.is_none_or(|track| track.through.is_none_or(|through| row.key.seq.0 > through)) {
                return self.broke("I3", &format!("{:?} is written as delivered in the digest {digest}, and was not in it", row.key));
            }
        }
    }

    /// I1: nothing is deleted before it is over and past its time.
    pub fn after_sweep(&mut self, rows: &[DeliveryRow], left: &[Seq], retain: Retain, now: Timestamp) {
        let gone: Vec<i64> =
            self.facts.iter().filter(|(seq, fact)| !fact.swept && !left.contains(&Seq(**seq))).map(|(seq, _)| *seq).collect();
        for seq in gone {
            let ours = || rows.iter().filter(|row| row.key.seq.0 == seq);
            let fresh = |row: &DeliveryRow| {
                let kept_for = if row.state == Stands::Dead { retain.dead } else { retain.delivered };
                !matches!(row.state, Stands::Delivered | Stands::Dead) || now.since(row.updated_at) < kept_for
            };
            let Some(fact) = self.facts.get_mut(&seq) else { continue };
            fact.swept = true;
            let bare = fact.plan.targets.iter().any(|target| !ours().any(|row| row.key.target == *target));
            if bare || ours().any(fresh) {
                return self.broke("I1", &format!("event {seq} was deleted before all of it was over and past its time"));
            }
        }
    }

    // === senders ===

    /// I1: a 200 means kept. I16: nothing else is said of a proven event but 503 with Retry-After.
    pub fn answered(&mut self, id: u32, status: u16, retry_after: bool) {
        match status {
            200 => {
                let ids = self.senders.get(&id).map(|sender| sender.ids(id)).unwrap_or_default();
                let is_kept = |id: &u32| {
                    let name = id.to_string();
                    self.facts.values().any(|fact| fact.event.sender_id.as_deref() == Some(&*name))
                };
                if !ids.iter().all(is_kept) {
                    return self.broke("I1", &format!("the sender's event {id} was answered 200 and is not kept"));
                }
                if let Some(sender) = self.senders.get_mut(&id) {
                    sender.acked = true;
                }
            }
            503 if retry_after => {}
            other => self.broke("I16", &format!("the sender's event {id} was answered {other}, Retry-After: {retry_after}")),
        }
    }

    // === far sides ===

    /// I4 to I11 at the moment a call begins.
    pub fn call_begins(&mut self, far: usize, name: &str, parcels: &[Parcel], now: u64, wall: Timestamp) {
        self.whole_call(far, parcels, now);
        self.may_go(far, now, wall);
        for parcel in parcels {
            self.parcel(far, name, parcel, now, wall);
        }
        let Some(far) = self.fars.get_mut(far) else { return };
        far.calls += 1;
        // In the moment in which it was found down a call may have been on its way; where somebody hurries, it is a probe.
        let probe = far.down.is_some_and(|(at, _)| now > at || far.hurried);
        far.probing |= probe;
        for parcel in parcels {
            if let Some(track) = self.tracks.get_mut(&parcel.delivery) {
                (track.probe, track.engine, track.connection) = (probe, far.engine, far.connection);
            }
        }
    }

    fn whole_call(&mut self, far: usize, parcels: &[Parcel], now: u64) {
        let changing = now <= self.changed_at + CUT;
        let Some(output) = self.output(far).cloned() else {
            if !changing {
                self.broke("I14", &format!("o{far} left the configuration and is sent to"));
            }
            return;
        };
        let side = &self.fars[far];
        let (calls, probing, held_until) = (side.calls, side.probing, side.held.until(now));
        let down = side.down.filter(|(at, _)| now > *at && !side.hurried);
        if !changing && calls >= output.concurrency {
            self.broke("I8", &format!("o{far}: {} calls at once, at most {}", calls + 1, output.concurrency));
        }
        if now + CUT < held_until {
            self.broke("I7", &format!("o{far} asked to be left alone until {held_until} and is sent to at {now}"));
        }
        if let Some((at, misconfigured)) = down {
            let least = if misconfigured { 60 * SECOND } else { SECOND };
            if probing || parcels.len() > 1 {
                self.broke("I10", &format!("o{far} is down, and more than one probe is out"));
            } else if now + CUT < at + least {
                self.broke("I10", &format!("o{far} is down since {at}, and is probed at {now}"));
            }
        }
        if self.paused.contains(&format!("o{far}")) && !changing {
            self.broke("I10", &format!("o{far} is paused and is sent to"));
        }
    }

    /// I10: nothing goes to an output that is closed, or silenced.
    fn may_go(&mut self, far: usize, now: u64, wall: Timestamp) {
        // What was put together in the moment of a change is on its way.
        let changing = now <= self.changed_at.max(self.jumped_at) + CUT;
        if !changing && self.output(far).is_some_and(|output| output.is_closed(wall.0, 5)) {
            self.broke("I10", &format!("o{far} is outside its hours and is sent to at {wall}"));
        }
        let silenced = |(whom, at, until): &&(usize, u64, i64)| *whom == far && now > at + CUT && wall.0 < *until;
        if !changing && self.silenced.iter().any(|silence| silenced(&silence)) {
            self.broke("I10", &format!("o{far} is silenced and is sent to"));
        }
    }

    fn parcel(&mut self, far: usize, name: &str, parcel: &Parcel, now: u64, wall: Timestamp) {
        self.say(now, || {
            format!("  {name} gets {} attempt {}: {}", parcel.delivery, parcel.attempt, parcel.message.text("text").unwrap_or_default())
        });
        let Some((key, fact)) = self.key_of(name, parcel) else {
            return self.broke("I3", &format!("{} was never planned, and is sent", parcel.delivery));
        };
        self.right_text(&fact, &key, parcel);
        let row = self.disk.row(&key);
        self.right_row(parcel, row.as_ref(), wall);
        self.right_order(&key, &fact, &parcel.delivery);
        let by = fact.event.sender_id.as_deref().map_or(0, |sender| self.key_of_sender(sender));
        self.right_rate(far, by, now);
        self.right_digest(far, parcel, by, now);
        if self.calm() && far == 0 && self.order_of(&key.target) == Order::Free {
            let free = self.output(far).is_some_and(|output| output.rate.is_none() && output.concurrency > 1 && self.slow <= 20)
                && self.output(far).is_some_and(|output| output.closed.is_none() && output.digest.is_none());
            let first = !self.tracks.contains_key(&parcel.delivery);
            if free && first && now > fact.at + SOON {
                self.broke("I6", &format!("{} goes out {} ms after its commit", parcel.delivery, (now - fact.at) / 1_000_000));
            }
        }
        self.right_attempt(parcel, &key, row.as_ref(), by, now);
    }

    /// Which planned delivery a parcel is.
    fn key_of(&self, name: &str, parcel: &Parcel) -> Option<(DeliveryKey, Fact)> {
        let seq = *self.places.get(&parcel.event)?;
        let fact = self.facts.get(&seq)?;
        let target = fact.plan.targets.iter().find(|target| target.route == parcel.route && *target.output == *name)?;
        let same = |ordinal: &u32| DeliveryId::of(fact.event.id, &target.route, &target.output, *ordinal).to_string() == parcel.delivery;
        let ordinal = (0..=PARTS).find(same)?;
        Some((DeliveryKey { seq: Seq(seq), target: target.clone(), ordinal }, fact.clone()))
    }

    /// I4: the same bytes at each attempt, and those of its event.
    fn right_text(&mut self, fact: &Fact, key: &DeliveryKey, parcel: &Parcel) {
        let text = parcel.message.text("text").unwrap_or_default();
        let ours = fact.event.sender_id.as_deref().unwrap_or_default();
        // What is said before an event of a dead delivery may leave no room for its own.
        let own = if key.target.is_on_dead_of().is_some() { "[NOT DELIVERED".to_owned() } else { format!("{ours}:") };
        // One that speaks for several may have no room for its own.
        let alone = parcel.message.digest.is_none_or(|digest| digest.count <= 1);
        if key.ordinal == 0 && alone && !text.contains(&own) {
            return self.broke("I4", &format!("{} carries another event's text: {text}", parcel.delivery));
        }
        let before = self.tracks.get(&parcel.delivery).map(|track| track.text.as_str());
        // A digest that is asked for again goes alone.
        let alone_now = parcel.replay && self.tracks.get(&parcel.delivery).is_some_and(|track| track.through.is_some());
        if before.is_some_and(|before| before != text) && !alone_now {
            self.broke("I4", &format!("{} was sent with other bytes before", parcel.delivery));
        }
    }

    /// I2, I11: what is sent is not over, not held, and due.
    fn right_row(&mut self, parcel: &Parcel, row: Option<&DeliveryRow>, wall: Timestamp) {
        let Some(row) = row else { return };
        if row.state != Stands::Waiting {
            return self.broke("I2", &format!("{} is {} ({}) and is sent", parcel.delivery, row.state.word(), row.detail));
        }
        let due = row.due_at.unwrap_or_default();
        if !self.jumps() && row.attempts + 1 == parcel.attempt && due > wall + Duration::from_nanos(CUT) {
            self.broke("I11", &format!("{} is due at {due} and sent at {wall}", parcel.delivery));
        }
    }

    /// I9: those of its key that came before are over, or were let go.
    fn right_order(&mut self, key: &DeliveryKey, fact: &Fact, delivery: &str) {
        let Some(order) = fact.plan.order_of(&key.target) else { return };
        if self.freed.contains(key) {
            return;
        }
        let mut stuck = None;
        for (seq, earlier) in self.facts.range(..key.seq.0).filter(|(_, fact)| !fact.swept) {
            // What was planned late for an `on_dead` lines up where it stands; who had the turn by then, or was in memory, does not wait for it.
            let in_time = |target: &&Arc<Target>| target.is_on_dead_of().is_none();
            let alike = earlier.plan.targets.iter().filter(in_time).filter(|target| target.output == key.target.output);
            let passed = |target: &Target| self.passed.iter().any(|key| key.seq.0 == *seq && *key.target == *target);
            for target in alike.filter(|target| earlier.plan.order_of(target) == Some(order) && !passed(target)) {
                let of = |ordinal| DeliveryKey { seq: Seq(*seq), target: target.clone(), ordinal };
                let open = (0..=PARTS).map(of).find(|one| self.disk.row(one).is_some() && !self.freed.contains(one));
                stuck = stuck.or(open);
            }
        }
        if let Some(stuck) = stuck {
            self.broke("I9", &format!("{delivery} overtakes {stuck:?}"));
        }
    }

    /// I7: the next message of a key comes no sooner after the last one was over than the file says.
    fn right_digest(&mut self, far: usize, parcel: &Parcel, by: u8, now: u64) {
        let Some(digest) = self.output(far).and_then(|output| output.digest) else { return };
        let name = (parcel.route.to_string(), by);
        let last = self.fars.get(far).and_then(|side| side.digests.get(&name).copied());
        let first = !self.tracks.contains_key(&parcel.delivery) && !parcel.replay && !self.meddled() && !self.jumps();
        if let Some(last) = last.filter(|last| first && now + CUT < last + u64::from(digest.every) * SECOND) {
            let how = format!("{} is the next of its key, {} ms after the last digest", parcel.delivery, (now - last) / 1_000_000);
            self.broke("I7", &how);
        }
        if let (Some(through), Some(side)) = (parcel.message.digest.map(|digest| digest.through), self.fars.get_mut(far)) {
            side.digests.remove(&name);
            let track = self.tracks.entry(parcel.delivery.clone()).or_default();
            (track.through, track.digest) = (Some(through), Some(name));
        }
    }

    /// I7: in no window more than the limit, of each key where it has keys.
    fn right_rate(&mut self, far: usize, by: u8, now: u64) {
        let output = self.output(far);
        let (limit, keyed) = (output.and_then(|output| output.rate), output.is_some_and(|output| output.keyed && output.rate.is_some()));
        let key = keyed.then_some(by);
        if let Some(until) = key.and_then(|key| self.fars[far].held_keys.get(&key)).map(|held| held.until(now))
            && now + CUT < until
        {
            self.broke("I7", &format!("o{far} asked that the key k{by} be left alone until {until} and is sent it at {now}"));
        }
        let changing = now <= self.changed_at + CUT;
        let side = &mut self.fars[far];
        // What goes out while the configuration changes may be of either limit.
        side.limit += u32::from(changing);
        side.sends.push((now, side.limit, key));
        let Some((count, per, burst)) = limit.filter(|_| !changing) else { return };
        let mine = side.limit;
        let mut taken = 0_u64;
        let ours = side.sends.iter().rev().take_while(|(_, limit, _)| *limit == mine).filter(|(_, _, of)| *of == key);
        for (at, _, _) in ours {
            taken += 1;
            // Timers are cut to milliseconds, never early by more.
            let window = now - at + CUT;
            if u128::from(taken.saturating_sub(u64::from(burst))) * u128::from(per) * 1_000_000 > u128::from(window) * u128::from(count) {
                let of = if keyed { format!(" of the key k{by}") } else { String::new() };
                let how = format!("o{far}: {taken}{of} in {} ms, the limit is {count}/{per}ms with a burst of {burst}", window / 1_000_000);
                return self.broke("I7", &how);
            }
        }
    }

    /// I5, I10, I11: the number of the attempt is what was heard, and nothing is sent again that arrived.
    fn right_attempt(&mut self, parcel: &Parcel, key: &DeliveryKey, row: Option<&DeliveryRow>, by: u8, now: u64) {
        let most = self.attempts_of(&key.target);
        let (life, replays) = (self.life, self.replays);
        let track = self.tracks.entry(parcel.delivery.clone()).or_default();
        parcel.message.text("text").unwrap_or_default().clone_into(&mut track.text);
        let again = track.success == Some((life, replays));
        let (out, early) = (track.out, track.life == life && now + CUT < track.not_before);
        let base = row.map_or(0, |row| row.attempts);
        if track.life != life || parcel.replay {
            (track.base, track.counted, track.unheard) = (if parcel.replay { parcel.attempt - 1 } else { base }, 0, 0);
            track.not_before = 0;
        }
        (track.life, track.by) = (life, by);
        track.out = true;
        let least = track.base + track.counted + 1;
        let (greatest, attempt) = (least + track.unheard, parcel.attempt);
        let name = &parcel.delivery;
        if again {
            self.broke("I5", &format!("{name} arrived, and is sent again in the same life"));
        } else if out {
            self.broke("I2", &format!("{name} is out twice at once"));
        } else if early && !parcel.replay {
            self.broke("I11", &format!("{name} is sent before it is due"));
        } else if attempt > most {
            self.broke("I11", &format!("{name}: attempt {attempt} of {most}"));
        } else if attempt < least || attempt > greatest {
            self.broke("I10", &format!("{name}: attempt {attempt}, but {least} to {greatest} is what was heard"));
        }
    }

    /// Another configuration runs from now on.
    pub fn reconfigured(&mut self, file: usize, now: u64) {
        let before = self.running().clone();
        (self.file, self.changed_at) = (file, now);
        let after = self.running().clone();
        // What was held in between is due when it is let go.
        self.tracks.values_mut().for_each(|track| track.not_before = 0);
        for (far, side) in self.fars.iter_mut().enumerate() {
            let of = |file: &crate::scenario::File| file.outputs.iter().find(|output| usize::from(output.far) == far).cloned();
            let (before, after) = (of(&before), of(&after));
            // A new connection, or a new engine: what was known of the far side is forgotten.
            let known = before.as_ref().zip(after.as_ref());
            if known.is_none_or(|(before, after)| (before.settings, before.batch) != (after.settings, after.batch)) {
                side.hurried = true;
            }
            if known.is_none() {
                (side.held, side.down, side.probing) = (Held::default(), None, false);
                side.engine += 1;
            }
            side.limit += u32::from(before.as_ref().map(|output| output.rate) != after.as_ref().map(|output| output.rate));
            let keyed = |output: Option<&Output>| output.is_some_and(|output| output.keyed && output.rate.is_some());
            if keyed(before.as_ref()) || keyed(after.as_ref()) {
                // A bucket that is made anew knows nothing of what a key was asked.
                side.held_keys.clear();
            }
        }
    }

    /// A call is over; nothing more is heard of what it had not said.
    pub fn call_ended(&mut self, far: usize, probe: bool, deliveries: &[String]) {
        if let Some(far) = self.fars.get_mut(far) {
            far.calls = far.calls.saturating_sub(1);
            far.probing &= !probe;
        }
        for delivery in deliveries {
            if let Some(track) = self.tracks.get_mut(delivery).filter(|track| track.out) {
                track.unheard += 1;
                track.out = false;
            }
        }
    }

    /// The far side said what became of an attempt.
    pub fn heard(&mut self, far: usize, delivery: &str, outcome: &Outcome, now: u64) {
        self.say(now, || format!("  o{far} says of {delivery}: {outcome:?}"));
        let (life, replays) = (self.life, self.replays);
        let gap = self.output(far).map_or(0, first_gap);
        let keyed = self.output(far).is_some_and(|output| output.keyed && output.rate.is_some());
        let by = self.tracks.get(delivery).map_or(0, |track| track.by);
        let (Some(track), Some(side)) = (self.tracks.get_mut(delivery), self.fars.get_mut(far)) else { return };
        track.out = false;
        let counts = !matches!(outcome, Outcome::Down { .. } | Outcome::Misconfigured { .. });
        track.counted += u32::from(counts);
        match outcome {
            Outcome::Retry { after, .. } => {
                let asked = after.map_or(0, |after| (after.as_nanos() as u64).clamp(SECOND, 30 * SECOND));
                track.not_before = now + gap.max(asked);
                if after.is_some() && track.engine == side.engine {
                    match keyed.then_some(by) {
                        Some(by) => side.held_keys.entry(by).or_default().ask(now, now + asked),
                        None => side.held.ask(now, now + asked),
                    }
                }
            }
            Outcome::Unknown { .. } => track.not_before = now + gap,
            Outcome::Down { .. } | Outcome::Misconfigured { .. } | Outcome::Delivered { .. } | Outcome::Rejected { .. } => {}
        }
        if matches!(outcome, Outcome::Delivered { .. }) {
            track.success = Some((life, replays));
        }
        if let (Outcome::Delivered { .. } | Outcome::Rejected { .. }, Some(name)) = (outcome, &track.digest) {
            side.digests.insert(name.clone(), now);
        }
        if track.engine != side.engine {
            return;
        }
        let misconfigured = matches!(outcome, Outcome::Misconfigured { .. });
        match (side.down, counts) {
            (None, false) => side.down = Some((now, misconfigured)),
            (Some(_), false) if track.probe => side.down = Some((now, misconfigured)),
            (Some(_), true) if track.probe && !matches!(outcome, Outcome::Unknown { .. }) => side.down = None,
            _ => {}
        }
        if track.probe {
            side.probing = false;
        }
        side.hurried &= !matches!(outcome, Outcome::Delivered { .. }) || track.connection < side.connection;
    }
}

/// The least wait after a failed attempt, a tenth taken off.
fn first_gap(output: &Output) -> u64 {
    let over = u64::from(output.over) * SECOND;
    match u64::from(output.attempts) {
        0 | 1 => 0,
        attempts => (over / (attempts - 1)).min(5 * SECOND) / 10 * 9 - CUT,
    }
}
