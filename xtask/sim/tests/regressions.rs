//! Scenarios that once broke a law, and must never again; that a run repeats; and that the known bugs still find their places.

use std::path::Path;
use switchyard_sim::mutants::{MUTANTS, changed};
use switchyard_sim::scenario::Scenario;
use switchyard_sim::{generate, quiet, run};

#[test]
fn what_was_broken_once_is_mended() {
    quiet();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(!names.is_empty());
    for name in names {
        let scenario: Scenario = serde_json::from_str(&std::fs::read_to_string(&name).unwrap()).unwrap();
        let report = run(&scenario);
        assert_eq!(report.broken, None, "{}", name.display());
        assert!(report.calls > 0);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_another() {
    quiet();
    for seed in [1, 2, 3, 5, 8, 13, 21, 34] {
        let scenario = generate::scenario(seed);
        let (first, second) = (run(&scenario), run(&scenario));
        assert_eq!((first.trace, first.calls), (second.trace, second.calls), "seed {seed}");
        assert_ne!(first.trace, run(&generate::scenario(seed + 1_000)).trace);
    }
}

#[test]
fn known_bugs_find_their_places() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (number, mutant) in MUTANTS.iter().enumerate() {
        let text = std::fs::read_to_string(root.join(mutant.file)).unwrap();
        assert_ne!(changed(mutant, number, &text).unwrap(), text, "{}", mutant.bug);
    }
}
