//! `load`: sends prebuilt requests over keep-alive connections from one thread, so that it costs little beside what it measures.
//!
//! Closed loop: each connection sends when its last request was answered. Open loop (`--rate`): each has its times of sending; where it is
//! late, the time counts from when it should have sent. Prints one line of JSON; times in µs.

use crate::clock::now_ns;
use crate::process::own_cpu_us;
use crate::wire::{Prebuilt, Target, status};
use hdrhistogram::Histogram;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::Instant;

/// Times above a minute are recorded as a minute.
const LONGEST_US: u64 = 60_000_000;

/// What is sent, and how fast.
#[derive(clap::Args, Clone)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Connections.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// How long to measure.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How long to send before that.
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Send so many requests instead, all of them measured.
    #[arg(long)]
    count: Option<u64>,
    /// Requests a second, whether or not they are answered (open loop).
    #[arg(long)]
    rate: Option<u64>,
}

/// What all connections share.
struct Shared {
    options: Options,
    address: String,
    start: Instant,
    /// Ids of this run start here, so that no two runs send the same.
    first_id: u64,
    next: Cell<u64>,
    done: Cell<u64>,
    bad: Cell<u64>,
    stop: Cell<bool>,
    times_us: RefCell<Histogram<u64>>,
}

/// Runs to the end.
pub fn run(options: Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, measure(options))
}

async fn measure(options: Options) -> anyhow::Result<()> {
    let request = options.target.prebuild()?;
    let shared = Rc::new(Shared {
        address: options.target.address()?,
        options,
        start: Instant::now(),
        first_id: now_ns() / 1000 * 1000,
        next: Cell::new(0),
        done: Cell::new(0),
        bad: Cell::new(0),
        stop: Cell::new(false),
        times_us: RefCell::new(Histogram::new_with_max(LONGEST_US, 3)?),
    });
    let mut connections = JoinSet::new();
    let mut streams = vec![];
    for _ in 0..shared.options.connections {
        streams.push(connect(&shared.address).await?);
    }
    for (number, stream) in (0..).zip(streams) {
        connections.spawn_local(connection(shared.clone(), stream, request.clone(), number));
    }
    if shared.options.count.is_none() {
        tokio::time::sleep(Duration::from_secs_f64(shared.options.warmup)).await;
        shared.times_us.borrow_mut().reset();
        shared.bad.set(0);
    }
    let (done, cpu, from, from_ns) = (shared.done.get(), own_cpu_us()?, Instant::now(), now_ns());
    if shared.options.count.is_none() {
        tokio::time::sleep(Duration::from_secs_f64(shared.options.seconds)).await;
        shared.stop.set(true);
    } else {
        while let Some(joined) = connections.join_next().await {
            joined??;
        }
    }
    shared.report(Begin { done, cpu, from, from_ns })?;
    // In a timed run every connection ends with the answer it waits for: none is cut off, so nothing is half sent.
    while let Some(joined) = connections.join_next().await {
        joined??;
    }
    Ok(())
}

async fn connection(shared: Rc<Shared>, mut stream: TcpStream, mut request: Prebuilt, number: u64) -> anyhow::Result<()> {
    let mut buffer = Vec::with_capacity(4096);
    for turn in 0.. {
        let begin = shared.turn(number, turn).await;
        let id = shared.next.get();
        if shared.stop.get() || shared.options.count.is_some_and(|count| id >= count) {
            break;
        }
        shared.next.set(id + 1);
        let answer = async {
            stream.write_all(request.fill(shared.first_id + id)).await?;
            status(&mut stream, &mut buffer).await
        };
        match answer.await {
            Ok(200..=299) => {
                shared.done.set(shared.done.get() + 1);
                shared.times_us.borrow_mut().saturating_record(begin.elapsed().as_micros() as u64);
            }
            Ok(_) => shared.bad.set(shared.bad.get() + 1),
            Err(_) => {
                shared.bad.set(shared.bad.get() + 1);
                stream = connect(&shared.address).await?;
            }
        }
    }
    Ok(())
}

/// Where measuring began.
struct Begin {
    done: u64,
    cpu: u64,
    from: Instant,
    from_ns: u64,
}

impl Shared {
    fn report(&self, begin: Begin) -> anyhow::Result<()> {
        let (requests, seconds) = ((self.done.get() - begin.done).max(1), begin.from.elapsed().as_secs_f64());
        let (times, cpu) = (self.times_us.borrow(), own_cpu_us()? - begin.cpu);
        let quantile = |part| times.value_at_quantile(part);
        println!(
            r#"{{"requests":{requests},"bad":{},"start_ns":{},"seconds":{seconds:.3},"rate":{:.0},"p50":{},"p90":{},"p99":{},"p999":{},"max":{},"own_cpu":{:.2}}}"#,
            self.bad.get(),
            begin.from_ns,
            requests as f64 / seconds,
            quantile(0.5),
            quantile(0.9),
            quantile(0.99),
            quantile(0.999),
            times.max(),
            cpu as f64 / requests as f64
        );
        Ok(())
    }

    /// Waits for a connection's turn; from when its time counts.
    async fn turn(&self, connection: u64, turn: u64) -> Instant {
        let Some(rate) = self.options.rate else { return Instant::now() };
        let nth = turn * self.options.connections as u64 + connection;
        let due = self.start + Duration::from_nanos(nth * 1_000_000_000 / rate.max(1));
        if due <= Instant::now() {
            return due;
        }
        tokio::time::sleep_until(due).await;
        // The timer's own slack is not the server's.
        Instant::now()
    }
}

async fn connect(address: &str) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).await.map_err(|error| anyhow::anyhow!("{address}: {error}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
