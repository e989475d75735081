//! The writer without its thread: whoever drives it gives it its turns, one at a time. For `cargo xtask sim`, where nothing runs
//! beside the one task whose turn it is.
//!
//! Does: exactly what the thread does, a round a step. Never: sleeps, or decides when it is driven.

use super::inbox::{Found, Work};
use super::store::{Batch, Recovered, Store, StoreError};
use super::writer::{Ending, Journal, Settings, Writer};
use crate::model::{Clock, Instant};
use std::sync::Arc;
use std::task::Waker;

/// A writer that waits to be driven. Dropped, it is gone as if the process had ended.
pub struct Driven {
    /// `None`: it is over. The writer goes first, and its store with it.
    life: Option<(Writer, Ending)>,
    work: Work,
    batch: Batch,
    /// Until when nothing is to be done unless somebody asks; `None`: to be worked out.
    until: Option<Instant>,
    /// Whether what was taken is still to be done.
    taken: bool,
}

/// What the writer needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// A [`step`](Driven::step).
    Step,
    /// To be asked again then, or when it wakes.
    Until(Instant),
    /// Nothing: it is over.
    Nothing,
}

impl Journal {
    /// As [`start`](Self::start), with the writer in the caller's hands.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn driven(store: Box<dyn Store>, settings: Settings) -> Result<(Self, Driven, Recovered), StoreError> {
        let (journal, writer, recovered) = Self::open(store, settings)?;
        let ending = Ending(Arc::clone(&writer.shared));
        let driven = Driven { life: Some((writer, ending)), work: Work::default(), batch: Batch::default(), until: None, taken: false };
        Ok((journal, driven, recovered))
    }
}

impl Driven {
    /// Takes what is to be done, if there is anything; else `waker` is woken when there is.
    pub fn take(&mut self, waker: &Waker) -> Wants {
        let Some((writer, _)) = &mut self.life else { return Wants::Nothing };
        if self.taken {
            return Wants::Step;
        }
        let now = writer.shared.clock.now();
        let until = *self.until.get_or_insert_with(|| now + writer.patience());
        match writer.shared.inbox.poll_take(until, now, &mut self.work, waker) {
            Found::Work(_) => {
                self.taken = true;
                Wants::Step
            }
            Found::Nothing(sleep) => Wants::Until(now + sleep),
            Found::Shut => {
                self.life = None;
                Wants::Nothing
            }
        }
    }

    /// Does what was taken: at most one commit, and a slice of each kind of upkeep. False: it is over, by itself or by a fault.
    pub fn step(&mut self) -> bool {
        (self.until, self.taken) = (None, false);
        let Some((writer, _)) = &mut self.life else { return false };
        match writer.round(&mut self.work, &mut self.batch) {
            Ok(false) => return true,
            Ok(true) => {}
            Err(error) => writer.failed(&error),
        }
        self.life = None;
        false
    }
}
