//! PostgreSQL: values go as text and the server reads them as the type it wants; a batch is sent without waiting between rows.

use crate::fault::{self, Class, Fault};
use crate::job::{Done, Job};
use crate::remote::Server;
use crate::session::Session;
use bytes::BytesMut;
use futures_util::stream::{FuturesOrdered, StreamExt};
use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::tls::Tls;
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, NoTls, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Statements kept prepared on a connection; one more, and all are prepared anew.
const PREPARED_MAX: usize = 256;

/// A PostgreSQL server.
pub struct Postgres {
    config: tokio_postgres::Config,
    tls: Option<Tls>,
    rules: Arc<Rules>,
}

/// What all connections are told.
struct Rules {
    begin: String,
    /// Notes deliveries, and gives back those that were not there.
    once: Option<String>,
}

impl Postgres {
    /// `once` is a checked name of a table.
    pub fn new(mut config: tokio_postgres::Config, tls: Option<Tls>, once: Option<&str>, timeout: Duration) -> Self {
        config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        let (whole, lock) = (timeout.as_millis().max(4), (timeout / 4).as_millis().max(1));
        // Local to the transaction: a pooler between us and the server may give each transaction another session.
        let begin = format!("BEGIN; SET LOCAL statement_timeout = {whole}; SET LOCAL lock_timeout = {lock}");
        let once =
            once.map(|table| format!("INSERT INTO {table} (delivery) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING RETURNING delivery"));
        Postgres { config, tls, rules: Arc::new(Rules { begin, once }) }
    }
}

/// One connection.
pub struct Connection {
    client: Client,
    task: JoinHandle<()>,
    prepared: HashMap<String, Statement>,
    rules: Arc<Rules>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server for Postgres {
    type Connection = Connection;

    async fn connect(&self) -> Result<Connection, Fault> {
        let (client, task) = match &self.tls {
            Some(tls) => {
                let files = tls.config().await.map_err(|e| Fault::new(Class::Misconfigured, e.to_string()))?;
                let tls = MakeRustlsConnect::new(files.as_ref().clone());
                let (client, connection) = self.config.connect(tls).await.map_err(|e| of_connect(&e))?;
                (client, tokio::spawn(async move { drop(connection.await) }))
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await.map_err(|e| of_connect(&e))?;
                (client, tokio::spawn(async move { drop(connection.await) }))
            }
        };
        Ok(Connection { client, task, prepared: HashMap::new(), rules: Arc::clone(&self.rules) })
    }

    async fn alive(connection: &mut Connection) -> bool {
        connection.client.check_connection().await.is_ok()
    }

    /// A statement that cannot be prepared would break off the transaction of all.
    async fn prepare(connection: &mut Connection, jobs: &[Job]) -> Result<Vec<Option<Fault>>, Fault> {
        if connection.prepared.len() >= PREPARED_MAX {
            connection.prepared.clear();
        }
        if let Some(once) = connection.rules.once.clone() {
            connection.prepare(&once).await?;
        }
        let mut failed: HashMap<&str, Fault> = HashMap::new();
        for text in jobs.iter().flat_map(|job| &job.script.statements).map(|statement| statement.text.as_str()) {
            if failed.contains_key(text) {
                continue;
            }
            match connection.prepare(text).await {
                Ok(()) => {}
                Err(fault) if fault.ends => return Err(fault),
                Err(fault) => drop(failed.insert(text, fault)),
            }
        }
        let of = |job: &Job| job.script.statements.iter().find_map(|statement| failed.get(statement.text.as_str()).cloned());
        Ok(jobs.iter().map(of).collect())
    }

    async fn close(connection: Connection) {
        drop(connection);
    }
}

impl Connection {
    async fn prepare(&mut self, text: &str) -> Result<(), Fault> {
        if !self.prepared.contains_key(text) {
            let statement = self.client.prepare(text).await.map_err(|e| of_error(&e))?;
            self.prepared.insert(text.to_owned(), statement);
        }
        Ok(())
    }

    fn prepared(&self, text: &str) -> Result<&Statement, Fault> {
        self.prepared.get(text).ok_or_else(|| Fault::new(Class::Retry, "the statement was not prepared"))
    }

    /// The deliveries that were not done before, noted as done. Waits for another attempt of the same delivery that still runs.
    async fn note(&self, jobs: &[Job]) -> Result<Option<HashSet<String>>, Fault> {
        let Some(once) = &self.rules.once else { return Ok(None) };
        let list: Vec<String> = jobs.iter().map(|job| format!("\"{}\"", job.delivery.replace('\\', r"\\").replace('"', "\\\""))).collect();
        let list = format!("{{{}}}", list.join(","));
        let rows = self.client.query_raw(self.prepared(once)?, [Text(&list)]).await.map_err(|e| of_error(&e))?;
        let mut rows = std::pin::pin!(rows);
        let mut new = HashSet::new();
        while let Some(row) = rows.next().await {
            new.insert(row.and_then(|row| row.try_get(0)).map_err(|e| of_error(&e))?);
        }
        Ok(Some(new))
    }

    async fn rows(&self, text: &str, values: Vec<Text<'_>>) -> Result<u64, Fault> {
        self.client.execute_raw(self.prepared(text)?, values).await.map_err(|e| of_execute(&e))
    }
}

impl Session for Connection {
    async fn run(&mut self, sql: &'static str) -> Result<(), Fault> {
        self.client.batch_execute(sql).await.map_err(|e| of_error(&e))
    }

    async fn begin(&mut self) -> Result<(), Fault> {
        self.client.batch_execute(&self.rules.begin).await.map_err(|e| of_error(&e))
    }

    async fn job(&mut self, job: &Job) -> Result<Done, Fault> {
        let done = self.jobs(std::slice::from_ref(job)).await?;
        done.into_iter().next().ok_or_else(|| Fault::new(Class::Retry, "nothing was run"))
    }

    /// All statements go out in their order before the first answer is waited for. After a failure the server refuses what follows.
    async fn jobs(&mut self, jobs: &[Job]) -> Result<Vec<Done>, Fault> {
        let new = self.note(jobs).await?;
        let runs = |job: &Job| !job.dry && new.as_ref().is_none_or(|new| new.contains(&job.delivery));
        let mut answers = FuturesOrdered::new();
        for job in jobs.iter().filter(|job| runs(job)) {
            for statement in &job.script.statements {
                answers.push_back(self.rows(&statement.text, job.values(statement).map(Text).collect()));
            }
        }
        let mut all = Vec::with_capacity(jobs.len());
        for job in jobs {
            if !runs(job) {
                all.push(Done::Before);
                continue;
            }
            let mut rows = Vec::with_capacity(job.script.statements.len());
            for _ in &job.script.statements {
                rows.push(answers.next().await.unwrap_or_else(|| Err(Fault::new(Class::Broken, "no answer")))?);
            }
            all.push(Done::Now(rows));
        }
        Ok(all)
    }
}

/// A value as the text that the server reads as whatever type it wants there.
#[derive(Debug)]
struct Text<'a>(&'a str);

impl ToSql for Text<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
    fn accepts(_: &Type) -> bool {
        true
    }
    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }
    to_sql_checked!();
}

/// An error while connecting.
fn of_connect(error: &tokio_postgres::Error) -> Fault {
    if error.code().is_some() {
        return of_error(error);
    }
    match error.source() {
        Some(source) => match source.downcast_ref::<io::Error>() {
            Some(way) => fault::of_way(way),
            // No TLS there, a password that is missing, a way to prove oneself that we do not have.
            None => Fault::new(Class::Misconfigured, fault::chain(error)),
        },
        None => Fault::new(Class::Down, error.to_string()),
    }
}

/// An error of an execution. A plan that the server no longer takes is for the next connection.
fn of_execute(error: &tokio_postgres::Error) -> Fault {
    match error.code().map(tokio_postgres::error::SqlState::code) {
        Some("0A000" | "26000") => Fault { class: Class::Retry, ..of_error(error) }.ending(),
        _ => of_error(error),
    }
}

fn of_error(error: &tokio_postgres::Error) -> Fault {
    match error.as_db_error() {
        Some(told) => Fault::new(of_code(told.code().code()), format!("{} ({})", told.message(), told.code().code())),
        None => Fault::new(Class::Broken, format!("the connection was lost: {}", fault::chain(error))),
    }
}

/// SQLSTATE, by PostgreSQL manual appendix A.
fn of_code(code: &str) -> Class {
    match code {
        "42P01" | "42501" | "3D000" | "3F000" => Class::Misconfigured,
        // A standby: after a fail-over the primary is elsewhere or comes back.
        "25006" | "57P01" | "57P02" | "57P03" | "57P05" => Class::Down,
        _ => match code.get(..2) {
            Some("08" | "53" | "58") => Class::Down,
            Some("28") => Class::Misconfigured,
            Some("0A" | "21" | "22" | "23" | "42" | "44" | "54" | "P0" | "2D" | "2F" | "38" | "39") => Class::Rejected,
            // 40 (serialization, deadlock), 55P03 (lock), 57014 (too long), XX and whatever comes.
            _ => Class::Retry,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_class() {
        for (class, codes) in [
            (Class::Rejected, &["22P02", "22021", "23505", "23503", "23514", "42601", "42703", "42883", "P0001", "44000"][..]),
            (Class::Retry, &["40001", "40P01", "55P03", "57014", "XX000", "25P02", "99999"]),
            (Class::Down, &["08006", "53300", "53100", "57P01", "57P02", "57P03", "58030", "25006"]),
            (Class::Misconfigured, &["28P01", "28000", "42P01", "42501", "3D000", "3F000"]),
        ] {
            for code in codes {
                assert_eq!(of_code(code), class, "{code}");
            }
        }
    }
}
