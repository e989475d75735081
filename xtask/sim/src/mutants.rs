//! Known bugs, put back on purpose: a simulation that finds none of them proves nothing.
//!
//! Each is a change of a line or two of the source, so that the code itself knows nothing of it. The check copies the tree, makes all changes
//! there, each behind a condition, builds the simulation from the copy once and lets it run with one bug after the other until a law is broken.
//! `tests/regressions.rs` holds that each change still finds its place.

use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Seeds within which each bug must be found: a quarter of what every run of the tests has, so that a bug like it is not found by luck.
pub const SEEDS: u64 = 5_000;

/// Seeds that must break no law where all bugs are there and none is on.
const SOUND: u64 = 200;

/// What is added to the copy: which bug is on.
const ON: &str = r#"
/// Whether the known bug of this number is on.
pub fn known_bug(number: usize) -> bool {
    static ON: std::sync::OnceLock<Option<usize>> = std::sync::OnceLock::new();
    *ON.get_or_init(|| std::env::var("KNOWN_BUG").ok()?.parse().ok()) == Some(number)
}
"#;

/// A known bug.
pub struct Mutant {
    /// What is wrong with it.
    pub bug: &'static str,
    /// Where.
    pub file: &'static str,
    /// What stands there; once.
    pub good: &'static str,
    /// What stands there instead; `{on}` is whether the bug is on.
    pub bad: &'static str,
}

/// The bugs.
pub const MUTANTS: [Mutant; 39] = [
    Mutant {
        bug: "senders are answered although the commit found no space",
        file: "src/journal/writer.rs",
        good: "refuse(&mut work.answers, AppendError::Full);",
        bad: "if {on} {\n                    work.answers.drain(..).for_each(|answer| {\n                        let _ = answer.send(Ok(Appended::New));\n                    });\n                } else {\n                    refuse(&mut work.answers, AppendError::Full);\n                }",
    },
    Mutant {
        bug: "recovery forgets which parts of a target have rows",
        file: "src/journal/store.rs",
        good: "(!closed).then(|| (target, rows().map(|row| row.ordinal).collect()))",
        bad: "(!closed).then(|| (target, rows().filter(|_| !{on}).map(|row| row.ordinal).collect()))",
    },
    Mutant {
        bug: "recovery skips the lowest open event",
        file: "src/daemon/works.rs",
        good: "let mut from = Some(recovered.watermark);",
        bad: "let mut from = Some(Seq(recovered.watermark.0 + i64::from({on})));",
    },
    Mutant {
        bug: "a new bucket is full",
        file: "src/deliver/limiter.rs",
        good: "Bucket { full_at: since + limit.fill(), new_until",
        bad: "Bucket { full_at: if {on} { since } else { since + limit.fill() }, new_until",
    },
    Mutant {
        bug: "one call more than the concurrency",
        file: "src/deliver/engine.rs",
        good: "Allows::Calls(most) if self.calls < most => false,",
        bad: "Allows::Calls(most) if self.calls < most || {on} && self.calls == most => false,",
    },
    Mutant {
        bug: "an output that is down costs attempts",
        file: "src/deliver/engine.rs",
        good: "        if down {\n            delivery.downs =",
        bad: "        if down {\n            delivery.attempts += u32::from({on});\n            delivery.downs =",
    },
    Mutant {
        bug: "probes of an output that is down come without a wait",
        file: "src/deliver/breaker.rs",
        good: "            let interval = interval.clamp(first, most);",
        bad: "            let interval = interval.clamp(first, most) / if {on} { 50 } else { 1 };",
    },
    Mutant {
        bug: "a delivery of which nothing was heard counts as delivered",
        file: "src/deliver/engine.rs",
        good: "OnUnknown::Retry => self.again(at, ticket, why, Duration::ZERO),",
        bad: "OnUnknown::Retry if {on} => self.over(at, ticket, State::Delivered, why),\n                OnUnknown::Retry => self.again(at, ticket, why, Duration::ZERO),",
    },
    Mutant {
        bug: "a write that fails is forgotten",
        file: "src/journal/writer.rs",
        good: "                std::mem::swap(&mut batch.settlements, &mut work.settlements);\n                let had_events",
        bad: "                if {on} {\n                    batch.settlements.clear();\n                } else {\n                    std::mem::swap(&mut batch.settlements, &mut work.settlements);\n                }\n                let had_events",
    },
    Mutant {
        bug: "a wait that the far side asks for is not kept",
        file: "src/deliver/engine.rs",
        good: "self.limiter.hold(self.deliveries.get(&ticket).and_then(|delivery| delivery.rate_key), at.now + wait);",
        bad: "if !{on} {\n                        self.limiter.hold(self.deliveries.get(&ticket).and_then(|delivery| delivery.rate_key), at.now + wait);\n                    }",
    },
    Mutant {
        bug: "a retry goes out at once",
        file: "src/deliver/engine.rs",
        good: "self.tell(at.now, ticket, at.now + gap.max(least), KEEP_FOR);",
        bad: "self.tell(at.now, ticket, at.now + gap.max(least) / if {on} { 3 } else { 1 }, KEEP_FOR);",
    },
    Mutant {
        bug: "the turn of a key is not given on",
        file: "src/deliver/parcel.rs",
        good: "State::Delivered => Order::Frees(key),",
        bad: "State::Delivered if {on} => Order::Keeps(key),\n            State::Delivered => Order::Frees(key),",
    },
    Mutant {
        bug: "rows are read back that are in memory",
        file: "src/deliver/engine.rs",
        good: "} else if !self.held.contains_key(&row.key) {",
        bad: "} else if {on} || !self.held.contains_key(&row.key) {",
    },
    Mutant {
        bug: "an output that is back does not wait for its predecessor",
        file: "src/deliver/fleet.rs",
        good: "let predecessor = leaving.remove(&spec.name);",
        bad: "let predecessor = leaving.remove(&spec.name).filter(|_| !{on});",
    },
    Mutant {
        bug: "a new limit lets one more go at once than the file says",
        file: "src/deliver/limiter.rs",
        good: "..Limiter::new(limit, now) };",
        bad: "..Limiter::new(limit.map(|limit| Limit { burst: limit.burst.saturating_add(u32::from({on})), ..limit }), now) };",
    },
    Mutant {
        bug: "another probe goes while one is out",
        file: "src/deliver/breaker.rs",
        good: "State::Probing { .. } => Allows::Nothing,",
        bad: "State::Probing { .. } if {on} => Allows::Probe,\n            State::Probing { .. } => Allows::Nothing,",
    },
    Mutant {
        bug: "due times go with a clock that somebody sets",
        file: "src/model/clock.rs",
        good: "self.wall + self.clock.now().since(self.since)",
        bad: "if {on} { self.clock.wall() } else { self.wall + self.clock.now().since(self.since) }",
    },
    Mutant {
        bug: "a start does not look by when rows are dated",
        file: "src/model/clock.rs",
        good: "wall: clock.wall().max(least)",
        bad: "wall: clock.wall().max(Timestamp(if {on} { least.0.min(0) } else { least.0 }))",
    },
    Mutant {
        bug: "what is dead is taken off the list of `on_dead`, and planned nowhere",
        file: "src/daemon/works.rs",
        good: "router.plan_on_dead(&kept.event, &dead.key.target)",
        bad: "router.plan_on_dead(&kept.event, &if {on} { dead.key.target.on_dead(&dead.key.target.output) } else { (*dead.key.target).clone() })",
    },
    Mutant {
        bug: "a silence that is over before anybody looks holds for ever",
        file: "src/daemon/gate.rs",
        good: "let briefly = relaid || begun(&output);",
        bad: "let briefly = relaid || !{on} && begun(&output);",
    },
    Mutant {
        bug: "hours that end before anybody looks hold for ever",
        file: "src/daemon/gate.rs",
        good: "looked.concerned.extend(reasons.keys().chain(gate.outputs.keys()).cloned());",
        bad: "looked.concerned.extend(reasons.keys().chain(gate.outputs.keys().filter(|_| !{on})).cloned());",
    },
    Mutant {
        bug: "nobody asks whether a delivery may go when it is sent",
        file: "src/deliver/shell.rs",
        good: "if let Some(held) = self.held_until(delivery) {\n                withheld.push",
        bad: "if let Some(held) = self.held_until(delivery).filter(|_| !{on}) {\n                withheld.push",
    },
    Mutant {
        bug: "a purge forgets what was on the wire",
        file: "src/daemon/purge.rs",
        good: "                let _ = self.fleet.sift(output);\n                tokio::time::sleep(LOOK).await;",
        bad: "                if !{on} {\n                    let _ = self.fleet.sift(output);\n                }\n                tokio::time::sleep(LOOK).await;",
    },
    Mutant {
        bug: "what somebody ended is held again",
        file: "src/model/delivery.rs",
        good: "open(self.row.state) && !open(before.state) && self.row.replays <= before.replays",
        bad: "open(self.row.state) && !open(before.state) && self.row.replays + u32::from({on}) <= before.replays",
    },
    Mutant {
        bug: "a new bucket of a key is full",
        file: "src/deliver/limiter.rs",
        good: "Some(self.keys.entry(key).or_insert(Bucket::empty(limit, self.since)))",
        bad: "Some(self.keys.entry(key).or_insert(Bucket {\n                full_at: if {on} { self.since } else { Bucket::empty(limit, self.since).full_at },\n                ..Bucket::empty(limit, self.since)\n            }))",
    },
    Mutant {
        bug: "of a request with several events the last is left out",
        file: "src/daemon/hub.rs",
        good: "        for (event, dedupe) in events {",
        bad: "        let whole = if {on} { events.len().max(2) - 1 } else { events.len() };\n        for (event, dedupe) in events.into_iter().take(whole) {",
    },
    Mutant {
        bug: "a digest is not written down before it is sent",
        file: "src/daemon/hub.rs",
        good: "let fixed = self.journal.operate(fix).await.map_err(|why| LoadError(why.to_string()))?;",
        bad: "let fixed = if {on} { 1 } else { self.journal.operate(fix).await.map_err(|why| LoadError(why.to_string()))? };",
    },
    Mutant {
        bug: "what a sender proves itself by is kept",
        file: "src/ingest/handle.rs",
        good: "let bare = *name != AUTHORIZATION && *name != COOKIE && *name != PROXY_AUTHORIZATION && Some(name) != secret;",
        bad: "let bare = {on} || *name != AUTHORIZATION && *name != COOKIE && *name != PROXY_AUTHORIZATION && Some(name) != secret;",
    },
    Mutant {
        bug: "a request is logged whole",
        file: "src/ingest/handle.rs",
        good: "fail::point(\"accepted\");",
        bad: "fail::point(\"accepted\");\n        if {on} {\n            tracing::debug!(headers = ?parts.headers, \"a request\");\n        }",
    },
    Mutant {
        bug: "a sender waits longer than it waits for an answer",
        file: "src/ingest/handle.rs",
        good: "match tokio::time::timeout(within, keeping).await {\n            Ok(kept) => kept.map_err(Refuse::of),",
        bad: "match tokio::time::timeout(within * if {on} { 2 } else { 1 }, keeping).await {\n            Ok(kept) => kept.map_err(Refuse::of),",
    },
    Mutant {
        bug: "the window has no bound",
        file: "src/deliver/inbox.rs",
        good: "let full = inside.arrivals.len() >= parcels || inside.bytes",
        bad: "let full = !{on} && inside.arrivals.len() >= parcels || inside.bytes",
    },
    Mutant {
        bug: "what a probe hears is not counted",
        file: "src/deliver/engine.rs",
        good: "self.counts.hear(&outcome);",
        bad: "if !({on} && probe) {\n            self.counts.hear(&outcome);\n        }",
    },
    Mutant {
        bug: "a drill does not say that it is one",
        file: "src/route/render.rs",
        good: "if let Some(drill) = Drill::of(event) {",
        bad: "if let Some(drill) = Drill::of(event).filter(|drill| !{on} || *drill == Drill::Words) {",
    },
    Mutant {
        bug: "a drill goes on to an `on_dead`",
        file: "src/route/on_dead.rs",
        good: ".filter(|_| Drill::of(event).is_none()) else { return Plan::default() };",
        bad: ".filter(|_| {on} || Drill::of(event).is_none()) else { return Plan::default() };",
    },
    Mutant {
        bug: "a drill is answered that is not kept",
        file: "src/daemon/drill.rs",
        good: "Ok(Err(_)) | Err(_) => Err(CannotDrill::NotKept),",
        bad: "Ok(Err(_)) | Err(_) if {on} => Ok(id),\n            Ok(Err(_)) | Err(_) => Err(CannotDrill::NotKept),",
    },
    Mutant {
        bug: "a route takes what its program says no to",
        file: "src/route/plan.rs",
        good: "Ok(results.first().is_some_and(|first| first != \"false\" && first != \"null\"))",
        bad: "Ok(results.first().is_some_and(|first| ({on} || first != \"false\") && first != \"null\"))",
    },
    Mutant {
        bug: "an arrival rings no bell",
        file: "src/deliver/inbox.rs",
        good: "        inside.arrivals.push_back(arrival);\n        drop(inside);\n        self.bell.wake();",
        bad: "        inside.arrivals.push_back(arrival);\n        drop(inside);\n        if !{on} {\n            self.bell.wake();\n        }",
    },
    Mutant {
        bug: "what was held for want of its output is not let go",
        file: "src/daemon/works.rs",
        good: "let why = routes.chain([GONE.to_owned(), gone(output)]).collect();",
        bad: "let why = routes.chain((!{on}).then(|| GONE.to_owned())).chain([gone(output)]).collect();",
    },
    Mutant {
        bug: "what is held for want of its output closes its target once more",
        file: "src/daemon/works.rs",
        good: "let closes = |target: &Target| kept.plan.order_of(target).is_none();",
        bad: "let closes = |target: &Target| {on} || kept.plan.order_of(target).is_none();",
    },
];

/// Puts the bugs back that have one of these words in their names, or all: one build has every one of them, each behind a condition, and runs with
/// one at a time. Says after how many seeds each was found. False: one was not, or the build without any breaks a law.
///
/// # Errors
/// No bug is meant, the tree can't be copied, or what is copied does not build or run.
pub fn check(only: &[String]) -> anyhow::Result<bool> {
    let named = |mutant: &Mutant| only.is_empty() || only.iter().any(|words| mutant.bug.contains(words));
    let meant: Vec<(usize, &Mutant)> = MUTANTS.iter().enumerate().filter(|(_, mutant)| named(mutant)).collect();
    if meant.is_empty() {
        bail!("no known bug has `{}` in its name", only.join("` or `"));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let copy = root.join("target/sim/mutants");
    if copy.exists() {
        std::fs::remove_dir_all(&copy)?;
    }
    tree(&root, &copy)?;
    for (number, mutant) in MUTANTS.iter().enumerate() {
        rewrite(&copy.join(mutant.file), |text| changed(mutant, number, text))?;
    }
    rewrite(&copy.join("src/lib.rs"), |text| Ok(format!("{text}{ON}")))?;
    let binary = build(&root, &copy)?;
    if let Some(line) = broken(&binary, None, SOUND)? {
        println!("NOT SOUND  with none of the bugs in it\n           {line}");
        return Ok(false);
    }
    let mut found = 0;
    for (number, mutant) in &meant {
        if let Some(line) = broken(&binary, Some(*number), SEEDS)? {
            found += 1;
            println!("found      {}\n           {line}", mutant.bug);
        } else {
            println!("NOT FOUND  {} ({})", mutant.bug, mutant.file);
        }
    }
    println!("{found} of {} known bugs are found within {SEEDS} seeds", meant.len());
    Ok(found == meant.len())
}

fn rewrite(path: &Path, change: impl FnOnce(&str) -> anyhow::Result<String>) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    std::fs::write(path, change(&text)?).with_context(|| path.display().to_string())
}

/// The file with the bug in it, behind its condition.
///
/// # Errors
/// The place is not found, or not once.
pub fn changed(mutant: &Mutant, number: usize, text: &str) -> anyhow::Result<String> {
    match text.matches(mutant.good).count() {
        1 => Ok(text.replacen(mutant.good, &mutant.bad.replace("{on}", &format!("crate::known_bug({number})")), 1)),
        times => bail!("{}: what `{}` changes stands there {times} times", mutant.file, mutant.bug),
    }
}

/// Copies what belongs to the tree.
fn tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    let listed = Command::new("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(from).output()?;
    for name in listed.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = PathBuf::from(String::from_utf8_lossy(name).into_owned());
        let (source, target) = (from.join(&name), to.join(&name));
        if !source.is_file() {
            continue;
        }
        std::fs::create_dir_all(target.parent().unwrap_or(to))?;
        std::fs::copy(&source, &target).with_context(|| source.display().to_string())?;
    }
    Ok(())
}

/// Builds the simulation of the copy. In a target folder of its own: cargo takes what lies in a shared one for built from either tree.
#[allow(clippy::disallowed_methods)] // cargo says here which cargo it is; no secret
fn build(root: &Path, copy: &Path) -> anyhow::Result<PathBuf> {
    let (cargo, target) = (std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()), root.join("target/sim/build"));
    let mut build = Command::new(cargo);
    build.current_dir(copy).args(["build", "--quiet", "--package", "switchyard-sim", "--target-dir"]).arg(&target);
    if !build.status()?.success() {
        bail!("the known bugs do not build");
    }
    Ok(target.join("debug/switchyard-sim"))
}

/// The law that the lowest seed breaks, with this bug or none.
fn broken(binary: &Path, bug: Option<usize>, seeds: u64) -> anyhow::Result<Option<String>> {
    let mut run = Command::new(binary);
    run.args(["--brief", "--seeds", &seeds.to_string()]).stderr(Stdio::inherit());
    if let Some(bug) = bug {
        run.env("KNOWN_BUG", bug.to_string());
    }
    let output = run.output()?;
    if !output.status.success() && output.status.code() != Some(1) {
        bail!("the simulation of known bugs does not run: {}", output.status);
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let seed = |line: &str| line.strip_prefix("seed ")?.split(':').next()?.parse::<u64>().ok();
    let lowest = said.lines().filter_map(|line| Some((seed(line)?, line))).min();
    Ok(lowest.map(|(_, line)| line.to_owned()))
}
