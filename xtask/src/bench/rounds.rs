//! What is measured in a round. Each measurement starts its contestant afresh, warms it up, and asks one question.

use crate::bench::contestant::{Contestant, More, Server, Tools, Way};
use crate::bench::table::Figure;
use crate::process;
use anyhow::{Context, bail};
use serde_json::Value;
use std::time::Duration;

/// A whole way that settles nothing for so long has failed.
const NO_PROGRESS: Duration = Duration::from_secs(20);
/// Requests before a counted run.
const WARM_UP: u64 = 2000;
/// Connections of the idle measurement.
const IDLE: &str = "500";

/// A question with its name.
pub struct Measurement {
    pub name: &'static str,
    pub measure: fn(&Tools, Contestant) -> anyhow::Result<Figures>,
}

/// Its answers.
pub type Figures = Vec<(Figure, f64)>;

/// All of them, in their order.
pub const MEASUREMENTS: [Measurement; 9] = [
    Measurement { name: "intake", measure: intake },
    Measurement { name: "whole-1", measure: |tools, contestant| whole(tools, contestant, 1, tools.count) },
    Measurement { name: "whole-5", measure: |tools, contestant| whole(tools, contestant, 5, tools.count / 4) },
    Measurement { name: "retries", measure: |tools, contestant| with(tools, contestant, More::Retries) },
    Measurement { name: "limits", measure: |tools, contestant| with(tools, contestant, More::Limits) },
    Measurement { name: "outputs", measure: |tools, contestant| with(tools, contestant, More::Outputs) },
    Measurement { name: "way-2000", measure: |tools, contestant| way(tools, contestant, "2000", Figure::Way2kP50, Figure::Way2kP99) },
    Measurement { name: "way-20000", measure: |tools, contestant| way(tools, contestant, "20000", Figure::Way20kP50, Figure::Way20kP99) },
    Measurement { name: "idle", measure: idle },
];

/// How fast events are taken at 64 connections, what one costs, and how soon it is answered at 2,000 a second.
fn intake(tools: &Tools, contestant: Contestant) -> anyhow::Result<Figures> {
    let server = contestant.start(tools, Way::Intake)?;
    let seconds = tools.seconds.to_string();
    server.run(tools, "load", &["--seconds", "1", "--warmup", "0"])?;
    let cpu = server.cpu_us()?;
    let closed = server.run(tools, "load", &["--seconds", &seconds, "--warmup", "0"])?;
    let cpu = server.cpu_us()? - cpu;
    let open = server.run(tools, "load", &["--rate", "2000", "--seconds", &seconds])?;
    Ok(vec![
        (Figure::IntakeRate, number(&closed, "rate")?),
        (Figure::IntakeP50, number(&closed, "p50")?),
        (Figure::IntakeP99, number(&closed, "p99")?),
        (Figure::IntakeCpu, cpu as f64 / number(&closed, "requests")?),
        (Figure::Ack2kP99, number(&open, "p99")?),
    ])
}

/// How fast a number of events is taken, delivered and settled, what one costs, and what it writes.
fn whole(tools: &Tools, contestant: Contestant, fanout: u16, count: u64) -> anyhow::Result<Figures> {
    let Whole { rate, cpu, bytes, .. } = whole_way(tools, contestant, Way::Whole { fanout }, count)?;
    if fanout != 1 {
        return Ok(vec![(Figure::Whole5Rate, rate), (Figure::Whole5Cpu, cpu)]);
    }
    let mut figures = vec![(Figure::Whole1Rate, rate), (Figure::Whole1Cpu, cpu)];
    figures.extend(bytes.map(|bytes| (Figure::Whole1Bytes, bytes)));
    Ok(figures)
}

/// The same where a delivery has more to do.
fn with(tools: &Tools, contestant: Contestant, more: More) -> anyhow::Result<Figures> {
    let Whole { rate, cpu, memory, .. } = whole_way(tools, contestant, Way::With(more), tools.count / 2)?;
    Ok(match more {
        More::Retries => vec![(Figure::RetriesRate, rate), (Figure::RetriesCpu, cpu)],
        More::Limits => vec![(Figure::LimitsRate, rate), (Figure::LimitsCpu, cpu)],
        More::Outputs => vec![(Figure::OutputsRate, rate), (Figure::OutputsCpu, cpu), (Figure::OutputsRss, memory)],
    })
}

/// Of a whole way.
struct Whole {
    /// Events a second, from the first that was sent to the last that was settled.
    rate: f64,
    /// µs an event.
    cpu: f64,
    /// To disk, an event; where the system counts it.
    bytes: Option<f64>,
    /// MiB at the end.
    memory: f64,
}

fn whole_way(tools: &Tools, contestant: Contestant, way: Way, count: u64) -> anyhow::Result<Whole> {
    let server = contestant.start(tools, way)?;
    let deliveries = |events: u64| events * u64::from(way.fanout());
    server.run(tools, "load", &["--count", &WARM_UP.to_string()])?;
    wait_settled(&server, deliveries(WARM_UP))?;
    let (cpu, disk) = (server.cpu_us()?, process::disk_bytes(server.folder.path()));
    let load = server.run(tools, "load", &["--count", &count.to_string()])?;
    wait_settled(&server, deliveries(WARM_UP + count))?;
    let seconds = (process::now_ns() as f64 - number(&load, "start_ns")?) / 1e9;
    let cpu = (server.cpu_us()? - cpu) as f64 / count as f64;
    let bytes = disk.zip(process::disk_bytes(server.folder.path())).map(|(before, after)| (after - before) as f64 / count as f64);
    Ok(Whole { rate: count as f64 / seconds, cpu, bytes, memory: process::rss_kib(server.running.pid())? as f64 / 1024.0 })
}

/// How long an event is on its way from the sender to the sink, at a rate that leaves room. The time of sending is in the body.
fn way(tools: &Tools, contestant: Contestant, rate: &str, p50: Figure, p99: Figure) -> anyhow::Result<Figures> {
    let server = contestant.start(tools, Way::Whole { fanout: 1 })?;
    server.run(tools, "load", &["--time-in-body", "--rate", rate, "--seconds", "1", "--warmup", "0"])?;
    server.sink("/reset", "taken")?;
    let seconds = tools.seconds.to_string();
    let load = server.run(tools, "load", &["--time-in-body", "--rate", rate, "--seconds", &seconds, "--warmup", "0"])?;
    let sent = number(&load, "requests")? as u64;
    process::wait_for(NO_PROGRESS, || server.sink("/stats", "timed").ok().filter(|timed| *timed >= sent))
        .context("the sink did not get all events")?;
    Ok(vec![(p50, server.sink("/stats", "p50_us")? as f64), (p99, server.sink("/stats", "p99_us")? as f64)])
}

/// What it holds in memory: fresh, and for each connection that only waits.
fn idle(tools: &Tools, contestant: Contestant) -> anyhow::Result<Figures> {
    let server = contestant.start(tools, Way::Whole { fanout: 1 })?;
    let pid = server.running.pid();
    let fresh = process::rss_kib(pid)?;
    server.run(tools, "load", &["--count", "500", "--connections", "1"])?;
    let held = server.run(tools, "idle", &["--connections", IDLE, "--pid", &pid.to_string()])?;
    Ok(vec![(Figure::RssFresh, fresh as f64 / 1024.0), (Figure::RssConnection, number(&held, "kib_each")?)])
}

fn wait_settled(server: &Server, wanted: u64) -> anyhow::Result<()> {
    let (mut seen, mut since) = (0, process::now());
    loop {
        let settled = server.settled()?;
        if settled >= wanted {
            return Ok(());
        }
        if settled > seen {
            (seen, since) = (settled, process::now());
        }
        if since.elapsed() > NO_PROGRESS {
            bail!("{settled} of {wanted} deliveries are settled and no more came for {NO_PROGRESS:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn number(figures: &Value, key: &str) -> anyhow::Result<f64> {
    figures[key].as_f64().with_context(|| format!("the load printed no `{key}`"))
}
