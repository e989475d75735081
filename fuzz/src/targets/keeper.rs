//! The way in without a daemon behind it: the real ingest, which hands what it believes to a list.

use crate::input::NOW;
use std::sync::{Arc, Mutex, PoisonError};
use switchyard::config::parse::parse;
use switchyard::ingest::{Ingest, Keep, Limits, NotKept, Sources, read_sources};
use switchyard::model::{Appended, Clock, Dedupe, Event, Instant, Timestamp};

/// Keeps all that it is given, until it is taken out.
#[derive(Debug, Default)]
pub struct List(Mutex<Vec<Event>>);

impl List {
    /// What was kept since this was asked last.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, event: Event) -> Appended {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        Appended::New
    }
}

impl Keep for List {
    async fn keep(&self, event: Event, _: Option<Dedupe>) -> Result<Appended, NotKept> {
        Ok(self.add(event))
    }
    async fn keep_all(&self, events: Vec<(Event, Option<Dedupe>)>) -> Result<Vec<Appended>, NotKept> {
        Ok(events.into_iter().map(|(event, _)| self.add(event)).collect())
    }
}

/// It is always the same moment.
struct Still;

impl Clock for Still {
    fn now(&self) -> Instant {
        Instant(0)
    }
    fn wall(&self) -> Timestamp {
        NOW
    }
}

/// The way in to these sources (the section of a file), and what it keeps.
pub fn ingest(sources: &str, limits: Limits) -> (Arc<List>, Arc<Ingest<List>>) {
    let mut problems = vec![];
    let tree = parse(sources, &mut problems).expect("the sources are YAML");
    let named = read_sources(&tree, &mut problems);
    let sources = Sources::build(&named, limits, &mut problems).unwrap_or_else(|| panic!("{problems:?}"));
    let list = Arc::new(List::default());
    (Arc::clone(&list), Arc::new(Ingest::new(sources, list, Arc::new(Still), 7)))
}
