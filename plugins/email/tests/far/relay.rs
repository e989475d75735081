//! A way to a server that can be cut, closed, and made to swallow the answers to mails.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The end of a mail.
const DOT: &[u8] = b"\r\n.\r\n";

/// Carries bytes between whoever connects and a port of this machine.
pub struct Relay {
    /// Where it listens.
    pub port: u16,
    state: Arc<State>,
    listener: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    swallow: AtomicBool,
    connections: AtomicUsize,
    carriers: Mutex<Vec<JoinHandle<()>>>,
}

impl Relay {
    /// Starts one.
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let listener = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let carrier = tokio::spawn(carry(client, server, Arc::clone(&shared)));
                shared.carriers.lock().unwrap().push(carrier);
            }
        });
        Relay { port, state, listener }
    }

    /// How many connected so far.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Closes the connections that are open.
    pub fn cut(&self) {
        for carrier in self.state.carriers.lock().unwrap().drain(..) {
            carrier.abort();
        }
    }

    /// Is gone from now on.
    pub fn leave(&mut self) {
        self.listener.abort();
        self.cut();
    }

    /// Whether a mail is taken and its answer lost.
    pub fn swallow_answers_to_mails(&self, swallow: bool) {
        self.state.swallow.store(swallow, Ordering::SeqCst);
    }
}

async fn carry(client: TcpStream, server: TcpStream, state: Arc<State>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let swallowed = AtomicBool::new(false);
    tokio::select! {
        () = there(from_client, to_server, &state, &swallowed) => {}
        () = back(from_server, to_client, &swallowed) => {}
    }
}

async fn there(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State, swallowed: &AtomicBool) {
    let mut tail: Vec<u8> = vec![];
    let mut chunk = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut chunk).await {
        tail.extend_from_slice(&chunk[..n]);
        tail.drain(..tail.len().saturating_sub(DOT.len()));
        if tail == DOT && state.swallow.load(Ordering::SeqCst) {
            swallowed.store(true, Ordering::SeqCst);
        }
        if to.write_all(&chunk[..n]).await.is_err() {
            return;
        }
    }
}

async fn back(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, swallowed: &AtomicBool) {
    let mut chunk = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut chunk).await {
        if !swallowed.load(Ordering::SeqCst) && to.write_all(&chunk[..n]).await.is_err() {
            return;
        }
    }
}
