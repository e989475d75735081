//! Certificates, servers of our own whose every frame is ours to say, and calls.

use bytes::Bytes;
use http_body_util::Full;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use switchyard_api::http::{Answer, CallError, Client, Connection, Limits, Request, Url};
use switchyard_api::tls::TlsSettings;
use switchyard_api::{At, Kit, Secret, Span, Wall};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// 2026-03-02T10:00:00Z
pub const NOW: i64 = 1_772_445_600_000;

pub fn limits() -> Limits {
    Limits { connect: Duration::from_secs(5), whole: Duration::from_secs(10), ..Limits::default() }
}
pub fn quick() -> Limits {
    Limits { whole: Duration::from_millis(600), ..limits() }
}
pub fn kit(base: &Path) -> Kit {
    Kit::new("shop", base, "switchyard/0", Wall::new(|| NOW))
}
pub fn at<T>(value: T) -> At<T> {
    At { span: Span::default(), value }
}
pub fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}
pub fn with_proxy(proxy: &str) -> Connection {
    Connection { proxy: Some(at(Secret::new(proxy))), ..Connection::default() }
}
pub fn post(body: impl Into<Bytes>) -> Request {
    http::Request::post("/in?x=1").body(Full::new(body.into())).unwrap()
}

/// One call and how often it said that it was sent.
pub async fn call(client: &Client, body: impl Into<Bytes>) -> (Result<Answer, CallError>, usize) {
    let sent = AtomicUsize::new(0);
    let answer = client.call(post(body), || _ = sent.fetch_add(1, Ordering::Relaxed)).await;
    (answer, sent.into_inner())
}

/// Waits for a condition; the test's own time limit is that of its runner.
pub async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A folder with a root, and certificates that it signed.
pub struct Papers {
    pub folder: TempDir,
    root: CertifiedIssuer<'static, KeyPair>,
}

impl Papers {
    pub fn new() -> Self {
        let mut parameters = CertificateParams::new(vec![]).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("root.pem"), root.pem()).unwrap();
        Papers { folder, root }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `NAME.pem` and `NAME.key`, over at the start of that year.
    pub fn write(&self, name: &str, host: &str, until: i32) {
        let mut parameters = CertificateParams::new(vec![host.to_owned()]).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, host);
        parameters.not_before = rcgen::date_time_ymd(2000, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.root).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    /// What a server of ours is set up with; `mutual` asks for client certificates of the same root.
    pub fn server(&self, protocols: &[&str], mutual: bool) -> rustls::ServerConfig {
        self.write("server", "localhost", 2099);
        let chain = vec![CertificateDer::from_pem_file(self.path("server.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(self.path("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let builder = if mutual {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(self.path("root.pem")).unwrap()).unwrap();
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }

    /// Believes the root.
    pub fn trusting(&self) -> Connection {
        Connection { ca: Some(self.path("root.pem")), ..Connection::default() }
    }

    /// Believes the root and shows `NAME.pem`.
    pub fn showing(&self, name: &str) -> Connection {
        let tls = TlsSettings { ca: None, cert: Some(format!("{name}.pem").into()), key: Some(format!("{name}.key").into()) };
        Connection { tls: Some(at(tls)), ..self.trusting() }
    }

    pub fn client(&self, connection: &Connection, port: u16) -> Client {
        connection.client(url(&format!("https://localhost:{port}/")), limits(), &kit(self.folder.path())).unwrap()
    }
}

/// A port of loopback on which every connection is served by the same function; ends when dropped.
pub struct Listening {
    pub port: u16,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Listening {
    /// `serve` gets each connection and its number, from 0.
    pub async fn open<F: Future<Output = ()> + Send + 'static>(serve: impl Fn(TcpStream, usize) -> F + Send + 'static) -> Self {
        Self::open_on("127.0.0.1:0", serve).await
    }

    pub async fn open_on<F: Future<Output = ()> + Send + 'static>(
        address: &str,
        serve: impl Fn(TcpStream, usize) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, count.fetch_add(1, Ordering::SeqCst)));
            }
        });
        Listening { port, accepted, task }
    }

    /// As [`open`](Self::open), after a TLS handshake; what fails in it is dropped.
    pub async fn open_tls<F: Future<Output = ()> + Send + 'static>(
        config: rustls::ServerConfig,
        serve: impl Fn(tokio_rustls::server::TlsStream<TcpStream>, usize) -> F + Send + Sync + 'static,
    ) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let serve = Arc::new(serve);
        Self::open(move |stream, number| {
            let (acceptor, serve) = (acceptor.clone(), Arc::clone(&serve));
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream, number).await;
                }
            }
        })
        .await
    }

    pub fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves HTTP/1.1 on a connection: answers 200 with the request's first line, and counts.
pub async fn serve_one<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static>(stream: S, got: Arc<AtomicUsize>) {
    let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        got.fetch_add(1, Ordering::SeqCst);
        let line = format!("{} {} {:?}", request.method(), request.uri(), request.version());
        async move { Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(Bytes::from(line)))) }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(hyper_util::rt::TokioIo::new(stream), service).await;
}

pub fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}
