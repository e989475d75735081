//! TLS for outputs: rustls with aws-lc-rs, the system's roots or a file of one's own, a client certificate where asked.
//!
//! Files are looked at again whenever a connection is opened: a changed one is read then, and nobody watches. A certificate and
//! a key that do not fit are most often two files of which one is written already: what was read before stays until they do.
//!
//! Never skips a check. A client certificate that is over or cannot be read is an error with its path, which holds the backlog.

mod roots;
mod settings;
mod validity;

pub use roots::Roots;
pub use settings::{NamedFiles, TlsSettings};

use crate::Wall;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, InconsistentKeys};
use rustls_platform_verifier::Verifier;
use std::error::Error;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;
use tokio_rustls::TlsConnector;
use validity::not_after;
pub use validity::validity;

/// The files of TLS, as paths that can be opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM file of roots to believe instead of the system's.
    pub ca: Option<PathBuf>,
    /// Who we are.
    pub identity: Option<Identity>,
}

/// A client certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// PEM file of the certificate, those that signed it below it.
    pub cert: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
}

/// Whom an output believes, and who it is.
///
/// What is offered in the handshake besides (ALPN, RFC 7301) is said when it is made: nothing, but for HTTP.
#[derive(Clone)]
pub struct Tls(Arc<Source>);

/// Whom the system believes: read when it is first asked for, and then shared by all that were lent it, for it takes 100 KiB and milliseconds.
#[derive(Clone, Default)]
pub struct SystemRoots(Arc<OnceLock<Arc<Verifier>>>);

struct Source {
    files: TlsFiles,
    protocols: Vec<Vec<u8>>,
    system: SystemRoots,
    /// Without one no certificate is over.
    wall: Option<Wall>,
    loaded: Mutex<Loaded>,
}

/// What was read, and from which state of the files.
#[derive(Clone)]
struct Loaded {
    config: Arc<ClientConfig>,
    stamps: Vec<Stamp>,
    /// Until when the client certificate is valid, milliseconds since 1970.
    not_after: Option<i64>,
}

/// What changes when a file does; `None` if it is not there.
type Stamp = Option<(Option<SystemTime>, u64, u64)>;

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
    /// The client certificate cannot be read.
    #[error("the client certificate `{path}` cannot be read (PEM): {cause}")]
    Cert {
        /// The file.
        path: String,
        /// Why.
        cause: String,
    },
    /// Its key cannot be read.
    #[error("the client certificate's key `{path}` cannot be read (PEM): {cause}")]
    Key {
        /// The file.
        path: String,
        /// Why.
        cause: String,
    },
    /// They are not a pair.
    #[error("the key `{key}` is not that of the client certificate `{cert}`")]
    Pair {
        /// The certificate's file.
        cert: String,
        /// The key's file.
        key: String,
    },
    /// The client certificate is over.
    #[error("the client certificate `{path}` expired at {at}: put a new one there")]
    Expired {
        /// The file.
        path: String,
        /// When.
        at: jiff::Timestamp,
    },
    /// No roots on this machine, or a provider without what we need.
    #[error("TLS cannot be set up: {0}; install the system's certificates (`ca-certificates`) or set `ca:`")]
    Setup(#[from] rustls::Error),
}

impl Tls {
    /// Reads the files now, and again when they change; without `ca` whom the system believes is believed. A client certificate that is over by the wall clock is no error here but
    /// one at the next connection.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn load(files: TlsFiles, protocols: Vec<Vec<u8>>, wall: Wall, system: SystemRoots) -> Result<Self, TlsError> {
        let loaded = Mutex::new(files.load(&protocols, &system)?);
        Ok(Tls(Arc::new(Source { files, protocols, system, wall: Some(wall), loaded })))
    }

    /// Believes what the system believes, and says nothing of who we are.
    ///
    /// # Errors
    /// No roots on this machine.
    pub fn of_system(protocols: Vec<Vec<u8>>) -> Result<Self, TlsError> {
        let (files, system) = (TlsFiles::default(), SystemRoots::default());
        let loaded = Mutex::new(files.load(&protocols, &system)?);
        Ok(Tls(Arc::new(Source { files, protocols, system, wall: None, loaded })))
    }

    /// What the next connection is made with, the files as they are now.
    ///
    /// # Errors
    /// A file cannot be read any more, or the client certificate is over: nothing can be sent until that is mended.
    pub async fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        if self.0.files == TlsFiles::default() {
            return Ok(Arc::clone(&self.0.lock().config));
        }
        let source = Arc::clone(&self.0);
        let fresh = tokio::task::spawn_blocking(move || source.fresh()).await;
        fresh.map_err(|_| rustls::Error::General("reading its files was broken off".into()))?
    }

    /// [`config`](Self::config), ready for a stream.
    ///
    /// # Errors
    /// As there.
    pub async fn connector(&self) -> Result<TlsConnector, TlsError> {
        self.config().await.map(TlsConnector::from)
    }
}

impl SystemRoots {
    fn verifier(&self, provider: Arc<CryptoProvider>) -> Result<Arc<Verifier>, rustls::Error> {
        if let Some(verifier) = self.0.get() {
            return Ok(Arc::clone(verifier));
        }
        let read = Arc::new(Verifier::new(provider)?);
        // Whoever else read them meanwhile read the same.
        Ok(Arc::clone(self.0.get_or_init(|| read)))
    }
}

impl std::fmt::Debug for SystemRoots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SystemRoots")
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Source {
    fn fresh(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let mut loaded = self.lock().clone();
        if self.files.stamps() != loaded.stamps {
            match self.files.load(&self.protocols, &self.system) {
                Ok(new) => loaded = new,
                // One of the two is not written yet; they are looked at again for the next connection.
                Err(TlsError::Pair { .. }) => {}
                Err(wrong) => return Err(wrong),
            }
            *self.lock() = loaded.clone();
        }
        let over = |at: &i64| self.wall.as_ref().is_some_and(|wall| wall.millis() > *at);
        if let (Some(identity), Some(at)) = (&self.files.identity, loaded.not_after.filter(over)) {
            let at = jiff::Timestamp::from_millisecond(at).unwrap_or(jiff::Timestamp::MIN);
            return Err(TlsError::Expired { path: identity.cert.display().to_string(), at });
        }
        Ok(loaded.config)
    }

    /// Nobody panics while holding it.
    fn lock(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TlsFiles {
    fn stamps(&self) -> Vec<Stamp> {
        let stamp = |path: &PathBuf| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.modified().ok(), found.len(), found.ino()))
        };
        self.ca.iter().chain(self.identity.iter().flat_map(|identity| [&identity.cert, &identity.key])).map(stamp).collect()
    }

    fn load(&self, protocols: &[Vec<u8>], system: &SystemRoots) -> Result<Loaded, TlsError> {
        // Before the content: what is written meanwhile is read again.
        let stamps = self.stamps();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let builder = match &self.ca {
            Some(path) => builder.with_root_certificates(roots::of_file(path)?),
            // What rustls calls dangerous is that the verifier is not its own; this is the one it recommends.
            None => builder.dangerous().with_custom_certificate_verifier(system.verifier(provider)?),
        };
        let (mut config, not_after) = match &self.identity {
            None => (builder.with_no_client_auth(), None),
            Some(identity) => {
                let (chain, key) = identity.read()?;
                let until = chain.first().and_then(|leaf| not_after(leaf));
                let config = builder.with_client_auth_cert(chain, key).map_err(|wrong| identity.unfit(&wrong))?;
                (config, until)
            }
        };
        config.alpn_protocols = protocols.to_vec();
        Ok(Loaded { config: Arc::new(config), stamps, not_after })
    }
}

impl Identity {
    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let wrong = |cause: String| TlsError::Cert { path: self.cert.display().to_string(), cause };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&self.cert).map_err(|e| wrong(e.to_string()))?.collect();
        let chain = chain.map_err(|e| wrong(e.to_string()))?;
        if chain.is_empty() {
            return Err(wrong("it holds no certificate".into()));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key);
        Ok((chain, key.map_err(|e| TlsError::Key { path: self.key.display().to_string(), cause: e.to_string() })?))
    }

    fn unfit(&self, wrong: &rustls::Error) -> TlsError {
        let (cert, key) = (self.cert.display().to_string(), self.key.display().to_string());
        match wrong {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::Pair { cert, key },
            rustls::Error::InvalidCertificate(cause) => TlsError::Cert { path: cert, cause: cause.to_string() },
            other => TlsError::Key { path: key, cause: other.to_string() },
        }
    }
}

/// The name that the far side's certificate must bear.
pub(crate) fn server_name(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).ok()
}

/// Whether a handshake failed because one of the two did not believe or understand the other: people must mend that, and waiting
/// does not.
pub fn is_refusal(cause: &io::Error) -> bool {
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage, PeerIncompatible};
    of_tls(cause).is_some_and(|error| matches!(error, InvalidCertificate(_) | AlertReceived(_) | PeerIncompatible(_) | InvalidMessage(_)))
}

/// Why a handshake failed, for a person: a far side that answers something else speaks no TLS.
pub fn plain(cause: &io::Error) -> String {
    match of_tls(cause) {
        Some(rustls::Error::InvalidMessage(_)) => "it speaks no TLS there; is it the right port?".to_owned(),
        _ => cause.to_string(),
    }
}

/// Whether the far side broke off because of who we are: it says so after its own half of the handshake (TLS 1.3), when we may have
/// sent already; what we sent it has not read.
pub fn refuses_us(error: &(dyn Error + 'static)) -> bool {
    use rustls::AlertDescription as Alert;
    let Some(rustls::Error::AlertReceived(alert)) = of_tls(error) else { return false };
    matches!(
        alert,
        Alert::HandshakeFailure
            | Alert::DecryptError
            | Alert::CertificateRequired
            | Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
    )
}

/// What TLS says in an error, however deep: a stream's error hides it from `source`, and some libraries share theirs.
fn of_tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        let error: &'a (dyn Error + 'static) = match error.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
            Some(shared) => &**shared,
            None => error,
        };
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let told = inner.and_then(|inner| inner.downcast_ref()).or_else(|| error.downcast_ref());
        if told.is_some() {
            return told;
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_the_system_believes_is_read_once_for_all_that_are_lent_it() {
        let system = SystemRoots::default();
        assert!(system.0.get().is_none());
        let load = || Tls::load(TlsFiles::default(), vec![], Wall::new(|| 0), system.clone()).unwrap();
        let (_one, _two) = (load(), load());
        // Here, and in the settings of each.
        assert_eq!(system.0.get().map(Arc::strong_count), Some(3));
    }
}
