//! Bytes of any kind on a connection of the real ingest server, on virtual time: it ends, every answer is one, what is kept was answered 200 and the
//! other way round, and nothing is kept that its sender's page would not have accepted.

use super::keeper::{self, List};
use crate::input::NOW;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use switchyard::ingest::{Ingest, Limits, converse};
use switchyard::model::Event;
use switchyard_reference::senders::{Sender, senders};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};
use tokio::time::timeout;

/// Beyond every limit of a connection, and those of some requests in a row.
const ENDED_WITHIN: Duration = Duration::from_mins(10);
const MAX_BODY: usize = 8 << 10;
/// Stands for the right signature of the body that is behind it, if that is the end of the input.
const SIGNED: &str = "SIGNED";

/// How the bytes come (the first says how many at a time), and what comes.
pub fn entry() -> crate::Entry {
    let senders = senders();
    let sections: Vec<String> =
        senders.iter().map(|sender| format!("{0}: {{ verify: {0}, secret: {1} }}", sender.preset, sender.secret)).collect();
    let limits = Limits { max_body: MAX_BODY, ..Limits::default() };
    let (list, ingest) = keeper::ingest(&sections.join("\n"), limits);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    Box::new(move |input| {
        let Some((&pace, bytes)) = input.split_first() else { return };
        let bytes = signed(bytes, &senders);
        let said = runtime.block_on(speak(&ingest, &bytes, usize::from(pace)));
        let (kept, accepted) = (list.take(), answers(&said));
        assert_eq!(kept.len(), accepted, "kept, and answered 200: {}", String::from_utf8_lossy(&said));
        for event in kept {
            assert!(event.body.len() <= MAX_BODY);
            assert!(is_proven(&event, &bytes, &senders), "nobody signed it: {event:?}");
        }
    })
}

/// A word in place of a signature makes a request that is proven, so that what is behind the proof is tried too.
fn signed(bytes: &[u8], senders: &[Sender]) -> Vec<u8> {
    let find = |what: &[u8]| bytes.windows(what.len()).position(|window| window == what);
    let (Some(at), Some(end)) = (find(SIGNED.as_bytes()), find(b"\r\n\r\n")) else { return bytes.to_vec() };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let Some(sender) = senders.iter().find(|sender| head.contains(sender.header)) else { return bytes.to_vec() };
    let signature = sender.sign(&(NOW.0 / 1_000).to_string(), "id-1", &bytes[end + 4..]);
    [&bytes[..at], signature.as_bytes(), &bytes[at + SIGNED.len()..]].concat()
}

/// Says all of it, closes its half, and hears all that is said.
async fn speak(ingest: &Arc<Ingest<List>>, bytes: &[u8], pace: usize) -> Vec<u8> {
    let (near, far) = duplex(if pace == 0 { 1 << 20 } else { pace });
    let (mut hears, mut says) = split(near);
    let peer = SocketAddr::from(([192, 0, 2, 7], 1));
    let mut said = vec![];
    let talk = async {
        let speaking = async {
            // It may have heard enough.
            let _ = says.write_all(bytes).await;
            let _ = says.shutdown().await;
        };
        let hearing = hears.read_to_end(&mut said);
        tokio::join!(converse(far, peer, Arc::clone(ingest)), speaking, hearing)
    };
    let ended = timeout(ENDED_WITHIN, talk).await;
    assert!(ended.is_ok(), "the connection does not end");
    said
}

/// Answers of 200 that name an event (a handshake's does not); whatever was said is answers and nothing else.
fn answers(mut said: &[u8]) -> usize {
    let mut accepted = 0;
    while !said.is_empty() {
        let end = said.windows(4).position(|window| window == b"\r\n\r\n").expect("an answer's head ends");
        let head = std::str::from_utf8(&said[..end]).expect("an answer's head is text");
        let (first, headers) = head.split_once("\r\n").unwrap_or((head, ""));
        let status =
            first.strip_prefix("HTTP/1.1 ").or_else(|| first.strip_prefix("HTTP/1.0 ")).expect("an answer begins with its version");
        let status: u16 = status.split(' ').next().and_then(|status| status.parse().ok()).expect("a status");
        let length = headers.split("\r\n").find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
        // The answer to HEAD has no body.
        let body = &said[end + 4..];
        let length = if body.len() < length || body.starts_with(b"HTTP/1.") { 0 } else { length };
        let names_an_event = body[..length].windows(4).any(|window| window == b"evt_");
        accepted += usize::from(status == 200 && names_an_event);
        said = &body[length..];
    }
    accepted
}

/// Whether its sender's page has it accepted: its body, or what that was decoded from.
fn is_proven(event: &Event, bytes: &[u8], senders: &[Sender]) -> bool {
    let mut headers = HeaderMap::new();
    for (name, value) in event.headers.iter() {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let Some(sender) = senders.iter().find(|sender| *event.source == *sender.preset) else { return false };
    let accepts = |body: &[u8]| sender.accepts(&headers, body, NOW.0 / 1_000);
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    // In pieces it is not looked for.
    let coded = text.contains("content-encoding");
    accepts(&event.body) || (coded && (text.contains("chunked") || bodies(bytes, &text).into_iter().any(accepts)))
}

/// Every piece of the input that could be a body.
fn bodies<'b>(bytes: &'b [u8], text: &str) -> Vec<&'b [u8]> {
    let lengths = text.split("content-length:").skip(1).filter_map(|rest| rest.lines().next()?.trim().parse::<usize>().ok());
    let lengths: Vec<usize> = lengths.take(8).collect();
    let starts = bytes.windows(4).enumerate().filter(|(_, window)| *window == b"\r\n\r\n").map(|(at, _)| at + 4);
    starts.take(16).flat_map(|start| lengths.iter().filter_map(move |length| bytes.get(start..start.checked_add(*length)?))).collect()
}
