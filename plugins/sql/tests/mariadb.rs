//! The `sql` output against a real MariaDB, as `mysql:`.

#![allow(clippy::unwrap_used)] // helpers of tests

mod far;
mod server;

use far::{Database, cases, config, connect, insert, message, numbers, once};
use server::{Far, Server};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use switchyard_api::conformance::{deliver_one, parcel};
use switchyard_services::mariadb::{MariaDb, PASSWORD};
use switchyard_services::shared::Shared;

static SERVER: Shared<MariaDb> = Shared::new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

const TABLES: &str = "CREATE TABLE arrived (delivery varchar(64) NOT NULL, n integer NOT NULL CHECK (n >= 0), note longtext NOT NULL);
    CREATE TABLE switchyard_deliveries (delivery varchar(64) PRIMARY KEY, at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);
    CREATE TABLE stock (id integer PRIMARY KEY, left_over integer NOT NULL CHECK (left_over >= 0));
    INSERT INTO stock VALUES (1, 10), (2, 10);";

/// A database of one test.
struct Base {
    server: Arc<MariaDb>,
    name: String,
}

impl Database for Base {
    fn make() -> Self {
        let server = SERVER.get(|| MariaDb::start(Some((&server::tls::pem().cert, &server::tls::pem().key)))).unwrap();
        Base::on(server)
    }
    fn url(&self) -> String {
        self.server.url("switchyard", &self.name)
    }
    fn sql(&self, text: &str) -> String {
        self.server.sql(&self.name, text).unwrap()
    }
    fn hex(column: &str) -> String {
        format!("hex({column})")
    }
}

impl Base {
    fn on(server: Arc<MariaDb>) -> Self {
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        server.sql("", &format!("CREATE DATABASE {name} CHARACTER SET utf8mb4")).unwrap();
        server.sql(&name, TABLES).unwrap();
        Base { server, name }
    }
}

impl Server for Base {
    const OPEN_TRANSACTIONS: &str = "SELECT count(*) FROM information_schema.INNODB_TRX t
        JOIN information_schema.PROCESSLIST p ON p.ID = t.trx_mysql_thread_id WHERE p.DB = DATABASE()";

    fn port(&self) -> u16 {
        self.server.port()
    }
    fn url_of(&self, user: &str, password: &str, database: Option<&str>, port: u16) -> String {
        format!("mariadb://{user}:{password}@127.0.0.1:{port}/{}", database.unwrap_or(&self.name))
    }
    fn pause(tenths: u8) -> String {
        format!("SELECT SLEEP(0.{tenths})")
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
    let grant = format!("CREATE USER reader@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'; GRANT SELECT ON *.* TO reader@'127.0.0.1'");
    server.sql("", &grant).unwrap();
    server::cases::credentials_and_places_that_are_wrong_are_misconfigured::<Base>().await;
}

#[tokio::test]
async fn values_are_read_as_the_type_that_is_wanted_and_never_cut() {
    let base = Base::make();
    base.sql("CREATE TABLE typed (a decimal(40,12), b json, c datetime, e boolean, f varchar(5), g integer)");
    let output = connect(&config(&base.url())).await;
    let sql = "INSERT INTO typed VALUES (:a, :b, :c, :e, :f, NULLIF(:g, ''))";
    let values = [
        ("a", "12345678901234567890.012345678901"),
        ("b", r#"{"n": 9007199254740993.10}"#),
        ("c", "2026-03-02 10:00:00"),
        ("e", "1"),
        ("f", "nul\0!"),
        ("g", ""),
    ];
    assert_eq!(deliver_one(&output, parcel(1, &message(sql, &values))).await.text(), "INSERT 1 row");
    let kept = base.sql("SELECT a, b, c, e, hex(f), g IS NULL FROM typed");
    assert_eq!(kept, "12345678901234567890.012345678901\t{\"n\": 9007199254740993.10}\t2026-03-02 10:00:00\t1\t6E756C0021\t1");
    for (name, value) in [("a", "1,5"), ("b", "{"), ("c", "yesterday-ish"), ("e", "maybe"), ("f", "too long"), ("g", "99999999999")] {
        let odd: Vec<_> = values.iter().map(|(n, v)| (*n, if *n == name { value } else { v })).collect();
        let outcome = deliver_one(&output, parcel(2, &message(sql, &odd))).await;
        assert_eq!(outcome.word(), "rejected", "{name}: {outcome:?}");
    }
}

#[tokio::test]
async fn what_the_server_says_decides() {
    let base = Base::make();
    for (sql, word) in [
        ("SELECT 1 FROM stock WHERE left_over = ", "rejected"),
        ("DELETE FROM stock WHERE no_such_column = 1", "rejected"),
        ("INSERT INTO stock VALUES (1, 1)", "rejected"),
        ("DELETE FROM no_such_schema.stock", "misconfigured"),
        ("SELECT 1 FROM stock WHERE SLEEP(60)", "retry"),
    ] {
        let timeout = std::time::Duration::from_millis(if sql.contains("SLEEP") { 400 } else { 10_000 });
        let output = far::connect_within(&config(&base.url()), timeout).await;
        let outcome = deliver_one(&output, parcel(1, &message(sql, &[]))).await;
        assert_eq!(outcome.word(), word, "{sql}: {outcome:?}");
    }
}

#[tokio::test]
async fn an_update_counts_the_rows_it_found() {
    let base = Base::make();
    let output = connect(&config(&base.url())).await;
    let same = parcel(1, &message("UPDATE stock SET left_over = 10 WHERE id = 1", &[]));
    assert_eq!(deliver_one(&output, same).await.text(), "UPDATE 1 row");
}

#[tokio::test]
async fn a_table_that_undoes_nothing_cannot_remember_deliveries() {
    let base = Base::make();
    base.sql("ALTER TABLE switchyard_deliveries ENGINE = MyISAM");
    let output = connect(&once(&base.url())).await;
    let told = output_check(&output).await;
    assert!(told.contains("MyISAM") && told.contains("InnoDB"), "{told}");
    assert_eq!(deliver_one(&output, insert(1, "")).await.word(), "misconfigured");
}

async fn output_check(output: &dyn switchyard_api::Output) -> String {
    output.check().await.unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_and_starts_in_mid_flight_loses_nothing_and_doubles_nothing() {
    let start = || Arc::new(MariaDb::start(None).unwrap());
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
    assert_eq!(base.sql("SELECT count(*), count(DISTINCT delivery) FROM arrived"), "3000\t3000");
}
