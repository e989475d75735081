//! Repeats of events as people see them: each was answered 200 and not planned again, and can be released.

use super::archive::Archive;
use super::sqlite;
use super::store::StoreError;
use crate::model::{Event, EventId, Timestamp};
use std::sync::Arc;

/// A repeat of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// Its own id, which it has as an event once it is released.
    pub id: EventId,
    /// The event that it repeats.
    pub of: EventId,
    /// From which source.
    pub source: Arc<str>,
    /// What it is about, as it says itself.
    pub topic: String,
    /// When it came.
    pub received_at: Timestamp,
    /// When the event that it repeats came.
    pub first_at: Timestamp,
    /// The sender's own id, which both have.
    pub sender_id: Option<String>,
}

/// Which of them. What is `None` does not restrict.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DuplicateFilter {
    /// From this source.
    pub source: Option<String>,
    /// Of this event.
    pub of: Option<EventId>,
}

impl Archive {
    /// The newest repeats that the filter means.
    pub fn duplicates(&self, filter: &DuplicateFilter, most: usize) -> Result<Vec<Duplicate>, StoreError> {
        self.read("list duplicates", |db, names| sqlite::duplicates(db, names, filter, most))
    }

    /// A repeat as the event that it would be, and whether its bytes are not those that were kept; `None`: it is none of those that are
    /// written down.
    pub fn duplicate(&self, id: EventId) -> Result<Option<(Event, bool)>, StoreError> {
        self.read("read a duplicate", |db, names| sqlite::duplicate(db, names, id))
    }
}
