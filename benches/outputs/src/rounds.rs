//! Rounds of turns: the bare client and the output one after the other, the order changing each round.

use crate::far_side::{AtOnce, Client, FarSide};
use crate::output::Ours;
use crate::process::{cpu_us, now};
use crate::{delivery, file, http, kafka, mariadb, nats, postgres, redis, sqlite};
use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tokio::runtime::Runtime;

/// What and how often.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Options {
    /// Only these; each of them once for all is the default.
    #[arg(long)]
    only: Vec<String>,
    /// How often each is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Deliveries a turn, instead of each one's own number.
    #[arg(long)]
    count: Option<u64>,
    /// Only this side, for a look with a profiler.
    #[arg(long)]
    side: Option<Side>,
    /// Files are made below it: on the disk that is meant.
    #[arg(long)]
    scratch: PathBuf,
}

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Side {
    /// The library alone.
    Bare,
    /// The output.
    Ours,
}

/// Measures one.
type Measure = fn(&Options, &Path) -> anyhow::Result<()>;

/// All of them, in their order.
const ALL: [(&str, Measure); 9] = [
    entry::<kafka::Broker>(),
    entry::<postgres::Database>(),
    entry::<mariadb::Database>(),
    entry::<sqlite::Database>(),
    entry::<file::Folder>(),
    entry::<http::One>(),
    entry::<http::Two>(),
    entry::<redis::Server>(),
    entry::<nats::Server>(),
];

const fn entry<F: FarSide>() -> (&'static str, Measure) {
    (F::NAME, measure::<F>)
}

/// Measures all that are asked for.
pub fn run(options: &Options) -> anyhow::Result<()> {
    if let Some(unknown) = options.only.iter().find(|only| !ALL.iter().any(|(name, _)| name == only)) {
        bail!("`{unknown}` is not measured; there are {}", ALL.map(|(name, _)| name).join(", "));
    }
    let scratch = tempfile::tempdir_in(&options.scratch)?;
    for (name, measure) in ALL.iter().filter(|(name, _)| options.only.is_empty() || options.only.iter().any(|only| only == name)) {
        measure(options, scratch.path()).with_context(|| (*name).to_owned())?;
    }
    Ok(())
}

fn measure<F: FarSide>(options: &Options, scratch: &Path) -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let _inside = runtime.enter();
    let far = F::start(scratch)?;
    runtime.block_on(rounds(options, &far))
}

async fn rounds<F: FarSide>(options: &Options, far: &F) -> anyhow::Result<()> {
    let count = options.count.unwrap_or(F::COUNT);
    // An output that was never called has reached nobody.
    let at_once = Ours::connect(far, "nowhere").await?.at_once();
    for round in 1..=options.rounds {
        eprintln!("{}: round {round} of {}", F::NAME, options.rounds);
        let (mut bare, mut ours) = (Value::Null, Value::Null);
        let order = if round % 2 == 1 { [Side::Bare, Side::Ours] } else { [Side::Ours, Side::Bare] };
        for side in order.into_iter().filter(|side| options.side.is_none_or(|only| only == *side)) {
            match side {
                Side::Bare => bare = measure_bare(far, round, at_once, count).await?,
                Side::Ours => ours = measure_ours(far, round, at_once, count).await?,
            }
        }
        println!("{}", json!({ "output": F::NAME, "at_once": at_once.deliveries(), "round": round, "bare": bare, "ours": ours }));
    }
    Ok(())
}

async fn measure_bare<F: FarSide>(far: &F, round: usize, at_once: AtOnce, count: u64) -> anyhow::Result<Value> {
    let place = format!("bare{round}");
    far.make(&place).await?;
    let bare = far.bare(&place, at_once).await.context("the bare client")?;
    turn(far, &place, at_once, bare, count).await.context("the bare client")
}

async fn measure_ours<F: FarSide>(far: &F, round: usize, at_once: AtOnce, count: u64) -> anyhow::Result<Value> {
    let place = format!("ours{round}");
    far.make(&place).await?;
    let ours = Ours::connect(far, &place).await.context("the output")?;
    turn(far, &place, at_once, ours, count).await.context("the output")
}

/// Warms it up with as much as is out at once, then measures, then looks whether all is there.
async fn turn<F: FarSide, C: Client>(far: &F, place: &str, at_once: AtOnce, client: C, count: u64) -> anyhow::Result<Value> {
    let warm_up = at_once.deliveries();
    client.carry(client.load(delivery::batches(0..warm_up, at_once.batch))).await?;
    let load = client.load(delivery::batches(warm_up..warm_up + count, at_once.batch));
    let (begin, cpu) = (now(), cpu_us()?);
    client.carry(load).await?;
    let (seconds, cpu) = (begin.elapsed().as_secs_f64(), cpu_us()? - cpu);
    client.close().await;
    drop(client);
    let arrived = far.arrived(place).await?;
    ensure!(arrived == warm_up + count, "{} deliveries were made, and the far side has {arrived}", warm_up + count);
    far.remove(place).await?;
    Ok(json!({ "rate": count as f64 / seconds, "cpu_us": cpu as f64 / count as f64 }))
}
