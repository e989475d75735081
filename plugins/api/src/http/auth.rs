//! How an HTTP output proves who it is: `bearer`, `basic`, or a header of its own.

use crate::Secret;
use ::http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// Credentials sent with every request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub enum Auth {
    /// `Authorization: Bearer …` (RFC 6750).
    Bearer(Secret),
    /// `Authorization: Basic …` (RFC 7617).
    Basic(Basic),
    /// A header with a secret value, such as `X-Api-Key`.
    Header(AuthHeader),
}

/// Credentials as the file has them: one of the keys.
#[derive(Deserialize)]
struct Written {
    bearer: Option<Secret>,
    basic: Option<Basic>,
    header: Option<AuthHeader>,
}

impl TryFrom<Written> for Auth {
    type Error = &'static str;
    fn try_from(written: Written) -> Result<Self, Self::Error> {
        match written {
            Written { bearer: Some(token), basic: None, header: None } => Ok(Auth::Bearer(token)),
            Written { bearer: None, basic: Some(basic), header: None } => Ok(Auth::Basic(basic)),
            Written { bearer: None, basic: None, header: Some(header) } => Ok(Auth::Header(header)),
            _ => Err("credentials are one thing: write `bearer`, `basic` or `header`"),
        }
    }
}

/// User and password.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Basic {
    /// The user; holds no `:`.
    pub user: Secret,
    /// The password.
    pub password: Secret,
}

/// A header that proves who we are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AuthHeader {
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
}

impl Auth {
    /// The header to send, marked as sensitive.
    ///
    /// # Errors
    /// What is wrong with the credentials.
    pub fn header(&self) -> Result<(HeaderName, HeaderValue), AuthError> {
        match self {
            Auth::Bearer(token) => Ok((AUTHORIZATION, value("token", token.expose(), |token| format!("Bearer {token}"))?)),
            Auth::Basic(Basic { user, password }) => {
                if user.expose().contains(':') {
                    return Err(AuthError::Colon);
                }
                let both = format!("{}:{}", checked("user", user.expose())?, checked("password", password.expose())?);
                Ok((AUTHORIZATION, value("password", &STANDARD.encode(both), |both| format!("Basic {both}"))?))
            }
            Auth::Header(AuthHeader { name, value: secret }) => {
                let header = HeaderName::try_from(name.as_str()).ok().filter(|header| !is_ours(header));
                let header = header.ok_or_else(|| AuthError::Name(name.clone()))?;
                Ok((header, value("value", secret.expose(), str::to_owned)?))
            }
        }
    }

    /// What must never be shown, even where the far side echoes it.
    pub fn secrets(&self) -> Vec<Secret> {
        match self {
            Auth::Bearer(token) => vec![token.clone()],
            Auth::Basic(Basic { user, password }) => {
                vec![Secret::new(STANDARD.encode(format!("{}:{}", user.expose(), password.expose()))), password.clone()]
            }
            Auth::Header(header) => vec![header.value.clone()],
        }
    }
}

/// Whether a header belongs to the request's framing or to ourselves, so that nobody else may set it.
pub fn is_ours(name: &HeaderName) -> bool {
    const FRAMING: [&str; 9] =
        ["host", "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade"];
    const OURS: [&str; 2] = ["switchyard-", "webhook-"];
    FRAMING.contains(&name.as_str()) || name == "expect" || OURS.iter().any(|prefix| name.as_str().starts_with(prefix))
}

fn checked<'a>(what: &'static str, text: &'a str) -> Result<&'a str, AuthError> {
    if text.is_empty() {
        return Err(AuthError::Empty(what));
    }
    if text.chars().any(char::is_control) { Err(AuthError::Characters(what)) } else { Ok(text) }
}

fn value(what: &'static str, text: &str, as_sent: impl Fn(&str) -> String) -> Result<HeaderValue, AuthError> {
    let sent = as_sent(checked(what, text)?);
    let mut value = HeaderValue::from_bytes(sent.as_bytes()).map_err(|_| AuthError::Characters(what))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(auth: &Auth) -> Result<String, AuthError> {
        auth.header().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
    }
    fn basic(user: &str, password: &str) -> Auth {
        Auth::Basic(Basic { user: Secret::new(user), password: Secret::new(password) })
    }
    fn header(name: &str, value: &str) -> Auth {
        Auth::Header(AuthHeader { name: name.into(), value: Secret::new(value) })
    }

    #[test]
    fn credentials_are_sent_as_their_standards_say() {
        assert_eq!(sent(&Auth::Bearer(Secret::new("made-up"))).as_deref(), Ok("authorization: Bearer made-up"));
        // The example of RFC 7617, section 2.
        assert_eq!(sent(&basic("Aladdin", "open sesame")).as_deref(), Ok("authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
        assert_eq!(sent(&header("X-Api-Key", "made-up")).as_deref(), Ok("x-api-key: made-up"));
    }

    #[test]
    fn what_cannot_be_sent_is_refused_without_being_quoted() {
        for (auth, wrong) in [
            (Auth::Bearer(Secret::new("")), AuthError::Empty("token")),
            (Auth::Bearer(Secret::new("a\r\nX: hush")), AuthError::Characters("token")),
            (basic("a:b", "hush"), AuthError::Colon),
            (basic("a", "hush\n"), AuthError::Characters("password")),
            (header("Content-Length", "hush"), AuthError::Name("Content-Length".into())),
            (header("Switchyard-Event", "hush"), AuthError::Name("Switchyard-Event".into())),
            (header("a b", "hush"), AuthError::Name("a b".into())),
        ] {
            let error = auth.header().unwrap_err();
            assert_eq!(error, wrong);
            assert!(!error.to_string().contains("hush"));
        }
    }

    #[test]
    fn nothing_shows_a_credential() {
        for auth in [Auth::Bearer(Secret::new("hush")), basic("a", "hush"), header("X-Key", "hush")] {
            assert!(!format!("{auth:?} {:?}", auth.header()).contains("hush"));
        }
    }
}
