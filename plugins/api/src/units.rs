//! Sizes, times and rates as the file writes them: `5s`, `1MiB`, `30/min`.

use serde::de::{Deserialize, Deserializer, Error};
use std::fmt;
use std::time::Duration;

/// A length of time, written `500ms`, `5s`, `10m`, `48h`, `3d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

impl Period {
    /// From whole seconds.
    pub const fn secs(seconds: u64) -> Self {
        Period(Duration::from_secs(seconds))
    }

    /// Parses the file's form.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a time: write a number and its unit, such as `500ms`, `5s`, `10m`, `48h` or `3d`");
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b' ') {
            return Err(wrong());
        }
        humantime::parse_duration(text).map(Period).map_err(|_| wrong())
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_nanos();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, word) in [
            (86_400_000_000_000, "d"),
            (3_600_000_000_000, "h"),
            (60_000_000_000, "m"),
            (1_000_000_000, "s"),
            (1_000_000, "ms"),
            (1_000, "us"),
            (1, "ns"),
        ] {
            if rest >= unit {
                write!(f, "{}{word}", rest / unit)?;
                rest %= unit;
            }
        }
        Ok(())
    }
}

/// A number of bytes, written `64KiB`, `1MiB`, `20GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// Parses the file's form.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a size: write a number and its unit, such as `64KiB`, `1MiB` or `20GiB`");
        if text.is_empty() || text.starts_with(['-', '+', '.']) {
            return Err(wrong());
        }
        text.parse::<bytesize::ByteSize>().map(|b| Size(b.as_u64())).map_err(|_| wrong())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match self.0 {
            b if b >= 1 << 30 && b % (1 << 30) == 0 => (b >> 30, "GiB"),
            b if b >= 1_000_000_000 && b % 1_000_000_000 == 0 => (b / 1_000_000_000, "GB"),
            b if b >= 1 << 20 && b % (1 << 20) == 0 => (b >> 20, "MiB"),
            b if b >= 1_000_000 && b % 1_000_000 == 0 => (b / 1_000_000, "MB"),
            b if b >= 1 << 10 && b % (1 << 10) == 0 => (b >> 10, "KiB"),
            b if b >= 1_000 && b % 1_000 == 0 => (b / 1_000, "KB"),
            b => (b, "B"),
        };
        write!(f, "{value}{unit}")
    }
}

/// So many in so long, written `1/s`, `30/min`, `600/h`, `5/10s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least one.
    pub count: u32,
    /// In what time, more than nothing.
    pub per: Duration,
}

impl Rate {
    /// Parses the file's form.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a rate: write a number and a time, such as `1/s`, `30/min`, `600/h` or `5/10s`");
        let (count, per) = text.split_once('/').ok_or_else(wrong)?;
        let count: u32 = count.trim().parse().map_err(|_| wrong())?;
        let per = per.trim();
        let spelled = if per.starts_with(|c: char| c.is_ascii_digit()) { per.to_owned() } else { format!("1{per}") };
        let per = Period::parse(&spelled).map_err(|_| wrong())?.0;
        if count == 0 || per.is_zero() {
            return Err(wrong());
        }
        Ok(Rate { count, per })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = Period(self.per).to_string();
        write!(f, "{}/{}", self.count, per.strip_prefix('1').filter(|rest| rest.starts_with(|c: char| c.is_alphabetic())).unwrap_or(&per))
    }
}

macro_rules! from_text {
    ($($unit:ty),*) => {$(
        impl<'de> Deserialize<'de> for $unit {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <$unit>::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
            }
        }
    )*};
}
from_text!(Period, Size, Rate);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_shown() {
        for text in ["500ms", "5s", "10m", "2d", "1h30m"] {
            assert_eq!(Period::parse(text).map(|p| p.to_string()).as_deref(), Ok(text));
        }
        for text in ["1MiB", "64KiB", "20GiB", "7B"] {
            assert_eq!(Size::parse(text).map(|s| s.to_string()).as_deref(), Ok(text));
        }
        for text in ["1/s", "30/m", "5/10s"] {
            assert_eq!(Rate::parse(text).map(|r| r.to_string()).as_deref(), Ok(text));
        }
        assert_eq!(Rate::parse("30/min").map(|r| r.per), Ok(Duration::from_mins(1)));
    }

    #[test]
    fn nonsense_is_refused_with_the_form_to_write() {
        for text in ["", "5", "5x", "-5s", "s"] {
            assert!(Period::parse(text).is_err_and(|e| e.contains("5s")), "{text}");
        }
        for text in ["", "x", "-1MiB", "1XB"] {
            assert!(Size::parse(text).is_err_and(|e| e.contains("1MiB")), "{text}");
        }
        for text in ["", "1", "0/s", "1/0s", "1/x", "-1/s"] {
            assert!(Rate::parse(text).is_err_and(|e| e.contains("30/min")), "{text}");
        }
    }
}
