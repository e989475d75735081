//! jq for `where` and `transform`: checked here, run in worker processes of the same binary (`switchyard jq-worker`).
//!
//! Compiling is safe and happens in this process, for messages with places. Running is not: a program can ask for all memory
//! there is, and the sender chooses its input. So it runs where it can do no harm: no environment, no files, limited memory,
//! steps, results and time (L6); what breaks a limit is an ordinary failure of that route for that event.

mod compile;
mod frame;
mod pool;
mod reads;
mod worker;

pub use compile::JqProblem;
pub use pool::{JqPool, RESULTS_BYTES_MAX, WALL_MAX};
pub use worker::run_worker;

use crate::route::facts::ROOTS;
use sha2::{Digest, Sha256};
use std::ops::Range;
use std::sync::Arc;
use switchyard_api::problem::nearest;

/// The longest program, in bytes.
pub const PROGRAM_MAX: usize = 8 << 10;
/// The stack that programs are compiled and run on. Values nest as deep as the steps of a run allow; printing and dropping them recurses.
const STACK: usize = 256 << 20;
/// Most results of one run.
pub const RESULTS_MAX: usize = 1_000;

/// A checked program. Its id is its content's, so a program that a reload does not change stays known to the workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    id: [u8; 16],
    text: Arc<str>,
    reads: Arc<[(Range<usize>, String)]>,
    odd: Arc<[JqProblem]>,
    sets: Option<Range<usize>>,
}

impl Program {
    /// Checks a program without running it.
    ///
    /// # Errors
    /// Every problem found, with its place in the text.
    pub fn check(text: &str) -> Result<Self, Vec<JqProblem>> {
        // The parser recurses with the text, and a check must not die of a long one.
        let deep = std::thread::Builder::new().stack_size(STACK);
        let checked = std::thread::scope(|scope| {
            let check = deep.spawn_scoped(scope, || compile::compile(text).map(|_| reads::said(text))).ok()?;
            check.join().ok()
        });
        let said =
            checked.unwrap_or_else(|| Err(vec![JqProblem::new(0..text.len(), "cannot be checked".into(), "write it in simpler parts")]))?;
        let mut id = [0; 16];
        id.copy_from_slice(&Sha256::digest(text)[..16]);
        let odd = said.strange.iter().map(|at| strange(text, at.clone())).collect();
        Ok(Program { id, text: text.into(), reads: said.reads.into(), odd, sets: said.sets })
    }

    /// The values of an event that it looks at, as paths, each with its place in the text.
    pub fn reads(&self) -> &[(Range<usize>, String)] {
        &self.reads
    }

    /// What runs, and most likely says something else than was meant.
    pub fn odd(&self) -> &[JqProblem] {
        &self.odd
    }

    /// Where the program's result is the event with a value set in it: for a condition that is always true.
    pub fn sets(&self) -> Option<Range<usize>> {
        self.sets.clone()
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A name at the event itself that it does not have.
fn strange(text: &str, within: Range<usize>) -> JqProblem {
    let name = &text[within.clone()];
    let help = match name {
        "body" | "payload" | "json" | "event" | "message" => "the body is `.data`, as in `.data.total > 1000`".to_owned(),
        _ => match nearest(name, ROOTS) {
            Some(near) => format!("did you mean `.{near}`?"),
            None => format!("a value of the body is `.data.{name}`"),
        },
    };
    JqProblem { help, ..JqProblem::new(within, format!("an event has no `.{name}`: it is always null"), "") }
}

/// Why a program gave no results for an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JqError {
    /// The program's own error; may name values of the event, printable and shortened.
    #[error("jq: {0}")]
    Program(String),
    /// The event is not readable as JSON, for instance half a character in a text.
    #[error("jq: the event cannot be read as JSON")]
    Input,
    /// Took more steps than a run may.
    #[error("jq: takes too many steps")]
    Steps,
    /// More than [`RESULTS_MAX`] results.
    #[error("jq: more than {RESULTS_MAX} results")]
    TooMany,
    /// Results larger than [`RESULTS_BYTES_MAX`].
    #[error("jq: results larger than {} MiB", RESULTS_BYTES_MAX >> 20)]
    TooLarge,
    /// A result that JSON cannot hold.
    #[error("jq: a result that JSON cannot hold: a number beyond every float, as `1e400 * 1` is, or bytes that are no text")]
    NotJson,
    /// Did not end in time; its worker was killed.
    #[error("jq: takes longer than {0:?}")]
    Time(std::time::Duration),
    /// The worker died: most likely the program asked for more memory or stack than there is.
    #[error("jq: needs too much memory or nests too deep")]
    Died,
    /// No worker could be started.
    #[error("jq: no worker could be started: {0}")]
    NotStarted(String),
}
