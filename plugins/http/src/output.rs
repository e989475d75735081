//! Sends: one request a delivery, or one for several where the far side takes batches.
//!
//! A batch that is refused as a whole (so that nothing of it was taken) is halved until who is refused stands alone, while half
//! of the attempt's time lasts. Nothing else is ever sent twice in one attempt.

use futures_util::future::BoxFuture;
use std::time::Duration;
use switchyard_api::http::{Answer, Client, Credentials, NotSent, Request, Rules};
use switchyard_api::{CheckError, Outcome, Output, Parcel, Settle, Wall};
use tokio::time::Instant;

use crate::lookup::not_known;
use crate::request::{Draft, Item};

/// A far side that speaks HTTP.
#[derive(Debug)]
pub struct HttpOutput {
    pub(crate) draft: Draft,
    pub(crate) rules: Rules,
    pub(crate) client: Client,
    pub(crate) credentials: Credentials,
    pub(crate) wall: Wall,
    pub(crate) whole: Duration,
}

impl HttpOutput {
    /// The one place from which requests leave; `sent` is called right before the first byte may.
    async fn attempt(&self, request: Request, sent: impl FnOnce()) -> Result<Answer, NotSent> {
        self.credentials.send(&self.client, request, sent).await
    }

    /// Whether it is there already, or why that is not known; `None`: it is to be sent.
    async fn found(&self, parcel: &Parcel) -> Option<Outcome> {
        if self.draft.lookup.is_none() || (parcel.attempt <= 1 && !parcel.replay) {
            return None;
        }
        let asked = match self.draft.lookup(parcel) {
            Ok(asked) => asked?,
            Err(cannot) => return Some(cannot.outcome()),
        };
        match self.attempt(asked.request, || ()).await {
            Ok(answer) => asked.lookup.judge(&answer, &asked.own, &self.rules, self.wall.millis()).err(),
            Err(error) => Some(not_known(error.outcome())),
        }
    }

    async fn send(&self, items: &mut [Item<'_>], settle: &Settle) -> Vec<Outcome> {
        let count = items.len();
        let all = |outcome: Outcome| vec![outcome; count];
        let request = match self.draft.request(items) {
            Ok(request) => request,
            Err(cannot) => return all(cannot.outcome()),
        };
        let items = &*items;
        let sent = || items.iter().for_each(|item| settle.sent(item.parcel.handle));
        let answer = match self.attempt(request, sent).await {
            Ok(answer) => answer,
            Err(error) => return all(error.outcome()),
        };
        let now = self.wall.millis();
        match (&self.draft.batch, items) {
            (Some(batch), [first, ..]) => {
                let ids: Vec<String> = items.iter().map(|item| item.id.clone()).collect();
                batch.judge(&answer, &ids, &first.call.rules, now)
            }
            _ => items.iter().map(|item| item.call.rules.judge(&answer, now, item.path_from_event())).collect(),
        }
    }

    /// Sends some items and settles them.
    async fn deliver_items(&self, items: &mut [Item<'_>], settle: &Settle) {
        let deadline = Instant::now() + self.whole / 2;
        // Halves that wait: at most one a halving, so few.
        let mut parts = vec![items];
        while let Some(part) = parts.pop() {
            let said = self.send_part(&mut *part, settle, deadline).await;
            match said {
                None => {
                    let (first, second) = part.split_at_mut(part.len() / 2);
                    parts.extend([second, first]);
                }
                Some(outcomes) => part.iter().zip(outcomes).for_each(|(item, outcome)| settle.settle(item.parcel.handle, outcome)),
            }
        }
    }

    /// The outcomes; `None` where the whole was refused because of some. What was begun is heard out: only what was not sent is late.
    async fn send_part(&self, part: &mut [Item<'_>], settle: &Settle, deadline: Instant) -> Option<Vec<Outcome>> {
        if part.is_empty() {
            return Some(vec![]);
        }
        if Instant::now() >= deadline {
            let why = "the batch was refused, and there was no time left to find out because of which".into();
            return Some(vec![Outcome::Retry { why, after: None }; part.len()]);
        }
        let outcomes = self.send(&mut *part, settle).await;
        let refused = part.len() > 1 && outcomes.iter().all(|outcome| matches!(outcome, Outcome::Rejected { .. }));
        if refused { None } else { Some(outcomes) }
    }
}

impl Output for HttpOutput {
    fn max_batch(&self) -> usize {
        self.draft.batch.as_ref().map_or(1, crate::batch::Batch::most)
    }

    fn deliver<'a>(&'a self, parcels: Vec<Parcel>, settle: &'a Settle) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let mut items = Vec::with_capacity(parcels.len());
            for (index, parcel) in parcels.iter().enumerate() {
                if let Some(outcome) = self.found(parcel).await {
                    settle.settle(parcel.handle, outcome);
                    continue;
                }
                match self.draft.item(parcel, index) {
                    Ok(item) => items.push(item),
                    Err(cannot) => settle.settle(parcel.handle, cannot.outcome()),
                }
            }
            let mut rest = items.as_mut_slice();
            while !rest.is_empty() {
                let together = self.draft.together(rest);
                let (now, later) = rest.split_at_mut(together);
                self.deliver_items(now, settle).await;
                rest = later;
            }
        })
    }

    /// Connects, with TLS where it is spoken, and sends nothing: a chat's webhook has nothing else to ask. A token is fetched.
    fn check(&self) -> BoxFuture<'_, Result<(), CheckError>> {
        Box::pin(async move {
            self.client.reach().await.map_err(|error| CheckError(error.to_string()))?;
            self.credentials.check().await.map_err(|error| CheckError(error.to_string()))
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.client.close();
        self.credentials.close();
        Box::pin(async {})
    }
}
