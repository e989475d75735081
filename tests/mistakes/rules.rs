//! The rules of the configuration (`src/config/rules.yaml`) against the code: every id that is used is explained, every wrong
//! file breaks exactly the rule it stands under, every right one is good, and docs/problems.md is made of them.

use crate::shop::Shop;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use switchyard::config::rules::{self, Rule};

/// Rules that no text alone breaks.
const WITHOUT_A_FILE: [&str; 4] = ["encoding", "no-sections", "output-fails", "output-not-asked"];

#[test]
fn each_wrong_file_breaks_its_rule_alone_and_each_right_one_is_good() {
    let shop = Shop::open();
    let mut wrong = String::new();
    for rule in rules::all() {
        for (file, ids) in [(&rule.wrong, vec![rule.id.as_str()]), (&rule.right, vec![])] {
            let Some(file) = file else { continue };
            let (found, report) = found(&shop, file, BESIDE.contains(&rule.id.as_str()));
            if found != ids {
                wrong.extend(["\n## ", &rule.id, &format!(": {found:?} instead of {ids:?}\n{file}{report}\n")]);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    let without: BTreeSet<&str> = rules::all().iter().filter(|rule| rule.wrong.is_none()).map(|rule| rule.id.as_str()).collect();
    assert_eq!(without, BTreeSet::from(WITHOUT_A_FILE));
}

/// Rules of files beside the configuration, which drawing does not open: the program itself tells them.
const BESIDE: [&str; 1] = ["bad-certificate"];

/// The ids of what is found in a file, and the report.
fn found(shop: &Shop, file: &str, beside: bool) -> (Vec<String>, String) {
    let (found, report) = if beside {
        let output = shop.check(file, &["--json"]);
        (serde_json::from_slice(&output.stdout).unwrap(), String::from_utf8(output.stdout).unwrap())
    } else {
        shop.report(file)
    };
    let found: Vec<Value> = serde_json::from_value(found).unwrap();
    (found.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect(), report)
}

#[test]
fn every_id_in_the_code_is_explained_and_every_explained_one_is_in_the_code() {
    let used: BTreeSet<String> = sources().iter().flat_map(|path| ids(&std::fs::read_to_string(path).unwrap())).collect();
    let explained: BTreeSet<String> = rules::all().iter().map(|rule: &Rule| rule.id.clone()).collect();
    let new: Vec<_> = used.difference(&explained).collect();
    assert!(new.is_empty(), "add these to src/config/rules.yaml: {new:?}");
    let gone: Vec<_> = explained.difference(&used).collect();
    assert!(gone.is_empty(), "no code tells these any more, take them out of src/config/rules.yaml: {gone:?}");
}

/// The program's own files and those of its outputs.
fn sources() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && !["tests", "target"].contains(&name.as_str()) {
                walk(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs")
                && !["tests.rs", "wrong_files.rs", "testing.rs"].contains(&name.as_str())
            {
                found.push(path);
            }
        }
    }
    let mut found = vec![];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["src", "plugins"] {
        walk(&root.join(folder), &mut found);
    }
    found
}

/// The ids that a file tells problems by: what is given to a function that makes one, or stands as `id:`.
fn ids(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let made = regex::Regex::new(
        r#"(?x)
        (?: \bProblem::(?:error|warning) | \bTemplateProblem::new | \bWrong::(?:new|unknown) | \.says | self\.error | \bid: )
        \s* \(? \s* "([a-z]+(?:-[a-z]+)*)""#,
    )
    .unwrap();
    let told = regex::Regex::new(r#"=> "(unknown-[a-z]+)""#).unwrap();
    made.captures_iter(code).chain(told.captures_iter(code)).map(|found| found[1].to_owned()).collect()
}

#[test]
fn ids_are_found_however_they_are_made() {
    let code = "Problem::error(\n    \"a-b\", x); TemplateProblem::new(\"c\", y); self.error(\"d-e\", z); Wrong { id: \"f-g\" } => \"unknown-h\", says(\"no\")";
    assert_eq!(ids(code), ["a-b", "c", "d-e", "f-g", "unknown-h"]);
}

#[test]
fn the_pages_of_problems_and_of_senders_are_made_of_what_the_program_knows() {
    for (page, made) in [("docs/problems.md", rules::document()), ("docs/senders.md", switchyard::verify::page::document())] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        if std::env::var_os("WRITE_DOCS").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        assert!(std::fs::read_to_string(&path).unwrap_or_default() == made, "{page} is old: run this test with WRITE_DOCS=1");
    }
}

#[test]
fn check_explains_a_rule_by_its_id() {
    let shop = Shop::open();
    let run = |arguments: &[&str]| {
        let output = shop.run("check", arguments);
        (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (code, page) = run(&["--explain", "open-admin"]);
    assert!(code == 0 && page == rules::named("open-admin").unwrap().page(), "{code} {page}");
    let (code, near) = run(&["--explain", "opne-admin"]);
    assert_eq!((code, near.as_str()), (1, "switchyard: there is no rule `opne-admin`: did you mean `open-admin`?\n"));
    let (code, list) = run(&["--explain"]);
    assert_eq!((code, list.lines().count()), (0, rules::all().len() + 1), "{list}");
    let told = shop.check("rotues: []", &[]);
    let told = String::from_utf8(told.stderr).unwrap();
    assert!(told.ends_with("1 error\n`switchyard check --explain unknown-key` says more about the first\n"), "{told}");
}
