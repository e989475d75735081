//! `type: exec`: hands each delivery to a program of yours: one JSON line in, one JSON line out.
//!
//! ```yaml
//! stock:
//!   type: exec
//!   command: [python3, stock.py]      # a list; no shell reads it
//!   env: { STOCK_KEY: "${STOCK_KEY}" } # all that it sees, and a PATH of /usr/local/bin:/usr/bin:/bin
//!   message: { sku: "{{ data.sku }}" } # message: handed over as it is rendered
//! ```
//!
//! The program is started with the first delivery and kept. It reads a line a delivery on standard input:
//!
//! ```json
//! {"delivery":"dlv_9a4b","event":"evt_01","attempt":1,"source":"shop","topic":"ORDER_PAID","route":"all","received_at":"2026-03-02T10:00:00.000Z","payload":"{\"sku\": 7}","payload_type":"application/json","message":{"sku":"7"}}
//! ```
//!
//! `payload` is the exact text of the event, or the result of `transform`; bytes that are no UTF-8 come as `payload_base64`.
//! `replay` is there, and true, where somebody asked for it again. `delivery` is the same at every attempt: keep it to know a
//! repeat. The program writes a line for each to standard output, in any order, and flushes it:
//!
//! ```json
//! {"delivery":"dlv_9a4b","outcome":"delivered","detail":"6 left"}
//! {"delivery":"dlv_9a4b","outcome":"retry","detail":"the shop is busy","after":"30s"}
//! ```
//!
//! `outcome` is `delivered`, `retry`, `down`, `misconfigured`, `rejected` or `unknown`; `detail`, `after` (of `retry` and `down`)
//! and `attempt` (which one is meant) may be left out. Anything else on standard output is a mistake; words for people go to
//! standard error, whose last lines stand in the reason when the program dies. Where the input ends, the program ends.
//!
//! | key | default | what |
//! | --- | --- | --- |
//! | `command` | | program and arguments; a program without `/` is looked for in `PATH`, one with `/` from `cwd` |
//! | `mode` | `stay` | `once`: a program for each delivery, whose exit code is the answer |
//! | `env` | nothing | the whole environment; secrets belong here, not into `command`, which everybody on the machine sees |
//! | `cwd` | the folder of routes.yaml | where it runs |
//! | `memory` | `1GiB` | address space of each of its processes; Node.js and Java reserve far more than they use: give them `32GiB` |
//! | `cpu` | `1m` | CPU time of a delivery: what uses more is ended by the system |
//! | `max_batch` | 1 | lines that are handed over without waiting for answers; more than one in `stay` alone |
//!
//! `concurrency` is 1 unless the file says more: so many calls are open at a time, all with the one program in `stay`, and as many
//! programs in `once`. `timeout` bounds an attempt.
//!
//! | what happens in `stay` | outcome |
//! | --- | --- |
//! | it answers | as it says |
//! | it dies, closes its output, or writes what is no answer; the delivery was read and not answered | unknown |
//! | the same, and the delivery was still in the pipe | down |
//! | it rests after a death: half a second, then twice as long each time, up to a minute | down |
//! | there is no such program or folder, or it ended with 77, 78, 126 or 127 | misconfigured |
//! | no answer in time, but others were answered | unknown |
//! | no answer in time, and nothing was said since | as when it dies: it is killed |
//! | its turn does not come in time | retry |
//! | its line would have more than 16 MiB | rejected |
//!
//! In `once` the program gets the same line, then the end of input. The last line of its output is the detail:
//!
//! | how it ends | outcome |
//! | --- | --- |
//! | 0 | delivered |
//! | 65 (`EX_DATAERR`) | rejected |
//! | 69 (`EX_UNAVAILABLE`) | down |
//! | 77, 78 (`EX_NOPERM`, `EX_CONFIG`), 126, 127 (cannot be run, not found) | misconfigured |
//! | 75 (`EX_TEMPFAIL`) and any other code | retry |
//! | killed by a signal, or not ended in time | unknown |
//!
//! Each program has a process group of its own, which is killed with it: when it dies, hangs, or the output is closed, five seconds
//! after its input was. Values of `env`, and of `${…}` in `command`, are masked in all that is shown of its words, as they are
//! written there: a program that encodes them differently shows them.
//!
//! Never: lets a value of an event reach the command, the environment or a shell (L8); answers for the program; keeps one that
//! hangs. Proven by `tests/real.rs` and `tests/examples.rs`.

pub mod answer;
mod keeper;
pub mod line;
mod once;
mod program;
mod reader;
mod recipe;
pub mod stderr;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::escape::Escape;
use switchyard_api::tree::{self, Node, Value};
use switchyard_api::{
    At, CheckError, Confine, ConnectError, Defaults, Field, Kind, Kit, Output, Parcel, Period, Preview, Problem, Secret, Settle, Shape,
    Size, Span,
};

use keeper::Keeper;
use recipe::Recipe;
use stderr::Shown;

/// Most lines that are handed over at once.
const BATCH_MAX: usize = 1_000;
/// Address space where the file says nothing.
const MEMORY: Size = Size(1 << 30);
/// Less than this, and no program starts.
const MEMORY_MIN: Size = Size(16 << 20);
/// CPU time of a delivery where the file says nothing.
const CPU: Period = Period(Duration::from_mins(1));

/// Settings of an exec output.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// Program and arguments; hidden, since one may hold what `${…}` stood for.   example: [python3, stock.py]
    pub command: At<Vec<At<Secret>>>,
    /// Whether the program stays or is run for each delivery.   default: stay
    #[serde(default)]
    pub mode: Mode,
    /// Its whole environment. Secrets.
    #[serde(default)]
    pub env: BTreeMap<String, At<Secret>>,
    /// Where it runs, from the folder of routes.yaml.   default: that folder
    #[serde(default)]
    pub cwd: Option<String>,
    /// Address space of each of its processes.   default: 1GiB
    #[serde(default)]
    pub memory: Option<At<Size>>,
    /// CPU time of a delivery.   default: 1m
    #[serde(default)]
    pub cpu: Option<At<Period>>,
    /// Lines that are handed over without waiting for answers.   default: 1
    #[serde(default)]
    pub max_batch: Option<At<usize>>,
    /// Values of `${…}` in the command: masked in what is shown. Filled by reading, no key of the file.
    #[serde(skip)]
    pub hidden: Vec<(Span, Secret)>,
}

/// Whether a program stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Started once, answers each delivery by a line.
    #[default]
    Stay,
    /// Started for each delivery, answers by its exit code.
    Once,
}

/// `exec`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Exec;

impl Kind for Exec {
    type Config = Config;
    type Output = ExecOutput;

    fn name(&self) -> &'static str {
        "exec"
    }

    fn docs(&self) -> &'static str {
        "Each delivery to a program of yours, as a JSON line."
    }

    fn example(&self) -> &'static str {
        "{ type: exec, command: [python3, program.py] }"
    }

    fn fields(&self) -> Vec<Field> {
        vec![Field {
            name: "message".into(),
            docs: "Names and templates that the program gets as `message`.".into(),
            shape: Shape::Map,
            escape: Escape::None,
            confine: Confine::Content,
            required: false,
            default: None,
            cap: None,
        }]
    }

    fn defaults(&self, _config: &Config) -> Defaults {
        Defaults { concurrency: Some(1), ..Defaults::default() }
    }

    fn read(&self, settings: &Node, problems: &mut Vec<Problem>) -> Option<Config> {
        let config: Config = tree::read(settings, problems)?;
        let words = settings.get("command").map_or(&[][..], |command| match &command.value {
            Value::List(words) => words,
            _ => &[],
        });
        let replaced = |word: &Node| match &word.value {
            Value::Text(text) => text.replaced.clone().map(|secret| (word.span, secret)),
            _ => None,
        };
        Some(Config { hidden: words.iter().filter_map(replaced).collect(), ..config })
    }

    fn validate(&self, config: &Config) -> Vec<Problem> {
        let mut problems = vec![];
        judge_command(config, &mut problems);
        judge_env(config, &mut problems);
        judge_limits(config, &mut problems);
        problems
    }

    fn preview(&self, config: &Config, _kit: &Kit, parcel: &Parcel) -> Option<Result<Preview, String>> {
        let shown = shown(config);
        let words = config.command.value.iter().map(|word| shown.line(word.value.expose()));
        let method = match config.mode {
            Mode::Stay => "WRITE TO",
            Mode::Once => "RUN",
        };
        let command = words.collect::<Vec<_>>().join(" ");
        Some(line::line(parcel).map(|line| Preview { body: line.into(), ..Preview::new(method, command) }))
    }

    async fn connect(&self, config: Config, kit: &Kit) -> Result<ExecOutput, ConnectError> {
        let wrong = |error: std::io::Error| ConnectError(format!("there is no folder to run in: {error}"));
        // Whole, since the program is looked for from here and runs there.
        let cwd = std::path::absolute(kit.base.join(config.cwd.as_deref().unwrap_or("."))).map_err(wrong)?;
        let recipe = Arc::new(Recipe {
            output: Arc::clone(&kit.output),
            shown: shown(&config),
            command: config.command.value.into_iter().map(|word| word.value).collect(),
            env: config.env.into_iter().map(|(name, value)| (name, value.value)).collect(),
            cwd,
            memory: config.memory.map_or(MEMORY, |memory| memory.value).0,
            cpu: config.cpu.map_or(CPU, |cpu| cpu.value).0,
            timeout: kit.timeout,
        });
        Ok(ExecOutput {
            run: match config.mode {
                Mode::Stay => Run::Stay(Keeper::new(recipe)),
                Mode::Once => Run::Once(recipe),
            },
            max_batch: config.max_batch.map_or(1, |most| most.value),
        })
    }
}

/// How its words and its command are shown: without the values of `env`, and of `${…}` in the command.
fn shown(config: &Config) -> Shown {
    Shown::hiding(config.env.values().map(|value| &value.value).chain(config.hidden.iter().map(|(_, secret)| secret)))
}

fn judge_command(config: &Config, problems: &mut Vec<Problem>) {
    let command = &config.command;
    if command.value.first().is_none_or(|program| program.value.expose().trim().is_empty()) {
        let problem = Problem::error("bad-command", command.span, "the command is empty", "no program");
        problems.push(problem.help("write `command: [python3, notify.py]`"));
    }
    for word in &command.value {
        let hidden = config.hidden.iter().any(|(at, _)| *at == word.span);
        if word.value.expose().contains('\0') {
            problems.push(Problem::error("bad-command", word.span, "no command can hold a zero byte", "here").help("take it away"));
        }
        if !hidden && let Some(at) = word.value.expose().find("{{") {
            let problem =
                Problem::error("bad-command", word.span, "a command holds no template", "here").within(at..word.value.expose().len());
            problems.push(problem.help("put it into `message:`: the program reads it on its standard input"));
        }
        if hidden {
            let problem = Problem::warning("visible-secret", word.span, "everybody on this machine can see a command", "here");
            problems.push(problem.help("put a secret into `env:`, and keep this if it is none"));
        }
    }
}

fn judge_env(config: &Config, problems: &mut Vec<Problem>) {
    for (name, value) in &config.env {
        if name.is_empty() || name.contains(['=', '\0']) {
            let problem = Problem::error("bad-env", value.span, format!("`{}` is not a name", name.replace('\0', "\\0")), "of this value");
            problems.push(problem.help("write letters, digits and `_`, such as `STOCK_KEY`"));
        }
        if value.value.expose().contains('\0') {
            problems.push(Problem::error("bad-env", value.span, "no value can hold a zero byte", "here").help("take it away"));
        }
    }
}

fn judge_limits(config: &Config, problems: &mut Vec<Problem>) {
    let mut wrong = |at: Span, title: String, help: &str| problems.push(Problem::error("wrong-value", at, title, "here").help(help));
    if let Some(memory) = config.memory.filter(|memory| memory.value < MEMORY_MIN) {
        wrong(memory.span, format!("no program starts with {} of memory", memory.value), "write at least `16MiB`; `1GiB` suits most");
    }
    if let Some(cpu) = config.cpu.filter(|cpu| cpu.value.0 < Duration::from_secs(1)) {
        wrong(cpu.span, format!("{} of CPU time cannot be measured", cpu.value), "write at least `1s`");
    }
    let Some(most) = config.max_batch else { return };
    if !(1..=BATCH_MAX).contains(&most.value) {
        wrong(most.span, format!("{} lines at once cannot be", most.value), "write a number from 1 to 1000");
    } else if most.value > 1 && config.mode == Mode::Once {
        wrong(most.span, "a program that runs once has one delivery".into(), "take `max_batch` away, or `mode: once`");
    }
}

/// A program, or one for each delivery.
#[derive(Debug)]
pub struct ExecOutput {
    run: Run,
    max_batch: usize,
}

#[derive(Debug)]
enum Run {
    Stay(Keeper),
    Once(Arc<Recipe>),
}

impl Output for ExecOutput {
    fn max_batch(&self) -> usize {
        self.max_batch
    }

    fn deliver<'a>(&'a self, parcels: Vec<Parcel>, settle: &'a Settle) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            match &self.run {
                Run::Stay(keeper) => keeper.deliver(&parcels, settle).await,
                Run::Once(recipe) => {
                    for parcel in &parcels {
                        once::run(recipe, parcel, settle).await;
                    }
                }
            }
        })
    }

    /// Starts a program that stays and sees that it does not end at once. One that runs once is only looked for: to run it is to deliver.
    fn check(&self) -> BoxFuture<'_, Result<(), CheckError>> {
        Box::pin(async move {
            match &self.run {
                Run::Stay(keeper) => keeper.check().await.map_err(CheckError),
                Run::Once(recipe) => recipe.find().map(drop).map_err(CheckError),
            }
        })
    }

    /// Closes the input of the program and waits for its end, five seconds at most.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Run::Stay(keeper) = &self.run {
                keeper.close().await;
            }
        })
    }
}

#[cfg(test)]
mod tests;
