//! What the file promises beyond the common suite: durability by its settings, refusals at the door, damage, space, time.

use super::upkeep::HELD;
use super::*;
use crate::journal::Archive;
use crate::journal::archive::{Audit, EventFilter};
use crate::journal::duplicates::DuplicateFilter;
use crate::journal::memory::samples::{all, event, id, plan, settled, target};
use crate::journal::replay::{JobState, Render, ReplayJob};
use crate::journal::store::{Append, DeliveryFilter, Fate, Reads, TopicMatch};
use crate::model::{
    BEHIND, COLLECTED, ConfigVersion, Cursor, Dedupe, DeliveryId, DeliveryRow, Event, EventId, PACED, Plan, SecretPlace, Settlement, State,
    SystemClock,
};
use rusqlite::params;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

const NOW: Timestamp = Timestamp(1_772_445_600_000);
const WINDOW: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
const RETAIN: Retain = Retain { delivered: DAY, dead: Duration::from_hours(240), max_bytes: None };

struct Yard {
    folder: tempfile::TempDir,
    store: Option<SqliteStore>,
}

impl Yard {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("data/journal.db"), WINDOW, NOW).unwrap();
        Yard { folder, store: Some(store) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("data/journal.db")
    }

    fn store(&mut self) -> &mut SqliteStore {
        self.store.as_mut().unwrap()
    }

    fn archive(&self) -> Archive {
        Archive::new(&self.path(), Arc::new(SystemClock::default()))
    }

    /// Lets go without a last word, and opens again.
    fn reopen(&mut self) {
        self.store = None;
        self.store = Some(SqliteStore::open(&self.path(), WINDOW, NOW).unwrap());
    }

    fn commit(&mut self, batch: &Batch) -> Vec<Fate> {
        self.store().commit(batch).unwrap().fates
    }

    fn append(&mut self, event: Event, plan: Plan) -> Fate {
        let dedupe = Some(Dedupe::of(&event, WINDOW));
        self.commit(&appends(vec![Append { event, plan, dedupe }]))[0]
    }

    /// Another connection, for what only a broken disk does.
    fn tamper(&self, sql: &str) {
        let db = Connection::open(self.path()).unwrap();
        db.execute_batch(sql).unwrap();
    }

    fn count(&self, of: &str) -> i64 {
        let db = Connection::open(self.path()).unwrap();
        db.query_row(&format!("SELECT count(*) FROM {of}"), [], |row| row.get(0)).unwrap()
    }
}

fn appends(appends: Vec<Append>) -> Batch {
    Batch { appends, at: NOW, ..Batch::default() }
}

fn new(seq: i64) -> Fate {
    Fate::New { seq: Seq(seq), reused_id: false }
}

fn with_id(mut event: Event, sender_id: &str) -> Event {
    event.sender_id = Some(sender_id.into());
    event
}

#[test]
fn what_was_committed_is_there_after_a_crash_byte_for_byte() {
    let mut yard = Yard::new();
    let chat = target("big-orders", "chat");
    let mut kept = with_id(event(1, "{\"total\": 1.10}\u{0}", NOW), "order-7");
    kept.query = "a=1&b=%20".into();
    let mut planned = plan(&[&chat, &target("all", "file")]);
    planned.failed.push((1, "no such field".into()));
    assert_eq!(yard.append(kept.clone(), planned.clone()), new(1));
    yard.reopen();
    let view = yard.archive().event(kept.id).unwrap().unwrap();
    assert!(!view.damaged);
    assert_eq!((&view.kept.event, &view.kept.plan, view.kept.seq), (&kept, &planned, Seq(1)));
}

#[test]
fn every_setting_that_durability_rests_on_is_read_back() {
    let mut yard = Yard::new();
    let ask = |db: &Connection, name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    let db = &yard.store().db;
    let found: Vec<_> = ["synchronous", "wal_autocheckpoint", "auto_vacuum", "fullfsync", "user_version"].map(|name| ask(db, name)).into();
    assert_eq!(found, [2, 0, 2, 1, SCHEMA]);
}

#[test]
fn the_files_are_readable_by_their_owner_alone() {
    let mut yard = Yard::new();
    yard.append(event(1, "a", NOW), Plan::default());
    let mode = |name: &str| std::fs::metadata(yard.folder.path().join(name)).unwrap().permissions().mode() & 0o777;
    let modes = ["data", "data/journal.db", "data/journal.db-wal", "data/journal.db.lock"].map(mode);
    assert_eq!(modes, [0o700, 0o600, 0o600, 0o600]);
}

#[test]
fn a_second_daemon_is_refused() {
    let yard = Yard::new();
    let refused = SqliteStore::open(&yard.path(), WINDOW, NOW).unwrap_err();
    assert!(refused.to_string().contains(&format!("in use by process {}", std::process::id())), "{refused}");
    assert_eq!(refused.exit_code(), 74);
}

#[test]
fn a_newer_schema_a_foreign_database_and_a_damaged_file_are_refused_and_left_alone() {
    let refusal = |spoil: &dyn Fn(&Yard)| {
        let mut yard = Yard::new();
        yard.append(event(1, "a", NOW), Plan::default());
        yard.store().tend(Tend::Closing).unwrap();
        yard.store = None;
        spoil(&yard);
        let before = std::fs::read(yard.path()).unwrap();
        let error = SqliteStore::open(&yard.path(), WINDOW, NOW).unwrap_err();
        assert_eq!(std::fs::read(yard.path()).unwrap(), before);
        format!("{} {}", error.exit_code(), error.to_string().replace(&yard.path().display().to_string(), "journal.db"))
    };
    insta::assert_snapshot!(refusal(&|yard| yard.tamper("PRAGMA user_version = 99")), @"74 journal.db has schema 99, and this program knows 12: start the newer program that wrote it, or restore the copy made before it ran");
    insta::assert_snapshot!(refusal(&|yard| yard.tamper("PRAGMA application_id = 7")), @"74 journal.db is a database of something else: point `journal.url` at a file of its own");
    let garble = |yard: &Yard| std::fs::write(yard.path(), vec![b'x'; 8192]).unwrap();
    insta::assert_snapshot!(refusal(&garble), @"75 journal.db: read the schema's number: the journal's file is damaged (Error code 26: file is not a database): `switchyard journal check` says what is, `switchyard journal repair` saves what can be read and keeps the file aside");
}

#[test]
fn a_file_of_the_schema_before_the_vault_is_taken_along_and_keeps_what_it_has() {
    let mut yard = Yard::new();
    yard.append(event(1, "a", NOW), Plan::default());
    let without_order =
        "DROP TABLE configs; DROP INDEX deliveries_on_dead; ALTER TABLE deliveries DROP COLUMN on_dead; DROP INDEX deliveries_apart; DROP INDEX deliveries_waits; DROP TABLE replays; DROP INDEX deliveries_until; DROP TABLE gone; DROP INDEX deliveries_ordered; DROP INDEX deliveries_turn;
        ALTER TABLE deliveries DROP COLUMN order_key;
        ALTER TABLE deliveries DROP COLUMN turn_at";
    yard.tamper(&format!("{without_order}; DROP TABLE vault; PRAGMA user_version = 1"));
    yard.reopen();
    let store = yard.store();
    assert_eq!(store.db.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)), Ok(SCHEMA));
    assert_eq!(store.seal("books", 0, b"sealed").map(|slice| slice.changed), Ok(1));
    assert_eq!(store.recover().unwrap().last, Seq(1));
}

#[test]
fn a_file_of_the_schema_before_times_of_held_ones_is_taken_along() {
    let mut yard = Yard::new();
    yard.append(event(1, "a", NOW), Plan::default());
    yard.tamper("DROP TABLE configs; DROP INDEX deliveries_on_dead; ALTER TABLE deliveries DROP COLUMN on_dead; DROP INDEX deliveries_apart; DROP INDEX deliveries_waits; DROP TABLE replays; DROP INDEX deliveries_until; PRAGMA user_version = 5");
    yard.reopen();
    let store = yard.store();
    let look = "EXPLAIN QUERY PLAN SELECT event FROM deliveries WHERE output = 1 AND state = 1 AND due_at <= 5 ORDER BY due_at";
    let plan: String = store.db.query_row(look, [], |row| row.get(3)).unwrap();
    assert!(plan.contains("deliveries_until"), "{plan}");
    assert_eq!(store.recover().unwrap().last, Seq(1));
}

#[test]
fn a_file_of_the_schema_before_replays_were_planned_is_taken_along() {
    let mut yard = Yard::new();
    yard.append(event(1, "a", NOW), Plan::default());
    yard.tamper("DROP TABLE configs; DROP INDEX deliveries_on_dead; ALTER TABLE deliveries DROP COLUMN on_dead; DROP INDEX deliveries_apart; DROP INDEX deliveries_waits; DROP TABLE replays; PRAGMA user_version = 6");
    yard.reopen();
    let planned = yard.store().operate(&Operation::PlanReplays(vec![dead_of("chat", 1)]), LATER, Mark::default()).unwrap();
    assert_eq!((planned.changed, yard.archive().replays().unwrap()), (1, vec![dead_of("chat", 1)]));
    assert_eq!(yard.store().recover().unwrap().last, Seq(1));
}

#[test]
fn a_file_of_the_schema_before_replays_had_their_own_line_is_taken_along() {
    let mut yard = Yard::new();
    let chat = target("a", "chat");
    yard.append(event(1, "a", NOW), plan(&[&chat]));
    yard.commit(&Batch { settlements: vec![settled(1, &chat, State::Waiting, NOW)], ..Batch::default() });
    yard.tamper(
        "DROP TABLE configs; DROP INDEX deliveries_on_dead; ALTER TABLE deliveries DROP COLUMN on_dead; DROP INDEX deliveries_apart; DROP INDEX deliveries_waits; DROP TABLE replays; DROP INDEX deliveries_until; DROP INDEX deliveries_waiting; PRAGMA user_version = 4;
        CREATE INDEX deliveries_waiting ON deliveries(output, due_at, event, target, ordinal) WHERE state = 0",
    );
    yard.reopen();
    let db = &yard.store().db;
    assert_eq!(db.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)), Ok(SCHEMA));
    // What waits is found by the index alone, in its order.
    let plan = |sql: &str| {
        let mut explain = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        explain.query_map([], |row| row.get::<_, String>(3)).unwrap().map(Result::unwrap).collect::<Vec<_>>().join("; ")
    };
    let of = "FROM deliveries WHERE output = 1 AND state = 0 AND (replays > 0) = 1";
    let page = plan(&format!(
        "SELECT detail {of} AND due_at <= 9 AND (due_at, event, target, ordinal) > (1, 1, 1, 1) ORDER BY due_at, event, target, ordinal"
    ));
    assert_eq!(
        page,
        "SEARCH deliveries USING INDEX deliveries_waiting (output=? AND <expr>=? AND (due_at,event,target,ordinal)>(?,?,?,?) AND due_at<?)"
    );
    let next = plan(&format!("SELECT min(due_at) {of} AND due_at > 9"));
    assert_eq!(next, "SEARCH deliveries USING INDEX deliveries_waiting (output=? AND <expr>=? AND due_at>?)");
    assert_eq!(yard.archive().waiting("chat", false, Cursor::default(), NOW, 9).unwrap().len(), 1);
}

#[test]
fn a_file_of_the_schema_before_those_held_apart_is_taken_along() {
    let mut yard = Yard::new();
    let chat = target("a", "chat");
    yard.append(event(1, "a", NOW), plan(&[&chat]));
    yard.commit(&Batch { settlements: vec![settled(1, &chat, State::Held, NOW)], ..Batch::default() });
    yard.tamper("DROP TABLE configs; DROP INDEX deliveries_on_dead; ALTER TABLE deliveries DROP COLUMN on_dead; DROP INDEX deliveries_apart; DROP INDEX deliveries_waits; PRAGMA user_version = 7");
    yard.reopen();
    assert!([BEHIND, COLLECTED].iter().all(|why| HELD.contains(&format!("'{why}'"))), "the index and the query say what rows say");
    let plan: String =
        yard.store().db.query_row(&format!("EXPLAIN QUERY PLAN {HELD}"), params![1, "x", 0, 0, 0, 1], |row| row.get(3)).unwrap();
    assert_eq!(plan, "SEARCH deliveries USING COVERING INDEX deliveries_apart (output=? AND detail=? AND (event,target,ordinal)>(?,?,?))");
    let list = "EXPLAIN QUERY PLAN SELECT detail FROM deliveries WHERE (event, target, ordinal) < (9, 9, 9) AND event BETWEEN 0 AND 9 AND state = 0
        ORDER BY event DESC, target DESC, ordinal DESC LIMIT 9";
    let plan: String = yard.store().db.query_row(list, [], |row| row.get(3)).unwrap();
    assert_eq!(plan, "SEARCH deliveries USING INDEX deliveries_waits (event>? AND event<?)", "a few that wait are found among millions");
    let unhold = |why: &str| Operation::Unhold { output: "chat".into(), why: ["a".to_owned(), why.to_owned()].into() };
    let detail = settled(1, &chat, State::Held, NOW).row.detail;
    assert_eq!(yard.store().operate(&unhold("another"), LATER, Mark::default()).unwrap().changed, 0);
    assert_eq!(yard.store().operate(&unhold(&detail), LATER, Mark::default()).unwrap().changed, 1);
}

#[test]
fn a_file_of_the_schema_before_plans_knew_their_configuration_is_taken_along() {
    let mut yard = Yard::new();
    let chat = target("a", "chat");
    yard.append(event(1, "a", NOW), plan(&[&chat]));
    yard.tamper("DROP TABLE configs; PRAGMA user_version = 9");
    yard.reopen();
    let version = ConfigVersion(7);
    let keep = Operation::KeepConfig { version, text: "routes: []".into() };
    assert_eq!(yard.store().operate(&keep, NOW, Mark::default()).unwrap().changed, 1);
    yard.append(event(2, "b", NOW), Plan { versions: vec![(0, version)], ..plan(&[&chat]) });
    let lines = yard.archive().events(&EventFilter::default(), None, 9).unwrap().rows;
    assert_eq!(lines.iter().map(|line| line.config).collect::<Vec<_>>(), [Some(version), None]);
}

#[test]
fn a_file_of_the_schema_before_events_knew_their_secret_is_taken_along() {
    let mut yard = Yard::new();
    let (chat, mail) = (target("a", "chat"), target("b", "mail"));
    yard.append(event(1, "a", NOW), plan(&[&chat]));
    yard.tamper("PRAGMA user_version = 11");
    yard.reopen();
    assert_eq!(yard.store().db.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)), Ok(SCHEMA));
    let signed_with = SecretPlace::of(1, 3);
    yard.append(Event { signed_with, ..event(2, "b", NOW) }, plan(&[&chat]));
    let secrets = |yard: &Yard| [1, 2].map(|n| yard.archive().event(event(n, "", NOW).id).unwrap().unwrap().kept.event.signed_with);
    assert_eq!(secrets(&yard), [None, signed_with]);
    // A plan that grows keeps it.
    let db = &yard.store().db;
    let grown = super::missing::add(db, &mut Names::load(db).unwrap(), Seq(2), &plan(&[&mail]), ("asked for", 1), LATER).unwrap();
    assert_eq!((grown, secrets(&yard)), (1, [None, signed_with]));
}

/// Rows that were told when to come by a limit are only looked through where the limit is another: there may be millions.
#[test]
fn the_same_limit_calls_nobody_back_twice() {
    let mut yard = Yard::new();
    let chat = target("a", "chat");
    let recall = |limit: &str| Operation::Recall { output: "chat".into(), but: Some(format!("{PACED}{limit}")) };
    assert_eq!(yard.store().operate(&recall("1/s"), NOW, Mark::default()).unwrap(), Slice { changed: 0, next: None });
    yard.append(event(1, "a", NOW), plan(&[&chat]));
    let mut row = settled(1, &chat, State::Waiting, NOW);
    (row.row.due_at, row.row.detail) = (Some(LATER), format!("{PACED}1/s"));
    yard.commit(&Batch { settlements: vec![row], ..Batch::default() });
    let limit = |yard: &mut Yard, limit: &str| {
        let (mut from, mut changed, mut slices) = (Some(Mark::default()), 0, 0);
        while let Some(mark) = from {
            let slice = yard.store().operate(&recall(limit), NOW, mark).unwrap();
            (from, changed, slices) = (slice.next, changed + slice.changed, slices + 1);
        }
        (changed, slices)
    };
    assert_eq!(limit(&mut yard, "1/s"), (0, 1), "at once");
    yard.reopen();
    assert_eq!(limit(&mut yard, "1/s"), (0, 1), "after a restart too");
    assert_eq!(limit(&mut yard, "2/s"), (1, 2), "live ones, then replays");
    assert_eq!(limit(&mut yard, "2/s"), (0, 1));
    // One that was broken off is done again.
    assert_eq!(yard.store().operate(&recall("1/s"), NOW, Mark::default()).unwrap().next, Some(Mark(1, 0, 0, 0)));
    yard.reopen();
    assert_eq!(limit(&mut yard, "2/s"), (0, 2));
}

#[test]
fn a_repeat_is_one_until_its_window_ends() {
    let mut yard = Yard::new();
    let first = event(1, "a", NOW);
    assert_eq!(yard.append(first.clone(), Plan::default()), new(1));
    let at = |nth, after: Duration| event(nth, "a", NOW + after);
    let almost = WINDOW.saturating_sub(Duration::from_millis(1));
    assert_eq!(yard.append(at(2, almost), Plan::default()), Fate::Duplicate { of: first.id });
    assert_eq!(yard.append(at(3, WINDOW), Plan::default()), new(2));
    // A clock set back makes nobody new.
    assert_eq!(yard.append(event(4, "a", NOW - DAY), Plan::default()), Fate::Duplicate { of: id(3, NOW + WINDOW) });
}

#[test]
fn a_repeat_is_recognised_within_one_batch_and_after_a_restart() {
    let mut yard = Yard::new();
    let append = |nth, body: &str| {
        let event = event(nth, body, NOW);
        Append { dedupe: Some(Dedupe::of(&event, WINDOW)), event, plan: Plan::default() }
    };
    let of = id(1, NOW);
    assert_eq!(yard.commit(&appends(vec![append(1, "a"), append(2, "a"), append(3, "b")])), [new(1), Fate::Duplicate { of }, new(2)]);
    yard.reopen();
    assert_eq!(yard.store().dedupe_keys(), (2, 0));
    assert_eq!(yard.commit(&appends(vec![append(4, "a")])), [Fate::Duplicate { of }]);
}

#[test]
fn a_longer_window_than_at_the_start_reads_the_older_keys_back() {
    let mut yard = Yard::new();
    let old = event(1, "a", NOW - DAY);
    yard.append(old.clone(), Plan::default());
    yard.reopen();
    assert_eq!(yard.store().dedupe_keys().0, 0);
    let repeat = event(2, "a", NOW);
    let dedupe = Some(Dedupe::of(&repeat, 2 * DAY));
    assert_eq!(yard.commit(&appends(vec![Append { event: repeat, plan: Plan::default(), dedupe }])), [Fate::Duplicate { of: old.id }]);
}

#[test]
fn the_same_id_with_another_body_is_kept_and_marked() {
    let mut yard = Yard::new();
    assert_eq!(yard.append(with_id(event(1, "a", NOW), "7"), Plan::default()), new(1));
    assert_eq!(yard.append(with_id(event(2, "b", NOW), "7"), Plan::default()), Fate::New { seq: Seq(2), reused_id: true });
    assert_eq!(yard.append(with_id(event(3, "a", NOW), "7"), Plan::default()), Fate::Duplicate { of: id(1, NOW) });
    let lines = yard.archive().events(&EventFilter::default(), None, 9).unwrap().rows;
    assert_eq!(lines.iter().map(|line| (line.seq.0, line.reused_id)).collect::<Vec<_>>(), [(2, true), (1, false)]);
}

#[test]
fn repeats_are_written_down_bounded_and_go_with_their_event() {
    let mut yard = Yard::new();
    yard.append(with_id(event(1, "a", NOW), "7"), Plan::default());
    yard.append(with_id(event(2, "b", NOW), "8"), Plan::default());
    let repeats: Vec<Append> = (10..DUPLICATES_MAX as u64 + 15)
        .map(|nth| {
            let event = if nth == 12 { with_id(event(nth, "b", NOW), "8") } else { with_id(event(nth, "a", NOW), "7") };
            Append { dedupe: Some(Dedupe::of(&event, WINDOW)), event, plan: Plan::default() }
        })
        .collect();
    assert!(yard.commit(&appends(repeats)).iter().all(|fate| matches!(fate, Fate::Duplicate { .. })));
    yard.reopen();
    let listed = |yard: &Yard, of| yard.archive().duplicates(&DuplicateFilter { of, source: None }, 9_999).unwrap();
    let all = listed(&yard, None);
    assert_eq!((all.len() as i64, all[0].id, all[0].of), (DUPLICATES_MAX, id(DUPLICATES_MAX as u64 + 14, NOW), id(1, NOW)));
    assert_eq!((all[999].id, all[0].sender_id.as_deref()), (id(15, NOW), Some("7")), "the oldest went first");
    let again = with_id(event(5_000, "b", NOW), "8");
    yard.append(again.clone(), Plan::default());
    assert_eq!(listed(&yard, Some(id(2, NOW))).iter().map(|found| found.id).collect::<Vec<_>>(), [again.id]);
    // As the event that it would be: with a head of its own and the other's body.
    let (would_be, damaged) = yard.archive().duplicate(again.id).unwrap().unwrap();
    assert_eq!((would_be, damaged), (again.clone(), false));
    // The event leaves, and what repeats it does.
    let gone = Operation::Erase { seqs: vec![Seq(2)], waiting: false };
    assert_eq!(yard.store().operate(&gone, NOW, Mark::default()).unwrap().changed, 1);
    assert_eq!((listed(&yard, Some(id(2, NOW))), yard.archive().duplicate(again.id).unwrap()), (vec![], None));
    assert_eq!(listed(&yard, None).len() as i64, DUPLICATES_MAX - 1);
    // A repeat of what is gone is recognised and not written down: there is no body that it could have.
    assert!(matches!(yard.append(with_id(event(6_000, "b", NOW), "8"), Plan::default()), Fate::Duplicate { .. }));
    assert_eq!(listed(&yard, None).len() as i64, DUPLICATES_MAX - 1);
}

#[test]
fn two_events_whose_keys_collide_are_both_kept() {
    let mut yard = Yard::new();
    let dedupe = Some(Dedupe { key: 7, window: WINDOW, released: false, but: &[] });
    let one = Append { event: event(1, "a", NOW), plan: Plan::default(), dedupe };
    let other = Append { event: event(2, "b", NOW), plan: Plan::default(), dedupe };
    assert_eq!(yard.commit(&appends(vec![one, other])), [new(1), new(2)]);
}

#[test]
fn a_full_disk_refuses_the_batch_and_nothing_of_it_stays_in_memory() {
    let mut yard = Yard::new();
    yard.append(event(1, "a", NOW), Plan::default());
    let full = |yard: &mut Yard, pages: i64| yard.store().db.pragma_update(None, "max_page_count", pages).unwrap();
    full(&mut yard, 1);
    let big = event(2, &"b".repeat(200_000), NOW);
    let batch = || {
        let dedupe = Some(Dedupe::of(&big, WINDOW));
        appends(vec![Append { event: big.clone(), plan: plan(&[&target("new", "new")]), dedupe }])
    };
    let error = yard.store().commit(&batch()).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    full(&mut yard, 1_000_000);
    // Neither its place nor its key nor its names were taken.
    assert_eq!(yard.commit(&batch()), [new(2)]);
    yard.reopen();
    assert_eq!(yard.archive().event(big.id).unwrap().unwrap().kept.plan, plan(&[&target("new", "new")]));
}

#[test]
fn a_damaged_row_is_seen_when_it_is_read() {
    let mut yard = Yard::new();
    let chat = target("a", "chat");
    for nth in 1..=3 {
        yard.append(event(nth, &nth.to_string(), NOW), plan(&[&chat]));
    }
    yard.commit(&Batch { settlements: vec![settled(2, &chat, State::Waiting, NOW)], ..Batch::default() });
    yard.tamper("UPDATE events SET body = x'00' WHERE seq = 2; UPDATE events SET plan = x'ff' WHERE seq = 3");
    let archive = yard.archive();
    let open = archive.open_events(Seq(1), Seq(9), 9).unwrap();
    assert_eq!(open.iter().map(|event| (event.kept.seq.0, event.damaged)).collect::<Vec<_>>(), [(1, false), (3, true)]);
    let waiting = archive.waiting("chat", false, Cursor::default(), NOW, 9).unwrap();
    assert_eq!(waiting.iter().map(|waiting| waiting.damaged).collect::<Vec<_>>(), [true]);
}

#[test]
fn retention_deletes_what_is_over_and_keeps_what_waits_is_held_or_is_open() {
    let mut yard = Yard::new();
    let chat = target("a", "chat");
    let states = [State::Delivered, State::Dead, State::Waiting, State::Held];
    for nth in 1..=4 {
        yard.append(event(nth, &nth.to_string(), NOW), plan(&[&chat]));
    }
    yard.append(event(5, "wanted by nobody", NOW), Plan::default());
    yard.append(event(6, "open", NOW), plan(&[&chat]));
    yard.append(event(7, "above the watermark", NOW), Plan::default());
    let settlements = (1..).zip(states).map(|(seq, state)| settled(seq, &chat, state, NOW)).collect();
    yard.commit(&Batch { settlements, watermark: Some(Seq(7)), ..Batch::default() });
    let mut sweep = |after: Duration| yard.store().sweep(RETAIN, NOW + after, Seq(0)).unwrap().deleted;
    let past = Duration::from_millis(1);
    assert_eq!(sweep(DAY), 0);
    assert_eq!(sweep(DAY + past), 2);
    assert_eq!(sweep(RETAIN.dead + past), 1);
    let left: Vec<_> = yard.archive().events(&EventFilter::default(), None, 9).unwrap().rows.iter().map(|line| line.seq.0).collect();
    assert_eq!(left, [7, 6, 4, 3]);
    assert_eq!(yard.count("deliveries"), 2);
}

#[test]
fn retention_goes_on_in_slices_and_no_place_is_given_twice() {
    let mut yard = Yard::new();
    let batch = (1..=1_200).map(|nth| Append { event: event(nth, "", NOW), plan: Plan::default(), dedupe: None }).collect();
    yard.commit(&appends(batch));
    yard.commit(&Batch { watermark: Some(Seq(1_201)), ..Batch::default() });
    let (mut after, mut slices) = (Seq(0), vec![]);
    loop {
        let swept = yard.store().sweep(RETAIN, NOW + 2 * DAY, after).unwrap();
        slices.push(swept.deleted);
        match swept.next {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(slices, [500, 500, 200]);
    yard.reopen();
    assert_eq!(yard.append(event(1, "after all were deleted", NOW), Plan::default()), new(1_201));
}

#[test]
fn an_event_is_kept_as_long_as_a_repeat_of_it_can_come() {
    let mut yard = Yard::new();
    let kept = event(1, "a", NOW);
    let dedupe = Some(Dedupe::of(&kept, 3 * DAY));
    yard.commit(&appends(vec![Append { event: kept, plan: Plan::default(), dedupe }]));
    yard.commit(&Batch { watermark: Some(Seq(2)), ..Batch::default() });
    assert_eq!(yard.store().sweep(RETAIN, NOW + 2 * DAY, Seq(0)).unwrap().deleted, 0);
    assert_eq!(yard.store().sweep(RETAIN, NOW + 4 * DAY, Seq(0)).unwrap().deleted, 1);
}

#[test]
fn the_log_is_copied_as_it_grows_and_cut_when_idle() {
    let mut yard = Yard::new();
    let size = |yard: &Yard| std::fs::metadata(yard.folder.path().join("data/journal.db-wal")).unwrap().len();
    for round in 0..40 {
        let batch =
            (0..100).map(|nth| Append { event: event(round * 100 + nth, &"x".repeat(1_000), NOW), plan: Plan::default(), dedupe: None });
        yard.commit(&appends(batch.collect()));
        yard.store().tend(Tend::Busy).unwrap();
    }
    // 40 batches are about 1,600 pages: without copying the log would hold them all.
    let grown = size(&yard);
    assert!(grown < 1_000 * 4_096, "{grown}");
    assert!(!yard.store().tend(Tend::Idle).unwrap());
    assert_eq!(size(&yard), 0);
    yard.append(event(9_999, "after the cut", NOW), Plan::default());
    yard.reopen();
    assert_eq!(yard.count("events"), 4_001);
}

#[test]
fn a_file_that_is_mostly_free_is_made_smaller() {
    let mut yard = Yard::new();
    let body = "x".repeat(900_000);
    let batch = (0..40).map(|nth| Append { event: event(nth, &body, NOW), plan: Plan::default(), dedupe: None }).collect();
    yard.commit(&appends(batch));
    yard.commit(&Batch { watermark: Some(Seq(41)), ..Batch::default() });
    yard.store().sweep(RETAIN, NOW + 2 * DAY, Seq(0)).unwrap();
    let before = yard.archive().stats().unwrap();
    while yard.store().tend(Tend::Idle).unwrap() {}
    let after = yard.archive().stats().unwrap();
    assert!(after.bytes < before.bytes / 2 && after.free_bytes <= 4_096 * 4_096, "{before:?} {after:?}");
}

/// Five events of two routes, in all states.
fn settled_yard() -> (Yard, [Arc<crate::model::Target>; 2]) {
    let mut yard = Yard::new();
    let targets = [target("a", "chat"), target("b", "books")];
    for nth in 1..=5 {
        let mut event = event(nth, &format!("{{\"total\":{nth}}}"), NOW + Duration::from_secs(nth));
        event.topic = if nth % 2 == 0 { "ORDER_MADE".into() } else { "ORDER_PAID".into() };
        yard.append(event, plan(&[&targets[0], &targets[1]]));
    }
    let chat = [State::Delivered, State::Dead, State::Waiting, State::Held, State::Delivered];
    let mut settlements: Vec<_> = (1..).zip(chat).map(|(seq, state)| settled(seq, &targets[0], state, NOW)).collect();
    settlements.extend((1..=3).map(|seq| settled(seq, &targets[1], State::Dead, NOW)));
    yard.commit(&Batch { settlements, watermark: Some(Seq(4)), ..Batch::default() });
    (yard, targets)
}

#[test]
fn lists_are_filtered_and_paged() {
    let (yard, targets) = settled_yard();
    let archive = yard.archive();
    let seqs = |filter: &EventFilter| {
        let page = archive.events(filter, None, 9).unwrap();
        assert_eq!(page.next, None);
        page.rows.iter().map(|line| line.seq.0).collect::<Vec<_>>()
    };
    let none = EventFilter::default();
    assert_eq!(seqs(&EventFilter { topic: Some(TopicMatch::Exact("ORDER_MADE".into())), ..none.clone() }), [4, 2]);
    assert_eq!(
        seqs(&EventFilter { topic: Some(TopicMatch::Prefix("ORDER".into())), source: Some("shop".into()), ..none.clone() }).len(),
        5
    );
    assert_eq!(seqs(&EventFilter { text: Some("total\":3".into()), ..none.clone() }), [3]);
    let (since, until) = (Some(NOW + Duration::from_secs(2)), Some(NOW + Duration::from_secs(4)));
    assert_eq!(seqs(&EventFilter { since, until, ..none.clone() }), [3, 2]);
    let first = archive.events(&none, None, 2).unwrap();
    let second = archive.events(&none, first.next, 9).unwrap();
    assert_eq!(first.rows.iter().chain(&second.rows).map(|line| line.seq.0).collect::<Vec<_>>(), [5, 4, 3, 2, 1]);

    let dead = DeliveryFilter { states: vec![State::Dead], ..all() };
    let first = archive.deliveries(&dead, None, 3).unwrap();
    let second = archive.deliveries(&dead, first.next, 3).unwrap();
    let rows = first.rows.iter().chain(&second.rows).map(|line| (line.row.key.seq.0, &*line.row.key.target.output));
    assert_eq!(rows.collect::<Vec<_>>(), [(3, "books"), (2, "books"), (2, "chat"), (1, "books")]);
    assert_eq!(second.next, None);
    let open = DeliveryFilter { states: vec![State::Dead, State::Held], not_to: Arc::new(BTreeSet::from([Arc::from("books")])), ..all() };
    let open = archive.deliveries(&open, None, 9).unwrap().rows;
    assert_eq!(open.iter().map(|line| line.row.key.seq.0).collect::<Vec<_>>(), [4, 2]);
    let of_event = archive.deliveries(&DeliveryFilter { event: Some(Seq(2)), output: Some("chat".into()), ..all() }, None, 9).unwrap();
    let event = id(2, NOW + Duration::from_secs(2));
    assert_eq!(of_event.rows[0].id, DeliveryId::of(event, "a", "chat", 0));
    assert_eq!(archive.delivery(event, of_event.rows[0].id).unwrap().unwrap().1.key.target, targets[0]);
    assert!(archive.event(EventId([9; 16])).unwrap().is_none());
}

#[test]
fn counts_and_the_audit_add_up_and_a_lost_delivery_is_told() {
    let (mut yard, targets) = settled_yard();
    let archive = yard.archive();
    let counts = archive.counts().unwrap();
    let told: Vec<_> = counts.iter().map(|of| (&*of.output, of.waiting, of.held, of.dead, of.oldest_due)).collect();
    assert_eq!(told, [("books", 0, 0, 3, None), ("chat", 1, 1, 1, Some(NOW))]);
    let sound = Audit { events: 5, planned: 10, waiting: 1, held: 1, delivered: 2, dead: 4, open: 2, lost: 0 };
    assert_eq!(archive.audit(&BTreeSet::new()).unwrap(), sound);
    let paused = BTreeSet::from([Arc::from("chat"), Arc::from("nobody")]);
    assert_eq!(archive.audit(&paused).unwrap(), Audit { waiting: 0, held: 2, ..sound });
    yard.commit(&Batch { settlements: vec![settled(4, &targets[1], State::Dead, NOW)], watermark: Some(Seq(6)), ..Batch::default() });
    assert_eq!(archive.audit(&BTreeSet::new()).unwrap(), Audit { dead: 5, open: 0, lost: 1, ..sound });
    let stats = archive.stats().unwrap();
    assert_eq!((stats.first, stats.last, stats.watermark), (Some(Seq(1)), Some(Seq(5)), Seq(6)));
}

#[test]
fn a_replay_over_thousands_goes_in_slices_and_meets_each_once() {
    let mut yard = Yard::new();
    let chat = target("a", "chat");
    let batch = (1..=2_500).map(|nth| Append { event: event(nth, "", NOW), plan: plan(&[&chat]), dedupe: None }).collect();
    let settlements = (1..=2_500).map(|seq| settled(seq, &chat, State::Dead, NOW)).collect();
    yard.commit(&appends(batch));
    yard.commit(&Batch { settlements, ..Batch::default() });
    let job = dead_of("chat", 2_500);
    yard.store().operate(&Operation::PlanReplays(vec![job]), LATER, Mark::default()).unwrap();
    let feed = Operation::FeedReplay { id: 1, most: 9_999 };
    let (mut from, mut changed) = (Mark::default(), vec![]);
    loop {
        let slice = yard.store().operate(&feed, LATER, from).unwrap();
        changed.push(slice.changed);
        // One that dies again at once is not replayed for ever.
        yard.commit(&Batch { settlements: vec![settled(1, &chat, State::Dead, LATER)], ..Batch::default() });
        match slice.next {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!(changed, [1_000, 1_000, 500]);
    assert_eq!(yard.archive().waiting("chat", true, Cursor::default(), LATER, 9_999).unwrap().len(), 2_499);
    assert_eq!(
        yard.archive().waiting("chat", false, Cursor::default(), LATER, 9_999).unwrap().len(),
        0,
        "they do not stand between the others"
    );
}

#[test]
fn a_file_that_is_too_large_lets_go_of_delivered_ones_first_then_of_dead_ones_and_repeats_stay_repeats() {
    let mut yard = Yard::new();
    let chat = target("a", "chat");
    let body = |nth: u64| format!("{nth}{}", "x".repeat(50_000));
    for nth in 1..=40 {
        yard.append(event(nth, &body(nth), NOW), plan(&[&chat]));
    }
    // One of four of each; the oldest waits.
    let states = [State::Waiting, State::Dead, State::Held, State::Delivered];
    let settlements = (1..=40).map(|seq| settled(seq, &chat, states[(seq as usize - 1) % 4], NOW)).collect();
    yard.commit(&Batch { settlements, watermark: Some(Seq(41)), ..Batch::default() });
    let used = |yard: &mut Yard| super::leave::used_bytes(&yard.store().db).unwrap();
    let left = |yard: &Yard, state: i64| yard.count(&format!("deliveries WHERE state = {state}"));
    let sweep = |yard: &mut Yard, max: u64| {
        let retain = Retain { max_bytes: Some(max), ..RETAIN };
        yard.store().sweep(retain, NOW, Seq(0)).unwrap().deleted
    };
    let full = used(&mut yard);
    assert_eq!(sweep(&mut yard, full), 0, "it fits");
    assert_eq!(sweep(&mut yard, full - 100_000), 10, "one round takes all delivered ones");
    assert_eq!([0, 1, 2, 3].map(|state| left(&yard, state)), [10, 10, 0, 10]);
    let now = used(&mut yard);
    assert!(now < full - 400_000, "{now} of {full}");
    assert_eq!(sweep(&mut yard, now), 0, "enough");
    // What is left is not enough: a round over the delivered ones, then the dead.
    assert_eq!(sweep(&mut yard, 1), 0);
    assert_eq!(sweep(&mut yard, 1), 10);
    assert_eq!([0, 1, 2, 3].map(|state| left(&yard, state)), [10, 10, 0, 0]);
    assert_eq!(sweep(&mut yard, 1), 0, "what waits or is held stays");
    // All of this within the window: what is gone is recognised, after a restart too.
    for _ in 0..2 {
        assert_eq!(yard.append(event(99, &body(4), NOW), Plan::default()), Fate::Duplicate { of: id(4, NOW) });
        assert_eq!(yard.append(event(99, &body(2), NOW), Plan::default()), Fate::Duplicate { of: id(2, NOW) });
        yard.reopen();
    }
    assert_eq!(yard.count("gone"), 20);
    let after = NOW + WINDOW + Duration::from_millis(1);
    assert_eq!(yard.store().sweep(RETAIN, after, Seq(0)).unwrap().deleted, 0);
    assert_eq!(yard.count("gone"), 0, "no repeat of them can come any more");
    assert_eq!(yard.append(event(99, &body(4), after), Plan::default()), new(41));
}

#[test]
fn what_is_erased_is_in_no_byte_of_the_files_and_its_place_is_not_given_again() {
    let mut yard = Yard::new();
    let chat = target("a", "chat");
    let mut erased = vec![];
    for nth in 1..=300 {
        let who = if nth % 3 == 0 { "made-up-person" } else { "somebody-else" };
        let mut event = with_id(
            event(nth, &format!("{{\"who\":\"{who}\",\"n\":{nth},\"pad\":\"{}\"}}", "x".repeat(nth as usize * 20)), NOW),
            &format!("{who}-{nth}"),
        );
        event.topic = format!("TOPIC_{who}").into();
        yard.append(event, plan(&[&chat]));
        let mut row = settled(nth as i64, &chat, State::Delivered, NOW);
        row.row.detail = format!("200 {who}");
        row.row.message =
            Some(Arc::new(crate::model::Message { payload: Some(format!("{{\"to\":\"{who}\"}}")), ..crate::model::Message::default() }));
        yard.commit(&Batch { settlements: vec![row], ..Batch::default() });
        erased.extend((nth % 3 == 0).then_some(Seq(nth as i64)));
    }
    let erase = Operation::Erase { seqs: erased, waiting: false };
    assert_eq!(yard.store().operate(&erase, NOW, Mark::default()).unwrap().changed, 100);
    while yard.store().operate(&Operation::Scrub { rewrite: true }, NOW, Mark::default()).unwrap().changed == 0 {}
    let files = ["", "-wal"].map(|more| std::fs::read(format!("{}{more}", yard.path().display())).unwrap_or_default());
    let holds = |word: &[u8]| files.iter().any(|file| file.windows(word.len()).any(|part| part == word));
    assert!(!holds(b"made-up-person") && holds(b"somebody-else"));
    yard.reopen();
    assert_eq!(yard.append(event(400, "new", NOW), Plan::default()), new(301), "place 300 was the person's");
    // A row that an output writes late finds no event, and writes nothing.
    assert_eq!(yard.archive().audit(&BTreeSet::new()).unwrap().lost, 0);
}

#[test]
fn what_is_under_way_is_erased_only_when_asked_for_and_its_late_row_is_not_written() {
    let mut yard = Yard::new();
    let chat = target("a", "chat");
    for nth in 1..=3 {
        yard.append(event(nth, &nth.to_string(), NOW), plan(&[&chat]));
    }
    yard.commit(&Batch {
        settlements: vec![settled(2, &chat, State::Waiting, NOW), settled(3, &chat, State::Delivered, NOW)],
        ..Batch::default()
    });
    let mut erase = |waiting| {
        let all = Operation::Erase { seqs: vec![Seq(1), Seq(2), Seq(3)], waiting };
        yard.store().operate(&all, NOW, Mark::default()).unwrap().changed
    };
    assert_eq!((erase(false), erase(true)), (1, 1), "the delivered one; then the one that waits; never the one whose plan is open");
    yard.commit(&Batch { settlements: vec![settled(2, &chat, State::Delivered, NOW)], ..Batch::default() });
    assert_eq!(yard.count("deliveries"), 0);
}

/// Demand 42: the cleaner is not slower than the intake, and the intake does not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_at_full_speed_stays_as_large_as_it_may_be() {
    const MAX: u64 = 4 << 20;
    let mut yard = Yard::new();
    let settings = crate::journal::Settings {
        // By age nothing goes.
        retain: Retain { delivered: 10_000 * DAY, dead: 10_000 * DAY, max_bytes: Some(MAX) },
        clock: Arc::new(SystemClock::default()),
        on_kept: Box::new(|_| ()),
    };
    let (journal, _) = crate::journal::Journal::start(Box::new(yard.store.take().unwrap()), settings).unwrap();
    let chat = target("a", "chat");
    let (mut largest, mut kept) = (0, 0);
    let mut seq = 0;
    while kept < 60 << 20 {
        let appended: Vec<_> = (0..500)
            .map(|_| {
                seq += 1;
                let event = event(seq, &format!("{seq}{}", "x".repeat(2_000)), NOW + Duration::from_millis(seq));
                let dedupe = Some(Dedupe::of(&event, Duration::from_secs(1)));
                kept += event.size();
                journal.append(event, plan(&[&chat]), dedupe)
            })
            .collect();
        for appended in appended {
            assert_eq!(appended.await, Ok(crate::model::Appended::New));
        }
        let rows = (seq as i64 - 499..=seq as i64).map(|seq| settled(seq, &chat, State::Delivered, NOW)).collect();
        journal.settle(rows, Box::new(|_| ()));
        let stats = yard.archive().stats().unwrap();
        largest = largest.max(stats.bytes - stats.free_bytes);
    }
    // What comes in between two looks and while a round begins, at this machine's full speed, and no more.
    assert!(largest < 40 << 20, "{largest} bytes in use of {kept} kept, and {MAX} may be");
    journal.close().await.unwrap();
}

const LATER: Timestamp = Timestamp(NOW.0 + 1);

/// A replay of all that is dead at an output before [`LATER`].
fn dead_of(output: &str, total: u64) -> ReplayJob {
    let (states, output_name) = (vec![State::Dead], Some(output.to_owned()));
    let filter = DeliveryFilter { states, output: output_name, through: Some(Seq(9_999)), written_before: Some(LATER), ..all() };
    let (planned_at, state, at) = (LATER, JobState::Running, Mark::default());
    ReplayJob {
        id: 1,
        output: output.into(),
        filter,
        missing: false,
        render: Render::Then,
        total,
        done: 0,
        state,
        planned_at,
        updated_at: LATER,
        at,
    }
}

#[test]
fn a_replay_fills_up_what_waits_and_goes_on_where_it_was_after_a_kill() {
    let mut yard = Yard::new();
    let chat = target("a", "chat");
    let batch = (1..=10).map(|nth| Append { event: event(nth, "", NOW), plan: plan(&[&chat]), dedupe: None }).collect();
    yard.commit(&appends(batch));
    yard.commit(&Batch { settlements: (1..=10).map(|seq| settled(seq, &chat, State::Dead, NOW)).collect(), ..Batch::default() });
    yard.store().operate(&Operation::PlanReplays(vec![dead_of("chat", 10)]), LATER, Mark::default()).unwrap();
    let feed = |yard: &mut Yard| yard.store().operate(&Operation::FeedReplay { id: 1, most: 4 }, LATER, Mark::default()).unwrap().changed;
    assert_eq!((feed(&mut yard), feed(&mut yard)), (4, 0), "four wait: there is no room");
    let over = |seq| DeliveryRow { replays: 1, ..settled(seq, &chat, State::Delivered, LATER).row };
    let settlements = (1..=3).map(|seq| Settlement { row: over(seq), ..settled(seq, &chat, State::Delivered, LATER) }).collect();
    yard.commit(&Batch { settlements, ..Batch::default() });
    yard.reopen();
    assert_eq!(feed(&mut yard), 3, "as many as are over");
    let job = yard.archive().replays().unwrap().remove(0);
    assert_eq!((job.done, job.state, job.at), (7, JobState::Running, Mark(0, 7, 1, 0)));
    let turn = |yard: &mut Yard, to| yard.store().operate(&Operation::TurnReplay { id: 1, to }, LATER, Mark::default()).unwrap().changed;
    assert_eq!((turn(&mut yard, JobState::Cancelled), turn(&mut yard, JobState::Running)), (1, 0), "what is cancelled stays so");
    yard.commit(&Batch { settlements: (4..=7).map(|seq| settled(seq, &chat, State::Delivered, LATER)).collect(), ..Batch::default() });
    assert_eq!(feed(&mut yard), 0);
}

#[test]
fn what_a_replay_touched_is_not_in_it_twice_whatever_became_of_it() {
    let mut yard = Yard::new();
    let chat = target("a", "chat");
    yard.commit(&appends((1..=3).map(|nth| Append { event: event(nth, "", NOW), plan: plan(&[&chat]), dedupe: None }).collect()));
    let states = [State::Dead, State::Held, State::Delivered];
    yard.commit(&Batch {
        settlements: (1..).zip(states).map(|(seq, state)| settled(seq, &chat, state, NOW)).collect(),
        ..Batch::default()
    });
    let mut job = dead_of("chat", 2);
    job.filter.states = vec![State::Dead, State::Held];
    yard.store().operate(&Operation::PlanReplays(vec![job]), LATER, Mark::default()).unwrap();
    let feed = |yard: &mut Yard| yard.store().operate(&Operation::FeedReplay { id: 1, most: 1 }, LATER, Mark::default()).unwrap().changed;
    assert_eq!(feed(&mut yard), 1, "the dead one");
    // Sent and not answered: held now, and before the place where the replay looks for held ones.
    let held = settled(1, &chat, State::Held, LATER);
    yard.commit(&Batch { settlements: vec![held], ..Batch::default() });
    // To the end of the dead ones, the held one, to the end of those.
    let fed: Vec<u64> = (0..3)
        .map(|_| {
            let fed = feed(&mut yard);
            if fed > 0 {
                yard.commit(&Batch { settlements: vec![settled(2, &chat, State::Delivered, LATER)], ..Batch::default() });
            }
            fed
        })
        .collect();
    let job = yard.archive().replays().unwrap().remove(0);
    assert_eq!((fed, job.done, job.state), (vec![0, 1, 0], 2, JobState::Finished), "the held one, once");
}
