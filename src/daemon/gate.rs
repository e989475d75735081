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
    /// Outputs for which there was a reason once: a row that was under way then may have come later.
    concerned: BTreeSet<Arc<str>>,
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
        let closed = |hours: Option<&Arc<Hours>>, whose: &str, name: &str| {
            let opening = hours?.opening(now)?;
            Some(HeldUntil { until: opening.at, why: format!("outside the hours of {whose}`{name}` until {opening}") })
        };
        closed(self.routes.get(&target.route), "", &target.route)
            .or_else(|| closed(self.outputs.get(&target.output), "the output ", &target.output))
    }

    fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.outputs.is_empty()
    }
}

impl Hub {
    /// Every reason there is now, by output.
    pub(super) fn reasons(&self) -> Reasons {
        let (gate, now) = (self.gate.load(), self.clock.wall());
        let mut reasons = Reasons::new();
        if gate.is_empty() && self.silences.is_empty() {
            return reasons;
        }
        for target in self.router().targets() {
            let told = gate.held_until(target, now).map(|held| held.why);
            let silences = self.silences.meeting(target, now).map(|held| held.why);
            for why in told.into_iter().chain(silences) {
                reasons.entry(Arc::clone(&target.output)).or_default().insert(why);
            }
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
        let reasons = self.hub.reasons();
        looked.concerned.extend(reasons.keys().cloned());
        for output in self.names() {
            let because = reasons.get(&output).cloned().unwrap_or_default();
            let changed = looked.reasons.get(&output) != Some(&because);
            if !changed && !looked.concerned.contains(&output) {
                continue;
            }
            let (by, except) = if changed { (Timestamp(i64::MAX), because.clone()) } else { (now, BTreeSet::new()) };
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
        looked.reasons.retain(|output, _| self.has(output));
    }
}
