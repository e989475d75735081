//! `torture network`: what anybody on a network can do to a port, beside a good sender that must not notice.
//!
//! Thousands of sockets that say nothing, or a byte now and then, from many addresses; requests that can be read in two ways; requests that are
//! odd and right; connections that are reset. An event that is not proven is never kept, a proven one never refused, memory and descriptors stay
//! bounded, and the good sender is answered as before. All addresses are of the loopback network.

use crate::build::{self, Build};
use crate::daemon::{Home, Running};
use crate::process;
use crate::torture::hostile::{self, Manner, ODD, SMUGGLED};
use crate::torture::kill::keep;
use crate::torture::load::{Load, Took, calm};
use anyhow::{Context, bail};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The good sender: events a second over connections that stay, and over one of their own each.
const RATE: u32 = 20;
const FRESH: u32 = 10;
/// A latency below this is never too long; who waits behind a stuck socket waits for seconds.
const NOISE: Duration = Duration::from_millis(500);
/// Bounds of the daemon: its connections are capped at 1,024.
const RSS_MOST_MIB: u64 = 250;
const FILES_MOST: usize = 1_024 + 150;
/// Stuck sockets come from so many addresses.
const ADDRESSES: u8 = 40;
/// Who holds them, and how many each opens anew a second for those that are closed: an unoptimised build accepts some thousands.
const HOLDERS: usize = 4;
const ANEW: usize = 100;
/// An answer, or a close, must come by then; a stuck socket's within its own bound of 10 s for a head and for a body's pace.
const ANSWERS: Duration = Duration::from_secs(20);
const SETTLES: Duration = Duration::from_secs(20);
/// Files of this process that are no stuck sockets.
const OWN_FILES: usize = 500;
/// Connections that are reset once their request is sent.
const RESETS: u64 = 200;

/// How long, and how many.
#[derive(clap::Args)]
pub struct Options {
    /// Seconds of load, without and with stuck sockets.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Sockets that are stuck at a time.
    #[arg(long, default_value_t = 5_000)]
    sockets: usize,
    /// `dev`, `fast` or `release`.
    #[arg(long, default_value = "dev")]
    profile: String,
    /// Control: the daemon may hold so many connections that it keeps every stuck one, and the run must see it.
    #[arg(long)]
    unbounded: bool,
}

/// Runs; whether every law held.
pub fn run(options: &Options) -> anyhow::Result<bool> {
    let scratch = build::scratch("torture-network-")?;
    let built = Build { package: "switchyard", profile: &options.profile, features: &[], optimized: &[] }.run()?;
    let binary = build::copy(&built, scratch.path(), "switchyard")?;
    let home = Home::new(scratch.path().join("home"))?;
    let rest = format!(
        "routes:\n  - {{ name: all, to: kept }}\noutputs:\n  kept: {{ type: file, path: {} }}\n",
        home.journal().join("kept").display()
    );
    home.write_with_caps(options.unbounded.then_some(100_000), "24h", "network", &rest)?;
    let mut daemon = Running::start(home.command(&binary)?)?;
    daemon.wait_listening(home.listen, SETTLES)?;
    let load = Load::new(home.listen, body);
    let mut laws = Laws { broken: 0 };
    let sockets = options.sockets.min(files_most()?.saturating_sub(OWN_FILES));
    println!("network: {sockets} stuck sockets from {ADDRESSES} addresses, {} s", options.seconds);
    stuck(sockets, Duration::from_secs(options.seconds), &home, &daemon, &load, &mut laws)?;
    if options.unbounded {
        println!("{}", if laws.broken > 0 { "control: stuck sockets are seen" } else { "FAILED: stuck sockets were not seen" });
        return Ok(laws.broken > 0);
    }
    patience(home.listen, &mut laws)?;
    let odd = requests(home.listen, &mut laws)?;
    resets(home.listen)?;
    if let Some(status) = daemon.ended() {
        bail!("the daemon ended by itself ({status}); its log ends with\n{}", home.log_tail());
    }
    judge(&home, &daemon, load.answered(), odd, &mut laws)?;
    println!("{}", if laws.broken == 0 { "lost: 0" } else { "FAILED" });
    if laws.broken > 0 {
        keep(scratch);
    }
    Ok(laws.broken == 0)
}

/// How many are broken.
struct Laws {
    broken: usize,
}

impl Laws {
    fn law(&mut self, holds: bool, what: &str) {
        println!("  {}  {what}", if holds { "      " } else { "BROKEN" });
        self.broken += usize::from(!holds);
    }
}

/// How many files this process may have open, from now on as many as the system lets it.
fn files_most() -> anyhow::Result<usize> {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?;
    Ok(most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX)))
}

/// The good sender alone, then beside stuck sockets.
fn stuck(sockets: usize, lasting: Duration, home: &Home, daemon: &Running, load: &Load, laws: &mut Laws) -> anyhow::Result<()> {
    let alone = good(load, lasting)?;
    laws.law(true, &format!("alone: answers {}, over connections of their own {}", alone.0, alone.1));
    let (over, opened, peak) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let (beside, rss) = std::thread::scope(|scope| {
        let holders: Vec<_> = (0..HOLDERS)
            .map(|nth| {
                let (over, opened) = (&over, &opened);
                scope.spawn(move || hold(home.listen, sockets / HOLDERS, nth, over, opened))
            })
            .collect();
        scope.spawn(|| watch(daemon.pid(), &over, &peak));
        let full = process::wait_for(SETTLES, || (opened.load(Relaxed) >= (sockets / HOLDERS * HOLDERS) as u64).then_some(()));
        let beside = full
            .with_context(|| format!("only {} stuck sockets could be opened", opened.load(Relaxed)))
            .and_then(|()| calm(|| good(load, lasting), |beside| beside.0.bears(alone.0, NOISE) && beside.1.bears(alone.1, NOISE)));
        let rss = process::rss_kib(daemon.pid());
        over.store(true, Relaxed);
        for holder in holders {
            holder.join().unwrap_or_else(|_| bail!("a holder ended"))?;
        }
        anyhow::Ok((beside?, rss? >> 10))
    })?;
    laws.law(beside.0.bears(alone.0, NOISE), &format!("beside {} stuck ones: answers {}", opened.load(Relaxed), beside.0));
    laws.law(beside.1.bears(alone.1, NOISE), &format!("over connections of their own {}", beside.1));
    let files = peak.load(Relaxed) as usize;
    laws.law(rss <= RSS_MOST_MIB && files <= FILES_MOST, &format!("memory {rss} MiB, at most {files} descriptors"));
    let back = process::wait_for(SETTLES, || process::files(daemon.pid()).ok().filter(|files| *files < 150));
    laws.law(back.is_some(), &format!("descriptors when they are gone: {}", process::files(daemon.pid())?));
    Ok(())
}

/// The good sender: how long answers took over connections that stay, and over one of their own for each event.
fn good(load: &Load, lasting: Duration) -> anyhow::Result<(Took, Took)> {
    std::thread::scope(|scope| {
        let fresh = scope.spawn(|| {
            let (began, mut took) = (process::now(), vec![]);
            while began.elapsed() < lasting {
                let due = began + Duration::from_secs(1) / FRESH * took.len() as u32;
                std::thread::sleep(due.saturating_duration_since(process::now()));
                load.one()?;
                took.push(due.elapsed());
            }
            anyhow::Ok(Took::of(took))
        });
        let stays = load.paced(RATE, lasting, |_, _| {});
        Ok((stays?, fresh.join().unwrap_or_else(|_| bail!("a sender ended"))?))
    })
}

/// What a stuck socket says at first; then a byte now and then.
fn begins(kind: usize) -> &'static [u8] {
    match kind % 3 {
        0 => b"",
        1 => b"POST /bench HTTP/1.1\r\nHost: a\r\nX-A: ",
        _ => b"POST /bench HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n",
    }
}

/// Holds so many sockets stuck, and opens others for those that are closed.
fn hold(listen: SocketAddr, sockets: usize, holder: usize, over: &AtomicBool, opened: &AtomicU64) -> anyhow::Result<()> {
    let mut held: Vec<Option<TcpStream>> = Vec::new();
    held.resize_with(sockets, || None);
    let mut left = sockets;
    while !over.load(Relaxed) {
        let began = process::now();
        for (nth, slot) in held.iter_mut().enumerate() {
            if over.load(Relaxed) {
                break;
            }
            let number = nth * HOLDERS + holder;
            let lives = slot.as_mut().is_some_and(|stream| nth % 3 == 0 && silent(stream) || nth % 3 != 0 && drip(stream));
            if !lives && left > 0 {
                left -= 1;
                *slot = open((number % usize::from(ADDRESSES)) as u8, listen).ok();
                if let Some(stream) = slot {
                    opened.fetch_add(1, Relaxed);
                    let _ = stream.write_all(begins(nth));
                    stream.set_nonblocking(true)?;
                }
            }
        }
        left = ANEW;
        std::thread::sleep(Duration::from_secs(1).saturating_sub(began.elapsed()));
    }
    Ok(())
}

/// Whether it is open: nothing was said and nothing came.
fn silent(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 64]), Err(why) if why.kind() == ErrorKind::WouldBlock)
}

fn drip(stream: &mut TcpStream) -> bool {
    silent(stream) && stream.write_all(b"a").is_ok()
}

/// A connection from one of the loopback network's addresses.
fn open(address: u8, listen: SocketAddr) -> anyhow::Result<TcpStream> {
    let opened = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&opened, &SocketAddr::from(([127, 9, address, 1], 0)))?;
    connect(&opened, &listen)?;
    Ok(TcpStream::from(opened))
}

/// The most descriptors that the daemon had at once.
fn watch(pid: u32, over: &AtomicBool, peak: &AtomicU64) {
    while !over.load(Relaxed) {
        peak.fetch_max(process::files(pid).unwrap_or(0) as u64, Relaxed);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A stuck socket that nobody pushes out is closed in time too.
fn patience(listen: SocketAddr, laws: &mut Laws) -> anyhow::Result<()> {
    let mut streams = (0..3)
        .map(|kind| {
            let mut stream = open(kind, listen)?;
            stream.write_all(begins(kind.into()))?;
            stream.set_nonblocking(true)?;
            Ok((kind, stream, None))
        })
        .collect::<anyhow::Result<Vec<(u8, TcpStream, Option<Duration>)>>>()?;
    let began = process::now();
    process::wait_for(ANSWERS, || {
        for (kind, stream, gone) in &mut streams {
            if gone.is_none() && !(if *kind == 0 { silent(stream) } else { drip(stream) }) {
                *gone = Some(began.elapsed());
            }
        }
        std::thread::sleep(Duration::from_millis(200));
        streams.iter().all(|(.., gone)| gone.is_some()).then_some(())
    });
    for ((.., gone), what) in streams.iter().zip(["no byte", "a byte of a head now and then", "a byte of a body now and then"]) {
        let said = gone.map_or("stays".to_owned(), |gone| format!("ended after {:.0} s", gone.as_secs_f64()));
        laws.law(gone.is_some(), &format!("{what}: {said}"));
    }
    Ok(())
}

/// Every request of the lists; how many events the right ones are.
fn requests(listen: SocketAddr, laws: &mut Laws) -> anyhow::Result<u64> {
    let ambiguous = hostile::ambiguous();
    let mut wrong = vec![];
    for (name, bytes) in &ambiguous {
        let (said, closed) = say(listen, bytes, Manner::Whole)?;
        let answers = statuses(&said);
        if !closed || answers.len() > 1 || answers.iter().any(|status| !status.starts_with('4')) {
            wrong.push(format!("{name}: {answers:?}, {}", if closed { "closed" } else { "left open" }));
        }
    }
    laws.law(
        wrong.is_empty(),
        &format!("{} ambiguous requests are refused, and nothing behind them served {}", ambiguous.len(), wrong.join("; ")),
    );
    let mut events = 0;
    for (name, bytes, manner, count) in hostile::odd() {
        let (said, closed) = say(listen, &bytes, manner)?;
        let answers: Vec<_> = statuses(&said).into_iter().filter(|status| *status != "100").collect();
        let taken = answers.len() == count && answers.iter().all(|status| *status == "200");
        laws.law(taken && closed, &format!("odd and right, {name}: {} answers", answers.len()));
        events += count as u64;
    }
    Ok(events)
}

/// Sends, and reads until the other side closes; whether it did.
fn say(listen: SocketAddr, bytes: &[u8], manner: Manner) -> anyhow::Result<(String, bool)> {
    let mut stream = TcpStream::connect(listen)?;
    stream.set_nodelay(true)?;
    // Who is refused while it sends may meet a closed door.
    match manner {
        Manner::Dripped => bytes.iter().for_each(|byte| drop(stream.write_all(&[*byte]))),
        Manner::Whole | Manner::HalfClosed => drop(stream.write_all(bytes)),
    }
    if manner == Manner::HalfClosed {
        stream.shutdown(Shutdown::Write)?;
    }
    let (until, mut said) = (process::now() + ANSWERS, vec![]);
    let closed = loop {
        stream.set_read_timeout(Some(until.saturating_duration_since(process::now()).max(Duration::from_millis(1))))?;
        let mut some = [0; 4096];
        match stream.read(&mut some) {
            Ok(0) => break true,
            Ok(count) => said.extend_from_slice(&some[..count]),
            Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break false,
            Err(_) => break true,
        }
    };
    Ok((String::from_utf8_lossy(&said).into_owned(), closed))
}

fn statuses(said: &str) -> Vec<&str> {
    said.split("HTTP/1.1 ").skip(1).chain(said.split("HTTP/1.0 ").skip(1)).filter_map(|answer| answer.get(..3)).collect()
}

/// Connections that are reset as soon as their request is sent.
fn resets(listen: SocketAddr) -> anyhow::Result<()> {
    for (_, bytes, manner, _) in hostile::odd().iter().cycle().filter(|(_, _, manner, _)| *manner == Manner::Whole).take(RESETS as usize) {
        debug_assert_eq!(*manner, Manner::Whole);
        let mut stream = TcpStream::connect(listen)?;
        let _ = stream.write_all(bytes);
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
    }
    Ok(())
}

/// What is kept is what was answered: each good one, each odd one once, and nothing that was smuggled.
fn judge(home: &Home, daemon: &Running, answered: u64, odd: u64, laws: &mut Laws) -> anyhow::Result<()> {
    let kept = |topic: &str| -> anyhow::Result<u64> {
        let listed = home.api(&format!("/api/events?topic={topic}&limit=500"))?;
        Ok(listed["events"].as_array().map_or(0, Vec::len) as u64)
    };
    let (smuggled, found) = (kept(SMUGGLED)?, kept(ODD)?);
    laws.law(smuggled == 0, &format!("{smuggled} smuggled events are kept"));
    laws.law(found == odd, &format!("{found} of {odd} odd events are kept, each once"));
    let settled = process::wait_for(SETTLES, || {
        home.api("/api/audit").ok().filter(|audit| audit["open"] == 0 && audit["waiting"] == 0 && audit["delivered"] == answered + odd)
    });
    let audit = settled.map_or_else(|| home.api("/api/audit"), Ok)?;
    laws.law(audit["lost"] == 0 && audit["delivered"] == answered + odd, &format!("{answered} good ones answered, audit {audit}"));
    laws.law(
        process::rss_kib(daemon.pid())? >> 10 <= RSS_MOST_MIB,
        &format!("memory {} MiB in the end", process::rss_kib(daemon.pid())? >> 10),
    );
    Ok(())
}

fn body(number: u64) -> Vec<u8> {
    format!(r#"{{"number":{number},"total":10,"note":"made up"}}"#).into_bytes()
}
