//! Which routes send an event to which outputs, decided before the answer and kept with the event.

use super::config_version::ConfigVersion;
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One route's one output.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The route's name.
    pub route: Arc<str>,
    /// The output's name.
    pub output: Arc<str>,
}

impl Target {
    /// Where what is dead at this target goes: to the output that `on_dead` names. Its route says whose it is; no route of a file has such a name.
    #[must_use]
    pub fn on_dead(&self, output: &Arc<str>) -> Target {
        Target { route: format!("{}/{}", self.route, self.output).into(), output: Arc::clone(output) }
    }

    /// The target whose dead deliveries go to this one; `None`: it is of a route of a file.
    pub fn is_on_dead_of(&self) -> Option<Target> {
        let (route, output) = self.route.split_once('/')?;
        Some(Target { route: route.into(), output: output.into() })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {}", self.route, self.output)
    }
}

/// What was planned for an event; the order is that of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Each at most once.
    pub targets: Vec<Arc<Target>>,
    /// Targets (by their place in `targets`) whose `where` could not be decided, and why: planned all the same, so that
    /// nothing is lost; their deliveries are dead with the reason.
    pub failed: Vec<(usize, String)>,
    /// Targets (by their place in `targets`, rising) whose deliveries go one at a time with others of the same key.
    pub ordered: Vec<(usize, OrderKey)>,
    /// Those of them (by their place in `targets`, rising) whose deliveries are collected, and how long the first of a key waits for others.
    /// Not kept with the event: it says how its rows are born.
    pub collected: Vec<(usize, Duration)>,
    /// Under which configuration its targets were planned: those from this place on, up to the next one's. Empty: it was made before this was
    /// kept. A plan without targets has one too.
    pub versions: Vec<(usize, ConfigVersion)>,
}

impl Plan {
    /// Without those targets at this output whose route goes to another as well: the others hear of it while this one cannot be told.
    #[must_use]
    pub fn sparing(&self, output: &str) -> Self {
        let has_another = |spared: &Target| self.targets.iter().any(|other| other.route == spared.route && *other.output != *output);
        self.of(|_, target| *target.output != *output || !has_another(target))
    }

    /// What of it could be decided and goes to this output (by this route, where one is named), where the event does not go there yet (by
    /// that route).
    #[must_use]
    pub fn missing_at(&self, output: &str, route: Option<&str>, has: &Plan) -> Plan {
        let there = |target: &Target| *target.output == *output && route.is_none_or(|route| route == &*target.route);
        if has.targets.iter().any(|target| there(target)) {
            return Plan::default();
        }
        self.of(|place, target| there(target) && !self.failed.iter().any(|(failed, _)| *failed == place))
    }

    /// With the targets of another plan behind its own, each still at most once.
    #[must_use]
    pub fn and(mut self, more: &Plan) -> Plan {
        let more = more.of(|_, target| !self.targets.iter().any(|has| **has == *target));
        let before = self.targets.len();
        self.failed.extend(more.failed.into_iter().map(|(place, why)| (before + place, why)));
        self.ordered.extend(more.ordered.into_iter().map(|(place, key)| (before + place, key)));
        self.collected.extend(more.collected.into_iter().map(|(place, wait)| (before + place, wait)));
        if !more.targets.is_empty() {
            more.versions.into_iter().for_each(|(place, version)| self.planned_from(before + place, version));
        }
        self.targets.extend(more.targets);
        self
    }

    /// Says that the targets from this place on are planned under that configuration.
    fn planned_from(&mut self, place: usize, version: ConfigVersion) {
        if self.versions.last().is_none_or(|(_, last)| *last != version) {
            self.versions.push((place, version));
        }
    }

    /// Under which configuration the target at this place was planned, or the event itself, at 0; `None`: it is not known.
    pub fn version_at(&self, place: usize) -> Option<ConfigVersion> {
        self.versions.iter().rev().find(|(from, _)| *from <= place).map(|(_, version)| *version)
    }

    /// Under which configuration a target was planned; `None`: it is not known, or not planned.
    pub fn version_of(&self, target: &Target) -> Option<ConfigVersion> {
        self.version_at(self.targets.iter().position(|planned| **planned == *target)?)
    }

    /// Those of its targets that are kept, by place and target.
    fn of(&self, keeps: impl Fn(usize, &Target) -> bool) -> Plan {
        let kept: Vec<usize> =
            self.targets.iter().enumerate().filter(|(place, target)| keeps(*place, target)).map(|(place, _)| place).collect();
        let place = |old: usize| kept.iter().position(|kept| *kept == old);
        let mut plan = Plan {
            failed: self.failed.iter().filter_map(|(old, why)| Some((place(*old)?, why.clone()))).collect(),
            ordered: self.ordered.iter().filter_map(|(old, key)| Some((place(*old)?, *key))).collect(),
            collected: self.collected.iter().filter_map(|(old, wait)| Some((place(*old)?, *wait))).collect(),
            targets: kept.iter().filter_map(|place| self.targets.get(*place)).cloned().collect(),
            versions: vec![],
        };
        for (new, old) in kept.iter().enumerate() {
            self.version_at(*old).into_iter().for_each(|version| plan.planned_from(new, version));
        }
        if kept.is_empty() {
            plan.versions.extend(self.version_at(0).map(|version| (0, version)));
        }
        plan
    }

    /// The key by which a target's deliveries are kept in order.
    pub fn order_of(&self, target: &Target) -> Option<OrderKey> {
        let key = |(place, key): &(usize, OrderKey)| (self.targets.get(*place).is_some_and(|planned| **planned == *target)).then_some(*key);
        self.ordered.iter().find_map(key)
    }
}

/// Deliveries of one output with the same key go one at a time, in the order of arrival: a hash of what `order_by` gave. Two keys that
/// collide wait for each other, which is slower and never wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderKey(pub u64);

impl OrderKey {
    /// The key of this text. Stable for ever: it stands in the journal.
    pub fn of(text: &str) -> Self {
        OrderKey(hash(text))
    }
}

/// Deliveries of one output with the same key share one limit: a hash of what `rate.key` gave. Two keys that collide share theirs, which
/// is slower and never too fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RateKey(pub u64);

impl RateKey {
    /// The key of this text.
    pub fn of(text: &str) -> Self {
        RateKey(hash(text))
    }
}

fn hash(text: &str) -> u64 {
    let mut key = [0; 8];
    key.copy_from_slice(&Sha256::digest(text.as_bytes())[..8]);
    u64::from_be_bytes(key)
}

/// Why a planned delivery could not be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRendered {
    /// The running file has no such route or output: the delivery is held, never nothing.
    #[error("`{0}` is not in the configuration any more")]
    Gone(String),
    /// The template or the transform failed for this event: the delivery is dead with the reason.
    #[error("{0}")]
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_spared_where_a_route_has_another() {
        let target = |(route, output): (&str, &str)| Arc::new(Target { route: route.into(), output: output.into() });
        let plan = Plan {
            targets: [("a", "chat"), ("a", "mail"), ("b", "chat"), ("c", "mail")].map(target).to_vec(),
            failed: vec![(0, "x".into()), (2, "y".into())],
            ordered: vec![(1, OrderKey(1)), (3, OrderKey(2))],
            collected: vec![(3, Duration::from_secs(1))],
            versions: vec![(0, ConfigVersion(1)), (2, ConfigVersion(2))],
        };
        let spared = plan.sparing("chat");
        assert_eq!(spared.targets, [("a", "mail"), ("b", "chat"), ("c", "mail")].map(target));
        assert_eq!(spared.collected, [(2, Duration::from_secs(1))]);
        assert_eq!(spared.versions, [(0, ConfigVersion(1)), (1, ConfigVersion(2))]);
        assert_eq!(spared.version_of(&target(("c", "mail"))), Some(ConfigVersion(2)));
        assert_eq!((spared.failed, spared.ordered), (vec![(1, "y".into())], vec![(0, OrderKey(1)), (2, OrderKey(2))]));
        assert_eq!(plan.sparing("other"), plan);

        let key = |place: usize, key| vec![(place, OrderKey(key))];
        let missing = plan.missing_at("mail", None, &Plan::default());
        assert_eq!(
            (missing.targets.clone(), missing.ordered.clone()),
            ([("a", "mail"), ("c", "mail")].map(target).to_vec(), vec![(0, OrderKey(1)), (1, OrderKey(2))])
        );
        assert_eq!(plan.missing_at("mail", Some("c"), &Plan::default()).ordered, key(0, 2));
        assert_eq!(plan.missing_at("chat", None, &Plan::default()).targets, [], "what could not be decided is not meant");
        let has = Plan { targets: vec![target(("old", "mail"))], ..Plan::default() };
        assert_eq!(plan.missing_at("mail", None, &has), Plan::default(), "it goes there, by whatever route");
        let both = has.and(&plan.missing_at("mail", Some("c"), &Plan::default()));
        assert_eq!((both.targets.clone(), both.ordered.clone()), ([("old", "mail"), ("c", "mail")].map(target).to_vec(), key(1, 2)));
        assert_eq!((both.version_at(0), both.version_at(1)), (None, Some(ConfigVersion(2))), "each by the file that planned it");
        assert_eq!(both.clone().and(&both), both);
    }
}
