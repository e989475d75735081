//! One connection's life after the broker has let us in. Two tasks: one writes what is handed over, one reads the answers.
//!
//! The library's own event loop ends the connection on a refusal, and sends again what was under way once it has reconnected. Its
//! packets are used here and nothing else of it: each message has its own answer, and what is lost stays lost.

use futures_util::stream::StreamExt;
use futures_util::{SinkExt, stream::SplitSink, stream::SplitStream};
use rumqttc::v5::mqttbytes::v5::{Codec, Disconnect, DisconnectReasonCode, Packet, PingReq, PubAckReason, Publish};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use switchyard_api::stream::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::codec::Framed;

/// Messages that wait to be written; more wait before they are handed over.
const QUEUE_MAX: usize = 500;

/// A connection on which packets come and go.
pub type Wire = Framed<Box<dyn Stream>, Codec>;
/// Resolves with the answer; with an error where the message was never written.
pub type Awaited = oneshot::Receiver<Answer>;

/// What became of a message that was written.
#[derive(Debug)]
pub enum Answer {
    /// The broker has said so.
    Acknowledged(PubAckReason),
    /// The connection ended before it did.
    Lost {
        /// Why.
        why: Ended,
        /// Whether no other message was under way.
        alone: bool,
    },
}

/// Why a connection ended.
#[derive(Debug, Clone)]
pub enum Ended {
    /// The broker said so.
    Said(DisconnectReasonCode),
    /// It did not.
    Broken(String),
}

enum Order {
    Publish(Box<Publish>, oneshot::Sender<Answer>),
    Ping(oneshot::Sender<()>),
    Leave(oneshot::Sender<()>),
}

/// Both tasks' common knowledge.
#[derive(Default)]
struct Shared {
    under_way: BTreeMap<u16, (oneshot::Sender<Answer>, OwnedSemaphorePermit)>,
    pings: Vec<oneshot::Sender<()>>,
    last: u16,
}

impl Shared {
    /// A number that no message under way has. There is one: fewer are under way than there are numbers.
    fn number(&mut self) -> u16 {
        loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            if !self.under_way.contains_key(&self.last) {
                return self.last;
            }
        }
    }
}

/// A session that the broker has opened.
pub struct Session {
    orders: mpsc::Sender<Order>,
    writer: JoinHandle<()>,
    reader: JoinHandle<()>,
    /// The largest packet that the broker takes, bytes.
    pub packet_max: usize,
}

impl Session {
    /// Starts the two tasks. `most`: how many messages may be under way; `quiet`: after how long without a message a ping goes out.
    pub fn start(wire: Wire, packet_max: usize, most: u16, quiet: Duration) -> Self {
        let (orders, queue) = mpsc::channel(QUEUE_MAX);
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (sink, source) = wire.split();
        let mut pings = tokio::time::interval(quiet);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let writer = Writer { sink, queue, shared: Arc::clone(&shared), room: Arc::new(Semaphore::new(usize::from(most))), pings };
        let writer = tokio::spawn(writer.run());
        let reader = tokio::spawn(read(source, shared, writer.abort_handle()));
        Session { orders, writer, reader, packet_max }
    }

    /// Hands a message over, in order; `None` if the connection has ended.
    pub async fn publish(&self, publish: Publish) -> Option<Awaited> {
        let (answer, awaited) = oneshot::channel();
        self.orders.send(Order::Publish(Box::new(publish), answer)).await.ok()?;
        Some(awaited)
    }

    /// Whether the broker answers.
    pub async fn ping(&self) -> bool {
        let (answer, awaited) = oneshot::channel();
        self.orders.send(Order::Ping(answer)).await.is_ok() && awaited.await.is_ok()
    }

    /// Takes leave, so that the broker need not wait for the connection's end.
    pub async fn leave(&self) {
        let (answer, awaited) = oneshot::channel();
        if self.orders.send(Order::Leave(answer)).await.is_ok() {
            // An error means that it has ended already.
            let _ = awaited.await;
        }
    }

    /// Whether nothing has ended it yet.
    pub fn is_alive(&self) -> bool {
        !self.reader.is_finished() && !self.writer.is_finished()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.writer.abort();
        self.reader.abort();
    }
}

struct Writer {
    sink: SplitSink<Wire, Packet>,
    queue: mpsc::Receiver<Order>,
    shared: Arc<Mutex<Shared>>,
    room: Arc<Semaphore>,
    pings: Interval,
}

impl Writer {
    /// Ends with the queue, or with the first failure to write; the reader then hears the end of the connection.
    async fn run(mut self) {
        loop {
            let order = tokio::select! {
                biased;
                order = self.queue.recv() => order,
                _ = self.pings.tick() => {
                    if self.write(Packet::PingReq(PingReq)).await.is_none() { return }
                    continue;
                }
            };
            let went_on = match order {
                Some(Order::Publish(publish, answer)) => self.publish(*publish, answer).await,
                Some(Order::Ping(answer)) => {
                    lock(&self.shared).pings.push(answer);
                    self.write(Packet::PingReq(PingReq)).await
                }
                Some(Order::Leave(done)) => {
                    self.write(Packet::Disconnect(Disconnect::new(DisconnectReasonCode::NormalDisconnection))).await;
                    let _ = self.sink.close().await;
                    let _ = done.send(());
                    return;
                }
                None => return,
            };
            if went_on.is_none() {
                return;
            }
        }
    }

    async fn publish(&mut self, mut publish: Publish, answer: oneshot::Sender<Answer>) -> Option<()> {
        let permit = Arc::clone(&self.room).acquire_owned().await.ok()?;
        // Whoever waited has given up, and what was never written never left.
        if answer.is_closed() {
            return self.flush_if_last().await;
        }
        {
            let mut shared = lock(&self.shared);
            publish.pkid = shared.number();
            shared.under_way.insert(publish.pkid, (answer, permit));
        }
        self.sink.feed(Packet::Publish(publish)).await.ok()?;
        self.flush_if_last().await
    }

    /// One write for all that are here and have room.
    async fn flush_if_last(&mut self) -> Option<()> {
        if self.queue.is_empty() || self.room.available_permits() == 0 { self.sink.flush().await.ok() } else { Some(()) }
    }

    async fn write(&mut self, packet: Packet) -> Option<()> {
        self.sink.send(packet).await.ok()
    }
}

/// Ends with the connection, and says so to all that are under way.
async fn read(mut source: SplitStream<Wire>, shared: Arc<Mutex<Shared>>, writer: tokio::task::AbortHandle) {
    let why = loop {
        match source.next().await {
            Some(Ok(Packet::PubAck(ack))) => {
                let waiting = lock(&shared).under_way.remove(&ack.pkid);
                if let Some((answer, _permit)) = waiting {
                    // Whoever waited may have given up.
                    let _ = answer.send(Answer::Acknowledged(ack.reason));
                }
            }
            Some(Ok(Packet::PingResp(_))) => {
                for answer in lock(&shared).pings.drain(..) {
                    let _ = answer.send(());
                }
            }
            Some(Ok(Packet::Disconnect(said))) => break Ended::Said(said.reason_code),
            // Nothing was subscribed to: what else comes is not for us.
            Some(Ok(_)) => {}
            Some(Err(error)) => break Ended::Broken(error.to_string()),
            None => break Ended::Broken("the broker closed the connection".to_owned()),
        }
    };
    // What is still in the queue is dropped unwritten.
    writer.abort();
    let under_way = std::mem::take(&mut lock(&shared).under_way);
    let alone = under_way.len() == 1;
    for (answer, _permit) in under_way.into_values() {
        let _ = answer.send(Answer::Lost { why: why.clone(), alone });
    }
    lock(&shared).pings.clear();
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
