//! A door to a server that a test can close, or behind which answers stay: the real server at its other end, and a bad network between.

use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the door does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Pass,
    /// Requests reach the server, and its answers stay here.
    HoldAnswers,
    /// A request reaches the server; once it has answered, the connection is cut.
    CutAtAnswers,
    /// A request stays here, and the connection is cut.
    CutAtRequests,
    Gone,
}

/// A port of its own that leads to the server.
pub struct Door {
    port: u16,
    manner: Arc<watch::Sender<Manner>>,
    accepting: JoinHandle<()>,
}

impl Door {
    pub async fn to(server: u16) -> Door {
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
        Door { port, manner, accepting }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
    pub fn pass(&self) {
        self.manner.send_replace(Manner::Pass);
    }
    pub fn hold_answers(&self) {
        self.manner.send_replace(Manner::HoldAnswers);
    }
    pub fn cut_at_answers(&self) {
        self.manner.send_replace(Manner::CutAtAnswers);
    }
    pub fn cut_at_requests(&self) {
        self.manner.send_replace(Manner::CutAtRequests);
    }
    /// All connections end, and no new ones are made.
    pub async fn close(&mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
        self.manner.send_replace(Manner::Gone);
    }
}

impl Drop for Door {
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
    tokio::select! {
        () = there(from_client, to_server, &manner) => {}
        () = back(from_server, to_client, &manner) => {}
        () = gone => {}
    }
}

async fn there(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, manner: &watch::Sender<Manner>) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let cut = *manner.borrow() == Manner::CutAtRequests;
        if cut || to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}

async fn back(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, manner: &watch::Sender<Manner>) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let mut now = manner.subscribe();
        if *now.borrow() == Manner::CutAtAnswers {
            return;
        }
        let _ = now.wait_for(|manner| *manner != Manner::HoldAnswers).await;
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
