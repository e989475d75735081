//! `torture backlog`: a great many deliveries wait, and the daemon starts, answers, lists and drains as if they did not.
//!
//! One event goes to five outputs: two that nobody listens to (one of them in order by key), one that fails and is tried again in an hour, one
//! whose rate is so low for each of many keys that nearly all wait, and one that takes everything. Then the daemon is killed, started, measured
//! and looked at; the two find their far sides, drain, and everything is counted on both sides.

use crate::build::{self, Build};
use crate::daemon::{Home, Output, Route, Running};
use crate::http;
use crate::process;
use crate::torture::kill::keep;
use crate::torture::load::{Load, Took, number_of};
use anyhow::{Context, bail};
use serde_json::Value;
use std::collections::HashSet;
use std::io::{BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use switchyard_services::net::free_address;

/// The outputs, in the order of the file. The first three end delivered, the others wait.
const OUTPUTS: [&str; 5] = ["quick", "down", "ordered", "later", "keyed"];
const DRAINED: usize = 3;
const KEYS: [&str; 5] = [
    "",
    "",
    "order_by: { key: \"{{ data.key }}\" }",
    "retry: { schedule: [1h, 1h] }\nconcurrency: 64",
    "rate: { limit: 1/h, key: \"{{ data.shop }}\" }",
];
/// Keys of `ordered`, and of `keyed`.
const LINES: u64 = 1_000;
const SHOPS: u64 = 100_000;
/// Events a second while latency is measured, and how long.
const PROBES_A_SECOND: u32 = 200;
const PROBED_FOR: Duration = Duration::from_secs(5);
/// A figure of a list is the median of so many.
const LOOKS: usize = 9;
/// Bounds at any size, those of time for an optimised build (`limits.md` of the design: start, lists, memory at ten million).
const LIST_MOST: Duration = Duration::from_millis(100);
const START_MOST: Duration = Duration::from_secs(2);
const RSS_MOST_MIB: u64 = 300;
/// So long without progress is a failure.
const STUCK: Duration = Duration::from_mins(1);

/// How many.
#[derive(clap::Args)]
pub struct Options {
    /// Deliveries that wait.
    #[arg(long, default_value_t = 10_000_000)]
    waiting: u64,
    /// `dev`, `fast` or `release`.
    #[arg(long, default_value = "fast")]
    profile: String,
    /// Control: the far side takes one delivery of each output and forgets it, so that the run must find three lost.
    #[arg(long)]
    forget: bool,
}

/// What arrived at the outputs that drain, by event.
struct Far {
    arrived: [Mutex<HashSet<u64>>; DRAINED],
    /// The last of each key of `ordered`, to see that none comes before an earlier one.
    last: Mutex<Vec<u64>>,
    out_of_order: AtomicU64,
    forget: AtomicBool,
}

struct Run {
    home: Home,
    far: Arc<Far>,
    load: Load,
}

/// Figures of a start and of what people ask then.
#[derive(Default)]
struct Figures {
    listening: Duration,
    ready: Duration,
    lists: Vec<(&'static str, Duration)>,
    rss_mib: u64,
    quiet: Took,
    draining: Took,
    drained_a_second: u64,
    rss_draining_mib: u64,
}

/// Runs; whether nothing was lost and every bound was kept.
pub fn run(options: &Options) -> anyhow::Result<bool> {
    let scratch = build::scratch("torture-backlog-")?;
    let built = Build { package: "switchyard", profile: &options.profile, features: &[], optimized: &[] }.run()?;
    let binary = build::copy(&built, scratch.path(), "switchyard")?;
    let nobody = free_address()?;
    let run = Run::new(scratch.path().join("home"), nobody, options.forget)?;
    // Of each event four of five deliveries wait.
    let events = options.waiting.div_ceil(OUTPUTS.len() as u64 - 1);
    println!("backlog: {events} events, {} deliveries waiting", options.waiting);
    let began = process::now();
    let mut daemon = Running::start(run.home.command(&binary)?)?;
    daemon.wait_listening(run.home.listen, START_MOST * 5)?;
    run.load.fill(events)?;
    let filled = began.elapsed();
    run.wait_rows(&mut daemon, events)?;
    let settled = began.elapsed();
    daemon.kill();
    println!(
        "  filled      in {:.0} s, {:.0} events a second, all with rows after {:.0} s; the journal has {} MiB",
        filled.as_secs_f64(),
        events as f64 / filled.as_secs_f64(),
        settled.as_secs_f64(),
        std::fs::metadata(run.home.database())?.len() >> 20
    );
    let (figures, daemon) = run.measure(&binary, nobody)?;
    let audit = run.home.api("/api/audit")?;
    drop(daemon);
    let (kept, broken) = (figures.report(options.profile != "dev"), run.judge(&audit));
    let clean = broken == 0;
    println!("  took        {:.0} s in all", began.elapsed().as_secs_f64());
    if options.forget {
        let missed = broken == DRAINED;
        println!("{}", if missed { "control: what was forgotten is missed" } else { "FAILED: not what was forgotten was missed" });
        return Ok(missed);
    }
    let good = kept && clean;
    println!("{}", if clean { "lost: 0" } else { "FAILED" });
    if !good {
        keep(scratch);
    }
    Ok(good)
}

impl Run {
    fn new(folder: PathBuf, nobody: SocketAddr, forget: bool) -> anyhow::Result<Self> {
        let far = Arc::new(Far {
            arrived: Default::default(),
            last: Mutex::new(vec![0; LINES as usize]),
            out_of_order: AtomicU64::new(0),
            forget: AtomicBool::new(forget),
        });
        let home = Home::new(folder)?;
        let here = far.listen((Ipv4Addr::LOCALHOST, 0).into())?;
        let routes = [Route { name: "all", total_above: None, total_below: None, to: &OUTPUTS }];
        let outputs = OUTPUTS.iter().zip(KEYS).map(|(name, keys)| {
            let away = ["down", "ordered"].contains(name);
            Output { name: (*name).to_owned(), at: format!("http://{}", if away { nobody } else { here }), keys }
        });
        home.write_file(&routes, &outputs.collect::<Vec<_>>(), "24h", "a backlog")?;
        let load = Load::new(home.listen, body);
        Ok(Run { home, far, load })
    }

    /// Until everything that waits has its row, and `later` was tried.
    fn wait_rows(&self, daemon: &mut Running, events: u64) -> anyhow::Result<()> {
        let mut before = (0, process::now());
        loop {
            if let Some(status) = daemon.ended() {
                bail!("the daemon ended by itself ({status}); its log ends with\n{}", self.home.log_tail());
            }
            let audit = self.home.api("/api/audit")?;
            let rows = ["waiting", "held", "delivered"].iter().filter_map(|state| audit[*state].as_u64()).sum::<u64>();
            let tried = self.home.metric("switchyard_deliveries_total", &["output=\"later\"", "outcome=\"retry\""])?;
            if rows >= events * OUTPUTS.len() as u64 && audit["open"] == 0 && tried >= events {
                return Ok(());
            }
            if rows + tried > before.0 {
                before = (rows + tried, process::now());
            }
            if before.1.elapsed() > STUCK {
                bail!("rows do not come: {audit}, {tried} of `later` tried; the log ends with\n{}", self.home.log_tail());
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    fn measure(&self, binary: &std::path::Path, nobody: SocketAddr) -> anyhow::Result<(Figures, Running)> {
        let mut figures = Figures::default();
        let began = process::now();
        let mut daemon = Running::start(self.home.command(binary)?)?;
        daemon.wait_listening(self.home.listen, STUCK)?;
        self.load.one()?;
        figures.listening = began.elapsed();
        let ready = process::wait_for(STUCK, || http::get(self.home.admin, "/ready", &[]).ok().filter(|(status, _)| *status == 200));
        ready.with_context(|| format!("not ready; the log ends with\n{}", self.home.log_tail()))?;
        figures.ready = began.elapsed();
        figures.quiet = self.load.paced(PROBES_A_SECOND, PROBED_FOR, |_, _| {})?;
        figures.lists = self.look()?;
        figures.rss_mib = process::rss_kib(daemon.pid())? >> 10;
        self.far.listen(nobody)?;
        let (from, began) = (self.far.arrived(), process::now());
        // A breaker lets one probe through first.
        process::wait_for(STUCK, || (self.far.arrived() > from + 100).then_some(())).context("nothing drains")?;
        figures.draining = self.load.paced(PROBES_A_SECOND, PROBED_FOR, |_, _| {})?;
        self.drain(&mut daemon, &mut figures)?;
        figures.drained_a_second = ((self.far.arrived() - from) as f64 / began.elapsed().as_secs_f64()) as u64;
        Ok((figures, daemon))
    }

    fn look(&self) -> anyhow::Result<Vec<(&'static str, Duration)>> {
        let one = self.home.api("/api/events?limit=1")?;
        let event = format!("/api/events/{}", one["events"][0]["id"].as_str().unwrap_or_default());
        let asked: [(&str, &str); 10] = [
            ("events", "/api/events"),
            ("events of a source", "/api/events?source=bench"),
            ("one event", &event),
            ("deliveries", "/api/deliveries"),
            ("deliveries waiting", "/api/deliveries?state=waiting"),
            ("deliveries of an output", "/api/deliveries?output=down"),
            ("waiting of an output", "/api/deliveries?state=waiting&output=keyed"),
            ("dead (none)", "/api/deliveries?state=dead"),
            ("outputs", "/api/outputs"),
            ("metrics", "/metrics"),
        ];
        let mut figures = vec![];
        for (name, path) in asked {
            let mut took = vec![];
            for _ in 0..LOOKS {
                let began = process::now();
                self.home.look(path)?;
                took.push(began.elapsed());
            }
            took.sort_unstable();
            figures.push((name, took[took.len() / 2]));
        }
        Ok(figures)
    }

    /// Until the three have taken all.
    fn drain(&self, daemon: &mut Running, figures: &mut Figures) -> anyhow::Result<()> {
        let mut before = (0, process::now());
        loop {
            figures.rss_draining_mib = figures.rss_draining_mib.max(process::rss_kib(daemon.pid())? >> 10);
            let (arrived, wanted) = (self.far.arrived(), self.load.answered() * DRAINED as u64);
            let missing = wanted.saturating_sub(arrived);
            if missing == 0 {
                break;
            }
            if arrived > before.0 {
                before = (arrived, process::now());
            }
            if before.1.elapsed() > STUCK / 3 {
                // The ledger says what is missing.
                break;
            }
            if let Some(status) = daemon.ended() {
                bail!("the daemon ended by itself ({status}); its log ends with\n{}", self.home.log_tail());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        // What was taken is written a moment later.
        let waits = self.load.answered() * (OUTPUTS.len() - DRAINED) as u64;
        let written = || self.home.api("/api/audit").ok().filter(|audit| audit["waiting"].as_u64().is_some_and(|waiting| waiting <= waits));
        process::wait_for(STUCK / 3, written);
        Ok(())
    }

    /// What was answered against what arrived and what the daemon counts: how many laws are broken.
    fn judge(&self, audit: &Value) -> usize {
        let answered = self.load.answered();
        let mut broken = 0;
        let mut law = |holds: bool, what: String| {
            println!("  {}  {what}", if holds { "          " } else { "BROKEN    " });
            broken += usize::from(!holds);
        };
        for (output, arrived) in OUTPUTS.iter().zip(&self.far.arrived) {
            let arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner).len() as u64;
            law(arrived == answered, format!("{output} took {arrived} of {answered}"));
        }
        law(self.far.out_of_order.load(Relaxed) == 0, format!("{} out of order", self.far.out_of_order.load(Relaxed)));
        let count = |name: &str| audit[name].as_u64().unwrap_or(u64::MAX);
        let (planned, open) = (count("planned"), count("waiting") + count("held") + count("delivered") + count("dead") + count("open"));
        law(
            planned == answered * OUTPUTS.len() as u64 && open == planned && count("lost") == 0 && count("dead") == 0,
            format!("audit {audit}"),
        );
        broken
    }
}

impl Far {
    /// Takes what comes there; `later` fails.
    fn listen(self: &Arc<Self>, address: SocketAddr) -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind(address)?;
        let (bound, far) = (listener.local_addr()?, Arc::clone(self));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let far = Arc::clone(&far);
                std::thread::spawn(move || far.serve(stream));
            }
        });
        Ok(bound)
    }

    fn serve(&self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let mut stream = BufReader::new(stream);
        while let Ok(Some(request)) = http::read(&mut stream) {
            let name = request.first.split(['/', ' ']).nth(2).unwrap_or_default();
            let status = match (OUTPUTS.iter().position(|output| *output == name), number_of(&request.body)) {
                (Some(output), Some(number)) if output < DRAINED => {
                    self.take(output, number);
                    "200 OK"
                }
                (Some(output), _) if OUTPUTS[output] == "keyed" => "200 OK",
                _ => "500 Internal Server Error",
            };
            if stream.get_mut().write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).is_err() {
                return;
            }
        }
    }

    fn take(&self, output: usize, number: u64) {
        if self.forget.load(Relaxed) && number == 1 {
            return;
        }
        self.arrived[output].lock().unwrap_or_else(PoisonError::into_inner).insert(number);
        if OUTPUTS[output] == "ordered" {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let before = &mut last[(number % LINES) as usize];
            if number < *before {
                self.out_of_order.fetch_add(1, Relaxed);
            }
            *before = number.max(*before);
        }
    }

    fn arrived(&self) -> u64 {
        self.arrived.iter().map(|arrived| arrived.lock().unwrap_or_else(PoisonError::into_inner).len() as u64).sum()
    }
}

impl Figures {
    /// Prints them; whether every bound was kept. Bounds of time are for an optimised build: of an unoptimised one on a busy machine they say nothing.
    fn report(&self, timed: bool) -> bool {
        let ms = |took: Duration| took.as_secs_f64() * 1_000.0;
        let mut kept = true;
        let mut bound = |holds: bool, what: String| {
            println!("  {}  {what}", if holds { "          " } else { "TOO MUCH  " });
            kept &= holds;
        };
        bound(
            !timed || self.listening <= START_MOST,
            format!("start to the first 200 {:.0} ms, ready after {:.0} ms", ms(self.listening), ms(self.ready)),
        );
        for (name, took) in &self.lists {
            bound(!timed || *took <= LIST_MOST, format!("{:>7.1} ms  {name}", ms(*took)));
        }
        bound(
            self.rss_mib.max(self.rss_draining_mib) <= RSS_MOST_MIB,
            format!("memory {} MiB, while draining at most {} MiB", self.rss_mib, self.rss_draining_mib),
        );
        println!(
            "              answers {}; while draining {}; {} deliveries a second drained",
            self.quiet, self.draining, self.drained_a_second
        );
        kept
    }
}

fn body(number: u64) -> Vec<u8> {
    let (key, shop) = (number % LINES, number % SHOPS);
    format!(
        r#"{{"number":{number},"key":"k{key}","shop":"s{shop}","total":10,"note":"an order like any other, of a shop like any other"}}"#
    )
    .into_bytes()
}
