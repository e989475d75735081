//! What the doctor tells of a sound journal, and of each kind of damage.

use super::*;
use crate::journal::Archive;
use crate::journal::memory::samples::{event, plan, settled, target};
use crate::journal::sqlite::SqliteStore;
use crate::journal::store::{Append, Batch, Reads, Retain, Store};
use crate::model::{Cursor, Dedupe, Message, OrderKey, Plan, Seq, Settlement, State, SystemClock, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const NOW: Timestamp = Timestamp(1_772_445_600_000);
/// Until when the held one is held.
const UNTIL: Timestamp = Timestamp(NOW.0 + 60_000);
const WINDOW: Duration = Duration::from_mins(1);
const RETAIN: Retain = Retain { delivered: Duration::from_hours(24), dead: Duration::from_hours(48), max_bytes: None };

pub(super) struct Yard {
    pub folder: tempfile::TempDir,
    pub path: PathBuf,
}

impl Yard {
    /// Six events of two routes in all states, one of them under way and above the watermark; two more are kept in order.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        let mut store = SqliteStore::open(&path, WINDOW, NOW).unwrap();
        let (chat, books, line) = (target("a", "chat"), target("b", "books"), target("c", "line"));
        let append = |nth: u64, plan: Plan| {
            let event = event(nth, &format!("{{\"total\":{nth}}}"), NOW + Duration::from_secs(nth));
            Append { dedupe: Some(Dedupe::of(&event, WINDOW)), event, plan }
        };
        let mut appends: Vec<Append> = (1..=6).map(|nth| append(nth, plan(&[&chat, &books]))).collect();
        let ordered = Plan { ordered: vec![(0, OrderKey(7))], ..plan(&[&line]) };
        appends.extend((7..=8).map(|nth| append(nth, ordered.clone())));
        store.commit(&Batch { appends, at: NOW, ..Batch::default() }).unwrap();
        let states = [State::Delivered, State::Dead, State::Waiting, State::Held, State::Delivered];
        let message = Message { payload: Some("{\"text\":\"made up\"}".into()), ..Message::default() };
        let mut settlements: Vec<Settlement> = (1..).zip(states).map(|(seq, state)| settled(seq, &chat, state, NOW)).collect();
        // Outside its hours, say.
        settlements[3].row.due_at = Some(UNTIL);
        settlements.extend((1..=5).map(|seq| settled(seq, &books, State::Waiting, NOW)));
        settlements
            .iter_mut()
            .filter(|row| row.row.state == State::Waiting)
            .for_each(|row| row.row.message = Some(Arc::new(message.clone())));
        store.commit(&Batch { settlements, watermark: Some(Seq(6)), ..Batch::default() }).unwrap();
        Yard { folder, path }
    }

    pub fn tamper(&self, sql: &str) {
        Connection::open(&self.path).unwrap().execute_batch(sql).unwrap();
    }

    pub fn faults(&self) -> Vec<String> {
        check(&self.path).unwrap().faults.into_iter().map(|fault| fault.what).collect()
    }

    pub fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.path, WINDOW, NOW).unwrap()
    }

    fn archive(&self) -> Archive {
        Archive::new(&self.path, Arc::new(SystemClock::default()))
    }
}

#[test]
fn a_sound_journal_has_no_faults_with_or_without_a_writer() {
    let yard = Yard::new();
    let sound = check(&yard.path).unwrap();
    assert_eq!((sound.events, sound.deliveries, sound.open, sound.schema), (8, 12, 2, sqlite::SCHEMA));
    assert_eq!(sound.faults, []);
    let _store = yard.store();
    assert_eq!(check(&yard.path).unwrap(), sound);
}

#[test]
fn every_damage_is_one_line_that_says_where() {
    let index = "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE INDEX events_received ON events(dedupe, received_at)' WHERE name = 'events_received'";
    for (sql, told) in [
        ("UPDATE events SET body = x'00' WHERE seq = 2", "event evt_019cadfd90d070000000000000000002 (place 2): its bytes are not"),
        ("UPDATE events SET plan = x'ff' WHERE seq = 2", "(place 2): its bytes are not"),
        ("UPDATE events SET topic = CAST(x'ff' AS TEXT) WHERE seq = 2", "(place 2): its bytes are not"),
        ("UPDATE events SET targets = 3 WHERE seq = 2", "(place 2): has a plan of 2 and says 3"),
        ("DELETE FROM deliveries WHERE event = 3 AND target = 1", "(place 3): its delivery a → chat was planned and has no row"),
        ("DELETE FROM events WHERE seq = 3", "a delivery of the event at place 3, which is not there"),
        ("UPDATE deliveries SET target = 99 WHERE event = 3 AND target = 1", "(place 3): a delivery whose target or state is none"),
        ("UPDATE deliveries SET state = 9 WHERE event = 3 AND target = 1", "(place 3): a delivery whose target or state is none"),
        (
            "UPDATE deliveries SET output = 2 WHERE event = 3 AND target = 1",
            "(place 3): its delivery a → chat stands in the queue of another",
        ),
        ("UPDATE deliveries SET due_at = NULL WHERE event = 3 AND target = 1", "(place 3): its delivery a → chat is waiting and its time"),
        (
            "UPDATE deliveries SET message = x'0100' WHERE event = 3 AND target = 1",
            "(place 3): the message or the words of its delivery a → chat",
        ),
        ("UPDATE deliveries SET detail = CAST(x'ff' AS TEXT) WHERE event = 1 AND target = 1", "(place 1): the message or the words"),
        ("UPDATE deliveries SET event = 7 WHERE event = 1 AND target = 1", "(place 7): has a delivery a → chat that was not planned"),
        (
            "UPDATE deliveries SET order_key = NULL WHERE event = 8",
            "(place 8): a delivery waits behind another of its key, and there is none",
        ),
        (
            "UPDATE deliveries SET order_key = NULL, detail = 'collected for the next digest of its key' WHERE event = 8",
            "(place 8): a delivery waits behind another of its key, and there is none",
        ),
        (index, "the file: row"),
    ] {
        let yard = Yard::new();
        yard.tamper(sql);
        let faults = yard.faults();
        assert!(faults.iter().any(|fault| fault.contains(told)), "{sql}: {faults:?}");
        assert!(faults.len() <= 20 && faults.iter().all(|fault| !fault.contains('\n')), "{sql}: {faults:?}");
    }
}

#[test]
fn what_is_no_journal_is_said() {
    let yard = Yard::new();
    let told = |path: &Path| check(path).unwrap_err().to_string().replace(yard.folder.path().to_str().unwrap(), "");
    assert_eq!(told(&yard.folder.path().join("no.db")), "there is no journal at /no.db: say which with --config, or with --file");
    let other = yard.folder.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE a(b)").unwrap();
    assert!(told(&other).contains("is a database of something else"));
    std::fs::write(&other, vec![b'x'; 8192]).unwrap();
    assert!(told(&other).contains("the journal's file is damaged"));
}

/// F8: one bit of the closed file. Whatever it hits, nothing panics, and no event or message is given out that is not as it was kept.
#[test]
fn a_flipped_bit_never_gives_out_other_bytes() {
    let yard = Yard::new();
    let archive = |path: &Path| Archive::new(path, Arc::new(SystemClock::default()));
    drop(yard.store());
    yard.tamper("PRAGMA wal_checkpoint(TRUNCATE)");
    let whole = std::fs::read(&yard.path).unwrap();
    let bodies = |archive: &Archive| -> Option<BTreeMap<i64, (bool, Vec<u8>)>> {
        let views = archive.whole_events(Seq(0), Seq(i64::MAX), 99).ok()?;
        Some(views.into_iter().map(|view| (view.kept.seq.0, (view.damaged, view.kept.event.body.to_vec()))).collect())
    };
    let sound = bodies(&yard.archive()).unwrap();
    let messages = yard.archive().waiting("books", false, Cursor::default(), NOW, 99).unwrap();
    assert_eq!(messages.len(), 5);
    let (mut told, mut nth) = (0, 0x9e37_79b9_u64);
    for round in 0..200 {
        // The same places at every run, spread over the whole file.
        nth = nth.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (nth >> 20) as usize % whole.len();
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (round % 8);
        let path = yard.folder.path().join(format!("flipped-{round}.db"));
        std::fs::write(&path, &damaged).unwrap();
        told += usize::from(!check(&path).is_ok_and(|checkup| checkup.is_sound()));
        for (seq, (is_damaged, body)) in bodies(&archive(&path)).unwrap_or_default() {
            let same = sound.get(&seq).is_some_and(|(_, kept)| *kept == body);
            assert!(is_damaged || same, "byte {at}: event {seq} is given out with other bytes");
        }
        for waiting in archive(&path).waiting("books", false, Cursor::default(), NOW, 99).unwrap_or_default() {
            let kept = messages.iter().any(|kept| kept.loaded.row.message == waiting.loaded.row.message);
            assert!(waiting.damaged || kept, "byte {at}: a message is given out with other bytes");
        }
        let _ = std::fs::remove_file(path);
    }
    assert!(told > 5, "{told}");
}

#[test]
fn a_backup_is_one_moment_and_takes_no_other_files_name() {
    let yard = Yard::new();
    let mut store = yard.store();
    let to = yard.folder.path().join("copy.db");
    let copied = backup(&yard.path, &to).unwrap();
    assert_eq!((copied.events, copied.deliveries, copied.faults), (8, 12, 0));
    let more = Append { event: event(9, "later", NOW), plan: Plan::default(), dedupe: None };
    store.commit(&Batch { appends: vec![more], ..Batch::default() }).unwrap();
    assert_eq!(check(&to).unwrap().events, 8);
    assert!(matches!(backup(&yard.path, &to), Err(DoctorError::Exists(_))));
    let names: Vec<_> = std::fs::read_dir(yard.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("new")), "{names:?}");
    // It is a journal: a daemon goes on from it.
    let mut restored = SqliteStore::open(&to, WINDOW, NOW).unwrap();
    assert_eq!(restored.recover().unwrap().last, Seq(8));
    let _ = restored;
}

#[test]
fn a_backup_of_a_damaged_row_says_so_and_one_of_a_damaged_file_is_none() {
    let yard = Yard::new();
    yard.tamper("UPDATE events SET body = x'00' WHERE seq = 2");
    assert_eq!(backup(&yard.path, &yard.folder.path().join("a.db")).unwrap().faults, 1);
    yard.tamper("PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE INDEX events_received ON events(dedupe, received_at)' WHERE name = 'events_received'");
    let to = yard.folder.path().join("b.db");
    assert!(matches!(backup(&yard.path, &to), Err(DoctorError::Unsound { .. })));
    assert!(!to.exists());
}

#[test]
fn stats_count_by_output_and_state_and_say_what_retention_takes() {
    let yard = Yard::new();
    yard.tamper("UPDATE deliveries SET state = 2, due_at = NULL WHERE event = 1");
    let found = stats(&yard.path, RETAIN, NOW + Duration::from_hours(25)).unwrap();
    let of = |output: &str, waiting, held, delivered, dead| OutputFigures { output: output.into(), waiting, held, delivered, dead };
    assert_eq!(found.outputs, [of("books", 4, 0, 1, 0), of("chat", 1, 1, 2, 1), of("line", 1, 1, 0, 0)]);
    assert_eq!((found.events, found.day_events, found.over_events), (8, 0, 1));
    assert_eq!(found.oldest.as_deref(), Some("2026-03-02T10:00:01.000Z"));
    let today = stats(&yard.path, Retain { max_bytes: Some(4_096), ..RETAIN }, NOW).unwrap();
    assert_eq!((today.day_events, today.day_bytes, today.over_events), (8, today.event_bytes, 0));
    assert_eq!(today.over_max_size_bytes, today.file_bytes - today.free_bytes - 4_096);
    assert!(today.file_bytes > 0 && today.disk_free_bytes.is_some_and(|free| free > 0));
}

#[test]
fn a_journal_of_an_older_schema_is_looked_at_as_it_is() {
    let yard = Yard::new();
    yard.tamper(
        "DROP TABLE configs; DROP INDEX deliveries_on_dead; ALTER TABLE deliveries DROP COLUMN on_dead; DROP INDEX deliveries_apart; DROP INDEX deliveries_waits; DROP TABLE replays; DROP TABLE gone; DROP INDEX deliveries_ordered; DROP INDEX deliveries_turn; ALTER TABLE deliveries DROP COLUMN order_key;
        ALTER TABLE deliveries DROP COLUMN turn_at; DROP TABLE vault; PRAGMA user_version = 1",
    );
    assert_eq!(check(&yard.path).unwrap().schema, 1);
    assert_eq!(stats(&yard.path, RETAIN, NOW).unwrap().events, 8);
    assert_eq!(yard.faults(), [] as [&str; 0]);
}

fn repaired(yard: &Yard) -> Repaired {
    let report = repair(&yard.path, NOW).unwrap();
    assert_eq!(yard.faults(), [] as [&str; 0]);
    assert_eq!(yard.archive().audit(&BTreeSet::new()).unwrap().lost, 0);
    report
}

#[test]
fn a_sound_journal_is_not_repaired() {
    let yard = Yard::new();
    assert!(matches!(repair(&yard.path, NOW), Err(DoctorError::Sound(_))));
    let _store = yard.store();
    assert!(matches!(repair(&yard.path, NOW), Err(DoctorError::Open(OpenError::Lock(_)))));
}

#[test]
fn every_damaged_row_goes_aside_is_told_and_the_rest_stays() {
    for (sql, events, lost, to_deliver) in [
        (
            "UPDATE events SET body = x'00' WHERE seq = 2",
            7,
            vec!["event evt_019cadfd90d070000000000000000002 (place 2): its bytes are not those that were kept"],
            2,
        ),
        ("DELETE FROM deliveries WHERE event = 3 AND target = 1", 8, vec![], 3),
        ("DELETE FROM events WHERE seq = 3", 7, vec![], 2),
        ("UPDATE events SET targets = 9 WHERE seq = 2", 8, vec![], 2),
        ("UPDATE deliveries SET output = 2 WHERE event = 3 AND target = 1", 8, vec![], 2),
        ("UPDATE deliveries SET due_at = NULL WHERE event = 3 AND target = 1", 8, vec![], 2),
        ("UPDATE deliveries SET state = 9 WHERE event = 3 AND target = 1", 8, vec![], 3),
        (
            "UPDATE deliveries SET message = x'0100' WHERE event = 3 AND target = 1",
            8,
            vec!["the message of the delivery a → chat of the event at place 3: it is dead, and can be replayed"],
            2,
        ),
        ("UPDATE deliveries SET detail = CAST(x'ff' AS TEXT) WHERE event = 1 AND target = 1", 8, vec![], 2),
        // The first of its line goes with its event: the next has its turn.
        (
            "UPDATE events SET body = x'00' WHERE seq = 7",
            7,
            vec!["event evt_019cadfda45870000000000000000007 (place 7): its bytes are not those that were kept"],
            2,
        ),
        (
            "UPDATE deliveries SET detail = 'collected for the next digest of its key' WHERE event = 8; UPDATE events SET body = x'00' WHERE seq = 7",
            7,
            vec!["event evt_019cadfda45870000000000000000007 (place 7): its bytes are not those that were kept"],
            2,
        ),
    ] {
        let yard = Yard::new();
        yard.tamper(sql);
        let before = std::fs::read(&yard.path).unwrap();
        let report = repaired(&yard);
        assert_eq!(
            (report.events, report.lost.clone(), report.to_deliver),
            (events, lost.iter().map(|line| (*line).to_owned()).collect(), to_deliver),
            "{sql}"
        );
        assert_eq!(std::fs::read(&report.before).unwrap(), before, "the damaged file is as it was");
        assert!(report.damaged.exists());
        assert_eq!(yard.store().recover().unwrap().last, Seq(8), "{sql}");
        let held = "SELECT due_at FROM deliveries WHERE state = 1 AND due_at IS NOT NULL";
        let until = Connection::open(&yard.path).unwrap().query_row(held, [], |row| row.get(0));
        assert_eq!(until, Ok(UNTIL.0), "{sql}");
        assert_eq!(yard.archive().waiting("line", false, Cursor::default(), NOW + Duration::from_hours(1), 9).unwrap().len(), 1, "{sql}");
    }
}

#[test]
fn pages_that_cannot_be_read_cost_what_is_on_them_and_nothing_else() {
    let yard = Yard::new();
    let mut store = yard.store();
    let chat = target("a", "chat");
    for nth in 9..=400 {
        let event = event(nth, &format!("{{\"total\":{nth},\"pad\":\"{}\"}}", "x".repeat(600)), NOW + Duration::from_secs(nth));
        store.commit(&Batch { appends: vec![Append { event, plan: plan(&[&chat]), dedupe: None }], ..Batch::default() }).unwrap();
    }
    let settlements = (9..=400).map(|seq| settled(seq, &chat, State::Delivered, NOW)).collect();
    store.commit(&Batch { settlements, ..Batch::default() }).unwrap();
    drop(store);
    yard.tamper("PRAGMA wal_checkpoint(TRUNCATE)");
    let mut bytes = std::fs::read(&yard.path).unwrap();
    // A leaf of the events: the page that holds the body of the 200th.
    let at = bytes.windows(13).position(|part| part == b"{\"total\":200,").unwrap() / 4_096 * 4_096;
    bytes[at..at + 4_096].fill(0xee);
    std::fs::write(&yard.path, &bytes).unwrap();
    assert!(yard.faults().iter().any(|fault| fault.contains("can't be read")), "{:?}", yard.faults());
    let report = repaired(&yard);
    let lost = report.lost.len() as u64;
    assert!((1..20).contains(&lost) && report.events == 400 - lost, "{report:?}");
    assert!(
        report.lost.iter().any(|line| line == "the event at place 200, received 2026-03-02T10:03:20.000Z, can't be read"),
        "{:?}",
        report.lost
    );
    let side = Connection::open(&report.damaged).unwrap();
    assert_eq!(side.query_row("SELECT count(*) FROM lost", [], |row| row.get::<_, i64>(0)).unwrap(), lost as i64);
    assert_eq!(side.query_row("SELECT count(*) FROM deliveries", [], |row| row.get::<_, i64>(0)).unwrap(), lost as i64, "their rows");
}

#[test]
fn a_repair_that_was_broken_off_keeps_the_daemon_away_and_goes_on() {
    let yard = Yard::new();
    yard.tamper("UPDATE events SET body = x'00' WHERE seq = 2");
    let report = repair(&yard.path, NOW).unwrap();
    // As if it had ended after each of the steps: the log aside; then the file; then the new one in its place.
    let (stamp, new) = (NOW.0.to_string(), beside(&yard.path, &format!(".repaired-{}", NOW.0)));
    for step in 0..3 {
        std::fs::write(beside(&yard.path, sqlite::REPAIRING), &stamp).unwrap();
        match step {
            0 => {
                std::fs::rename(&yard.path, &new).unwrap();
                std::fs::rename(&report.before, &yard.path).unwrap();
            }
            1 => std::fs::rename(&yard.path, &new).unwrap(),
            _ => {}
        }
        let refused = SqliteStore::open(&yard.path, WINDOW, NOW).unwrap_err().to_string();
        assert!(refused.contains("a repair of") && refused.contains("was broken off"), "{refused}");
        assert_eq!(repair(&yard.path, NOW).unwrap().before, report.before);
        assert_eq!(check(&yard.path).unwrap().events, 7, "step {step}");
        assert!(report.before.exists() && !new.exists());
    }
}

#[test]
fn a_migration_says_from_where_to_where_and_is_one_step() {
    let yard = Yard::new();
    assert_eq!(schemas(&yard.path).unwrap(), Schemas { from: sqlite::SCHEMA, to: sqlite::SCHEMA });
    yard.tamper("DROP TABLE configs; DROP INDEX deliveries_on_dead; ALTER TABLE deliveries DROP COLUMN on_dead; DROP INDEX deliveries_apart; DROP INDEX deliveries_waits; DROP TABLE replays; DROP INDEX deliveries_until; DROP TABLE gone; PRAGMA user_version = 3");
    assert_eq!(migrate(&yard.path, NOW).unwrap(), Schemas { from: 3, to: sqlite::SCHEMA });
    assert_eq!(schemas(&yard.path).unwrap().from, sqlite::SCHEMA);
    assert_eq!(yard.faults(), [] as [&str; 0]);
}

/// Whatever a bit or a page hits: a repair ends with a sound journal of rows as they were kept, or says why not and leaves the file alone.
#[test]
fn a_repair_never_gives_out_other_bytes_and_never_ends_unsound() {
    let yard = Yard::new();
    drop(yard.store());
    yard.tamper("PRAGMA wal_checkpoint(TRUNCATE)");
    let whole = std::fs::read(&yard.path).unwrap();
    let bodies = |path: &Path| -> BTreeMap<i64, Vec<u8>> {
        let archive = Archive::new(path, Arc::new(SystemClock::default()));
        let views = archive.whole_events(Seq(0), Seq(i64::MAX), 99).unwrap();
        views.into_iter().map(|view| (view.kept.seq.0, view.kept.event.body.to_vec())).collect()
    };
    let sound = bodies(&yard.path);
    let (mut repaired, mut nth) = (0, 0x9e37_79b9_u64);
    for round in 0..60 {
        nth = nth.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (nth >> 20) as usize % whole.len();
        let mut damaged = whole.clone();
        if round % 2 == 0 {
            damaged[at] ^= 1 << (round % 8);
        } else {
            damaged[at / 4_096 * 4_096..][..4_096].fill(round as u8);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        std::fs::write(&path, &damaged).unwrap();
        match repair(&path, NOW) {
            Ok(report) => {
                repaired += 1;
                assert!(check(&path).unwrap().is_sound());
                assert_eq!(std::fs::read(report.before).unwrap(), damaged);
                for (seq, body) in bodies(&path) {
                    assert_eq!(sound.get(&seq), Some(&body), "byte {at}: event {seq}");
                }
            }
            Err(why) => {
                assert_eq!(std::fs::read(&path).unwrap(), damaged, "{why}");
                let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
                assert!(left.iter().all(|name| !name.to_string_lossy().contains("repair")), "{why}: {left:?}");
            }
        }
    }
    assert!(repaired > 10, "{repaired}");
}

#[test]
fn a_backup_beside_a_busy_writer_is_one_moment_of_it() {
    let yard = Yard::new();
    let mut store = yard.store();
    let done = std::sync::atomic::AtomicBool::new(false);
    let chat = target("a", "chat");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for nth in 9.. {
                if done.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                let append = Append { event: event(nth, &"x".repeat(3_000), NOW), plan: plan(&[&chat]), dedupe: None };
                // Event and row in one commit: a copy has both or neither.
                let settlements = vec![settled(nth as i64, &chat, State::Delivered, NOW)];
                store.commit(&Batch { appends: vec![append], settlements, watermark: None, at: NOW }).unwrap();
                store.tend(crate::journal::store::Tend::Busy).unwrap();
            }
        });
        let mut events = 0;
        for round in 0..5 {
            let to = yard.folder.path().join(format!("copy-{round}.db"));
            let copied = backup(&yard.path, &to);
            if round == 4 || copied.is_err() {
                done.store(true, std::sync::atomic::Ordering::Relaxed);
            }
            let copied = copied.unwrap();
            assert_eq!((copied.faults, copied.deliveries), (0, 12 + copied.events - 8));
            assert!(copied.events >= events);
            events = copied.events;
        }
    });
}
