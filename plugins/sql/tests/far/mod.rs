//! What the suites of all databases share: a database for one test, and outputs to it.
#![allow(clippy::unwrap_used)] // tests may

pub mod cases;

use std::time::Duration;
use switchyard_api::conformance::parcel;
use switchyard_api::{At, Kind, Kit, Message, Parcel, Rendered, Secret, Span, Wall};
use switchyard_sql::{Config, Sql, SqlOutput};

/// What each delivery of a suite runs where nothing else is said.
pub const INSERT: &str = "INSERT INTO arrived (delivery, n, note) VALUES (:delivery, :n, :note)";

/// A database of one test, with the tables `arrived`, `switchyard_deliveries` and `stock`.
pub trait Database: Sized + Send + Sync + 'static {
    /// Makes one.
    fn make() -> Self;
    /// How to reach it.
    fn url(&self) -> String;
    /// What its own client prints.
    fn sql(&self, text: &str) -> String;
    /// A text column as hexadecimal digits, so that no client can change what it shows.
    fn hex(column: &str) -> String;
}

pub fn at<T>(value: T) -> At<T> {
    At { span: Span::default(), value }
}

pub fn config(url: &str) -> Config {
    Config { url: at(Secret::new(url)), tls: None, connections: None, once: None, min_rows: 0 }
}

pub fn once(url: &str) -> Config {
    Config { once: Some(at("switchyard_deliveries".into())), ..config(url) }
}

pub fn kit(timeout: Duration) -> Kit {
    Kit { timeout, ..Kit::new("crm", "/", "switchyard/0", Wall::new(|| 0)) }
}

pub async fn connect(config: &Config) -> SqlOutput {
    connect_within(config, Duration::from_secs(10)).await
}

pub async fn connect_within(config: &Config, timeout: Duration) -> SqlOutput {
    let problems = Sql.validate(config);
    assert!(problems.is_empty(), "{problems:?}");
    Sql.connect(config.clone(), &kit(timeout)).await.unwrap()
}

pub fn message(sql: &str, params: &[(&str, &str)]) -> Message {
    let params = params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let fields = [("sql".to_owned(), Rendered::Text(sql.to_owned())), ("params".to_owned(), Rendered::Map(params))];
    Message { fields: fields.into(), ..Message::default() }
}

/// The `number`th delivery, which inserts its number and a note.
pub fn insert(number: u64, note: &str) -> Parcel {
    parcel(number, &message(INSERT, &[("n", &number.to_string()), ("note", note)]))
}

pub fn numbers(told: &str) -> Vec<u64> {
    told.lines().map(|line| line.trim().parse().unwrap()).collect()
}
