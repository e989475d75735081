//! One life of the daemon between its doors: opened as `switchyard run` opens it, driven by the scenario, until it dies, ends or all is over.

use crate::disk::{FaultyReads, FaultyStore};
use crate::laws::PURGED;
use crate::scenario::{Again, Disk, File, Mood, What};
use crate::senders::post;
use crate::world::{Sender, SimClock, World};
use crate::{far, scenario};
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use switchyard::alarm::Book;
use switchyard::config::{Process, from_text};
use switchyard::daemon::blueprint::{Blueprint, draw};
use switchyard::daemon::replays::Counted;
use switchyard::daemon::silences::{Asked, Then};
use switchyard::daemon::{GONE, Hub, Laid, Lent, Parts, Reading, Works, connect};
use switchyard::ingest::Ingest;
use switchyard::journal::{DeliveryFilter, Driven, JobState, Journal, Operation, Reads, Render, ReplayJob, SealedVault, Settings, Wants};
use switchyard::model::{BEHIND, COLLECTED, Clock, DeliveryKey, DeliveryRow, Instant, State as Stands, Target, ends_dead};
use switchyard::route::JqPool;
use switchyard_api::AnyKind;
use tokio::runtime::Handle;

/// When nothing makes trouble any more, all must be over by then (I15): the longest waits are those for a probe of an output that was
/// misconfigured for long, fifteen minutes, and for the last attempt.
const BOUND: Duration = Duration::from_mins(40);
/// How often it is looked whether all is over.
const LOOK: Duration = Duration::from_millis(500);
/// After this all that is over is past its time, and retention has come by.
const RETENTION: Duration = Duration::from_mins(16);

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The scenario is over, and so is all that was planned.
    Over,
    /// The daemon ended, and starts again so many milliseconds later.
    Again(u32),
}

/// What runs.
struct Running {
    world: Arc<World>,
    clock: Arc<SimClock>,
    kinds: Vec<Arc<dyn AnyKind>>,
    works: Arc<Works>,
    ingest: Arc<Ingest<Hub>>,
    vault: SealedVault,
}

/// Lives until the process dies, is asked to end, or all is over.
pub async fn live(world: &Arc<World>, clock: &Arc<SimClock>) -> End {
    world.born();
    let dead = End::Again(1_000);
    let died = async {
        // The bell may have rung for the life before.
        while !world.lock().dead {
            world.died.notified().await;
        }
    };
    tokio::select! {
        biased;
        () = died => dead,
        end = alive(world, clock) => end,
    }
}

async fn alive(world: &Arc<World>, clock: &Arc<SimClock>) -> End {
    let failed = End::Again(1_000);
    let Some(running) = start(world, clock).await else { return failed };
    let mut fault = running.works.hub.journal().fault();
    tokio::select! {
        biased;
        _ = fault.wait_for(Option::is_some) => failed,
        end = running.script() => end,
    }
}

/// The blueprint of a configuration.
fn drawn(file: &File, kinds: &[Arc<dyn AnyKind>]) -> Result<Blueprint, String> {
    let text = file.text();
    let drawn = draw(&from_text("routes.yaml", text.as_str(), &Process { base: PathBuf::new() }), kinds);
    let problems = || drawn.problems.iter().map(|problem| format!("{}: {}", problem.id, problem.title)).collect::<Vec<_>>();
    drawn.blueprint.ok_or_else(|| format!("{}\n{text}", problems().join("; ")))
}

/// As `daemon::start`, without what touches files and ports.
async fn start(world: &Arc<World>, clock: &Arc<SimClock>) -> Option<Running> {
    let (file, window, seed, life) = {
        let state = world.lock();
        (state.running().clone(), state.scenario.window, state.scenario.seed, state.life)
    };
    let kinds = far::kinds(world, clock);
    let blueprint = match drawn(&file, &kinds) {
        Ok(blueprint) => blueprint,
        Err(why) => {
            world.broke("scenario", &why);
            return None;
        }
    };
    let clocks: Arc<dyn Clock> = clock.clone();
    let reads = Arc::new(FaultyReads::open(world, clock));
    let parts = Parts {
        reads: reads.clone(),
        reading: Reading::Here,
        router: Arc::clone(&blueprint.router),
        jq: JqPool::start(PathBuf::new(), 1),
        jq_aside: JqPool::start(PathBuf::new(), 1),
        silences: world.silences.clone(),
        book: Book::default(),
        clock: Arc::clone(&clocks),
        deliver: Handle::current(),
        window: Some(window),
    };
    let (store, retain) = (FaultyStore::open(world, clock), blueprint.journal.retain.into());
    let open = |on_kept| {
        let settings = Settings { retain, clock: Arc::clone(&clocks), on_kept };
        Journal::driven(Box::new(store), settings).map(|(journal, driven, recovered)| (journal, (driven, recovered)))
    };
    let (works, (driven, recovered)) = Works::open(parts, open).ok()?;
    tokio::spawn(write(Arc::clone(world), Arc::clone(clock), driven));
    let vault = SealedVault::new(works.hub.journal().clone(), reads, None);
    let paused = |output: &str| world.lock().paused.contains(output);
    let specs = connect(&blueprint, &works.fleet, &paused, &Lent { clock: &clocks, vault: &vault }).await.ok()?;
    works.begin(specs, Laid::of(&blueprint.outputs, &blueprint.router)).await.ok()?;
    let ingest = Arc::new(Ingest::new(blueprint.sources, Arc::clone(&works.hub), clocks, seed ^ u64::from(life) << 32));
    tokio::spawn({
        let (works, world) = (Arc::clone(&works), Arc::clone(world));
        async move {
            // Where the journal fails the daemon ends by itself.
            let _ = works.recover(&recovered).await;
            world.lock().recovering = false;
        }
    });
    tokio::spawn(Arc::clone(&works).overtake());
    tokio::spawn(Arc::clone(&works).feed_replays(|| false));
    Some(Running { world: Arc::clone(world), clock: Arc::clone(clock), kinds, works, ingest, vault })
}

/// Gives the writer its turns. A round takes as long as the disk does.
async fn write(world: Arc<World>, clock: Arc<SimClock>, mut driven: Driven) {
    loop {
        let wants = poll_fn(|cx| match driven.take(cx.waker()) {
            Wants::Until(at) => Poll::Ready(Some(at)),
            Wants::Step => Poll::Ready(None),
            Wants::Nothing => Poll::Ready(Some(Instant(u64::MAX))),
        });
        match wants.await {
            Some(Instant(u64::MAX)) => return,
            Some(at) => {
                let wait = Duration::from_nanos(at.0.saturating_sub(clock.nanos()).max(1));
                // Whichever comes first: the time, or somebody who rings and perhaps makes the time shorter.
                let mut sleep = Box::pin(tokio::time::sleep(wait));
                poll_fn(|cx| match driven.take(cx.waker()) {
                    Wants::Until(then) if then == at => sleep.as_mut().poll(cx),
                    Wants::Until(_) | Wants::Step | Wants::Nothing => Poll::Ready(()),
                })
                .await;
                continue;
            }
            None => {}
        }
        let slow = world.lock().slow;
        tokio::time::sleep(Duration::from_millis(u64::from(slow))).await;
        if !driven.step() {
            return;
        }
    }
}

impl Running {
    fn sender(&self, id: u32) {
        tokio::spawn(post(Arc::clone(&self.world), Arc::clone(&self.clock), Arc::clone(&self.ingest), id));
    }

    async fn script(&self) -> End {
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
            if let Some(end) = self.happens(&op.what).await {
                return end;
            }
        }
        self.heal().await
    }

    async fn happens(&self, what: &What) -> Option<End> {
        match what {
            What::Post { id, topic, key, words, patience, items } => {
                let sender = Sender { of: (*topic, *key, *words), patience: *patience, items: *items, acked: false };
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
    async fn reload(&self, file: usize, fails: bool) {
        let wanted = self.world.lock().scenario.files.get(file).cloned();
        let Some(wanted) = wanted else { return };
        let blueprint = match drawn(&wanted, &self.kinds) {
            Ok(blueprint) => blueprint,
            Err(why) => return self.world.broke("scenario", &why),
        };
        self.world.lock().connect_fails = fails;
        let clock: Arc<dyn Clock> = self.clock.clone();
        let paused = |output: &str| self.world.lock().paused.contains(output);
        let specs = connect(&blueprint, &self.works.fleet, &paused, &Lent { clock: &clock, vault: &self.vault }).await;
        self.world.lock().connect_fails = false;
        let Ok(specs) = specs else { return };
        self.world.lock().reconfigured(file, self.clock.nanos());
        self.works.change(specs, Laid::of(&blueprint.outputs, &blueprint.router), Arc::clone(&blueprint.router));
        self.ingest.swap(blueprint.sources);
        // Where the journal fails the daemon ends by itself.
        let _ = self.works.hold_and_release().await;
    }

    fn pause(&self, far: u8, pause: bool) {
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

    fn speak(&self) {
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

    async fn pass_by(&self) {
        let disk = self.world.lock().disk.clone();
        let dead = disk.rows().into_iter().filter(|row| row.state == Stands::Dead).map(|row| row.key).collect();
        let _ = self.works.hub.operate(Operation::PassBy(dead)).await;
        for output in self.works.fleet.status().keys() {
            let _ = self.works.fleet.look(output);
        }
    }

    // === the end ===

    /// Everything gets well, and then all must come to its end (I15).
    async fn heal(&self) -> End {
        {
            let mut state = self.world.lock();
            state.healing = true;
            (state.full, state.fails, state.slow) = (0, None, 1);
            state.fars.iter_mut().for_each(|far| far.mood = Mood::Well(5));
        }
        if self.world.lock().file != 0 {
            self.reload(0, false).await;
        }
        self.speak();
        let fars = self.world.lock().fars.len();
        for far in 0..fars {
            self.pause(far as u8, false);
        }
        let began = self.clock.nanos();
        loop {
            tokio::time::sleep(LOOK).await;
            let open = self.open();
            if open.is_empty() {
                break;
            }
            if self.clock.nanos() - began > BOUND.as_nanos() as u64 {
                self.world.broke("I15", &format!("not over {BOUND:?} after the last trouble: {}", open.join("; ")));
                return End::Over;
            }
        }
        self.at_rest();
        if self.world.lock().scenario.past_retention {
            tokio::time::sleep(RETENTION).await;
            self.swept();
        }
        self.end().await
    }

    /// What is not over.
    fn open(&self) -> Vec<String> {
        let state = self.world.lock();
        let mut open: Vec<String> = vec![];
        open.extend(state.senders.iter().find(|(_, sender)| !sender.acked).map(|(id, _)| format!("the sender of {id} heard no 200")));
        let rows = state.disk.rows();
        let waits = |row: &&DeliveryRow| row.state == Stands::Waiting;
        open.extend(rows.iter().find(waits).map(|row| format!("{:?} waits: {}", row.key, row.detail)));
        let timed =
            |row: &&DeliveryRow| row.state == Stands::Held && (row.due_at.is_some() || row.detail == COLLECTED && !behind_held(&rows, row));
        open.extend(rows.iter().find(timed).map(|row| format!("{:?} is held: {}", row.key, row.detail)));
        let runs = |job: &ReplayJob| job.state == JobState::Running && state.output(far_of(&job.output)).is_some();
        let replays = state.disk.replays().unwrap_or_default();
        open.extend(replays.iter().find(|job| runs(job)).map(|job| format!("replay {} of {} runs", job.id, job.output)));
        let next = state.facts.keys().next_back().map_or(1, |last| last + 1);
        let lowest = state.disk.lowest_open();
        open.extend((lowest.0 < next).then(|| format!("the plan of event {} is open", lowest.0)));
        open.extend(state.fars.iter().position(|far| far.calls > 0).map(|far| format!("o{far} has calls out")));
        open.extend(state.disk.on_dead(1).unwrap_or_default().first().map(|dead| format!("{:?} is yet to go to its `on_dead`", dead.key)));
        open
    }

    /// I2, I3, I13, I14, I18, I20: when all is over the numbers agree, what is held is held for a reason, and what is dead where there is an
    /// `on_dead` went there.
    fn at_rest(&self) {
        let counts = self.works.hub.journal().counts();
        let statuses = self.works.fleet.status();
        self.world.judge(|state| {
            for row in state.disk.rows().iter().filter(|row| row.state == Stands::Held) {
                let has = state.output(far_of(&row.key.target.output)).is_some();
                let routed = state.running().routes.iter().any(|route| *row.key.target.route == format!("r{}", route.number));
                let good = match row.detail.as_str() {
                    BEHIND => stands_behind(&state.disk.rows(), row),
                    COLLECTED => behind_held(&state.disk.rows(), row),
                    GONE => !has,
                    detail if detail.contains("is not in the configuration any more") => !has || !routed,
                    detail => detail.starts_with("sent, but"),
                };
                if !good {
                    return state.broke("I14", &format!("{:?} is held for no reason: {}", row.key, row.detail));
                }
            }
            if let Some(key) = not_passed_on(state) {
                return state.broke("I3", &format!("{key:?} is dead, and its event did not go to the `on_dead` of its output"));
            }
            if (counts.events, counts.duplicates) != state.kept {
                let (events, repeats) = state.kept;
                return state.broke("I18", &format!("{events} events and {repeats} repeats were kept, the journal counts {counts:?}"));
            }
            for (name, status) in &statuses {
                if status.failed || status.waiting > 0 || status.in_flight > 0 {
                    return state.broke("I20", &format!("{name} is not at rest: {status:?}"));
                }
            }
        });
    }

    /// What is over and past its time is gone, but for what others wait behind.
    fn swept(&self) {
        self.world.judge(|state| {
            let rows = state.disk.rows();
            let line = state.disk.in_line();
            let keeps = |row: &&DeliveryRow| row.state == Stands::Held || line.contains(&row.key);
            let kept: BTreeSet<i64> = rows.iter().filter(keeps).map(|row| row.key.seq.0).collect();
            let left = state.facts.iter().find(|(seq, fact)| !fact.swept && !kept.contains(seq)).map(|(seq, _)| *seq);
            if let Some(seq) = left.filter(|_| !state.jumps()) {
                state.broke("I1", &format!("event {seq} is over and past its time, and is still there"));
            }
        });
    }

    /// A last drain must find everything closed.
    async fn end(&self) -> End {
        self.world.lock().closed = true;
        if self.works.drain().await.is_ok() {
            self.world.judge(|state| {
                let (watermark, open) = (state.disk.watermark(), state.disk.lowest_open());
                let none = state.facts.values().all(|fact| fact.swept);
                if watermark != open && !none {
                    state.broke("I18", &format!("the watermark is {watermark:?}, and the lowest open event {open:?}"));
                }
            });
        }
        End::Over
    }
}

/// What is dead where one configuration alone ran and names an `on_dead`, and whose event was not planned for it.
fn not_passed_on(state: &crate::world::State) -> Option<DeliveryKey> {
    let there = |row: &DeliveryRow| {
        let far = state.output(far_of(&row.key.target.output)).and_then(|output| output.on_dead)?;
        // One step, and no further.
        row.key.target.is_on_dead_of().is_none().then(|| row.key.target.on_dead(&format!("o{far}").into()))
    };
    let planned = |row: &DeliveryRow, target: &Target| {
        state.facts.get(&row.key.seq.0).is_none_or(|fact| fact.swept || fact.plan.targets.iter().any(|planned| **planned == *target))
    };
    // What somebody ended or silenced is not meant.
    let ended = |row: &DeliveryRow| row.detail == PURGED || ends_dead(&row.detail);
    let dead = |row: &&DeliveryRow| row.state == Stands::Dead && !ended(row) && there(row).is_some_and(|target| !planned(row, &target));
    if state.scenario.files.len() > 1 {
        return None;
    }
    state.disk.rows().iter().find(dead).map(|row| row.key.clone())
}

/// Whether the row stands behind another that keeps it waiting.
fn stands_behind(rows: &[DeliveryRow], row: &DeliveryRow) -> bool {
    let ours =
        |other: &&DeliveryRow| other.key.target.output == row.key.target.output && other.key.seq <= row.key.seq && other.key != row.key;
    rows.iter().filter(ours).any(|other| matches!(other.state, Stands::Dead | Stands::Held))
}

/// Whether the row is collected behind another that is held for a reason of its own.
fn behind_held(rows: &[DeliveryRow], row: &DeliveryRow) -> bool {
    let before = |other: &&DeliveryRow| other.key.target.output == row.key.target.output && other.key.seq <= row.key.seq;
    rows.iter().filter(before).any(|other| other.state == Stands::Held && other.detail != COLLECTED)
}

fn far_of(output: &str) -> usize {
    output.trim_start_matches('o').parse().unwrap_or(usize::MAX)
}

/// What is counted.
fn name(what: &What) -> &'static str {
    match what {
        What::Post { .. } => "post",
        What::Far { mood, .. } => match mood {
            scenario::Mood::Well(_) => "well",
            scenario::Mood::Busy { .. } => "busy",
            scenario::Mood::Down => "far down",
            scenario::Mood::Misconfigured => "misconfigured",
            scenario::Mood::Rejects(_) => "rejects",
            scenario::Mood::Silent(_) => "silent",
            scenario::Mood::Lost(_) => "lost",
            scenario::Mood::Hangs(_) => "hangs",
            scenario::Mood::Mute { .. } => "mute",
            scenario::Mood::Panics(_) => "panics",
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
        What::Clock(millis) if *millis < 0 => "clock back",
        What::Clock(_) => "clock forward",
    }
}
