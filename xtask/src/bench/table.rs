//! Figures of all rounds, their medians and ratios, beside the goals.

use crate::bench::contestant::Contestant;
use std::collections::BTreeMap;
use std::fmt::Write;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    IntakeRate,
    IntakeP50,
    IntakeP99,
    IntakeCpu,
    Ack2kP99,
    Whole1Rate,
    Whole1Cpu,
    Whole1Bytes,
    Whole5Rate,
    Whole5Cpu,
    RetriesRate,
    RetriesCpu,
    LimitsRate,
    LimitsCpu,
    OutputsRate,
    OutputsCpu,
    OutputsRss,
    Way2kP50,
    Way2kP99,
    Way20kP50,
    Way20kP99,
    RssFresh,
    RssConnection,
}

/// What is aimed at: first the least, later the aim.
enum Goal {
    /// The daemon's figure is at least this part of the floor's.
    AtLeast(f64, f64),
    /// The daemon's figure is at most so many times the floor's.
    AtMost(f64, f64),
    /// The daemon's figure itself is at most this.
    Itself(f64, f64),
    None,
}

const ROWS: [(Figure, &str, &str, Goal); 23] = [
    (Figure::IntakeRate, "intake, 64 connections", "events/s", Goal::AtLeast(0.70, 0.85)),
    (Figure::IntakeP50, "its answer, p50", "µs", Goal::None),
    (Figure::IntakeP99, "its answer, p99", "µs", Goal::AtMost(2.0, 1.3)),
    (Figure::IntakeCpu, "its CPU", "µs/event", Goal::AtMost(1.5, 1.25)),
    (Figure::Ack2kP99, "answer at 2,000/s, p99", "µs", Goal::AtMost(2.0, 1.5)),
    (Figure::Whole1Rate, "whole way, fan-out 1", "events/s", Goal::AtLeast(0.55, 0.75)),
    (Figure::Whole1Cpu, "its CPU", "µs/event", Goal::AtMost(1.8, 1.35)),
    (Figure::Whole1Bytes, "written to disk", "bytes/event", Goal::AtMost(1.3, 1.1)),
    (Figure::Whole5Rate, "whole way, fan-out 5", "events/s", Goal::AtLeast(0.55, 0.75)),
    (Figure::Whole5Cpu, "its CPU", "µs/event", Goal::None),
    (Figure::RetriesRate, "each tenth refused once, tried again", "events/s", Goal::AtLeast(0.55, 0.75)),
    (Figure::RetriesCpu, "its CPU", "µs/event", Goal::AtMost(1.8, 1.35)),
    (Figure::LimitsRate, "a limit for each of 100 keys", "events/s", Goal::AtLeast(0.55, 0.75)),
    (Figure::LimitsCpu, "its CPU", "µs/event", Goal::AtMost(1.8, 1.35)),
    (Figure::OutputsRate, "to one of 1,000 outputs", "events/s", Goal::AtLeast(0.55, 0.75)),
    (Figure::OutputsCpu, "its CPU", "µs/event", Goal::AtMost(1.8, 1.35)),
    (Figure::OutputsRss, "its memory then", "MiB", Goal::None),
    (Figure::Way2kP50, "sent → sink at 2,000/s, p50", "µs", Goal::AtMost(1.5, 1.2)),
    (Figure::Way2kP99, "sent → sink at 2,000/s, p99", "µs", Goal::AtMost(2.0, 1.5)),
    (Figure::Way20kP50, "sent → sink at 20,000/s, p50", "µs", Goal::AtMost(1.5, 1.2)),
    (Figure::Way20kP99, "sent → sink at 20,000/s, p99", "µs", Goal::AtMost(2.0, 1.5)),
    (Figure::RssFresh, "memory, fresh", "MiB", Goal::Itself(30.0, 20.0)),
    (Figure::RssConnection, "memory per idle connection", "KiB", Goal::Itself(20.0, 14.0)),
];

/// Everything measured so far.
#[derive(Default)]
pub struct Table {
    figures: BTreeMap<(Figure, Contestant), BTreeMap<usize, f64>>,
}

impl Table {
    /// Adds what a contestant did in a round.
    pub fn add(&mut self, contestant: Contestant, round: usize, figures: &[(Figure, f64)]) {
        for (figure, value) in figures {
            self.figures.entry((*figure, contestant)).or_default().insert(round, *value);
        }
    }

    /// A row a figure, for people and for the page.
    pub fn markdown(&self) -> String {
        let mut text = String::from("| | unit | floor | daemon | daemon / floor | least | aim | |\n|---|---|---:|---:|---:|---|---|---|\n");
        for (figure, title, unit, goal) in &ROWS {
            let (floor, daemon) = (self.values(*figure, Contestant::Floor), self.values(*figure, Contestant::Daemon));
            if floor.is_empty() && daemon.is_empty() {
                continue;
            }
            let ratio = median(self.ratios(*figure));
            let ratio_text = ratio.map_or("-".into(), |ratio| format!("{ratio:.2}"));
            let (least, aim, said) = goal.words(ratio, median(daemon.clone()));
            let _ = writeln!(text, "| {title} | {unit} | {} | {} | {ratio_text} | {least} | {aim} | {said} |", shown(floor), shown(daemon));
        }
        text
    }

    fn values(&self, figure: Figure, contestant: Contestant) -> Vec<f64> {
        self.figures.get(&(figure, contestant)).map(|rounds| rounds.values().copied().collect()).unwrap_or_default()
    }

    /// Of each round in which both were measured.
    fn ratios(&self, figure: Figure) -> Vec<f64> {
        let (Some(floor), Some(daemon)) = (self.figures.get(&(figure, Contestant::Floor)), self.figures.get(&(figure, Contestant::Daemon)))
        else {
            return vec![];
        };
        floor.iter().filter_map(|(round, floor)| Some(daemon.get(round)? / floor)).collect()
    }
}

impl Goal {
    /// The two goals, and how they stand.
    fn words(&self, ratio: Option<f64>, daemon: Option<f64>) -> (String, String, &'static str) {
        let say = |value: Option<f64>, met: &dyn Fn(f64, f64) -> bool, least: f64, aim: f64| match value {
            None => "",
            Some(value) if met(value, aim) => "aim reached",
            Some(value) if met(value, least) => "least reached",
            Some(_) => "**missed**",
        };
        match *self {
            Goal::AtLeast(least, aim) => (format!("≥ {least}"), format!("≥ {aim}"), say(ratio, &|value, goal| value >= goal, least, aim)),
            Goal::AtMost(least, aim) => (format!("≤ {least}"), format!("≤ {aim}"), say(ratio, &|value, goal| value <= goal, least, aim)),
            Goal::Itself(least, aim) => {
                (format!("≤ {least} itself"), format!("≤ {aim} itself"), say(daemon, &|value, goal| value <= goal, least, aim))
            }
            Goal::None => (String::new(), String::new(), ""),
        }
    }
}

/// Median, and the least and most behind it.
pub fn shown(values: Vec<f64>) -> String {
    let (least, most) =
        values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(*value), most.max(*value)));
    match median(values) {
        Some(middle) => format!("{} [{}..{}]", short(middle), short(least), short(most)),
        None => "-".into(),
    }
}

fn short(value: f64) -> String {
    if value.abs() < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// The one in the middle, or the mean of the two there.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len().is_multiple_of(2) { f64::midpoint(values[middle - 1], upper) } else { upper })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(daemon: &[f64]) -> String {
        let mut table = Table::default();
        for (round, (floor, daemon)) in [100.0, 200.0, 50.0].iter().zip(daemon).enumerate() {
            table.add(Contestant::Floor, round, &[(Figure::IntakeRate, *floor)]);
            table.add(Contestant::Daemon, round, &[(Figure::IntakeRate, *daemon)]);
        }
        table.markdown().lines().nth(2).unwrap().to_owned()
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_own_ratios() {
        // Ratios 0.90, 0.80, 0.80; the ratio of the medians would be 0.90.
        let row = "| intake, 64 connections | events/s | 100 [50.0..200] | 90.0 [40.0..160] | 0.80 | ≥ 0.7 | ≥ 0.85 | least reached |";
        assert_eq!(table(&[90.0, 160.0, 40.0]), row);
    }

    #[test]
    fn goals_are_judged_both_ways() {
        assert!(table(&[90.0, 190.0, 45.0]).ends_with("aim reached |"));
        assert!(table(&[60.0, 100.0, 30.0]).ends_with("**missed** |"));
        assert_eq!(Goal::AtMost(2.0, 1.3).words(Some(1.3), None).2, "aim reached");
        assert_eq!(Goal::AtMost(2.0, 1.3).words(Some(2.1), None).2, "**missed**");
        assert_eq!(Goal::Itself(30.0, 20.0).words(Some(9.0), Some(25.0)).2, "least reached");
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![1.0, 3.0]), Some(2.0));
    }
}
