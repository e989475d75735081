//! Rows of a PostgreSQL table: one transaction a batch, rows sent without waiting between them.

use crate::crew::{Crew, Hand};
use crate::delivery::{Delivery, Sample};
use crate::far_side::{AtOnce, FarSide};
use crate::sqlite::{insert, message, table};
use futures_util::future::try_join_all;
use serde_json::{Value as Json, json};
use std::path::Path;
use std::sync::Arc;
use switchyard_api::{AnyKind, Rendered, kind};
use switchyard_services::postgres::Postgres;
use tokio_postgres::{Client, NoTls, Statement};

/// A database of a server.
pub struct Database(Postgres);

/// Its name.
const DATABASE: &str = "postgres";

impl FarSide for Database {
    const NAME: &'static str = "postgres";
    const COUNT: u64 = 100_000;
    type Bare = Crew<Open>;

    fn start(_scratch: &Path) -> anyhow::Result<Self> {
        Postgres::start(None).map(Database)
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
            let (client, connection) = tokio_postgres::connect(&self.0.url("switchyard", DATABASE), NoTls).await?;
            tokio::spawn(connection);
            let insert = client.prepare(&insert(place, ["$1", "$2"])).await?;
            connections.push(Open { client, insert });
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
    client: Client,
    insert: Statement,
}

impl Hand for Open {
    type Item = Delivery;

    async fn send(&mut self, batch: Vec<Delivery>) -> anyhow::Result<()> {
        let transaction = self.client.transaction().await?;
        let (transaction_of_all, insert) = (&transaction, &self.insert);
        try_join_all(
            batch.iter().map(|delivery| async move { transaction_of_all.execute(insert, &[&delivery.id, &delivery.sample.body]).await }),
        )
        .await?;
        Ok(transaction.commit().await?)
    }
}
