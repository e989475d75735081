//! Entries of a Redis stream: a pipeline a batch, over the one connection that all share. The server syncs its file with each.

use crate::crew::{Crew, Hand};
use crate::delivery::{CONTENT_TYPE, Delivery, Sample};
use crate::far_side::{AtOnce, FarSide, ids, text};
use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, Pipeline};
use serde_json::{Value as Json, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::{AnyKind, Rendered, kind};
use switchyard_services::redis::{PASSWORD, Redis};

/// A server.
pub struct Server(Redis);

impl Server {
    fn url(&self) -> String {
        format!("redis://:{PASSWORD}@127.0.0.1:{}", self.0.port)
    }
}

impl FarSide for Server {
    const NAME: &'static str = "redis";
    const COUNT: u64 = 40_000;
    type Bare = Crew<Share>;

    fn start(_scratch: &Path) -> anyhow::Result<Self> {
        Redis::start(&[]).map(Server)
    }
    async fn make(&self, _place: &str) -> anyhow::Result<()> {
        // The first entry makes the stream.
        Ok(())
    }
    fn kind(&self) -> Arc<dyn AnyKind> {
        kind::any(switchyard_redis::Redis)
    }
    fn settings(&self, _place: &str) -> Json {
        json!({ "url": self.url() })
    }
    fn message(&self, place: &str, sample: &Sample) -> Vec<(&'static str, Rendered)> {
        vec![text("stream", place), text("body", &sample.body)]
    }
    async fn bare(&self, place: &str, at_once: AtOnce) -> anyhow::Result<Crew<Share>> {
        // As long as an attempt; a disk may take longer to sync than half a second.
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(10)));
        let connection = Client::open(self.url())?.get_multiplexed_async_connection_with_config(&config).await?;
        let share = || Share { connection: connection.clone(), stream: place.to_owned() };
        Ok(Crew::new((0..at_once.calls).map(|_| share()).collect()))
    }
    async fn arrived(&self, place: &str) -> anyhow::Result<u64> {
        Ok(self.0.cli(&["XLEN", place])?.trim().parse()?)
    }
    async fn remove(&self, place: &str) -> anyhow::Result<()> {
        self.0.cli(&["DEL", place]).map(drop)
    }
}

/// A share of the connection.
pub struct Share {
    connection: MultiplexedConnection,
    stream: String,
}

impl Hand for Share {
    type Item = Delivery;

    async fn send(&mut self, batch: Vec<Delivery>) -> anyhow::Result<()> {
        let mut pipeline = Pipeline::with_capacity(batch.len());
        for delivery in &batch {
            let command = pipeline.cmd("XADD").arg(&self.stream).arg("*");
            for (name, value) in ids(delivery) {
                command.arg(name).arg(value);
            }
            command.arg("content-type").arg(CONTENT_TYPE).arg("body").arg(&delivery.sample.body);
        }
        let entries: Vec<String> = pipeline.query_async(&mut self.connection).await?;
        anyhow::ensure!(entries.len() == batch.len(), "{} of {} were added", entries.len(), batch.len());
        Ok(())
    }
}
