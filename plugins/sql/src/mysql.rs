//! MySQL and MariaDB: values go as text through the binary protocol, and the server turns them into the column's type, strictly.

use crate::fault::{self, Class, Fault};
use crate::job::{Done, Job};
use crate::remote::Server;
use crate::session::Session;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Error, IoError, Opts, OptsBuilder, Params, SslOpts, TlsError, Value};
use std::sync::Arc;
use std::time::Duration;

/// Statements kept prepared on a connection.
const PREPARED_MAX: usize = 64;
/// Values that do not fit are errors and not cut; and backslash and `"` mean what `statement` reads them as.
const SQL_MODE: &str = "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO,NO_ZERO_DATE,NO_ZERO_IN_DATE";

/// A MySQL or MariaDB server.
pub struct Mysql {
    opts: Opts,
    rules: Arc<Rules>,
}

/// What all connections are told.
struct Rules {
    setup: String,
    once: Option<Once>,
}

struct Once {
    /// Notes a delivery; fails where it is there.
    note: String,
    /// Says whether the table can take a note back.
    engine: String,
}

impl Mysql {
    /// `once` is a checked name of a table.
    pub fn new(opts: Opts, tls: Option<SslOpts>, once: Option<&str>, timeout: Duration) -> Self {
        let opts = OptsBuilder::from_opts(opts)
            .ssl_opts(tls)
            .prefer_socket(false)
            .client_found_rows(true)
            .stmt_cache_size(PREPARED_MAX)
            .tcp_keepalive(Some(Duration::from_mins(1)))
            .into();
        let lock = (timeout / 4).as_secs().max(1);
        let setup = format!("SET SESSION sql_mode = '{SQL_MODE}', innodb_lock_wait_timeout = {lock}");
        let once = once.map(|table| {
            let (schema, name) = table.split_once('.').map_or(("DATABASE()".to_owned(), table), |(s, t)| (format!("'{s}'"), t));
            Once {
                note: format!("INSERT INTO {table} (delivery) VALUES (?)"),
                engine: format!("SELECT ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = '{name}'"),
            }
        });
        Mysql { opts, rules: Arc::new(Rules { setup, once }) }
    }
}

/// One connection.
pub struct Connection {
    conn: Conn,
    rules: Arc<Rules>,
}

impl Server for Mysql {
    type Connection = Connection;

    async fn connect(&self) -> Result<Connection, Fault> {
        let mut conn = Conn::new(self.opts.clone()).await.map_err(|e| of_connect(&e))?;
        conn.query_drop(&self.rules.setup).await.map_err(|e| of_error(&e))?;
        if let Some(once) = &self.rules.once {
            let engine: Option<String> = conn.query_first(&once.engine).await.map_err(|e| of_error(&e))?;
            // A note that stays when its work is undone would lose the delivery.
            if engine.as_deref().is_some_and(|engine| engine != "InnoDB") {
                let why =
                    format!("the table of `once` is {}, which undoes nothing: `ALTER TABLE … ENGINE = InnoDB`", engine.unwrap_or_default());
                return Err(Fault::new(Class::Misconfigured, why));
            }
        }
        Ok(Connection { conn, rules: Arc::clone(&self.rules) })
    }

    async fn alive(connection: &mut Connection) -> bool {
        connection.conn.ping().await.is_ok()
    }

    /// Nothing to do ahead: a statement that cannot be prepared leaves the transaction as it is.
    async fn prepare(_: &mut Connection, jobs: &[Job]) -> Result<Vec<Option<Fault>>, Fault> {
        Ok(vec![None; jobs.len()])
    }

    async fn close(connection: Connection) {
        let _ = connection.conn.disconnect().await;
    }
}

impl Session for Connection {
    async fn run(&mut self, sql: &'static str) -> Result<(), Fault> {
        self.conn.query_drop(sql).await.map_err(|e| of_error(&e))
    }

    async fn begin(&mut self) -> Result<(), Fault> {
        self.run("START TRANSACTION").await
    }

    async fn job(&mut self, job: &Job) -> Result<Done, Fault> {
        if let Some(once) = &self.rules.once {
            match self.conn.exec_drop(&once.note, (&job.delivery,)).await {
                Ok(()) => {}
                Err(Error::Server(told)) if told.code == DUPLICATE => return Ok(Done::Before),
                Err(error) => return Err(of_error(&error)),
            }
        }
        if job.dry {
            for statement in &job.script.statements {
                self.conn.prep(&statement.text).await.map_err(|e| of_error(&e))?;
            }
            return Ok(Done::Before);
        }
        let mut rows = Vec::with_capacity(job.script.statements.len());
        for statement in &job.script.statements {
            let values: Vec<Value> = job.values(statement).map(|value| Value::Bytes(value.as_bytes().to_vec())).collect();
            let params = if values.is_empty() { Params::Empty } else { Params::Positional(values) };
            rows.push(execute(&mut self.conn, &statement.text, params).await.map_err(|e| of_error(&e))?);
        }
        Ok(Done::Now(rows))
    }
}

/// The rows that were touched, or given back.
async fn execute(conn: &mut Conn, text: &str, params: Params) -> Result<u64, Error> {
    let mut result = conn.exec_iter(text, params).await?;
    // Before the last row there is no count of these, but one of the statement before.
    let (gives_rows, mut rows) = (!result.columns_ref().is_empty(), 0);
    while result.next().await?.is_some() {
        rows += 1;
    }
    let touched = result.affected_rows();
    result.drop_result().await?;
    Ok(if gives_rows { rows } else { touched })
}

const DUPLICATE: u16 = 1062;

/// What is there answers, and not in the protocol.
const NO_MYSQL: &str = "what answers there does not speak MySQL's protocol; is it the right port?";

/// An error while connecting.
fn of_connect(error: &Error) -> Fault {
    match error {
        Error::Server(_) => of_error(error),
        // The driver's own error over what it read, not the network's.
        Error::Io(IoError::Io(way)) if way.kind() == std::io::ErrorKind::Other => Fault::new(Class::Down, NO_MYSQL),
        Error::Io(IoError::Io(way)) => fault::of_way(way),
        Error::Io(IoError::Tls(TlsError::Tls(tls))) => fault::of_tls(tls),
        Error::Driver(DriverError::PacketTooLarge | DriverError::UnexpectedPacket { .. } | DriverError::PacketOutOfOrder) => {
            Fault::new(Class::Misconfigured, NO_MYSQL)
        }
        Error::Driver(DriverError::ConnectionClosed) => Fault::new(Class::Down, "the server closed the connection"),
        // No TLS there, a way to prove oneself that we do not have, a certificate that cannot be read.
        _ => Fault::new(Class::Misconfigured, fault::chain(error)),
    }
}

fn of_error(error: &Error) -> Fault {
    match error {
        Error::Server(told) => {
            let fault = Fault::new(of_code(told.code, &told.state), format!("{} ({})", told.message, told.code));
            // InnoDB undoes the whole transaction of a deadlock's victim.
            if told.code == 1213 { fault.ending() } else { fault }
        }
        Error::Driver(DriverError::PacketTooLarge) => Fault::new(Class::Rejected, "larger than the server's max_allowed_packet").ending(),
        _ => Fault::new(Class::Broken, format!("the connection was lost: {}", fault::chain(error))),
    }
}

/// Error numbers, by MySQL's and MariaDB's error references; where none is named, by SQLSTATE.
fn of_code(code: u16, state: &str) -> Class {
    match code {
        // Lock wait, deadlock, record changed, killed, too long.
        1205 | 1213 | 1020 | 1317 | 1969 | 3024 => Class::Retry,
        // Too many connections, shutdown, killed, disk or table full, out of memory, read-only (a replica), limits of the account.
        1040 | 1203 | 1226 | 1053 | 1927 | 1021 | 1114 | 1037 | 1038 | 1041 | 1290 | 1792 | 1836 => Class::Down,
        // Access, database, table, rights, TLS demanded, blocked or unknown host, ways to prove oneself.
        1044 | 1045 | 1049 | 1129 | 1130 | 1142 | 1143 | 1146 | 1227 | 1251 | 1370 | 1410 | 1698 | 1820 | 2059 | 3118 | 3159 => {
            Class::Misconfigured
        }
        // No default, out of range, wrong value, cut, a trigger's SIGNAL, CHECK, too large.
        1364 | 1366 | 1264 | 1265 | 1292 | 1406 | 1411 | 1153 | 1644 | 3819 | 4025 | 3140 | 3144 => Class::Rejected,
        _ => match state.get(..2) {
            Some("08") => Class::Down,
            Some("28") => Class::Misconfigured,
            Some("21" | "22" | "23" | "42" | "44" | "45" | "0A") => Class::Rejected,
            _ => Class::Retry,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_another_protocol_is_told_in_plain_words() {
        let fault = of_connect(&Error::Driver(DriverError::PacketTooLarge));
        assert_eq!((fault.class, fault.why.as_str()), (Class::Misconfigured, NO_MYSQL));
    }

    #[test]
    fn each_code_has_its_class() {
        for (class, codes) in [
            (
                Class::Rejected,
                &[
                    (1048, "23000"),
                    (1062, "23000"),
                    (1264, "22003"),
                    (1406, "22001"),
                    (1452, "23000"),
                    (1366, "HY000"),
                    (1064, "42000"),
                    (1644, "45000"),
                ][..],
            ),
            (Class::Retry, &[(1205, "HY000"), (1213, "40001"), (3024, "HY000"), (9999, "HY000")]),
            (Class::Down, &[(1040, "08004"), (1053, "08S01"), (1290, "HY000"), (1114, "HY000")]),
            (Class::Misconfigured, &[(1045, "28000"), (1146, "42S02"), (1049, "42000"), (1142, "42000"), (3159, "08004")]),
        ] {
            for (code, state) in codes {
                assert_eq!(of_code(*code, state), class, "{code}");
            }
        }
    }
}
