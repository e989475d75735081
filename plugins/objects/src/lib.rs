//! `type: s3`, `type: gcs`, `type: azure_blob`: keeps deliveries as NDJSON objects in a bucket, one object a batch, each written once.
//!
//! ```yaml
//! lake:
//!   type: s3                                 # or any store that speaks S3, with `endpoint: https://…`
//!   bucket: acme-events
//!   region: eu-west-1
//!   access_key: ${AWS_ACCESS_KEY_ID}
//!   secret_key: ${AWS_SECRET_ACCESS_KEY}
//!   prefix: "shop/topic={{ topic }}"         # message: a literal start, values percent-encoded
//!   objects: { per: batch, partition: hour, compress: gzip, max_bytes: 64MiB }    # the defaults
//!   timeout: 60s                             # one attempt: give large objects time
//!   proxy: "http://proxy.example:3128"       # all three have `ca`, `tls: { cert, key }` and `proxy`, as the http output has them
//! lake-2:
//!   type: gcs
//!   bucket: acme-events
//!   service_account: ${file:/run/secrets/service-account.json}
//! lake-3:
//!   type: azure_blob
//!   account: acmeevents
//!   container: events
//!   key: ${AZURE_STORAGE_KEY}                # or `sas: ${AZURE_STORAGE_SAS}`
//! ```
//!
//! **Names.** `PREFIX/dt=2026-03-02/hour=10/FIRST-LAST-COUNT-DIGEST.ndjson.gz`: the hour in which its events were received (UTC; or
//! `partition: day`, `none`), the ids of its first and last delivery, how many it holds, and a digest of all. The same deliveries with the
//! same content have the same name, and an object is only written where there is none (`If-None-Match: *`): a repeat finds itself.
//! Without `prefix` it is `topic={{ topic }}`. A value is one part of it, percent-encoded as Hive's partitions are (`orders/paid` is
//! `orders%2Fpaid`), so two topics never share a folder; an event with an empty one is rejected.
//!
//! **Lines.** A line is an object: `delivery`, `event`, `source`, `topic`, `route`, `received_at`, `replay` on replays, and the payload
//! as `data` (JSON, as it came), `raw` (text) or `raw_base64`; or the message's `line`. Put `{{ id }}`, the event's, into a line of your own:
//! without it readers cannot tell repeats.
//!
//! **What a reader must know of repeats.** An object is written whole or not at all, and never changes. Deliveries arrive at least
//! once: a delivery can stand in two objects where an object was written, its answer was lost, and its deliveries went out again in
//! other company. While this process lives, a repeat first asks for the object it went out in (`HEAD`, for which the key needs the
//! right to read), so that happens only where the answer to that was no and the first request still arrived later, or after a
//! restart. A replay is written again, marked. So: read by name, and keep one line for each `delivery`. `objects: { per: delivery }` has
//! one object for each delivery, which a repeat always finds: no repeats, many small objects.
//!
//! **Batches.** What waits while the object before is written (concurrency is 1 unless the file says otherwise) goes into the next, up to
//! 4,096 deliveries; an object has the deliveries of one prefix and hour. Little traffic makes small objects.
//!
//! | what happens | outcome |
//! | --- | --- |
//! | written; or there already (412; Azure 409 `BlobAlreadyExists`) | delivered, with the object's name |
//! | 409, 429, 500, S3's `SlowDown`, Azure's `ServerBusy` | retry |
//! | no connection, DNS, 503 | down |
//! | wrong key, no rights, no such bucket or container, any other 4xx, a redirect (another region) | misconfigured |
//! | sent, and no answer in `timeout`, or the connection was lost | unknown; asked for before it is sent again |
//! | a prefix that leads up, holds control characters or is too long | rejected |
//!
//! Keys come from the file; instance roles and Entra tokens are not spoken. A key needs the right to write, that to read for asking
//! before a repeat, and that to list for `check`, which says so where it has not; a shared access signature `cw`, `r` and `l`. An
//! object is one request, never a multipart upload.
//!
//! Never: overwrites or deletes an object, lets a value leave its part of a name (L8), shows a key (L7). Proven by `tests/`: against
//! S3Proxy for S3 and Azurite for Azure, both read back with the vendors' own clients, and against a far side of our own for Google.

mod answers;
pub mod config;
mod name;
mod output;
mod pack;
mod shared_key;
mod store;
mod unheard;

use http::header::HeaderValue;
use std::sync::Arc;
use switchyard_api::escape::Escape;
use switchyard_api::http::{Auth, Connection, Credentials, Limits, Url};
use switchyard_api::{AnyKind, Confine, ConnectError, Defaults, Field, Kind, Kit, Parcel, Preview, Problem, Secret, Shape};

pub use config::{AzureConfig, Compress, GcsConfig, Objects, Partition, Per, S3Config};
pub use output::ObjectsOutput;

use store::{Proof, Sas, Speaks, Store};

/// `s3`.
#[derive(Debug, Clone, Copy, Default)]
pub struct S3;
/// `gcs`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gcs;
/// `azure_blob`.
#[derive(Debug, Clone, Copy, Default)]
pub struct AzureBlob;

/// All three.
pub fn kinds() -> Vec<Arc<dyn AnyKind>> {
    vec![switchyard_api::kind::any(S3), switchyard_api::kind::any(Gcs), switchyard_api::kind::any(AzureBlob)]
}

impl Kind for S3 {
    type Config = S3Config;
    type Output = ObjectsOutput;

    fn name(&self) -> &'static str {
        "s3"
    }
    fn docs(&self) -> &'static str {
        "Deliveries as NDJSON objects in a bucket of Amazon S3, or of a store that speaks like it."
    }

    fn example(&self) -> &'static str {
        "{ type: s3, bucket: events, region: eu-west-1, access_key: \"${AWS_ACCESS_KEY_ID}\", secret_key: \"${AWS_SECRET_ACCESS_KEY}\" }"
    }
    fn fields(&self) -> Vec<Field> {
        fields()
    }
    fn defaults(&self, _config: &S3Config) -> Defaults {
        DEFAULTS
    }
    fn validate(&self, config: &S3Config) -> Vec<Problem> {
        config.problems()
    }
    fn preview(&self, config: &S3Config, _kit: &Kit, parcel: &Parcel) -> Option<Result<Preview, String>> {
        Some(preview(&shown("s3", &config.bucket.value), config.objects, parcel))
    }
    async fn connect(&self, config: S3Config, kit: &Kit) -> Result<ObjectsOutput, ConnectError> {
        let place = Place {
            speaks: Speaks::S3,
            address: config.address(),
            connection: config.connection(),
            shown: shown("s3", &config.bucket.value),
        };
        connect(place, Who::Auth(config.auth()), config.objects, kit)
    }
}

impl Kind for Gcs {
    type Config = GcsConfig;
    type Output = ObjectsOutput;

    fn name(&self) -> &'static str {
        "gcs"
    }
    fn docs(&self) -> &'static str {
        "Deliveries as NDJSON objects in a bucket of Google Cloud Storage."
    }

    fn example(&self) -> &'static str {
        "{ type: gcs, bucket: events, service_account: \"${GCS_SERVICE_ACCOUNT}\" }"
    }
    fn fields(&self) -> Vec<Field> {
        fields()
    }
    fn defaults(&self, _config: &GcsConfig) -> Defaults {
        DEFAULTS
    }
    fn validate(&self, config: &GcsConfig) -> Vec<Problem> {
        config.problems()
    }
    fn preview(&self, config: &GcsConfig, _kit: &Kit, parcel: &Parcel) -> Option<Result<Preview, String>> {
        Some(preview(&shown("gs", &config.bucket.value), config.objects, parcel))
    }
    async fn connect(&self, config: GcsConfig, kit: &Kit) -> Result<ObjectsOutput, ConnectError> {
        let place = Place {
            speaks: Speaks::Gcs,
            address: config.address(),
            connection: config.connection(),
            shown: shown("gs", &config.bucket.value),
        };
        connect(place, Who::Auth(config.auth()), config.objects, kit)
    }
}

impl Kind for AzureBlob {
    type Config = AzureConfig;
    type Output = ObjectsOutput;

    fn name(&self) -> &'static str {
        "azure_blob"
    }
    fn docs(&self) -> &'static str {
        "Deliveries as NDJSON objects in a container of Azure Blob Storage."
    }

    fn example(&self) -> &'static str {
        "{ type: azure_blob, account: shop, container: events, key: \"${AZURE_STORAGE_KEY}\" }"
    }
    fn fields(&self) -> Vec<Field> {
        fields()
    }
    fn defaults(&self, _config: &AzureConfig) -> Defaults {
        DEFAULTS
    }
    fn validate(&self, config: &AzureConfig) -> Vec<Problem> {
        config.problems()
    }
    fn preview(&self, config: &AzureConfig, _kit: &Kit, parcel: &Parcel) -> Option<Result<Preview, String>> {
        Some(preview(&container(config), config.objects, parcel))
    }
    async fn connect(&self, config: AzureConfig, kit: &Kit) -> Result<ObjectsOutput, ConnectError> {
        let who = match (&config.key, &config.sas) {
            (Some(key), _) => Who::SharedKey(config.account.value.clone(), key.value.clone()),
            (None, Some(sas)) => Who::Sas(sas.value.clone()),
            (None, None) => return Err(ConnectError("it has neither `key` nor `sas`".to_owned())),
        };
        let shown = container(&config);
        let place = Place { speaks: Speaks::Azure, address: config.address(), connection: config.connection(), shown };
        connect(place, who, config.objects, kit)
    }
}

/// One at a time: what comes meanwhile is the next object.
const DEFAULTS: Defaults = Defaults { rate: None, burst: None, concurrency: Some(1), attempts: None, hold_unknown: false, statuses: true };

fn fields() -> Vec<Field> {
    let field = |name: &'static str, docs: &'static str, escape, confine, default: Option<&'static str>| Field {
        name: name.into(),
        docs: docs.into(),
        shape: Shape::Text,
        escape,
        confine,
        required: false,
        default: default.map(Into::into),
        cap: None,
    };
    let prefix = "Where the object lies: folders with `/` between, before the part that tells when.";
    let line = "The line; without it an object with ids, time and the payload.";
    vec![
        field("prefix", prefix, Escape::Path, Confine::Name, Some("topic={{ topic }}")),
        field("line", line, Escape::Json, Confine::Content, None),
    ]
}

/// Where to.
struct Place {
    speaks: Speaks,
    address: String,
    connection: Connection,
    shown: String,
}

/// Who asks.
enum Who {
    Auth(Auth),
    SharedKey(String, Secret),
    Sas(Secret),
}

fn shown(scheme: &str, name: &str) -> String {
    format!("{scheme}://{name}")
}

fn container(config: &AzureConfig) -> String {
    format!("{}/{}", shown("azure", &config.account.value), config.container.value)
}

/// The object of a delivery that goes alone; what comes along is in the same one, under another name.
fn preview(shown: &str, how: Objects, parcel: &Parcel) -> Result<Preview, String> {
    // Compressed nobody can read it; its name says how it is.
    let plain = pack::pack(std::slice::from_ref(parcel), &Objects { compress: Compress::None, ..how });
    let packed = pack::pack(std::slice::from_ref(parcel), &how);
    match (plain.objects.first(), packed.objects.first(), packed.refused.first()) {
        (Some(plain), Some(object), _) => {
            Ok(Preview { body: plain.body.clone(), ..Preview::new("PUT", format!("{shown}/{}", object.name)) })
        }
        (.., Some((_, outcome))) => Err(outcome.text().to_owned()),
        _ => Err("there is no object to put it into".to_owned()),
    }
}

fn connect(place: Place, who: Who, how: Objects, kit: &Kit) -> Result<ObjectsOutput, ConnectError> {
    let wrong = ConnectError;
    let url = Url::parse(&place.address).map_err(|e| wrong(e.to_string()))?;
    let limits = Limits { whole: kit.timeout, ..Limits::default() };
    let connection = place.connection;
    let (proof, mut secrets) = match who {
        Who::Auth(auth) => {
            let secrets = auth.secrets();
            (Proof::Kit(Credentials::new(Some(&auth), &connection, limits, kit).map_err(|e| wrong(e.to_string()))?), secrets)
        }
        Who::SharedKey(account, key) => {
            let signer = shared_key::SharedKey::new(&account, key.expose()).map_err(|e| wrong(e.to_string()))?;
            (Proof::SharedKey(signer, kit.wall.clone()), vec![key])
        }
        Who::Sas(sas) => {
            let query = Secret::new(sas.expose().trim_start_matches('?'));
            let signature = config::signature(sas.expose()).map(Secret::new);
            (Proof::Sas(Sas(query.clone())), std::iter::once(query).chain(signature).collect())
        }
    };
    let user_agent = HeaderValue::from_str(&kit.user_agent).map_err(|e| wrong(e.to_string()))?;
    secrets.extend(connection.secrets());
    let client = connection.client(url, limits, kit).map_err(|e| wrong(e.to_string()))?;
    Ok(ObjectsOutput {
        rules: answers::rules(place.speaks, kit, secrets).map_err(|e| wrong(e.to_string()))?,
        store: Store { speaks: place.speaks, client, proof, user_agent },
        how,
        shown: place.shown,
        wall: kit.wall.clone(),
        within: kit.timeout,
        unheard: unheard::Unheard::default(),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_readme_says_what_the_docs_say() {
        switchyard_api::conformance::readme_is_the_docs(include_str!("lib.rs"), include_str!("../README.md"));
    }
}
