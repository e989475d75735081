//! The command line's way to the daemon: its admin API over HTTP on this machine.
//!
//! Never opens the journal's file (`journal` does, where no daemon has it). Finds address and token in `admin.json` beside the journal, unless told otherwise.

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the daemon's admin side is.
#[derive(Debug, Clone, clap::Args)]
pub struct Admin {
    /// The configuration the daemon runs; its journal's folder tells address and token.
    #[arg(long, short = 'c', global = true, default_value = "routes.yaml", value_name = "FILE")]
    pub config: PathBuf,
    /// The admin address, where it is not the one of --config: http://HOST:PORT.
    #[arg(long = "admin", global = true, value_name = "URL", env = "SWITCHYARD_ADMIN")]
    pub url: Option<String>,
    /// The admin token, where it is not found.
    #[arg(long, global = true, value_name = "TOKEN", env = "SWITCHYARD_ADMIN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Prints JSON, one object a line.
    #[arg(long, global = true)]
    pub json: bool,
}

/// A daemon that does not answer, or does not let us in. `Display` says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(String);

impl Unreachable {
    /// Nothing answers there.
    pub fn at(place: &str, why: &str) -> Self {
        Unreachable(format!("no daemon answers at {place} ({why}): start one with `switchyard run`, or say where it is with --admin URL"))
    }
}

/// What was asked for is not there, or not to be done as things stand. `Display` is the daemon's own line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotThere(String);

/// A connection to the admin API.
#[derive(Debug)]
pub struct Client {
    authority: String,
    token: String,
}

impl Client {
    /// Finds the daemon.
    pub fn new(admin: &Admin) -> Result<Self> {
        let (address, found) = match &admin.url {
            Some(url) => (url.trim_start_matches("http://").trim_end_matches('/').to_owned(), found(&admin.config).ok()),
            None => {
                let (address, token) = found(&admin.config)?;
                (address.clone(), Some((address, token)))
            }
        };
        let token = admin.token.clone().or_else(|| found.map(|(_, token)| token)).unwrap_or_default();
        Ok(Client { authority: address, token })
    }

    /// Asks; the answer's JSON.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.json(Method::GET, path, None).await
    }

    /// Asks for something to be done; the answer's JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.json(Method::POST, path, Some(body)).await
    }

    /// Asks for a stream of lines, and calls `each` for every one until it says to stop or the daemon ends.
    pub async fn lines(&self, path: &str, mut each: impl FnMut(&str) -> bool) -> Result<()> {
        let mut body = self.send(Method::GET, path, None).await?.into_body();
        let mut held: Vec<u8> = vec![];
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.context("the daemon closed the stream")?.into_data() else { continue };
            held.extend_from_slice(&data);
            while let Some(end) = held.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = held.drain(..=end).collect();
                if !each(String::from_utf8_lossy(&line).trim_end()) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let answer = self.send(method, path, body).await?;
        let bytes = answer.into_body().collect().await.context("the daemon's answer broke off")?.to_bytes();
        serde_json::from_slice(&bytes).context("the daemon's answer is not JSON")
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<hyper::Response<hyper::body::Incoming>> {
        let place = format!("http://{}", self.authority);
        let unreachable = |why: String| Unreachable::at(&place, &why);
        let connect = tokio::net::TcpStream::connect(&self.authority);
        let socket = match tokio::time::timeout(Duration::from_secs(5), connect).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(why)) => return Err(unreachable(why.to_string()).into()),
            Err(_) => return Err(unreachable("it did not accept within 5 s".into()).into()),
        };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.authority)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.map(Value::to_string).unwrap_or_default())))
            .context("the token or a filter has characters that can't be sent")?;
        let answer = sender.send_request(request).await.map_err(|why| unreachable(why.to_string()))?;
        match answer.status() {
            status if status.is_success() => Ok(answer),
            StatusCode::UNAUTHORIZED => {
                let told = format!("the daemon at {place} refuses the token: pass the one of `server.admin.token` with --token");
                Err(Unreachable(told).into())
            }
            status => {
                let bytes = answer.into_body().collect().await?.to_bytes();
                let told = serde_json::from_slice::<Value>(&bytes).ok().and_then(|v| v["error"].as_str().map(str::to_owned));
                let told = told.unwrap_or_else(|| format!("the daemon answered {status}"));
                Err(if [StatusCode::NOT_FOUND, StatusCode::CONFLICT].contains(&status) { NotThere(told).into() } else { anyhow!(told) })
            }
        }
    }
}

/// Address and token as the running daemon wrote them down.
fn found(config: &Path) -> Result<(String, String)> {
    let folder = crate::daemon::data_folder(config)?;
    let path = folder.join(crate::daemon::ADMIN_FILE);
    let text = match std::fs::read_to_string(&path) {
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
            let told = format!(
                "no daemon has run with {}: start one with `switchyard run`, or say where it is with --admin URL",
                config.display()
            );
            return Err(Unreachable(told).into());
        }
        read => read.with_context(|| format!("can't read {}", path.display()))?,
    };
    let value: Value = serde_json::from_str(&text).with_context(|| format!("{} is not what a daemon writes", path.display()))?;
    match (value["address"].as_str(), value["token"].as_str()) {
        (Some(address), Some(token)) => Ok((address.to_owned(), token.to_owned())),
        _ => bail!("{} is not what a daemon writes", path.display()),
    }
}

/// A value of a query, escaped.
pub fn escape(value: &str) -> String {
    switchyard_api::escape::Escape::Form.apply(value)
}
