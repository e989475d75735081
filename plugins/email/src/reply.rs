//! What a server's reply means, by the stage at which it came: the one table from SMTP to an [`Outcome`].
//!
//! The enhanced code (RFC 3463) is read before the basic one (RFC 5321): quota refusals come as 5xx and are no verdict on the mail.

use std::time::Duration;
use switchyard_api::{Outcome, Printable};

/// Most characters of a reply's text that are shown.
const TEXT_MAX: usize = 300;
/// A server that greylists takes the mail a few minutes later (RFC 6647, section 4.1).
pub const SOON: Duration = Duration::from_mins(5);
/// Daily limits and full mailboxes do not pass in minutes.
pub const LONG: Duration = Duration::from_hours(1);

/// How far the talk had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Name, TCP, and TLS where that comes first.
    Connect,
    /// The server's first line.
    Greeting,
    /// EHLO.
    Hello,
    /// STARTTLS and its handshake.
    StartTls,
    /// AUTH.
    Auth,
    /// RSET or NOOP between mails.
    Idle,
    /// MAIL FROM.
    Sender,
    /// RCPT TO.
    Recipient,
    /// DATA and the mail itself, up to but without the final dot.
    Data,
    /// The final dot may have left.
    Dot,
}

impl Stage {
    /// For a person.
    pub fn word(self) -> &'static str {
        match self {
            Stage::Connect => "connecting",
            Stage::Greeting => "the greeting",
            Stage::Hello => "EHLO",
            Stage::StartTls => "STARTTLS",
            Stage::Auth => "AUTH",
            Stage::Idle => "RSET",
            Stage::Sender => "MAIL FROM",
            Stage::Recipient => "RCPT TO",
            Stage::Data => "DATA",
            Stage::Dot => "the end of the mail",
        }
    }
}

/// One reply of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// The lines' texts.
    pub lines: Vec<String>,
}

impl Reply {
    /// The enhanced code that the text begins with, if its class is the reply's (RFC 2034, section 4).
    pub fn enhanced(&self) -> Option<(u16, u16, u16)> {
        let word = self.lines.first()?.split_whitespace().next()?;
        let mut parts = word.split('.').map(|part| {
            let digits = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            part.parse::<u16>().ok().filter(|_| digits)
        });
        let (class, subject, detail) = (parts.next()??, parts.next()??, parts.next()??);
        (parts.next().is_none() && class == self.code / 100).then_some((class, subject, detail))
    }

    /// The reply on one line, safe to show.
    pub fn shown(&self) -> String {
        let text: String = self.lines.join(" ").chars().take(TEXT_MAX).collect();
        Printable(format!("{} {text}", self.code).trim_end()).to_string()
    }

    /// Whether the sender's account has sent as much as it may: 5.4.5 (Google, daily), 4.2.1 (Google, peak).
    fn is_quota(&self) -> bool {
        let limit = || {
            // Google says the same code for its policy and for the daily limit of its relay: only here the text tells them apart.
            let text = self.lines.join(" ").to_lowercase();
            text.contains("limit") || text.contains("quota")
        };
        match self.enhanced() {
            Some((_, 4, 5) | (4, 2, 1)) => true,
            Some((_, 7, 1)) => limit(),
            _ => false,
        }
    }
}

/// What a refusal means. `stage` is never [`Stage::Connect`]: there nothing is said yet.
pub fn judge(stage: Stage, reply: &Reply, chosen_by_event: bool) -> Outcome {
    let why = format!("the server answered {} with {}", stage.word(), reply.shown());
    // A wait holds the whole output: right for a mailbox that all its mails go to, not for one of many.
    let wait = |wait: Duration| if stage == Stage::Recipient && chosen_by_event { None } else { Some(wait) };
    let retry = |why, after: Duration| Outcome::Retry { why, after: wait(after) };
    if reply.code == 421 || matches!(reply.enhanced(), Some((4, 3, 2))) {
        return Outcome::Down { why, after: None };
    }
    if stage >= Stage::Sender && reply.is_quota() {
        return Outcome::Retry { why, after: Some(LONG) };
    }
    if reply.code == 530 {
        return Outcome::Misconfigured { why, after: None };
    }
    let permanent = reply.code >= 500;
    match (stage, reply.enhanced()) {
        (Stage::Recipient | Stage::Data | Stage::Dot, Some((_, 2, 2))) => retry(why, LONG),
        (Stage::Connect | Stage::Greeting | Stage::Hello | Stage::StartTls, _) if !permanent => Outcome::Down { why, after: None },
        (Stage::Auth, Some((4, 7, 12))) => Outcome::Misconfigured { why, after: None },
        _ if !permanent => retry(why, SOON),
        // Some servers judge the sender only when they hear a recipient.
        (Stage::Recipient, Some((_, 1, 7 | 8))) => Outcome::Misconfigured { why, after: None },
        // A mailbox that the file names is the output's channel: refused, its backlog waits until somebody mends the file.
        (Stage::Recipient, _) if !chosen_by_event => Outcome::Misconfigured { why, after: None },
        // A mail that is too large, or an address that the server cannot take (SMTPUTF8), is refused at MAIL FROM already.
        (Stage::Sender, Some((_, 3, 4) | (_, 6, 7 | 9))) | (Stage::Recipient | Stage::Data | Stage::Dot, _) => Outcome::Rejected { why },
        (Stage::Sender, None) if reply.code == 552 => Outcome::Rejected { why },
        _ => Outcome::Misconfigured { why, after: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Reply {
        Reply { code: text[..3].parse().unwrap(), lines: vec![text[3..].trim().to_owned()] }
    }

    #[test]
    fn a_refusal_means_what_its_stage_and_its_codes_say() {
        use Stage::{Auth, Data, Dot, Greeting, Hello, Recipient, Sender, StartTls};
        for (stage, text, expected) in [
            (Greeting, "554 no service for you", "misconfigured"),
            (Greeting, "421 4.3.2 too busy", "down"),
            (Greeting, "450 later", "down"),
            (Hello, "550 who are you", "misconfigured"),
            (StartTls, "454 TLS not available", "down"),
            (StartTls, "502 no", "misconfigured"),
            (Auth, "535 5.7.8 wrong", "misconfigured"),
            (Auth, "535 wrong", "misconfigured"),
            (Auth, "550 5.7.30 basic authentication is switched off", "misconfigured"),
            (Auth, "454 4.7.0 later", "retry 300"),
            (Auth, "432 4.7.12 change your password", "misconfigured"),
            (Auth, "421 4.7.0 too many", "down"),
            (Sender, "550 5.7.1 not your address", "misconfigured"),
            (Sender, "553 5.1.8 unknown sender", "misconfigured"),
            (Sender, "530 5.7.0 authenticate first", "misconfigured"),
            (Sender, "552 5.3.4 too large", "rejected"),
            (Sender, "552 too large", "rejected"),
            (Sender, "553 5.6.7 no SMTPUTF8", "rejected"),
            (Sender, "550 5.4.5 Daily user sending limit exceeded", "retry 3600"),
            (Sender, "451 4.3.0 later", "retry 300"),
            (Sender, "421 bye", "down"),
            (Recipient, "450 4.2.1 Peak SMTP relay limit exceeded", "retry 3600"),
            (Recipient, "550 5.7.1 Daily SMTP relay limit exceeded", "retry 3600"),
            (Data, "503 5.5.1 no", "rejected"),
            (Data, "554 5.5.1 no valid recipients", "rejected"),
            (Dot, "552 5.3.4 too large", "rejected"),
            (Dot, "554 5.7.1 spam", "rejected"),
            (Dot, "554 5.6.0 bad content", "rejected"),
            (Dot, "550 5.4.5 Daily user sending limit exceeded", "retry 3600"),
            (Dot, "552 5.2.2 mailbox full", "retry 3600"),
            (Dot, "451 4.3.0 later", "retry 300"),
            (Dot, "452 4.3.1 no space", "retry 300"),
            (Dot, "421 4.3.2 closing", "down"),
        ] {
            assert_eq!(word(&judge(stage, &reply(text), false)), expected, "{stage:?} {text}");
            assert_eq!(word(&judge(stage, &reply(text), true)).split(' ').next(), expected.split(' ').next(), "{stage:?} {text}");
        }
    }

    #[test]
    fn a_refused_recipient_is_the_files_fault_or_the_events() {
        for (text, from_file, from_event) in [
            ("550 5.1.1 no such user", "misconfigured", "rejected"),
            ("553 5.1.3 bad address", "misconfigured", "rejected"),
            ("553 5.1.8 sender's domain unknown", "misconfigured", "misconfigured"),
            ("450 4.7.1 greylisted", "retry 300", "retry"),
            ("452 4.2.2 mailbox full", "retry 3600", "retry"),
            ("552 5.2.2 mailbox full", "retry 3600", "retry"),
        ] {
            assert_eq!(word(&judge(Stage::Recipient, &reply(text), false)), from_file, "{text}");
            assert_eq!(word(&judge(Stage::Recipient, &reply(text), true)), from_event, "{text}");
        }
    }

    #[test]
    fn an_enhanced_code_counts_only_if_it_agrees() {
        assert_eq!(reply("550 5.4.5 x").enhanced(), Some((5, 4, 5)));
        for text in ["550 4.4.5 x", "550 5.4 x", "550 5.4.5.1 x", "550 5.4.+5 x", "550 x 5.4.5", "550 5.4.5555 x", "550"] {
            assert_eq!(reply(text).enhanced(), None, "{text}");
        }
    }

    #[test]
    fn a_reply_is_shown_on_one_line_and_never_whole() {
        let shown = reply(&format!("550 a\r\n\u{1b}[31m{}", "x".repeat(5_000))).shown();
        assert!(shown.starts_with(r"550 a\u{d}\u{a}\u{1b}[31m") && shown.len() < 400, "{shown}");
    }

    fn word(outcome: &Outcome) -> String {
        match outcome {
            Outcome::Retry { after: Some(after), .. } => format!("retry {}", after.as_secs()),
            other => other.word().to_owned(),
        }
    }
}
