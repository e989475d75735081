//! Which HTTP is spoken: `http: auto`, `1` or `2`.

use serde::de::{Deserialize, Deserializer, Error};

/// The version that an output speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// Over TLS HTTP/2 where the far side offers it (ALPN), else HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1.
    One,
    /// HTTP/2; without TLS by prior knowledge (RFC 9113, section 3.3).
    Two,
}

impl Version {
    /// What is offered in the TLS handshake (RFC 7301), the best first.
    pub(super) fn protocols(self) -> Vec<Vec<u8>> {
        let (one, two) = (b"http/1.1".to_vec(), b"h2".to_vec());
        match self {
            Version::Auto => vec![two, one],
            Version::One => vec![one],
            Version::Two => vec![two],
        }
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "auto" => Ok(Version::Auto),
            "1" => Ok(Version::One),
            "2" => Ok(Version::Two),
            _ => Err(D::Error::custom("this is no version of HTTP that is spoken here: write `auto`, `1` or `2`")),
        }
    }
}
