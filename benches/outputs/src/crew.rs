//! Those who deliver: each takes the next batch as soon as its last one is there. The same for both sides.

use crate::delivery::{Batches, Delivery};
use crate::far_side::Client;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinSet;

/// One of them: a connection, a share of one, or a call of an output.
pub trait Hand: Send + 'static {
    /// What it delivers.
    type Item: Send + 'static;

    /// Delivers a batch, and waits until the far side has all of it.
    fn send(&mut self, batch: Vec<Self::Item>) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Those that rest.
pub struct Crew<H>(Mutex<Vec<H>>);

impl<H: Hand> Crew<H> {
    /// Of these.
    pub fn new(hands: Vec<H>) -> Self {
        Crew(Mutex::new(hands))
    }

    /// Delivers all.
    pub async fn deliver(&self, batches: Vec<Vec<H::Item>>) -> anyhow::Result<()> {
        let queue = Arc::new(Mutex::new(batches.into_iter()));
        let mut workers = JoinSet::new();
        for mut hand in std::mem::take(&mut *self.all()) {
            let queue = Arc::clone(&queue);
            workers.spawn(async move {
                let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                while let Some(batch) = next() {
                    hand.send(batch).await?;
                }
                anyhow::Ok(hand)
            });
        }
        while let Some(ended) = workers.join_next().await {
            let hand = ended??;
            self.all().push(hand);
        }
        Ok(())
    }

    fn all(&self) -> std::sync::MutexGuard<'_, Vec<H>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A bare client.
impl<H: Hand<Item = Delivery>> Client for Crew<H> {
    type Load = Batches;

    fn load(&self, batches: Batches) -> Batches {
        batches
    }

    async fn carry(&self, load: Batches) -> anyhow::Result<()> {
        self.deliver(load).await
    }
}
