//! From a body to an event: its bytes are kept as they came, and what filters, jq and templates see of it is what it says.

use super::{filter, keeper};
use crate::input::parts;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};
use http_body_util::Full;
use std::net::SocketAddr;
use switchyard::ingest::Limits;
use switchyard::model::{Event, envelope};
use switchyard::route::facts::{Facts, Paths};
use switchyard_reference::json::{self, Tree};

const MAX_BODY: usize = 256 << 10;

/// Headers, one a line (`?…` is the query), and a body.
pub fn entry() -> crate::Entry {
    let limits = Limits { max_body: MAX_BODY, ..Limits::default() };
    let (list, ingest) = keeper::ingest("in: { verify: none }", limits);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    Box::new(move |input| {
        let [head, body] = parts(input);
        let Some(request) = request(head, body) else { return };
        let (parts, whole) = request.into_parts();
        let encoded = parts.headers.contains_key("content-encoding");
        // The reader of HTTP sees to these.
        if parts.headers.contains_key("content-length") || parts.headers.contains_key("transfer-encoding") {
            return;
        }
        let answer = runtime.block_on(ingest.handle(parts, whole, SocketAddr::from(([192, 0, 2, 7], 1))));
        let kept = list.take();
        assert_eq!(kept.len(), usize::from(answer.status().is_success()), "answered {}", answer.status());
        let Some(event) = kept.first() else {
            // For nothing but its size is a proven event refused (L2).
            let large = body.len() > MAX_BODY || encoded || head.len() > 1 << 10;
            return assert!(large, "refused: {}", answer.status());
        };
        assert!(encoded || event.body == body, "the body is not the one that came");
        assert!(event.body.len() <= MAX_BODY, "{} bytes", event.body.len());
        seen(event);
    })
}

fn request(head: &[u8], body: &[u8]) -> Option<Request<Full<Bytes>>> {
    let (mut query, mut request) = (None, Request::post("/in").body(Full::new(Bytes::copy_from_slice(body))).ok()?);
    for line in head.split(|byte| *byte == b'\n').take(40) {
        if let Some(text) = line.strip_prefix(b"?") {
            query = Some(std::str::from_utf8(text).ok()?);
        } else if let Some(at) = line.iter().position(|byte| *byte == b':') {
            let (name, value) = (HeaderName::from_bytes(&line[..at]).ok()?, HeaderValue::from_bytes(line[at + 1..].trim_ascii()).ok()?);
            request.headers_mut().append(name, value);
        }
    }
    if let Some(query) = query {
        *request.uri_mut() = format!("/in?{query}").parse().ok()?;
    }
    Some(request)
}

/// What programs see of an event.
fn seen(event: &Event) {
    let text = envelope::envelope_text(event);
    let shown = json::read(&text);
    let parsed = envelope::data(event);
    let whole = json::read(&envelope::envelope(event).to_string());
    // Half a character has no text: the body is kept, and programs cannot read it.
    let Some(Tree::Object(shown)) = shown else { return assert!(!said_by(event), "no JSON: {text}") };
    assert_eq!(shown.get("raw"), Some(&Tree::Text(String::from_utf8_lossy(&event.body).into_owned())));
    let data = match &parsed {
        Ok(data) => json::read(&data.to_string()).expect("it prints JSON"),
        Err(_) => Tree::Word("null".into()),
    };
    assert_eq!(shown.get("data"), Some(&data), "in the text, and as it is parsed");
    let (mut paths, mut seen) = (Paths::default(), None);
    let place = paths.add("data").expect("a path");
    Facts::new(event, &paths).any(&place, |fact| {
        seen = filter::said(&fact);
        true
    });
    assert_eq!(seen, parsed.is_ok().then(|| data.clone()), "as a filter sees it, and as it is parsed");
    let Some(Tree::Object(whole)) = whole else { panic!("the envelope is no object") };
    assert_eq!(shown, whole, "the text of the envelope, and the envelope");
    if let (false, true) = (envelope::is_form(event), parsed.is_ok()) {
        assert_eq!(std::str::from_utf8(&event.body).ok().and_then(json::read), Some(data), "what the body says");
    } else if !envelope::is_form(event) {
        assert!(!said_by(event) || envelope::too_deep(&event.body), "not parsed: {parsed:?}");
    }
}

/// Whether the body is JSON by the plain reader.
fn said_by(event: &Event) -> bool {
    std::str::from_utf8(&event.body).ok().filter(|_| !envelope::too_deep(&event.body)).and_then(json::read).is_some()
}
