//! A till on a free port of this machine. It is a server of its own, in a thread of its own; an output for a product has the product's
//! real server here, started by the crate `tests/services`.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

pub const PASSWORD: &str = "made-up-till-password";

/// What it does with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manner {
    Take,
    Busy(u64),
    Silence,
    /// Takes it and hangs up.
    HangUp,
    Say(&'static str),
}

#[derive(Debug)]
struct State {
    manner: Manner,
    /// Nobody is let in any more.
    left: bool,
    arrived: Vec<(String, String)>,
    connections: Vec<TcpStream>,
}

#[derive(Debug, Clone)]
pub struct Till {
    pub port: u16,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Till {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = State { manner: Manner::Take, left: false, arrived: vec![], connections: vec![] };
        let till = Till { port: listener.local_addr().unwrap().port(), state: Arc::new((Mutex::new(state), Condvar::new())) };
        let server = till.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let mut state = server.state.0.lock().unwrap();
                if state.left {
                    return; // and the port with it
                }
                state.connections.push(stream.try_clone().unwrap());
                let server = server.clone();
                std::thread::spawn(move || server.serve(stream));
            }
        });
        till
    }

    /// Closes the port and every connection.
    pub fn leave(&self) {
        let mut state = self.state.0.lock().unwrap();
        state.left = true;
        for connection in &state.connections {
            let _ = connection.shutdown(Shutdown::Both);
        }
        drop(state);
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            std::thread::yield_now();
        }
    }

    pub fn behave(&self, manner: Manner) {
        self.state.0.lock().unwrap().manner = manner;
        self.state.1.notify_all();
    }

    /// Ids and channels, in their order.
    pub fn arrived(&self) -> Vec<(String, String)> {
        self.state.0.lock().unwrap().arrived.clone()
    }

    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut to = stream.try_clone().ok()?;
        let mut lines = BufReader::new(stream).lines();
        if lines.next()?.ok()? != format!("HELLO {PASSWORD}") {
            return to.write_all(b"NO wrong password\n").ok();
        }
        to.write_all(b"WELCOME\n").ok()?;
        loop {
            let line: serde_json::Value = serde_json::from_str(&lines.next()?.ok()?).ok()?;
            let text = |name: &str| line[name].as_str().unwrap().to_owned();
            let mut state = self.state.0.lock().unwrap();
            while state.manner == Manner::Silence {
                state = self.state.1.wait(state).unwrap();
            }
            let answer = match &state.manner {
                Manner::Busy(seconds) => format!("BUSY {seconds}\n"),
                Manner::Say(words) => format!("{words}\n"),
                Manner::Silence | Manner::Take | Manner::HangUp if text("text") == "poison" => "REFUSED no such article\n".to_owned(),
                Manner::Silence | Manner::Take | Manner::HangUp => {
                    state.arrived.push((text("id"), text("channel")));
                    format!("OK {}\n", state.arrived.len())
                }
            };
            if state.manner == Manner::HangUp {
                let _ = to.shutdown(Shutdown::Both);
                return None;
            }
            drop(state);
            to.write_all(answer.as_bytes()).ok()?;
        }
    }
}
