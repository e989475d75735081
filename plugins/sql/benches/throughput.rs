//! How much of the bare client's speed is left? Rows inserted per second into a real PostgreSQL, MariaDB and SQLite, by the output
//! and by the client library alone doing the same work (100 rows in a transaction), side by side in one run.

#![allow(clippy::unwrap_used)] // a bench says what is wrong by panicking

use mysql_async::prelude::Queryable;
use std::time::{Duration, Instant};
use switchyard_api::conformance::{deliver, parcel};
use switchyard_api::{At, Kind, Kit, Message, Output, Rendered, Secret, Span, Wall};
use switchyard_services::mariadb::MariaDb;
use switchyard_services::postgres::Postgres;
use switchyard_sql::{BATCH_MAX, Config, Sql};

const TABLE: &str = "CREATE TABLE arrived (delivery varchar(64) NOT NULL, n integer NOT NULL, note varchar(200) NOT NULL)";
const ONCE: &str = "CREATE TABLE switchyard_deliveries (delivery varchar(64) PRIMARY KEY, at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP)";
const NOTE: &str = "a note of some length, as an event would have one";
const BATCHES: u64 = 100;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let rows = BATCHES * BATCH_MAX as u64;
    println!("{rows} rows, {BATCH_MAX} in a transaction, one after the other: rows per second");
    let postgres = Postgres::start(None).unwrap();
    let url = postgres.url("switchyard", "postgres");
    postgres.sql("postgres", &format!("{TABLE}; {ONCE}")).unwrap();
    line("PostgreSQL", bare_postgres(&url).await, &url).await;

    let mariadb = MariaDb::start(None).unwrap();
    mariadb.sql("", "CREATE DATABASE bench").unwrap();
    mariadb.sql("bench", &format!("{TABLE}; {ONCE}")).unwrap();
    let url = mariadb.url("switchyard", "bench");
    line("MariaDB", bare_mariadb(&url).await, &url).await;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bench.db");
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection.execute_batch(&format!("PRAGMA journal_mode = WAL; {TABLE}; {ONCE}")).unwrap();
    line("SQLite", bare_sqlite(&connection), &format!("sqlite:{}", file.display())).await;
}

async fn line(name: &str, bare: Duration, url: &str) {
    let (plain, once) = (ours(url, None).await, ours(url, Some("switchyard_deliveries")).await);
    let speed = |took: Duration| (BATCHES as f64 * BATCH_MAX as f64 / took.as_secs_f64()).round();
    println!("{name:>10}: bare {:>8}, output {:>8}, with once {:>8}", speed(bare), speed(plain), speed(once));
}

#[allow(clippy::disallowed_methods)] // a bench measures
fn now() -> Instant {
    Instant::now()
}

async fn ours(url: &str, once: Option<&str>) -> Duration {
    let at = |value: String| At { span: Span::default(), value };
    let config = Config {
        url: At { span: Span::default(), value: Secret::new(url) },
        tls: None,
        connections: None,
        once: once.map(|table| at(table.to_owned())),
        min_rows: 0,
    };
    let output = Sql.connect(config, &Kit::new("bench", "/", "bench", Wall::new(|| 0))).await.unwrap();
    let params = [("n", "7"), ("note", NOTE)].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let fields = [
        ("sql".to_owned(), Rendered::Text("INSERT INTO arrived VALUES (:delivery, :n, :note)".into())),
        ("params".to_owned(), Rendered::Map(params.into())),
    ];
    let message = Message { fields: fields.into(), ..Message::default() };
    let begin = now();
    for batch in 0..BATCHES {
        let most = BATCH_MAX as u64;
        let said = deliver(&output, (batch * most..(batch + 1) * most).map(|number| parcel(number, &message)).collect(), None).await;
        assert!(said.outcomes.values().all(|all| all[0].text() == "INSERT 1 row"));
    }
    let took = begin.elapsed();
    output.close().await;
    took
}

fn id(batch: u64, row: usize) -> String {
    format!("dlv_{:032x}", batch * BATCH_MAX as u64 + row as u64)
}

async fn bare_postgres(url: &str) -> Duration {
    let (mut client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let insert = client.prepare("INSERT INTO arrived VALUES ($1, $2, $3)").await.unwrap();
    let begin = now();
    for batch in 0..BATCHES {
        let transaction = client.transaction().await.unwrap();
        let ids: Vec<String> = (0..BATCH_MAX).map(|row| id(batch, row)).collect();
        // Without waiting between rows, as the library offers it.
        let rows = ids.iter().map(|id| {
            let (transaction, insert) = (&transaction, &insert);
            async move { transaction.execute(insert, &[id, &7, &NOTE]).await }
        });
        futures_util::future::try_join_all(rows).await.unwrap();
        transaction.commit().await.unwrap();
    }
    begin.elapsed()
}

async fn bare_mariadb(url: &str) -> Duration {
    let mut conn = mysql_async::Conn::from_url(format!("{url}?prefer_socket=false")).await.unwrap();
    let begin = now();
    for batch in 0..BATCHES {
        let mut transaction = conn.start_transaction(mysql_async::TxOpts::default()).await.unwrap();
        for row in 0..BATCH_MAX {
            transaction.exec_drop("INSERT INTO arrived VALUES (?, ?, ?)", (id(batch, row), 7, NOTE)).await.unwrap();
        }
        transaction.commit().await.unwrap();
    }
    let took = begin.elapsed();
    conn.disconnect().await.unwrap();
    took
}

fn bare_sqlite(connection: &rusqlite::Connection) -> Duration {
    let begin = now();
    for batch in 0..BATCHES {
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        for row in 0..BATCH_MAX {
            let mut insert = connection.prepare_cached("INSERT INTO arrived VALUES (?, ?, ?)").unwrap();
            insert.execute((id(batch, row), 7, NOTE)).unwrap();
        }
        connection.execute_batch("COMMIT").unwrap();
    }
    begin.elapsed()
}
