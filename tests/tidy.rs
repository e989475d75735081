//! The house rules of the source tree, as tests: what a reader may rely on without looking.
//!
//! Reads the files; builds and runs nothing. Each failure says which file, which line and what to do. What is not begun
//! yet (a file without code) is left alone.

#[path = "tidy/markdown.rs"]
mod markdown;
#[path = "tidy/rust.rs"]
mod rust;
#[path = "tidy/source.rs"]
mod source;

use markdown::{commands, house, section};
use rust::{Function, code_only, functions, named_rooms, without_tests};
use source::{SourceFile, cli_has, exists, follow, is_executable, is_test, plugins, read, root, rust_files, tracked_texts};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Who may know whom: ARCHITECTURE.md says why. A room knows itself besides.
const ARROWS: &[(&str, &[&str])] = &[
    ("fail", &[]),
    ("model", &[]),
    ("config", &["model"]),
    ("verify", &["model"]),
    ("hours", &["model"]),
    ("route", &["hours", "model"]),
    ("trial", &["model", "route"]),
    ("journal", &["fail", "model"]),
    ("deliver", &["fail", "model"]),
    ("telemetry", &["model"]),
    ("alarm", &["model"]),
    ("ingest", &["fail", "model", "verify"]),
    ("daemon", &["fail", "model", "hours", "config", "verify", "route", "trial", "journal", "ingest", "deliver", "telemetry", "alarm"]),
    ("admin", &["model", "route", "journal", "deliver", "telemetry", "daemon"]),
    ("cli", &["model", "config", "verify", "route", "trial", "journal", "ingest", "deliver", "telemetry", "daemon", "admin"]),
];

/// Lines of a function; a longer one is cut into parts that have names.
const FUNCTION_MAX: usize = 70;
/// Functions over the limit that wait to be cut: file, function, lines. May shrink, never grow.
const GIANTS: &[(&str, &str, usize)] = &[];

/// Words that are never committed, and what to do instead.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("todo", "!"), "write it, or leave the seam out"),
    (concat!("unimplemented", "!"), "write it, or leave the seam out"),
    (concat!("dbg", "!"), "remove it"),
    (concat!("#[ig", "nore"), "mend the test or remove it"),
    (concat!("/ho", "me/"), "no path of one machine"),
    (concat!("/ro", "ot/"), "no path of one machine"),
    (concat!("/wo", "rk/"), "no path of one machine"),
];

#[test]
fn every_file_begins_by_saying_what_it_holds() {
    let silent: Vec<String> = rust_files()
        .into_iter()
        .filter(|file| file.is_begun() && !file.text.starts_with("//! "))
        .map(|file| format!("{}: begin with `//! ` and what the file does and never does", file.path))
        .collect();
    none(&silent);
}

#[test]
fn rooms_know_only_whom_they_may_know() {
    let rooms: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut wrong = vec![];
    for file in rust_files() {
        let Some(room) = file.room() else { continue };
        let Some(known) = rooms.get(room) else {
            wrong.push(format!("{}: the room `{room}` is not in ARROWS (tests/tidy.rs) nor in ARCHITECTURE.md", file.path));
            continue;
        };
        for (line, other) in named_rooms(&code_only(&file.text)) {
            if rooms.contains_key(other.as_str()) && other != room && !known.contains(&other.as_str()) {
                wrong.push(format!(
                    "{}:{line}: `{room}` may not know `{other}`: hand it in from `daemon`, or see ARCHITECTURE.md",
                    file.path
                ));
            }
        }
    }
    none(&wrong);
}

#[test]
fn the_table_of_arrows_is_that_of_the_map() {
    let map = read("ARCHITECTURE.md");
    let section = section(&map, "## Who may know whom");
    let missing: Vec<String> = ARROWS
        .iter()
        .filter(|(room, _)| !section.contains(&format!("`{room}`")))
        .map(|(room, _)| format!("ARCHITECTURE.md, \"Who may know whom\": says nothing of `{room}`"))
        .collect();
    none(&missing);
}

#[test]
fn an_output_depends_on_the_api_alone() {
    let mut wrong = vec![];
    for plugin in plugins() {
        let path = format!("plugins/{plugin}/Cargo.toml");
        // What only its tests use is its own affair: the suite's real servers, for one.
        let text = read(&path);
        for (number, line) in text.lines().enumerate().take_while(|(_, line)| *line != "[dev-dependencies]") {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            let ours = name == "switchyard" || name.starts_with("switchyard-");
            if ours && name != "switchyard-api" && !line.starts_with("name") {
                wrong.push(format!("{path}:{}: an output depends on `switchyard-api` alone, not on `{name}`", number + 1));
            }
        }
    }
    none(&wrong);
}

#[test]
fn every_output_is_in_the_list() {
    let manifest = read("plugins/all/Cargo.toml");
    let list = SourceFile::read("plugins/all/src/lib.rs");
    let mut missing = vec![];
    // The template is there to be copied, and no kind of the daemon's.
    for plugin in plugins().into_iter().filter(|plugin| plugin != "template") {
        let crate_name = format!("switchyard-{plugin}");
        if !manifest.lines().any(|line| line.starts_with(&format!("{crate_name} "))) {
            missing.push(format!("plugins/all/Cargo.toml: add `{crate_name} = {{ workspace = true, optional = true }}`"));
        }
        if list.is_begun() && !list.text.contains(&format!("switchyard_{plugin}")) {
            missing.push(format!("plugins/all/src/lib.rs: add `switchyard_{plugin}` to the list"));
        }
    }
    none(&missing);
}

#[test]
fn no_file_is_dead() {
    let mut alive = BTreeSet::new();
    let files = rust_files();
    let root = |path: &str| {
        path == "src/lib.rs"
            || path.ends_with("/src/lib.rs")
            || path.ends_with("src/main.rs")
            || path.ends_with("build.rs")
            || path.strip_prefix("tests/").is_some_and(|name| !name.contains('/') || name.ends_with("/main.rs"))
            || path.contains("/tests/") && path.matches('/').count() == 3
            || path.starts_with("fuzz/tests/")
            || path.starts_with("benches/") && path.matches('/').count() == 1
            || ["/examples/", "/benches/", "/bin/"].iter().any(|folder| path.contains(folder))
    };
    for file in files.iter().filter(|file| root(&file.path)) {
        follow(Path::new(&file.path), &mut alive);
    }
    let dead: Vec<String> = files
        .iter()
        .filter(|file| !alive.contains(Path::new(&file.path)))
        .map(|file| format!("{}: no `mod` leads here: add one, or remove the file", file.path))
        .collect();
    none(&dead);
}

#[test]
fn functions_are_short() {
    let mut wrong = vec![];
    let mut waiting: BTreeSet<(&str, &str)> = GIANTS.iter().map(|(path, name, _)| (*path, *name)).collect();
    for file in rust_files().into_iter().filter(|file| !is_test(&file.path)) {
        for function in functions(&without_tests(&code_only(&file.text))) {
            let giant = GIANTS.iter().find(|(path, name, _)| *path == file.path && *name == function.name);
            let most = giant.map_or(FUNCTION_MAX, |(_, _, lines)| *lines);
            if function.lines > FUNCTION_MAX {
                waiting.retain(|(path, name)| (*path, *name) != (file.path.as_str(), function.name.as_str()));
            }
            if function.lines > most {
                let Function { name, line, lines } = function;
                wrong.push(format!("{}:{line}: `{name}` has {lines} lines, the most is {most}: cut it into parts with names", file.path));
            }
        }
    }
    wrong.extend(waiting.iter().map(|(path, name)| format!("tests/tidy.rs: `{name}` of {path} is short now: remove it from GIANTS")));
    none(&wrong);
}

/// The one file that compares secrets, in constant time; `cargo xtask timing` measures it.
const COMPARES: &str = "src/model/equal.rs";

#[test]
fn secrets_are_compared_in_one_place() {
    let mut wrong = vec![];
    for file in rust_files().into_iter().filter(|file| file.path.starts_with("src/") && file.path != COMPARES && !is_test(&file.path)) {
        for (number, line) in without_tests(&code_only(&file.text)).lines().enumerate() {
            let compares = [" == ", " != ", ".eq(", ".ne(", "starts_with(", ".contains("].iter().any(|way| line.contains(way));
            let secret = [".expose()", "tag.bytes()", "digest("].iter().any(|secret| line.contains(secret));
            let own = ["ct_eq", "ConstantTimeEq", "subtle::", "constant_time"].iter().any(|word| line.contains(word));
            if own || (secret && compares) {
                wrong.push(format!("{}:{}: compare secrets, and what is made of them, by `model::equal`", file.path, number + 1));
            }
        }
    }
    // What a signature is decoded to, and what it should be, can't be compared otherwise.
    let key = read("src/verify/key.rs");
    let tag = key.split("struct Tag").next().and_then(|before| before.rsplit("\n\n").next()).unwrap_or_default();
    if !key.contains("struct Tag") || tag.contains("PartialEq") {
        wrong.push("src/verify/key.rs: `Tag` is not to be compared by `==`".into());
    }
    none(&wrong);
}

#[test]
fn the_map_names_what_exists() {
    let map = read("ARCHITECTURE.md");
    let block = section(&map, "## The house").split("```").nth(1).unwrap_or_default().to_owned();
    let missing: Vec<String> = house(&block)
        .into_iter()
        // The shipped configuration comes with the README.
        .filter(|path| exists("README.md") || path != "routes.yaml")
        .filter(|path| !exists(path))
        .map(|path| format!("ARCHITECTURE.md, \"The house\": there is no `{path}`"))
        .collect();
    assert!(house(&block).len() > 20, "the house is not found in ARCHITECTURE.md: {block}");
    none(&missing);
}

#[test]
fn every_room_is_on_the_map() {
    let block = section(&read("ARCHITECTURE.md"), "## The house");
    let missing: Vec<String> = rust_files()
        .iter()
        .filter_map(|file| file.room().map(str::to_owned))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .filter(|room| !block.contains(&format!("  {room}/ ")) && !block.contains(&format!("  {room}.rs ")))
        .map(|room| format!("ARCHITECTURE.md, \"The house\": add `{room}/` and what lives there"))
        .collect();
    none(&missing);
}

#[test]
fn commands_of_the_readme_exist() {
    if !exists("README.md") {
        return;
    }
    let readme = read("README.md");
    let known = ["cargo", "curl", "git", "cd", "switchyard", "export", "kill", "cat", "tail", "less", "sudo", "apt-get", "docker", "mkdir"];
    let mut wrong = vec![];
    for (number, command) in commands(&readme) {
        let Some(word) = command.split_whitespace().find(|word| !word.contains('=')) else { continue };
        if word.contains('/') {
            let path = word.trim_start_matches("./");
            let built = path.starts_with("target/");
            if !built && !exists(path) {
                wrong.push(format!("README.md:{number}: there is no `{path}`"));
            } else if !built && !is_executable(&root().join(path)) {
                wrong.push(format!("README.md:{number}: `{path}` is not executable: chmod +x {path}"));
            }
        } else if !known.contains(&word) {
            wrong.push(format!(
                "README.md:{number}: `{word}` is no program that a reader has; if he has, add it to `known` in tests/tidy.rs"
            ));
        } else if word == "switchyard" {
            let subcommand = command.split_whitespace().nth(1).unwrap_or_default();
            if !subcommand.starts_with('-') && !cli_has(subcommand) {
                wrong.push(format!("README.md:{number}: src/cli has no `{subcommand}`"));
            }
        }
    }
    none(&wrong);
}

#[test]
fn nothing_unfinished_and_no_path_of_one_machine() {
    let mut wrong = vec![];
    for (path, text) in tracked_texts() {
        for (number, line) in text.lines().enumerate() {
            for (word, instead) in FORBIDDEN.iter().filter(|(word, _)| line.contains(word)) {
                wrong.push(format!("{path}:{}: `{word}`: {instead}", number + 1));
            }
        }
    }
    none(&wrong);
}

/// Fails with everything that was found, a line each.
fn none(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}
