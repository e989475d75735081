//! A server that refuses where it is told to: what no real one can be made to do at every stage.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Answers by what a line begins with; the first that fits counts. `""` is the greeting, `.` the end of a mail.
/// An answer of `drop` closes, `silent` says nothing, `~` in it is a line end; `354 cut` closes in the middle of a mail.
pub type Rules = Vec<(&'static str, &'static str)>;

/// A server that speaks by rules.
pub struct Script {
    /// Where it listens.
    pub port: u16,
    said: Arc<Mutex<Vec<String>>>,
    listener: JoinHandle<()>,
}

impl Script {
    /// Starts one.
    pub async fn start(rules: Rules) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let said = Arc::new(Mutex::new(vec![]));
        let heard = Arc::clone(&said);
        let listener = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(talk(stream, rules.clone(), Arc::clone(&heard)));
            }
        });
        Script { port, said, listener }
    }

    /// The commands so far, without what is in the mails.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn talk(stream: TcpStream, rules: Rules, said: Arc<Mutex<Vec<String>>>) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let mut in_mail = false;
    loop {
        if !in_mail || line == "." {
            if !line.is_empty() {
                said.lock().unwrap().push(line.clone());
            }
            let answer = rules.iter().find(|(start, _)| if start.is_empty() { line.is_empty() } else { line.starts_with(start) });
            let answer = answer.map_or_else(|| usual(&line), |(_, answer)| answer);
            match answer {
                "drop" => return,
                "silent" => {}
                "354 cut" => {
                    let _ = stream.write_all(b"354 go on\r\n").await;
                    let _ = stream.read_exact(&mut [0; 1000]).await;
                    return;
                }
                answer if stream.write_all(format!("{}\r\n", answer.replace('~', "\r\n")).as_bytes()).await.is_err() => return,
                _ => {}
            }
            in_mail = line == "DATA" && answer.starts_with('3');
        }
        let mut next = String::new();
        match stream.read_line(&mut next).await {
            Ok(1..) => line = next.trim_end_matches(['\r', '\n']).to_owned(),
            _ => return,
        }
        // An empty line is XOAUTH2's; outside a mail it has a name of its own.
        if line.is_empty() && !in_mail {
            "(empty)".clone_into(&mut line);
        }
    }
}

fn usual(line: &str) -> &'static str {
    match line.split(' ').next().unwrap_or_default() {
        "" => "220 script ready",
        "EHLO" => "250-script~250-SIZE 0~250-AUTH PLAIN LOGIN XOAUTH2~250 8BITMIME",
        "DATA" => "354 go on",
        "AUTH" => "235 2.7.0 welcome",
        "QUIT" => "221 bye",
        _ => "250 2.0.0 ok",
    }
}
