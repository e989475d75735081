//! The connection that an output keeps, and hearing in time that it is gone.

use super::connecting;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// The one connection that an output keeps: opened when it is needed, shared by all deliveries, left when it is gone.
#[derive(Debug)]
pub struct Kept<L>(tokio::sync::Mutex<Option<Arc<L>>>);

impl<L> Default for Kept<L> {
    fn default() -> Self {
        Kept(tokio::sync::Mutex::new(None))
    }
}

impl<L> Kept<L> {
    /// The connection; a new one if there is none that lives. Who comes meanwhile waits for the same, and no longer than for one of
    /// its own: [`connecting`] of the attempt's `timeout`, greeting included. Then it is `silent`.
    ///
    /// # Errors
    /// Why there is none: nothing was sent.
    pub async fn get<E>(
        &self,
        timeout: Duration,
        lives: impl Fn(&L) -> bool,
        open: impl Future<Output = Result<L, E>>,
        silent: impl FnOnce() -> E,
    ) -> Result<Arc<L>, E> {
        hear().await;
        let get = async {
            let mut now = self.0.lock().await;
            if let Some(link) = now.as_ref().filter(|link| lives(link)) {
                return Ok(Arc::clone(link));
            }
            *now = None;
            let opened = Arc::new(open.await?);
            *now = Some(Arc::clone(&opened));
            Ok(opened)
        };
        tokio::time::timeout(connecting(timeout), get).await.unwrap_or_else(|_| Err(silent()))
    }

    /// Leaves a connection, unless another has taken its place.
    pub async fn forget(&self, link: &Arc<L>) {
        let mut now = self.0.lock().await;
        if now.as_ref().is_some_and(|current| Arc::ptr_eq(current, link)) {
            *now = None;
        }
    }

    /// The connection, for the last time.
    pub async fn take(&self) -> Option<Arc<L>> {
        self.0.lock().await.take()
    }
}

/// Turns that [`hear`] gives away: one for the sockets, one for the tasks they wake, one for what these wake.
const TURNS: usize = 3;

/// Lets the tasks that drive connections hear what has arrived, so that a connection which the far side has closed is known to be
/// closed before anything is sent on it: that is down, and not unknown.
pub async fn hear() {
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_who_wait_for_a_silent_far_side_hear_of_it_within_half_their_time() {
        let kept = Kept::<()>::default();
        let timeout = Duration::from_secs(2);
        let started = tokio::time::Instant::now();
        let get = || kept.get(timeout, |()| true, std::future::pending::<Result<(), &str>>(), || "silent");
        let all = futures_util::future::join_all((0..10).map(|_| get())).await;
        assert!(all.iter().all(|got| *got == Err("silent")) && started.elapsed() <= timeout / 2, "{:?}", started.elapsed());
        assert_eq!(connecting(Duration::from_mins(1)), super::super::CONNECT_MAX);
    }
}
