//! Counts and logs: what the daemon says about itself.
//!
//! Numbers come in as one plain [`Snapshot`], taken by the daemon when somebody asks; nothing here is counted twice.
//! Logs go to standard error as text or JSON lines; no payload and no secret ever enters them (L7).

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;
use std::fmt::Debug;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error. `level`: `error`, `warn`, `info`, `debug`, or a filter such as `info,switchyard::deliver=debug`.
///
/// # Errors
/// What is wrong with the filter.
pub fn log(format: LogFormat, level: &str) -> Result<(), String> {
    let filter = filter(level)?;
    let base = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_timer(SystemTime)
        .with_target(false)
        // A line that can't be written (a full disk, a reader that left) is lost; said on standard error it would end whoever logged it.
        .log_internal_errors(false);
    let started = match format {
        LogFormat::Text => base.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => base.json().flatten_event(true).try_init(),
    };
    started.map_err(|why| format!("logging was started already: {why}"))
}

/// Libraries of outputs that log what they send, or that a lost connection is lost, which the outcome tells already.
const HUSHED: [&str; 2] = ["lapin=off", "async_nats=off"];

fn filter(level: &str) -> Result<EnvFilter, String> {
    let filter = EnvFilter::try_new(level).map_err(|why| format!("`{level}` is not a log level: {why}"))?;
    Ok(HUSHED.into_iter().filter_map(|directive| directive.parse().ok()).fold(filter, EnvFilter::add_directive))
}

/// All numbers at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Events kept, by source.
    pub kept: Vec<(String, u64)>,
    /// Repeats answered 200 and not kept, by source.
    pub duplicates: Vec<(String, u64)>,
    /// Requests proven, by source and the place (from 1) of the secret that proved them.
    pub proven: Vec<(String, usize, u64)>,
    /// Requests refused, by answer.
    pub refused: Vec<(u16, u64)>,
    /// Each output's numbers.
    pub outputs: Vec<OutputNumbers>,
    /// Commits of the journal.
    pub commits: u64,
    /// Settlements written.
    pub settled: u64,
    /// The last whole audit; none right after the start.
    pub audit: Option<AuditNumbers>,
    /// Bytes free on the journal's disk, where they could be read.
    pub free: Option<u64>,
    /// Seconds since the daemon started.
    pub uptime: f64,
}

/// Whether every planned delivery was accounted for.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditNumbers {
    /// Planned deliveries that nobody will deliver. Must be zero.
    pub lost: u64,
    /// Deliveries by their word.
    pub found: [(&'static str, u64); 6],
    /// Seconds since it ended.
    pub ago: f64,
}

/// One output's numbers.
#[derive(Debug, Clone, Default)]
pub struct OutputNumbers {
    /// Its name in the file.
    pub name: String,
    /// Deliveries by what became of their attempts.
    pub outcomes: Vec<(&'static str, u64)>,
    /// Deliveries that wait, in memory and in the journal.
    pub waiting: u64,
    /// Deliveries that are held.
    pub held: u64,
    /// Attempts under way.
    pub in_flight: u64,
    /// Whether its breaker is closed.
    pub up: bool,
    /// Whether somebody paused it.
    pub paused: bool,
    /// How often it was begun anew after a fault of ours.
    pub begun_anew: u32,
    /// For how many seconds its oldest delivery has been due.
    pub oldest_due: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Source {
    source: String,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySecret {
    source: String,
    secret: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: u16,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Output {
    output: String,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Audited {
    state: &'static str,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempt {
    output: String,
    outcome: &'static str,
}

/// The numbers in the OpenMetrics text format.
pub fn metrics(numbers: Snapshot) -> String {
    let mut registry = Registry::with_prefix("switchyard");
    let by_source = |rows: Vec<(String, u64)>| rows.into_iter().map(|(source, n)| (Source { source }, n)).collect();
    counters(&mut registry, "events", "Events kept", by_source(numbers.kept));
    counters(&mut registry, "duplicates", "Repeats inside the window, answered and not kept again", by_source(numbers.duplicates));
    let proven = numbers.proven.into_iter().map(|(source, place, n)| (BySecret { source, secret: place as u64 }, n)).collect();
    counters(
        &mut registry,
        "proven",
        "Requests proven by a source's secret, by its place in the list, since the list is what it is",
        proven,
    );
    counters(&mut registry, "refused", "Requests refused", numbers.refused.into_iter().map(|(status, n)| (Status { status }, n)).collect());
    let (mut outcomes, mut begun_anew) = (vec![], vec![]);
    let (mut waiting, mut held, mut in_flight, mut up, mut paused, mut oldest) = (vec![], vec![], vec![], vec![], vec![], vec![]);
    for one in numbers.outputs {
        let label = || Output { output: one.name.clone() };
        outcomes.extend(one.outcomes.iter().map(|(outcome, n)| (Attempt { output: one.name.clone(), outcome }, *n)));
        waiting.push((label(), one.waiting));
        held.push((label(), one.held));
        in_flight.push((label(), one.in_flight));
        up.push((label(), u64::from(one.up)));
        paused.push((label(), u64::from(one.paused)));
        begun_anew.push((label(), u64::from(one.begun_anew)));
        oldest.push((label(), one.oldest_due));
    }
    counters(&mut registry, "output_begun_anew", "Times that an output was begun anew after a fault of the daemon's own", begun_anew);
    counters(&mut registry, "deliveries", "Attempts of deliveries by outcome", outcomes);
    gauges(&mut registry, "waiting", "Deliveries that wait, in memory and in the journal", waiting);
    gauges(&mut registry, "held", "Deliveries that are held", held);
    gauges(&mut registry, "in_flight", "Attempts under way", in_flight);
    gauges(&mut registry, "output_up", "1 while the output's breaker is closed", up);
    gauges(&mut registry, "output_paused", "1 while somebody paused the output", paused);
    gauges(&mut registry, "oldest_due_seconds", "For how long the output's oldest delivery has been due", oldest);
    if let Some(free) = numbers.free {
        registry.register("disk_free_bytes", "Free on the journal's disk", ConstGauge::new(i64::try_from(free).unwrap_or(i64::MAX)));
    }
    registry.register("journal_commits", "Commits of the journal", ConstCounter::new(numbers.commits));
    registry.register("journal_settled", "Deliveries' rows written", ConstCounter::new(numbers.settled));
    if let Some(audit) = numbers.audit {
        let found = audit.found.into_iter().map(|(state, n)| (Audited { state }, n)).collect();
        registry.register("audit_lost", "Planned deliveries that nobody will deliver: must be 0", ConstGauge::new(audit.lost as i64));
        gauges(&mut registry, "audit_deliveries", "What the last audit added up", found);
        registry.register("audit_seconds_ago", "Since the last audit ended", ConstGauge::new(audit.ago));
    }
    registry.register("uptime_seconds", "Since the daemon started", ConstGauge::new(numbers.uptime));
    let mut text = String::new();
    // Writing into a String does not fail.
    let _ = encode(&mut text, &registry);
    text
}

/// Rows of one metric, as they were counted elsewhere.
#[derive(Debug)]
struct Rows<L, M>(Vec<(L, u64)>, fn(u64) -> M);

impl<L: EncodeLabelSet + Debug, M: prometheus_client::encoding::EncodeMetric + TypedMetric> prometheus_client::encoding::EncodeMetric
    for Rows<L, M>
{
    fn encode(&self, mut encoder: prometheus_client::encoding::MetricEncoder) -> Result<(), std::fmt::Error> {
        for (labels, count) in &self.0 {
            (self.1)(*count).encode(encoder.encode_family(labels)?)?;
        }
        Ok(())
    }
    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}

fn counters<L: EncodeLabelSet + Debug + Send + Sync + 'static>(registry: &mut Registry, name: &str, help: &str, rows: Vec<(L, u64)>) {
    registry.register(name, help, Rows(rows, ConstCounter::<u64>::new));
}

fn gauges<L: EncodeLabelSet + Debug + Send + Sync + 'static>(registry: &mut Registry, name: &str, help: &str, rows: Vec<(L, u64)>) {
    registry.register(name, help, Rows(rows, |n| ConstGauge::<i64>::new(n as i64)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_logs_payloads_is_hushed_whatever_the_level_is() {
        for level in ["info", "trace", "info,lapin=trace"] {
            let filter = filter(level).unwrap().to_string();
            assert!(filter.contains("lapin=off") && filter.contains("async_nats=off") && !filter.contains("lapin=trace"), "{filter}");
        }
        assert!(filter("loud=x").is_err());
    }

    #[test]
    fn the_numbers_are_written_as_openmetrics() {
        let output = OutputNumbers { name: "chat".into(), outcomes: vec![("delivered", 7)], up: true, ..OutputNumbers::default() };
        let audit = Some(AuditNumbers { lost: 1, found: [("held", 4); 6], ago: 2.5 });
        let (kept, refused) = (vec![("shop".into(), 3)], vec![(401, 2)]);
        let text = metrics(Snapshot { kept, refused, outputs: vec![output], audit, ..Snapshot::default() });
        for line in [
            r#"switchyard_events_total{source="shop"} 3"#,
            r#"switchyard_refused_total{status="401"} 2"#,
            r#"switchyard_deliveries_total{output="chat",outcome="delivered"} 7"#,
            r#"switchyard_output_up{output="chat"} 1"#,
            "switchyard_audit_lost 1",
            r#"switchyard_audit_deliveries{state="held"} 4"#,
            "# TYPE switchyard_events counter",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }
}
