//! `hours` of the file: one window or a list of them, as written, and what is made of it. Every mistake is told at its place.

use super::{Hours, Window, day_of};
use jiff::civil::{Date, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeSet;
use switchyard_api::problem::nearest;
use switchyard_api::tree::{self, Node, Value};
use switchyard_api::{At, Problem};

/// Windows in one list; `check` refuses more.
const WINDOWS_MAX: usize = 24;
/// Exceptions of one window; `check` refuses more.
const EXCEPT_MAX: usize = 366;
const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];
const MIDNIGHT: i32 = 24 * 60;

/// The keys of a window. Those that hold one word or several are read by hand: each word needs its place.
#[derive(Deserialize)]
struct Keys {
    /// Whose clock counts, by its name in the tz database.   example: Europe/Amsterdam
    zone: At<String>,
    /// The days on which it begins: `mon-fri`, `sat`, or a list of such.   default: every day
    #[serde(rename = "on")]
    _on: Option<IgnoredAny>,
    /// When it begins.   default: "00:00"
    from: Option<At<String>>,
    /// When it ends: the first minute outside. Earlier than `from`: on the next day.   default: "24:00"
    to: Option<At<String>>,
    /// Dates on which it does not begin.   example: [2026-12-25]
    #[serde(rename = "except")]
    _except: Option<IgnoredAny>,
}

impl Hours {
    /// What a window may be.
    pub fn shape() -> switchyard_api::shape::Shape {
        switchyard_api::shape::of::<Keys>()
    }

    /// The keys of a window.
    pub fn keys() -> &'static [&'static str] {
        tree::keys::<Keys>()
    }

    /// Reads what stands under `hours`. Problems are pushed; `None` if there are any.
    pub fn read(node: &Node, problems: &mut Vec<Problem>) -> Option<Hours> {
        let items = node.several();
        if items.is_empty() || node.value == Value::Null {
            let problem = Problem::error("wrong-hours", node.span, "`hours` are never", "no window here");
            problems
                .push(problem.help("write `{ zone: Europe/Amsterdam, on: mon-fri, from: \"08:00\", to: \"18:00\" }`, or take the key out"));
            return None;
        }
        if let Some(over) = items.get(WINDOWS_MAX) {
            let title = format!("`hours` have {} windows", items.len());
            let problem = Problem::error("wrong-hours", over.span, title, format!("at most {WINDOWS_MAX}"));
            problems.push(problem.help("windows of several days are one: `on: [mon-wed, fri]`"));
            return None;
        }
        let windows: Vec<_> = items.iter().map(|item| window(item, problems)).collect();
        windows.into_iter().collect::<Option<_>>().map(|windows| Hours { windows })
    }
}

/// All parts are read before the first failure counts, so that all problems are told.
fn window(node: &Node, problems: &mut Vec<Problem>) -> Option<Window> {
    let keys = tree::read::<Keys>(node, problems);
    let days = days(node.get("on"), problems);
    let except = except(node.get("except"), problems);
    let keys = keys?;
    let zone = zone(&keys.zone, problems);
    let from = minute(keys.from.as_ref(), 0, MIDNIGHT - 1, problems);
    let to = minute(keys.to.as_ref(), MIDNIGHT, MIDNIGHT, problems);
    let window = Window { zone: zone?, days: days?, from: from?, to: to?, except: except? };
    let wrong = |title: &str, label: &str, help: &str| {
        let at = keys.to.as_ref().map_or(node.span, |to| to.span);
        Problem::error("wrong-hours", at, title, label).help(help)
    };
    if window.from == window.to {
        problems.push(wrong("`from` and `to` are the same", "no time between them", "write when it ends, such as `to: \"18:00\"`"));
        return None;
    }
    if (window.from, window.to) == (0, MIDNIGHT) && window.days == [true; 7] && window.except.is_empty() {
        problems.push(wrong("these hours never end", "every day, all day", "add `on`, `from` and `to`, or take `hours` out"));
        return None;
    }
    Some(window)
}

fn zone(written: &At<String>, problems: &mut Vec<Problem>) -> Option<TimeZone> {
    let zones = TimeZoneDatabase::bundled();
    if let Ok(zone) = zones.get(&written.value) {
        return Some(zone);
    }
    let problem = Problem::error("unknown-zone", written.span, format!("`{}` is not a time zone", written.value), "no zone has this name");
    let names: Vec<String> = zones.available().map(|name| name.as_str().to_owned()).collect();
    let place = |name: &&String| name.rsplit('/').next().is_some_and(|place| place.eq_ignore_ascii_case(&written.value));
    let near = names.iter().find(place).map(String::as_str).or_else(|| nearest(&written.value, names.iter().map(String::as_str)));
    problems.push(match near {
        Some(near) => problem.help(format!("did you mean `{near}`?")).patch(near),
        None => problem.help("write a name of the tz database, such as `Europe/Amsterdam` or `UTC`"),
    });
    None
}

/// `HH:MM` as minutes.
fn minute(written: Option<&At<String>>, default: i32, most: i32, problems: &mut Vec<Problem>) -> Option<i32> {
    let Some(written) = written else { return Some(default) };
    let two = |text: &str| (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<i32>().ok())?;
    let parsed = written.value.split_once(':').and_then(|(hour, minute)| Some((two(hour)?, two(minute)?)));
    let minute = parsed.filter(|(_, minute)| *minute < 60).map(|(hour, minute)| hour * 60 + minute).filter(|minute| *minute <= most);
    if minute.is_none() {
        let problem = Problem::error("wrong-hours", written.span, format!("`{}` is not a time of day", written.value), "hours and minutes");
        problems.push(problem.help("write it as on a clock of 24 hours, such as `\"08:00\"`"));
    }
    minute
}

fn days(node: Option<&Node>, problems: &mut Vec<Problem>) -> Option<[bool; 7]> {
    let Some(node) = node else { return Some([true; 7]) };
    let (mut days, mut sound) = ([false; 7], !node.several().is_empty());
    if !sound {
        problems.push(Problem::error("wrong-hours", node.span, "an empty list of days", "never").help("write days, such as `mon-fri`"));
    }
    for item in node.several() {
        let word = item.as_text().unwrap_or_default();
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        match (day(first), day(last)) {
            (Some(first), Some(last)) => (0..=(last + 7 - first) % 7).for_each(|n| days[(first + n) % 7] = true),
            (wrong, _) => {
                let part = if wrong.is_none() { first } else { last };
                let title =
                    if word.is_empty() { format!("expected a day, found {}", item.kind()) } else { format!("`{part}` is not a day") };
                let problem = Problem::error("unknown-day", item.span, title, "here");
                let near = nearest(part, DAYS.map(|(name, _)| name))
                    .or_else(|| DAYS.map(|(name, _)| name).into_iter().find(|name| starts(part, name)));
                let near = match part.to_lowercase().as_str() {
                    "weekdays" | "weekday" | "workdays" | "business" => "write `mon-fri`; ".to_owned(),
                    "weekend" | "weekends" => "write `sat-sun`; ".to_owned(),
                    "daily" | "everyday" | "all" | "*" => "leave `on` out for every day; ".to_owned(),
                    _ => near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default(),
                };
                problems
                    .push(problem.help(format!("{near}days are mon, tue, wed, thu, fri, sat and sun; several are `mon-fri` or a list")));
                sound = false;
            }
        }
    }
    sound.then_some(days)
}

fn starts(word: &str, name: &str) -> bool {
    word.to_lowercase().starts_with(name)
}

fn day(word: &str) -> Option<usize> {
    DAYS.iter().find(|(name, _)| *name == word).map(|(_, day)| day_of(*day))
}

fn except(node: Option<&Node>, problems: &mut Vec<Problem>) -> Option<BTreeSet<Date>> {
    let Some(node) = node else { return Some(BTreeSet::new()) };
    if let Some(over) = node.several().get(EXCEPT_MAX) {
        let problem = Problem::error("wrong-hours", over.span, "too many dates", format!("at most {EXCEPT_MAX}"));
        problems.push(problem.help("take out those that are over"));
        return None;
    }
    let date = |item: &Node| {
        let date = item.as_text().filter(|text| text.len() == 10).and_then(|text| text.parse::<Date>().ok());
        if date.is_none() {
            let title =
                item.as_text().map_or_else(|| format!("expected a date, found {}", item.kind()), |text| format!("`{text}` is not a date"));
            problems.push(Problem::error("wrong-hours", item.span, title, "here").help("write year, month and day, such as `2026-12-25`"));
        }
        date
    };
    let dates: Vec<_> = node.several().iter().map(date).collect();
    dates.into_iter().collect()
}
