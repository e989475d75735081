//! What every database behind a port must do: one function a promise, run by the suite of each.

use super::{Server, line_to, password, through, tls};
use crate::far::cases::{count, make, wait};
use crate::far::{at, config, connect, connect_within, insert, message, numbers, once};
use std::collections::BTreeSet;
use std::time::Duration;
use switchyard_api::conformance::{deliver, deliver_one, parcel};
use switchyard_api::{Handle, Outcome, Output, Parcel};

pub async fn a_commit_whose_answer_is_lost_is_unknown_and_its_repeat_is_known<S: Server>() {
    let base: S = make().await;
    let line = line_to(base.port()).await;
    let output = connect(&once(&through(&base, line.port()))).await;
    line.cut_at_answers();
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
    let line = line_to(base.port()).await;
    let held = connect_within(&once(&through(&base, line.port())), Duration::from_mins(1)).await;
    line.hold_requests();
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
    let line = line_to(base.port()).await;
    let holder = connect(&config(&through(&base, line.port()))).await;
    line.hold_requests();
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

pub async fn tls_is_proven<S: Server>() {
    use switchyard_sql::{Config, Mode, TlsSection};
    let base: S = make().await;
    let url = base.url_of("careful", &password(&base.url()), None, base.port());
    let (right, wrong) = (tls::file(&tls::pem().ca), tls::file(&tls::fresh().ca));
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
        let output = connect(&Config { tls: tls.clone().map(at), ..config(url) }).await;
        let outcome = deliver_one(&output, insert(1, "")).await;
        assert_eq!(outcome.word(), word, "{tls:?}: {outcome:?}");
    }
}
