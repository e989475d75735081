//! Writes objects and settles their deliveries; asks first for what went out without an answer.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use switchyard_api::http::Rules;
use switchyard_api::{CheckError, Outcome, Output, Parcel, Settle, Wall};
use tokio::time::{Instant, timeout_at};

use crate::answers::readable;
use crate::config::{Compress, Objects, Per};
use crate::pack::{Object, pack};
use crate::store::{CallError, Store};
use crate::unheard::Unheard;

/// Parcels in one call: as many as the host lets be under way.
const BATCH_MAX: usize = 4_096;
/// Objects of one call that are under way at once; more wait.
const CALLS_MAX: usize = 4;

/// One bucket or container.
#[derive(Debug)]
pub struct ObjectsOutput {
    pub(crate) store: Store,
    pub(crate) rules: Rules,
    pub(crate) how: Objects,
    /// The bucket for people, `s3://acme`.
    pub(crate) shown: String,
    pub(crate) wall: Wall,
    /// One attempt, with all its objects.
    pub(crate) within: Duration,
    pub(crate) unheard: Unheard,
}

impl ObjectsOutput {
    /// The parcels whose fate is not known from an earlier attempt.
    async fn not_yet_there(&self, parcels: Vec<Parcel>, settle: &Settle, deadline: Instant) -> Vec<Parcel> {
        let sought = self.unheard.of(&parcels);
        if sought.is_empty() {
            return parcels;
        }
        let mut said: Vec<Option<Outcome>> = vec![None; parcels.len()];
        let asked = stream::iter(sought).map(|(object, places)| async move { (self.found(&object, deadline).await, places) });
        let mut asked = asked.buffer_unordered(CALLS_MAX);
        while let Some((outcome, places)) = asked.next().await {
            for place in places {
                said[place].clone_from(&outcome);
            }
        }
        let mut rest = vec![];
        for (parcel, outcome) in parcels.into_iter().zip(said) {
            match outcome {
                None => rest.push(parcel),
                Some(outcome) => {
                    if matches!(outcome, Outcome::Delivered { .. }) {
                        self.unheard.forget([&parcel.delivery]);
                    }
                    settle.settle(parcel.handle, outcome);
                }
            }
        }
        rest
    }

    /// What is known of an object that went out: it is there, or nobody can be asked; `None`: it is not there, or we may not know.
    async fn found(&self, object: &str, deadline: Instant) -> Option<Outcome> {
        let outcome = match timeout_at(deadline, self.store.head(object)).await {
            Ok(Ok(answer)) if answer.status.is_success() => {
                return Some(Outcome::Delivered { detail: format!("there already: {}/{object}", self.shown) });
            }
            // A key that may only write hears 403; it is then written again, and readers tell it by `delivery`.
            Ok(Ok(answer)) if matches!(answer.status.as_u16(), 401 | 403 | 404) => return None,
            Ok(Ok(answer)) => self.rules.judge(&readable(answer), self.wall.millis(), false),
            Ok(Err(CallError::Target)) => return None,
            Ok(Err(CallError::Sent(error))) => error.outcome(),
            Err(_) => Outcome::Down { why: "no answer in time".into(), after: None },
        };
        Some(asked_in_vain(outcome))
    }

    /// Writes one object; its outcome is that of all its deliveries.
    async fn write(&self, object: &Object, settle: &Settle, deadline: Instant) -> Outcome {
        if Instant::now() >= deadline {
            return Outcome::Retry { why: "the objects before it took all of the attempt's time; raise `timeout`".into(), after: None };
        }
        let left = AtomicBool::new(false);
        let sent = || {
            left.store(true, Ordering::Relaxed);
            self.unheard.remember(&object.name, &object.deliveries);
            object.handles.iter().for_each(|handle| settle.sent(*handle));
        };
        let kind = match self.how.compress {
            Compress::Gzip => "application/gzip",
            Compress::None => "application/x-ndjson",
        };
        let outcome = match timeout_at(deadline, self.store.put(&object.name, object.body.clone(), kind, sent)).await {
            Ok(Ok(answer)) => {
                let status = answer.status;
                match self.rules.judge(&readable(answer), self.wall.millis(), false) {
                    Outcome::Delivered { .. } if status.is_success() => self.is_there("in", object),
                    Outcome::Delivered { .. } => self.is_there("there already:", object),
                    other => other,
                }
            }
            Ok(Err(error @ CallError::Target)) => Outcome::Misconfigured { why: error.to_string(), after: None },
            Ok(Err(CallError::Sent(error))) => error.outcome(),
            Err(_) if left.load(Ordering::Relaxed) => Outcome::Unknown { why: format!("sent, but no answer within {:?}", self.within) },
            Err(_) => Outcome::Retry { why: format!("not sent within {:?}", self.within), after: None },
        };
        // A server's error may have come after it was written.
        if matches!(outcome, Outcome::Delivered { .. } | Outcome::Misconfigured { .. } | Outcome::Rejected { .. }) {
            self.unheard.forget(&object.deliveries);
        }
        outcome
    }

    fn is_there(&self, how: &str, object: &Object) -> Outcome {
        Outcome::Delivered { detail: format!("{how} {}/{}", self.shown, object.name) }
    }

    async fn send(&self, parcels: Vec<Parcel>, settle: &Settle) {
        let deadline = Instant::now() + self.within;
        let parcels: Arc<[Parcel]> = self.not_yet_there(parcels, settle, deadline).await.into();
        if parcels.is_empty() {
            return;
        }
        let (how, packing) = (self.how, Arc::clone(&parcels));
        let packed = match tokio::task::spawn_blocking(move || pack(&packing, &how)).await {
            Ok(packed) => packed,
            Err(broken) => {
                let outcome = Outcome::Retry { why: format!("the packing thread ended early: {broken}"), after: None };
                parcels.iter().for_each(|parcel| settle.settle(parcel.handle, outcome.clone()));
                return;
            }
        };
        for (handle, outcome) in packed.refused {
            settle.settle(handle, outcome);
        }
        let writes = packed.objects.into_iter().map(|mut object| async move {
            let outcome = self.write(&object, settle, deadline).await;
            object.body = Bytes::new();
            (object, outcome)
        });
        let mut writes = stream::iter(writes).buffer_unordered(CALLS_MAX);
        while let Some((object, outcome)) = writes.next().await {
            for handle in object.handles {
                settle.settle(handle, outcome.clone());
            }
        }
    }
}

/// A question that got no answer changed nothing, and was no attempt at sending: never unknown, never the end, never counted.
fn asked_in_vain(outcome: Outcome) -> Outcome {
    let why = format!("asked whether it is there already: {}", outcome.text());
    match outcome {
        Outcome::Misconfigured { .. } => Outcome::Misconfigured { why, after: None },
        Outcome::Down { after, .. } | Outcome::Retry { after, .. } => Outcome::Down { why, after },
        Outcome::Rejected { .. } | Outcome::Unknown { .. } | Outcome::Delivered { .. } => Outcome::Down { why, after: None },
    }
}

impl Output for ObjectsOutput {
    fn max_batch(&self) -> usize {
        match self.how.per {
            Per::Batch => BATCH_MAX,
            Per::Delivery => 1,
        }
    }

    fn deliver<'a>(&'a self, parcels: Vec<Parcel>, settle: &'a Settle) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.send(parcels, settle).await })
    }

    /// Lists nothing of the bucket: it is there, and the key is good. A key that may write and not list cannot be told from one
    /// without rights, and is said so.
    fn check(&self) -> BoxFuture<'_, Result<(), CheckError>> {
        Box::pin(async move {
            let answer = self.store.list().await.map_err(|error| CheckError(error.to_string()))?;
            if answer.status.is_success() {
                return Ok(());
            }
            let answer = readable(answer);
            let denied = answer.body.starts_with(b"AccessDenied") || answer.body.starts_with(b"AuthorizationPermissionMismatch");
            let told = self.rules.judge(&answer, self.wall.millis(), false).text().to_owned();
            let help = if denied { "; this check lists the bucket: whether the key may write is not known" } else { "" };
            Err(CheckError(format!("{}: {told}{help}", self.shown)))
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.store.close();
        Box::pin(async {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_without_an_answer_costs_no_attempt() {
        let (why, after) = (|| "so".to_owned(), Some(std::time::Duration::from_secs(7)));
        for (outcome, word) in [
            (Outcome::Unknown { why: why() }, "down"),
            (Outcome::Rejected { why: why() }, "down"),
            (Outcome::Delivered { detail: why() }, "down"),
            (Outcome::Down { why: why(), after }, "down"),
            (Outcome::Misconfigured { why: why(), after: None }, "misconfigured"),
        ] {
            let made = asked_in_vain(outcome);
            assert!(made.word() == word && made.text() == "asked whether it is there already: so", "{made:?}");
        }
        let busy = asked_in_vain(Outcome::Retry { why: why(), after });
        assert!(matches!(busy, Outcome::Down { after: Some(_), .. }), "{busy:?}");
    }
}
