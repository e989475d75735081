//! TLS to a database server: whom one believes, and who one is. A certificate is always checked; who does not want that says `off`.

use mysql_async::{ClientIdentity, SslOpts};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use switchyard_api::tls::{Identity, TlsFiles, TlsSettings};

/// TLS of an output, as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSection {
    /// `verify`: TLS, with the server's certificate checked; `off`: none.   default: off on loopback and sockets, else verify
    #[serde(default)]
    pub mode: Option<Mode>,
    /// A PEM file of roots to believe instead of the public ones.   example: tls/db-ca.pem
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// A PEM file with our certificate, for servers that ask for one.   example: tls/switchyard.pem
    #[serde(default)]
    pub cert: Option<PathBuf>,
    /// A PEM file with its key.   example: tls/switchyard.key
    #[serde(default)]
    pub key: Option<PathBuf>,
}

/// Whether there is TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// TLS, with the server's certificate checked.
    Verify,
    /// None.
    Off,
}

impl TlsSection {
    /// The files that it names, from the folder of the configuration.
    pub fn files(&self, base: &Path) -> TlsFiles {
        let settings = TlsSettings { ca: self.ca.clone(), cert: self.cert.clone(), key: self.key.clone() };
        TlsFiles::of(None, Some(&settings), base)
    }
}

/// For MySQL, whose driver reads the files by itself, once. Without `ca` it believes Mozilla's roots.
pub fn mysql(files: TlsFiles) -> SslOpts {
    let opts = match files.ca {
        Some(ca) => SslOpts::default().with_root_certs(vec![ca.into()]).with_disable_built_in_roots(true),
        None => SslOpts::default(),
    };
    opts.with_client_identity(files.identity.map(|Identity { cert, key }| ClientIdentity::new(cert.into(), key.into())))
}
