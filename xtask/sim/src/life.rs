//! One life of the daemon between its doors: opened as `switchyard run` opens it, driven by the scenario, until it dies, ends or all is over.

use crate::disk::{FaultyReads, FaultyStore};
use crate::far;
use crate::scenario::File;
use crate::world::{SimClock, World};
use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use switchyard::alarm::Book;
use switchyard::config::{Process, from_text};
use switchyard::daemon::blueprint::{Blueprint, draw};
use switchyard::daemon::{Hub, Laid, Lent, Parts, Reading, Stood, Works, connect};
use switchyard::ingest::Ingest;
use switchyard::journal::{Driven, Journal, SealedVault, Settings, Wants};
use switchyard::model::{Clock, Instant};
use switchyard::route::JqPool;
use switchyard_api::AnyKind;
use tokio::runtime::Handle;

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The scenario is over, and so is all that was planned.
    Over,
    /// The daemon ended, and starts again so many milliseconds later.
    Again(u32),
}

/// What runs.
pub struct Running {
    pub world: Arc<World>,
    pub clock: Arc<SimClock>,
    pub kinds: Vec<Arc<dyn AnyKind>>,
    pub works: Arc<Works>,
    pub ingest: Arc<Ingest<Hub>>,
    pub vault: SealedVault,
}

/// Lives until the process dies, is asked to end, or all is over.
pub async fn live(world: &Arc<World>, clock: &Arc<SimClock>) -> End {
    world.born();
    let dead = End::Again(1_000);
    let died = async {
        // The bell may have rung for the life before.
        while !world.lock().dead {
            world.died.notified().await;
        }
    };
    tokio::select! {
        biased;
        () = died => dead,
        end = alive(world, clock) => end,
    }
}

async fn alive(world: &Arc<World>, clock: &Arc<SimClock>) -> End {
    let failed = End::Again(1_000);
    let Some(running) = start(world, clock).await else { return failed };
    let mut fault = running.works.hub.journal().fault();
    tokio::select! {
        biased;
        _ = fault.wait_for(Option::is_some) => failed,
        end = running.script() => end,
    }
}

/// The blueprint of a configuration.
pub fn drawn(file: &File, kinds: &[Arc<dyn AnyKind>]) -> Result<Blueprint, String> {
    let text = file.text();
    let drawn = draw(&from_text("routes.yaml", text.as_str(), &Process { base: PathBuf::new() }), kinds);
    let problems = || drawn.problems.iter().map(|problem| format!("{}: {}", problem.id, problem.title)).collect::<Vec<_>>();
    drawn.blueprint.ok_or_else(|| format!("{}\n{text}", problems().join("; ")))
}

/// As `daemon::start`, without what touches files and ports.
async fn start(world: &Arc<World>, clock: &Arc<SimClock>) -> Option<Running> {
    let (file, window, seed, life) = {
        let state = world.lock();
        (state.running().clone(), state.scenario.window, state.scenario.seed, state.life)
    };
    let kinds = far::kinds(world, clock);
    let blueprint = match drawn(&file, &kinds) {
        Ok(blueprint) => blueprint,
        Err(why) => {
            world.broke("scenario", &why);
            return None;
        }
    };
    let clocks: Arc<dyn Clock> = clock.clone();
    let reads = Arc::new(FaultyReads::open(world, clock));
    let parts = Parts {
        reads: reads.clone(),
        reading: Reading::Here,
        router: Arc::clone(&blueprint.router),
        jq: JqPool::here(),
        jq_aside: JqPool::here(),
        silences: world.silences.clone(),
        book: Book::default(),
        clock: Arc::clone(&clocks),
        deliver: Handle::current(),
        window: Some(window),
    };
    let (store, retain) = (FaultyStore::open(world, clock), blueprint.journal.retain.into());
    let open = |on_kept| {
        let settings = Settings { retain, clock: Arc::clone(&clocks), on_kept };
        Journal::driven(Box::new(store), settings).map(|(journal, driven, recovered)| (journal, (driven, recovered)))
    };
    let (works, (driven, recovered)) = Works::open(parts, open).ok()?;
    tokio::spawn(write(Arc::clone(world), Arc::clone(clock), driven));
    let vault = SealedVault::new(works.hub.journal().clone(), reads, None);
    let stood = |output: &str| Stood { paused: world.lock().paused.contains(output), down: None };
    let specs = connect(&blueprint, &works.fleet, &stood, &Lent { clock: &clocks, vault: &vault }).await.ok()?;
    works.begin(specs, Laid::of(&blueprint.outputs, &blueprint.router)).await.ok()?;
    let ingest = Arc::new(Ingest::new(blueprint.sources, Arc::clone(&works.hub), clocks, seed ^ u64::from(life) << 32));
    tokio::spawn({
        let (works, world) = (Arc::clone(&works), Arc::clone(world));
        async move {
            // Where the journal fails the daemon ends by itself.
            let _ = works.recover(&recovered).await;
            world.lock().recovering = false;
        }
    });
    tokio::spawn(Arc::clone(&works).overtake());
    tokio::spawn(Arc::clone(&works).feed_replays(|| false));
    Some(Running { world: Arc::clone(world), clock: Arc::clone(clock), kinds, works, ingest, vault })
}

/// Gives the writer its turns. A round takes as long as the disk does.
async fn write(world: Arc<World>, clock: Arc<SimClock>, mut driven: Driven) {
    loop {
        let wants = poll_fn(|cx| match driven.take(cx.waker()) {
            Wants::Until(at) => Poll::Ready(Some(at)),
            Wants::Step => Poll::Ready(None),
            Wants::Nothing => Poll::Ready(Some(Instant(u64::MAX))),
        });
        match wants.await {
            Some(Instant(u64::MAX)) => return,
            Some(at) => {
                let wait = Duration::from_nanos(at.0.saturating_sub(clock.nanos()).max(1));
                // Whichever comes first: the time, or somebody who rings and perhaps makes the time shorter.
                let mut sleep = Box::pin(tokio::time::sleep(wait));
                poll_fn(|cx| match driven.take(cx.waker()) {
                    Wants::Until(then) if then == at => sleep.as_mut().poll(cx),
                    Wants::Until(_) | Wants::Step | Wants::Nothing => Poll::Ready(()),
                })
                .await;
                continue;
            }
            None => {}
        }
        let slow = world.lock().slow;
        tokio::time::sleep(Duration::from_millis(u64::from(slow))).await;
        if !driven.step() {
            return;
        }
    }
}
