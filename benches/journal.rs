//! What does the journal cost beside the bare SQLite writes that it cannot do without?
//!
//! Events of 1 KiB, each with one settlement, so many a commit: the store, and a bare program with the same rows but no
//! plan, no checksum and no names, in turns in one run. Then the whole writer with 64 senders at once. Figures are medians of
//! rounds; compare only within a run.
//!
//! `cargo bench --profile fast --bench journal [SECONDS A ROUND]`

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use switchyard::journal::store::{Append, Batch, Store, Tend};
use switchyard::journal::{Journal, Retain, Settings, SqliteStore};
use switchyard::model::{
    Clock, Dedupe, DeliveryKey, DeliveryRow, Event, EventId, Headers, Plan, Seq, Settlement, State, SystemClock, Target, Timestamp,
};

type Failed = Box<dyn std::error::Error>;

const BATCHES: [usize; 4] = [1, 10, 100, 1_000];
const ROUNDS: usize = 5;
const WINDOW: Duration = Duration::from_hours(72);
const RETAIN: Retain = Retain { delivered: WINDOW, dead: WINDOW, max_bytes: None };

fn main() -> Result<(), Failed> {
    let seconds = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(1.0);
    let round = Duration::from_secs_f64(seconds);
    println!(
        "{:>22} {:>12} {:>14} {:>12} {:>14} {:>9} {:>9}",
        "a commit", "rows/s", "CPU µs/row", "bare rows/s", "CPU µs/row", "rate", "CPU"
    );
    for batch in BATCHES {
        let (mut ours, mut bare) = (vec![], vec![]);
        for _ in 0..ROUNDS {
            ours.push(in_a_folder(|file| store_round(file, batch, round))?);
            bare.push(in_a_folder(|file| bare_round(file, batch, round))?);
        }
        line(&format!("{batch} events"), median(ours), median(bare));
    }
    let (mut ours, mut bare) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        ours.push(in_a_folder(|file| writer_round(file, round))?);
        bare.push(in_a_folder(|file| bare_writer_round(file, round))?);
    }
    line("writer, 64 senders", median(ours), median(bare));
    Ok(())
}

/// Rows a second and CPU microseconds a row.
#[derive(Clone, Copy)]
struct Figure {
    rate: f64,
    cpu: f64,
}

fn median(mut figures: Vec<Figure>) -> Figure {
    let middle = figures.len() / 2;
    figures.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let rate = figures[middle].rate;
    figures.sort_by(|a, b| a.cpu.total_cmp(&b.cpu));
    Figure { rate, cpu: figures[middle].cpu }
}

fn line(what: &str, ours: Figure, bare: Figure) {
    let (rate, cpu) = (ours.rate / bare.rate * 100.0, ours.cpu / bare.cpu);
    println!("{what:>22} {:>12.0} {:>14.2} {:>12.0} {:>14.2} {rate:>8.0}% {cpu:>8.2}x", ours.rate, ours.cpu, bare.rate, bare.cpu);
}

fn in_a_folder(run: impl FnOnce(&Path) -> Result<Figure, Failed>) -> Result<Figure, Failed> {
    let folder = tempfile::tempdir_in(std::env::current_dir()?)?;
    run(&folder.path().join("journal.db"))
}

/// Runs `commit` (which says how many rows it wrote) at least once and until the time is over.
fn measure(round: Duration, mut commit: impl FnMut() -> Result<usize, Failed>) -> Result<Figure, Failed> {
    let clock = SystemClock::default();
    let cpu = cpu_seconds()?;
    let (mut rows, start) = (0, clock.now());
    loop {
        rows += commit()?;
        if clock.now().since(start) >= round {
            break;
        }
    }
    let took = clock.now().since(start).as_secs_f64();
    Ok(Figure { rate: rows as f64 / took, cpu: (cpu_seconds()? - cpu) * 1e6 / rows as f64 })
}

fn cpu_seconds() -> Result<f64, Failed> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = after_name.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<f64>().ok()).sum();
    Ok(ticks / 100.0)
}

fn event(nth: u64, at: Timestamp, body: &bytes::Bytes) -> Event {
    let mut headers = Headers::with_capacity(128);
    for (name, value) in [("content-type", "application/json"), ("user-agent", "bench/1"), ("x-orderchamp-topic", "ORDER_CREATED")] {
        headers.push(name, value.as_bytes());
    }
    let mut id = [0; 16];
    id[..6].copy_from_slice(&at.0.to_be_bytes()[2..]);
    id[8..].copy_from_slice(&nth.to_be_bytes());
    Event {
        id: EventId(id),
        source: "orderchamp".into(),
        topic: "ORDER_CREATED".into(),
        received_at: at,
        headers,
        query: "".into(),
        body: body.clone(),
        sender_id: Some(nth.to_string().into()),
        signed_with: None,
    }
}

fn settlement(seq: i64, target: &Arc<Target>, at: Timestamp) -> Settlement {
    let key = DeliveryKey { seq: Seq(seq), target: Arc::clone(target), ordinal: 0 };
    let row = DeliveryRow {
        key,
        state: State::Delivered,
        due_at: None,
        attempts: 1,
        replays: 0,
        detail: "200".into(),
        message: None,
        updated_at: at,
    };
    Settlement { row, closes: true, order: None, on_dead: false }
}

fn store_round(file: &Path, size: usize, round: Duration) -> Result<Figure, Failed> {
    let clock = SystemClock::default();
    let mut store = SqliteStore::open(file, WINDOW, clock.wall())?;
    let target = Arc::new(Target { route: "big-orders".into(), output: "chat".into() });
    let body = bytes::Bytes::from(vec![b'x'; 1_024]);
    let mut next = 1i64;
    measure(round, || {
        let now = clock.wall();
        let first = next;
        next += size as i64;
        let appends = (first..next).map(|nth| {
            let event = event(nth as u64, now, &body);
            // A hash of its own, as ingest makes it before the writer.
            let dedupe = Some(Dedupe { key: (nth as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15), window: WINDOW, released: false, but: &[] });
            Append { event, plan: Plan { targets: vec![Arc::clone(&target)], ..Plan::default() }, dedupe }
        });
        let settlements = (first - size as i64..first).filter(|seq| *seq > 0).map(|seq| settlement(seq, &target, now)).collect();
        let batch = Batch { appends: appends.collect(), settlements, watermark: Some(Seq(first)), at: now };
        store.commit(&batch)?;
        store.tend(Tend::Busy)?;
        Ok(size)
    })
}

fn bare_open(file: &Path) -> Result<rusqlite::Connection, Failed> {
    let db = rusqlite::Connection::open(file)?;
    db.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=250; PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY;
        CREATE TABLE events(seq INTEGER PRIMARY KEY, id BLOB NOT NULL, source INTEGER NOT NULL, topic TEXT NOT NULL, received_at INTEGER NOT NULL,
            headers BLOB NOT NULL, body BLOB NOT NULL, dedupe BLOB NOT NULL) STRICT;
        CREATE INDEX events_dedupe ON events(received_at, dedupe);
        CREATE TABLE deliveries(event INTEGER NOT NULL, output INTEGER NOT NULL, state INTEGER NOT NULL, due_at INTEGER, attempts INTEGER NOT NULL,
            detail INTEGER, PRIMARY KEY(event, output)) WITHOUT ROWID, STRICT;
        CREATE INDEX deliveries_due ON deliveries(output, due_at) WHERE state = 0;",
    )?;
    Ok(db)
}

fn bare_commit(db: &mut rusqlite::Connection, seen: &mut HashSet<u64>, events: &[(i64, Event)], settled: &[i64]) -> Result<(), Failed> {
    let transaction = db.transaction()?;
    {
        let mut insert = transaction.prepare_cached(
            "INSERT INTO events(seq, id, source, topic, received_at, headers, body, dedupe) VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
        )?;
        for (seq, event) in events {
            if seen.insert(*seq as u64) {
                let id = &event.id.0[..];
                insert.execute(rusqlite::params![
                    seq,
                    id,
                    1,
                    &*event.topic,
                    event.received_at.0,
                    event.headers.as_bytes(),
                    &event.body[..],
                    &id[8..]
                ])?;
            }
        }
        let mut settle =
            transaction.prepare_cached("INSERT INTO deliveries(event, output, state, attempts, detail) VALUES(?, ?, 1, 1, ?)")?;
        for seq in settled {
            settle.execute(rusqlite::params![seq, 1, 200])?;
        }
    }
    Ok(transaction.commit()?)
}

fn bare_round(file: &Path, size: usize, round: Duration) -> Result<Figure, Failed> {
    let mut db = bare_open(file)?;
    let clock = SystemClock::default();
    let body = bytes::Bytes::from(vec![b'x'; 1_024]);
    let (mut next, mut seen) = (1i64, HashSet::new());
    measure(round, || {
        let (now, first) = (clock.wall(), next);
        next += size as i64;
        let events: Vec<_> = (first..next).map(|nth| (nth, event(nth as u64, now, &body))).collect();
        let settled: Vec<_> = (first - size as i64..first).filter(|seq| *seq > 0).collect();
        bare_commit(&mut db, &mut seen, &events, &settled)?;
        Ok(size)
    })
}

/// 64 senders that each wait for their answer, on two threads, as in front of a daemon.
fn senders<F: Future<Output = bool> + Send + 'static>(
    round: Duration,
    append: impl Fn(Event) -> F + Clone + Send + 'static,
) -> Result<Figure, Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
    let body = bytes::Bytes::from(vec![b'x'; 1_024]);
    measure(Duration::ZERO, || {
        let stop = Arc::new(AtomicBool::new(false));
        let tasks: Vec<_> = (0..64u64)
            .map(|sender| {
                let (append, body, stop) = (append.clone(), body.clone(), Arc::clone(&stop));
                runtime.spawn(async move {
                    let clock = SystemClock::default();
                    let mut kept = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let event = event(sender << 32 | kept as u64, clock.wall(), &body);
                        kept += usize::from(append(event).await);
                    }
                    kept
                })
            })
            .collect();
        runtime.block_on(async {
            tokio::time::sleep(round).await;
            stop.store(true, Ordering::Relaxed);
            let mut rows = 0;
            for task in tasks {
                rows += task.await?;
            }
            Ok(rows)
        })
    })
}

fn writer_round(file: &Path, round: Duration) -> Result<Figure, Failed> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let store = SqliteStore::open(file, WINDOW, clock.wall())?;
    let target = Arc::new(Target { route: "big-orders".into(), output: "chat".into() });
    // What is kept is settled at once, as by an output that never fails.
    let (kept, keeps) = std::sync::mpsc::channel::<i64>();
    let on_kept = Box::new(move |event: Arc<switchyard::model::Kept>| {
        let _ = kept.send(event.seq.0);
    });
    let (journal, _) = Journal::start(Box::new(store), Settings { retain: RETAIN, clock, on_kept })?;
    let (settles, of) = (journal.clone(), Arc::clone(&target));
    let thread = std::thread::spawn(move || {
        while let Ok(first) = keeps.recv() {
            let settlements =
                std::iter::once(first).chain(keeps.try_iter().take(255)).map(|seq| settlement(seq, &of, Timestamp(0))).collect();
            settles.settle(settlements, Box::new(|_| {}));
        }
    });
    let appends = journal.clone();
    let figure = senders(round, move |event| {
        let dedupe = Some(Dedupe {
            key: u64::from_be_bytes(event.id.0[8..].try_into().unwrap_or_default()),
            window: WINDOW,
            released: false,
            but: &[],
        });
        let append = appends.append(event, Plan { targets: vec![Arc::clone(&target)], ..Plan::default() }, dedupe);
        async move { append.await.is_ok() }
    })?;
    tokio::runtime::Builder::new_current_thread().build()?.block_on(journal.close()).map_err(|fault| fault.message)?;
    drop(thread.join());
    Ok(figure)
}

fn bare_writer_round(file: &Path, round: Duration) -> Result<Figure, Failed> {
    let mut db = bare_open(file)?;
    let (sender, receiver) = std::sync::mpsc::channel::<(Event, tokio::sync::oneshot::Sender<()>)>();
    let (done, settles) = std::sync::mpsc::channel::<i64>();
    let (settled, dones) = std::sync::mpsc::channel::<i64>();
    let settler = std::thread::spawn(move || {
        for seq in settles {
            let _ = settled.send(seq);
        }
    });
    let thread = std::thread::spawn(move || {
        let (mut next, mut seen) = (1, HashSet::new());
        while let Ok(first) = receiver.recv() {
            let (mut events, mut answers) = (vec![], vec![]);
            for (event, answer) in std::iter::once(first).chain(receiver.try_iter().take(999)) {
                events.push((next, event));
                answers.push(answer);
                next += 1;
            }
            let settled: Vec<_> = dones.try_iter().collect();
            if bare_commit(&mut db, &mut seen, &events, &settled).is_err() {
                return;
            }
            for answer in answers {
                let _ = answer.send(());
            }
            for (seq, event) in events {
                let _ = (done.send(seq), Arc::new(event));
            }
        }
    });
    let figure = senders(round, move |event| {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let sent = sender.send((event, answer)).is_ok();
        async move { sent && answered.await.is_ok() }
    })?;
    drop((thread.join(), settler.join()));
    Ok(figure)
}
