//! `switchyard check`: everything that would keep the file from running, at once, with exact places.

use super::{Exit, show};
use crate::config::secrets::NOT_THERE;
use crate::config::{self, Process, Report, rules};
use crate::daemon::blueprint::Drawn;
use crate::daemon::reach::{self, Said};
use crate::daemon::without_secrets::{self, WithoutSecrets};
use crate::daemon::{blueprint, hidden};
use crate::ingest::Tls;
use crate::model::printable::Printable;
use crate::model::{Clock, SystemClock};
use crate::trial::Tests;
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use switchyard_api::problem::Severity;
use switchyard_api::{Problem, Span};

/// Validates the configuration; without `--connect` it does not touch the network.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// The configuration.
    #[arg(default_value = "routes.yaml")]
    file: PathBuf,
    /// Reaches every output too: is it there, are the credentials good, is the channel, topic or statement there? Sends nothing.
    #[arg(long)]
    connect: bool,
    /// Prints the findings as JSON.
    #[arg(long)]
    json: bool,
    /// Variables and files of secrets that are not there are no problem: for a check where nobody has the secrets, as in CI.
    #[arg(long, conflicts_with = "connect")]
    without_secrets: bool,
    /// Warnings count as errors.
    #[arg(long)]
    deny_warnings: bool,
    /// Explains a rule by the id that stands in brackets behind `error`, and reads no file; without an id it lists all.
    #[arg(long, value_name = "ID", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["connect", "without_secrets", "deny_warnings"])]
    explain: Option<String>,
}

impl Check {
    pub fn run(self) -> anyhow::Result<Exit> {
        if let Some(id) = &self.explain {
            return Ok(explain(id, self.json));
        }
        let Read { file: read, mut drawn, missing } = read(&self.file, self.without_secrets)?;
        if self.without_secrets {
            // Keys and certificates are where the secrets are.
            drawn.problems.retain(|problem| !NOT_THERE.contains(&problem.id));
        } else {
            drawn.problems.extend(drawn.blueprint.iter().flat_map(|blueprint| unreadable(&read, blueprint)));
        }
        if let (true, Some(blueprint)) = (self.connect && sound(&drawn.problems), &drawn.blueprint) {
            drawn.problems.extend(unreached(&read, blueprint)?);
        }
        let refused = drawn.problems.iter().any(|p| self.deny_warnings || p.severity == Severity::Error);
        if self.json {
            report(&read, &drawn.problems, |report| show::line(&report.json()));
        } else if drawn.problems.is_empty() {
            let how = match (self.connect, missing) {
                (true, _) => ", and every output answers",
                (false, true) => ", as far as can be told without its secrets",
                (false, false) => "",
            };
            let what = drawn.blueprint.as_ref().map(|blueprint| format!(": {}", blueprint.summary())).unwrap_or_default();
            show::say(&format!("{} is good{how}{what}", self.file.display()));
        } else {
            print(&read, &drawn.problems);
            hint(&drawn.problems);
            if let (false, Some(blueprint)) = (refused, &drawn.blueprint) {
                show::say(&format!("{} runs: {}", self.file.display(), blueprint.summary()));
            }
        }
        Ok(if refused { Exit::No } else { Exit::Done })
    }
}

/// Prints a rule's page, or where there is none of this id all rules.
fn explain(id: &str, json: bool) -> Exit {
    match rules::named(id) {
        Ok(rule) if json => {
            show::line(&json!({ "id": rule.id, "title": rule.title, "why": rule.why, "wrong": rule.wrong, "right": rule.right }));
        }
        Ok(rule) => show::say(rule.page().trim_end()),
        Err(near) if !id.is_empty() => {
            let near = near.map_or_else(|| "`switchyard check --explain` lists them".to_owned(), |near| format!("did you mean `{near}`?"));
            eprintln!("switchyard: there is no rule `{}`: {near}", Printable(id));
            return Exit::No;
        }
        Err(_) => {
            let row = |rule: &rules::Rule| json!({ "id": rule.id, "title": rule.title });
            let rows: Vec<_> = rules::all().iter().map(row).collect();
            show::rows(&rows, &[("RULE", "/id"), ("WHAT", "/title")], json, "");
        }
    }
    Exit::Done
}

/// Says once where more stands about what was found.
fn hint(problems: &[Problem]) {
    if let Some(problem) = problems.iter().min_by_key(|problem| problem.at) {
        let _ = writeln!(anstream::stderr(), "`switchyard check --explain {}` says more about the first", problem.id);
    }
}

/// Files that `run` could not start with.
fn unreadable(file: &config::File, blueprint: &blueprint::Blueprint) -> Vec<Problem> {
    let outputs = blueprint.outputs.iter().filter_map(|output| output.files.judge(&blueprint.base));
    unfit_certificate(file, blueprint).into_iter().chain(outputs).collect()
}

/// Outputs whose far side does not answer as it should, each at its name.
fn unreached(file: &config::File, blueprint: &blueprint::Blueprint) -> anyhow::Result<Vec<Problem>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let reached = super::block_on(async { Ok(reach::reach(blueprint, &clock).await) })?;
    let names = file.tree.as_ref().and_then(|tree| tree.get("outputs")).map(switchyard_api::Node::entries).unwrap_or_default();
    let at = |output: &str| names.iter().find(|(key, _)| key.name == output).map_or(Span::default(), |(key, _)| key.span);
    let told = |one: &reach::Reached| match &one.said {
        Said::Works => None,
        Said::Fails(why) => Some(Problem::error(
            "output-fails",
            at(&one.output),
            format!("the output `{}` would not deliver: {why}", one.output),
            "asked just now",
        )),
        Said::NotAsked => {
            let title = format!("the output `{}` was not asked: each use of its refresh token makes the one before void", one.output);
            let problem = Problem::warning("output-not-asked", at(&one.output), title, "only a running daemon may use it");
            Some(problem.help("start the daemon and look at `switchyard deliveries`: it says when an output refuses us"))
        }
    };
    Ok(reached.iter().filter_map(told).collect())
}

/// A file that was read and drawn.
struct Read {
    file: config::File,
    drawn: Drawn,
    /// Whether something stands where secrets are missing.
    missing: bool,
}

fn read(path: &Path, without_secrets: bool) -> anyhow::Result<Read> {
    let kinds = switchyard_plugins::kinds();
    if without_secrets {
        let WithoutSecrets { file, drawn, missing } = without_secrets::draw(path, &kinds)?;
        return Ok(Read { file, drawn, missing });
    }
    let file = config::load(path, &Process::beside(path))?;
    let drawn = blueprint::draw(&file, &kinds);
    Ok(Read { file, drawn, missing: false })
}

/// As [`good`], and its files can be read: for a command that starts it.
pub fn ready(path: &Path) -> anyhow::Result<Option<blueprint::Blueprint>> {
    draw(path, false, unreadable)
}

/// The tests of a file that has nothing else, for the sources and outputs of a configuration; or the findings printed.
pub fn tests(path: &Path, configuration: &Path) -> anyhow::Result<Option<Tests>> {
    let read = config::load(path, &Process::beside(path))?;
    let of = config::load(configuration, &Process::beside(configuration))?;
    let (tests, problems) = blueprint::tests_beside(&read, &of, &switchyard_plugins::kinds());
    if !problems.is_empty() {
        print(&read, &problems);
    }
    Ok(tests.filter(|_| sound(&problems)))
}

/// A certificate that `run` could not start with; drawing itself opens no file (L5).
fn unfit_certificate(file: &config::File, blueprint: &blueprint::Blueprint) -> Option<Problem> {
    let wrong = Tls::load(blueprint.server.tls.as_ref()?, &blueprint.base).err()?;
    let at = file.tree.as_ref().and_then(|tree| tree.get("server")?.get("tls")).map_or(Span::default(), |tls| tls.span);
    let problem = Problem::error("bad-certificate", at, "the certificate can't be used", show::chain(&wrong));
    Some(problem.help("check the paths and their permissions; a relative path starts from this file's folder"))
}

/// Prints findings as a person reads them, on standard error.
pub fn print(file: &config::File, problems: &[Problem]) {
    report(file, problems, |report| {
        // A closed standard error has no reader to tell.
        let _ = write!(anstream::stderr(), "{}", report.text(std::io::stderr().is_terminal()));
    });
}

fn report(file: &config::File, problems: &[Problem], show: impl FnOnce(Report)) {
    let kinds = switchyard_plugins::kinds();
    let hidden = hidden::unquotable(file, problems, &kinds);
    show(Report { file, problems, hidden: &hidden });
}

/// Reads a file for a command that needs it to be good: the blueprint, or the findings printed.
pub fn good(path: &Path) -> anyhow::Result<Option<blueprint::Blueprint>> {
    draw(path, false, |_, _| vec![])
}

/// As [`good`], on a machine that need not have the file's secrets.
pub fn good_without_secrets(path: &Path) -> anyhow::Result<Option<blueprint::Blueprint>> {
    draw(path, true, |_, _| vec![])
}

fn sound(problems: &[Problem]) -> bool {
    problems.iter().all(|problem| problem.severity != Severity::Error)
}

fn draw(
    path: &Path,
    without_secrets: bool,
    more: impl Fn(&config::File, &blueprint::Blueprint) -> Vec<Problem>,
) -> anyhow::Result<Option<blueprint::Blueprint>> {
    let Read { file: read, mut drawn, .. } = read(path, without_secrets)?;
    drawn.problems.extend(drawn.blueprint.iter().flat_map(|blueprint| more(&read, blueprint)));
    let sound = sound(&drawn.problems);
    if !sound {
        print(&read, &drawn.problems);
    }
    Ok(drawn.blueprint.filter(|_| sound))
}
