//! A connected database: batches in, an outcome for each delivery out. The rows are said to be sent right before the commit:
//! until then nothing of them lasts, whatever happens.

use crate::fault::Fault;
use crate::job::{Done, Job, Scripts};
use crate::mysql::{self, Mysql};
use crate::postgres::{self, Postgres};
use crate::remote::{self, Remote};
use crate::session::Verdicts;
use crate::sqlite::{self, Sqlite};
use crate::statement::Script;
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::{CheckError, Outcome, Output, Parcel, Settle};
use tokio::time::{Instant, timeout_at};

/// Deliveries in one transaction.
pub const BATCH_MAX: usize = 100;

/// A database.
pub(crate) enum Database {
    Postgres(Box<Remote<Postgres>>),
    Mysql(Box<Remote<Mysql>>),
    Sqlite(Sqlite),
}

/// A transaction that waits for its commit.
enum Open {
    Postgres(remote::Open<postgres::Connection>),
    Mysql(remote::Open<mysql::Connection>),
    Sqlite(sqlite::Open),
}

impl Database {
    async fn work(&self, jobs: &Arc<[Job]>) -> Result<(Open, Verdicts), Fault> {
        Ok(match self {
            Database::Postgres(server) => server.work(jobs).await.map(|(open, verdicts)| (Open::Postgres(open), verdicts))?,
            Database::Mysql(server) => server.work(jobs).await.map(|(open, verdicts)| (Open::Mysql(open), verdicts))?,
            Database::Sqlite(file) => file.work(jobs).await.map(|(open, verdicts)| (Open::Sqlite(open), verdicts))?,
        })
    }

    async fn close(&self) {
        match self {
            Database::Postgres(server) => server.close().await,
            Database::Mysql(server) => server.close().await,
            Database::Sqlite(file) => file.close().await,
        }
    }
}

impl Open {
    async fn commit(self) -> Result<(), Fault> {
        match self {
            Open::Postgres(open) => open.commit().await,
            Open::Mysql(open) => open.commit().await,
            Open::Sqlite(open) => open.commit().await,
        }
    }

    async fn undo(self) {
        match self {
            Open::Postgres(open) => open.undo().await,
            Open::Mysql(open) => open.undo().await,
            Open::Sqlite(open) => open.undo().await,
        }
    }
}

/// A connected database.
pub struct SqlOutput {
    pub(crate) database: Database,
    pub(crate) scripts: Scripts,
    pub(crate) timeout: Duration,
}

impl std::fmt::Debug for SqlOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqlOutput")
    }
}

/// When an attempt gives up.
#[derive(Clone, Copy)]
struct Deadlines {
    work: Instant,
    /// Later: an answer to a commit is worth waiting for.
    commit: Instant,
}

/// The server refused to commit these, and said so: surely undone, and one of them may be why.
struct Refused(Vec<Job>, Fault);

impl SqlOutput {
    async fn attempt(&self, parcels: &[Parcel], settle: &Settle) {
        let now = Instant::now();
        let deadlines = Deadlines { work: now + self.timeout * 4 / 5, commit: now + self.timeout };
        let mut jobs = Vec::with_capacity(parcels.len());
        for parcel in parcels {
            match Job::new(parcel, &self.scripts) {
                Ok(job) => jobs.push(job),
                Err(why) => settle.settle(parcel.handle, Outcome::Rejected { why }),
            }
        }
        if jobs.is_empty() {
            return;
        }
        let mut queue = VecDeque::from([(Arc::<[Job]>::from(jobs), false)]);
        while let Some((jobs, sent)) = queue.pop_front() {
            match self.batch(&jobs, sent, settle, deadlines).await {
                // Only now it is known that it was refused (a deferred constraint): each by itself, to find out whose fault it is.
                Err(Refused(many, _)) if many.len() > 1 => queue.extend(many.into_iter().map(|job| (Arc::from([job]), true))),
                Err(Refused(one, fault)) => all(&one, settle, &fault.before_commit()),
                Ok(()) => {}
            }
        }
    }

    async fn batch(&self, jobs: &Arc<[Job]>, sent: bool, settle: &Settle, deadlines: Deadlines) -> Result<(), Refused> {
        let (open, verdicts) = match timeout_at(deadlines.work, self.database.work(jobs)).await {
            Ok(Ok(worked)) => worked,
            Ok(Err(fault)) => {
                all(jobs, settle, &fault.before_commit());
                return Ok(());
            }
            Err(_) => {
                let why =
                    format!("not done in {:?}, and undone: a lock, a slow statement, or all connections in use", self.timeout * 4 / 5);
                all(jobs, settle, &Outcome::Retry { why, after: None });
                return Ok(());
            }
        };
        let mut good: Vec<(&Job, Done)> = vec![];
        for (job, verdict) in jobs.iter().zip(verdicts) {
            match verdict {
                Ok(done) => good.push((job, done)),
                Err(fault) => settle.settle(job.handle, fault.before_commit()),
            }
        }
        if good.is_empty() {
            let _ = timeout_at(deadlines.commit, open.undo()).await;
            return Ok(());
        }
        if !sent {
            for (job, _) in &good {
                settle.sent(job.handle);
            }
        }
        let unknown = match timeout_at(deadlines.commit, open.commit()).await {
            Ok(Ok(())) => {
                for (job, done) in good {
                    settle.settle(job.handle, Outcome::Delivered { detail: done.proof(&job.script).into_owned() });
                }
                return Ok(());
            }
            Ok(Err(fault)) if fault.refuses_commit() => return Err(Refused(good.into_iter().map(|(job, _)| job.clone()).collect(), fault)),
            Ok(Err(fault)) => Outcome::Unknown { why: format!("the commit was not answered: {fault}") },
            Err(_) => Outcome::Unknown { why: "the commit was not answered in time".into() },
        };
        for (job, _) in good {
            settle.settle(job.handle, unknown.clone());
        }
        Ok(())
    }
}

fn all(jobs: &[Job], settle: &Settle, outcome: &Outcome) {
    for job in jobs {
        settle.settle(job.handle, outcome.clone());
    }
}

impl Output for SqlOutput {
    fn max_batch(&self) -> usize {
        BATCH_MAX
    }

    fn deliver<'a>(&'a self, parcels: Vec<Parcel>, settle: &'a Settle) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.attempt(&parcels, settle).await })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), CheckError>> {
        Box::pin(self.try_out(Arc::new(Script { statements: vec![] })))
    }

    fn check_message<'a>(&'a self, fixed: &'a BTreeMap<String, String>) -> BoxFuture<'a, Result<(), CheckError>> {
        Box::pin(async move {
            let Some(text) = fixed.get("sql") else { return Ok(()) };
            self.try_out(self.scripts.get(text).map_err(CheckError)?).await
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.database.close())
    }
}

impl SqlOutput {
    /// Connects, opens a transaction, notes a delivery where `once` is set, prepares the statements, and takes all of it back.
    async fn try_out(&self, script: Arc<Script>) -> Result<(), CheckError> {
        let jobs = Arc::from([Job::trial(script)]);
        let failed = |fault: &Fault| CheckError(fault.to_string());
        match timeout_at(Instant::now() + self.timeout, self.database.work(&jobs)).await {
            Ok(Ok((open, verdicts))) => {
                open.undo().await;
                verdicts.iter().find_map(|verdict| verdict.as_ref().err()).map_or(Ok(()), |fault| Err(failed(fault)))
            }
            Ok(Err(fault)) => Err(failed(&fault)),
            Err(_) => Err(CheckError(format!("no answer in {:?}", self.timeout))),
        }
    }
}
