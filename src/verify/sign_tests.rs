//! What `switchyard send` makes is proven as its sender's own: the same pieces are signed as are verified.

use super::presets::placeless;
use super::*;
use http::HeaderValue;
use switchyard_api::{Span, tree};

const NOW: Timestamp = Timestamp(1_700_000_000_123);
const URL: &str = "https://hooks.example.com/in";

fn build(section: &str) -> Verifier {
    let mut problems = vec![];
    let read: Option<Section> = tree::read(&placeless(section).unwrap(), &mut problems);
    let built = read.and_then(|section| Verifier::build("shop", Span::default(), &section, &mut problems));
    built.unwrap_or_else(|| panic!("{section}: {problems:?}"))
}

fn sign(verifier: &Verifier, body: &str) -> Result<Signed, CannotSign> {
    verifier.sign(&Draft { topic: "T", body: body.as_bytes(), id: Some("id-1") }, NOW)
}

/// Whether the daemon would take what was signed, and what is sent.
fn proven(verifier: &Verifier, signed: &Signed, body: &str) -> (Result<(), Refused>, String) {
    let pair = |(name, value): &(String, String)| (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    let headers: HeaderMap = signed.headers.iter().map(pair).collect();
    let body = signed.body.clone().unwrap_or_else(|| body.into());
    let query = signed.query.as_deref().unwrap_or_default();
    let peer = [127, 0, 0, 1].into();
    let request = Request { headers: &headers, body: &body, peer, certificate: None, document: None, roots: None, query };
    (verifier.prove(&request, NOW).map(drop), String::from_utf8(body).unwrap())
}

const ADYEN: &str = r#"{"live":"false", "notificationItems":[{"NotificationRequestItem":{"pspReference":"psp-1","amount":{"value":1000,"currency":"EUR"},
    "eventCode":"AUTHORISATION","success":"true","additionalData":{"hmacSignature":"of another day","x":1.50}}},
    {"NotificationRequestItem":{"pspReference":"psp-2","merchantReference":"a:b"}}]}"#;

#[test]
fn every_sender_whose_secret_is_in_the_file_can_be_signed_for() {
    for (section, body) in [
        ("{ verify: linear, secret: made-up }", r#"{"type":"Issue","webhookTimestamp":1, "n":1.50}"#),
        ("{ verify: linear, secret: made-up }", r#"{"type":"Issue"}"#),
        ("{ verify: zendesk, secret: made-up }", r#"{"type":"zen:event-type:ticket.created","id":"1"}"#),
        ("{ verify: twilio, secret: made-up, url: URL }", "Body=hello+you&From=%2B31612345678&From=x"),
        ("{ verify: twilio, secret: made-up, url: URL }", ""),
        ("{ verify: twilio, secret: made-up, url: URL }", r#"{"Body":"hello"}"#),
        ("{ verify: twilio, secret: made-up, url: 'https://hooks.example.com/in?a=1' }", r#"{"Body":"hello"}"#),
        (
            "{ verify: mailgun, secret: made-up }",
            r#"{"signature":{"timestamp":"1700000000","token":"t-1","signature":"old"},"event-data":{"id":"1"}}"#,
        ),
        ("{ verify: mailgun, secret: made-up }", r#"{"event-data":{"event":"opened"}}"#),
        ("{ verify: adyen, secret: 00ff }", ADYEN),
        ("{ verify: exact-online, secret: made-up }", r#"{"Content":{"Topic":"Accounts","n": 1.50}}"#),
        ("{ verify: square, secret: made-up, url: URL }", r#"{"type":"payment"}"#),
        ("{ verify: hubspot, secret: made-up, url: URL }", r#"[{"eventId":1}]"#),
        ("{ verify: hubspot-v2, secret: made-up, url: URL }", "{}"),
        ("{ verify: azure-event-grid, secret: 'made up/+&=' }", r#"[{"id":"1"}]"#),
        ("{ verify: microsoft-graph, secret: made-up }", r#"{"value":[{"changeType":"created"},{"clientState":"of another day"}]}"#),
        ("{ verify: cloudevents, secret: made-up }", "{}"),
    ] {
        let verifier = build(&section.replace("URL", URL));
        let signed = sign(&verifier, body).unwrap_or_else(|why| panic!("{section}: {why}"));
        let (said, _) = proven(&verifier, &signed, body);
        assert_eq!(said, Ok(()), "{section} {body}: {signed:?}");
    }
}

#[test]
fn a_body_that_holds_its_proof_is_else_as_it_was() {
    let linear = build("{ verify: linear, secret: made-up }");
    let body = r#"{"type":"Issue", "webhookTimestamp" : 1, "n":1.50}"#;
    let (_, sent) = proven(&linear, &sign(&linear, body).unwrap(), body);
    assert_eq!(sent, r#"{"type":"Issue", "webhookTimestamp" : 1700000000123, "n":1.50}"#);
    for (body, expected) in
        [("{}", r#"{"webhookTimestamp":1700000000123}"#), (r#" { "n":1.50}"#, r#" {"webhookTimestamp":1700000000123, "n":1.50}"#)]
    {
        assert_eq!(proven(&linear, &sign(&linear, body).unwrap(), body).1, expected);
    }
    assert_eq!(sign(&linear, "[1]"), Err(CannotSign::NoPlace("webhookTimestamp".into())));
    assert_eq!(sign(&linear, "not json"), Err(CannotSign::NoPlace("webhookTimestamp".into())));

    let mailgun = build("{ verify: mailgun, secret: made-up }");
    let body = r#"{"event-data":{"n":1.50},"signature":{"timestamp":"1700000000","token":"t-1"}}"#;
    let (_, sent) = proven(&mailgun, &sign(&mailgun, body).unwrap(), body);
    assert!(sent.starts_with(r#"{"event-data":{"n":1.50},"signature":{"signature":""#), "{sent}");
    assert!(sent.ends_with(r#"","timestamp":"1700000000","token":"t-1"}}"#), "{sent}");

    let adyen = build("{ verify: adyen, secret: 00ff }");
    let (_, sent) = proven(&adyen, &sign(&adyen, ADYEN).unwrap(), "");
    assert!(sent.starts_with(r#"{"live":"false", "notificationItems":[{"#) && sent.contains(r#""x":1.50"#), "{sent}");
    assert!(!sent.contains("of another day"), "{sent}");
    assert_eq!(sign(&adyen, r#"{"live":"false"}"#), Err(CannotSign::NoPlace("notificationItems".into())));
}

#[test]
fn what_twilio_would_send_says_what_it_is() {
    let twilio = build(&format!("{{ verify: twilio, secret: made-up, url: '{URL}?a=1' }}"));
    let kind = |signed: &Signed| signed.headers.iter().find(|(name, _)| name == "content-type").map(|(_, kind)| kind.clone());
    let form = sign(&twilio, "Body=hello").unwrap();
    assert_eq!((kind(&form).as_deref(), form.query.as_deref()), (Some("application/x-www-form-urlencoded"), None));
    let json = sign(&twilio, "{}").unwrap();
    let query = "a=1&bodySHA256=44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    assert_eq!((kind(&json).as_deref(), json.query.as_deref()), (Some("application/json"), Some(query)));
}

#[test]
fn what_only_its_sender_can_sign_is_said() {
    let discord = build("{ verify: discord, secret: '5866666666666666666666666666666666666666666666666666666666666666' }");
    assert_eq!(sign(&discord, "{}"), Err(CannotSign::PublicKey));
    let circular = build("{ verify: { hmac: sha256, json: signature, signs: '{body}' }, secret: made-up }");
    assert_eq!(sign(&circular, "{}"), Err(CannotSign::Circular("signature".into())));
    let raw = build("{ verify: exact-online, secret: made-up }");
    let said = sign(&raw, "{}").unwrap_err();
    assert_eq!(said.to_string(), "what is signed is not in the draft: there is no text at `Content` in the body");
}
