//! HTTP as the load speaks it: a prebuilt request of which only some digits change, and the shortest reader of an answer.

use crate::clock::now_ns;
use crate::ingest::Sha256Mac;
use crate::order::{DIGITS, order, put_digits, sent_at};
use anyhow::Context;
use hmac::{KeyInit, Mac};
use hyper::Uri;
use std::fmt::Write;
use std::io::ErrorKind::{InvalidData, UnexpectedEof};
use std::path::PathBuf;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// What is sent where.
#[derive(clap::Args, Clone)]
pub struct Target {
    /// Where requests go.
    #[arg(long, default_value = "http://127.0.0.1:9700/in")]
    url: Uri,
    /// Size of the body, bytes.
    #[arg(long, default_value_t = 1024)]
    body: usize,
    /// Send this file instead.
    #[arg(long)]
    body_file: Option<PathBuf>,
    /// Further headers, `name: value`.
    #[arg(long)]
    header: Vec<String>,
    /// Key of the signature over the body (HMAC-SHA256, hex).
    #[arg(long, default_value = "floor-secret-floor-secret-floor!")]
    secret: String,
    /// The header of the signature.
    #[arg(long, default_value = "X-Signature")]
    signature_header: String,
    /// What stands before its digits.
    #[arg(long, default_value = "sha256=")]
    signature_prefix: String,
    /// The header of each request's own id.
    #[arg(long, default_value = "X-Event-Id")]
    id_header: String,
    /// Put the time of sending into the body, which is then signed anew each time, instead of the header `X-Sent-Ns`.
    #[arg(long)]
    time_in_body: bool,
    /// Topics: `ORDER_PAID` alone, or `T` and 20 digits, from 0, in turn.
    #[arg(long, default_value_t = 1)]
    topics: u64,
}

/// A request of which id, time and, where the time stands in the body, signature are written afresh each time.
#[derive(Clone)]
pub struct Prebuilt {
    bytes: Vec<u8>,
    body_at: usize,
    id_at: usize,
    sent_at: usize,
    signature_at: usize,
    /// Where the topic's digits stand, and how many topics there are.
    topic: Option<(usize, u64)>,
    mac: Sha256Mac,
    sign_each: bool,
}

impl Target {
    /// Host and port.
    pub fn address(&self) -> anyhow::Result<String> {
        Ok(self.url.authority().context("--url: needs a host and a port")?.to_string())
    }

    /// The request, ready but for its digits.
    pub fn prebuild(&self) -> anyhow::Result<Prebuilt> {
        let body = match &self.body_file {
            Some(path) => std::fs::read(path).with_context(|| path.display().to_string())?,
            None => order(self.body, self.time_in_body),
        };
        let path = self.url.path_and_query().map_or("/", hyper::http::uri::PathAndQuery::as_str);
        let mut head = format!("POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n", self.address()?);
        write!(head, "User-Agent: floor-load\r\nContent-Length: {}\r\nX-Topic: ", body.len())?;
        let topic = (self.topics > 1).then_some((head.len() + 1, self.topics));
        match topic {
            Some(_) => write!(head, "T{:0DIGITS$}\r\n", 0)?,
            None => head += "ORDER_PAID\r\n",
        }
        for header in &self.header {
            write!(head, "{header}\r\n")?;
        }
        write!(head, "{}: {}", self.signature_header, self.signature_prefix)?;
        let signature_at = head.len();
        write!(head, "{:064}\r\n{}: ", 0, self.id_header)?;
        let id_at = head.len();
        write!(head, "{:0DIGITS$}\r\n", 0)?;
        let mut time_at = 0;
        if !self.time_in_body {
            head += "X-Sent-Ns: ";
            time_at = head.len();
            write!(head, "{:0DIGITS$}\r\n", 0)?;
        }
        head += "\r\n";
        let body_at = head.len();
        if self.time_in_body {
            time_at = body_at + sent_at(&body).context("--body-file: no \"sent_ns\":\"<20 digits>\" in it")?;
        }
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&body);
        let mac = Sha256Mac::new_from_slice(self.secret.as_bytes())?;
        let mut request = Prebuilt { bytes, body_at, id_at, sent_at: time_at, signature_at, topic, mac, sign_each: self.time_in_body };
        request.sign();
        Ok(request)
    }
}

impl Prebuilt {
    /// The request with this id, sent now.
    pub fn fill(&mut self, id: u64) -> &[u8] {
        put_digits(&mut self.bytes[self.id_at..self.id_at + DIGITS], id);
        put_digits(&mut self.bytes[self.sent_at..self.sent_at + DIGITS], now_ns());
        if let Some((at, topics)) = self.topic {
            put_digits(&mut self.bytes[at..at + DIGITS], id % topics);
        }
        if self.sign_each {
            self.sign();
        }
        &self.bytes
    }

    fn sign(&mut self) {
        let signature = self.mac.clone().chain_update(&self.bytes[self.body_at..]).finalize().into_bytes();
        // 32 bytes always fill the 64 digits that stand there.
        let _ = hex::encode_to_slice(signature, &mut self.bytes[self.signature_at..self.signature_at + 64]);
    }
}

/// Reads one answer, whose body must have a length; its status. `buffer` is room to read into.
pub async fn status(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<u16> {
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(UnexpectedEof.into());
        }
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&buffer[..end]).map_err(|_| InvalidData)?;
        let status = head.get(9..12).and_then(|digits| digits.parse().ok()).ok_or(InvalidData)?;
        let whole = end + 4 + content_length(head);
        while buffer.len() < whole {
            if stream.read_buf(buffer).await? == 0 {
                return Err(UnexpectedEof.into());
            }
        }
        return Ok(status);
    }
}

fn content_length(head: &str) -> usize {
    let mut values = head.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    values.find_map(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        target: Target,
    }

    fn prebuilt(options: &[&str]) -> Prebuilt {
        Line::try_parse_from([&["load"], options].concat()).unwrap().target.prebuild().unwrap()
    }

    #[test]
    fn every_request_has_its_own_id_and_a_signature_that_fits_its_body() {
        for options in [&["--secret", "k", "--header", "A: b"][..], &["--secret", "k", "--time-in-body"]] {
            let mut request = prebuilt(options);
            let body_at = request.body_at;
            let (first, second) = (request.fill(1).to_vec(), request.fill(2).to_vec());
            assert_ne!(first, second);
            for sent in [first, second] {
                let (head, body) = sent.split_at(body_at);
                let head = std::str::from_utf8(head).unwrap();
                let signature = hex::encode(Sha256Mac::new_from_slice(b"k").unwrap().chain_update(body).finalize().into_bytes());
                assert!(head.contains(&format!("X-Signature: sha256={signature}\r\n")), "{head}");
                assert_eq!(content_length(head), body.len());
                assert_eq!(sent_at(body).is_some(), options.contains(&"--time-in-body"));
            }
        }
    }

    #[test]
    fn topics_go_in_turn() {
        let topic = |request: &[u8]| {
            let head = String::from_utf8_lossy(request).into_owned();
            head.lines().find_map(|line| line.strip_prefix("X-Topic: ").map(str::to_owned)).unwrap()
        };
        let mut request = prebuilt(&["--topics", "3"]);
        assert_eq!(
            [4, 5, 6].map(|id| topic(request.fill(id))),
            ["T00000000000000000001", "T00000000000000000002", "T00000000000000000000"]
        );
        assert_eq!(topic(prebuilt(&[]).fill(4)), "ORDER_PAID");
    }
}
