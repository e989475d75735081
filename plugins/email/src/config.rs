//! The settings of an email output, and what they are made into. Touches nothing; says what is wrong at its place.

use crate::address::{Address, AddressError, Mailbox, ascii_domain};
use crate::mail::Letterhead;
use crate::server::{Server, Smtp};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use switchyard_api::stream::refused_host;
use switchyard_api::{At, Problem, Span};

/// Settings of an email output.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// The mail server: a URL, or `{ host, port, tls, user, password }`.   example: "${SMTP_URL}"
    pub smtp: At<Smtp>,
    /// Certificates (PEM) to believe instead of the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// The name we greet the server with.   default: our address
    #[serde(default)]
    pub hello: Option<At<String>>,
    /// Who writes.   example: Shop <shop@example.com>
    pub from: At<String>,
    /// Who gets each mail.   example: [duty@example.com]
    #[serde(default)]
    pub to: Vec<At<String>>,
    /// As `to`.
    #[serde(default)]
    pub cc: Vec<At<String>>,
    /// As `to`, unseen.
    #[serde(default)]
    pub bcc: Vec<At<String>>,
    /// Where answers go.
    #[serde(default)]
    pub reply_to: Option<At<String>>,
    /// Where bounces go; `none`: nowhere.   default: from
    #[serde(default)]
    pub bounces: Option<At<String>>,
    /// The domain in a Message-ID.   default: that of `from`
    #[serde(default)]
    pub domain: Option<At<String>>,
    /// Domains of which the message's `recipient` may be.   example: [example.com]
    #[serde(default)]
    pub recipients_from: Vec<At<String>>,
    /// Whether the event is attached.
    #[serde(default)]
    pub attach: Attach,
    /// More headers of each mail.   example: { X-Priority: "1" }
    #[serde(default)]
    pub headers: BTreeMap<String, At<String>>,
}

/// What is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attach {
    /// Nothing.
    #[default]
    None,
    /// The event, up to 256 KiB.
    Event,
}

/// What the settings are made into.
#[derive(Debug)]
pub struct Built {
    /// Where the mails go.
    pub server: Server,
    /// Our name there.
    pub hello: Option<String>,
    /// What they have in common.
    pub letterhead: Letterhead,
}

impl Config {
    /// Makes it ready, or says all that is wrong.
    ///
    /// # Errors
    /// Each problem at its place.
    pub fn build(&self) -> Result<Built, Vec<Problem>> {
        let mut problems = vec![];
        let server = self.smtp.value.server().map_err(|error| {
            let example = "write `smtps://user:password@mail.example.com`, most often as `\"${SMTP_URL}\"`";
            problems.push(Problem::error("bad-smtp", self.smtp.span, error.to_string(), "here").help(example));
        });
        problems.extend(server.as_ref().ok().and_then(|server| refused_host(&server.host, self.smtp.span)));
        let mut read = |at: &At<String>| mailbox(at, &mut problems);
        let from = read(&self.from);
        let mut all = |many: &[At<String>]| many.iter().filter_map(&mut read).collect::<Vec<_>>();
        let (to, cc, bcc) = (all(&self.to), all(&self.cc), all(&self.bcc));
        let reply_to = self.reply_to.as_ref().and_then(&mut read);
        let bounces = match &self.bounces {
            Some(at) if at.value == "none" => None,
            Some(at) => read(at).map(|mailbox| mailbox.address),
            None => from.as_ref().map(|from| from.address.clone()),
        };
        if self.to.is_empty() && self.cc.is_empty() && self.bcc.is_empty() && self.recipients_from.is_empty() {
            let problem = Problem::error("nobody-to-mail", self.from.span, "this output has nobody to send to", "who writes, but to whom?");
            problems.push(problem.help("add `to: [duty@example.com]` below it"));
        }
        let domain = match &self.domain {
            Some(at) => plain_domain(at, "domain", &mut problems),
            None => from.as_ref().map(|from| from.address.domain().to_owned()),
        };
        let recipients_from = self.recipients_from.iter().filter_map(|at| domain_of_recipients(at, &mut problems)).collect();
        let hello = self.hello.as_ref().and_then(|at| plain_domain(at, "hello", &mut problems));
        let headers = self.headers.iter().filter_map(|(name, at)| header(name, at, &mut problems)).collect();
        let (Ok(server), Some(from), Some(domain), true) = (server, from, domain, problems.is_empty()) else {
            return Err(problems);
        };
        let attach = self.attach == Attach::Event;
        let letterhead = Letterhead { from, to, cc, bcc, reply_to, bounces, domain, recipients_from, attach, headers };
        Ok(Built { server, hello, letterhead })
    }
}

fn mailbox(at: &At<String>, problems: &mut Vec<Problem>) -> Option<Mailbox> {
    Mailbox::parse(&at.value)
        .map_err(|error: AddressError| {
            let problem = Problem::error("bad-address", at.span, format!("this is no mail address: {error}"), "here");
            problems.push(problem.help("write `duty@example.com` or `Shop <shop@example.com>`"));
        })
        .ok()
}

fn plain_domain(at: &At<String>, key: &str, problems: &mut Vec<Problem>) -> Option<String> {
    let found = ascii_domain(&at.value);
    if found.is_none() {
        problems.push(bad_domain(at.span, format!("`{key}` is not a domain"), "write it without anything around it: `mail.example.com`"));
    }
    found
}

fn domain_of_recipients(at: &At<String>, problems: &mut Vec<Problem>) -> Option<String> {
    // Not a pattern: a forgotten star would let an event choose anybody.
    match Address::parse(&format!("x@{}", at.value)) {
        Ok(address) => Some(address.domain().to_owned()),
        Err(_) => {
            let help = "write whole domains, such as `example.com`; there are no patterns, and subdomains are named one by one";
            problems.push(bad_domain(at.span, "`recipients_from` names domains".to_owned(), help));
            None
        }
    }
}

fn bad_domain(at: Span, title: String, help: &str) -> Problem {
    Problem::error("bad-domain", at, title, "not a domain").help(help)
}

/// Headers that the output writes itself, or that would change what the mail is.
fn is_ours(name: &str) -> bool {
    const OURS: [&str; 17] = [
        "date",
        "from",
        "sender",
        "to",
        "cc",
        "bcc",
        "reply-to",
        "subject",
        "message-id",
        "in-reply-to",
        "references",
        "auto-submitted",
        "mime-version",
        "return-path",
        "received",
        "dkim-signature",
        "apparently-to",
    ];
    let name = name.to_ascii_lowercase();
    OURS.contains(&name.as_str()) || ["content-", "resent-", "x-switchyard-", "arc-"].iter().any(|prefix| name.starts_with(prefix))
}

fn header(name: &str, at: &At<String>, problems: &mut Vec<Problem>) -> Option<(String, String)> {
    let token = !name.is_empty() && name.len() <= 60 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let problem = if !token {
        Problem::error("bad-header", at.span, format!("`{name}` is not a header's name"), "the value of it")
            .help("write letters, digits and `-`, such as `X-Shop`")
    } else if is_ours(name) {
        Problem::error("bad-header", at.span, format!("the output itself writes `{name}`"), "not free")
            .help("take it away, or write another name")
    } else if at.value.chars().any(char::is_control) {
        Problem::error("bad-header", at.span, format!("the value of `{name}` holds a line end or another control character"), "here")
            .help("write it on one line")
    } else {
        return Some((name.to_owned(), at.value.clone()));
    };
    problems.push(problem);
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_api::tree::{self, Key, Node, Value};

    /// A section of these keys; the n-th value stands at 10n.
    fn section(keys: &[(&str, Value)]) -> Node {
        let at = |n: usize| Span { start: 10 * n, end: 10 * n + 9 };
        let key = |n: usize, name: &str| Key { span: Span { start: 10 * n, end: 10 * n + 1 }, name: name.to_owned() };
        let node = |n: usize, value: &Value| Node { span: at(n), value: placed(value.clone(), at(n)) };
        let entries = keys.iter().enumerate().map(|(n, (name, value))| (key(n, name), node(n, value))).collect();
        Node { span: Span { start: 0, end: 1000 }, value: Value::Map(entries) }
    }
    /// Inner values get the place of the whole.
    fn placed(value: Value, span: Span) -> Value {
        match value {
            Value::List(items) => Value::List(items.into_iter().map(|item| Node { span, ..item }).collect()),
            other => other,
        }
    }
    fn text(text: &str) -> Value {
        Node::text(text).value
    }
    fn texts(texts: &[&str]) -> Value {
        Value::List(texts.iter().map(|text| Node::text(*text)).collect())
    }
    fn built(keys: &[(&str, Value)]) -> Result<Built, Vec<(String, usize)>> {
        let mut problems = vec![];
        let config: Option<Config> = tree::read(&section(keys), &mut problems);
        let told = |problems: Vec<Problem>| {
            assert!(problems.iter().all(|p| p.help.is_some() && !p.title.contains("hush")), "{problems:?}");
            problems.into_iter().map(|p| (p.id.to_owned(), p.at.start)).collect::<Vec<_>>()
        };
        config.ok_or(()).map_err(|()| told(problems))?.build().map_err(told)
    }

    #[test]
    fn the_shortest_section_is_enough() {
        let keys = [
            ("smtp", text("smtps://me:hush@mail.example.com")),
            ("from", text("Shop <shop@bücher.example>")),
            ("to", texts(&["duty@example.com"])),
        ];
        let built = built(&keys).unwrap();
        assert_eq!((built.server.port, built.letterhead.domain.as_str()), (465, "xn--bcher-kva.example"));
        assert_eq!(built.letterhead.bounces.map(|a| a.to_string()).as_deref(), Some("shop@xn--bcher-kva.example"));
    }

    #[test]
    fn every_problem_is_told_at_its_place() {
        let headers = vec![(Key { span: Span::default(), name: "Bcc".into() }, Node::text("x"))];
        let keys = [
            ("smtp", text("smtp://me:hush@mail.example.com?tls=none")),
            ("from", text("shop")),
            ("to", texts(&["duty@example.com", "a b@example.com"])),
            ("bounces", text("nobody")),
            ("domain", text("exa mple")),
            ("recipients_from", texts(&["*.example.com"])),
            ("hello", text("a b")),
            ("headers", Value::Map(headers)),
        ];
        let found = built(&keys).unwrap_err();
        let found: Vec<_> = found.iter().map(|(id, at)| (id.as_str(), *at)).collect();
        let expected = [
            ("bad-smtp", 0),
            ("bad-address", 10),
            ("bad-address", 20),
            ("bad-address", 30),
            ("bad-domain", 40),
            ("bad-domain", 50),
            ("bad-domain", 60),
            ("bad-header", 0),
        ];
        assert_eq!(found, expected);
        let nobody = [("smtp", text("smtps://mail.example.com")), ("from", text("shop@example.com"))];
        assert_eq!(built(&nobody).unwrap_err(), [("nobody-to-mail".to_owned(), 10)]);
    }

    #[test]
    fn smtp_is_a_url_or_its_parts_and_nothing_else() {
        let part = |name: &str, value: &str| (Key { span: Span { start: 3, end: 4 }, name: name.into() }, Node::text(value));
        let spelled = |parts: Vec<(Key, Node)>| {
            built(&[("smtp", Value::Map(parts)), ("from", text("a@example.com")), ("to", texts(&["b@example.com"]))])
        };
        assert_eq!(spelled(vec![part("host", "mail.example.com"), part("tls", "implicit")]).unwrap().server.port, 465);
        assert!(spelled(vec![part("host", "mail.example.com"), part("hots", "x")]).is_err());
        assert!(spelled(vec![part("host", "mail.example.com"), part("tls", "maybe")]).is_err());
        assert!(spelled(vec![part("port", "25")]).is_err());
    }
}
