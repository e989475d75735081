//! The daemon's life: draw the file, open the journal, recover, serve, reload, drain. The only room that spawns and opens.
//!
//! `blueprint`, `outputs`, `sections` file → what can run · `hub` where the rooms meet · `start` opening and recovery ·
//! `reload` swapping whole · `reach` asking outputs without a daemon · `replays` what is delivered again · `purge` what is ended · `run` the life itself · `status` what it says about itself · `door`, `watch`, `signals` its ways
//! to the outside. Never: decides what a room decides. Holds L5 (what does not check does not run) and the order of things
//! in L1: nothing is taken in before the journal is open, nothing is let go before it is closed. Proven by `tests/life.rs`.

pub mod blueprint;
mod door;
pub mod explain;
mod homes;
mod hub;
mod login;
pub mod outputs;
mod overtake;
mod paused;
mod process;
mod purge;
pub mod reach;
mod reload;
pub mod replays;
mod run;
pub mod sections;
mod signals;
mod start;
mod status;
mod watch;

pub use door::ADMIN_FILE;
pub use hub::Hub;
pub use login::CannotLogin;
pub use process::prepare;
pub use run::Ended;
pub use start::{AdminDoor, Daemon, Doors, StartError, start};

use std::path::{Path, PathBuf};

/// The folder of a configuration's journal, where a running daemon says how to reach it; read without checking the rest.
///
/// # Errors
/// The file can't be read, or says nothing usable of the journal.
pub fn data_folder(config: &Path) -> Result<PathBuf, crate::config::CannotRead> {
    let file = crate::config::load(config, &crate::config::Process::beside(config))?;
    let url = file.tree.as_ref().and_then(|tree| tree.get("journal")?.get("url")?.as_text().map(str::to_owned));
    let path = url.as_deref().and_then(|url| url.strip_prefix("sqlite:")).unwrap_or("data/journal.db").to_owned();
    Ok(folder_of(&blueprint::base(config).join(path)))
}

/// jq workers of this very program.
fn jq_pool(workers: usize) -> crate::route::JqPool {
    // Where the program can't be found, each `where` and `transform` fails visibly.
    crate::route::JqPool::start(std::env::current_exe().unwrap_or_default(), workers)
}

/// The folder a file is in.
pub fn folder_of(file: &Path) -> PathBuf {
    Some(blueprint::base(file)).filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| PathBuf::from("."))
}
