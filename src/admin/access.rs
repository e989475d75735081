//! Who may ask: Host and Origin name this machine or the configured address, and the token is right.
//!
//! The Host check closes DNS rebinding: a page elsewhere can make a browser connect here, but not forge this header.

use crate::model::equal;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HOST, ORIGIN};
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use switchyard_api::Secret;

/// What a request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    Write,
    /// Look only.
    Read,
    /// Only what needs no token: health.
    None,
    /// Sent to a name that is not ours.
    WrongHost,
}

/// The rules of one admin listener.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Allows everything.
    pub token: Secret,
    /// Allows looking.
    pub read_token: Option<Secret>,
}

impl Rules {
    /// What a request with these headers may do.
    pub fn access(&self, headers: &HeaderMap) -> Access {
        let ours = |name: Option<&str>| name.is_some_and(|name| self.is_ours(name));
        if !ours(headers.get(HOST).and_then(|value| value.to_str().ok())) {
            return Access::WrongHost;
        }
        if let Some(origin) = headers.get(ORIGIN)
            && !ours(origin.to_str().ok().and_then(|text| text.split_once("://")).map(|(_, name)| name))
        {
            return Access::WrongHost;
        }
        let Some(given) = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer ")) else {
            return Access::None;
        };
        if same(given, &self.token) {
            Access::Write
        } else if self.read_token.as_ref().is_some_and(|token| same(given, token)) {
            Access::Read
        } else {
            Access::None
        }
    }

    fn is_ours(&self, authority: &str) -> bool {
        let host =
            authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(authority, |(host, _)| host);
        let listen = self.listen.ip().to_string();
        let name = host.trim_start_matches('[').trim_end_matches(']');
        ["localhost", "127.0.0.1", "::1"].contains(&name)
            || name == listen
            || (self.listen.ip().is_unspecified() && name.parse::<std::net::IpAddr>().is_ok())
    }
}

/// In constant time: the digests are compared, so not even the length leaks.
fn same(given: &str, token: &Secret) -> bool {
    let digest = |text: &str| Sha256::digest(text.as_bytes());
    !token.expose().is_empty() && equal(&digest(given), &digest(token.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(host: &str, origin: Option<&str>, token: Option<&str>) -> Access {
        let rules = Rules { listen: ([127, 0, 0, 1], 8081).into(), token: Secret::new("write"), read_token: Some(Secret::new("read")) };
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        }
        rules.access(&headers)
    }

    #[test]
    fn a_token_opens_what_it_is_for() {
        assert_eq!(access("127.0.0.1:8081", None, Some("write")), Access::Write);
        assert_eq!(access("localhost:8081", None, Some("read")), Access::Read);
        assert_eq!(access("[::1]:8081", None, Some("wrong")), Access::None);
        assert_eq!(access("localhost", None, None), Access::None);
    }

    #[test]
    fn a_page_elsewhere_gets_nothing_even_with_a_token() {
        assert_eq!(access("evil.example:8081", None, Some("write")), Access::WrongHost);
        assert_eq!(access("127.0.0.1:8081", Some("https://evil.example"), Some("write")), Access::WrongHost);
        assert_eq!(access("127.0.0.1:8081", Some("http://127.0.0.1:8081"), Some("write")), Access::Write);
        assert_eq!(access("127.0.0.1.evil.example", None, Some("write")), Access::WrongHost);
    }
}
