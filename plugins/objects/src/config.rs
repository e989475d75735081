//! The settings of the three kinds, and what of them cannot work: each problem at its place, with what to write.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::path::PathBuf;
use switchyard_api::http::auth::{Auth, Google, Scopes, Sigv4};
use switchyard_api::http::{Connection, Url, Version};
use switchyard_api::tls::TlsSettings;
use switchyard_api::{At, Problem, Secret, Size};

/// What a token for Google Cloud Storage is for: reading and writing objects.
const GOOGLE_SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";

/// Settings of `s3`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// The bucket.   example: acme-events
    pub bucket: At<String>,
    /// Where it is; stores that have no regions take `us-east-1` or `auto`.   example: eu-west-1
    pub region: At<String>,
    /// Another store that speaks S3; without it Amazon's own.   example: `https://minio.example`
    #[serde(default)]
    pub endpoint: Option<At<String>>,
    /// The key's id.   example: ${AWS_ACCESS_KEY_ID}
    pub access_key: At<Secret>,
    /// The key.   example: ${AWS_SECRET_ACCESS_KEY}
    pub secret_key: At<Secret>,
    /// For keys that are good for a while only.
    #[serde(default)]
    pub session_token: Option<Secret>,
    /// How deliveries become objects.
    #[serde(default)]
    pub objects: Objects,
    /// A file of certificates (PEM) to believe instead of the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// A client certificate and its key; read again when they change.
    #[serde(default)]
    pub tls: Option<At<TlsSettings>>,
    /// The way out: `http://host:port`, or with `user:password@` before the host. The environment is not asked.
    #[serde(default)]
    pub proxy: Option<At<Secret>>,
}

/// Settings of `gcs`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GcsConfig {
    /// The bucket.   example: acme-events
    pub bucket: At<String>,
    /// The JSON that Google gives for a service account.   example: ${file:/run/secrets/service-account.json}
    pub service_account: At<Secret>,
    /// Another address than Google's own, such as that of a private endpoint.
    #[serde(default)]
    pub endpoint: Option<At<String>>,
    /// How deliveries become objects.
    #[serde(default)]
    pub objects: Objects,
    /// A file of certificates (PEM) to believe instead of the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// A client certificate and its key; read again when they change.
    #[serde(default)]
    pub tls: Option<At<TlsSettings>>,
    /// The way out: `http://host:port`, or with `user:password@` before the host. The environment is not asked.
    #[serde(default)]
    pub proxy: Option<At<Secret>>,
}

/// Settings of `azure_blob`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureConfig {
    /// The storage account.   example: acmeevents
    pub account: At<String>,
    /// The container.   example: events
    pub container: At<String>,
    /// The account's key, in base64; or else `sas`.   example: ${AZURE_STORAGE_KEY}
    #[serde(default)]
    pub key: Option<At<Secret>>,
    /// A shared access signature: the part of its URL behind the `?`.   example: ${AZURE_STORAGE_SAS}
    #[serde(default)]
    pub sas: Option<At<Secret>>,
    /// Another address than `https://ACCOUNT.blob.core.windows.net`.
    #[serde(default)]
    pub endpoint: Option<At<String>>,
    /// How deliveries become objects.
    #[serde(default)]
    pub objects: Objects,
    /// A file of certificates (PEM) to believe instead of the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// A client certificate and its key; read again when they change.
    #[serde(default)]
    pub tls: Option<At<TlsSettings>>,
    /// The way out: `http://host:port`, or with `user:password@` before the host. The environment is not asked.
    #[serde(default)]
    pub proxy: Option<At<Secret>>,
}

/// How deliveries become objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Objects {
    /// What goes into one: all that wait, or each delivery alone.
    pub per: Per,
    /// The part of the name that tells when events were received.
    pub partition: Partition,
    /// How it is compressed.
    pub compress: Compress,
    /// Bytes of lines in one object, before compressing; more begin the next one. A delivery that is larger has its own.
    pub max_bytes: Size,
}

impl Default for Objects {
    fn default() -> Self {
        Objects { per: Per::default(), partition: Partition::default(), compress: Compress::default(), max_bytes: Size(64 << 20) }
    }
}

/// What goes into one object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// All deliveries that wait when the one before is written.
    #[default]
    Batch,
    /// One delivery.
    Delivery,
}

/// The part of the name that tells when events were received, in UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Partition {
    /// `dt=2026-03-02/hour=10/`.
    #[default]
    Hour,
    /// `dt=2026-03-02/`.
    Day,
    /// Nothing.
    None,
}

/// How an object is compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compress {
    /// `.ndjson.gz`.
    #[default]
    Gzip,
    /// `.ndjson`.
    None,
}

/// What is written into a store's address and so may hold little.
fn name(what: &'static str, name: &At<String>, most: usize, extra: &str) -> Option<Problem> {
    let fits = |c: char| c.is_ascii_alphanumeric() || extra.contains(c);
    let good = (1..=most).contains(&name.value.len()) && name.value.chars().all(fits) && !matches!(name.value.as_str(), "." | "..");
    (!good).then(|| {
        let title = if name.value.is_empty() { format!("`{what}` is empty") } else { format!("this is no {what}'s name") };
        let help = if name.value.contains("://") {
            format!("write the {what}'s name alone; an address goes into `endpoint`")
        } else {
            format!("it has up to {most} letters, digits and `{extra}`; folders go into `prefix`")
        };
        Problem::error("bad-name", name.span, title, "here").help(help)
    })
}

fn filled(what: &'static str, secret: &At<Secret>) -> Option<Problem> {
    let empty = secret.value.expose().trim().is_empty();
    let problem = || Problem::error("empty-secret", secret.span, format!("`{what}` is empty"), "here").help("is its variable set?");
    empty.then(problem)
}

/// How one gets there, and an address of one's own. `bearer`: what is sent there is a credential by itself, not a signature.
fn way(endpoint: Option<&At<String>>, connection: &Connection, bearer: bool) -> Vec<Problem> {
    let Some(at) = endpoint else { return connection.validate(None) };
    let url = Url::parse(&at.value).ok();
    let mut found = connection.validate(url.as_ref().map(|url| (url, at.span)));
    found.extend(judge_endpoint(at, bearer));
    found
}

fn judge_endpoint(at: &At<String>, bearer: bool) -> Option<Problem> {
    let wrong = |title: String| Problem::error("bad-url", at.span, title, "here").help("write `https://HOST`, without bucket and `?`");
    match Url::parse(&at.value) {
        Err(error) => Some(wrong(error.to_string())),
        Ok(_) if at.value.contains('?') => Some(wrong("an endpoint has no `?` part".into())),
        Ok(url) if url.is_https() || url.is_loopback() => None,
        Ok(_) if bearer => {
            let problem = Problem::error("insecure-url", at.span, "credentials would be sent in the clear", "not `https://`");
            Some(problem.help("write `https://`"))
        }
        Ok(_) => {
            let problem = Problem::warning("insecure-url", at.span, "events are sent in the clear", "not `https://`");
            Some(problem.help("write `https://`, or keep it for a network of your own"))
        }
    }
}

impl S3Config {
    /// What cannot work.
    pub fn problems(&self) -> Vec<Problem> {
        let names = [name("bucket", &self.bucket, 63, ".-_"), name("region", &self.region, 63, "-")];
        let keys = [filled("access_key", &self.access_key), filled("secret_key", &self.secret_key)];
        let mut found: Vec<Problem> = names.into_iter().chain(keys).flatten().collect();
        if found.is_empty()
            && let Err(error) = self.auth().check()
        {
            let title = format!("the key cannot be used: {error}");
            found.push(Problem::error("bad-auth", self.secret_key.span, title, "here").help("is its variable set as Amazon gave it?"));
        }
        found.extend(way(self.endpoint.as_ref(), &self.connection(), false));
        found
    }

    /// Its credentials.
    pub fn auth(&self) -> Auth {
        Auth::Sigv4(Box::new(Sigv4 {
            access_key: self.access_key.value.clone(),
            secret_key: self.secret_key.value.clone(),
            session_token: self.session_token.clone(),
            region: self.region.value.clone(),
            service: "s3".into(),
        }))
    }

    /// How one gets there.
    pub fn connection(&self) -> Connection {
        Connection { ca: self.ca.clone(), tls: self.tls.clone(), proxy: self.proxy.clone(), http: Version::Auto }
    }

    /// Where the bucket is. Amazon's own stand in the host's name, where its certificate allows that: one with dots does not fit.
    pub fn address(&self) -> String {
        let (bucket, region) = (&self.bucket.value, &self.region.value);
        let end = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        match &self.endpoint {
            Some(endpoint) => joined(&endpoint.value, bucket),
            None if bucket.contains(['.', '_']) => format!("https://s3.{region}.{end}/{bucket}"),
            None => format!("https://{bucket}.s3.{region}.{end}"),
        }
    }
}

impl GcsConfig {
    /// What cannot work.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found: Vec<Problem> = name("bucket", &self.bucket, 222, ".-_").into_iter().collect();
        if let Err(error) = self.auth().check() {
            let problem =
                Problem::error("bad-auth", self.service_account.span, format!("the service account cannot be used: {error}"), "here");
            found.push(problem.help("write `${file:PATH}` of the JSON that Google gives for the account's key"));
        }
        found.extend(way(self.endpoint.as_ref(), &self.connection(), true));
        found
    }

    /// Its credentials.
    pub fn auth(&self) -> Auth {
        Auth::Google(Box::new(Google { service_account: self.service_account.value.clone(), scope: Scopes(GOOGLE_SCOPE.into()) }))
    }

    /// How one gets there.
    pub fn connection(&self) -> Connection {
        Connection { ca: self.ca.clone(), tls: self.tls.clone(), proxy: self.proxy.clone(), http: Version::Auto }
    }

    /// Where the bucket is.
    pub fn address(&self) -> String {
        joined(self.endpoint.as_ref().map_or("https://storage.googleapis.com", |endpoint| &endpoint.value), &self.bucket.value)
    }
}

impl AzureConfig {
    /// What cannot work.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found: Vec<Problem> =
            [name("account", &self.account, 63, "-"), name("container", &self.container, 63, "-$")].into_iter().flatten().collect();
        match (&self.key, &self.sas) {
            (Some(key), None) => {
                found.extend(filled("key", key).or_else(|| {
                    let bad = STANDARD.decode(key.value.expose()).is_err();
                    let problem = || Problem::error("bad-auth", key.span, "an account's key is base64, and this is not", "here");
                    bad.then(|| problem().help("copy it from the account's \"Access keys\"; a text with `sig=` in it is `sas`"))
                }));
            }
            (None, Some(sas)) => {
                found.extend(filled("sas", sas).or_else(|| {
                    let bad = signature(sas.value.expose()).is_none();
                    let problem =
                        || Problem::error("bad-auth", sas.span, "a shared access signature has `sig=` in it, and this has not", "here");
                    bad.then(|| problem().help("write what stands behind the `?` of its URL; an account's key is `key`"))
                }));
            }
            (Some(_), Some(sas)) => {
                let problem = Problem::error("two-credentials", sas.span, "`key` and `sas` cannot both be used", "beside `key`");
                found.push(problem.help("take one of them out"));
            }
            (None, None) => {
                let problem = Problem::error("missing-key", self.container.span, "the key `key` is missing", "no credentials beside this");
                found.push(problem.help("add `key: ${AZURE_STORAGE_KEY}`, or `sas: ${AZURE_STORAGE_SAS}`"));
            }
        }
        found.extend(way(self.endpoint.as_ref(), &self.connection(), self.sas.is_some()));
        found
    }

    /// How one gets there.
    pub fn connection(&self) -> Connection {
        Connection { ca: self.ca.clone(), tls: self.tls.clone(), proxy: self.proxy.clone(), http: Version::Auto }
    }

    /// Where the container is.
    pub fn address(&self) -> String {
        let own = || format!("https://{}.blob.core.windows.net", self.account.value);
        joined(&self.endpoint.as_ref().map_or_else(own, |endpoint| endpoint.value.clone()), &self.container.value)
    }
}

/// The secret part of a shared access signature, and whether it can stand in a URL at all.
pub fn signature(sas: &str) -> Option<&str> {
    let fits = sas.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    let found = sas.trim_start_matches('?').split('&').find_map(|pair| pair.strip_prefix("sig="));
    found.filter(|sig| fits && !sig.is_empty())
}

fn joined(endpoint: &str, name: &str) -> String {
    format!("{}/{name}", endpoint.trim_end_matches('/'))
}

#[cfg(test)]
mod tests;
