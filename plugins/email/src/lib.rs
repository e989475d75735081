//! `type: email`: sends each delivery as a mail over SMTP.
//!
//! ```yaml
//! duty-mail:
//!   type: email
//!   smtp: "${SMTP_URL}"             # smtps://user:password@mail.example.com
//!   from: Shop <shop@example.com>
//!   to: [duty@example.com]          # also cc, bcc, reply_to
//!   subject: "{{ topic }} {{ data.number }}"     # message, as are text, html, threads, recipient
//!   text: "{{ data.customer.name }} paid {{ data.total }} EUR."
//!   html: "<b>{{ data.customer.name }}</b> paid {{ data.total }} EUR."
//!   threads: "{{ data.id }}"        # mails of one key stand together
//!   attach: event                   # as it came, up to 256 KiB; default: none
//! ```
//!
//! **Server.** `smtps://` is TLS from the first byte (465), `smtp://` is STARTTLS (587): a server that does not offer it gets nothing.
//! `smtp://localhost:25?tls=none` is for this machine only; `?tls=unprotected` says out loud that a network may read along, and takes
//! no credentials. User and password are percent-encoded. Spelled out: `smtp: { host, port, user, password }`, with `tls` (`implicit`,
//! `starttls`, `none`, `unprotected`) and `auth` (`plain`, `login`). For XOAUTH2: `user` and `token`, or `user` and
//! `auth: { oauth2: { token_url, client_id, … } }` as the http output has it, which fetches tokens and renews them. `ca` names certificates
//! of one's own, a file that is read again when it changes; `hello` our name in EHLO.
//!
//! **Mail.** A mail always has a text: `text`, else what `html` says, else the event. Values in `html` are escaped. `Message-ID` is
//! `<{delivery id}@domain>` and the same at every attempt, so that stores can fold a repeat; `domain` is that of `from` unless set.
//! `X-Switchyard-Event`, `-Delivery`, `-Route`, `-Topic` and `-Replay` name the delivery, `Auto-Submitted` keeps robots from answering.
//! `headers: { X-Priority: "1" }` adds more, `bounces: none` sends with an empty return path. DKIM is the relay's.
//!
//! **Recipients from events.** `recipient: "{{ data.customer.email }}"` replaces `to` with one address, if its domain is in
//! `recipients_from: [example.com]`. No address, or another domain: rejected.
//!
//! **Several recipients** are one transaction. While one is refused for now, nobody gets the mail, so that nobody gets it twice; from
//! the fourth attempt on the others get it. Those refused for good are named in the delivery's detail.
//!
//! | what happens | outcome |
//! | --- | --- |
//! | 2xx after the final dot | delivered, to the relay |
//! | no connection; lost, or silent for half of `timeout`, before a mail, greeting and AUTH included; 421, 4xx before a mail | down |
//! | STARTTLS not offered, a wrong certificate, a `ca` that cannot be read, 535 and other 5xx to AUTH, 530, 5xx before a mail or to MAIL FROM | misconfigured |
//! | all recipients refused for good | misconfigured; rejected if the event chose them |
//! | 5xx to DATA or to the mail, a mail too large, no SMTPUTF8 for an address that needs it | rejected |
//! | daily and peak limits (5.4.5, 4.2.1, 5.7.1 with a limit), a full mailbox (x.2.2) | tried again after 1 h |
//! | other 4xx, such as greylisting | tried again after 5 min; at once others, where the event chose the recipient |
//! | connection lost, or silent for `timeout`, between MAIL FROM and the final dot | tried again |
//! | connection lost, or silent for `timeout`, after it | unknown |
//!
//! A connection carries up to 100 mails in 60 s. Relays may take long over a mail: set `timeout: 60s` where unknown outcomes appear.
//!
//! Never: says credentials without TLS over a network, shows them (L7), lets a value become a header, an address or a part (L8), sends by
//! itself what was sent already. Proven by `tests/real.rs` (postfix, dovecot) and `tests/refusals.rs` (each refusal at each stage).

pub mod address;
mod config;
mod header;
pub mod mail;
mod reply;
mod server;
mod session;
mod text;
mod wire;

use futures_util::future::BoxFuture;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use switchyard_api::escape::Escape;
use switchyard_api::http::auth::{AuthError, Token, Tokens};
use switchyard_api::http::{Auth, Connection, Limits};
use switchyard_api::kind::{Defaults, Login};
use switchyard_api::tls::{Tls, TlsFiles};
use switchyard_api::{
    Cap, CheckError, Confine, ConnectError, Field, Kind, Kit, Outcome, Output, Parcel, Preview, Problem, Secret, Settle, Shape, Wall,
    Written,
};
use tokio::time::{Instant, timeout_at};

pub use config::{Attach, Config};
pub use server::{Mechanism, Parts, Protection, Smtp, SmtpAuth};

use mail::{Letterhead, Mail};
use server::Proof;
use session::{Fault, Peer, Session};

/// Connections that are kept between mails; what is more is closed after its mail.
const IDLE_MAX: usize = 4;
/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// Providers allow few connections (Microsoft 365 three), and one carries many mails.
const CONCURRENCY: u32 = 2;
/// Characters of a subject; readers show fewer.
const SUBJECT_MAX: usize = 250;

/// `email`.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmailKind;

impl Kind for EmailKind {
    type Config = Config;
    type Output = EmailOutput;

    fn name(&self) -> &'static str {
        "email"
    }

    fn docs(&self) -> &'static str {
        "Each delivery as a mail over SMTP."
    }

    fn example(&self) -> &'static str {
        "{ type: email, smtp: \"${SMTP_URL}\", from: shop@example.com, to: [duty@example.com], subject: \"{{ topic }}\" }"
    }

    fn fields(&self) -> Vec<Field> {
        let field = |name: &'static str, docs: &'static str, escape: Escape| Field {
            name: name.into(),
            docs: docs.into(),
            shape: Shape::Text,
            escape,
            confine: Confine::Content,
            required: false,
            default: None,
            cap: None,
        };
        let subject = field("subject", "The subject; without it the topic.", Escape::Header);
        vec![
            Field { default: Some("{{ topic }}".into()), cap: Some(Cap::chars(SUBJECT_MAX)), ..subject },
            field("text", "The text; without it what `html` says, else the event.", Escape::None),
            field("html", "The same in HTML; values are escaped.", Escape::Html),
            field("threads", "Mails with the same key stand together in a thread.", Escape::None),
            field("recipient", "One address in place of `to`, of a domain in `recipients_from`.", Escape::Header),
        ]
    }

    fn defaults(&self, _config: &Config) -> Defaults {
        Defaults { rate: None, concurrency: Some(CONCURRENCY), ..Defaults::default() }
    }

    fn validate(&self, config: &Config) -> Vec<Problem> {
        config.build().err().unwrap_or_default()
    }

    fn login(&self, config: &Config) -> Option<Login> {
        let server = config.smtp.value.server().ok()?;
        let Proof::Fetched(auth) = server.login?.proof else { return None };
        auth.login().map(|authorize| Login { authorize })
    }

    fn judge(&self, config: &Config, message: Written<'_>) -> Vec<Problem> {
        let recipient = [message.route, message.output].concat().into_iter().find(|(key, _)| key.name == "recipient");
        let Some((key, _)) = recipient.filter(|_| config.recipients_from.is_empty()) else { return vec![] };
        let problem =
            Problem::error("no-recipients-from", key.span, "`recipient` is set, and no domain is allowed", "it would always be refused");
        vec![problem.help("add `recipients_from: [example.com]` to the output")]
    }

    fn preview(&self, config: &Config, kit: &Kit, parcel: &Parcel) -> Option<Result<Preview, String>> {
        let built = config.build().map_err(|problems| problems.first().map(|p| p.title.clone()).unwrap_or_default());
        Some(built.and_then(|built| built.letterhead.preview(parcel, kit.wall.millis())))
    }

    async fn connect(&self, config: Config, kit: &Kit) -> Result<EmailOutput, ConnectError> {
        let wrong = ConnectError;
        let built = config.build().map_err(|problems| wrong(problems.first().map(|p| p.title.clone()).unwrap_or_default()))?;
        let files = TlsFiles::of(config.ca.as_deref(), None, &kit.base);
        let tls = Tls::load(files, vec![], kit.wall.clone(), kit.roots.clone()).map_err(|error| wrong(error.to_string()))?;
        let proof = match built.server.login.as_ref().map(|login| &login.proof) {
            None => How::Nothing,
            Some(Proof::Fixed(secret)) => How::Fixed(secret.clone()),
            Some(Proof::Fetched(auth)) => How::fetched(auth, kit).map_err(wrong)?,
        };
        let peer = Peer { server: built.server, tls, hello: built.hello };
        let letterhead = built.letterhead;
        Ok(EmailOutput { peer, proof, letterhead, wall: kit.wall.clone(), timeout: kit.timeout, idle: Mutex::new(vec![]) })
    }
}

/// How we prove who we are.
enum How {
    Nothing,
    Fixed(Secret),
    Fetched(Tokens),
}

impl How {
    fn fetched(auth: &Auth, kit: &Kit) -> Result<Self, String> {
        let limits = Limits { whole: kit.timeout, ..Limits::default() };
        let tokens = Tokens::of(auth, &Connection::default(), limits, kit).map_err(|error: AuthError| error.to_string())?;
        tokens.map(How::Fetched).ok_or_else(|| "these credentials give no token".to_owned())
    }
}

/// A mail server, and what our mails to it have in common.
pub struct EmailOutput {
    peer: Peer,
    proof: How,
    letterhead: Letterhead,
    wall: Wall,
    timeout: Duration,
    /// Sessions between mails, the latest last. One that is in use is not here: an attempt that is given up takes its session along.
    idle: Mutex<Vec<Session>>,
}

impl std::fmt::Debug for EmailOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmailOutput").field("server", &self.peer.server).field("letterhead", &self.letterhead).finish_non_exhaustive()
    }
}

impl EmailOutput {
    async fn send(&self, parcel: &Parcel, settle: &Settle) -> Outcome {
        let deadline = Instant::now() + self.timeout;
        let mail = match self.letterhead.mail(parcel, self.wall.millis()) {
            Ok(mail) => mail,
            Err(outcome) => return outcome,
        };
        match self.send_mail(&mail, parcel, deadline, settle).await {
            Ok(detail) => Outcome::Delivered { detail },
            Err(fault) => fault.outcome(),
        }
    }

    async fn send_mail(&self, mail: &Mail, parcel: &Parcel, deadline: Instant, settle: &Settle) -> Result<String, Fault> {
        let session = self.session().await?;
        let (result, session) = session.send(mail, parcel.attempt, deadline, || settle.sent(parcel.handle)).await;
        if let Some(session) = session {
            self.keep(session).await;
        }
        result
    }

    /// A session that listens: one that was kept, else a new one. Nothing of a mail was said on either.
    /// Half of the attempt is for that, so that a server that says nothing is down before the attempt is given up. No less: relays
    /// that let strangers wait for their greeting are many.
    async fn session(&self) -> Result<Session, Fault> {
        let now = Instant::now();
        // Those that hang together leave time for a new one.
        let kept = now + self.timeout / 8;
        while let Some(mut session) = self.take() {
            if session.freshen(kept).await {
                return Ok(session);
            }
            session.quit(kept.min(Instant::now() + GOODBYE)).await;
        }
        self.open(now + self.timeout / 2).await
    }

    /// A new session. A fetched token that is refused is dropped, and a new one tried once: nothing of a mail was said.
    async fn open(&self, deadline: Instant) -> Result<Session, Fault> {
        let tokens = match &self.proof {
            How::Nothing => return Session::open(&self.peer, None, deadline).await,
            How::Fixed(secret) => return Session::open(&self.peer, Some(secret), deadline).await,
            How::Fetched(tokens) => tokens,
        };
        let first = token(tokens, deadline).await?;
        match Session::open(&self.peer, Some(&first.value), deadline).await {
            Err(fault) if fault.refuses_proof() => tokens.refuse(&first),
            opened => return opened,
        }
        let second = token(tokens, deadline).await?;
        let opened = Session::open(&self.peer, Some(&second.value), deadline).await;
        if opened.as_ref().err().is_some_and(Fault::refuses_proof) {
            tokens.refuse(&second);
        }
        opened
    }

    fn take(&self) -> Option<Session> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    async fn keep(&self, session: Session) {
        let over = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(session);
            if idle.len() > IDLE_MAX { Some(idle.remove(0)) } else { None }
        };
        if let Some(session) = over {
            session.quit(Instant::now() + GOODBYE).await;
        }
    }
}

async fn token(tokens: &Tokens, deadline: Instant) -> Result<Token, Fault> {
    let late = || Fault::Judged(Outcome::Down { why: "no token came in time".into(), after: None });
    let token = timeout_at(deadline, tokens.get()).await.map_err(|_| late())?;
    let token = token.map_err(|why| Fault::Judged(why.outcome()))?;
    // It goes on a line of its own making.
    if token.value.expose().is_empty() || token.value.expose().chars().any(char::is_control) {
        return Err(Fault::Judged(Outcome::Misconfigured { why: "the token that was fetched is no token".into(), after: None }));
    }
    Ok(token)
}

impl Output for EmailOutput {
    fn deliver<'a>(&'a self, parcels: Vec<Parcel>, settle: &'a Settle) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            for parcel in &parcels {
                let outcome = self.send(parcel, settle).await;
                settle.settle(parcel.handle, outcome);
            }
        })
    }

    /// Connects, TLS, AUTH, NOOP.
    fn check(&self) -> BoxFuture<'_, Result<(), CheckError>> {
        Box::pin(async move {
            let deadline = Instant::now() + self.timeout;
            let wrong = |fault: Fault| CheckError(fault.outcome().text().to_owned());
            let mut session = self.open(deadline).await.map_err(wrong)?;
            session.noop(deadline).await.map_err(wrong)?;
            session.quit(deadline.min(Instant::now() + GOODBYE)).await;
            Ok(())
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let deadline = Instant::now() + GOODBYE;
            while let Some(session) = self.take() {
                session.quit(deadline).await;
            }
            if let How::Fetched(tokens) = &self.proof {
                tokens.close();
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_readme_says_what_the_docs_say() {
        switchyard_api::conformance::readme_is_the_docs(include_str!("lib.rs"), include_str!("../README.md"));
    }
}
