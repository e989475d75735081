//! `type: http`: sends each delivery as one HTTP request; and the chat destinations that are a shape over it.
//!
//! ```yaml
//! shipper:
//!   type: http
//!   url: https://api.shipper.example/v2/orders   # no user, no password in it
//!   method: POST                                 # or PUT, PATCH, DELETE, GET
//!   auth: { bearer: "${SHIPPER_TOKEN}" }         # or basic: { user: .., password: .. }, or header: { name: .., value: .. }
//!   sign: { secret: "${SHIPPER_SIGNING}" }       # Standard Webhooks; a list while rotating
//!   ca: tls/shipper-ca.pem                       # believe these roots, and not the system's
//!   success: { status: [200], json: { /ok: true } }   # what a 2xx must say besides
//!   body: '{"order": "{{ data.id }}"}'           # message: without it the event's exact bytes
//!   headers: { X-Shop: "{{ data.shop }}" }       # message
//!   path: "orders/{{ data.id }}"                 # message: appended to the URL's path
//! ```
//!
//! Values in `body` are escaped for JSON; a `body` is sent as `application/json` unless `headers` says otherwise. Without one
//! the payload goes out as it came: the transform's result, or the event's exact bytes with its content type.
//!
//! Every request carries `Switchyard-Event`, `Switchyard-Delivery` (the stable id), `Switchyard-Attempt`, on replays
//! `Switchyard-Replay`, and `Idempotency-Key` equal to the delivery id unless `headers` sets it. Those of `sign` are
//! `webhook-id`, `webhook-timestamp` and `webhook-signature`. A redirect is not followed. Connections are kept and used again.
//!
//! | what happens | outcome |
//! | --- | --- |
//! | no address, no connection, no TLS handshake in 5 s; 503 | down |
//! | the certificate is refused; 401, 403, 404, 407, 410, 501, 505; a redirect | misconfigured |
//! | 408, 425, 429, other 5xx; 2xx and `success` does not hold | retry, honouring Retry-After |
//! | other 4xx; 404 and 410 where the message has a `path`; a header with a line end | rejected |
//! | sent, and no answer in `timeout` | unknown |
//! | other 2xx | delivered |
//!
//! `slack`, `discord` and `mattermost` take a `url` and a `text`: values in it are escaped so that they neither mention nor
//! format, and the body, the success test and the rate are theirs. Each is a file in `presets/`, with its conversation in
//! `presets/tests/`. Their URLs are secrets: nothing shows more of one than scheme and host.
//!
//! Never: retries by itself, follows a redirect, shows a secret (L7), lets a value become a header, a path upwards or a
//! mention (L8). Proven by `tests/real.rs` and `tests/presets.rs`.

mod preset;
mod request;

use futures_util::future::BoxFuture;
use http::HeaderValue;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use switchyard_api::escape::Escape;
use switchyard_api::http::answer::Success;
use switchyard_api::http::{Auth, Client, Limits, Rules, Secrets, Signer, Tls, Url, url::UrlError};
use switchyard_api::{
    AnyKind, At, CheckError, Confine, ConnectError, Defaults, Field, Kind, Kit, Output, Parcel, Problem, Secret, Settle, Shape, Wall, kind,
};

use preset::Preset;
use request::Draft;

/// Settings of an HTTP output. Those that a destination has of its own may be set over.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// Where to, with `https://` or `http://`, without user and password. Treated as a secret.
    pub url: At<Secret>,
    /// How it is called.   default: POST
    #[serde(default)]
    pub method: Option<Method>,
    /// Credentials: `bearer`, `basic` or `header`.
    #[serde(default)]
    pub auth: Option<At<Auth>>,
    /// Signs every request as Standard Webhooks says.
    #[serde(default)]
    pub sign: Option<Sign>,
    /// A PEM file of roots to believe instead of the system's.   example: tls/shipper-ca.pem
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// What a 2xx must say besides to count as a success.
    #[serde(default)]
    pub success: Option<Success>,
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

    fn fields(&self) -> Vec<Field> {
        if let Some(preset) = &self.0 {
            return preset.message_fields();
        }
        let field = |name: &'static str, docs: &'static str, shape: Shape, escape: Escape, confine: Confine| Field {
            name: name.into(),
            docs: docs.into(),
            shape,
            escape,
            confine,
            required: false,
            default: None,
            cap: None,
        };
        vec![
            field(
                "body",
                "The body, JSON unless `headers` says otherwise; without it the payload.",
                Shape::Text,
                Escape::Json,
                Confine::Content,
            ),
            field("headers", "Headers to add.", Shape::Map, Escape::Header, Confine::Content),
            field("path", "Appended to the URL's path.", Shape::Text, Escape::None, Confine::Name),
        ]
    }

    fn defaults(&self) -> Defaults {
        Defaults { rate: self.0.as_ref().and_then(|preset| preset.rate), concurrency: None }
    }

    fn validate(&self, config: &Config) -> Vec<Problem> {
        let mut problems = vec![];
        let at = config.url.span;
        match Url::parse(config.url.value.expose()) {
            Err(wrong) => {
                let help = match wrong {
                    UrlError::User => "take them out of the URL and write `auth: { basic: { user: …, password: \"${NAME}\" } }`".into(),
                    _ => self.url_help(),
                };
                problems.push(Problem::error("bad-url", at, wrong.to_string(), "here").help(help));
            }
            Ok(url) => problems.extend(self.judge_url(&url, config)),
        }
        if let Some(auth) = &config.auth
            && let Err(wrong) = auth.value.header()
        {
            let problem = Problem::error("bad-auth", auth.span, wrong.to_string(), "here");
            problems.push(problem.help(
                "write `bearer: \"${TOKEN}\"`, `basic: { user: …, password: … }` or `header: { name: X-Api-Key, value: \"${KEY}\" }`",
            ));
        }
        if let Some(sign) = &config.sign
            && let Err(wrong) = Signer::new(&sign.secret.value)
        {
            let problem = Problem::error("bad-signing-secret", sign.secret.span, wrong.to_string(), "here");
            problems.push(problem.help("write `whsec_` and base64 of 24 to 64 bytes: make one with `openssl rand -base64 32`"));
        }
        problems
    }

    async fn connect(&self, config: Config, kit: &Kit) -> Result<HttpOutput, ConnectError> {
        self.build(&config, kit).map_err(|why| ConnectError(format!("output `{}`: {why}", kit.output)))
    }
}

impl Http {
    fn url_help(&self) -> String {
        match &self.0 {
            Some(preset) => format!("it looks like `{}`; write `{}`", preset.url_hint, preset.example),
            None => "write `https://HOST/PATH`".into(),
        }
    }

    /// Problems of a URL that is one. A loopback host is anybody's: there one tries things out.
    fn judge_url(&self, url: &Url, config: &Config) -> Option<Problem> {
        let at = config.url.span;
        if url.is_loopback() {
            return None;
        }
        if let Some(preset) = self.0.as_ref().filter(|preset| !preset.lives_on(url.host())) {
            let title = format!("`{}` is not a host of {}", url.host(), preset.name);
            return Some(Problem::error("wrong-host", at, title, format!("expected {}", preset.hosts.join(" or "))).help(self.url_help()));
        }
        if url.is_https() {
            return None;
        }
        if self.0.as_ref().is_some_and(|preset| !preset.hosts.is_empty()) {
            let title = format!("`{}` is spoken to by `https://`", self.name());
            return Some(
                Problem::error("insecure-url", at, title, "the URL is a secret, and would be sent in the clear").help("write `https://`"),
            );
        }
        let credentials = config.auth.is_some();
        credentials.then(|| {
            Problem::warning("insecure-url", at, "credentials are sent in the clear", "not `https://`")
                .help("write `https://`, or keep it for a network of your own")
        })
    }

    fn build(&self, config: &Config, kit: &Kit) -> Result<HttpOutput, String> {
        let url = Url::parse(config.url.value.expose()).map_err(|e| e.to_string())?;
        let preset = self.0.as_deref();
        let mut headers = vec![];
        for (name, value) in preset.iter().flat_map(|preset| &preset.headers) {
            let name = http::HeaderName::try_from(name).map_err(|e| e.to_string())?;
            headers.push((name, HeaderValue::from_str(value).map_err(|e| e.to_string())?));
        }
        let mut secrets = url.secrets();
        if let Some(auth) = &config.auth {
            headers.push(auth.value.header().map_err(|e| e.to_string())?);
            secrets.extend(auth.value.secrets());
        }
        let signer = config.sign.as_ref().map(|sign| Signer::new(&sign.secret.value)).transpose().map_err(|e| e.to_string())?;
        secrets.extend(config.sign.iter().flat_map(|sign| sign.secret.value.0.clone()));
        let tls = if url.is_https() {
            let ca = config.ca.as_ref().map(|path| kit.base.join(path));
            Some(Tls::new(ca.as_deref()).map_err(|e| e.to_string())?)
        } else {
            None
        };
        let query: Vec<_> = preset.iter().flat_map(|preset| preset.query.clone()).collect();
        let draft = Draft {
            method: config.method.or_else(|| preset.map(|preset| preset.method)).unwrap_or_default().http(),
            target: url.target(None, &query).map_err(|e| e.to_string())?,
            url: url.clone(),
            query,
            headers,
            user_agent: HeaderValue::from_str(&kit.user_agent).map_err(|e| e.to_string())?,
            signer,
            preset: self.0.clone(),
            wall: kit.wall.clone(),
        };
        let rules = Rules {
            retry_on: kit.retry_on.clone(),
            reject_on: kit.reject_on.clone(),
            success: config.success.clone().or_else(|| preset.map(|preset| preset.ok.clone())).unwrap_or_default(),
            cases: preset.map(|preset| preset.cases.clone()).unwrap_or_default(),
            wait: preset.and_then(|preset| preset.wait.clone()),
            secrets,
        };
        let client = Client::new(url, tls, Limits { whole: kit.timeout, ..Limits::default() });
        Ok(HttpOutput { draft, rules, client, wall: kit.wall.clone() })
    }
}

/// A far side that speaks HTTP.
#[derive(Debug)]
pub struct HttpOutput {
    draft: Draft,
    rules: Rules,
    client: Client,
    wall: Wall,
}

impl HttpOutput {
    async fn attempt(&self, parcel: &Parcel, settle: &Settle) -> switchyard_api::Outcome {
        let request = match self.draft.request(parcel) {
            Ok(request) => request,
            Err(cannot) => return cannot.outcome(),
        };
        match self.client.call(request, || settle.sent(parcel.handle)).await {
            Ok(answer) => self.rules.judge(&answer, self.wall.millis(), parcel.message.text("path").is_some()),
            Err(error) => error.outcome(),
        }
    }
}

impl Output for HttpOutput {
    fn deliver<'a>(&'a self, parcels: Vec<Parcel>, settle: &'a Settle) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            for parcel in parcels {
                let outcome = self.attempt(&parcel, settle).await;
                settle.settle(parcel.handle, outcome);
            }
        })
    }

    /// Connects, with TLS where it is spoken, and sends nothing: a chat's webhook has nothing else to ask.
    fn check(&self) -> BoxFuture<'_, Result<(), CheckError>> {
        Box::pin(async move { self.client.reach().await.map_err(|error| CheckError(error.to_string())) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.client.close();
        Box::pin(async {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_api::Span;
    use switchyard_api::problem::Severity;

    fn config(url: &str) -> Config {
        let url = At { span: Span { start: 5, end: 9 }, value: Secret::new(url) };
        Config { url, method: None, auth: None, sign: None, ca: None, success: None }
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
        assert_eq!(names, ["http", "discord", "mattermost", "slack"]);
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
