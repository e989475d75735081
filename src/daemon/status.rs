//! What the daemon says about itself: health, numbers, its outputs.

use super::start::Daemon;
use crate::deliver::{BreakerState, OutputStatus, UnknownOutput};
use crate::ingest::Answer;
use crate::telemetry::{OutputNumbers, Snapshot};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Why an output was not paused or resumed.
#[derive(Debug, thiserror::Error)]
pub enum CannotPause {
    /// There is none of this name.
    #[error(transparent)]
    Unknown(UnknownOutput),
    /// It would not outlive a restart.
    #[error("the pause can't be written down: {0}")]
    NotWritten(std::io::Error),
}

impl Daemon {
    /// Why the daemon is not well; empty: it is.
    pub fn troubles(&self) -> Vec<String> {
        let mut troubles = vec![];
        if let Some(fault) = self.hub.journal.fault().borrow().as_ref() {
            troubles.push(format!("the journal stopped: {}", fault.message));
        }
        for (name, _) in self.fleet.status().iter().filter(|(_, status)| status.failed) {
            troubles.push(format!("the output `{name}` stopped by a fault of ours; restart the daemon, nothing is lost"));
        }
        troubles
    }

    /// Whether events are taken and what was open at the start is on its way.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow() && self.troubles().is_empty()
    }

    /// Keeps an output's deliveries back, or lets them go; outlives a restart.
    ///
    /// # Errors
    /// There is no such output, or the pause can't be written down.
    pub fn pause(&self, output: &str, paused: bool) -> Result<(), CannotPause> {
        if !self.fleet.status().contains_key(output) {
            return Err(CannotPause::Unknown(UnknownOutput(output.into())));
        }
        self.paused.set(output, paused).map_err(CannotPause::NotWritten)?;
        if paused { self.fleet.pause(output) } else { self.fleet.resume(output) }.map_err(CannotPause::Unknown)
    }

    /// Deliveries were made waiting: their outputs look for them now.
    pub fn look(&self, outputs: &BTreeSet<String>) {
        for output in outputs {
            // It was there a moment ago; if it ended, its rows are held.
            let _ = self.fleet.look(output);
        }
    }

    /// Every output, as the admin side shows it.
    pub fn outputs(&self) -> Value {
        let plans = self.running.load();
        let statuses = self.fleet.status();
        let shown = |name: &str, kind: &str| {
            let Some(status) = statuses.get(name) else { return json!({ "name": name, "type": kind }) };
            json!({
                "name": name, "type": kind, "state": breaker_word(&status.breaker), "why": breaker_why(&status.breaker), "paused": status.paused,
                "waiting": status.waiting, "in_flight": status.in_flight,
                "outcomes": outcomes(status).into_iter().map(|(word, n)| (word.to_owned(), n.into())).collect::<serde_json::Map<_, _>>(),
            })
        };
        Value::Array(plans.outputs.iter().map(|(name, kind)| shown(name, kind)).collect())
    }

    /// Why nothing goes to an output now, and what to do or when it is tried again; `None`: it works.
    pub fn keeps_waiting(&self, output: &str) -> Option<String> {
        let statuses = self.fleet.status();
        let status = statuses.get(output)?;
        if status.paused {
            return Some(format!("the output is paused: `switchyard resume {output}` lets it go on"));
        }
        let BreakerState::Open { misconfigured, why, since } = &status.breaker else { return None };
        let state = if *misconfigured { "the output refuses us" } else { "the output is down" };
        let probe = status.probe_at.map(|at| format!(", tried again {at}")).unwrap_or_default();
        Some(format!("{state}: {why} (since {since}{probe})"))
    }

    /// All numbers at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let sources = self.ingest.sources();
        let mut refused: BTreeMap<u16, u64> = BTreeMap::new();
        let mut kept: Vec<(String, u64)> = vec![];
        let mut duplicates: Vec<(String, u64)> = vec![];
        for (_, source) in sources.iter() {
            kept.push((source.name.to_string(), source.tally.of(Answer::Kept)));
            duplicates.push((source.name.to_string(), source.tally.of(Answer::Repeated)));
        }
        let tallies = sources.iter().map(|(_, source)| source.tally.as_ref()).chain([self.ingest.elsewhere()]);
        for tally in tallies {
            for answer in Answer::ALL.into_iter().filter(|answer| answer.status().as_u16() >= 400) {
                *refused.entry(answer.status().as_u16()).or_default() += tally.of(answer);
            }
        }
        kept.sort();
        duplicates.sort();
        let counts = self.hub.journal.counts();
        Snapshot {
            kept,
            duplicates,
            refused: refused.into_iter().collect(),
            outputs: self.fleet.status().iter().map(|(name, status)| numbers(name, status)).collect(),
            commits: counts.commits,
            settled: counts.settlements,
            uptime: self.hub.clock.now().since(self.started).as_secs_f64(),
        }
    }

    /// The last refused requests, newest first.
    pub fn refused(&self) -> Value {
        let sources = self.ingest.sources();
        let of = |name: Option<&str>, tally: &crate::ingest::Tally| -> Vec<(i64, Value)> {
            let row = |refusal: crate::ingest::Refusal| {
                let shown = json!({
                    "at": refusal.at.to_string(), "status": refusal.answer.status().as_u16(), "source": name, "path": &*refusal.path,
                    "peer": refusal.peer.to_string(), "why": refusal.reason,
                });
                (refusal.at.0, shown)
            };
            tally.refusals().into_iter().map(row).collect()
        };
        let mut rows = of(None, self.ingest.elsewhere());
        rows.extend(sources.iter().flat_map(|(_, source)| of(Some(&source.name), &source.tally)));
        rows.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        Value::Array(rows.into_iter().map(|(_, row)| row).collect())
    }
}

fn numbers(name: &str, status: &OutputStatus) -> OutputNumbers {
    OutputNumbers {
        name: name.to_owned(),
        outcomes: outcomes(status),
        waiting: status.waiting as u64,
        in_flight: status.in_flight as u64,
        up: status.breaker == BreakerState::Closed,
        paused: status.paused,
    }
}

fn outcomes(status: &OutputStatus) -> Vec<(&'static str, u64)> {
    let counts = &status.counts;
    vec![
        ("delivered", counts.delivered),
        ("retry", counts.retry),
        ("down", counts.down),
        ("misconfigured", counts.misconfigured),
        ("rejected", counts.rejected),
        ("unknown", counts.unknown),
        ("dead", counts.dead),
        ("held", counts.held),
    ]
}

fn breaker_word(state: &BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "up",
        BreakerState::Recovering => "recovering",
        BreakerState::Open { misconfigured: true, .. } => "misconfigured",
        BreakerState::Open { misconfigured: false, .. } => "down",
    }
}

fn breaker_why(state: &BreakerState) -> Option<String> {
    match state {
        BreakerState::Open { why, since, .. } => Some(format!("{why} (since {since})")),
        BreakerState::Closed | BreakerState::Recovering => None,
    }
}
