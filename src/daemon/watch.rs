//! Notices that the configuration or a certificate changed.
//!
//! Watches the folders, not the files: editors and config maps replace files by rename, and a watch on the file itself
//! is lost with the first replacement. Changes are gathered until nothing moved for a moment.

use super::folder_of;
use notify::{RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How long nothing must move before a change counts: an editor writes in several steps.
pub const QUIET: Duration = Duration::from_millis(200);

/// Watches until dropped.
#[derive(Debug)]
pub struct Watch {
    files: Vec<PathBuf>,
    changed: Arc<Notify>,
    _watcher: Option<notify::RecommendedWatcher>,
}

impl Watch {
    /// Watches the folders these files are in. Where that can't be done it says so; a signal still reloads.
    pub fn on(files: &[PathBuf]) -> Self {
        let changed = Arc::new(Notify::new());
        let tell = Arc::clone(&changed);
        let watched: BTreeSet<PathBuf> = files.iter().map(|file| folder_of(file)).collect();
        let names: BTreeSet<OsString> = files.iter().filter_map(|file| file.file_name()).map(OsString::from).collect();
        let started = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Outputs may write beside the file: only its own name counts, or `..data`, by which config maps swap theirs.
            let ours =
                |path: &PathBuf| path.file_name().is_some_and(|name| names.contains(name) || name.as_encoded_bytes().starts_with(b".."));
            if event.is_ok_and(|event| !event.kind.is_access() && event.paths.iter().any(ours)) {
                tell.notify_one();
            }
        })
        .and_then(|mut watcher| {
            watched.iter().try_for_each(|folder| watcher.watch(folder, RecursiveMode::NonRecursive))?;
            Ok(watcher)
        });
        let watcher =
            started.inspect_err(|why| tracing::warn!(%why, "changes of the configuration are not noticed; send SIGHUP to reload")).ok();
        Watch { files: files.to_vec(), changed, _watcher: watcher }
    }

    /// What is watched.
    pub fn files(&self) -> &Vec<PathBuf> {
        &self.files
    }

    /// Ends when something changed and then nothing for [`QUIET`].
    pub async fn changed(&self) {
        self.changed.notified().await;
        while tokio::time::timeout(QUIET, self.changed.notified()).await.is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_replaced_by_rename_is_noticed_every_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("routes.yaml");
        std::fs::write(&file, "a").unwrap();
        let watch = Watch::on(std::slice::from_ref(&file));
        for text in ["b", "c", "d"] {
            let new = folder.path().join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(&new, &file).unwrap();
            tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.expect("the change was not noticed");
        }
    }
}
