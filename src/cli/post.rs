//! One request to a program on the other end: what `send` and `listen` post.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use std::time::Duration;

/// The most of an answer that is read.
const ANSWER_MAX: usize = 1 << 20;
/// The longest that a connection and an answer may take together.
const WITHIN: Duration = Duration::from_secs(30);

/// Where to post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Host and port.
    pub authority: String,
    /// Path, with its first `/`.
    pub path: String,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; empty where it is larger than a mebibyte.
    pub body: Bytes,
}

/// Why there is no answer. `Display` is one line.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// Nothing listens there: nothing was sent.
    #[error("{0}")]
    Refused(std::io::Error),
    /// The request can't be made of these.
    #[error("a header can't be sent: {0}")]
    Unsendable(#[from] hyper::http::Error),
    /// The connection ended first.
    #[error("it closed the connection without an answer ({0})")]
    Closed(#[from] hyper::Error),
    /// It takes too long.
    #[error("no answer within {} s", WITHIN.as_secs())]
    Late,
}

impl Place {
    /// Reads `HOST:PORT`, `:PORT` or `http://HOST:PORT/path`.
    ///
    /// # Errors
    /// What to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with("https://") {
            return Err(format!("`{text}`: only programs that speak plain HTTP, such as http://localhost:3000"));
        }
        let bare = text.strip_prefix("http://").unwrap_or(text);
        let (authority, path) = bare.split_at(bare.find('/').unwrap_or(bare.len()));
        let port = authority.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0));
        let (host, port) = port.ok_or_else(|| format!("`{text}` is not an address: write HOST:PORT, such as localhost:3000"))?;
        let host = if host.is_empty() { "localhost" } else { host };
        let path = if path.is_empty() { "/" } else { path };
        Ok(Place { authority: format!("{host}:{port}"), path: path.to_owned() })
    }
}

/// Posts a body, on a connection of its own.
///
/// # Errors
/// There is no answer.
pub async fn post(place: &Place, headers: &[(String, Vec<u8>)], body: Bytes) -> Result<Answer, NoAnswer> {
    let work = async {
        let socket = tokio::net::TcpStream::connect(&place.authority).await.map_err(NoAnswer::Refused)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
        let connection = tokio::spawn(connection);
        let mut request = Request::post(&place.path).header("host", &place.authority);
        for (name, value) in headers {
            request = request.header(name, value.as_slice());
        }
        let answer = sender.send_request(request.body(Full::new(body))?).await?;
        let status = answer.status().as_u16();
        let headers = answer.headers().clone();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await.map(http_body_util::Collected::to_bytes);
        connection.abort();
        Ok(Answer { status, headers, body: body.unwrap_or_default() })
    };
    tokio::time::timeout(WITHIN, work).await.unwrap_or(Err(NoAnswer::Late))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_in_every_form_people_write() {
        let place = |authority: &str, path: &str| Ok(Place { authority: authority.into(), path: path.into() });
        assert_eq!(Place::parse("localhost:3000"), place("localhost:3000", "/"));
        assert_eq!(Place::parse(":3000/hooks?a=1"), place("localhost:3000", "/hooks?a=1"));
        assert_eq!(Place::parse("http://[::1]:80/"), place("[::1]:80", "/"));
        for wrong in ["", "localhost", "localhost:", "localhost:0", "http://localhost/x", "localhost:99999", "https://localhost:1"] {
            assert!(Place::parse(wrong).is_err_and(|why| why.contains("such as")), "{wrong}");
        }
    }
}
