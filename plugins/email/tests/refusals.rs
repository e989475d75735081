//! Each refusal at each stage, against a server of our own that plays by a script: what it means, and what was said before and after.

#![allow(clippy::unwrap_used)] // helpers of tests

mod far;
#[path = "far/script.rs"]
mod script;

use far::{connect, message};
use script::{Rules, Script};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use switchyard_api::conformance::{Said, deliver, deliver_one, parcel};
use switchyard_api::{Handle, Outcome, Output, Parcel};
use switchyard_email::EmailOutput;

const SOON: Duration = Duration::from_millis(300);

fn section(script: &Script) -> Value {
    let smtp = json!({ "host": "127.0.0.1", "port": script.port, "tls": "none", "user": "shop", "password": "made-up-hush" });
    json!({ "smtp": smtp, "from": "shop@example.com", "to": ["duty@example.com"], "recipients_from": ["example.org"] })
}
async fn output(section: &Value) -> EmailOutput {
    connect(section, Path::new("/"), Duration::from_secs(30)).await
}
async fn tried(rules: Rules) -> (Said, Vec<String>) {
    let script = Script::start(rules).await;
    let output = output(&section(&script)).await;
    let said = deliver(&output, vec![parcel(1, &message(&[]))], None).await;
    (said, script.said())
}
fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Retry { after: Some(after), .. } => format!("retry {}", after.as_secs()),
        other => other.word().to_owned(),
    }
}

#[tokio::test]
async fn a_refusal_means_what_it_means_at_its_stage() {
    for (at, answer, expected, sent) in [
        ("", "554 5.7.1 no service for you", "misconfigured", false),
        ("", "421 4.3.2 too busy", "down", false),
        ("", "drop", "down", false),
        ("", "HTTP/1.1 400 Bad Request", "down", false),
        ("EHLO", "550 who are you", "misconfigured", false),
        ("EHLO", "421 bye", "down", false),
        ("EHLO", "drop", "down", false),
        ("EHLO", "250 no way to log in", "misconfigured", false),
        ("AUTH", "535 5.7.8 wrong", "misconfigured", false),
        ("AUTH", "454 4.7.0 later", "retry 300", false),
        ("AUTH", "550 5.7.30 basic authentication is switched off", "misconfigured", false),
        ("AUTH", "421 4.7.0 too many", "down", false),
        ("AUTH", "334 more?", "misconfigured", false),
        ("AUTH", "drop", "down", false),
        ("MAIL", "530 5.7.0 authenticate first", "misconfigured", false),
        ("MAIL", "550 5.7.1 not your address", "misconfigured", false),
        ("MAIL", "553 5.1.8 no such sender", "misconfigured", false),
        ("MAIL", "550 5.4.5 Daily user sending limit exceeded", "retry 3600", false),
        ("MAIL", "552 5.3.4 too large", "rejected", false),
        ("MAIL", "451 4.3.0 later", "retry 300", false),
        ("MAIL", "421 bye", "down", false),
        ("MAIL", "drop", "retry", false),
        ("MAIL", "354 what", "retry", false),
        ("RCPT", "450 4.7.1 greylisted", "retry 300", false),
        ("RCPT", "450 4.2.1 Peak SMTP relay limit exceeded", "retry 3600", false),
        ("RCPT", "452 4.2.2 mailbox full", "retry 3600", false),
        ("RCPT", "550 5.7.1 Daily SMTP relay limit exceeded", "retry 3600", false),
        ("RCPT", "550 5.1.1 no such user", "misconfigured", false),
        ("RCPT", "421 bye", "down", false),
        ("RCPT", "drop", "retry", false),
        ("DATA", "554 5.5.1 no valid recipients", "rejected", false),
        ("DATA", "451 4.3.0 later", "retry 300", false),
        ("DATA", "250 what", "retry", false),
        ("DATA", "drop", "retry", false),
        (".", "552 5.3.4 too large", "rejected", true),
        (".", "554 5.7.1 spam", "rejected", true),
        (".", "550 5.4.5 Daily user sending limit exceeded", "retry 3600", true),
        (".", "451 4.3.0 later", "retry 300", true),
        (".", "421 4.3.2 closing", "down", true),
        (".", "drop", "unknown", true),
        (".", "250-no end", "unknown", true),
    ] {
        // Only the end of a mail may take its time: nobody waits for the others.
        let hangs = answer == "250-no end";
        let script = Script::start(vec![(at, answer)]).await;
        let timeout = if hangs { SOON } else { Duration::from_secs(30) };
        let output = connect(&section(&script), Path::new("/"), timeout).await;
        let said = deliver(&output, vec![parcel(1, &message(&[]))], None).await;
        let outcome = said.outcome(Handle(1));
        assert_eq!((told(outcome).as_str(), said.sent.contains_key(&Handle(1))), (expected, sent), "{at} {answer}: {outcome:?}");
        assert!(!outcome.text().contains('\n') && !outcome.text().contains("hush"), "{outcome:?}");
        let ended = script.said().iter().filter(|line| *line == ".").count();
        assert_eq!(ended, usize::from(sent), "{at} {answer}");
    }
}

#[tokio::test]
async fn a_silent_server_is_given_up_at_the_deadline_with_what_is_known() {
    for (at, expected) in [("", "down"), ("EHLO", "down"), ("AUTH", "down"), ("MAIL", "retry"), ("DATA", "retry"), (".", "unknown")] {
        let script = Script::start(vec![(at, "silent")]).await;
        let output = connect(&section(&script), Path::new("/"), SOON).await;
        let outcome = deliver_one(&output, parcel(1, &message(&[]))).await;
        assert!(outcome.word() == expected && outcome.text().contains("timeout"), "{at}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_mail_whose_end_did_not_leave_was_not_sent() {
    let script = Script::start(vec![("DATA", "354 cut")]).await;
    let output = output(&section(&script)).await;
    // More than the sockets of both sides hold.
    let large = message(&[("text", &"x".repeat(12 << 20))]);
    let said = deliver(&output, vec![parcel(1, &large)], None).await;
    assert!(said.outcome(Handle(1)).word() == "retry" && said.sent.is_empty(), "{said:?}");
}

#[tokio::test]
async fn without_starttls_nothing_is_said_in_the_clear() {
    for (rules, expected, text) in [
        (vec![], "misconfigured", "STARTTLS"),
        (vec![("EHLO", "250-script~250 STARTTLS"), ("STARTTLS", "454 4.7.0 not now")], "down", "454"),
        (vec![("EHLO", "250-script~250 STARTTLS"), ("STARTTLS", "502 5.5.1 no")], "misconfigured", "502"),
        // Somebody on the way puts an answer of his own behind the server's.
        (vec![("EHLO", "250-script~250 STARTTLS"), ("STARTTLS", "220 go~250-evil~250 AUTH PLAIN")], "down", "behind its answer"),
        (vec![("EHLO", "250-script~250 STARTTLS"), ("STARTTLS", "drop")], "down", "STARTTLS"),
    ] {
        let script = Script::start(rules).await;
        let mut section = section(&script);
        section["smtp"]["tls"] = json!("starttls");
        let outcome = deliver_one(&output(&section).await, parcel(1, &message(&[]))).await;
        assert!(outcome.word() == expected && outcome.text().contains(text), "{outcome:?}");
        assert!(script.said().iter().all(|line| !line.starts_with("AUTH") && !line.starts_with("MAIL")), "{:?}", script.said());
    }
}

#[tokio::test]
async fn a_token_that_is_refused_with_a_question_fetches_the_refusal() {
    let rules = vec![("AUTH", "334 eyJzdGF0dXMiOiI0MDEifQ=="), ("(empty)", "535 5.7.8 token expired")];
    let script = Script::start(rules).await;
    let mut section = section(&script);
    section["smtp"] = json!({ "host": "127.0.0.1", "port": script.port, "tls": "none", "user": "shop", "token": "made-up-hush" });
    let outcome = deliver_one(&output(&section).await, parcel(1, &message(&[]))).await;
    assert!(outcome.word() == "misconfigured" && outcome.text().contains("token expired"), "{outcome:?}");
    assert!(script.said().contains(&"AUTH XOAUTH2 dXNlcj1zaG9wAWF1dGg9QmVhcmVyIG1hZGUtdXAtaHVzaAEB".to_owned()), "{:?}", script.said());
}

#[tokio::test]
async fn a_server_that_echoes_the_proof_does_not_show_it() {
    for echo in ["500 not understood: AUTH PLAIN AHNob3AAbWFkZS11cC1odXNo", "535 5.7.8 wrong password made-up-hush"] {
        let (said, _) = tried(vec![("AUTH", echo)]).await;
        let text = said.outcome(Handle(1)).text();
        assert!(!text.contains("hush") && !text.contains("AHNob3A") && text.contains(&echo[..3]), "{text}");
    }
}

#[tokio::test]
async fn while_one_recipient_is_refused_for_now_nobody_gets_the_mail() {
    let script = Script::start(vec![("RCPT TO:<full@", "452 4.2.2 mailbox full"), ("RCPT TO:<gone@", "550 5.1.1 no such user")]).await;
    let mut section = section(&script);
    section["to"] = json!(["duty@example.com", "gone@example.com", "full@example.com"]);
    let output = output(&section).await;
    let attempt = |attempt: u32| Parcel { attempt, ..parcel(u64::from(attempt), &message(&[])) };
    for early in 1..=3 {
        let outcome = deliver_one(&output, attempt(early)).await;
        assert_eq!(told(&outcome), "retry 3600", "{outcome:?}");
    }
    assert!(!script.said().contains(&"DATA".to_owned()));
    let outcome = deliver_one(&output, attempt(4)).await;
    let named = ["; refused gone@example.com: 550 5.1.1", "; refused full@example.com: 452 4.2.2"];
    assert!(outcome.word() == "delivered" && named.iter().all(|name| outcome.text().contains(name)), "{outcome:?}");
    // All on one connection: a refused recipient breaks nothing.
    assert_eq!(script.said().iter().filter(|line| line.starts_with("EHLO")).count(), 1);
    assert_eq!(script.said().iter().filter(|line| *line == "RSET").count(), 3);
}

#[tokio::test]
async fn a_recipient_that_the_event_chose_kills_its_own_mail_only() {
    for (answer, expected) in [("550 5.1.1 no such user", "rejected"), ("450 4.7.1 greylisted", "retry"), ("421 bye", "down")] {
        let script = Script::start(vec![("RCPT", answer)]).await;
        let output = output(&section(&script)).await;
        let outcome = deliver_one(&output, parcel(1, &message(&[("recipient", "ann@example.org")]))).await;
        assert_eq!(told(&outcome), expected, "{outcome:?}");
        assert!(script.said().contains(&"RCPT TO:<ann@example.org>".to_owned()));
    }
}

#[tokio::test]
async fn an_address_beyond_ascii_goes_where_smtputf8_is_offered() {
    let ehlo = "250-script~250-8BITMIME~250 SMTPUTF8";
    for (rules, expected) in [(vec![], "rejected"), (vec![("EHLO", ehlo)], "delivered")] {
        let script = Script::start(rules).await;
        let mut section = section(&script);
        section["smtp"] = json!(format!("smtp://127.0.0.1:{}?tls=none", script.port));
        section["to"] = json!(["müller@bücher.example"]);
        let outcome = deliver_one(&output(&section).await, parcel(1, &message(&[]))).await;
        assert_eq!(outcome.word(), expected, "{outcome:?}");
        if expected == "delivered" {
            let said = script.said();
            assert!(said.contains(&"MAIL FROM:<shop@example.com> BODY=8BITMIME SMTPUTF8".to_owned()), "{said:?}");
            assert!(said.contains(&"RCPT TO:<müller@xn--bcher-kva.example>".to_owned()), "{said:?}");
        }
    }
}

#[tokio::test]
async fn what_we_say_is_what_the_file_says() {
    let script = Script::start(vec![]).await;
    let mut section = section(&script);
    section["hello"] = json!("mail.example.com");
    section["bounces"] = json!("none");
    let output = output(&section).await;
    assert_eq!(deliver_one(&output, parcel(1, &message(&[]))).await.word(), "delivered");
    output.close().await;
    let said = script.said();
    let starts = [
        "EHLO mail.example.com",
        "AUTH PLAIN AHNob3AAbWFkZS11cC1odXNo",
        "MAIL FROM:<> SIZE=",
        "RCPT TO:<duty@example.com>",
        "DATA",
        ".",
        "QUIT",
    ];
    assert_eq!(said.len(), starts.len(), "{said:?}");
    assert!(said.iter().zip(starts).all(|(line, start)| line.starts_with(start)), "{said:?}");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    // A line of 100 KB without an end: far over what a reply may have.
    let endless: &'static str = Box::leak("x".repeat(100_000).into_boxed_str());
    let script = Script::start(vec![("EHLO", endless)]).await;
    let outcome = deliver_one(&output(&section(&script)).await, parcel(1, &message(&[]))).await;
    assert!(outcome.word() == "down" && outcome.text().contains("no end"), "{outcome:?}");
}
