//! `type: redis`: adds each delivery to a Redis stream (`XADD`), and settles it once Redis has answered with the entry's id.
//!
//! ```yaml
//! feed:
//!   type: redis
//!   url: "${REDIS_URL}"                    # redis://user:password@host:6379/0, or rediss:// with TLS
//!   ca: tls/redis-ca.pem                   # believe these roots, and not the system's
//!   tls: { cert: tls/us.pem, key: tls/us.key }  # optional: who we are, where the server asks; read again when they change
//!   max_length: 1000000                    # optional: Redis drops the oldest entries above about so many
//!   stream: "orders-{{ data.country }}"    # message: the stream's key; starts with a literal
//!   body: '{"order": "{{ data.id }}"}'     # message: without it the event's exact bytes
//!   headers: { shop: "{{ data.shop }}" }   # message: more fields of the entry
//! ```
//!
//! An entry has the fields `switchyard-delivery` (the stable id: a repeat has the same), `switchyard-event`, `switchyard-attempt`,
//! on replays `switchyard-replay`, `content-type`, those of `headers`, and `body`. How durable an answered entry is, is the
//! server's `appendfsync`. Redis 8.6 and later get the delivery id as idempotency id of the producer `switchyard`, so a repeat adds
//! nothing while Redis remembers it: by default 100 entries and 100 s, raised with `XCFGSET`. Up to 500 deliveries go out in one pipeline.
//!
//! | what happens | outcome |
//! | --- | --- |
//! | the entry's id comes back | delivered |
//! | no connection in half of `timeout`, at most 5 s, greeting and login included; LOADING, OOM, READONLY, MASTERDOWN, CLUSTERDOWN, MISCONF, NOREPLICAS, BUSY, TRYAGAIN | down |
//! | user or password refused, NOPERM; a certificate refused or unreadable; MOVED (a cluster) | misconfigured |
//! | WRONGTYPE (the key holds no stream), ERR (the entry is refused); a value longer than `proto-max-bulk-len` | rejected |
//! | another error | retry |
//! | sent, and no answer in `timeout`, or the connection was lost | unknown |
//!
//! Never: retries by itself, shows a password (L7), lets a value choose the stream freely (L8). Proven by `tests/real.rs`.

mod answer;
mod entry;
mod link;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use switchyard_api::escape::Escape;
use switchyard_api::stream::{Address, Schemes};
use switchyard_api::tls::TlsSettings;
use switchyard_api::{
    At, CheckError, Confine, ConnectError, Field, Kind, Kit, Outcome, Output, Parcel, Preview, Problem, Secret, Settle, Shape,
};
use tokio::time::Instant;

use link::Links;

/// Parcels in one pipeline.
const BATCH_MAX: usize = 500;
/// How the URL starts.
const SCHEMES: Schemes = Schemes { plain: ("redis", 6379), tls: ("rediss", 6379) };

/// Settings of a Redis output.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// The server, with user, password and the database's number.   example: rediss://user:password@redis.example:6379/0
    pub url: At<Secret>,
    /// A PEM file of roots to believe instead of the system's.   example: tls/redis-ca.pem
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Who we are to a server that asks for a certificate; PEM files, read again when they change.   example: { cert: tls/shop.pem, key: tls/shop.key }
    #[serde(default)]
    pub tls: Option<At<TlsSettings>>,
    /// Redis drops the oldest entries above about so many (`MAXLEN ~`).   example: 1000000
    #[serde(default)]
    pub max_length: Option<At<u64>>,
}

/// `redis`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Redis;

impl Kind for Redis {
    type Config = Config;
    type Output = RedisOutput;

    fn name(&self) -> &'static str {
        "redis"
    }

    fn docs(&self) -> &'static str {
        "Each delivery as one entry of a Redis stream."
    }

    fn example(&self) -> &'static str {
        "{ type: redis, url: \"${REDIS_URL}\", stream: events }"
    }

    fn fields(&self) -> Vec<Field> {
        let field = |name: &'static str, docs: &'static str, shape: Shape, escape: Escape, confine: Confine| Field {
            name: name.into(),
            docs: docs.into(),
            shape,
            escape,
            confine,
            required: name == "stream",
            default: None,
            cap: None,
        };
        vec![
            field("stream", "The stream's key.", Shape::Text, Escape::None, Confine::Name),
            field("body", "The field `body`, JSON; without it the payload.", Shape::Text, Escape::Json, Confine::Content),
            field("headers", "More fields of the entry.", Shape::Map, Escape::Header, Confine::Content),
        ]
    }

    fn validate(&self, config: &Config) -> Vec<Problem> {
        let mut problems = match Address::judge(&config.url, SCHEMES) {
            Ok(address) => {
                let mut problems = address.judge_tls(config.ca.as_deref(), config.tls.as_ref(), SCHEMES);
                if database(&address).is_none() {
                    let title = "the part of this URL behind the host is not a database's number";
                    let problem = Problem::error("bad-url", config.url.span, title, "here");
                    problems.push(problem.help("write `redis://host:6379/0`, or leave the number out"));
                }
                problems
            }
            Err(problems) => problems,
        };
        if let Some(most) = config.max_length.filter(|most| most.value == 0) {
            let problem = Problem::error("bad-length", most.span, "a stream of length 0 keeps nothing", "here");
            problems.push(problem.help("leave `max_length` out to keep all, or write `max_length: 1000000`"));
        }
        problems
    }

    fn preview(&self, config: &Config, _kit: &Kit, parcel: &Parcel) -> Option<Result<Preview, String>> {
        Some(entry::preview(parcel, config.max_length.map(|most| most.value)))
    }

    async fn connect(&self, config: Config, kit: &Kit) -> Result<RedisOutput, ConnectError> {
        let wrong = ConnectError;
        let address = Address::parse(config.url.value.expose(), SCHEMES).map_err(|e| wrong(format!("url: {e}")))?;
        let database = database(&address).ok_or_else(|| wrong("url: not a database's number".to_owned()))?;
        let tls = address.encryption(config.ca.as_deref(), config.tls.as_ref(), kit).map_err(|e| wrong(e.to_string()))?;
        let links = Links::new(address, database, tls);
        Ok(RedisOutput { links, max_length: config.max_length.map(|most| most.value), timeout: kit.timeout })
    }
}

fn database(address: &Address) -> Option<i64> {
    match address.path.as_deref() {
        None | Some("") => Some(0),
        Some(number) => number.parse().ok().filter(|number| *number >= 0),
    }
}

/// Streams of one server.
#[derive(Debug)]
pub struct RedisOutput {
    links: Links,
    max_length: Option<u64>,
    timeout: Duration,
}

impl RedisOutput {
    async fn add(&self, parcels: &[Parcel], settle: &Settle) {
        let deadline = Instant::now() + self.timeout;
        let link = match self.links.get(self.timeout).await {
            Ok(link) => link,
            Err(wrong) => return settle_all(parcels, settle, &wrong.outcome()),
        };
        let mut pipeline = redis::Pipeline::with_capacity(parcels.len());
        let mut sent = Vec::with_capacity(parcels.len());
        for parcel in parcels {
            match entry::entry(parcel, self.max_length, link.server) {
                Ok(command) => {
                    pipeline.add_command(command);
                    sent.push(parcel.handle);
                }
                Err(outcome) => settle.settle(parcel.handle, outcome),
            }
        }
        if sent.is_empty() {
            return;
        }
        for handle in &sent {
            settle.sent(*handle);
        }
        let mut connection = link.connection.clone();
        let answers = tokio::time::timeout_at(deadline, connection.send_packed_commands(&pipeline, 0, sent.len())).await;
        let lost = match answers {
            Ok(Ok(values)) => {
                for (handle, value) in sent.iter().zip(&values) {
                    settle.settle(*handle, answer::outcome(value));
                }
                return;
            }
            Ok(Err(error)) => format!("sent, but the connection to {} was lost: {}", self.links.address(), answer::plain(&error)),
            Err(_) => format!("{} gave no answer within {:?}", self.links.address(), self.timeout),
        };
        // Whoever comes next does not wait behind what hangs.
        self.links.forget(&link).await;
        for handle in sent {
            settle.settle(handle, Outcome::Unknown { why: lost.clone() });
        }
    }

    async fn ping(&self) -> Result<(), CheckError> {
        self.ask(&redis::cmd("PING")).await
    }

    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, CheckError> {
        let link = self.links.get(self.timeout).await.map_err(|e| CheckError(e.to_string()))?;
        let mut connection = link.connection.clone();
        let wrong = |why: String| CheckError(format!("{} does not answer: {why}", self.links.address()));
        match tokio::time::timeout(self.timeout, command.query_async(&mut connection)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(wrong(answer::plain(&error))),
            Err(_) => Err(wrong(format!("nothing within {:?}", self.timeout))),
        }
    }
}

fn settle_all(parcels: &[Parcel], settle: &Settle, outcome: &Outcome) {
    for parcel in parcels {
        settle.settle(parcel.handle, outcome.clone());
    }
}

impl Output for RedisOutput {
    fn max_batch(&self) -> usize {
        BATCH_MAX
    }

    fn deliver<'a>(&'a self, parcels: Vec<Parcel>, settle: &'a Settle) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.add(&parcels, settle).await })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), CheckError>> {
        Box::pin(self.ping())
    }

    fn check_message<'a>(&'a self, fixed: &'a BTreeMap<String, String>) -> BoxFuture<'a, Result<(), CheckError>> {
        Box::pin(async move {
            let Some(stream) = fixed.get("stream") else { return Ok(()) };
            let kind: String = self.ask(redis::cmd("TYPE").arg(stream)).await?;
            let fits = ["none", "stream"].contains(&kind.as_str());
            if fits { Ok(()) } else { Err(CheckError(format!("`{stream}` holds a {kind} there and no stream: choose another name"))) }
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
        let config = |url: &str, max_length: u64| Config {
            url: At { span: Span { start: 7, end: 9 }, value: Secret::new(url) },
            ca: None,
            tls: None,
            max_length: Some(At { span: Span { start: 40, end: 41 }, value: max_length }),
        };
        assert_eq!(Redis.validate(&config("rediss://u:p@h:1/3", 5)), []);
        let found = |url, most| Redis.validate(&config(url, most)).iter().map(|p| (p.id, p.at.start)).collect::<Vec<_>>();
        assert_eq!(found("http://h", 0), [("bad-url", 7), ("bad-length", 40)]);
        let half = TlsSettings { cert: Some("us.pem".into()), ..TlsSettings::default() };
        let half = Config { tls: Some(At { span: Span { start: 20, end: 21 }, value: half }), ..config("rediss://h", 1) };
        assert_eq!(Redis.validate(&half).iter().map(|p| (p.id, p.at.start)).collect::<Vec<_>>(), [("half-certificate", 20)]);
        assert_eq!((found("redis://h/x", 1), found("redis://h/-1", 1)), (vec![("bad-url", 7)], vec![("bad-url", 7)]));
    }

    #[test]
    fn the_readme_says_what_the_docs_say() {
        switchyard_api::conformance::readme_is_the_docs(include_str!("lib.rs"), include_str!("../README.md"));
    }
}
