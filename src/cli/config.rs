//! `switchyard config`: the configurations that ran, from the daemon's journal.

use super::client::{Admin, Client, escape};
use super::{Exit, block_on, show};
use crate::model::ConfigVersion;
use crate::model::printable::Printable;
use serde_json::{Value, json};
use similar::TextDiff;

/// Lines around each difference.
const CONTEXT: usize = 3;

/// Shows the configurations that ran. Every event and every delivery knows the one that planned it (`switchyard events ID`). The daemon keeps
/// the last 100, as they were written: secrets are not in them.
#[derive(Debug, clap::Args)]
pub struct Config {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Lists those that are kept, the newest first.
    List(List),
    /// Prints one as it was written: `${X}` stays, a secret that stood in the file is `***`.
    Show(Show),
    /// Shows in what two of them differ. Exit code 1: they do.
    Diff(Diff),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    admin: Admin,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Its version.   default: the one that runs
    #[arg(value_name = "VERSION")]
    which: Option<ConfigVersion>,
    #[command(flatten)]
    admin: Admin,
}

#[derive(Debug, clap::Args)]
struct Diff {
    /// The version before.
    from: ConfigVersion,
    /// The version after.   default: the one that runs
    to: Option<ConfigVersion>,
    #[command(flatten)]
    admin: Admin,
}

impl Config {
    pub fn run(self) -> anyhow::Result<Exit> {
        match self.what {
            What::List(list) => list.run(),
            What::Show(show) => show.run(),
            What::Diff(diff) => diff.run(),
        }
    }
}

impl List {
    fn run(self) -> anyhow::Result<Exit> {
        let found = block_on(async { Client::new(&self.admin)?.get("/api/config").await })?;
        let rows = found["configs"].as_array().cloned().unwrap_or_default();
        let columns = [("version", "/version"), ("since", "/since"), ("bytes", "/bytes"), ("runs now", "/running")];
        show::rows(&rows, &columns, self.admin.json, "none is kept");
        Ok(if rows.is_empty() { Exit::No } else { Exit::Done })
    }
}

impl Show {
    fn run(self) -> anyhow::Result<Exit> {
        let found = fetch(&self.admin, self.which)?;
        if self.admin.json {
            show::line(&found);
        } else {
            lines(&found).lines().for_each(|line| show::say(&Printable(line).to_string()));
        }
        Ok(Exit::Done)
    }
}

impl Diff {
    fn run(self) -> anyhow::Result<Exit> {
        let (from, to) = (fetch(&self.admin, Some(self.from))?, fetch(&self.admin, self.to)?);
        let names = [&from, &to].map(|one| format!("{} since {}", show::cell(&one["version"]), show::cell(&one["since"])));
        let (before, after) = (lines(&from), lines(&to));
        let differ = TextDiff::from_lines(&before, &after);
        let text = differ.unified_diff().context_radius(CONTEXT).header(&names[0], &names[1]).to_string();
        let same = from["version"] == to["version"];
        if self.admin.json {
            show::line(&json!({ "from": from["version"], "to": to["version"], "same": same, "diff": text }));
        } else if same {
            show::say("they are the same");
        } else if text.is_empty() {
            show::say("they are written alike: what `${…}` puts in, or a secret in the file, is another");
        } else {
            text.lines().for_each(|line| show::say(&Printable(line).to_string()));
        }
        Ok(if same { Exit::Done } else { Exit::No })
    }
}

/// A configuration; `None`: the one that runs.
fn fetch(admin: &Admin, version: Option<ConfigVersion>) -> anyhow::Result<Value> {
    let name = version.map_or_else(|| "running".to_owned(), |version| version.to_string());
    block_on(async { Client::new(admin)?.get(&format!("/api/config/{}", escape(&name))).await })
}

/// Its text; tabs are blanks, as they are shown.
fn lines(found: &Value) -> String {
    found["text"].as_str().unwrap_or_default().replace('\t', "    ")
}
