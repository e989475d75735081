//! Senders' own hosts on this machine: a TLS server with a certificate of a self-made issuer for their names, and a proxy that leads those names to
//! it and no other name anywhere.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, IsCa, KeyPair};
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
    Bytes(Vec<u8>),
    /// Once this can be locked.
    Held(Arc<Mutex<()>>, String),
    Status(u16),
    /// Reads the request, and says nothing.
    Silence,
    /// Half of it, and then the end.
    Half(String),
    /// Half of it, and then nothing until who asked is tired of it.
    Slow(String),
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
    /// The issuer of the server's certificate, and of its signers', as PEM.
    pub ca: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
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
            let (pages, seen) = (Arc::clone(&pages), Arc::clone(&seen));
            move |socket| tunnel(socket, &server, &pages, &seen)
        });
        Host { proxy: format!("http://{proxy}"), ca: issuer.pem(), issuer, pages, seen }
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
    give(stream, &head, pages, seen);
}

/// The answer to a request of this head.
fn give(mut stream: BufReader<impl Read + Write>, head: &[String], pages: &Mutex<BTreeMap<String, Page>>, seen: &Mutex<Seen>) {
    let Some(path) = head.first().and_then(|line| line.split(' ').nth(1)).map(str::to_owned) else { return };
    seen.lock().unwrap().paths.push(path.clone());
    let page = pages.lock().unwrap().get(&path).cloned().unwrap_or(Page::Status(404));
    let is_slow = matches!(page, Page::Slow(_));
    let (status, body) = match page {
        Page::Text(text) => (200, text.into_bytes()),
        Page::Bytes(bytes) => (200, bytes),
        Page::Held(until, text) => {
            drop(until.lock().unwrap());
            (200, text.into_bytes())
        }
        Page::Status(status) => (status, vec![]),
        Page::Silence => {
            // Until who asked is tired of it.
            let _ = stream.read(&mut [0]);
            return;
        }
        Page::Half(text) | Page::Slow(text) => {
            let _ = write!(stream.get_mut(), "HTTP/1.1 200 X\r\ncontent-length: {}\r\n\r\n{}", text.len(), &text[..text.len() / 2]);
            let _ = stream.get_mut().flush();
            if is_slow {
                let _ = stream.read(&mut [0]);
            }
            return;
        }
    };
    let _ = write!(stream.get_mut(), "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.get_mut().write_all(&body);
    let _ = stream.get_mut().flush();
}

fn tunnel(socket: TcpStream, server: &str, pages: &Mutex<BTreeMap<String, Page>>, seen: &Mutex<Seen>) {
    let mut from = BufReader::new(socket.try_clone().unwrap());
    let head = head(&mut from);
    // Without TLS the proxy is asked for the page itself.
    if head.first().is_some_and(|line| line.starts_with("GET http://")) {
        give(from, &head, pages, seen);
        return;
    }
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

impl Host {
    /// One whose certificate is served with its chain: of the root itself.
    pub fn signer(&self, name: &str) -> Signer {
        Signer::by(&self.issuer, name, None)
    }

    /// One whose certificate was issued by another authority that the root made, which is told by its years and stands at this URL.
    pub fn signer_below(&self, name: &str, until: i32, url: &str) -> (Signer, Vec<u8>) {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, format!("Below {url}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(until, 1, 1));
        let below = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.issuer).unwrap();
        (Signer::by(&below, name, Some(url)), below.der().to_vec())
    }
}

impl Signer {
    /// Of a root that nobody knows.
    pub fn of_a_stranger(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self::by(&CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap(), name, None)
    }

    fn by(issuer: &CertifiedIssuer<'static, KeyPair>, name: &str, url: Option<&str>) -> Self {
        let pair = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.custom_extensions.extend(url.map(access));
        let pem = params.signed_by(&pair, issuer).unwrap().pem();
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

/// Says where the issuer's certificate stands (RFC 5280, section 4.2.2.1).
fn access(url: &str) -> CustomExtension {
    let part = |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()][..], content].concat();
    let issuers = part(0x06, &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x02]);
    let described = part(0x30, &[issuers, part(0x86, url.as_bytes())].concat());
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], part(0x30, &described))
}
