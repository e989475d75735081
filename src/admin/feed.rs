//! `/api/feed`: kept events whole, oldest first, for programs that follow them (`switchyard listen`).
//!
//! Does: gives what was kept after a place, and waits a little where there is nothing yet, so that who asks again from where the last answer
//! ended misses nothing. Never: keeps anything about who asks; gives more than [`BYTES`] of bodies at once, but always one event.

use super::api::{Answered, Api};
use super::query::{Query, event_id};
use crate::journal::archive::EventView;
use crate::model::{Event, Seq};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::time::Duration;

/// Events of one answer where nobody says how many, and the most.
const PAGE: (usize, usize) = (32, 1_000);
/// Bytes of bodies after which an answer has enough.
const BYTES: usize = 4 << 20;
/// The longest an answer waits for the first event.
const WAIT_MAX: Duration = Duration::from_secs(20);

impl Api {
    /// `after`: a place; `since`: a time; neither: what comes from now on. `most`: how many. `wait`: milliseconds. `event`: this one alone.
    pub(super) async fn feed(&self, query: &Query) -> Answered {
        if let Some(id) = query.get("event") {
            let found = self.find(event_id(&id)?).await?;
            return Ok(json!({ "events": [whole(&found)], "next": found.kept.seq.0 }));
        }
        let wait = Duration::from_millis(query.parsed("wait")?.unwrap_or(0)).min(WAIT_MAX);
        // Before the journal is read: what is kept meanwhile is heard.
        let mut kept = self.daemon.events.subscribe();
        let most = query.parsed::<usize>("most")?.unwrap_or(PAGE.0).clamp(1, PAGE.1);
        let (after, since) = (query.parsed::<i64>("after")?.map(Seq), query.time("since")?);
        let archive = self.daemon.archive.clone();
        let begin = self.read(move || match (after, since) {
            (Some(after), _) => Ok(after),
            (None, Some(since)) => archive.before(since),
            (None, None) => Ok(archive.stats()?.last.unwrap_or_default()),
        });
        let after = begin.await?;
        let mut found = self.after(after, most).await?;
        if found.is_empty() && !wait.is_zero() && tokio::time::timeout(wait, kept.recv()).await.is_ok() {
            found = self.after(after, most).await?;
        }
        let (mut events, mut next, mut bytes) = (vec![], after, 0);
        for event in found {
            bytes += event.kept.event.body.len();
            if bytes > BYTES && !events.is_empty() {
                break;
            }
            next = event.kept.seq;
            events.push(whole(&event));
        }
        Ok(json!({ "events": events, "next": next.0 }))
    }

    async fn after(&self, after: Seq, most: usize) -> Result<Vec<EventView>, super::query::Wrong> {
        let archive = self.daemon.archive.clone();
        self.read(move || archive.whole_events(after, Seq(i64::MAX), most)).await
    }
}

/// An event with its exact bytes: headers as one block of `name:value\n`, block and body in base64.
fn whole(found: &EventView) -> Value {
    let Event { id, source, topic, received_at, headers, query, body, sender_id, signed_with: _ } = &found.kept.event;
    json!({
        "seq": found.kept.seq.0, "id": id.to_string(), "source": &**source, "topic": &**topic, "received_at": received_at.to_string(),
        "sender_id": sender_id, "query": &**query, "headers": STANDARD.encode(headers.as_bytes()), "body": STANDARD.encode(body),
        "damaged": found.damaged,
    })
}
