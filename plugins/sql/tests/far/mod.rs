//! What the suites of all databases share: a database for one test, outputs to it, and a line that can be held up or cut.
#![allow(clippy::unwrap_used, dead_code)] // helpers of tests, of which each suite uses some

pub mod cases;
pub mod line;
pub mod tls;

use std::sync::Arc;
use std::time::Duration;
use switchyard_api::conformance::{FarSide, Refused, parcel};
use switchyard_api::{At, Kind, Kit, Message, Output, Parcel, Rendered, Secret, Span, Wall};
use switchyard_sql::{Config, Sql, SqlOutput};

use line::Line;

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

/// One that is reached over a port.
pub trait Server: Database {
    /// Its port.
    fn port(&self) -> u16;
    /// The URL for another user, password or database, and through another port.
    fn url_of(&self, user: &str, password: &str, database: Option<&str>, port: u16) -> String;
    /// Asks how many transactions of others are open in the database.
    const OPEN_TRANSACTIONS: &str;
    /// A statement that takes so many tenths of a second.
    fn pause(tenths: u8) -> String;
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
    Message { payload: None, fields: fields.into() }
}

/// The `number`th delivery, which inserts its number and a note.
pub fn insert(number: u64, note: &str) -> Parcel {
    parcel(number, &message(INSERT, &[("n", &number.to_string()), ("note", note)]))
}

pub fn numbers(told: &str) -> Vec<u64> {
    told.lines().map(|line| line.trim().parse().unwrap()).collect()
}

/// A server as the shared suite sees it: through a line of the test's own.
pub struct Far<S> {
    pub base: Arc<S>,
    line: Line,
}

impl<S: Server> FarSide for Far<S> {
    async fn start() -> Self {
        let base = Arc::new(tokio::task::spawn_blocking(S::make).await.unwrap());
        let line = Line::to(base.port()).await;
        Far { base, line }
    }
    async fn output(&self) -> Arc<dyn Output> {
        Arc::new(connect_within(&config(&through(&*self.base, self.line.port())), Duration::from_secs(20)).await)
    }
    fn message(&self) -> Message {
        message(INSERT, &[("n", "1"), ("note", "")])
    }
    async fn arrived(&self) -> Vec<String> {
        self.base.sql("SELECT delivery FROM arrived").lines().map(str::to_owned).collect()
    }
    async fn leave(&mut self) -> bool {
        self.line.cut().await;
        true
    }
    async fn refused(&self) -> Option<Refused> {
        let output = connect(&config(&self.base.url_of("switchyard", "made-up-wrong-one", None, self.base.port()))).await;
        Some(Refused { output: Arc::new(output), secret: "made-up-wrong-one".into() })
    }
    fn hang(&mut self) -> bool {
        self.line.hold_answers_to_commits();
        true
    }
    fn answer(&mut self) {
        self.line.pass();
    }
    fn poison(&self) -> Option<Message> {
        Some(message(INSERT, &[("n", "-1"), ("note", "")]))
    }
    async fn shown(&self) -> (String, Vec<String>) {
        let config = config(&self.base.url());
        let output = connect(&config).await;
        (format!("{config:?}{output:?}"), vec![password(&self.base.url())])
    }
}

/// The database's URL, through another port.
pub fn through<S: Server>(base: &S, port: u16) -> String {
    let url = base.url();
    url.replace(&format!(":{}/", base.port()), &format!(":{port}/"))
}

pub fn password(url: &str) -> String {
    let (_, rest) = url.split_once("//").unwrap();
    let (user, _) = rest.split_once('@').unwrap();
    user.split_once(':').unwrap().1.to_owned()
}
