//! What the file says of an output's connections: roots, client certificate, proxy, version of HTTP.
//!
//! An output takes the keys into its own settings one by one, so that each keeps its place in the file, makes a [`Connection`] of
//! them, and gets its problems and its [`Client`] from there.

use super::client::{Client, Limits};
use super::proxy::{Proxy, ProxyError};
use super::url::Url;
use super::version::Version;
use crate::egress::names_metadata;
use crate::tls::{Tls, TlsError, TlsFiles, TlsSettings};
use crate::{At, Kit, Problem, Secret, Span};
use std::path::PathBuf;

/// The connections of one output, as the file has them.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// The key `ca`.
    pub ca: Option<PathBuf>,
    /// The key `tls`.
    pub tls: Option<At<TlsSettings>>,
    /// The key `proxy`: `http://user:password@host:port`.
    pub proxy: Option<At<Secret>>,
    /// The key `http`.
    pub http: Version,
}

/// Why there can be no client. `Display` is one line without secrets.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The proxy is none.
    #[error("`proxy`: {0}")]
    Proxy(#[from] ProxyError),
}

impl Connection {
    /// What is wrong with the settings, and with a URL (which stands at `at`) as a place to connect to. Touches nothing.
    pub fn validate(&self, url: Option<(&Url, Span)>) -> Vec<Problem> {
        let mut problems = vec![];
        if let Some((url, at)) = url.filter(|(url, _)| names_metadata(url.host())) {
            let title = format!("`{}` is a cloud's metadata service", url.host());
            problems.push(Problem::error("metadata-url", at, title, "no output may reach it").help("write the URL of the destination"));
        }
        if let Some(tls) = &self.tls {
            let unused = url.is_some_and(|(url, _)| !url.is_https()).then_some("https");
            problems.extend(TlsSettings::judge(tls, self.ca.is_some(), unused));
        }
        if let Some(proxy) = &self.proxy {
            problems.extend(judge_proxy(proxy));
        }
        problems
    }

    /// What must never be shown, even where the far side echoes it.
    pub fn secrets(&self) -> Vec<Secret> {
        let proxy = self.proxy.as_ref().and_then(|proxy| Proxy::parse(proxy.value.expose()).ok());
        proxy.map(|proxy| proxy.secrets()).unwrap_or_default()
    }

    /// A client for the URL's host. Reads the files, and connects at the first call.
    ///
    /// # Errors
    /// A file cannot be read, or the proxy is none.
    pub fn client(&self, url: Url, limits: Limits, kit: &Kit) -> Result<Client, ClientError> {
        let proxy = self.proxy.as_ref().map(|proxy| Proxy::parse(proxy.value.expose())).transpose()?;
        let files = TlsFiles::of(self.ca.as_deref(), self.tls.as_ref().map(|tls| &tls.value), &kit.base);
        let says = self.ca.is_some() || self.tls.is_some() || url.is_https();
        let tls = says.then(|| Tls::load(files, self.http.protocols(), kit.wall.clone(), kit.roots.clone())).transpose()?;
        Ok(Client::with(url, tls, proxy, self.http, kit.egress.clone(), limits))
    }
}

fn judge_proxy(proxy: &At<Secret>) -> Option<Problem> {
    const HELP: &str =
        "write `proxy: \"http://proxy.example:3128\"`, with credentials `\"http://${PROXY_USER}:${PROXY_PASSWORD}@proxy.example:3128\"`";
    let proxy_url = match Proxy::parse(proxy.value.expose()) {
        Err(wrong) => return Some(Problem::error("bad-proxy", proxy.span, wrong.to_string(), "here").help(HELP)),
        Ok(proxy) => proxy,
    };
    let host = proxy_url.url().host();
    names_metadata(host).then(|| {
        Problem::error("metadata-url", proxy.span, format!("`{host}` is a cloud's metadata service"), "no output may reach it").help(HELP)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(connection: &Connection, url: &str) -> Vec<(&'static str, usize)> {
        let url = Url::parse(url).unwrap();
        let at = Span { start: 1, end: 2 };
        connection.validate(Some((&url, at))).into_iter().map(|problem| (problem.id, problem.at.start)).collect()
    }
    fn at<T>(value: T) -> At<T> {
        At { span: Span { start: 7, end: 9 }, value }
    }
    fn tls(ca: Option<&str>, cert: Option<&str>, key: Option<&str>) -> Connection {
        let path = |path: Option<&str>| path.map(PathBuf::from);
        Connection { tls: Some(at(TlsSettings { ca: path(ca), cert: path(cert), key: path(key) })), ..Connection::default() }
    }

    #[test]
    fn what_is_wrong_is_said_at_its_place() {
        assert_eq!(told(&Connection::default(), "https://a.example/"), []);
        assert_eq!(told(&Connection::default(), "http://169.254.169.254/latest"), [("metadata-url", 1)]);
        assert_eq!(told(&Connection::default(), "http://0xA9FEA9FE/latest"), [("metadata-url", 1)]);
        assert_eq!(told(&tls(None, Some("a"), Some("b")), "https://a/"), []);
        assert_eq!(told(&tls(None, Some("a"), None), "https://a/"), [("half-certificate", 7)]);
        assert_eq!(told(&tls(Some("c"), None, Some("b")), "https://a/"), [("half-certificate", 7)]);
        assert_eq!(told(&tls(None, None, None), "https://a/"), [("empty-tls", 7)]);
        assert_eq!(told(&tls(Some("c"), None, None), "http://a/"), [("tls-unused", 7)]);
        assert_eq!(told(&Connection { ca: Some("c".into()), ..tls(Some("c"), None, None) }, "https://a/"), [("two-cas", 7)]);
        let proxy = |text: &str| Connection { proxy: Some(at(Secret::new(text))), ..Connection::default() };
        assert_eq!(told(&proxy("http://u:hush@proxy.example:3128"), "https://a/"), []);
        assert_eq!(told(&proxy("https://proxy.example"), "https://a/"), [("bad-proxy", 7)]);
        assert_eq!(told(&proxy("http://metadata.google.internal"), "https://a/"), [("metadata-url", 7)]);
    }

    #[test]
    fn nothing_shows_the_proxys_password() {
        let connection = Connection { proxy: Some(at(Secret::new("http://u:hush-hush@proxy.example:3128"))), ..Connection::default() };
        let kit = Kit::new("shop", "/nowhere", "switchyard/0", crate::Wall::new(|| 0));
        let client = connection.client(Url::parse("http://a.example/").unwrap(), Limits::default(), &kit).unwrap();
        assert!(!format!("{connection:?} {client:?} {:?}", connection.validate(None)).contains("hush"));
        assert!(connection.secrets().iter().any(|secret| secret.expose() == "hush-hush"));
    }

    #[test]
    fn a_version_is_a_word_or_a_number() {
        for (written, version) in
            [("\"auto\"", Some(Version::Auto)), ("\"1\"", Some(Version::One)), ("\"2\"", Some(Version::Two)), ("\"3\"", None)]
        {
            assert_eq!(serde_json::from_str::<Version>(written).ok(), version, "{written}");
        }
        let number = crate::Node { span: Span::default(), value: crate::Value::Int(2) };
        assert_eq!(crate::tree::read::<Version>(&number, &mut vec![]), Some(Version::Two));
    }
}
