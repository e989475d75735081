//! The `sql` output against real SQLite files, read back with the `sqlite3` program.

#![allow(clippy::unwrap_used)] // helpers of tests

mod far;

use far::{Database, at, cases, config, connect, connect_within, insert, message, numbers, once};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::conformance::{FarSide, deliver, deliver_one, parcel};
use switchyard_api::{Handle, Message, Output};
use switchyard_services::install;

const TABLES: &str = "PRAGMA journal_mode = WAL;
    CREATE TABLE arrived (delivery varchar(64) NOT NULL, n integer NOT NULL CHECK (n >= 0), note text NOT NULL);
    CREATE TABLE switchyard_deliveries (delivery varchar(64) PRIMARY KEY, at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);
    CREATE TABLE stock (id integer PRIMARY KEY, left_over integer NOT NULL CHECK (left_over >= 0));
    INSERT INTO stock VALUES (1, 10), (2, 10);";

/// A database of one test.
struct Base {
    folder: tempfile::TempDir,
}

impl Base {
    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("crm.db")
    }
    fn client(&self) -> Command {
        let mut client = Command::new(install::program("sqlite3", &[]).unwrap());
        client.args(["-batch", "-bail", "-cmd", ".timeout 10000"]).arg(self.file());
        client
    }
}

impl Database for Base {
    fn make() -> Self {
        install::packages(&["sqlite3"]).unwrap();
        let base = Base { folder: tempfile::tempdir().unwrap() };
        base.sql(TABLES);
        base
    }
    fn url(&self) -> String {
        format!("sqlite:{}", self.file().display())
    }
    fn sql(&self, text: &str) -> String {
        let said = self.client().arg(text).output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap().trim_end().to_owned()
    }
    fn hex(column: &str) -> String {
        format!("hex({column})")
    }
}

struct Far(Base);

impl FarSide for Far {
    async fn start() -> Self {
        Far(Base::make())
    }
    async fn output(&self) -> Arc<dyn Output> {
        Arc::new(connect(&config(&self.0.url())).await)
    }
    fn message(&self) -> Message {
        message(far::INSERT, &[("n", "1"), ("note", "")])
    }
    async fn arrived(&self) -> Vec<String> {
        self.0.sql("SELECT delivery FROM arrived").lines().map(str::to_owned).collect()
    }
    async fn leave(&mut self) -> bool {
        false // a file that is not there is a matter of the settings: tried below
    }
    fn hang(&mut self) -> bool {
        false // a commit on the disk of this machine is not held up from outside
    }
    fn answer(&mut self) {}
    fn poison(&self) -> Option<Message> {
        Some(message(far::INSERT, &[("n", "-1"), ("note", "")]))
    }
    fn nowhere(&self) -> Option<Message> {
        Some(message("DELETE FROM not_there", &[]))
    }
    async fn shown(&self) -> (String, Vec<String>) {
        (String::new(), vec![]) // it has none
    }
}

switchyard_api::conformance!(Far);

cases::promises!(far, Base:
    hostile_values_stay_data,
    the_bad_rows_of_a_batch_are_found,
    statements_of_one_delivery_are_done_together_or_not_at_all,
    a_repeat_is_done_once_where_that_is_asked,
    too_few_rows_are_undone_and_rejected,
    a_missing_table_holds_only_what_needs_it,
    rows_that_are_given_back_are_counted,
);

/// Takes the file's lock for writing, as another program would, until its input ends.
struct Lock(std::process::Child);

impl Lock {
    fn take(base: &Base) -> Lock {
        use std::io::{BufRead, BufReader, Write};
        let mut child = base.client().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(b"BEGIN IMMEDIATE;\nSELECT 'held';\n").unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "held\n");
        Lock(child)
    }
    fn free(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn a_locked_file_is_tried_again() {
    let base = Base::make();
    let output = connect_within(&config(&base.url()), Duration::from_millis(800)).await;
    let lock = Lock::take(&base);
    let said = deliver(&output, vec![insert(1, ""), insert(2, "")], None).await;
    for number in [1, 2] {
        let outcome = said.outcome(Handle(number));
        assert!(outcome.word() == "retry" && outcome.text().contains("locked"), "{outcome:?}");
    }
    lock.free();
    assert_eq!(deliver_one(&output, insert(1, "")).await.word(), "delivered");
    assert_eq!(numbers(&base.sql("SELECT n FROM arrived")), [1]);
}

#[tokio::test]
async fn a_file_that_is_not_there_is_never_made() {
    let base = Base::make();
    for (url, told) in [
        (format!("sqlite:{}/other.db", base.folder.path().display()), "other.db"),
        (format!("sqlite:{}", base.folder.path().display()), "unable to open"),
    ] {
        let output = connect(&config(&url)).await;
        let outcome = deliver_one(&output, insert(1, "")).await;
        assert!(outcome.word() == "misconfigured" && outcome.text().contains(told), "{outcome:?}");
        assert!(output.check().await.is_err());
    }
    assert!(!base.folder.path().join("other.db").exists());
    std::fs::write(base.folder.path().join("text.db"), "no database, but long enough to look at").unwrap();
    let output = connect(&config(&format!("sqlite:{}/text.db", base.folder.path().display()))).await;
    assert_eq!(deliver_one(&output, insert(1, "")).await.word(), "misconfigured");
}

#[tokio::test]
async fn foreign_keys_hold_also_those_that_speak_at_the_commit() {
    let base = Base::make();
    base.sql("CREATE TABLE sold (id integer NOT NULL REFERENCES stock (id) DEFERRABLE INITIALLY DEFERRED)");
    let output = connect(&config(&base.url())).await;
    let sold = |number: u64| parcel(number, &message("INSERT INTO sold VALUES (:id)", &[("id", &number.to_string())]));
    let said = deliver(&output, [1, 2, 3].map(sold).to_vec(), None).await;
    assert_eq!([1, 2, 3].map(|number| said.outcome(Handle(number)).word()), ["delivered", "delivered", "rejected"], "{said:?}");
    assert_eq!(numbers(&base.sql("SELECT id FROM sold ORDER BY id")), [1, 2]);
}

#[tokio::test]
async fn a_value_takes_the_columns_type() {
    let base = Base::make();
    base.sql("CREATE TABLE typed (a integer, b real, c text) STRICT");
    let output = connect(&config(&base.url())).await;
    let insert =
        |a: &str, b: &str| parcel(1, &message("INSERT INTO typed VALUES (:a, :b, NULLIF(:c, ''))", &[("a", a), ("b", b), ("c", "")]));
    assert_eq!(deliver_one(&output, insert("9007199254740993", "0.5")).await.word(), "delivered");
    assert_eq!(base.sql("SELECT a, typeof(a), b, typeof(b), c IS NULL FROM typed"), "9007199254740993|integer|0.5|real|1");
    assert_eq!(deliver_one(&output, insert("many", "0.5")).await.word(), "rejected");
}

#[tokio::test]
async fn a_dropped_attempt_stops_and_is_undone() {
    let base = Base::make();
    let output = Arc::new(connect(&once(&base.url())).await);
    let slow = format!("{}; WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c", far::INSERT);
    let slow = parcel(1, &message(&slow, &[("n", "1"), ("note", "")]));
    let (running, endless) = (Arc::clone(&output), slow.clone());
    let attempt = tokio::spawn(async move { deliver_one(&*running, endless).await });
    // It has the lock: so it runs.
    cases::wait(async || !base.client().args(["-cmd", ".timeout 0", "BEGIN IMMEDIATE"]).output().unwrap().status.success()).await;
    attempt.abort();
    assert!(attempt.await.unwrap_err().is_cancelled());
    let after = deliver_one(&*output, insert(2, "")).await;
    assert_eq!(after.word(), "delivered", "{after:?}");
    assert_eq!(numbers(&base.sql("SELECT n FROM arrived")), [2]);
}

#[tokio::test]
async fn a_relative_path_starts_from_the_files_folder() {
    use switchyard_api::{Kind, Kit, Wall};
    let base = Base::make();
    let config = switchyard_sql::Config { url: at(switchyard_api::Secret::new("sqlite:crm.db")), ..config("") };
    let kit = Kit::new("crm", base.folder.path(), "switchyard/0", Wall::new(|| 0));
    let output = switchyard_sql::Sql.connect(config, &kit).await.unwrap();
    assert_eq!(deliver_one(&output, insert(1, "")).await.word(), "delivered");
}
