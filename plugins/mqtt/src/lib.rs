//! `type: mqtt`: publishes each delivery to an MQTT 5 broker with QoS 1, and settles it by the reason code of its PUBACK.
//!
//! ```yaml
//! floor:
//!   type: mqtt
//!   url: "${MQTT_URL}"                      # mqtt://user:password@host:1883, or mqtts:// with TLS
//!   ca: tls/broker-ca.pem                   # believe these roots, and not the system's
//!   tls: { cert: tls/us.pem, key: tls/us.key }  # optional: who we are, where the server asks; read again when they change
//!   client_id: switchyard-floor             # optional: without it the broker gives one; no two clients may have the same
//!   retain: true                            # optional: the broker keeps the last message of a topic
//!   expires: 1h                             # optional: the broker drops what was not read by then
//!   need_subscriber: true                   # optional: that nobody subscribes is then no success
//!   topic: "orders/{{ data.country }}"      # message; starts with a literal
//!   body: '{"order": "{{ data.id }}"}'      # message: without it the event's exact bytes
//!   headers: { shop: "{{ data.shop }}" }    # message: user properties
//! ```
//!
//! A message has the user properties `switchyard-delivery` (the stable id: a repeat has the same), `switchyard-event`,
//! `switchyard-attempt`, on replays `switchyard-replay`, those of `headers`, and a content type. MQTT does not tell repeats apart:
//! subscribers do, by that id. Up to 500 deliveries are published before the first answer is awaited, and never more than the
//! broker's receive maximum are under way. Brokers that speak only MQTT 3.1.1 are refused: they cannot say why they refuse.
//!
//! | what happens | outcome |
//! | --- | --- |
//! | PUBACK success; no matching subscribers (0x10) | delivered |
//! | no connection in half of `timeout`, at most 5 s, greeting and login included; the broker is busy or unavailable, or takes nothing | down |
//! | user, password or client id refused, not authorised to publish there (0x87); a certificate refused or unreadable; no QoS 1 | misconfigured |
//! | larger than the broker's maximum; topic name (0x90) or payload format (0x99) invalid; a topic with `+`, `#` or NUL | rejected |
//! | quota exceeded and other reasons; no subscriber, with `need_subscriber` | retry |
//! | sent, and no PUBACK in `timeout`, or the connection was lost | unknown |
//!
//! Never: retries or reconnects by itself, shows a password (L7), lets a value become a wildcard (L8). Proven by `tests/real.rs`.

mod answer;
mod link;
mod message;
mod session;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use rumqttc::v5::mqttbytes::v5::Publish;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;
use switchyard_api::escape::Escape;
use switchyard_api::stream::{Address, Schemes};
use switchyard_api::tls::TlsSettings;
use switchyard_api::{
    At, CheckError, Confine, ConnectError, Field, Handle, Kind, Kit, Outcome, Output, Parcel, Period, Preview, Problem, Secret, Settle,
    Shape, Span, Written,
};
use tokio::time::{Instant, timeout_at};

use link::{Links, Login};
use session::{Answer, Session};

/// Parcels published before the first answer is awaited.
const BATCH_MAX: usize = 500;
/// How the URL starts.
const SCHEMES: Schemes = Schemes { plain: ("mqtt", 1883), tls: ("mqtts", 8883) };

/// Settings of an MQTT output.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// The broker, with user and password.   example: mqtts://user:password@broker.example:8883
    pub url: At<Secret>,
    /// A PEM file of roots to believe instead of the system's.   example: tls/broker-ca.pem
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Who we are to a server that asks for a certificate; PEM files, read again when they change.   example: { cert: tls/shop.pem, key: tls/shop.key }
    #[serde(default)]
    pub tls: Option<At<TlsSettings>>,
    /// Our name at the broker.   default: the broker gives one
    #[serde(default)]
    pub client_id: Option<At<String>>,
    /// Whether the broker keeps the last message of a topic.   default: false
    #[serde(default)]
    pub retain: bool,
    /// How long the broker keeps a message for subscribers that are away.   default: for ever
    #[serde(default)]
    pub expires: Option<At<Period>>,
    /// Whether a message that nobody subscribes to is tried again.   default: false
    #[serde(default)]
    pub need_subscriber: bool,
}

/// `mqtt`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mqtt;

impl Kind for Mqtt {
    type Config = Config;
    type Output = MqttOutput;

    fn name(&self) -> &'static str {
        "mqtt"
    }

    fn docs(&self) -> &'static str {
        "Each delivery as one message of an MQTT 5 topic."
    }

    fn example(&self) -> &'static str {
        "{ type: mqtt, url: \"${MQTT_URL}\", topic: events }"
    }

    fn fields(&self) -> Vec<Field> {
        let field = |name: &'static str, docs: &'static str, shape: Shape, escape: Escape, confine: Confine| Field {
            name: name.into(),
            docs: docs.into(),
            shape,
            escape,
            confine,
            required: name == "topic",
            default: None,
            cap: None,
        };
        vec![
            field("topic", "The topic.", Shape::Text, Escape::None, Confine::Name),
            field(
                "body",
                "The payload, JSON; without it the event's bytes or the transform's result.",
                Shape::Text,
                Escape::Json,
                Confine::Content,
            ),
            field("headers", "User properties to add.", Shape::Map, Escape::Header, Confine::Content),
        ]
    }

    fn validate(&self, config: &Config) -> Vec<Problem> {
        let at = config.url.span;
        let mut problems = match Address::judge(&config.url, SCHEMES) {
            Ok(address) => {
                let mut problems = judge_address(&address, at);
                problems.extend(address.judge_tls(config.ca.as_deref(), config.tls.as_ref(), SCHEMES));
                problems
            }
            Err(problems) => problems,
        };
        if let Some(id) = config.client_id.as_ref().filter(|id| id.value.is_empty() || too_long(Some(&id.value))) {
            let problem = Problem::error("bad-client-id", id.span, "a client id has 1 to 65,535 bytes", "here");
            problems.push(problem.help("leave `client_id` out, and the broker gives one"));
        }
        if let Some(expires) = config.expires.filter(|expires| seconds(expires.value).is_none()) {
            let problem = Problem::error("bad-expiry", expires.span, "a message expires after 1 s to 136 years", "here");
            problems.push(problem.help("leave `expires` out to keep messages, or write `expires: 1h`"));
        }
        problems
    }

    fn judge(&self, _config: &Config, message: Written<'_>) -> Vec<Problem> {
        let wrong = message.constant("topic").filter(|topic| !message::is_topic(topic.value));
        let problem = wrong.map(|topic| Problem::error("bad-topic", topic.span, "nothing can be published to this topic", "here"));
        problem.map(|problem| problem.help("write 1 to 65,535 bytes without `+`, `#` and control characters")).into_iter().collect()
    }

    fn preview(&self, config: &Config, _kit: &Kit, parcel: &Parcel) -> Option<Result<Preview, String>> {
        Some(message::preview(parcel, shape(config)))
    }

    async fn connect(&self, config: Config, kit: &Kit) -> Result<MqttOutput, ConnectError> {
        let wrong = ConnectError;
        let address = Address::parse(config.url.value.expose(), SCHEMES).map_err(|e| wrong(format!("url: {e}")))?;
        let tls = address.encryption(config.ca.as_deref(), config.tls.as_ref(), kit).map_err(|e| wrong(e.to_string()))?;
        let shape = shape(&config);
        let login = Login { client_id: config.client_id.map(|id| id.value).unwrap_or_default() };
        let need_subscriber = config.need_subscriber;
        Ok(MqttOutput { links: Links::new(address, tls, login), shape, need_subscriber, timeout: kit.timeout })
    }
}

fn shape(config: &Config) -> message::Shape {
    message::Shape { retain: config.retain, expires: config.expires.and_then(|expires| seconds(expires.value)) }
}

fn judge_address(address: &Address, at: Span) -> Vec<Problem> {
    let mut problems = vec![];
    if address.path.as_deref().is_some_and(|path| !path.is_empty()) {
        let problem = Problem::error("bad-url", at, "this URL has a path: a broker has none, and the topic is `topic`", "here");
        problems.push(problem.help("write `mqtt://host:1883`"));
    }
    if [address.user.as_deref(), address.password.as_ref().map(Secret::expose)].into_iter().any(too_long) {
        problems.push(Problem::error("bad-url", at, "user or password of this URL has more than 65,535 bytes", "here"));
    }
    problems
}

/// Whether the protocol cannot write it.
fn too_long(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.len() > usize::from(u16::MAX))
}

fn seconds(period: Period) -> Option<u32> {
    u32::try_from(period.0.as_secs()).ok().filter(|seconds| *seconds > 0)
}

/// Topics of one broker.
#[derive(Debug)]
pub struct MqttOutput {
    links: Links,
    shape: message::Shape,
    need_subscriber: bool,
    timeout: Duration,
}

impl MqttOutput {
    async fn publish(&self, parcels: &[Parcel], settle: &Settle) {
        let deadline = Instant::now() + self.timeout;
        let session = match self.links.get(self.timeout).await {
            Ok(session) => session,
            Err(wrong) => {
                let outcome = wrong.outcome();
                return parcels.iter().for_each(|parcel| settle.settle(parcel.handle, outcome.clone()));
            }
        };
        let mut answers = FuturesUnordered::new();
        for parcel in parcels {
            match message::message(parcel, self.shape, session.packet_max) {
                Ok(publish) => match self.hand_over(&session, parcel.handle, publish, deadline, settle).await {
                    Ok(answer) => answers.push(async move { (parcel.handle, timeout_at(deadline, answer).await) }),
                    Err(outcome) => settle.settle(parcel.handle, outcome),
                },
                Err(outcome) => settle.settle(parcel.handle, outcome),
            }
        }
        let (mut answered, mut silent) = (false, false);
        while let Some((handle, answer)) = answers.next().await {
            let outcome = match answer {
                Ok(Ok(answer)) => {
                    answered |= matches!(answer, Answer::Acknowledged(_));
                    answer::outcome(answer, self.need_subscriber)
                }
                // It was still in the queue when the session ended.
                Ok(Err(_)) => Outcome::Down { why: format!("the connection to {} was lost; not sent", self.links.address()), after: None },
                Err(_) => {
                    silent = true;
                    Outcome::Unknown { why: format!("{} gave no PUBACK within {:?}", self.links.address(), self.timeout) }
                }
            };
            settle.settle(handle, outcome);
        }
        if silent && !answered {
            // Whoever comes next does not wait behind what hangs.
            self.links.forget(&session).await;
        }
    }

    /// Gives a message to the session, in order. What it does not take has surely not left.
    async fn hand_over(
        &self,
        session: &Session,
        handle: Handle,
        publish: Publish,
        deadline: Instant,
        settle: &Settle,
    ) -> Result<session::Awaited, Outcome> {
        settle.sent(handle);
        match timeout_at(deadline, session.publish(publish)).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(Outcome::Down { why: format!("the connection to {} was lost; not sent", self.links.address()), after: None }),
            Err(_) => Err(Outcome::Down { why: format!("{} takes nothing; not sent", self.links.address()), after: None }),
        }
    }

    async fn ask(&self) -> Result<(), CheckError> {
        let session = self.links.get(self.timeout).await.map_err(|e| CheckError(e.to_string()))?;
        match tokio::time::timeout(self.timeout, session.ping()).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(CheckError(format!("the connection to {} was lost", self.links.address()))),
            Err(_) => Err(CheckError(format!("{} says nothing within {:?}", self.links.address(), self.timeout))),
        }
    }
}

impl Output for MqttOutput {
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

    #[test]
    fn what_is_wrong_is_found_at_its_place() {
        let at = |start| Span { start, end: start + 1 };
        let found = |url: &str, id: &str, expires: Period| {
            let config = Config {
                url: At { span: at(7), value: Secret::new(url) },
                ca: None,
                tls: None,
                client_id: Some(At { span: at(20), value: id.to_owned() }),
                retain: false,
                expires: Some(At { span: at(30), value: expires }),
                need_subscriber: false,
            };
            Mqtt.validate(&config).iter().map(|p| (p.id, p.at.start)).collect::<Vec<_>>()
        };
        assert_eq!(found("mqtts://u:p@h:1/", "me", Period::secs(1)), []);
        assert_eq!(found("http://h", "", Period::secs(0)), [("bad-url", 7), ("bad-client-id", 20), ("bad-expiry", 30)]);
        assert_eq!(found("mqtt://h/orders", "me", Period::secs(1 << 32)), [("bad-url", 7), ("bad-expiry", 30)]);
        assert_eq!(found(&format!("mqtt://{}@h", "u".repeat(65_536)), "me", Period::secs(1)), [("bad-url", 7)]);
    }

    #[test]
    fn the_readme_says_what_the_docs_say() {
        switchyard_api::conformance::readme_is_the_docs(include_str!("lib.rs"), include_str!("../README.md"));
    }
}
