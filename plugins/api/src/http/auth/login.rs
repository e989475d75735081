//! A token that a log-in gives: a request with user and password, or an API key, and a token in its answer.

use super::endpoint::{Endpoint, EndpointUrl, NotProven};
use super::place::{Name, encoded};
use super::token::Fetched;
use super::{AuthError, value};
use crate::http::client::{Limits, Request};
use crate::http::connection::Connection;
use crate::{Kit, Period, Secret};
use ::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use bytes::Bytes;
use http_body_util::Full;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How long a token is good where the file does not say; a 401 drops it earlier.
const TTL: Period = Period(Duration::from_mins(10));

/// A log-in that gives a token.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenLogin {
    /// Where.
    pub url: EndpointUrl,
    /// How it is called.   default: POST
    #[serde(default)]
    pub method: LoginMethod,
    /// What is sent: `{ json: … }` or `{ form: … }`.
    #[serde(default)]
    pub body: LoginBody,
    /// Headers to send, such as user and password where they go there.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Where the token is in the answer: a JSON pointer (RFC 6901), or the name of a header.   example: /accessToken
    pub token: TokenAt,
    /// How the token is sent: `bearer`, `raw` (alone in `Authorization`), or the name of a header.   default: bearer
    #[serde(default, rename = "as")]
    pub sent_as: SentAs,
    /// How long it is good.   default: 10m
    #[serde(default = "ttl")]
    pub ttl: Period,
}

fn ttl() -> Period {
    TTL
}

/// How the log-in is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum LoginMethod {
    /// `POST`.
    #[default]
    Post,
    /// `PUT`.
    Put,
    /// `GET`, without a body.
    Get,
}

/// What a log-in sends.
#[derive(Clone, PartialEq, Default, Deserialize)]
#[serde(try_from = "WrittenBody")]
pub enum LoginBody {
    /// Nothing.
    #[default]
    Empty,
    /// This, as JSON.
    Json(serde_json::Value),
    /// These, as a form.
    Form(BTreeMap<String, Secret>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenBody {
    json: Option<serde_json::Value>,
    form: Option<BTreeMap<String, Secret>>,
}

impl TryFrom<WrittenBody> for LoginBody {
    type Error = &'static str;
    fn try_from(written: WrittenBody) -> Result<Self, Self::Error> {
        match (written.json, written.form) {
            (Some(json), None) => Ok(LoginBody::Json(json)),
            (None, Some(form)) => Ok(LoginBody::Form(form)),
            _ => Err("a log-in sends one thing: write `body: { json: { … } }` or `body: { form: { … } }`"),
        }
    }
}

impl fmt::Debug for LoginBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LoginBody::Empty => "Empty",
            LoginBody::Json(_) => "Json(***)",
            LoginBody::Form(_) => "Form(***)",
        })
    }
}

/// Where a token is in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenAt {
    /// Under this JSON pointer.
    Json(String),
    /// In this header.
    Header(HeaderName),
}

impl<'de> Deserialize<'de> for TokenAt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.starts_with('/') {
            return Ok(TokenAt::Json(text));
        }
        let header = HeaderName::try_from(text.as_str()).map(TokenAt::Header);
        header.map_err(|_| {
            serde::de::Error::custom("this is no place for a token: write a JSON pointer such as `/accessToken`, or the name of a header")
        })
    }
}

/// How a token is sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SentAs {
    /// `Authorization: Bearer …`.
    #[default]
    Bearer,
    /// Alone in `Authorization`.
    Raw,
    /// Alone in this header.
    Header(HeaderName),
}

impl<'de> Deserialize<'de> for SentAs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::IntoDeserializer;
        match String::deserialize(deserializer)?.as_str() {
            "bearer" => Ok(SentAs::Bearer),
            "raw" => Ok(SentAs::Raw),
            name => Name::deserialize(name.into_deserializer()).map(|Name(name)| SentAs::Header(name)),
        }
    }
}

impl SentAs {
    /// Header and what stands before the token in it.
    pub(super) fn header(&self) -> (HeaderName, &'static str) {
        match self {
            SentAs::Bearer => (AUTHORIZATION, "Bearer "),
            SentAs::Raw => (AUTHORIZATION, ""),
            SentAs::Header(name) => (name.clone(), ""),
        }
    }
}

impl TokenLogin {
    pub(super) fn check(&self) -> Result<(), AuthError> {
        self.request().map(drop)
    }

    pub(super) fn secrets(&self) -> Vec<Secret> {
        let mut secrets: Vec<Secret> = self.headers.values().cloned().collect();
        match &self.body {
            LoginBody::Empty => {}
            LoginBody::Json(json) => texts(json, &mut secrets),
            LoginBody::Form(form) => secrets.extend(form.values().flat_map(|value| [value.clone(), Secret::new(encoded(value.expose()))])),
        }
        secrets
    }

    fn request(&self) -> Result<Request, AuthError> {
        let (body, kind) = match &self.body {
            LoginBody::Empty => (Bytes::new(), None),
            LoginBody::Json(json) => (json.to_string().into(), Some("application/json")),
            LoginBody::Form(form) => {
                let pairs: Vec<String> =
                    form.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value.expose()))).collect();
                (pairs.join("&").into(), Some("application/x-www-form-urlencoded"))
            }
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = match self.method {
            LoginMethod::Post => ::http::Method::POST,
            LoginMethod::Put => ::http::Method::PUT,
            LoginMethod::Get => ::http::Method::GET,
        };
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, */*;q=0.1"));
        headers.extend(kind.map(|kind| (CONTENT_TYPE, HeaderValue::from_static(kind))));
        for (name, secret) in &self.headers {
            let wrong = || AuthError::Name(name.clone());
            let header = HeaderName::try_from(name.as_str()).ok().filter(|name| !super::is_ours(name)).ok_or_else(wrong)?;
            headers.insert(header, value("value of a log-in's header", secret.expose(), str::to_owned)?);
        }
        Ok(request)
    }
}

/// All texts in it.
fn texts(json: &serde_json::Value, into: &mut Vec<Secret>) {
    match json {
        serde_json::Value::String(text) => into.push(Secret::new(text)),
        serde_json::Value::Array(items) => items.iter().for_each(|item| texts(item, into)),
        serde_json::Value::Object(fields) => fields.values().for_each(|field| texts(field, into)),
        _ => {}
    }
}

/// Logs in.
#[derive(Debug)]
pub(super) struct Fetch {
    settings: TokenLogin,
    endpoint: Endpoint,
}

impl Fetch {
    pub fn new(settings: &TokenLogin, connection: &Connection, limits: Limits, kit: &Kit) -> Result<Self, AuthError> {
        settings.check()?;
        let endpoint = Endpoint::new(&settings.url, connection, limits, kit, settings.secrets())?;
        Ok(Fetch { settings: settings.clone(), endpoint })
    }

    pub async fn fetch(&self) -> Result<Fetched, NotProven> {
        let request = self.settings.request().map_err(|why| self.endpoint.refused(&why.to_string()))?;
        let answer = self.endpoint.ask(request).await?;
        if !answer.status.is_success() {
            return Err(self.endpoint.sorted(&answer, &[]));
        }
        let json = || serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap_or_default();
        let (token, place) = match &self.settings.token {
            TokenAt::Json(pointer) => (json().pointer(pointer).and_then(|token| token.as_str().map(str::to_owned)), pointer.as_str()),
            TokenAt::Header(name) => (answer.headers.get(name).and_then(|token| token.to_str().ok().map(str::to_owned)), name.as_str()),
        };
        let token = token
            .filter(|token| !token.is_empty())
            .ok_or_else(|| self.endpoint.refused(&format!("its answer has no token at `{place}`")))?;
        Ok(Fetched { token: Secret::new(token), lifetime: Some(self.settings.ttl.0) })
    }

    pub fn close(&self) {
        self.endpoint.close();
    }
}
