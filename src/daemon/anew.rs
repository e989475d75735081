//! Outputs whose task failed by a fault of ours are begun anew: soon, and where it goes on failing, less and less often.

use super::start::Daemon;
use crate::deliver::OutputStatus;
use crate::model::Instant;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// From a fault to the next beginning; it doubles up to
const FIRST: Duration = Duration::from_secs(1);
/// this.
const MOST: Duration = Duration::from_mins(1);
/// One that has worked for so long begins with the first wait again.
const FORGOTTEN: Duration = Duration::from_mins(10);

/// How it goes on with one.
#[derive(Debug, Clone, Copy)]
struct Wait {
    /// When it is begun anew; where it runs, when it was.
    at: Instant,
    /// What comes after that.
    next: Duration,
}

/// What one round hands to the next.
#[derive(Debug, Default)]
pub(super) struct Waits(BTreeMap<Arc<str>, Wait>);

impl Waits {
    /// Which are to be begun anew now.
    fn due(&mut self, statuses: &BTreeMap<Arc<str>, OutputStatus>, now: Instant) -> Vec<Arc<str>> {
        self.0.retain(|name, wait| statuses.get(name).is_some_and(|status| status.failed || now.since(wait.at) < FORGOTTEN));
        let mut due = vec![];
        for (name, _) in statuses.iter().filter(|(_, status)| status.failed) {
            let wait = self.0.entry(Arc::clone(name)).or_insert(Wait { at: now + FIRST, next: FIRST * 2 });
            if now >= wait.at {
                due.push(Arc::clone(name));
                *wait = Wait { at: now + wait.next, next: (wait.next * 2).min(MOST) };
            }
        }
        due
    }
}

impl Daemon {
    /// Begins anew what is due; none of it is waited for.
    pub(super) fn begin_anew(&self, waits: &mut Waits, now: Instant) {
        for output in waits.due(&self.fleet.status(), now) {
            let works = Arc::clone(&self.works);
            tokio::spawn(async move {
                match works.begin_anew(&output).await {
                    Ok(()) => tracing::warn!(%output, "the output was begun anew after a fault of ours"),
                    Err(why) => {
                        tracing::error!(%output, %why, "the output was begun anew after a fault of ours; what it had in hand is taken up at the next start");
                    }
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_waits_longer_and_a_long_time_without_is_forgotten() {
        let at = |seconds: u64| Instant(seconds * 1_000_000_000);
        let status = |failed| BTreeMap::from([(Arc::from("o"), OutputStatus { failed, ..OutputStatus::default() })]);
        let mut waits = Waits::default();
        let begun: Vec<u64> = (0..240).filter(|second| !waits.due(&status(true), at(*second)).is_empty()).collect();
        assert_eq!(begun, [1, 3, 7, 15, 31, 63, 123, 183]);
        assert!(waits.due(&status(false), at(240)).is_empty());
        assert!(waits.due(&status(false), at(2_000)).is_empty() && waits.0.is_empty());
        assert!(waits.due(&status(true), at(2_001)).is_empty());
        assert_eq!(waits.due(&status(true), at(2_002)).len(), 1);
    }
}
