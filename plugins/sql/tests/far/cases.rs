//! What every database must do, whichever it is: one function a promise, run by the suite of each.

use super::{Database, Server, config, connect, connect_within, insert, message, numbers, once, password, through};
use crate::far::line::Line;
use std::collections::BTreeSet;
use std::time::Duration;
use switchyard_api::conformance::{deliver, deliver_one, parcel};
use switchyard_api::{Handle, Outcome, Output, Parcel};

/// Writes one test a promise.
macro_rules! promises {
    ($database:ty: $($promise:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $promise() {
            $crate::far::cases::$promise::<$database>().await;
        }
    )*};
}
pub(crate) use promises;

async fn make<D: Database>() -> D {
    tokio::task::spawn_blocking(D::make).await.unwrap()
}

fn count<D: Database>(base: &D) -> u64 {
    numbers(&base.sql("SELECT count(*) FROM arrived"))[0]
}

fn hex(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut all, byte| {
        write!(all, "{byte:02x}").unwrap();
        all
    })
}

pub async fn hostile_values_stay_data<D: Database>() {
    let base: D = make().await;
    let output = connect(&config(&base.url())).await;
    let long = "x".repeat(1 << 20);
    let values = [
        "'; DROP TABLE arrived; --",
        "\\'; DROP TABLE arrived; #",
        "\" OR \"\"=\"",
        ":n :note :delivery $1 ? @x",
        "$$ /* */ -- \r\n `",
        "😀 ü \u{202e}",
        "{{ raw }}",
        "",
        &long,
    ];
    for (number, value) in (0..).zip(values) {
        let outcome = deliver_one(&output, insert(number, value)).await;
        assert_eq!(outcome.text(), "INSERT 1 row", "{outcome:?}");
        let kept = base.sql(&format!("SELECT {} FROM arrived WHERE n = {number}", D::hex("note")));
        assert!(kept.to_lowercase() == hex(value), "{number}: {}", &kept[..kept.len().min(200)]);
    }
    assert_eq!(count(&base), values.len() as u64);
}

pub async fn the_bad_rows_of_a_batch_are_found<D: Database>() {
    for settings in [config, once] {
        let base: D = make().await;
        let output = connect(&settings(&base.url())).await;
        let bad = [17, 49];
        let mut parcels: Vec<Parcel> = (0..50).map(|number| insert(number, "")).collect();
        for number in bad {
            parcels[number as usize] = parcel(number, &message(super::INSERT, &[("n", "-1"), ("note", "")]));
        }
        let said = deliver(&output, parcels, None).await;
        for number in 0..50 {
            let (outcome, sent) = (said.outcome(Handle(number)), said.sent.get(&Handle(number)).copied());
            let expected = if bad.contains(&number) { ("rejected", None) } else { ("delivered", Some(1)) };
            assert_eq!((outcome.word(), sent), expected, "{number}: {outcome:?}");
        }
        let kept = numbers(&base.sql("SELECT n FROM arrived ORDER BY n"));
        assert_eq!(kept, (0..50).filter(|number| !bad.contains(number)).collect::<Vec<_>>());
    }
}

pub async fn statements_of_one_delivery_are_done_together_or_not_at_all<D: Database>() {
    let base: D = make().await;
    let output = connect(&config(&base.url())).await;
    let both = format!("{}; UPDATE stock SET left_over = left_over - :take WHERE id = 1", super::INSERT);
    let delivery = |number: u64, take: &str| parcel(number, &message(&both, &[("n", "1"), ("note", ""), ("take", take)]));
    let said = deliver(&output, vec![delivery(1, "4"), delivery(2, "100"), delivery(3, "5")], None).await;
    assert_eq!(said.outcome(Handle(1)).text(), "INSERT 1 row, UPDATE 1 row");
    assert_eq!(said.outcome(Handle(2)).word(), "rejected");
    assert_eq!(said.outcome(Handle(3)).word(), "delivered");
    assert_eq!((count(&base), base.sql("SELECT left_over FROM stock WHERE id = 1")), (2, "1".into()));
}

pub async fn a_repeat_is_done_once_where_that_is_asked<D: Database>() {
    let base: D = make().await;
    let output = connect(&once(&base.url())).await;
    output.check().await.unwrap();
    let first = deliver(&output, (0..10).map(|number| insert(number, "")).collect(), None).await;
    let again = deliver(&output, (0..20).map(|number| insert(number, "")).collect(), None).await;
    for number in 0..20 {
        let expected = if number < 10 { "done by an attempt before" } else { "INSERT 1 row" };
        assert_eq!(again.outcome(Handle(number)).text(), expected);
        assert!(number >= 10 || first.outcome(Handle(number)).text() == "INSERT 1 row");
    }
    assert_eq!(count(&base), 20);
}

pub async fn too_few_rows_are_undone_and_rejected<D: Database>() {
    let base: D = make().await;
    let output = connect(&switchyard_sql::Config { min_rows: 2, ..once(&base.url()) }).await;
    let update = "UPDATE stock SET left_over = 0 WHERE id <= :most";
    let delivery = |number: u64, most: &str| parcel(number, &message(update, &[("most", most)]));
    let said = deliver(&output, vec![delivery(1, "1"), delivery(2, "2")], None).await;
    let (few, enough) = (said.outcome(Handle(1)), said.outcome(Handle(2)));
    assert!(few.word() == "rejected" && few.text().contains("`min_rows` asks for 2"), "{few:?}");
    assert_eq!(enough.text(), "UPDATE 2 rows");
    let undone = deliver_one(&output, delivery(3, "0")).await;
    assert_eq!(undone.word(), "rejected", "{undone:?}");
    let repeat = deliver_one(&output, delivery(2, "2")).await;
    assert_eq!(repeat.text(), "done by an attempt before", "{repeat:?}");
}

pub async fn a_missing_table_holds_only_what_needs_it<D: Database>() {
    let base: D = make().await;
    let output = connect(&config(&base.url())).await;
    let said = deliver(&output, vec![insert(1, ""), parcel(2, &message("DELETE FROM not_there", &[])), insert(3, "")], None).await;
    let words = [1, 2, 3].map(|number| said.outcome(Handle(number)).word());
    assert_eq!(words, ["delivered", "misconfigured", "delivered"], "{said:?}");
    let lost = switchyard_sql::Config { once: Some(super::at("no_such_table".into())), ..config(&base.url()) };
    let output = connect(&lost).await;
    let outcome = deliver_one(&output, insert(4, "")).await;
    assert_eq!(outcome.word(), "misconfigured", "{outcome:?}");
    assert!(output.check().await.unwrap_err().to_string().contains("no_such_table"));
}

pub async fn rows_that_are_given_back_are_counted<D: Database>() {
    let base: D = make().await;
    let output = connect(&config(&base.url())).await;
    let outcome = deliver_one(&output, parcel(1, &message("SELECT id FROM stock ORDER BY id", &[]))).await;
    assert_eq!(outcome.text(), "SELECT 2 rows", "{outcome:?}");
    let outcome = deliver_one(&output, parcel(2, &message("DELETE FROM stock WHERE id = :id", &[("id", "7")]))).await;
    assert_eq!(outcome.text(), "DELETE 0 rows", "{outcome:?}");
}

pub async fn a_commit_whose_answer_is_lost_is_unknown_and_its_repeat_is_known<S: Server>() {
    let base: S = make().await;
    let line = Line::to(base.port()).await;
    let output = connect(&once(&through(&base, line.port()))).await;
    line.cut_at_commits();
    let batch = || (0..20).map(|number| insert(number, "")).collect();
    let lost = deliver(&output, batch(), None).await;
    assert!((0..20).all(|number| lost.outcome(Handle(number)).word() == "unknown" && lost.sent[&Handle(number)] == 1), "{lost:?}");
    line.pass();
    let again = deliver(&output, batch(), None).await;
    assert!((0..20).all(|number| again.outcome(Handle(number)).text() == "done by an attempt before"), "{again:?}");
    assert_eq!(count(&base), 20);
}

pub async fn a_repeat_waits_for_the_attempt_that_still_runs<S: Server>() {
    let base: S = make().await;
    let line = Line::to(base.port()).await;
    let held = connect_within(&once(&through(&base, line.port())), Duration::from_mins(1)).await;
    line.hold_commits();
    let first = tokio::spawn(async move { deliver_one(&held, insert(1, "")).await });
    wait(async || base.sql(S::OPEN_TRANSACTIONS).trim() == "1").await;
    let second = connect_within(&once(&base.url()), Duration::from_mins(1)).await;
    let second = tokio::spawn(async move { deliver_one(&second, insert(1, "")).await });
    wait(async || base.sql(S::OPEN_TRANSACTIONS).trim() == "2").await;
    line.pass();
    assert_eq!(first.await.unwrap().text(), "INSERT 1 row");
    assert_eq!(second.await.unwrap().text(), "done by an attempt before");
    assert_eq!(count(&base), 1);
}

pub async fn a_locked_row_is_tried_again_and_holds_up_no_other<S: Server>() {
    let base: S = make().await;
    let line = Line::to(base.port()).await;
    let holder = connect(&config(&through(&base, line.port()))).await;
    line.hold_commits();
    let take = |number: u64, id: &str| parcel(number, &message("UPDATE stock SET left_over = 3 WHERE id = :id", &[("id", id)]));
    let locked = take(1, "1");
    let holding = tokio::spawn(async move { deliver_one(&holder, locked).await });
    wait(async || base.sql(S::OPEN_TRANSACTIONS).trim() == "1").await;
    let output = connect_within(&config(&base.url()), Duration::from_secs(8)).await;
    let said = deliver(&output, vec![take(2, "2"), take(3, "1"), insert(4, "")], None).await;
    let words = [2, 3, 4].map(|number| said.outcome(Handle(number)).word());
    assert_eq!(words, ["delivered", "retry", "delivered"], "{said:?}");
    line.pass();
    assert_eq!(holding.await.unwrap().word(), "delivered");
    assert_eq!(deliver_one(&output, take(3, "1")).await.text(), "UPDATE 1 row");
}

pub async fn a_deadlock_is_tried_again<S: Server>() {
    let base: S = make().await;
    let output = connect(&config(&base.url())).await;
    let crossing = format!(
        "UPDATE stock SET left_over = left_over + 1 WHERE id = :a; {}; UPDATE stock SET left_over = left_over + 1 WHERE id = :b",
        S::pause(3)
    );
    let delivery = |number, a: &str, b: &str| parcel(number, &message(&crossing, &[("a", a), ("b", b)]));
    let (there, back) = tokio::join!(deliver_one(&output, delivery(1, "1", "2")), deliver_one(&output, delivery(2, "2", "1")));
    let (won, lost) = if there.word() == "delivered" { (there, back) } else { (back, there) };
    assert_eq!(won.word(), "delivered", "{won:?} {lost:?}");
    assert!(lost.word() == "retry" && lost.text().to_lowercase().contains("deadlock"), "{lost:?}");
    assert_eq!(deliver_one(&output, delivery(3, "1", "2")).await.word(), "delivered");
    assert_eq!(numbers(&base.sql("SELECT left_over FROM stock ORDER BY id")), [12, 12]);
}

pub async fn credentials_and_places_that_are_wrong_are_misconfigured<S: Server>() {
    let base: S = make().await;
    let right = password(&base.url());
    for (user, word, database) in [
        ("switchyard", "made-up-wrong-one", None),
        ("nobody", right.as_str(), None),
        ("switchyard", right.as_str(), Some("no_such_database")),
        ("reader", right.as_str(), None),
    ] {
        let output = connect(&config(&base.url_of(user, word, database, base.port()))).await;
        let outcome = deliver_one(&output, insert(1, "")).await;
        assert_eq!(outcome.word(), "misconfigured", "{user}: {outcome:?}");
        assert!(!outcome.text().contains(word) && !outcome.text().contains('\n'), "{outcome:?}");
        assert!(user == "reader" || output.check().await.is_err());
    }
    assert_eq!(count(&base), 0);
}

/// As the host does it: what is not delivered is sent again, whole or in part, until it is.
pub async fn deliver_all(output: &dyn Output, parcels: Vec<Parcel>, size: usize) -> BTreeSet<&'static str> {
    let mut words = BTreeSet::new();
    let mut waiting = parcels;
    while !waiting.is_empty() {
        let rest = waiting.split_off(waiting.len().min(size));
        let said = deliver(output, waiting.clone(), None).await;
        let failed = |parcel: &Parcel| !matches!(said.outcome(parcel.handle), Outcome::Delivered { .. });
        words.extend(waiting.iter().map(|parcel| said.outcome(parcel.handle).word()));
        waiting.retain(failed);
        if !waiting.is_empty() {
            // The host's breaker would wait longer.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        waiting.extend(rest);
    }
    words
}

/// Until it holds; 20 s at most.
pub async fn wait(holds: impl AsyncFn() -> bool) {
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(tokio::time::Instant::now() < until, "it never came");
        // MariaDB looks anew only where nobody asked for 100 ms.
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
}

pub async fn tls_is_proven<S: Server>() {
    use switchyard_sql::{Config, Mode, TlsSection};
    let base: S = make().await;
    let url = base.url_of("careful", &password(&base.url()), None, base.port());
    let (right, wrong) = (super::tls::file(&super::tls::pem().ca), super::tls::file(&super::tls::fresh().ca));
    let section = |mode, ca: Option<&tempfile::NamedTempFile>| TlsSection {
        mode,
        ca: ca.map(|file| file.path().to_owned()),
        ..TlsSection::default()
    };
    for (url, tls, word) in [
        (&url, Some(section(None, Some(&right))), "delivered"),
        (&url, Some(section(None, Some(&wrong))), "misconfigured"),
        (&url, Some(section(Some(Mode::Verify), None)), "misconfigured"),
        // The certificate is for an address, and not for this name.
        (&url.replace("127.0.0.1", "localhost"), Some(section(None, Some(&right))), "misconfigured"),
        (&url, Some(section(Some(Mode::Off), None)), "misconfigured"),
        (&url, None, "misconfigured"),
    ] {
        let output = connect(&Config { tls: tls.clone().map(super::at), ..config(url) }).await;
        let outcome = deliver_one(&output, insert(1, "")).await;
        assert_eq!(outcome.word(), word, "{tls:?}: {outcome:?}");
    }
}
