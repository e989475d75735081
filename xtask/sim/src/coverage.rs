//! Which trouble met the daemon in which state, counted over all seeds: a pair that never came up was never tried, and a generator's
//! blind spot is a bug.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

/// What the daemon was doing when trouble came.
pub const STATES: [&str; 10] = ["idle", "posting", "in flight", "waiting", "retrying", "held", "behind", "down", "paused", "recovering"];

/// The kinds of trouble.
pub const TROUBLES: [&str; 32] = [
    "crash",
    "crash before a call",
    "crash after a call",
    "disk full",
    "disk fails before",
    "disk fails after",
    "disk slow",
    "stop",
    "reload",
    "bad reload",
    "pause",
    "resume",
    "replay",
    "pass by",
    "silence",
    "speak",
    "purge",
    "drill",
    "clock forward",
    "clock back",
    "post",
    "busy",
    "late",
    "far down",
    "misconfigured",
    "rejects",
    "silent",
    "lost",
    "hangs",
    "mute",
    "panics",
    "well",
];

/// The counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<(&'static str, &'static str), u64>);

impl Coverage {
    /// Trouble came in these states.
    pub fn hit(&mut self, trouble: &'static str, states: &[&'static str]) {
        for state in states {
            *self.0.entry((trouble, state)).or_default() += 1;
        }
    }

    /// Adds what others counted.
    pub fn add(&mut self, other: &Coverage) {
        for (pair, count) in &other.0 {
            *self.0.entry(*pair).or_default() += count;
        }
    }

    /// Pairs that were never hit.
    pub fn missing(&self) -> Vec<(&'static str, &'static str)> {
        let all = TROUBLES.iter().flat_map(|trouble| STATES.iter().map(|state| (*trouble, *state)));
        all.filter(|pair| !self.0.contains_key(pair)).collect()
    }
}

impl Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:20}", "")?;
        for state in STATES {
            write!(f, "{state:>11}")?;
        }
        for trouble in TROUBLES {
            write!(f, "\n{trouble:20}")?;
            for state in STATES {
                write!(f, "{:>11}", self.0.get(&(trouble, state)).copied().unwrap_or(0))?;
            }
        }
        Ok(())
    }
}
