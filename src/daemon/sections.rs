//! The sections that no other room owns: `server.admin` and `egress`.

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use std::net::{IpAddr, SocketAddr};
use switchyard_api::{At, Problem, Secret};

/// The admin side.
#[derive(Debug, Clone, Deserialize)]
pub struct AdminSection {
    /// Where it listens.   default: 127.0.0.1:8081
    #[serde(default = "admin_listen", deserialize_with = "address")]
    pub listen: At<SocketAddr>,
    /// Allows everything; on loopback one is made if none is given.
    #[serde(default)]
    pub token: Option<At<Secret>>,
    /// Allows looking only.
    #[serde(default)]
    pub read_token: Option<At<Secret>>,
    /// Where people reach it: a text that was cut to fit a chat links to its event there.   example: `https://sy.shop.example`
    #[serde(default)]
    pub url: Option<At<String>>,
}

fn admin_listen() -> At<SocketAddr> {
    At { span: switchyard_api::Span::default(), value: SocketAddr::from(([127, 0, 0, 1], 8081)) }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<At<SocketAddr>, D::Error> {
    let At { span, value } = At::<String>::deserialize(deserializer)?;
    let address = value
        .parse()
        .map_err(|_| D::Error::custom("this is not an address to listen at: write `127.0.0.1:8081`, an address and a port"))?;
    Ok(At { span, value: address })
}

impl AdminSection {
    /// The public address, without a slash at its end.
    pub fn base(&self) -> Option<String> {
        self.url.as_ref().map(|url| url.value.trim_end_matches('/').to_owned())
    }

    /// Off loopback a token is a must, and none may be empty.
    pub fn check(&self, problems: &mut Vec<Problem>) -> bool {
        let before = problems.len();
        if self.token.is_none() && !self.listen.value.ip().is_loopback() {
            problems.push(
                Problem::error(
                    "open-admin",
                    self.listen.span,
                    "the admin side listens beyond this machine without a token",
                    "reachable from elsewhere",
                )
                .help("add `token: \"${ADMIN_TOKEN}\"`, or listen on 127.0.0.1"),
            );
        }
        for token in self.token.iter().chain(&self.read_token).filter(|token| token.value.expose().len() < 8) {
            problems.push(
                Problem::error("weak-token", token.span, "the token is shorter than 8 characters", "too easy to guess")
                    .help("make one with `openssl rand -hex 32`"),
            );
        }
        for url in self.url.iter().filter(|url| !is_base(&url.value)) {
            problems.push(
                Problem::error("bad-url", url.span, "this is not the address of a site", "here")
                    .help("write `https://HOST` or `https://HOST/PATH`, without `?`, `#`, a user or blanks"),
            );
        }
        problems.len() == before
    }
}

/// Whom values of events may reach; what the file itself names may be anybody.
#[derive(Debug, Clone, Deserialize)]
pub struct EgressSection {
    /// Networks that are not public and yet may be reached.   example: [10.1.0.0/16]
    #[serde(default)]
    pub allow: Vec<At<String>>,
}

impl EgressSection {
    /// The networks; a single address is one.
    pub fn build(&self, problems: &mut Vec<Problem>) -> Option<Vec<IpNet>> {
        let before = problems.len();
        let mut allow = vec![];
        for At { span, value } in &self.allow {
            match value.parse().ok().or_else(|| value.parse().ok().map(|address: IpAddr| address.into())) {
                Some(network) => allow.push(network),
                None => problems.push(
                    Problem::error("bad-network", *span, "this is not a network", "neither an address nor a range")
                        .help("write `10.1.0.0/16`, `fd12:3456::/32` or one address"),
                ),
            }
        }
        (problems.len() == before).then_some(allow)
    }
}

/// Whether `/api/…` behind it is an address: it stands in messages, so it holds nothing that any markup acts on.
fn is_base(url: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/".contains(c);
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric()) && rest.chars().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_address_is_plain() {
        for (url, good) in [
            ("https://sy.shop.example", true),
            ("http://10.0.0.1:8081/switchyard/", true),
            ("sy.shop.example", false),
            ("https://", false),
            ("https://u:p@sy.shop.example", false),
            ("https://sy.shop.example?x", false),
            ("https://sy.shop.example/)[x", false),
            ("javascript://x", false),
        ] {
            assert_eq!(is_base(url), good, "{url}");
        }
    }
}
