//! Runs the targets: with the engine (feature `libfuzzer`, see `cargo xtask fuzz`) for as long as one likes, the one that `SWITCHYARD_FUZZ` names;
//! without it `switchyard-fuzz TARGET FILE…` runs those inputs once.

#![cfg_attr(feature = "libfuzzer", no_main)]
#![allow(clippy::disallowed_methods)] // how it is told what to do; no secret

use std::path::PathBuf;

/// This program is its own worker.
fn worker() -> PathBuf {
    std::env::current_exe().expect("this program is somewhere")
}

#[cfg(feature = "libfuzzer")]
mod engine;

#[cfg(not(feature = "libfuzzer"))]
fn main() -> std::process::ExitCode {
    use switchyard_fuzz::{JQ_WORKER, TARGETS, jq_worker, target};

    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    if name == JQ_WORKER {
        return jq_worker();
    }
    let Some(target) = target(&name) else {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("switchyard-fuzz TARGET FILE…: runs inputs through a target, which is one of {}", names.join(", "));
        return std::process::ExitCode::FAILURE;
    };
    let mut entry = target.entry(&worker());
    for path in arguments {
        match std::fs::read(&path) {
            Ok(input) => entry(&input),
            Err(why) => {
                eprintln!("{path}: {why}");
                return std::process::ExitCode::FAILURE;
            }
        }
        println!("{path}: holds");
    }
    std::process::ExitCode::SUCCESS
}
