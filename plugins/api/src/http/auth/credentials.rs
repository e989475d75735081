//! Credentials in use: proves each request, and repeats one once where that is what the far side asks for.
//!
//! | kind | before each request | worth one repeat within the attempt |
//! | --- | --- | --- |
//! | bearer, basic, header, query | the same | never |
//! | oauth2, login, google | the token, fetched if need be | 401: that token is dropped, a new one fetched |
//! | digest | with the nonce that is known | 401 with another nonce |
//! | sigv4 | signed with the time of now | our clock is off: corrected by the answer's `Date` |
//! | hmac | signed with the time of now | never |
//!
//! A second refusal is the answer. Never: repeats a request that was not refused, shows a token, not even where an answer
//! echoes it (L7). All of an attempt, fetching included, ends within the output's `timeout`.

use super::digest::{Digester, Used};
use super::endpoint::NotProven;
use super::place::{body_of, put_query};
use super::token::{Source, Token, Tokens};
use super::{Auth, AuthError, HmacSign, Sigv4, google, login, oauth2, sigv4, value};
use crate::http::answer::Answer;
use crate::http::client::{Client, Limits, Request};
use crate::http::connection::Connection;
use crate::http::error::CallError;
use crate::preview::HIDDEN;
use crate::{Kit, Outcome, Secret, Wall};
use ::http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Shown of a token that an answer echoes.
const MASK: &[u8] = b"***";

/// The credentials of one output, made once.
#[derive(Debug)]
pub struct Credentials {
    how: How,
    wall: Wall,
    /// One whole attempt.
    within: Duration,
}

#[derive(Debug)]
enum How {
    Nothing,
    Header(HeaderName, HeaderValue),
    Query(String, Secret),
    Token(TokenUse),
    Sigv4 {
        keys: Sigv4,
        /// How far the far side's clock is ahead of ours, in milliseconds.
        ahead: AtomicI64,
    },
    Digest(Digester),
    Hmac(HmacSign),
}

#[derive(Debug)]
struct TokenUse {
    tokens: Tokens,
    header: HeaderName,
    /// Stands before the token.
    before: String,
}

/// What a request was proven with, as far as a refusal must know.
enum Proof {
    Plain,
    Token(Token),
    Digest(Used),
}

/// Why a request has no answer. `Display` is one line without secrets.
#[derive(Debug, thiserror::Error)]
pub enum NotSent {
    /// It could not be proven who we are; where this was not the first try, the one before was refused.
    #[error(transparent)]
    NotProven(#[from] NotProven),
    /// How far it came.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl NotSent {
    /// What this means for the delivery.
    pub fn outcome(self) -> Outcome {
        match self {
            NotSent::NotProven(why) => why.outcome(),
            NotSent::Call(why) => why.outcome(),
        }
    }
}

impl Credentials {
    /// Makes credentials ready; `None`: none are needed. `tls` and `limits` are those of the output: a token endpoint is called as the
    /// far side is. Connects to nothing.
    ///
    /// # Errors
    /// What is wrong with them, as [`Auth::check`].
    pub fn new(auth: Option<&Auth>, connection: &Connection, limits: Limits, kit: &Kit) -> Result<Self, AuthError> {
        let how = match auth {
            None => How::Nothing,
            Some(auth) => How::new(auth, connection, limits, kit)?,
        };
        Ok(Credentials { how, wall: kit.wall.clone(), within: limits.whole })
    }

    /// Sends a request with its proof. `sent` is called right before a byte of the request itself may leave, once.
    ///
    /// May be dropped at any await. The fetching of a token goes on then, for those who wait for it too.
    ///
    /// # Errors
    /// Why it has no answer.
    pub async fn send(&self, client: &Client, mut request: Request, sent: impl FnOnce()) -> Result<Answer, NotSent> {
        let deadline = Instant::now() + self.within;
        let again = self.how.may_repeat().then(|| request.clone());
        let mut proof = self.prove(client, &mut request, deadline).await?;
        let mut answer = call(client, request, deadline, sent).await?;
        if let Some(mut request) = again
            && self.refuted(&proof, &answer)
        {
            proof = self.prove(client, &mut request, deadline).await?;
            answer = call(client, request, deadline, || ()).await?;
            // A token that is refused twice is not used a third time.
            self.refuted(&proof, &answer);
        }
        Ok(masked(answer, &proof))
    }

    /// Whether the proof can be had now, as far as that can be known without a request: a token is fetched.
    ///
    /// # Errors
    /// Why not.
    pub async fn check(&self) -> Result<(), NotProven> {
        match &self.how {
            How::Token(token) => token.proof(Instant::now() + self.within).await.map(drop),
            _ => Ok(()),
        }
    }

    /// Closes idle connections to where tokens come from.
    pub fn close(&self) {
        if let How::Token(token) = &self.how {
            token.tokens.close();
        }
    }

    /// Writes [`HIDDEN`] where a proof would stand, for people to read. Fetches nothing.
    ///
    /// # Errors
    /// This one message has no place for it; one line without secrets.
    pub fn veil(&self, request: &mut Request) -> Result<(), String> {
        let hidden = |before: &str| HeaderValue::from_str(&format!("{before}{HIDDEN}")).map_err(|_| "no such header".to_owned());
        let set = |request: &mut Request, name: &HeaderName, before: &str| {
            request.headers_mut().insert(name.clone(), hidden(before)?);
            Ok(())
        };
        match &self.how {
            How::Nothing => Ok(()),
            How::Header(name, value) => set(request, name, scheme_of(value)),
            How::Query(name, _) => put_query(request, name, HIDDEN).map_err(|why| why.outcome().text().to_owned()),
            How::Token(token) => set(request, &token.header, &token.before),
            How::Sigv4 { .. } => set(request, &AUTHORIZATION, "AWS4-HMAC-SHA256 "),
            How::Digest(_) => set(request, &AUTHORIZATION, "Digest "),
            How::Hmac(settings) => settings.into.put(request, HIDDEN).map_err(|why| why.outcome().text().to_owned()),
        }
    }

    async fn prove(&self, client: &Client, request: &mut Request, deadline: Instant) -> Result<Proof, NotProven> {
        let wrong = |why: AuthError| NotProven::Refused { why: why.to_string() };
        match &self.how {
            How::Nothing => {}
            How::Header(name, value) => _ = request.headers_mut().insert(name.clone(), value.clone()),
            How::Query(name, secret) => put_query(request, name, secret.expose())?,
            How::Token(token) => {
                let (used, sent) = token.proof(deadline).await?;
                request.headers_mut().insert(token.header.clone(), sent);
                return Ok(Proof::Token(used));
            }
            How::Sigv4 { keys, ahead } => {
                let now = self.wall.millis().saturating_add(ahead.load(Ordering::Relaxed));
                let body = body_of(request);
                keys.sign(request, client.url().authority(), &body, now.div_euclid(1000)).map_err(wrong)?;
            }
            How::Digest(digester) => return Ok(Proof::Digest(digester.prove(request))),
            How::Hmac(settings) => settings.sign(request, client.url(), self.wall.millis())?,
        }
        Ok(Proof::Plain)
    }

    /// Whether the answer refuses the proof, and another may be had. What was refused is not used again.
    fn refuted(&self, proof: &Proof, answer: &Answer) -> bool {
        match (&self.how, proof) {
            (How::Token(token), Proof::Token(used)) if answer.status.as_u16() == 401 => {
                token.tokens.refuse(used);
                true
            }
            (How::Digest(digester), Proof::Digest(used)) => digester.challenged(used, answer),
            (How::Sigv4 { ahead, .. }, _) => match sigv4::skew(answer, self.wall.millis()) {
                Some(found) => ahead.swap(found, Ordering::Relaxed) != found,
                None => false,
            },
            _ => false,
        }
    }
}

impl How {
    fn new(auth: &Auth, connection: &Connection, limits: Limits, kit: &Kit) -> Result<Self, AuthError> {
        auth.check()?;
        if let Some((name, value)) = auth.header()? {
            return Ok(How::Header(name, value));
        }
        let token = |source: Source, early: Option<Duration>, (header, before): (HeaderName, String)| {
            How::Token(TokenUse { tokens: Tokens::new(source, early), header, before })
        };
        Ok(match auth {
            // Their header was just taken.
            Auth::Bearer(_) | Auth::Basic(_) | Auth::Header(_) => How::Nothing,
            Auth::Query(query) => How::Query(query.name.clone(), query.value.clone()),
            Auth::Oauth2(settings) => {
                let source = Source::Oauth2(Box::new(oauth2::Fetch::new(settings, connection, limits, kit)?));
                token(source, settings.skew.map(|skew| skew.0), (AUTHORIZATION, format!("{} ", settings.scheme)))
            }
            Auth::Login(settings) => {
                let (header, before) = settings.sent_as.header();
                token(Source::Login(Box::new(login::Fetch::new(settings, connection, limits, kit)?)), None, (header, before.to_owned()))
            }
            Auth::Google(settings) => token(
                Source::Google(Box::new(google::Fetch::new(settings, connection, limits, kit)?)),
                None,
                (AUTHORIZATION, "Bearer ".into()),
            ),
            Auth::Sigv4(keys) => How::Sigv4 { keys: (**keys).clone(), ahead: AtomicI64::new(0) },
            Auth::Digest(settings) => How::Digest(Digester::new(settings.clone())),
            Auth::Hmac(settings) => How::Hmac((**settings).clone()),
        })
    }

    fn may_repeat(&self) -> bool {
        matches!(self, How::Token(_) | How::Sigv4 { .. } | How::Digest(_))
    }
}

impl TokenUse {
    /// The token and what is sent of it, had until then.
    async fn proof(&self, deadline: Instant) -> Result<(Token, HeaderValue), NotProven> {
        let late = |_| Err(NotProven::Down { why: "no token came in time".into(), after: None });
        let token = timeout_at(deadline, self.tokens.get()).await.unwrap_or_else(late)?;
        let sent = value("token", token.value.expose(), |token| format!("{}{token}", self.before));
        sent.map(|sent| (token, sent)).map_err(|why| NotProven::Refused { why: why.to_string() })
    }
}

/// The word before a secret: `Bearer `.
fn scheme_of(value: &HeaderValue) -> &'static str {
    ["Bearer ", "Basic "].into_iter().find(|scheme| value.as_bytes().starts_with(scheme.as_bytes())).unwrap_or_default()
}

/// Calls, and says by then what is known.
async fn call(client: &Client, request: Request, deadline: Instant, sent: impl FnOnce()) -> Result<Answer, CallError> {
    let began = Instant::now();
    let left = AtomicBool::new(false);
    let called = client.call(request, || {
        left.store(true, Ordering::Relaxed);
        sent();
    });
    match timeout_at(deadline, called).await {
        Ok(answered) => answered,
        Err(_) if left.load(Ordering::Relaxed) => Err(CallError::Silent { host: client.url().host().to_owned(), within: began.elapsed() }),
        Err(_) => Err(CallError::Connect {
            host: client.url().host().to_owned(),
            port: client.url().port(),
            cause: format!("nothing within {:?}", began.elapsed()),
        }),
    }
}

/// An answer that echoes the token is shown without it.
fn masked(answer: Answer, proof: &Proof) -> Answer {
    let Proof::Token(token) = proof else { return answer };
    let secret = token.value.expose().as_bytes();
    if secret.is_empty() || !answer.body.windows(secret.len()).any(|window| window == secret) {
        return answer;
    }
    let (mut kept, mut rest): (Vec<u8>, &[u8]) = (vec![], &answer.body);
    while let Some(at) = rest.windows(secret.len()).position(|window| window == secret) {
        kept.extend_from_slice(&rest[..at]);
        kept.extend_from_slice(MASK);
        rest = &rest[at + secret.len()..];
    }
    kept.extend_from_slice(rest);
    Answer { body: Bytes::from(kept), ..answer }
}
