//! What is left of a journal's file that was cut short, or emptied: every row on pages that are there, and one line about the others.

use super::tests::Yard;
use super::*;
use crate::journal::memory::samples::{event, plan, settled, target};
use crate::journal::sqlite::SqliteStore;
use crate::journal::store::{Append, Batch, Store};
use crate::model::{State, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const NOW: Timestamp = Timestamp(1_772_445_600_000);
const PAGE: usize = 4_096;

fn body(nth: u64) -> String {
    format!("{{\"total\":{nth},\"pad\":\"{}\"}}", "x".repeat(600))
}

/// A file with a few hundred events, closed and without a log.
fn grown() -> Yard {
    let yard = Yard::new();
    let mut store = yard.store();
    let chat = target("a", "chat");
    for nth in 9..=400 {
        let event = event(nth, &body(nth), NOW + Duration::from_secs(nth));
        store.commit(&Batch { appends: vec![Append { event, plan: plan(&[&chat]), dedupe: None }], ..Batch::default() }).unwrap();
    }
    let settlements = (9..=400).map(|seq| settled(seq, &chat, State::Delivered, NOW)).collect();
    store.commit(&Batch { settlements, ..Batch::default() }).unwrap();
    drop(store);
    yard.tamper("PRAGMA wal_checkpoint(TRUNCATE)");
    let _ = std::fs::remove_file(beside(&yard.path, "-wal"));
    let _ = std::fs::remove_file(beside(&yard.path, "-shm"));
    yard
}

/// Where the bytes of each event from 9 on end in the file: the body stands last.
fn ends(bytes: &[u8]) -> BTreeMap<i64, usize> {
    let heads = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"{\"total\":"));
    let nth =
        |at: usize| bytes[at + 9..].iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |nth, byte| nth * 10 + u64::from(byte - b'0'));
    let ends = heads.map(|at| (nth(at), at)).filter(|(nth, at)| *nth >= 9 && bytes[*at..].starts_with(body(*nth).as_bytes()));
    ends.map(|(nth, at)| (nth as i64, at + body(nth).len())).collect()
}

fn places(path: &Path) -> BTreeSet<i64> {
    let db = Connection::open(path).unwrap();
    let mut select = db.prepare("SELECT seq FROM events").unwrap();
    select.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn of_a_file_that_was_cut_every_row_on_the_pages_that_are_there_is_saved_and_one_line_says_what_is_lost() {
    let whole = grown();
    let bytes = std::fs::read(&whole.path).unwrap();
    let (pages, ends) = (bytes.len() / PAGE, ends(&bytes));
    assert_eq!(ends.len(), 392);
    for len in [pages / 2 * PAGE, pages / 2 * PAGE + 1_700, (pages - 1) * PAGE, bytes.len() - 100, 20 * PAGE, 3 * PAGE, 2 * PAGE + 9, PAGE]
    {
        let yard = Yard::new();
        let cut = bytes[..len].to_vec();
        std::fs::write(&yard.path, &cut).unwrap();
        let _ = std::fs::remove_file(beside(&yard.path, "-wal"));
        let _ = std::fs::remove_file(beside(&yard.path, "-shm"));
        assert!(!check(&yard.path).unwrap().is_sound(), "{len}");
        let report = repair(&yard.path, NOW).unwrap();
        let line =
            format!("the file was cut off: {} of its {pages} pages are there, and with the others went what stood on them", len / PAGE);
        assert_eq!(report.lost[0], line, "{len}");
        assert!(report.lost.len() < 40 && report.lost.iter().all(|line| !line.contains('\n')), "{len}: {:#?}", report.lost);
        let kept: BTreeSet<i64> = places(&yard.path).into_iter().filter(|place| *place > 8).collect();
        assert_eq!(kept, ends.iter().filter(|(_, end)| **end <= len).map(|(place, _)| *place).collect(), "{len}: {:#?}", report.lost);
        assert_eq!(std::fs::read(&report.before).unwrap(), cut, "{len}: the file that was cut is as it was");
        assert_eq!(check(&yard.path).unwrap().faults, [], "{len}");
        let mut store = yard.store();
        let append = Append { event: event(500, "later", NOW), plan: plan(&[&target("a", "chat")]), dedupe: None };
        store.commit(&Batch { appends: vec![append], at: NOW, ..Batch::default() }).unwrap();
    }
}

#[test]
fn of_a_file_of_less_than_a_page_nothing_is_made_up() {
    for len in [1, 50, 511] {
        let yard = grown();
        let bytes = std::fs::read(&yard.path).unwrap()[..len].to_vec();
        std::fs::write(&yard.path, &bytes).unwrap();
        for told in [
            check(&yard.path).unwrap_err().to_string(),
            repair(&yard.path, NOW).unwrap_err().to_string(),
            SqliteStore::open(&yard.path, Duration::ZERO, NOW).unwrap_err().to_string(),
        ] {
            assert!(told.contains("nothing of a journal: restore a copy of it"), "{len}: {told}");
        }
        assert_eq!(std::fs::read(&yard.path).unwrap(), bytes);
    }
}

#[test]
fn an_empty_file_that_held_a_journal_is_none_to_begin_with_and_one_that_never_did_is() {
    let yard = grown();
    std::fs::write(&yard.path, "").unwrap();
    let path = yard.path.display();
    let told = format!("{path} has 0 bytes and nothing of a journal: restore a copy of it, or move it away to start with an empty journal");
    assert_eq!(SqliteStore::open(&yard.path, Duration::ZERO, NOW).unwrap_err().to_string(), told);
    assert_eq!(check(&yard.path).unwrap_err().to_string(), told);
    assert_eq!(repair(&yard.path, NOW).unwrap_err().to_string(), told);
    assert_eq!(check(&yard.path).unwrap_err().exit_code(), 75);
    // Moved away, as told.
    std::fs::remove_file(&yard.path).unwrap();
    drop(yard.store());
    // A daemon that was killed when it had made the file and no table in it yet.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    std::fs::write(&path, "").unwrap();
    std::fs::write(beside(&path, ".lock"), "17\n").unwrap();
    drop(SqliteStore::open(&path, Duration::ZERO, NOW).unwrap());
    // Somebody began anew, and then it was killed.
    std::fs::remove_file(&path).unwrap();
    let _ = std::fs::remove_file(beside(&path, "-wal"));
    drop(sqlite::DaemonLock::take(&path).unwrap());
    std::fs::write(&path, "").unwrap();
    drop(SqliteStore::open(&path, Duration::ZERO, NOW).unwrap());
}

#[test]
fn a_file_without_its_tables_is_no_new_one_where_there_was_one() {
    let yard = grown();
    std::fs::remove_file(&yard.path).unwrap();
    Connection::open(&yard.path).unwrap().execute_batch("PRAGMA journal_mode = WAL").unwrap();
    let told = SqliteStore::open(&yard.path, Duration::ZERO, NOW).unwrap_err().to_string();
    assert!(told.contains("has 4096 bytes and nothing of a journal: restore a copy"), "{told}");
}

#[test]
fn an_emptied_file_whose_log_is_there_keeps_the_log_and_is_saved_out_of_it() {
    let yard = Yard::new();
    drop(yard.store());
    let log = std::fs::read(beside(&yard.path, "-wal")).unwrap();
    assert!(!log.is_empty());
    std::fs::write(&yard.path, "").unwrap();
    for told in [check(&yard.path).unwrap_err().to_string(), SqliteStore::open(&yard.path, Duration::ZERO, NOW).unwrap_err().to_string()] {
        assert!(told.contains("has 0 bytes, and its log is there: `switchyard journal repair` saves what the log has"), "{told}");
        assert_eq!(std::fs::read(beside(&yard.path, "-wal")).unwrap(), log);
    }
    let report = repair(&yard.path, NOW).unwrap();
    assert_eq!((report.events, report.deliveries), (8, 12));
    assert_eq!(report.lost, ["the file was emptied: what its log does not have is lost"]);
    assert_eq!(std::fs::read(beside(&report.before, "-wal")).unwrap(), log);
    assert_eq!(yard.faults(), [] as [&str; 0]);
    assert_eq!(yard.store().recover().unwrap().last.0, 8);
    let left: Vec<_> = std::fs::read_dir(yard.folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("from")), "{left:?}");
}
