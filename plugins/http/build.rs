//! Lists the files of `presets/` for `src/preset.rs`, so that a new destination is one file and nothing else. What stands
//! under `conversation:`, the last key of each, is for tests and is left out.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

#[allow(clippy::disallowed_methods)] // cargo tells a build script its folders by the environment
fn main() {
    println!("cargo:rerun-if-changed=presets");
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("presets");
    let mut files: Vec<_> =
        fs::read_dir(&folder).expect("presets/ is there").map(|entry| entry.expect("it can be listed").path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    files.sort();
    let mut list = String::from("&[\n");
    for path in files {
        println!("cargo:rerun-if-changed={}", path.display());
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a preset's name is a plain word").to_owned();
        let text = fs::read_to_string(&path).expect("a preset is text");
        let row = text.split_once("\nconversation:").map_or(text.as_str(), |(row, _)| row);
        writeln!(list, "    ({name:?}, {row:?}),").expect("a String takes all");
    }
    list.push_str("]\n");
    fs::write(Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("presets.rs"), list).expect("OUT_DIR can be written");
}
