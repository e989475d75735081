//! `type: http`: sends each delivery as one HTTP request; and the chat destinations that are a shape over it.
//!
//! ```yaml
//! shipper:
//!   type: http
//!   url: https://api.shipper.example/v2/orders   # no user, no password in it
//!   method: POST                                 # or PUT, PATCH, DELETE, GET
//!   auth: { bearer: "${SHIPPER_TOKEN}" }         # or basic, header, query, oauth2, login, google, sigv4, digest, hmac: docs/credentials.md
//!   sign: { secret: "${SHIPPER_SIGNING}" }       # Standard Webhooks; a list while rotating
//!   ca: tls/shipper-ca.pem                       # believe these roots, and not the system's
//!   tls: { cert: tls/shop.pem, key: tls/shop.key }   # a client certificate; read again when it changes
//!   proxy: "http://${PROXY_USER}:${PROXY_PASSWORD}@proxy.example:3128"   # the environment is not asked
//!   http: auto                                   # HTTP/2 where TLS offers it; or 1, or 2 (without TLS: by prior knowledge)
//!   gzip: true                                   # send bodies as gzip
//!   ok: { status: 200, json: { /ok: true } }     # what a 2xx must say besides
//!   body: '{"order": "{{ data.id }}"}'           # message: without it the event's exact bytes
//!   headers: { X-Shop: "{{ data.shop }}" }       # message
//!   path: "orders/{{ data.id }}"                 # message: appended to the URL's path
//! ```
//!
//! Values in `path` are one percent-encoded segment each, never empty or only dots. Values in `body` are escaped for JSON within quotes;
//! outside of them write `{{ data.x|tojson }}`; a `body` is sent as `application/json` unless `headers` says otherwise. Without one
//! the payload goes out as it came: the transform's result, or the event's exact bytes with its content type.
//!
//! Every request carries `Switchyard-Event`, `Switchyard-Delivery` (the stable id), `Switchyard-Attempt`, on replays
//! `Switchyard-Replay`, and `Idempotency-Key` equal to the delivery id unless `headers` sets it. Those of `sign` are
//! `webhook-id`, `webhook-timestamp` and `webhook-signature`. In a request of a `batch` the first two list the ids of up to 50 deliveries
//! (of more, `Switchyard-Delivery` is the request's id and no event is named), the attempt is the highest of them, and `Idempotency-Key`
//! and `webhook-id` are the request's id: `batch_` and a hash of the ids of its deliveries, so the same ones make the same.
//!
//! A redirect is not followed. Connections are kept and used again.
//!
//! | what happens | outcome |
//! | --- | --- |
//! | no address, no connection, no TLS handshake in 5 s, or in `timeout` if that is less; the proxy is not there or says 5xx; 503 | down |
//! | a certificate is refused, ours is over or cannot be read; the proxy refuses us; a cloud's metadata service; 401, 403, 404, 407, 410, 501, 505; a redirect | misconfigured |
//! | 408, 425, 429, other 5xx; 2xx and `ok` does not hold; a `lookup` whose answer does not say whether it is there | retry, honouring Retry-After |
//! | other 4xx; 404 and 410 where the message has a `path`; a header with a line end; a `body` for `application/json` that is none; an empty value that a `lookup` asks for | rejected |
//! | sent, and no answer in `timeout`, or the connection was lost | unknown |
//! | other 2xx | delivered |
//!
//! Besides: `ok`, `otherwise`, `map` and `after` (what answers mean), `once` (where the delivery's id goes), `lookup` (asked before
//! a repeat; it may use the message field `reference`), `batch` (several in one request), `cloudevents: binary | structured | batch`,
//! `query`. Their words are those of `presets/README.md`.
//!
//! `slack`, `discord`, `mattermost` and the others are rows of a table, one file each in `presets/`: their settings, fields,
//! escaping, bodies, success tests and rates are data. What the file says wins over the row. Their URLs are secrets: nothing
//! shows more of one than scheme and host.
//!
//! Never: retries by itself, follows a redirect, shows a secret (L7), lets a value become a header, a path upwards or a
//! mention (L8). Proven by `tests/real.rs` and `tests/presets.rs`.

mod assemble;
mod batch;
mod body;
mod cloudevents;
mod field;
mod json_text;
mod judge;
mod lookup;
mod members;
mod once;
mod output;
mod preset;
mod preview;
mod request;
mod settings;
mod target;
mod template;
mod texts;

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use switchyard_api::escape::Escape;
use switchyard_api::http::answer::{After, Case, Means, Test};
use switchyard_api::http::{Auth, Connection, Secrets, Signer, Version, url::UrlError};
use switchyard_api::tls::TlsSettings;
use switchyard_api::{
    AnyKind, At, Confine, ConnectError, Defaults, Field, Kind, Kit, Login, Node, Parcel, Preview, Problem, Secret, Shape, Total, Written,
    kind,
};

use assemble::{Address, Assembly};
use preset::{OnUnknown, Preset};

pub use output::HttpOutput;

/// Settings of an HTTP output. What the file says wins over what a destination's row says.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// Where to, with `https://` or `http://`, without user and password. Treated as a secret.
    #[serde(default)]
    pub url: Option<At<Secret>>,
    /// Another scheme and host than the row's, such as a sandbox or a gateway.   example: https://api-sandbox.example
    #[serde(default)]
    pub server: Option<At<Secret>>,
    /// How it is called.   default: POST
    #[serde(default)]
    pub method: Option<Method>,
    /// Query parameters that are set where the URL does not.
    #[serde(default)]
    pub query: At<BTreeMap<String, template::Text>>,
    /// Credentials: `bearer`, `basic`, `header`, `query`, `oauth2`, `login`, `google`, `sigv4`, `digest` or `hmac`.
    #[serde(default)]
    pub auth: Option<At<Auth>>,
    /// Signs every request as Standard Webhooks says.
    #[serde(default)]
    pub sign: Option<Sign>,
    /// A PEM file of roots to believe instead of the system's.   example: tls/shipper-ca.pem
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// A client certificate and its key; read again when they change.
    #[serde(default)]
    pub tls: Option<At<TlsSettings>>,
    /// The way out: `http://host:port`, or with `user:password@` before the host. The environment is not asked.
    #[serde(default)]
    pub proxy: Option<At<Secret>>,
    /// `auto` (HTTP/2 where TLS offers it), `1` or `2`.   default: auto
    #[serde(default)]
    pub http: Version,
    /// Sends bodies as gzip; a signature is over what is sent.   default: false
    #[serde(default)]
    pub gzip: bool,
    /// What a 2xx must say besides to count as a success.
    #[serde(default)]
    pub ok: Option<At<Test>>,
    /// What a 2xx is that does not say so.   default: retry
    #[serde(default)]
    pub otherwise: Option<Means>,
    /// What answers mean where the table says something else: the first case that applies.
    #[serde(default)]
    pub map: At<Vec<Case>>,
    /// Where an answer says how long to wait, beside Retry-After.
    #[serde(default)]
    pub after: Option<After>,
    /// Where the delivery's id goes, so that a repeat is recognised.   default: the header `Idempotency-Key`
    #[serde(default)]
    pub once: Option<At<once::Once>>,
    /// What is asked before a delivery is sent again.
    #[serde(default)]
    pub lookup: Option<At<lookup::Lookup>>,
    /// How several deliveries go in one request.
    #[serde(default)]
    pub batch: Option<At<batch::Batch>>,
    /// Sends CloudEvents: `binary`, `structured` or `batch`.
    #[serde(default)]
    pub cloudevents: Option<cloudevents::Mode>,
    /// The settings of the destination's row.
    #[serde(skip)]
    own: settings::Own,
}

/// How requests are signed.
#[derive(Debug, Clone, Deserialize)]
pub struct Sign {
    /// `whsec_…`, or a list while one replaces another.
    pub secret: At<Secrets>,
}

/// How a destination is called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// `POST`.
    #[default]
    Post,
    /// `PUT`.
    Put,
    /// `PATCH`.
    Patch,
    /// `DELETE`.
    Delete,
    /// `GET`; sends no body unless `body` is set.
    Get,
}

impl Method {
    fn http(self) -> http::Method {
        match self {
            Method::Post => http::Method::POST,
            Method::Put => http::Method::PUT,
            Method::Patch => http::Method::PATCH,
            Method::Delete => http::Method::DELETE,
            Method::Get => http::Method::GET,
        }
    }
}

/// `http`, or a destination that is a shape over it.
#[derive(Debug, Clone, Default)]
pub struct Http(Option<Arc<Preset>>);

/// `http` and every preset.
pub fn kinds() -> Vec<Arc<dyn AnyKind>> {
    std::iter::once(Http::default()).chain(presets()).map(kind::any).collect()
}

/// Every preset, by name.
pub fn presets() -> Vec<Http> {
    // Part of this build, not of its input.
    let presets = preset::all().expect("`every_preset_is_well_written` proves it");
    presets.into_iter().map(|preset| Http(Some(Arc::new(preset)))).collect()
}

impl Kind for Http {
    type Config = Config;
    type Output = HttpOutput;

    fn name(&self) -> &str {
        self.0.as_ref().map_or("http", |preset| &preset.name)
    }

    fn docs(&self) -> &str {
        self.0.as_ref().map_or("Each delivery as one HTTP request.", |preset| &preset.docs)
    }

    fn example(&self) -> &str {
        self.0.as_ref().map_or("{ type: http, url: \"${HTTP_URL}\" }", |preset| &preset.example)
    }

    fn fields(&self) -> Vec<Field> {
        if let Some(preset) = &self.0 {
            return preset.message_fields();
        }
        let field = |name: &'static str, docs: &'static str, escape: Escape, confine: Confine| Field {
            name: name.into(),
            docs: docs.into(),
            shape: Shape::Text,
            escape,
            confine,
            required: false,
            default: None,
            cap: None,
        };
        vec![
            field("body", "The body, JSON unless `headers` says otherwise; without it the payload.", Escape::Json, Confine::Content),
            preset::headers_field(),
            field("path", "What is appended to the URL's path, such as `orders/{{ data.id }}`.", Escape::Path, Confine::Name),
            field("reference", "What `lookup` asks for.", Escape::None, Confine::Content),
        ]
    }

    fn secrets(&self) -> Vec<String> {
        let settings = self.0.iter().flat_map(|preset| &preset.settings);
        settings.filter(|setting| setting.secret).map(|setting| setting.name.clone()).collect()
    }

    fn total(&self) -> Option<Total> {
        self.0.as_ref().and_then(|preset| preset.total.clone())
    }

    fn defaults(&self, config: &Config) -> Defaults {
        let Some(preset) = &self.0 else { return Defaults { statuses: true, ..Defaults::default() } };
        let looked_up = self.assembly(config).lookup().is_some();
        Defaults {
            rate: preset.rate,
            burst: preset.burst,
            concurrency: preset.concurrency,
            attempts: preset.attempts,
            statuses: true,
            hold_unknown: preset.on_unknown == Some(OnUnknown::Hold) && !looked_up,
        }
    }

    fn read(&self, settings: &Node, problems: &mut Vec<Problem>) -> Option<Config> {
        let config = settings::read(self.0.as_deref(), settings, problems)?;
        if let Some(end) = self.0.as_deref().and_then(|preset| preset.until.as_ref()) {
            let title = format!("`{}` ends on {}", self.name(), end.date);
            problems.push(Problem::warning("destination-ends", settings.span, title, "announced by its maker").help(&end.help));
        }
        Some(config)
    }

    fn shape(&self) -> switchyard_api::shape::Shape {
        settings::shape(self.0.as_deref())
    }

    fn validate(&self, config: &Config) -> Vec<Problem> {
        let assembly = self.assembly(config);
        let mut problems = vec![];
        match assembly.address() {
            Err(no) => {
                let help = match no.wrong {
                    UrlError::User => "take them out of the URL and write `auth: { basic: { user: …, password: \"${NAME}\" } }`".into(),
                    // What stands in a URL is the same for every event.
                    _ if config.url.as_ref().is_some_and(|url| url.span == no.span && url.value.expose().contains("{{")) => {
                        "a value of the event stands in the message: `path: \"orders/{{ data.id }}\"` behind `url: https://HOST`".into()
                    }
                    _ => self.url_help(),
                };
                problems.push(Problem::error("bad-url", no.span, no.wrong.to_string(), "here").help(help));
            }
            Ok(address) => {
                problems.extend(self.judge_address(&address, config));
                problems.extend(config.connection().validate(Some((&address.url, address.span))));
            }
        }
        let wrong = match assembly.auth() {
            Err(wrong) => Some(wrong),
            Ok(auth) => auth.and_then(|auth| Some((auth.span, auth.value.check().err()?.to_string()))),
        };
        problems.extend(wrong.map(|(at, wrong)| Problem::error("bad-auth", at, wrong, "here").help(self.auth_help(config))));
        problems.extend(assembly.mistakes().into_iter().map(|(at, wrong)| {
            let (title, help) = wrong.split_once(": ").unwrap_or((&wrong, "see the documentation"));
            Problem::error("wrong-value", at, title, "here").help(help)
        }));
        if let Some(sign) = &config.sign
            && let Err(wrong) = Signer::new(&sign.secret.value)
        {
            let problem = Problem::error("bad-signing-secret", sign.secret.span, wrong.to_string(), "here");
            problems.push(problem.help("write `whsec_` and base64 of 24 to 64 bytes: make one with `openssl rand -base64 32`"));
        }
        problems
    }

    fn judge(&self, config: &Config, message: Written<'_>) -> Vec<Problem> {
        judge::message(self, config, message)
    }

    fn login(&self, config: &Config) -> Option<Login> {
        let auth = self.assembly(config).auth().ok()??;
        auth.value.login().map(|authorize| Login { authorize })
    }

    fn preview(&self, config: &Config, kit: &Kit, parcel: &Parcel) -> Option<Result<Preview, String>> {
        Some(self.assembly(config).build(kit).and_then(|output| output.preview(parcel)))
    }

    async fn connect(&self, config: Config, kit: &Kit) -> Result<HttpOutput, ConnectError> {
        self.assembly(&config).build(kit).map_err(ConnectError)
    }
}

impl Config {
    fn connection(&self) -> Connection {
        Connection { ca: self.ca.clone(), tls: self.tls.clone(), proxy: self.proxy.clone(), http: self.http }
    }
}

impl Http {
    fn assembly<'a>(&'a self, config: &'a Config) -> Assembly<'a> {
        Assembly { config, preset: self.0.as_deref() }
    }

    /// Where the destination's maker describes it.
    pub fn link(&self) -> Option<&str> {
        self.0.as_ref().map(|preset| preset.link.as_str())
    }

    /// What is not proven about the destination's row, and what else one should know.
    pub fn notes(&self) -> Option<&str> {
        self.0.as_ref().and_then(|preset| preset.notes.as_deref())
    }

    /// Since when the destination can be called this way: `2026-04-01`.
    pub fn since(&self) -> Option<String> {
        self.0.as_ref().and_then(|preset| preset.since).map(|date| date.to_string())
    }

    /// The setting that says where it is: `url`, one of the row's own, or `server` where the row knows the address.
    pub fn address_key(&self) -> &str {
        self.0.as_ref().map_or("url", |preset| preset.base().unwrap_or("server"))
    }

    /// What its URL looks like.
    pub fn url_hint(&self) -> Option<&str> {
        self.0.as_ref().and_then(|preset| preset.url_hint.as_deref())
    }

    fn url_help(&self) -> String {
        match &self.0 {
            Some(preset) => match &preset.url_hint {
                Some(hint) => format!("it looks like `{hint}`; write `{}`", preset.example.trim()),
                None => format!("write `{}`", preset.example.trim()),
            },
            None => "write `https://HOST/PATH`".into(),
        }
    }

    /// What to write for credentials: the file's own `auth`, or the settings that the row makes them of.
    fn auth_help(&self, config: &Config) -> String {
        let secret = |preset: &Preset| {
            let told = |setting: &preset::Setting| format!("`{}` is: {}", setting.name, setting.docs.trim_end_matches('.'));
            preset.settings.iter().filter(|setting| setting.secret).map(told).collect::<Vec<_>>().join("; ")
        };
        match self.0.as_deref().filter(|_| config.auth.is_none()) {
            Some(preset) => secret(preset),
            None => "write `bearer: \"${TOKEN}\"`, `basic: { user: …, password: … }` or `header: { name: X-Api-Key, value: \"${KEY}\" }`; docs/credentials.md has the others".into(),
        }
    }

    /// Problems of a URL that is one. A loopback host is anybody's: there one tries things out.
    fn judge_address(&self, address: &Address, config: &Config) -> Option<Problem> {
        let (url, at) = (&address.url, address.span);
        if url.is_loopback() || !address.written {
            return None;
        }
        let own = config.server.is_none();
        if let Some(preset) = self.0.as_ref().filter(|preset| own && !preset.lives_on(url.host())) {
            let title = format!("`{}` is not a host of {}", url.host(), preset.name);
            return Some(Problem::error("wrong-host", at, title, format!("expected {}", preset.hosts.join(" or "))).help(self.url_help()));
        }
        let path = self.0.as_ref().filter(|_| own).and_then(|preset| preset.path.as_deref());
        if path.is_some_and(|path| !url.path().starts_with(path)) {
            let title = format!("this is another kind of URL than `{}` sends to", self.name());
            // The row says what the others are.
            let help = self.notes().map_or_else(|| self.url_help(), |notes| notes.trim_end_matches('.').to_owned());
            return Some(Problem::error("wrong-path", at, title, format!("expected `{}…`", path.unwrap_or_default())).help(help));
        }
        if url.is_https() {
            return None;
        }
        if self.0.as_ref().is_some_and(|preset| own && !preset.hosts.is_empty()) {
            let title = format!("`{}` is spoken to by `https://`", self.name());
            return Some(
                Problem::error("insecure-url", at, title, "the URL is a secret, and would be sent in the clear").help("write `https://`"),
            );
        }
        let credentials = config.auth.is_some() || self.0.as_ref().is_some_and(|preset| preset.auth.is_some());
        credentials.then(|| {
            Problem::warning("insecure-url", at, "credentials are sent in the clear", "not `https://`")
                .help("write `https://`, or keep it for a network of your own")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_api::Span;
    use switchyard_api::problem::Severity;
    use switchyard_api::tree::{Key, Value};

    fn config(url: &str) -> Config {
        let url = Node { span: Span { start: 5, end: 9 }, ..Node::text(url) };
        let key = Key { span: Span { start: 0, end: 3 }, name: "url".into() };
        let settings = Node { span: Span { start: 0, end: 9 }, value: Value::Map(vec![(key, url)]) };
        switchyard_api::tree::read(&settings, &mut vec![]).unwrap()
    }
    fn preset(name: &str) -> Http {
        presets().into_iter().find(|preset| preset.name() == name).unwrap()
    }
    fn told(kind: &Http, config: &Config) -> Vec<(&'static str, Severity, String)> {
        kind.validate(config).into_iter().map(|p| (p.id, p.severity, format!("{}: {} ({:?})", p.title, p.label, p.help))).collect()
    }

    #[test]
    fn a_good_url_has_no_problem() {
        for (kind, url) in [
            (Http::default(), "https://api.example/in"),
            (Http::default(), "http://10.0.0.1/in"),
            (preset("slack"), "https://hooks.slack.com/services/T0/B0/made-up"),
            (preset("slack"), "http://127.0.0.1:8099/hook"),
            (preset("mattermost"), "https://chat.example/hooks/made-up"),
        ] {
            assert_eq!(told(&kind, &config(url)), [], "{url}");
        }
    }

    #[test]
    fn a_wrong_url_is_told_without_its_path() {
        for (kind, url, id) in [
            (Http::default(), "https://u:hush@a.example/hush", "bad-url"),
            (Http::default(), "", "bad-url"),
            (preset("slack"), "https://hooks.slak.com/services/hush", "wrong-host"),
            (preset("slack"), "https://hooks.slack.com.evil.example/hush", "wrong-host"),
            (preset("discord"), "http://discord.com/api/webhooks/hush", "insecure-url"),
        ] {
            let problems = told(&kind, &config(url));
            assert_eq!(problems.iter().map(|p| (p.0, p.1)).collect::<Vec<_>>(), [(id, Severity::Error)], "{url}");
            assert!(!problems[0].2.contains("hush"), "{problems:?}");
        }
    }

    #[test]
    fn credentials_that_cannot_be_sent_are_problems_at_their_place() {
        let at = Span { start: 50, end: 60 };
        let mut config = config("http://api.example/in");
        config.auth = Some(At { span: at, value: Auth::Bearer(Secret::new("")) });
        config.sign = Some(Sign { secret: At { span: at, value: Secrets(vec![Secret::new("whsec_hush")]) } });
        let problems = Http::default().validate(&config);
        let ids: Vec<_> = problems.iter().map(|p| p.id).collect();
        assert_eq!(ids, ["insecure-url", "bad-auth", "bad-signing-secret"]);
        assert!(problems[1..].iter().all(|p| p.at == at));
        assert!(!format!("{problems:?}{config:?}").contains("hush"));
    }

    #[test]
    fn every_kind_documents_its_fields() {
        let kinds = kinds();
        let names: Vec<_> = kinds.iter().map(|kind| kind.name().to_owned()).collect();
        assert!(names[0] == "http" && names[1..].is_sorted() && names.len() > 30, "{names:?}");
        for kind in kinds {
            assert!(kind.docs().ends_with('.'));
            assert!(kind.fields().iter().all(|field| field.docs.ends_with('.')), "{}", kind.name());
        }
    }

    #[test]
    fn the_readme_says_what_the_docs_say() {
        switchyard_api::conformance::readme_is_the_docs(include_str!("lib.rs"), include_str!("../README.md"));
    }
}
