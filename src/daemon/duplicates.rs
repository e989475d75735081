//! Lets go a repeat that was swallowed: it becomes an event like any other, planned by the routes of now.

use super::start::Daemon;
use crate::ingest::{Keep, NotKept};
use crate::journal::store::StoreError;
use crate::model::{Appended, Dedupe, EventId};

/// Why a repeat is not released. `Display` is one line for people.
#[derive(Debug, thiserror::Error)]
pub enum CannotRelease {
    /// It is not on the list.
    #[error("{0} is no duplicate that is written down (any more): `switchyard duplicates` lists them")]
    Unknown(EventId),
    /// Somebody was first.
    #[error("{0} was released already: `switchyard events {0}` shows it")]
    Already(EventId),
    /// The bytes of the event that it repeats are not those that were kept.
    #[error("the bytes of the event that {0} repeats are damaged: `switchyard journal check` says more")]
    Damaged(EventId),
    /// It can't be read.
    #[error(transparent)]
    NotRead(#[from] StoreError),
    /// It can't be kept now.
    #[error("the journal can't keep it now: try again")]
    NotKept,
}

impl Daemon {
    /// Makes an event of a repeat; durable when this returns.
    ///
    /// # Errors
    /// Why not.
    pub async fn release(&self, id: EventId) -> Result<(), CannotRelease> {
        let archive = self.archive.clone();
        let read = tokio::task::spawn_blocking(move || Ok::<_, StoreError>((archive.duplicate(id)?, archive.event(id)?.is_some())));
        let (event, kept) = read.await.map_err(|_| CannotRelease::NotKept)??;
        let (event, damaged) = match event {
            Some(event) => event,
            None if kept => return Err(CannotRelease::Already(id)),
            None => return Err(CannotRelease::Unknown(id)),
        };
        if damaged {
            return Err(CannotRelease::Damaged(id));
        }
        let dedupe = Dedupe::of_released(&event);
        match self.hub.keep(event, Some(dedupe)).await {
            Ok(Appended::New) => {
                tracing::info!(event = %id, "a duplicate was released");
                Ok(())
            }
            Ok(Appended::Duplicate { .. }) => Err(CannotRelease::Already(id)),
            Err(NotKept::Full | NotKept::Reserved | NotKept::Failed) => Err(CannotRelease::NotKept),
        }
    }
}
