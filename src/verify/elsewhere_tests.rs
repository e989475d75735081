//! Stories about proofs whose keys stand elsewhere.

use super::chain_tests::{Authority, YEARS};
use super::presets::placeless;
use super::{Refused, Request, Section, Verifier};
use crate::model::Timestamp;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderMap;
use serde_json::{Value, json};
use std::ops::Range;
use switchyard_api::tls::Roots;
use switchyard_api::{Problem, Span, tree};

pub(super) const NOW: Timestamp = Timestamp(1_700_000_000_000);
const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:Ours";
const KEY_SET: &str = "https://login.example.com/keys";

fn build(section: &str) -> (Option<Verifier>, Vec<Problem>) {
    let mut problems = vec![];
    let read: Option<Section> = tree::read(&placeless(section).unwrap(), &mut problems);
    let built = read.and_then(|section| Verifier::build("shop", Span::default(), &section, &mut problems));
    (built, problems)
}

fn verifier(section: &str) -> Verifier {
    let (built, problems) = build(section);
    built.unwrap_or_else(|| panic!("{problems:?}"))
}

/// What the public way says, with this document at whatever address is asked for.
fn said(verifier: &Verifier, headers: &HeaderMap, body: &[u8], document: &[u8], roots: Option<&Roots>) -> Result<(), Refused> {
    let request = Request { headers, body, peer: [192, 0, 2, 7].into(), certificate: None, document: None, roots: None, query: "" };
    assert!(verifier.key_at(&request, NOW)?.is_some());
    verifier.prove(&Request { document: Some(document), roots, ..request }, NOW).map(drop)
}

/// A certificate with a key that signs, and who issued it.
struct Signer {
    key: RsaKeyPair,
    pair: rcgen::KeyPair,
    pem: String,
    roots: Roots,
}

impl Signer {
    fn valid(from: i32, until: i32) -> Self {
        Self::of("sns.amazonaws.com", from..until)
    }

    fn of(name: &str, years: Range<i32>) -> Self {
        let pair = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        let root = Authority::root();
        let pem = root.issue(&pair, &[name], years, None);
        Signer { key: RsaKeyPair::from_pkcs8(&pair.serialize_der()).unwrap(), pair, pem, roots: root.roots() }
    }

    /// What is said of a request that is proven with its certificate.
    fn said(&self, verifier: &Verifier, headers: &HeaderMap, body: &[u8]) -> Result<(), Refused> {
        said(verifier, headers, body, self.pem.as_bytes(), Some(&self.roots))
    }

    fn sign(&self, text: &str) -> String {
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
        STANDARD.encode(signature)
    }

    /// What Amazon signs: these fields, in their order.
    fn message(&self, fields: &[(&str, &str)]) -> Value {
        let text: String = fields.iter().map(|(name, value)| [*name, "\n", *value, "\n"].concat()).collect();
        let mut message: Value =
            fields.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect::<serde_json::Map<_, _>>().into();
        message["Signature"] = self.sign(&text).into();
        message["SigningCertURL"] = "https://sns.eu-west-1.amazonaws.com/a.pem".into();
        message
    }
}

fn notification(text: &str, topic: &str) -> Vec<(&'static str, String)> {
    let fields =
        [("Message", text), ("MessageId", "m-1"), ("Timestamp", "2026-08-01T10:00:00.000Z"), ("TopicArn", topic), ("Type", "Notification")];
    fields.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}

fn borrowed<'f>(fields: &'f [(&'static str, String)]) -> Vec<(&'f str, &'f str)> {
    fields.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[test]
fn a_message_of_one_topic_is_never_one_of_another() {
    let signer = Signer::valid(2020, 2040);
    let sns = verifier(&format!("{{ verify: aws-sns, secret: ['arn:else', '{TOPIC}'] }}"));
    let said = |message: &Value| signer.said(&sns, &HeaderMap::new(), message.to_string().as_bytes());
    let good = signer.message(&borrowed(&notification("Hello\nworld", TOPIC)));
    assert_eq!(said(&good), Ok(()));
    let theirs = "arn:aws:sns:eu-west-1:999999999999:Theirs";
    assert_eq!(said(&signer.message(&borrowed(&notification("Hello", theirs)))), Err(Refused::OtherName));
    // What was signed for their topic, cut into other fields: the same text is signed, and ours is named.
    let text = format!("foo\nMessageId\nx\nTimestamp\nt\nTopicArn\n{TOPIC}\nType\nZ");
    let signed = signer.message(&borrowed(&notification(&text, theirs)));
    let kind = format!("Z\nMessageId\nm-1\nTimestamp\n2026-08-01T10:00:00.000Z\nTopicArn\n{theirs}\nType\nNotification");
    let forged = json!({
        "Message": "foo", "MessageId": "x", "Timestamp": "t", "TopicArn": TOPIC, "Type": kind,
        "Signature": signed["Signature"], "SigningCertURL": signed["SigningCertURL"],
    });
    assert_eq!(said(&forged), Err(Refused::MalformedField("Type".into())));
    // A field more is signed, and was not.
    let mut more = good.clone();
    more["SubscribeURL"] = "https://evil.example/".into();
    assert_eq!(said(&more), Err(Refused::Mismatch));
    for (address, why) in [
        ("https://evil.example/a.pem", Refused::ForeignCertificate),
        ("http://sns.eu-west-1.amazonaws.com/a.pem", Refused::ForeignCertificate),
        ("", Refused::MissingField("SigningCertURL".into())),
    ] {
        let mut foreign = good.clone();
        foreign["SigningCertURL"] = address.into();
        assert_eq!(said(&foreign), Err(why), "{address}");
    }
}

#[test]
fn a_certificate_is_believed_within_its_dates_and_by_its_key() {
    let sns = verifier(&format!("{{ verify: aws-sns, secret: '{TOPIC}' }}"));
    for (from, until, expected) in
        [(2020, 2023, Err(Refused::CertificateOver)), (2024, 2040, Err(Refused::CertificateOver)), (2023, 2024, Ok(()))]
    {
        let signer = Signer::valid(from, until);
        let message = signer.message(&borrowed(&notification("Hello", TOPIC))).to_string();
        assert_eq!(signer.said(&sns, &HeaderMap::new(), message.as_bytes()), expected, "{from} to {until}");
        for junk in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n"] {
            assert_eq!(
                said(&sns, &HeaderMap::new(), message.as_bytes(), junk.as_bytes(), Some(&signer.roots)),
                Err(Refused::BadCertificate),
                "{junk}"
            );
        }
    }
}

#[test]
fn paypal_signs_the_webhooks_id_that_it_does_not_send() {
    let signer = Signer::of("messageverificationcerts.sandbox.paypal.com", YEARS);
    let body = br#"{"id":"WH-1","event_type":"PAYMENT.SALE.COMPLETED"}"#;
    let signature = signer.sign(&format!("t-1|2026-08-01T10:00:00Z|WEBHOOK-1|{}", crc32fast::hash(body)));
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("paypal-transmission-id", "t-1"),
        ("paypal-transmission-time", "2026-08-01T10:00:00Z"),
        ("paypal-cert-url", "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1"),
        ("paypal-transmission-sig", &signature),
    ] {
        headers.insert(http::HeaderName::from_static(name), value.parse().unwrap());
    }
    let ours = |secret: &str| verifier(&format!("{{ verify: paypal, secret: {secret} }}"));
    assert_eq!(signer.said(&ours("[WEBHOOK-0, WEBHOOK-1]"), &headers, body), Ok(()));
    assert_eq!(signer.said(&ours("WEBHOOK-2"), &headers, body), Err(Refused::Mismatch));
    assert_eq!(signer.said(&ours("WEBHOOK-1"), &headers, b"{}"), Err(Refused::Mismatch));
    // Another certificate with the same key proves nothing: not one of another name, not one of another root.
    let said_with = |pem: &str, roots: &Roots| said(&ours("WEBHOOK-1"), &headers, body, pem.as_bytes(), Some(roots));
    let other = Authority::root();
    let issued = |name: &str| other.issue(&signer.pair, &[name], YEARS, None);
    assert_eq!(said_with(&issued("messageverificationcerts.paypal.com"), &other.roots()), Ok(()));
    assert_eq!(said_with(&issued("www.paypal.com"), &other.roots()), Err(Refused::ForeignName));
    assert_eq!(said_with(&issued("messageverificationcerts.paypal.com"), &signer.roots), Err(Refused::UnknownIssuer));
    assert_eq!(said(&ours("WEBHOOK-1"), &headers, body, signer.pem.as_bytes(), None), Err(Refused::UnknownIssuer), "no roots, no proof");
    // The address comes twice: another reader could take the other.
    headers.append("paypal-cert-url", "https://api.paypal.com/a".parse().unwrap());
    let twice = signer.said(&ours("WEBHOOK-1"), &headers, body);
    assert_eq!(twice, Err(Refused::Ambiguous("paypal-cert-url".parse().unwrap())));
}

/// A token of these parts, and the set that proves it.
struct Issuer {
    es: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    set: String,
}

impl Issuer {
    fn new() -> Self {
        let es = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let ed = Ed25519KeyPair::generate().unwrap();
        let point = es.public_key().as_ref();
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let set = json!({ "keys": [
            { "kty": "oct", "kid": "shared", "k": "c2VjcmV0" },
            { "kty": "EC", "crv": "P-256", "kid": "es", "x": part(&point[1..33]), "y": part(&point[33..65]), "use": "sig" },
            { "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": part(ed.public_key().as_ref()) },
        ] });
        Issuer { es, ed, set: set.to_string() }
    }

    fn token(&self, head: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(head), part(claims));
        let signature = match head["alg"].as_str().unwrap() {
            "EdDSA" => self.ed.sign(text.as_bytes()).as_ref().to_vec(),
            "ES256" => self.es.sign(&SystemRandom::new(), text.as_bytes()).unwrap().as_ref().to_vec(),
            // The set itself as a key that both sides would know.
            "HS256" => {
                use hmac::{KeyInit, Mac};
                let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(self.set.as_bytes()).unwrap();
                mac.update(text.as_bytes());
                mac.finalize().into_bytes().to_vec()
            }
            _ => vec![],
        };
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[test]
fn a_token_is_what_its_issuers_key_says_and_nothing_else() {
    let issuer = Issuer::new();
    let jwt = verifier(&format!("{{ verify: {{ jwt: {{ keys: '{KEY_SET}', issuer: 'https://issuer.example/', audience: us }} }} }}"));
    let claims = json!({ "iss": "https://issuer.example/", "aud": "us", "exp": 1_700_000_060 });
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        claims
    };
    let said = |token: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        said(&jwt, &headers, b"{}", issuer.set.as_bytes(), None)
    };
    let malformed = || Err(Refused::Malformed(http::header::AUTHORIZATION));
    let es = |claims: &Value| issuer.token(&json!({ "alg": "ES256", "kid": "es" }), claims);
    assert_eq!(said(&es(&claims)), Ok(()));
    assert_eq!(said(&issuer.token(&json!({ "alg": "EdDSA", "kid": "ed" }), &claims)), Ok(()));
    assert_eq!(said(&issuer.token(&json!({ "alg": "EdDSA" }), &claims)), Ok(()), "without a name all are tried");
    for (head, why) in [
        (json!({ "alg": "none" }), Refused::Mismatch),
        (json!({ "alg": "none", "kid": "es" }), Refused::Mismatch),
        (json!({ "alg": "HS256", "kid": "es" }), Refused::Mismatch),
        (json!({ "alg": "HS256", "kid": "shared" }), Refused::Mismatch),
        (json!({ "alg": "ES256", "kid": "ed" }), Refused::Mismatch),
        (json!({ "alg": "EdDSA", "kid": "es" }), Refused::Mismatch),
        (json!({ "alg": "ES256", "kid": "gone" }), Refused::UnknownKey),
    ] {
        assert_eq!(said(&issuer.token(&head, &claims)), Err(why), "{head}");
    }
    assert_eq!(said(&issuer.token(&json!({ "alg": "ES256", "kid": "es", "crit": ["b64"] }), &claims)), malformed());
    for (changed, why) in [
        (with("iss", "https://issuer.example".into()), Refused::OtherToken),
        (with("aud", "them".into()), Refused::OtherToken),
        (with("aud", json!([])), Refused::OtherToken),
        (with("exp", 1_699_999_900.into()), Refused::TokenOver),
        (with("exp", Value::Null), Refused::TokenOver),
        (with("nbf", 1_700_000_100.into()), Refused::TokenOver),
    ] {
        assert_eq!(said(&es(&changed)), Err(why), "{changed}");
    }
    assert_eq!(said(&es(&with("aud", json!(["them", "us"])))), Ok(()));
    let good = es(&claims);
    let (text, signature) = good.rsplit_once('.').unwrap();
    let other = es(&with("sub", "root".into()));
    assert_eq!(said(&format!("{}.{signature}", other.rsplit_once('.').unwrap().0)), Err(Refused::Mismatch), "another's signature");
    for broken in
        [text.to_owned(), format!("{text}."), format!("{good}.x"), format!("{good}="), "a.b.c".into(), "..".into(), "x".repeat(20_000)]
    {
        assert!(matches!(said(&broken), Err(Refused::Malformed(_) | Refused::Mismatch)), "{broken}");
    }
}

#[test]
fn tokens_in_a_body_are_proven_where_the_file_says_for_whom() {
    const PARTY: &str = "0bf30f3b-4a52-48df-9a82-234910c4a086";
    let issuer = Issuer::new();
    let plain = verifier("{ verify: microsoft-graph, secret: made-up-state }");
    let graph = verifier("{ verify: microsoft-graph, secret: made-up-state, tokens: { audience: [app-1, app-2], tenant: [t-1] } }");
    let claims = |name: &str, value: Value| {
        let mut claims = json!({ "iss": "https://sts.windows.net/t-1/", "aud": "app-2", "exp": 1_700_000_060, "appid": PARTY });
        claims[name] = value;
        claims
    };
    let token = |claims: &Value| issuer.token(&json!({ "alg": "ES256", "kid": "es" }), claims);
    let good = token(&claims("sub", "x".into()));
    let body = |tokens: Value, state: &str, item: Value| {
        let mut item = item;
        item["clientState"] = state.into();
        json!({ "value": [item], "validationTokens": tokens }).to_string()
    };
    let said = |verifier: &Verifier, body: &str| {
        let request = Request {
            headers: &HeaderMap::new(),
            body: body.as_bytes(),
            peer: [192, 0, 2, 7].into(),
            certificate: None,
            document: None,
            roots: None,
            query: "",
        };
        match verifier.key_at(&request, NOW)? {
            Some(at) if at.as_str() != "https://login.microsoftonline.com/common/discovery/v2.0/keys" => panic!("{at}"),
            Some(_) => verifier.prove(&Request { document: Some(issuer.set.as_bytes()), ..request }, NOW).map(drop),
            None => verifier.prove(&request, NOW).map(drop),
        }
    };
    let rich = || json!({ "changeType": "created", "encryptedContent": { "data": "x" } });
    let with = |tokens: Value| said(&graph, &body(tokens, "made-up-state", rich()));
    let missing = || Err(Refused::MissingField("validationTokens".into()));
    let malformed = || Err(Refused::MalformedField("validationTokens".into()));
    assert_eq!(with(json!([good])), Ok(()));
    let v2 = json!({ "iss": "https://login.microsoftonline.com/t-1/v2.0", "aud": "app-1", "exp": 1_700_000_060, "azp": PARTY });
    assert_eq!(with(json!([good, token(&v2)])), Ok(()), "one for each of our applications");
    for (name, value, why) in [
        ("aud", "app-3", Refused::OtherToken),
        ("iss", "https://sts.windows.net/t-2/", Refused::OtherToken),
        ("appid", "another-program", Refused::OtherToken),
    ] {
        assert_eq!(with(json!([good, token(&claims(name, value.into()))])), Err(why), "{name}");
    }
    assert_eq!(with(json!([token(&claims("exp", 1_699_999_000.into()))])), Err(Refused::TokenOver));
    let (text, signature) = good.rsplit_once('.').unwrap();
    let other = token(&claims("sub", "root".into()));
    assert_eq!(with(json!([format!("{}.{signature}", other.rsplit_once('.').unwrap().0)])), Err(Refused::Mismatch));
    assert_eq!(with(json!([format!("{text}.")])), Err(Refused::Mismatch));
    assert_eq!(
        (with(json!(["x"])), with(json!("x")), with(json!([7])), with(json!(vec![&good; 17]))),
        (malformed(), malformed(), malformed(), malformed())
    );
    assert_eq!((with(Value::Null), with(json!([]))), (missing(), missing()), "data without a token");
    assert_eq!(said(&graph, &body(Value::Null, "made-up-state", json!({ "changeType": "created" }))), Ok(()), "no data, no token");
    assert_eq!(said(&graph, &body(json!([good]), "another", rich())), Err(Refused::Mismatch), "clientState stays as it is");
    assert_eq!(said(&plain, &body(json!(["x"]), "made-up-state", rich())), Ok(()), "nobody said for whom");
}

#[test]
fn what_a_section_lacks_is_told() {
    let told = |section: &str| {
        let (built, problems) = build(section);
        (built.is_some(), problems.iter().map(|problem| problem.id).collect::<Vec<_>>())
    };
    let cases = [
        ("{ verify: aws-sns }", true, vec!["any-account"]),
        ("{ verify: aws-sns, secret: 'arn:a' }", true, vec![]),
        ("{ verify: aws-sns, secret: '' }", false, vec!["empty-secret"]),
        ("{ verify: paypal }", false, vec!["missing-secret"]),
        ("{ verify: { preset: aws-sns, certificate: { at: { json: A }, hosts: ['*.com'] } }, secret: a }", false, vec!["bad-hosts"]),
        (
            "{ verify: { preset: aws-sns, certificate: { at: { json: A }, hosts: [a.example], issuers: ['*'] } }, secret: a }",
            false,
            vec!["bad-hosts"],
        ),
        (
            "{ verify: { preset: aws-sns, certificate: { at: { json: A }, hosts: [a.example], names: ['a b'] } }, secret: a }",
            false,
            vec!["bad-certificate-name"],
        ),
        (
            "{ verify: { hmac: sha256, header: X, certificate: { at: { header: X-Cert }, hosts: [a.example] } }, secret: a }",
            false,
            vec!["bad-certificate-use"],
        ),
        ("{ verify: { jwt: { keys: 'http://a.example/', issuer: a, audience: b } } }", false, vec!["bad-keys-url"]),
        ("{ verify: { jwt: { keys: 'https://a.example/k', issuer: '', audience: b } } }", false, vec!["empty-claim"]),
        ("{ verify: { jwt: { keys: 'https://a.example/k', issuer: a, audience: b } }, secret: s }", false, vec!["unused-key"]),
        ("{ verify: { preset: azure-event-grid, jwt: { keys: 'https://a.example/k', issuer: a, audience: b } } }", true, vec![]),
        ("{ verify: { preset: cloudevents, query: access_token }, secret: s }", true, vec![]),
        ("{ verify: { bearer: t, query: q } }", false, vec!["unused-key"]),
        ("{ verify: github, secret: s, tokens: { audience: [a], tenant: [t] } }", false, vec!["unused-key"]),
        ("{ verify: microsoft-graph, secret: s, tokens: { audience: [], tenant: [t] } }", false, vec!["empty-claim"]),
        ("{ verify: microsoft-graph, secret: s, tokens: { audience: [a], tenant: [''] } }", false, vec!["empty-claim"]),
        ("{ verify: { hmac: sha256, header: X }, secret: s, gives_up_after: 0 }", false, vec!["bad-limit"]),
    ];
    for (section, builds, ids) in cases {
        assert_eq!(told(section), (builds, ids), "{section}");
    }
}
