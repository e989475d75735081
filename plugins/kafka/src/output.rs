//! The way of a batch: records, are their topics there, into librdkafka, and each parcel settled by its own report.

use crate::lane::{Landed, Lane, Report, Ticket};
use crate::record::{Record, Shaper};
use crate::settings::{self, Config, Pems};
use crate::verdict::{self, Failed};
use futures_util::future::BoxFuture;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use switchyard_api::{CheckError, ConnectError, Handle, Kit, Outcome, Output, Parcel, Secret, Settle};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// Parcels in one call; librdkafka makes its own batches of them, a partition each.
const BATCH_MAX: usize = 500;
/// Between two tries to hand a record over while the client is full.
const ROOM: Duration = Duration::from_millis(20);
/// How long closing waits for what is under way.
const CLOSE_MAX: Duration = Duration::from_secs(5);
/// How often a check looks whether the producer has its id.
const LOOK: Duration = Duration::from_millis(50);

/// A connected Kafka output.
pub struct KafkaOutput {
    name: Arc<str>,
    shaper: Shaper,
    topics: Vec<String>,
    client: ClientConfig,
    timeout: Duration,
    /// The producer; made anew after a fatal error.
    lane: Mutex<Option<Arc<Lane>>>,
    /// Sends each record in a batch of its own: for those whose company was refused.
    alone: Mutex<Option<Arc<Lane>>>,
}

impl std::fmt::Debug for KafkaOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The client's settings hold the password.
        f.debug_struct("KafkaOutput").field("name", &self.name).field("shaper", &self.shaper).finish_non_exhaustive()
    }
}

/// One parcel's record on its way.
struct Item<'a> {
    handle: Handle,
    record: Record<'a>,
}

impl KafkaOutput {
    /// Reads the files and makes the producer.
    pub async fn connect(config: &Config, kit: &Kit) -> Result<Self, ConnectError> {
        let pems = pems(config, kit).await?;
        let output = KafkaOutput {
            name: Arc::clone(&kit.output),
            shaper: Shaper::new(config),
            topics: config.topics.iter().map(|topic| topic.value.clone()).collect(),
            client: settings::client(config, &pems, kit.timeout),
            timeout: kit.timeout,
            lane: Mutex::default(),
            alone: Mutex::default(),
        };
        output.lane().map_err(ConnectError)?;
        Ok(output)
    }

    fn lane(&self) -> Result<Arc<Lane>, String> {
        open(&self.lane, &self.client, &self.name)
    }

    fn alone(&self) -> Result<Arc<Lane>, String> {
        let mut client = self.client.clone();
        client.set("batch.num.messages", "1").set("linger.ms", "0");
        open(&self.alone, &client, &self.name)
    }

    async fn send(&self, parcels: Vec<Parcel>, settle: &Settle) {
        let until = Instant::now() + self.timeout.mul_f64(0.95);
        let items = self.records(&parcels, settle);
        let lane = match self.lane() {
            Ok(lane) => lane,
            Err(why) => return no_client(&items, &why, settle),
        };
        let items = reachable(&lane, items, Instant::now() + self.timeout / 2, settle).await;
        let refused = ship(&lane, items, until, settle, true).await;
        self.replace(&self.lane, &lane);
        if refused.is_empty() {
            return;
        }
        // The broker took none of that batch, and one record may be to blame: each by itself, once.
        match self.alone() {
            Ok(alone) => {
                ship(&alone, refused, until, settle, false).await;
                self.replace(&self.alone, &alone);
            }
            Err(why) => no_client(&refused, &why, settle),
        }
    }

    fn records<'a>(&self, parcels: &'a [Parcel], settle: &Settle) -> Vec<Item<'a>> {
        let mut items = Vec::with_capacity(parcels.len());
        for parcel in parcels {
            match self.shaper.record(parcel) {
                Ok(record) => items.push(Item { handle: parcel.handle, record }),
                Err(wrong) => settle.settle(parcel.handle, Outcome::Rejected { why: wrong.to_string() }),
            }
        }
        items
    }

    /// A producer with a fatal error takes nothing more: the next batch makes another.
    fn replace(&self, slot: &Mutex<Option<Arc<Lane>>>, used: &Arc<Lane>) {
        let Some(code) = used.fatal() else { return };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_some_and(|lane| Arc::ptr_eq(lane, used)) {
            tracing::warn!(output = &*self.name, "kafka: the producer ended ({code}); another is made");
            let ended = slot.take();
            // Letting go of it waits for its threads.
            tokio::task::spawn_blocking(move || drop(ended));
        }
    }

    /// A producer of its own, so that credentials are proven anew: brokers, topics, the right to write idempotently.
    async fn would_work(&self, topics: Vec<String>) -> Result<(), Outcome> {
        let mut client = self.client.clone();
        client.set("statistics.interval.ms", "100");
        let (until, name) = (Instant::now() + self.timeout, Arc::clone(&self.name));
        let asked = tokio::task::spawn_blocking(move || {
            let lane = Lane::open(&client, &name).map_err(|error| Outcome::Misconfigured { why: refused_settings(&error), after: None })?;
            lane.ask(None, until)?;
            topics.iter().try_for_each(|topic| lane.ask(Some(topic), until))?;
            while !lane.has_id() {
                if let Some(code) = lane.fatal() {
                    return Err(Outcome::Misconfigured { why: verdict::says(code), after: None });
                }
                if Instant::now() >= until {
                    return Err(Outcome::Down { why: "the brokers give no producer id; are enough of them up?".into(), after: None });
                }
                std::thread::sleep(LOOK);
            }
            Ok(())
        });
        asked.await.unwrap_or_else(|broken| Err(Outcome::Down { why: broken.to_string(), after: None }))
    }
}

fn open(slot: &Mutex<Option<Arc<Lane>>>, client: &ClientConfig, output: &Arc<str>) -> Result<Arc<Lane>, String> {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(lane) = &*slot {
        return Ok(Arc::clone(lane));
    }
    let lane = Arc::new(Lane::open(client, output).map_err(|error| refused_settings(&error))?);
    *slot = Some(Arc::clone(&lane));
    Ok(lane)
}

/// Why librdkafka made no client: without values, which may be secrets (L7).
fn refused_settings(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, _, name, _) => format!("librdkafka refuses the value of `{name}`"),
        KafkaError::ClientCreation(why) => format!("librdkafka makes no client: {why}"),
        other => format!("librdkafka makes no client: {other}"),
    }
}

/// Nothing goes out without a client.
fn no_client(items: &[Item<'_>], why: &str, settle: &Settle) {
    for item in items {
        settle.settle(item.handle, Outcome::Misconfigured { why: why.to_owned(), after: None });
    }
}

/// Settles what cannot be sent now, and gives back the rest.
async fn reachable<'a>(lane: &Arc<Lane>, mut items: Vec<Item<'a>>, until: Instant, settle: &Settle) -> Vec<Item<'a>> {
    let topics: BTreeSet<&str> = items.iter().map(|item| item.record.topic).collect();
    for topic in topics {
        let Err(outcome) = lane.reach(topic, until).await else { continue };
        items.retain(|item| {
            let stays = item.record.topic != topic;
            if !stays {
                settle.settle(item.handle, outcome.clone());
            }
            stays
        });
    }
    items
}

/// Hands all over in order, and settles each by its report; gives back those that were refused in company.
async fn ship<'a>(lane: &'a Lane, items: Vec<Item<'a>>, until: Instant, settle: &'a Settle, first: bool) -> Vec<Item<'a>> {
    let mut batch = Batch::new(lane, items, settle, first);
    batch.hand_over(until).await;
    batch.hear_all(until).await;
    batch.refused
}

/// One batch on its way.
struct Batch<'a> {
    lane: &'a Lane,
    settle: &'a Settle,
    /// Whether these go out for the first time in this attempt, and so in company.
    first: bool,
    items: Vec<Option<Item<'a>>>,
    waiting: usize,
    refused: Vec<Item<'a>>,
    /// The topic that the lane was told last to be within reach; none after a doubt.
    landed: Option<&'a str>,
    sender: UnboundedSender<Report>,
    reports: UnboundedReceiver<Report>,
}

impl<'a> Batch<'a> {
    #[allow(clippy::disallowed_methods)] // bounded by the records of one batch, which have one report each
    fn new(lane: &'a Lane, items: Vec<Item<'a>>, settle: &'a Settle, first: bool) -> Self {
        let (sender, reports) = mpsc::unbounded_channel();
        let items = items.into_iter().map(Some).collect();
        Batch { lane, settle, first, items, waiting: 0, refused: vec![], landed: None, sender, reports }
    }

    async fn hand_over(&mut self, until: Instant) {
        for nth in 0..self.items.len() {
            if let Some(Some(item)) = self.items.get(nth)
                && self.first
            {
                self.settle.sent(item.handle);
            }
            while let Err(code) = self.hand(nth) {
                if code != Code::QueueFull || Instant::now() >= until {
                    self.not_taken(nth, code);
                    break;
                }
                // Full: reports make room, ours or those of another batch.
                match timeout_at(Instant::now() + ROOM, self.reports.recv()).await {
                    Ok(Some(report)) => self.hear(report),
                    _ => sleep(Duration::from_millis(1)).await,
                }
            }
        }
    }

    fn hand(&mut self, nth: usize) -> Result<(), Code> {
        let Some(Some(item)) = self.items.get(nth) else { return Ok(()) };
        self.lane.send(&item.record, Ticket { nth, reports: self.sender.clone() })?;
        self.waiting += 1;
        Ok(())
    }

    fn not_taken(&mut self, nth: usize, code: Code) {
        let Some(item) = self.items.get_mut(nth).and_then(Option::take) else { return };
        let code = if code == Code::Fatal { self.lane.fatal().unwrap_or(code) } else { code };
        self.settle.settle(item.handle, verdict::not_taken(item.record.topic, code));
    }

    async fn hear_all(&mut self, until: Instant) {
        let mut late = std::pin::pin!(sleep_until(until));
        let mut heard = vec![];
        while self.waiting > 0 {
            // They come in bursts, a request's records at once.
            tokio::select! {
                biased;
                _ = self.reports.recv_many(&mut heard, BATCH_MAX) => {}
                () = &mut late => break,
            }
            heard.drain(..).for_each(|report| self.hear(report));
        }
        for item in self.items.iter_mut().filter_map(Option::take) {
            self.lane.doubt(item.record.topic);
            let why = format!("topic `{}`: no acknowledgement in time", item.record.topic);
            self.settle.settle(item.handle, Outcome::Unknown { why });
        }
    }

    fn hear(&mut self, (nth, report): Report) {
        self.waiting = self.waiting.saturating_sub(1);
        let Some(item) = self.items.get_mut(nth).and_then(Option::take) else { return };
        let topic = item.record.topic;
        match report {
            Ok(landed) => {
                if self.landed != Some(topic) {
                    self.lane.landed(topic);
                    self.landed = Some(topic);
                }
                self.settle.settle(item.handle, Outcome::Delivered { detail: landed.told(topic) });
            }
            Err(failed) if self.first && verdict::is_shared(failed.code) => self.refused.push(item),
            Err(failed) => {
                self.lane.doubt(topic);
                self.landed = None;
                let failed = Failed { code: self.cause(failed.code), ..failed };
                self.settle.settle(item.handle, verdict::failed(topic, failed));
            }
        }
    }

    /// What lies behind a code that only says that the producer ended.
    fn cause(&self, code: Code) -> Code {
        match self.lane.fatal() {
            // No id, no record: nothing of this producer was ever written.
            Some(Code::ClusterAuthorizationFailed) if code == Code::Fatal => Code::ClusterAuthorizationFailed,
            _ => code,
        }
    }
}

impl Landed {
    fn told(self, topic: &str) -> String {
        if self.offset < 0 {
            return format!("in {topic}, partition {}", self.partition);
        }
        format!("in {topic}, partition {}, offset {}", self.partition, self.offset)
    }
}

impl Output for KafkaOutput {
    fn max_batch(&self) -> usize {
        BATCH_MAX
    }

    fn deliver<'a>(&'a self, parcels: Vec<Parcel>, settle: &'a Settle) -> BoxFuture<'a, ()> {
        Box::pin(self.send(parcels, settle))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), CheckError>> {
        Box::pin(async { self.would_work(self.topics.clone()).await.map_err(|outcome| CheckError(outcome.text().to_owned())) })
    }

    fn check_message<'a>(&'a self, fixed: &'a BTreeMap<String, String>) -> BoxFuture<'a, Result<(), CheckError>> {
        Box::pin(async move {
            let Some(topic) = fixed.get("topic") else { return Ok(()) };
            self.would_work(vec![topic.clone()]).await.map_err(|outcome| CheckError(outcome.text().to_owned()))
        })
    }

    /// Waits a bounded time for what is under way and lets go of connections and threads.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let taken = [&self.lane, &self.alone].map(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).take());
            let most = self.timeout.min(CLOSE_MAX);
            let closed = tokio::task::spawn_blocking(move || {
                for lane in taken.into_iter().flatten() {
                    lane.flush(most);
                }
            });
            let _ = closed.await;
        })
    }
}

async fn pems(config: &Config, kit: &Kit) -> Result<Pems, ConnectError> {
    let Some(tls) = &config.tls else { return Ok(Pems::default()) };
    let read = |key: &'static str, path: Option<&str>| {
        let path = path.map(|path| kit.base.join(path));
        let output = Arc::clone(&kit.output);
        async move {
            let Some(path) = path else { return Ok(None) };
            let text = tokio::fs::read_to_string(&path).await.map_err(|e| unreadable(&output, key, &path, &e.to_string()))?;
            if text.contains("-----BEGIN ") { Ok(Some(text)) } else { Err(unreadable(&output, key, &path, "it is no PEM file")) }
        }
    };
    let cert = tls.cert.as_ref().map(|path| path.value.as_str());
    let key = tls.key.as_ref().map(|path| path.value.as_str());
    Ok(Pems { ca: read("ca", tls.ca.as_deref()).await?, cert: read("cert", cert).await?, key: read("key", key).await?.map(Secret::new) })
}

fn unreadable(output: &str, key: &str, path: &Path, why: &str) -> ConnectError {
    ConnectError(format!("output `{output}`: `tls.{key}`: cannot use `{}`: {why}", path.display()))
}
