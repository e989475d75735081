//! Rows of a MariaDB table: one transaction a batch. Its driver sends a row when the one before was answered.

use crate::crew::{Crew, Hand};
use crate::delivery::{Delivery, Sample};
use crate::far_side::{AtOnce, FarSide};
use crate::sqlite::{insert, message, table};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, TxOpts};
use serde_json::{Value as Json, json};
use std::path::Path;
use std::sync::Arc;
use switchyard_api::{AnyKind, Rendered, kind};
use switchyard_services::mariadb::MariaDb;

/// A database of a server.
pub struct Database(MariaDb);

/// Its name.
const DATABASE: &str = "bench";

impl FarSide for Database {
    const NAME: &'static str = "mariadb";
    const COUNT: u64 = 50_000;
    type Bare = Crew<Open>;

    fn start(_scratch: &Path) -> anyhow::Result<Self> {
        let server = MariaDb::start(None)?;
        server.sql("", &format!("CREATE DATABASE {DATABASE}"))?;
        Ok(Database(server))
    }
    async fn make(&self, place: &str) -> anyhow::Result<()> {
        self.0.sql(DATABASE, &table(place)).map(drop)
    }
    fn kind(&self) -> Arc<dyn AnyKind> {
        kind::any(switchyard_sql::Sql)
    }
    fn settings(&self, _place: &str) -> Json {
        json!({ "url": self.0.url("switchyard", DATABASE) })
    }
    fn message(&self, place: &str, sample: &Sample) -> Vec<(&'static str, Rendered)> {
        message(place, sample)
    }
    async fn bare(&self, place: &str, _at_once: AtOnce) -> anyhow::Result<Crew<Open>> {
        let mut connections = vec![];
        for _ in 0..switchyard_sql::CONNECTIONS {
            // Over TCP as the output, not by the socket that the driver would find.
            let conn = Conn::from_url(format!("{}?prefer_socket=false", self.0.url("switchyard", DATABASE))).await?;
            connections.push(Open { conn, insert: insert(place, ["?", "?"]) });
        }
        Ok(Crew::new(connections))
    }
    async fn arrived(&self, place: &str) -> anyhow::Result<u64> {
        Ok(self.0.sql(DATABASE, &format!("SELECT count(DISTINCT delivery) FROM {place}"))?.parse()?)
    }
    async fn remove(&self, place: &str) -> anyhow::Result<()> {
        self.0.sql(DATABASE, &format!("DROP TABLE {place}")).map(drop)
    }
}

/// One connection.
pub struct Open {
    conn: Conn,
    insert: String,
}

impl Hand for Open {
    type Item = Delivery;

    async fn send(&mut self, batch: Vec<Delivery>) -> anyhow::Result<()> {
        let mut transaction = self.conn.start_transaction(TxOpts::default()).await?;
        for delivery in &batch {
            transaction.exec_drop(self.insert.as_str(), (&delivery.id, &delivery.sample.body)).await?;
        }
        Ok(transaction.commit().await?)
    }
}
