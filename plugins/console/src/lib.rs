//! `type: console`: prints each delivery as one readable line to the daemon's standard output.
//!
//! ```yaml
//! console:
//!   type: console
//!   text: "Order {{ data.number }}: {{ data.total }} EUR"   # message; without it topic and id
//! ```
//!
//! ```text
//! console: Order 7: 1500 EUR (dlv_9a4b8fdcad16d6da50206ba8dc131923)
//! ```
//!
//! The id in brackets is the delivery's stable one: a repeat has the same, and says which attempt it is. Control characters and
//! those that reorder text are shown as `\u{1b}`, so that no event moves the cursor or forges a line (L8).
//!
//! | what happens | outcome |
//! | --- | --- |
//! | printed | delivered |
//! | nobody reads standard output any more | down |
//!
//! Never: keeps anything; a line is as durable as what reads it. Proven by `tests/real.rs`.

use futures_util::future::BoxFuture;
use serde::Deserialize;
use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use switchyard_api::escape::Escape;
use switchyard_api::{
    Cap, CheckError, Confine, ConnectError, Field, Kind, Kit, Outcome, Output, Parcel, Preview, Printable, Problem, Settle, Shape,
};
use tokio::sync::Semaphore;

/// Parcels in one write.
const BATCH_MAX: usize = 64;

/// Settings of a console output: there are none.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Config {}

/// `console`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Console;

impl Kind for Console {
    type Config = Config;
    type Output = ConsoleOutput;

    fn name(&self) -> &'static str {
        "console"
    }

    fn docs(&self) -> &'static str {
        "Each delivery as one line on standard output."
    }

    fn example(&self) -> &'static str {
        "{ type: console }"
    }

    fn fields(&self) -> Vec<Field> {
        vec![Field {
            name: "text".into(),
            docs: "The line.".into(),
            shape: Shape::Text,
            escape: Escape::None,
            confine: Confine::Content,
            required: false,
            default: Some("{{ topic }} {{ id }}".into()),
            cap: Some(Cap::chars(4096)),
        }]
    }

    fn validate(&self, _: &Config) -> Vec<Problem> {
        vec![]
    }

    fn preview(&self, _: &Config, kit: &Kit, parcel: &Parcel) -> Option<Result<Preview, String>> {
        Some(Ok(Preview { body: line(&kit.output, parcel).into(), ..Preview::new("PRINT", "standard output") }))
    }

    async fn connect(&self, _: Config, kit: &Kit) -> Result<ConsoleOutput, ConnectError> {
        Ok(ConsoleOutput::to(std::io::stdout(), kit))
    }
}

/// A terminal, or whatever standard output is.
pub struct ConsoleOutput {
    name: Arc<str>,
    to: Arc<Mutex<dyn Write + Send>>,
    /// One write at a time, also where the one before was given up: a reader that does not read holds one thread, not all.
    writing: Arc<Semaphore>,
}

impl ConsoleOutput {
    /// Prints there.
    pub fn to(to: impl Write + Send + 'static, kit: &Kit) -> Self {
        ConsoleOutput { name: Arc::clone(&kit.output), to: Arc::new(Mutex::new(to)), writing: Arc::new(Semaphore::new(1)) }
    }

    async fn print(&self, parcels: &[Parcel], settle: &Settle) {
        let lines: String = parcels.iter().map(|parcel| line(&self.name, parcel)).collect();
        // Closed by nobody; without a permit nothing is sent, and that is what is said.
        let Ok(permit) = Arc::clone(&self.writing).acquire_owned().await else { return };
        for parcel in parcels {
            settle.sent(parcel.handle);
        }
        let to = Arc::clone(&self.to);
        let printed = tokio::task::spawn_blocking(move || {
            let mut to = to.lock().unwrap_or_else(PoisonError::into_inner);
            let printed = to.write_all(lines.as_bytes()).and_then(|()| to.flush());
            drop(permit);
            printed
        });
        let outcome = match printed.await {
            Ok(Ok(())) => Outcome::Delivered { detail: "printed".into() },
            Ok(Err(error)) => Outcome::Down { why: format!("standard output: {error}"), after: None },
            Err(broken) => Outcome::Unknown { why: format!("the printing thread ended early: {broken}") },
        };
        for parcel in parcels {
            settle.settle(parcel.handle, outcome.clone());
        }
    }
}

fn line(output: &str, parcel: &Parcel) -> String {
    let text = parcel.message.text("text").unwrap_or(&parcel.topic);
    let mut line = format!("{output}: {} ({}", Printable(text.trim_end()), Printable(&parcel.delivery));
    if parcel.attempt > 1 {
        let _ = write!(line, ", attempt {}", parcel.attempt);
    }
    if parcel.replay {
        line.push_str(", replay");
    }
    line.push_str(")\n");
    line
}

impl Output for ConsoleOutput {
    fn max_batch(&self) -> usize {
        BATCH_MAX
    }

    fn deliver<'a>(&'a self, parcels: Vec<Parcel>, settle: &'a Settle) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.print(&parcels, settle).await })
    }

    /// There is nothing to ask: standard output says that nobody reads it only when it is written to.
    fn check(&self) -> BoxFuture<'_, Result<(), CheckError>> {
        Box::pin(async { Ok(()) })
    }

    /// Waits for a write that is under way.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let _ = self.writing.acquire().await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_api::conformance::parcel;
    use switchyard_api::{Message, Rendered};

    fn printed(text: &str, attempt: u32, replay: bool) -> String {
        let message = Message { fields: [("text".to_owned(), Rendered::Text(text.to_owned()))].into(), ..Message::default() };
        line("console", &Parcel { attempt, replay, ..parcel(1, &message) })
    }

    #[test]
    fn a_delivery_is_one_line_that_a_person_reads() {
        let id = "dlv_00000000000000000000000000000001";
        assert_eq!(printed("Order 7: 5 €\n", 1, false), format!("console: Order 7: 5 € ({id})\n"));
        assert_eq!(printed("x", 2, true), format!("console: x ({id}, attempt 2, replay)\n"));
        assert_eq!(printed("a\n\x1b[2Jb\u{202e}", 1, false), format!("console: a\\u{{a}}\\u{{1b}}[2Jb\\u{{202e}} ({id})\n"));
    }

    #[test]
    fn the_readme_says_what_the_docs_say() {
        switchyard_api::conformance::readme_is_the_docs(include_str!("lib.rs"), include_str!("../README.md"));
    }
}
