//! The output itself: made by its `Kind` as the host would, and called by as many hands as the delivery engine makes calls at once.

use crate::crew::{Crew, Hand};
use crate::delivery::{Batches, CONTENT_TYPE, Delivery, RECEIVED_AT, samples};
use crate::far_side::{AtOnce, Client, FarSide};
use crate::settings::{told, tree};
use anyhow::{Context, bail, ensure};
use std::path::Path;
use std::sync::Arc;
use switchyard_api::output::Word;
use switchyard_api::{Handle, Kit, Message, Outcome, Output, Parcel, Settle, Wall};
use tokio::sync::mpsc::UnboundedReceiver;

/// An output and the messages it carries.
pub struct Ours {
    output: Arc<dyn Output>,
    at_once: AtOnce,
    calls: Crew<Call>,
    /// By the sample's number.
    messages: Vec<Arc<Message>>,
}

impl Ours {
    /// Connects it.
    pub async fn connect<F: FarSide>(far: &F, place: &str) -> anyhow::Result<Self> {
        let (kind, mut problems) = (far.kind(), vec![]);
        let config = kind.read(&tree(&far.settings(place)), &mut problems);
        let config = config.with_context(|| format!("these settings do not run: {}", told(&problems)))?;
        let output = config.connect(&Kit::new(F::NAME, Path::new("/"), "switchyard/bench", Wall::new(|| RECEIVED_AT))).await?;
        let message = |sample| {
            let fields = far.message(place, sample).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            Arc::new(Message { fields, ..Message::default() })
        };
        let at_once = AtOnce::of(config.defaults(), output.max_batch());
        let calls = (0..at_once.calls).map(|_| Call { output: Arc::clone(&output), said: Settle::channel() }).collect();
        let messages = samples().iter().map(|sample| message(sample)).collect();
        Ok(Ours { output, at_once, calls: Crew::new(calls), messages })
    }

    /// How much of it is out at once.
    pub fn at_once(&self) -> AtOnce {
        self.at_once
    }

    fn parcel(&self, place: usize, delivery: Delivery) -> Parcel {
        Parcel {
            handle: Handle(place as u64),
            delivery: delivery.id,
            event: delivery.event,
            attempt: 1,
            replay: false,
            source: "orderchamp".into(),
            topic: "ORDER_PAID".into(),
            route: "all".into(),
            received_at: RECEIVED_AT,
            raw: delivery.sample.bytes.clone(),
            content_type: Some(CONTENT_TYPE.into()),
            message: Arc::clone(&self.messages[delivery.sample.number]),
        }
    }
}

impl Client for Ours {
    type Load = Vec<Vec<Parcel>>;

    /// A handle is the parcel's place in its batch.
    fn load(&self, batches: Batches) -> Self::Load {
        let parcels = |batch: Vec<Delivery>| batch.into_iter().enumerate().map(|(place, delivery)| self.parcel(place, delivery)).collect();
        batches.into_iter().map(parcels).collect()
    }

    async fn carry(&self, load: Self::Load) -> anyhow::Result<()> {
        self.calls.deliver(load).await
    }

    async fn close(&self) {
        self.output.close().await;
    }
}

/// One that calls it, again and again.
struct Call {
    output: Arc<dyn Output>,
    said: (Settle, UnboundedReceiver<Word>),
}

impl Hand for Call {
    type Item = Parcel;

    /// Each parcel is said to be sent, and then delivered, once.
    async fn send(&mut self, batch: Vec<Parcel>) -> anyhow::Result<()> {
        let (mut sent, mut delivered) = (vec![false; batch.len()], 0);
        let (settle, words) = &mut self.said;
        self.output.deliver(batch, settle).await;
        while let Ok(word) = words.try_recv() {
            match word {
                Word::Sent(Handle(place)) => *sent.get_mut(place as usize).context("an unknown handle")? = true,
                Word::Settled(Handle(place), Outcome::Delivered { .. }) => {
                    let sent = sent.get_mut(place as usize).context("an unknown handle")?;
                    ensure!(std::mem::take(sent), "settled twice, or never said to be sent");
                    delivered += 1;
                }
                Word::Settled(_, other) => bail!("{}: {}", other.word(), other.text()),
            }
        }
        ensure!(delivered == sent.len(), "{delivered} of {} were settled", sent.len());
        Ok(())
    }
}
