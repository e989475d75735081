//! The file changes in every way in which files change, and the daemon that runs on it takes the new one whole or goes on with what it has.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

mod yard;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use yard::{Yard, lines, usual, wait_for};

fn to(output: &str) -> String {
    format!("{}routes: [{{ name: all, to: {output} }}]\noutputs: {{ {output}: {{ type: file, path: {output}.ndjson }} }}\n", usual())
}

/// A daemon on a file that is laid there by hand.
fn yard(lay: impl FnOnce(&Yard)) -> Yard {
    let yard = Yard::new("");
    lay(&yard);
    yard.start()
}

fn runs(yard: &Yard, output: &str) {
    wait_for(&format!("{output} to run"), || yard.admin("GET", "/api/outputs", "").json().to_string().contains(output));
}

/// An event goes where the file says that is thought to run.
fn goes_to(yard: &Yard, output: &str) {
    let before = if yard.path(&format!("{output}.ndjson")).exists() { lines(&yard.path(&format!("{output}.ndjson"))).len() } else { 0 };
    // Another body each time: a repeat would go nowhere.
    let event = yard.post("A", &format!("\"{output} {before}\""));
    yard.wait_state(&event, output, "delivered");
}

fn told(yard: &Yard, what: &str) -> usize {
    yard.log().matches(what).count()
}

#[test]
fn an_editor_renames_over_git_removes_and_makes_and_somebody_writes_in_place() {
    let yard = yard(|yard| yard.write_whole(&to("one")));
    let file = yard.path("routes.yaml");
    let editor = |text: &str| {
        let swap = yard.path("routes.yaml~");
        fs::write(&swap, text).unwrap();
        fs::rename(&swap, &file).unwrap();
    };
    let git = |text: &str| {
        fs::remove_file(&file).unwrap();
        fs::write(&file, text).unwrap();
    };
    let in_place = |text: &str| fs::write(&file, text).unwrap();
    for (nth, write) in [&editor as &dyn Fn(&str), &git, &in_place, &editor].into_iter().enumerate() {
        let output = format!("way{nth}");
        write(&to(&output));
        runs(&yard, &output);
        goes_to(&yard, &output);
    }
    assert_eq!(told(&yard, "the new configuration runs"), 4);
    assert_eq!(told(&yard, "ERROR"), 0, "{}", yard.log());
}

/// As a config map: the file is a link through `..data`, which is a link that is swapped.
#[test]
fn a_config_map_swaps_its_link() {
    let yard = yard(|yard| {
        version_of_map(yard, "..1", &to("one"));
        symlink("..1", yard.path("..data")).unwrap();
        fs::remove_file(yard.path("routes.yaml")).unwrap();
        symlink("..data/routes.yaml", yard.path("routes.yaml")).unwrap();
    });
    goes_to(&yard, "one");
    for (nth, output) in ["two", "three"].into_iter().enumerate() {
        let name = format!("..{}", nth + 2);
        version_of_map(&yard, &name, &to(output));
        symlink(&name, yard.path("..data_tmp")).unwrap();
        fs::rename(yard.path("..data_tmp"), yard.path("..data")).unwrap();
        fs::remove_dir_all(yard.path(&format!("..{}", nth + 1))).unwrap();
        runs(&yard, output);
        goes_to(&yard, output);
    }
}

/// As a deployment: a link in another folder than the one that the file is named in; nobody tells of it.
#[test]
fn a_deployment_swaps_a_link_elsewhere() {
    let elsewhere = tempfile::tempdir().unwrap();
    let release = |name: &str, text: &str| {
        fs::create_dir(elsewhere.path().join(name)).unwrap();
        fs::write(elsewhere.path().join(name).join("routes.yaml"), text).unwrap();
        symlink(name, elsewhere.path().join("next")).unwrap();
        fs::rename(elsewhere.path().join("next"), elsewhere.path().join("current")).unwrap();
    };
    let yard = yard(|yard| {
        release("1", &to("one"));
        fs::remove_file(yard.path("routes.yaml")).unwrap();
        symlink(elsewhere.path().join("current/routes.yaml"), yard.path("routes.yaml")).unwrap();
    });
    goes_to(&yard, "one");
    release("2", &to("two"));
    runs(&yard, "two");
    goes_to(&yard, "two");
}

#[test]
fn a_half_written_file_changes_nothing_and_the_whole_one_runs() {
    let yard = yard(|yard| yard.write_whole(&to("one")));
    let whole = to("two");
    let half = &whole[..whole.find("file, path").unwrap()];
    fs::write(yard.path("routes.yaml"), half).unwrap();
    wait_for("the half to be refused", || told(&yard, "what runs is unchanged") == 1);
    goes_to(&yard, "one");
    fs::write(yard.path("routes.yaml"), &whole).unwrap();
    runs(&yard, "two");
    goes_to(&yard, "two");
}

/// Empty, then away, then back: each is told once, and what ran goes on all the time.
#[test]
fn an_empty_file_and_no_file_keep_what_runs_and_are_told_once() {
    let yard = yard(|yard| yard.write_whole(&to("one")));
    let file = yard.path("routes.yaml");
    fs::write(&file, "").unwrap();
    wait_for("the empty file to be told", || told(&yard, "the file is empty") == 1);
    goes_to(&yard, "one");
    fs::remove_file(&file).unwrap();
    wait_for("the file that is away to be told", || told(&yard, "is gone: put it back; what ran goes on") == 1);
    goes_to(&yard, "one");
    let aside = yard.path("aside.yaml");
    fs::write(&aside, to("one")).unwrap();
    fs::rename(&aside, &file).unwrap();
    wait_for("that it is back to be told", || told(&yard, "the configuration is as it was") == 1);
    goes_to(&yard, "one");
    assert_eq!((told(&yard, "the file is empty"), told(&yard, "is gone: put it back")), (1, 1), "{}", yard.log());
    assert_eq!(told(&yard, "the new configuration runs"), 0, "it ran all the time");
}

fn version_of_map(yard: &Yard, name: &str, text: &str) {
    let folder: &Path = &yard.path(name);
    fs::create_dir(folder).unwrap();
    fs::write(folder.join("routes.yaml"), text).unwrap();
}

/// The file is another while the daemon reads it, opens its journal, and does not watch yet.
#[test]
fn a_change_while_it_starts_is_not_missed() {
    let many = |output: &str| {
        let routes = (0..400).map(|nth| format!("  - {{ name: r{nth}, topic: T{nth}, to: {output} }}")).collect::<Vec<_>>().join("\n");
        to(output).replace("routes: [", &format!("routes:\n{routes}\n  - ")).replace(" }]\noutputs", " }\noutputs")
    };
    let mut yard = Yard::new("");
    yard.write_whole(&many("one"));
    let folder = yard.folder.path().to_owned();
    let swapped = std::thread::spawn(move || {
        // It was read: the journal is opened after that.
        wait_for("the journal", || folder.join("data/journal.db").exists());
        fs::write(folder.join("swap"), many("two")).unwrap();
        fs::rename(folder.join("swap"), folder.join("routes.yaml")).unwrap();
    });
    yard.run();
    swapped.join().unwrap();
    runs(&yard, "two");
    goes_to(&yard, "two");
}
