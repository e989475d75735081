//! Stories about what a signature covers: pieces that are not what they should be, and what a request that lacks one hears.

use super::presets::placeless;
use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use sha2::{Digest, Sha256};
use switchyard_api::{Span, tree};

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

fn build(section: &str) -> Verifier {
    let mut problems = vec![];
    let read: Option<Section> = tree::read(&placeless(section).unwrap(), &mut problems);
    let built = read.and_then(|section| Verifier::build("shop", Span::default(), &section, &mut problems));
    built.unwrap_or_else(|| panic!("{section}: {problems:?}"))
}

fn proven(verifier: &Verifier, headers: &[(&'static str, &str)], query: &str, body: &str) -> Result<(), Refused> {
    let headers = headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect();
    let body = body.as_bytes();
    let request = Request { headers: &headers, body, peer: PEER, certificate: None, document: None, roots: None, query };
    verifier.prove(&request, NOW).map(drop)
}

/// As Twilio signs, with a made-up token.
fn twilio(text: &str) -> String {
    let mut mac: Hmac<sha1::Sha1> = KeyInit::new_from_slice(b"made-up-token").unwrap();
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

#[test]
fn a_signature_of_json_proves_that_json_and_no_form() {
    let verifier = build("{ verify: twilio, secret: made-up-token, url: 'https://a.example/in' }");
    let json = r#"{"Body":"hello"}"#;
    let query = format!("bodySHA256={}", hex::encode(Sha256::digest(json)));
    let signature = twilio(&format!("https://a.example/in?{query}"));
    let sent =
        |kind: &str, query: &str, body: &str| proven(&verifier, &[("x-twilio-signature", &signature), ("content-type", kind)], query, body);
    assert_eq!(sent(JSON, &query, json), Ok(()));
    assert_eq!(sent(JSON, &query, r#"{"Body":"other"}"#), Err(Refused::NotCovered));
    assert_eq!(sent(JSON, &query, ""), Err(Refused::NotCovered));
    assert_eq!(sent(FORM, &query, ""), Err(Refused::NotCovered), "nothing is not what was signed");
    assert_eq!(sent(FORM, &query, "&"), Err(Refused::NotCovered));
    assert_eq!(sent(FORM, &format!("{query}&{query}"), json), Err(Refused::NotCovered));
    // A form is signed by its fields, and may have none.
    let signature = twilio("https://a.example/in?a=1");
    let empty = [("x-twilio-signature", signature.as_str()), ("content-type", FORM)];
    assert_eq!(proven(&verifier, &empty, "a=1", ""), Ok(()));
}

#[test]
fn fields_that_run_together_vouch_for_none_of_them() {
    let verifier = build("{ verify: twilio, secret: made-up-token, url: 'https://a.example/in' }");
    let signature = twilio("https://a.example/inBodyhelloFrom+31612345678");
    let headers = [("x-twilio-signature", signature.as_str()), ("content-type", FORM)];
    // Each of these has the one signature.
    for body in ["Body=hello&From=%2B31612345678", "Body=h&elloFrom=%2B31612345678", "BodyhelloFrom%2B=31612345678"] {
        assert_eq!(proven(&verifier, &headers, "", body), Ok(()), "{body}");
    }
    let vouched = ["topic", "data.From", "data.Body", "data", "raw", "query.a", "headers.a"].map(|path| verifier.vouches_for(path));
    assert_eq!(vouched, [true, false, false, false, false, false, false]);
    assert_eq!(verifier.signed_words().as_deref(), Some("the URL and the fields of the form, run together"));
    assert_eq!(preset("twilio").unwrap().signed, [""; 0]);
}

/// An item as Adyen signs it: eight texts with colons between them, of which one is empty.
fn adyen(reference: &str) -> String {
    let mut mac: Hmac<Sha256> = KeyInit::new_from_slice(&[0, 255]).unwrap();
    mac.update(b"psp-1::ShopNL:order-7:1000:EUR:AUTHORISATION:true");
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    format!(
        r#"{{"live":"false","notificationItems":[{{"NotificationRequestItem":{{"pspReference":"psp-1",{reference}"merchantAccountCode":"ShopNL",
            "merchantReference":"order-7","amount":{{"value":1000,"currency":"EUR"}},"eventCode":"AUTHORISATION","success":"true",
            "additionalData":{{"hmacSignature":"{signature}"}}}}}}]}}"#
    )
}

#[test]
fn what_is_no_text_in_the_place_of_a_signed_one_is_refused() {
    let verifier = build("{ verify: adyen, secret: 00ff }");
    for absent in ["", r#""originalReference":"","#, r#""originalReference":null,"#] {
        assert_eq!(proven(&verifier, &[], "", &adyen(absent)), Ok(()), "{absent}");
    }
    for other in [r#"{"of":"somebody else"}"#, "[]", r#"["psp-0"]"#, "{}", r#""\ud800""#] {
        let said = proven(&verifier, &[], "", &adyen(&format!(r#""originalReference":{other},"#)));
        let expected = Refused::NoText("NotificationRequestItem.originalReference".into());
        assert_eq!((said, expected.cause()), (Err(expected.clone()), "malformed"), "{other}");
        assert_eq!(
            expected.to_string(),
            "`NotificationRequestItem.originalReference` in the body is signed as a text or number, and is none"
        );
    }
}

#[test]
fn a_request_that_does_not_say_when_it_was_signed_hears_where_that_is_missing() {
    let linear = build("{ verify: linear, secret: made-up }");
    let stripe = build("{ verify: stripe, secret: made-up }");
    let hubspot = build("{ verify: hubspot, secret: made-up, url: 'https://a.example/' }");
    let signature = "0".repeat(64);
    let t = |moment: &str| format!("{moment}v1={signature}");
    let base64 = STANDARD.encode([0; 32]);
    let v3 = |moment: &'static str| [("x-hubspot-signature-v3", base64.clone()), ("x-hubspot-request-timestamp", moment.to_owned())];
    let said = |verifier: &Verifier, headers: &[(&'static str, String)], body: &str| {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let refused = proven(verifier, &headers, "", body).unwrap_err();
        format!("{}: {refused}", refused.cause())
    };
    let linears = [("linear-signature", signature.clone())];
    insta::assert_snapshot!(
        [
            said(&linear, &linears, r#"{"type":"Issue"}"#),
            said(&linear, &linears, r#"{"webhookTimestamp":{}}"#),
            said(&linear, &linears, r#"{"webhookTimestamp":"2026-03-02"}"#),
            said(&stripe, &[("stripe-signature", t(""))], "{}"),
            said(&stripe, &[("stripe-signature", t("t=1700000000000,"))], "{}"),
            said(&hubspot, &v3("yesterday"), "[]"),
        ]
        .join("\n"),
        @r"
    missing: there is no time of signing at `webhookTimestamp`
    missing: there is no time of signing at `webhookTimestamp`
    malformed: the time of signing is not whole milliseconds since 1970
    missing: there is no time of signing at `t`
    malformed: the time of signing is not whole seconds since 1970
    malformed: the time of signing is not whole milliseconds since 1970
    "
    );
}

#[test]
fn headers_with_and_without_the_name_of_their_maker_are_taken_and_not_mixed() {
    let verifier = build("{ verify: svix, secret: whsec_bWFkZS11cC1zZWNyZXQtbWFkZS11cA== }");
    let body = r#"{"type":"invoice.paid"}"#;
    let signed = verifier.sign(&Draft { topic: "", body: body.as_bytes(), id: Some("msg-1") }, NOW).unwrap();
    let value = |name: &str| signed.headers.iter().find(|(known, _)| known == name).unwrap().1.clone();
    let (id, moment, signature) = (value("svix-id"), value("svix-timestamp"), value("svix-signature"));
    let svix = [("svix-id", id.as_str()), ("svix-timestamp", moment.as_str()), ("svix-signature", signature.as_str())];
    let plain = [("webhook-id", id.as_str()), ("webhook-timestamp", moment.as_str()), ("webhook-signature", signature.as_str())];
    for headers in [svix, plain] {
        assert_eq!(proven(&verifier, &headers, "", body), Ok(()), "{headers:?}");
        let headers = headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect();
        let request =
            Request { headers: &headers, body: body.as_bytes(), peer: PEER, certificate: None, document: None, roots: None, query: "" };
        let read = verifier.read(&request);
        assert_eq!((read.sender_id.as_deref(), &*read.topic), (Some("msg-1"), "invoice.paid"));
    }
    assert_eq!(proven(&verifier, &plain, "", "{}"), Err(Refused::Mismatch));
    let mixed = [plain[0], plain[1], svix[2]];
    assert_eq!(proven(&verifier, &mixed, "", body), Err(Refused::Missing(HeaderName::from_static("svix-timestamp"))));
    let twice = [plain[0], plain[1], plain[2], svix[0]];
    assert!(proven(&verifier, &twice, "", body).is_err(), "what has one of its own names is read by them alone");
}

#[test]
fn a_sender_that_signs_nothing_shows_what_it_was_given() {
    let mollie = build("{ verify: mollie-classic, secret: made-up-token }");
    let form = [("content-type", FORM)];
    assert_eq!(proven(&mollie, &form, "token=made-up-token", "id=tr_5B8cwPMGnU"), Ok(()));
    assert_eq!(proven(&mollie, &form, "token=another", "id=tr_5B8cwPMGnU"), Err(Refused::Mismatch));
    assert_eq!(proven(&mollie, &form, "", "id=tr_5B8cwPMGnU"), Err(Refused::NoToken("token".into())));
    assert_eq!((mollie.secret_query(), mollie.window(), &preset("mollie-classic").unwrap().signed), (Some("token"), None, &vec![]));
    let topic = |kind: &str, body: &str| {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_str(kind).unwrap())]);
        let request =
            Request { headers: &headers, body: body.as_bytes(), peer: PEER, certificate: None, document: None, roots: None, query: "" };
        mollie.topic(&request).to_string()
    };
    for (body, expected) in [
        ("id=tr_5B8cwPMGnU", "tr"),
        ("testByMollie=1&id=sub%5f8", "sub"),
        ("id=whole", "whole"),
        ("id=_x", "shop"),
        ("id=tr_1&id=re_2", "shop"),
        ("other=tr_1", "shop"),
        ("", "shop"),
    ] {
        assert_eq!(topic(FORM, body), expected, "{body}");
    }
    assert_eq!(topic(JSON, r#"{"id":"ord_1"}"#), "ord", "of JSON too");

    let bigcommerce = build("{ verify: bigcommerce, secret: made-up-token }");
    let body = r#"{"scope":"store/order/created","data":{"type":"order","id":173331},"hash":"3f9ea420"}"#;
    assert_eq!(proven(&bigcommerce, &[("x-webhook-token", "made-up-token")], "", body), Ok(()));
    assert_eq!(proven(&bigcommerce, &[("x-webhook-token", "x")], "", body), Err(Refused::Mismatch));
    assert_eq!(bigcommerce.secret_header().map(HeaderName::as_str), Some("x-webhook-token"));
}
