//! One delivery as a mail: whom it goes to, and its bytes.
//!
//! Holds L1: the Message-ID is made of the delivery's id, so a repeat can be recognised. L8: every header is one header whatever the
//! event holds, a recipient that an event chooses is of an allowed domain, bodies are always encoded. Pure: the time comes in.

use crate::address::{Address, Mailbox};
use crate::header::{list, unstructured};
use crate::text;
use lettre::message::header::{ContentTransferEncoding, ContentType};
use lettre::message::{Attachment, MultiPart, SinglePart};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt::Write;
use switchyard_api::{Outcome, Parcel, Preview};

/// The largest event that is attached; the text says of a larger one that it is not.
pub const ATTACH_MAX: usize = 256 << 10;

/// What all mails of an output have in common.
#[derive(Debug, Clone)]
pub struct Letterhead {
    /// Who writes.
    pub from: Mailbox,
    /// Who gets each mail, and is seen to.
    pub to: Vec<Mailbox>,
    /// As `to`.
    pub cc: Vec<Mailbox>,
    /// Who gets each mail, unseen.
    pub bcc: Vec<Mailbox>,
    /// Where answers go.
    pub reply_to: Option<Mailbox>,
    /// Where bounces go; `None`: nowhere (`<>`).
    pub bounces: Option<Address>,
    /// The domain in a Message-ID.
    pub domain: String,
    /// Domains of which an event may choose a recipient.
    pub recipients_from: Vec<String>,
    /// Whether the event is attached.
    pub attach: bool,
    /// More headers.
    pub headers: Vec<(String, String)>,
}

/// Who gets a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Where.
    pub address: Address,
    /// Whether the event chose it, not the file.
    pub chosen_by_event: bool,
}

/// A mail, ready to go.
#[derive(Debug, Clone)]
pub struct Mail {
    /// Where bounces go; `None`: nowhere.
    pub sender: Option<Address>,
    /// Who gets it; never empty.
    pub recipients: Vec<Recipient>,
    /// An address is not ASCII: it needs SMTPUTF8.
    pub utf8: bool,
    /// Headers and body; lines end in CRLF.
    pub bytes: Vec<u8>,
}

impl Letterhead {
    /// The mail of a delivery.
    ///
    /// # Errors
    /// What becomes of a delivery that cannot be a mail.
    pub fn mail(&self, parcel: &Parcel, now: i64) -> Result<Mail, Outcome> {
        let chosen = self.chosen(parcel)?;
        let to: Vec<&Mailbox> = chosen.as_ref().map_or(self.to.iter().collect(), |chosen| vec![chosen]);
        let mut recipients: Vec<Recipient> = vec![];
        let fixed = self.cc.iter().chain(&self.bcc);
        for (mailbox, chosen_by_event) in to.iter().map(|mailbox| (*mailbox, chosen.is_some())).chain(fixed.map(|m| (m, false))) {
            if recipients.iter().all(|known| known.address != mailbox.address) {
                recipients.push(Recipient { address: mailbox.address.clone(), chosen_by_event });
            }
        }
        if recipients.is_empty() {
            return Err(Outcome::Misconfigured {
                why: "the mail has nobody to go to: set `to`, or `recipient` in the message".into(),
                after: None,
            });
        }
        // Those in the envelope, and those that stand in a header only.
        let shown = [Some(&self.from.address), self.reply_to.as_ref().map(|m| &m.address), self.bounces.as_ref()];
        let all = recipients.iter().map(|recipient| &recipient.address).chain(shown.into_iter().flatten());
        let utf8 = !all.into_iter().all(Address::is_ascii);
        let mut bytes = self.headers(parcel, &to, now).iter().map(Header::written).collect::<String>().into_bytes();
        bytes.extend(self.body(parcel));
        Ok(Mail { sender: self.bounces.clone(), recipients, utf8, bytes })
    }

    /// The recipient that the event chose, if the message has one.
    fn chosen(&self, parcel: &Parcel) -> Result<Option<Mailbox>, Outcome> {
        let Some(text) = parcel.message.text("recipient") else { return Ok(None) };
        if self.recipients_from.is_empty() {
            let why = "the message names a `recipient`, and the output allows no domain for it: add `recipients_from: [example.com]`";
            return Err(Outcome::Misconfigured { why: why.into(), after: None });
        }
        let address = Address::from_event(text.trim())
            .map_err(|error| Outcome::Rejected { why: format!("the message's `recipient` is no address: {error}") })?;
        if !self.recipients_from.iter().any(|domain| domain == address.domain()) {
            let why = format!("the message's `recipient` is at `{}`, which `recipients_from` does not name", address.domain());
            return Err(Outcome::Rejected { why });
        }
        // A bare address: a display name from an event could pass for another one.
        Mailbox::parse(&address.to_string()).map(Some).map_err(|error| Outcome::Rejected { why: error.to_string() })
    }

    /// The mail as a person reads it: whom it goes to, its headers, and what it says before that is encoded.
    ///
    /// # Errors
    /// Why it would not be sent.
    pub fn preview(&self, parcel: &Parcel, now: i64) -> Result<Preview, String> {
        let mail = self.mail(parcel, now).map_err(|outcome| outcome.text().to_owned())?;
        let chosen = self.chosen(parcel).map_err(|outcome| outcome.text().to_owned())?;
        let to: Vec<&Mailbox> = chosen.as_ref().map_or(self.to.iter().collect(), |chosen| vec![chosen]);
        let recipients: Vec<String> = mail.recipients.iter().map(|recipient| recipient.address.to_string()).collect();
        let headers = self.headers(parcel, &to, now).iter().map(Header::shown).collect();
        let mut body = self.plain(parcel);
        if let Some(html) = html(parcel) {
            let _ = write!(body, "\n\n[text/html]\n{html}");
        }
        if self.attaches(parcel) {
            let _ = write!(body, "\n\n[attached: {}, {} bytes]", attachment(parcel.payload_type()).0, parcel.payload().len());
        }
        Ok(Preview { headers, body: body.into(), ..Preview::new("MAIL", recipients.join(", ")) })
    }

    fn headers<'a>(&'a self, parcel: &'a Parcel, to: &[&'a Mailbox], now: i64) -> Vec<Header<'a>> {
        let mut all = vec![Header::Plain("Date", date(now)), Header::Addresses("From", vec![&self.from])];
        if to.is_empty() && self.cc.is_empty() {
            all.push(Header::Plain("To", "undisclosed-recipients:;".to_owned()));
        }
        for (name, mailboxes) in [("To", to.to_vec()), ("Cc", self.cc.iter().collect()), ("Reply-To", self.reply_to.iter().collect())] {
            if !mailboxes.is_empty() {
                all.push(Header::Addresses(name, mailboxes));
            }
        }
        let subject = parcel.message.text("subject").unwrap_or(&parcel.topic);
        all.push(match parcel.message.count() {
            1 => Header::text("Subject", subject),
            count => Header::text("Subject", format!("{subject} (and {} more)", count - 1)),
        });
        all.push(Header::Plain("Message-ID", format!("<{}@{}>", parcel.delivery, self.domain)));
        if let Some(key) = parcel.message.text("threads").filter(|key| !key.is_empty()) {
            let root = format!("<{}.root@{}>", thread(key), self.domain);
            all.extend([Header::Plain("In-Reply-To", root.clone()), Header::Plain("References", root)]);
        }
        all.push(Header::Plain("Auto-Submitted", "auto-generated".to_owned()));
        let ours = [("Event", parcel.event.as_str()), ("Delivery", &parcel.delivery), ("Route", &parcel.route), ("Topic", &parcel.topic)];
        all.extend(ours.map(|(name, value)| Header::text(format!("X-Switchyard-{name}"), value)));
        if parcel.replay {
            all.push(Header::Plain("X-Switchyard-Replay", "true".to_owned()));
        }
        all.extend(self.headers.iter().map(|(name, value)| Header::text(name, value)));
        all.push(Header::Plain("MIME-Version", "1.0".to_owned()));
        all
    }

    fn attaches(&self, parcel: &Parcel) -> bool {
        self.attach && parcel.message.count() == 1 && parcel.payload().len() <= ATTACH_MAX
    }

    /// What a reader without HTML sees.
    fn plain(&self, parcel: &Parcel) -> String {
        let payload = parcel.payload();
        let mut plain = match (parcel.message.text("text"), html(parcel)) {
            (Some(text), _) => text.to_owned(),
            (None, Some(html)) => text::of_html(html),
            (None, None) => {
                let payload = text::of_payload(&payload);
                format!("{} from {}\n\n{payload}\n\n{}\n", parcel.topic, parcel.source, parcel.event)
            }
        };
        if self.attach && parcel.message.count() > 1 {
            plain.push_str("\n\n(A mail for several events has none attached.)\n");
        } else if self.attach && !self.attaches(parcel) {
            let _ = write!(plain, "\n\n(The event has {} bytes and is not attached: the most is {ATTACH_MAX}.)\n", payload.len());
        }
        plain
    }

    /// The body with its own headers: text, or text and HTML, and behind it the event.
    fn body(&self, parcel: &Parcel) -> Vec<u8> {
        let plain = encoded(ContentType::TEXT_PLAIN, &self.plain(parcel));
        let html = html(parcel).map(|html| encoded(ContentType::TEXT_HTML, html));
        // No encoded body has `=_` in it, so no content can end its part.
        let boundary = |level: &str| format!("=_{level}_{}", parcel.delivery);
        let alternative = |html| MultiPart::alternative().boundary(boundary("a")).singlepart(plain.clone()).singlepart(html);
        if !self.attaches(parcel) {
            return html.map_or_else(|| plain.formatted(), |html| alternative(html).formatted());
        }
        let (name, kind) = attachment(parcel.payload_type());
        let event = Attachment::new(name.to_owned()).body(parcel.payload().to_vec(), kind);
        let mixed = MultiPart::mixed().boundary(boundary("m"));
        match html {
            Some(html) => mixed.multipart(alternative(html)),
            None => mixed.singlepart(plain.clone()),
        }
        .singlepart(event)
        .formatted()
    }
}

/// One header, before it is written.
enum Header<'a> {
    /// People, in their order.
    Addresses(&'static str, Vec<&'a Mailbox>),
    /// A text that may hold anything.
    Text(Cow<'a, str>, Cow<'a, str>),
    /// Our own words, short and in ASCII.
    Plain(&'static str, String),
}

impl<'a> Header<'a> {
    fn text(name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) -> Self {
        Header::Text(name.into(), value.into())
    }

    fn written(&self) -> String {
        match self {
            Header::Addresses(name, all) => list(name, &all.iter().map(|mailbox| mailbox.in_header()).collect::<Vec<_>>()),
            Header::Text(name, value) => unstructured(name, value),
            Header::Plain(name, value) => format!("{name}: {value}\r\n"),
        }
    }

    fn shown(&self) -> (String, String) {
        match self {
            Header::Addresses(name, all) => ((*name).to_owned(), all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
            Header::Text(name, value) => (name.to_string(), value.trim().to_owned()),
            Header::Plain(name, value) => ((*name).to_owned(), value.clone()),
        }
    }
}

fn html(parcel: &Parcel) -> Option<&str> {
    parcel.message.text("html").filter(|html| !html.is_empty())
}

/// Quoted-printable: readable in the raw, short lines, nothing beyond ASCII.
fn encoded(kind: ContentType, text: &str) -> SinglePart {
    // A lone carriage return is no line end of mail; some stores take it for one.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    SinglePart::builder().header(kind).header(ContentTransferEncoding::QuotedPrintable).body(text)
}

/// The attached event's name and type. The sender's own words for its type never get into the mail.
fn attachment(told: &str) -> (&'static str, ContentType) {
    let essence = told.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (name, kind) = match essence.as_str() {
        "application/json" => ("event.json", "application/json"),
        "application/x-www-form-urlencoded" => ("event.txt", "application/x-www-form-urlencoded"),
        kind if kind.ends_with("+json") => ("event.json", "application/json"),
        "application/xml" | "text/xml" => ("event.xml", "application/xml"),
        kind if kind.starts_with("text/") => ("event.txt", "text/plain"),
        _ => ("event.bin", "application/octet-stream"),
    };
    (name, ContentType::parse(kind).unwrap_or(ContentType::TEXT_PLAIN))
}

/// A thread's name: nothing of the key can be read from it.
fn thread(key: &str) -> String {
    Sha256::digest(key.as_bytes()).iter().take(16).fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// RFC 5322, section 3.3, in UTC.
fn date(millis: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or_default();
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_string(&time).unwrap_or_else(|_| "Thu, 1 Jan 1970 00:00:00 -0000".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;
    use switchyard_api::conformance::parcel;
    use switchyard_api::{Message, Rendered};

    const NOW: i64 = 1_772_445_600_000;

    fn letterhead() -> Letterhead {
        let mailbox = |text: &str| Mailbox::parse(text).unwrap();
        Letterhead {
            from: mailbox("Shop <shop@example.com>"),
            to: vec![mailbox("duty@example.com")],
            cc: vec![],
            bcc: vec![],
            reply_to: None,
            bounces: Some(Address::parse("shop@example.com").unwrap()),
            domain: "example.com".into(),
            recipients_from: vec![],
            attach: false,
            headers: vec![],
        }
    }
    fn with(fields: &[(&str, &str)]) -> Parcel {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), Rendered::Text((*value).to_owned()))).collect();
        parcel(7, &Message { fields, ..Message::default() })
    }
    fn written(letterhead: &Letterhead, parcel: &Parcel) -> String {
        String::from_utf8(letterhead.mail(parcel, NOW).unwrap().bytes).unwrap()
    }

    #[test]
    fn a_plain_mail_is_what_mail_readers_expect() {
        let mail = written(&letterhead(), &with(&[("subject", "Order 7"), ("text", "Hello\nWörld"), ("threads", "7")]));
        assert_eq!(
            mail,
            "Date: Mon, 2 Mar 2026 10:00:00 -0000\r\nFrom: \"Shop\" <shop@example.com>\r\nTo: duty@example.com\r\nSubject: Order 7\r\n\
             Message-ID: <dlv_00000000000000000000000000000007@example.com>\r\n\
             In-Reply-To: <7902699be42c8a8e46fbbb4501726517.root@example.com>\r\nReferences: <7902699be42c8a8e46fbbb4501726517.root@example.com>\r\n\
             Auto-Submitted: auto-generated\r\nX-Switchyard-Event: evt_00000000000000000000000000000007\r\n\
             X-Switchyard-Delivery: dlv_00000000000000000000000000000007\r\nX-Switchyard-Route: all\r\nX-Switchyard-Topic: ORDER_PAID\r\n\
             MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
             Hello\r\nW=C3=B6rld\r\n"
        );
    }

    #[test]
    fn every_mail_has_a_text_and_the_event_where_it_is_asked_for() {
        let html = written(&letterhead(), &with(&[("html", "<p>Hi <b>Ann</b></p>")]));
        assert!(html.contains("multipart/alternative") && html.contains("\r\n\r\nHi Ann\r\n") && html.contains("<p>Hi <b>Ann</b></p>"));
        let plain = written(&letterhead(), &with(&[]));
        assert!(plain.contains("ORDER_PAID from orderchamp") && plain.contains("\"number\": 7"), "{plain}");
        let attaching = Letterhead { attach: true, ..letterhead() };
        let mixed = written(&attaching, &with(&[("html", "x")]));
        for part in ["multipart/mixed", "multipart/alternative", "text/plain", "text/html", "application/json", "event.json"] {
            assert!(mixed.contains(part), "{part}: {mixed}");
        }
        let large = Parcel { raw: vec![b'x'; ATTACH_MAX + 1].into(), ..with(&[("text", "t")]) };
        let large = written(&attaching, &large);
        assert!(large.contains("262145 bytes and is not attached") && !large.contains("multipart"), "{large}");
        let several = Message {
            digest: Some(switchyard_api::message::Digest { count: 3, through: 9 }),
            ..Message::clone(&with(&[("subject", "Order 7"), ("text", "a\nb\nc")]).message)
        };
        let several = written(&attaching, &parcel(7, &several));
        assert!(
            several.contains("Subject: Order 7 (and 2 more)\r\n") && several.contains("several events") && !several.contains("multipart"),
            "{several}"
        );
        let hostile = Parcel { content_type: Some("text/html\r\nX: y; name=\"../x\"".into()), ..with(&[]) };
        let hostile = written(&attaching, &hostile);
        assert!(hostile.contains("event.txt") && !hostile.contains("../x"));
    }

    #[test]
    fn an_event_chooses_a_recipient_of_allowed_domains_only() {
        let open = Letterhead { recipients_from: vec!["example.org".into()], cc: letterhead().to, ..letterhead() };
        let mail = open.mail(&with(&[("recipient", "ann@Example.org")]), NOW).unwrap();
        let shown: Vec<_> = mail.recipients.iter().map(|r| (r.address.to_string(), r.chosen_by_event)).collect();
        assert_eq!(shown, [("ann@example.org".to_owned(), true), ("duty@example.com".to_owned(), false)]);
        let why = |letterhead: &Letterhead, recipient: &str| {
            let outcome = letterhead.mail(&with(&[("recipient", recipient)]), NOW).unwrap_err();
            (outcome.word(), outcome.text().to_owned())
        };
        for wrong in [
            "ann@example.com",
            "ann@sub.example.org",
            "ann@example.org.evil.example",
            "a@example.org, b@example.org",
            "Ann <a@example.org>",
            "a@example.org\r\nBcc: b@example.org",
            "a%evil.example@example.org",
            "",
        ] {
            assert_eq!(why(&open, wrong).0, "rejected", "{wrong}");
        }
        let (word, text) = why(&letterhead(), "ann@example.org");
        assert!(word == "misconfigured" && text.contains("recipients_from"), "{text}");
    }

    #[test]
    fn an_address_beyond_ascii_needs_smtputf8_and_each_address_counts_once() {
        let twice = Letterhead { bcc: letterhead().to, cc: vec![Mailbox::parse("jürgen@example.com").unwrap()], ..letterhead() };
        let mail = twice.mail(&with(&[]), NOW).unwrap();
        assert!(mail.utf8 && mail.recipients.len() == 2);
        assert!(!String::from_utf8(mail.bytes).unwrap().contains("Bcc"));
        assert!(!letterhead().mail(&with(&[]), NOW).unwrap().utf8);
        let hidden = Letterhead { to: vec![], bcc: letterhead().to, ..letterhead() };
        assert!(written(&hidden, &with(&[])).contains("To: undisclosed-recipients:;\r\n"));
    }

    proptest! {
        #[test]
        fn no_event_adds_a_header_a_part_or_a_long_line(
            subject in "[a-z =?ü\r\n\u{0}:]{0,60}|[a-z]{1200}",
            text in "[a-z ü.\r\n\u{0}=_-]{0,200}|[a-z]{1200}",
            topic in "[A-Z_\r\n:]{0,20}",
            key in "\\PC{0,20}",
        ) {
            let fields = [("subject", subject.as_str()), ("text", &text), ("html", &text), ("threads", &key)];
            let parcel = Parcel { topic: Arc::from(topic.as_str()), ..with(&fields) };
            let mail = written(&Letterhead { attach: true, ..letterhead() }, &parcel);
            prop_assert!(mail.is_ascii());
            prop_assert!(mail.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n', '\0'])));
            let (head, _) = mail.split_once("\r\n\r\n").unwrap();
            let names: Vec<&str> = head.split("\r\n").filter(|line| !line.starts_with([' ', '\t'])).map(|line| line.split(':').next().unwrap()).collect();
            let threaded = if key.is_empty() { 0 } else { 2 };
            prop_assert_eq!(names.len(), 12 + threaded, "{:?}", names);
            prop_assert_eq!(mail.matches("--=_m_").count(), 3);
            prop_assert_eq!(mail.matches("--=_a_").count(), if text.is_empty() { 0 } else { 3 });
        }
    }
}
