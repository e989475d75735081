//! Certificate and key of the listener, read again while it runs.
//!
//! A pair that cannot be used never replaces one that works. The cryptography is handed in, not installed for the process.

use super::section::TlsSection;
use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why certificate and key cannot be used. Names the file, quotes nothing of it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read, or is not PEM.
    #[error("cannot read {what} `{}`", path.display())]
    Read {
        /// Certificate or key.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// The certificate's file holds none.
    #[error("there is no certificate in `{}`", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// They do not belong together, or are of a kind that is not supported.
    #[error("certificate `{}` and key `{}` cannot be used together", cert.display(), key.display())]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The cryptography offers nothing that TLS needs.
    #[error("cannot offer TLS")]
    Setup {
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// The listener's TLS.
pub struct Tls {
    files: TlsSection,
    provider: Arc<CryptoProvider>,
    current: Arc<Current>,
    clients: Option<Arc<Clients>>,
    config: Arc<rustls::ServerConfig>,
}

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Tls {
    /// Reads the pair; `base` is the folder that relative paths start from.
    pub fn load(files: &TlsSection, base: &Path) -> Result<Self, TlsError> {
        let client_ca = files.client_ca.as_ref().map(|file| base.join(file));
        let files = TlsSection { cert: base.join(&files.cert), key: base.join(&files.key), client_ca };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let current = Arc::new(Current(ArcSwap::new(pair(&files, &provider)?)));
        let verifier = |file| verifier(file, &provider).map(|verifier| Arc::new(Clients(ArcSwap::new(Arc::new(verifier)))));
        let clients = files.client_ca.as_deref().map(verifier).transpose()?;
        let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Setup { source })?;
        let config = match &clients {
            Some(clients) => config.with_client_cert_verifier(Arc::clone(clients) as Arc<dyn ClientCertVerifier>),
            None => config.with_no_client_auth(),
        };
        let mut config = config.with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls { files, provider, current, clients, config: Arc::new(config) })
    }

    /// Reads the pair again, for connections from now on. If it cannot be used the one before goes on.
    pub fn reload(&self) -> Result<(), TlsError> {
        let pair = pair(&self.files, &self.provider)?;
        if let (Some(clients), Some(file)) = (&self.clients, &self.files.client_ca) {
            clients.0.store(Arc::new(verifier(file, &self.provider)?));
        }
        self.current.0.store(pair);
        Ok(())
    }

    /// What a listener needs.
    pub fn config(&self) -> Arc<rustls::ServerConfig> {
        Arc::clone(&self.config)
    }

    /// The files, to watch for changes.
    pub fn files(&self) -> Vec<&Path> {
        [&self.files.cert, &self.files.key].into_iter().chain(&self.files.client_ca).map(PathBuf::as_path).collect()
    }
}

/// Proves the certificates of those that show one; who shows none is for the source to judge.
struct Clients(ArcSwap<Arc<dyn ClientCertVerifier>>);

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clients")
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        false
    }
    // None: they may change while a handshake borrows them. A client then shows the one it has.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.0.load().verify_client_cert(end_entity, intermediates, now)
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.load().verify_tls12_signature(message, cert, signature)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.load().verify_tls13_signature(message, cert, signature)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.load().supported_verify_schemes()
    }
}

fn verifier(file: &Path, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let read = |source| TlsError::Read { what: "client_ca", path: file.to_owned(), source };
    let issuers = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(read)?;
    let mut roots = RootCertStore::empty();
    if roots.add_parsable_certificates(issuers).0 == 0 {
        return Err(TlsError::Empty { path: file.to_owned() });
    }
    let built = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).allow_unauthenticated().build();
    built.map_err(|why| TlsError::Setup { source: rustls::Error::General(why.to_string()) })
}

fn pair(files: &TlsSection, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let TlsSection { cert, key, .. } = files;
    let read = |what, path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Read { what, path, source }
    };
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(read("certificate", cert))?;
    if chain.is_empty() {
        return Err(TlsError::Empty { path: cert.clone() });
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(read("key", key))?;
    CertifiedKey::from_der(chain, private, provider).map(Arc::new).map_err(|source| TlsError::Pair {
        cert: cert.clone(),
        key: key.clone(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;
    use std::fs;

    fn write(folder: &Path, cert: &rcgen::Certificate, key: &rcgen::KeyPair) {
        fs::write(folder.join("cert.pem"), cert.pem()).unwrap();
        fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    }

    fn made() -> (rcgen::Certificate, rcgen::KeyPair) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert, made.signing_key)
    }

    fn shown(tls: &Tls) -> Vec<u8> {
        tls.current.0.load().cert[0].to_vec()
    }

    #[test]
    fn a_pair_is_read_again_and_a_bad_one_never_replaces_a_good_one() {
        let folder = tempfile::tempdir().unwrap();
        let files = TlsSection { cert: "cert.pem".into(), key: "key.pem".into(), client_ca: None };
        assert!(matches!(Tls::load(&files, folder.path()), Err(TlsError::Read { what: "certificate", .. })));
        let ((first, first_key), (second, second_key)) = (made(), made());
        write(folder.path(), &first, &first_key);
        let tls = Tls::load(&files, folder.path()).unwrap();
        assert_eq!(shown(&tls), first.der().to_vec());

        write(folder.path(), &second, &first_key);
        let wrong = tls.reload().unwrap_err();
        assert!(matches!(wrong, TlsError::Pair { .. }) && wrong.source().is_some(), "{wrong}");
        fs::write(folder.path().join("cert.pem"), "").unwrap();
        assert!(matches!(tls.reload(), Err(TlsError::Empty { .. })));
        fs::write(folder.path().join("key.pem"), "-----BEGIN PRIVATE KEY-----\nAAAA").unwrap();
        write(folder.path(), &second, &second_key);
        fs::write(folder.path().join("key.pem"), "-----BEGIN PRIVATE KEY-----\nmade up, cut\n").unwrap();
        let wrong = tls.reload().unwrap_err();
        assert!(matches!(wrong, TlsError::Read { what: "key", .. }), "{wrong}");
        assert!(!format!("{wrong} {:?}", wrong.source()).contains("made up"));
        assert_eq!(shown(&tls), first.der().to_vec(), "the first goes on");

        write(folder.path(), &second, &second_key);
        tls.reload().unwrap();
        assert_eq!(shown(&tls), second.der().to_vec());
    }
}
