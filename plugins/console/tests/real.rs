//! The `console` output into a real pipe, as a terminal or a log collector reads it, and the suite that every output passes.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::io::{BufRead, BufReader, PipeWriter, Write};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use switchyard_api::conformance::{FarSide, deliver_one, parcel};
use switchyard_api::{Kit, Message, Output, Rendered, Wall};
use switchyard_console::ConsoleOutput;

const END: &str = "-- all read so far --";

struct Reader {
    pipe: PipeWriter,
    lines: Mutex<Receiver<String>>,
}

fn kit() -> Kit {
    Kit::new("console", "/nowhere", "switchyard/0", Wall::new(|| 0))
}

impl Reader {
    /// What was printed since the last call: reads up to a line that it writes itself.
    fn read(&self) -> Vec<String> {
        writeln!(&self.pipe, "{END}").unwrap();
        self.lines.lock().unwrap().iter().take_while(|line| line != END).collect()
    }
}

impl FarSide for Reader {
    async fn start() -> Self {
        let (reader, pipe) = std::io::pipe().unwrap();
        let (heard, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines() {
                let _ = heard.send(line.unwrap());
            }
        });
        Reader { pipe, lines: Mutex::new(lines) }
    }
    async fn output(&self) -> Arc<dyn Output> {
        Arc::new(ConsoleOutput::to(self.pipe.try_clone().unwrap(), &kit()))
    }
    fn message(&self) -> Message {
        Message { fields: [("text".to_owned(), Rendered::Text("hello".into()))].into(), ..Message::default() }
    }
    async fn arrived(&self) -> Vec<String> {
        let id = |line: String| line.split(['(', ',', ')']).nth(1).unwrap().to_owned();
        self.read().into_iter().map(id).collect()
    }
    async fn leave(&mut self) -> bool {
        false // a pipe says that nobody reads only when it is written to: tried below
    }
    fn hang(&mut self) -> bool {
        false
    }
    fn answer(&mut self) {}
    fn poison(&self) -> Option<Message> {
        None
    }
    async fn shown(&self) -> (String, Vec<String>) {
        (String::new(), vec![]) // it has none
    }
}

switchyard_api::conformance!(Reader);

#[tokio::test]
async fn what_nobody_reads_any_more_is_down() {
    let (reader, pipe) = std::io::pipe().unwrap();
    let output = ConsoleOutput::to(pipe, &kit());
    assert_eq!(deliver_one(&output, parcel(1, &Message::default())).await.word(), "delivered");
    drop(reader);
    let outcome = deliver_one(&output, parcel(2, &Message::default())).await;
    assert!(outcome.word() == "down" && outcome.text().contains("standard output"), "{outcome:?}");
}

#[tokio::test]
async fn an_event_prints_one_line_whatever_it_says() {
    let far = Reader::start().await;
    let hostile =
        Message { fields: [("text".to_owned(), Rendered::Text("a\r\nconsole: forged\x1b[2J".into()))].into(), ..Message::default() };
    deliver_one(&*far.output().await, parcel(1, &hostile)).await;
    assert_eq!(far.read(), [r"console: a\u{d}\u{a}console: forged\u{1b}[2J (dlv_00000000000000000000000000000001)"]);
}
