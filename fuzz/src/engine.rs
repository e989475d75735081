//! One target under libFuzzer: `SWITCHYARD_FUZZ` names it (`?` lists them), and the unit that took longest is kept in the folder
//! `SWITCHYARD_FUZZ_SLOW`, with its milliseconds.

use rustix::time::{ClockId, clock_gettime};
use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use switchyard_fuzz::{Entry, JQ_WORKER, TARGETS, jq_worker, target};

/// A unit that takes so long is asked again: the first time may be another program's fault.
const AGAIN_FROM: u64 = 5;

thread_local! {
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

struct Running {
    entry: Entry,
    folder: Option<PathBuf>,
    slowest: u64,
}

fn begin() {
    if std::env::args().nth(1).as_deref() == Some(JQ_WORKER) {
        let ended = jq_worker();
        std::process::exit(i32::from(ended != std::process::ExitCode::SUCCESS));
    }
    let name = std::env::var("SWITCHYARD_FUZZ").unwrap_or_default();
    if name == "?" {
        TARGETS.iter().for_each(|target| println!("{} {}", target.name, target.nightly));
        std::process::exit(0);
    }
    let target = target(&name).unwrap_or_else(|| panic!("SWITCHYARD_FUZZ names no target: `{name}`"));
    let folder = std::env::var("SWITCHYARD_FUZZ_SLOW").ok().map(PathBuf::from);
    RUNNING.set(Some(Running { entry: target.entry(&super::worker()), folder, slowest: 0 }));
}

/// Milliseconds of the processor: the machine may do other things meanwhile.
fn spent() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000 + time.tv_nsec as u64 / 1_000_000
}

impl Running {
    fn timed(&mut self, input: &[u8]) -> u64 {
        let begun = spent();
        (self.entry)(input);
        spent() - begun
    }

    fn run(&mut self, input: &[u8]) {
        let mut took = self.timed(input);
        if took > self.slowest && took >= AGAIN_FROM {
            took = took.min(self.timed(input));
        }
        if took > self.slowest {
            self.slowest = took;
            if let Some(folder) = &self.folder {
                // What cannot be kept is not told; the run itself goes on.
                let _ = fs::write(folder.join("unit"), input).and_then(|()| fs::write(folder.join("milliseconds"), took.to_string()));
            }
        }
    }
}

libfuzzer_sys::fuzz_target!(init: begin(), |input: &[u8]| RUNNING.with_borrow_mut(|running| {
    if let Some(running) = running {
        running.run(input);
    }
}));
