//! `switchyard init`: a commented routes.yaml to start from, for the senders and outputs that are named, or asked for at a terminal.

mod text;

use super::{Exit, show};
use crate::daemon::without_secrets;
use crate::verify::presets::presets;
use anyhow::{Context, bail};
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use switchyard_api::AnyKind;
use switchyard_api::problem::nearest;
use text::{Wanted, written};

/// The shipped configuration: runs as it is, on nothing but this machine.
const START: &str = include_str!("../../routes.yaml");
/// A sender of one's own, which shows a token.
const OWN: &str = "internal";

/// Writes a commented routes.yaml to start from. Without --sender and --output it asks, where somebody is there to answer; else it writes one
/// that runs as it is, on nothing but this machine.
#[derive(Debug, clap::Args)]
pub struct Init {
    /// Where to write it; an existing file is never overwritten.
    #[arg(default_value = "routes.yaml")]
    file: PathBuf,
    /// Who sends events: a known sender (`orderchamp`, `github`, …), or `internal` for a service of your own. May be repeated.
    #[arg(long = "sender", value_name = "NAME", value_delimiter = ',')]
    senders: Vec<String>,
    /// Where they go: a type of output (`slack`, `http`, `kafka`, …). May be repeated.
    #[arg(long = "output", value_name = "TYPE", value_delimiter = ',')]
    outputs: Vec<String>,
}

/// What can be chosen.
struct Menu {
    senders: Vec<&'static str>,
    outputs: Vec<String>,
}

impl Init {
    pub fn run(self) -> anyhow::Result<Exit> {
        let name = self.file.display();
        // Before anybody is asked; `create_new` is what keeps it.
        if self.file.exists() {
            bail!("{name} is there already and stays as it is: name another, as `switchyard init other.yaml`");
        }
        let kinds = switchyard_plugins::kinds();
        let menu = Menu {
            senders: presets().iter().map(|preset| preset.name.as_str()).chain([OWN]).collect(),
            outputs: kinds.iter().map(|kind| kind.name().to_owned()).collect(),
        };
        let wanted = if self.senders.is_empty() && self.outputs.is_empty() {
            if std::io::stdin().is_terminal() { menu.ask(&mut std::io::stdin().lock(), &mut std::io::stderr())? } else { None }
        } else {
            Some(Wanted { senders: self.senders.clone(), outputs: self.outputs.clone() })
        };
        if let Some(wanted) = &wanted {
            menu.holds(wanted)?;
        }
        let text = wanted.as_ref().map_or_else(|| START.to_owned(), |wanted| written(wanted, &kinds));
        let text = if keeps_credentials(&text, &kinds) { text::with_vault_key(&text) } else { text };
        self.write(&text)?;
        show::say(&format!("wrote {name}; `switchyard check {name}` validates it, `switchyard run {name}` starts the daemon"));
        let variables = text::variables(&text);
        if !variables.is_empty() {
            show::say(&format!("before it runs set {}: the file says which is which", variables.join(", ")));
        }
        Ok(Exit::Done)
    }

    fn write(&self, text: &str) -> anyhow::Result<()> {
        let name = self.file.display();
        let mut file = match std::fs::File::create_new(&self.file) {
            Err(why) if why.kind() == std::io::ErrorKind::AlreadyExists => {
                bail!("{name} is there already and stays as it is: name another, as `switchyard init other.yaml`")
            }
            created => created.with_context(|| format!("can't write {name}"))?,
        };
        file.write_all(text.as_bytes()).with_context(|| format!("can't write {name}"))
    }
}

/// Whether what it holds includes credentials that change while in use.
fn keeps_credentials(text: &str, kinds: &[Arc<dyn AnyKind>]) -> bool {
    without_secrets::draw_text(text, kinds).drawn.problems.iter().any(|problem| problem.id == "no-vault-key")
}

impl Menu {
    /// Whether all that is wanted is there.
    fn holds(&self, wanted: &Wanted) -> anyhow::Result<()> {
        for sender in &wanted.senders {
            unknown("sender", sender, self.senders.iter().copied())?;
        }
        for output in &wanted.outputs {
            unknown("type of output", output, self.outputs.iter().map(String::as_str))?;
        }
        Ok(())
    }

    /// A short interview; `None`: nothing was chosen.
    fn ask(&self, input: &mut impl BufRead, out: &mut impl Write) -> anyhow::Result<Option<Wanted>> {
        let senders: Vec<&str> = self.senders.clone();
        let outputs: Vec<&str> = self.outputs.iter().map(String::as_str).collect();
        let first = "Who sends events? Names with commas, `?` lists them all; nothing: a file that shows everything on this machine alone.";
        let senders = question(first, "sender", &senders, input, out)?;
        if senders.is_empty() {
            return Ok(None);
        }
        let second = "Where do they go? Types with commas, `?` lists them all; nothing: to this screen and a file.";
        let outputs = question(second, "type of output", &outputs, input, out)?;
        Ok(Some(Wanted { senders, outputs }))
    }
}

/// Asks until every answer is one of those that can be chosen.
fn question(asked: &str, what: &str, names: &[&str], input: &mut impl BufRead, out: &mut impl Write) -> anyhow::Result<Vec<String>> {
    loop {
        write!(out, "{asked}\n> ")?;
        out.flush()?;
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            bail!("nobody answered; nothing was written");
        }
        if line.trim() == "?" {
            writeln!(out, "{}", names.join(", "))?;
            continue;
        }
        let answers: Vec<String> = line.split([',', ' ']).map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect();
        match answers.iter().find_map(|answer| unknown(what, answer, names.iter().copied()).err()) {
            Some(why) => writeln!(out, "{why}")?,
            None => return Ok(answers),
        }
    }
}

fn unknown<'n>(what: &str, name: &str, mut names: impl Iterator<Item = &'n str> + Clone) -> anyhow::Result<()> {
    if names.clone().any(|known| known == name) {
        return Ok(());
    }
    let near = nearest(name, names.clone()).map(|near| format!("did you mean `{near}`?"));
    let all = near.unwrap_or_else(|| format!("there are: {}", names.by_ref().collect::<Vec<_>>().join(", ")));
    bail!("there is no {what} `{}`; {all}", crate::model::printable::Printable(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interview(answers: &str) -> (anyhow::Result<Option<Wanted>>, String) {
        let menu = Menu { senders: vec!["github", "orderchamp", OWN], outputs: ["slack", "http"].map(str::to_owned).to_vec() };
        let mut out = vec![];
        let wanted = menu.ask(&mut answers.as_bytes(), &mut out);
        (wanted, String::from_utf8(out).unwrap())
    }

    #[test]
    fn an_interview_ends_with_what_there_is() {
        let wanted = interview("orderchamp, github\nslack\n").0.unwrap().unwrap();
        assert_eq!((wanted.senders, wanted.outputs), (vec!["orderchamp".into(), "github".into()], vec!["slack".into()]));
        assert!(interview("\n").0.unwrap().is_none());
        let wanted = interview("internal\n\n").0.unwrap().unwrap();
        assert!(wanted.outputs.is_empty());
    }

    #[test]
    fn an_answer_that_is_none_is_asked_again() {
        let (wanted, said) = interview("githup\n?\ngithub\nsmoke\nhttp\n");
        assert_eq!(wanted.unwrap().unwrap().outputs, ["http"]);
        assert!(said.contains("there is no sender `githup`; did you mean `github`?"), "{said}");
        assert!(
            said.contains("github, orderchamp, internal") && said.contains("there is no type of output `smoke`; there are: slack, http"),
            "{said}"
        );
        assert!(interview("github\n").0.unwrap_err().to_string().contains("nobody answered"));
    }
}
