//! The file on disk → text, tree and problems. Bounded; never panics on what a disk can hold.

use super::comments;
use super::lookalikes;
use super::parse::parse;
use super::secrets::{Environment, fill};
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use switchyard_api::{Node, Problem, Secret, Span, Value};

/// Bytes of a configuration file; a larger one is an error.
pub const FILE_MAX: u64 = 4 * 1024 * 1024;

/// A configuration file as it was read.
#[derive(Clone)]
pub struct File {
    /// The name shown in reports.
    pub path: String,
    /// The text that all places count in.
    pub text: String,
    /// Keys and values, with `${…}` replaced; `None` if the text has no such form.
    pub tree: Option<Node>,
    /// What reading found.
    pub problems: Vec<Problem>,
    /// The values that `${…}` put in; reports mask them (L7). Whoever finds a secret that stands in the file itself adds it.
    pub secrets: Vec<Secret>,
}

/// Without the text, which may hold secrets.
impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("path", &self.path).field("problems", &self.problems.len()).finish_non_exhaustive()
    }
}

/// Why there is no file to look into.
#[derive(Debug, thiserror::Error)]
pub enum CannotRead {
    /// Nothing there.
    #[error("there is no file `{}`: name one (`switchyard run path/to/routes.yaml`) or write one with `switchyard init`", .0.display())]
    Missing(PathBuf),
    /// A folder.
    #[error("`{}` is a folder: name the file in it, such as `{}`", .0.display(), .0.join("routes.yaml").display())]
    Directory(PathBuf),
    /// Over [`FILE_MAX`].
    #[error("`{}` is larger than {} MiB: that is no configuration", .0.display(), FILE_MAX >> 20)]
    TooLarge(PathBuf),
    /// Anything else.
    #[error("can't read `{}`", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

/// Reads a file. What is wrong inside it is in [`File::problems`].
pub fn load(path: &Path, environment: &dyn Environment) -> Result<File, CannotRead> {
    let bytes = read(path)?;
    let name = path.display().to_string();
    Ok(match decode(&bytes) {
        Ok(text) => from_text(&name, text, environment),
        Err(problem) => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            File { path: name, text, tree: None, problems: vec![*problem], secrets: vec![] }
        }
    })
}

/// The same for a text that is at hand.
pub fn from_text(name: &str, text: impl Into<String>, environment: &dyn Environment) -> File {
    let text = text.into();
    let mut problems = vec![];
    let mut tree = parse(&text, &mut problems).filter(|tree| is_configuration(tree, &mut problems));
    problems.extend(tree.iter().flat_map(|tree| comments::cut(tree, &text)));
    problems.extend(tree.iter().flat_map(|tree| lookalikes::within(tree, &text)));
    let secrets = tree.as_mut().map(|tree| fill(tree, environment, &mut problems)).unwrap_or_default();
    File { path: name.into(), text, tree, problems, secrets }
}

/// A configuration is keys and values.
fn is_configuration(tree: &Node, problems: &mut Vec<Problem>) -> bool {
    let at = Span { end: tree.span.start, ..tree.span };
    let problem = match &tree.value {
        Value::Map(_) => return true,
        Value::Null => Problem::error("empty-file", Span::default(), "the file is empty", "nothing is written here")
            .help("`switchyard init` writes one to start from"),
        Value::Text(text) if text.written.contains(':') => {
            Problem::error("not-keys", tree.span, "expected keys and values, found a text", "no key").help("write a space after the `:`")
        }
        _ => Problem::error("not-keys", at, format!("expected keys and values, found {}", tree.kind()), "begins here")
            .help("begin every line at the left edge with a key, such as `routes:`"),
    };
    problems.push(problem);
    false
}

fn read(path: &Path) -> Result<Vec<u8>, CannotRead> {
    let unreadable = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotFound => CannotRead::Missing(path.into()),
        io::ErrorKind::IsADirectory => CannotRead::Directory(path.into()),
        _ => CannotRead::Unreadable { path: path.into(), cause },
    };
    let mut bytes = vec![];
    fs::File::open(path).map_err(unreadable)?.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_MAX { Err(CannotRead::TooLarge(path.into())) } else { Ok(bytes) }
}

/// The file's bytes as text, without a byte order mark. UTF-8 only.
pub fn decode(bytes: &[u8]) -> Result<String, Box<Problem>> {
    let start = Span::default();
    let save = "save the file as UTF-8 in your editor (it may be called \"UTF-8 without BOM\")";
    let wide = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let zeroes = bytes.iter().take(256).filter(|b| **b == 0).count();
    if wide || zeroes > 8 {
        let title = if wide { "the file is UTF-16, not UTF-8" } else { "the file is no text, or UTF-16" };
        return Err(Box::new(Problem::error("encoding", start, title, "not UTF-8").help(save)));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text).to_owned()),
        Err(wrong) => {
            let at = wrong.valid_up_to();
            // Shown in the lossy text, where this byte is the three of the replacement character.
            let place = Span { start: at, end: at + char::REPLACEMENT_CHARACTER.len_utf8() };
            let byte = bytes.get(at).copied().unwrap_or_default();
            let latin = char::from(byte);
            let label = if latin.is_alphabetic() {
                format!("the byte 0x{byte:02X} (`{latin}` in Latin-1)")
            } else {
                format!("the byte 0x{byte:02X}")
            };
            Err(Box::new(Problem::error("encoding", place, "the file is not UTF-8", label).help(save)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Process;

    #[test]
    fn what_is_no_file_is_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let told = |path: PathBuf| {
            let error = load(&path, &Process::beside(&path)).unwrap_err();
            error.to_string().replace(&folder.path().display().to_string(), "DIR")
        };
        insta::assert_snapshot!(told(folder.path().join("none.yaml")), @"there is no file `DIR/none.yaml`: name one (`switchyard run path/to/routes.yaml`) or write one with `switchyard init`");
        insta::assert_snapshot!(told(folder.path().into()), @"`DIR` is a folder: name the file in it, such as `DIR/routes.yaml`");
        let large = folder.path().join("large.yaml");
        fs::write(&large, vec![b'#'; FILE_MAX as usize + 1]).unwrap();
        insta::assert_snapshot!(told(large), @"`DIR/large.yaml` is larger than 4 MiB: that is no configuration");
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_text() {
        assert_eq!(decode(b"\xef\xbb\xbfa: 1").unwrap(), "a: 1");
    }

    #[test]
    fn other_encodings_are_told() {
        assert_eq!(decode(b"\xff\xfea\0:\0").unwrap_err().title, "the file is UTF-16, not UTF-8");
        assert_eq!(decode(&b"a\0:\0 \0b\0c\0d\0e\0f\0g\0".repeat(2)).unwrap_err().title, "the file is no text, or UTF-16");
        let latin = decode(b"name: caf\xe9\n").unwrap_err();
        assert_eq!(
            (latin.title.as_str(), latin.label.as_str(), latin.at.start),
            ("the file is not UTF-8", "the byte 0xE9 (`é` in Latin-1)", 9)
        );
    }
}
