//! A SQLite file, spoken to on a blocking thread. One connection: the file has one writer anyhow. Never makes the file.

use crate::fault::{Class, Fault};
use crate::job::{Done, Job};
use crate::pool::{Pool, Turn};
use crate::session::{Session, Verdicts, perform};
use rusqlite::{ErrorCode, InterruptHandle, OpenFlags, params_from_iter};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;

/// Statements kept prepared.
const PREPARED_MAX: usize = 64;

/// A SQLite file.
pub struct Sqlite {
    rules: Rules,
    min_rows: u64,
    pool: Pool<Connection>,
}

#[derive(Clone)]
struct Rules {
    path: PathBuf,
    once: Option<String>,
    busy: Duration,
}

/// The open file.
#[derive(Debug)]
pub struct Connection {
    file: rusqlite::Connection,
    once: Option<String>,
}

/// A transaction that waits for its commit. Dropping it closes the file, which undoes it.
pub struct Open {
    connection: Connection,
    turn: Turn<Connection>,
}

/// Ends the running statement of an attempt that was dropped; its thread then undoes what it did.
#[derive(Default)]
struct Running(Arc<Mutex<Option<InterruptHandle>>>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(handle) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            handle.interrupt();
        }
    }
}

impl Sqlite {
    /// `once` is a checked name of a table.
    pub fn new(path: PathBuf, once: Option<&str>, timeout: Duration, min_rows: u64) -> Self {
        let once = once.map(|table| format!("INSERT INTO {table} (delivery) VALUES (?) ON CONFLICT DO NOTHING"));
        Sqlite { rules: Rules { path, once, busy: timeout / 4 }, min_rows, pool: Pool::new(1) }
    }

    /// Runs a batch, and leaves the transaction open with what went well in it.
    ///
    /// # Errors
    /// Nothing of the batch is done.
    pub async fn work(&self, jobs: &Arc<[Job]>) -> Result<(Open, Verdicts), Fault> {
        let turn = self.pool.turn().await.ok_or_else(|| Fault::new(Class::Down, "the output is closed"))?;
        let running = Running::default();
        let (rules, jobs, min_rows, stop) = (self.rules.clone(), Arc::clone(jobs), self.min_rows, Arc::clone(&running.0));
        let thread = Handle::current();
        let work = tokio::task::spawn_blocking(move || {
            let mut connection = match turn.rested() {
                Some(connection) => connection,
                None => Connection::open(&rules)?,
            };
            *stop.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.file.get_interrupt_handle());
            let verdicts = thread.block_on(perform(&mut connection, &jobs, min_rows))?;
            *stop.lock().unwrap_or_else(PoisonError::into_inner) = None;
            Ok((Open { connection, turn }, verdicts))
        });
        work.await.unwrap_or_else(|broken| Err(Fault::new(Class::Retry, format!("the thread ended early: {broken}"))))
    }

    /// Lets go of the file, once what is under way has ended.
    pub async fn close(&self) {
        drop(self.pool.turn().await);
        drop(self.pool.close());
    }
}

impl Open {
    /// Makes it last. Goes on to its end where nobody waits for it any more.
    ///
    /// # Errors
    /// See [`Fault::refuses_commit`]: only then is it surely undone.
    pub async fn commit(self) -> Result<(), Fault> {
        self.end("COMMIT").await
    }

    /// Takes it back.
    pub async fn undo(self) {
        let _ = self.end("ROLLBACK").await;
    }

    async fn end(self, how: &'static str) -> Result<(), Fault> {
        let Open { connection, turn } = self;
        let end = tokio::task::spawn_blocking(move || {
            connection.file.execute_batch(how).map_err(|e| of_error(&e, Phase::Step))?;
            turn.keep(connection);
            Ok(())
        });
        end.await.unwrap_or_else(|broken| Err(Fault::new(Class::Broken, format!("the thread ended early: {broken}"))))
    }
}

impl Connection {
    fn open(rules: &Rules) -> Result<Connection, Fault> {
        let opened =
            rusqlite::Connection::open_with_flags(&rules.path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX);
        let set = opened.and_then(|file| {
            file.busy_timeout(rules.busy)?;
            file.pragma_update(None, "foreign_keys", true)?;
            file.set_prepared_statement_cache_capacity(PREPARED_MAX);
            Ok(file)
        });
        let told = |e| {
            let fault = of_error(&e, Phase::Prepare);
            Fault::new(fault.class, format!("`{}`: {}", rules.path.display(), fault.why))
        };
        Ok(Connection { file: set.map_err(told)?, once: rules.once.clone() })
    }

    /// An error, and whether SQLite undid the whole transaction for it (disk full, out of memory and their like).
    fn fault(&self, error: &rusqlite::Error, phase: Phase) -> Fault {
        let fault = of_error(error, phase);
        if self.file.is_autocommit() { fault.ending() } else { fault }
    }

    fn execute<'v>(&self, text: &str, values: impl Iterator<Item = &'v str>) -> Result<u64, Fault> {
        let mut statement = self.file.prepare_cached(text).map_err(|e| self.fault(&e, Phase::Prepare))?;
        let step = |e| self.fault(&e, Phase::Step);
        if statement.column_count() == 0 {
            return statement.execute(params_from_iter(values)).map(|rows| rows as u64).map_err(step);
        }
        let mut given = statement.query(params_from_iter(values)).map_err(step)?;
        let mut rows = 0;
        while given.next().map_err(step)?.is_some() {
            rows += 1;
        }
        Ok(rows)
    }
}

impl Session for Connection {
    async fn run(&mut self, sql: &'static str) -> Result<(), Fault> {
        self.file.execute_batch(sql).map_err(|e| self.fault(&e, Phase::Step))
    }

    /// Takes the file's one lock for writing now: taken later, it could fail in a way that waiting does not mend.
    async fn begin(&mut self) -> Result<(), Fault> {
        self.run("BEGIN IMMEDIATE").await
    }

    async fn job(&mut self, job: &Job) -> Result<Done, Fault> {
        if let Some(once) = &self.once
            && self.execute(once, std::iter::once(job.delivery.as_str()))? == 0
        {
            return Ok(Done::Before);
        }
        if job.dry {
            let prepare = |text: &str| self.file.prepare(text).map(drop).map_err(|e| self.fault(&e, Phase::Prepare));
            return job.script.statements.iter().try_for_each(|statement| prepare(&statement.text)).map(|()| Done::Before);
        }
        let rows = job.script.statements.iter().map(|statement| self.execute(&statement.text, job.values(statement)));
        rows.collect::<Result<_, _>>().map(Done::Now)
    }
}

/// What was being done: the same code means another thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Opening the file, or reading a statement: an error is about the file or the schema.
    Prepare,
    /// Running it: an error is about the values.
    Step,
}

fn of_error(error: &rusqlite::Error, phase: Phase) -> Fault {
    let (rusqlite::Error::SqliteFailure(told, _) | rusqlite::Error::SqlInputError { error: told, .. }) = error else {
        return Fault::new(Class::Rejected, error.to_string());
    };
    Fault::new(of_code(told.code, phase), error.to_string())
}

/// Result codes, by sqlite.org/rescode.html. `SQLITE_ERROR` says nothing but in which phase it came.
fn of_code(code: ErrorCode, phase: Phase) -> Class {
    use ErrorCode as C;
    match code {
        C::DatabaseBusy
        | C::DatabaseLocked
        | C::SchemaChanged
        | C::FileLockingProtocolFailed
        | C::OperationInterrupted
        | C::OperationAborted => Class::Retry,
        C::DiskFull | C::SystemIoFailure | C::OutOfMemory => Class::Down,
        C::CannotOpen | C::PermissionDenied | C::ReadOnly | C::AuthorizationForStatementDenied | C::NotADatabase | C::DatabaseCorrupt => {
            Class::Misconfigured
        }
        C::Unknown if phase == Phase::Prepare => Class::Misconfigured,
        _ => Class::Rejected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_class() {
        for (code, phase, class) in [
            (ErrorCode::ConstraintViolation, Phase::Step, Class::Rejected),
            (ErrorCode::TypeMismatch, Phase::Step, Class::Rejected),
            (ErrorCode::Unknown, Phase::Step, Class::Rejected),
            (ErrorCode::Unknown, Phase::Prepare, Class::Misconfigured),
            (ErrorCode::DatabaseBusy, Phase::Step, Class::Retry),
            (ErrorCode::DiskFull, Phase::Step, Class::Down),
            (ErrorCode::SystemIoFailure, Phase::Step, Class::Down),
            (ErrorCode::CannotOpen, Phase::Prepare, Class::Misconfigured),
            (ErrorCode::ReadOnly, Phase::Step, Class::Misconfigured),
        ] {
            assert_eq!(of_code(code, phase), class, "{code:?}");
        }
    }
}
