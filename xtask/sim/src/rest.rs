//! The end of a life that nobody cuts short: everything gets well, all must be over, and the numbers agree.

use crate::laws::PURGED;
use crate::life::{End, Running};
use crate::scenario::{File, Mood, Turn};
use crate::world::{State, number_of};
use std::collections::BTreeSet;
use std::time::Duration;
use switchyard::daemon::GONE;
use switchyard::journal::{JobState, Reads, ReplayJob};
use switchyard::model::{BEHIND, COLLECTED, DeliveryKey, DeliveryRow, Drill, State as Stands, Target, ends_dead};

/// When nothing makes trouble any more, all must be over by then (I15): the longest waits are those for a probe of an output that was
/// misconfigured for long, fifteen minutes, and for the last attempt.
const BOUND: Duration = Duration::from_mins(40);
/// How often it is looked whether all is over.
const LOOK: Duration = Duration::from_millis(500);
/// After this all that is over is past its time, and retention has come by.
const RETENTION: Duration = Duration::from_mins(16);

impl Running {
    /// Everything gets well, and then all must come to its end (I15).
    pub async fn heal(&self) -> End {
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
            self.bounded();
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

    /// I13, of all outputs.
    pub fn bounded(&self) {
        let statuses = self.works.fleet.status();
        self.world.judge(|state| statuses.iter().for_each(|(name, status)| state.holds(name, status.waiting)));
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
            if let Some(how) = wrong_results(state) {
                return state.broke("I2", &how);
            }
            if let Some(key) = not_passed_on(state) {
                return state.broke("I3", &format!("{key:?} is dead, and its event did not go to the `on_dead` of its output"));
            }
            if (counts.events, counts.duplicates) != state.kept {
                let (events, repeats) = state.kept;
                return state.broke("I18", &format!("{events} events and {repeats} repeats were kept, the journal counts {counts:?}"));
            }
            for (name, status) in &statuses {
                let said = state.fars.get(far_of(name)).map(|far| far.said);
                if said != Some((status.counts.delivered, status.counts.rejected)) {
                    return state.broke(
                        "I18",
                        &format!("{name} said {said:?} times that it has it, and refuses it, and counted is {:?}", status.counts),
                    );
                }
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

/// Where not as many deliveries are there as the route's program has results: all of an event, or one that says that there was none, or that it
/// failed. Those of routes and outputs that all files have alike.
fn wrong_results(state: &State) -> Option<String> {
    let rows = state.disk.rows();
    let alike = |target: &Target| {
        let of = |file: &File| {
            let route = file.routes.iter().find(|route| *target.route == *format!("r{}", route.number))?;
            let output = file.outputs.iter().find(|output| far_of(&target.output) == usize::from(output.far))?;
            (!output.splits && output.digest.is_none()).then_some(route.turn)
        };
        let first = of(state.running())?;
        state.scenario.files.iter().all(|file| of(file) == Some(first)).then_some(first)?
    };
    for (seq, fact) in state.facts.iter().filter(|(_, fact)| !fact.swept && Drill::of(&fact.event).is_none()) {
        let even = number_of(&fact.event).is_multiple_of(2);
        for target in fact.plan.targets.iter().filter(|target| target.is_on_dead_of().is_none()) {
            let Some(turn) = alike(target) else { continue };
            let ours: Vec<&DeliveryRow> = rows.iter().filter(|row| row.key.seq.0 == *seq && row.key.target == *target).collect();
            // What was never rendered is one row, whatever it would have been.
            let ended = ours.len() == 1
                && ours[0].attempts == 0
                && (ours[0].detail == PURGED || ends_dead(&ours[0].detail) || ours[0].state != Stands::Delivered);
            let good = match turn {
                Turn::Twice => ours.len() == 2,
                Turn::Some if even => ours.len() == 1 && ours[0].state == Stands::Delivered && ours[0].attempts == 0,
                Turn::Fails if even => ours.len() == 1 && ours[0].state == Stands::Dead && ours[0].attempts == 0,
                Turn::Some | Turn::Fails => ours.len() == 1 && ours[0].attempts > 0,
            };
            if !good && !ended {
                let found: Vec<String> =
                    ours.iter().map(|row| format!("{} {} ({})", row.key.ordinal, row.state.word(), row.detail)).collect();
                return Some(format!("{turn:?} of event {seq} to {target} is {found:?}"));
            }
        }
    }
    None
}

/// What is dead where one configuration alone ran and names an `on_dead`, and whose event was not planned for it.
fn not_passed_on(state: &State) -> Option<DeliveryKey> {
    let there = |row: &DeliveryRow| {
        let far = state.output(far_of(&row.key.target.output)).and_then(|output| output.on_dead)?;
        // One step, and no further.
        row.key.target.is_on_dead_of().is_none().then(|| row.key.target.on_dead(&format!("o{far}").into()))
    };
    let planned = |row: &DeliveryRow, target: &Target| {
        state.facts.get(&row.key.seq.0).is_none_or(|fact| fact.swept || fact.plan.targets.iter().any(|planned| **planned == *target))
    };
    // What somebody ended or silenced is not meant, nor is a drill.
    let drill = |row: &DeliveryRow| state.facts.get(&row.key.seq.0).is_some_and(|fact| Drill::of(&fact.event).is_some());
    let ended = |row: &DeliveryRow| row.detail == PURGED || ends_dead(&row.detail) || drill(row);
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
