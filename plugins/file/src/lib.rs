//! `type: file`: appends each delivery as one line to a file (NDJSON), and settles it once the disk has it.
//!
//! ```yaml
//! archive:
//!   type: file
//!   path: data/{source}/{date}.ndjson   # from the folder of routes.yaml
//!   line: '{"order": "{{ data.id }}"}'  # message: without it all of the delivery
//! ```
//!
//! `path` takes `{date}` (`%Y-%m-%d`), `%Y`, `%m`, `%d`, `%H` of the time at which the event was received, in UTC, and
//! `{source}`, `{topic}`, `{route}`. Such a value becomes a safe name: letters, digits, `-`, `_` and inner dots. Folders before the
//! first placeholder may be links; behind it no link is followed. Folders are made with mode 0700, files with 0600.
//!
//! Without `line` a line is an object: `delivery` (the stable id: a repeat has the same), `event`, `source`, `topic`, `route`,
//! `received_at`, `attempt`, `replay` on replays, and the payload as `data` (JSON, as it came), `raw` (text) or `raw_base64`.
//!
//! Up to 256 deliveries go into one write and one sync. A file that was moved away is made anew. A last line that a crash
//! tore is ended before the next one.
//!
//! | what happens | outcome |
//! | --- | --- |
//! | written and synced | delivered |
//! | disk full, input or output error | down |
//! | no permission, a link or folder in the file's place, read-only | misconfigured |
//! | written, and the sync failed | unknown |
//!
//! Never: lets a value leave its part of the path (L8), settles what is not durable (L1). Proven by `tests/real.rs`.

mod append;
mod line;
mod name;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use switchyard_api::escape::Escape;
use switchyard_api::{At, CheckError, Confine, ConnectError, Field, Handle, Kind, Kit, Outcome, Output, Parcel, Problem, Settle, Shape};
use tokio::sync::Semaphore;

use name::Pattern;

/// Parcels in one write and one sync.
const BATCH_MAX: usize = 256;

/// Settings of a file output.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// The file, from the folder of routes.yaml.   example: data/orders-{date}.ndjson
    pub path: At<String>,
}

/// `file`.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileKind;

impl Kind for FileKind {
    type Config = Config;
    type Output = FileOutput;

    fn name(&self) -> &'static str {
        "file"
    }

    fn docs(&self) -> &'static str {
        "Each delivery as one line of a file."
    }

    fn fields(&self) -> Vec<Field> {
        vec![Field {
            name: "line".into(),
            docs: "The line; without it an object with ids, times and the payload.".into(),
            shape: Shape::Text,
            escape: Escape::Json,
            confine: Confine::Content,
            required: false,
            default: None,
            cap: None,
        }]
    }

    fn validate(&self, config: &Config) -> Vec<Problem> {
        let Err(wrong) = Pattern::parse(&config.path.value) else { return vec![] };
        let problem = Problem::error("bad-path", config.path.span, wrong.what.clone(), "here").within(wrong.within).help(wrong.help);
        vec![Problem { patch: wrong.patch, ..problem }]
    }

    async fn connect(&self, config: Config, kit: &Kit) -> Result<FileOutput, ConnectError> {
        let pattern = Pattern::parse(&config.path.value).map_err(|e| ConnectError(format!("output `{}`: path: {e}", kit.output)))?;
        let root = kit.base.join(&pattern.root);
        Ok(FileOutput { pattern, root, writing: Arc::new(Semaphore::new(1)) })
    }
}

/// Files below one folder.
#[derive(Debug)]
pub struct FileOutput {
    pattern: Pattern,
    root: PathBuf,
    /// One batch at a time, also where the one before was given up: its write goes on and must not be mixed with the next,
    /// and a disk that hangs holds one thread, not all.
    writing: Arc<Semaphore>,
}

/// The lines of a batch that go to one file.
struct Group {
    name: Vec<String>,
    lines: Vec<u8>,
    handles: Vec<Handle>,
}

impl FileOutput {
    fn groups(&self, parcels: &[Parcel]) -> Vec<Group> {
        let mut groups: Vec<Group> = vec![];
        for parcel in parcels {
            let name = self.pattern.name(parcel);
            let line = line::line(parcel);
            match groups.iter_mut().find(|group| group.name == name) {
                Some(group) => {
                    group.lines.extend_from_slice(&line);
                    group.handles.push(parcel.handle);
                }
                None => groups.push(Group { name, lines: line, handles: vec![parcel.handle] }),
            }
        }
        groups
    }

    async fn write(&self, parcels: &[Parcel], settle: &Settle) {
        let groups = self.groups(parcels);
        // Closed by nobody; without a permit nothing is sent, and that is what is said.
        let Ok(permit) = Arc::clone(&self.writing).acquire_owned().await else { return };
        for parcel in parcels {
            settle.sent(parcel.handle);
        }
        let root = self.root.clone();
        let writes = tokio::task::spawn_blocking(move || {
            let outcomes: Vec<_> = groups.into_iter().map(|group| (outcome(&root, &group), group.handles)).collect();
            drop(permit);
            outcomes
        });
        match writes.await {
            Ok(outcomes) => {
                for (outcome, handles) in outcomes {
                    for handle in handles {
                        settle.settle(handle, outcome.clone());
                    }
                }
            }
            Err(broken) => {
                let outcome = Outcome::Unknown { why: format!("the writing thread ended early: {broken}") };
                for parcel in parcels {
                    settle.settle(parcel.handle, outcome.clone());
                }
            }
        }
    }
}

fn outcome(root: &std::path::Path, group: &Group) -> Outcome {
    let path = group.name.iter().fold(root.to_owned(), |path, part| path.join(part));
    match append::append(root, &group.name, &group.lines) {
        Ok(()) => Outcome::Delivered { detail: format!("in {}", path.display()) },
        Err(error) => error.outcome(&path),
    }
}

impl Output for FileOutput {
    fn max_batch(&self) -> usize {
        BATCH_MAX
    }

    fn deliver<'a>(&'a self, parcels: Vec<Parcel>, settle: &'a Settle) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.write(&parcels, settle).await })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), CheckError>> {
        let root = self.root.clone();
        Box::pin(async move {
            let wrong = |cause: String| CheckError(format!("`{}` cannot be written to: {cause}", self.root.display()));
            match tokio::task::spawn_blocking(move || append::reach(&root)).await {
                Ok(reached) => reached.map_err(|e| wrong(e.to_string())),
                Err(broken) => Err(wrong(broken.to_string())),
            }
        })
    }

    /// Waits for a write that is under way.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let _ = self.writing.acquire().await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_api::Span;

    #[test]
    fn a_wrong_path_is_a_problem_inside_the_text() {
        let path = At { span: Span { start: 40, end: 60 }, value: "data/{dat}.ndjson".to_owned() };
        let [problem] = FileKind.validate(&Config { path }).try_into().unwrap();
        assert_eq!((problem.id, problem.at.start, problem.within, problem.patch.as_deref()), ("bad-path", 40, Some(5..10), Some("{date}")));
        let path = At { span: Span::default(), value: "data/{date}.ndjson".to_owned() };
        assert_eq!(FileKind.validate(&Config { path }), []);
    }

    #[test]
    fn the_readme_says_what_the_docs_say() {
        switchyard_api::conformance::readme_is_the_docs(include_str!("lib.rs"), include_str!("../README.md"));
    }
}
