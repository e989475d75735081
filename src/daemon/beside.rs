//! Small files beside the journal: what people decided, so that it outlives a restart.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Write};
use std::path::Path;

/// Reads a file of the folder; `None`: it was never written.
pub fn read<T: DeserializeOwned>(folder: &Path, name: &str) -> io::Result<Option<T>> {
    match std::fs::read(folder.join(name)) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why)),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(why),
    }
}

/// Writes a file of the folder, whole or not at all; durable when this returns.
pub fn write<T: Serialize>(folder: &Path, name: &str, value: &T) -> io::Result<()> {
    let new = folder.join(format!("{name}.new"));
    let mut file = std::fs::File::create(&new)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    std::fs::rename(&new, folder.join(name))?;
    std::fs::File::open(folder)?.sync_all()
}
