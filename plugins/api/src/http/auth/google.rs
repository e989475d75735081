//! A token for a Google service account: a JWT signed with its key is exchanged at its token endpoint
//! (RFC 7523; developers.google.com/identity/protocols/oauth2/service-account).

use super::AuthError;
use super::endpoint::{Endpoint, EndpointUrl, NoGrant, NotProven};
use super::oauth2::Scopes;
use super::token::Fetched;
use crate::http::client::Limits;
use crate::http::connection::Connection;
use crate::{Kit, Secret};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use std::fmt;

/// Seconds that the signed claim is good; Google allows an hour.
const GOOD_FOR: i64 = 3600;

/// A service account and what it wants.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Google {
    /// The JSON that Google gives for it.   example: ${file:/run/secrets/service-account.json}
    pub service_account: Secret,
    /// What the token is for.   example: https://www.googleapis.com/auth/pubsub
    pub scope: Scopes,
}

/// What we need of the JSON.
#[derive(Debug, Clone, Deserialize)]
pub struct ServiceAccount {
    /// Who it is.
    pub client_email: String,
    /// The name of its key.
    #[serde(default)]
    pub private_key_id: Option<String>,
    private_key: Secret,
    /// Where its tokens come from.
    #[serde(default = "token_uri")]
    pub token_uri: EndpointUrl,
}

fn token_uri() -> EndpointUrl {
    // Part of this build: the test below proves it.
    EndpointUrl::parse("https://oauth2.googleapis.com/token").expect("a URL")
}

impl Google {
    /// Reads the account and its key.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn account(&self) -> Result<ServiceAccount, AuthError> {
        if self.service_account.expose().trim().is_empty() {
            return Err(AuthError::Empty("service_account"));
        }
        let read = serde_json::from_str::<ServiceAccount>(self.service_account.expose());
        let account = read.map_err(|_| AuthError::Account("it needs `client_email`, `private_key` and an `https://` `token_uri`"))?;
        account.key()?;
        Ok(account)
    }

    pub(super) fn secrets(&self) -> Vec<Secret> {
        let key = self.account().map(|account| account.private_key);
        std::iter::once(self.service_account.clone()).chain(key).collect()
    }
}

impl ServiceAccount {
    fn key(&self) -> Result<KeyPair, AuthError> {
        let wrong = AuthError::Account("its `private_key` is no RSA key in PEM (PKCS #8)");
        let der = PrivatePkcs8KeyDer::from_pem_slice(self.private_key.expose().as_bytes()).map_err(|_| wrong.clone())?;
        KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| wrong)
    }
}

/// Fetches such tokens.
pub(super) struct Fetch {
    account: ServiceAccount,
    key: KeyPair,
    scope: String,
    endpoint: Endpoint,
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetch").field("account", &self.account).field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl Fetch {
    pub fn new(settings: &Google, connection: &Connection, limits: Limits, kit: &Kit) -> Result<Self, AuthError> {
        let account = settings.account()?;
        let endpoint = Endpoint::new(&account.token_uri, connection, limits, kit, settings.secrets())?;
        Ok(Fetch { key: account.key()?, account, scope: settings.scope.0.clone(), endpoint })
    }

    pub async fn fetch(&self) -> Result<Fetched, NotProven> {
        let assertion = self.assertion(self.endpoint.seconds())?;
        let form = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", assertion.expose())];
        let granted = self.endpoint.grant(&form, None, &[&assertion]).await;
        granted.map(|granted| granted.access).map_err(NoGrant::plain)
    }

    /// The signed claim (RFC 7515, RS256).
    fn assertion(&self, now: i64) -> Result<Secret, NotProven> {
        let mut head = serde_json::json!({ "alg": "RS256", "typ": "JWT" });
        if let Some(kid) = &self.account.private_key_id {
            head["kid"] = kid.as_str().into();
        }
        let url = self.account.token_uri.url();
        let target = url.target(None, &[]).map_err(|wrong| self.endpoint.refused(&wrong.to_string()))?;
        let claim = serde_json::json!({
            "iss": self.account.client_email, "scope": self.scope, "aud": format!("{url}{target}"), "iat": now, "exp": now + GOOD_FOR,
        });
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(head.to_string()), URL_SAFE_NO_PAD.encode(claim.to_string()));
        let mut signature = vec![0; self.key.public_modulus_len()];
        let signed = self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature);
        signed.map_err(|_| self.endpoint.refused("its key signs nothing"))?;
        Ok(Secret::new(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }

    pub fn close(&self) {
        self.endpoint.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(json: &str) -> Result<ServiceAccount, AuthError> {
        Google { service_account: Secret::new(json), scope: Scopes("x".into()) }.account()
    }

    #[test]
    fn what_is_no_service_account_is_told_without_being_quoted() {
        assert!(token_uri().url().is_https());
        let pem = "-----BEGIN PRIVATE KEY-----\\nMAA=\\n-----END PRIVATE KEY-----\\n";
        for (json, part) in [
            (" ".to_owned(), "is empty"),
            ("hush".to_owned(), "`client_email`"),
            (r#"{"client_email": "hush"}"#.to_owned(), "`client_email`"),
            (r#"{"client_email": "a", "private_key": "hush"}"#.to_owned(), "no RSA key"),
            (format!(r#"{{"client_email": "a", "private_key": "{pem}"}}"#), "no RSA key"),
            (r#"{"client_email": "a", "private_key": "hush", "token_uri": "http://id.example/"}"#.to_owned(), "`token_uri`"),
        ] {
            let wrong = account(&json).unwrap_err().to_string();
            assert!(wrong.contains(part) && !wrong.contains("hush"), "{json}: {wrong}");
        }
    }
}
