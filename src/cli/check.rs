//! `switchyard check`: everything that would keep the file from running, at once, with exact places.

use super::{Exit, show};
use crate::config::{self, Process, Report};
use crate::daemon::blueprint;
use crate::ingest::Tls;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use switchyard_api::problem::Severity;
use switchyard_api::{Problem, Span};

/// Validates the configuration without touching the network.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// The configuration.
    #[arg(default_value = "routes.yaml")]
    file: PathBuf,
    /// Prints the findings as JSON.
    #[arg(long)]
    json: bool,
    /// Warnings count as errors.
    #[arg(long)]
    deny_warnings: bool,
}

impl Check {
    pub fn run(self) -> anyhow::Result<Exit> {
        let read = config::load(&self.file, &Process::beside(&self.file))?;
        let mut drawn = blueprint::draw(&read, &switchyard_plugins::kinds());
        drawn.problems.extend(drawn.blueprint.iter().flat_map(|blueprint| unreadable(&read, blueprint)));
        let refused = drawn.problems.iter().any(|p| self.deny_warnings || p.severity == Severity::Error);
        if self.json {
            report(&read, &drawn.problems, |report| show::line(&report.json()));
        } else if drawn.problems.is_empty() {
            show::say(&format!(
                "{} is good: {}",
                self.file.display(),
                drawn.blueprint.as_ref().map(blueprint::Blueprint::summary).unwrap_or_default()
            ));
        } else {
            print(&read, &drawn.problems);
            if !refused {
                show::say(&format!(
                    "{} runs: {}",
                    self.file.display(),
                    drawn.blueprint.as_ref().map(blueprint::Blueprint::summary).unwrap_or_default()
                ));
            }
        }
        Ok(if refused { Exit::No } else { Exit::Done })
    }
}

/// Files that `run` could not start with.
fn unreadable(file: &config::File, blueprint: &blueprint::Blueprint) -> Vec<Problem> {
    let outputs = blueprint.outputs.iter().filter_map(|output| output.files.judge(&blueprint.base));
    unfit_certificate(file, blueprint).into_iter().chain(outputs).collect()
}

/// As [`good`], and its files can be read: for a command that starts it.
pub fn ready(path: &Path) -> anyhow::Result<Option<blueprint::Blueprint>> {
    sound(path, unreadable)
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
    let hidden = file.tree.as_ref().map(blueprint::literal_secrets).unwrap_or_default();
    show(Report { file, problems, hidden: &hidden });
}

/// Reads a file for a command that needs it to be good: the blueprint, or the findings printed.
pub fn good(path: &Path) -> anyhow::Result<Option<blueprint::Blueprint>> {
    sound(path, |_, _| vec![])
}

fn sound(path: &Path, more: impl Fn(&config::File, &blueprint::Blueprint) -> Vec<Problem>) -> anyhow::Result<Option<blueprint::Blueprint>> {
    let read = config::load(path, &Process::beside(path))?;
    let mut drawn = blueprint::draw(&read, &switchyard_plugins::kinds());
    drawn.problems.extend(drawn.blueprint.iter().flat_map(|blueprint| more(&read, blueprint)));
    let sound = drawn.problems.iter().all(|problem| problem.severity != Severity::Error);
    if !sound {
        print(&read, &drawn.problems);
    }
    Ok(drawn.blueprint.filter(|_| sound))
}
