//! Documents with keys that stand at other hosts: which address a request may name, and what is taken from a certificate (decision 22).
//!
//! Does: judges addresses, asks for documents through a seam, reads a certificate's key. Never: opens a connection, believes an address of any other
//! host, scheme, port or shape than the file or the preset allows.

use super::chain::{self, Names};
use super::key::Key;
use super::pick::Pick;
use super::section::PublicKey;
use super::{Refused, Request};
use crate::model::Timestamp;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use std::fmt;
use std::sync::Arc;
use switchyard_api::tls::{Roots, validity};

/// The longest address.
const LONGEST_URL: usize = 1_024;

/// Where a document stands that may be asked for: `https` (an issuer's certificate, which its chain proves, also `http`), an allowed host, nothing but a path. Only
/// judged addresses become one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address(Box<str>);

/// Gets documents from other hosts, each within a bound of size and time, and keeps some.
pub trait Documents: Send + Sync {
    /// The document there. One that is kept already is given at once; with `fresh` only if it came within the last minute.
    fn document<'a>(&'a self, at: &'a Address, fresh: bool) -> BoxFuture<'a, Result<Arc<[u8]>, NotThere>>;
    /// Asks for it once, for what that does there.
    fn visit<'a>(&'a self, at: &'a Address) -> BoxFuture<'a, Result<(), NotThere>>;
    /// What the chain of a certificate must end in.
    fn roots(&self) -> BoxFuture<'_, Result<Arc<Roots>, NotThere>>;
}

/// Why a document can't be had now: one line for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotThere {
    /// Its host can't be reached, or does not give it.
    #[error("{0}")]
    Failed(String),
    /// As many wait for documents as may.
    #[error("as many requests wait for certificates as may")]
    Busy,
}

/// Nobody is asked: where nothing is connected to, as in `check`.
pub struct NoDocuments;

impl Documents for NoDocuments {
    fn document<'a>(&'a self, _: &'a Address, _: bool) -> BoxFuture<'a, Result<Arc<[u8]>, NotThere>> {
        Box::pin(std::future::ready(Err(NotThere::Failed("nothing is fetched here".into()))))
    }
    fn visit<'a>(&'a self, _: &'a Address) -> BoxFuture<'a, Result<(), NotThere>> {
        Box::pin(std::future::ready(Err(NotThere::Failed("nothing is visited here".into()))))
    }
    fn roots(&self) -> BoxFuture<'_, Result<Arc<Roots>, NotThere>> {
        Box::pin(std::future::ready(Err(NotThere::Failed("nothing is read here".into()))))
    }
}

impl Address {
    /// An address that the file names itself; `None`: it is not `https://HOST/PATH`.
    pub fn of_file(text: &str) -> Option<Self> {
        let (host, _) = split(text, Shape::Document)?;
        (!host.is_empty()).then(|| Address(text.into()))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Hosts that a request may name; `*` in one is a label.
#[derive(Debug, Clone)]
pub(super) struct Hosts(Box<[Box<str>]>);

impl Hosts {
    /// `None`: one of them is no such pattern, or would allow a whole top-level domain, or there is none.
    pub fn new<'h>(patterns: impl Iterator<Item = &'h str>) -> Option<Self> {
        let label = |label: &str| label == "*" || is_label(label);
        let good = |pattern: &str| {
            let fixed = pattern.rsplit('.').take(2).filter(|label| *label != "*" && !label.is_empty()).count();
            fixed == 2 && pattern.split('.').all(label)
        };
        let patterns: Box<[Box<str>]> = patterns.map(Box::from).collect();
        (!patterns.is_empty() && patterns.iter().all(|pattern| good(pattern))).then_some(Hosts(patterns))
    }

    /// A document's address: no query.
    pub fn document(&self, text: &str) -> Option<Address> {
        self.place(text).map(|_| Address(text.into()))
    }

    /// Whether a document may be there, and then which label of its host is `*`; empty where none is.
    pub fn place<'t>(&self, text: &'t str) -> Option<&'t str> {
        self.judged(text, Shape::Document)
    }

    /// An address that is visited: with a query.
    pub fn visit(&self, text: &str) -> Option<Address> {
        self.judged(text, Shape::Visit).map(|_| Address(text.into()))
    }

    /// The address of an issuer's certificate: without TLS, as those stand, or with it.
    pub fn issuer(&self, text: &str) -> Option<Address> {
        self.judged(text, Shape::Issuer).map(|_| Address(text.into()))
    }

    fn judged<'t>(&self, text: &'t str, shape: Shape) -> Option<&'t str> {
        let (host, _) = split(text, shape)?;
        let fits = |pattern: &str| {
            let (labels, pattern) = (host.split('.'), pattern.split('.'));
            let same = labels.clone().count() == pattern.clone().count();
            let mut pairs = labels.zip(pattern);
            (same && pairs.clone().all(|(label, part)| part == "*" || part == label))
                .then(|| pairs.find(|(_, part)| *part == "*").map_or("", |(label, _)| label))
        };
        self.0.iter().find_map(|pattern| fits(pattern))
    }
}

/// What an address is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Document,
    Visit,
    Issuer,
}

/// Host and the rest of an address in the one form that is taken, so that no two readers of it can disagree.
fn split(text: &str, shape: Shape) -> Option<(&str, &str)> {
    let plain = (shape == Shape::Issuer).then(|| text.strip_prefix("http://")).flatten();
    let (host, path) = plain.or_else(|| text.strip_prefix("https://")).filter(|_| text.len() <= LONGEST_URL)?.split_once('/')?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-".contains(&b) || (shape == Shape::Visit && b"?=&:%+~".contains(&b));
    let dotted = path.split(['/', '?']).any(|step| step == ".." || step == ".");
    (host.split('.').all(is_label) && path.bytes().all(plain) && !dotted).then_some((host, path))
}

fn is_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !label.is_empty() && label.len() <= 63 && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
}

/// A certificate whose address stands in the request.
pub(super) struct Certificate {
    /// Where in the request.
    pub at: Pick,
    pub hosts: Hosts,
    /// Whose it must be.
    pub names: Names,
    /// Where an issuer's certificate may be fetched that the sender's own was served without.
    pub issuers: Option<Hosts>,
    /// What the signature is made with.
    pub kind: PublicKey,
}

impl Certificate {
    /// Where this request's certificate stands.
    pub fn place(&self, headers: &HeaderMap, body: &[u8]) -> Result<Address, Refused> {
        let text = self.at.read_once(headers, body)?;
        self.hosts.document(&text).ok_or(Refused::ForeignCertificate)
    }

    /// Its key, if it is valid at this moment.
    pub fn key(&self, document: Option<&[u8]>, now: Timestamp) -> Result<Key, Refused> {
        // Of a chain the sender's own comes first.
        let chain = chain::certificates(document.unwrap_or_default());
        let certificate = chain.first().ok_or(Refused::BadCertificate)?;
        let (first, last) = validity(certificate).ok_or(Refused::BadCertificate)?;
        if now.0 < first || now.0 > last {
            return Err(Refused::CertificateOver);
        }
        let parsed = webpki::EndEntityCert::try_from(certificate).map_err(|_| Refused::BadCertificate)?;
        Key::public(self.kind, parsed.subject_public_key_info().as_ref()).ok_or(Refused::BadCertificate)
    }

    /// Whether the certificate is the sender's. Costs some signatures, so it is asked once its key proved the request.
    pub fn believe(&self, request: &Request<'_>, body: &[u8], now: Timestamp) -> Result<(), Refused> {
        let text = self.at.read_once(request.headers, body)?;
        let place = self.hosts.place(&text).ok_or(Refused::ForeignCertificate)?;
        let roots = request.roots.ok_or(Refused::UnknownIssuer)?;
        chain::judge(&chain::certificates(request.document.unwrap_or_default()), roots, &self.names, place, now)
    }

    /// Where the certificate of the issuer stands that this document is served without.
    pub fn issuer(&self, document: &[u8]) -> Option<Address> {
        self.issuers.as_ref()?.issuer(&chain::issuer(document)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sns() -> Hosts {
        Hosts::new(["sns.*.amazonaws.com", "sns.*.amazonaws.com.cn"].into_iter()).unwrap()
    }

    #[test]
    fn only_an_allowed_host_in_one_form_is_asked() {
        let hosts = sns();
        for good in [
            "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123.pem",
            "https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-0123.pem",
        ] {
            assert_eq!(hosts.document(good).map(|place| place.to_string()).as_deref(), Some(good));
        }
        for bad in [
            "http://sns.eu-west-1.amazonaws.com/a.pem",
            "HTTPS://sns.eu-west-1.amazonaws.com/a.pem",
            "https://sns.eu-west-1.amazonaws.com:8443/a.pem",
            "https://sns.eu-west-1.amazonaws.com",
            "https://sns.eu-west-1.amazonaws.com.evil.example/a.pem",
            "https://evil.example/sns.eu-west-1.amazonaws.com/a.pem",
            "https://sns.eu-west-1.amazonaws.com@evil.example/a.pem",
            "https://evil.example#sns.eu-west-1.amazonaws.com/a.pem",
            "https://evil.example\\sns.eu-west-1.amazonaws.com/a.pem",
            "https://sns.a.b.amazonaws.com/a.pem",
            "https://sns..amazonaws.com/a.pem",
            "https://sns.eu-west-1.amazonaws.com./a.pem",
            "https://SNS.eu-west-1.amazonaws.com/a.pem",
            "https://sns.eu-west-1.amazonaws.com/a.pem?x=1",
            "https://sns.eu-west-1.amazonaws.com/../a.pem",
            "https://sns.eu-west-1.amazonaws.com/%2e%2e/a.pem",
            "https://sns.eu-west-1.amazonaws.com/a b.pem",
            "https://sns.eu-west-1.amazonaws.com/a\nb.pem",
            "https://127.0.0.1/a.pem",
            "",
        ] {
            assert_eq!(hosts.document(bad), None, "{bad}");
        }
        let confirm =
            "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:eu-west-1:123456789012:T&Token=23";
        assert!(hosts.visit(confirm).is_some() && hosts.document(confirm).is_none());
        assert!(hosts.visit("https://evil.example/?Action=ConfirmSubscription").is_none());
        let issuers = Hosts::new(["*.amazontrust.com"].into_iter()).unwrap();
        assert!(issuers.issuer("http://crt.r2m01.amazontrust.com/r2m01.cer").is_none(), "`*` is one label");
        assert!(
            issuers.issuer("http://crt.amazontrust.com/r2m01.cer").is_some() && issuers.issuer("https://crt.amazontrust.com/a").is_some()
        );
        assert!(issuers.issuer("http://crt.amazontrust.com:8080/a").is_none() && issuers.issuer("http://169.254.169.254/a").is_none());
        assert!(issuers.document("http://crt.amazontrust.com/a").is_none());
        for pattern in ["*", "*.com", "com", "a.*", "a..b", "A.b", "", "a b.c"] {
            assert!(Hosts::new([pattern].into_iter()).is_none(), "{pattern}");
        }
        assert!(Hosts::new(std::iter::empty()).is_none());
    }

    proptest! {
        #[test]
        fn whatever_is_taken_is_at_an_allowed_host(text in "(https://)?[a-z.@:/#?%\\\\ -]{0,20}(sns\\.[a-z]{1,4}\\.amazonaws\\.com)?[a-z.@:/#?%\\\\ -]{0,20}") {
            if let Some(place) = sns().visit(&text) {
                let url = switchyard_api::http::Url::parse(place.as_str()).unwrap();
                prop_assert!(url.is_https() && url.port() == 443);
                prop_assert!(url.host().starts_with("sns.") && url.host().ends_with(".amazonaws.com"), "{}", url.host());
            }
        }
    }
}
