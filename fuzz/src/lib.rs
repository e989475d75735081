//! What is tried with any input. Each target is an entry: it takes bytes, does with them what the daemon does, and panics where a law is broken.
//!
//! The same entries are run by `tests/corpus.rs` over what is kept (seeds in `corpus/`, past findings in `regressions/`) with a few changes of each,
//! and by libFuzzer for as long as one likes (`cargo xtask fuzz`). Inputs are texts where that can be, so that a person can write one: parts with a
//! line of `---` between them.
//!
//! Never: a second meaning of anything; what is judged against is `switchyard_reference`, as in the unit tests.

pub mod input;
mod judge;
mod targets;

use std::path::Path;

/// A target's entry, with what it keeps from one input to the next.
pub type Entry = Box<dyn FnMut(&[u8])>;

/// What is tried.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Also the folder of its inputs.
    pub name: &'static str,
    /// Its part of a night, in seconds.
    pub nightly: u32,
    make: fn(&Path) -> Entry,
}

impl Target {
    /// Its entry. `worker` is a program that runs jq when it is given the word `jq-worker`.
    pub fn entry(&self, worker: &Path) -> Entry {
        (self.make)(worker)
    }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "verify", nightly: 1_800, make: |_| targets::verify::entry() },
    Target { name: "http_head", nightly: 1_800, make: |_| targets::http_head::entry() },
    Target { name: "envelope", nightly: 1_800, make: |_| targets::envelope::entry() },
    Target { name: "numbers", nightly: 900, make: targets::numbers::entry },
    Target { name: "config", nightly: 1_800, make: |_| targets::config::entry() },
    Target { name: "route", nightly: 900, make: |_| Box::new(targets::route::index) },
    Target { name: "filter", nightly: 900, make: |_| Box::new(targets::filter::filter) },
    Target { name: "template", nightly: 900, make: |_| Box::new(targets::template::template) },
    Target { name: "jq_worker", nightly: 900, make: targets::jq_worker::entry },
    Target { name: "glob", nightly: 300, make: |_| Box::new(targets::route::glob) },
    Target { name: "mail", nightly: 600, make: |_| targets::outputs::mail() },
    Target { name: "http_out", nightly: 600, make: |_| Box::new(targets::http_out::http_out) },
    Target { name: "escapers", nightly: 300, make: |_| Box::new(targets::escapers::escapers) },
    Target { name: "file_name", nightly: 300, make: |_| Box::new(targets::outputs::file_name) },
    Target { name: "exec_line", nightly: 300, make: |_| Box::new(targets::outputs::exec_line) },
    Target { name: "journal_row", nightly: 900, make: |_| Box::new(targets::journal_row::journal_row) },
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// The first argument of a process that is to run jq for the targets, as the daemon's workers do.
pub const JQ_WORKER: &str = "jq-worker";

/// Serves jq programs until the input ends.
pub fn jq_worker() -> std::process::ExitCode {
    switchyard::route::jq::run_worker(std::io::stdin(), std::io::stdout())
}
