//! Why a request is not proven, for people: the cause in a word, and one line that says what to look at.

use super::section::Unit;
use http::HeaderName;
use std::fmt;
use std::time::Duration;

/// Why a request is not proven: one line for the log and for people, without anything from the request. The sender
/// always hears the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The address is in none of the allowed networks.
    #[error("the address is in none of the networks of `allow`")]
    NotAllowed,
    /// The connection shows no certificate.
    #[error("no certificate of `server.tls.client_ca` was shown")]
    NoCertificate,
    /// The certificate is of somebody else.
    #[error("the certificate that was shown has none of the names of `mtls`")]
    OtherCertificate,
    /// A header that the proof needs is not there.
    #[error("there is no header `{0}`")]
    Missing(HeaderName),
    /// A header that the proof needs is there twice.
    #[error("`{0}` is there more than once: ambiguous")]
    Ambiguous(HeaderName),
    /// The header is there and does not hold what it should.
    #[error("`{0}` does not hold a signature or token in the expected form")]
    Malformed(HeaderName),
    /// The body does not have what the proof needs.
    #[error("there is no text at `{0}` in the body")]
    MissingField(String),
    /// It is there and does not hold what it should.
    #[error("`{0}` in the body does not hold a signature or token in the expected form")]
    MalformedField(String),
    /// The body does not have the list whose elements carry the proof.
    #[error("`{0}` in the body is no list with elements to prove, or a list of too many")]
    NoItems(String),
    /// The signature covers a form or the body's hash in the URL, and the request has neither.
    #[error("the body is neither a form nor the one whose hash stands in the URL as `bodySHA256`")]
    NotCovered,
    /// It is part of what is signed, and something else than a text.
    #[error("`{0}` in the body is signed as a text or number, and is none")]
    NoText(String),
    /// The moment of signing is not there.
    #[error("there is no time of signing at `{0}`")]
    NoTimestamp(String),
    /// It is there, and is none.
    #[error("the time of signing is not whole {} since 1970", match .0 { Unit::S => "seconds", Unit::Ms => "milliseconds" })]
    BadTimestamp(Unit),
    /// The moment of signing is too far from now.
    #[error("{}", far.told(*signed))]
    Stale {
        /// How far.
        far: Far,
        /// Whether the signature holds.
        signed: bool,
    },
    /// The token is not where it should be in the URL.
    #[error("there is no token as `{0}` in the URL")]
    NoToken(String),
    /// A sender that signs for many signed it for somebody else.
    #[error("it is signed, but not for one of the names of `secret`")]
    OtherName,
    /// The certificate's address is none that is believed.
    #[error("the certificate's address is none of this sender: not `https`, another host, or more than a path")]
    ForeignCertificate,
    /// What stands there is no certificate or set of keys that can be used.
    #[error("what stands at the sender's address is no certificate or set of keys that can be used")]
    BadCertificate,
    /// The certificate is not valid now.
    #[error("the sender's certificate, or one that issued it, is not valid at this moment")]
    CertificateOver,
    /// Nobody who is believed issued it.
    #[error("the sender's certificate leads to no root that is believed (the system's, or those of `server.fetch.ca`)")]
    UnknownIssuer,
    /// It is somebody else's.
    #[error("the certificate at the sender's address has none of the sender's names")]
    ForeignName,
    /// The set has no such key.
    #[error("the issuer's set has no key of the token's name")]
    UnknownKey,
    /// Another issuer's token, or one for somebody else.
    #[error("the token is not of the issuer, for the audience or from the program that it should be")]
    OtherToken,
    /// The token's time is over, or not come.
    #[error("the token is not valid at this moment")]
    TokenOver,
    /// It is well formed and does not hold.
    #[error("the signature or token does not match: another secret, or the request was altered on its way")]
    Mismatch,
}

/// How far a moment of signing is from this machine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Far {
    /// How far.
    pub off: Duration,
    /// Whether it is in the future.
    pub ahead: bool,
    /// How far it may be.
    pub tolerance: Duration,
}

impl Far {
    fn told(self, signed: bool) -> String {
        let (off, tolerance) = (Words(self.off), Words(self.tolerance));
        let where_to = if self.ahead { "ahead of this machine's clock" } else { "old" };
        let clock = if signed {
            format!("the signature is good, but {off} {where_to}: is this machine's clock or the sender's wrong, or was it sent again?")
        } else {
            format!("the signature does not match, and the request says that it is {off} {where_to}")
        };
        format!("{clock} (at most {tolerance})")
    }
}

impl Refused {
    /// The cause in a word.
    pub fn cause(&self) -> &'static str {
        match self {
            Refused::NotAllowed => "address",
            Refused::NoCertificate
            | Refused::OtherCertificate
            | Refused::ForeignCertificate
            | Refused::BadCertificate
            | Refused::UnknownIssuer
            | Refused::ForeignName
            | Refused::CertificateOver => "certificate",
            Refused::NoToken(_)
            | Refused::Missing(_)
            | Refused::MissingField(_)
            | Refused::NoItems(_)
            | Refused::NoTimestamp(_)
            | Refused::NotCovered => "missing",
            Refused::Ambiguous(_) | Refused::Malformed(_) | Refused::MalformedField(_) | Refused::NoText(_) | Refused::BadTimestamp(_) => {
                "malformed"
            }
            Refused::Stale { far: Far { ahead: true, .. }, signed: true } => "from_the_future",
            Refused::Stale { signed: true, .. } | Refused::TokenOver => "too_old",
            Refused::Stale { signed: false, .. } | Refused::Mismatch | Refused::UnknownKey | Refused::OtherName | Refused::OtherToken => {
                "no_secret_matches"
            }
        }
    }

    /// The header that is not there, there twice, or wrong.
    pub fn header(&self) -> Option<&HeaderName> {
        match self {
            Refused::Missing(name) | Refused::Ambiguous(name) | Refused::Malformed(name) => Some(name),
            _ => None,
        }
    }

    /// How many seconds the request says that it is old, where that is too much; negative where it is of the future.
    pub fn seconds_off(&self) -> Option<i64> {
        let Refused::Stale { far, .. } = self else { return None };
        let seconds = i64::try_from(far.off.as_secs()).unwrap_or(i64::MAX);
        Some(if far.ahead { -seconds } else { seconds })
    }
}

/// A time as it is said: `3 h 2 min`.
struct Words(Duration);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let units = [(86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")];
        let Some((size, unit, next, small)) = units.into_iter().find(|(size, ..)| seconds >= *size) else {
            return write!(f, "{seconds} s");
        };
        write!(f, "{} {unit}", seconds / size)?;
        match seconds % size / next {
            0 => Ok(()),
            rest => write!(f, " {rest} {small}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_said_in_two_units_at_most() {
        for (seconds, said) in [(0, "0 s"), (59, "59 s"), (60, "1 min"), (301, "5 min 1 s"), (10_920, "3 h 2 min"), (90_000, "1 d 1 h")] {
            assert_eq!(Words(Duration::from_secs(seconds)).to_string(), said);
        }
    }

    #[test]
    fn a_good_signature_with_a_bad_clock_says_so() {
        let told = |off, ahead, signed| {
            let far = Far { off: Duration::from_secs(off), ahead, tolerance: Duration::from_mins(5) };
            let refused = Refused::Stale { far, signed };
            format!("{} {:?}: {refused}", refused.cause(), refused.seconds_off().unwrap())
        };
        insta::assert_snapshot!([told(10_920, false, true), told(301, true, true), told(301, false, false)].join("\n"), @r"
        too_old 10920: the signature is good, but 3 h 2 min old: is this machine's clock or the sender's wrong, or was it sent again? (at most 5 min)
        from_the_future -301: the signature is good, but 5 min 1 s ahead of this machine's clock: is this machine's clock or the sender's wrong, or was it sent again? (at most 5 min)
        no_secret_matches 301: the signature does not match, and the request says that it is 5 min 1 s old (at most 5 min)
        ");
    }
}
