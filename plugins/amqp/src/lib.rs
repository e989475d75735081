//! `type: amqp`: publishes each delivery to an exchange of RabbitMQ (AMQP 0-9-1), and settles it once the broker has confirmed it.
//!
//! ```yaml
//! queue:
//!   type: amqp
//!   url: "${AMQP_URL}"                         # amqp://user:password@host:5672/vhost, or amqps:// with TLS
//!   ca: tls/rabbit-ca.pem                      # believe these roots, and not the system's
//!   tls: { cert: tls/us.pem, key: tls/us.key } # optional: who we are, where the server asks; read again when they change
//!   exchange: orders                           # without it the default one: the routing key is then a queue's name
//!   routing_key: "orders.{{ data.country }}"   # message; starts with a literal
//!   body: '{"order": "{{ data.id }}"}'         # message: without it the event's exact bytes
//!   headers: { shop: "{{ data.shop }}" }       # message
//! ```
//!
//! A message is persistent and has the properties `message_id` (the stable id: a repeat has the same), `timestamp` (when the event
//! was received), `content_type`, `app_id`, and the headers `switchyard-delivery`, `switchyard-event`, `switchyard-attempt`, on
//! replays `switchyard-replay`, and those of `headers`. Exchange and queues must be there; durable ones outlive the broker's restart.
//! A message that no queue takes comes back (`mandatory`), though the broker confirms it. Up to 500 deliveries are published before
//! the first confirm is awaited; consumers tell repeats by `message_id`.
//!
//! | what happens | outcome |
//! | --- | --- |
//! | confirmed by the broker (`basic.ack`) | delivered |
//! | no connection in half of `timeout`, at most 5 s, greeting and login included; the broker has blocked it (memory, disk), or opens no channel | down |
//! | user, password or virtual host refused; no such exchange, or no right to write to it; a certificate refused or unreadable; no queue takes the message | misconfigured |
//! | the broker refuses the message (406, 311); a routing key above 255 bytes | rejected |
//! | `basic.nack`; refused with others under way: those go one by one the next time | retry |
//! | sent, and no confirm in `timeout`, or the connection was lost | unknown |
//!
//! Never: retries or reconnects by itself, declares anything, shows a password (L7), lets a value choose the exchange (L8). Proven
//! by `tests/real.rs`.

mod answer;
mod link;
mod message;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use switchyard_api::escape::Escape;
use switchyard_api::stream::{Address, Schemes};
use switchyard_api::tls::TlsSettings;
use switchyard_api::{
    At, CheckError, Confine, ConnectError, Field, Handle, Kind, Kit, Outcome, Output, Parcel, Preview, Problem, Secret, Settle, Shape,
};
use tokio::time::{Instant, timeout_at};

use link::{Link, Links};

/// Parcels published before the first confirm is awaited.
const BATCH_MAX: usize = 500;
/// How the URL starts.
const SCHEMES: Schemes = Schemes { plain: ("amqp", 5672), tls: ("amqps", 5671) };
/// The longest name that the protocol can write, bytes.
const SHORT_MAX: usize = 255;

/// Settings of an AMQP output.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// The broker, with user, password and virtual host.   example: amqps://user:password@rabbit.example/shop
    pub url: At<Secret>,
    /// A PEM file of roots to believe instead of the system's.   example: tls/rabbit-ca.pem
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Who we are to a server that asks for a certificate; PEM files, read again when they change.   example: { cert: tls/shop.pem, key: tls/shop.key }
    #[serde(default)]
    pub tls: Option<At<TlsSettings>>,
    /// The exchange.   default: the broker's default one, whose routing keys are names of queues
    #[serde(default)]
    pub exchange: Option<At<String>>,
}

/// `amqp`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Amqp;

impl Kind for Amqp {
    type Config = Config;
    type Output = AmqpOutput;

    fn name(&self) -> &'static str {
        "amqp"
    }

    fn docs(&self) -> &'static str {
        "Each delivery as one message of a RabbitMQ exchange."
    }

    fn example(&self) -> &'static str {
        "{ type: amqp, url: \"${AMQP_URL}\", routing_key: events }"
    }

    fn fields(&self) -> Vec<Field> {
        let field = |name: &'static str, docs: &'static str, shape: Shape, escape: Escape, confine: Confine| Field {
            name: name.into(),
            docs: docs.into(),
            shape,
            escape,
            confine,
            required: name == "routing_key",
            default: None,
            cap: None,
        };
        vec![
            field("routing_key", "The routing key; without an exchange the queue's name.", Shape::Text, Escape::None, Confine::Name),
            field(
                "body",
                "The body, JSON; without it the event's bytes or the transform's result.",
                Shape::Text,
                Escape::Json,
                Confine::Content,
            ),
            field("headers", "Headers to add.", Shape::Map, Escape::Header, Confine::Content),
        ]
    }

    fn validate(&self, config: &Config) -> Vec<Problem> {
        let mut problems = match Address::judge(&config.url, SCHEMES) {
            Ok(address) => address.judge_tls(config.ca.as_deref(), config.tls.as_ref(), SCHEMES),
            Err(problems) => problems,
        };
        if let Some(exchange) = &config.exchange
            && !(1..=SHORT_MAX).contains(&exchange.value.len())
        {
            let problem = Problem::error("bad-exchange", exchange.span, "an exchange's name has 1 to 255 bytes", "here");
            problems.push(problem.help("leave `exchange` out for the default one"));
        }
        if let Some(exchange) = config.exchange.as_ref().filter(|exchange| exchange.value.contains("{{")) {
            let problem = Problem::error("bad-exchange", exchange.span, "`exchange` is a setting, and takes no template", "here");
            problems.push(problem.help("write its name, and what depends on the event into `routing_key`"));
        }
        problems
    }

    fn preview(&self, config: &Config, _kit: &Kit, parcel: &Parcel) -> Option<Result<Preview, String>> {
        Some(message::preview(parcel, config.exchange.as_ref().map(|exchange| exchange.value.as_str())))
    }

    async fn connect(&self, config: Config, kit: &Kit) -> Result<AmqpOutput, ConnectError> {
        let wrong = ConnectError;
        let address = Address::parse(config.url.value.expose(), SCHEMES).map_err(|e| wrong(format!("url: {e}")))?;
        let tls = address.encryption(config.ca.as_deref(), config.tls.as_ref(), kit).map_err(|e| wrong(e.to_string()))?;
        let exchange = config.exchange.map(|exchange| exchange.value).unwrap_or_default();
        Ok(AmqpOutput {
            links: Links::new(address, tls, kit),
            exchange: ShortString::from(exchange),
            timeout: kit.timeout,
            careful: AtomicUsize::new(0),
        })
    }
}

/// One exchange of one broker.
#[derive(Debug)]
pub struct AmqpOutput {
    links: Links,
    exchange: ShortString,
    timeout: Duration,
    /// So many parcels go one by one: the broker refused a message and did not say which, and closed the channel for all.
    careful: AtomicUsize,
}

/// A parcel under way.
struct Waiting {
    handle: Handle,
    delivery: String,
    confirm: lapin::PublisherConfirm,
}

/// What a batch left behind.
enum After {
    /// The channel is as good as before.
    Clean,
    /// The channel is closed, or holds answers that nobody waits for any more.
    Dirty,
    /// Nobody answered in time.
    Silent,
}

impl AmqpOutput {
    async fn publish(&self, parcels: &[Parcel], settle: &Settle) {
        let deadline = Instant::now() + self.timeout;
        let all = |parcels: &[Parcel], outcome: Outcome| parcels.iter().for_each(|parcel| settle.settle(parcel.handle, outcome.clone()));
        let link = match self.links.get(self.timeout).await {
            Ok(link) => link,
            Err(wrong) => return all(parcels, wrong.outcome()),
        };
        let mut rest = parcels;
        while !rest.is_empty() {
            if link.is_blocked() {
                let why = format!("{} has blocked this connection: it is short of memory or disk", self.links.address());
                return all(rest, Outcome::Down { why, after: None });
            }
            let channel = match timeout_at(deadline, link.channel()).await {
                Ok(Ok(channel)) => channel,
                Ok(Err(error)) => return all(rest, answer::not_sent(&error)),
                Err(_) => {
                    return all(rest, Outcome::Down { why: format!("{} opens no channel; not sent", self.links.address()), after: None });
                }
            };
            let (now, later) = rest.split_at(self.how_many(rest.len()));
            rest = later;
            match self.batch(&channel, now, deadline, settle).await {
                After::Clean => link.give_back(channel),
                After::Dirty => {}
                After::Silent => {
                    // Whoever comes next does not wait behind what hangs; what is blocked says so by itself.
                    if !link.is_blocked() {
                        self.links.forget(&link).await;
                    }
                    return all(rest, Outcome::Down { why: format!("{} confirms nothing; not sent", self.links.address()), after: None });
                }
            }
        }
    }

    fn how_many(&self, left: usize) -> usize {
        let careful = self.careful.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |careful| careful.checked_sub(1)).is_ok();
        if careful { 1 } else { left }
    }

    async fn batch(&self, channel: &Channel, parcels: &[Parcel], deadline: Instant, settle: &Settle) -> After {
        let mut waiting = Vec::with_capacity(parcels.len());
        let mut unsent = vec![];
        let mut broken = None;
        for parcel in parcels {
            if broken.is_some() {
                unsent.push(parcel.handle);
                continue;
            }
            let (key, payload, properties) = match message::message(parcel) {
                Ok(message) => message,
                Err(outcome) => {
                    settle.settle(parcel.handle, outcome);
                    continue;
                }
            };
            settle.sent(parcel.handle);
            let options = BasicPublishOptions { mandatory: true, immediate: false };
            let published = channel.basic_publish(self.exchange.clone(), key, options, &payload, properties);
            match timeout_at(deadline, published).await {
                Ok(Ok(confirm)) => waiting.push(Waiting { handle: parcel.handle, delivery: parcel.delivery.clone(), confirm }),
                Ok(Err(error)) => {
                    broken = Some((After::Dirty, answer::not_sent(&error)));
                    unsent.push(parcel.handle);
                }
                Err(_) => {
                    let why = format!("{} takes nothing; not sent", self.links.address());
                    broken = Some((After::Silent, Outcome::Down { why, after: None }));
                    settle.settle(parcel.handle, Outcome::Unknown { why: self.says_nothing() });
                }
            }
        }
        let (after, mend) = self.confirms(waiting, deadline, settle).await;
        let Some((how, outcome)) = broken else { return after };
        // The channel was closed under them. Where that was for the exchange, it is so for these too.
        let outcome = mend.unwrap_or(outcome);
        for handle in unsent {
            settle.settle(handle, outcome.clone());
        }
        if matches!(after, After::Clean) { how } else { after }
    }

    /// Settles each as its confirm comes; says besides what people must mend, if that is why the channel was closed.
    ///
    /// The library hands a returned message to whichever confirm comes next: its `message_id` says whose it is. It is handed over
    /// no later than its own confirm, so each group of ready ones is searched before it is settled.
    async fn confirms(&self, waiting: Vec<Waiting>, deadline: Instant, settle: &Settle) -> (After, Option<Outcome>) {
        let mut left: BTreeSet<Handle> = waiting.iter().map(|waiting| waiting.handle).collect();
        let confirms = waiting.into_iter().map(|Waiting { handle, delivery, confirm }| async move { (handle, delivery, confirm.await) });
        let mut groups = confirms.collect::<FuturesUnordered<_>>().ready_chunks(BATCH_MAX);
        let mut returned: BTreeMap<String, String> = BTreeMap::new();
        let (mut silent, mut refused) = (false, vec![]);
        loop {
            let group = match timeout_at(deadline, groups.next()).await {
                Ok(Some(group)) => group,
                Ok(None) => break,
                Err(_) => {
                    silent = true;
                    break;
                }
            };
            let mut ready = Vec::with_capacity(group.len());
            for (handle, delivery, confirm) in group {
                left.remove(&handle);
                match confirm {
                    Ok(confirmation) => {
                        returned.extend(answer::returned(&confirmation));
                        ready.push((handle, delivery, confirmation));
                    }
                    Err(error) => refused.push((handle, error)),
                }
            }
            for (handle, delivery, confirmation) in ready {
                settle.settle(handle, answer::confirmed(&confirmation, returned.get(&delivery)));
            }
        }
        for handle in left {
            settle.settle(handle, Outcome::Unknown { why: self.says_nothing() });
        }
        let mend = self.settle_refused(&refused, settle);
        let after = match (silent, refused.is_empty()) {
            (true, _) => After::Silent,
            (false, true) => After::Clean,
            (false, false) => After::Dirty,
        };
        (after, mend)
    }

    /// A refusal closes the channel for all that are under way on it, and names none of them. Gives back what people must mend.
    fn settle_refused(&self, refused: &[(Handle, lapin::Error)], settle: &Settle) -> Option<Outcome> {
        let alone = refused.len() == 1;
        let mut mend = None;
        for (handle, error) in refused {
            let outcome = answer::refused(error, alone);
            match outcome {
                // Bounded, so that a broker which refuses all is not asked one by one for ever.
                Outcome::Retry { .. } => {
                    let _ = self.careful.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < BATCH_MAX).then_some(n + 1));
                }
                Outcome::Misconfigured { .. } => mend = Some(outcome.clone()),
                _ => {}
            }
            settle.settle(*handle, outcome);
        }
        mend
    }

    fn says_nothing(&self) -> String {
        format!("{} gave no confirm within {:?}", self.links.address(), self.timeout)
    }

    async fn ask(&self) -> Result<(), CheckError> {
        let link: std::sync::Arc<Link> = self.links.get(self.timeout).await.map_err(|e| CheckError(e.to_string()))?;
        let wrong = |why: String| CheckError(format!("{} cannot be used: {why}", self.links.address()));
        if link.is_blocked() {
            return Err(wrong("it has blocked this connection: it is short of memory or disk".to_owned()));
        }
        let ask = async {
            let channel = link.new_channel().await?;
            if !self.exchange.as_str().is_empty() {
                let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
                channel.exchange_declare(self.exchange.clone(), ExchangeKind::Direct, options, FieldTable::default()).await?;
            }
            link.give_back(channel);
            Ok::<_, lapin::Error>(())
        };
        match tokio::time::timeout(self.timeout, ask).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(wrong(answer::plain(&error))),
            Err(_) => Err(wrong(format!("nothing heard within {:?}", self.timeout))),
        }
    }
}

impl Output for AmqpOutput {
    fn max_batch(&self) -> usize {
        BATCH_MAX
    }

    fn deliver<'a>(&'a self, parcels: Vec<Parcel>, settle: &'a Settle) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.publish(&parcels, settle).await })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), CheckError>> {
        Box::pin(self.ask())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.links.close())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_api::Span;

    #[test]
    fn what_is_wrong_is_found_at_its_place() {
        let found = |url: &str, exchange: &str| {
            let at = |start| Span { start, end: start + 1 };
            let exchange = Some(At { span: at(40), value: exchange.to_owned() });
            let config = Config { url: At { span: at(7), value: Secret::new(url) }, ca: None, tls: None, exchange };
            Amqp.validate(&config).iter().map(|p| (p.id, p.at.start)).collect::<Vec<_>>()
        };
        assert_eq!(found("amqps://u:p@h:1/%2Fshop", "orders"), []);
        assert_eq!(found("http://h", ""), [("bad-url", 7), ("bad-exchange", 40)]);
        assert_eq!(found("amqp://h", &"x".repeat(256)), [("bad-exchange", 40)]);
    }

    #[test]
    fn the_readme_says_what_the_docs_say() {
        switchyard_api::conformance::readme_is_the_docs(include_str!("lib.rs"), include_str!("../README.md"));
    }
}
