//! A line to a server that a test can cut, or hold at a commit: the real server at its other end, and a bad network between.
//!
//! Reads nothing but whether a piece that goes to the server holds `COMMIT`, which both protocols send as it is written.

use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Pass,
    /// A commit reaches the server, and its answer stays here.
    HoldAnswers,
    /// A commit stays here: the transaction is open for as long.
    HoldCommits,
    /// A commit reaches the server, and then the connection is cut.
    CutAtCommits,
    Gone,
}

/// A port of its own that leads to the server.
pub struct Line {
    port: u16,
    manner: Arc<watch::Sender<Manner>>,
    accepting: JoinHandle<()>,
}

impl Line {
    pub async fn to(server: u16) -> Line {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let manner = Arc::new(watch::channel(Manner::Pass).0);
        let shared = Arc::clone(&manner);
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(carry(client, server, Arc::clone(&shared)));
            }
        });
        Line { port, manner, accepting }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
    pub fn pass(&self) {
        self.manner.send_replace(Manner::Pass);
    }
    pub fn hold_answers_to_commits(&self) {
        self.manner.send_replace(Manner::HoldAnswers);
    }
    pub fn hold_commits(&self) {
        self.manner.send_replace(Manner::HoldCommits);
    }
    pub fn cut_at_commits(&self) {
        self.manner.send_replace(Manner::CutAtCommits);
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

async fn carry(client: TcpStream, server: u16, manner: Arc<watch::Sender<Manner>>) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let gone = async {
        let _ = manner.subscribe().wait_for(|manner| *manner == Manner::Gone).await;
    };
    let committed = watch::channel(false).0;
    tokio::select! {
        () = there(from_client, to_server, &manner, &committed) => {}
        () = back(from_server, to_client, &manner, &committed) => {}
        () = gone => {}
    }
}

async fn there(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, manner: &watch::Sender<Manner>, committed: &watch::Sender<bool>) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let commits = piece[..length].windows(6).any(|word| word == b"COMMIT");
        let mut now = manner.subscribe();
        if commits && *now.borrow() == Manner::HoldCommits {
            let _ = now.wait_for(|manner| *manner != Manner::HoldCommits).await;
        }
        // Said before the server can answer.
        committed.send_replace(commits);
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}

async fn back(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, manner: &watch::Sender<Manner>, committed: &watch::Sender<bool>) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        if *committed.borrow() {
            let mut now = manner.subscribe();
            if *now.borrow() == Manner::CutAtCommits {
                return;
            }
            let _ = now.wait_for(|manner| *manner != Manner::HoldAnswers).await;
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
