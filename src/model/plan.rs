//! Which routes send an event to which outputs, decided before the answer and kept with the event.

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
