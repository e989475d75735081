//! Proof beside a slow reference (`switchyard_reference::senders`), which is written as the senders' pages say it and shares nothing with it but the
//! hash; and every preset beside requests that nobody signed.

use super::presets::{placeless, presets};
use super::{Request, Section, Verifier};
use crate::model::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;
use switchyard_api::{Span, tree};
use switchyard_reference::senders::{Sender, senders};

const NOW: i64 = 1_700_000_000;

fn build(section: &str) -> Verifier {
    let mut problems = vec![];
    let read: Option<Section> = tree::read(&placeless(section).unwrap(), &mut problems);
    let built = read.and_then(|section| Verifier::build("shop", Span::default(), &section, &mut problems));
    built.unwrap_or_else(|| panic!("{section}: {problems:?}"))
}

/// One thing done to a good request.
#[derive(Debug, Clone)]
enum Change {
    Body(Index, u8),
    /// A byte of the signature's header, as text.
    Header(Index, char),
    /// Elements around the signature.
    Element(bool, String),
    Twice(Index),
    Gone(Index),
    Spaces,
}

fn change() -> impl Strategy<Value = Change> {
    let element = prop_oneof![
        Just("v0=00".to_owned()),
        Just("v1=".to_owned()),
        Just(String::new()),
        Just("t=1700000000".to_owned()),
        "[a-z0-9=, ;]{0,12}"
    ];
    prop_oneof![
        (any::<Index>(), 1..=255_u8).prop_map(|(at, bits)| Change::Body(at, bits)),
        (any::<Index>(), prop::sample::select(vec!['0', 'a', 'A', 'F', '=', ',', ' ', '+', '.', ';']))
            .prop_map(|(at, to)| Change::Header(at, to)),
        (any::<bool>(), element).prop_map(|(before, text)| Change::Element(before, text)),
        any::<Index>().prop_map(Change::Twice),
        any::<Index>().prop_map(Change::Gone),
        Just(Change::Spaces),
    ]
}

fn apply(sender: &Sender, change: Change, headers: &mut HeaderMap, body: &mut [u8]) {
    let name = HeaderName::from_static(sender.header);
    let value = headers.get(&name).map(|value| value.to_str().unwrap().to_owned());
    let any_name = |at: Index, headers: &HeaderMap| headers.keys().nth(at.index(headers.keys_len().max(1))).cloned();
    let new = match (change, value) {
        (Change::Body(at, bits), _) => {
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] ^= bits;
            }
            None
        }
        (Change::Twice(at), _) => {
            if let Some(name) = any_name(at, headers) {
                let value = headers[&name].clone();
                headers.append(name, value);
            }
            None
        }
        (Change::Gone(at), _) => {
            any_name(at, headers).map(|name| headers.remove(name));
            None
        }
        (Change::Header(at, to), Some(value)) if !value.is_empty() => {
            let mut letters: Vec<char> = value.chars().collect();
            let at = at.index(letters.len());
            letters[at] = to;
            Some(letters.into_iter().collect::<String>())
        }
        (Change::Element(true, text), Some(value)) => Some([&text, sender.between, &value].concat()),
        (Change::Element(false, text), Some(value)) => Some([&value, sender.between, &text].concat()),
        (Change::Spaces, Some(value)) => Some(format!(" {value} ")),
        (_, _) => None,
    };
    if let Some(value) = new.and_then(|value| HeaderValue::from_str(&value).ok()) {
        headers.insert(name, value);
    }
}

/// Presets with a secret that fits them.
fn every_preset() -> Vec<(&'static str, Verifier)> {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../../tests/data/signatures.json")).unwrap();
    let secret = |preset: &str| match preset {
        "standard-webhooks-v1a" => "whpk_1rxCGAmmQlbNw8Ul8gvDNIGv3LoKb6VhUbPYrpvXCcI=".to_owned(),
        "sendgrid" | "discord" | "adyen" => {
            let of = |vector: &&Value| vector["provider"] == preset && vector["expect"] == "valid";
            vectors.iter().find(of).unwrap()["secret"].as_str().unwrap().to_owned()
        }
        _ => "d2hzZWNtYWRldXBzZWNyZXRtYWRldXBzZWNyZXQ=".to_owned(),
    };
    let one = |preset: &'static super::Preset| {
        let name = preset.name.as_str();
        let key = if name == "adyen-platform" { "00ff00ff".to_owned() } else { secret(name) };
        (name, build(&format!("{{ verify: {name}, secret: '{key}', url: 'https://hooks.example.com/x' }}")))
    };
    presets().iter().map(one).collect()
}

/// The headers that presets read.
fn names() -> Vec<HeaderName> {
    let text = include_str!("presets.yaml");
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let headers = words.filter(|word| word.contains('-') && !word.starts_with('-') && !word.ends_with('-'));
    headers.filter_map(|word| HeaderName::from_bytes(word.as_bytes()).ok()).chain(["authorization".parse().unwrap()]).collect()
}

/// JSON with the fields that presets look into.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let field = prop::sample::select(vec![
        "Message",
        "Signature",
        "SigningCertURL",
        "TopicArn",
        "Type",
        "SubscribeURL",
        "MessageId",
        "signature",
        "timestamp",
        "token",
        "HashCode",
        "Content",
        "notificationItems",
        "NotificationRequestItem",
        "additionalData",
        "hmacSignature",
        "value",
        "clientState",
        "webhookTimestamp",
        "event",
        "type",
    ]);
    let text = prop_oneof![
        Just("https://sns.eu-west-1.amazonaws.com/a.pem".to_owned()),
        Just("SubscriptionConfirmation".to_owned()),
        Just("AAAA".to_owned()),
        "\\PC{0,12}",
    ];
    let leaf = prop_oneof![text.prop_map(Value::from), any::<i64>().prop_map(Value::from), Just(Value::Null)];
    let json = leaf.prop_recursive(4, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(field.clone().prop_map(str::to_owned), inner, 0..6).prop_map(|map| map.into_iter().collect()),
        ]
    });
    prop_oneof![json.prop_map(|json| json.to_string().into_bytes()), prop::collection::vec(any::<u8>(), 0..64)]
}

proptest! {
    #[test]
    fn what_is_accepted_is_what_the_senders_pages_say(
        nth in 0..senders().len(),
        body in prop::collection::vec(any::<u8>(), 0..80),
        off in prop::sample::select(vec![0, 1, -1, 59, 60, 61, -60, -61, 299, 300, 301, -300, -301, 100_000]),
        odd in prop::option::of(prop::sample::select(vec!["", "x", "-1", "+1700000000", "1700000000.0", " 1700000000", "01700000000", "17000000000000"])),
        changes in prop::collection::vec(change(), 0..3),
    ) {
        let sender = &senders()[nth];
        let moment = odd.map_or_else(|| (NOW + off).to_string(), str::to_owned);
        let mut headers = HeaderMap::new();
        let mut signature = sender.sign(&moment, "id-1", &body);
        match sender.moment {
            Some((name, true)) => signature = format!("{name}={moment}{}{signature}", sender.between),
            Some((name, false)) => drop(headers.insert(name, HeaderValue::from_str(&moment).unwrap())),
            None => {}
        }
        headers.insert(sender.header, HeaderValue::from_str(&signature).unwrap());
        headers.insert("webhook-id", HeaderValue::from_static("id-1"));
        let untouched = changes.is_empty();
        let mut body = body;
        for change in changes {
            apply(sender, change, &mut headers, &mut body);
        }
        let verifier = build(&format!("{{ verify: {}, secret: {} }}", sender.preset, sender.secret));
        let request = Request { headers: &headers, body: &body, peer: [192, 0, 2, 7].into(), certificate: None, document: None, roots: None, query: "" };
        let accepted = verifier.prove(&request, Timestamp(NOW * 1_000)).is_ok();
        prop_assert_eq!(accepted, sender.accepts(&headers, &body, NOW), "{} {:?}", sender.preset, headers);
        prop_assert!(!untouched || odd.is_some() || sender.moment.is_some() || accepted);
    }

    #[test]
    fn nothing_that_nobody_signed_is_proven_or_makes_a_preset_fail(
        values in prop::collection::vec((any::<Index>(), "[ -~]{0,40}"), 0..12),
        body in body(),
        query in "[a-z=&%0-9]{0,24}",
        document in prop::option::of(prop_oneof![
            Just(&b"-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n"[..]),
            Just(&br#"{"keys":[{"kty":"RSA","n":"AA","e":"AQAB"}]}"#[..]),
            Just(&b"\xff"[..]),
        ]),
        now in any::<i64>(),
    ) {
        let (all, names) = (every_preset(), names());
        let mut headers = HeaderMap::new();
        for (at, value) in values {
            headers.append(at.get(&names).clone(), HeaderValue::from_str(&value).unwrap());
        }
        let mut request = Request { headers: &headers, body: &body, peer: [192, 0, 2, 7].into(), certificate: None, document: None, roots: None, query: &query };
        request.document = document;
        for (name, verifier) in &all {
            let _ = verifier.key_at(&request, Timestamp(now));
            prop_assert!(verifier.prove(&request, Timestamp(now)).is_err(), "{} took it", name);
            // What the way in does with a request that is proven, or asks a handshake.
            verifier.read(&request);
            verifier.read_item(&headers, &body);
            let _ = (verifier.shaken(&request, Some(0)), verifier.unsigned(&request), verifier.posted(&query), verifier.challenged(&query), verifier.asked(&headers));
        }
    }
}
