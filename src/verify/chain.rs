//! The chain of a certificate that was fetched: from it, through those that issued it, to a root that is believed; and whose it is (decision 22).
//!
//! A sender that serves its certificate alone has the issuer's fetched, from where the certificate itself says that it stands (RFC 5280, section 4.2.2.1), if
//! that is a host that the file or the preset allows. What comes from there proves nothing by where it came from: the chain must hold with it.

use super::Refused;
use crate::model::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::tls::Roots;
use webpki::{EndEntityCert, Error, KeyUsage};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS;

/// Certificates of a document that are looked at: the sender's own, and those that issued it.
const MOST: usize = 6;

/// Whose a certificate must be, one of these; `*` is what it is in the host that it stands at. None: anybody's.
#[derive(Debug, Clone)]
pub(super) struct Names(Box<[Box<str>]>);

impl Names {
    /// `None`: one of them is no name of a host.
    pub fn new<'n>(names: impl Iterator<Item = &'n str>) -> Option<Self> {
        let names: Box<[Box<str>]> = names.map(Box::from).collect();
        names.iter().all(|name| ServerName::try_from(name.replace('*', "x")).is_ok()).then_some(Names(names))
    }

    fn holds(&self, certificate: &EndEntityCert<'_>, place: &str) -> bool {
        let is = |name: &str| {
            let name = ServerName::try_from(name.replace('*', place));
            name.is_ok_and(|name| certificate.verify_is_valid_for_subject_name(&name).is_ok())
        };
        self.0.is_empty() || self.0.iter().any(|name| is(name))
    }
}

/// The certificates of a document (PEM), the sender's own first; none where it holds none.
pub(super) fn certificates(document: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(document).take(MOST).map_while(Result::ok).collect()
}

/// Whether the first of them is of one of these names, and leads to a root that is believed. `place`: what `*` is in a name.
pub(super) fn judge(chain: &[CertificateDer<'_>], roots: &Roots, names: &Names, place: &str, now: Timestamp) -> Result<(), Refused> {
    let (own, issuers) = chain.split_first().ok_or(Refused::BadCertificate)?;
    let certificate = EndEntityCert::try_from(own).map_err(|_| Refused::BadCertificate)?;
    let now = UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(now.0).unwrap_or(0)));
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
    // These senders sign with what a server of that name may have; a certificate that is for something else only is none of theirs.
    let usage = KeyUsage::server_auth();
    let path = certificate.verify_for_usage(algorithms, roots.anchors(), issuers, now, usage, None, None);
    path.map_err(|wrong| match wrong {
        // The second: one of that name is believed, and did not sign it.
        Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => Refused::UnknownIssuer,
        Error::CertExpired { .. } | Error::CertNotValidYet { .. } => Refused::CertificateOver,
        _ => Refused::BadCertificate,
    })?;
    if names.holds(&certificate, place) { Ok(()) } else { Err(Refused::ForeignName) }
}

/// Where the issuer of the last certificate of a document stands, as that says.
pub(super) fn issuer(document: &[u8]) -> Option<String> {
    let last = certificates(document).pop()?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&last).ok()?;
    let access = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => Some(access),
        _ => None,
    })?;
    access.accessdescs.iter().find_map(|one| match &one.access_location {
        GeneralName::URI(url) if one.access_method == OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS => Some((*url).to_owned()),
        _ => None,
    })
}

/// A document (PEM) with the issuer's certificate (DER or PEM) behind it.
pub fn with_issuer(document: &[u8], issuer: &[u8]) -> Arc<[u8]> {
    let issuer = if issuer.trim_ascii_start().starts_with(b"-----BEGIN") {
        issuer.to_vec()
    } else {
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(issuer)).into_bytes()
    };
    [document, b"\n", &issuer].concat().into()
}
