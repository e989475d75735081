//! `type: template`: an output to copy. It puts each delivery as one line on a till, a server that is made up for this page.
//!
//! ```yaml
//! counter:
//!   type: template
//!   url: "${TILL_URL}"                 # till://:password@host:7070, or tills:// with TLS
//!   ca: tls/till-ca.pem                # optional: believe these roots, and not the system's
//!   tls: { cert: tls/us.pem, key: tls/us.key }   # optional: who we are; read again when they change
//!   channel: "orders-{{ data.shop }}"  # message: on which list; starts with a literal
//!   text: "{{ data.number }} is paid"  # message: without it the event's text
//! ```
//!
//! A till is told `HELLO password` and says `WELCOME` or `NO why`. Each line then is `{"id", "channel", "text"}`, and its answer,
//! in the same order, `OK number`, `BUSY seconds`, `REFUSED why` or `NO why`. `id` is the delivery's: a repeat has the same. Up to
//! 100 deliveries go out in one write.
//!
//! | what happens | outcome |
//! | --- | --- |
//! | `OK` | delivered |
//! | `BUSY` | retry, after that many seconds |
//! | no connection in half of `timeout`, at most 5 s, password included; or it was lost before a delivery went out | down |
//! | `NO`: password or channel; certificate refused | misconfigured |
//! | `REFUSED`; a line of more than 64 KiB, which no till takes; bytes that are no text | rejected |
//! | sent, and no answer in `timeout`, the connection was lost, or the answer is none | unknown |
//!
//! The daemon does not have this kind: it stands here to be copied, as [writing an output](../../docs/writing-an-output.md) says.
//! Never: retries by itself, shows a password (L7), lets a value choose the channel freely (L8). Proven by `tests/real.rs`.

mod line;
mod link;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use switchyard_api::escape::Escape;
use switchyard_api::stream::{Address, Schemes, connecting, hear};
use switchyard_api::tls::{Tls, TlsSettings};
use switchyard_api::{
    At, CheckError, Confine, ConnectError, Field, Kind, Kit, Outcome, Output, Parcel, Preview, Problem, Secret, Settle, Shape,
};
use tokio::time::{Instant, timeout_at};

pub use line::LINE_MAX;
use link::{Link, LinkError};

/// Parcels in one write. Their answers fit into any socket's buffer: the till never waits for us to read while we wait for it.
const BATCH_MAX: usize = 100;
/// Idle connections kept; more are closed.
const IDLE_MAX: usize = 4;
/// How the URL starts.
const SCHEMES: Schemes = Schemes { plain: ("till", 7070), tls: ("tills", 7071) };

/// Settings of a template output.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// The till, with its password.   example: tills://:password@till.example:7071
    pub url: At<Secret>,
    /// A PEM file of roots to believe instead of the system's.   example: tls/till-ca.pem
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Who we are to a till that asks for a certificate; PEM files.   example: { cert: tls/us.pem, key: tls/us.key }
    #[serde(default)]
    pub tls: Option<At<TlsSettings>>,
}

/// `template`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Template;

impl Kind for Template {
    type Config = Config;
    type Output = TemplateOutput;

    fn name(&self) -> &'static str {
        "template"
    }

    fn docs(&self) -> &'static str {
        "Each delivery as one line on a till: an output to copy."
    }

    fn example(&self) -> &'static str {
        "{ type: template, url: \"${TILL_URL}\", channel: orders }"
    }

    fn fields(&self) -> Vec<Field> {
        let field = |name: &'static str, docs: &'static str, confine: Confine| Field {
            name: name.into(),
            docs: docs.into(),
            shape: Shape::Text,
            // The line is made as JSON, which escapes by itself.
            escape: Escape::None,
            confine,
            required: confine == Confine::Name,
            default: None,
            cap: None,
        };
        vec![
            field("channel", "On which list it goes.", Confine::Name),
            field("text", "The line; without it the event's text.", Confine::Content),
        ]
    }

    fn validate(&self, config: &Config) -> Vec<Problem> {
        let at = config.url.span;
        let address = match Address::judge(&config.url, SCHEMES) {
            Ok(address) => address,
            Err(problems) => return problems,
        };
        let mut problems = address.judge_tls(config.ca.as_deref(), config.tls.as_ref(), SCHEMES);
        match &address.password {
            None => {
                let problem = Problem::error("bad-url", at, "this URL has no password, and a till lets nobody in without", "here");
                problems.push(problem.help("write `till://:${TILL_PASSWORD}@host:7070`"));
            }
            Some(password) if password.expose().chars().any(char::is_control) => {
                let problem = Problem::error("bad-url", at, "the password of this URL has a line end or another control character", "here");
                problems.push(problem.help("write it without: a till reads one line"));
            }
            Some(_) => {}
        }
        problems
    }

    fn preview(&self, config: &Config, _kit: &Kit, parcel: &Parcel) -> Option<Result<Preview, String>> {
        let address = Address::parse(config.url.value.expose(), SCHEMES).map(|address| address.to_string()).unwrap_or_default();
        let line = line::line(parcel).map_err(|outcome| outcome.text().to_owned());
        Some(line.map(|line| Preview { body: line.into(), ..Preview::new("PUT ON", address) }))
    }

    async fn connect(&self, config: Config, kit: &Kit) -> Result<TemplateOutput, ConnectError> {
        let wrong = ConnectError;
        let address = Address::parse(config.url.value.expose(), SCHEMES).map_err(|error| wrong(format!("url: {error}")))?;
        let tls = address.encryption(config.ca.as_deref(), config.tls.as_ref(), kit).map_err(|error| wrong(error.to_string()))?;
        Ok(TemplateOutput { address, tls, timeout: kit.timeout, idle: Mutex::default() })
    }
}

/// One till.
#[derive(Debug)]
pub struct TemplateOutput {
    address: Address,
    tls: Option<Tls>,
    timeout: Duration,
    /// Connections that wait for the next call. One is taken out for the time of a call: given up half-way, it is gone with what was
    /// half said, and the next call starts on another.
    idle: Mutex<Vec<Link>>,
}

impl TemplateOutput {
    /// A connection that the till has not closed, or a new one.
    async fn link(&self, deadline: Instant) -> Result<Link, LinkError> {
        // A till that has gone is heard of before anything is sent to it: that is down, and not unknown.
        hear().await;
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut link) = idle else { return Link::open(&self.address, self.tls.as_ref(), deadline).await };
            if link.is_open() {
                return Ok(link);
            }
        }
    }

    fn give_back(&self, link: Link) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(link);
        }
    }

    async fn put(&self, parcels: &[Parcel], settle: &Settle) {
        let deadline = Instant::now() + self.timeout;
        let (mut bytes, mut open) = (vec![], VecDeque::new());
        for parcel in parcels {
            match line::line(parcel) {
                Ok(line) => {
                    bytes.extend(line);
                    open.push_back(parcel.handle);
                }
                Err(outcome) => settle.settle(parcel.handle, outcome),
            }
        }
        if open.is_empty() {
            return;
        }
        let mut link = match self.link(Instant::now() + connecting(self.timeout)).await {
            Ok(link) => link,
            Err(wrong) => return open.into_iter().for_each(|handle| settle.settle(handle, wrong.outcome())),
        };
        // Right before bytes may leave, and no earlier: what was not sent is tried again without a doubt.
        for handle in &open {
            settle.sent(*handle);
        }
        let talk = async {
            link.write(&bytes).await?;
            while let Some(handle) = open.front() {
                let outcome = line::outcome(&link.read().await?)?;
                // As soon as it is known: what comes later does not change it.
                settle.settle(*handle, outcome);
                open.pop_front();
            }
            std::io::Result::Ok(())
        };
        let lost = match timeout_at(deadline, talk).await {
            Ok(Ok(())) => return self.give_back(link),
            Ok(Err(error)) => format!("sent, but the connection to {} was lost: {error}", self.address),
            Err(_) => format!("{} gave no answer within {:?}", self.address, self.timeout),
        };
        for handle in open {
            settle.settle(handle, Outcome::Unknown { why: lost.clone() });
        }
    }
}

impl Output for TemplateOutput {
    fn max_batch(&self) -> usize {
        BATCH_MAX
    }

    fn deliver<'a>(&'a self, parcels: Vec<Parcel>, settle: &'a Settle) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.put(&parcels, settle).await })
    }

    /// Connects and logs in.
    fn check(&self) -> BoxFuture<'_, Result<(), CheckError>> {
        Box::pin(async {
            let link = self.link(Instant::now() + connecting(self.timeout)).await.map_err(|error| CheckError(error.to_string()))?;
            self.give_back(link);
            Ok(())
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear() })
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
            Template.validate(&config).into_iter().map(|problem| (problem.id, problem.at.start, problem.help.is_some())).collect::<Vec<_>>()
        };
        assert_eq!(found("tills://:hush@till.example"), []);
        for url in ["http://till.example", "till://till.example", "till://:hush%0ahush@till.example", ""] {
            assert_eq!(found(url), [("bad-url", 7, true)], "{url}");
        }
    }

    #[test]
    fn the_readme_says_what_the_docs_say() {
        switchyard_api::conformance::readme_is_the_docs(include_str!("lib.rs"), include_str!("../README.md"));
    }
}
