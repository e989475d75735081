//! The text that a signature covers, piece by piece, out of one request.
//!
//! Does: puts it together as the sender did. Never: decides whether the signature holds (`signature.rs` does).

use super::pick::{self, Steps};
use super::signature::only;
use super::{Refused, Request};
use crate::model::envelope;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// The field of a URL that holds the SHA-256 of the body, in hex.
pub(super) const BODY_HASH: &str = "bodySHA256=";

/// A piece of the signed text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(Box<str>),
    Body,
    Timestamp,
    Header(HeaderName),
    /// The URL that is posted to: as the file writes it, and with the port of its scheme where that is left out, or the other way.
    Url {
        written: Box<str>,
        other_port: Option<Box<str>>,
    },
    /// The fields of a form: sorted by name and value, each once, names and values one after the other, so that it does not tell where one ends
    /// and the next begins. Of any other body nothing: its hash must stand in the URL.
    Form,
    /// The text or number there; nothing where there is none.
    Json(Steps),
    /// The exact bytes of the value there.
    Raw(Steps),
    /// Of each of these fields of the body that is there: its name and its text, a line each. Only the text of the first may hold a line break.
    Lines(Box<[Box<str>]>),
    /// The CRC-32 of the body, in digits.
    Crc32,
    /// The source's secret, which is a name then.
    Secret,
}

/// The body, or the item of it, that one signature covers.
pub(super) struct Body<'b> {
    pub bytes: &'b [u8],
    /// The moment of signing as it is written.
    pub stamp: &'b [u8],
    /// The name that both sides know.
    pub name: &'b [u8],
    /// Whether URLs are tried with the port the other way.
    pub other_port: bool,
}

impl Part {
    /// The URL that the file names.
    pub fn url(written: &str) -> Part {
        Part::Url { written: written.into(), other_port: other_port(written).map(Into::into) }
    }
}

/// Whether this piece can be written in two ways.
pub(super) fn has_two_ways(part: &Part) -> bool {
    matches!(part, Part::Url { other_port: Some(_), .. })
}

/// The pieces of the signed text.
pub(super) fn pieces<'r>(signs: &'r [Part], request: &'r Request<'_>, body: &'r Body<'r>) -> Result<Vec<Cow<'r, [u8]>>, Refused> {
    let text = |text: Cow<'r, str>| match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    };
    let piece = |part: &'r Part| match part {
        Part::Text(text) => Ok(Cow::Borrowed(text.as_bytes())),
        Part::Body => Ok(Cow::Borrowed(body.bytes)),
        Part::Timestamp => Ok(Cow::Borrowed(body.stamp)),
        Part::Header(name) => only(request.headers, name).map(Cow::Borrowed),
        Part::Url { written, other_port } => {
            let url = other_port.as_ref().filter(|_| body.other_port).unwrap_or(written);
            Ok(text(asked(url, request.query)))
        }
        Part::Form => form(request, body.bytes).map(Cow::Owned),
        Part::Json(path) => signed_text(body.bytes, path).map(text),
        Part::Lines(names) => lines(names, body.bytes).map(Cow::Owned),
        Part::Crc32 => Ok(Cow::Owned(crc32fast::hash(body.bytes).to_string().into_bytes())),
        Part::Secret => Ok(Cow::Borrowed(body.name)),
        Part::Raw(path) => pick::raw_at(body.bytes, path).map(Cow::Borrowed).ok_or_else(|| Refused::MissingField(path.join("."))),
    };
    signs.iter().map(piece).collect()
}

/// The text or number at a path; nothing where there is none. Anything else would count as nothing too, and stand unsigned in a body that is proven.
fn signed_text<'b>(body: &'b [u8], path: &[Box<str>]) -> Result<Cow<'b, str>, Refused> {
    match pick::raw_at(body, path) {
        None | Some(b"null") => Ok(Cow::Borrowed("")),
        Some(_) => pick::at_path(body, path).ok_or_else(|| Refused::NoText(path.join("."))),
    }
}

/// Names and texts of the fields that are there. A line break in any but the first could make one field look like another: the signature would hold for a
/// body that was never signed.
fn lines(names: &[Box<str>], body: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut text = vec![];
    for (nth, name) in names.iter().enumerate() {
        let Some(value) = pick::at_path(body, std::slice::from_ref(name)) else { continue };
        if nth > 0 && value.contains('\n') {
            return Err(Refused::MalformedField(name.to_string()));
        }
        for piece in [name, "\n", &*value, "\n"] {
            text.extend_from_slice(piece.as_bytes());
        }
    }
    Ok(text)
}

/// The URL of this request: its query, where it has one, goes before that of the file, since a sender may add to it.
fn asked<'r>(url: &'r str, query: &str) -> Cow<'r, str> {
    if query.is_empty() {
        return Cow::Borrowed(url);
    }
    let before = url.split_once('?').map_or(url, |(before, _)| before);
    Cow::Owned(format!("{before}?{query}"))
}

/// A URL with the port of its scheme, where it is written without one, and the other way; `None` where neither is so.
fn other_port(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    match host.strip_suffix(port) {
        Some(host) => Some(format!("{scheme}://{host}{path}")),
        // The colons of an IPv6 address stand in brackets.
        None if host.rsplit(']').next().is_some_and(|end| end.contains(':')) => None,
        None => Some(format!("{scheme}://{host}{port}{path}")),
    }
}

/// What is signed of a form; of another body nothing, whose hash the URL must hold. A URL that holds one is of such a body, whatever the request
/// calls it: the signature would hold for a form of nothing too.
fn form(request: &Request<'_>, body: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut given = request.query.split('&').filter_map(|pair| pair.strip_prefix(BODY_HASH));
    match (given.next(), given.next()) {
        (None, _) if is_form(request.headers) => {}
        (Some(given), None) if given.eq_ignore_ascii_case(&hex::encode(Sha256::digest(body))) => return Ok(vec![]),
        _ => return Err(Refused::NotCovered),
    }
    let pairs = body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    let mut fields: Vec<(String, String)> = pairs
        .map(|pair| {
            let (name, value) = pair.split_at(pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len()));
            (envelope::unescape(name), envelope::unescape(value.strip_prefix(b"=").unwrap_or_default()))
        })
        .collect();
    fields.sort_unstable();
    fields.dedup();
    Ok(fields.into_iter().fold(vec![], |mut text, (name, value)| {
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(value.as_bytes());
        text
    }))
}

/// Whether the body is a form, as its header says.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_put_in_or_taken_out_where_it_is_the_usual_one() {
        let cases = [
            ("https://a.example/x?y", Some("https://a.example:443/x?y")),
            ("https://a.example:443/x", Some("https://a.example/x")),
            ("http://a.example", Some("http://a.example:80")),
            ("http://a.example:8080/x", None),
            ("https://[2001:db8::1]/x", Some("https://[2001:db8::1]:443/x")),
            ("ftp://a.example", None),
            ("nonsense", None),
        ];
        for (url, expected) in cases {
            assert_eq!(other_port(url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn the_query_of_the_request_is_what_was_signed() {
        assert_eq!(asked("https://a.example/x", ""), "https://a.example/x");
        assert_eq!(asked("https://a.example/x?a=1", ""), "https://a.example/x?a=1");
        assert_eq!(asked("https://a.example/x?a=1", "a=1&b=2"), "https://a.example/x?a=1&b=2");
    }
}
