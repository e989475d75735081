//! Connections of one output: at most so many, kept while they are clean. A connection whose attempt was dropped in the middle
//! is closed, never used again: what it was doing dies with it.

use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections at rest, and leave to have more.
#[derive(Debug)]
pub struct Pool<C> {
    idle: Arc<Mutex<Vec<C>>>,
    /// Who finds none free waits here; the attempt's deadline bounds the wait.
    free: Arc<Semaphore>,
}

/// Leave to use one connection.
#[derive(Debug)]
pub struct Turn<C> {
    idle: Arc<Mutex<Vec<C>>>,
    _permit: OwnedSemaphorePermit,
}

impl<C> Pool<C> {
    /// At most so many.
    pub fn new(most: usize) -> Self {
        Pool { idle: Arc::default(), free: Arc::new(Semaphore::new(most)) }
    }

    /// Waits for leave; `None` after [`close`](Self::close).
    pub async fn turn(&self) -> Option<Turn<C>> {
        let permit = Arc::clone(&self.free).acquire_owned().await.ok()?;
        Some(Turn { idle: Arc::clone(&self.idle), _permit: permit })
    }

    /// Gives out nothing more; connections at rest are handed back to be closed.
    pub fn close(&self) -> Vec<C> {
        self.free.close();
        std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<C> Turn<C> {
    /// A connection at rest, if there is one.
    pub fn rested(&self) -> Option<C> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Ends the turn; the connection rests, ready for the next.
    pub fn keep(self, connection: C) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}
