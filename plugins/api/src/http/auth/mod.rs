//! How an HTTP output proves who it is: the kinds of credentials as the file writes them under `auth:`, one key each.
//!
//! | key | what is sent |
//! | --- | --- |
//! | `bearer: TOKEN` | `Authorization: Bearer …` (RFC 6750) |
//! | `basic: { user, password }` | `Authorization: Basic …` (RFC 7617) |
//! | `header: { name, value }` | a header of its own |
//! | `query: { name, value }` | a parameter of the URL |
//! | `oauth2: { token_url, client_id, … }` | a token that is fetched and renewed ([`Oauth2`]) |
//! | `login: { url, body, token, … }` | a token that a log-in gives ([`TokenLogin`]) |
//! | `google: { service_account, scope }` | a token for a service account ([`Google`]) |
//! | `sigv4: { access_key, secret_key, region, service }` | AWS Signature Version 4 ([`Sigv4`]) |
//! | `digest: { user, password }` | HTTP digest (RFC 7616, [`Digest`]) |
//! | `hmac: { secret, signs, into, … }` | a signed text in header, query or body ([`HmacSign`]) |
//!
//! A secret in the path of the URL needs nothing here: the whole URL is a secret. A client certificate is `tls`'s.
//!
//! Never: shows a credential, not even where the far side echoes it (L7). Structure (a URL, a header's name, a template) is
//! checked while reading, so its problem has its place; [`Auth::check`] finds what reading could not. [`Credentials`] uses them.

mod credentials;
mod digest;
mod endpoint;
mod google;
mod hmac;
mod login;
mod oauth2;
mod place;
mod rotation;
mod sigv4;
mod token;

pub use credentials::{Credentials, NotSent};
pub use digest::Digest;
pub use endpoint::{EndpointUrl, NotProven};
pub use google::{Google, ServiceAccount};
pub use hmac::{Encoding, HashKind, HmacSign, Stamp, StampUnit, Text};
pub use login::{LoginBody, LoginMethod, SentAs, TokenAt, TokenLogin};
pub use oauth2::{CredentialsIn, Grant, Oauth2, Scopes};
pub use place::{Name, Place, body_of};
pub use rotation::logged_in;
pub use sigv4::Sigv4;
pub use token::{Token, Tokens};

use crate::Secret;
use ::http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// Credentials sent with every request.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Written")]
pub enum Auth {
    /// `Authorization: Bearer …` (RFC 6750).
    Bearer(Secret),
    /// `Authorization: Basic …` (RFC 7617).
    Basic(Basic),
    /// A header with a secret value, such as `X-Api-Key`.
    Header(AuthHeader),
    /// A parameter of the URL with a secret value.
    Query(AuthQuery),
    /// A token from an OAuth 2.0 token endpoint.
    Oauth2(Box<Oauth2>),
    /// A token that a log-in gives.
    Login(Box<TokenLogin>),
    /// A token for a Google service account.
    Google(Box<Google>),
    /// AWS Signature Version 4.
    Sigv4(Box<Sigv4>),
    /// HTTP digest.
    Digest(Digest),
    /// A signed text.
    Hmac(Box<HmacSign>),
}

/// Credentials as the file has them: one of the keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    bearer: Option<Secret>,
    basic: Option<Basic>,
    header: Option<AuthHeader>,
    query: Option<AuthQuery>,
    oauth2: Option<Oauth2>,
    login: Option<TokenLogin>,
    google: Option<Google>,
    sigv4: Option<Sigv4>,
    digest: Option<Digest>,
    hmac: Option<HmacSign>,
}

impl TryFrom<Written> for Auth {
    type Error = &'static str;
    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let Written { bearer, basic, header, query, oauth2, login, google, sigv4, digest, hmac } = written;
        let kinds = [
            bearer.map(Auth::Bearer),
            basic.map(Auth::Basic),
            header.map(Auth::Header),
            query.map(Auth::Query),
            oauth2.map(|settings| Auth::Oauth2(Box::new(settings))),
            login.map(|settings| Auth::Login(Box::new(settings))),
            google.map(|settings| Auth::Google(Box::new(settings))),
            sigv4.map(|settings| Auth::Sigv4(Box::new(settings))),
            digest.map(Auth::Digest),
            hmac.map(|settings| Auth::Hmac(Box::new(settings))),
        ];
        let mut found = kinds.into_iter().flatten();
        match (found.next(), found.next()) {
            (Some(kind), None) => Ok(kind),
            _ => Err(
                "credentials are one thing: write one of `bearer`, `basic`, `header`, `query`, `oauth2`, `login`, `google`, `sigv4`, `digest`, `hmac`",
            ),
        }
    }
}

/// User and password.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// The user; holds no `:`.
    pub user: Secret,
    /// The password; left out where a key stands for the user, and there is none.
    #[serde(default)]
    pub password: Option<Secret>,
}

/// A header that proves who we are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthHeader {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Secret,
}

/// A parameter of the URL that proves who we are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthQuery {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Secret,
}

/// What is wrong with credentials. Never quotes them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Set to nothing.
    #[error("the {0} is empty: is its variable set?")]
    Empty(&'static str),
    /// Not a header's value.
    #[error("the {0} holds characters that a header cannot carry, such as a line end")]
    Characters(&'static str),
    /// A user with a colon would be read as part of the password.
    #[error("a user holds no `:`")]
    Colon,
    /// Not a header's name, or one that is not free.
    #[error("`{0}` is not a header to prove oneself with")]
    Name(String),
    /// Not a service account's file.
    #[error("the service account is not the JSON that Google gives for one: {0}")]
    Account(&'static str),
    /// A far side could not check such a signature.
    #[error("what is signed holds a `{{timestamp}}` that is sent nowhere: set `timestamp: {{ into: {{ header: NAME }} }}`")]
    UntoldTime,
    /// Where credentials are fetched cannot be connected to as the file says.
    #[error("no connection to where credentials are fetched can be set up: {0}")]
    Connection(String),
}

impl Auth {
    /// Finds what is wrong with the credentials. Touches nothing.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), AuthError> {
        match self {
            Auth::Bearer(_) | Auth::Basic(_) | Auth::Header(_) => self.header().map(drop),
            Auth::Query(query) => filled("name", &query.name).and(checked("value", query.value.expose())).map(drop),
            Auth::Oauth2(settings) => settings.check(),
            Auth::Login(settings) => settings.check(),
            Auth::Google(settings) => settings.account().map(drop),
            Auth::Sigv4(settings) => settings.check(),
            Auth::Digest(settings) => settings.check(),
            Auth::Hmac(settings) => settings.check(),
        }
    }

    /// The header of the kinds that always send the same, marked as sensitive.
    fn header(&self) -> Result<Option<(HeaderName, HeaderValue)>, AuthError> {
        match self {
            Auth::Bearer(token) => Ok(Some((AUTHORIZATION, value("token", token.expose(), |token| format!("Bearer {token}"))?))),
            Auth::Basic(basic) => Ok(Some((AUTHORIZATION, basic.value()?))),
            Auth::Header(AuthHeader { name, value: secret }) => {
                let header = HeaderName::try_from(name.as_str()).ok().filter(|header| !is_ours(header));
                let header = header.ok_or_else(|| AuthError::Name(name.clone()))?;
                Ok(Some((header, value("value", secret.expose(), str::to_owned)?)))
            }
            _ => Ok(None),
        }
    }

    /// What must never be shown, even where the far side echoes it.
    pub fn secrets(&self) -> Vec<Secret> {
        match self {
            Auth::Bearer(token) => vec![token.clone()],
            Auth::Basic(Basic { user, password }) => {
                // Where a key stands for the user, that is the secret.
                let secret = password.as_ref().unwrap_or(user);
                let both = format!("{}:{}", user.expose(), password.as_ref().map_or("", Secret::expose));
                vec![Secret::new(STANDARD.encode(both)), secret.clone()]
            }
            Auth::Header(header) => vec![header.value.clone()],
            Auth::Query(query) => vec![query.value.clone(), Secret::new(place::encoded(query.value.expose()))],
            Auth::Oauth2(settings) => settings.secrets(),
            Auth::Login(settings) => settings.secrets(),
            Auth::Google(settings) => settings.secrets(),
            Auth::Sigv4(settings) => settings.secrets(),
            Auth::Digest(settings) => vec![settings.password.clone()],
            Auth::Hmac(settings) => vec![settings.secret.clone()],
        }
    }

    /// Whether it changes while in use and so is kept in the vault; if so, where a person goes for a new one, as far as the file says.
    pub fn login(&self) -> Option<Option<String>> {
        match self {
            Auth::Oauth2(settings) if matches!(settings.grant, Grant::RefreshToken { .. }) => Some(settings.authorize()),
            _ => None,
        }
    }
}

impl Basic {
    fn value(&self) -> Result<HeaderValue, AuthError> {
        let Basic { user, password } = self;
        if user.expose().contains(':') {
            return Err(AuthError::Colon);
        }
        let password = password.as_ref().map_or(Ok(""), |password| checked("password", password.expose()))?;
        let both = format!("{}:{password}", checked("user", user.expose())?);
        value("password", &STANDARD.encode(both), |both| format!("Basic {both}"))
    }
}

/// Whether a header belongs to the request's framing or to ourselves, so that nobody else may set it.
pub fn is_ours(name: &HeaderName) -> bool {
    const FRAMING: [&str; 9] =
        ["host", "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade"];
    const OURS: [&str; 2] = ["switchyard-", "webhook-"];
    FRAMING.contains(&name.as_str()) || name == "expect" || OURS.iter().any(|prefix| name.as_str().starts_with(prefix))
}

fn filled<'a>(what: &'static str, text: &'a str) -> Result<&'a str, AuthError> {
    if text.is_empty() { Err(AuthError::Empty(what)) } else { Ok(text) }
}

fn checked<'a>(what: &'static str, text: &'a str) -> Result<&'a str, AuthError> {
    let text = filled(what, text)?;
    if text.chars().any(char::is_control) { Err(AuthError::Characters(what)) } else { Ok(text) }
}

fn value(what: &'static str, text: &str, as_sent: impl Fn(&str) -> String) -> Result<HeaderValue, AuthError> {
    let sent = as_sent(checked(what, text)?);
    let mut value = HeaderValue::from_bytes(sent.as_bytes()).map_err(|_| AuthError::Characters(what))?;
    value.set_sensitive(true);
    Ok(value)
}
