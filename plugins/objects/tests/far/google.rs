//! A far side of our own that answers as Google Cloud Storage does (XML API; cloud.google.com/storage/docs/xml-api), as far as `gcs` asks:
//! there is no server of Google's to run. It gives tokens for claims that the account's key has signed, and keeps what is put.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// What it gives for a signed claim.
pub const TOKEN: &str = "made-up-google-token";

/// Runs on a thread of its own, so that tests may block.
pub struct Google {
    port: u16,
    state: Arc<State>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    key: String,
}

struct State {
    public: Vec<u8>,
    buckets: Mutex<BTreeMap<String, BTreeMap<String, Vec<u8>>>>,
}

impl Google {
    pub fn start() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let key = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()));
        let state = Arc::new(State { public: pair.public_key().as_ref().to_vec(), buckets: Mutex::default() });
        let port = switchyard_services::net::free_port().unwrap();
        let mut google = Google { port, state, running: None, key };
        google.up();
        google
    }

    pub fn up(&mut self) {
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        let (port, state) = (self.port, Arc::clone(&self.state));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            // Dropped with every connection.
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
                ready.send(()).unwrap();
                tokio::select! { () = accept(listener, state) => {}, _ = stopped => {} }
            });
        });
        is_ready.recv().unwrap();
        self.running = Some((stop, thread));
    }

    pub fn down(&mut self) {
        let Some((stop, thread)) = self.running.take() else { return };
        drop(stop);
        thread.join().unwrap();
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn make(&self, bucket: &str) {
        self.state.buckets.lock().unwrap().insert(bucket.to_owned(), BTreeMap::new());
    }

    pub fn read(&self, bucket: &str) -> Vec<(String, Vec<u8>)> {
        self.state.buckets.lock().unwrap()[bucket].clone().into_iter().collect()
    }

    /// The JSON of its service account; with another key where `wrong`.
    pub fn account(&self, token_port: u16, wrong: bool) -> String {
        let key = if wrong { Google::start().key.clone() } else { self.key.clone() };
        let uri = format!("http://127.0.0.1:{token_port}/token");
        serde_json::json!({ "client_email": "lake@made-up.example", "private_key": key, "token_uri": uri }).to_string()
    }

    /// What must never be shown.
    pub fn secrets(&self) -> Vec<String> {
        vec![TOKEN.to_owned(), self.key.lines().nth(1).unwrap()[..60].to_owned()]
    }
}

impl Drop for Google {
    fn drop(&mut self) {
        self.down();
    }
}

async fn accept(listener: tokio::net::TcpListener, state: Arc<State>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, Arc::clone(&state)));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let (status, text) = if head.uri.path() == "/token" { token(&body, &state) } else { object(&head, &body, &state) };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    Ok(response)
}

/// RFC 7523: a claim that the account's key has signed.
fn token(form: &[u8], state: &State) -> (StatusCode, String) {
    let form = String::from_utf8_lossy(form);
    let assertion = form.split('&').find_map(|pair| pair.strip_prefix("assertion=")).unwrap_or_default();
    let good = assertion.rsplit_once('.').is_some_and(|(signed, signature)| {
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &state.public);
        URL_SAFE_NO_PAD.decode(signature).is_ok_and(|signature| public.verify(signed.as_bytes(), &signature).is_ok())
            && claims(signed).is_some_and(|claim| claim["scope"] == "https://www.googleapis.com/auth/devstorage.read_write")
    });
    if good {
        (StatusCode::OK, format!(r#"{{"access_token":"{TOKEN}","expires_in":3600,"token_type":"Bearer"}}"#))
    } else {
        (StatusCode::BAD_REQUEST, r#"{"error":"invalid_grant","error_description":"Invalid JWT Signature."}"#.to_owned())
    }
}

fn claims(signed: &str) -> Option<serde_json::Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(signed.split_once('.')?.1).ok()?).ok()
}

fn object(head: &http::request::Parts, body: &[u8], state: &State) -> (StatusCode, String) {
    let refused =
        |status, code: &str| (status, format!("<?xml version='1.0'?><Error><Code>{code}</Code><Message>As it says.</Message></Error>"));
    if head.headers.get("authorization").is_none_or(|value| *value != format!("Bearer {TOKEN}")) {
        return refused(StatusCode::UNAUTHORIZED, "AuthenticationRequired");
    }
    let path = decoded(head.uri.path());
    let (bucket, name) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    let mut buckets = state.buckets.lock().unwrap();
    let Some(objects) = buckets.get_mut(bucket) else { return refused(StatusCode::NOT_FOUND, "NoSuchBucket") };
    match head.method {
        Method::PUT if head.headers.get("x-goog-if-generation-match").is_some_and(|value| value == "0") && objects.contains_key(name) => {
            refused(StatusCode::PRECONDITION_FAILED, "PreconditionFailed")
        }
        Method::PUT => {
            objects.insert(name.to_owned(), body.to_vec());
            (StatusCode::OK, String::new())
        }
        Method::HEAD if objects.contains_key(name) => (StatusCode::OK, String::new()),
        Method::HEAD => (StatusCode::NOT_FOUND, String::new()),
        Method::GET if name.is_empty() => (StatusCode::OK, "<ListBucketResult/>".to_owned()),
        _ => refused(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
    }
}

fn decoded(path: &str) -> String {
    let mut out = vec![];
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
            out.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).unwrap()
}
