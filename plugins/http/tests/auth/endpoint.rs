//! A web server of our own that answers by a function of the request: token endpoints and far sides that judge a proof.

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub target: String,
    pub headers: http::HeaderMap,
    pub body: String,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// A parameter of the form or of the query, decoded.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let pairs = self.body.split('&').chain(query.split('&')).filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| decoded(value)).next()
    }
}

fn decoded(text: &str) -> String {
    let mut out = vec![];
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let pair: String = bytes.by_ref().take(2).map(char::from).collect();
                out.push(u8::from_str_radix(&pair, 16).unwrap());
            }
            b'+' => out.push(b' '),
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).unwrap()
}

/// What it says; `None`: it hangs up.
pub type Said = Option<http::Response<String>>;

#[allow(clippy::unnecessary_wraps)] // beside those that say nothing
pub fn said(status: u16, body: &str) -> Said {
    Some(http::Response::builder().status(status).body(body.to_owned()).unwrap())
}

#[allow(clippy::unnecessary_wraps)] // beside those that say nothing
pub fn said_with(status: u16, name: &str, value: &str, body: &str) -> Said {
    Some(http::Response::builder().status(status).header(name, value).body(body.to_owned()).unwrap())
}

/// The server.
pub struct Server {
    address: std::net::SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Server {
    pub async fn start(answer: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(vec![]));
        let (answer, heard) = (Arc::new(answer), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, heard) = (Arc::clone(&answer), Arc::clone(&heard));
                let service = service_fn(move |request: hyper::Request<Incoming>| {
                    let (answer, heard) = (Arc::clone(&answer), Arc::clone(&heard));
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let asked = Asked {
                            method: head.method.to_string(),
                            target: head.uri.to_string(),
                            headers: head.headers,
                            body: String::from_utf8_lossy(&body).into_owned(),
                        };
                        heard.lock().unwrap().push(asked.clone());
                        match answer(&asked) {
                            Some(said) => Ok(said.map(|body| Full::new(Bytes::from(body)))),
                            None => Err("hangs up"),
                        }
                    }
                });
                connections.spawn(async move {
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Server { address, asked, task }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Closes the port and every connection.
    pub async fn leave(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
