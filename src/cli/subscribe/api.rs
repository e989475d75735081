//! One question to a GraphQL API and its answer, or why there is none.
//!
//! Never: shows the token, also where the far side echoes it (L7); follows a redirect; repeats what may have been done.

use crate::model::printable::Printable;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http_body_util::Full;
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_api::Secret;
use switchyard_api::http::{CallError, Client, Limits, Request, Url};

/// Bytes of one answer: the description of a large API's largest type is some 100 KiB.
const ANSWER_MAX: usize = 8 << 20;
/// The longest that one question takes.
const WITHIN: Duration = Duration::from_secs(30);
/// Waits before a question is asked again that the API had no room for; it was not run.
const WAITS: [Duration; 5] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8), Duration::from_secs(15)];
/// The most of the API's own words that is shown.
const TOLD_MAX: usize = 500;

/// Why the API gave no answer, or not the one that was asked for. One line.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// Nothing was done.
    #[error("{0}; nothing was changed")]
    NotSent(CallError),
    /// It may have been done.
    #[error("{0}; it may have been done all the same: `switchyard subscribe list` says")]
    Unknown(CallError),
    /// It does not let us in.
    #[error("the API refuses the token ({status}): set the variable {variable} to one that may manage webhooks")]
    Token {
        /// Its status.
        status: u16,
        /// Where the token comes from.
        variable: String,
    },
    /// It has no room for us.
    #[error("the API has no room for us, also after {} tries: wait a minute", WAITS.len() + 1)]
    Throttled,
    /// It says no.
    #[error("the API says: {0}")]
    Said(String),
    /// What came is no answer of GraphQL.
    #[error("what came is no answer of a GraphQL API (status {0}): is --endpoint right?")]
    NotGraphql(u16),
}

/// A GraphQL API, with the token that lets us in.
pub struct Api {
    client: Client,
    token: Secret,
    variable: String,
}

impl Api {
    /// At this endpoint. `variable` is where the token is from.
    pub fn new(endpoint: &str, token: Secret, variable: &str) -> anyhow::Result<Self> {
        let url = Url::parse(endpoint).map_err(|why| anyhow::anyhow!("--endpoint {}: {why}", Printable(endpoint)))?;
        if !url.is_https() && !url.is_loopback() {
            anyhow::bail!("--endpoint is not https: the token would be read on the way");
        }
        let limits = Limits { whole: WITHIN, answer: ANSWER_MAX, ..Limits::default() };
        Ok(Api { client: Client::new(url, None, limits), token, variable: variable.to_owned() })
    }

    /// Asks; what stands under `data`.
    pub async fn ask(&self, query: &str, variables: &Value) -> anyhow::Result<Value> {
        let mut waits = WAITS.into_iter();
        loop {
            match self.once(query, variables).await? {
                Heard::Data(data) => return Ok(data),
                Heard::NoRoom(asked) => {
                    let Some(wait) = waits.next() else { return Err(NoAnswer::Throttled.into()) };
                    tokio::time::sleep(wait.max(asked.min(WITHIN))).await;
                }
            }
        }
    }

    async fn once(&self, query: &str, variables: &Value) -> anyhow::Result<Heard> {
        let body = json!({ "query": query, "variables": variables }).to_string();
        let request: Request = http::Request::post(self.client.url().target(None, &[])?)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, format!("Bearer {}", self.token.expose()))
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| anyhow::anyhow!("the token in {} has characters that no header can have", self.variable))?;
        let mut sent = false;
        let answer = self
            .client
            .call(request, || sent = true)
            .await
            .map_err(|why| if sent { NoAnswer::Unknown(why) } else { NoAnswer::NotSent(why) })?;
        let status = answer.status.as_u16();
        if matches!(status, 401 | 403) {
            return Err(NoAnswer::Token { status, variable: self.variable.clone() }.into());
        }
        let said: Option<Value> = serde_json::from_slice(&answer.body).ok().filter(|_| answer.whole);
        if status == 429 || said.as_ref().is_some_and(is_throttled) {
            let asked = answer
                .headers
                .get(RETRY_AFTER)
                .and_then(|after| after.to_str().ok()?.parse().ok())
                .map_or(Duration::ZERO, Duration::from_secs);
            return Ok(Heard::NoRoom(asked));
        }
        let said = said.ok_or(NoAnswer::NotGraphql(status))?;
        match (&said["errors"], &said["data"]) {
            (Value::Array(errors), _) if !errors.is_empty() => Err(NoAnswer::Said(self.words(errors)).into()),
            (_, data @ Value::Object(_)) => Ok(Heard::Data(data.clone())),
            _ => Err(NoAnswer::NotGraphql(status).into()),
        }
    }

    /// Errors of the API in one line, each with the field that it is about.
    pub fn words(&self, errors: &[Value]) -> String {
        let word = |error: &Value| {
            let message = error["message"].as_str().map_or_else(|| error.to_string(), str::to_owned);
            let field = match &error["field"] {
                Value::Array(path) => {
                    path.iter().map(|step| step.as_str().map_or_else(|| step.to_string(), str::to_owned)).collect::<Vec<_>>().join(".")
                }
                Value::String(field) => field.clone(),
                _ => return message,
            };
            format!("{field}: {message}")
        };
        let all = errors.iter().map(word).collect::<Vec<_>>().join("; ").replace(self.token.expose(), "…");
        Printable(&all.chars().take(TOLD_MAX).collect::<String>()).to_string()
    }
}

enum Heard {
    Data(Value),
    /// And how long it asks us to wait.
    NoRoom(Duration),
}

/// The whole answer is that there is no room: Orderchamp says so with status 200.
fn is_throttled(said: &Value) -> bool {
    let errors = said["errors"].as_array().map_or(&[][..], Vec::as_slice);
    let throttled = |error: &Value| {
        error["message"].as_str().is_some_and(|message| message.eq_ignore_ascii_case("throttled"))
            || error["extensions"]["code"] == "THROTTLED"
    };
    !errors.is_empty() && errors.iter().all(throttled)
}
