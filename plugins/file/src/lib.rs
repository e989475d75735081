//! `type: file`: appends each delivery as one line to a file (NDJSON or CSV), and settles it once the disk has it.
//!
//! ```yaml
//! archive:
//!   type: file
//!   path: data/{source}/{date}.ndjson   # from the folder of routes.yaml
//!   line: '{"order": "{{ data.id }}"}'  # message: without it all of the delivery
//! table:
//!   type: file
//!   path: data/orders-{date}.csv
//!   format: csv
//!   header: [order, total]              # the columns in their order
//!   columns: { order: "{{ data.id }}", total: "{{ data.total }}" }   # message: a template a column
//! ```
//!
//! `path` takes `{date}` (`%Y-%m-%d`), `%Y`, `%m`, `%d`, `%H` of the time at which the event was received, in UTC, and
//! `{source}`, `{topic}`, `{route}`. Such a value becomes a safe name: letters, digits, `-`, `_` and inner dots. Folders before the
//! first placeholder may be links; behind it no link is followed. Folders are made with mode 0700, files with 0600.
//!
//! Without `line` a line is an object: `delivery` (the stable id: a repeat has the same), `event`, `source`, `topic`, `route`,
//! `received_at`, `attempt`, `replay` on replays, and the payload as `data` (JSON, as it came), `raw` (text) or `raw_base64`.
//!
//! A table (`format: csv`, RFC 4180) begins with its header, written once a file. A row is one line: line ends in values become
//! spaces, commas and quotes are quoted, and a value that a spreadsheet would run as a formula (it begins with `=`, `+`, `-`, `@` or a
//! tab, and is no number) gets a `'` in front. A file that begins with another header is not written to: move it away when the columns
//! change. Make the event's id a column (`event: "{{ id }}"`) where readers must tell repeats.
//!
//! Up to 256 deliveries go into one write and one sync. A file that was moved away is made anew. A last line that a crash
//! tore is ended before the next one; in a table it is a row with fewer cells, and its delivery comes again.
//!
//! | what happens | outcome |
//! | --- | --- |
//! | written and synced | delivered |
//! | disk full, input or output error | down |
//! | no permission, a link or folder in the file's place, read-only, another header | misconfigured |
//! | written, and the sync failed | unknown |
//!
//! Never: lets a value leave its part of the path (L8), settles what is not durable (L1). Proven by `tests/real.rs`.

mod append;
mod csv;
mod line;
pub mod name;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use switchyard_api::escape::Escape;
use switchyard_api::{
    At, CheckError, Confine, ConnectError, Field, Handle, Kind, Kit, Outcome, Output, Parcel, Preview, Problem, Settle, Shape, Written,
};
use tokio::sync::Semaphore;

use name::Pattern;

/// Parcels in one write and one sync.
const BATCH_MAX: usize = 256;

/// Settings of a file output.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// The file, from the folder of routes.yaml.   example: data/orders-{date}.ndjson
    pub path: At<String>,
    /// `ndjson`, or `csv` for a table.
    #[serde(default)]
    pub format: At<Format>,
    /// The columns of a table, in their order.   example: [order, total]
    #[serde(default)]
    pub header: Option<At<Vec<String>>>,
}

/// What a line is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A JSON object, or the message's `line`.
    #[default]
    Ndjson,
    /// A row of a table.
    Csv,
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

    fn example(&self) -> &'static str {
        "{ type: file, path: \"data/events-{date}.ndjson\" }"
    }

    fn fields(&self) -> Vec<Field> {
        let field = |name: &'static str, docs: &'static str, shape, escape| Field {
            name: name.into(),
            docs: docs.into(),
            shape,
            escape,
            confine: Confine::Content,
            required: false,
            default: None,
            cap: None,
        };
        vec![
            field("line", "The line; without it an object with ids, times and the payload.", Shape::Text, Escape::Json),
            field("columns", "The values of a table's row, by the names in `header`.", Shape::Map, Escape::None),
        ]
    }

    fn validate(&self, config: &Config) -> Vec<Problem> {
        let mut found = vec![];
        if let Err(wrong) = Pattern::parse(&config.path.value) {
            let problem = Problem::error("bad-path", config.path.span, wrong.what.clone(), "here").within(wrong.within).help(wrong.help);
            found.push(Problem { patch: wrong.patch, ..problem });
        }
        match (config.format.value, &config.header) {
            (Format::Csv, header) => found.extend(csv::judge_header(header.as_ref(), config.format.span)),
            (Format::Ndjson, Some(header)) => {
                let problem = Problem::error("no-table", header.span, "`header` is for tables, and this is none", "no `format: csv` here");
                found.push(problem.help("add `format: csv`, or take it away"));
            }
            (Format::Ndjson, None) => {}
        }
        found
    }

    fn judge(&self, config: &Config, message: Written<'_>) -> Vec<Problem> {
        let (other, help) = match config.format.value {
            Format::Csv => ("line", "write `columns`, a template for each name in `header`"),
            Format::Ndjson => ("columns", "write `line`, or add `format: csv`"),
        };
        let misplaced = message.output.iter().chain(message.route).filter(|(key, _)| key.name == other).map(|(key, _)| {
            Problem::error("wrong-format", key.span, format!("`{other}` does not fit this output's `format`"), "not used here").help(help)
        });
        let columns = config.header.as_ref().filter(|_| config.format.value == Format::Csv);
        misplaced.chain(columns.into_iter().flat_map(|header| csv::judge_columns(header, message))).collect()
    }

    fn preview(&self, config: &Config, _kit: &Kit, parcel: &Parcel) -> Option<Result<Preview, String>> {
        Some(Pattern::parse(&config.path.value).map_err(|wrong| wrong.what.clone()).map(|pattern| preview(config, &pattern, parcel)))
    }

    async fn connect(&self, config: Config, kit: &Kit) -> Result<FileOutput, ConnectError> {
        let pattern = Pattern::parse(&config.path.value).map_err(|e| ConnectError(format!("path: {e}")))?;
        let root = kit.base.join(&pattern.root);
        let table = config.header.filter(|_| config.format.value == Format::Csv).map(|header| Table::new(header.value));
        Ok(FileOutput { pattern, root, table, writing: Arc::new(Semaphore::new(1)) })
    }
}

/// Adds a delivery's line: of a table with these columns, or of JSON.
fn add(lines: &mut Vec<u8>, parcel: &Parcel, columns: Option<&[String]>) {
    match columns {
        Some(names) => lines.extend_from_slice(&csv::line(parcel, names)),
        None => line::add(lines, parcel),
    }
}

/// The line and the file, from the folder of routes.yaml.
fn preview(config: &Config, pattern: &Pattern, parcel: &Parcel) -> Preview {
    let columns = config.header.as_ref().filter(|_| config.format.value == Format::Csv).map(|header| &header.value[..]);
    let path = pattern.name(parcel).iter().fold(PathBuf::from(&pattern.root), |path, part| path.join(part));
    let mut line = vec![];
    add(&mut line, parcel, columns);
    let header = columns.map(|names| ("header".to_owned(), names.join(",")));
    Preview { properties: header.into_iter().collect(), body: line.into(), ..Preview::new("APPEND", path.display().to_string()) }
}

/// Files below one folder.
#[derive(Debug)]
pub struct FileOutput {
    pattern: Pattern,
    root: PathBuf,
    table: Option<Table>,
    /// One batch at a time, also where the one before was given up: its write goes on and must not be mixed with the next,
    /// and a disk that hangs holds one thread, not all.
    writing: Arc<Semaphore>,
}

/// The columns of a table, and the row that they are.
#[derive(Debug)]
struct Table {
    names: Vec<String>,
    header: Arc<[u8]>,
}

impl Table {
    fn new(names: Vec<String>) -> Self {
        Table { header: csv::header(&names).into(), names }
    }
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
            let at = groups.iter().position(|group| group.name == name).unwrap_or_else(|| {
                groups.push(Group { name, lines: vec![], handles: vec![] });
                groups.len() - 1
            });
            let Some(group) = groups.get_mut(at) else { continue };
            group.handles.push(parcel.handle);
            add(&mut group.lines, parcel, self.table.as_ref().map(|table| &table.names[..]));
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
        let (root, header) = (self.root.clone(), self.table.as_ref().map(|table| Arc::clone(&table.header)));
        let writes = tokio::task::spawn_blocking(move || {
            let one = |group: Group| (outcome(&root, header.as_deref(), &group), group.handles);
            let outcomes: Vec<_> = groups.into_iter().map(one).collect();
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

fn outcome(root: &std::path::Path, header: Option<&[u8]>, group: &Group) -> Outcome {
    let path = group.name.iter().fold(root.to_owned(), |path, part| path.join(part));
    match append::append(root, &group.name, header, &group.lines) {
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
    use switchyard_api::tree::{self, Key, Node, Text, Value};

    fn plain(path: At<String>) -> Config {
        Config { path, format: At::default(), header: None }
    }
    fn map(entries: Vec<(&str, Node)>) -> Node {
        let key = |name: &str| Key { span: Span::default(), name: name.to_owned() };
        Node { span: Span::default(), value: Value::Map(entries.into_iter().map(|(name, node)| (key(name), node)).collect()) }
    }

    #[test]
    fn a_table_is_read_and_what_does_not_fit_it_is_told() {
        let word = |text: &str| Node { span: Span::default(), value: Value::Text(Text { written: text.into(), replaced: None }) };
        let list = |names: &[&str]| Node { span: Span::default(), value: Value::List(names.iter().map(|name| word(name)).collect()) };
        let told = |entries: Vec<(&str, Node)>, message: Vec<(&str, Node)>| {
            let mut problems = vec![];
            let entries = entries.into_iter().chain([("path", word("x.csv"))]).collect();
            let config: Config = tree::read(&map(entries), &mut problems).unwrap();
            problems.extend(FileKind.validate(&config));
            problems.extend(FileKind.judge(&config, Written { output: map(message).entries(), route: &[] }));
            problems.into_iter().map(|problem| problem.id).collect::<Vec<_>>()
        };
        let columns = |name: &str| ("columns", map(vec![(name, word("x"))]));
        let csv = || ("format", word("csv"));
        assert_eq!(told(vec![], vec![("line", word("x"))]), Vec::<&str>::new());
        assert_eq!(told(vec![csv(), ("header", list(&["a"]))], vec![columns("a")]), Vec::<&str>::new());
        assert_eq!(told(vec![csv()], vec![columns("a")]), ["missing-key"]);
        assert_eq!(told(vec![("header", list(&["a"]))], vec![columns("a")]), ["no-table", "wrong-format"]);
        assert_eq!(told(vec![csv(), ("header", list(&["a"]))], vec![("line", word("x"))]), ["wrong-format", "missing-column"]);
    }

    #[test]
    fn a_wrong_path_is_a_problem_inside_the_text() {
        let path = At { span: Span { start: 40, end: 60 }, value: "data/{dat}.ndjson".to_owned() };
        let [problem] = FileKind.validate(&plain(path)).try_into().unwrap();
        assert_eq!((problem.id, problem.at.start, problem.within, problem.patch.as_deref()), ("bad-path", 40, Some(5..10), Some("{date}")));
        let path = At { span: Span::default(), value: "data/{date}.ndjson".to_owned() };
        assert_eq!(FileKind.validate(&plain(path)), []);
    }

    #[test]
    fn the_readme_says_what_the_docs_say() {
        switchyard_api::conformance::readme_is_the_docs(include_str!("lib.rs"), include_str!("../README.md"));
    }
}
