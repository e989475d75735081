//! Why a delivery would not go at once, or might not.

use super::Scene;
use crate::deliver::Policy;
use crate::model::{DeliveryRow, Event, HeldUntil, Period, State, Target, Timestamp, stands_in_line};
use serde_json::{Value, json};

/// How it is now, for those who ask.
pub struct Present<'p> {
    /// Why a delivery to a target may not go, and until when: for its `hours` or for a `silence`.
    pub kept_back: &'p (dyn Fn(&Target) -> Option<(&'static str, HeldUntil)> + Sync),
    /// Why nothing goes to an output; `None`: it works, or nobody knows.
    pub blocked: &'p (dyn Fn(&str) -> Option<String> + Sync),
    /// How many deliveries wait at an output; `None`: nobody knows.
    pub waiting: &'p (dyn Fn(&str) -> Option<u64> + Sync),
}

/// One reason: which, whether it holds now or may once others come, in words, and until when.
fn reason(because: &str, now: bool, why: &str, until: Option<Timestamp>) -> Value {
    json!({ "because": because, "now": now, "why": why, "until": until.map(|until| until.to_string()) })
}

impl Scene<'_> {
    /// All reasons there are: `[{because, now, why, until}]`.
    pub(super) fn waits(&self, event: &Event, target: &Target, rows: &[&DeliveryRow], kept_back: Option<(&str, HeldUntil)>) -> Vec<Value> {
        let mut waits: Vec<Value> =
            kept_back.into_iter().map(|(because, held)| reason(because, true, &held.why, Some(held.until))).collect();
        waits.extend((self.present.blocked)(&target.output).map(|why| reason("output", true, &why, None)));
        let Some(sight) = self.sights.output(&target.output) else { return waits };
        waits.extend(self.line(event, target, rows, &sight.policy));
        waits.extend(self.rate(event, target, &sight.policy));
        waits
    }

    /// What it stands in line by, and behind whom.
    fn line(&self, event: &Event, target: &Target, rows: &[&DeliveryRow], policy: &Policy) -> Option<Value> {
        let standing = self.router.standing(event, target)?;
        let because = if standing.together { "digest" } else { "order" };
        let mut wait = in_line(because, rows).unwrap_or_else(|| match policy.digest {
            Some(digest) if standing.together => {
                let first = digest.first.filter(|first| !first.is_zero());
                let first = first.map_or_else(|| "goes at once".to_owned(), |first| format!("is collected for {}", Period(first)));
                let why = format!("{first}; within {} after a message others of its key are collected", Period(digest.every));
                reason(because, digest.first.is_some_and(|first| !first.is_zero()), &why, None)
            }
            _ => reason(because, false, "one of its key goes at a time, in the order of arrival", None),
        });
        wait["key"] = self.sights.masked(&standing.key).into();
        Some(wait)
    }

    fn rate(&self, event: &Event, target: &Target, policy: &Policy) -> Option<Value> {
        let limit = policy.limit?.to_string();
        let limit = limit.trim_end_matches(',');
        let key = self.router.pace(&target.output).map(|pace| pace.text(event));
        let each = if key.is_some() { " for each key" } else { "" };
        let waiting = (self.present.waiting)(&target.output).filter(|count| *count > 0);
        let now = waiting.map(|count| format!("; {count} or more wait there")).unwrap_or_default();
        let mut wait = reason("rate", waiting.is_some(), &format!("at most {limit} go to `{}`{each}{now}", target.output), None);
        if let Some(key) = key {
            wait["key"] = self.sights.masked(&key).into();
        }
        Some(wait)
    }
}

/// Whether a row says behind which other it stands, as the archive tells it.
fn is_behind(detail: &str) -> bool {
    detail.starts_with("waits behind dlv_") || detail.starts_with("collected for the digest after dlv_")
}

/// A kept one that stands in line says behind whom.
fn in_line(because: &str, rows: &[&DeliveryRow]) -> Option<Value> {
    let behind = |row: &&&DeliveryRow| row.state == State::Held && (stands_in_line(&row.detail) || is_behind(&row.detail));
    rows.iter().find(behind).map(|row| reason(because, true, &row.detail, row.due_at))
}
