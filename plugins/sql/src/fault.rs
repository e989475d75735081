//! What went wrong at the database, and which outcome that is. Each database's file has the table of its own codes.

use std::error::Error;
use std::io;
use switchyard_api::{Outcome, Printable};

/// What a failure is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// This row will never be taken.
    Rejected,
    /// Another time it may be.
    Retry,
    /// The server is not there or takes nothing.
    Down,
    /// Credentials, database, table, rights.
    Misconfigured,
    /// The connection ended without a word of the server.
    Broken,
}

/// One failure. Whatever it is, what was not committed is undone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Fault {
    /// What it is about.
    pub class: Class,
    /// One line, without secrets.
    pub why: String,
    /// Whether the transaction is gone with it, and all that was done in it.
    pub ends: bool,
}

/// Characters of a server's message that are kept.
const WHY_MAX: usize = 400;

impl Fault {
    /// A failure after which the transaction goes on.
    pub fn new(class: Class, why: impl AsRef<str>) -> Self {
        let why = why.as_ref();
        let cut: String = why.chars().take(WHY_MAX).collect();
        let more = if cut.len() < why.len() { "…" } else { "" };
        Fault { class, why: format!("{}{more}", Printable(&cut)), ends: matches!(class, Class::Down | Class::Broken) }
    }

    /// The same, and the transaction is gone.
    #[must_use]
    pub fn ending(self) -> Self {
        Fault { ends: true, ..self }
    }

    /// The outcome of a delivery whose work was not committed: surely not done.
    pub fn before_commit(self) -> Outcome {
        let why = self.why;
        match self.class {
            Class::Rejected => Outcome::Rejected { why },
            Class::Retry => Outcome::Retry { why, after: None },
            Class::Down | Class::Broken => Outcome::Down { why, after: None },
            Class::Misconfigured => Outcome::Misconfigured { why, after: None },
        }
    }

    /// Whether a commit that failed so surely did nothing: the server refused it, and said so.
    pub fn refuses_commit(&self) -> bool {
        matches!(self.class, Class::Rejected | Class::Retry)
    }
}

/// An error of the way to the server: a name that no one knows, a refused connection, TLS.
pub fn of_way(error: &io::Error) -> Fault {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => of_tls(tls),
        None => Fault::new(Class::Down, format!("no connection: {error}")),
    }
}

/// A handshake that failed: over whom one believes, or over the line.
pub fn of_tls(error: &rustls::Error) -> Fault {
    use rustls::Error as E;
    let class = match error {
        E::InvalidCertificate(_) | E::AlertReceived(_) | E::PeerIncompatible(_) | E::UnsupportedNameType => Class::Misconfigured,
        E::InvalidMessage(_) => return Fault::new(Class::Down, "the server speaks no TLS there; is it the right port?"),
        _ => Class::Down,
    };
    Fault::new(class, format!("TLS: {error}"))
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut told = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !told.contains(&text) {
            told = format!("{told}: {text}");
        }
        next = cause.source();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_message_is_one_short_line() {
        let fault = Fault::new(Class::Retry, format!("a\nb{}", "x".repeat(1_000)));
        assert!(fault.why.starts_with("a\\u{a}bx") && fault.why.chars().count() < 420 && fault.why.ends_with('…'), "{fault}");
    }

    #[test]
    fn certificates_are_a_matter_of_the_file_and_lines_are_not() {
        let refused = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert_eq!(of_way(&io::Error::new(io::ErrorKind::InvalidData, refused)).class, Class::Misconfigured);
        assert_eq!(of_way(&io::ErrorKind::ConnectionRefused.into()).class, Class::Down);
        assert_eq!(of_tls(&rustls::Error::HandshakeNotComplete).class, Class::Down);
    }

    #[test]
    fn a_commit_is_refused_only_by_a_word_of_the_server() {
        let refuses = |class| Fault::new(class, "x").refuses_commit();
        assert!(refuses(Class::Rejected) && refuses(Class::Retry));
        assert!(!refuses(Class::Broken) && !refuses(Class::Down) && !refuses(Class::Misconfigured));
    }
}
