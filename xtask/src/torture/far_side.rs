//! The outputs' other side: small HTTP servers that note in the ledger what arrives, and answer as their kind does.

use crate::http;
use crate::torture::ledger::{Arrival, Ledger, OUTPUTS, Reply, is_rejected, number_of};
use std::io::{BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// How long `guest` takes for an answer in its bad days, so that much is out and waits when it leaves.
const GUEST_TAKES: Duration = Duration::from_millis(20);

/// All outputs' servers; they run until the process ends.
pub struct FarSides {
    /// Their ports, in the order of [`OUTPUTS`].
    pub ports: Vec<u16>,
    healthy: Arc<AtomicBool>,
}

impl FarSides {
    /// Starts them, each in its bad days.
    pub fn start(ledger: &Arc<Ledger>) -> std::io::Result<Self> {
        let (healthy, mut ports) = (Arc::new(AtomicBool::new(false)), vec![]);
        for output in 0..OUTPUTS.len() {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            ports.push(listener.local_addr()?.port());
            let (ledger, healthy) = (ledger.clone(), healthy.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (ledger, healthy) = (ledger.clone(), healthy.clone());
                    std::thread::spawn(move || serve(stream, output, &ledger, &healthy));
                }
            });
        }
        Ok(FarSides { ports, healthy })
    }

    /// The bad days are over.
    pub fn recover(&self) {
        self.healthy.store(true, Relaxed);
    }
}

fn serve(stream: TcpStream, output: usize, ledger: &Ledger, healthy: &AtomicBool) {
    let _ = stream.set_nodelay(true);
    let mut stream = BufReader::new(stream);
    while let Ok(Some(request)) = http::read(&mut stream) {
        if OUTPUTS[output] == "guest" && !healthy.load(Relaxed) {
            std::thread::sleep(GUEST_TAKES);
        }
        let answer = answer(OUTPUTS[output], number_of(&request.body).unwrap_or(0), healthy.load(Relaxed));
        let reply = match answer {
            Some("200 OK") => Reply::Taken,
            Some("422 Unprocessable Content") => Reply::Rejected,
            _ => Reply::NotTaken,
        };
        let header = |name| request.header(name).unwrap_or("none");
        let (delivery, event) = (header("switchyard-delivery"), header("switchyard-event"));
        // Noted before it is answered: from here on the output has it, whatever the daemon hears.
        ledger.arrived(&Arrival { output, body: &request.body, delivery, event, reply });
        let Some(status) = answer else { return };
        let wait = if status.starts_with("429") { "Retry-After: 1\r\n" } else { "" };
        if stream.get_mut().write_all(format!("HTTP/1.1 {status}\r\n{wait}Content-Length: 0\r\n\r\n").as_bytes()).is_err() {
            return;
        }
    }
}

/// The status line's end; nothing: hang up without an answer.
fn answer(output: &str, number: u64, healthy: bool) -> Option<&'static str> {
    match output {
        "strict" if is_rejected(number) => Some("422 Unprocessable Content"),
        "ordered" if !healthy => match rand::random_range(0..100) {
            0..4 => Some("500 Internal Server Error"),
            4..6 => None,
            _ => Some("200 OK"),
        },
        "later" if !healthy => Some("503 Service Unavailable"),
        "flaky" | "guest" if !healthy => match rand::random_range(0..100) {
            0..10 => Some("500 Internal Server Error"),
            10..13 => Some("429 Too Many Requests"),
            13..15 => Some("503 Service Unavailable"),
            15..20 => None,
            _ => Some("200 OK"),
        },
        _ => Some("200 OK"),
    }
}
