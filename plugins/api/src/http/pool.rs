//! The kept connections to one far side: idle ones of HTTP/1.1, newest first, and the one of HTTP/2 that calls share. Open ones are
//! bounded by the output's concurrency, not here.
//!
//! One that idles is looked at when it is taken again, and closed after its time: what the far side closed meanwhile is dropped then.

use super::two::Shared;
use bytes::Bytes;
use futures_util::future::{BoxFuture, poll_fn};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::SendRequest;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// A connection. Whoever uses it moves its bytes, in the same task: a task of its own would cost two wake-ups a request.
pub(super) struct Link {
    sender: SendRequest<Full<Bytes>>,
    /// What moves the bytes; `None` once the connection is over.
    driver: Option<BoxFuture<'static, ()>>,
}

impl Link {
    /// A connection of these two ends. The driver ends when the far side closes or something breaks; the sender hears why.
    pub(super) fn new(sender: SendRequest<Full<Bytes>>, driver: BoxFuture<'static, ()>) -> Self {
        Link { sender, driver: Some(driver) }
    }

    /// Sends a request and waits for the head of its answer; gives the request back if the connection never took it.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        let answer = self.sender.try_send_request(request);
        self.driving(answer).await
    }

    /// Waits for something that this connection brings, moving its bytes meanwhile.
    pub(super) async fn driving<F: Future>(&mut self, awaited: F) -> F::Output {
        let mut awaited = std::pin::pin!(awaited);
        poll_fn(|cx| {
            if let Poll::Ready(found) = awaited.as_mut().poll(cx) {
                return Poll::Ready(found);
            }
            self.turn(cx);
            // What just came in is there now.
            awaited.as_mut().poll(cx)
        })
        .await
    }

    /// Whether it is still open and free for a request, after a look at what the far side did while it idled.
    pub(super) async fn is_free(&mut self) -> bool {
        poll_fn(|cx| {
            self.turn(cx);
            Poll::Ready(())
        })
        .await;
        self.driver.is_some() && self.sender.is_ready()
    }

    fn turn(&mut self, cx: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && driver.as_mut().poll(cx).is_ready()
        {
            self.driver = None;
        }
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("over", &self.driver.is_none()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Idle {
    link: Link,
    since: Instant,
}

#[derive(Debug, Default)]
struct State {
    /// Oldest first: taken from the end, pruned from the start.
    idle: Vec<Idle>,
    /// The one that calls share, and when it was last taken.
    shared: Option<(Arc<Shared>, Instant)>,
    /// Whether somebody closes what idles too long.
    pruning: bool,
    closed: bool,
}

#[derive(Debug)]
pub(super) struct Pool {
    state: Mutex<State>,
    /// Beyond it a connection is closed instead of kept.
    max_idle: usize,
    idle_timeout: Duration,
}

impl Pool {
    pub(super) fn new(max_idle: usize, idle_timeout: Duration) -> Arc<Self> {
        Arc::new(Pool { state: Mutex::default(), max_idle, idle_timeout })
    }

    /// The connection used last that is still open.
    pub(super) async fn take(&self) -> Option<Link> {
        loop {
            let mut idle = self.lock().idle.pop()?;
            if idle.since.elapsed() >= self.idle_timeout {
                // The ones below are older still.
                self.lock().idle.clear();
                return None;
            }
            if idle.link.is_free().await {
                return Some(idle.link);
            }
        }
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) fn put(self: &Arc<Self>, link: Link) {
        if link.driver.is_none() {
            return;
        }
        let mut state = self.lock();
        if state.closed || state.idle.len() >= self.max_idle {
            return;
        }
        state.idle.push(Idle { link, since: Instant::now() });
        self.see_to_pruning(&mut state);
    }

    /// The connection that calls share, if it is open.
    pub(super) fn shared(&self) -> Option<Arc<Shared>> {
        let mut state = self.lock();
        let (shared, since) = state.shared.as_mut()?;
        if shared.is_over() || (shared.is_idle() && since.elapsed() >= self.idle_timeout) {
            state.shared = None;
            return None;
        }
        *since = Instant::now();
        Some(Arc::clone(shared))
    }

    /// Shares a connection from now on.
    pub(super) fn share(self: &Arc<Self>, shared: &Arc<Shared>) {
        let mut state = self.lock();
        if !state.closed {
            state.shared = Some((Arc::clone(shared), Instant::now()));
            self.see_to_pruning(&mut state);
        }
    }

    /// Shares this connection no longer; calls that have it go on.
    pub(super) fn retire(&self, retired: &Arc<Shared>) {
        let mut state = self.lock();
        state.shared.take_if(|(shared, _)| Arc::ptr_eq(shared, retired));
    }

    fn see_to_pruning(self: &Arc<Self>, state: &mut State) {
        if !state.pruning {
            state.pruning = true;
            tokio::spawn(prune(Arc::downgrade(self), self.idle_timeout));
        }
    }

    /// Closes what idles, and keeps nothing from now on.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.idle.clear();
        state.shared = None;
    }

    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        let state = self.lock();
        state.idle.len() + usize::from(state.shared.is_some())
    }

    #[cfg(test)]
    pub(super) fn all_closed(&self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.lock().idle.iter_mut().all(|idle| {
            idle.link.turn(&mut cx);
            idle.link.driver.is_none()
        })
    }

    /// Nobody panics while holding it; and a list of connections has no broken state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes connections that idled too long; ends when none is left. One task an output, not one a request.
async fn prune(pool: std::sync::Weak<Pool>, idle_timeout: Duration) {
    loop {
        let next = {
            let Some(pool) = pool.upgrade() else { return };
            let mut state = pool.lock();
            state.idle.retain(|idle| idle.since.elapsed() < idle_timeout);
            // One in use is looked at again when it may have idled long enough.
            let now = Instant::now();
            let over = |(shared, since): &mut (Arc<Shared>, Instant)| {
                if !shared.is_idle() {
                    *since = now;
                }
                shared.is_over() || since.elapsed() >= idle_timeout
            };
            state.shared.take_if(over);
            let since = state.idle.first().map(|oldest| oldest.since).into_iter().chain(state.shared.as_ref().map(|(_, since)| *since));
            let Some(oldest) = since.min() else {
                state.pruning = false;
                return;
            };
            oldest + idle_timeout
        };
        tokio::time::sleep_until(next).await;
    }
}
