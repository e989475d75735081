//! `torture outputs`: a good output beside seventeen bad ones, each bad in its own way, all of which get every event.
//!
//! The same load goes first to the good output alone, then to all of them: the good one must be as quick as before, senders are answered as
//! quickly, memory and sockets stay bounded, each bad output says what is wrong with it, and every delivery is accounted for. When their far
//! sides are well again, all that waits is delivered.

use crate::build::{self, Build};
use crate::daemon::{Home, Output, Route, Running};
use crate::http;
use crate::process;
use crate::torture::kill::keep;
use crate::torture::load::{Load, Took, calm, number_of};
use anyhow::{Context, bail};
use std::collections::HashMap;
use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use switchyard_services::net::free_address;

/// Events a second: eighteen times as many deliveries, which an unoptimised build on a slow machine has to bear with ease.
const RATE: u32 = 20;
/// A latency below this is never too long. Who has to wait for a bad output waits for seconds, which is what each attempt may take.
const NOISE: Duration = Duration::from_millis(250);
/// Memory, and descriptors: 32 calls at a time and output, and some.
const RSS_MOST_MIB: u64 = 250;
const FILES_MOST: usize = 18 * 40 + 150;
/// Longest wait for the good output to have all, and for the bad ones once they are well.
const SETTLES: Duration = Duration::from_secs(5);
const RECOVERS: Duration = Duration::from_mins(2);
/// What an attempt may take, and what is tried again soon.
const KEYS: &str = "timeout: 2s\nretry: { schedule: [500ms, 1s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s] }";
const HOLDS: &str = "timeout: 2s\non_unknown: hold";
const SLOW: &str = "concurrency: 1";

/// In which way an output is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bad {
    Refuses,
    HangsUp,
    Resets,
    Silent,
    Drips,
    NoHttp,
    EndlessHead,
    EndlessBody,
    BreaksOff,
    Fails,
    Waits,
    Redirects,
    Forbids,
    Flaps,
    Late,
    NoTls,
    NoName,
}

/// Each with its name in the file and a word that its lists must say.
const BAD: [(Bad, &str, &[&str]); 17] = [
    (Bad::Refuses, "refuses", &["refused"]),
    (Bad::HangsUp, "hangs-up", &["closed", "reset", "connection"]),
    (Bad::Resets, "resets", &["closed", "reset", "connection"]),
    (Bad::Silent, "silent", &["no answer", "within", "timeout"]),
    (Bad::Drips, "drips", &["no answer", "within", "timeout"]),
    (Bad::NoHttp, "no-http", &["HTTP", "answer"]),
    (Bad::EndlessHead, "endless-head", &["head", "answer", "large"]),
    // Its status says that it has it; the rest of the body is not waited for.
    (Bad::EndlessBody, "endless-body", &["200 OK"]),
    (Bad::BreaksOff, "breaks-off", &["closed", "broke", "connection", "answer"]),
    (Bad::Fails, "fails", &["500"]),
    (Bad::Waits, "waits", &["told", "429"]),
    (Bad::Redirects, "redirects", &["302", "redirect"]),
    (Bad::Forbids, "forbids", &["401", "403"]),
    (Bad::Flaps, "flaps", &["200 OK", "503"]),
    (Bad::Late, "late", &["no answer", "within", "timeout"]),
    (Bad::NoTls, "no-tls", &["TLS", "tls"]),
    (Bad::NoName, "no-name", &["nowhere.invalid"]),
];
const GOOD: &str = "good";

/// How long, and how built.
#[derive(clap::Args)]
pub struct Options {
    /// Seconds of load, without and with bad outputs.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// `dev`, `fast` or `release`.
    #[arg(long, default_value = "dev")]
    profile: String,
    /// Control: the good output takes one delivery at a time and half a second for each, and the run must see it.
    #[arg(long)]
    slow: bool,
}

/// The far sides.
struct Far {
    slow: bool,
    well: AtomicBool,
    began: Instant,
    /// Of the good output: when each event was due, and when it was first taken.
    due: Mutex<HashMap<u64, Instant>>,
    taken: Mutex<HashMap<u64, Instant>>,
}

/// One part of the run.
struct Part {
    answers: Took,
    good: Took,
    missing: usize,
    rss_mib: u64,
    files: usize,
}

/// A daemon, what is sent to it, and its outputs' far sides.
struct Yard {
    home: Home,
    daemon: Running,
    load: Load,
    far: Arc<Far>,
}

/// Runs; whether the good output did not notice the bad ones and nothing was lost.
pub fn run(options: &Options) -> anyhow::Result<bool> {
    let scratch = build::scratch("torture-outputs-")?;
    let built = Build { package: "switchyard", profile: &options.profile, features: &[], optimized: &[] }.run()?;
    let binary = build::copy(&built, scratch.path(), "switchyard")?;
    println!("outputs: {} bad ones beside a good one, {RATE} events a second for {} s", BAD.len(), options.seconds);
    let lasting = Duration::from_secs(options.seconds);
    let mut clean = true;
    let mut law = |holds: bool, what: String| {
        println!("  {}  {what}", if holds { "      " } else { "BROKEN" });
        clean &= holds;
    };
    let alone = Yard::new(&binary, &scratch.path().join("alone"), Far::new(false), &[])?.measure(lasting)?;
    law(true, format!("alone: answers {}, at the good output {}", alone.answers, alone.good));
    let mut yard = Yard::new(&binary, &scratch.path().join("beside"), Far::new(options.slow), &BAD)?;
    let undisturbed = |beside: &Part| beside.answers.bears(alone.answers, NOISE) && beside.good.bears(alone.good, NOISE);
    // What is missing is no matter of a slow machine.
    let beside = calm(|| yard.measure(lasting), |beside| beside.missing > 0 || undisturbed(beside))?;
    law(beside.answers.bears(alone.answers, NOISE), format!("beside the bad ones: answers {}", beside.answers));
    law(
        beside.good.bears(alone.good, NOISE) && beside.missing == 0,
        format!("at the good output {}, {} missing", beside.good, beside.missing),
    );
    law(
        beside.rss_mib <= RSS_MOST_MIB && beside.files <= FILES_MOST,
        format!("memory {} MiB, {} descriptors", beside.rss_mib, beside.files),
    );
    for (_, name, words) in BAD {
        let said = said(&yard.home, name)?;
        let found = said.iter().find(|line| words.iter().any(|word| line.contains(word)));
        law(found.is_some(), format!("{name}: {}", found.or(said.first()).map_or("says nothing", String::as_str)));
    }
    let audit = yard.home.api("/api/audit")?;
    law(audit["lost"] == 0 && planned(&audit, yard.load.answered(), 18), format!("audit {audit}"));
    yard.far.well.store(true, Relaxed);
    let recovered = yard.recover()?;
    law(recovered["lost"] == 0 && planned(&recovered, yard.load.answered(), 18), format!("audit when they are well {recovered}"));
    if options.slow {
        println!("{}", if clean { "FAILED: a slow output was not seen" } else { "control: a slow output is seen" });
        return Ok(!clean);
    }
    println!("{}", if clean { "lost: 0" } else { "FAILED" });
    if !clean {
        keep(scratch);
    }
    Ok(clean)
}

/// Every delivery of every event is in exactly one state.
fn planned(audit: &serde_json::Value, events: u64, outputs: u64) -> bool {
    let count = |name: &str| audit[name].as_u64().unwrap_or(u64::MAX);
    let all: u64 = ["waiting", "held", "delivered", "dead", "open"].map(count).iter().sum();
    count("planned") == events * outputs && all == count("planned")
}

impl Yard {
    fn new(binary: &Path, folder: &Path, far: Arc<Far>, bad: &[(Bad, &'static str, &[&str])]) -> anyhow::Result<Self> {
        let home = Home::new(folder.to_owned())?;
        let good = Output { name: GOOD.into(), at: far.listen(None)?, keys: if far.slow { SLOW } else { "" } };
        let bad = bad.iter().map(|(bad, name, _)| {
            let keys = if *bad == Bad::Late { HOLDS } else { KEYS };
            Ok(Output { name: (*name).to_owned(), at: far.listen(Some(*bad))?, keys })
        });
        let outputs = std::iter::once(Ok(good)).chain(bad).collect::<anyhow::Result<Vec<_>>>()?;
        let names: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
        home.write_file(&[Route { name: "all", total_above: None, total_below: None, to: &names }], &outputs, "24h", "bad outputs")?;
        let mut daemon = Running::start(home.command(binary)?)?;
        daemon.wait_listening(home.listen, SETTLES)?;
        let load = Load::new(home.listen, body);
        Ok(Yard { home, daemon, load, far })
    }

    /// Sends events for a while, and looks how they are answered and when the good output has them.
    fn measure(&mut self, lasting: Duration) -> anyhow::Result<Part> {
        let far = &self.far;
        far.due().clear();
        let answers = self.load.paced(RATE, lasting, |number, due| {
            far.due().insert(number, due);
        })?;
        let due = far.due().clone();
        let missing = || due.keys().filter(|number| !far.taken().contains_key(number)).count();
        process::wait_for(SETTLES, || (missing() == 0).then_some(()));
        if let Some(status) = self.daemon.ended() {
            bail!("the daemon ended by itself ({status}); its log ends with\n{}", self.home.log_tail());
        }
        let missing = missing();
        let taken = far.taken();
        let took = due.iter().filter_map(|(number, due)| Some(taken.get(number)?.saturating_duration_since(*due)));
        Ok(Part {
            answers,
            good: Took::of(took.collect()),
            missing,
            rss_mib: process::rss_kib(self.daemon.pid())? >> 10,
            files: process::files(self.daemon.pid())?,
        })
    }

    /// Until nothing waits but what was told to wait for an hour.
    fn recover(&mut self) -> anyhow::Result<serde_json::Value> {
        let (home, daemon) = (&self.home, &mut self.daemon);
        let settled = process::wait_for(RECOVERS, || {
            std::thread::sleep(Duration::from_millis(200));
            let waiting =
                ["refuses", "hangs-up", "resets", "silent", "drips", "no-http", "endless-head", "endless-body", "breaks-off", "flaps"];
            let listed = |name: &&str| home.api(&format!("/api/deliveries?output={name}&state=waiting&limit=1")).ok();
            let empty = |name: &&str| listed(name).is_some_and(|found| found["deliveries"].as_array().is_some_and(Vec::is_empty));
            (waiting.iter().all(empty) || daemon.ended().is_some()).then_some(())
        });
        if settled.is_none() || self.daemon.ended().is_some() {
            println!("  BROKEN  what waits does not go on; the log ends with\n{}", self.home.log_tail());
            bail!("the far sides are well, and their deliveries wait");
        }
        self.home.api("/api/audit").context("the daemon's audit")
    }
}

/// What the lists say of an output's deliveries: what keeps them waiting, and what happened to them last.
fn said(home: &Home, output: &str) -> anyhow::Result<Vec<String>> {
    let listed = home.api(&format!("/api/deliveries?output={output}&limit=500"))?;
    let outputs = home.api("/api/outputs")?;
    let why = outputs["outputs"].as_array().into_iter().flatten().filter(|one| one["name"] == output).map(|one| &one["why"]);
    let rows = listed["deliveries"].as_array().into_iter().flatten().flat_map(|row| [&row["blocked"], &row["detail"]]);
    Ok(why.chain(rows).filter_map(|text| text.as_str().map(str::to_owned)).collect())
}

fn body(number: u64) -> Vec<u8> {
    format!(r#"{{"number":{number},"total":10,"note":"made up"}}"#).into_bytes()
}

impl Far {
    fn new(slow: bool) -> Arc<Self> {
        Arc::new(Far { slow, well: AtomicBool::new(false), began: process::now(), due: Mutex::default(), taken: Mutex::default() })
    }

    fn due(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Instant>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Instant>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The good output, or a bad one: where it is.
    fn listen(self: &Arc<Self>, bad: Option<Bad>) -> anyhow::Result<String> {
        let listener = TcpListener::bind(free_address()?)?;
        let (address, far) = (listener.local_addr()?, Arc::clone(self));
        match bad {
            Some(Bad::NoName) => return Ok(format!("http://nowhere.invalid:{}", address.port())),
            Some(Bad::Refuses) => drop(listener),
            _ => drop(std::thread::spawn(move || far.accept(&listener, bad))),
        }
        if bad == Some(Bad::Refuses) {
            let far = Arc::clone(self);
            std::thread::spawn(move || far.listen_when_well(address));
        }
        Ok(format!("{}://{address}", if bad == Some(Bad::NoTls) { "https" } else { "http" }))
    }

    fn listen_when_well(self: &Arc<Self>, address: SocketAddr) {
        while !self.well.load(Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
        }
        if let Ok(listener) = TcpListener::bind(address) {
            self.accept(&listener, Some(Bad::Refuses));
        }
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener, bad: Option<Bad>) {
        for stream in listener.incoming().flatten() {
            let far = Arc::clone(self);
            // What it could not send or read is what it is there for.
            std::thread::spawn(move || far.serve(stream, bad));
        }
    }

    fn serve(&self, stream: TcpStream, bad: Option<Bad>) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        if bad == Some(Bad::HangsUp) && !self.well.load(Relaxed) {
            return stream.shutdown(Shutdown::Both);
        }
        let mut stream = BufReader::new(stream);
        if bad == Some(Bad::NoTls) {
            return stream.get_mut().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
        while let Some(request) = http::read(&mut stream)? {
            if let Some(bad) = bad.filter(|_| !self.well.load(Relaxed)) {
                self.answer_badly(stream.get_mut(), bad)?;
                continue;
            }
            if bad.is_none() {
                if self.slow {
                    std::thread::sleep(Duration::from_millis(500));
                }
                if let Some(number) = number_of(&request.body) {
                    self.taken().entry(number).or_insert_with(process::now);
                }
            }
            stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
        }
        Ok(())
    }

    /// An error ends the connection.
    fn answer_badly(&self, stream: &mut TcpStream, bad: Bad) -> std::io::Result<()> {
        let end = || std::io::Error::from(std::io::ErrorKind::ConnectionAborted);
        let plain = |status: &str, more: &str| format!("HTTP/1.1 {status}\r\n{more}Content-Length: 0\r\n\r\n");
        let flapping = self.began.elapsed().as_secs().is_multiple_of(2);
        match bad {
            Bad::Resets => {
                // Unread bytes and a close are a reset.
                rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO))?;
                Err(end())
            }
            Bad::Silent => self.until_gone(stream, |_| Ok(())),
            Bad::Drips => {
                let mut answer = plain("200 OK", "").into_bytes().into_iter();
                self.until_gone(stream, |stream| stream.write_all(answer.next().as_slice()))
            }
            Bad::NoHttp => {
                stream.write_all(b"\x00\x01 this is no HTTP \xff\r\n\r\n")?;
                Err(end())
            }
            Bad::EndlessHead => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
                self.until_gone(stream, |stream| stream.write_all(&b"x-more: and more\r\n".repeat(4_000)))
            }
            Bad::EndlessBody => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                self.until_gone(stream, |stream| stream.write_all(&b"5\r\n12345\r\n".repeat(10_000)))
            }
            Bad::BreaksOff => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le")?;
                Err(end())
            }
            Bad::Fails => stream.write_all(plain("500 Internal Server Error", "").as_bytes()),
            Bad::Waits => stream.write_all(plain("429 Too Many Requests", "Retry-After: 3600\r\n").as_bytes()),
            Bad::Redirects => stream.write_all(plain("302 Found", "Location: /redirects\r\n").as_bytes()),
            Bad::Forbids => stream.write_all(plain("401 Unauthorized", "").as_bytes()),
            Bad::Flaps if flapping => stream.write_all(plain("200 OK", "").as_bytes()),
            Bad::Flaps => stream.write_all(plain("503 Service Unavailable", "").as_bytes()),
            Bad::Late => {
                std::thread::sleep(Duration::from_secs(20));
                stream.write_all(plain("200 OK", "").as_bytes())
            }
            Bad::Refuses | Bad::HangsUp | Bad::NoTls | Bad::NoName => Err(end()),
        }
    }

    /// Does something every now and then until the other side is gone, or all is well.
    fn until_gone(&self, stream: &mut TcpStream, mut each: impl FnMut(&mut TcpStream) -> std::io::Result<()>) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        loop {
            each(stream)?;
            match stream.read(&mut [0; 1]) {
                Ok(0) => return Err(std::io::ErrorKind::ConnectionAborted.into()),
                Err(why) if !matches!(why.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => return Err(why),
                _ if self.well.load(Relaxed) => return Err(std::io::ErrorKind::ConnectionAborted.into()),
                _ => {}
            }
        }
    }
}
