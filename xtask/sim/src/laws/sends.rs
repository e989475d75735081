//! What is held against everything that is sent, at the moment a call begins.

use super::{CUT, PARTS, SECOND, SOON};
use crate::ledger::Fact;
use crate::scenario::Order;
use crate::world::{State, number_of};
use std::sync::Arc;
use std::time::Duration;
use switchyard::model::{DeliveryId, DeliveryKey, DeliveryRow, Drill, Seq, State as Stands, Target, Timestamp};
use switchyard_api::Parcel;

/// What a drill says first.
const MARK: &str = "[TEST] ";

impl State {
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
        let by = self.key_of_event(&fact.event);
        self.right_rate(far, by, now);
        if Drill::of(&fact.event).is_none() {
            // A drill goes by itself.
            self.right_digest(far, parcel, by, now);
        }
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
        let (drill, number) = (Drill::of(&fact.event), number_of(&fact.event));
        // L8: a drill says so, each time and wherever it goes, and nothing else does.
        if key.ordinal == 0 && text.contains(MARK) != drill.is_some() {
            return self
                .broke("I4", &format!("{} is {}a drill and says: {text}", parcel.delivery, if drill.is_some() { "" } else { "no " }));
        }
        // What is said before an event of a dead delivery may leave no room for its own.
        let own = match drill {
            Some(Drill::Words) => "a drill by somebody".to_owned(),
            None if key.target.is_on_dead_of().is_some() => "[NOT DELIVERED".to_owned(),
            Some(Drill::Event) | None => format!("{number}:"),
        };
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
        let life = self.life;
        let asked = row.map_or(0, |row| row.replays);
        let track = self.tracks.entry(parcel.delivery.clone()).or_default();
        parcel.message.text("text").unwrap_or_default().clone_into(&mut track.text);
        let again = track.success == Some((life, asked));
        let (out, early) = (track.out, track.life == life && now + CUT < track.not_before);
        let base = row.map_or(0, |row| row.attempts);
        if track.life != life || parcel.replay {
            (track.base, track.counted, track.unheard) = (if parcel.replay { parcel.attempt - 1 } else { base }, 0, 0);
            track.not_before = 0;
        }
        (track.life, track.by, track.asked) = (life, by, asked);
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
}
