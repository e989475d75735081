//! A batch in one transaction: all at once first, and if that fails each row behind a savepoint of its own, so that the bad ones are
//! found and the good ones stay. Never commits: the caller does, after it has said that the rows are sent.

use crate::fault::{Class, Fault};
use crate::job::{Done, Job};

/// A connection that can hold one transaction.
pub trait Session: Send {
    /// Runs a statement of ours, without parameters.
    fn run(&mut self, sql: &'static str) -> impl Future<Output = Result<(), Fault>> + Send;
    /// Begins a transaction.
    fn begin(&mut self) -> impl Future<Output = Result<(), Fault>> + Send;
    /// Runs one delivery's statements in the open transaction, after noting it where `once` asks for that.
    fn job(&mut self, job: &Job) -> impl Future<Output = Result<Done, Fault>> + Send;
    /// Runs many, in their order, and stops at the first failure.
    fn jobs(&mut self, jobs: &[Job]) -> impl Future<Output = Result<Vec<Done>, Fault>> + Send {
        async move {
            let mut all = Vec::with_capacity(jobs.len());
            for job in jobs {
                all.push(self.job(job).await?);
            }
            Ok(all)
        }
    }
}

/// What each row of a batch came to.
pub type Verdicts = Vec<Result<Done, Fault>>;

/// Runs a batch, and leaves the transaction open with what went well in it.
///
/// # Errors
/// What ended the transaction: nothing of the batch is done.
pub async fn perform<S: Session>(session: &mut S, jobs: &[Job], min_rows: u64) -> Result<Verdicts, Fault> {
    session.begin().await?;
    match session.jobs(jobs).await {
        Ok(done) if done.iter().all(|done| enough(done, min_rows).is_ok()) => return Ok(done.into_iter().map(Ok).collect()),
        Err(fault) if fault.ends && (fault.class != Class::Retry || jobs.len() == 1) => return Err(fault),
        // There is nobody else to save; the caller takes back what is open.
        Err(fault) if jobs.len() == 1 => return Ok(vec![Err(fault)]),
        Ok(_) | Err(_) => {}
    }
    session.run("ROLLBACK").await?;
    session.begin().await?;
    let mut verdicts = Vec::with_capacity(jobs.len());
    for job in jobs {
        verdicts.push(row(session, job, min_rows).await?);
    }
    Ok(verdicts)
}

/// One row behind a savepoint. The outer error ended the transaction.
async fn row<S: Session>(session: &mut S, job: &Job, min_rows: u64) -> Result<Result<Done, Fault>, Fault> {
    session.run("SAVEPOINT switchyard").await?;
    let done = session.job(job).await.and_then(|done| enough(&done, min_rows).map(|()| done));
    match &done {
        Ok(_) => {}
        Err(fault) if fault.ends => return Err(fault.clone()),
        Err(_) => session.run("ROLLBACK TO SAVEPOINT switchyard").await?,
    }
    session.run("RELEASE SAVEPOINT switchyard").await?;
    Ok(done)
}

fn enough(done: &Done, min_rows: u64) -> Result<(), Fault> {
    match done.rows() {
        Some(rows) if rows < min_rows => {
            Err(Fault::new(Class::Rejected, format!("touched {rows} rows and was undone: `min_rows` asks for {min_rows}")))
        }
        _ => Ok(()),
    }
}
