//! Programs and events of any kind in the worker processes that run jq: whatever they do, the daemon's side answers, in time and in bounds, and the
//! next program runs. And bytes of any kind in a worker's ear: it answers or ends.

use crate::JQ_WORKER;
use crate::input::parts;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use switchyard::model::{Clock, SystemClock};
use switchyard::route::jq::{JqError, JqPool, Program, RESULTS_BYTES_MAX, RESULTS_MAX, WALL_MAX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

/// The first frame that a worker writes: one byte, which says that all is well.
const READY: &[u8] = &[1, 0, 0, 0, 0];
/// A run, a worker that must be started first and a machine that is busy: beyond it somebody waits without a bound.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// A program, an event, and bytes for a worker of their own.
pub fn entry(worker: &Path) -> crate::Entry {
    let worker: PathBuf = worker.into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let jq = JqPool::start(worker.clone(), 1);
    let plain = Program::check(".").expect("a program");
    Box::new(move |input| {
        let [text, event, frames] = parts(input);
        let (Ok(text), Ok(event)) = (std::str::from_utf8(text), std::str::from_utf8(event)) else { return };
        if !frames.is_empty() {
            runtime.block_on(told(&worker, frames));
        }
        let program = match Program::check(text) {
            Ok(program) => program,
            Err(problems) => {
                assert!(!problems.is_empty(), "refused without a word");
                return problems.iter().for_each(|problem| assert!(text.get(problem.within.clone()).is_some(), "{problem:?} lies outside"));
            }
        };
        for (within, path) in program.reads() {
            assert!(text.get(within.clone()).is_some(), "`{path}` at {within:?} lies outside");
        }
        let clock = SystemClock::default();
        let begun = clock.now();
        let results = runtime.block_on(jq.run(&program, event));
        let took = clock.now().since(begun);
        assert!(took < WALL_MAX + ANSWERED_WITHIN, "{took:?}");
        match results {
            Ok(results) => {
                let bytes: usize = results.iter().map(|result| result.len() + 4).sum();
                assert!(results.len() <= RESULTS_MAX && bytes <= RESULTS_BYTES_MAX, "{} results, {bytes} bytes", results.len());
                let strict = |result: &String| serde_json::from_str::<serde::de::IgnoredAny>(result).is_ok();
                assert!(results.iter().all(strict), "no JSON: {results:?}");
            }
            Err(JqError::NotStarted(why)) => panic!("no worker: {why}"),
            Err(why) => assert!(!why.to_string().chars().any(char::is_control), "{why:?}"),
        }
        // Whatever became of it, the next one runs; but for a machine that is busy.
        let next = runtime.block_on(jq.run(&plain, "[1.50]"));
        assert!(next == Ok(vec!["[1.50]".to_owned()]) || next == Err(JqError::Time(WALL_MAX)), "the next program: {next:?}");
    })
}

/// A worker hears this, and then nothing: it says that it is ready, answers what it can, and ends; or is still at work when it is ended, as the pool
/// would do.
async fn told(worker: &Path, frames: &[u8]) {
    let spawned = Command::new(worker)
        .arg(JQ_WORKER)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let mut child = spawned.expect("a worker starts");
    let (mut input, mut output) = child.stdin.take().zip(child.stdout.take()).expect("its pipes");
    let mut said = vec![];
    let ended = timeout(WALL_MAX * 20, async {
        // It may be gone already.
        let _ = input.write_all(frames).await;
        drop(input);
        output.read_to_end(&mut said).await
    });
    let ended = ended.await;
    assert!(!matches!(ended, Ok(Err(_))), "{ended:?}");
    assert!(ended.is_err() || said.starts_with(READY), "it is ready before it listens: {:?}", &said[..said.len().min(8)]);
}
