//! `switchyard graph`: sources, routes and outputs as a picture.
//!
//! Does: draws the file; with `--live` what the daemon's outputs do at the moment. Never: needs a daemon for the file alone, or a library of
//! the page that shows it.

mod svg;

use super::client::{Admin, Client};
use super::{Exit, block_on, check, show};
use crate::daemon::blueprint::Blueprint;
use crate::model::OWN_SOURCE;
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

/// Draws the sources, routes and outputs of the configuration.
#[derive(Debug, clap::Args)]
pub struct Graph {
    /// The configuration; that of --config if not given.
    file: Option<PathBuf>,
    /// How: Mermaid text (for Markdown), or an SVG picture.
    #[arg(long, value_enum, default_value_t = Format::Mermaid)]
    format: Format,
    /// With what the running daemon's outputs did, and which of them do not work.
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    admin: Admin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Mermaid,
    Svg,
}

/// What is drawn: boxes in three columns from left to right, and edges between them.
#[derive(Debug, Default)]
struct Picture {
    /// Sources, routes, outputs.
    columns: [Vec<Node>; 3],
    edges: Vec<Edge>,
    /// From output to output, by their places: where what is dead goes.
    dead: Vec<(usize, usize)>,
}

#[derive(Debug)]
struct Node {
    name: String,
    /// What stands below the name.
    notes: Vec<String>,
    /// Whether something is wrong there.
    trouble: bool,
}

/// From a box of a column to one of the next, by their places.
#[derive(Debug)]
struct Edge {
    column: usize,
    from: usize,
    to: usize,
}

impl Graph {
    pub fn run(self) -> Result<Exit> {
        let file = self.file.as_ref().unwrap_or(&self.admin.config);
        let Some(blueprint) = check::good(file)? else { return Ok(Exit::No) };
        let live = if self.live {
            let said = block_on(async { Client::new(&self.admin)?.get("/api/outputs").await })?;
            let outputs = said["outputs"].as_array().cloned().unwrap_or_default();
            outputs.into_iter().filter_map(|output| Some((output["name"].as_str()?.to_owned(), output))).collect()
        } else {
            BTreeMap::new()
        };
        let picture = Picture::of(&blueprint, &live);
        match self.format {
            _ if self.admin.json => show::line(&picture.json()),
            Format::Mermaid => show::say(picture.mermaid().trim_end()),
            Format::Svg => show::say(svg::draw(&picture).trim_end()),
        }
        Ok(Exit::Done)
    }
}

impl Picture {
    fn of(blueprint: &Blueprint, live: &BTreeMap<String, Value>) -> Self {
        let mut picture = Picture::default();
        let plain = |name: &str| Node { name: name.to_owned(), notes: vec![], trouble: false };
        let mut sources: Vec<String> = blueprint.source_names().map(str::to_owned).collect();
        // The file's order is not known.
        sources.sort();
        picture.columns[2] = blueprint.outputs.iter().map(|plan| output(plan, live.get(&*plan.name))).collect();
        for (place, route) in blueprint.router.shown().enumerate() {
            let named: Vec<&str> = if route.from.is_empty() { vec![ANY] } else { route.from.iter().map(|name| &**name).collect() };
            for name in named {
                let from = sources.iter().position(|source| source == name).unwrap_or_else(|| {
                    sources.push(name.to_owned());
                    sources.len() - 1
                });
                picture.edges.push(Edge { column: 0, from, to: place });
            }
            for target in route.targets {
                let to = blueprint.outputs.iter().position(|plan| plan.name == target.output);
                picture.edges.extend(to.map(|to| Edge { column: 1, from: place, to }));
            }
            let notes = [(route.conditional, "with conditions"), (route.timed, "at its hours")];
            let notes = notes.into_iter().filter(|(has, _)| *has).map(|(_, note)| note.to_owned());
            let notes = route.topics.iter().map(|topic| (*topic).to_owned()).chain(notes).collect();
            picture.columns[1].push(Node { notes, ..plain(route.name) });
        }
        let place = |name: &str| blueprint.outputs.iter().position(|plan| *plan.name == *name);
        let stops = blueprint.router.last_stops().into_iter();
        picture.dead = stops.filter_map(|(from, to)| Some((place(from)?, place(to)?))).collect();
        picture.columns[0] = sources.iter().map(|name| plain(name)).collect();
        let own = sources.iter().position(|name| name == OWN_SOURCE);
        if let Some(own) = own {
            picture.columns[0][own].notes.push("what goes wrong here".into());
        }
        picture
    }

    fn json(&self) -> Value {
        let boxes = |column: &[Node]| column.iter().map(|one| json!({ "name": one.name, "notes": one.notes })).collect::<Vec<_>>();
        let edges = |of: usize| {
            let of = self.edges.iter().filter(move |edge| edge.column == of);
            let ends = |edge: &Edge| (&self.columns[edge.column][edge.from].name, &self.columns[edge.column + 1][edge.to].name);
            of.map(|edge| json!({ "from": ends(edge).0, "to": ends(edge).1 })).collect::<Vec<_>>()
        };
        let output = |nth: usize| &self.columns[2][nth].name;
        let dead = self.dead.iter().map(|(from, to)| json!({ "from": output(*from), "to": output(*to) }));
        json!({
            "sources": boxes(&self.columns[0]), "routes": boxes(&self.columns[1]), "outputs": boxes(&self.columns[2]),
            "takes": edges(0), "sends": edges(1), "on_dead": dead.collect::<Vec<_>>(),
        })
    }

    fn mermaid(&self) -> String {
        let mut out = "flowchart LR\n".to_owned();
        for (letter, (column, ends)) in ["s", "r", "o"].into_iter().zip(self.columns.iter().zip([("([", "])"), ("[", "]"), ("[[", "]]")])) {
            for (nth, one) in column.iter().enumerate() {
                let words = std::iter::once(&one.name).chain(&one.notes).map(|word| quoted(word)).collect::<Vec<_>>().join("<br/>");
                let _ = writeln!(out, "  {letter}{nth}{}\"{words}\"{}", ends.0, ends.1);
            }
        }
        for edge in &self.edges {
            let (from, to) = (["s", "r"][edge.column], ["r", "o"][edge.column]);
            let _ = writeln!(out, "  {from}{} --> {to}{}", edge.from, edge.to);
        }
        for (from, to) in &self.dead {
            let _ = writeln!(out, "  o{from} -. dead .-> o{to}");
        }
        for (nth, _) in self.columns[2].iter().enumerate().filter(|(_, one)| one.trouble) {
            let _ = writeln!(out, "  style o{nth} stroke:#c00,stroke-width:3px");
        }
        out
    }
}

/// The box of routes that take events of every source.
const ANY: &str = "any source";

fn output(plan: &crate::daemon::OutputPlan, live: Option<&Value>) -> Node {
    let mut notes = vec![plan.kind.clone()];
    if let Some(limit) = plan.policy.limit {
        let each = plan.policy.rate_key.as_ref().map(|key| format!(" for each {key}")).unwrap_or_default();
        let burst = if limit.burst.get() > 1 { format!(", burst {}", limit.burst) } else { String::new() };
        notes.push(format!("at most {}{burst}{each}", limit.rate));
    }
    if plan.hours.is_some() {
        notes.push("at its hours".into());
    }
    let mut trouble = false;
    if let Some(live) = live {
        notes.push(format!("{} delivered since the start", live["outcomes"]["delivered"].as_u64().unwrap_or(0)));
        if let Some(state) = live["state"].as_str().filter(|state| *state != "up") {
            notes.push(state.to_owned());
            trouble = true;
        }
        if live["paused"] == true {
            notes.push("paused".into());
            trouble = true;
        }
    }
    Node { name: plan.name.to_string(), notes, trouble }
}

/// Text inside Mermaid's quotes.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '"' | '#' | '<' | '>' | '&' | ';' | '`' | '|' => {
                let _ = write!(out, "#{};", u32::from(sign));
            }
            sign if sign.is_control() => out.push(' '),
            sign => out.push(sign),
        }
    }
    out
}
