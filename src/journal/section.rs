//! The section `journal` of the configuration.

use super::store::Retain;
use super::vault::VaultKey;
use crate::model::{Period, Size};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use switchyard_api::{At, Problem, Secret};

/// Where events are kept, and for how long.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalSection {
    /// `sqlite:` and the file, from the folder of the configuration.   default: sqlite:data/journal.db
    #[serde(default = "default_url")]
    pub url: At<String>,
    /// How long what is over is kept.
    #[serde(default)]
    pub retain: RetainSection,
    /// Below so much free space on its disk senders hear 503 and deliveries go on; `0B`: never.   default: 1GiB, on a small disk a twentieth of it
    #[serde(default)]
    pub reserve: Option<Size>,
    /// What credentials are sealed with that change while in use: 32 bytes in base64.   example: ${VAULT_KEY}
    #[serde(default)]
    pub vault_key: Option<At<Secret>>,
}

/// How long what is over is kept. What waits or is held is kept whatever its age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetainSection {
    /// Delivered ones, and events that no route wanted; an event stays for its source's dedupe window at least.   default: 3d
    pub delivered: Period,
    /// Dead ones.   default: 30d
    pub dead: Period,
    /// Beyond this, delivered ones go before their time, the oldest first; then dead ones. What waits or is held stays.   example: 20GiB
    pub max_size: Option<At<Size>>,
}

const DAY: u64 = 24 * 60 * 60;
/// Less than this a busy minute fills.
const MAX_SIZE_MIN: Size = Size(64 << 20);

fn default_url() -> At<String> {
    At { value: "sqlite:data/journal.db".to_owned(), ..At::default() }
}

impl Default for JournalSection {
    fn default() -> Self {
        JournalSection { url: default_url(), retain: RetainSection::default(), reserve: None, vault_key: None }
    }
}

impl Default for RetainSection {
    fn default() -> Self {
        RetainSection { delivered: Period::secs(3 * DAY), dead: Period::secs(30 * DAY), max_size: None }
    }
}

impl From<RetainSection> for Retain {
    fn from(section: RetainSection) -> Self {
        Retain { delivered: section.delivered.0, dead: section.dead.0, max_bytes: section.max_size.map(|size| size.value.0) }
    }
}

impl JournalSection {
    /// The vault's key, where there is one.
    pub fn key(&self, problems: &mut Vec<Problem>) -> Option<VaultKey> {
        let written = self.vault_key.as_ref()?;
        let key = VaultKey::parse(&written.value);
        key.map_err(|wrong| {
            let problem = Problem::error("vault-key", written.span, wrong.to_string(), "here");
            problems.push(problem.help("write 32 bytes in base64: make them with `openssl rand -base64 32`"));
        })
        .ok()
    }

    /// Whether the limits can be kept.
    pub fn check(&self, problems: &mut Vec<Problem>) {
        let Some(size) = self.retain.max_size.filter(|size| size.value < MAX_SIZE_MIN) else { return };
        let title = format!("`journal.retain.max_size` is {}, and a journal needs at least {MAX_SIZE_MIN}", size.value);
        let help = "write how much of the disk the journal may fill, such as `20GiB`";
        problems.push(Problem::error("max-size", size.span, title, "too small").help(help));
    }

    /// The journal's file, relative ones from `base`. Touches nothing.
    pub fn file(&self, base: &Path, problems: &mut Vec<Problem>) -> Option<PathBuf> {
        match self.url.value.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
            Some(path) => Some(base.join(path)),
            None => {
                // The text itself may come from `${…}` and is not quoted (L7).
                let problem =
                    Problem::error("journal-url", self.url.span, "`journal.url` is not a place for a journal", "not `sqlite:` and a file");
                let help = if ["postgres:", "postgresql:"].iter().any(|scheme| self.url.value.starts_with(scheme)) {
                    "this version keeps its journal in a file, each daemon its own, such as `sqlite:data/journal.db`; events go into a database by an output of type `sql`"
                } else {
                    "write `sqlite:` and the file, such as `sqlite:data/journal.db`"
                };
                problems.push(problem.help(help));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_api::{Node, Span, Value, tree};

    #[test]
    fn an_empty_section_has_the_defaults() {
        let node = Node { span: Span::default(), value: Value::Map(vec![]) };
        let mut problems = vec![];
        let section: JournalSection = tree::read(&node, &mut problems).unwrap();
        assert_eq!(section.file(Path::new("/base"), &mut problems), Some("/base/data/journal.db".into()));
        assert_eq!(Retain::from(section.retain).dead, std::time::Duration::from_hours(30 * 24));
        assert_eq!(problems, []);
    }

    #[test]
    fn another_kind_of_url_is_refused_with_what_to_write() {
        let file = "write `sqlite:` and the file, such as `sqlite:data/journal.db`";
        let own = "each daemon its own, such as `sqlite:data/journal.db`";
        for (url, says) in [("data/journal.db", file), ("postgres://x", own), ("sqlite:", file)] {
            let section = JournalSection { url: At { value: url.to_owned(), ..At::default() }, ..JournalSection::default() };
            let mut problems = vec![];
            assert_eq!(section.file(Path::new(""), &mut problems), None, "{url}");
            assert!(problems[0].help.as_ref().unwrap().contains(says), "{problems:?}");
        }
    }
}
