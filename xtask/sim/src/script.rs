//! What happens in a life, as the scenario has it: each is done as the daemon does it when it is asked to.

use crate::laws::PURGED;
use crate::ledger::Sender;
use crate::life::{End, Running, drawn};
use crate::scenario::{Again, Disk, Mood, What};
use crate::senders::post;
use crate::world::{Call, Entered};
use futures_util::future::pending;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use switchyard::daemon::drill::{Asked as Wanted, CannotDrill};
use switchyard::daemon::replays::Counted;
use switchyard::daemon::silences::{Asked, Then};
use switchyard::daemon::{Laid, Lent, Stood, connect};
use switchyard::journal::{DeliveryFilter, Operation, Render};
use switchyard::model::{Clock, DeliveryRow, Drill, Kept, State as Stands};

impl Running {
    fn sender(&self, id: u32) {
        tokio::spawn(post(Arc::clone(&self.world), Arc::clone(&self.clock), Arc::clone(&self.ingest), id));
    }

    pub async fn script(&self) -> End {
        let waiting: Vec<u32> = self.world.lock().senders.iter().filter(|(_, sender)| !sender.acked).map(|(id, _)| *id).collect();
        for id in waiting {
            self.sender(id);
        }
        loop {
            let next = {
                let state = self.world.lock();
                state.scenario.ops.get(state.next_op).cloned()
            };
            let Some(op) = next else { break };
            tokio::time::sleep(Duration::from_millis(u64::from(op.after))).await;
            {
                let mut state = self.world.lock();
                state.next_op += 1;
                let (now, nth) = (self.clock.nanos(), state.next_op as u64);
                state.trace(100, now, nth);
                state.trouble(name(&op.what));
                state.say(now, || format!("{:?}", op.what));
            }
            self.bounded();
            if let Some(end) = self.happens(&op.what).await {
                return end;
            }
        }
        self.heal().await
    }

    async fn happens(&self, what: &What) -> Option<End> {
        match what {
            What::Post { id, topic, key, words, patience, items } => {
                let (of, patience, items) = ((*topic, *key, *words), *patience, *items);
                let sender = Sender { of, patience, items, acked: false, met: BTreeSet::new() };
                self.world.lock().senders.entry(*id).or_insert(sender);
                self.sender(*id);
            }
            What::Far { far, mood } => {
                if let Some(far) = self.world.lock().fars.get_mut(usize::from(*far)) {
                    far.mood = *mood;
                }
            }
            What::Disk(how) => {
                let mut state = self.world.lock();
                match how {
                    Disk::Full(times) => state.full = *times,
                    Disk::FailsBefore => state.fails = Some(false),
                    Disk::FailsAfter => state.fails = Some(true),
                    Disk::Slow(millis) => state.slow = *millis,
                }
            }
            What::Crash(down) => {
                self.world.lock().dead = true;
                return Some(End::Again(*down));
            }
            What::Stop(down) => return Some(self.stop(*down).await),
            What::Reload(file) => self.reload(usize::from(*file), false).await,
            What::BadReload(file) => self.reload(usize::from(*file), true).await,
            What::Pause(far) => self.pause(*far, true),
            What::Resume(far) => self.pause(*far, false),
            What::Replay { far, state } => self.replay(*far, *state).await,
            What::PassBy => self.pass_by().await,
            What::Clock(millis) => {
                let mut state = self.world.lock();
                state.jumped_at = self.clock.nanos();
                // What is over is over, whatever the clock shows later.
                let wall = self.clock.wall().0;
                state.silenced.retain(|(_, _, until)| wall < *until);
                drop(state);
                self.world.jump(i64::from(*millis));
            }
            What::Silence { far, seconds, send } => self.silence(*far, *seconds, *send),
            What::Speak => self.speak(),
            What::Purge { far, waiting } => self.purge(*far, *waiting).await,
            What::Drill { far, shows } => self.drill(*far, *shows),
        }
        None
    }

    /// As `Daemon::live` does when it is asked to end.
    async fn stop(&self, down: u32) -> End {
        self.world.lock().closed = true;
        // Requests under way are answered within four seconds.
        while self.world.lock().posting > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.ingest.settled().await;
        let _ = self.works.drain().await;
        self.world.lock().dead = true;
        End::Again(down)
    }

    /// As `Daemon::reload` does with a file that checks.
    pub async fn reload(&self, file: usize, fails: bool) {
        let wanted = self.world.lock().scenario.files.get(file).cloned();
        let Some(wanted) = wanted else { return };
        let blueprint = match drawn(&wanted, &self.kinds) {
            Ok(blueprint) => blueprint,
            Err(why) => return self.world.broke("scenario", &why),
        };
        self.world.lock().connect_fails = fails;
        let clock: Arc<dyn Clock> = self.clock.clone();
        let stood = |output: &str| Stood { paused: self.world.lock().paused.contains(output), down: None };
        let specs = connect(&blueprint, &self.works.fleet, &stood, &Lent { clock: &clock, vault: &self.vault }).await;
        self.world.lock().connect_fails = false;
        let Ok(specs) = specs else { return };
        self.world.lock().reconfigured(file, self.clock.nanos());
        self.works.change(specs, Laid::of(&blueprint.outputs, &blueprint.router), Arc::clone(&blueprint.router));
        self.ingest.swap(blueprint.sources);
        // Where the journal fails the daemon ends by itself.
        let _ = self.works.hold_and_release().await;
    }

    pub fn pause(&self, far: u8, pause: bool) {
        let name = format!("o{far}");
        let mut state = self.world.lock();
        if state.output(usize::from(far)).is_none() {
            return;
        }
        let now = self.clock.nanos();
        // What is told to an output's task it hears at once, but not before it is its turn.
        state.changed_at = now;
        if pause {
            state.paused.insert(name.clone())
        } else {
            state.paused.remove(&name)
        };
        drop(state);
        let _ = if pause { self.works.fleet.pause(&name) } else { self.works.fleet.resume(&name) };
    }

    async fn replay(&self, far: u8, state: Again) {
        let states = vec![match state {
            Again::Dead => Stands::Dead,
            Again::Held => Stands::Held,
            Again::Delivered => Stands::Delivered,
        }];
        let output: Arc<str> = format!("o{far}").into();
        let rows = {
            let mut state = self.world.lock();
            state.replays += 1;
            state.disk.rows()
        };
        let (through, now) = (rows.last().map(|row| row.key.seq), self.clock.wall());
        let filter =
            DeliveryFilter { states, output: Some(output.to_string()), through, written_before: Some(now), ..DeliveryFilter::default() };
        let meant = |row: &&DeliveryRow| filter.holds_row(row.key.seq, &row.key.target, row.state, row.updated_at);
        let total = rows.iter().filter(meant).count() as u64;
        if total > 0 {
            let counted = Counted { outputs: [(output, total)].into(), filter, ..Counted::default() };
            // The bytes stay: of one id there is one text.
            let _ = self.works.plan_replay(&counted, Render::Then).await;
        }
    }

    fn silence(&self, far: u8, seconds: u16, send: bool) {
        let (now, wall) = (self.clock.nanos(), self.clock.wall());
        let until = wall + Duration::from_secs(u64::from(seconds));
        let asked = Asked {
            by: "somebody".into(),
            why: "as the scenario has it".into(),
            until: until.0,
            then: if send { Then::Send } else { Then::Dead },
            output: Some(format!("o{far}")),
            route: None,
            source: None,
            topic: None,
        };
        match self.world.silences.add(asked, wall) {
            Ok(_) => self.world.lock().silenced.push((usize::from(far), now, until.0)),
            Err(why) => self.world.broke("scenario", &why.to_string()),
        }
    }

    pub fn speak(&self) {
        let wall = self.clock.wall();
        for silence in self.world.silences.list(wall) {
            let _ = self.world.silences.end(silence.id, wall);
        }
        self.world.lock().silenced.clear();
    }

    async fn purge(&self, far: u8, waiting: bool) {
        let through = self.world.lock().disk.rows().last().map(|row| row.key.seq).unwrap_or_default();
        // Where the journal fails the daemon ends by itself.
        let _ = self.works.purge(&format!("o{far}"), DeliveryFilter::default(), PURGED.into(), waiting, through).await;
    }

    /// Somebody wants to see something arrive; nobody else waits for the answer.
    fn drill(&self, far: u8, shows: bool) {
        let (works, world, clock) = (Arc::clone(&self.works), Arc::clone(&self.world), Arc::clone(&self.clock));
        let id = self.ingest.new_id(clock.wall());
        let shown = {
            let state = world.lock();
            let real = state.facts.iter().rev().find(|(_, fact)| !fact.swept && Drill::of(&fact.event).is_none());
            real.filter(|_| shows).map(|(seq, fact)| Kept {
                seq: switchyard::model::Seq(*seq),
                event: fact.event.clone(),
                plan: fact.plan.clone(),
            })
        };
        tokio::spawn(async move {
            let asked = Wanted { outputs: vec![format!("o{far}")], route: None, by: "somebody".into() };
            let begun = works.drill(id, &asked, shown.as_ref()).await;
            let Entered::Goes { dies_after } = world.enter(Call::Answer, clock.nanos(), u64::from(far)) else { return pending().await };
            match begun {
                Ok(id) => world.judge(|state| state.drilled(usize::from(far), &id.to_string())),
                // No space, or no output or route any more.
                Err(CannotDrill::NotKept | CannotDrill::NoOutput { .. } | CannotDrill::NoRoute { .. }) => {}
                Err(why) => world.broke("scenario", &why.to_string()),
            }
            if dies_after {
                world.die();
            }
        });
    }

    async fn pass_by(&self) {
        let disk = self.world.lock().disk.clone();
        let dead = disk.rows().into_iter().filter(|row| row.state == Stands::Dead).map(|row| row.key).collect();
        let _ = self.works.hub.operate(Operation::PassBy(dead)).await;
        for output in self.works.fleet.status().keys() {
            let _ = self.works.fleet.look(output);
        }
    }
}

/// What is counted.
fn name(what: &What) -> &'static str {
    match what {
        What::Post { .. } => "post",
        What::Far { mood, .. } => match mood {
            Mood::Well(_) => "well",
            Mood::Busy { .. } => "busy",
            Mood::Down => "far down",
            Mood::Misconfigured => "misconfigured",
            Mood::Rejects(_) => "rejects",
            Mood::Silent(_) => "silent",
            Mood::Lost(_) => "lost",
            Mood::Hangs(_) => "hangs",
            Mood::Mute { .. } => "mute",
            Mood::Panics(_) => "panics",
            Mood::Late { .. } => "late",
        },
        What::Disk(Disk::Full(_)) => "disk full",
        What::Disk(Disk::FailsBefore) => "disk fails before",
        What::Disk(Disk::FailsAfter) => "disk fails after",
        What::Disk(Disk::Slow(_)) => "disk slow",
        What::Crash(_) => "crash",
        What::Stop(_) => "stop",
        What::Reload(_) => "reload",
        What::BadReload(_) => "bad reload",
        What::Pause(_) => "pause",
        What::Resume(_) => "resume",
        What::Replay { .. } => "replay",
        What::PassBy => "pass by",
        What::Silence { .. } => "silence",
        What::Speak => "speak",
        What::Purge { .. } => "purge",
        What::Drill { .. } => "drill",
        What::Clock(millis) if *millis < 0 => "clock back",
        What::Clock(_) => "clock forward",
    }
}
