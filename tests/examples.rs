//! The folders of `examples/`, as a reader tries them: the real binary runs each `routes.yaml` as it stands (addresses and secrets come from the
//! environment), `switchyard check` has nothing to say, the sample events come in signed by `switchyard send`, and the far side is read.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "examples/bookkeeping.rs"]
mod bookkeeping;
#[path = "examples/erasure.rs"]
mod erasure;
#[path = "examples/exec.rs"]
mod exec;
#[path = "examples/leaping.rs"]
mod leaping;
#[path = "examples/notify.rs"]
mod notify;
#[path = "examples/shipping.rs"]
mod shipping;
#[path = "examples/stage.rs"]
mod stage;
#[path = "examples/warehouse.rs"]
mod warehouse;
mod yard;

use std::collections::BTreeSet;

/// Every folder of `examples/`, each with a module here.
const FOLDERS: [&str; 6] = ["bookkeeping", "erasure", "exec", "notify", "shipping", "warehouse"];

#[test]
fn every_folder_is_whole_tested_and_in_the_list_of_the_readme() {
    let read = |path: &str| std::fs::read_to_string(stage::root().join(path)).unwrap_or_default();
    let entries = std::fs::read_dir(stage::root().join("examples")).unwrap().map(Result::unwrap);
    let found: BTreeSet<String> =
        entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert_eq!(found, FOLDERS.map(str::to_owned).into(), "a folder of examples/ and FOLDERS in tests/examples.rs differ");
    let (readme, test) = (read("README.md"), read("tests/examples.rs"));
    for name in FOLDERS {
        assert!(test.contains(&format!("\nmod {name};")), "tests/examples.rs: no module `{name}`");
        assert!(readme.contains(&format!("(examples/{name}/README.md)")), "README.md: no link to examples/{name}/README.md");
        let (page, file) = (read(&format!("examples/{name}/README.md")), read(&format!("examples/{name}/routes.yaml")));
        assert!(page.starts_with("# ") && page.contains("## Try it"), "examples/{name}/README.md: no title, or no part `Try it`");
        for part in ["routes.yaml", "is down", "refuses", "is lost"] {
            assert!(page.contains(part), "examples/{name}/README.md says nothing of `{part}`");
        }
        assert!(!file.is_empty(), "examples/{name}/routes.yaml is not there");
        for event in stage::events(name) {
            let text = read(&format!("examples/{name}/events/{event}"));
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "examples/{name}/events/{event} is no JSON");
            assert!(page.contains(&event), "examples/{name}/README.md does not say what {event} is");
        }
    }
}
