//! Senders' own hosts on this machine: a TLS server with a certificate of a self-made issuer for their names, and a proxy that leads those names to
//! it and no other name anywhere.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The names that lead there.
pub const NAMES: [&str; 3] = ["sns.eu-west-1.amazonaws.com", "api.sandbox.paypal.com", "login.example.com"];

/// What stands at a path.
#[derive(Clone)]
pub enum Page {
    Text(String),
    Status(u16),
    /// Reads the request, and says nothing.
    Silence,
}

#[derive(Default)]
pub struct Seen {
    /// Paths that were asked for.
    pub paths: Vec<String>,
    /// What the proxy was asked to connect to.
    pub goals: Vec<String>,
}

pub struct Host {
    /// `http://127.0.0.1:PORT`.
    pub proxy: String,
    /// The issuer of the server's certificate, as PEM.
    pub ca: String,
    pages: Arc<Mutex<BTreeMap<String, Page>>>,
    seen: Arc<Mutex<Seen>>,
}

impl Host {
    pub fn start() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(NAMES.map(str::to_owned).to_vec()).unwrap().signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap());
        let (pages, seen) = (Arc::<Mutex<BTreeMap<String, Page>>>::default(), Arc::<Mutex<Seen>>::default());
        let server = listen({
            let (pages, seen) = (Arc::clone(&pages), Arc::clone(&seen));
            move |socket| {
                let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                answer(rustls::StreamOwned::new(connection, socket), &pages, &seen);
            }
        });
        let proxy = listen({
            let seen = Arc::clone(&seen);
            move |socket| tunnel(socket, &server, &seen)
        });
        Host { proxy: format!("http://{proxy}"), ca: issuer.pem(), pages, seen }
    }

    pub fn page(&self, path: &str, page: Page) {
        self.pages.lock().unwrap().insert(path.to_owned(), page);
    }

    /// How often a path was asked for.
    pub fn asked(&self, path: &str) -> usize {
        self.seen.lock().unwrap().paths.iter().filter(|seen| *seen == path).count()
    }

    /// What the proxy was asked to connect to, each once.
    pub fn goals(&self) -> Vec<String> {
        let mut goals = self.seen.lock().unwrap().goals.clone();
        goals.sort();
        goals.dedup();
        goals
    }
}

fn listen(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(socket));
        }
    });
    address
}

/// The lines of a request's head.
fn head(from: &mut impl BufRead) -> Vec<String> {
    from.lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect()
}

fn answer(stream: impl Read + Write, pages: &Mutex<BTreeMap<String, Page>>, seen: &Mutex<Seen>) {
    let mut stream = BufReader::new(stream);
    let head = head(&mut stream);
    let Some(path) = head.first().and_then(|line| line.split(' ').nth(1)).map(str::to_owned) else { return };
    seen.lock().unwrap().paths.push(path.clone());
    let page = pages.lock().unwrap().get(&path).cloned().unwrap_or(Page::Status(404));
    let (status, text) = match page {
        Page::Text(text) => (200, text),
        Page::Status(status) => (status, String::new()),
        Page::Silence => {
            // Until who asked is tired of it.
            let _ = stream.read(&mut [0]);
            return;
        }
    };
    let _ = write!(stream.get_mut(), "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}", text.len());
    let _ = stream.get_mut().flush();
}

fn tunnel(socket: TcpStream, server: &str, seen: &Mutex<Seen>) {
    let mut from = BufReader::new(socket.try_clone().unwrap());
    let head = head(&mut from);
    let goal = head.first().and_then(|line| line.strip_prefix("CONNECT ")).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    seen.lock().unwrap().goals.push(goal.to_owned());
    let mut socket = socket;
    if !NAMES.iter().any(|name| goal == format!("{name}:443")) {
        let _ = socket.write_all(b"HTTP/1.1 502 Nobody\r\n\r\n");
        return;
    }
    let _ = socket.write_all(b"HTTP/1.1 200 Connected\r\n\r\n");
    let (mut to, mut back) = (TcpStream::connect(server).unwrap(), socket.try_clone().unwrap());
    let mut answers = to.try_clone().unwrap();
    let forth = std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
    let _ = std::io::copy(&mut answers, &mut back);
    let _ = back.shutdown(std::net::Shutdown::Both);
    let _ = forth.join();
}

/// A certificate with a key that signs.
pub struct Signer {
    key: RsaKeyPair,
    pub pem: String,
}

impl Signer {
    pub fn new() -> Self {
        let pair = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        let pem = CertificateParams::new(vec!["sns.amazonaws.com".to_owned()]).unwrap().self_signed(&pair).unwrap().pem();
        Signer { key: RsaKeyPair::from_pkcs8(&pair.serialize_der()).unwrap(), pem }
    }

    pub fn sign(&self, text: &str) -> String {
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
        STANDARD.encode(signature)
    }

    /// A message as Amazon posts it: these fields signed, beside the address of the certificate.
    pub fn message(&self, fields: &[(&str, &str)], certificate: &str) -> String {
        let text: String = fields.iter().map(|(name, value)| [*name, "\n", *value, "\n"].concat()).collect();
        let mut message: serde_json::Map<String, serde_json::Value> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        message.insert("SignatureVersion".into(), "2".into());
        message.insert("Signature".into(), self.sign(&text).into());
        message.insert("SigningCertURL".into(), certificate.into());
        serde_json::Value::from(message).to_string()
    }
}
