//! A certificate for `localhost` that a test's server shows and a test's client believes, and those by which servers know clients.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::path::{Path, PathBuf};

/// Where the two files are.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate (PEM), which is its own root.
    pub cert: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
}

impl Certificate {
    /// Makes one in the folder.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn make(folder: &Path) -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        let files = Certificate { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
        std::fs::write(&files.cert, made.cert.pem())?;
        std::fs::write(&files.key, made.signing_key.serialize_pem())?;
        Ok(files)
    }
}

/// Writes what a server that asks for certificates, and clients with and without the right one, are told of: `authority.pem`,
/// which the server believes; `ours.pem` and `ours.key`, which it signed; `strangers.pem` and `strangers.key`, which it did not.
/// Gives back the first's path.
///
/// # Errors
/// The files cannot be written.
pub fn clients(folder: &Path) -> anyhow::Result<PathBuf> {
    let (believed, unknown) = (authority("made-up authority")?, authority("another authority")?);
    for (name, authority) in [("ours", &believed), ("strangers", &unknown)] {
        let mut parameters = CertificateParams::new(vec![name.to_owned()])?;
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        std::fs::write(folder.join(name).with_extension("pem"), parameters.signed_by(&key, authority)?.pem())?;
        std::fs::write(folder.join(name).with_extension("key"), key.serialize_pem())?;
    }
    let file = folder.join("authority.pem");
    std::fs::write(&file, believed.pem())?;
    Ok(file)
}

fn authority(name: &str) -> anyhow::Result<CertifiedIssuer<'static, KeyPair>> {
    let mut parameters = CertificateParams::new(vec![])?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(DnType::CommonName, name);
    Ok(CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?)
}
