//! Appends lines to a file so that they are durable, or says how far it came. Blocks: runs on a thread of its own.
//!
//! Below the root no link is followed (L8). Folders are 0700, files 0600. A last line that a crash tore is ended first; in a table,
//! a quote that it left open is closed, so that it takes no other row with it. A table's header stands once, at its begin.

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::Path;
use switchyard_api::Outcome;

/// Why lines are not durable.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// It begins with another header; nothing was written.
    #[error("begins with another header than the output's; move it away, or write the columns it has into `header`")]
    Header,
    /// The file could not be opened; nothing was written.
    #[error("cannot be opened: {0}")]
    Open(#[source] io::Error),
    /// Not all was written; what was is taken back, or ended by the next one's line end.
    #[error("cannot be written: {0}")]
    Write(#[source] io::Error),
    /// All was written, and the disk did not say that it has it.
    #[error("written, but the disk did not confirm it: {0}")]
    Sync(#[source] io::Error),
}

impl AppendError {
    /// What this means for the deliveries.
    pub fn outcome(&self, path: &Path) -> Outcome {
        let why = format!("`{}` {self}", path.display());
        match self {
            AppendError::Sync(_) => Outcome::Unknown { why },
            AppendError::Header => Outcome::Misconfigured { why, after: None },
            AppendError::Open(cause) | AppendError::Write(cause) if is_set_up_wrong(cause) => Outcome::Misconfigured { why, after: None },
            AppendError::Open(_) | AppendError::Write(_) => Outcome::Down { why, after: None },
        }
    }
}

/// Appends and syncs once. `header`: the file is a table that begins with it.
pub fn append(root: &Path, name: &[String], header: Option<&[u8]>, lines: &[u8]) -> Result<(), AppendError> {
    let (mut file, folder) = open(root, name).map_err(AppendError::Open)?;
    let before = file.metadata().map_err(AppendError::Open)?.len();
    let mending = match header {
        None => {
            if ends_torn(&file, before).map_err(AppendError::Open)? {
                b"\n".to_vec()
            } else {
                vec![]
            }
        }
        Some(header) => table_mending(&file, before, header)?,
    };
    if let Err(cause) = file.write_all(&mending).and_then(|()| file.write_all(lines)) {
        take_back(&file, before, mending.len() + lines.len());
        return Err(AppendError::Write(cause));
    }
    sync(&file).map_err(AppendError::Sync)?;
    if before == 0 {
        // The file's name is as new as its content.
        rustix::fs::fsync(folder).map_err(|e| AppendError::Sync(e.into()))?;
    }
    Ok(())
}

/// Whether files can be made there: makes the root, writes nothing.
pub fn reach(root: &Path) -> io::Result<()> {
    make_root(root)?;
    Ok(rustix::fs::accessat(CWD, here(root), Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?)
}

/// What people have to mend. `LOOP` is a link in the way, `NXIO` a pipe that nobody reads or a socket.
fn is_set_up_wrong(cause: &io::Error) -> bool {
    use ErrorKind::{InvalidFilename, IsADirectory, NotADirectory, PermissionDenied, ReadOnlyFilesystem};
    let unnamed = [rustix::io::Errno::LOOP, rustix::io::Errno::NXIO];
    [PermissionDenied, NotADirectory, IsADirectory, ReadOnlyFilesystem, InvalidFilename].contains(&cause.kind())
        || unnamed.iter().any(|errno| cause.raw_os_error() == Some(errno.raw_os_error()))
}

/// The path of "here" has no characters.
fn here(root: &Path) -> &Path {
    if root.as_os_str().is_empty() { Path::new(".") } else { root }
}

fn make_root(root: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(here(root))
}

fn open(root: &Path, name: &[String]) -> io::Result<(File, OwnedFd)> {
    let folder_flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let mut folder = match rustix::fs::open(here(root), folder_flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => {
            make_root(root)?;
            rustix::fs::open(here(root), folder_flags, Mode::empty())?
        }
        opened => opened?,
    };
    let (last, folders) = name.split_last().ok_or(ErrorKind::InvalidFilename)?;
    for part in folders {
        let next = rustix::fs::openat(&folder, part, folder_flags | OFlags::NOFOLLOW, Mode::empty());
        folder = match next {
            Err(rustix::io::Errno::NOENT) => make_folder(folder.as_fd(), part, folder_flags)?,
            opened => opened?,
        };
    }
    // NONBLOCK: a pipe in the file's place must not hold this thread for ever.
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&folder, last, flags, Mode::RUSR | Mode::WUSR)?;
    Ok((file.into(), folder))
}

fn make_folder(above: std::os::fd::BorrowedFd<'_>, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(above, name, Mode::RWXU) {
        // Somebody else made it meanwhile.
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    rustix::fs::fsync(above)?;
    Ok(rustix::fs::openat(above, name, flags | OFlags::NOFOLLOW, Mode::empty())?)
}

fn ends_torn(file: &File, length: u64) -> io::Result<bool> {
    let Some(at) = length.checked_sub(1) else { return Ok(false) };
    let mut last = [0];
    file.read_exact_at(&mut last, at)?;
    Ok(last != *b"\n")
}

/// What a table needs before its next row: its header or what a crash left out of it, or the end of a torn row.
fn table_mending(file: &File, length: u64, header: &[u8]) -> Result<Vec<u8>, AppendError> {
    let mut begin = vec![0; header.len().min(usize::try_from(length).unwrap_or(usize::MAX))];
    file.read_exact_at(&mut begin, 0).map_err(AppendError::Open)?;
    let missing = header.strip_prefix(begin.as_slice()).ok_or(AppendError::Header)?;
    if !missing.is_empty() || length == header.len() as u64 {
        return Ok(missing.to_vec());
    }
    let open = quotes_of_last_line(file, length).map_err(AppendError::Open)?;
    Ok(match (ends_torn(file, length).map_err(AppendError::Open)?, open % 2) {
        (false, _) => vec![],
        (true, 0) => b"\r\n".to_vec(),
        (true, _) => b"\"\r\n".to_vec(),
    })
}

/// The quotes behind the last line end, read from the back in pieces.
fn quotes_of_last_line(file: &File, length: u64) -> io::Result<usize> {
    const PIECE: u64 = 64 << 10;
    let (mut end, mut quotes) = (length, 0);
    while end > 0 {
        let start = end.saturating_sub(PIECE);
        let mut piece = vec![0; (end - start) as usize];
        file.read_exact_at(&mut piece, start)?;
        let line_end = piece.iter().rposition(|byte| *byte == b'\n');
        let of_line = &piece[line_end.map_or(0, |at| at + 1)..];
        quotes += of_line.split(|byte| *byte == b'"').count() - 1;
        if line_end.is_some() {
            break;
        }
        end = start;
    }
    Ok(quotes)
}

/// Half a batch is taken back, unless somebody else has written behind it. If that fails too, the next batch ends the torn line.
fn take_back(file: &File, before: u64, most: usize) {
    let ours = before..=before + most as u64;
    if file.metadata().is_ok_and(|now| ours.contains(&now.len())) {
        let _ = file.set_len(before);
    }
}

/// A device such as `/dev/null` has nothing to sync.
fn sync(file: &File) -> io::Result<()> {
    match file.sync_data() {
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn name(parts: &[&str]) -> Vec<String> {
        parts.iter().map(|part| (*part).to_owned()).collect()
    }

    #[test]
    fn folders_and_files_are_ours_alone() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("a/b");
        append(&root, &name(&["c", "d.ndjson"]), None, b"one\n").unwrap();
        append(&root, &name(&["c", "d.ndjson"]), None, b"two\n").unwrap();
        assert_eq!(std::fs::read(root.join("c/d.ndjson")).unwrap(), b"one\ntwo\n");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&root), mode(&root.join("c")), mode(&root.join("c/d.ndjson"))), (0o700, 0o700, 0o600));
    }

    #[test]
    fn a_torn_last_line_is_ended_before_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x"), "{\"torn\": tr").unwrap();
        append(folder.path(), &name(&["x"]), None, b"next\n").unwrap();
        append(folder.path(), &name(&["x"]), None, b"last\n").unwrap();
        assert_eq!(std::fs::read(folder.path().join("x")).unwrap(), b"{\"torn\": tr\nnext\nlast\n");
    }

    #[test]
    fn a_table_has_its_header_once_whatever_a_crash_left_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        for left in ["", "or", "order,total\r", "order,total\r\n"] {
            std::fs::write(&path, left).unwrap();
            for row in [&b"a,1\r\n"[..], b"b,2\r\n"] {
                append(folder.path(), &name(&["x"]), Some(b"order,total\r\n"), row).unwrap();
            }
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "order,total\r\na,1\r\nb,2\r\n", "{left:?}");
        }
    }

    #[test]
    fn a_torn_row_takes_no_other_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let long = format!("\"{}", "x".repeat(200_000));
        for (torn, ended) in [
            ("a", "a\r\n"),
            ("\"a, b", "\"a, b\"\r\n"),
            ("\"a \"\"b\"\"", "\"a \"\"b\"\"\"\r\n"),
            ("\"a\",", "\"a\",\r\n"),
            (long.as_str(), &format!("{long}\"\r\n")),
        ] {
            std::fs::write(&path, format!("h\r\n\"q\r\n{torn}")).unwrap();
            append(folder.path(), &name(&["x"]), Some(b"h\r\n"), b"next\r\n").unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("h\r\n\"q\r\n{ended}next\r\n"));
        }
    }

    #[test]
    fn another_header_is_told_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        for there in ["order;total\r\n1;2\r\n", "ordx", "{\"a\": 1}\n"] {
            std::fs::write(folder.path().join("x"), there).unwrap();
            let error = append(folder.path(), &name(&["x"]), Some(b"order,total\r\n"), b"a,1\r\n").unwrap_err();
            assert_eq!(error.outcome(Path::new("x")).word(), "misconfigured", "{error}");
            assert_eq!(std::fs::read_to_string(folder.path().join("x")).unwrap(), there);
        }
    }

    #[test]
    fn no_link_is_followed_below_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), folder.path().join("topic")).unwrap();
        symlink(outside.path().join("f"), folder.path().join("file")).unwrap();
        for parts in [&["topic", "x"][..], &["file"]] {
            let error = append(folder.path(), &name(parts), None, b"x\n").unwrap_err();
            assert_eq!(error.outcome(folder.path()).word(), "misconfigured", "{error}");
        }
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        // The root itself may be one: the file's author says so.
        append(&folder.path().join("topic"), &name(&["x"]), None, b"x\n").unwrap();
        assert!(outside.path().join("x").exists());
    }

    #[test]
    fn a_full_disk_is_down_and_what_people_must_mend_is_misconfigured() {
        let full = append(Path::new("/dev"), &name(&["full"]), None, b"x\n").unwrap_err();
        assert_eq!(full.outcome(Path::new("/dev/full")).word(), "down", "{full}");
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        std::fs::write(folder.path().join("plain"), "").unwrap();
        for parts in [&["folder"][..], &["plain", "x"]] {
            let error = append(folder.path(), &name(parts), None, b"x\n").unwrap_err();
            assert_eq!(error.outcome(folder.path()).word(), "misconfigured", "{error}");
        }
        for (kind, word) in [(ErrorKind::PermissionDenied, "misconfigured"), (ErrorKind::StorageFull, "down"), (ErrorKind::Other, "down")] {
            assert_eq!(AppendError::Open(kind.into()).outcome(Path::new("x")).word(), word);
        }
        assert_eq!(AppendError::Sync(ErrorKind::Other.into()).outcome(Path::new("x")).word(), "unknown");
    }

    #[test]
    fn a_device_has_nothing_to_sync() {
        append(Path::new("/dev"), &name(&["null"]), None, b"x\n").unwrap();
    }

    #[test]
    fn half_a_batch_is_taken_back_unless_somebody_wrote_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        for (written, expected) in [("old\nha", 4), ("old\nhalf\nfrom somebody else\n", 28)] {
            std::fs::write(&path, written).unwrap();
            take_back(&File::options().append(true).open(&path).unwrap(), 4, 5);
            assert_eq!(std::fs::metadata(&path).unwrap().len(), expected);
        }
    }
}
