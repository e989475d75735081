//! `switchyard send` and `switchyard sign`: an event as its sender would send it.

use super::client::{Admin, Client, Unreachable};
use super::events::print_where_it_went;
use super::{Exit, block_on, check, show};
use crate::daemon::blueprint::Blueprint;
use crate::model::{Clock, SystemClock, Timestamp};
use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long `send` waits to see where the event went.
const WATCHED: Duration = Duration::from_secs(5);

/// A daemon that answered, but not 200.
#[derive(Debug, thiserror::Error)]
#[error("the daemon answered {status}: {why}; `switchyard refused` says more")]
pub struct NotKept {
    status: u16,
    why: String,
}

/// Signs an event as its sender would, posts it to the daemon and shows where it went.
#[derive(Debug, clap::Args)]
pub struct Send {
    #[command(flatten)]
    draft: Draft,
    /// Posts there instead of where the daemon of --config takes events: http://HOST:PORT.
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Does not wait to see where it went.
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    admin: Admin,
}

/// Prints the headers a sender would sign an event with.
#[derive(Debug, clap::Args)]
pub struct Sign {
    #[command(flatten)]
    draft: Draft,
    /// The configuration that has the source and its secret.
    #[arg(long, short = 'c', default_value = "routes.yaml", value_name = "FILE")]
    config: PathBuf,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// The event to be sent.
#[derive(Debug, clap::Args)]
struct Draft {
    /// As which source.
    #[arg(long)]
    source: String,
    /// The topic, where the sender says it in a header.
    #[arg(long)]
    topic: Option<String>,
    /// The sender's id of the event, where it says it in a header; a fresh one if not given.
    #[arg(long)]
    id: Option<String>,
    /// A file with the body (`-`: standard input).
    event: PathBuf,
}

impl Sign {
    pub fn run(self) -> Result<Exit> {
        let Some(blueprint) = check::good(&self.config)? else { return Ok(Exit::No) };
        let body = read(&self.draft.event)?;
        let headers = self.draft.sign(&blueprint, &body, SystemClock::default().wall())?;
        if self.json {
            let named = headers.into_iter().map(|(name, value)| (name, Value::from(value))).collect();
            show::line(&Value::Object(named));
        } else {
            for (name, value) in &headers {
                show::say(&format!("{name}: {value}"));
            }
        }
        Ok(Exit::Done)
    }
}

impl Send {
    pub fn run(self) -> Result<Exit> {
        let Some(blueprint) = check::good(&self.admin.config)? else { return Ok(Exit::No) };
        let body = read(&self.draft.event)?;
        let mut headers = self.draft.sign(&blueprint, &body, SystemClock::default().wall())?;
        if serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok() {
            headers.push(("content-type".into(), "application/json".into()));
        }
        let path = blueprint.path_of(&self.draft.source).context("the source has no path")?;
        block_on(async {
            let url = match &self.to {
                Some(url) => url.clone(),
                None => self.events_address().await?,
            };
            let (status, answer) = post(&url, path, &headers, body).await?;
            if status != 200 {
                let why = answer["error"].as_str().unwrap_or("no reason given").to_owned();
                return Err(NotKept { status, why }.into());
            }
            let event = answer["event"].as_str().unwrap_or_default().to_owned();
            if !self.admin.json {
                let repeat = if answer["duplicate"] == true { " (a repeat of it: not delivered again)" } else { "" };
                show::say(&format!("200 in, kept as {event}{repeat}"));
            }
            if self.no_wait || event.is_empty() {
                if self.admin.json {
                    show::line(&answer);
                }
                return Ok(Exit::Done);
            }
            let kept = watch(&Client::new(&self.admin)?, &event).await?;
            if self.admin.json {
                show::line(
                    &json!({ "event": event, "duplicate": answer["duplicate"] == true, "plan": kept["plan"], "deliveries": kept["deliveries"] }),
                );
            } else {
                print_where_it_went(&kept);
            }
            Ok(Exit::Done)
        })
    }

    /// Where the daemon takes events, as it says itself: the file may leave the port to the system.
    async fn events_address(&self) -> Result<String> {
        let said = Client::new(&self.admin)?.get("/ready").await?;
        Ok(format!("http://{}", said["events"].as_str().context("the daemon does not say where it takes events: use --to URL")?))
    }
}

impl Draft {
    fn sign(&self, blueprint: &Blueprint, body: &[u8], now: Timestamp) -> Result<Vec<(String, String)>> {
        let verifier = blueprint.verifier(&self.source).with_context(|| {
            let near = switchyard_api::problem::nearest(&self.source, blueprint.source_names());
            format!("there is no source `{}`{}", self.source, near.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default())
        })?;
        let id = self.id.clone().unwrap_or_else(|| format!("sample-{}", uuid::Uuid::now_v7().simple()));
        let draft = crate::verify::Draft { topic: self.topic.as_deref().unwrap_or(&self.source), id: Some(&id), body };
        verifier.sign(&draft, now).map_err(Into::into)
    }
}

/// A body from a file or from standard input.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut body = vec![];
        std::io::stdin().read_to_end(&mut body)?;
        return Ok(body);
    }
    std::fs::read(path).with_context(|| format!("can't read {}", path.display()))
}

async fn post(url: &str, path: &str, headers: &[(String, String)], body: Vec<u8>) -> Result<(u16, Value)> {
    let authority =
        url.strip_prefix("http://").with_context(|| format!("`{url}` is not an address: write http://HOST:PORT"))?.trim_end_matches('/');
    let socket = tokio::net::TcpStream::connect(authority).await.map_err(|why| Unreachable::at(url, &why.to_string()))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    let mut request = Request::post(path).header("host", authority);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let answer = sender.send_request(request.body(Full::new(Bytes::from(body)))?).await.context("the daemon closed the connection")?;
    let status = answer.status().as_u16();
    let text = answer.into_body().collect().await?.to_bytes();
    Ok((status, serde_json::from_slice(&text).unwrap_or_default()))
}

/// The event with its deliveries, once none of them is on its way any more, or after a while.
async fn watch(client: &Client, event: &str) -> Result<Value> {
    let clock = SystemClock::default();
    let start = clock.now();
    loop {
        let found = client.get(&format!("/api/events/{event}")).await?;
        let rows = found["deliveries"].as_array().map_or(&[][..], Vec::as_slice);
        let planned = found["plan"].as_array().map_or(0, Vec::len);
        let settled = rows.iter().filter(|row| row["state"] != "waiting").count();
        if settled >= planned && settled == rows.len() || clock.now().since(start) > WATCHED {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
