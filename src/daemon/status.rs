//! What the daemon says about itself: health, numbers, its outputs.

use super::silences::{Asked, CannotSilence, Silence};
use super::space::Rung;
use super::start::Daemon;
use crate::deliver::{BreakerState, OutputStatus, UnknownOutput};
use crate::ingest::{Answer, Refusal, SecretUse, Source, Tally, handle::KEPT_WITHIN};
use crate::journal::store::Depth;
use crate::model::printable::Printable;
use crate::model::{Instant, OWN_SOURCE, Timestamp};
use crate::route::Glob;
use crate::telemetry::{OutputNumbers, Snapshot};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use switchyard_api::problem::nearest;

/// A loop that should move every second and has not for so long is told.
const STILL: Duration = Duration::from_secs(30);

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
        let (mut troubles, now) = (self.troubles_of_intake(), self.hub.clock.now());
        for (name, _) in self.fleet.status().iter().filter(|(_, status)| status.failed) {
            troubles.push(format!("the output `{name}` failed by a fault of ours; it is begun anew within a minute, nothing is lost"));
        }
        let seen = self.seen.load();
        troubles.extend(seen.stuck.iter().cloned());
        let pulse = Instant(self.noticed.pulse.load(Ordering::Relaxed));
        for (what, at) in [("the daemon's rounds have", seen.at), ("the threads that deliver have", pulse)] {
            let still = now.since(at.max(self.started));
            if still >= STILL {
                troubles.push(format!("{what} not moved for {} s", still.as_secs()));
            }
        }
        troubles
    }

    /// Why events can't be taken.
    fn troubles_of_intake(&self) -> Vec<String> {
        let mut troubles = vec![];
        if let Some(under_way) = self.hub.journal.commits().under_way.filter(|under_way| *under_way >= KEPT_WITHIN) {
            troubles.push(format!("the journal has been at one commit for {} s: senders hear 503", under_way.as_secs()));
        }
        let seen = self.seen.load();
        if seen.rung == Rung::Reserved {
            let free = seen.space.map_or(0, |space| space.free);
            troubles.push(format!("the journal's disk has {free} bytes free, below `journal.reserve`: senders hear 503, deliveries go on"));
        }
        if let Some(fault) = self.hub.journal.fault().borrow().as_ref() {
            troubles.push(format!("the journal stopped: {}", fault.message));
        }
        troubles
    }

    /// Whether events are taken and what was open at the start is on its way. An output that does not get on keeps no events out (L3).
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow() && self.troubles_of_intake().is_empty()
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

    /// Outputs that somebody paused: what waits for them is held (decision 25).
    pub fn paused_outputs(&self) -> BTreeSet<Arc<str>> {
        self.paused.names()
    }

    /// Keeps back what somebody silenced.
    ///
    /// # Errors
    /// It names nothing there is, makes no sense, or can't be written down.
    pub fn silence(&self, asked: Asked) -> Result<Silence, CannotSilence> {
        let running = self.running.load();
        let router = self.hub.router();
        let sources = self.ingest.sources();
        let outputs: Vec<&str> = running.outputs.iter().map(|(name, _)| name.as_str()).collect();
        let routes: Vec<&str> = router.names().map(|name| &**name).collect();
        let sources: Vec<&str> = sources.iter().map(|(_, source)| &*source.name).collect();
        for (what, pattern, names) in
            [("output", &asked.output, outputs), ("route", &asked.route, routes), ("source", &asked.source, sources)]
        {
            let Some(pattern) = pattern else { continue };
            // What is no pattern is told below.
            if Glob::parse(pattern).is_ok_and(|glob| !names.iter().any(|name| glob.matches(name))) {
                let near = nearest(pattern, names).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                return Err(CannotSilence::Wrong(format!("there is no {what} `{}`{near}", Printable(pattern))));
            }
        }
        let silence = self.hub.silences.add(asked, self.hub.clock.wall())?;
        tracing::warn!(silence = silence.id, by = %Printable(&silence.asked.by), why = %Printable(&silence.asked.why), "deliveries are silenced");
        Ok(silence)
    }

    /// Ends a silence before its time.
    ///
    /// # Errors
    /// There is none of this number, or it can't be written down.
    pub fn end_silence(&self, id: u64) -> Result<Silence, CannotSilence> {
        self.hub.silences.end(id, self.hub.clock.wall())
    }

    /// Silences that are not over.
    pub fn silences(&self) -> Vec<Silence> {
        self.hub.silences.list(self.hub.clock.wall())
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
        let (statuses, reasons, depths) = (self.fleet.status(), self.hub.reasons(&self.works.names()), self.hub.journal.depths());
        let held = |name: &str, status: &OutputStatus| {
            let paused = status.paused.then(|| paused_why(name));
            let why: Vec<String> = paused.into_iter().chain(reasons.get(name).into_iter().flatten().cloned()).collect();
            (!why.is_empty()).then_some(why)
        };
        let shown = |name: &str, kind: &str| {
            let Some(status) = statuses.get(name) else { return json!({ "name": name, "type": kind }) };
            let depth = depth(status, depths.get(name));
            json!({
                "name": name, "type": kind, "state": breaker_word(&status.breaker), "why": breaker_why(&status.breaker), "paused": status.paused,
                "held": held(name, status), "waiting": depth.waiting, "held_count": depth.held, "in_flight": status.in_flight,
                "told_to_wait_until": status.asked_until.map(|until| until.to_string()),
                "outcomes": outcomes(status).into_iter().map(|(word, n)| (word.to_owned(), n.into())).collect::<serde_json::Map<_, _>>(),
            })
        };
        Value::Array(plans.outputs.iter().map(|(name, kind)| shown(name, kind)).collect())
    }

    /// Every source with what came of its requests since the start, as the admin side shows it.
    pub fn sources(&self) -> Value {
        let sources = self.ingest.sources();
        let mut rows: Vec<(Arc<str>, Value)> =
            sources.iter().map(|(path, source)| (Arc::clone(&source.name), intake(path, source))).collect();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        rows.into_iter().map(|(_, row)| row).collect()
    }

    /// Why nothing goes to an output now, and what to do or when it is tried again; `None`: it works.
    pub fn keeps_waiting(&self, output: &str) -> Option<String> {
        let statuses = self.fleet.status();
        let status = statuses.get(output)?;
        if status.paused {
            return Some(paused_why(output));
        }
        let BreakerState::Open { misconfigured, why, since } = &status.breaker else {
            // Of one key the rows themselves tell.
            let until = status.asked_until.filter(|_| !status.keyed)?;
            return Some(format!("the far side told us to wait until {until}"));
        };
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
        let mut proven: Vec<(String, usize, u64)> = vec![];
        for (_, source) in sources.iter() {
            kept.push((source.name.to_string(), source.tally.of(Answer::Kept)));
            duplicates.push((source.name.to_string(), source.tally.of(Answer::Repeated)));
            proven.extend(source.rotation.uses().into_iter().map(|used| (source.name.to_string(), used.position, used.proven)));
        }
        kept.push((OWN_SOURCE.to_owned(), self.noticed.told.load(Ordering::Relaxed)));
        let (seen, now) = (self.seen.load(), self.hub.steady.wall());
        let tallies = sources.iter().map(|(_, source)| source.tally.as_ref()).chain([self.ingest.elsewhere()]);
        for tally in tallies {
            for answer in Answer::ALL.into_iter().filter(|answer| answer.status().as_u16() >= 400) {
                *refused.entry(answer.status().as_u16()).or_default() += tally.of(answer);
            }
        }
        kept.sort();
        duplicates.sort();
        proven.sort();
        let (counts, depths) = (self.hub.journal.counts(), self.hub.journal.depths());
        let output = |(name, status): (&Arc<str>, &OutputStatus)| {
            let depth = depth(status, depths.get(name));
            numbers(name, status, depth, seen.oldest.get(name).copied(), now)
        };
        Snapshot {
            kept,
            duplicates,
            proven,
            refused: refused.into_iter().collect(),
            outputs: self.fleet.status().iter().map(output).collect(),
            free: seen.space.map(|space| space.free),
            commits: counts.commits,
            settled: counts.settlements,
            audit: self.audit_numbers(),
            uptime: self.hub.clock.now().since(self.started).as_secs_f64(),
        }
    }

    /// The last refused requests, newest first: of one source, of the paths that no source has (`-`), or of all; by cause.
    pub fn refused(&self, source: Option<&str>, cause: Option<&str>) -> Value {
        let sources = self.ingest.sources();
        let of = |name: Option<&str>, tally: &Tally| -> Vec<(Timestamp, Value)> {
            let wanted = source.is_none_or(|source| source == name.unwrap_or("-"));
            let refusals = tally.refusals().into_iter().filter(|refusal| wanted && cause.is_none_or(|cause| cause == refusal.cause));
            refusals.map(|refusal| (refusal.at, refusal_row(name, &refusal))).collect()
        };
        let mut rows = of(None, self.ingest.elsewhere());
        rows.extend(sources.iter().flat_map(|(_, source)| of(Some(&source.name), &source.tally)));
        rows.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        Value::Array(rows.into_iter().map(|(_, row)| row).collect())
    }
}

fn paused_why(output: &str) -> String {
    format!("the output is paused: `switchyard resume {output}` lets it go on")
}

fn refusal_row(source: Option<&str>, refusal: &Refusal) -> Value {
    json!({
        "at": refusal.at.to_string(), "status": refusal.answer.status().as_u16(), "cause": refusal.cause, "source": source,
        "path": &*refusal.path, "peer": refusal.peer.to_string(), "header": refusal.header.as_deref(),
        "seconds_off": refusal.seconds_off, "why": refusal.reason,
    })
}

fn intake(path: &str, source: &Source) -> Value {
    let (tally, standing) = (&source.tally, source.tally.standing());
    let secret =
        |used: SecretUse| json!({ "position": used.position, "proven": used.proven, "last_at": used.last_at.map(|at| at.to_string()) });
    let secrets: Vec<Value> = source.rotation.uses().into_iter().map(secret).collect();
    let refused: u64 = Answer::ALL.into_iter().filter(|answer| answer.status().as_u16() >= 400).map(|answer| tally.of(answer)).sum();
    json!({
        "name": &*source.name, "path": path, "kept": tally.of(Answer::Kept), "duplicates": tally.of(Answer::Repeated), "refused": refused,
        "refused_in_row": standing.in_row, "gives_up_after": source.verifier.gives_up_after(),
        "secrets": secrets, "last_event_at": standing.heard_at.map(|at| at.to_string()),
    })
}

/// What waits for an output, with what it has in memory and the journal does not know, and what is held; all of it is where it is paused (decision 25).
fn depth(status: &OutputStatus, kept: Option<&Depth>) -> Depth {
    let Depth { waiting, held } = kept.copied().unwrap_or_default();
    let waiting = waiting + status.bare as u64;
    if status.paused { Depth { waiting: 0, held: held + waiting } } else { Depth { waiting, held } }
}

fn numbers(name: &str, status: &OutputStatus, depth: Depth, oldest: Option<Timestamp>, now: Timestamp) -> OutputNumbers {
    OutputNumbers {
        name: name.to_owned(),
        outcomes: outcomes(status),
        waiting: depth.waiting,
        held: depth.held,
        in_flight: status.in_flight as u64,
        up: status.breaker == BreakerState::Closed,
        paused: status.paused,
        begun_anew: status.begun_anew,
        oldest_due: oldest.map_or(0, |due| now.since(due).as_secs()),
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
