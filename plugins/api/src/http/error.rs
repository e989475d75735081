//! How far a request came that has no answer, and what that means for its delivery.
//!
//! Texts are one line for a person and hold no secret: of a URL the host alone (L7).

use super::url::Url;
use crate::Outcome;
use crate::egress::Decided;
use std::time::Duration;

/// How far a request came that has no answer. `Display` is one line without secrets.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The name has no address.
    #[error("the name `{host}` cannot be resolved: {cause}")]
    Dns {
        /// The name.
        host: String,
        /// What the system said.
        cause: String,
    },
    /// No connection; nothing was sent.
    #[error("no connection to `{host}:{port}`: {cause}")]
    Connect {
        /// To whom.
        host: String,
        /// At which port.
        port: u16,
        /// What the system said.
        cause: String,
    },
    /// Who answered is not whom we want, or speaks no TLS that we speak; nothing was sent.
    #[error("TLS with `{host}` is refused: {cause}")]
    Tls {
        /// With whom.
        host: String,
        /// Why.
        cause: String,
    },
    /// Who is to be reached must not be; nothing was sent.
    #[error("`{host}` {cause}")]
    Refused {
        /// Whom.
        host: String,
        /// Why.
        cause: String,
    },
    /// The file asks for HTTP/2, and it is not spoken there; nothing was sent.
    #[error("`{host}` speaks no HTTP/2 as `http: 2` asks: {cause}")]
    Version {
        /// Who.
        host: String,
        /// What it did instead.
        cause: String,
    },
    /// A file of TLS is unusable now; nothing was sent.
    #[error("{cause}")]
    Files {
        /// Which, and why.
        cause: String,
    },
    /// The proxy is not there, or cannot reach the far side; nothing was sent.
    #[error("the proxy `{proxy}` does not help: {cause}")]
    Proxy {
        /// The proxy.
        proxy: String,
        /// What happened.
        cause: String,
    },
    /// The proxy refuses us; nothing was sent.
    #[error("the proxy `{proxy}` refuses: {cause}")]
    ProxyRefuses {
        /// The proxy.
        proxy: String,
        /// What it said.
        cause: String,
    },
    /// The request may have arrived, and no answer was heard.
    #[error("sent, but the connection to `{host}` broke before an answer: {cause}")]
    Lost {
        /// To whom.
        host: String,
        /// What happened.
        cause: String,
    },
    /// The request may have arrived, and no answer came in time.
    #[error("sent, but `{host}` gave no answer within {within:.1?}")]
    Silent {
        /// To whom.
        host: String,
        /// How long was waited.
        within: Duration,
    },
}

impl CallError {
    /// What this means for the delivery (product: "What an answer means"), where the file says whom to reach.
    pub fn outcome(&self) -> Outcome {
        let why = self.to_string();
        match self {
            CallError::Dns { .. } | CallError::Connect { .. } | CallError::Proxy { .. } => Outcome::Down { why, after: None },
            CallError::Tls { .. }
            | CallError::Refused { .. }
            | CallError::Version { .. }
            | CallError::Files { .. }
            | CallError::ProxyRefuses { .. } => Outcome::Misconfigured { why, after: None },
            CallError::Lost { .. } | CallError::Silent { .. } => Outcome::Unknown { why },
        }
    }

    /// What this means for the delivery. Where the event says whom to reach, a far side that is down or unfit is that event's
    /// trouble and not the output's: it is tried again, or rejected where it must not be reached.
    pub fn outcome_for(&self, decided: Decided) -> Outcome {
        let why = self.to_string();
        match self {
            _ if decided == Decided::ByFile => self.outcome(),
            CallError::Refused { .. } => Outcome::Rejected { why },
            CallError::Dns { .. } | CallError::Connect { .. } | CallError::Tls { .. } | CallError::Version { .. } => {
                Outcome::Retry { why, after: None }
            }
            _ => self.outcome(),
        }
    }

    pub(super) fn not_connected(url: &Url, cause: String) -> Self {
        CallError::Connect { host: url.host().to_owned(), port: url.port(), cause }
    }
}
