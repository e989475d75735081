//! A token from an OAuth 2.0 token endpoint (RFC 6749): client credentials, a refresh token, or a password.

use super::endpoint::{Endpoint, EndpointUrl, Granted, NoGrant, NotProven};
use super::place::encoded;
use super::rotation::{Exchange, Rotation};
use super::token::Fetched;
use super::{AuthError, Basic, checked, filled};
use crate::http::client::Limits;
use crate::http::connection::Connection;
use crate::{Kit, Period, Secret};
use ::http::header::HeaderValue;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;

/// A token from a token endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Oauth2 {
    /// By what right a token is asked for.
    pub grant: Grant,
    /// Where.
    pub token_url: EndpointUrl,
    /// Who we are to the endpoint.
    pub client_id: Secret,
    /// Proves it; a public client has none.
    pub client_secret: Option<Secret>,
    /// Where id and secret stand in the request.
    pub credentials_in: CredentialsIn,
    /// What the token is for.
    pub scope: Option<Scopes>,
    /// For which API, as Auth0 asks.
    pub audience: Option<String>,
    /// For which API, as RFC 8707 says.
    pub resource: Option<String>,
    /// More parameters of the request for a token.
    pub params: BTreeMap<String, Secret>,
    /// How long before its end a token is renewed.
    pub skew: Option<Period>,
    /// The word before the token in `Authorization`.
    pub scheme: String,
    /// Where a person allows us in, to be given a refresh token.
    pub authorize_url: Option<EndpointUrl>,
    /// Where the authorization endpoint sends that person back to.
    pub redirect_uri: Option<String>,
}

/// By what right a token is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// As the client itself (section 4.4).
    ClientCredentials,
    /// By a refresh token that each use may replace (section 6).
    RefreshToken {
        /// The first one; later ones are in the vault.
        seed: Option<Secret>,
    },
    /// By user and password (section 4.3).
    Password {
        /// The user.
        user: Secret,
        /// The password.
        password: Secret,
    },
}

/// Where id and secret of the client stand in the request (section 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialsIn {
    /// In an `Authorization: Basic` header.
    #[default]
    Basic,
    /// In the form.
    Body,
}

/// Scopes, written as one text or a list, sent with spaces between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scopes(pub String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    grant: Option<GrantWord>,
    token_url: EndpointUrl,
    client_id: Secret,
    #[serde(default)]
    client_secret: Option<Secret>,
    #[serde(default)]
    credentials_in: CredentialsIn,
    #[serde(default)]
    scope: Option<Scopes>,
    #[serde(default)]
    audience: Option<String>,
    #[serde(default)]
    resource: Option<String>,
    #[serde(default)]
    params: BTreeMap<String, Secret>,
    #[serde(default)]
    skew: Option<Period>,
    #[serde(default)]
    scheme: Option<String>,
    #[serde(default)]
    refresh_token: Option<Secret>,
    #[serde(default)]
    authorize_url: Option<EndpointUrl>,
    #[serde(default)]
    redirect_uri: Option<String>,
    #[serde(default)]
    user: Option<Secret>,
    #[serde(default)]
    password: Option<Secret>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum GrantWord {
    ClientCredentials,
    RefreshToken,
    Password,
}

impl Written {
    /// Says which grant is meant where the file does not.
    fn grant(&self) -> GrantWord {
        match self.grant {
            Some(word) => word,
            None if self.refresh_token.is_some() || self.authorize_url.is_some() || self.client_secret.is_none() => GrantWord::RefreshToken,
            None => GrantWord::ClientCredentials,
        }
    }
}

impl TryFrom<Written> for Oauth2 {
    type Error = &'static str;
    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let word = written.grant();
        let refresh_only = written.refresh_token.is_some() || written.authorize_url.is_some() || written.redirect_uri.is_some();
        let password_only = written.user.is_some() || written.password.is_some();
        let grant = match (word, written.user, written.password) {
            (GrantWord::Password, Some(user), Some(password)) if !refresh_only => Grant::Password { user, password },
            (GrantWord::Password, ..) => return Err("a password grant needs both: write `user:` and `password:`, and no `refresh_token:`"),
            _ if password_only => return Err("`user` and `password` belong to the password grant: write `grant: password` beside them"),
            (GrantWord::RefreshToken, ..) => Grant::RefreshToken { seed: written.refresh_token },
            (GrantWord::ClientCredentials, ..) if refresh_only => {
                return Err("a refresh token is no client credentials: write `grant: refresh_token`, or leave `grant` out");
            }
            (GrantWord::ClientCredentials, ..) if written.client_secret.is_none() => {
                return Err("client credentials are an id and a secret: write `client_secret: \"${NAME}\"`");
            }
            (GrantWord::ClientCredentials, ..) => Grant::ClientCredentials,
        };
        if written.params.contains_key("grant_type") {
            return Err("`grant_type` is not set by `params`: write `grant:`");
        }
        let scheme = written.scheme.unwrap_or_else(|| "Bearer".into());
        if scheme.is_empty() || !scheme.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a scheme is one word: write `scheme: Bearer`");
        }
        Ok(Oauth2 {
            grant,
            token_url: written.token_url,
            client_id: written.client_id,
            client_secret: written.client_secret,
            credentials_in: written.credentials_in,
            scope: written.scope,
            audience: written.audience,
            resource: written.resource,
            params: written.params,
            skew: written.skew,
            scheme,
            authorize_url: written.authorize_url,
            redirect_uri: written.redirect_uri,
        })
    }
}

impl Oauth2 {
    pub(super) fn check(&self) -> Result<(), AuthError> {
        checked("client_id", self.client_id.expose())?;
        if let Some(secret) = &self.client_secret {
            checked("client_secret", secret.expose())?;
        }
        match &self.grant {
            Grant::ClientCredentials | Grant::RefreshToken { seed: None } => {}
            Grant::RefreshToken { seed: Some(seed) } => _ = checked("refresh_token", seed.expose())?,
            Grant::Password { user, password } => _ = filled("user", user.expose()).and(filled("password", password.expose()))?,
        }
        Ok(())
    }

    pub(super) fn secrets(&self) -> Vec<Secret> {
        let mut secrets: Vec<Secret> = self.client_secret.iter().chain(self.params.values()).cloned().collect();
        match &self.grant {
            Grant::ClientCredentials => {}
            Grant::RefreshToken { seed } => secrets.extend(seed.clone()),
            Grant::Password { password, .. } => secrets.push(password.clone()),
        }
        secrets.extend(self.basic().ok().and_then(|value| value.to_str().ok().and_then(|text| text.get(6..).map(Secret::new))));
        secrets
    }

    /// The URL at which a person allows us in (section 4.1.1); no secret is in it.
    pub(super) fn authorize(&self) -> Option<String> {
        let url = self.authorize_url.as_ref()?.url();
        let mut parameters = vec![("response_type", "code"), ("client_id", self.client_id.expose())];
        parameters.extend(self.redirect_uri.as_deref().map(|to| ("redirect_uri", to)));
        parameters.extend(self.scope.as_ref().map(|scopes| ("scope", scopes.0.as_str())));
        let parameters: Vec<_> = parameters.into_iter().map(|(name, value)| (name.to_owned(), encoded(value))).collect();
        let target = url.target(None, &parameters).ok()?;
        Some(format!("{url}{target}"))
    }

    /// Id and secret as the header has them: each form-encoded first.
    fn basic(&self) -> Result<HeaderValue, AuthError> {
        let secret = self.client_secret.as_ref().map_or("", Secret::expose);
        let user = Secret::new(encoded(self.client_id.expose()));
        if secret.is_empty() {
            return Err(AuthError::Empty("client_secret"));
        }
        Basic { user, password: Some(Secret::new(encoded(secret))) }.value()
    }
}

/// Fetches such tokens.
#[derive(Debug)]
pub(super) struct Fetch {
    settings: Oauth2,
    endpoint: Endpoint,
    basic: Option<HeaderValue>,
    rotation: Option<Rotation>,
}

impl Fetch {
    pub fn new(settings: &Oauth2, connection: &Connection, limits: Limits, kit: &Kit) -> Result<Self, AuthError> {
        settings.check()?;
        let endpoint = Endpoint::new(&settings.token_url, connection, limits, kit, settings.secrets())?;
        let in_header = settings.credentials_in == CredentialsIn::Basic && settings.client_secret.is_some();
        let rotation = match &settings.grant {
            Grant::RefreshToken { seed } => Some(Rotation::new(kit, seed.clone())),
            Grant::ClientCredentials | Grant::Password { .. } => None,
        };
        Ok(Fetch { settings: settings.clone(), endpoint, basic: in_header.then(|| settings.basic()).transpose()?, rotation })
    }

    pub async fn fetch(&self) -> Result<Fetched, NotProven> {
        if let Some(rotation) = &self.rotation {
            return rotation.fetch(self).await;
        }
        let granted = match &self.settings.grant {
            Grant::Password { user, password } => {
                self.ask("password", &[("username", user.expose()), ("password", password.expose())], &[]).await
            }
            Grant::ClientCredentials | Grant::RefreshToken { .. } => self.ask("client_credentials", &[], &[]).await,
        };
        granted.map(|granted| granted.access).map_err(NoGrant::plain)
    }

    async fn ask(&self, grant: &str, more: &[(&str, &str)], sent: &[&Secret]) -> Result<Granted, NoGrant> {
        let settings = &self.settings;
        let mut form = vec![("grant_type", grant)];
        form.extend_from_slice(more);
        if self.basic.is_none() {
            form.push(("client_id", settings.client_id.expose()));
            form.extend(settings.client_secret.iter().map(|secret| ("client_secret", secret.expose())));
        }
        form.extend(settings.scope.iter().map(|scopes| ("scope", scopes.0.as_str())));
        form.extend(settings.audience.iter().map(|audience| ("audience", audience.as_str())));
        form.extend(settings.resource.iter().map(|resource| ("resource", resource.as_str())));
        form.extend(settings.params.iter().map(|(name, value)| (name.as_str(), value.expose())));
        self.endpoint.grant(&form, self.basic.as_ref(), sent).await
    }

    pub fn close(&self) {
        self.endpoint.close();
    }
}

impl Exchange for Fetch {
    async fn exchange(&self, refresh: &Secret) -> Result<Granted, NoGrant> {
        self.ask("refresh_token", &[("refresh_token", refresh.expose())], &[refresh]).await
    }
}

impl<'de> Deserialize<'de> for Scopes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Scopes;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a scope, or a list of them")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Scopes, E> {
                Ok(Scopes(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Scopes, A::Error> {
                let mut all: Vec<String> = vec![];
                while let Some(scope) = items.next_element()? {
                    all.push(scope);
                }
                Ok(Scopes(all.join(" ")))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}
