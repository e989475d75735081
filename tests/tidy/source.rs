//! The files of the source tree, read from the root.

use super::rust::code_only;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn exists(path: &str) -> bool {
    root().join(path).exists()
}

pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[cfg(unix)]
pub fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
pub fn is_executable(path: &Path) -> bool {
    path.exists()
}

/// Every file below the root with one of the endings; build results, data and hidden folders aside.
pub fn files(endings: &[&str]) -> Vec<String> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        let mut entries: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        entries.sort();
        for path in entries {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "data" {
                walk(&path, found);
            } else if path.is_file() {
                found.push(path);
            }
        }
    }
    let mut found = vec![];
    walk(&root(), &mut found);
    found
        .iter()
        .filter(|path| endings.iter().any(|ending| path.extension().is_some_and(|e| e == *ending)))
        .filter_map(|path| path.strip_prefix(root()).ok())
        .map(|path| path.to_string_lossy().replace('\\', "/"))
        .collect()
}

/// Whether a file is compiled for tests alone: in a folder of tests, or named by a `#[cfg(test)] mod`.
pub fn is_test(path: &str) -> bool {
    let path = Path::new(path);
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let parent = path.parent().unwrap_or(Path::new(""));
    let declared = ["mod.rs", "lib.rs", "main.rs"].iter().map(|file| parent.join(file)).chain([parent.with_extension("rs")]);
    path.components().any(|part| part.as_os_str() == "tests")
        || declared
            .filter_map(|file| fs::read_to_string(root().join(file)).ok())
            .any(|text| text.contains(&format!("#[cfg(test)]\nmod {name};")))
}

pub struct SourceFile {
    /// From the root, with `/`.
    pub path: String,
    /// What it holds.
    pub text: String,
}

impl SourceFile {
    /// Reads it.
    pub fn read(path: &str) -> Self {
        SourceFile { path: path.into(), text: read(path) }
    }

    /// Whether it has code: anything but comments and an empty `main`.
    pub fn is_begun(&self) -> bool {
        code_only(&self.text).lines().any(|line| !line.trim().is_empty() && line.trim() != "fn main() {}")
    }

    /// The room of `src/` that it belongs to.
    pub fn room(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let room = inside.split('/').next()?.trim_end_matches(".rs");
        (!["lib", "main"].contains(&room)).then_some(room)
    }
}

pub fn rust_files() -> Vec<SourceFile> {
    files(&["rs"]).iter().map(|path| SourceFile::read(path)).collect()
}

/// What is read for forbidden words.
pub fn tracked_texts() -> Vec<(String, String)> {
    files(&["rs", "toml", "yaml", "yml", "md", "sh"]).into_iter().map(|path| (path.clone(), read(&path))).collect()
}

/// The output crates: every folder of `plugins/` but the API and the list.
pub fn plugins() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root().join("plugins"))
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name != "api" && name != "all")
        .collect();
    names.sort();
    names
}

/// Whether the command line has a command: one file a command.
pub fn cli_has(command: &str) -> bool {
    exists(&format!("src/cli/{command}.rs")) || exists(&format!("src/cli/{command}/mod.rs"))
}

/// Marks a file and every file that its `mod` lines lead to.
pub fn follow(path: &Path, alive: &mut BTreeSet<PathBuf>) {
    if !exists(&path.to_string_lossy()) || !alive.insert(path.to_path_buf()) {
        return;
    }
    let text = read(&path.to_string_lossy());
    let folder = path.parent().unwrap_or(Path::new(""));
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let is_root = ["lib", "main", "mod"].contains(&name.as_ref()) || folder == Path::new("tests") || folder.ends_with("tests");
    let below = if is_root { folder.to_path_buf() } else { folder.join(name.as_ref()) };
    let mut given = None;
    for line in text.lines().map(str::trim) {
        if let Some(path) = line.strip_prefix("#[path = \"").and_then(|rest| rest.split('"').next()) {
            given = Some(path.to_owned());
            continue;
        }
        let Some(name) = line.strip_suffix(';').and_then(module_name) else { continue };
        match given.take() {
            Some(path) => follow(&folder.join(path), alive),
            None => {
                follow(&below.join(format!("{name}.rs")), alive);
                follow(&below.join(name).join("mod.rs"), alive);
            }
        }
    }
}

fn module_name(line: &str) -> Option<&str> {
    let after = line
        .strip_prefix("mod ")
        .or_else(|| line.split_once(" mod ").filter(|(before, _)| before.starts_with("pub")).map(|(_, name)| name))?;
    Some(after.trim())
}
