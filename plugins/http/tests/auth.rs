//! Every kind of credentials against real servers: who judges a proof here computes it from the standard, not by our code.

#![allow(clippy::unwrap_used)] // helpers of tests

#[path = "auth/endpoint.rs"]
mod endpoint;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use endpoint::{Asked, Said, Server, said, said_with};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Digest;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use switchyard_api::conformance::vault::MemoryVault;
use switchyard_api::conformance::{deliver_one, parcel};
use switchyard_api::http::auth::{Auth, logged_in};
use switchyard_api::tree::{Key, Node, Text, Value};
use switchyard_api::vault::Vault;
use switchyard_api::{AnyConfig, Kit, Message, Outcome, Output, Problem, Secret, Span, Wall};

/// 2026-03-02T10:00:00.500Z
const NOW: i64 = 1_772_445_600_500;

fn kit() -> Kit {
    Kit { timeout: Duration::from_secs(5), ..Kit::new("books", "/nowhere", "switchyard/0", Wall::new(|| NOW)) }
}

/// What a file with this text would read as, every value with a place of its own.
fn node(json: &serde_json::Value, at: &mut usize) -> Node {
    let start = *at;
    *at += 1;
    let value = match json {
        serde_json::Value::Object(fields) => Value::Map(
            fields
                .iter()
                .map(|(name, value)| {
                    let key = Key { span: Span { start: *at, end: *at + 1 }, name: name.clone() };
                    *at += 1;
                    (key, node(value, at))
                })
                .collect(),
        ),
        serde_json::Value::Array(items) => Value::List(items.iter().map(|item| node(item, at)).collect()),
        serde_json::Value::String(text) => Value::Text(Text { written: text.clone(), replaced: None }),
        other => panic!("not used here: {other}"),
    };
    *at += 1;
    Node { span: Span { start, end: *at }, value }
}

fn read(settings: &serde_json::Value) -> Result<Arc<dyn AnyConfig>, Vec<Problem>> {
    let mut problems = vec![];
    let kind = switchyard_http::kinds().into_iter().find(|kind| kind.name() == "http").unwrap();
    let config = kind.read(&node(settings, &mut 0), &mut problems);
    config.filter(|_| problems.is_empty()).ok_or(problems)
}

/// An output to that URL with these credentials, as a file would say.
async fn connect(url: &str, auth: serde_json::Value, kit: &Kit) -> Arc<dyn Output> {
    let config = read(&serde_json::json!({ "url": url, "auth": auth })).unwrap_or_else(|problems| panic!("{problems:?}"));
    config.connect(kit).await.unwrap()
}

async fn deliver(output: &Arc<dyn Output>) -> Outcome {
    deliver_one(&**output, parcel(1, &Message::default())).await
}

async fn delivered(output: &Arc<dyn Output>) {
    let outcome = deliver(output).await;
    assert_eq!(outcome.word(), "delivered", "{outcome:?}");
}

/// A far side that takes what is proven so.
async fn taking(proof: impl Fn(&Asked) -> bool + Send + Sync + 'static) -> Server {
    Server::start(move |asked| if proof(asked) { said(200, "taken") } else { said(401, "who are you?") }).await
}

/// A far side that takes the tokens of this set as Bearer.
async fn taking_tokens(good: &Arc<Mutex<BTreeSet<String>>>) -> Server {
    let good = Arc::clone(good);
    taking(move |asked| asked.header("authorization").strip_prefix("Bearer ").is_some_and(|token| good.lock().unwrap().contains(token)))
        .await
}

fn granted(access: &str, more: &str) -> Said {
    said_with(
        200,
        "content-type",
        "application/json",
        &format!(r#"{{"access_token":"{access}","token_type":"Bearer","expires_in":3600{more}}}"#),
    )
}

// === those that send the same every time ===

#[tokio::test]
async fn what_never_changes_is_sent_as_written() {
    for (auth, expected) in [
        (serde_json::json!({ "bearer": "made-up" }), ("authorization", "Bearer made-up", "/in?a=1")),
        (
            serde_json::json!({ "basic": { "user": "Aladdin", "password": "open sesame" } }),
            ("authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "/in?a=1"),
        ),
        (serde_json::json!({ "header": { "name": "X-Api-Key", "value": "made-up" } }), ("x-api-key", "made-up", "/in?a=1")),
        (serde_json::json!({ "query": { "name": "api_key", "value": "made up&" } }), ("authorization", "", "/in?a=1&api_key=made%20up%26")),
    ] {
        let server = taking(|_| true).await;
        delivered(&connect(&server.url("/in?a=1"), auth, &kit()).await).await;
        let asked = server.asked().remove(0);
        assert_eq!((asked.header(expected.0), asked.target.as_str()), (expected.1, expected.2));
    }
}

// === OAuth 2.0 ===

#[tokio::test]
async fn a_client_is_proven_by_basic_or_in_the_form() {
    for (place, basic) in [("basic", "Basic bWFkZSUzQXVwOmglMjZ1c2g="), ("body", "")] {
        let tokens = Server::start(|_| granted("t1", "")).await;
        let far = taking(|asked| asked.header("authorization") == "Bearer t1").await;
        let auth = serde_json::json!({ "oauth2": {
            "token_url": tokens.url("/token"), "client_id": "made:up", "client_secret": "h&ush", "credentials_in": place,
            "scope": ["a", "b"], "audience": "https://api.example/", "resource": "urn:r", "params": { "tenant": "7" },
        } });
        delivered(&connect(&far.url("/in"), auth, &kit()).await).await;
        let asked = tokens.asked().remove(0);
        assert_eq!((asked.method.as_str(), asked.target.as_str(), asked.header("authorization")), ("POST", "/token", basic));
        assert_eq!(asked.header("content-type"), "application/x-www-form-urlencoded");
        let expected = [
            ("grant_type", Some("client_credentials")),
            ("scope", Some("a b")),
            ("audience", Some("https://api.example/")),
            ("resource", Some("urn:r")),
            ("tenant", Some("7")),
            ("client_id", basic.is_empty().then_some("made:up")),
            ("client_secret", basic.is_empty().then_some("h&ush")),
        ];
        for (name, value) in expected {
            assert_eq!(asked.parameter(name).as_deref(), value, "{name}");
        }
    }
}

#[tokio::test]
async fn a_password_and_a_scheme_of_its_own_are_sent() {
    let tokens = Server::start(|_| granted("t1", "")).await;
    let far = taking(|asked| asked.header("authorization") == "Zoho-oauthtoken t1").await;
    let auth = serde_json::json!({ "oauth2": {
        "grant": "password", "token_url": tokens.url("/token"), "client_id": "made-up", "user": "ann", "password": "hush", "scheme": "Zoho-oauthtoken",
    } });
    delivered(&connect(&far.url("/in"), auth, &kit()).await).await;
    let asked = tokens.asked().remove(0);
    let sent = ["grant_type", "username", "password", "client_id"].map(|name| asked.parameter(name).unwrap_or_default());
    assert_eq!(sent, ["password", "ann", "hush", "made-up"]);
}

fn client(tokens: &Server) -> serde_json::Value {
    serde_json::json!({ "oauth2": { "token_url": tokens.url("/token"), "client_id": "made-up", "client_secret": "hush-secret" } })
}

#[tokio::test]
async fn a_refused_token_is_fetched_anew_once_within_the_attempt() {
    let count = AtomicUsize::new(0);
    let tokens = Server::start(move |_| granted(&format!("t{}", count.fetch_add(1, Ordering::SeqCst)), "")).await;
    let good = Arc::new(Mutex::new(BTreeSet::from(["t1".to_owned()])));
    let far = taking_tokens(&good).await;
    let output = connect(&far.url("/in"), client(&tokens), &kit()).await;
    delivered(&output).await;
    assert_eq!((tokens.asked().len(), far.asked().len()), (2, 2));
    delivered(&output).await;
    assert_eq!((tokens.asked().len(), far.asked().len()), (2, 3), "the good one is kept");
    good.lock().unwrap().clear();
    let outcome = deliver(&output).await;
    assert_eq!(outcome.word(), "misconfigured", "{outcome:?}");
    assert_eq!((tokens.asked().len(), far.asked().len()), (3, 5), "a second 401 is the answer");
}

#[tokio::test]
async fn thirty_two_deliveries_need_one_token_and_after_a_401_one_more() {
    let count = AtomicUsize::new(0);
    let tokens = Server::start(move |_| granted(&format!("t{}", count.fetch_add(1, Ordering::SeqCst)), "")).await;
    let good = Arc::new(Mutex::new(BTreeSet::from(["t0".to_owned()])));
    let far = taking_tokens(&good).await;
    let output = connect(&far.url("/in"), client(&tokens), &kit()).await;
    futures_util::future::join_all((0..32).map(|_| delivered(&output))).await;
    assert_eq!((tokens.asked().len(), far.asked().len()), (1, 32));
    *good.lock().unwrap() = BTreeSet::from(["t1".to_owned()]);
    futures_util::future::join_all((0..32).map(|_| delivered(&output))).await;
    assert_eq!(tokens.asked().len(), 2);
}

#[tokio::test]
async fn what_a_token_endpoint_says_has_its_outcome_and_nothing_is_sent() {
    let refusal = |code: &str| said(400, &format!(r#"{{"error":"{code}","error_description":"for hush-secret"}}"#));
    let answers: Vec<(Said, &str)> = vec![
        (refusal("invalid_client"), "misconfigured"),
        (refusal("invalid_grant"), "misconfigured"),
        (refusal("invalid_scope"), "misconfigured"),
        (refusal("temporarily_unavailable"), "down"),
        (said(401, "no"), "misconfigured"),
        (said(404, "<html>"), "misconfigured"),
        (said_with(302, "location", "/elsewhere", ""), "misconfigured"),
        (said(200, "<html>"), "misconfigured"),
        (said(200, r#"{"error":"invalid_client"}"#), "misconfigured"),
        (said(200, r#"{"access_token":""}"#), "misconfigured"),
        (said(200, r#"{"access_token":"a\nb"}"#), "misconfigured"),
        (said_with(429, "retry-after", "7", ""), "down"),
        (said(500, "hush-secret"), "down"),
        (said(503, ""), "down"),
        (None, "down"),
    ];
    for (answer, word) in answers {
        let shown = format!("{answer:?}");
        let tokens = Server::start(move |_| answer.clone()).await;
        let far = taking(|_| true).await;
        let output = connect(&far.url("/in"), client(&tokens), &kit()).await;
        let outcome = deliver(&output).await;
        assert_eq!(outcome.word(), word, "{shown}: {outcome:?}");
        assert!(!format!("{outcome:?}").contains("hush"), "{outcome:?}");
        if shown.contains("429") {
            assert!(matches!(outcome, Outcome::Down { after: Some(after), .. } if after == Duration::from_secs(7)), "{outcome:?}");
        }
        assert_eq!((tokens.asked().len(), far.asked().len()), (1, 0), "{shown}: no loop, and nothing sent");
        assert!(output.check().await.is_err());
    }
    let mut gone = Server::start(|_| None).await;
    let auth = client(&gone);
    gone.leave().await;
    let far = taking(|_| true).await;
    assert_eq!(deliver(&connect(&far.url("/in"), auth, &kit()).await).await.word(), "down");
}

#[tokio::test]
async fn a_token_endpoint_that_says_nothing_ends_with_the_attempt() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let far = taking(|_| true).await;
    let auth = serde_json::json!({ "oauth2": { "token_url": url, "client_id": "made-up", "client_secret": "hush" } });
    let output = connect(&far.url("/in"), auth, &Kit { timeout: Duration::from_millis(200), ..kit() }).await;
    assert_eq!(deliver(&output).await.word(), "down");
    assert_eq!(far.asked().len(), 0);
}

// === refresh tokens that rotate ===

/// An endpoint that takes each refresh token once, and, with `grace`, the one before again.
struct Rotating {
    server: Server,
    /// Breaks the next answers after the token is used up.
    breaks: Arc<AtomicUsize>,
    good: Arc<Mutex<BTreeSet<String>>>,
}

impl Rotating {
    async fn start(first: &str, grace: bool) -> Self {
        let (breaks, good) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(BTreeSet::new())));
        let state = Mutex::new((first.to_owned(), String::new(), 0));
        let (breaking, giving) = (Arc::clone(&breaks), Arc::clone(&good));
        let server = Server::start(move |asked| {
            let given = asked.parameter("refresh_token").unwrap_or_default();
            let mut state = state.lock().unwrap();
            if given != state.0 && !(grace && !state.1.is_empty() && given == state.1) {
                return said(400, r#"{"error":"invalid_grant"}"#);
            }
            state.2 += 1;
            let (access, refresh) = (format!("a{}", state.2), format!("r{}", state.2));
            *state = (refresh.clone(), given, state.2);
            if breaking.load(Ordering::SeqCst) > 0 {
                breaking.fetch_sub(1, Ordering::SeqCst);
                return None;
            }
            giving.lock().unwrap().insert(access.clone());
            granted(&access, &format!(r#","refresh_token":"{refresh}""#))
        })
        .await;
        Rotating { server, breaks, good }
    }

    fn auth(&self, seed: &str) -> serde_json::Value {
        serde_json::json!({ "oauth2": { "token_url": self.server.url("/token"), "client_id": "made-up", "client_secret": "hush", "refresh_token": seed } })
    }

    fn given(&self) -> Vec<String> {
        self.server.asked().iter().map(|asked| asked.parameter("refresh_token").unwrap_or_default()).collect()
    }
}

fn with(vault: &MemoryVault) -> Kit {
    Kit { vault: Arc::new(vault.clone()), ..kit() }
}

#[tokio::test]
async fn thirty_two_deliveries_use_a_refresh_token_once_and_the_new_one_is_kept_before_it_is_used() {
    let (endpoint, vault) = (Rotating::start("seed", false).await, MemoryVault::default());
    let (good, kept) = (Arc::clone(&endpoint.good), vault.clone());
    let far = taking(move |asked| {
        // When the access token arrives here, what came with it is durable.
        let durable = kept.entry("books").is_some_and(|entry| entry.value.expose().contains("\"r1\""));
        durable && good.lock().unwrap().contains(asked.header("authorization").strip_prefix("Bearer ").unwrap_or_default())
    })
    .await;
    let output = connect(&far.url("/in"), endpoint.auth("seed"), &with(&vault)).await;
    futures_util::future::join_all((0..32).map(|_| delivered(&output))).await;
    assert_eq!((endpoint.given(), far.asked().len(), vault.writings()), (vec!["seed".to_owned()], 32, 1));
}

#[tokio::test]
async fn a_restart_goes_on_with_what_is_kept() {
    let (endpoint, vault) = (Rotating::start("seed", false).await, MemoryVault::default());
    let far = taking_tokens(&endpoint.good).await;
    for _ in 0..3 {
        delivered(&connect(&far.url("/in"), endpoint.auth("seed"), &with(&vault)).await).await;
    }
    assert_eq!(endpoint.given(), ["seed", "r1", "r2"]);
}

#[tokio::test]
async fn an_endpoint_that_dies_halfway_takes_the_old_one_again_or_a_person_is_asked() {
    for grace in [true, false] {
        let (endpoint, vault) = (Rotating::start("seed", grace).await, MemoryVault::default());
        let far = taking_tokens(&endpoint.good).await;
        let output = connect(&far.url("/in"), endpoint.auth("seed"), &with(&vault)).await;
        endpoint.breaks.store(1, Ordering::SeqCst);
        assert_eq!(deliver(&output).await.word(), "down", "it may have been an outage");
        if grace {
            delivered(&output).await;
            continue;
        }
        let outcome = deliver(&output).await;
        assert!(matches!(&outcome, Outcome::Misconfigured { why, .. } if why.contains("switchyard login books")), "{outcome:?}");
        assert_eq!(endpoint.given(), ["seed", "seed"], "no loop");
        // A person hands over a new one: the next attempt takes it, without a restart.
        vault.save("books", 0, logged_in(&Secret::new("r1"))).await.unwrap();
        delivered(&output).await;
    }
    assert_eq!(taking(|_| true).await.asked().len(), 0);
}

#[tokio::test]
async fn an_attempt_that_is_dropped_while_a_token_is_fetched_loses_nothing() {
    let (endpoint, vault) = (Rotating::start("seed", false).await, MemoryVault::default());
    let far = taking_tokens(&endpoint.good).await;
    let output = connect(&far.url("/in"), endpoint.auth("seed"), &with(&vault)).await;
    for polls in 1..4 {
        switchyard_api::conformance::deliver(&*output, vec![parcel(1, &Message::default())], Some(polls)).await;
    }
    delivered(&output).await;
    assert_eq!(endpoint.given(), ["seed"]);
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_used() {
    let (endpoint, vault) = (Rotating::start("seed", false).await, MemoryVault::default());
    let far = taking_tokens(&endpoint.good).await;
    let output = connect(&far.url("/in"), endpoint.auth("seed"), &with(&vault)).await;
    vault.fail(1);
    assert_eq!(deliver(&output).await.word(), "down");
    assert_eq!(far.asked().len(), 0);
    delivered(&output).await;
    assert_eq!(endpoint.given(), ["seed"], "the only copy was not thrown away");
}

// === log-ins ===

#[tokio::test]
async fn a_login_gives_a_token_in_body_or_header() {
    let login = Server::start(|asked| match asked.header("x-user") {
        "" => said(200, r#"{"data":{"accessToken":"t-json"}}"#),
        _ => said_with(200, "x-auth", "t-header", ""),
    })
    .await;
    let json = serde_json::json!({ "login": { "url": login.url("/auth"), "body": { "json": { "userId": "ann", "key": "hush" } }, "token": "/data/accessToken" } });
    let form = serde_json::json!({ "login": { "url": login.url("/auth"), "method": "PUT", "body": { "form": { "key": "h&sh" } }, "token": "/data/accessToken", "as": "raw", "ttl": "15m" } });
    let headers =
        serde_json::json!({ "login": { "url": login.url("/auth"), "headers": { "X-User": "ann" }, "token": "X-Auth", "as": "X-Token" } });
    for (auth, header, expected, body) in [
        (json, "authorization", "Bearer t-json", r#"{"userId":"ann","key":"hush"}"#),
        (form, "authorization", "t-json", "key=h%26sh"),
        (headers, "x-token", "t-header", ""),
    ] {
        let far = taking(move |asked| asked.header(header) == expected).await;
        let output = connect(&far.url("/in"), auth, &kit()).await;
        delivered(&output).await;
        let before = login.asked().len();
        delivered(&output).await;
        assert_eq!((login.asked().last().unwrap().body.as_str(), login.asked().len()), (body, before), "logged in once");
    }
}

#[tokio::test]
async fn a_login_that_is_refused_is_no_loop() {
    for (answer, word) in [(said(403, "hush is wrong"), "misconfigured"), (said(200, "{}"), "misconfigured"), (said(503, ""), "down")] {
        let login = Server::start(move |_| answer.clone()).await;
        let far = taking(|_| true).await;
        let auth = serde_json::json!({ "login": { "url": login.url("/auth"), "body": { "json": { "key": "hush" } }, "token": "/t" } });
        let outcome = deliver(&connect(&far.url("/in"), auth, &kit()).await).await;
        assert_eq!((outcome.word(), login.asked().len(), far.asked().len()), (word, 1, 0), "{outcome:?}");
        assert!(!outcome.text().contains("hush"), "{outcome:?}");
    }
}

// === Google ===

#[tokio::test]
async fn a_service_account_signs_a_claim_that_its_public_key_verifies() {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()));
    let tokens = Server::start(|_| granted("t1", "")).await;
    let account = serde_json::json!({
        "type": "service_account", "client_email": "shop@made-up.example", "private_key_id": "k1", "private_key": pem, "token_uri": tokens.url("/token"),
    });
    let far = taking(|asked| asked.header("authorization") == "Bearer t1").await;
    let auth = serde_json::json!({ "google": { "service_account": account.to_string(), "scope": ["https://a.example/x", "y"] } });
    delivered(&connect(&far.url("/in"), auth, &kit()).await).await;
    let asked = tokens.asked().remove(0);
    assert_eq!(asked.parameter("grant_type").as_deref(), Some("urn:ietf:params:oauth:grant-type:jwt-bearer"));
    let assertion = asked.parameter("assertion").unwrap();
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref());
    public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    let part = |text: &str| serde_json::from_slice::<serde_json::Value>(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
    let (head, claim) = signed.split_once('.').unwrap();
    assert_eq!(part(head), serde_json::json!({ "alg": "RS256", "typ": "JWT", "kid": "k1" }));
    let seconds = NOW / 1000;
    let expected = serde_json::json!({
        "iss": "shop@made-up.example", "scope": "https://a.example/x y", "aud": tokens.url("/token"), "iat": seconds, "exp": seconds + 3600,
    });
    assert_eq!(part(claim), expected);
}

// === AWS ===

/// What a service does with such a request: takes the signature apart and computes it again.
fn signed_by_aws(asked: &Asked, host: &str) -> bool {
    let proof = asked.header("authorization");
    let field = |name: &str| proof.split(&[' ', ','][..]).find_map(|part| part.strip_prefix(name)).unwrap_or_default();
    let (credential, names, signature) = (field("Credential="), field("SignedHeaders="), field("Signature="));
    let mac = |key: &[u8], text: &str| {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    };
    let value = |name: &str| if name == "host" { host.to_owned() } else { asked.header(name).to_owned() };
    let headers = names.split(';').fold(String::new(), |all, name| all + name + ":" + &value(name) + "\n");
    let body = hex::encode(sha2::Sha256::digest(&asked.body));
    let canonical = format!("{}\n{}\n\n{headers}\n{names}\n{body}", asked.method, asked.target);
    let (_, scope) = credential.split_once('/').unwrap_or_default();
    let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{}", asked.header("x-amz-date"), hex::encode(sha2::Sha256::digest(canonical)));
    let key = scope.split('/').fold(b"AWS4made-up-key".to_vec(), |key, part| mac(&key, part));
    hex::encode(mac(&key, &text)) == signature && names.contains("content-type")
}

#[tokio::test]
async fn a_signature_is_what_the_service_computes_and_a_clock_that_is_off_is_set_right_once() {
    let far = Server::start(|asked| {
        let host = asked.header("host").to_owned();
        let ours = asked.header("x-amz-date") == "20260302T101500Z";
        match (signed_by_aws(asked, &host), ours) {
            (true, true) => said(200, "taken"),
            (true, false) => said_with(403, "date", "Mon, 02 Mar 2026 10:15:00 GMT", "<Code>RequestTimeTooSkewed</Code>"),
            _ => said(403, "SignatureDoesNotMatch"),
        }
    })
    .await;
    let auth = |key: &str| serde_json::json!({ "sigv4": { "access_key": "AKIDMADEUP", "secret_key": key, "region": "eu-west-1", "service": "sqs" } });
    let output = connect(&far.url("/queue"), auth("made-up-key"), &kit()).await;
    // Half a second of ours is lost in the answer's Date, so the second that is signed is theirs.
    delivered(&output).await;
    assert_eq!(far.asked().len(), 2);
    delivered(&output).await;
    assert_eq!(far.asked().len(), 3, "it is remembered");
    assert_eq!(deliver(&connect(&far.url("/queue"), auth("another"), &kit()).await).await.word(), "misconfigured");
}

// === digest ===

#[tokio::test]
async fn a_digest_costs_one_round_trip_and_then_none_until_the_nonce_is_stale() {
    let current = Arc::new(Mutex::new("nonce-1".to_owned()));
    let nonce = Arc::clone(&current);
    let seen = Mutex::new(BTreeSet::new());
    let far = Server::start(move |asked| {
        let nonce = nonce.lock().unwrap().clone();
        let proof = asked.header("authorization").to_owned();
        let field = |name: &str| {
            proof
                .split(&[' ', ','][..])
                .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
                .unwrap_or_default()
                .trim_matches('"')
                .to_owned()
        };
        let sha = |text: String| hex::encode(sha2::Sha256::digest(text));
        let (first, second) = (sha("ann:shop:hush".into()), sha(format!("{}:{}", asked.method, asked.target)));
        let expected = sha(format!("{first}:{nonce}:{}:{}:auth:{second}", field("nc"), field("cnonce")));
        // A count is taken once.
        let fresh = seen.lock().unwrap().insert((field("nonce"), field("nc")));
        if field("response") == expected && fresh && field("algorithm") == "SHA-256" {
            return said(200, "taken");
        }
        let challenge = format!("Digest realm=\"shop\", qop=\"auth\", algorithm=SHA-256, nonce=\"{nonce}\", stale={}", !proof.is_empty());
        said_with(401, "www-authenticate", &challenge, "")
    })
    .await;
    let auth = |password: &str| serde_json::json!({ "digest": { "user": "ann", "password": password } });
    let output = connect(&far.url("/in?a=1"), auth("hush"), &kit()).await;
    delivered(&output).await;
    assert_eq!(far.asked().len(), 2);
    futures_util::future::join_all((0..16).map(|_| delivered(&output))).await;
    assert_eq!(far.asked().len(), 18);
    "nonce-2".clone_into(&mut current.lock().unwrap());
    delivered(&output).await;
    assert_eq!(far.asked().len(), 20, "a new nonce within the attempt");
    let outcome = deliver(&connect(&far.url("/in"), auth("wrong"), &kit()).await).await;
    assert_eq!((outcome.word(), far.asked().len()), ("misconfigured", 22));
}

// === signed texts ===

#[tokio::test]
async fn a_bots_signature_stands_in_the_body_that_arrives() {
    let far = taking(|asked| {
        let body: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
        let key = format!("{}\nhush", body["timestamp"].as_str().unwrap());
        let mac = Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap().finalize().into_bytes();
        body["sign"] == STANDARD.encode(mac) && body["number"] == 1 && asked.header("content-length") == asked.body.len().to_string()
    })
    .await;
    let auth = serde_json::json!({ "hmac": {
        "secret": "hush", "key": "{timestamp}\n{secret}", "signs": "", "into": { "body": "sign" }, "timestamp": { "into": { "body": "timestamp" } },
    } });
    delivered(&connect(&far.url("/hook"), auth, &kit()).await).await;
    let signed_already = serde_json::json!({ "hmac": { "secret": "hush", "signs": "{body}", "into": { "body": "number" } } });
    let outcome = deliver(&connect(&far.url("/hook"), signed_already, &kit()).await).await;
    assert_eq!((outcome.word(), far.asked().len()), ("rejected", 1), "{outcome:?}");
}

// === all of them ===

#[tokio::test]
async fn no_kind_shows_a_secret_and_an_echoed_token_is_masked() {
    // L7
    let tokens = Server::start(|_| granted("hush-access", r#","refresh_token":"hush-next""#)).await;
    let login = Server::start(|_| said(200, r#"{"t":"hush-access"}"#)).await;
    let url = tokens.url("/token");
    let kinds = [
        serde_json::json!({ "bearer": "hush-a" }),
        serde_json::json!({ "basic": { "user": "ann", "password": "hush-a" } }),
        serde_json::json!({ "header": { "name": "x-key", "value": "hush-a" } }),
        serde_json::json!({ "query": { "name": "key", "value": "hush-a" } }),
        serde_json::json!({ "oauth2": { "token_url": url, "client_id": "made-up", "client_secret": "hush-a", "params": { "p": "hush-b" } } }),
        serde_json::json!({ "oauth2": { "token_url": url, "client_id": "made-up", "client_secret": "hush-a", "refresh_token": "hush-b" } }),
        serde_json::json!({ "oauth2": { "token_url": url, "client_id": "made-up", "grant": "password", "user": "ann", "password": "hush-a" } }),
        serde_json::json!({ "login": { "url": login.url("/"), "body": { "json": { "k": "hush-a", "deep": ["hush-b"] } }, "headers": { "x-k": "hush-c" }, "token": "/t" } }),
        serde_json::json!({ "login": { "url": login.url("/"), "body": { "form": { "k": "hush-a" } }, "token": "/t" } }),
        serde_json::json!({ "sigv4": { "access_key": "AKID", "secret_key": "hush-a", "session_token": "hush-b", "region": "r", "service": "s" } }),
        serde_json::json!({ "digest": { "user": "ann", "password": "hush-a" } }),
        serde_json::json!({ "hmac": { "secret": "hush-a", "signs": "{body}", "into": { "header": "x-sign" } } }),
    ];
    for auth in kinds {
        let read: Auth = serde_json::from_value(auth.clone()).unwrap();
        assert!(!format!("{read:?}").contains("hush"), "{read:?}");
        // Says back all that it was sent, and all that it could know.
        let echo = Server::start(|asked| {
            let headers: Vec<_> = asked.headers.values().filter_map(|value| value.to_str().ok()).collect();
            said(400, &format!("{} hush-a hush-b hush-c", headers.join(" ")))
        })
        .await;
        let vault = MemoryVault::default();
        let output = connect(&echo.url("/"), auth.clone(), &with(&vault)).await;
        let outcome = deliver(&output).await;
        let kept = vault.entry("books").map(|entry| format!("{entry:?}"));
        let shown = format!("{outcome:?} {kept:?}");
        let sent = auth.to_string();
        let leaked = ["hush-access", "hush-next", "hush-a", "hush-b", "hush-c"].into_iter().find(|secret| {
            // What this kind does not hold is not its secret.
            (sent.contains(secret) || matches!(*secret, "hush-access" | "hush-next")) && shown.contains(secret)
        });
        assert_eq!((outcome.word(), leaked), ("rejected", None), "{auth}: {shown}");
    }
}

#[test]
fn what_is_written_wrongly_is_told_where_and_without_secrets() {
    let told = |auth: serde_json::Value| {
        let problems = read(&serde_json::json!({ "url": "https://api.example/", "auth": auth })).err().unwrap_or_default();
        problems.iter().map(|p| format!("{}: {} | {}", p.id, p.title, p.help.as_deref().unwrap_or_default())).collect::<Vec<_>>().join("\n")
    };
    let oauth = |key: &str, value: &str| {
        let mut settings = serde_json::json!({ "token_url": "https://id.example/t", "client_id": "made-up", "client_secret": "hush" });
        settings[key] = value.into();
        serde_json::json!({ "oauth2": settings })
    };
    for (auth, part) in [
        (serde_json::json!({ "bearer": "hush", "digest": { "user": "a", "password": "hush" } }), "credentials are one thing"),
        (serde_json::json!({}), "credentials are one thing"),
        (serde_json::json!({ "bearrer": "hush" }), "did you mean `bearer`?"),
        (oauth("token_url", "http://id.example/hush"), "credentials would be sent in the clear | write `https://`"),
        (oauth("token_url", "hush"), "a URL starts with"),
        (oauth("skew", "soon"), "is not a time"),
        (oauth("grant", "implicit"), "unknown word `implicit`"),
        (oauth("grant", "password"), "a password grant needs both"),
        (oauth("user", "ann"), "belong to the password grant"),
        (oauth("client_secret", ""), "the client_secret is empty"),
        (oauth("scheme", "two words"), "a scheme is one word"),
        (oauth("cient_id", "x"), "did you mean `client_id`?"),
        (serde_json::json!({ "google": { "service_account": "hush", "scope": "x" } }), "the service account is not the JSON"),
        (serde_json::json!({ "sigv4": { "access_key": "A", "secret_key": "", "region": "r", "service": "s" } }), "the secret_key is empty"),
        (
            serde_json::json!({ "hmac": { "secret": "hush", "signs": "{nonce}", "into": { "header": "x" } } }),
            "this signs what is not known",
        ),
        (serde_json::json!({ "hmac": { "secret": "hush", "signs": "", "into": { "header": "x", "query": "y" } } }), "a place is one thing"),
        (
            serde_json::json!({ "hmac": { "secret": "hush", "signs": "", "into": { "header": "host" } } }),
            "not a header to prove oneself with",
        ),
        (serde_json::json!({ "hmac": { "secret": "hush", "signs": "{timestamp}", "into": { "header": "x" } } }), "sent nowhere"),
        (
            serde_json::json!({ "login": { "url": "https://a.example/", "token": "no header", "body": { "json": { "k": "hush" } } } }),
            "no place for a token",
        ),
        (
            serde_json::json!({ "login": { "url": "https://a.example/", "token": "/t", "headers": { "Host": "hush" } } }),
            "`Host` is not a header",
        ),
        (serde_json::json!({ "query": { "name": "", "value": "hush" } }), "the name is empty"),
        (serde_json::json!({ "digest": { "user": "a:b", "password": "hush" } }), "a user holds no `:`"),
    ] {
        let said = told(auth.clone());
        assert!(said.contains(part), "{auth}\n{said}");
        assert!(!said.contains("hush"), "{said}");
    }
}
