//! Connections that are open and idle. One is taken out for the time of a write: given up half-way, it is gone with what was half
//! written, and the next message starts on another.

use futures_util::FutureExt;
use std::fmt;
use std::time::Duration;
use switchyard_api::stream::{Address, CONNECT_MAX, DialError, Stream, connecting, dial, hear};
use switchyard_api::tls::Tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Mutex;

/// Idle connections kept; more are closed.
const IDLE_MAX: usize = 4;

/// Opens connections and keeps them.
pub struct Pool {
    address: Address,
    tls: Option<Tls>,
    idle: Mutex<Vec<Box<dyn Stream>>>,
}

impl Pool {
    /// None is open yet.
    pub fn new(address: Address, tls: Option<Tls>) -> Self {
        Pool { address, tls, idle: Mutex::new(vec![]) }
    }

    /// Host and port.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A connection that the server has not closed; opened if there is none, for an attempt that may take `timeout`.
    pub async fn take(&self, timeout: Duration) -> Result<Box<dyn Stream>, DialError> {
        hear().await;
        loop {
            let Some(mut stream) = self.idle.lock().await.pop() else {
                return dial(&self.address, self.tls.as_ref(), connecting(timeout)).await;
            };
            if is_open(&mut *stream) {
                return Ok(stream);
            }
        }
    }

    /// Keeps a connection for the next message.
    pub async fn give_back(&self, stream: Box<dyn Stream>) {
        let mut idle = self.idle.lock().await;
        if idle.len() < IDLE_MAX {
            idle.push(stream);
        }
    }

    /// Ends what is idle in order, so that the server reads all of it.
    pub async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().await);
        for mut stream in idle {
            // It is going anyway: a server that does not hear is left alone.
            let _ = tokio::time::timeout(CONNECT_MAX, stream.shutdown()).await;
        }
    }
}

/// A syslog server says nothing: there is something to read only once it has gone, or where something else listens.
fn is_open(stream: &mut dyn Stream) -> bool {
    let mut byte = [0];
    stream.read(&mut byte).now_or_never().is_none()
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({:?})", self.address)
    }
}
