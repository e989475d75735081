//! What is known after another configuration was laid, after a call, and after what a far side said: the later laws go by it.

use super::{CUT, SECOND};
use crate::ledger::Held;
use crate::scenario::{File, Output};
use crate::world::State;
use switchyard_api::Outcome;

impl State {
    /// Another configuration runs from now on.
    pub fn reconfigured(&mut self, file: usize, now: u64) {
        let before = self.running().clone();
        (self.file, self.changed_at) = (file, now);
        let after = self.running().clone();
        // What was held in between is due when it is let go.
        self.tracks.values_mut().for_each(|track| track.not_before = 0);
        for (far, side) in self.fars.iter_mut().enumerate() {
            let of = |file: &File| file.outputs.iter().find(|output| usize::from(output.far) == far).cloned();
            let (before, after) = (of(&before), of(&after));
            // A new connection, or a new engine: what was known of the far side is forgotten.
            let known = before.as_ref().zip(after.as_ref());
            if known.is_none_or(|(before, after)| (before.settings, before.batch) != (after.settings, after.batch)) {
                side.hurried = true;
            }
            if known.is_none() {
                (side.held, side.down, side.probing) = (Held::default(), None, false);
                side.engine += 1;
                side.said = (0, 0);
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
        let life = self.life;
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
            track.success = Some((life, track.asked));
        }
        if let (Outcome::Delivered { .. } | Outcome::Rejected { .. }, Some(name)) = (outcome, &track.digest) {
            side.digests.insert(name.clone(), now);
        }
        if track.engine != side.engine {
            return;
        }
        match outcome {
            Outcome::Delivered { .. } => side.said.0 += 1,
            Outcome::Rejected { .. } => side.said.1 += 1,
            _ => {}
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
