//! What can be wrong, and the event that says so: its topic, its data, its line for people.

use crate::model::{Event, EventId, Headers, OWN_SOURCE, OwnTopic, Period, Timestamp};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Most characters of a text from outside (what a far side said) that is repeated.
const WHY_MAX: usize = 300;

/// Something that is wrong. Its fields stand in the event's data by these names, which `docs/own-events.md` promises.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Cause {
    /// An output is down.
    OutputDown {
        /// Which.
        output: String,
        /// Whether somebody must change something: credentials, address, certificate.
        misconfigured: bool,
        /// What the far side said.
        why: String,
    },
    /// Deliveries of an output were given up, all for much the same reason.
    DeliveryDead {
        /// Which output.
        output: String,
        /// By which route the last of them went.
        route: String,
        /// Its event.
        event: String,
        /// What is common to their reasons.
        reason: String,
        /// The last one's reason, whole.
        why: String,
    },
    /// A delivery to an output that works should have gone out long ago.
    BacklogOld {
        /// Which.
        output: String,
        /// When the oldest was due.
        due_at: String,
        /// How many seconds late it is.
        late_seconds: u64,
    },
    /// No proven event came for a source's `silent_after`.
    SourceSilent {
        /// Which.
        source: String,
        /// When the last one came, where that is known.
        last_at: Option<String>,
        /// Its `silent_after`.
        silent_after_seconds: u64,
    },
    /// Requests of a source are refused.
    SourceRejecting {
        /// Which.
        source: String,
        /// How many in a row, up to now.
        in_row: u32,
        /// How many of the last 64.
        of_last_64: u32,
        /// Why the last one was.
        why: String,
    },
    /// A sender that gives up after so many failures in a row is on its way there.
    SubscriptionAtRisk {
        /// Its source.
        source: String,
        /// Requests in a row that were not answered as it wants.
        failures: u32,
        /// How many of them are proven to be its own. The others may be: with another secret; or anybody's.
        #[serde(default)]
        proven: u32,
        /// At how many it gives up.
        limit: u32,
        /// Which share of them is used up: 25, 50 or 75.
        percent: u32,
    },
    /// A changed file does not run; what ran before goes on.
    ConfigRejected {
        /// The file.
        file: String,
        /// How many problems it has.
        problems: usize,
        /// The first of them, with its place.
        why: String,
    },
    /// The journal's disk is nearly full.
    DiskLow {
        /// Bytes free.
        free_bytes: u64,
        /// `journal.reserve`, in bytes.
        reserve_bytes: u64,
        /// Whether it is below the reserve: senders hear 503.
        refusing: bool,
    },
    /// Commits of the journal take long.
    JournalSlow {
        /// How long the last one took, or the one under way has taken.
        commit_ms: u64,
    },
}

/// How many quarters of its limit these failures are, at most three: beyond that the sender gives up, or soon will.
pub fn quarters(failures: u32, limit: u32) -> u32 {
    (failures.saturating_mul(4) / limit.max(1)).min(3)
}

impl Cause {
    /// Names the cause: the same through all its events, so that a pager can open and close one alert by it. Letters, digits, `-`, `_` and
    /// inner dots: it fits where a template's value must be a plain name.
    pub fn key(&self) -> String {
        match self {
            Cause::OutputDown { output, .. } => format!("output.{output}"),
            Cause::DeliveryDead { output, reason, .. } => {
                format!("{}{}", dead_of(output), hex::encode(&Sha256::digest(reason.as_bytes())[..4]))
            }
            Cause::BacklogOld { output, .. } => format!("backlog.{output}"),
            Cause::SourceSilent { source, .. } => format!("silent.{source}"),
            Cause::SourceRejecting { source, .. } => format!("rejecting.{source}"),
            Cause::SubscriptionAtRisk { source, .. } => format!("subscription.{source}"),
            Cause::ConfigRejected { .. } => "config".into(),
            Cause::DiskLow { .. } => "disk".into(),
            Cause::JournalSlow { .. } => "journal".into(),
        }
    }

    /// Whether it goes on until it is over, and people hear of that; else it happens, again and again.
    pub fn lasts(&self) -> bool {
        !matches!(self, Cause::DeliveryDead { .. })
    }

    /// How bad it is, within its kind: what gets worse is told at once.
    pub fn rank(&self) -> u8 {
        match self {
            Cause::OutputDown { misconfigured, .. } => u8::from(*misconfigured),
            // What is certain is told at once, however many strangers came before.
            Cause::SubscriptionAtRisk { percent, proven, limit, .. } => {
                u8::try_from(quarters(*proven, *limit) * 4 + percent / 25).unwrap_or(u8::MAX)
            }
            Cause::DiskLow { refusing, .. } => u8::from(*refusing),
            _ => 0,
        }
    }

    /// The output that cannot be told of it now: what goes there waits with the rest.
    pub fn unreachable(&self) -> Option<&str> {
        match self {
            Cause::OutputDown { output, .. } | Cause::BacklogOld { output, .. } => Some(output),
            _ => None,
        }
    }

    fn topic(&self, stage: Stage) -> OwnTopic {
        match self {
            Cause::OutputDown { .. } if stage == Stage::Over => OwnTopic::OutputRecovered,
            Cause::OutputDown { .. } => OwnTopic::OutputDown,
            Cause::DeliveryDead { .. } => OwnTopic::DeliveryDead,
            Cause::BacklogOld { .. } => OwnTopic::BacklogOld,
            Cause::SourceSilent { .. } => OwnTopic::SourceSilent,
            Cause::SourceRejecting { .. } => OwnTopic::SourceRejecting,
            Cause::SubscriptionAtRisk { .. } => OwnTopic::SubscriptionAtRisk,
            Cause::ConfigRejected { .. } => OwnTopic::ConfigRejected,
            Cause::DiskLow { .. } => OwnTopic::DiskLow,
            Cause::JournalSlow { .. } => OwnTopic::JournalSlow,
        }
    }

    /// What is wrong, where, and what to do.
    fn trouble(&self, count: u64) -> String {
        match self {
            Cause::OutputDown { output, misconfigured: true, why } => format!(
                "output `{output}` refuses us: {why}; mend what it says (credentials, address, rights): deliveries wait, nothing is lost"
            ),
            Cause::OutputDown { output, why, .. } => format!("output `{output}` is down: {why}; deliveries wait for it, nothing is lost"),
            Cause::DeliveryDead { output, why, .. } => {
                let dead = if count == 1 { "a delivery is dead".to_owned() } else { format!("{count} deliveries are dead") };
                format!(
                    "output `{output}`: {dead}: {why}; see `switchyard dead --output {output}`, send again with `switchyard replay --state dead --output {output}`"
                )
            }
            Cause::BacklogOld { output, late_seconds, .. } => {
                let late = Period(Duration::from_secs(*late_seconds));
                format!(
                    "output `{output}` works, and a delivery to it is {late} late: raise its `rate` or `concurrency`, or see what is slow there"
                )
            }
            Cause::SourceSilent { source, last_at, silent_after_seconds } => {
                let (after, last) = (Period(Duration::from_secs(*silent_after_seconds)), last_at.as_deref().unwrap_or("none is known"));
                format!("source `{source}` sent nothing for {after} (the last: {last}): see whether the sender still has our address")
            }
            Cause::SourceRejecting { source, in_row, of_last_64, why } => format!(
                "source `{source}`: {in_row} requests in a row and {of_last_64} of the last 64 were refused: {why}; `switchyard refused` shows them"
            ),
            Cause::SubscriptionAtRisk { source, failures, proven, limit, .. } => {
                let whose = match failures.saturating_sub(*proven) {
                    0 => "all of them the sender's: proven, and not kept".to_owned(),
                    _ if *proven == 0 => {
                        "none proven: either the sender signs with a secret that is not ours, or a stranger posts here".to_owned()
                    }
                    rest => format!(
                        "{proven} of them the sender's, proven and not kept; {rest} not proven: the sender's with another secret, or a stranger's"
                    ),
                };
                format!(
                    "source `{source}`: {failures} requests in a row were refused ({whose}), and at {limit} the sender gives us up: see `switchyard refused`"
                )
            }
            Cause::ConfigRejected { file, problems, why } => {
                let more = if *problems > 1 { format!(" (and {} more)", problems - 1) } else { String::new() };
                format!("{file} does not run, what ran before goes on: {why}{more}; `switchyard check {file}` shows all")
            }
            Cause::DiskLow { free_bytes, reserve_bytes, refusing } => {
                let (free, reserve) = (human(*free_bytes), human(*reserve_bytes));
                let now = if *refusing { "senders hear 503, deliveries go on" } else { "at the reserve senders are refused" };
                format!("the journal's disk has {free} free and `journal.reserve` is {reserve}: {now}; make space")
            }
            Cause::JournalSlow { commit_ms } => {
                format!("a commit of the journal takes {commit_ms} ms: senders wait for it; see what else uses the disk")
            }
        }
    }

    fn end(&self) -> String {
        match self {
            Cause::OutputDown { output, .. } => format!("output `{output}` answers again"),
            Cause::DeliveryDead { output, .. } => format!("output `{output}`: no more deliveries died"),
            Cause::BacklogOld { output, .. } => format!("output `{output}` has caught up"),
            Cause::SourceSilent { source, .. } => format!("source `{source}` sends again"),
            Cause::SourceRejecting { source, .. } => format!("source `{source}`: requests are taken again"),
            Cause::SubscriptionAtRisk { source, .. } => format!("source `{source}`: the sender hears 200 again"),
            Cause::ConfigRejected { file, .. } => format!("{file} runs"),
            Cause::DiskLow { .. } => "the journal's disk has space again".into(),
            Cause::JournalSlow { .. } => "commits of the journal are quick again".into(),
        }
    }
}

/// Where a cause stands when people hear of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// For the first time, or again after it was over.
    Begins,
    /// It was told, and is still so, or happened again.
    GoesOn,
    /// It is not so any more.
    Over,
}

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// Of what.
    pub cause: Cause,
    /// Where it stands.
    pub stage: Stage,
    /// How often it happened, or began, since it was last told.
    pub count: u64,
    /// Since when it is so.
    pub since: Timestamp,
}

impl Telling {
    /// Its topic.
    pub fn topic(&self) -> OwnTopic {
        self.cause.topic(self.stage)
    }

    /// One line: what, where, what to do.
    pub fn message(&self) -> String {
        match self.stage {
            Stage::Over => format!("{} (trouble since {})", self.cause.end(), self.since),
            Stage::GoesOn if self.cause.lasts() => format!("still: {} (since {})", self.cause.trouble(self.count), self.since),
            Stage::Begins | Stage::GoesOn => self.cause.trouble(self.count),
        }
    }

    /// The event that says it.
    pub fn event(&self, id: EventId, now: Timestamp) -> Event {
        let mut data = Map::new();
        data.insert("message".into(), self.message().into());
        data.insert("cause".into(), self.cause.key().into());
        data.insert("state".into(), serde_json::to_value(self.stage).unwrap_or_default());
        data.insert("count".into(), self.count.into());
        data.insert("since".into(), self.since.to_string().into());
        // Plain fields: this does not fail.
        if let Ok(Value::Object(fields)) = serde_json::to_value(&self.cause) {
            data.extend(fields.into_iter().filter(|(name, _)| name != "kind"));
        }
        let mut headers = Headers::default();
        headers.push("content-type", b"application/json");
        Event {
            id,
            source: OWN_SOURCE.into(),
            topic: self.topic().word().into(),
            received_at: now,
            headers,
            query: "".into(),
            body: Bytes::from(Value::Object(data).to_string()),
            sender_id: None,
            signed_with: None,
        }
    }
}

/// How the keys of all causes begin by which deliveries of an output are dead.
pub fn dead_of(output: &str) -> String {
    format!("dead.{output}.")
}

/// What is repeated of a text from outside.
pub fn cut(text: &str) -> String {
    let mut cut: String = text.chars().take(WHY_MAX).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

/// What reasons that differ in numbers and names have in common: words with several digits, and long ones, become `#`.
pub fn common(why: &str) -> String {
    let word = |word: &str| {
        let odd = word.chars().filter(char::is_ascii_digit).count() > 3 || word.chars().count() > 32;
        if odd { "#".to_owned() } else { word.to_owned() }
    };
    why.split_whitespace().take(12).map(word).collect::<Vec<_>>().join(" ")
}

/// Bytes for people.
fn human(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.into_iter().find(|(shift, _)| bytes >> shift > 0) {
        Some((shift, unit)) => {
            let tenths = (u128::from(bytes) * 10) >> shift;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Cause> {
        vec![
            Cause::OutputDown { output: "chat".into(), misconfigured: false, why: "connection refused".into() },
            Cause::OutputDown { output: "chat".into(), misconfigured: true, why: "401".into() },
            Cause::DeliveryDead {
                output: "crm".into(),
                route: "all".into(),
                event: "evt_1".into(),
                reason: "400".into(),
                why: "400: no such shop".into(),
            },
            Cause::BacklogOld { output: "crm".into(), due_at: "2026-03-02T10:00:00.000Z".into(), late_seconds: 900 },
            Cause::SourceSilent { source: "shop".into(), last_at: None, silent_after_seconds: 21_600 },
            Cause::SourceRejecting { source: "shop".into(), in_row: 10, of_last_64: 12, why: "it does not match".into() },
            Cause::SubscriptionAtRisk { source: "shop".into(), failures: 5, proven: 0, limit: 19, percent: 25 },
            Cause::SubscriptionAtRisk { source: "shop".into(), failures: 5, proven: 2, limit: 19, percent: 25 },
            Cause::SubscriptionAtRisk { source: "shop".into(), failures: 5, proven: 5, limit: 19, percent: 25 },
            Cause::ConfigRejected { file: "routes.yaml".into(), problems: 2, why: "routes.yaml:3:5: unknown key `a`".into() },
            Cause::DiskLow { free_bytes: 1_600_000_000, reserve_bytes: 1 << 30, refusing: false },
            Cause::DiskLow { free_bytes: 900, reserve_bytes: 1 << 30, refusing: true },
            Cause::JournalSlow { commit_ms: 2_100 },
        ]
    }

    #[test]
    fn every_cause_has_its_line() {
        let line = |cause: Cause, stage| {
            let telling = Telling { cause, stage, count: 2, since: Timestamp(0) };
            format!("{}: {}", telling.topic(), telling.message())
        };
        let begins: Vec<String> = all().into_iter().map(|cause| line(cause, Stage::Begins)).collect();
        insta::assert_snapshot!(begins.join("\n"), @r"
        output.down: output `chat` is down: connection refused; deliveries wait for it, nothing is lost
        output.down: output `chat` refuses us: 401; mend what it says (credentials, address, rights): deliveries wait, nothing is lost
        delivery.dead: output `crm`: 2 deliveries are dead: 400: no such shop; see `switchyard dead --output crm`, send again with `switchyard replay --state dead --output crm`
        backlog.old: output `crm` works, and a delivery to it is 15m late: raise its `rate` or `concurrency`, or see what is slow there
        source.silent: source `shop` sent nothing for 6h (the last: none is known): see whether the sender still has our address
        source.rejecting: source `shop`: 10 requests in a row and 12 of the last 64 were refused: it does not match; `switchyard refused` shows them
        subscription.at_risk: source `shop`: 5 requests in a row were refused (none proven: either the sender signs with a secret that is not ours, or a stranger posts here), and at 19 the sender gives us up: see `switchyard refused`
        subscription.at_risk: source `shop`: 5 requests in a row were refused (2 of them the sender's, proven and not kept; 3 not proven: the sender's with another secret, or a stranger's), and at 19 the sender gives us up: see `switchyard refused`
        subscription.at_risk: source `shop`: 5 requests in a row were refused (all of them the sender's: proven, and not kept), and at 19 the sender gives us up: see `switchyard refused`
        config.rejected: routes.yaml does not run, what ran before goes on: routes.yaml:3:5: unknown key `a` (and 1 more); `switchyard check routes.yaml` shows all
        disk.low: the journal's disk has 1.4 GiB free and `journal.reserve` is 1.0 GiB: at the reserve senders are refused; make space
        disk.low: the journal's disk has 900 B free and `journal.reserve` is 1.0 GiB: senders hear 503, deliveries go on; make space
        journal.slow: a commit of the journal takes 2100 ms: senders wait for it; see what else uses the disk
        ");
        let over: Vec<String> = all().into_iter().filter(Cause::lasts).map(|cause| line(cause, Stage::Over)).collect();
        insta::assert_snapshot!(over.join("\n"), @r"
        output.recovered: output `chat` answers again (trouble since 1970-01-01T00:00:00.000Z)
        output.recovered: output `chat` answers again (trouble since 1970-01-01T00:00:00.000Z)
        backlog.old: output `crm` has caught up (trouble since 1970-01-01T00:00:00.000Z)
        source.silent: source `shop` sends again (trouble since 1970-01-01T00:00:00.000Z)
        source.rejecting: source `shop`: requests are taken again (trouble since 1970-01-01T00:00:00.000Z)
        subscription.at_risk: source `shop`: the sender hears 200 again (trouble since 1970-01-01T00:00:00.000Z)
        subscription.at_risk: source `shop`: the sender hears 200 again (trouble since 1970-01-01T00:00:00.000Z)
        subscription.at_risk: source `shop`: the sender hears 200 again (trouble since 1970-01-01T00:00:00.000Z)
        config.rejected: routes.yaml runs (trouble since 1970-01-01T00:00:00.000Z)
        disk.low: the journal's disk has space again (trouble since 1970-01-01T00:00:00.000Z)
        disk.low: the journal's disk has space again (trouble since 1970-01-01T00:00:00.000Z)
        journal.slow: commits of the journal are quick again (trouble since 1970-01-01T00:00:00.000Z)
        ");
    }

    #[test]
    fn what_is_certain_is_worse_than_any_number_of_strangers() {
        let rank = |failures, proven| {
            let percent = quarters(failures, 19) * 25;
            Cause::SubscriptionAtRisk { source: "shop".into(), failures, proven, limit: 19, percent }.rank()
        };
        assert!(rank(10, 0) > rank(5, 0) && rank(1_000, 0) == rank(15, 0));
        assert!(rank(1_005, 5) > rank(1_004, 4) && rank(1_010, 10) > rank(1_005, 5) && rank(5, 5) > rank(1_000, 4));
    }

    #[test]
    fn the_data_of_an_event_has_the_promised_names() {
        let names = |cause: Cause| {
            let event = Telling { cause, stage: Stage::GoesOn, count: 3, since: Timestamp(0) }.event(EventId([1; 16]), Timestamp(5));
            let data: Map<String, Value> = serde_json::from_slice(&event.body).unwrap();
            assert_eq!((&data["state"], &data["count"]), (&Value::from("goes_on"), &Value::from(3)));
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            assert!(data["cause"].as_str().unwrap().chars().all(plain), "{data:?}");
            assert_eq!((&*event.source, event.content_type()), ("switchyard", Some("application/json")));
            format!("{}: {}", event.topic, data.keys().cloned().collect::<Vec<_>>().join(" "))
        };
        let mut told: Vec<String> = all().into_iter().map(names).collect();
        told.dedup();
        insta::assert_snapshot!(told.join("\n"), @r"
        output.down: message cause state count since output misconfigured why
        delivery.dead: message cause state count since output route event reason why
        backlog.old: message cause state count since output due_at late_seconds
        source.silent: message cause state count since source last_at silent_after_seconds
        source.rejecting: message cause state count since source in_row of_last_64 why
        subscription.at_risk: message cause state count since source failures proven limit percent
        config.rejected: message cause state count since file problems why
        disk.low: message cause state count since free_bytes reserve_bytes refusing
        journal.slow: message cause state count since commit_ms
        ");
        let page = include_str!("../../docs/own-events.md");
        for name in told.iter().flat_map(|line| line.split_once(": ").map_or("", |(_, names)| names).split(' ')) {
            assert!(page.contains(&format!("`{name}`")), "docs/own-events.md says nothing of `{name}`");
        }
        for topic in OwnTopic::ALL {
            assert!(page.contains(&format!("`{topic}`")), "docs/own-events.md says nothing of `{topic}`");
        }
    }

    #[test]
    fn reasons_that_differ_in_numbers_are_one() {
        let one = common("400 Bad Request: order 1234567 of 550e8400-e29b-41d4-a716-446655440000 is unknown");
        assert_eq!(one, "400 Bad Request: order # of # is unknown");
        assert_eq!(one, common("400 Bad Request: order 7654321 of 550e8400-e29b-41d4-a716-446655449999 is unknown"));
        assert_ne!(one, common("422 Bad Request: order 7654321 of 550e8400-e29b-41d4-a716-446655449999 is unknown"));
        assert_eq!((human(900), human(1_600_000_000), human(1 << 20)), ("900 B".into(), "1.4 GiB".into(), "1.0 MiB".into()));
    }
}
