//! Stories about proof: what is accepted, what is refused, what a section must say.

use super::presets::{placeless, presets};
use super::*;
use http::HeaderValue;
use proptest::prelude::*;
use switchyard_api::problem::Severity;
use switchyard_api::{Problem, Span, tree};

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

fn build(section: &str) -> Result<Verifier, Vec<Problem>> {
    let mut problems = vec![];
    let read: Option<Section> = tree::read(&placeless(section).unwrap(), &mut problems);
    let built = read.and_then(|section| Verifier::build("shop", Span::default(), &section, &mut problems));
    built.ok_or(problems)
}

fn headers(pairs: &[(String, String)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn signed(verifier: &Verifier, topic: &str, body: &[u8], id: Option<&str>) -> HeaderMap {
    headers(&verifier.sign(&Draft { topic, body, id }, NOW).unwrap().headers)
}

fn check(verifier: &Verifier, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Verified, Refused> {
    let request = Request { headers, body, peer: PEER, certificate: None, document: None, roots: None, query: "" };
    verifier.prove(&request, now).map(|_| verifier.read(&request))
}

/// One section of every form.
const FORMS: [&str; 13] = [
    "{ verify: orderchamp, secret: s1 }",
    "{ verify: standard-webhooks, secret: whsec_bWFkZS11cC1zZWNyZXQtbWFkZS11cA== }",
    "{ verify: github, secret: s1 }",
    "{ verify: stripe, secret: whsec_s1 }",
    "{ verify: shopify, secret: s1 }",
    "{ verify: { hmac: sha1, header: X-Sig, encoding: base64 }, secret: s1 }",
    "{ verify: { hmac: sha384, header: X-Sig, prefix: 'a=', separator: ';', key: hex }, secret: 00ff }",
    "{ verify: { hmac: sha512, header: X-Sig, signs: 'v0:{header:X-Time}:{body}!', timestamp: { header: X-Time, tolerance: 1m } }, secret: [s1, s0] }",
    "{ verify: { bearer: [tok, tik] } }",
    "{ verify: { token: tok, header: X-Token } }",
    "{ verify: { basic: { user: ann, password: 'p:w' } } }",
    "{ verify: { preset: github, allow: [192.0.2.0/24] }, secret: s1 }",
    "{ verify: none }",
];

#[test]
fn the_presets_cover_what_they_say() {
    for preset in presets() {
        assert!(preset.docs.starts_with("https://"), "{}", preset.name);
        if preset.shows.is_some() {
            assert!(preset.signed.is_empty(), "{}", preset.name);
            continue;
        }
        let signs = preset.verify.signs.as_ref().map_or("{body}", |signs| signs.value.as_str());
        // Every field that anybody reads.
        let whole = signs.contains("{body}") || signs.contains("{lines:");
        let signed_piece = |path: &str| {
            signs.contains(&format!("{{json:{path}}}"))
                || signs.split("{raw:").skip(1).any(|raw| path.starts_with(raw.split('}').next().unwrap()))
        };
        let pick = |pick: &Option<switchyard_api::At<section::Pick>>, what: &str| match pick.as_ref().map(|pick| &pick.value) {
            Some(section::Pick::Header(name)) if signs.contains(&format!("{{header:{}}}", name.value)) => Some(what.to_owned()),
            // In the body, if that is signed; or it is one of the pieces.
            Some(section::Pick::Json(path) | section::Pick::Start { json: path, .. }) => {
                (whole || signed_piece(&path.value)).then(|| what.to_owned())
            }
            _ => None,
        };
        let mut covered: Vec<String> = whole.then(|| "body".to_owned()).into_iter().collect();
        covered.extend(pick(&preset.id, "id"));
        let in_body = preset.verify.timestamp.as_ref().is_some_and(|timestamp| timestamp.value.json.is_some());
        let in_text = signs.contains("{timestamp}") || signs.to_ascii_lowercase().contains("timestamp}{body}");
        covered.extend((in_text || in_body).then(|| "timestamp".to_owned()));
        covered.extend(pick(&preset.topic, "topic"));
        assert_eq!(preset.signed, covered, "{}", preset.name);
    }
}

#[test]
fn a_known_sender_says_topic_id_and_window() {
    let github = build("{ verify: github, secret: s1 }").unwrap();
    let request = signed(&github, "push", b"{}", Some("d-1"));
    let day = Duration::from_hours(24);
    let verified = Verified { topic: "push".into(), sender_id: Some("d-1".into()), dedupe: Some(7 * day), signed_with: None };
    assert_eq!(check(&github, &request, b"{}", NOW), Ok(verified));

    let stripe = build("{ verify: stripe, secret: s1, id: { json: request.id }, dedupe: 0s }").unwrap();
    let body = br#"{"id":"evt_1","type":"invoice.paid","request":{"id":"req_1"}}"#;
    let request = signed(&stripe, "", body, None);
    let verified = Verified { topic: "invoice.paid".into(), sender_id: Some("req_1".into()), dedupe: None, signed_with: None };
    assert_eq!(check(&stripe, &request, body, NOW), Ok(verified));

    let plain = build("{ verify: none }").unwrap();
    let verified = Verified { topic: "shop".into(), sender_id: None, dedupe: Some(3 * day), signed_with: None };
    assert_eq!(check(&plain, &HeaderMap::new(), b"", NOW), Ok(verified), "the source's name where no topic is read");
}

#[test]
fn a_proven_request_is_never_refused_for_its_content() {
    let stripe = build("{ verify: stripe, secret: s1 }").unwrap();
    for body in [&b"not json"[..], b"", b"{\"type\":{}}", b"\xff\x00", &[b'['; 5_000]] {
        let request = signed(&stripe, "", body, None);
        let verified = check(&stripe, &request, body, NOW).unwrap();
        assert_eq!((verified.topic.as_ref(), verified.sender_id), ("shop", None));
    }
}

#[test]
fn every_secret_of_a_list_is_accepted_and_the_first_signs() {
    let (old, new) = (build("{ verify: orderchamp, secret: old }").unwrap(), build("{ verify: orderchamp, secret: new }").unwrap());
    let both = build("{ verify: orderchamp, secret: [new, old] }").unwrap();
    for sender in [&old, &new, &both] {
        assert!(check(&both, &signed(sender, "T", b"b", None), b"b", NOW).is_ok());
    }
    assert!(check(&new, &signed(&both, "T", b"b", None), b"b", NOW).is_ok());
    assert_eq!(check(&old, &signed(&both, "T", b"b", None), b"b", NOW), Err(Refused::Mismatch));
}

#[test]
fn a_moment_far_from_now_is_refused_to_both_sides() {
    let stripe = build("{ verify: stripe, secret: s1 }").unwrap();
    let request = signed(&stripe, "", b"{}", None);
    for seconds in [-300, 300] {
        assert!(check(&stripe, &request, b"{}", Timestamp(NOW.0 + seconds * 1_000)).is_ok(), "{seconds}");
    }
    for seconds in [-301, 301, i64::MAX / 1_000_000, i64::MIN / 1_000_000] {
        let refused = check(&stripe, &request, b"{}", Timestamp(NOW.0 + seconds * 1_000));
        assert!(matches!(refused, Err(Refused::Stale { .. })), "{seconds}: {refused:?}");
    }
    assert!(check(&stripe, &request, b"{}", Timestamp(i64::MIN)).is_err());
    assert!(check(&stripe, &request, b"{}", Timestamp(i64::MAX)).is_err());
}

#[test]
fn a_signature_has_one_way_of_being_written() {
    let hex = build("{ verify: { hmac: sha256, header: X-Sig }, secret: s1 }").unwrap();
    let base64 = build("{ verify: { hmac: sha256, header: X-Sig, encoding: base64 }, secret: s1 }").unwrap();
    let x_sig = HeaderName::from_static("x-sig");
    let good = |verifier: &Verifier| signed(verifier, "", b"b", None)["x-sig"].to_str().unwrap().to_owned();
    let hex_given = good(&hex);
    let base64_given = good(&base64);
    for (verifier, given) in [
        (&hex, hex_given.to_uppercase()),
        (&hex, String::new()),
        (&hex, format!("sha256={hex_given}")),
        (&hex, format!("{hex_given}0")),
        (&hex, "a".repeat(60_000)),
        (&hex, "+".repeat(64)),
        (&base64, base64_given.trim_end_matches('=').to_owned()),
        (&base64, format!("-_{}", &base64_given[2..])),
    ] {
        let refused = check(verifier, &headers(&[("x-sig".into(), given.clone())]), b"b", NOW);
        assert_eq!(refused, Err(Refused::Malformed(x_sig.clone())), "{given:.80}");
    }
    // Well formed, but the digest of another length, or the start of the right one.
    for given in ["00".to_owned(), hex_given[..40].to_owned(), "0".repeat(128)] {
        assert_eq!(check(&hex, &headers(&[("x-sig".into(), given)]), b"b", NOW), Err(Refused::Mismatch));
    }
}

#[test]
fn a_header_that_is_there_twice_is_ambiguous() {
    for (form, name) in
        [(FORMS[0], "x-orderchamp-signature"), (FORMS[1], "webhook-id"), (FORMS[1], "webhook-timestamp"), (FORMS[8], "authorization")]
    {
        let verifier = build(form).unwrap();
        let mut request = signed(&verifier, "T", b"b", Some("id"));
        let again = request[name].clone();
        request.append(HeaderName::from_static(name), again);
        assert_eq!(check(&verifier, &request, b"b", NOW), Err(Refused::Ambiguous(HeaderName::from_static(name))), "{form}");
    }
    let stripe = build("{ verify: stripe, secret: s1 }").unwrap();
    let given = signed(&stripe, "", b"b", None)["stripe-signature"].to_str().unwrap().to_owned();
    let twice = headers(&[("stripe-signature".into(), format!("t=1700000000,{given}"))]);
    assert!(matches!(check(&stripe, &twice, b"b", NOW), Err(Refused::Ambiguous(_))), "two moments");
}

#[test]
fn sixteen_signatures_are_looked_at_and_no_more() {
    let stripe = build("{ verify: stripe, secret: s1 }").unwrap();
    let given = signed(&stripe, "", b"b", None)["stripe-signature"].to_str().unwrap().to_owned();
    let (t, good) = given.split_once(',').unwrap();
    let with = |before: usize| {
        headers(&[("stripe-signature".into(), format!("{t},v0=aa,{}{good}", format!("v1={},", "0".repeat(64)).repeat(before)))])
    };
    assert!(check(&stripe, &with(MOST_CANDIDATES - 1), b"b", NOW).is_ok());
    assert_eq!(check(&stripe, &with(MOST_CANDIDATES), b"b", NOW), Err(Refused::Mismatch));
}

#[test]
fn networks_hold_beside_the_signature() {
    let allowed = build("{ verify: { preset: github, allow: ['192.0.2.7', '2001:db8::/32'] }, secret: s1 }").unwrap();
    let request = signed(&allowed, "push", b"b", None);
    let from = |peer: &str| {
        allowed.prove(
            &Request {
                headers: &request,
                body: b"b",
                peer: peer.parse().unwrap(),
                certificate: None,
                document: None,
                roots: None,
                query: "",
            },
            NOW,
        )
    };
    for peer in ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1"] {
        assert!(from(peer).is_ok(), "{peer}");
    }
    assert_eq!(from("192.0.2.8"), Err(Refused::NotAllowed));
    assert_eq!(check(&allowed, &HeaderMap::new(), b"b", NOW), Err(Refused::Missing(HeaderName::from_static("x-hub-signature-256"))));
}

#[test]
fn a_token_is_dropped_by_name_and_a_wrong_one_refused() {
    let token = build("{ verify: { token: tok, header: X-Gitlab-Token } }").unwrap();
    assert_eq!(token.secret_header().map(HeaderName::as_str), Some("x-gitlab-token"));
    let basic = build("{ verify: { basic: { user: ann, password: pw } } }").unwrap();
    for (verifier, name, value) in [
        (&token, "x-gitlab-token", "to"),
        (&token, "x-gitlab-token", ""),
        (&basic, "authorization", "Basic YW5uOnB4"),
        (&basic, "authorization", "Basic !!"),
        (&basic, "authorization", "Basic"),
        (&basic, "authorization", "Bearer pw"),
    ] {
        let refused = check(verifier, &headers(&[(name.into(), value.into())]), b"", NOW);
        assert!(matches!(refused, Err(Refused::Mismatch | Refused::Malformed(_))), "{value}: {refused:?}");
    }
    assert!(check(&basic, &headers(&[("authorization".into(), "basic  YW5uOnB3".into())]), b"", NOW).is_ok(), "the word in any case");
}

#[test]
fn what_a_section_lacks_is_told_with_what_to_write() {
    let told = |section: &str| {
        let problems = build(section).map_or_else(|problems| problems, |_| vec![]);
        let line = |p: &Problem| {
            format!("[{}] {} ({}){}", p.id, p.title, p.label, p.help.as_ref().map_or(String::new(), |h| format!("\n    help: {h}")))
        };
        problems.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    let sections = [
        "{ secret: s1 }",
        "{ verify: orderchmp, secret: s1 }",
        "{ verify: ebay, secret: s1 }",
        "{ verify: orderchamp }",
        "{ verify: orderchamp, secret: '' }",
        "{ verify: orderchamp, secret: [] }",
        "{ verify: orderchamp, secret: [a, ' '] }",
        "{ verify: standard-webhooks, secret: 'whsec_not base64' }",
        "{ verify: none, secret: s1 }",
        "{ verify: {} }",
        "{ verify: { hmca: sha256 }, secret: s1 }",
        "{ verify: { hmac: sha255, header: X }, secret: s1 }",
        "{ verify: { hmac: sha256 }, secret: s1 }",
        "{ verify: { hmac: sha256, header: 'X Y' }, secret: s1 }",
        "{ verify: { hmac: sha256, header: X, bearer: t }, secret: s1 }",
        "{ verify: { bearer: '' } }",
        "{ verify: { bearer: t, prefix: x } }",
        "{ verify: { basic: { user: 'a:b', password: p } } }",
        "{ verify: { allow: [10.0.0.0/33] } }",
        "{ verify: { hmac: sha256, header: X, signs: '{header:T}.{bdy}' }, secret: s1 }",
        "{ verify: { hmac: sha256, header: X, signs: '{header:T}' }, secret: s1 }",
        "{ verify: { hmac: sha256, header: X, signs: '{timestamp}{body}' }, secret: s1 }",
        "{ verify: { hmac: sha256, header: X, signs: 'a}{body}' }, secret: s1 }",
        "{ verify: { hmac: sha256, header: X, timestamp: { element: t } }, secret: s1 }",
        "{ verify: { hmac: sha256, header: X, timestamp: { tolerance: 1m } }, secret: s1 }",
        "{ verify: { hmac: sha256, header: X, separator: ', ' }, secret: s1 }",
        "{ verify: { hmac: sha256, header: X, separator: ',', prefix: 'v1,' }, secret: s1 }",
        "{ verify: none, id: fixed }",
        "{ verify: none, topic: { json: 'a..b' } }",
        "{ verify: none, topic: { header: A, json: b } }",
        "{ verify: none, topic: { haeder: A } }",
        "{ verify: none, dedupe: 3 }",
    ];
    let all: Vec<String> = sections.iter().map(|section| format!("{section}\n{}", told(section))).collect();
    insta::assert_snapshot!(all.join("\n\n"), @r#"
        { secret: s1 }
        [missing-verify] source `shop` does not say how its sender is proven (no `verify` here)
            help: add `verify:` with a preset (adyen, adyen-platform, aws-sns, azure-event-grid, bigcommerce, bitbucket, cal-com, calendly, cloudevents, discord, dropbox, exact-online, github, gitlab, gitlab-token, hubspot, hubspot-v1, hubspot-v2, intercom, jira, lemonsqueezy, linear, mailgun, meta, microsoft-graph, mollie, mollie-classic, notion, orderchamp, paddle, pagerduty, paypal, postmark, quickbooks, sendgrid, sentry, shopify, slack, square, standard-webhooks, standard-webhooks-v1a, stripe, svix, twilio, typeform, woocommerce, xero, zendesk, zoom), a form spelled out, or `none`

        { verify: orderchmp, secret: s1 }
        [unknown-preset] unknown preset `orderchmp` (no sender has this name)
            help: did you mean `orderchamp`?

        { verify: ebay, secret: s1 }
        [unknown-preset] there is no such preset for `verify` (no sender has this name)
            help: known are adyen, adyen-platform, aws-sns, azure-event-grid, bigcommerce, bitbucket, cal-com, calendly, cloudevents, discord, dropbox, exact-online, github, gitlab, gitlab-token, hubspot, hubspot-v1, hubspot-v2, intercom, jira, lemonsqueezy, linear, mailgun, meta, microsoft-graph, mollie, mollie-classic, notion, orderchamp, paddle, pagerduty, paypal, postmark, quickbooks, sendgrid, sentry, shopify, slack, square, standard-webhooks, standard-webhooks-v1a, stripe, svix, twilio, typeform, woocommerce, xero, zendesk, zoom, and `none`; or spell the form out: `hmac`, `public`, `bearer`, `token`, `basic`, `jwt`, `mtls`, `allow`

        { verify: orderchamp }
        [missing-secret] source `shop` has no secret to prove its signatures with (this needs `secret`)
            help: add `secret: "${SHOP_SECRET}"` beside `verify`; where to find it: https://developers.orderchamp.com/webhooks

        { verify: orderchamp, secret: '' }
        [empty-secret] source `shop` has an empty secret (nothing in here)
            help: an empty secret would let anybody in; set it, or write `verify: none` and mean it

        { verify: orderchamp, secret: [] }
        [empty-secret] source `shop` has an empty secret (nothing in here)
            help: an empty secret would let anybody in; set it, or write `verify: none` and mean it

        { verify: orderchamp, secret: [a, ' '] }
        [empty-secret] source `shop` has an empty secret (nothing in here)
            help: an empty secret would let anybody in; set it, or write `verify: none` and mean it

        { verify: standard-webhooks, secret: 'whsec_not base64' }
        [bad-secret] the secret of source `shop` is not base64, with or without `whsec_` before it (as this sender writes it)
            help: copy it as the sender shows it, without quotes or spaces

        { verify: none, secret: s1 }
        [unused-key] `secret` belongs to a signature, and source `shop` has none (not used)
            help: name what it signs, as `verify: orderchamp` or `verify: { hmac: sha256, header: X-Name }`, or take it away

        { verify: {} }
        [no-proof] source `shop` proves nothing: anybody could send (no proof in here)
            help: add `hmac`, `bearer`, `token`, `basic`, `jwt`, `mtls` or `allow`; to accept everybody write `verify: none`

        { verify: { hmca: sha256 }, secret: s1 }
        [unknown-key] unknown key `hmca` (not a key here)
            help: did you mean `hmac`?

        { verify: { hmac: sha255, header: X }, secret: s1 }
        [unknown-word] unknown word `sha255` (here)
            help: did you mean `sha256`?

        { verify: { hmac: sha256 }, secret: s1 }
        [missing-header] which header holds it? (no `header` in here)
            help: add `header: X-Name` as the sender calls it

        { verify: { hmac: sha256, header: 'X Y' }, secret: s1 }
        [bad-header] this is not a header's name (cannot be a header)
            help: write letters, digits and `-`, such as `X-Signature`

        { verify: { hmac: sha256, header: X, bearer: t }, secret: s1 }
        [two-proofs] source `shop` is proven twice, by `hmac` and by `bearer` (the second)
            help: keep one of them; `allow` may stand beside it

        { verify: { bearer: '' } }
        [empty-secret] source `shop` has an empty secret (nothing in here)
            help: an empty secret would let anybody in; set it, or write `verify: none` and mean it

        { verify: { bearer: t, prefix: x } }
        [unused-key] `prefix` belongs to a signature, and source `shop` has none (not used)
            help: add `hmac: sha256`, or take it away

        { verify: { basic: { user: 'a:b', password: p } } }
        [bad-user] a user's name has no colon (`:` ends the name)
            help: write the name alone; the password stands under `password`

        { verify: { allow: [10.0.0.0/33] } }
        [bad-network] this is not a network (neither an address nor a range)
            help: write `10.0.0.0/8`, `2001:db8::/32` or one address

        { verify: { hmac: sha256, header: X, signs: '{header:T}.{bdy}' }, secret: s1 }
        [bad-signs] cannot read what is signed (not a part of a request)
            help: text with `{body}`, `{timestamp}`, `{header:X-Name}`, `{json:path}`, `{raw:path}`, `{lines:A,B}`, `{form}`, `{url}`, `{method}`, `{crc32}` and `{secret}`

        { verify: { hmac: sha256, header: X, signs: '{header:T}' }, secret: s1 }
        [unsigned-body] the signature does not cover the body: whoever sees one could send anything (no `{body}` in here)
            help: add `{body}` where the sender puts it

        { verify: { hmac: sha256, header: X, signs: '{timestamp}{body}' }, secret: s1 }
        [bad-signs] `{timestamp}` is signed, but nothing says where it stands (which one?)
            help: add `timestamp: { header: X-Time }`

        { verify: { hmac: sha256, header: X, signs: 'a}{body}' }, secret: s1 }
        [bad-signs] cannot read what is signed (this brace has no other)
            help: text with `{body}`, `{timestamp}`, `{header:X-Name}`, `{json:path}`, `{raw:path}`, `{lines:A,B}`, `{form}`, `{url}`, `{method}`, `{crc32}` and `{secret}`

        { verify: { hmac: sha256, header: X, timestamp: { element: t } }, secret: s1 }
        [bad-timestamp] an element stands between separators (of what?)
            help: add `separator: ","`

        { verify: { hmac: sha256, header: X, timestamp: { tolerance: 1m } }, secret: s1 }
        [bad-timestamp] the moment of signing stands in a `header` or in an `element` of the signature's header (one of them)
            help: write `timestamp: { header: X-Time, tolerance: 5m }`

        { verify: { hmac: sha256, header: X, separator: ', ' }, secret: s1 }
        [bad-separator] signatures are separated by one character that their prefix does not hold (cannot separate)
            help: write it in quotes, as `" "` or `","`

        { verify: { hmac: sha256, header: X, separator: ',', prefix: 'v1,' }, secret: s1 }
        [bad-separator] signatures are separated by one character that their prefix does not hold (cannot separate)
            help: write it in quotes, as `" "` or `","`

        { verify: none, id: fixed }
        [bad-id] an id that is always the same would make every event a repeat (one word for all)
            help: read it from the request: `id: { header: X-Name }` or `id: { json: path }`; without one, topic and body tell repeats

        { verify: none, topic: { json: 'a..b' } }
        [bad-pick] this is not a path into a body (cannot be read there)
            help: write `{ header: X-Name }`, or `{ json: data.type }`: keys and places of lists with dots between them

        { verify: none, topic: { header: A, json: b } }
        [wrong-value] it is read at one place, not at both (here)
            help: write `{ header: X-Name }` or `{ json: path }`

        { verify: none, topic: { haeder: A } }
        [unknown-key] unknown key `haeder` (not a key here)
            help: did you mean `header`?

        { verify: none, dedupe: 3 }
        [wrong-value] `3` is not a time (here)
            help: write a number and its unit, such as `500ms`, `5s`, `10m`, `48h` or `3d`
    "#);
}

#[test]
fn a_timestamp_that_is_not_signed_is_only_a_warning() {
    let section = "{ verify: { hmac: sha256, header: X, timestamp: { header: X-Time } }, secret: s1 }";
    let mut problems = vec![];
    let read: Section = tree::read(&placeless(section).unwrap(), &mut problems).unwrap();
    assert!(Verifier::build("shop", Span::default(), &read, &mut problems).is_some());
    assert_eq!(problems.iter().map(|p| (p.id, p.severity)).collect::<Vec<_>>(), [("unsigned-timestamp", Severity::Warning)]);
}

#[test]
fn a_reason_quotes_neither_secret_nor_request() {
    let shop = build("{ verify: { bearer: hush-hush } }").unwrap();
    let refused = check(&shop, &headers(&[("authorization".into(), "Bearer from-outside".into())]), b"", NOW).unwrap_err();
    assert!(!format!("{refused} {refused:?}").contains("hush") && !refused.to_string().contains("outside"));
    let problems = build("{ verify: { hmac: sha256, header: X, key: hex }, secret: hush }").err().unwrap();
    assert!(!format!("{problems:?}").contains("hush"), "{problems:?}");
}

#[test]
fn what_cannot_be_signed_is_told() {
    let standard = build(FORMS[1]).unwrap();
    let draft = |topic, id| Draft { topic, body: b"b", id };
    assert_eq!(standard.sign(&draft("t", None), NOW), Err(CannotSign::NoId(HeaderName::from_static("webhook-id"))));
    assert_eq!(standard.sign(&draft("t", Some("a\nb")), NOW), Err(CannotSign::NotAHeader(HeaderName::from_static("webhook-id"))));
    let odd = build("{ verify: { hmac: sha256, header: X, signs: '{header:X-Odd}{body}' }, secret: s1 }").unwrap();
    assert_eq!(odd.sign(&draft("t", None), NOW), Err(CannotSign::NoValue(HeaderName::from_static("x-odd"))));
}

proptest! {
    #[test]
    fn what_is_signed_is_accepted_and_one_flipped_bit_is_not(
        form in 0..FORMS.len(), body in proptest::collection::vec(any::<u8>(), 1..200), bit in any::<usize>(), topic in "[!-~]{1,40}", id in "[!-~]{1,40}",
    ) {
        let verifier = build(FORMS[form]).unwrap();
        let request = signed(&verifier, &topic, &body, Some(&id));
        prop_assert!(check(&verifier, &request, &body, NOW).is_ok());
        let signature = matches!(verifier.proof, Proof::Signature(_));
        let mut other = body.clone();
        let bit = bit % (other.len() * 8);
        other[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(check(&verifier, &request, &other, NOW).is_ok(), !signature);
        // A flipped bit in any header that proves something.
        let proves = |name: &str| name.contains("sig") || name.contains("hmac") || ["authorization", "x-token", "webhook-id"].contains(&name);
        for name in request.keys().filter(|name| proves(name.as_str())) {
            let mut value = request[name].as_bytes().to_vec();
            let at = bit % value.len();
            value[at] ^= 1;
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let mut changed = request.clone();
                changed.insert(name, value);
                prop_assert!(check(&verifier, &changed, &body, NOW).is_err(), "{} {:?}", name, changed[name]);
            }
        }
    }

    #[test]
    fn no_request_makes_it_fail(
        form in 0..FORMS.len(), body in proptest::collection::vec(any::<u8>(), 0..64), now in any::<i64>(),
        values in proptest::collection::vec((0..12_usize, proptest::collection::vec(prop_oneof![Just(b','), Just(b'='), Just(b' '), 0x20..0x7f_u8, 0x80..=0xff_u8], 0..64)), 0..8),
    ) {
        const NAMES: [&str; 12] = ["x-orderchamp-signature", "webhook-id", "webhook-timestamp", "webhook-signature", "x-hub-signature-256",
            "stripe-signature", "x-shopify-hmac-sha256", "x-sig", "x-time", "authorization", "x-token", "x-github-event"];
        let mut request = HeaderMap::new();
        for (name, value) in values {
            request.append(HeaderName::from_static(NAMES[name]), HeaderValue::from_bytes(&value).unwrap());
        }
        let accepted = check(&build(FORMS[form]).unwrap(), &request, &body, Timestamp(now)).is_ok();
        prop_assert_eq!(accepted, FORMS[form].contains("none"), "nothing random is proven");
    }
}
