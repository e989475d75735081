//! Requests as a network can send them, byte by byte: such that can be read in two ways or not at all, and odd ones that are right all the same.

use crate::torture::sender::sign;
use std::fmt::Write;

/// The topic of what hides behind an ambiguous request; it must never be kept.
pub const SMUGGLED: &str = "SMUGGLED";
/// The topic of odd requests that are right.
pub const ODD: &str = "ODD";

/// How the bytes reach the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// At once.
    Whole,
    /// One after the other.
    Dripped,
    /// At once, and then the sending half is closed.
    HalfClosed,
}

/// A request that must not be taken: its name and its bytes. A signed event of the topic [`SMUGGLED`] follows in them.
pub fn ambiguous() -> Vec<(String, Vec<u8>)> {
    let post = |headers: &str, body: &str| format!("POST /bench HTTP/1.1\r\nHost: a\r\n{headers}\r\n{body}");
    let chunks = "1\r\nx\r\n0\r\n\r\n";
    let mut cases: Vec<(String, Vec<u8>)> = vec![];
    let mut case = |name: &str, bytes: String| cases.push((name.to_owned(), bytes.into_bytes()));
    case("two lengths", post("Content-Length: 1\r\nContent-Length: 2\r\n", "xy"));
    case("both lengths", post("Content-Length: 40\r\nTransfer-Encoding: chunked\r\n", chunks));
    case("both lengths, chunked first", post("Transfer-Encoding: chunked\r\nContent-Length: 40\r\n", chunks));
    for length in ["+1", "-1", "0x1", "1 1", "1,2", "1e1", "\u{661}", "18446744073709551616", "1\u{b}"] {
        case(&format!("length {length:?}"), post(&format!("Content-Length: {length}\r\n"), "x"));
    }
    case("a coding twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", chunks));
    for coding in
        ["chunked, chunked", "gzip, chunked", "chunked, identity", "xchunked", "chunkedx", "\u{b}chunked", "chunked;q=1", "identity"]
    {
        case(&format!("coding {coding:?}"), post(&format!("Transfer-Encoding: {coding}\r\n"), chunks));
    }
    case("name with a blank behind it", post("Transfer-Encoding : chunked\r\n", chunks));
    case("length with a blank behind it", post("Content-Length : 1\r\n", "x"));
    case("folded", post("Content-Length:\r\n 1\r\n", "x"));
    case("a blank before the first header", post(" Content-Length: 1\r\n", "x"));
    case("NUL in a value", post("X-A: a\0b\r\nContent-Length: 1\r\n", "x"));
    case("NUL in a name", post("X\0A: b\r\nContent-Length: 1\r\n", "x"));
    case("CR in a value", post("X-A: a\rContent-Length: 1\r\n", "x"));
    case("a header without a colon", post("Content-Length\r\n", "x"));
    case("chunks in HTTP/1.0", format!("POST /bench HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"));
    for size in ["zz", "0x1", "-1", "+1", "1 1", "\u{661}", "FFFFFFFFFFFFFFFF1", ""] {
        case(&format!("chunk of size {size:?}"), post("Transfer-Encoding: chunked\r\n", &format!("{size}\r\nx\r\n0\r\n\r\n")));
    }
    case("a chunk longer than it says", post("Transfer-Encoding: chunked\r\n", "1\r\nxyz\r\n0\r\n\r\n"));
    case("a chunk that ends in LF", post("Transfer-Encoding: chunked\r\n", "1\nx\n0\n\n"));
    case("an endless chunk extension", post("Transfer-Encoding: chunked\r\n", &format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(100_000))));
    let trailers = "X-T: t\r\n".repeat(3_000);
    case("a flood of trailers", post("Transfer-Encoding: chunked\r\n", &format!("1\r\nx\r\n0\r\n{trailers}\r\n")));
    for line in [
        "POST /bench",
        "POST  /bench HTTP/1.1",
        "POST /ben ch HTTP/1.1",
        "POST /bench HTTP/9.9",
        "P\u{1}ST /bench HTTP/1.1",
        "\u{16}\u{3}\u{1}",
    ] {
        case(&format!("first line {line:?}"), format!("{line}\r\nHost: a\r\n\r\n"));
    }
    case("an HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned());
    case("a flood of headers", post(&"X-A: a\r\n".repeat(110), ""));
    case("an endless header", post(&format!("X-A: {}\r\n", "a".repeat(70_000)), ""));
    case("an endless address", format!("POST /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(70_000)));
    case(
        "two signatures",
        event("HTTP/1.1", "two-signatures", SMUGGLED, "X-Signature: sha256=00\r\nConnection: close\r\n", Framing::Length),
    );
    for (name, bytes) in &mut cases {
        let behind = if name == "two signatures" { String::new() } else { event("HTTP/1.1", name, SMUGGLED, "", Framing::Length) };
        bytes.extend_from_slice(behind.as_bytes());
    }
    cases
}

/// An odd request that is right: its name, its bytes, how they come, and how many events it is.
pub fn odd() -> Vec<(&'static str, Vec<u8>, Manner, usize)> {
    let close = "Connection: close\r\n";
    let mut pipelined = String::new();
    for nth in 0..100 {
        pipelined += &event("HTTP/1.1", &format!("pipelined-{nth}"), ODD, if nth == 99 { close } else { "" }, Framing::Length);
    }
    let one = |id: &str, more: &str, framing| event("HTTP/1.1", id, ODD, &format!("{more}{close}"), framing).into_bytes();
    vec![
        ("a hundred in one write", pipelined.into_bytes(), Manner::Whole, 100),
        ("byte by byte", one("dripped", "", Framing::Length), Manner::Dripped, 1),
        ("half closed", event("HTTP/1.1", "half", ODD, "", Framing::Length).into_bytes(), Manner::HalfClosed, 1),
        ("chunks of one byte", one("chunks", "", Framing::Chunks), Manner::Whole, 1),
        ("chunks, byte by byte", one("slow-chunks", "", Framing::Chunks), Manner::Dripped, 1),
        ("Expect: 100-continue", one("expect", "Expect: 100-continue\r\n", Framing::Length), Manner::Whole, 1),
        ("Upgrade", one("upgrade", "Upgrade: websocket\r\n", Framing::Length), Manner::Whole, 1),
        ("HTTP/1.0", event("HTTP/1.0", "old", ODD, "", Framing::Length).into_bytes(), Manner::Whole, 1),
        ("a blank line before it", [b"\r\n", &one("blank", "", Framing::Length)[..]].concat(), Manner::Whole, 1),
        ("ninety headers", one("ninety", &"X-A: a\r\n".repeat(90), Framing::Length), Manner::Whole, 1),
    ]
}

/// How a body's length is told.
#[derive(Clone, Copy)]
enum Framing {
    Length,
    Chunks,
}

/// A signed event.
fn event(version: &str, id: &str, topic: &str, headers: &str, framing: Framing) -> String {
    let body = format!(r#"{{"note":"made up","id":"{}"}}"#, id.escape_default());
    let mut text = format!("POST /bench {version}\r\nHost: a\r\nX-Topic: {topic}\r\nX-Event-Id: {}\r\n", id.escape_default());
    let _ = write!(text, "X-Signature: {}\r\n{headers}", sign(body.as_bytes()));
    match framing {
        Framing::Length => {
            let _ = write!(text, "Content-Length: {}\r\n\r\n{body}", body.len());
        }
        Framing::Chunks => {
            text += "Transfer-Encoding: chunked\r\n\r\n";
            body.chars().for_each(|one| {
                let _ = write!(text, "1\r\n{one}\r\n");
            });
            text += "0\r\n\r\n";
        }
    }
    text
}
