//! The sections that no other room owns: `server.admin`, and what of `journal` says where it is.

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use std::net::SocketAddr;
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
        problems.len() == before
    }
}
