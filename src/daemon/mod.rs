//! The daemon's life: draw the file, open the journal, recover, serve, reload, drain. The only room that spawns and opens.
//!
//! `blueprint`, `outputs`, `sections` file → what can run (`hidden`: what of it is not shown, `secret_names` how that is known; `without_secrets`: where nobody has them) · `hub` where the rooms meet · `keys` senders' certificates · `gate`, `silences` what may not go now · `works` what
//! runs between the doors, recovery included · `start` opening · `reload` swapping whole · `reach` asking outputs without a daemon · `credentials`, `foreign`, `braces` what was meant · `replays` what is delivered
//! again · `purge` what is ended · `drill` what is sent as a test · `run` the life itself · `rounds` what is wrong, told as events (`looks` at what, `space` on the disk, `told` before) · `status` what it says about itself ·
//! `door`, `watch`, `signals` its ways to the outside. Never: decides what a room decides. Holds L5 (what does not check does not run) and the order of
//! things in L1: nothing is taken in before the journal is open, nothing is let go before it is closed. Proven by `tests/life.rs`.

mod anew;
mod audit;
mod beside;
pub mod blueprint;
mod braces;
mod credentials;
mod door;
mod down;
pub mod drill;
pub mod duplicates;
pub mod erase;
pub mod explain;
mod foreign;
mod gate;
pub mod hidden;
mod homes;
mod hub;
mod indents;
mod keys;
mod login;
mod looks;
pub mod outputs;
mod paused;
mod process;
pub mod purge;
pub mod reach;
mod reload;
pub mod replays;
mod rounds;
mod run;
pub mod schema;
mod secret_names;
pub mod sections;
pub mod sight;
mod signals;
pub mod silences;
mod space;
mod start;
mod status;
mod told;
pub mod trial;
mod unsigned;
mod versions;
mod watch;
pub mod without_secrets;
mod works;

pub use door::ADMIN_FILE;
pub use gate::Gate;
pub use hub::{Hub, Reading};
pub use login::CannotLogin;
pub use outputs::OutputPlan;
pub use process::prepare;
pub use run::Ended;
pub use start::{AdminDoor, Daemon, Doors, Lent, StartError, Stood, connect, start};
pub use status::CannotPause;
pub use works::{GONE, Laid, Parts, Works};

use crate::journal::Retain;
use crate::journal::section::RetainSection;
use std::path::{Path, PathBuf};

/// The folder of a configuration's journal, where a running daemon says how to reach it; read without checking the rest.
///
/// # Errors
/// The file can't be read, or says nothing usable of the journal.
pub fn data_folder(config: &Path) -> Result<PathBuf, crate::config::CannotRead> {
    journal_of(config).map(|(file, _)| folder_of(&file))
}

/// The journal's file and how long it keeps what is over, read without checking the rest: a journal must be looked after whatever else is
/// wrong.
///
/// # Errors
/// The file can't be read.
pub fn journal_of(config: &Path) -> Result<(PathBuf, Retain), crate::config::CannotRead> {
    let file = crate::config::load(config, &crate::config::Process::beside(config))?;
    let section = file.tree.as_ref().and_then(|tree| tree.get("journal"));
    let url = section.and_then(|section| section.get("url")?.as_text());
    let path = url.and_then(|url| url.strip_prefix("sqlite:")).unwrap_or("data/journal.db");
    let retain = section.and_then(|section| switchyard_api::tree::read::<RetainSection>(section.get("retain")?, &mut vec![]));
    Ok((blueprint::base(config).join(path), retain.unwrap_or_default().into()))
}

/// jq workers of this very program.
pub(crate) fn jq_pool(workers: usize) -> crate::route::JqPool {
    // Where the program can't be found, each `where` and `transform` fails visibly.
    crate::route::JqPool::start(std::env::current_exe().unwrap_or_default(), workers)
}

/// The folder a file is in.
pub fn folder_of(file: &Path) -> PathBuf {
    Some(blueprint::base(file)).filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| PathBuf::from("."))
}
