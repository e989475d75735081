//! What people were told of, in a small file beside the journal: after a restart nothing is told twice, and what ended meanwhile is said.
//!
//! Not durable to the last word: what is lost with the machine is told once more.

use crate::alarm::{Book, Saved};
use crate::model::Timestamp;
use std::io;
use std::path::Path;

/// The file's name.
const FILE: &str = "told.json";

/// The book of an earlier life; a file that can't be read is a book without entries.
pub fn read(folder: &Path, now: Timestamp) -> Book {
    let read = || match std::fs::read(folder.join(FILE)) {
        Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(vec![]),
        Err(why) => Err(why),
    };
    let saved: Vec<Saved> = read().unwrap_or_else(|why| {
        tracing::warn!(%why, "`{FILE}` beside the journal can't be read: what is wrong may be told a second time");
        vec![]
    });
    Book::restored(saved, now)
}

/// Writes the book down, whole or not at all.
pub fn write(folder: &Path, saved: &[Saved]) -> io::Result<()> {
    let new = folder.join(format!("{FILE}.new"));
    std::fs::write(&new, serde_json::to_vec(saved)?)?;
    std::fs::rename(&new, folder.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarm::{Cause, Look};

    #[test]
    fn the_book_outlives_the_process_and_a_broken_file_is_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let slow = || Look::Holds(Cause::JournalSlow { commit_ms: 600 });
        let mut book = read(folder.path(), Timestamp(1));
        book.looked(Timestamp(1), vec![slow()]);
        assert_eq!(book.due(Timestamp(1)).len(), 1);
        write(folder.path(), &book.saved()).unwrap();
        let tells = |book: &mut Book| {
            book.looked(Timestamp(2), vec![slow()]);
            book.due(Timestamp(2)).len()
        };
        assert_eq!(tells(&mut read(folder.path(), Timestamp(2))), 0);
        std::fs::write(folder.path().join(FILE), "[{").unwrap();
        assert_eq!(tells(&mut read(folder.path(), Timestamp(2))), 1);
    }
}
