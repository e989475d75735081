//! One librdkafka producer: takes records, and says of each what became of it. Knows whether its topics can be reached.
//!
//! Before records go to a topic that nobody has heard of lately the brokers are asked for it ([`Lane::reach`]): a cluster that is gone,
//! a wrong password or a missing topic is found out while nothing has been sent, and so is said to be just that instead of
//! "unknown". Never: settles a parcel, retries a record.

use crate::record::Record;
use crate::verdict::{self, Failed, code};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::metadata::Metadata;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, statistics::Statistics};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use switchyard_api::Outcome;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, timeout_at};

/// How long a topic that was heard of counts as reachable.
const TRUST: Duration = Duration::from_secs(5);
/// Topics remembered; beyond it all are forgotten and asked for again (L6).
const TOPICS_MAX: usize = 1_000;
/// One question to the brokers; after it what is known of their trouble is looked at.
const QUESTION: Duration = Duration::from_millis(500);

/// What became of the `nth` record of a batch.
pub type Report = (usize, Result<Landed, Failed>);

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Landed {
    /// The partition.
    pub partition: i32,
    /// Its place there; negative where the broker did not say, because it had the record already.
    pub offset: i64,
}

/// Rides with a record through librdkafka and comes back with its report.
#[derive(Debug)]
pub struct Ticket {
    /// Which of the batch.
    pub nth: usize,
    /// Where the batch hears; nobody hears a batch that was given up.
    pub reports: UnboundedSender<Report>,
}

/// What librdkafka says of itself, by its own thread.
#[derive(Debug, Default)]
struct Ear {
    output: Arc<str>,
    /// How often something was wrong with a broker.
    troubles: AtomicU64,
    /// How often all brokers were lost.
    all_lost: AtomicU64,
    /// The last thing that was wrong and not seen to be right since.
    last: Mutex<Option<(Code, String)>>,
    /// Whether the brokers gave it the id that idempotence needs; heard only where statistics are on.
    has_id: AtomicBool,
}

impl ClientContext for Ear {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        tracing::debug!(target: "switchyard::kafka", output = &*self.output, ?level, facility, "{}", one_line(line));
    }

    fn stats(&self, statistics: Statistics) {
        if statistics.eos.is_some_and(|state| state.idemp_state == "Assigned") {
            self.has_id.store(true, Ordering::Release);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = code(&error);
        self.troubles.fetch_add(1, Ordering::AcqRel);
        if code == Code::AllBrokersDown {
            // It says nothing of why; what came before it does.
            self.all_lost.fetch_add(1, Ordering::AcqRel);
        } else {
            *lock(&self.last) = Some((code, one_line(reason)));
        }
        tracing::debug!(target: "switchyard::kafka", output = &*self.output, ?code, "{}", one_line(reason));
    }
}

impl ProducerContext for Ear {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let report = match result {
            Ok(message) => Ok(Landed { partition: message.partition(), offset: message.offset() }),
            Err((error, message)) => Err(Failed { code: code(error), placed: message.partition() >= 0 }),
        };
        let _ = ticket.reports.send((ticket.nth, report));
    }
}

/// What the last question for a topic brought.
#[derive(Debug, Clone)]
struct Heard {
    at: Instant,
    troubles: u64,
    answer: Result<(), Outcome>,
}

/// One producer.
pub struct Lane {
    producer: ThreadedProducer<Ear>,
    /// Whom the file names.
    brokers: String,
    heard: Mutex<BTreeMap<String, Heard>>,
    /// One question at a time: who waits for it takes its answer.
    asking: Arc<tokio::sync::Mutex<()>>,
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").field("heard", &self.heard).finish_non_exhaustive()
    }
}

impl Lane {
    /// Makes the producer; it connects by itself.
    pub fn open(client: &ClientConfig, output: &Arc<str>) -> Result<Self, KafkaError> {
        let ear = Ear { output: Arc::clone(output), ..Ear::default() };
        let producer = client.create_with_context(ear)?;
        let brokers = client.get("bootstrap.servers").unwrap_or_default().replace(',', ", ");
        Ok(Lane { producer, brokers, heard: Mutex::default(), asking: Arc::default() })
    }

    /// Hands a record over; its report comes by the ticket unless this is an error, and then nothing was sent.
    pub fn send(&self, record: &Record<'_>, ticket: Ticket) -> Result<(), Code> {
        let base = BaseRecord {
            topic: record.topic,
            partition: None,
            payload: record.value.as_deref(),
            key: record.key,
            timestamp: Some(record.timestamp),
            headers: Some(record.native_headers()),
            delivery_opaque: Box::new(ticket),
        };
        self.producer.send(base).map_err(|(error, _)| code(&error))
    }

    /// Why this producer takes nothing any more, if so.
    pub fn fatal(&self) -> Option<Code> {
        self.producer.client().fatal_error().map(|(code, _)| code)
    }

    /// A record landed there: it can be reached.
    pub fn landed(&self, topic: &str) {
        self.hear(topic, Ok(()));
    }

    /// Something went wrong there: ask before the next record.
    pub fn doubt(&self, topic: &str) {
        lock(&self.heard).remove(topic);
    }

    /// Whether records for this topic would reach somebody, as far as asking tells, at the latest by `until`.
    pub async fn reach(self: &Arc<Self>, topic: &str, until: Instant) -> Result<(), Outcome> {
        if self.is_trusted(topic) {
            return Ok(());
        }
        let began = Instant::now();
        let Ok(turn) = timeout_at(until, Arc::clone(&self.asking).lock_owned()).await else { return Err(self.unreachable()) };
        if let Some(heard) = lock(&self.heard).get(topic).filter(|heard| heard.at >= began) {
            return heard.answer.clone();
        }
        let (lane, topic) = (Arc::clone(self), topic.to_owned());
        let asked = tokio::task::spawn_blocking(move || {
            let answer = lane.ask(Some(&topic), until);
            lane.hear(&topic, answer.clone());
            // Held until the answer stands, also where nobody waits for it any more.
            drop(turn);
            answer
        });
        asked.await.unwrap_or_else(|broken| Err(Outcome::Retry { why: format!("the asking thread ended early: {broken}"), after: None }))
    }

    /// Asks the brokers for a topic, or only whether they are there. Blocks until `until` at most.
    pub fn ask(&self, topic: Option<&str>, until: Instant) -> Result<(), Outcome> {
        let lost = self.ear().all_lost.load(Ordering::Acquire);
        let mut waiting_for = None;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(waiting_for.unwrap_or_else(|| self.unreachable()));
            }
            match self.producer.client().fetch_metadata(topic, left.min(QUESTION)) {
                Ok(metadata) => match topic.map_or(Ok(()), |topic| judge(&metadata, topic)) {
                    // A leader is being chosen.
                    Err(outcome @ Outcome::Down { .. }) => {
                        waiting_for = Some(outcome);
                        std::thread::sleep(left.min(QUESTION / 5));
                    }
                    answer => {
                        *lock(&self.ear().last) = None;
                        return answer;
                    }
                },
                Err(error) => match code(&error) {
                    Code::BrokerTransportFailure | Code::OperationTimedOut | Code::AllBrokersDown => {
                        let outcome = self.unreachable();
                        let all_lost = self.ear().all_lost.load(Ordering::Acquire) != lost;
                        if all_lost || matches!(outcome, Outcome::Misconfigured { .. }) {
                            return Err(outcome);
                        }
                    }
                    other => return Err(verdict::not_reached(other, format!("the brokers answer: {}", verdict::says(other)))),
                },
            }
        }
    }

    /// Whether the brokers gave out the producer id that idempotence needs; needs statistics.
    pub fn has_id(&self) -> bool {
        self.ear().has_id.load(Ordering::Acquire)
    }

    /// Waits for what is under way. Blocks so long at most.
    pub fn flush(&self, most: Duration) {
        // What did not make it is settled by its report, or as unknown.
        let _ = self.producer.flush(most);
    }

    fn ear(&self) -> &Ear {
        self.producer.client().context()
    }

    fn is_trusted(&self, topic: &str) -> bool {
        let troubles = self.ear().troubles.load(Ordering::Acquire);
        lock(&self.heard).get(topic).is_some_and(|heard| heard.answer.is_ok() && heard.troubles == troubles && heard.at.elapsed() < TRUST)
    }

    fn hear(&self, topic: &str, answer: Result<(), Outcome>) {
        let troubles = self.ear().troubles.load(Ordering::Acquire);
        let mut heard = lock(&self.heard);
        if heard.len() >= TOPICS_MAX && !heard.contains_key(topic) {
            heard.clear();
        }
        heard.insert(topic.to_owned(), Heard { at: Instant::now(), troubles, answer });
    }

    /// Why no broker answers, as far as librdkafka said.
    fn unreachable(&self) -> Outcome {
        match lock(&self.ear().last).clone() {
            Some((code, reason)) => verdict::not_reached(code, format!("no broker can be used: {reason}")),
            None => Outcome::Down { why: format!("no broker answers at {}", self.brokers), after: None },
        }
    }
}

/// What the brokers' answer says of a topic; `Down` may pass by itself.
fn judge(metadata: &Metadata, topic: &str) -> Result<(), Outcome> {
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
        return Err(Outcome::Down { why: format!("topic `{topic}`: the brokers say nothing of it"), after: None });
    };
    if let Some(code) = found.error().map(Code::from).filter(|code| *code != Code::NoError) {
        let why = match code {
            Code::TopicAuthorizationFailed => {
                format!("topic `{topic}`: this user may not see it; give it the rights `Describe` and `Write`")
            }
            other => format!("topic `{topic}`: {}", verdict::says(other)),
        };
        return Err(verdict::not_reached(code, why));
    }
    if found.partitions().iter().all(|partition| partition.leader() < 0) {
        return Err(Outcome::Down { why: format!("topic `{topic}`: no partition has a leader now"), after: None });
    }
    Ok(())
}

/// What librdkafka says may hold line ends.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing panics under these locks; if it did, what they hold is whole at each line.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
