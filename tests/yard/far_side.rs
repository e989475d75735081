//! A destination that behaves as told and remembers what arrived.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What to do with one request.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// Answers with this status, these headers and this body.
    Answer(u16, Vec<(String, String)>, String),
    /// Bytes that are no HTTP.
    Garbage,
    /// Reads the request, and closes without an answer.
    Hangup,
    /// Reads the request, and says nothing.
    Silence,
}

impl Behaviour {
    pub fn status(status: u16) -> Self {
        Behaviour::Answer(status, vec![], String::new())
    }
    pub fn with(status: u16, name: &str, value: &str) -> Self {
        Behaviour::Answer(status, vec![(name.into(), value.into())], String::new())
    }
    pub fn ok() -> Self {
        Behaviour::Answer(200, vec![], "ok".into())
    }
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Behaviour::Answer(status, vec![("content-type".into(), "application/json".into())], body.to_string())
    }
}

/// A request that arrived.
#[derive(Debug, Clone)]
pub struct Arrived {
    pub at: Instant,
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Arrived {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why} in {}", self.text()))
    }
}

/// Says what to do with a request by what it asks.
type Judge = Box<dyn FnMut(&Arrived) -> Behaviour + Send>;

#[derive(Default)]
struct State {
    next: VecDeque<Behaviour>,
    always: Option<Behaviour>,
    judge: Option<Judge>,
    arrived: Vec<Arrived>,
}

/// A listening destination.
pub struct FarSide {
    pub address: String,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
}

impl FarSide {
    /// Answers 200 until told otherwise.
    pub fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// A port on which nobody listens, until [`FarSide::at`] does.
    pub fn nobody() -> String {
        switchyard_services::net::free_address().unwrap().to_string()
    }

    pub fn at(address: &str) -> Self {
        Self::on(TcpListener::bind(address).unwrap())
    }

    fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap().to_string();
        let (state, stop) = (Arc::new(Mutex::new(State::default())), Arc::new(AtomicBool::new(false)));
        let side = FarSide { address, state: Arc::clone(&state), stop: Arc::clone(&stop) };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (state, stop) = (Arc::clone(&state), Arc::clone(&stop));
                std::thread::spawn(move || {
                    let _ = serve(stream?, &state, &stop);
                    Ok::<_, std::io::Error>(())
                });
            }
        });
        side
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// What to do with the next requests, in this order; then 200 again.
    pub fn next(&self, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.state.lock().unwrap().next.extend(behaviours);
    }

    /// What to do with every request that has nothing else set.
    pub fn always(&self, behaviour: Behaviour) {
        self.state.lock().unwrap().always = Some(behaviour);
    }

    /// What to do with every request that has nothing else set, by what it asks.
    pub fn judge(&self, judge: impl FnMut(&Arrived) -> Behaviour + Send + 'static) {
        self.state.lock().unwrap().judge = Some(Box::new(judge));
    }

    pub fn arrived(&self) -> Vec<Arrived> {
        self.state.lock().unwrap().arrived.clone()
    }

    /// Waits until so many requests arrived; all of them.
    pub fn wait(&self, count: usize) -> Vec<Arrived> {
        super::wait_until(|| self.arrived().len() >= count, || format!("{count} requests; arrived: {:?}", self.arrived()));
        self.arrived()
    }
}

impl Drop for FarSide {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>, stop: &AtomicBool) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream.try_clone()?;
    while !stop.load(Ordering::SeqCst) {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut headers = vec![];
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.trim_end().split_once(':') {
                Some((name, value)) => headers.push((name.trim().to_lowercase(), value.trim().to_owned())),
                None => break,
            }
        }
        let length = headers.iter().find(|(n, _)| n == "content-length").and_then(|(_, v)| v.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let behaviour = {
            let mut state = state.lock().unwrap();
            let arrived = Arrived { at: Instant::now(), method, path, headers, body };
            state.arrived.push(arrived.clone());
            let told = state.next.pop_front().or_else(|| state.always.clone());
            told.or_else(|| state.judge.as_mut().map(|judge| judge(&arrived))).unwrap_or_else(Behaviour::ok)
        };
        match behaviour {
            Behaviour::Answer(status, headers, body) => {
                let mut answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
                for (name, value) in headers {
                    answer.extend([&name, ": ", &value, "\r\n"]);
                }
                writer.write_all(format!("{answer}\r\n{body}").as_bytes())?;
            }
            Behaviour::Garbage => {
                writer.write_all(b"\x00\x01 this is no HTTP \xff\r\n\r\n")?;
                return stream.shutdown(Shutdown::Both);
            }
            Behaviour::Hangup => return stream.shutdown(Shutdown::Both),
            Behaviour::Silence => {
                while !stop.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(20));
                }
                return Ok(());
            }
        }
    }
    Ok(())
}
