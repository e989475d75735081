//! What outputs make of values of an event: a mail, a file's name, a line for a program; and what they read of a program's answer.

use crate::input::{NOW, parts, texts};
use std::borrow::Cow;
use switchyard_api::conformance::parcel;
use switchyard_api::{Message, Parcel, Rendered, Secret};
use switchyard_email::address::{Address, Mailbox};
use switchyard_email::mail::Letterhead;
use switchyard_exec::answer::Answer;
use switchyard_exec::line::line;
use switchyard_exec::stderr::Shown;
use switchyard_file::name::Pattern;

/// The longest line of a mail, without its end (RFC 5322).
const MAIL_LINE_MAX: usize = 998;
/// The domain of which an event may choose a recipient.
const ALLOWED: &str = "customers.example";
/// A credential of a program.
const SECRET: &str = "hush-hush-hush";

fn text(part: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(part)
}

fn with(topic: &str, fields: &[(&str, &str)]) -> Parcel {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), Rendered::Text((*value).to_owned()))).collect();
    Parcel { topic: topic.into(), ..parcel(7, &Message { fields, ..Message::default() }) }
}

/// A mail's topic, subject, thread, recipient and text.
pub fn mail() -> crate::Entry {
    let mailbox = |text: &str| Mailbox::parse(text).expect("a mailbox");
    let letterhead = Letterhead {
        from: mailbox("Shop <shop@example.com>"),
        to: vec![mailbox("duty@example.com")],
        cc: vec![],
        bcc: vec![],
        reply_to: None,
        bounces: Some(Address::parse("shop@example.com").expect("an address")),
        domain: "example.com".into(),
        recipients_from: vec![ALLOWED.to_owned()],
        attach: true,
        headers: vec![],
    };
    Box::new(move |input| {
        let [topic, subject, threads, recipient, body] = parts(input).map(text);
        let mut fields = vec![("subject", &*subject), ("text", &*body), ("html", &*body), ("threads", &*threads)];
        if !recipient.is_empty() {
            fields.push(("recipient", &*recipient));
        }
        let Ok(mail) = letterhead.mail(&with(&topic, &fields), NOW.0) else { return };
        for recipient in &mail.recipients {
            assert!(!recipient.chosen_by_event || recipient.address.domain() == ALLOWED, "{recipient:?}");
        }
        assert_eq!(mail.recipients.len(), 1, "{:?}", mail.recipients);
        let written = String::from_utf8(mail.bytes).expect("a mail is text");
        assert!(mail.utf8 || written.is_ascii());
        assert!(written.split("\r\n").all(|line| line.len() <= MAIL_LINE_MAX && !line.contains(['\r', '\n', '\0'])), "{written}");
        let or = |text: &str| if text.is_empty() { "" } else { "t" };
        let plain = [("subject", "s"), ("text", or(&body)), ("html", or(&body)), ("threads", or(&threads))];
        let plain = letterhead.mail(&with("T", &plain), NOW.0);
        let plain = String::from_utf8(plain.expect("a mail").bytes).expect("a mail is text");
        assert_eq!(names(&written), names(&plain), "{written}");
        assert_eq!(ends(&written), ends(&plain), "parts of {written}");
    })
}

/// The names of a mail's headers.
fn names(mail: &str) -> Vec<&str> {
    let head = mail.split_once("\r\n\r\n").map_or(mail, |(head, _)| head);
    let lines = head.split("\r\n").filter(|line| !line.starts_with([' ', '\t']));
    lines.map(|line| line.split(':').next().unwrap_or(line)).collect()
}

/// How many lines stand between parts.
fn ends(mail: &str) -> usize {
    mail.split("\r\n").filter(|line| line.starts_with("--=_")).count()
}

/// A pattern of a file's name, and the words that it may take: topic and route.
pub fn file_name(input: &[u8]) {
    let Some([pattern, topic, route]) = texts(input) else { return };
    let parsed = match Pattern::parse(pattern) {
        Ok(parsed) => parsed,
        Err(wrong) => return assert!(pattern.get(wrong.within.clone()).is_some(), "{wrong:?} lies outside"),
    };
    let name = |topic: &str, route: &str| parsed.name(&Parcel { route: route.into(), ..with(topic, &[]) });
    let (hostile, plain) = (name(topic, route), name("T", "r"));
    // Whatever the values, it lies as deep; and no part of it leads anywhere else.
    assert_eq!(hostile.len(), plain.len(), "{hostile:?}");
    for (part, plain) in hostile.iter().zip(&plain) {
        let takes_none = part == plain;
        assert!(takes_none || (!part.contains(['/', '\0']) && !matches!(part.as_str(), "" | "." | "..")), "{hostile:?}");
    }
}

/// A payload, a topic and a field that go to a program; and a line that it says.
pub fn exec_line(input: &[u8]) {
    let [payload, topic, field, said] = parts(input);
    let sent = Parcel { raw: payload.to_vec().into(), content_type: None, ..with(&text(topic), &[("body", &text(field))]) };
    if let Ok(bytes) = line(&sent) {
        let one = bytes.strip_suffix(b"\n").expect("a line ends");
        assert!(!one.contains(&b'\n'), "more than a line");
        let read: serde_json::Value = serde_json::from_slice(one).expect("a line is JSON");
        assert_eq!(read["topic"], *text(topic));
        assert_eq!(read["payload"].as_str().map(str::as_bytes), std::str::from_utf8(payload).ok().map(str::as_bytes));
        assert_eq!(read["payload_base64"].is_string(), std::str::from_utf8(payload).is_err());
    }
    let shown = Shown::hiding(&[Secret::new(SECRET)]);
    let told = match Answer::read(said, &shown) {
        Ok(answer) => format!("{:?}", answer.outcome),
        Err(why) => why,
    };
    assert!(!told.contains(SECRET) && !told.chars().any(char::is_control), "{told:?}");
}
