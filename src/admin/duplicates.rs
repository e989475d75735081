//! Repeats that were swallowed: which there are, and one that is released.

use super::api::{Answered, Api, ids};
use super::query::{Query, ROWS_MAX, Wrong, event_id};
use crate::daemon::duplicates::CannotRelease;
use crate::journal::duplicates::{Duplicate, DuplicateFilter};
use crate::model::EventId;
use serde_json::{Value, json};

impl From<CannotRelease> for Wrong {
    fn from(why: CannotRelease) -> Self {
        let status = match why {
            CannotRelease::Unknown(_) => 404,
            CannotRelease::Already(_) | CannotRelease::Damaged(_) => 409,
            CannotRelease::NotRead(_) | CannotRelease::NotKept => 503,
        };
        Wrong(status, why.to_string())
    }
}

impl Api {
    /// The newest, by source and by the event that they repeat.
    pub(super) async fn duplicates(&self, query: &Query) -> Answered {
        let of = query.get("of").map(|id| event_id(&id)).transpose()?;
        let (filter, limit) = (DuplicateFilter { source: query.get("source"), of }, query.limit()?);
        let archive = self.daemon.archive.clone();
        let found = self.read(move || archive.duplicates(&filter, limit)).await?;
        Ok(json!({ "duplicates": found.iter().map(shown).collect::<Vec<_>>(), "seen": self.daemon.hub.journal().counts().duplicates }))
    }

    /// Those of one event.
    pub(super) async fn duplicates_of(&self, id: EventId) -> Answered {
        let (archive, filter) = (self.daemon.archive.clone(), DuplicateFilter { of: Some(id), source: None });
        let found = self.read(move || archive.duplicates(&filter, ROWS_MAX)).await?;
        Ok(found.iter().map(shown).collect())
    }

    /// Releases those that the body names, one after the other up to the first that can't be.
    pub(super) async fn release(&self, body: &[u8]) -> Answered {
        let asked: Value = serde_json::from_slice(body).map_err(|why| Wrong(400, format!("the body is not JSON: {why}")))?;
        let ids = ids(&asked).into_iter().map(event_id).collect::<Result<Vec<_>, _>>()?;
        for id in &ids {
            self.daemon.release(*id).await?;
        }
        Ok(json!({ "released": ids.iter().map(ToString::to_string).collect::<Vec<_>>() }))
    }
}

fn shown(duplicate: &Duplicate) -> Value {
    let Duplicate { id, of, source, topic, received_at, first_at, sender_id } = duplicate;
    json!({
        "id": id.to_string(), "of": of.to_string(), "source": &**source, "topic": topic, "received_at": received_at.to_string(),
        "first_at": first_at.to_string(), "sender_id": sender_id,
    })
}
