//! Certificates of the tests' servers: one root, and a certificate for 127.0.0.1.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::io::Write;
use std::sync::OnceLock;

pub struct Pem {
    pub ca: String,
    pub cert: String,
    pub key: String,
}

/// What the servers of this binary show.
pub fn pem() -> &'static Pem {
    static PEM: OnceLock<Pem> = OnceLock::new();
    PEM.get_or_init(fresh)
}

/// A root that nobody knows, and a certificate of it.
pub fn fresh() -> Pem {
    let mut root = CertificateParams::new(vec![]).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &root).unwrap();
    Pem { ca: root.pem(), cert: cert.pem(), key: key.serialize_pem() }
}

pub fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}
