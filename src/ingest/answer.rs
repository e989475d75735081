//! What a sender hears: short JSON, always the same for the same case, nothing of its request in it.

use super::handle::NotKept;
use super::sources::Source;
use crate::model::EventId;
use crate::verify::{Refused, Reply};
use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use std::time::Duration;

/// Seconds after which a sender should try again when there is no room.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("5");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Which events a request became, where the body of the answer does not say it.
pub const KEPT_AS: HeaderName = HeaderName::from_static("switchyard-event");
/// Events that the header names; of more only these.
const NAMED_MAX: usize = 20;

/// The kinds of answers, as they are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Answer {
    /// 200: durable.
    Kept,
    /// 200: it was durable already.
    Repeated,
    /// 400: the body broke off, or was no HTTP.
    Broken,
    /// 401.
    NotProven,
    /// 403: a handshake without its token.
    NoHandshake,
    /// 404.
    UnknownPath,
    /// 405.
    WrongMethod,
    /// 408.
    TooSlow,
    /// 413.
    TooLarge,
    /// 431.
    TooManyHeaders,
    /// 503: no room for the body, or in the journal.
    NoRoom,
    /// 503: the journal could not keep it, or not in time.
    CannotKeep,
}

impl Answer {
    /// All of them, in their order.
    pub const ALL: [Answer; 12] = [
        Answer::Kept,
        Answer::Repeated,
        Answer::Broken,
        Answer::NotProven,
        Answer::NoHandshake,
        Answer::UnknownPath,
        Answer::WrongMethod,
        Answer::TooSlow,
        Answer::TooLarge,
        Answer::TooManyHeaders,
        Answer::NoRoom,
        Answer::CannotKeep,
    ];

    /// The word for metrics and lists.
    pub fn name(self) -> &'static str {
        match self {
            Answer::Kept => "kept",
            Answer::Repeated => "repeated",
            Answer::Broken => "broken",
            Answer::NotProven => "not_proven",
            Answer::NoHandshake => "no_handshake",
            Answer::UnknownPath => "unknown_path",
            Answer::WrongMethod => "wrong_method",
            Answer::TooSlow => "too_slow",
            Answer::TooLarge => "too_large",
            Answer::TooManyHeaders => "too_many_headers",
            Answer::NoRoom => "no_room",
            Answer::CannotKeep => "cannot_keep",
        }
    }

    /// The status.
    pub fn status(self) -> StatusCode {
        match self {
            Answer::Kept | Answer::Repeated => StatusCode::OK,
            Answer::Broken => StatusCode::BAD_REQUEST,
            Answer::NotProven => StatusCode::UNAUTHORIZED,
            Answer::NoHandshake => StatusCode::FORBIDDEN,
            Answer::UnknownPath => StatusCode::NOT_FOUND,
            Answer::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Answer::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Answer::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Answer::TooManyHeaders => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Answer::NoRoom | Answer::CannotKeep => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn body(self) -> &'static str {
        match self {
            Answer::Kept | Answer::Repeated => "{}",
            Answer::Broken => r#"{"error":"the body could not be read"}"#,
            Answer::NotProven | Answer::NoHandshake => r#"{"error":"not proven"}"#,
            Answer::UnknownPath => r#"{"error":"no source at this path"}"#,
            Answer::WrongMethod => r#"{"error":"only POST"}"#,
            Answer::TooSlow => r#"{"error":"too slow"}"#,
            Answer::TooLarge => r#"{"error":"the body is too large"}"#,
            Answer::TooManyHeaders => r#"{"error":"too many headers"}"#,
            Answer::NoRoom | Answer::CannotKeep => r#"{"error":"cannot keep it now, try again"}"#,
        }
    }
}

/// Why a TLS handshake ended. What the other side sent is not quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoTls {
    /// It showed a certificate that is not believed.
    #[error("its certificate is not of `server.tls.client_ca`, or not valid now")]
    Certificate,
    /// It does not believe ours.
    #[error("it does not believe our certificate (`server.tls.cert`)")]
    Ours,
    /// It took too long.
    #[error("its TLS handshake took too long")]
    TooSlow,
    /// Nothing that TLS begins with.
    #[error("it speaks no TLS, or none that we do")]
    Foreign,
}

impl NoTls {
    /// From what TLS says; `None`: the other side was gone, which says nothing.
    pub(super) fn of(wrong: &std::io::Error) -> Option<Self> {
        use rustls::AlertDescription as Alert;
        Some(match wrong.get_ref()?.downcast_ref::<rustls::Error>()? {
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => NoTls::Certificate,
            rustls::Error::AlertReceived(
                Alert::UnknownCA
                | Alert::BadCertificate
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::CertificateRevoked
                | Alert::UnsupportedCertificate
                // What a name that it knows signed with another key.
                | Alert::DecryptError,
            ) => NoTls::Ours,
            _ => NoTls::Foreign,
        })
    }
}

/// Why a request is not kept. `Display` is the line for people; the sender hears its [`Answer`] alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refuse {
    /// No source has this path.
    #[error("no source has this path")]
    UnknownPath,
    /// The source is posted to, and nothing else.
    #[error("the method is not POST")]
    WrongMethod,
    /// A handshake without its token, or without a challenge.
    #[error("a handshake that does not show `verify_token`, or nothing to give back")]
    NoHandshake,
    /// More headers, or bytes of headers, than are kept.
    #[error("more than {} headers or {} bytes of them", super::handle::MOST_HEADERS, super::handle::MOST_HEADER_BYTES)]
    TooManyHeaders,
    /// The body is longer than `server.max_body`.
    #[error("the body is longer than `server.max_body` allows ({0} bytes)")]
    TooLarge(usize),
    /// The body took too long.
    #[error("the body came too slowly")]
    TooSlow,
    /// The body broke off.
    #[error("the body broke off or was not valid HTTP")]
    Broken,
    /// The head is none that a request has.
    #[error("what came is not HTTP: {0}")]
    NotHttp(&'static str),
    /// The connection ended before a request.
    #[error("the connection ended before a request: {0}")]
    NoTls(NoTls),
    /// All bodies together are more than `server.body_budget`.
    #[error("the bodies being read reach `server.body_budget`")]
    NoBudget,
    /// The journal takes no more at the moment.
    #[error("the journal's queue is full")]
    Full,
    /// The journal's disk is nearly full.
    #[error("the journal's disk has less free than `journal.reserve`: make space")]
    Reserved,
    /// The journal failed.
    #[error("the journal could not keep it")]
    Failed,
    /// The journal did not say in time.
    #[error("the journal did not keep it within {0:?}, and its sender waits no longer")]
    Late(Duration),
    /// Whether it is proven can't be told: what that takes stands elsewhere.
    #[error("the sender's certificate or set of keys can't be had now: {0}")]
    NoKey(String),
    /// What a subscription asks to be visited can't be.
    #[error("the subscription can't be confirmed now: {0}")]
    NotVisited(String),
    /// A subscription asks to be confirmed, and nobody said that it is ours.
    #[error("a subscription asks to be confirmed: name it under `secret`, as the sender calls it, and have it asked for again")]
    Unnamed,
    /// A subscription asks to be confirmed elsewhere than at its sender.
    #[error("a subscription asks to be confirmed at an address that is none of the sender's")]
    Foreign,
    /// It is not proven.
    #[error(transparent)]
    NotProven(#[from] Refused),
}

impl Refuse {
    /// Why it was not kept.
    pub(super) fn of(why: NotKept) -> Self {
        match why {
            NotKept::Full => Refuse::Full,
            NotKept::Reserved => Refuse::Reserved,
            NotKept::Failed => Refuse::Failed,
        }
    }

    /// What the sender hears.
    pub fn answer(&self) -> Answer {
        match self {
            Refuse::UnknownPath => Answer::UnknownPath,
            Refuse::WrongMethod => Answer::WrongMethod,
            Refuse::TooManyHeaders => Answer::TooManyHeaders,
            Refuse::TooLarge(_) => Answer::TooLarge,
            Refuse::TooSlow | Refuse::NoTls(NoTls::TooSlow) => Answer::TooSlow,
            Refuse::Broken | Refuse::NotHttp(_) | Refuse::NoTls(NoTls::Ours | NoTls::Foreign) => Answer::Broken,
            Refuse::NoBudget | Refuse::Full | Refuse::Reserved => Answer::NoRoom,
            Refuse::Failed | Refuse::Late(_) | Refuse::NoKey(_) | Refuse::NotVisited(_) => Answer::CannotKeep,
            Refuse::NotProven(_) | Refuse::Unnamed | Refuse::Foreign | Refuse::NoTls(NoTls::Certificate) => Answer::NotProven,
            Refuse::NoHandshake => Answer::NoHandshake,
        }
    }

    /// The cause in a word.
    pub fn cause(&self) -> &'static str {
        match self {
            Refuse::NotProven(why) => why.cause(),
            Refuse::NoHandshake => "handshake",
            Refuse::NoTls(NoTls::Certificate | NoTls::Ours) => "certificate",
            _ => self.answer().name(),
        }
    }

    /// Whether the request is proven to be the sender's, who counts this as a failure of ours. Of any other it can't be told: the sender with another secret, or somebody else.
    pub(super) fn is_of_the_sender(&self) -> bool {
        match self {
            // What comes after the proof.
            Refuse::Full
            | Refuse::Reserved
            | Refuse::Failed
            | Refuse::Late(_)
            | Refuse::NotVisited(_)
            | Refuse::Unnamed
            | Refuse::Foreign => true,
            Refuse::NotProven(why) => matches!(why, Refused::Stale { signed: true, .. }),
            _ => false,
        }
    }

    /// Whether the body was read to its end, so that the connection can go on.
    fn read_all(&self) -> bool {
        matches!(
            self,
            Refuse::NotProven(_)
                | Refuse::Full
                | Refuse::Reserved
                | Refuse::Failed
                | Refuse::Late(_)
                | Refuse::NoKey(_)
                | Refuse::NotVisited(_)
                | Refuse::Unnamed
                | Refuse::Foreign
        )
    }

    /// The answer; a sender that wants its good answers empty gets the others empty too.
    pub(super) fn response(&self, source: Option<&Source>) -> Response<Full<Bytes>> {
        let answer = self.answer();
        let empty = source.and_then(|source| source.answer.as_ref()).is_some_and(Bytes::is_empty);
        let body = if empty { "" } else { answer.body() };
        let mut response = with(answer.status(), JSON, Bytes::from_static(body.as_bytes()));
        let headers = response.headers_mut();
        match answer {
            Answer::WrongMethod => drop(headers.insert(ALLOW, HeaderValue::from_static("POST"))),
            Answer::NoRoom | Answer::CannotKeep => drop(headers.insert(RETRY_AFTER, RETRY_SECONDS)),
            _ => {}
        }
        if !self.read_all() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The answer to an event that is durable.
pub(super) fn kept(source: &Source, id: EventId, repeated: bool) -> Response<Full<Bytes>> {
    match &source.answer {
        Some(text) => named(with(source.status, TEXT, text.clone()), &[(id, repeated)]),
        None if repeated => with(StatusCode::OK, JSON, Bytes::from(format!(r#"{{"event":"{id}","duplicate":true}}"#))),
        None => with(StatusCode::OK, JSON, Bytes::from(format!(r#"{{"event":"{id}"}}"#))),
    }
}

/// The answer to a request of several events that are durable: the id of each, and how many are repeats.
pub(super) fn kept_all(source: &Source, events: &[(EventId, bool)]) -> Response<Full<Bytes>> {
    let Some(text) = &source.answer else {
        let ids: Vec<String> = events.iter().map(|(id, _)| format!("\"{id}\"")).collect();
        let repeated = events.iter().filter(|(_, repeated)| *repeated).count();
        return with(StatusCode::OK, JSON, Bytes::from(format!(r#"{{"events":[{}],"duplicates":{repeated}}}"#, ids.join(","))));
    };
    named(with(source.status, TEXT, text.clone()), events)
}

/// An answer whose body says nothing of the events: the first of them in a header, for whoever sent them by hand.
fn named(mut response: Response<Full<Bytes>>, events: &[(EventId, bool)]) -> Response<Full<Bytes>> {
    let ids: Vec<String> = events.iter().take(NAMED_MAX).map(|(id, _)| id.to_string()).collect();
    if let Ok(ids) = HeaderValue::from_str(&ids.join(",")) {
        response.headers_mut().insert(KEPT_AS, ids);
    }
    response
}

/// The answer to a handshake: never a page, whatever it is that is given back.
pub(super) fn shaken(reply: Reply) -> Response<Full<Bytes>> {
    let mut response = match reply {
        Reply::Text(text) => with(StatusCode::OK, TEXT, text.into()),
        Reply::Json(json) => with(StatusCode::OK, JSON, json.into()),
        Reply::Nothing => with(StatusCode::NO_CONTENT, TEXT, Bytes::new()),
        Reply::Allowed { origin, rate } => allowed(&origin, rate),
        // What is shown to people is not given back.
        Reply::Visit(_) | Reply::Show(_) => with(StatusCode::OK, TEXT, Bytes::new()),
        Reply::No | Reply::Unnamed | Reply::Foreign => {
            with(Answer::NoHandshake.status(), JSON, Bytes::from_static(Answer::NoHandshake.body().as_bytes()))
        }
    };
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn allowed(origin: &str, rate: Option<u32>) -> Response<Full<Bytes>> {
    let mut response = with(StatusCode::OK, TEXT, Bytes::new());
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static("POST"));
    if let Ok(origin) = HeaderValue::from_str(origin) {
        headers.insert("webhook-allowed-origin", origin);
    }
    if let Some(rate) = rate {
        headers.insert("webhook-allowed-rate", rate.into());
    }
    response
}

fn with(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_its_place_and_valid_json() {
        for (place, answer) in Answer::ALL.into_iter().enumerate() {
            assert_eq!(answer as usize, place, "{}", answer.name());
            assert!(serde_json::from_str::<serde_json::Value>(answer.body()).is_ok(), "{}", answer.body());
        }
    }
}
