//! HTTP/1.1, blocking and plain: a client that keeps its connection, and one request as a server reads it.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest wait for a connection, and for anything to come over it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest head and body read.
const HEAD_MAX: u64 = 64 << 10;
const BODY_MAX: usize = 64 << 20;

/// A connection to a server.
pub struct Client {
    stream: BufReader<TcpStream>,
}

/// A head and its body: of an answer or of a request.
pub struct Message {
    /// The first line.
    pub first: String,
    headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Client {
    /// Connects.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client { stream: BufReader::new(stream) })
    }

    /// Sends one request and reads its answer: status and body.
    pub fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<(u16, Vec<u8>)> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            request += name;
            request += ": ";
            request += value;
            request += "\r\n";
        }
        request += "\r\n";
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        self.stream.get_mut().write_all(&bytes)?;
        let answer = read(&mut self.stream)?.ok_or(ErrorKind::UnexpectedEof)?;
        let status = answer.first.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or(ErrorKind::InvalidData)?;
        Ok((status, answer.body))
    }
}

/// Asks once over a connection of its own.
pub fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<(u16, Vec<u8>)> {
    Client::open(address)?.ask("GET", path, headers, b"")
}

impl Message {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Reads one message; nothing if the other side closed before it began.
pub fn read(stream: &mut BufReader<TcpStream>) -> Result<Option<Message>> {
    let mut head = stream.by_ref().take(HEAD_MAX);
    let mut line = || -> Result<Option<String>> {
        let mut line = String::new();
        let read = head.read_line(&mut line)?;
        Ok((read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned()))
    };
    let Some(first) = line()? else { return Ok(None) };
    let mut headers = vec![];
    loop {
        let text = line()?.ok_or(ErrorKind::UnexpectedEof)?;
        match text.split_once(':') {
            Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
            None if text.is_empty() => break,
            None => return Err(ErrorKind::InvalidData.into()),
        }
    }
    let mut message = Message { first, headers, body: vec![] };
    message.body = if message.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        chunks(stream)?
    } else {
        let length = message.header("content-length").map_or(Ok(0), str::parse).map_err(|_| ErrorKind::InvalidData)?;
        exactly(stream, length)?
    };
    Ok(Some(message))
}

fn chunks(stream: &mut BufReader<TcpStream>) -> Result<Vec<u8>> {
    let mut body = vec![];
    loop {
        let mut size = String::new();
        stream.by_ref().take(HEAD_MAX).read_line(&mut size)?;
        let size = usize::from_str_radix(size.trim(), 16).map_err(|_| ErrorKind::InvalidData)?;
        let mut chunk = exactly(stream, size + 2)?;
        chunk.truncate(size);
        if size == 0 {
            return Ok(body);
        }
        body.append(&mut chunk);
        if body.len() > BODY_MAX {
            return Err(ErrorKind::FileTooLarge.into());
        }
    }
}

fn exactly(stream: &mut BufReader<TcpStream>, length: usize) -> Result<Vec<u8>> {
    if length > BODY_MAX {
        return Err(Error::from(ErrorKind::FileTooLarge));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_request_and_its_answer_go_through_a_real_socket_twice() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            let mut seen = vec![];
            while let Some(request) = read(&mut stream).unwrap() {
                let chunked = "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
                let plain = "HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno";
                stream.get_mut().write_all(if seen.is_empty() { chunked } else { plain }.as_bytes()).unwrap();
                seen.push((request.first.clone(), request.header("x-a").map(str::to_owned), request.body));
            }
            seen
        });
        let mut client = Client::open(address).unwrap();
        assert_eq!(client.ask("POST", "/a", &[("X-A", "1")], b"body").unwrap(), (201, b"abcde".to_vec()));
        assert_eq!(client.ask("GET", "/b", &[], b"").unwrap(), (503, b"no".to_vec()));
        drop(client);
        let seen = server.join().unwrap();
        assert_eq!(seen[0], ("POST /a HTTP/1.1".into(), Some("1".into()), b"body".to_vec()));
        assert_eq!(seen[1], ("GET /b HTTP/1.1".into(), None, vec![]));
    }
}
