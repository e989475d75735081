//! What every database must do, whichever it is: one function a promise, run by the suite of each.

use super::{Database, config, connect, insert, message, numbers, once};
use std::time::Duration;
use switchyard_api::conformance::{deliver, deliver_one, parcel};
use switchyard_api::{Handle, Output, Parcel};

/// Writes one test a promise of a module's `cases`.
macro_rules! promises {
    ($cases:ident, $database:ty: $($promise:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $promise() {
            $crate::$cases::cases::$promise::<$database>().await;
        }
    )*};
}
pub(crate) use promises;

pub async fn make<D: Database>() -> D {
    tokio::task::spawn_blocking(D::make).await.unwrap()
}

pub fn count<D: Database>(base: &D) -> u64 {
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

/// Until it holds; 20 s at most.
pub async fn wait(holds: impl AsyncFn() -> bool) {
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(tokio::time::Instant::now() < until, "it never came");
        // MariaDB looks anew only where nobody asked for 100 ms.
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
}
