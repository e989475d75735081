//! `switchyard journal check`.

use super::{Place, Which, ask, said};
use crate::cli::{Exit, show};
use crate::config::prose;
use crate::journal::doctor;
use serde_json::{Value, json};

/// Says whether the journal is sound: one line a fault, with what to do. Exit code 1 where it is not.
#[derive(Debug, clap::Args)]
pub struct Check {
    #[command(flatten)]
    which: Which,
}

impl Check {
    pub fn run(self) -> anyhow::Result<Exit> {
        let (place, found) = match self.which.place()? {
            Place::Daemon(client, place) => (place, ask(&client, "/api/journal/check")?),
            Place::File(file, _) => (said(&file), json!(doctor::check(&file)?)),
        };
        let faults = found["faults"].as_array().map(Vec::as_slice).unwrap_or_default();
        if self.which.admin.json {
            show::line(&found);
        } else {
            tell(&place, &found, faults);
        }
        Ok(if faults.is_empty() { Exit::Done } else { Exit::No })
    }
}

fn tell(place: &str, found: &Value, faults: &[Value]) {
    show::say(&format!("journal   {place}"));
    let number = |key: &str| prose::thousands(usize::try_from(found[key].as_u64().unwrap_or(0)).unwrap_or(usize::MAX));
    show::say(&format!(
        "read      {} events, {} deliveries with a row, {} under way; schema {}",
        number("events"),
        number("deliveries"),
        number("open"),
        number("schema")
    ));
    for fault in faults {
        show::say(&format!("fault     {}: {}", show::cell(&fault["what"]), show::cell(&fault["todo"])));
    }
    match (faults.len(), found["more_faults"].as_u64().unwrap_or(0)) {
        (0, _) => show::say("sound     yes"),
        (told, more) => {
            let all = told.saturating_add(usize::try_from(more).unwrap_or(usize::MAX));
            show::say(&format!("sound     no: {}{}", prose::count(all, "fault"), if more > 0 { ", the first of them above" } else { "" }));
        }
    }
}
