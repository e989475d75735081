//! The ground both tortures play on: a home for the daemon, a sender, the outputs' other sides, the ledger; and how it ends.

use crate::daemon::{Home, Output, Route, Running};
use crate::process;
use crate::torture::far_side::FarSides;
use crate::torture::ledger::{Ledger, ORDERED_BELOW, OUTPUTS, SOON_FROM, STRICT_ABOVE, Verdict};
use crate::torture::sender::Sender;
use anyhow::{Context, bail};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// Between two events of one connection: some 500 to 600 events a second in all.
const PACE: Duration = Duration::from_millis(12);
/// A life whose first answer takes longer is a failure.
const FIRST_ANSWER: Duration = Duration::from_secs(15);
/// In the end, this long without one more delivery means that no more will come; where the daemon says that nothing waits, sooner.
const NO_PROGRESS: Duration = Duration::from_secs(20);
const NOTHING_WAITS: Duration = Duration::from_secs(3);
/// A stop that takes longer is a failure.
const STOP: Duration = Duration::from_secs(20);
/// Kept so short that retention has work to do, and longer than the sender needs to repeat what was not answered.
const KEEP: &str = "30s";
/// `flaky` in files of even and odd versions: tried again soon and often enough that its bad days end no delivery.
const FLAKY_EVEN: &str = "retry: { schedule: [100ms, 200ms, 500ms, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s] }\nconcurrency: 16";
const FLAKY_ODD: &str = "retry: { schedule: [100ms, 200ms, 500ms, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s] }\nconcurrency: 8";

/// `ordered`: tried again soon, and never given up before the good days.
const ORDERED: &str =
    "order_by: { key: \"{{ data.key }}\" }\nretry: { schedule: [50ms, 100ms, 200ms, 500ms, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s] }";

/// Everything but the daemon.
pub struct Yard {
    pub home: Home,
    pub ledger: Arc<Ledger>,
    far_sides: FarSides,
    sender: Sender,
}

/// How it ended.
pub struct End {
    pub verdict: Verdict,
    /// What the daemon's own audit says.
    pub audit: serde_json::Value,
    /// What the database's own check says.
    pub integrity: String,
}

impl Yard {
    /// Writes the file and starts to send.
    pub fn new(folder: PathBuf) -> anyhow::Result<Self> {
        let (home, ledger) = (Home::new(folder)?, Arc::new(Ledger::default()));
        let far_sides = FarSides::start(&ledger)?;
        let sender = Sender::start(home.listen, ledger.clone(), PACE);
        let yard = Yard { home, ledger, far_sides, sender };
        yard.write_file(0, false)?;
        Ok(yard)
    }

    /// Writes the daemon's file anew, so that a reload finds a changed output, and perhaps a guest.
    pub fn write_file(&self, version: usize, guest: bool) -> anyhow::Result<()> {
        let everything = Route { name: "everything", total_above: None, total_below: None, to: &["steady", "flaky"] };
        let routes = [
            Route { name: "big", total_above: Some(STRICT_ABOVE), to: &["strict"], ..everything },
            Route { name: "slow", total_below: Some(SOON_FROM), to: &["later"], ..everything },
            Route { name: "in-order", total_below: Some(ORDERED_BELOW), to: &["ordered"], ..everything },
            everything,
            Route { name: "visit", total_above: None, total_below: None, to: &["guest"] },
        ];
        let outputs = OUTPUTS.iter().zip(&self.far_sides.ports).map(|(name, port)| {
            let keys = match (*name, version.is_multiple_of(2)) {
                ("flaky" | "guest", true) => FLAKY_EVEN,
                ("flaky" | "guest", false) => FLAKY_ODD,
                ("ordered", _) => ORDERED,
                _ => "",
            };
            Output { name: (*name).to_owned(), at: format!("http://127.0.0.1:{port}"), keys }
        });
        let outputs = outputs.collect::<Vec<_>>();
        let without = usize::from(!guest);
        let (routes, outputs) = (&routes[..routes.len() - without], &outputs[..outputs.len() - without]);
        self.home.write_file(routes, outputs, KEEP, &format!("version {version}"))
    }

    /// The daemon ends by force, if it did not already.
    pub fn kill(&self, daemon: &mut Running) {
        daemon.kill();
        self.ledger.killed();
    }

    /// The daemon is asked to end, and does so in order.
    pub fn stop(&self, daemon: &mut Running) -> anyhow::Result<()> {
        daemon.signal(Signal::TERM);
        match daemon.wait(STOP) {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("SIGTERM ended the daemon with {status}; its log ends with\n{}", self.home.log_tail()),
            None => bail!("SIGTERM did not end the daemon within {STOP:?}; its log ends with\n{}", self.home.log_tail()),
        }
    }

    /// A new life. Gives the process and how many events were answered before.
    pub fn start(&self, command: Command) -> anyhow::Result<(Running, usize)> {
        self.ledger.begin_life();
        let before = self.ledger.answered_count();
        Ok((Running::start(command)?, before))
    }

    /// Waits for the first answer of a life; nothing if the life ended before.
    pub fn first_answer(&self, daemon: &mut Running, before: usize) -> anyhow::Result<Option<Duration>> {
        let start = process::now();
        let answered = process::wait_for(FIRST_ANSWER, || {
            if self.ledger.answered_count() > before {
                return Some(Some(start.elapsed()));
            }
            daemon.ended().map(|_| None)
        });
        answered.with_context(|| {
            format!("no event was answered within {FIRST_ANSWER:?} of a start; its log ends with\n{}", self.home.log_tail())
        })
    }

    /// Good days: everything that was sent is answered, everything that waits is delivered; then the daemon is asked and stopped.
    pub fn end(&self, binary: &Path) -> anyhow::Result<End> {
        let (daemon, _) = self.start(self.home.command(binary)?)?;
        self.end_of(daemon)
    }

    /// The same with a daemon that runs.
    pub fn end_of(&self, mut daemon: Running) -> anyhow::Result<End> {
        self.far_sides.recover();
        self.sender.finish();
        self.wait_settled(&mut daemon)?;
        let audit = self.home.api("/api/audit")?;
        self.stop(&mut daemon)?;
        Ok(End { verdict: self.ledger.verdict(), audit, integrity: integrity(&self.home.database())? })
    }

    fn wait_settled(&self, daemon: &mut Running) -> anyhow::Result<()> {
        let (mut least, mut since) = (usize::MAX, process::now());
        loop {
            if let Some(status) = daemon.ended() {
                bail!("the daemon ended by itself ({status}); its log ends with\n{}", self.home.log_tail());
            }
            let (missing, done) = (self.ledger.missing(), self.sender.is_done());
            if missing == 0 && done {
                return self.wait_written();
            }
            if missing < least || !done {
                (least, since) = (missing.min(least), process::now());
            }
            let silence = since.elapsed();
            if silence > NO_PROGRESS || (silence > NOTHING_WAITS && waiting(&self.home.api("/api/audit")?) == 0) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What the outputs took is in the journal too, a moment later.
    fn wait_written(&self) -> anyhow::Result<()> {
        let written = process::wait_for(NO_PROGRESS, || match self.home.api("/api/audit") {
            Ok(audit) => (waiting(&audit) == 0).then_some(Ok(())),
            Err(error) => Some(Err(error)),
        });
        written.unwrap_or(Ok(()))
    }
}

/// Deliveries that the daemon says are not over yet. None is held in the end: nobody pauses, and every output is in the file.
fn waiting(audit: &serde_json::Value) -> u64 {
    ["waiting", "open", "held"].iter().filter_map(|state| audit[*state].as_u64().or_else(|| audit["deliveries"][*state].as_u64())).sum()
}

fn integrity(database: &Path) -> anyhow::Result<String> {
    let db = rusqlite::Connection::open_with_flags(database, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    Ok(db.query_row("PRAGMA integrity_check", [], |row| row.get(0))?)
}

impl End {
    /// Whether nothing is lost: by the ledger, by the daemon's own count, and nothing is left waiting or damaged. Where retention
    /// deleted nothing, both count the same.
    pub fn is_clean(&self) -> bool {
        let count = |name: &str| self.audit[name].as_u64().and_then(|count| usize::try_from(count).ok());
        let counts_agree = count("events") != Some(self.verdict.answered) || count("planned") == Some(self.verdict.settled);
        self.verdict.is_clean()
            && counts_agree
            && self.audit["lost"].as_u64() == Some(0)
            && waiting(&self.audit) == 0
            && self.integrity == "ok"
    }

    /// For people, a line a fact.
    pub fn report(&self) -> String {
        format!("{}  audit       {}\n  integrity   {}\n", self.verdict.report(), self.audit, self.integrity)
    }
}
