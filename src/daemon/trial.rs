//! The tests of a file, run by what the file says.

use super::blueprint::Blueprint;
use super::gate::Gate;
use crate::model::{Event, Target, Timestamp};
use crate::trial::{self, Ran, Schedule, Tests};
use std::sync::Arc;
use std::time::Duration;

/// When deliveries go, as a file says.
struct Times<'b> {
    blueprint: &'b Blueprint,
    gate: Gate,
}

impl Schedule for Times<'_> {
    fn held_until(&self, target: &Target, now: Timestamp) -> Option<Timestamp> {
        self.gate.held_until(target, now).map(|held| held.until)
    }
    fn every(&self, output: &str) -> Duration {
        let plan = self.blueprint.outputs.iter().find(|plan| *plan.name == *output);
        plan.and_then(|plan| plan.policy.digest).map(|digest| digest.every).unwrap_or_default()
    }
    fn topic(&self, event: &Event) -> Arc<str> {
        self.blueprint.topic_of(&event.source, &event.headers, &event.body).unwrap_or_default()
    }
}

/// Runs tests whose name holds `only`, by the routes and outputs of a file.
pub async fn run(blueprint: &Blueprint, tests: &Tests, only: &str) -> Vec<Ran> {
    let times = Times { blueprint, gate: Gate::of(&blueprint.router, &blueprint.outputs) };
    trial::run(tests, only, &blueprint.router, &super::jq_pool(2), &times).await
}
