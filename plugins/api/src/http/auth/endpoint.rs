//! Asks a token endpoint, and sorts what comes back: down, refused, or a token.
//!
//! | what happens | outcome |
//! | --- | --- |
//! | no connection, no answer; 408, 425, 429, 5xx; `temporarily_unavailable`, `server_error`, `slow_down` | down |
//! | the certificate is refused; `invalid_client`, `invalid_grant` and the other codes; 4xx; a redirect; no token in the answer | misconfigured |
//!
//! A request for a token that was sent and not answered is down too: nothing of the delivery left, so it is tried again.

use super::place::encoded;
use super::{AuthError, token::Fetched};
use crate::egress::names_metadata;
use crate::http::answer::{Answer, Rules};
use crate::http::client::{Client, Limits, Request};
use crate::http::connection::Connection;
use crate::http::error::CallError;
use crate::http::url::Url;
use crate::{Kit, Outcome, Secret, Wall};
use ::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use bytes::Bytes;
use http_body_util::Full;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::net::IpAddr;
use std::time::Duration;

/// Bytes of a token endpoint's answer that are read; a longer one is no answer. Tokens with many claims have some 4 KiB.
const ANSWER_MAX: usize = 64 * 1024;

/// Why a request could not be proven. `Display` is one line without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotProven {
    /// Who gives the proof is not to be had now.
    #[error("{why}")]
    Down {
        /// What happened.
        why: String,
        /// How long it asks to wait.
        after: Option<Duration>,
    },
    /// The credentials are refused, or cannot work.
    #[error("{why}")]
    Refused {
        /// What happened.
        why: String,
    },
    /// This one request cannot carry the proof.
    #[error("{why}")]
    Unfit {
        /// Why.
        why: String,
    },
}

impl NotProven {
    /// What this means for the delivery.
    pub fn outcome(self) -> Outcome {
        match self {
            NotProven::Down { why, after } => Outcome::Down { why, after },
            NotProven::Refused { why } => Outcome::Misconfigured { why, after: None },
            NotProven::Unfit { why } => Outcome::Rejected { why },
        }
    }
}

/// Where credentials are sent to be exchanged: `https://`, or `http://` on this machine and in a network of one's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointUrl(Url);

impl EndpointUrl {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it, without quoting it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|wrong| wrong.to_string())?;
        if !url.is_https() && !is_own_network(&url) {
            return Err("credentials would be sent in the clear: write `https://`".into());
        }
        if names_metadata(url.host()) {
            return Err("this is a cloud's metadata service, which no output may reach: write the URL of who gives out the tokens".into());
        }
        Ok(EndpointUrl(url))
    }

    /// The URL.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

/// This machine, a private address, or a name without a dot.
fn is_own_network(url: &Url) -> bool {
    match url.host().parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_private(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unique_local(),
        Err(_) => !url.host().contains('.'),
    }
}

impl<'de> Deserialize<'de> for EndpointUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        EndpointUrl::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// One endpoint and the connections to it.
#[derive(Debug)]
pub(super) struct Endpoint {
    client: Client,
    user_agent: HeaderValue,
    wall: Wall,
    secrets: Vec<Secret>,
}

/// A grant's answer.
pub(super) struct Granted {
    pub access: Fetched,
    pub refresh: Option<Secret>,
}

/// Why there is no grant.
pub(super) enum NoGrant {
    /// `invalid_grant`: this very refresh token, code or assertion is not taken.
    Invalid(String),
    /// Anything else.
    Other(NotProven),
}

impl NoGrant {
    pub fn plain(self) -> NotProven {
        match self {
            NoGrant::Invalid(why) => NotProven::Refused { why },
            NoGrant::Other(other) => other,
        }
    }
}

impl Endpoint {
    /// An endpoint that is called as the output calls its own far side. `secrets` are masked in what is told of its answers.
    pub fn new(url: &EndpointUrl, connection: &Connection, limits: Limits, kit: &Kit, secrets: Vec<Secret>) -> Result<Self, AuthError> {
        let user_agent = HeaderValue::from_str(&kit.user_agent).map_err(|_| AuthError::Characters("user agent"))?;
        let limits = Limits { answer: ANSWER_MAX, ..limits };
        let client = connection.client(url.0.clone(), limits, kit).map_err(|wrong| AuthError::Connection(wrong.to_string()))?;
        Ok(Endpoint { client, user_agent, wall: kit.wall.clone(), secrets })
    }

    /// Seconds since 1970.
    pub fn seconds(&self) -> i64 {
        self.wall.millis().div_euclid(1000)
    }

    /// Sends a request to the endpoint; its target is filled in.
    pub async fn ask(&self, mut request: Request) -> Result<Answer, NotProven> {
        let target = self.client.url().target(None, &[]).map_err(|wrong| self.refused(&wrong.to_string()))?;
        *request.uri_mut() = target;
        request.headers_mut().insert(USER_AGENT, self.user_agent.clone());
        let answer = self.client.call(request, || ()).await.map_err(|error| self.not_called(&error))?;
        if answer.whole { Ok(answer) } else { Err(self.down("its answer broke off or is too long", None)) }
    }

    /// Asks an OAuth 2.0 token endpoint (RFC 6749, section 5). `sent` are the secrets that are in the form and not in the file.
    pub async fn grant(&self, form: &[(&str, &str)], basic: Option<&HeaderValue>, sent: &[&Secret]) -> Result<Granted, NoGrant> {
        let pairs: Vec<String> = form.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        let mut request = Request::new(Full::new(Bytes::from(pairs.join("&"))));
        *request.method_mut() = ::http::Method::POST;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(basic) = basic {
            headers.insert(AUTHORIZATION, basic.clone());
        }
        let answer = self.ask(request).await.map_err(NoGrant::Other)?;
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let code = said["error"].as_str();
        match (answer.status.is_success(), said["access_token"].as_str().filter(|token| !token.is_empty()), code) {
            (true, Some(token), _) => Ok(Granted {
                access: Fetched { token: Secret::new(token), lifetime: seconds(&said["expires_in"]) },
                refresh: said["refresh_token"].as_str().filter(|token| !token.is_empty()).map(Secret::new),
            }),
            (true, None, None) => Err(NoGrant::Other(self.refused("its answer has no `access_token`"))),
            (_, _, Some("invalid_grant")) => Err(NoGrant::Invalid(self.told(&answer, sent))),
            (_, _, Some("temporarily_unavailable" | "server_error" | "slow_down")) => {
                Err(NoGrant::Other(NotProven::Down { why: self.told(&answer, sent), after: None }))
            }
            (true, None, Some(_)) => Err(NoGrant::Other(NotProven::Refused { why: self.told(&answer, sent) })),
            (false, _, _) => Err(NoGrant::Other(self.sorted(&answer, sent))),
        }
    }

    /// What an answer means that is no success.
    pub fn sorted(&self, answer: &Answer, sent: &[&Secret]) -> NotProven {
        let why = self.told(answer, sent);
        match Rules::default().judge(answer, self.wall.millis(), false) {
            Outcome::Retry { after, .. } | Outcome::Down { after, .. } => NotProven::Down { why, after },
            _ => NotProven::Refused { why },
        }
    }

    /// An answer in one line, without secrets.
    fn told(&self, answer: &Answer, sent: &[&Secret]) -> String {
        let mut secrets = self.secrets.clone();
        secrets.extend(sent.iter().map(|secret| (*secret).clone()));
        let rules = Rules { secrets, ..Rules::default() };
        format!("no token from {}: {}", self.client.url(), rules.judge(answer, self.wall.millis(), false).text())
    }

    fn not_called(&self, error: &CallError) -> NotProven {
        match error {
            CallError::Tls { .. } | CallError::Refused { .. } | CallError::Files { .. } | CallError::ProxyRefuses { .. } => {
                self.refused(&error.to_string())
            }
            _ => self.down(&error.to_string(), None),
        }
    }

    fn down(&self, why: &str, after: Option<Duration>) -> NotProven {
        NotProven::Down { why: format!("no token from {}: {why}", self.client.url()), after }
    }

    /// It cannot work as it stands.
    pub fn refused(&self, why: &str) -> NotProven {
        NotProven::Refused { why: format!("no token from {}: {why}", self.client.url()) }
    }

    /// Closes idle connections.
    pub fn close(&self) {
        self.client.close();
    }
}

/// A lifetime as endpoints write it: a number, or a number in quotes.
fn seconds(said: &Value) -> Option<Duration> {
    let seconds = said.as_f64().or_else(|| said.as_str()?.trim().parse().ok())?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_leave_in_the_clear_only_within_ones_own_walls() {
        for good in ["https://id.example/token", "http://127.0.0.1:8080/t", "http://[::1]/t", "http://10.1.2.3/t", "http://keycloak:8080/t"]
        {
            assert!(EndpointUrl::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "http://id.example/hush",
            "http://169.254.169.254/hush",
            "http://metadata/hush",
            "https://metadata.google.internal/hush",
            "http://8.8.8.8/hush",
            "id.example/hush",
            "https://u:hush@id.example/",
            "",
        ] {
            assert!(EndpointUrl::parse(bad).is_err_and(|wrong| !wrong.contains("hush")), "{bad}");
        }
    }

    #[test]
    fn a_lifetime_is_a_number_however_it_is_written() {
        for (said, expected) in
            [("3600", Some(3600)), ("\"600\"", Some(600)), ("59.9", Some(59)), ("-1", None), ("null", None), ("\"x\"", None)]
        {
            assert_eq!(seconds(&serde_json::from_str(said).unwrap()).map(|found| found.as_secs()), expected, "{said}");
        }
    }
}
