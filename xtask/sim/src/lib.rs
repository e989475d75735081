//! The deterministic simulation (`cargo xtask sim`): the daemon between its doors on virtual time, with senders, outputs and disk that
//! fail as a seed has it, and the laws held against every step.
//!
//! `scenario` what a run is given, plain data · `generate` from a seed to it · `world` what survives the daemon · `ledger` what was seen of it · `disk`,
//! `far`, `senders` what stands around it · `life` one life of it, `script` what happens in it, `rest` its end · `laws` · `coverage` which trouble met which state · `shrink` · `threads`
//! many runs at once · `mutants` bugs put back on purpose. Decision 10 says what is real and what is not.
//!
//! Never, within a run: reads a real clock, spawns a thread, iterates over anything unordered: the same scenario gives the same trace.

pub mod chance;
pub mod coverage;
mod disk;
mod far;
pub mod generate;
mod laws;
mod ledger;
mod life;
mod log;
pub mod mutants;
mod rest;
pub mod scenario;
mod script;
mod senders;
pub mod shrink;
pub mod threads;
mod world;

use coverage::Coverage;
use life::End;
use scenario::Scenario;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use world::{SimClock, World};

/// Lives after which a scenario is taken to never end.
const LIVES_MAX: u32 = 200;

/// The log of one run in so many is read.
const READ_EVERY: u64 = 4;

/// What a far side panics with.
#[derive(Debug)]
pub struct Deliberate;

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Report {
    /// The law that was broken, and how.
    pub broken: Option<String>,
    /// A number of everything that went over a seam; equal for equal scenarios.
    pub trace: u64,
    /// Calls over seams.
    pub calls: u64,
    /// What trouble met.
    pub coverage: Coverage,
}

/// Panics that were meant make no noise.
pub fn quiet() {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref::<Deliberate>().is_none() {
            loud(panic);
        }
    }));
}

/// Lives through a scenario.
pub fn run(scenario: &Scenario) -> Report {
    lived(&World::new(Arc::new(scenario.clone())))
}

/// The same, with every call as a line.
pub fn told(scenario: &Scenario) -> (Report, String) {
    let world = World::new(Arc::new(scenario.clone()));
    world.lock().story = Some(String::new());
    let report = lived(&world);
    let story = world.lock().story.take().unwrap_or_default();
    (report, story)
}

fn lived(world: &Arc<World>) -> Report {
    let reads = world.lock().scenario.seed.is_multiple_of(READ_EVERY);
    let _log = reads.then(|| tracing::subscriber::set_default(log::Log(Arc::clone(world))));
    if catch_unwind(AssertUnwindSafe(|| lives(world))).is_err() {
        world.lock().dead = false;
        world.broke("panic", "the daemon panicked");
    }
    let (trace, state) = (world.trace(), world.lock());
    Report { broken: state.broken.clone(), trace, calls: state.calls, coverage: state.coverage.clone() }
}

fn lives(world: &Arc<World>) {
    for life in 0.. {
        if life > LIVES_MAX {
            world.lock().dead = false;
            return world.broke("I15", "it starts again and again");
        }
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build() else {
            return world.broke("runtime", "there is none to be had");
        };
        let (end, now) = runtime.block_on(async {
            let clock = SimClock::begin(world);
            (life::live(world, &clock).await, clock.nanos())
        });
        world.lock().dead = true;
        drop(runtime);
        match end {
            _ if world.lock().broken.is_some() => return,
            End::Over => return,
            End::Again(down) => world.pass(now, Duration::from_millis(u64::from(down))),
        }
    }
}
