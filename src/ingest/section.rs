//! The sections `server` and `sources` of the file. Reading touches nothing.
//!
//! `server.admin` belongs to another room, which reads it from the tree itself.

use crate::verify::section::{Form, Pick, Secrets};
use crate::verify::{self, network_of};
use ipnet::IpNet;
use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::path::PathBuf;
use switchyard_api::http::Connection;
use switchyard_api::{At, Node, Period, Problem, Secret, Size, Span, tree};

use super::room::Caps;
use super::sources::Limits;

/// `server`: where and within which bounds events arrive.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct ServerSection {
    /// Address and port to listen at. Default: 127.0.0.1:8080.
    pub listen: Option<At<String>>,
    /// Certificate and key; without them plain HTTP is spoken.
    pub tls: Option<TlsSection>,
    /// Most bytes of one body; more is answered 413. Default: 1MiB.
    pub max_body: Option<At<Size>>,
    /// Most bytes of all bodies that are being read or kept at a time; beyond it 503. Default: 64MiB.
    pub body_budget: Option<At<Size>>,
    /// Networks whose `X-Forwarded-For` is believed. Default: none.
    #[serde(default)]
    pub trusted_proxies: Vec<At<String>>,
    /// Most connections at a time; beyond it who comes takes the place of one that only waits. Default: 1024.
    pub max_connections: Option<At<u32>>,
    /// Most connections of one address (of IPv6, one /64), trusted proxies apart; beyond it they are closed. Default: 256.
    pub max_connections_per_address: Option<At<u32>>,
    /// How certificates and keys of senders are fetched, and subscriptions confirmed.
    pub fetch: Option<FetchSection>,
    /// Another room's.
    pub admin: Option<IgnoredAny>,
}

/// `server.fetch`: how senders' own hosts are reached.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct FetchSection {
    /// PEM file of roots to believe instead of the system's.
    pub ca: Option<PathBuf>,
    /// A proxy to go through.   example: http://proxy.example:3128
    pub proxy: Option<At<Secret>>,
}

/// `server.tls`: PEM files, read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TlsSection {
    /// The chain, the server's own certificate first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Who issues the certificates that senders show, for sources with `verify: mtls`.
    pub client_ca: Option<PathBuf>,
}

/// `sources.<name>`: one sender.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct SourceSection {
    /// Where it posts to. Default: `/<name>`.
    pub path: Option<At<String>>,
    /// The text of the answer, where a sender insists on one. Default: JSON with the event's id.
    pub answer: Option<String>,
    /// How it is proven: see [`verify::Section`].
    pub verify: Option<At<Form>>,
    /// The signing secret, or a list of them.
    pub secret: Option<At<Secrets>>,
    /// Where it posts to, as it is written at the sender's; for those that sign it.   example: https://hooks.example.com/square
    pub url: Option<At<String>>,
    /// What the sender shows when it is set up, and is given back its challenge for (Meta); one or a list.
    pub verify_token: Option<At<Secrets>>,
    /// Where the topic is read.
    pub topic: Option<At<Pick>>,
    /// Where the sender's id is read.
    pub id: Option<At<Pick>>,
    /// What routes may go by though the sender does not sign it: `topic`, `query`, `data`, `headers` or one of them.   default: nothing, and `check` warns   example: [topic, headers.x-shop-id]
    #[serde(default)]
    pub believe: Vec<At<String>>,
    /// The path of a list whose elements are an event each.   default: one request is one event   example: data.events
    pub each: Option<At<String>>,
    /// Paths of values that are not kept: `[redacted]` stands in their place.   example: [data.customer.iban]
    #[serde(default)]
    pub redact: Vec<At<String>>,
    /// How long a repeat is a repeat.
    pub dedupe: Option<Period>,
    /// For whom the tokens must be that its sender puts into bodies (Microsoft Graph, with resource data).   example: { audience: [APPLICATION_ID], tenant: [TENANT_ID] }
    pub tokens: Option<At<verify::section::TokensSection>>,
    /// After how many failures in a row the sender deletes the subscription.   default: as the preset knows   example: 19
    pub gives_up_after: Option<At<u32>>,
    /// People are told when no proven event came for so long (`source.silent`).   example: 6h
    pub silent_after: Option<At<Period>>,
}

/// A source with its name and where that stands.
#[derive(Debug, Clone)]
pub struct NamedSource {
    /// The key under `sources`.
    pub name: String,
    /// Where the key stands.
    pub at: Span,
    /// What stands under it.
    pub section: SourceSection,
}

/// `server`, built: what a listener needs.
#[derive(Debug, Clone)]
pub struct Server {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Files of certificate and key, as written: relative ones start at the file's folder.
    pub tls: Option<TlsSection>,
    /// Bounds of one request and of all.
    pub limits: Limits,
    /// Bounds of connections.
    pub caps: Caps,
    /// How senders' own hosts are reached.
    pub fetch: FetchSection,
}

/// Reads the sources in the order of the file. Those with problems are left out, and the problems told; also those with an unknown
/// key, since what that key was meant to say would be told as missing.
pub fn read_sources(node: &Node, problems: &mut Vec<Problem>) -> Vec<NamedSource> {
    let read = |(key, node): &(tree::Key, Node)| {
        let before = problems.len();
        let section = tree::read::<SourceSection>(node, problems)?;
        if problems.len() > before {
            return None;
        }
        Some(NamedSource { name: key.name.clone(), at: key.span, section })
    };
    node.entries().iter().filter_map(read).collect()
}

impl SourceSection {
    /// Names the list of its secrets, without telling anything of it: another one where any of them is another.
    pub(super) fn list_of_secrets(&self) -> u64 {
        let spelled = self.verify.as_ref().and_then(|verify| if let Form::Spelled(spelled) = &verify.value { Some(spelled) } else { None });
        let inside = spelled.map(|spelled| [&spelled.bearer, &spelled.token]).into_iter().flatten().flatten();
        let mut hash = Sha256::new();
        for secret in self.secret.iter().chain(inside).flat_map(|secrets| &secrets.value.0) {
            hash.update(Sha256::digest(secret.expose()));
        }
        let digest = hash.finalize();
        u64::from_be_bytes(std::array::from_fn(|at| digest[at]))
    }

    /// The part that proof is built from.
    pub fn proof(&self) -> verify::Section {
        verify::Section {
            verify: self.verify.clone(),
            secret: self.secret.clone(),
            topic: self.topic.clone(),
            url: self.url.clone(),
            verify_token: self.verify_token.clone(),
            gives_up_after: self.gives_up_after,
            tokens: self.tokens.clone(),
            id: self.id.clone(),
            believe: self.believe.clone(),
            dedupe: self.dedupe,
        }
    }
}

impl ServerSection {
    /// Checks the values. Every problem is pushed; `None` if any.
    pub fn build(&self, problems: &mut Vec<Problem>) -> Option<Server> {
        let before = problems.len();
        let listen = match &self.listen {
            None => SocketAddr::from(([127, 0, 0, 1], 8080)),
            Some(At { span, value }) => value.parse().unwrap_or_else(|_| {
                let problem = Problem::error("bad-address", *span, "this is not an address to listen at", "an address and a port");
                let port = value.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).unwrap_or(8080);
                problems.push(problem.help(format!("write `127.0.0.1:{port}`, or `0.0.0.0:{port}` for every network of this machine")));
                SocketAddr::from(([127, 0, 0, 1], 0))
            }),
        };
        let mut trusted_proxies: Vec<IpNet> = vec![];
        for At { span, value } in &self.trusted_proxies {
            match network_of(value) {
                Some(network) => trusted_proxies.push(network),
                None => problems.push(
                    Problem::error("bad-network", *span, "this is not a network", "neither an address nor a range")
                        .help("write `10.0.0.0/8`, `2001:db8::/32` or one address"),
                ),
            }
        }
        let defaults = Limits::default();
        let size = |size: &Option<At<Size>>| size.map(|at| usize::try_from(at.value.0).unwrap_or(usize::MAX));
        let limits = Limits {
            max_body: size(&self.max_body).unwrap_or(defaults.max_body),
            body_budget: size(&self.body_budget).unwrap_or(defaults.body_budget),
            trusted_proxies: trusted_proxies.into(),
        };
        if let Some(at) = self.max_body.filter(|size| size.value.0 == 0) {
            let problem = Problem::error("bad-limit", at.span, "with this no request with a body would be taken in", "nothing");
            problems.push(problem.help("write the most that one body may have, such as `1MiB`, or leave it out"));
        }
        if limits.body_budget < limits.max_body {
            let at = self.body_budget.or(self.max_body).map_or(Span::default(), |size| size.span);
            let title =
                format!("one body may have {}, all together only {}", Size(limits.max_body as u64), Size(limits.body_budget as u64));
            problems.push(
                Problem::error("bad-limit", at, title, "the largest body would never be accepted").help("raise `server.body_budget`"),
            );
        }
        let defaults = Caps::default();
        let mut count = |count: &Option<At<u32>>, default: usize| match count {
            Some(At { span, value: 0 }) => {
                problems.push(Problem::error("bad-limit", *span, "nobody could connect", "none at all").help("write at least 1"));
                default
            }
            Some(At { value, .. }) => *value as usize,
            None => default,
        };
        let caps = Caps {
            connections: count(&self.max_connections, defaults.connections),
            per_address: count(&self.max_connections_per_address, defaults.per_address),
        };
        let fetch = self.fetch.clone().unwrap_or_default();
        problems.extend(Connection { ca: fetch.ca.clone(), proxy: fetch.proxy.clone(), ..Connection::default() }.validate(None));
        (problems.len() == before).then_some(Server { listen, tls: self.tls.clone(), limits, caps, fetch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::presets::placeless;

    fn told(server: &str) -> String {
        let mut problems = vec![];
        let section: Option<ServerSection> = tree::read(&placeless(server).unwrap(), &mut problems);
        let built = section.and_then(|section| section.build(&mut problems));
        assert_eq!(built.is_some(), problems.is_empty());
        problems.iter().map(|p| format!("[{}] {}", p.id, p.title)).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_server_that_says_nothing_listens_on_loopback_within_bounds() {
        let server = ServerSection::default().build(&mut vec![]).unwrap();
        assert_eq!(server.listen, "127.0.0.1:8080".parse().unwrap());
        assert_eq!((server.limits.max_body, server.limits.body_budget), (1 << 20, 64 << 20));
        assert_eq!((server.caps.connections, server.caps.per_address), (1024, 256));
    }

    #[test]
    fn every_wrong_value_is_told() {
        assert_eq!(told("{ listen: '0.0.0.0:80', max_body: 2MiB, trusted_proxies: [10.0.0.0/8, '::1'], admin: { any: [thing] } }"), "");
        insta::assert_snapshot!(
            told("{ listen: localhost, trusted_proxies: [10.0.0.0/64, x], max_connections: 0, max_body: 1GiB, body_budget: 1MiB }"),
            @r#"
                [bad-address] this is not an address to listen at
                [bad-network] this is not a network
                [bad-network] this is not a network
                [bad-limit] one body may have 1GiB, all together only 1MiB
                [bad-limit] nobody could connect
            "#
        );
        insta::assert_snapshot!(told("{ listne: x, max_body: big, tls: { cert: a } }"), @r#"
            [unknown-key] unknown key `listne`
            [wrong-value] `big` is not a size
        "#);
    }
}
