//! A database behind a connection: gets one from the pool or makes one, runs a batch in it, and gives it back when it is clean.

use crate::fault::{Class, Fault};
use crate::job::Job;
use crate::pool::{Pool, Turn};
use crate::session::{Session, Verdicts, perform};
use std::time::Duration;
use switchyard_api::stream::connecting;
use tokio::time::{Instant, timeout};

/// A connection that rested longer is asked whether it still lives.
const REST_MAX: Duration = Duration::from_secs(1);
/// How long it may take to answer that; then it is closed, and another one taken.
const ALIVE_MAX: Duration = Duration::from_secs(1);

/// A kind of server.
pub trait Server: Send + Sync + 'static {
    /// A connection to it. Dropping it closes it, whatever it is doing.
    type Connection: Session + 'static;

    /// Makes a connection.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, Fault>> + Send;
    /// Whether the connection still answers.
    fn alive(connection: &mut Self::Connection) -> impl Future<Output = bool> + Send;
    /// Prepares what the jobs need, outside of a transaction: the fault of each job that cannot be run at all.
    fn prepare(connection: &mut Self::Connection, jobs: &[Job]) -> impl Future<Output = Result<Vec<Option<Fault>>, Fault>> + Send;
    /// Says goodbye.
    fn close(connection: Self::Connection) -> impl Future<Output = ()> + Send;
}

/// A server and the connections to it.
pub struct Remote<S: Server> {
    server: S,
    pool: Pool<Rested<S::Connection>>,
    min_rows: u64,
    /// How long getting a connection may take; then the server is down.
    connect_max: Duration,
}

/// A connection and since when it rests.
struct Rested<C>(C, Instant);

/// A transaction that waits for its commit. Dropping it closes the connection: the server then undoes it.
pub struct Open<C> {
    connection: C,
    turn: Turn<Rested<C>>,
}

impl<S: Server> Remote<S> {
    /// Connections are made when they are needed, in attempts that may take `timeout`.
    pub fn new(server: S, connections: usize, min_rows: u64, timeout: Duration) -> Self {
        Remote { server, pool: Pool::new(connections), min_rows, connect_max: connecting(timeout) }
    }

    /// Runs a batch, and leaves the transaction open with what went well in it.
    ///
    /// # Errors
    /// Nothing of the batch is done.
    pub async fn work(&self, jobs: &[Job]) -> Result<(Open<S::Connection>, Verdicts), Fault> {
        let turn = self.pool.turn().await.ok_or_else(|| Fault::new(Class::Down, "the output is closed"))?;
        let late = |_| Fault::new(Class::Down, format!("no connection in {:?}: the server says nothing", self.connect_max));
        let mut connection = timeout(self.connect_max, self.connection(&turn)).await.map_err(late)??;
        let faults = S::prepare(&mut connection, jobs).await?;
        let verdicts = if faults.iter().all(Option::is_none) {
            perform(&mut connection, jobs, self.min_rows).await?
        } else {
            let whole: Vec<Job> = jobs.iter().zip(&faults).filter(|(_, fault)| fault.is_none()).map(|(job, _)| job.clone()).collect();
            let mut ran = if whole.is_empty() { vec![] } else { perform(&mut connection, &whole, self.min_rows).await? }.into_iter();
            // One verdict for each job without a fault.
            faults.into_iter().filter_map(|fault| fault.map(Err).or_else(|| ran.next())).collect()
        };
        Ok((Open { connection, turn }, verdicts))
    }

    async fn connection(&self, turn: &Turn<Rested<S::Connection>>) -> Result<S::Connection, Fault> {
        while let Some(Rested(mut connection, since)) = turn.rested() {
            if since.elapsed() < REST_MAX || timeout(ALIVE_MAX, S::alive(&mut connection)).await == Ok(true) {
                return Ok(connection);
            }
        }
        self.server.connect().await
    }

    /// Lets go of all connections.
    pub async fn close(&self) {
        for Rested(connection, _) in self.pool.close() {
            let _ = timeout(ALIVE_MAX, S::close(connection)).await;
        }
    }
}

impl<C: Session> Open<C> {
    /// Makes it last.
    ///
    /// # Errors
    /// See [`Fault::refuses_commit`]: only then is it surely undone.
    pub async fn commit(self) -> Result<(), Fault> {
        self.end("COMMIT").await
    }

    /// Takes it back; a connection that cannot is closed, which does the same.
    pub async fn undo(self) {
        let _ = self.end("ROLLBACK").await;
    }

    async fn end(mut self, how: &'static str) -> Result<(), Fault> {
        self.connection.run(how).await?;
        self.turn.keep(Rested(self.connection, Instant::now()));
        Ok(())
    }
}
