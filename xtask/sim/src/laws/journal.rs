//! What is held against everything that is written down, and the ledger of it.

use super::{DEDUPE, PURGED};
use crate::ledger::{Fact, ITEMS};
use crate::scenario::{Order, Output};
use crate::senders::CANARY;
use crate::world::{State, number_of};
use std::collections::BTreeSet;
use std::sync::Arc;
use switchyard::daemon::GONE;
use switchyard::journal::store::{Append, Batch, Fate, Operation, Retain};
use switchyard::model::{DeliveryKey, DeliveryRow, Drill, Event, Plan, Seq, State as Stands, Target, Timestamp, ends_dead};

impl State {
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
    pub(super) fn attempts_of(&self, target: &Target) -> u32 {
        let ours = |output: &&Output| *target.output == format!("o{}", output.far);
        self.scenario.files.iter().flat_map(|file| &file.outputs).filter(ours).map(|output| output.attempts).max().unwrap_or(0)
    }

    pub(super) fn order_of(&self, target: &Target) -> Order {
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

    /// I18: where a restart begins to read is above no plan that is open, or what is open there is never delivered.
    fn watermark(&mut self, watermark: Option<Seq>, now: u64) {
        let Some(watermark) = watermark else { return };
        self.say(now, || format!("  watermark {}", watermark.0));
        let open = self.disk.lowest_open();
        if watermark > open {
            self.broke("I18", &format!("the watermark is {}, and the plan of event {} is open", watermark.0, open.0));
        }
    }

    /// I12, I17, and the ledger.
    pub fn after_commit(&mut self, batch: &Batch, before: &[DeliveryRow], fates: &[Fate], now: u64) {
        self.stayed(before);
        self.watermark(batch.watermark, now);
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
            if event.sender_id.is_some() && self.facts.values().filter(same).any(near) {
                return self.broke("I12", &format!("the sender's event {:?} was kept twice", event.sender_id));
            }
            self.right_plan(&event, &append.plan);
            self.told_nothing(&event);
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

    /// I3: an event is planned for all that take it, and nobody else, by a file that ran when it came: a slow disk may keep it for longer
    /// than that file runs.
    fn right_plan(&mut self, event: &Event, plan: &Plan) {
        if Drill::of(event).is_some() {
            return;
        }
        let number = number_of(event);
        let Some(sender) = self.senders.get(&(number % ITEMS)) else {
            return self.broke("I3", &format!("event {number} was kept, and nobody posted it"));
        };
        let topic = sender.of.0;
        let files = sender.met.iter().filter_map(|file| self.scenario.files.get(*file));
        let due: Vec<BTreeSet<String>> = files.map(|file| file.plans(topic, number)).collect();
        let planned: BTreeSet<String> = plan.targets.iter().map(|target| format!("{} {}", target.route, target.output)).collect();
        if !due.contains(&planned) {
            self.broke("I3", &format!("event {number} of topic T{topic} is planned for {planned:?}, and {due:?} take it"));
        }
    }

    /// I19: what a sender proves itself by is not kept.
    fn told_nothing(&mut self, event: &Event) {
        let told = |text: &[u8]| text.windows(CANARY.len()).any(|part| part == CANARY.as_bytes());
        if event.headers.iter().any(|(_, value)| told(value)) || told(&event.body) || told(event.query.as_bytes()) {
            self.broke("I19", &format!("the secret of a sender is kept with event {}", event.id));
        }
    }

    /// I1, I3: a drill that was answered is kept, and goes where it was asked to and nowhere else.
    pub fn drilled(&mut self, far: usize, event: &str) {
        let Some(fact) = self.places.get(event).and_then(|seq| self.facts.get(seq)) else {
            return self.broke("I1", &format!("the drill {event} of o{far} was answered and is not kept"));
        };
        let there = |target: &Arc<Target>| *target.output == *format!("o{far}");
        if fact.plan.targets.is_empty() || !fact.plan.targets.iter().all(there) {
            self.broke(
                "I3",
                &format!("the drill {event} of o{far} goes to {:?}", self.facts.get(&self.places[event]).map(|fact| &fact.plan.targets)),
            );
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
            let drills = |fact: &Fact| Drill::of(&fact.event).is_some() && plan.targets.len() > fact.plan.targets.len();
            if self.facts.get(&key.seq.0).is_some_and(drills) {
                return self.broke("I3", &format!("event {} is a drill, and goes on to an `on_dead`", key.seq.0));
            }
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
}
