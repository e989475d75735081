//! Known bugs, put back on purpose: a simulation that finds none of them proves nothing.
//!
//! Each is a change of a line or two of the source, so that the code itself knows nothing of it. The check copies the tree, makes the
//! change there, builds the simulation from the copy and lets it run until a law is broken. `tests/regressions.rs` holds that each
//! change still finds its place.

use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Seeds within which each bug must be found: as many as every run of the tests has. Most are found within hundreds; that hours are over, or a
/// purge comes, in just the wrong moment takes thousands.
pub const SEEDS: u64 = 20_000;

/// A known bug.
pub struct Mutant {
    /// What is wrong with it.
    pub bug: &'static str,
    /// Where.
    pub file: &'static str,
    /// What stands there; once.
    pub good: &'static str,
    /// What stands there instead.
    pub bad: &'static str,
}

/// The bugs.
pub const MUTANTS: [Mutant; 27] = [
    Mutant {
        bug: "senders are answered although the commit found no space",
        file: "src/journal/writer.rs",
        good: "refuse(&mut work.answers, AppendError::Full);",
        bad: "work.answers.drain(..).for_each(|answer| drop(answer.send(Ok(Appended::New))));",
    },
    Mutant {
        bug: "recovery forgets which parts of a target have rows",
        file: "src/journal/store.rs",
        good: "(!closed).then(|| (target, rows().map(|row| row.ordinal).collect()))",
        bad: "(!closed).then(|| (target, vec![]))",
    },
    Mutant {
        bug: "recovery skips the lowest open event",
        file: "src/daemon/works.rs",
        good: "let mut from = Some(recovered.watermark);",
        bad: "let mut from = Some(Seq(recovered.watermark.0 + 1));",
    },
    Mutant {
        bug: "a new bucket is full",
        file: "src/deliver/limiter.rs",
        good: "Bucket { full_at: since + limit.fill(), new_until",
        bad: "Bucket { full_at: since, new_until",
    },
    Mutant {
        bug: "one call more than the concurrency",
        file: "src/deliver/engine.rs",
        good: "Allows::Calls(most) if self.calls < most => false,",
        bad: "Allows::Calls(most) if self.calls <= most => false,",
    },
    Mutant {
        bug: "an output that is down costs attempts",
        file: "src/deliver/engine.rs",
        good: "        if down {\n            delivery.downs =",
        bad: "        if down {\n            delivery.attempts += 1;\n            delivery.downs =",
    },
    Mutant {
        bug: "probes of an output that is down come without a wait",
        file: "src/deliver/breaker.rs",
        good: "            let interval = interval.clamp(first, most);",
        bad: "            let interval = interval.clamp(first, most) / 50;",
    },
    Mutant {
        bug: "a delivery of which nothing was heard counts as delivered",
        file: "src/deliver/engine.rs",
        good: "OnUnknown::Retry => self.again(at, ticket, why, Duration::ZERO),",
        bad: "OnUnknown::Retry => self.over(at, ticket, State::Delivered, why),",
    },
    Mutant {
        bug: "a write that fails is forgotten",
        file: "src/journal/writer.rs",
        good: "                std::mem::swap(&mut batch.settlements, &mut work.settlements);\n                let had_events",
        bad: "                batch.settlements.clear();\n                let had_events",
    },
    Mutant {
        bug: "a wait that the far side asks for is not kept",
        file: "src/deliver/engine.rs",
        good: "self.limiter.hold(self.deliveries.get(&ticket).and_then(|delivery| delivery.rate_key), at.now + wait);",
        bad: "let _ = wait;",
    },
    Mutant {
        bug: "a retry goes out at once",
        file: "src/deliver/engine.rs",
        good: "self.tell(at.now, ticket, at.now + gap.max(least), KEEP_FOR);",
        bad: "self.tell(at.now, ticket, at.now + gap.max(least) / 3, KEEP_FOR);",
    },
    Mutant {
        bug: "the turn of a key is not given on",
        file: "src/deliver/parcel.rs",
        good: "State::Delivered => Order::Frees(key),",
        bad: "State::Delivered => Order::Keeps(key),",
    },
    Mutant {
        bug: "rows are read back that are in memory",
        file: "src/deliver/engine.rs",
        good: "} else if !self.held.contains_key(&row.key) {",
        bad: "} else {",
    },
    Mutant {
        bug: "an output that is back does not wait for its predecessor",
        file: "src/deliver/fleet.rs",
        good: "let predecessor = leaving.remove(&spec.name);",
        bad: "let predecessor = leaving.remove(&spec.name).filter(|_| false);",
    },
    Mutant {
        bug: "a new limit lets one more go at once than the file says",
        file: "src/deliver/limiter.rs",
        good: "..Limiter::new(limit, now) };",
        bad: "..Limiter::new(limit.map(|limit| Limit { burst: limit.burst.saturating_add(1), ..limit }), now) };",
    },
    Mutant {
        bug: "another probe goes while one is out",
        file: "src/deliver/breaker.rs",
        good: "State::Probing { .. } => Allows::Nothing,",
        bad: "State::Probing { .. } => Allows::Probe,",
    },
    Mutant {
        bug: "due times go with a clock that somebody sets",
        file: "src/model/clock.rs",
        good: "self.wall + self.clock.now().since(self.since)",
        bad: "self.clock.wall()",
    },
    Mutant {
        bug: "a start does not look by when rows are dated",
        file: "src/model/clock.rs",
        good: "wall: clock.wall().max(least)",
        bad: "wall: clock.wall().max(Timestamp(least.0.min(0)))",
    },
    Mutant {
        bug: "what is dead is taken off the list of `on_dead`, and planned nowhere",
        file: "src/daemon/works.rs",
        good: "router.plan_on_dead(&kept.event, &dead.key.target)",
        bad: "router.plan_on_dead(&kept.event, &dead.key.target.on_dead(&dead.key.target.output))",
    },
    Mutant {
        bug: "a silence that is over before anybody looks holds for ever",
        file: "src/daemon/gate.rs",
        good: "let briefly = relaid || begun(&output);",
        bad: "let briefly = relaid;",
    },
    Mutant {
        bug: "hours that end before anybody looks hold for ever",
        file: "src/daemon/gate.rs",
        good: "looked.concerned.extend(reasons.keys().chain(gate.outputs.keys()).cloned());",
        bad: "looked.concerned.extend(reasons.keys().cloned());",
    },
    Mutant {
        bug: "nobody asks whether a delivery may go when it is sent",
        file: "src/deliver/shell.rs",
        good: "if let Some(held) = self.held_until(delivery) {\n                withheld.push",
        bad: "if let Some(held) = self.held_until(delivery).filter(|_| false) {\n                withheld.push",
    },
    Mutant {
        bug: "a purge forgets what was on the wire",
        file: "src/daemon/purge.rs",
        good: "                let _ = self.fleet.sift(output);\n                tokio::time::sleep(LOOK).await;",
        bad: "                tokio::time::sleep(LOOK).await;",
    },
    Mutant {
        bug: "what somebody ended is held again",
        file: "src/model/delivery.rs",
        good: "open(self.row.state) && !open(before.state) && self.row.replays <= before.replays",
        bad: "open(self.row.state) && !open(before.state) && self.row.replays < before.replays",
    },
    Mutant {
        bug: "a new bucket of a key is full",
        file: "src/deliver/limiter.rs",
        good: "Some(self.keys.entry(key).or_insert(Bucket::empty(limit, self.since)))",
        bad: "Some(self.keys.entry(key).or_insert(Bucket { full_at: self.since, ..Bucket::empty(limit, self.since) }))",
    },
    Mutant {
        bug: "of a request with several events the last is left out",
        file: "src/daemon/hub.rs",
        good: "        for (event, dedupe) in events {",
        bad: "        let whole = events.len().max(2) - 1;\n        for (event, dedupe) in events.into_iter().take(whole) {",
    },
    Mutant {
        bug: "a digest is not written down before it is sent",
        file: "src/daemon/hub.rs",
        good: "let fixed = self.journal.operate(fix).await.map_err(|why| LoadError(why.to_string()))?;",
        bad: "let (fixed, _) = (1, fix);",
    },
];

/// Puts each bug back in turn and says after how many seeds it was found. False: one was not.
///
/// # Errors
/// The tree can't be copied, or a bug does not build.
pub fn check() -> anyhow::Result<bool> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let copy = root.join("target/sim/mutants");
    if copy.exists() {
        std::fs::remove_dir_all(&copy)?;
    }
    tree(&root, &copy)?;
    let mut found = 0;
    for mutant in &MUTANTS {
        let path = copy.join(mutant.file);
        let good = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        std::fs::write(&path, changed(mutant, &good)?)?;
        let said = seeds(&root, &copy)?;
        std::fs::write(&path, good)?;
        match said.lines().filter_map(|line| Some((line.strip_prefix("seed ")?.split(':').next()?.parse::<u64>().ok()?, line))).min() {
            Some((_, line)) => {
                found += 1;
                println!("found      {}\n           {line}", mutant.bug);
            }
            None => println!("NOT FOUND  {} ({})", mutant.bug, mutant.file),
        }
    }
    println!("{found} of {} known bugs are found within {SEEDS} seeds", MUTANTS.len());
    Ok(found == MUTANTS.len())
}

/// The file with the bug in it.
///
/// # Errors
/// The place is not found, or not once.
pub fn changed(mutant: &Mutant, text: &str) -> anyhow::Result<String> {
    match text.matches(mutant.good).count() {
        1 => Ok(text.replacen(mutant.good, mutant.bad, 1)),
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

/// Builds the simulation of the copy and runs seeds until a law is broken. In a target folder of its own: cargo takes what lies in a shared one
/// for built from either tree.
#[allow(clippy::disallowed_methods)] // cargo says here which cargo it is; no secret
fn seeds(root: &Path, copy: &Path) -> anyhow::Result<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut run = Command::new(cargo);
    run.current_dir(copy).args(["run", "--quiet", "--package", "switchyard-sim", "--target-dir"]).arg(root.join("target/sim/build"));
    // Of two bugs only a crate differs: what is not of the changed file is kept from the build before.
    run.env("CARGO_INCREMENTAL", "1");
    run.args(["--", "--brief", "--seeds", &SEEDS.to_string()]);
    let output = run.stderr(Stdio::inherit()).output()?;
    if output.status.success() || output.status.code() == Some(1) {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    bail!("it does not build or run: {}", output.status)
}
