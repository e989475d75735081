//! The name of a configuration: what plans, lists and people call it by.

use std::fmt;
use std::str::FromStr;

/// The first digits of a hash over a configuration's text and what `${…}` put in. Shown as eight hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ConfigVersion(pub u32);

impl fmt::Display for ConfigVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// A text that names no configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a configuration's version is eight digits from 0 to f, such as `1f0c93ab`: `switchyard config list` shows those that are kept")]
pub struct NoVersion;

impl FromStr for ConfigVersion {
    type Err = NoVersion;
    fn from_str(text: &str) -> Result<Self, NoVersion> {
        // `from_str_radix` would take a sign.
        let digits = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u32::from_str_radix(text, 16).ok().filter(|_| digits).map(ConfigVersion).ok_or(NoVersion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_eight_digits_and_nothing_else() {
        for version in [0, 0xab, u32::MAX].map(ConfigVersion) {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        for text in ["", "ab", "+1234567", "123456789", "1234567g", "1234567é"] {
            assert_eq!(text.parse::<ConfigVersion>(), Err(NoVersion), "{text}");
        }
    }
}
