//! Certificate and key of the listener, read again while it runs.
//!
//! A pair that cannot be used never replaces one that works. The cryptography is handed in, not installed for the process.

use super::section::TlsSection;
use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
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
        let files = TlsSection { cert: base.join(&files.cert), key: base.join(&files.key) };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let current = Arc::new(Current(ArcSwap::new(pair(&files, &provider)?)));
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Setup { source })?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls { files, provider, current, config: Arc::new(config) })
    }

    /// Reads the pair again, for connections from now on. If it cannot be used the one before goes on.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.0.store(pair(&self.files, &self.provider)?);
        Ok(())
    }

    /// What a listener needs.
    pub fn config(&self) -> Arc<rustls::ServerConfig> {
        Arc::clone(&self.config)
    }

    /// The files, to watch for changes.
    pub fn files(&self) -> [&Path; 2] {
        [&self.files.cert, &self.files.key]
    }
}

fn pair(files: &TlsSection, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let TlsSection { cert, key } = files;
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
        let files = TlsSection { cert: "cert.pem".into(), key: "key.pem".into() };
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
