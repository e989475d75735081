//! Which deliveries may not go now: the hours of routes and outputs, and silences. And what becomes of those that were held, as time passes.
//!
//! Does: says of a delivery why it may not go and until when; each second lets go those whose time has come, and asks again for those whose
//! reason is no more (a reload, a silence that ended). Never: sends, or drops. The journal keeps until when (decision 12).

use super::hub::Hub;
use super::outputs::OutputPlan;
use super::works::Works;
use crate::hours::Hours;
use crate::journal::Operation;
use crate::model::{HeldUntil, Target, Timestamp};
use crate::route::Router;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The hours of the running file.
#[derive(Debug, Default)]
pub struct Gate {
    routes: BTreeMap<Arc<str>, Arc<Hours>>,
    outputs: BTreeMap<Arc<str>, Arc<Hours>>,
}

/// By output: why deliveries to it may not go.
type Reasons = BTreeMap<Arc<str>, BTreeSet<String>>;

/// What the last look found.
#[derive(Debug, Default)]
pub(super) struct Looked {
    reasons: Reasons,
    /// Outputs for which there was a reason once: what is held there has a time.
    concerned: BTreeSet<Arc<str>>,
    /// The hours of the last look.
    gate: Arc<Gate>,
    /// Outputs whose reasons changed, and in how many looks more all that is held there is asked: a row that was under way may come later.
    changed: BTreeMap<Arc<str>, u32>,
}

/// After so many looks no row is under way that was there when the reasons changed; those with no room on the disk count for themselves.
const LOOKS: u32 = 10;

impl Looked {
    /// Whether all that is held for an output is asked at this look.
    fn again(&mut self, output: &str, all_written: impl Fn(&str) -> bool) -> bool {
        let Some(looks) = self.changed.get_mut(output) else { return false };
        // What is not written yet may be held for what is no reason any more.
        *looks -= u32::from(all_written(output));
        if *looks == 0 {
            self.changed.remove(output);
        }
        true
    }
}

impl Gate {
    /// Those of a file.
    pub(super) fn of(router: &Router, outputs: &[OutputPlan]) -> Self {
        Gate {
            routes: router.hours().map(|(name, hours)| (Arc::clone(name), Arc::clone(hours))).collect(),
            outputs: outputs.iter().filter_map(|plan| Some((Arc::clone(&plan.name), Arc::clone(plan.hours.as_ref()?)))).collect(),
        }
    }

    /// Why what goes to this target is outside its hours, and until when; `None`: it is not.
    pub fn held_until(&self, target: &Target, now: Timestamp) -> Option<HeldUntil> {
        closed(self.routes.get(&target.route), "", &target.route, now).or_else(|| self.output(&target.output, now))
    }

    /// The same of an output alone: what goes there may have no route any more.
    fn output(&self, output: &str, now: Timestamp) -> Option<HeldUntil> {
        closed(self.outputs.get(output), "the output ", output, now)
    }

    /// Whether nobody has hours.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.outputs.is_empty()
    }
}

fn closed(hours: Option<&Arc<Hours>>, whose: &str, name: &str, now: Timestamp) -> Option<HeldUntil> {
    let opening = hours?.opening(now)?;
    Some(HeldUntil { until: opening.at, why: format!("outside the hours of {whose}`{name}` until {opening}") })
}

impl Hub {
    /// Every reason there is now, by output.
    pub(super) fn reasons(&self, outputs: &[Arc<str>]) -> Reasons {
        let (gate, now) = (self.gate.load(), self.clock.wall());
        let mut reasons = Reasons::new();
        if gate.is_empty() && self.silences.is_empty() {
            return reasons;
        }
        let routes = self.router();
        let mut add = |output: &Arc<str>, held: HeldUntil| {
            reasons.entry(Arc::clone(output)).or_default().insert(held.why);
        };
        for target in routes.targets() {
            gate.held_until(target, now).into_iter().for_each(|held| add(&target.output, held));
        }
        for output in outputs {
            gate.output(output, now).into_iter().chain(self.silences.meeting(output, now)).for_each(|held| add(output, held));
        }
        reasons
    }
}

impl Works {
    /// Deliveries whose time has come go on; where the reasons changed all of an output's are asked for again. What the journal could not do
    /// is done at the next look.
    pub(super) async fn elapse(&self, looked: &mut Looked) {
        let now = self.hub.clock.wall();
        if let Err(why) = self.hub.silences.forget_over(now) {
            tracing::warn!(%why, "silences that are over could not be taken out of their file; they end all the same");
        }
        let (outputs, gate) = (self.names(), self.hub.gate.load_full());
        // Before the reasons: one that begins in between is in both.
        let begun = self.hub.silences.begun();
        // Hours may begin and end between two looks, as reloads may bring and take them.
        let relaid = !Arc::ptr_eq(&gate, &looked.gate) && self.timed.swap(!gate.is_empty(), Ordering::Relaxed);
        let reasons = self.hub.reasons(&outputs);
        looked.concerned.extend(reasons.keys().chain(gate.outputs.keys()).cloned());
        let router = self.hub.router();
        let timed = router.targets().filter(|target| gate.routes.contains_key(&target.route));
        looked.concerned.extend(timed.map(|target| Arc::clone(&target.output)));
        let statuses = self.fleet.status();
        for output in outputs {
            let briefly = relaid || begun(&output);
            let because = reasons.get(&output).cloned().unwrap_or_default();
            let changed = looked.reasons.get(&output) != Some(&because) || briefly;
            if changed {
                // What a life finds is in the journal already.
                let first = !looked.reasons.contains_key(&output) && !briefly;
                looked.changed.insert(Arc::clone(&output), if first { 1 } else { LOOKS });
            }
            let again = looked.again(&output, |output| statuses.get(output).is_none_or(|status| status.unwritten == 0));
            if !again && !looked.concerned.contains(&output) {
                continue;
            }
            let (by, except) = if again { (Timestamp(i64::MAX), because.clone()) } else { (now, BTreeSet::new()) };
            if changed {
                // Where it left, whoever ends it sees to its deliveries.
                let _ = self.fleet.sift(&output);
            }
            match self.hub.operate(Operation::Elapse { output: Arc::clone(&output), by, except }).await {
                Ok(count) => {
                    if count > 0 {
                        tracing::info!(%output, count, "deliveries that were held for a time go on");
                        let _ = self.fleet.look(&output);
                    }
                    looked.reasons.insert(output, because);
                }
                Err(why) => tracing::warn!(%output, %why, "held deliveries could not be looked through; trying again"),
            }
        }
        looked.gate = gate;
        looked.reasons.retain(|output, _| self.has(output));
        looked.changed.retain(|output, _| self.has(output));
    }
}
