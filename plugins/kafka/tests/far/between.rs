//! Stands between client and broker: a network that goes away, and one on which acknowledgements get lost.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

/// The number of the Produce request (org.apache.kafka.common.protocol.ApiKeys).
const PRODUCE: [u8; 2] = [0, 0];

/// Passes on what comes to a port.
pub struct Between {
    task: JoinHandle<()>,
    hangs: Arc<AtomicBool>,
    answers: Arc<Notify>,
}

impl Between {
    /// Listens at `port` and passes on to `broker`.
    pub async fn start(port: u16, broker: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let (hangs, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
        let task = tokio::spawn(accept(listener, broker, Arc::clone(&hangs), Arc::clone(&answers)));
        Between { task, hangs, answers }
    }

    /// From now on whoever writes a record hears nothing any more; other questions are answered.
    pub fn hang(&self) {
        self.hangs.store(true, Ordering::SeqCst);
    }

    /// Hangs up on all who wait, and passes on everything again.
    pub fn answer(&self) {
        self.hangs.store(false, Ordering::SeqCst);
        self.answers.notify_waiters();
    }

    /// Is gone, and all its connections.
    pub async fn leave(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, broker: u16, hangs: Arc<AtomicBool>, answers: Arc<Notify>) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, broker)).await else { continue };
        let (hangs, answers) = (Arc::clone(&hangs), Arc::clone(&answers));
        connections.spawn(async move {
            let muted = AtomicBool::new(false);
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::select! {
                _ = there(from_client, to_server, &hangs, &muted) => {}
                _ = back(from_server, to_client, &muted) => {}
                () = answers.notified() => {}
            }
        });
    }
}

/// Passes on whole requests, and notes when one should not be answered.
async fn there(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, hangs: &AtomicBool, muted: &AtomicBool) -> std::io::Result<()> {
    loop {
        let mut request = from.read_u32().await?.to_be_bytes().to_vec();
        let length = u32::from_be_bytes(request[..4].try_into().unwrap()) as usize;
        request.resize(4 + length, 0);
        from.read_exact(&mut request[4..]).await?;
        if request[4..].starts_with(&PRODUCE) && hangs.load(Ordering::SeqCst) {
            muted.store(true, Ordering::SeqCst);
        }
        to.write_all(&request).await?;
    }
}

async fn back(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, muted: &AtomicBool) -> std::io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        if !muted.load(Ordering::SeqCst) {
            to.write_all(&bytes[..count]).await?;
        }
    }
}
