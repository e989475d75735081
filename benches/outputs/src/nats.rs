//! Messages of a JetStream stream on the server's disk: a batch is published, then each one's acknowledgement awaited.

use crate::crew::{Crew, Hand};
use crate::delivery::{CONTENT_TYPE, Delivery, Sample};
use crate::far_side::{AtOnce, FarSide, ids, text};
use async_nats::jetstream::context::Context;
use async_nats::jetstream::{self, stream};
use async_nats::{ConnectOptions, HeaderMap};
use futures_util::future::try_join_all;
use serde_json::{Value as Json, json};
use std::path::Path;
use std::sync::Arc;
use switchyard_api::{AnyKind, Rendered, kind};
use switchyard_services::nats::{Nats, PASSWORD, USER};

/// A server.
pub struct Server(Nats);

impl Server {
    async fn jetstream(&self) -> anyhow::Result<Context> {
        let options = ConnectOptions::with_user_and_password(USER.to_owned(), PASSWORD.to_owned());
        Ok(jetstream::new(options.connect(format!("nats://127.0.0.1:{}", self.0.port)).await?))
    }
}

impl FarSide for Server {
    const NAME: &'static str = "nats";
    const COUNT: u64 = 100_000;
    type Bare = Crew<Share>;

    fn start(_scratch: &Path) -> anyhow::Result<Self> {
        Nats::start(false, true).map(Server)
    }
    async fn make(&self, place: &str) -> anyhow::Result<()> {
        let config = stream::Config { name: place.to_owned(), subjects: vec![place.to_owned()], ..stream::Config::default() };
        self.jetstream().await?.create_stream(config).await?;
        Ok(())
    }
    fn kind(&self) -> Arc<dyn AnyKind> {
        kind::any(switchyard_nats::Nats)
    }
    fn settings(&self, _place: &str) -> Json {
        json!({ "url": format!("nats://{USER}:{PASSWORD}@127.0.0.1:{}", self.0.port) })
    }
    fn message(&self, place: &str, sample: &Sample) -> Vec<(&'static str, Rendered)> {
        vec![text("subject", place), text("body", &sample.body)]
    }
    async fn bare(&self, place: &str, at_once: AtOnce) -> anyhow::Result<Crew<Share>> {
        let jetstream = self.jetstream().await?;
        let share = || Share { jetstream: jetstream.clone(), subject: place.to_owned() };
        Ok(Crew::new((0..at_once.calls).map(|_| share()).collect()))
    }
    async fn arrived(&self, place: &str) -> anyhow::Result<u64> {
        Ok(self.jetstream().await?.get_stream(place).await?.get_info().await?.state.messages)
    }
    async fn remove(&self, place: &str) -> anyhow::Result<()> {
        self.jetstream().await?.delete_stream(place).await?;
        Ok(())
    }
}

/// A share of the connection.
pub struct Share {
    jetstream: Context,
    subject: String,
}

impl Hand for Share {
    type Item = Delivery;

    async fn send(&mut self, batch: Vec<Delivery>) -> anyhow::Result<()> {
        let mut acknowledgements = Vec::with_capacity(batch.len());
        for delivery in &batch {
            let mut headers = HeaderMap::new();
            headers.insert("Content-Type", CONTENT_TYPE);
            for (name, value) in ids(delivery) {
                headers.insert(name, value);
            }
            headers.insert("Nats-Msg-Id", delivery.id.as_str());
            let sent = self.jetstream.publish_with_headers(self.subject.clone(), headers, delivery.sample.bytes.clone());
            acknowledgements.push(sent.await?.into_future());
        }
        try_join_all(acknowledgements).await?;
        Ok(())
    }
}
