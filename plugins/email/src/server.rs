//! Where the mail goes and who we are there: the setting `smtp`, as a URL or spelled out.
//!
//! Never: quotes a URL in an error (L7), sends credentials in the clear over a network.

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use std::fmt;
use std::net::IpAddr;
use switchyard_api::Secret;
use switchyard_api::authority::{host_and_port, percent_decoded};
use switchyard_api::http::Auth;
use switchyard_api::http::auth::AuthError;

/// The setting as written.
#[derive(Debug, Clone)]
pub enum Smtp {
    /// `smtps://user:password@mail.example.com`.
    Url(Secret),
    /// Its parts.
    Parts(Parts),
}

/// The setting spelled out.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// The server.   example: mail.example.com
    pub host: String,
    /// Its port.   default: 465 for `tls: implicit`, else 587
    #[serde(default)]
    pub port: Option<u16>,
    /// How the connection is protected.   default: starttls
    #[serde(default)]
    pub tls: Protection,
    /// Who we are.
    #[serde(default)]
    pub user: Option<Secret>,
    /// And the proof.
    #[serde(default)]
    pub password: Option<Secret>,
    /// An OAuth2 access token in place of a password.
    #[serde(default)]
    pub token: Option<Secret>,
    /// How it is said, or `{ oauth2: … }` for a token that is fetched.   default: xoauth2 with a token, else plain or login
    #[serde(default)]
    pub auth: Option<SmtpAuth>,
}

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protection {
    /// TLS from the first byte, port 465.
    Implicit,
    /// TLS before anything else is said; a server that does not offer it gets nothing.
    #[default]
    Starttls,
    /// None: only to this machine.
    None,
    /// None, over a network: mails can be read and changed on their way. Never with credentials.
    Unprotected,
}

/// How we say who we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// Two questions; older servers.
    Login,
    /// An OAuth2 token (Google, Microsoft).
    Xoauth2,
}

/// A word, or credentials that are fetched as the HTTP outputs fetch theirs.
#[derive(Debug, Clone, PartialEq)]
pub enum SmtpAuth {
    /// How `password` or `token` is said.
    By(Mechanism),
    /// Where a token for XOAUTH2 comes from.
    Fetched(Auth),
}

/// Where, and who we are there.
#[derive(Debug, Clone)]
pub struct Server {
    /// The host's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: Protection,
    /// Who we are, if the server asks.
    pub login: Option<Login>,
}

/// Who we are.
#[derive(Debug, Clone)]
pub struct Login {
    /// The name.
    pub user: Secret,
    /// What proves it.
    pub proof: Proof,
    /// How it is said; `None`: what the server offers.
    pub mechanism: Option<Mechanism>,
}

/// What proves who we are.
#[derive(Debug, Clone)]
pub enum Proof {
    /// A password, or for XOAUTH2 a token.
    Fixed(Secret),
    /// A token that is fetched.
    Fetched(Auth),
}

/// What is wrong with the setting. Never quotes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// Most often a variable that is set to nothing.
    #[error("the URL of the mail server is empty: is its variable set?")]
    Empty,
    /// Another scheme, or none.
    #[error("the URL of a mail server begins with `smtps://` or `smtp://`")]
    Scheme,
    /// No host, or a port that is none.
    #[error("the URL of the mail server has no host, or a port that is none")]
    Host,
    /// `%` and not two hexadecimal digits.
    #[error("user and password in the URL are percent-encoded: write `%25` for `%`, `%40` for `@`, `%2F` for `/`")]
    Percent,
    /// Behind `?`.
    #[error("behind the `?` stand `tls=none`, `tls=unprotected`, `auth=plain`, `auth=login` or `auth=xoauth2`")]
    Query,
    /// A path or a fragment.
    #[error("the URL of a mail server has nothing behind its host and port but `?`")]
    Path,
    /// `smtps` and `tls=none`.
    #[error("`smtps://` is TLS from the first byte: write `smtp://` for another `tls`")]
    Both,
    /// Plain text to another machine.
    #[error("without TLS mail goes to this machine only (localhost, 127.0.0.1, ::1): `tls: unprotected` says it out loud")]
    Open,
    /// A password in plain text over a network.
    #[error("credentials never go over a network in the clear: use TLS, or a server that asks for none")]
    OpenLogin,
    /// One without the other.
    #[error("a user needs a password or a token, and they need a user")]
    Half,
    /// Both proofs.
    #[error("there is a password and a token: keep one of them")]
    TwoProofs,
    /// A token that is not for XOAUTH2, or a password for it.
    #[error("`auth: xoauth2` takes a `token`, `plain` and `login` take a `password`")]
    Proof,
    /// Other credentials than such that give a token.
    #[error("a mail server takes a token from `oauth2` or `google`, or `auth` is one of plain, login, xoauth2")]
    Kind,
    /// What is wrong with where a token comes from.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Control characters.
    #[error("user, password or token are empty or hold a line end or another control character")]
    Characters,
}

impl Smtp {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn server(&self) -> Result<Server, ServerError> {
        match self {
            Smtp::Url(url) => from_url(url.expose())?.checked(),
            Smtp::Parts(parts) => from_parts(parts)?.checked(),
        }
    }
}

impl Server {
    fn checked(self) -> Result<Self, ServerError> {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
        if self.host.is_empty() || self.port == 0 || !self.host.chars().all(good) || (self.host.contains(':') && ip(&self.host).is_none()) {
            return Err(ServerError::Host);
        }
        match self.tls {
            Protection::None if !self.is_here() => return Err(ServerError::Open),
            Protection::Unprotected if self.login.is_some() && !self.is_here() => return Err(ServerError::OpenLogin),
            _ => {}
        }
        let bad = |secret: &Secret| secret.expose().is_empty() || secret.expose().chars().any(char::is_control);
        let bad_proof = |proof: &Proof| matches!(proof, Proof::Fixed(secret) if bad(secret));
        if self.login.as_ref().is_some_and(|login| bad(&login.user) || bad_proof(&login.proof)) {
            return Err(ServerError::Characters);
        }
        Ok(self)
    }

    /// Whether it is this machine.
    fn is_here(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost") || ip(&self.host).is_some_and(|ip| ip.is_loopback())
    }
}

fn ip(host: &str) -> Option<IpAddr> {
    host.parse().ok()
}

fn from_parts(parts: &Parts) -> Result<Server, ServerError> {
    let token = |user: &Secret, proof| Some(Login { user: user.clone(), proof, mechanism: Some(Mechanism::Xoauth2) });
    let by = match &parts.auth {
        Some(SmtpAuth::By(mechanism)) => Some(*mechanism),
        Some(SmtpAuth::Fetched(_)) | None => None,
    };
    let login = match (&parts.user, &parts.password, &parts.token, &parts.auth) {
        (_, Some(_), Some(_), _) | (_, Some(_), _, Some(SmtpAuth::Fetched(_))) | (_, _, Some(_), Some(SmtpAuth::Fetched(_))) => {
            return Err(ServerError::TwoProofs);
        }
        (Some(user), None, None, Some(SmtpAuth::Fetched(auth))) => {
            if !matches!(auth, Auth::Oauth2(_) | Auth::Google(_) | Auth::Login(_)) {
                return Err(ServerError::Kind);
            }
            auth.check()?;
            token(user, Proof::Fetched(auth.clone()))
        }
        (Some(user), Some(password), None, _) if by != Some(Mechanism::Xoauth2) => {
            Some(Login { user: user.clone(), proof: Proof::Fixed(password.clone()), mechanism: by })
        }
        (Some(user), None, Some(secret), _) if by.is_none_or(|by| by == Mechanism::Xoauth2) => token(user, Proof::Fixed(secret.clone())),
        (Some(_), Some(_), None, _) | (Some(_), None, Some(_), _) => return Err(ServerError::Proof),
        (None, None, None, None) => None,
        _ => return Err(ServerError::Half),
    };
    let port = parts.port.unwrap_or(if parts.tls == Protection::Implicit { 465 } else { 587 });
    Ok(Server { host: parts.host.trim_start_matches('[').trim_end_matches(']').to_owned(), port, tls: parts.tls, login })
}

fn from_url(url: &str) -> Result<Server, ServerError> {
    if url.is_empty() {
        return Err(ServerError::Empty);
    }
    let (scheme, rest) = url.split_once("://").ok_or(ServerError::Scheme)?;
    let implicit = match scheme.to_ascii_lowercase().as_str() {
        "smtps" => true,
        "smtp" => false,
        _ => return Err(ServerError::Scheme),
    };
    // The last `@`: a user is often an address, and not everybody encodes its `@`.
    let (user, rest) = rest.rsplit_once('@').map_or((None, rest), |(user, rest)| (Some(user), rest));
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let place = place.strip_suffix('/').unwrap_or(place);
    if place.contains(['/', '#']) {
        return Err(ServerError::Path);
    }
    let (host, port) = host_and_port(place).map_err(|_| ServerError::Host)?;
    let (mut tls, mut mechanism) = (None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair {
            "tls=starttls" => tls = Some(Protection::Starttls),
            "tls=none" => tls = Some(Protection::None),
            "tls=unprotected" => tls = Some(Protection::Unprotected),
            "auth=plain" => mechanism = Some(Mechanism::Plain),
            "auth=login" => mechanism = Some(Mechanism::Login),
            "auth=xoauth2" => mechanism = Some(Mechanism::Xoauth2),
            _ => return Err(ServerError::Query),
        }
    }
    let tls = match (implicit, tls) {
        (true, None) => Protection::Implicit,
        (true, Some(_)) => return Err(ServerError::Both),
        (false, tls) => tls.unwrap_or_default(),
    };
    let login = match user {
        Some(user) => {
            let (user, secret) = user.split_once(':').ok_or(ServerError::Half)?;
            Some(Login { user: decoded(user)?, proof: Proof::Fixed(decoded(secret)?), mechanism })
        }
        None if mechanism.is_some() => return Err(ServerError::Half),
        None => None,
    };
    Ok(Server { host: host.to_owned(), port: port.unwrap_or(if implicit { 465 } else { 587 }), tls, login })
}

fn decoded(text: &str) -> Result<Secret, ServerError> {
    percent_decoded(text).map(Secret::new).ok_or(ServerError::Percent)
}

impl<'de> Deserialize<'de> for Smtp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = Smtp;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL such as `\"${SMTP_URL}\"`, or `{ host, user, password }`")
            }
            fn visit_str<E: de::Error>(self, url: &str) -> Result<Smtp, E> {
                Ok(Smtp::Url(Secret::new(url)))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Smtp, A::Error> {
                Parts::deserialize(MapAccessDeserializer::new(map)).map(Smtp::Parts)
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl<'de> Deserialize<'de> for SmtpAuth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = SmtpAuth;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`plain`, `login` or `xoauth2`, or `{ oauth2: … }`")
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<SmtpAuth, E> {
                Mechanism::deserialize(de::value::StrDeserializer::new(word)).map(SmtpAuth::By)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SmtpAuth, A::Error> {
                Auth::deserialize(MapAccessDeserializer::new(map)).map(SmtpAuth::Fetched)
            }
        }
        deserializer.deserialize_any(Form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn url(text: &str) -> Result<Server, ServerError> {
        Smtp::Url(Secret::new(text)).server()
    }
    fn parts(text: &str) -> Result<Server, ServerError> {
        Smtp::Parts(serde_json::from_str(text).unwrap()).server()
    }
    fn told(server: Result<Server, ServerError>) -> Result<String, ServerError> {
        let server = server?;
        let secret = |proof: &Proof| match proof {
            Proof::Fixed(secret) => secret.expose().to_owned(),
            Proof::Fetched(_) => "fetched".to_owned(),
        };
        let login = server.login.map_or(String::new(), |l| format!(" {} {} {:?}", l.user.expose(), secret(&l.proof), l.mechanism));
        Ok(format!("{}:{} {:?}{login}", server.host, server.port, server.tls))
    }

    #[test]
    fn a_url_says_where_how_and_who() {
        for (text, expected) in [
            ("smtps://me:hush@mail.example.com", "mail.example.com:465 Implicit me hush None"),
            ("smtp://mail.example.com:2525/", "mail.example.com:2525 Starttls"),
            ("SMTP://me%40example.com:p%3A%2F%40%25@mail.example.com", "mail.example.com:587 Starttls me@example.com p:/@% None"),
            ("smtp://me@example.com:hush@mail.example.com", "mail.example.com:587 Starttls me@example.com hush None"),
            ("smtp://localhost:25?tls=none", "localhost:25 None"),
            ("smtp://me:hush@[::1]:25?tls=none&auth=login", "::1:25 None me hush Some(Login)"),
            ("smtp://relay:25?tls=unprotected", "relay:25 Unprotected"),
            ("smtps://me:token@smtp.gmail.com?auth=xoauth2", "smtp.gmail.com:465 Implicit me token Some(Xoauth2)"),
        ] {
            assert_eq!(told(url(text)).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_wrong_url_is_refused_with_the_reason() {
        for (text, wrong) in [
            ("", ServerError::Empty),
            ("mail.example.com", ServerError::Scheme),
            ("https://mail.example.com", ServerError::Scheme),
            ("smtp://", ServerError::Host),
            ("smtp://mail.example.com:70000", ServerError::Host),
            ("smtp://mail.example.com:0", ServerError::Host),
            ("smtp://mail exam\r\nple.com", ServerError::Host),
            ("smtp://[::1", ServerError::Host),
            ("smtp://me:a%@host", ServerError::Percent),
            ("smtp://me:a%zz@host", ServerError::Percent),
            ("smtp://me:a%ff@host", ServerError::Percent),
            ("smtp://host/path", ServerError::Path),
            ("smtp://host?tls=maybe", ServerError::Query),
            ("smtps://host?tls=none", ServerError::Both),
            ("smtp://host?tls=none", ServerError::Open),
            ("smtp://me:hush@host?tls=none", ServerError::Open),
            ("smtp://me:hush@host?tls=unprotected", ServerError::OpenLogin),
            ("smtp://me@host", ServerError::Half),
            ("smtp://host?auth=plain", ServerError::Half),
            ("smtp://me:@host", ServerError::Characters),
            ("smtp://me:a%0d%0aRSET@host", ServerError::Characters),
        ] {
            assert_eq!(url(text).unwrap_err(), wrong, "{text}");
        }
    }

    #[test]
    fn the_parts_say_the_same() {
        assert_eq!(told(parts(r#"{"host":"h","tls":"implicit"}"#)).as_deref(), Ok("h:465 Implicit"));
        let text = r#"{"host":"h","port":25,"user":"me","password":"hush","auth":"plain"}"#;
        assert_eq!(told(parts(text)).as_deref(), Ok("h:25 Starttls me hush Some(Plain)"));
        let text = r#"{"host":"h","user":"me","token":"t"}"#;
        assert_eq!(told(parts(text)).as_deref(), Ok("h:587 Starttls me t Some(Xoauth2)"));
        let oauth2 = r#""auth":{"oauth2":{"token_url":"https://t.example/token","client_id":"i","client_secret":"s"}}"#;
        let text = format!(r#"{{"host":"h","user":"me",{oauth2}}}"#);
        assert_eq!(told(parts(&text)).as_deref(), Ok("h:587 Starttls me fetched Some(Xoauth2)"));
        for text in [format!(r#"{{"host":"h","user":"me","password":"p",{oauth2}}}"#), format!(r#"{{"host":"h","token":"t",{oauth2}}}"#)] {
            assert_eq!(parts(&text).unwrap_err(), ServerError::TwoProofs, "{text}");
        }
        assert_eq!(parts(&format!(r#"{{"host":"h",{oauth2}}}"#)).unwrap_err(), ServerError::Half);
        for (text, wrong) in [
            (r#"{"host":"h","user":"me","auth":{"bearer":"t"}}"#, ServerError::Kind),
            (r#"{"host":"h","user":"me"}"#, ServerError::Half),
            (r#"{"host":"h","password":"p"}"#, ServerError::Half),
            (r#"{"host":"h","auth":"plain"}"#, ServerError::Half),
            (r#"{"host":"h","user":"me","password":"p","token":"t"}"#, ServerError::TwoProofs),
            (r#"{"host":"h","user":"me","password":"p","auth":"xoauth2"}"#, ServerError::Proof),
            (r#"{"host":"h","user":"me","token":"t","auth":"login"}"#, ServerError::Proof),
            (r#"{"host":"","tls":"none"}"#, ServerError::Host),
            (r#"{"host":"h","tls":"none"}"#, ServerError::Open),
        ] {
            assert_eq!(parts(text).unwrap_err(), wrong, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader_and_none_is_quoted(text in "(smtps?://)?[a-z:@%0-9\\[\\]/?=&. \r\n]{0,40}hush[a-z@:%]{0,10}") {
            match url(&text) {
                Ok(server) => prop_assert!(!server.host.contains(['\r', '\n', ' ', '@'])),
                Err(error) => prop_assert!(!error.to_string().contains("hush")),
            }
        }
    }
}
