//! `switchyard journal repair`.

use super::Alone;
use crate::cli::{Exit, show};
use crate::config::prose;
use crate::journal::doctor::{self, DoctorError, Repaired};
use crate::model::{Clock, SystemClock};
use serde_json::json;
use std::path::Path;

/// Makes a new journal of what can be read, says exactly what is lost, and keeps the damaged file: it is moved aside, unchanged. Damaged rows
/// go into an SQLite file beside it. What was planned and has no row any more is delivered again.
#[derive(Debug, clap::Args)]
pub struct Repair {
    #[command(flatten)]
    which: Alone,
}

impl Repair {
    pub fn run(self) -> anyhow::Result<Exit> {
        let file = self.which.file()?;
        if !self.which.yes {
            // A repair that was broken off has been said yes to: there may be no journal to look at until it is through.
            let faults = if doctor::is_half_repaired(&file) { 0 } else { doctor::faults(&file)? };
            let question = format!("{} is replaced by what can be read of it ({})", file.display(), prose::count(faults, "fault"));
            if faults > 0 && !self.which.confirmed(&question)? {
                return Ok(Exit::No);
            }
        }
        match doctor::repair(&file, SystemClock::default().wall()) {
            Err(why @ DoctorError::Sound(_)) => {
                show::say(&why.to_string());
                Ok(Exit::Done)
            }
            repaired => {
                self.tell(&file, &repaired?);
                Ok(Exit::Done)
            }
        }
    }

    fn tell(&self, file: &Path, report: &Repaired) {
        if self.which.json {
            return show::line(&json!(report));
        }
        let count = |number: u64, word: &str| prose::count(usize::try_from(number).unwrap_or(usize::MAX), word);
        show::say(&format!("saved     {}, {}, in {}", count(report.events, "event"), count(report.deliveries, "delivery"), file.display()));
        for lost in &report.lost {
            show::say(&format!("lost      {lost}"));
        }
        if report.more_lost > 0 {
            show::say(&format!("lost      {} more: all stand in {}", report.more_lost, report.damaged.display()));
        }
        if report.lost.is_empty() {
            show::say("lost      nothing");
        }
        show::say(&format!(
            "again     {} without a row: the daemon delivers them, some perhaps for the second time",
            count(report.to_deliver, "delivery")
        ));
        show::say(&format!("damaged   {}, in {}", count(report.aside, "row"), report.damaged.display()));
        show::say(&format!("before    {}, as it was", report.before.display()));
    }
}
