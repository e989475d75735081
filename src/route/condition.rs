//! A question about kept events, asked by a person: a jq expression in which the event's parts may stand without the first dot.
//!
//! Never: quotes the event in what it says of a failure. Who asks decides where it runs; routes have `where` for themselves.

use super::jq::{JqError, JqPool, PROGRAM_MAX, Program};
use crate::model::{Event, envelope};

/// So that `data.id` means what `.data.id` does, as in a filter; wherever it stands.
const NAMES: &str =
    ". as $event | def id: $event.id; def source: $event.source; def topic: $event.topic; def received_at: $event.received_at;
    def headers: $event.headers; def query: $event.query; def data: $event.data; def raw: $event.raw; ";

/// A checked expression.
#[derive(Debug, Clone)]
pub struct Condition(Program);

/// Why an expression can't be used. `Display` is one line.
#[derive(Debug, thiserror::Error)]
#[error("`where` is no jq: {0}")]
pub struct NoCondition(String);

impl Condition {
    /// Reads the expression.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, NoCondition> {
        if text.trim().is_empty() {
            return Err(NoCondition("it is empty: write one such as `data.customer.id == \"X\"`".into()));
        }
        let most = PROGRAM_MAX - NAMES.len() - 2;
        if text.len() > most {
            return Err(NoCondition(format!("it is longer than {most} bytes")));
        }
        // By itself first, so that a bracket of its own can't end ours.
        let program = Program::check(&format!("{NAMES}{text}")).and_then(|_| Program::check(&format!("{NAMES}({text}\n)")));
        let program = program.map_err(|problems| {
            NoCondition(problems.first().map_or_else(String::new, |problem| format!("{}; {}", problem.why, problem.help)))
        })?;
        Ok(Condition(program))
    }

    /// Whether it holds: its first result is neither `false` nor `null`, as for a route's `where`.
    ///
    /// # Errors
    /// The program failed, without a word of the event.
    pub async fn holds(&self, event: &Event, jq: &JqPool) -> Result<bool, String> {
        match jq.run(&self.0, &envelope::envelope_text(event)).await {
            Ok(results) => Ok(results.first().is_some_and(|first| first != "false" && first != "null")),
            // The program's own words may quote the event.
            Err(JqError::Program(_)) => Err("jq: the program failed".to_owned()),
            Err(why) => Err(why.to_string()),
        }
    }
}
