//! The table of signatures: every vector of `tests/data/signatures.json`, run by its preset and by the spelled-out
//! form through the public way with its own clock.

use super::presets::{placeless, presets};
use super::{Refused, Request, Section, Verifier};
use crate::model::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use switchyard_api::{Span, tree};

#[derive(Deserialize)]
struct Vector {
    name: String,
    provider: String,
    scheme: String,
    origin: String,
    secret: String,
    secret_encoding: String,
    headers: BTreeMap<String, String>,
    body: String,
    expect: String,
    now: Option<i64>,
    tolerance_seconds: Option<u64>,
    params: Option<Params>,
    url: Option<String>,
    certificate_pem: Option<String>,
}

#[derive(Deserialize)]
struct Params {
    header: String,
    alg: Option<String>,
    enc: Option<String>,
    prefix: Option<String>,
}

/// `sources.<name>` as somebody would write it for this vector, once by the preset and once spelled out.
fn sections(vector: &Vector) -> Vec<String> {
    let url = vector.url.as_ref().map(|url| format!(", url: {}", serde_json::Value::from(url.as_str()))).unwrap_or_default();
    // Amazon signs for everybody: our topic is named, as in all vectors.
    let secret = if vector.provider == "aws-sns" { "arn:aws:sns:eu-west-1:123456789012:MyTopic" } else { vector.secret.as_str() };
    let secret = format!("{}{url}", serde_json::Value::from(secret));
    let preset = |name: &str| match vector.tolerance_seconds {
        Some(tolerance) => format!("{{ verify: {{ preset: {name}, timestamp: {{ tolerance: {tolerance}s }} }}, secret: {secret} }}"),
        None => format!("{{ verify: {name}, secret: {secret} }}"),
    };
    let mut all = vec![];
    let named = match (vector.provider.as_str(), vector.scheme.as_str()) {
        ("adyen", "hmac-body") => Some("adyen-platform"),
        ("gitlab", "shared-token") => Some("gitlab-token"),
        ("hubspot", scheme @ ("hubspot-v1" | "hubspot-v2")) | ("standard-webhooks", scheme @ "standard-webhooks-v1a") => Some(scheme),
        (name, _) => presets().iter().map(|preset| preset.name.as_str()).find(|preset| *preset == name),
    };
    all.extend(named.map(preset));
    if vector.scheme == "basic-auth" {
        let (user, password) = vector.secret.split_once(':').unwrap();
        all.push(format!("{{ verify: {{ basic: {{ user: {user}, password: {password} }} }} }}"));
    }
    // The same, spelled out.
    let spelled = match vector.scheme.as_str() {
        "svix-v1" => {
            "preset: standard-webhooks, header: svix-signature, signs: '{header:svix-id}.{timestamp}.{body}', timestamp: { header: svix-timestamp"
        }
        "slack-v0" => {
            "hmac: sha256, header: X-Slack-Signature, prefix: 'v0=', signs: 'v0:{timestamp}:{body}', timestamp: { header: X-Slack-Request-Timestamp"
        }
        "zoom-v0" => {
            "hmac: sha256, header: x-zm-signature, prefix: 'v0=', signs: 'v0:{timestamp}:{body}', timestamp: { header: x-zm-request-timestamp"
        }
        "paddle-h1" => {
            "hmac: sha256, header: Paddle-Signature, prefix: 'h1=', separator: ';', signs: '{timestamp}:{body}', timestamp: { element: ts"
        }
        "calendly-v1" => {
            "hmac: sha256, header: Calendly-Webhook-Signature, prefix: 'v1=', separator: ',', signs: '{timestamp}.{body}', timestamp: { element: t"
        }
        _ => "",
    };
    if let (false, Some(tolerance)) = (spelled.is_empty(), vector.tolerance_seconds) {
        all.push(format!("{{ verify: {{ {spelled}, tolerance: {tolerance}s }} }}, secret: {secret} }}"));
    }
    if vector.scheme == "pagerduty-v3" {
        all.push(format!(
            "{{ verify: {{ hmac: sha256, header: X-PagerDuty-Signature, prefix: 'v1=', separator: ',' }}, secret: {secret} }}"
        ));
    }
    let key = if vector.secret_encoding == "hex" { "hex" } else { "text" };
    match &vector.params {
        Some(Params { header, alg: Some(alg), enc: Some(enc), prefix: Some(prefix) }) => all.push(format!(
            "{{ verify: {{ hmac: {alg}, header: {header}, encoding: {enc}, prefix: \"{prefix}\", key: {key} }}, secret: {secret} }}"
        )),
        Some(Params { header, .. }) => all.push(format!("{{ verify: {{ token: {secret}, header: {header} }} }}")),
        None => {}
    }
    all
}

fn holds(section: &str, vector: &Vector) -> bool {
    let mut problems = vec![];
    let section: Section = tree::read(&placeless(section).unwrap(), &mut problems).unwrap();
    let verifier = Verifier::build("vector", Span::default(), &section, &mut problems);
    let verifier = verifier.unwrap_or_else(|| panic!("{}: {problems:?}", vector.name));
    let headers: HeaderMap = vector
        .headers
        .iter()
        .map(|(name, value)| (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap()))
        .collect();
    let query = vector.url.as_deref().and_then(|url| url.split_once('?')).map_or("", |(_, query)| query);
    let mut request = Request {
        headers: &headers,
        body: vector.body.as_bytes(),
        peer: [127, 0, 0, 1].into(),
        certificate: None,
        document: None,
        roots: None,
        query,
    };
    let now = Timestamp(vector.now.unwrap_or(1_700_000_000) * 1_000);
    match verifier.key_at(&request, now) {
        Ok(Some(_)) => request.document = vector.certificate_pem.as_deref().map(str::as_bytes),
        Ok(None) => assert!(vector.certificate_pem.is_none(), "{}: its certificate is asked for", vector.name),
        Err(_) => return false,
    }
    match verifier.prove(&request, now) {
        Ok(_) => true,
        // Their makers issued these certificates to themselves: what is told is that the signature holds, and nothing else is asked after that.
        Err(Refused::UnknownIssuer) => vector.certificate_pem.is_some(),
        Err(_) => false,
    }
}

#[test]
fn every_vector_gives_its_answer() {
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("../../tests/data/signatures.json")).unwrap();
    let (mut run, mut published, mut wrong, mut uncovered) = (0, 0, vec![], BTreeSet::new());
    for vector in &vectors {
        let sections = sections(vector);
        if sections.is_empty() {
            uncovered.insert(format!("{} {}", vector.provider, vector.scheme));
        }
        for section in sections {
            run += 1;
            published += usize::from(vector.origin == "published");
            if holds(&section, vector) != (vector.expect == "valid") {
                wrong.push(format!("{} by {section}: expected {}", vector.name, vector.expect));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(uncovered, BTreeSet::new(), "every sender is covered");
    assert_eq!((vectors.len(), run, published), (218, 329, 41), "vectors, runs, of them published");
}
