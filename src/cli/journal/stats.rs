//! `switchyard journal stats`.

use super::{Place, Which, ask, said};
use crate::cli::{Exit, show};
use crate::config::prose;
use crate::journal::doctor;
use crate::model::{Clock, SystemClock};
use serde_json::{Value, json};

/// Says what is in the journal: events, deliveries by output and state, sizes, growth, what retention would take.
#[derive(Debug, clap::Args)]
pub struct Stats {
    #[command(flatten)]
    which: Which,
}

const COLUMNS: [show::Column; 5] =
    [("output", "/output"), ("waiting", "/waiting"), ("held", "/held"), ("delivered", "/delivered"), ("dead", "/dead")];

impl Stats {
    pub fn run(self) -> anyhow::Result<Exit> {
        let (place, found) = match self.which.place()? {
            Place::Daemon(client, place) => (place, ask(&client, "/api/journal/stats")?),
            Place::File(file, retain) => (said(&file), json!(doctor::stats(&file, retain, SystemClock::default().wall())?)),
        };
        if self.which.admin.json {
            show::line(&found);
        } else {
            tell(&place, &found);
        }
        Ok(Exit::Done)
    }
}

fn tell(place: &str, found: &Value) {
    let number = |key: &str| found[key].as_u64().unwrap_or(0);
    let count = |key: &str| prose::count(usize::try_from(number(key)).unwrap_or(usize::MAX), "event");
    let size = |key: &str| show::size(number(key));
    show::say(&format!("journal     {place}"));
    show::say(&format!(
        "file        {}, of which {} are free and used again; log {}",
        size("file_bytes"),
        size("free_bytes"),
        size("log_bytes")
    ));
    if let Some(free) = found["disk_free_bytes"].as_u64() {
        show::say(&format!("disk        {} free", show::size(free)));
    }
    show::say(&format!("events      {}, {}", count("events"), size("event_bytes")));
    if found["oldest"].is_string() {
        show::say(&format!("received    from {} to {}", show::clock(&found["oldest"]), show::clock(&found["newest"])));
    }
    show::say(&format!("last 24 h   {}, {}", count("day_events"), size("day_bytes")));
    show::say(&format!("retention   takes {}, {} now, fewer where a repeat can still come", count("over_events"), size("over_bytes")));
    if number("over_max_size_bytes") > 0 {
        show::say(&format!("max_size    {} too much is in use: the oldest delivered ones go first", size("over_max_size_bytes")));
    }
    show::say(&format!("gone        {}, of which hashes are kept to recognise repeats", count("gone")));
    show::rows(found["outputs"].as_array().map(Vec::as_slice).unwrap_or_default(), &COLUMNS, false, "no output ever had a delivery");
}
