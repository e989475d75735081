//! Which outputs were down: a small file beside the journal, so that a restart tries each of them with one delivery, not with as many as it may.
//!
//! Written by the rounds, a second late: what a crash loses is tried as any other.

use super::beside;
use crate::deliver::{BreakerState, OutputStatus, WasDown};
use crate::model::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The file's name.
const FILE: &str = "down.json";

/// How one is down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    misconfigured: bool,
    why: String,
    /// Milliseconds since 1970.
    since: i64,
}

/// Outputs that are down.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Down(BTreeMap<Arc<str>, Entry>);

impl Down {
    /// As an earlier life wrote it; a file that can't be read says of none.
    pub fn read(folder: &Path) -> Self {
        match beside::read(folder, FILE) {
            Ok(down) => down.unwrap_or_default(),
            Err(why) => {
                tracing::warn!(%why, "`{FILE}` beside the journal can't be read: outputs that were down are tried as any other");
                Down::default()
            }
        }
    }

    /// As it stands now. One that recovers is not over it yet.
    pub fn now(&self, statuses: &BTreeMap<Arc<str>, OutputStatus>) -> Self {
        let entry = |(name, status): (&Arc<str>, &OutputStatus)| {
            let entry = match &status.breaker {
                BreakerState::Open { misconfigured, why, since } => {
                    Entry { misconfigured: *misconfigured, why: why.clone(), since: since.0 }
                }
                BreakerState::Recovering => self.0.get(name)?.clone(),
                BreakerState::Closed => return None,
            };
            Some((Arc::clone(name), entry))
        };
        Down(statuses.iter().filter_map(entry).collect())
    }

    /// Writes it down.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        beside::write(folder, FILE, self)
    }

    /// How this output was down.
    pub fn of(&self, output: &str) -> Option<WasDown> {
        let Entry { misconfigured, why, since } = self.0.get(output)?.clone();
        Some(WasDown { misconfigured, why, since: Timestamp(since) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_down_outlives_the_process_and_what_answers_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let open = BreakerState::Open { misconfigured: true, why: "401".into(), since: Timestamp(7) };
        let statuses = |breaker: BreakerState| BTreeMap::from([(Arc::from("shop"), OutputStatus { breaker, ..OutputStatus::default() })]);
        let down = Down::read(folder.path()).now(&statuses(open));
        down.write(folder.path()).unwrap();
        let again = Down::read(folder.path());
        assert_eq!(
            (again.of("shop"), again.of("other")),
            (Some(WasDown { misconfigured: true, why: "401".into(), since: Timestamp(7) }), None)
        );
        assert_eq!(again.now(&statuses(BreakerState::Recovering)), again);
        assert_eq!(again.now(&statuses(BreakerState::Closed)), Down::default());
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert_eq!(Down::read(folder.path()), Down::default());
    }
}
