//! How the command line finds a running daemon: a file beside the journal with the admin side's address and token.
//!
//! A daemon starts on a full disk too, and that is when people need the command line: then the file is written over in the space that it
//! has, and where that is refused as well (a file system that copies what it changes) its token stays the one that holds.

use serde_json::Value;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use switchyard_api::Secret;

/// The file's name.
pub const ADMIN_FILE: &str = "admin.json";

/// Who may come in.
#[derive(Debug)]
pub struct Door {
    /// The token that holds.
    pub token: Secret,
    /// Whether the file says it.
    pub found: bool,
}

/// The two ways to write a file.
type Ways<'w> = (&'w dyn Fn(&Path, &str) -> io::Result<()>, &'w dyn Fn(&Path, &str) -> io::Result<()>);

/// Says in the file where the daemon is, and its token: the configured one, or a new one.
///
/// # Errors
/// The file can't be written, for another reason than a full disk.
pub fn open(folder: &Path, address: SocketAddr, configured: Option<&Secret>) -> io::Result<Door> {
    open_by((&anew, &over), folder, address, configured)
}

fn open_by((anew, over): Ways<'_>, folder: &Path, address: SocketAddr, configured: Option<&Secret>) -> io::Result<Door> {
    let path = folder.join(ADMIN_FILE);
    let token = configured.cloned().unwrap_or_else(token);
    let said = serde_json::json!({ "address": address.to_string(), "token": token.expose(), "pid": std::process::id() }).to_string();
    match anew(&path, &said) {
        Err(why) if why.kind() == ErrorKind::StorageFull => {}
        written => return written.map(|()| Door { token, found: true }),
    }
    let before = said_before(&path);
    if over(&path, &said).is_ok() {
        return Ok(Door { token, found: true });
    }
    match before.filter(|(there, said)| *there == address.to_string() && configured.is_none_or(|wanted| wanted == said)) {
        Some((_, said)) => Ok(Door { token: said, found: true }),
        None => {
            // What it says is not so any more: who reads it would be refused without knowing why.
            let _ = std::fs::remove_file(&path);
            Ok(Door { token, found: false })
        }
    }
}

/// Address and token of the run before.
fn said_before(path: &Path) -> Option<(String, Secret)> {
    let said: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    Some((said["address"].as_str()?.to_owned(), Secret::new(said["token"].as_str()?.to_owned())))
}

/// For the owner's eyes only, whole or not at all.
fn anew(path: &Path, said: &str) -> io::Result<()> {
    let new = path.with_file_name(".admin.json.new");
    let _ = std::fs::remove_file(&new);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(said.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    let written = write();
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written
}

/// Over what is there, cut after it: to cut it before would give the space to whoever filled the disk.
fn over(path: &Path, said: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(said.as_bytes())?;
    file.set_len(said.len() as u64)?;
    file.sync_all()
}

/// A token nobody can guess: 256 bits of the system's randomness.
pub fn token() -> Secret {
    use rand::Rng;
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    Secret::new(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 8081);

    fn full(_: &Path, _: &str) -> io::Result<()> {
        Err(ErrorKind::StorageFull.into())
    }

    fn said(folder: &Path) -> String {
        std::fs::read_to_string(folder.join(ADMIN_FILE)).unwrap()
    }

    #[test]
    fn only_the_owner_reads_the_token() {
        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(ADDRESS);
        open(folder.path(), address, Some(&Secret::new("a"))).unwrap();
        open(folder.path(), address, None).unwrap();
        let file = folder.path().join(ADMIN_FILE);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!said(folder.path()).contains("\"a\""));
        assert_ne!(token(), token());
    }

    #[test]
    fn on_a_full_disk_the_file_says_the_token_of_this_run_in_the_space_it_has() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path(), SocketAddr::from(([127, 0, 0, 1], 65_000)), None).unwrap();
        let door = open_by((&full, &over), folder.path(), SocketAddr::from(ADDRESS), Some(&Secret::new("b"))).unwrap();
        assert!(door.found && door.token == Secret::new("b"));
        let now: Value = serde_json::from_str(&said(folder.path())).unwrap();
        assert_eq!((&now["address"], &now["token"]), (&"127.0.0.1:8081".into(), &"b".into()));
    }

    #[test]
    fn where_nothing_can_be_written_the_token_of_the_run_before_holds_if_it_leads_here() {
        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(ADDRESS);
        let before = open(folder.path(), address, None).unwrap().token;
        let again = |configured: Option<&Secret>| open_by((&full, &full), folder.path(), address, configured).unwrap();
        let door = again(None);
        assert!(door.found && door.token == before && said(folder.path()).contains(before.expose()));
        // The file says another: nobody should be sent with that.
        let door = again(Some(&Secret::new("b")));
        assert!(!door.found && door.token == Secret::new("b") && !folder.path().join(ADMIN_FILE).exists());
        assert!(!again(None).found);
    }
}
