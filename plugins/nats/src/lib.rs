//! `type: nats`: publishes each delivery to a NATS JetStream stream, and settles it once JetStream has acknowledged it.
//!
//! ```yaml
//! bus:
//!   type: nats
//!   url: "${NATS_URL}"                     # nats://user:password@host:4222, nats://token@host, or tls:// with TLS
//!   ca: tls/nats-ca.pem                    # believe these roots, and not the system's
//!   tls: { cert: tls/us.pem, key: tls/us.key }  # optional: who we are, where the server asks; read again when they change
//!   subject: "orders.{{ data.country }}"   # message: a stream must take it; starts with a literal
//!   body: '{"order": "{{ data.id }}"}'     # message: without it the event's exact bytes
//!   headers: { Shop: "{{ data.shop }}" }   # message; `Nats-Expected-Stream` and its like may be set too
//! ```
//!
//! A message has the headers `Nats-Msg-Id` and `switchyard-delivery` (the stable id: a repeat has the same), `switchyard-event`,
//! `switchyard-attempt`, on replays `switchyard-replay`, `Content-Type`, and those of `headers`. JetStream knows a repeat by its id
//! within the stream's duplicate window, by default two minutes: raise it to the time over which you retry. Up to 500 deliveries
//! are published before the first acknowledgement is awaited.
//!
//! | what happens | outcome |
//! | --- | --- |
//! | acknowledged with stream and sequence, also as a duplicate | delivered |
//! | no connection in half of `timeout`, at most 5 s, greeting and login included; the server takes nothing; JetStream is not available; the stream has no leader | down |
//! | user, password or token refused, publishing to the subject not allowed; a certificate refused or unreadable; no stream takes the subject | misconfigured |
//! | too large; wrong stream or last sequence; the stream is sealed; no subject | rejected |
//! | another error, such as a full stream | retry |
//! | sent, and no acknowledgement in `timeout`, or the connection was lost | unknown |
//!
//! Never: retries or reconnects behind the host's back, shows a password (L7), lets a value become a wildcard or leave its part of
//! the subject (L8). Proven by `tests/real.rs`.

mod answer;
mod link;
mod message;

use async_nats::jetstream::context::{PublishAckFuture, PublishErrorKind};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::escape::Escape;
use switchyard_api::stream::{Address, Schemes};
use switchyard_api::tls::TlsSettings;
use switchyard_api::{
    At, CheckError, Confine, ConnectError, Field, Handle, Kind, Kit, Outcome, Output, Parcel, Preview, Problem, Secret, Settle, Shape,
    Written,
};
use tokio::time::{Instant, timeout_at};

use answer::Refusal;
use link::{Link, Links};

/// Parcels published before the first acknowledgement is awaited.
const BATCH_MAX: usize = 500;
/// Where JetStream tells of our account. The library's own question does not understand servers before 2.10.
const ACCOUNT: &str = "$JS.API.INFO";
/// Which streams take a subject.
const STREAMS: &str = "$JS.API.STREAM.NAMES";
/// How the URL starts.
const SCHEMES: Schemes = Schemes { plain: ("nats", 4222), tls: ("tls", 4222) };

/// Settings of a NATS output.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// The server, with user and password, or a token in the user's place.   example: tls://user:password@nats.example:4222
    pub url: At<Secret>,
    /// A PEM file of roots to believe instead of the system's.   example: tls/nats-ca.pem
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Who we are to a server that asks for a certificate; PEM files, read again when they change.   example: { cert: tls/shop.pem, key: tls/shop.key }
    #[serde(default)]
    pub tls: Option<At<TlsSettings>>,
}

/// `nats`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nats;

impl Kind for Nats {
    type Config = Config;
    type Output = NatsOutput;

    fn name(&self) -> &'static str {
        "nats"
    }

    fn docs(&self) -> &'static str {
        "Each delivery as one message of a NATS JetStream stream."
    }

    fn example(&self) -> &'static str {
        "{ type: nats, url: \"${NATS_URL}\", subject: events }"
    }

    fn fields(&self) -> Vec<Field> {
        let field = |name: &'static str, docs: &'static str, shape: Shape, escape: Escape, confine: Confine| Field {
            name: name.into(),
            docs: docs.into(),
            shape,
            escape,
            confine,
            required: name == "subject",
            default: None,
            cap: None,
        };
        vec![
            field("subject", "The subject; a stream must take it.", Shape::Text, Escape::None, Confine::Name),
            field(
                "body",
                "The payload, JSON; without it the event's bytes or the transform's result.",
                Shape::Text,
                Escape::Json,
                Confine::Content,
            ),
            field("headers", "Headers to add.", Shape::Map, Escape::Header, Confine::Content),
        ]
    }

    fn validate(&self, config: &Config) -> Vec<Problem> {
        let at = config.url.span;
        match Address::judge(&config.url, SCHEMES) {
            Ok(address) => {
                let mut problems = address.judge_tls(config.ca.as_deref(), config.tls.as_ref(), SCHEMES);
                if address.path.as_deref().is_some_and(|path| !path.is_empty()) {
                    let problem = Problem::error("bad-url", at, "this URL has a path: a NATS server has none", "here");
                    problems.push(problem.help("write `nats://host:4222`"));
                }
                problems
            }
            Err(problems) => problems,
        }
    }

    fn judge(&self, _config: &Config, message: Written<'_>) -> Vec<Problem> {
        let wrong = message.constant("subject").filter(|subject| !message::is_subject(subject.value));
        let problem = wrong.map(|subject| Problem::error("bad-subject", subject.span, "nothing can be published to this subject", "here"));
        problem.map(|problem| problem.help("write words with `.` between them, without blanks, `*` and `>`")).into_iter().collect()
    }

    fn preview(&self, _config: &Config, _kit: &Kit, parcel: &Parcel) -> Option<Result<Preview, String>> {
        Some(message::preview(parcel))
    }

    async fn connect(&self, config: Config, kit: &Kit) -> Result<NatsOutput, ConnectError> {
        let wrong = ConnectError;
        let address = Address::parse(config.url.value.expose(), SCHEMES).map_err(|e| wrong(format!("url: {e}")))?;
        let tls = address.encryption(config.ca.as_deref(), config.tls.as_ref(), kit).map_err(|e| wrong(e.to_string()))?;
        Ok(NatsOutput { links: Links::new(address, tls, kit), timeout: kit.timeout })
    }
}

/// Streams of one server.
#[derive(Debug)]
pub struct NatsOutput {
    links: Links,
    timeout: Duration,
}

/// A parcel that the library has taken.
struct Waiting {
    handle: Handle,
    subject: String,
    ack: PublishAckFuture,
}

impl NatsOutput {
    async fn publish(&self, parcels: &[Parcel], settle: &Settle) {
        let deadline = Instant::now() + self.timeout;
        let link = match self.links.get(self.timeout).await {
            Ok(link) => link,
            Err(wrong) => {
                let outcome = wrong.outcome();
                return parcels.iter().for_each(|parcel| settle.settle(parcel.handle, outcome.clone()));
            }
        };
        let mut acks = FuturesUnordered::new();
        for parcel in parcels {
            match self.hand_over(&link, parcel, deadline, settle).await {
                Ok(waiting) => acks.push(self.acknowledged(&link, waiting, deadline)),
                Err(outcome) => settle.settle(parcel.handle, outcome),
            }
        }
        let (mut answered, mut silent, mut unheard) = (false, false, vec![]);
        while let Some((handle, subject, outcome)) = acks.next().await {
            match outcome {
                Ok(delivered) => settle.settle(handle, delivered),
                Err(Refusal::NobodyListens) => unheard.push((handle, subject)),
                Err(Refusal::Silent) => {
                    silent = true;
                    settle.settle(handle, Outcome::Unknown { why: self.says_nothing() });
                }
                Err(Refusal::Said(outcome)) => {
                    answered = true;
                    settle.settle(handle, outcome);
                }
            }
        }
        if silent && !answered {
            // Whoever comes next does not wait behind what hangs.
            self.links.forget(&link).await;
        }
        self.settle_unheard(&link, unheard, deadline, settle).await;
    }

    /// Gives a parcel to the library, in order. What it does not take has surely not left.
    async fn hand_over(&self, link: &Link, parcel: &Parcel, deadline: Instant, settle: &Settle) -> Result<Waiting, Outcome> {
        let (subject, message) = message::message(parcel)?;
        settle.sent(parcel.handle);
        match timeout_at(deadline, link.jetstream.send_publish(subject.clone(), message)).await {
            Ok(Ok(ack)) => Ok(Waiting { handle: parcel.handle, subject, ack }),
            Ok(Err(error)) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                Err(Outcome::Rejected { why: "larger than the server's `max_payload`".to_owned() })
            }
            Ok(Err(_)) => Err(Outcome::Down { why: format!("the connection to {} is lost; not sent", self.links.address()), after: None }),
            Err(_) => Err(Outcome::Down { why: format!("{} takes nothing; not sent", self.links.address()), after: None }),
        }
    }

    async fn acknowledged(&self, link: &Link, waiting: Waiting, deadline: Instant) -> (Handle, String, Result<Outcome, Refusal>) {
        let Waiting { handle, subject, ack } = waiting;
        let mut denied = link.denied.clone();
        let outcome = tokio::select! {
            biased;
            answer = timeout_at(deadline, ack.into_future()) => match answer {
                Ok(answer) => answer::outcome(answer),
                Err(_) => Err(Refusal::Silent),
            },
            // A refusal names the subject and not the message: all that wait for it are refused alike.
            Ok(_) = denied.wait_for(|denied| denied.contains(&subject)) => {
                Err(Refusal::Said(Outcome::Misconfigured { why: format!("the user may not publish to `{subject}`"), after: None }))
            }
        };
        (handle, subject, outcome)
    }

    /// Nobody answered for these subjects: either no stream takes them, or JetStream is not there for now. Both keep nothing.
    async fn settle_unheard(&self, link: &Link, unheard: Vec<(Handle, String)>, deadline: Instant, settle: &Settle) {
        let mut known: BTreeMap<String, Outcome> = BTreeMap::new();
        for (handle, subject) in unheard {
            let outcome = match known.get(&subject) {
                Some(outcome) => outcome.clone(),
                None => {
                    let asked = timeout_at(deadline, link.jetstream.stream_by_subject(&subject)).await;
                    let outcome = answer::unheard(&subject, asked.ok());
                    known.insert(subject, outcome.clone());
                    outcome
                }
            };
            settle.settle(handle, outcome);
        }
    }

    fn says_nothing(&self) -> String {
        format!("{} gave no acknowledgement within {:?}", self.links.address(), self.timeout)
    }

    /// What JetStream says to a question; `None` where we may not ask it.
    async fn ask(&self, api: &'static str, question: String) -> Result<Option<Bytes>, CheckError> {
        let link: Arc<Link> = self.links.get(self.timeout).await.map_err(|e| CheckError(e.to_string()))?;
        let mut denied = link.denied.clone();
        let wrong = |why: String| self.unusable(&why);
        tokio::select! {
            biased;
            answer = tokio::time::timeout(self.timeout, link.client.request(api, question.into())) => match answer {
                Ok(Ok(message)) => Ok(Some(message.payload)),
                Ok(Err(error)) => Err(wrong(format!("JetStream: {error}"))),
                Err(_) => Err(wrong(format!("JetStream says nothing within {:?}", self.timeout))),
            },
            // Who may only publish may not ask; connected and let in is all that can be said.
            Ok(_) = denied.wait_for(|denied| denied.contains(api)) => Ok(None),
        }
    }

    fn unusable(&self, why: &str) -> CheckError {
        CheckError(format!("{} cannot be used: {why}", self.links.address()))
    }
}

impl Output for NatsOutput {
    fn max_batch(&self) -> usize {
        BATCH_MAX
    }

    fn deliver<'a>(&'a self, parcels: Vec<Parcel>, settle: &'a Settle) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.publish(&parcels, settle).await })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), CheckError>> {
        Box::pin(async move {
            let told = self.ask(ACCOUNT, String::new()).await?;
            told.map_or(Ok(()), |told| answer::account(&told)).map_err(|why| self.unusable(&why))
        })
    }

    fn check_message<'a>(&'a self, fixed: &'a BTreeMap<String, String>) -> BoxFuture<'a, Result<(), CheckError>> {
        Box::pin(async move {
            let Some(subject) = fixed.get("subject") else { return Ok(()) };
            let question = serde_json::json!({ "subject": subject }).to_string();
            let Some(told) = self.ask(STREAMS, question).await? else { return Ok(()) };
            if answer::takes(&told).map_err(|why| self.unusable(&why))? {
                return Ok(());
            }
            Err(CheckError(format!("no stream takes `{subject}`: make one there, or choose another subject")))
        })
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
        let found = |url: &str| {
            let config = Config { url: At { span: Span { start: 7, end: 9 }, value: Secret::new(url) }, ca: None, tls: None };
            Nats.validate(&config).iter().map(|p| (p.id, p.at.start)).collect::<Vec<_>>()
        };
        assert_eq!((found("tls://token@h"), found("nats://u:p@h:1/")), (vec![], vec![]));
        for url in ["http://h", "nats://h/orders", "nats://"] {
            assert_eq!(found(url), [("bad-url", 7)], "{url}");
        }
    }

    #[test]
    fn the_readme_says_what_the_docs_say() {
        switchyard_api::conformance::readme_is_the_docs(include_str!("lib.rs"), include_str!("../README.md"));
    }
}
