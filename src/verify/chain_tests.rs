//! Stories about chains of certificates, with authorities that the tests make.

use super::chain::{self, Names, judge, with_issuer};
use super::{Refused, elsewhere_tests::NOW};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use std::ops::Range;
use switchyard_api::tls::Roots;

/// Years around [`NOW`], which is in 2023.
pub(super) const YEARS: Range<i32> = 2020..2040;

/// Who issues certificates: a root, or one below it.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn root() -> Self {
        Authority(CertifiedIssuer::self_signed(authority("Root", YEARS), KeyPair::generate().unwrap()).unwrap())
    }

    pub fn below(&self, years: Range<i32>) -> Self {
        Authority(CertifiedIssuer::signed_by(authority("Below", years), KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Believes this one alone.
    pub fn roots(&self) -> Roots {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), self.0.pem()).unwrap();
        Roots::load(Some(file.path())).unwrap()
    }

    /// A certificate of this key and these names, which says that its issuer's stands at `at`.
    pub fn issue(&self, key: &KeyPair, names: &[&str], years: Range<i32>, at: Option<&str>) -> String {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(years.start, 1, 1), rcgen::date_time_ymd(years.end, 1, 1));
        params.custom_extensions.extend(at.map(access));
        params.signed_by(key, &self.0).unwrap().pem()
    }
}

fn authority(name: &str, years: Range<i32>) -> CertificateParams {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.not_before, params.not_after) = (rcgen::date_time_ymd(years.start, 1, 1), rcgen::date_time_ymd(years.end, 1, 1));
    params
}

/// RFC 5280, section 4.2.2.1: the issuer's certificate stands there.
fn access(url: &str) -> CustomExtension {
    let part = |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()][..], content].concat();
    let issuers = part(0x06, &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x02]);
    let described = part(0x30, &[issuers, part(0x86, url.as_bytes())].concat());
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], part(0x30, &described))
}

fn judged(document: &str, roots: &Roots, names: &[&str], place: &str) -> Result<(), Refused> {
    judge(&chain::certificates(document.as_bytes()), roots, &Names::new(names.iter().copied()).unwrap(), place, NOW)
}

#[test]
fn a_certificate_is_believed_by_its_chain_alone() {
    let (root, stranger, key) = (Authority::root(), Authority::root(), KeyPair::generate().unwrap());
    let below = root.below(YEARS);
    let own = below.issue(&key, &["keys.example.com"], YEARS, None);
    let whole = format!("{own}{}", below.pem());
    let said = |document: &str, roots: &Roots| judged(document, roots, &["keys.example.com"], "");
    assert_eq!(said(&whole, &root.roots()), Ok(()));
    assert_eq!(said(&root.issue(&key, &["keys.example.com"], YEARS, None), &root.roots()), Ok(()), "by the root itself");
    assert_eq!(said(&whole, &stranger.roots()), Err(Refused::UnknownIssuer), "of another root");
    assert_eq!(said(&own, &root.roots()), Err(Refused::UnknownIssuer), "served alone");
    assert_eq!(said(&format!("{own}{}", root.pem()), &root.roots()), Err(Refused::UnknownIssuer), "the wrong one beside it");
    assert_eq!(said(&format!("{own}{}", stranger.below(YEARS).pem()), &root.roots()), Err(Refused::UnknownIssuer), "one of the same name");
    let over = root.below(2020..2022);
    let by_one_that_is_over = format!("{}{}", over.issue(&key, &["keys.example.com"], YEARS, None), over.pem());
    assert_eq!(said(&by_one_that_is_over, &root.roots()), Err(Refused::CertificateOver));
    let early = root.below(2030..2040);
    let by_one_that_is_early = format!("{}{}", early.issue(&key, &["keys.example.com"], YEARS, None), early.pem());
    assert_eq!(said(&by_one_that_is_early, &root.roots()), Err(Refused::CertificateOver));
    // A certificate that was issued to a host issues none.
    let host =
        CertifiedIssuer::signed_by(CertificateParams::new(vec!["evil.example.com".into()]).unwrap(), KeyPair::generate().unwrap(), &root.0);
    let host = Authority(host.unwrap());
    let by_a_host = format!("{}{}", host.issue(&key, &["keys.example.com"], YEARS, None), host.pem());
    assert!(said(&by_a_host, &root.roots()).is_err());
    assert_eq!(said("", &root.roots()), Err(Refused::BadCertificate));
}

#[test]
fn a_certificate_is_one_of_the_senders_names() {
    let (root, key) = (Authority::root(), KeyPair::generate().unwrap());
    let roots = root.roots();
    let of = |name: &str| root.issue(&key, &[name], YEARS, None);
    let names = ["sns.example.com", "sns.*.example.com", "sns-*.example.org"];
    for (name, expected) in [
        ("sns.example.com", Ok(())),
        ("sns.eu-west-1.example.com", Ok(())),
        ("sns-eu-west-1.example.org", Ok(())),
        ("sns.us-east-1.example.com", Err(Refused::ForeignName)),
        ("example.com", Err(Refused::ForeignName)),
        ("evil.example.com", Err(Refused::ForeignName)),
        ("sns.example.com.evil.example", Err(Refused::ForeignName)),
    ] {
        assert_eq!(judged(&of(name), &roots, &names, "eu-west-1"), expected, "{name}");
    }
    assert_eq!(judged(&of("anybody.example"), &roots, &[], ""), Ok(()), "nobody said whose");
    assert!(["", "a b", "a..b", "https://a.example"].iter().all(|bad| Names::new(std::iter::once(*bad)).is_none()));
}

#[test]
fn a_certificate_for_something_else_is_none_of_a_senders() {
    let (root, key) = (Authority::root(), KeyPair::generate().unwrap());
    let with = |usage: Vec<ExtendedKeyUsagePurpose>| {
        let mut params = CertificateParams::new(vec!["keys.example.com".into()]).unwrap();
        params.extended_key_usages = usage;
        judged(&params.signed_by(&key, &root.0).unwrap().pem(), &root.roots(), &["keys.example.com"], "")
    };
    assert_eq!(with(vec![ExtendedKeyUsagePurpose::ServerAuth]), Ok(()));
    assert_eq!(with(vec![ExtendedKeyUsagePurpose::EmailProtection]), Err(Refused::BadCertificate));
}

#[test]
fn one_that_is_served_alone_says_where_its_issuer_stands() {
    let (root, key) = (Authority::root(), KeyPair::generate().unwrap());
    let below = root.below(YEARS);
    let own = below.issue(&key, &["keys.example.com"], YEARS, Some("http://crt.example.com/below.cer"));
    assert_eq!(chain::issuer(own.as_bytes()).as_deref(), Some("http://crt.example.com/below.cer"));
    assert_eq!(chain::issuer(root.issue(&key, &["a.example"], YEARS, None).as_bytes()), None);
    assert_eq!(chain::issuer(b"no certificate"), None);
    let pem = below.pem();
    let der = chain::certificates(pem.as_bytes()).remove(0).to_vec();
    for issuer in [pem.as_bytes(), &der] {
        let whole = with_issuer(own.as_bytes(), issuer);
        assert_eq!(judged(std::str::from_utf8(&whole).unwrap(), &root.roots(), &["keys.example.com"], ""), Ok(()));
        assert_eq!(chain::issuer(&whole), None, "the issuer says nothing of its own");
    }
    let junk = with_issuer(own.as_bytes(), b"\x30\x03junk");
    assert_eq!(judged(std::str::from_utf8(&junk).unwrap(), &root.roots(), &["keys.example.com"], ""), Err(Refused::BadCertificate));
}
