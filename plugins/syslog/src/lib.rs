//! `type: syslog`: writes each delivery as one syslog message (RFC 5424) to a TCP or TLS connection, each counted in bytes (RFC 6587, 5425).
//!
//! ```yaml
//! log:
//!   type: syslog
//!   url: tls://log.example:6514           # or tcp://log.example:601; UDP is refused: it tells nothing of what became of a message
//!   ca: tls/log-ca.pem                    # believe these roots, and not the system's
//!   tls: { cert: tls/us.pem, key: tls/us.key }  # optional: who we are, where the server asks; read again when they change
//!   facility: local0                      # optional: user unless set
//!   host: shop-1                          # optional: the name of this machine in the messages; "-" unless set
//!   app: switchyard                       # optional
//!   max_size: 8KiB                        # optional: longer messages are refused here, and not cut there
//!   severity: warning                     # message: emergency alert critical error warning notice info debug; notice unless set
//!   message_id: "{{ topic }}"             # message: at most 32 characters
//!   text: "order {{ data.id }} is paid"   # message: without it the event's text
//!   headers: { shop: "{{ data.shop }}" }  # message: more structured data
//! ```
//!
//! The structured data `[switchyard@32473 …]` has `switchyard-delivery` (the stable id: a repeat has the same), `switchyard-event`,
//! `switchyard-attempt`, on replays `switchyard-replay`, and those of `headers`. The time is when the event was received. In the text,
//! line ends and other control characters become blanks. Up to 500 deliveries go out in one write.
//!
//! **A syslog server acknowledges nothing.** Delivered means that the connection took the whole message. What it had not read when it,
//! or the way to it, broke down is lost, and nobody can tell: use another output for what must not be. A connection that the server
//! has closed is seen before the next message is written. A server that refuses our certificate says so
//! only after the TLS handshake: a new connection waits up to 250 ms for that word before anything is written to it.
//!
//! | what happens | outcome |
//! | --- | --- |
//! | written and flushed | delivered |
//! | no connection in half of `timeout`, at most 5 s, TLS included | down |
//! | a certificate refused or unreadable; a `severity` or a name in `headers` that is none | misconfigured |
//! | longer than `max_size` | rejected |
//! | the connection broke while it was written, or took nothing in `timeout` | unknown |
//!
//! Never: retries by itself, writes more than one line for a message, lets a value end the structured data (L8). Proven by
//! `tests/real.rs`.

mod line;
mod pool;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;
use switchyard_api::escape::Escape;
use switchyard_api::stream::{Address, Schemes};
use switchyard_api::tls::TlsSettings;
use switchyard_api::{
    At, CheckError, Confine, ConnectError, Field, Kind, Kit, Outcome, Output, Parcel, Preview, Problem, Secret, Settle, Shape, Size,
    Written,
};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

pub use line::Facility;
use line::{APP_MAX, Frame, HOST_MAX, is_word};
use pool::Pool;

/// Parcels in one write.
const BATCH_MAX: usize = 500;
/// How the URL starts, with the ports that RFC 3195 and RFC 5425 gave.
const SCHEMES: Schemes = Schemes { plain: ("tcp", 601), tls: ("tls", 6514) };
/// What common servers take.
const SIZE: Size = Size(8 * 1024);
/// What every server takes (RFC 5424, 6.1); less has no room for a head.
const SIZE_MIN: u64 = 480;
/// More than any server takes.
const SIZE_MAX: u64 = 16 * 1024 * 1024;

/// Settings of a syslog output.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// The server.   example: tls://log.example:6514
    pub url: At<Secret>,
    /// A PEM file of roots to believe instead of the system's.   example: tls/log-ca.pem
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Who we are to a server that asks for a certificate; PEM files, read again when they change.   example: { cert: tls/shop.pem, key: tls/shop.key }
    #[serde(default)]
    pub tls: Option<At<TlsSettings>>,
    /// What kind of program speaks.   default: user
    #[serde(default)]
    pub facility: Facility,
    /// The name of this machine in the messages.   default: -
    #[serde(default)]
    pub host: Option<At<String>>,
    /// The name of this program in the messages.   default: switchyard
    #[serde(default)]
    pub app: Option<At<String>>,
    /// The longest message.   default: 8KiB
    #[serde(default)]
    pub max_size: Option<At<Size>>,
}

/// `syslog`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Syslog;

impl Kind for Syslog {
    type Config = Config;
    type Output = SyslogOutput;

    fn name(&self) -> &'static str {
        "syslog"
    }

    fn docs(&self) -> &'static str {
        "Each delivery as one syslog message over TCP or TLS."
    }

    fn example(&self) -> &'static str {
        "{ type: syslog, url: \"tls://log.example:6514\" }"
    }

    fn fields(&self) -> Vec<Field> {
        let field = |name: &'static str, docs: &'static str, shape: Shape, escape: Escape, confine: Confine| Field {
            name: name.into(),
            docs: docs.into(),
            shape,
            escape,
            confine,
            required: false,
            default: None,
            cap: None,
        };
        vec![
            field("text", "The message; without it the event's text.", Shape::Text, Escape::Header, Confine::Content),
            field("severity", "How bad it is; notice unless set.", Shape::Text, Escape::None, Confine::Name),
            field("message_id", "The kind of message, at most 32 characters.", Shape::Text, Escape::Header, Confine::Content),
            field("headers", "More structured data.", Shape::Map, Escape::Header, Confine::Content),
        ]
    }

    fn validate(&self, config: &Config) -> Vec<Problem> {
        let (url, at) = (config.url.value.expose(), config.url.span);
        let mut problems = match Address::judge(&config.url, SCHEMES) {
            Err(_) if url.to_ascii_lowercase().starts_with("udp://") => {
                let title = "syslog over UDP tells nothing of what became of a message";
                vec![Problem::error("bad-url", at, title, "here").help("write `tcp://host:601`, or `tls://host:6514`")]
            }
            Err(problems) => problems,
            Ok(address) => {
                let mut problems = address.judge_tls(config.ca.as_deref(), config.tls.as_ref(), SCHEMES);
                let path = address.path.as_deref().is_some_and(|path| !path.is_empty());
                if path || address.user.is_some() || address.password.is_some() {
                    let title = "this URL has a user, password or path: syslog knows none";
                    problems.push(Problem::error("bad-url", at, title, "here").help("write `tls://host:6514`"));
                }
                problems
            }
        };
        for (name, value, most) in [("host", &config.host, HOST_MAX), ("app", &config.app, APP_MAX)] {
            if let Some(value) = value.as_ref().filter(|value| !is_word(&value.value, most)) {
                let title = format!("`{name}` is 1 to {most} printable ASCII characters without blanks");
                problems.push(Problem::error("bad-name", value.span, title, "here"));
            }
        }
        if let Some(most) = config.max_size.filter(|most| !(SIZE_MIN..=SIZE_MAX).contains(&most.value.0)) {
            let problem = Problem::error("bad-size", most.span, "`max_size` is from 480B to 16MiB", "here");
            problems.push(problem.help("write what the server takes, such as `8KiB`"));
        }
        problems
    }

    fn judge(&self, _config: &Config, message: Written<'_>) -> Vec<Problem> {
        let wrong = message.constant("severity").filter(|word| !line::SEVERITIES.contains(&word.value));
        let problem = wrong.map(|word| Problem::error("bad-severity", word.span, format!("`{}` is no severity", word.value), "here"));
        problem.map(|problem| problem.help(format!("write one of {}", line::SEVERITIES.join(", ")))).into_iter().collect()
    }

    fn preview(&self, config: &Config, _kit: &Kit, parcel: &Parcel) -> Option<Result<Preview, String>> {
        let mut bytes = vec![];
        let address = Address::parse(config.url.value.expose(), SCHEMES).map(|address| address.to_string()).unwrap_or_default();
        let written = frame(config).write(parcel, &mut bytes).map_err(|outcome| outcome.text().to_owned());
        Some(written.map(|()| Preview { body: bytes.into(), ..Preview::new("SYSLOG", address) }))
    }

    async fn connect(&self, config: Config, kit: &Kit) -> Result<SyslogOutput, ConnectError> {
        let wrong = ConnectError;
        let address = Address::parse(config.url.value.expose(), SCHEMES).map_err(|e| wrong(format!("url: {e}")))?;
        let tls = address.encryption(config.ca.as_deref(), config.tls.as_ref(), kit).map_err(|e| wrong(e.to_string()))?;
        Ok(SyslogOutput { pool: Pool::new(address, tls), frame: frame(&config), timeout: kit.timeout })
    }
}

fn frame(config: &Config) -> Frame {
    Frame {
        facility: config.facility,
        host: config.host.as_ref().map_or_else(|| "-".to_owned(), |host| host.value.clone()),
        app: config.app.as_ref().map_or_else(|| "switchyard".to_owned(), |app| app.value.clone()),
        size_max: config.max_size.map_or(SIZE, |most| most.value).0 as usize,
    }
}

/// One server.
#[derive(Debug)]
pub struct SyslogOutput {
    pool: Pool,
    frame: Frame,
    timeout: Duration,
}

impl SyslogOutput {
    async fn write(&self, parcels: &[Parcel], settle: &Settle) {
        let deadline = Instant::now() + self.timeout;
        let mut bytes = vec![];
        let mut handles = Vec::with_capacity(parcels.len());
        for parcel in parcels {
            match self.frame.write(parcel, &mut bytes) {
                Ok(()) => handles.push(parcel.handle),
                Err(outcome) => settle.settle(parcel.handle, outcome),
            }
        }
        if handles.is_empty() {
            return;
        }
        let mut stream = match self.pool.take(self.timeout).await {
            Ok(stream) => stream,
            Err(wrong) => return handles.into_iter().for_each(|handle| settle.settle(handle, wrong.outcome())),
        };
        for handle in &handles {
            settle.sent(*handle);
        }
        let write = async {
            stream.write_all(&bytes).await?;
            stream.flush().await
        };
        let to = self.pool.address();
        let outcome = match timeout_at(deadline, write).await {
            Ok(Ok(())) => {
                // Only a connection that has taken whole messages is used again.
                self.pool.give_back(stream).await;
                Outcome::Delivered { detail: format!("written to {to}; syslog acknowledges nothing") }
            }
            Ok(Err(error)) => Outcome::Unknown { why: format!("the connection to {to} broke while it was written: {error}") },
            Err(_) => Outcome::Unknown { why: format!("{to} did not take all within {:?}", self.timeout) },
        };
        for handle in handles {
            settle.settle(handle, outcome.clone());
        }
    }
}

impl Output for SyslogOutput {
    fn max_batch(&self) -> usize {
        BATCH_MAX
    }

    fn deliver<'a>(&'a self, parcels: Vec<Parcel>, settle: &'a Settle) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.write(&parcels, settle).await })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), CheckError>> {
        Box::pin(async {
            let stream = self.pool.take(self.timeout).await.map_err(|e| CheckError(e.to_string()))?;
            self.pool.give_back(stream).await;
            Ok(())
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.pool.close())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_api::Span;

    #[test]
    fn what_is_wrong_is_found_at_its_place() {
        let at = |start| Span { start, end: start + 1 };
        let found = |url: &str, host: &str, size: u64| {
            let config = Config {
                url: At { span: at(7), value: Secret::new(url) },
                ca: None,
                tls: None,
                facility: Facility::default(),
                host: Some(At { span: at(20), value: host.to_owned() }),
                app: None,
                max_size: Some(At { span: at(30), value: Size(size) }),
            };
            Syslog.validate(&config).into_iter().map(|p| (p.id, p.at.start)).collect::<Vec<_>>()
        };
        assert_eq!(found("tls://h", "shop-1", 480), []);
        assert_eq!(found("udp://h:514", "a b", 479), [("bad-url", 7), ("bad-name", 20), ("bad-size", 30)]);
        for url in ["syslog://h", "tcp://u:p@h", "tcp://h/x"] {
            assert_eq!(found(url, "h", 8192), [("bad-url", 7)], "{url}");
        }
    }

    #[test]
    fn the_readme_says_what_the_docs_say() {
        switchyard_api::conformance::readme_is_the_docs(include_str!("lib.rs"), include_str!("../README.md"));
    }
}
