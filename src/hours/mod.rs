//! When something may happen: windows of a week by the clock on the wall of a place.
//!
//! Does: says whether a moment is inside, and where it is not, when it will be. Never: reads a clock, knows what it is asked for.
//! What counts is what a clock on the wall shows there: an hour that a summer begins without is in no window, one that a winter has twice is
//! inside or outside both times. Zones come with the program. Proven by the properties below.

mod section;

use crate::model::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// When to look again where no opening is found: a calendar that has come to its end.
const LOOK_AGAIN: Duration = Duration::from_hours(24);
/// Changes of a zone's offset that are looked at for an opening: years of them.
const CHANGES: usize = 8;

/// Times of a week, in one window at least. Open while any of them is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    windows: Vec<Window>,
}

/// One window: on some days from one minute to another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Window {
    zone: TimeZone,
    /// The days it begins on, from Monday.
    days: [bool; 7],
    /// Minutes since midnight; `to` is up to 24 × 60. Where it is less than `from` it is the next day's.
    from: i32,
    to: i32,
    /// Dates it does not begin on.
    except: BTreeSet<Date>,
}

/// When closed hours open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// When.
    pub at: Timestamp,
    zone: TimeZone,
}

impl fmt::Display for Opening {
    /// `Mon 2026-03-02 08:00 Europe/Amsterdam`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(at) = jiff::Timestamp::from_millisecond(self.at.0) else { return write!(f, "{}", self.at) };
        write!(f, "{} {}", self.zone.to_datetime(at).strftime("%a %Y-%m-%d %H:%M"), self.zone.iana_name().unwrap_or("UTC"))
    }
}

impl Hours {
    /// When they open, where they are closed at this moment; `None`: they are open.
    pub fn opening(&self, now: Timestamp) -> Option<Opening> {
        // No clock on a wall shows such a moment: nothing is kept back for it.
        let at = jiff::Timestamp::from_millisecond(now.0).ok()?;
        if self.windows.iter().any(|window| window.holds(at)) {
            return None;
        }
        let first = self.windows.iter().filter_map(|window| Some((window.next(at)?, window))).min_by_key(|(opens, _)| *opens);
        let zone = |window: &Window| window.zone.clone();
        match first {
            Some((opens, window)) => Some(Opening { at: Timestamp(opens.as_millisecond()), zone: zone(window) }),
            None => Some(Opening { at: now + LOOK_AGAIN, zone: self.windows.first().map_or(TimeZone::UTC, zone) }),
        }
    }
}

impl Window {
    fn begins_on(&self, date: Date) -> bool {
        self.days[day_of(date.weekday())] && !self.except.contains(&date)
    }

    /// Whether the clock on the wall is inside.
    fn holds(&self, at: jiff::Timestamp) -> bool {
        let wall = self.zone.to_datetime(at);
        let minute = i32::from(wall.hour()) * 60 + i32::from(wall.minute());
        let today = self.begins_on(wall.date());
        if self.from < self.to {
            return today && (self.from..self.to).contains(&minute);
        }
        let yesterday = || wall.date().yesterday().is_ok_and(|date| self.begins_on(date));
        today && minute >= self.from || minute < self.to && yesterday()
    }

    /// The first moment after this one at which it is inside. It is outside now, so that is where a window begins, or where the clock on the
    /// wall is put forward or back into one.
    fn next(&self, now: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let begins = self.next_beginning(now);
        let changes = self.zone.following(now).take(CHANGES).map(|change| change.timestamp());
        let into = changes.take_while(|at| begins.is_none_or(|begins| *at < begins)).find(|at| self.holds(*at));
        into.or(begins)
    }

    fn next_beginning(&self, now: jiff::Timestamp) -> Option<jiff::Timestamp> {
        // Each exception may cost a week, and so may an hour that is not there.
        let days = 7 * (self.except.len() + 3);
        let mut date = self.zone.to_datetime(now).date();
        for _ in 0..days {
            if self.begins_on(date) {
                let wall = date.at((self.from / 60) as i8, (self.from % 60) as i8, 0, 0);
                let twice = match self.zone.to_ambiguous_timestamp(wall).offset() {
                    AmbiguousOffset::Unambiguous { offset } => [Some(offset), None],
                    AmbiguousOffset::Fold { before, after } => [Some(before), Some(after)],
                    AmbiguousOffset::Gap { .. } => [None, None],
                };
                let moments = twice.into_iter().flatten().filter_map(|offset| offset.to_timestamp(wall).ok());
                if let Some(begins) = moments.filter(|at| *at > now).min() {
                    return Some(begins);
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }
}

/// A day's place in the week, from Monday.
fn day_of(day: Weekday) -> usize {
    usize::try_from(day.to_monday_zero_offset()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn window(zone: &str, days: &str, from: &str, to: &str) -> Window {
        let minute = |text: &str| text[..2].parse::<i32>().unwrap() * 60 + text[3..].parse::<i32>().unwrap();
        let days: Vec<bool> = days.bytes().map(|day| day != b'-').collect();
        let zone = jiff::tz::TimeZoneDatabase::bundled().get(zone).unwrap();
        Window { zone, days: days.try_into().unwrap(), from: minute(from), to: minute(to), except: BTreeSet::new() }
    }

    fn hours(windows: impl IntoIterator<Item = Window>) -> Hours {
        Hours { windows: windows.into_iter().collect() }
    }

    fn told(hours: &Hours, moment: &str) -> String {
        hours.opening(at(moment)).map_or("open".into(), |opening| opening.to_string())
    }

    #[test]
    fn an_office_opens_and_closes_to_the_minute() {
        let office = hours([window("Europe/Amsterdam", "MTWTF--", "08:00", "18:00")]);
        for (moment, expected) in [
            ("2026-03-02T07:59:59.999+01:00[Europe/Amsterdam]", "Mon 2026-03-02 08:00 Europe/Amsterdam"),
            ("2026-03-02T08:00:00+01:00[Europe/Amsterdam]", "open"),
            ("2026-03-02T17:59:59.999+01:00[Europe/Amsterdam]", "open"),
            ("2026-03-02T18:00:00+01:00[Europe/Amsterdam]", "Tue 2026-03-03 08:00 Europe/Amsterdam"),
            ("2026-03-06T18:00:00+01:00[Europe/Amsterdam]", "Mon 2026-03-09 08:00 Europe/Amsterdam"),
        ] {
            assert_eq!(told(&office, moment), expected, "{moment}");
        }
    }

    #[test]
    fn a_night_belongs_to_the_day_it_begins_on_and_an_exception_takes_it_out() {
        let mut night = window("Europe/Amsterdam", "----F--", "22:00", "06:00");
        let open = hours([night.clone()]);
        assert_eq!(told(&open, "2026-12-26T05:59:00+01:00[Europe/Amsterdam]"), "open");
        assert_eq!(told(&open, "2026-12-25T05:59:00+01:00[Europe/Amsterdam]"), "Fri 2026-12-25 22:00 Europe/Amsterdam");
        night.except = [jiff::civil::date(2026, 12, 25)].into();
        assert_eq!(told(&hours([night]), "2026-12-26T05:59:00+01:00[Europe/Amsterdam]"), "Fri 2027-01-01 22:00 Europe/Amsterdam");
    }

    #[test]
    fn of_several_windows_the_first_to_open_counts() {
        let two = hours([window("Europe/Amsterdam", "MTWTF--", "08:00", "18:00"), window("America/New_York", "-----S-", "09:00", "24:00")]);
        assert_eq!(told(&two, "2026-03-06T20:00:00+01:00[Europe/Amsterdam]"), "Sat 2026-03-07 09:00 America/New_York");
        assert_eq!(told(&two, "2026-03-08T05:59:00+01:00[Europe/Amsterdam]"), "open");
        assert_eq!(told(&two, "2026-03-08T06:00:00+01:00[Europe/Amsterdam]"), "Mon 2026-03-09 08:00 Europe/Amsterdam");
    }

    #[test]
    fn an_hour_that_is_not_there_opens_late_or_not_at_all() {
        // On 29 March the clock goes from 02:00 to 03:00.
        let before = "2026-03-29T01:30:00+01:00[Europe/Amsterdam]";
        assert_eq!(
            told(&hours([window("Europe/Amsterdam", "------S", "02:30", "05:00")]), before),
            "Sun 2026-03-29 03:00 Europe/Amsterdam"
        );
        assert_eq!(
            told(&hours([window("Europe/Amsterdam", "------S", "02:15", "02:45")]), before),
            "Sun 2026-04-05 02:15 Europe/Amsterdam"
        );
    }

    #[test]
    fn an_hour_that_comes_twice_is_inside_both_times() {
        // On 25 October the clock goes from 03:00 to 02:00.
        let short = hours([window("Europe/Amsterdam", "------S", "02:15", "02:45")]);
        let opening = short.opening(at("2026-10-25T02:50:00+02:00[Europe/Amsterdam]")).unwrap();
        assert_eq!(opening.at, at("2026-10-25T02:15:00+01:00[Europe/Amsterdam]"));
        assert_eq!(told(&short, "2026-10-25T02:20:00+02:00[Europe/Amsterdam]"), "open");
        // Back into a window that began before.
        let into = hours([window("Europe/Amsterdam", "------S", "01:30", "02:15")]);
        let opening = into.opening(at("2026-10-25T02:40:00+02:00[Europe/Amsterdam]")).unwrap();
        assert_eq!(opening.at, at("2026-10-25T02:00:00+01:00[Europe/Amsterdam]"));
    }

    /// Windows in zones with and without summer time, one of them by half an hour.
    fn any_hours() -> impl Strategy<Value = Hours> {
        let zone =
            prop::sample::select(vec!["Europe/Amsterdam", "America/New_York", "Australia/Lord_Howe", "Asia/Tokyo", "America/Santiago"]);
        // Most of them at night, when clocks are set.
        let minute = prop_oneof![3 => 30..200_i32, 1 => 1..1_440_i32];
        let window = (zone, prop::collection::vec(any::<bool>(), 7), minute.clone(), minute, prop::collection::vec(0..20_i32, 0..4));
        let window = window.prop_filter_map("a window", |(zone, days, from, to, except)| {
            let days: [bool; 7] = days.try_into().ok()?;
            let except = except.into_iter().map(|day| jiff::civil::date(2026, 3, 20).checked_add(jiff::Span::new().days(day)).unwrap());
            let zone = jiff::tz::TimeZoneDatabase::bundled().get(zone).unwrap();
            (from != to && days.contains(&true)).then(|| Window { zone, days, from, to, except: except.collect() })
        });
        prop::collection::vec(window, 1..3).prop_map(hours)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

        /// Around every change of the clocks of 2026: outside until the opening, to the minute, and inside at it.
        #[test]
        fn the_opening_is_the_first_open_minute(hours in any_hours(), season in 0..4_usize, minutes in 0..8_640_i64) {
            let start = ["2026-03-06T00:00Z", "2026-03-27T00:00Z", "2026-04-03T00:00Z", "2026-10-23T00:00Z"][season];
            let now = Timestamp(start.parse::<jiff::Timestamp>().unwrap().as_millisecond() + minutes * 60_000);
            if let Some(opening) = hours.opening(now) {
                prop_assert!(opening.at > now);
                prop_assert_eq!(hours.opening(opening.at), None, "{} is not open", opening);
                let mut minute = now;
                while minute < opening.at {
                    prop_assert!(hours.opening(minute).is_some_and(|again| again.at == opening.at), "open at {} already, not at {}", minute, opening);
                    // Minute by minute for three days, then by larger steps.
                    let step = if minute.since(now) < Duration::from_hours(72) { Duration::from_mins(1) } else { Duration::from_mins(37) };
                    minute = minute + step;
                }
            }
        }
    }
}
