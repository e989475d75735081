//! AWS Signature Version 4 (docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
//!
//! Signed anew at every attempt, with `host`, `content-type` and every `x-amz-` header. Where our clock is off by too much for
//! the far side, its `Date` says by how much: remembered, and the request repeated once.

use super::{AuthError, checked, filled};
use crate::Secret;
use crate::http::answer::Answer;
use crate::http::client::Request;
use ::hmac::{Hmac, KeyInit, Mac};
use ::http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;

use super::place::{decoded, encoded_but};

/// Headers that are signed where they are sent, beside `host` and `x-amz-…`.
const SIGNED: [&str; 4] = ["content-md5", "content-type", "date", "range"];
/// What the far side calls a clock that is off.
const SKEWED: [&str; 3] = ["RequestTimeTooSkewed", "Signature expired", "Signature not yet current"];

/// Keys and where they are good.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sigv4 {
    /// The key's id.
    pub access_key: Secret,
    /// The key.
    pub secret_key: Secret,
    /// For keys that are good for a while only.
    #[serde(default)]
    pub session_token: Option<Secret>,
    /// Such as `eu-west-1`.
    pub region: String,
    /// Such as `sqs`.
    pub service: String,
}

impl Sigv4 {
    pub(super) fn check(&self) -> Result<(), AuthError> {
        checked("access_key", self.access_key.expose())?;
        filled("secret_key", self.secret_key.expose())?;
        checked("region", &self.region)?;
        checked("service", &self.service)?;
        if let Some(token) = &self.session_token {
            checked("session_token", token.expose())?;
        }
        Ok(())
    }

    pub(super) fn secrets(&self) -> Vec<Secret> {
        std::iter::once(self.secret_key.clone()).chain(self.session_token.clone()).collect()
    }

    /// Signs a request to that host, at that time in seconds since 1970.
    pub(super) fn sign(&self, request: &mut Request, host: &HeaderValue, body: &[u8], seconds: i64) -> Result<(), AuthError> {
        let at = Timestamp::from_second(seconds).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = at.get(..8).unwrap_or_default();
        let body_hash = hex::encode(Sha256::digest(body));
        set(request, "x-amz-date", &at)?;
        if let Some(token) = &self.session_token {
            set(request, "x-amz-security-token", token.expose())?;
        }
        if self.is_s3() {
            set(request, "x-amz-content-sha256", &body_hash)?;
        }
        let headers = signed_headers(request, host);
        let names = headers.keys().map(String::as_str).collect::<Vec<_>>().join(";");
        let lines = headers.iter().fold(String::new(), |mut lines, (name, value)| {
            // Writing to a text cannot fail.
            let _ = writeln!(lines, "{name}:{value}");
            lines
        });
        let (path, query) = (self.path(request.uri().path()), query(request.uri().query().unwrap_or_default()));
        let canonical = format!("{}\n{path}\n{query}\n{lines}\n{names}\n{body_hash}", request.method());
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
        let signature = hex::encode(mac(&self.key(day), text.as_bytes()));
        let id = self.access_key.expose();
        let proof = format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
        set(request, AUTHORIZATION.as_str(), &proof)
    }

    /// The signing key of that day, region and service.
    fn key(&self, day: &str) -> Vec<u8> {
        let first = mac(format!("AWS4{}", self.secret_key.expose()).as_bytes(), day.as_bytes());
        let regional = mac(&first, self.region.as_bytes());
        mac(&mac(&regional, self.service.as_bytes()), b"aws4_request")
    }

    fn is_s3(&self) -> bool {
        matches!(self.service.as_str(), "s3" | "s3-outposts" | "s3express")
    }

    /// The path as it is signed: S3 takes it as it is, all others without dots and encoded once more.
    fn path(&self, path: &str) -> String {
        if self.is_s3() {
            return encoded_but(&decoded(path), b"/");
        }
        let mut parts: Vec<&str> = vec![];
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => _ = parts.pop(),
                part => parts.push(part),
            }
        }
        let end = if path.ends_with('/') && !parts.is_empty() { "/" } else { "" };
        encoded_but(format!("/{}{end}", parts.join("/")).as_bytes(), b"/")
    }
}

/// How far the far side's clock is ahead of ours, in milliseconds, where that is why it refuses.
pub(super) fn skew(answer: &Answer, now: i64) -> Option<i64> {
    if !matches!(answer.status.as_u16(), 400 | 401 | 403) {
        return None;
    }
    let body = String::from_utf8_lossy(&answer.body);
    let theirs = answer.headers.get("date").and_then(|date| date.to_str().ok()).and_then(crate::http::answer::after::date)?;
    SKEWED.iter().any(|code| body.contains(code)).then_some(theirs - now)
}

fn set(request: &mut Request, name: &'static str, text: &str) -> Result<(), AuthError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| AuthError::Characters("key"))?;
    value.set_sensitive(true);
    request.headers_mut().insert(HeaderName::from_static(name), value);
    Ok(())
}

/// Names in order and values with single spaces; several values of a name with commas.
fn signed_headers(request: &Request, host: &HeaderValue) -> BTreeMap<String, String> {
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    let plain = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).split_whitespace().collect::<Vec<_>>().join(" ");
    headers.insert("host".into(), plain(host));
    for (name, value) in request.headers() {
        if SIGNED.contains(&name.as_str()) || name.as_str().starts_with("x-amz-") {
            let value = plain(value);
            headers.entry(name.to_string()).and_modify(|all| *all = format!("{all},{value}")).or_insert(value);
        }
    }
    headers
}

/// Parameters in order, encoded as AWS does.
fn query(query: &str) -> String {
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut pairs: Vec<(String, String)> =
        pairs.map(|(name, value)| (encoded_but(&decoded(name), b""), encoded_but(&decoded(value), b""))).collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    // HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return vec![] };
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::Full;

    /// 2015-08-30T12:36:00Z, and 2013-05-24T00:00:00Z
    const SUITE: i64 = 1_440_938_160;
    const S3: i64 = 1_369_353_600;

    fn keys(service: &str) -> Sigv4 {
        // The keys of AWS's own examples.
        let (id, key) = match service {
            "s3" => ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            _ => ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        };
        let (access_key, secret_key) = (Secret::new(id), Secret::new(key));
        Sigv4 { access_key, secret_key, session_token: None, region: "us-east-1".into(), service: service.into() }
    }

    fn proof(keys: &Sigv4, method: &str, target: &str, headers: &[(&str, &str)], body: &str, host: &str, at: i64) -> String {
        let mut request = ::http::Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
        keys.sign(&mut request, &HeaderValue::from_str(host).unwrap(), body.as_bytes(), at).unwrap();
        request.headers()[AUTHORIZATION].to_str().unwrap().to_owned()
    }

    #[test]
    fn the_published_suite_is_signed_as_published() {
        // aws-sig-v4-test-suite: get-vanilla, post-vanilla, get-vanilla-query-order-key-case, get-vanilla-utf8-query, get-unreserved,
        // normalize-path/get-slash and get-relative, post-x-www-form-urlencoded.
        let unreserved = "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let form = [("content-type", "application/x-www-form-urlencoded")];
        for (method, target, headers, body, signature) in [
            ("GET", "/", &[][..], "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("POST", "/", &[], "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
            ("GET", "/?Param2=value2&Param1=value1", &[], "", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
            ("GET", "/?%E1%88%B4=bar", &[], "", "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
            ("GET", unreserved, &[], "", "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"),
            ("GET", "//", &[], "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("GET", "/example/..", &[], "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("POST", "/", &form, "Param1=value1", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"),
        ] {
            let signed = if headers.is_empty() { "host;x-amz-date" } else { "content-type;host;x-amz-date" };
            let expected = format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={signed}, Signature={signature}"
            );
            assert_eq!(proof(&keys("service"), method, target, headers, body, "example.amazonaws.com", SUITE), expected, "{target}");
        }
    }

    #[test]
    fn the_published_examples_of_services_are_signed_as_published() {
        // IAM ListUsers (the signing walk-through), and S3's GET Object and PUT Object.
        let kind = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
        let iam = proof(&keys("iam"), "GET", "/?Action=ListUsers&Version=2010-05-08", &kind, "", "iam.amazonaws.com", SUITE);
        assert!(iam.ends_with("Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"), "{iam}");
        let host = "examplebucket.s3.amazonaws.com";
        let get = proof(&keys("s3"), "GET", "/test.txt", &[("range", "bytes=0-9")], "", host, S3);
        assert!(get.ends_with("Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"), "{get}");
        let headers = [("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
        let put = proof(&keys("s3"), "PUT", "/test%24file.text", &headers, "Welcome to Amazon S3.", host, S3);
        assert!(put.ends_with("Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"), "{put}");
    }

    #[test]
    fn a_path_is_encoded_once_more_but_for_s3() {
        assert_eq!(keys("sqs").path("/a%20b/./c/"), "/a%2520b/c/");
        assert_eq!(keys("s3").path("/a%20b/./c$"), "/a%20b/./c%24");
    }

    #[test]
    fn a_session_token_is_signed() {
        let with = Sigv4 { session_token: Some(Secret::new("made-up")), ..keys("sqs") };
        let proof = proof(&with, "POST", "/", &[], "", "sqs.eu-west-1.amazonaws.com", SUITE);
        assert!(proof.contains("SignedHeaders=host;x-amz-date;x-amz-security-token,"), "{proof}");
    }

    #[test]
    fn a_clock_that_is_off_is_told_from_a_wrong_key() {
        let answer = |status: u16, body: &str| Answer {
            status: status.try_into().unwrap(),
            headers: [("date", "Sun, 30 Aug 2015 12:36:00 GMT")]
                .into_iter()
                .map(|(n, v)| (n.parse::<HeaderName>().unwrap(), v.parse().unwrap()))
                .collect(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            whole: true,
        };
        let ours = (SUITE - 900) * 1000;
        assert_eq!(skew(&answer(403, "<Code>RequestTimeTooSkewed</Code>"), ours), Some(900_000));
        assert_eq!(skew(&answer(403, "<Code>SignatureDoesNotMatch</Code>"), ours), None);
        assert_eq!(skew(&answer(200, "RequestTimeTooSkewed"), ours), None);
    }
}
