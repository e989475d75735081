//! A line to a server that a test can cut or hold: the real server at its other end, and a bad network between.
//!
//! Only requests that count are held up, and the answers after them: all of them, or those that a test knows by their bytes.

use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the line does with a request that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Pass,
    /// It reaches the server, and its answer stays here.
    HoldAnswers,
    /// It stays here.
    HoldRequests,
    /// It reaches the server; once that has answered, the connection is cut.
    CutAtAnswers,
    /// It stays here, and the connection is cut.
    CutAtRequests,
    Gone,
}

/// Whether a piece of what goes to the server counts.
pub type Counts = fn(&[u8]) -> bool;

/// A port of its own that leads to the server.
#[derive(Debug)]
pub struct Line {
    port: u16,
    manner: Arc<watch::Sender<Manner>>,
    accepting: JoinHandle<()>,
}

impl Line {
    /// Opens one to a port of this machine; must be called inside a runtime.
    ///
    /// # Errors
    /// The system gives no port.
    pub async fn to(server: u16, counts: Counts) -> std::io::Result<Line> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let manner = Arc::new(watch::channel(Manner::Pass).0);
        let shared = Arc::clone(&manner);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server, counts, Arc::clone(&shared)));
            }
        });
        Ok(Line { port, manner, accepting })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }
    /// All passes, also what is held.
    pub fn pass(&self) {
        self.manner.send_replace(Manner::Pass);
    }
    /// Requests reach the server, and its answers stay here.
    pub fn hold_answers(&self) {
        self.manner.send_replace(Manner::HoldAnswers);
    }
    /// Requests stay here.
    pub fn hold_requests(&self) {
        self.manner.send_replace(Manner::HoldRequests);
    }
    /// Requests reach the server, and their answers find the connection cut.
    pub fn cut_at_answers(&self) {
        self.manner.send_replace(Manner::CutAtAnswers);
    }
    /// Requests find the connection cut.
    pub fn cut_at_requests(&self) {
        self.manner.send_replace(Manner::CutAtRequests);
    }
    /// All connections end, and no new ones are made.
    pub async fn cut(&mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
        self.manner.send_replace(Manner::Gone);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(client: TcpStream, server: u16, counts: Counts, manner: Arc<watch::Sender<Manner>>) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let gone = async {
        let _ = manner.subscribe().wait_for(|manner| *manner == Manner::Gone).await;
    };
    let asked = watch::channel(false).0;
    tokio::select! {
        () = there(from_client, to_server, counts, &manner, &asked) => {}
        () = back(from_server, to_client, &manner, &asked) => {}
        () = gone => {}
    }
}

async fn there(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    counts: Counts,
    manner: &watch::Sender<Manner>,
    asked: &watch::Sender<bool>,
) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let counted = counts(&piece[..length]);
        let mut now = manner.subscribe();
        if counted && *now.borrow() == Manner::CutAtRequests {
            return;
        }
        if counted {
            let _ = now.wait_for(|manner| *manner != Manner::HoldRequests).await;
        }
        // Said before the server can answer.
        asked.send_replace(counted);
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}

async fn back(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, manner: &watch::Sender<Manner>, asked: &watch::Sender<bool>) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        if *asked.borrow() {
            let mut now = manner.subscribe();
            if *now.borrow() == Manner::CutAtAnswers {
                return;
            }
            let _ = now.wait_for(|manner| *manner != Manner::HoldAnswers).await;
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
