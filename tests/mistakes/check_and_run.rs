//! `check` and `run` refuse the same files (L5), over the whole corpus of wrong ones and over right ones: the real binary, which
//! must not have listened where it refuses.

use crate::shop::Shop;
use crate::{GOOD, WARNINGS, wrong_files};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use switchyard::config::rules;

/// The exit code of a configuration that does not run.
const REFUSED: i32 = 78;
/// Longer than any start takes, also on a machine with other work.
const PATIENCE: Duration = Duration::from_mins(1);

/// Half of the corpus each, so that both cores of a small machine work.
#[test]
fn what_check_refuses_run_refuses_and_does_not_begin() {
    let files = wrong_files();
    assert!(files.len() > 250, "the corpus is not whole: {}", files.len());
    let (one, other) = files.split_at(files.len() / 2);
    let each = |part: &[String]| {
        let shop = Shop::open();
        part.iter().enumerate().filter_map(|(nth, file)| refused_by_both(&shop, file, nth)).collect::<String>()
    };
    let wrong = thread::scope(|scope| {
        let parts = [one, other].map(|part| scope.spawn(move || each(part)));
        parts.into_iter().map(|part| part.join().unwrap()).collect::<String>()
    });
    assert!(wrong.is_empty(), "{wrong}");
}

/// What is not as it should be about the refusal of a file. Starting the program costs most, so `check` is asked of every eighth,
/// and where files beside are at fault; of the others this asks what `check` is made of.
fn refused_by_both(shop: &Shop, file: &str, nth: usize) -> Option<String> {
    let (_, told) = shop.report(file);
    let mut checked = errors(&told);
    std::fs::write(shop.path().join("routes.yaml"), file).unwrap();
    if checked.is_empty() || nth.is_multiple_of(8) {
        let check = shop.run("check", &[]);
        checked = errors(&String::from_utf8_lossy(&check.stderr)).into_iter().filter(|_| check.status.code() == Some(1)).collect();
    }
    let run = run(shop);
    let ran = errors(&String::from_utf8_lossy(&run.stderr));
    let begun = shop.path().join("data").exists() || String::from_utf8_lossy(&run.stdout).contains("events   http");
    let same = run.status.code() == Some(REFUSED) && checked == ran && !checked.is_empty() && !begun;
    (!same).then(|| format!("########\n{file}\ncheck: {checked:?}\nrun: {run:?}\n"))
}

/// The headlines of the errors: `error[unknown-key]: …`.
fn errors(report: &str) -> Vec<String> {
    report.lines().filter(|line| line.starts_with("error[")).map(str::to_owned).collect()
}

/// `run`, which is expected to end by itself; it is ended where it does not.
fn run(shop: &Shop) -> Output {
    let mut child = shop.command("run").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE || child.stdout.is_none() {
            child.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

#[test]
fn what_check_accepts_run_begins_with() {
    let warned = rules::all().iter().filter(|rule| WARNINGS.contains(&rule.id.as_str())).filter_map(|rule| rule.wrong.as_deref());
    let good = GOOD.replace("listen: 127.0.0.1:8080", "listen: 127.0.0.1:0").replace("listen: 127.0.0.1:8081", "listen: 127.0.0.1:0");
    let some = ["weak-token", "bad-certificate", "on-dead-circle"].map(|id| rules::named(id).unwrap().right.as_deref().unwrap());
    for file in warned.chain(some).chain([good.as_str()]) {
        let shop = Shop::open();
        let file = elsewhere(file);
        let check = shop.check(&file, &[]);
        assert_eq!(check.status.code(), Some(0), "{file}\n{check:?}");
        let mut child = shop.command("run").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = begins(&mut child);
        assert!(said.contains("events   http"), "{file}\n{said}");
    }
}

/// With ports that the system chooses, and nothing of the machine's free space needed.
fn elsewhere(file: &str) -> String {
    let mut out = file.to_owned();
    if !out.contains("server:") {
        out += "\nserver: { listen: \"127.0.0.1:0\", admin: { listen: \"127.0.0.1:0\" } }";
    }
    out.replace("server: { admin: { token", "server: { listen: \"127.0.0.1:0\", admin: { listen: \"127.0.0.1:0\", token")
        .replace("server: { tls", "server: { listen: \"127.0.0.1:0\", admin: { listen: \"127.0.0.1:0\" }, tls")
}

/// What it says until it listens, or ends; then it is ended.
fn begins(child: &mut Child) -> String {
    let mut said = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        said += &line.unwrap();
        said.push('\n');
        if said.contains("events   http") {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    if !said.contains("events   http") {
        let _ = child.stderr.take().unwrap().read_to_string(&mut said);
    }
    said
}
