//! Rows of a SQLite file in WAL mode, synchronous as it is by default: one transaction a batch.

use crate::crew::{Crew, Hand};
use crate::delivery::{Delivery, Sample};
use crate::far_side::{AtOnce, FarSide, text};
use serde_json::{Value as Json, json};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use switchyard_api::{AnyKind, Rendered, kind};

/// The statement of both sides; each writes its parameters in its own way.
pub fn insert(table: &str, [id, body]: [&str; 2]) -> String {
    format!("INSERT INTO {table} (delivery, body) VALUES ({id}, {body})")
}

/// The table they insert into.
pub fn table(name: &str) -> String {
    format!("CREATE TABLE {name} (delivery varchar(64) NOT NULL, body text NOT NULL)")
}

/// The message of a SQL output.
pub fn message(table: &str, sample: &Sample) -> Vec<(&'static str, Rendered)> {
    let params = [("body".to_owned(), sample.body.clone())].into();
    vec![text("sql", &insert(table, [":delivery", ":body"])), ("params", Rendered::Map(params))]
}

/// A folder of databases.
pub struct Database(PathBuf);

impl Database {
    fn file(&self, place: &str) -> PathBuf {
        self.0.join(place).with_extension("db")
    }
}

impl FarSide for Database {
    const NAME: &'static str = "sqlite";
    const COUNT: u64 = 60_000;
    type Bare = Crew<Writer>;

    fn start(scratch: &Path) -> anyhow::Result<Self> {
        Ok(Database(scratch.to_owned()))
    }
    async fn make(&self, place: &str) -> anyhow::Result<()> {
        let connection = rusqlite::Connection::open(self.file(place))?;
        Ok(connection.execute_batch(&format!("PRAGMA journal_mode = WAL; {}", table(place)))?)
    }
    fn kind(&self) -> Arc<dyn AnyKind> {
        kind::any(switchyard_sql::Sql)
    }
    fn settings(&self, place: &str) -> Json {
        json!({ "url": format!("sqlite:{}", self.file(place).display()) })
    }
    fn message(&self, place: &str, sample: &Sample) -> Vec<(&'static str, Rendered)> {
        message(place, sample)
    }
    async fn bare(&self, place: &str, _at_once: AtOnce) -> anyhow::Result<Crew<Writer>> {
        let connection = rusqlite::Connection::open(self.file(place))?;
        Ok(Crew::new(vec![Writer { connection: Arc::new(Mutex::new(connection)), insert: insert(place, ["?", "?"]).into() }]))
    }
    async fn arrived(&self, place: &str) -> anyhow::Result<u64> {
        let connection = rusqlite::Connection::open(self.file(place))?;
        let count = connection.query_row(&format!("SELECT count(DISTINCT delivery) FROM {place}"), [], |row| row.get::<_, i64>(0))?;
        Ok(u64::try_from(count)?)
    }
    async fn remove(&self, place: &str) -> anyhow::Result<()> {
        // The last connection took the log away.
        Ok(std::fs::remove_file(self.file(place))?)
    }
}

/// The one writer of a file. Used where it does not block who else uses the runtime, as tokio's docs ask.
pub struct Writer {
    connection: Arc<Mutex<rusqlite::Connection>>,
    insert: Arc<str>,
}

impl Hand for Writer {
    type Item = Delivery;

    async fn send(&mut self, batch: Vec<Delivery>) -> anyhow::Result<()> {
        let (connection, insert) = (Arc::clone(&self.connection), Arc::clone(&self.insert));
        let written = tokio::task::spawn_blocking(move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            {
                let mut insert = transaction.prepare_cached(&insert)?;
                for delivery in &batch {
                    insert.execute((&delivery.id, &delivery.sample.body))?;
                }
            }
            transaction.commit()
        });
        Ok(written.await??)
    }
}
