//! The `file` output against a real file system, and the suite that every output passes.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::path::Path;
use std::sync::Arc;
use switchyard_api::conformance::{FarSide, deliver, deliver_one, parcel};
use switchyard_api::{At, Handle, Kind, Kit, Message, Output, Parcel, Rendered, Span, Wall};
use switchyard_file::{Config, FileKind, FileOutput, Format};

fn kit(base: &Path) -> Kit {
    Kit::new("archive", base, "switchyard/0", Wall::new(|| 0))
}
async fn connect(base: &Path, path: &str) -> FileOutput {
    let config = Config { path: at(path.to_owned()), format: At::default(), header: None };
    assert_eq!(FileKind.validate(&config), []);
    FileKind.connect(config, &kit(base)).await.unwrap()
}
fn at<T>(value: T) -> At<T> {
    At { span: Span::default(), value }
}
fn ids(text: &str) -> Vec<String> {
    let id = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["delivery"].as_str().unwrap().to_owned();
    text.lines().map(id).collect()
}

struct Folder(tempfile::TempDir);

impl FarSide for Folder {
    async fn start() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }
    async fn output(&self) -> Arc<dyn Output> {
        Arc::new(connect(self.0.path(), "data/{date}.ndjson").await)
    }
    async fn arrived(&self) -> Vec<String> {
        std::fs::read_to_string(self.0.path().join("data/2026-03-02.ndjson")).map(|text| ids(&text)).unwrap_or_default()
    }
    async fn leave(&mut self) -> bool {
        false // a folder that is taken away is made anew; a full disk is tried below
    }
    fn hang(&mut self) -> bool {
        false
    }
    fn answer(&mut self) {}
    fn poison(&self) -> Option<Message> {
        None
    }
    async fn shown(&self) -> (String, Vec<String>) {
        (String::new(), vec![]) // it has none
    }
}

switchyard_api::conformance!(Folder);

#[tokio::test]
async fn a_batch_goes_to_the_files_of_its_events() {
    let folder = tempfile::tempdir().unwrap();
    let output = connect(folder.path(), "{source}/{topic}/{date}.ndjson").await;
    let day = 24 * 3600 * 1000;
    let parcels: Vec<_> = (0..12)
        .map(|n| Parcel {
            topic: ["ORDER_PAID", "../../up"][n as usize % 2].into(),
            received_at: 1_772_445_600_000 + i64::from(n as u8 / 6) * day,
            ..parcel(n, &Message::default())
        })
        .collect();
    let said = deliver(&output, parcels, None).await;
    assert!((0..12).all(|n| said.outcome(Handle(n)).word() == "delivered"));
    let lines = |path: &str| ids(&std::fs::read_to_string(folder.path().join("orderchamp").join(path)).unwrap()).len();
    for topic in ["ORDER_PAID", "__.._up"] {
        for date in ["2026-03-02", "2026-03-03"] {
            assert_eq!(lines(&format!("{topic}/{date}.ndjson")), 3);
        }
    }
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let output = connect(folder.path(), "out.ndjson").await;
    for number in 0..2 {
        assert_eq!(deliver_one(&output, parcel(number, &Message::default())).await.word(), "delivered");
        std::fs::rename(folder.path().join("out.ndjson"), folder.path().join(format!("{number}.old"))).unwrap();
    }
    let kept = |number: u8| ids(&std::fs::read_to_string(folder.path().join(format!("{number}.old"))).unwrap());
    assert_eq!((kept(0).len(), kept(1).len()), (1, 1));
}

#[tokio::test]
async fn a_full_disk_is_down_for_the_whole_batch() {
    let output = connect(Path::new("/"), "dev/full").await;
    let said = deliver(&output, (0..3).map(|n| parcel(n, &Message::default())).collect(), None).await;
    for number in 0..3 {
        let outcome = said.outcome(Handle(number));
        assert!(outcome.word() == "down" && outcome.text().contains("`/dev/full`"), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_check_makes_no_file_and_says_what_is_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    connect(folder.path(), "data/{date}.ndjson").await.check().await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path().join("data")).unwrap().count(), 0);
    std::fs::write(folder.path().join("plain"), "").unwrap();
    let error = connect(folder.path(), "plain/{date}.ndjson").await.check().await.unwrap_err();
    assert!(error.to_string().contains("plain"), "{error}");
}

#[tokio::test]
async fn a_table_is_read_by_another_program_as_it_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    let header = ["order", "note", "total"].map(str::to_owned).to_vec();
    let config = Config { path: at("{date}.csv".into()), format: at(Format::Csv), header: Some(at(header)) };
    assert_eq!(FileKind.validate(&config), []);
    let notes = ["plain", "a, \"b\"", "=cmd|' /C calc'!A0", "two\nlines"];
    for days in 0..2 {
        // Each batch by an output of its own: the header stands once a file all the same.
        for batch in 0..2 {
            let output = FileKind.connect(config.clone(), &kit(folder.path())).await.unwrap();
            let row = |number: u64| {
                let cells =
                    [("order", format!("A{number}")), ("note", notes[number as usize % 4].to_owned()), ("total", "-12.50".to_owned())];
                let columns = cells.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                let message = Message { fields: [("columns".to_owned(), Rendered::Map(columns))].into(), ..Message::default() };
                let plain = parcel(number, &message);
                Parcel { received_at: plain.received_at + days * 24 * 3_600_000, ..plain }
            };
            let said = deliver(&output, (batch * 4..batch * 4 + 4).map(row).collect(), None).await;
            assert!((batch * 4..batch * 4 + 4).all(|number| said.outcome(Handle(number)).word() == "delivered"));
        }
    }
    for day in ["2026-03-02", "2026-03-03"] {
        let script = "import csv,json,sys; print(json.dumps(list(csv.reader(open(sys.argv[1], newline='')))))";
        let path = folder.path().join(format!("{day}.csv"));
        let said = std::process::Command::new("python3").args(["-c", script]).arg(&path).output().unwrap();
        let rows: Vec<[String; 3]> = serde_json::from_slice(&said.stdout).unwrap();
        let mut expected = vec![["order", "note", "total"].map(str::to_owned)];
        let read = ["plain", "a, \"b\"", "'=cmd|' /C calc'!A0", "two lines"];
        expected.extend((0..8).map(|number| [format!("A{number}"), read[number % 4].to_owned(), "-12.50".to_owned()]));
        assert_eq!(rows, expected);
    }
}
