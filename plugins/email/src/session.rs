//! The talk with a server: greeting, EHLO, STARTTLS, AUTH, then mails, one transaction each. Says at which stage it ended.
//!
//! Never: goes on unencrypted where encryption was asked for, repeats a command, sends the final dot without saying so first.

use crate::mail::{Mail, Recipient};
use crate::reply::{Reply, Stage, judge};
use crate::server::{Login, Mechanism, Protection, Server};
use crate::wire::{Wire, WireError, refused_certificate, stuffed};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::ServerName;
use switchyard_api::egress::NoAddress;
use switchyard_api::stream::addresses;
use switchyard_api::tls::Tls;
use switchyard_api::{Outcome, Printable, Secret};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant, timeout_at};

/// Mails over one connection; providers close it after about as many.
const MAILS_MAX: u32 = 100;
/// How old a connection may get.
const AGE_MAX: Duration = Duration::from_mins(1);
/// An address that a temporary refusal hits holds the mail back from all for so many attempts; then the others get it.
const PATIENCE: u32 = 3;

/// Everything that is needed to talk.
pub struct Peer {
    /// Where, and who we are there.
    pub server: Server,
    /// For a protected connection.
    pub tls: Tls,
    /// The name in EHLO; `None`: our address.
    pub hello: Option<String>,
}

/// Why a talk ended without the mail being taken.
#[derive(Debug)]
pub enum Fault {
    /// The server refused.
    Refused {
        /// What was asked.
        stage: Stage,
        /// Its answer.
        reply: Reply,
    },
    /// What it means is known: all recipients were refused, or one of them for now; or there is no proof of who we are.
    Judged(Outcome),
    /// The network, time, or something that is not SMTP.
    Lost {
        /// What was asked, or done.
        stage: Stage,
        /// What happened.
        cause: String,
    },
    /// The server is not whom the file means, or not set up as the file says.
    NotAsTold(String),
    /// This mail is not for this server.
    Unfit(String),
}

impl Fault {
    /// What it means for the mail.
    pub fn outcome(self) -> Outcome {
        match self {
            Fault::Refused { stage, reply } => judge(stage, &reply, false),
            Fault::Judged(outcome) => outcome,
            Fault::Lost { stage: Stage::Dot, cause } => {
                Outcome::Unknown { why: format!("the mail was sent, and no answer was heard: {cause}") }
            }
            Fault::Lost { stage, cause } if stage < Stage::Sender => {
                Outcome::Down { why: format!("{}: {cause}", stage.word()), after: None }
            }
            Fault::Lost { stage, cause } => Outcome::Retry { why: format!("{}: {cause}; nothing was sent", stage.word()), after: None },
            Fault::NotAsTold(why) => Outcome::Misconfigured { why, after: None },
            Fault::Unfit(why) => Outcome::Rejected { why },
        }
    }

    /// Whether the server refused our proof, and another may be had.
    pub fn refuses_proof(&self) -> bool {
        matches!(self, Fault::Refused { stage: Stage::Auth, reply } if reply.code >= 500)
    }

    /// Whether the connection can carry another mail.
    fn spares_connection(&self) -> bool {
        match self {
            Fault::Refused { stage, reply } => *stage >= Stage::Sender && reply.code != 421,
            Fault::Judged(outcome) => !matches!(outcome, Outcome::Down { .. }),
            Fault::Unfit(_) => true,
            Fault::Lost { .. } | Fault::NotAsTold(_) => false,
        }
    }
}

/// What a server says it can do.
#[derive(Debug, Default)]
struct Offers {
    starttls: bool,
    smtputf8: bool,
    eightbit: bool,
    /// `Some(0)`: no limit named.
    size: Option<usize>,
    auth: Vec<String>,
}

impl Offers {
    fn read(reply: &Reply) -> Self {
        let mut offers = Offers::default();
        for line in reply.lines.iter().skip(1) {
            let line = line.to_ascii_uppercase();
            // `AUTH=PLAIN` is how some old servers say it.
            let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
            match words.next() {
                Some("STARTTLS") => offers.starttls = true,
                Some("SMTPUTF8") => offers.smtputf8 = true,
                Some("8BITMIME") => offers.eightbit = true,
                Some("SIZE") => offers.size = Some(words.next().and_then(|n| n.parse().ok()).unwrap_or(0)),
                Some("AUTH") => offers.auth.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        offers
    }
}

/// A connection on which mails can be sent.
#[derive(Debug)]
pub struct Session {
    wire: Wire,
    offers: Offers,
    born: Instant,
    mails: u32,
    /// Used before: the next mail begins with RSET, which also finds out whether the server still listens.
    stale: bool,
}

impl Session {
    /// Connects and says who we are.
    ///
    /// # Errors
    /// At which stage it ended, and why.
    pub async fn open(peer: &Peer, proof: Option<&Secret>, deadline: Instant) -> Result<Self, Fault> {
        let Server { host, port, tls, .. } = &peer.server;
        let found = within(deadline, Stage::Connect, async { Ok(addresses(host, *port).await) }).await?;
        let found = found.map_err(|why| match why {
            NoAddress::Refused(why) => Fault::NotAsTold(format!("`{host}` {why}")),
            NoAddress::Unknown(_) => Fault::Lost { stage: Stage::Connect, cause: format!("`{host}` {}", Printable(&why.to_string())) },
        })?;
        let connect = TcpStream::connect(&found[..]);
        let stream = within(deadline, Stage::Connect, async { Ok(connect.await?) }).await.map_err(|fault| named(fault, host, *port))?;
        // Commands are small and each waits for its answer.
        let _ = stream.set_nodelay(true);
        let mut wire = Wire::plain(stream);
        if *tls == Protection::Implicit {
            encrypt(&mut wire, peer, Stage::Connect, deadline).await?;
        }
        let mut session = Session { wire, offers: Offers::default(), born: Instant::now(), mails: 0, stale: false };
        let greeting = within(deadline, Stage::Greeting, session.wire.reply()).await?;
        good(Stage::Greeting, greeting)?;
        session.hello(peer, deadline).await?;
        if *tls == Protection::Starttls {
            if !session.offers.starttls {
                return Err(Fault::NotAsTold(format!("`{host}` does not offer STARTTLS: nothing is sent to it in the clear; set `tls`")));
            }
            session.ask(Stage::StartTls, "STARTTLS", deadline).await?;
            encrypt(&mut session.wire, peer, Stage::StartTls, deadline).await?;
            // What was said before could have been said by anybody.
            session.hello(peer, deadline).await?;
        }
        if let (Some(login), Some(secret)) = (&peer.server.login, proof) {
            session.log_in(login, secret, deadline).await?;
        }
        Ok(session)
    }

    async fn hello(&mut self, peer: &Peer, deadline: Instant) -> Result<(), Fault> {
        let name = peer.hello.clone().unwrap_or_else(|| match self.wire.local() {
            Some(std::net::IpAddr::V6(ip)) if ip.to_ipv4_mapped().is_none() => format!("[IPv6:{ip}]"),
            Some(ip) => format!("[{}]", ip.to_canonical()),
            None => "[127.0.0.1]".to_owned(),
        });
        let reply = self.ask(Stage::Hello, &format!("EHLO {name}"), deadline).await?;
        self.offers = Offers::read(&reply);
        Ok(())
    }

    async fn log_in(&mut self, login: &Login, secret: &Secret, deadline: Instant) -> Result<(), Fault> {
        let offered = |mechanism: &Mechanism| self.offers.auth.iter().any(|word| word == mechanism.word());
        let mechanism = match login.mechanism {
            Some(told) => Some(told).filter(offered),
            None => [Mechanism::Plain, Mechanism::Login].into_iter().find(offered),
        };
        let Some(mechanism) = mechanism else {
            let offers = Printable(&self.offers.auth.join(", ")).to_string();
            let offers = if offers.is_empty() { "none".to_owned() } else { offers };
            let wants = login.mechanism.map_or("plain and login", Mechanism::key);
            return Err(Fault::NotAsTold(format!("the server offers {offers} to log in with, and the output can do {wants}: set `auth`")));
        };
        let replies = match mechanism {
            Mechanism::Plain => {
                let both = Secret::new(format!("\0{}\0{}", login.user.expose(), secret.expose()));
                vec![Secret::new(format!("AUTH PLAIN {}", STANDARD.encode(both.expose())))]
            }
            Mechanism::Login => {
                let encoded = |secret: &Secret| Secret::new(STANDARD.encode(secret.expose()));
                vec![Secret::new("AUTH LOGIN"), encoded(&login.user), encoded(secret)]
            }
            Mechanism::Xoauth2 => {
                let both = Secret::new(format!("user={}\x01auth=Bearer {}\x01\x01", login.user.expose(), secret.expose()));
                // Asked back, the server tells its error in the question; an empty line fetches the refusal itself.
                vec![Secret::new(format!("AUTH XOAUTH2 {}", STANDARD.encode(both.expose()))), Secret::new("")]
            }
        };
        let mut last = Reply { code: 500, lines: vec![] };
        for line in &replies {
            let said = within(deadline, Stage::Auth, command(&mut self.wire, line.expose())).await?;
            let hidden = |text: &String| replies.iter().chain([secret]).any(|s| s.expose().len() > 3 && text.contains(s.expose()));
            last = if said.lines.iter().any(hidden) { Reply { lines: vec![], ..said } } else { said };
            if last.code != 334 {
                break;
            }
        }
        // A question without an end is no consent.
        if last.code == 334 {
            return Err(Fault::NotAsTold("the server asks for more than `auth` knows to answer".into()));
        }
        good(Stage::Auth, last).map(|_| ())
    }

    /// Makes a used connection ready for the next mail; false if it is not worth it, or gone.
    pub async fn freshen(&mut self, deadline: Instant) -> bool {
        if !self.stale {
            return true;
        }
        self.stale = false;
        self.mails < MAILS_MAX && self.born.elapsed() < AGE_MAX && self.ask(Stage::Idle, "RSET", deadline).await.is_ok()
    }

    /// Whether the server would take a mail now.
    ///
    /// # Errors
    /// Why not.
    pub async fn noop(&mut self, deadline: Instant) -> Result<(), Fault> {
        self.ask(Stage::Idle, "NOOP", deadline).await.map(|_| ())
    }

    /// Says goodbye. Whether it is heard does not matter.
    pub async fn quit(mut self, deadline: Instant) {
        let _ = self.ask(Stage::Idle, "QUIT", deadline).await;
    }

    /// Sends one mail; calls `sent` right before the final dot. Whether the session lives on is the second of the pair.
    pub async fn send(
        mut self,
        mail: &Mail,
        attempt: u32,
        deadline: Instant,
        sent: impl FnOnce(),
    ) -> (Result<String, Fault>, Option<Self>) {
        let result = self.transaction(mail, attempt, deadline, sent).await;
        self.mails += 1;
        self.stale = true;
        let lives = result.as_ref().err().is_none_or(Fault::spares_connection);
        (result, lives.then_some(self))
    }

    async fn transaction(&mut self, mail: &Mail, attempt: u32, deadline: Instant, sent: impl FnOnce()) -> Result<String, Fault> {
        self.ask(Stage::Sender, &self.mail_from(mail)?, deadline).await?;
        let refused = self.recipients(&mail.recipients, attempt, deadline).await?;
        self.ask(Stage::Data, "DATA", deadline).await?;
        // Without its final dot a mail is dropped by whoever has the rest of it (RFC 5321, section 4.1.1.4).
        within(deadline, Stage::Data, self.wire.send(&stuffed(&mail.bytes))).await?;
        sent();
        let reply = within(deadline, Stage::Dot, command(&mut self.wire, ".")).await?;
        let reply = good(Stage::Dot, reply)?;
        let refused: Vec<String> = refused.iter().map(|(who, reply)| format!("; refused {who}: {}", reply.shown())).collect();
        Ok(format!("{}{}", reply.shown(), refused.concat()))
    }

    fn mail_from(&self, mail: &Mail) -> Result<String, Fault> {
        if mail.utf8 && !self.offers.smtputf8 {
            return Err(Fault::Unfit("an address is not ASCII before its `@`, and the server does not offer SMTPUTF8".into()));
        }
        if let Some(most) = self.offers.size.filter(|most| *most > 0 && *most < mail.bytes.len()) {
            return Err(Fault::Unfit(format!("the mail has {} bytes, and the server takes {most}", mail.bytes.len())));
        }
        let sender = mail.sender.as_ref().map(ToString::to_string).unwrap_or_default();
        let size = self.offers.size.map(|_| format!(" SIZE={}", mail.bytes.len())).unwrap_or_default();
        // RFC 6531, section 3.4: an internationalized mail is 8BITMIME too.
        let utf8 = match (mail.utf8, self.offers.eightbit) {
            (true, true) => " BODY=8BITMIME SMTPUTF8",
            (true, false) => " SMTPUTF8",
            (false, _) => "",
        };
        Ok(format!("MAIL FROM:<{sender}>{size}{utf8}"))
    }

    /// Names the recipients; those that were refused for good come back where others were taken.
    async fn recipients<'m>(
        &mut self,
        all: &'m [Recipient],
        attempt: u32,
        deadline: Instant,
    ) -> Result<Vec<(&'m Recipient, Reply)>, Fault> {
        let mut refused = vec![];
        for recipient in all {
            match self.ask(Stage::Recipient, &format!("RCPT TO:<{}>", recipient.address), deadline).await {
                Ok(_) => {}
                Err(Fault::Refused { reply, .. }) => {
                    let outcome = recipient.judge(&reply);
                    let for_now = matches!(outcome, Outcome::Retry { .. } | Outcome::Down { .. });
                    // Nobody has the mail yet: later it goes to all of them. A mailbox that stays full keeps nobody else from it for ever.
                    if for_now && (attempt <= PATIENCE || matches!(outcome, Outcome::Down { .. })) {
                        return Err(Fault::Judged(outcome));
                    }
                    refused.push((recipient, reply));
                }
                Err(fault) => return Err(fault),
            }
        }
        if refused.len() < all.len() {
            return Ok(refused);
        }
        Err(Fault::Judged(summed_up(refused.iter().map(|(recipient, reply)| recipient.judge(reply)))))
    }

    async fn ask(&mut self, stage: Stage, line: &str, deadline: Instant) -> Result<Reply, Fault> {
        good(stage, within(deadline, stage, command(&mut self.wire, line)).await?)
    }
}

/// Of several refusals the one that leaves most hope: what may pass, then what a person can mend.
fn summed_up(outcomes: impl Iterator<Item = Outcome>) -> Outcome {
    let hope = |outcome: &Outcome| match outcome {
        Outcome::Retry { .. } => 0,
        Outcome::Rejected { .. } => 1,
        _ => 2,
    };
    outcomes.min_by_key(hope).unwrap_or(Outcome::Rejected { why: "the mail has no recipient".into() })
}

impl Mechanism {
    /// As EHLO says it.
    fn word(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::Xoauth2 => "XOAUTH2",
        }
    }

    /// As the file says it.
    fn key(self) -> &'static str {
        match self {
            Mechanism::Plain => "plain",
            Mechanism::Login => "login",
            Mechanism::Xoauth2 => "xoauth2",
        }
    }
}

impl Recipient {
    fn judge(&self, reply: &Reply) -> Outcome {
        judge(Stage::Recipient, reply, self.chosen_by_event)
    }
}

impl std::fmt::Display for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address.fmt(f)
    }
}

async fn command(wire: &mut Wire, line: &str) -> Result<Reply, WireError> {
    let line = Secret::new(format!("{line}\r\n"));
    wire.send(line.expose().as_bytes()).await?;
    wire.reply().await
}

async fn encrypt(wire: &mut Wire, peer: &Peer, stage: Stage, deadline: Instant) -> Result<(), Fault> {
    let host = &peer.server.host;
    let name = ServerName::try_from(host.clone()).map_err(|_| Fault::NotAsTold(format!("no certificate can bear the name `{host}`")))?;
    let connector = peer.tls.connector().await.map_err(|unreadable| Fault::NotAsTold(unreadable.to_string()))?;
    let shaken = timeout_at(deadline, wire.encrypt(&connector, name)).await;
    match shaken {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if refused_certificate(&error) => {
            Err(Fault::NotAsTold(format!("TLS with `{host}` failed: {error}; set `ca` if it has a certificate of your own")))
        }
        Ok(Err(error)) => Err(Fault::Lost { stage, cause: error.to_string() }),
        Err(_) => Err(silent(stage)),
    }
}

/// What the stage expects: 354 where the mail may follow, else 2xx.
fn good(stage: Stage, reply: Reply) -> Result<Reply, Fault> {
    match reply.code {
        354 if stage == Stage::Data => Ok(reply),
        200..300 if stage != Stage::Data => Ok(reply),
        400.. => Err(Fault::Refused { stage, reply }),
        _ => Err(Fault::Lost { stage, cause: format!("an answer that does not belong there: {}", reply.shown()) }),
    }
}

async fn within<T>(deadline: Instant, stage: Stage, work: impl Future<Output = Result<T, WireError>>) -> Result<T, Fault> {
    match timeout_at(deadline, work).await {
        Ok(done) => done.map_err(|error| Fault::Lost { stage, cause: Printable(&error.to_string()).to_string() }),
        Err(_) => Err(silent(stage)),
    }
}

fn silent(stage: Stage) -> Fault {
    Fault::Lost { stage, cause: "no answer in the time that `timeout` gives".into() }
}

fn named(fault: Fault, host: &str, port: u16) -> Fault {
    match fault {
        Fault::Lost { stage, cause } => Fault::Lost { stage, cause: format!("`{host}:{port}`: {cause}") },
        other => other,
    }
}
