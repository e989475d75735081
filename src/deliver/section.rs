//! Delivery's own keys of an output's section in the file, and what is made of them.
//!
//! Does: reads, fills in defaults, refuses what cannot work, each at its place. Never: looks at a setting of the output's type.

use super::limiter::Limit;
use super::retry::{ATTEMPTS_MAX, Schedule};
use crate::model::PACED;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::tree::Template;
use switchyard_api::{At, Defaults, Period, Problem, Rate};

/// The keys of an output that are delivery's own; all others are settings of its type or message fields. `hours` is read by the room of that name, and `on_dead` by `route`.
pub const KEYS: &[&str] =
    &["rate", "concurrency", "timeout", "retry", "on_unknown", "order_by", "digest", "late_after", "replay", "hours", "on_dead"];

/// How many attempts are out at once where neither the file nor the output's type says.
pub const CONCURRENCY: u32 = 32;
/// The most that may be out at once; `check` refuses more.
pub const CONCURRENCY_MAX: u32 = 1_024;
/// How long an attempt may take where the file does not say.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest an attempt may take; `check` refuses more.
pub const TIMEOUT_MAX: Duration = Duration::from_hours(1);
/// The shortest `late_after`; `check` refuses less.
pub const LATE_MIN: Duration = Duration::from_secs(1);
/// The shortest `skip_after`; `check` refuses less.
pub const SKIP_MIN: Duration = Duration::from_secs(1);
/// The shortest and the longest `every` of a digest; `check` refuses others.
pub const EVERY: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(7 * 24);
/// How many a digest shows where the file does not say, and the most.
pub const SHOWN: (u32, u32) = (20, 100);
/// How many attempts a delivery gets where the file does not say.
pub const ATTEMPTS: u32 = 20;
/// How late a delivery may be before people are told, where the file does not say.
pub const LATE: Duration = Duration::from_mins(15);
/// In what time all attempts fall where the file does not say.
pub const OVER: Duration = Duration::from_hours(48);
/// The longest wait a far side may ask for where the file does not say.
pub const MAX_WAIT: Duration = Duration::from_hours(1);
/// How many of a hundred turns replays get while live deliveries wait, where the file does not say.
pub const SHARE: u32 = 20;
/// The most that they may get; `check` refuses more: live deliveries would stand behind them.
pub const SHARE_MAX: u32 = 90;

/// Delivery's own keys, as written.
#[derive(Debug, Clone, Default, serde::Deserialize)]
pub struct DeliverySection {
    /// How many in what time, such as `30/min`; or `{limit: 600/min, burst: 20, key: "{{ data.shop }}"}`.   default: what the destination publishes, else none
    #[serde(default)]
    pub rate: Option<At<RateSection>>,
    /// How many attempts may be out at once.   default: 32, or what fits the destination
    #[serde(default)]
    pub concurrency: Option<At<u32>>,
    /// How long one attempt may take.   default: 10s
    #[serde(default)]
    pub timeout: Option<At<Period>>,
    /// When a delivery that failed is tried again.   default: {attempts: 20, over: 48h}
    #[serde(default)]
    pub retry: Option<At<RetrySection>>,
    /// What to do with a delivery that was sent and never answered.   default: retry; hold where the destination knows no repeats
    #[serde(default)]
    pub on_unknown: Option<OnUnknown>,
    /// Which deliveries go together in one message: `{by: "{{ topic }}", every: 5m}`. For outputs with a `text`.
    #[serde(default)]
    pub digest: Option<At<DigestSection>>,
    /// Which deliveries go one at a time, in the order of arrival: `{key: "{{ data.id }}"}`.
    #[serde(default)]
    pub order_by: Option<At<OrderSection>>,
    /// How late a delivery may be at an output that works before people are told (`backlog.old`).   default: 15m
    #[serde(default)]
    pub late_after: Option<At<Period>>,
    /// The output that gets the event of a delivery that is dead: a mailbox, a topic of dead letters. What somebody purged or silenced is not meant.
    #[serde(default)]
    pub on_dead: Option<At<String>>,
    /// What deliveries that somebody asked for again may take of the output.   default: {share: 20%}
    #[serde(default)]
    pub replay: Option<At<ReplaySection>>,
}

/// What replays may take, as written.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct ReplaySection {
    /// Of the turns, while live deliveries wait: from `0%` to `90%`. With nothing live they may have all.   default: 20%
    pub share: At<Percent>,
}

/// So many of a hundred, written `20%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(pub u32);

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let whole = text.strip_suffix('%').and_then(|number| number.trim().parse().ok()).map(Percent);
        whole.ok_or_else(|| D::Error::custom(format!("`{text}` is not a share: write a whole number and `%`, such as `20%`")))
    }
}

/// What is kept in order, as written.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct OrderSection {
    /// A template over the event: deliveries of this output with the same text go one at a time. An event for which it gives no text, or
    /// cannot be rendered, is not kept in order.   example: "{{ data.id }}"
    pub key: Template,
    /// What becomes of those behind a delivery that is dead: `hold`, they wait until it is replayed or `switchyard skip` passes it by.   default: hold
    #[serde(default)]
    pub stuck: Option<At<Stuck>>,
    /// Instead of `stuck: hold`: those behind a delivery go on once it is dead, or has failed for so long.   example: 1h
    #[serde(default)]
    pub skip_after: Option<At<Period>>,
}

/// What goes together, as written.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct DigestSection {
    /// A template over the event: deliveries of this output with the same text go together. An event for which it cannot be rendered goes
    /// alone, at once.   default: all of them together
    #[serde(default)]
    pub by: Option<Template>,
    /// Whether the first of a key goes at once and only what follows is collected (`now`), or waits for others too (`wait`).   default: now
    #[serde(default)]
    pub first: FirstOfDigest,
    /// How long is collected: so long after the last message of a key the next one goes.   example: 5m
    pub every: At<Period>,
    /// How many are shown in one message, from 1 to 100; of those beyond it their number.   default: 20
    #[serde(default)]
    pub max: Option<At<u32>>,
}

/// What the first of a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FirstOfDigest {
    /// It goes at once.
    #[default]
    Now,
    /// It waits for others.
    Wait,
}

/// How deliveries of a key go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DigestPolicy {
    /// How long the first of a key waits for others; `None`: it goes at once.
    pub first: Option<Duration>,
    /// How long after the last message of a key the next one goes.
    pub every: Duration,
    /// How many are shown in one message.
    pub max: usize,
}

/// What becomes of those behind a delivery that is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stuck {
    /// They wait.
    Hold,
}

/// How deliveries of a key follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderPolicy {
    /// After how long those behind one that fails go on; `None`: never, not even when it is dead.
    pub skip_after: Option<Duration>,
}

/// How fast, as written: a rate, or a rate with a burst and a key.
#[derive(Debug, Clone)]
pub struct RateSection {
    /// How many in what time.
    pub limit: Rate,
    /// How many may go at once after a pause.   default: 1; above 100/s what falls into 10 ms
    pub burst: Option<u32>,
    /// A template over the event: the limit is one for each text that it gives, and these are served in turn. Events for which it gives no
    /// text, or cannot be rendered, share one.   example: "{{ data.shop }}"
    pub key: Option<Template>,
}

/// When to try again, as written: `{attempts, over}` or a `schedule`.
#[derive(Debug, Clone, Default, serde::Deserialize)]
pub struct RetrySection {
    /// How many attempts in all.   default: 20
    #[serde(default)]
    pub attempts: Option<At<u32>>,
    /// In what time they fall: waits grow from seconds to hours and add up to this.   default: 48h
    #[serde(default)]
    pub over: Option<At<Period>>,
    /// The waits between attempts one by one, such as `[5s, 5m, 30m, 2h]`.
    #[serde(default)]
    pub schedule: Option<At<Vec<Period>>>,
    /// HTTP statuses that are worth another try although they usually are not; where the far side answers with such.
    #[serde(default)]
    pub on: Vec<At<u16>>,
    /// HTTP statuses that end the delivery although they usually do not.
    #[serde(default)]
    pub reject: Vec<At<u16>>,
    /// The longest wait the far side may ask for.   default: 1h
    #[serde(default)]
    pub max_wait: Option<At<Period>>,
}

/// What to do with a delivery that was sent and never answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    /// Send it again: the far side recognises the repeat by the delivery's id.
    #[default]
    Retry,
    /// Keep it back for a person to decide: a repeat would be worse than a gap.
    Hold,
}

/// How an output is delivered to: what was written with all defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How fast; `None`: as fast as it takes.
    pub limit: Option<Limit>,
    /// The template of the key that the limit is counted by; `None`: it is one for the output.
    pub rate_key: Option<Arc<str>>,
    /// How many attempts are out at once, from 1.
    pub concurrency: u32,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// When a delivery that failed is tried again.
    pub schedule: Schedule,
    /// The longest wait a far side may ask for.
    pub max_wait: Duration,
    /// What to do with a delivery that was sent and never answered.
    pub on_unknown: OnUnknown,
    /// How deliveries of a key follow each other; `None`: they do not.
    pub order_by: Option<OrderPolicy>,
    /// How deliveries of a key go together; `None`: each alone.
    pub digest: Option<DigestPolicy>,
    /// How many of a hundred turns replays get while live deliveries wait.
    pub share: u32,
    /// HTTP statuses that are worth another try; for the output, which alone knows statuses.
    pub retry_on: Vec<u16>,
    /// HTTP statuses that end a delivery; for the output.
    pub reject: Vec<u16>,
}

impl Policy {
    /// What the row says of a delivery that waits because its key has had its share for now; `None`: the limit has no key.
    pub fn paced(&self) -> Option<String> {
        let (limit, key) = (self.limit?, self.rate_key.as_ref()?);
        Some(format!("{PACED}{limit} for each `{key}`"))
    }
}

impl DeliverySection {
    /// What is made of it, with what the output's type suggests. Problems are pushed; `None` if it can't run.
    pub fn build(&self, defaults: Defaults, problems: &mut Vec<Problem>) -> Option<Policy> {
        let before = problems.len();
        let empty = RetrySection::default();
        let retry = self.retry.as_ref().map_or(&empty, |retry| &retry.value);
        let policy = Policy {
            limit: self.limit(defaults, problems),
            rate_key: self.rate.as_ref().and_then(|rate| Some(rate.value.key.as_ref()?.text.as_str().into())),
            share: self.share(problems),
            concurrency: self.concurrency(defaults, problems),
            timeout: self.timeout(problems),
            schedule: retry.schedule(defaults, problems),
            max_wait: retry.max_wait(problems),
            on_unknown: self.on_unknown.unwrap_or(if defaults.hold_unknown { OnUnknown::Hold } else { OnUnknown::Retry }),
            order_by: self.order(problems),
            digest: self.digest(problems),
            retry_on: statuses(&retry.on, problems),
            reject: retry.reject(defaults, problems),
        };
        (problems.len() == before).then_some(policy)
    }

    /// How late a delivery may be before people are told. Problems are pushed.
    pub fn late_after(&self, problems: &mut Vec<Problem>) -> Duration {
        let Some(written) = &self.late_after else { return LATE };
        if written.value.0 < LATE_MIN {
            let title = format!("`late_after` is {}", written.value);
            let problem = Problem::error("delivery-late", written.span, title, "every delivery would be late");
            problems.push(problem.help("write at least 1s, such as `15m`"));
        }
        written.value.0
    }

    fn limit(&self, defaults: Defaults, problems: &mut Vec<Problem>) -> Option<Limit> {
        let Some(rate) = &self.rate else {
            let burst = defaults.burst.and_then(NonZeroU32::new);
            return defaults.rate.map(|rate| burst.map_or_else(|| Limit::even(rate), |burst| Limit { rate, burst }));
        };
        match rate.value.burst {
            None => Some(Limit::even(rate.value.limit)),
            Some(burst) => {
                let limit = NonZeroU32::new(burst).map(|burst| Limit { rate: rate.value.limit, burst });
                if limit.is_none() {
                    problems.push(
                        Problem::error("delivery-burst", rate.span, "`burst` is 0", "nothing would ever be sent").help("write at least 1"),
                    );
                }
                limit
            }
        }
    }

    fn order(&self, problems: &mut Vec<Problem>) -> Option<OrderPolicy> {
        let written = &self.order_by.as_ref()?.value;
        if let (Some(stuck), Some(skip)) = (&written.stuck, &written.skip_after) {
            let title = "`stuck` and `skip_after` both say what becomes of those behind one that is stuck";
            let problem = Problem::error("delivery-order", skip.span, title, "not beside `stuck: hold`").also(stuck.span, "it holds them");
            problems.push(problem.help("keep one of the two"));
        }
        if let Some(skip) = written.skip_after.filter(|skip| skip.value.0 < SKIP_MIN) {
            let problem =
                Problem::error("delivery-order", skip.span, format!("`skip_after` is {}", skip.value), "too short to be tried again");
            problems.push(problem.help("write at least 1s, or take `order_by` out: nothing would be kept in order"));
        }
        Some(OrderPolicy { skip_after: written.skip_after.map(|skip| skip.value.0) })
    }

    fn digest(&self, problems: &mut Vec<Problem>) -> Option<DigestPolicy> {
        let written = self.digest.as_ref()?;
        if let Some(order) = &self.order_by {
            let title = "`digest` sends deliveries together, and `order_by` one at a time";
            let problem = Problem::error("delivery-digest", written.span, title, "not beside `order_by`").also(order.span, "one at a time");
            problems.push(problem.help("keep one of the two"));
        }
        let DigestSection { first, every, max, .. } = &written.value;
        if !EVERY.contains(&every.value.0) {
            let problem = Problem::error("delivery-digest", every.span, format!("`every` is {}", every.value), "must be from 1s to 7d");
            problems.push(problem.help("write how long is collected, such as `5m`"));
        }
        if let Some(max) = max.filter(|max| !(1..=SHOWN.1).contains(&max.value)) {
            let problem = Problem::error("delivery-digest", max.span, format!("`max` is {}", max.value), "must be from 1 to 100");
            problems.push(problem.help("write how many one message shows; of the others it says how many they are"));
        }
        let first = (*first == FirstOfDigest::Wait).then_some(every.value.0);
        Some(DigestPolicy { first, every: every.value.0, max: max.map_or(SHOWN.0, |max| max.value) as usize })
    }

    fn share(&self, problems: &mut Vec<Problem>) -> u32 {
        let Some(At { span, value: Percent(share) }) = self.replay.as_ref().map(|replay| replay.value.share) else { return SHARE };
        if share > SHARE_MAX {
            let title = format!("`share` is {share}%");
            let problem = Problem::error("delivery-replay", span, title, "live deliveries would stand behind replays");
            problems.push(problem.help(format!("write at most {SHARE_MAX}%")));
        }
        share
    }

    fn concurrency(&self, defaults: Defaults, problems: &mut Vec<Problem>) -> u32 {
        let Some(written) = &self.concurrency else { return defaults.concurrency.unwrap_or(CONCURRENCY).max(1) };
        if !(1..=CONCURRENCY_MAX).contains(&written.value) {
            let title = format!("`concurrency` is {}", written.value);
            let problem = Problem::error("delivery-concurrency", written.span, title, format!("must be from 1 to {CONCURRENCY_MAX}"));
            problems.push(problem.help(format!("write a number from 1 to {CONCURRENCY_MAX}")));
        }
        written.value
    }

    fn timeout(&self, problems: &mut Vec<Problem>) -> Duration {
        let Some(written) = &self.timeout else { return TIMEOUT };
        if written.value.0.is_zero() || written.value.0 > TIMEOUT_MAX {
            let title = format!("`timeout` is {}", written.value);
            let problem = Problem::error("delivery-timeout", written.span, title, "must be more than nothing and at most 1h");
            problems.push(problem.help("write a time of at most 1h, such as `10s`"));
        }
        written.value.0
    }
}

impl RetrySection {
    fn schedule(&self, defaults: Defaults, problems: &mut Vec<Problem>) -> Schedule {
        if let Some(schedule) = &self.schedule {
            for (name, at) in [("attempts", self.attempts.map(|a| a.span)), ("over", self.over.map(|o| o.span))] {
                if let Some(at) = at {
                    let title = format!("`{name}` and `schedule` both say when to try again");
                    problems.push(
                        Problem::error("delivery-retry", at, title, "not beside a schedule")
                            .also(schedule.span, "the schedule says it all")
                            .help("keep one of the two"),
                    );
                }
            }
            if schedule.value.len() as u64 >= u64::from(ATTEMPTS_MAX) {
                problems.push(too_many(schedule.span, schedule.value.len() as u64 + 1));
            }
            return Schedule::verbatim(schedule.value.iter().map(|period| period.0).collect());
        }
        let attempts = self.attempts.map_or(defaults.attempts.unwrap_or(ATTEMPTS), |attempts| attempts.value);
        if let Some(written) = self.attempts {
            if attempts == 0 {
                problems.push(
                    Problem::error("delivery-retry", written.span, "`attempts` is 0", "nothing would ever be sent")
                        .help("write at least 1"),
                );
            } else if attempts > ATTEMPTS_MAX {
                problems.push(too_many(written.span, u64::from(attempts)));
            }
        }
        if let Some(over) = self.over.filter(|over| over.value.0.is_zero() && attempts > 1) {
            let problem =
                Problem::error("delivery-retry", over.span, "`over` is 0s", format!("{attempts} attempts do not fit into no time"));
            problems.push(problem.help("write in what time the attempts fall, such as `48h`, or `attempts: 1`"));
        }
        Schedule::over(attempts, self.over.map_or(OVER, |over| over.value.0))
    }

    fn max_wait(&self, problems: &mut Vec<Problem>) -> Duration {
        let Some(written) = &self.max_wait else { return MAX_WAIT };
        if written.value.0 < super::retry::ASKED_MIN {
            let title = format!("`max_wait` is {}", written.value);
            problems.push(Problem::error("delivery-retry", written.span, title, "must be at least 1s").help("write `1s` or more"));
        }
        written.value.0
    }

    fn reject(&self, defaults: Defaults, problems: &mut Vec<Problem>) -> Vec<u16> {
        let named = [("on", &self.on), ("reject", &self.reject)].into_iter().filter(|_| !defaults.statuses);
        for (key, first) in named.filter_map(|(key, written)| Some((key, written.first()?))) {
            let title = format!("`retry.{key}` names HTTP statuses, and an output of this type hears none");
            problems.push(Problem::error("delivery-retry", first.span, title, "never answered").help(format!("take `{key}` away")));
        }
        for both in self.reject.iter().filter(|status| self.on.iter().any(|on| on.value == status.value)) {
            let title = format!("status {} stands in `on` and in `reject`", both.value);
            problems.push(Problem::error("delivery-retry", both.span, title, "cannot be both").help("keep one of the two"));
        }
        statuses(&self.reject, problems)
    }
}

fn too_many(at: switchyard_api::Span, attempts: u64) -> Problem {
    Problem::error("delivery-retry", at, format!("{attempts} attempts are too many"), format!("at most {ATTEMPTS_MAX}"))
        .help("write fewer; `over` says in what time they fall")
}

fn statuses(written: &[At<u16>], problems: &mut Vec<Problem>) -> Vec<u16> {
    for wrong in written.iter().filter(|status| !(300..=599).contains(&status.value)) {
        let title = format!("{} is not a status of a failure", wrong.value);
        problems.push(
            Problem::error("delivery-retry", wrong.span, title, "must be from 300 to 599").help("write HTTP statuses from 300 to 599"),
        );
    }
    written.iter().map(|status| status.value).collect()
}

impl<'de> Deserialize<'de> for RateSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Spelled {
            limit: Rate,
            #[serde(default)]
            burst: Option<u32>,
            #[serde(default)]
            key: Option<Template>,
        }
        impl<'de> Visitor<'de> for Form {
            type Value = RateSection;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rate such as `30/min`, or `{limit: 600/min, burst: 20}`")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<RateSection, E> {
                Rate::parse(text).map(|limit| RateSection { limit, burst: None, key: None }).map_err(E::custom)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RateSection, A::Error> {
                let spelled = Spelled::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RateSection { limit: spelled.limit, burst: spelled.burst, key: spelled.key })
            }
        }
        deserializer.deserialize_any(Form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_api::Span;
    use switchyard_api::tree::{self, Key, Node, Value};

    const HTTP: Defaults = Defaults { rate: None, burst: None, concurrency: None, attempts: None, hold_unknown: false, statuses: true };

    /// A section of these keys; every value gets the place of its turn.
    fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
        let mut at = 0;
        let mut span = || {
            at += 2;
            Span { start: at, end: at + 1 }
        };
        Value::Map(
            entries.into_iter().map(|(name, value)| (Key { span: span(), name: name.into() }, Node { span: span(), value })).collect(),
        )
    }
    fn text(text: &str) -> Value {
        Node::text(text).value
    }
    fn list<const N: usize>(values: [Value; N]) -> Value {
        Value::List(values.into_iter().map(|value| Node { span: Span { start: 900, end: 901 }, value }).collect())
    }
    fn build(section: Value) -> Result<Policy, Vec<String>> {
        let mut problems = vec![];
        let node = Node { span: Span { start: 0, end: 1_000 }, value: section };
        let policy = tree::read::<DeliverySection>(&node, &mut problems).and_then(|section| section.build(HTTP, &mut problems));
        policy.ok_or_else(|| problems.iter().map(|p| format!("{}: {}: {}", p.id, p.title, p.label)).collect())
    }

    #[test]
    fn where_the_file_says_nothing_the_documented_defaults_hold() {
        let policy = build(map([])).unwrap();
        assert_eq!((policy.limit, policy.concurrency, policy.timeout), (None, 32, Duration::from_secs(10)));
        assert_eq!((policy.schedule.attempts(), policy.on_unknown), (20, OnUnknown::Retry));
        let suggested = Defaults { rate: Some(Rate::parse("1/s").unwrap()), concurrency: Some(1), ..Defaults::default() };
        let policy = DeliverySection::default().build(suggested, &mut vec![]).unwrap();
        assert_eq!((policy.limit.map(|l| l.rate), policy.concurrency), (suggested.rate, 1));
        let careful = Defaults { burst: Some(3), attempts: Some(2), hold_unknown: true, ..suggested };
        let policy = DeliverySection::default().build(careful, &mut vec![]).unwrap();
        assert_eq!((policy.limit.map(|l| l.burst.get()), policy.schedule.attempts(), policy.on_unknown), (Some(3), 2, OnUnknown::Hold));
    }

    #[test]
    fn every_key_is_read_in_both_of_its_forms() {
        let policy = build(map([
            ("rate", map([("limit", text("600/min")), ("burst", Value::Int(20))])),
            ("concurrency", Value::Int(8)),
            ("timeout", text("3s")),
            ("on_unknown", text("hold")),
            (
                "retry",
                map([
                    ("schedule", list([text("5s"), text("5m")])),
                    ("on", list([Value::Int(404)])),
                    ("reject", list([Value::Int(410)])),
                    ("max_wait", text("2h")),
                ]),
            ),
        ]))
        .unwrap();
        assert_eq!(policy.limit.map(|l| (l.rate.to_string(), l.burst.get())), Some(("600/m".into(), 20)));
        assert_eq!((policy.concurrency, policy.timeout, policy.on_unknown), (8, Duration::from_secs(3), OnUnknown::Hold));
        assert_eq!((policy.schedule.attempts(), policy.max_wait), (3, Duration::from_hours(2)));
        assert_eq!((policy.retry_on, policy.reject), (vec![404], vec![410]));
        let policy = build(map([("rate", text("1/s")), ("retry", map([("attempts", Value::Int(3)), ("over", text("1h"))]))])).unwrap();
        assert_eq!((policy.limit.map(|l| l.burst.get()), policy.schedule.attempts()), (Some(1), 3));
    }

    #[test]
    fn a_limit_by_key_says_so_in_the_rows_that_wait_for_it() {
        let keyed = |burst| {
            let rate = map([("limit", text("600/min")), ("burst", Value::Int(burst)), ("key", text("{{ data.shop }}"))]);
            build(map([("rate", rate), ("replay", map([("share", text("35%"))]))])).unwrap()
        };
        let policy = keyed(20);
        assert_eq!((policy.rate_key.as_deref(), policy.share), (Some("{{ data.shop }}"), 35));
        assert_eq!(policy.paced().as_deref(), Some("waits for its turn: 600/m, burst 20, for each `{{ data.shop }}`"));
        assert_eq!(keyed(1).paced().as_deref(), Some("waits for its turn: 600/m for each `{{ data.shop }}`"));
        let plain = build(map([("rate", text("1/s"))])).unwrap();
        assert_eq!((plain.paced(), plain.share), (None, SHARE));
    }

    #[test]
    fn what_cannot_work_is_refused_all_at_once() {
        let problems = build(map([
            ("rate", map([("limit", text("1/s")), ("burst", Value::Int(0))])),
            ("concurrency", Value::Int(0)),
            ("timeout", text("2h")),
            (
                "retry",
                map([
                    ("schedule", list([text("5s")])),
                    ("attempts", Value::Int(3)),
                    ("on", list([Value::Int(404), Value::Int(200)])),
                    ("reject", list([Value::Int(404)])),
                    ("max_wait", text("1ms")),
                ]),
            ),
        ]))
        .unwrap_err();
        insta::assert_snapshot!(problems.join("\n"), @r"
        delivery-burst: `burst` is 0: nothing would ever be sent
        delivery-concurrency: `concurrency` is 0: must be from 1 to 1024
        delivery-timeout: `timeout` is 2h: must be more than nothing and at most 1h
        delivery-retry: `attempts` and `schedule` both say when to try again: not beside a schedule
        delivery-retry: `max_wait` is 1ms: must be at least 1s
        delivery-retry: 200 is not a status of a failure: must be from 300 to 599
        delivery-retry: status 404 stands in `on` and in `reject`: cannot be both
        ");
    }

    #[test]
    fn a_wrong_form_says_what_to_write() {
        let told = [
            build(map([("rate", text("fast"))])),
            build(map([("rate", map([("limit", text("1/s")), ("bust", Value::Int(1))]))])),
            build(map([("rate", Value::Int(5))])),
            build(map([("on_unknown", text("hlod"))])),
            build(map([("retry", map([("attempts", Value::Int(0))]))])),
            build(map([("retry", map([("attempts", Value::Int(1_001))]))])),
            build(map([("retry", map([("over", text("0s"))]))])),
        ]
        .map(|built| built.unwrap_err().join("\n"));
        insta::assert_snapshot!(told.join("\n"), @r"
        wrong-value: `fast` is not a rate: here
        unknown-key: unknown key `bust`: not a key here
        wrong-type: expected a rate such as `30/min`, or `{limit: 600/min, burst: 20}`, found a whole number: here
        unknown-word: unknown word `hlod`: here
        delivery-retry: `attempts` is 0: nothing would ever be sent
        delivery-retry: 1001 attempts are too many: at most 1000
        delivery-retry: `over` is 0s: 20 attempts do not fit into no time
        ");
    }
}
