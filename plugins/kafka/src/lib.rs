//! `type: kafka`: publishes each delivery as one record, and settles it when all in-sync replicas have it.
//!
//! ```yaml
//! orders-topic:
//!   type: kafka
//!   brokers: [kafka-1.example:9092, kafka-2.example:9092]
//!   tls: { ca: tls/kafka-ca.pem }                     # `{}` trusts what the system trusts; cert and key where brokers ask for one
//!   sasl: { mechanism: SCRAM-SHA-512, user: shop, password: "${KAFKA_PASSWORD}" }
//!   topic: orders                                     # message: a route may override this and what follows
//!   key: "{{ data.id }}"                              # one key, one partition, one order
//!   headers: { shop: "{{ data.shop }}" }
//! ```
//!
//! | setting | default | what |
//! | --- | --- | --- |
//! | `brokers` | | `host:port` of some brokers; they name the others |
//! | `topics` | any | the only topics it may write to; `check` looks at each |
//! | `tls` | none | `ca`, `cert`, `key`: PEM files, from the folder of routes.yaml |
//! | `sasl` | none | `mechanism` (`PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`), `user`, `password` |
//! | `compression` | `none` | `gzip`, `snappy`, `lz4`, `zstd` |
//! | `partitioner` | `murmur2_random` | as Java's clients; also `murmur2`, `consistent_random`, `consistent`, `fnv1a_random`, `fnv1a`, `random` |
//! | `linger` | `5ms` | how long a record waits for others, at most 1s |
//! | `message_max` | `1000000B` | largest record and largest batch; best the topic's `max.message.bytes` |
//! | `client_id` | `switchyard` | for the brokers' logs and quotas |
//! | `cloudevents` | off | `binary` or `structured` |
//! | `librdkafka` | | settings of the client library by their names there, from a list; what contradicts the promise is refused |
//!
//! | message field | what |
//! | --- | --- |
//! | `topic` | begins with a literal; a value of an event becomes a safe name |
//! | `key` | chooses the partition; empty, absent, or without its value in an event: any partition |
//! | `headers` | names and values; a name that begins with `switchyard-` is rejected |
//! | `body` | the value; without it the transform's result, or the event's exact bytes |
//! | `tombstone` | `true` sends no value: a compacted topic forgets the key |
//!
//! Each record carries `content-type`, `switchyard-event`, `switchyard-delivery` (the stable id: a repeat has the same),
//! `switchyard-attempt`, on replays `switchyard-replay`; its timestamp is when the event was received. With `cloudevents` its id is the
//! delivery's, and the key is the attribute `partitionkey` too.
//!
//! The producer is idempotent with `acks=all`: what the client library repeats within an attempt is not doubled. What Switchyard
//! repeats in a later attempt can be, with the same `switchyard-delivery`. One call takes up to 500 deliveries; each is settled
//! by its own report. A batch that the broker refuses as too large or invalid is sent again record by record, so only the one to
//! blame is rejected; set `message_max` to the topic's limit and that never happens, nor do others of the partition overtake.
//!
//! Calls run beside each other and may overtake. Where the order of a key matters, `order_by: { key: "…" }` sends its next record when the
//! one before is delivered.
//!
//! Before records go to a topic that was not heard of for 5 s, or since something went wrong, the brokers are asked for it: so what is
//! down or misconfigured is known while nothing has been sent. At most 50,000 records or 128 MiB wait in the client; a batch that
//! finds it full waits for room until its attempt ends, and is then tried again.
//!
//! | what happens | outcome |
//! | --- | --- |
//! | all in-sync replicas have it | delivered, with partition and offset |
//! | no broker that answers in half of `timeout`, its name not found, no leader | down, nothing sent |
//! | user, password, certificate or right refused; no such topic | misconfigured |
//! | too large, refused by the broker, no topic's name, not one of `topics` | rejected |
//! | too few replicas, leader moved, the client full | tried again |
//! | sent, and no acknowledgement in the attempt's time | unknown |
//! | the producer ended (a fatal error) | another is made; each record by its own report |
//!
//! `check` connects anew and sees brokers, credentials, each of `topics`, and the right to write at all (the producer id that the
//! brokers give). The right to write to that very topic shows at the first record. Certificates are read when the output is made.
//!
//! Never: lets a value choose a topic beyond its literal start (L8), shows a password or key (L7), holds more than its bounds (L6), retries by
//! itself what a broker may have. Proven by `tests/real.rs` and `tests/outage.rs` against real brokers. Builds librdkafka from source: a
//! C++ compiler, make, and the headers of OpenSSL and zlib.

mod cloudevents;
mod lane;
mod output;
mod record;
mod settings;
mod verdict;

pub use output::KafkaOutput;
pub use settings::{Compression, Config, Form, Mechanism, Partitioner, Sasl, Tls};

use switchyard_api::escape::Escape;
use switchyard_api::{Confine, ConnectError, Field, Kind, Kit, Parcel, Preview, Problem, Shape, Written};

/// `kafka`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kafka;

impl Kind for Kafka {
    type Config = Config;
    type Output = KafkaOutput;

    fn name(&self) -> &'static str {
        "kafka"
    }

    fn docs(&self) -> &'static str {
        "Each delivery as one record of a Kafka topic."
    }

    fn example(&self) -> &'static str {
        "{ type: kafka, brokers: [localhost:9092], topic: events }"
    }

    fn fields(&self) -> Vec<Field> {
        vec![
            Field {
                confine: Confine::Name,
                required: true,
                ..field("topic", "The topic; with values of events it begins with a literal.")
            },
            Field {
                shape: Shape::OptionalText,
                ..field("key", "What chooses the partition, and so keeps order; empty, or an event without its value: any partition.")
            },
            Field { shape: Shape::Map, ..field("headers", "Headers besides Switchyard's own.") },
            field("body", "The value; without it the transform's result, or the event's exact bytes."),
            field("tombstone", "`true` sends no value: the key is deleted from a compacted topic."),
        ]
    }

    fn validate(&self, config: &Config) -> Vec<Problem> {
        settings::problems(config)
    }

    fn judge(&self, config: &Config, message: Written<'_>) -> Vec<Problem> {
        settings::judge_topic(config, message).into_iter().collect()
    }

    fn preview(&self, config: &Config, _kit: &Kit, parcel: &Parcel) -> Option<Result<Preview, String>> {
        Some(record::Shaper::new(config).record(parcel).map(|record| record.preview()).map_err(|why| why.to_string()))
    }

    async fn connect(&self, config: Config, kit: &Kit) -> Result<KafkaOutput, ConnectError> {
        KafkaOutput::connect(&config, kit).await
    }
}

fn field(name: &'static str, docs: &'static str) -> Field {
    Field {
        name: name.into(),
        docs: docs.into(),
        shape: Shape::Text,
        escape: Escape::None,
        confine: Confine::Content,
        required: false,
        default: None,
        cap: None,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_readme_says_what_the_docs_say() {
        switchyard_api::conformance::readme_is_the_docs(include_str!("lib.rs"), include_str!("../README.md"));
    }
}
