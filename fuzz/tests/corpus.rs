//! Every target over what is kept, and a few changes of each: the seeds, and what was found once. Without an engine, the same every time.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use switchyard_fuzz::input::{Chance, changed};
use switchyard_fuzz::target;

/// Changes of all inputs of a target together.
const CHANGES: usize = 600;

/// The inputs of a folder, by name.
fn inputs(folder: &str, name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(name);
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn run(name: &str, changes: usize) {
    let mut entry = target(name).unwrap().entry(Path::new(env!("CARGO_BIN_EXE_switchyard-fuzz")));
    let mut try_it = |what: &dyn Fn() -> String, input: &[u8]| {
        let held = catch_unwind(AssertUnwindSafe(|| entry(input)));
        assert!(held.is_ok(), "{name} does not hold for {}: {:?}", what(), String::from_utf8_lossy(input));
    };
    let seeds = inputs("corpus", name);
    assert!(seeds.len() >= 3, "fuzz/corpus/{name} has seeds");
    let kept: Vec<_> = seeds.into_iter().chain(inputs("regressions", name)).collect();
    for (path, input) in &kept {
        try_it(&|| path.display().to_string(), input);
    }
    try_it(&|| "nothing".to_owned(), b"");
    let mut chance = Chance::new(0x5eed);
    for nth in 0..changes {
        let ((path, input), (_, other)) = (&kept[chance.below(kept.len())], &kept[chance.below(kept.len())]);
        let input = changed(input, other, &mut chance);
        try_it(&|| format!("change {nth} of {}", path.display()), &input);
    }
}

macro_rules! targets {
    ($($name:ident: $changes:expr),* $(,)?) => {
        $(#[test] fn $name() { run(stringify!($name), $changes); })*

        #[test]
        fn every_target_is_here() {
            let here = [$(stringify!($name)),*];
            let all: Vec<&str> = switchyard_fuzz::TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(all, here, "fuzz/tests/corpus.rs runs what fuzz/src/lib.rs lists");
        }
    };
}

targets! {
    verify: CHANGES,
    http_head: CHANGES,
    envelope: CHANGES,
    numbers: CHANGES,
    // A file is read by all outputs; a program may take its whole tenth of a second.
    config: CHANGES / 4,
    route: CHANGES,
    filter: CHANGES,
    template: CHANGES,
    jq_worker: CHANGES / 4,
    glob: CHANGES,
    mail: CHANGES,
    http_out: CHANGES,
    escapers: CHANGES,
    file_name: CHANGES,
    exec_line: CHANGES,
    journal_row: CHANGES,
}
