//! What the file says of TLS: whom an output believes, and who it is.

use super::{Identity, SystemRoots, Tls, TlsError, TlsFiles};
use crate::{At, Node, Problem, Wall};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The key `tls`: files, read again when they change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct TlsSettings {
    /// A PEM file of roots to believe instead of the system's; the same as the key `ca` beside `tls`.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// A PEM file of the certificate that says who we are; with it `key`.   example: tls/client.pem
    #[serde(default)]
    pub cert: Option<PathBuf>,
    /// A PEM file of its key.   example: tls/client.key
    #[serde(default)]
    pub key: Option<PathBuf>,
}

impl TlsSettings {
    /// What is wrong with them; `ca`: whether that key stands beside them; `unused`: the scheme that the URL would have if it were
    /// encrypted, and is not.
    pub fn judge(tls: &At<Self>, ca: bool, unused: Option<&str>) -> Vec<Problem> {
        let At { span, value } = tls;
        let half = |missing: &str, there: &str| {
            Problem::error("half-certificate", *span, format!("`{there}` stands without `{missing}`"), "a certificate goes with its key")
                .help(format!("add `{missing}: tls/client.{}`", if missing == "key" { "key" } else { "pem" }))
        };
        let mut problems = vec![];
        match (&value.cert, &value.key) {
            (Some(_), None) => problems.push(half("key", "cert")),
            (None, Some(_)) => problems.push(half("cert", "key")),
            (None, None) if value.ca.is_none() => {
                let problem = Problem::error("empty-tls", *span, "`tls` says nothing", "here");
                problems.push(problem.help("write `tls: { cert: tls/client.pem, key: tls/client.key }`"));
            }
            _ => {}
        }
        if value.ca.is_some() && ca {
            problems.push(Problem::error("two-cas", *span, "`ca` is said twice", "here, and beside `tls`").help("take one of them out"));
        }
        if let Some(scheme) = unused {
            let title = format!("`tls` is set, and the URL does not start with `{scheme}://`");
            problems.push(Problem::warning("tls-unused", *span, title, "not used").help(format!("write `{scheme}://`, or take `tls` out")));
        }
        problems
    }
}

impl TlsFiles {
    /// The files that the keys `ca` and `tls` name, from the folder of the configuration.
    pub fn of(ca: Option<&Path>, tls: Option<&TlsSettings>, base: &Path) -> Self {
        let at = |path: &Path| base.join(path);
        let identity = tls.and_then(|tls| Some(Identity { cert: at(tls.cert.as_deref()?), key: at(tls.key.as_deref()?) }));
        TlsFiles { ca: ca.or(tls.and_then(|tls| tls.ca.as_deref())).map(at), identity }
    }
}

/// The PEM files that an output's settings name, with their places: `ca`, and `ca`, `cert` and `key` of `tls`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedFiles {
    ca: Option<At<PathBuf>>,
    cert: Option<At<PathBuf>>,
    key: Option<At<PathBuf>>,
}

impl NamedFiles {
    /// Finds them. Reads none.
    pub fn of(settings: &Node) -> Self {
        let path = |node: Option<&Node>| node.and_then(|node| Some(At { span: node.span, value: PathBuf::from(node.as_text()?) }));
        let tls = |name: &str| path(settings.get("tls").and_then(|tls| tls.get(name)));
        NamedFiles { ca: path(settings.get("ca")).or_else(|| tls("ca")), cert: tls("cert"), key: tls("key") }
    }

    /// Reads them, and says which one an output could not start with, at its place; `base`: the folder of the configuration.
    pub fn judge(&self, base: &Path) -> Option<Problem> {
        let At { span: anywhere, .. } = self.ca.as_ref().or(self.cert.as_ref())?;
        let at = |path: &At<PathBuf>| base.join(&path.value);
        let identity = self.cert.as_ref().zip(self.key.as_ref()).map(|(cert, key)| Identity { cert: at(cert), key: at(key) });
        let files = TlsFiles { ca: self.ca.as_ref().map(at), identity };
        // Loading asks for no time: a certificate that is over is told when it is used.
        let wrong = Tls::load(files, vec![], Wall::new(|| 0), SystemRoots::default()).err()?;
        let file = match &wrong {
            TlsError::Ca { .. } => self.ca.as_ref(),
            TlsError::Cert { .. } | TlsError::Expired { .. } => self.cert.as_ref(),
            TlsError::Key { .. } | TlsError::Pair { .. } => self.key.as_ref(),
            TlsError::Setup(_) => None,
        };
        let problem = Problem::error("bad-certificate", file.map_or(*anywhere, |file| file.span), wrong.to_string(), "here");
        Some(problem.help("check the path and its permissions; a relative path starts from this file's folder"))
    }
}
