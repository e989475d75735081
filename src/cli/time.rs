//! Times as people write them on a command line: `1h` ago, or a date.

use crate::model::{Clock, Period, SystemClock, Timestamp};

/// `2026-03-02`, `2026-03-02T10:00:00Z`, or how long ago: `90s`, `1h`, `3d`.
pub fn parse(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = Period::parse(text) {
        return Ok(SystemClock::default().wall() - ago.0);
    }
    let date = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        // In UTC, as all times here.
        let civil = text.parse::<jiff::civil::DateTime>().ok()?;
        jiff::tz::Offset::UTC.to_timestamp(civil).ok()
    });
    date.map(|at| Timestamp(at.as_millisecond()))
        .ok_or_else(|| format!("`{text}` is not a time: write how long ago, such as `1h`, or a date, such as `2026-03-02T10:00:00Z`"))
}

/// The same for a time to come: how long from now, or a date.
pub fn parse_ahead(text: &str) -> Result<Timestamp, String> {
    match Period::parse(text) {
        Ok(ahead) => Ok(SystemClock::default().wall() + ahead.0),
        Err(_) => parse(text)
            .map_err(|_| format!("`{text}` is not a time: write how long, such as `2h`, or a date, such as `2026-03-02T10:00:00Z`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_a_moment_and_ago() {
        assert_eq!(parse("1970-01-02"), Ok(Timestamp(86_400_000)));
        assert_eq!(parse("1970-01-01T00:00:01Z"), Ok(Timestamp(1000)));
        assert_eq!(parse("1970-01-01 00:01"), Ok(Timestamp(60_000)));
        assert_eq!(parse_ahead("1970-01-02"), Ok(Timestamp(86_400_000)));
        let ahead = parse_ahead("1h").unwrap().since(SystemClock::default().wall());
        assert!((3_599_000..=3_600_000).contains(&ahead.as_millis()), "{ahead:?}");
        let ago = SystemClock::default().wall().since(parse("1h").unwrap());
        assert!((3_599_000..=3_601_000).contains(&ago.as_millis()), "{ago:?}");
        assert!(parse("soon").is_err_and(|e| e.contains("1h")));
    }
}
