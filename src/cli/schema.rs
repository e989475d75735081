//! `switchyard schema`: the JSON Schema of routes.yaml, for editors.

use super::{Exit, show};
use crate::daemon::schema;

/// Prints the JSON Schema of routes.yaml; an editor takes it by `# yaml-language-server: $schema=FILE` in the first line of a file.
#[derive(Debug, clap::Args)]
pub struct Schema {
    /// All on one line: a third of the size, for whoever serves it.
    #[arg(long)]
    compact: bool,
}

impl Schema {
    pub fn run(self) -> anyhow::Result<Exit> {
        let schema = schema::schema(&switchyard_plugins::kinds());
        show::say(&if self.compact { schema.to_string() } else { serde_json::to_string_pretty(&schema)? });
        Ok(Exit::Done)
    }
}
