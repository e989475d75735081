//! The settings of a Kafka output, what `check` finds in them, and what librdkafka is told.
//!
//! Never: opens a file or a connection; [`client`] is handed the files' text.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use switchyard_api::problem::nearest;
use switchyard_api::stream::refused_host;
use switchyard_api::{At, Period, Problem, Secret, Size, Span, Written};

/// Messages that wait in the client; a delivery that finds it full waits for room (L6).
const QUEUED_MESSAGES_MAX: u32 = 50_000;
/// The same in KiB.
const QUEUED_KIB_MAX: u32 = 128 * 1024;
/// Between two tries to connect; librdkafka's own bound would keep an output that is back waiting for 10 s.
const RECONNECT_MAX: Duration = Duration::from_secs(2);
/// What librdkafka takes for `message.max.bytes`.
const MESSAGE_BYTES: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000;
/// A record that waits longer for company than this would be late for its attempt.
const LINGER_MAX: Duration = Duration::from_secs(1);

/// Settings of a Kafka output.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// Brokers to ask first.   example: [kafka-1.example:9092, kafka-2.example:9092]
    pub brokers: At<Vec<At<String>>>,
    /// The only topics it may write to, where the message's `topic` holds values of events; `check` looks at each.   example: [orders]
    #[serde(default)]
    pub topics: Vec<At<String>>,
    /// TLS to the brokers; `{}` trusts what the system trusts.
    pub tls: Option<Tls>,
    /// User and password.
    pub sasl: Option<Sasl>,
    /// How records are compressed.   default: none
    #[serde(default)]
    pub compression: Compression,
    /// Which partition a key goes to.   default: `murmur2_random`, as Java's clients
    #[serde(default)]
    pub partitioner: Partitioner,
    /// How long a record waits for others to share a request with.   default: 5ms
    pub linger: Option<At<Period>>,
    /// The largest record and the largest batch; best the topic's `max.message.bytes`.   default: 1000000B
    pub message_max: Option<At<Size>>,
    /// The name that the brokers' logs and quotas know it by.   default: switchyard
    pub client_id: Option<At<String>>,
    /// Sends `CloudEvents`: `binary` (attributes as headers) or `structured` (one JSON).
    pub cloudevents: Option<Form>,
    /// Settings of librdkafka that have no key here, by their names there.
    #[serde(default)]
    pub librdkafka: BTreeMap<String, At<String>>,
}

/// TLS to the brokers. Paths start from the folder of routes.yaml.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Tls {
    /// Who is trusted, PEM; without it what the system trusts.   example: tls/kafka-ca.pem
    pub ca: Option<String>,
    /// Our certificate, PEM, where the brokers ask for one.
    pub cert: Option<At<String>>,
    /// Its key, PEM.
    pub key: Option<At<String>>,
}

/// User and password.
#[derive(Debug, Clone, Deserialize)]
pub struct Sasl {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: At<Mechanism>,
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// How the password is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Mechanism {
    /// Sent as it is.
    #[default]
    #[serde(rename = "PLAIN")]
    Plain,
    /// Salted challenge with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// Salted challenge with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// How records are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard; brokers since 2.1.
    Zstd,
}

/// Which partition a key goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Partitioner {
    /// As Java's clients; a record without key goes anywhere.
    #[default]
    Murmur2Random,
    /// As Java's clients; all records without key go to one partition.
    Murmur2,
    /// CRC32, librdkafka's own default; a record without key goes anywhere.
    ConsistentRandom,
    /// CRC32; all records without key go to one partition.
    Consistent,
    /// FNV-1a as Go's Sarama; a record without key goes anywhere.
    Fnv1aRandom,
    /// FNV-1a as Go's Sarama; all records without key go to one partition.
    Fnv1a,
    /// Anywhere, whatever the key.
    Random,
}

/// How a `CloudEvent` is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Attributes as headers, the data as the value.
    Binary,
    /// One JSON with attributes and data.
    Structured,
}

/// Names of librdkafka that may be set as they are: sockets, names, metadata, batching.
const OPEN: [&str; 22] = [
    "batch.num.messages",
    "broker.address.family",
    "broker.address.ttl",
    "client.dns.lookup",
    "client.rack",
    "compression.level",
    "connections.max.idle.ms",
    "debug",
    "metadata.max.age.ms",
    "queue.buffering.backpressure.threshold",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "request.timeout.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "socket.connection.setup.timeout.ms",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
    "sticky.partitioning.linger.ms",
    "topic.metadata.refresh.interval.ms",
];

/// Names that have a key of their own here.
const OWN_KEY: [(&str, &str); 19] = [
    ("bootstrap.servers", "brokers"),
    ("metadata.broker.list", "brokers"),
    ("client.id", "client_id"),
    ("compression.codec", "compression"),
    ("compression.type", "compression"),
    ("linger.ms", "linger"),
    ("queue.buffering.max.ms", "linger"),
    ("message.max.bytes", "message_max"),
    ("batch.size", "message_max"),
    ("message.timeout.ms", "timeout"),
    ("delivery.timeout.ms", "timeout"),
    ("partitioner", "partitioner"),
    ("sasl.mechanism", "sasl"),
    ("sasl.mechanisms", "sasl"),
    ("sasl.username", "sasl"),
    ("sasl.password", "sasl"),
    ("security.protocol", "tls"),
    ("ssl.ca.location", "tls"),
    ("ssl.certificate.location", "tls"),
];

/// Names that would take away what "delivered" promises.
const PROMISED: [&str; 9] = [
    "acks",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.send.max.retries",
    "request.required.acks",
    "retries",
    "transactional.id",
];

/// What is wrong with a topic that is the same for every event.
pub fn judge_topic(config: &Config, message: Written<'_>) -> Option<Problem> {
    let topic = message.constant("topic")?;
    if let Some(why) = wrong_topic(topic.value) {
        let problem = Problem::error("bad-topic", topic.span, format!("`{}` is no topic", topic.value), why);
        return Some(problem.help("a topic is 1 to 249 of `a-z A-Z 0-9 . _ -`"));
    }
    let names: Vec<&str> = config.topics.iter().map(|topic| topic.value.as_str()).collect();
    (!names.is_empty() && !names.contains(&topic.value)).then(|| {
        let problem = Problem::error("bad-topic", topic.span, format!("`{}` is not one of `topics`", topic.value), "here");
        problem.help(format!("write one of {}, or add it to `topics`", names.join(", ")))
    })
}

/// Everything that reading could not find.
pub fn problems(config: &Config) -> Vec<Problem> {
    let mut found = brokers(&config.brokers);
    found.extend(config.topics.iter().filter_map(|topic| {
        let why = wrong_topic(&topic.value)?;
        Some(
            Problem::error("bad-topic", topic.span, format!("`{}` is no topic", topic.value), why)
                .help("a topic is 1 to 249 of `a-z A-Z 0-9 . _ -`"),
        )
    }));
    found.extend(credentials(config));
    found.extend(bounds(config));
    found.extend(config.librdkafka.iter().filter_map(|(name, value)| foreign(name, value)));
    found
}

fn brokers(brokers: &At<Vec<At<String>>>) -> Vec<Problem> {
    if brokers.value.is_empty() {
        return vec![Problem::error("no-broker", brokers.span, "no broker to ask", "empty").help("write `brokers: [localhost:9092]`")];
    }
    let refused = |broker: &At<String>| refused_host(broker.value.rsplit_once(':')?.0, broker.span);
    brokers.value.iter().filter_map(|one| broker(one).or_else(|| refused(one))).collect()
}

/// What is wrong with one `host:port`.
fn broker(broker: &At<String>) -> Option<Problem> {
    let text = broker.value.as_str();
    let wrong = |why: &str, patch: Option<String>| {
        let problem =
            Problem::error("bad-broker", broker.span, "this is no broker", why).help("write `host:port`, such as `kafka-1.example:9092`");
        Some(Problem { patch, ..problem })
    };
    if let Some((_, rest)) = text.split_once("://") {
        return wrong("a broker has no scheme; TLS is the key `tls`", Some(rest.trim_end_matches('/').to_owned()));
    }
    if text.contains([',', ' ']) {
        return wrong("one broker an entry: write a list", None);
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.starts_with('[') && host.ends_with(']') => (host, port),
        Some(_) => return wrong("an IPv6 address stands in brackets", text.parse::<IpAddr>().ok().map(|_| format!("[{text}]:9092"))),
        None => return wrong("the port is missing", (!text.is_empty()).then(|| format!("{text}:9092"))),
    };
    if port.parse::<u16>().map_or(true, |port| port == 0) {
        return wrong("the port is a number from 1 to 65535", None);
    }
    let letters = |host: &str| !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    let address = |host: &str| host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    (!letters(host) && !address(host)).then(|| wrong("this is no host", None)).flatten()
}

fn credentials(config: &Config) -> Vec<Problem> {
    let mut found = vec![];
    let alone = |at: Span, has: &str, lacks: &str| {
        Problem::error("half-certificate", at, format!("`{has}` without `{lacks}`"), "the other half is missing")
            .help(format!("add `{lacks}:` beside it"))
    };
    match config.tls.as_ref().map(|tls| (&tls.cert, &tls.key)) {
        Some((Some(cert), None)) => found.push(alone(cert.span, "cert", "key")),
        Some((None, Some(key))) => found.push(alone(key.span, "key", "cert")),
        _ => {}
    }
    if let Some(sasl) = &config.sasl
        && config.tls.is_none()
        && !config.brokers.value.iter().all(|broker| is_loopback(&broker.value))
    {
        let what = if sasl.mechanism.value == Mechanism::Plain { "the password and all records are" } else { "all records are" };
        let title = format!("without `tls`, {what} readable on the network");
        found.push(
            Problem::warning("no-tls", sasl.mechanism.span, title, "sent in the clear")
                .help("add `tls: {}`, or `tls: { ca: kafka-ca.pem }`"),
        );
    }
    found
}

fn is_loopback(broker: &str) -> bool {
    let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host).trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn bounds(config: &Config) -> Vec<Problem> {
    let mut found = vec![];
    if let Some(max) = config.message_max.filter(|max| !MESSAGE_BYTES.contains(&max.value.0)) {
        let title = format!("`{}` is not a size for records", max.value);
        found.push(
            Problem::error("bad-size", max.span, title, "from 1000B to 1000000000B")
                .help("write the topic's `max.message.bytes`, such as `1MiB`"),
        );
    }
    if let Some(linger) = config.linger.filter(|linger| linger.value.0 > LINGER_MAX) {
        let title = format!("a record would wait {} for company", linger.value);
        found.push(
            Problem::error("bad-linger", linger.span, title, "at most 1s").help("write `linger: 5ms`; up to `100ms` makes larger batches"),
        );
    }
    if let Some(id) = config.client_id.as_ref().filter(|id| id.value.is_empty() || !id.value.bytes().all(|b| b.is_ascii_graphic())) {
        found.push(
            Problem::error("bad-name", id.span, "this is no client name", "letters, digits and signs, no space")
                .help("write `client_id: switchyard`"),
        );
    }
    found
}

/// What is wrong with a setting for librdkafka.
fn foreign(name: &str, value: &At<String>) -> Option<Problem> {
    let error = |title: String, label: &str| Problem::error("bad-librdkafka", value.span, title, label);
    if PROMISED.contains(&name) {
        let title = format!("`{name}` is not open: a delivery counts when all in-sync replicas have it, once");
        return Some(error(title, "contradicts the promise").help("take it out; the output is always idempotent, with `acks=all`"));
    }
    if let Some((_, key)) = OWN_KEY.iter().find(|(own, _)| *own == name) {
        return Some(error(format!("`{name}` has a key of its own"), "set twice").help(format!("write `{key}:` in the output itself")));
    }
    if OPEN.contains(&name) {
        return value.value.contains('\0').then(|| error(format!("`{name}` holds a NUL"), "here").help("take it out"));
    }
    let help = nearest(name, OPEN).map_or_else(|| format!("open are: {}", OPEN.join(", ")), |near| format!("did you mean `{near}`?"));
    Some(error(format!("`{name}` cannot be set here"), "not in the list").help(help))
}

/// Why a text is no topic's name, after the broker's own rule (org.apache.kafka.common.internals.Topic).
pub fn wrong_topic(topic: &str) -> Option<&'static str> {
    match topic {
        "" => Some("empty"),
        "." | ".." => Some("a name of dots"),
        long if long.len() > 249 => Some("longer than 249"),
        other => (!other.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))).then_some("holds what no topic has"),
    }
}

/// The files of [`Tls`], read.
#[derive(Debug, Clone, Default)]
pub struct Pems {
    /// Who is trusted.
    pub ca: Option<String>,
    /// Our certificate.
    pub cert: Option<String>,
    /// Its key.
    pub key: Option<Secret>,
}

/// What librdkafka is told; `timeout` is that of one attempt.
pub fn client(config: &Config, pems: &Pems, timeout: Duration) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set_log_level(RDKafkaLogLevel::Info);
    let brokers: Vec<&str> = config.brokers.value.iter().map(|broker| broker.value.as_str()).collect();
    let message_max = config.message_max.map_or(1_000_000, |max| max.value.0).to_string();
    let linger = config.linger.map_or(Duration::from_millis(5), |linger| linger.value.0);
    let attempt = timeout.mul_f64(0.9).as_millis().max(1);
    let plain = [
        ("bootstrap.servers", brokers.join(",")),
        ("client.id", config.client_id.as_ref().map_or("switchyard", |id| &id.value).to_owned()),
        ("enable.idempotence", "true".into()),
        ("acks", "all".into()),
        ("compression.codec", config.compression.word().into()),
        ("partitioner", config.partitioner.word().into()),
        ("linger.ms", linger.as_millis().to_string()),
        ("message.max.bytes", message_max.clone()),
        ("batch.size", message_max),
        ("message.timeout.ms", attempt.to_string()),
        ("topic.metadata.propagation.max.ms", (attempt / 2).max(1).to_string()),
        ("queue.buffering.max.messages", QUEUED_MESSAGES_MAX.to_string()),
        ("queue.buffering.max.kbytes", QUEUED_KIB_MAX.to_string()),
        ("reconnect.backoff.max.ms", RECONNECT_MAX.as_millis().to_string()),
        ("socket.keepalive.enable", "true".into()),
    ];
    for (name, value) in plain {
        client.set(name, value);
    }
    for (name, value) in &config.librdkafka {
        client.set(name, &value.value);
    }
    secure(&mut client, config, pems);
    client
}

fn secure(client: &mut ClientConfig, config: &Config, pems: &Pems) {
    let protocol = match (&config.tls, &config.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    client.set("security.protocol", protocol);
    if config.tls.is_some() {
        match &pems.ca {
            Some(ca) => client.set("ssl.ca.pem", ca),
            None => client.set("ssl.ca.location", "probe"),
        };
        if let (Some(cert), Some(key)) = (&pems.cert, &pems.key) {
            client.set("ssl.certificate.pem", cert).set("ssl.key.pem", key.expose());
        }
    }
    if let Some(sasl) = &config.sasl {
        client.set("sasl.mechanism", sasl.mechanism.value.word());
        client.set("sasl.username", &sasl.user).set("sasl.password", sasl.password.expose());
    }
}

impl Mechanism {
    fn word(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl Compression {
    fn word(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

impl Partitioner {
    fn word(self) -> &'static str {
        match self {
            Partitioner::Murmur2Random => "murmur2_random",
            Partitioner::Murmur2 => "murmur2",
            Partitioner::ConsistentRandom => "consistent_random",
            Partitioner::Consistent => "consistent",
            Partitioner::Fnv1aRandom => "fnv1a_random",
            Partitioner::Fnv1a => "fnv1a",
            Partitioner::Random => "random",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn placed(text: &str) -> At<String> {
        At { span: Span { start: 40, end: 40 + text.len() }, value: text.to_owned() }
    }
    fn config(brokers: &[&str]) -> Config {
        Config {
            brokers: At { span: Span { start: 30, end: 90 }, value: brokers.iter().map(|broker| placed(broker)).collect() },
            topics: vec![],
            tls: None,
            sasl: None,
            compression: Compression::Zstd,
            partitioner: Partitioner::default(),
            linger: None,
            message_max: None,
            client_id: None,
            cloudevents: None,
            librdkafka: BTreeMap::new(),
        }
    }
    fn sasl() -> Sasl {
        Sasl {
            mechanism: At { span: Span { start: 70, end: 75 }, value: Mechanism::Plain },
            user: "shop".into(),
            password: Secret::new("made-up"),
        }
    }
    fn ids(config: &Config) -> Vec<&'static str> {
        problems(config).iter().map(|problem| problem.id).collect()
    }

    #[test]
    fn a_broker_is_a_host_and_a_port() {
        for good in ["localhost:9092", "kafka-1.example:9092", "10.0.0.7:1", "[::1]:65535", "a_b:9092"] {
            assert_eq!(problems(&config(&[good])), [], "{good}");
        }
        for (wrong, patch) in [
            ("", None),
            ("kafka", Some("kafka:9092")),
            ("kafka:", None),
            ("kafka:0", None),
            ("kafka:65536", None),
            ("::1", Some("[::1]:9092")),
            ("kafka://kafka-1:9092/", Some("kafka-1:9092")),
            ("a:9092,b:9092", None),
            (":9092", None),
            ("a/b:9092", None),
        ] {
            let [problem] = problems(&config(&[wrong])).try_into().unwrap();
            assert_eq!((problem.id, problem.at.start, problem.patch.as_deref()), ("bad-broker", 40, patch), "{wrong}");
            assert!(problem.help.is_some());
        }
        assert_eq!(ids(&config(&[])), ["no-broker"]);
    }

    #[test]
    fn what_contradicts_the_promise_or_has_a_key_is_refused() {
        for (name, told) in [
            ("acks", "not open"),
            ("enable.idempotence", "not open"),
            ("max.in.flight.requests.per.connection", "not open"),
            ("linger.ms", "key of its own"),
            ("sasl.password", "key of its own"),
            ("enable.ssl.certificate.verification", "cannot be set here"),
            ("plugin.library.paths", "cannot be set here"),
        ] {
            let librdkafka = BTreeMap::from([(name.to_owned(), placed("1"))]);
            let [problem] = problems(&Config { librdkafka, ..config(&["a:1"]) }).try_into().unwrap();
            assert!(problem.title.contains(told) && problem.help.is_some(), "{name}: {problem:?}");
        }
        let librdkafka = BTreeMap::from([("socket.timeout.ms".to_owned(), placed("5000")), ("client.rac".to_owned(), placed("x"))]);
        let [problem] = problems(&Config { librdkafka, ..config(&["a:1"]) }).try_into().unwrap();
        assert_eq!(problem.help.as_deref(), Some("did you mean `client.rack`?"));
    }

    #[test]
    fn halves_bounds_and_open_passwords_are_told() {
        let half = Tls { cert: Some(placed("c.pem")), ..Tls::default() };
        assert_eq!(ids(&Config { tls: Some(half), ..config(&["a:1"]) }), ["half-certificate"]);
        let open = Config { sasl: Some(sasl()), ..config(&["kafka.example:9092"]) };
        let [warning] = problems(&open).try_into().unwrap();
        assert_eq!((warning.id, warning.severity), ("no-tls", switchyard_api::problem::Severity::Warning));
        assert_eq!(ids(&Config { sasl: Some(sasl()), ..config(&["localhost:9092", "127.0.0.1:9093", "[::1]:9094"]) }), [""; 0]);
        assert_eq!(ids(&Config { tls: Some(Tls::default()), ..open }), [""; 0]);
        let size = |bytes| Config { message_max: Some(At { span: Span::default(), value: Size(bytes) }), ..config(&["a:1"]) };
        assert_eq!((ids(&size(999)), ids(&size(1_000)), ids(&size(1_000_000_001))), (vec!["bad-size"], vec![], vec!["bad-size"]));
        let linger = Some(At { span: Span::default(), value: Period::secs(2) });
        assert_eq!(
            ids(&Config { linger, client_id: Some(placed("a b")), topics: vec![placed("a/b")], ..config(&["a:1"]) }),
            ["bad-topic", "bad-linger", "bad-name"]
        );
    }

    #[test]
    fn the_client_is_idempotent_and_ends_before_the_attempt() {
        let client = client(
            &Config { sasl: Some(sasl()), tls: Some(Tls::default()), ..config(&["a:1", "b:2"]) },
            &Pems::default(),
            Duration::from_secs(10),
        );
        for (name, value) in [
            ("bootstrap.servers", "a:1,b:2"),
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("partitioner", "murmur2_random"),
            ("message.timeout.ms", "9000"),
            ("security.protocol", "sasl_ssl"),
            ("compression.codec", "zstd"),
        ] {
            assert_eq!(client.get(name), Some(value), "{name}");
        }
    }

    #[test]
    fn every_name_that_is_open_is_one_that_librdkafka_knows() {
        for name in OPEN {
            let mut client = ClientConfig::new();
            client.set(name, "no such value \u{1}");
            match client.create_native_config() {
                Ok(_) => {}
                Err(rdkafka::error::KafkaError::ClientConfig(why, ..)) => {
                    assert_eq!(why, rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_INVALID, "{name}");
                }
                Err(other) => panic!("{name}: {other}"),
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(broker in "[a-z0-9:.\\[\\]/, é]{0,20}", topic in "\\PC{0,260}", name in "[a-z.]{0,30}") {
            let librdkafka = BTreeMap::from([(name, placed(&topic))]);
            let found = problems(&Config { topics: vec![placed(&topic)], librdkafka, ..config(&[&broker]) });
            prop_assert!(found.iter().all(|problem| problem.help.is_some()));
        }
    }
}
