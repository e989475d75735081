//! One writer thread and group commit: take what waits, write it, make it durable, then answer each.
//!
//! The store is SQLite as the daemon uses it: WAL, synchronous=FULL, a small inline checkpoint, rows in arrival order, nothing keyed by a
//! random value on the way in, a delivery written once with its outcome, recent ids as hashes in memory.
//! Never waits on a timer when something waits to be answered; settlements ride along, alone they gather for up to [`SETTLE_WAIT`].

use bytes::Bytes;
use foldhash::HashSet;
use rusqlite::{Connection, params};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Most events of one commit.
const BATCH_MAX: usize = 1000;
/// How long settlements wait for an append to ride with.
const SETTLE_WAIT: Duration = Duration::from_millis(20);
/// Appends on their way to the writer; one a connection waits, so more connections than this would block.
const QUEUE_MAX: usize = 16_384;

const SCHEMA: &str = "
    PRAGMA page_size=4096; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=250;
    PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY;
    CREATE TABLE events(seq INTEGER PRIMARY KEY, id BLOB NOT NULL, source INTEGER NOT NULL, topic TEXT NOT NULL,
        received_at INTEGER NOT NULL, headers BLOB NOT NULL, body BLOB NOT NULL, dedupe BLOB NOT NULL) STRICT;
    CREATE INDEX events_dedupe ON events(received_at, dedupe);
    CREATE TABLE deliveries(event INTEGER NOT NULL, output INTEGER NOT NULL, state INTEGER NOT NULL, due_at INTEGER,
        attempts INTEGER NOT NULL, detail INTEGER, PRIMARY KEY(event, output)) WITHOUT ROWID, STRICT;
    CREATE INDEX deliveries_due ON deliveries(output, due_at) WHERE state = 0;";
const INSERT_EVENT: &str = "INSERT INTO events(seq, id, source, topic, received_at, headers, body, dedupe) VALUES(?, ?, 1, ?, ?, ?, ?, ?)";
const INSERT_DELIVERY: &str = "INSERT INTO deliveries(event, output, state, attempts, detail) VALUES(?, ?, 1, 1, ?)";

/// A verified request.
pub struct Event {
    /// Its place; the writer says it.
    pub seq: i64,
    pub id: [u8; 16],
    pub topic: String,
    pub headers: Vec<u8>,
    pub body: Bytes,
    /// When the sender sent it; 0 if it did not say.
    pub sent_ns: u64,
}

/// An event that an output took.
pub struct Settled {
    pub seq: i64,
    pub output: u32,
    pub status: u16,
}

/// Who hears of each new event once it is durable.
pub type Kept = Box<dyn Fn(Arc<Event>) + Send>;

/// What was done so far.
#[derive(Default)]
pub struct Counts {
    pub accepted: AtomicU64,
    pub duplicates: AtomicU64,
    pub commits: AtomicU64,
    pub settled: AtomicU64,
}

struct Append {
    event: Event,
    reply: oneshot::Sender<()>,
}

/// The way to the writer.
pub struct Journal {
    appends: mpsc::SyncSender<Append>,
    settled: Arc<Mutex<Vec<Settled>>>,
    pub counts: Arc<Counts>,
}

impl Journal {
    /// Makes a fresh journal in a folder and starts its writer. A writer that fails ends the process.
    pub fn start(dir: &Path, kept: Option<Kept>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let store = Store::open(&dir.join("journal.db"))?;
        let (appends, incoming) = mpsc::sync_channel(QUEUE_MAX);
        let (settled, counts) = (Arc::new(Mutex::new(vec![])), Arc::new(Counts::default()));
        let writer = Writer { store, incoming, settled: settled.clone(), counts: counts.clone(), kept };
        std::thread::Builder::new().name("journal".into()).spawn(move || {
            if let Err(error) = writer.run() {
                eprintln!("floor: the journal failed: {error}");
                std::process::exit(74);
            }
        })?;
        Ok(Journal { appends, settled, counts })
    }

    /// Returns once the event is durable.
    pub async fn append(&self, event: Event) {
        let (reply, durable) = oneshot::channel();
        let _ = self.appends.send(Append { event, reply });
        let _ = durable.await;
    }

    /// Notes an outcome for the next commit.
    pub fn settle(&self, settled: Settled) {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).push(settled);
    }
}

struct Writer {
    store: Store,
    incoming: mpsc::Receiver<Append>,
    settled: Arc<Mutex<Vec<Settled>>>,
    counts: Arc<Counts>,
    kept: Option<Kept>,
}

impl Writer {
    fn run(mut self) -> rusqlite::Result<()> {
        let (mut batch, mut seq, mut last_commit) = (Vec::with_capacity(BATCH_MAX), 0, Instant::now());
        loop {
            match self.incoming.recv_timeout(SETTLE_WAIT) {
                Ok(append) => batch.push(append),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
            }
            batch.extend(self.incoming.try_iter().take(BATCH_MAX - 1));
            for append in &mut batch {
                seq += 1;
                append.event.seq = seq;
            }
            let settled = if !batch.is_empty() || last_commit.elapsed() >= SETTLE_WAIT { self.take_settled() } else { vec![] };
            if batch.is_empty() && settled.is_empty() {
                continue;
            }
            let fresh = self.store.commit(&batch, &settled)?;
            last_commit = Instant::now();
            self.counts.commits.fetch_add(1, Relaxed);
            self.counts.accepted.fetch_add(batch.len() as u64, Relaxed);
            self.counts.settled.fetch_add(settled.len() as u64, Relaxed);
            for (append, new) in batch.drain(..).zip(fresh) {
                self.answer(append, new);
            }
        }
    }

    fn take_settled(&self) -> Vec<Settled> {
        std::mem::take(&mut *self.settled.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn answer(&self, append: Append, new: bool) {
        let _ = append.reply.send(());
        match &self.kept {
            Some(kept) if new => kept(Arc::new(append.event)),
            _ if new => {}
            _ => {
                self.counts.duplicates.fetch_add(1, Relaxed);
            }
        }
    }
}

struct Store {
    db: Connection,
    seen: HashSet<u64>,
}

impl Store {
    fn open(path: &Path) -> anyhow::Result<Self> {
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
        }
        let db = Connection::open(path)?;
        db.execute_batch(SCHEMA)?;
        Ok(Store { db, seen: HashSet::default() })
    }

    /// Makes a batch durable in one commit; says of each append whether it was new.
    fn commit(&mut self, batch: &[Append], settled: &[Settled]) -> rusqlite::Result<Vec<bool>> {
        let transaction = self.db.transaction()?;
        let mut fresh = Vec::with_capacity(batch.len());
        {
            let mut insert = transaction.prepare_cached(INSERT_EVENT)?;
            for Append { event, .. } in batch {
                let (_, tail) = event.id.split_at(8);
                let new = self.seen.insert(tail.iter().fold(0, |hash, byte| hash << 8 | u64::from(*byte)));
                if new {
                    let received_ms = (event.sent_ns / 1_000_000) as i64;
                    insert.execute(params![event.seq, &event.id[..], event.topic, received_ms, event.headers, &event.body[..], tail])?;
                }
                fresh.push(new);
            }
            let mut insert = transaction.prepare_cached(INSERT_DELIVERY)?;
            for one in settled {
                insert.execute(params![one.seq, one.output, one.status])?;
            }
        }
        transaction.commit()?;
        Ok(fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: u8) -> Event {
        Event { seq: 0, id: [id; 16], topic: "T".into(), headers: b"a:b\n".to_vec(), body: Bytes::from_static(b"{}"), sent_ns: 5_000_000 }
    }

    #[tokio::test]
    async fn an_event_is_durable_when_append_returns_and_a_repeat_is_no_second_row() {
        let dir = tempfile::tempdir().unwrap();
        let (sender, kept) = mpsc::channel();
        let journal = Journal::start(dir.path(), Some(Box::new(move |event| sender.send(event.seq).unwrap()))).unwrap();
        for id in [1, 2, 1] {
            journal.append(event(id)).await;
        }
        journal.settle(Settled { seq: 1, output: 0, status: 200 });
        while journal.counts.settled.load(Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let reader = Connection::open(dir.path().join("journal.db")).unwrap();
        let count = |table| reader.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!((count("events"), count("deliveries")), (2, 1));
        assert_eq!(journal.counts.duplicates.load(Relaxed), 1);
        assert_eq!(kept.try_iter().collect::<Vec<_>>(), [1, 2]);
    }
}
