//! Which routes send an event to which outputs, decided before the answer and kept with the event.

use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;

/// One route's one output.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The route's name.
    pub route: Arc<str>,
    /// The output's name.
    pub output: Arc<str>,
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
}

impl Plan {
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
