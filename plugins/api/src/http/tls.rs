//! TLS for outputs: rustls with aws-lc-rs, the system's roots or a file of one's own. Never skips a check.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// Whom an output believes.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of roots cannot be read.
    #[error("`{path}` cannot be read as certificates (PEM): {cause}")]
    Ca {
        /// The file.
        path: String,
        /// Why.
        cause: String,
    },
    /// No roots on this machine, or a provider without what we need.
    #[error("TLS cannot be set up: {0}; install the system's certificates (`ca-certificates`) or set `ca:`")]
    Setup(#[from] rustls::Error),
}

impl Tls {
    /// Believes what the system believes; with `ca` only the certificates in that PEM file.
    ///
    /// # Errors
    /// Why that cannot be.
    pub fn new(ca: Option<&Path>) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = match ca {
            Some(path) => builder.with_root_certificates(roots(path)?).with_no_client_auth(),
            None => builder.with_platform_verifier()?.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls(Arc::new(config)))
    }

    pub(super) fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.0))
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

/// The name that the far side's certificate must bear.
pub(super) fn server_name(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).ok()
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let wrong = |cause: String| TlsError::Ca { path: path.display().to_string(), cause };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.to_string()))? {
        roots.add(certificate.map_err(|e| wrong(e.to_string()))?).map_err(|e| wrong(e.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("it holds no certificate".into())) } else { Ok(roots) }
}
