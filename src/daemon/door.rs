//! How the command line finds a running daemon: a file beside the journal with the admin side's address and token.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use switchyard_api::Secret;

/// The file's name.
pub const ADMIN_FILE: &str = "admin.json";

/// Writes the file for the owner's eyes only, whole or not at all.
pub fn open(folder: &Path, address: SocketAddr, token: &Secret) -> std::io::Result<()> {
    let new = folder.join(".admin.json.new");
    let _ = std::fs::remove_file(&new);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let said = serde_json::json!({ "address": address.to_string(), "token": token.expose(), "pid": std::process::id() });
    file.write_all(said.to_string().as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, folder.join(ADMIN_FILE))
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

    #[test]
    fn only_the_owner_reads_the_token() {
        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 8081));
        open(folder.path(), address, &Secret::new("a")).unwrap();
        open(folder.path(), address, &token()).unwrap();
        let file = folder.path().join(ADMIN_FILE);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!std::fs::read_to_string(file).unwrap().contains("\"a\""));
        assert_ne!(token(), token());
    }
}
