//! One HTTP/2 connection that many calls share.
//!
//! A task of its own moves its bytes. A call takes a stream when the far side allows one more (its SETTINGS, which are awaited
//! before the connection is used) and is queued by nobody: before the stream is there, nothing was sent.
//!
//! What a GOAWAY or REFUSED_STREAM of the far side says of a stream is a promise that it was not processed (RFC 9113, sections
//! 6.8 and 8.7): such a request is given back. Anything else that ends a stream before its answer is [`Unanswered::Lost`].

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use h2::{Reason, RecvStream};
use http::{Request, Response};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Bytes of an answer's headers, as HTTP/2 counts them; the far side is told, and a longer answer ends its stream.
const HEADERS_MAX: u32 = 64 * 1024;

/// A shared connection. Closes when the last call that holds it is over.
pub(super) struct Shared {
    sender: SendRequest<Bytes>,
    state: Arc<State>,
    driver: AbortHandle,
    /// It stayed silent once: with the last call that holds it, it is closed without ceremony.
    silent: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Streams in use.
    open: AtomicUsize,
    /// Whether the connection is over.
    over: AtomicBool,
    /// A stream was given back, or the connection is over.
    changed: Notify,
}

/// The right to one stream; given back when dropped.
pub(super) struct Stream(Arc<State>);

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The request was not processed, surely.
    NotTaken(h2::Error),
    /// It may have been.
    Lost(h2::Error),
}

impl Shared {
    /// Speaks HTTP/2 from here on, once the far side does too.
    pub(super) async fn open<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(io: T) -> Result<Arc<Self>, h2::Error> {
        let mut builder = h2::client::Builder::new();
        // No stream before the far side said how many.
        builder.enable_push(false).max_header_list_size(HEADERS_MAX).initial_max_send_streams(0);
        let (sender, mut connection) = builder.handshake::<T, Bytes>(io).await?;
        greeted(&mut connection).await?;
        let state = Arc::new(State::default());
        let ended = Arc::clone(&state);
        let driver = tokio::spawn(async move {
            // How it ends, each stream hears.
            let _ = connection.await;
            ended.over.store(true, Ordering::Release);
            ended.changed.notify_waiters();
        });
        Ok(Arc::new(Shared { sender, state, driver: driver.abort_handle(), silent: AtomicBool::new(false) }))
    }

    /// Waits until the far side allows one more stream; `None` once the connection is over.
    pub(super) async fn stream(&self) -> Option<Stream> {
        loop {
            let mut changed = std::pin::pin!(self.state.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            if self.is_over() {
                return None;
            }
            let most = self.sender.current_max_send_streams();
            let more = |open: usize| (open < most).then_some(open + 1);
            if self.state.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok() {
                return Some(Stream(Arc::clone(&self.state)));
            }
            changed.await;
        }
    }

    /// Sends a request whose URI is absolute, and waits for the head of its answer. `sent` is called right before its first byte may leave.
    pub(super) async fn send(&self, head: Request<()>, body: Bytes, sent: impl FnOnce()) -> Result<Response<RecvStream>, Unanswered> {
        let mut sender = self.sender.clone();
        poll_fn(|cx| sender.poll_ready(cx)).await.map_err(Unanswered::NotTaken)?;
        sent();
        let (answer, mut stream) = sender.send_request(head, body.is_empty()).map_err(Unanswered::NotTaken)?;
        if !body.is_empty() {
            // It keeps what the far side has no window for yet; a stream that is over already says why by its answer.
            let _ = stream.send_data(body, true);
        }
        answer.await.map_err(|error| if is_promise(&error) { Unanswered::NotTaken(error) } else { Unanswered::Lost(error) })
    }

    /// Whether nobody uses it now.
    pub(super) fn is_idle(&self) -> bool {
        self.state.open.load(Ordering::Acquire) == 0
    }

    /// Whether it is closed.
    pub(super) fn is_over(&self) -> bool {
        self.state.over.load(Ordering::Acquire)
    }

    /// The far side stayed silent: nothing is waited for when it is let go.
    pub(super) fn stayed_silent(&self) {
        self.silent.store(true, Ordering::Release);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.silent.load(Ordering::Acquire) {
            self.driver.abort();
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("open", &self.state.open).field("over", &self.state.over).finish_non_exhaustive()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.notify_one();
    }
}

/// Moves the connection's bytes until the far side's SETTINGS are there: who speaks no HTTP/2 is found out before a request is sent.
async fn greeted<T: AsyncRead + AsyncWrite + Unpin>(connection: &mut Connection<T, Bytes>) -> Result<(), h2::Error> {
    poll_fn(|cx| match Pin::new(&mut *connection).poll(cx) {
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Ready(Ok(())) => Poll::Ready(Err(Reason::NO_ERROR.into())),
        Poll::Pending if connection.max_concurrent_send_streams() > 0 => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Whether the far side promises that it did nothing. A stream that its GOAWAY names as processed ends with the connection's own
/// error instead.
fn is_promise(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || (error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM)))
}
