//! Notices that the configuration or a certificate changed.
//!
//! What counts is what a path leads to: its place behind all links, its inode, length and times. That is looked at once a second, and at once where the
//! system tells of a change in a folder of the files. So nothing depends on being told: not a link that is swapped in another folder (a
//! Kubernetes `..data`, a `current` of a deployment), not a network's or a container's folder that tells nothing (decision 21). A change counts when
//! nothing moved for a moment: an editor writes in several steps, and between them a file may be missing.

use super::folder_of;
use notify::{RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How long nothing must move before a change counts.
pub const QUIET: Duration = Duration::from_millis(200);
/// How often files are looked at that nobody tells of.
const LOOK: Duration = Duration::from_secs(1);

/// Watches until dropped.
#[derive(Debug)]
pub struct Watch {
    files: Vec<PathBuf>,
    /// How they were when a change was told last.
    seen: Vec<Option<Stamp>>,
    told: Arc<Notify>,
    _watcher: Option<notify::RecommendedWatcher>,
}

/// What a path leads to: the place behind all links; device, inode, length; when it was written and when anything of it was changed last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    place: PathBuf,
    file: (u64, u64, u64),
    written: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// `None`: it leads nowhere.
    fn of(path: &Path) -> Option<Self> {
        let place = path.canonicalize().ok()?;
        let found = place.metadata().ok()?;
        Some(Stamp {
            place,
            file: (found.dev(), found.ino(), found.len()),
            written: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

impl Watch {
    /// Watches these files from now on.
    pub fn on(files: &[PathBuf]) -> Self {
        let told = Arc::new(Notify::new());
        let watcher = listen(files, Arc::clone(&told));
        // Where the system tells nothing the look of each second does.
        let watcher = watcher.inspect_err(|why| tracing::debug!(%why, "changes of the configuration are found by looking")).ok();
        Watch { files: files.to_vec(), seen: files.iter().map(|file| Stamp::of(file)).collect(), told, _watcher: watcher }
    }

    /// What is watched.
    pub fn files(&self) -> &Vec<PathBuf> {
        &self.files
    }

    /// Ends when something changed and then nothing for [`QUIET`].
    pub async fn changed(&mut self) {
        loop {
            // Told or not, it is looked.
            let _ = tokio::time::timeout(LOOK, self.told.notified()).await;
            let mut now = self.look().await;
            if now == self.seen {
                continue;
            }
            loop {
                tokio::time::sleep(QUIET).await;
                let later = self.look().await;
                if later == now {
                    break;
                }
                now = later;
            }
            if now != self.seen {
                self.seen = now;
                return;
            }
        }
    }

    /// How the files are; on a thread of its own, as a network's folder may not answer.
    async fn look(&self) -> Vec<Option<Stamp>> {
        let files = self.files.clone();
        let looked = tokio::task::spawn_blocking(move || files.iter().map(|file| Stamp::of(file)).collect());
        looked.await.unwrap_or_else(|_| self.seen.clone())
    }
}

/// Hears of changes in the folders of files.
fn listen(files: &[PathBuf], told: Arc<Notify>) -> notify::Result<notify::RecommendedWatcher> {
    let folders: BTreeSet<PathBuf> = files.iter().map(|file| folder_of(file)).collect();
    let names: BTreeSet<OsString> = files.iter().filter_map(|file| file.file_name()).map(OsString::from).collect();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Outputs may write beside the file: only its own name counts, or `..data`, by which config maps swap theirs.
        let ours = |path: &PathBuf| path.file_name().is_some_and(|name| names.contains(name) || name.as_encoded_bytes().starts_with(b".."));
        if event.is_ok_and(|event| !event.kind.is_access() && event.paths.iter().any(ours)) {
            told.notify_one();
        }
    })?;
    folders.iter().try_for_each(|folder| watcher.watch(folder, RecursiveMode::NonRecursive))?;
    Ok(watcher)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    async fn noticed(watch: &mut Watch) {
        tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.expect("the change was not noticed");
    }

    /// In steps, as an editor does it: the new text beside, then in place of the old.
    fn replace(file: &Path, text: &str) {
        let new = file.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, file).unwrap();
    }

    #[tokio::test]
    async fn a_file_replaced_by_rename_is_noticed_every_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("routes.yaml");
        std::fs::write(&file, "a").unwrap();
        let mut watch = Watch::on(std::slice::from_ref(&file));
        for text in ["b", "c", "d"] {
            replace(&file, text);
            noticed(&mut watch).await;
        }
    }

    /// Nobody is told of what happens in another folder than the one the file is named in.
    #[tokio::test]
    async fn what_is_not_told_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["named", "first", "second"] {
            std::fs::create_dir(at(name)).unwrap();
            std::fs::write(at(name).join("routes.yaml"), name).unwrap();
        }
        symlink(at("first"), at("current")).unwrap();
        let file = at("named").join("routes.yaml");
        std::fs::remove_file(&file).unwrap();
        symlink(at("current").join("routes.yaml"), &file).unwrap();
        let mut watch = Watch::on(std::slice::from_ref(&file));
        symlink(at("second"), at("next")).unwrap();
        std::fs::rename(at("next"), at("current")).unwrap();
        noticed(&mut watch).await;
        replace(&at("second").join("routes.yaml"), "third");
        noticed(&mut watch).await;
        std::fs::remove_file(at("second").join("routes.yaml")).unwrap();
        noticed(&mut watch).await;
    }

    /// What is as it was when somebody looks again is no change.
    #[tokio::test]
    async fn a_file_that_is_touched_beside_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("routes.yaml");
        std::fs::write(&file, "a").unwrap();
        let mut watch = Watch::on(std::slice::from_ref(&file));
        std::fs::write(folder.path().join("..other"), "told of, and not ours").unwrap();
        std::fs::read(&file).unwrap();
        let told = watch.told.notified();
        tokio::time::timeout(Duration::from_secs(20), told).await.expect("the system tells of the other");
        watch.told.notify_one();
        assert!(tokio::time::timeout(LOOK * 2, watch.changed()).await.is_err(), "nothing of ours changed");
    }
}
