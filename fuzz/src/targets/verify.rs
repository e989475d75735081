//! Proof: of senders whose pages are written down (`switchyard_reference::senders`) it accepts what they say and nothing else; of all others it
//! accepts nothing that nobody signed; and nothing makes it fail.

use crate::input::{NOW, parts};
use http::{HeaderMap, HeaderName, HeaderValue};
use switchyard::config::parse::parse;
use switchyard::verify::{MOST_CANDIDATES, Request, Section, Verifier, presets};
use switchyard_api::tls::Roots;
use switchyard_api::{Span, tree};
use switchyard_reference::senders::{Sender, senders};

/// Stands for the right signature of this body.
const SIGNED: &str = "SIGNED";
/// Secrets that are public keys, or have a form of their own; any other is a word that nobody knows.
const KEYS: [(&str, &str); 5] = [
    ("standard-webhooks-v1a", "whpk_1rxCGAmmQlbNw8Ul8gvDNIGv3LoKb6VhUbPYrpvXCcI="),
    ("discord", "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"),
    ("adyen", "00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF00FF"),
    ("adyen-platform", "00ff00ff"),
    (
        "sendgrid",
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==",
    ),
];
const UNKNOWN: &str = "d2hzZWNtYWRldXBzZWNyZXRtYWRldXBzZWNyZXQ=";

/// A sender's name, or nothing for all; a query; headers; a body.
pub fn entry() -> crate::Entry {
    let all: Vec<(&str, Verifier)> = presets().iter().map(|preset| (preset.name.as_str(), unknown(&preset.name))).collect();
    let known: Vec<(Sender, Verifier)> = senders().into_iter().map(|sender| (sender.clone(), of(&sender))).collect();
    let roots = roots();
    Box::new(move |input| {
        let [name, query, head, body] = parts(input);
        let Ok(query) = std::str::from_utf8(query) else { return };
        match known.iter().find(|(sender, _)| sender.preset.as_bytes() == name) {
            Some((sender, verifier)) => beside(sender, verifier, query, head, body),
            None => unsigned(&all, &roots, query, head, body),
        }
    })
}

fn of(sender: &Sender) -> Verifier {
    build(&format!("{{ verify: {}, secret: {} }}", sender.preset, sender.secret))
}

/// A root whose key nobody has any more.
fn roots() -> Roots {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/root.pem");
    Roots::load(Some(file.as_ref())).unwrap_or_else(|e| panic!("{file}: {e}"))
}

fn unknown(preset: &str) -> Verifier {
    let key = KEYS.iter().find(|(name, _)| *name == preset).map_or(UNKNOWN, |(_, key)| key);
    build(&format!("{{ verify: {preset}, secret: '{key}', url: 'https://hooks.example.com/x' }}"))
}

fn build(section: &str) -> Verifier {
    let mut problems = vec![];
    let read = parse(section, &mut problems).and_then(|tree| tree::read::<Section>(&tree, &mut problems));
    let built = read.and_then(|section| Verifier::build("shop", Span::default(), &section, &mut problems));
    built.unwrap_or_else(|| panic!("{section}: {problems:?}"))
}

fn headers(head: &[u8], signature: Option<&str>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).take(60) {
        let at = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (HeaderName::from_bytes(&line[..at]).ok()?, line[at + 1..].trim_ascii());
        let place = signature.and_then(|_| value.windows(SIGNED.len()).position(|window| window == SIGNED.as_bytes()));
        let value = match (place, signature) {
            (Some(at), Some(signature)) => [&value[..at], signature.as_bytes(), &value[at + SIGNED.len()..]].concat(),
            _ => value.to_vec(),
        };
        headers.append(name, HeaderValue::from_bytes(&value).ok()?);
    }
    Some(headers)
}

fn request<'r>(headers: &'r HeaderMap, query: &'r str, body: &'r [u8]) -> Request<'r> {
    Request { headers, body, query, peer: [192, 0, 2, 7].into(), certificate: None, document: None, roots: None }
}

/// One of the senders whose page is written down.
fn beside(sender: &Sender, verifier: &Verifier, query: &str, head: &[u8], body: &[u8]) {
    let now = NOW.0 / 1_000;
    let Some(headers) = headers(head, Some(&sender.sign(&now.to_string(), "id-1", body))) else { return };
    let request = request(&headers, query, body);
    let (found, expected) = (verifier.prove(&request, NOW).is_ok(), sender.accepts(&headers, body, now));
    let given = headers.get(sender.header).map(|value| String::from_utf8_lossy(value.as_bytes()));
    // What nobody sends is not looked at: so many signatures in one header.
    let many = given.is_some_and(|given| sender.elements(&given).len() > MOST_CANDIDATES);
    assert!(found == expected || (many && !found), "{}: proven {found}, its page says {expected}: {headers:?}", sender.preset);
    verifier.read(&request);
}

/// Every preset, and what the way in asks of it.
fn unsigned(all: &[(&str, Verifier)], roots: &Roots, query: &str, head: &[u8], body: &[u8]) {
    let Some(headers) = headers(head, None) else { return };
    let mut request = request(&headers, query, body);
    for (name, verifier) in all {
        if let Ok(Some(_)) = verifier.key_at(&request, NOW) {
            // What stands there is not its sender's word either.
            (request.document, request.roots) = (Some(body), Some(roots));
        }
        assert!(verifier.prove(&request, NOW).is_err(), "{name} took what nobody signed: {headers:?}");
        request.document = None;
        verifier.read(&request);
        verifier.read_item(&headers, body);
        let _ = (
            verifier.shaken(&request, Some(0)),
            verifier.unsigned(&request),
            verifier.posted(query),
            verifier.challenged(query),
            verifier.asked(&headers),
        );
    }
}
