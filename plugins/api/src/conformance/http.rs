//! A web server with every bad manner one meets, on a loopback socket of its own. For tests only.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// What the server does with a request it has read.
#[derive(Debug, Clone)]
pub enum Manner {
    /// Answers and keeps the connection.
    Answer {
        /// Status.
        status: u16,
        /// Headers beside `content-length`.
        headers: Vec<(String, String)>,
        /// Body.
        body: Vec<u8>,
    },
    /// Answers as [`Manner::Answer`] with 200 and hangs up after it without saying so.
    AnswerAndHangUp,
    /// Sends these bytes and hangs up.
    Raw(Vec<u8>),
    /// Hangs up.
    HangUp,
    /// Never answers.
    Silence,
    /// Answers 200 and a body without end.
    Endless,
}

impl Manner {
    /// An answer without headers of its own.
    pub fn answer(status: u16, body: &str) -> Self {
        Manner::Answer { status, headers: vec![], body: body.as_bytes().to_vec() }
    }

    /// An answer with one header.
    pub fn with_header(status: u16, name: &str, value: &str) -> Self {
        Manner::Answer { status, headers: vec![(name.into(), value.into())], body: vec![] }
    }
}

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    /// `POST`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Got {
    /// The value of a header (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

#[derive(Debug)]
struct State {
    /// The next ones, then `manner`.
    next: VecDeque<Manner>,
    manner: Manner,
    got: Vec<Got>,
    connections: usize,
}

/// The server.
#[derive(Debug)]
pub struct WebServer {
    address: SocketAddr,
    https: bool,
    state: Arc<Mutex<State>>,
    count: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl WebServer {
    /// Listens on a free port of 127.0.0.1 and answers 200 to everything.
    pub async fn start() -> Self {
        Self::listen(None).await
    }

    /// As [`start`](Self::start), with TLS.
    pub async fn start_tls(config: rustls::ServerConfig) -> Self {
        Self::listen(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let manner = Manner::answer(200, "");
        let state = Arc::new(Mutex::new(State { next: VecDeque::new(), manner, got: vec![], connections: 0 }));
        let (counter, count) = watch::channel(0);
        let https = tls.is_some();
        let task = tokio::spawn(accept(listener, tls, Arc::clone(&state), Arc::new(counter)));
        WebServer { address, https, state, count, task }
    }

    /// `http://127.0.0.1:PORT`, or `https://localhost:PORT`.
    pub fn url(&self) -> String {
        if self.https { format!("https://localhost:{}", self.address.port()) } else { format!("http://{}", self.address) }
    }

    /// How it behaves from now on.
    pub fn behave(&self, manner: Manner) {
        self.state.lock().expect("no panic under the lock").manner = manner;
    }

    /// How it behaves at the next request that has no manner yet; after those as before.
    pub fn then(&self, manner: Manner) {
        self.state.lock().expect("no panic under the lock").next.push_back(manner);
    }

    /// What came so far.
    pub fn got(&self) -> Vec<Got> {
        self.state.lock().expect("no panic under the lock").got.clone()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.state.lock().expect("no panic under the lock").connections
    }

    /// Waits until so many requests came.
    pub async fn wait_for(&self, requests: usize) {
        self.count.clone().wait_for(|count| *count >= requests).await.expect("the server runs");
    }

    /// Closes the port and every connection.
    pub async fn leave(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<Mutex<State>>, count: Arc<watch::Sender<usize>>) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        state.lock().expect("no panic under the lock").connections += 1;
        let (tls, state, count) = (tls.clone(), Arc::clone(&state), Arc::clone(&count));
        connections.spawn(async move {
            match tls {
                None => serve(stream, &state, &count).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => serve(stream, &state, &count).await,
                    Err(_) => None,
                },
            }
        });
    }
}

/// Serves one connection; ends when either side hangs up.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, state: &Mutex<State>, count: &watch::Sender<usize>) -> Option<()> {
    let mut read = vec![];
    loop {
        let got = request(&mut stream, &mut read).await?;
        let manner = {
            let mut state = state.lock().expect("no panic under the lock");
            state.got.push(got);
            state.next.pop_front().unwrap_or_else(|| state.manner.clone())
        };
        count.send_modify(|count| *count += 1);
        match manner {
            Manner::Answer { status, headers, body } => {
                let mut lines = vec![format!("HTTP/1.1 {status} X")];
                lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
                if !matches!(status, 204 | 304) {
                    lines.push(format!("content-length: {}", body.len()));
                }
                let head = lines.join("\r\n") + "\r\n\r\n";
                stream.write_all(&[head.as_bytes(), &body].concat()).await.ok()?;
            }
            Manner::AnswerAndHangUp => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.ok()?;
                return None;
            }
            Manner::Raw(bytes) => {
                stream.write_all(&bytes).await.ok()?;
                return None;
            }
            Manner::HangUp => return None,
            Manner::Silence => {
                // Until the other side hangs up.
                while stream.read(&mut [0; 64]).await.ok()? > 0 {}
                return None;
            }
            Manner::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.ok()?;
                loop {
                    stream.write_all(b"400\r\n").await.ok()?;
                    stream.write_all(&[b'x'; 0x400]).await.ok()?;
                    stream.write_all(b"\r\n").await.ok()?;
                }
            }
        }
    }
}

/// Reads one request; `read` holds bytes that came already.
async fn request<S: AsyncRead + Unpin>(stream: &mut S, read: &mut Vec<u8>) -> Option<Got> {
    let mut more = [0; 4096];
    let head = loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let head: Vec<u8> = read.drain(..end + 4).collect();
            break String::from_utf8_lossy(&head).into_owned();
        }
        let count = stream.read(&mut more).await.ok().filter(|count| *count > 0)?;
        read.extend_from_slice(&more[..count]);
    };
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
    while read.len() < length {
        let count = stream.read(&mut more).await.ok().filter(|count| *count > 0)?;
        read.extend_from_slice(&more[..count]);
    }
    Some(Got { method, target, headers, body: read.drain(..length).collect() })
}
