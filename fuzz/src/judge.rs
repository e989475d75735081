//! What is held over any configuration file, whoever wrote it: it is read, every place lies in the text, and no secret is told.
//! Used by fuzzing and by `tests/mistakes/mutated.rs`.

use std::sync::Arc;
use switchyard::config::{File, Report};
use switchyard::daemon::{blueprint, hidden};
use switchyard_api::AnyKind;

/// Draws a file as `check` and a reload do, and judges what is told. `secrets` are what the environment holds.
pub fn judge(file: &File, kinds: &[Arc<dyn AnyKind>], secrets: &[&str]) {
    let drawn = blueprint::draw(file, kinds);
    assert!(drawn.blueprint.is_some() || !drawn.problems.is_empty(), "refused without a word");
    for problem in &drawn.problems {
        let at = problem.at;
        assert!(at.start <= at.end && at.end <= file.text.len(), "{} at {at:?} of {} bytes", problem.id, file.text.len());
    }
    let hidden = file.tree.as_ref().map(|tree| hidden::literal_secrets(tree, kinds)).unwrap_or_default();
    let report = Report { file, problems: &drawn.problems, hidden: &hidden };
    let (json, text) = (report.json(), report.text(false));
    for found in json["problems"].as_array().into_iter().flatten() {
        assert!(found["line"].as_u64() >= Some(1) && found["column"].as_u64() >= Some(1), "{found}");
    }
    let kept = drawn.blueprint.map(|blueprint| blueprint.written.to_string()).unwrap_or_default();
    for told in [json.to_string(), text, kept] {
        let secret = secrets.iter().find(|secret| !secret.is_empty() && told.contains(**secret));
        assert!(secret.is_none(), "{secret:?} is shown in {told}");
    }
}
