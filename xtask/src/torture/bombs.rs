//! `torture bombs`: programs that never end or ask for all memory there is, and bodies made to break a parser, beside a good route.
//!
//! The good route's events come at an even pace, first alone, then while every bomb goes off again and again: the daemon must not die, the good
//! output must be as quick, memory of the daemon and its workers stays bounded, each bomb ends in a delivery that says what was wrong (or in
//! none), and every delivery is accounted for.

use crate::build::{self, Build};
use crate::daemon::{Home, Running};
use crate::http::{self, Client};
use crate::process;
use crate::torture::kill::keep;
use crate::torture::load::{Load, Took, calm, number_of};
use crate::torture::sender::sign;
use anyhow::{Context, bail};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Good events a second.
const RATE: u32 = 40;
const NOISE: Duration = Duration::from_millis(200);
/// Memory of the daemon with its workers, each of which has at most 256 MiB of addresses.
const RSS_MOST_MIB: u64 = 900;
const SETTLES: Duration = Duration::from_secs(20);
/// And until every bomb went off: each costs a worker, which is started anew.
const GOES_OFF: Duration = Duration::from_mins(3);

/// Programs that decide whether a route takes an event.
const WHERE: [(&str, &str); 4] = [
    ("never-ends", "def f: f; f"),
    ("counts-on", "last(range(1e12)) > 0"),
    ("all-memory", "[range(1e9)] | length > 0"),
    ("deep", "reduce range(1000000) as $i (0; [.]) | tojson | length > 0"),
];
/// Programs that make messages.
const TRANSFORM: [(&str, &str); 3] = [
    ("many-results", "range(1e9)"),
    ("doubles", "[limit(64; repeat(\"x\"))] | reduce range(40) as $i (\"x\"; . + .)"),
    ("says-error", "error(\"bomb\")"),
];
/// Templates of a body.
const BODY: [(&str, &str); 3] = [
    ("loops", "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}"),
    ("widens", r#"{"x":"{{ data.note | indent(100000000) }}"}"#),
    ("no-such-thing", r#"{"x":{{ data.no.such.thing|tojson }}}"#),
];

/// How long, and how built.
#[derive(clap::Args)]
pub struct Options {
    /// Seconds of load, without and with bombs.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// `dev`, `fast` or `release`.
    #[arg(long, default_value = "dev")]
    profile: String,
}

/// The far side of all outputs.
#[derive(Default)]
struct Far {
    due: Mutex<HashMap<u64, Instant>>,
    taken: Mutex<HashMap<u64, Instant>>,
}

/// Runs; whether nothing was lost and the good route did not notice.
pub fn run(options: &Options) -> anyhow::Result<bool> {
    let scratch = build::scratch("torture-bombs-")?;
    let built = Build { package: "switchyard", profile: &options.profile, features: &[], optimized: &[] }.run()?;
    let binary = build::copy(&built, scratch.path(), "switchyard")?;
    let bombs = bodies();
    println!(
        "bombs: {} programs and {} bodies beside a good route, {} s",
        WHERE.len() + TRANSFORM.len() + BODY.len(),
        bombs.len(),
        options.seconds
    );
    let (home, far) = (Home::new(scratch.path().join("home"))?, Arc::new(Far::default()));
    home.write_with("24h", "bombs", &rest(far.listen()?))?;
    let mut daemon = Running::start(home.command(&binary)?)?;
    daemon.wait_listening(home.listen, SETTLES).with_context(|| home.log_tail())?;
    let load = Load::new(home.listen, good);
    let lasting = Duration::from_secs(options.seconds);
    let mut clean = true;
    let mut law = |holds: bool, what: String| {
        println!("  {}  {what}", if holds { "      " } else { "BROKEN" });
        clean &= holds;
    };
    let alone = far.measure(&load, lasting)?;
    law(true, format!("alone: answers {}, at the good output {}", alone.0, alone.1));
    let (over, sent, peak) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let beside = std::thread::scope(|scope| {
        let throwing = scope.spawn(|| throw(home.listen, &bombs, &over, &sent));
        scope.spawn(|| watch(daemon.pid(), &over, &peak));
        let measured = calm(|| far.measure(&load, lasting), |(_, good)| good.bears(alone.1, NOISE));
        over.store(true, Relaxed);
        throwing.join().unwrap_or_else(|_| bail!("the thrower ended"))?;
        measured
    })?;
    law(daemon.ended().is_none(), "the daemon lives".to_owned());
    law(sent.load(Relaxed) >= bombs.len() as u64, format!("{} bombs went off", sent.load(Relaxed)));
    law(beside.1.bears(alone.1, NOISE), format!("beside the bombs: answers {}, at the good output {}", beside.0, beside.1));
    law(peak.load(Relaxed) <= RSS_MOST_MIB, format!("memory with workers at most {} MiB", peak.load(Relaxed)));
    let audit = settled(&home, &mut daemon)?;
    let count = |name: &str| audit[name].as_u64().unwrap_or(u64::MAX);
    let all: u64 = ["waiting", "held", "delivered", "dead", "open"].map(count).iter().sum();
    law(count("lost") == 0 && all >= count("planned") && count("open") == 0, format!("audit {audit}"));
    for name in TRANSFORM.iter().chain(&BODY).map(|(name, _)| name) {
        let found = home.api(&format!("/api/deliveries?route={name}&state=dead&limit=1"))?;
        let why = found["deliveries"][0]["detail"].as_str().unwrap_or("nothing is dead").to_owned();
        law(found["deliveries"][0].is_object(), format!("{name}: {why}"));
    }
    println!("{}", if clean { "lost: 0" } else { "FAILED" });
    if !clean {
        keep(scratch);
    }
    Ok(clean)
}

/// Routes and outputs.
fn rest(far: SocketAddr) -> String {
    let mut text = "routes:\n  - { name: good, topic: ORDER_PAID, to: good }\n".to_owned();
    let quote = |program: &str| serde_json::Value::from(program).to_string();
    for (name, program) in WHERE {
        let _ = writeln!(text, "  - {{ name: {name}, topic: BOMB, where: {}, to: bombed }}", quote(program));
    }
    for (name, program) in TRANSFORM {
        let _ = writeln!(text, "  - {{ name: {name}, topic: BOMB, transform: {}, to: bombed }}", quote(program));
    }
    for (name, template) in BODY {
        let _ = writeln!(text, "  - {{ name: {name}, topic: BOMB, to: {{ output: bombed, body: {} }} }}", quote(template));
    }
    let _ = write!(
        text,
        "outputs:\n  good: {{ type: http, url: \"http://{far}/good\" }}\n  bombed: {{ type: http, url: \"http://{far}/bombed\" }}\n"
    );
    text
}

fn good(number: u64) -> Vec<u8> {
    format!(r#"{{"number":{number},"total":10,"note":"made up"}}"#).into_bytes()
}

/// Bodies made to break who reads them; the first is an ordinary one.
fn bodies() -> Vec<Vec<u8>> {
    let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
    let keys = |same: bool| {
        let pairs = (0..5_000).map(|n| format!("\"k{}\":{n}", if same { 0 } else { n })).collect::<Vec<_>>().join(",");
        format!("{{{pairs}}}").into_bytes()
    };
    vec![
        br#"{"number":0,"note":"an ordinary one\nof two lines"}"#.to_vec(),
        deep(127),
        deep(128),
        deep(400_000),
        br#"{"note":1e400000,"total":-1e-99999}"#.to_vec(),
        format!("{{\"note\":{}}}", "9".repeat(900_000)).into_bytes(),
        keys(false),
        keys(true),
        format!("{{\"note\":\"{}\"}}", "\\u0000\\ud800 {{ data }}{% for %}\\u202e".repeat(15_000)).into_bytes(),
        b"\xef\xbb\xbf{\"note\":\"\xff\xfe\xc0\x80\"}".to_vec(),
        vec![0; 1_000_000],
        b"{\"note\":\"cut".to_vec(),
    ]
}

/// One bomb after the other, each at least once, until it is over. Whatever is answered, the daemon must answer.
fn throw(listen: SocketAddr, bombs: &[Vec<u8>], over: &AtomicBool, sent: &AtomicU64) -> anyhow::Result<()> {
    for (nth, bomb) in bombs.iter().cycle().enumerate() {
        if over.load(Relaxed) && nth >= bombs.len() {
            break;
        }
        sent.fetch_add(1, Relaxed);
        let (id, signature) = (format!("bomb-{nth}"), sign(bomb));
        let headers = [("Content-Type", "application/json"), ("X-Topic", "BOMB"), ("X-Event-Id", &id), ("X-Signature", &signature)];
        let end = process::now() + SETTLES;
        loop {
            match Client::open(listen)?.ask("POST", "/bench", &headers, bomb)? {
                (200, _) => break,
                // What takes too long is asked for again, and recognised.
                (503, _) if process::now() < end => std::thread::sleep(Duration::from_millis(50)),
                (status, answer) => {
                    let begins = String::from_utf8_lossy(&bomb[..bomb.len().min(20)]);
                    bail!(
                        "a bomb ({begins}…) was answered {status} {}: a signed event is kept, whatever is in it",
                        String::from_utf8_lossy(&answer)
                    );
                }
            }
        }
    }
    Ok(())
}

/// The most that the daemon and its workers had at once.
fn watch(pid: u32, over: &AtomicBool, peak: &AtomicU64) {
    while !over.load(Relaxed) {
        let workers = process::children(pid).into_iter().filter_map(|child| process::rss_kib(child).ok());
        let all = process::rss_kib(pid).unwrap_or(0) + workers.sum::<u64>();
        peak.fetch_max(all >> 10, Relaxed);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Until nothing is under way.
fn settled(home: &Home, daemon: &mut Running) -> anyhow::Result<serde_json::Value> {
    let audit = || home.api("/api/audit").ok().filter(|audit| audit["open"] == 0 && audit["waiting"] == 0);
    match process::wait_for(GOES_OFF, audit) {
        Some(audit) => Ok(audit),
        None if daemon.ended().is_some() => bail!("the daemon ended; its log ends with\n{}", home.log_tail()),
        None => home.api("/api/audit"),
    }
}

impl Far {
    fn listen(self: &Arc<Self>) -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (bound, far) = (listener.local_addr()?, Arc::clone(self));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let far = Arc::clone(&far);
                std::thread::spawn(move || far.serve(stream));
            }
        });
        Ok(bound)
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        while let Some(request) = http::read(&mut stream)? {
            if request.first.starts_with("POST /good ")
                && let Some(number) = number_of(&request.body)
            {
                lock(&self.taken).entry(number).or_insert_with(process::now);
            }
            stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
        }
        Ok(())
    }

    /// How long answers took, and how long it took until the good output had each event; all of them must have come.
    fn measure(&self, load: &Load, lasting: Duration) -> anyhow::Result<(Took, Took)> {
        lock(&self.due).clear();
        let answers = load.paced(RATE, lasting, |number, due| {
            lock(&self.due).insert(number, due);
        })?;
        let due = lock(&self.due).clone();
        let all = || due.keys().all(|number| lock(&self.taken).contains_key(number)).then_some(());
        if process::wait_for(SETTLES, all).is_none() {
            bail!("the good output did not get every event within {SETTLES:?}");
        }
        let taken = lock(&self.taken);
        let took = due.iter().filter_map(|(number, due)| Some(taken.get(number)?.saturating_duration_since(*due)));
        Ok((answers, Took::of(took.collect())))
    }
}

fn lock(which: &Mutex<HashMap<u64, Instant>>) -> std::sync::MutexGuard<'_, HashMap<u64, Instant>> {
    which.lock().unwrap_or_else(PoisonError::into_inner)
}
