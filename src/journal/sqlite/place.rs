//! Whether the journal's files are still those that were opened.
//!
//! A file that somebody removes, moves or replaces stays open: commits go on into what no start will ever find again. Each commit asks the
//! path by `stat` before anybody hears of it, so that no event is answered 200 that is kept nowhere (L1). Never: opens or reads the files.

use super::beside;
use std::fs::metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Device and number of a file; `None`: there is none.
type Identity = Option<(u64, u64)>;

/// The files as they were opened.
#[derive(Debug)]
pub struct Files([(PathBuf, Identity); 2]);

impl Files {
    /// Those at `path`, which are open: the database and its log.
    pub fn opened(path: &Path) -> Self {
        let log = beside(path, "-wal");
        Files([path.to_owned(), log].map(|path| {
            let identity = identity(&path).ok().flatten();
            (path, identity)
        }))
    }

    /// What is not there any more, if anything: a line.
    pub fn moved(&self) -> Option<String> {
        let what = |path: &Path, now: io::Result<Identity>| match now {
            Ok(None) => format!("{} was removed or moved while it was in use", path.display()),
            Ok(Some(_)) => format!("{} was replaced by another file while it was in use", path.display()),
            Err(why) => format!("{} can't be looked at any more: {why}", path.display()),
        };
        let found = self.0.iter().filter(|(_, opened)| opened.is_some()).find_map(|(path, opened)| {
            let now = identity(path);
            (now.as_ref().ok() != Some(opened)).then(|| what(path, now))
        });
        found
            .map(|what| format!("{what}: nothing that is written now would be found again; put the file back where it was and start again"))
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    match metadata(path) {
        Ok(found) => Ok(Some((found.dev(), found.ino()))),
        Err(why) if matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(why) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{remove_file, rename, write};

    #[test]
    fn a_file_that_left_is_told_and_one_that_grew_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["j.db", "j.db-wal"] {
            write(at(name), "1").unwrap();
        }
        let files = Files::opened(&at("j.db"));
        write(at("j.db-wal"), "more").unwrap();
        assert_eq!(files.moved(), None);
        rename(at("j.db"), at("elsewhere")).unwrap();
        assert!(files.moved().is_some_and(|line| line.contains("j.db was removed or moved")));
        write(at("j.db"), "1").unwrap();
        assert!(files.moved().is_some_and(|line| line.contains("j.db was replaced by another file")));
        rename(at("elsewhere"), at("j.db")).unwrap();
        assert_eq!(files.moved(), None);
        remove_file(at("j.db-wal")).unwrap();
        assert!(files.moved().is_some_and(|line| line.contains("j.db-wal was removed")));
    }
}
