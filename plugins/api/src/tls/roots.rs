//! Whom certificates are believed by where no handshake is: the roots themselves, of the system or of a file.

use super::TlsError;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, TrustAnchor};
use std::path::Path;

/// The roots that a chain of certificates must end in.
#[derive(Debug)]
pub struct Roots(RootCertStore);

impl Roots {
    /// Reads the file, or where there is none what the system believes.
    ///
    /// # Errors
    /// The file cannot be read, or this machine has no roots.
    pub fn load(ca: Option<&Path>) -> Result<Self, TlsError> {
        if let Some(path) = ca {
            return of_file(path).map(Roots);
        }
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        // Some systems list certificates of a form that nobody reads any more.
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err(rustls::Error::General("this machine has no roots".into()).into());
        }
        Ok(Roots(roots))
    }

    /// Each of them.
    pub fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.0.roots
    }
}

pub(super) fn of_file(path: &Path) -> Result<RootCertStore, TlsError> {
    let wrong = |cause: String| TlsError::Ca { path: path.display().to_string(), cause };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.to_string()))? {
        roots.add(certificate.map_err(|e| wrong(e.to_string()))?).map_err(|e| wrong(e.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("it holds no certificate".into())) } else { Ok(roots) }
}
