//! A sender as the real ones are: signs, expects 200, and sends again what was not answered, under the same id.

use crate::daemon::SECRET;
use crate::http::Client;
use crate::torture::ledger::{CONNECTIONS, Ledger, body};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a connection waits after something went wrong.
const PAUSE: Duration = Duration::from_millis(5);

/// Some connections that send without end.
pub struct Sender {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    address: SocketAddr,
    ledger: Arc<Ledger>,
    finishing: AtomicBool,
    /// Between two events of one connection.
    pace: Duration,
}

impl Sender {
    /// Starts to send; the daemon need not be there yet.
    pub fn start(address: SocketAddr, ledger: Arc<Ledger>, pace: Duration) -> Self {
        let shared = Arc::new(Shared { address, ledger, finishing: AtomicBool::new(false), pace });
        let threads = (1..=CONNECTIONS).map(|first| (first, shared.clone()));
        let threads = threads.map(|(first, shared)| std::thread::spawn(move || shared.run(first))).collect();
        Sender { shared, threads }
    }

    /// No new events. What was sent without an answer goes on being sent.
    pub fn finish(&self) {
        self.shared.finishing.store(true, SeqCst);
    }

    /// Whether every event that was ever sent is answered.
    pub fn is_done(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }
}

impl Shared {
    fn run(&self, first: u64) {
        let mut connection = None;
        for number in (first..).step_by(CONNECTIONS as usize) {
            if self.finishing.load(SeqCst) {
                return;
            }
            let (body, id) = (body(number), format!("torture-{number}"));
            let signature = sign(&body);
            let headers =
                [("Content-Type", "application/json"), ("X-Topic", "ORDER_PAID"), ("X-Event-Id", &id), ("X-Signature", &signature)];
            loop {
                match self.send(&mut connection, &headers, &body) {
                    Ok((200, answer)) => {
                        self.note(number, &answer);
                        break;
                    }
                    Ok((503, _)) => {}
                    Ok((status, answer)) => {
                        self.ledger.trouble(format!("event {number} was answered {status} {}", String::from_utf8_lossy(&answer)));
                    }
                    Err(_) => connection = None,
                }
                std::thread::sleep(PAUSE);
            }
            std::thread::sleep(self.pace);
        }
    }

    fn send(&self, connection: &mut Option<Client>, headers: &[(&str, &str)], body: &[u8]) -> std::io::Result<(u16, Vec<u8>)> {
        let client = match connection {
            Some(client) => client,
            None => connection.insert(Client::open(self.address)?),
        };
        client.ask("POST", "/bench", headers, body)
    }

    fn note(&self, number: u64, answer: &[u8]) {
        match serde_json::from_slice::<serde_json::Value>(answer).ok().as_ref().and_then(|answer| answer["event"].as_str()) {
            Some(event) => self.ledger.answered(number, event),
            None => self.ledger.trouble(format!("event {number} was answered 200 without its id: {}", String::from_utf8_lossy(answer))),
        }
    }
}

/// The header by which the source proves a body.
pub fn sign(body: &[u8]) -> String {
    // A key of any length is a key.
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()) else { return String::new() };
    format!("sha256={}", hex::encode(mac.chain_update(body).finalize().into_bytes()))
}
