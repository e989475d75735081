//! The seam between what is measured and how: a real server, the output for it, and its bare client.

use crate::delivery::{Batches, Delivery, Sample};
use serde_json::Value as Json;
use std::path::Path;
use std::sync::Arc;
use switchyard_api::{AnyKind, Defaults, Rendered};

/// A real far side that runs.
pub trait FarSide: Sized + Sync {
    /// As people write it.
    const NAME: &'static str;
    /// Deliveries a turn: a second or a few of them.
    const COUNT: u64;
    /// Its client library, used as its docs say.
    type Bare: Client<Load = Batches>;

    /// Starts it. Files lie below `scratch`.
    fn start(scratch: &Path) -> anyhow::Result<Self>;
    /// Makes a fresh, empty place to deliver to: a topic, a table.
    fn make(&self, place: &str) -> impl Future<Output = anyhow::Result<()>>;
    /// The output's kind.
    fn kind(&self) -> Arc<dyn AnyKind>;
    /// The output's settings: what it takes to reach the place, all else as it is by default.
    fn settings(&self, place: &str) -> Json;
    /// The message that the host would render.
    fn message(&self, place: &str, sample: &Sample) -> Vec<(&'static str, Rendered)>;
    /// The bare client, connected: as many connections as the output has, and no more out at once than `at_once`.
    fn bare(&self, place: &str, at_once: AtOnce) -> impl Future<Output = anyhow::Result<Self::Bare>>;
    /// How many deliveries the place really has, each once.
    fn arrived(&self, place: &str) -> impl Future<Output = anyhow::Result<u64>>;
    /// Removes the place, so that the next one finds the disk as this one did.
    fn remove(&self, place: &str) -> impl Future<Output = anyhow::Result<()>>;
}

/// One side: the output, or its bare client.
pub trait Client {
    /// What it takes, made before the clock runs.
    type Load;

    /// Makes it of deliveries.
    fn load(&self, batches: Batches) -> Self::Load;
    /// Delivers all of it and hears of each that the far side has it.
    fn carry(&self, load: Self::Load) -> impl Future<Output = anyhow::Result<()>>;
    /// Lets go of its connections.
    fn close(&self) -> impl Future<Output = ()> {
        async {}
    }
}

/// How much may be out at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtOnce {
    /// Calls, or batches.
    pub calls: usize,
    /// Deliveries in each.
    pub batch: usize,
}

/// Calls at once where a kind suggests nothing, as the delivery engine has it.
const CONCURRENCY: u32 = 32;
/// Deliveries out at once at most, as the delivery engine has it.
const OUT_MAX: usize = 4_096;

impl AtOnce {
    /// What the delivery engine does with such an output that always has more to do.
    pub fn of(suggested: Defaults, batch: usize) -> Self {
        let concurrency = suggested.concurrency.unwrap_or(CONCURRENCY) as usize;
        AtOnce { calls: concurrency.min(OUT_MAX / batch).max(1), batch }
    }

    /// Deliveries in all.
    pub fn deliveries(self) -> u64 {
        (self.calls * self.batch) as u64
    }
}

/// The ids of a delivery, as every output of the kind of a message bus carries them.
pub fn ids(delivery: &Delivery) -> [(&'static str, &str); 3] {
    [("switchyard-event", &delivery.event), ("switchyard-delivery", &delivery.id), ("switchyard-attempt", "1")]
}

/// A text field of a message.
pub fn text(name: &'static str, text: &str) -> (&'static str, Rendered) {
    (name, Rendered::Text(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_is_out_at_once_as_the_engine_lets_out() {
        assert_eq!((CONCURRENCY, OUT_MAX), (switchyard::deliver::section::CONCURRENCY, switchyard::deliver::engine::UNSETTLED_MAX));
        assert_eq!(AtOnce::of(Defaults::default(), 1), AtOnce { calls: 32, batch: 1 });
        assert_eq!(AtOnce::of(Defaults::default(), 500), AtOnce { calls: 8, batch: 500 });
    }
}
