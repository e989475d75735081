//! One server for the tests of a binary: started by the first that asks, ended when the last that holds it is over.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Where the tests of a binary find their server: put it into a `static`.
#[derive(Debug)]
pub struct Shared<T>(Mutex<Weak<T>>);

impl<T> Shared<T> {
    /// None yet.
    #[allow(clippy::new_without_default)] // made in a `static`, where there is no `default()`
    pub const fn new() -> Self {
        Shared(Mutex::new(Weak::new()))
    }

    /// The server that runs, or a new one. Others that ask meanwhile wait.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn get(&self, start: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<Arc<T>> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = running.upgrade() {
            return Ok(server);
        }
        let server = Arc::new(start()?);
        *running = Arc::downgrade(&server);
        Ok(server)
    }
}
