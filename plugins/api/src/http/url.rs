//! Where an HTTP output sends: parsed once, shown as scheme and host only (L7: the path of a chat webhook is a secret).

use crate::Secret;
use ::http::{HeaderValue, Uri};
use std::fmt;

/// An absolute `http` or `https` URL without user, password or fragment.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    https: bool,
    host: String,
    port: u16,
    authority: HeaderValue,
    path: String,
    query: Option<String>,
}

/// What is wrong with a URL. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Empty: most often a variable that is set to nothing.
    #[error("the URL is empty")]
    Empty,
    /// Not `http://` or `https://`.
    #[error("a URL starts with `https://` or `http://`")]
    Scheme,
    /// Not a URL.
    #[error("this is not a URL: it has no host, or characters that have to be percent-encoded")]
    Form,
    /// `:0`.
    #[error("nothing listens at port 0")]
    Port,
    /// User and password in the URL.
    #[error("a URL holds no user and password here: `auth` does")]
    User,
    /// `#...`
    #[error("a URL that is sent to has no `#` part")]
    Fragment,
}

impl Url {
    /// Reads an absolute URL.
    ///
    /// # Errors
    /// What is wrong with it, without quoting it.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.is_empty() {
            return Err(UrlError::Empty);
        }
        let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
        let https = lower.starts_with("https://");
        if !https && !lower.starts_with("http://") {
            return Err(UrlError::Scheme);
        }
        if text.contains('#') {
            return Err(UrlError::Fragment);
        }
        let uri: Uri = text.parse().map_err(|_| UrlError::Form)?;
        let authority = uri.authority().ok_or(UrlError::Form)?;
        if authority.as_str().contains('@') {
            return Err(UrlError::User);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let colon = authority.as_str().rsplit_once(']').map_or(authority.as_str(), |(_, rest)| rest).contains(':');
        // A `%` in a host is a zone or an encoded letter: neither is a name, and each resolver reads it in its own way.
        if host.is_empty() || host.contains('%') || (colon && authority.port_u16().is_none()) {
            return Err(UrlError::Form);
        }
        if authority.port_u16() == Some(0) {
            return Err(UrlError::Port);
        }
        Ok(Url {
            https,
            host: host.to_ascii_lowercase(),
            port: authority.port_u16().unwrap_or(if https { 443 } else { 80 }),
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| UrlError::Form)?,
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
        })
    }

    /// Whether TLS is spoken.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// The host, lower case, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path; of many a chat's webhook it is a secret, and not shown.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The query that it brings along; may be a secret too.
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The value of the `Host` header.
    pub fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    /// `host:port`, an IPv6 address in brackets.
    pub(super) fn host_and_port(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }

    /// The absolute URI of a path and query on this host.
    pub(super) fn absolute(&self, target: &Uri) -> Result<Uri, ::http::Error> {
        let scheme = if self.https { "https" } else { "http" };
        let path = target.path_and_query().map_or("/", |path| path.as_str());
        Uri::builder().scheme(scheme).authority(self.authority.as_bytes()).path_and_query(path).build()
    }

    /// Whether connections to the one serve the other: scheme, host and port are equal.
    pub(super) fn same_origin(&self, other: &Url) -> bool {
        (self.https, &self.host, self.port) == (other.https, &other.host, other.port)
    }

    /// Whether the host is this machine by name or address.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// What stands in the request's first line, with a path appended and a query parameter set where it is missing.
    ///
    /// # Errors
    /// [`UrlError::Form`] if that is no URI.
    pub fn target(&self, append: Option<&str>, parameters: &[(String, String)]) -> Result<Uri, UrlError> {
        let mut text = self.path.clone();
        if let Some(more) = append {
            text.truncate(text.trim_end_matches('/').len());
            text.push('/');
            text.push_str(more.trim_start_matches('/'));
        }
        let mut query = self.query.clone().unwrap_or_default();
        for (name, value) in parameters {
            let set = query.split('&').any(|pair| pair.split('=').next() == Some(name));
            if !set {
                let joint = if query.is_empty() { "" } else { "&" };
                query = format!("{query}{joint}{name}={value}");
            }
        }
        if !query.is_empty() {
            text.push('?');
            text.push_str(&query);
        }
        text.parse().map_err(|_| UrlError::Form)
    }

    /// The pieces of it that may be secret, longest first: an answer that echoes one is masked.
    pub fn secrets(&self) -> Vec<Secret> {
        const SHORTEST: usize = 8; // shorter pieces are words such as `hooks` and `services`
        let mut all = vec![self.path.as_str()];
        all.extend(self.query.as_deref());
        all.extend(self.path.split('/'));
        all.extend(self.query.iter().flat_map(|query| query.split('&')).filter_map(|pair| pair.split_once('=')).map(|(_, value)| value));
        all.retain(|piece| piece.len() >= SHORTEST);
        all.sort_by_key(|piece| std::cmp::Reverse(piece.len()));
        all.dedup();
        all.into_iter().map(Secret::new).collect()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority.to_str().unwrap_or(&self.host))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_url_is_taken_apart_and_shown_without_its_path() {
        let url = Url::parse("https://Hooks.Example:8443/services/T0/B0/verysecret?key=hush-hush").unwrap();
        assert_eq!((url.host(), url.port(), url.is_https()), ("hooks.example", 8443, true));
        assert_eq!(url.target(None, &[]).unwrap(), "/services/T0/B0/verysecret?key=hush-hush");
        assert_eq!(format!("{url} {url:?}"), "https://Hooks.Example:8443 https://Hooks.Example:8443");
        let secrets: Vec<_> = url.secrets().iter().map(|s| s.expose().to_owned()).collect();
        assert_eq!(secrets, ["/services/T0/B0/verysecret", "key=hush-hush", "verysecret", "hush-hush", "services"]);
    }

    #[test]
    fn hosts_of_every_spelling_have_a_port() {
        for (text, host, port, loopback) in [
            ("http://[::1]/x", "::1", 80, true),
            ("http://[::1]:81", "::1", 81, true),
            ("https://localhost", "localhost", 443, true),
            ("HTTP://10.0.0.1:8080/", "10.0.0.1", 8080, false),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.host(), url.port(), url.is_loopback()), (host, port, loopback), "{text}");
        }
    }

    #[test]
    fn what_is_no_place_to_send_to_is_refused_with_its_reason() {
        for (text, wrong) in [
            ("", UrlError::Empty),
            ("ftp://a", UrlError::Scheme),
            ("hooks.example/x", UrlError::Scheme),
            ("https://", UrlError::Form),
            ("https://:80/", UrlError::Form),
            ("https://a:port/", UrlError::Form),
            ("https://a:/", UrlError::Form),
            ("https://a:0/", UrlError::Port),
            ("https://a/ b", UrlError::Form),
            ("https://user:hush@a/", UrlError::User),
            ("https://a/#x", UrlError::Fragment),
            ("https://169.254.169%2e254/", UrlError::Form),
            ("https://[fe80::1%25eth0]/", UrlError::Form),
        ] {
            assert_eq!(Url::parse(text), Err(wrong), "{text}");
        }
    }

    #[test]
    fn a_path_is_appended_and_a_parameter_is_set_once() {
        let url = Url::parse("https://a/v2/?x=1").unwrap();
        assert_eq!(url.target(Some("/orders/7"), &[]).unwrap(), "/v2/orders/7?x=1");
        let wait = [("wait".to_owned(), "true".to_owned())];
        assert_eq!(url.target(None, &wait).unwrap(), "/v2/?x=1&wait=true");
        assert_eq!(Url::parse("https://a/?wait=false").unwrap().target(None, &wait).unwrap(), "/?wait=false");
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic_and_no_path_is_shown(text in "(https?://)?[a-z@:\\[\\]./?#%é -]{0,40}") {
            if let Ok(url) = Url::parse(&text) {
                prop_assert!(!url.to_string()[8..].contains(['/', '?', '@', '#']));
                prop_assert!(url.target(None, &[]).is_ok());
            }
        }
    }
}
