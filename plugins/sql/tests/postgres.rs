//! The `sql` output against a real PostgreSQL.

#![allow(clippy::unwrap_used)] // helpers of tests

mod far;
mod server;

use far::{Database, at, cases, config, connect, insert, message, numbers, once};
use server::{Far, Server};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use switchyard_api::conformance::mutual::client_certificate;
use switchyard_api::conformance::{deliver, deliver_one, parcel};
use switchyard_api::tls::TlsSettings;
use switchyard_api::{At, Handle, Secret};
use switchyard_services::postgres::{PASSWORD, Postgres};
use switchyard_services::shared::Shared;
use switchyard_sql::{Config, Mode, TlsSection};

static SERVER: Shared<Postgres> = Shared::new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

const TABLES: &str = "CREATE TABLE arrived (delivery varchar(64) NOT NULL, n integer NOT NULL CHECK (n >= 0), note text NOT NULL);
    CREATE TABLE switchyard_deliveries (delivery varchar(64) PRIMARY KEY, at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);
    CREATE TABLE stock (id integer PRIMARY KEY, left_over integer NOT NULL CHECK (left_over >= 0));
    INSERT INTO stock VALUES (1, 10), (2, 10);";

/// A database of one test.
struct Base {
    server: Arc<Postgres>,
    name: String,
}

impl Database for Base {
    fn make() -> Self {
        let server = SERVER.get(|| Postgres::start(Some((&server::tls::pem().cert, &server::tls::pem().key)))).unwrap();
        Base::on(server)
    }
    fn url(&self) -> String {
        self.server.url("switchyard", &self.name)
    }
    fn sql(&self, text: &str) -> String {
        self.server.sql(&self.name, text).unwrap()
    }
    fn hex(column: &str) -> String {
        format!("encode(convert_to({column}, 'UTF8'), 'hex')")
    }
}

impl Base {
    fn on(server: Arc<Postgres>) -> Self {
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        server.sql("postgres", &format!("CREATE DATABASE {name} STRATEGY file_copy")).unwrap();
        server.sql(&name, TABLES).unwrap();
        Base { server, name }
    }
}

impl Server for Base {
    const OPEN_TRANSACTIONS: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()";

    fn port(&self) -> u16 {
        self.server.port()
    }
    fn url_of(&self, user: &str, password: &str, database: Option<&str>, port: u16) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{port}/{}", database.unwrap_or(&self.name))
    }
    fn pause(tenths: u8) -> String {
        format!("SELECT pg_sleep(0.{tenths})")
    }
}

switchyard_api::conformance!(Far<Base>);

cases::promises!(far, Base:
    hostile_values_stay_data,
    the_bad_rows_of_a_batch_are_found,
    statements_of_one_delivery_are_done_together_or_not_at_all,
    a_repeat_is_done_once_where_that_is_asked,
    too_few_rows_are_undone_and_rejected,
    a_missing_table_holds_only_what_needs_it,
    rows_that_are_given_back_are_counted,
);

cases::promises!(server, Base:
    a_commit_whose_answer_is_lost_is_unknown_and_its_repeat_is_known,
    a_repeat_waits_for_the_attempt_that_still_runs,
    a_locked_row_is_tried_again_and_holds_up_no_other,
    a_deadlock_is_tried_again,
    tls_is_proven,
);

#[tokio::test]
async fn credentials_and_places_that_are_wrong_are_misconfigured() {
    let server = tokio::task::spawn_blocking(Base::make).await.unwrap().server;
    let _ = server.sql("postgres", &format!("CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'"));
    server::cases::credentials_and_places_that_are_wrong_are_misconfigured::<Base>().await;
}

#[tokio::test]
async fn values_are_read_as_the_type_that_is_wanted() {
    let base = Base::make();
    base.sql("CREATE TABLE typed (a numeric(40,12), b jsonb, c timestamptz, d uuid, e boolean, f int[], g bytea, h text)");
    let output = connect(&config(&base.url())).await;
    let sql = "INSERT INTO typed VALUES (:a, :b, :c, :d, :e, :f, :g, NULLIF(:h, ''))";
    let values = [
        ("a", "12345678901234567890.012345678901"),
        ("b", r#"{"n": 9007199254740993.10}"#),
        ("c", "2026-03-02T10:00:00+01:00"),
        ("d", "018f3c2e-7b1a-7000-8000-000000000001"),
        ("e", "true"),
        ("f", "{1,2}"),
        ("g", "\\x00ff"),
        ("h", ""),
    ];
    assert_eq!(deliver_one(&output, parcel(1, &message(sql, &values))).await.text(), "INSERT 1 row");
    let kept = base.sql("SELECT a, b->'n', c AT TIME ZONE 'UTC', d, e, f, g, h IS NULL FROM typed");
    let expected =
        "12345678901234567890.012345678901|9007199254740993.10|2026-03-02 09:00:00|018f3c2e-7b1a-7000-8000-000000000001|t|{1,2}|\\x00ff|t";
    assert_eq!(kept, expected);
    for (name, value) in [("a", "1,5"), ("b", "{"), ("c", "yesterday-ish"), ("d", "x"), ("e", "maybe"), ("h", "nul\0")] {
        let odd: Vec<_> = values.iter().map(|(n, v)| (*n, if *n == name { value } else { v })).collect();
        let outcome = deliver_one(&output, parcel(2, &message(sql, &odd))).await;
        assert_eq!(outcome.word(), "rejected", "{name}: {outcome:?}");
    }
}

#[tokio::test]
async fn the_payload_goes_in_with_all_its_digits() {
    let base = Base::make();
    base.sql("CREATE TABLE events (delivery text PRIMARY KEY, body jsonb)");
    let output = connect(&config(&base.url())).await;
    let sql = "INSERT INTO events VALUES (:delivery, :payload) ON CONFLICT (delivery) DO UPDATE SET body = excluded.body";
    let mut one = parcel(1, &message(sql, &[]));
    one.raw = r#"{"total":12345678901234567890.10}"#.into();
    assert_eq!(deliver_one(&output, one).await.text(), "INSERT 1 row");
    assert_eq!(base.sql("SELECT body->'total' FROM events"), "12345678901234567890.10");
}

#[tokio::test]
async fn a_constraint_that_speaks_at_the_commit_rejects_only_its_row() {
    let base = Base::make();
    base.sql("ALTER TABLE arrived ADD CONSTRAINT known FOREIGN KEY (n) REFERENCES stock (id) DEFERRABLE INITIALLY DEFERRED");
    let output = connect(&once(&base.url())).await;
    let said = deliver(&output, [1, 2, 3].map(|number| insert(number, "")).to_vec(), None).await;
    let words = [1, 2, 3].map(|number| said.outcome(Handle(number)).word());
    assert_eq!(words, ["delivered", "delivered", "rejected"], "{said:?}");
    assert!(said.sent.values().all(|times| *times == 1));
    assert_eq!(numbers(&base.sql("SELECT n FROM arrived ORDER BY n")), [1, 2]);
}

#[tokio::test]
async fn a_standby_is_down_and_a_wrong_statement_is_rejected() {
    let base = Base::make();
    let output = connect(&config(&base.url())).await;
    for (sql, word) in [
        ("SELECT 1 FROM stock WHERE left_over = ", "rejected"),
        ("DELETE FROM stock WHERE no_such_column = 1", "rejected"),
        ("SELECT 1/0", "rejected"),
        ("SELECT set_config('transaction_read_only', 'on', true); DELETE FROM stock", "down"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", "down"),
        ("SELECT pg_sleep(60)", "retry"),
    ] {
        let output = if sql.contains("sleep") {
            far::connect_within(&config(&base.url()), std::time::Duration::from_millis(400)).await
        } else {
            connect(&config(&base.url())).await
        };
        let outcome = deliver_one(&output, parcel(1, &message(sql, &[]))).await;
        assert_eq!(outcome.word(), word, "{sql}: {outcome:?}");
    }
    assert_eq!(deliver_one(&output, insert(1, "")).await.word(), "delivered");
    cases::wait(async || base.sql(Base::OPEN_TRANSACTIONS) == "0").await;
}

#[tokio::test]
async fn a_plan_that_is_too_old_is_made_anew() {
    let base = Base::make();
    let output = connect(&Config { connections: Some(at(1)), ..config(&base.url()) }).await;
    let all = || parcel(1, &message("SELECT * FROM stock", &[]));
    assert_eq!(deliver_one(&output, all()).await.text(), "SELECT 2 rows");
    base.sql("ALTER TABLE stock ADD COLUMN more text");
    assert_eq!(deliver_one(&output, all()).await.word(), "retry");
    assert_eq!(deliver_one(&output, all()).await.text(), "SELECT 2 rows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_and_starts_in_mid_flight_loses_nothing_and_doubles_nothing() {
    let start = || Arc::new(Postgres::start(None).unwrap());
    let mut base = Base::on(tokio::task::spawn_blocking(start).await.unwrap());
    let output = Arc::new(connect(&once(&base.url())).await);
    let all = |most: u64| (0..most).map(|number| insert(number, "")).collect::<Vec<_>>();
    let running = Arc::clone(&output);
    let sender = tokio::spawn(async move { server::cases::deliver_all(&*running, all(3_000), 25).await });
    let server = Arc::get_mut(&mut base.server).unwrap();
    for part in [200, 900] {
        let name = base.name.clone();
        cases::wait(async || numbers(&server.sql(&name, "SELECT count(*) FROM arrived").unwrap())[0] >= part).await;
        tokio::task::block_in_place(|| {
            server.down();
            server.up().unwrap();
        });
    }
    let words = sender.await.unwrap();
    assert!(words.contains("down"), "{words:?}");
    assert!(words.iter().all(|word| ["delivered", "down", "unknown"].contains(word)), "{words:?}");
    assert_eq!(base.sql("SELECT count(*), count(DISTINCT delivery) FROM arrived"), "3000|3000");
}

#[tokio::test]
async fn tls_is_on_where_the_url_asks_for_it() {
    let base = Base::make();
    let url = base.server.url("careful", &base.name) + "?sslmode=verify-full";
    let roots = server::tls::file(&server::tls::pem().ca);
    let tls = TlsSection { ca: Some(roots.path().to_owned()), ..TlsSection::default() };
    let output = connect(&Config { tls: Some(at(tls)), ..config(&url) }).await;
    assert_eq!(deliver_one(&output, insert(1, "")).await.word(), "delivered");
    let output = connect(&Config { url: at(Secret::new(url)), ..config("") }).await;
    let outcome = deliver_one(&output, insert(2, "")).await;
    assert!(outcome.word() == "misconfigured" && outcome.text().contains("TLS"), "the system does not know this root: {outcome:?}");
    assert_eq!(TlsSection::default().mode.unwrap_or(Mode::Verify), Mode::Verify);
}

#[tokio::test]
async fn with_a_certificate_of_our_own_we_are_let_in_where_one_is_asked_for() {
    let base = Base::make();
    let (url, roots) = (base.server.url("known", &base.name), server::tls::file(&server::tls::pem().ca));
    let connect = async |tls: Option<At<TlsSettings>>| {
        let own = tls.map(|tls| tls.value).unwrap_or_default();
        let tls = TlsSection { ca: Some(roots.path().to_owned()), cert: own.cert, key: own.key, mode: None };
        connect(&Config { tls: Some(at(tls)), ..config(&url) }).await
    };
    let message = far::message(far::INSERT, &[("n", "4"), ("note", "")]);
    client_certificate(base.server.clients(), &["misconfigured", "down"], connect, &message).await;
    assert_eq!(base.sql("SELECT delivery FROM arrived"), parcel(4, &message).delivery);
}
